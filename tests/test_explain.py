"""Looking inside: the numbers behind each picture are right, and the pictures show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from vadis.cli import app
from vadis.explain import activation, arrows, clip, filters, means, patterns, receptive, sheet
from vadis.models import create_model, i3d
from vadis.models.contract import VideoModel
from vadis.models.layers import make_spec
from vadis.models.nonlocal_block import NonLocal
from vadis.models.space_time_attention import STEPS
from vadis.video.write import VideoWriter


class Hand(VideoModel):
    """A network made by hand: `trunk`, mean, and a linear head on the mean."""

    input_weights = ("trunk.0.weight",)

    def __init__(self, trunk: nn.Module, features: int, num_classes: int = 3, frames: int = 8) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, num_classes)
        self.num_classes = num_classes
        self.spec = make_spec(3, frames, size=32, crop=32)
        self.name = "hand"

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        return self.trunk(clip_BCTHW)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.head(self.trunk(clip_BCTHW).mean((2, 3, 4)))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One second of a square that moves to the right."""
    path = tmp_path_factory.mktemp("explain") / "square.mp4"
    with VideoWriter(path, 25) as writer:
        for index in range(25):
            frame_HWC = np.full((96, 128, 3), 60, dtype=np.uint8)
            frame_HWC[30:60, 4 * index : 4 * index + 24] = (250, 220, 40)
            writer.write(frame_HWC)
    return str(path)


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["explain", *words])


# --- receptive field -----------------------------------------------------------------------------------


def test_i3d_sees_what_its_table_says() -> None:
    found = {
        field.layer: field for field in receptive.receptive_field(create_model("i3d_inception", tiny=True))
    }
    for layer in i3d.LAYERS:
        assert (found[layer].frames.size, found[layer].pixels.size) == i3d.receptive_field(layer)
    assert (found["pool5a"].frames.size, found["pool5a"].pixels.size) == (67, 251)
    assert (
        (found["head"].frames.size, found["head"].pixels.size) == i3d.receptive_field("logits") == (107, 571)
    )
    assert found["mixed4f"].pixels.step == 16
    assert found["mixed4f"].frames.step == 4
    assert str(found["mean"].frames) == "all"


def seen_by_gradient(trunk: nn.Module, shape: tuple[int, ...], axis: int) -> int:
    """First to last input position with a gradient of the middle output, weights all positive."""
    clip_BCTHW = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    out = trunk.double()(clip_BCTHW)
    out[(0, slice(None), *(size // 2 for size in out.shape[2:]))].sum().backward()
    assert clip_BCTHW.grad is not None
    others = [place for place in range(5) if place != axis]
    (touched,) = torch.nonzero(clip_BCTHW.grad.abs().sum(others), as_tuple=True)
    return int(touched[-1] - touched[0]) + 1


class Branches(nn.Module):
    """Two branches of different width, added, one of them grouped; then a step by slices and a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv3d(4, 4, (3, 5, 5), padding=(2, 4, 4), dilation=(2, 2, 2), groups=2)
        self.narrow = nn.Conv3d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(x) + self.wide(x)
        return torch.cat([y[:, :2], y[:, 2:]], dim=1)[:, :, ::2]


@pytest.mark.parametrize("seed", range(4))
def test_fields_are_where_gradients_are(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def pick(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    first = (pick(1, 3, 5), pick(3, 5, 7), pick(3, 5))
    second = (pick(1, 3), pick(2, 3), pick(1, 3))
    trunk = nn.Sequential(
        nn.Conv3d(3, 4, first, stride=(pick(1, 2), pick(1, 2), 1), padding=1),
        nn.AvgPool3d(second, stride=(pick(1, 2), 2, 1)),
        Branches(),
        nn.BatchNorm3d(4),
    ).eval()
    for parameter in trunk.parameters():
        parameter.data.abs_().add_(0.01)
    model = Hand(trunk, 4).eval()
    fields = receptive.receptive_field(model, level=1)
    sizes = [(field.frames.size, field.pixels.size) for field in fields if field.frames.size is not None]
    shape = (1, 3, 96, 96, 24)
    assert sizes[-1] == (seen_by_gradient(trunk, shape, 2), seen_by_gradient(trunk, shape, 3))


def test_attention_sees_everything_and_halves_half() -> None:
    divided = receptive.receptive_field(create_model("timesformer_divided", tiny=True), level=2)
    (time,) = [field for field in divided if field.layer == "blocks.0.added.time"]
    assert (str(time.frames), time.pixels.size) == ("all", 16)
    sparse = receptive.receptive_field(create_model("timesformer_local_global", tiny=True), level=2)
    (local,) = [field for field in sparse if field.layer == "blocks.0.added.local"]
    assert (str(local.frames), local.pixels.share) == ("all", 0.5)


def test_gates_can_be_left_out() -> None:
    model = create_model("s3dg", tiny=True)
    gated = {field.layer: field for field in receptive.receptive_field(model)}
    local = {field.layer: field for field in receptive.receptive_field(model, through_means=False)}
    plain = {field.layer: field for field in receptive.receptive_field(create_model("s3d", tiny=True))}
    assert str(gated["mixed4b"].frames) == "all"
    for layer in ("conv2c", "mixed3b", "mixed4b", "mixed5c"):
        assert (local[layer].frames, local[layer].pixels) == (plain[layer].frames, plain[layer].pixels)


def test_a_network_tied_to_its_size_says_so() -> None:
    fields = {field.layer: field for field in receptive.receptive_field(create_model("c3d", tiny=True))}
    assert fields["conv2a"].frames.size == 5
    assert any(field.frames.cut and str(field.frames).startswith(">= ") for field in fields.values())


def test_an_unknown_operation_is_named() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(dim=2).values

    with pytest.raises(receptive.CannotFollowError, match="sort"):
        receptive.receptive_field(Hand(nn.Sequential(nn.Conv3d(3, 4, 1), Sorted()), 4))


@pytest.mark.parametrize(
    "name", ["r2plus1d_18", "p3d_199", "lgd_p3d_r50", "slowfast_r50_8x8_nl5", "eco_full"]
)
def test_every_kind_of_network_is_followed(name: str) -> None:
    fields = receptive.receptive_field(create_model(name, tiny=True))
    assert len(fields) >= 5
    assert str(fields[-1].frames) == "all"
    picture_HWC = receptive.draw_receptive_field(fields, create_model(name, tiny=True))
    assert picture_HWC.shape[1] == 1100


# --- filters -------------------------------------------------------------------------------------------


def test_filters_show_the_weights_themselves() -> None:
    model = create_model("r3d_18", tiny=True)
    (found,) = filters.first_filters(model)
    weight = model.state_dict()[model.input_weights[0]]
    assert found.weight_DCTHW.shape == tuple(weight.shape)
    tiles_DTHWC = filters.filter_pixels(found)
    scale = weight.abs().amax(dim=(1, 2, 3, 4))
    expected = (127.5 + 127.5 * weight[1, :, 2] / scale[1]).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(tiles_DTHWC[1, 2].astype(int) - expected).max() <= 1
    assert tiles_DTHWC.max(axis=(1, 2, 3, 4)).max() == 255
    picture_HWC = filters.draw_filters(found, "title")
    row_HWC = sheet.enlarge(tiles_DTHWC[1, 2], 8)[4]  # drawn as large as there is room, 8 at most
    assert any(
        (picture_HWC[y, x : x + len(row_HWC)] == row_HWC).all()
        for y, x in zip(*(picture_HWC[:, : -len(row_HWC)] == row_HWC[0]).all(axis=2).nonzero(), strict=True)
    )


def test_motion_is_what_changes_over_time() -> None:
    model = create_model("r3d_18", tiny=True)
    with torch.no_grad():
        weight = model.get_parameter(model.input_weights[0])
        weight[0] = weight[0, :, :1]  # the same in all frames
        weight[1] -= weight[1].mean(dim=1, keepdim=True)  # nothing but change
    (found,) = filters.first_filters(model)
    assert found.motion_D[0] == pytest.approx(0, abs=1e-5)
    assert found.motion_D[1] == pytest.approx(1, abs=1e-5)


def test_flow_is_two_channels_side_by_side() -> None:
    (found,) = filters.first_filters(create_model("i3d_inception_flow", tiny=True))
    count, channels, frames, high, wide = found.weight_DCTHW.shape
    assert channels == 2
    assert filters.filter_pixels(found).shape == (count, frames, high, 2 * wide + 1, 3)
    filters.draw_filters(found, "flow")


def test_each_pathway_has_filters_and_bgr_is_turned() -> None:
    assert len(filters.first_filters(create_model("slowfast_r50_8x8", tiny=True))) == 2
    model = Hand(nn.Sequential(nn.Conv3d(3, 2, 3)), 2)
    (rgb,) = filters.first_filters(model)
    model.spec = make_spec(3, 8, channel_order="bgr")
    (bgr,) = filters.first_filters(model)
    assert np.array_equal(rgb.weight_DCTHW[:, 0], bgr.weight_DCTHW[:, 2])


# --- class activation ----------------------------------------------------------------------------------


def bright_squares() -> tuple[Hand, Tensor]:
    """A network whose class 1 is brightness, and a clip of a bright square that moves and goes."""
    model = Hand(nn.Sequential(nn.Conv3d(3, 2, 1, bias=False), nn.ReLU()), 2).eval()
    with torch.no_grad():
        model.get_parameter("trunk.0.weight").copy_(
            torch.tensor([[1.0] * 3, [-1.0] * 3])[..., None, None, None]
        )
        model.head.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]))
        model.head.bias.copy_(torch.tensor([0.0, 0.25, 0.0]))
    clip_CTHW = torch.zeros(3, 8, 32, 32)
    for time in range(6):
        clip_CTHW[:, time, 8:12, 4 * time : 4 * time + 4] = 1
    return model, clip_CTHW


def test_activation_is_where_the_bright_square_is() -> None:
    model, clip_CTHW = bright_squares()
    found = activation.class_activation(model, clip_CTHW)
    assert (found.label, found.source) == (1, "features")
    assert np.array_equal(found.map_THW > 0, clip_CTHW[0].numpy() > 0)
    assert found.map_THW.sum() == pytest.approx(found.logit - 0.25, rel=1e-5)  # the bias is nobody's
    assert found.curve_T[:6] == pytest.approx([(found.logit - 0.25) / 6] * 6)
    assert found.curve_T[6:] == pytest.approx([0, 0])
    against = activation.class_activation(model, clip_CTHW, label=2)
    assert against.map_THW == pytest.approx(-found.map_THW)
    heat_THW = activation.heat_over_time(found, (8, 32, 32))
    assert heat_THW.max() == 1
    assert heat_THW[7].max() == 0
    with pytest.raises(ValueError, match="no class 3 among 3"):
        activation.class_activation(model, clip_CTHW, label=3)


def test_activation_equals_the_class_activation_map() -> None:
    model = create_model("r3d_18", tiny=True, num_classes=4).eval()
    clip_CTHW = torch.randn(3, 8, 48, 48)
    found = activation.class_activation(model, clip_CTHW, 2)
    with torch.no_grad():
        feature_BDTHW = model.forward_features(clip_CTHW[None])
        weight_D = model.get_parameter("head.weight")[2].flatten()
    positions = feature_BDTHW[0, 0].numel()
    cam_THW = torch.einsum("dthw,d->thw", feature_BDTHW[0], weight_D) / positions
    assert found.map_THW == pytest.approx(cam_THW.detach().numpy(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("i3d_inception", "features"),
        ("slowfast_r50_8x8", "features"),
        ("lgd_p3d_r50", "features"),
        ("timesformer_divided", "tokens"),
        ("timesformer_space", "tokens"),
    ],
)
def test_activation_of_every_kind_of_network(name: str, source: str) -> None:
    model = create_model(name, tiny=True, num_classes=4).eval()
    frames = model.spec.num_frames
    found = activation.class_activation(model, torch.randn(3, frames, 64, 64))
    assert found.source == source
    assert np.abs(found.map_THW).max() > 0
    assert not model.training


def test_no_map_is_an_error() -> None:
    model, clip_CTHW = bright_squares()
    model.forward = lambda clip_BCTHW: clip_BCTHW.mean((2, 3, 4))  # type: ignore[method-assign]
    with pytest.raises(activation.NoMapError):
        activation.class_activation(model, clip_CTHW)


def test_classes_by_name() -> None:
    model, _ = bright_squares()
    assert activation.find_class(model, "2") == 2
    model.class_names = ("walking", "jumping jacks", "running")
    assert activation.find_class(model, "Jumping Jacks") == 1
    with pytest.raises(ValueError, match="did you mean 'jumping jacks'"):
        activation.find_class(model, "jumping")


# --- non-local arrows ----------------------------------------------------------------------------------


def test_arrows_lead_to_the_highest_weights() -> None:
    torch.manual_seed(0)
    model = create_model("i3d_r50_32x2_nl5", tiny=True).eval()
    clip_CTHW = torch.randn(3, 32, 64, 64)
    found = arrows.nonlocal_arrows(model, clip_CTHW, (0.6, 0.3, 0.9), count=7)
    with torch.no_grad():
        maps = model.attention_maps(clip_CTHW[None])  # type: ignore[operator]
    assert found.block == [name for name in maps if name.startswith("res3")][-1]
    weights_QK = maps[found.block].weights_BQK[0]
    assert weights_QK.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    frames, rows, columns = found.query_grid
    assert found.query == (int(0.6 * frames), int(0.3 * rows), int(0.9 * columns))
    row = weights_QK[(found.query[0] * rows + found.query[1]) * columns + found.query[2]]
    assert [arrow.weight for arrow in found.arrows] == pytest.approx(row.topk(7).values.tolist())
    for arrow in found.arrows:
        number = (arrow.frame * found.key_grid[1] + arrow.row) * found.key_grid[2] + arrow.column
        assert float(row[number]) == arrow.weight
    assert found.share == pytest.approx(float(row.topk(7).values.sum()), rel=1e-4)


def test_the_strongest_query_looks_at_other_frames() -> None:
    weights_QK = torch.full((2 * 2 * 2, 2 * 1 * 1), 0.5)
    weights_QK[1] = torch.tensor([1.0, 0.0])  # its own frame: does not count
    weights_QK[6] = torch.tensor([0.9, 0.1])
    assert arrows._strongest(weights_QK, (2, 2, 2), (2, 1, 1), 1) == 6


def test_similar_features_find_the_same_thing_again() -> None:
    model = Hand(nn.Sequential(nn.Conv3d(3, 3, 1, bias=False)), 3).eval()
    with torch.no_grad():
        model.get_parameter("trunk.0.weight").copy_(torch.eye(3)[..., None, None, None])
    clip_CTHW = torch.zeros(3, 4, 16, 16)
    for time in range(4):
        clip_CTHW[:, time, 6, 4 + 2 * time] = torch.tensor([3.0, 0.5, 1.0])
    found = arrows.similarity_arrows(model, clip_CTHW, count=3)
    assert found.query[1] == 6
    assert found.query[2] == 4 + 2 * found.query[0]
    assert {(arrow.frame, arrow.row, arrow.column) for arrow in found.arrows} == {
        (time, 6, 4 + 2 * time) for time in range(4) if time != found.query[0]
    }


def test_networks_without_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="no non-local blocks"):
        arrows.nonlocal_arrows(create_model("r3d_18", tiny=True), torch.zeros(3, 8, 32, 32))
    model = create_model("c2d_r50_32x2_nl5", tiny=True).eval()
    with pytest.raises(ValueError, match="no non-local block 'res9_1'; there are res3_"):
        arrows.nonlocal_arrows(model, torch.zeros(3, 32, 32, 32), block="res9_1")


def test_frames_shown_hold_the_one_that_asks() -> None:
    for total in (1, 4, 8, 17, 64):
        for own in range(total):
            shown = arrows._frames_shown(total, own, 5)
            assert own in shown
            assert len(shown) <= 5
            assert max(shown) < total


# --- attention patterns --------------------------------------------------------------------------------


def test_patterns_of_all_schemes() -> None:
    found = patterns.attention_patterns((4, 7, 7), (8, 14, 14))
    assert [pattern.scheme for pattern in found] == list(STEPS)
    sizes = {pattern.scheme: [int(seen.sum()) for seen in pattern.steps.values()] for pattern in found}
    assert sizes["space"] == [196]
    assert sizes["joint"] == [8 * 196]
    assert sizes["divided"] == [8, 196]
    assert sizes["local_global"] == [8 * 49, 4 * 49]
    assert sizes["axial"] == [8, 14, 14]


def test_pictures_of_patterns_mark_what_is_seen() -> None:
    shown = clip.Clip(torch.zeros(0), np.full((4, 64, 64, 3), 214, np.uint8), np.arange(4.0), 1.0)
    (divided,) = patterns.attention_patterns((1, 2, 2), (4, 4, 4), ("divided",))
    tinted, marks = patterns._tint(divided, shown.frames_THWC[0], 0)
    assert [mark[0] for mark in marks] == [0]  # only its own place, in the first step
    assert (tinted[32 + 8, 32 + 8] != tinted[8, 8]).any()
    assert len(patterns._tint(divided, shown.frames_THWC[1], 1)[1]) == 17  # its frame, itself twice
    assert len(list(patterns.play_patterns([divided], shown))) == 4
    assert patterns.draw_patterns([divided], shown).shape[1] == 1080


def test_learned_patterns_sum_to_one_with_the_class_token() -> None:
    torch.manual_seed(0)
    model: Any = create_model("timesformer_divided", tiny=True, crop=64).eval()
    found = patterns.learned_pattern(model, torch.randn(3, 8, 64, 64), (3, 1, 2))
    assert found.steps["time"].sum() == pytest.approx(1, abs=1e-5)
    assert 0.9 < found.steps["space"].sum() < 1
    (pattern,) = patterns.attention_patterns((3, 1, 2), (8, 4, 4), ("divided",))
    for step, seen_THW in pattern.steps.items():
        assert ((found.steps[step] > 0) == seen_THW).all()


def test_queries_are_frames_and_pixels() -> None:
    assert patterns.patch_at(None, (8, 224, 224)) == (4, 7, 7)
    assert patterns.patch_at((0, 31, 32), (8, 224, 224)) == (0, 1, 2)
    with pytest.raises(ValueError, match="t,y,x"):
        patterns.patch_at((8, 0, 0), (8, 224, 224))
    assert arrows.query_shares(None, (4, 8, 8)) is None
    with pytest.raises(ValueError, match="a frame from 0 to 3"):
        arrows.query_shares((4, 0, 0), (4, 8, 8))


# --- non-local means -----------------------------------------------------------------------------------


def test_non_local_means_by_hand() -> None:
    image_CHW = torch.tensor([[[0.0, 1.0, 0.0, 5.0]]], dtype=torch.float64)
    found = means.non_local_means(image_CHW, h=1.0, side=1)[0, 0]
    a, b, c = np.exp(-1.0), np.exp(-25.0), np.exp(-16.0)
    assert found[0].item() == pytest.approx((a + 5 * b) / (2 + a + b))
    assert found[1].item() == pytest.approx((1 + 5 * c) / (1 + 2 * a + c))


def test_the_network_form_is_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    image_CHW = torch.rand((3, 14, 17), generator=generator, dtype=torch.float64)
    for h, side in ((0.1, 3), (0.3, 7), (2.0, 5)):
        classical, network = (
            form(image_CHW, h, side) for form in (means.non_local_means, means.network_form)
        )
        assert float((classical - network).abs().max()) < 1e-10
    assert float((classical - image_CHW).abs().max()) > 0.1  # it did something
    rows_ND = means.patch_rows(image_CHW, 5)
    assert means.means_weights(rows_ND, rows_ND[:9], 0.3).sum(1).numpy() == pytest.approx(1)


def test_the_block_itself_does_it_where_patches_are_of_one_length() -> None:
    """Our gaussian block with identities for g and W_z, without batch norm: z - x is non-local means."""
    generator = torch.Generator().manual_seed(0)
    h, image_CHW = 0.4, torch.rand((1, 9, 10), generator=generator, dtype=torch.float64)
    rows_ND = F.normalize(means.patch_rows(image_CHW, 5), dim=1)
    channels = rows_ND.shape[1]
    block = NonLocal(channels, channels, pairwise="gaussian", pool=(1, 1, 1)).double().eval()
    with torch.no_grad():
        for layer in (block.g, block.out):
            layer.weight.copy_(torch.eye(channels)[..., None, None, None])
            layer.bias.zero_()  # type: ignore[union-attr]
        block.bn.weight.fill_((1 + block.bn.eps) ** 0.5)
        x_BCTHW = (rows_ND * (2**0.5 / h)).T.reshape(1, channels, 1, 9, 10)
        taken_ND = (block(x_BCTHW) - x_BCTHW)[0, :, 0].flatten(1).T * (h / 2**0.5)
    classical_ND = means.means_weights(rows_ND, rows_ND, h) @ rows_ND
    assert float((taken_ND - classical_ND).abs().max()) < 1e-10


def test_means_keep_edges_and_say_what_they_cannot_take() -> None:
    found = means.denoise(means.drawn_picture(40), query=(12, 8))
    assert found.psnr["non-local means"] > max(found.psnr["local mean"], found.psnr["noisy"]) + 3
    assert found.weights_HW.sum() == pytest.approx(1, abs=1e-4)
    assert found.difference < 1e-4
    assert means.draw_denoised(found).shape[1] == 1200
    with pytest.raises(ValueError, match="at most"):
        means.non_local_means(torch.zeros(1, 200, 200), 0.1)
    with pytest.raises(ValueError, match="odd"):
        means.patch_rows(torch.zeros(1, 9, 9), 4)


# --- clips, sheets, the command line -------------------------------------------------------------------


def test_a_clip_is_seen_by_both(video: str) -> None:
    spec = make_spec(3, 8, 2, fps=25.0, size=64, crop=48)
    found = clip.read_clip(video, spec, start_seconds=0.2)
    assert found.clip_CTHW.shape == (3, 8, 48, 48)
    assert found.frames_THWC.shape == (8, 48, 48, 3)
    assert found.times_T == pytest.approx(0.2 + 0.08 * np.arange(8))
    shown = torch.from_numpy(found.frames_THWC).permute(3, 0, 1, 2) / 255
    assert float((found.clip_CTHW - shown).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="last frame"):
        clip.read_clip(video, spec, start_seconds=9.0)
    with pytest.raises(ValueError, match="flow"):
        clip.read_clip(video, make_spec(2, 8))


def test_maps_are_stretched_between_their_centres() -> None:
    out = sheet.stretch_over_time(np.array([[[0.0]], [[1.0]]]), (4, 2, 2))
    assert out[:, 0, 0] == pytest.approx([0, 0.25, 0.75, 1])
    brightness = sheet.heat_colours(np.linspace(0, 1, 20)[None]) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness[0]) > 0).all()


def test_videos_have_a_picture_for_each_frame(tmp_path: Path, video: str) -> None:
    model = create_model("i3d_inception", tiny=True).eval()
    (found,) = filters.first_filters(model)
    path = sheet.save(tmp_path / "f.mp4", filters.play_filters(found, width=200), filters.FRAMES_A_SECOND)
    assert count_frames(path) == 7 * filters.LOOPS
    shown = clip.read_clip(video, model.spec, num_frames=10)
    what = activation.class_activation(model, shown.clip_CTHW)
    path = sheet.save(tmp_path / "a.mp4", activation.play_activation(what, shown, "tiny", side=64), shown.fps)
    assert count_frames(path) == 10
    where = arrows.similarity_arrows(model, shown.clip_CTHW, layer="mixed3c")
    path = sheet.save(tmp_path / "n.mp4", arrows.play_arrows(where, shown, "tiny", side=64), shown.fps)
    assert count_frames(path) == 10
    assert activation.draw_activation(what, shown, "tiny").shape[1] == 1200
    assert arrows.draw_arrows(where, shown, "tiny").shape[1] == 1280


def test_no_video_of_what_does_not_move(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="png"):
        sheet.save(tmp_path / "a.mp4", [np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(ValueError, match="png"):
        sheet.save(tmp_path / "a.gif", [np.zeros((4, 4, 3), np.uint8)])
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: str) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("receptive-field", "--model", "r3d_18", "--json", "--out", "rf.png")
    assert ran.exit_code == 0, ran.output
    rows = {row["layer"]: row for row in json.loads(ran.stdout)["layers"]}
    assert rows["stage2.1"]["frames"]["size"] == 11
    ran = run("receptive-field", "--model", "r3d_18")
    assert ran.exit_code == 0
    assert "stage2.1" in ran.stdout
    ran = run("attention", "--json", "--query", "2,100,100", "--out", "at.png")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["patterns"]["axial"] == {"time": 8, "width": 14, "height": 14}
    assert json.loads(ran.stdout)["query"] == [2, 6, 6]
    ran = run("filters", "--model", "r3d_18", "--json")
    assert ran.exit_code == 0, ran.output
    assert "random start" in ran.stderr
    assert json.loads(ran.stdout)["shape"][1] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"rf.png", "at.png", "filters.png"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["filters", "--out", "a.gif"], 2, ".png"),
        (["filters", "--model", "i3d_inceptoin"], 2, "did you mean"),
        (["activation", "--model", "r3d_18"], 2, "--video"),
        (["activation", "--model", "r3d_18", "--video", "missing.mp4"], 1, "missing.mp4"),
        (["nonlocal"], 2, "--model"),
        (["attention", "--model", "r3d_18"], 2, "timesformer"),
        (["attention", "--query", "a,b"], 2, "whole numbers"),
        (["attention", "--query", "9,0,0"], 2, "a frame from 0 to 7"),
        (["filters", "--model", "r3d_18", "--layer", "nosuch"], 2, "conv1.weight"),
        (["dreams"], 2, "dreams"),
    ],
)
def test_clear_errors(
    words: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*words)
    assert ran.exit_code == code, ran.output
    assert message in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.network
def test_a_real_clip_is_explained_by_what_happens_in_it(
    clips: Path, i3d_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.mp4"
    ran = run("activation", "--video", str(clips / "juggling_soccer_ball.avi"), "--out", str(out), "--json")
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert said["class_name"] == "juggling soccer ball"
    assert count_frames(out) == 64
    assert sum(said["curve"]) == pytest.approx(said["logit"], abs=0.5)  # all but the bias
