"""Accuracy of clips and videos, average precision, confusion: what the classification papers report.

Scores are any numbers that grow with belief: logits or probabilities. Classes of equal score rank in the
order of their numbers (a stable sort; NumPy's usual `argsort()[::-1]` prefers the higher number, torch.topk
promises nothing). A row without a finite score is a video that could not be scored, and counts as wrong.

Legend: N videos, M views (clips x crops of all videos together), K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def softmax(logits_MK: ArrayLike) -> Floats:
    """Logits to probabilities, row by row, in float64."""
    logits = np.asarray(logits_MK, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def combine_views(
    logits_MK: ArrayLike,
    video_M: ArrayLike,
    num_videos: int,
    how: Literal["softmax", "logits", "max"] = "softmax",
) -> Floats:
    """One row of scores a video from the logits of its views.

    `softmax` averages probabilities (non-local, VMZ, 3D-ResNets, PySlowFast), `logits` averages logits
    (two-stream I3D, TSN): the best class can differ. `max` takes the best logit of any view (PySlowFast
    on Charades). video_M: the number of each view's video. A video without a view gets NaN: it stays
    in the list and counts as wrong. Returns scores_NK.
    """
    rows, videos = np.asarray(logits_MK, np.float64), np.asarray(video_M, np.int64)
    if len(rows) != len(videos):
        raise ValueError(f"{len(rows)} rows of logits, but {len(videos)} numbers of videos")
    if len(videos) and (videos.min() < 0 or videos.max() >= num_videos):
        raise ValueError(f"numbers of videos lie in 0..{num_videos - 1}")
    num_views_N = np.bincount(videos, minlength=num_videos)
    scores_NK = np.zeros((num_videos, rows.shape[1]))
    if how == "max":
        scores_NK[:] = -np.inf
        np.maximum.at(scores_NK, videos, rows)
    else:
        np.add.at(scores_NK, videos, softmax(rows) if how == "softmax" else rows)
        scores_NK /= np.maximum(num_views_N, 1)[:, None]
    scores_NK[num_views_N == 0] = np.nan
    return scores_NK


def rank_classes(scores_NK: ArrayLike) -> Ints:
    """The classes of each row from the best to the worst; equal scores in the order of their numbers."""
    return np.argsort(-np.asarray(scores_NK, np.float64), axis=-1, kind="stable").astype(np.int64)


def is_hit(scores_NK: ArrayLike, label_N: ArrayLike, k: int = 1) -> Bools:
    """Whether the label is among the k best classes. Returns (N,)."""
    scores, labels = _check_labels(scores_NK, label_N)
    found_N = (rank_classes(scores)[:, :k] == labels[:, None]).any(axis=1)
    return np.asarray(found_N & np.isfinite(scores).any(axis=1))


def hit_at_k(scores_NK: ArrayLike, label_N: ArrayLike, k: int = 1) -> float:
    """Top-k accuracy: the share of rows whose label is among the k best.

    Rows are views for clip hit@k, and what `combine_views` gives for video hit@k.
    """
    return float(is_hit(scores_NK, label_N, k).mean())


def any_hit_at_k(scores_NK: ArrayLike, target_NK: ArrayLike, k: int = 1) -> float:
    """The same where a video has several labels (Sports-1M): right if any of them is among the k best.

    target_NK: 1 or True where the class is a label.
    """
    scores, targets = np.asarray(scores_NK, np.float64), np.asarray(target_NK) > 0
    found_N = np.take_along_axis(targets, rank_classes(scores)[:, :k], axis=1).any(axis=1)
    return float((found_N & np.isfinite(scores).any(axis=1)).mean())


def challenge_error(top1: float, top5: float) -> float:
    """What the Kinetics challenges rank by: the average of top-1 and top-5 error. Shares in [0, 1]."""
    return ((1 - top1) + (1 - top5)) / 2


def average_of_top1_and_top5(top1: float, top5: float) -> float:
    """The column "avg" of the I3D and Kinetics papers, in the unit of its two shares or percentages."""
    return (top1 + top5) / 2


def confusion_matrix(
    label_N: ArrayLike,
    prediction_N: ArrayLike,
    num_classes: int,
    share_of: Literal["truth", "prediction", "all"] | None = None,
) -> Floats:
    """Counts (K, K): a row is a true class, a column a predicted one.

    `share_of` divides by the sum of the row, of the column or of all; where that is 0, shares are 0.
    """
    labels, predictions = np.asarray(label_N, np.int64), np.asarray(prediction_N, np.int64)
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    counts_KK = cells.reshape(num_classes, num_classes).astype(np.float64)
    if share_of is None:
        return counts_KK
    axis = {"truth": 1, "prediction": 0, "all": None}[share_of]
    total = counts_KK.sum(axis=axis, keepdims=True)
    return np.divide(counts_KK, total, out=np.zeros_like(counts_KK), where=total > 0)


def class_accuracies(confusion_KK: ArrayLike) -> Floats:
    """The share of each class's videos that are right; NaN for a class without videos. (K, K) to (K,)."""
    counts = np.asarray(confusion_KK, np.float64)
    total_K = counts.sum(axis=1)
    return np.divide(np.diag(counts), total_K, out=np.full(len(counts), np.nan), where=total_K > 0)


def mean_class_accuracy(confusion_KK: ArrayLike, over: Literal["truth", "seen"] = "truth") -> float:
    """Mean of the classes' accuracies: each class counts alike, however many videos it has.

    over: `truth` averages the classes that have videos. `seen` is MMAction2's: a class that was predicted
    but has no video counts, as 0.
    """
    counts = np.asarray(confusion_KK, np.float64)
    accuracy_K = class_accuracies(counts)
    if over == "seen":
        seen_K = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
        return float(np.nan_to_num(accuracy_K[seen_K]).mean())
    return float(np.nanmean(accuracy_K))


def average_precision(score_N: ArrayLike, positive_N: ArrayLike) -> float:
    """Area under the steps of precision over recall, as scikit-learn computes it; NaN without a positive.

    Equal scores are one step: their order does not matter. score_N, positive_N: (N,).
    """
    scores, positives = np.asarray(score_N, np.float64), np.asarray(positive_N) > 0
    if not positives.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, positives = scores[order], positives[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # the last row of each score
    right = np.cumsum(positives)[ends]
    return float(np.sum(np.diff(right, prepend=0) / right[-1] * right / (ends + 1)))


def average_precisions(scores_NK: ArrayLike, target_NK: ArrayLike) -> Floats:
    """The average precision of each class (K,), NaN where no video has it; their `np.nanmean` is the mAP."""
    scores, targets = np.asarray(scores_NK, np.float64), np.asarray(target_NK) > 0
    if scores.shape != targets.shape:
        raise ValueError(f"scores are {scores.shape}, targets {targets.shape}")
    return np.array([average_precision(scores[:, k], targets[:, k]) for k in range(scores.shape[1])])


def mean_average_precision(
    scores_NK: ArrayLike, target_NK: ArrayLike, over: Literal["classes", "weighted", "videos"] = "classes"
) -> float:
    """mAP of a task with several labels a video.

    over: `classes` averages the classes that have a positive (scikit-learn, PySlowFast, MMAction2).
    `weighted` weighs each by its positives (VMZ). `videos` ranks the classes within each video and averages
    the videos that have a label (MMAction2's `mmit`, for Multi-Moments in Time).
    """
    scores, targets = np.asarray(scores_NK, np.float64), np.asarray(target_NK) > 0
    if over == "videos":
        scores, targets = scores.T, targets.T
    ap = average_precisions(scores, targets)
    if not np.isfinite(ap).any():
        raise ValueError("there is not one positive label")
    if over == "weighted":
        num_K = targets.sum(axis=0)
        return float(np.nansum(ap * num_K) / num_K.sum())
    return float(np.nanmean(ap))


def voc_average_precision(is_right_N: ArrayLike, num_positives: int) -> float:
    """Average precision as the PASCAL VOC 2011 kit computes it, for detections from the best to the worst.

    Precision is first made to fall with recall (the envelope). is_right_N: (N,) whether each detection found
    something new. NaN without a positive, 0 without a detection.
    """
    right = np.cumsum(np.asarray(is_right_N, np.float64))
    if num_positives == 0:
        return float("nan")
    precision = np.concatenate([[0.0], right / np.arange(1, len(right) + 1), [0.0]])
    recall = np.concatenate([[0.0], right / num_positives, [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def mean_over_splits(values: Iterable[float]) -> float:
    """UCF-101 and HMDB-51: the plain mean of the accuracies of the three splits, in their unit, not pooled.

    A share or a percentage in, the same out.
    """
    return float(np.mean(list(values)))


def mean_per_group(
    per_class: Mapping[str, float | None], groups: Mapping[str, Sequence[str]]
) -> dict[str, float | None]:
    """The mean score of the classes of each group; None for a group of which no class has a score.

    KeyError where a group names a class that is not there.
    """
    means: dict[str, float | None] = {}
    for group, names in groups.items():
        values = [value for name in names if (value := per_class[name]) is not None and value == value]
        means[group] = float(np.mean(values)) if values else None
    return means


def _check_labels(scores_NK: ArrayLike, label_N: ArrayLike) -> tuple[Floats, Ints]:
    scores, labels = np.asarray(scores_NK, np.float64), np.asarray(label_N, np.int64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores are (N, K) and labels (N,), not {scores.shape} and {labels.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        raise ValueError(f"labels lie in 0..{scores.shape[1] - 1}")
    return scores, labels
