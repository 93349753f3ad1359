"""P3D: pseudo-3D residual networks, space and time convolved apart, in three ways by turns.

A 3x3x3 convolution is costly and cannot use what an image network has learned. So it becomes a 1x3x3
convolution over space (S, which takes the image network's weights) and a 3x1x1 convolution over time (T).
The two can be joined in series (A), side by side (B) or in series with a shortcut (C); blocks of the three
forms follow one another through a ResNet, because variety helps a deep network.

Paper: Qiu, Yao and Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks"
(ICCV 2017, arXiv:1711.10305), figures 2 and 3. S and T stand in the middle of a bottleneck (1x1x1, S and T,
1x1x1, each with batch norm):

    A  ReLU(BN T ReLU(BN S x))            B  ReLU(ReLU(BN S x) + BN T x)
    C  ReLU(s + BN T s), s = ReLU(BN S x)

P3D-199 for a clip of 16 frames of 160 x 160 pixels (P3D-63 has 3, 4, 6, 3 blocks, P3D-131 3, 4, 23, 3):

    layer    blocks                  kernel                    stride    channels    T x H x W
    conv1                            1x7x7                     1,2,2     64          16 x 80 x 80
    pool1                            2x3x3 max                 2,2,2                 8 x 40 x 40
    res2     3: A B C                1x1x1, S+T, 1x1x1         1         256         8 x 40 x 40
    pool2                            2x1x1 max                 2,1,1                 4 x 40 x 40
    res3     8: A B C A B C A B      1x1x1, S+T, 1x1x1         1,2,2     512         4 x 20 x 20
    pool3                            2x1x1 max                 2,1,1                 2 x 20 x 20
    res4     36: C A B ...           1x1x1, S+T, 1x1x1         1,2,2     1024        2 x 10 x 10
    pool4                            2x1x1 max                 2,1,1                 1 x 10 x 10
    res5     3, without T            1x1x1, S, 1x1x1           1,2,2     2048        1 x 5 x 5
    head                             mean, dropout, linear                           classes

The first 1x1x1 convolution of a stage (and its shortcut) carries the stride.

What differs between the paper, the authors' files and the well-known port, and what `variant` builds:
- `"caffe"` (default): the authors' prototxt, which their published weights and accuracies belong to.
  Pooling has no padding and rounds sizes up, as Caffe does; form C takes the MEAN of its two terms
  (coefficients of 0.5), form B their sum. Frames are BGR in 0..255 less their mean.
- `"paper"`: the same with form C as its equation has it, a sum.
- `"qijiezhao"`: the PyTorch port that most people know (its conversions of the authors' Kinetics weights are
  what circulates). pool1 pads by one pixel and rounds down, so its grid lies one pixel off; forms B and C
  add a rectified T and do not rectify the sum. Not the authors' network: its own accuracies (UCF-101 91.2)
  are of this form.

The authors' later networks (`p3d_r50`, `p3d_r101`; the repository of "Optimization Planning for 3D ConvNets",
ICML 2021) are simpler, and LGD (`lgd.py`) is built on them. One batch norm serves both convolutions:

    A  ReLU(BN T S x)        B  ReLU(BN (S x + T x))        C  ReLU(s + T s), s = ReLU(BN S x)

A first convolution of `early_stride` x 7 x 7 shortens time once and for all (16 frames to 4), pool1 is
1x3x3 with padding, S carries the stride, and res5 has T too. T starts as identity (A) or zero (B, C), so that
at the start the network is the image network, frame by frame: that is how the authors load ImageNet weights.
(Without them they start T at random; we do not, since a start that leaves time alone does no harm.)

Where we differ: any number of frames goes. Frames that are left at res5 are convolved one by one and
averaged, where the authors' reshape took exactly one. Weights start from He's normal rule; the prototxt's
`xavier` never mattered, since everything but T and the classifier was loaded from ImageNet.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import IMAGENET_MEAN, IMAGENET_STD, Size3, check_clip, fresh_classifier, make_spec
from vadis.specs import ClipSpec

PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
        authors="Z. Qiu, T. Yao and T. Mei",
        venue="ICCV 2017",
        arxiv="1711.10305",
        idea="A 3x3x3 convolution is split into one over space, which takes the weights of an image network, "
        "and one over time. The two are joined in series, side by side, or in series with a shortcut, and "
        "blocks of the three forms take turns through a ResNet.",
        results=(
            Result("p3d_199", "Sports-1M", 66.4, 87.4, "20x1", "video level; 47.9 per clip"),
            Result("p3d_199", "UCF-101", 88.6, note="Sports-1M features and a linear SVM, mean of 3 splits"),
            Result("p3d_199", "UCF-101", 93.7, note="the same with iDT, mean of 3 splits"),
            Result("p3d_63", "UCF-101", 84.2, note="split 1, ImageNet start; ResNet-50 on frames: 80.8"),
            Result("p3d_63", "UCF-101", 83.7, note='split 1, blocks="A"'),
            Result("p3d_63", "UCF-101", 83.2, note='split 1, blocks="B"'),
            Result("p3d_63", "UCF-101", 83.0, note='split 1, blocks="C"'),
        ),
    ),
)

Blocks = Literal["ABC", "A", "B", "C"]
Variant = Literal["caffe", "paper", "qijiezhao"]
BLOCKS: tuple[str, ...] = get_args(Blocks)
VARIANTS: tuple[str, ...] = get_args(Variant)

DEPTHS: dict[str, tuple[int, ...]] = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}
"""Blocks of each stage of the ResNet that a network is built on."""

TINY_DEPTHS, TINY_WIDTH = (2, 1, 1, 1), 8
WIDTH, EXPANSION = 64, 4
CAFFE_MEAN = (104.0, 117.0, 123.0)
"""Of blue, green and red, in 0..255: the mean that the authors take off each frame."""


def _conv(in_channels: int, channels: int, kernel: Size3, stride: Size3 = (1, 1, 1)) -> nn.Conv3d:
    """Padding keeps the size where the stride is 1; a kernel as long as its stride in time needs none."""
    time = 0 if kernel[0] == stride[0] else kernel[0] // 2
    padding = (time, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=False)


class Bottleneck(nn.Module):
    """1x1x1 convolution, S and T in the middle, 1x1x1 convolution; relu(branch + shortcut).

    `conv2` and `bn2` are S and its batch norm, as in an image network; `conv2_time` is T. This is the
    authors' later form: one batch norm for both, and S carries the stride. LGD calls `branch`, `shortcut`
    and `relu` one by one, because it adds something before the last.
    """

    def __init__(self, in_channels: int, width: int, stride: int, form: str) -> None:
        super().__init__()
        self.form = form
        channels, strides = width * EXPANSION, (1, stride, stride)
        first, second = self.split_stride(strides)
        self.conv1 = _conv(in_channels, width, (1, 1, 1), first)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _conv(width, width, (1, 3, 3), second)
        if form != "2D":
            self.conv2_time = _conv(width, width, (3, 1, 1), second if form == "B" else (1, 1, 1))
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = _conv(width, channels, (1, 1, 1))
        self.bn3 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = _conv(in_channels, channels, (1, 1, 1), strides)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, bn=nn.BatchNorm3d(channels)))

    def split_stride(self, strides: Size3) -> tuple[Size3, Size3]:
        """The strides of the first 1x1x1 convolution and of the middle."""
        return (1, 1, 1), strides

    def middle(self, x_BCTHW: Tensor) -> Tensor:
        """S and T by this block's form. Returns x_BCTHW, not negative. Paper: figure 2."""
        if self.form == "A":
            return self.relu(self.bn2(self.conv2_time(self.conv2(x_BCTHW))))
        if self.form == "B":
            return self.relu(self.bn2(self.conv2(x_BCTHW).add_(self.conv2_time(x_BCTHW))))
        space = self.relu(self.bn2(self.conv2(x_BCTHW)))
        return self.relu(self.conv2_time(space).add_(space))

    def branch(self, x_BCTHW: Tensor) -> Tensor:
        """The residual branch up to the addition: x_BDTHW."""
        x = self.relu(self.bn1(self.conv1(x_BCTHW)))
        return self.bn3(self.conv3(self.middle(x)))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative; D = 4 widths, H and W by the stride."""
        return self.relu(self.branch(x_BCTHW).add_(self.shortcut(x_BCTHW)))

    def start_as_image_network(self) -> None:
        """Set T to identity (form A) or zero (forms B and C): each frame is then convolved by itself."""
        if self.form == "A":
            nn.init.dirac_(self.conv2_time.weight)
        else:
            nn.init.zeros_(self.conv2_time.weight)

    def extra_repr(self) -> str:
        """The form, for `print(model)`."""
        return f"form={self.form}"


class FirstBottleneck(Bottleneck):
    """The block of the paper: S and T each with its own batch norm, the stride in the first convolution.

    Form "2D" has S alone.
    """

    def __init__(self, in_channels: int, width: int, stride: int, form: str, variant: Variant) -> None:
        super().__init__(in_channels, width, stride, form)
        self.variant = variant
        if form != "2D":
            self.bn2_time = nn.BatchNorm3d(width)

    def split_stride(self, strides: Size3) -> tuple[Size3, Size3]:
        """The strides of the first 1x1x1 convolution and of the middle."""
        return strides, (1, 1, 1)

    def middle(self, x_BCTHW: Tensor) -> Tensor:
        """S and T by this block's form. Returns x_BCTHW, not negative. Paper: figure 2."""
        space = self.relu(self.bn2(self.conv2(x_BCTHW)))
        if self.form == "2D":
            return space
        time = self.bn2_time(self.conv2_time(x_BCTHW if self.form == "B" else space))
        if self.form == "A":
            return self.relu(time)
        if self.variant == "qijiezhao":
            return self.relu(time) + space
        both = time + space
        return self.relu(both / 2 if self.form == "C" and self.variant == "caffe" else both)


class PairPool(nn.Module):
    """Max over pairs of positions in time (2x1x1, stride 2,1,1).

    A last position without partner stands for itself (`ceil`, as in Caffe) or is dropped. Written as the
    larger of two, which on a CPU takes a seventh of the time of a pooling layer.
    """

    def __init__(self, ceil: bool) -> None:
        super().__init__()
        self.ceil = ceil

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BCTHW with half as many positions in time."""
        pairs = x_BCTHW.shape[2] // 2 * 2
        pooled = torch.maximum(x_BCTHW[:, :, 0:pairs:2], x_BCTHW[:, :, 1:pairs:2])
        if self.ceil and pairs < x_BCTHW.shape[2]:
            pooled = torch.cat([pooled, x_BCTHW[:, :, pairs:]], dim=2)
        return pooled


class Stem(nn.Module):
    """First convolution, batch norm, ReLU, pooling of pairs in time or not, pooling of 3 x 3 in space."""

    def __init__(self, conv: nn.Conv3d, pool_time: nn.Module, padded: bool) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm3d(conv.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool_time = pool_time
        padding = (0, 1, 1) if padded else (0, 0, 0)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding, ceil_mode=not padded)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """clip_BCTHW: as for the network. Returns x_BDTHW, a quarter of the height and width."""
        return self.pool(self.pool_time(self.relu(self.bn(self.conv(clip_BCTHW)))))


class P3dResNet(VideoModel):
    """A ResNet of pseudo-3D blocks: stem, four stages, mean, classifier. The functions below assemble it.

    `stages` is a list of four `nn.Sequential`s of blocks; `between` pools time before each but the first.
    """

    input_weights = ("stem.conv.weight",)

    def __init__(
        self,
        num_classes: int,
        spec: ClipSpec,
        stem: Stem,
        stages: Sequence[Sequence[Bottleneck]],
        between: nn.Module,
        *,
        dropout: float,
        min_frames: int,
    ) -> None:
        super().__init__()
        self.spec, self.num_classes = spec, num_classes
        self.min_frames, self.min_pixels = min_frames, 3 if stem.pool.ceil_mode else 1
        self.stem = stem
        self.between = between
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.num_features = stages[-1][-1].conv3.out_channels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, Bottleneck) and not isinstance(module, FirstBottleneck):
                module.start_as_image_network()
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean over all positions, then one linear layer.

        clip_BCTHW: float, normalised by `self.spec`; at least `min_frames` frames. Returns logits_BK.
        """
        return self.head(self.dropout(self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last block.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 2048; H W = pixels / 32, rounded up;
        T = frames / 16 (p3d_63 to p3d_199) or / `early_stride` (p3d_r50, p3d_r101).
        """
        check_clip(self, clip_BCTHW, min_pixels=self.min_pixels, min_frames=self.min_frames)
        x = self.stem(clip_BCTHW)
        for number, stage in enumerate(self.stages):
            x = stage(self.between(x) if number > 0 else x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes, self.class_names = num_classes, None


def _stages(
    depths: Sequence[int], width: int, make_block: Callable[[int, int, int, int], Bottleneck]
) -> list[list[Bottleneck]]:
    """Four lists of blocks; `make_block` takes stage (0 to 3), channels that come in, width and stride."""
    channels, stages = width, []
    for number, depth in enumerate(depths):
        stage = []
        for index in range(depth):
            stride = 2 if number > 0 and index == 0 else 1
            stage.append(make_block(number, channels, width << number, stride))
            channels = (width << number) * EXPANSION
        stages.append(stage)
    return stages


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}, got {value!r}")


def _p3d(
    depths: Sequence[int],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    dropout: float,
    blocks: Blocks,
    variant: Variant,
) -> P3dResNet:
    """The network of 2017: S and T have their own batch norms, res5 no T, pooling halves time four times."""
    _check_choice("blocks", blocks, BLOCKS)
    _check_choice("variant", variant, VARIANTS)
    ported = variant == "qijiezhao"
    if ported:
        spec = make_spec(in_channels, 16, size=256, crop=160, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    else:
        spec = make_spec(
            in_channels,
            16,
            size=182,
            crop=160,
            mean=CAFFE_MEAN,
            value_range=(0.0, 255.0),
            channel_order="bgr",
        )
    depths, width = (TINY_DEPTHS, TINY_WIDTH) if tiny else (depths, WIDTH)
    halve = PairPool(ceil=not ported)
    stem = Stem(_conv(in_channels, width, (1, 7, 7), (1, 2, 2)), halve, padded=ported)
    forms = cycle(blocks)

    def make_block(stage: int, channels: int, width: int, stride: int) -> Bottleneck:
        return FirstBottleneck(channels, width, stride, "2D" if stage == 3 else next(forms), variant)

    return P3dResNet(
        num_classes,
        spec,
        stem,
        _stages(depths, width, make_block),
        halve,
        dropout=dropout,
        min_frames=16 if ported else 1,
    )


def _later_p3d(
    depths: Sequence[int],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    dropout: float,
    blocks: Blocks,
    early_stride: int,
    num_frames: int,
) -> P3dResNet:
    """The authors' later network: one batch norm for S and T, only the first convolution shortens time."""
    _check_choice("blocks", blocks, BLOCKS)
    if not 1 <= early_stride <= num_frames:
        raise ValueError(f"early_stride must be in [1, {num_frames}] frames, got {early_stride}")
    depths, width = (TINY_DEPTHS, TINY_WIDTH) if tiny else (depths, WIDTH)
    conv = _conv(in_channels, width, (early_stride, 7, 7), (early_stride, 2, 2))
    forms = cycle(blocks)

    def make_block(stage: int, channels: int, width: int, stride: int) -> Bottleneck:
        return Bottleneck(channels, width, stride, next(forms))

    return P3dResNet(
        num_classes,
        make_spec(in_channels, num_frames, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        Stem(conv, nn.Identity(), padded=True),
        _stages(depths, width, make_block),
        nn.Identity(),
        dropout=dropout,
        min_frames=early_stride,
    )


def p3d_63(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    blocks: Blocks = "ABC",
    variant: Variant = "caffe",
) -> P3dResNet:
    """P3D on ResNet-50: 25.7 M parameters, 8.4 G multiply-adds for a clip of 3 x 16 x 160 x 160.

    dropout: probability of a feature to be left out while training. blocks: the forms that take turns, or
    one of them alone. variant: "caffe" (the authors' files), "paper" (form C a sum), "qijiezhao" (the port):
    see the head of the file.
    """
    return _p3d(DEPTHS["50"], num_classes, in_channels, tiny, dropout, blocks, variant)


def p3d_131(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    blocks: Blocks = "ABC",
    variant: Variant = "caffe",
) -> P3dResNet:
    """P3D on ResNet-101: 48.1 M parameters, 12.9 G multiply-adds for a clip of 3 x 16 x 160 x 160.

    dropout (a probability), blocks and variant as for `p3d_63`.
    """
    return _p3d(DEPTHS["101"], num_classes, in_channels, tiny, dropout, blocks, variant)


def p3d_199(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    blocks: Blocks = "ABC",
    variant: Variant = "caffe",
) -> P3dResNet:
    """P3D on ResNet-152, the published one: 66.5 M parameters, 18.4 G multiply-adds for 3 x 16 x 160 x 160.

    dropout (a probability; the authors took 0.1 for Sports-1M), blocks and variant as for `p3d_63`.
    """
    return _p3d(DEPTHS["152"], num_classes, in_channels, tiny, dropout, blocks, variant)


def p3d_r50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    blocks: Blocks = "ABC",
    early_stride: int = 4,
    num_frames: int = 16,
) -> P3dResNet:
    """The authors' later P3D on ResNet-50: 28.1 M parameters; what LGD is built on.

    dropout: a probability. blocks: the forms that take turns, or one alone. early_stride: length and stride
    in frames of the first convolution. num_frames: frames of a clip, for `spec` (the weights do not change).
    """
    return _later_p3d(DEPTHS["50"], num_classes, in_channels, tiny, dropout, blocks, early_stride, num_frames)


def p3d_r101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    blocks: Blocks = "ABC",
    early_stride: int = 4,
    num_frames: int = 16,
) -> P3dResNet:
    """The authors' later P3D on ResNet-101.

    dropout (a probability), blocks, early_stride and num_frames as for `p3d_r50`.
    """
    return _later_p3d(
        DEPTHS["101"], num_classes, in_channels, tiny, dropout, blocks, early_stride, num_frames
    )
