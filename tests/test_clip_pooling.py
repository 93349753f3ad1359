"""Temporal convolutional pooling: it learns an order that averages cannot see; files, leaks, labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vadis.alignment import check_leak
from vadis.clip_pooling import ClipFeatures, Training, align_features, fit_pooling, load_pooling, save_pooling
from vadis.feature_store import FeatureSet, load_features, save_features
from vadis.metrics.classification import hit_at_k, mean_average_precision
from vadis.records import DataError, Failure

QUICK = Training(epochs=30, width=16, batch_size=16, dropout=0.1, lr=1e-2)
NUM, CLIPS, WIDTH = 120, 20, 12


def ordered(
    seed: int, *, split: str = "train", knows: int = 2, noise: float = 0.3, **options: Any
) -> FeatureSet:
    """Videos that begin with one thing and end with another; the class is which comes first.

    Four classes: (A then B), (B then A), (C then D), (D then C). A network that knows 1 mixes the pairs up.
    """
    rng = np.random.default_rng([seed, knows])
    label_N = np.arange(NUM) % 4
    things_4D = np.random.default_rng(9).normal(size=(4, WIDTH))
    features_NVD = noise * rng.normal(size=(NUM, CLIPS, WIDTH))
    for row, label in enumerate(label_N):
        pair = 2 * (label // 2) if knows == 2 else 0
        first, second = (pair, pair + 1) if label % 2 == 0 else (pair + 1, pair)
        turn = CLIPS // 2  # as many clips of each, so that the mean says nothing of the order
        features_NVD[row, :turn] += things_4D[first]
        features_NVD[row, turn:] += things_4D[second]
    given: dict[str, Any] = {
        "features_NVD": features_NVD.astype(np.float32),
        "seconds_NV2": np.zeros((NUM, CLIPS, 2)),
        "labels": tuple((int(label),) for label in label_N),
        "ids": tuple(f"{split}/{row}" for row in range(NUM)),
        "videos": tuple(f"{split}/{row}.mp4" for row in range(NUM)),
        "class_names": ("ab", "ba", "cd", "dc"),
        "provenance": {"model": f"net{knows}.k400", "split": split, "protocol": f"{CLIPS} uniform centre"},
    } | options
    return FeatureSet(**given)


def one(seed: int, split: str = "train", **options: Any) -> ClipFeatures:
    return align_features([ordered(seed, split=split, **options)], ["rgb"])


def top1(pooling: Any, features: ClipFeatures) -> float:
    return hit_at_k(pooling.score(features).scores_NK, [labels[0] for labels in features.rows.labels])


def test_tcp_learns_an_order_that_averages_cannot_see() -> None:
    fit, test = one(0), one(1, "test")
    average, tcp = fit_pooling("average", fit, QUICK), fit_pooling("tcp", fit, QUICK)
    assert 0.35 < top1(average, test) < 0.65  # the pair, not its order
    assert top1(tcp, test) > 0.9
    assert tcp.details["held_out"] == 24
    assert tcp.details["best_epoch"] >= 1


def test_two_streams_join() -> None:
    """One stream knows the order, the other one which pair it is: only both tell all four classes."""

    def both(seed: int, split: str) -> ClipFeatures:
        order = ordered(seed, split=split, knows=1)
        pair = ordered(seed + 50, split=split)
        rng = np.random.default_rng(seed)
        mixed = np.stack([clips_VD[rng.permutation(CLIPS)] for clips_VD in pair.features_NVD])
        return align_features([order, replace(pair, features_NVD=mixed)], ["rgb", "audio"])

    fit, test = both(0, "train"), both(1, "test")
    alone = [
        top1(fit_pooling("tcp", fit.only([name]), QUICK), test.only([name])) for name in ("rgb", "audio")
    ]
    joined = top1(fit_pooling("tcp", fit, QUICK), test)
    averaged = top1(fit_pooling("average", fit, QUICK), test)
    assert max(alone) < 0.7
    assert joined > 0.9
    assert averaged < 0.7


def test_seeds_and_files(tmp_path: Path) -> None:
    fit, test = one(0), one(1, "test")
    short = replace(QUICK, epochs=3)
    before = torch.random.get_rng_state()
    pooling, same, other = (fit_pooling("tcp", fit, replace(short, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    scores = pooling.score(test)
    np.testing.assert_array_equal(scores.logits_NK, same.score(test).logits_NK)
    assert not np.allclose(scores.logits_NK, other.score(test).logits_NK)
    again = load_pooling(save_pooling(tmp_path / "tcp.safetensors", pooling))
    np.testing.assert_array_equal(again.score(test).logits_NK, scores.logits_NK)
    assert again.fit_names == fit.rows.names
    assert (scores.split, scores.model) == ("test", "aggregate_tcp(net2.k400)")
    assert scores.provenance["learnt_from"] == {"split": "train", "videos": NUM}
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a pooling"):
        load_pooling(tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="takes the streams"):
        again.score(align_features([ordered(1), ordered(1, knows=1)]))
    with pytest.raises(DataError, match="other classes"):
        again.score(one(1, class_names=("ab", "ba", "cd", "x")))


def test_leaks_are_refused_as_for_scores() -> None:
    fit, test = one(0), one(1, "test")
    assert check_leak(fit.rows, test.rows) == ""
    with pytest.raises(ValueError, match="nothing is learnt from the split 'test'"):
        check_leak(test.rows, fit.rows)
    with pytest.raises(ValueError, match="120 of the 120 videos"):
        check_leak(fit.rows, fit.rows)


def test_features_of_any_order_crops_and_what_could_not_be_read(tmp_path: Path) -> None:
    whole = ordered(0)
    order = np.random.default_rng(0).permutation(NUM)
    crops_NVD = np.repeat(whole.features_NVD, 3, axis=1)
    crops_NVD[:, 1::3] += 1
    crops_NVD[:, 2::3] -= 1
    crops_NVD[5] = np.nan
    shuffled = FeatureSet(
        crops_NVD[order],
        np.zeros((NUM, 60, 2)),
        tuple(whole.labels[row] for row in order),
        tuple(whole.ids[row] for row in order),
        tuple(whole.videos[row] for row in order),
        whole.class_names,
        whole.provenance,
        {int(np.flatnonzero(order == 5)[0]): Failure("corrupt", "no")},
    )
    save_features(tmp_path / "f.npz", shuffled)
    both = align_features([whole, load_features(tmp_path / "f.npz")], ["a", "b"])
    assert both.num_clips == 20
    kept = np.arange(NUM) != 5
    np.testing.assert_allclose(both.features["b"][kept], whole.features_NVD[kept], atol=1e-6)
    assert both.readable_N.tolist() == kept.tolist()
    scores = fit_pooling("tcp", both, replace(QUICK, epochs=1)).score(both)
    assert scores.scored_N.tolist() == kept.tolist()


def test_what_does_not_fit_is_refused() -> None:
    fewer = ordered(
        0, features_NVD=np.zeros((NUM, 10, WIDTH), np.float32), seconds_NV2=np.zeros((NUM, 10, 2))
    )
    fewer = replace(fewer, provenance={"protocol": "10 uniform centre"})
    with pytest.raises(DataError, match="different numbers of clips: a 20, b 10"):
        align_features([ordered(0), fewer], ["a", "b"])
    maps = replace(ordered(0), features_NVD=np.zeros((NUM, CLIPS, WIDTH, 2, 7, 7), np.float32))
    with pytest.raises(DataError, match="are maps"):
        align_features([maps])
    single = replace(ordered(0), features_NVD=np.zeros((NUM, 1, WIDTH), np.float32), provenance={})
    with pytest.raises(DataError, match="--protocol 20x1"):
        fit_pooling("tcp", align_features([single]))
    with pytest.raises(ValueError, match="too few"):
        fit_pooling("tcp", one(0, labels=((),) * NUM))
    with pytest.raises(ValueError, match="above zero"):
        Training(epochs=0)


def test_several_labels() -> None:
    def several(seed: int, split: str) -> ClipFeatures:
        rng = np.random.default_rng(seed)
        target_NK = rng.random((NUM, 4)) < 0.4
        features_NVD = 0.5 * rng.normal(size=(NUM, CLIPS, WIDTH))
        things_4D = np.random.default_rng(9).normal(size=(4, WIDTH))
        for label in range(4):
            features_NVD[:, 5 * label : 5 * label + 5] += target_NK[:, label, None, None] * things_4D[label]
        labels = tuple(tuple(np.flatnonzero(row).tolist()) for row in target_NK)
        return one(0, split, features_NVD=features_NVD.astype(np.float32), labels=labels)

    test = several(1, "test")
    scores = fit_pooling("tcp", several(0, "train"), QUICK).score(test)
    assert scores.multi_label
    assert mean_average_precision(scores.scores_NK, test.rows.target_NK) > 0.8
