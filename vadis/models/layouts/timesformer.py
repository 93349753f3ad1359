"""How public checkpoints spell TimeSformer (`vadis.models.timesformer`).

The authors' code (facebookresearch/TimeSformer; its .pyth files keep the parameters under `model_state`)
and transformers' `TimesformerForVideoClassification`. Their weights say for how many frames and of what
size they were trained; the scheme of attention is the name of our network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, Rename, by_rules

MODELS = tuple(f"timesformer_{scheme}" for scheme in ("space", "joint", "divided", "hr", "l"))
"""The schemes that these sources have."""

AUTHORS = {  # theirs: ours; within a block; both end in .weight or .bias
    "norm1": "attention.norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "temporal_norm1": "added.time.norm",
    "temporal_attn.qkv": "added.time.qkv",
    "temporal_attn.proj": "added.time.proj",
    "temporal_fc": "added.time.fc",
    "norm2": "mlp.norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
TRANSFORMERS = {
    "layernorm_before": "attention.norm",
    "attention.attention.qkv": "attention.qkv",
    "attention.output.dense": "attention.proj",
    "temporal_layernorm": "added.time.norm",
    "temporal_attention.attention.qkv": "added.time.qkv",
    "temporal_attention.output.dense": "added.time.proj",
    "temporal_dense": "added.time.fc",
    "layernorm_after": "mlp.norm",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def _rename(block: str, within: Mapping[str, str], outside: Mapping[str, str]) -> Rename:
    """`block`: the regular expression of a block's place, its number a group."""
    leaf = r"\.(weight|bias)"
    blocks = [
        (rf"{block}\.{re.escape(theirs)}{leaf}", rf"blocks.\1.{ours}.\2") for theirs, ours in within.items()
    ]
    ends = [(rf"{re.escape(theirs)}{leaf}", rf"{ours}.\1") for theirs, ours in outside.items()]
    tokens = [
        (re.escape(theirs), ours) for theirs, ours in outside.items() if ours.endswith(("token", "embed"))
    ]
    return by_rules(*blocks, *ends, *tokens)


def trained_on(position: str, time: str, patch: str) -> Callable[[Arrays], dict[str, Any]]:
    """The options that the embeddings (their keys) imply: frames and pixels of the clips of training."""

    def options(arrays: Arrays) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if position in arrays and patch in arrays and arrays[position].ndim == 3:
            found["crop"] = math.isqrt(arrays[position].shape[1] - 1) * int(arrays[patch].shape[-1])
        if time in arrays and arrays[time].ndim == 3:
            found["num_frames"] = int(arrays[time].shape[1])
        return found

    return options


TIMESFORMER = (
    Layout(
        "timesformer",
        MODELS,
        "blocks.0.attn.qkv.weight",
        _rename(
            r"blocks\.(\d+)",
            AUTHORS,
            {
                "cls_token": "class_token",
                "pos_embed": "position_embed",
                "time_embed": "time_embed",
                "patch_embed.proj": "patch_embed",
                "norm": "norm",
                "head": "head",
            },
        ),
        options=trained_on("pos_embed", "time_embed", "patch_embed.proj.weight"),
    ),
    Layout(
        "transformers_timesformer",
        MODELS,
        "timesformer.embeddings.cls_token",
        _rename(
            r"timesformer\.encoder\.layer\.(\d+)",
            TRANSFORMERS,
            {
                "timesformer.embeddings.cls_token": "class_token",
                "timesformer.embeddings.position_embeddings": "position_embed",
                "timesformer.embeddings.time_embeddings": "time_embed",
                "timesformer.embeddings.patch_embeddings.projection": "patch_embed",
                "timesformer.layernorm": "norm",
                "classifier": "head",
            },
        ),
        options=trained_on(
            "timesformer.embeddings.position_embeddings",
            "timesformer.embeddings.time_embeddings",
            "timesformer.embeddings.patch_embeddings.projection.weight",
        ),
    ),
)
