"""Live input: a camera or a stream on standard input, scored as it arrives.

The newest window of frames is scored again and again. When the model is slower than the stream, frames
are left out and counted; answers are never delayed more and more. A thread decodes and keeps the last
window; the main thread scores.
"""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO, Any, BinaryIO

import numpy as np

from vadis.data.reading import Reading
from vadis.fetching import fetch_if_missing
from vadis.prediction import DEFAULT_MODEL, Predictor
from vadis.records import LabelScore, Limits, VideoError
from vadis.video.decode import stream_frames
from vadis.windows import Cut, Protocol, crop_centre, rank_labels

Clock = Callable[[], float]
TimedFrame = tuple[float, np.ndarray]
"""A time in seconds on the stream's own clock, and a uint8 RGB frame_HWC."""


@dataclass(frozen=True)
class LiveJob:
    """One call of `vadis predict --camera N` or `--input -`; times in seconds.

    threshold: the score (0 to 1) from which on an action is named; None: the model's, as it was calibrated.
    flow: the method by which flow is estimated for a model that takes it.
    """

    camera: int | None = None
    model: str = DEFAULT_MODEL
    top_k: int = 5
    window_seconds: float | None = None
    stride_seconds: float | None = None
    threshold: float | None = None
    out: str | None = None
    as_json: bool = False
    device: str = "auto"
    engine: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    flow: str | None = None
    limits: Limits | None = None


@dataclass(frozen=True)
class LiveAnswer:
    """The labels of the newest window, how old its last frame was by then, and frames left out so far."""

    start_seconds: float
    end_seconds: float
    labels: tuple[LabelScore, ...]
    latency_seconds: float
    frames_dropped: int


class RollingWindow:
    """The last `size` frames of a stream, filled by one thread and read by another.

    `arrived` counts all frames since the start; `dropped` those that no reading ever contained.
    """

    def __init__(self, size: int, clock: Clock = time.monotonic) -> None:
        self._frames: deque[tuple[float, float, np.ndarray]] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._clock = clock
        self.arrived = 0
        self.dropped = 0
        self._read_up_to = 0
        self._ended = False
        self._error: BaseException | None = None

    def push(self, seconds: float, frame_HWC: np.ndarray) -> None:
        """Add the newest frame; the oldest falls out when the window is full."""
        with self._changed:
            self._frames.append((seconds, self._clock(), frame_HWC))
            self.arrived += 1
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more frames will come; an error is raised in the reader once the frames are read."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def read(self, stride: int) -> tuple[list[TimedFrame], float] | None:
        """The newest frames, and when the last of them arrived; None after the end.

        Waits for a full window and for at least `stride` new frames; at the end what is left is given.
        """
        with self._changed:
            size = self._frames.maxlen or 1
            self._changed.wait_for(
                lambda: self._ended or (self.arrived >= size and self.arrived - self._read_up_to >= stride)
            )
            if self.arrived == self._read_up_to:
                if self._error is not None:
                    raise self._error
                return None
            first = self.arrived - len(self._frames)
            self.dropped += max(0, first - self._read_up_to)
            self._read_up_to = self.arrived
            frames = [(seconds, frame_HWC) for seconds, _, frame_HWC in self._frames]
            return frames, self._frames[-1][1]


def feed(
    frames: Iterator[TimedFrame],
    window: RollingWindow,
    pace: bool,
    stop: threading.Event,
    clock: Clock = time.monotonic,
) -> None:
    """Push a stream into a window until it ends or `stop` is set; meant to run in a thread of its own.

    pace: hold each frame back until its time has come, so that a file piped in plays at its own speed.
    """
    begun: tuple[float, float] | None = None
    try:
        for seconds, frame_HWC in frames:
            if begun is None:
                begun = (clock(), seconds)
            if pace:
                stop.wait(max(0.0, seconds - begun[1] - (clock() - begun[0])))
            if stop.is_set():
                break
            window.push(seconds, frame_HWC)
    except VideoError as error:
        window.end(error)
    else:
        window.end()


def answer_live(
    predictor: Predictor, window: RollingWindow, protocol: Protocol, top_k: int, clock: Clock = time.monotonic
) -> Iterator[LiveAnswer]:
    """Score the newest window again and again until the stream ends."""
    rate = protocol.fps or 25.0
    while (reading := window.read(protocol.stride)) is not None:
        frames, arrived_at = reading
        if protocol.sees:
            pixels_THWC = np.stack([frame_HWC for _, frame_HWC in frames])
            cut = Cut(0, len(frames) - 1, frames[0][0], frames[-1][0], pixels_THWC)
            logits_BK = predictor.score_window(cut, "live input", rate)
        else:
            order = [index % len(frames) for index in range(0, protocol.window, protocol.frame_stride)]
            logits_BK = predictor.score(np.stack([frames[index][1] for index in order])[None])
        labels = rank_labels(logits_BK[0], predictor.class_names, top_k)
        yield LiveAnswer(frames[0][0], frames[-1][0] + 1 / rate, labels, clock() - arrived_at, window.dropped)


def read_stream(source: BinaryIO, protocol: Protocol, limits: Limits | None) -> Iterator[TimedFrame]:
    """Frames of a video stream that cannot be rewound, cropped by the protocol."""
    options: dict[str, Any] = {} if limits is None else {"limits": limits}
    with stream_frames(source, fps=protocol.fps, short_side=protocol.size, chunk=1, **options) as stream:
        for frames in stream:
            yield from zip(
                frames.times_T.tolist(), crop_centre(frames.frames_THWC, protocol.crop), strict=True
            )


def read_camera(number: int, protocol: Protocol) -> Iterator[TimedFrame]:
    """Frames of a camera, taken at the protocol's rate by the wall clock, resized and cropped."""
    import av

    formats = {"Linux": ("v4l2", f"/dev/video{number}"), "Darwin": ("avfoundation", str(number))}
    system = platform.system()
    if system not in formats:
        raise VideoError(
            "refused", f"camera {number}", f"cameras are not supported on {system}", "pipe it in"
        )
    kind, device = formats[system]
    try:
        container = av.open(device, format=kind)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        hint = "check that it is plugged in, not used elsewhere, and that you may read it"
        raise VideoError("not_found", f"camera {number}", f"cannot be opened: {error}", hint) from None
    rate = protocol.fps or 25.0
    with container:
        begun, taken = time.monotonic(), 0
        for frame in container.decode(video=0):
            due = int((time.monotonic() - begun) * rate) + 1
            if due <= taken:
                continue  # the camera is faster than the protocol
            short = min(frame.width, frame.height)
            width = round(frame.width * protocol.size / short)
            height = round(frame.height * protocol.size / short)
            small_HWC = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
            cropped_HWC = crop_centre(small_HWC[None], protocol.crop)[0]
            while taken < due:  # a slow camera: its picture was shown for several ticks
                yield taken / rate, cropped_HWC
                taken += 1


def run_live(job: LiveJob, source: BinaryIO | None = None) -> int:
    """`vadis predict --camera N | --input -`: one line an answer, until the end or Ctrl-C."""
    fetch_if_missing(job.model)
    predictor = Predictor(
        job.model,
        engine=job.engine,
        device=job.device,
        precision=job.precision,
        threads=job.threads,
        reading=Reading(flow=job.flow),
    )
    if any(part.sound for part in predictor.spec.parts.values() or (predictor.spec,)):
        raise ValueError(f"live input has no sound; this model takes {predictor.spec.describe()}")
    protocol = predictor.make_protocol("windows", job.window_seconds, job.stride_seconds)
    if job.stride_seconds is None:
        protocol = replace(protocol, stride=max(1, protocol.window // 4))
    engine = predictor.prepare(protocol)
    sys.stderr.write(
        f"{predictor.name} on {engine.device} by {engine.name} ({engine.precision}), live: newest "
        f"{protocol.window} frames, again after every {protocol.stride} at {protocol.fps or 25:g} fps\n"
    )
    threshold = predictor.threshold if job.threshold is None else job.threshold
    as_json = job.as_json or (job.out or "").endswith((".json", ".jsonl"))
    window, stop = RollingWindow(protocol.window + protocol.ahead), threading.Event()
    if job.camera is not None:
        frames = read_camera(job.camera, protocol)
    else:
        frames = read_stream(source or sys.stdin.buffer, protocol, job.limits)
    thread = threading.Thread(target=feed, args=(frames, window, job.camera is None, stop), daemon=True)
    thread.start()
    with ExitStack() as stack:
        out: IO[str] = sys.stdout
        if job.out is not None:
            out = stack.enter_context(open(job.out, "w", encoding="utf-8"))  # noqa: PTH123 - a name as it is
        stack.callback(stop.set)
        try:
            for answer in answer_live(predictor, window, protocol, job.top_k):
                out.write(_describe(answer, threshold, as_json) + "\n")
                out.flush()
        except VideoError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
    sys.stderr.write(f"{window.arrived} frames came, {window.dropped} were left out\n")
    return 0


def _describe(answer: LiveAnswer, threshold: float, as_json: bool) -> str:
    if as_json:
        document = {
            "start_seconds": answer.start_seconds,
            "end_seconds": answer.end_seconds,
            "labels": [
                {"label": item.label, "class_name": item.class_name, "score": item.score}
                for item in answer.labels
            ],
            "latency_seconds": answer.latency_seconds,
            "frames_dropped": answer.frames_dropped,
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False)
    best = answer.labels[0]
    name = best.class_name if best.score >= threshold else f"none of the known actions ({best.class_name}?)"
    return (
        f"{answer.end_seconds:8.2f} s  {best.score:5.2f}  {name:<40}  "
        f"latency {answer.latency_seconds:.2f} s, {answer.frames_dropped} frames left out"
    )
