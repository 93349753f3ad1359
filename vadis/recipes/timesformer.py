"""TimeSformer on Kinetics-400, Kinetics-600 and Something-Something V2, from an image transformer.

Bertasius et al., Is Space-Time Attention All You Need for Video Understanding? (arXiv:2102.05095), section 4,
and the configurations of the authors' repository.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "TimeSformer (arXiv:2102.05095)"
K400, K600, SSV2 = "Kinetics-400", "Kinetics-600", "Something-Something V2"

EXPECTED = {
    K400: {
        "timesformer_space": "76.9 % top-1",
        "timesformer_joint": "77.4 % top-1",
        "timesformer_divided": "78.0 % top-1, 93.7 % top-5",
        "timesformer_local_global": "75.9 % top-1",
        "timesformer_axial": "73.5 % top-1",
        "timesformer_hr": "79.7 % top-1, 94.4 % top-5",
        "timesformer_l": "80.7 % top-1, 94.7 % top-5",
    },
    K600: {
        "timesformer_divided": "79.1 % top-1",
        "timesformer_hr": "81.8 % top-1",
        "timesformer_l": "82.2 % top-1",
    },
    SSV2: {
        "timesformer_space": "36.6 % top-1",
        "timesformer_joint": "58.5 % top-1",
        "timesformer_divided": "59.5 % top-1",
        "timesformer_local_global": "56.3 % top-1",
        "timesformer_axial": "56.2 % top-1",
        "timesformer_hr": "62.2 % top-1",
        "timesformer_l": "62.4 % top-1",
    },
}
"""On one clip x 3 crops of each validation set, all from ImageNet-21K."""

START = (
    "The paper starts from ImageNet-21K; `imagenet` is torchvision's ViT-B/16 of ImageNet-1K, from which the "
    "divided network has 75.8 % on Kinetics-400."
)


def kinetics(model: str, dataset: str = K400) -> Recipe:
    """15 epochs of 8 clips a step, the rate divided by ten after 11 and 14 of them."""
    high = model == "timesformer_hr"
    return Recipe(
        name=f"{model}_{'k400' if dataset == K400 else 'k600'}",
        title="From an image transformer",
        data=DataConfig(batch_size=8, augment=Augment(short_side=(448, 512) if high else (256, 320))),
        model=ModelConfig(name=model, init="imagenet", dropout=0.0, drop_path=0.1),
        optim=OptimConfig(
            lr=0.005,
            lr_for_batch=8,
            weight_decay=1e-4,
            length=15,
            schedule="step",
            milestones=(11.0, 14.0),
        ),
        source=Source(
            PAPER,
            "section 4; configs/Kinetics",
            dataset,
            f"{EXPECTED[dataset][model]}, 1x3, {dataset} val",
            START,
        ),
    )


def something(model: str) -> Recipe:
    """8, 16 (high resolution) or 64 (long) frames spread over the whole video, never mirrored."""
    base = kinetics(model)
    jitter = Augment(short_side=base.data.augment.short_side, inverse=True, flip=0.0)
    return replace(
        base,
        name=f"{model}_ssv2",
        data=replace(
            base.data, rule="ssv2", num_frames=64 if model == "timesformer_l" else None, augment=jitter
        ),
        source=Source(
            PAPER,
            "section 4; configs/SSv2",
            SSV2,
            f"{EXPECTED[SSV2][model]}, 1x3, {SSV2} val",
            START + " The authors feed blue, green, red; we feed red, green, blue.",
        ),
    )
