"""SlowFast: which frames go where, the table, the authors' test, and what is inside what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torch import Tensor

from vadis.models import create_model, weights
from vadis.models.cost import count_parameters, measure_cost
from vadis.models.inflated_resnet import BLOCKS
from vadis.models.slowfast import SlowFast, fast_kernels, slow_frames, slow_kernels

GOLDEN = Path(__file__).parent / "golden" / "parity"


def meta(name: str, **options: Any) -> Any:
    """A network of shapes only."""
    with torch.device("meta"):
        return create_model(name, **options).eval()


def tiny(name: str, **options: Any) -> Any:
    """A tiny network in which nothing is zero."""
    torch.manual_seed(0)
    model = create_model(name, tiny=True, num_classes=5, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
    return model


def random_clip(frames: int, pixels: int = 64, batch: int = 1) -> Tensor:
    """Noise."""
    return torch.randn(batch, 3, frames, pixels, pixels, generator=torch.Generator().manual_seed(1))


# --- which frames the Slow pathway sees -----------------------------------------------------------


@pytest.mark.parametrize("file", ["sf_slowfast_4x16_r50", "sf_slowfast_nln_8x8_r50"])
def test_the_authors_index(file: str) -> None:
    document = json.loads((GOLDEN / f"{file}.json").read_text())
    wanted = document["slow_index"]
    assert slow_frames(32, 32 // len(wanted)) == wanted


def test_the_references_rule_at_other_lengths() -> None:
    """trunc(linspace(0, T - 1, T / alpha)) in float32, as PySlowFast and pytorchvideo write it."""
    for alpha in (4, 8):
        for frames in range(alpha, 160, alpha):
            wanted = torch.linspace(0, frames - 1, frames // alpha).long().tolist()
            assert slow_frames(frames, alpha) == wanted
    assert slow_frames(160, 4)[13] == 53  # 13 * 159 / 39; float32 gives 52.999996
    assert torch.linspace(0, 159, 40).long()[13] == 52


def test_the_plain_stride_and_odd_lengths() -> None:
    assert slow_frames(32, 8, "stride") == [0, 8, 16, 24]
    assert slow_frames(32, 4, "stride") == list(range(0, 32, 4))
    assert slow_frames(10, 4, "stride") == [0, 4, 8]
    assert slow_frames(10, 4) == [0, 4, 9]
    assert slow_frames(3, 4) == slow_frames(1, 8) == [0]


@pytest.mark.parametrize("rule", ["linspace", "stride"])
def test_the_pathways_see_these_frames_and_no_others(rule: Any) -> None:
    """Without the Fast pathway's answers only the frames of the Slow one matter."""
    model = tiny("slowfast_r50_8x8", slow_index=rule)
    with torch.no_grad():
        for lateral in model.lateral:
            lateral.bn.weight.zero_()
            lateral.bn.bias.zero_()
        model.head.weight[:, model.slow.num_channels :] = 0.0
        clip = random_clip(16)
        logits = model(clip)
        seen = []
        for frame in range(16):
            changed = clip.clone()
            changed[:, :, frame] += 1.0
            if not torch.allclose(model(changed), logits, atol=1e-6):
                seen.append(frame)
    assert seen == slow_frames(16, 4, rule)


def test_the_rules_differ() -> None:
    clip = random_clip(32)
    with torch.no_grad():
        one, other = (tiny("slowfast_r50_8x8", slow_index=rule)(clip) for rule in ("linspace", "stride"))
    assert not torch.allclose(one, other, atol=1e-3)


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames", "slow_frames_"),
    [
        ("slowfast_r50_4x16", 32, 4),
        ("slowfast_r50_8x8", 32, 8),
        ("slowfast_r101_8x8", 32, 8),
        ("slowfast_r50_16x8", 64, 16),
    ],
)
def test_table_1(name: str, frames: int, slow_frames_: int) -> None:
    model = meta(name)
    assert model.spec.num_frames == frames
    assert model.spec.frame_stride * frames == 64 * (1 if frames == 32 else 2)
    clip = torch.empty(1, 3, frames, 224, 224, device="meta")
    slow, fast = model.pathway_features(clip)
    assert slow.shape == (1, 2048, slow_frames_, 7, 7)
    assert fast.shape == (1, 256, frames, 7, 7)
    assert model.forward_features(clip).shape == (1, 2304, slow_frames_, 7, 7)
    assert model.head.weight.shape == (400, 2304)
    inputs = [stage[0].conv1.in_channels for stage in model.slow.stages]
    assert inputs == [64 + 16, 256 + 64, 512 + 128, 1024 + 256]
    assert [lateral.conv.out_channels for lateral in model.lateral] == [16, 64, 128, 256]
    assert {lateral.conv.stride[0] for lateral in model.lateral} == {frames // slow_frames_}


def test_where_kernels_look_along_time() -> None:
    assert slow_kernels(BLOCKS[50]) == ((1,) * 3, (1,) * 4, (3,) * 6, (3,) * 3)
    assert fast_kernels(BLOCKS[50]) == ((3,) * 3, (3,) * 4, (3,) * 6, (3,) * 3)
    model = meta("slowfast_r101_8x8")
    for pathway in (model.slow, model.fast):
        assert [block.conv1.kernel_size[0] for block in pathway.stages[2]] == [3] * 6 + [1] * 17
    every = meta("slowfast_r101_8x8_all")
    assert all(block.conv1.kernel_size[0] == 3 for block in every.slow.stages[2])
    mixed = meta("slowfast_r101_8x8", temporal_blocks=(6, 23))
    assert [sum(b.conv1.kernel_size[0] == 3 for b in p.stages[2]) for p in (mixed.slow, mixed.fast)] == [
        6,
        23,
    ]
    assert (model.slow.stem.conv.kernel_size, model.fast.stem.conv.kernel_size) == ((1, 7, 7), (5, 7, 7))


def test_lateral_kernels() -> None:
    lengths = {name: meta(name).lateral[0].conv.kernel_size[0] for name in LENGTHS}
    assert lengths == LENGTHS
    assert meta("slowfast_r50_8x8", lateral_kernel=5).lateral[3].conv.kernel_size == (5, 1, 1)


LENGTHS = {
    "slowfast_r50_4x16": 5,
    "slowfast_r50_8x8": 7,
    "slowfast_r50_8x8_nl5": 5,
    "slowfast_r101_8x8": 5,
    "slowfast_r101_16x8_nl": 5,
}


def test_the_non_local_blocks_of_the_paper() -> None:
    """7 G multiply-adds each with a maximum over 2x2x2: 213 + 3 x 7 = 234."""
    model = meta("slowfast_r101_16x8_nl")
    assert list(model.slow.nonlocals) == ["res4_6", "res4_13", "res4_20"]
    assert not model.fast.nonlocals
    block = model.slow.nonlocals["res4_6"]
    assert (block.pairwise, block.pool) == ("dot_product", (2, 2, 2))
    cost = measure_cost(block, (1024, 16, 16, 16))
    assert cost.gmac == pytest.approx(6.979, rel=1e-3)
    assert cost.num_parameters == pytest.approx(2.1018e6, rel=1e-3)
    kinetics = meta("slowfast_r101_16x8_nl", nonlocal_pool=(1, 2, 2)).slow.nonlocals["res4_6"]
    assert kinetics.pool == (1, 2, 2)
    five = meta("slowfast_r50_4x16_nl5")
    assert list(five.slow.nonlocals) == ["res3_1", "res3_3", "res4_1", "res4_3", "res4_5"]
    assert five.slow.nonlocals["res3_1"].pool == (1, 2, 2)
    assert list(meta("slow_r50_8x8_nl5").nonlocals) == list(five.slow.nonlocals)


def test_the_fast_pathway_is_light() -> None:
    """The paper, section 3.2: about a fifth of the multiply-adds."""
    both = measure_cost(meta("slowfast_r50_8x8"), (3, 32, 256, 256)).gmac
    alone = measure_cost(meta("slow_r50_8x8"), (3, 8, 256, 256)).gmac
    assert 0.14 < (both - alone) / both < 0.22
    fast = meta("slowfast_r50_8x8").fast
    assert count_parameters(fast) < 0.02 * count_parameters(meta("slow_r50_8x8"))


# --- what is inside what --------------------------------------------------------------------------


def test_the_slow_pathway_alone_is_the_slow_network() -> None:
    """With lateral connections at zero and no weight on the Fast features, it is what `slow_` computes."""
    both = tiny("slowfast_r50_8x8", slow_index="stride")
    alone = tiny("slow_r50_8x8")
    with torch.no_grad():
        state = {}
        for key, value in alone.state_dict().items():
            theirs = both.state_dict()[key if key.startswith("head") else f"slow.{key}"]
            narrow = theirs[:, : value.shape[1]] if theirs.ndim > 1 else theirs  # without lateral channels
            state[key] = narrow.clone()
        alone.load_state_dict(state)
        for lateral in both.lateral:
            lateral.bn.weight.zero_()
            lateral.bn.bias.zero_()
        both.head.weight[:, both.slow.num_channels :] = 0.0
        clip = random_clip(32)
        assert torch.allclose(both(clip), alone(clip[:, :, ::4]), atol=1e-5)


def test_the_head_sees_the_mean_of_the_features() -> None:
    for frames in (16, 18, 5):
        model, clip = tiny("slowfast_r50_8x8"), random_clip(frames)
        with torch.no_grad():
            slow, fast = model.pathway_features(clip)
            pooled = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
            assert torch.allclose(model(clip), model.head(pooled), atol=1e-5)
            if frames % 4 == 0:
                whole = model.forward_features(clip).mean((2, 3, 4))
                assert torch.allclose(whole, pooled, atol=1e-5)


def test_bare_lateral_connections() -> None:
    """mmaction2's: no batch norm, no ReLU, so what comes may be negative."""
    model = tiny("slowfast_r50_4x16", lateral_norm=False)
    assert not any(".bn." in key for key in model.lateral.state_dict())
    with torch.no_grad():
        fast = model.fast.enter(random_clip(16))
        bare = model.lateral[0](fast)
        assert torch.equal(bare, model.lateral[0].conv(fast))
        assert bare.min() < 0
        assert tiny("slowfast_r50_4x16").lateral[0](fast).min() == 0


def test_attention_of_the_slow_pathway() -> None:
    model, clip = tiny("slowfast_r101_16x8_nl"), random_clip(16)
    with torch.no_grad():
        maps = model.attention_maps(clip)
    assert list(maps) == ["res4_1"]
    assert maps["res4_1"].query_grid == (4, 4, 4)
    assert maps["res4_1"].key_grid == (2, 2, 2)
    assert maps["res4_1"].weights_BQK.shape == (1, 64, 8)
    assert tiny("slowfast_r50_8x8").attention_maps(clip) == {}


# --- the authors' test ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_fully_convolutional_test_of_pyslowfast(tmp_path: Path) -> None:
    """256 x 256 pixels: a softmax for each of 2 x 2 windows of 7 x 7 positions, then the mean."""
    document = json.loads((GOLDEN / "sf_slowfast_8x8_r50_fullconv256.json").read_text())
    state = all_by_the_rule(document["state"], document["weight_scale"])
    checkpoint, file = tmp_path / "theirs.pyth", tmp_path / "ours.safetensors"
    torch.save({"model_state": {key: torch.from_numpy(array) for key, array in state.items()}}, checkpoint)
    weights.import_checkpoint(checkpoint, "slowfast_r50_8x8", out=file)
    model: Any = create_model("slowfast_r50_8x8", weights=file).eval()
    assert count_parameters(model) == document["params"]
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        found = model.scores_fully_convolutional(torch.from_numpy(noise)).flatten().numpy()
    wanted = np.array(document["output"])
    difference = float(abs(found - wanted).max() / wanted.std())
    print(f"sf_slowfast_8x8_r50_fullconv256: differs by {difference:.1e} of the standard deviation")
    assert difference < 1e-4
    assert found.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow_index": "middle"}, "slow_index must be one of linspace, stride, got 'middle'"),
        ({"lateral_kernel": 4}, "lateral_kernel takes an odd number of frames, got 4"),
        ({"temporal_blocks": (6,)}, r"temporal_blocks takes two numbers \(Slow, Fast\), got \(6,\)"),
        ({"pixels": "255"}, "pixels must be one of authors, imagenet"),
    ],
)
def test_a_wrong_option_says_which_there_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta("slowfast_r50_8x8", tiny=True, **options)


def test_both_pathways_take_flow() -> None:
    model = meta("slowfast_r50_8x8", in_channels=2, tiny=True)
    assert isinstance(model, SlowFast)
    assert {model.state_dict()[key].shape[1] for key in model.input_weights} == {2}
