"""How public checkpoints spell our parameters: one file per source, one table.

A layout joins by one line in `LAYOUTS`. Where the keys are ours already, `ours` reads them.
"""

from __future__ import annotations

from vadis.models.layouts.davidea import DAVIDEA
from vadis.models.layouts.eco import ECO
from vadis.models.layouts.howto100m import HOWTO100M
from vadis.models.layouts.i3d import I3D
from vadis.models.layouts.kylemin import KYLEMIN
from vadis.models.layouts.matconvnet import MATCONVNET
from vadis.models.layouts.mfnet import MFNET
from vadis.models.layouts.mmaction2 import MMACTION2
from vadis.models.layouts.optimization_planning import OPTIMIZATION_PLANNING
from vadis.models.layouts.pyslowfast import PYSLOWFAST, PYSLOWFAST_C2D
from vadis.models.layouts.pytorchvideo import PYTORCHVIDEO
from vadis.models.layouts.qijiezhao import QIJIEZHAO
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
from vadis.models.layouts.timesformer import TIMESFORMER
from vadis.models.layouts.torchvision import TORCHVISION
from vadis.models.layouts.tsn import TSN
from vadis.models.layouts.vggish import VGGISH
from vadis.models.layouts.video_nonlocal_net import VIDEO_NONLOCAL_NET
from vadis.models.layouts.vmz import VMZ

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

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *I3D,
        *RESNETS3D,
        *ECO,
        *TIMESFORMER,
        *HOWTO100M,
        *KYLEMIN,
        *TORCHVISION,
        *VMZ,
        *MMACTION2,
        DAVIDEA,
        *QIJIEZHAO,
        *OPTIMIZATION_PLANNING,
        *MFNET,
        *TSN,
        *VGGISH,
        *PYTORCHVIDEO,
        *PYSLOWFAST,
        VIDEO_NONLOCAL_NET,
        PYSLOWFAST_C2D,
        *MATCONVNET,
        OURS,
    )
}
"""Name -> layout. Several may share an anchor; the one that fits the network without a fault is taken."""
