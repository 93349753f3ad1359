"""A picture of a sound that people read: pitch upwards in Hz, time along in seconds, loudness as brightness.

    write_png("a.png", draw_spectrogram(log_mel(wave_S, spec), spec, title="a.mp4", wave_S=wave_S))

Legend: S steps in time, M mel bands, N samples of the waveform, H W pixels.
"""

from __future__ import annotations

import numpy as np

from vadis.specs import SoundSpec
from vadis.video.canvas import GREY, INK, PALETTE, PANEL, RULE, Canvas, fit_text
from vadis.video.spectrogram import band_of, step_seconds

WIDTH, LEFT, RIGHT, TOP = 1200, 84, 96, 64
HEIGHT, GAP, WAVE_HEIGHT, BOTTOM = 380, 26, 110, 56
SHADES = ((10, 12, 28), (52, 32, 110), (148, 44, 116), (226, 100, 60), (250, 196, 92), (255, 252, 226))
"""From silent to loud; brightness rises all along, so that it reads in grey, too."""

TICKS_HERTZ = (60, 125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)


def draw_spectrogram(
    picture_SM: np.ndarray,
    spec: SoundSpec,
    *,
    title: str,
    start_seconds: float = 0.0,
    wave_N: np.ndarray | None = None,
) -> np.ndarray:
    """The picture as pixels (H, W, 3) with its axes; with a waveform, that beneath it.

    picture_SM: of `log_mel`. start_seconds: when the waveform that it was made of begins. wave_N: that
    waveform, mono, in [-1, 1].
    """
    height = TOP + HEIGHT + BOTTOM + (0 if wave_N is None else GAP + WAVE_HEIGHT)
    canvas = Canvas(WIDTH, height)
    width = WIDTH - LEFT - RIGHT
    canvas.text(LEFT, 18, fit_text(title, 19, width, bold=True), 19, bold=True)
    seconds_S = start_seconds + step_seconds(len(picture_SM), spec)
    hop = spec.hop_samples / spec.sample_rate
    first, last = float(seconds_S[0]) - hop / 2, float(seconds_S[-1]) + hop / 2
    shades = _shade(picture_SM)
    canvas.picture(LEFT, TOP, width, HEIGHT, np.ascontiguousarray(shades.transpose(1, 0, 2)[::-1]))
    canvas.text(LEFT - 10, TOP - 12, "Hz", 13, GREY, anchor="rm")
    for hertz in TICKS_HERTZ:
        place = (band_of(hertz, spec) + 0.5) / spec.num_mels
        if 0 <= place <= 1:
            y = TOP + HEIGHT * (1 - place)
            canvas.line([(LEFT - 5, y), (LEFT, y)], GREY)
            canvas.text(LEFT - 10, y, f"{hertz:,}", 13, GREY, anchor="rm")
    _draw_scale(canvas, picture_SM, spec)
    bottom = TOP + HEIGHT
    if wave_N is not None:
        _draw_wave(canvas, wave_N, spec.sample_rate, bottom + GAP, start_seconds, first, last)
        bottom += GAP + WAVE_HEIGHT
    step = _round_step(last - first)
    for number in range(int(np.ceil(first / step - 1e-9)), int(np.floor(last / step + 1e-9)) + 1):
        x = LEFT + width * (number * step - first) / (last - first)
        canvas.line([(x, bottom), (x, bottom + 5)], GREY)
        canvas.text(x, bottom + 16, f"{number * step:g}", 13, GREY, anchor="mm")
    canvas.text(LEFT + width / 2, bottom + 38, "seconds", 13, GREY, anchor="mm")
    return canvas.pixels()


def _shade(picture_SM: np.ndarray) -> np.ndarray:
    """Pixels (S, M, 3) of the values between the smallest and the largest; several steps become their mean.

    More steps than the picture has columns are averaged, so that none is passed over.
    """
    low, high = float(picture_SM.min()), float(picture_SM.max())
    share_SM = (picture_SM - low) / (high - low) if high > low else np.zeros_like(picture_SM)
    most = 2 * (WIDTH - LEFT - RIGHT)
    if len(share_SM) > most:
        edges = np.linspace(0, len(share_SM), most + 1).astype(int)[:-1]
        counts = np.diff([*edges, len(share_SM)])
        share_SM = np.add.reduceat(share_SM, edges, axis=0) / counts[:, None]
    places = np.linspace(0, 1, len(SHADES))
    parts = [np.interp(share_SM, places, [shade[k] for shade in SHADES]) for k in range(3)]
    return np.rint(np.stack(parts, axis=-1)).astype(np.uint8)


def _draw_scale(canvas: Canvas, picture_SM: np.ndarray, spec: SoundSpec) -> None:
    """What the shades mean, at the right: the smallest and the largest value."""
    left, values = WIDTH - RIGHT + 22, np.linspace(1, 0, 100)[:, None]
    canvas.picture(left, TOP, 14, HEIGHT, _shade(values).transpose(0, 1, 2))
    unit = "" if spec.decibels else " dB" if spec.log == "db" else ""
    for value, y in ((picture_SM.max(), TOP), (picture_SM.min(), TOP + HEIGHT)):
        canvas.text(left + 20, y, f"{float(value):.3g}{unit}", 12, GREY, anchor="lm")
    name = "0 to 1" if spec.decibels else {"log": "log", "db": "dB"}[spec.log]
    canvas.text(left, TOP - 12, name, 13, GREY, anchor="lm")


def _draw_wave(
    canvas: Canvas,
    wave_N: np.ndarray,
    sample_rate: int,
    top: float,
    start_seconds: float,
    first: float,
    last: float,
) -> None:
    """The waveform's least and greatest value under each column, and its peak at the left."""
    width = WIDTH - LEFT - RIGHT
    canvas.box(LEFT, top, LEFT + width, top + WAVE_HEIGHT, PANEL)
    middle = top + WAVE_HEIGHT / 2
    canvas.line([(LEFT, middle), (LEFT + width, middle)], RULE)
    peak = max(float(np.abs(wave_N).max()), 1e-9) if len(wave_N) else 1e-9
    edges = ((first + (last - first) * np.arange(width + 1) / width - start_seconds) * sample_rate).astype(
        int
    )
    for column in range(width):
        piece_N = wave_N[max(0, edges[column]) : max(0, edges[column + 1], edges[column] + 1)]
        if len(piece_N):
            high, low = (float(v) / peak * (WAVE_HEIGHT / 2 - 4) for v in (piece_N.max(), piece_N.min()))
            x = LEFT + column + 0.5
            canvas.line([(x, middle - high - 0.5), (x, middle - low + 0.5)], PALETTE[0])
    canvas.text(LEFT - 10, top + 8, f"{peak:.2g}", 12, GREY, anchor="rm")
    canvas.text(LEFT - 10, middle, "0", 12, GREY, anchor="rm")
    canvas.text(LEFT - 10, top + WAVE_HEIGHT - 8, f"-{peak:.2g}", 12, GREY, anchor="rm")
    canvas.text(LEFT + width + 22, middle, "amplitude", 12, INK, anchor="lm")


def _round_step(length: float) -> float:
    """A round number of seconds that divides a length into four to ten parts."""
    rough = length / 8
    size = 10.0 ** np.floor(np.log10(rough))
    return float(min((k * size for k in (1, 2, 5, 10)), key=lambda step: abs(np.log(step / rough))))
