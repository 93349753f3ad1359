"""I3D: Inception-v1 inflated to three dimensions.

A video is a volume of pixels, so give an image network that is known to work a third dimension: each
k x k filter becomes k x k x k, each pooling window gains a length in time. The weights of the image
network, repeated over time and divided by the length, are then a start that already sees objects, and
training on video adds motion. Two such networks, one on RGB and one on optical flow, are trained apart
and their logits added.

Paper: Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset"
(CVPR 2017, arXiv:1705.07750), figure 3. For a clip of 64 frames of 224 x 224 pixels:

    published name        ours      kernel    stride   channels                          T x H x W
    Conv3d_1a_7x7         conv1a    7x7x7     2,2,2    64                                32 x 112 x 112
    MaxPool3d_2a_3x3      pool2a    1x3x3     1,2,2                                      32 x 56 x 56
    Conv3d_2b_1x1         conv2b    1x1x1     1        64
    Conv3d_2c_3x3         conv2c    3x3x3     1        192
    MaxPool3d_3a_3x3      pool3a    1x3x3     1,2,2                                      32 x 28 x 28
    Mixed_3b, 3c          mixed3b.. 3x3x3     1        256, 480
    MaxPool3d_4a_3x3      pool4a    3x3x3     2,2,2                                      16 x 14 x 14
    Mixed_4b ... 4f       mixed4b.. 3x3x3     1        512, 512, 512, 528, 832
    MaxPool3d_5a_2x2      pool5a    2x2x2     2,2,2                                      8 x 7 x 7
    Mixed_5b, 5c          mixed5b.. 3x3x3     1        832, 1024
    (inside Logits)       avgpool   2x7x7     1        1024, no padding                  7 x 1 x 1
    Logits                logits    1x1x1     1        classes, mean over space and time

Each convolution is followed by batch norm and ReLU, except the last, which has a bias instead. A mixed
block runs four branches side by side (1x1x1; 1x1x1 then 3x3x3; the same again; 3x3x3 max pool then
1x1x1) and stacks their channels. The second 3x3x3 stands where the Inception paper has 5x5: the
published code never had the 5x5.

Where we differ from the paper's figure, and why:
- Receptive fields. `receptive_field` computes them from the table below. The network as published in
  code sees 67 frames and 251 pixels after stage 4 (`pool5a`), 107 and 571 at the end; the figure prints
  59 and 219, 99 and 539, which is what four blocks in stage 4 would give: it has five.
- Batch norm has a scale here, fixed at 1 in the published weights (their library's default has none).
  It costs 0.1 % of the parameters, and every fine-tuned PyTorch checkpoint of I3D has it.
- The running statistics move by 1 % a step (`BN_MOMENTUM`), not 0.1 %: a fine-tuning of a few hundred
  steps would otherwise be tested with the statistics of its start.
- Weights start from He's normal rule, not Sonnet's (a factor of sqrt(2) smaller, which fades a signal
  in 22 layers as long as batch norm has not seen data).
- Any size goes: from 9 frames (what two positions at the top take) and 32 pixels on. Where fewer than
  7 x 7 positions are left at the top, the average covers what is there.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.layers import Size3, check_clip, fresh_classifier, make_spec

BN_EPSILON = 1e-3
BN_MOMENTUM = 0.01
MIN_FRAMES = 9
MIN_PIXELS = 32
TINY_DIVISOR = 8

PAPERS = (
    Paper(
        "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
        "Carreira and Zisserman",
        "CVPR 2017",
        "1705.07750",
        "Give an image network that is known to work a third dimension: each k x k filter becomes k x k x k, "
        "and the image weights, repeated over time, are the start. Two such networks, one on RGB and one on "
        "optical flow, are trained apart and their logits added.",
        (
            Result("i3d_inception", "Kinetics-400 test", 71.1, 89.3, "whole video", "from ImageNet"),
            Result("i3d_inception", "Kinetics-400 test", 68.4, 88.0, "whole video", "from scratch"),
            Result("i3d_inception_flow", "Kinetics-400 test", 63.4, 84.9, "whole video", "from ImageNet"),
            Result("i3d_inception_flow", "Kinetics-400 test", 61.5, 83.4, "whole video", "from scratch"),
            Result(
                "i3d_inception i3d_inception_flow",
                "Kinetics-400 test",
                74.2,
                91.3,
                "whole video",
                "both, from ImageNet",
            ),
        ),
        (
            PrintedSize(
                "i3d_inception",
                "12 M, 108 G",
                "12.70 M, 111.2 G",
                "Printed as 12.06 M and 107.9 G in the S3D paper. We count every tap of a kernel; without "
                "those that fall on padding it is 104.4 G, and 107.9 lies between by a rule that is not "
                "stated. Without the 400 classes there are 12.29 M parameters.",
            ),
        ),
    ),
)


class Conv(NamedTuple):
    """A row of the table: convolution, batch norm, ReLU. Kernel and stride are (time, height, width)."""

    published: str
    kernel: Size3
    stride: Size3
    channels: int


class Pool(NamedTuple):
    """A row of the table: max pooling. Kernel and stride are (time, height, width)."""

    published: str
    kernel: Size3
    stride: Size3


class Mix(NamedTuple):
    """A row of the table: the channels of a mixed block, branch by branch.

    Branch 1 and 2 first reduce the channels, then look around; branch 3 projects what was pooled.
    """

    published: str
    branch0: int
    branch1_reduce: int
    branch1: int
    branch2_reduce: int
    branch2: int
    branch3: int

    @property
    def channels(self) -> int:
        """Channels that come out: the branches' outputs are stacked."""
        return self.branch0 + self.branch1 + self.branch2 + self.branch3


LAYERS: dict[str, Conv | Pool | Mix] = {
    "conv1a": Conv("Conv3d_1a_7x7", (7, 7, 7), (2, 2, 2), 64),
    "pool2a": Pool("MaxPool3d_2a_3x3", (1, 3, 3), (1, 2, 2)),
    "conv2b": Conv("Conv3d_2b_1x1", (1, 1, 1), (1, 1, 1), 64),
    "conv2c": Conv("Conv3d_2c_3x3", (3, 3, 3), (1, 1, 1), 192),
    "pool3a": Pool("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "mixed3b": Mix("Mixed_3b", 64, 96, 128, 16, 32, 32),
    "mixed3c": Mix("Mixed_3c", 128, 128, 192, 32, 96, 64),
    "pool4a": Pool("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "mixed4b": Mix("Mixed_4b", 192, 96, 208, 16, 48, 64),
    "mixed4c": Mix("Mixed_4c", 160, 112, 224, 24, 64, 64),
    "mixed4d": Mix("Mixed_4d", 128, 128, 256, 24, 64, 64),
    "mixed4e": Mix("Mixed_4e", 112, 144, 288, 32, 64, 64),
    "mixed4f": Mix("Mixed_4f", 256, 160, 320, 32, 128, 128),
    "pool5a": Pool("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
    "mixed5b": Mix("Mixed_5b", 256, 160, 320, 32, 128, 128),
    "mixed5c": Mix("Mixed_5c", 384, 192, 384, 48, 128, 128),
}
"""The trunk, in order. The head follows: average over HEAD_KERNEL, dropout, 1x1x1 convolution, mean."""

HEAD_KERNEL: Size3 = (2, 7, 7)
HEAD_ENDPOINTS = {"avgpool": "AvgPool3d_6a_7x7", "logits": "Logits"}
ENDPOINTS: tuple[str, ...] = (*LAYERS, *HEAD_ENDPOINTS)
PUBLISHED_NAMES: dict[str, str] = {row.published: name for name, row in LAYERS.items()} | {
    published: name for name, published in HEAD_ENDPOINTS.items()
}
"""The published endpoint names (Conv3d_1a_7x7 ... Mixed_5c, Logits) -> ours; both are understood."""


def endpoint_name(endpoint: str) -> str:
    """Our name of an endpoint, given by our name or the published one; KeyError lists the names."""
    name = PUBLISHED_NAMES.get(endpoint, endpoint)
    if name not in ENDPOINTS:
        raise KeyError(f"I3D has no endpoint {endpoint!r}; it has {', '.join(ENDPOINTS)}")
    return name


def receptive_field(endpoint: str) -> tuple[int, int]:
    """How much of the input one position of `endpoint` depends on: (frames, pixels of a side).

    Each layer adds (kernel - 1) times the product of the strides below it. Of a mixed block the widest
    branch counts, 3x3x3. Borders are left out of account.
    """
    name = endpoint_name(endpoint)
    frames, pixels, jump_time, jump_space = 1, 1, 1, 1
    rows = [(key, *_reach(row)) for key, row in LAYERS.items()]
    rows += [("avgpool", HEAD_KERNEL, (1, 1, 1)), ("logits", (1, 1, 1), (1, 1, 1))]
    for key, kernel, stride in rows:
        frames += (kernel[0] - 1) * jump_time
        pixels += (kernel[1] - 1) * jump_space
        jump_time *= stride[0]
        jump_space *= stride[1]
        if key == name:
            break
    return frames, pixels


def _reach(row: Conv | Pool | Mix) -> tuple[Size3, Size3]:
    """Kernel and stride of a row."""
    return ((3, 3, 3), (1, 1, 1)) if isinstance(row, Mix) else (row.kernel, row.stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME rule along one axis: (before, after), in positions.

    The output has ceil(size / stride) positions, and what must be added for that is split in halves,
    the odd one after. It therefore depends on the input: 224 positions under a kernel of 7 with stride 2
    take (2, 3), 225 take (3, 3). With stride 1 and an odd kernel it is always symmetric.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv3d(nn.Conv3d):
    """A convolution with SAME padding for whatever size comes in.

    The convolution itself pads both sides by the smaller half, which costs nothing; only the odd row
    after, where there is one (in I3D: the first layer), needs a padded copy of the input.
    """

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW of ceil(T / stride) x ceil(H / stride) x ceil(W / stride)."""
        pads = [
            same_padding(size, kernel, stride)
            for size, kernel, stride in zip(x_BCTHW.shape[2:], self.kernel_size, self.stride, strict=True)
        ]
        (front, back), (top, bottom), (left, right) = pads
        if (front, top, left) != (back, bottom, right):
            x_BCTHW = F.pad(x_BCTHW, (0, right - left, 0, bottom - top, 0, back - front))
        return F.conv3d(x_BCTHW, self.weight, self.bias, self.stride, (front, top, left))


class SameMaxPool3d(nn.Module):
    """Max pooling with SAME padding for whatever size comes in.

    What is outside never wins, as in TensorFlow (zeros would do so too, after a ReLU only). The odd
    row after is a window that reaches over the edge (`ceil_mode`), so that nothing is ever copied.
    """

    def __init__(self, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BCTHW of ceil(T / stride) x ceil(H / stride) x ceil(W / stride)."""
        pads = [
            same_padding(size, kernel, stride)
            for size, kernel, stride in zip(x_BCTHW.shape[2:], self.kernel, self.stride, strict=True)
        ]
        before = [pad[0] for pad in pads]
        over_the_edge = any(pad[0] != pad[1] for pad in pads)
        return F.max_pool3d(x_BCTHW, self.kernel, self.stride, before, ceil_mode=over_the_edge)

    def extra_repr(self) -> str:
        """Kernel and stride, for `print(model)`."""
        return f"kernel={self.kernel}, stride={self.stride}"


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU: `Unit3D` of the published code."""

    def __init__(self, in_channels: int, channels: int, kernel: Size3, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__()
        self.conv = SameConv3d(in_channels, channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(channels, eps=BN_EPSILON, momentum=BN_MOMENTUM)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative, each size divided by the stride, rounded up."""
        return self.relu(self.bn(self.conv(x_BCTHW)))


class Mixed(nn.Module):
    """The Inception block in three dimensions: four branches side by side, channels stacked."""

    def __init__(self, in_channels: int, row: Mix) -> None:
        super().__init__()
        one, three = (1, 1, 1), (3, 3, 3)
        self.branch0 = ConvUnit(in_channels, row.branch0, one)
        self.branch1_reduce = ConvUnit(in_channels, row.branch1_reduce, one)
        self.branch1 = ConvUnit(row.branch1_reduce, row.branch1, three)
        self.branch2_reduce = ConvUnit(in_channels, row.branch2_reduce, one)
        self.branch2 = ConvUnit(row.branch2_reduce, row.branch2, three)
        self.pool = SameMaxPool3d(three, one)
        self.branch3 = ConvUnit(in_channels, row.branch3, one)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW of the same T, H, W."""
        return torch.cat(
            [
                self.branch0(x_BCTHW),
                self.branch1(self.branch1_reduce(x_BCTHW)),
                self.branch2(self.branch2_reduce(x_BCTHW)),
                self.branch3(self.pool(x_BCTHW)),
            ],
            dim=1,
        )


class InceptionI3d(VideoModel):
    """Inflated Inception-v1, for RGB (3 channels) or optical flow (2: u and v in pixels / 20)."""

    input_weights = ("conv1a.conv.weight",)
    min_frames = MIN_FRAMES

    def __init__(
        self, num_classes: int = 400, *, in_channels: int = 3, dropout: float = 0.5, width_divisor: int = 1
    ) -> None:
        super().__init__()
        self.spec = make_spec(in_channels, num_frames=64, fps=25.0, value_range=(-1.0, 1.0))
        self.num_classes = num_classes
        channels = in_channels
        for name, row in LAYERS.items():
            layer: nn.Module
            if isinstance(row, Pool):
                layer = SameMaxPool3d(row.kernel, row.stride)
            elif isinstance(row, Conv):
                layer = ConvUnit(channels, row.channels // width_divisor, row.kernel, row.stride)
                channels = row.channels // width_divisor
            else:
                narrow = Mix(row.published, *(width // width_divisor for width in row[1:]))
                layer = Mixed(channels, narrow)
                channels = narrow.channels
            self.add_module(name, layer)
        self.num_features = channels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv3d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, SameConv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean of `forward_dense` over time.

        clip_BCTHW: float, normalised by `self.spec`; at least 9 frames of at least 32 x 32 pixels.
        Returns logits_BK. Paper: sec. 2.4 and figure 3.
        """
        return self.forward_dense(clip_BCTHW).mean(dim=1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score every position in time: each sees 107 frames, positions are 8 frames apart.

        clip_BCTHW: as for `forward`. Returns logits_BTK with T = ceil(ceil(ceil(frames / 2) / 2) / 2) - 1:
        64 frames give 7 positions, 79 give 9, 250 give 31.
        """
        return self.endpoints(clip_BCTHW, ("logits",))["logits"]

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last mixed block (Mixed_5c).

        clip_BCTHW: float, normalised by `self.spec`; any number of frames of at least 32 x 32 pixels.
        Returns feature_BDTHW: D = 1024, T = frames / 8, H W = pixels / 32, rounded up.
        """
        return self.endpoints(clip_BCTHW, ("mixed5c",))["mixed5c"]

    def endpoints(self, clip_BCTHW: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """What comes out of the layers that are asked for; what lies beyond the last is not computed.

        clip_BCTHW: as for `forward`. names: ours ("mixed4f") or the published ones ("Mixed_4f").
        Returns, under the names that were asked for, x_BDTHW of each layer; for "avgpool" the averages
        before dropout, feature_BDTHW; for "logits" logits_BTK.
        """
        asked = {name: endpoint_name(name) for name in names}
        missing = set(asked.values())
        self._check(clip_BCTHW, scored=not missing.isdisjoint(HEAD_ENDPOINTS))
        found: dict[str, Tensor] = {}
        x = clip_BCTHW
        for key in ENDPOINTS:
            if not missing:
                break
            if key == "avgpool":
                x = self._average(x)
            elif key == "logits":
                x = self._classify(x)
            else:
                x = self.get_submodule(key)(x)
            if key in missing:
                found[key] = x
                missing.remove(key)
        return {name: found[key] for name, key in asked.items()}

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes, std=self.num_features**-0.5)
        self.num_classes = num_classes
        self.class_names = None

    def _average(self, feature_BDTHW: Tensor) -> Tensor:
        """The 2x7x7 average, without padding; where less than 7x7 is there, it covers what is there.

        Written as 7x7 in space and pairs in time: a CPU has no three-dimensional one in bfloat16.
        """
        depth, time, height, width = feature_BDTHW.shape[1:]
        kernel = (min(height, HEAD_KERNEL[1]), min(width, HEAD_KERNEL[2]))
        planes = F.avg_pool2d(feature_BDTHW.flatten(1, 2), kernel, stride=1).unflatten(1, (depth, time))
        return (planes[:, :, :-1] + planes[:, :, 1:]) / 2

    def _classify(self, feature_BDTHW: Tensor) -> Tensor:
        """Dropout and the linear classifier at each position, then the mean over space: logits_BTK."""
        return self.head(self.dropout(feature_BDTHW)).mean(dim=(3, 4)).transpose(1, 2)

    def _check(self, clip_BCTHW: Tensor, scored: bool) -> None:
        """Refuse what is no clip or too small, with a ValueError that says what to do."""
        check_clip(self, clip_BCTHW, min_pixels=MIN_PIXELS)
        frames = clip_BCTHW.shape[2]
        if scored and frames < MIN_FRAMES:
            raise ValueError(
                f"I3D scores clips of at least {MIN_FRAMES} frames (two positions in time at the top), got "
                f"{frames}: repeat the frames; forward_features takes any number"
            )


def i3d_inception(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, dropout: float = 0.5
) -> InceptionI3d:
    """The RGB stream: 12.7 M parameters, 111.2 G multiply-adds for a clip of 3 x 64 x 224 x 224.

    `tiny` divides every width by 8, for tests. `in_channels=2` makes it take flow. `dropout` is the
    probability of a feature to be left out while training.
    """
    divisor = TINY_DIVISOR if tiny else 1
    return InceptionI3d(num_classes, in_channels=in_channels, dropout=dropout, width_divisor=divisor)


def i3d_inception_flow(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, dropout: float = 0.5
) -> InceptionI3d:
    """The flow stream: the same network on u and v, clipped to 20 pixels and divided by 20.

    12.7 M parameters, 102.3 G multiply-adds for a clip of 2 x 64 x 224 x 224; `dropout` as for RGB.
    """
    return i3d_inception(num_classes, in_channels, tiny, dropout)
