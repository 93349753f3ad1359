"""How far scores can be believed: a temperature, the calibration error, and from where on to say "unknown".

Networks of today are too sure of themselves: of the clips that they score 0.9, fewer than nine in ten are
right. One number mends most of it: logits are divided by a temperature, chosen on a validation part so that
the true labels are as likely as possible (Guo et al. 2017, arXiv:1706.04599, sec. 4.2). No rank changes, so
no accuracy does. Scores of combined views are treated as one softmax: their logarithm stands for the logits.

Legend: N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.evaluation.measures import wilson_interval

Floats = NDArray[np.float64]

NUM_BINS = 15
SMALLEST_SCORE = 1e-12  # of which the logarithm is taken
_BETA = (1e-3, 1e3)  # inverse temperatures that are looked at


@dataclass(frozen=True)
class Bin:
    """Examples of similar score: their number, mean score, and share that is right."""

    num: int
    score: float
    accuracy: float


@dataclass(frozen=True)
class Threshold:
    """From which score on an answer is given, and what that was worth on the validation part.

    accepted: share of examples that are answered. error: share of those that are wrong; interval: of error
    (Wilson, 95 %). max_error: what was asked for; None where the score was chosen elsewhere.
    """

    score: float
    accepted: float
    error: float
    interval: tuple[float, float]
    max_error: float | None


@dataclass(frozen=True)
class Calibration:
    """What was found on a validation part of `num` examples.

    ece, ece_before: expected calibration error (NUM_BINS bins of equal width) with the temperature and
    without; with it, each half of the examples is judged by the temperature of the other half. nll,
    nll_before: mean negative log likelihood, likewise. bins: with the temperature. threshold: None where no
    score is sure enough. chosen_here: False where temperature and threshold came from elsewhere and were only
    judged here.
    """

    temperature: float
    num: int
    ece_before: float
    ece: float
    nll_before: float
    nll: float
    bins: tuple[Bin, ...]
    threshold: Threshold | None
    chosen_here: bool = True

    def to_dict(self) -> dict[str, Any]:
        """For a card or the metadata of a model file."""
        return asdict(self)


def to_logits(scores_NK: ArrayLike) -> Floats:
    """Scores (softmax) as logits: their logarithm, which softmax takes back to the same scores."""
    return np.asarray(np.log(np.maximum(np.asarray(scores_NK, np.float64), SMALLEST_SCORE)))


def apply_temperature(scores_NK: ArrayLike, temperature: float) -> Floats:
    """The scores at another temperature: softmax of their logits divided by it."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature is a positive number, not {temperature}")
    return _softmax(to_logits(scores_NK) / temperature)


def fit_temperature(scores_NK: ArrayLike, label_N: ArrayLike) -> float:
    """The temperature that makes the true labels most likely.

    The likelihood is concave in the inverse of the temperature, so bisection on its slope finds the one
    maximum; where every label is the best class of its row there is none, and the end of the range is taken.
    """
    logits_NK, labels = to_logits(scores_NK), np.asarray(label_N, np.int64)
    if len(labels) == 0:
        raise ValueError("a temperature needs at least one example with a label")
    true_N = logits_NK[np.arange(len(labels)), labels]

    def slope(beta: float) -> float:
        return float((true_N - (_softmax(beta * logits_NK) * logits_NK).sum(axis=1)).mean())

    low, high = math.log(_BETA[0]), math.log(_BETA[1])
    if slope(_BETA[0]) <= 0:
        return 1 / _BETA[0]
    if slope(_BETA[1]) >= 0:
        return 1 / _BETA[1]
    for _ in range(60):
        middle = (low + high) / 2
        if slope(math.exp(middle)) > 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def calibration_bins(scores_NK: ArrayLike, label_N: ArrayLike, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Examples by the score of their best class, in bins of equal width over [0, 1]; empty ones too."""
    confidence_N, right_N = _confidence(scores_NK, label_N)
    place_N = np.minimum((confidence_N * num_bins).astype(np.int64), num_bins - 1)
    bins = []
    for place in range(num_bins):
        inside = place_N == place
        num = int(inside.sum())
        score = float(confidence_N[inside].mean()) if num else (place + 0.5) / num_bins
        bins.append(Bin(num, score, float(right_N[inside].mean()) if num else 0.0))
    return tuple(bins)


def expected_calibration_error(scores_NK: ArrayLike, label_N: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Mean distance of score and accuracy over the bins, weighted by their examples (Guo et al., eq. 3)."""
    bins = calibration_bins(scores_NK, label_N, num_bins)
    total = sum(item.num for item in bins)
    return sum(item.num * abs(item.score - item.accuracy) for item in bins) / total if total else 0.0


def choose_threshold(scores_NK: ArrayLike, label_N: ArrayLike, max_error: float = 0.1) -> Threshold | None:
    """The lowest score from which on at most `max_error` of the answers are wrong; None if there is none.

    Examples are answered from the surest down; equal scores stand or fall together. Below it the honest
    answer is "none of the known actions".
    """
    if not 0 <= max_error < 1:
        raise ValueError(f"max_error is a share from 0 to below 1, not {max_error}")
    confidence_N, right_N = _confidence(scores_NK, label_N)
    order = np.argsort(-confidence_N, kind="stable")
    sorted_N, wrong_N = confidence_N[order], np.cumsum(~right_N[order])
    answered_N = np.arange(1, len(order) + 1)
    last_of_equal = np.append(np.diff(sorted_N) != 0, True) if len(order) else np.zeros(0, bool)
    good = np.flatnonzero(last_of_equal & (wrong_N <= max_error * answered_N))
    if not len(good):
        return None
    place = int(good[-1])
    answered, wrong = place + 1, int(wrong_N[place])
    interval = wilson_interval(wrong, answered) or (0.0, 1.0)
    return Threshold(float(sorted_N[place]), answered / len(order), wrong / answered, interval, max_error)


def calibrate(
    scores_NK: ArrayLike, labels: Sequence[Sequence[int]], *, max_error: float = 0.1
) -> Calibration:
    """Temperature, calibration error before and after, and the threshold for "unknown", from one part.

    labels: one label each; rows without a label or with NaN take no part (a file that could not be read says
    nothing of the network). The threshold holds for scores at the temperature. Raises ValueError where fewer
    than 10 examples are left.
    """
    scores_NK, label_N = _usable(scores_NK, labels)
    if len(label_N) < 10:
        raise ValueError(
            f"{len(label_N)} examples with one label are too few to calibrate on; 10 are the least"
        )
    temperature = fit_temperature(scores_NK, label_N)
    judged_NK = np.empty_like(scores_NK)
    halves = np.arange(len(label_N)) % 2 == 0
    for half in (halves, ~halves):
        judged_NK[half] = apply_temperature(
            scores_NK[half], fit_temperature(scores_NK[~half], label_N[~half])
        )
    return Calibration(
        temperature=temperature,
        num=len(label_N),
        ece_before=expected_calibration_error(scores_NK, label_N),
        ece=expected_calibration_error(judged_NK, label_N),
        nll_before=_nll(scores_NK, label_N),
        nll=_nll(judged_NK, label_N),
        bins=calibration_bins(judged_NK, label_N),
        threshold=choose_threshold(apply_temperature(scores_NK, temperature), label_N, max_error),
    )


def judge_calibration(
    scores_NK: ArrayLike,
    labels: Sequence[Sequence[int]],
    temperature: float,
    threshold: float | None = None,
) -> Calibration:
    """What a temperature, and a threshold, that were chosen elsewhere are worth on these examples."""
    scores, label_N = _usable(scores_NK, labels)
    if not len(label_N):
        raise ValueError("no example has one label, so there is nothing to judge a temperature by")
    judged_NK = apply_temperature(scores, temperature)
    found = None
    if threshold is not None:
        confidence_N, right_N = _confidence(judged_NK, label_N)
        answered_N = confidence_N >= threshold
        num, wrong = int(answered_N.sum()), int((answered_N & ~right_N).sum())
        interval = wilson_interval(wrong, num) or (0.0, 1.0)
        error = wrong / num if num else 0.0
        found = Threshold(threshold, num / len(label_N), error, interval, None)
    return Calibration(
        temperature,
        len(label_N),
        expected_calibration_error(scores, label_N),
        expected_calibration_error(judged_NK, label_N),
        _nll(scores, label_N),
        _nll(judged_NK, label_N),
        calibration_bins(judged_NK, label_N),
        found,
        chosen_here=False,
    )


def _usable(scores_NK: ArrayLike, labels: Sequence[Sequence[int]]) -> tuple[Floats, NDArray[np.int64]]:
    """The rows with one label and with scores, and their labels."""
    scores = np.asarray(scores_NK, np.float64)
    used = [row for row, each in enumerate(labels) if len(each) == 1 and np.isfinite(scores[row]).all()]
    return scores[used], np.array([labels[row][0] for row in used], np.int64)


def _confidence(scores_NK: ArrayLike, label_N: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """The score of each row's best class, and whether that is the label."""
    scores = np.asarray(scores_NK, np.float64)
    best_N = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), best_N], best_N == np.asarray(label_N, np.int64)


def _nll(scores_NK: Floats, label_N: NDArray[np.int64]) -> float:
    return float(-to_logits(scores_NK)[np.arange(len(label_N)), label_N].mean())


def _softmax(logits_NK: Floats) -> Floats:
    powers = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
