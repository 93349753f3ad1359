"""VGG: the image networks under the first two-stream networks, VGG-M-2048 and VGG-16.

Both are plain chains: convolutions and poolings that trade pixels for channels, then three fully connected
layers that look at all that is left at once. VGG-M begins with large kernels in large steps, so it is quick;
VGG-16 has only 3x3 kernels, many of them, and is slower and better. They know nothing of time: a video
network shows them one frame, or a stack of flow fields as if it were a frame with many channels.

Chatfield et al., "Return of the Devil in the Details" (BMVC 2014, arXiv:1405.3531), table 1, and the layers
that the two-stream paper prints in its figure 1, for 224 x 224 pixels; N is local response normalisation:

    VGG-M-2048    kernel, stride, padding   channels   out        VGG-16         3x3, padding 1     out
    conv1         7x7, 2, 0                 96         109        conv1_1, 1_2   64                 224
    norm1, pool1  N; 3x3 max, 2                        54         pool1          2x2 max, 2         112
    conv2         5x5, 2, 1                 256        26         conv2_1, 2_2   128                112
    norm2, pool2  N; 3x3 max, 2                        13         pool2                             56
    conv3         3x3, 1, 1                 512        13         conv3_1 - 3_3  256                56
    conv4         3x3, 1, 1                 512        13         pool3                             28
    conv5         3x3, 1, 1                 512        13         conv4_1 - 4_3  512                28
    pool5         3x3 max, 2                           6          pool4                             14
                                                                  conv5_1 - 5_3  512                14
                                                                  pool5                             7
    fc6           linear, ReLU, dropout     4096                  fc6            4096
    fc7           linear, ReLU, dropout     2048                  fc7            4096

ReLU follows every convolution, and "relu5" names what comes out of it.

Where we differ, and why:
- The fully connected layers are slid over larger maps, as the authors of both papers do at test: a frame
  larger than `pixels` gives a hidden vector for each place.
- Weights start from He's rule, biases from zero (the papers: Gaussians of 0.01 and hints of how to stay
  alive with them), so that a network trains from scratch.
- Pixels go in with the mean and deviation that torchvision's VGG-16 was trained with. MatConvNet's files were
  trained on 0 to 255 less a mean; importing them changes the first filters accordingly.
- The alpha of the normalisation is 5e-4 over five channels: MatConvNet's 1e-4 multiplies their sum, ours
  their mean.

Shapes: B frames, C channels, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper
from vadis.models.layers import LocalResponseNorm, Trunk

PAPERS = (
    Paper(
        "Return of the Devil in the Details: Delving Deep into Convolutional Nets",
        "Chatfield et al.",
        "BMVC 2014",
        "1405.3531",
        "What matters among the details of image networks, tried one by one. Its medium network, VGG-M, with "
        "a narrow last hidden layer of 2048, is the tower of the first two-stream network.",
    ),
    Paper(
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        "Simonyan and Zisserman",
        "ICLR 2015",
        "1409.1556",
        "Nothing but 3 x 3 kernels, one after the other: two see as far as one of 5 x 5, at less cost and "
        "with a nonlinearity more. Thirteen layers of them, and three fully connected, are VGG-16.",
    ),
)


class Conv(NamedTuple):
    """A row of the table: a convolution with a bias, and ReLU."""

    kernel: int
    channels: int
    stride: int = 1
    padding: int = 1


class Pool(NamedTuple):
    """A row of the table: the maximum of windows; VGG-M's last one may reach over the edge (`ceil`)."""

    kernel: int
    stride: int = 2
    ceil: bool = False


NORM = "local response normalisation"

VGG_M: dict[str, Conv | Pool | str] = {
    "conv1": Conv(7, 96, 2, 0),
    "norm1": NORM,
    "pool1": Pool(3, ceil=True),
    "conv2": Conv(5, 256, 2, 1),
    "norm2": NORM,
    "pool2": Pool(3, ceil=True),
    "conv3": Conv(3, 512),
    "conv4": Conv(3, 512),
    "conv5": Conv(3, 512),
    "pool5": Pool(3, ceil=True),
}
VGG_16: dict[str, Conv | Pool | str] = {
    "conv1_1": Conv(3, 64),
    "conv1_2": Conv(3, 64),
    "pool1": Pool(2),
    "conv2_1": Conv(3, 128),
    "conv2_2": Conv(3, 128),
    "pool2": Pool(2),
    "conv3_1": Conv(3, 256),
    "conv3_2": Conv(3, 256),
    "conv3_3": Conv(3, 256),
    "pool3": Pool(2),
    "conv4_1": Conv(3, 512),
    "conv4_2": Conv(3, 512),
    "conv4_3": Conv(3, 512),
    "pool4": Pool(2),
    "conv5_1": Conv(3, 512),
    "conv5_2": Conv(3, 512),
    "conv5_3": Conv(3, 512),
    "pool5": Pool(2),
}
TABLES = {"vgg_m": VGG_M, "vgg16": VGG_16}
HIDDEN = {"vgg_m": (4096, 2048), "vgg16": (4096, 4096)}
TINY_DIVISOR, TINY_HIDDEN = 16, 64
TINY_WITHOUT = ("conv1_2", "conv2_2", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_2")
PIXELS = 224
TINY_PIXELS = {"vgg_m": 48, "vgg16": 32}
LRN_ALPHA = 5e-4

TORCHVISION_FEATURES = dict(
    zip(
        [name for name in VGG_16 if name.startswith("conv")],
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        strict=True,
    )
)
TORCHVISION_CLASSIFIER = {"fc6": 0, "fc7": 3}


class Vgg(Trunk):
    """Either network, up to its last convolution or to another layer ("fc7": all but the classifier).

    `map_features` is D of what `forward` gives, `num_features` of what comes last.
    """

    def __init__(
        self,
        kind: str,
        in_channels: int = 3,
        *,
        tiny: bool = False,
        until: str = "",
        pixels: int | None = None,
        without: tuple[str, ...] = (),
        doubled: tuple[str, ...] = (),
        dropout: float = 0.5,
    ) -> None:
        """kind: "vgg_m" or "vgg16". until: the last layer; empty for the last convolution.

        pixels: the side of the frames that fc6 is made for. without: layers that are left out, and doubled:
        layers that see twice the channels that the table says, for the video networks that differ. dropout:
        probability of a hidden feature to be left out, after fc6 and fc7.
        """
        super().__init__()
        self.kind = kind
        self.images = kind
        table = layer_table(kind, tiny, without)
        self.names = [*table, "fc6", "fc7"]
        last = [name for name, row in table.items() if isinstance(row, Conv)][-1]
        self.names = self.names[: self.names.index(until or last) + 1]
        self.layers = {name: row for name, row in table.items() if name in self.names}
        self.last = [name for name, row in self.layers.items() if isinstance(row, Conv)][-1]
        self.first = f"{self.names[0]}.weight"
        divisor = TINY_DIVISOR if tiny else 1
        channels = in_channels
        for name, row in self.layers.items():
            if isinstance(row, Conv):
                inside = channels * (2 if name in doubled else 1)
                channels = row.channels // divisor
                self.add_module(name, nn.Conv2d(inside, channels, row.kernel, row.stride, row.padding))
            elif row == NORM:
                self.add_module(name, LocalResponseNorm(5, LRN_ALPHA, 0.75, 2.0))
        self.num_features = self.map_features = channels
        self.positions = _positions(table, pixels or (TINY_PIXELS[kind] if tiny else PIXELS))
        if self.positions < 1:
            raise ValueError(f"{kind} takes at least {_least_pixels(table, 1)} pixels, got {pixels}")
        self.min_pixels = _least_pixels(table, self.positions if "fc6" in self.names else 1)
        wide, narrow = (TINY_HIDDEN, TINY_HIDDEN // 2) if tiny else HIDDEN[kind]
        self.dropout = nn.Dropout(dropout)
        for name, inside, outside in (("fc6", channels * self.positions**2, wide), ("fc7", wide, narrow)):
            if name in self.names:
                self.add_module(name, nn.Linear(inside * (2 if name in doubled else 1), outside))
                self.num_features = outside
        if "fc7" in self.names:
            self.classifier = "fc8" if kind == "vgg_m" else "classifier.6"
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Describe frames of at least `min_pixels`. Returns feature_BDHW, D = 512, what relu5 gives."""
        return self.run(frames_BCHW, until=self.last)

    def hidden(self, feature_BDHW: Tensor) -> Tensor:
        """From what `forward` gives to fc7, ReLU and dropout: hidden_BDHW, one place for `pixels`."""
        return self.run(feature_BDHW, after=self.last, until="fc7")

    def run(self, x_BCHW: Tensor, *, after: str = "", until: str) -> Tensor:
        """The layers after one, up to another and its ReLU; from the first where `after` is empty."""
        x = x_BCHW
        start = self.names.index(after) + 1 if after else 0
        for name in self.names[start : self.names.index(until) + 1]:
            x = self._layer(name, x)
        return x

    def _layer(self, name: str, x_BCHW: Tensor) -> Tensor:
        layer = getattr(self, name, None)
        if isinstance(layer, nn.Linear):
            window = self.positions if name == "fc6" else 1
            return self.dropout(F.relu(slide(layer, x_BCHW, window)))
        row = self.layers[name]
        if isinstance(row, Pool):
            return F.max_pool2d(x_BCHW, row.kernel, row.stride, ceil_mode=row.ceil)
        x = self.get_submodule(name)(x_BCHW)
        return F.relu(x) if isinstance(row, Conv) else x

    def image_key(self, key: str) -> str | None:
        """torchvision's spelling of VGG-16: `conv1_2.weight` is `features.2.weight`; VGG-M has our own."""
        name, _, leaf = key.rpartition(".")
        if self.kind == "vgg_m":
            return key
        if name in TORCHVISION_FEATURES:
            return f"features.{TORCHVISION_FEATURES[name]}.{leaf}"
        return f"classifier.{TORCHVISION_CLASSIFIER[name]}.{leaf}" if name in TORCHVISION_CLASSIFIER else None


def layer_table(kind: str, tiny: bool = False, without: tuple[str, ...] = ()) -> dict[str, Conv | Pool | str]:
    """The rows of a network below its fully connected layers; the tiny form of VGG-16 has seven fewer."""
    left_out = (*without, *(TINY_WITHOUT if tiny else ()))
    return {name: row for name, row in TABLES[kind].items() if name not in left_out}


def _positions(table: Mapping[str, Conv | Pool | str], pixels: int) -> int:
    """How many positions a side of `pixels` leaves after pool5 (0: too few)."""
    for row in table.values():
        if isinstance(row, Conv):
            pixels = (pixels + 2 * row.padding - row.kernel) // row.stride + 1
        elif isinstance(row, Pool):
            pixels = (pixels - row.kernel + (row.stride - 1 if row.ceil else 0)) // row.stride + 1
        if pixels < 1:
            return 0
    return pixels


def _least_pixels(table: Mapping[str, Conv | Pool | str], positions: int) -> int:
    """The smallest side that leaves so many positions after pool5."""
    return next(pixels for pixels in range(1, 4096) if _positions(table, pixels) >= positions)


def slide(linear: nn.Linear, x_BDHW: Tensor, window: int = 1) -> Tensor:
    """A fully connected layer at each place of a map that shows it `window` x `window` positions.

    x_BDHW: at least one window. Returns x_BDHW, D = the layer's outputs, H and W less by window - 1.
    """
    weight_DCHW = linear.weight.view(linear.out_features, -1, window, window)
    return F.conv2d(x_BDHW, weight_DCHW, linear.bias)


def score(head: nn.Linear, hidden_BDHW: Tensor) -> Tensor:
    """Classify what `Vgg.hidden` gives: logits_BK, the mean over its places."""
    return head(hidden_BDHW.mean(dim=(2, 3)))
