"""P3D: on Sports-1M and UCF-101 as in its paper, and the author's later networks on Kinetics-400.

Qiu et al., Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks (arXiv:1711.10305),
sections 3.3 and 4; the later ones by the record files of ZhaofanQiu/Optimization-Planning-for-3D-ConvNets.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source
from vadis.recipes import lgd

PAPER = "P3D (arXiv:1711.10305)"
UNCHECKED = (
    "We had no copy of the paper to check against: its schedule is as later descriptions give it, and the "
    "weight decay is not among them."
)


def sports1m() -> Recipe:
    """P3D-199 from ImageNet: 150,000 steps of 128 clips, the rate divided by ten every 60,000."""
    return Recipe(
        name="p3d_199_sports1m",
        title="P3D-199 from ImageNet weights",
        data=DataConfig(
            num_frames=16, size=182, crop=160, batch_size=128, augment=Augment(short_side=(182, 182))
        ),
        model=ModelConfig(name="p3d_199", init="imagenet", dropout=0.1),
        optim=OptimConfig(
            lr=0.001,
            weight_decay=5e-4,
            unit="steps",
            length=150_000,
            schedule="step",
            milestones=(60_000.0, 120_000.0),
        ),
        source=Source(
            PAPER,
            "section 4",
            "Sports-1M",
            "66.4 % top-1, 87.4 % top-5, 20x1, Sports-1M test",
            UNCHECKED,
        ),
    )


def ucf101(model: str, expected: str) -> Recipe:
    """From ImageNet: 7,500 steps of 128 clips, the rate a tenth every 3,000, most batch norm frozen."""
    base = sports1m()
    return replace(
        base,
        name=f"{model}_ucf101",
        title="P3D from ImageNet weights",
        model=replace(base.model, name=model, dropout=0.9, frozen_batch_norm="first_learns"),
        optim=replace(base.optim, length=7_500, milestones=(3_000.0, 6_000.0)),
        source=Source(
            PAPER,
            "section 3.3, table 1",
            "UCF-101",
            f"{expected} % top-1, 20x1, UCF-101 split 1" if expected else "",
            UNCHECKED,
        ),
    )


def kinetics(model: str) -> Recipe:
    """The author's later P3D on Kinetics-400, trained as his LGD networks are."""
    base = lgd.kinetics("lgd_p3d_r50")
    return replace(
        base,
        name=f"{model}_k400",
        title="The author's later P3D from ImageNet weights",
        model=replace(base.model, name=model),
        source=replace(base.source, place="record/kinetics-p3d-resnet50-1x16x1-128e.yml", expected=""),
    )
