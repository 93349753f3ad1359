"""Which decoded frames to distrust, from what the decoder and the container admit.

A decoder that loses a picture goes on with what it has: the pictures that follow are built on a wrong
one, look plausible, and carry no mark. So after any sign of damage every picture counts as corrupt until
a keyframe that comes later, which needs none of its predecessors.
"""

from __future__ import annotations

import zlib

from av.packet import Packet
from av.video.frame import VideoFrame

_ALL = -(2**62)


class Suspicion:
    """Follows one decoder: tell it what goes wrong, ask it about every picture in output order."""

    def __init__(self) -> None:
        self._has_checksums = False
        self._clean_from: int | None = None  # the PTS from which on a keyframe ends the suspicion

    def packet_refused(self, packet: Packet | None) -> None:
        """The decoder rejected this packet (or, decoding in several threads, one shortly before it)."""
        self._raise(None if packet is None else packet.pts)

    def look_at(self, packet: Packet, codec: str) -> None:
        """Look at a packet before it is decoded: marked by the container as damaged, or a wrong checksum.

        Then its own picture is doubtful too.
        """
        damaged = packet.is_corrupt
        if codec == "ffv1":
            intact = ffv1_slices_intact(bytes(packet))
            self._has_checksums = self._has_checksums or intact is True
            damaged = damaged or intact is False or (intact is None and self._has_checksums)
        if damaged:
            self._raise(None if packet.pts is None else packet.pts + 1)

    def _raise(self, clean_from: int | None) -> None:
        bound = _ALL if clean_from is None else clean_from
        self._clean_from = bound if self._clean_from is None else max(self._clean_from, bound)

    def is_corrupt(self, frame: VideoFrame) -> bool:
        """Whether to distrust this picture; call it once for each, in the order they come out."""
        doubtful = self._clean_from is not None and frame.pts is not None and frame.pts < self._clean_from
        if frame.key_frame and not doubtful:
            self._clean_from = None
        if frame.is_corrupt:
            self._raise(None if frame.pts is None else frame.pts + 1)
        return self._clean_from is not None

    def forget(self) -> None:
        """The decoder starts anew at a keyframe, after a seek."""
        self._clean_from = None


def ffv1_slices_intact(packet: bytes) -> bool | None:
    """Whether the checksums of an FFV1 picture hold; None where it does not look like one with checksums.

    FFmpeg's decoder logs a mismatch, shows what it can, and sets no mark. Each slice (RFC 9043, sec. 4.8)
    ends with its size (3 bytes), an error status (1) and a CRC-32 (4) that makes the remainder zero. That
    CRC takes the bits of a byte from the highest down, zlib's from the lowest up: so bytes are mirrored.
    """
    end, trailer = len(packet), 8
    intact = True
    while end > trailer:
        size = int.from_bytes(packet[end - trailer : end - trailer + 3], "big") + trailer
        if size > end:
            return None
        mirrored = packet[end - size : end].translate(_MIRRORED)
        intact = intact and zlib.crc32(mirrored, 0xFFFFFFFF) == 0xFFFFFFFF
        end -= size
    return intact if end == 0 else None


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
