"""The demo proves the weights before it shows anything, and leaves what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vadis import demo
from vadis.models import create_model
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


def test_wrong_weights_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = create_model("i3d_inception", tiny=True).eval()
    assert demo.prove_weights(Predictor(network, engine="torch")) > 100 * demo.TOLERANCE
