"""AlexNet's convolutions, as DeepVideo and those after it took them: the image network of 2012 to 2015.

Five convolutions with ever smaller kernels, the first two normalised among neighbouring channels, three of
them pooled: the first network that learned to see from a million pictures, and the one that video networks
were first made of. `times` lets the first convolutions look along time as well, which is all that
DeepVideo's early and slow fusion are.

Papers: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (NIPS 2012), in
the form of Karpathy et al. (CVPR 2014), section 3, which is one path where AlexNet had two with half of the
channels each. `vadis.models.deepvideo` has the table, and what is not printed.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.layers import LocalResponseNorm, Pixels, Size3, Trunk

WIDTHS = (96, 256, 384, 384, 256)
KERNELS = (11, 5, 3, 3, 3)
STRIDE = 3
NORMALISED, POOLED = (0, 1), (0, 1, 4)
"""The convolutions, from 0, that the normalisation follows, and those that a 2 x 2 max pooling follows."""

TINY_DIVISOR = 8
PIXELS: Pixels = {"mean": (117.0, 117.0, 117.0), "value_range": (0.0, 255.0)}

Times = tuple[tuple[int, int], ...]
"""Kernel and stride in time of the first convolutions; those that it does not tell look at single frames."""


class Convolutions(nn.Module):
    """The five convolutions with what follows them; `times` lets the first ones look along time.

    last_pool: whether pool5 is there. stride: of conv1 in space.
    """

    def __init__(
        self,
        in_channels: int,
        divisor: int,
        times: Times = (),
        *,
        last_pool: bool = True,
        stride: int = STRIDE,
    ) -> None:
        super().__init__()
        self.times: Times = times + ((1, 1),) * (len(WIDTHS) - len(times))
        self.stride, self.pooled = stride, POOLED if last_pool else POOLED[:-1]
        self.norm = LocalResponseNorm(5, 1e-4, 0.5, 2.0)
        channels = in_channels
        for number, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
            along, step = self.times[number]
            space = stride if number == 0 else 1
            border = kernel // 2
            self.add_module(
                f"conv{number + 1}",
                nn.Conv3d(
                    channels,
                    width // divisor,
                    (along, kernel, kernel),
                    (step, space, space),
                    (0, border, border),
                ),
            )
            channels = width // divisor
        self.channels = channels

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: of a size that leaves something (`positions`). Returns x_BDTHW, not negative."""
        for number in range(len(WIDTHS)):
            x_BCTHW = F.relu(self.get_submodule(f"conv{number + 1}")(x_BCTHW))
            if number in NORMALISED:
                x_BCTHW = self.norm(x_BCTHW)
            if number in self.pooled:
                x_BCTHW = F.max_pool3d(x_BCTHW, (1, 2, 2))
        return x_BCTHW

    def positions(self, size: Size3) -> Size3:
        """How many positions are left of `size` (frames, height, width); 0 or less where it is too small."""
        time, height, width = size
        for number, (along, step) in enumerate(self.times):
            time = (time - along) // step + 1
            if number == 0:
                height, width = (height - 1) // self.stride + 1, (width - 1) // self.stride + 1
            if number in self.pooled:
                height, width = height // 2, width // 2
        return time, height, width


class AlexNetTrunk(Trunk):
    """The convolutions on single frames, for networks that stand on them (`vadis.models.snippets`).

    conv1 has AlexNet's own stride of 4 here: 220 x 220 pixels become 6 x 6 then.
    """

    first = "layers.conv1.weight"
    min_pixels = 29
    pixels: ClassVar[Pixels] = PIXELS
    images = ""

    def __init__(self, in_channels: int = 3, *, tiny: bool = False) -> None:
        super().__init__()
        self.layers = Convolutions(in_channels, TINY_DIVISOR if tiny else 1, stride=4)
        self.num_features = self.layers.channels
        start_as_alexnet(self, tiny)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """frames_BCHW: at least 29 x 29 pixels. Returns feature_BDHW."""
        return self.layers(frames_BCHW.unsqueeze(2)).squeeze(2)

    def image_key(self, key: str) -> str | None:
        """No public image network has these layers."""
        return None


def start_as_alexnet(module: nn.Module, tiny: bool) -> None:
    """AlexNet's start, made for pixels of 0 to 255 and wide layers; the tiny forms start by He's rule."""
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv3d, nn.Linear)):
            if tiny:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.01)
            ones = not tiny and name.rpartition(".")[2] in ("conv2", "conv4", "conv5", "fc6", "fc7")
            nn.init.constant_(layer.get_parameter("bias"), float(ones))
