"""Getting at single pictures of a file: seek to the keyframe before, decode on, check what came out."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from vadis.records import VideoError
from vadis.video.images import ImageReader
from vadis.video.reader import FileReader
from vadis.video.timeline import Timeline

_MAX_SKIPPED = 4096
"""Packets that are passed over after a seek before it counts as failed."""


@dataclass(frozen=True)
class Picture:
    """A wanted picture: its index, the decoded frame, whether it is damaged or replaced by the one before."""

    index: int
    frame: VideoFrame
    corrupt: bool
    replaced: bool = False


class _DistrustError(Exception):
    """What came out of the decoder after a seek is not what the table of packets promises."""


def fetch_pictures(
    reader: FileReader, timeline: Timeline, wanted: list[int], notes: list[str]
) -> Iterator[Picture]:
    """Yield the pictures with the `wanted` indices (sorted, distinct), each decoded at most once.

    Falls back to decoding from the start where the timeline cannot be trusted, and says so in `notes`.
    A picture that the decoder does not give is replaced by the one before it and marked as corrupt.
    """
    done = 0
    if timeline.reason is None:
        try:
            for picture in _fetch_by_seeking(reader, timeline, wanted):
                yield picture
                done += 1
        except _DistrustError as error:
            note = f"decoded from the start: {error}"
            if note not in notes:
                notes.append(note)
    if done < len(wanted):
        reader.rewind()
        yield from _fetch_from_start(reader, timeline, wanted[done:])


def _fetch_by_seeking(reader: FileReader, timeline: Timeline, wanted: list[int]) -> Iterator[Picture]:
    place = 0
    while place < len(wanted):
        key = timeline.key_before(int(timeline.pts_N[wanted[place]]))
        if key < 0:
            raise _DistrustError("the file does not begin with a keyframe")
        stop, reached = place + 1, key
        while stop < len(wanted):
            following = timeline.key_before(int(timeline.pts_N[wanted[stop]]))
            if following > reached + 1:
                break
            reached = following  # the same GOP or the next one: going on is cheaper than a seek
            stop += 1
        yield from _decode_run(reader, timeline, key, wanted[place:stop])
        place = stop


def _decode_run(reader: FileReader, timeline: Timeline, key: int, wanted: list[int]) -> Iterator[Picture]:
    """Decode from keyframe `key` on and yield the pictures `wanted`, which all come after it."""
    by_pts = {int(timeline.pts_N[index]): index for index in wanted}
    queue = [int(timeline.pts_N[index]) for index in wanted]
    key_pts = int(timeline.key_pts_K[key])
    first_expected = timeline.from_key(key)
    context = reader.source.stream.codec_context
    started = False
    place = 0
    reader.suspicion.forget()
    packets = _packets_from(reader, timeline, key)
    try:
        for packet in packets:
            if packet.size and context.is_open:
                needed = packet.pts in by_pts or packet.pts == key_pts
                context.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in reader.decode(packet):
                if frame.pts is None:
                    raise _DistrustError("pictures without timestamps")
                if not started:
                    if frame.pts < key_pts:
                        continue  # leading pictures of an open GOP, whose references we have not read
                    if frame.pts != first_expected or (frame.pts == key_pts and not frame.key_frame):
                        raise _DistrustError("a keyframe mark is wrong")
                    started = True
                damaged = reader.suspicion.is_corrupt(frame)
                if frame.pts in by_pts:
                    if frame.pts != queue[place]:
                        raise _DistrustError("pictures are missing or out of order after a seek")
                    place += 1
                    yield Picture(by_pts[frame.pts], frame, damaged)
                    if place == len(queue):
                        return
            reader.budget.check()
    finally:
        packets.close()
        context.skip_frame = "DEFAULT"
    raise _DistrustError("pictures are missing after a seek")


def _packets_from(reader: FileReader, timeline: Timeline, key: int) -> Generator[Packet]:
    """Packets from keyframe `key` on. Raises _DistrustError where no seek leads there."""
    key_pts, key_dts = int(timeline.key_pts_K[key]), int(timeline.key_dts_K[key])
    stream = reader.source.stream
    by_pts = "matroska" in reader.source.formats
    targets = [key_pts if by_pts else key_dts, min(key_pts, key_dts)]
    if key > 0:
        targets.append(int(min(timeline.key_pts_K[key - 1], timeline.key_dts_K[key - 1])))
    for target in targets:
        try:
            reader.source.container.seek(target, stream=stream, backward=True)
        except (OSError, ValueError) as error:
            raise _DistrustError("the file cannot be searched") from error
        packets = reader.packets()
        try:
            for number, packet in enumerate(packets):
                if packet.pts == key_pts:
                    yield packet
                    yield from packets
                    return
                passed = packet.is_keyframe and packet.pts is not None and packet.pts > key_pts
                if packet.size == 0 or passed or number > _MAX_SKIPPED:
                    break
        finally:
            packets.close()
    raise _DistrustError("no seek leads to a keyframe")


def _fetch_from_start(reader: FileReader, timeline: Timeline, wanted: list[int]) -> Iterator[Picture]:
    """Decode linearly and pick; by PTS where the timeline is sound, else by count in output order."""
    place = 0
    before: VideoFrame | None = None
    shots = reader.shots()
    by_count = timeline.reason is not None
    try:
        for count, shot in enumerate(shots):
            if place == len(wanted):
                return
            position = count if by_count else _place(timeline, shot.pts)
            while place < len(wanted) and wanted[place] < position and before is not None:
                yield Picture(wanted[place], before, True, replaced=True)
                place += 1
            if place < len(wanted) and wanted[place] == position:
                yield Picture(wanted[place], shot.frame, shot.corrupt)
                place += 1
            before = shot.frame
    finally:
        shots.close()
    if before is None:
        raise VideoError("corrupt", reader.name, "not one frame could be decoded")
    for index in wanted[place:]:
        yield Picture(index, before, True, replaced=True)


def _place(timeline: Timeline, pts: int | None) -> int:
    return -1 if pts is None else int(np.searchsorted(timeline.pts_N, pts, side="right")) - 1


def fetch_images(reader: ImageReader, wanted: list[int]) -> Iterator[Picture]:
    """Yield the images with the `wanted` indices; a damaged one is replaced by the readable one before it."""
    for index in wanted:
        reader.budget.check()
        for back in range(index, -1, -1):
            shot = reader.read(back)
            if shot is not None:
                yield Picture(index, shot.frame, back != index, replaced=back != index)
                break
        else:
            raise VideoError("corrupt", reader.name, f"image {reader.files[index].name} cannot be read")
