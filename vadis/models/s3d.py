"""S3D: I3D's convolutions split into space and time, and kept in time only where it pays.

Is all of I3D's 3D convolution needed? Replacing it layer by layer with the 2D one shows that time matters
most near the top, where the maps are small: "top-heavy" networks are both faster and better than
"bottom-heavy" ones. A k x k x k kernel works even better as a 1 x k x k one that looks around followed by a
k x 1 x 1 one that looks along time (S3D), and a gate that weighs channels by what the whole clip shows
(S3D-G) adds more accuracy than it costs.

Paper: Xie, Sun, Huang, Tu and Murphy, "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy
Trade-offs in Video Classification" (ECCV 2018, arXiv:1712.04851). The table is I3D's (`vadis.models.i3d`),
for a clip of 64 frames of 224 x 224 pixels; the layers with a kernel in time are numbered, bottom to top:

    layer             I3D      S3D               stride   channels                       T x H x W
    conv1a       1    7x7x7    1x7x7 + 7x1x1     2,2,2    64                             32 x 112 x 112
    pool2a            1x3x3    1x3x3             1,2,2    64                             32 x 56 x 56
    conv2b            1x1x1    1x1x1             1        64
    conv2c       2    3x3x3    1x3x3 + 3x1x1 *   1        192
    pool3a            1x3x3    1x3x3             1,2,2    192                            32 x 28 x 28
    mixed3b, 3c  3-4  3x3x3    1x3x3 + 3x1x1 *   1        256, 480
    pool4a            3x3x3    3x3x3             2,2,2    480                            16 x 14 x 14
    mixed4b..4f  5-9  3x3x3    1x3x3 + 3x1x1 *   1        512, 512, 512, 528, 832
    pool5a            2x2x2    2x2x2             2,2,2    832                            8 x 7 x 7
    mixed5b, 5c 10-11 3x3x3    1x3x3 + 3x1x1 *   1        832, 1024
    head              mean over 2x7x7 positions, dropout, 1x1x1 to classes, mean         7 x 1 x 1

    * S3D-G gates these: the layer's result, in a mixed block each branch's, times sigmoid(W mean + b) per
      channel, the mean taken over the whole clip.

    network            kernels in time             kernels               published as
    i2d_inception      none (K = 0)                1x7x7, 1x3x3          I2D
    i3d_bottom_heavy   the lowest K (default 4)    full below            Bottom-Heavy-I3D
    i3d_top_heavy      the highest K (default 7)   full above            Top-Heavy-I3D
    s3d                all eleven                  separate              S3D
    s3d_fast           the highest K (default 2)   separate above        Fast-S3D
    s3dg               all eleven                  separate, gated       S3D-G

The paper sweeps K; the defaults 4 and 7 cut I3D between stages 3 and 4, so that the two are each other's
complement. K = 11 is I3D itself. The pools keep their reach in time in all of them, I2D too.

The same name stands for three different networks in public code. `form` chooses; the accuracies of one do
not belong to another:

    form          torchvision, kylemin        tf_slim                       howto100m
    published     68.4 / 88.1; 72.1 / 90.4    the paper's own numbers       text-video embedding, 512-d
    conv1a        1x7x7, then 7x1x1           7x7x7 (stem_frames: 1, 3, 5)  4x8x8 (3x7x7: ..._plain_stem)
    in time       batch norm, ReLU            bias, ReLU; starts as a copy  batch norm, ReLU
    padding       symmetric                   TensorFlow's SAME             symmetric; pools behind only
    batch norm    epsilon 0.001               epsilon 0.001                 epsilon 0.00001
    gates         without bias                without bias                  with bias
    mean at top   2x7x7 (kylemin 2xHxW)       2x7x7                         the whole clip
    pixels        Kinetics' mean; [-1, 1]     [-1, 1]                       [0, 1]
    frames        128 at 15; 64 at 25         64 at 25                      32 at 10

Where we differ from the papers and the code, and why:
- The default is torchvision's form (8.32 M parameters), which is the one with weights to download. The
  paper prints 8.77 M for S3D and 11.56 M for S3D-G, which no published code gives: gating adds 1.22 M.
- "Space to depth". For TPUs the HowTo100M stem first packs 2x2x2 pixels into 24 channels and then
  convolves them with 2x4x4. That is a 4x8x8 convolution of the pixels themselves with stride 2, written
  differently; here it is written as such (the importer reorders the weights), so that any size goes.
- TensorFlow's batch norm has no scale; ours has, as in I3D.
- Spatial kernels start from He's normal rule, for the reason given in I3D.
- Where fewer positions are left than a mean asks for, it covers what is there: torchvision's network refuses
  less than 13 frames or 209 pixels, ours takes 5 and 17 (the forms with SAME padding: any size).
- On a CPU the 3x3x3 pools of the mixed blocks run channels last: the same values, several times as fast.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.i3d import LAYERS, Conv, Mix, Pool, SameConv3d, SameMaxPool3d
from vadis.models.layers import KINETICS_MEAN, KINETICS_STD, Size3, check_clip, fresh_classifier, make_spec

PAPERS: tuple[Paper, ...] = (
    Paper(
        title="Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification",
        authors="Saining Xie, Chen Sun, Jonathan Huang, Zhuowen Tu and Kevin Murphy",
        venue="ECCV 2018",
        arxiv="1712.04851",
        idea="Takes I3D apart to see where 3D convolution is needed: near the top, and split into a "
        "convolution over space and one over time. A gate on each layer then weighs the channels by what the "
        "whole clip shows. The result is cheaper than I3D and more accurate.",
        results=(
            Result("s3d", "Kinetics-400 val", 72.2, 90.6, note="ImageNet; form tf_slim"),
            Result("s3d", "Kinetics-400 val", 69.4, 89.1, note="from scratch; form tf_slim"),
            Result("s3dg", "Kinetics-400 val", 74.7, 93.4, note="ImageNet; form tf_slim"),
            Result("s3dg", "Kinetics-400 val", 77.2, 93.0, note="RGB and flow, ImageNet; form tf_slim"),
            Result("s3dg", "UCF101", 96.8, note="pre-trained on Kinetics; form tf_slim"),
            Result("s3dg", "HMDB51", 75.9, note="pre-trained on Kinetics; form tf_slim"),
            Result("s3d", "Kinetics-400 val", 72.08, 90.35, note="kylemin/S3D; form kylemin"),
            Result(
                "s3d", "Kinetics-400 val", 68.368, 88.05, "1x1", "torchvision, 128 frames; form torchvision"
            ),
        ),
        sizes=(
            PrintedSize(
                "s3d",
                "8.77 M, 66.38 G",
                "8.32 M, 71.92 G",
                "No public code gives the printed figures. The form tf_slim, which leaves the first kernel "
                "whole, has 8.34 M and 79.29 G.",
                num_frames=64,
            ),
            PrintedSize(
                "s3dg",
                "11.56 M, 71.38 G",
                "9.54 M, 71.92 G",
                "Gates add 1.22 M parameters and next to no multiply-adds to S3D in every public code; the "
                "printed figures would need 2.79 M and 5 G.",
                num_frames=64,
            ),
        ),
    ),
)

WHOLE = 2**31
"""A window as wide as the map, whatever it is."""

FormName = Literal["torchvision", "kylemin", "tf_slim", "howto100m", "howto100m_plain_stem"]


class Form(NamedTuple):
    """What tells one public version of the network from another.

    stem: how conv1a is built ("packed" is HowTo100M's); stem_frames: how far it reaches in time.
    temporal_norm: whether a convolution in time has batch norm (else a bias). window: what the mean at the
    top covers. min_frames, min_pixels: the least that leaves something at the top. clip: what goes in.
    """

    stem: Literal["separate", "full", "packed"]
    stem_frames: int
    padding: Literal["symmetric", "same", "behind"]
    temporal_norm: bool
    gate_bias: bool
    bn_epsilon: float
    bn_momentum: float
    window: Size3
    min_frames: int
    min_pixels: int
    clip: dict[str, Any]


TORCHVISION = Form(
    "separate",
    7,
    "symmetric",
    temporal_norm=True,
    gate_bias=False,
    bn_epsilon=1e-3,
    bn_momentum=1e-3,
    window=(2, 7, 7),
    min_frames=5,
    min_pixels=17,
    clip={"num_frames": 128, "fps": 15.0, "mean": KINETICS_MEAN, "std": KINETICS_STD},
)
I3D_CLIP = {"num_frames": 64, "fps": 25.0, "value_range": (-1.0, 1.0)}
TF_SLIM = TORCHVISION._replace(
    stem="full", padding="same", temporal_norm=False, min_frames=1, min_pixels=1, clip=I3D_CLIP
)
HOWTO100M = Form(
    "packed",
    4,
    "behind",
    temporal_norm=True,
    gate_bias=True,
    bn_epsilon=1e-5,
    bn_momentum=0.1,
    window=(1, WHOLE, WHOLE),
    min_frames=2,
    min_pixels=2,
    clip={"num_frames": 32, "fps": 10.0, "size": 224, "crop": 224},
)
FORMS: dict[str, Form] = {
    "torchvision": TORCHVISION,
    "kylemin": TORCHVISION._replace(window=(2, WHOLE, WHOLE), clip=I3D_CLIP),
    "tf_slim": TF_SLIM,
    "howto100m": HOWTO100M,
    "howto100m_plain_stem": HOWTO100M._replace(stem="full", stem_frames=3, min_frames=1, min_pixels=1),
}

TEMPORAL: tuple[str, ...] = tuple(
    name
    for name, row in LAYERS.items()
    if isinstance(row, Mix) or (isinstance(row, Conv) and row.kernel[0] > 1)
)
"""The eleven layers of I3D that have a kernel in time, bottom to top: what the paper's K counts."""

TINY_DIVISOR = 8
TINY_LEAVES_OUT = ("mixed3c", "mixed4c", "mixed4d", "mixed4e", "mixed4f", "mixed5b")
"""One mixed block of each stage stays."""


class Unit(nn.Module):
    """Convolution, batch norm, ReLU; without batch norm the convolution has a bias."""

    def __init__(
        self, in_channels: int, channels: int, kernel: Size3, stride: Size3, form: Form, norm: bool = True
    ) -> None:
        super().__init__()
        kind = SameConv3d if form.padding == "same" else nn.Conv3d
        around = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)  # SameConv3d works out its own
        self.conv = kind(in_channels, channels, kernel, stride, around, bias=not norm)
        self.bn = nn.BatchNorm3d(channels, form.bn_epsilon, form.bn_momentum) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, not negative, each size divided by the stride, rounded up."""
        return self.relu(self.bn(self.conv(x_BCTHW)))


class SeparateUnit(nn.Module):
    """A convolution over space, then one over time, each with its ReLU: the S of S3D."""

    def __init__(self, in_channels: int, channels: int, kernel: Size3, stride: Size3, form: Form) -> None:
        super().__init__()
        self.spatial = Unit(in_channels, channels, (1, *kernel[1:]), (1, *stride[1:]), form)
        self.temporal = Unit(
            channels, channels, (kernel[0], 1, 1), (stride[0], 1, 1), form, norm=form.temporal_norm
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, as the joint `Unit` of the same kernel and stride would."""
        return self.temporal(self.spatial(x_BCTHW))


class PackedConv3d(nn.Conv3d):
    """HowTo100M's stem: 4x8x8, stride 2, padded by (0, 2) in time and (2, 4) in space.

    Theirs packs 2x2x2 pixels into channels and convolves those with 2x4x4, padded by 1, 2 and 2, then drops
    the first row of each axis: which leaves 0, 1, 1 before and 1, 2, 2 behind, of two pixels each.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, (4, 8, 8), stride=2, bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size from 2 on. Returns x_BDTHW, each size halved."""
        return super().forward(F.pad(x_BCTHW, (2, 4, 2, 4, 0, 2)))


class BehindMaxPool3d(nn.Module):
    """HowTo100M's max pooling: one row of padding behind a kernel of 3, none before, whatever the size.

    That is SAME for even sizes. The row is a window that reaches over the edge (`ceil_mode`), so nothing is
    copied; only of odd sizes a further window, of the last row alone, needs it (zeros lose to nothing here:
    a ReLU came before).
    """

    def __init__(self, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size, not negative. Returns x_BCTHW, each size divided by the stride, rounded up."""
        time, height, width = (
            1 if kernel > stride and size % 2 else 0
            for size, kernel, stride in zip(x_BCTHW.shape[2:], self.kernel, self.stride, strict=True)
        )
        if time or height or width:
            x_BCTHW = F.pad(x_BCTHW, (0, width, 0, height, 0, time))
        return F.max_pool3d(x_BCTHW, self.kernel, self.stride, ceil_mode=True)


class SurroundingMaxPool3d(nn.MaxPool3d):
    """The 3x3x3 pool of a mixed block, which keeps the size.

    PyTorch's loop for a CPU goes position by position; channels last it compares many channels at once.
    """

    def __init__(self) -> None:
        super().__init__(3, stride=1, padding=1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BCTHW of the same size."""
        if x_BCTHW.device.type == "cpu":
            x_BCTHW = x_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        return super().forward(x_BCTHW)


class Gate(nn.Module):
    """Self-gating: each channel times a number in [0, 1] that depends on what the whole clip shows."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels, bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BCTHW, scaled."""
        scale_BC = torch.sigmoid(self.linear(x_BCTHW.mean(dim=(2, 3, 4))))
        return x_BCTHW * scale_BC[:, :, None, None, None]


class Mixed(nn.Module):
    """The Inception block: four branches side by side, channels stacked; with gates, each branch is gated."""

    def __init__(
        self, in_channels: int, row: Mix, form: Form, frames: int, separate: bool, gated: bool
    ) -> None:
        super().__init__()
        one, around = (1, 1, 1), (frames, 3, 3)
        self.branch0 = Unit(in_channels, row.branch0, one, one, form)
        self.branch1_reduce = Unit(in_channels, row.branch1_reduce, one, one, form)
        self.branch1 = _unit(row.branch1_reduce, row.branch1, around, one, form, separate)
        self.branch2_reduce = Unit(in_channels, row.branch2_reduce, one, one, form)
        self.branch2 = _unit(row.branch2_reduce, row.branch2, around, one, form, separate)
        self.pool = SurroundingMaxPool3d()
        self.branch3 = Unit(in_channels, row.branch3, one, one, form)
        widths = (row.branch0, row.branch1, row.branch2, row.branch3) if gated else ()
        self.gates = nn.ModuleList(Gate(width, form.gate_bias) for width in widths)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW of the same T, H, W."""
        branches = [
            self.branch0(x_BCTHW),
            self.branch1(self.branch1_reduce(x_BCTHW)),
            self.branch2(self.branch2_reduce(x_BCTHW)),
            self.branch3(self.pool(x_BCTHW)),
        ]
        if self.gates:
            branches = [gate(branch) for gate, branch in zip(self.gates, branches, strict=True)]
        return torch.cat(branches, dim=1)


def _unit(
    in_channels: int, channels: int, kernel: Size3, stride: Size3, form: Form, separate: bool
) -> Unit | SeparateUnit:
    """The layer as one convolution or as two; without a kernel in time there is nothing to separate."""
    kind = SeparateUnit if separate and kernel[0] > 1 else Unit
    return kind(in_channels, channels, kernel, stride, form)


def _pool(row: Pool, form: Form) -> nn.Module:
    if form.padding == "same":
        return SameMaxPool3d(row.kernel, row.stride)
    if form.padding == "behind":
        return BehindMaxPool3d(row.kernel, row.stride)
    return nn.MaxPool3d(row.kernel, row.stride, tuple((size - 1) // 2 for size in row.kernel))


class S3d(VideoModel):
    """Inception-v1 in space, and in time where and how it is told: S3D and its relatives.

    temporal: names of the layers with a kernel in time. separate: whether these are split into space and
    time. gated: whether gates follow. form: the public version, one of `FORMS`.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        dropout: float = 0.2,
        form: Form = TORCHVISION,
        temporal: tuple[str, ...] = TEMPORAL,
        separate: bool = True,
        gated: bool = False,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        self.form = form
        self.spec = make_spec(in_channels, **form.clip)
        self.num_classes = num_classes
        self.min_frames = form.min_frames
        divisor = TINY_DIVISOR if tiny else 1
        self.trunk: list[str] = []
        channels = in_channels
        for name, row in LAYERS.items():
            if tiny and name in TINY_LEAVES_OUT:
                continue
            if isinstance(row, Pool):
                self._append(name, _pool(row, form))
                continue
            if isinstance(row, Mix):
                frames = 3 if name in temporal else 1
                narrow = Mix(row.published, *(width // divisor for width in row[1:]))
                self._append(name, Mixed(channels, narrow, form, frames, separate, gated))
                channels = narrow.channels
                continue
            width = row.channels // divisor
            if name == "conv1a":
                self._append(name, self._stem(row, in_channels, width, separate, name in temporal))
            else:
                kernel = (row.kernel[0] if name in temporal else 1, *row.kernel[1:])
                self._append(name, _unit(channels, width, kernel, row.stride, form, separate))
            channels = width
            if gated and name == "conv2c":
                self._append("conv2c_gate", Gate(channels, form.gate_bias))
        first = self.get_submodule("conv1a")
        self.input_weights = (
            "conv1a.spatial.conv.weight" if isinstance(first, SeparateUnit) else "conv1a.conv.weight",
        )
        self.num_features = channels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv3d(channels, num_classes, 1)
        self._initialise()
        self.reset_head(num_classes)

    def _append(self, name: str, layer: nn.Module) -> None:
        self.add_module(name, layer)
        self.trunk.append(name)

    def _stem(self, row: Conv, in_channels: int, channels: int, separate: bool, in_time: bool) -> nn.Module:
        """The first layer, which the public versions build in three ways."""
        form = self.form
        kernel = (form.stem_frames if in_time else 1, *row.kernel[1:])
        stem = _unit(in_channels, channels, kernel, row.stride, form, separate and form.stem == "separate")
        if form.stem == "packed" and in_time:
            stem.conv = PackedConv3d(in_channels, channels)
        return stem

    def _initialise(self) -> None:
        """He's rule for what looks around; without batch norm, time starts as a copy of the middle frame."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, Gate):
                nn.init.trunc_normal_(module.linear.weight, std=0.01, a=-0.02, b=0.02)
                if module.linear.bias is not None:
                    nn.init.zeros_(module.linear.bias)
        if self.form.temporal_norm:
            return
        for module in self.modules():
            if isinstance(module, SeparateUnit):
                weight = module.temporal.conv.weight
                nn.init.zeros_(weight)
                nn.init.eye_(weight.detach()[:, :, weight.shape[2] // 2, 0, 0])
                nn.init.zeros_(module.temporal.conv.get_parameter("bias"))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean of `forward_dense` over time.

        clip_BCTHW: float, normalised by `self.spec`; at least 5 frames of 17 x 17 pixels (see `Form`).
        Returns logits_BK. Paper: sec. 4 and figures 1 to 3.
        """
        return self.forward_dense(clip_BCTHW).mean(dim=1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score every position in time; positions are 8 frames apart.

        clip_BCTHW: as for `forward`. Returns logits_BTK: 64 frames give T = 7 (8 in the forms of HowTo100M).
        """
        feature_BDTHW = self._average(self.forward_features(clip_BCTHW))
        return self.head(self.dropout(feature_BDTHW)).mean(dim=(3, 4)).transpose(1, 2)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of the last mixed block.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 1024, T = frames / 8, H W = pixels / 32, the
        last halving rounded down in the forms with symmetric padding, all others up.
        """
        check_clip(self, clip_BCTHW, min_pixels=self.form.min_pixels, min_frames=self.form.min_frames)
        x_BCTHW = clip_BCTHW
        for name in self.trunk:
            x_BCTHW = self.get_submodule(name)(x_BCTHW)
        return x_BCTHW

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes, std=self.num_features**-0.5)
        self.num_classes = num_classes
        self.class_names = None

    def _average(self, feature_BDTHW: Tensor) -> Tensor:
        """The mean over each window, without padding; where less is there, over what is there.

        Written as planes in space and pairs in time: a CPU has no three-dimensional one in bfloat16.
        """
        depth, time, height, width = feature_BDTHW.shape[1:]
        frames, *window = self.form.window
        kernel = (min(height, window[0]), min(width, window[1]))
        planes = F.avg_pool2d(feature_BDTHW.flatten(1, 2), kernel, stride=1).unflatten(1, (depth, time))
        if frames == 1 or time == 1:
            return planes
        return (planes[:, :, :-1] + planes[:, :, 1:]) / 2


def _form(name: str, stem_frames: int | None = None) -> Form:
    if name not in FORMS:
        raise ValueError(f"there is no form {name!r} of S3D; known are {', '.join(FORMS)}")
    form = FORMS[name]
    if stem_frames is None:
        return form
    if form.stem == "packed" or stem_frames not in (1, 3, 5, 7):
        raise ValueError(
            f"stem_frames must be 1, 3, 5 or 7, and not of the form howto100m, got {stem_frames}"
        )
    return form._replace(stem_frames=stem_frames)


def _check_num_3d(num_3d: int) -> None:
    if not 0 <= num_3d <= len(TEMPORAL):
        raise ValueError(
            f"num_3d must be from 0 to {len(TEMPORAL)} (the layers with a kernel in time), got {num_3d}"
        )


def s3d(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.2,
    form: FormName = "torchvision",
    stem_frames: int | None = None,
) -> S3d:
    """S3D: 8.32 M parameters, 71.9 G multiply-adds for a clip of 3 x 64 x 224 x 224.

    `form` is the public version (68.4 % of torchvision, 72.1 % of kylemin and 72.2 % of the paper, which is
    tf_slim, belong to one each), `stem_frames` how far conv1a reaches in time (None: as the form has it; the
    TF-slim code recommends 3). `dropout` is the probability of a feature to be left out while training,
    `tiny` a small form for tests; `in_channels=2` makes it take flow.
    """
    chosen = _form(form, stem_frames)
    return S3d(num_classes, in_channels=in_channels, dropout=dropout, form=chosen, tiny=tiny)


def s3dg(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.2,
    form: FormName = "torchvision",
    stem_frames: int | None = None,
) -> S3d:
    """S3D-G, S3D with gates: 9.54 M parameters, 71.9 G multiply-adds for a clip of 3 x 64 x 224 x 224.

    The paper's 74.7 % belong to `form="tf_slim"`. `form="howto100m"` is the network of the text-video
    embedding: its 512 outputs are no classes but a point that a sentence's is compared with; dropout plays no
    part in it. The other arguments are those of `s3d` (`dropout`: a probability).
    """
    chosen = _form(form, stem_frames)
    return S3d(num_classes, in_channels=in_channels, dropout=dropout, form=chosen, gated=True, tiny=tiny)


def s3d_fast(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.2,
    form: FormName = "torchvision",
    num_3d: int = 2,
) -> S3d:
    """Fast-S3D, a top-heavy S3D: only the `num_3d` highest of the eleven layers look along time.

    `dropout` is a probability; `form` and the rest as for `s3d`. Raises ValueError for another `num_3d`.
    """
    _check_num_3d(num_3d)
    highest = TEMPORAL[len(TEMPORAL) - num_3d :]
    return S3d(
        num_classes, in_channels=in_channels, dropout=dropout, form=_form(form), temporal=highest, tiny=tiny
    )


def i3d_top_heavy(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.2,
    num_3d: int = 7,
) -> S3d:
    """Top-Heavy-I3D: the `num_3d` highest of I3D's eleven 3D layers stay so, those below become 2D.

    Padding, pixels and parameters as in `i3d_inception`, which it is with `num_3d=11`. `dropout` is a
    probability. Raises ValueError for another `num_3d`.
    """
    _check_num_3d(num_3d)
    highest = TEMPORAL[len(TEMPORAL) - num_3d :]
    return S3d(
        num_classes,
        in_channels=in_channels,
        dropout=dropout,
        form=TF_SLIM,
        temporal=highest,
        separate=False,
        tiny=tiny,
    )


def i3d_bottom_heavy(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.2,
    num_3d: int = 4,
) -> S3d:
    """Bottom-Heavy-I3D: the `num_3d` lowest of I3D's eleven 3D layers stay so, those above become 2D.

    Otherwise like `i3d_top_heavy` (`dropout`: a probability). Raises ValueError for another `num_3d`.
    """
    _check_num_3d(num_3d)
    return S3d(
        num_classes,
        in_channels=in_channels,
        dropout=dropout,
        form=TF_SLIM,
        temporal=TEMPORAL[:num_3d],
        separate=False,
        tiny=tiny,
    )


def i2d_inception(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, *, dropout: float = 0.2
) -> S3d:
    """I2D: the image network on each second frame; only the pools bring frames together.

    `dropout` is a probability; the rest as for `i3d_top_heavy`, which it is with `num_3d=0`.
    """
    return i3d_top_heavy(num_classes, in_channels, tiny, dropout=dropout, num_3d=0)
