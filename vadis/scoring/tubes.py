"""Tubes, where the field has no file format: one JSON of ours holds ground truth and detections.

Rule `act`: {"K": 6, "labels": [...], "videos": {name: {"nframes": n, "resolution": [h, w],
"gttubes": {label: [[[frame, x1, y1, x2, y2] ...] ...]}, "tubelets": {first frame: [[4K numbers, score of
the background, of each label] ...]}}}}. Rule `ucf24`: {"labels": [...], "videos": {name: {"gt": [{"class":
from 1, "sf": first, "ef": last, "boxes_xywh": [[x, y, w, h] ...]}], "det": [the same with "score"]}}}.
Frames count from 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vadis.metrics.classification import Floats
from vadis.metrics.tubes import (
    VIDEO_THRESHOLDS,
    ActVideo,
    Tube,
    frame_average_precisions,
    link_tubelets,
    ucf24_average_precisions,
    video_average_precisions,
)
from vadis.scoring.files import JsonFile, read_json

Place = tuple[str | int, ...]
SOURCES = {
    "act": "ACT-detector, act-detector-scripts/ACT.py",
    "ucf24": "realtime-action-detection, online-tubes/eval/get_PR_curve.m",
}


def _table(file: JsonFile, place: Place, num_columns: int) -> Floats:
    """A list of rows of finite numbers as an array of shape (N, num_columns)."""
    rows = file.get(place, list)
    try:
        table = np.array(rows, np.float64).reshape(len(rows), num_columns)
        if np.isfinite(table).all() and all(len(row) == num_columns for row in rows):
            return table
    except (ValueError, TypeError):
        pass
    for index in range(len(rows)):
        row = file.get((*place, index), list)
        if len(row) != num_columns:
            file.fail((*place, index), f"a row has {num_columns} numbers, not {len(row)}")
        for column in range(num_columns):
            file.number((*place, index, column))
    raise AssertionError("a table that cannot be read has a wrong row")


def _label(file: JsonFile, place: Place, text: str, num_labels: int) -> int:
    if not text.isdigit() or int(text) >= num_labels:
        file.fail(place, f"labels are 0 to {num_labels - 1}, not {text!r}")
    return int(text)


def read_act(path: Path) -> tuple[list[str], int, dict[str, ActVideo]]:
    """Labels, frames of a tubelet, and the videos of a file of the rule `act`."""
    file = read_json(path)
    labels = [file.get(("labels", i), str) for i in range(len(file.get(("labels",), list)))]
    K = file.get(("K",), int)
    if K < 1:
        file.fail(("K",), f"a tubelet has at least one frame, not {K}")
    videos = {}
    for name in file.get(("videos",), dict):
        place: Place = ("videos", name)
        truth: dict[int, list[Tube]] = {}
        for text in file.get((*place, "gttubes"), dict):
            label = _label(file, (*place, "gttubes", text), text, len(labels))
            for index in range(len(file.get((*place, "gttubes", text), list))):
                here = (*place, "gttubes", text, index)
                boxes_T5 = _table(file, here, 5)
                if len(boxes_T5) == 0 or (np.diff(boxes_T5[:, 0]) != 1).any():
                    file.fail(here, "a tube has one box for each frame of its interval")
                truth.setdefault(label, []).append(Tube(boxes_T5))
        tubelets = {}
        for text in file.get((*place, "tubelets"), dict):
            if not text.isdigit() or int(text) < 1:
                file.fail((*place, "tubelets", text), f"frames count from 1: {text!r}")
            tubelets[int(text)] = _table(file, (*place, "tubelets", text), 4 * K + 1 + len(labels))
        videos[name] = ActVideo(file.get((*place, "nframes"), int), truth, tubelets)
    return labels, K, videos


def read_ucf24(
    path: Path,
) -> tuple[list[str], list[tuple[dict[int, list[Tube]], list[tuple[int, Tube]]]]]:
    """Labels, and each video's true tubes by class and detections, of a file of the rule `ucf24`."""
    file = read_json(path)
    labels = [file.get(("labels", i), str) for i in range(len(file.get(("labels",), list)))]
    videos = []
    for name in file.get(("videos",), dict):
        truth: dict[int, list[Tube]] = {}
        for index in range(len(file.get(("videos", name, "gt"), list))):
            label, tube = _read_xywh(file, ("videos", name, "gt", index), len(labels), 1.0)
            truth.setdefault(label, []).append(tube)
        found = []
        for index in range(len(file.get(("videos", name, "det"), list))):
            place = ("videos", name, "det", index)
            found.append(_read_xywh(file, place, len(labels), file.number((*place, "score"))))
        videos.append((truth, found))
    return labels, videos


def _read_xywh(file: JsonFile, place: Place, num_labels: int, score: float) -> tuple[int, Tube]:
    label = file.get((*place, "class"), int)
    if not 1 <= label <= num_labels:
        file.fail((*place, "class"), f"classes are 1 to {num_labels}, not {label}")
    first, last = file.get((*place, "sf"), int), file.get((*place, "ef"), int)
    boxes_T4 = _table(file, (*place, "boxes_xywh"), 4)
    if last < first or len(boxes_T4) != last - first + 1:
        message = f"frames {first} to {last} need {max(last - first + 1, 1)} boxes, not {len(boxes_T4)}"
        file.fail((*place, "boxes_xywh"), message)
    boxes_T5 = np.column_stack([np.arange(first, last + 1), boxes_T4])
    return label - 1, Tube(boxes_T5, score)


def _name(threshold: float) -> str:
    return f"{threshold:.2f}"


def score_tubes(path: Path, rule: str = "act", with_tubes: bool = True) -> dict[str, Any]:
    """Video mAP at each overlap; by the rule `act` also frame mAP, and the tubes that were linked.

    A class without ground truth has no figure by `act`, and is left out of its means; by `ucf24` it has 0.
    """
    if rule == "ucf24":
        labels, pairs = read_ucf24(path)
        ap = {t: ucf24_average_precisions(pairs, len(labels), t) for t in VIDEO_THRESHOLDS}
        num_true = sum(len(tubes) for truth, _ in pairs for tubes in truth.values())
        num_found = sum(len(found) for _, found in pairs)
        counts = {"videos": len(pairs), "tubes": num_true, "detections": num_found}
        return _video_figures(ap, labels, rule) | {"counts": counts}
    labels, K, videos = read_act(path)
    each = list(videos.values())
    linked = [{label: link_tubelets(video, K, label) for label in range(len(labels))} for video in each]
    ap = {t: video_average_precisions(linked, each, len(labels), t) for t in VIDEO_THRESHOLDS}
    frame_ap = frame_average_precisions(each, K, len(labels))
    stable_ap = frame_average_precisions(each, K, len(labels), ties="stable")
    tubes = {
        name: {
            str(label): [{"score": tube.score, "tube": tube.boxes_T5} for tube in by_class[label]]
            for label in by_class
        }
        for name, by_class in zip(videos, linked, strict=True)
    }
    return {
        **_video_figures(ap, labels, rule),
        "frame_mAP@0.5": _mean(frame_ap),
        "frame_mAP@0.5_stable": _mean(stable_ap),
        "frameAP@0.5": dict(zip(labels, frame_ap.tolist(), strict=True)),
        "counts": {
            "videos": len(videos),
            "tubes": sum(len(tubes) for video in each for tubes in video.truth.values()),
            "tubelets": sum(len(rows) for video in each for rows in video.tubelets.values()),
            "linked_tubes": sum(len(tubes) for by_class in linked for tubes in by_class.values()),
        },
        **({"tubes": tubes} if with_tubes else {}),
    }


def _mean(ap_L: Floats) -> float | None:
    return float(np.nanmean(ap_L)) if np.isfinite(ap_L).any() else None


def _video_figures(ap: dict[float, Floats], labels: list[str], rule: str) -> dict[str, Any]:
    means = {_name(threshold): _mean(ap_L) for threshold, ap_L in ap.items()}
    from_half = [_mean(ap_L) for threshold, ap_L in ap.items() if threshold >= 0.5]
    overall = np.mean([np.nan if value is None else value for value in from_half])
    return {
        "metric": "video mAP at 0.5",
        "value": means[_name(0.5)],
        "per_class": dict(zip(labels, ap[0.5].tolist(), strict=True)),
        "rule": rule,
        "source": SOURCES[rule],
        "video_mAP": means,
        "video_mAP_0.5:0.95": float(overall),
        "videoAP": {
            _name(threshold): dict(zip(labels, ap_L.tolist(), strict=True)) for threshold, ap_L in ap.items()
        },
    }
