"""The networks that I3D was measured against, and I3D's two streams as one network.

When Kinetics came, it was not known which way of seeing time is best, because every network had been tried
on data too small to tell. So the paper put the same image network, Inception-v1, into each of them: frames
read by an LSTM, a frame beside a stack of flow fields, the same with both joined by a 3D convolution, and
inflated. All had the same clips and pre-training, and the inflated one won by far, again best in two streams.

Paper: Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset" (CVPR
2017, arXiv:1705.07750), figure 2 and table 1 (frames at 25 a second):

    ours                    what it is                          parameters   trained on           tested on
    lstm_inception          a) Inception-v1 a frame, mean over  9 M          25 frames, every     50 frames
                            space, LSTM of 512 with batch norm               fifth
    (vadis.models.c3d)      b) 3D-ConvNet                       79 M         16 frames            240
    two_stream_inception    c) Inception-v1 on a frame, and on  12 M         1 frame, 10 fields   25, 250
                            10 flow fields; scores averaged
    fused3d_inception       d) the last maps of both, 3x3x3     39 M         5 frames, 10 apart,  25, 250
                            convolution of 512, 3x3x3 max pool,              10 fields at each
                            classifier
    two_stream_i3d          e) I3D on RGB and on flow           25 M         64 frames, 64        250, 250

The maps that 3D-Fused joins are 5 x 7 x 7 x 1024 each. The LSTM learns from its answer at every step
(`loss.steps="alike"`) and is tested by its last.

What is not printed, and what we take:
- Batch norm in the LSTM. The paper has it inside the recurrence (Cooijmans et al., arXiv:1603.09025). The
  LSTM here is `torch.nn.LSTM`, which has neither that nor peepholes; batch norm stands on what goes in and on
  what comes out, over clips and steps.
- 3D-Fused, after its convolution (padded by one, weights from a Gaussian of 0.01): a pool of stride 2, padded
  by one, and the mean of what is left, so that clips of any size go. A classifier on 512 features agrees with
  the 39 M; one on all positions would have several millions more.
- The two-stream network gives the logarithm of the mean of both softmaxes; I3D's two streams add their
  logits, as the authors' code does. Each stream has a loss of its own in training (`forward_heads`).
- The image networks are torchvision's GoogLeNet in shape, with its weights where ImageNet is asked for.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.i3d import MIN_FRAMES, InceptionI3d, i3d_inception, i3d_inception_flow
from vadis.models.layers import by_frame, check_clip, check_parts, fresh_classifier, make_spec
from vadis.models.recurrent import Combine, StepByStep, check_combine
from vadis.models.trunks import make_trunk
from vadis.models.two_stream import Stream, TwoStream
from vadis.specs import join_specs

FPS = 25.0
CELLS, FUSED = 512, 512
STACK = 10
TINY_WIDTH, TINY_CROP = 32, 48

PAPERS = (
    Paper(
        "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
        "Carreira and Zisserman",
        "CVPR 2017",
        "1705.07750",
        "Put one image network into every way of seeing time, and train all on the same large dataset: an "
        "LSTM over frames, two streams averaged, two streams joined by a 3D convolution, and the image "
        "network inflated. The inflated one, in two streams, is best by far.",
        (
            Result("lstm_inception", "Kinetics-400 test", 63.3, note="from ImageNet"),
            Result("lstm_inception", "Kinetics-400 test", 53.9, note="from scratch"),
            Result("lstm_inception", "miniKinetics test", 69.9, note="from ImageNet"),
            Result("lstm_inception", "UCF-101 split 1", 81.0, note="from ImageNet"),
            Result("lstm_inception", "HMDB-51 split 1", 36.0, note="from ImageNet"),
            Result("two_stream_inception", "Kinetics-400 test", 65.6, note="from ImageNet"),
            Result("two_stream_inception", "Kinetics-400 test", 62.2, note="from ImageNet, RGB only"),
            Result("two_stream_inception", "Kinetics-400 test", 52.4, note="from ImageNet, flow only"),
            Result("two_stream_inception", "miniKinetics test", 72.9, note="from ImageNet"),
            Result("two_stream_inception", "UCF-101 split 1", 91.2, note="from ImageNet"),
            Result("two_stream_inception", "HMDB-51 split 1", 58.3, note="from ImageNet"),
            Result("fused3d_inception", "Kinetics-400 test", 67.2, note="from ImageNet"),
            Result("fused3d_inception", "Kinetics-400 test", 62.7, note="from scratch"),
            Result("fused3d_inception", "miniKinetics test", 74.0, note="from ImageNet"),
            Result("fused3d_inception", "UCF-101 split 1", 89.3, note="from ImageNet"),
            Result("fused3d_inception", "HMDB-51 split 1", 56.8, note="from ImageNet"),
            Result("two_stream_i3d", "Kinetics-400 test", 74.2, 91.3, "whole video", "from ImageNet"),
            Result("two_stream_i3d", "Kinetics-400 test", 71.6, 90.0, "whole video", "from scratch"),
            Result("two_stream_i3d", "miniKinetics test", 78.7, note="from ImageNet"),
            Result("two_stream_i3d", "UCF-101", 98.0, views="whole video", note="from ImageNet and Kinetics"),
            Result("two_stream_i3d", "HMDB-51", 80.7, views="whole video", note="from ImageNet and Kinetics"),
        ),
        (
            PrintedSize(
                "two_stream_i3d",
                "25 M, 216 G",
                "25.37 M, 213.5 G",
                "Twice the stream's 108 G; we count every tap of a kernel, and fewer of them for the two "
                "channels of flow.",
            ),
        ),
    ),
)


class LstmInception(StepByStep):
    """Inception-v1 on every frame, an LSTM over what it says, a classifier at each step."""

    input_weights = ("trunk.conv1a.conv.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        crop: int = 224,
        dropout: float = 0.0,
        combine: Combine = "last",
    ) -> None:
        super().__init__()
        self.trunk = make_trunk("inception", in_channels, tiny)
        self.spec = make_spec(
            in_channels,
            25,
            5,
            fps=FPS,
            size=crop * 256 // 224,
            crop=crop,
            test_frames=50,
            **self.trunk.pixels,
        )
        self.combine = check_combine(combine)
        self.head_last = combine != "max"
        cells = TINY_WIDTH if tiny else CELLS
        self.bn_in = nn.BatchNorm1d(self.trunk.num_features)
        self.lstm = nn.LSTM(self.trunk.num_features, cells, batch_first=True)
        self.bn_out = nn.BatchNorm1d(cells)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(cells, num_classes)
        self.reset_head(num_classes)

    def _read(self, clip_BCTHW: Tensor) -> Tensor:
        """What the classifier sees at each step: state_BTD."""
        feature_BDT = self.bn_in(self.forward_features(clip_BCTHW).mean(dim=(3, 4)))
        state_BTD, _ = self.lstm(feature_BDT.transpose(1, 2))
        return self.dropout(self.bn_out(state_BTD.transpose(1, 2)).transpose(1, 2))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map of each frame. clip_BCTHW: as for `forward`. Returns feature_BDTHW, T as it came."""
        check_clip(self, clip_BCTHW, min_pixels=self.trunk.min_pixels)
        return by_frame(self.trunk, clip_BCTHW)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes, std=self.head.in_features**-0.5)
        self.num_classes = num_classes
        self.class_names = None


class Fused3d(VideoModel):
    """The last maps of a spatial and a temporal Inception-v1, joined by a convolution over space and time."""

    input_weights = ("rgb.conv1a.conv.weight", "flow.conv1a.conv.weight")

    def __init__(
        self,
        num_classes: int = 400,
        *,
        tiny: bool = False,
        crop: int = 224,
        stack: int = STACK,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.rgb, self.flow = make_trunk("inception", 3, tiny), make_trunk("inception", 2 * stack, tiny)
        rgb = make_spec(
            3,
            5,
            10,
            fps=FPS,
            size=crop * 256 // 224,
            crop=crop,
            test_frames=25,
            **self.rgb.pixels,
        )
        flow = make_spec(2, 5, 10, fps=FPS, size=rgb.size, crop=crop, stack=stack, test_frames=25)
        self.spec = join_specs({"rgb": rgb, "flow": flow})
        width = TINY_WIDTH if tiny else FUSED
        self.fusion = nn.Conv3d(self.rgb.num_features + self.flow.num_features, width, 3, padding=1)
        nn.init.normal_(self.fusion.weight, std=0.01)
        nn.init.zeros_(self.fusion.get_parameter("bias"))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        self.reset_head(num_classes)

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score a batch of clips of both modalities.

        clips_BCTHW: {"rgb": tensor_BCTHW, "flow": tensor_BCTHW}, as many positions in time of each. Returns
        logits_BK.
        """
        pooled = F.max_pool3d(self.forward_features(clips_BCTHW), 3, stride=2, padding=1)
        return self.head(self.dropout(pooled.mean(dim=(2, 3, 4))))

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """The joined map, after ReLU. clips_BCTHW: as for `forward`. Returns feature_BDTHW, D = 512."""
        check_parts(self, clips_BCTHW)
        maps = []
        for name, trunk in (("rgb", self.rgb), ("flow", self.flow)):
            check_clip(self, clips_BCTHW[name], part=name, min_pixels=trunk.min_pixels)
            maps.append(by_frame(trunk, clips_BCTHW[name]))
        if maps[0].shape[2:] != maps[1].shape[2:]:
            raise ValueError(
                "Fused3d takes as many positions and pixels of both, got rgb "
                f"{tuple(clips_BCTHW['rgb'].shape[2:])} and flow {tuple(clips_BCTHW['flow'].shape[2:])}"
            )
        return F.relu(self.fusion(torch.cat(maps, dim=1)))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class TwoStreamI3d(TwoStream):
    """I3D on RGB and I3D on flow; their logits are added, not their softmaxes. Paper: section 2.4."""

    rgb: InceptionI3d
    flow: InceptionI3d
    min_frames = MIN_FRAMES

    def __init__(
        self, num_classes: int = 400, *, tiny: bool = False, dropout: float = 0.5, audio: str | None = None
    ) -> None:
        super().__init__(
            i3d_inception(num_classes, tiny=tiny, dropout=dropout),
            i3d_inception_flow(num_classes, tiny=tiny, dropout=dropout),
            audio=audio,
            tiny=tiny,
        )

    def join_scores(self, logits: Mapping[str, Tensor]) -> Tensor:
        """From what `forward_heads` gives to the logits_BK of `forward`."""
        return torch.stack([logits[part] for part in self.spec.parts]).sum(0)

    def forward_dense(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score every position in time, 8 frames apart. clips_BCTHW: as for `forward`. Returns logits_BTK."""
        if len(self.spec.parts) > 2:
            raise ValueError("sound answers once a clip, not at every position: leave out audio")
        check_parts(self, clips_BCTHW)
        return self.rgb.forward_dense(clips_BCTHW["rgb"]) + self.flow.forward_dense(clips_BCTHW["flow"])


def lstm_inception(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.0,
    combine: Combine = "last",
) -> LstmInception:
    """ConvNet+LSTM: 9.0 M parameters for 25 frames of 224 x 224, every fifth of five seconds.

    `tiny` makes every layer narrow, for tests. `in_channels=2` makes it take flow. crop: pixels. `dropout` is
    the probability of a feature to be left out before the classifier while training. combine: how the steps'
    answers become one, "last", "max", "sum" or "weighted".
    """
    size = crop or (TINY_CROP if tiny else 224)
    return LstmInception(
        num_classes, in_channels=in_channels, tiny=tiny, crop=size, dropout=dropout, combine=combine
    )


def two_stream_inception(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    stack: int = STACK,
    crop: int | None = None,
    dropout: float = 0.5,
    flow_weight: float = 1.0,
    audio: str | None = None,
) -> TwoStream:
    """Two-Stream: Inception-v1 on a frame and on 10 flow fields, 12.1 M parameters.

    Each stream may have several positions, 25 at test, whose logits are averaged. stack: flow fields of a
    position. crop: pixels. `dropout` is the probability of a feature to be left out before each classifier
    while training. flow_weight: how much the temporal stream's softmax counts, of the spatial one's 1. audio:
    a third stream ("sound_resnet18", ...), whose softmax is averaged with theirs.
    """
    rgb, flow = (
        Stream(
            "inception",
            num_classes,
            in_channels=channels,
            tiny=tiny,
            stack=1 if channels == 3 else stack,
            crop=crop,
            dropout=dropout,
        )
        for channels in (3, 2)
    )
    for stream in (rgb, flow):
        stream.spec = replace(stream.spec, fps=FPS)
    return TwoStream(rgb, flow, flow_weight, audio=audio, tiny=tiny)


def fused3d_inception(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    stack: int = STACK,
    crop: int | None = None,
    dropout: float = 0.5,
) -> Fused3d:
    """3D-Fused: two Inception-v1 whose maps a 3D convolution joins, 39.8 M parameters.

    It takes 5 frames, 10 apart, and `stack` flow fields at each; any number of positions goes, as many of
    both. crop: pixels. `dropout` is the probability of a feature to be left out while training.
    """
    size = crop or (TINY_CROP if tiny else 224)
    return Fused3d(num_classes, tiny=tiny, crop=size, stack=stack, dropout=dropout)


def two_stream_i3d(
    num_classes: int = 400, tiny: bool = False, *, dropout: float = 0.5, audio: str | None = None
) -> TwoStreamI3d:
    """Two-Stream I3D: 25.4 M parameters, 213.5 G multiply-adds for 64 frames and 64 flow fields.

    `tiny` divides every width by 8, for tests. `dropout` is the probability of a feature to be left out while
    training. audio: a third stream ("sound_resnet18", ...), whose logits are added, too. Weights of streams,
    imported one by one, are joined by `vadis.models.joining.join_streams`.
    """
    return TwoStreamI3d(num_classes, tiny=tiny, dropout=dropout, audio=audio)
