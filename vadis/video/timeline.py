"""The table of all pictures of a file, made from its packets without decoding any of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vadis.records import VideoError
from vadis.video.reader import MAX_START_PACKETS, FileReader, count_pictures


@dataclass(frozen=True)
class Timeline:
    """Where each picture of a file lies, in presentation order.

    pts_N: int64 ticks, increasing; length_N: durations in ticks (0 where unknown).
    key_pts_K, key_dts_K: PTS (increasing) and DTS of the packets from which decoding can start.
    reason: why the PTS cannot be trusted, so that only decoding from the start gives the right answer;
    None where they can. starts: whether a picture came out of the decoder, fed with the first packets;
    first_pts: that picture's PTS, None where it has none.
    """

    pts_N: NDArray[np.int64]
    length_N: NDArray[np.int64]
    key_pts_K: NDArray[np.int64]
    key_dts_K: NDArray[np.int64]
    reason: str | None = None
    starts: bool = True
    first_pts: int | None = None

    def __len__(self) -> int:
        return len(self.pts_N)

    def key_before(self, pts: int) -> int:
        """Index of the last keyframe with PTS <= pts; -1 where there is none (decode from the start)."""
        return int(np.searchsorted(self.key_pts_K, pts, side="right")) - 1

    def from_key(self, key: int) -> int | None:
        """The first PTS that comes out of a decoder started at keyframe `key`, None where nothing does."""
        place = int(np.searchsorted(self.pts_N, self.key_pts_K[key]))
        return int(self.pts_N[place]) if place < len(self.pts_N) else None


def read_timeline(reader: FileReader) -> Timeline:
    """Read all packets of a newly opened file (32 bytes of memory per picture); it is left at its end.

    The first packets are decoded on the way, until a picture comes out. Raises VideoError: too_large where
    there are more packets than `limits.max_frames`, timeout.
    """
    codec, has_b_frames = reader.source.codec, reader.source.stream.codec_context.has_b_frames
    pts, length, key_pts, key_dts = (array("q") for _ in range(4))
    reason: str | None = None
    reordered = False
    before: int | None = None
    limit = reader.limits.max_frames
    refused = reader.num_refused
    starts, first_pts = False, None
    packets = reader.packets()
    try:
        for number, packet in enumerate(packets):
            if not starts and number <= MAX_START_PACKETS:
                frames = reader.decode(packet)
                starts, first_pts = bool(frames), frames[0].pts if frames else None
            if packet.size == 0:
                continue
            if limit is not None and reader.num_packets_all > limit:
                raise VideoError(
                    "too_large", reader.name, f"more frames than the limit (max_frames) of {limit}"
                )
            pictures = count_pictures(codec, packet)
            if pictures == 0:
                continue
            if packet.pts is None:
                reason = "packets without timestamps"
                break
            if pictures > 1:
                reason = "two pictures in a packet"
                break
            reordered = reordered or (before is not None and packet.pts < before)
            before = packet.pts
            if packet.is_keyframe:
                key_pts.append(packet.pts)
                key_dts.append(packet.pts if packet.dts is None else packet.dts)
            if not packet.is_discard:
                pts.append(packet.pts)
                length.append(max(packet.duration or 0, 0))
    finally:
        packets.close()
        reader.num_refused = refused  # the packets come again when pictures are fetched
    # with B-frames some PTS must go back in file order: else they were copied from the DTS (AVI, bad muxers)
    if reason is None and not reordered and len(pts) > 1 and has_b_frames:
        reason = "the pictures are reordered, but the timestamps are not"
    return replace(_sorted(pts, length, key_pts, key_dts, reason), starts=starts, first_pts=first_pts)


def _sorted(
    pts: array[int], length: array[int], key_pts: array[int], key_dts: array[int], reason: str | None
) -> Timeline:
    pts_N, length_N = np.asarray(pts, np.int64), np.asarray(length, np.int64)
    place_N = np.argsort(pts_N, kind="stable")
    pts_N, length_N = pts_N[place_N], length_N[place_N]
    if reason is None and (np.diff(pts_N) <= 0).any():
        reason = "timestamps occur twice"
    key_pts_K, key_dts_K = np.asarray(key_pts, np.int64), np.asarray(key_dts, np.int64)
    place_K = np.argsort(key_pts_K, kind="stable")
    return Timeline(pts_N, length_N, key_pts_K[place_K], key_dts_K[place_K], reason)
