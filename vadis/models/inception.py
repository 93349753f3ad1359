"""Inception-v1 on images, with batch norm: GoogLeNet, from which I3D is inflated.

A block looks at the same map through 1x1, 3x3 and larger kernels side by side and stacks what they find;
before each large kernel a 1x1 makes the channels few, so that 22 layers cost less than AlexNet's eight. It
knows nothing of time: it is run on each frame, and the video networks that stand on it (two-stream networks,
pooling and LSTM, the baselines of the I3D paper) bring the frames together.

Paper: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015, arXiv:1409.4842), table 1, with the batch
norm of Ioffe and Szegedy after each convolution. The layers, their channels and our names for them are those
of `vadis.models.i3d.LAYERS` without the time: 7x7 of stride 2 and 64 channels; 3x3 max pooling; 1x1, 64;
3x3, 192; 3x3 max pooling; nine mixed blocks with two poolings between them; 1024 channels out.

Where we differ, and why: as in torchvision's GoogLeNet, whose weights fit, the third branch has 3x3 kernels
instead of 5x5, pools round their size up, epsilon of batch norm is 1e-3; there are no auxiliary classifiers.
Weights start from He's normal rule.

Shapes: B frames, C channels, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper
from vadis.models.i3d import LAYERS, Conv, Mix, Pool
from vadis.models.image_keys import googlenet_key
from vadis.models.layers import Pixels, Trunk

BN_EPSILON = 1e-3
MIN_PIXELS = 15
"""One position must be left under each pool."""
TINY_DIVISOR = 16
TINY_BLOCKS = ("mixed3b", "mixed4b", "mixed5c")

PAPERS = (
    Paper(
        title="Going Deeper with Convolutions",
        authors="Szegedy et al.",
        venue="CVPR 2015",
        arxiv="1409.4842",
        idea="Look at the same map through kernels of several sizes side by side, and make the channels few "
        "before each large one. Deep and cheap, it is the image network under pooling and LSTM, the "
        "two-stream networks of the I3D paper and, inflated, I3D.",
    ),
)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=BN_EPSILON)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW, not negative, H and W divided by the stride, rounded up."""
        return self.relu(self.bn(self.conv(x_BCHW)))


class Mixed(nn.Module):
    """The Inception block: four branches side by side, channels stacked."""

    def __init__(self, in_channels: int, row: Mix) -> None:
        super().__init__()
        self.branch0 = ConvUnit(in_channels, row.branch0, 1)
        self.branch1_reduce = ConvUnit(in_channels, row.branch1_reduce, 1)
        self.branch1 = ConvUnit(row.branch1_reduce, row.branch1, 3)
        self.branch2_reduce = ConvUnit(in_channels, row.branch2_reduce, 1)
        self.branch2 = ConvUnit(row.branch2_reduce, row.branch2, 3)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.branch3 = ConvUnit(in_channels, row.branch3, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW of the same H and W."""
        return torch.cat(
            [
                self.branch0(x_BCHW),
                self.branch1(self.branch1_reduce(x_BCHW)),
                self.branch2(self.branch2_reduce(x_BCHW)),
                self.branch3(self.pool(x_BCHW)),
            ],
            dim=1,
        )


class InceptionV1(Trunk):
    """The trunk, up to `mixed5c`; `tiny` leaves one block of each size, and a sixteenth of each width."""

    first = "conv1a.conv.weight"
    min_pixels = MIN_PIXELS
    pixels: ClassVar[Pixels] = {"value_range": (-1.0, 1.0)}
    images = "googlenet"
    classifier = "fc"

    def __init__(self, in_channels: int = 3, *, tiny: bool = False) -> None:
        super().__init__()
        self.in_channels = in_channels
        divisor = TINY_DIVISOR if tiny else 1
        channels = in_channels
        for name, row in LAYERS.items():
            layer: nn.Module
            if isinstance(row, Pool):
                layer = nn.MaxPool2d(row.kernel[1], row.stride[1], ceil_mode=True)
            elif isinstance(row, Conv):
                layer = ConvUnit(channels, row.channels // divisor, row.kernel[1], row.stride[1])
                channels = row.channels // divisor
            elif tiny and name not in TINY_BLOCKS:
                continue
            else:
                narrow = Mix(row.published, *(width // divisor for width in row[1:]))
                layer = Mixed(channels, narrow)
                channels = narrow.channels
            self.add_module(name, layer)
        self.num_features = channels

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Describe frames of at least 15 x 15 pixels. Returns feature_BDHW, H and W = pixels / 32."""
        x = frames_BCHW
        for layer in self.children():
            x = layer(x)
        return x

    def image_key(self, key: str) -> str | None:
        """torchvision's spelling: `mixed3b.branch0.conv.weight` is `inception3a.branch1.conv.weight`."""
        return googlenet_key(key)
