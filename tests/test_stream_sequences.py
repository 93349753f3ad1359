"""Three streams of features: attention, shifts, late fusion and LSTM by hand, and that they learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import stream_sequences
from vadis.models.contract import VideoModel, make_clip
from vadis.models.cost import count_parameters
from vadis.models.stream_sequences import (
    JoinedStreams,
    LateStreams,
    ShiftingAttention,
    streams_late,
    streams_lstm,
    streams_shifting_attention,
)

MAKERS = (streams_late, streams_lstm, streams_shifting_attention)


def features(model: VideoModel, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clips = make_clip(model.spec, batch, fill=torch.rand, generator=generator)
    assert isinstance(clips, dict)
    return clips


def tiny(make: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return make(5, tiny=True, **options).eval()


COUNTS = (1_281_200, 10_326_416, 41_062_992)


@pytest.mark.parametrize(("make", "count"), list(zip(MAKERS, COUNTS, strict=True)))
def test_counts_by_hand(make: Any, count: int) -> None:
    with torch.device("meta"):
        model = make()
    by_hand = {
        "streams_late": 2 * 1537 * 400 + 129 * 400,
        "streams_lstm": sum(4 * 512 * (size + 512 + 2) for size in (1536, 1536, 128)) + (3 * 512 + 1) * 400,
        "streams_shifting_attention": 32 * (3200 + 3 * 2) + (32 * 3200 + 1) * 400,
    }
    assert count_parameters(model) == count == by_hand[make.__name__]
    assert model.spec.modality == "rgb+flow+audio"
    assert model.spec.shapes == {"rgb": (1536, 25, 1, 1), "flow": (1536, 25, 1, 1), "audio": (128, 10, 1, 1)}
    assert {part.modality for part in model.spec.parts.values()} == {"features"}


# --- shifting attention ---------------------------------------------------------------------------


def attention(in_features: int = 6, num_groups: int = 1) -> ShiftingAttention:
    torch.manual_seed(0)
    return ShiftingAttention(in_features, num_groups)


def test_one_attention_without_a_shift_is_plain_attention() -> None:
    group = attention()
    x = torch.randn(2, 7, 6)
    with torch.no_grad():
        group.scale.fill_(1.0)
        group.shift.fill_(0.0)
        found = group(x)
        query = group.weighting.weight.expand(2, 1, 6)
        plain = F.scaled_dot_product_attention(query, x, x, scale=1.0)[:, 0]
    assert torch.allclose(found, plain / plain.norm(dim=1, keepdim=True), atol=1e-6)


def test_an_attention_that_does_not_care_is_the_mean() -> None:
    group = attention()
    x = torch.randn(2, 7, 6)
    with torch.no_grad():
        group.weighting.weight.zero_()
        group.scale.fill_(2.0)  # no scale survives the normalisation
        group.shift.zero_()
        assert torch.allclose(group(x), F.normalize(x.mean(1)), atol=1e-6)


def test_an_attention_that_cares_takes_one_feature() -> None:
    group = attention()
    x = torch.zeros(1, 7, 6)
    x[0, 3] = torch.tensor([100.0, 0, 0, 3, 4, 0])
    with torch.no_grad():
        group.weighting.weight.zero_()
        group.weighting.weight[0, 0] = 1.0
        group.scale.fill_(1.0)
        group.shift.zero_()
        assert torch.allclose(group.weights(x)[0, :, 0], F.one_hot(torch.tensor(3), 7).float(), atol=1e-6)
        assert torch.allclose(group(x), F.normalize(x[:, 3]))


def test_a_shift_by_hand() -> None:
    """One step, so it is picked whole: (3, 4), scaled by 2 and shifted by 1, is (7, 9), over its length."""
    group = attention(2, 2)
    with torch.no_grad():
        group.scale.copy_(torch.tensor([2.0, 1.0]))
        group.shift.copy_(torch.tensor([1.0, 0.0]))
        found = group(torch.tensor([[[3.0, 4.0]]]))[0]
    wanted = [7 / math.sqrt(130), 9 / math.sqrt(130), 3 / 5, 4 / 5]
    assert found.tolist() == pytest.approx([value / math.sqrt(2) for value in wanted])


def test_a_group_has_length_one_whatever_comes_in() -> None:
    group = attention(6, 5)
    for scale in (1e-3, 1.0, 1e3):
        assert torch.allclose(group(scale * torch.randn(3, 9, 6)).norm(dim=1), torch.ones(3), atol=1e-5)


def test_attention_does_not_see_the_order_and_an_lstm_does() -> None:
    for make, blind in zip(MAKERS, (True, False, True), strict=True):
        model = tiny(make)
        clips = features(model)
        with torch.no_grad():
            same = torch.allclose(model(clips), model({k: v.flip(2) for k, v in clips.items()}), atol=1e-6)
        assert same == blind, make.__name__


def test_less_than_one_attention() -> None:
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        ShiftingAttention(6, 0)


# --- late fusion ----------------------------------------------------------------------------------


def test_late_fusion_is_the_mean_of_softmaxes() -> None:
    model: LateStreams = tiny(streams_late)
    clips = features(model)
    with torch.no_grad():
        alone = [
            (getattr(model, name).head(clips[name].mean((2, 3, 4)))).softmax(1) for name in model.spec.parts
        ]
        assert torch.allclose(model(clips).softmax(1), sum(alone) / 3, atol=1e-6)
    assert model.heads == ("rgb.head", "flow.head", "audio.head")


def test_a_stream_that_says_nothing_changes_no_order() -> None:
    model: LateStreams = tiny(streams_late)
    clips = features(model)
    with torch.no_grad():
        for name in ("flow", "audio"):
            getattr(model, name).head.weight.zero_()
        alone = model.forward_heads(clips)["rgb"]
        assert torch.equal(model(clips).argsort(1), alone.argsort(1))


def test_a_loss_of_each_stream_reaches_only_that_stream() -> None:
    model: LateStreams = tiny(streams_late)
    model.forward_heads(features(model))["flow"].sum().backward()
    assert {key.split(".")[0] for key, value in model.named_parameters() if value.grad is not None} == {
        "flow"
    }


# --- LSTM -----------------------------------------------------------------------------------------


def test_the_lstm_step_by_step() -> None:
    """The four gates written out: no peepholes (no gate looks at the cell)."""
    model: JoinedStreams = tiny(streams_lstm)
    clips = features(model)
    lstm = model.get_submodule("audio.summary.lstm")
    assert isinstance(lstm, nn.LSTM)
    hidden, cell = torch.zeros(2, 16), torch.zeros(2, 16)
    with torch.no_grad():
        for step in range(clips["audio"].shape[2]):
            gates = clips["audio"][:, :, step, 0, 0] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0
            gates = gates + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
            into, forget, news, out = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + into.sigmoid() * news.tanh()
            hidden = out.sigmoid() * cell.tanh()
        joined = model.forward_features(clips)
    assert joined.shape == (2, 48, 1, 1, 1)
    assert torch.allclose(joined[:, 32:, 0, 0, 0], hidden, atol=1e-6)


def test_both_directions_meet_their_ends() -> None:
    model: JoinedStreams = tiny(streams_lstm, bidirectional=True, num_layers=2)
    clips = features(model)
    with torch.no_grad():
        joined = model.forward_features(clips)
        output, _ = model.get_submodule("rgb.summary.lstm")(clips["rgb"][:, :, :, 0, 0].transpose(1, 2))
    assert joined.shape == (2, 96, 1, 1, 1)
    assert torch.equal(joined[:, :16, 0, 0, 0], output[:, -1, :16])
    assert torch.equal(joined[:, 16:32, 0, 0, 0], output[:, 0, 16:])


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_streams_may_have_any_length(make: Any) -> None:
    model = tiny(make)
    clips = features(model)
    with torch.no_grad():
        longer = {name: torch.cat([clip, clip[:, :, :3]], dim=2) for name, clip in clips.items()}
        assert model(longer).shape == (2, 5)
    sized = make(5, rgb_features=20, flow_features=10, audio_features=6, num_clips=4, audio_clips=3)
    assert sized.spec.shapes == {"rgb": (20, 4, 1, 1), "flow": (10, 4, 1, 1), "audio": (6, 3, 1, 1)}


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_refused(make: Any) -> None:
    model = tiny(make)
    clips = features(model)
    with pytest.raises(ValueError, match="rgb, flow, audio, got rgb, flow"):
        model({name: clips[name] for name in ("rgb", "flow")})
    with pytest.raises(ValueError, match="dict of tensors"):
        model(clips["rgb"])
    with pytest.raises(ValueError, match=r"takes clips of \(batch, 16, frames"):
        model({**clips, "audio": clips["audio"][:, :5]})
    with pytest.raises(ValueError, match="as many clips of each"):
        model({**clips, "audio": clips["audio"][:1]})


@pytest.mark.parametrize("make", MAKERS)
def test_a_new_head(make: Any) -> None:
    model = tiny(make)
    clips = features(model)
    model.class_names = tuple("abcde")
    model.reset_head(3)
    assert (model.num_classes, model.class_names) == (3, None)
    for head in model.heads:
        assert model.get_submodule(head).weight.shape[0] == 3
    with torch.no_grad():
        assert model(clips).shape == (2, 3)


@pytest.mark.parametrize("make", MAKERS)
def test_it_learns(make: Any) -> None:
    """Sixteen videos of four classes: in each stream, one feature in noise points where its class does."""
    torch.manual_seed(0)
    model = make(4, tiny=True, dropout=0.0).train()
    labels = torch.arange(16) % 4
    clips = {}
    for name, (channels, length, _, _) in model.spec.shapes.items():
        noise = 0.5 * torch.randn(16, channels, length, 1, 1)
        directions = torch.randn(4, channels)
        for video, label in enumerate(labels.tolist()):
            noise[video, :, (video * 3) % length, 0, 0] += 2 * directions[label]
        clips[name] = noise
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(80):
        loss = F.cross_entropy(model(clips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_published_results_name_networks_that_there_are() -> None:
    known = {result.model for paper in stream_sequences.PAPERS for result in paper.results}
    assert known == {make.__name__ for make in MAKERS}
