"""Two streams: the paper's table and counts, the average of both, losses that stay where they belong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from built import on_meta, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.config import LossConfig
from vadis.models import create_model
from vadis.models.contract import make_clip
from vadis.models.cost import count_parameters
from vadis.models.inflate import inflate
from vadis.models.two_stream import Stream, TwoStream, mean_of_softmaxes
from vadis.training.heads import Head, cut_head
from vadis.training.losses import heads_loss, score_clips

PAIRS = ("two_stream_vggm", "two_stream_vgg16", "two_stream_resnet50", "two_stream_resnet101")


def clips_of(model: Any, batch: int = 2) -> Any:
    return make_clip(model.spec, batch, fill=torch.rand, generator=torch.Generator().manual_seed(1))


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("two_stream_spatial_vggm", 90_627_813),
        ("two_stream_temporal_vggm", 90_707_781),  # twice this is the 181.42 M of the fusion paper
        ("two_stream_spatial_vgg16", 134_674_341),  # VGG-16's 138,357,544 with 101 classes for 1000
        ("two_stream_spatial_resnet50", 23_508_032 + 2048 * 101 + 101),
        ("two_stream_spatial_resnet101", 42_500_160 + 2048 * 101 + 101),
    ],
)
def test_counts(name: str, count: int) -> None:
    assert count_parameters(on_meta(name, num_classes=101)) == count
    pair = on_meta("two_stream_vggm", num_classes=101)
    assert count_parameters(pair) == 90_627_813 + 90_707_781


def test_what_goes_in() -> None:
    spatial = on_meta("two_stream_spatial_vggm").spec
    assert spatial.shape == (3, 1, 224, 224)
    assert (spatial.sampling, spatial.test_frames, spatial.size) == ("segments", 25, 256)
    temporal = on_meta("two_stream_temporal_vggm").spec
    assert (temporal.modality, temporal.stack, temporal.shape) == ("flow", 10, (20, 1, 224, 224))
    assert on_meta("two_stream_temporal_vggm", stack=5).spec.channels == 10
    pair = on_meta("two_stream_vggm").spec
    assert pair.modality == "rgb+flow"
    assert dict(pair.parts) == {"rgb": spatial, "flow": temporal}
    assert on_meta("two_stream_spatial_vggm", in_channels=2).spec == temporal
    with pytest.raises(ValueError, match="in_channels must be 3"):
        on_meta("two_stream_spatial_vggm", in_channels=4)


def test_the_temporal_network_has_no_second_normalisation() -> None:
    layers = on_meta("two_stream_temporal_vggm").trunk.layers
    assert "norm1" in layers
    assert set(on_meta("two_stream_spatial_vggm").trunk.layers) - set(layers) == {"norm2"}


def test_another_crop_makes_another_fc6() -> None:
    model = on_meta("two_stream_spatial_vgg16", crop=112)
    assert model.spec.crop == 112
    assert model.trunk.fc6.in_features == 512 * 3 * 3
    with pytest.raises(ValueError, match="at least 224 x 224 pixels, got 223 x 300: enlarge"):
        on_meta("two_stream_spatial_vgg16")(torch.empty(1, 3, 1, 223, 300, device="meta"))


# --- what comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_stream_spatial_vggm", "two_stream_temporal_resnet50"])
def test_positions_are_scored_one_by_one(name: str) -> None:
    model = tiny(name)
    clip = torch.rand(2, model.spec.channels, 3, 64, 64)
    with torch.no_grad():
        alone = torch.stack([model(clip[:, :, index : index + 1]) for index in range(3)], dim=1)
        assert torch.allclose(model.forward_dense(clip), alone, atol=1e-6)
        assert torch.allclose(model(clip), alone.mean(1), atol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_the_pair_is_the_average_of_both_softmaxes(name: str) -> None:
    model = tiny(name)
    for stream in (model.rgb, model.flow):
        nn.init.normal_(stream.head.weight)
    clips = clips_of(model)
    with torch.no_grad():
        each = [model.rgb(clips["rgb"]).softmax(1), model.flow(clips["flow"]).softmax(1)]
        assert torch.allclose(model(clips).softmax(1), (each[0] + each[1]) / 2, atol=1e-6)
        weighed = tiny(name, flow_weight=1.5)
        weighed.load_state_dict(model.state_dict())
        assert torch.allclose(weighed(clips).softmax(1), (each[0] + 1.5 * each[1]) / 2.5, atol=1e-6)
        assert torch.allclose(model(clips).exp().sum(1), torch.ones(2), atol=1e-6), "a logarithm of scores"
        maps = model.forward_features(clips)
    assert {part: feature.ndim for part, feature in maps.items()} == {"rgb": 5, "flow": 5}


def test_two_alike_are_each() -> None:
    logits = torch.randn(3, 7)
    assert torch.allclose(mean_of_softmaxes((logits, logits), (1.0, 3.0)), logits.log_softmax(1), atol=1e-6)
    sure = torch.tensor([[1000.0, 0.0]])
    assert mean_of_softmaxes((sure, -sure), (1.0, 1.0)).softmax(1).tolist() == [[0.5, 0.5]]


def test_bad_pairs() -> None:
    model = tiny("two_stream_vggm")
    clips = clips_of(model)
    with pytest.raises(ValueError, match="takes the modalities rgb, flow, got rgb"):
        model({"rgb": clips["rgb"]})
    with pytest.raises(ValueError, match="as many clips of each modality"):
        model({"rgb": clips["rgb"], "flow": clips["flow"][:1]})
    with pytest.raises(ValueError, match=r"takes clips of \(batch, 20, frames"):
        model({"rgb": clips["rgb"], "flow": clips["rgb"]})
    with pytest.raises(ValueError, match="flow_weight must be above 0"):
        tiny("two_stream_vggm", flow_weight=0)
    with pytest.raises(ValueError, match="flow_weight must be above 0"):
        tiny("two_stream_vggm", flow_weight=float("nan"))
    for name in PAIRS:
        with pytest.raises(TypeError, match="in_channels"):
            tiny(name, in_channels=2)


# --- losses where they belong ---------------------------------------------------------------------


def test_in_training_each_stream_learns_as_if_alone() -> None:
    model = tiny("two_stream_vggm")
    clips, labels = clips_of(model), torch.tensor([0, 3])
    joint_BK, answers = score_clips(model, clips)
    assert torch.allclose(joint_BK, model(clips), atol=1e-6)
    sum((weight * F.cross_entropy(logits, labels) for weight, logits in answers), torch.zeros(())).backward()
    for part in ("rgb", "flow"):
        alone = getattr(tiny("two_stream_vggm"), part)
        F.cross_entropy(alone(clips[part]), labels).backward()
        together = dict(getattr(model, part).named_parameters())
        for key, parameter in alone.named_parameters():
            assert torch.allclose(together[key].grad, parameter.grad, atol=1e-7), key


def two_datasets(names: tuple[int, int]) -> tuple[Head, Head]:
    first, second = names
    return (
        Head("ucf101", 0, first, "class", tuple(f"u{number}" for number in range(first))),
        Head("hmdb51", first, first + second, "class", tuple(f"h{number}" for number in range(second))),
    )


def test_multi_task_gradients_are_only_where_they_belong() -> None:
    """Section 6: a softmax layer for each dataset on one temporal network, a loss where the video belongs."""
    heads = two_datasets((3, 2))
    clips = clips_of(tiny("two_stream_temporal_vggm"), 4)
    target_BK = F.one_hot(torch.tensor([0, 2, 3, 4]), 5).float()

    def gradients(rows: list[int]) -> dict[str, Tensor]:
        """Of the summed loss of some of the clips: the first two are of UCF-101, the others of HMDB-51."""
        model = tiny("two_stream_temporal_vggm")
        owner_BN = F.one_hot(torch.tensor([0, 0, 1, 1]), 2).float()
        heads_loss(model(clips[rows]), target_BK[rows], owner_BN[rows], heads, LossConfig()).backward()
        return {key: parameter.grad for key, parameter in model.named_parameters()}

    first, second, both = gradients([0, 1]), gradients([2, 3]), gradients([0, 1, 2, 3])
    assert first["head.weight"][:3].any()
    assert not first["head.weight"][3:].any()
    assert not first["head.bias"][3:].any()
    assert second["head.weight"][3:].any()
    assert not second["head.weight"][:3].any()
    for key, gradient in both.items():
        assert torch.allclose(gradient, first[key] + second[key], atol=1e-6), "the trunk learns from both"
    assert first["trunk.conv1.weight"].any()
    assert second["trunk.conv1.weight"].any()


def test_a_softmax_of_one_dataset_does_not_see_the_others_classes() -> None:
    heads = two_datasets((3, 2))
    model, clips = tiny("two_stream_temporal_vggm"), clips_of(tiny("two_stream_temporal_vggm"), 1)
    found = heads_loss(model(clips), torch.eye(5)[1:2], torch.tensor([[1.0, 0.0]]), heads, LossConfig())
    alone = cut_head(model, heads[0])
    assert alone.num_classes == 3
    assert torch.allclose(found, F.cross_entropy(alone(clips), torch.tensor([1])), atol=1e-6)


def test_a_pair_is_cut_as_well() -> None:
    heads = two_datasets((3, 2))
    model = tiny("two_stream_vggm")
    clips = clips_of(model)
    cut = cut_head(model, heads[1])
    assert cut.class_names == ("h0", "h1")
    with torch.no_grad():
        whole, part = model.forward_heads(clips), cut.forward_heads(clips)
    for name in ("rgb", "flow"):
        assert torch.allclose(part[name], whole[name][:, 3:], atol=1e-7)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torchvisions_vgg16_into_both_streams() -> None:
    torch.manual_seed(0)
    images = torchvision.models.vgg16(num_classes=7).eval()
    model = create_model("two_stream_vgg16", num_classes=7).eval()
    assert isinstance(model, TwoStream)
    report = inflate(model, images.state_dict())
    assert report.resized == ("flow.trunk.conv1_1.weight",)
    assert not {key for key in report.left if ".head." not in key}
    frame = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        feature = model.rgb.trunk(frame)
        assert torch.allclose(feature, images.features[:30](frame), atol=1e-4)
        first = model.flow.trunk.get_submodule("conv1_1").weight
        assert torch.allclose(first, images.features[0].weight.mean(1, keepdim=True).expand_as(first))


@pytest.mark.parametrize("kind", ["resnet50", "inception"])
def test_other_trunks_from_images(kind: str) -> None:
    model = create_model(f"two_stream_spatial_{kind}", num_classes=6)
    assert isinstance(model, Stream)
    images = (
        torchvision.models.resnet50(num_classes=6)
        if kind == "resnet50"
        else torchvision.models.googlenet(num_classes=6, aux_logits=False, init_weights=False)
    )
    report = inflate(model, images.state_dict())
    assert report.left == ()
    assert report.resized == ()
