"""LGD: the equations, the backbone inside, what the global path is for, the heads, Xception."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_p3d import randomise
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import create_model
from vadis.models.cost import count_parameters
from vadis.models.layouts.optimization_planning import OPTIMIZATION_PLANNING
from vadis.models.lgd import (
    Diffusion,
    LocalGlobalNet,
    P3dXception,
    lgd_p3d_r50,
    lgd_p3d_r50_128x1,
    lgd_p3d_r101_128x1,
    lgd_p3d_xception,
    lgd_resnext3d_101,
    lgd_se_resnet3d_50,
    lgd_se_resnext3d_101,
    p3d_xception,
    wrap,
)
from vadis.models.p3d import Bottleneck, p3d_63, p3d_r50
from vadis.models.resnet3d import resnet3d_18, resnext3d_101, se_resnet3d_50, se_resnext3d_101

GOLDEN = Path(__file__).parent / "golden" / "parity"
ORDERS = pytest.mark.parametrize("order", ["code", "paper"])


def silence(model: LocalGlobalNet) -> None:
    """Take what the global path says out of the local one."""
    for diffusion in model.diffusions.values():
        last = diffusion.global_to_local.get_submodule("expand")
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


def awaken(model: LocalGlobalNet) -> LocalGlobalNet:
    """Let the global path be heard, as after training."""
    generator = torch.Generator().manual_seed(1)
    for diffusion in model.diffusions.values():
        nn.init.normal_(diffusion.global_to_local.get_parameter("expand.weight"), generator=generator)
    return model


# --- the equations ----------------------------------------------------------------------------------


def low_rank(pair: nn.Module, x_BC: Tensor) -> Tensor:
    """The two layers written out."""
    reduce, expand = pair.get_submodule("reduce"), pair.get_submodule("expand")
    return (x_BC @ reduce.weight.T + reduce.bias) @ expand.weight.T + expand.bias


@ORDERS
def test_the_equations(order: str) -> None:
    torch.manual_seed(0)
    block = randomise(Bottleneck(8, 8, 2, "A"))
    layer = Diffusion(8, 32, order)  # type: ignore[arg-type]
    assert not layer.global_to_local.get_parameter("expand.weight").any(), "it starts silent"
    nn.init.normal_(layer.global_to_local.get_parameter("expand.weight"))
    x, g = torch.randn(2, 8, 3, 6, 5), torch.rand(2, 8)
    with torch.no_grad():
        new_x, new_g = layer(block, x, g)
        plain = block.branch(x) + block.shortcut(x)
        if order == "code":
            wanted_g = F.relu(
                low_rank(layer.local_to_global, x.mean((2, 3, 4))) + low_rank(layer.global_to_global, g)
            )
            told = low_rank(layer.global_to_local, wanted_g)
            wanted_x = F.relu(plain + told[:, :, None, None, None])
        else:
            told = low_rank(layer.global_to_local, g)
            wanted_x = F.relu(plain + told[:, :, None, None, None])
            wanted_g = F.relu(
                low_rank(layer.local_to_global, wanted_x.mean((2, 3, 4)))
                + low_rank(layer.global_to_global, g)
            )
    assert torch.allclose(new_x, wanted_x, atol=1e-5)
    assert torch.allclose(new_g, wanted_g, atol=1e-5)


def test_inner_widths() -> None:
    shapes = {
        order: {key: tuple(value.shape) for key, value in Diffusion(64, 256, order).named_parameters()}  # type: ignore[arg-type]
        for order in ("code", "paper")
    }
    for order, seen, told in (("code", 64, 256), ("paper", 256, 64)):
        found = shapes[order]
        assert found["local_to_global.reduce.weight"] == (16, seen)
        assert found["global_to_global.reduce.weight"] == (16, 64)
        assert found["global_to_local.reduce.weight"] == (16, told)
        assert {found[f"{name}.expand.weight"] for name in ("local_to_global", "global_to_local")} == {
            (256, 16)
        }


def test_the_vector_is_blind_to_where_and_when_in_the_first_block() -> None:
    torch.manual_seed(0)
    block, layer = randomise(Bottleneck(8, 8, 1, "C")), Diffusion(8, 32)
    x = torch.randn(1, 8, 4, 5, 6)
    shuffled = x.flatten(2)[:, :, torch.randperm(120)].unflatten(2, (4, 5, 6))
    with torch.no_grad():
        maps, vectors = zip(
            *(layer(block, map_, map_.mean((2, 3, 4))) for map_ in (x, shuffled)), strict=True
        )
    assert torch.allclose(vectors[0], vectors[1], atol=1e-6)
    assert not torch.allclose(maps[0], maps[1], atol=1e-3)


@ORDERS
def test_every_position_hears_of_every_other(order: str) -> None:
    """What LGD is for: the first position of the clip depends on the last pixel of the last frame."""
    model = lgd_p3d_r50(5, tiny=True, early_stride=1, order=order)  # type: ignore[arg-type]
    model = awaken(randomise(model)).requires_grad_(False)  # type: ignore[arg-type]

    def reach() -> bool:
        clip = torch.rand(1, 3, 4, 224, 224, requires_grad=True)
        model.forward_features(clip)[..., 0, 0, 0].sum().backward()
        assert clip.grad is not None
        return bool(clip.grad[..., -1, -16:, -16:].any())

    assert reach()
    silence(model)
    assert not reach()


# --- the backbone inside ------------------------------------------------------------------------------

PAIRS: list[tuple[Callable[..., LocalGlobalNet], Callable[..., nn.Module]]] = [
    (lgd_p3d_r50, p3d_r50),
    (lgd_p3d_xception, p3d_xception),
    (lgd_se_resnet3d_50, se_resnet3d_50),
    (lgd_resnext3d_101, resnext3d_101),
    (lgd_se_resnext3d_101, se_resnext3d_101),
    (
        lambda classes, tiny, order: wrap(
            p3d_63(2, tiny=tiny), classes, between=("between",), order=order, min_pixels=3
        ),
        p3d_63,
    ),
    (
        lambda classes, tiny, order: wrap(
            resnet3d_18(2, tiny=tiny), classes, before=("stem", "pool"), order=order
        ),
        resnet3d_18,
    ),
]


@ORDERS
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__)
def test_a_silent_global_path_leaves_the_backbone(
    pair: tuple[Callable[..., LocalGlobalNet], Callable[..., nn.Module]], order: str
) -> None:
    torch.manual_seed(0)
    model = randomise(pair[0](5, tiny=True, order=order))
    backbone = pair[1](5, tiny=True).eval()
    assert isinstance(model, LocalGlobalNet)
    backbone.load_state_dict(
        model.backbone.state_dict() | {f"head.{k}": v for k, v in model.head.state_dict().items()}
    )
    clip = torch.randn(1, 3, 16, 48, 64)
    with torch.no_grad():
        awaken(model)
        assert not torch.allclose(model.forward_features(clip), backbone.forward_features(clip), atol=1e-2)
        silence(model)
        assert torch.allclose(model.forward_features(clip), backbone.forward_features(clip), atol=1e-5)
        assert torch.allclose(model.forward_both(clip)[0], backbone(clip), atol=1e-5)


def test_long_clips_take_the_weights_of_short_ones() -> None:
    with torch.device("meta"):
        short, long = lgd_p3d_r50().state_dict(), lgd_p3d_r50_128x1().state_dict()
        assert {key: value.shape for key, value in short.items()} == {
            key: value.shape for key, value in long.items()
        }
        assert lgd_p3d_r101_128x1().spec.num_frames == 128
        assert lgd_p3d_r50_128x1().forward_features(torch.empty(1, 3, 128, 64, 64)).shape == (
            1,
            2048,
            32,
            2,
            2,
        )


def test_the_order_moves_parameters_between_stages_only() -> None:
    """Where a stage begins, one low-rank map has more inputs and another fewer: the sum is the same."""
    with torch.device("meta"):
        assert count_parameters(lgd_p3d_r50(order="paper")) == count_parameters(lgd_p3d_r50()) == 36_190_640


# --- heads --------------------------------------------------------------------------------------------


def test_head_modes() -> None:
    torch.manual_seed(0)
    both = awaken(randomise(lgd_p3d_r50(5, tiny=True)))  # type: ignore[arg-type]
    clip = torch.randn(2, 3, 16, 32, 32)
    with torch.no_grad():
        local, vector = both.forward_both(clip)
        assert not torch.allclose(local, vector, atol=1e-3)
        assert torch.allclose(both(clip), local + vector)
        for mode, wanted in (("local", local), ("global", vector)):
            one = lgd_p3d_r50(5, tiny=True, head_mode=mode).eval()  # type: ignore[arg-type]
            one.load_state_dict(both.state_dict())
            assert torch.equal(one(clip), wanted)
        joined = lgd_p3d_r50(5, tiny=True, head_mode="concat").eval()
        state = {key: value for key, value in both.state_dict().items() if not key.startswith("head_global")}
        assert both.head_global is not None
        state["head.weight"] = torch.cat([both.head.weight, both.head_global.weight], dim=1)
        state["head.bias"] = both.head.bias + both.head_global.bias
        joined.load_state_dict(state)
        assert torch.allclose(joined(clip), both(clip), atol=1e-5), "concat can say what sum says"
    with pytest.raises(ValueError, match="one head for both paths"):
        joined.forward_both(clip)


def test_two_losses_reach_both_heads() -> None:
    torch.manual_seed(0)
    model = awaken(lgd_p3d_r50(5, tiny=True, head_mode="local", dropout=0.0)).train()
    labels = torch.tensor([0, 1])
    sum(
        F.cross_entropy(logits, labels) for logits in model.forward_both(torch.randn(2, 3, 16, 32, 32))
    ).backward()
    assert [
        key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()
    ] == []


@pytest.mark.parametrize("mode", ["sum", "local", "global", "concat"])
def test_reset_head(mode: str) -> None:
    model = lgd_p3d_r50(5, tiny=True, head_mode=mode)  # type: ignore[arg-type]
    model.reset_head(3)
    assert model(torch.randn(1, 3, 16, 32, 32)).shape == (1, 3)
    assert (model.head_global is None) == (mode == "concat")
    assert model.head_global is None or model.head_global.out_features == 3


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="order must be one of code, paper, got 'other'"):
        lgd_p3d_r50(tiny=True, order="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="head_mode must be one of sum, local, global, concat"):
        lgd_p3d_r50(tiny=True, head_mode="kernel")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes at least 4 frames, got 3"):
        lgd_p3d_r50(tiny=True)(torch.zeros(1, 3, 3, 32, 32))
    with pytest.raises(ValueError, match="takes at least 7 x 7 pixels, got 6 x 9"):
        lgd_p3d_xception(tiny=True)(torch.zeros(1, 3, 16, 6, 9))
    with pytest.raises(ValueError, match="early_stride must be in"):
        p3d_xception(tiny=True, early_stride=0)


# --- Xception -----------------------------------------------------------------------------------------


def test_xception_is_xception_and_its_temporal_kernels() -> None:
    """22,855,952 parameters is the image network with 1000 classes, as its PyTorch ports count it."""
    with torch.device("meta"):
        model = p3d_xception(1000, early_stride=1)
        temporal = sum(value.numel() for key, value in model.named_parameters() if ".time." in key)
        feature = model.forward_features(torch.empty(1, 3, 16, 299, 299))
    channels = [64, 128, 128, 256, 256, 728, *[728] * 24, 728, 728, 1024, 1536]
    assert temporal == 3 * sum(channels)
    assert count_parameters(model) - temporal == 22_855_952
    assert feature.shape == (1, 2048, 16, 10, 10)


def test_xception_starts_frame_by_frame() -> None:
    torch.manual_seed(0)
    model = randomise(p3d_xception(5, tiny=True, early_stride=1))
    assert isinstance(model, P3dXception)
    clip = torch.randn(1, 3, 4, 47, 64)
    with torch.no_grad():
        whole = model.forward_features(clip)
        frames = torch.cat([model.forward_features(clip[:, :, t : t + 1]) for t in range(4)], dim=2)
    assert torch.allclose(whole, frames, atol=1e-5)


def test_the_shortcut_of_a_module_is_not_rectified() -> None:
    """Modules begin with a ReLU of their own; one in place would rectify what the shortcut passes on."""
    module = p3d_xception(5, tiny=True).blocks[3].eval()
    nn.init.zeros_(module.get_parameter("branch.8.weight"))  # the last batch norm of the branch
    x = torch.randn(1, 48, 2, 4, 4)
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(module(x), before)
    assert torch.equal(x, before)


# --- layout -------------------------------------------------------------------------------------------


def test_every_key_of_theirs_is_one_of_ours() -> None:
    state = json.loads((GOLDEN / "qiu_lgd_p3d_resnet50.json").read_text())["state"]
    theirs = [key for key, _ in state if not key.endswith("num_batches_tracked")]
    with torch.device("meta"):
        model = create_model("lgd_p3d_r50")
    ours = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    rename = OPTIMIZATION_PLANNING[1].rename
    assert sorted(str(rename(key)) for key in theirs) == sorted(ours)
    assert rename("layer3.22.fc5.weight") == "diffusions.stages_2_22.global_to_local.reduce.weight"
