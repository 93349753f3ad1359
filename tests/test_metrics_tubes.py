"""Tubes by the two rules: hand-computed overlaps and precisions, linking, and a plain program for `ucf24`."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadis.metrics.tubes import (
    ActVideo,
    Tube,
    box_iou_plus_one,
    classic_quicksort_order,
    frame_average_precisions,
    link_tubelets,
    trapezoid_average_precision,
    tube_iou,
    ucf24_average_precisions,
    ucf24_tube_iou,
    video_average_precisions,
)


def tube(first: int, last: int, *box: float, score: float = 1.0) -> Tube:
    """The same box in each frame."""
    frames = np.arange(first, last + 1)
    return Tube(np.column_stack([frames, np.tile(np.array(box, float), (len(frames), 1))]), score)


def tubelet(box: tuple[float, ...], score: float, K: int = 6) -> list[float]:
    """One box in K frames, with a score for the background and for the only class."""
    return [*box * K, 1 - score, score]


def test_overlaps_by_hand() -> None:
    assert box_iou_plus_one([0, 0, 9, 9], [0, 0, 9, 4]) == 0.5
    assert box_iou_plus_one([0, 0, 9, 9], [9, 9, 9, 9]) == 1 / 100  # they share the corner pixel
    truth, found = tube(1, 10, 0, 0, 9, 9).boxes_T5, tube(6, 15, 0, 0, 9, 4).boxes_T5
    assert tube_iou(truth, found) == pytest.approx(0.16666666666666666, abs=1e-15)
    assert tube_iou(truth, tube(11, 15, 0, 0, 9, 9).boxes_T5) == 0
    assert tube_iou(truth, tube(10, 15, 0, 0, 9, 9).boxes_T5) == pytest.approx(
        1 / 15
    )  # one shared frame counts


def test_ucf24_overlaps_by_hand() -> None:
    truth = tube(1, 10, 10, 10, 20, 20).boxes_T5
    assert ucf24_tube_iou(truth, tube(10, 15, 9, 9, 19, 19).boxes_T5) == 0  # one shared frame counts as none
    # 1 is added to x, y, width and height of the detection: these are the same boxes
    assert ucf24_tube_iou(truth, tube(1, 10, 9, 9, 19, 19).boxes_T5) == pytest.approx(1, abs=1e-12)
    assert ucf24_tube_iou(truth, tube(9, 18, 9, 9, 19, 19).boxes_T5) == pytest.approx(2 / 18, abs=1e-12)
    half = ucf24_tube_iou(truth, tube(1, 10, 9, 9, 19, 9).boxes_T5)
    assert half == pytest.approx(0.5, abs=1e-12)


def test_average_precision_by_trapezoids() -> None:
    assert trapezoid_average_precision([True, False, True], 2) == pytest.approx(0.7916666666666667)
    assert trapezoid_average_precision([], 2) == 0
    assert np.isnan(trapezoid_average_precision([], 0))
    # the first segment is free: a single wrong detection costs nothing, a single right one gives its recall
    assert trapezoid_average_precision([True], 2) == 0.5
    assert trapezoid_average_precision([False, True], 1) == 0.25


def quicksort_with_a_stack(keys: list[float]) -> list[int]:
    """NumPy 1.x's indirect quicksort with its bookkeeping: the larger part waits, insertion by shifting."""
    order, waiting, low, high = list(range(len(keys))), [], 0, len(keys) - 1
    while True:
        while high - low > 15:
            mid = low + ((high - low) >> 1)
            for a, b in ((mid, low), (high, mid), (mid, low)):
                if keys[order[a]] < keys[order[b]]:
                    order[a], order[b] = order[b], order[a]
            pivot, i, j = keys[order[mid]], low, high - 1
            order[mid], order[j] = order[j], order[mid]
            while True:
                i += 1
                while keys[order[i]] < pivot:
                    i += 1
                j -= 1
                while pivot < keys[order[j]]:
                    j -= 1
                if i >= j:
                    break
                order[i], order[j] = order[j], order[i]
            order[i], order[high - 1] = order[high - 1], order[i]
            if i - low < high - i:
                waiting.append((i + 1, high))
                high = i - 1
            else:
                waiting.append((low, i - 1))
                low = i + 1
        for at in range(low + 1, high + 1):
            entry, back = order[at], at
            while back > low and keys[entry] < keys[order[back - 1]]:
                order[back] = order[back - 1]
                back -= 1
            order[back] = entry
        if not waiting:
            return order
        low, high = waiting.pop()


@pytest.mark.parametrize("num", [0, 1, 2, 15, 16, 17, 18, 40, 333, 2000])
def test_classic_quicksort_order(num: int) -> None:
    chance = random.Random(num)
    for distinct in (1, 3, max(1, num // 4), 10**6):
        keys = [float(chance.randrange(distinct)) for _ in range(num)]
        order = classic_quicksort_order(keys)
        assert sorted(order) == list(range(num))
        assert [keys[i] for i in order] == sorted(keys)
        assert order == quicksort_with_a_stack(keys)
        if num <= 16:
            assert order == np.argsort(keys, kind="stable").tolist()


def test_ties_are_where_the_two_orders_differ() -> None:
    order = classic_quicksort_order([0.0] * 17)
    assert order != list(range(17))
    assert sorted(order) == list(range(17))


BOX, FAR = (10.0, 10.0, 50.0, 50.0), (100.0, 100.0, 150.0, 150.0)


def test_linking_joins_what_overlaps() -> None:
    video = ActVideo(20, {}, {first: np.array([tubelet(BOX, 0.5)]) for first in range(1, 16)})
    (linked,) = link_tubelets(video, 6, 0)
    assert linked.boxes_T5[:, 0].tolist() == list(range(1, 21))
    assert linked.boxes_T5[:, 1:5].tolist() == [list(BOX)] * 20
    assert linked.score == pytest.approx(0.5)


def test_linking_bridges_gaps_of_less_than_five_frames() -> None:
    for missing, num in ((4, 1), (5, 2)):
        firsts = [f for f in range(1, 36) if not 15 < f <= 15 + missing]
        video = ActVideo(40, {}, {first: np.array([tubelet(BOX, 0.5)]) for first in firsts})
        assert len(link_tubelets(video, 6, 0)) == num, missing


def test_short_and_weak_tubes_are_dropped() -> None:
    def link(num_firsts: int, score: float) -> int:
        video = ActVideo(40, {}, {f: np.array([tubelet(BOX, score)]) for f in range(1, num_firsts + 1)})
        return len(link_tubelets(video, 6, 0))

    assert [link(9, 0.5), link(10, 0.5)] == [0, 1]  # 14 and 15 frames
    assert [link(20, 0.009), link(20, 0.01)] == [0, 1]


def test_a_tube_takes_the_best_score_that_overlaps_enough_not_the_best_overlap() -> None:
    below = (10.0, 35.0, 50.0, 75.0)  # an overlap of 0.24: enough to be linked, too little to be suppressed
    later = np.array([tubelet(BOX, 0.4), tubelet(below, 0.6)])
    video = ActVideo(20, {}, {1: np.array([tubelet(BOX, 0.9)])} | dict.fromkeys(range(2, 16), later))
    first, second = link_tubelets(video, 6, 0)
    assert first.score == pytest.approx((0.9 + 14 * 0.6) / 15)
    assert first.boxes_T5[0, 1:5].tolist() == list(BOX)
    assert first.boxes_T5[-1, 1:5].tolist() == list(below)
    assert second.score == pytest.approx(0.4)
    assert second.boxes_T5[:, 0].tolist() == list(range(2, 21))  # what was left over starts a tube


def test_frames_of_a_tubelet_are_scored_one_by_one() -> None:
    truth = {0: [tube(1, 6, *BOX)]}
    video = ActVideo(6, truth, {1: np.array([tubelet(BOX, 0.5)])})
    assert frame_average_precisions([video], 6, 1).tolist() == [1.0]
    weak = ActVideo(6, truth, {1: np.array([tubelet(BOX, 0.01)])})
    assert frame_average_precisions([weak], 6, 1).tolist() == [0.0]  # the detector gives scores above 0.01
    twice = ActVideo(6, truth, {1: np.array([tubelet(BOX, 0.5), tubelet((11.0, *BOX[1:]), 0.6)])})
    assert frame_average_precisions([twice], 6, 1).tolist() == [1.0]  # suppressed, or it would be wrong
    far = ActVideo(6, truth, {1: np.array([tubelet(FAR, 0.6), tubelet(BOX, 0.5)])})
    assert frame_average_precisions([far], 6, 1)[0] < 0.5


def test_a_second_box_may_find_another_person_in_the_frame() -> None:
    shifted = tuple(x + 14 for x in BOX)  # overlaps BOX by less than 0.3, and both truths by more than 0.2
    truth = {0: [tube(1, 6, *BOX), tube(1, 6, *shifted)]}
    video = ActVideo(6, truth, {1: np.array([tubelet(BOX, 0.5), tubelet(shifted, 0.6)])})
    assert frame_average_precisions([video], 6, 1, threshold=0.2).tolist() == [1.0]


def test_videos_by_whole_tubes() -> None:
    video = ActVideo(20, {0: [tube(1, 20, *BOX)]})
    better, worse, away = (
        tube(1, 20, *BOX, score=0.9),
        tube(1, 20, *BOX, score=0.8),
        tube(1, 20, *FAR, score=0.95),
    )
    assert video_average_precisions([{0: [better, worse]}], [video], 1)[0] == 1  # the duplicate is suppressed
    assert video_average_precisions([{0: [better, away]}], [video], 1)[0] == pytest.approx(0.25)
    half = tube(1, 10, *BOX, score=0.9)
    assert video_average_precisions([{0: [half]}], [video], 1, 0.5)[0] == 1  # at least
    assert video_average_precisions([{0: [half]}], [video], 1, 0.51)[0] == 0
    assert np.isnan(video_average_precisions([{0: [half]}], [ActVideo(20)], 1)[0])
    assert video_average_precisions([{}], [video], 1)[0] == 0


def test_ucf24_counts() -> None:
    true, same = tube(1, 10, 10, 10, 20, 20), tube(1, 10, 9, 9, 19, 19, score=0.9)
    again = tube(1, 10, 9, 9, 19, 19, score=0.8)
    assert ucf24_average_precisions([({0: [true]}, [(0, same), (0, again)])], 1)[0] == 1
    assert ucf24_average_precisions([({0: [true]}, [(0, again), (0, same)])], 1)[0] == 1
    assert ucf24_average_precisions([({0: [true]}, [(1, same)])], 2).tolist() == [0, 0]  # another class
    assert ucf24_average_precisions([({}, [(0, same)])], 1)[0] == 0  # without ground truth: 0, not undefined
    half = tube(1, 10, 9, 9, 19, 9, score=0.9)
    exactly = ucf24_tube_iou(true.boxes_T5, half.boxes_T5)
    assert (
        ucf24_average_precisions([({0: [true]}, [(0, half)])], 1, exactly)[0] == 0
    )  # more than, not at least
    assert ucf24_average_precisions([({0: [true]}, [(0, half)])], 1, exactly - 1e-9)[0] == 1


def test_ucf24_pools_scores_in_single_precision() -> None:
    true, same = tube(1, 10, 10, 10, 20, 20), tube(1, 10, 9, 9, 19, 19, score=0.5)
    wrong = Tube(tube(1, 10, 90, 90, 19, 19).boxes_T5, 0.5 + 1e-9)
    first = [({0: [true]}, [(0, same)]), ({}, [(0, wrong)])]
    assert ucf24_average_precisions(first, 1)[0] == 1  # equal in float32: the earlier video comes first
    assert ucf24_average_precisions(first[::-1], 1)[0] == 0.5


def ucf24_plainly(videos: list, num_classes: int, threshold: float) -> list[float]:
    """Frame by frame with dictionaries, as the definition reads."""
    pooled: dict[int, list[tuple[float, bool]]] = {label: [] for label in range(num_classes)}
    num_true = [sum(len(truth.get(label, [])) for truth, _ in videos) for label in range(num_classes)]
    for truth, found in videos:
        covered = set()
        for label, mine in sorted(found, key=lambda pair: -pair[1].score):
            best, which = -1.0, None
            for index, true in enumerate(truth.get(label, [])):
                if (label, index) in covered:
                    continue
                a = {int(row[0]): row[1:] for row in true.boxes_T5}
                b = {int(row[0]): row[1:] + 1 for row in mine.boxes_T5}
                shared, union = set(a) & set(b), set(a) | set(b)
                total = 0.0
                for frame in shared if len(shared) > 1 else ():
                    (x, y, w, h), (u, v, s, t) = a[frame], b[frame]
                    inside = max(0, min(x + w, u + s) - max(x, u)) * max(0, min(y + h, v + t) - max(y, v))
                    total += inside / (w * h + s * t - inside)
                overlap = total / (max(union) - min(union) + 1)
                if overlap > best:
                    best, which = overlap, index
            if best > threshold:
                covered.add((label, which))
            pooled[label].append((mine.score, best > threshold))
    figures = []
    for label in range(num_classes):
        right, precision, recall = 0, [], []
        for rank, (_, hit) in enumerate(sorted(pooled[label], key=lambda pair: -pair[0]), 1):
            right += hit
            precision.append(right / rank)
            recall.append(right / num_true[label] if num_true[label] else 0.0)
        figure = 0.0
        for i, now in enumerate(recall):
            figure += (now - (recall[i - 1] if i else 0.0)) * max(precision[i:])
        figures.append(figure)
    return figures


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.5]))
def test_ucf24_against_a_plain_program(seed: int, threshold: float) -> None:
    chance = np.random.default_rng(seed)

    def made(score: float) -> Tube:
        first = int(chance.integers(1, 8))
        box = chance.uniform(0, 15, 2).tolist() + chance.uniform(15, 30, 2).tolist()
        return tube(first, first + int(chance.integers(0, 12)), *box, score=score)

    scores = iter(chance.permutation(1000) / 1000)
    videos = [
        (
            {label: [made(1.0) for _ in range(chance.integers(0, 3))] for label in range(2)},
            [(int(chance.integers(0, 2)), made(float(next(scores)))) for _ in range(6)],
        )
        for _ in range(4)
    ]
    figures = ucf24_average_precisions(videos, 2, threshold)
    assert figures == pytest.approx(ucf24_plainly(videos, 2, threshold), abs=1e-9)
