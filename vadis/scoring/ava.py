"""AVA's files: ground truth and detections (CSV), the list of classes (pbtxt), excluded timestamps (CSV).

A row is `video,timestamp,x1,y1,x2,y2,class[,person or score]`; a row of two columns is a frame without boxes.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from vadis.metrics.ava import GROUPS, AvaRows, average_precisions
from vadis.metrics.classification import mean_per_group
from vadis.scoring.columns import Columns, read_blocks
from vadis.scoring.files import ScoreFileError, open_text

SOURCES = {
    "official": "ActivityNet, Evaluation/get_ava_performance.py",
    "slowfast": "PySlowFast, slowfast/utils/ava_eval_helper.py",
    "mmaction2": "MMAction2, mmaction/evaluation/functional/ava_utils.py",
}


class FrameNumbers(dict[tuple[str, str], int]):
    """The number of each key frame (video, timestamp), given out at first sight and shared by all tables.

    `902` and `0902` are one frame. The official script compares timestamps to a millionth of a second, the
    toolkits as whole seconds, and refuse others.
    """

    def __init__(self, whole_seconds: bool) -> None:
        super().__init__()
        self.whole_seconds = whole_seconds
        self._canonical: dict[tuple[str, float], int] = {}

    def __missing__(self, key: tuple[str, str]) -> int:
        video, text = key
        try:
            seconds = int(text) if self.whole_seconds else round(float(Decimal(text)), 6)
        except (ValueError, InvalidOperation):
            kind = "whole seconds" if self.whole_seconds else "seconds"
            raise ValueError(f"the timestamp {text!r} is not a number of {kind}") from None
        number = self._canonical.setdefault((video, seconds), len(self._canonical))
        self[key] = number
        return number


def read_labels(path: Path) -> dict[int, str]:
    """The evaluated classes: number and name, from the lines `name: "..."` and `id:` or `label_id:`."""
    names: dict[int, str] = {}
    name = ""
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if found := re.match(r"\s*name:\s*(.*)", text):
                name = found[1].strip().strip("\"'")
            elif found := re.match(r"\s*(?:label_)?id:\s*(.*)", text):
                if not found[1].strip().isdigit():
                    raise ScoreFileError(path, line, f"{found[1].strip()!r} is not the number of a class")
                names[int(found[1])] = name
    if not names:
        raise ScoreFileError(path, 0, "there is no class in this list (lines `name:` and `id:` are expected)")
    return names


def read_rows(path: Path, frames: FrameNumbers, class_ids: set[int], is_truth: bool) -> AvaRows:
    """A table of ground truth or of detections.

    ScoreFileError names the line of a wrong number of columns, of what is not a number, and in ground truth
    of a box of an evaluated class that ends before it begins.
    """

    def parse(columns: Columns) -> list[Any]:
        if columns.width not in (2, 7, 8):
            raise ValueError(f"a row has 2, 7 or 8 columns, not {columns.width}")
        frame_N = columns.keys(frames.__getitem__)
        if columns.width == 2:  # a frame without boxes
            none = np.zeros(0, np.int64)
            return [none, np.zeros((0, 4)), none, np.zeros(0), frame_N]
        box_N4 = np.stack([columns.floats(column) for column in range(2, 6)], axis=1)
        label_N = columns.ints(6)
        turned_N2 = box_N4[:, :2] > box_N4[:, 2:]
        if is_truth and (turned_N2.any(axis=1) & np.isin(label_N, list(class_ids))).any():
            raise ValueError("a box of the ground truth ends before it begins (x1, y1, x2, y2 are expected)")
        score_N = columns.floats(7) if columns.width == 8 else np.ones(len(frame_N))
        return [frame_N, box_N4, label_N, score_N, frame_N]

    parts = read_blocks(path, parse)
    if not parts:
        raise ScoreFileError(path, 0, "there is no row in this table")
    frame, box, label, score, listed = (np.concatenate(part) for part in zip(*parts, strict=True))
    return AvaRows(frame, box, label, score, np.unique(listed))


def read_excluded(path: Path, frames: FrameNumbers) -> list[int]:
    """The key frames of a list of `video,timestamp` that take no part."""

    def parse(columns: Columns) -> list[int]:
        if columns.width != 2:
            raise ValueError(f"a row has 2 columns (video, timestamp), not {columns.width}")
        return [int(number) for number in columns.keys(frames.__getitem__)]

    return [number for part in read_blocks(path, parse) for number in part]


def score_ava(
    truth: Path, detections: Path, labels: Path, excluded: Path | None = None, rule: str = "official"
) -> dict[str, Any]:
    """Frame mAP at IoU 0.5 by one of three rules, per class and per group of classes."""
    names = read_labels(labels)
    frames = FrameNumbers(whole_seconds=rule != "official")
    true_rows = read_rows(truth, frames, set(names), is_truth=True)
    found_rows = read_rows(detections, frames, set(names), is_truth=False)
    left_out = read_excluded(excluded, frames) if excluded else []
    if not np.isin(true_rows.label_N, list(names)).any():
        raise ScoreFileError(truth, 0, f"no row has a class of {labels}")
    ap_C = average_precisions(true_rows, found_rows, list(names), rule, left_out)
    per_class = {names[number]: float(ap) for number, ap in zip(names, ap_C, strict=True)}
    groups = {
        group: [name for number, name in names.items() if first <= number <= last]
        for group, (first, last) in GROUPS.items()
    }
    return {
        "metric": "frame mAP at IoU 0.5",
        "value": float(np.nanmean(ap_C)) if np.isfinite(ap_C).any() else None,
        "per_class": per_class,
        "per_group": mean_per_group(per_class, groups),
        "rule": rule,
        "source": SOURCES[rule],
        "counts": {
            "frames": len(true_rows.listed_F),
            "frames_excluded": len(set(left_out)),
            "boxes": int(np.isin(true_rows.label_N, list(names)).sum()),
            "detections": int(np.isin(found_rows.label_N, list(names)).sum()),
            "detections_outside_frames": int((~np.isin(found_rows.frame_N, true_rows.listed_F)).sum()),
            "classes": len(names),
            "classes_with_boxes": int(np.isin(list(names), true_rows.label_N).sum()),
        },
    }
