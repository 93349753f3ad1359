"""A video of any length, chunk by chunk, in bounded memory; decoding may run ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import numpy as np

from vadis.records import DecodeReport, ErrorKind, Limits, VideoError, VideoInfo
from vadis.video.clock import Clock, Shown, exact_rate
from vadis.video.frames import Frames
from vadis.video.images import ImageReader
from vadis.video.probe import describe
from vadis.video.reader import FileReader
from vadis.video.scale import Scaler
from vadis.video.source import VideoPath, is_folder

Reader: TypeAlias = FileReader | ImageReader


class Stream(Protocol):
    """What the streams of `stream_frames`, `prefetch` and of a child process have in common."""

    def __iter__(self) -> Iterator[Frames]: ...

    def __next__(self) -> Frames: ...

    def __enter__(self) -> Stream: ...

    def __exit__(self, *error: object) -> None: ...

    def close(self) -> None:
        """Stop and let go of the file."""

    @property
    def info(self) -> VideoInfo:
        """What the container says."""

    @property
    def report(self) -> DecodeReport:
        """What was promised and given; final once the stream is exhausted."""

    @property
    def start_seconds(self) -> float | None:
        """Time of the first frame, None before it is decoded."""

    @property
    def duration_seconds(self) -> float | None:
        """From the first frame's time to the end of the last one, None before the end."""


def open_reader(path: VideoPath, limits: Limits, threads: int | None = None) -> Reader:
    """A reader for a file, a folder of images, bytes or a file object."""
    if is_folder(path):
        return ImageReader(Path(cast("str", path)), limits)
    return FileReader(path, limits, threads=threads)


def describe_reader(reader: Reader) -> VideoInfo:
    """The VideoInfo of an opened reader, without reading on in a pipe."""
    return reader.describe() if isinstance(reader, ImageReader) else describe(reader)


class FrameStream:
    """Iterates over a video's frames in chunks of `Frames`; made by `stream_frames`."""

    def __init__(
        self,
        reader: Reader,
        *,
        fps: Fraction | None,
        short_side: int | None,
        chunk: int,
    ) -> None:
        self._reader = reader
        self._fps = fps
        self._chunk = chunk
        self._scaler = Scaler(short_side)
        with reader.budget:
            self._info = describe_reader(reader)
            packed = reader.packed
        self._clock = Clock(reader.time_base, reader.rate, reader.origin, packed=packed)
        self._items = self._ask()
        self._start: Fraction | None = None
        self._end: Fraction | None = None
        self._num_corrupt = 0
        self._finished = False
        self._closed = False
        self._report: DecodeReport | None = None

    def _ask(self) -> Iterator[tuple[Shown, int]]:
        """Yield each picture that is asked for, with how many times in a row it is asked for."""
        pending: Shown | None = None
        asked = 0
        longest = self._reader.limits.max_seconds
        shots = self._reader.shots()
        try:
            for shown in self._clock.present(shots):
                if self._start is None:
                    self._start = shown.time
                if shown.shot.corrupt:
                    self._num_corrupt += 1
                if longest is not None and shown.time - self._start > longest:
                    limit = f"the limit (max_seconds) is {longest:g}"
                    raise VideoError("too_large", self._reader.name, f"the video goes on and on, {limit}")
                if pending is not None:
                    times = self._times_until(asked, shown.time)
                    asked += times
                    if times:
                        yield pending, times
                pending = shown
            if pending is not None:
                self._end = pending.time + pending.length
                times = self._times_until(asked, self._end)
                if times:
                    yield pending, times
        finally:
            close = getattr(shots, "close", None)
            if close is not None:
                close()

    def _times_until(self, asked: int, end: Fraction) -> int:
        """How many grid times start + k / fps, k >= asked, lie before `end`; 1 without a grid."""
        if self._fps is None:
            return 1
        if self._start is None:
            return 0
        # the smallest k that is not before `end`
        bound = -((-(end - self._start) * self._fps) // 1)
        return max(0, int(bound) - asked)

    def __iter__(self) -> Iterator[Frames]:
        return self

    def __next__(self) -> Frames:
        if self._finished or self._closed:
            raise StopIteration
        with self._reader.budget:
            frames = self._fill()
        if frames is None:
            raise StopIteration
        return frames

    def _fill(self) -> Frames | None:
        frames_THWC = None
        times, indices, corrupt = [], [], []
        count = 0
        while count < self._chunk:
            shown, repeats = self._next_item()
            if shown is None:
                break
            frame = shown.shot.frame
            self._scaler.start(frame)
            if frames_THWC is None:
                width, height = self._scaler.size
                frames_THWC = np.empty((self._chunk, height, width, 3), np.uint8)
            room = min(repeats, self._chunk - count)
            self._scaler.write(frame, frames_THWC[count])
            frames_THWC[count + 1 : count + room] = frames_THWC[count]
            times += [float(shown.time)] * room
            indices += [shown.index] * room
            corrupt += [shown.shot.corrupt] * room
            count += room
            if repeats > room:
                self._left = (shown, repeats - room)
        if frames_THWC is None:
            self._finish()
            return None
        return Frames(
            frames_THWC[:count],
            np.asarray(times, np.float64),
            np.asarray(indices, np.int64),
            np.asarray(corrupt, np.bool_),
            self.report,
        )

    _left: tuple[Shown, int] | None = None

    def _next_item(self) -> tuple[Shown | None, int]:
        if self._left is not None:
            item, self._left = self._left, None
            return item
        return next(self._items, (None, 0))

    def _finish(self) -> None:
        self._finished = True
        reader = self._reader
        expected, short, notes = reader.outcome()
        if reader.num_decoded == 0:
            damaged = reader.num_refused or short
            kind: ErrorKind = "corrupt" if damaged else "empty"
            piped = isinstance(reader, FileReader) and not reader.source.seekable
            hint = "an mp4 that comes through a pipe needs its index first (`-movflags faststart`)"
            message = "not one frame could be decoded"
            raise VideoError(kind, reader.name, message, hint if piped and damaged else None)
        lost = expected - reader.num_decoded - reader.num_refused
        if lost > 0 and not short:
            notes.append(f"the decoder gave {lost} pictures fewer than the file holds")
        self._report = self._make_report(max(expected, reader.num_decoded), short, notes)

    def _make_report(self, expected: int, short: bool, notes: list[str]) -> DecodeReport:
        reader = self._reader
        return DecodeReport(
            video=reader.name,
            frames_expected=expected,
            frames_decoded=reader.num_decoded,
            frames_corrupt=self._num_corrupt + reader.num_refused,
            short=short,
            repaired=self._clock.repaired,
            notes=(*self._clock.notes, *notes),
        )

    @property
    def info(self) -> VideoInfo:
        """What the container says; see `vadis.video.probe`."""
        return self._info

    @property
    def report(self) -> DecodeReport:
        """Frames expected, decoded and corrupt: up to now, final once the stream is exhausted."""
        if self._report is not None:
            return self._report
        return self._make_report(self._info.frames_declared or self._reader.num_decoded, False, [])

    @property
    def start_seconds(self) -> float | None:
        """Time in seconds of the first frame on the player's clock, None before it is decoded."""
        return None if self._start is None else float(self._start)

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from the first frame's time to the last frame's end; None before the end is reached."""
        if self._start is None or self._end is None:
            return None
        return float(self._end - self._start)

    def close(self) -> None:
        """Stop decoding and close the file. The report stays."""
        if not self._closed:
            self._closed = True
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._reader.close()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def stream_frames(
    path: VideoPath,
    *,
    fps: float | Fraction | None = None,
    short_side: int | None = None,
    chunk: int = 16,
    limits: Limits = Limits(),  # noqa: B008
    threads: int | None = None,
) -> FrameStream:
    """Stream a video's frames in chunks of at most `chunk`, in memory that does not grow with its length.

    path: a file (its name taken literally), a folder of numbered images (25 fps), the bytes of a file, or
    a readable binary file object such as a pipe.
    fps: element k is the frame that a player shows k / fps seconds after the first frame's time, for all
    k / fps below the duration (exact rational arithmetic; 29.97002997 is understood as 30000/1001);
    None gives every frame once.
    short_side: pixels to which the short side is scaled (up or down), None to keep the size.
    threads: decoder threads, None for one per core up to four; 1 has the least delay for live use.
    Raises VideoError when opening, or later while iterating (corrupt or empty when not one frame comes).
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 frame, got {chunk}")
    rate = None if fps is None else exact_rate(fps)
    reader = open_reader(path, limits, threads)
    try:
        return FrameStream(reader, fps=rate, short_side=short_side, chunk=chunk)
    except BaseException:
        reader.close()
        raise


_PATIENCE_SECONDS = 5.0


class Prefetch:
    """A stream whose chunks are made ahead of time in a thread; made by `prefetch`."""

    def __init__(self, stream: Stream, depth: int) -> None:
        self._stream = stream
        self._chunks: queue.Queue[Frames | BaseException | None] = queue.Queue(depth)
        self._stop = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._work, name="vadis-prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        item: Frames | BaseException | None
        while not self._stop.is_set():
            try:
                item = next(self._stream)
            except StopIteration:
                item = None
            except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer gets it
                item = error
            while not self._stop.is_set():
                try:
                    self._chunks.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if not isinstance(item, Frames):
                return

    def __iter__(self) -> Iterator[Frames]:
        return self

    def __next__(self) -> Frames:
        if self._done:
            raise StopIteration
        item = self._chunks.get()
        if isinstance(item, Frames):
            return item
        self._done = True
        if item is None:
            raise StopIteration
        raise item

    @property
    def info(self) -> VideoInfo:
        """What the container says."""
        return self._stream.info

    @property
    def report(self) -> DecodeReport:
        """What was promised and given so far; it may run ahead of the chunks consumed by `depth`."""
        return self._stream.report

    @property
    def start_seconds(self) -> float | None:
        """Time in seconds of the first frame on the player's clock, None before it is decoded."""
        return self._stream.start_seconds

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from the first frame's time to the last frame's end; None before the end is reached."""
        return self._stream.duration_seconds

    def close(self) -> None:
        """Stop the thread and close the stream.

        A thread that waits for more of a live pipe is left behind after a few seconds: it ends with the pipe.
        """
        self._done = True
        self._stop.set()
        self._thread.join(_PATIENCE_SECONDS)
        if not self._thread.is_alive():
            self._stream.close()

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def prefetch(stream: Stream, depth: int = 4) -> Prefetch:
    """Decode ahead of the consumer in a thread: at most `depth` chunks wait.

    Same protocol as the stream; its errors are raised in the consumer when it gets there. Closing the
    result stops the thread and closes `stream`.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1 chunk, got {depth}")
    return Prefetch(stream, depth)
