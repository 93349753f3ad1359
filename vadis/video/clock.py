"""When each picture is shown: exact times from PTS, or index / rate where the PTS make no sense.

Times are exact. One picture's time is a Fraction of seconds; those of a whole file are `Moments`, integers
over one denominator, since the arithmetic of thousands of Fractions costs as much as decoding a clip.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vadis.video.reader import Shot

LOOK_AHEAD = 8
"""Pictures that are held back before the first one is given, to see whether their PTS increase."""


def exact_rate(fps: float | Fraction | int) -> Fraction:
    """A frame rate as a fraction: 29.97002997002997 becomes 30000/1001, 25.0 becomes 25.

    Raises ValueError unless it is a positive finite number.
    """
    try:
        rate = Fraction(fps).limit_denominator(1_000_000)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"fps must be a positive number of frames per second, got {fps}") from error
    if rate <= 0:
        raise ValueError(f"fps must be a positive number of frames per second, got {fps}")
    return rate


SNAP = Fraction(1, 1_000_000_000)
"""A time given as a float may fall short of a PTS by this many seconds and still mean that frame."""


@dataclass(frozen=True)
class Moments:
    """When each picture of a file is shown: ticks[i] / per_second seconds on the player's clock."""

    ticks: Sequence[int]
    per_second: int

    @classmethod
    def of_pts(cls, pts: Sequence[int], time_base: Fraction, origin: Fraction) -> Moments:
        """From PTS in ticks of time_base seconds; origin is the player's time 0 on the file's clock."""
        per_second = math.lcm(time_base.denominator, origin.denominator)
        scale = time_base.numerator * (per_second // time_base.denominator)
        start = origin.numerator * (per_second // origin.denominator)
        return cls([stamp * scale - start for stamp in pts], per_second)

    @classmethod
    def of_times(cls, times: Sequence[Fraction]) -> Moments:
        """From times in seconds."""
        per_second = math.lcm(*{time.denominator for time in times})
        return cls([time.numerator * (per_second // time.denominator) for time in times], per_second)

    def __len__(self) -> int:
        return len(self.ticks)

    def seconds(self, indices: Iterable[int] | None = None) -> NDArray[np.float64]:
        """times_T: when some pictures, or all, are shown, float64 seconds, each rounded once."""
        chosen = self.ticks if indices is None else [self.ticks[index] for index in indices]
        return np.asarray([tick / self.per_second for tick in chosen], np.float64)

    def shown_at(self, second: float | Fraction) -> int:
        """Index of the last picture at or before `second`; the first one where there is none before it."""
        try:
            moment = Fraction(second)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"a time must be a number of seconds, got {second}") from error
        if isinstance(second, float):
            moment += SNAP
        return max(0, bisect_right(self.ticks, math.floor(moment * self.per_second)) - 1)


@dataclass(frozen=True)
class Shown:
    """A picture with its index in presentation order and the time in seconds at which it is shown.

    `time` is on the player's clock; `length` is the duration in seconds that the file states, or 1 / rate.
    """

    index: int
    time: Fraction
    length: Fraction
    shot: Shot


class Clock:
    """Gives times to the pictures of one pass.

    Times are PTS on the player's clock (seconds; 0 is `origin` on the file's own). Where the PTS do not
    increase from picture to picture, or are missing, the time is index / rate instead and `repaired` is
    True. `packed` says so beforehand; otherwise the first LOOK_AHEAD pictures decide, so that the answer
    holds from the first picture on. Should the PTS go wrong only later, the times given so far stand and
    go on at the constant rate from there.
    """

    def __init__(
        self, time_base: Fraction, rate: Fraction, origin: Fraction, *, packed: bool = False
    ) -> None:
        self._time_base = time_base
        self._rate = rate
        self._origin = origin
        self.repaired = packed
        self.notes: list[str] = (
            ["timestamps do not increase in output order: times are index / rate"] if packed else []
        )

    def present(self, shots: Iterable[Shot]) -> Iterator[Shown]:
        """Number and time the pictures, one by one."""
        held: deque[Shot] = deque()
        source = iter(shots)
        if not self.repaired:
            for shot in source:
                held.append(shot)
                if len(held) >= LOOK_AHEAD:
                    break
            stamps = [shot.pts for shot in held]
            if not increasing(stamps):
                self.repaired = True
                what = "are missing" if None in stamps else "do not increase in output order"
                self.notes.append(f"timestamps {what}: times are index / rate")
        base, base_index = Fraction(0), 0
        counted = self.repaired
        last: Fraction | None = None
        index = 0
        while True:
            shot_or_none = held.popleft() if held else next(source, None)
            if shot_or_none is None:
                return
            shot = shot_or_none
            if not counted:
                time = None if shot.pts is None else shot.pts * self._time_base - self._origin
                if time is None or (last is not None and time <= last):
                    counted = self.repaired = True
                    base_index, base = index - 1, last if last is not None else Fraction(0)
                    self.notes.append(f"timestamps stop increasing at frame {index}: from there index / rate")
            if counted:
                time = base + (index - base_index) / self._rate
            length = shot.duration * self._time_base if shot.duration > 0 and not counted else 1 / self._rate
            yield Shown(index, time, length, shot)  # type: ignore[arg-type]
            last = time
            index += 1


def increasing(stamps: list[int | None]) -> bool:
    """True where every PTS is known and larger than the one before."""
    if any(stamp is None for stamp in stamps):
        return False
    return all(a < b for a, b in pairwise(stamps))  # type: ignore[operator]
