"""Flow as grey levels: the toolkits' own numbers, the way back, and what a mirror does to stored flow."""

from __future__ import annotations

import numpy as np
import pytest

from vadis.video.flow_levels import RULES, dequantise, quantise, to_levels

VALUES = [-25, -20, -19.95, -10, -0.04, 0, 0.04, 0.1, 10, 19.9, 20, 25]
LEVELS = {
    "denseflow": [0, 0, 0, 64, 127, 128, 128, 128, 191, 254, 255, 255],
    "mediapipe": [0, 0, 0, 63, 127, 127, 127, 128, 191, 254, 255, 255],
    "video_features": [0, 0, 1, 64, 128, 128, 128, 129, 192, 255, 256, 256],
    "charades": [0, 0, 0.31875, 63.75, 127.245, 127.5, 127.755, 128.1375, 191.25, 254.3625, 255, 255],
}
"""What each toolkit makes of these values (pixels a frame) at the bound 20: computed by their own rules."""


@pytest.mark.parametrize("rule", LEVELS)
def test_the_toolkits_numbers(rule: str) -> None:
    assert to_levels(VALUES, 20.0, rule).tolist() == pytest.approx(LEVELS[rule], abs=1e-9)


@pytest.mark.parametrize(
    ("rule", "levels"),
    [
        ("denseflow", LEVELS["denseflow"]),
        ("mediapipe", LEVELS["mediapipe"]),
        ("video_features", [0, 0, 1, 64, 128, 128, 128, 129, 192, 255, 255, 255]),
        ("charades", [0, 0, 0, 64, 127, 128, 128, 128, 191, 254, 255, 255]),
    ],
)
def test_eight_bits(rule: str, levels: list[int]) -> None:
    """A file has no 256 and no fractions."""
    assert quantise(VALUES, 20.0, rule).tolist() == levels
    assert quantise(VALUES, 20.0, rule).dtype == np.uint8


def test_action_tubes() -> None:
    """16 v + 128, cut at both ends; so the bound is 8, and 1/16 pixel is a level."""
    assert quantise([-9, -8, -0.5, 0, 1 / 32, 1, 7.9375, 8], 8.0, "brox").tolist() == [
        0, 0, 120, 128, 129, 144, 255, 255,
    ]  # fmt: skip
    assert dequantise([0, 128, 144], 8.0, "brox").tolist() == [-8, 0, 1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bound", [20.0, 8.0, 1.5])
def test_back_within_half_a_level(rule: str, bound: float) -> None:
    values = np.linspace(-bound, bound, 4001)
    half = bound / 255 if rule != "brox" else bound / 256
    cut = 1.0 if rule in ("video_features", "brox") else 0.0  # their last level would be 256
    inside = np.abs(values) <= bound * (1 - cut / 100)
    error = np.abs(dequantise(quantise(values, bound, rule), bound, rule) - values)
    assert error[inside].max() <= half * 1.001
    assert dequantise([0, 255], bound, rule).dtype == np.float32
    assert abs(dequantise(quantise(3 * bound, bound, rule), bound, rule)) <= bound


def test_what_is_still() -> None:
    """The level of 0, and what it comes back as, in pixels a frame."""
    back = {rule: float(dequantise(quantise(0.0, 20.0, rule), 20.0, rule)) for rule in RULES}
    assert back == pytest.approx(
        {"denseflow": 20 / 255, "charades": 20 / 255, "mediapipe": 0, "video_features": 0, "brox": 0},
        abs=1e-5,
    )


def test_a_mirrored_picture_moves_zero() -> None:
    """255 - x on stored levels turns 128 into 127; the float's sign keeps 0 where it is."""
    still = quantise(0.0)
    assert (int(still), 255 - int(still)) == (128, 127)
    values = np.array([0.0, 3.0, -7.25])
    by_level = dequantise(255 - quantise(values))
    by_sign = -values
    assert np.abs(by_level - by_sign).max() <= 20 / 255 + 1e-5
    assert by_level[0] == pytest.approx(-20 / 255, abs=1e-5)  # one level beside what is still
    assert quantise(-0.0) == 128


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no rounding called 'opencv'; there are denseflow, charades"):
        quantise(0.0, 20.0, "opencv")
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the bound must be a positive number"):
            dequantise(0, bound)
