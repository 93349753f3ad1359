"""Files for the field's challenges, from scores: what `vadis score` and the evaluation servers read.

One `write_...` function a format; `write_submission` takes a dataset and its scores and chooses by name.
Scores are written with every digit that they have: rounding makes ties, and ties are scored by chance. A
video without scores (a row of NaN: it could not be read) is left out of the file, and so counts as missing.

| kind | file | source of the format |
|---|---|---|
| `kinetics` | JSON, the best classes of a video | ActivityNet challenges 2017 to 2020, the guest task |
| `activitynet_classification`, `_detection`, `_proposals` | JSON | ActivityNet, `Evaluation/` |
| `charades_classify`, `charades_localize` | text, 157 scores a line | `test_submission_*.txt` of Charades |
| `ava` | CSV, one row for each (box, class) | ActivityNet, `get_ava_performance.py` |
| `moments` | text, five classes a line | Moments in Time challenge 2018 |
| `something_v1`, `something_v2` | `id;label`, `id;` and five ids | TSM; not verified with the server |
| tubes | JSON of ours | `vadis.scoring.tubes` |

Shapes: N examples, K classes, T moments, M boxes.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vadis.metrics.charades import NUM_CLASSES, NUM_MOMENTS
from vadis.metrics.classification import Floats
from vadis.metrics.tubes import ActVideo, Tube
from vadis.records import Dataset, Span
from vadis.score_files import read_scores
from vadis.scoring.files import ScoreFileError
from vadis.video.write import part_file

FilePath = str | os.PathLike[str]
KINETICS_VERSION = "KINETICS VERSION 1.0"
ACTIVITYNET_VERSION = "VERSION 1.3"


def write_kinetics(
    path: FilePath,
    ids: Sequence[str],
    scores_NK: ArrayLike,
    class_names: Sequence[str],
    *,
    top_k: int | None = 5,
    version: str = KINETICS_VERSION,
    external_data: Mapping[str, Any] | None = None,
) -> int:
    """The best `top_k` classes (None: all) of each video, best first. Returns how many videos were written.

    ids: YouTube ids, each once. `external_data` states what else was trained on, {"used": bool, "details":
    str}. The challenge counts hit@1 and hit@5, for which five are enough; the mAP that `vadis score
    kinetics` prints too needs all. Raises ValueError for ids that come twice and shapes that do not fit.
    """
    return write_activitynet_classification(
        path, ids, scores_NK, class_names, top_k=top_k, version=version, external_data=external_data
    )


def write_activitynet_classification(
    path: FilePath,
    ids: Sequence[str],
    scores_NK: ArrayLike,
    class_names: Sequence[str],
    *,
    top_k: int | None = None,
    version: str = ACTIVITYNET_VERSION,
    external_data: Mapping[str, Any] | None = None,
) -> int:
    """Classes of untrimmed videos with their scores, best first; arguments as for `write_kinetics`."""
    scores = _check(ids, scores_NK, len(class_names))
    results = {}
    for video, scores_K in _scored(ids, scores):
        order = np.argsort(-scores_K, kind="stable")[:top_k]
        results[video] = [{"label": class_names[k], "score": float(scores_K[k])} for k in order]
    _write_results(path, results, version, external_data)
    return len(results)


def write_activitynet_detection(
    path: FilePath,
    spans: Mapping[str, Iterable[Span]],
    *,
    version: str = ACTIVITYNET_VERSION,
    external_data: Mapping[str, Any] | None = None,
) -> int:
    """Labelled intervals in seconds, with scores, of each video. Returns how many intervals were written.

    Raises ValueError for a span without a score.
    """
    results = {
        video: [
            {
                "label": span.class_name,
                "score": _number(span.score, video),
                "segment": [span.start_seconds, span.end_seconds],
            }
            for span in found
        ]
        for video, found in spans.items()
    }
    _write_results(path, results, version, external_data)
    return sum(map(len, results.values()))


def write_activitynet_proposals(
    path: FilePath,
    proposals: Mapping[str, ArrayLike],
    *,
    version: str = ACTIVITYNET_VERSION,
    external_data: Mapping[str, Any] | None = None,
) -> int:
    """Intervals without a class: rows of first second, last second, score for each video (M, 3)."""
    results = {}
    for video, rows in proposals.items():
        table = np.asarray(rows, np.float64).reshape(-1, 3)
        results[video] = [
            {"score": _number(score, video), "segment": [start, end]} for start, end, score in table.tolist()
        ]
    _write_results(path, results, version, external_data)
    return sum(map(len, results.values()))


def write_charades_classify(path: FilePath, ids: Sequence[str], scores_NK: ArrayLike) -> int:
    """A line a video: its id and 157 scores. Returns how many lines were written."""
    scores = _check(ids, scores_NK, NUM_CLASSES)
    lines = [f"{video} {_join(scores_K)}" for video, scores_K in _scored(ids, scores)]
    _write_text(path, lines)
    return len(lines)


def write_charades_localize(path: FilePath, ids: Sequence[str], scores_NTK: ArrayLike) -> int:
    """A line a moment: the video's id, 1 to 25, and 157 scores. Returns how many lines were written.

    scores_NTK: the 25 moments 0, 1/25, ... 24/25 of each video (`vadis.evaluation.dense.charades_moments`).
    """
    scores = np.asarray(scores_NTK, np.float64)
    if scores.shape != (len(ids), NUM_MOMENTS, NUM_CLASSES):
        wanted = (len(ids), NUM_MOMENTS, NUM_CLASSES)
        raise ValueError(f"localisation needs scores of shape {wanted}, not {scores.shape}")
    _check(ids, scores.reshape(len(ids), -1), NUM_MOMENTS * NUM_CLASSES)
    lines = [
        f"{video} {moment} {_join(scores_K)}"
        for video, scores_TK in zip(ids, scores, strict=True)
        for moment, scores_K in enumerate(scores_TK, 1)
        if not np.isnan(scores_K).any()
    ]
    _write_text(path, lines)
    return len(lines)


@dataclass(frozen=True)
class KeyframeBoxes:
    """The detections of one key frame of AVA: boxes_M4 (x1, y1, x2, y2 in [0, 1]) and a score for each class.

    class_ids: the numbers of the list of actions, from 1, in the order of scores_MK's columns.
    """

    video: str
    timestamp: float
    boxes_M4: Floats
    scores_MK: Floats


def write_ava(
    path: FilePath, keyframes: Iterable[KeyframeBoxes], class_ids: Sequence[int], *, min_score: float = 0.0
) -> int:
    """A row for each (box, class): video, second, x1, y1, x2, y2, class, score. Returns how many.

    class_ids: the number of each column of scores_MK in the list of actions (1 to 80). min_score: rows with
    less are left out. A whole second has four digits ("0902"), as in the annotations.
    """
    lines = []
    for frame in keyframes:
        boxes, scores = np.asarray(frame.boxes_M4, np.float64), np.asarray(frame.scores_MK, np.float64)
        if boxes.shape != (len(scores), 4) or scores.shape[1:] != (len(class_ids),):
            raise ValueError(
                f"{frame.video} at {frame.timestamp} s: boxes are {boxes.shape}, scores {scores.shape}, "
                f"classes {len(class_ids)}"
            )
        for box_4, scores_K in zip(boxes.tolist(), scores.tolist(), strict=True):
            head = ",".join([frame.video, _timestamp(frame.timestamp), *map(repr, box_4)])
            lines += [
                f"{head},{number},{score!r}"
                for number, score in zip(class_ids, scores_K, strict=True)
                if score >= min_score
            ]
    _write_text(path, lines)
    return len(lines)


def write_moments(
    path: FilePath, files: Sequence[str], scores_NK: ArrayLike, class_names: Sequence[str]
) -> int:
    """A line a video: its file and five classes, best first, between blanks."""
    scores = _check(files, scores_NK, len(class_names))
    blanks = [name for name in (*files, *class_names) if any(letter.isspace() for letter in name)]
    if blanks:
        raise ValueError(f"a name with a blank cannot stand in this format: {blanks[0]!r}")
    lines = [
        " ".join([video, *(class_names[k] for k in np.argsort(-scores_K, kind="stable")[:5])])
        for video, scores_K in _scored(files, scores)
    ]
    _write_text(path, lines)
    return len(lines)


def write_something(
    path: FilePath,
    ids: Sequence[str],
    scores_NK: ArrayLike,
    class_names: Sequence[str] | None = None,
) -> int:
    """Something-Something: `id;label` with class_names (version 1), else `id;` and the five best label
    numbers.

    Both forms are those of TSM's code, which was used for entries; the server's own rule is not verified.
    """
    width = np.asarray(scores_NK).shape[-1] if class_names is None else len(class_names)
    scores = _check(ids, scores_NK, width)
    lines = []
    for video, scores_K in _scored(ids, scores):
        order = np.argsort(-scores_K, kind="stable")[:5]
        best = [str(k) for k in order] if class_names is None else [class_names[order[0]]]
        lines.append(";".join([video, *best]))
    _write_text(path, lines)
    return len(lines)


def write_act_tubes(
    path: FilePath,
    labels: Sequence[str],
    tubelet_frames: int,
    videos: Mapping[str, ActVideo],
    resolutions: Mapping[str, tuple[int, int]] | None = None,
) -> int:
    """Ground truth and tubelets of each video, for `vadis score tubes --rule act`; resolution is (h, w)."""
    document = {
        "K": tubelet_frames,
        "labels": list(labels),
        "videos": {
            name: {
                "nframes": video.num_frames,
                **({"resolution": list(resolutions[name])} if resolutions else {}),
                "gttubes": {
                    str(label): [tube.boxes_T5.tolist() for tube in tubes]
                    for label, tubes in video.truth.items()
                },
                "tubelets": {str(frame): rows.tolist() for frame, rows in video.tubelets.items()},
            }
            for name, video in videos.items()
        },
    }
    _write_json(path, document)
    return len(videos)


def write_ucf24_tubes(
    path: FilePath,
    labels: Sequence[str],
    videos: Mapping[str, tuple[Mapping[int, Sequence[Tube]], Sequence[tuple[int, Tube]]]],
) -> int:
    """Ground truth by label and detections (label, tube) of each video, for `--rule ucf24`.

    Tubes are rows of frame (from 1, without gaps), x, y, width, height; labels count from 0.
    """

    def tube_of(label: int, tube: Tube) -> dict[str, Any]:
        frames = tube.boxes_T5[:, 0]
        if len(frames) == 0 or (np.diff(frames) != 1).any():
            raise ValueError("a tube of this format has one box for each frame from its first to its last")
        return {
            "class": label + 1,
            "sf": int(frames[0]),
            "ef": int(frames[-1]),
            "boxes_xywh": tube.boxes_T5[:, 1:].tolist(),
        }

    document = {
        "labels": list(labels),
        "videos": {
            name: {
                "gt": [tube_of(label, tube) for label, tubes in truth.items() for tube in tubes],
                "det": [{**tube_of(label, tube), "score": tube.score} for label, tube in found],
            }
            for name, (truth, found) in videos.items()
        },
    }
    _write_json(path, document)
    return len(videos)


Writer = Callable[[FilePath, Sequence[str], Floats, Sequence[str]], int]
"""path, ids, scores, class_names -> how many."""

CLIP_ID = re.compile(r"(.+)_\d{6}_\d{6}")  # a clip of Kinetics: the video, its first and its last second


def _kinetics(path: FilePath, ids: Sequence[str], scores_NK: Floats, class_names: Sequence[str]) -> int:
    videos = [match[1] if (match := CLIP_ID.fullmatch(name)) else name for name in ids]
    return write_kinetics(path, videos, scores_NK, class_names)


def _something_v2(path: FilePath, ids: Sequence[str], scores_NK: Floats, class_names: Sequence[str]) -> int:
    return write_something(path, ids, scores_NK)


KINDS: dict[str, Writer] = {
    "kinetics": _kinetics,
    "activitynet_classification": write_activitynet_classification,
    "charades_classify": lambda path, ids, scores, names: write_charades_classify(path, ids, scores),
    "charades_localize": lambda path, ids, scores, names: write_charades_localize(path, ids, scores),
    "moments": write_moments,
    "something_v1": write_something,
    "something_v2": _something_v2,
}
"""What can be written from scores alone; boxes, intervals and tubes have functions of their own."""


def kind_for(dataset: Dataset) -> str:
    """The kind of submission that a dataset's challenge takes; ValueError where it has none here."""
    for kind in KINDS:
        if dataset.name.startswith(kind.partition("_")[0]) and not kind.startswith("something"):
            return kind
    if dataset.name in KINDS:
        return dataset.name
    raise ValueError(
        f"{dataset.name} has no challenge whose format is known here; there are {', '.join(KINDS)}"
    )


def write_submission(kind: str | None, path: FilePath, dataset: Dataset, scores_NK: ArrayLike) -> int:
    """Write the scores of a dataset's examples as a challenge takes them. Returns how many lines or videos.

    kind: one of `KINDS`; None for the one of the dataset (`kind_for`). scores_NK: in the order of the
    dataset's examples, with rows of NaN where a video could not be read; (N, 25, K) for `charades_localize`.
    Raises ValueError for an unknown kind and for shapes that do not fit.
    """
    kind = kind_for(dataset) if kind is None else kind
    ids = [example.video if kind == "moments" else example.id for example in dataset.examples]
    return _writer(kind)(path, ids, np.asarray(scores_NK, np.float64), dataset.class_names)


def _writer(kind: str) -> Writer:
    if kind not in KINDS:
        raise ValueError(f"no submission is of the kind {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind]


def run_submission(scores: Path, kind: str, out: Path) -> int:
    """`vadis score submission`: from the file of `vadis evaluate --save-scores`. Returns the exit code.

    Raises DataError where the file is not one of those, ScoreFileError where it lacks what the kind needs.
    """
    write = _writer(kind)
    found = read_scores(scores)
    wanted = found.moments_NTK if kind == "charades_localize" else found.scores_NK
    if wanted is None:
        raise ScoreFileError(scores, 0, "no scores of moments are in it; evaluate with --protocol dense")
    number = write(out, found.names, wanted, found.class_names)
    left_out = len(found) - number // (NUM_MOMENTS if kind == "charades_localize" else 1)
    sys.stderr.write(f"wrote {out}: {number:,} {'lines' if out.suffix != '.json' else 'videos'}")
    sys.stderr.write(f"; {left_out:,} videos without scores are left out\n" if left_out else "\n")
    return 0


def _check(ids: Sequence[str], scores_NK: ArrayLike, num_classes: int) -> Floats:
    scores = np.asarray(scores_NK, np.float64)
    if scores.shape != (len(ids), num_classes):
        raise ValueError(
            f"{len(ids)} examples of {num_classes} classes need as many scores, not {scores.shape}"
        )
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if list(ids).count(name) > 1)
        raise ValueError(f"{twice!r} comes twice: a submission names each video once")
    return scores


def _scored(ids: Sequence[str], scores_NK: Floats) -> Iterable[tuple[str, Floats]]:
    """Each video with its scores; those without are left out."""
    for video, scores_K in zip(ids, scores_NK, strict=True):
        if not np.isnan(scores_K).any():
            yield video, scores_K


def _number(score: float | None, video: str) -> float:
    if score is None or not math.isfinite(score):
        raise ValueError(f"{video}: a prediction needs a finite score, not {score}")
    return float(score)


def _timestamp(seconds: float) -> str:
    return f"{int(seconds):04d}" if seconds == int(seconds) else repr(float(seconds))


def _join(scores_K: Floats) -> str:
    return " ".join(map(repr, scores_K.tolist()))


def _write_results(
    path: FilePath,
    results: Mapping[str, Any],
    version: str,
    external_data: Mapping[str, Any] | None,
) -> None:
    external = dict(external_data) if external_data is not None else {"used": False, "details": ""}
    _write_json(path, {"version": version, "results": results, "external_data": external})


def _write_json(path: FilePath, document: Any) -> None:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ValueError(f"{os.fspath(path)}: a score is not a finite number") from None
    _write_text(path, [text])


def _write_text(path: FilePath, lines: Iterable[str]) -> None:
    """The whole file or none of it."""
    with part_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
