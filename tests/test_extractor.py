"""The network behind features: as the plain one, checked, and known by all that its numbers depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from built import small_r3d
from torch import Tensor

from vadis import extractor
from vadis.extractor import Extractor
from vadis.models import VideoModel, create_model
from vadis.transfer.controls import freeze_frame


@pytest.fixture(scope="module")
def network() -> VideoModel:
    """A tiny R3D for clips of 4 frames of 32 pixels, weights by a seed."""
    return small_r3d()


@pytest.fixture
def pixels() -> Tensor:
    """Six views, pixels_VTCHW."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(256, (6, 4, 3, 32, 32), dtype=torch.uint8, generator=draw)


def features_of(network: VideoModel, pixels_VTCHW: Tensor) -> np.ndarray:
    """By the plain network: features_VD."""
    mean, std = (torch.tensor(x)[:, None, None, None] for x in (network.spec.mean, network.spec.std))
    with torch.no_grad():
        clip_BCTHW = (pixels_VTCHW.float() / 255).transpose(1, 2)
        found: np.ndarray = network.forward_features((clip_BCTHW - mean) / std).mean((2, 3, 4)).numpy()
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 6, 8])
def test_features_are_those_of_the_plain_network(
    network: VideoModel, pixels: Tensor, batch_size: int
) -> None:
    found = Extractor(network, batch_size=batch_size)(pixels)
    np.testing.assert_allclose(found, features_of(network, pixels), rtol=1e-3, atol=1e-5)


def test_a_folded_network_that_differs_is_not_used(
    network: VideoModel, pixels: Tensor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = features_of(network, pixels)
    monkeypatch.setattr(
        extractor.Engine, "__call__", lambda self, clip_BCTHW: torch.zeros(len(clip_BCTHW), plain.shape[-1])
    )
    found = Extractor(network)(pixels)
    assert "the plain one runs" in caplog.text
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-5)


def test_what_numbers_depend_on_makes_other_keys(network: VideoModel) -> None:
    usual = Extractor(network)
    assert usual.settings("1x1") == Extractor(network).settings("1x1")
    others = [
        usual.settings("2x1"),
        Extractor(network, "head_input").settings("1x1"),
        Extractor(network, spec=replace(network.spec, frame_stride=2)).settings("1x1"),
        Extractor(network, sees=freeze_frame).settings("1x1"),
    ]
    assert len({usual.settings("1x1"), *others}) == 5
    assert Extractor(network, sees=lambda clip_BCTHW: clip_BCTHW).settings("1x1") is None  # may be anything
    assert usual.provenance("1x1")["layer"] == "pool"


def test_what_there_is_not_is_refused(network: VideoModel) -> None:
    with pytest.raises(ValueError, match="one of float32, bf16"):
        Extractor(network, precision="fp8")
    with pytest.raises(ValueError, match="no layer"):
        Extractor(network, "nowhere")
    two = create_model("two_stream_i3d", tiny=True)
    with pytest.raises(ValueError, match="several tensors"):
        Extractor(two)
