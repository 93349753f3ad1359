"""Labels, scores and a timeline laid over the frames of a video, at the source's own times."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from vadis.records import LabelScore, Limits, Prediction, Span, VideoInfo, Window
from vadis.video.audio import open_sound
from vadis.video.canvas import (
    PALETTE,
    Canvas,
    Colour,
    clock,
    figure,
    fit_text,
    ink_on,
    lay_over,
    mix,
    text_width,
)
from vadis.video.sandbox import stream_frames_in_child
from vadis.video.stream import Stream, stream_frames
from vadis.video.write import VideoWriter, check_picture

SMALLEST, LARGEST = 640, 1280  # long side of an overlay in pixels: text needs room, and files should be small
SHADE: Colour = (14, 17, 21, 204)  # behind all text: white on it reads over a white frame too (8 : 1)
TRACK: Colour = (104, 111, 120, 255)
WHITE: Colour = (255, 255, 255, 255)
SOFT: Colour = (214, 218, 223, 255)
NOTHING = "none of the known actions"


def draw_overlay(
    source: str | os.PathLike[str],
    prediction: Prediction,
    path: str | os.PathLike[str],
    *,
    top_k: int = 3,
    sound: bool = True,
    limits: Limits = Limits(),  # noqa: B008
    untrusted: bool = False,
) -> Path:
    """Write `source` as H.264 with its labels on top; returns the path (.mp4, .mov or .mkv).

    Every source frame appears at its own time (a variable rate stays one), upright, with square pixels,
    the long side scaled to 640..1280 pixels. Shown are the `top_k` labels and scores of the window at
    hand, the spans on a timeline, and a playhead; where no span is, that none of the known actions is.
    The sound is kept. Memory does not grow with the video. untrusted: decode in a child process, without
    sound. Raises VideoError as decoding does, and ValueError for a prediction that failed.
    """
    if prediction.error is not None:
        raise ValueError(
            f"{prediction.video}: nothing to show, the prediction failed: {prediction.error.message}"
        )
    if Path(path).absolute() == Path(source).absolute():
        raise ValueError(f"{path} is the video to read; name another file to write")
    with _open(source, limits, untrusted) as stream:
        size = overlay_size(stream.info)
    short_side = min(size) if abs(stream.info.sample_aspect - 1) < 1e-6 else None
    voice = open_sound(source, limits=limits) if sound and not untrusted else None
    rate = stream.info.frame_rate or 25.0
    layout = _Layout(prediction, size, top_k)
    with (
        _open(source, limits, untrusted, short_side) as stream,
        VideoWriter(path, rate, sound=voice) as writer,
    ):
        for frame_HWC, start, stop in _with_ends(stream, rate):
            picture_HWC = _resize(frame_HWC, size)
            layout.draw(picture_HWC, start)
            writer.write(picture_HWC, max(0.0, start), stop - start)
    return Path(path)


def overlay_size(info: VideoInfo) -> tuple[int, int]:
    """Width and height in pixels of the overlay of a video: square pixels, even, long side 640..1280."""
    width, height = info.width * info.sample_aspect, float(info.height)
    long_side = min(LARGEST, max(SMALLEST, width, height))
    scale = long_side / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def draw_frame_overlay(
    frame_HWC: np.ndarray,
    labels: Sequence[LabelScore],
    *,
    title: str | None = None,
    status: str | None = None,
    colours: dict[int, Colour] | None = None,
) -> np.ndarray:
    """A copy of a frame (H, W, 3 uint8) with labels and scores in its upper left corner.

    labels: best first. title: a line above them; status: a line in the lower left corner (latency,
    frames dropped). colours: RGB of the bars by label; grey for others.
    """
    check_picture(frame_HWC)
    picture_HWC = frame_HWC.copy()
    height, width = frame_HWC.shape[:2]
    rows = tuple((item.class_name, item.score, (colours or {}).get(item.label)) for item in labels)
    edge = round(8 * _unit(width, height))
    lay_over(picture_HWC, label_panel(rows, width, height, title), edge, edge)
    if status:
        layer_HW4 = _line_panel(status, width, height)
        lay_over(picture_HWC, layer_HW4, edge, max(0, height - edge - layer_HW4.shape[0]))
    return picture_HWC


def _unit(width: int, height: int) -> float:
    """Pixels for one unit of layout: letters grow with the frame, and stay legible on a small one."""
    return max(0.7, min(width / 640, height / 400))


@lru_cache(maxsize=64)
def label_panel(
    rows: tuple[tuple[str, float, Colour | None], ...], width: int, height: int, title: str | None = None
) -> np.ndarray:
    """A dark box (H, W, 4 uint8) with rows of (class name, score, colour or None), for a frame's size."""
    unit = _unit(width, height)
    pad = 10 * unit
    sizes = [19 * unit if number == 0 and title is None else 14 * unit for number in range(len(rows))]
    room = max(40.0, min(width * 0.62, width - 4 * pad))
    scores = [figure(score) for _, score, _ in rows]
    names = [fit_text(row[0], size, room - 56 * unit, True) for row, size in zip(rows, sizes, strict=True)]
    widths = [text_width(name, size, True) + 56 * unit for name, size in zip(names, sizes, strict=True)]
    head = "" if title is None else fit_text(title, 17 * unit, room, True)
    inner = max([*widths, text_width(head, 17 * unit, True), min(room, 170 * unit)])
    line = [1.3 * size + 11 * unit for size in sizes]
    tall = sum(line) + (27 * unit if head else 0) + 2 * pad - 5 * unit
    canvas = Canvas(round(inner + 2 * pad), round(tall), (*SHADE[:3], 0))
    canvas.box(0, 0, canvas.width, canvas.height, SHADE, 6 * unit)
    y = pad - 2 * unit
    if head:
        canvas.text(pad, y, head, 17 * unit, WHITE, bold=True)
        y += 27 * unit
    for name, score, (_, share, colour), size, step in zip(names, scores, rows, sizes, line, strict=True):
        strong = colour is not None
        canvas.text(pad, y, name, size, WHITE if strong else SOFT, bold=strong)
        canvas.text(pad + inner, y, score, size, WHITE if strong else SOFT, anchor="ra", bold=strong)
        bar = y + 1.3 * size + unit
        canvas.box(pad, bar, pad + inner, bar + 4 * unit, mix(SHADE, TRACK, 0.6), 2 * unit)
        filled = inner * min(1.0, max(0.0, share))
        paint = mix(colour, (255, 255, 255), 0.2) if colour is not None else SOFT[:3]
        canvas.box(pad, bar, pad + max(filled, 2 * unit), bar + 4 * unit, (*paint[:3], 255), 2 * unit)
        y += step
    return canvas.pixels()


@lru_cache(maxsize=64)
def _line_panel(text: str, width: int, height: int) -> np.ndarray:
    unit = _unit(width, height)
    shown = fit_text(text, 13 * unit, width * 0.9)
    canvas = Canvas(
        round(text_width(shown, 13 * unit) + 16 * unit), round(13 * unit + 12 * unit), (*SHADE[:3], 0)
    )
    canvas.box(0, 0, canvas.width, canvas.height, SHADE, 5 * unit)
    canvas.text(8 * unit, canvas.height / 2, shown, 13 * unit, WHITE, anchor="lm")
    return canvas.pixels()


@lru_cache(maxsize=64)
def _time_label(text: str, size: float, height: int, anchor: str) -> np.ndarray:
    canvas = Canvas(round(text_width(text, size)) + 2, height, (*WHITE[:3], 0))
    x = 1 if anchor == "lm" else canvas.width - 1
    canvas.text(x, height / 2, text, size, WHITE, anchor=anchor)
    return canvas.pixels()


class _Layout:
    """Where everything goes on the frames of one video; draws onto frames in place."""

    def __init__(self, prediction: Prediction, size: tuple[int, int], top_k: int) -> None:
        self.windows = prediction.windows
        self.spans = prediction.spans
        self.labels = prediction.labels
        self.width, self.height = size
        self.top_k = top_k
        self.end = max(end_of(prediction), 1e-3)
        self.order = list(dict.fromkeys(span.label for span in self.spans))
        self.unit = _unit(*size)
        self.strip = round(34 * self.unit)
        self.clock_size = 13 * self.unit
        self.total = clock(self.end)
        side = text_width(self.total, self.clock_size) + 24 * self.unit
        self.left, self.right = side, self.width - side
        self.strip_HW4 = self._draw_strip()

    def colour_of(self, label: int) -> Colour:
        return PALETTE[self.order.index(label) % len(PALETTE)]

    def _draw_strip(self) -> np.ndarray:
        canvas = Canvas(self.width, self.strip, SHADE)
        top, bottom = self.strip * 0.26, self.strip * 0.74
        canvas.box(self.left, top, self.right, bottom, mix(SHADE, TRACK, 0.55), 3 * self.unit)
        for span in self.spans:
            x0, x1 = self.place(span.start_seconds), self.place(span.end_seconds)
            colour = self.colour_of(span.label)
            canvas.box(x0, top, max(x1 - 1, x0 + 2), bottom, (*colour, 255), 3 * self.unit)
            size = 11.5 * self.unit
            if text_width(span.class_name, size) + 10 * self.unit <= x1 - x0:
                ink = (*ink_on(colour), 255)
                canvas.text(x0 + 5 * self.unit, self.strip / 2, span.class_name, size, ink, anchor="lm")
        canvas.text(
            self.width - 12 * self.unit, self.strip / 2, self.total, self.clock_size, SOFT, anchor="rm"
        )
        return canvas.pixels()

    def place(self, seconds: float) -> float:
        """Where a time is on the bar, in pixels from the left."""
        return self.left + (self.right - self.left) * min(1.0, max(0.0, seconds / self.end))

    def draw(self, picture_HWC: np.ndarray, seconds: float) -> None:
        """Lay the labels of a time over a frame."""
        window = window_at(self.windows, seconds)
        labels = (self.labels if window is None else window.labels)[: self.top_k]
        span = span_at(self.spans, seconds, labels[0].label if labels else None)
        known = None if span is None else span.label
        rows = tuple(
            (item.class_name, item.score, self.colour_of(known) if item.label == known else None)
            for item in labels
        )
        title = None if span is not None else NOTHING
        if span is not None and known not in {item.label for item in labels}:
            title = span.class_name
        edge = round(10 * self.unit)
        lay_over(picture_HWC, label_panel(rows, self.width, self.height, title), edge, edge)
        top = self.height - self.strip
        lay_over(picture_HWC, self.strip_HW4, 0, top)
        time_HW4 = _time_label(clock(seconds), self.clock_size, self.strip, "lm")
        lay_over(picture_HWC, time_HW4, round(11 * self.unit), top)
        x, half = round(self.place(seconds)), max(1, round(self.unit))
        picture_HWC[top:, max(0, x - 2 * half) : x + 2 * half] //= 3  # a dark edge: seen on any colour
        picture_HWC[top:, max(0, x - half) : x + half] = 255


def end_of(prediction: Prediction) -> float:
    """Seconds that a timeline of a prediction covers."""
    ends = [window.end_seconds for window in prediction.windows]
    ends += [span.end_seconds for span in prediction.spans]
    return max([prediction.duration_seconds or 0.0, *ends])


def span_at(spans: Sequence[Span], seconds: float, label: int | None = None) -> Span | None:
    """The span that holds a time, None where there is none.

    Where several do (windows overlap), the one of `label`, which is what the window at hand shows; else
    the latest.
    """
    found = [span for span in spans if span.start_seconds <= seconds < span.end_seconds]
    found = [span for span in found if span.label == label] or found
    if not found and spans and seconds >= max(span.end_seconds for span in spans):
        last = max(spans, key=lambda span: span.end_seconds)
        return last if seconds - last.end_seconds < 0.05 else None  # the last frame of the video
    return found[-1] if found else None


def window_at(windows: Sequence[Window], seconds: float) -> Window | None:
    """The window whose centre is nearest among those that hold a time; where none does, the nearest one."""

    def distance(window: Window) -> tuple[float, float]:
        outside = max(window.start_seconds - seconds, seconds - window.end_seconds, 0.0)
        return outside, abs((window.start_seconds + window.end_seconds) / 2 - seconds)

    return min(windows, key=distance, default=None)


def _open(
    source: str | os.PathLike[str], limits: Limits, untrusted: bool, short_side: int | None = None
) -> Stream:
    opener = stream_frames_in_child if untrusted else stream_frames
    return opener(source, short_side=short_side, chunk=8, limits=limits)


def _with_ends(stream: Stream, rate: float) -> Iterator[tuple[np.ndarray, float, float]]:
    """Every frame with the times at which it comes and goes."""
    held: tuple[np.ndarray, float] | None = None
    for chunk in stream:
        for frame_HWC, seconds in zip(chunk.frames_THWC, chunk.times_T.tolist(), strict=True):
            if held is not None:
                yield held[0], held[1], seconds
            held = (frame_HWC, seconds)
    if held is not None:
        end = (stream.start_seconds or 0.0) + (stream.duration_seconds or 0.0)
        yield held[0], held[1], max(end, held[1] + min(1 / rate, 0.04))


def _resize(frame_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A copy of the frame with `size` = (width, height) pixels, to draw on."""
    if frame_HWC.shape[1::-1] == size:
        return frame_HWC.copy()
    return np.array(Image.fromarray(frame_HWC).resize(size, Image.Resampling.BICUBIC))
