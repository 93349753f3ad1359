"""How the authors of P3D and LGD spell their later networks (`vadis.models.p3d`, `vadis.models.lgd`).

The repository is Optimization-Planning-for-3D-ConvNets, model/p3d_resnet.py and model/lgd_p3d_resnet.py. The
length of the first kernel in time is `early_stride`. An LGD checkpoint has two classifiers, of which the
authors' code uses that of the local path when it tests; that is what is built. Checkpoints of p3da_resnet.py,
p3db_resnet.py and p3dc_resnet.py have the same keys: give `blocks="A"`, "B" or "C" with them.
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules

LEAF = r"(weight|bias|running_mean|running_var)"
DIFFUSIONS = {
    "fc1": "local_to_global.reduce",
    "fc2": "local_to_global.expand",
    "fc3": "global_to_global.reduce",
    "fc4": "global_to_global.expand",
    "fc5": "global_to_local.reduce",
    "fc6": "global_to_local.expand",
}


def _trunk(prefix: str = "") -> list[tuple[str, str]]:
    """Stem and stages; `prefix` is what stands before our keys."""
    rules = [(r"conv1\.weight", f"{prefix}stem.conv.weight"), (rf"bn1\.{LEAF}", rf"{prefix}stem.bn.\1")]
    for stage in range(4):
        theirs, ours = rf"layer{stage + 1}\.(\d+)", rf"{prefix}stages.{stage}.\1"
        rules.append((rf"{theirs}\.((?:conv|bn)\d)\.{LEAF}", rf"{ours}.\2.\3"))
        rules.append((rf"{theirs}\.conv2_t\.weight", rf"{ours}.conv2_time.weight"))
        rules.append((rf"{theirs}\.downsample\.0\.{LEAF}", rf"{ours}.shortcut.conv.\2"))
        rules.append((rf"{theirs}\.downsample\.1\.{LEAF}", rf"{ours}.shortcut.bn.\2"))
    return rules


def _diffusions() -> list[tuple[str, str]]:
    return [
        (rf"layer{stage + 1}\.(\d+)\.{theirs}\.{LEAF}", rf"diffusions.stages_{stage}_\1.{ours}.\2")
        for stage in range(4)
        for theirs, ours in DIFFUSIONS.items()
    ]


def _options(arrays: Arrays) -> dict[str, Any]:
    channels, early_stride = arrays["conv1.weight"].shape[1:3]
    found: dict[str, Any] = {"early_stride": int(early_stride)}
    return {**found, "in_channels": int(channels)} if channels != 3 else found


def _lgd_options(arrays: Arrays) -> dict[str, Any]:
    return {**_options(arrays), "order": "code", "head_mode": "local"}


OPTIMIZATION_PLANNING = (
    Layout(
        "optimization_planning_p3d",
        ("p3d_r50", "p3d_r101"),
        "layer1.0.conv2_t.weight",
        by_rules(*_trunk(), (rf"fc\.{LEAF}", r"head.\1")),
        options=_options,
    ),
    Layout(
        "optimization_planning_lgd",
        ("lgd_p3d_r*",),
        "layer1.0.fc6.weight",
        by_rules(
            *_trunk("backbone."),
            *_diffusions(),
            (rf"fc\.{LEAF}", r"head.\1"),
            (rf"fc_g\.{LEAF}", r"head_global.\1"),
        ),
        options=_lgd_options,
    ),
)
