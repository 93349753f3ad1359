"""How the S3D-G of HowTo100M is spelled (antoine77340/S3D_HowTo100M, MIL-NCE; `vadis.models.s3d`).

The published file (s3d_howto100m.pth) also holds the network for sentences, `text_module`, which is no part
of ours. Its 512 outputs are a point in the space shared with sentences, not classes.
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules

STEM = "conv1a.conv.weight"
LEAF = r"(weight|bias|running_mean|running_var)"

RENAME = by_rules(
    (rf"conv1\.(conv|bn)1\.{LEAF}", r"conv1a.\1.\2"),
    (rf"conv_2b\.(conv|bn)1\.{LEAF}", r"conv2b.\1.\2"),
    (rf"conv_2c\.(conv|bn)1\.{LEAF}", r"conv2c.spatial.\1.\2"),
    (rf"conv_2c\.(conv|bn)2\.{LEAF}", r"conv2c.temporal.\1.\2"),
    (rf"gating\.fc\.{LEAF}", r"conv2c_gate.linear.\1"),
    (rf"mixed_(\w\w)\.conv_b(0)\.(conv|bn)1\.{LEAF}", r"mixed\1.branch\2.\3.\4"),
    (rf"mixed_(\w\w)\.conv_b([12])_a\.(conv|bn)1\.{LEAF}", r"mixed\1.branch\2_reduce.\3.\4"),
    (rf"mixed_(\w\w)\.conv_b([12])_b\.(conv|bn)1\.{LEAF}", r"mixed\1.branch\2.spatial.\3.\4"),
    (rf"mixed_(\w\w)\.conv_b([12])_b\.(conv|bn)2\.{LEAF}", r"mixed\1.branch\2.temporal.\3.\4"),
    (rf"mixed_(\w\w)\.conv_b(3)_b\.(conv|bn)1\.{LEAF}", r"mixed\1.branch\2.\3.\4"),
    (rf"mixed_(\w\w)\.gating_b(\d)\.fc\.{LEAF}", r"mixed\1.gates.\2.linear.\3"),
    (rf"fc\.{LEAF}", r"head.\1"),
)


def options(arrays: Arrays) -> dict[str, Any]:
    """Which stem: of 2x4x4 for pixels packed into 24 channels, or of 3x7x7."""
    stem = arrays.get("conv1.conv1.weight")
    packed = stem is None or stem.shape[2:] == (2, 4, 4)
    return {"form": "howto100m" if packed else "howto100m_plain_stem"}


def unpack(arrays: Arrays) -> Arrays:
    """Reorder a stem for packed pixels into the convolution of the pixels that it is.

    Channel ((dt * 2 + dh) * 2 + dw) * C + c of a packed position is the pixel (dt, dh, dw) of channel c, so
    O x 8C x 2 x 4 x 4 are O x C x 4 x 8 x 8. Returns the arrays by our keys; others are as they were.
    """
    stem = arrays.get(STEM)
    if stem is None or stem.ndim != 5 or stem.shape[1] % 8 or stem.shape[2:] != (2, 4, 4):
        return arrays
    channels = stem.shape[1] // 8
    apart = stem.reshape(-1, 2, 2, 2, channels, 2, 4, 4)  # O, dt, dh, dw, C, T, H, W
    together = apart.transpose(0, 4, 5, 1, 6, 2, 7, 3)  # O, C, T, dt, H, dh, W, dw
    return {**arrays, STEM: together.reshape(-1, channels, 4, 8, 8)}


HOWTO100M = (
    Layout(
        "howto100m",
        ("s3dg",),
        "mixed_3b.gating_b0.fc.weight",
        RENAME,
        options,
        left_out=r"text_module\..*",
        adapt=unpack,
    ),
)
