"""How the TSN authors' code spells BN-Inception (`vadis.models.bninception`): Caffe's names.

The same names stand in ECO's checkpoints (`vadis.models.layouts.eco`) and in TSN's.
"""

from __future__ import annotations

STEM = {"conv1": "conv1_7x7_s2", "conv2_reduce": "conv2_3x3_reduce", "conv2": "conv2_3x3"}
BLOCKS = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
BRANCHES = {
    "one": "1x1",
    "three_reduce": "3x3_reduce",
    "three": "3x3",
    "double_reduce": "double_3x3_reduce",
    "double1": "double_3x3_1",
    "double2": "double_3x3_2",
    "project": "pool_proj",
}
NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")


def trunk_keys(ours: str = "", theirs: str = "") -> dict[str, str]:
    """Their key of each parameter of the trunk -> ours; `theirs` and `ours` stand before the keys."""
    units = {f"{ours}{mine}": f"{theirs}{name}" for mine, name in STEM.items()}
    for block in BLOCKS:
        for mine, name in BRANCHES.items():
            units[f"{ours}inception{block}.{mine}"] = f"{theirs}inception_{block}_{name}"
    keys: dict[str, str] = {}
    for mine, name in units.items():
        keys |= {f"{name}.{leaf}": f"{mine}.conv.{leaf}" for leaf in ("weight", "bias")}
        keys |= {f"{name}_bn.{leaf}": f"{mine}.bn.{leaf}" for leaf in NORM_LEAVES}
    return keys
