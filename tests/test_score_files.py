"""Files of scores: they come back as they were, refuse what is wrong, and hold no pickle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vadis.records import DataError
from vadis.score_files import ScoreFile, make_scores, read_scores, to_scores, write_scores


def make(**options: Any) -> ScoreFile:
    logits_NK = np.random.default_rng(0).normal(size=(3, 4))
    logits_NK[1] = np.nan
    given: dict[str, Any] = {
        "names": ["a/1", "a/2", "b"],
        "class_names": list("wxyz"),
        "labels": [(1,), (), (3,)],
    } | options
    return make_scores(logits_NK=given.pop("logits_NK", logits_NK), **given)


def test_one_label(tmp_path: Path) -> None:
    made = make(
        split="val",
        dataset="d",
        protocol="10x3",
        model="m.k400",
        groups=("g", "g", ""),
        videos=("1", "2", "3"),
    )
    read = read_scores(write_scores(tmp_path / "deep" / "s.npz", made))
    for name in ("names", "labels", "class_names", "split", "dataset", "protocol", "model", "kind", "groups"):
        assert getattr(read, name) == getattr(made, name), name
    np.testing.assert_array_equal(read.logits_NK, made.logits_NK)
    np.testing.assert_array_equal(read.scores_NK, made.scores_NK)
    assert read.scored_N.tolist() == [True, False, True]
    assert read.target_NK.sum(axis=1).tolist() == [1, 0, 1]
    np.testing.assert_allclose(np.nansum(read.scores_NK, axis=1), [1, 0, 1])
    with np.load(tmp_path / "deep" / "s.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_several_labels_and_moments(tmp_path: Path) -> None:
    made = make(
        labels=[(0, 2), (), (1,)],
        multi_label=True,
        moments_NTK=np.ones((3, 2, 4)),
        provenance={"modality": "flow"},
    )
    read = read_scores(write_scores(tmp_path / "s.npz", made))
    assert read.labels == ((0, 2), (), (1,))
    assert read.multi_label
    assert read.provenance == {"modality": "flow"}
    assert read.moments_NTK is not None
    np.testing.assert_allclose(read.scores_NK[0], 1 / (1 + np.exp(-read.logits_NK[0])))


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_alone_have_logits_that_give_them_back(multi_label: bool) -> None:
    scores_NK = to_scores(np.random.default_rng(1).normal(size=(5, 3)), multi_label)
    made = make_scores("abcde", "xyz", [[]] * 5, scores_NK=scores_NK, multi_label=multi_label)
    assert made.kind == "probabilities"
    np.testing.assert_allclose(to_scores(made.logits_NK, multi_label), scores_NK, rtol=1e-9)


def test_files_of_before_are_read(tmp_path: Path) -> None:
    scores_NK = np.array([[0.9, 0.1], [0.2, 0.8]])
    arrays: dict[str, Any] = {
        "scores_NK": scores_NK,
        "ids": np.array(["a", "b"]),
        "class_names": np.array(["x", "y"]),
    }
    np.savez(tmp_path / "one.npz", label_N=[0, -1], **arrays)
    read = read_scores(tmp_path / "one.npz")
    assert read.labels == ((0,), ())
    assert (read.kind, read.split) == ("probabilities", "")
    np.testing.assert_array_equal(read.scores_NK, scores_NK)
    np.savez(tmp_path / "two.npz", label_N=[-1, 0], target_NK=np.array([[1, 1], [1, 0]], bool), **arrays)
    assert read_scores(tmp_path / "two.npz").labels == ((0, 1), (0,))


def test_what_is_no_file_of_scores_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: no such file"):
        read_scores(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.npz: not a file of scores"):
        read_scores(tmp_path / "text.npz")
    np.savez(tmp_path / "pickle.npz", names=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match=r"pickle\.npz: not a file of scores"):
        read_scores(tmp_path / "pickle.npz")
    np.savez(tmp_path / "f.npz", features=np.zeros((2, 20, 8)), provenance=np.array("{}"))
    with pytest.raises(DataError, match="--by tcp"):
        read_scores(tmp_path / "f.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match="not a file of scores"):
        read_scores(tmp_path / "array.npy")
    made = write_scores(tmp_path / "s.npz", make())
    with np.load(made) as file:
        arrays = dict(file)
    np.savez(tmp_path / "new.npz", **arrays | {"provenance": np.array('{"format": 99}')})
    with pytest.raises(DataError, match="another version"):
        read_scores(tmp_path / "new.npz")
    np.savez(tmp_path / "short.npz", **arrays | {"scores_NK": arrays["scores_NK"][:2]})
    with pytest.raises(DataError, match=r"short\.npz: 3 videos of 4 classes"):
        read_scores(tmp_path / "short.npz")


def test_what_does_not_fit_is_refused() -> None:
    for options, text in (
        ({"names": ["a", "a", "b"]}, "'a' comes twice"),
        ({"labels": [(1,), (), (4,)]}, r"b: labels lie in 0\.\.3"),
        ({"labels": [(1, 2), (), (3,)]}, "say multi_label"),
        ({"names": ["a"]}, "1 videos of 4 classes"),
        ({"kind": "guess"}, "kind must be one of"),
    ):
        with pytest.raises(ValueError, match=text):
            make(**options)
    with pytest.raises(ValueError, match="needs logits or scores"):
        make_scores("a", "xy", [[]])
