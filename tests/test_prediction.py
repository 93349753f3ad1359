"""Whole videos through the one inference path, with a tiny network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vadis.models import create_model
from vadis.prediction import Predictor, cut_spans, predict
from vadis.records import Limits, VideoError
from vadis.video.decode import decode
from vadis.video.probe import probe
from vadis.video.write import VideoWriter
from vadis.windows import (
    softmax,
)


@pytest.fixture(scope="module")
def tiny() -> Predictor:
    torch.manual_seed(0)
    return Predictor(create_model("i3d_inception", tiny=True, num_classes=6), engine="torch")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7.2 seconds at 30 fps: a block that moves over a gradient."""
    path = tmp_path_factory.mktemp("videos") / "moving block.mp4"
    rows, columns = np.mgrid[0:96, 0:128]
    with VideoWriter(path, 30) as writer:
        for n in range(216):
            frame_HWC = np.stack([rows * 2, columns, (rows + columns + n) % 255], -1).astype(np.uint8)
            frame_HWC[20:60, n % 88 : n % 88 + 40] = (230, 40, n % 255)
            writer.write(frame_HWC)
    return path


def test_a_video_is_predicted_with_its_report(tiny: Predictor, clip: Path) -> None:
    prediction = tiny.predict(clip, top_k=3, threshold=0.0)
    assert prediction.video == str(clip)
    assert prediction.error is None
    assert prediction.duration_seconds == pytest.approx(7.2)
    assert (prediction.frames_expected, prediction.frames_decoded) == (216, 216)
    assert [len(window.labels) for window in prediction.windows] == [3, 3, 3]
    times = [(window.start_seconds, window.end_seconds) for window in prediction.windows]
    # 180 frames at 25 fps: windows from 0, 64 and, to end with the video, 116
    assert np.array(times) == pytest.approx(np.array([(0.0, 2.56), (2.56, 5.12), (4.64, 7.2)]))
    assert prediction.spans[0].start_seconds == 0.0
    assert prediction.spans[-1].end_seconds == pytest.approx(7.2)
    assert len(prediction.labels) == 3
    assert prediction.labels[0].score >= prediction.labels[1].score


def test_logits_are_averaged_before_the_softmax(tiny: Predictor, clip: Path) -> None:
    prediction = tiny.predict(clip, top_k=6)
    logs = np.zeros(6)
    for window in prediction.windows:
        scores = {label.label: label.score for label in window.labels}
        logs += np.log([scores[k] for k in range(6)]) / len(prediction.windows)
    ours = {label.label: label.score for label in prediction.labels}
    assert [ours[k] for k in range(6)] == pytest.approx(softmax(logs).tolist(), rel=1e-4)


def test_many_videos_go_on_after_a_broken_one(tiny: Predictor, clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "text.mp4"
    broken.write_text("this is not a video, whatever it is called")
    missing = tmp_path / "none.mp4"
    results = list(tiny.predict_many([clip, broken, missing, clip], workers=3))
    assert [result.video for result in results] == [str(clip), str(broken), str(missing), str(clip)]
    kinds = [result.error and result.error.kind for result in results]
    assert kinds == [None, "not_video", "not_found", None]
    assert results[0].labels == results[3].labels
    with pytest.raises(VideoError, match=r"none\.mp4"):
        tiny.predict(missing)


def test_the_child_process_gives_the_same(tiny: Predictor, clip: Path) -> None:
    inside, outside = tiny.predict(clip), tiny.predict(clip, untrusted=True)
    assert (inside.duration_seconds, inside.report) == (outside.duration_seconds, outside.report)
    for ours, theirs in zip(inside.labels, outside.labels, strict=True):
        assert ours.label == theirs.label
        assert ours.score == pytest.approx(theirs.score, rel=1e-3)  # Pillow's rounding, not PyTorch's


def test_limits_reach_the_decoder(tiny: Predictor, clip: Path) -> None:
    with pytest.raises(VideoError) as caught:
        tiny.predict(clip, limits=Limits(max_seconds=1.0))
    assert caught.value.kind == "too_large"


def test_the_paper_protocol_is_one_pass(tiny: Predictor, clip: Path) -> None:
    prediction = tiny.predict(clip, protocol="paper")
    assert len(prediction.windows) == 1
    assert prediction.windows[0].end_seconds == pytest.approx(7.2)
    assert "one fully convolutional pass" in prediction.protocol


def test_batches_change_nothing(clip: Path) -> None:
    torch.manual_seed(0)
    network = create_model("i3d_inception", tiny=True, num_classes=6)
    one = Predictor(network, engine="torch", batch_size=1).predict(clip, stride_seconds=1.2)
    four = Predictor(network, engine="torch", batch_size=4).predict(clip, stride_seconds=1.2)
    assert [w.labels[0].label for w in one.windows] == [w.labels[0].label for w in four.windows]
    assert one.labels[0].score == pytest.approx(four.labels[0].score, rel=1e-4)


def test_networks_without_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"i3d_inception\.k400"):
        Predictor("i3d_inception")
    with pytest.raises(ValueError, match="i3d_inception"):
        predict("a.mp4", model="i3d_incepton.k400")
    with pytest.raises(ValueError, match="top_k"):
        Predictor(create_model("i3d_inception", tiny=True)).predict("a.mp4", top_k=0)


def test_spans_are_cut_into_clips_of_their_own(tiny: Predictor, clip: Path, tmp_path: Path) -> None:
    prediction = tiny.predict(clip, threshold=0.0)
    files = cut_spans(prediction, tmp_path / "clips")
    assert len(files) == len(prediction.spans) > 0
    for path, span in zip(files, prediction.spans, strict=True):
        duration = probe(path).duration_seconds
        assert duration == pytest.approx(span.end_seconds - span.start_seconds, abs=0.05)
        first = decode(path, indices=[0]).frames_THWC[0].astype(int)
        source = decode(clip, seconds=[span.start_seconds]).frames_THWC[0].astype(int)
        assert np.abs(first - source).mean() < 6  # encoded twice
