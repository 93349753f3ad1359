"""`vadis evaluate` end to end: a folder in; card, page, scores out; failures named; stopped, it goes on."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import write_numbered
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data.benchmark import make
from vadis.data.scan import open_dataset
from vadis.evaluation import read_card, score_dataset
from vadis.evaluation.views import hash_weights
from vadis.metrics.classification import softmax
from vadis.models import create_model
from vadis.models.weights import save
from vadis.prediction import Predictor
from vadis.score_files import read_scores
from vadis.specs import ClipSpec

NAMES = ("crawl", "jump", "walk")


def write_model(path: Path, names: tuple[str, ...] = NAMES, seed: int = 0) -> Path:
    """A small network with random weights, as training writes it."""
    torch.manual_seed(seed)
    model = create_model("r3d_18", tiny=True, num_classes=len(names))
    spec = ClipSpec(num_frames=4, frame_stride=2, size=40, crop=32, mean=(0.4,) * 3, std=(0.2,) * 3)
    metadata = {
        "model": "r3d_18",
        "name": "r3d_18.made",
        "num_classes": len(names),
        "class_names": list(names),
        "options": {"tiny": True},
        "spec": dataclasses.asdict(spec),
    }
    return save(model.state_dict(), path, metadata)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with five videos each; one is broken."""
    root = tmp_path_factory.mktemp("data")
    for label, name in enumerate(NAMES):
        (root / name).mkdir()
        for number in range(5):
            write_numbered(root / name / f"{number}.mp4", 16, first=100 * label + 20 * number)
    (root / "jump" / "3.mp4").write_bytes(b"no video" * 99)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "best.safetensors")


def invoke(*words: object) -> tuple[int, str, str]:
    ran = CliRunner().invoke(app, ["evaluate", *map(str, words), "--workers", "0", "--device", "cpu"])
    return ran.exit_code, ran.stdout, ran.stderr


def test_from_folder_to_card(data: Path, model: Path, tmp_path: Path) -> None:
    out, html, scores = tmp_path / "c.json", tmp_path / "c.html", tmp_path / "s.npz"
    code, said, complained = invoke(
        data,
        "-m",
        model,
        "--protocol",
        "2x3",
        "-o",
        out,
        "--html",
        html,
        "--save-scores",
        scores,
        "--calibrate",
    )
    assert code == 1, complained  # one could not be read
    assert "jump/3" in complained
    assert "1 of 15" in complained
    card = read_card(out)
    assert (card.num_expected, card.num_evaluated, card.num_unreadable, card.num_views) == (15, 14, 1, 6)
    assert card.calibration is not None
    assert f"{100 * card.metrics['top1']:.2f} %" in said
    assert "data:image/jpeg" in html.read_text("utf-8")
    assert not list(tmp_path.glob("*scores.jsonl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.html", "c.json", "s.npz"]
    with np.load(scores, allow_pickle=False) as arrays:
        network = create_model("r3d_18", weights=model)
        dataset = open_dataset(data)
        wanted = score_dataset(network, dataset, "2x3", device="cpu", workers=0)
        assert np.allclose(arrays["scores_NK"], wanted.scores_NK, equal_nan=True)
        assert arrays["class_names"].tolist() == list(NAMES)
        assert np.isnan(arrays["scores_NK"]).all(axis=1).sum() == 1
    kept = read_scores(scores)
    assert wanted.logits_NK is not None
    assert np.allclose(kept.logits_NK, wanted.logits_NK, equal_nan=True)
    assert not np.allclose(softmax(kept.logits_NK), kept.scores_NK, equal_nan=True, atol=1e-9)  # of each view
    assert kept.names == tuple(example.id for example in dataset.examples)
    assert (kept.split, kept.protocol, kept.kind) == (dataset.split, "2x3", "logits")
    assert kept.provenance["weights_sha256"] == hash_weights(network)
    code, said, _ = invoke(data, "-m", model, "--protocol", "2x3", "--temperature", out, "--json", "-q")
    assert code == 1
    found = json.loads(said)["calibration"]
    assert found["temperature"] == card.calibration["temperature"]
    assert found["chosen_here"] is False


def test_wrong_usage_is_told(data: Path, model: Path, tmp_path: Path) -> None:
    for words, text in (
        (["--protocol", "10x7"], "no protocol is called"),
        (["--splits", "1,2,3"], "has no split 1"),
        (["--splits", "1"], "several different splits"),
        (["--split", "test"], "test"),
        (["-m", "r3d_18"], "2 models for 1 splits"),
        (["--calibrate", "--temperature", "2"], "one of them"),
        (["--temperature", "-1"], "positive"),
        (["-o", str(model.with_suffix(".json"))], "something else than a card"),
    ):
        code, _, complained = invoke(data, "-m", model, *words)
        assert code == 2, (words, complained)
        assert text in complained, words
    for name, text in (("r3d_18", "without weights"), ("gone.safetensors", "no such file")):
        code, _, complained = invoke(data, "-m", name)
        assert code == 2
        assert text in complained
    other = write_model(tmp_path / "other.safetensors", ("crawl", "Jump", "walk"))
    code, _, complained = invoke(data, "-m", other)
    assert code == 2
    assert "'Jump'" in complained


def test_classes_in_another_order_and_more_of_them(data: Path, tmp_path: Path) -> None:
    turned = write_model(tmp_path / "turned.safetensors", NAMES[::-1])
    code, said, _ = invoke(data, "-m", turned, "--protocol", "1x1")
    assert code == 1
    assert "another order" in said
    more = write_model(tmp_path / "more.safetensors", ("aikido", *NAMES))
    assert invoke(data, "-m", more, "--protocol", "1x1")[0] == 2
    code, said, _ = invoke(data, "-m", more, "--protocol", "1x1", "--subset")
    assert code == 1
    assert "only the dataset's 3 of the network's 4 classes" in said


def test_a_temperature_goes_into_the_model_file(data: Path, tmp_path: Path) -> None:
    file = write_model(tmp_path / "best.safetensors")
    before = create_model("r3d_18", weights=file)
    plain = Predictor(file, engine="torch", device="cpu")
    assert (plain.temperature, plain.threshold) == (1.0, 0.3)
    code, _, complained = invoke(data, "-m", file, "--protocol", "2x1", "--calibrate", "--store")
    assert code == 2
    assert "--combine logits" in complained
    assert invoke(data, "-m", file, "--protocol", "2x1", "--store")[0] == 2
    words = ("--protocol", "2x1", "--combine", "logits", "--calibrate", "--store", "--max-error", "0.9")
    code, said, _ = invoke(data, "-m", file, *words, "--json")
    assert code == 1
    found = json.loads(said)["calibration"]
    after = create_model("r3d_18", weights=file)
    assert hash_weights(after) == hash_weights(before)
    warm = Predictor(file, engine="torch", device="cpu")
    assert warm.temperature == found["temperature"] != 1
    assert warm.threshold == found["threshold"]["score"]
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32, 3), np.uint8)
    assert np.allclose(warm.score(frames) * warm.temperature, plain.score(frames), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_mean_over_three_splits(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    make("shapes", folder, clips_per_class=3, size=32, num_frames=6, workers=1)
    from vadis.data.shapes import CLASS_NAMES

    for number in (1, 2, 3):
        write_model(tmp_path / f"m{number}.safetensors", CLASS_NAMES, seed=number)
    pattern = tmp_path / "m{split}.safetensors"
    code, said, complained = invoke(
        folder, "-m", pattern, "--splits", "1,2,3", "--protocol", "1x1", "-o", tmp_path / "mean.json"
    )
    assert code == 0, complained
    mean = read_card(tmp_path / "mean.json")
    singles = []
    for number in (1, 2, 3):
        out = tmp_path / f"c{number}.json"
        file = tmp_path / f"m{number}.safetensors"
        assert invoke(folder, "-m", file, "--split", f"test{number}", "--protocol", "1x1", "-o", out)[0] == 0
        singles.append(read_card(out))
    assert mean.metrics["top1"] == pytest.approx(np.mean([card.metrics["top1"] for card in singles]))
    assert [card.weights_sha256 for card in mean.splits] == [card.weights_sha256 for card in singles]
    assert len({card.weights_sha256 for card in singles}) == 3
    assert set(singles[0].metrics["groups"]) == {"appearance", "motion", "reversed", "camera"}
    assert "over 3 splits" in said


@pytest.mark.slow
def test_stopped_by_ctrl_c_it_goes_on(data: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.json"
    journal = tmp_path / "card.scores.jsonl"
    words = ["evaluate", str(data), "-m", str(model), "--protocol", "16x10", "-o", str(out), "--workers", "0"]
    command = [sys.executable, "-m", "vadis", *words, "--device", "cpu", "--batch-size", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and len(journal.read_bytes().splitlines()) >= 2:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.02)
    complained = process.communicate(timeout=120)[1]
    assert process.returncode == 130, complained
    assert "the same command goes on" in complained
    assert not out.exists()
    scored = [json.loads(line)["indices"] for line in journal.read_bytes().splitlines()[1:]]
    assert 0 < sum(map(len, scored)) <= 14  # all of them where this process got no turn before
    code, _, complained = invoke(*words[1:-2], "--batch-size", "4")
    assert code == 1, complained
    assert not journal.exists()
    network = create_model("r3d_18", weights=model)
    plain = score_dataset(network, open_dataset(data), "16x10", device="cpu", workers=0, batch_size=4)
    right = sum(
        bool(np.isfinite(row).all()) and int(row.argmax()) == labels[0]
        for row, labels in zip(plain.scores_NK, plain.labels, strict=True)
    )
    assert read_card(out).metrics["top1"] == right / 15
