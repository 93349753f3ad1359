"""What the pictures of this package share: heat, arrows, enlarged pixels, captions, files.

No picture relies on colour alone: heat brightens as it rises and has a contour line, arrows grow with their
weight, patches that are seen in different steps carry different marks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadis.video.canvas import GREY, INK, Canvas, Colour, Point, wrap_text
from vadis.video.write import CONTAINERS, VideoWriter, write_png

MARGIN = 36
HEAT: tuple[tuple[int, int, int], ...] = (
    (18, 10, 40),
    (87, 16, 110),
    (188, 55, 84),
    (249, 142, 9),
    (252, 255, 164),
)
"""Dark to bright, even in print and for the colour-blind: the stops lie on one rising line of lightness."""


def heat_colours(share_HW: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Colours (H, W, 3), 0 to 255, of shares in [0, 1]; what lies outside is cut off."""
    stops = np.array(HEAT, dtype=np.float64)
    place = np.clip(share_HW, 0, 1) * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    return stops[low] + (stops[low + 1] - stops[low]) * (place - low)[..., None]


def lay_heat(
    frame_HWC: npt.NDArray[np.uint8], share_HW: npt.NDArray[np.floating], contour: float = 0.5
) -> npt.NDArray[np.uint8]:
    """A frame, greyed, under heat that is the more solid the higher the share, and a contour line.

    share_HW: in [0, 1], as large as the frame. contour: the share at which a white line is drawn.
    """
    grey = frame_HWC.astype(np.float64).mean(axis=2, keepdims=True)
    ground = 0.35 * frame_HWC + 0.65 * grey
    solid = (0.8 * np.clip(share_HW, 0, 1) ** 0.6)[..., None]
    picture = ground * (1 - solid) + heat_colours(share_HW) * solid
    above = share_HW >= contour
    edge = np.zeros_like(above)
    edge[:-1] |= above[:-1] != above[1:]
    edge[:, :-1] |= above[:, :-1] != above[:, 1:]
    wide = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:, 1:] |= edge[:, :-1]
    picture[wide] = 255
    return (picture + 0.5).clip(0, 255).astype(np.uint8)


def enlarge(picture_HWC: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Each pixel becomes a square of `factor` x `factor`: nothing is blurred."""
    return picture_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def stretch_over_time(map_THW: npt.NDArray[np.floating], size_THW: Sequence[int]) -> npt.NDArray[np.float64]:
    """A coarse map at the size of the frames, linear in between; its positions are centres of equal cells."""
    out = np.asarray(map_THW, dtype=np.float64)
    for axis, size in enumerate(size_THW):
        place = np.clip((np.arange(size) + 0.5) * out.shape[axis] / size - 0.5, 0, out.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, out.shape[axis] - 1)
        share = (place - low).reshape([-1 if each == axis else 1 for each in range(out.ndim)])
        out = out.take(low, axis) * (1 - share) + out.take(high, axis) * share
    return out


def draw_arrow(canvas: Canvas, start: Point, end: Point, fill: Colour, width: float) -> None:
    """An arrow with a dark rim, so that it shows on any ground; `width` of its shaft in pixels."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    if length < 1:
        return
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    across = (-along[1], along[0])
    for colour, extra in ((INK, 1.6), (fill, 0.0)):
        head, half = 6 + 1.6 * width + extra, 2.6 + width + extra
        neck = (end[0] - along[0] * head, end[1] - along[1] * head)
        tip = (end[0] + along[0] * extra, end[1] + along[1] * extra)
        canvas.line([start, neck], colour, width + extra)
        canvas.area(
            [
                tip,
                (neck[0] + across[0] * half, neck[1] + across[1] * half),
                (neck[0] - across[0] * half, neck[1] - across[1] * half),
            ],
            colour,
        )


def draw_ring(canvas: Canvas, centre: Point, radius: float, fill: Colour, width: float = 2.5) -> None:
    """A circle of `radius` pixels with a dark rim on both sides."""
    angles = np.linspace(0, 2 * math.pi, 49)
    points = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
    canvas.line(points, INK, width + 2)
    canvas.line(points, fill, width)


def draw_heading(canvas: Canvas, title: str, subtitle: str, note: str = "") -> None:
    """Title and subtitle at the top, a note at the bottom; `heading_height` is what the top takes."""
    room = canvas.width - 2 * MARGIN
    canvas.text(MARGIN, 24, wrap_text(title, 26, room, 1)[0], 26, bold=True)
    for row, line in enumerate(wrap_text(subtitle, 15, room, 3)):
        canvas.text(MARGIN, 62 + 21 * row, line, 15, GREY)
    lines = wrap_text(note, 13, room, 4)
    for row, line in enumerate(lines):
        canvas.text(MARGIN, canvas.height - 20 - 19 * (len(lines) - row), line, 13, GREY)


def heading_height(width: int, subtitle: str) -> int:
    """Pixels that the heading of `draw_heading` takes."""
    return 62 + 21 * len(wrap_text(subtitle, 15, width - 2 * MARGIN, 3)) + 16


def note_height(width: int, note: str) -> int:
    """Pixels that the note of `draw_heading` takes."""
    return 19 * len(wrap_text(note, 13, width - 2 * MARGIN, 4)) + 34


def draw_play_head(canvas: Canvas, x: float, top: float, bottom: float) -> None:
    """Where in time the picture is: a line with a triangle above; all in pixels."""
    canvas.line([(x, top), (x, bottom)], INK, 2)
    canvas.area([(x - 6, top - 8), (x + 6, top - 8), (x, top)], INK)


def save(
    path: str | os.PathLike[str], pictures: Iterable[npt.NDArray[np.uint8]], fps: float | None = None
) -> Path:
    """Write the first picture as PNG, or all, `fps` a second, as a video: the name's ending says which.

    pictures: (H, W, 3) uint8 each. Raises ValueError for another ending, and for a video where there is
    nothing that moves (`fps` None).
    """
    ending = Path(path).suffix.lower()
    if ending in CONTAINERS:
        if fps is None:
            raise ValueError(
                f"{path}: there is nothing that moves in this picture; give a name that ends in .png"
            )
        with VideoWriter(path, fps) as writer:
            for picture_HWC in pictures:
                writer.write(picture_HWC)
        return Path(path)
    if ending != ".png":
        raise ValueError(f"{path}: the name of a picture ends in .png, that of a video in .mp4")
    return write_png(path, next(iter(pictures)))
