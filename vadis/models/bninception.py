"""BN-Inception: the image network under TSN and ECO.

Several small views of the same map, side by side, cost less than one large kernel: a block looks through
1x1, 3x3 and two 3x3 one after the other (as far as 5x5 sees), next to a pooled copy, and stacks what they
find. Batch norm after every convolution keeps the numbers in range, so that it trains ten times faster than
the Inception before it. It knows nothing of time: it is run on each frame, and the video networks that
stand on it (TSN, ECO) bring the frames together.

Paper: Ioffe and Szegedy, "Batch Normalization" (ICML 2015, arXiv:1502.03167), figure 5, in the form that the
TSN authors published for Caffe, whose weights everybody has. For a frame of 224 x 224:

    published name   ours           1x1   3x3: reduce, out   double: reduce, out   pool           out, size
    conv1_7x7_s2     conv1          7x7, stride 2                                                 64, 112
    pool1_3x3_s2     pool1          3x3 max, stride 2                                             64, 56
    conv2_3x3        conv2_reduce   1x1                                                           64, 56
                     conv2          3x3                                                           192, 56
    pool2_3x3_s2     pool2          3x3 max, stride 2                                             192, 28
    inception_3a     inception3a     64   64,  64            64,  96               average, 32    256, 28
    inception_3b     inception3b     64   64,  96            64,  96               average, 64    320, 28
    inception_3c     inception3c      -   128, 160           64,  96               max, as it is  576, 14
    inception_4a     inception4a    224   64,  96            96,  128              average, 128   576, 14
    inception_4b     inception4b    192   96,  128           96,  128              average, 128   576, 14
    inception_4c     inception4c    160   128, 160           128, 160              average, 128   608, 14
    inception_4d     inception4d     96   128, 192           160, 192              average, 128   608, 14
    inception_4e     inception4e      -   128, 192           192, 256              max, as it is  1056, 7
    inception_5a     inception5a    352   192, 320           160, 224              average, 128   1024, 7
    inception_5b     inception5b    352   192, 320           192, 224              max, 128       1024, 7

Every convolution has a bias, then batch norm (epsilon 1e-5), then ReLU. Blocks 3c and 4e halve the map: the
last convolution of each branch and the pool have stride 2. What is easy to get wrong: pools round their size
up (Caffe), without padding where they have stride 2; average pools divide by 9 at the border too, where the
window reaches into the padding; block 5b pools by the maximum.

Where we differ, and why:
- Any size goes, from 7 pixels on. In 3c and 4e, a map of odd size comes out of the published pool one
  position smaller than out of the convolutions beside it, so the published network stops there; ours pads
  the pool by one then. For even sizes (28 and 14 from 224) it is the published one.
- Weights start from He's normal rule instead of Caffe's "xavier" (a factor of sqrt(2) smaller), and biases
  from 0 instead of 0.2: batch norm takes away both as soon as it has seen data, and until then signals
  keep their size.

Shapes: B frames, C channels, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper
from vadis.models.layers import Pixels, Trunk

BN_EPSILON = 1e-5
CAFFE_MEAN = (104.0, 117.0, 128.0)
"""Blue, green, red, of values in [0, 255], as the TSN authors' PyTorch code has it."""
MIN_PIXELS = 7
"""One position must be left under each pool."""
TINY_DIVISOR = 16
TINY_BLOCKS = ("inception3a", "inception3c", "inception4e", "inception5b")
"""One block of each kind: average and projection; stride 2; stride 2; maximum and projection."""

PAPERS = (
    Paper(
        title="Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        authors="Ioffe and Szegedy",
        venue="ICML 2015",
        arxiv="1502.03167",
        idea="Normalise what goes into each layer over the batch, so that a layer need not follow the drift "
        "of those below it. The Inception network with it, two 3x3 kernels in place of each 5x5, is what TSN "
        "and ECO run on every frame.",
    ),
)


class Conv(NamedTuple):
    """A row of the table: convolution, batch norm, ReLU."""

    kernel: int
    stride: int
    channels: int


class Block(NamedTuple):
    """A row of the table: the channels of an Inception block, branch by branch; 0 where there is none.

    With a stride of 2 there is no 1x1 branch, and what was pooled is stacked as it is (`project` is 0).
    """

    one: int
    three_reduce: int
    three: int
    double_reduce: int
    double: int
    pool: Literal["average", "max"]
    project: int
    stride: int = 1


STEM = {"conv1": "conv1_7x7_s2", "conv2_reduce": "conv2_3x3_reduce", "conv2": "conv2_3x3"}
BRANCHES = {
    "one": "1x1",
    "three_reduce": "3x3_reduce",
    "three": "3x3",
    "double_reduce": "double_3x3_reduce",
    "double1": "double_3x3_1",
    "double2": "double_3x3_2",
    "project": "pool_proj",
}
"""Our name of a layer -> the published one."""

POOL = "3x3 max pool of stride 2"
LAYERS: dict[str, Conv | Block | str] = {
    "conv1": Conv(7, 2, 64),
    "pool1": POOL,
    "conv2_reduce": Conv(1, 1, 64),
    "conv2": Conv(3, 1, 192),
    "pool2": POOL,
    "inception3a": Block(64, 64, 64, 64, 96, "average", 32),
    "inception3b": Block(64, 64, 96, 64, 96, "average", 64),
    "inception3c": Block(0, 128, 160, 64, 96, "max", 0, stride=2),
    "inception4a": Block(224, 64, 96, 96, 128, "average", 128),
    "inception4b": Block(192, 96, 128, 96, 128, "average", 128),
    "inception4c": Block(160, 128, 160, 128, 160, "average", 128),
    "inception4d": Block(96, 128, 192, 160, 192, "average", 128),
    "inception4e": Block(0, 128, 192, 192, 256, "max", 0, stride=2),
    "inception5a": Block(352, 192, 320, 160, 224, "average", 128),
    "inception5b": Block(352, 192, 320, 192, 224, "max", 128),
}
LAST = "inception5b"


class ConvUnit(nn.Module):
    """Convolution with a bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2)
        self.bn = nn.BatchNorm2d(channels, eps=BN_EPSILON)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.get_parameter("bias"))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW, not negative, H and W divided by the stride, rounded up."""
        return F.relu(self.bn(self.conv(x_BCHW)), inplace=True)


class Inception(nn.Module):
    """Up to four branches side by side, channels stacked in the order of the table.

    `start_only` builds the first two convolutions of the double branch and nothing else: all that
    ECO-Lite takes of block 3c.
    """

    def __init__(self, in_channels: int, row: Block, *, start_only: bool = False) -> None:
        super().__init__()
        self.pool, self.stride, self.start_only = row.pool, row.stride, start_only
        self.double_reduce = ConvUnit(in_channels, row.double_reduce, 1)
        self.double1 = ConvUnit(row.double_reduce, row.double, 3)
        self.channels = row.double
        if start_only:
            return
        self.one = ConvUnit(in_channels, row.one, 1) if row.one else None
        self.three_reduce = ConvUnit(in_channels, row.three_reduce, 1)
        self.three = ConvUnit(row.three_reduce, row.three, 3, row.stride)
        self.double2 = ConvUnit(row.double, row.double, 3, row.stride)
        self.project = ConvUnit(in_channels, row.project, 1) if row.project else None
        self.channels = row.one + row.three + row.double + (row.project or in_channels)

    def start(self, x_BCHW: Tensor) -> Tensor:
        """The first half of the double branch. x_BCHW: any size. Returns x_BDHW of the same H and W."""
        return self.double1(self.double_reduce(x_BCHW))

    def finish(self, x_BCHW: Tensor, started_BDHW: Tensor) -> Tensor:
        """All four branches, the double one from where `start` left it.

        x_BCHW: what went into the block; started_BDHW: what `start` gave for it. Returns x_BDHW, H and W
        divided by the stride, rounded up.
        """
        branches = [] if self.one is None else [self.one(x_BCHW)]
        branches += [self.three(self.three_reduce(x_BCHW)), self.double2(started_BDHW)]
        pooled = self._pooled(x_BCHW)
        branches.append(pooled if self.project is None else self.project(pooled))
        return torch.cat(branches, dim=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BDHW, H and W divided by the stride, rounded up."""
        return self.finish(x_BCHW, self.start(x_BCHW))

    def _pooled(self, x_BCHW: Tensor) -> Tensor:
        if self.pool == "average":
            return F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=True)
        if self.stride == 1:
            return F.max_pool2d(x_BCHW, 3, stride=1, padding=1)
        height, width = x_BCHW.shape[2:]
        return F.max_pool2d(x_BCHW, 3, stride=2, padding=(height % 2, width % 2), ceil_mode=True)


class BnInception(Trunk):
    """The trunk, up to and with the layer `last`; it scores nothing, it describes frames.

    in_channels: of a frame (3 of RGB; any number of stacked flow fields). last: a name of the table, or of
    the middle of a block ("inception3c.double1": two convolutions of it, which is where ECO leaves).
    blocks: which Inception blocks there are (all; fewer for tests). width_divisor divides every width.
    `num_features` says how many channels come out. Raises ValueError where there is no layer `last`.
    """

    first = "conv1.conv.weight"
    images = "bninception"
    classifier = "fc"
    min_pixels = MIN_PIXELS
    pixels: ClassVar[Pixels] = {"mean": CAFFE_MEAN, "value_range": (0.0, 255.0), "channel_order": "bgr"}

    def __init__(
        self,
        in_channels: int = 3,
        *,
        last: str = LAST,
        blocks: Collection[str] | None = None,
        width_divisor: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.last = last
        stop, _, middle = last.partition(".")
        channels = in_channels
        for name, row in LAYERS.items():
            if isinstance(row, Block) and blocks is not None and name not in blocks:
                continue
            layer: nn.Module
            if isinstance(row, Conv):
                layer = ConvUnit(channels, row.channels // width_divisor, row.kernel, row.stride)
                channels = row.channels // width_divisor
            elif isinstance(row, Block):
                layer = Inception(
                    channels, _narrow(row, width_divisor), start_only=name == stop and bool(middle)
                )
                channels = layer.channels
            else:
                layer = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.add_module(name, layer)
            if name == stop:
                break
        self.num_features = channels
        if last not in self.endpoint_names:
            raise ValueError(
                f"BN-Inception has no layer {last!r} to end with; it has {', '.join(self.endpoint_names)}"
            )

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """The layers that this trunk has, in order, the middles of its blocks among them."""
        names = []
        for name, layer in self.named_children():
            if isinstance(layer, Inception):
                names.append(f"{name}.double1")
                if layer.start_only:
                    break
            names.append(name)
        return tuple(names)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Describe frames by the trunk's last map. frames_BCHW: as for `forward_features`.

        Returns feature_BDHW.
        """
        return self.forward_features(frames_BCHW)

    def image_key(self, key: str) -> str | None:
        """The TSN authors' spelling, Caffe's: `inception3a.one.conv.weight` is `inception_3a_1x1.weight`."""
        stem, _, leaf = key.rpartition(".")
        unit, _, layer = stem.rpartition(".")
        block, _, branch = unit.partition(".")
        name = STEM.get(unit) or f"{block.replace('inception', 'inception_')}_{BRANCHES.get(branch, '')}"
        return f"{name}{'_bn' if layer == 'bn' else ''}.{leaf}"

    def forward_features(self, frames_BCHW: Tensor, last: str | None = None) -> Tensor:
        """Describe frames: the map of the layer `last`, as a rule the trunk's own last.

        frames_BCHW: float, at least 7 x 7 pixels (in [0, 255] minus the mean, BGR, for the published
        weights). Returns feature_BDHW; what lies beyond `last` is not computed.
        """
        wanted = self.last if last is None else last
        return self.endpoints(frames_BCHW, (wanted,))[wanted]

    def endpoints(self, frames_BCHW: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """What comes out of the layers that are asked for; what lies beyond the last is not computed.

        frames_BCHW: as for `forward_features`. names: of `endpoint_names`. Returns x_BDHW by name. Raises
        ValueError for a name that is not there, and for what is no batch of frames.
        """
        missing = set(names)
        if not missing <= set(self.endpoint_names):
            raise ValueError(
                f"BN-Inception has no layer {', '.join(sorted(missing - set(self.endpoint_names)))}; "
                f"it has {', '.join(self.endpoint_names)}"
            )
        self._check(frames_BCHW)
        found: dict[str, Tensor] = {}
        x = frames_BCHW
        for name, layer in self.named_children():
            if isinstance(layer, Inception):
                started = layer.start(x)
                if f"{name}.double1" in missing:
                    found[f"{name}.double1"] = started
                if len(found) == len(missing):
                    break
                x = layer.finish(x, started)
            else:
                x = layer(x)
            if name in missing:
                found[name] = x
            if len(found) == len(missing):
                break
        return found

    def _check(self, frames_BCHW: Tensor) -> None:
        shape = tuple(frames_BCHW.shape)
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise ValueError(
                f"BN-Inception takes frames of (batch, {self.in_channels}, height, width), got {shape}"
            )
        if min(shape[2:]) < MIN_PIXELS:
            raise ValueError(
                f"BN-Inception takes at least {MIN_PIXELS} x {MIN_PIXELS} pixels, "
                f"got {shape[2]} x {shape[3]}: enlarge"
            )


def _narrow(row: Block, divisor: int) -> Block:
    """The row with every width divided."""
    return row._replace(
        one=row.one // divisor,
        three_reduce=row.three_reduce // divisor,
        three=row.three // divisor,
        double_reduce=row.double_reduce // divisor,
        double=row.double // divisor,
        project=row.project // divisor,
    )
