"""Dense scores: where they stand in time, how clips join, moments, spans, records, datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from vadis.cli import app
from vadis.evaluation.dense import (
    DenseScores,
    check_dense,
    find_spans,
    score_dataset_densely,
    score_densely,
    to_prediction,
)
from vadis.metrics.charades import active_moments, localize
from vadis.models import create_model, weights
from vadis.models.contract import VideoModel
from vadis.models.weights import save_model
from vadis.records import Dataset, Example, Span, VideoError
from vadis.specs import ClipSpec
from vadis.video.decode import Video
from vadis.video.transform import prepare_clip
from vadis.video.write import VideoWriter

FPS = 10


class Brightness(VideoModel):
    """Answers every `step` frames with what it sees: class 0 is how bright they are, class 1 how dark."""

    def __init__(self, num_frames: int = 8, step: int = 1, stride: int = 1, fps: float | None = None) -> None:
        super().__init__()
        self.spec = ClipSpec(
            num_frames=num_frames, frame_stride=stride, fps=fps, size=32, crop=32, mean=(0.0,) * 3
        )
        self.num_classes, self.step, self.clips = 2, step, 0
        self.class_names = ("bright", "dark")

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        self.clips += len(clip_BCTHW)
        mean_BT = clip_BCTHW.mean(dim=(1, 3, 4))
        mean_BT = F.avg_pool1d(mean_BT[:, None], self.step)[:, 0] if self.step > 1 else mean_BT
        return torch.stack([20 * (mean_BT - 0.5), 20 * (0.5 - mean_BT)], dim=2)


def write_video(path: Path, bright: list[int], size: int = 32) -> str:
    """A grey video at 10 frames a second, white in the frames that are named."""
    with VideoWriter(path, FPS, crf=1) as writer:
        for value in bright:
            writer.write(np.full((size, size, 3), 235 if value else 20, np.uint8))
    return str(path)


def test_scores_follow_the_video_frame_by_frame(tmp_path: Path) -> None:
    shown = [0] * 13 + [1] * 9 + [0] * 11
    model = Brightness(num_frames=8)
    dense = score_densely(model, write_video(tmp_path / "a.mp4", shown), multi_label=True)
    assert np.allclose(dense.times_T, np.arange(len(shown)) / FPS)
    assert dense.end_seconds == pytest.approx(3.3)
    assert (dense.scores_TK[:, 0] > 0.5).tolist() == [bool(value) for value in shown]
    assert dense.report is not None
    assert dense.report.ok
    assert dense.report.frames_decoded == 33
    (span,) = [span for span in find_spans(dense, model.class_names) if span.label == 0]
    assert (span.start_seconds, span.end_seconds) == pytest.approx((1.3, 2.2))
    assert span.class_name == "bright"
    assert span.score is not None
    assert span.score > 0.9


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("total", [5, 16, 41])
def test_clips_join_as_a_plain_program_says(tmp_path: Path, overlap: float, total: int) -> None:
    rng = np.random.default_rng(total)
    torch.manual_seed(total)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, FPS) as writer:
        for frame in rng.integers(0, 255, (total, 36, 48, 3), dtype=np.uint8):
            writer.write(frame)
    model = Brightness(num_frames=16, step=4)
    dense = score_densely(model, path, multi_label=False, overlap=overlap, batch_size=3)
    with Video(path, short_side=32) as video:
        frames = torch.from_numpy(video.frames_by_index(range(total)).frames_THWC).permute(0, 3, 1, 2)
    logits = [[] for _ in range(total)]
    stride = round(16 * (1 - overlap))
    starts = [0] if total <= 16 else sorted({*range(0, total - 15, stride), total - 16})
    for start in starts:
        places = [(start + k) % total for k in range(16)]
        with torch.no_grad():
            few_K4 = model.forward_dense(prepare_clip(frames[places], model.spec)[None])[0].T.numpy()
        for k, place in enumerate(places):
            at = np.clip((k + 0.5) / 16 * 4 - 0.5, 0, 3)
            drawn = [np.interp(at, range(4), row) for row in few_K4]
            logits[place].append((min(k + 1, 16 - k), drawn))
    expected = [np.average([row for _, row in each], axis=0, weights=[w for w, _ in each]) for each in logits]
    assert np.allclose(dense.logits_TK, expected, atol=1e-4)
    assert np.allclose(dense.scores_TK.sum(axis=1), 1)


def test_the_rate_and_the_stride_of_the_network(tmp_path: Path) -> None:
    shown = [0] * 20 + [1] * 20
    path = write_video(tmp_path / "a.mp4", shown)
    twice = score_densely(Brightness(num_frames=4, fps=20.0), path)
    assert len(twice.times_T) == 80
    assert twice.times_T[1] == pytest.approx(0.05)
    assert (twice.scores_TK[:, 0] > 0.5).sum() == 40
    strided = score_densely(Brightness(num_frames=4, stride=2), path)
    assert len(strided.times_T) == 40
    assert abs(int((strided.scores_TK[:, 0] > 0.5).argmax()) - 20) <= 1


def test_i3d_answers_at_every_frame(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("i3d_inception", num_classes=5, tiny=True).eval()
    model.spec = ClipSpec(num_frames=16, fps=None, size=32, crop=32, value_range=(-1.0, 1.0))
    path = tmp_path / "a.mp4"
    with VideoWriter(path, FPS) as writer:
        for frame in np.random.default_rng(0).integers(0, 255, (30, 32, 40, 3), dtype=np.uint8):
            writer.write(frame)
    dense = score_densely(model, path)
    assert dense.scores_TK.shape == (30, 5)
    assert dense.whole_K().shape == (5,)
    assert ((dense.scores_TK > 0) & (dense.scores_TK < 1)).all()
    with Video(path, short_side=32) as video:
        frames = torch.from_numpy(video.frames_by_index(range(16)).frames_THWC).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits_KT = model.forward_dense(prepare_clip(frames, model.spec)[None])[0].T
    drawn = F.interpolate(logits_KT[None], size=16, mode="linear")[0].T.numpy()
    assert np.allclose(dense.logits_TK[:7], drawn[:7], atol=1e-5)  # frames that only the first clip saw


def test_moments_are_those_of_charades(tmp_path: Path) -> None:
    shown = [0] * 20 + [1] * 30
    dense = score_densely(Brightness(), write_video(tmp_path / "a.mp4", shown))
    times = dense.charades_times()
    assert np.allclose(times, np.arange(25) / 25 * 5)
    assert (dense.at(times)[:, 0] > 0.5).tolist() == [time >= 2.0 for time in times]
    assert np.allclose(dense.charades_times(10.0)[-1], 9.6)
    assert np.allclose(dense.at([9.6, 100.0]), dense.scores_TK[-1])  # beyond the end: the last frame
    truth = active_moments([(0, 2.0, 5.0), (1, 0.0, 1.99)], 5.0, 2)
    assert localize(truth, dense.at(times)).mean == pytest.approx(1.0)


def made(scores: list[list[float]]) -> DenseScores:
    """Scores of classes, one value a second."""
    table = np.array(scores, np.float64).T
    return DenseScores(
        np.arange(len(table)) * 1.0, table.astype(np.float32), table, 0.0, float(len(table)), True
    )


def spans_of(dense: DenseScores, **options: Any) -> list[tuple[int, float, float]]:
    names = [str(label) for label in range(dense.scores_TK.shape[1])]
    found = find_spans(dense, names, **options)
    return [(span.label, span.start_seconds, span.end_seconds) for span in found]


def test_hysteresis() -> None:
    flicker = made([[0.1, 0.4, 0.9, 0.45, 0.6, 0.2, 0.45, 0.1, 0.8, 0.1]])
    assert spans_of(flicker, high=0.5, low=0.5) == [(0, 2, 3), (0, 4, 5), (0, 8, 9)]
    assert spans_of(flicker, high=0.5, low=0.4) == [(0, 1, 5), (0, 8, 9)]  # 0.45 at 6 s never reaches high
    assert spans_of(flicker, high=0.5, low=0.4, max_gap_seconds=3.0) == [(0, 1, 9)]
    assert spans_of(flicker, high=0.5, low=0.4, min_seconds=2.0) == [(0, 1, 5)]
    assert spans_of(flicker, high=0.95) == []
    assert spans_of(made([[0.9, 0.9], [0.2, 0.9]])) == [(0, 0, 2), (1, 1, 2)]
    (span,) = find_spans(made([[0.5, 0.7]]), ["a"])
    assert span == Span(0.0, 2.0, 0, "a", pytest.approx(0.6))
    with pytest.raises(ValueError, match="low <= high"):
        spans_of(flicker, high=0.3, low=0.4)
    with pytest.raises(ValueError, match="2 class names for 1"):
        find_spans(flicker, ["a", "b"])


def test_the_record_of_a_video(tmp_path: Path) -> None:
    model = Brightness()
    path = write_video(tmp_path / "a.mp4", [0] * 15 + [1] * 10)
    found = to_prediction(score_densely(model, path), path, model, top_k=1, high=0.6, low=0.4)
    assert [(window.start_seconds, window.end_seconds) for window in found.windows] == [
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, 2.5),
    ]
    assert [window.labels[0].class_name for window in found.windows][::2] == ["dark", "bright"]
    assert [(span.class_name, span.start_seconds) for span in found.spans] == [("dark", 0.0), ("bright", 1.5)]
    assert found.labels[0].class_name == "dark"
    assert found.protocol.startswith("dense:")
    assert found.frames_decoded == 25
    assert found.to_dict()["duration_seconds"] == 2.5


def test_a_dataset_and_what_cannot_be_read(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [0] * 20 + [1] * 20)
    write_video(tmp_path / "b.mp4", [1] * 40)
    dataset = Dataset(
        "charades",
        str(tmp_path),
        "test",
        ("bright", "dark"),
        (
            Example("a.mp4", "a", (0,), duration_seconds=4.0, spans=(Span(2.0, 4.0, 0, "bright"),)),
            Example("gone.mp4", "gone", (0,)),
            Example("b.mp4", "b", (0,), start_seconds=1.0, end_seconds=3.0),
        ),
        multi_label=True,
    )
    seen: list[int] = []
    found = score_dataset_densely(Brightness(), dataset, each=lambda index, dense: seen.append(index))
    assert found.moments_NMK.shape == (3, 25, 2)
    assert seen == [0, 2]
    assert (found.moments_NMK[0, :, 0] > 0.5).tolist() == [False] * 13 + [True] * 12
    assert np.isnan(found.moments_NMK[1]).all()
    assert np.isnan(found.scores_NK[1]).all()
    assert (found.moments_NMK[2, :, 0] > 0.5).all()
    ((index, failure),) = found.failures
    assert index == 1
    assert failure.kind == "not_found"
    assert "gone.mp4" in failure.message
    with pytest.raises(ValueError, match="3 classes, charades has 2"):
        score_dataset_densely(create_model("i3d_inception", num_classes=3, tiny=True), dataset)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no forward_dense"):
        check_dense(create_model("r3d_18", num_classes=2, tiny=True))
    path = write_video(tmp_path / "a.mp4", [0] * 9)
    with pytest.raises(ValueError, match="overlap"):
        score_densely(Brightness(), path, overlap=1.0)
    with pytest.raises(ValueError, match="precision"):
        score_densely(Brightness(), path, precision="fp8")
    with pytest.raises(VideoError):
        score_densely(Brightness(), tmp_path / "missing.mp4")


def test_each_frame_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long video in overlapping clips asks for each of its frames once, in order."""
    asked: list[int] = []
    clips = Video.clips

    def counted(self: Video, wanted: Any) -> Any:
        asked.extend(index for clip in wanted for index in clip)
        return clips(self, wanted)

    monkeypatch.setattr(Video, "clips", counted)
    path = write_video(tmp_path / "a.mp4", [0, 1] * 150)
    dense = score_densely(Brightness(num_frames=8), path, overlap=0.75)
    assert asked == list(range(300))
    assert len(dense.times_T) == 300


def test_predict_dense_on_the_command_line(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("i3d_inception", num_classes=3, tiny=True)
    model.spec = ClipSpec(num_frames=16, fps=None, size=32, crop=32, value_range=(-1.0, 1.0))
    model.class_names = ("a", "b", "c")
    save_model(model, tmp_path / "m.safetensors")
    path = write_video(tmp_path / "a.mp4", [0] * 15 + [1] * 10)
    model_file = str(tmp_path / "m.safetensors")
    words = ["predict", path, "--model", model_file, "--dense", "several", "--format", "jsonl"]
    ran = CliRunner().invoke(app, [*words, "--threshold", "0.01", "--quiet"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["protocol"].startswith("dense:")
    assert [window["end_seconds"] for window in found["windows"]] == [1.0, 2.0, 2.5]
    assert {span["class_name"] for span in found["spans"]} == {"a", "b", "c"}
    assert all(span["end_seconds"] == 2.5 for span in found["spans"])
    gone = CliRunner().invoke(app, ["predict", str(tmp_path / "b.mp4"), *words[2:], "--quiet"])
    assert gone.exit_code == 1
    assert json.loads(gone.stdout)["error"]["kind"] == "not_found"
    refused = CliRunner().invoke(app, [*words, "--resume"])
    assert refused.exit_code == 2


def test_predict_dense_as_the_model_was_calibrated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("i3d_inception", num_classes=2, tiny=True)
    model.spec = ClipSpec(num_frames=16, fps=None, size=32, crop=32, value_range=(-1.0, 1.0))
    plain = save_model(model, tmp_path / "plain.safetensors")
    kept = weights.load(plain)
    calibration = {"temperature": 2.0, "threshold": {"score": 0.02}}
    calibrated = tmp_path / "calibrated.safetensors"
    weights.save(kept.state, calibrated, {**kept.metadata, "calibration": calibration})
    path = write_video(tmp_path / "a.mp4", [0] * 20)
    words = ["predict", path, "--dense", "one", "--format", "jsonl", "--quiet", "--model"]

    def predict(*more: str) -> dict[str, Any]:
        ran = CliRunner().invoke(app, [*words, *more])
        assert ran.exit_code == 0, ran.output
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    own, higher = predict(str(calibrated)), predict(str(calibrated), "--threshold", "1")
    assert len(own["spans"]) == 2  # at 0.02 both of two classes
    assert higher["spans"] == []
    assert len(predict(str(plain), "--threshold", "0.02")["spans"]) == 2
    assert predict(str(plain))["spans"] == predict(str(plain), "--threshold", "0.3")["spans"]
    odds = [
        np.log(found["labels"][0]["score"] / found["labels"][1]["score"])
        for found in (own, predict(str(plain)))
    ]
    assert odds[1] == pytest.approx(2 * odds[0], abs=1e-5)
