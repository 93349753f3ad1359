"""Pictures of sound by name: each against librosa where librosa can make it, else by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vadis.models.sound import sound_resnet18, sound_vggish, sound_xception
from vadis.sounds import SOUNDS, find_convention
from vadis.video.spectrogram import cut_pictures, log_mel


def noise(num_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(3).standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize("name", list(SOUNDS))
def test_each_makes_a_picture_of_its_own_length(name: str) -> None:
    spec = find_convention(name).spec
    (picture,) = cut_pictures(log_mel(noise(spec.num_samples), spec), spec.num_steps)[:1]
    assert picture.shape == (spec.num_steps, spec.num_mels)
    assert np.isfinite(picture).all()
    silent = log_mel(np.zeros(spec.num_samples), spec)
    assert np.isfinite(silent).all(), "silence has a logarithm"
    assert np.ptp(silent) < 1e-4


def test_sources_are_named_and_doubt_is_marked() -> None:
    for name, convention in SOUNDS.items():
        assert len(convention.known) > 30, name
        assert not convention.unsure or "(?)" in convention.unsure, name
    assert "every number" in SOUNDS["challenge"].unsure
    assert not SOUNDS["vggish"].unsure
    with pytest.raises(ValueError, match="vggish, mmaction2, avslowfast"):
        find_convention("vgg")


def test_the_networks_take_theirs() -> None:
    with torch.device("meta"):
        assert sound_vggish().spec.sound == SOUNDS["vggish"].spec
        assert sound_resnet18().spec.sound == SOUNDS["mmaction2"].spec
        assert sound_xception().spec.sound == SOUNDS["challenge"].spec


@pytest.mark.parametrize(
    ("name", "seconds", "steps"),
    [
        ("vggish", 10.0, 998),  # 1 + (160,000 - 400) // 160
        ("challenge", 10.0, 998),
        ("avslowfast", 2.064, 128),  # 1 + (33,024 - 512) // 256
        ("pytorchvideo", 2.064, 128),
        ("vmz", 1.006, 100),  # 1 + (16,096 - 256) // 160
        ("mmaction2", 2.048, 129),  # every sample in two windows
        ("librosa", 1.0, 44),  # 1 + 22,050 // 512
    ],
)
def test_how_many_steps_a_sound_makes(name: str, seconds: float, steps: int) -> None:
    spec = SOUNDS[name].spec
    assert log_mel(noise(round(seconds * spec.sample_rate)), spec).shape == (steps, spec.num_mels)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "options", "logarithm"),
    [
        ("avslowfast", {"htk": True}, lambda power: np.log(power + 1e-8)),
        ("pytorchvideo", {"htk": True, "norm": None}, lambda power: np.log(np.maximum(power, 1e-10))),
    ],
)
def test_librosa_gives_the_same(name: str, options: dict[str, Any], logarithm: Any) -> None:
    """What the authors' code calls, with what it says: torchaudio's bands are librosa's without the norm."""
    librosa = pytest.importorskip("librosa")
    wave = noise(40_000)
    power = librosa.feature.melspectrogram(
        y=wave.astype(np.float64),
        sr=16_000,
        n_fft=512,
        win_length=512,
        hop_length=256,
        n_mels=80,
        center=False,
        dtype=np.float64,
        **options,
    )
    found = log_mel(wave, SOUNDS[name].spec)
    assert found.shape == power.T.shape
    assert np.abs(found - logarithm(power).T).max() < 1e-5


@pytest.mark.peers
def test_librosas_bands_on_mmaction2s_windows() -> None:
    """Its whole line: loudness, sine windows with 256 zeros before, librosa's bands, decibels, 0 to 1."""
    librosa = pytest.importorskip("librosa")
    wave = noise(16_000)
    loud = wave.astype(np.float64) * (0.1 / np.sqrt(np.mean(wave.astype(np.float64) ** 2)))
    bands = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=80, fmin=125, fmax=7600, dtype=np.float64)
    padded = np.pad(loud, (256, 512))
    window = np.sin(np.pi * (np.arange(512) + 0.5) / 512)
    found = log_mel(wave, SOUNDS["mmaction2"].spec)
    for step in (0, 7, 40):
        magnitudes = np.abs(np.fft.rfft(padded[step * 256 :][:512] * window))
        decibels = 20 * np.log10(np.maximum(bands @ magnitudes, 1e-5)) - 20
        assert np.abs(found[step] - np.clip((decibels + 100) / 100, 0, 1)).max() < 1e-6


@pytest.mark.parametrize(("name", "step"), [("challenge", 3), ("vmz", 5)])
def test_the_others_by_hand(name: str, step: int) -> None:
    """One row, band by band: triangles on HTK's scale."""
    spec = SOUNDS[name].spec
    length, hop, size = {"challenge": (400, 160, 1024), "vmz": (256, 160, 512)}[name]
    wave = noise(16_000).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    strength = np.abs(np.fft.rfft(wave[step * hop :][:length] * window, size)) ** spec.power
    places = 2595 * np.log10(1 + np.arange(size // 2 + 1) * 16_000 / size / 700)
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (spec.low, spec.high))
    row = []
    for band in range(spec.num_mels):
        left, middle, right = (low + (high - low) * (band + k) / (spec.num_mels + 1) for k in range(3))
        shares = np.minimum((places - left) / (middle - left), (right - places) / (right - middle))
        row.append(np.log(np.maximum(shares, 0) @ strength + spec.offset))
    assert np.abs(log_mel(wave, spec)[step] - row).max() < 1e-4
