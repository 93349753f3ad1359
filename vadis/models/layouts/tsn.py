"""How the TSN authors' PyTorch code spells TSN (`vadis.models.tsn`): yjxiong/tsn-pytorch.

The image network is `base_model`, BN-Inception in Caffe's names or a ResNet in torchvision's; the classifier
is `new_fc` of the wrapper, or `base_model.fc` where it was trained without dropout. How many channels the
first layer sees tells the modality: 3 RGB, 10 flow (five fields of two), 15 differences. The image network
alone, in the form in which its ImageNet weights go about (`bninception`), is TSN of one segment.
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.bninception import trunk_keys
from vadis.models.layouts.rules import Arrays, Layout, by_rules, by_table

STACK = 5
LEAF = r"(weight|bias|running_mean|running_var)"
RESNETS = ("tsn_r*",)


def snippet_options(first: str) -> Any:
    """What the first layer's channels say of a snippet; `first` is the key of its weight.

    Returns a function from arrays by key (every tensor of the file) to the options of our network.
    """

    def options(arrays: Arrays) -> dict[str, Any]:
        channels = arrays[first].shape[1]
        found: dict[str, Any] = {}
        if channels == 3:
            return found
        found = {"in_channels": 2} if channels % 2 == 0 else {"modality": "rgb_diff"}
        length = channels // (2 if channels % 2 == 0 else 3)
        return found if length == STACK else {**found, "stack": length}

    return options


def _classifiers(*names: str) -> dict[str, str]:
    return {f"{name}.{leaf}": f"head.{leaf}" for name in names for leaf in ("weight", "bias")}


def _resnet() -> tuple[tuple[str, str], ...]:
    stem = r"base_model\."
    rules = [
        (stem + r"conv1\.weight", "trunk.stem.conv.weight"),
        (stem + r"bn1\." + LEAF, r"trunk.stem.bn.\1"),
    ]
    for stage in (1, 2, 3, 4):
        block, ours = rf"{stem}layer{stage}\.(\d+)\.", rf"trunk.stages.{stage - 1}.\1."
        rules += [
            (block + r"(conv\d)\.weight", ours + r"\2.weight"),
            (block + r"(bn\d)\." + LEAF, ours + r"\2.\3"),
            (block + r"downsample\.0\.weight", ours + "shortcut.conv.weight"),
            (block + r"downsample\.1\." + LEAF, ours + r"shortcut.bn.\2"),
        ]
    return (*rules, (r"(?:new_fc|base_model\.fc)\.(weight|bias)", r"head.\1"))


TSN = (
    Layout(
        "tsn_pytorch",
        ("tsn_bninception",),
        "base_model.conv1_7x7_s2.weight",
        by_table(trunk_keys("trunk.", "base_model.") | _classifiers("new_fc", "base_model.fc")),
        options=snippet_options("base_model.conv1_7x7_s2.weight"),
    ),
    Layout(
        "tsn_pytorch_resnet",
        RESNETS,
        "base_model.conv1.weight",
        by_rules(*_resnet()),
        options=snippet_options("base_model.conv1.weight"),
    ),
    Layout(
        "bninception",
        ("tsn_bninception",),
        "conv1_7x7_s2.weight",
        by_table(trunk_keys("trunk.") | _classifiers("fc", "last_linear")),
        options=snippet_options("conv1_7x7_s2.weight"),
    ),
)
