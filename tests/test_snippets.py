"""Pooling and LSTM over long clips: where the maximum is taken, by hand, and what a step is worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from built import noise
from torch import Tensor

from vadis.models import create_model
from vadis.models.cost import count_parameters
from vadis.models.inflate import image_name
from vadis.models.recurrent import combine_steps
from vadis.models.snippets import ConvPooling, Lstm, count_windows, pool_windows

POOLINGS = ("conv_pooling", "late_pooling", "slow_pooling", "local_pooling", "time_conv")


def on_meta(name: str, **options: Any) -> ConvPooling:
    """A network that takes no memory."""
    with torch.device("meta"):
        model = create_model(f"snippets_{name}", **options).eval()
    assert isinstance(model, ConvPooling)
    return model


def tiny(name: str, **options: Any) -> ConvPooling:
    torch.manual_seed(0)
    model = create_model(f"snippets_{name}", num_classes=5, tiny=True, **options).eval()
    assert isinstance(model, ConvPooling)
    return model


# --- what goes in, and how much there is ----------------------------------------------------------


def test_a_frame_a_second_and_fifteen_fields() -> None:
    spec = on_meta("conv_pooling").spec
    assert (spec.shape, spec.fps) == ((3, 120, 220, 220), 1.0)
    assert on_meta("lstm").spec.num_frames == 30
    flow = on_meta("lstm", in_channels=2).spec
    assert (flow.modality, flow.fps, flow.channels) == ("flow", 15.0, 2)


def test_alexnets_map_is_that_of_the_paper() -> None:
    model = on_meta("conv_pooling", trunk="alexnet")
    clip = torch.empty(1, 3, 4, 220, 220, device="meta")
    assert model.forward_features(clip).shape == (1, 256, 4, 6, 6)
    assert model.fc6 is not None
    assert model.fc6.weight.shape == (4096, 6 * 6 * 256)
    with pytest.raises(ValueError, match=r"takes frames of 220 x 220 .* got 170 x 170"):
        model(clip[..., :170, :170])


@pytest.mark.parametrize(("trunk", "millions"), [("alexnet", 17.85), ("inception", 11.55)])
def test_five_layers_of_512(trunk: str, millions: float) -> None:
    model = on_meta("lstm", trunk=trunk)
    assert isinstance(model, Lstm)
    assert count_parameters(model.lstm) / 1e6 == pytest.approx(millions, abs=0.005)
    assert not any("weight_hr" in key or "peephole" in key for key, _ in model.lstm.named_parameters())


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("conv_pooling", {"num_frame": 3}, TypeError, "ConvPooling has no option num_frame"),
        ("late_pooling", {"combine": "max"}, TypeError, "LatePooling has no option combine"),
        ("conv_pooling", {"num_frames": 0}, ValueError, "at least 1, got 0, None and None"),
        ("lstm", {"num_layers": 0}, ValueError, "at least 1, got None, None and 0"),
        ("conv_pooling", {"trunk": "alexnet", "crop": 16}, ValueError, "of 16 x 16 pixels nothing is left"),
        ("slow_pooling", {"num_frames": 5}, ValueError, "SlowPooling takes at least 10 frames, got 5"),
        ("lstm", {"trunk": "r50"}, ValueError, "no trunk is called 'r50'; there are resnet18"),
    ],
)
def test_what_cannot_be_built(name: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        create_model(f"snippets_{name}", tiny=True, **options)


def test_a_larger_softmax_for_local_pooling() -> None:
    assert [count_windows(frames) for frames in (10, 14, 15, 30, 120)] == [1, 1, 2, 5, 23]
    model = on_meta("local_pooling", trunk="alexnet")
    assert model.head.in_features == 23 * 4096
    short = on_meta("local_pooling", num_frames=30)
    assert (short.head.in_features, short.min_frames) == (5 * 1024, 30)
    with pytest.raises(ValueError, match=r"takes 5 windows, of clips of 30 to 34 frames, got 35"):
        short(torch.empty(1, 3, 35, 220, 220, device="meta"))


@pytest.mark.parametrize("trunk", ["resnet18", "resnet50", "bninception"])
def test_other_trunks(trunk: str) -> None:
    for name in (*POOLINGS, "lstm"):
        model = tiny(name, trunk=trunk)
        with torch.no_grad():
            assert model(noise(2, 3, 15, 64, 64)).shape == (2, 5)
    assert image_name(on_meta("lstm", trunk="resnet50")) == "resnet50"
    assert image_name("snippets_conv_pooling") == "googlenet"


def test_a_longer_clip_takes_the_weights_of_a_shorter_one() -> None:
    for name in ("conv_pooling", "late_pooling", "slow_pooling", "time_conv", "lstm"):
        short, long = tiny(name, num_frames=15), tiny(name, num_frames=30)
        long.load_state_dict(short.state_dict())
        assert long.spec.num_frames == 30
    single = tiny("conv_pooling", num_frames=1)
    with torch.no_grad():
        frame = noise(1, 3, 1, 64, 64)
        assert torch.allclose(single(frame), single(frame.expand(-1, -1, 7, -1, -1)), atol=1e-5)


# --- pooling by hand ------------------------------------------------------------------------------


def maps(*frames: tuple[float, float]) -> Tensor:
    """One feature at two positions in each frame: map_BDTHW."""
    return torch.tensor(frames, dtype=torch.float32).reshape(1, 1, len(frames), 1, 2)


def test_before_or_after_the_mean_over_space() -> None:
    made = maps((1, 0), (0, 3))
    assert tiny("conv_pooling")._describe(made).tolist() == [[2.0]]  # the mean of 1 and 3
    assert tiny("late_pooling")._describe(made).tolist() == [[1.5]]  # the larger of 0.5 and 1.5


def test_windows_of_ten_at_stride_five() -> None:
    frames = [(0.0, 0.0)] * 17
    frames[2], frames[12], frames[16] = (1.0, 0.0), (0.0, 3.0), (9.0, 9.0)
    made = maps(*frames)
    pooled = pool_windows(made)
    assert pooled.flatten(2).tolist() == [[[1.0, 0.0, 0.0, 3.0]]], "frames 0 to 9 and 5 to 14"
    assert tiny("slow_pooling")._describe(made).tolist() == [[1.5]]
    assert tiny("local_pooling")._describe(made).tolist() == [[0.5, 1.5]]


def test_a_convolution_over_time_before_pooling() -> None:
    model = tiny("time_conv")
    conv = model.get_submodule("conv")
    assert isinstance(conv, torch.nn.Conv3d)
    assert (conv.kernel_size, conv.stride) == ((10, 3, 3), (5, 1, 1))
    full = on_meta("time_conv", trunk="alexnet").get_parameter("conv.weight")
    assert full.shape == (256, 256, 10, 3, 3)
    with torch.no_grad():  # passes the last frame of each window, times two
        conv.weight.zero_()
        conv.weight[0, 0, 9, 1, 1] = 2.0
        made = torch.zeros(1, conv.in_channels, 15, 1, 2)
        made[0, 0, 9, 0] = torch.tensor([1.0, 0.0])
        made[0, 0, 14, 0] = torch.tensor([0.0, 3.0])
        made[0, 0, 12] = 99.0
        assert model._describe(made)[0, 0] == 4.0  # the mean of 2 and 6


@pytest.mark.parametrize("name", POOLINGS)
def test_fully_connected_layers_stand_where_the_paper_has_them(name: str) -> None:
    model = tiny(name, trunk="alexnet")
    assert model.fc6 is not None
    assert model.fc7 is not None
    calls: list[tuple[str, int]] = []
    for layer in ("fc6", "fc7"):
        model.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, layer=layer: calls.append((layer, len(output)))
        )
    with torch.no_grad():
        model(noise(1, 3, 15, 64, 64))
    rows = {"conv_pooling": (1, 1), "late_pooling": (15, 15), "slow_pooling": (2, 1), "local_pooling": (2, 2)}
    fc6, fc7 = rows.get(name, (1, 1))
    assert calls == [("fc6", fc6), ("fc7", fc7)]


# --- the LSTM -------------------------------------------------------------------------------------


def test_the_answer_is_that_of_all_steps() -> None:
    for combine in ("last", "max", "sum", "weighted"):
        model = tiny("lstm", combine=combine)
        assert isinstance(model, Lstm)
        clip = noise(1, 3, 6, 64, 64)
        with torch.no_grad():
            found = combine_steps(model.forward_steps(clip), combine)  # type: ignore[arg-type]
            assert torch.allclose(model(clip), found, atol=1e-6)
    with pytest.raises(ValueError, match="combine must be one of last, max, sum, weighted"):
        tiny("lstm", combine="mean")


def test_a_step_knows_what_came_before_and_no_more() -> None:
    model = tiny("lstm")
    assert isinstance(model, Lstm)
    clip = noise(1, 3, 6, 64, 64)
    other = clip.clone()
    other[:, :, 3:] = noise(1, 3, 3, 64, 64, seed=2)
    with torch.no_grad():
        first, second = model.forward_steps(clip), model.forward_steps(other)
    assert first.shape == (1, 6, 5)
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3:], second[:, 3:])


def test_the_cells_have_no_peepholes() -> None:
    """One layer written out: no gate sees the cell."""
    model = tiny("lstm", num_layers=1)
    assert isinstance(model, Lstm)
    x = noise(1, 4, model.lstm.input_size)
    state = dict(model.lstm.named_parameters())
    hidden = cell = torch.zeros(1, model.lstm.hidden_size)
    with torch.no_grad():
        wanted, _ = model.lstm(x)
        for step in range(4):
            gates = x[:, step] @ state["weight_ih_l0"].T + state["bias_ih_l0"]
            gates = gates + hidden @ state["weight_hh_l0"].T + state["bias_hh_l0"]
            enter, forget, candidate, leave = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            assert torch.allclose(hidden, wanted[:, step], atol=1e-6)
