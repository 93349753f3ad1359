"""How torchvision spells its video networks.

R3D-18, MC3-18 and R(2+1)D-18 (`vadis.models.r2plus1d`); S3D (`vadis.models.s3d`), which numbers layers as
kylemin does, and its parts as well. Others build with torchvision's residual networks and so have
their keys: VMZ's PyTorch port and what was converted for it (`vadis.models.layouts.vmz`). Where shapes
cannot tell (R3D-18, MC3-18), torchvision's own is assumed.
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.kylemin import by_number
from vadis.models.layouts.rules import Arrays, Layout, by_rules

RESNET_ANCHOR = "stem.0.weight"
LEAF = r"(weight|bias|running_mean|running_var)"


def _stage_rules(theirs: int, ours: int) -> tuple[tuple[str, str], ...]:
    """layer1 is stage2, and so on; a number is a place in a Sequential."""
    block, mine = rf"layer{theirs}\.(\d+)\.", rf"stage{ours}.\1."
    return (
        (block + r"conv(\d)\.0\.weight", mine + r"conv\2.weight"),
        (block + r"conv(\d)\.0\.0\.weight", mine + r"conv\2.spatial.weight"),
        (block + r"conv(\d)\.0\.1\." + LEAF, mine + r"conv\2.bn.\3"),
        (block + r"conv(\d)\.0\.2\.weight", mine + r"conv\2.depthwise.weight"),
        (block + r"conv(\d)\.0\.3\.weight", mine + r"conv\2.temporal.weight"),
        (block + r"conv(\d)\.1\." + LEAF, mine + r"bn\2.\3"),
        (block + r"downsample\.0\.weight", mine + r"shortcut.conv.weight"),
        (block + r"downsample\.1\." + LEAF, mine + r"shortcut.bn.\2"),
    )


rename_resnet = by_rules(
    (r"stem\.0\.weight", r"conv1.weight"),
    (r"stem\.1\." + LEAF, r"bn1.\1"),
    (r"stem\.3\.weight", r"conv1.temporal.weight"),
    (r"stem\.4\." + LEAF, r"last_bn1.\1"),
    *(rule for stage in (1, 2, 3, 4) for rule in _stage_rules(stage, stage + 1)),
    (r"fc\.(weight|bias)", r"head.\1"),
)


def settle_resnet(arrays: Arrays) -> Arrays:
    """What a place in a Sequential means depends on what else is in it.

    In a stem with a second convolution the first is the spatial half, and the first batch norm lies
    between; the first of two convolutions of which the second is depthwise is the pointwise one.
    """
    if "conv1.temporal.weight" in arrays:
        moved = {"conv1.weight": "conv1.spatial.weight"}
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            moved |= {f"bn1.{leaf}": f"conv1.bn.{leaf}", f"last_bn1.{leaf}": f"bn1.{leaf}"}
        arrays = {moved.get(key, key): array for key, array in arrays.items()}
    depthwise = {key.removesuffix("depthwise.weight") for key in arrays if key.endswith("depthwise.weight")}
    moved = {f"{conv}spatial.weight": f"{conv}pointwise.weight" for conv in depthwise}
    return {moved.get(key, key): array for key, array in arrays.items()}


def _options(theirs: Arrays) -> dict[str, Any]:
    """Their batch norm, and their one number of middle planes for each block."""
    factored = "stem.3.weight" in theirs
    return {"bn_epsilon": 1e-5} | ({"midplanes": "per_block"} if factored else {})


TORCHVISION_RESNET = Layout(
    "torchvision",
    ("r3d_18", "mc3_18", "r2plus1d_*"),
    RESNET_ANCHOR,
    rename_resnet,
    options=_options,
    adapt=settle_resnet,
)

S3D_PARTS = {
    "0": "conv",
    "1": "bn",
    "0.0": "spatial.conv",
    "0.1": "spatial.bn",
    "1.0": "temporal.conv",
    "1.1": "temporal.bn",
}

_by_number = by_number("features", S3D_PARTS, "classifier.1")


def rename_s3d(key: str) -> str | None:
    """Theirs to ours; the branch of one layer is that layer itself, where kylemin has a list of one."""
    return _by_number(key.replace(".branch0.", ".branch0.0."))


TORCHVISION_S3D = Layout(
    "torchvision_s3d",
    ("s3d",),
    "features.0.0.0.weight",
    rename_s3d,
    options=lambda arrays: {"form": "torchvision"},
)

TORCHVISION = (TORCHVISION_RESNET, TORCHVISION_S3D)
