"""Frames of a video by time or by index: exact by PTS, decoding no more than is needed.

The frame for time t is the one that a player shows at t: the last frame whose PTS is at or before t on
the player's clock (0 is where its seek bar begins); before the first frame it is the first, after the
end the last. For access in any order, all packets are read once into a table (nothing is decoded);
then decoding starts at the keyframe before a wanted frame. Where a file's timestamps or keyframe marks
turn out to be wrong, it is decoded from the start instead, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vadis.records import DecodeReport, Limits, VideoError, VideoInfo
from vadis.video.clock import Clock, Moments
from vadis.video.fetch import Picture, fetch_images, fetch_pictures
from vadis.video.frames import Frames
from vadis.video.images import ImageReader
from vadis.video.reader import FileReader
from vadis.video.scale import Scaler
from vadis.video.source import VideoPath
from vadis.video.stream import (
    FrameStream,
    Prefetch,
    Stream,
    describe_reader,
    open_reader,
    prefetch,
    stream_frames,
)
from vadis.video.timeline import Timeline, read_timeline

__all__ = [
    "FrameStream",
    "Frames",
    "Prefetch",
    "Stream",
    "Video",
    "decode",
    "prefetch",
    "stream_frames",
]


class Video:
    """A video for access to any of its frames in any order; a context manager.

    path: a file (its name taken literally), a folder of numbered images (25 fps), bytes, or a seekable
    binary file object. short_side: pixels to which the short side is scaled, None to keep the size.
    Raises VideoError when opening; a pipe is refused (see `stream_frames`).
    """

    def __init__(
        self,
        path: VideoPath,
        *,
        limits: Limits = Limits(),  # noqa: B008
        short_side: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._scaler = Scaler(short_side)
        self._reader = open_reader(path, limits, threads)
        self._info: VideoInfo | None = None
        self._timeline: Timeline | None = None
        self._times: Moments | None = None
        self._repaired = False
        self._notes: list[str] = []
        self._outcome: tuple[int, bool, list[str]] = (0, False, [])
        if not getattr(getattr(self._reader, "source", None), "seekable", True):
            self._reader.close()
            raise VideoError("refused", self._reader.name, "a pipe cannot be read out of order", "use a file")

    @property
    def info(self) -> VideoInfo:
        """What the container says; see `vadis.video.probe`. Read on the first question."""
        if self._info is None:
            with self._reader.budget:
                if self._times is not None and isinstance(self._reader, FileReader):
                    self._reader.rewind()  # what a file says is read from its start
                self._info = describe_reader(self._reader)
        return self._info

    def __len__(self) -> int:
        """Number of frames that a player shows."""
        return len(self._exact_times())

    def frame_times(self) -> NDArray[np.float64]:
        """times_N: when each frame is shown, float64 seconds on the player's clock, increasing."""
        return self._exact_times().seconds()

    def frames_by_time(self, seconds: Iterable[float | Fraction]) -> Frames:
        """The frame shown at each time, in the order asked for.

        seconds: on the player's clock. Fractions are exact; a float may lie up to a nanosecond before a
        frame's PTS and still mean that frame. Raises VideoError; ValueError for a time that is no number.
        """
        times = self._exact_times()
        return self.frames_by_index([times.shown_at(second) for second in seconds])

    def frames_by_index(self, indices: Iterable[int]) -> Frames:
        """The frames with these indices in presentation order (0 is the first one shown), as asked for.

        Raises VideoError; IndexError for an index that the video does not have.
        """
        return self.clips([list(indices)])[0]

    def clips(self, clips: Sequence[Sequence[int]]) -> list[Frames]:
        """Many clips in one pass: each is a list of frame indices; each source frame is decoded once at most.

        Returns one `Frames` per clip; their reports are those of the whole pass. Raises as `frames_by_index`.
        """
        times = self._exact_times()
        slots: dict[int, list[tuple[int, int]]] = {}
        for number, indices in enumerate(clips):
            for slot, index in enumerate(indices):
                if not 0 <= index < len(times):
                    raise IndexError(f"{self._reader.name} has frames 0 to {len(times) - 1}, not {index}")
                slots.setdefault(int(index), []).append((number, slot))
        wanted = sorted(slots)
        pixels: list[NDArray[np.uint8]] | None = None
        corrupt = [np.zeros(len(indices), np.bool_) for indices in clips]
        decoded = damaged = 0
        last_is_cut = isinstance(self._reader, FileReader) and self._reader.last_is_cut
        with self._reader.budget:
            for picture in self._pictures(wanted):
                self._scaler.start(picture.frame)
                if pixels is None:
                    width, height = self._scaler.size
                    pixels = [np.empty((len(indices), height, width, 3), np.uint8) for indices in clips]
                damage = picture.corrupt or (last_is_cut and picture.index == len(times) - 1)
                decoded += not picture.replaced
                damaged += damage
                first: NDArray[np.uint8] | None = None
                for number, slot in slots[picture.index]:
                    corrupt[number][slot] = damage
                    if first is None:
                        first = pixels[number][slot]
                        self._scaler.write(picture.frame, first)
                    else:
                        pixels[number][slot] = first
        if pixels is None:
            if wanted:
                raise VideoError(
                    "corrupt", self._reader.name, "none of the frames asked for could be decoded"
                )
            width, height = self.info.width, self.info.height
            pixels = [np.empty((0, height, width, 3), np.uint8) for _ in clips]
        report = self._report(len(wanted), decoded, damaged)
        return [
            Frames(
                pixels[number],
                times.seconds(indices),
                np.asarray(list(indices), np.int64),
                corrupt[number],
                report,
            )
            for number, indices in enumerate(clips)
        ]

    def _report(self, expected: int, decoded: int, damaged: int) -> DecodeReport:
        _, short, notes = self._outcome
        return DecodeReport(
            video=self._reader.name,
            frames_expected=expected,
            frames_decoded=decoded,
            frames_corrupt=damaged,
            short=short,
            repaired=self._repaired,
            notes=(*self._notes, *notes),
        )

    def _exact_times(self) -> Moments:
        """When each frame is shown; reads the packets, or decodes all where it must."""
        if self._times is None:
            with self._reader.budget:
                self._times = self._read_times()
        return self._times

    def _read_times(self) -> Moments:
        reader = self._reader
        if isinstance(reader, ImageReader):
            return Moments.of_times([index / reader.rate for index in range(len(reader.files))])
        time_base, origin = reader.time_base, reader.origin  # before reading on: it changes some of them
        timeline = read_timeline(reader)
        self._outcome = reader.outcome()
        if timeline.reason is None:
            timeline = self._cut_start(timeline)
        self._timeline = timeline
        if timeline.reason is None:
            return Moments.of_pts(timeline.pts_N.tolist(), time_base, origin)
        reader.rewind()
        clock = Clock(reader.time_base, reader.rate, reader.origin, packed=reader.packed)
        times = [shown.time for shown in clock.present(reader.shots())]
        self._outcome = reader.outcome()
        self._repaired = clock.repaired
        self._notes += [*clock.notes, f"decoded from the start: {timeline.reason}"]
        if not times:
            raise VideoError("empty", reader.name, "not one frame could be decoded")
        return Moments.of_times(times)

    def _cut_start(self, timeline: Timeline) -> Timeline:
        """Leave out the pictures before the first one that can be decoded (recordings cut mid-way)."""
        if not timeline.starts:
            raise VideoError(
                "corrupt" if len(timeline) else "empty", self._reader.name, "not one frame could be decoded"
            )
        first = timeline.first_pts
        place = -1 if first is None else int(np.searchsorted(timeline.pts_N, first))
        if place < 0 or place >= len(timeline) or timeline.pts_N[place] != first:
            return replace(timeline, reason="the decoder gives other timestamps than the packets")
        if place:
            self._notes.append(f"{place} pictures before the first decodable one are not shown")
        return replace(timeline, pts_N=timeline.pts_N[place:], length_N=timeline.length_N[place:])

    def _pictures(self, wanted: list[int]) -> Iterable[Picture]:
        reader = self._reader
        if isinstance(reader, ImageReader):
            return fetch_images(reader, wanted)
        if self._timeline is None:
            raise RuntimeError("the timeline is read before frames are fetched")
        return fetch_pictures(reader, self._timeline, wanted, self._notes)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def decode(
    path: VideoPath,
    *,
    seconds: Iterable[float | Fraction] | None = None,
    indices: Iterable[int] | None = None,
    short_side: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Frames:
    """Decode a video: the frames at some times, those with some indices, or (neither given) all of them.

    See `Video.frames_by_time` and `Video.frames_by_index`. All frames of a video are held in memory at
    once; `stream_frames` reads a long one piece by piece. Raises VideoError, ValueError, IndexError.
    """
    if seconds is not None and indices is not None:
        raise ValueError("give seconds or indices, not both")
    if seconds is None and indices is None:
        with stream_frames(path, short_side=short_side, limits=limits, chunk=64) as stream:
            return join(list(stream), stream.report)
    with Video(path, short_side=short_side, limits=limits) as video:
        if seconds is not None:
            return video.frames_by_time(seconds)
        return video.frames_by_index(indices if indices is not None else ())


def join(chunks: Sequence[Frames], report: DecodeReport) -> Frames:
    """Chunks of one stream as one `Frames` with the stream's final report."""
    return Frames(
        np.concatenate([chunk.frames_THWC for chunk in chunks]),
        np.concatenate([chunk.times_T for chunk in chunks]),
        np.concatenate([chunk.indices_T for chunk in chunks]),
        np.concatenate([chunk.corrupt_T for chunk in chunks]),
        report,
    )
