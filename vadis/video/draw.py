"""Pictures of what was found: a timeline, labels over the frames of a video, a contact sheet.

Everything is drawn by Pillow in colours that the colour-blind can tell apart, and each colour comes with
a name beside it. Scores are shown as they are: softmax over all classes of the model.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vadis.records import Limits, Prediction, Span, VideoError, Window
from vadis.video.canvas import (
    GREY,
    INK,
    PALETTE,
    PANEL,
    PAPER,
    RULE,
    Canvas,
    Colour,
    clock,
    figure,
    fit_text,
    ink_on,
    mix,
    text_width,
    wrap_text,
)
from vadis.video.decode import Video
from vadis.video.overlay import draw_frame_overlay, draw_overlay, end_of
from vadis.video.write import write_png

__all__ = ["contact_sheet", "draw_frame_overlay", "draw_overlay", "draw_timeline", "render_timeline"]

MARGIN = 36
NAMES = 212  # pixels left of the plot, for the names of the classes
CURVE, BAR, GAP = 46, 22, 16  # heights in a lane: score curve, bar of the spans (if any), space below
TITLE = 26  # height of the line above the lanes of a stream
MIN_LANES, MAX_LANES = 4, 10
NEUTRAL: Colour = (120, 127, 137)
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True)
class Lane:
    """One class on the timeline: its label, name, colour and the spans that show it."""

    label: int
    class_name: str
    colour: Colour
    spans: tuple[Span, ...]


def draw_timeline(
    prediction: Prediction,
    path: str | os.PathLike[str],
    *,
    width: int = 1200,
    threshold: float | None = None,
    num_classes: int | None = None,
    thumbnails: bool = True,
    limits: Limits = Limits(),  # noqa: B008
) -> Path:
    """Draw what happens when in one video as a PNG; returns its path.

    width: pixels, at least 640. threshold: the score that spans had to reach, drawn as a dashed line.
    num_classes: how many classes the scores share. thumbnails: a strip of frames on top, where the video
    can still be read (`limits` as in decoding). A prediction that failed gives a picture that says why.
    """
    frames: list[np.ndarray] = []
    if thumbnails and prediction.error is None:
        frames = fetch_thumbnails(prediction, max(640, width) - 2 * MARGIN - NAMES, limits)
    picture_HWC = render_timeline(
        prediction, frames, width=width, threshold=threshold, num_classes=num_classes
    )
    return write_png(path, picture_HWC)


def render_timeline(
    prediction: Prediction,
    frames: Sequence[np.ndarray] = (),
    *,
    width: int = 1200,
    threshold: float | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """The picture of `draw_timeline` as (H, W, 3) uint8.

    frames: pictures (H, W, 3) uint8 of one size, evenly spread over the video, for the strip on top.
    """
    width = max(640, width)
    end = end_of(prediction)
    lanes = make_lanes(prediction)
    blocks = make_blocks(prediction, lanes)
    strip = strip_height(frames, width - 2 * MARGIN - NAMES)
    notes = wrap_text(_footnote(prediction, num_classes), 13, width - 2 * MARGIN, 3)
    warnings = _warnings(prediction)
    top = (118 if prediction.spans else 134) + 22 * len(warnings)
    plot_top = top + (strip + 14 if strip else 0)
    axis = plot_top + sum(block.height for block in blocks)
    height = axis + (44 if lanes else 0) + 19 * len(notes) + 24
    canvas = Canvas(width, height)
    _draw_heading(canvas, prediction, threshold, lanes)
    for number, warning in enumerate(warnings):
        canvas.text(MARGIN, top - 10 - 22 * (len(warnings) - number), "Note: " + warning, 14, (160, 60, 0))
    left, right = MARGIN + NAMES, width - MARGIN
    if strip:
        step = (right - left) / len(frames)
        for number, frame_HWC in enumerate(frames):
            canvas.picture(left + number * step, top, step - 2, strip, frame_HWC)
    if lanes and end > 0:
        draw_axis(canvas, left, right, plot_top, axis, end)
    lane_top = plot_top
    for block in blocks:
        if block.title:
            canvas.text(MARGIN, lane_top + 2, fit_text(block.title, 14, right - MARGIN), 14, GREY, bold=True)
            lane_top += TITLE
        for lane in block.lanes:
            _draw_lane(canvas, lane, block.windows, (left, right, lane_top), end, threshold)
            lane_top += lane_height(lane)
    if threshold is not None and lanes:
        y = plot_top + (TITLE if blocks[0].title else 0) + CURVE - _rise(threshold)
        canvas.text(right, y - 3, f"threshold {threshold:.2f}", 12, GREY, anchor="rd")
    for number, line in enumerate(notes):
        canvas.text(MARGIN, height - 20 - 19 * (len(notes) - number), line, 13, GREY)
    return canvas.pixels()


def make_lanes(prediction: Prediction) -> list[Lane]:
    """The classes worth a lane: those of the spans in order of time, then the best others in grey."""
    spans_of: dict[int, list[Span]] = {}
    for span in prediction.spans:
        spans_of.setdefault(span.label, []).append(span)
    lanes = [
        Lane(label, spans[0].class_name, PALETTE[number % len(PALETTE)], tuple(spans))
        for number, (label, spans) in enumerate(spans_of.items())
    ]
    for item in prediction.labels:
        if len(lanes) >= MIN_LANES:
            break
        if item.label not in spans_of:
            lanes.append(Lane(item.label, item.class_name, NEUTRAL, ()))
    return lanes[:MAX_LANES]


@dataclass(frozen=True)
class Block:
    """Lanes under one title: what all streams say together, or what one of them says."""

    title: str
    lanes: tuple[Lane, ...]
    windows: Sequence[Window]

    @property
    def height(self) -> int:
        """Pixels that it takes."""
        return (TITLE if self.title else 0) + sum(map(lane_height, self.lanes))


def make_blocks(prediction: Prediction, lanes: Sequence[Lane]) -> list[Block]:
    """The lanes of the answer, and below them those of the same classes for each stream, in their colours."""
    if not prediction.streams:
        return [Block("", tuple(lanes), prediction.windows)]
    blocks = [Block("all streams", tuple(lanes), prediction.windows)]
    for name, each in prediction.streams.items():
        if each.error is not None:
            blocks.append(Block(f"{name}: left out, {each.error.message}", (), ()))
            continue
        own = tuple(
            Lane(
                lane.label,
                lane.class_name,
                lane.colour,
                tuple(span for span in each.spans if span.label == lane.label),
            )
            for lane in lanes
        )
        blocks.append(Block(f"{name}: {each.model}", own, each.windows))
    return blocks


def lane_height(lane: Lane) -> int:
    """Pixels that a lane takes, with the space below it; one without spans has no bar."""
    return CURVE + GAP + (BAR if lane.spans else 0)


def _rise(score: float) -> float:
    """Pixels above a lane's base line at which a score is drawn."""
    return (CURVE - 6) * min(1.0, max(0.0, score))


def strip_height(frames: Sequence[np.ndarray], width: float) -> int:
    """Pixels of height of a strip of frames, (H, W, 3) each, that fills `width` pixels; 0 without frames."""
    if not frames:
        return 0
    height, pixels = frames[0].shape[:2]
    return round((width / len(frames) - 2) * height / pixels)


def _footnote(prediction: Prediction, num_classes: int | None) -> str:
    classes = "all classes of the model" if num_classes is None else f"{num_classes} classes"
    score = f"Scores are softmax over {classes}: they add up to 1."
    return f"Model {prediction.model}. Protocol {prediction.protocol}. {score}"


def _warnings(prediction: Prediction) -> list[str]:
    report, found = prediction.report, []
    if report is not None and report.short:
        found.append(f"the file ends early ({report.frames_decoded} of {report.frames_expected} frames)")
    if report is not None and report.frames_corrupt:
        found.append(f"{report.frames_corrupt} frames are damaged")
    if report is not None and report.repaired:
        found.append("the file's timestamps are broken; times are counted from the frame rate")
    return found


def _draw_heading(canvas: Canvas, prediction: Prediction, threshold: float | None, lanes: list[Lane]) -> None:
    room = canvas.width - 2 * MARGIN
    name = Path(prediction.video).name or prediction.video
    canvas.text(MARGIN, 26, fit_text(name, 15, room - 200), 15, GREY)
    facts = [clock(end_of(prediction))] if prediction.error is None else []
    if prediction.frames_decoded is not None:
        facts.append(f"{prediction.frames_decoded} frames")
    canvas.text(canvas.width - MARGIN, 26, ", ".join(facts), 15, GREY, anchor="ra")
    if prediction.error is not None:
        canvas.text(MARGIN, 54, "This video could not be read", 28, (160, 60, 0), bold=True)
        text = f"{prediction.error.message} [{prediction.error.kind}]"
        canvas.text(MARGIN, 94, fit_text(text, 16, room), 16)
        return
    best = prediction.labels[0] if prediction.labels else None
    if prediction.spans:
        shown = [lane for lane in lanes if lane.spans]
        x = float(MARGIN)
        for number, lane in enumerate(shown):
            more = f"and {len({span.label for span in prediction.spans}) - number} more"
            if number and x + text_width(lane.class_name, 28, True) > canvas.width - MARGIN - 130:
                canvas.text(x, 60, more, 18, GREY)
                break
            canvas.box(x, 60, x + 12, 82, lane.colour, 3)
            title = fit_text(lane.class_name, 28, canvas.width - MARGIN - x - 24, True)
            x += 22 + canvas.text(x + 22, 54, title, 28, bold=True) + 28
        return
    limit = "" if threshold is None else f" above {threshold:.2f}"
    canvas.text(MARGIN, 54, f"None of the known actions{limit}", 28, bold=True)
    if best is not None:
        guess = fit_text(f"best guess: {best.class_name} ({figure(best.score)})", 16, room)
        canvas.text(MARGIN, 92, guess, 16, GREY)


def draw_axis(canvas: Canvas, left: float, right: float, top: float, bottom: float, end: float) -> None:
    """Times from 0 to `end` seconds below a plot, and a fine line up through it at each."""
    step = next((tick for tick in TICKS if end / tick <= 12), TICKS[-1] * math.ceil(end / TICKS[-1] / 12))
    digits = 1 if step < 1 else 0
    for number in range(int(end / step + 1e-9) + 1):
        x = left + (right - left) * number * step / end
        canvas.line([(x, top), (x, bottom + 4)], RULE)
        canvas.text(x, bottom + 9, clock(number * step, digits), 13, GREY, anchor="ma")
    canvas.line([(left, bottom), (right, bottom)], mix(RULE, GREY, 0.5))


def _draw_lane(
    canvas: Canvas,
    lane: Lane,
    windows: Sequence[Window],
    place: tuple[float, float, float],
    end: float,
    threshold: float | None,
) -> None:
    """One lane at (left, right, top): name, score as steps, and a bar with its name for each span."""
    left, right, top = place
    base = top + CURVE
    across = (right - left) / max(end, 1e-9)
    steps = _steps(lane.label, windows, end)
    peak = max((score for _, _, score in steps), default=None)
    strong = bool(lane.spans)
    name = wrap_text(lane.class_name, 16, NAMES - 24, 2)
    for row, line in enumerate(name):
        canvas.text(MARGIN, top + 4 + 20 * row, line, 16, INK if strong else GREY, bold=strong)
    canvas.text(MARGIN, top + 6 + 20 * len(name), _describe_peak(peak), 13, GREY)
    if lane.spans:
        canvas.box(left, base, right, base + BAR, PANEL)
    for start, stop, score in steps:
        height = _rise(score)
        x0, x1 = left + start * across, left + stop * across
        canvas.box(x0, base - height, x1, base, mix(lane.colour, PAPER, 0.72))
        canvas.line([(x0, base - height), (x1, base - height)], lane.colour, 2)
    canvas.line([(left, base), (right, base)], mix(RULE, GREY, 0.3))
    for score in (0, 1):
        canvas.text(left - 8, base - _rise(score), str(score), 11, GREY, anchor="rm")
    if threshold is not None:
        y = base - _rise(threshold)
        for x in np.arange(left, right, 9):
            canvas.line([(x, y), (min(x + 4, right), y)], mix(GREY, PAPER, 0.35))
    for span in lane.spans:
        x0, x1 = left + span.start_seconds * across, left + span.end_seconds * across
        canvas.box(x0 + 0.5, base + 2, max(x1 - 0.5, x0 + 2), base + BAR - 2, lane.colour, 3)
        number = "" if span.score is None else figure(span.score)
        for text in (f"{span.class_name}  {number}".strip(), number):
            if text and text_width(text, 13) + 12 <= x1 - x0:
                ink = ink_on(lane.colour)
                canvas.text(x0 + 7, base + BAR / 2, text, 13, ink, anchor="lm")
                break


def _describe_peak(peak: float | None) -> str:
    return "not among the top labels" if peak is None else f"highest {figure(peak)}"


def _steps(label: int, windows: Sequence[Window], end: float) -> list[tuple[float, float, float]]:
    """(start, stop, score) of a class along the windows; where windows overlap, each ends as the next starts.

    A window in whose top labels the class is not has no step: its score there is not known.
    """
    found = []
    for number, window in enumerate(windows):
        score = next((item.score for item in window.labels if item.label == label), None)
        stop = window.end_seconds
        if number + 1 < len(windows):
            stop = min(stop, windows[number + 1].start_seconds)
        if score is not None and stop > window.start_seconds:
            found.append((window.start_seconds, min(stop, end), score))
    return found


def fetch_thumbnails(prediction: Prediction, width: float, limits: Limits) -> list[np.ndarray]:
    """Frames evenly spread over the video in the shape that a player shows; [] where it cannot be read."""
    try:
        with Video(prediction.video, limits=limits, short_side=160) as video:
            info = video.info
            aspect = info.width * info.sample_aspect / info.height
            num_frames = max(3, min(12, round(width / (92 * max(aspect, 0.5)))))
            end = end_of(prediction)
            seconds = [(number + 0.5) / num_frames * end for number in range(num_frames)]
            frames_THWC = video.frames_by_time(seconds).frames_THWC
    except VideoError:
        return []
    height = frames_THWC.shape[1]
    return [_stretch(frame_HWC, round(height * aspect), height) for frame_HWC in frames_THWC]


def _stretch(frame_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
    canvas = Canvas(width, height)
    canvas.picture(0, 0, width, height, frame_HWC)
    return canvas.pixels()


def contact_sheet(
    frames: Sequence[np.ndarray],
    times: Sequence[float],
    *,
    num_columns: int = 6,
    width: int = 1200,
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Frames in rows, each with its time (and a caption) below: (H, W, 3) uint8, `width` pixels wide.

    frames: (H, W, 3) uint8, of one size. times: seconds, one for each frame. Raises ValueError where
    their numbers differ, or there are none.
    """
    captions = [""] * len(frames) if captions is None else captions
    if not frames or not len(frames) == len(times) == len(captions):
        raise ValueError(
            f"a contact sheet needs as many times and captions as frames, and one at least; "
            f"got {len(frames)}, {len(times)}, {len(captions)}"
        )
    columns = min(num_columns, len(frames))
    cell = (width - 12) / columns
    tall = (cell - 12) * frames[0].shape[0] / frames[0].shape[1]
    line = 24
    rows = -(-len(frames) // columns)
    canvas = Canvas(width, round(rows * (tall + line + 12) + 12))
    for number, (frame_HWC, seconds, caption) in enumerate(zip(frames, times, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = 12 + column * cell, 12 + row * (tall + line + 12)
        canvas.picture(left, top, cell - 12, tall, frame_HWC)
        used = canvas.text(left, top + tall + 5, clock(seconds), 14, GREY)
        rest = cell - 24 - used
        if caption and rest > 20:
            canvas.text(left + used + 10, top + tall + 5, fit_text(caption, 14, rest), 14)
    return canvas.pixels()
