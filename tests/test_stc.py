"""STC-Net: the two branches, what they depend on, and the networks that it contains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vadis.models import create_model
from vadis.models.contract import VideoModel
from vadis.models.cost import count_parameters
from vadis.models.resnet3d import SqueezeExcitation
from vadis.models.stc import StcBlock, stage_frames

NAMES = pytest.mark.parametrize("name", ["resnet3d_101", "resnext3d_101"])


def tiny(name: str, **options: Any) -> VideoModel:
    """A small network with running statistics of its own."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, tiny=True, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_a_block_by_hand() -> None:
    block = StcBlock(channels=1, frames=2, reduction=1)
    with torch.no_grad():
        block.temporal.reduce.weight.fill_(1.0)
        block.temporal.reduce.bias.fill_(0.0)
        block.temporal.expand.weight.fill_(1.0)
        block.temporal.expand.bias.fill_(-1.0)
        block.spatial_reduce.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        block.spatial_reduce.bias.fill_(0.0)
        block.spatial_expand.weight.copy_(torch.tensor([[3.0, 0.5]]))
        block.spatial_expand.bias.fill_(0.0)
        x = torch.tensor([[0.0, 2.0], [3.0, 7.0]]).reshape(1, 1, 2, 1, 2)  # frame means 1 and 5, clip mean 3
        found = block(x)
    temporal = 1 / (1 + np.exp(-2.0))  # 3 - 1
    spatial = 1 / (1 + np.exp(-2.0 * 1.0))  # relu(1 - 5) = 0 and relu(5 - 1) = 4: 0.5 * 4
    assert torch.allclose(found, x * (temporal + spatial) / 2)
    with torch.no_grad():
        turned = block(x.flip(2))  # now relu(5 - 1) = 4 comes first: 3 * 4
    spatial = 1 / (1 + np.exp(-12.0))
    assert torch.allclose(turned, x.flip(2) * (temporal + spatial) / 2)


def test_what_each_branch_sees() -> None:
    """The temporal branch sees one mean a channel, the spatial one each frame's; neither sees where."""
    torch.manual_seed(0)
    block = StcBlock(channels=8, frames=4, reduction=2)
    x = noise(1, 8, 4, 3, 3) * 10

    def gate(x_BDTHW: Tensor) -> Tensor:
        return block(x_BDTHW)[0, :, 0, 0, 0] / x_BDTHW[0, :, 0, 0, 0]

    with torch.no_grad():
        before = gate(x)
        assert torch.allclose(gate(x.flip(3)), before, atol=1e-6)
        assert not torch.allclose(gate(x.flip(2)), before, atol=1e-3)
        block.spatial_expand.weight.zero_()
        before = gate(x)
        assert torch.allclose(gate(x.flip(2)), before, atol=1e-6)
        assert not torch.allclose(gate(x * 2), before, atol=1e-3)


@NAMES
def test_open_gates_give_the_plain_network(name: str) -> None:
    gated, plain = tiny(f"stc_{name}"), tiny(name)
    plain.load_state_dict({key: value for key, value in gated.state_dict().items() if ".gate." not in key})
    clip = noise(1, 3, 16, 32, 32)
    with torch.no_grad():
        wanted = plain(clip)
        assert (gated(clip) - wanted).abs().max() > 1e-2 * wanted.abs().max(), "they are not open at first"
        for module in gated.modules():
            if isinstance(module, StcBlock):
                for layer in (module.temporal.expand, module.spatial_expand):
                    layer.weight.zero_()
                    layer.bias.fill_(30.0)
        assert torch.allclose(gated(clip), wanted, atol=1e-6)


@NAMES
def test_on_one_frame_equal_branches_are_squeeze_and_excitation(name: str) -> None:
    """With one position in time both branches see the same; with the same weights their mean is either."""
    model, wanted = tiny(f"stc_{name}", num_frames=1), tiny(f"se_{name}")
    for module in model.modules():
        if isinstance(module, StcBlock):
            module.spatial_reduce.load_state_dict(module.temporal.reduce.state_dict())
            module.spatial_expand.load_state_dict(module.temporal.expand.state_dict())
    state = {key.replace(".temporal.", "."): value for key, value in model.state_dict().items()}
    wanted.load_state_dict({key: value for key, value in state.items() if ".spatial_" not in key})
    clip = noise(2, 3, 1, 33, 40)
    with torch.no_grad():
        assert torch.allclose(model(clip), wanted(clip), atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "options", "expected"),
    [
        (16, {}, (8, 4, 2, 1)),
        (32, {}, (16, 8, 4, 2)),
        (64, {}, (32, 16, 8, 4)),
        (15, {}, (8, 4, 2, 1)),
        (9, {"stem_pool": False}, (9, 5, 3, 2)),
        (30, {"stem_stride_frames": 2}, (8, 4, 2, 1)),
        (8, {"stem_kernel_frames": 4, "stem_stride_frames": 2}, (3, 2, 1, 1)),
    ],
)
def test_the_length_in_each_stage(
    frames: int, options: dict[str, Any], expected: tuple[int, int, int, int]
) -> None:
    assert stage_frames(frames, options) == expected
    model = tiny("stc_resnext3d_101", num_frames=frames, **options)
    x, found = model.pool(model.stem(noise(1, 3, frames, 32, 32))), []
    for stage in model.stages:
        x = stage(x)
        found.append(x.shape[2])
    assert tuple(found) == expected


@pytest.mark.parametrize("frames", [1, 15, 17, 32])
def test_another_length_is_refused(frames: int) -> None:
    model = tiny("stc_resnet3d_101")
    with pytest.raises(ValueError, match=f"takes clips of exactly 16 frames.*got {frames}: .*num_frames"):
        model(noise(1, 3, frames, 32, 32))


def test_the_clip_length_is_an_option() -> None:
    model = tiny("stc_resnet3d_101", num_frames=32, in_channels=2)
    assert (model.spec.num_frames, model.spec.channels, model.min_frames) == (32, 2, 32)
    with torch.no_grad():
        assert model(noise(1, 2, 32, 32, 48)).shape == (1, 5)
    with pytest.raises(ValueError, match="num_frames must be at least 1"):
        create_model("stc_resnet3d_101", tiny=True, num_frames=0)


@pytest.mark.parametrize("frames", [16, 64])
def test_parameters_by_hand(frames: int) -> None:
    """The trunk's, and two pairs of matrices with biases in each block."""
    with torch.device("meta"):
        model = create_model("stc_resnext3d_101", num_frames=frames)
    gates = 0
    for wide, blocks, shorter in ((256, 3, 2), (512, 4, 4), (1024, 23, 8), (2048, 3, 16)):
        pooled = wide * frames // shorter
        temporal = 2 * wide * wide // 16 + wide // 16 + wide
        spatial = pooled * pooled // 16 + pooled // 16 + pooled // 16 * wide + wide
        gates += blocks * (temporal + spatial)
    assert count_parameters(model) == 48_340_816 + gates
    assert sum(isinstance(module, StcBlock) for module in model.modules()) == 33
    assert sum(isinstance(module, SqueezeExcitation) for module in model.modules()) == 33
