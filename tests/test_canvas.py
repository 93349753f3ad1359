"""Letters of any script, contrast, and layers on frames."""

from __future__ import annotations

import numpy as np
import pytest

from vadis.video import canvas
from vadis.video.canvas import Canvas, clock, fit_text, ink_on, lay_over, settable, text_width, wrap_text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abseiling",
        "Übung",
        "кросс",
        "走路",
        "🙂",
        "a\nb\x1b\0",
        "\ud800",
        "مشي",
        "e\u0301",
        "x" * 5000,
    ],
)
def test_any_text_can_be_set(text: str) -> None:
    picture = Canvas(200, 40)
    assert picture.text(2, 2, text, 16) >= 0
    assert picture.pixels().shape == (40, 200, 3)


def test_missing_letters_get_a_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "_SYSTEM_FONTS", ())
    settable.cache_clear()
    try:
        assert settable("Übung é 走") == (None, "Ubung e ?")
        assert settable("a\nb") == (None, "a b")
    finally:
        settable.cache_clear()


def test_bold_and_letters_leave_ink() -> None:
    plain, bold = Canvas(200, 40), Canvas(200, 40)
    plain.text(2, 2, "walking", 20)
    bold.text(2, 2, "walking", 20, bold=True)
    assert 0 < (255 - plain.pixels().astype(int)).sum() < (255 - bold.pixels().astype(int)).sum()


def test_text_fits() -> None:
    assert fit_text("short", 14, 500) == "short"
    cut = fit_text("a very long name of a class", 14, 90)
    assert cut.endswith("...")
    assert text_width(cut, 14) <= 90
    lines = wrap_text("one two three four five six seven eight nine ten", 14, 90, 3)
    assert len(lines) == 3
    assert all(text_width(line, 14) <= 90 for line in lines)
    assert wrap_text("", 14, 90, 3) == []


@pytest.mark.parametrize("colour", canvas.PALETTE)
def test_text_on_the_palette_is_legible(colour: tuple[int, ...]) -> None:
    assert contrast(colour, ink_on(colour)) >= 4.5
    assert contrast(colour, canvas.PAPER) >= 2.0


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2 contrast of two colours, written out by itself."""

    def luminance(colour: tuple[int, ...]) -> float:
        values = np.asarray(colour) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_small_text_has_contrast() -> None:
    assert contrast(canvas.GREY, canvas.PAPER) >= 4.5
    assert contrast(canvas.INK, canvas.PAPER) >= 12


def test_clock() -> None:
    assert [clock(s) for s in (0, 9.96, 59.95, 61.25, 3725.5)] == [
        "0:00.0",
        "0:10.0",
        "1:00.0",
        "1:01.2",
        "1:02:05.5",
    ]
    assert clock(75, 0) == "1:15"
    assert clock(-1) == "0:00.0"


def test_layers_blend_and_stay_inside() -> None:
    frame_HWC = np.full((10, 10, 3), 200, np.uint8)
    layer_HW4 = np.zeros((8, 8, 4), np.uint8)
    layer_HW4[..., 3] = 128
    lay_over(frame_HWC, layer_HW4, 5, 6)
    assert (frame_HWC[6:, 5:] == 100).all()
    assert (frame_HWC[:6] == 200).all()
    assert (frame_HWC[:, :5] == 200).all()
    lay_over(frame_HWC, layer_HW4, 50, 60)  # beside the frame: nothing happens
