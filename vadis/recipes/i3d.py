"""I3D and the 3D-ConvNet of its paper: on Kinetics-400, on UCF-101 and HMDB-51, and per frame on Charades.

Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv:1705.07750), section 2.5, and the README of the
authors' repository (kinetics-i3d), which prints the schedule. Charades: the winning entry of 2017 as
piergiaj/pytorch-i3d trains it.

Flow is clipped to 20 pixels a frame at 25 frames a second and divided by 20; the authors compute it by TV-L1
before. Stored flow is read (`vadis flow`), or made on the way (`--flow METHOD`).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import (
    Augment,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    Recipe,
    RunConfig,
    Source,
)

PAPER = "I3D (arXiv:1705.07750)"
FIXED_SIDE = Augment(short_side=(256, 256))


def kinetics() -> Recipe:
    """115,000 steps of 64 x 6 clips of 64 frames, from random weights."""
    return Recipe(
        name="i3d_inception_k400",
        title="I3D from random weights",
        data=DataConfig(num_frames=64, fps=25.0, size=256, crop=224, batch_size=384, augment=FIXED_SIDE),
        model=ModelConfig(name="i3d_inception", dropout=0.5),
        optim=OptimConfig(
            lr=0.1,
            weight_decay=1e-7,
            unit="steps",
            length=115_000,
            schedule="step",
            milestones=(97_000.0, 108_000.0),
        ),
        source=Source(
            PAPER,
            "section 2.5; README of kinetics-i3d",
            "Kinetics-400",
            "68.4 % top-1, 88.0 % top-5, whole video, Kinetics-400 test",
            "The authors wait for 64 of 68 replicas a step and normalise each replica's 6 clips by "
            "themselves.",
        ),
    )


def kinetics_imagenet() -> Recipe:
    """The same from GoogLeNet's ImageNet weights, each filter repeated along time."""
    base = kinetics()
    return replace(
        base,
        name="i3d_inception_k400_imagenet",
        title="I3D from inflated ImageNet weights",
        model=replace(base.model, init="imagenet"),
        source=replace(
            base.source,
            expected="71.1 % top-1, 89.3 % top-5, whole video, Kinetics-400 test",
            differs="The authors' image network has batch norm statistics of their own training; ours is "
            "torchvision's GoogLeNet. " + base.source.differs,
        ),
    )


def flow_kinetics(start: str | None = None) -> Recipe:
    """The flow stream by the README: 115,000 steps, then again from the full rate to 155,000.

    start: None, or "imagenet".
    """
    base = kinetics_imagenet() if start else kinetics()
    return replace(
        base,
        name="i3d_inception_flow_k400" + ("_imagenet" if start else ""),
        title="I3D on flow from " + ("inflated ImageNet weights" if start else "random weights"),
        model=replace(base.model, name="i3d_inception_flow"),
        optim=replace(base.optim, milestones=(97_000.0, 104_500.0)),
        source=replace(
            base.source,
            expected=("63.4 % top-1, 84.9 % top-5" if start else "61.5 % top-1, 83.4 % top-5")
            + ", whole video, Kinetics-400 test",
            differs="The authors go on from 0.1 again: to 140,000 steps, at 0.01 to 150,000, at 0.001 to "
            "155,000. So does a second run: --init the first one's file, --set optim.length=40000 --set "
            "optim.milestones=25000,35000. " + base.source.differs,
        ),
    )


def flow_fine_tuning(dataset: str, expected: str) -> Recipe:
    """The flow stream on UCF-101 or HMDB-51, from ImageNet and Kinetics-400."""
    base = fine_tuning(dataset, expected)
    return replace(
        base,
        name=f"i3d_inception_flow_{dataset.lower().replace('-', '')}",
        title="I3D on flow, fine-tuned from Kinetics-400",
        model=replace(base.model, name="i3d_inception_flow", init="k400_imagenet"),
        source=replace(
            base.source,
            expected=f"{expected} % top-1, whole video, {dataset}, mean of three splits, flow only",
        ),
    )


def fine_tuning(dataset: str, expected: str) -> Recipe:
    """All layers on UCF-101 or HMDB-51, 5,000 steps of 16 x 6 clips, from Kinetics-400."""
    base = kinetics()
    return replace(
        base,
        name=f"i3d_inception_{dataset.lower().replace('-', '')}",
        title="I3D fine-tuned from Kinetics-400",
        data=replace(base.data, batch_size=96),
        model=replace(base.model, init="k400"),
        optim=replace(
            base.optim, lr=0.01, length=5_000, schedule="plateau", milestones=(), gamma=0.1, patience=3
        ),
        source=Source(
            PAPER,
            "section 2.5, table 5",
            dataset,
            f"{expected} % top-1, whole video, {dataset}, mean of three splits, RGB only",
            "The paper divides the rate by ten where the validation loss stops falling and prints no "
            "rate; we start at 0.01 and watch the validation's top-1.",
        ),
    )


def charades() -> Recipe:
    """A loss on each frame and one on the clip, half and half; 40 clips at a time, four times a step."""
    base = kinetics()
    return replace(
        base,
        name="i3d_inception_charades",
        title="I3D that answers per frame",
        data=replace(base.data, fps=24.0, batch_size=160),
        model=replace(base.model, init="k400_imagenet"),
        loss=LossConfig(kind="dense", frame_weight=0.5),
        optim=replace(base.optim, length=2_000, milestones=(300.0, 1_000.0)),
        run=RunConfig(part_size=40),
        source=Source(
            "I3D (arXiv:1705.07750); Charades challenge 2017",
            "train_i3d.py of piergiaj/pytorch-i3d",
            "Charades",
            "34.4 % mean AP, Charades challenge 2017, classification, RGB and flow",
            "The authors' script runs to 64,000 steps unless stopped; after the second drop of the rate "
            "we stop at 2,000. The expected number is that of the two-stream entry.",
        ),
    )


def convnet_3d() -> Recipe:
    """The paper's 3D-ConvNet: C3D with batch norm, 15 clips of 16 frames on each of 64 GPUs."""
    base = kinetics()
    return replace(
        base,
        name="c3d_bn_k400",
        title="The I3D paper's 3D-ConvNet",
        data=replace(
            base.data,
            num_frames=16,
            size=None,
            crop=None,
            batch_size=960,
            augment=Augment(short_side=(128, 128)),
        ),
        model=ModelConfig(name="c3d_bn", dropout=0.5),
        source=Source(
            PAPER,
            "sections 2.2 and 2.5, table 2",
            "Kinetics-400",
            "56.1 % top-1, whole video, Kinetics-400 test",
            "The paper gives one description of training for all its networks; the steps are those of I3D.",
        ),
    )
