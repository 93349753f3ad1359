"""3D-ResNet: the paper's table, both shortcuts, squeeze-and-excitation, the image networks inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from built import noise
from torch import nn

from vadis.models import create_model
from vadis.models.conversion import expected_shapes
from vadis.models.cost import count_parameters
from vadis.models.layouts import resnets3d as layout
from vadis.models.resnet3d import PaddedShortcut, Plan, ResNet3d, SqueezeExcitation

GOLDEN = Path(__file__).parent / "golden" / "parity"


def on_meta(name: str, **options: Any) -> ResNet3d:
    """A network of full size that takes no memory."""
    with torch.device("meta"):
        model = create_model(name, **options).eval()
    assert isinstance(model, ResNet3d)
    return model


def unsettle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Running statistics and affine parameters unlike the initial ones, for testing."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def tiny(name: str, **options: Any) -> ResNet3d:
    """A small network with statistics of its own."""
    torch.manual_seed(0)
    model = unsettle(create_model(name, num_classes=5, tiny=True, **options))
    assert isinstance(model, ResNet3d)
    return model


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet3d_18", (64, 128, 256, 512)),
        ("resnet3d_50", (256, 512, 1024, 2048)),
        ("resnext3d_101", (256, 512, 1024, 2048)),
    ],
)
def test_sizes_of_the_table(name: str, channels: tuple[int, ...]) -> None:
    model = on_meta(name)
    x = model.stem(torch.empty(1, 3, 16, 112, 112, device="meta"))
    assert x.shape == (1, 64, 16, 56, 56)
    x = model.pool(x)
    sizes = []
    for stage in model.stages:
        x = stage(x)
        sizes.append(tuple(x.shape[1:]))
    table = ((8, 28, 28), (4, 14, 14), (2, 7, 7), (1, 4, 4))
    assert sizes == [(width, *size) for width, size in zip(channels, table, strict=True)]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 200])
def test_the_name_counts_the_layers(depth: int) -> None:
    """Convolutions of the trunk and the classifier; projections do not count."""
    model = on_meta(f"resnet3d_{depth}")
    trunk = [name for name, module in model.named_modules() if isinstance(module, nn.Conv3d)]
    assert len([name for name in trunk if "shortcut" not in name]) + 1 == depth


def test_what_a_block_of_resnext_is() -> None:
    block = on_meta("resnext3d_101").stages[2][5]
    assert [tuple(conv.weight.shape) for conv in (block.conv1, block.conv2, block.conv3)] == [
        (512, 1024, 1, 1, 1),
        (512, 16, 3, 3, 3),  # 32 groups of 16 channels
        (1024, 512, 1, 1, 1),
    ]
    assert block.conv2.stride == (1, 1, 1)
    first = on_meta("resnext3d_101").stages[2][0]
    assert (first.conv1.stride, first.conv2.stride) == ((1, 1, 1), (2, 2, 2)), "the 3x3x3 has the stride"


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("resnet3d_18", {"shortcut": "A"}, 33_235_280),
        ("resnet3d_34", {"shortcut": "A"}, 63_544_912),
        ("resnext3d_101", {"stem_channels": 128}, 48_431_376),  # the authors' code of 2020
        ("resnext3d_101", {}, 48_340_816),  # of 2018
        ("resnet3d_50", {"stem_kernel_frames": 3}, 47_018_576 - 4 * 7 * 7 * 3 * 64),
        ("resnet3d_50", {"in_channels": 2}, 47_018_576 - 7 * 7 * 7 * 64),
    ],
)
def test_parameters_of_the_options(name: str, options: dict[str, Any], parameters: int) -> None:
    assert count_parameters(on_meta(name, **options)) == parameters


@pytest.mark.parametrize("reduction", [16, 8])
def test_parameters_of_the_gates(reduction: int) -> None:
    """By hand: two matrices of C x C / r and their biases in each block, C as the table says."""
    blocks = ((256, 3), (512, 4), (1024, 23), (2048, 3))
    gates = sum(count * (2 * wide * wide // reduction + wide // reduction + wide) for wide, count in blocks)
    found = count_parameters(on_meta("se_resnext3d_101", reduction=reduction))
    assert found == 48_340_816 + gates


# --- image networks inside ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_still_video_through_an_image_network(name: str) -> None:
    """With an image network's filters in the middle tap and zeros beside, a still clip is its image.

    torchvision's own network answers on the image: block order, strides, pooling and shortcuts agree.
    """
    torch.manual_seed(0)
    image_network = unsettle(torchvision.models.get_model(name, weights=None, num_classes=6))
    model = create_model(name.replace("resnet", "resnet3d_"), num_classes=6).eval()
    state = model.state_dict()
    renamed = {layout.RENAME(key): value for key, value in image_network.state_dict().items()}
    assert renamed.keys() == state.keys(), "one to one"
    for key, value in renamed.items():
        if value.ndim == 4:
            middle = state[key].shape[2] // 2
            state[key].zero_()
            state[key][:, :, middle] = value
        else:
            state[key].copy_(value)
    image = noise(1, 3, 64, 64)
    with torch.inference_mode():
        still = model(image[:, :, None].repeat(1, 1, 4, 1, 1))
        wanted = image_network(image)
    assert (still - wanted).abs().max() < 1e-4 * wanted.std()


# --- blocks ---------------------------------------------------------------------------------------


def test_blocks_can_be_walked() -> None:
    """What `lgd.py` builds on: nothing happens between blocks, and a block is relu(branch + shortcut)."""
    model = tiny("se_resnet3d_50")
    clip = noise(1, 3, 8, 32, 32)
    with torch.no_grad():
        x = model.pool(model.stem(clip))
        for stage in model.stages:
            for block in stage:
                before = x.clone()
                by_parts = torch.relu(block.branch(x) + block.shortcut(x))
                x = block(x)
                assert torch.equal(x, by_parts)
                assert block.conv1.weight.shape[1] == before.shape[1]
        assert torch.equal(x, model.forward_features(clip))


def test_a_block_leaves_its_input() -> None:
    model = tiny("resnet3d_18")
    block = model.stages[0][0]
    assert isinstance(block.shortcut, nn.Identity)
    x = noise(1, 8, 4, 8, 8)
    before = x.clone()
    with torch.no_grad():
        block(x)
    assert torch.equal(x, before)


def test_padded_shortcut_by_hand() -> None:
    x = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    found = PaddedShortcut(channels=3, stride=2)(x)
    assert found.flatten().tolist() == [0.0, 0.0, 0.0]
    x = torch.arange(1.0, 28.0).reshape(1, 1, 3, 3, 3)
    found = PaddedShortcut(channels=2, stride=2)(x)
    assert found[0, 0].flatten().tolist() == [1.0, 3.0, 7.0, 9.0, 19.0, 21.0, 25.0, 27.0]
    assert not found[0, 1].any()


def test_padded_shortcut_is_a_projection_with_an_identity() -> None:
    """Shortcut A is B with the identity for a matrix and a batch norm that does nothing."""
    padded, projected = tiny("resnet3d_18", shortcut="A"), tiny("resnet3d_18")
    state = projected.state_dict()
    assert state.keys() - padded.state_dict().keys() == {key for key in state if ".shortcut." in key}
    for key in state:
        if key.endswith("shortcut.conv.weight"):
            nn.init.zeros_(state[key])
            for channel in range(state[key].shape[1]):
                state[key][channel, channel] = 1
        elif ".shortcut.bn." in key:
            state[key].fill_(1 if key.endswith(("weight", "running_var")) else 0)
        else:
            state[key].copy_(padded.state_dict()[key])
    clip = noise(2, 3, 9, 35, 33)
    with torch.no_grad():
        assert torch.allclose(projected(clip), padded(clip), rtol=1e-4, atol=1e-5)


def test_padded_shortcut_passes_the_gradient() -> None:
    x = noise(1, 2, 3, 3, 3).requires_grad_()
    PaddedShortcut(4, 2)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 2 * 8


# --- squeeze and excitation -----------------------------------------------------------------------


def test_excitation_by_hand() -> None:
    gate = SqueezeExcitation(2, reduction=2)
    with torch.no_grad():
        gate.reduce.weight.copy_(torch.tensor([[1.0, -1.0]]))
        gate.reduce.bias.fill_(0.5)
        gate.expand.weight.copy_(torch.tensor([[2.0], [-2.0]]))
        gate.expand.bias.copy_(torch.tensor([0.0, 1.0]))
        x = torch.tensor([[1.0, 3.0], [0.0, 2.0]]).reshape(1, 2, 2, 1, 1)  # means 2 and 1: inner 1.5
        found = gate(x).flatten().tolist()
    first, second = 1 / (1 + np.exp(-3.0)), 1 / (1 + np.exp(2.0))
    assert found == pytest.approx([first, 3 * first, 0.0, 2 * second], rel=1e-6)


@pytest.mark.parametrize("kind", ["resnet3d_50", "resnet3d_101", "resnext3d_101"])
def test_open_gates_give_the_plain_network(kind: str) -> None:
    gated, plain = tiny(f"se_{kind}"), tiny(kind)
    plain.load_state_dict({key: value for key, value in gated.state_dict().items() if ".gate." not in key})
    clip = noise(1, 3, 8, 32, 32)
    with torch.no_grad():
        wanted = plain(clip)
        assert (gated(clip) - wanted).abs().max() > 1e-2 * wanted.abs().max(), "they are not open at first"
        for module in gated.modules():
            if isinstance(module, SqueezeExcitation):
                module.expand.weight.zero_()
                module.expand.bias.fill_(30.0)
        assert torch.allclose(gated(clip), wanted, atol=1e-6)


def test_every_block_has_its_gate() -> None:
    model = on_meta("se_resnet3d_101")
    gates = [block.gate for stage in model.stages for block in stage]
    assert len(gates) == 33
    assert {gate.expand.out_features // gate.expand.in_features for gate in gates} == {16}


# --- options --------------------------------------------------------------------------------------


def test_stem_options() -> None:
    clip = torch.empty(1, 3, 32, 64, 64, device="meta")
    assert on_meta("resnet3d_18").forward_features(clip).shape == (1, 512, 2, 2, 2)
    assert on_meta("resnet3d_18", stem_stride_frames=2).forward_features(clip).shape[2:] == (1, 2, 2)
    assert on_meta("resnet3d_18", stem_pool=False).forward_features(clip).shape[2:] == (4, 4, 4)
    assert on_meta("resnet3d_18", stem_kernel_frames=3).stem.conv.padding == (1, 3, 3)


def test_pixels_of_both_generations() -> None:
    new, old = on_meta("resnet3d_18").spec, on_meta("resnet3d_18", pixels="2018").spec
    assert (new.num_frames, new.size, new.crop, new.value_range) == (16, 112, 112, (0.0, 1.0))
    assert (old.value_range, old.std) == ((0.0, 255.0), (1.0, 1.0, 1.0))
    assert old.mean[0] / 255 == pytest.approx(0.45, abs=0.01)
    assert on_meta("resnet3d_18", pixels="2018", in_channels=2).spec.value_range == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": "C"}, 'must be "A"'),
        ({"pixels": "2019"}, "one of 2020, 2018"),
        ({"in_channels": 4}, "in_channels must be 3"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model("resnet3d_18", tiny=True, **options)


def test_tiny_keeps_the_options() -> None:
    model = tiny("resnext3d_101", stem_channels=128, stem_kernel_frames=5, shortcut="A", stem_pool=False)
    assert model.stem.conv.weight.shape == (8, 3, 5, 7, 7)
    assert isinstance(model.pool, nn.Identity)
    assert isinstance(model.stages[1][0].shortcut, PaddedShortcut)


def test_gates_are_made_with_channels_and_stage() -> None:
    asked = []

    def make(channels: int, stage: int) -> nn.Module:
        asked.append((channels, stage))
        return nn.Identity()

    ResNet3d(Plan(True, (1, 2, 1, 1), (2, 3, 4, 5), expansion=2), num_classes=2, stem_channels=4, gate=make)
    assert asked == [(4, 0), (6, 1), (6, 1), (8, 2), (10, 3)]


# --- the authors' layout --------------------------------------------------------------------------

State = dict[str, tuple[int, ...]]


def authors_state(file: str) -> State:
    """The authors' own names and shapes."""
    document = json.loads((GOLDEN / f"{file}.json").read_text())
    return {key: tuple(shape) for key, shape in document["state"]}


def implied(state: State) -> dict[str, Any]:
    """What the layout reads off a checkpoint of these shapes; nothing is allocated."""
    return layout.options({key: np.broadcast_to(np.float32(0), shape) for key, shape in state.items()})


def fits(state: State, name: str, num_classes: int = 400) -> bool:
    """Whether the renamed keys and their shapes are those of our network in the form that they imply."""
    renamed = {layout.RENAME(key): shape for key, shape in state.items()}
    return renamed == expected_shapes(name, num_classes, implied(state))


def test_layouts_of_the_authors() -> None:
    first = authors_state("hara_resnet18")
    assert implied(first) == {}
    assert fits(first, "resnet3d_18")
    assert not fits(first, "resnet3d_34")
    old = authors_state("hara_resnext101_2018")
    assert implied(old) == {"pixels": "2018"}
    assert fits(old, "resnext3d_101")


def test_layout_of_shortcut_a() -> None:
    """`resnet-18-kinetics.pth`: no projection in the file."""
    state = {key: shape for key, shape in authors_state("hara_resnet18").items() if "downsample" not in key}
    assert implied(state) == {"shortcut": "A", "pixels": "2018"}
    assert fits(state, "resnet3d_18")


def test_layout_of_the_wide_stem() -> None:
    """The ResNeXt of 2020: 128 channels in the stem and what reads them."""
    state = dict(authors_state("hara_resnext101_2018"))
    for key, shape in state.items():
        if key == "conv1.weight" or (key.startswith("bn1.") and shape):
            state[key] = (128, *shape[1:])
    state["layer1.0.conv1.weight"] = (128, 128, 1, 1, 1)
    state["layer1.0.downsample.0.weight"] = (256, 128, 1, 1, 1)
    assert implied(state) == {"stem_channels": 128}
    assert fits(state, "resnext3d_101")


def test_layout_of_other_stems() -> None:
    state = authors_state("hara_resnet18") | {"conv1.weight": (64, 2, 3, 7, 7), "fc.bias": (9,)}
    state["fc.weight"] = (9, 512)
    assert implied(state) == {"in_channels": 2, "stem_kernel_frames": 3}
    assert fits(state, "resnet3d_18", num_classes=9)
    del state["conv1.weight"]
    assert implied(state) == {}, "the importer then names the missing key"


@pytest.mark.parametrize(
    "key", ["layer5.0.conv1.weight", "layer1.0.conv2_t.weight", "fc_g.weight", "conv2.x"]
)
def test_keys_of_others_are_unknown(key: str) -> None:
    assert layout.RENAME(key) is None
