"""Two streams as their papers trained them: VGG-M on UCF-101 and HMDB-51, VGG-16 by the fusion authors' code.

Simonyan and Zisserman, Two-Stream Convolutional Networks (arXiv:1406.2199), sections 5 and 6; for VGG-16 the
public code of Feichtenhofer et al. (feichtenhofer/twostreamfusion). Each stream is trained by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "Two-Stream (arXiv:1406.2199)"
CODE = "Convolutional Two-Stream Network Fusion (arXiv:1604.06573)"
START = (
    "torchvision has no VGG-M: `vadis weights inflate imagenet-vgg-m-2048.mat -m two_stream_spatial_vggm "
    "-o OUT` makes a start of MatConvNet's file, to be given to `--init`. "
)
DECAY = "The weight decay is not printed; it is AlexNet's. "
COLOUR = "How far colours are jittered is not printed; ours is by a tenth. "
FLOW = (
    "Their flow is Brox's. The dropout is the one that the same paper's spatial network "
    "learns best with from random weights. "
)

Way = Literal["last", "all", "scratch"]


def spatial(way: Way = "last") -> Recipe:
    """Frames of UCF-101: the last layer, all layers, or from random weights (four times as long)."""
    scratch = way == "scratch"
    titles = {"last": "its last layer, from ImageNet", "all": "all of it, from ImageNet", "scratch": "alone"}
    accuracy = {"last": 72.7, "all": 72.8, "scratch": 52.3}[way]
    return Recipe(
        name="two_stream_spatial_vggm_ucf101" + ("" if way == "last" else f"_{way}"),
        title=f"The spatial stream: {titles[way]}",
        data=DataConfig(
            rule="segments",
            num_frames=1,
            size=256,
            crop=224,
            batch_size=256,
            augment=Augment(short_side=(256, 256), colour=(0.1, 0.1, 0.1, 0.0)),
        ),
        model=ModelConfig(
            name="two_stream_spatial_vggm",
            init=None if scratch else "imagenet",
            dropout=0.5 if way == "last" else 0.9,
            freeze=("backbone",) if way == "last" else (),
        ),
        optim=OptimConfig(
            lr=0.01,
            weight_decay=5e-4,
            unit="steps",
            length=80_000 if scratch else 20_000,
            schedule="step",
            milestones=(50_000.0, 70_000.0) if scratch else (14_000.0,),
        ),
        source=Source(
            PAPER,
            "section 5, table 1a",
            "UCF-101",
            f"{accuracy} % top-1, 25x10, UCF-101 split 1",
            ("" if scratch else START) + DECAY + COLOUR.rstrip(),
        ),
    )


Stacking = Literal["optical", "trajectory", "bidirectional"]


def temporal(stacking: Stacking = "optical", subtract_mean: bool = True) -> Recipe:
    """Stacks of ten flow fields of UCF-101, from random weights: 80,000 steps of 256 videos.

    stacking: how the fields lie there; both ways are made on the way, as nobody stores flow backwards.
    subtract_mean: each field less its mean.
    """
    base = spatial("scratch")
    kind = stacking if subtract_mean else "mean_kept"
    titles = {
        "optical": "The temporal stream, from random weights",
        "trajectory": "The temporal stream along trajectories",
        "bidirectional": "The temporal stream, five fields forwards and five backwards",
        "mean_kept": "The temporal stream, the mean flow not taken off",
    }
    accuracy = {"optical": 81.0, "trajectory": 80.2, "bidirectional": 81.2, "mean_kept": 79.9}[kind]
    options: dict[str, str | bool] = {"subtract_mean": True} if subtract_mean else {}
    if stacking != "optical":
        options["stacking"] = stacking
    return replace(
        base,
        name="two_stream_temporal_vggm_ucf101" + ("" if kind == "optical" else f"_{kind}"),
        title=titles[kind],
        data=replace(
            base.data,
            augment=Augment(short_side=(256, 256)),
            flow="tvl1" if stacking == "bidirectional" else None,
        ),
        model=replace(base.model, name="two_stream_temporal_vggm", options=options),
        source=Source(
            PAPER,
            "section 5, table 1b",
            "UCF-101",
            f"{accuracy} % top-1, 25x10, UCF-101 split 1",
            (FLOW + DECAY).rstrip(),
        ),
    )


def temporal_hmdb51(heads: Literal["each", "union"] = "each") -> Recipe:
    """HMDB-51 and UCF-101 at once: a classifier for each, or one over the classes of both."""
    base = temporal()
    apart = heads == "each"
    return replace(
        base,
        name="two_stream_temporal_vggm_hmdb51" + ("" if apart else "_union"),
        title="The temporal stream on HMDB-51 and UCF-101 at once"
        + (", a classifier for each" if apart else ", one classifier for both"),
        model=replace(base.model, heads=heads),
        source=Source(
            PAPER,
            "section 6, table 2",
            "HMDB-51",
            f"{55.4 if apart else 52.8} % top-1, 25x10, HMDB-51 split 1",
            ("Give both datasets: `vadis train HMDB51 UCF101 --recipe ...`. " + FLOW + DECAY).rstrip(),
        ),
    )


def spatial_vgg16() -> Recipe:
    """VGG-16 on frames of UCF-101: 120 passes of 128 videos a step, in three rates."""
    base = spatial("all")
    return replace(
        base,
        name="two_stream_spatial_vgg16_ucf101",
        title="The spatial stream on VGG-16, from ImageNet",
        data=replace(base.data, batch_size=128, augment=Augment(crop="multi_scale", short_side=(256, 256))),
        model=replace(base.model, name="two_stream_spatial_vgg16", dropout=0.85),
        optim=OptimConfig(
            lr=5e-4,
            weight_decay=5e-4,
            no_decay=("bias",),
            length=120,
            schedule="step",
            milestones=(80.0, 100.0),
        ),
        source=Source(
            CODE,
            "cnn_ucf101_spatial.m",
            "UCF-101",
            "",
            "In the code the last layer learns alone at 1e-3 for the first 30 of the 120 passes. Its crops "
            "are cut near the borders, ours from five places.",
        ),
    )


def temporal_vgg16() -> Recipe:
    """VGG-16 on stacks of ten flow fields of UCF-101, from ImageNet: 1,600 passes."""
    base = spatial_vgg16()
    return replace(
        base,
        name="two_stream_temporal_vgg16_ucf101",
        title="The temporal stream on VGG-16, from ImageNet",
        data=replace(base.data, augment=Augment(crop="multi_scale", short_side=(256, 256))),
        model=replace(base.model, name="two_stream_temporal_vgg16", dropout=0.9),
        optim=replace(base.optim, length=1_600, milestones=(1_000.0, 1_500.0)),
        source=Source(
            CODE,
            "cnn_ucf101_temporal.m",
            "UCF-101",
            "",
            "Its crops are of 256, 224, 192 or 168 pixels in either direction, as ours are.",
        ),
    )
