"""SlowFast: one pathway sees few frames and what is in them, another many frames and how it moves.

What things are changes slowly, how they move changes fast. So the Slow pathway, a wide ResNet, looks at
every 8th or 16th frame, and the Fast pathway, an eighth as wide, at alpha times as many; it costs a fifth
of the whole. Before each stage, what the Fast pathway has found is brought to the frame rate of the Slow
one and stacked under its channels. Both are trained together, from scratch, without optical flow.

Paper: Feichtenhofer, Fan, Malik and He, "SlowFast Networks for Video Recognition" (ICCV 2019,
arXiv:1812.03982). Table 1, for T x tau = 8 x 8 (alpha = 4), a clip of 32 frames of 224 x 224 pixels:

    layer     Slow, `slow.`                  Fast, `fast.`                T (slow, fast) x H x W
    frames    every alpha-th                 all                          8, 32 x 224 x 224
    stem      1x7x7, 64, stride 1,2,2        5x7x7, 8                     8, 32 x 112 x 112
    pool1     max 1x3x3, stride 1,2,2        the same                     8, 32 x 56 x 56
    res2      [1x1x1, 1x3x3, 1x1x1] 256 x 3  [3x1x1, 1x3x3, 1x1x1] 32     8, 32 x 56 x 56
    res3      the same, 512, x 4             the same, 64                 8, 32 x 28 x 28
    res4      [3x1x1, 1x3x3, 1x1x1] 1024 x 6 the same, 128                8, 32 x 14 x 14
    res5      the same, 2048, x 3            the same, 256                8, 32 x 7 x 7
    head      mean of each, 2048 and 256 stacked, dropout 0.5, linear

`lateral.i`, before each stage: 5x1x1 (7x1x1 in the 8x8 network on ResNet-50) with stride alpha in time from
C channels of Fast to 2C, batch norm, ReLU; Slow's channels come first in the stack. The Slow pathway alone
is a network too ("slow_"). ResNet-101 has 23 blocks in res4, of which the first 6 are 3x1x1, the others
1x1x1 (`temporal_blocks`; "_all": all 23). "_nl" has non-local blocks in the Slow pathway after blocks 6, 13
and 20 of res4, "_nl5" after 1 and 3 of res3 and 1, 3 and 5 of res4, with the dot product.

A network cuts both pathways from one clip, alpha times as long as its name says: 8x8 takes 32 frames of
stride 2, 4x16 (alpha = 8) 32 of stride 2, 16x8 64 of stride 2. Any length and size goes.

Where code differs from the paper, and options:
- `slow_index`: the Slow pathway's frames. "linspace", the rule of PySlowFast and pytorchvideo, spreads them
  from the first to the last frame (0, 4, 8, 13, 17, 22, 26, 31 of 32), and their published weights were
  trained so; "stride" takes 0, 4, 8 ... as the paper says, and mmaction2. We compute the first in whole
  numbers; theirs is cut off in float32, which for a few lengths (160 frames at alpha 4 is the shortest)
  falls one frame short in one place.
- `lateral_kernel`: 7 for 8x8 on ResNet-50 (77.0) as in the published weights, 5 elsewhere.
- `lateral_norm=False`: mmaction2's lateral connections (74.8, 76.9, 77.9) are bare convolutions; its clips
  have ImageNet's mean and deviation (`pixels="imagenet"`).
- `nonlocal_pool`: (2, 2, 2) for "_nl", as in the AVA networks, which gives the 234 G multiply-adds of the
  paper; PySlowFast's Kinetics file leaves (1, 2, 2), the default of "_nl5".
- `head_window=7` and `scores_fully_convolutional`, the test of PySlowFast: see `vadis.models.nonlocal_net`.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result
from vadis.models.inflated_resnet import (
    BLOCKS,
    STAGES,
    TINY_BLOCKS,
    TINY_WIDTH,
    InflatedResNet,
    Pathway,
    Pixels,
    Places,
    Plan,
    PlaneClassifier,
    kinetics_spec,
    plan_nonlocals,
)
from vadis.models.layers import check_clip
from vadis.models.nonlocal_block import AttentionMap, Pairwise
from vadis.models.nonlocal_net import nonlocal_places
from vadis.specs import ClipSpec

SlowIndex = Literal["linspace", "stride"]

BETA_INVERSE = 8
"""The Slow pathway has this many times the channels of the Fast one."""

TINY_BETA_INVERSE = 4
LATERAL_RATIO = 2
"""Channels that a lateral connection makes of one channel of the Fast pathway."""

K400 = "Kinetics-400 val"
PYSLOWFAST = "PySlowFast zoo"
PYTORCHVIDEO = "pytorchvideo zoo"
MMACTION2 = "mmaction2 zoo, its slow_index, lateral_norm and pixels"

PAPERS: tuple[Paper, ...] = (
    Paper(
        "SlowFast Networks for Video Recognition",
        "C. Feichtenhofer, H. Fan, J. Malik and K. He",
        "ICCV 2019",
        "1812.03982",
        "What things are changes slowly, how they move changes fast: a wide Slow pathway looks at few "
        "frames, a Fast one, an eighth as wide, at many, and lateral connections bring what the Fast one "
        "finds into the Slow one before each stage. Trained from scratch on RGB alone.",
        (
            Result("slowfast_r50_4x16", K400, 75.6, 92.1, "10x3"),
            Result("slowfast_r50_8x8", K400, 77.0, 92.6, "10x3"),
            Result("slowfast_r101_8x8", K400, 77.9, 93.2, "10x3"),
            Result("slowfast_r101_16x8", K400, 78.9, 93.5, "10x3"),
            Result("slowfast_r101_16x8_nl", K400, 79.8, 93.9, "10x3"),
            Result("slowfast_r101_16x8_nl", "Kinetics-600 val", 81.8, 95.1, "10x3"),
            Result("slowfast_r101_16x8_nl", "Charades", 42.5, None, "10x3", "mean AP; from Kinetics-400"),
            Result("slowfast_r101_16x8_nl", "Charades", 45.2, None, "10x3", "mean AP; from Kinetics-600"),
            Result("slow_r50_4x16", K400, 72.7, 90.3, "10x3", PYSLOWFAST),
            Result("slow_r50_8x8", K400, 74.8, 91.6, "10x3", PYSLOWFAST),
            Result("slowfast_r50_4x16", K400, 75.6, 92.0, "10x3", PYSLOWFAST),
            Result("slowfast_r50_8x8", K400, 77.0, 92.6, "10x3", PYSLOWFAST),
            Result("slowfast_r50_16x8", "Something-Something v2 val", 63.0, 88.5, "", PYSLOWFAST),
            Result("slowfast_r50_16x8", "Charades", 38.9, None, "10x3", f"mean AP; {PYSLOWFAST}"),
            Result("slow_r50_4x16", K400, 72.40, 90.18, "10x3", PYTORCHVIDEO),
            Result("slow_r50_8x8", K400, 74.58, 91.63, "10x3", PYTORCHVIDEO),
            Result("slowfast_r50_4x16", K400, 75.34, 91.89, "10x3", PYTORCHVIDEO),
            Result("slowfast_r50_8x8", K400, 76.94, 92.69, "10x3", PYTORCHVIDEO),
            Result("slowfast_r101_8x8_all", K400, 77.90, 93.27, "10x3", PYTORCHVIDEO),
            Result("slowfast_r101_16x8", K400, 78.70, 93.61, "10x3", PYTORCHVIDEO),
            Result("slowfast_r50_4x16", K400, 74.75, 91.73, "10x3", f"short side 256; {MMACTION2}"),
            Result("slowfast_r50_8x8", K400, 76.94, 92.8, "10x3", f"short side 320; {MMACTION2}"),
            Result("slowfast_r101_8x8_all", K400, 77.90, 93.51, "10x3", f"short side 256; {MMACTION2}"),
        ),
    ),
)


def slow_frames(num_frames: int, alpha: int, rule: SlowIndex = "linspace") -> list[int]:
    """Which frames of a clip the Slow pathway sees: one in `alpha`, rounded up, by either rule."""
    number = -(-num_frames // alpha)
    if rule == "stride" or number == 1:
        return list(range(0, num_frames, alpha))
    return [index * (num_frames - 1) // (number - 1) for index in range(number)]


class Lateral(nn.Module):
    """From Fast to Slow: a convolution along time with stride alpha and twice the channels."""

    def __init__(self, channels: int, kernel: int, alpha: int, norm: bool) -> None:
        super().__init__()
        joined = LATERAL_RATIO * channels
        self.conv = nn.Conv3d(
            channels, joined, (kernel, 1, 1), (alpha, 1, 1), (kernel // 2, 0, 0), bias=False
        )
        self.bn = nn.BatchNorm3d(joined) if norm else None
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: of the Fast pathway. Returns x_BDTHW: D = 2C, T divided by alpha, rounded up."""
        x_BDTHW = self.conv(x_BCTHW)
        return x_BDTHW if self.bn is None else F.relu(self.bn(x_BDTHW), inplace=True)


class SlowFast(PlaneClassifier):
    """Two pathways, lateral connections, one head."""

    input_weights = ("slow.stem.conv.weight", "fast.stem.conv.weight")

    def __init__(
        self,
        slow: Plan,
        fast: Plan,
        spec: ClipSpec,
        num_classes: int = 400,
        *,
        alpha: int,
        lateral_kernel: int = 5,
        lateral_norm: bool = True,
        slow_index: SlowIndex = "linspace",
        dropout: float = 0.5,
        head_window: int | None = None,
    ) -> None:
        super().__init__()
        if slow_index not in get_args(SlowIndex):
            raise ValueError(
                f"slow_index must be one of {', '.join(get_args(SlowIndex))}, got {slow_index!r}"
            )
        if lateral_kernel < 1 or lateral_kernel % 2 == 0:
            raise ValueError(f"lateral_kernel takes an odd number of frames, got {lateral_kernel}")
        self.alpha = alpha
        self.slow_index = slow_index
        incoming = [fast.width] + [4 * (fast.width << stage) for stage in range(len(STAGES) - 1)]
        self.slow = Pathway(spec.channels, slow, [LATERAL_RATIO * channels for channels in incoming])
        self.fast = Pathway(spec.channels, fast)
        self.lateral = nn.ModuleList(
            Lateral(channels, lateral_kernel, alpha, lateral_norm) for channels in incoming
        )
        num_features = self.slow.num_channels + self.fast.num_channels
        self.add_head(spec, num_features, num_classes, dropout, head_window)

    def pathway_features(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of res5 of both pathways.

        clip_BCTHW: float, normalised by `self.spec`; T is the Fast pathway's number of frames.
        Returns slow_BDTHW (D = 2048, T / alpha positions, rounded up) and fast_BDTHW (D = 256, T positions),
        both with H W = pixels / 32.
        """
        return self._run(clip_BCTHW, None)

    def planes(self, clip_BCTHW: Tensor) -> Tensor:
        """Features of clip_BCTHW after the mean over time, Slow's first: feature_BDHW."""
        slow, fast = self._run(clip_BCTHW, None)
        return torch.cat([slow.mean(dim=2), fast.mean(dim=2)], dim=1)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The maps of res5, the Fast pathway's averaged over alpha positions and stacked under Slow's.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 2304, T = frames / alpha, rounded up.
        """
        slow, fast = self._run(clip_BCTHW, None)
        means = [part.mean(dim=2) for part in fast.split(self.alpha, dim=2)]
        return torch.cat([slow, torch.stack(means, dim=2)], dim=1)

    def attention_maps(self, clip_BCTHW: Tensor) -> dict[str, AttentionMap]:
        """Whom each position looks at in each non-local block of the Slow pathway: {"res4_6": ...}.

        clip_BCTHW: as for `forward`. Weights are (B, Q, K).
        """
        maps: dict[str, AttentionMap] = {}
        self._run(clip_BCTHW, maps)
        return maps

    def _run(self, clip: Tensor, maps: dict[str, AttentionMap] | None) -> tuple[Tensor, Tensor]:
        check_clip(self, clip)
        index = slow_frames(clip.shape[2], self.alpha, self.slow_index)
        slow = self.slow.enter(torch.stack([clip[:, :, frame] for frame in index], dim=2))
        fast = self.fast.enter(clip)
        for stage, lateral in enumerate(self.lateral):
            slow = self.slow.run_stage(stage, torch.cat([slow, lateral(fast)], dim=1), maps)
            fast = self.fast.run_stage(stage, fast)
        return slow, fast

    def extra_repr(self) -> str:
        """What the parameters do not tell, for `print(model)`."""
        return f"alpha={self.alpha}, slow_index={self.slow_index!r}"


# --- the networks of the paper --------------------------------------------------------------------


def slow_kernels(blocks: Sequence[int], temporal: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Length in time per stage and block: 1 in res2 and res3, 3 in res4 (its first `temporal`) and res5."""
    res4 = blocks[2] if temporal is None else min(temporal, blocks[2])
    return (1,) * blocks[0], (1,) * blocks[1], (3,) * res4 + (1,) * (blocks[2] - res4), (3,) * blocks[3]


def fast_kernels(blocks: Sequence[int], temporal: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Length in time per stage and block: 3 everywhere (in res4 in its first `temporal`)."""
    return (3,) * blocks[0], (3,) * blocks[1], *slow_kernels(blocks, temporal)[2:]


def _places(which: str, blocks: Sequence[int], given: Places | None) -> Places:
    """Where the non-local blocks stand: nowhere (""), "nl" (three in res4), "nl5", or as given."""
    if given is not None:
        return given
    if which == "nl":
        return {"res4": (6, 13, 20) if blocks[2] > 6 else (blocks[2] - 1,)}
    return nonlocal_places(5 if which == "nl5" else 0, blocks)


def _build_slow(
    frames: tuple[int, int],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    which: str = "",
    *,
    dropout: float = 0.5,
    head_window: int | None = None,
    nonlocal_after: Places | None = None,
    pairwise: Pairwise = "dot_product",
    scaled: bool = True,
    nonlocal_pool: Sequence[int] = (1, 2, 2),
    pixels: Pixels = "authors",
) -> InflatedResNet:
    """The Slow pathway alone, on ResNet-50; `frames` are number and stride."""
    blocks = TINY_BLOCKS if tiny else BLOCKS[50]
    plan = Plan(slow_kernels(blocks), width=TINY_WIDTH if tiny else 64)
    places = _places(which, blocks, nonlocal_after)
    plan = plan_nonlocals(plan, places, pairwise=pairwise, scaled=scaled, pool=tuple(nonlocal_pool))
    spec = kinetics_spec(in_channels, *frames, 256, pixels)
    return InflatedResNet(plan, spec, num_classes, dropout=dropout, head_window=head_window)


def _build(
    depth: int,
    slow_length: int,
    slow_stride: int,
    alpha: int,
    num_classes: int,
    in_channels: int,
    tiny: bool,
    which: str = "",
    *,
    dropout: float = 0.5,
    head_window: int | None = None,
    slow_index: SlowIndex = "linspace",
    lateral_kernel: int = 5,
    lateral_norm: bool = True,
    temporal_blocks: Sequence[int] | None = None,
    nonlocal_after: Places | None = None,
    pairwise: Pairwise = "dot_product",
    scaled: bool = True,
    nonlocal_pool: Sequence[int] = (1, 2, 2),
    pixels: Pixels = "authors",
) -> SlowFast:
    """A SlowFast network: T x tau of the Slow pathway, alpha. The options are those of the docstring.

    temporal_blocks: of res4, how many blocks look along time, in the Slow and in the Fast pathway; without
    it 6, which is all of ResNet-50.
    """
    blocks = TINY_BLOCKS if tiny else BLOCKS[depth]
    if temporal_blocks is None:
        temporal_blocks = (1, 1) if tiny and depth > 50 else (6, 6)
    if len(temporal_blocks) != 2:
        raise ValueError(f"temporal_blocks takes two numbers (Slow, Fast), got {tuple(temporal_blocks)}")
    width = TINY_WIDTH if tiny else 64
    slow = Plan(slow_kernels(blocks, temporal_blocks[0]), width=width)
    slow = plan_nonlocals(
        slow,
        _places(which, blocks, nonlocal_after),
        pairwise=pairwise,
        scaled=scaled,
        pool=tuple(nonlocal_pool),
    )
    fast_width = width // (TINY_BETA_INVERSE if tiny else BETA_INVERSE)
    fast = Plan(fast_kernels(blocks, temporal_blocks[1]), stem_time=5, width=fast_width)
    return SlowFast(
        slow,
        fast,
        kinetics_spec(in_channels, alpha * slow_length, slow_stride // alpha, 256, pixels),
        num_classes,
        alpha=alpha,
        lateral_kernel=lateral_kernel,
        lateral_norm=lateral_norm,
        slow_index=slow_index,
        dropout=dropout,
        head_window=head_window,
    )


def slow_r50_4x16(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The Slow pathway alone, 4 frames: 32.5 M parameters, 27.3 G multiply-adds at 256 x 256."""
    return _build_slow((4, 16), num_classes, in_channels, tiny, **options)


def slow_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The Slow pathway alone, 8 frames: 32.5 M parameters, 54.5 G multiply-adds at 256 x 256."""
    return _build_slow((8, 8), num_classes, in_channels, tiny, **options)


def slow_r50_4x16_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The Slow pathway alone with 5 non-local blocks, 4 frames (PySlowFast's SLOW_NLN_4x16_R50)."""
    return _build_slow((4, 16), num_classes, in_channels, tiny, "nl5", **options)


def slow_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The Slow pathway alone with 5 non-local blocks, 8 frames (PySlowFast's SLOW_NLN_8x8_R50)."""
    return _build_slow((8, 8), num_classes, in_channels, tiny, "nl5", **options)


def slowfast_r50_4x16(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """4 and 32 frames, alpha 8: 34.5 M parameters, 36.1 G multiply-adds at 256 x 256; 75.6 in the paper."""
    return _build(50, 4, 16, 8, num_classes, in_channels, tiny, **options)


def slowfast_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """8 and 32 frames, alpha 4: 34.6 M parameters, 65.7 G multiply-adds at 256 x 256; 77.0 in the paper."""
    return _build(50, 8, 8, 4, num_classes, in_channels, tiny, **{"lateral_kernel": 7, **options})


def slowfast_r50_16x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """16 and 64 frames, alpha 4: PySlowFast's network for Charades and Something-Something."""
    return _build(50, 16, 8, 4, num_classes, in_channels, tiny, **{"lateral_kernel": 7, **options})


def slowfast_r50_4x16_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """4x16 with 5 non-local blocks (PySlowFast's SLOWFAST_NLN_4x16_R50): 41.8 M parameters."""
    return _build(50, 4, 16, 8, num_classes, in_channels, tiny, "nl5", **options)


def slowfast_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """8x8 with 5 non-local blocks (PySlowFast's SLOWFAST_NLN_8x8_R50; lateral kernel 5): 41.8 M."""
    return _build(50, 8, 8, 4, num_classes, in_channels, tiny, "nl5", **options)


def slowfast_r101_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """8x8 on ResNet-101: 53.8 M parameters, 106.5 G multiply-adds at 256 x 256; 77.9 in the paper."""
    return _build(101, 8, 8, 4, num_classes, in_channels, tiny, **options)


def slowfast_r101_8x8_all(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """8x8 on ResNet-101 with kernels along time in all of res4, as pytorchvideo has it: 62.8 M parameters."""
    return _build(101, 8, 8, 4, num_classes, in_channels, tiny, **{"temporal_blocks": (23, 23), **options})


def slowfast_r101_16x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """16x8 on ResNet-101: 53.8 M parameters, 213 G multiply-adds at 256 x 256; 78.9 in the paper."""
    return _build(101, 16, 8, 4, num_classes, in_channels, tiny, **options)


def slowfast_r101_16x8_nl(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> SlowFast:
    """16x8 on ResNet-101, 3 non-local blocks: 60.1 M parameters, 234 G multiply-adds; 79.8 in the paper."""
    options = {"nonlocal_pool": (2, 2, 2), **options}
    return _build(101, 16, 8, 4, num_classes, in_channels, tiny, "nl", **options)
