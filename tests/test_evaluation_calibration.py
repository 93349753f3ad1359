"""Temperatures and thresholds, against an optimiser of others and by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from vadis.evaluation.calibration import (
    apply_temperature,
    calibrate,
    calibration_bins,
    choose_threshold,
    expected_calibration_error,
    fit_temperature,
)


def draw_scores(num: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from a softmax, and the scores of a network that is that much too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, 6)) * 1.5
    true = softmax(logits, axis=1)
    labels = np.array([rng.choice(6, p=row) for row in true])
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_most_likely_one(temperature: float) -> None:
    scores, labels = draw_scores(4000, temperature)
    found = fit_temperature(scores, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    logits = np.log(scores)

    def nll(log_beta: float) -> float:
        return -float(log_softmax(np.exp(log_beta) * logits, axis=1)[np.arange(4000), labels].mean())

    best = minimize_scalar(nll, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(float(np.exp(-best.x)), rel=1e-5)


def test_a_perfect_network_has_no_temperature_but_an_end() -> None:
    scores = np.full((20, 3), 0.2)
    labels = np.arange(20) % 3
    scores[np.arange(20), labels] = 0.6
    assert fit_temperature(scores, labels) == pytest.approx(1e-3)
    assert fit_temperature(scores, (labels + 1) % 3) == pytest.approx(1e3)


def test_ranks_stay() -> None:
    scores, _ = draw_scores(50, 3.0)
    assert (apply_temperature(scores, 2.5).argmax(1) == scores.argmax(1)).all()
    assert np.allclose(apply_temperature(scores, 1.0), scores)
    with pytest.raises(ValueError, match="positive"):
        apply_temperature(scores, 0.0)


def test_calibration_error_by_hand() -> None:
    """Four examples at 0.95 of which two are right, one at 0.55 that is right: (4 x 0.45 + 0.45) / 5."""
    scores = np.array([[0.95, 0.05]] * 4 + [[0.45, 0.55]])
    labels = [0, 0, 1, 1, 1]
    assert expected_calibration_error(scores, labels, 10) == pytest.approx((4 * 0.45 + 0.45) / 5)
    bins = calibration_bins(scores, labels, 10)
    assert [item.num for item in bins] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 4]


def test_threshold_by_hand() -> None:
    """Surest first: right, right, wrong and right (equal scores), right, wrong."""
    confidence = [0.9, 0.8, 0.7, 0.7, 0.6, 0.55]
    right = [1, 1, 0, 1, 1, 0]
    scores = np.array([[value, 1 - value] for value in confidence])
    labels = [0 if hit else 1 for hit in right]
    found = choose_threshold(scores, labels, 0.2)
    assert found is not None
    assert (found.score, found.accepted, found.error) == (0.6, 5 / 6, 1 / 5)
    strict = choose_threshold(scores, labels, 0.0)
    assert strict is not None
    assert strict.score == 0.8
    assert choose_threshold(scores[2:3], labels[2:3], 0.5) is None


def test_calibrate_mends_a_network_that_is_too_sure() -> None:
    scores, labels = draw_scores(3000, 3.0)
    scores[7] = np.nan
    rows = [(int(label),) for label in labels]
    rows[9] = ()
    found = calibrate(scores, rows)
    assert found.num == 2998
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.ece < 0.04 < 0.15 < found.ece_before
    assert found.nll < found.nll_before
    assert found.threshold is not None
    assert found.threshold.error <= 0.1
    assert sum(item.num for item in found.bins) == 2998
    with pytest.raises(ValueError, match="too few"):
        calibrate(scores[:9], rows[:9])
