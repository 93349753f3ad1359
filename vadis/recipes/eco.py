"""ECO on Kinetics-400, UCF-101 and Something-Something: one frame of each of sixteen parts of the video.

Zolfaghari et al., ECO: Efficient Convolutional Network for Online Video Understanding (arXiv:1804.09066), and
the solver files of the authors' repository.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "ECO (arXiv:1804.09066)"
START = (
    "The authors start the 2D part from BN-Inception and the 3D part from C3D-ResNet-18, both trained on "
    "Kinetics; neither can be had here, so all starts from random weights and the number is not to be "
    "expected. "
)
BATCH = (
    "The solver adds up the gradients of several parts; we take the 32 clips of the paper as the whole batch."
)


def lite() -> Recipe:
    """ECO-Lite: 60,000 steps, the rate divided by ten every 24,000."""
    return Recipe(
        name="eco_lite_k400",
        title="ECO-Lite on 16 segments from random weights",
        data=DataConfig(
            rule="segments",
            num_frames=16,
            size=256,
            crop=224,
            batch_size=32,
            augment=Augment(crop="multi_scale", scales=(1.0, 0.875, 0.75, 0.66)),
        ),
        model=ModelConfig(name="eco_lite", dropout=0.3),
        optim=OptimConfig(
            lr=0.001,
            nesterov=True,
            weight_decay=5e-4,
            unit="steps",
            length=60_000,
            schedule="step",
            milestones=(24_000.0, 48_000.0),
            clip_norm=40.0,
        ),
        source=Source(PAPER, "models_ECO_Lite/kinetics/solver.prototxt", "Kinetics-400", "", START + BATCH),
    )


def full() -> Recipe:
    """ECO-Full: 38,000 steps."""
    base = lite()
    return replace(
        base,
        name="eco_full_k400",
        title="ECO-Full on 16 segments from random weights",
        model=replace(base.model, name="eco_full"),
        optim=replace(base.optim, length=38_000, milestones=(24_000.0,), clip_norm=50.0),
        source=replace(
            base.source,
            place="models_ECO_Full/kinetics/solver.prototxt",
            expected="70.0 % top-1, 89.4 % top-5, Kinetics-400 val, ensemble of four networks",
        ),
    )


def ucf101() -> Recipe:
    """ECO-Lite from Kinetics-400 on UCF-101: 5,000 steps."""
    base = lite()
    return replace(
        base,
        name="eco_lite_ucf101",
        title="ECO-Lite fine-tuned from Kinetics-400",
        model=replace(base.model, init="eco_lite_k400.safetensors"),
        optim=replace(base.optim, length=5_000, milestones=(1_500.0, 3_000.0, 4_500.0)),
        source=Source(
            PAPER,
            "models_ECO_Lite/ucf101/solver.prototxt",
            "UCF-101",
            "94.8 % top-1, UCF-101, mean of three splits, ensemble of four networks",
            BATCH,
        ),
    )


def something() -> Recipe:
    """ECO-Lite from Kinetics-400 on Something-Something, never mirrored."""
    base = lite()
    return replace(
        base,
        name="eco_lite_ssv1",
        title="ECO-Lite fine-tuned from Kinetics-400",
        data=replace(base.data, augment=replace(base.data.augment, flip=0.0)),
        model=replace(base.model, init="eco_lite_k400.safetensors"),
        optim=replace(base.optim, nesterov=False, milestones=(25_000.0, 50_000.0)),
        source=Source(
            PAPER,
            "models_ECO_Lite/something_something/solver.prototxt",
            "Something-Something V1",
            "",
            BATCH + " Whether the authors mirror these clips we could not check; we do not.",
        ),
    )
