"""Xception: the image network under the challenge's stream of sound.

A convolution looks along space and across channels at once. Taken apart, it first looks at each channel by
itself (3x3, "depthwise") and then mixes the channels at each position (1x1, "pointwise"): the extreme form of
what Inception's branches do, at a ninth of the cost. It knows nothing of time: it is run on each picture, of
which sound makes one (`vadis.models.sound`).

Paper: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions" (CVPR 2017, arXiv:1610.02357),
figure 5. For a picture of 299 x 299:

    flow     ours         layers                                                   channels          size
    entry    stem         3x3, stride 2; 3x3 (neither is padded)                   32, 64            147
             blocks.0     2 separable, pool of stride 2                            128, 128          74
             blocks.1     2 separable, pool of stride 2                            256, 256          37
             blocks.2     2 separable, pool of stride 2                            728, 728          19
    middle   blocks.3-10  3 separable                                              728, 728, 728     19
    exit     blocks.11    2 separable, pool of stride 2                            728, 1024         10
             top          2 separable                                              1536, 2048        10

Separable convolutions are padded and have no bias; batch norm follows each, none lies between its two halves.
In the blocks ReLU stands before each (blocks.0 starts without), in the top after. Pools are 3x3 by the
maximum. Each block adds its input, through a 1x1 convolution of stride 2 and batch norm where sizes differ.

Where we differ, and why: as in the PyTorch ports that carry the published weights (timm's `legacy_xception`),
pools and strides are padded by one on either side, where TensorFlow pads the end only, and epsilon of batch
norm is 1e-5, not 1e-3. Equal to timm's with the same weights (tests/test_xception.py).

`vadis.models.lgd` has the same plan with time in it (LGD-P3D-Xception).

Shapes: B pictures, C channels, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vadis.models.contract import Paper
from vadis.models.layers import Trunk

PAPERS = (
    Paper(
        title="Xception: Deep Learning with Depthwise Separable Convolutions",
        authors="Chollet",
        venue="CVPR 2017",
        arxiv="1610.02357",
        idea="Let a convolution look at each channel by itself first and mix the channels afterwards. The "
        "challenge entry of 2019 reads pictures of sound with it, and pseudo-3D frames.",
    ),
)


class XceptionPlan(NamedTuple):
    """The channels of an Xception: two plain convolutions, blocks that halve H and W, `middle` more of the
    last width, one that halves again, two separable convolutions.
    """

    stem: tuple[int, int] = (32, 64)
    entry: tuple[int, ...] = (128, 256, 728)
    middle: int = 8
    exit: int = 1024
    top: tuple[int, int] = (1536, 2048)


XCEPTION = XceptionPlan()
TINY_XCEPTION = XceptionPlan((4, 8), (16, 32, 48), 1, 64, (64, 96))


class Separable(nn.Sequential):
    """3x3 for each channel by itself, 1x1 across channels, batch norm."""

    def __init__(self, in_channels: int, channels: int) -> None:
        space = nn.Conv2d(in_channels, in_channels, 3, 1, 1, groups=in_channels, bias=False)
        across = nn.Conv2d(in_channels, channels, 1, bias=False)
        super().__init__(OrderedDict(space=space, across=across, bn=nn.BatchNorm2d(channels)))


class Block(nn.Module):
    """ReLU and a separable convolution, once for each of `widths`; a 3x3 max pool where it has a stride.

    The first has no ReLU where `rectify` is False. Nothing follows the sum with the shortcut.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], stride: int, rectify: bool = True) -> None:
        super().__init__()
        self.rectify = rectify
        self.separables = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.separables.append(Separable(channels, width))
            channels = width
        self.pool = nn.MaxPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW, not rectified, H and W divided by the stride, rounded up."""
        x = x_BCHW
        for index, separable in enumerate(self.separables):
            x = separable(x.relu() if self.rectify or index > 0 else x)
        return self.pool(x) + self.shortcut(x_BCHW)


class Xception(Trunk):
    """The trunk, up to the last separable convolution."""

    first = "stem.conv1.weight"
    min_pixels = 7
    pixels = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # noqa: RUF012
    images = "xception"
    classifier = "fc"

    def __init__(self, in_channels: int = 3, *, tiny: bool = False) -> None:
        super().__init__()
        plan = TINY_XCEPTION if tiny else XCEPTION
        first, channels = plan.stem
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, first, 3, 2, bias=False),
                bn1=nn.BatchNorm2d(first),
                relu1=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(first, channels, 3, bias=False),
                bn2=nn.BatchNorm2d(channels),
                relu2=nn.ReLU(inplace=True),
            )
        )
        self.blocks = nn.Sequential()
        for width in plan.entry:
            self.blocks.append(Block(channels, (width, width), 2, rectify=len(self.blocks) > 0))
            channels = width
        for _ in range(plan.middle):
            self.blocks.append(Block(channels, (channels,) * 3, 1))
        self.blocks.append(Block(channels, (channels, plan.exit), 2))
        self.top = nn.Sequential()
        channels = plan.exit
        for width in plan.top:
            self.top.extend([Separable(channels, width), nn.ReLU(inplace=True)])
            channels = width
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Describe pictures from 7 x 7 pixels on. Returns feature_BDHW, H and W about pixels / 32."""
        features_BDHW: Tensor = self.top(self.blocks(self.stem(frames_BCHW)))
        return features_BDHW

    def image_key(self, key: str) -> str | None:
        """timm's spelling: `blocks.1.separables.0.space.weight` is `block2.rep.1.conv1.weight`."""
        return xception_key(key)


def xception_key(key: str) -> str | None:
    """timm's key of one of ours, None where it has none.

    Its blocks are a list in which each ReLU has a number; the first block lacks the first ReLU. A separable
    convolution and its batch norm are two of that list.
    """
    match = re.fullmatch(r"stem\.((?:conv|bn)\d\.\w+)", key)
    if match:
        return match[1]
    match = re.fullmatch(r"blocks\.(\d+)\.shortcut\.(conv|bn)\.(\w+)", key)
    if match:
        return f"block{int(match[1]) + 1}.{'skip' if match[2] == 'conv' else 'skipbn'}.{match[3]}"
    match = re.fullmatch(r"blocks\.(\d+)\.separables\.(\d+)\.(space|across|bn)\.(\w+)", key)
    if match:
        at = 3 * int(match[2]) + (0 if match[1] == "0" else 1)
        layer = {"space": f"{at}.conv1", "across": f"{at}.pointwise", "bn": f"{at + 1}"}[match[3]]
        return f"block{int(match[1]) + 1}.rep.{layer}.{match[4]}"
    match = re.fullmatch(r"top\.([02])\.(space|across|bn)\.(\w+)", key)
    if match:
        number = 3 + int(match[1]) // 2
        layers = {"space": f"conv{number}.conv1", "across": f"conv{number}.pointwise", "bn": f"bn{number}"}
        return f"{layers[match[2]]}.{match[3]}"
    return None
