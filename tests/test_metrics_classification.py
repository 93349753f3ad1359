"""Accuracy, average precision and confusion: by hand, against other programs, and by their properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadis.metrics.classification import (
    any_hit_at_k,
    average_of_top1_and_top5,
    average_precision,
    average_precisions,
    challenge_error,
    class_accuracies,
    combine_views,
    confusion_matrix,
    hit_at_k,
    is_hit,
    mean_average_precision,
    mean_class_accuracy,
    mean_over_splits,
    mean_per_group,
    softmax,
    voc_average_precision,
)

GOLDEN = Path(__file__).parent / "golden" / "scores" / "kinetics"
CLIPS = json.loads((GOLDEN / "clips_input.json").read_text())
CLIPS_OUT = json.loads((GOLDEN / "clips_outputs.json").read_text())
TOPK = json.loads((GOLDEN / "topk_input.json").read_text())
TOPK_OUT = json.loads((GOLDEN / "topk_outputs.json").read_text())


def clips() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    logits_NVK = np.array(CLIPS["logits"])
    num_videos, num_views, num_classes = logits_NVK.shape
    return (
        logits_NVK.reshape(-1, num_classes),
        np.repeat(np.arange(num_videos), num_views),
        np.array(CLIPS["labels"]),
    )


def test_averaging_probabilities_or_logits_can_disagree() -> None:
    logits = [[7, 0, 0], [0, 2, 0], [0, 2, 0], [0, 2, 0]]
    probabilities = combine_views(logits, [0, 0, 0, 0], 1, "softmax")
    assert probabilities[0] == pytest.approx([0.32943, 0.59047, 0.08011], abs=5e-6)
    assert combine_views(logits, [0] * 4, 1, "logits")[0].tolist() == [1.75, 1.5, 0]
    assert combine_views(logits, [0] * 4, 1, "max")[0].tolist() == [7, 2, 0]


def test_clips_and_videos_of_the_case() -> None:
    logits, video, labels = clips()
    assert hit_at_k(logits, labels[video]) == pytest.approx(CLIPS_OUT["clip1"], abs=1e-9)
    first = np.arange(0, len(video), 10)
    assert hit_at_k(logits[first], labels) == pytest.approx(0.04, abs=1e-9)  # the log's "Clip1": 1 of 25
    for how in ("softmax", "logits"):
        scores = combine_views(logits, video, len(labels), how)
        name = how.removesuffix("s") if how == "logits" else how
        for k in (1, 5):
            assert hit_at_k(scores, labels, k) == pytest.approx(CLIPS_OUT[f"video{k}_{name}_avg"], abs=1e-9)
    best = combine_views(softmax(logits), video, len(labels), "max")
    assert hit_at_k(best, labels) == pytest.approx(CLIPS_OUT["max_ensemble_softmax_video1"], abs=1e-9)


def test_a_video_without_views_counts_as_wrong() -> None:
    logits, video, labels = clips()
    scores = combine_views(logits, video, len(labels))
    right = is_hit(scores, labels, 5)
    lost = int(np.flatnonzero(right)[0])
    fewer = combine_views(logits[video != lost], video[video != lost], len(labels))
    assert np.isnan(fewer[lost]).all()
    assert is_hit(fewer, labels, 5).sum() == right.sum() - 1
    assert hit_at_k(combine_views(np.zeros((0, 3)), [], 2), [0, 1], 3) == 0  # label 0 is no lucky guess


def test_views_must_fit() -> None:
    with pytest.raises(ValueError, match="2 rows of logits, but 1"):
        combine_views([[1, 2], [3, 4]], [0], 1)
    with pytest.raises(ValueError, match=r"0\.\.0"):
        combine_views([[1, 2]], [1], 1)
    with pytest.raises(ValueError, match=r"labels lie in 0\.\.1"):
        hit_at_k([[1, 2]], [2])
    with pytest.raises(ValueError, match="labels"):
        hit_at_k([[1, 2]], [0, 1])


def test_top_k_of_the_case() -> None:
    for k, wanted in zip((1, 3, 5), TOPK_OUT["top_k_accuracy_1_3_5"], strict=True):
        assert hit_at_k(TOPK["scores"], TOPK["labels"], k) == pytest.approx(wanted, abs=1e-9)
    fused = np.array(TOPK["scores"]) + 0.5 * np.array(TOPK["scores2"])
    wanted = TOPK_OUT["weighted_score_1_0.5_top1"]
    assert hit_at_k(fused, TOPK["labels"]) == pytest.approx(wanted, abs=1e-9)


def test_equal_scores_rank_by_the_number_of_the_class() -> None:
    assert is_hit([[1, 1, 1]] * 3, [0, 1, 2], 1).tolist() == [True, False, False]
    assert is_hit([[0, 2, 2]], [2], 1).tolist() == [False]
    assert is_hit([[0, 2, 2]], [2], 2).tolist() == [True]


def test_any_label_counts() -> None:
    assert any_hit_at_k([[3, 2, 1], [3, 2, 1]], [[0, 1, 1], [0, 0, 1]], 2) == 0.5
    assert any_hit_at_k([[np.nan] * 3], [[1, 1, 1]], 1) == 0


def test_challenge_figures() -> None:
    assert challenge_error(0.15, 0.775) == pytest.approx(0.5375, abs=1e-12)
    assert average_of_top1_and_top5(71.1, 89.3) == pytest.approx(80.2, abs=1e-12)
    assert mean_over_splits([0.951, 0.949, 0.954]) == pytest.approx(0.9513333333333334, abs=1e-15)


def test_confusion_and_class_accuracy_of_the_case() -> None:
    predictions = np.argmax(TOPK["scores"], axis=1)
    counts = confusion_matrix(TOPK["labels"], predictions, 10)
    assert counts.tolist() == TOPK_OUT["confusion_matrix"]
    shares = confusion_matrix(TOPK["labels"], predictions, 10, "truth")
    assert shares == pytest.approx(np.array(TOPK_OUT["confusion_matrix_true"]), abs=1e-9)
    assert mean_class_accuracy(counts, "seen") == pytest.approx(TOPK_OUT["mean_class_accuracy"], abs=1e-9)
    # class 9 is predicted but never true: it counts as 0 there, and not at all here
    assert mean_class_accuracy(counts) == pytest.approx(TOPK_OUT["mean_class_accuracy"] * 10 / 9, abs=1e-9)
    assert np.isnan(class_accuracies(counts)[9])
    accuracy = dict(enumerate(class_accuracies(counts)))
    for label, share in TOPK_OUT["top_k_classes_accurate_3"]:
        assert accuracy[label] == pytest.approx(share, abs=1e-9)


def test_shares_of_columns_and_of_all() -> None:
    counts = confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 3, "all").sum() == 1
    assert confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 3, "prediction")[:, 1] == pytest.approx(
        [1 / 3, 2 / 3, 0]
    )


def test_mean_average_precision_of_the_case() -> None:
    scores, targets = TOPK["multi_scores"], TOPK["multi_labels"]
    for name in ("mean_average_precision", "sklearn_macro_ap_classes_with_positives"):
        assert mean_average_precision(scores, targets) == pytest.approx(TOPK_OUT[name], abs=1e-9)
    wanted = TOPK_OUT["mmit_mean_average_precision"]
    assert mean_average_precision(scores, targets, "videos") == pytest.approx(wanted, abs=1e-9)


def test_average_precision_by_hand() -> None:
    assert average_precision([0.9, 0.8, 0.7], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0]) == 0.25  # one step: ties have no order
    assert average_precision([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]) == 0.25
    assert np.isnan(average_precision([1.0, 2.0], [0, 0]))
    scores, targets = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [[1, 0], [0, 0], [1, 0]]
    assert mean_average_precision(scores, targets) == pytest.approx(
        5 / 6
    )  # the class without positives is out
    weighted = mean_average_precision(
        [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [[1, 1], [0, 0], [1, 0]], "weighted"
    )
    assert weighted == pytest.approx((5 / 6 * 2 + 1 / 3) / 3)
    with pytest.raises(ValueError, match="not one positive"):
        mean_average_precision([[1.0]], [[0]])
    with pytest.raises(ValueError, match="targets"):
        average_precisions([[1.0, 2.0]], [[1]])


def test_voc_average_precision_by_hand() -> None:
    assert voc_average_precision([True, False, True], 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc_average_precision([False, True, True], 2) == pytest.approx(2 / 3)  # the envelope
    assert voc_average_precision([True], 4) == 0.25
    assert voc_average_precision([], 3) == 0
    assert np.isnan(voc_average_precision([True], 0))


def test_groups() -> None:
    per_class = {"walk": 0.5, "run": 1.0, "talk": None, "hug": float("nan")}
    groups = {"pose": ["walk", "run"], "person": ["talk", "hug"]}
    assert mean_per_group(per_class, groups) == {"pose": 0.75, "person": None}
    with pytest.raises(KeyError):
        mean_per_group(per_class, {"pose": ["fly"]})


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 8))
def test_the_order_of_rows_does_not_matter(seed: int, num: int, num_classes: int) -> None:
    chance = np.random.default_rng(seed)
    scores, targets = chance.permuted(np.arange(num * num_classes)), chance.random((num, num_classes)) < 0.4
    scores, targets = scores.reshape(num, num_classes).astype(float), targets
    targets[0, 0] = True
    labels, order = chance.integers(0, num_classes, num), chance.permutation(num)
    assert hit_at_k(scores[order], labels[order], 2) == hit_at_k(scores, labels, 2)
    assert mean_average_precision(scores[order], targets[order]) == pytest.approx(
        mean_average_precision(scores, targets), abs=1e-12
    )
    # nor does a growing function of the scores
    assert average_precision(np.exp(scores[:, 0] / 50), targets[:, 0]) == average_precision(
        scores[:, 0], targets[:, 0]
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_hits_grow_with_k_up_to_all(seed: int, num: int) -> None:
    chance = np.random.default_rng(seed)
    scores, labels = np.round(chance.random((num, 6)), 1), chance.integers(0, 6, num)
    shares = [hit_at_k(scores, labels, k) for k in range(1, 7)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
