"""S3D, S3D-G and the networks on the way to them, on Kinetics-400.

Xie et al., Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification
(arXiv:1712.04851), section 3.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

EXPECTED = {
    "s3d": "72.2 % top-1, 90.6 % top-5, Kinetics-400 val",
    "s3dg": "74.7 % top-1, 93.4 % top-5, Kinetics-400 val",
}
SEPARABLE = ("s3d", "s3dg", "s3d_fast")


def kinetics(model: str) -> Recipe:
    """64 frames at 25 Hz, 56 GPUs of 6 clips, from GoogLeNet's ImageNet weights."""
    return Recipe(
        name=f"{model}_k400",
        title="64 frames from inflated ImageNet weights",
        data=DataConfig(
            num_frames=64,
            fps=25.0,
            size=256,
            crop=224,
            batch_size=336,
            augment=Augment(short_side=(256, 256)),
        ),
        model=ModelConfig(
            name=model,
            init="imagenet",
            options={"form": "tf_slim"} if model in SEPARABLE else {},
            dropout=0.2,
        ),
        optim=OptimConfig(
            lr=0.1,
            weight_decay=1e-7,
            unit="steps",
            length=110_000,
            schedule="step",
            milestones=(80_000.0, 100_000.0),
        ),
        source=Source(
            "S3D (arXiv:1712.04851)",
            "section 3",
            "Kinetics-400",
            EXPECTED.get(model, ""),
            "We had no copy of the paper to check the schedule against: where the rate falls and training "
            "ends is as later descriptions give it. The image network is torchvision's GoogLeNet.",
        ),
    )


def kinetics_scratch() -> Recipe:
    """S3D from random weights."""
    base = kinetics("s3d")
    return replace(
        base,
        name="s3d_k400_scratch",
        title="64 frames from random weights",
        model=replace(base.model, init=None),
        source=replace(base.source, expected="69.4 % top-1, 89.1 % top-5, Kinetics-400 val"),
    )
