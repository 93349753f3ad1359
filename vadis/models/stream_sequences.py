"""Three streams over sequences of frozen features: frames, flow and sound of a whole video, joined late.

Networks that are good at images and sounds are trained first, and then left alone: each turns a video into a
sequence of vectors. A small network on top of the three sequences decides. Three of increasing power: score
each stream's mean and average the scores; run an LSTM along each stream and join their last states; let a
group of attentions pick out of each stream what matters, each moved to a place of its own so that the group
does not pick the same thing again and again.

    network                       each stream becomes                     streams meet in       parameters
    streams_late                  the mean over time, a classifier        softmaxes, averaged   1.3 M
    streams_lstm                  the last state of an LSTM, 512          one classifier        10.3 M
    streams_shifting_attention    32 attentions, shifted, side by side    one classifier        41.1 M

Paper: Bian et al., "Revisiting the Effectiveness of Off-the-shelf Temporal Modeling Approaches for
Large-scale Video Classification" (arXiv:1708.03805), the winner of the Kinetics challenge of 2017. Top-1 and
top-5 on the validation set of Kinetics-400, with features of Inception-ResNet-v2 (frames, flow) and of a
network on pictures of 0.96 seconds of sound, as the table of the non-local networks quotes it:

    RGB alone (Inception-ResNet-v2)    73.0   90.9
    3-stream late fusion               74.9   91.6
    3-stream LSTM                      77.1   93.2
    3-stream shifting attention        77.7   93.2

Shifting attention, one of G in a group, on features x_t: weights a_t = softmax over t of w . x_t; what it
picks, v = sum of a_t x_t; shifted, y = (alpha v + beta) / (sqrt(G) |alpha v + beta|), alpha and beta numbers
of its own (after "Attention Clusters" by the same authors, arXiv:1711.09550, as PaddlePaddle's code of it
reckons). The G vectors of a stream, and then the streams, are put side by side. A stream's vector has length
1, whatever the scale of its features, so that no stream drowns another.

Where we differ, and why; what we have found no word on:
- Sizes. Features are 1536 numbers of Inception-ResNet-v2's last pooling, 25 of a video; of sound 10 times the
  128 numbers of our `sound_vggish`. 32 attentions are PaddlePaddle's setting for YouTube-8M; its two hidden
  layers above them (1024, 4096) are left out: one classifier reads the group.
- LSTMs are `torch.nn.LSTM`: without peepholes; one layer, forwards (`num_layers`, `bidirectional`). The
  report's deep LSTM with "fast-forward" connections, and its Xception along time, are not built.
- A bias of an attention's weights would move its scores of all t alike, which the softmax does not see: there
  is none.
- Late fusion averages softmaxes with equal weights; in training each stream has a loss of its own
  (`forward_heads`). The answer is the logarithm of the average.

Shapes: B batch, C numbers of a feature (D), T features of a video, H W (both 1), D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import check_clip, check_parts, feature_spec, fresh_classifier
from vadis.models.two_stream import mean_of_softmaxes
from vadis.specs import ClipSpec, join_specs

STREAMS = ("rgb", "flow", "audio")
TINY_FEATURES = {"rgb": 32, "flow": 32, "audio": 16}
TINY_CLIPS = {"rgb": 8, "flow": 8, "audio": 4}

NOTE = "features of Inception-ResNet-v2 and sound; quoted by the non-local paper"
PAPERS = (
    Paper(
        "Revisiting the Effectiveness of Off-the-shelf Temporal Modeling Approaches for Large-scale Video "
        "Classification",
        "Bian et al.",
        "ActivityNet Challenge 2017",
        "1708.03805",
        "Train networks on frames, flow and sound, freeze them, and learn on their features what a whole "
        "video shows: an LSTM along each stream, or groups of attentions that are shifted apart so that each "
        "picks something of its own.",
        (
            Result("streams_late", "Kinetics-400 val", 74.9, 91.6, note=NOTE),
            Result("streams_lstm", "Kinetics-400 val", 77.1, 93.2, note=NOTE),
            Result("streams_shifting_attention", "Kinetics-400 val", 77.7, 93.2, note=NOTE),
        ),
    ),
    Paper(
        "Attention Clusters: Purely Attention Based Local Feature Integration for Video Classification",
        "Long et al.",
        "CVPR 2018",
        "1711.09550",
        "Order hardly matters for naming what a short video shows. A cluster of attentions, each scaled and "
        "shifted by numbers of its own and brought to the same length, covers several parts of it at once.",
    ),
)


class Mean(nn.Module):
    """The mean over time."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.num_features = in_features

    def forward(self, x_BTD: Tensor) -> Tensor:
        """x_BTD: any T. Returns x_BD."""
        return x_BTD.mean(dim=1)


class LastState(nn.Module):
    """What an LSTM holds after the last feature: `torch.nn.LSTM`, no peepholes.

    Of a bidirectional one, the state after the last feature and that after the first, side by side.
    """

    def __init__(self, in_features: int, hidden: int, num_layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            in_features, hidden, num_layers=num_layers, batch_first=True, bidirectional=bidirectional
        )
        self.directions = 2 if bidirectional else 1
        self.num_features = hidden * self.directions

    def forward(self, x_BTD: Tensor) -> Tensor:
        """x_BTD: any T. Returns x_BD, each value in [-1, 1]."""
        states: Tensor = self.lstm(x_BTD)[1][0]  # layers x directions, B, hidden
        return states[-self.directions :].transpose(0, 1).flatten(1)


class ShiftingAttention(nn.Module):
    """A group of attentions over time, each scaled and shifted by numbers of its own, all of one length."""

    def __init__(self, in_features: int, num_groups: int) -> None:
        super().__init__()
        if num_groups < 1:
            raise ValueError(f"num_groups must be at least 1, got {num_groups}")
        self.weighting = nn.Linear(in_features, num_groups, bias=False)
        self.scale = nn.Parameter(torch.empty(num_groups))
        self.shift = nn.Parameter(torch.empty(num_groups))
        self.num_features = in_features * num_groups
        nn.init.kaiming_normal_(self.weighting.weight, nonlinearity="relu")
        for parameter in (self.scale, self.shift):
            nn.init.normal_(parameter, std=num_groups**-0.25)

    def weights(self, x_BTD: Tensor) -> Tensor:
        """How much each attention looks at each feature. x_BTD: any T. Returns weights_BTG, 1 over all T."""
        return self.weighting(x_BTD).softmax(dim=1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """x_BTD: any T. Returns x_BD of length 1, one attention after another: D = features x attentions."""
        picked_BGD = self.weights(x_BTD).transpose(1, 2) @ x_BTD
        shifted_BGD = picked_BGD * self.scale[:, None] + self.shift[:, None]
        return (F.normalize(shifted_BGD, dim=2) / len(self.scale) ** 0.5).flatten(1)


Summary = Mean | LastState | ShiftingAttention
MakeSummary = Callable[[int], Summary]


class Stream(VideoModel):
    """The features of one modality, and what sums them up."""

    def __init__(self, spec: ClipSpec, make_summary: MakeSummary) -> None:
        super().__init__()
        self.spec = spec
        self.summary = make_summary(spec.channels)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Sum up. clip_BCTHW: features as `self.spec` says, of any T. Returns feature_BD."""
        feature_BD: Tensor = self.summary(self.forward_features(clip_BCTHW).mean(dim=(3, 4)).transpose(1, 2))
        return feature_BD

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The features as they came. clip_BCTHW: as for `forward`. Returns feature_BDTHW."""
        check_clip(self, clip_BCTHW)
        return clip_BCTHW


class ScoredStream(Stream):
    """A stream with a classifier of its own."""

    def __init__(
        self, spec: ClipSpec, make_summary: MakeSummary, num_classes: int, *, dropout: float
    ) -> None:
        """dropout: probability of a number to be left out while training."""
        super().__init__(spec, make_summary)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.summary.num_features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch. clip_BCTHW: features as `self.spec` says, of any T. Returns logits_BK."""
        return self.head(self.dropout(super().forward(clip_BCTHW)))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class LateStreams(VideoModel):
    """Streams that meet in their softmaxes, of which the answer is the mean."""

    input_weights = ()

    def __init__(self, specs: Mapping[str, ClipSpec], num_classes: int, *, dropout: float) -> None:
        """dropout: probability of a number to be left out while training."""
        super().__init__()
        self.spec = join_specs(specs)
        self.heads = tuple(f"{name}.head" for name in specs)
        for name, spec in specs.items():
            self.add_module(name, ScoredStream(spec, Mean, num_classes, dropout=dropout))
        self.num_classes = num_classes

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score a batch of videos: the mean of the streams' softmaxes, as a logarithm.

        clips_BCTHW: {"rgb": tensor_BCTHW ...}, features of each stream, each of any T. Returns logits_BK.
        """
        return self.join_scores(self.forward_heads(clips_BCTHW))

    def forward_heads(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each stream says by itself, each with a loss of its own in training.

        clips_BCTHW: tensor_BCTHW by name, as for `forward`. Returns a logits_BK for each stream.
        """
        check_parts(self, clips_BCTHW)
        return {name: getattr(self, name)(clips_BCTHW[name]) for name in self.spec.parts}

    def join_scores(self, logits: Mapping[str, Tensor]) -> Tensor:
        """From what `forward_heads` gives to the logits_BK of `forward`."""
        names = tuple(self.spec.parts)
        return mean_of_softmaxes(tuple(logits[name] for name in names), (1.0,) * len(names))

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features as they came.

        clips_BCTHW: tensor_BCTHW by name, as for `forward`. Returns a feature_BDTHW for each stream.
        """
        check_parts(self, clips_BCTHW)
        return {name: getattr(self, name).forward_features(clips_BCTHW[name]) for name in self.spec.parts}

    def reset_head(self, num_classes: int) -> None:
        """Put untrained classifiers of `num_classes` (K) on all streams, on their devices."""
        for name in self.spec.parts:
            getattr(self, name).reset_head(num_classes)
        self.num_classes = num_classes
        self.class_names = None


class JoinedStreams(VideoModel):
    """Streams that are summed up each by itself, put side by side, and scored by one classifier."""

    input_weights = ()

    def __init__(
        self,
        specs: Mapping[str, ClipSpec],
        make_summary: MakeSummary,
        num_classes: int,
        *,
        dropout: float,
    ) -> None:
        """dropout: probability of a number to be left out while training."""
        super().__init__()
        self.spec = join_specs(specs)
        num_features = 0
        for name, spec in specs.items():
            stream = Stream(spec, make_summary)
            self.add_module(name, stream)
            num_features += stream.summary.num_features
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(num_features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score a batch of videos.

        clips_BCTHW: {"rgb": tensor_BCTHW ...}, features of each stream, each of any T. Returns logits_BK.
        """
        return self.head(self.dropout(self.forward_features(clips_BCTHW).flatten(1)))

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """The sums of all streams, side by side.

        clips_BCTHW: tensor_BCTHW by name, as for `forward`. Returns feature_BDTHW, T = H = W = 1.
        """
        check_parts(self, clips_BCTHW)
        feature_BD = torch.cat([getattr(self, name)(clips_BCTHW[name]) for name in self.spec.parts], dim=1)
        return feature_BD[:, :, None, None, None]

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def stream_specs(
    tiny: bool,
    rgb_features: int = 1536,
    flow_features: int = 1536,
    audio_features: int = 128,
    num_clips: int = 25,
    audio_clips: int = 10,
) -> dict[str, ClipSpec]:
    """What the three streams take: so many numbers of each feature, so many features of a video."""
    if tiny:
        return {name: feature_spec(TINY_FEATURES[name], TINY_CLIPS[name]) for name in STREAMS}
    features = (rgb_features, flow_features, audio_features)
    clips = (num_clips, num_clips, audio_clips)
    return {name: feature_spec(*sizes) for name, *sizes in zip(STREAMS, features, clips, strict=True)}


def streams_late(
    num_classes: int = 400, tiny: bool = False, *, dropout: float = 0.5, **sizes: int
) -> LateStreams:
    """Each stream's mean scored by itself, softmaxes averaged.

    dropout: probability of a number to be left out while training. sizes: `rgb_features`, `flow_features`
    (1536), `audio_features` (128), `num_clips` of frames and flow (25), `audio_clips` (10).
    """
    return LateStreams(stream_specs(tiny, **sizes), num_classes, dropout=dropout)


def streams_lstm(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    hidden: int = 512,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.5,
    **sizes: int,
) -> JoinedStreams:
    """An LSTM along each stream, their last states side by side.

    hidden: numbers of an LSTM's state (16 of the tiny form). dropout: probability of one to be left out
    before the classifier while training. sizes: as for `streams_late`.
    """

    def summary(in_features: int) -> Summary:
        return LastState(in_features, 16 if tiny else hidden, num_layers, bidirectional)

    return JoinedStreams(stream_specs(tiny, **sizes), summary, num_classes, dropout=dropout)


def streams_shifting_attention(
    num_classes: int = 400, tiny: bool = False, *, num_groups: int = 32, dropout: float = 0.5, **sizes: int
) -> JoinedStreams:
    """Groups of shifted attentions on each stream, side by side.

    num_groups: attentions on each stream (4 of the tiny form). dropout: probability of a number to be left
    out before the classifier while training. sizes: as for `streams_late`.
    """

    def summary(in_features: int) -> Summary:
        return ShiftingAttention(in_features, 4 if tiny else num_groups)

    return JoinedStreams(stream_specs(tiny, **sizes), summary, num_classes, dropout=dropout)
