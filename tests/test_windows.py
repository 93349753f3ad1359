"""Windows, spans and labels by the rule; nothing is decoded and no model runs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadis.records import DecodeReport, LabelScore, Window
from vadis.specs import ClipSpec
from vadis.video.frames import Frames
from vadis.video.sample import window_indices
from vadis.windows import (
    DEFAULT_THRESHOLD,
    PAPER_FRAMES,
    Cut,
    Protocol,
    cut_windows,
    find_spans,
    make_protocol,
    rank_labels,
    read_calibration,
    softmax,
)

I3D = ClipSpec(num_frames=64, fps=25.0, size=256, crop=224, value_range=(-1.0, 1.0))


def numbered_chunks(num_frames: int, chunk: int = 7) -> Iterator[Frames]:
    """A stream whose frame n is filled with the number n, shown at n / 25 seconds."""
    report = DecodeReport("made", num_frames, num_frames)
    for first in range(0, num_frames, chunk):
        numbers = np.arange(first, min(first + chunk, num_frames))
        frames_THWC = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 4, 6, 3)).astype(np.uint8)
        corrupt_T = np.zeros(len(numbers), bool)
        yield Frames(frames_THWC, numbers / 25, numbers, corrupt_T, report)


def shown(cut: Cut) -> list[int]:
    return cut.frames_THWC[:, 0, 0, 0].tolist()


def rule(window: int, stride: int, **options: object) -> Protocol:
    return Protocol("windows", 25.0, 4, 4, window, stride, **options)  # type: ignore[arg-type]


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 60), st.integers(1, 9))
def test_windows_are_those_of_the_pure_rule(num_frames: int, window: int, stride: int, chunk: int) -> None:
    cuts = list(cut_windows(numbered_chunks(num_frames, chunk), rule(window, stride)))
    expected = window_indices(num_frames, window, stride)
    assert [shown(cut) for cut in cuts] == expected.tolist()
    assert cuts[-1].last_seconds == (num_frames - 1) / 25  # the last window ends with the video


def test_a_short_video_loops_and_the_paper_takes_it_as_it_is() -> None:
    (looped,) = cut_windows(numbered_chunks(5), rule(12, 12))
    assert shown(looped) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    (whole,) = cut_windows(numbered_chunks(20), rule(250, 250, loop=False, min_frames=9))
    assert shown(whole) == list(range(20))
    (least,) = cut_windows(numbered_chunks(4), rule(250, 250, loop=False, min_frames=9))
    assert shown(least) == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert list(cut_windows(numbered_chunks(0), rule(12, 12))) == []


def test_frame_stride_is_taken_within_the_window() -> None:
    cuts = list(cut_windows(numbered_chunks(20), rule(8, 8, frame_stride=2)))
    assert [shown(cut) for cut in cuts] == [[0, 2, 4, 6], [8, 10, 12, 14], [12, 14, 16, 18]]


def test_protocols_say_what_they_are() -> None:
    default = make_protocol(I3D)
    assert (default.window, default.stride, default.fps) == (64, 64, 25.0)
    for part in ("25 fps", "224", "64 frames", "logits averaged"):
        assert part in default.describe()
    assert make_protocol(I3D, window_seconds=1.28, stride_seconds=0.5).window == 32
    assert make_protocol(I3D, "paper").window == PAPER_FRAMES
    with pytest.raises(ValueError, match="'windows' and 'paper'"):
        make_protocol(I3D, "papper")
    with pytest.raises(ValueError, match="too short"):
        make_protocol(I3D, window_seconds=0.1, min_frames=9)
    with pytest.raises(ValueError, match="positive number"):
        make_protocol(I3D, stride_seconds=-1.0)
    with pytest.raises(ValueError, match="leave out"):
        make_protocol(I3D, "paper", window_seconds=2.0)


def test_scores_are_a_softmax_that_keeps_the_smallest() -> None:
    logits_K = np.array([0.0, 60.0, -40.0, 60.0], np.float32)
    assert softmax(logits_K).sum() == pytest.approx(1.0)
    labels = rank_labels(logits_K, ["a", "b", "c", "d"], 4)
    assert [label.class_name for label in labels] == ["b", "d", "a", "c"]  # ties: the lower label first
    assert labels[-1].score > 0
    assert math.log(labels[0].score) - math.log(labels[-1].score) == pytest.approx(100.0, rel=1e-6)


def test_spans_are_maximal_runs_at_or_above_the_threshold() -> None:
    answers = [(1, 0.9), (1, 0.5), (2, 0.8), (2, 0.4), (1, 0.7), (1, 0.7), (1, 0.49)]
    windows = [
        Window(float(n), n + 1.0, (LabelScore(label, f"class {label}", score),))
        for n, (label, score) in enumerate(answers)
    ]
    spans = find_spans(windows, 0.5)
    assert [(span.start_seconds, span.end_seconds, span.label) for span in spans] == [
        (0.0, 2.0, 1),
        (2.0, 3.0, 2),
        (4.0, 6.0, 1),
    ]
    assert spans[0].score == pytest.approx(0.7)
    assert find_spans(windows, 0.95) == ()


def test_a_calibration_is_the_models_own() -> None:
    assert read_calibration(None, "m") == (1.0, DEFAULT_THRESHOLD)
    assert read_calibration({"temperature": 2}, "m") == (2.0, DEFAULT_THRESHOLD)
    assert read_calibration({"temperature": 2, "threshold": None}, "m") == (2.0, DEFAULT_THRESHOLD)
    assert read_calibration({"temperature": 1.5, "threshold": {"score": 0.0}}, "m") == (1.5, 0.0)
    for wrong in ({"temperature": 0}, {"temperature": math.inf}, {"threshold": {"score": 1.1}}):
        with pytest.raises(ValueError, match=r"m: a calibration with .* calibrate it again"):
            read_calibration(wrong, "m")
