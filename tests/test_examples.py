"""Each example is short and runs. With the tiny network where training or features are the point."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vadis.models import VideoModel, create_model
from vadis.prediction import Predictor
from vadis.video.write import VideoWriter

EXAMPLES = Path(__file__).parents[1] / "examples"
TESTED = {"predict.py", "frames.py", "features.py", "finetune.py"}


def load_main(name: str) -> Callable[..., object]:
    return runpy.run_path(str(EXAMPLES / name))["main"]


def write_moving_bar(path: Path, vertical: bool, num_frames: int = 50) -> None:
    """A bar that crosses the picture: from left to right, or from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 25) as writer:
        for index in range(num_frames):
            frame_HWC = np.full((96, 128, 3), 32, np.uint8)
            if vertical:
                frame_HWC[index : index + 24] = (240, 200, 40)
            else:
                frame_HWC[:, 2 * index : 2 * index + 24] = (40, 200, 240)
            writer.write(frame_HWC)


def make_tiny(num_classes: int) -> VideoModel:
    """A network that needs no download and sees 16 frames of 64 x 64."""
    torch.manual_seed(0)
    model = create_model("i3d_inception", tiny=True, num_classes=num_classes, dropout=0.0)
    model.spec = replace(model.spec, num_frames=16, size=64, crop=64)
    return model


def calibrate(model: VideoModel, clips_BCTHW: torch.Tensor) -> None:
    """Give batch norm the statistics of some clips, as published weights have those of Kinetics."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = None  # a plain average
    model.train()
    with torch.no_grad():
        model(clips_BCTHW)


@pytest.fixture
def bar_video(tmp_path: Path) -> Path:
    path = tmp_path / "bar.mp4"
    write_moving_bar(path, vertical=False)
    return path


def test_every_example_is_tested_and_short() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED
    assert all(len((EXAMPLES / name).read_text().splitlines()) <= 60 for name in TESTED)


def test_frames(bar_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_main("frames.py")(str(bar_video), "0", "1.0", folder=str(tmp_path))
    assert "frame 25, shown from 1.000 s on" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.png")} == {"bar_0.png", "bar_1.0.png"}


def test_features(bar_video: Path, tmp_path: Path) -> None:
    target = tmp_path / "bar.npz"
    load_main("features.py")(str(bar_video), str(target), model=make_tiny(4))
    with np.load(target) as saved:
        assert saved["features_ND"].shape[0] == 3  # 50 frames: three times 16, and 2 that are too few
        np.testing.assert_allclose(saved["seconds_N2"], [[0, 0.6], [0.64, 1.24], [1.28, 1.88]], atol=1e-3)
        assert np.ptp(saved["features_ND"]) > 0


@pytest.mark.slow
def test_finetune_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_moving_bar(tmp_path / "clips" / "across" / "a.mp4", vertical=False, num_frames=30)
    write_moving_bar(tmp_path / "clips" / "down" / "a.mp4", vertical=True, num_frames=12)
    monkeypatch.chdir(tmp_path)
    model = make_tiny(2)
    example = runpy.run_path(str(EXAMPLES / "finetune.py"))
    videos = sorted(tmp_path.glob("clips/*/*.mp4"))
    calibrate(model, torch.stack([example["read_clip"](video, model.spec) for video in videos]))
    losses = example["main"](str(tmp_path / "clips"), model=model, epochs=12, rate=1e-4)
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    taught = Predictor("finetuned.safetensors", engine="torch")
    for name in ("across", "down"):
        assert taught.predict(f"clips/{name}/a.mp4").labels[0].class_name == name


@pytest.mark.slow
@pytest.mark.network
def test_predict(
    i3d_weights: Path, bar_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.mp4")
    load_main("predict.py")([missing, str(bar_video)])
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(missing)
    assert "not_found" in first
    assert second.startswith(f"{bar_video}: ")
    assert second.endswith("%)")
