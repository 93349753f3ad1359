"""Is one network better than another on the same videos? The bootstrap, in pairs.

Two networks that are judged on the same videos share what is easy and what is hard in them, so the interval
of their difference is much narrower than their own intervals suggest. Draw as many videos as there are, with
replacement, many times; each time both networks are judged on the drawn videos; what the middle 95 % of the
differences span is the interval. Videos of one source (clips of one recording) are drawn together, because
they are right or wrong together.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13 (percentiles).

Legend: N videos, K classes, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.metrics.classification import mean_average_precision

DRAWS = 2000
DRAWS_OF_RANKINGS = 300  # sorting every class anew is slower than counting hits
MIDDLE = 95.0  # percent


@dataclass(frozen=True)
class Gain:
    """How much better one is than the other, in the unit of the measure, and the 95 % interval of that."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval lies above zero: only then is a gain claimed."""
        return self.low > 0


def draw_counts(
    num: int, groups: Sequence[str] = (), draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """How often each video is in each draw: shape (R, N). groups: the sources; "" is one of its own."""
    rng = np.random.default_rng(seed)
    sources = [group or f"\0{index}" for index, group in enumerate(groups)] if groups else range(num)
    _, member_N = np.unique(np.array(list(sources)), return_inverse=True)
    num_sources = int(member_N.max()) + 1 if num else 0
    if num_sources == 0:
        return np.zeros((draws, 0))
    drawn_RS = rng.multinomial(num_sources, np.full(num_sources, 1 / num_sources), size=draws)
    return np.asarray(drawn_RS[:, member_N], np.float64)


def gain_of_hits(
    hit_N: ArrayLike, other_N: ArrayLike, groups: Sequence[str] = (), *, draws: int = DRAWS, seed: int = 0
) -> Gain:
    """How many more of the videos are right, as a share: hit_N against other_N, both of shape (N,)."""
    difference_N = np.asarray(hit_N, np.float64) - np.asarray(other_N, np.float64)
    count_RN = draw_counts(len(difference_N), groups, draws, seed)
    return _gain(float(difference_N.mean()), count_RN @ difference_N / count_RN.sum(axis=1))


def gain_of_map(
    scores_NK: ArrayLike,
    other_NK: ArrayLike,
    target_NK: ArrayLike,
    groups: Sequence[str] = (),
    *,
    draws: int = DRAWS_OF_RANKINGS,
    seed: int = 0,
) -> Gain:
    """How much more mAP: scores_NK against other_NK, for target_NK; classes drawn away are left out."""
    ours, theirs, targets = (np.asarray(each) for each in (scores_NK, other_NK, target_NK))
    found = []
    for count_N in draw_counts(len(ours), groups, draws, seed):
        rows = np.repeat(np.arange(len(ours)), count_N.astype(np.int64))
        if targets[rows].any():
            found.append(_difference(ours[rows], theirs[rows], targets[rows]))
    return _gain(_difference(ours, theirs, targets), np.array(found))


def interval_of(
    measure: Callable[[NDArray[np.int64]], float],
    num: int,
    groups: Sequence[str] = (),
    *,
    draws: int = DRAWS_OF_RANKINGS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of a measure of drawn videos, in its own unit; it gets their indices, shape (N,)."""
    found = [
        measure(np.repeat(np.arange(num), count_N.astype(np.int64)))
        for count_N in draw_counts(num, groups, draws, seed)
    ]
    low, high = np.nanpercentile(found, [(100 - MIDDLE) / 2, (100 + MIDDLE) / 2])
    return float(low), float(high)


def _difference(ours_NK: ArrayLike, theirs_NK: ArrayLike, target_NK: ArrayLike) -> float:
    return mean_average_precision(ours_NK, target_NK) - mean_average_precision(theirs_NK, target_NK)


def _gain(value: float, found_R: NDArray[np.float64]) -> Gain:
    low, high = np.percentile(found_R, [(100 - MIDDLE) / 2, (100 + MIDDLE) / 2])
    return Gain(value, float(low), float(high))
