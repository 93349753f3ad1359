"""LGD networks on Kinetics-400: local and global diffusion on P3D, from ImageNet weights.

Qiu et al., Learning Spatio-Temporal Representation with Local and Global Diffusion (arXiv:1906.05571), and
the author's later code (ZhaofanQiu/Optimization-Planning-for-3D-ConvNets), whose record files print a
training in full.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

REPOSITORY = "Optimization Planning for 3D ConvNets"


def kinetics(model: str) -> Recipe:
    """128 epochs of 16-frame clips, one of warm-up, half a cosine; 16 clips four times a step."""
    return Recipe(
        name=f"{model}_k400",
        title="LGD on 16 frames from ImageNet weights",
        data=DataConfig(
            num_frames=16, size=256, crop=224, batch_size=64, augment=Augment(short_side=(256, 320))
        ),
        model=ModelConfig(name=model, init="imagenet", dropout=0.5),
        optim=OptimConfig(
            lr=0.04,
            lr_for_batch=64,
            nesterov=True,
            weight_decay=1e-4,
            length=128,
            schedule="cosine",
            warmup=1,
            warmup_lr=0.0004,
            clip_norm=40.0,
        ),
        source=Source(
            f"LGD (arXiv:1906.05571); {REPOSITORY}",
            "record/kinetics-lgd-p3d-resnet50-1x16x1-128e.yml",
            "Kinetics-400",
            "",
            "The author's four GPUs add up their gradients (256 clips a step, loss times four); here 64 "
            "clips are a step, and the rate grows with the batch. His crop is of another kind; we jitter "
            "the short side from 256 to 320 pixels. Tests are at 256 pixels, the training's validations "
            "at 224.",
        ),
    )


def kinetics_long() -> Recipe:
    """The paper's best: LGD-P3D-ResNet-101 on 128 frames, from the 16-frame network."""
    base = kinetics("lgd_p3d_r101")
    return replace(
        base,
        name="lgd_p3d_r101_128x1_k400",
        title="LGD on 128 frames from the 16-frame network",
        data=replace(base.data, num_frames=128, batch_size=16),
        model=replace(
            base.model,
            init="lgd_p3d_r101_k400.safetensors",
            frozen_batch_norm="all",
        ),
        optim=replace(base.optim, lr=0.01, length=32, warmup_lr=0.0001),
        source=replace(
            base.source,
            paper="LGD (arXiv:1906.05571)",
            place="table of Kinetics-400",
            expected="79.4 % top-1, 94.4 % top-5, Kinetics-400 val, RGB",
            differs="We had no copy of the paper to check against: how it trains on 128 frames (start, rate, "
            "length, batch norm) is our choice. The run has the 16-frame network's name, as its weights do.",
        ),
    )
