"""DeepVideo: where in an image network should frames meet?

Take AlexNet and give it a video. Four answers: not at all (score single frames), at the first convolution
(early), at the first fully connected layer (late), or bit by bit through the first three convolutions
(slow). Slow is best on a million sports videos, but only just: a single frame already says most, which is
what the two-stream network set out to mend. A fifth network buys speed: one stream sees the whole frame at
half the resolution, another the centre at full resolution.

Paper: Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks" (CVPR 2014),
figures 1 and 2 and section 3. In the paper's shorthand, where C(d, f, s) is a convolution of d filters of
f x f at stride s, N a local response normalisation, P a 2 x 2 max pooling, FC(n) fully connected:

    C(96,11,3) N P C(256,5,1) N P C(384,3,1) C(384,3,1) C(256,3,1) P FC(4096) FC(4096) softmax

    ours                 conv1 N  pool1  conv2 N  pool2  conv3  conv4  conv5  pool5   fc6    fc7    head
    channels             96              256             384    384    256            4096   4096   classes
    170 x 170 becomes    57       28     28       14     14     14     14     7
    89 x 89 (a stream)   30       15     15       7      7      7      7      (none)

    network     frames            the frames meet in
    single      1                 nothing; several frames are scored one by one and their scores averaged
    early       10                conv1, which is 11 x 11 x 10
    late        2, 15 apart       fc6, over the maps of one set of convolutions run on both
    slow        10                conv1 4 frames at stride 2, conv2 and conv3 2 frames at stride 2
    multires    1 of 178 x 178    fc6, over context (halved to 89) and fovea (the middle 89), each with its
                                  own convolutions; `deepvideo_fovea` and `deepvideo_context` are one each

Each convolution and each hidden layer is followed by ReLU. Its test is the protocol "20x4": 20 clips, four
crops and mirror images of each, softmax averaged.

What is not printed, and what we take:
- Padding. A border of 5, 2, 1, 1 and 1 positions gives the 7 x 7 x 256 that the paper prints of the streams
  of 89 pixels, and the same at 170.
- N divides by (2 + 1e-4 x the mean square of 5 channels) ** 0.5. AlexNet's formula has the sum for the mean;
  its code, like Caffe, has the mean.
- Whether the two streams share their weights (they do not here), dropout (0.5), and how weights start: as
  AlexNet's, by Gaussians of 0.01, biases of one in conv2, conv4, conv5 and the hidden layers.
- Frames are RGB from 0 to 255 less 117, and their short side becomes 200; the paper cuts out the middle and
  resizes that to 200 x 200.
- fc6 is tied to the number of positions, so that clips of another size need `crop` (and `num_frames`).

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space), D features,
K classes.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.alexnet import PIXELS, TINY_DIVISOR, Convolutions, Times, start_as_alexnet
from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Size3, check_clip, fresh_classifier, make_spec

HIDDEN = 4096
TINY_HIDDEN, TINY_CROP = 64, 64

Stream = Literal["fovea", "context"]

PAPERS = (
    Paper(
        "Large-scale Video Classification with Convolutional Neural Networks",
        "Karpathy et al.",
        "CVPR 2014",
        "",
        "Where should frames meet in an image network: nowhere, at the first layer, at the last, or slowly? "
        "On a million sports videos slowly is best, but a single frame does nearly as well. A stream for "
        "the whole picture and one for its centre, each at half the size, are as good and several times "
        "faster.",
        (
            Result("deepvideo_single", "Sports-1M test", 59.3, 77.7, "20x4", "clips 41.1"),
            Result("deepvideo_multires", "Sports-1M test", 60.0, 78.5, "20x4", "clips 42.4; single frames"),
            Result("deepvideo_fovea", "Sports-1M test", 49.9, 72.8, "20x4", "clips 30.0"),
            Result("deepvideo_context", "Sports-1M test", 56.0, 77.2, "20x4", "clips 38.1"),
            Result("deepvideo_early", "Sports-1M test", 57.7, 76.8, "20x4", "clips 38.9"),
            Result("deepvideo_late", "Sports-1M test", 59.3, 78.7, "20x4", "clips 40.7"),
            Result("deepvideo_slow", "Sports-1M test", 60.9, 80.2, "20x4", "clips 41.9"),
            Result(
                "deepvideo_single deepvideo_early deepvideo_late deepvideo_slow",
                "Sports-1M test",
                63.9,
                82.4,
                "20x4",
                "averaged; clips 41.4",
            ),
            Result("deepvideo_slow", "UCF-101", 41.3, note="from scratch"),
            Result("deepvideo_slow", "UCF-101", 64.1, note="from Sports-1M, only the classifier learns"),
            Result("deepvideo_slow", "UCF-101", 65.4, note="from Sports-1M, the last three layers learn"),
            Result("deepvideo_slow", "UCF-101", 62.2, note="from Sports-1M, all layers learn"),
        ),
    ),
)


class DeepVideo(VideoModel):
    """Convolutions and three fully connected layers; `times` and `ends` say how the frames meet.

    ends: the convolutions see the clip's first and last frame, and fc6 both maps (late fusion).
    """

    trained_crop: ClassVar[int] = 170

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        num_frames: int = 1,
        frame_stride: int = 1,
        crop: int = 170,
        dropout: float = 0.5,
        times: Times = (),
        ends: bool = False,
        streams: tuple[str, ...] = ("frames",),
    ) -> None:
        super().__init__()
        size = crop * 200 // self.trained_crop
        self.spec = make_spec(in_channels, num_frames, frame_stride, size=size, crop=crop, **PIXELS)
        self.ends, self.streams = ends, streams
        self.input_weights = tuple(f"{stream}.conv1.weight" for stream in streams)
        for stream in streams:
            divisor = TINY_DIVISOR if tiny else 1
            whole = stream == "frames"
            self.add_module(stream, Convolutions(in_channels, divisor, times, last_pool=whole))
        self.num_features = len(streams) * self._convolutions(streams[0]).channels
        self.positions = self._positions((num_frames, crop, crop))
        if min(self.positions) < 1:
            raise ValueError(
                f"of {num_frames} frames of {crop} x {crop} pixels nothing is left after the convolutions: "
                "take more"
            )
        self.min_frames = next(
            frames
            for frames in range(1, num_frames + 1)
            if self._positions((frames, crop, crop)) == self.positions
        )
        hidden = TINY_HIDDEN if tiny else HIDDEN
        self.fc6 = nn.Linear(self.num_features * math.prod(self.positions), hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        start_as_alexnet(self, tiny)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`, of a size that leaves as many positions as fc6 takes.
        Returns logits_BK. Paper: section 3.1.
        """
        return self._classify(self.forward_features(clip_BCTHW).flatten(1))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map that fc6 takes: what the last convolution gives, after pool5.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 256, H W = 7 from 170 pixels; T = 2 for late
        fusion, 1 for early and slow, as many as there are frames where single ones are scored. With two
        streams D = 512.
        """
        check_clip(self, clip_BCTHW)
        frames, height, width = clip_BCTHW.shape[2:]
        if self._positions((frames, height, width)) != self.positions:
            spec = self.spec
            raise ValueError(
                f"fc6 of DeepVideo is tied to {' x '.join(map(str, self.positions))} positions, so it takes "
                f"clips of {spec.num_frames} frames of {spec.crop} x {spec.crop} pixels or little else, got "
                f"{frames} frames of {height} x {width}: resize, or build it with another crop"
            )
        return self._convolve(clip_BCTHW)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None

    def _convolutions(self, stream: str) -> Convolutions:
        return cast(Convolutions, self.get_submodule(stream))

    def _convolve(self, clip_BCTHW: Tensor) -> Tensor:
        if self.ends:
            clip_BCTHW = torch.stack((clip_BCTHW[:, :, 0], clip_BCTHW[:, :, -1]), dim=2)
        return self._convolutions("frames")(clip_BCTHW)

    def _positions(self, size: Size3) -> Size3:
        """Positions of the map in time, height and width; late fusion has two in time, of any clip."""
        time, height, width = self._convolutions("frames").positions(size)
        return (2 if time > 1 else 0) if self.ends else time, height, width

    def _classify(self, feature_BD: Tensor) -> Tensor:
        """fc6, fc7 and the classifier: logits_BK."""
        hidden_BD = self.dropout(F.relu(self.fc6(feature_BD)))
        hidden_BD = self.dropout(F.relu(self.fc7(hidden_BD)))
        return self.head(hidden_BD)


class SingleFrame(DeepVideo):
    """Frames that never meet: each is scored by itself, and a clip's scores are averaged."""

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean of `forward_dense` over time.

        clip_BCTHW: float, normalised by `self.spec`; any number of frames. Returns logits_BK.
        """
        return self.forward_dense(clip_BCTHW).mean(dim=1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score every frame; it sees nothing of the others.

        clip_BCTHW: as for `forward`. Returns logits_BTK.
        """
        feature_BDTHW = self.forward_features(clip_BCTHW)
        frames_ND = feature_BDTHW.transpose(1, 2).flatten(0, 1).flatten(1)
        return self._classify(frames_ND).unflatten(0, (feature_BDTHW.shape[0], feature_BDTHW.shape[2]))

    def _positions(self, size: Size3) -> Size3:
        """Time is free."""
        return 1, *self._convolutions("frames").positions((1, *size[1:]))[1:]


class MultiResolution(SingleFrame):
    """Two streams of half the side: the whole frame made smaller, and its middle as it is."""

    trained_crop = 178

    def _convolve(self, clip_BCTHW: Tensor) -> Tensor:
        cut = {"context": halve, "fovea": cut_middle}
        return torch.cat(
            [self._convolutions(stream)(cut[stream](clip_BCTHW)) for stream in self.streams], dim=1
        )

    def _positions(self, size: Size3) -> Size3:
        stream = self._convolutions(self.streams[0])
        return 1, *stream.positions((1, size[1] // 2, size[2] // 2))[1:]


def halve(clip_BCTHW: Tensor) -> Tensor:
    """The context stream: the whole frame at half its height and width, 2 x 2 pixels averaged."""
    frames = F.avg_pool2d(clip_BCTHW.flatten(1, 2), 2)
    return frames.unflatten(1, clip_BCTHW.shape[1:3])


def cut_middle(clip_BCTHW: Tensor) -> Tensor:
    """The fovea stream: the middle half of the frame in height and in width, as it is."""
    height, width = clip_BCTHW.shape[3] // 2, clip_BCTHW.shape[4] // 2
    top, left = (clip_BCTHW.shape[3] - height) // 2, (clip_BCTHW.shape[4] - width) // 2
    return clip_BCTHW[..., top : top + height, left : left + width]


def _crop(crop: int | None, tiny: bool, full: int = 170) -> int:
    return crop or (TINY_CROP if tiny else full)


def deepvideo_single(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.5,
) -> SingleFrame:
    """One frame: 73.9 M parameters with 487 classes, 1.27 G multiply-adds for 170 x 170 pixels.

    A clip of several frames is scored frame by frame, and the scores averaged. `tiny` divides every width by
    8, for tests. `in_channels=2` makes it take flow. crop: pixels, which fc6 is built for. `dropout` is the
    probability of a hidden unit to be left out while training.
    """
    size = _crop(crop, tiny)
    return SingleFrame(num_classes, in_channels=in_channels, tiny=tiny, crop=size, dropout=dropout)


def deepvideo_early(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int = 10,
    crop: int | None = None,
    dropout: float = 0.5,
) -> DeepVideo:
    """All frames meet in conv1: 74.2 M parameters, 2.29 G multiply-adds for 10 frames of 170 x 170.

    num_frames: frames of a clip, no more and no fewer. The other options are those of `deepvideo_single`.
    """
    return DeepVideo(
        num_classes,
        in_channels=in_channels,
        tiny=tiny,
        num_frames=num_frames,
        crop=_crop(crop, tiny),
        dropout=dropout,
        times=((num_frames, 1),),
    )


def deepvideo_late(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.5,
) -> DeepVideo:
    """Two frames, 15 apart, meet in fc6: 125.3 M parameters, 2.53 G multiply-adds for 170 x 170 pixels.

    Of a longer clip it sees the first and the last frame. Options are those of `deepvideo_single`.
    """
    return DeepVideo(
        num_classes,
        in_channels=in_channels,
        tiny=tiny,
        num_frames=2,
        frame_stride=15,
        crop=_crop(crop, tiny),
        dropout=dropout,
        ends=True,
    )


def deepvideo_slow(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int = 10,
    crop: int | None = None,
    dropout: float = 0.5,
) -> DeepVideo:
    """Frames meet in three steps, 10 to 4 to 2 to 1: 75.5 M parameters, 4.59 G multiply-adds.

    num_frames: frames of a clip, at least 10; where more than one position in time is left, fc6 sees all.
    The other options are those of `deepvideo_single`.
    """
    return DeepVideo(
        num_classes,
        in_channels=in_channels,
        tiny=tiny,
        num_frames=num_frames,
        crop=_crop(crop, tiny),
        dropout=dropout,
        times=((4, 2), (2, 2), (2, 2)),
    )


def deepvideo_multires(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.5,
) -> MultiResolution:
    """A context and a fovea stream: 129.0 M parameters, 0.76 G multiply-adds for 178 x 178 pixels.

    crop: pixels of the frame, twice what each stream sees. The other options are those of `deepvideo_single`.
    """
    return _streams(("context", "fovea"), num_classes, in_channels, tiny, crop, dropout)


def deepvideo_fovea(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.5,
) -> MultiResolution:
    """The fovea stream alone: it sees the middle half of each side, 89 pixels of 178.

    Options: see `deepvideo_multires`.
    """
    return _streams(("fovea",), num_classes, in_channels, tiny, crop, dropout)


def deepvideo_context(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    crop: int | None = None,
    dropout: float = 0.5,
) -> MultiResolution:
    """The context stream alone: it sees the frame at half the size. Options: see `deepvideo_multires`."""
    return _streams(("context",), num_classes, in_channels, tiny, crop, dropout)


def _streams(
    streams: tuple[Stream, ...],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    crop: int | None,
    dropout: float,
) -> MultiResolution:
    size = _crop(crop, tiny, 178)
    return MultiResolution(
        num_classes, streams=streams, in_channels=in_channels, tiny=tiny, crop=size, dropout=dropout
    )
