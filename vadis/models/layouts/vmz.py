"""How VMZ, the code of the R(2+1)D and CSN papers, spells its networks (`vadis.models.r2plus1d`).

`vmz`: its PyTorch port and the IG-65M conversions (.pth), which have torchvision's keys. `vmz_caffe2`: the
models of its zoo (.pkl: {"blobs": {name: array}}), whose blobs are counted through: block i of all, from 0,
is `comp_i`, its convolutions are numbered from 1.
"""

from __future__ import annotations

import re
from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules
from vadis.models.layouts.torchvision import RESNET_ANCHOR, rename_resnet, settle_resnet

MODELS = (
    *("r2d_*", "fr2d_*", "r3d_*", "mc[2-5]_*", "rmc[2-5]_*", "ir_csn_*", "ip_csn_*"),
    *(f"r2plus1d_{depth}" for depth in (18, 34, 50, 101, 152)),  # but not torchvision's r2plus1d_18_per_block
)
EPSILON = 1e-3
BN = "(s|b|rm|riv)"
BN_LEAVES = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
"""The last is called an inverse variance and holds the variance itself."""


def _options(theirs: Arrays) -> dict[str, Any]:
    return {"bn_epsilon": EPSILON}


def _caffe2_options(theirs: Arrays) -> dict[str, Any]:
    """Its batch norm; and R2D's first kernel is as long as the clips."""
    length = theirs["conv1_w"].shape[2] if theirs["conv1_w"].ndim == 5 else 1
    return {"bn_epsilon": EPSILON} | ({"num_frames": length} if length > 3 else {})


rename_caffe2 = by_rules(
    (r"conv1_w", r"conv1.weight"),
    (r"conv1_middle_w", r"conv1.middle.weight"),
    (rf"conv1_middle_spatbn_relu_{BN}", r"conv1.bn.\1"),
    (rf"conv1_spatbn_relu_{BN}", r"bn1.\1"),
    (r"comp_(\d+)_conv_(\d+)_w", r"block\1.conv\2.weight"),
    (r"comp_(\d+)_conv_(\d+)_middle_w", r"block\1.conv\2.middle.weight"),
    (rf"comp_(\d+)_spatbn_(\d+)_{BN}", r"block\1.bn\2.\3"),
    (rf"comp_(\d+)_spatbn_(\d+)_middle_{BN}", r"block\1.conv\2.bn.\3"),
    (r"shortcut_projection_(\d+)_w", r"block\1.shortcut.conv.weight"),
    (rf"shortcut_projection_(\d+)_spatbn_{BN}", r"block\1.shortcut.bn.\2"),
    (r"last_out_L\d+_w", r"head.weight"),
    (r"last_out_L\d+_b", r"head.bias"),
)


def settle_caffe2(arrays: Arrays) -> Arrays:
    """Blocks counted through -> stages; convolution numbers without gaps; halves of a convolution by name.

    A stage begins with a block whose shortcut has a projection (stage2 of the shallow nets has none, but
    it begins with block 0 in any case). ir-CSN counts its depthwise convolution twice: 1, 3, 4.
    """
    projected = {int(key[5:].split(".")[0]) for key in arrays if re.match(r"block\d+\.shortcut\.conv", key)}
    starts = sorted(projected | {0})
    numbers: dict[str, set[int]] = {}
    for key in arrays:
        match = re.match(r"(block\d+)\.conv(\d+)\.", key)
        if match:
            numbers.setdefault(match[1], set()).add(int(match[2]))
    settled = {}
    for key, array in arrays.items():
        new = re.sub(r"(?<=\.)(s|b|rm|riv)$", lambda match: BN_LEAVES[match[1]], key)
        new = _settle_halves(new, arrays)
        match = re.match(r"block(\d+)\.(?:(conv|bn)(\d+)\.)?(.*)", new)
        if match:
            block = int(match[1])
            start = max(first for first in starts if first <= block)
            rest = match[4]
            if match[2]:
                order = sorted(numbers.get(f"block{block}", ()))
                number = int(match[3])
                rest = f"{match[2]}{order.index(number) + 1 if number in order else number}.{rest}"
            new = f"stage{starts.index(start) + 2}.{block - start}.{rest}"
        settled[new] = array
    return settled


def _settle_halves(key: str, arrays: Arrays) -> str:
    """The two parts of a convolution: spatial and temporal, or pointwise and depthwise."""
    match = re.fullmatch(r"(.*conv\d+)\.(middle\.)?weight", key)
    if match is None or f"{match[1]}.middle.weight" not in arrays:
        return key
    kernel = arrays[f"{match[1]}.middle.weight"].shape[2:]
    first, second = ("pointwise", "depthwise") if set(kernel) == {1} else ("spatial", "temporal")
    return f"{match[1]}.{first if match[2] else second}.weight"


VMZ = (
    Layout("vmz", MODELS, RESNET_ANCHOR, rename_resnet, options=_options, adapt=settle_resnet),
    Layout("vmz_caffe2", MODELS, "conv1_w", rename_caffe2, options=_caffe2_options, adapt=settle_caffe2),
)
