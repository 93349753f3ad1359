"""SlowFast, and Slow alone, on Kinetics from random weights; Charades and Something-Something from there.

Feichtenhofer et al., SlowFast Networks for Video Recognition (arXiv:1812.03982), section 4, and the
configurations of the authors' repository (PySlowFast).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, LossConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "SlowFast (arXiv:1812.03982)"
REPOSITORY = "PySlowFast"
K400 = "Kinetics-400"

EXPECTED = {
    "slowfast_r50_4x16": "75.6 % top-1, 92.1 % top-5",
    "slowfast_r50_8x8": "77.0 % top-1, 92.6 % top-5",
    "slowfast_r101_8x8": "77.9 % top-1, 93.2 % top-5",
    "slowfast_r101_16x8": "78.9 % top-1, 93.5 % top-5",
    "slowfast_r101_16x8_nl": "79.8 % top-1, 93.9 % top-5",
    "slow_r50_4x16": "72.7 % top-1, 90.3 % top-5",
    "slow_r50_8x8": "74.8 % top-1, 91.6 % top-5",
    "slowfast_r101_8x8_all": "77.90 % top-1, 93.27 % top-5",
}
"""On 10 clips x 3 crops of Kinetics-400's validation set: the paper's; of Slow, PySlowFast's; of the last,
pytorchvideo's."""

DIFFERS = (
    "After each epoch that it validates, PySlowFast measures batch norm's statistics anew on 200 batches; "
    "ours are the running ones. Tests are at 256 pixels, the training's validations at 224."
)


def kinetics(model: str) -> Recipe:
    """256 epochs, 34 of them a warm-up, half a cosine; a rate of 0.1 for 64 clips; from random weights."""
    return Recipe(
        name=f"{model}_k400",
        title="From random weights",
        data=DataConfig(
            rule="slowfast", size=256, crop=224, batch_size=64, augment=Augment(short_side=(256, 320))
        ),
        model=ModelConfig(name=model, dropout=0.5),
        optim=OptimConfig(
            lr=0.1,
            lr_for_batch=64,
            nesterov=True,
            weight_decay=1e-4,
            no_decay=("norm",),
            length=256,
            schedule="cosine",
            warmup=34,
            warmup_lr=0.01,
        ),
        source=Source(
            PAPER,
            "section 4, tables 2 and 3",
            K400,
            f"{EXPECTED[model]}, 10x3, {K400} val" if model in EXPECTED else "",
            DIFFERS,
        ),
    )


def released(model: str) -> Recipe:
    """The same as PySlowFast releases it: 196 epochs. Also for C2D and I3D from random weights."""
    base = kinetics(model)
    return replace(
        base,
        optim=replace(base.optim, length=196),
        source=replace(base.source, paper=REPOSITORY, place="configs/Kinetics"),
    )


def kinetics600() -> Recipe:
    """The largest network on Kinetics-600."""
    base = kinetics("slowfast_r101_16x8_nl")
    return replace(
        base,
        name="slowfast_r101_16x8_nl_k600",
        source=replace(
            base.source,
            place="section 4, table 4",
            dataset="Kinetics-600",
            expected="81.8 % top-1, 95.1 % top-5, 10x3, Kinetics-600 val",
        ),
    )


def charades() -> Recipe:
    """SlowFast-R50 16x8 on Charades, from the weights of 8x8: 57 epochs of 16 clips a step."""
    base = kinetics("slowfast_r50_8x8")
    return replace(
        base,
        name="slowfast_r50_16x8_charades",
        title="16x8 from the 8x8 network of Kinetics-400",
        data=replace(
            base.data,
            num_frames=64,
            frame_stride=2,
            batch_size=16,
            augment=Augment(short_side=(256, 340), inverse=True),
        ),
        model=replace(base.model, init="k400_pyslowfast", sync_batch_norm=True),
        loss=LossConfig(kind="multi_label"),
        optim=replace(
            base.optim,
            lr=0.0375,
            lr_for_batch=16,
            length=57,
            schedule="step",
            milestones=(41.0, 49.0),
            warmup=4,
            warmup_lr=0.0001,
        ),
        source=Source(
            REPOSITORY,
            "configs/Charades/SLOWFAST_16x8_R50.yaml",
            "Charades",
            "38.9 % mean AP, 10x3, Charades val, the largest score of the views",
            "The authors feed blue, green, red, which the network did not learn on Kinetics; we feed red, "
            "green, blue. " + DIFFERS,
        ),
    )


def charades_nonlocal() -> Recipe:
    """The paper's best on Charades: R101 with non-local blocks, from Kinetics-400."""
    base = charades()
    return replace(
        base,
        name="slowfast_r101_16x8_nl_charades",
        title="16x8 with non-local blocks from Kinetics-400",
        data=replace(base.data, num_frames=None, frame_stride=None),
        model=replace(
            base.model, name="slowfast_r101_16x8_nl", init="slowfast_r101_16x8_nl_k400.safetensors"
        ),
        source=replace(
            base.source,
            paper=PAPER,
            place="section 4, table 5",
            expected="42.5 % mean AP, 10x3, Charades val, the largest score of the views",
            differs="The schedule is the repository's for ResNet-50. " + DIFFERS,
        ),
    )


def something() -> Recipe:
    """SlowFast-R50 16x8 on Something-Something V2 from the 8x8 network: 22 epochs, never mirrored."""
    base = charades()
    return replace(
        base,
        name="slowfast_r50_16x8_ssv2",
        data=replace(base.data, rule="ssv2", augment=Augment(short_side=(256, 320), inverse=True, flip=0.0)),
        loss=LossConfig(),
        optim=replace(
            base.optim,
            lr=0.03,
            weight_decay=1e-6,
            length=22,
            milestones=(14.0, 18.0),
            warmup=0.19,
        ),
        source=replace(
            base.source,
            place="configs/SSv2/SLOWFAST_16x8_R50.yaml",
            dataset="Something-Something V2",
            expected="63.0 % top-1, 88.5 % top-5, 1x1, Something-Something V2 val",
        ),
    )
