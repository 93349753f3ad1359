"""What was shown in a video against what was found in it: one picture, and one number.

For videos whose truth is known: rendered ones, annotated ones.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vadis.records import Limits, Prediction, Span
from vadis.video.canvas import INK, PALETTE, PANEL, PAPER, Canvas, Colour, fit_text, ink_on, mix
from vadis.video.draw import MARGIN, NAMES, draw_axis, fetch_thumbnails, strip_height
from vadis.video.overlay import end_of
from vadis.video.write import write_png


def draw_truth(
    prediction: Prediction,
    truth: Sequence[Span],
    path: str | os.PathLike[str],
    *,
    width: int = 1200,
    heading: str = "",
) -> Path:
    """Draw what was shown in a video against what was found in it, as a PNG; returns its path.

    width: pixels, at least 640. heading: over the picture, the file's name if empty.
    """
    frames = fetch_thumbnails(prediction, max(640, width) - 2 * MARGIN - NAMES, Limits())
    return write_png(path, render_truth(prediction, truth, frames, width=width, heading=heading))


def render_truth(
    prediction: Prediction,
    truth: Sequence[Span],
    frames: Sequence[np.ndarray] = (),
    *,
    width: int = 1200,
    heading: str = "",
) -> np.ndarray:
    """The picture of `draw_truth` as (H, W, 3) uint8: a bar of the truth, and one of each moment's best.

    frames: pictures (H, W, 3) uint8 of one size, for the strip on top. truth: what is shown when, in seconds.
    Where windows overlap, each moment belongs to the window whose middle is nearest. Below the second bar,
    marks say where it is not the truth.
    """
    width, end = max(640, width), end_of(prediction)
    left, right = MARGIN + NAMES, width - MARGIN
    across = (right - left) / max(end, 1e-9)
    found = best_spans(prediction)
    names = list(dict.fromkeys(span.class_name for span in (*truth, *found)))
    colours = {name: _colour(number) for number, name in enumerate(names)}
    strip = strip_height(frames, right - left)
    top = 64
    bars = top + (strip + 14 if strip else 0)
    canvas = Canvas(width, bars + 2 * 58 + 44)
    heading = heading or Path(prediction.video).name
    canvas.text(MARGIN, 22, fit_text(heading, 20, width - 2 * MARGIN), 20, bold=True)
    if strip:
        step = (right - left) / len(frames)
        for number, frame_HWC in enumerate(frames):
            canvas.picture(left + number * step, top, step - 2, strip, frame_HWC)
    draw_axis(canvas, left, right, bars, bars + 2 * 58, end)
    for row, (title, spans) in enumerate((("shown", tuple(truth)), ("found", found))):
        y = bars + 58 * row
        canvas.text(MARGIN, y + 10, title, 16, INK, bold=True)
        canvas.box(left, y, right, y + 40, PANEL)
        for span in spans:
            x0, x1 = left + span.start_seconds * across, left + min(span.end_seconds, end) * across
            colour = colours[span.class_name]
            canvas.box(x0 + 0.5, y, max(x1 - 0.5, x0 + 2), y + 40, colour, 3)
            text = fit_text(span.class_name, 14, x1 - x0 - 10) if x1 - x0 > 34 else ""
            canvas.text(x0 + 5, y + 20, text, 14, ink_on(colour), anchor="lm")
        if row == 1:
            for start, stop in _wrong_parts(found, truth):
                for x in np.arange(left + start * across + 4, left + stop * across, 8):
                    canvas.line([(x, y + 44), (x, y + 50)], (160, 60, 0), 2)
    return canvas.pixels()


def _colour(number: int) -> Colour:
    """The colour of a class: those of the palette first, then paler ones."""
    rounds, place = divmod(number, len(PALETTE))
    return mix(PALETTE[place], PAPER, 1 - 0.55**rounds)


def best_spans(prediction: Prediction) -> tuple[Span, ...]:
    """The best class of each moment: runs of windows with the same one; windows meet halfway."""
    windows = prediction.windows
    middles = [(window.start_seconds + window.end_seconds) / 2 for window in windows]
    edges = [0.0, *[(one + other) / 2 for one, other in itertools.pairwise(middles)]]
    edges.append(end_of(prediction))
    spans: list[Span] = []
    for window, start, stop in zip(windows, edges, edges[1:], strict=False):
        best = window.labels[0]
        if spans and spans[-1].label == best.label:
            start = spans.pop().start_seconds
        spans.append(Span(start, max(start, stop), best.label, best.class_name))
    return tuple(spans)


def _wrong_parts(found: Sequence[Span], truth: Sequence[Span]) -> list[tuple[float, float]]:
    """Where what was found is not what was shown: (start, stop) in seconds."""
    parts = []
    for one in found:
        for other in truth:
            start = max(one.start_seconds, other.start_seconds)
            stop = min(one.end_seconds, other.end_seconds)
            if stop > start and one.class_name != other.class_name:
                parts.append((start, stop))
    return parts


def share_right(prediction: Prediction, truth: Sequence[Span]) -> float:
    """The share of the time that the truth covers in which the best class is the one shown."""
    wrong = sum(stop - start for start, stop in _wrong_parts(best_spans(prediction), truth))
    total = sum(min(span.end_seconds, end_of(prediction)) - span.start_seconds for span in truth)
    return 1 - wrong / max(total, 1e-9)
