"""MFNet: a network sliced into sixteen thin fibers that exchange what they know at the door of each block.

A convolution joins every channel that goes in with every one that comes out, and that is what it costs.
Cut the channels into sixteen groups ("fibers") that do not see each other and it costs a sixteenth; but then
the fibers are sixteen small networks that learn apart. So before each block a pair of cheap 1x1x1
convolutions, the multiplexer, lets all fibers hear from all, and is added to what they have. The result is
about ten times cheaper than I3D and more accurate.

Paper: Chen, Kalantidis, Li, Yan and Feng, "Multi-Fiber Networks for Video Recognition" (ECCV 2018,
arXiv:1807.11195), figure 2 and table 1. For a clip of 16 frames of 224 x 224 pixels:

    part      kernel and stride               blocks  middle  channels   T x H x W
    stem      3x5x5, stride 1,2,2             -       -       16         16 x 112 x 112
    pool      1x3x3 maximum, stride 1,2,2     -       -       16         16 x 56 x 56
    stage2    multi-fiber, first 2,1,1        3       96      96         8 x 56 x 56
    stage3    multi-fiber, first 1,2,2        4       192     192        8 x 28 x 28
    stage4    multi-fiber, first 1,2,2        6       384     384        8 x 14 x 14
    stage5    multi-fiber, first 1,2,2        3       768     768        8 x 7 x 7
    tail      batch norm, ReLU                                768        8 x 7 x 7
    head      mean over T, H, W; linear                       classes

    a multi-fiber block of x (each convolution is batch norm, ReLU, convolution, in this order):

        multiplexer   h = x + expand(squeeze(x))      1x1x1 to a quarter of the middle, 1x1x1 back to x's
        fibers        y = outer(inner(h))             3x3x3 in 16 groups, strided; 1x3x3 in 16 groups
        sum           y + x

    In the first block of a stage `outer` is 1x1x1 without groups, and the x that is added goes through a
    strided 1x1x1 convolution. What is added at the end is x itself, not h.

Where we differ from the paper and the authors' code, and why:
- The mean at the top covers whatever is there, so that any size goes; theirs takes 16 frames of 224 x 224
  pixels and refuses another length. From one frame and one pixel on nothing vanishes.
- Widths and blocks are those of the released network (96 to 768; 8.0 M parameters). An earlier version of
  its file has others, which the numbers do not belong to.
- Dropout (0.5) belongs to fine-tuning only, as in the authors' code: the default here is none.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Size3, check_clip, fresh_classifier, make_spec

PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Multi-Fiber Networks for Video Recognition",
        authors="Yunpeng Chen, Yannis Kalantidis, Jianshu Li, Shuicheng Yan and Jiashi Feng",
        venue="ECCV 2018",
        arxiv="1807.11195",
        idea="Cuts the channels of a 3D residual network into sixteen groups that are convolved apart, which "
        "costs a sixteenth, and lets the groups hear from each other through two small 1x1x1 convolutions "
        "before each block. Ten times cheaper than I3D, and more accurate.",
        results=(
            Result("mfnet3d", "Kinetics-400 val", 72.8, 90.4, note="ImageNet"),
            Result("mfnet3d", "UCF101", 96.0, note="mean of three splits, pre-trained on Kinetics"),
            Result("mfnet3d", "HMDB51", 74.6, note="mean of three splits, pre-trained on Kinetics"),
        ),
    ),
)

PIXEL_MEAN = (124 / 255, 117 / 255, 104 / 255)
PIXEL_STD = (1 / (0.0167 * 255),) * 3
"""The authors' (pixel - mean) * 0.0167 with pixels 0..255, for pixels in [0, 1]."""


class Stage(nn.Sequential):
    """Blocks one after the other; the first brings the stride and the new width."""

    def __init__(self, in_channels: int, channels: int, blocks: int, stride: Size3, groups: int) -> None:
        super().__init__(
            MultiFiberBlock(in_channels, channels, stride, groups, first=True),
            *(MultiFiberBlock(channels, channels, (1, 1, 1), groups, first=False) for _ in range(blocks - 1)),
        )


class NormReluConv(nn.Module):
    """Batch norm, ReLU, convolution without bias: an activation before, not after."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: Size3 = (1, 1, 1),
        stride: Size3 = (1, 1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm3d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        around = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(in_channels, channels, kernel, stride, around, groups=groups, bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, each size divided by the stride, rounded up."""
        return self.conv(self.relu(self.bn(x_BCTHW)))


class MultiFiberBlock(nn.Module):
    """A multiplexer, two convolutions in groups, a shortcut around both."""

    def __init__(self, in_channels: int, channels: int, stride: Size3, groups: int, first: bool) -> None:
        super().__init__()
        self.squeeze = NormReluConv(in_channels, channels // 4)
        self.expand = NormReluConv(channels // 4, in_channels)
        self.inner = NormReluConv(in_channels, channels, (3, 3, 3), stride, groups)
        if first:
            self.outer = NormReluConv(channels, channels)
            self.shortcut: nn.Module = NormReluConv(in_channels, channels, stride=stride)
        else:
            self.outer = NormReluConv(channels, channels, (1, 3, 3), groups=groups)
            self.shortcut = nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, each size divided by the stride, rounded up."""
        multiplexed = x_BCTHW + self.expand(self.squeeze(x_BCTHW))
        return self.outer(self.inner(multiplexed)) + self.shortcut(x_BCTHW)


class MultiFiberNet(VideoModel):
    """MFNet-3D, for RGB (3 channels) or optical flow (2)."""

    input_weights = ("stem.0.weight",)

    def __init__(
        self, num_classes: int = 400, *, in_channels: int = 3, dropout: float = 0.0, tiny: bool = False
    ) -> None:
        super().__init__()
        self.spec = make_spec(in_channels, 16, 2, mean=PIXEL_MEAN, std=PIXEL_STD)
        self.num_classes = num_classes
        groups, width = (4, 16) if tiny else (16, 96)
        blocks = (2, 1, 1, 1) if tiny else (3, 4, 6, 3)
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, 16, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
            nn.BatchNorm3d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.stage2 = Stage(16, width, blocks[0], (2, 1, 1), groups)
        self.stage3 = Stage(width, 2 * width, blocks[1], (1, 2, 2), groups)
        self.stage4 = Stage(2 * width, 4 * width, blocks[2], (1, 2, 2), groups)
        self.stage5 = Stage(4 * width, 8 * width, blocks[3], (1, 2, 2), groups)
        self.tail = nn.Sequential(nn.BatchNorm3d(8 * width), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`; trained on 16 frames of 224 x 224 pixels, any size goes.
        Returns logits_BK. Paper: sec. 3 and table 1.
        """
        feature_BD = self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))
        return self.head(self.dropout(feature_BD))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last stage, after batch norm and ReLU.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 768, T = frames / 2 and H W = pixels / 32,
        rounded up.
        """
        check_clip(self, clip_BCTHW)
        x_BCTHW = self.stem(clip_BCTHW)
        for stage in (self.stage2, self.stage3, self.stage4, self.stage5):
            x_BCTHW = stage(x_BCTHW)
        return self.tail(x_BCTHW)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        nn.init.xavier_uniform_(self.head.weight)
        self.num_classes = num_classes
        self.class_names = None


def mfnet3d(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, *, dropout: float = 0.0
) -> MultiFiberNet:
    """MFNet-3D: 8.0 M parameters, 11.05 G multiply-adds for a clip of 3 x 16 x 224 x 224.

    `dropout` is the probability of a feature to be left out while training (the authors: 0.5 when
    fine-tuning), `tiny` a small form for tests; `in_channels=2` makes it take flow.
    """
    return MultiFiberNet(num_classes, in_channels=in_channels, dropout=dropout, tiny=tiny)
