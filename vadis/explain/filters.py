"""The filters of the first layer: what a network looks for in the pixels themselves, over time.

Only these filters can be shown as pictures, because only they look at pixels: edges, colours, and, where
the kernel has a length in time, edges that move. The I3D paper (Carreira and Zisserman, arXiv:1705.07750,
figure 4) shows them so, to see how inflated ones have become filters of motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vadis.explain.sheet import MARGIN, draw_heading, enlarge, heading_height, note_height
from vadis.models.contract import VideoModel
from vadis.video.canvas import GREY, PAPER, Canvas

LOOPS = 6
FRAMES_A_SECOND = 6.0


@dataclass(frozen=True)
class Filters:
    """The filters of one layer that sees pixels.

    name: its key in the `state_dict`. weight_DCTHW: D filters over C channels, T frames, H x W pixels.
    motion_D: the share of each filter's energy (sum of squares) that is not the same in all frames: 0 for
    one that only looks at pictures, 1 for one that only looks at change.
    """

    name: str
    weight_DCTHW: npt.NDArray[np.float32]
    motion_D: npt.NDArray[np.float32]

    @property
    def num_frames(self) -> int:
        """T, the length in frames."""
        return self.weight_DCTHW.shape[2]


def first_filters(model: VideoModel) -> list[Filters]:
    """The filters of each layer of `model` that sees pixels (SlowFast has two); blue is never first."""
    found = []
    for key in model.input_weights:
        weight = model.state_dict()[key].detach().float().cpu().numpy()
        if weight.ndim == 4:  # of a network that reads frames one by one
            weight = weight[:, :, None]
        if model.spec.channel_order == "bgr":
            weight = weight[:, ::-1]
        total = (weight**2).sum(axis=(1, 2, 3, 4))
        still = (weight.mean(axis=2) ** 2).sum(axis=(1, 2, 3)) * weight.shape[2]
        motion = 1 - still / np.maximum(total, 1e-30)
        found.append(Filters(key, weight.copy(), np.clip(motion, 0, 1).astype(np.float32)))
    return found


def filter_pixels(filters: Filters) -> npt.NDArray[np.uint8]:
    """The filters as pictures: tiles_DTHWC, uint8, one scale for a whole filter, zero is mid-grey.

    Three channels are red, green and blue; any other number is drawn side by side in grey (flow: u, v), so
    that W is the number of channels times the width, with a column of mid-grey in between.
    """
    weight_DCTHW = filters.weight_DCTHW
    scale = np.abs(weight_DCTHW).max(axis=(1, 2, 3, 4), keepdims=True)
    values = np.rint(127.5 + 127.5 * weight_DCTHW / np.maximum(scale, 1e-30)).astype(np.uint8)
    if values.shape[1] == 3:
        return values.transpose(0, 2, 3, 4, 1)
    gap = np.full((*values.shape[:1], *values.shape[2:4], 1), 128, np.uint8)
    parts = [part for channel in range(values.shape[1]) for part in (values[:, channel], gap)]
    return np.concatenate(parts[:-1], axis=3)[..., None].repeat(3, axis=4)


def draw_filters(filters: Filters, title: str, *, width: int = 1200) -> npt.NDArray[np.uint8]:
    """Each filter as a row of its frames, the first on the left: (H, W, 3) uint8, `width` pixels wide."""
    tiles_DTHWC = filter_pixels(filters)
    count, frames, high, wide = tiles_DTHWC.shape[:4]
    label = 34
    columns = next(
        n for n in (4, 3, 2, 1) if n == 1 or (width - 2 * MARGIN) // n - label - 20 >= frames * (3 * wide + 3)
    )
    room = (width - 2 * MARGIN) // columns - label - 20
    factor = max(1, min(8, (room // frames - 3) // wide))
    rows = -(-count // columns)
    tall = max(factor * high + 5, 16)
    subtitle, note = _words(filters)
    top = heading_height(width, subtitle)
    canvas = Canvas(width, top + rows * tall + note_height(width, note))
    draw_heading(canvas, title, subtitle, note)
    for number, tiles in enumerate(tiles_DTHWC):
        column, row = divmod(number, rows)
        left = MARGIN + column * (label + room + 20)
        y = top + row * tall
        canvas.text(left + label - 8, y + factor * high / 2, str(number), 13, GREY, anchor="rm")
        for time, tile in enumerate(tiles):
            x = left + label + time * (factor * wide + 3)
            canvas.picture(x, y, factor * wide, factor * high, enlarge(tile, 2 * factor))
    return canvas.pixels()


def play_filters(filters: Filters, *, width: int = 640) -> Iterator[npt.NDArray[np.uint8]]:
    """All filters at once, frame by frame, again and again: pictures (H, W, 3) uint8 for a video.

    Raises ValueError where a filter has one frame only.
    """
    if filters.num_frames < 2:
        raise ValueError(
            f"{filters.name} sees one frame at a time, so nothing moves: give a name that ends in .png"
        )
    tiles_DTHWC = filter_pixels(filters)
    count, frames, high, wide = tiles_DTHWC.shape[:4]
    columns = max(1, round((count * high / wide) ** 0.5))
    factor = max(1, (width // columns - 6) // wide)
    rows = -(-count // columns)
    for time in [*range(frames)] * LOOPS:
        canvas = Canvas(columns * (factor * wide + 6) + 6, rows * (factor * high + 6) + 6 + 26, PAPER)
        for number, tiles in enumerate(tiles_DTHWC):
            row, column = divmod(number, columns)
            left, top = 6 + column * (factor * wide + 6), 6 + row * (factor * high + 6)
            canvas.picture(left, top, factor * wide, factor * high, enlarge(tiles[time], 2 * factor))
        foot = canvas.height - 13
        canvas.text(8, foot, f"{filters.name}: frame {time + 1} of {frames}", 15, GREY, anchor="lm")
        for step in range(frames):
            x = canvas.width - 12 - 16 * (frames - step)
            canvas.box(x, foot - 5, x + 11, foot + 6, (14, 17, 21) if step == time else (217, 221, 226), 3)
        yield canvas.pixels()


def _words(filters: Filters) -> tuple[str, str]:
    """What stands above and below the picture."""
    count, channels, frames, high, wide = filters.weight_DCTHW.shape
    colours = {3: "red, green, blue", 2: "u | v (flow)"}.get(channels, f"{channels} channels side by side")
    subtitle = (
        f"{filters.name}: {count} filters of {frames} frame{'s' * (frames > 1)} x {high} x {wide} pixels, "
        f"{colours}. Each row is one filter{', its first frame on the left' if frames > 1 else ''}."
    )
    note = "Mid-grey is zero; each filter has its own scale, the same for all of its frames."
    if frames > 1:
        moving = int((filters.motion_D > 0.5).sum())
        note += f" In {moving} of {count} more than half of the energy is change from frame to frame."
    return subtitle, note
