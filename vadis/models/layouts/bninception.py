"""How the TSN authors' code spells BN-Inception (`vadis.models.bninception`): Caffe's names.

The same names stand in ECO's checkpoints (`vadis.models.layouts.eco`) and in TSN's.
"""

from __future__ import annotations

from vadis.models.bninception import BRANCHES, STEM

BLOCKS = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
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
