"""Charades: the annotations (CSV), and submissions for the classification and the localisation task.

A submission line is a video's id, for localisation the number 1 to 25 of the moment, then 157 scores, between
blanks or tabs. Of 158 scores the first 157 count; of two lines of one name the last counts; names that are
not in the ground truth are ignored. If the least number of a moment is 0, all count from 0.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vadis.metrics.charades import NUM_CLASSES, NUM_MOMENTS, active_moments, classify, localize
from vadis.metrics.classification import Floats
from vadis.scoring.files import ScoreFileError, open_text, to_number

Action = tuple[int, float, float]


@dataclass(frozen=True)
class CharadesVideo:
    """One row of the annotations: its actions as (class, first second, last second), and its length."""

    id: str
    actions: tuple[Action, ...]
    length_seconds: float


def read_videos(path: Path) -> list[CharadesVideo]:
    """The annotations, in the order of the file. A video without a length (older files) has NaN."""
    videos = []
    with open_text(path) as file:
        reader = csv.DictReader(file)
        for column in ("id", "actions"):
            if column not in (reader.fieldnames or ()):
                raise ScoreFileError(path, 1, f"the header has no column {column!r}")
        try:
            for row in reader:
                if row["actions"] is None or None in row:
                    raise ValueError("the row and the header differ in their number of columns")
                actions = tuple(_parse_action(text) for text in row["actions"].split(";") if text.strip())
                length = row.get("length") or ""
                videos.append(CharadesVideo(row["id"], actions, to_number(length) if length else math.nan))
        except (ValueError, csv.Error) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise ScoreFileError(path, reader.line_num, str(error)) from None
    return videos


def _parse_action(text: str) -> Action:
    """`c092 11.90 21.20`: a class and its first and last second."""
    parts = text.split()
    if len(parts) != 3 or parts[0][:1] != "c" or not parts[0][1:].isdigit():
        raise ValueError(f"an action is such as 'c092 11.90 21.20', not {text!r}")
    label = int(parts[0][1:])
    if label >= NUM_CLASSES:
        raise ValueError(f"the classes are c000 to c{NUM_CLASSES - 1}, not {parts[0]!r}")
    return label, to_number(parts[1]), to_number(parts[2])


def read_submission(path: Path, with_moments: bool) -> dict[tuple[str, int], Floats]:
    """The scores (157,) of each (video, moment); moments count from 1, and are 0 where there are none."""
    scores: dict[tuple[str, int], Floats] = {}
    first = 2 if with_moments else 1
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            parts = text.split()
            if not parts:
                continue
            if len(parts) - first not in (NUM_CLASSES, NUM_CLASSES + 1):
                what = "an id, a moment" if with_moments else "an id"
                message = f"a line has {what} and {NUM_CLASSES} scores, not {len(parts) - first} scores"
                raise ScoreFileError(path, line, message)
            try:
                moment = int(parts[1]) if with_moments else 0
                row = np.array([float(part) for part in parts[first : first + NUM_CLASSES]])
            except ValueError as error:
                raise ScoreFileError(path, line, str(error)) from None
            if np.isnan(row).any():
                raise ScoreFileError(path, line, "a score is not a number")
            scores.pop((parts[0], moment), None)
            scores[parts[0], moment] = row
    if with_moments and min((moment for _, moment in scores), default=1) == 0:
        return {(video, moment + 1): row for (video, moment), row in scores.items()}
    return scores


def score_charades(truth: Path, submission: Path, task: str = "classify") -> dict[str, Any]:
    """mAP of the task, and the AP weighted by the classes' positives."""
    videos = read_videos(truth)
    if not videos:
        raise ScoreFileError(truth, 0, "there is no video in this file")
    scores = read_submission(submission, with_moments=task == "localize")
    moments = range(1, NUM_MOMENTS + 1) if task == "localize" else range(1)
    keys = [(video.id, moment) for video in videos for moment in moments]
    nothing = np.full(NUM_CLASSES, -np.inf)
    scores_NK = np.stack([scores.get(key, nothing) for key in keys])
    if task == "localize":
        for line, video in enumerate(videos, 2):
            if video.actions and math.isnan(video.length_seconds):
                raise ScoreFileError(truth, line, "the video has no length, which localisation needs")
        active = [active_moments(video.actions, video.length_seconds) for video in videos]
        found = localize(np.concatenate(active), scores_NK)
    else:
        found = classify([{label for label, _, _ in video.actions} for video in videos], scores_NK)
    ids = {video.id for video in videos}
    return {
        "metric": "mAP" if task == "classify" else "mAP per frame",
        "value": found.mean,
        "weighted": found.weighted,
        "per_class": {f"c{label:03d}": ap for label, ap in enumerate(found.per_class_K.tolist())},
        "rule": "official",
        "source": f"Charades, Charades_v1_{task}.m",
        "task": task,
        "counts": {
            "videos": len(videos),
            "videos_without_action": sum(not video.actions for video in videos),
            "rows": len(keys),
            "rows_missing": sum(key not in scores for key in keys),
            "rows_ignored": len(scores) - sum(key in scores for key in set(keys)),
            "videos_unknown": len({video for video, _ in scores} - ids),
            "classes_without_positive": int(np.isnan(found.per_class_K).sum()),
        },
    }
