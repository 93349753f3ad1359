"""Xception: its table, timm's answers from the same weights, timm's spelling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vadis.models.trunks import make_trunk
from vadis.models.xception import XCEPTION, Xception, xception_key


def randomised(network: nn.Module) -> nn.Module:
    """Every batch norm drawn, so that nothing in it is at its start."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def test_the_table() -> None:
    """Figure 5: the size of the map after each part, for 299 x 299."""
    with torch.device("meta"):
        trunk = Xception()
        x: Tensor = trunk.stem(torch.empty(1, 3, 299, 299))
        found = [tuple(x.shape[1:3])]
        for block in trunk.blocks:
            x = block(x)
            found.append(tuple(x.shape[1:3]))
        top = trunk.top(x)
    assert found == [(64, 147), (128, 74), (256, 37), (728, 19), *[(728, 19)] * 8, (1024, 10)]
    assert top.shape == (1, 2048, 10, 10)


def test_the_published_count() -> None:
    """22,855,952 parameters with 1000 classes (Keras' and the ports')."""
    with torch.device("meta"):
        trunk = make_trunk("xception")
    assert sum(map(Tensor.numel, trunk.parameters())) + 2048 * 1000 + 1000 == 22_855_952
    assert trunk.num_features == XCEPTION.top[-1] == 2048


def test_blocks_do_not_write_into_their_input() -> None:
    """The ReLU before a separable convolution must not rectify what goes through the shortcut."""
    trunk = make_trunk("xception", tiny=True).eval()
    x = torch.randn(1, 16, 9, 9)
    before = x.clone()
    trunk.get_submodule("blocks.1")(x)
    assert torch.equal(x, before)


def test_the_smallest_picture() -> None:
    trunk = make_trunk("xception", 1, tiny=True).eval()
    assert trunk(torch.rand(1, 1, 7, 7)).shape == (1, 96, 1, 1)
    assert trunk.state_dict()[trunk.first].shape[1] == 1


def test_keys_that_timm_has_not() -> None:
    assert xception_key("blocks.0.separables.1.bn.bias") == "block1.rep.4.bias"
    assert xception_key("blocks.11.separables.1.space.weight") == "block12.rep.4.conv1.weight"
    assert xception_key("dropout.weight") is None


@pytest.mark.peers
@pytest.mark.parametrize("channels", [3, 1])
def test_timm_gives_the_same(channels: int) -> None:
    timm: Any = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = randomised(timm.create_model("legacy_xception", num_classes=0, in_chans=channels))
    state = theirs.state_dict()
    trunk = make_trunk("xception", channels).eval()
    spelled = {key: trunk.image_key(key) for key in trunk.state_dict()}
    assert set(spelled.values()) == set(state), "each of theirs has one of ours"
    trunk.load_state_dict({key: state[str(theirs_)] for key, theirs_ in spelled.items()})
    for size in ((299, 299), (101, 64)):
        pictures = torch.randn(2, channels, *size)
        with torch.inference_mode():
            wanted: Tensor = theirs.forward_features(pictures)
            found = trunk(pictures)
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
