"""Two-stream networks: one network sees what is there, another how it moves, and their answers are averaged.

A still frame shows objects and scenes, a stack of ten flow fields shows motion and nothing else; a network
for images is trained on each. Frames can start from ImageNet, flow starts from nothing and is the better of
the two; their errors differ, so the average of both beats either by far. It was the first network to reach
what hand-crafted features did, and taught the field that a plain network does not find motion by itself.

Paper: Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos" (NIPS
2014, arXiv:1406.2199), figure 1. Both towers are VGG-M-2048 (`vadis.models.vgg`); for 224 x 224:

    layer    kernel, stride, channels   spatial (a frame)      temporal (L = 10 flow fields, 20 channels)
    conv1    7x7, 2, 96                 normalised, pooled     normalised, pooled
    conv2    5x5, 2, 256                normalised, pooled     pooled (no normalisation, to save memory)
    conv3-4  3x3, 1, 512
    conv5    3x3, 1, 512                pooled                 pooled
    full6    4096, dropout
    full7    2048, dropout
    softmax  classes                    average of both, or an SVM on both

Flow fields lie in the channels, u and v in turn; how displacements are laid there (one after another, along
trajectories, forwards and backwards, less their mean) is said by the spec (`stacking`, `subtract_mean`): they
are all 20 channels to the network. Later work put other image networks in place of VGG-M; here they are
VGG-16, ResNet and Inception-v1, the flow network started from ImageNet as well (first filters averaged and
repeated).

Where we differ, and why:
- The clips of a video are its `test_frames` = 25 positions at test, one at random in training. A clip of
  several positions gets the mean of its logits; the paper averages scores after softmax.
- The pair gives the logarithm of the mean of both softmaxes, so that its softmax is the paper's average. In
  training each stream has a loss of its own (`forward_heads`): the two learn as if each were alone.
- ResNets and Inception have no hidden layers on top: average pooling, dropout, classifier, as in images.
- Two datasets at once (the paper's multi-task learning: one softmax for each, a loss where the clip belongs)
  are a matter of training, for any network: `vadis.training.heads`; their union of labels is `model.heads`.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Trunk, by_frame, check_clip, check_parts, fresh_classifier, make_spec
from vadis.models.sound import make_sound
from vadis.models.trunks import make_trunk
from vadis.models.vgg import PIXELS, TABLES, TINY_PIXELS, Vgg, score
from vadis.specs import join_specs

STACK = 10
"""L, flow fields in a stack."""
TEST_FRAMES = 25
TINY_CROP = 48

PAPERS = (
    Paper(
        "Two-Stream Convolutional Networks for Action Recognition in Videos",
        "Simonyan and Zisserman",
        "NIPS 2014",
        "1406.2199",
        "One network sees single frames, another stacks of optical flow, and their scores are averaged. "
        "Motion needs to be given to a network of its time: it does not find it in frames by itself.",
        (
            Result(
                "two_stream_spatial_vggm",
                "UCF-101 split 1",
                52.3,
                views="25x10",
                note="from scratch, dropout 0.9",
            ),
            Result(
                "two_stream_spatial_vggm",
                "UCF-101 split 1",
                72.8,
                views="25x10",
                note="from ImageNet, dropout 0.9",
            ),
            Result(
                "two_stream_spatial_vggm",
                "UCF-101 split 1",
                72.7,
                views="25x10",
                note="from ImageNet, last layer trained",
            ),
            Result("two_stream_spatial_vggm", "UCF-101", 73.0, views="25x10", note="from ImageNet"),
            Result("two_stream_spatial_vggm", "HMDB-51", 40.5, views="25x10", note="from ImageNet"),
            Result("two_stream_temporal_vggm", "UCF-101 split 1", 73.9, views="25x10", note="stack=1"),
            Result("two_stream_temporal_vggm", "UCF-101 split 1", 80.4, views="25x10", note="stack=5"),
            Result("two_stream_temporal_vggm", "UCF-101 split 1", 81.0, views="25x10"),
            Result(
                "two_stream_temporal_vggm",
                "UCF-101 split 1",
                79.9,
                views="25x10",
                note="mean flow not taken off",
            ),
            Result(
                "two_stream_temporal_vggm", "UCF-101 split 1", 80.2, views="25x10", note="along trajectories"
            ),
            Result(
                "two_stream_temporal_vggm",
                "UCF-101 split 1",
                81.2,
                views="25x10",
                note="5 fields forwards, 5 backwards",
            ),
            Result("two_stream_temporal_vggm", "UCF-101", 83.7, views="25x10"),
            Result("two_stream_temporal_vggm", "HMDB-51 split 1", 46.6, views="25x10"),
            Result(
                "two_stream_temporal_vggm", "HMDB-51 split 1", 49.0, views="25x10", note="tuned from UCF-101"
            ),
            Result(
                "two_stream_temporal_vggm",
                "HMDB-51 split 1",
                52.8,
                views="25x10",
                note="classes of UCF-101 added",
            ),
            Result(
                "two_stream_temporal_vggm",
                "HMDB-51 split 1",
                55.4,
                views="25x10",
                note="multi-task with UCF-101",
            ),
            Result(
                "two_stream_temporal_vggm", "HMDB-51", 54.6, views="25x10", note="multi-task with UCF-101"
            ),
            Result("two_stream_vggm", "UCF-101", 86.9, views="25x10", note="average"),
            Result("two_stream_vggm", "UCF-101", 88.0, views="25x10", note="SVM on both softmaxes"),
            Result("two_stream_vggm", "HMDB-51", 58.0, views="25x10", note="average"),
            Result("two_stream_vggm", "HMDB-51", 59.4, views="25x10", note="SVM on both softmaxes"),
        ),
    ),
)


class Stream(VideoModel):
    """An image network on each position of a clip: a frame, or a stack of flow fields."""

    def __init__(
        self,
        trunk: str,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        stack: int = STACK,
        crop: int | None = None,
        dropout: float = 0.5,
        without: tuple[str, ...] = (),
        stacking: Literal["optical", "trajectory", "bidirectional"] = "optical",
        subtract_mean: bool = False,
    ) -> None:
        """trunk: of `vadis.models.trunks.TRUNKS`. stack: flow fields (2 channels each) of a position.

        stacking, subtract_mean: how they lie there, of flow only (`ClipSpec`). crop: pixels of a side.
        dropout: probability of a feature to be left out before the classifier and, of VGG, before its last
        hidden layer. without: layers that a VGG is built without.
        """
        super().__init__()
        if crop is None:
            crop = TINY_PIXELS.get(trunk, TINY_CROP) if tiny else PIXELS
        channels = in_channels * stack if in_channels == 2 else in_channels
        self.trunk: Trunk
        if trunk in TABLES:
            self.trunk = Vgg(
                trunk,
                channels,
                tiny=tiny,
                until="fc7",
                pixels=crop,
                without=without,
                dropout=dropout,
            )
            dropout = 0.0  # it is between the hidden layers
        else:
            self.trunk = make_trunk(trunk, channels, tiny)
        self.spec = make_spec(
            in_channels,
            1,
            size=crop * 256 // 224,
            crop=crop,
            stack=stack,
            sampling="segments",
            test_frames=TEST_FRAMES,
            **self.trunk.pixels,
        )
        if in_channels == 2:
            self.spec = replace(self.spec, stacking=stacking, subtract_mean=subtract_mean)
        self.input_weights = (f"trunk.{self.trunk.first}",)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.num_features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the mean of the logits of their positions.

        clip_BCTHW: float, normalised by `self.spec`; C = 3, or 2 x `stack` of flow; any T. Returns logits_BK.
        """
        return self.forward_dense(clip_BCTHW).mean(1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score each position in time. clip_BCTHW: as for `forward`. Returns logits_BTK."""
        feature_BDTHW = self.forward_features(clip_BCTHW)
        logits_BK = self.score_map(feature_BDTHW.transpose(1, 2).flatten(0, 1))
        return logits_BK.unflatten(0, (feature_BDTHW.shape[0], feature_BDTHW.shape[2]))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map of each position. clip_BCTHW: as for `forward`. Returns feature_BDTHW, T as it is."""
        check_clip(self, clip_BCTHW, min_pixels=self.trunk.min_pixels)
        return by_frame(self.trunk, clip_BCTHW)

    def score_map(self, feature_BDHW: Tensor) -> Tensor:
        """Classify the last maps of single positions. Returns logits_BK."""
        if isinstance(self.trunk, Vgg):
            return score(self.head, self.trunk.hidden(feature_BDHW))
        return self.head(self.dropout(feature_BDHW.mean((2, 3))))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class TwoStream(VideoModel):
    """A spatial and a temporal stream that meet in their scores; and a stream of sound, if wanted.

    flow_weight, audio_weight: how much these streams' softmaxes count, of the spatial one's 1. audio: one of
    `vadis.models.sound`'s, by name.
    """

    def __init__(
        self,
        rgb: VideoModel,
        flow: VideoModel,
        flow_weight: float = 1.0,
        *,
        audio: str | None = None,
        audio_weight: float = 1.0,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        for name, weight in (("flow_weight", flow_weight), ("audio_weight", audio_weight)):
            if not 0 < weight < math.inf:
                raise ValueError(f"{name} must be above 0 (the spatial stream's is 1), got {weight}")
        self.rgb, self.flow, self.flow_weight = rgb, flow, flow_weight
        streams = {"rgb": rgb, "flow": flow}
        self.weights = {"rgb": 1.0, "flow": flow_weight}
        if audio is not None:
            streams["audio"] = self.audio = make_sound(audio, rgb.num_classes, tiny)
            self.weights["audio"] = audio_weight
        self.heads = tuple(f"{part}.head" for part in streams)
        self.spec = join_specs({part: stream.spec for part, stream in streams.items()})
        self.num_classes = rgb.num_classes
        self.input_weights = tuple(
            f"{part}.{key}" for part, each in streams.items() for key in each.input_weights
        )

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score a batch of clips of all modalities: the (weighted) mean of the softmaxes, as a logarithm.

        clips_BCTHW: {"rgb": tensor_BCTHW, "flow": ...}, each as its stream wants it. Returns logits_BK.
        """
        return self.join_scores(self.forward_heads(clips_BCTHW))

    def forward_heads(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each stream says by itself, each with a loss of its own in training.

        clips_BCTHW: as for `forward`. Returns a logits_BK for each modality.
        """
        check_parts(self, clips_BCTHW)
        return {part: getattr(self, part)(clips_BCTHW[part]) for part in self.spec.parts}

    def join_scores(self, logits: Mapping[str, Tensor]) -> Tensor:
        """From what `forward_heads` gives to the logits_BK of `forward`."""
        return mean_of_softmaxes(tuple(logits[part] for part in self.weights), tuple(self.weights.values()))

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The last map of each stream.

        clips_BCTHW: as for `forward`. Returns a feature_BDTHW for each modality.
        """
        check_parts(self, clips_BCTHW)
        return {part: getattr(self, part).forward_features(clips_BCTHW[part]) for part in self.spec.parts}

    def reset_head(self, num_classes: int) -> None:
        """Put untrained classifiers of `num_classes` (K) on all streams, on their devices."""
        for part in self.spec.parts:
            getattr(self, part).reset_head(num_classes)
        self.num_classes = num_classes
        self.class_names = None


def mean_of_softmaxes(logits: tuple[Tensor, ...], weights: tuple[float, ...]) -> Tensor:
    """The logarithm of the weighted mean of several softmaxes: logits whose softmax is that mean.

    logits: a logits_BK for each. weights: shares, above zero. Returns logits_BK.
    """
    shares = [weight / sum(weights) for weight in weights]
    weighted = [each.log_softmax(-1) + math.log(share) for each, share in zip(logits, shares, strict=True)]
    return torch.stack(weighted).logsumexp(0)


# The streams of the paper -------------------------------------------------------------------------------


def two_stream_spatial_vggm(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> Stream:
    """The paper's spatial network: VGG-M-2048 on a frame, 90.6 M parameters with 101 classes.

    options: those of `Stream`: `crop` (pixels of a side, 224), `dropout` (a probability, 0.5; the paper tries
    0.9 as well); where `in_channels` is 2, `stack` (flow fields, 10), `stacking` ("optical", "trajectory",
    "bidirectional") and `subtract_mean`.
    """
    return Stream("vgg_m", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_temporal_vggm(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, **options: Any
) -> Stream:
    """The paper's temporal network: VGG-M-2048 on 10 flow fields, no second normalisation, 90.7 M parameters.

    options: as for `two_stream_spatial_vggm`; `stack` is L, the number of flow fields.
    """
    return Stream(
        "vgg_m", num_classes, in_channels=in_channels, tiny=tiny, **{"without": ("norm2",), **options}
    )


def two_stream_vggm(
    num_classes: int = 400, tiny: bool = False, *, flow_weight: float = 1.0, **options: Any
) -> TwoStream:
    """The paper's two-stream network: both of the above, the mean of their softmaxes.

    flow_weight: how much the temporal stream's scores count, of the spatial one's 1. options: as for either;
    `audio` ("sound_resnet18", "sound_xception", "sound_vggish") adds a stream of sound, its scores counting
    `audio_weight`.
    """
    return _pair("vgg_m", num_classes, tiny, flow_weight, options, {"without": ("norm2",)})


# The same on other image networks -----------------------------------------------------------------------


def two_stream_spatial_vgg16(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> Stream:
    """A spatial stream on VGG-16: 134.7 M parameters with 101 classes.

    Options as for `two_stream_spatial_vggm`.
    """
    return Stream("vgg16", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_temporal_vgg16(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, **options: Any
) -> Stream:
    """A temporal stream on VGG-16. Options as for `two_stream_temporal_vggm`."""
    return Stream("vgg16", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_spatial_resnet50(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> Stream:
    """A spatial stream on ResNet-50: 24.3 M parameters. Options as for `two_stream_spatial_vggm`."""
    return Stream("resnet50", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_temporal_resnet50(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, **options: Any
) -> Stream:
    """A temporal stream on ResNet-50. Options as for `two_stream_temporal_vggm`."""
    return Stream("resnet50", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_spatial_resnet101(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> Stream:
    """A spatial stream on ResNet-101: 43.3 M parameters. Options as for `two_stream_spatial_vggm`."""
    return Stream("resnet101", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_temporal_resnet101(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, **options: Any
) -> Stream:
    """A temporal stream on ResNet-101. Options as for `two_stream_temporal_vggm`."""
    return Stream("resnet101", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_spatial_inception(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> Stream:
    """A spatial stream on Inception-v1 with batch norm: 6.0 M parameters.

    Options as for `two_stream_spatial_vggm`.
    """
    return Stream("inception", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_temporal_inception(
    num_classes: int = 400, in_channels: int = 2, tiny: bool = False, **options: Any
) -> Stream:
    """A temporal stream on Inception-v1 with batch norm. Options as for `two_stream_temporal_vggm`."""
    return Stream("inception", num_classes, in_channels=in_channels, tiny=tiny, **options)


def two_stream_vgg16(
    num_classes: int = 400, tiny: bool = False, *, flow_weight: float = 1.0, **options: Any
) -> TwoStream:
    """Two streams on VGG-16. `flow_weight` (of the scores) and options as for `two_stream_vggm`."""
    return _pair("vgg16", num_classes, tiny, flow_weight, options)


def two_stream_resnet50(
    num_classes: int = 400, tiny: bool = False, *, flow_weight: float = 1.0, **options: Any
) -> TwoStream:
    """Two streams on ResNet-50. `flow_weight` (of the scores) and options as for `two_stream_vggm`."""
    return _pair("resnet50", num_classes, tiny, flow_weight, options)


def two_stream_resnet101(
    num_classes: int = 400, tiny: bool = False, *, flow_weight: float = 1.0, **options: Any
) -> TwoStream:
    """Two streams on ResNet-101. `flow_weight` (of the scores) and options as for `two_stream_vggm`."""
    return _pair("resnet101", num_classes, tiny, flow_weight, options)


def _pair(
    trunk: str,
    num_classes: int,
    tiny: bool,
    flow_weight: float,
    options: Mapping[str, Any],
    of_flow: Mapping[str, Any] = {},
) -> TwoStream:
    """Both streams with the same options; `of_flow` are the temporal one's where nothing else is asked."""
    both = {key: value for key, value in options.items() if key not in ("audio", "audio_weight")}
    sound = {key: value for key, value in options.items() if key not in both}
    rgb = Stream(trunk, num_classes, in_channels=3, tiny=tiny, **both)
    flow = Stream(trunk, num_classes, in_channels=2, tiny=tiny, **{**of_flow, **both})
    return TwoStream(rgb, flow, flow_weight, tiny=tiny, **sound)
