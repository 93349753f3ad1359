"""The sound of `shapes`: a tone in noise, whose pitch tells a third of the classes and nothing of the rest.

Eight of the 25 classes have a range of pitch each; the seventeen others take any of the eight ranges, all
alike. So whatever is heard, the chance that it belongs to one of the eight is 8 in 25: nothing in a sound
says whether its pitch means something. Timbre, loudness, noise and phases are drawn alike for all.

The eight are a third of each group of classes, chosen so that sound tells what some other stream cannot:

| group | told by pitch | not told |
|---|---|---|
| appearance | disc star | square triangle cross ring |
| motion | left clockwise swing_slow: one of a pair | right anticlockwise swing_fast; up down, grow shrink |
| reversed | approach recede: both of a pair | gather scatter, fill drain |
| camera | camera_follows | camera_pans camera_passes |

What can be reached by sound alone, therefore: 8 of 25 classes right (32 %) by always naming one of the
eight, and 1 in 17 of the others where only those are asked for. Beside frames, sound tells pairs apart that
no single frame does.

Suffixes: S samples. Deterministic by (seed, fold, class, index), independent of what the pictures show.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Of the written tracks, in Hz: what VGGish, mmaction2 and the challenge's picture take."""

TOLD = (
    *("disc", "star"),
    *("left", "clockwise", "swing_slow"),
    *("approach", "recede"),
    "camera_follows",
)
"""The classes that pitch tells, in the order of their ranges, from low to high."""

LOWEST, STEP = 300.0, 2 ** (3 / 8)
"""Middle of the lowest range in Hz, and the factor to the next: eight ranges in three octaves."""

DETUNE = 0.3
"""How far a pitch lies from the middle of its range at most, in steps: a gap of 0.4 steps is left."""

HARMONICS = 4
_SALT = 0x50_1D  # keeps these draws apart from those of the pictures


def plan_sound(class_name: str, class_label: int, fold: int, index: int, seed: int = 0) -> dict[str, Any]:
    """What one clip sounds like, as numbers that JSON can hold; `draw_sound` makes it heard.

    class_label: of the class in its benchmark, so that no two classes draw the same.
    """
    random = np.random.default_rng([seed, fold, class_label, index, _SALT])
    drawn = int(random.integers(len(TOLD)))  # also where the class decides: the other draws stay alike
    range_of_pitch = TOLD.index(class_name) if class_name in TOLD else drawn
    detune = random.uniform(-DETUNE, DETUNE)
    falling = random.uniform(0.3, 0.7)
    return {
        "range": range_of_pitch,
        "pitch": float(LOWEST * STEP ** (range_of_pitch + detune)),  # Hz
        "harmonics": [float(falling**k * random.uniform(0.5, 1)) for k in range(HARMONICS)],
        "phases": random.uniform(0, 1, HARMONICS).round(4).tolist(),  # turns
        "decibels": float(random.uniform(-32, -14)),  # loudness of the tone, below full scale
        "signal_to_noise": float(random.uniform(-3, 12)),  # decibels
        "noise_seed": int(random.integers(2**32)),
    }


def draw_sound(plan: dict[str, Any], seconds: float) -> npt.NDArray[np.float32]:
    """The sound of a plan: wave_S, mono, in [-1, 1], at SAMPLE_RATE."""
    times_S = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone_S = np.zeros(len(times_S))
    for number, (strength, phase) in enumerate(zip(plan["harmonics"], plan["phases"], strict=True), 1):
        tone_S += strength * np.sin(2 * np.pi * (number * plan["pitch"] * times_S + phase))
    loud = 10 ** (plan["decibels"] / 20)
    tone_S *= loud / math.sqrt(sum(strength**2 for strength in plan["harmonics"]) / 2)
    noise_S = np.random.default_rng(plan["noise_seed"]).standard_normal(len(times_S))
    noise_S *= loud / 10 ** (plan["signal_to_noise"] / 20)
    return np.clip(tone_S + noise_S, -1, 1).astype(np.float32)
