"""Which decoded frames to distrust, from what the decoder and the container admit.

A decoder that loses a picture goes on with what it has: the pictures that follow are built on a wrong
one, look plausible, and carry no mark. So after any sign of damage every picture counts as corrupt until
a keyframe that comes later, which needs none of its predecessors.
"""

from __future__ import annotations

from av.packet import Packet
from av.video.frame import VideoFrame

_ALL = -(2**62)


class Suspicion:
    """Follows one decoder: tell it what goes wrong, ask it about every picture in output order."""

    def __init__(self) -> None:
        self._clean_from: int | None = None  # the PTS from which on a keyframe ends the suspicion

    def packet_refused(self, packet: Packet | None) -> None:
        """The decoder rejected this packet (or, decoding in several threads, one shortly before it)."""
        self._raise(None if packet is None else packet.pts)

    def packet_damaged(self, packet: Packet) -> None:
        """The container marks this packet as damaged or as following a gap: its own picture is doubtful."""
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
