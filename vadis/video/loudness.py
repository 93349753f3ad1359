"""How loud a sound is, and where it is silent: one pass, a second in memory at a time.

Loudness is in decibels below full scale (dBFS): 0 is the loudest that a file can hold, a sine of full scale
has a root mean square of -3.0. Silent is a stretch of at least half a second in which no 50 ms are louder
than -60 dBFS: a thousandth of full scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vadis.video.audio import HeldSound, Sound

SILENT_DECIBELS = -60.0
SILENT_SECONDS = 0.5
BLOCK_SECONDS = 0.05


@dataclass(frozen=True)
class Loudness:
    """What one pass over a sound found; times in seconds from where it began.

    Decibels are None of pure silence. `silent`: where each silent stretch starts and ends.
    """

    seconds: float
    rms_decibels: float | None
    peak_decibels: float | None
    silent: tuple[tuple[float, float], ...]
    num_damaged: int


def measure_loudness(sound: Sound | HeldSound) -> Loudness:
    """Read a sound to its end and say how loud it is; several channels are averaged."""
    block = max(1, round(BLOCK_SECONDS * sound.sample_rate))
    power, peak, total = 0.0, 0.0, 0
    quiet: list[bool] = []
    while (samples_CN := sound.read(20 * block)).shape[1]:
        wave_N = samples_CN.mean(axis=0, dtype=np.float64)
        power += float(np.square(wave_N).sum())
        peak = max(peak, float(np.abs(wave_N).max()))
        total += len(wave_N)
        for start in range(0, len(wave_N), block):
            mean = float(np.square(wave_N[start : start + block]).mean())
            quiet.append(mean <= 10 ** (SILENT_DECIBELS / 10))
    seconds = total / sound.sample_rate
    rms = math.sqrt(power / total) if total else 0.0
    return Loudness(
        seconds, _decibels(rms), _decibels(peak), _stretches(quiet, BLOCK_SECONDS, seconds), sound.num_damaged
    )


def _stretches(quiet: list[bool], step: float, end: float) -> tuple[tuple[float, float], ...]:
    """Where many quiet blocks of `step` seconds follow one another, in seconds; `end` is the sound's."""
    found, start = [], None
    for number, now in enumerate([*quiet, False]):
        if now and start is None:
            start = number
        elif not now and start is not None:
            stretch = (round(start * step, 6), round(min(number * step, end), 6))
            if stretch[1] - stretch[0] >= SILENT_SECONDS:
                found.append(stretch)
            start = None
    return tuple(found)


def _decibels(amplitude: float) -> float | None:
    return 20 * math.log10(amplitude) if amplitude > 0 else None
