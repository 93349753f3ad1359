"""The I3D paper's other networks: their sizes, how their parts meet, and two streams of I3D as one."""

from __future__ import annotations

import pytest
import torch
from built import noise, on_meta, tiny
from torch import Tensor
from torch.nn import functional as F

from vadis.models.cost import count_parameters, measure_cost
from vadis.models.inflate import image_name
from vadis.models.quo_vadis import Fused3d, LstmInception, TwoStreamI3d
from vadis.models.two_stream import TwoStream


def both(batch: int = 1, frames: int = 5, side: int = 48, flow: int = 20) -> dict[str, Tensor]:
    return {
        "rgb": noise(batch, 3, frames, side, side),
        "flow": noise(batch, flow, frames, side, side, seed=2),
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("lstm_inception", 9.0),
        ("two_stream_inception", 12.07),
        ("fused3d_inception", 39.8),
        ("two_stream_i3d", 25.4),
    ],
)
def test_the_sizes_of_table_1(name: str, millions: float) -> None:
    assert count_parameters(on_meta(name)) / 1e6 == pytest.approx(millions, abs=0.06)


def test_what_goes_in_is_table_1() -> None:
    spec = on_meta("lstm_inception").spec
    assert (spec.num_frames, spec.frame_stride, spec.fps, spec.test_frames) == (25, 5, 25.0, 50)
    parts = on_meta("two_stream_inception").spec.parts
    assert [part.shape for part in parts.values()] == [(3, 1, 224, 224), (20, 1, 224, 224)]
    assert {part.fps for part in parts.values()} == {25.0}
    assert {part.test_frames for part in parts.values()} == {25}
    parts = on_meta("fused3d_inception").spec.parts
    assert [part.shape for part in parts.values()] == [(3, 5, 224, 224), (20, 5, 224, 224)]
    assert {(part.frame_stride, part.test_frames) for part in parts.values()} == {(10, 25)}
    parts = on_meta("two_stream_i3d").spec.parts
    assert [part.shape for part in parts.values()] == [(3, 64, 224, 224), (2, 64, 224, 224)]


def test_all_start_from_one_image_network() -> None:
    for name in ("lstm_inception", "two_stream_inception", "fused3d_inception", "two_stream_i3d"):
        assert image_name(name) == "googlenet"


def test_the_lstm_answers_last_and_at_each_step() -> None:
    model = tiny("lstm_inception")
    assert isinstance(model, LstmInception)
    clip = noise(2, 3, 6, 48, 48)
    with torch.no_grad():
        steps = model.forward_steps(clip)
        assert steps.shape == (2, 6, 5)
        assert torch.allclose(model(clip), steps[:, -1], atol=1e-6)
        assert torch.allclose(model.forward_steps(clip[:, :, :4]), steps[:, :4], atol=1e-5)
        weighted = tiny("lstm_inception", combine="sum")
        assert torch.allclose(weighted(clip), steps.mean(1), atol=1e-5)
    with pytest.raises(ValueError, match="combine must be one of last, max, sum, weighted, got 'mean'"):
        tiny("lstm_inception", combine="mean")


def test_the_maps_that_3d_fused_joins() -> None:
    model = on_meta("fused3d_inception")
    assert isinstance(model, Fused3d)
    assert model.rgb(torch.empty(5, 3, 224, 224, device="meta")).shape == (5, 1024, 7, 7)
    assert model.fusion.weight.shape == (512, 2048, 3, 3, 3)
    clips = {name: torch.empty(1, *shape, device="meta") for name, shape in model.spec.shapes.items()}
    assert model.forward_features(clips).shape == (1, 512, 5, 7, 7)
    small = tiny("fused3d_inception")
    assert isinstance(small, Fused3d)
    made = both()
    with torch.no_grad():
        frames = {name: clip.transpose(1, 2).flatten(0, 1) for name, clip in made.items()}
        joined = torch.cat([small.rgb(frames["rgb"]), small.flow(frames["flow"])], dim=1)
        joined = joined.unflatten(0, (1, 5)).transpose(1, 2)
        feature = F.relu(F.conv3d(joined, small.fusion.weight, small.fusion.bias, padding=1))
        assert torch.allclose(small.forward_features(made), feature, atol=1e-5)
        pooled = F.max_pool3d(feature, 3, 2, 1).mean((2, 3, 4))
        assert torch.allclose(small(made), small.head(pooled), atol=1e-5)
        made["flow"] = made["flow"][:, :, :4]
        with pytest.raises(ValueError, match="as many positions and pixels of both"):
            small(made)


def test_two_streams_average_what_each_says() -> None:
    model = tiny("two_stream_inception")
    assert isinstance(model, TwoStream)
    clips = both(2, frames=1)
    with torch.no_grad():
        alone = [model.get_submodule(name)(clips[name]).softmax(1) for name in ("rgb", "flow")]
        assert torch.allclose(model(clips).softmax(1), (alone[0] + alone[1]) / 2, atol=1e-6)


def test_two_streams_of_i3d_add_their_logits() -> None:
    model = tiny("two_stream_i3d")
    assert isinstance(model, TwoStreamI3d)
    clips = both(1, frames=17, flow=2)
    with torch.no_grad():
        alone = model.forward_heads(clips)
        for name in ("rgb", "flow"):
            single = tiny(f"i3d_inception{'_flow' if name == 'flow' else ''}")
            single.load_state_dict(model.get_submodule(name).state_dict())
            assert torch.equal(single(clips[name]), alone[name])
        assert torch.equal(model(clips), alone["rgb"] + alone["flow"])
        assert torch.allclose(model.forward_dense(clips).mean(1), model(clips), atol=1e-5)
    cost = measure_cost(on_meta("two_stream_i3d"), on_meta("two_stream_i3d").spec.shapes)
    assert cost.gmac == pytest.approx(111.15 + 102.3, rel=0.01)
