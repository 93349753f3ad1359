"""The contract that every network in the table keeps, and how networks are made by name.

A network joins these tests by its line in `MODELS`. Tiny forms are used, so that all of it is quick; where
the tiny forms of several names are one and the same network, the slower tests take the first of them.
"""

from __future__ import annotations

import csv
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.feature_layers import FeatureNetwork, write_head
from vadis.folding import fold
from vadis.models import MODELS, VideoModel, average_channels, create_model, list_models, model_names
from vadis.models import weights as published
from vadis.models.contract import Clip, Paper, make_clip
from vadis.models.cost import count_parameters, measure_cost
from vadis.specs import ClipSpec, join_specs
from vadis.video.streams import each

CLASSES = 7
BLIND_TO_ORDER: frozenset[str] = frozenset(
    {"fr2d_18", "fr2d_34", "c2d_r50_8x8", "c2d_r50_8x8_nl5", "timesformer_space"}
    | {"deepvideo_single", "deepvideo_multires", "deepvideo_fovea", "deepvideo_context"}
    | {"snippets_conv_pooling", "snippets_late_pooling", "snippets_slow_pooling"}
    | {name for name in MODELS if name.startswith(("two_stream_", "tsn_", "sound_", "aggregate_average"))}
    - {"two_stream_i3d"}
    | {"streams_late", "streams_shifting_attention"}
    | {name for name in MODELS if name.startswith("fused_vgg")}  # fused_vgg16 as it starts
)
"""Networks whose answer does not depend on the order of frames, as their papers say."""

REFERENCE = list(
    csv.DictReader((Path(__file__).parent / "golden" / "architectures.csv").read_text().splitlines())
)
COUNTED = frozenset(row["model"] for row in REFERENCE)


def on_meta(name: str, **options: Any) -> VideoModel:
    """A network without memory: shapes only."""
    with torch.device("meta"):
        return create_model(name, **options).eval()


class Facts(NamedTuple):
    """Of a tiny form: its structure and input; what code it runs, whatever the sizes; whether it is dense."""

    structure: str
    kind: object
    dense: bool


def facts_of(name: str) -> Facts:
    """Build the tiny form without memory and look at it."""
    model = on_meta(name, tiny=True)
    kind = (type(model), frozenset(type(module) for module in model.modules()))
    return Facts(f"{model} {model.spec}", kind, hasattr(model, "forward_dense"))


FACTS = {name: facts_of(name) for name in list_models()}


def first_of_each(facts: Iterable[tuple[str, object]]) -> list[str]:
    """Of the names with the same fact, the first."""
    first: dict[object, str] = {}
    for name, fact in facts:
        first.setdefault(fact, name)
    return sorted(first.values())


EVERY = pytest.mark.parametrize("name", list_models())
DISTINCT = pytest.mark.parametrize("name", first_of_each((n, f.structure) for n, f in FACTS.items()))
"""One name for each structure and input."""

KINDS = pytest.mark.parametrize("name", first_of_each((n, f.kind) for n, f in FACTS.items()))
"""One name for each kind of code."""

FILES = pytest.mark.parametrize("name", first_of_each((n, MODELS[n].__module__) for n in FACTS))
"""One name for each file, for what takes the compiler's seconds."""


def tiny_model(name: str, num_classes: int = CLASSES, **options: object) -> VideoModel:
    """The tiny form with seeded weights, for testing: nothing in it is zero or as it was initialised.

    Running statistics are unlike the initial ones, and what starts at zero (the last batch norm of a
    residual branch, a temporal projection) does something.
    """
    torch.manual_seed(0)
    model = create_model(name, num_classes=num_classes, tiny=True, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def without_chance(model: nn.Module) -> nn.Module:
    """The same network with dropout and stochastic depth switched off, for training in tests."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "probability"):
            module.probability = 0.0
    return model


def random_clip(
    spec: ClipSpec,
    batch: int = 1,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Any:
    """Noise of a shape that the tiny form takes; by name where it takes several."""
    if spec.parts:
        return {name: random_clip(part, batch, frames, height, width) for name, part in spec.parts.items()}
    frames = min(spec.num_frames, 16) if frames is None else frames
    generator = torch.Generator().manual_seed(1)
    shape = (batch, spec.channels, frames, height or min(spec.height, 64), width or min(spec.width, 64))
    if spec.modality == "features":
        shape = (*shape[:3], 1, 1)
    elif spec.sound is not None and height is None:
        shape = (*shape[:3], spec.height, spec.width)
    return torch.rand(shape, generator=generator) * 2 - 1


def changed(function: Callable[[Tensor], Tensor], clip: Clip) -> Any:
    """The clip with `function` of each of its tensors."""
    return each(function, clip)  # type: ignore[arg-type]


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    found, wanted = found.detach().float(), wanted.detach().float()
    return float((found - wanted).abs().max() / wanted.abs().max())


@EVERY
def test_shapes(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec, batch=2)
    with torch.no_grad():
        logits, feature = model(clip), model.forward_features(clip)
    assert logits.shape == (2, CLASSES)
    for map_BDTHW in feature.values() if isinstance(feature, dict) else [feature]:
        assert map_BDTHW.ndim == 5
        assert map_BDTHW.shape[0] == 2
    assert logits.isfinite().all()
    assert logits.std() > 1e-3
    assert isinstance(model.spec, ClipSpec)
    assert model.name == name
    assert model.num_classes == CLASSES
    assert model.class_names is None
    assert model.weights_sha256 is None
    assert set(model.input_weights) <= model.state_dict().keys()
    for head in model.heads:
        assert model.state_dict()[f"{head}.weight"].shape[0] == CLASSES
    assert model.heads == ("head",) or isinstance(feature, dict), "streams that meet only in their scores"
    assert count_parameters(model) < 500_000, "tiny forms are for quick tests"


@EVERY
def test_its_function_has_its_name_and_its_file_a_paper(name: str) -> None:
    assert MODELS[name].__name__ == name
    module = __import__(MODELS[name].__module__, fromlist=["PAPERS"])
    assert module.PAPERS
    assert all(isinstance(paper, Paper) and paper.title and paper.idea for paper in module.PAPERS)
    known = {result.model for paper in module.PAPERS for result in paper.results}
    for model in itertools.chain.from_iterable(names.split() for names in known):
        assert model in MODELS, f"a published result is given for {model}, which is no network"


@EVERY
def test_every_name_is_the_default_build_of_its_function(name: str) -> None:
    for num_classes in (400, 11):
        assert on_meta(name, num_classes=num_classes, tiny=True).num_classes == num_classes
    if name not in COUNTED:
        assert on_meta(name).num_classes == 400


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.dense])
def test_dense_logits_average_to_the_logits(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec, frames=32)
    with torch.no_grad():
        dense = model.forward_dense(clip)
        assert dense.shape[::2] == (1, CLASSES)
        assert dense.shape[1] > 1
        assert torch.allclose(dense.mean(1), model(clip), atol=1e-5)
        assert dense.std(dim=1).max() > 1e-3, "positions in time must differ"


@EVERY
def test_reset_head(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        feature = model.forward_features(clip)
        model.class_names = ("a",) * CLASSES
        model.reset_head(3)
        assert model(clip).shape == (1, 3)
        again = model.forward_features(clip)
        assert type(again) is type(feature)
        for name_of_part, wanted in feature.items() if isinstance(feature, dict) else [("", feature)]:
            found = again[name_of_part] if isinstance(again, dict) else again
            assert torch.equal(found, wanted), "only the head may change"
    assert (model.num_classes, model.class_names) == (3, None)
    with pytest.raises(ValueError, match="num_classes"):
        model.reset_head(0)
    shadow = on_meta(name, tiny=True)
    shadow.reset_head(5)
    assert {parameter.device.type for parameter in shadow.parameters()} == {"meta"}


@DISTINCT
def test_the_head_is_last(name: str) -> None:
    """The logits are linear in the layer "head_input", so that learning a new last layer is a regression."""
    model = tiny_model(name)
    if model.spec.parts:
        pytest.skip("features are of one tensor")
    assert model.head_last
    clip = random_clip(model.spec, batch=2, frames=3 if model.spec.num_frames == 1 else None)
    with torch.no_grad():
        feature_BD = FeatureNetwork(model, "head_input")(clip)
        weight_KD, bias_K = torch.randn(4, feature_BD.shape[1]), torch.randn(4)
        write_head(model, weight_KD, bias_K, tuple("abcd"))
        assert relative(feature_BD @ weight_KD.T + bias_K, model(clip)) < 1e-4


@DISTINCT
def test_each_parameter_gets_a_gradient(name: str) -> None:
    model = without_chance(tiny_model(name).train())
    loss = F.cross_entropy(model(random_clip(model.spec, batch=2)), torch.tensor([0, 1]))
    loss.backward()
    without = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert without == []


@DISTINCT
def test_two_at_once_are_each_alone(name: str) -> None:
    model = tiny_model(name)
    clips = random_clip(model.spec, batch=2)
    before = changed(torch.clone, clips)
    with torch.no_grad():
        together = model(clips)
        alone = torch.cat([model(changed(lambda x: x[:1], clips)), model(changed(lambda x: x[1:], clips))])
    assert relative(together, alone) < 1e-5
    assert relative(together[:1], together[1:]) > 1e-3, "two clips must not give one answer"
    for name_of_part, tensor in clips.items() if isinstance(clips, dict) else [("", clips)]:
        kept = before[name_of_part] if isinstance(before, dict) else before
        assert torch.equal(tensor, kept), "a network does not write into its input"


@DISTINCT
def test_the_same_again(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        first = model(clip)
        assert torch.equal(model(clip), first)
        assert torch.equal(tiny_model(name)(clip), first), "one seed, one network"


@DISTINCT
def test_channels_matter_in_their_order(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        logits = model(clip)
        shapes = [part.shape for part in (clip.values() if isinstance(clip, dict) else [clip])]
        if max(shape[1] for shape in shapes) > 1:
            assert relative(model(changed(lambda x: x.flip(1), clip)), logits) > 1e-3
        if max(shape[4] for shape in shapes) > 1:
            assert relative(model(changed(lambda x: x.flip(4), clip)), logits) > 1e-4, "so do left and right"
        backwards = relative(model(changed(lambda x: x.flip(2), clip)), logits)
    if name in BLIND_TO_ORDER or max(shape[2] for shape in shapes) == 1:
        assert backwards < 1e-5
    else:
        assert backwards > 1e-4, "so does time"


@EVERY
def test_on_the_meta_device(name: str) -> None:
    for tiny in (True, False) if name not in COUNTED else (True,):
        model = on_meta(name, tiny=tiny)
        logits = model(make_clip(model.spec, 2, fill=torch.empty, device="meta"))
        assert {value.device.type for value in model.state_dict().values()} == {"meta"}
        assert logits.shape == (2, model.num_classes)


@EVERY
def test_flow_goes_in_as_well(name: str) -> None:
    modality = on_meta(name, tiny=True).spec.modality
    if modality != "rgb":
        pytest.skip(f"takes {modality} anyhow")
    model = on_meta(name, tiny=True, in_channels=2)
    spec = model.spec
    assert (spec.modality, spec.channels, spec.value_range) == ("flow", 2 * spec.stack, (-1.0, 1.0))
    assert all(model.state_dict()[key].shape[1] % 2 == 0 for key in model.input_weights)
    assert model(random_clip(model.spec).to("meta")).shape == (1, 400)
    with pytest.raises(ValueError, match="in_channels must be 3"):
        create_model(name, tiny=True, in_channels=5)


@DISTINCT
def test_bfloat16(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        wanted = model(clip)
        found = model.to(torch.bfloat16)(changed(lambda x: x.to(torch.bfloat16), clip))
    assert found.dtype == torch.bfloat16
    assert relative(found, wanted) < 0.1


@DISTINCT
def test_channels_last(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        wanted = model(clip)
        for kind, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):  # images, clips
            for parameter in model.parameters():
                if parameter.ndim == kind:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        found = model(changed(lambda x: x.contiguous(memory_format=torch.channels_last_3d), clip))
    assert relative(found, wanted) < 1e-5


@DISTINCT
def test_safetensors_round_trip(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    file = tmp_path / "tiny.safetensors"
    published.save_model(model, file)
    torch.manual_seed(1)
    other = create_model(name, weights=file).eval()
    assert (other.spec, other.num_classes) == (model.spec, CLASSES)
    clip = random_clip(model.spec)
    with torch.no_grad():
        assert torch.equal(other(clip), model(clip))
        fresh = tiny_model(name)
        fresh.load_state_dict(safetensors.torch.load_file(file), strict=True)
        assert torch.equal(fresh(clip), model(clip))


@DISTINCT
def test_folded_for_speed_it_says_the_same(name: str) -> None:
    """What `vadis predict` runs: batch norm folded into convolutions, oneDNN underneath."""
    model = tiny_model(name)
    if model.spec.parts:
        pytest.skip("networks of several modalities run as they are written")
    clip = random_clip(model.spec)
    folded = fold(model, clip.shape)
    with torch.no_grad():
        assert relative(folded(clip), model(clip)) < 1e-4


@pytest.mark.slow
@FILES
def test_export(name: str) -> None:
    model = tiny_model(name)
    clip = random_clip(model.spec)
    program = torch.export.export(model, (clip,))
    with torch.no_grad():
        assert relative(program.module()(clip), model(clip)) < 1e-5


@pytest.mark.slow
@FILES
def test_compiles_to_one_graph(name: str) -> None:
    """Forward and backward through the tracer, no graph break; the real compiler is another test."""
    torch._dynamo.reset()
    model = without_chance(tiny_model(name))
    clip = random_clip(model.spec)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    if any(isinstance(module, nn.LSTM) for module in model.modules()):
        # PyTorch's tracer fails on the way back through an LSTM whose input needs no gradient
        clip = changed(Tensor.requires_grad_, clip)
    with torch._dynamo.config.patch(allow_rnn=True):  # LSTMs, which it leaves out by itself
        found = compiled(clip)
    wanted = model(clip)
    assert relative(found, wanted) < 1e-5
    found.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    wanted.square().sum().backward()
    others = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    largest = max(float(gradient.abs().max()) for gradient in others)
    assert len(gradients) == len(others) > 0
    for gradient, other in zip(gradients, others, strict=True):
        assert float((gradient - other).abs().max()) < 1e-4 * largest


COMPILED = [
    name
    for name in (
        "i3d_inception",
        "r2plus1d_18",
        "s3d",
        "slowfast_r50_8x8",
        "timesformer_divided",
        "lgd_p3d_r50",
    )
    if name in MODELS
]
"""One of each kind of operation, for the real compiler, which takes most of a minute for each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_the_real_compiler(name: str) -> None:
    torch._dynamo.reset()
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        assert relative(torch.compile(model, fullgraph=True)(clip), model(clip)) < 1e-4


@KINDS
@pytest.mark.parametrize("size", [(17, 65, 47), (10, 33, 90), (9, 32, 32)])
def test_odd_sizes_run_or_are_refused(name: str, size: tuple[int, int, int]) -> None:
    """A network takes a size or says in words which it takes; it does not fail inside a layer."""
    model = tiny_model(name)
    if model.spec.modality == "features":
        pytest.skip("features have no size")
    clip = random_clip(model.spec, 1, *size)
    with torch.no_grad():
        try:
            logits = model(clip)
        except ValueError as error:
            refusal = str(error)
            logits = None
    if logits is None:
        assert "takes" in refusal
        assert any(str(number) in refusal for number in size), "the message tells what came"
        return
    assert logits.shape == (1, CLASSES)
    assert logits.isfinite().all()


@EVERY
def test_the_shortest_clip(name: str) -> None:
    model = on_meta(name, tiny=True)
    shortest = changed(lambda x: x.to("meta"), random_clip(model.spec, frames=model.min_frames))
    assert model(shortest).shape == (1, 400)
    if model.min_frames > 1:
        with pytest.raises(ValueError, match=r"takes|scores"):
            model(changed(lambda x: x[:, :, 1:], shortest))


@EVERY
def test_a_clip_of_another_kind_is_named(name: str) -> None:
    model = on_meta(name, tiny=True)
    clip = changed(lambda x: x.to("meta"), random_clip(model.spec))
    channels = "|".join(str(shape[0]) for shape in model.spec.shapes.values())
    with pytest.raises(ValueError, match=rf"\(batch, ({channels}), frames, height, width\)"):
        model(changed(lambda x: torch.cat([x, x], 1), clip))
    with pytest.raises(ValueError, match="height, width"):
        model(changed(lambda x: x[0], clip))
    with pytest.raises(ValueError, match="empty batch"):
        model(changed(lambda x: x[:0], clip))
    if isinstance(clip, dict):
        last = list(clip)[-1]
        with pytest.raises(ValueError, match=rf"takes the modalities .*{last}, got"):
            model({key: value for key, value in clip.items() if key != last})
        with pytest.raises(ValueError, match="takes a dict"):
            model(clip[last])
        with pytest.raises(ValueError, match="as many clips of each"):
            model({**clip, last: torch.cat([clip[last]] * 2)})


@pytest.mark.gpu
@DISTINCT
def test_the_same_on_a_gpu(name: str) -> None:
    device = "cuda" if torch.cuda.is_available() else "mps"
    model = tiny_model(name)
    clip = random_clip(model.spec)
    with torch.no_grad():
        wanted = model(clip)
        there = changed(lambda x: x.to(device), clip)
        found = model.to(device)(there).cpu()
        with torch.autocast(device, torch.bfloat16):
            rough = model(there).float().cpu()
    assert relative(found, wanted) < 1e-2  # TF32 and other orders of summation
    assert relative(rough, wanted) < 0.1


# --- they learn -----------------------------------------------------------------------------------

LEARNING_STEPS = 60
LEARNED = 0.1
"""Sixteen clips of four classes: after so many steps, cross-entropy below this (chance: 1.39)."""


def made_clips(spec: ClipSpec, frames: int, side: int) -> tuple[Any, Tensor]:
    """Sixteen clips of four classes, and labels: a bright square wanders to one of four sides, in noise.

    A single picture shows where it arrives; of features, a number in four grows.
    """
    labels = torch.arange(16) % 4
    if spec.parts:
        return {name: made_clips(part, frames, side)[0] for name, part in spec.parts.items()}, labels
    generator = torch.Generator().manual_seed(2)
    if spec.modality == "features":
        clips = 0.3 * torch.randn((16, spec.channels, frames, 1, 1), generator=generator)
        for clip, label in zip(clips, labels.tolist(), strict=True):
            clip[label::4] += torch.linspace(0, 6, frames)[:, None, None]
        return clips, labels
    height, width = (spec.height, spec.width) if spec.sound is not None else (side, side)
    clips = 0.3 * torch.randn((16, spec.channels, frames, height, width), generator=generator)
    for clip, label in zip(clips, labels.tolist(), strict=True):
        for frame in range(frames):
            share = frame / (frames - 1) if frames > 1 else 1.0
            share = share if label % 2 else -share
            down, right = (share, 0.0) if label < 2 else (0.0, share)
            top, left = (
                round((length - length // 4) * (1 + moved) / 2)
                for length, moved in ((height, down), (width, right))
            )
            clip[:, frame, top : top + height // 4, left : left + width // 4] += 2.0
    return clips, labels


def small_sizes(model: VideoModel) -> Iterator[tuple[int, int]]:
    """Frames and pixels to try, small first; the last is what the tiny form is made for."""
    if model.spec.num_frames > 1 and model.spec.sound is None:
        yield max(8, model.min_frames), 32
    yield min(model.spec.num_frames, 16), min(model.spec.crop, 64)


def takes(name: str, frames: int, side: int) -> bool:
    """Whether the tiny form runs on clips of this size."""
    shadow = on_meta(name, tiny=True)
    sizes = (None, None) if shadow.spec.sound is not None else (side, side)
    try:
        shadow(changed(lambda x: x.to("meta"), random_clip(shadow.spec, 1, frames, *sizes)))
    except ValueError:
        return False
    return True


@pytest.mark.slow
@DISTINCT
def test_it_learns(name: str) -> None:
    torch.manual_seed(0)
    model = without_chance(create_model(name, num_classes=4, tiny=True).train())
    frames, side = next(size for size in small_sizes(model) if takes(name, *size))
    clips, labels = made_clips(model.spec, frames, side)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(LEARNING_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 5)
        loss = F.cross_entropy(model(clips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if loss.item() < LEARNED / 2:
            break
    print(f"{name}: {losses[0]:.2f} to {losses[-1]:.3f} in {len(losses)} steps")
    assert min(losses) < LEARNED


# --- the table and create_model -------------------------------------------------------------------


def test_list_models() -> None:
    assert list_models() == sorted(MODELS) == sorted(model_names)
    assert list_models("*_flow") == [name for name in list_models() if name.endswith("_flow")]
    assert list_models("nothing*") == []
    assert "i3d_inception.k400" in list_models(weights=True)
    assert list_models("i3d_inception.k4*", weights=True)[0] == "i3d_inception.k400"
    assert {name.partition(".")[0] for name in list_models(weights=True)} <= set(MODELS)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        ({"name": "i3d_incepton"}, "'i3d_inception'"),
        ({"name": "i3d_inception_flw"}, "'i3d_inception_flow'"),
        ({"name": "i3d_inception.k40"}, "'k400'"),
        ({"name": "i3d_inception", "weights": "K400"}, "'k400'"),
        ({"name": "i3d_inception", "weights": "i3d_inception.k4000"}, "'k400'"),
    ],
)
def test_a_wrong_name_names_the_nearest(arguments: dict[str, str], nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {nearest}"):
        create_model(**arguments)


def test_weights_named_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        create_model("i3d_inception.k400", weights="k600")


def test_published_weights_are_for_the_full_network() -> None:
    with pytest.raises(ValueError, match="leave out tiny"):
        create_model("i3d_inception.k400", tiny=True)


def test_a_wrong_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="drop_out"):
        create_model("i3d_inception", drop_out=0.1)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, published.LoadedWeights]:
    """Weights of a tiny I3D with 7 classes in place of a file's content."""
    state = tiny_model("i3d_inception").state_dict()
    metadata = {
        "name": "i3d_inception.mine",
        "model": "i3d_inception",
        "num_classes": CLASSES,
        "class_names": list("abcdefg"),
        "spec": {
            "modality": "rgb",
            "num_frames": 32,
            "fps": 24.0,
            "mean": [0.0] * 3,
            "value_range": [-1.0, 1.0],
        },
        "sha256": "5" * 64,
    }
    loaded = published.LoadedWeights(dict(state), metadata)
    file = tmp_path / "mine.safetensors"

    def load(source: str | Path) -> published.LoadedWeights:
        assert source == file
        return loaded

    monkeypatch.setattr(published, "load", load)
    return file, loaded


def test_weights_from_a_file(stored: tuple[Path, published.LoadedWeights]) -> None:
    file, loaded = stored
    model = create_model("i3d_inception", weights=file, tiny=True).eval()
    assert model.class_names == tuple("abcdefg")
    assert (model.name, model.weights_sha256) == ("i3d_inception.mine", "5" * 64)
    assert (model.spec.num_frames, model.spec.fps, model.spec.mean) == (32, 24.0, (0.0, 0.0, 0.0))
    assert all(torch.equal(value, loaded.state[key]) for key, value in model.state_dict().items())


def test_options_that_the_file_implies(stored: tuple[Path, published.LoadedWeights]) -> None:
    file, loaded = stored
    loaded.metadata["options"] = {"dropout": 0.25}  # type: ignore[index]
    assert create_model("i3d_inception", weights=file, tiny=True).dropout.p == 0.25
    assert create_model("i3d_inception", weights=file, tiny=True, dropout=0.1).dropout.p == 0.1


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("tsn_r18", {"num_segments": 7}, {"num_frames": 7, "crop": 40}),
        ("tsn_r18", {"test_segments": 10}, {"num_frames": 3, "test_frames": 10, "crop": 40}),
        ("sound_vggish", {"num_pictures": 2}, {"num_frames": 2}),
        ("aggregate_tcp", {"num_clips": 5}, {"num_frames": 5}),
        ("two_stream_spatial_resnet50", {"crop": 64}, {"crop": 64, "size": 73}),
        ("two_stream_spatial_resnet50", {"dropout": 0.1}, {"crop": 40, "size": 50}),
    ],
)
def test_what_an_option_asks_for_is_not_undone_by_the_file(
    name: str, options: dict[str, Any], expected: dict[str, int], tmp_path: Path
) -> None:
    model = tiny_model(name)
    if model.spec.modality == "rgb":
        model.spec = replace(model.spec, crop=40, size=50)  # as a recipe trains it
    file = published.save_model(model, tmp_path / "x.safetensors")
    spec = create_model(name, weights=file, **options).spec
    assert {key: getattr(spec, key) for key in expected} == expected


def test_nor_in_the_parts_of_several_modalities(tmp_path: Path) -> None:
    model = tiny_model("two_stream_resnet50")
    model.spec = join_specs(
        {name: replace(part, crop=40, size=50) for name, part in model.spec.parts.items()}
    )
    file = published.save_model(model, tmp_path / "x.safetensors")
    assert create_model("two_stream_resnet50", weights=file, flow_weight=2.0).spec == model.spec
    fewer = create_model("two_stream_resnet50", weights=file, stack=5)
    assert fewer.spec.shapes == {"rgb": (3, 1, 40, 40), "flow": (10, 1, 40, 40)}
    assert fewer(random_clip(fewer.spec)).shape == (1, CLASSES)
    larger = create_model("two_stream_resnet50", weights=file, crop=64)
    assert {part.crop for part in (larger.spec, *larger.spec.parts.values())} == {64}


def test_another_number_of_classes_resets_the_head(
    stored: tuple[Path, published.LoadedWeights], caplog: pytest.LogCaptureFixture
) -> None:
    file, loaded = stored
    with caplog.at_level(logging.WARNING, logger="vadis"):
        same = create_model("i3d_inception", weights=str(file), tiny=True, num_classes=CLASSES)
        assert same.class_names is not None
        assert caplog.records == []
        model = create_model("i3d_inception", weights=file, tiny=True, num_classes=3)
    assert "for 7 classes gives way to an untrained one for 3" in caplog.text
    assert model.class_names is None
    changed = [
        key
        for key, value in model.state_dict().items()
        if value.shape != loaded.state[key].shape or not torch.equal(value, loaded.state[key])
    ]
    assert changed == ["head.weight", "head.bias"]


def test_weights_that_do_not_fit_are_listed(stored: tuple[Path, published.LoadedWeights]) -> None:
    file, loaded = stored
    del loaded.state["mixed4b.branch2.conv.weight"]
    loaded.state["left.over"] = torch.zeros(1)
    loaded.state["conv2b.bn.bias"] = torch.zeros(9)
    with pytest.raises(ValueError, match="does not fit InceptionI3d") as caught:
        create_model("i3d_inception", weights=file, tiny=True)
    message = str(caught.value)
    assert "missing: mixed4b.branch2.conv.weight" in message
    assert "unexpected: left.over" in message
    assert "wrong shape: conv2b.bn.bias is (9,) in the file, (8,) in the model" in message
    with pytest.raises(ValueError, match=r"conv1a.conv.weight is \(8, 3, 7, 7, 7\) in the file, \(64, 3"):
        create_model("i3d_inception", weights=file)


def test_step_counters_may_be_missing(stored: tuple[Path, published.LoadedWeights]) -> None:
    file, loaded = stored
    for key in [key for key in loaded.state if key.endswith("num_batches_tracked")]:
        del loaded.state[key]
    assert create_model("i3d_inception", weights=file, tiny=True).class_names is not None


def test_weights_of_another_network(stored: tuple[Path, published.LoadedWeights]) -> None:
    file, loaded = stored
    loaded.metadata["model"] = "slowfast_r50_8x8"  # type: ignore[index]
    with pytest.raises(ValueError, match="holds weights of 'slowfast_r50_8x8', not of 'i3d_inception'"):
        create_model("i3d_inception", weights=file, tiny=True)


def test_flow_from_rgb_weights(
    stored: tuple[Path, published.LoadedWeights], caplog: pytest.LogCaptureFixture
) -> None:
    file, loaded = stored
    rgb = loaded.state["conv1a.conv.weight"]
    for name in ("i3d_inception", "i3d_inception_flow"):
        model = create_model(name, weights=file, tiny=True, in_channels=2)
        found = model.get_parameter("conv1a.conv.weight")
        assert found.shape[1] == 2
        assert torch.allclose(found[:, 0], rgb.mean(1), atol=1e-6)
        assert torch.equal(found[:, 0], found[:, 1])
        assert (model.spec.modality, model.spec.channels) == ("flow", 2)
    assert "averaged" in caplog.text


def test_average_channels() -> None:
    weight = torch.tensor([[1.0, 2.0, 6.0]]).reshape(1, 3, 1, 1, 1)
    assert average_channels(weight, 2).flatten().tolist() == [3.0, 3.0]


def test_a_real_file_of_converted_weights(tmp_path: Path) -> None:
    """The whole way: a PyTorch checkpoint -> import -> safetensors -> create_model."""
    torch.manual_seed(0)
    state = create_model("i3d_inception", num_classes=5).state_dict()
    checkpoint, file = tmp_path / "trained.pt", tmp_path / "trained.safetensors"
    torch.save(state, checkpoint)
    published.import_checkpoint(checkpoint, "i3d_inception", out=file)
    model = create_model("i3d_inception", weights=file)
    assert model.num_classes == 5
    assert model.class_names is None
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.network
def test_published_weights_by_name(i3d_weights: Path) -> None:
    assert i3d_weights.suffix == ".safetensors"
    model = create_model("i3d_inception.k400")
    assert model.name == "i3d_inception.k400"
    assert model.weights_sha256 == "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
    assert model.class_names is not None
    assert len(model.class_names) == len(set(model.class_names)) == model.num_classes == 400
    assert list(model.class_names) == sorted(model.class_names)
    by_tag = create_model("i3d_inception", weights="k400", num_classes=10)
    assert by_tag.class_names is None
    assert torch.equal(by_tag.get_parameter("conv1a.conv.weight"), model.get_parameter("conv1a.conv.weight"))


# --- what they cost: the figures of the literature ------------------------------------------------


@pytest.mark.parametrize(
    "row",
    REFERENCE,
    ids=lambda row: f"{row['model']}-{row['num_classes']}-{row['input_CTHW']}",
)
def test_cost(row: dict[str, str]) -> None:
    """Parameters and multiply-adds are those of the literature, within each row's tolerance."""
    words = dict(part.rpartition("=")[::2] for part in row["input_CTHW"].split(";"))
    shapes = {name: tuple(int(size) for size in shape.split("x")) for name, shape in words.items()}
    with torch.device("meta"):
        model = create_model(row["model"], num_classes=int(row["num_classes"]))
    cost = measure_cost(model, shapes)
    tolerance = float(row["tolerance"])
    assert cost.num_parameters == count_parameters(model)
    assert cost.num_parameters == pytest.approx(float(row["params"]), rel=tolerance)
    if row["gmac"]:
        assert cost.gmac == pytest.approx(float(row["gmac"]), rel=tolerance)


def test_cost_leaves_the_model_alone() -> None:
    model = tiny_model("i3d_inception").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure_cost(model, (3, 16, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_cost_of_a_layer_counted_by_hand() -> None:
    layer = torch.nn.Conv3d(3, 4, (1, 2, 2), bias=False)
    cost = measure_cost(layer, (3, 2, 5, 6))
    assert cost.num_parameters == 3 * 4 * 4
    assert cost.gmac * 1e9 == pytest.approx(np.prod([2, 4, 5]) * 4 * 3 * 4)
