"""Levels in decibels, and where it is silent."""

from __future__ import annotations

import numpy as np
import pytest

from vadis.video.audio import HeldSound
from vadis.video.loudness import measure_loudness


def test_a_sine_and_silence() -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    found = measure_loudness(
        HeldSound(np.concatenate([np.zeros(12_000), wave, np.zeros(4_000)])[None], 16_000)
    )
    assert found.seconds == 2.0
    assert found.peak_decibels == pytest.approx(0.0, abs=1e-3)
    assert found.rms_decibels == pytest.approx(-6.02, abs=0.01), "half of it sounds"
    assert found.silent == ((0.0, 0.75),), "a quarter of a second is too short to be said"


def test_pure_silence_has_no_decibels() -> None:
    found = measure_loudness(HeldSound(np.zeros((2, 16_001)), 16_000))
    assert (found.rms_decibels, found.peak_decibels) == (None, None)
    assert found.silent == ((0.0, pytest.approx(1.0, abs=1e-3)),)
    assert measure_loudness(HeldSound(np.zeros((1, 0)), 16_000)).silent == ()


@pytest.mark.parametrize(("decibels", "silent"), [(-66, True), (-54, False)])
def test_what_counts_as_silent(decibels: int, silent: bool) -> None:
    noise = np.random.default_rng(0).standard_normal((1, 32_000)) * 10 ** (decibels / 20)
    assert bool(measure_loudness(HeldSound(noise, 16_000)).silent) is silent
