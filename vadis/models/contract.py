"""The contract that every network keeps, written as a type.

A network is a plain `nn.Module` that also says what goes in (`spec`) and what the numbers that come
out mean (`class_names`). There is one level of it and no behaviour in it, so that a reader of a model
file need not look here; it exists for the type checker, for editors and for this page.

Shapes: B batch, C channels, T frames, H W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from vadis.records import ClipSpec


class VideoModel(nn.Module):
    """A network that scores clips: `forward(clip_BCTHW) -> logits_BK`, never a softmax.

    `forward_features(clip_BCTHW) -> feature_BDTHW` gives the last feature map, `reset_head(num_classes)`
    puts a new, untrained classifier on top. `input_weight` is the `state_dict` key of the layer that
    sees the pixels, for weights that were trained on another number of channels; `min_frames` is the
    shortest clip that `forward` takes, in frames. The last four
    attributes are filled in by `vadis.models.create_model`.
    """

    spec: ClipSpec
    num_classes: int
    input_weight: str
    forward_features: Callable[[Tensor], Tensor]
    reset_head: Callable[[int], None]

    min_frames: int = 1
    name: str = ""
    class_names: tuple[str, ...] | None = None
    weights_sha256: str | None = None
    options: Mapping[str, Any] = {}
