"""How DavideA/c3d-pytorch spells C3D (`vadis.models.c3d`): the port in which Sports-1M weights circulate."""

from __future__ import annotations

from vadis.models.layouts.rules import Layout, by_rules

DAVIDEA = Layout(
    "davidea",
    ("c3d",),
    "conv3a.weight",
    by_rules(
        (r"conv([12])\.(weight|bias)", r"conv\1a.conv.\2"),
        (r"conv([345][ab])\.(weight|bias)", r"conv\1.conv.\2"),
        (r"(fc[67])\.(weight|bias)", r"\1.\2"),
        (r"fc8\.(weight|bias)", r"head.\1"),
    ),
    options=lambda theirs: {"pool5": "padded"},
)
