"""Charades: the official average precision, its three traps, and the 25 moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadis.metrics.charades import NUM_CLASSES, active_moments, average_precisions, classify, localize


def test_average_precision_by_hand() -> None:
    scores = np.array([[0.9], [0.8], [0.7], [-np.inf]])
    # positives at ranks 1, 3 and 4: the missing one still gets the precision at its place in the list
    wanted = (1 + 2 / 3 + 3 / 4) / 3
    assert average_precisions(scores, [[1], [0], [1], [1]])[0] == pytest.approx(wanted, abs=1e-15)


def test_there_is_no_envelope() -> None:
    assert average_precisions([[3.0], [2.0], [1.0]], [[0], [1], [1]])[0] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_equal_scores_keep_the_order_of_the_rows() -> None:
    assert average_precisions([[0.5], [0.5]], [[1], [0]])[0] == 1
    assert average_precisions([[0.5], [0.5]], [[0], [1]])[0] == 0.5


def test_a_video_without_action_is_never_before_a_positive() -> None:
    scores = [[0.9], [0.5], [0.4]]
    assert classify([set(), {0}, {0}], scores).mean == 1
    assert classify([set(), {0}, {0}], scores).weighted == 1
    assert average_precisions(scores, [[0], [1], [1]])[0] < 1  # as negatives they would
    assert scores == [[0.9], [0.5], [0.4]]  # the caller's scores stay


def test_moments_without_action_are_negatives() -> None:
    assert localize([[0], [1], [1]], [[0.9], [0.5], [0.4]]).mean == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_class_without_positive_leaves_the_official_mean_undefined() -> None:
    found = classify([{0}, {0}], [[0.9, 0.1], [0.5, 0.2]])
    assert np.isnan(found.mean)
    assert np.isnan(found.weighted)
    assert found.per_class_K[0] == 1
    assert np.isnan(found.per_class_K[1])


def test_weighted_by_the_number_of_positives() -> None:
    found = classify([{0}, {0, 1}, {0}], [[0.9, 0.1], [0.5, 0.2], [0.4, 0.3]])
    assert found.per_class_K.tolist() == [1, 0.5]
    assert found.mean == 0.75
    assert found.weighted == pytest.approx((3 * 1 + 1 * 0.5) / 4)


def test_both_ends_of_an_action_belong_to_it() -> None:
    active = active_moments([(92, 11.9, 21.2), (147, 0.0, 12.6)], 25)
    assert active.shape == (25, NUM_CLASSES)
    assert np.flatnonzero(active[:, 92]).tolist() == list(range(12, 22))
    assert np.flatnonzero(active[:, 147]).tolist() == list(range(13))
    assert active.sum() == 23
    exact = active_moments([(0, 3.0, 5.0)], 25)
    assert np.flatnonzero(exact[:, 0]).tolist() == [3, 4, 5]


def test_an_action_may_end_after_the_video() -> None:
    assert active_moments([(0, 20.0, 99.0)], 25)[:, 0].sum() == 5
    assert not active_moments([(0, 24.5, 99.0)], 25).any()  # the last moment is 24/25 of the length


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="1 videos, but 2 rows"):
        classify([{0}], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="scores"):
        localize([[1, 0]], [[1.0]])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_the_order_of_videos_does_not_matter_without_ties(seed: int, num: int) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.permuted(np.arange(num * 3.0)).reshape(num, 3)
    labels = [set(np.flatnonzero(row).tolist()) or {0} for row in chance.random((num, 3)) < 0.5]
    labels[0] = {0, 1, 2}
    order = chance.permutation(num)
    one, other = classify(labels, scores), classify([labels[i] for i in order], scores[order])
    assert one.per_class_K == pytest.approx(other.per_class_K, abs=1e-12)
    assert one.weighted == pytest.approx(other.weighted, abs=1e-12)
