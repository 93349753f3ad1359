"""Do two videos show the same pictures? A few bits of each second's picture tell, whatever the encoding.

The hash of a picture is a difference hash (after Krawetz's dHash): the picture in grey at 17 x 16 pixels, one
bit for each pair of neighbours, set where the right one is clearly brighter. Size, quality and container
change few of the 256 bits; unrelated pictures differ in about a hundred. A picture that is nearly flat says
nothing and is left out.

Legend: N, M pictures; 256 bits are 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID = 16
NUM_BITS = GRID * GRID
STEP = 2  # grey levels by which a neighbour must be brighter: less is noise of the encoder
MIN_SET = 24  # of 256 bits, for a picture to say anything
MAX_DIFFERENT = 24  # of 256 bits, for two pictures to be the same
_BLOCK = 4096  # pictures compared with as many others at a time: 64 MB of float32


def hash_picture(frame_HWC: NDArray[np.uint8]) -> bytes | None:
    """32 bytes that change little when a picture (uint8 RGB) is encoded anew; None if it is nearly flat."""
    grey = Image.fromarray(np.ascontiguousarray(frame_HWC)).convert("L")
    small = np.asarray(grey.resize((GRID + 1, GRID), Image.Resampling.BOX), np.int16)
    bits = small[:, 1:] > small[:, :-1] + STEP
    if bits.sum() < MIN_SET:
        return None
    return np.packbits(bits.reshape(-1)).tobytes()


@dataclass(frozen=True)
class Likeness:
    """Two videos that show the same pictures: `share` (0 to 1) of those of the shorter one, and how many."""

    first: str
    second: str
    share: float
    num_alike: int


def find_alike(
    first: Sequence[tuple[str, Sequence[bytes]]],
    second: Sequence[tuple[str, Sequence[bytes]]],
    *,
    min_share: float = 0.5,
    max_different: int = MAX_DIFFERENT,
) -> list[Likeness]:
    """Pairs of videos, one of each list, of which at least `min_share` of the pictures are the same.

    The share (0 to 1) is taken of the video with fewer pictures: a cut of a video is like all of it. The
    order of the pictures does not count, nor where in the videos they are. A pair is listed best first.
    """
    if not 0 < min_share <= 1:
        raise ValueError(f"min_share ({min_share}) must be in (0, 1]")
    bits_ND, owners_N = _as_bits(first)
    bits_MD, owners_M = _as_bits(second)
    hits: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for top in range(0, len(bits_ND), _BLOCK):
        for left in range(0, len(bits_MD), _BLOCK):
            # of vectors of +1 and -1 the product is the number of equal bits less that of different ones
            product = bits_ND[top : top + _BLOCK] @ bits_MD[left : left + _BLOCK].T
            rows, columns = np.nonzero(product >= NUM_BITS - 2 * max_different)
            for row, column in zip((rows + top).tolist(), (columns + left).tolist(), strict=True):
                pair = hits.setdefault((owners_N[row], owners_M[column]), (set(), set()))
                pair[0].add(row)
                pair[1].add(column)
    found = []
    for (one, other), (rows_seen, columns_seen) in hits.items():
        num_one, num_other = len(first[one][1]), len(second[other][1])
        shared = (len(rows_seen) / num_one, num_one) if num_one <= num_other else (0.0, 0)
        if num_other <= num_one:
            shared = max(shared, (len(columns_seen) / num_other, num_other))
        share = shared[0]
        if share >= min_share:
            count = round(share * shared[1])
            found.append(Likeness(first[one][0], second[other][0], share, count))
    return sorted(found, key=lambda item: (-item.share, -item.num_alike, item.first, item.second))


def _as_bits(videos: Sequence[tuple[str, Sequence[bytes]]]) -> tuple[NDArray[np.float32], list[int]]:
    owners = [number for number, (_, hashes) in enumerate(videos) for _ in hashes]
    joined = b"".join(each for _, hashes in videos for each in hashes)
    packed = np.frombuffer(joined, np.uint8).reshape(-1, NUM_BITS // 8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    return signs, owners
