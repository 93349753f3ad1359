"""Pictures of optical flow: the colour wheel, arrows over the frame, methods side by side, as film or still.

In the field's usual colours the hue says where to and the strength how far: white is still, red goes right,
yellow down, blue left, violet up; beyond the largest motion of the scale colours darken. So two pictures can
be compared only with one scale, which is drawn beside them as a wheel with its radius.

Source: the wheel of Baker et al., IJCV 2011 (Middlebury): 55 hues, unevenly spaced as eyes tell them apart.

Legend: T frames or fields, H W pixels, C channels, N hues, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vadis.video.canvas import GREY, INK, Canvas, Colour, clock

Style = Literal["wheel", "arrows"]
STYLES: tuple[Style, ...] = ("wheel", "arrows")

SEGMENTS = (
    ((255, 0, 0), 15),  # red
    ((255, 255, 0), 6),  # yellow
    ((0, 255, 0), 4),  # green
    ((0, 255, 255), 11),  # cyan
    ((0, 0, 255), 13),  # blue
    ((255, 0, 255), 6),  # magenta, and back to red
)
"""Corners of the wheel, and hues from each to the next."""

MARGIN, GAP, LABEL, LEGEND = 16, 8, 24, 104
TILE = 460  # pixels a tile is wide
COLUMNS = 3
ARROW: Colour = (255, 222, 89)
ARROWS_ACROSS = 26


@lru_cache(maxsize=1)
def colour_wheel() -> NDArray[np.float64]:
    """wheel_N3: the hues in turn, RGB in [0, 1]; the first is red, and so is what comes after the last."""
    hues = []
    for place, (corner, steps) in enumerate(SEGMENTS):
        following = SEGMENTS[(place + 1) % len(SEGMENTS)][0]
        for step in range(steps):
            near, far = np.array(corner) / 255, np.array(following) / 255
            hues.append(near + (far - near) * np.floor(255 * step / steps) / 255)
    return np.array(hues)


def colour_flow(field_HW2: NDArray[np.floating], largest: float | None = None) -> NDArray[np.uint8]:
    """picture_HWC of a field by the wheel, uint8 RGB.

    largest: pixels a frame of full colour; None takes the field's own largest motion.
    """
    length_HW = np.hypot(field_HW2[..., 0], field_HW2[..., 1]).astype(np.float64)
    scale = float(length_HW.max()) if largest is None else largest
    strength_HW = length_HW / max(scale, 1e-9)
    wheel_N3 = colour_wheel()
    angle_HW = np.arctan2(-field_HW2[..., 1], -field_HW2[..., 0]) / np.pi  # -1 to 1, and 1 is to the right
    place_HW = (angle_HW + 1) / 2 * (len(wheel_N3) - 1)
    below_HW = np.floor(place_HW).astype(int)
    share_HW1 = (place_HW - below_HW)[..., None]
    hue_HW3 = wheel_N3[below_HW] * (1 - share_HW1) + wheel_N3[(below_HW + 1) % len(wheel_N3)] * share_HW1
    inside_HW1 = (strength_HW <= 1 + 1e-9)[..., None]
    pale_HW3 = 1 - np.minimum(strength_HW, 1)[..., None] * (1 - hue_HW3)
    return np.floor(255 * np.where(inside_HW1, pale_HW3, 0.75 * hue_HW3)).astype(np.uint8)


def usual_scale(fields: Sequence[NDArray[np.floating]]) -> float:
    """Pixels a frame that suit some fields, (H, W, 2) each: what one pixel in a hundred exceeds, at least 1.

    Rounded up to one figure or a half: 1, 1.5, 2, 2.5 ... 10, 15, 20.
    """
    lengths = [np.hypot(field_HW2[..., 0], field_HW2[..., 1]).ravel() for field_HW2 in fields]
    high = float(np.percentile(np.concatenate(lengths), 99)) if lengths else 1.0
    step = 0.5 if high <= 10 else 5.0
    return max(1.0, float(np.ceil(high / step - 1e-9)) * step)


def draw_arrows(
    frame_HWC: NDArray[np.uint8], field_HW2: NDArray[np.floating], largest: float, width: int = TILE
) -> NDArray[np.uint8]:
    """The frame, darkened, with arrows at a grid of points: picture_HWC, uint8, `width` pixels wide.

    largest: pixels a frame at which an arrow is as long as the grid is wide; what hardly moves is a dot.
    """
    high, wide = field_HW2.shape[:2]
    zoom = width / wide
    canvas = Canvas(width, max(1, round(high * zoom)))
    canvas.picture(0, 0, width, high * zoom, (frame_HWC * 0.6).astype(np.uint8))
    step = max(wide / ARROWS_ACROSS, 4.0)
    for y in np.arange(step / 2, high, step):
        for x in np.arange(step / 2, wide, step):
            row, column = int(y), int(x)
            around = field_HW2[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            motion_2 = around.mean((0, 1)) / largest * step * 1.4
            _draw_arrow(canvas, (x * zoom, y * zoom), motion_2 * zoom)
    return canvas.pixels()


def _draw_arrow(canvas: Canvas, start: tuple[float, float], motion_2: NDArray[np.floating]) -> None:
    length = float(np.hypot(*motion_2))
    if length < 1.5:
        canvas.box(start[0] - 0.75, start[1] - 0.75, start[0] + 0.75, start[1] + 0.75, ARROW)
        return
    along = motion_2 / length
    across = np.array([-along[1], along[0]])
    head = min(6.0, length * 0.6)
    tip = np.array(start) + motion_2
    neck = tip - along * head
    canvas.line([start, (neck[0], neck[1])], ARROW, 1.5)
    corners = (tip, neck + across * head * 0.45, neck - across * head * 0.45)
    canvas.area([(corner[0], corner[1]) for corner in corners], ARROW)


def draw_wheel(side: int) -> NDArray[np.uint8]:
    """The wheel itself as the colours of motion away from its middle: picture_HWC, white outside."""
    y_HW, x_HW = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    picture_HWC = colour_flow(np.stack([x_HW, y_HW], 2), 1.0)
    picture_HWC[np.hypot(x_HW, y_HW) > 1] = 255
    return picture_HWC


def draw_flow(
    frame_HWC: NDArray[np.uint8],
    fields: Mapping[str, NDArray[np.floating]],
    *,
    largest: float | None = None,
    style: Style = "wheel",
    title: str = "",
    time_seconds: float | None = None,
) -> NDArray[np.uint8]:
    """The frame and its flow side by side, a tile for each method, with the scale: picture_HWC, uint8 RGB.

    fields: (H, W, 2) in pixels a frame, by the words below each. largest: pixels a frame at the end of the
    scale; None chooses (`usual_scale`). time_seconds: of the frame, said below it. Sides are even, for video.
    """
    if style not in STYLES:
        raise ValueError(f"pictures of flow are in the style {' or '.join(STYLES)}, not {style!r}")
    scale = usual_scale(list(fields.values())) if largest is None else largest
    high, wide = frame_HWC.shape[:2]
    tall = round(TILE * high / wide)
    columns = min(COLUMNS, len(fields) + 1)
    rows = -(-(len(fields) + 1) // columns)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    below = MARGIN + rows * (tall + LABEL + GAP)
    canvas = Canvas(width + width % 2, (below + LEGEND + MARGIN + 1) // 2 * 2)
    words = "frame" if time_seconds is None else f"frame at {clock(time_seconds, 2)}"
    tiles = [(words, frame_HWC)]
    for name, field_HW2 in fields.items():
        drawn = (
            colour_flow(field_HW2, scale) if style == "wheel" else draw_arrows(frame_HWC, field_HW2, scale)
        )
        tiles.append((name, drawn))
    for place, (name, picture_HWC) in enumerate(tiles):
        left = MARGIN + place % columns * (TILE + GAP)
        top = MARGIN + place // columns * (tall + LABEL + GAP)
        canvas.picture(left, top, TILE, tall, picture_HWC)
        canvas.text(left, top + tall + 5, name, 15, INK)
    _draw_scale(canvas, below, scale, style, title)
    return canvas.pixels()


def _draw_scale(canvas: Canvas, top: float, largest: float, style: Style, title: str) -> None:
    """The wheel with its radius, or an arrow with its length, and what the picture is of."""
    side = LEGEND
    left = MARGIN + side + 16
    number = f"{largest:g} pixels a frame"
    if style == "wheel":
        canvas.picture(MARGIN, top, side, side, draw_wheel(2 * side))
        middle = top + side / 2
        canvas.line([(MARGIN + side / 2, middle), (MARGIN + side, middle)], INK, 1)
        canvas.text(left, middle - 10, f"rim: {number} (darker: faster); hue: where to; white: still", 15)
    else:
        canvas.box(MARGIN, top, MARGIN + side, top + side, (40, 44, 50), 4)
        step = 1.4 * TILE / ARROWS_ACROSS
        _draw_arrow(canvas, (MARGIN + (side - step) / 2, top + side / 2), np.array([step, 0.0]))
        canvas.text(left, top + side / 2 - 10, f"an arrow of this length: {number}; a dot: still", 15)
    if title:
        canvas.text(left, top + side / 2 + 14, title, 13, GREY)
