"""A video cut into the windows that a model scores, and their logits turned into labels and spans.

All of it is pure: frames come in as chunks, nothing is opened and no model runs here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vadis.records import LabelScore, Span, Window
from vadis.specs import ClipSpec, at_test
from vadis.video.frames import Frames
from vadis.video.transform import FLOW, centre_offset

SEGMENTED_SECONDS = 10.0  # the window of networks that look at a few moments of it: a clip of Kinetics
DEFAULT_THRESHOLD = 0.3  # the score of an answer, where the model was not calibrated
PAPER_FRAMES = 250  # Quo Vadis (arXiv:1705.07750) tests on all of a 10 s video at 25 fps


@dataclass(frozen=True)
class Protocol:
    """How a video becomes the clips that a model scores.

    Frames are taken at `fps` Hz (None: the video's own), `window` of them every `stride`; the last
    window ends with the video. `loop`: a video shorter than one window repeats until it fills it (as
    in Quo Vadis, sec. 2.5); otherwise it is scored at its own length, looped only up to `min_frames`.
    `sees`: what the model is given of a window, in words, where that is not simply its frames; the frames of
    a window are whole then, and cut with the rest. `ahead`: frames beyond a window's end that come with it,
    for flow from its last frame to the next.
    """

    name: str
    fps: float | None
    size: int
    crop: int
    window: int
    stride: int
    frame_stride: int = 1
    loop: bool = True
    min_frames: int = 1
    sees: str = ""
    ahead: int = 0

    def describe(self) -> str:
        """One line that says everything a reader needs to repeat the number."""
        rate = "native frame rate" if self.fps is None else f"{self.fps:g} fps by time"
        every = f"windows of {self.window} frames every {self.stride}, the last ending with the video"
        if self.name == "paper":
            every = f"up to {self.window} frames in one fully convolutional pass"
        tau = f", frame stride {self.frame_stride}" if self.frame_stride > 1 else ""
        if self.sees:
            return f"{self.name}: {rate}, {every}, of each {self.sees}; logits averaged, then softmax"
        return (
            f"{self.name}: {rate}{tau}, short side {self.size}, centre crop {self.crop}, {every}, "
            "logits averaged, then softmax"
        )


def is_plain(spec: ClipSpec) -> bool:
    """Whether a model takes RGB frames in a row and nothing else: then windows go in as they are cut."""
    return spec.modality == "rgb" and spec.stack == 1 and spec.sampling == "clip"


def takes_flow(spec: ClipSpec) -> bool:
    """Whether optical flow is among what goes into a model."""
    return any(part.modality in FLOW for part in spec.parts.values() or (spec,))


def make_protocol(
    spec: ClipSpec,
    name: str = "windows",
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    min_frames: int = 1,
) -> Protocol:
    """The protocol `windows` (default) or `paper` for a model's `spec`; windows in seconds.

    Raises ValueError with the legal set for an unknown name, or for a window shorter than the model's
    `min_frames` frames.
    """
    if name not in ("windows", "paper"):
        raise ValueError(f"unknown protocol {name!r}; there are 'windows' and 'paper'")
    rate = spec.fps or 25.0
    if is_plain(spec):
        extent = spec.num_frames * spec.frame_stride
        whole = Protocol(
            name, spec.fps, spec.size, spec.crop, extent, extent, spec.frame_stride, True, min_frames
        )
    else:
        pixels = [part.size for part in (spec.parts.values() or (spec,)) if part.sound is None]
        side, reach = max(pixels, default=64), max(part.reach for part in spec.parts.values() or (spec,))
        extent = spec.num_frames * spec.frame_stride + reach - 1
        if spec.sampling == "segments" or spec.sound is not None:
            extent = round(SEGMENTED_SECONDS * rate)
        fps = spec.fps if spec.sound is None else None
        min_frames = 1
        ahead = int(takes_flow(spec))
        sees = at_test(spec).describe()
        whole = Protocol(name, fps, side, side, extent, extent, 1, False, 1, sees, ahead)
    if name == "paper":
        if window_seconds is not None or stride_seconds is not None:
            raise ValueError("the protocol 'paper' fixes its own windows; leave out --window and --stride")
        return replace(whole, window=PAPER_FRAMES, stride=PAPER_FRAMES, loop=False)
    window = extent if window_seconds is None else _to_frames(window_seconds, rate, "window")
    stride = window if stride_seconds is None else _to_frames(stride_seconds, rate, "stride")
    if window < min_frames * spec.frame_stride:
        shortest = min_frames * spec.frame_stride / rate
        raise ValueError(
            f"a window of {window_seconds} s is too short for this model; at least {shortest:g} s"
        )
    return replace(whole, window=window, stride=stride)


def _to_frames(seconds: float, rate: float, what: str) -> int:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"the {what} must be a positive number of seconds, got {seconds}")
    return max(1, round(seconds * rate))


@dataclass
class Cut:
    """One window of a video: frames_THWC (uint8, cropped), made of sampled frames `first` to `last`.

    `first_seconds` and `last_seconds` are the times at which those two frames begin to be shown. Where
    frames lie beyond the window's end (`Protocol.ahead`), frames_THWC has them, too.
    """

    first: int
    last: int
    first_seconds: float
    last_seconds: float
    frames_THWC: np.ndarray


def cut_windows(chunks: Iterable[Frames], protocol: Protocol) -> Iterator[Cut]:
    """Cut a stream of frames into the windows of a protocol; memory: one window and one chunk.

    Yields nothing for an empty stream. The last window ends with the video, so it may overlap the one
    before. Times are in seconds on the player's clock.
    """
    size = protocol.window + protocol.ahead
    held: deque[tuple[float, np.ndarray]] = deque(maxlen=size)
    num_frames, covered = 0, 0
    for chunk in chunks:
        frames_THWC = chunk.frames_THWC if protocol.sees else crop_centre(chunk.frames_THWC, protocol.crop)
        for time, frame_HWC in zip(chunk.times_T.tolist(), frames_THWC, strict=True):
            held.append((time, frame_HWC))
            num_frames += 1
            first = num_frames - size
            if first >= 0 and first % protocol.stride == 0:
                covered = num_frames
                yield _make_cut(held, first, protocol, protocol.ahead)
    if num_frames and covered != num_frames:
        yield _make_cut(held, max(0, num_frames - size), protocol)


def _make_cut(held: deque[tuple[float, np.ndarray]], first: int, protocol: Protocol, ahead: int = 0) -> Cut:
    wanted = protocol.window if protocol.loop else max(len(held), protocol.min_frames * protocol.frame_stride)
    order = [index % len(held) for index in range(0, wanted, protocol.frame_stride)]
    frames_THWC = np.stack([held[index][1] for index in order])
    last = len(held) - 1 - ahead
    return Cut(first, first + last, held[0][0], held[last][0], frames_THWC)


def crop_centre(frames_THWC: np.ndarray, crop: int) -> np.ndarray:
    """The central square of `crop` pixels of each of frames_THWC: a view, nothing is copied."""
    left, top = centre_offset(frames_THWC.shape[1], frames_THWC.shape[2], crop)
    return frames_THWC[:, top : top + crop, left : left + crop]


def softmax(logits_K: np.ndarray) -> np.ndarray:
    """Scores in [0, 1] from logits_K, in float64 so that the smallest of many classes stays above 0."""
    shifted = logits_K.astype(np.float64) - logits_K.max()
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum()


def rank_labels(logits_K: np.ndarray, class_names: Sequence[str], top_k: int) -> tuple[LabelScore, ...]:
    """The `top_k` best labels of logits_K with their softmax scores, best first (ties: lower label)."""
    scores_K = softmax(logits_K)
    order = np.argsort(-logits_K, kind="stable")[:top_k]
    return tuple(LabelScore(int(k), class_names[k], float(scores_K[k])) for k in order)


def read_calibration(found: Mapping[str, Any] | None, name: str) -> tuple[float, float]:
    """The temperature that logits are divided by, and the score from which on to answer (0 to 1).

    found: what a model file says of its calibration (`VideoModel.calibration`; None: 1 and
    DEFAULT_THRESHOLD), name: of the model. Raises ValueError for numbers that cannot be.
    """
    found = found or {}
    temperature = float(found.get("temperature", 1.0))
    threshold = float((found.get("threshold") or {}).get("score", DEFAULT_THRESHOLD))
    if not (0 < temperature < math.inf and 0 <= threshold <= 1):
        raise ValueError(
            f"{name}: a calibration with temperature {temperature:g} and threshold {threshold:g}; they are "
            "above 0, and from 0 to 1: calibrate it again (`vadis evaluate --calibrate --store`)"
        )
    return temperature, threshold


def find_spans(windows: Sequence[Window], threshold: float) -> tuple[Span, ...]:
    """Maximal runs of windows with the same best label at or above `threshold`.

    A span reaches from its first window's start to its last window's end (seconds); its score is the
    mean of the label's score over its windows.
    """
    spans: list[Span] = []
    run: list[Window] = []

    def close_run() -> None:
        if run:
            best = run[0].labels[0]
            score = sum(window.labels[0].score for window in run) / len(run)
            spans.append(Span(run[0].start_seconds, run[-1].end_seconds, best.label, best.class_name, score))
            run.clear()

    for window in windows:
        best = window.labels[0]
        if best.score < threshold or (run and run[0].labels[0].label != best.label):
            close_run()
        if best.score >= threshold:
            run.append(window)
    close_run()
    return tuple(spans)


def window_of(
    cut: Cut, labels: tuple[LabelScore, ...], protocol: Protocol, start_seconds: float, rate: float | None
) -> Window:
    """A cut's Window, from its first frame's time until its last frame stops being shown.

    Times are those of the sampling grid, which begins at `start_seconds`; where the protocol takes the
    video's own frames, they are the frames' own, and `rate` (Hz) tells how long the last one lasts.
    """
    if protocol.fps is None:
        return Window(cut.first_seconds, cut.last_seconds + (1 / rate if rate else 0.0), labels)
    first, end = cut.first / protocol.fps, (cut.last + 1) / protocol.fps
    return Window(start_seconds + first, start_seconds + end, labels)
