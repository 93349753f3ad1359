"""MFNet on Kinetics-400 and UCF-101.

Chen et al., Multi-Fiber Networks for Video Recognition (arXiv:1807.11195), and the training scripts of the
authors' repository (cypw/PyTorch-MFNet), which count in clips: 18, 28, 34 and 38 million.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "MFNet (arXiv:1807.11195)"
BATCH = 128


def kinetics() -> Recipe:
    """Forty million clips of 16 frames, the rate divided by ten after 18, 28, 34 and 38 million."""
    return Recipe(
        name="mfnet3d_k400",
        title="MFNet-3D from random weights",
        data=DataConfig(
            num_frames=16,
            frame_stride=2,
            size=256,
            crop=224,
            batch_size=BATCH,
            augment=Augment(short_side=(224, 288)),
        ),
        model=ModelConfig(name="mfnet3d"),
        optim=OptimConfig(
            lr=0.05,
            nesterov=True,
            weight_decay=1e-4,
            unit="steps",
            length=40_000_000 / BATCH,
            schedule="step",
            milestones=tuple(millions * 1_000_000 / BATCH for millions in (18, 28, 34, 38)),
        ),
        source=Source(
            PAPER,
            "train_kinetics.py of cypw/PyTorch-MFNet",
            "Kinetics-400",
            "72.8 % top-1, 90.4 % top-5, Kinetics-400 val",
            "The authors start from their own MFNet of images, which cannot be had here; from random "
            "weights, the number is not to be expected. Their script never stops by itself; we stop at 40 "
            "million clips. They draw the stride of each clip from 1, 2, 2, 3, change its shape by up to "
            "a fifth, and jitter hue, lightness and saturation.",
        ),
    )


def ucf101() -> Recipe:
    """Fifty epochs from Kinetics-400, the classifier at five times the rate of the rest."""
    base = kinetics()
    return replace(
        base,
        name="mfnet3d_ucf101",
        title="MFNet-3D fine-tuned from Kinetics-400",
        data=replace(base.data, batch_size=32),
        model=replace(base.model, init="mfnet3d_k400.safetensors", dropout=0.5),
        optim=replace(
            base.optim,
            lr=0.001,
            lr_scale={"head": 5.0},
            unit="epochs",
            length=50,
            milestones=(21.0, 42.0),
        ),
        source=Source(
            PAPER,
            "train_ucf101.py of cypw/PyTorch-MFNet",
            "UCF-101",
            "96.0 % top-1, UCF-101, mean of three splits",
            "The authors' rate falls after 200,000 and 400,000 clips: 21 and 42 epochs of split 1.",
        ),
    )
