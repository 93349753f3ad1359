"""The picture of `layers.py`: a network from left to right, a box for each block, a row for each stream.

A box is as many frames wide, as many pixels high and as many deep as the tensor, and the bar below it is its
channels, so that one sees where a network gives up time, where space, and what it gets for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vadis.explain.layers import Block
from vadis.explain.sheet import MARGIN, draw_heading, heading_height, note_height
from vadis.models.contract import VideoModel
from vadis.models.cost import count_parameters
from vadis.video.canvas import GREY, INK, PALETTE, PAPER, Canvas, Colour, Point, mix, text_width

SIDE, LENGTH, BAR = 6.0, 6.5, 1.35
"""Pixels of the picture for the root of a number of pixels, of frames and of channels."""

SLANT = 0.36
"""How much of its width a box goes back."""

TEXT = 13
GAP = 26
WORDS = 54
"""Height of the words under a box."""

LINE: Colour = mix(GREY, PAPER, 0.35)
NOTE = (
    "A box is as wide as there are frames, as high and deep as there are pixels; the bar is the number of "
    "channels. All go with the root, by the same rule in every such picture. Under a box: its layers, "
    "frames x height x width, channels."
)


def draw_layers(
    blocks: Sequence[Block], model: VideoModel, *, width: int | None = None, note: str = NOTE
) -> npt.NDArray[np.uint8]:
    """The blocks from left to right, a row for each stream: (H, W, 3) uint8.

    width: in pixels; None: as wide as needed. note: what stands below.
    """
    columns = _columns(blocks)
    count = max(columns) + 1
    labels = _labels(blocks)
    wide = [0.0] * count
    for block, label, at in zip(blocks, labels, columns, strict=True):
        wide[at] = max(wide[at], _room(block, label))
    needed = round(sum(wide) + GAP * (count - 1)) + 2 * MARGIN
    width = width or max(needed, 760)
    spare = (width - needed) / max(1, count - 1)
    lefts = [MARGIN + sum(wide[:each]) + (GAP + spare) * each for each in range(count)]
    subtitle = f"{model.spec.describe()}. {count_parameters(model) / 1e6:.1f} M parameters."
    halves = _halves(blocks)
    y = heading_height(width, subtitle) + 6.0
    middles = []
    for row, half in enumerate(halves):
        y += half + (18 if row else 0)
        middles.append(y)
        y += half + 8 + WORDS
    canvas = Canvas(width, round(y + (note_height(width, note) if note else 10)))
    draw_heading(canvas, f"Tensor sizes of {model.name or type(model).__name__}", subtitle, note)
    centres = [
        (lefts[at] + wide[at] / 2, middles[block.row]) for block, at in zip(blocks, columns, strict=True)
    ]
    for number, block in enumerate(blocks):
        turn = lefts[columns[number]] - (GAP + spare) / 2
        for source in block.sources:
            pair = (blocks[source], block)
            if columns[source] < columns[number]:
                _draw_way(canvas, pair, (centres[source], centres[number]), turn)
            elif source < number:
                _draw_exchange(canvas, pair, (centres[source], centres[number]))
    for block, label, centre in zip(blocks, labels, centres, strict=True):
        colour = GREY if block.is_input else PALETTE[block.row % len(PALETTE)]
        _draw_box(canvas, block, centre, colour)
        _draw_words(canvas, block, label, (centre[0], centre[1] + halves[block.row] + 8), colour)
    return canvas.pixels()


def _labels(blocks: Sequence[Block]) -> list[str]:
    """Names of the blocks; of rows that start from one clip, the first one's says which pathway it is."""
    labels = [block.label for block in blocks]
    for number, block in enumerate(blocks):  # where rows meet, whose layer this is
        parent = block.layers[0].rpartition(".")[0]
        others = {blocks[source].layers[-1].rpartition(".")[0] for source in block.sources}
        if len(others) > 1 and len(block.layers) == 1 and parent not in ("", *others):
            labels[number] = f"{parent.split('.')[-1]}.{labels[number]}"
    if sum(block.is_input for block in blocks) > 1:
        return labels
    firsts: dict[int, int] = {}
    for number, block in enumerate(blocks):
        if not block.is_input:
            firsts.setdefault(block.row, number)
    pathways = {number: blocks[number].layers[0].split(".")[0] for number in firsts.values()}
    if len(set(pathways.values())) == len(pathways) > 1:
        for number, pathway in pathways.items():
            if not labels[number].startswith(pathway):
                labels[number] = f"{pathway}.{labels[number]}"
    return labels


def _box_size(block: Block) -> tuple[float, float, float]:
    """Width, height and slant of a box in pixels."""
    return LENGTH * block.frames**0.5, SIDE * block.height**0.5, SIDE * SLANT * block.width**0.5


def _sizes(block: Block) -> str:
    """The numbers under a box, but for the channels."""
    if block.height == block.width == 1:
        return f"{block.frames}" if block.frames > 1 else ""
    return f"{block.frames}x{block.height}x{block.width}"


def _room(block: Block, label: str) -> float:
    """How wide a block is with its words, in pixels."""
    wide, _, slant = _box_size(block)
    words = max(text_width(text, TEXT) for text in (label, _sizes(block), str(block.channels)))
    return max(wide + slant, words, BAR * block.channels**0.5)


def _halves(blocks: Sequence[Block]) -> list[float]:
    """How far the boxes of each row go above and below its middle, in pixels."""
    found = [0.0] * (max(block.row for block in blocks) + 1)
    for block in blocks:
        _, high, slant = _box_size(block)
        found[block.row] = max(found[block.row], (high + slant) / 2)
    return found


def _columns(blocks: Sequence[Block]) -> list[int]:
    """How far to the right each block stands: behind all that it is made from.

    Blocks that are each made from the other stand above each other.
    """
    count = len(blocks)
    reach = np.zeros((count, count), dtype=bool)
    for number, block in enumerate(blocks):
        reach[number, list(block.sources)] = True
    for middle in range(count):
        reach |= reach[:, middle : middle + 1] & reach[middle]
    together = reach & reach.T
    columns = [0] * count
    for _ in range(count):
        for number in range(count):
            own = {number, *np.flatnonzero(together[number]).tolist()}
            before = {source for each in own for source in blocks[each].sources} - own
            columns[number] = max((columns[source] + 1 for source in before), default=0)
    return columns


def _draw_box(canvas: Canvas, block: Block, centre: Point, colour: Colour) -> None:
    """A box seen from the front, from the right and from above, with a line between frames."""
    wide, high, slant = _box_size(block)
    left, right = centre[0] - (wide + slant) / 2, centre[0] + (wide - slant) / 2
    top, bottom = centre[1] - (high - slant) / 2, centre[1] + (high + slant) / 2
    back = [(left, top), (left + slant, top - slant), (right + slant, top - slant), (right, top)]
    side = [
        (right, top),
        (right + slant, top - slant),
        (right + slant, bottom - slant),
        (right, bottom),
    ]
    canvas.area(back, mix(colour, PAPER, 0.72))
    canvas.area(side, mix(colour, PAPER, 0.42))
    canvas.box(left, top, right, bottom, mix(colour, PAPER, 0.12))
    step = wide / block.frames
    if step >= 2:
        for frame in range(1, block.frames):
            x = left + frame * step
            canvas.line([(x, bottom), (x, top), (x + slant, top - slant)], mix(colour, PAPER, 0.88), 0.5)
    rim = mix(colour, INK, 0.35)
    canvas.line([*back, back[0]], rim, 0.5)
    canvas.line([*side, side[0]], rim, 0.5)
    canvas.line([(left, top), (left, bottom), (right, bottom)], rim, 0.5)


def _draw_words(canvas: Canvas, block: Block, label: str, place: Point, colour: Colour) -> None:
    """Name, frames and pixels, the bar of channels and their number, centred below `place`."""
    x, y = place
    for text, ink in ((label, INK), (_sizes(block), GREY)):
        if text:
            room = text_width(text, TEXT) / 2 + 3
            canvas.box(x - room, y, x + room, y + 16, PAPER)
            canvas.text(x, y, text, TEXT, ink, anchor="ma", bold=ink == INK)
            y += 16
    half = BAR * block.channels**0.5 / 2
    room = max(half, text_width(str(block.channels), TEXT) / 2) + 3
    canvas.box(x - room, y, x + room, y + 27, PAPER)
    canvas.box(x - half, y + 3, x + half, y + 9, mix(colour, PAPER, 0.25), 2)
    canvas.text(x, y + 11, str(block.channels), TEXT, INK, anchor="ma")


def _draw_way(canvas: Canvas, blocks: tuple[Block, Block], centres: tuple[Point, Point], turn: float) -> None:
    """A line from one block to a later one: along its row, and up or down at `turn`, in pixels."""
    (x0, y0), (x1, y1) = centres
    half0, half1 = ((wide + slant) / 2 for wide, _, slant in map(_box_size, blocks))
    start, end = (x0 + half0, y0), (x1 - half1, y1)
    canvas.line([start, (turn, y0), (turn, y1), end] if y0 != y1 else [start, end], LINE, 1.5)
    canvas.area([end, (end[0] - 7, y1 - 4), (end[0] - 7, y1 + 4)], LINE)


def _draw_exchange(canvas: Canvas, blocks: tuple[Block, Block], centres: tuple[Point, Point]) -> None:
    """A line between two blocks above each other, of which each is made from the other."""
    half0, half1 = ((high + slant) / 2 for _, high, slant in map(_box_size, blocks))
    sign = 1 if centres[1][1] > centres[0][1] else -1
    top = (centres[0][0], centres[0][1] + sign * half0)
    end = (centres[1][0], centres[1][1] - sign * half1)
    canvas.line([top, end], LINE, 1.5)
    for (x, y), way in ((top, sign), (end, -sign)):
        canvas.area([(x, y), (x - 4, y + 7 * way), (x + 4, y + 7 * way)], LINE)
