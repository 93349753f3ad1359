"""Networks of other modalities, and of several, through every tool: training, evaluation, prediction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import write_numbered
from typer.testing import CliRunner

from vadis import prediction
from vadis.cli import app
from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.data import folders
from vadis.data.made import draw_clip, write_flow, write_frames
from vadis.data.reading import Reading
from vadis.evaluation import evaluate, make_protocol
from vadis.extractor import Extractor
from vadis.features import extract_features
from vadis.models import create_model
from vadis.models import weights as published
from vadis.prediction import Predictor
from vadis.records import Dataset, Example, VideoError
from vadis.training import train
from vadis.video import sample
from vadis.video.audio import read_mono
from vadis.video.streams import picture_sounds
from vadis.windows import make_protocol as make_windows


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two classes, three folders of frames each, with flow pictures beside them."""
    root = tmp_path_factory.mktemp("filmed")
    for label, name in enumerate(("pour", "stir")):
        for seed in range(3):
            folder = root / name / f"{name}{seed}"
            clip = write_frames(folder, "img_%05d.jpg", label, seed, num_frames=20)
            write_flow(folder, ("flow_x_%05d.jpg", "flow_y_%05d.jpg"), clip)
    return folders.read(root)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """A film of 12 seconds, with a tone or without."""
    folder = tmp_path_factory.mktemp("film")
    made = {sound: write_numbered(folder / f"film{sound}.mp4", 300, audio=sound) for sound in (True, False)}
    return made.__getitem__


def small_recipe(name: str, **options: object) -> Recipe:
    return Recipe(
        name="small",
        title="Two steps",
        data=DataConfig(batch_size=2, workers=0, size=64, crop=64, augment=Augment(colour=(0.2, 0, 0, 0))),
        model=ModelConfig(name=name, tiny=True, options=options),
        optim=OptimConfig(lr=1e-3, unit="steps", length=2.0),
        run=RunConfig(validate_every=0),
    )


@pytest.mark.parametrize("name", ["two_stream_vggm", "tsn_bninception", "fused3d_inception"])
def test_training_evaluation_and_the_file(name: str, filmed: Dataset, tmp_path: Path) -> None:
    recipe = small_recipe(name)
    trained = train(filmed, recipe, tmp_path / "run")
    model = create_model(name, weights=trained.last).eval()
    assert model.class_names == filmed.class_names
    assert model.spec == replace(model.spec, crop=64)
    card = evaluate(model, filmed, "1x3", workers=0)
    assert (card.num_evaluated, card.num_unreadable, card.num_missing) == (6, 0, 0)
    assert card.gmac > 0
    assert card.protocol["num_crops"] == 3


def test_a_network_of_segments_is_tested_on_its_25(filmed: Dataset) -> None:
    torch.manual_seed(0)
    model = create_model("tsn_bninception", tiny=True, num_classes=2).eval()
    protocol = make_protocol("25x10", model)
    assert protocol.spec is not None
    assert (protocol.num_clips, protocol.num_crops, protocol.spec.num_frames) == (1, 10, 25)
    card = evaluate(model, filmed, protocol, workers=0)
    assert card.num_evaluated == 6


def test_examples_without_flow(filmed: Dataset) -> None:
    torch.manual_seed(0)
    model = create_model("two_stream_vggm", tiny=True, num_classes=2).eval()
    examples = (*filmed.examples[:3], replace(filmed.examples[3], flow=()), *filmed.examples[4:])
    mixed = replace(filmed, examples=examples)
    card = evaluate(model, mixed, "1x1", workers=0)
    assert (card.num_evaluated, card.num_missing) == (5, 1)
    assert "no flow pictures" in card.failures[0].message
    protocol = make_protocol("1x1", model, reading=Reading(missing="zero"))
    card = evaluate(model, mixed, protocol, workers=0)
    assert card.num_evaluated == 6
    assert "1 examples lack a modality: zeros went in for it" in card.notes
    assert "zeros for a modality" in card.protocol_text


# --- prediction ---------------------------------------------------------------------------------------


def test_prediction_in_segments(film: Callable[[bool], Path]) -> None:
    torch.manual_seed(0)
    predictor = Predictor(create_model("tsn_bninception", tiny=True, num_classes=3))
    found = predictor.predict(film(False), threshold=0.0)
    assert [(w.start_seconds, w.end_seconds) for w in found.windows] == [(0.0, 10.0), (2.0, 12.0)]
    assert "25 frames in segments" in found.protocol
    short = predictor.predict(film(False), window_seconds=1.0)
    assert len(short.windows) == 12


def test_prediction_by_sound(film: Callable[[bool], Path]) -> None:
    torch.manual_seed(0)
    predictor = Predictor(create_model("sound_vggish", tiny=True, num_classes=3))
    assert len(predictor.predict(film(True)).windows) == 2
    with pytest.raises(VideoError, match="no sound"):
        predictor.predict(film(False))
    (failed,) = predictor.predict_many([film(False)])
    assert failed.error is not None
    with pytest.raises(ValueError, match="untrusted"):
        predictor.predict(film(True), untrusted=True)


def test_prediction_without_flow(film: Callable[[bool], Path], caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = create_model("two_stream_vggm", tiny=True, num_classes=3)
    with pytest.raises(ValueError, match=r'takes flow, which is not in a video file.*missing="zero"'):
        Predictor(model).predict(film(False))
    with caplog.at_level(logging.WARNING, logger="vadis"):
        found = Predictor(model, reading=Reading(missing="zero")).predict(film(False), top_k=3)
    assert "there is no flow" in caplog.text
    assert sum(label.score for label in found.labels) == pytest.approx(1.0, abs=1e-5)
    flow_alone = create_model("two_stream_temporal_vggm", tiny=True)
    with pytest.raises(ValueError, match="takes flow"):
        Predictor(flow_alone, reading=Reading(missing="zero")).predict(film(False))


def test_predict_on_the_command_line(
    film: Callable[[bool], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = create_model("two_stream_vggm", tiny=True, num_classes=3)
    file = tmp_path / "two_stream.safetensors"
    published.save_model(model, file)
    arguments = ["predict", str(film(False)), "--model", str(file), "--format", "json", "--quiet"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "takes flow" in refused.output
    done = CliRunner().invoke(app, [*arguments, "--missing", "zero"])
    assert done.exit_code == 0
    assert len(json.loads(done.stdout.strip().splitlines()[-1])["labels"]) == 3


def test_windows_of_a_network_of_stacks() -> None:
    rule = make_windows(create_model("tsn_bninception", tiny=True).spec)
    assert (rule.window, rule.loop, rule.crop) == (250, False, rule.size)


def test_a_made_clip_has_its_flow() -> None:
    """What the fixtures rest on: flow pictures hold the velocity."""
    clip = draw_clip(0, 0, 20)
    assert np.allclose(clip.flow_T2[3], clip.flow_T2[4], atol=1e-6)


# --- features -----------------------------------------------------------------------------------------


def test_features_of_segments_and_of_sound(filmed: Dataset, film: Callable[[bool], Path]) -> None:
    torch.manual_seed(0)
    model = create_model("tsn_bninception", tiny=True, num_classes=2)
    found = extract_features(model, filmed, layer="head_input", protocol="2x1", workers=0)
    assert found.features_NVD.shape[:2] == (6, 2)
    flow = create_model("two_stream_temporal_resnet50", tiny=True, num_classes=2)
    assert np.isfinite(extract_features(flow, filmed, workers=0).features_NVD).all()
    sound = create_model("sound_resnet18", tiny=True, num_classes=2)
    examples = tuple(Example(film(tone).name, str(tone), (0,)) for tone in (True, False))
    heard = extract_features(sound, Dataset("d", str(film(True).parent), "test", ("a",), examples), workers=0)
    assert np.isfinite(heard.features_NVD[0]).all()
    assert "no sound" in heard.failures[1].message


def test_features_of_several_modalities_are_of_one_stream() -> None:
    with pytest.raises(ValueError, match=r"takes several tensors \(rgb, flow\)"):
        Extractor(create_model("two_stream_vggm", tiny=True, num_classes=2))


def test_a_window_hears_what_lies_about_it(
    film: Callable[[bool], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of sound at a window's edge shows the sound beyond it, as in training, not silence."""
    torch.manual_seed(0)
    model = create_model("sound_resnet18", tiny=True, num_classes=3)
    sound = model.spec.sound
    assert sound is not None
    heard = []
    made = prediction.make_inputs
    monkeypatch.setattr(prediction, "make_inputs", lambda *a, **k: heard.append(made(*a, **k)) or heard[-1])
    seconds = sound.num_samples / sound.sample_rate / 4  # a window shorter than its picture
    found = Predictor(model).predict(film(True), window_seconds=seconds)
    number = len(found.windows) // 2
    window = found.windows[number]
    wave_S = read_mono(film(True), 0.0, 12 * sound.sample_rate, sound.sample_rate)
    assert wave_S is not None
    frames = round((window.end_seconds - window.start_seconds) * 25)
    places_T = sample.uniform_clips(frames, 1, model.spec.num_frames, model.spec.frame_stride)[0]
    shown_T = window.start_seconds + np.clip(places_T, 0, frames - 1) / 25
    wanted_THW = (picture_sounds(wave_S, shown_T, sound) - model.spec.mean[0]) / model.spec.std[0]
    assert np.abs(heard[number][0, 0].numpy() - wanted_THW).max() < 0.05
    assert float(heard[number].std()) > 0.1


def test_pictures_of_sound_are_not_cut() -> None:
    protocol = make_protocol("10x3", create_model("sound_resnet18", tiny=True))
    assert (protocol.num_clips, protocol.num_crops, protocol.num_views) == (10, 1, 10)
    assert "of the sound about each moment" in protocol.describe()
    assert "crop" not in protocol.describe()
