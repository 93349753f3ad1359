"""How the authors of non-local networks spell theirs (`vadis.models.nonlocal_net`): Caffe2, .pkl.

All are of the form `pooling="caffe2"`. The networks for long clips (128x1, 32x4) were trained with batch
norm frozen into a scale and a shift: their statistics are missing, and here become 0 and 1; they look at
groups of 4 frames in res3.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vadis.models.layouts.pyslowfast import (
    CAFFE2_HEAD,
    CAFFE2_NONLOCAL,
    CAFFE2_TRAINING,
    caffe2_rules,
    places,
)
from vadis.models.layouts.rules import Arrays, Layout, by_rules

BN_EPSILON = 1e-5
"""Of our batch norms, which add it to the variance: with the variance 1 - BN_EPSILON they only scale."""

GROUP_FRAMES = 4


def _options(arrays: Arrays) -> dict[str, Any]:
    options: dict[str, Any] = {"pooling": "caffe2", **places(arrays, CAFFE2_NONLOCAL)}
    if "nonlocal_after" in options and "res_conv1_bn_rm" not in arrays:
        options["group_frames"] = GROUP_FRAMES
    return options


def _fill_statistics(arrays: Arrays) -> Arrays:
    """Batch norms that are a scale and a shift only, as batch norms with fixed statistics."""
    filled = dict(arrays)
    for key, scale in arrays.items():
        norm = re.fullmatch(r"(.*bn\d?)\.weight", key)
        if norm is not None:
            filled.setdefault(f"{norm[1]}.running_mean", np.zeros_like(scale))
            filled.setdefault(f"{norm[1]}.running_var", np.full_like(scale, 1.0 - BN_EPSILON))
    return filled


VIDEO_NONLOCAL_NET = Layout(
    "video_nonlocal_net",
    ("c2d_*", "i3d_r*"),
    "conv1_w",
    by_rules(*caffe2_rules("", ""), *CAFFE2_HEAD),
    options=_options,
    left_out=CAFFE2_TRAINING,
    adapt=_fill_statistics,
)
