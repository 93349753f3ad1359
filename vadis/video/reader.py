"""Packets into pictures: one pass over a file in decoding order, errors counted instead of raised."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from vadis.records import Limits, VideoError
from vadis.video.source import Budget, Source, VideoPath
from vadis.video.suspicion import Suspicion

MAX_READ_ERRORS = 8
"""Read errors in a row after which the file counts as ended."""

MAX_REFUSED_IN_A_ROW = 20_000
"""Refused packets in a row after which a file is given up: a small one can hold millions of them."""

MAX_START_PACKETS = 256
"""Packets after which a file from which no picture has come is not tried further."""

EMPTY_BYTES = 1
"""Packets of at most this many bytes hold no picture: AVI writers mark dropped frames so."""

VOP_START = b"\x00\x00\x01\xb6"
NOT_CODED_BYTES = 8
"""MPEG-4 part 2: start of a picture (VOP), and the size up to which it says only "as before"."""


@dataclass(frozen=True)
class Shot:
    """One decoded picture: PTS and duration in ticks (None, 0 where unknown), and whether it is damaged."""

    frame: VideoFrame
    pts: int | None
    duration: int
    corrupt: bool


class FileReader:
    """Decodes the video stream of one file from where it stands to its end, counting what goes wrong.

    `num_packets` counts packets with a picture that should be shown, `num_refused` packets that the
    decoder rejected, `read_error` keeps the last error of the container, `end_ticks` is the end of the
    latest packet.
    """

    def __init__(self, path: VideoPath, limits: Limits = Limits(), *, threads: int | None = None) -> None:  # noqa: B008
        self._path = path
        self._threads = threads
        self.source = Source(path, limits, threads=threads)
        self.num_declared = declared_packets(self.source)
        self.name = self.source.name
        self.limits = limits
        self.budget = Budget(self.name, limits.wall_seconds)
        self.num_packets = 0
        self.num_packets_all = 0
        self.num_refused = 0
        self._refused_in_a_row = 0
        self.num_decoded = 0
        self.read_error: str | None = None
        self.end_ticks: int | None = None
        self.suspicion = Suspicion()

    def packets(self) -> Generator[Packet]:
        """The stream's packets in file order, ending with an empty one that flushes the decoder."""
        errors = 0
        stream, container = self.source.stream, self.source.container
        while True:
            before = self.num_packets_all
            try:
                for packet in container.demux(stream):
                    self.budget.check()
                    if packet.size == 0 and packet.dts is None and packet.pts is None:
                        yield packet  # the end
                        return
                    self._count(packet)
                    yield packet
                return
            except VideoError:
                raise
            except MemoryError as error:
                raise VideoError("too_large", self.name, "not enough memory while reading") from error
            except (av.FFmpegError, ValueError, OSError, RuntimeError, OverflowError) as error:
                if self.source.too_large_pipe():
                    limit = f"the limit (max_bytes) is {self.limits.max_bytes}"
                    raise VideoError("too_large", self.name, f"the stream is too long, {limit}") from error
                self.read_error = getattr(error, "strerror", None) or str(error)
                errors = errors + 1 if self.num_packets_all == before else 1
                if errors >= MAX_READ_ERRORS or not self.source.seekable:
                    yield Packet()
                    return

    def _count(self, packet: Packet) -> None:
        self.num_packets_all += 1
        if packet.is_discard:
            return
        self.num_packets += count_pictures(self.source.codec, packet)
        stamp = packet.dts if packet.pts is None or self.source.is_avi else packet.pts
        if stamp is not None:
            end = stamp + (packet.duration or 0)
            self.end_ticks = end if self.end_ticks is None else max(self.end_ticks, end)

    def decode(self, packet: Packet | None) -> list[VideoFrame]:
        """Feed one packet (None or an empty one: flush) and return the pictures that come out, in order."""
        context = self.source.stream.codec_context
        ending = packet is None or packet.size == 0
        if packet is not None and not ending:
            self.suspicion.look_at(packet, self.source.codec)
        for _ in range(MAX_READ_ERRORS):
            try:
                frames = context.decode(None if ending else packet)
                self._refused_in_a_row = 0
                return frames
            except av.error.EOFError:
                return []
            except (MemoryError, av.error.MemoryError) as error:
                raise VideoError("too_large", self.name, "not enough memory to decode a frame") from error
            except (av.FFmpegError, ValueError, OSError, RuntimeError, OverflowError):
                self.num_refused += 1
                self._refused_in_a_row += 1
                if self._refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
                    count = f"the decoder refused {self._refused_in_a_row} packets in a row"
                    raise VideoError("corrupt", self.name, count) from None
                self.suspicion.packet_refused(None if ending else packet)
                if not ending:
                    return []
        return []

    def shots(self) -> Generator[Shot]:
        """All pictures from here to the end, in the decoder's output order.

        Raises VideoError: too_large where there are more than `limits.max_frames`, timeout.
        """
        limit = self.limits.max_frames
        packets = self.packets()
        held: Shot | None = None
        try:
            for packet in packets:
                for frame in self.decode(packet):
                    self.num_decoded += 1
                    if limit is not None and self.num_decoded > limit:
                        raise VideoError(
                            "too_large", self.name, f"more frames than the limit (max_frames) of {limit}"
                        )
                    shot = Shot(frame, frame.pts, frame.duration or 0, self.suspicion.is_corrupt(frame))
                    if not self.last_is_cut:
                        yield shot
                        continue
                    if held is not None:
                        yield held
                    held = shot
                self.budget.check()
        finally:
            packets.close()
        if held is not None:
            yield replace(held, corrupt=True)

    def first_frame(self) -> VideoFrame | None:
        """The first picture that can be decoded, None where there is none among the first packets."""
        packets = self.packets()
        try:
            for number, packet in enumerate(packets):
                frames = self.decode(packet)
                if frames:
                    return frames[0]
                if number >= MAX_START_PACKETS:
                    return None
        finally:
            packets.close()
        return None

    def rewind(self) -> None:
        """Open the file anew, so that the next shot is the first one. Pipes cannot be rewound."""
        if not self.source.seekable:
            raise VideoError("refused", self.name, "a pipe can be read only once", "store it in a file first")
        self.source.close()
        self.source = Source(self._path, self.limits, threads=self._threads)
        self.num_packets = self.num_packets_all = self.num_decoded = self.num_refused = 0
        self._refused_in_a_row = 0
        self.read_error = None
        self.end_ticks = None
        self.suspicion.forget()

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""
        return self.source.time_base

    @property
    def last_is_cut(self) -> bool:
        """True where the last picture is not all there and no decoder minds: a GIF that is cut off."""
        return self.source.cut_off and "gif" in self.source.formats

    @property
    def origin(self) -> Fraction:
        """The player's time 0 on the file's clock, in seconds."""
        return self.source.origin

    @property
    def rate(self) -> Fraction:
        """Frames per second to assume where timestamps are of no use."""
        return self.source.rate

    @property
    def packed(self) -> bool:
        """True where packets hold two pictures each (packed B-frames), which garbles the PTS.

        Only MPEG-4 part 2 in AVI or Matroska does so. All packets are read for it, none is decoded, so
        that the answer cannot change midway.
        """
        source = self.source
        may_pack = source.stream.codec_context.name == "mpeg4" and source.formats & {"avi", "matroska"}
        if not may_pack or not source.seekable:
            return False
        packets = self.packets()
        try:
            found = any(packet.size > 0 and count_pictures("mpeg4", packet) > 1 for packet in packets)
        finally:
            packets.close()
        self.rewind()
        return found

    def outcome(self) -> tuple[int, bool, list[str]]:
        """After the last shot: frames expected, whether the file ended early, and remarks for the report."""
        notes = []
        missing, short = 0, False
        if self.read_error is not None:
            short = True
            notes.append(f"reading stopped: {self.read_error}")
        if self.num_declared is not None and self.num_packets_all < self.num_declared:
            missing = self.num_declared - self.num_packets_all
            short = True
        else:
            end = declared_end(self.source)
            if end is not None and self.end_ticks is not None:
                gap = end - self.end_ticks * self.time_base
                if gap * self.rate > Fraction(3, 2):
                    missing = round(gap * self.rate)
                    short = True
        if not short and self.source.cut_off:
            short = True
        if short:
            notes.append("the file ends before its declared end")
        if self.num_refused:
            notes.append(f"the decoder refused {self.num_refused} packets")
        return self.num_packets + missing, short, notes

    def close(self) -> None:
        """Close the file."""
        self.source.close()


def count_pictures(codec: str, packet: Packet) -> int:
    """Number of pictures in a packet: 1, except for MPEG-4 part 2 in AVI and for empty packets.

    An MPEG-4 packet may carry two pictures (packed B-frames, the second in the packet of the first) or a
    "not coded" one of a few bytes that only keeps the count of packets right.
    """
    if packet.size <= EMPTY_BYTES:
        return 0
    if codec != "mpeg4":
        return 1
    parts = bytes(packet).split(VOP_START)[1:]
    return sum(len(part) + len(VOP_START) > NOT_CODED_BYTES for part in parts)


def declared_packets(source: Source) -> int | None:
    """How many packets the index of an mp4/mov promises, None for other containers.

    Call it before reading: the index of some files grows as they are read.
    """
    if "mov" not in source.formats:
        return None
    count = len(source.stream.index_entries)
    return count if count > 1 else None


def declared_end(source: Source) -> Fraction | None:
    """When the video stream ends on the file's own clock (seconds) by its header, None where it is not said.

    MPEG-TS, MPEG-PS, Ogg and raw streams declare nothing: FFmpeg estimates their duration from their end.
    A container's duration is that of its longest stream, so it counts only where there is no sound.
    """
    names, stream = source.formats, source.stream
    if not names & {"mov", "matroska", "avi", "flv", "asf"}:
        return None
    start = (stream.start_time or 0) * source.time_base
    if "avi" in names and stream.frames > 0:
        # the header's count; FFmpeg guesses a duration anew where the file is cut off
        return start + stream.frames * source.time_base
    if names & {"mov", "avi"} and stream.duration is not None and stream.duration > 0:
        return start + stream.duration * source.time_base
    stated = parse_clock(stream.metadata.get("DURATION", ""))
    if stated is not None:
        return stated
    if source.container.streams.audio or source.duration is None:
        return None
    return source.origin + source.duration


def parse_clock(text: str) -> Fraction | None:
    """`HH:MM:SS.fraction` (Matroska's DURATION tag) in seconds, None where it is something else."""
    parts = text.strip().split(":")
    try:
        hours, minutes, seconds = int(parts[0]), int(parts[1]), Fraction(parts[2])
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    return hours * 3600 + minutes * 60 + seconds
