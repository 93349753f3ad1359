"""How mmaction2 spells its networks: `backbone.` before all, `cls_head.fc_cls` on top.

Its C3D (`vadis.models.c3d`) and its R(2+1)D-34 (`vadis.models.r2plus1d`), whose factored convolutions are
everywhere, the stem and the shortcuts included; its pooling after the first layer has no parameters. Its
TimeSformer (`vadis.models.timesformer`), trained on frames scaled to [-1, 1], not with our spec's mean. Its
C2D and I3D (`vadis.models.nonlocal_net`), whose non-local blocks pool after their convolutions, do not scale
and have no bias before batch norm (keys do not tell a softmax from the dot product: give
`pairwise="dot_product"` to `create_model` for those). Its SlowOnly and SlowFast (`vadis.models.slowfast`),
whose Slow pathway takes every alpha-th frame, whose lateral connections are bare convolutions and whose
classifier takes the Fast pathway's features first. Its TSN (`vadis.models.tsn`), whose flow goes in as it is.
All of these take ImageNet's mean and deviation. Its ResNet-18 for sound (`vadis.models.sound`) takes pictures
as they are.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vadis.models.layouts.pyslowfast import Rules, places, slowfast_options
from vadis.models.layouts.rules import Arrays, Layout, by_rules
from vadis.models.layouts.timesformer import trained_on
from vadis.models.layouts.tsn import snippet_options

LEAF = r"(weight|bias|running_mean|running_var)"
HEAD = (r"cls_head\.fc_cls\.(weight|bias)", r"head.\1")


def _factored(theirs: str, conv: str, norm: str) -> tuple[tuple[str, str], ...]:
    """A Conv2plus1d with its batch norm: `conv` and `norm` are what it and the norm after it are with us."""
    leaf = rf"\{theirs.count('(') + 1}"
    return (
        (theirs + r"\.conv\.conv_s\.weight", conv + ".spatial.weight"),
        (theirs + r"\.conv\.bn_s\." + LEAF, conv + ".bn." + leaf),
        (theirs + r"\.conv\.conv_t\.weight", conv + ".temporal.weight"),
        (theirs + r"\.bn\." + LEAF, norm + "." + leaf),
    )


C3D = Layout(
    "mmaction2_c3d",
    ("c3d",),
    "backbone.conv1a.conv.weight",
    by_rules(
        (r"backbone\.(conv\d[ab])\.conv\.(weight|bias)", r"\1.conv.\2"),
        (r"backbone\.(fc[67])\.(weight|bias)", r"\1.\2"),
        HEAD,
    ),
    options=lambda theirs: {"pool5": "padded"},
)

R2PLUS1D = Layout(
    "mmaction2_r2plus1d",
    ("r2plus1d_34",),
    "backbone.conv1.conv.conv_s.weight",
    by_rules(
        *_factored(r"backbone\.conv1", "conv1", "bn1"),
        *(
            rule
            for stage in (1, 2, 3, 4)
            for block, ours in ((rf"backbone\.layer{stage}\.(\d+)\.", rf"stage{stage + 1}.\1."),)
            for rule in (
                *_factored(block + r"conv(\d)", ours + r"conv\2", ours + r"bn\2"),
                *_factored(block + "downsample", ours + "shortcut.conv", ours + "shortcut.bn"),
            )
        ),
        HEAD,
    ),
    options=lambda theirs: {"midplanes": "everywhere", "use_pool1": True},
)


def _timesformer(name: str, models: tuple[str, ...], anchor: str, parts: dict[str, str]) -> Layout:
    """`parts`: the modules of one of its blocks and what they are with us."""
    layer, leaf = r"backbone\.transformer_layers\.layers\.", r"(weight|bias)"
    attention = {"attn.in_proj_": "qkv.", "attn.out_proj.": "proj.", "norm.": "norm.", "temporal_fc.": "fc."}
    blocks = [
        (rf"{layer}(\d+)\.{theirs}\.{inner}{leaf}", rf"blocks.\1.{ours}.{mine}\2")
        for theirs, ours in parts.items()
        for inner, mine in (attention.items() if "attentions" in theirs else (("", ""),))
    ]
    ends = [
        (r"backbone\.cls_token", "class_token"),
        (r"backbone\.pos_embed", "position_embed"),
        (r"backbone\.time_embed", "time_embed"),
        (r"backbone\.patch_embed\.projection\." + leaf, r"patch_embed.\1"),
        (r"backbone\.norm\." + leaf, r"norm.\1"),
        HEAD,
    ]
    embeddings = ("backbone.pos_embed", "backbone.time_embed", "backbone.patch_embed.projection.weight")
    return Layout(
        name,
        models,
        f"backbone.transformer_layers.layers.0.{anchor}",
        by_rules(*blocks, *ends),
        options=trained_on(*embeddings),
    )


PERCEPTRON = {r"ffns\.0\.layers\.0\.0": "mlp.fc1", r"ffns\.0\.layers\.1": "mlp.fc2"}

TIMESFORMER_DIVIDED = _timesformer(
    "mmaction2_timesformer_divided",
    ("timesformer_divided", "timesformer_hr", "timesformer_l"),
    "attentions.0.temporal_fc.weight",
    {
        r"attentions\.0": "added.time",
        r"attentions\.1": "attention",
        r"ffns\.0\.norm": "mlp.norm",
        **PERCEPTRON,
    },
)
TIMESFORMER = _timesformer(
    "mmaction2_timesformer",
    ("timesformer_space", "timesformer_joint"),
    "norms.0.weight",
    {r"attentions\.0": "attention", r"norms\.0": "attention.norm", r"norms\.1": "mlp.norm", **PERCEPTRON},
)


def _resnet(theirs: str, ours: str) -> Rules:
    """One pathway: `theirs` is a regular expression, "backbone\\." or with the name of a pathway."""
    rules = [(theirs + r"conv1\.conv\.weight", ours + "stem.conv.weight")]
    rules += [(theirs + r"conv1\.bn\." + LEAF, ours + r"stem.bn.\1")]
    for stage in (1, 2, 3, 4):
        block, mine = rf"{theirs}layer{stage}\.(\d+)\.", rf"{ours}stages.{stage - 1}.\1."
        look, there = block + r"non_local_block\.", rf"{ours}nonlocals.res{stage + 1}_\1."
        rules += [
            (block + r"conv(\d)\.conv\.weight", mine + r"conv\2.weight"),
            (block + r"conv(\d)\.bn\." + LEAF, mine + r"bn\2.\3"),
            (block + r"downsample\.conv\.weight", mine + "shortcut.conv.weight"),
            (block + r"downsample\.bn\." + LEAF, mine + r"shortcut.bn.\2"),
            (look + r"(theta|phi|g)(?:\.0)?\.conv\.(weight|bias)", there + r"\2.\3"),
            (look + r"concat_project\.conv\.weight", there + "pair.weight"),
            (look + r"conv_out\.conv\.weight", there + "out.weight"),
            (look + r"conv_out\.bn\." + LEAF, there + r"bn.\2"),
        ]
    return rules


def _nonlocal_options(arrays: Arrays) -> dict[str, Any]:
    """Where non-local blocks stand and what their keys tell of them."""
    found: dict[str, Any] = {"pixels": "imagenet"}
    names = {  # their layer1 is res2
        f"{int(match[1]) + 1}.{match[2]}.{match[3]}"
        for match in (re.match(r"backbone\.layer(\d)\.(\d+)\.non_local_block\.(.*)", key) for key in arrays)
        if match
    }
    if names:
        found |= places(names, r"(\d)\.(\d+)\.")
        kinds = {name.split(".", 2)[2] for name in names}
        pooled = any(kind.startswith("g.0.") for kind in kinds)
        found |= {"scaled": False, "pool_first": False} | ({} if pooled else {"nonlocal_pool": [1, 1, 1]})
        if not any(kind.startswith("theta") for kind in kinds):
            found["pairwise"] = "gaussian"
        elif any(kind.startswith("concat_project") for kind in kinds):
            found["pairwise"] = "concatenation"
    return found


def _without_bias(arrays: Arrays) -> Arrays:
    """W_z has a bias with us, none there: zero."""
    outs = [key for key in arrays if key.startswith("nonlocals.") and key.endswith(".out.weight")]
    return arrays | {key.replace("weight", "bias"): np.zeros(len(arrays[key]), np.float32) for key in outs}


def _slowfast(arrays: Arrays) -> dict[str, Any]:
    spelled = {
        key.replace("slow_path", "0").replace("fast_path", "1"): value for key, value in arrays.items()
    }
    lateral, first_conv = "backbone.0.conv1_lateral.", "backbone.{pathway}.layer3.{block}.conv1.conv.weight"
    options = slowfast_options(spelled, lateral + "conv.weight", first_conv)
    has_norm = lateral + "bn.weight" in spelled
    return options | {"slow_index": "stride", "lateral_norm": has_norm, "pixels": "imagenet"}


def _slow_first(arrays: Arrays) -> Arrays:
    """The classifier's columns: the Fast pathway's 256 come first there, last with us."""
    weight, fast = arrays.get("head.weight"), arrays.get("fast.stages.3.0.conv3.weight")
    if weight is None or fast is None:
        return arrays
    return arrays | {"head.weight": np.roll(weight, -len(fast), axis=1)}


LATERAL: Rules = [
    rule
    for index, name in enumerate(("conv1", "layer1", "layer2", "layer3"))
    for rule in (
        (rf"backbone\.slow_path\.{name}_lateral\.conv\.weight", f"lateral.{index}.conv.weight"),
        (rf"backbone\.slow_path\.{name}_lateral\.bn\." + LEAF, rf"lateral.{index}.bn.\1"),
    )
]

RESNET = by_rules(*_resnet(r"backbone\.", ""), HEAD)
RESNETS = (
    Layout(
        "mmaction2_i3d",
        ("i3d_r*_32x2*",),
        "backbone.conv1.conv.weight",
        RESNET,
        options=lambda arrays: {"pooling": "mmaction2"} | _nonlocal_options(arrays),
        adapt=_without_bias,
    ),
    Layout(
        "mmaction2_c2d",
        ("c2d_*_8x8",),
        "backbone.conv1.conv.weight",
        RESNET,
        options=lambda arrays: {"pooling": "caffe2", "pixels": "imagenet"},
    ),
    Layout(
        "mmaction2_slowonly",
        ("slow_*",),
        "backbone.conv1.conv.weight",
        RESNET,
        options=lambda arrays: {"pixels": "imagenet"},
    ),
    Layout(
        "mmaction2_slowfast",
        ("slowfast_*",),
        "backbone.slow_path.conv1.conv.weight",
        by_rules(
            *_resnet(r"backbone\.slow_path\.", "slow."),
            *_resnet(r"backbone\.fast_path\.", "fast."),
            *LATERAL,
            HEAD,
        ),
        options=_slowfast,
        adapt=_slow_first,
    ),
)


def _tsn_options(arrays: Arrays) -> dict[str, Any]:
    found = snippet_options("backbone.conv1.conv.weight")(arrays)
    return {**found, "pixels": "mmaction2"} if "in_channels" in found else found


TSN = Layout(
    "mmaction2_tsn",
    ("tsn_r*",),
    "backbone.conv1.conv.weight",
    by_rules(*_resnet(r"backbone\.", "trunk."), HEAD),
    options=_tsn_options,
)

AUDIO = Layout("mmaction2_audio", ("sound_resnet18",), TSN.anchor, TSN.rename)

MMACTION2 = (C3D, R2PLUS1D, TIMESFORMER_DIVIDED, TIMESFORMER, TSN, AUDIO, *RESNETS)
