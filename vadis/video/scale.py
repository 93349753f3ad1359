"""From the decoder's picture to RGB as shown: colour by swscale, then size, then rotation.

Resizing is antialiased bilinear on full-size RGB, as the published I3D was fed. Letting swscale resize
on the way to RGB would filter the colour planes on their own: that moves the logits of I3D by 2 % to
2.7 % (relative L2), against 0.06 % for PyTorch's resize of the same RGB, which is also the fastest of
all that were measured (docs/decisions.md).
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image


def resize_picture(picture_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """picture_HWC (uint8) resized to height x width pixels by antialiased bilinear interpolation.

    By PyTorch where the program has loaded it anyway, else by Pillow (three to five times slower, but
    a process that only decodes starts a second sooner); the two differ by rounding, at most one level
    in places.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        image = Image.fromarray(np.ascontiguousarray(picture_HWC))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    picture_1CHW = torch.from_numpy(picture_HWC).permute(2, 0, 1)[None]
    resized_1CHW = torch.nn.functional.interpolate(
        picture_1CHW, (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    resized_HWC: NDArray[np.uint8] = resized_1CHW[0].permute(1, 2, 0).numpy()
    return resized_HWC


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """The size after the short side is brought to `short_side` pixels: (width, height).

    The long side is rounded to the nearest pixel (half to even); None or an equal side changes nothing.
    """
    if short_side is None or min(width, height) == short_side:
        return width, height
    if width <= height:
        return short_side, max(1, round(Fraction(height * short_side, width)))
    return max(1, round(Fraction(width * short_side, height))), short_side


@dataclass(frozen=True)
class Orientation:
    """How a player turns the coded picture: first transpose, then mirror columns, then mirror rows."""

    transpose: bool = False
    mirror_columns: bool = False
    mirror_rows: bool = False

    @property
    def degrees(self) -> int:
        """Clockwise rotation in degrees (0, 90, 180, 270); a mirrored picture gives the nearest of them."""
        if self.transpose:
            return 90 if self.mirror_columns else 270
        return 180 if self.mirror_columns and self.mirror_rows else 0

    def apply(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as shown, as a view."""
        if self.transpose:
            image_HWC = image_HWC.transpose(1, 0, 2)
        if self.mirror_columns:
            image_HWC = image_HWC[:, ::-1]
        if self.mirror_rows:
            image_HWC = image_HWC[::-1]
        return image_HWC


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read a frame's display matrix; angles between the quarter turns go to the nearest one.

    The matrix maps a coded point (p, q) to (a p + c q, b p + d q), x to the right and y down
    (ISO/IEC 14496-12, sec. 6.2.2); FFmpeg hands it on as nine 32-bit numbers a b u c d v x y w.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    raw = bytes(cast("Any", data))
    if len(raw) < 36:
        return Orientation()
    a, b, _, c, d = struct.unpack("=9i", raw[:36])[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, mirror_columns=a < 0, mirror_rows=d < 0)
    return Orientation(True, mirror_columns=c < 0, mirror_rows=b < 0)


class Scaler:
    """Writes decoded frames as RGB of one fixed size; the first frame decides size and orientation."""

    def __init__(self, short_side: int | None = None, threads: int = 1) -> None:
        if short_side is not None and short_side < 1:
            raise ValueError(f"short_side must be at least 1 pixel or None, got {short_side}")
        self._short_side = short_side
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None
        self._coded_size = (0, 0)
        self.size = (0, 0)
        self.changed_at: int | None = None

    def start(self, frame: VideoFrame) -> None:
        """Take size and orientation from `frame` unless an earlier one has given them."""
        if self._orientation is not None:
            return
        self._orientation = orientation_of(frame)
        width, height = frame.width, frame.height
        self._coded_size = (width, height)
        if self._orientation.transpose:
            width, height = height, width
        self.size = scaled_size(width, height, self._short_side)

    def write(self, frame: VideoFrame, out_HWC: NDArray[np.uint8]) -> bool:
        """Write `frame` into out_HWC (uint8 RGB of `size`); False where its coded size is not the first's."""
        self.start(frame)
        orientation = self._orientation
        if orientation is None:
            raise RuntimeError("start() sets the orientation")
        width, height = self.size
        if orientation.transpose:
            width, height = height, width
        rgb = self._reformatter.reformat(
            frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=self._threads
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)
        picture_HWC = rows[: frame.height, : frame.width * 3].reshape(frame.height, frame.width, 3)
        if orientation.transpose and frame.height != height:
            # columns before rows in the turned picture too, as everyone does who turns first: rounding
            # between the two steps is 0.7 % in the logits of I3D, and turning first costs three times this
            picture_HWC = resize_picture(picture_HWC, height, frame.width)
        if picture_HWC.shape[:2] != (height, width):
            picture_HWC = resize_picture(picture_HWC, height, width)
        out_HWC[...] = orientation.apply(picture_HWC)
        return (frame.width, frame.height) == self._coded_size
