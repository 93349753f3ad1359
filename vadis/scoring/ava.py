"""AVA's files: ground truth and detections (CSV), the list of classes (pbtxt), excluded timestamps (CSV).

A row is `video,timestamp,x1,y1,x2,y2,class[,person or score]`; a row of two columns is a frame without boxes.
Reading is by blocks of lines, so that 1.6 million detections take seconds and little memory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vadis.metrics.ava import GROUPS, AvaRows, average_precisions
from vadis.metrics.classification import mean_per_group
from vadis.scoring.files import ScoreFileError, open_text, to_number

SOURCES = {
    "official": "ActivityNet, Evaluation/get_ava_performance.py",
    "slowfast": "PySlowFast, slowfast/utils/ava_eval_helper.py",
    "mmaction2": "MMAction2, mmaction/evaluation/functional/ava_utils.py",
}
ROWS_AT_ONCE = 1 << 16


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

    def parse(rows: list[list[str]]) -> list[Any]:
        return _parse_rows(rows, frames, class_ids, is_truth)

    parts = _read_blocks(path, parse)
    frame, box, label, score, listed = (np.concatenate(part) for part in zip(*parts, strict=True))
    return AvaRows(frame, box.reshape(-1, 4), label, score, np.unique(listed))


def read_excluded(path: Path, frames: FrameNumbers) -> list[int]:
    """The key frames of a list of `video,timestamp` that take no part."""

    def parse(rows: list[list[str]]) -> list[int]:
        for row in rows:
            if len(row) != 2:
                raise ValueError(f"a row has 2 columns (video, timestamp), not {len(row)}")
        return [frames[row[0], row[1]] for row in rows]

    return [number for part in _read_blocks(path, parse) for number in part]


def _read_blocks(path: Path, parse: Callable[[list[list[str]]], Any]) -> list[Any]:
    """Parse a CSV file in blocks of lines; what `parse` complains of is traced to its line."""
    parts = [parse([])]
    try:
        with open_text(path) as file:
            lines = csv.reader(file)
            while rows := list(islice(lines, ROWS_AT_ONCE)):
                parts.append(parse([row for row in rows if row]))
    except (ValueError, csv.Error):
        _trace(path, parse)
        raise
    return parts


def _trace(path: Path, parse: Callable[[list[list[str]]], Any]) -> None:
    """Read again row by row, and raise ScoreFileError at the first that is wrong."""
    with open_text(path) as file:
        lines = csv.reader(file)
        try:
            for row in lines:
                parse([row] if row else [])
        except (ValueError, csv.Error) as error:
            raise ScoreFileError(path, lines.line_num, str(error)) from None


def _parse_rows(
    rows: list[list[str]], frames: FrameNumbers, class_ids: set[int], is_truth: bool
) -> list[Any]:
    """Frame, box, label, score of the rows with a box, and the frames of all rows."""
    listed = [frames[row[0], row[1]] for row in rows if len(row) in (2, 7, 8)]
    if len(listed) != len(rows):
        wrong = next(len(row) for row in rows if len(row) not in (2, 7, 8))
        raise ValueError(f"a row has 2, 7 or 8 columns, not {wrong}")
    with_box = [row for row in rows if len(row) > 2]
    number = np.array(listed, np.int64)[[len(row) > 2 for row in rows]] if rows else np.zeros(0, np.int64)
    box_N4 = np.array([[float(text) for text in row[2:6]] for row in with_box], np.float64).reshape(-1, 4)
    label = np.array([int(row[6]) for row in with_box], np.int64)
    score = np.array([float(row[7]) if len(row) == 8 else 1.0 for row in with_box], np.float64)
    if not np.isfinite(box_N4).all() or not np.isfinite(score).all():
        for row in with_box:
            for text in [*row[2:6], *row[7:]]:
                to_number(text)
    if is_truth:
        turned_N2 = box_N4[:, :2] > box_N4[:, 2:]
        if (turned_N2.any(axis=1) & np.isin(label, list(class_ids))).any():
            raise ValueError("a box of the ground truth ends before it begins (x1, y1, x2, y2 are expected)")
    return [number, box_N4, label, score, np.array(listed, np.int64)]


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
