"""STC-Net: channels that are weighed by what the clip shows, over time and over space.

A 3D network looks at neighbourhoods, and each of its channels is a detector; that some detectors belong
together in this clip it cannot say. An STC block adds two small networks to each residual block. One looks
at the mean of each channel over the whole clip, the other at the mean of each channel in each frame; both
answer with a gate in [0, 1] for each channel, and the block lets through the mean of what the two would.

Paper: Diba, Fayyaz, Sharma, Arzani, Yousefzadeh, Gall and Van Gool, "Spatio-Temporal Channel Correlation
Networks for Action Classification" (ECCV 2018, arXiv:1806.07754), section 3. U is the map at the end of a
residual branch, C channels of T x H x W, before the shortcut is added; r = 16:

    temporal branch (TCB)    z = mean of U over T, H, W    C numbers      W1: C/r x C      W2: C x C/r
    spatial branch (SCB)     z = mean of U over H, W       T C numbers    W1: TC/r x TC    W2: C x TC/r
    each                     U_branch = U * sigmoid(W2 relu(W1 z))
    block                    (U_temporal + U_spatial) / 2

The temporal branch alone is squeeze-and-excitation (`SqueezeExcitation` in `resnet3d.py`). The spatial one
has a weight for each frame, so the network is tied to the length of its clips (`num_frames`; 16 by default,
published for 16, 32 and 64). The table of the trunks, 3D-ResNet and 3D-ResNeXt, is in `resnet3d.py`. For a
clip of 16 frames the map has 8, 4, 2 and 1 positions in time in stages 1 to 4.

Where we differ from the paper, and why:
- There is no public code and no published weight or count. The ratio r = 16 is that of the gates it builds
  on, all linear layers have biases, and a frame's numbers follow channel by channel: our choices.
- Gates are averaged before they scale the map, not the scaled maps: the same number at half the work.
- The paper also starts the 3D network from a 2D one by training both to tell matching pairs of image and
  clip from others. That is a way of training, not a part of the network, and is not here.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Unpack

from torch import Tensor, nn

from vadis.models.contract import Paper, Result
from vadis.models.layers import check_clip
from vadis.models.resnet3d import PLANS, Options, Plan, ResNet3d, SqueezeExcitation, tiny_plan

PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Spatio-Temporal Channel Correlation Networks for Action Classification",
        authors="Ali Diba et al.",
        venue="ECCV 2018",
        arxiv="1806.07754",
        idea="In each block of a 3D residual network two small networks look at the means of all channels, "
        "one over the whole clip and one frame by frame, and decide how much of each channel to let "
        "through. So channels that belong together in this clip are strengthened together.",
        results=(
            Result("stc_resnext3d_101", "Kinetics-400 val", 68.7, 88.5, note="32 frames, says a survey"),
            Result("stc_resnet3d_101", "Kinetics-400 val", 64.1, 85.2, note="16 frames; not verified"),
            Result("stc_resnext3d_101", "UCF101", 96.5, note="64 frames, as quoted by a survey"),
            Result("stc_resnext3d_101", "HMDB51", 74.9, note="64 frames, as quoted by a survey"),
        ),
    ),
)


class StcBlock(nn.Module):
    """The gate at the end of a residual branch of `channels` over `frames` positions in time.

    reduction: r, the inner layers have 1 / r of the units that go in.
    """

    def __init__(self, channels: int, frames: int, reduction: int = 16) -> None:
        super().__init__()
        self.temporal = SqueezeExcitation(channels, reduction)
        inner = max(1, frames * channels // reduction)
        self.spatial_reduce = nn.Linear(frames * channels, inner)
        self.spatial_expand = nn.Linear(inner, channels)

    def forward(self, x_BDTHW: Tensor) -> Tensor:
        """x_BDTHW: T as built, any H and W. Returns x_BDTHW of the same."""
        mean_BDT = x_BDTHW.mean(dim=(3, 4))
        temporal_BD = self.temporal.scale(mean_BDT.mean(dim=2))
        spatial_BD = self.spatial_expand(self.spatial_reduce(mean_BDT.flatten(1)).relu()).sigmoid()
        return x_BDTHW * ((temporal_BD + spatial_BD) / 2)[:, :, None, None, None]


def stage_frames(num_frames: int, options: Options) -> tuple[int, int, int, int]:
    """Positions in time in each stage, for a clip of `num_frames` and the stem that `options` ask for."""
    kernel, stride = options.get("stem_kernel_frames", 7), options.get("stem_stride_frames", 1)
    first = (num_frames + kernel // 2 * 2 - kernel) // stride + 1
    if options.get("stem_pool", True):
        first = -(-first // 2)
    return first, -(-first // 2), -(-first // 4), -(-first // 8)


class StcNet(ResNet3d):
    """A `ResNet3d` with an `StcBlock` in each residual block, for clips of exactly `num_frames`."""

    def __init__(
        self,
        plan: Plan,
        num_classes: int = 400,
        in_channels: int = 3,
        *,
        dropout: float = 0.0,
        num_frames: int = 16,
        reduction: int = 16,
        **options: Unpack[Options],
    ) -> None:
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        frames = stage_frames(num_frames, options)
        super().__init__(
            plan,
            num_classes,
            in_channels,
            dropout=dropout,
            gate=lambda channels, stage: StcBlock(channels, frames[stage], reduction),
            **options,
        )
        self.spec = dataclasses.replace(self.spec, num_frames=num_frames)
        self.min_frames = num_frames

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last stage.

        clip_BCTHW: float, normalised by `self.spec`; T as built, any H and W. Returns feature_BDTHW:
        D = 2048, T = frames / 16, H W = pixels / 32, rounded up. ValueError for another length.
        """
        check_clip(self, clip_BCTHW)
        if clip_BCTHW.shape[2] != self.min_frames:
            raise ValueError(
                f"StcNet takes clips of exactly {self.min_frames} frames, which its spatial branches have "
                f"weights for, got {clip_BCTHW.shape[2]}: sample that many, or build it with num_frames="
            )
        return super().forward_features(clip_BCTHW)


def _build(
    name: str,
    num_classes: int,
    in_channels: int,
    tiny: bool,
    dropout: float,
    num_frames: int,
    reduction: int,
    options: Options,
) -> StcNet:
    """A network by its row of `PLANS`."""
    plan = PLANS[name]
    if tiny:
        plan, options = tiny_plan(plan, options)
        reduction = max(1, reduction // 8)  # enough inner units for so few channels
    return StcNet(
        plan,
        num_classes,
        in_channels,
        dropout=dropout,
        num_frames=num_frames,
        reduction=reduction,
        **options,
    )


def stc_resnet3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    num_frames: int = 16,
    reduction: int = 16,
    **options: Unpack[Options],
) -> StcNet:
    """STC-ResNet-101: 103.7 M parameters, 13.9 G multiply-adds for a clip of 3 x 16 x 112 x 112.

    `tiny` is a narrow and shallow form for tests. `in_channels=2` makes it take flow. `dropout` is the
    probability of a feature to be left out while training. `num_frames` is the length of the clips (16, 32
    and 64 in the paper), `reduction` is r (`tiny` divides it by 8), `options` those of `resnet3d.Options`.
    """
    return _build("resnet_101", num_classes, in_channels, tiny, dropout, num_frames, reduction, options)


def stc_resnext3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    num_frames: int = 16,
    reduction: int = 16,
    **options: Unpack[Options],
) -> StcNet:
    """STC-ResNeXt-101: 66.0 M parameters, 9.6 G multiply-adds; arguments as for `stc_resnet3d_101`.

    `dropout` is a probability. The published Kinetics figure belongs to `num_frames=32`.
    """
    return _build("resnext_101", num_classes, in_channels, tiny, dropout, num_frames, reduction, options)
