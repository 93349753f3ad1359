"""The image networks: equal to torchvision's with the same random weights, and what a trunk must say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from vadis.models.layers import Trunk
from vadis.models.trunks import TRUNKS, by_frame, make_trunk


def randomised(network: nn.Module) -> nn.Module:
    """Every parameter and running statistic drawn, so that nothing is at its start by chance."""
    torch.manual_seed(1)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.1)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return network.eval()


def with_their_weights(kind: str, theirs: nn.Module) -> Trunk:
    """Our trunk with torchvision's weights; every one of ours is there."""
    trunk = make_trunk(kind).eval()
    state: dict[str, Tensor] = {}
    for key in trunk.state_dict():
        spelled = trunk.image_key(key)
        assert spelled is not None, key
        state[key] = theirs.state_dict()[spelled]
    trunk.load_state_dict(state)
    return trunk


@pytest.mark.parametrize("kind", ["resnet18", "resnet50"])
@pytest.mark.parametrize("size", [64, 75])
def test_resnet_is_torchvisions(kind: str, size: int) -> None:
    theirs = randomised(torchvision.models.get_model(kind))
    theirs.fc = nn.Identity()
    trunk = with_their_weights(kind, theirs)
    frames = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(trunk(frames).mean((2, 3)), theirs(frames), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [64, 75])
def test_inception_is_torchvisions_googlenet(size: int) -> None:
    options: dict[str, Any] = {"init_weights": False, "aux_logits": False}
    theirs = randomised(torchvision.models.googlenet(**options))
    theirs.fc = nn.Identity()
    trunk = with_their_weights("inception", theirs)
    frames = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(trunk(frames).mean((2, 3)), theirs(frames), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "inception"])
def test_parameters_are_torchvisions(kind: str) -> None:
    with torch.device("meta"):
        trunk = make_trunk(kind)
        options: dict[str, Any] = {"init_weights": False, "aux_logits": False}
        theirs = torchvision.models.get_model(trunk.images, **(options if kind == "inception" else {}))
    without_head = [value for name, value in theirs.named_parameters() if not name.startswith("fc.")]
    assert sum(map(Tensor.numel, trunk.parameters())) == sum(map(Tensor.numel, without_head))


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_trunk_says_what_it_is(kind: str) -> None:
    trunk = make_trunk(kind, 5, tiny=True).eval()
    assert sum(map(Tensor.numel, trunk.parameters())) < 450_000
    assert trunk.state_dict()[trunk.first].shape[1] == 5
    least = trunk.min_pixels
    with torch.inference_mode():
        for size in (least, least + 1, max(32, least)):
            found = trunk(torch.rand(2, 5, size, size))
            assert found.shape[:2] == (2, trunk.num_features)
            assert min(found.shape[2:]) >= 1
        clip = torch.rand(2, 5, 3, max(32, least), max(32, least))
        maps = by_frame(trunk, clip)
        torch.testing.assert_close(maps[:, :, 1], trunk(clip[:, :, 1]), rtol=1e-4, atol=1e-5)
    with torch.device("meta"):
        full = make_trunk(kind)
        assert full(torch.empty(1, 3, 224, 224)).shape[1] == full.num_features


@pytest.mark.parametrize("kind", TRUNKS)
def test_every_key_has_a_counterpart(kind: str) -> None:
    """No two of ours are spelled alike in the image network."""
    with torch.device("meta"):
        trunk = make_trunk(kind)
    found = [trunk.image_key(key) for key in trunk.state_dict()]
    if not trunk.images:  # nobody has AlexNet as it is here, and VGG-M's weights are in another kind of file
        return
    assert None not in found
    assert len(set(found)) == len(found)


def test_an_unknown_trunk() -> None:
    with pytest.raises(ValueError, match="no trunk is called 'resnet51'; there are resnet18"):
        make_trunk("resnet51")
