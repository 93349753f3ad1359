"""ActivityNet's figures against a plain program, and their traps by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadis.metrics.activitynet import (
    TIOU_THRESHOLDS,
    Segments,
    average_recall,
    class_hits_at_k,
    detection_average_precisions,
    temporal_iou,
    video_average_precisions,
    video_hits_at_k,
)
from vadis.metrics.classification import voc_average_precision

GOLDEN = Path(__file__).parent / "golden" / "scores"
Row = tuple[int, int, float, float, float]


def rows(*table: Row) -> Segments:
    """Segments from (video, class, first second, last second, score)."""
    numbers = np.array(table, float).reshape(-1, 5)
    return Segments(numbers[:, 0].astype(int), numbers[:, 1].astype(int), numbers[:, 2:4], numbers[:, 4])


def test_temporal_iou_by_hand() -> None:
    assert temporal_iou([0, 10], [[0, 10], [5, 15], [10, 20], [30, 40]]).tolist() == [1, 1 / 3, 0, 0]
    assert np.isnan(temporal_iou([3, 3], [[3, 3], [7, 7]])).all()
    assert temporal_iou([3, 3], [[0, 10]]).tolist() == [0]


def test_the_thresholds_are_those_of_linspace() -> None:
    assert TIOU_THRESHOLDS.tolist()[7:] == [0.85, 0.8999999999999999, 0.95]


def test_the_tiny_case_by_hand() -> None:
    truth = rows((0, 0, 0, 10, 1), (0, 0, 20, 40, 1), (1, 1, 5, 15, 1))
    found = rows(
        (0, 0, 0, 8, 0.9), (0, 0, 0, 10, 0.8), (0, 0, 25, 40, 0.7), (1, 1, 5, 12, 0.6), (1, 0, 5, 15, 0.5),
        (2, 0, 0, 10, 0.95),
    )  # fmt: skip
    ap_CT = detection_average_precisions(truth, found, 2)
    # the best prediction lies in a video outside the subset: it is wrong, so precision begins at 0
    assert ap_CT[0] == pytest.approx([0.5] * 6 + [0.25] + [1 / 6] * 3, abs=1e-12)
    assert ap_CT[1].tolist() == [1.0] * 5 + [0.0] * 5  # an overlap of exactly 0.7
    assert ap_CT.mean() == pytest.approx(0.4375, abs=1e-12)


def test_a_taken_segment_is_passed_over() -> None:
    truth = rows((0, 0, 0, 10, 1), (0, 0, 1, 11, 1))
    both = rows((0, 0, 0, 10, 0.9), (0, 0, 0, 10, 0.8))
    ap_CT = detection_average_precisions(truth, both, 1)
    assert ap_CT[0, 0] == 1  # unlike AVA's, the second prediction may have the second-best segment
    assert ap_CT[0, 9] == 0.5


def test_of_equal_scores_the_later_comes_first() -> None:
    truth = rows((0, 0, 0, 10, 1))
    right, wrong = (0, 0, 0, 10, 0.5), (0, 0, 50, 60, 0.5)
    assert detection_average_precisions(truth, rows(wrong, right), 1)[0, 0] == 1
    assert detection_average_precisions(truth, rows(right, wrong), 1)[0, 0] == 0.5


def test_segments_without_length() -> None:
    truth = rows((0, 0, 5, 5, 1))
    assert (
        detection_average_precisions(truth, rows((0, 0, 90, 90, 0.5)), 1)[0].tolist() == [1.0] * 10
    )  # as official
    assert detection_average_precisions(truth, rows((0, 0, 5, 6, 0.5)), 1)[0].tolist() == [0.0] * 10


def test_a_class_without_predictions_counts_as_zero() -> None:
    truth = rows((0, 0, 0, 10, 1), (0, 1, 0, 10, 1))
    assert detection_average_precisions(truth, rows((0, 0, 0, 10, 1)), 2)[:, 0].tolist() == [1, 0]
    assert video_average_precisions(truth, rows((0, 0, 0, 0, 1)), 2).tolist() == [1, 0]


def test_a_second_answer_for_a_video_is_wrong() -> None:
    truth = rows((0, 0, 0, 0, 1), (1, 0, 0, 0, 1))
    found = rows((0, 0, 0, 0, 0.9), (0, 0, 0, 0, 0.8), (1, 0, 0, 0, 0.7))
    assert video_average_precisions(truth, found, 1)[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_hits() -> None:
    truth = rows(
        (0, 0, 0, 0, 1), (0, 1, 0, 0, 1), (0, 1, 9, 9, 1), (1, 2, 0, 0, 1)
    )  # one label is there twice
    found = rows((0, 2, 0, 0, 0.9), (0, 1, 0, 0, 0.8), (0, 0, 0, 0, 0.1))
    assert video_hits_at_k(truth, found, 1) == (0, 0)
    assert video_hits_at_k(truth, found, 2) == (
        0.5,
        0.25,
    )  # any of its labels; the video without answer: wrong
    assert video_hits_at_k(truth, found, 3) == (0.5, 0.5)
    video, label, hit = class_hits_at_k(truth, found, 2)
    assert (video.tolist(), label.tolist(), hit.tolist()) == ([0, 0, 1], [0, 1, 2], [False, True, False])
    tied = rows((1, 0, 0, 0, 0.5), (1, 2, 0, 0, 0.5))
    assert video_hits_at_k(rows((1, 2, 0, 0, 1)), tied, 1) == (1, 1)
    assert video_hits_at_k(rows((1, 0, 0, 0, 1)), tied, 1) == (0, 0)


def proposals_case() -> tuple[Segments, Segments, dict[str, object], float]:
    case = json.loads((GOLDEN / "kinetics" / "topk_input.json").read_text())
    wanted = json.loads((GOLDEN / "kinetics" / "topk_outputs.json").read_text())["proposals"]
    names = list(case["proposals_gt"])
    truth = rows(*[(i, 0, *span, 1) for i, name in enumerate(names) for span in case["proposals_gt"][name]])
    found = rows(*[(i, 0, *row) for i, name in enumerate(names) for row in case["proposals"][name]])
    return truth, found, wanted, case["max_avg_proposals"]


def test_proposals_of_the_case() -> None:
    truth, found, wanted, most = proposals_case()
    curve = average_recall(truth, found, most)
    assert list(curve.recall_T100.shape) == wanted["recall_shape"]
    assert curve.average_recall_100 == pytest.approx(wanted["avg_recall"], abs=1e-9)
    assert curve.num_proposals_100 == pytest.approx(wanted["proposals_per_video"], abs=1e-9)
    assert curve.area == pytest.approx(wanted["auc"], abs=1e-9)
    everything = average_recall(truth, found, None)
    assert everything.num_proposals_100[-1] == pytest.approx(len(found.video_N) / 5)
    assert everything.average_recall_100[-1] >= curve.average_recall_100[-1]


def test_videos_without_proposals_count_and_others_do_not() -> None:
    truth = rows((0, 0, 0, 10, 1), (1, 0, 0, 10, 1))
    curve = average_recall(truth, rows((0, 0, 0, 10, 0.5), (7, 0, 0, 10, 0.9)), 1)
    assert curve.average_recall_100[-1] == 0.5
    with pytest.raises(ValueError, match="no proposal lies"):
        average_recall(truth, rows((7, 0, 0, 10, 0.9)))
    with pytest.raises(ValueError, match="too small"):
        average_recall(truth, rows((0, 0, 0, 10, 0.5)), 0.1)


def detections_plainly(truth: Segments, found: Segments, label: int) -> list[float]:
    """The script's loops, one prediction, threshold and segment after the other."""
    segments = [
        (int(v), span)
        for v, c, span in zip(truth.video_N, truth.label_N, truth.span_N2, strict=True)
        if c == label
    ]
    mine = [i for i in range(len(found.video_N)) if found.label_N[i] == label]
    mine = sorted(mine, key=lambda i: found.score_N[i])[::-1]
    figures = []
    for threshold in TIOU_THRESHOLDS:
        taken: set[int] = set()
        right = []
        for i in mine:
            here = [j for j, (video, _) in enumerate(segments) if video == found.video_N[i]]
            overlap = {j: float(temporal_iou(found.span_N2[i], segments[j][1])) for j in here}
            for j in sorted(here, key=lambda j: overlap[j])[::-1]:
                if overlap[j] < threshold:
                    right.append(False)
                    break
                if j not in taken:
                    taken.add(j)
                    right.append(True)
                    break
            else:
                right.append(False)
        figures.append(voc_average_precision(right, len(segments)))
    return figures


def made_segments(seed: int, num: int) -> Segments:
    chance = np.random.default_rng(seed)
    start = chance.integers(0, 30, num)
    return rows(
        *zip(
            chance.integers(0, 4, num),
            chance.integers(0, 3, num),
            start,
            start + chance.integers(1, 12, num),
            np.round(chance.random(num), 2),
            strict=True,
        )
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_detection_against_a_plain_program(seed: int) -> None:
    truth, found = made_segments(seed, 12), made_segments(seed + 1, 60)
    ap_CT = detection_average_precisions(truth, found, 3)
    for label in set(truth.label_N.tolist()):
        assert ap_CT[label] == pytest.approx(detections_plainly(truth, found, label), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter_without_ties(seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth, found = made_segments(seed, 12), made_segments(seed + 1, 60)
    found = Segments(found.video_N, found.label_N, found.span_N2, chance.permutation(60.0 * np.arange(60)))
    mixed = found.pick(chance.permutation(60))
    classes = sorted(set(truth.label_N.tolist()))
    for figure in (detection_average_precisions, video_average_precisions):
        one, other = figure(truth, found, 3), figure(truth, mixed, 3)
        assert one[classes] == pytest.approx(other[classes], abs=1e-12)
    assert video_hits_at_k(truth, found, 3) == pytest.approx(video_hits_at_k(truth, mixed, 3))
    assert average_recall(truth, found).area == pytest.approx(average_recall(truth, mixed).area)
