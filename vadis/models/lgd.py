"""LGD: local and global diffusion, a second path that carries one vector for the whole clip.

A convolution sees a small neighbourhood, so what happens at one end of a clip reaches the other only after
many layers. LGD lets a vector g run beside the feature map x of any residual network: after each block g
takes in the mean of x, and x takes in g at each of its positions. So every position knows of the whole clip
at every depth, at the cost of six small linear layers a block.

Paper: Qiu, Yao, Ngo, Tian and Mei, "Learning Spatio-Temporal Representation with Local and Global
Diffusion" (CVPR 2019, arXiv:1906.05571). F is a residual block with its shortcut, mean(x) over time and
space, and each W is two linear layers of C -> C/16 -> C without anything between (C the channels of the
block):

    order="paper"    x_l = ReLU(F(x_{l-1}) + W_xg g_{l-1})
                     g_l = ReLU(W_gx mean(x_l) + W_gg g_{l-1})

    order="code"     g_l = ReLU(W_gx mean(x_{l-1}) + W_gg g_{l-1})
                     x_l = ReLU(F(x_{l-1}) + W_xg g_l)

The second is what the authors' own (later) code does, and the default: the map takes in the vector that has
already seen what the block gets. In the code all six layers have biases, the weight of the last starts at
zero (so that at the start x does not depend on g but for a bias), and g_0 is the mean of x before the first
block.

LGD-P3D-ResNet-50 for a clip of 16 frames of 224 x 224 pixels (ResNet-101: 3, 4, 23, 3 blocks):

    layer     blocks           kernel                       stride    x: channels, T x H x W     g
    conv1                      4x7x7                        4,2,2     64, 4 x 112 x 112
    pool1                      1x3x3 max                    1,2,2     64, 4 x 56 x 56            64
    stage 1   3: A B C         1x1x1, 1x3x3 + 3x1x1, 1x1x1  1         256, 4 x 56 x 56           256
    stage 2   4: A B C A       the same                     1,2,2     512, 4 x 28 x 28           512
    stage 3   6: B C A B C A   the same                     1,2,2     1024, 4 x 14 x 14          1024
    stage 4   3: B C A         the same                     1,2,2     2048, 4 x 7 x 7            2048
    heads     mean, dropout, linear: `head` on x; dropout, linear: `head_global` on g

The parts. `Diffusion` is the two equations around one block. `LocalGlobalNet` runs a backbone block by
block with a `Diffusion` around each; all that it asks of a block is what `resnet3d.py` and `p3d.py` have:
`branch`, `shortcut` and `relu`, called one after another, and a list (`Part`) of the layers in order with
the channels that go into and come out of each block. `wrap` makes that list for networks of stem and
stages.

Two heads, and what `head_mode` answers with:
- `"sum"` (default): the sum of the two heads' logits; both are trained by one loss.
- `"local"`, `"global"`: one head alone. "local" is what the authors' code answers at test time, so their
  checkpoints are built with it. It trains both heads, each by its own loss, and adds the losses:
  `forward_both` gives the two. (With `forward` and a single loss the other head would get no gradient.)
- `"concat"`: one linear layer on both features side by side. It can say what "sum" can, with one bias less.
The paper combines the two with a kernelised similarity instead, of which neither the code nor a source that
we could check gives the formula. It is left out rather than guessed; the paper's
accuracies presumably include it.

LGD-P3D-Xception is named in the authors' report on the ActivityNet challenge of 2019 (arXiv:1906.07016) and
on its slides only; no code or layer list is public. What we build, each point being our choice: Chollet's
Xception (arXiv:1610.02357; padding as in its PyTorch ports), 1x3x3 and then 3x1x1 depthwise and 1x1x1 in
place of each separable convolution (form A; the 3x1x1 starts as identity), a first convolution of
`early_stride` x 3 x 3, `Diffusion` around each of the 12 residual modules, clips and crops as for the
ResNets, pixels in [-1, 1] as Xception takes them. Xception rectifies at the start of a module and not after
the sum; so the sum stays as it is here, and with W_xg = 0 the network is the plain one. The "other
backbones (SENet, ResNeXt)" of the report's Ensemble+ are the networks of `resnet3d.py` with `Diffusion`
around each block; their details are not public either.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypedDict, Unpack, cast, get_args

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import check_clip, fresh_classifier, make_spec
from vadis.models.p3d import p3d_r50, p3d_r101
from vadis.models.resnet3d import resnext3d_101, se_resnet3d_50, se_resnet3d_101, se_resnext3d_101
from vadis.models.xception import TINY_XCEPTION, XCEPTION, XceptionPlan

CHALLENGE = "Kinetics-700 val (ActivityNet challenge 2019)"
LONG = "lgd_p3d_r101_128x1"
PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Learning Spatio-Temporal Representation with Local and Global Diffusion",
        authors="Z. Qiu, T. Yao, C.-W. Ngo, X. Tian and T. Mei",
        venue="CVPR 2019",
        arxiv="1906.05571",
        idea="Beside the feature map of a residual network runs one vector for the whole clip. Around each "
        "block the vector takes in the mean of the map, and each position of the map takes in the vector, "
        "so that every layer knows of the whole clip.",
        results=(
            Result(LONG, "Kinetics-400 val", 79.4, 94.4, note="RGB, ImageNet start"),
            Result(LONG, "Kinetics-400 val", 72.3, 90.9, note="flow"),
            Result(LONG, "Kinetics-400 val", 81.2, 95.2, note="RGB and flow"),
            Result(LONG, "Kinetics-600 val", 81.5, 95.6, note="RGB, ImageNet start"),
            Result(LONG, "Kinetics-600 val", 83.1, 96.2, note="RGB and flow"),
            Result(LONG, "UCF-101", 98.2, note="RGB and flow, from Kinetics, mean of 3 splits"),
            Result(LONG, "HMDB-51", 80.5, note="RGB and flow, from Kinetics, mean of 3 splits"),
        ),
    ),
    Paper(
        title="Trimmed Action Recognition, Dense-Captioning Events in Videos, and Spatio-temporal Action "
        "Localization with Focus on ActivityNet Challenge 2019",
        authors="Z. Qiu et al.",
        venue="ActivityNet Challenge 2019",
        arxiv="1906.07016",
        idea="LGD around the modules of a pseudo-3D Xception and a pseudo-3D ResNet-101, on short and long "
        "clips of frames and of flow, with sound as a third stream. The scores of the clips of a video are "
        "averaged (AP), or a small temporal convolution on their features learns to do better (TCP).",
        results=(
            Result("lgd_p3d_xception", CHALLENGE, 67.5, 86.9, note="AP; slides"),
            Result("lgd_p3d_xception", CHALLENGE, 70.6, 89.3, note="TCP; slides"),
            Result("lgd_p3d_xception", CHALLENGE, 54.4, 77.2, note="flow, AP; slides"),
            Result("lgd_p3d_xception", CHALLENGE, 60.5, 82.4, note="flow, TCP; slides"),
            Result("lgd_p3d_xception_128x1", CHALLENGE, 69.8, 88.3, note="AP; slides"),
            Result("lgd_p3d_xception_128x1", CHALLENGE, 61.3, 83.1, note="flow, AP; slides"),
            Result(LONG, CHALLENGE, 69.7, 88.8, note="AP; slides"),
            Result(LONG, CHALLENGE, 64.4, 85.5, note="flow, AP; slides"),
        ),
    ),
)

Order = Literal["code", "paper"]
HeadMode = Literal["sum", "local", "global", "concat"]
REDUCTION = 16
"""Channels of a block over the inner units of its small linear layers."""


class Options(TypedDict, total=False):
    """What can be asked of every LGD network: see the head of the file."""

    order: Order
    head_mode: HeadMode


class ResidualBlock(Protocol):
    """What is asked of a block: relu(branch + shortcut), each to be called by itself. x_BCTHW -> x_BDTHW."""

    def branch(self, x_BCTHW: Tensor, /) -> Tensor:
        """The residual branch up to the addition: x_BDTHW."""

    def shortcut(self, x_BCTHW: Tensor, /) -> Tensor:
        """The way around it: x_BDTHW."""

    def relu(self, x_BDTHW: Tensor, /) -> Tensor:
        """What follows the addition (the identity in networks that rectify first): x_BDTHW."""


class Part(NamedTuple):
    """One layer of a backbone: where it is (`get_submodule`), and channels in and out if it is a block."""

    path: str
    channels: tuple[int, int] | None = None


def _low_rank(in_channels: int, inner: int, channels: int) -> nn.Sequential:
    """A linear map of rank `inner` as two layers."""
    reduce, expand = nn.Linear(in_channels, inner), nn.Linear(inner, channels)
    return nn.Sequential(OrderedDict(reduce=reduce, expand=expand))


class Diffusion(nn.Module):
    """Local and global diffusion around one residual block of `in_channels` to `channels`."""

    def __init__(self, in_channels: int, channels: int, order: Order = "code") -> None:
        super().__init__()
        self.order = order
        inner = max(1, channels // REDUCTION)
        seen, told = (in_channels, channels) if order == "code" else (channels, in_channels)
        self.local_to_global = _low_rank(seen, inner, channels)
        self.global_to_global = _low_rank(in_channels, inner, channels)
        self.global_to_local = _low_rank(told, inner, channels)
        nn.init.zeros_(self.global_to_local.get_parameter("expand.weight"))

    def forward(self, block: ResidualBlock, x_BCTHW: Tensor, global_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Run `block` on the map and let the two paths tell each other, in the order of this layer.

        Returns x_BDTHW and global_BD. Paper: sec. 3.1, see the head of the file for the equations.
        """
        if self.order == "code":
            global_BD = self._next_global(x_BCTHW, global_BC)
            return self._next_local(block, x_BCTHW, global_BD), global_BD
        x_BDTHW = self._next_local(block, x_BCTHW, global_BC)
        return x_BDTHW, self._next_global(x_BDTHW, global_BC)

    def _next_local(self, block: ResidualBlock, x_BCTHW: Tensor, global_BC: Tensor) -> Tensor:
        told_BD = self.global_to_local(global_BC)
        x_BDTHW = block.branch(x_BCTHW).add_(block.shortcut(x_BCTHW))
        return block.relu(x_BDTHW.add_(told_BD[:, :, None, None, None]))

    def _next_global(self, x_BCTHW: Tensor, global_BC: Tensor) -> Tensor:
        seen_BD = self.local_to_global(x_BCTHW.mean(dim=(2, 3, 4)))
        return (seen_BD + self.global_to_global(global_BC)).relu()


class LocalGlobalNet(VideoModel):
    """A backbone with `Diffusion` around each of its residual blocks, and two heads.

    backbone: a network whose classifier (`head`, a linear layer) is taken off. parts: its layers in order; at
    least one is a block. order, head_mode: see the head of the file. dropout: probability of a feature to be
    left out while training. min_pixels: the smallest side that the backbone takes.
    """

    def __init__(
        self,
        backbone: VideoModel,
        parts: Sequence[Part],
        num_classes: int = 400,
        *,
        order: Order = "code",
        head_mode: HeadMode = "sum",
        dropout: float = 0.5,
        min_pixels: int = 1,
    ) -> None:
        super().__init__()
        for option, value, choices in (
            ("order", order, get_args(Order)),
            ("head_mode", head_mode, get_args(HeadMode)),
        ):
            if value not in choices:
                raise ValueError(f"{option} must be one of {', '.join(choices)}, got {value!r}")
        blocks = [(part.path, *part.channels) for part in parts if part.channels is not None]
        local_features = cast(nn.Linear, backbone.get_submodule("head")).in_features
        global_features = blocks[-1][2]
        self.spec, self.num_classes, self.head_mode = backbone.spec, num_classes, head_mode
        self.min_frames, self.min_pixels = backbone.min_frames, min_pixels
        self.input_weights = tuple(f"backbone.{key}" for key in backbone.input_weights)
        first = [part.path for part in parts].index(blocks[0][0])
        self.below, self.parts = tuple(parts[:first]), tuple(parts[first:])
        self.backbone = backbone
        self.backbone.head = nn.Identity()
        self.diffusions = nn.ModuleDict(
            {_key(path): Diffusion(before, after, order) for path, before, after in blocks}
        )
        self.dropout = nn.Dropout(dropout)
        self.dropout_global = nn.Dropout(dropout)
        both = head_mode == "concat"
        self.head = nn.Linear(local_features + global_features if both else local_features, num_classes)
        self.head_global = None if both else nn.Linear(global_features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips by the local path, the global path, or both, as `head_mode` says.

        clip_BCTHW: float, normalised by `self.spec`; at least `min_frames` frames. Returns logits_BK.
        """
        if self.head_mode == "sum":
            local_BK, global_BK = self.forward_both(clip_BCTHW)
            return local_BK + global_BK
        local_BD, global_BD = self.pooled(clip_BCTHW)
        if self.head_global is None:
            return self.head(torch.cat([local_BD, global_BD], dim=1))
        return self.head(local_BD) if self.head_mode == "local" else self.head_global(global_BD)

    def forward_both(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of the two heads, for the authors' training: the sum of the two losses.

        clip_BCTHW: as for `forward`. Returns local logits_BK and global logits_BK; ValueError if
        `head_mode` is "concat", which has one head.
        """
        if self.head_global is None:
            raise ValueError('head_mode="concat" has one head for both paths: use forward')
        local_BD, global_BD = self.pooled(clip_BCTHW)
        return self.head(local_BD), self.head_global(global_BD)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the local path after the last layer. clip_BCTHW: as for `forward`.

        Returns feature_BDTHW, of the size that the backbone gives.
        """
        return self.diffuse(clip_BCTHW)[0]

    def pooled(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads see, after dropout: the mean of the map, local_BD, and the vector, global_BD."""
        x, g = self.diffuse(clip_BCTHW)
        return self.dropout(x.mean(dim=(2, 3, 4))), self.dropout_global(g)

    def diffuse(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Both paths from the pixels up: feature_BDTHW and global_BD."""
        check_clip(self, clip_BCTHW, min_pixels=self.min_pixels, min_frames=self.min_frames)
        x = clip_BCTHW
        for part in self.below:
            x = self.backbone.get_submodule(part.path)(x)
        g = x.mean(dim=(2, 3, 4))
        for part in self.parts:
            layer = self.backbone.get_submodule(part.path)
            if part.channels is None:
                x = layer(x)
            else:
                x, g = self.diffusions[_key(part.path)](layer, x, g)
        return x, g

    def reset_head(self, num_classes: int) -> None:
        """Put untrained classifiers of `num_classes` (K) on top, on the device of the old ones."""
        self.head = fresh_classifier(self.head, num_classes)
        if self.head_global is not None:
            self.head_global = fresh_classifier(self.head_global, num_classes)
        self.num_classes, self.class_names = num_classes, None


def _key(path: str) -> str:
    """A path as a name without dots, for a dictionary of modules."""
    return path.replace(".", "_")


def wrap(
    backbone: VideoModel,
    num_classes: int = 400,
    *,
    before: Sequence[str] = ("stem",),
    between: Sequence[str] = (),
    dropout: float = 0.5,
    min_pixels: int = 1,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD on a network of `stages` of blocks, as all of `p3d.py` and `resnet3d.py` are.

    before, between: names of its layers below the first stage, and between two. A block's channels are those
    of its `conv1` and of its last convolution. The rest as for `LocalGlobalNet` (dropout: a probability).
    """
    parts = [Part(name) for name in before]
    for stage, blocks in enumerate(backbone.get_submodule("stages").children()):
        parts += [Part(name) for name in between if stage > 0]
        for index, block in enumerate(blocks.children()):
            convs = [layer for layer in block.children() if isinstance(layer, nn.Conv3d)]
            channels = convs[0].in_channels, convs[-1].out_channels
            parts.append(Part(f"stages.{stage}.{index}", channels))
    return LocalGlobalNet(backbone, parts, num_classes, dropout=dropout, min_pixels=min_pixels, **options)


def _separable(in_channels: int, channels: int) -> list[nn.Module]:
    """1x3x3 and 3x1x1 for each channel by itself, 1x1x1 across channels, batch norm.

    The 3x1x1 starts as identity, so that at the start each frame is seen by itself.
    """
    space = nn.Conv3d(in_channels, in_channels, (1, 3, 3), 1, (0, 1, 1), groups=in_channels, bias=False)
    time = nn.Conv3d(in_channels, in_channels, (3, 1, 1), 1, (1, 0, 0), groups=in_channels, bias=False)
    across = nn.Conv3d(in_channels, channels, 1, bias=False)
    nn.init.kaiming_normal_(space.weight, nonlinearity="relu")
    nn.init.dirac_(time.weight, groups=in_channels)
    nn.init.kaiming_normal_(across.weight, nonlinearity="relu")
    separable = nn.Sequential()
    for name, layer in (("space", space), ("time", time), ("across", across)):
        separable.add_module(name, layer)
    return [separable, nn.BatchNorm3d(channels)]


class XceptionModule(nn.Module):
    """ReLU, separable convolution and batch norm, once for each of `widths`; 3x3 max pooling with a stride.

    The first has no ReLU where `rectify` is False. Nothing follows the sum with the shortcut.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], stride: int, rectify: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for index, width in enumerate(widths):
            if rectify or index > 0:
                layers.append(nn.ReLU(inplace=index > 0))
            layers += _separable(channels, width)
            channels = width
        if stride != 1:
            layers.append(nn.MaxPool3d((1, 3, 3), (1, stride, stride), (0, 1, 1)))
        self.channels = (in_channels, channels)
        self.branch = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            conv = nn.Conv3d(in_channels, channels, 1, (1, stride, stride), bias=False)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm3d(channels)))
        self.relu = nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not rectified, H and W divided by the stride."""
        return self.relu(self.branch(x_BCTHW) + self.shortcut(x_BCTHW))


class P3dXception(VideoModel):
    """Xception with pseudo-3D separable convolutions; see the head of the file for what is known of it."""

    input_weights = ("stem.conv1.weight",)
    min_pixels = 7

    def __init__(
        self,
        num_classes: int = 400,
        in_channels: int = 3,
        *,
        plan: XceptionPlan = XCEPTION,
        early_stride: int = 4,
        num_frames: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 1 <= early_stride <= num_frames:
            raise ValueError(f"early_stride must be in [1, {num_frames}] frames, got {early_stride}")
        self.spec = make_spec(in_channels, num_frames, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.min_frames = early_stride
        first, channels = plan.stem
        conv1 = nn.Conv3d(in_channels, first, (early_stride, 3, 3), (early_stride, 2, 2), bias=False)
        conv2 = nn.Conv3d(first, channels, (1, 3, 3), bias=False)
        for conv in (conv1, conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=conv1,
                bn1=nn.BatchNorm3d(first),
                relu1=nn.ReLU(inplace=True),
                conv2=conv2,
                bn2=nn.BatchNorm3d(channels),
                relu2=nn.ReLU(inplace=True),
            )
        )
        self.blocks = nn.Sequential()
        for width in plan.entry:
            self.blocks.append(XceptionModule(channels, (width, width), 2, rectify=len(self.blocks) > 0))
            channels = width
        for _ in range(plan.middle):
            self.blocks.append(XceptionModule(channels, (channels,) * 3, 1))
        self.blocks.append(XceptionModule(channels, (channels, plan.exit), 2))
        self.top = nn.Sequential()
        channels = plan.exit
        for width in plan.top:
            self.top.extend([*_separable(channels, width), nn.ReLU(inplace=True)])
            channels = width
        self.num_features = channels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips. clip_BCTHW: float, normalised by `self.spec`. Returns logits_BK."""
        return self.head(self.dropout(self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map. clip_BCTHW: as for `forward`, at least 7 x 7 pixels and `early_stride` frames.

        Returns feature_BDTHW: D = 2048, T = frames / `early_stride`, H W about pixels / 32.
        """
        check_clip(self, clip_BCTHW, min_pixels=self.min_pixels, min_frames=self.min_frames)
        return self.top(self.blocks(self.stem(clip_BCTHW)))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes, self.class_names = num_classes, None


def p3d_xception(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    num_frames: int = 16,
) -> P3dXception:
    """The backbone of LGD-P3D-Xception by itself.

    dropout: probability of a feature to be left out while training. early_stride: length and stride in frames
    of the first convolution. num_frames: frames of a clip, for `spec` (the weights do not change).
    """
    return P3dXception(
        num_classes,
        in_channels,
        plan=TINY_XCEPTION if tiny else XCEPTION,
        early_stride=early_stride,
        num_frames=num_frames,
        dropout=dropout,
    )


def lgd_p3d_r50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    num_frames: int = 16,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-ResNet-50: 36.2 M parameters, 20.2 G multiply-adds for a clip of 3 x 16 x 224 x 224.

    dropout: probability of a feature to be left out while training. early_stride: length and stride in frames
    of the first convolution. num_frames: frames of a clip, for `spec` (the weights do not change). options:
    `order` ("code" or "paper") and `head_mode` ("sum", "local", "global" or "concat"), see the file's head.
    """
    backbone = p3d_r50(2, in_channels, tiny, early_stride=early_stride, num_frames=num_frames)
    return wrap(backbone, num_classes, dropout=dropout, **options)


def lgd_p3d_r101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    num_frames: int = 16,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-ResNet-101: 65.3 M parameters, 37.7 G multiply-adds for a clip of 3 x 16 x 224 x 224.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = p3d_r101(2, in_channels, tiny, early_stride=early_stride, num_frames=num_frames)
    return wrap(backbone, num_classes, dropout=dropout, **options)


def lgd_p3d_r50_128x1(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-ResNet-50 on 128 frames: 161.9 G multiply-adds; takes the weights of the 16-frame form.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    return lgd_p3d_r50(
        num_classes,
        in_channels,
        tiny,
        dropout=dropout,
        early_stride=early_stride,
        num_frames=128,
        **options,
    )


def lgd_p3d_r101_128x1(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-ResNet-101 on 128 frames, the paper's best: 301.6 G multiply-adds.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    return lgd_p3d_r101(
        num_classes,
        in_channels,
        tiny,
        dropout=dropout,
        early_stride=early_stride,
        num_frames=128,
        **options,
    )


def lgd_p3d_xception(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    num_frames: int = 16,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-Xception of the challenge of 2019, as far as it is known: see the head of the file.

    24.2 M parameters, 18.4 G multiply-adds for a clip of 3 x 16 x 224 x 224 (our count of our choices).
    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = p3d_xception(2, in_channels, tiny, early_stride=early_stride, num_frames=num_frames)
    parts = [Part("stem")]
    for index, module in enumerate(backbone.blocks):
        parts.append(Part(f"blocks.{index}", cast(XceptionModule, module).channels))
    parts.append(Part("top"))
    pixels = backbone.min_pixels
    return LocalGlobalNet(backbone, parts, num_classes, dropout=dropout, min_pixels=pixels, **options)


def lgd_p3d_xception_128x1(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    early_stride: int = 4,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD-P3D-Xception on 128 frames.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    return lgd_p3d_xception(
        num_classes,
        in_channels,
        tiny,
        dropout=dropout,
        early_stride=early_stride,
        num_frames=128,
        **options,
    )


def lgd_se_resnet3d_50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD on the 3D-ResNet-50 with squeeze and excitation.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = se_resnet3d_50(2, in_channels, tiny)
    return wrap(backbone, num_classes, before=("stem", "pool"), dropout=dropout, **options)


def lgd_se_resnet3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD on the 3D-ResNet-101 with squeeze and excitation (the challenge's "SENet").

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = se_resnet3d_101(2, in_channels, tiny)
    return wrap(backbone, num_classes, before=("stem", "pool"), dropout=dropout, **options)


def lgd_resnext3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD on the 3D-ResNeXt-101 (the challenge's "ResNeXt").

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = resnext3d_101(2, in_channels, tiny)
    return wrap(backbone, num_classes, before=("stem", "pool"), dropout=dropout, **options)


def lgd_se_resnext3d_101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.5,
    **options: Unpack[Options],
) -> LocalGlobalNet:
    """LGD on the 3D-ResNeXt-101 with squeeze and excitation.

    Options as for `lgd_p3d_r50` (dropout is a probability).
    """
    backbone = se_resnext3d_101(2, in_channels, tiny)
    return wrap(backbone, num_classes, before=("stem", "pool"), dropout=dropout, **options)
