"""TSN: the identities of the consensus, the modalities, one segment against the trunk, public files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from made_weights import all_by_the_rule, by_the_rule
from torch import Tensor, nn

from vadis.config import DataConfig, ModelConfig, Recipe
from vadis.models import VideoModel, create_model, weights
from vadis.models.conversion import expected_shapes
from vadis.models.inflate import InflationError, boring_video_difference, image_name, inflate
from vadis.models.layouts import LAYOUTS, Imported, LayoutError, to_ours
from vadis.models.tsn import Consensus, Tsn
from vadis.training.optimisers import set_training
from vadis.training.start import build_network

GOLDEN = Path(__file__).parent / "golden" / "parity"
VOTES = ("average", "max", "weighted", "top_k", "attention")


def made(name: str = "tsn_r18", **options: Any) -> Tsn:
    torch.manual_seed(0)
    model = create_model(name, tiny=True, num_classes=5, **options)
    assert isinstance(model, Tsn)
    return model.eval()


def snippets(model: VideoModel, frames: int, batch: int = 2) -> Tensor:
    shape = (batch, model.spec.channels, frames, 48, 48)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def vote(kind: Any, logits_BTK: Tensor, **options: Any) -> Tensor:
    """A consensus on hand-made scores; the features are the numbers of the snippets."""
    layer = Consensus(kind, num_segments=logits_BTK.shape[1], num_features=1, **options)
    feature = torch.arange(float(logits_BTK.shape[1])).expand(logits_BTK.shape[:2]).unsqueeze(2)
    return layer(logits_BTK, feature)


# --- the consensus --------------------------------------------------------------------------------


def test_the_votes_by_hand() -> None:
    scores = torch.tensor([[[1.0, 8.0], [4.0, 2.0], [7.0, -1.0]]])
    assert vote("average", scores).tolist() == [[4.0, 3.0]]
    assert vote("max", scores).tolist() == [[7.0, 8.0]], "of each class by itself"
    assert vote("top_k", scores, top_k=2).tolist() == [[5.5, 5.0]]
    for same in ("weighted", "attention"):
        torch.testing.assert_close(vote(same, scores), vote("average", scores), msg="the average at first")
    attention = Consensus("attention", num_segments=3, num_features=1)
    nn.init.constant_(attention.attention.weight, 50.0)
    found = attention(scores, torch.tensor([[[0.0], [2.0], [1.0]]]))
    torch.testing.assert_close(found, scores[:, 1], msg="it looks at the snippet it likes best")
    weighted = Consensus("weighted", num_segments=3, num_features=1)
    with torch.no_grad():
        weighted.weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
    assert weighted(scores, scores).tolist() == [[18.0, 0.0]]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_each_snippet_gets_its_share_of_the_gradient(count: int) -> None:
    """1/K of the average; of the maximum all or nothing; 1/k of the best k."""
    scores = torch.randn(2, count, 4, requires_grad=True)

    def gradient(kind: str, **options: Any) -> Tensor:
        return torch.autograd.grad(vote(kind, scores, **options).sum(), scores)[0]

    torch.testing.assert_close(gradient("average"), torch.full((2, count, 4), 1 / count))
    torch.testing.assert_close(gradient("weighted"), gradient("average"))
    torch.testing.assert_close(gradient("top_k", top_k=count), gradient("average"))
    torch.testing.assert_close(gradient("top_k", top_k=1), gradient("max"))
    assert torch.equal(gradient("max").sum(1), torch.ones(2, 4))
    assert set(gradient("max").flatten().tolist()) <= {0.0, 1.0}


def test_learned_weights_reach_over_other_numbers_of_snippets() -> None:
    layer = Consensus("weighted", num_segments=3, num_features=1)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([0.1, 0.3, 0.6]))
        same = torch.ones(1, 25, 1)
        assert layer(same, same).item() == pytest.approx(1.0, abs=1e-6), "their sum stays"
        early, late = torch.zeros(1, 25, 1), torch.zeros(1, 25, 1)
        early[:, 0], late[:, -1] = 1.0, 1.0
        assert layer(late, late).item() == pytest.approx(6 * layer(early, early).item(), rel=1e-5)
        half = torch.tensor([[[1.0], [0.0]]])  # of two snippets, the first sees the first and half the second
        assert layer(half, half).item() == pytest.approx(0.1 + 0.15)


@pytest.mark.parametrize("consensus", VOTES)
def test_tsn_of_one_segment_is_its_trunk(consensus: Any) -> None:
    model = made("tsn_bninception", consensus=consensus, num_segments=1)
    frame = snippets(model, 1)
    with torch.no_grad():
        wanted = model.head(model.trunk(frame[:, :, 0]).mean((2, 3)))
        torch.testing.assert_close(model(frame), wanted)
        torch.testing.assert_close(model.forward_dense(frame)[:, 0], wanted)


@pytest.mark.parametrize("consensus", VOTES)
def test_the_consensus_of_what_the_snippets_score_alone(consensus: Any) -> None:
    model = made(consensus=consensus)
    clip = snippets(model, 3)
    with torch.no_grad():
        alone = torch.stack([model.forward_dense(clip[:, :, t : t + 1])[:, 0] for t in range(3)], 1)
        feature = model.forward_features(clip).mean((3, 4)).transpose(1, 2)
        torch.testing.assert_close(model.forward_dense(clip), alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(clip), model.consensus(alone, feature), rtol=1e-4, atol=1e-5)
        assert model(snippets(model, 25)).shape == (2, 5), "as many as a test takes"


@pytest.mark.parametrize("consensus", VOTES)
def test_every_vote_learns(consensus: Any) -> None:
    model = made(consensus=consensus, dropout=0.0).train()
    loss = nn.functional.cross_entropy(model(snippets(model, 3)), torch.tensor([0, 1]))
    loss.backward()
    for name, parameter in model.consensus.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# --- modalities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "modality", "channels", "std", "dropout"),
    [
        ({}, "rgb", 3, 1.0, 0.8),
        ({"in_channels": 2}, "flow", 10, 1 / 127.5, 0.7),
        ({"modality": "flow", "stack": 10}, "flow", 20, 1 / 127.5, 0.7),
        ({"in_channels": 2, "modality": "warped_flow"}, "warped_flow", 10, 1 / 127.5, 0.7),
        ({"modality": "rgb_diff"}, "rgb_diff", 15, 1.0, 0.7),
        ({"dropout": 0.4}, "rgb", 3, 1.0, 0.4),
    ],
)
def test_modalities(
    options: dict[str, Any], modality: str, channels: int, std: float, dropout: float
) -> None:
    model = made("tsn_bninception", **options)
    spec = model.spec
    assert (spec.modality, spec.channels, model.dropout.p) == (modality, channels, dropout)
    assert spec.std == pytest.approx((std,) * len(spec.std))
    assert (spec.sampling, spec.num_frames, spec.test_frames) == ("segments", 3, 25)
    assert spec.channel_order == ("rgb" if "flow" in modality else "bgr")
    assert any(spec.mean) == (modality == "rgb")
    assert model(snippets(model, 3)).shape == (2, 5)


def test_flow_has_the_range_of_pixels() -> None:
    """Twenty pixels of flow are as far from zero as white from grey after normalisation."""
    assert made(in_channels=2).spec.std[0] == pytest.approx(2 * np.mean([0.229, 0.224, 0.225]))
    assert made(in_channels=2, pixels="mmaction2").spec.std == (1.0, 1.0)
    assert made(pixels="mmaction2").spec == made().spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "audio"}, "modality must be one of rgb, flow, warped_flow, rgb_diff"),
        ({"modality": "rgb_diff", "in_channels": 2}, "one of flow, warped_flow with in_channels=2"),
        ({"consensus": "majority"}, "consensus must be one of average, max"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"num_segments": 0}, "num_frames, frame_stride, stack"),
        ({"stack": 3}, "a snippet of RGB is one frame, got stack=3"),
        ({"stack": 0, "modality": "flow"}, "at least one field or difference, got stack=0"),
        ({"pixels": "caffe"}, "pixels must be trunk or mmaction2, got 'caffe'"),
        (
            {"in_channels": 10},
            "of one picture, got 10: how many lie in a snippet is `stack`",
        ),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_rgb_weights_for_a_stack_are_averaged_and_repeated(tmp_path: Path) -> None:
    rgb = made("tsn_bninception")
    weights.save_model(rgb, tmp_path / "rgb.safetensors")
    for options in ({"in_channels": 2}, {"modality": "rgb_diff"}, {"modality": "warped_flow"}):
        other = create_model("tsn_bninception", tmp_path / "rgb.safetensors", **options)
        first, theirs = other.get_parameter(other.input_weights[0]), rgb.get_parameter(rgb.input_weights[0])
        assert first.shape[1] == other.spec.channels
        torch.testing.assert_close(first, theirs.mean(1, keepdim=True).expand_as(first))
        assert other.spec.modality != "rgb"


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    model = made("tsn_bninception")
    set_training(model, "first_learns")
    learning = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    assert learning == ["trunk.conv1.bn"]


# --- image weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tsn_r18", "tsn_r50"])
def test_from_an_image_network_it_scores_as_that_does(name: str) -> None:
    torch.manual_seed(0)
    network = torchvision.models.get_model(image_name(name), num_classes=5)
    for buffer in network.buffers():
        if buffer.ndim:
            nn.init.uniform_(buffer, 0.5, 1.5)
    model = create_model(name, num_classes=5)
    report = inflate(model, network.state_dict())
    assert (report.left, report.unused, report.inflated) == ((), (), ())
    image = torch.randn(1, 3, 64, 64)
    assert boring_video_difference(model, network, image) < 1e-5
    flow = create_model(name, num_classes=7, in_channels=2)
    report = inflate(flow, network.state_dict())
    assert report.resized == ("trunk.stem.conv.weight",)
    assert set(report.left) == {"head.weight", "head.bias"}
    first = flow.get_parameter("trunk.stem.conv.weight")
    torch.testing.assert_close(first, network.conv1.weight.mean(1, keepdim=True).expand_as(first))


def test_bn_inception_starts_from_a_file_of_the_authors() -> None:
    """Batch norm is of 1 x C in the files of the first PyTorch."""
    assert image_name("tsn_bninception") == "bninception"
    document = json.loads((GOLDEN / "tsn_bninception.json").read_text())
    theirs = {key: torch.from_numpy(by_the_rule(key, shape)) for key, shape in document["state"]}
    old = {key: value[None] if "_bn." in key and value.ndim else value for key, value in theirs.items()}
    model = create_model("tsn_bninception", num_classes=1000)
    report = inflate(model, old)
    assert (report.left, report.unused) == ((), ())
    assert torch.equal(model.head.weight, theirs["fc.weight"])
    assert torch.equal(
        model.get_parameter("trunk.inception4e.three.bn.weight"), theirs["inception_4e_3x3_bn.weight"]
    )
    del old["inception_3a_1x1.bias"]
    with pytest.raises(InflationError, match=r"weights of bninception.*inception_3a_1x1\.bias"):
        inflate(model, old)


# --- public files ---------------------------------------------------------------------------------


def imported(name: str, arrays: dict[str, np.ndarray]) -> Imported:
    def shapes(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        return expected_shapes(name, num_classes, options)

    return to_ours(arrays, name, LAYOUTS, shapes)


@pytest.mark.slow
def test_the_authors_bn_inception(tmp_path: Path) -> None:
    """Three frames through the importer and TSN: each snippet's scores are the authors' network's."""
    document = json.loads((GOLDEN / "tsn_bninception.json").read_text())
    state = all_by_the_rule(document["state"], document["weight_scale"])
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, tmp_path / "theirs.pt")
    weights.import_checkpoint(tmp_path / "theirs.pt", "tsn_bninception", out=tmp_path / "ours.safetensors")
    assert weights.load(tmp_path / "ours.safetensors").metadata["layout"] == "bninception"
    model = create_model("tsn_bninception", tmp_path / "ours.safetensors").eval()
    assert sum(map(Tensor.numel, model.parameters())) == document["params"] == 11_295_240
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    clip = torch.from_numpy(noise).transpose(0, 1)[None]
    wanted = np.array(document["output"]).reshape(3, 1000)
    with torch.inference_mode():
        dense, voted = model.forward_dense(clip)[0].numpy(), model(clip)[0].numpy()
    difference = float(np.abs(dense - wanted).max() / wanted.std())
    print(f"differs by {difference:.1e} of the output's standard deviation")
    assert difference < 1e-4
    assert np.abs(voted - wanted.mean(0)).max() < 1e-4 * wanted.std()


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (3, {}),
        (10, {"in_channels": 2}),
        (20, {"in_channels": 2, "stack": 10}),
        (15, {"modality": "rgb_diff"}),
    ],
)
@pytest.mark.parametrize("classifier", ["new_fc", "base_model.fc"])
def test_tsn_pytorch(channels: int, options: dict[str, Any], classifier: str) -> None:
    document = json.loads((GOLDEN / "tsn_bninception.json").read_text())
    theirs = {f"module.base_model.{key}": tuple(shape) for key, shape in document["state"]}
    theirs["module.base_model.conv1_7x7_s2.weight"] = (64, channels, 7, 7)
    for leaf, shape in (("weight", (101, 1024)), ("bias", (101,))):
        del theirs[f"module.base_model.fc.{leaf}"]
        theirs[f"module.{classifier}.{leaf}"] = shape
    found = imported("tsn_bninception", {k: np.zeros(s, np.float32) for k, s in theirs.items()})
    assert (found.layout, found.options, found.num_classes) == ("tsn_pytorch", options, 101)
    del theirs["module.base_model.inception_5b_1x1_bn.bias"]
    with pytest.raises(LayoutError, match=r"1 keys are missing: trunk\.inception5b\.one\.bn\.bias"):
        imported("tsn_bninception", {k: np.zeros(s, np.float32) for k, s in theirs.items()})


@pytest.mark.parametrize("name", ["tsn_r18", "tsn_r50", "tsn_r101"])
def test_tsn_pytorch_resnets(name: str) -> None:
    """The same answer as torchvision's network, whose keys these are."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(image_name(name), num_classes=11).eval()
    theirs = {
        ("module.new_fc." if key.startswith("fc.") else "module.base_model.") + key.removeprefix("fc."): value
        for key, value in network.state_dict().items()
    }
    found = imported(name, {key: value.numpy() for key, value in theirs.items()})
    assert (found.layout, found.options, found.num_classes) == ("tsn_pytorch_resnet", {}, 11)
    if name == "tsn_r101":
        return
    model = create_model(name, num_classes=11).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in found.arrays.items()}, strict=False)
    frames = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        dense = model.forward_dense(frames.transpose(0, 1)[None])[0]
        torch.testing.assert_close(dense, network(frames), rtol=1e-4, atol=1e-4)


def as_mmaction2(key: str) -> str:
    """mmaction2's spelling of torchvision's key, as its ConvModules nest."""
    if key.startswith("fc."):
        return f"cls_head.fc_cls.{key.removeprefix('fc.')}"
    stem, _, leaf = key.rpartition(".")
    block, _, layer = stem.rpartition(".")
    before = f"backbone.{block}." if block else "backbone."
    if block.endswith("downsample"):
        return f"{before}{'conv' if layer == '0' else 'bn'}.{leaf}"
    if layer.startswith("bn"):
        return f"{before}conv{layer.removeprefix('bn')}.bn.{leaf}"
    return f"{before}{layer}.conv.{leaf}"


@pytest.mark.parametrize(("channels", "options"), [(3, {}), (10, {"in_channels": 2, "pixels": "mmaction2"})])
def test_mmaction2(channels: int, options: dict[str, Any]) -> None:
    state = torchvision.models.resnet50(num_classes=400).state_dict()
    theirs = {as_mmaction2(key): np.zeros(value.shape, np.float32) for key, value in state.items()}
    assert "backbone.layer3.5.conv2.bn.running_var" in theirs
    theirs["backbone.conv1.conv.weight"] = np.zeros((64, channels, 7, 7), np.float32)
    found = imported("tsn_r50", theirs)
    assert (found.layout, found.options, found.num_classes) == ("mmaction2_tsn", options, 400)
    assert create_model("tsn_r50", **found.options).spec.channels == channels
    if channels == 3:
        parameters = sum(value.size for key, value in found.arrays.items() if "running" not in key)
        assert parameters == 24_327_632, "mmaction2's table"


def test_a_run_on_flow_starts_from_images(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    asked: list[str] = []
    monkeypatch.setattr(
        "vadis.models.inflate.load_image_weights",
        lambda source: asked.append(source) or network.state_dict(),
    )
    config = ModelConfig(name="tsn_r18", init="imagenet", dropout=0.7, options={"in_channels": 2})
    model = build_network(Recipe(model=config, data=DataConfig(num_frames=7)), ("walk", "run"))
    assert asked == ["resnet18"]
    assert (model.spec.num_frames, model.spec.channels, model.spec.modality) == (7, 10, "flow")
    torch.testing.assert_close(
        model.get_parameter("trunk.stem.conv.weight"),
        network.conv1.weight.mean(1, True).expand(-1, 10, -1, -1),
    )
    torch.testing.assert_close(
        model.get_parameter("trunk.stages.3.1.conv2.weight"), network.get_parameter("layer4.1.conv2.weight")
    )
