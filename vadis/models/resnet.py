"""ResNet: the image network under most video networks of the years 2015 to 2020.

A block does not compute its output but what to add to its input: relu(x + branch(x)). Where nothing is to be
added the branch learns zeros, so that a hundred layers train as easily as ten. It knows nothing of time: it
is run on each frame, and the video networks that stand on it bring the frames together.

Paper: He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016, arXiv:1512.03385), table 1. For a
frame of 224 x 224:

    layer     ours      18             34             50                  101      152      size
    conv1     stem      7x7, 64, stride 2                                                   112
    pool      pool      3x3 max, stride 2                                                   56
    conv2_x   stages.0  (3x3, 64) x2   x 3            (1x1, 3x3, 1x1) x3  x 3      x 3      56
                        x 2                           64, 64, 256
    conv3_x   stages.1  128: x 2       x 4            512: x 4            x 4      x 8      28
    conv4_x   stages.2  256: x 2       x 6            1024: x 6           x 23     x 36     14
    conv5_x   stages.3  512: x 2       x 3            2048: x 3           x 3      x 3      7

No convolution has a bias, each has batch norm behind it. The first block of the stages 1 to 3 halves the map
and, as every first block whose channels change, has a 1x1 convolution in its shortcut.

Where we differ, and why: a bottleneck halves the map in its 3x3, not in its first 1x1 as printed. The weights
that everybody has (torchvision's) are of this form.

Shapes: B frames, C channels, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from vadis.models.contract import Paper
from vadis.models.image_keys import resnet_key
from vadis.models.layers import Trunk

PAPERS = (
    Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="He et al.",
        venue="CVPR 2016",
        arxiv="1512.03385",
        idea="Let each block learn what to add to its input instead of its output, so that layers that have "
        "nothing to say can keep still, and very deep networks train. Two-stream networks, TSN and all "
        "inflated ResNets stand on it.",
    ),
)

DEPTHS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
TINY_DEPTHS = (1, 1, 1, 1)
WIDTH, TINY_WIDTH = 64, 8
EXPANSION = 4
"""Outer over inner channels of a bottleneck."""


class Block(nn.Module):
    """relu(x + branch(x)): two 3x3 convolutions, or as a bottleneck 1x1, 3x3 (it has the stride), 1x1."""

    def __init__(self, in_channels: int, inner: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        self.channels = inner * EXPANSION if bottleneck else inner
        widths = (in_channels, *(inner,) * (len(kernels) - 1), self.channels)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        self.length = len(kernels)
        for index, kernel in enumerate(kernels):
            conv = nn.Conv2d(
                widths[index], widths[index + 1], kernel, strides[index], kernel // 2, bias=False
            )
            self.add_module(f"conv{index + 1}", conv)
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(widths[index + 1]))
        self.relu = nn.ReLU(inplace=True)
        changed = stride > 1 or in_channels != self.channels
        self.shortcut = _conv_bn(in_channels, self.channels, 1, stride) if changed else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW, not negative, H and W divided by the stride, rounded up."""
        x = x_BCHW
        for index in range(1, self.length + 1):
            x = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(x))
            if index < self.length:
                x = self.relu(x)
        return self.relu(x.add_(self.shortcut(x_BCHW)))


class ResNet(Trunk):
    """The trunk of `depth` layers, up to its last stage. Raises ValueError for a depth not in the table."""

    first = "stem.conv.weight"
    classifier = "fc"

    def __init__(self, depth: int, in_channels: int = 3, *, tiny: bool = False) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"a ResNet has {', '.join(map(str, DEPTHS))} layers, got {depth}")
        self.images = f"resnet{depth}"
        self.in_channels = in_channels
        width = TINY_WIDTH if tiny else WIDTH
        self.stem = _conv_bn(in_channels, width, 7, 2)
        self.stem.add_module("relu", nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        channels = width
        for stage, length in enumerate(TINY_DEPTHS if tiny else DEPTHS[depth]):
            blocks = nn.Sequential()
            for index in range(length):
                stride = 2 if stage > 0 and index == 0 else 1
                block = Block(channels, width * 2**stage, stride, bottleneck=depth >= 50)
                blocks.append(block)
                channels = block.channels
            self.stages.append(blocks)
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Describe frames of any size. Returns feature_BDHW, H and W = pixels / 32, rounded up."""
        x = self.pool(self.stem(frames_BCHW))
        for stage in self.stages:
            x = stage(x)
        return x

    def image_key(self, key: str) -> str | None:
        """torchvision's spelling: `stages.0.1.conv2.weight` is `layer1.1.conv2.weight`."""
        return resnet_key(key)


def _conv_bn(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution without bias, padded by half its kernel, and batch norm, by the names `conv` and `bn`."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))
