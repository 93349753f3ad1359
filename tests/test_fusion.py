"""Fusion of scores: averages by hand, what is learnt helps on other videos, files come back."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_scores import make_stream

from vadis.alignment import Streams, align
from vadis.fusion import (
    Fuser,
    learn,
    learn_in_folds,
    load_fuser,
    make_average,
    save_fuser,
    search_weights,
    stack_scores,
    weigh,
)
from vadis.metrics.classification import hit_at_k, mean_average_precision
from vadis.records import DataError
from vadis.score_files import make_scores, read_scores, write_scores


def pair(**options: Any) -> Streams:
    """A quiet stream that knows four of six classes, and a loud one that knows the two others."""
    good = make_stream((0, 1, 2, 3), **options)
    poor = make_stream((4, 5), **{"noise": 1.2, "loud": 6.0} | options)
    return align([good, poor], ["rgb", "audio"])


def top1(values_NK: np.ndarray, streams: Streams) -> float:
    return hit_at_k(values_NK, [labels[0] for labels in streams.labels])


def test_averages_by_hand() -> None:
    streams = pair(num=8)
    a, b = (file.scores_NK for file in streams.files)
    np.testing.assert_allclose(make_average(streams).combine(streams), (a + b) / 2)
    np.testing.assert_allclose(make_average(streams, [1, 1.5]).combine(streams), (a + 1.5 * b) / 2.5)
    a, b = (file.logits_NK for file in streams.files)
    fused = make_average(streams, of="logits").fuse(streams)
    np.testing.assert_allclose(fused.logits_NK, (a + b) / 2)
    assert fused.kind == "logits"
    np.testing.assert_allclose(fused.scores_NK.sum(axis=1), 1)
    for weights in ([1], [1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="weights"):
            make_average(streams, weights)


def test_searched_weights_help_on_other_videos() -> None:
    fit, judged = pair(num=240, first=1000, split="val"), pair(num=240)
    fuser = learn("search", fit)
    equal = top1(make_average(judged).combine(judged), judged)
    found = top1(fuser.combine(judged), judged)
    alone = [top1(file.scores_NK, judged) for file in judged.files]
    assert found > max(alone) + 0.1
    assert found > equal + 0.02
    assert fuser.weights_S[0] > 0.6  # the loud stream is turned down
    assert sum(fuser.weights_S) == pytest.approx(1)
    assert fuser.details["best"] > fuser.details["equal"]
    assert fuser.details["videos"] == 240


def test_the_search_finds_the_best_of_its_grid() -> None:
    fit = align([make_stream((0, 1), num=60), make_stream((2, 3), num=60), make_stream((4,), num=60)])
    weights_S, said = search_weights(fit.scores_SNK, fit.target_NK)
    every = [
        top1(weigh(fit.scores_SNK, (a / 20, b / 20, 1 - (a + b) / 20)), fit)
        for a, b in itertools.product(range(21), repeat=2)
        if a + b <= 20
    ]
    assert said["best"] == pytest.approx(max([*every, said["equal"]]))
    assert top1(weigh(fit.scores_SNK, weights_S), fit) == pytest.approx(said["best"])


def test_more_than_three_streams_climb() -> None:
    parts = [((0, 1), 1.0), ((2, 3), 5.0), ((4,), 1.0), ((5,), 1.0), ((), 8.0)]
    fit, judged = (
        align([make_stream(sees, loud=loud, num=180, first=first, split=split) for sees, loud in parts])
        for first, split in ((1000, "val"), (0, "test"))
    )
    fuser = learn("search", fit)
    assert fuser.details["num_tried"] < 2000
    assert fuser.weights_S[4] < 0.05  # a loud stream that knows nothing
    assert top1(fuser.combine(judged), judged) > top1(make_average(judged).combine(judged), judged) + 0.1


def test_a_support_vector_machine_of_stacked_scores() -> None:
    fit, judged = pair(num=240, first=1000, split="val"), pair(num=240)
    fuser = learn("svm", fit)
    assert fuser.weight_KD is not None
    assert fuser.weight_KD.shape == (6, 12)
    assert set(fuser.details["cross_validation"]) == {"0.01", "0.1", "1", "10", "100"}
    fused = fuser.fuse(judged)
    assert fused.kind == "margins"
    assert top1(fused.scores_NK, judged) > max(top1(file.scores_NK, judged) for file in judged.files) + 0.1
    np.testing.assert_allclose(np.linalg.norm(stack_scores(judged.scores_SNK)[:, :6], axis=1), 1)
    from sklearn.svm import LinearSVC

    theirs = LinearSVC(C=fuser.details["strength"], dual="auto", tol=1e-5, max_iter=5000, random_state=0)
    theirs.fit(stack_scores(fit.scores_SNK), [labels[0] for labels in fit.labels])
    np.testing.assert_allclose(
        theirs.decision_function(stack_scores(judged.scores_SNK)), fused.logits_NK, atol=2e-3
    )


def test_nothing_is_learnt_from_a_test_or_from_nothing() -> None:
    judged = pair(num=60)
    for by in ("search", "svm"):
        with pytest.raises(ValueError, match="nothing is learnt from the split 'test'"):
            learn(by, judged)
        with pytest.raises(ValueError, match="nothing is learnt from the split 'test'"):
            learn_in_folds(by, judged)
    with pytest.raises(ValueError, match="learns nothing"):
        learn("average", judged)
    hidden = [replace(file, labels=((),) * len(file), split="val") for file in judged.files]
    with pytest.raises(ValueError, match="not one video"):
        learn("search", align(hidden))


@pytest.mark.parametrize("by", ["search", "svm"])
def test_cross_validation_judges_each_video_by_the_others(by: str) -> None:
    train = pair(num=240, split="train")
    values_NK = learn_in_folds(by, train)
    assert np.isfinite(values_NK).all()
    assert top1(values_NK, train) > max(top1(file.scores_NK, train) for file in train.files) + 0.1
    noise = [  # what is learnt by heart from noise is worth nothing on the other folds
        replace(
            make_stream((), num=90, num_classes=3, seed=seed, split="train"),
            labels=tuple((int(label),) for label in np.random.default_rng(5).integers(0, 3, 90)),
            model=f"noise {seed}",
        )
        for seed in range(3)
    ]
    assert top1(learn_in_folds(by, align(noise)), align(noise)) < 0.5
    one = align([replace(file, groups=("tape",) * len(file)) for file in train.files])
    with pytest.raises(ValueError, match="two sources"):
        learn_in_folds(by, one)


def test_videos_that_a_stream_could_not_score() -> None:
    good, poor = make_stream((0, 1, 2, 3), num=12), make_stream((4, 5), num=12)
    for array in (poor.scores_NK, poor.logits_NK):
        array[3] = np.nan
    strict, lenient = align([good, poor]), align([good, poor], allow_missing=True)
    assert not make_average(strict).fuse(strict).scored_N[3]
    fused = make_average(lenient).fuse(lenient)
    assert fused.scored_N.all()
    np.testing.assert_allclose(fused.scores_NK[3], good.scores_NK[3])
    assert fused.provenance["missing"] == {"stream0123": 0, "stream45": 1}
    assert make_average(strict, [1, 0]).fuse(strict).scored_N.all()  # a stream without weight has no part


def test_several_labels() -> None:
    rng = np.random.default_rng(0)

    def several(sees: tuple[int, ...], first: int, split: str) -> Any:
        target_NK = np.random.default_rng(first).random((200, 4)) < 0.3
        logits_NK = rng.normal(size=(200, 4)) - 1
        logits_NK[:, list(sees)] += 3.0 * target_NK[:, list(sees)]
        return make_scores(
            [f"{split}{row}" for row in range(200)],
            list("abcd"),
            [np.flatnonzero(row).tolist() for row in target_NK],
            logits_NK=logits_NK,
            multi_label=True,
            split=split,
            model=f"stream{sees}",
        )

    fit = align([several((0, 1), 1, "val"), several((2,), 1, "val")])
    judged = align([several((0, 1), 2, "test"), several((2,), 2, "test")])
    alone = max(mean_average_precision(file.scores_NK, judged.target_NK) for file in judged.files)
    for by in ("search", "svm"):
        fused = learn(by, fit).fuse(judged)
        assert fused.multi_label
        assert mean_average_precision(fused.scores_NK, judged.target_NK) > alone + 0.03
    assert learn("search", fit).details["measure"] == "mean_ap"


@pytest.mark.parametrize("by", ["search", "svm", "weighted"])
def test_a_fusion_comes_back_from_its_file(by: str, tmp_path: Path) -> None:
    fit, judged = pair(num=120, first=1000, split="val"), pair(num=60)
    fuser = make_average(judged, [2, 1], "logits") if by == "weighted" else learn(by, fit)
    again = load_fuser(save_fuser(tmp_path / "fusion.npz", fuser))
    np.testing.assert_array_equal(again.combine(judged), fuser.combine(judged))
    assert again.fit_names == fuser.fit_names
    assert again.describe() == fuser.describe()
    with np.load(tmp_path / "fusion.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    with pytest.raises(ValueError, match="is of 2 streams"):
        again.combine(judged.only([0]))
    other = align([make_stream((0,), num_classes=5), make_stream((1,), num_classes=5)])
    with pytest.raises(ValueError, match="other classes"):
        again.combine(other)
    write_scores(tmp_path / "s.npz", judged.files[0])
    with pytest.raises(DataError, match="not a fusion"):
        load_fuser(tmp_path / "s.npz")


def test_the_fused_file_is_a_file_of_scores_again(tmp_path: Path) -> None:
    streams = pair(num=30)
    fused = make_average(streams, [3, 1]).fuse(streams)
    read = read_scores(write_scores(tmp_path / "f.npz", fused))
    np.testing.assert_array_equal(read.scores_NK, fused.scores_NK)
    assert (read.split, read.dataset, read.model) == ("test", "made", "stream0123 + stream45")
    assert [each["stream"] for each in read.provenance["fused"]] == ["rgb", "audio"]
    assert isinstance(make_average(align([read, streams.files[1]])), Fuser)
