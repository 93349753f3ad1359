"""Live input: the newest window is scored, what comes too fast is left out and counted."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from vadis.data.reading import Reading
from vadis.live import LiveJob, RollingWindow, answer_live, feed, read_camera, run_live
from vadis.models import create_model, weights
from vadis.models.weights import save_model
from vadis.prediction import Predictor
from vadis.records import VideoError
from vadis.specs import adjust
from vadis.windows import Cut, make_protocol, softmax


def frame(n: int) -> np.ndarray:
    return np.full((4, 4, 3), n % 256, np.uint8)


def numbers(reading: tuple[list[tuple[float, np.ndarray]], float] | None) -> list[int]:
    assert reading is not None
    return [int(frame_HWC[0, 0, 0]) for _, frame_HWC in reading[0]]


def test_a_reader_that_keeps_up_drops_nothing() -> None:
    window = RollingWindow(4)
    for n in range(4):
        window.push(n / 25, frame(n))
    assert numbers(window.read(2)) == [0, 1, 2, 3]
    for n in range(4, 6):
        window.push(n / 25, frame(n))
    assert numbers(window.read(2)) == [2, 3, 4, 5]
    window.push(6 / 25, frame(6))
    window.end()
    assert numbers(window.read(2)) == [3, 4, 5, 6]  # the rest, although it is less than a stride
    assert window.read(2) is None
    assert (window.arrived, window.dropped) == (7, 0)


def test_a_slow_reader_gets_the_newest_and_the_count_of_the_others() -> None:
    window = RollingWindow(4)
    for n in range(4):
        window.push(n / 25, frame(n))
    window.read(4)
    for n in range(4, 20):
        window.push(n / 25, frame(n))
    assert numbers(window.read(4)) == [16, 17, 18, 19]
    assert window.dropped == 12


def test_a_stream_shorter_than_a_window_is_still_answered_and_errors_arrive() -> None:
    window = RollingWindow(4)
    window.push(0.0, frame(7))
    window.end(VideoError("corrupt", "stream", "it broke"))
    assert numbers(window.read(4)) == [7]
    with pytest.raises(VideoError, match="it broke"):
        window.read(4)


def test_frames_are_held_back_to_their_own_time() -> None:
    now = [100.0]

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            return False

    window = RollingWindow(8, clock=lambda: now[0])
    feed(((n / 10, frame(n)) for n in range(5)), window, True, Stop(), clock=lambda: now[0])
    assert now[0] == pytest.approx(100.4)
    before = now[0]
    feed(((n / 10, frame(n)) for n in range(5)), window, False, Stop(), clock=lambda: now[0])
    assert now[0] == before


def test_answers_say_how_old_they_are() -> None:
    torch.manual_seed(0)
    predictor = Predictor(create_model("i3d_inception", tiny=True, num_classes=3), engine="torch", threads=1)
    protocol = make_protocol(predictor.spec, window_seconds=0.4, stride_seconds=0.4)
    now = [0.0]

    def clock() -> float:
        now[0] += 0.25
        return now[0]

    window = RollingWindow(protocol.window, clock=clock)
    for n in range(10):
        window.push(n / 25, np.full((224, 224, 3), n, np.uint8))
    window.end()
    (answer,) = answer_live(predictor, window, protocol, 2, clock=clock)
    assert answer.latency_seconds == pytest.approx(0.25)
    assert (answer.start_seconds, answer.end_seconds) == pytest.approx((0.0, 0.4))
    assert len(answer.labels) == 2


def test_live_flow_is_estimated_between_the_newest_frames(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    torch.manual_seed(0)
    model = create_model("i3d_inception_flow", tiny=True, num_classes=3)
    model.spec = adjust(model.spec, num_frames=10, size=40, crop=32)
    predictor = Predictor(model, engine="torch", threads=1, reading=Reading(flow="farneback"))
    protocol = predictor.make_protocol()
    window = RollingWindow(protocol.window + protocol.ahead)
    frames = np.random.default_rng(0).integers(0, 255, (11, 40, 40, 3), np.uint8)
    for n, frame_HWC in enumerate(frames):
        window.push(n / 25, frame_HWC)
    window.end()
    (answer,) = answer_live(predictor, window, protocol, 3)
    wanted_BK = predictor.score_window(Cut(0, 9, 0.0, 0.4, frames), "live", 25.0)
    scores = {label.label: label.score for label in answer.labels}
    assert [scores[label] for label in range(3)] == pytest.approx(softmax(wanted_BK[0]).tolist())
    sound = save_model(create_model("sound_vggish", tiny=True, num_classes=3), tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match="live input has no sound"):
        run_live(LiveJob(model=str(sound), engine="torch", threads=1), io.BytesIO())


def test_no_camera_and_no_video_are_clear_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    protocol = make_protocol(create_model("i3d_inception", tiny=True).spec)
    with pytest.raises(VideoError, match="camera 97"):
        next(read_camera(97, protocol))
    path = save_model(create_model("i3d_inception", tiny=True, num_classes=3), tmp_path / "m.safetensors")
    job = LiveJob(model=str(path), engine="torch", threads=1, window_seconds=0.4)
    assert run_live(job, io.BytesIO(b"this is no video stream at all")) == 1
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "own", "known"), [(None, 0.0, True), (None, 1.0, False), (1.0, 0.0, False), (0.0, 1.0, True)]
)
def test_the_threshold_is_the_models_unless_one_is_named(
    asked: float | None,
    own: float,
    known: bool,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = create_model("i3d_inception", tiny=True, num_classes=3)
    path = save_model(model, tmp_path / "m.safetensors")
    kept = weights.load(path)
    weights.save(kept.state, path, {**kept.metadata, "calibration": {"threshold": {"score": own}}})
    frames = [(n / 25, np.zeros((224, 224, 3), np.uint8)) for n in range(10)]
    monkeypatch.setattr("vadis.live.read_stream", lambda *arguments: iter(frames))
    job = LiveJob(model=str(path), engine="torch", threads=1, window_seconds=0.4, threshold=asked)
    assert run_live(job, io.BytesIO()) == 0
    said = capsys.readouterr().out
    assert said
    assert ("none of the known actions" not in said) == known
