"""Flow of every method: what goes in, what comes out, and how exact it is on motion that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vadis.data.known_motion import end_point_error, known_motion
from vadis.records import VideoError
from vadis.video.decode import Video
from vadis.video.flow import METHODS, Estimator, Flow, estimate_flow, flow_pieces, opencv
from vadis.video.write import VideoWriter

PIXELS = ("dis", "farneback", "tvl1_opencv", "tvl1")
SMALL = (64, 48)


def moving(frames: int = 4, size: tuple[int, int] = SMALL) -> np.ndarray:
    return known_motion("translation", frames=frames, size=size).frames_THWC


@pytest.mark.parametrize("method", PIXELS)
def test_a_translation_is_found_and_points_the_right_way(method: str) -> None:
    flow = estimate_flow(moving(3, (104, 80)), method)
    assert flow.fields_THW2.shape == (2, 80, 104, 2)
    assert flow.fields_THW2.dtype == np.float32
    assert (flow.size, flow.grid, flow.method, flow.known_THW) == ((80, 104), 1, method, None)
    middle = np.median(flow.fields_THW2[:, 10:-10, 10:-10], (1, 2))
    assert np.abs(middle - (2.3, -1.4)).max() < 0.15


@pytest.mark.parametrize("method", PIXELS)
def test_contract(method: str) -> None:
    frames = moving()
    estimator = Estimator(method)
    whole = estimator(frames)
    single = np.concatenate([estimator(frames[i : i + 2]).fields_THW2 for i in range(3)])
    assert np.array_equal(whole.fields_THW2, single)
    assert np.array_equal(estimator(frames, [2, 0]).fields_THW2, whole.fields_THW2[[2, 0]])
    together = Estimator(method, batch_size=3)(frames).fields_THW2
    assert np.abs(together - whole.fields_THW2).max() < 1e-4
    none = estimator(frames[:1])
    assert len(none) == 0
    assert none.fields_THW2.shape == (0, 48, 64, 2)
    still = estimator(np.full((2, 40, 50, 3), 90, np.uint8)).fields_THW2
    assert np.array_equal(still, np.zeros_like(still))
    for height, width in ((1, 1), (2, 30), (17, 16)):
        tiny = estimator(np.ascontiguousarray(moving(2)[:, :height, :width])).fields_THW2
        assert tiny.shape == (1, height, width, 2)
        assert np.isfinite(tiny).all()


def test_bad_input_is_refused() -> None:
    frames = moving(2)
    with pytest.raises(ValueError, match="uint8"):
        estimate_flow(frames.astype(np.float32), "dis")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\)"):
        estimate_flow(frames[..., 0], "dis")
    with pytest.raises(ValueError, match="there are dis, farneback"):
        estimate_flow(frames, "brox")
    with pytest.raises(ValueError, match="in a file"):
        estimate_flow(frames, "mv")
    with pytest.raises(ValueError, match="preset"):
        estimate_flow(frames, "dis", preset="slow")
    with pytest.raises(ValueError, match="options levels"):
        estimate_flow(frames, "farneback", theta=1)
    with pytest.raises(ValueError, match="at least 1"):
        estimate_flow(frames, "dis", batch_size=0)
    with pytest.raises(IndexError, match="from 0 to 0"):
        Estimator("dis")(frames, [1])


def test_options_change_the_result() -> None:
    frames = moving(2)
    for method, options in (
        ("dis", {"preset": "medium"}),
        ("farneback", {"window": 25}),
        ("tvl1_opencv", {"lambda_": 0.05}),
        ("tvl1", {"lambda_": 0.05}),
        ("tvl1", {"parameters": "paper", "iterations": 5}),
    ):
        plain = estimate_flow(frames, method).fields_THW2
        changed = estimate_flow(frames, method, **options).fields_THW2
        assert 1e-3 < np.abs(changed - plain).max() < 20


def test_opencv_has_the_parameters_of_the_spec() -> None:
    engine = opencv().optflow.DualTVL1OpticalFlow_create()
    found = [engine.getTau(), engine.getLambda(), engine.getTheta(), engine.getScalesNumber()]
    found += [engine.getWarpingsNumber(), engine.getEpsilon(), engine.getInnerIterations()]
    found += [
        engine.getOuterIterations(),
        engine.getScaleStep(),
        engine.getGamma(),
        engine.getMedianFiltering(),
    ]
    assert found == [0.25, 0.15, 0.3, 5, 5, 0.01, 30, 10, 0.8, 0.0, 5]
    frames = moving(2)
    grey = [opencv().cvtColor(frame, opencv().COLOR_RGB2GRAY) for frame in frames]
    assert np.array_equal(engine.calc(*grey, None), estimate_flow(frames, "tvl1_opencv").fields_THW2[0])


def test_flow_follows_the_size_of_the_picture() -> None:
    fields = np.tile(np.array([2.0, -3.0], np.float32), (2, 20, 40, 1))
    flow = Flow(fields, (20, 40))
    scaled = flow.resized(60, 20)
    assert scaled.size == (60, 20)
    assert np.allclose(scaled.fields_THW2, (1.0, -9.0), atol=1e-5)
    assert scaled.fields_THW2.dtype == np.float32
    assert flow.resized(20, 40) is flow
    assert flow[:0].resized(10, 10).fields_THW2.shape == (0, 10, 10, 2)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        flow.resized(0, 4)


def test_blocks_become_pixels() -> None:
    fields = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    known = np.array([[[True, False, True], [True, True, True]]])
    flow = Flow(fields, (10, 20), 8, "mv", known)
    dense = flow.dense()
    assert dense.fields_THW2.shape == (1, 10, 20, 2)
    assert np.array_equal(dense.fields_THW2[0, 9, 17], fields[0, 1, 2])
    assert dense.known_THW is not None
    assert not dense.known_THW[0, 0, 8:16].any()
    assert dense.known_THW[0, 8:].all()
    half = flow.resized(5, 10)
    assert half.known_THW is not None
    assert np.allclose(half.fields_THW2[0, 1, 1], fields[0, 0, 0] / 2)
    assert not half.known_THW[0, 0, 5]
    with pytest.raises(ValueError, match="vectors"):
        Flow(fields, (10, 40), 8)
    with pytest.raises(ValueError, match="known_THW"):
        Flow(fields, (10, 20), 8, "mv", known[:, :1])


def write(path: Path, frames: np.ndarray) -> Path:
    with VideoWriter(path, 25.0) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_pieces_of_a_video_are_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", moving(8))

    def gather(*args: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, int]:
        pieces = list(flow_pieces(*args, **options))
        fields = [flow.fields_THW2 for flow, _ in pieces]
        return np.concatenate(fields), np.concatenate([times for _, times in pieces]), max(map(len, fields))

    whole, times, _ = gather(path, "dis", pairs_at_once=100)
    assert len(whole) == 7
    assert np.allclose(times, np.arange(7) / 25)
    for pairs in (1, 3, 7):
        fields, seconds, longest = gather(path, "dis", pairs_at_once=pairs)
        assert np.array_equal(fields, whole)
        assert np.array_equal(seconds, times)
        assert longest <= pairs
    fields, seconds, _ = gather(path, "dis", pairs_at_once=2, first=2, stop=7)
    assert np.array_equal(fields, whole[2:6])
    assert np.array_equal(seconds, times[2:6])
    with Video(path) as video:
        assert np.array_equal(gather(video, Estimator("dis"), pairs_at_once=2, first=1)[0], whole[1:])
        with pytest.raises(ValueError, match="short_side"):
            next(flow_pieces(video, "dis", short_side=40))
    small, _, _ = gather(path, "dis", short_side=24)
    assert small.shape[1:3] == (24, 32)
    vectors, seconds, longest = gather(path, "mv", pairs_at_once=3)
    assert vectors.shape == (7, 6, 8, 2)
    assert np.array_equal(seconds, times)
    assert longest == 3
    assert list(flow_pieces(write(tmp_path / "one.mp4", moving(1)), "dis")) == []
    with pytest.raises(VideoError):
        list(flow_pieces(tmp_path / "none.mp4", "dis"))
    with pytest.raises(ValueError, match="its path"):
        next(flow_pieces(path, "mv", short_side=40))


def test_no_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install \"vadis\[flow\]\""):
        estimate_flow(moving(2), "dis")
    assert estimate_flow(moving(2), "tvl1").fields_THW2.any()  # ours needs no OpenCV


def test_the_table_of_methods() -> None:
    assert set(METHODS) == {"dis", "farneback", "tvl1_opencv", "tvl1", "raft", "mv"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same() -> None:
    frames = moving(4)
    here = estimate_flow(frames, "tvl1", device="cpu").fields_THW2
    there = estimate_flow(frames, "tvl1", device="cuda").fields_THW2
    assert end_point_error(there, here) < 0.01
