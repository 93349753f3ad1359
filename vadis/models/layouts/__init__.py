"""How public checkpoints spell our parameters: one file per source, one table.

A layout joins by one line in `LAYOUTS`. Where the keys are ours already, `ours` reads them.
"""

from __future__ import annotations

from vadis.models.layouts.i3d import I3D
from vadis.models.layouts.resnets3d import RESNETS3D
from vadis.models.layouts.rules import (
    Arrays,
    Imported,
    Layout,
    LayoutError,
    check_shapes,
    detect_layouts,
    to_ours,
)

__all__ = [
    "LAYOUTS",
    "Arrays",
    "Imported",
    "Layout",
    "LayoutError",
    "check_shapes",
    "detect_layouts",
    "to_ours",
]

OURS = Layout("ours", ("*",), "head.weight", rename=lambda key: key)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (*I3D, *RESNETS3D, OURS)}
"""Name -> layout. Several may share an anchor; the one that fits the network without a fault is taken."""
