"""ARTNet: what is seen and how it moves, learned by two branches of one block.

A 3x3x3 convolution must learn appearance and motion with the same filters. The SMART block parts them: a
1x3x3 branch sees single frames (appearance); a 3x3x3 branch, squared, sees how frames relate. Squaring is
the point: the square of a sum over two frames contains their products, and a product of a pixel now with a
pixel before tells motion whatever is moving (the energy model of motion vision); sums of such squares over
pairs of channels make it steady.

Paper: Wang, Li, Li and Van Gool, "Appearance-and-Relation Networks for Video Classification" (CVPR 2018,
arXiv:1711.09125). The SMART block, in place of a convolution to C channels:

    appearance   1x3x3 convolution, C -> batch norm
    relation     3x3x3 convolution, C -> batch norm -> square -> half the sum of channel pairs, C/2
                 -> batch norm
    together     stack both, 3C/2 -> ReLU -> 1x1x1 convolution, C

and the networks on a ResNet-18, for 16 frames of 112 x 112:

    stage     C3D-R18         ARTNet(s)             ARTNet(d)                    channels  T x H x W
    stem      3x7x7           SMART 3x7x7           SMART 3x7x7   (stride 2)     64        8 x 56 x 56
    stage2    (3x3x3, 3x3x3)  (3x3x3, 3x3x3) x 2    (3x3x3, SMART) x 2           64        8 x 56 x 56
    stage3    x 2 in every    as before, stride 2   (3x3x3, SMART) x 2           128       4 x 28 x 28
    stage4    stage           as before, stride 2   (3x3x3, SMART) x 2           256       2 x 14 x 14
    stage5                    as before, stride 2   (3x3x3, 3x3x3) x 2           512       1 x 7 x 7
    head      mean over time and space, dropout 0.2, linear

There is no pool after the stem. Blocks are pre-activated: what goes from block to block is the raw sum, and
batch norm and ReLU stand at the entrance of the next. Where the size changes, the short cut is a 3x3x3
convolution of stride 2 of the activated input, without batch norm.

Where we differ, and why:
- Any length and size goes, since the head takes the mean of what is there (the authors' covers 1 x 7 x 7).
- Halving the sum of channel pairs is written as such. In the authors' files it is a grouped convolution
  whose weights are held at 0.5; it is no parameter here.
- Weights start from He's normal rule, not Caffe's "xavier": see `vadis.models.bninception`.
- Later papers quote 23.5 G multiply-adds; the authors' network file comes to 25.7, and so do we.
- The authors' file of ARTNet(d) has biases in stages 3 to 5 only, that of C3D-R18 everywhere; ARTNet(s),
  which has no file, follows ARTNet(d). Batch norm follows each, so they change nothing but the count.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.layers import check_clip, fresh_classifier, make_spec

Size3 = tuple[int, int, int]

CAFFE_MEAN = (104.0, 117.0, 123.0)
"""Blue, green, red, of values in [0, 255]."""
WIDTHS = (64, 128, 256, 512)
DEPTHS = (2, 2, 2, 2)
TINY_WIDTHS, TINY_DEPTHS = (6, 12, 24, 48), (1, 1, 1, 1)
STEM_KERNEL: Size3 = (3, 7, 7)
SHALLOW = ("stem",)
DEEP = ("stem", "stage2", "stage3", "stage4")
"""Where SMART blocks stand: in ARTNet(s) and ARTNet(d)."""

_KINETICS = "Kinetics-400 val"
_README = "from the authors' repository; RGB, from scratch"
PAPERS = (
    Paper(
        title="Appearance-and-Relation Networks for Video Classification",
        authors="Wang, Li, Li and Van Gool",
        venue="CVPR 2018",
        arxiv="1711.09125",
        idea="Each block looks at frames one by one (appearance) and, in a second branch, at squares of sums "
        "over neighbouring frames (relation): the products in them tell motion whatever is moving. Trained "
        "from scratch on video, such a ResNet-18 beats the plain 3D one by 3.6 points.",
        results=(
            Result("c3d_r18", _KINETICS, 65.6, 85.7, "25x10", _README),
            Result("artnet_s_r18", _KINETICS, 67.7, 87.1, "25x10", _README),
            Result("artnet_r18", _KINETICS, 69.2, 88.3, "25x10", _README),
            Result("artnet_r18", _KINETICS, 70.7, 89.3, "25x10", _README + ", trained with TSN"),
            Result("c3d_r18", "UCF101", 89.8, note="from the authors' repository; RGB, Kinetics-400 before"),
            Result(
                "artnet_r18", "UCF101", 93.5, note="from the authors' repository; RGB, Kinetics-400 before"
            ),
            Result("c3d_r18", "HMDB51", 62.1, note="from the authors' repository; RGB, Kinetics-400 before"),
            Result(
                "artnet_r18", "HMDB51", 67.6, note="from the authors' repository; RGB, Kinetics-400 before"
            ),
        ),
        sizes=(
            PrintedSize(
                "artnet_r18",
                "23.5 G",
                "25.68 G",
                "Printed by later papers that compare. The authors' network file comes to 25.7 G.",
            ),
        ),
    ),
)


class Smart(nn.Module):
    """The SMART block: appearance and relation apart, brought together by a 1x1x1 convolution.

    It has no batch norm or ReLU at its end, as the convolution that it replaces. channels must be even.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: Size3 = (3, 3, 3), stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        time, height, width = (size // 2 for size in kernel)
        in_frame = (1, *kernel[1:])
        self.appearance = nn.Conv3d(
            in_channels, channels, in_frame, stride, padding=(0, height, width), bias=bias
        )
        self.appearance_bn = nn.BatchNorm3d(channels)
        self.relation = nn.Conv3d(
            in_channels, channels, kernel, stride, padding=(time, height, width), bias=bias
        )
        self.relation_bn = nn.BatchNorm3d(channels)
        self.energy_bn = nn.BatchNorm3d(channels // 2)
        self.reduce = nn.Conv3d(channels + channels // 2, channels, 1, bias=bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, sizes divided by the stride, rounded up."""
        appearance = self.appearance_bn(self.appearance(x_BCTHW))
        energy = self.relation_bn(self.relation(x_BCTHW)).square()
        energy_of_pairs = energy.unflatten(1, (-1, 2)).mean(dim=2)
        both = torch.cat([appearance, self.energy_bn(energy_of_pairs)], dim=1)
        return self.reduce(F.relu(both, inplace=True))


class PreActivationBlock(nn.Module):
    """Two convolutions around a short cut, each after batch norm and ReLU; raw sums go in and come out.

    `smart` makes the second convolution a SMART block. Another number of channels means stride 2 in time
    and space, and a 3x3x3 convolution in the short cut. ECO's 3D part is made of the plain ones.
    """

    def __init__(self, in_channels: int, channels: int, *, smart: bool = False, bias: bool = True) -> None:
        super().__init__()
        smaller = in_channels != channels
        stride = 2 if smaller else 1
        self.bn1 = nn.BatchNorm3d(in_channels)
        self.conv1 = nn.Conv3d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv2 = (
            Smart(channels, channels, bias=bias)
            if smart
            else nn.Conv3d(channels, channels, 3, padding=1, bias=bias)
        )
        self.down = nn.Conv3d(in_channels, channels, 3, stride, padding=1, bias=bias) if smaller else None

    def forward(self, raw_BCTHW: Tensor) -> Tensor:
        """raw_BCTHW: a sum, before batch norm. Returns raw_BDTHW, again a sum before batch norm."""
        x = F.relu(self.bn1(raw_BCTHW), inplace=True)
        seen = self.conv2(F.relu(self.bn2(self.conv1(x)), inplace=True))
        return seen + (raw_BCTHW if self.down is None else self.down(x))


def stage(
    in_channels: int, channels: int, depth: int, *, smart: bool = False, bias: bool = True
) -> nn.Sequential:
    """`depth` pre-activation blocks; the first changes the number of channels, and then halves the size."""
    widths = [in_channels] + [channels] * depth
    return nn.Sequential(
        *(
            PreActivationBlock(before, after, smart=smart, bias=bias)
            for before, after in itertools.pairwise(widths)
        )
    )


def start_convolutions(model: nn.Module) -> None:
    """He's normal rule for every 3D convolution of `model`, zero for its bias."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ArtNet(VideoModel):
    """A pre-activated 3D ResNet in which SMART blocks stand at the places named in `smart`."""

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        smart: Collection[str] = DEEP,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.spec = make_spec(
            in_channels,
            num_frames=16,
            size=128,
            crop=112,
            mean=CAFFE_MEAN,
            value_range=(0.0, 255.0),
            channel_order="bgr",
        )
        self.num_classes = num_classes
        early_bias = not smart
        if "stem" in smart:
            self.stem: nn.Module = Smart(in_channels, widths[0], STEM_KERNEL, stride=2, bias=early_bias)
            self.input_weights = ("stem.appearance.weight", "stem.relation.weight")
        else:
            self.stem = nn.Conv3d(in_channels, widths[0], STEM_KERNEL, 2, padding=(1, 3, 3), bias=early_bias)
            self.input_weights = ("stem.weight",)
        self.stage2 = stage(widths[0], widths[0], depths[0], smart="stage2" in smart, bias=early_bias)
        self.stage3 = stage(widths[0], widths[1], depths[1], smart="stage3" in smart)
        self.stage4 = stage(widths[1], widths[2], depths[2], smart="stage4" in smart)
        self.stage5 = stage(widths[2], widths[3], depths[3], smart="stage5" in smart)
        self.bn = nn.BatchNorm3d(widths[3])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[3], num_classes)
        start_convolutions(self)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`; any number of frames of any size. Returns logits_BK.
        """
        return self.head(self.dropout(self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map before the mean.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512, T = frames / 16, H W = pixels / 16,
        rounded up.
        """
        check_clip(self, clip_BCTHW)
        raw = self.stem(clip_BCTHW)
        for blocks in (self.stage2, self.stage3, self.stage4, self.stage5):
            raw = blocks(raw)
        return F.relu(self.bn(raw), inplace=True)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def _build(smart: Collection[str], num_classes: int, in_channels: int, tiny: bool, dropout: float) -> ArtNet:
    return ArtNet(
        num_classes,
        in_channels=in_channels,
        smart=smart,
        widths=TINY_WIDTHS if tiny else WIDTHS,
        depths=TINY_DEPTHS if tiny else DEPTHS,
        dropout=dropout,
    )


def artnet_r18(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, *, dropout: float = 0.2
) -> ArtNet:
    """ARTNet(d): SMART blocks in the stem and in stages 2 to 4; 39.7 M parameters, 25.7 G multiply-adds.

    The paper's 69.2 % on Kinetics-400 belongs to it. `dropout` is the probability of a feature to be left
    out while training.
    """
    return _build(DEEP, num_classes, in_channels, tiny, dropout)


def artnet_s_r18(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, *, dropout: float = 0.2
) -> ArtNet:
    """ARTNet(s): one SMART block, the stem. The paper's 67.7 % on Kinetics-400 belongs to it.

    `dropout` is the probability of a feature to be left out while training.
    """
    return _build(SHALLOW, num_classes, in_channels, tiny, dropout)


def c3d_r18(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, *, dropout: float = 0.2
) -> ArtNet:
    """C3D-ResNet18, the paper's baseline without SMART blocks; 37.9 M parameters, 21.5 G multiply-adds.

    The paper's 65.6 % on Kinetics-400 belongs to it; ECO's 3D part is its upper stages. `dropout` is the
    probability of a feature to be left out while training.
    """
    return _build((), num_classes, in_channels, tiny, dropout)
