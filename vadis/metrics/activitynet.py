"""ActivityNet: temporal detection, untrimmed classification and proposals; the Kinetics challenge's error.

Detection: per class, predictions from the best score down; each looks through the true segments of its video
from the best overlap down, and takes the first that is free and overlaps enough. AP under the VOC envelope at
ten overlaps 0.5, 0.55 ... 0.95, mean over the classes of the subset. A class without predictions has AP 0,
and a prediction in a video outside the subset is wrong, not ignored.

Overlap is float64, as in the official script (float32 flips overlaps of exactly 0.7: a small file gives
0.3875 for 0.4375). Two segments without length give 0/0: the script lets NaN pass every threshold, and so
do we.
Equal scores: the official `argsort()[::-1]` with a stable sort, so the later one comes first.

Legend: N rows, C classes, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.metrics.classification import Floats, Ints, voc_average_precision

TIOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)  # as the scripts do: the ninth is 0.8999999999999999


@dataclass(frozen=True)
class Segments:
    """Labelled intervals of videos, in the order of the file; videos and classes are numbers of the caller's.

    `span_N2` is first and last second, not looked at for whole videos; nor is the score of ground truth.
    """

    video_N: Ints
    label_N: Ints
    span_N2: Floats
    score_N: Floats

    def pick(self, keep: NDArray[np.generic]) -> Segments:
        """The rows of an index or of a mask of shape (N,)."""
        return Segments(self.video_N[keep], self.label_N[keep], self.span_N2[keep], self.score_N[keep])


def temporal_iou(span_N2: ArrayLike, other_N2: ArrayLike) -> Floats:
    """Intersection over union of intervals in seconds; the shapes broadcast. Returns (N,)."""
    span, other = np.asarray(span_N2, np.float64), np.asarray(other_N2, np.float64)
    end, start = np.minimum(span[..., 1], other[..., 1]), np.maximum(span[..., 0], other[..., 0])
    inside = np.maximum(end - start, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        union = (other[..., 1] - other[..., 0]) + (span[..., 1] - span[..., 0]) - inside
        return np.asarray(inside / union)


def _best_first(score_N: Floats) -> Ints:
    return np.asarray(np.argsort(score_N, kind="stable")[::-1], np.int64)


def detection_average_precisions(
    truth: Segments, predictions: Segments, num_classes: int, thresholds_T: ArrayLike = TIOU_THRESHOLDS
) -> Floats:
    """AP of each class at each overlap (C, T). Mean over C: mAP at an overlap; over both: average mAP."""
    thresholds = np.asarray(thresholds_T, np.float64)
    ap_CT = np.zeros((num_classes, len(thresholds)))
    for label in range(num_classes):
        mine = truth.pick(truth.label_N == label)
        mine = mine.pick(np.argsort(mine.video_N, kind="stable"))
        found = predictions.pick(predictions.label_N == label)
        found = found.pick(_best_first(found.score_N))
        is_right_TN = _find_segments(mine, found, thresholds)
        ap_CT[label] = [voc_average_precision(right, len(mine.video_N)) for right in is_right_TN]
    return ap_CT


def _find_segments(truth: Segments, found: Segments, thresholds_T: Floats) -> NDArray[np.bool_]:
    """Whether each prediction of one class takes a segment at each overlap. Truth is sorted by video."""
    is_right_TN = np.zeros((len(thresholds_T), len(found.video_N)), bool)
    free_TM = np.ones((len(thresholds_T), len(truth.video_N)), bool)
    first = np.searchsorted(truth.video_N, found.video_N, "left").tolist()
    last = np.searchsorted(truth.video_N, found.video_N, "right").tolist()
    for row, (start, end) in enumerate(zip(first, last, strict=True)):
        if start == end:
            continue
        overlap = temporal_iou(found.span_N2[row], truth.span_N2[start:end])
        if overlap.max() < thresholds_T[0]:
            continue
        by_overlap = _best_first(overlap)  # NaN comes first
        for t, threshold in enumerate(thresholds_T):
            for j in by_overlap:
                if overlap[j] < threshold:
                    break
                if free_TM[t, start + j]:
                    free_TM[t, start + j] = False
                    is_right_TN[t, row] = True
                    break
    return is_right_TN


def video_average_precisions(truth: Segments, predictions: Segments, num_classes: int) -> Floats:
    """Untrimmed classification: AP of each class (C,) over (video, class); a second answer is wrong."""
    ap_C = np.zeros(num_classes)
    for label in range(num_classes):
        videos = np.unique(truth.video_N[truth.label_N == label])
        found = predictions.pick(predictions.label_N == label)
        found = found.pick(_best_first(found.score_N))
        _, first = np.unique(found.video_N, return_index=True)
        is_first = np.zeros(len(found.video_N), bool)
        is_first[first] = True
        ap_C[label] = voc_average_precision(is_first & np.isin(found.video_N, videos), len(videos))
    return ap_C


def class_hits_at_k(truth: Segments, predictions: Segments, k: int) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Each different (video, class) of the ground truth: video, class, and whether it is among the k best.

    Three arrays of shape (N,). A video without a prediction has no hit.
    """
    pairs = np.unique(np.stack([truth.video_N, truth.label_N], axis=1), axis=0)
    by_score = _best_first(predictions.score_N)
    best_first = by_score[np.argsort(predictions.video_N[by_score], kind="stable")]  # video by video
    video = predictions.video_N[best_first]
    rank = np.arange(len(video)) - np.searchsorted(video, video)
    best = {(int(predictions.video_N[i]), int(predictions.label_N[i])) for i in best_first[rank < k]}
    hit = np.array([(int(v), int(c)) in best for v, c in pairs], bool)
    return pairs[:, 0], pairs[:, 1], hit


def video_hits_at_k(truth: Segments, predictions: Segments, k: int) -> tuple[float, float]:
    """The share of videos with a true class among the k best, and the mean share of true classes found.

    Only videos with a true class count. The challenge's error is 1 minus the first.
    """
    videos, _, hit = class_hits_at_k(truth, predictions, k)
    _, video = np.unique(videos, return_inverse=True)
    share = np.bincount(video, hit) / np.bincount(video)
    return float(np.ceil(share).mean()), float(share.mean())


@dataclass(frozen=True)
class ProposalScore:
    """Recall of proposals over their average number a video.

    `area` is the official figure in percent: the area under the mean recall over the ten overlaps, divided
    by the largest number of proposals. The curve is `average_recall_100` over `num_proposals_100`;
    `recall_T100` has it for each overlap.
    """

    area: float
    recall_T100: Floats
    average_recall_100: Floats
    num_proposals_100: Floats


def average_recall(
    truth: Segments,
    proposals: Segments,
    max_proposals: float | None = 100,
    thresholds_T: ArrayLike = TIOU_THRESHOLDS,
) -> ProposalScore:
    """Average recall over the average number of proposals a video (AR-AN), blind to classes.

    From each video the same fraction of its proposals is taken, best score first, so that on average
    `max_proposals` a video are taken (None: all). ValueError without ground truth, or without a proposal in
    its videos.
    """
    thresholds = np.asarray(thresholds_T, np.float64)
    videos = np.unique(truth.video_N)
    num_all = len(proposals.video_N)
    if not len(videos) or not np.isin(proposals.video_N, videos).any():
        raise ValueError("no proposal lies in a video of the ground truth")
    limit = max_proposals or num_all / len(videos)
    fraction = limit * float(len(videos)) / num_all
    proposals = proposals.pick(_best_first(proposals.score_N))
    proposals = proposals.pick(np.argsort(proposals.video_N, kind="stable"))
    truth = truth.pick(np.argsort(truth.video_N, kind="stable"))
    firsts = []  # of each video: how many proposals are taken, and the first of them to find each segment
    for video in videos:
        spans = truth.span_N2[slice(*np.searchsorted(truth.video_N, [video, video + 1]))]
        mine = proposals.span_N2[slice(*np.searchsorted(proposals.video_N, [video, video + 1]))]
        num = min(int(len(mine) * fraction), len(mine))
        found_TMN = temporal_iou(mine[None, :num], spans[:, None]) >= thresholds[:, None, None]
        never = np.full((*found_TMN.shape[:2], 1), True)
        firsts.append((num, np.concatenate([found_TMN, never], axis=2).argmax(axis=2)))
    num_taken = sum(num for num, _ in firsts)
    if num_taken == 0:
        raise ValueError("the number of proposals a video is too small to take any")
    portion_100 = np.arange(1, 101) / 100.0 * (limit * float(len(videos)) / num_taken)
    num_found_T100 = np.zeros((len(thresholds), 100))
    for num, first_TM in firsts:
        taken_100 = np.minimum((num * portion_100).astype(np.int64), num)
        num_found_T100 += (first_TM[:, :, None] < taken_100).sum(axis=1)
    recall_T100 = num_found_T100 / len(truth.video_N)
    mean_100 = recall_T100.mean(axis=0)
    num_100 = portion_100 * (float(num_taken) / len(videos))
    area = float(np.sum(np.diff(num_100) * (mean_100[1:] + mean_100[:-1]) / 2))
    return ProposalScore(100 * area / float(num_100[-1]), recall_T100, mean_100, num_100)
