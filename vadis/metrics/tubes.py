"""Tubes: actions located in space and time on J-HMDB and UCF101-24, by the two scripts that papers used.

A tube is a box in each frame of an interval. Its overlap with a true tube is the mean IoU of boxes over the
frames they share, times the overlap of the two intervals. The two rules count differently all the same:

| | `act` (ACT-detector, MOC) | `ucf24` (Singh et al.) |
|---|---|---|
| boxes | corners, sides "+ 1" | x y width height; 1 is added to all four numbers of a detection |
| intervals | frames counted with "+ 1" | the same, but one shared frame counts as none |
| which true tube | that of best overlap, matched ones removed | the same, within the video |
| threshold | at least | more than |
| precision and recall | trapezoids from (recall 0, precision 1) | envelope (VOC) |

`act` also scores single frames, and links the detector's tubelets (K boxes that start at one frame) to tubes.

Equal scores: `act` takes the later row first where boxes suppress each other and the earlier one first in
the ranking; `ucf24` the earlier one first (its pooled scores are float32). All as the scripts, with a stable
sort, but for one place: in the frame AP of `act` every box of a tubelet has the tubelet's score, so that ties
are the rule, and the official figure depends on where NumPy's quicksort leaves them (0.8489 on the made case,
0.8499 with a stable sort). That order is repeated by default (`ties="official"`). `act` keeps precision and
recall in float32, we in float64: figures agree to 1e-6.

Legend: N rows, K boxes of a tubelet, T frames of a tube, L classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from vadis.metrics.classification import Floats, voc_average_precision

VIDEO_THRESHOLDS = (0.2, *(round(0.5 + 0.05 * step, 2) for step in range(10)))

DETECTOR_OVERLAP = 0.45  # of tubelets of one class and first frame: what the detector itself suppresses
DETECTOR_MIN_SCORE = 0.01
NMS_OVERLAP = 0.3  # of boxes in a frame, of tubelets to be linked, and of tubes
TUBELETS_PER_FRAME = 10
LINK_OVERLAP = 0.2
FRAMES_WITHOUT_LINK = 5
MIN_TUBE_SCORE = 0.01
MIN_TUBE_FRAMES = 15


@dataclass(frozen=True)
class Tube:
    """Boxes of consecutive frames; `boxes_T5` is frame, x1, y1, x2, y2 in pixels.

    For the rule `ucf24` it is frame, x, y, width, height. Linked tubes have a sixth column, the score of the
    frame.
    """

    boxes_T5: Floats
    score: float = 1.0


@dataclass(frozen=True)
class ActVideo:
    """Ground truth by class, and tubelets by their first frame (from 1).

    A row of tubelets is (4K + 1 + L,): x1, y1, x2, y2 of K frames, the background's score, each class's.
    """

    num_frames: int
    truth: Mapping[int, Sequence[Tube]] = field(default_factory=dict)
    tubelets: Mapping[int, Floats] = field(default_factory=dict)


def box_iou_plus_one(box_N4: ArrayLike, other_N4: ArrayLike) -> Floats:
    """IoU of boxes in whole pixels: x1 to x2 is x2 - x1 + 1 long. The shapes broadcast. Returns (N,)."""
    box, other = np.asarray(box_N4, np.float64), np.asarray(other_N4, np.float64)
    low, high = np.maximum(box[..., :2], other[..., :2]), np.minimum(box[..., 2:], other[..., 2:])
    inside = np.maximum(high - low + 1, 0).prod(axis=-1)
    areas = (box[..., 2:] - box[..., :2] + 1).prod(axis=-1) + (other[..., 2:] - other[..., :2] + 1).prod(
        axis=-1
    )
    return np.asarray(inside / (areas - inside))


def tube_iou(tube_T5: ArrayLike, other_T5: ArrayLike) -> float:
    """Overlap of two tubes by the rule `act`. (T, 5) each, frames consecutive."""
    tube, other = np.asarray(tube_T5, np.float64), np.asarray(other_T5, np.float64)
    first, last = max(tube[0, 0], other[0, 0]), min(tube[-1, 0], other[-1, 0])
    if last < first:
        return 0.0
    union = max(tube[-1, 0], other[-1, 0]) - min(tube[0, 0], other[0, 0]) + 1
    shared = [rows[(rows[:, 0] >= first) & (rows[:, 0] <= last), 1:5] for rows in (tube, other)]
    return float(box_iou_plus_one(*shared).mean() * (last - first + 1) / union)


def trapezoid_average_precision(is_right_N: ArrayLike, num_positives: int) -> float:
    """Area under precision over recall by trapezoids, from precision 1 at recall 0, without an envelope.

    is_right_N: (N,) from the best detection to the worst. NaN without a positive.
    """
    if num_positives == 0:
        return float("nan")
    right = np.cumsum(np.asarray(is_right_N, np.float64))
    precision = np.concatenate([[1.0], right / np.arange(1, len(right) + 1)])
    recall = np.concatenate([[0.0], right / num_positives])
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) * 0.5))


def _suppress(
    score_N: Floats, overlap_NN: Floats, limit: int | None = None, most: float = NMS_OVERLAP
) -> list[int]:
    """Greedy suppression: best first, drop what overlaps it by more than `most`."""
    left = np.argsort(score_N, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) != limit:
        best = left[-1]
        kept.append(int(best))
        left = left[:-1]
        left = left[overlap_NN[best][left] <= most]
    return kept


def _mean_overlaps(box_NK4: Floats) -> Floats:
    """Mean IoU over the K frames of each two tubelets, (N, N)."""
    return np.asarray(box_iou_plus_one(box_NK4[:, None], box_NK4[None]).sum(axis=-1) / box_NK4.shape[1])


def classic_quicksort_order(keys: Sequence[float]) -> list[int]:
    """`np.argsort` of NumPy 1.x in plain Python: where that unstable sort leaves equal keys (scores).

    Quicksort with the median of three as pivot down to 16 entries, which are sorted by insertion. (NumPy
    turns to heapsort when parts get far too unequal, which the median of three all but excludes.) Newer
    versions sort with vector instructions: another order on each kind of processor.
    """
    index = list(range(len(keys)))

    def swap(a: int, b: int) -> None:
        index[a], index[b] = index[b], index[a]

    parts = [(0, len(keys) - 1)]
    while parts:
        low, high = parts.pop()
        if high - low < 16:
            index[low : high + 1] = sorted(
                index[low : high + 1], key=lambda i: keys[i]
            )  # stable, as insertion is
            continue
        middle = (low + high) // 2
        for a, b in ((low, middle), (middle, high), (low, middle)):
            if keys[index[b]] < keys[index[a]]:
                swap(a, b)
        pivot = keys[index[middle]]
        swap(middle, high - 1)
        left, right = low, high - 1
        while True:
            left += 1
            while keys[index[left]] < pivot:
                left += 1
            right -= 1
            while pivot < keys[index[right]]:
                right -= 1
            if left >= right:
                break
            swap(left, right)
        swap(left, high - 1)
        parts += [(low, left - 1), (left + 1, high)]
    return index


# rule `act` ------------------------------------------------------------------------------------------


def frame_average_precisions(
    videos: Sequence[ActVideo],
    tubelet_frames: int,
    num_classes: int,
    threshold: float = 0.5,
    ties: Literal["official", "stable"] = "official",
) -> Floats:
    """AP of the boxes of single frames (L,); threshold: the smallest IoU that is right.

    Detections of a class are the boxes of all tubelets that the detector gives for it (score above 0.01, no
    better one overlapping by more than 0.45); in each frame they suppress each other at 0.3. A true box that
    was found is gone, so that a second detection may find another one.
    """
    ap_L = np.full(num_classes, np.nan)
    for label in range(num_classes):
        truth: dict[tuple[int, int], list[Floats]] = {}
        found: list[tuple[float, tuple[int, int], Floats]] = []
        for number, video in enumerate(videos):
            for tube in video.truth.get(label, ()):
                for row in tube.boxes_T5:
                    truth.setdefault((number, int(row[0])), []).append(row[1:5])
            for frame, rows_N5 in _frame_boxes(video, tubelet_frames, label).items():
                overlap_NN = _mean_overlaps(rows_N5[:, None, :4])
                for i in _suppress(rows_N5[:, 4], overlap_NN):
                    found.append((float(rows_N5[i, 4]), (number, frame), rows_N5[i, :4]))
        num_positives = sum(map(len, truth.values()))
        keys = [-score for score, *_ in found]
        order = np.argsort(keys, kind="stable") if ties == "stable" else classic_quicksort_order(keys)
        is_right = []
        for i in order:
            _, frame_key, box_4 = found[i]
            boxes = truth.get(frame_key, [])
            overlaps = box_iou_plus_one(np.array(boxes).reshape(-1, 4), box_4)
            is_right.append(bool(boxes) and bool(overlaps.max() >= threshold))
            if is_right[-1]:
                del boxes[int(overlaps.argmax())]
        ap_L[label] = trapezoid_average_precision(is_right, num_positives)
    return ap_L


def _frame_boxes(video: ActVideo, tubelet_frames: int, label: int) -> dict[int, Floats]:
    """Box and score (N, 5) of the detector's tubelets of one class in each frame, in the order of frames."""
    K = tubelet_frames
    frames: dict[int, list[Floats]] = {}
    for first, rows in sorted(video.tubelets.items()):
        rows = rows[rows[:, 4 * K + 1 + label] > DETECTOR_MIN_SCORE]
        score_N = rows[:, 4 * K + 1 + label]
        box_NK4 = rows[:, : 4 * K].reshape(len(rows), K, 4)
        for i in _suppress(score_N, _mean_overlaps(box_NK4), most=DETECTOR_OVERLAP):
            for k in range(K):
                frames.setdefault(first + k, []).append(np.append(box_NK4[i, k], score_N[i]))
    return {frame: np.array(boxes) for frame, boxes in sorted(frames.items())}


def link_tubelets(video: ActVideo, tubelet_frames: int, label: int) -> list[Tube]:
    """Tubes of one class: tubelets of successive frames joined greedily, their boxes averaged.

    Frame by frame: suppress tubelets, keep ten; tubes in the order of their mean score each take the
    best-scored tubelet that overlaps their last one by 0.2 or more on the frames that both cover; the rest
    start tubes. A tube ends when it found nothing five frames after its last tubelet. Tubes that are weak
    (mean score under 0.01) or short (under 15 frames) are dropped.
    """
    K = tubelet_frames
    open_tubes: list[list[tuple[int, Floats]]] = []
    ended: list[list[tuple[int, Floats]]] = []
    for frame in range(1, video.num_frames + 2 - K):
        rows = video.tubelets.get(frame, np.zeros((0, 4 * K + 2 + label)))
        score_N = rows[:, 4 * K + 1 + label]
        box_NK4 = rows[:, : 4 * K].reshape(len(rows), K, 4)
        kept = _suppress(score_N, _mean_overlaps(box_NK4), TUBELETS_PER_FRAME)
        left = [np.append(rows[i, : 4 * K], score_N[i]) for i in kept]
        means = [-_mean_score(tube) for tube in open_tubes]
        open_tubes = [open_tubes[i] for i in np.argsort(means, kind="stable")]
        still_open = []
        for tube in open_tubes:
            last_frame, last = tube[-1]
            overlaps = [_link_iou(row, last, frame - last_frame, K) for row in left]
            valid = [i for i, overlap in enumerate(overlaps) if overlap >= LINK_OVERLAP]
            if valid:
                scores = [row[-1] for row in left]
                tube.append((frame, left.pop(max(valid, key=scores.__getitem__))))
            if valid or frame - last_frame < FRAMES_WITHOUT_LINK:
                still_open.append(tube)
            else:
                ended.append(tube)
        open_tubes = still_open + [[(frame, row)] for row in left]
    tubes = [_average_boxes(tube, K) for tube in ended + open_tubes]
    return [t for t in tubes if t.score >= MIN_TUBE_SCORE and len(t.boxes_T5) >= MIN_TUBE_FRAMES]


def _mean_score(tube: list[tuple[int, Floats]]) -> float:
    return float(np.mean([row[-1] for _, row in tube]))


def _link_iou(row: Floats, last: Floats, offset: int, K: int) -> float:
    """Mean IoU over the frames that a tubelet shares with one that began `offset` frames before."""
    if offset >= K:  # they share none: the last box against the first
        return float(box_iou_plus_one(row[:4], last[4 * K - 4 : 4 * K]))
    mine, theirs = row[: 4 * (K - offset)], last[4 * offset : 4 * K]
    return float(box_iou_plus_one(mine.reshape(-1, 4), theirs.reshape(-1, 4)).mean())


def _average_boxes(tube: list[tuple[int, Floats]], K: int) -> Tube:
    first, last = tube[0][0], tube[-1][0] + K - 1
    sums_T5, count_T1 = np.zeros((last - first + 1, 5)), np.zeros((last - first + 1, 1))
    for frame, row in tube:
        covered = slice(frame - first, frame - first + K)
        sums_T5[covered, :4] += row[: 4 * K].reshape(K, 4)
        sums_T5[covered, 4] += row[-1]
        count_T1[covered] += 1
    with np.errstate(invalid="ignore"):  # a frame that no tubelet covers (K under 5): NaN, as in the script
        boxes_T6 = np.column_stack([np.arange(first, last + 1), sums_T5 / count_T1])
    return Tube(boxes_T6, _mean_score(tube))


def video_average_precisions(
    tubes: Sequence[Mapping[int, Sequence[Tube]]],
    videos: Sequence[ActVideo],
    num_classes: int,
    threshold: float = 0.5,
) -> Floats:
    """AP of whole tubes (L,) at an overlap of at least `threshold`, by the rule `act`.

    tubes: for each video its linked tubes by class; those that overlap a better one of their class by more
    than 0.3 are dropped.
    """
    ap_L = np.full(num_classes, np.nan)
    for label in range(num_classes):
        found: list[tuple[float, int, Tube]] = []
        for number, by_class in enumerate(tubes):
            mine = by_class.get(label, ())
            overlaps = np.array([[tube_iou(a.boxes_T5, b.boxes_T5) for a in mine] for b in mine])
            for i in _suppress(np.array([tube.score for tube in mine]), overlaps):
                found.append((mine[i].score, number, mine[i]))
        truth = [list(video.truth.get(label, ())) for video in videos]
        num_positives = sum(map(len, truth))
        is_right = []
        for i in np.argsort([-score for score, *_ in found], kind="stable"):
            _, number, tube = found[i]
            overlaps = np.array([tube_iou(true.boxes_T5, tube.boxes_T5) for true in truth[number]])
            is_right.append(bool(len(overlaps)) and bool(overlaps.max() >= threshold))
            if is_right[-1]:
                del truth[number][int(overlaps.argmax())]
        ap_L[label] = trapezoid_average_precision(is_right, num_positives)
    return ap_L


# rule `ucf24` ----------------------------------------------------------------------------------------


def ucf24_tube_iou(truth_T5: ArrayLike, found_T5: ArrayLike) -> float:
    """Overlap of a true tube and a detection by the rule `ucf24`; (T, 5) frame, x, y, width, height."""
    truth, found = np.asarray(truth_T5, np.float64), np.asarray(found_T5, np.float64)
    first, last = max(truth[0, 0], found[0, 0]), min(truth[-1, 0], found[-1, 0])
    if last <= first:  # the script asks for last - first > 0: one shared frame is none
        return 0.0
    union = max(truth[-1, 0], found[-1, 0]) - min(truth[0, 0], found[0, 0]) + 1
    a, b = (rows[(rows[:, 0] >= first) & (rows[:, 0] <= last), 1:5] for rows in (truth, found))
    b = b + 1
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    inside = np.maximum(high - low, 0).prod(axis=1)
    areas = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1)
    iou_T = inside / (areas - inside + np.finfo(np.float64).eps)
    return float((last - first + 1) / union * iou_T.mean())


def ucf24_average_precisions(
    videos: Sequence[tuple[Mapping[int, Sequence[Tube]], Sequence[tuple[int, Tube]]]],
    num_classes: int,
    threshold: float = 0.5,
) -> Floats:
    """AP of each class (L,) at an overlap of more than `threshold`; a class without ground truth has 0.

    videos: for each, its true tubes by class, and (class, tube) of its detections in the order of the file.
    """
    pooled: list[list[tuple[float, bool]]] = [[] for _ in range(num_classes)]
    num_positives = [0] * num_classes
    for truth, found in videos:
        free = {label: list(tubes) for label, tubes in truth.items()}
        for label, true_tubes in free.items():
            num_positives[label] += len(true_tubes)
        for i in np.argsort([-tube.score for _, tube in found], kind="stable"):
            label, tube = found[i]
            left = free.get(label, [])
            overlaps = [ucf24_tube_iou(true.boxes_T5, tube.boxes_T5) for true in left]
            is_right = bool(overlaps) and max(overlaps) > threshold
            if is_right:
                del left[int(np.argmax(overlaps))]
            pooled[label].append((tube.score, is_right))
    ap_L = np.zeros(num_classes)
    for label, rows in enumerate(pooled):
        order = np.argsort([-np.float32(score) for score, _ in rows], kind="stable")
        if num_positives[label]:
            ap_L[label] = voc_average_precision([rows[i][1] for i in order], num_positives[label])
    return ap_L
