"""RAFT with random weights: shapes, padding and what is refused; its answers need trained ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import optical_flow

from vadis.data.known_motion import known_motion
from vadis.video import raft
from vadis.video.flow import Estimator, estimate_flow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "small.safetensors"
    save_file(optical_flow.raft_small(weights=None).state_dict(), path)
    return path


def test_contract(weights: Path) -> None:
    frames = known_motion("translation", frames=3, size=(135, 61)).frames_THWC
    estimator = Estimator("raft", device="cpu", size="small", weights=weights, iterations=2)
    flow = estimator(frames)
    assert flow.fields_THW2.shape == (2, 61, 135, 2)
    assert flow.method == "raft"
    assert np.isfinite(flow.fields_THW2).all()
    assert flow.fields_THW2.any()
    single = estimator(frames[1:]).fields_THW2
    assert np.abs(single - flow.fields_THW2[1:]).max() < 1e-4
    assert estimator(frames[:1]).fields_THW2.shape == (0, 61, 135, 2)
    more = estimate_flow(frames[:2], "raft", device="cpu", size="small", weights=weights, iterations=4)
    assert np.abs(more.fields_THW2 - flow.fields_THW2[:1]).max() > 1e-3


def test_it_is_torchvisions_network(weights: Path) -> None:
    """A picture that needs no padding: the numbers are those of the plain network."""
    frames = known_motion("zoom", frames=2, size=(136, 128)).frames_THWC
    network = optical_flow.raft_small(weights=None).eval()
    network.load_state_dict(raft._read(weights))
    before, after = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1 for frame in frames)
    with torch.inference_mode():
        expected = network(before, after, num_flow_updates=2)[-1][0].permute(1, 2, 0).numpy()
    found = estimate_flow(frames, "raft", device="cpu", size="small", weights=weights, iterations=2)
    assert np.abs(found.fields_THW2[0] - expected).max() < 1e-4


def test_nothing_without_weights(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(optical_flow.Raft_Large_Weights.DEFAULT.__class__, "get_state_dict", refuse)
    with pytest.raises(ConnectionError, match=r"no route to host.*name the file"):
        Estimator("raft", device="cpu")
    with pytest.raises(ValueError, match="not those of raft_large"):
        Estimator("raft", device="cpu", weights=weights)
    with pytest.raises(FileNotFoundError, match="no weights of raft"):
        Estimator("raft", weights=tmp_path / "none.pth")
    with pytest.raises(ValueError, match="small or large"):
        Estimator("raft", size="huge")
    with pytest.raises(ValueError, match="at least one iteration"):
        Estimator("raft", iterations=0)
    with pytest.raises(ValueError, match="options size, weights"):
        Estimator("raft", theta=1)
