"""When each picture is shown: exact times from PTS, or index / rate where the PTS make no sense."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

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
