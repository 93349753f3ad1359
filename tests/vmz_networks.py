"""VMZ's networks, built from torchvision's classes, and the names that its Caffe2 code gives their blobs.

The PyTorch port of VMZ builds R(2+1)D and CSN from torchvision's `VideoResNet` with two convolutions of its
own; its Caffe2 code counts blocks through and convolutions within them (`builder/video_model.py`), and the
published converter (`convert_models.py`) lists the blobs. Nothing here knows of our own networks.

`python tests/vmz_networks.py` writes `golden/vmz/caffe2_blobs.json`: names and shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.video import resnet as tv

BLOBS = Path(__file__).parent / "golden" / "vmz" / "caffe2_blobs.json"
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}


class PerConv(tv.Conv2Plus1D):
    """(2+1)D whose middle planes follow from its own channels, whatever the block asks for."""

    def __init__(self, inside: int, outside: int, _: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__(
            inside, outside, 27 * inside * outside // (9 * inside + 3 * outside), stride, padding
        )


class Depthwise(nn.Conv3d):
    """3x3x3 within each channel."""

    get_downsample_stride = staticmethod(tv.Conv3DSimple.get_downsample_stride)

    def __init__(self, inside: int, outside: int, _: int | None = None, stride: int = 1) -> None:
        super().__init__(inside, outside, 3, stride, 1, groups=inside, bias=False)


class PointwiseDepthwise(nn.Sequential):
    """1x1x1, batch norm, 3x3x3 within each channel."""

    get_downsample_stride = staticmethod(tv.Conv3DSimple.get_downsample_stride)

    def __init__(self, inside: int, outside: int, _: int | None = None, stride: int = 1) -> None:
        first = nn.Conv3d(inside, outside, 1, bias=False)
        super().__init__(first, nn.BatchNorm3d(outside), Depthwise(outside, outside, None, stride))


def plain_stem(length: int, padding: int, pool: bool = False) -> nn.Sequential:
    """A 3D or 2D first layer, or R2D's, which is as long as the clip."""
    conv = nn.Conv3d(3, 64, (length, 7, 7), (1, 2, 2), (padding, 3, 3), bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm3d(64), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))] if pool else []))


PLANE, FULL = tv.Conv3DNoTemporal, tv.Conv3DSimple
KINDS: dict[str, tuple[Callable[[], nn.Module], list[type[nn.Module]]]] = {
    "r2d": (partial(plain_stem, 8, 0), [PLANE] * 4),
    "fr2d": (partial(plain_stem, 1, 0), [PLANE] * 4),
    "r3d": (partial(plain_stem, 3, 1), [FULL] * 4),
    "mc4": (partial(plain_stem, 3, 1), [FULL, FULL, PLANE, PLANE]),
    "rmc4": (partial(plain_stem, 1, 0), [PLANE, PLANE, FULL, FULL]),
    "r2plus1d": (tv.R2Plus1dStem, [PerConv] * 4),
    "ir_csn": (partial(plain_stem, 3, 1, pool=True), [Depthwise] * 4),
    "ip_csn": (partial(plain_stem, 3, 1, pool=True), [PointwiseDepthwise] * 4),
}


def build(name: str, num_classes: int = 400) -> tv.VideoResNet:
    """A network of VMZ by our name, its batch norm's epsilon 1e-3."""
    kind, depth = name.rsplit("_", 1)
    stem, makers = KINDS[kind]
    block = tv.BasicBlock if int(depth) < 50 else tv.Bottleneck
    model = tv.VideoResNet(block, makers, list(BLOCKS[int(depth)]), stem, num_classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    return model.eval()


def _norm(prefix: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    assert isinstance(module, nn.BatchNorm3d)
    assert module.running_mean is not None
    assert module.running_var is not None
    yield from ((f"{prefix}_s", module.weight), (f"{prefix}_b", module.bias))
    yield from ((f"{prefix}_rm", module.running_mean), (f"{prefix}_riv", module.running_var))


def _block(block: nn.Module, index: int) -> Iterator[tuple[str, Tensor]]:
    """Convolutions are counted from 1; one that is depthwise and alone counts twice."""
    count = 0
    for part in (getattr(block, name) for name in ("conv1", "conv2", "conv3") if hasattr(block, name)):
        conv, norm = part[0], part[1]
        count += 2 if isinstance(conv, Depthwise) else 1
        name = f"comp_{index}_conv_{count}"
        if isinstance(conv, nn.Sequential):
            yield f"{name}_middle_w", conv[0].weight
            yield from _norm(f"comp_{index}_spatbn_{count}_middle", conv[1])
            conv = conv[-1]
        yield f"{name}_w", conv.weight
        yield from _norm(f"comp_{index}_spatbn_{count}", norm)
    if block.downsample is not None:
        yield f"shortcut_projection_{index}_w", block.downsample[0].weight
        yield from _norm(f"shortcut_projection_{index}_spatbn", block.downsample[1])


def caffe2_blobs(model: tv.VideoResNet) -> dict[str, Tensor]:
    """The parameters of a network by the names of VMZ's zoo."""
    stem, found = model.stem, []
    if isinstance(stem, tv.R2Plus1dStem):
        found += [("conv1_middle_w", stem[0].weight), *_norm("conv1_middle_spatbn_relu", stem[1])]
        found += [("conv1_w", stem[3].weight), *_norm("conv1_spatbn_relu", stem[4])]
    else:
        found += [("conv1_w", stem[0].weight), *_norm("conv1_spatbn_relu", stem[1])]
    blocks = [block for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for block in layer]
    for index, block in enumerate(blocks):
        found += list(_block(block, index))
    head = f"last_out_L{model.fc.out_features}"
    return dict([*found, (f"{head}_w", model.fc.weight), (f"{head}_b", model.fc.bias)])


NAMES = ("r2d_18", "rmc4_18", "r2plus1d_34", "r2plus1d_152", "ir_csn_152", "ip_csn_152")


def main() -> None:
    """Write the names and shapes of some networks of the zoo."""
    with torch.device("meta"):
        shapes = {
            name: {blob: list(tensor.shape) for blob, tensor in caffe2_blobs(build(name)).items()}
            for name in NAMES
        }
    BLOBS.write_text(json.dumps(shapes, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
