"""How kylemin/S3D spells S3D (`vadis.models.s3d`), and torchvision after it.

Both number the layers of I3D's table, pools counted: conv1a is 0, mixed5c 15. In the branches of a mixed
block, too, they count what comes one after the other. Only the parts of a layer have other names. The
published file of kylemin (S3D_kinetics400.pt) has `module.` before each key.
"""

from __future__ import annotations

from collections.abc import Mapping

from vadis.models.i3d import LAYERS
from vadis.models.layouts.rules import Layout, Rename

PLACES = {
    "": "",
    "branch0.0.": "branch0.",
    "branch1.0.": "branch1_reduce.",
    "branch1.1.": "branch1.",
    "branch2.0.": "branch2_reduce.",
    "branch2.1.": "branch2.",
    "branch3.1.": "branch3.",
}
PARTS = {
    "conv": "conv",
    "bn": "bn",
    "conv_s": "spatial.conv",
    "bn_s": "spatial.bn",
    "conv_t": "temporal.conv",
    "bn_t": "temporal.bn",
}


def by_number(trunk: str, parts: Mapping[str, str], head: str) -> Rename:
    """A renaming from `{trunk}.{number of the layer}.{place}{part}.{leaf}`; `head` is the classifier."""
    modules = {
        f"{trunk}.{number}.{place}{part}": f"{name}.{our_place}{our_part}"
        for number, name in enumerate(LAYERS)
        for place, our_place in PLACES.items()
        for part, our_part in parts.items()
    }
    modules[head] = "head"

    def rename(key: str) -> str | None:
        module, _, leaf = key.rpartition(".")
        return f"{modules[module]}.{leaf}" if module in modules else None

    return rename


KYLEMIN = (
    Layout(
        "kylemin",
        ("s3d",),
        "base.0.conv_s.weight",
        by_number("base", PARTS, "fc.0"),
        options=lambda arrays: {"form": "kylemin"},
    ),
)
