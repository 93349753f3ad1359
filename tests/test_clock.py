"""Moments: the times of all pictures of a file, exact as fractions are and as fast as integers."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadis.video.clock import SNAP, Moments

BASES = st.sampled_from([Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 12288), Fraction(1, 1000)])
ORIGINS = st.sampled_from([Fraction(0), Fraction(7, 5), Fraction(-3, 44100), Fraction(1, 1_000_000)])


@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20, unique=True).map(sorted),
    BASES,
    ORIGINS,
    st.floats(-1e9, 1e9),
)
def test_moments_are_as_exact_as_fractions(
    pts: list[int], base: Fraction, origin: Fraction, second: float
) -> None:
    times = [stamp * base - origin for stamp in pts]
    for moments in (Moments.of_pts(pts, base, origin), Moments.of_times(times)):
        assert len(moments) == len(pts)
        assert moments.seconds().tolist() == [float(time) for time in times], (
            "rounded once, to the same float"
        )
        assert moments.seconds([0, 0]).tolist() == [float(times[0])] * 2
        assert moments.shown_at(second) == max(0, bisect_right(times, Fraction(second) + SNAP) - 1)
        for index, time in enumerate(times):
            assert moments.shown_at(time) == index
            assert moments.shown_at(time - Fraction(1, 10**12)) == max(0, index - 1), "fractions are exact"


def test_a_float_may_fall_short_of_a_frame() -> None:
    moments = Moments.of_pts(range(100), Fraction(1001, 30000), Fraction(0))
    assert [moments.shown_at(index * 1001 / 30000) for index in range(100)] == list(range(100))
    assert moments.shown_at(1001 / 30000 - 1e-6) == 0
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="number of seconds"):
            moments.shown_at(wrong)


def test_no_pictures() -> None:
    assert len(Moments.of_times([])) == 0
    assert Moments.of_pts([], Fraction(1, 25), Fraction(0)).seconds().shape == (0,)
