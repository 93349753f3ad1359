"""Flow as 8-bit grey levels and back, by the rounding of each toolkit that has written flow pictures.

Whoever stores flow as pictures clips it to a bound, 20 pixels a frame, and spreads -bound..bound over 0..255.
The toolkits differ in one step, how a fraction becomes a level, and so in what "nothing moves" is called: 128
for denseflow, 127 for MediaPipe. A rule here is that step under the toolkit's name, and the way back.

Source: the toolkits' programs (denseflow, Charades' two-stream code, MediaPipe, video_features, the MATLAB of
Gkioxari and Malik's action tubes). Files hold 8 bits, so where a program hands on fractions (Charades) or 256
(video_features), `to_levels` gives its own numbers and `quantise` the nearest level there is.

Legend: any shape of values; fields are (..., 2), u (to the right) and v (down) in pixels a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.specs import FLOW_BOUND

RULES: dict[str, str] = {
    "denseflow": "255 (v + bound) / (2 bound), rounded half to even; what is still is 128 (TSN, mmaction2)",
    "charades": "the same without a rounding of its own; the picture's writer rounds",
    "mediapipe": "the same, cut off instead of rounded; what is still is 127",
    "video_features": "128 + 255 v / (2 bound), rounded half to even; reaches 256, which no file holds",
    "brox": "128 + 128 v / bound, rounded (action tubes: 16 v + 128, so a bound of 8)",
}
"""The names of the rules, and what each does."""

_AROUND_128 = ("video_features", "brox")


def to_levels(values: ArrayLike, bound: float = FLOW_BOUND, rule: str = "denseflow") -> NDArray[np.float64]:
    """Levels as the toolkit of a rule computes them, float64, of the same shape as `values`.

    values: pixels a frame. bound: pixels a frame that become the first and the last level. Raises ValueError.
    """
    _check(bound, rule)
    clipped = np.clip(np.asarray(values, np.float64), -bound, bound)
    if rule == "video_features":
        return np.rint(128 + 255 / (2 * bound) * clipped)
    if rule == "brox":
        return np.floor(np.clip(128 + 128 / bound * clipped, 0, 255) + 0.5)  # MATLAB's uint8
    levels = 255 * (clipped + bound) / (2 * bound)
    if rule == "denseflow":
        return np.rint(levels)
    return np.floor(levels) if rule == "mediapipe" else levels


def quantise(values: ArrayLike, bound: float = FLOW_BOUND, rule: str = "denseflow") -> NDArray[np.uint8]:
    """The levels as a picture holds them, uint8, of the same shape as `values` (pixels a frame).

    bound: pixels a frame that become 0 and 255. rule: one of `RULES`. Raises ValueError.
    """
    return np.minimum(np.rint(to_levels(values, bound, rule)), 255).astype(np.uint8)


def dequantise(levels: ArrayLike, bound: float = FLOW_BOUND, rule: str = "denseflow") -> NDArray[np.float32]:
    """Pixels a frame of levels (0 to 255), float32, of the same shape: the inverse of `quantise`.

    Inside the bound (pixels a frame) it misses by half a level at most: bound / 255 pixels (0.08 of 20). A
    rule that cuts off is answered with the middle of what falls onto a level. Raises ValueError.
    """
    _check(bound, rule)
    values = np.asarray(levels, np.float32)
    if rule in _AROUND_128:
        steps = 255 / 2 if rule == "video_features" else 128
        values = (values - np.float32(128)) * np.float32(bound / steps)
    else:
        middle = 0.5 if rule == "mediapipe" else 0.0
        values = (values + np.float32(middle)) * np.float32(2 * bound / 255) - np.float32(bound)
    return np.clip(values, -bound, bound).astype(np.float32, copy=False)


def _check(bound: float, rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"there is no rounding called {rule!r}; there are {', '.join(RULES)}")
    if not (np.isfinite(bound) and bound > 0):
        raise ValueError(f"the bound must be a positive number of pixels a frame, got {bound}")
