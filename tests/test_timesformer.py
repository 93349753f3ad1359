"""TimeSformer: whom each scheme asks, against masks written out by hand; the image transformer inside it;
embeddings of other sizes; pictures of attention; the spellings of its checkpoints.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from vadis.models import create_model, weights
from vadis.models.conversion import expected_shapes
from vadis.models.layouts import LAYOUTS
from vadis.models.space_time_attention import (
    STEPS,
    AddedAttention,
    attention_pattern,
)
from vadis.models.timesformer import TimeSformer, resize_positions, resize_times

SCHEMES = tuple(STEPS)


def small(scheme: str, **options: object) -> TimeSformer:
    """A network of 3 frames of 4 x 4 patches in which nothing is zero."""
    torch.manual_seed(0)
    sizes = {"num_frames": 3, "crop": 64, "features": 24, "depth": 3, "num_heads": 3, "num_classes": 7}
    model = TimeSformer(scheme, **{**sizes, **options}).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_centred_windows_are_another_network_of_the_same_size() -> None:
    windows, centred = (
        small("local_global", num_frames=4),
        small("local_global", num_frames=4, local="centred"),
    )
    assert windows.state_dict().keys() == centred.state_dict().keys()
    clip = noise(1, 3, 4, 64, 64)
    assert not torch.allclose(windows(clip), centred(clip), atol=1e-3)


# --- the image transformer inside -----------------------------------------------------------------


def image_transformer(model: TimeSformer) -> VisionTransformer:
    """torchvision's own, with the weights of a network of ours."""
    state = model.state_dict()
    features, depth = model.norm.weight.shape[0], len(model.blocks)
    theirs = VisionTransformer(64, 16, depth, 3, features, 4 * features, num_classes=7).eval()
    renamed = {
        "class_token": state["class_token"],
        "conv_proj.weight": state["patch_embed.weight"],
        "conv_proj.bias": state["patch_embed.bias"],
        "encoder.pos_embedding": state["position_embed"],
    }
    for leaf in ("weight", "bias"):
        renamed[f"encoder.ln.{leaf}"] = state[f"norm.{leaf}"]
        renamed[f"heads.head.{leaf}"] = state[f"head.{leaf}"]
        for index in range(depth):
            block, layer = f"blocks.{index}", f"encoder.layers.encoder_layer_{index}"
            renamed[f"{layer}.ln_1.{leaf}"] = state[f"{block}.attention.norm.{leaf}"]
            renamed[f"{layer}.self_attention.in_proj_{leaf}"] = state[f"{block}.attention.qkv.{leaf}"]
            renamed[f"{layer}.self_attention.out_proj.{leaf}"] = state[f"{block}.attention.proj.{leaf}"]
            renamed[f"{layer}.ln_2.{leaf}"] = state[f"{block}.mlp.norm.{leaf}"]
            renamed[f"{layer}.mlp.0.{leaf}"] = state[f"{block}.mlp.fc1.{leaf}"]
            renamed[f"{layer}.mlp.3.{leaf}"] = state[f"{block}.mlp.fc2.{leaf}"]
    theirs.load_state_dict(renamed, strict=True)
    return theirs


def silence_time(model: TimeSformer) -> TimeSformer:
    """As at the start of training: what time adds is zero."""
    with torch.no_grad():
        if model.time_embed is not None:
            model.time_embed.zero_()
        for module in model.modules():
            if isinstance(module, AddedAttention):
                module.fc.weight.zero_()
                module.fc.bias.zero_()
    return model


@pytest.mark.parametrize("scheme", ["space", "divided"])
def test_on_one_repeated_frame_it_is_the_image_transformer(scheme: str) -> None:
    model = small(scheme)
    frame = noise(2, 3, 64, 64)
    boring = frame[:, :, None].expand(-1, -1, 3, -1, -1)
    wanted = image_transformer(model)(frame)
    if scheme == "divided":
        assert not torch.allclose(model(boring), wanted, atol=1e-2), "time has something to say"
    assert torch.allclose(silence_time(model)(boring), wanted, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_of_one_frame_all_that_attend_in_space_are_the_image_transformer(scheme: str) -> None:
    model = silence_time(small(scheme))
    frame = noise(2, 3, 64, 64)
    same = torch.allclose(model(frame[:, :, None]), image_transformer(model)(frame), atol=1e-4)
    assert same == (scheme in ("space", "joint", "divided"))


def test_divided_and_space_part_on_a_moving_clip() -> None:
    """Divided averages the class token after every block, space after the last."""
    divided, space = silence_time(small("divided")), small("space")
    state = divided.state_dict()
    space.load_state_dict({key: state[key] for key in space.state_dict()})
    frame, clip = noise(1, 3, 1, 64, 64), noise(1, 3, 3, 64, 64)
    repeated = frame.expand(-1, -1, 3, -1, -1)
    assert torch.allclose(divided(repeated), space(repeated), atol=1e-4)
    assert not torch.allclose(divided(clip), space(clip), atol=1e-2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_starts_where_the_image_transformer_ended(scheme: str) -> None:
    model = TimeSformer(scheme, 7, num_frames=3, crop=64, features=24, depth=3, num_heads=3)  # type: ignore[arg-type]
    added = [module for module in model.modules() if isinstance(module, AddedAttention)]
    assert len(added) == 3 * (len(STEPS[scheme]) - 1)  # type: ignore[index]
    assert not any(module.fc.weight.any() or module.fc.bias.any() for module in added)
    assert model.time_embed is None or not model.time_embed.any()
    assert 0.01 < model.blocks[0].get_parameter("attention.qkv.weight").std() < 0.025
    rates = [module.probability for module in model.modules() if type(module).__name__ == "DropPath"]
    assert sorted(set(rates)) == pytest.approx([0.0, 0.05, 0.1])
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}


def test_each_added_step_has_its_share_of_the_parameters() -> None:
    """Table 1 of the paper follows from this share (in millions, 174 classes): 85.9, 121.4, 156.8."""
    with torch.device("meta"):
        millions = [
            sum(each.numel() for each in create_model(f"timesformer_{scheme}", num_classes=174).parameters())
            / 1e6
            for scheme in SCHEMES
        ]
        step = sum(each.numel() for each in AddedAttention("time", 768, 12, 0.0).parameters())
    assert [round(value, 1) for value in millions] == [85.9, 85.9, 121.4, 121.4, 156.8]
    assert step == 2 * 768 + (768 + 1) * 3 * 768 + 2 * (768 + 1) * 768 == 2_954_496


# --- other sizes ----------------------------------------------------------------------------------


def test_positions_are_resized_as_pictures() -> None:
    ramp = torch.arange(4.0).repeat(4, 1)  # brighter to the right
    position = torch.cat((torch.tensor([9.0]), ramp.flatten()))[None, :, None]
    wide = resize_positions(position, 4, 8, "bicubic")
    assert wide.shape == (1, 33, 1)
    assert wide[0, 0, 0] == 9.0, "the class token has no place"
    rows = wide[0, 1:, 0].view(4, 8)
    assert torch.allclose(rows, rows[:1].expand(4, -1), atol=1e-6)
    assert torch.allclose(rows[0, 3:5], torch.tensor([1.25, 1.75]), atol=0.05)
    assert (rows[0].diff() > 0).all()
    times = resize_times(torch.tensor([[[0.0], [1.0]]]), 4, "linear")
    assert times.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
    assert resize_times(torch.tensor([[[0.0], [1.0]]]), 4, "nearest").flatten().tolist() == [0, 0, 1, 1]


def test_the_authors_resizing_shears_when_loading_and_not_when_running() -> None:
    model = TimeSformer("joint", 7, num_frames=4, crop=64, features=6, depth=1, num_heads=1, resize="authors")
    small_square = torch.tensor([9.0, 0.0, 1.0, 2.0, 3.0])[None, :, None].expand(1, 5, 6)  # of 2 x 2 patches
    state = {"position_embed": small_square, "time_embed": torch.arange(2.0)[None, :, None].expand(1, 2, 6)}
    adapted = model.adapt_state(state)
    assert adapted["position_embed"][0, 1:, 0].view(4, 4).tolist() == [
        [row] * 4 for row in (0.0, 1.0, 2.0, 3.0)
    ]
    assert adapted["time_embed"][0, :, 0].tolist() == [0.0, 0.0, 1.0, 1.0]
    running = resize_positions(small_square, 4, 4, "nearest")[0, 1:, 0].view(4, 4)
    assert running.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    model.resize = "bicubic2d"
    proper = model.adapt_state(state)["position_embed"][0, 1:, 0].view(4, 4)
    assert (proper.diff(dim=0) > 0).all()
    assert (proper.diff(dim=1) > 0).all()
    assert state["position_embed"].shape == (1, 5, 6), "what was given stays as it was"


@pytest.mark.parametrize("resize", ["bicubic2d", "authors"])
def test_a_clip_of_another_size_meets_resized_embeddings(resize: str) -> None:
    """Running at another size is the same as being built for that size with resized embeddings."""
    model = small("divided", resize=resize)
    other = small("divided", resize=resize, num_frames=5, crop=96)
    state = model.state_dict()
    mode, time = ("nearest", "nearest") if resize == "authors" else ("bicubic", "linear")
    assert model.time_embed is not None
    state["position_embed"] = resize_positions(model.position_embed, 6, 6, mode)
    state["time_embed"] = resize_times(model.time_embed, 5, time)
    other.load_state_dict(state)
    clip = noise(1, 3, 5, 96, 96)
    assert torch.allclose(model(clip), other(clip), atol=1e-5)
    assert model(noise(1, 3, 2, 40, 100)).shape == (1, 7), "whole patches of any picture"
    assert torch.equal(model(clip[..., :80]), model(clip[..., :95])), "what is left of a patch is not seen"


def test_weights_of_another_length_and_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = create_model("timesformer_divided", num_classes=7, tiny=True, crop=64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    file = weights.save_model(model, tmp_path / "mine.safetensors")
    clip = noise(1, 3, 12, 96, 96)
    with caplog.at_level(logging.WARNING, logger="vadis"):
        assert create_model("timesformer_divided", weights=file).spec == model.spec
        assert caplog.records == []
        longer = create_model("timesformer_divided", weights=file, num_frames=12, crop=96).eval()
    assert "position_embed is resized from (1, 17, 32) to (1, 37, 32)" in caplog.text
    assert "time_embed is resized from (1, 8, 32) to (1, 12, 32)" in caplog.text
    assert (longer.spec.num_frames, longer.spec.crop, longer.spec.size) == (12, 96, 96)
    assert longer.spec.frame_stride == model.spec.frame_stride
    assert torch.allclose(longer(clip), model(clip), atol=1e-5), "as running at that size"
    nearest = create_model(
        "timesformer_divided", weights=file, num_frames=12, crop=96, resize="authors"
    ).eval()
    assert not torch.allclose(nearest(clip), model(clip), atol=1e-3)


def test_embeddings_that_are_no_square_are_left_to_be_refused() -> None:
    model = small("joint")
    odd = {"position_embed": torch.zeros(1, 12, 24), "time_embed": torch.zeros(3)}
    assert model.adapt_state(odd) == odd


# --- pictures of attention ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [(4, 64, 64), (3, 48, 80)])
def test_attention_maps_are_seen_patches(scheme: str, size: tuple[int, int, int]) -> None:
    model, clip = small(scheme), noise(2, 3, *size)
    grid = (size[0], size[1] // 16, size[2] // 16)
    query = (2, 1, 3)
    maps = model.attention_maps(clip, query, block=1)
    pattern = attention_pattern(scheme, query, grid)  # type: ignore[arg-type]
    assert list(maps) == list(pattern)
    for step, weights_BNTHW in maps.items():
        assert weights_BNTHW.shape == (2, 3, *grid)
        assert (weights_BNTHW > 0).equal(pattern[step].expand_as(weights_BNTHW))
        total = weights_BNTHW.sum((2, 3, 4))
        if step == STEPS[scheme][-1]:  # type: ignore[index]
            assert (total < 1).all(), "the class token has its share"
        else:
            assert torch.allclose(total, torch.ones(2, 3), atol=1e-5)
    of_class = model.attention_maps(clip, block=1)
    assert list(of_class) == [STEPS[scheme][-1]]  # type: ignore[index]
    (weights_BNTHW,) = of_class.values()
    assert (weights_BNTHW > 0).all()
    assert (weights_BNTHW.sum((2, 3, 4)) < 1).all()


@pytest.mark.parametrize("scheme", ["joint", "divided", "axial", "local_global"])
def test_attention_maps_are_what_the_network_computes(scheme: str) -> None:
    """The values of what is seen, weighed by the map, are the answer of the step before its projection."""
    model, clip, query = small(scheme), noise(1, 3, 4, 64, 64), (2, 1, 3)
    cls, patches = model._embed(clip)
    block = model.blocks[0]
    maps = model.attention_maps(clip, query, block=0)
    for name, step in block.added.items():  # type: ignore[union-attr]
        values = step.qkv(step.norm(patches))[..., 48:].unflatten(-1, (3, 8))
        mixed = torch.einsum("bnthw,bthwnd->bnd", maps[name], values).flatten(1)
        answer = step(patches)
        assert torch.allclose(step.fc(step.proj(mixed)), answer[:, *query], atol=1e-5)
        patches = patches + answer
    own = block.attention
    wanted_cls, wanted = own(cls, patches)  # type: ignore[operator]
    cls_value = own.qkv(own.norm(cls[:, 0]))[:, 48:].unflatten(-1, (3, 8))  # type: ignore[union-attr, operator]
    values = own.qkv(own.norm(patches))[..., 48:].unflatten(-1, (3, 8))  # type: ignore[union-attr, operator]
    of_class = model.attention_maps(clip, block=0)[STEPS[scheme][-1]]  # type: ignore[index]
    for found, answer in ((maps[STEPS[scheme][-1]], wanted[:, *query]), (of_class, wanted_cls[:, 0])):  # type: ignore[index]
        share = 1 - found.sum((2, 3, 4))
        mixed = torch.einsum("bnthw,bthwnd->bnd", found, values) + share[..., None] * cls_value
        assert torch.allclose(own.proj(mixed.flatten(1)), answer, atol=1e-5)  # type: ignore[union-attr, operator]


def test_what_cannot_be_asked_for() -> None:
    model, clip = small("divided"), noise(1, 3, 3, 64, 64)
    with pytest.raises(ValueError, match=r"there is no patch \(3, 0, 0\) among 3 x 4 x 4"):
        model.attention_maps(clip, (3, 0, 0))
    with pytest.raises(ValueError, match="there is no block 3 among 3"):
        model.attention_maps(clip, block=3)
    with pytest.raises(ValueError, match=r"there is no patch \(0, -1, 0\)"):
        attention_pattern("space", (0, -1, 0), (1, 2, 2))
    with pytest.raises(ValueError, match="scheme must be one of space, joint, divided, local_global, axial"):
        attention_pattern("temporal", (0, 0, 0), (1, 2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='local must be "windows" or "centred"'):
        create_model("timesformer_local_global", tiny=True, local="sliding")
    with pytest.raises(ValueError, match='resize must be "bicubic2d" or "authors"'):
        create_model("timesformer_divided", tiny=True, resize="nearest")
    with pytest.raises(ValueError, match="crop must be at least one patch"):
        create_model("timesformer_divided", tiny=True, crop=8)
    with pytest.raises(ValueError, match="takes at least 16 x 16 pixels"):
        model(clip[..., :15])


# --- spellings ------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("file", "layout", "model"),
    [
        ("parity/timesformer_divided_space_time", "timesformer", "timesformer_divided"),
        ("parity/timesformer_space_only", "timesformer", "timesformer_space"),
        ("layouts/transformers_timesformer", "transformers_timesformer", "timesformer_divided"),
    ],
)
def test_every_key_of_theirs_is_one_of_ours(file: str, layout: str, model: str) -> None:
    theirs = json.loads((GOLDEN / f"{file}.json").read_text())["state"]
    prefix = "model." if layout == "timesformer" else ""
    renamed = {LAYOUTS[layout].rename(key.removeprefix(prefix)): tuple(shape) for key, shape in theirs}
    assert renamed == expected_shapes(model, 400, {})


OURS_IN_MMACTION2 = {  # its modules in mmaction/models/backbones/timesformer.py and mmcv's transformer layers
    "class_token": "backbone.cls_token",
    "position_embed": "backbone.pos_embed",
    "time_embed": "backbone.time_embed",
    "patch_embed": "backbone.patch_embed.projection",
    "norm": "backbone.norm",
    "head": "cls_head.fc_cls",
    "added.time.norm": "attentions.0.norm",
    "added.time.qkv": "attentions.0.attn.in_proj",
    "added.time.proj": "attentions.0.attn.out_proj",
    "added.time.fc": "attentions.0.temporal_fc",
    "attention.norm": "attentions.1.norm",
    "attention.qkv": "attentions.1.attn.in_proj",
    "attention.proj": "attentions.1.attn.out_proj",
    "mlp.norm": "ffns.0.norm",
    "mlp.fc1": "ffns.0.layers.0.0",
    "mlp.fc2": "ffns.0.layers.1",
}
ALONE = {"attentions.1.norm": "norms.0", "ffns.0.norm": "norms.1"}


@pytest.mark.parametrize("scheme", ["divided", "joint", "space"])
def test_mmaction2_spells_it_in_its_own_way(scheme: str) -> None:
    layout = LAYOUTS["mmaction2_timesformer" + ("_divided" if scheme == "divided" else "")]
    shapes = expected_shapes(f"timesformer_{scheme}", 400, {})
    theirs = {}
    for key, shape in shapes.items():
        module, _, leaf = key.rpartition(".") if key.endswith(("weight", "bias")) else (key, "", "")
        place, _, inner = (
            module.removeprefix("blocks.").partition(".") if module.startswith("blocks") else ("", "", module)
        )
        name = OURS_IN_MMACTION2[inner]
        if scheme != "divided":
            name = ALONE.get(name, name.replace("attentions.1", "attentions.0"))
        name = f"backbone.transformer_layers.layers.{place}.{name}" if place else name
        theirs[name + ({"in_proj": "_"}.get(name.rpartition(".")[2], ".") + leaf if leaf else "")] = shape
    assert layout.anchor in theirs
    assert {layout.rename(key): shape for key, shape in theirs.items()} == shapes


def test_what_their_embeddings_imply() -> None:
    """The authors' file for HR under the name of the plain network builds what fits it."""
    hr = {
        "pos_embed": np.empty((1, 1 + 28 * 28, 768), np.float32),
        "time_embed": np.empty((1, 16, 768), np.float32),
        "patch_embed.proj.weight": np.empty((768, 3, 16, 16), np.float32),
    }
    options = LAYOUTS["timesformer"].options(hr)
    assert options == {"crop": 448, "num_frames": 16}
    shapes = expected_shapes("timesformer_divided", 174, options)
    assert shapes == expected_shapes("timesformer_hr", 174, {})
    del hr["time_embed"]
    assert LAYOUTS["timesformer"].options(hr) == {"crop": 448}
    keys = ("position_embeddings", "time_embeddings", "patch_embeddings.projection.weight")
    theirs = {
        f"timesformer.embeddings.{key}": np.empty(shape, np.float32)
        for key, shape in zip(keys, ((1, 197, 768), (1, 64, 768), (768, 3, 16, 16)), strict=True)
    }
    assert LAYOUTS["transformers_timesformer"].options(theirs) == {"crop": 224, "num_frames": 64}
