"""Aggregation: poolings by hand, the order of clips, the joining of streams."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import VideoModel, create_model
from vadis.models.contract import make_clip


def made(name: str, **options: Any) -> VideoModel:
    torch.manual_seed(0)
    return create_model(name, tiny=True, num_classes=5, **options).eval()


def features(num_clips: int = 20, size: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(2, size, num_clips, 1, 1, generator=torch.Generator().manual_seed(seed))


def streams(num_clips: int = 20, size: int = 32) -> dict[str, Tensor]:
    return {name: features(num_clips, size, seed) for seed, name in enumerate(("rgb", "flow", "audio"))}


@pytest.mark.parametrize("num_clips", [1, 2, 7, 20])
def test_the_average_by_hand(num_clips: int) -> None:
    model, clips = made("aggregate_average"), features(num_clips)
    head = model.get_submodule("head")
    with torch.no_grad():
        scores = torch.stack([head(clips[:, :, t, 0, 0]) for t in range(num_clips)])
        torch.testing.assert_close(model(clips), scores.mean(0))
        torch.testing.assert_close(model(clips), head(clips.mean((2, 3, 4))), msg="linear: either order")
        torch.testing.assert_close(model.forward_dense(clips), scores.transpose(0, 1))  # type: ignore[operator]


@pytest.mark.parametrize("pool", ["average", "max"])
@pytest.mark.parametrize("num_clips", [1, 2, 5, 20])
def test_tcp_by_hand(num_clips: int, pool: str) -> None:
    """Two convolutions written as sums over the neighbours of each clip."""
    model, clips = made("aggregate_tcp", pool=pool), features(num_clips)
    x_BDT = clips.flatten(2)
    with torch.no_grad():
        for name, stride in (("conv1", 1), ("conv2", 2)):
            unit = model.get_submodule(f"convolution.{name}")
            weight = unit.get_parameter("conv.weight")
            padded = F.pad(x_BDT, (1, 1))
            steps = range(0, x_BDT.shape[2], stride)
            sums = [sum(padded[:, :, t + k] @ weight[:, :, k].T for k in range(3)) for t in steps]
            x_BDT = F.relu(unit.get_submodule("bn")(torch.stack(sums, 2)))  # type: ignore[arg-type]
        assert x_BDT.shape[2] == -(-num_clips // 2)
        torch.testing.assert_close(model.forward_features(clips).flatten(2), x_BDT, rtol=1e-4, atol=1e-5)
        pooled = x_BDT.amax(2) if pool == "max" else x_BDT.mean(2)
        torch.testing.assert_close(model(clips), model.get_submodule("head")(pooled), rtol=1e-4, atol=1e-5)


def test_tcp_can_start_as_the_average() -> None:
    """Kernels that pass on one clip, then the mean of two, no norm: the mean of the features is left."""
    model = made("aggregate_tcp", num_features=16, width=16)
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            weight = model.get_parameter(f"convolution.{name}.conv.weight")
            weight.zero_()
            weight[range(16), range(16), 1] = 0.5 if name == "conv2" else 1.0
            if name == "conv2":
                weight[range(16), range(16), 2] = 0.5
        clips = features(20, 16).abs()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eps = 0.0
        torch.testing.assert_close(model(clips), model.get_submodule("head")(clips.mean((2, 3, 4))))


def test_tcp_sees_the_order_of_clips() -> None:
    for name in ("aggregate_tcp", "aggregate_average"):
        model, clips = made(name), features()
        with torch.no_grad():
            same = torch.allclose(model(clips), model(clips.flip(2)), atol=1e-5)
        assert same == (name == "aggregate_average")


def test_the_average_of_streams_by_hand() -> None:
    model, clips = made("aggregate_average_streams"), streams()
    assert model.spec.modality == "rgb+flow+audio"
    assert model.heads == ("streams.rgb.head", "streams.flow.head", "streams.audio.head")
    with torch.no_grad():
        each = [model.get_submodule(f"streams.{name}")(clips[name]) for name in clips]
        torch.testing.assert_close(model(clips), sum(each) / 3)
        turned = dict(reversed(clips.items()))
        torch.testing.assert_close(model(turned), model(clips), msg="a dict has no order")


@pytest.mark.parametrize("join", ["after", "before"])
def test_tcp_of_streams_looks_at_each(join: str) -> None:
    model, clips = made("aggregate_tcp_streams", join=join), streams()
    with torch.no_grad():
        before = model(clips)
        assert before.shape == (2, 5)
        assert model.forward_features(clips).shape[2:] == (10, 1, 1)
        for name in clips:
            assert not torch.allclose(model({**clips, name: clips[name] + 1.0}), before, atol=1e-4)


def test_joined_before_is_one_stream_of_all_features() -> None:
    model, single = made("aggregate_tcp_streams", join="before"), made("aggregate_tcp", num_features=96)
    single.load_state_dict(model.state_dict())
    clips = streams()
    with torch.no_grad():
        torch.testing.assert_close(model(clips), single(torch.cat(list(clips.values()), 1)))


def test_two_streams_of_other_sizes() -> None:
    for name in ("aggregate_tcp_streams", "aggregate_average_streams"):
        model = made(name, streams={"rgb": 8, "audio": 12}, num_clips=6)
        assert model.spec.shapes == {"rgb": (8, 6, 1, 1), "audio": (12, 6, 1, 1)}
        assert model(make_clip(model.spec, 3, fill=torch.rand)).shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("aggregate_tcp", {"pool": "min"}, 'pool must be "average" or "max"'),
        ("aggregate_tcp_streams", {"join": "never"}, 'join must be "after" or "before"'),
        ("aggregate_tcp_streams", {"streams": {}}, "streams says how many features"),
        ("aggregate_average_streams", {"streams": {"rgb": 0}}, "streams says how many features"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(name, **options)


def test_features_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"height = width = 1, .* got \(2, 32, 20, 2, 2\)"):
        made("aggregate_average")(torch.zeros(2, 32, 20, 2, 2))
    with pytest.raises(ValueError, match=r"takes clips of \(batch, 32"):
        made("aggregate_tcp")(features(size=31))
    model = made("aggregate_tcp_streams")
    with pytest.raises(ValueError, match="takes the modalities rgb, flow, audio, got rgb"):
        model({"rgb": features()})
    with pytest.raises(ValueError, match="as many clips of each stream in time"):
        model({**streams(), "audio": features(19)})
    with pytest.raises(ValueError, match=r"TcpOfStreams, flow takes features"):
        model({**streams(), "flow": features(size=3)})


def test_sizes() -> None:
    with torch.device("meta"):
        counts = {
            name: sum(parameter.numel() for parameter in create_model(name, num_classes=400).parameters())
            for name in ("aggregate_average", "aggregate_tcp", "aggregate_tcp_streams")
        }
    tcp = 3 * 2048 * 512 + 3 * 512 * 512 + 4 * 512
    assert counts["aggregate_average"] == 2049 * 400
    assert counts["aggregate_tcp"] == tcp + 513 * 400
    assert counts["aggregate_tcp_streams"] == 3 * tcp + 3 * 512 * 512 + 2 * 512 + 513 * 400


def test_each_stream_learns_from_its_own_answer() -> None:
    torch.manual_seed(0)
    model = create_model("aggregate_average_streams", num_classes=3, tiny=True).eval()
    clips = make_clip(model.spec, 2, fill=torch.rand)
    heads = model.forward_heads(clips)
    assert list(heads) == list(model.spec.parts)
    assert torch.equal(model.join_scores(heads), model(clips))
    assert torch.allclose(torch.stack(list(heads.values())).mean(0), model(clips))
