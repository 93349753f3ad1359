"""What a file says about its video stream, and on request what its packets say."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

from vadis.records import AudioStream, Limits, VideoInfo
from vadis.video.images import ImageReader
from vadis.video.reader import FileReader, count_pictures
from vadis.video.scale import orientation_of
from vadis.video.source import Source, VideoPath, has_decoder, is_folder

_HEAD_PACKETS = 512
_REORDER = 16


def probe(path: VideoPath, *, count_frames: bool = False, limits: Limits = Limits()) -> VideoInfo:  # noqa: B008
    """Describe a video without decoding more than one frame (its display matrix is read from there).

    path: a file (its name taken literally), a folder of images, bytes, or a binary file object.
    count_frames: read all packets, so that `frames_counted` and `variable_frame_rate` are those of the
    whole file; otherwise the latter looks at the first 512 packets.
    Raises VideoError (not_found, not_video, no_video_stream, refused, too_large, corrupt, timeout).
    """
    if is_folder(path):
        return ImageReader(Path(cast("str", path)), limits).describe()
    reader = FileReader(path, limits)
    try:
        with reader.budget:
            return describe(reader, count_frames=count_frames)
    finally:
        reader.close()


def describe(reader: FileReader, *, count_frames: bool = False, scan: bool = True) -> VideoInfo:
    """The VideoInfo of an opened file. Rewinds it, if `scan` or `count_frames` read from it."""
    source = reader.source
    stream, context = source.stream, source.stream.codec_context
    variable: bool | None = None
    counted: int | None = None
    rotation, transposed = 0, False
    interlaced = (
        context.field_order not in (0, 1, "unknown", "progressive")
        if hasattr(context, "field_order")
        else False
    )
    size = context.width, context.height
    if source.seekable and (scan or count_frames):
        counted, variable = _scan_packets(reader, None if count_frames else _HEAD_PACKETS)
        if not count_frames:
            counted = None
        reader.rewind()
        frame = reader.first_frame()
        if frame is not None:
            orientation = orientation_of(frame)
            rotation, transposed = orientation.degrees, orientation.transpose
            interlaced = interlaced or frame.interlaced_frame
            size = frame.width, frame.height
        reader.rewind()
        source = reader.source
        stream, context = source.stream, source.stream.codec_context
    if transposed:
        size = size[1], size[0]
    aspect = stream.sample_aspect_ratio
    start = stream.start_time
    duration = source.duration
    return VideoInfo(
        video=source.name,
        container=source.container.format.name,
        codec=context.name,
        pixel_format=context.format.name if context.format is not None else "unknown",
        bit_depth=max((part.bits for part in context.format.components), default=8) if context.format else 8,
        width=size[0],
        height=size[1],
        rotation=rotation,
        sample_aspect=float(aspect) if aspect else 1.0,
        duration_seconds=None if duration is None else float(duration),
        frame_rate=_number(stream.average_rate),
        real_frame_rate=_number(stream.base_rate),
        variable_frame_rate=variable,
        frames_declared=stream.frames or None,
        frames_counted=counted,
        start_seconds=None if start is None else float(start * source.time_base),
        interlaced=bool(interlaced),
        audio=_audio_streams(source),
        size_bytes=source.size_bytes,
    )


def _scan_packets(reader: FileReader, limit: int | None) -> tuple[int, bool | None]:
    """Count pictures in the first `limit` packets and tell whether their PTS are evenly spaced."""
    codec = reader.source.stream.codec_context.name
    stamps: list[int] = []
    pictures = 0
    ended = True
    packets = reader.packets()
    try:
        for number, packet in enumerate(packets):
            if packet.is_discard or packet.size == 0:
                continue
            if limit is not None and number >= limit:
                ended = False
                break
            pictures += count_pictures(codec, packet)
            if packet.pts is not None:
                stamps.append(packet.pts)
    finally:
        packets.close()
    stamps.sort()
    if not ended:
        stamps = stamps[:-_REORDER]  # the next packets may still fall between the last ones
    return pictures, uneven(stamps)


def uneven(stamps: list[int]) -> bool | None:
    """True where sorted PTS (ticks) are spaced unevenly by more than rounding; None for fewer than three."""
    if len(stamps) < 3:
        return None
    gaps = [b - a for a, b in pairwise(stamps)]
    return max(gaps) - min(gaps) > 1


def _number(rate: Fraction | None) -> float | None:
    return float(rate) if rate else None


def _audio_streams(source: Source) -> tuple[AudioStream, ...]:
    found = []
    for stream in source.container.streams.audio:
        if has_decoder(stream):
            context = stream.codec_context
            found.append(AudioStream(context.name, context.sample_rate or 0, context.channels or 0))
        else:
            found.append(AudioStream("unknown", 0, 0))
    return tuple(found)
