"""ARTNet: the SMART block by hand, what stands where, and what it costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vadis.models.artnet import ArtNet, PreActivationBlock, Smart, artnet_r18, artnet_s_r18, c3d_r18
from vadis.models.cost import measure_cost


def plain_smart(channels: int = 2, **options: object) -> Smart:
    """A block of one input channel whose batch norms (mean 0, variance 1) change nothing."""
    block = Smart(1, channels, **options).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 0.0
    with torch.no_grad():
        for parameter in (block.appearance, block.relation, block.reduce):
            parameter.weight.zero_()
            if parameter.bias is not None:
                parameter.bias.zero_()
    return block


def test_smart_by_hand() -> None:
    """Appearance 3x and -x; relation 2x(t) and x(t-1) + x(t+1): energy half of the sum of both squares."""
    block = plain_smart()
    with torch.no_grad():
        block.appearance.weight[:, 0, 0, 1, 1] = torch.tensor([3.0, -1.0])
        block.relation.weight[0, 0, 1, 1, 1] = 2.0
        block.relation.weight[1, 0, [0, 2], 1, 1] = 1.0
        block.reduce.weight[:, :, 0, 0, 0] = torch.tensor([[1.0, 1.0, 10.0], [0.0, 1.0, 0.0]])
        x = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1, 1)
        first, second = block(x)[0, :, :, 0, 0]
    energy = torch.tensor([(2.0**2 + 2.0**2) / 2, (4.0**2 + 5.0**2) / 2, (8.0**2 + 2.0**2) / 2])
    assert torch.allclose(first, 3 * x.flatten() + 10 * energy)
    assert second.tolist() == [0.0, 0.0, 0.0], "ReLU before the 1x1x1 convolution"


def test_pairs_are_neighbouring_channels() -> None:
    block = plain_smart(channels=4)
    with torch.no_grad():
        block.relation.weight[:, 0, 1, 1, 1] = torch.tensor([1.0, 3.0, 5.0, 7.0])
        block.reduce.weight[0, 4, 0, 0, 0] = 1.0
        block.reduce.weight[1, 5, 0, 0, 0] = 1.0
        found = block(torch.ones(1, 1, 1, 1, 1)).flatten()
    assert found.tolist() == [(1 + 9) / 2, (25 + 49) / 2, 0.0, 0.0]


def test_relation_does_not_care_for_the_sign_and_appearance_not_for_other_frames() -> None:
    torch.manual_seed(0)
    block, x = Smart(3, 4, bias=False).eval(), torch.randn(1, 3, 5, 6, 6)
    order = [3, 0, 4, 1, 2]
    with torch.no_grad():
        block.reduce.weight[:, :4] = 0  # relation alone
        assert torch.allclose(block(x), block(-x), atol=1e-6)
        assert not torch.allclose(block(x)[:, :, order], block(x[:, :, order]), atol=1e-3)
        nn.init.normal_(block.reduce.weight)
        block.reduce.weight[:, 4:] = 0  # appearance alone
        assert torch.allclose(block(x)[:, :, order], block(x[:, :, order]), atol=1e-6)
        assert not torch.allclose(block(x), block(-x), atol=1e-3)


def test_both_branches_of_the_stem_look_at_the_same_places() -> None:
    """With stride 2 the 1x7x7 and the 3x7x7 kernels must be centred on the same frames and pixels."""
    block = plain_smart(kernel=(3, 7, 7), stride=2)
    x = torch.rand(1, 1, 9, 11, 8) + 0.1
    with torch.no_grad():
        block.appearance.weight[0, 0, 0, 3, 3] = 1.0
        block.relation.weight[0, 0, 1, 3, 3] = 1.0
        block.reduce.weight[0, 0] = 1.0
        block.reduce.weight[1, 2] = 2.0
        seen, energy = block(x)[0]
    assert torch.equal(seen, x[0, 0, ::2, ::2, ::2])
    assert torch.allclose(energy, seen.square())


def test_a_block_whose_last_layer_is_zero_passes_the_raw_sum_on() -> None:
    block, raw = PreActivationBlock(4, 4, smart=True), torch.randn(2, 4, 3, 5, 5)
    nn.init.zeros_(block.conv2.reduce.weight)
    nn.init.zeros_(block.conv2.reduce.bias)
    before = raw.clone()
    assert torch.equal(block(raw), raw)
    assert torch.equal(raw, before)


def test_the_short_cut_sees_what_is_activated() -> None:
    """Where the size changes: a 3x3x3 convolution of stride 2 of ReLU(BN(x)), no batch norm after it."""
    torch.manual_seed(0)
    block, raw = PreActivationBlock(4, 6).eval(), torch.randn(1, 4, 4, 6, 6)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    with torch.no_grad():
        assert torch.allclose(block(raw), block.down(block.bn1(raw).relu()))
    assert block(raw).shape == (1, 6, 2, 3, 3)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (artnet_r18(tiny=True), {"stem", "stage2", "stage3", "stage4"}),
        (artnet_s_r18(tiny=True), {"stem"}),
        (c3d_r18(tiny=True), set()),
    ],
)
def test_where_smart_blocks_stand(model: ArtNet, wanted: set[str]) -> None:
    smart = [name for name, module in model.named_modules() if isinstance(module, Smart)]
    assert {name.partition(".")[0] for name in smart} == wanted
    assert all(name == "stem" or name.endswith("conv2") for name in smart)


@pytest.mark.parametrize(
    ("function", "parameters", "gmac"),
    [(artnet_r18, 39_675_216, 25.684), (artnet_s_r18, 37_862_864, 21.907), (c3d_r18, 37_847_312, 21.517)],
)
def test_cost(function: type, parameters: int, gmac: float) -> None:
    """The authors' network files of ARTNet(d) and C3D-R18 come to 39.68 M, 25.7 G and 37.85 M, 21.5 G."""
    with torch.device("meta"):
        model = function()
    cost = measure_cost(model, (3, 16, 112, 112))
    assert cost.num_parameters == parameters
    assert cost.gmac == pytest.approx(gmac, rel=1e-4)


def shapes_of_stages(model: ArtNet, clip: Tensor) -> dict[str, tuple[int, ...]]:
    found, raw = {}, clip
    for name in ("stem", "stage2", "stage3", "stage4", "stage5"):
        raw = model.get_submodule(name)(raw)
        found[name] = tuple(raw.shape[1:4])
    return found


def test_the_published_table() -> None:
    with torch.device("meta"):
        for function in (artnet_r18, artnet_s_r18, c3d_r18):
            assert shapes_of_stages(function(), torch.empty(1, 3, 16, 112, 112)) == {
                "stem": (64, 8, 56),
                "stage2": (64, 8, 56),
                "stage3": (128, 4, 28),
                "stage4": (256, 2, 14),
                "stage5": (512, 1, 7),
            }


def test_what_goes_in() -> None:
    spec = artnet_r18(tiny=True).spec
    assert (spec.num_frames, spec.size, spec.crop, spec.channel_order) == (16, 128, 112, "bgr")
    assert (spec.mean, spec.std, spec.value_range) == ((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), (0.0, 255.0))
    assert artnet_r18(tiny=True, in_channels=2).spec.modality == "flow"
