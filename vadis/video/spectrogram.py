"""Sound as a picture: how loud each band of pitch is, a row a step in time.

A waveform is cut into short windows that overlap, each is taken apart into its frequencies, and those are
summed in bands that are as wide as the ear hears them: narrow below, wide above (the mel scale). The
logarithm of that is a picture that networks for images can read.

    picture_SM = log_mel(waveform_N, SoundSpec())         # every step of the sound, M bands
    pictures_PSM = cut_pictures(picture_SM, 96)           # as VGGish has them: 0.96 s each, none shared

Everything that conventions differ in is a field of `SoundSpec`; `vadis.sounds.SOUNDS` has them by name. All
is reckoned in float64, some thousand steps at a time, so that an hour of sound needs little memory.

Shapes: N samples, S steps in time, F frequencies, M mel bands, P pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from vadis.specs import SoundSpec

STEPS_AT_ONCE = 4096


def log_mel(waveform_N: np.ndarray, spec: SoundSpec) -> np.ndarray:
    """The picture of a sound: all its steps in time, by mel bands.

    waveform_N: mono, numbers in [-1, 1], at `spec.sample_rate`. Returns picture_SM, float32. Where windows
    are not padded (`spec.padding` "none"), S counts those that the sound fills. Raises ValueError for what is
    no waveform, or shorter than one step.
    """
    waveform_N = np.asarray(waveform_N)
    if waveform_N.ndim != 1 or waveform_N.dtype.kind != "f":
        raise ValueError(
            f"a waveform is mono, one axis of floats in [-1, 1], got {waveform_N.dtype} of shape "
            f"{waveform_N.shape}: average the channels, divide integers by their range"
        )
    if not np.isfinite(waveform_N).all():
        raise ValueError("the waveform holds values that are not finite: leave them out or set them to zero")
    if spec.loudness is not None:
        waveform_N = waveform_N * (spec.loudness / max(1e-4, float(_root_mean_square(waveform_N))))
    filters_FM = mel_filters(spec)
    parts = [
        _to_log((np.abs(np.fft.rfft(windows_SN, spec.fft_samples)) ** spec.power) @ filters_FM, spec)
        for windows_SN in _windows(waveform_N, spec)
    ]
    return np.concatenate(parts).astype(np.float32)


def cut_pictures(picture_SM: np.ndarray, num_steps: int, hop_steps: int | None = None) -> np.ndarray:
    """Pictures of `num_steps` one after the other; what is left over at the end is left out.

    picture_SM: of `log_mel`. hop_steps: steps from one to the next (None: `num_steps`, so that none is
    shared). Returns pictures_PSM, P = 0 where the sound is shorter than one picture.
    """
    hop_steps = num_steps if hop_steps is None else hop_steps
    if min(num_steps, hop_steps) < 1:
        raise ValueError(f"num_steps and hop_steps must be at least 1, got {num_steps} and {hop_steps}")
    starts = range(0, len(picture_SM) - num_steps + 1, hop_steps)
    pictures = [picture_SM[start : start + num_steps] for start in starts]
    return np.stack(pictures) if pictures else np.empty((0, num_steps, picture_SM.shape[1]), picture_SM.dtype)


def step_seconds(num_steps: int, spec: SoundSpec) -> np.ndarray:
    """The middle of each step's window: seconds_S of the waveform, float64."""
    first = {"none": spec.window_samples / 2, "centre": 0.0}.get(
        spec.padding, spec.window_samples / 2 - spec.samples_before
    )
    return (first + np.arange(num_steps) * spec.hop_samples) / spec.sample_rate


def band_hertz(spec: SoundSpec) -> np.ndarray:
    """The middle of each band: hertz_M, float64."""
    ends = _to_mel(np.array([spec.low, spec.high]), spec)
    return _to_hertz(np.linspace(ends[0], ends[1], spec.num_mels + 2)[1:-1], spec)


def band_of(hertz: float, spec: SoundSpec) -> float:
    """Which band a frequency (Hz) lies in the middle of, as a number from 0; fractions lie between two."""
    low, place, high = _to_mel(np.array([spec.low, hertz, spec.high]), spec)
    return float((place - low) / (high - low) * (spec.num_mels + 1) - 1)


@lru_cache(maxsize=8)
def mel_filters(spec: SoundSpec) -> np.ndarray:
    """How much each frequency counts in each band: filters_FM, float64, triangles that overlap by half.

    Band m rises from edge m to edge m + 1 and falls to edge m + 2; edges are equally far apart on the mel
    scale. Raises ValueError where a band is so narrow that no frequency of the transform falls into it.
    """
    frequencies_F = np.fft.rfftfreq(spec.fft_samples, 1 / spec.sample_rate)
    ends = _to_mel(np.array([spec.low, spec.high]), spec)
    edges = np.linspace(ends[0], ends[1], spec.num_mels + 2)
    edges_hertz = _to_hertz(edges, spec)
    if spec.triangles == "mel":
        places_F = _to_mel(frequencies_F, spec)
    else:
        places_F, edges = frequencies_F, edges_hertz
    rising_FM = (places_F[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling_FM = (edges[2:] - places_F[:, None]) / (edges[2:] - edges[1:-1])
    filters_FM = np.maximum(0.0, np.minimum(rising_FM, falling_FM))
    if spec.equal_area:
        filters_FM *= 2.0 / (edges_hertz[2:] - edges_hertz[:-2])
    empty = np.flatnonzero(~filters_FM.any(axis=0))
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {spec.num_mels} mel bands (the first is band {empty[0]}) hold no frequency of "
            f"a transform of {spec.fft_samples} samples: take fewer bands or a larger fft_size"
        )
    filters_FM.setflags(write=False)
    return filters_FM


def _to_mel(hertz: np.ndarray, spec: SoundSpec) -> np.ndarray:
    """HTK's formula, or Slaney's: straight up to 1000 Hz, then 27 steps for each factor of 6.4."""
    if spec.mel == "htk":
        return 1127.0 * np.log1p(hertz / 700.0)
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, above)


def _to_hertz(mel: np.ndarray, spec: SoundSpec) -> np.ndarray:
    """The other way round."""
    if spec.mel == "htk":
        return 700.0 * np.expm1(mel / 1127.0)
    above = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, above)


def _windows(waveform_N: np.ndarray, spec: SoundSpec) -> Iterator[np.ndarray]:
    """The sound cut into windows that are faded in and out: windows_SN, some thousand at a time."""
    length, hop, total = spec.window_samples, spec.hop_samples, len(waveform_N)
    if spec.padding == "none":
        before, steps = 0, (total - length) // hop + 1 if total >= length else 0
    elif spec.padding == "centre":
        before, steps = length // 2, total // hop + 1 if total else 0
    else:
        before = spec.samples_before
        steps = -(-(before + -(-total // hop) * hop) // hop) if total else 0
    if steps < 1:
        raise ValueError(
            f"a sound of {total} samples makes no step of {length} samples: it takes "
            f"{spec.num_samples} for a picture of {spec.num_steps} steps"
        )
    after = max(0, (steps - 1) * hop + length - before - total)
    padded_N = np.pad(waveform_N.astype(np.float64), (before, after))
    place = np.arange(length)
    if spec.window == "hann":
        shape = 0.5 - 0.5 * np.cos(
            2 * np.pi * place / length
        )  # of a period: the first value, not the last, is 0
    else:
        shape = np.sin(np.pi * (place + 0.5) / length)
    every = np.lib.stride_tricks.sliding_window_view(padded_N, length)[::hop][:steps]
    for start in range(0, steps, STEPS_AT_ONCE):
        yield every[start : start + STEPS_AT_ONCE] * shape


def _to_log(bands_SM: np.ndarray, spec: SoundSpec) -> np.ndarray:
    """The logarithm, with what keeps silence from minus infinity."""
    bands_SM = np.maximum(bands_SM + spec.offset, spec.floor)
    if spec.log == "log":
        return np.log(bands_SM)
    decibels_SM = 20.0 / spec.power * np.log10(bands_SM)
    if spec.decibels is None:
        return decibels_SM
    low, high = spec.decibels
    return np.clip((decibels_SM - low) / (high - low), 0.0, 1.0)


def _root_mean_square(waveform_N: np.ndarray) -> np.floating:
    return np.sqrt(np.mean(np.square(waveform_N, dtype=np.float64))) if len(waveform_N) else np.float64(0)
