"""Non-local networks: the shapes of the paper's table, what is in what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vadis.models import create_model
from vadis.models.cost import count_parameters, measure_cost
from vadis.models.inflated_resnet import BLOCKS, InflatedResNet
from vadis.models.nonlocal_net import nonlocal_places, time_kernels

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def random_map(*shape: int) -> Tensor:
    """A feature map with values of the size of one."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# --- the networks ---------------------------------------------------------------------------------


def meta(name: str, **options: Any) -> InflatedResNet:
    """A network of shapes only."""
    with torch.device("meta"):
        return create_model(name, **options).eval()  # type: ignore[return-value]


def sizes(model: InflatedResNet, frames: int, pixels: int) -> list[tuple[int, ...]]:
    """T x H x W after the stem, pool1, res2, pool2, res3, res4 and res5."""
    x = torch.empty(1, 3, frames, pixels, pixels, device="meta")
    found = [x := model.stem(x), x := model.pool1(x)]
    for stage, blocks in enumerate(model.stages):
        for block in blocks:  # type: ignore[attr-defined]
            x = block(x)
        found.append(x)
        if stage == 0:
            found.append(x := model.pool2(x))
    return [tuple(each.shape[2:]) for each in found]


def test_table_1() -> None:
    square = [112, 56, 56, 56, 28, 14, 7]
    for name in ("c2d_r50_32x2", "i3d_r50_32x2", "i3d_r101_32x2_3x3x3"):
        frames = [16, 8, 8, 4, 4, 4, 4]
        assert sizes(meta(name), 32, 224) == [(t, s, s) for t, s in zip(frames, square, strict=True)]
    caffe2 = sizes(meta("c2d_r50_32x2", pooling="caffe2"), 32, 224)
    assert caffe2[1:3] == [(8, 55, 55)] * 2
    assert caffe2[3:] == [(4, 55, 55), (4, 28, 28), (4, 14, 14), (4, 7, 7)]
    frames = [8, 8, 8, 4, 4, 4, 4]
    assert sizes(meta("i3d_r50_8x8"), 8, 224) == [(t, s, s) for t, s in zip(frames, square, strict=True)]
    assert sizes(meta("c2d_r50_8x8", halve_time=False), 8, 224)[-1] == (8, 7, 7)
    assert sizes(meta("i3d_r50_128x1"), 128, 224)[-1] == (16, 7, 7)
    assert sizes(meta("i3d_r50_32x4"), 32, 224)[-1] == (16, 7, 7)


def test_where_kernels_are_inflated() -> None:
    model = meta("i3d_r50_32x2")
    lengths = [[block.conv1.kernel_size[0] for block in stage] for stage in model.stages]  # type: ignore[union-attr]
    assert lengths == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
    assert model.stem.conv.kernel_size == (5, 7, 7)
    spread = meta("i3d_r50_32x2_3x3x3")
    assert [[block.conv2.kernel_size[0] for block in stage] for stage in spread.stages] == lengths  # type: ignore[union-attr]
    assert sum(time_kernels("i3d", BLOCKS[101])[2]) == 12 * 3 + 11
    assert {length for stage in time_kernels("c2d", BLOCKS[50]) for length in stage} == {1}


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("c2d_r50_32x2", []),
        ("c2d_r50_32x2_nl1", ["res4_4"]),
        ("c2d_r101_32x2_nl1", ["res4_21"]),
        ("i3d_r50_32x2_nl5", ["res3_1", "res3_3", "res4_1", "res4_3", "res4_5"]),
        ("c2d_r101_32x2_nl5", ["res3_1", "res3_3", "res4_6", "res4_13", "res4_20"]),
        ("c2d_r50_32x2_nl10", [f"res3_{i}" for i in range(4)] + [f"res4_{i}" for i in range(6)]),
    ],
)
def test_where_non_local_blocks_stand(name: str, places: list[str]) -> None:
    assert list(meta(name).nonlocals) == places


def test_they_can_stand_anywhere() -> None:
    model = meta("c2d_r50_32x2", nonlocal_after={"res2": [2], "res5": [0, 1]}, pairwise="concatenation")
    assert list(model.nonlocals) == ["res2_2", "res5_0", "res5_1"]
    assert model(torch.empty(1, 3, 32, 64, 64, device="meta")).shape == (1, 400)
    assert not meta("c2d_r50_32x2_nl5", nonlocal_after={}).nonlocals
    with pytest.raises(ValueError, match="res4 has blocks 0 to 5, not 6"):
        meta("c2d_r50_32x2", nonlocal_after={"res4": [6]})
    with pytest.raises(ValueError, match="res2, res3, res4, res5, got 'layer3'"):
        meta("c2d_r50_32x2", nonlocal_after={"layer3": [0]})
    assert nonlocal_places(10, (1, 2, 2, 1)) == {"res3": (0, 1), "res4": (0, 1)}


def test_what_a_block_adds() -> None:
    """2.1 M parameters in res4 (four 1x1x1 convolutions, one norm); the paper's ratios to C2D."""
    plain, one = (count_parameters(meta(f"c2d_r50_32x2{tail}")) for tail in ("", "_nl1"))
    assert one - plain == 3 * (1024 * 512 + 512) + (512 * 1024 + 1024) + 2 * 1024
    for depth in (50, 101):
        base = measure_cost(meta(f"c2d_r{depth}_32x2"), (3, 32, 224, 224))
        if depth == 101:  # table 2e: 1.2 x parameters, 1.2 x multiply-adds; 1.5 x, 1.8 x; 1.2 x, 1.5 x
            for name, wanted in (("c2d_r101_32x2_nl5", (1.2, 1.2)), ("i3d_r101_32x2", (1.2, 1.5))):
                cost = measure_cost(meta(name), (3, 32, 224, 224))
                assert round(cost.num_parameters / base.num_parameters, 1) == wanted[0]
                assert round(cost.gmac / base.gmac, 1) == wanted[1]
            cubes = measure_cost(meta("i3d_r101_32x2_3x3x3"), (3, 32, 224, 224))
            assert round(cubes.num_parameters / base.num_parameters, 1) == 1.5
            assert round(cubes.gmac / base.gmac, 1) == 1.8


def test_long_clips_at_the_size_of_the_test() -> None:
    """SlowFast's table: non-local R50, 128 frames, 256 x 256: 282 G multiply-adds."""
    cost = measure_cost(meta("i3d_r50_128x1_nl5"), (3, 128, 256, 256))
    assert cost.gmac == pytest.approx(282, abs=0.5)
    grouped = measure_cost(meta("i3d_r50_128x1_nl5", group_frames=4), (3, 128, 256, 256))
    assert grouped.gmac < 0.9 * cost.gmac


def test_128_frames_take_the_weights_of_32() -> None:
    torch.manual_seed(0)
    short = create_model("i3d_r50_32x2_nl5", tiny=True, num_classes=5).eval()
    long = create_model("i3d_r50_128x1_nl5", tiny=True, num_classes=5).eval()
    long.load_state_dict(short.state_dict())
    clip = random_map(1, 3, 64, 32, 32)
    with torch.no_grad():
        assert torch.equal(long(clip), short(clip))
    assert (long.spec.num_frames, long.spec.frame_stride) == (128, 1)


def alike(name: str, other: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Two tiny networks, the second with the weights of the first as far as it has them."""
    torch.manual_seed(0)
    first = create_model(name, tiny=True, num_classes=5, **options)
    second = create_model(other, tiny=True, num_classes=5)
    missing = second.load_state_dict(first.state_dict(), strict=False)
    assert not missing.missing_keys
    return first, second


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_a_new_block_changes_nothing(pairwise: str, mode: str) -> None:
    with_blocks, without = alike("i3d_r50_8x8_nl5", "i3d_r50_8x8", pairwise=pairwise, dropout=0.0)
    without.dropout.p = 0.0  # type: ignore[union-attr]
    clip = random_map(2, 3, 8, 32, 32)
    getattr(with_blocks, mode)()
    getattr(without, mode)()
    with torch.no_grad():
        assert torch.allclose(with_blocks(clip), without(clip), atol=1e-6)


def test_c2d_is_the_image_network_on_each_frame() -> None:
    """A clip of one frame repeated: the paper's pool1 and pool2 change nothing, all else is 2D."""
    torch.manual_seed(0)
    model = create_model("c2d_r50_32x2", tiny=True).eval()
    frame = random_map(1, 3, 1, 64, 64)
    with torch.no_grad():
        once, often = model(frame), model(frame.expand(-1, -1, 16, -1, -1))
    assert torch.allclose(once, often, atol=1e-5)


def test_attention_maps_of_a_network() -> None:
    model = create_model("c2d_r50_32x2_nl5", tiny=True).eval()
    clip = random_map(1, 3, 16, 64, 64)
    with torch.no_grad():
        before = model(clip)
        maps = model.attention_maps(clip)  # type: ignore[operator]
        assert torch.equal(model(clip), before)
    assert list(maps) == ["res3_1", "res4_1"]
    assert maps["res3_1"].query_grid == (2, 8, 8)
    assert maps["res3_1"].key_grid == (2, 4, 4)
    assert maps["res3_1"].weights_BQK.shape == (1, 128, 32)
    assert create_model("c2d_r50_32x2", tiny=True).eval().attention_maps(clip) == {}  # type: ignore[operator]


# --- the classifier -------------------------------------------------------------------------------


def test_the_test_of_the_authors() -> None:
    torch.manual_seed(0)
    model: Any = create_model("i3d_r50_8x8", tiny=True, num_classes=6).eval()
    with torch.no_grad():
        model.head.weight.normal_()
        small, large = random_map(2, 3, 8, 224, 224), random_map(2, 3, 8, 256, 256)
        scores = model.scores_fully_convolutional(large)
        assert torch.allclose(scores.sum(1), torch.ones(2))
        whole = model.scores_fully_convolutional(small)
        assert torch.allclose(whole, model(small).softmax(1), atol=1e-6), "one window: the same"
        windows = [
            model.head(model.forward_features(large)[..., row : row + 7, column : column + 7].mean((2, 3, 4)))
            for row in (0, 1)
            for column in (0, 1)
        ]
        assert torch.allclose(scores, torch.stack([each.softmax(1) for each in windows]).mean(0), atol=1e-6)
        model.head_window = 7
        assert torch.allclose(model(large), torch.stack(windows).mean(0), atol=1e-5)
        assert torch.allclose(model(small), model.head(model.forward_features(small).mean((2, 3, 4))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "same"}, "pooling must be one of padded, caffe2, mmaction2 here, got 'same'"),
        ({"pixels": "255"}, "pixels must be one of authors, imagenet"),
        ({"head_window": 0}, "head_window takes a number of positions"),
    ],
)
def test_a_wrong_option_says_which_there_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta("c2d_r50_32x2", tiny=True, **options)


def test_the_shortest_clip_of_each_form() -> None:
    assert meta("c2d_r50_32x2").min_frames == 1
    assert meta("c2d_r50_8x8").min_frames == 2
    assert meta("c2d_r50_8x8", halve_time=False).min_frames == 1
    caffe2 = meta("c2d_r50_32x2", pooling="caffe2", tiny=True)
    assert (caffe2.min_frames, caffe2.min_pixels) == (7, 5)
    with pytest.raises(ValueError, match="takes at least 7 frames, got 6"):
        caffe2(torch.empty(1, 3, 6, 32, 32, device="meta"))
    with pytest.raises(ValueError, match="takes at least 5 x 5 pixels, got 4 x 32"):
        caffe2(torch.empty(1, 3, 8, 4, 32, device="meta"))


def test_pixels_of_mmaction2() -> None:
    assert meta("i3d_r50_32x2", tiny=True, pixels="imagenet").spec.mean == (0.485, 0.456, 0.406)
    assert meta("i3d_r50_32x2", tiny=True).spec.std == (0.225, 0.225, 0.225)
    assert meta("i3d_r50_32x2", tiny=True, pixels="imagenet", in_channels=2).spec.modality == "flow"
