"""3D-ResNet: the residual networks of image recognition with every kernel made three-dimensional.

Kinetics is to video what ImageNet is to images: large enough to train deep networks from nothing. So the
whole line of residual image networks, from 18 to 200 layers and on to ResNeXt, is built again with kernels
that also look along time, trained from scratch, and compared. The deep ones do not overfit, which on the
smaller datasets before even the one of 18 layers did.

Papers: Hara, Kataoka and Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?"
(CVPR 2018, arXiv:1711.09577), table 1; Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (CVPR 2018,
arXiv:1709.01507) for the gates of the SE forms. For a clip of 16 frames of 112 x 112 pixels:

    part      kernel and stride                 ResNet 18, 34  ResNet 50 to 200  ResNeXt-101     T x H x W
    stem      7x7x7, stride 1,2,2               64             64                64              16 x 56 x 56
    pool      3x3x3 maximum, stride 2           64             64                64              8 x 28 x 28
    stage 1   blocks, stride 1                  64             64 -> 256         128 -> 256      8 x 28 x 28
    stage 2   blocks, the first with stride 2   128            128 -> 512        256 -> 512      4 x 14 x 14
    stage 3   blocks, the first with stride 2   256            256 -> 1024       512 -> 1024     2 x 7 x 7
    stage 4   blocks, the first with stride 2   512            512 -> 2048       1024 -> 2048    1 x 4 x 4
    head      mean over T, H, W; linear         classes        classes           classes

    depth         18       34       50       101       152       200        ResNeXt-101
    block         basic    basic    bottle   bottle    bottle    bottle     bottle, 32 groups
    blocks        2,2,2,2  3,4,6,3  3,4,6,3  3,4,23,3  3,8,36,3  3,24,36,3  3,4,23,3

A basic block is two 3x3x3 convolutions; a bottleneck is 1x1x1, 3x3x3, 1x1x1, with the stride in the middle
and "64 -> 256" its inner and outer channels. Each convolution is followed by batch norm, each but the last
of a block by ReLU; then the shortcut is added, then ReLU. The shortcut is the input itself; where the shape
changes it is a strided 1x1x1 convolution with batch norm (B) or the strided input with channels of zeros
added (A). The SE forms scale the channels of the branch by a gate in [0, 1] before the addition.

Reusing the parts. `ResNet3d.stages` is a list of four `nn.Sequential`s of blocks, and nothing happens
between blocks: `for stage in net.stages: for block in stage: x = block(x)`. A block is
`relu(branch(x) + shortcut(x))`, where `branch` ends with the gate; who wants to add something before the
ReLU calls these three. `gate` is any module that a function of (channels, stage) makes (`stc.py` does so).
Parameters map one to one onto torchvision's ResNet (and ResNeXt) for images:

    ours                                   image network (torchvision)
    stem.conv, stem.bn                     conv1, bn1
    stages.S.I.convN, bnN (S from 0)       layer{S+1}.I.convN, bnN
    stages.S.I.shortcut.conv, .bn          layer{S+1}.I.downsample.0, .1
    head                                   fc

Where we differ from the papers and the authors' code, and why:
- Two generations of the code. The default is the code of 2020: shortcut B at every depth, pixels in [0, 1],
  mean and deviation of Kinetics. The paper's own networks and numbers are of 2018: 18 and 34 layers with
  `shortcut="A"`, and pixels 0..255 less ActivityNet's mean, not divided by anything: `pixels="2018"`.
- ResNeXt-101 has a stem of 64 channels, as in the code of 2018 that the published numbers belong to. That of
  2020 cannot be built as it stands; once mended its stem has 128 channels (`stem_channels=128`, 48,431,376
  parameters), for which no number is published.
- Shortcut A passes the gradient on. The authors' code cuts it there (it pads a detached copy), which leaves
  the output as it is but starves the layers below in training.
- The mean at the top covers whatever is there, so that any size goes; the code of 2018 slid a window of the
  trained size, which is the same at that size.
- SE networks for video have no paper: block and ratio (16) are those of the image networks, no number is
  published.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, NamedTuple, TypedDict, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import check_clip, fresh_classifier, make_spec
from vadis.specs import ClipSpec

Pixels = Literal["2018", "2020"]
Shortcut = Literal["A", "B"]
MakeGate = Callable[[int, int], nn.Module]
"""Makes the module that scales the branch of a block, given its channels and its stage (0 to 3)."""

PIXELS: dict[str, dict[str, tuple[float, ...]]] = {
    "2020": {"mean": (0.4345, 0.4051, 0.3775), "std": (0.2768, 0.2713, 0.2737), "value_range": (0.0, 1.0)},
    "2018": {"mean": (114.7748, 107.7354, 99.4750), "std": (1.0, 1.0, 1.0), "value_range": (0.0, 255.0)},
}
"""What the two generations of the authors' code do to pixels; the former is Kinetics', the latter
ActivityNet's mean. The authors say in their repository (issues 7 and 12) that the networks of the paper
were trained on the latter."""

README = "authors' README: the average of top-1 and top-5 is"
PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?",
        authors="Kensho Hara, Hirokatsu Kataoka and Yutaka Satoh",
        venue="CVPR 2018",
        arxiv="1711.09577",
        idea="The residual networks of image recognition, 18 to 200 layers deep and ResNeXt, with every "
        "kernel extended over time and trained from scratch on Kinetics, which is large enough for them. "
        "A clip of 16 small frames goes in; a video's scores are the mean over its clips.",
        results=(
            Result("resnet3d_18", "Kinetics-400 val", 54.2, note=f"shortcut A; {README} 66.1"),
            Result("resnet3d_34", "Kinetics-400 val", 60.1, note=f"shortcut A; {README} 71.0"),
            Result("resnet3d_50", "Kinetics-400 val", 61.3, note=f"{README} 72.2"),
            Result("resnet3d_101", "Kinetics-400 val", 62.8, note=f"{README} 73.3"),
            Result("resnet3d_152", "Kinetics-400 val", 63.0, note=f"{README} 73.7"),
            Result("resnet3d_200", "Kinetics-400 val", 63.1, note=f"{README} 73.7"),
            Result("resnext3d_101", "Kinetics-400 val", 65.1, 85.7, note=f"{README} 75.4"),
            Result("resnext3d_101", "UCF101", 94.5, note="64 frames, pre-trained on Kinetics"),
            Result("resnext3d_101", "HMDB51", 70.2, note="64 frames, pre-trained on Kinetics"),
        ),
    ),
    Paper(
        title="Squeeze-and-Excitation Networks",
        authors="Jie Hu, Li Shen and Gang Sun",
        venue="CVPR 2018",
        arxiv="1709.01507",
        idea="Each residual block looks at the mean of each of its channels over the whole clip and decides, "
        "with two small linear layers, how much of each channel to let through. The paper is on images; in "
        "three dimensions only the mean changes, and no accuracy is published.",
    ),
)


class Plan(NamedTuple):
    """What tells the networks apart: block, blocks of each stage, their inner channels, groups.

    `expansion` is outer over inner channels of a block; `groups` those of the 3x3x3 convolution.
    """

    bottleneck: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    expansion: int
    groups: int = 1


def _resnet(depths: tuple[int, ...], bottleneck: bool = True) -> Plan:
    return Plan(bottleneck, depths, (64, 128, 256, 512), expansion=4 if bottleneck else 1)


PLANS: dict[str, Plan] = {
    "resnet_18": _resnet((2, 2, 2, 2), bottleneck=False),
    "resnet_34": _resnet((3, 4, 6, 3), bottleneck=False),
    "resnet_50": _resnet((3, 4, 6, 3)),
    "resnet_101": _resnet((3, 4, 23, 3)),
    "resnet_152": _resnet((3, 8, 36, 3)),
    "resnet_200": _resnet((3, 24, 36, 3)),
    "resnext_101": Plan(True, (3, 4, 23, 3), (128, 256, 512, 1024), expansion=2, groups=32),
}
"""The two tables above."""


class Options(TypedDict, total=False):
    """What can be asked of every network of this file besides classes, channels and dropout.

    shortcut: "B" (default) or "A", see above. stem_channels: 64, or 128 for the ResNeXt of 2020.
    stem_kernel_frames: 7, the stem's extent in time. stem_stride_frames: 1, its step in time (2 halves
    the cost for long clips). stem_pool: False leaves the max pooling out. pixels: "2020" (default) or
    "2018", how pixels are normalised; it changes `spec` only.
    """

    shortcut: Shortcut
    stem_channels: int
    stem_kernel_frames: int
    stem_stride_frames: int
    stem_pool: bool
    pixels: Pixels


class PaddedShortcut(nn.Module):
    """Shortcut A: every `stride`-th position, and channels of zeros up to `channels`. No parameters."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size, C at most `channels`. Returns x_BDTHW, each size divided, rounded up."""
        step = self.stride
        missing = self.channels - x_BCTHW.shape[1]
        return F.pad(x_BCTHW[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, missing))

    def extra_repr(self) -> str:
        """Channels and stride, for `print(model)`."""
        return f"channels={self.channels}, stride={self.stride}"


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate in [0, 1] computed from the means of all (Hu et al., equations 2 to 4).

    reduction: r, the inner layer has channels / r units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, inner)
        self.expand = nn.Linear(inner, channels)

    def scale(self, mean_BD: Tensor) -> Tensor:
        """The gates for channels with these means. Returns scale_BD, in [0, 1]."""
        return self.expand(self.reduce(mean_BD).relu()).sigmoid()

    def forward(self, x_BDTHW: Tensor) -> Tensor:
        """x_BDTHW: any size. Returns x_BDTHW of the same."""
        return x_BDTHW * self.scale(x_BDTHW.mean(dim=(2, 3, 4)))[:, :, None, None, None]


class ResidualBlock(nn.Module):
    """What the two kinds of block share: relu(branch + shortcut). Each kind says what its `branch` is."""

    branch: Callable[[Tensor], Tensor]

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module
        if stride == 1 and in_channels == channels:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = PaddedShortcut(channels, stride)
        else:
            self.shortcut = _conv_bn(in_channels, channels, (1, 1, 1), (stride, stride, stride))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative, each size divided by the stride, rounded up."""
        return self.relu(self.branch(x_BCTHW).add_(self.shortcut(x_BCTHW)))


class BasicBlock(ResidualBlock):
    """Two 3x3x3 convolutions, for 18 and 34 layers; the first has the stride."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: Shortcut, gate: nn.Module
    ) -> None:
        super().__init__(in_channels, channels, stride, shortcut)
        self.conv1 = nn.Conv3d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.gate = gate

    def branch(self, x_BCTHW: Tensor) -> Tensor:
        """The residual branch up to the addition, gate included: x_BDTHW."""
        x = self.relu(self.bn1(self.conv1(x_BCTHW)))
        return self.gate(self.bn2(self.conv2(x)))


class Bottleneck(ResidualBlock):
    """1x1x1 to fewer channels, 3x3x3 there (in groups: ResNeXt) with the stride, 1x1x1 to `channels`."""

    def __init__(
        self,
        in_channels: int,
        inner: int,
        channels: int,
        stride: int,
        shortcut: Shortcut,
        gate: nn.Module,
        groups: int,
    ) -> None:
        super().__init__(in_channels, channels, stride, shortcut)
        self.conv1 = nn.Conv3d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels)
        self.gate = gate

    def branch(self, x_BCTHW: Tensor) -> Tensor:
        """The residual branch up to the addition, gate included: x_BDTHW."""
        x = self.relu(self.bn1(self.conv1(x_BCTHW)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.gate(self.bn3(self.conv3(x)))


class ResNet3d(VideoModel):
    """A stem, four stages of residual blocks, mean, linear classifier; see `Options` for the options.

    `plan` is a row of `PLANS`; `gate` makes the gate of each block (None: none).
    """

    input_weights = ("stem.conv.weight",)

    def __init__(
        self,
        plan: Plan,
        num_classes: int = 400,
        in_channels: int = 3,
        *,
        dropout: float = 0.0,
        shortcut: Shortcut = "B",
        stem_channels: int = 64,
        stem_kernel_frames: int = 7,
        stem_stride_frames: int = 1,
        stem_pool: bool = True,
        pixels: Pixels = "2020",
        gate: MakeGate | None = None,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B"):
            raise ValueError(f'shortcut must be "A" (padded) or "B" (projected), got {shortcut!r}')
        self.spec = _spec(in_channels, pixels)
        kernel, stride = (stem_kernel_frames, 7, 7), (stem_stride_frames, 2, 2)
        self.stem = _conv_bn(in_channels, stem_channels, kernel, stride)
        self.stem.add_module("relu", nn.ReLU(inplace=True))
        self.pool = nn.MaxPool3d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        self.stages = nn.ModuleList()
        channels = stem_channels
        for stage, (depth, inner) in enumerate(zip(plan.depths, plan.widths, strict=True)):
            blocks = nn.Sequential()
            for index in range(depth):
                step = 2 if index == 0 and stage > 0 else 1
                outer = inner * plan.expansion
                scaling = nn.Identity() if gate is None else gate(outer, stage)
                block: ResidualBlock
                if plan.bottleneck:
                    block = Bottleneck(channels, inner, outer, step, shortcut, scaling, plan.groups)
                else:
                    block = BasicBlock(channels, outer, step, shortcut, scaling)
                blocks.append(block)
                channels = outer
            self.stages.append(blocks)
        self.num_features = channels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: stem, stages, mean over time and space, classifier.

        clip_BCTHW: float, normalised by `self.spec`; any size. Returns logits_BK.
        Paper: arXiv:1711.09577, table 1.
        """
        feature_BD = self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))
        return self.head(self.dropout(feature_BD))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last stage.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512 (18 and 34 layers) or 2048,
        T = frames / 16, H W = pixels / 32, rounded up.
        """
        check_clip(self, clip_BCTHW)
        x = self.pool(self.stem(clip_BCTHW))
        for stage in self.stages:
            x = stage(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        # as wide as nn.Linear's own start, which the authors keep: uniform within 1 / sqrt(features)
        self.head = fresh_classifier(self.head, num_classes, std=(3 * self.num_features) ** -0.5)
        self.num_classes = num_classes
        self.class_names = None


def _conv_bn(
    in_channels: int, channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    """Convolution without bias, padded by half its kernel, and batch norm, by the names `conv` and `bn`."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm3d(channels)))


def _spec(in_channels: int, pixels: Pixels) -> ClipSpec:
    """Clips of the paper: 16 successive frames, short side and crop 112."""
    if pixels not in PIXELS:
        raise ValueError(f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}")
    chosen = PIXELS[pixels]
    return make_spec(
        in_channels,
        num_frames=16,
        size=112,
        crop=112,
        mean=chosen["mean"],
        std=chosen["std"],
        value_range=(chosen["value_range"][0], chosen["value_range"][1]),
    )


def tiny_plan(plan: Plan, options: Options) -> tuple[Plan, Options]:
    """The small form of a plan, for tests: one block a stage (two in the first), narrow; same options."""
    divisor = 16 if plan.bottleneck else 8
    small = plan._replace(
        depths=(2, 1, 1, 1),
        widths=tuple(width // divisor for width in plan.widths),
        groups=min(plan.groups, 4),
    )
    return small, Options(**{**options, "stem_channels": options.get("stem_channels", 64) // divisor})


def _build(
    name: str,
    num_classes: int,
    in_channels: int,
    tiny: bool,
    dropout: float,
    options: Options,
    reduction: int | None = None,
) -> ResNet3d:
    """A network by its row of `PLANS`; with `reduction` the SE form of it."""
    plan = PLANS[name]
    if tiny:
        plan, options = tiny_plan(plan, options)
        reduction = reduction and max(1, reduction // 8)  # enough inner units for so few channels
    gate = None if reduction is None else lambda channels, stage: SqueezeExcitation(channels, reduction)
    return ResNet3d(plan, num_classes, in_channels, dropout=dropout, gate=gate, **options)


def resnet3d_18(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """18 layers: 33.4 M parameters, 8.3 G multiply-adds for a clip of 3 x 16 x 112 x 112.

    `tiny` is a narrow and shallow form for tests. `in_channels=2` makes it take flow. `dropout` is the
    probability of a feature to be left out while training. `options`: see `Options`; the paper's network,
    and its number, have `shortcut="A", pixels="2018"` (33.2 M parameters).
    """
    return _build("resnet_18", num_classes, in_channels, tiny, dropout, options)


def resnet3d_34(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """34 layers: 63.7 M parameters, 12.7 G multiply-adds; arguments as for `resnet3d_18`.

    `dropout` is a probability. The paper's network has `shortcut="A", pixels="2018"`.
    """
    return _build("resnet_34", num_classes, in_channels, tiny, dropout, options)


def resnet3d_50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """50 layers: 47.0 M parameters, 10.1 G multiply-adds; arguments as for `resnet3d_18`.

    `dropout` is a probability. The paper's network has `pixels="2018"`, as have those below.
    """
    return _build("resnet_50", num_classes, in_channels, tiny, dropout, options)


def resnet3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """101 layers: 86.1 M parameters, 13.9 G multiply-adds; arguments as for `resnet3d_18`.

    `dropout` is a probability.
    """
    return _build("resnet_101", num_classes, in_channels, tiny, dropout, options)


def resnet3d_152(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """152 layers: 118.2 M parameters; arguments as for `resnet3d_18`. `dropout` is a probability."""
    return _build("resnet_152", num_classes, in_channels, tiny, dropout, options)


def resnet3d_200(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """200 layers: 127.4 M parameters; arguments as for `resnet3d_18`. `dropout` is a probability."""
    return _build("resnet_200", num_classes, in_channels, tiny, dropout, options)


def resnext3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> ResNet3d:
    """ResNeXt-101, 32 groups: 48.3 M parameters, 9.6 G multiply-adds; arguments as for `resnet3d_18`.

    `dropout` is a probability. The published weights and numbers have `pixels="2018"`; for 64 frames the
    same network is trained on longer clips. `stem_channels=128` is the form of 2020.
    """
    return _build("resnext_101", num_classes, in_channels, tiny, dropout, options)


def se_resnet3d_50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    reduction: int = 16,
    **options: Unpack[Options],
) -> ResNet3d:
    """3D-ResNet-50 with squeeze-and-excitation in each block; arguments as for `resnet3d_18`.

    `dropout` is a probability. `reduction` is r of the gates (`tiny` divides it by 8).
    """
    return _build("resnet_50", num_classes, in_channels, tiny, dropout, options, reduction)


def se_resnet3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    reduction: int = 16,
    **options: Unpack[Options],
) -> ResNet3d:
    """3D-ResNet-101 with squeeze-and-excitation in each block; arguments as for `se_resnet3d_50`.

    `dropout` is a probability.
    """
    return _build("resnet_101", num_classes, in_channels, tiny, dropout, options, reduction)


def se_resnext3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    reduction: int = 16,
    **options: Unpack[Options],
) -> ResNet3d:
    """3D-ResNeXt-101 with squeeze-and-excitation: 53.1 M parameters, 9.6 G multiply-adds.

    Arguments as for `se_resnet3d_50`; `dropout` is a probability.
    """
    return _build("resnext_101", num_classes, in_channels, tiny, dropout, options, reduction)
