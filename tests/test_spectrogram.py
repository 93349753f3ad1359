"""Pictures of sound: the field's counts, each convention by hand, librosa's numbers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vadis.sounds import LIBROSA_SOUND as LIBROSA
from vadis.specs import MMACTION2_SOUND as MMACTION2
from vadis.specs import VGGISH_SOUND as VGGISH
from vadis.specs import ClipSpec, SoundSpec, spec_from_dict
from vadis.video.spectrogram import STEPS_AT_ONCE, cut_pictures, log_mel, mel_filters

VECTORS = json.loads((Path(__file__).parent / "golden" / "signals.json").read_text())


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(hertz: float, seconds: float, sample_rate: int = 16_000, share: float = 0.5) -> np.ndarray:
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return share * np.sin(2 * np.pi * hertz * times)


# --- VGGish ---------------------------------------------------------------------------------------


def test_vggish_counts() -> None:
    wanted = VECTORS["vggish_10s_16k"]
    picture = log_mel(noise(160_000), VGGISH)
    assert picture.shape == (wanted["stft_frames"], 64)
    assert picture.dtype == np.float32
    assert cut_pictures(picture, VGGISH.num_steps).shape == (wanted["examples"], 96, 64)
    assert VGGISH.fft_samples == wanted["fft"]
    assert VGGISH.num_samples == wanted["min_samples_one_example"]
    assert len(log_mel(noise(VGGISH.num_samples), VGGISH)) == 96
    short = log_mel(noise(VGGISH.num_samples - 1), VGGISH)
    assert cut_pictures(short, 96).shape == (0, 96, 64)


def by_hand(waveform: np.ndarray, step: int) -> np.ndarray:
    """One row of VGGish's picture, by its formulas written out one number at a time."""
    window = [waveform[step * 160 + n] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400)) for n in range(400)]
    magnitudes = np.abs(np.fft.fft(np.concatenate([window, np.zeros(112)])))[:257]
    lowest, highest = (1127 * np.log(1 + hertz / 700) for hertz in (125, 7500))
    row = []
    for band in range(64):
        left, middle, right = (lowest + (highest - lowest) * (band + k) / 65 for k in range(3))
        total = 0.0
        for index in range(1, 257):
            place = 1127 * np.log(1 + index * 16_000 / 512 / 700)
            share = min((place - left) / (middle - left), (right - place) / (right - middle))
            total += max(0.0, share) * magnitudes[index]
        row.append(np.log(total + 0.01))
    return np.array(row)


@pytest.mark.parametrize("step", [0, 41])
def test_vggish_by_hand(step: int) -> None:
    waveform = noise(8_000)
    assert np.abs(log_mel(waveform, VGGISH)[step] - by_hand(waveform.astype(np.float64), step)).max() < 1e-5


def test_silence_is_the_logarithm_of_the_offset() -> None:
    assert np.allclose(log_mel(np.zeros(16_000), VGGISH), np.log(0.01))
    assert not log_mel(np.zeros(16_000), MMACTION2).any()


@pytest.mark.parametrize("hertz", [200.0, 1_000.0, 5_000.0])
@pytest.mark.parametrize("spec", [VGGISH, MMACTION2])
def test_a_tone_lies_in_its_band(spec: SoundSpec, hertz: float) -> None:
    picture = log_mel(tone(hertz, 1.0), spec)
    filters = mel_filters(spec)
    nearest = round(hertz / spec.sample_rate * spec.fft_samples)
    assert set(picture[5:-5].argmax(axis=1)) <= set(np.flatnonzero(filters[nearest - 1 : nearest + 2].any(0)))


def test_bands_add_up_to_one_between_the_first_and_the_last_centre() -> None:
    """Triangles that overlap by half: what leaves one band enters the next."""
    total = mel_filters(VGGISH).sum(axis=1)
    hertz = np.fft.rfftfreq(512, 1 / 16_000)
    assert np.allclose(total[(hertz > 160) & (hertz < 7_200)], 1.0)
    assert not total[(hertz <= 125) | (hertz >= 7_500)].any()
    equal = mel_filters(replace(VGGISH, triangles="hertz", equal_area=True, fft_size=65_536))
    assert np.allclose(equal.sum(axis=0) * 16_000 / 65_536, 1.0, rtol=1e-3), "each band has the area one"


# --- the others -----------------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize(
    "change",
    [{}, {"sample_rate": 16_000, "low": 125.0, "high": 7_600.0}, {"mel": "htk"}, {"equal_area": False}],
)
def test_librosa_gives_the_same(change: dict[str, Any]) -> None:
    librosa = pytest.importorskip("librosa")
    spec = replace(LIBROSA, **change)
    filters = librosa.filters.mel(
        sr=spec.sample_rate,
        n_fft=spec.fft_samples,
        n_mels=128,
        fmin=spec.low,
        fmax=spec.high,
        htk=spec.mel == "htk",
        norm="slaney" if spec.equal_area else None,
        dtype=np.float64,
    )
    assert np.abs(mel_filters(spec).T - filters).max() < 1e-9 * filters.max()
    for length in (22_050, 30_001):
        waveform = noise(length)
        power = (
            np.abs(
                librosa.stft(
                    waveform.astype(np.float64),
                    n_fft=spec.fft_samples,
                    hop_length=spec.hop_samples,
                    win_length=spec.window_samples,
                )
            )
            ** 2
        )
        wanted = librosa.power_to_db(filters @ power, top_db=None).T
        found = log_mel(waveform, spec)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-3, "dB"


def test_decibels_of_magnitudes_and_powers_are_the_same_for_one_frequency() -> None:
    magnitudes = replace(LIBROSA, power=1.0, floor=1e-5, equal_area=False)
    assert np.allclose(
        log_mel(np.zeros(22_050), magnitudes),
        log_mel(np.zeros(22_050), replace(magnitudes, power=2.0, floor=1e-10)),
    )
    scaled = replace(magnitudes, decibels=(-100.0, 0.0))
    assert np.array_equal(log_mel(np.zeros(22_050), scaled), np.zeros((44, 128), np.float32))


def test_mmaction2_windows_are_those_of_lws() -> None:
    """lws(512, 256, mode="speech"): a sine window, 256 zeros before, the last samples in two windows.

    Of 1,000 samples, filled up to 1,024, it makes five windows; the first sees the first 256 samples.
    """
    plain = replace(MMACTION2, loudness=None)
    waveform = noise(1_000)
    picture = log_mel(waveform, plain)
    assert picture.shape == (5, 80)
    assert plain.samples_before == 256
    sine = np.sin(np.pi * (np.arange(512) + 0.5) / 512)
    padded = np.concatenate([np.zeros(256), waveform.astype(np.float64), np.zeros(280)])
    for step in range(5):
        bands = np.abs(np.fft.rfft(padded[step * 256 :][:512] * sine)) @ mel_filters(plain)
        wanted = np.clip((20 * np.log10(np.maximum(bands, 1e-5)) - 20 + 100) / 100, 0, 1)
        assert np.abs(picture[step] - wanted).max() < 1e-6


def test_loudness_takes_the_level_away() -> None:
    quiet, loud = noise(16_000), 7 * noise(16_000)
    assert np.allclose(log_mel(quiet, MMACTION2), log_mel(loud, MMACTION2), atol=1e-6)
    wanted = quiet * (0.1 / np.sqrt(np.mean(quiet.astype(np.float64) ** 2)))
    assert np.allclose(log_mel(quiet, MMACTION2), log_mel(wanted, replace(MMACTION2, loudness=None)))


def test_num_samples_makes_a_picture() -> None:
    assert len(log_mel(noise(VGGISH.num_samples), VGGISH)) == VGGISH.num_steps
    assert len(log_mel(noise(VGGISH.num_samples - 1), VGGISH)) == VGGISH.num_steps - 1
    for spec in (MMACTION2, LIBROSA):
        assert spec.num_samples == spec.num_steps * spec.hop_samples
        assert len(log_mel(noise(spec.num_samples), spec)) == spec.num_steps + 1, "the last is fading out"


def test_a_long_sound_is_the_same_in_parts() -> None:
    spec = replace(VGGISH, hop_seconds=0.001)
    waveform = noise(16 * (STEPS_AT_ONCE + 100) + 400)
    picture = log_mel(waveform, spec)
    later = log_mel(waveform[16 * (STEPS_AT_ONCE - 3) :], spec)
    assert np.allclose(picture[STEPS_AT_ONCE - 3 :], later)


def test_pictures_that_share_steps() -> None:
    picture = np.arange(10.0)[:, None].repeat(2, axis=1)
    assert cut_pictures(picture, 4, 3)[:, :, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert cut_pictures(picture, 4)[:, 0, 0].tolist() == [0, 4]
    with pytest.raises(ValueError, match="at least 1"):
        cut_pictures(picture, 4, 0)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.zeros((2, 16_000), np.float32), "average the channels"),
        (np.zeros(16_000, np.int16), "int16 .* divide integers"),
        (np.array([0.0, np.nan] * 8_000), "not finite"),
        (np.zeros(399), "399 samples makes no step of 400 samples: it takes 15600"),
        (np.zeros(0), "0 samples"),
    ],
)
def test_what_is_no_waveform(waveform: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        log_mel(waveform, VGGISH)


def test_a_band_without_a_frequency_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"hold no frequency .* fewer bands or a larger fft_size"):
        log_mel(noise(16_000), replace(VGGISH, num_mels=128))
    assert log_mel(noise(16_000), replace(VGGISH, num_mels=128, fft_size=1_024)).shape == (98, 128)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mel": "bark"}, "mel must be htk or slaney, got 'bark'"),
        ({"window": "hamming"}, "hann or sine"),
        ({"fft_size": 256}, "400 samples .* transform of 256"),
        ({"offset": 0.0}, "offset or floor"),
        ({"decibels": (-80.0, 20.0)}, "decibels"),
        ({"log": "db", "decibels": (20.0, -80.0)}, "decibels"),
        ({"high": 9_000.0}, "half the sample rate"),
        ({"num_steps": 0}, "above zero"),
    ],
)
def test_a_spec_that_cannot_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(VGGISH, **change)


def test_a_spec_comes_back_from_json() -> None:
    spec = ClipSpec(modality="audio", mean=(0.0,), std=(1.0,), sound=MMACTION2)
    assert spec_from_dict(json.loads(json.dumps(asdict(spec)))) == spec
