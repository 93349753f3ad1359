"""R(2+1)D and its relatives: one residual network, five places where a convolution may look over time.

A residual network for images becomes one for video by what its convolutions do with the frames: look at
each frame alone (2D), at three frames at once (3D), or first at each frame and then, position by position,
at three moments ((2+1)D). The paper builds the same network with each choice, and with one choice below
and another above, at equal size. Splitting the 3D kernel wins: between its halves stands one more ReLU,
and the two halves are easier to train than the whole.

Paper: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (CVPR 2018,
arXiv:1711.11248), table 1 and figure 1. L frames of 112 x 112 pixels; each convolution is followed by
batch norm and ReLU; where a group begins, all sizes are halved (of space only, where it is 2D):

    group    ours     R3D-18                   R3D-34       output
    conv1    conv1    3x7x7, 64, stride 1,2,2  the same     L x 56 x 56
    conv2_x  stage2   [3x3x3, 64]  x2, x 2     x 3          L x 56 x 56
    conv3_x  stage3   [3x3x3, 128] x2, x 2     x 4          L/2 x 28 x 28
    conv4_x  stage4   [3x3x3, 256] x2, x 2     x 6          L/4 x 14 x 14
    conv5_x  stage5   [3x3x3, 512] x2, x 2     x 3          L/8 x 7 x 7
             head     mean over all positions, linear

    network        conv1  stage2  stage3  stage4  stage5    (`KINDS`: figure 1 as a table)
    R2D            LxD    2D      2D      2D      2D        conv1 takes all L frames at once: L x 7 x 7
    f-R2D          2D     2D      2D      2D      2D        frame by frame; the mean at the top is all
    R3D            3D     3D      3D      3D      3D
    MC3            3D     3D      2D      2D      2D        MCx: from group x on 2D (x = 2 ... 5)
    rMC3           2D     2D      3D      3D      3D        rMCx: from group x on 3D
    R(2+1)D        2+1    2+1     2+1     2+1     2+1

A (2+1)D convolution of N_in to N channels is 1 x d x d to M "middle planes", batch norm, ReLU, t x 1 x 1 to
N. With M = floor(t d d N_in N / (d d N_in + t N)) it has as many weights as t x d x d would.

Where we differ, and why; what number belongs to what:
- `r3d_18`, `mc3_18` and `r2plus1d_18_per_block` are torchvision's builds (batch norm's epsilon 1e-5): its
  63.2, 64.0 and 67.5 % (Kinetics-400) are theirs. torchvision computes M once a block, from the first
  convolution, and uses it for both (`midplanes="per_block"`, 31.5 M parameters): no network of the paper.
- All others are the paper's, as in the authors' code, VMZ: M for each convolution (`midplanes="per_conv"`),
  epsilon 1e-3. The paper's 68.0 % is that of `r2plus1d_18`. For the paper's R3D and MC3 give
  `bn_epsilon=1e-3`; the keys and shapes of a checkpoint cannot tell, so `--layout vmz` does.
- `midplanes="everywhere"` is mmaction2's R(2+1)D-34: the formula also for conv1 (83 instead of 45) and for
  the shortcuts, which become 1x1x1, batch norm, ReLU, 1x1x1. Its 75.3 % is trained with `use_pool1=True`.
- conv1 of R(2+1)D has 45 middle planes, the authors' constant; the formula would give 83.
- The deep forms (50, 101, 152) are VMZ's: bottlenecks, the middle convolution is the one that changes. The
  zoo's 329 G multiply-adds are 32 frames of 128 x 128 without a pooling after conv1; VMZ's PyTorch port
  builds its 152 with one by default (`use_pool1=True`), for crops of 224.
- VMZ's PyTorch port writes momentum = 0.9 for batch norm, which in PyTorch forgets all but the last batch;
  what Caffe2 calls 0.9 is 0.1 here.
- Frames were squeezed to 128 x 171 pixels whatever their shape; here the short side becomes 128.

Channel-separated networks (`ir_csn_152`, `ip_csn_152`: Tran et al., "Video Classification with Channel-
Separated Convolutional Networks", ICCV 2019, arXiv:1904.02811) are one more choice in the same place: the
3x3x3 of a bottleneck looks at each channel alone (depthwise), so that channels meet only in 1x1x1
convolutions. ir (interaction-reduced) puts nothing in their place, ip (interaction-preserved) a 1x1x1
before it. 224 pixels, a pooling after conv1.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.layers import (
    KINETICS_MEAN,
    KINETICS_STD,
    Size3,
    check_clip,
    fresh_classifier,
    make_spec,
)

VMZ_EPSILON = 1e-3
TORCHVISION_EPSILON = 1e-5
WIDTHS = (64, 128, 256, 512)
TINY_WIDTHS, TINY_BLOCKS = (8, 16, 32, 64), (2, 1, 1, 1)
STEM_MIDDLE = 45
"""Middle planes of conv1 in R(2+1)D: a constant of the authors' code, 45 for 64 channels."""

K400 = "Kinetics-400 val"

PAPERS = (
    Paper(
        "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
        "Tran et al.",
        "CVPR 2018",
        "1711.11248",
        "One residual network is built with 2D, 3D, mixed and (2+1)D convolutions, at equal size. To split a "
        "3D convolution into one over space and one over time wins: a ReLU more, and easier to train.",
        (
            Result("r2d_18", K400, 58.9, None, "10x1", "16 frames"),
            Result("fr2d_18", K400, 60.5, None, "10x1", "16 frames"),
            Result("r3d_18", K400, 64.2, None, "10x1", "16 frames, epsilon 1e-3"),
            Result("mc2_18", K400, 64.2, None, "10x1", "16 frames"),
            Result("mc3_18", K400, 64.7, None, "10x1", "16 frames, epsilon 1e-3"),
            Result("mc4_18 mc5_18", K400, 65.1, None, "10x1", "16 frames"),
            Result("rmc2_18", K400, 64.9, None, "10x1", "16 frames"),
            Result("rmc3_18", K400, 65.0, None, "10x1", "16 frames"),
            Result("rmc4_18", K400, 65.1, None, "10x1", "16 frames"),
            Result("rmc5_18", K400, 63.1, None, "10x1", "16 frames"),
            Result("r2plus1d_18", K400, 68.0, None, "10x1", "16 frames"),
            Result("r2plus1d_18", K400, 68.5, 87.5, "10x1", "VMZ zoo, 16 frames"),
            Result("r2plus1d_34", K400, 72.0, 90.0, note="32 frames"),
            Result("r2plus1d_34", K400, 67.5, 87.2, note="32 frames of flow"),
            Result("r2plus1d_34", K400, 73.9, 90.9, note="32 frames, RGB and flow"),
            Result("r2plus1d_34", K400, 74.2, 92.1, "dense", "VMZ zoo, 32 frames, from Sports-1M"),
            Result("r2plus1d_34", K400, 80.0, 94.2, "", "VMZ zoo, 32 frames of 128, from IG-65M"),
            Result("r2plus1d_34", "UCF-101", 97.3, note="32 frames, RGB and flow, three splits"),
            Result("r2plus1d_34", "HMDB-51", 78.7, note="32 frames, RGB and flow, three splits"),
            Result(
                "r2plus1d_34",
                K400,
                75.27,
                92.03,
                "10x3",
                'mmaction2 zoo, 32x2, midplanes="everywhere", pool1',
            ),
            Result("r2plus1d_152", K400, 77.3, 92.5, "", "VMZ zoo, 32 frames of 128"),
            Result("r2plus1d_152", K400, 81.6, 95.3, "", "VMZ zoo, 32 frames of 128, from IG-65M"),
            Result("r3d_18", K400, 63.2, 83.479, "5x1", "torchvision, 16 frames at 15 fps"),
            Result("mc3_18", K400, 63.96, 84.13, "5x1", "torchvision, 16 frames at 15 fps"),
            Result("r2plus1d_18_per_block", K400, 67.463, 86.175, "5x1", "torchvision, 16 frames at 15 fps"),
        ),
        (
            PrintedSize(
                "r2d_18",
                "11.4 M",
                "11.45 M",
                "The first kernel is as long as the clip: 11.45 M for 8 frames, 11.52 M for 16.",
                num_frames=8,
            ),
            PrintedSize(
                "r2plus1d_152",
                "118.0 M, 329 G",
                "118.2 M, 329.1 G",
                "Printed by VMZ's zoo, at its 128 pixels.",
                pixels=128,
            ),
        ),
    ),
    Paper(
        "Video Classification with Channel-Separated Convolutional Networks",
        "Tran, Wang, Torresani and Feiszli",
        "ICCV 2019",
        "1904.02811",
        "Let every 3x3x3 convolution look at one channel alone and leave the mixing of channels to 1x1x1 "
        "convolutions: a network a quarter of the size is more accurate, because it overfits less.",
        (
            Result("ir_csn_152", K400, 76.5, 92.1, "", "VMZ zoo, 32 frames"),
            Result("ir_csn_152", K400, 82.6, 95.3, "", "VMZ zoo, 32 frames, from IG-65M"),
            Result("ip_csn_152", K400, 77.8, 92.8, "", "VMZ zoo, 32 frames"),
            Result("ip_csn_152", K400, 82.5, 95.3, "", "VMZ zoo, 32 frames, from IG-65M"),
        ),
    ),
)

Norm = Callable[[int], nn.BatchNorm3d]
Midplanes = Literal["per_conv", "per_block", "everywhere"]


# --- the convolution makers: all that the networks differ in ------------------------------------------


def middle_planes(in_channels: int, channels: int, size: int = 3, length: int = 3) -> int:
    """M of section 3.5: with it (2+1)D has as many weights as one kernel of length x size x size, or fewer.

    64 -> 64: 144; 64 -> 128: 230; 128 -> 128: 288; 256 -> 512: 921; 512 -> 512: 1152.
    """
    plane = size * size * in_channels
    return length * plane * channels // (plane + length * channels)


class Factored(nn.Module):
    """A (2+1)D convolution: 1 x d x d to the middle planes, batch norm, ReLU, t x 1 x 1."""

    def __init__(
        self, in_channels: int, channels: int, kernel: Size3, stride: Size3, middle: int, norm: Norm
    ) -> None:
        super().__init__()
        length, height, width = kernel
        self.spatial = nn.Conv3d(
            in_channels,
            middle,
            (1, height, width),
            (1, *stride[1:]),
            (0, height // 2, width // 2),
            bias=False,
        )
        self.bn = norm(middle)
        self.relu = nn.ReLU(inplace=True)
        self.temporal = nn.Conv3d(
            middle, channels, (length, 1, 1), (stride[0], 1, 1), (length // 2, 0, 0), bias=False
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, each size divided by its stride, rounded up."""
        return self.temporal(self.relu(self.bn(self.spatial(x_BCTHW))))


Maker = Callable[..., nn.Module]
"""(channels in, channels out, size in space, stride, middle planes if any, batch norm) -> a convolution."""


def conv_3d(in_channels: int, channels: int, size: int, stride: Size3, middle: int, norm: Norm) -> nn.Module:
    """3 x d x d."""
    return nn.Conv3d(in_channels, channels, (3, size, size), stride, (1, size // 2, size // 2), bias=False)


def conv_2d(in_channels: int, channels: int, size: int, stride: Size3, middle: int, norm: Norm) -> nn.Module:
    """1 x d x d: each frame alone."""
    return nn.Conv3d(in_channels, channels, (1, size, size), stride, (0, size // 2, size // 2), bias=False)


def conv_2plus1d(
    in_channels: int, channels: int, size: int, stride: Size3, middle: int, norm: Norm
) -> nn.Module:
    """1 x d x d, batch norm, ReLU, 3 x 1 x 1."""
    return Factored(in_channels, channels, (3, size, size), stride, middle, norm)


def conv_depthwise(
    in_channels: int, channels: int, size: int, stride: Size3, middle: int, norm: Norm
) -> nn.Module:
    """3 x d x d within each channel (interaction-reduced)."""
    kernel, padding = (3, size, size), (1, size // 2, size // 2)
    return nn.Conv3d(in_channels, channels, kernel, stride, padding, groups=channels, bias=False)


def conv_pointwise_depthwise(
    in_channels: int, channels: int, size: int, stride: Size3, middle: int, norm: Norm
) -> nn.Module:
    """1 x 1 x 1 over channels, batch norm, then 3 x d x d within each (interaction-preserved); no ReLU."""
    layers = OrderedDict[str, nn.Module](
        pointwise=nn.Conv3d(in_channels, channels, 1, bias=False),
        bn=norm(channels),
        depthwise=conv_depthwise(channels, channels, size, stride, middle, norm),
    )
    return nn.Sequential(layers)


KINDS: dict[str, tuple[Maker, ...]] = {
    # conv1, stage2, stage3, stage4, stage5
    "r2d": (conv_2d, conv_2d, conv_2d, conv_2d, conv_2d),  # and conv1 as long as the clip
    "fr2d": (conv_2d, conv_2d, conv_2d, conv_2d, conv_2d),
    "r3d": (conv_3d, conv_3d, conv_3d, conv_3d, conv_3d),
    "mc2": (conv_3d, conv_2d, conv_2d, conv_2d, conv_2d),
    "mc3": (conv_3d, conv_3d, conv_2d, conv_2d, conv_2d),
    "mc4": (conv_3d, conv_3d, conv_3d, conv_2d, conv_2d),
    "mc5": (conv_3d, conv_3d, conv_3d, conv_3d, conv_2d),
    "rmc2": (conv_2d, conv_3d, conv_3d, conv_3d, conv_3d),
    "rmc3": (conv_2d, conv_2d, conv_3d, conv_3d, conv_3d),
    "rmc4": (conv_2d, conv_2d, conv_2d, conv_3d, conv_3d),
    "rmc5": (conv_2d, conv_2d, conv_2d, conv_2d, conv_3d),
    "r2plus1d": (conv_2plus1d, conv_2plus1d, conv_2plus1d, conv_2plus1d, conv_2plus1d),
    "ir_csn": (conv_3d, conv_depthwise, conv_depthwise, conv_depthwise, conv_depthwise),
    "ip_csn": (conv_3d, *[conv_pointwise_depthwise] * 4),
}
"""Figure 1 of the paper: for each network its five convolution makers."""


# --- the residual network around them -----------------------------------------------------------------


class BasicBlock(nn.Module):
    """Two convolutions, and what came in is added: the block of the networks of 18 and 34 layers."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        make: Maker,
        stride: Size3,
        midplanes: Midplanes,
        norm: Norm,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        first = middle_planes(in_channels, width)
        second = first if midplanes == "per_block" else middle_planes(width, width)
        self.conv1 = make(in_channels, width, 3, stride, first)
        self.bn1 = norm(width)
        self.conv2 = make(width, width, 3, (1, 1, 1), second)
        self.bn2 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative, each size divided by the stride, rounded up."""
        x = self.relu(self.bn1(self.conv1(x_BCTHW)))
        x = self.bn2(self.conv2(x))
        x += x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        return self.relu(x)


class Bottleneck(nn.Module):
    """1x1x1 to fewer channels, one convolution there, 1x1x1 back: the block of 50 layers and more."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        make: Maker,
        stride: Size3,
        midplanes: Midplanes,
        norm: Norm,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        # torchvision takes the planes of the block for those of the convolution: then the first block of a
        # stage has more middle planes than the formula gives.
        middle = middle_planes(in_channels if midplanes == "per_block" else width, width)
        self.conv1 = nn.Conv3d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = make(width, width, 3, stride, middle)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv3d(width, width * self.expansion, 1, bias=False)
        self.bn3 = norm(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative, each size divided by the stride, rounded up."""
        x = self.relu(self.bn1(self.conv1(x_BCTHW)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        return self.relu(x)


DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class VideoResNet(VideoModel):
    """A residual network over clips; `KINDS` and `DEPTHS` say which. Takes RGB (3 channels) or flow (2).

    Any number of frames of any size goes in; R2D takes exactly `num_frames`.
    """

    def __init__(
        self,
        kind: str,
        depth: int,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        num_frames: int = 16,
        dropout: float = 0.0,
        bn_epsilon: float = VMZ_EPSILON,
        midplanes: Midplanes = "per_conv",
        use_pool1: bool = False,
    ) -> None:
        super().__init__()
        factored = KINDS[kind][0] is conv_2plus1d
        _check_midplanes(kind, midplanes, factored)
        block, blocks = DEPTHS[depth]
        widths = WIDTHS
        if tiny:
            widths, blocks = TINY_WIDTHS, TINY_BLOCKS
        large = kind in ("ir_csn", "ip_csn")
        self.spec = make_spec(
            in_channels,
            num_frames,
            # Of the two trainings only torchvision's resamples the videos; its epsilon gives it away.
            fps=15.0 if bn_epsilon == TORCHVISION_EPSILON else None,
            size=256 if large else 128,
            crop=224 if large else 112,
            mean=KINETICS_MEAN,
            std=KINETICS_STD,
        )
        self.takes_exactly = num_frames if kind == "r2d" else None
        self.min_frames = self.takes_exactly or 1
        self.input_weights = ("conv1.spatial.weight" if factored else "conv1.weight",)
        everywhere = midplanes == "everywhere"
        norm = partial(nn.BatchNorm3d, eps=bn_epsilon)
        # mmaction2's factored convolution makes its own batch norm, which nobody tells of the epsilon.
        inner_norm = nn.BatchNorm3d if everywhere else norm
        makers: list[Maker] = [partial(make, norm=inner_norm) for make in KINDS[kind]]

        channels = widths[0]
        middle = STEM_MIDDLE * channels // WIDTHS[0]
        if everywhere:
            # As for RGB also where flow goes in: its published weights are to fit.
            middle = middle_planes(3, channels, size=7)
        self.conv1 = makers[0](in_channels, channels, 7, (1, 2, 2), middle)
        if kind == "r2d":
            self.conv1 = nn.Conv3d(
                in_channels, channels, (num_frames, 7, 7), (1, 2, 2), (0, 3, 3), bias=False
            )
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if use_pool1 else None

        for index, (width, repeats) in enumerate(zip(widths, blocks, strict=True), start=1):
            # What is 2D does not halve time either: each of its frames is scored for itself.
            halved = (1 if KINDS[kind][index] is conv_2d else 2, 2, 2)
            stage = nn.Sequential()
            for place in range(repeats):
                stride = halved if index > 1 and place == 0 else (1, 1, 1)
                wider = width * block.expansion
                shortcut = None
                if stride != (1, 1, 1) or channels != wider:
                    shortcut = _projection(channels, wider, stride, norm, everywhere)
                stage.append(block(channels, width, makers[index], stride, midplanes, norm, shortcut))
                channels = wider
            self.add_module(f"stage{index + 1}", stage)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean of the last map over time and space, and a linear classifier.

        clip_BCTHW: float, normalised by `self.spec`; any number of frames of any size (R2D: `num_frames`).
        Returns logits_BK. Paper: section 3 and table 1.
        """
        feature_BD = self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))
        return self.head(self.dropout(feature_BD))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last group, conv5_x.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512 (2048 from 50 layers on), H W = pixels
        / 16 (/ 32 with `use_pool1`), T = frames / 2 for each of the last three groups that is not 2D, all
        rounded up; 1 for R2D.
        """
        check_clip(self, clip_BCTHW)
        frames = clip_BCTHW.shape[2]
        if self.takes_exactly not in (None, frames):
            raise ValueError(
                f"R2D's first convolution is as long as its clips: it takes {self.takes_exactly} frames, got "
                f"{frames}: build it with num_frames={frames}, or sample other clips"
            )
        x = self.relu(self.bn1(self.conv1(clip_BCTHW)))
        if self.pool1 is not None:
            x = self.pool1(x)
        for stage in ("stage2", "stage3", "stage4", "stage5"):
            x = self.get_submodule(stage)(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def _projection(in_channels: int, channels: int, stride: Size3, norm: Norm, factored: bool) -> nn.Module:
    """The shortcut where the shape changes: 1x1x1 and batch norm (mmaction2: (2+1)D with kernels of 1)."""
    conv: nn.Module = nn.Conv3d(in_channels, channels, 1, stride, bias=False)
    if factored:
        middle = middle_planes(in_channels, channels, size=1)
        conv = Factored(in_channels, channels, (1, 1, 1), stride, middle, nn.BatchNorm3d)
    return nn.Sequential(OrderedDict[str, nn.Module](conv=conv, bn=norm(channels)))


def _check_midplanes(kind: str, midplanes: str, factored: bool) -> None:
    if midplanes not in ("per_conv", "per_block", "everywhere"):
        raise ValueError(f'midplanes must be "per_conv", "per_block" or "everywhere", got {midplanes!r}')
    if midplanes != "per_conv" and not factored:
        raise ValueError(f"{kind} has no (2+1)D convolutions, so midplanes={midplanes!r} means nothing in it")


# --- the names ----------------------------------------------------------------------------------------


def _network(
    name: str,
    doc: str,
    *,
    num_frames: int = 16,
    bn_epsilon: float = VMZ_EPSILON,
    midplanes: Midplanes = "per_conv",
    use_pool1: bool = False,
) -> Callable[..., VideoResNet]:
    """The function of one name: kind and depth are read from it, the rest are its defaults."""
    kind, depth = name.removesuffix("_per_block").rsplit("_", 1)
    default_frames, default_epsilon, default_midplanes = num_frames, bn_epsilon, midplanes
    default_pool1 = use_pool1

    def make(
        num_classes: int = 400,
        in_channels: int = 3,
        tiny: bool = False,
        *,
        num_frames: int = default_frames,
        dropout: float = 0.0,
        bn_epsilon: float = default_epsilon,
        midplanes: Midplanes = default_midplanes,
        use_pool1: bool = default_pool1,
    ) -> VideoResNet:
        return VideoResNet(
            kind,
            int(depth),
            num_classes,
            in_channels=in_channels,
            tiny=tiny,
            num_frames=num_frames,
            dropout=dropout,
            bn_epsilon=bn_epsilon,
            midplanes=midplanes,
            use_pool1=use_pool1,
        )

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{doc}\n{OPTIONS}"
    return make


OPTIONS = """
    tiny: an eighth of the width and one or two blocks a stage, for tests. in_channels=2: takes flow.
    num_frames: of the clips it is for, in frames (only R2D is tied to it). dropout: probability of a feature
    to be left out while training. bn_epsilon: of batch norm, a share of variance: 1e-3 in the authors' code,
    1e-5 in torchvision. midplanes: see the module's text; only R(2+1)D has them. use_pool1: max pooling of
    1x3x3, stride 1,2,2 after conv1, for crops of 224 pixels.
"""

r2d_18 = _network("r2d_18", "R2D: all frames at once in conv1, images after it. 11.5 M parameters, 2.2 GMAC.")
fr2d_18 = _network("fr2d_18", "f-R2D: frame by frame; blind to their order. 11.4 M parameters, 27.6 GMAC.")
r3d_18 = _network(
    "r3d_18", "R3D: 3x3x3 everywhere. 33.4 M parameters, 40.7 GMAC.", bn_epsilon=TORCHVISION_EPSILON
)
mc2_18 = _network("mc2_18", "MC2: 3D in conv1 only. 11.4 M parameters, 28.6 GMAC.")
mc3_18 = _network(
    "mc3_18", "MC3: 3D in conv1 and stage2. 11.7 M parameters, 43.3 GMAC.", bn_epsilon=TORCHVISION_EPSILON
)
mc4_18 = _network("mc4_18", "MC4: 3D up to stage3. 12.7 M parameters, 40.0 GMAC.")
mc5_18 = _network("mc5_18", "MC5: 3D up to stage4. 16.9 M parameters, 39.9 GMAC.")
rmc2_18 = _network("rmc2_18", "rMC2: 3D from stage2 on. 33.4 M parameters, 39.8 GMAC.")
rmc3_18 = _network("rmc3_18", "rMC3: 3D from stage3 on. 33.1 M parameters, 25.0 GMAC.")
rmc4_18 = _network("rmc4_18", "rMC4: 3D from stage4 on. 32.0 M parameters, 29.1 GMAC.")
rmc5_18 = _network("rmc5_18", "rMC5: 3D in stage5 only. 27.9 M parameters, 30.8 GMAC.")
r2plus1d_18 = _network("r2plus1d_18", "R(2+1)D, the paper's. 33.4 M parameters, 41.5 GMAC.")
r2plus1d_18_per_block = _network(
    "r2plus1d_18_per_block",
    "R(2+1)D as torchvision builds it (`r2plus1d_18` there). 31.5 M parameters, 40.5 GMAC.",
    bn_epsilon=TORCHVISION_EPSILON,
    midplanes="per_block",
)

r2d_34 = _network("r2d_34", "R2D with 34 layers: all frames at once in conv1.")
fr2d_34 = _network("fr2d_34", "f-R2D with 34 layers: frame by frame.")
r3d_34 = _network("r3d_34", "R3D with 34 layers: 3x3x3 everywhere.")
mc2_34 = _network("mc2_34", "MC2 with 34 layers: 3D in conv1 only.")
mc3_34 = _network("mc3_34", "MC3 with 34 layers: 3D in conv1 and stage2.")
mc4_34 = _network("mc4_34", "MC4 with 34 layers: 3D up to stage3.")
mc5_34 = _network("mc5_34", "MC5 with 34 layers: 3D up to stage4.")
rmc2_34 = _network("rmc2_34", "rMC2 with 34 layers: 3D from stage2 on.")
rmc3_34 = _network("rmc3_34", "rMC3 with 34 layers: 3D from stage3 on.")
rmc4_34 = _network("rmc4_34", "rMC4 with 34 layers: 3D from stage4 on.")
rmc5_34 = _network("rmc5_34", "rMC5 with 34 layers: 3D in stage5 only.")
r2plus1d_34 = _network(
    "r2plus1d_34", "R(2+1)D with 34 layers. 63.7 M parameters, 152 GMAC for 32 frames of 112.", num_frames=32
)
r2plus1d_50 = _network(
    "r2plus1d_50", "R(2+1)D, bottlenecks. 47.0 M parameters, 151 GMAC for 32 frames of 128.", num_frames=32
)
r2plus1d_101 = _network(
    "r2plus1d_101", "R(2+1)D, bottlenecks. 86.1 M parameters, 230 GMAC for 32 frames of 128.", num_frames=32
)
r2plus1d_152 = _network(
    "r2plus1d_152", "R(2+1)D, bottlenecks. 118.2 M parameters, 329 GMAC for 32 frames of 128.", num_frames=32
)
ir_csn_152 = _network(
    "ir_csn_152", "ir-CSN: depthwise 3x3x3. 29.7 M parameters.", num_frames=32, use_pool1=True
)
ip_csn_152 = _network(
    "ip_csn_152", "ip-CSN: 1x1x1, then depthwise 3x3x3. 33.0 M parameters.", num_frames=32, use_pool1=True
)
