"""MFNet: fibers that do not see each other, a multiplexer that joins them, and any size."""

from __future__ import annotations

import pytest
import torch

from vadis.models.mfnet import MultiFiberBlock, NormReluConv, mfnet3d


def randomised(block: MultiFiberBlock) -> MultiFiberBlock:
    """In eval mode, with running statistics unlike the initial ones."""
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return block.eval()


def reached(block: MultiFiberBlock, channel: int) -> list[int]:
    """The channels that change when one channel of the input does."""
    torch.manual_seed(1)
    x = torch.randn(1, 16, 2, 4, 4)
    other = x.clone()
    other[:, channel] += 1
    with torch.no_grad():
        changed = (block(other) - block(x)).abs().amax(dim=(0, 2, 3, 4))
    return (changed > 1e-6).nonzero().flatten().tolist()


def test_without_the_multiplexer_a_fiber_sees_itself_only() -> None:
    torch.manual_seed(0)
    block = randomised(MultiFiberBlock(16, 16, (1, 1, 1), groups=4, first=False))
    assert reached(block, 5) == list(range(16)), "the multiplexer joins all"
    torch.nn.init.zeros_(block.expand.conv.weight)
    assert reached(block, 5) == [4, 5, 6, 7], "its own fiber: channels 4 to 7"


def test_what_is_added_is_the_input_itself() -> None:
    """With the last convolution at zero a later block is the identity, whatever the multiplexer does."""
    torch.manual_seed(0)
    later = randomised(MultiFiberBlock(8, 8, (1, 1, 1), groups=4, first=False))
    first = randomised(MultiFiberBlock(8, 16, (2, 1, 1), groups=4, first=True))
    x = torch.randn(2, 8, 4, 6, 6)
    with torch.no_grad():
        for block in (later, first):
            torch.nn.init.zeros_(block.outer.conv.weight)
        assert torch.equal(later(x), x)
        assert torch.equal(first(x), first.shortcut(x))
        assert first(x).shape == (2, 16, 2, 6, 6)


def test_the_activation_comes_before_the_convolution() -> None:
    layer = NormReluConv(1, 1).eval()
    layer.conv.weight.data.fill_(-2.0)
    x = torch.tensor([-1.0, 3.0]).reshape(1, 1, 2, 1, 1)
    with torch.no_grad():
        assert torch.allclose(layer(x).flatten(), torch.tensor([0.0, -6.0]), atol=1e-4)


def test_only_the_first_block_of_a_stage_is_without_groups() -> None:
    with torch.device("meta"):
        model = mfnet3d()
    stages = [model.stage2, model.stage3, model.stage4, model.stage5]
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]
    for stage in stages:
        for number, block in enumerate(stage):
            assert block.inner.conv.groups == 16
            assert block.inner.conv.kernel_size == (3, 3, 3)
            assert block.outer.conv.groups == (16 if number else 1)
            assert block.outer.conv.kernel_size == ((1, 3, 3) if number else (1, 1, 1))
            assert block.inner.conv.stride == ((1, 1, 1) if number else block.shortcut.conv.stride)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((16, 224, 224), (8, 7, 7)),
        ((1, 1, 1), (1, 1, 1)),
        ((7, 65, 100), (4, 3, 4)),
        ((64, 112, 160), (32, 4, 5)),
    ],
)
def test_any_size(size: tuple[int, int, int], wanted: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = mfnet3d().eval()
        clip = torch.empty(2, 3, *size)
        assert model.forward_features(clip).shape == (2, 768, *wanted)
        assert model(clip).shape == (2, 400)


def test_shapes_of_the_table() -> None:
    with torch.device("meta"):
        model = mfnet3d()
        x = model.stem(torch.empty(1, 3, 16, 224, 224))
        assert x.shape == (1, 16, 16, 56, 56)
        for stage, wanted in (
            (model.stage2, (1, 96, 8, 56, 56)),
            (model.stage3, (1, 192, 8, 28, 28)),
            (model.stage4, (1, 384, 8, 14, 14)),
            (model.stage5, (1, 768, 8, 7, 7)),
        ):
            x = stage(x)
            assert x.shape == wanted


def test_what_goes_in() -> None:
    with torch.device("meta"):
        spec = mfnet3d(tiny=True).spec
    assert (spec.num_frames, spec.frame_stride, spec.size, spec.crop) == (16, 2, 256, 224)
    for pixel, channel, wanted in ((255, 0, 131 * 0.0167), (0, 1, -117 * 0.0167), (104, 2, 0.0)):
        assert (pixel / 255 - spec.mean[channel]) / spec.std[channel] == pytest.approx(wanted)


def test_dropout_is_for_fine_tuning() -> None:
    with torch.device("meta"):
        assert mfnet3d(tiny=True).dropout.p == 0.0
        assert mfnet3d(tiny=True, dropout=0.5).dropout.p == 0.5
