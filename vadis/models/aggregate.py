"""Aggregation: from the features of a few clips of a video to one answer, for one stream or several.

A video network sees a second or two; a video is longer. What it says of clips spread over the whole video can
be averaged (AP). Temporal convolutional pooling (TCP) does better: it keeps the network as it is, takes the
features of 20 clips, and learns a small convolution along them, which can tell what comes early from what
comes late. Frames, flow and sound, whose networks were trained apart, are brought together in the same way.

Source: Qiu et al., "Trimmed Action Recognition, Dense-Captioning Events in Videos, and Spatio-temporal Action
Localization with Focus on ActivityNet Challenge 2019" (arXiv:1906.07016) and its slides. For N = 20 clips of
D = 2048 features:

    network                     ours                                                        shape
    aggregate_average           head: linear on each clip; the mean of the scores           N x classes
    aggregate_tcp               conv1: 3, 512, batch norm, ReLU                             512 x 20
                                conv2: 3, 512, stride 2, batch norm, ReLU                   512 x 10
                                mean (or maximum) over time, dropout 0.5, head: linear      classes
    aggregate_average_streams   the first for each stream; the mean of the streams' scores
    aggregate_tcp_streams       conv1 and conv2 for each stream; stacked; join: 1, 512,     512 x 10
                                batch norm, ReLU; mean, dropout 0.5, head: linear           classes
                                (`join="before"`: the features stacked, one conv1 and conv2)

Where we differ, and why: the entry says what TCP does (a convolution over the features of 20 clips, the
streams stacked before or after it), not its layers; those of the table are our choice. The mean is of scores
before the softmax.

The features come from `vadis features`, one vector a clip, `aggregate_average(num_features=D)`.

Shapes: B batch, C features of a clip, T clips, D features, K classes; H = W = 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import check_clip, check_parts, feature_spec, fresh_classifier
from vadis.specs import join_specs

Pool = Literal["average", "max"]
NUM_CLIPS = 20
NUM_FEATURES, TINY_FEATURES = 2048, 32
WIDTH, TINY_WIDTH = 512, 64
STREAMS = ("rgb", "flow", "audio")

CHALLENGE = "ActivityNet Challenge 2019 trimmed val"
PAPERS = (
    Paper(
        title="Trimmed Action Recognition, Dense-Captioning Events in Videos, and Spatio-temporal Action "
        "Localization with Focus on ActivityNet Challenge 2019",
        authors="Z. Qiu et al.",
        venue="ActivityNet Challenge 2019",
        arxiv="1906.07016",
        idea="Take the features of 20 clips spread over a video, of networks that stay as they are, and "
        "learn a small convolution along them (TCP) instead of averaging their scores (AP).",
        results=(
            Result("aggregate_average", CHALLENGE, 67.5, 86.9, note="LGD-P3D-Xception, RGB; slides"),
            Result("aggregate_tcp", CHALLENGE, 70.6, 89.3, note="LGD-P3D-Xception, RGB; slides"),
            Result("aggregate_average", CHALLENGE, 54.4, 77.2, note="LGD-P3D-Xception, flow; slides"),
            Result("aggregate_tcp", CHALLENGE, 60.5, 82.4, note="LGD-P3D-Xception, flow; slides"),
            Result("aggregate_average", CHALLENGE, 21.9, 36.8, note="Xception, sound; slides"),
            Result("aggregate_tcp", CHALLENGE, 21.7, 36.9, note="Xception, sound; slides"),
            Result(
                "aggregate_average_streams", CHALLENGE, 69.3, 88.0, note="RGB and flow, 16 frames; slides"
            ),
            Result("aggregate_tcp_streams", CHALLENGE, 72.8, 90.7, note="RGB and flow, 16 frames; slides"),
            Result("aggregate_average_streams", CHALLENGE, 70.9, 88.8, note="and sound; slides"),
            Result("aggregate_tcp_streams", CHALLENGE, 74.8, 91.7, note="and sound; slides"),
        ),
    ),
)


class AverageOfClips(VideoModel):
    """Score each clip by a linear classifier and average: the baseline of every longer way.

    num_features: numbers of a clip (None: 2048). num_clips: of a video. dropout: a probability.
    """

    input_weights = ("head.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        num_features: int | None = None,
        num_clips: int = NUM_CLIPS,
        dropout: float = 0.5,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        features = num_features or (TINY_FEATURES if tiny else NUM_FEATURES)
        self.spec = feature_spec(features, num_clips)
        self.num_classes = num_classes
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Average the scores of the clips of each video. clip_BCTHW: H = W = 1. Returns logits_BK."""
        return self.forward_dense(clip_BCTHW).mean(dim=1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score each clip. clip_BCTHW: any T, H = W = 1. Returns logits_BTK."""
        feature_BDT = self.forward_features(clip_BCTHW).flatten(2)
        return self.head(self.dropout(feature_BDT.transpose(1, 2)))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """What went in. clip_BCTHW: any T, H = W = 1. Returns feature_BDTHW, the same."""
        _check(self, clip_BCTHW)
        return clip_BCTHW

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by an untrained one for `num_classes`."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class ClipConvolution(nn.Module):
    """Two convolutions along the clips of a video, the second with stride 2."""

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv_unit(num_features, width, 3, 1)
        self.conv2 = _conv_unit(width, width, 3, 2)

    def forward(self, feature_BDT: Tensor) -> Tensor:
        """feature_BDT: any T. Returns feature_BDT with T halved, rounded up, not negative."""
        return self.conv2(self.conv1(feature_BDT))


class Tcp(VideoModel):
    """Temporal convolutional pooling of one stream.

    num_features: numbers of a clip (None: 2048). num_clips: of a video. width: channels of the convolutions.
    pool: "average" or "max" over what is left of time. dropout: a probability.
    """

    input_weights = ("convolution.conv1.conv.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        num_features: int | None = None,
        num_clips: int = NUM_CLIPS,
        width: int | None = None,
        pool: Pool = "average",
        dropout: float = 0.5,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        features = num_features or (TINY_FEATURES if tiny else NUM_FEATURES)
        channels = width or (TINY_WIDTH if tiny else WIDTH)
        self.spec = feature_spec(features, num_clips)
        self.num_classes = num_classes
        self.pool = _checked_pool(pool)
        self.convolution = ClipConvolution(features, channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score videos by the features of their clips in order.

        clip_BCTHW: any T, H = W = 1. Returns logits_BK.
        """
        return self.head(self.dropout(_pooled(self.forward_features(clip_BCTHW), self.pool)))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """What the convolutions find. clip_BCTHW: as for `forward`.

        Returns feature_BDTHW: T halved, rounded up, H = W = 1.
        """
        _check(self, clip_BCTHW)
        return self.convolution(clip_BCTHW.flatten(2))[..., None, None]

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by an untrained one for `num_classes`."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class AverageOfStreams(VideoModel):
    """A linear classifier on the clips of each stream; all clips and all streams are averaged.

    streams: numbers of a clip by the stream's name (None: 2048 each of rgb, flow and audio). num_clips: of a
    video. dropout: a probability.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        streams: Mapping[str, int] | None = None,
        num_clips: int = NUM_CLIPS,
        dropout: float = 0.5,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        sizes = _sizes(streams, tiny)
        self.streams = nn.ModuleDict(
            {
                name: AverageOfClips(num_classes, num_features=size, num_clips=num_clips, dropout=dropout)
                for name, size in sizes.items()
            }
        )
        self.spec = join_specs({name: feature_spec(size, num_clips) for name, size in sizes.items()})
        self.heads = tuple(f"streams.{name}.head" for name in sizes)
        self.input_weights = tuple(f"{head}.weight" for head in self.heads)
        self.num_classes = num_classes

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Average the scores of the streams.

        clips_BCTHW: tensor_BCTHW by stream, H = W = 1. Returns logits_BK.
        """
        return self.join_scores(self.forward_heads(clips_BCTHW))

    def forward_heads(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each stream's own answer, for its own loss. clips_BCTHW: by stream. Returns logits_BK by stream."""
        check_parts(self, clips_BCTHW)
        return {name: stream(clips_BCTHW[name]) for name, stream in self.streams.items()}

    def join_scores(self, logits: Mapping[str, Tensor]) -> Tensor:
        """From what `forward_heads` gives to the logits_BK of `forward`: their mean."""
        return torch.stack(list(logits.values())).mean(dim=0)

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What went in. clips_BCTHW: tensor_BCTHW by stream. Returns feature_BDTHW by stream, the same."""
        check_parts(self, clips_BCTHW)
        return {
            name: self.streams.get_submodule(name).forward_features(clips_BCTHW[name])  # type: ignore[operator]
            for name in self.spec.parts
        }

    def reset_head(self, num_classes: int) -> None:
        """Replace each stream's classifier by an untrained one for `num_classes`."""
        for stream in self.streams.children():
            if isinstance(stream, AverageOfClips):
                stream.reset_head(num_classes)
        self.num_classes = num_classes
        self.class_names = None


class TcpOfStreams(VideoModel):
    """Temporal convolutional pooling of several streams.

    streams: numbers of a clip by the stream's name (None: 2048 each of rgb, flow and audio). join: "after"
    the convolutions, of which each stream has its own, or "before" them. The others: see `Tcp`; dropout is a
    probability.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        streams: Mapping[str, int] | None = None,
        num_clips: int = NUM_CLIPS,
        width: int | None = None,
        join: Literal["after", "before"] = "after",
        pool: Pool = "average",
        dropout: float = 0.5,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        if join not in ("after", "before"):
            raise ValueError(f'join must be "after" or "before" (the convolutions), got {join!r}')
        sizes = _sizes(streams, tiny)
        channels = width or (TINY_WIDTH if tiny else WIDTH)
        self.spec = join_specs({name: feature_spec(size, num_clips) for name, size in sizes.items()})
        self.num_classes = num_classes
        self.pool = _checked_pool(pool)
        if join == "after":
            branches = {name: ClipConvolution(size, channels) for name, size in sizes.items()}
            self.convolutions = nn.ModuleDict(branches)
            self.join = _conv_unit(channels * len(sizes), channels, 1, 1)
            self.input_weights = tuple(f"convolutions.{name}.conv1.conv.weight" for name in sizes)
        else:
            self.convolution = ClipConvolution(sum(sizes.values()), channels)
            self.input_weights = ("convolution.conv1.conv.weight",)
        self.joins_after = join == "after"
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        self.reset_head(num_classes)

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score videos by the features of their clips in all streams.

        clips_BCTHW: tensor_BCTHW by stream, as many T of each, H = W = 1. Returns logits_BK.
        """
        return self.head(self.dropout(_pooled(self.forward_features(clips_BCTHW), self.pool)))

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """What the convolutions find in all streams. clips_BCTHW: as for `forward`.

        Returns feature_BDTHW: T halved, rounded up, H = W = 1.
        """
        check_parts(self, clips_BCTHW)
        found = {name: clips_BCTHW[name] for name in self.spec.parts}
        for name, clip_BCTHW in found.items():
            _check_shape(clip_BCTHW, self.spec.parts[name].channels, f"{type(self).__name__}, {name}")
        lengths = {name: clip_BCTHW.shape[2] for name, clip_BCTHW in found.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"TcpOfStreams takes as many clips of each stream in time, got {lengths}")
        if not self.joins_after:
            return self.convolution(torch.cat(list(found.values()), dim=1).flatten(2))[..., None, None]
        maps = [branch(found[name].flatten(2)) for name, branch in self.convolutions.items()]
        return self.join(torch.cat(maps, dim=1))[..., None, None]

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by an untrained one for `num_classes`."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def _conv_unit(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution along time without bias, padded by half its kernel, batch norm, ReLU."""
    conv = nn.Conv1d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))


def _sizes(streams: Mapping[str, int] | None, tiny: bool) -> dict[str, int]:
    """How many numbers a clip of each stream has."""
    if streams is None:
        return dict.fromkeys(STREAMS, TINY_FEATURES if tiny else NUM_FEATURES)
    if not streams or min(streams.values()) < 1:
        raise ValueError(
            f"streams says how many features each stream has, such as {{'rgb': 2048}}: {streams}"
        )
    return dict(streams)


def _checked_pool(pool: Pool) -> Pool:
    if pool not in ("average", "max"):
        raise ValueError(f'pool must be "average" or "max", got {pool!r}')
    return pool


def _pooled(feature_BDTHW: Tensor, pool: Pool) -> Tensor:
    return feature_BDTHW.amax(dim=(2, 3, 4)) if pool == "max" else feature_BDTHW.mean(dim=(2, 3, 4))


def _check(model: VideoModel, clip_BCTHW: Tensor) -> None:
    check_clip(model, clip_BCTHW)
    _check_shape(clip_BCTHW, model.spec.channels, type(model).__name__)


def _check_shape(clip_BCTHW: Tensor, channels: int, name: str) -> None:
    shape = tuple(clip_BCTHW.shape)
    if len(shape) != 5 or shape[1] != channels or shape[3:] != (1, 1) or not shape[2]:
        raise ValueError(
            f"{name} takes features of (batch, {channels}, frames, height, width) with height = width = 1, a "
            f"frame for each clip, got {shape}"
        )
    if not shape[0]:
        raise ValueError(f"{name} takes at least one video, got an empty batch {shape}")


def aggregate_average(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    num_features: int | None = None,
    num_clips: int = NUM_CLIPS,
    dropout: float = 0.5,
) -> AverageOfClips:
    """AP: the mean of the scores of the clips; 0.8 M parameters.

    Options as for `AverageOfClips`; `dropout` is a probability.
    """
    return AverageOfClips(
        num_classes, num_features=num_features, num_clips=num_clips, dropout=dropout, tiny=tiny
    )


def aggregate_tcp(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    num_features: int | None = None,
    num_clips: int = NUM_CLIPS,
    width: int | None = None,
    pool: Pool = "average",
    dropout: float = 0.5,
) -> Tcp:
    """TCP: two convolutions along the clips; 4.1 M parameters.

    Options as for `Tcp`; `dropout` is a probability.
    """
    return Tcp(
        num_classes,
        num_features=num_features,
        num_clips=num_clips,
        width=width,
        pool=pool,
        dropout=dropout,
        tiny=tiny,
    )


def aggregate_average_streams(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    streams: Mapping[str, int] | None = None,
    num_clips: int = NUM_CLIPS,
    dropout: float = 0.5,
) -> AverageOfStreams:
    """AP of frames, flow and sound: the mean of the streams' means.

    Options as for `AverageOfStreams`; `dropout` is a probability.
    """
    return AverageOfStreams(num_classes, streams=streams, num_clips=num_clips, dropout=dropout, tiny=tiny)


def aggregate_tcp_streams(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    streams: Mapping[str, int] | None = None,
    num_clips: int = NUM_CLIPS,
    width: int | None = None,
    join: Literal["after", "before"] = "after",
    pool: Pool = "average",
    dropout: float = 0.5,
) -> TcpOfStreams:
    """TCP of frames, flow and sound, joined after the convolutions or before them.

    Options as for `TcpOfStreams`; `dropout` is a probability.
    """
    return TcpOfStreams(
        num_classes,
        streams=streams,
        num_clips=num_clips,
        width=width,
        join=join,
        pool=pool,
        dropout=dropout,
        tiny=tiny,
    )
