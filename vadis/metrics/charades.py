"""Charades: mean average precision of whole videos, and of 25 moments of each video.

The official scripts are two MATLAB functions. Their average precision has no envelope: it is the mean, over
the positives, of the precision at each one's rank. Three traps are kept, because published numbers have them:

1. `classify`: a video without any action is never scored: it lies below everything, whatever was predicted,
   so it cannot stand before a positive. (Counting such videos as negatives would be 0.4 to 0.6 points less.)
2. `localize`: moments without an action are negatives like any other.
3. A video or moment that the submission lacks stays in the list with the score -inf; such rows keep the order
   of the ground truth, so a positive among them adds a little precision instead of none.

Legend: N videos or moments, T = 25 moments, K = 157 classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vadis.metrics.classification import Bools, Floats

NUM_CLASSES = 157
NUM_MOMENTS = 25


@dataclass(frozen=True)
class CharadesScore:
    """mAP, AP weighted by the classes' positives, AP of each class (K,); NaN where a class has no positive.

    The official mean runs over all 157 classes, so `mean` is NaN as soon as one class is.
    """

    mean: float
    weighted: float
    per_class_K: Floats


def average_precisions(scores_NK: ArrayLike, target_NK: ArrayLike) -> Floats:
    """The official AP of each class (K,): mean precision at the rank of each positive.

    Equal scores keep the order of the rows, as MATLAB's sort does.
    """
    scores, targets = np.asarray(scores_NK, np.float64), np.asarray(target_NK) > 0
    order_NK = np.argsort(-scores, axis=0, kind="stable")
    found_NK = np.take_along_axis(targets, order_NK, axis=0)
    precision_NK = np.cumsum(found_NK, axis=0) / np.arange(1, len(scores) + 1)[:, None]
    num_K = targets.sum(axis=0)
    total_K = (precision_NK * found_NK).sum(axis=0)
    return np.divide(total_K, num_K, out=np.full(len(num_K), np.nan), where=num_K > 0)


def _summarise(scores_NK: Floats, target_NK: Bools) -> CharadesScore:
    ap_K = average_precisions(scores_NK, target_NK)
    num_K = target_NK.sum(axis=0)
    weighted = float((ap_K * num_K).sum() / num_K.sum()) if num_K.any() else float("nan")
    return CharadesScore(mean=float(ap_K.mean()), weighted=weighted, per_class_K=ap_K)


def classify(labels: Sequence[Collection[int]], scores_NK: ArrayLike) -> CharadesScore:
    """Video classification.

    labels: the classes of each video, none for a video without an action.
    scores_NK: rows of -inf for videos that were not submitted.
    """
    scores = np.array(scores_NK, np.float64)
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} videos, but {len(scores)} rows of scores")
    target_NK = np.zeros(scores.shape, bool)
    for row, classes in enumerate(labels):
        target_NK[row, list(classes)] = True
    scores[~target_NK.any(axis=1)] = -np.inf  # trap 1: the script forgets the name of such a video
    return _summarise(scores, target_NK)


def active_moments(
    actions: Iterable[tuple[int, float, float]], length_seconds: float, num_classes: int = NUM_CLASSES
) -> Bools:
    """Which classes go on at the 25 moments 0, 1/25, ... 24/25 of a video. Returns (25, K).

    actions: class, first second, last second; both ends belong to the action.
    """
    moments_T = np.arange(NUM_MOMENTS) / NUM_MOMENTS * length_seconds
    active_TK = np.zeros((NUM_MOMENTS, num_classes), bool)
    for label, start_seconds, end_seconds in actions:
        active_TK[(start_seconds <= moments_T) & (moments_T <= end_seconds), label] = True
    return active_TK


def localize(active_NK: ArrayLike, scores_NK: ArrayLike) -> CharadesScore:
    """Temporal localisation: a row is a moment of a video.

    active_NK: the rows of `active_moments` of all videos. scores_NK: -inf where nothing was submitted.
    """
    active, scores = np.asarray(active_NK) > 0, np.asarray(scores_NK, np.float64)
    if active.shape != scores.shape:
        raise ValueError(f"moments are {active.shape}, scores {scores.shape}")
    return _summarise(scores, active)
