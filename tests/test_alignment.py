"""Streams come together by the names of their videos, or not at all; leaks are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_scores import make_stream

from vadis.alignment import align, check_leak
from vadis.records import DataError
from vadis.score_files import ScoreFile


def take(file: ScoreFile, rows: list[int]) -> ScoreFile:
    """Some rows of a file, in that order."""
    return replace(
        file,
        names=tuple(file.names[row] for row in rows),
        videos=tuple(file.videos[row] for row in rows),
        labels=tuple(file.labels[row] for row in rows),
        logits_NK=file.logits_NK[rows],
        scores_NK=file.scores_NK[rows],
    )


def test_any_order_of_videos_and_classes() -> None:
    one, two = make_stream((0, 1)), make_stream((2, 3))
    order = np.random.default_rng(0).permutation(len(two)).tolist()
    column_K = [3, 1, 0, 2, 5, 4]
    mixed = take(two, order)
    mixed = replace(
        mixed,
        class_names=tuple(two.class_names[column] for column in column_K),
        logits_NK=mixed.logits_NK[:, column_K],
        scores_NK=mixed.scores_NK[:, column_K],
        labels=tuple((column_K.index(labels[0]),) for labels in mixed.labels),
    )
    plain, turned = align([one, two]), align([one, mixed])
    assert plain.names == turned.names == one.names
    assert plain.labels == turned.labels == one.labels
    np.testing.assert_array_equal(plain.scores_SNK, turned.scores_SNK)
    np.testing.assert_array_equal(plain.logits_SNK, turned.logits_SNK)
    assert turned.usable_N.all()


def test_misaligned_files_are_refused_and_what_is_missing_is_named() -> None:
    one, two = make_stream((0, 1), num=6), make_stream((2, 3), num=6)
    with pytest.raises(
        DataError, match=r"rgb lacks 1 of 6 videos: v0005; flow lacks 2 of 6 videos: v0000, v0002"
    ):
        align([take(one, [0, 1, 2, 3, 4]), take(two, [1, 3, 4, 5])], ["rgb", "flow"])
    shifted = make_stream((2, 3), num=6, first=100)
    with pytest.raises(DataError, match=r"lacks 6 of 12 videos: v0100.* \.\.\."):
        align([one, shifted])


def test_missing_videos_are_an_explicit_choice_and_counted() -> None:
    one, two = make_stream((0, 1), num=6), make_stream((2, 3), num=6)
    kept = align([one, take(two, [1, 2, 3])], allow_missing=True)
    assert kept.num_filled == (0, 3)
    np.testing.assert_array_equal(kept.filled("scores")[1, 0], one.scores_NK[0])
    np.testing.assert_array_equal(kept.filled("scores")[1, 1], two.scores_NK[1])
    assert kept.usable_N.tolist() == [False, True, True, True, False, False]


def test_what_does_not_fit_is_refused() -> None:
    one, two = make_stream((0, 1)), make_stream((2, 3))
    for other, text in (
        (
            replace(two, class_names=(*two.class_names[:5], "jump")),
            "only stream01 has class 5, only stream23 jump",
        ),
        (replace(two, split="val"), "different splits .stream01: test, stream23: val"),
        (
            replace(two, labels=((4,), *two.labels[1:])),
            "v0000: stream01 has the label class 0, stream23 has class 4",
        ),
        (replace(two, multi_label=True), "only one allows several labels"),
    ):
        with pytest.raises(DataError, match=text):
            align([one, other])
    with pytest.raises(ValueError, match="each once"):
        align([one, one])
    with pytest.raises(ValueError, match="2 streams need as many names"):
        align([one, two], ["rgb"])
    hidden = replace(two, labels=((),) * len(two), split="")
    assert align([hidden, one]).labels == one.labels  # one stream may hide them
    assert align([hidden, one]).split == "test"


def test_leaks_are_refused() -> None:
    judged = align([make_stream((0, 1)), make_stream((2, 3))])
    apart: dict[str, Any] = {"first": 1000, "split": "val"}
    fit = align([make_stream((0, 1), **apart), make_stream((2, 3), **apart)])
    assert check_leak(fit, judged) == ""
    overlap: dict[str, Any] = {"first": 60, "split": "val"}
    with pytest.raises(ValueError, match=r"60 of the 120 videos that are judged .*v0060, v0061"):
        check_leak(align([make_stream((0, 1), **overlap), make_stream((2, 3), **overlap)]), judged)
    test: dict[str, Any] = {"first": 1000, "split": "test2"}
    with pytest.raises(ValueError, match="nothing is learnt from the split 'test2'"):
        check_leak(align([make_stream((0, 1), **test), make_stream((2, 3), **test)]), judged)
    later = align([make_stream(sees, first=3000, split="val") for sees in ((0, 1), (2, 3))])
    with pytest.raises(ValueError, match="both parts are of the split 'val'"):
        check_leak(fit, later)
    renamed = replace(fit, names=tuple(f"other{name}" for name in fit.names), videos=judged.videos)
    with pytest.raises(ValueError, match="120 of the 120"):
        check_leak(renamed, judged)
    sources = replace(fit, groups=("tape 1",) * len(fit)), replace(judged, groups=("tape 1",) * len(judged))
    assert "1 sources lie on both sides (tape 1)" in check_leak(*sources)
