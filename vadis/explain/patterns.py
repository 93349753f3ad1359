"""Whom a patch asks: the pattern of each scheme of attention of TimeSformer, and what it has learned.

The pattern follows from the scheme alone (`vadis.models.space_time_attention.attention_pattern`); the paper's
figure 2 shows it for one patch, over three neighbouring frames. Which of these patches it really takes
something from is in the weights: `attention_maps` of a trained network on a clip.

Source: Bertasius, Wang and Torresani, arXiv:2102.05095, figures 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.explain.clip import Clip
from vadis.explain.sheet import (
    MARGIN,
    draw_heading,
    draw_ring,
    heading_height,
    lay_heat,
    note_height,
)
from vadis.models.space_time_attention import STEPS, Scheme, attention_pattern
from vadis.models.timesformer import PATCH, TimeSformer
from vadis.video.canvas import GREY, INK, PALETTE, PAPER, Canvas, Colour, clock

Place = tuple[int, int, int]
NAMES: dict[str, str] = {
    "space": "space (S)",
    "joint": "joint space-time (ST)",
    "divided": "divided (T+S)",
    "local_global": "local + global (L+G)",
    "axial": "axial (T+W+H)",
}
COLOURS: tuple[Colour, ...] = (PALETTE[1], PALETTE[2], PALETTE[3])
ASKING: Colour = PALETTE[0]


@dataclass(frozen=True)
class Pattern:
    """Whom one patch sees, step by step.

    scheme: of TimeSformer. query: (frame, row, column) of the patch that asks. steps: seen_THW (bool) or,
    where `learned`, weights_THW (mean over heads), by the name of the step, in order.
    """

    scheme: str
    query: Place
    steps: Mapping[str, npt.NDArray[np.generic]]
    learned: bool = False

    @property
    def grid(self) -> Place:
        """Numbers of frames, rows and columns of patches."""
        shape = next(iter(self.steps.values())).shape
        return shape[0], shape[1], shape[2]


def attention_patterns(query: Place, grid: Place, schemes: Sequence[Scheme] = tuple(STEPS)) -> list[Pattern]:
    """The patterns of several schemes for one patch (frame, row, column) of a grid of patches."""
    return [
        Pattern(
            scheme,
            query,
            {name: seen.numpy() for name, seen in attention_pattern(scheme, query, grid).items()},
        )
        for scheme in schemes
    ]


def learned_pattern(model: TimeSformer, clip_CTHW: Tensor, query: Place, block: int = -1) -> Pattern:
    """What one patch takes from each other in each step of one block of a network, on average over heads.

    clip_CTHW: float, normalised by `model.spec`. block: negative ones count from the end. What a step's
    weights miss to 1 goes to the class token. Raises ValueError for patches and blocks that do not exist.
    """
    with torch.no_grad():
        maps = model.attention_maps(clip_CTHW[None], query, block)
    steps = {name: weights_BNTHW[0].mean(0).float().numpy() for name, weights_BNTHW in maps.items()}
    return Pattern(model.scheme, query, steps, learned=True)


def patch_at(query: Sequence[int] | None, size_THW: Sequence[int]) -> Place:
    """The patch that a query (frame, y, x; in frames and pixels of the clip) lies in; None: the middle one.

    Raises ValueError for a query outside of the clip.
    """
    frames, high, wide = size_THW
    if query is None:
        return frames // 2, high // PATCH // 2, wide // PATCH // 2
    if len(query) != 3 or not all(0 <= each < size for each, size in zip(query, size_THW, strict=True)):
        raise ValueError(
            f"the query is t,y,x: a frame from 0 to {frames - 1} and pixels from 0 to {high - 1} and "
            f"{wide - 1}, got {','.join(map(str, query))}"
        )
    return query[0], min(query[1] // PATCH, high // PATCH - 1), min(query[2] // PATCH, wide // PATCH - 1)


# --- pictures ------------------------------------------------------------------------------------------


def draw_patterns(
    found: Sequence[Pattern], clip: Clip, note: str = "", *, delta: int = 1, width: int = 1080
) -> npt.NDArray[np.uint8]:
    """Each pattern as a row of three frames, t - delta, t, t + delta: (H, W, 3) uint8.

    `delta` is in frames of the clip.
    """
    time = found[0].query[0]
    frames = [index for index in (time - delta, time, time + delta) if 0 <= index < found[0].grid[0]]
    found = [one for pattern in found for one in _by_step(pattern)]
    labels = 216
    side = (width - 2 * MARGIN - labels) / 3 - 10
    subtitle, words = _words(found[0])
    note = f"{words} {note}".strip()
    top = heading_height(width, subtitle)
    row_height = side + 14
    canvas = Canvas(width, round(top + 26 + len(found) * row_height) + note_height(width, note))
    draw_heading(canvas, "Whom one patch asks", subtitle, note)
    for column, index in enumerate(frames):
        moment = "t" if index == time else f"t {'-' if index < time else '+'} {abs(index - time)}"
        text = f"frame {moment} ({clock(clip.times_T[index], 2)})"
        canvas.text(MARGIN + labels + column * (side + 10) + side / 2, top, text, 14, GREY, anchor="ma")
    for row, pattern in enumerate(found):
        y = top + 26 + row * row_height
        _draw_legend(canvas, pattern, MARGIN, y)
        for column, index in enumerate(frames):
            x = MARGIN + labels + column * (side + 10)
            _draw_frame(canvas, pattern, clip.frames_THWC[index], index, (x, y, side))
    return canvas.pixels()


def play_patterns(
    found: Sequence[Pattern], clip: Clip, *, side: int = 300
) -> Iterator[npt.NDArray[np.uint8]]:
    """All patterns side by side, frame after frame: pictures (H, W, 3) for a video."""
    subtitle, _ = _words(found[0])
    width = max(640, len(found) * (side + 10) + 2 * MARGIN)
    top = heading_height(width, subtitle)
    for index in range(found[0].grid[0]):
        canvas = Canvas(width, round(top + side + 150) // 2 * 2)
        draw_heading(canvas, "Whom one patch asks", subtitle)
        for place, pattern in enumerate(found):
            x = MARGIN + place * (side + 10)
            _draw_frame(canvas, pattern, clip.frames_THWC[index], index, (x, top, side))
            _draw_legend(canvas, pattern, x, top + side + 8)
        asks = "  asks" if index == found[0].query[0] else ""
        canvas.text(width - MARGIN, 30, f"frame {index}{asks}", 16, INK, anchor="ra", bold=bool(asks))
        yield canvas.pixels()


def _words(pattern: Pattern) -> tuple[str, str]:
    frames, rows, columns = pattern.grid
    subtitle = (
        f"Patch {pattern.query} (frame, row, column) of {frames} x {rows} x {columns} asks; it is the one "
        "with the ring."
    )
    if pattern.learned:
        note = (
            "Brighter is more; each step has its own scale; the white line is at half of the strongest "
            "patch. Mean over heads."
        )
    else:
        note = "Steps of a block follow each other; patches without a mark are not seen in this block."
    return subtitle, note


def _by_step(pattern: Pattern) -> list[Pattern]:
    """What is learned is shown step by step: there is no one scale for two of them."""
    if not pattern.learned:
        return [pattern]
    return [
        Pattern(pattern.scheme, pattern.query, {step: weights}, True)
        for step, weights in pattern.steps.items()
    ]


def _draw_legend(canvas: Canvas, pattern: Pattern, left: float, top: float) -> None:
    canvas.text(left, top, NAMES.get(pattern.scheme, pattern.scheme), 16, bold=True)
    for number, (step, seen_THW) in enumerate(pattern.steps.items()):
        y = top + 34 + 24 * number
        text = f"{number + 1}. {step.replace('_', ' ')}"
        if pattern.learned:
            text += f": {float(seen_THW.sum()):.0%} to patches"
            canvas.text(left, y, text, 14, GREY, anchor="lm")
            continue
        colour = COLOURS[number % len(COLOURS)]
        canvas.box(left, y - 8, left + 16, y + 8, colour)
        _draw_mark(canvas, number, left + 8, y, 16)
        canvas.text(left + 24, y, f"{text}: {int(seen_THW.sum())} patches", 14, GREY, anchor="lm")


def _draw_frame(
    canvas: Canvas,
    pattern: Pattern,
    frame_HWC: npt.NDArray[np.uint8],
    index: int,
    place: tuple[float, float, float],
) -> None:
    """One frame at (left, top, side) under what is seen of it."""
    left, top, side = place
    rows, columns = pattern.grid[1:]
    cell = side / max(rows, columns)
    frame_HWC = frame_HWC[: rows * PATCH, : columns * PATCH]
    if pattern.learned:
        weights_THW = next(iter(pattern.steps.values()))
        share = (weights_THW[index] / max(float(weights_THW.max()), 1e-30)).repeat(PATCH, 0).repeat(PATCH, 1)
        canvas.picture(left, top, cell * columns, cell * rows, lay_heat(frame_HWC, share))
    else:
        tinted, marks = _tint(pattern, frame_HWC, index)
        canvas.picture(left, top, cell * columns, cell * rows, tinted)
        for number, row, middle, size in marks:
            _draw_mark(canvas, number, left + middle * cell, top + (row + 0.5) * cell, size * cell)
    if index == pattern.query[0]:
        row, column = pattern.query[1:]
        x, y = left + column * cell, top + row * cell
        if not pattern.learned:
            canvas.box(x, y, x + cell, y + cell, ASKING)
        draw_ring(canvas, (x + cell / 2, y + cell / 2), 0.72 * cell, PAPER, 3)


def _tint(
    pattern: Pattern, frame_HWC: npt.NDArray[np.uint8], index: int
) -> tuple[npt.NDArray[np.uint8], list[tuple[int, int, float, float]]]:
    """A pale frame, its seen patches in the colours of their steps; and the marks to draw on them.

    A mark is (number of its step, row, column of its middle, size), the latter two in patches.
    """
    out = 0.45 * frame_HWC + 0.55 * 255
    marks = []
    for row, column in np.ndindex(*pattern.grid[1:]):
        steps = [number for number, seen in enumerate(pattern.steps.values()) if seen[index, row, column]]
        for part, number in enumerate(steps):  # a patch that is seen twice is cut in two
            y = slice(row * PATCH + 1, (row + 1) * PATCH)
            x = slice(
                column * PATCH + 1 + part * PATCH // len(steps),
                column * PATCH + (part + 1) * PATCH // len(steps),
            )
            out[y, x] = 0.22 * frame_HWC[y, x] + 0.78 * np.array(COLOURS[number % len(COLOURS)])
            marks.append((number, row, column + (part + 0.5) / len(steps), len(steps) ** -0.5))
    return out.astype(np.uint8), marks


def _draw_mark(canvas: Canvas, number: int, x: float, y: float, size: float) -> None:
    """The mark of a step: a dash, an upright, a cross; colour alone must not tell."""
    reach, width = 0.26 * size, max(1.2, 0.11 * size)
    if number in (0, 2):
        canvas.line([(x - reach, y), (x + reach, y)], PAPER, width)
    if number in (1, 2):
        canvas.line([(x, y - reach), (x, y + reach)], PAPER, width)
