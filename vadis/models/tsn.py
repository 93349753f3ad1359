"""TSN: a few snippets from all over the video, one network on each, and a vote.

An action lasts seconds or minutes, and neighbouring frames show nearly the same. So the video is cut into a
few equal segments, one short snippet is taken from each, the same image network scores every snippet, and a
consensus of the scores is what is trained: the network learns from the whole video at the price of three
frames. What moves is seen by stacks of flow, or of differences of frames, in the channels of a snippet.

Papers: Wang et al., "Temporal Segment Networks: Towards Good Practices for Deep Action Recognition" (ECCV
2016, arXiv:1608.00859), and the journal's version (TPAMI 2019, arXiv:1705.02953). K segments of 224 x 224:

    part       ours       what                                                          shape
    snippet               a frame, 5 flow fields (or warped ones), 5 differences        3, 10, 15 x 224 x 224
    network    trunk      BN-Inception (1024 features) or a ResNet, mean over space     K x D
               dropout    0.8 on frames, 0.7 on flow and differences
               head       linear: scores f_k before any softmax                         K x classes
    consensus  consensus  "average"    the mean of f_k: each gets 1/K of the gradient
                          "max"        the largest f_k of each class
                          "weighted"   sum of w_k f_k, the weights learned, 1/K at first
                          "top_k"      the mean of the k largest f_k of each class (journal)
                          "attention"  sum of a_k f_k, a = softmax of a learned product with the features

    modality       channels   mean, deviation                             what the first layer starts from
    rgb            3          those of the image weights                  the image network
    flow           10         (u, v) / 20 pixels onto the range of pixels its filters, averaged over the
    warped_flow    10         the same; the camera's motion taken out     channels and repeated ("cross-
    rgb_diff       15         none, deviation of the image weights        modality initialisation")

Good practices that are not the network's: all batch norms but the first keep their statistics (the recipe's
`model.frozen_batch_norm="first_learns"`); tests take 25 snippets and 10 crops; streams are added with flow
weighing 1.5. `num_segments=1` is the plain image network on one snippet.

Where we differ, and why:
- The mean of BN-Inception's pixels is 104/117/128 of the authors' PyTorch code; their Caffe files have 123.
- Flow goes in as `ClipSpec` has it, in [-1, 1]; the deviation then brings it to the authors' range (128 grey
  levels for BN-Inception). mmaction2 leaves it in [-1, 1]: `pixels="mmaction2"`.
- Differences are of normalised frames. For ResNets the authors' PyTorch code leaves out the division by the
  deviation there; for BN-Inception, the paper's network, that is the same.
- "weighted" has a weight for each of K segments. For another number of snippets, as in tests, each gets what
  of the weights lies over its part of the video, so that their sum stays; the papers do not say what they do.
- The papers' features are those of the last layer before the classifier; so are the attention's here.

Shapes: B batch, C channels of a snippet, T segments, H W pixels (or positions in space), D features,
K classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypedDict, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Pixels, by_frame, check_clip, fresh_classifier, make_spec
from vadis.models.trunks import make_trunk
from vadis.specs import ClipSpec

Modality = Literal["rgb", "flow", "warped_flow", "rgb_diff"]
Voting = Literal["average", "max", "weighted", "top_k", "attention"]
NUM_SEGMENTS, TEST_SEGMENTS = 3, 25
STACK = 5
"""Flow fields, or differences, of a snippet."""
CHANNELS: dict[str, int] = {"rgb": 3, "flow": 2, "warped_flow": 2, "rgb_diff": 3}
FLOW_AS_IT_IS: Pixels = {"std": (1.0,), "value_range": (-1.0, 1.0)}
DROPOUT: dict[str, float] = {"rgb": 0.8, "flow": 0.7, "warped_flow": 0.7, "rgb_diff": 0.7}
HEAD_STD, TINY_HEAD_STD = 0.001, 0.01

_SPLIT1 = "UCF-101 split 1"
PAPERS = (
    Paper(
        title="Temporal Segment Networks: Towards Good Practices for Deep Action Recognition",
        authors="Wang et al.",
        venue="ECCV 2016",
        arxiv="1608.00859",
        idea="Cut the video into three parts, score a snippet of each with one image network and train on "
        "the mean of the scores: the whole video is seen for the price of three frames. With image weights "
        "for every modality, most batch norms frozen and strong dropout, small datasets are enough.",
        results=(
            Result("tsn_bninception", "UCF-101", 94.0, None, "25x10", "RGB and flow, mean of 3 splits"),
            Result("tsn_bninception", "UCF-101", 94.2, None, "25x10", "and warped flow, mean of 3 splits"),
            Result("tsn_bninception", "HMDB-51", 68.5, None, "25x10", "RGB and flow, mean of 3 splits"),
            Result("tsn_bninception", "HMDB-51", 69.4, None, "25x10", "and warped flow, mean of 3 splits"),
            Result("tsn_bninception", _SPLIT1, 85.7, None, "25x10", "RGB"),
            Result("tsn_bninception", _SPLIT1, 87.9, None, "25x10", "flow"),
            Result("tsn_bninception", _SPLIT1, 93.5, None, "25x10", "RGB and flow"),
            Result("tsn_bninception", _SPLIT1, 91.6, None, "25x10", "RGB and flow, maximum"),
            Result("tsn_bninception", _SPLIT1, 92.4, None, "25x10", "RGB and flow, learned weights"),
            Result("tsn_bninception", _SPLIT1, 84.5, None, "25x10", "RGB, one segment"),
            Result("tsn_bninception", _SPLIT1, 87.2, None, "25x10", "flow, one segment"),
            Result("tsn_bninception", _SPLIT1, 83.8, None, "25x10", "RGB differences, one segment"),
            Result("tsn_bninception", _SPLIT1, 86.9, None, "25x10", "warped flow, one segment"),
            Result("tsn_bninception", _SPLIT1, 48.7, None, "25x10", "RGB, one segment, from random weights"),
        ),
    ),
    Paper(
        title="Temporal Segment Networks for Action Recognition in Videos",
        authors="Wang et al.",
        venue="TPAMI 2019",
        arxiv="1705.02953",
        idea="The same with more ways to vote (the best few snippets of each class, attention) and for "
        "videos that are not trimmed to the action.",
        results=(
            Result("tsn_r50", "Kinetics-400 val", 72.83, 90.65, "25x10", "mmaction2's table, from ImageNet"),
        ),
    ),
)


class Options(TypedDict, total=False):
    """What can be asked of every network of this file besides segments and dropout.

    modality: None (default; RGB, or flow with `in_channels=2`), "rgb", "flow", "warped_flow" or "rgb_diff".
    test_segments: 25, snippets of a video at test. stack: 5, flow fields or differences of a snippet.
    consensus: "average" (default), "max", "weighted", "top_k" or "attention". top_k: 2, how many snippets of
    each class "top_k" takes the mean of. pixels: "trunk" (default), or "mmaction2", whose flow goes in as it
    is, in [-1, 1].
    """

    modality: Modality | None
    test_segments: int
    stack: int
    consensus: Voting
    top_k: int
    pixels: Literal["trunk", "mmaction2"]


class Consensus(nn.Module):
    """The scores of snippets -> one score for each class (or of features, where it is a mean).

    num_segments: how many weights "weighted" has. num_features: D, what "attention" looks at. top_k: how many
    snippets of each class "top_k" takes the mean of. Raises ValueError for another kind.
    """

    def __init__(self, kind: Voting, *, num_segments: int, num_features: int, top_k: int = 2) -> None:
        super().__init__()
        if kind not in get_args(Voting):
            raise ValueError(f"consensus must be one of {', '.join(get_args(Voting))}, got {kind!r}")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        self.kind = kind
        self.top_k = top_k
        if kind == "weighted":
            self.weights = nn.Parameter(torch.full((num_segments,), 1.0 / num_segments))
        if kind == "attention":
            self.attention = nn.Linear(num_features, 1, bias=False)  # a bias would vanish in the softmax
            nn.init.zeros_(self.attention.weight)  # the average at first

    def forward(self, logits_BTK: Tensor, feature_BTD: Tensor) -> Tensor:
        """Bring together the scores of T snippets; feature_BTD are their features. Returns logits_BK."""
        if self.kind == "max":
            return logits_BTK.amax(dim=1)
        if self.kind == "top_k":
            return logits_BTK.topk(min(self.top_k, logits_BTK.shape[1]), dim=1).values.mean(dim=1)
        if self.kind == "weighted":
            return (logits_BTK * self._weights(logits_BTK.shape[1])[:, None]).sum(dim=1)
        if self.kind == "attention":
            return (logits_BTK * self.attention(feature_BTD).softmax(dim=1)).sum(dim=1)
        return logits_BTK.mean(dim=1)

    def extra_repr(self) -> str:
        """The kind, for `print(model)`."""
        return self.kind + (f", k={self.top_k}" if self.kind == "top_k" else "")

    def _weights(self, num_snippets: int) -> Tensor:
        """A weight for each snippet: what of the learned weights lies over its part of the video."""
        segments = len(self.weights)
        if num_snippets == segments:
            return self.weights
        edges = torch.linspace(0.0, segments, num_snippets + 1, device=self.weights.device)
        segment = edges.floor().clamp(max=segments - 1).long()
        before = F.pad(self.weights.cumsum(0), (1, 0))[segment]
        return (before + (edges - segment).to(before.dtype) * self.weights[segment]).diff()


class Tsn(VideoModel):
    """An image network on a snippet of each segment, and the consensus of their scores.

    trunk: of `vadis.models.trunks`. dropout: a probability, None for the papers' of the modality. The others:
    see `Options`. Raises ValueError for an option that is not one of those named.
    """

    def __init__(
        self,
        trunk: str,
        num_classes: int = 400,
        in_channels: int = 3,
        *,
        modality: Modality | None = None,
        num_segments: int = NUM_SEGMENTS,
        test_segments: int = TEST_SEGMENTS,
        stack: int | None = None,
        consensus: Voting = "average",
        top_k: int = 2,
        dropout: float | None = None,
        pixels: Literal["trunk", "mmaction2"] = "trunk",
        tiny: bool = False,
    ) -> None:
        super().__init__()
        kind = _modality(in_channels, modality)
        length = (1 if kind == "rgb" else STACK) if stack is None else stack
        if kind == "rgb" and length != 1:
            raise ValueError(f"a snippet of RGB is one frame, got stack={stack}")
        if length < 1:
            raise ValueError(f"a snippet has at least one field or difference, got stack={stack}")
        if pixels not in ("trunk", "mmaction2"):
            raise ValueError(f"pixels must be trunk or mmaction2, got {pixels!r}")
        self.trunk = make_trunk(trunk, CHANNELS[kind] * length, tiny)
        as_it_is = pixels == "mmaction2" and CHANNELS[kind] == 2
        self.spec = replace(
            _spec(kind, FLOW_AS_IT_IS if as_it_is else self.trunk.pixels, length),
            num_frames=num_segments,
            test_frames=test_segments,
            sampling="segments",
        )
        self.head_std = TINY_HEAD_STD if tiny else HEAD_STD
        self.input_weights = (f"trunk.{self.trunk.first}",)
        self.num_classes = num_classes
        features = self.trunk.num_features
        self.dropout = nn.Dropout(DROPOUT[kind] if dropout is None else dropout)
        self.head = nn.Linear(features, num_classes)
        self.head_last = consensus in ("average", "attention")  # means, which a classifier lets through
        self.consensus = Consensus(consensus, num_segments=num_segments, num_features=features, top_k=top_k)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of videos by the consensus of their snippets.

        clip_BCTHW: a snippet of each of T segments, normalised by `self.spec`; any T. Returns logits_BK.
        Paper: arXiv:1608.00859, equation 1.
        """
        feature_BTD = self._describe(clip_BCTHW)
        if self.head_last:
            return self.head(self.consensus(self.dropout(feature_BTD), feature_BTD))
        return self.consensus(self.head(self.dropout(feature_BTD)), feature_BTD)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score each snippet by itself, before the consensus.

        clip_BCTHW: as for `forward`. Returns logits_BTK, whose mean over T is the answer of "average".
        """
        return self.head(self.dropout(self._describe(clip_BCTHW)))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map of the image network on each snippet.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: T as given, H W = pixels / 32.
        """
        check_clip(self, clip_BCTHW, min_pixels=self.trunk.min_pixels)
        return by_frame(self.trunk, clip_BCTHW)

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by an untrained one for `num_classes`."""
        self.head = fresh_classifier(self.head, num_classes, self.head_std)
        self.num_classes = num_classes
        self.class_names = None

    def _describe(self, clip_BCTHW: Tensor) -> Tensor:
        """The features of each snippet: the mean over space. Returns feature_BTD."""
        return self.forward_features(clip_BCTHW).mean(dim=(3, 4)).transpose(1, 2)


def _modality(in_channels: int, modality: str | None) -> str:
    """What a snippet shows, as asked for by name or by the number of channels of one of its pictures."""
    if in_channels not in (2, 3):
        raise ValueError(
            f"in_channels must be 3 (rgb) or 2 (flow: u and v), of one picture, got {in_channels}: "
            'how many lie in a snippet is `stack`, and differences are modality="rgb_diff"'
        )
    kind = ("flow" if in_channels == 2 else "rgb") if modality is None else modality
    known = [name for name, channels in CHANNELS.items() if in_channels == 3 or channels == 2]
    if kind not in known:
        raise ValueError(
            f"modality must be one of {', '.join(known)} with in_channels={in_channels}, got {kind!r}"
        )
    return kind


def _spec(kind: str, pixels: Pixels, stack: int) -> ClipSpec:
    """What a snippet is: pixels as the image weights want them, and the other modalities on their range."""
    std, (low, high) = pixels.get("std", (1.0,)), pixels.get("value_range", (0.0, 1.0))
    if kind == "rgb":
        return make_spec(3, 1, **pixels)
    if kind == "rgb_diff":
        return replace(make_spec(3, 1, **pixels), modality=kind, mean=(0.0,) * 3, stack=stack)
    deviation = 2.0 / (high - low) * sum(std) / len(std)  # flow's range onto that of a grey picture
    return replace(make_spec(2, 1, stack=stack), modality=kind, std=(deviation,) * 2)


def tsn_bninception(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float | None = None,
    **options: Unpack[Options],
) -> Tsn:
    """TSN on BN-Inception, the paper's: 10.4 M parameters with 101 classes, 2.03 GMAC a snippet.

    `in_channels=2` makes it take flow. `dropout` is a probability, None for the paper's of the modality.
    """
    return Tsn(
        "bninception",
        num_classes,
        in_channels,
        num_segments=num_segments,
        dropout=dropout,
        tiny=tiny,
        **options,
    )


def tsn_r18(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float | None = None,
    **options: Unpack[Options],
) -> Tsn:
    """TSN on ResNet-18: 11.4 M parameters, 1.8 GMAC a snippet.

    `in_channels=2` makes it take flow. `dropout` is a probability, None for the paper's of the modality.
    """
    return Tsn(
        "resnet18", num_classes, in_channels, num_segments=num_segments, dropout=dropout, tiny=tiny, **options
    )


def tsn_r50(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float | None = None,
    **options: Unpack[Options],
) -> Tsn:
    """TSN on ResNet-50, mmaction2's: 24.3 M parameters, 4.1 GMAC a snippet.

    `in_channels=2` makes it take flow. `dropout` is a probability, None for the paper's of the modality.
    """
    return Tsn(
        "resnet50", num_classes, in_channels, num_segments=num_segments, dropout=dropout, tiny=tiny, **options
    )


def tsn_r101(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float | None = None,
    **options: Unpack[Options],
) -> Tsn:
    """TSN on ResNet-101: 43.3 M parameters, 7.8 GMAC a snippet.

    `in_channels=2` makes it take flow. `dropout` is a probability, None for the paper's of the modality.
    """
    return Tsn(
        "resnet101",
        num_classes,
        in_channels,
        num_segments=num_segments,
        dropout=dropout,
        tiny=tiny,
        **options,
    )
