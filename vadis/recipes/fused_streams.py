"""The fusion of two streams as its authors' code trains the final network on UCF-101.

Feichtenhofer et al., Convolutional Two-Stream Network Fusion (arXiv:1604.06573), section 4, and
cnn_ucf101_fusion.m of their repository (feichtenhofer/twostreamfusion). An epoch there is ten passes.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "Convolutional Two-Stream Network Fusion (arXiv:1604.06573)"
TABLE = "section 4.4, table 3"
DIFFERS = (
    "The authors start from streams that were tuned on UCF-101 before, and stop the gradient below relu5_3; "
    "ours starts both from ImageNet and so learns in all layers. Biases learn at twice the rate there. They "
    "draw the frames between two moments anew from 5 to 15, ours are 10. The weight decay is MatConvNet's "
    "usual one."
)


def ucf101(model: str = "fused_vgg16", accuracy: float = 90.4) -> Recipe:
    """50 passes of 96 videos a step, the rate a tenth after 20, 30 and 40. accuracy: published, percent."""
    return Recipe(
        name=f"{model}_ucf101",
        title="Two VGG-16 joined at their last convolution, from ImageNet",
        data=DataConfig(
            num_frames=5,
            frame_stride=10,
            size=256,
            crop=224,
            batch_size=96,
            augment=Augment(short_side=(256, 256)),
        ),
        model=ModelConfig(name=model, init="imagenet", dropout=0.85),
        optim=OptimConfig(
            lr=1e-3,
            weight_decay=5e-4,
            no_decay=("bias",),
            length=50,
            schedule="step",
            milestones=(20.0, 30.0, 40.0),
        ),
        source=Source(PAPER, TABLE, "UCF-101", f"{accuracy} % top-1, UCF-101 split 1", DIFFERS),
    )


def hmdb51(model: str = "fused_vgg16", accuracy: float = 58.63) -> Recipe:
    """The same on HMDB-51. accuracy: published, in percent."""
    base = ucf101(model)
    return replace(
        base,
        name=f"{model}_hmdb51",
        source=replace(
            base.source, dataset="HMDB-51", expected=f"{accuracy} % top-1, HMDB-51 split 1", differs=DIFFERS
        ),
    )
