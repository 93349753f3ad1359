"""Several models on one video: shared windows, own answers and the fused one, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import write_numbered
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data.flow_estimates import EstimatedFlow, WindowFlow
from vadis.data.reading import Reading
from vadis.extractor import Extractor
from vadis.features import extract_windows
from vadis.models import VideoModel, create_model
from vadis.models.weights import save_model
from vadis.prediction import Predictor
from vadis.records import VideoError
from vadis.specs import adjust
from vadis.stream_prediction import StreamPredictor, parse_streams
from vadis.video.decode import Video
from vadis.video.draw import make_blocks, make_lanes, render_timeline
from vadis.video.transform import prepare_clip
from vadis.windows import Cut, cut_windows

pytest.importorskip("cv2")

CLASSES = ("pour", "stir", "cut")
FLOW = Reading(flow="farneback")


def make_model(name: str, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> VideoModel:
    torch.manual_seed(seed)
    model = create_model(name, tiny=True, num_classes=len(classes)).eval()
    model.class_names = classes
    if model.spec.sound is None:
        model.spec = adjust(model.spec, num_frames=16, size=40, crop=32)
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, VideoModel]:
    names = {"rgb": "i3d_inception", "flow": "i3d_inception_flow", "audio": "sound_vggish"}
    return {stream: make_model(name, seed) for seed, (stream, name) in enumerate(names.items())}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """A film of 40 frames, with a tone or without."""
    folder = tmp_path_factory.mktemp("film")
    made = {sound: write_numbered(folder / f"film{sound}.mp4", 40, audio=sound) for sound in (True, False)}
    return made.__getitem__


# --- flow alone ---------------------------------------------------------------------------------------


def test_windows_of_flow_come_with_a_frame_more(models: dict[str, VideoModel]) -> None:
    rule = Predictor(models["flow"], reading=FLOW).make_protocol()
    assert (rule.window, rule.stride, rule.ahead) == (16, 16, 1)
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((40, 4, 4, 3), np.uint8)

    class Chunk:
        frames_THWC = frames
        times_T = np.arange(40) / 25

    cuts = list(cut_windows([Chunk()], rule))  # type: ignore[list-item]
    assert [(cut.first, cut.last, len(cut.frames_THWC)) for cut in cuts] == [
        (0, 15, 17),
        (16, 31, 17),
        (23, 39, 17),
    ]


def test_prediction_sees_the_flow_that_a_dataset_would_give(
    models: dict[str, VideoModel], film: Callable[[bool], Path]
) -> None:
    predictor = Predictor(models["flow"], engine="torch", device="cpu", reading=FLOW)
    found = predictor.predict(film(False), top_k=3)
    assert [(w.start_seconds, w.end_seconds) for w in found.windows] == [(0, 0.64), (0.64, 1.28), (0.92, 1.6)]
    with Video(film(False), short_side=40) as video:
        flow = EstimatedFlow(video, np.arange(40), "farneback")
        pixels_THWC, _ = flow.read(np.arange(16, 32)[:, None])
    clip_CTHW = prepare_clip(torch.from_numpy(pixels_THWC).permute(0, 3, 1, 2), models["flow"].spec)
    with torch.no_grad():
        wanted_K = models["flow"](clip_CTHW[None])[0].softmax(0).numpy()
    scores = {label.label: label.score for label in found.windows[1].labels}
    assert np.allclose([scores[label] for label in range(3)], wanted_K, atol=1e-4)


def test_overlapping_windows_estimate_each_field_once(
    models: dict[str, VideoModel], film: Callable[[bool], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vadis.data import flow_estimates

    counted: list[int] = []
    whole = flow_estimates.estimate_pixels

    def count(frames: np.ndarray, starts: np.ndarray, *rest: object) -> np.ndarray:
        counted.append(len(starts))
        return whole(frames, starts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(flow_estimates, "estimate_pixels", count)
    predictor = Predictor(models["flow"], engine="torch", device="cpu", reading=FLOW)
    assert len(predictor.predict(film(False), stride_seconds=0.16).windows) == 7
    assert sum(counted) == 39


def test_without_a_method_it_says_what_to_do(
    models: dict[str, VideoModel], film: Callable[[bool], Path]
) -> None:
    with pytest.raises(ValueError, match="--flow METHOD"):
        Predictor(models["flow"]).predict(film(False))
    with pytest.raises(ValueError, match="--flow METHOD"):
        StreamPredictor({"flow": models["flow"]}).predict(film(False))


def test_features_along_a_video_of_flow(models: dict[str, VideoModel], film: Callable[[bool], Path]) -> None:
    features_ND, seconds_N2 = extract_windows(models["flow"], film(False), device="cpu", reading=FLOW)
    assert features_ND.shape[0] == len(seconds_N2) == 3
    with Video(film(False), short_side=40) as video:
        pixels, _ = EstimatedFlow(video, np.arange(40), "farneback").read(np.arange(16)[:, None])
    clip_CTHW = prepare_clip(torch.from_numpy(pixels).permute(0, 3, 1, 2), models["flow"].spec)
    wanted = Extractor(models["flow"], device="cpu").run(clip_CTHW[None])
    assert np.allclose(features_ND[0], wanted[0], atol=1e-4)
    with pytest.raises(ValueError, match="--flow METHOD"):
        extract_windows(models["flow"], film(False), device="cpu")


def test_one_frame_has_no_flow(models: dict[str, VideoModel], tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "one.mp4", 1)
    with pytest.raises(VideoError, match="one frame alone"):
        Predictor(models["flow"], reading=FLOW).predict(path)
    frames = np.zeros((1, 40, 40, 3), np.uint8)
    both = create_model("two_stream_vggm", tiny=True, num_classes=3).eval()
    with_zeros = Predictor(both, engine="torch", device="cpu", reading=replace(FLOW, missing="zero"))
    logits_BK = with_zeros.score_window(Cut(0, 0, 0.0, 0.0, frames), str(path), 25.0)
    assert np.isfinite(logits_BK).all()


def test_both_ways_take_four_channels() -> None:
    spec = replace(make_model("i3d_inception_flow").spec, stack=2, stacking="bidirectional")
    frames = np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), np.uint8)
    assert WindowFlow("farneback").of(frames, 0, spec, "a").shape == (4, 40, 40, 4)


# --- several ------------------------------------------------------------------------------------------


def test_streams_share_windows_and_their_mean_is_told(
    models: dict[str, VideoModel], film: Callable[[bool], Path]
) -> None:
    predictor = StreamPredictor(models, weights=(1, 1.5, 0.5), engine="torch", device="cpu", reading=FLOW)
    found = predictor.predict(film(True), top_k=3)
    assert list(found.streams) == ["rgb", "flow", "audio"]
    times = [(window.start_seconds, window.end_seconds) for window in found.windows]
    assert times[0] == (0.0, 0.64)

    def scores(labels: tuple) -> np.ndarray:
        return np.array([score for _, score in sorted((item.label, item.score) for item in labels)])

    for each in found.streams.values():
        assert [(window.start_seconds, window.end_seconds) for window in each.windows] == times
    for number, window in enumerate(found.windows):
        own = [scores(each.windows[number].labels) for each in found.streams.values()]
        assert np.allclose(scores(window.labels), np.average(own, 0, (1, 1.5, 0.5)), atol=1e-6)
    own = [scores(each.labels) for each in found.streams.values()]
    assert np.allclose(scores(found.labels), np.average(own, 0, (1, 1.5, 0.5)), atol=1e-6)
    assert "weighted rgb 1, flow 1.5, audio 0.5" in found.protocol
    # a stream here says what it says alone
    alone = Predictor(models["rgb"], engine="torch", device="cpu").predict(film(True), top_k=3)
    assert np.allclose(
        scores(alone.windows[0].labels), scores(found.streams["rgb"].windows[0].labels), atol=1e-4
    )
    plain = found.to_dict()
    assert set(plain["streams"]["flow"]) == {
        "model", "weights_sha256", "labels", "windows", "spans", "error",
    }  # fmt: skip
    assert "streams" not in alone.to_dict()


def test_a_silent_video(models: dict[str, VideoModel], film: Callable[[bool], Path]) -> None:
    some = {name: models[name] for name in ("rgb", "audio")}
    with pytest.raises(VideoError, match="no sound"):
        StreamPredictor(some, engine="torch", device="cpu").predict(film(False))
    reading = Reading(missing="zero")
    found = StreamPredictor(some, engine="torch", device="cpu", reading=reading).predict(film(False), top_k=3)
    assert found.streams["audio"].error is not None
    assert "no sound" in found.streams["audio"].error.message
    for label, own in zip(found.labels, found.streams["rgb"].labels, strict=True):
        assert label.score == pytest.approx(own.score, abs=1e-6)
    with pytest.raises(VideoError, match="no sound"):
        StreamPredictor({"audio": models["audio"]}, reading=reading).predict(film(False))
    blocks = make_blocks(found, make_lanes(found))
    assert [block.title.partition(":")[0] for block in blocks] == ["all streams", "rgb", "audio"]
    assert "left out" in blocks[2].title
    assert not blocks[2].lanes
    alone = replace(found, streams={})
    more = render_timeline(found).shape[0] - render_timeline(alone).shape[0]
    assert more == sum(block.height for block in blocks[1:]) + 26


def test_classes_must_be_the_same(models: dict[str, VideoModel], film: Callable[[bool], Path]) -> None:
    other = make_model("i3d_inception", classes=("pour", "stir", "boil"))
    with pytest.raises(ValueError, match=r"rgb has 3, b 3, and only one of them knows boil, cut"):
        StreamPredictor({"rgb": models["rgb"], "b": other})
    turned = make_model("i3d_inception", classes=("cut", "pour", "stir"))
    turned.load_state_dict(models["rgb"].state_dict())
    order = [CLASSES.index(name) for name in ("cut", "pour", "stir")]
    for key, value in turned.state_dict().items():
        if key.startswith("head."):
            value.copy_(models["rgb"].state_dict()[key][order])
    found = StreamPredictor({"rgb": models["rgb"], "b": turned}, engine="torch", device="cpu").predict(
        film(False), top_k=3
    )
    for label, own in zip(found.labels, found.streams["rgb"].labels, strict=True):
        assert label == replace(own, score=pytest.approx(own.score, abs=1e-5))


def test_words_of_streams() -> None:
    assert parse_streams("rgb=a.b, flow=c/d.safetensors") == {"rgb": "a.b", "flow": "c/d.safetensors"}
    assert list(parse_streams("rgb,flow")) == ["rgb", "flow"]
    with pytest.raises(ValueError, match=r"no model is published.*audio=MODEL"):
        parse_streams("rgb,audio")
    with pytest.raises(ValueError, match="different names"):
        parse_streams("rgb=a,rgb=b")


def test_wrong_weights(models: dict[str, VideoModel]) -> None:
    some = {"rgb": models["rgb"]}
    with pytest.raises(ValueError, match="2 weights for 1 streams"):
        StreamPredictor(some, weights=(1, 2))
    with pytest.raises(ValueError, match="from 0 on"):
        StreamPredictor(some, weights=(-1,))


def test_the_command(models: dict[str, VideoModel], film: Callable[[bool], Path], tmp_path: Path) -> None:
    words = []
    for name in ("rgb", "flow"):
        models[name].name = {"rgb": "i3d_inception", "flow": "i3d_inception_flow"}[name]
        words.append(f"{name}={save_model(models[name], tmp_path / f'{name}.safetensors')}")
    out, picture = tmp_path / "out.json", tmp_path / "line.png"
    run = CliRunner().invoke
    options = ["predict", str(film(False)), "--streams", ",".join(words), "--device", "cpu"]
    options += ["--engine", "torch"]
    answer = run(app, [*options, "--flow", "farneback", "-o", str(out), "--timeline", str(picture)])
    assert answer.exit_code == 0, answer.output
    found = json.loads(out.read_text())
    assert list(found["streams"]) == ["rgb", "flow"]
    assert picture.is_file()
    answer = run(app, [*options, "--flow", "farneback", "--format", "table"])
    assert "flow alone:" in answer.output
    assert run(app, options).exit_code == 2, "flow, but by which method?"
    assert run(app, [*options, "--model", "i3d_inception.k600"]).exit_code == 2
    assert run(app, [*options[:2], "--weights", "1,2"]).exit_code == 2
    assert run(app, [*options, "--flow", "farneback", "--weights", "a,b"]).exit_code == 2
