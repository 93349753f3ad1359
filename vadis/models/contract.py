"""The contract that every network keeps, written as a type, and what its file says of its paper.

A network is a plain `nn.Module` that also says what goes in (`spec`) and what the numbers that come
out mean (`class_names`). There is one level of it and no behaviour in it, so that a reader of a model
file need not look here; it exists for the type checker, for editors and for this page.

Shapes: B batch, C channels, T frames, H W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vadis.specs import ClipSpec

Clip = Tensor | Mapping[str, Tensor]
"""A batch of clips: one tensor_BCTHW, or one for each part of a spec that has several, by name."""


class VideoModel(nn.Module):
    """A network that scores clips: `forward(clip_BCTHW) -> logits_BK`, never a softmax.

    `forward_features(clip_BCTHW) -> feature_BDTHW` gives the last feature map, `reset_head(num_classes)`
    puts a new, untrained classifier on top, whose weights are `head.weight` (and `head.bias`). A network of
    several modalities takes `{"rgb": tensor_BCTHW, "flow": tensor_BCTHW}` instead, as its `spec.parts` name
    them; where its streams meet only in their scores, it has a classifier for each (`heads` are their
    names) and `forward_features` gives a map for each. `input_weights` are the `state_dict` keys of the
    layers that see the pixels, for weights that were trained on another number of channels; `min_frames` is
    the shortest clip that `forward` takes, in frames. `head_last` says that nothing but means stands behind
    the head: the logits are those of the mean of all that it sees. `adapt_state(state_dict) -> state_dict`,
    where a network has it, resizes weights that depend on the size of the clips they were trained on
    (position embeddings) before they are loaded. The last five attributes are filled in by
    `vadis.models.create_model`.
    """

    spec: ClipSpec
    num_classes: int
    input_weights: tuple[str, ...]
    forward_features: Callable[..., Any]
    reset_head: Callable[[int], None]

    heads: tuple[str, ...] = ("head",)
    min_frames: int = 1
    head_last: bool = True
    adapt_state: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    name: str = ""
    class_names: tuple[str, ...] | None = None
    weights_sha256: str | None = None
    options: Mapping[str, Any] = {}
    calibration: Mapping[str, Any] | None = None


def make_clip(
    spec: ClipSpec,
    batch: int = 1,
    *,
    num_frames: int | None = None,
    fill: Callable[..., Tensor] = torch.zeros,
    **kind: Any,
) -> Clip:
    """A batch of clips as `spec` wants them, of zeros or of what `fill` (torch.rand, torch.empty ...) gives.

    num_frames: T of the first part instead of the spec's; the other parts keep theirs in proportion. kind:
    `device`, `dtype`, `generator`, as `fill` takes them. Returns a tensor_BCTHW, or one for each part.
    """

    def one(part: ClipSpec) -> Tensor:
        channels, frames, height, width = part.shape
        if num_frames is not None:
            frames = max(1, round(frames * num_frames / spec.num_frames))
        return fill((batch, channels, frames, height, width), **kind)

    return {name: one(part) for name, part in spec.parts.items()} if spec.parts else one(spec)


@dataclass(frozen=True)
class Result:
    """A number copied from a publication; never one of ours.

    model: our name of the network (several, separated by spaces, where one number stands for all).
    dataset: and its part ("Kinetics-400 val"). top1, top5: in percent, None where not printed.
    views: clips x crops at test ("10x3"), empty where the source does not say. note: what else matters:
    pre-training, modality, other metric; whose code or table ("torchvision", "PySlowFast zoo") where it is
    not the paper's own.
    """

    model: str
    dataset: str
    top1: float | None
    top5: float | None = None
    views: str = ""
    note: str = ""


@dataclass(frozen=True)
class PrintedSize:
    """A size that a publication prints of a network and our count does not give; the docs show both.

    model: our name (several, separated by spaces). printed: as it stands there, with units ("8.77 M, 66.4 G":
    parameters, multiply-adds). ours: the same of our default build, in the same units and order. why: the
    reason, or that none is known. num_frames, pixels, num_classes: what `ours` is counted for, where it is
    not the default.
    """

    model: str
    printed: str
    ours: str
    why: str
    num_frames: int | None = None
    pixels: int | None = None
    num_classes: int | None = None


@dataclass(frozen=True)
class Paper:
    """What a model file says of where its networks come from; `docs/models.md` is made of it.

    idea: two or three sentences that a newcomer can follow. arxiv: the number ("1705.07750") or empty.
    sizes: where the paper, or one that quotes it, prints another size than we count.
    """

    title: str
    authors: str
    venue: str
    arxiv: str
    idea: str
    results: tuple[Result, ...] = ()
    sizes: tuple[PrintedSize, ...] = ()
