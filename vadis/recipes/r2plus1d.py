"""R(2+1)D and its relatives: R2D, f-R2D, R3D, MC2 to MC5, rMC2 to rMC5, on Kinetics-400; fine-tuning.

Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition (arXiv:1711.11248), section
4.1; the scripts of the authors' repository (VMZ), where a GPU's share of the batch is what the rate is for;
and torchvision's own training of three of them (torchvision/models/video/README.md).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "R(2+1)D (arXiv:1711.11248)"
K400 = "Kinetics-400"

EXPECTED = {
    "r2d_18": "58.9",
    "fr2d_18": "60.5",
    "r3d_18": "64.2",
    "mc2_18": "64.2",
    "mc3_18": "64.7",
    "mc4_18": "65.1",
    "mc5_18": "65.1",
    "rmc2_18": "64.9",
    "rmc3_18": "65.0",
    "rmc4_18": "65.1",
    "rmc5_18": "63.1",
    "r2plus1d_18": "68.0",
}
"""Top-1 of 16-frame clips in percent (paper, table 2)."""

TORCHVISION = {
    "r3d_18": "63.2 % top-1, 83.479 % top-5",
    "mc3_18": "63.96 % top-1, 84.13 % top-5",
    "r2plus1d_18_per_block": "67.463 % top-1, 86.175 % top-5",
}
"""What torchvision measured of its own three builds."""


def kinetics(model: str) -> Recipe:
    """45 epochs, the first ten a warm-up, the rate divided by ten at 20, 30 and 40; from random weights."""
    options = {"bn_epsilon": 1e-3} if model in ("r3d_18", "mc3_18") else {}
    return Recipe(
        name=f"{model}_k400",
        title="Sixteen frames from random weights",
        data=DataConfig(num_frames=16, batch_size=64, repeats=4, augment=Augment(short_side=(128, 128))),
        model=ModelConfig(name=model, options=options),
        optim=OptimConfig(
            lr=0.01,
            lr_for_batch=32,
            nesterov=True,
            weight_decay=1e-4,
            length=45,
            schedule="step",
            milestones=(20.0, 30.0, 40.0),
            warmup=10,
        ),
        source=Source(
            PAPER,
            "section 4.1, table 2; train_r2plus1d_kinetics.sh of VMZ",
            K400,
            f"{EXPECTED[model]} % top-1, 10x1, {K400} val" if model in EXPECTED else "",
            "An epoch of the authors is a million clips; ours is four of each video, about 960,000. Their "
            "script (35 epochs, no warm-up) is shorter than the paper's training, which is taken here. "
            "Frames keep their shape, theirs become 171 x 128.",
        ),
    )


def kinetics_34() -> Recipe:
    """R(2+1)D-34 on clips of 32 frames, otherwise the same."""
    base = kinetics("r2plus1d_34")
    return replace(
        base,
        title="R(2+1)D-34, 32 frames, from random weights",
        data=replace(base.data, num_frames=32),
        source=replace(
            base.source, place="section 4.3", expected=f"72.0 % top-1, 90.0 % top-5, {K400} val, RGB"
        ),
    )


def torchvision(model: str) -> Recipe:
    """torchvision's training: 15 frames a second, five clips of each video an epoch, 24 clips a GPU."""
    base = kinetics("r2plus1d_18")
    return replace(
        base,
        name=f"{model}_k400_torchvision",
        title="torchvision's build, from random weights",
        data=replace(base.data, fps=15.0, batch_size=1536, repeats=5),
        model=ModelConfig(name=model),
        optim=replace(base.optim, lr_for_batch=24, nesterov=False),
        source=Source(
            "torchvision",
            "torchvision/models/video/README.md",
            K400,
            f"{TORCHVISION[model]}, 5x1, {K400} val",
            "torchvision scales frames to 171 x 128 whatever their shape.",
        ),
    )


def fine_tuning(dataset: str, lr: float, repeats: int) -> Recipe:
    """R(2+1)D-34 from Kinetics-400: eight epochs, the rate divided by ten every second one."""
    base = kinetics_34()
    return replace(
        base,
        name=f"r2plus1d_34_{dataset.lower().replace('-', '')}",
        title="R(2+1)D-34 fine-tuned from Kinetics-400",
        data=replace(base.data, batch_size=32, repeats=repeats),
        model=replace(base.model, init="r2plus1d_34_k400.safetensors"),
        optim=replace(
            base.optim,
            lr=lr,
            lr_for_batch=4,
            weight_decay=0.005,
            length=8,
            milestones=(2.0, 4.0, 6.0),
            warmup=0,
        ),
        source=Source(
            PAPER,
            f"finetune_{dataset.lower().replace('-', '')}.sh of VMZ",
            dataset,
            "",
            "The published numbers are of RGB and flow together. An epoch of the authors is "
            f"{'100,000' if dataset == 'UCF-101' else '40,000'} clips; ours is {repeats} of each video.",
        ),
    )
