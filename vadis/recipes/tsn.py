"""TSN as its authors trained it on UCF-101 and HMDB-51, and as mmaction2 trained it on Kinetics-400.

Wang et al., Temporal Segment Networks (arXiv:1608.00859), section 4, the solver files of the authors'
repository (yjxiong/temporal-segment-networks) and the options of their PyTorch one (yjxiong/tsn-pytorch).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "TSN (arXiv:1608.00859)"
START = (
    "torchvision has no BN-Inception: `vadis weights inflate FILE -m tsn_bninception -o OUT` makes a "
    "start of a file, to be given to `--init`. "
)
BIASES = "In the authors' code every bias learns at twice the rate; with us those of the classifier do. "
SIZE = "They squeeze frames to 340 x 256, we make the short side 256."


def ucf101() -> Recipe:
    """RGB on UCF-101: 3,500 steps of 128 videos, the rate divided by ten every 1,500."""
    return Recipe(
        name="tsn_bninception_ucf101",
        title="TSN on frames, from ImageNet",
        data=DataConfig(
            rule="segments",
            num_frames=3,
            size=256,
            crop=224,
            batch_size=128,
            augment=Augment(crop="multi_scale", scales=(1.0, 0.875, 0.75, 0.66)),
        ),
        model=ModelConfig(
            name="tsn_bninception", init="imagenet", dropout=0.8, frozen_batch_norm="first_learns"
        ),
        optim=OptimConfig(
            lr=0.001,
            weight_decay=5e-4,
            no_decay=("norm", "bias"),
            lr_scale={"head.bias": 2.0},
            unit="steps",
            length=3_500,
            schedule="step",
            milestones=(1_500.0, 3_000.0),
            clip_norm=40.0,
        ),
        source=Source(
            PAPER,
            "models/ucf101/tsn_bn_inception_rgb_solver.prototxt",
            "UCF-101",
            "85.7 % top-1, 25x10, UCF-101 split 1",
            START + BIASES + SIZE,
        ),
    )


def ucf101_flow() -> Recipe:
    """Flow on UCF-101: 18,000 steps at five times the rate."""
    base = ucf101()
    return replace(
        base,
        name="tsn_bninception_ucf101_flow",
        title="TSN on stacks of five flow fields, from ImageNet",
        data=replace(base.data, augment=Augment(crop="multi_scale", scales=(1.0, 0.875, 0.75))),
        model=replace(base.model, options={"in_channels": 2}, dropout=0.7),
        optim=replace(
            base.optim,
            lr=0.005,
            lr_scale={"trunk.conv1.conv.weight": 5.0, "trunk.conv1.conv.bias": 10.0, "head.bias": 2.0},
            length=18_000,
            milestones=(10_000.0, 16_000.0),
            clip_norm=20.0,
        ),
        source=replace(
            base.source,
            place="models/ucf101/tsn_bn_inception_flow_solver.prototxt",
            expected="87.9 % top-1, 25x10, UCF-101 split 1",
        ),
    )


def hmdb51() -> Recipe:
    """RGB on HMDB-51: 2,500 steps."""
    base = ucf101()
    return replace(
        base,
        name="tsn_bninception_hmdb51",
        optim=replace(base.optim, length=2_500, milestones=(1_000.0, 2_000.0)),
        source=replace(
            base.source,
            place="models/hmdb51/tsn_bn_inception_rgb_solver.prototxt",
            dataset="HMDB-51",
            expected="",
        ),
    )


def hmdb51_flow() -> Recipe:
    """Flow on HMDB-51: 7,000 steps."""
    base = ucf101_flow()
    return replace(
        base,
        name="tsn_bninception_hmdb51_flow",
        optim=replace(base.optim, length=7_000, milestones=(4_000.0, 6_000.0)),
        source=replace(
            base.source,
            place="models/hmdb51/tsn_bn_inception_flow_solver.prototxt",
            dataset="HMDB-51",
            expected="",
        ),
    )


def kinetics() -> Recipe:
    """ResNet-50 on Kinetics-400: 100 epochs on eight GPUs with 32 videos each."""
    return Recipe(
        name="tsn_r50_k400",
        title="TSN on ResNet-50 and frames, from ImageNet",
        data=DataConfig(
            rule="segments",
            num_frames=3,
            size=256,
            crop=224,
            batch_size=256,
            augment=Augment(crop="multi_scale", scales=(1.0, 0.875, 0.75, 0.66)),
        ),
        model=ModelConfig(name="tsn_r50", init="imagenet", dropout=0.4),
        optim=OptimConfig(
            lr=0.01,
            weight_decay=1e-4,
            length=100,
            schedule="step",
            milestones=(40.0, 80.0),
            clip_norm=40.0,
        ),
        source=Source(
            "mmaction2, after TSN (arXiv:1608.00859)",
            "tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py",
            "Kinetics-400",
            "72.83 % top-1, 90.65 % top-5, 25x10, Kinetics-400 val",
            "Their classifier starts with a deviation of 0.01, ours with the authors' 0.001.",
        ),
    )
