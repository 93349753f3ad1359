"""Image networks into video networks: each rule by hand, and the boring video for every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from vadis.cli import app
from vadis.models import create_model, list_models
from vadis.models.image_keys import CORRESPONDENCES
from vadis.models.inflate import (
    InflationError,
    boring_video_difference,
    correspondence,
    identity_along_time,
    image_name,
    inflate,
    inflate_kernel,
    load_image_weights,
    repeated_ends,
)
from vadis.models.layers import ImagePart
from vadis.models.trunks import make_trunk

CLASSES = 10


def made_image_network(name: str) -> nn.Module:
    """A network of torchvision with seeded weights and running statistics unlike the initial ones."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    if name == "resnext101_32x4d":  # timm's; torchvision's class builds it
        name, options = "resnet101", {"groups": 32, "width_per_group": 4}
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    for parameter in network.parameters():
        if parameter.ndim == 2 and not parameter.any():  # ViT's classifier
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def with_same_padding(network: nn.Module) -> nn.Module:
    """GoogLeNet with TensorFlow's padding, as the original has it: the odd row comes after."""
    first = network.get_submodule("conv1.conv")
    assert isinstance(first, nn.Conv2d)
    first.padding = (0, 0)
    network.conv1 = nn.Sequential(nn.ZeroPad2d((2, 3, 2, 3)), network.get_submodule("conv1"))
    return network


def stride_first(network: nn.Module) -> nn.Module:
    """ResNet as Caffe has it: the stride in a block's first layer, windows of the pool over the edge."""
    for block in network.modules():
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return network


def without_first_pool(network: nn.Module) -> nn.Module:
    """ResNet without its first pooling, which R3D has not."""
    network.maxpool = nn.Identity()
    return network


def without_first_pool_of_vmz(network: nn.Module) -> nn.Module:
    """The same with the epsilon of Caffe2's networks in batch norm."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return without_first_pool(network)


def as_it_is(network: nn.Module) -> nn.Module:
    """torchvision's network pads and pools as ours does."""
    return network


class Boring(NamedTuple):
    """A row: our network; how torchvision's has to differ to pad and pool as ours; pixels; exactness."""

    name: str
    adapt: Callable[[nn.Module], nn.Module] = as_it_is
    pixels: int = 64
    limit: float = 1e-5


BORING = (
    Boring("resnet3d_18"),
    Boring("resnet3d_50"),
    Boring("resnext3d_101"),
    Boring("c2d_r50_8x8"),
    Boring("c2d_r50_8x8_nl5"),
    Boring("i3d_r50_8x8"),
    Boring("i3d_r50_32x2_3x3x3"),
    Boring("slow_r50_8x8"),
    Boring("p3d_r50"),
    Boring("p3d_63", stride_first),
    Boring("r3d_18", without_first_pool),
    Boring("mc3_18", without_first_pool),
    Boring("fr2d_18", without_first_pool_of_vmz),
    Boring("rmc4_18", without_first_pool_of_vmz),
    Boring("i3d_inception", with_same_padding, 224),
    Boring("s3d", pixels=224),
    Boring("s3d_fast", pixels=224),
    Boring("i2d_inception", pixels=224),
    Boring("i3d_top_heavy", pixels=224),
    Boring("timesformer_space", pixels=224),
    Boring("timesformer_divided", pixels=224),
)
OF_TIMM = ("resnet200", "resnext101_32x4d")
INEXACT = {
    "lgd_p3d_r50": "its paths of global features have no counterpart",
    "timesformer_axial": "its last step sees a column only, where the image network sees the picture",
    "slowfast_r50_4x16": "its fast pathway and its classifier have no counterpart",
    "s3dg": "its gates have no counterpart",
    "lgd_se_resnext3d_101": "nor have its gates and its paths of global features",
}


@pytest.mark.slow
@pytest.mark.parametrize("row", BORING, ids=lambda row: row.name)
def test_the_boring_video(row: Boring) -> None:
    """A clip of one repeated frame gets the picture's answer, by either rule; zeros at its ends spoil it."""
    network = made_image_network(image_name(row.name))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    network = row.adapt(network)
    image = torch.randn((1, 3, row.pixels, row.pixels), generator=torch.Generator().manual_seed(1))
    model = create_model(row.name, num_classes=CLASSES)
    frames = min(model.spec.num_frames, 16)
    report = inflate(model, state, "centre")
    assert report.unused == ()
    assert not [key for key in report.left if not key.startswith("nonlocals")]
    assert boring_video_difference(model, network, image, frames) < row.limit
    if not report.inflated:
        return
    inflate(model, state, "repeat")
    assert boring_video_difference(model, network, image, frames) < row.limit
    with torch.no_grad():
        clip = image.unsqueeze(2).repeat(1, 1, frames, 1, 1)
        spoilt = (model.eval()(clip) - network(image)).abs().max() / network(image).abs().max()
    if "p3d" not in row.name:  # whose one inflated kernel steps over whole groups of frames
        assert spoilt > 1e-3, "the black frames beyond the ends must count, or this proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("name", INEXACT)
def test_what_has_more_than_the_image_network_says_so(name: str) -> None:
    model = create_model(name, num_classes=CLASSES)
    report = inflate(model, made_image_network(image_name(name)).state_dict())
    assert len(report.mapped) + len(report.inflated) > 60
    assert report.left or "axial" in name
    if name == "slowfast_r50_4x16":
        assert "slow.stages.1.0.conv1.weight" in report.resized, "the lateral channels start at zero"
        assert not model.get_parameter("slow.stages.1.0.conv1.weight")[:, 256:].any()
        assert set(report.unused) == {"fc.weight", "fc.bias"}


def test_positions_of_a_larger_picture() -> None:
    model = create_model("timesformer_space", num_classes=CLASSES, tiny=True)
    with pytest.raises(InflationError, match="vit_b_16"):
        inflate(model, made_image_network("vit_b_16").state_dict())
    large = create_model("timesformer_hr", num_classes=CLASSES)
    assert inflate(large, made_image_network("vit_b_16").state_dict()).resized == ("position_embed",)


def test_a_kernel_by_hand() -> None:
    weight = torch.arange(8.0).reshape(2, 1, 2, 2)
    repeated = inflate_kernel(weight, 4)
    assert repeated.shape == (2, 1, 4, 2, 2)
    assert torch.equal(repeated.sum(2), weight)
    assert torch.equal(repeated[:, :, 0], weight / 4)
    centred = inflate_kernel(weight, 3, "centre")
    assert torch.equal(centred[:, :, 1], weight)
    assert not centred[:, :, 0].any()
    assert not centred[:, :, 2].any()
    along = identity_along_time(torch.ones(3, 3, 3, 1, 1))
    clip = torch.randn(1, 3, 5, 2, 2)
    assert torch.equal(nn.functional.conv3d(clip, along, padding=(1, 0, 0)), clip)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (7, 2, 3), (3, 2, 1), (4, 2, 1)])
def test_repeated_ends_by_hand(kernel: int, stride: int, padding: int) -> None:
    layer = nn.Conv3d(1, 1, (kernel, 1, 1), (stride, 1, 1), (padding, 0, 0), bias=False)
    nn.init.constant_(layer.weight, 1.0)
    ones = torch.ones(1, 1, 12, 1, 1)
    with torch.no_grad():
        plain = layer(ones)
        assert float(plain.min()) < kernel, "zeros lower the ends"
        with repeated_ends(layer):
            assert torch.equal(layer(ones), torch.full_like(plain, float(kernel)))
        assert torch.equal(layer(ones), plain), "and it ends"


def test_what_does_not_fit_is_named() -> None:
    model = create_model("resnet3d_18", num_classes=CLASSES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InflationError, match=r"not the weights of resnet18.*layer1\.0\.conv1"):
        inflate(model, made_image_network("resnet50").state_dict())
    state = made_image_network("resnet18").state_dict()
    del state["layer4.1.bn2.bias"]
    with pytest.raises(InflationError, match=r"layer4\.1\.bn2\.bias \(for stages\.3.* is missing"):
        inflate(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(InflationError, match="repeat, centre"):
        inflate(model, state, "mirror")
    with pytest.raises(InflationError, match="resnet3d"):
        correspondence("no_such_network")


def test_another_number_of_classes_and_of_channels() -> None:
    state = made_image_network("resnet18").state_dict()
    model = create_model("resnet3d_18", num_classes=3, in_channels=2)
    head = model.get_parameter("head.weight").clone()
    report = inflate(model, state)
    assert set(report.left) == {"head.weight", "head.bias"}
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert report.resized == ("stem.conv.weight",)
    assert torch.equal(model.get_parameter("head.weight"), head)
    mean = state["conv1.weight"].mean(1)
    assert torch.allclose(model.get_parameter("stem.conv.weight").sum(2)[:, 1], mean, atol=1e-6)
    assert "2 left" in report.summary()


def test_each_correspondence_is_for_networks_that_exist() -> None:
    for each in CORRESPONDENCES:
        for pattern in each.models:
            names = list_models(pattern)
            assert names, f"{pattern} names no network"
            for name in names:
                assert image_name(name) in (*torchvision.models.list_models(), *OF_TIMM)


def test_image_weights_from_files(tmp_path: Path) -> None:
    state: dict[str, Tensor] = {"fc.weight": torch.ones(2, 2)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    torch.save([1, 2], tmp_path / "c.pt")
    (tmp_path / "d.pth").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    for name in ("a.pth", "b.safetensors"):
        assert torch.equal(load_image_weights(tmp_path / name)["fc.weight"], state["fc.weight"])
    with pytest.raises(InflationError, match="no state_dict"):
        load_image_weights(tmp_path / "c.pt")
    with pytest.raises(InflationError, match="cannot be read safely"):
        load_image_weights(tmp_path / "d.pth")
    with pytest.raises(InflationError, match="no such file"):
        load_image_weights(tmp_path / "e.pth")
    with pytest.raises(InflationError, match="neither a file"):
        load_image_weights("resnet5000")
    with pytest.raises(InflationError, match="IMAGENET1K_V1"):
        load_image_weights("resnet50.KINETICS")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = made_image_network("resnet18")
    torch.save(network.state_dict(), tmp_path / "image.pth")
    arguments = ["weights", "inflate", str(tmp_path / "image.pth"), "--model", "resnet3d_18"]
    out = tmp_path / "start.safetensors"
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), "--rule", "centre"])
    assert result.exit_code == 0, result.output
    assert "85 mapped, 17 inflated" in result.stderr
    assert result.stdout.strip() == str(out)
    model = create_model("resnet3d_18", weights=out)
    image = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    assert boring_video_difference(model, network, image, 16) < 1e-5
    flow = [*arguments, "--out", str(out), "--in-channels", "2", "--num-classes", "4", "--json"]
    report = json.loads(CliRunner().invoke(app, flow).stdout)
    assert (report["resized"], report["unused"]) == (["stem.conv.weight"], ["fc.bias", "fc.weight"])
    assert create_model("resnet3d_18", weights=out, in_channels=2).num_classes == 4
    refused = CliRunner().invoke(app, [*arguments[:-1], "c3d", "--out", str(out)])
    assert refused.exit_code == 2
    assert "not made from an image network" in refused.stderr


ON_FRAMES = (
    "tsn_r*",
    "snippets_*",
    "lstm_inception",
    "two_stream_inception",
    "two_stream_*_vgg16",
    "two_stream_*_resnet50",
    "fused3d_inception",
    "fused_vgg16",
    "sound_resnet18",
)


@pytest.mark.parametrize("name", sorted({name for names in ON_FRAMES for name in list_models(names)}))
def test_networks_on_single_frames_start_from_the_image_network(name: str) -> None:
    """Every part that an image network has takes its weights, in every stream; its classifier is left."""
    options: dict[str, Any] = {"init_weights": False} if image_name(name) in ("googlenet", "vgg16") else {}
    options |= {"aux_logits": False} if image_name(name) == "googlenet" else {}
    with torch.device("meta"):
        network = torchvision.models.get_model(image_name(name), num_classes=CLASSES, **options)
        model = create_model(name)
    report = inflate(model, network.state_dict())
    parts = {part: module for part, module in model.named_modules() if isinstance(module, ImagePart)}
    keys = {f"{part}.{key}" for part, module in parts.items() for key in module.state_dict()}
    assert keys
    filled = {*report.mapped, *report.resized}
    assert not {key for key in keys - filled if not key.endswith("num_batches_tracked")}
    assert set(report.resized) <= set(model.input_weights)
    assert {key.rpartition(".")[0] for key in report.unused} <= {"fc", "classifier.6"}


def test_no_one_file_starts_parts_of_two_image_networks() -> None:
    model = create_model("tsn_r18", tiny=True)
    model.add_module("other", make_trunk("inception", tiny=True))
    with pytest.raises(InflationError, match=r"several image networks \(googlenet, resnet18\)"):
        correspondence(model)


def test_an_image_network_that_torchvision_has_not() -> None:
    with pytest.raises(InflationError, match=r"bninception is neither.*vadis weights inflate FILE"):
        load_image_weights(image_name("tsn_bninception"))
