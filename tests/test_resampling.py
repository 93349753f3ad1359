"""The bootstrap in pairs: hand numbers, the known variance of a mean, sources that stay together."""

import numpy as np
import pytest

from vadis.metrics.resampling import draw_counts, gain_of_hits, gain_of_map, interval_of


def test_draws_are_seeded_and_complete() -> None:
    count_RN = draw_counts(10, draws=50, seed=1)
    assert count_RN.shape == (50, 10)
    assert (count_RN.sum(axis=1) == 10).all()
    np.testing.assert_array_equal(count_RN, draw_counts(10, draws=50, seed=1))
    assert (count_RN != draw_counts(10, draws=50, seed=2)).any()
    grouped_RN = draw_counts(6, ["a", "a", "b", "", "b", ""], draws=50)
    np.testing.assert_array_equal(grouped_RN[:, 0], grouped_RN[:, 1])
    np.testing.assert_array_equal(grouped_RN[:, 2], grouped_RN[:, 4])
    assert (grouped_RN[:, 3] != grouped_RN[:, 5]).any()


def test_the_interval_of_a_gain_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    ours_N, theirs_N = rng.random(400) < 0.7, rng.random(400) < 0.6
    gain = gain_of_hits(ours_N, theirs_N)
    difference_N = ours_N.astype(float) - theirs_N
    deviation = difference_N.std() / 20
    assert gain.value == pytest.approx(difference_N.mean())
    assert gain.low == pytest.approx(gain.value - 1.96 * deviation, abs=0.1 * deviation)
    assert gain.high == pytest.approx(gain.value + 1.96 * deviation, abs=0.1 * deviation)


def test_pairs_are_narrower_than_two_intervals_and_the_same_is_no_gain() -> None:
    base_N = np.arange(100) % 2 == 0
    better_N = base_N | (np.arange(100) < 12)
    gain = gain_of_hits(better_N, base_N)
    assert gain.value == pytest.approx(0.06)
    assert gain.is_sure
    same = gain_of_hits(base_N, base_N)
    assert (same.value, same.low, same.high, same.is_sure) == (0, 0, 0, False)


def test_videos_of_one_source_count_as_one() -> None:
    """Sixty clips cut from six recordings say no more than six."""
    hit_N = np.repeat([1, 1, 1, 1, 0, 1], 10)
    base_N = np.repeat([0, 1, 1, 0, 0, 1], 10)
    alone = gain_of_hits(hit_N, base_N)
    together = gain_of_hits(hit_N, base_N, [str(n // 10) for n in range(60)])
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert alone.is_sure
    assert not together.is_sure


def test_gain_of_map() -> None:
    rng = np.random.default_rng(0)
    target_NK = rng.random((80, 5)) < 0.3
    noise_NK = rng.normal(size=(80, 5))
    gain = gain_of_map(noise_NK + 3 * target_NK, noise_NK, target_NK, draws=100)
    assert gain.low < gain.value < gain.high
    assert gain.is_sure
    assert gain_of_map(noise_NK, noise_NK, target_NK, draws=20).high == 0


def test_interval_of_any_measure() -> None:
    value_N = np.random.default_rng(0).normal(size=100)
    low, high = interval_of(lambda rows: float(value_N[rows].mean()), 100, draws=500)
    assert low < value_N.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * value_N.std() / 10, rel=0.2)
