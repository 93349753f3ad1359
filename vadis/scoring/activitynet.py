"""ActivityNet's JSON: ground truth {"database": ...} and predictions {"results": ...}; Kinetics' challenge.

Detection and proposals need a segment and a score for each prediction, classification a label and a score.
Only the chosen subset of the ground truth counts; a class is what is annotated there. The script asks a
server which videos are blocked; here no video is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vadis.metrics.activitynet import (
    TIOU_THRESHOLDS,
    Segments,
    average_recall,
    class_hits_at_k,
    detection_average_precisions,
    video_average_precisions,
    video_hits_at_k,
)
from vadis.metrics.classification import challenge_error
from vadis.scoring.files import JsonFile, ScoreFileError, read_json

Place = tuple[str | int, ...]
Row = tuple[float, ...]


@dataclass(frozen=True)
class Challenge:
    """Both files as arrays; `classes` in the order of their first appearance, videos as numbers."""

    truth: Segments
    predictions: Segments
    classes: tuple[str, ...]
    counts: dict[str, int]


def read_challenge(
    truth_path: Path, predictions_path: Path, subset: str, with_spans: bool, with_labels: bool = True
) -> Challenge:
    """Read ground truth and predictions. ValueError where the ground truth has no such subset."""
    truth_file, predictions_file = read_json(truth_path), read_json(predictions_path)
    videos: dict[str, int] = {}
    classes: dict[str, int] = {}
    rows: list[Row] = []
    subsets = set()
    for video in truth_file.get(("database",), dict):
        subsets.add(truth_file.get(("database", video, "subset"), str))
        if truth_file.content["database"][video]["subset"] == subset:
            place: Place = ("database", video, "annotations")
            for label, *span, _ in _read_items(truth_file, place, with_spans, True, with_scores=False):
                number = classes.setdefault(label, len(classes))
                rows.append((videos.setdefault(video, len(videos)), number, *span, 1.0))
    if not rows:
        raise ValueError(
            f"{truth_path}: nothing is annotated in the subset {subset!r}; there are {sorted(subsets)}"
        )
    truth, num_true = _to_segments(rows), len(videos)
    rows = []
    for video in predictions_file.get(("results",), dict):
        place = ("results", video)
        number = videos.setdefault(video, len(videos))
        items = _read_items(predictions_file, place, with_spans, with_labels, with_scores=True)
        for index, (label, *span_and_score) in enumerate(items):
            if with_labels and label not in classes:
                message = f"{label!r} is not a class of the subset {subset!r}"
                predictions_file.fail((*place, index, "label"), message)
            rows.append((number, classes[label] if with_labels else 0, *span_and_score))
    predictions = _to_segments(rows)
    found = np.unique(predictions.video_N)
    counts = {
        "videos": num_true,
        "videos_missing": num_true - int((found < num_true).sum()),
        "videos_outside_subset": int((found >= num_true).sum()),
        "annotations": len(truth.video_N),
        "predictions": len(predictions.video_N),
        "classes": len(classes),
        "classes_without_prediction": len(classes) - len(np.unique(predictions.label_N)),
    }
    return Challenge(truth, predictions, tuple(classes), counts)


def _read_items(
    file: JsonFile, place: Place, with_spans: bool, with_labels: bool, with_scores: bool
) -> list[tuple[str, float, float, float]]:
    """Label, first and last second, score of each item of a video; what is not asked for is empty or 0."""
    items = file.get(place, list)
    try:  # the common case at full speed; what is odd is then looked at piece by piece
        rows = [
            (
                item["label"] if with_labels else "",
                *(item["segment"] if with_spans else (0.0, 0.0)),
                item["score"] if with_scores else 0.0,
            )
            for item in items
        ]
        usual = all(
            len(row) == 4 and type(row[0]) is str and all(type(n) in (int, float) for n in row[1:])
            for row in rows
        )
        if usual and all(math.isfinite(row[1] + row[2] + row[3]) for row in rows):
            return rows
    except (KeyError, TypeError):
        pass
    rows = []
    for index in range(len(items)):
        here = (*place, index)
        label = file.get((*here, "label"), str) if with_labels else ""
        start_seconds = end_seconds = 0.0
        if with_spans:
            num_ends = len(file.get((*here, "segment"), list))
            if num_ends != 2:
                file.fail(
                    (*here, "segment"), f"a segment has a first and a last second, not {num_ends} numbers"
                )
            start_seconds, end_seconds = (file.number((*here, "segment", end)) for end in (0, 1))
        score = file.number((*here, "score")) if with_scores else 0.0
        rows.append((label, start_seconds, end_seconds, score))
    return rows


def _to_segments(rows: list[Row]) -> Segments:
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Segments(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:4], table[:, 4])


def score_activitynet(
    truth: Path,
    predictions: Path,
    task: str = "detection",
    subset: str = "validation",
    max_proposals: float = 100,
) -> dict[str, Any]:
    """Average mAP of detections, mAP and hit@k of untrimmed classification, or AR-AN of proposals.

    max_proposals: the average number of proposals a video up to which the curve goes, a factor of the
    fraction of the proposals that is taken.
    """
    with_labels = task != "proposals"
    read = read_challenge(truth, predictions, subset, task != "classification", with_labels)
    shared = {"rule": "official", "task": task, "subset": subset, "counts": read.counts}
    if task == "detection":
        ap_CT = detection_average_precisions(read.truth, read.predictions, len(read.classes))
        return {
            "metric": "average mAP at temporal IoU 0.5:0.05:0.95",
            "value": ap_CT.mean(axis=0).mean(),
            "per_class": dict(zip(read.classes, ap_CT.mean(axis=1).tolist(), strict=True)),
            "source": "ActivityNet, Evaluation/eval_detection.py",
            **shared,
            "tiou": TIOU_THRESHOLDS,
            "mAP": ap_CT.mean(axis=0),
            "ap": dict(zip(read.classes, ap_CT.tolist(), strict=True)),
        }
    if task == "classification":
        ap_C = video_average_precisions(read.truth, read.predictions, len(read.classes))
        return {
            "metric": "mAP of untrimmed videos",
            "value": ap_C.mean(),
            "per_class": dict(zip(read.classes, ap_C.tolist(), strict=True)),
            "source": "ActivityNet, Evaluation/eval_classification.py",
            **shared,
            **{f"top{k}": _hits(read, k) for k in (1, 3, 5)},
        }
    for name in ("classes", "classes_without_prediction"):
        del read.counts[name]
    try:
        curve = average_recall(read.truth, read.predictions, max_proposals)
    except ValueError as error:
        raise ScoreFileError(predictions, 0, str(error)) from None
    return {
        "metric": f"area under average recall over {max_proposals:g} proposals a video, percent",
        "value": curve.area,
        "per_class": {},
        "source": "ActivityNet, Evaluation/eval_proposal.py",
        **shared,
        "tiou": TIOU_THRESHOLDS,
        "avg_recall": curve.average_recall_100,
        "proposals_per_video": curve.num_proposals_100,
        "recall": curve.recall_T100,
    }


def _hits(read: Challenge, k: int) -> dict[str, float]:
    hit, share = video_hits_at_k(read.truth, read.predictions, k)
    return {"hit": hit, "avg_hit": share, "error": 1 - hit}


def score_kinetics(truth: Path, predictions: Path, subset: str = "validation") -> dict[str, Any]:
    """The Kinetics challenge: the average of top-1 and top-5 error; per class, that of its videos."""
    read = read_challenge(truth, predictions, subset, with_spans=False)
    top1, top5 = _hits(read, 1), _hits(read, 5)
    errors_C = np.zeros(len(read.classes))
    for k in (1, 5):
        _, label, hit = class_hits_at_k(read.truth, read.predictions, k)
        errors_C += 0.5 * np.bincount(label, ~hit) / np.bincount(label)
    ap_C = video_average_precisions(read.truth, read.predictions, len(read.classes))
    return {
        "metric": "average of top-1 and top-5 error",
        "value": challenge_error(top1["hit"], top5["hit"]),
        "per_class": dict(zip(read.classes, errors_C.tolist(), strict=True)),
        "rule": "official",
        "source": "ActivityNet, Evaluation/eval_kinetics.py",
        "subset": subset,
        "top1": top1,
        "top5": top5,
        "mAP": ap_C.mean(),
        "ap": dict(zip(read.classes, ap_C.tolist(), strict=True)),
        "counts": read.counts,
    }
