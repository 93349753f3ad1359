"""A ResNet over time with bottleneck blocks: the body that C2D, inflated I3D, Slow and SlowFast share.

One `Plan` says what a table of the papers says: how long the kernels of each block are in time, where pooling
stands, and after which blocks a non-local one does. A `Pathway` is built from it; `InflatedResNet` is one
pathway with a classifier, SlowFast has two (`vadis.models.slowfast`).

Papers: "Non-local Neural Networks" (arXiv:1711.07971), table 1; "SlowFast Networks" (arXiv:1812.03982), table
1. Where code and papers differ is said in `vadis.models.nonlocal_net`.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space), D features,
K classes; in a non-local block Q positions that ask and K that answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import VideoModel
from vadis.models.layers import IMAGENET_MEAN, IMAGENET_STD, check_clip, fresh_classifier, make_spec
from vadis.models.max_pool import MaxPool3d, positions
from vadis.models.nonlocal_block import AttentionMap, NonLocal
from vadis.specs import ClipSpec

Size3 = tuple[int, int, int]
Pixels = Literal["authors", "imagenet"]
Places = Mapping[str, Sequence[int]]
"""After which blocks of which stage non-local blocks stand: {"res3": [1, 3]}."""

STAGES = ("res2", "res3", "res4", "res5")
BLOCKS: dict[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
TINY_BLOCKS = (1, 2, 2, 1)
TINY_WIDTH = 8
PIXELS = {
    "authors": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
}
"""Mean and standard deviation of what goes in: the authors', PySlowFast's, pytorchvideo's; mmaction2's."""


class Pool(NamedTuple):
    """Max pooling: kernel, stride and padding in (time, height, width)."""

    kernel: Size3
    stride: Size3
    padding: Size3 = (0, 0, 0)


FRAME_POOL = Pool((1, 3, 3), (1, 2, 2), (0, 1, 1))
"""pool1 where the stem has no stride in time."""


@dataclass(frozen=True)
class Plan:
    """What tells one ResNet over time from another.

    time_kernels: per stage, per block, the length in time (1 or 3) of its first convolution, or, with
    `spread`, of its second. stem_time, stem_stride: length and stride in time of the first layer. width: of
    the first layer. nonlocal_after: places of non-local blocks, whose options are `nonlocal_options`.
    """

    time_kernels: tuple[tuple[int, ...], ...]
    stem_time: int = 1
    stem_stride: int = 1
    pool1: Pool = FRAME_POOL
    pool2: Pool | None = None
    spread: bool = False
    width: int = 64
    nonlocal_after: tuple[tuple[str, tuple[int, ...]], ...] = ()
    nonlocal_options: tuple[tuple[str, Any], ...] = ()
    group_frames: int | None = None

    def fewest(self, axis: int) -> int:
        """The fewest frames (axis 0) or pixels (axis 1) that leave a position for each layer."""
        kernel, stride = ((self.stem_time, self.stem_stride), (7, 2))[axis]
        layers = [(kernel, stride, kernel // 2)]
        layers += [(pool.kernel[axis], pool.stride[axis], pool.padding[axis]) for pool in self._pools()]

        def fits(size: int) -> bool:
            for layer in layers:
                size = positions(size, *layer)
                if size < 1:
                    return False
            return True

        return next(size for size in itertools.count(1) if fits(size))

    def _pools(self) -> list[Pool]:
        return [pool for pool in (self.pool1, self.pool2) if pool is not None]


class ConvBn(nn.Module):
    """Convolution without bias, batch norm; padding keeps what the stride leaves."""

    def __init__(self, in_channels: int, channels: int, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, each size divided by the stride, rounded up."""
        return self.bn(self.conv(x_BCTHW))


class Bottleneck(nn.Module):
    """A residual block: `time`x1x1, 1x3x3 (with the stride in space), 1x1x1 to four times the width.

    With `spread` the length in time is the second convolution's. The shortcut is a 1x1x1 convolution
    where width or size change.
    """

    def __init__(self, in_channels: int, width: int, time: int, stride: int, spread: bool = False) -> None:
        super().__init__()
        channels = 4 * width
        first, second = (1, time) if spread else (time, 1)
        self.conv1 = nn.Conv3d(in_channels, width, (first, 1, 1), 1, (first // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(
            width, width, (second, 3, 3), (1, stride, stride), (second // 2, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels)
        self.shortcut: ConvBn | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = ConvBn(in_channels, channels, (1, 1, 1), (1, stride, stride))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, H and W divided by the stride, rounded up."""
        y = F.relu(self.bn1(self.conv1(x_BCTHW)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        return F.relu(y, inplace=True)


class Pathway(nn.Module):
    """A ResNet over time up to its last stage: one table of the papers, one `Plan`.

    joined: channels that come from elsewhere and stand behind the pathway's own where each stage begins
    (SlowFast's lateral connections).
    """

    def __init__(self, in_channels: int, plan: Plan, joined: Sequence[int] = (0, 0, 0, 0)) -> None:
        super().__init__()
        width = plan.width
        self.stem = ConvBn(in_channels, width, (plan.stem_time, 7, 7), (plan.stem_stride, 2, 2))
        self.pool1 = MaxPool3d(*plan.pool1)
        self.pool2 = nn.Identity() if plan.pool2 is None else MaxPool3d(*plan.pool2)
        self.stages = nn.ModuleList()
        channels = width
        for stage, times in enumerate(plan.time_kernels):
            blocks = nn.ModuleList()
            for index, time in enumerate(times):
                stride = 2 if stage > 0 and index == 0 else 1
                coming = channels + (joined[stage] if index == 0 else 0)
                blocks.append(Bottleneck(coming, width << stage, time, stride, plan.spread))
                channels = 4 * (width << stage)
            self.stages.append(blocks)
        self.num_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        self.nonlocals = nn.ModuleDict()
        for name, after in plan.nonlocal_after:
            stage = _stage_index(name)
            for index in after:
                if not 0 <= index < len(plan.time_kernels[stage]):
                    blocks_here = len(plan.time_kernels[stage])
                    raise ValueError(f"nonlocal_after: {name} has blocks 0 to {blocks_here - 1}, not {index}")
                options = dict(plan.nonlocal_options)
                if stage == 1:  # groups of frames are for large maps
                    options["group_frames"] = plan.group_frames
                self.nonlocals[f"{name}_{index}"] = NonLocal(4 * (width << stage), **options)

    def enter(self, clip_BCTHW: Tensor) -> Tensor:
        """The first layer and its pooling: clip_BCTHW to x_BDTHW."""
        return self.pool1(F.relu(self.stem(clip_BCTHW), inplace=True))

    def run_stage(self, stage: int, x_BCTHW: Tensor, maps: dict[str, AttentionMap] | None = None) -> Tensor:
        """One stage (0 is res2) with its non-local blocks; pool2 belongs to the end of res2.

        x_BCTHW: what the stage before gave. maps: filled with the attention of each non-local block.
        """
        blocks: Iterable[nn.Module] = self.stages[stage]  # type: ignore[assignment]
        for index, block in enumerate(blocks):
            x_BCTHW = block(x_BCTHW)
            name = f"{STAGES[stage]}_{index}"
            if name in self.nonlocals:
                look: NonLocal = self.nonlocals[name]  # type: ignore[assignment]
                if maps is not None:
                    maps[name] = look.attention(x_BCTHW)
                x_BCTHW = look(x_BCTHW)
        return self.pool2(x_BCTHW) if stage == 0 else x_BCTHW


def _stage_index(name: str) -> int:
    """0 for "res2"."""
    if name not in STAGES:
        raise ValueError(f"nonlocal_after takes the stages {', '.join(STAGES)}, got {name!r}")
    return STAGES.index(name)


class PlaneClassifier(VideoModel):
    """The end that C2D, I3D, Slow and SlowFast share: mean over time, mean over space, dropout, linear.

    A network gives `planes`, its features after the mean over time. `head_window`: None, or the side (in
    positions) of windows that are averaged first, as in pytorchvideo; the mean of their logits is given.
    """

    def add_head(
        self, spec: ClipSpec, num_features: int, num_classes: int, dropout: float, head_window: int | None
    ) -> None:
        """Finish a network. dropout: probability. Raises ValueError for less than one class or position."""
        if head_window is not None and head_window < 1:
            raise ValueError(f"head_window takes a number of positions from 1 on, or None, got {head_window}")
        self.spec = spec
        self.num_features = num_features
        self.num_classes = num_classes
        self.head_window = head_window
        self.dropout = nn.Dropout(dropout)
        self.head = fresh_classifier(nn.Linear(num_features, 1), num_classes)

    def planes(self, clip_BCTHW: Tensor) -> Tensor:
        """Features of clip_BCTHW after the mean over time: feature_BDHW. Each network has its own."""
        raise NotImplementedError

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`. Returns logits_BK.
        """
        planes = self.planes(clip_BCTHW)
        if self.head_window is not None:
            planes = _windows(planes, self.head_window)
        return self.head(self.dropout(planes.mean(dim=(2, 3))))

    def scores_fully_convolutional(self, clip_BCTHW: Tensor, window: int = 7) -> Tensor:
        """The test of the authors' code: a softmax for each window of positions, then their mean.

        clip_BCTHW: as for `forward`, usually 256 x 256 pixels. window: side of a window in positions; the
        training crop of 224 pixels has 7. Returns scores_BK, which sum to 1. (`forward` takes the mean of
        features first and gives logits, which is what training and other tests want.)
        """
        planes_BDHW = _windows(self.planes(clip_BCTHW), window)
        return self.head(planes_BDHW.movedim(1, 3)).softmax(dim=3).mean(dim=(1, 2))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def _windows(planes_BDHW: Tensor, side: int) -> Tensor:
    """Averages of all windows of side x side positions, or of what is there."""
    height, width = planes_BDHW.shape[2:]
    return F.avg_pool2d(planes_BDHW, (min(side, height), min(side, width)), stride=1)


class InflatedResNet(Pathway, PlaneClassifier):
    """C2D, inflated I3D and Slow, with non-local blocks or without: a pathway with a classifier."""

    input_weights = ("stem.conv.weight",)

    def __init__(
        self,
        plan: Plan,
        spec: ClipSpec,
        num_classes: int = 400,
        *,
        dropout: float = 0.5,
        head_window: int | None = None,
    ) -> None:
        super().__init__(spec.channels, plan)
        self.min_frames, self.min_pixels = plan.fewest(0), plan.fewest(1)
        self.add_head(spec, self.num_channels, num_classes, dropout, head_window)

    def planes(self, clip_BCTHW: Tensor) -> Tensor:
        """Features of clip_BCTHW after the mean over time: feature_BDHW."""
        return self.forward_features(clip_BCTHW).mean(dim=2)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of res5.

        clip_BCTHW: float, normalised by `self.spec`; any size that leaves a position.
        Returns feature_BDTHW: D = 2048, H W = pixels / 32, T = frames / 8 (32x2), / 2 (8x8), / 1 (Slow).
        """
        return self._run(clip_BCTHW, None)

    def attention_maps(self, clip_BCTHW: Tensor) -> dict[str, AttentionMap]:
        """Whom each position looks at in each non-local block; "res4_1" is the one after block 1 of res4.

        clip_BCTHW: as for `forward`. Weights are (B, Q, K): for a clip of 32 x 224 x 224 pixels 2.5 million
        for a block of res3.
        """
        maps: dict[str, AttentionMap] = {}
        self._run(clip_BCTHW, maps)
        return maps

    def _run(self, clip: Tensor, maps: dict[str, AttentionMap] | None) -> Tensor:
        check_clip(self, clip, min_pixels=self.min_pixels, min_frames=self.min_frames)
        x = self.enter(clip)
        for stage in range(len(STAGES)):
            x = self.run_stage(stage, x, maps)
        return x


def plan_nonlocals(plan: Plan, places: Places, **options: Any) -> Plan:
    """`plan` with non-local blocks at `places`; options are those of `NonLocal`."""
    after = tuple((stage, tuple(indices)) for stage, indices in places.items())
    return replace(plan, nonlocal_after=after, nonlocal_options=tuple(options.items()))


def kinetics_spec(
    in_channels: int, num_frames: int, frame_stride: int, crop: int, pixels: Pixels = "authors"
) -> ClipSpec:
    """What these networks take: frames at 30 per second, short side 256, (x / 255 - 0.45) / 0.225.

    crop: pixels. pixels: whose mean and standard deviation. Raises ValueError for others.
    """
    if pixels not in PIXELS:
        raise ValueError(f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}")
    mean, std = PIXELS[pixels]
    return make_spec(in_channels, num_frames, frame_stride, fps=30.0, crop=crop, mean=mean, std=std)
