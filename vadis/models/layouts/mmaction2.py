"""How mmaction2 spells its networks: `backbone.` before all, `cls_head.fc_cls` on top.

Its C3D (`vadis.models.c3d`) and its R(2+1)D-34 (`vadis.models.r2plus1d`), whose factored convolutions are
everywhere, the stem and the shortcuts included; its pooling after the first layer has no parameters. Its
TimeSformer (`vadis.models.timesformer`), trained on frames scaled to [-1, 1], not with our spec's mean.
"""

from __future__ import annotations

from vadis.models.layouts.rules import Layout, by_rules
from vadis.models.layouts.timesformer import trained_on

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

MMACTION2 = (C3D, R2PLUS1D, TIMESFORMER_DIVIDED, TIMESFORMER)
