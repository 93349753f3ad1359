"""From scores to the numbers that papers print, with intervals, by class and by group of classes.

All shares are in [0, 1]. An example that could not be scored counts as wrong in every measure; one whose
label is hidden takes no part.

Legend: N examples, K classes, T moments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.evaluation.views import ScoredDataset
from vadis.metrics import charades
from vadis.metrics.classification import (
    any_hit_at_k,
    average_of_top1_and_top5,
    average_precisions,
    challenge_error,
    class_accuracies,
    confusion_matrix,
    is_hit,
    mean_average_precision,
    mean_class_accuracy,
    rank_classes,
)
from vadis.records import Dataset

NUM_WORST = 24  # examples that a card keeps for its page
TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean of classes",
    "average": "average of top-1 and top-5",
    "challenge_error": "challenge error",
    "clip_top1": "top-1 of single views",
    "first_clip_top1": "top-1 of first views",
    "mean_ap": "mAP",
    "mean_ap_weighted": "mAP, classes by size",
    "mean_ap_videos": "mAP, per video",
    "any_top1": "top-1, any label",
    "any_top5": "top-5, any label",
}
"""What the measures are called in print."""

NOT_SCORED = -1.0  # below every score


def measure(scored: ScoredDataset, dataset: Dataset) -> dict[str, Any]:
    """The measures of a dataset's scores; NaN-free, as JSON takes it (None where a number is undefined).

    One label: `top1`, `top5` (None below 6 classes), `mean_class`, `average` of top-1 and top-5,
    `challenge_error`, `clip_top1` over all views and `first_clip_top1`. Several labels: `mean_ap`,
    `mean_ap_weighted`, `mean_ap_videos`, `any_top1`, `any_top5`; on Charades also by its official rule,
    and of moments where the protocol is dense. Always `num`, `intervals` (Wilson, 95 %), `per_class`,
    `groups`, `worst`; `confusion` as rows of true class, predicted class, count.
    """
    if len(scored) != len(dataset.examples):
        raise ValueError(
            f"{len(scored)} rows of scores, but {dataset.name} has {len(dataset.examples)} examples"
        )
    return _measure_labels(scored, dataset) if dataset.multi_label else _measure_label(scored, dataset)


def wilson_interval(hits: float, total: int, z: float = 1.959963984540054) -> tuple[float, float] | None:
    """Wilson's interval of a share: (low, high) in [0, 1], 95 % by default; None of nothing.

    Wilson (1927), J. Amer. Statist. Assoc. 22: it stays within [0, 1], also for 0 and for all.
    """
    if total == 0:
        return None
    share, square = hits / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def _measure_label(scored: ScoredDataset, dataset: Dataset) -> dict[str, Any]:
    known = np.array([len(labels) == 1 for labels in scored.labels], bool)
    scores_NK = scored.scores_NK[known]
    label_N = np.array([labels[0] for labels in scored.labels if len(labels) == 1], np.int64)
    num = len(label_N)
    if num == 0:
        return {
            "num": 0,
            "num_hidden": len(known),
            "intervals": {},
            "per_class": [],
            "groups": {},
            "worst": [],
        }
    scored_N = np.isfinite(scores_NK).all(axis=1)
    hit_N = is_hit(scores_NK, label_N, 1)
    top1 = float(hit_N.mean())
    top5 = float(is_hit(scores_NK, label_N, 5).mean()) if dataset.num_classes > 5 else None
    best_N = rank_classes(np.nan_to_num(scores_NK, nan=-1.0))[:, 0]
    # a column of its own for what could not be scored, so that such examples are in their class's total
    predicted_N = np.where(scored_N, best_N, dataset.num_classes)
    confusion_KK = confusion_matrix(label_N, predicted_N, dataset.num_classes + 1)
    accuracy_K = class_accuracies(confusion_KK)[: dataset.num_classes]
    num_views = _expected_views(scored, known)
    return {
        "num": num,
        "num_hidden": int((~known).sum()),
        "top1": top1,
        "top5": top5,
        "mean_class": mean_class_accuracy(confusion_KK),
        "average": None if top5 is None else average_of_top1_and_top5(top1, top5),
        "challenge_error": None if top5 is None else challenge_error(top1, top5),
        "clip_top1": float(scored.hits_N[known].sum() / num_views),
        "first_clip_top1": float(scored.first_hit_N[known].mean()),
        "intervals": {
            "top1": wilson_interval(hit_N.sum(), num),
            "top5": None if top5 is None else wilson_interval(top5 * num, num),
        },
        "per_class": [
            {
                "label": label,
                "class_name": name,
                "num": int((label_N == label).sum()),
                "value": _number(accuracy_K[label]),
                "interval": wilson_interval(
                    float(hit_N[label_N == label].sum()), int((label_N == label).sum())
                ),
            }
            for label, name in enumerate(dataset.class_names)
        ],
        "groups": {
            group: _measure_group(hit_N, label_N, accuracy_K, labels)
            for group, labels in dataset.class_groups.items()
        },
        "confusion": [
            [int(true), int(predicted) if predicted < dataset.num_classes else None, int(count)]
            for true, predicted in zip(*np.nonzero(confusion_KK), strict=True)
            if (count := confusion_KK[true, predicted])
        ],
        "worst": _find_worst(scores_NK, label_N, np.flatnonzero(known), dataset),
    }


def _expected_views(scored: ScoredDataset, known: NDArray[np.bool_]) -> int:
    """Views of the examples with a label; what could not be read would have had as many as the protocol."""
    views_N = scored.num_views_N[known]
    return max(1, int(np.where(views_N > 0, views_N, scored.protocol.num_views).sum()))


def _measure_group(
    hit_N: NDArray[np.bool_],
    label_N: NDArray[np.int64],
    accuracy_K: NDArray[np.float64],
    labels: Sequence[int],
) -> dict[str, Any]:
    inside_N = np.isin(label_N, list(labels))
    num = int(inside_N.sum())
    values = [value for value in accuracy_K[list(labels)] if math.isfinite(value)]
    return {
        "num": num,
        "top1": float(hit_N[inside_N].mean()) if num else None,
        "mean_class": float(np.mean(values)) if values else None,
        "interval": wilson_interval(float(hit_N[inside_N].sum()), num),
    }


def _find_worst(
    scores_NK: NDArray[np.float64], label_N: NDArray[np.int64], places: NDArray[np.int64], dataset: Dataset
) -> list[dict[str, Any]]:
    """The examples with the least belief in their label: those to look at first."""
    true_N = scores_NK[np.arange(len(label_N)), label_N]
    order = [int(row) for row in np.argsort(true_N, kind="stable") if math.isfinite(true_N[row])]
    worst = []
    for row in order[:NUM_WORST]:
        best = int(rank_classes(scores_NK[row])[0])
        if best == label_N[row]:
            continue
        example = dataset.examples[int(places[row])]
        worst.append(
            {
                "index": int(places[row]),
                "id": example.id,
                "video": example.video,
                "start_seconds": example.start_seconds,
                "end_seconds": example.end_seconds,
                "class_name": dataset.class_names[int(label_N[row])],
                "score": float(true_N[row]),
                "predicted": dataset.class_names[best],
                "predicted_score": float(scores_NK[row, best]),
            }
        )
    return worst


def _measure_labels(scored: ScoredDataset, dataset: Dataset) -> dict[str, Any]:
    target_NK = np.zeros((len(scored), dataset.num_classes), bool)
    for row, labels in enumerate(scored.labels):
        target_NK[row, list(labels)] = True
    scores_NK = np.where(np.isfinite(scored.scores_NK), scored.scores_NK, NOT_SCORED)
    found: dict[str, Any] = {"num": len(scored), "num_hidden": 0, "intervals": {}, "worst": []}
    labelled_N = target_NK.any(axis=1)
    if not labelled_N.any():
        return {**found, "num": 0, "num_hidden": len(scored), "per_class": [], "groups": {}}
    ap_K = average_precisions(scores_NK, target_NK)
    found["mean_ap"] = float(np.nanmean(ap_K))
    found["mean_ap_weighted"] = mean_average_precision(scores_NK, target_NK, "weighted")
    found["mean_ap_videos"] = mean_average_precision(scores_NK, target_NK, "videos")
    found["any_top1"] = any_hit_at_k(scored.scores_NK[labelled_N], target_NK[labelled_N], 1)
    found["any_top5"] = (
        any_hit_at_k(scored.scores_NK[labelled_N], target_NK[labelled_N], 5)
        if dataset.num_classes > 5
        else None
    )
    num_labelled = int(labelled_N.sum())
    found["intervals"] = {"any_top1": wilson_interval(found["any_top1"] * num_labelled, num_labelled)}
    if dataset.name == "charades":
        official = charades.classify(scored.labels, scores_NK)
        found["charades"] = {"mean_ap": _number(official.mean), "weighted": _number(official.weighted)}
    if scored.moments_NTK is not None and any(example.spans for example in dataset.examples):
        found["moments"] = _measure_moments(scored.moments_NTK, dataset)
    found["per_class"] = [
        {
            "label": label,
            "class_name": name,
            "num": int(target_NK[:, label].sum()),
            "value": _number(ap_K[label]),
            "interval": None,
        }
        for label, name in enumerate(dataset.class_names)
    ]
    found["groups"] = {}
    for group, labels in dataset.class_groups.items():
        values = [value for value in ap_K[list(labels)] if math.isfinite(value)]
        found["groups"][group] = {
            "num": int(target_NK[:, list(labels)].any(axis=1).sum()),
            "mean_ap": float(np.mean(values)) if values else None,
        }
    return found


def _measure_moments(moments_NTK: NDArray[np.float64], dataset: Dataset) -> dict[str, Any]:
    """mAP over the 25 moments of each video, by Charades' rule for localisation, for any dataset with spans.

    Classes without a positive moment are left out of `mean_ap`; the official mean, where all 157 have one, is
    the same number. Videos whose length is not known take no part, and are counted.
    """
    rows, truths, num_unknown = [], [], 0
    for example, moments_TK in zip(dataset.examples, moments_NTK, strict=True):
        if example.duration_seconds is None:
            num_unknown += 1
            continue
        spans = [(span.label, span.start_seconds, span.end_seconds) for span in example.spans]
        truths.append(charades.active_moments(spans, example.duration_seconds, dataset.num_classes))
        rows.append(np.where(np.isfinite(moments_TK), moments_TK, NOT_SCORED))
    if not rows:
        return {"mean_ap": None, "weighted": None, "num_videos": 0, "num_unknown": num_unknown}
    active_NK = np.concatenate(truths)
    ap_K = charades.localize(active_NK, np.concatenate(rows)).per_class_K
    num_K = active_NK.sum(axis=0)
    return {
        "mean_ap": float(np.nanmean(ap_K)) if num_K.any() else None,
        "weighted": float(np.nansum(ap_K * num_K) / num_K.sum()) if num_K.any() else None,
        "num_videos": len(rows),
        "num_unknown": num_unknown,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
