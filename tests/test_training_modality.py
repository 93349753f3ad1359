"""Networks trained on another modality than their own, streams trained at once, flow made on the way."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vadis.cli import app
from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.data import folders
from vadis.data.made import draw_clip
from vadis.data.reading import Reading
from vadis.evaluation import evaluate
from vadis.models import average_channels, create_model
from vadis.models.weights import save_model
from vadis.records import Dataset
from vadis.specs import adjust
from vadis.training import train
from vadis.training.run import TrainJob, choose_recipe
from vadis.training.start import build_network
from vadis.transfer.modes import Setup

pytest.importorskip("cv2")

CLASSES = ("pour", "stir")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two classes, two videos each, with sound: what moves otherwise also sounds otherwise."""
    root = tmp_path_factory.mktemp("films")
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for seed in range(2):
            write_film(root / name / f"{name}{seed}.mp4", label, seed)
    return folders.read(root)


def write_film(path: Path, label: int, seed: int) -> None:
    frames_THWC = draw_clip(label, seed, num_frames=20).frames_THWC
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000)
        sound.layout = "mono"
        for frame_HWC in frames_THWC:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(video.encode(None))
        wave_S = np.sin(np.arange(12_800) * 2 * np.pi * (300 + 500 * label) / 16_000).astype(np.float32)
        for start in range(0, len(wave_S), 1024):
            piece = av.AudioFrame.from_ndarray(wave_S[None, start : start + 1024], "fltp", "mono")
            piece.sample_rate, piece.pts, piece.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def small(name: str, modality: str | None = None, init: str | None = None, **options: object) -> Recipe:
    return Recipe(
        name="small",
        title="Two steps",
        data=DataConfig(
            batch_size=2, workers=0, size=40, crop=32, flow="farneback", augment=Augment(short_side=(40, 48))
        ),
        model=ModelConfig(name=name, tiny=init is None, modality=modality, init=init, options=options),
        optim=OptimConfig(lr=1e-3, unit="steps", length=2.0),
        run=RunConfig(validate_every=0, device="cpu"),
    )


@pytest.mark.parametrize(
    ("name", "modality", "channels"),
    [
        ("i3d_inception", "flow", 2),
        ("i3d_inception", "rgb_diff", 3),
        ("tsn_r18", "rgb_diff", 15),
        ("tsn_r18", "warped_flow", 10),
        ("sound_resnet18", "audio", 1),
    ],
)
def test_a_network_is_trained_on_a_modality(
    name: str, modality: str, channels: int, films: Dataset, tmp_path: Path
) -> None:
    recipe = small(name, modality)
    if name == "i3d_inception":
        recipe = replace(recipe, data=replace(recipe.data, num_frames=10))
    trained = train(films, recipe, tmp_path / "run")
    model = create_model(name, weights=trained.last).eval()
    assert (model.spec.modality, model.spec.channels) == (modality, channels), "the file says it"
    card = evaluate(model, films, "1x1", workers=0, reading=Reading(flow="farneback"))
    assert (card.num_evaluated, card.num_missing) == (4, 0)
    if "flow" in modality:
        assert "flow by farneback" in card.protocol_text
        assert card.protocol["flow"] == "farneback"
        assert evaluate(model, films, "1x1", workers=0).num_missing == 4, "without a method there is no flow"


@pytest.mark.parametrize("audio", [None, "sound_resnet18"])
def test_streams_are_trained_at_once(audio: str | None, films: Dataset, tmp_path: Path) -> None:
    options = {} if audio is None else {"audio": audio}
    recipe = small("two_stream_inception", **options)
    trained = train(films, recipe, tmp_path / "run")
    model = create_model("two_stream_inception", weights=trained.last).eval()
    streams = ["rgb", "flow"] + ["audio"] * (audio is not None)
    assert list(model.spec.parts) == streams
    before = build_network(recipe, films.class_names).state_dict()
    for stream in streams:
        learnt = model.get_parameter(f"{stream}.head.weight")
        assert not torch.equal(learnt, before[f"{stream}.head.weight"]), f"{stream} learns"
    card = evaluate(model, films, "1x1", workers=0, reading=Reading(flow="farneback"))
    assert (card.num_evaluated, card.num_missing) == (4, 0)


def test_flow_starts_from_the_weights_of_frames(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, target in (
        ("i3d_inception", "i3d_inception"),
        ("i3d_inception", "i3d_inception_flow"),
        ("two_stream_spatial_inception", "two_stream_temporal_inception"),
    ):
        model = create_model(name, tiny=True, num_classes=3)
        model.class_names = ("a", "b", "c")
        (key,) = model.input_weights
        file = save_model(model, tmp_path / f"{name}.safetensors")
        begun = build_network(small(target, "flow", str(file)), ("x", "y"))
        found, wanted = begun.state_dict(), model.state_dict()
        assert begun.spec.modality == "flow"
        assert torch.equal(found[key], average_channels(wanted[key], begun.spec.channels))
        assert begun.num_classes == 2
        others = [each for each in wanted if each != key and not each.startswith("head.")]
        assert all(torch.equal(found[each], wanted[each]) for each in others)


def test_flow_starts_from_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    from vadis.models import inflate

    torch.manual_seed(0)
    images = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(inflate, "load_image_weights", lambda source: images)
    recipe = small("tsn_r18", "flow", "imagenet")
    begun = build_network(recipe, CLASSES)
    key = begun.input_weights[0]
    wanted = average_channels(images["conv1.weight"], 10)
    assert torch.equal(begun.state_dict()[key].flatten(), wanted.flatten())


def test_what_cannot_be() -> None:
    for name, modality, words in (
        ("i3d_inception", "audio", "networks for sound are sound_"),
        ("sound_resnet18", "flow", "in_channels"),
        ("two_stream_vggm", "flow", "streams one by one"),
        ("i3d_inception", "smell", "rgb, flow, warped_flow, rgb_diff, audio"),
    ):
        with pytest.raises(ValueError, match=words):
            build_network(small(name, modality), CLASSES)
    with pytest.raises(ValueError, match="audio is one of"):
        create_model("two_stream_vggm", tiny=True, audio="sound_of_music")


def test_the_words_of_the_command() -> None:
    def recipe(**job: object) -> Recipe:
        return choose_recipe(TrainJob(data=(Path("a"),), **job), 10)  # type: ignore[arg-type]

    flow = recipe(modality="flow", flow="dis")
    assert (flow.model.modality, flow.data.flow) == ("flow", "dis")
    assert flow.model.name.startswith("i3d_inception")
    assert recipe(modality="audio").model.name == "sound_resnet18"
    assert recipe(model="tsn_r18", modality="rgb_diff", init="none").model.init is None
    assert Setup(flow="dis").reading == Reading(flow="dis")


def test_smoke_of_two_and_three_streams(films: Dataset, tmp_path: Path) -> None:
    run = CliRunner().invoke
    common = ["train", films.root, "--smoke", "--device", "cpu", "--json", "-q"]
    flow = ["--init", "none", "--flow", "farneback"]
    for words in (
        ["-m", "two_stream_i3d", *flow],
        ["-m", "two_stream_resnet50", *flow, "--set", "model.options.audio=sound_resnet18"],
        ["-m", "i3d_inception", "--modality", "flow", *flow],
        ["--modality", "audio"],
    ):
        answer = run(app, [*common, *words])
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout[answer.stdout.index("{") :])["steps"] == 2
    answer = run(app, [*common, "-m", "two_stream_i3d", "--init", "none"])
    assert answer.exit_code != 0
    assert re.search(r"--flow", answer.output)


def test_the_verbs_estimate_flow(films: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("i3d_inception_flow", tiny=True, num_classes=2)
    model.class_names = CLASSES
    model.spec = adjust(model.spec, num_frames=10, size=40, crop=32)
    file = str(save_model(model, tmp_path / "flow.safetensors"))
    run, flow = CliRunner().invoke, ["--flow", "farneback"]
    rate = [
        "evaluate",
        films.root,
        "-m",
        file,
        "--protocol",
        "1x1",
        "--device",
        "cpu",
        "--workers",
        "0",
        "--json",
    ]
    answer = run(app, [*rate, *flow, "-q"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["protocol"]["flow"] == "farneback"
    answer = run(app, [*rate, "-q"])
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["num_missing"] == 4
    extract = ["extract", films.root, "-m", file, "-o", str(tmp_path), "--device", "cpu", "-q", "--no-cache"]
    answer = run(app, [*extract, *flow])
    assert answer.exit_code == 0, answer.output
    whole = np.load(tmp_path / "all.npz")
    assert not any(np.isnan(whole[name]).any() for name in whole.files if name.startswith("features"))
    assert run(app, extract).exit_code == 1
    assert run(app, [*extract, "--each", *flow]).exit_code == 0
    assert (tmp_path / "pour0.npz").is_file()
    study = ["transfer", films.root, "--init", file, "--modes", "fixed", "--out", str(tmp_path / "study")]
    answer = run(app, [*study, "--device", "cpu", "--workers", "1", "--keep", "none", "-q", "--json", *flow])
    assert answer.exit_code == 0, answer.output
    assert run(app, [*rate, "--flow", "guess"]).exit_code == 2
