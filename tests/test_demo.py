"""The demo proves the weights before it shows anything, and leaves what it promises."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from vadis import demo
from vadis.data import mocap, mocap15
from vadis.models import create_model
from vadis.models.weights import save_model
from vadis.prediction import Predictor
from vadis.video.write import VideoWriter


@pytest.mark.network
@pytest.mark.slow
def test_a_clip_of_the_users_goes_all_the_way(
    i3d_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, 25) as writer:
        for n in range(20):
            writer.write(np.full((64, 80, 3), 12 * n, np.uint8))
    out = tmp_path / "demo"
    assert demo.run_demo(str(clip), out) == 0
    said = capsys.readouterr().out
    assert "largest difference" in said
    assert "RENDERED" not in said  # that is said of our own figure only
    found = json.loads((out / "prediction.json").read_text("utf-8"))
    assert found["model"] == "i3d_inception.k400"
    for name, magic in {"timeline.png": b"\x89PNG", "overlay.mp4": b"ftyp", "table.txt": b"clip.mp4"}.items():
        assert magic in (out / name).read_bytes()
        assert str(out / name) in said.replace("\n", "")


@pytest.mark.network
@pytest.mark.slow
def test_the_story_is_told_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small network of random weights: files, rows and pictures, not numbers."""
    mocap.fetch()
    torch.manual_seed(0)
    start = save_model(create_model("i3d_inception", tiny=True), tmp_path / "i3d_inception.safetensors")
    kept = (demo.EXPERIMENTS[0], demo.EXPERIMENTS[1], demo.EXPERIMENTS[4])
    monkeypatch.setattr(demo, "EXPERIMENTS", kept)
    monkeypatch.setattr("vadis.data.render.DEMO_MOTIONS", (("walk", 0.8), ("spinkick", 0.8)))
    out, console = tmp_path / "demo", Console(file=io.StringIO(), width=200)
    size = demo.Size(clips_per_class=3, drawn=64, num_frames=16, pixels=32, epochs=1.0)
    files = demo.tell_story(out, console, size, start=str(start))
    assert all(path.stat().st_size > 0 for path in files.values())
    rows = json.loads(files["numbers"].read_text("utf-8"))
    assert [row["experiment"] for row in rows] == [*(item.title for item in kept), "chance"]
    assert rows[0]["num_test"] == 15
    assert all(row["processor_seconds"] > 0 for row in rows[:-1])
    assert rows[0]["interval"][0] <= rows[0]["top1"] <= rows[0]["interval"][1]
    assert create_model("i3d_inception", files["model"]).class_names == mocap15.CLASS_NAMES
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "30 clips to learn from, 15 to test on" in said
    assert "of its time is told rightly" in said


def test_wrong_weights_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = create_model("i3d_inception", tiny=True).eval()
    assert demo.prove_weights(Predictor(network, engine="torch")) > 100 * demo.TOLERANCE
