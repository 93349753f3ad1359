"""How qijiezhao/pseudo-3d-pytorch spells P3D (`vadis.models.p3d`).

The port that most people have, and the form in which the authors' Kinetics weights circulate (RGB, and flow
of two channels). Its forms B and C and its first pooling differ from the authors', so the file's weights are
built as `variant="qijiezhao"`. res5 is two-dimensional there: `conv_normal` and four axes.
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules

LEAF = r"(weight|bias|running_mean|running_var)"


def _options(arrays: Arrays) -> dict[str, Any]:
    channels = int(arrays["conv1_custom.weight"].shape[1])
    return {"variant": "qijiezhao", **({"in_channels": channels} if channels != 3 else {})}


def _stages() -> list[tuple[str, str]]:
    rules = []
    for stage in range(4):
        theirs, ours = rf"layer{stage + 1}\.(\d+)", rf"stages.{stage}.\1"
        for name, mine in (("1", "1"), ("2", "2"), ("3", "2_time"), ("_normal", "2"), ("4", "3")):
            rules.append((rf"{theirs}\.(conv|bn){name}\.{LEAF}", rf"{ours}.\g<2>{mine}.\3"))
        rules.append((rf"{theirs}\.downsample\.0\.{LEAF}", rf"{ours}.shortcut.conv.\2"))
        rules.append((rf"{theirs}\.downsample\.1\.{LEAF}", rf"{ours}.shortcut.bn.\2"))
    return rules


QIJIEZHAO = (
    Layout(
        "qijiezhao",
        ("p3d_63", "p3d_131", "p3d_199"),
        "conv1_custom.weight",
        by_rules(
            (r"conv1_custom\.weight", "stem.conv.weight"),
            (rf"bn1\.{LEAF}", r"stem.bn.\1"),
            *_stages(),
            (rf"fc\.{LEAF}", r"head.\1"),
        ),
        options=_options,
    ),
)
