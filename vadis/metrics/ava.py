"""AVA: frame mAP at IoU 0.5, by the official rule and by the two rules that toolkits use instead.

A detection is a box in a key frame, a class and a score. It is right if the box of its class in that frame
that it overlaps most has an IoU of at least 0.5 and no earlier detection took that box; it never falls
through to the second-best box. Precision over recall is then summed under its envelope (PASCAL VOC).

The three rules differ in what reaches that comparison (`RULES`), and give 0.472, 0.370 and 0.708 on one
small file. The official script takes the 50 best rows of a frame over all classes, in descending score, and
ignores frames that the ground truth does not list. PySlowFast takes all rows in the order of the file.
MMAction2 computes in float32, looks only at frames with ground truth, leaves out classes without detections,
and still counts the boxes of excluded frames as missed.

Equal scores: within a frame the official script orders them by how its heap happens to lie, which is
repeated here exactly; over all frames it sorts with an unstable sort and reverses. The stable form of that
is used, so of two equal scores the later one comes first.

Legend: N rows, C evaluated classes, F key frames, E excluded key frames.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.metrics.classification import Bools, Floats, Ints, voc_average_precision

IOU_THRESHOLD = 0.5
PAIRS_AT_ONCE = 1 << 20  # pairs of boxes compared in one go: bounds the memory, about 100 MB

GROUPS = {"pose": (1, 14), "object": (15, 63), "person": (64, 80)}
"""First and last class of AVA's three groups: poses, with objects, with persons."""


@dataclass(frozen=True)
class AvaRows:
    """A table in AVA's format, one row for each (box, class), in the order of the file.

    Key frames are numbers that the caller gives; the same number means the same frame in every table.
    `listed_F` are all frames that the file names, also those of other classes and without a box. `box_N4` is
    x1, y1, x2, y2 in [0, 1]. In ground truth the score is the eighth column (a person's number) or 1.
    """

    frame_N: Ints
    box_N4: Floats
    label_N: Ints
    score_N: Floats
    listed_F: Ints

    def pick(self, keep: Ints | Bools) -> AvaRows:
        """The rows of an index or of a mask of shape (N,); the listed frames stay."""
        return AvaRows(
            self.frame_N[keep], self.box_N4[keep], self.label_N[keep], self.score_N[keep], self.listed_F
        )


@dataclass(frozen=True)
class AvaRule:
    """What distinguishes the three implementations."""

    max_rows_per_frame: int | None  # over all classes
    order: Literal["heap", "score", "file"]  # of the rows within a frame
    frames: Literal["listed", "labelled", "all"]  # whose detections count
    drops_empty_boxes: bool  # x1 >= x2 or y1 >= y2
    precision: type[np.float32] | type[np.float64]
    counts_excluded_truth: bool
    undetected_class: float  # its average precision


RULES = {
    "official": AvaRule(50, "heap", "listed", True, np.float64, False, 0.0),
    "slowfast": AvaRule(None, "file", "all", True, np.float64, False, 0.0),
    "mmaction2": AvaRule(None, "score", "labelled", False, np.float32, True, float("nan")),
}


def average_precisions(
    truth: AvaRows,
    detections: AvaRows,
    class_ids_C: ArrayLike,
    rule: str = "official",
    excluded_E: ArrayLike = (),
) -> Floats:
    """The average precision of each evaluated class; its `np.nanmean` is the frame mAP.

    class_ids_C: rows of other classes are ignored. excluded_E: key frames that are taken out of both tables
    (the official script has no such option and wants them removed from its files, which is the same).
    NaN for a class without ground truth. Returns (C,).
    ValueError where a box of the ground truth ends before it begins.
    """
    how = RULES[rule]
    class_ids = np.asarray(class_ids_C, np.int64)
    excluded = np.asarray(excluded_E, np.int64)
    truth = truth.pick(np.isin(truth.label_N, class_ids))
    detections = detections.pick(np.isin(detections.label_N, class_ids))
    wrong = np.flatnonzero((truth.box_N4[:, :2] > truth.box_N4[:, 2:]).any(axis=1))
    if len(wrong):
        box = truth.box_N4[wrong[0]].tolist()
        raise ValueError(f"a box of the ground truth ends before it begins: {box}")
    counted = truth
    truth = truth.pick(~np.isin(truth.frame_N, excluded))
    if not how.counts_excluded_truth:
        counted = truth
    num_truth_C = np.array([(counted.label_N == label).sum() for label in class_ids])

    detections = detections.pick(~np.isin(detections.frame_N, excluded))
    if how.frames != "all":
        frames = truth.listed_F if how.frames == "listed" else truth.frame_N
        detections = detections.pick(np.isin(detections.frame_N, frames))
    detections = detections.pick(_order(detections, how, truth if how.frames == "labelled" else detections))
    truth = truth.pick(_order(truth, how, truth, is_truth=True))
    if how.drops_empty_boxes:  # after the cap: an empty box takes a place among the 50
        has_side_N2 = detections.box_N4[:, :2] < detections.box_N4[:, 2:]
        detections = detections.pick(has_side_N2[:, 0] & has_side_N2[:, 1])

    is_right_N = _match(truth, detections, how.precision)
    ap_C = np.full(len(class_ids), np.nan)
    by_class = np.argsort(detections.label_N, kind="stable")
    labels = detections.label_N[by_class]
    for c, label in enumerate(class_ids):
        mine = by_class[np.searchsorted(labels, label) : np.searchsorted(labels, label, "right")]
        if num_truth_C[c]:
            best_first = mine[_argsort_reversed(detections.score_N[mine].astype(how.precision))]
            ap = voc_average_precision(is_right_N[best_first], int(num_truth_C[c]))
            ap_C[c] = ap if len(mine) else how.undetected_class
    return ap_C


def _argsort_reversed(score_N: NDArray[np.floating]) -> Ints:
    """Best first; of equal scores the later first: `argsort()[::-1]`, with a stable sort."""
    return np.asarray(np.argsort(score_N, kind="stable")[::-1], np.int64)


def _first_appearance(frame_N: Ints, reference_N: Ints) -> Ints:
    """For each row the place of its frame in the order in which frames first appear in the reference."""
    frames, first = np.unique(reference_N, return_index=True)
    place = np.empty(len(frames), np.int64)
    place[np.argsort(first)] = np.arange(len(frames))
    return place[np.searchsorted(frames, frame_N)]


def _order(rows: AvaRows, how: AvaRule, reference: AvaRows, is_truth: bool = False) -> Ints:
    """Index of the rows that stay: frame by frame as frames appear in `reference`, in the rule's order."""
    place_N = _first_appearance(rows.frame_N, reference.frame_N)
    if how.order == "file":
        return np.asarray(np.argsort(place_N, kind="stable"), np.int64)
    if how.order == "score" or len(place_N) == 0:
        return np.asarray(np.lexsort((-rows.score_N, place_N)), np.int64)  # stable: ties as in the file
    limit = None if is_truth else how.max_rows_per_frame
    order = np.lexsort((rows.label_N, -rows.score_N, place_N)).astype(np.int64)
    place, score, label = place_N[order], rows.score_N[order], rows.label_N[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    keep = rank < (limit or len(order))
    # Equal scores matter only within a class, and at the cap. Elsewhere the heap would give the same.
    tied = (place[1:] == place[:-1]) & (score[1:] == score[:-1])
    tied &= (label[1:] == label[:-1]) | (rank[1:] == (limit or -1))
    for number in np.unique(place[1:][tied]):
        block = slice(np.searchsorted(place, number), np.searchsorted(place, number, "right"))
        kept = _heap_order(rows, np.sort(order[block]), limit)
        keep[block] = np.arange(block.stop - block.start) < len(kept)
        order[block][: len(kept)] = kept
    return order[keep]


def _heap_order(rows: AvaRows, index: Ints, limit: int | None) -> list[int]:
    """The official script's handling of one frame, row by row in the order of the file.

    A heap of (score, class, y1, x1, y2, x2) holds at most `limit` rows; a row of the same score as its
    least one does not come in. It is then sorted by score alone, so equal scores stay as the heap has them.
    """
    heap: list[tuple[float, ...]] = []
    boxes = rows.box_N4[index][:, [1, 0, 3, 2]].tolist()
    for row, score, label, box in zip(
        index.tolist(), rows.score_N[index].tolist(), rows.label_N[index].tolist(), boxes, strict=True
    ):
        entry = (score, label, *box, row)
        if limit is None or len(heap) < limit:
            heapq.heappush(heap, entry)
        elif score > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return [int(entry[-1]) for entry in sorted(heap, key=lambda entry: -entry[0])]


def _match(truth: AvaRows, detections: AvaRows, precision: type[np.floating]) -> Bools:
    """Whether each detection, in its frame's order, is the first to find its box. Returns (N,)."""
    num_labels = int(max(truth.label_N.max(initial=0), detections.label_N.max(initial=0))) + 1
    truth_key = truth.frame_N * num_labels + truth.label_N
    by_key = np.argsort(truth_key, kind="stable")
    truth_key, truth_box_M4 = truth_key[by_key], truth.box_N4[by_key].astype(precision)
    key = detections.frame_N * num_labels + detections.label_N
    first = np.searchsorted(truth_key, key, "left")
    num_boxes = np.searchsorted(truth_key, key, "right") - first  # of the same frame and class
    found = np.full(len(key), -1)
    for rows in _blocks(np.flatnonzero(num_boxes), num_boxes):
        n = num_boxes[rows]
        starts = np.cumsum(n) - n
        pair = np.repeat(first[rows] - starts, n) + np.arange(n.sum())
        iou = box_iou(np.repeat(detections.box_N4[rows].astype(precision), n, axis=0), truth_box_M4[pair])
        best = np.maximum.reduceat(iou, starts)
        is_best = np.flatnonzero(iou == np.repeat(best, n))  # several may be: the first counts
        owner, at = np.unique(np.repeat(np.arange(len(rows)), n)[is_best], return_index=True)
        hit = best[owner] >= IOU_THRESHOLD
        found[rows[owner[hit]]] = pair[is_best[at[hit]]]
    is_right = np.zeros(len(key), bool)
    box, first_finder = np.unique(found, return_index=True)
    is_right[first_finder[box >= 0]] = True
    return is_right


def _blocks(rows: Ints, num_boxes: Ints) -> Iterator[Ints]:
    """Cut the rows so that each block makes about PAIRS_AT_ONCE pairs."""
    if len(rows):
        end = np.cumsum(num_boxes[rows]) // PAIRS_AT_ONCE
        yield from np.split(rows, np.flatnonzero(np.diff(end)) + 1)


def box_iou(box_N4: NDArray[np.floating], other_N4: NDArray[np.floating]) -> Floats:
    """Intersection over union of boxes pair by pair, sides without "+ 1". Both (N, 4). Returns (N,).

    In the order of operations of the official script, so that a quotient of exactly 0.5 stays one; areas
    are in the precision of the boxes, the rest in float64, as MMAction2 mixes them.
    """
    low, high = np.maximum(box_N4[:, :2], other_N4[:, :2]), np.minimum(box_N4[:, 2:], other_N4[:, 2:])
    sides = np.maximum(high - low, 0).astype(np.float64)
    inside = sides[:, 1] * sides[:, 0]
    size, other = box_N4[:, 2:] - box_N4[:, :2], other_N4[:, 2:] - other_N4[:, :2]
    union = (size[:, 1] * size[:, 0] + other[:, 1] * other[:, 0]) - inside
    with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: NaN, which is no match
        return np.asarray(inside / union, np.float64)


def group_of(class_id: int) -> str:
    """The group of one of AVA's 80 classes: pose, object or person; ValueError for another number."""
    for name, (first, last) in GROUPS.items():
        if first <= class_id <= last:
            return name
    raise ValueError(f"AVA's classes are 1..80, not {class_id}")
