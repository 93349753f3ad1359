"""Truth against prediction: each moment belongs to the nearest window; what is wrong is counted, marked."""

import numpy as np
import pytest

from vadis.records import LabelScore, Prediction, Span, Window
from vadis.video.truth import best_spans, render_truth, share_right


def prediction(*best: str) -> Prediction:
    """Windows of two seconds, one a second, each with one label."""
    names = sorted(set(best))
    windows = tuple(
        Window(float(start), start + 2.0, (LabelScore(names.index(name), name, 0.9),))
        for start, name in enumerate(best)
    )
    return Prediction("film.mp4", "m", None, "p", duration_seconds=len(best) + 1.0, windows=windows)


def test_windows_meet_halfway_and_runs_are_joined() -> None:
    spans = best_spans(prediction("walk", "walk", "run"))
    assert [(span.start_seconds, span.end_seconds, span.class_name) for span in spans] == [
        (0.0, 2.5, "walk"),
        (2.5, 4.0, "run"),
    ]


def test_the_share_counts_only_what_the_truth_covers() -> None:
    found = prediction("walk", "walk", "run")
    assert share_right(found, [Span(0, 2.5, 0, "walk"), Span(2.5, 4, 1, "run")]) == 1.0
    assert share_right(found, [Span(0, 2, 0, "walk"), Span(2, 4, 1, "run")]) == pytest.approx(1 - 0.5 / 4)
    assert share_right(found, [Span(3, 4, 0, "jump")]) == 0.0


def test_the_picture_marks_what_is_wrong() -> None:
    found = prediction("walk", "walk", "run")
    right = render_truth(found, [Span(0, 2.5, 0, "walk"), Span(2.5, 4, 1, "run")])
    wrong = render_truth(found, [Span(0, 4, 0, "walk")], [np.zeros((90, 160, 3), np.uint8)] * 4)
    assert right.shape[1] == wrong.shape[1] == 1200
    assert wrong.shape[0] > right.shape[0], "room for the strip of frames"
    mark = np.array([160, 60, 0])
    assert not (right == mark).all(-1).any()
    assert (wrong == mark).all(-1).any()
