"""How pytorchvideo spells C2D, I3D, Slow (`blocks.0` the stem, then the stages) and SlowFast.

C2D and I3D have a pooling as `blocks.2`, so their last three stages are blocks 3 to 5 and the head is 6;
Slow's are 1 to 4 and 5. Its heads average windows of 7 x 7 positions (`head_window`).
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.pyslowfast import LEAF, Rules, slowfast_options
from vadis.models.layouts.rules import Arrays, Layout, by_rules

WINDOW = {"head_window": 7}


def _rules(stem: str, stages: tuple[str, str, str, str], ours: str) -> Rules:
    """One pathway: their names of the stem and of the four stages, as regular expressions."""
    rules = [(stem + r"conv\.weight", ours + "stem.conv.weight")]
    rules += [(stem + r"norm\." + LEAF, ours + r"stem.bn.\1")]
    for stage, name in enumerate(stages):
        block, mine = name + r"res_blocks\.(\d+)\.", rf"{ours}stages.{stage}.\1."
        rules += [
            (block + r"branch1_conv\.weight", mine + "shortcut.conv.weight"),
            (block + r"branch1_norm\." + LEAF, mine + r"shortcut.bn.\2"),
        ]
        for number, letter in enumerate("abc", 1):
            rules += [
                (block + rf"branch2\.conv_{letter}\.weight", mine + f"conv{number}.weight"),
                (block + rf"branch2\.norm_{letter}\." + LEAF, mine + rf"bn{number}.\2"),
            ]
    return rules


def _pathway(pathway: int, ours: str) -> Rules:
    stem, *stages = (rf"blocks\.{index}\.multipathway_blocks\.{pathway}\." for index in range(5))
    return _rules(stem, (stages[0], stages[1], stages[2], stages[3]), ours)


def _lateral() -> Rules:
    rules = []
    for index in range(4):
        fusion = rf"blocks\.{index}\.multipathway_fusion\."
        rules += [(fusion + r"conv_fast_to_slow\.weight", f"lateral.{index}.conv.weight")]
        rules += [(fusion + r"norm\." + LEAF, rf"lateral.{index}.bn.\1")]
    return rules


def _slowfast(arrays: Arrays) -> dict[str, Any]:
    first_conv = "blocks.3.multipathway_blocks.{pathway}.res_blocks.{block}.branch2.conv_a.weight"
    lateral = "blocks.0.multipathway_fusion.conv_fast_to_slow.weight"
    return slowfast_options(arrays, lateral, first_conv) | WINDOW


PYTORCHVIDEO = (
    Layout(
        "pytorchvideo_slow",
        ("slow_*",),
        "blocks.0.conv.weight",
        by_rules(
            *_rules(r"blocks\.0\.", (r"blocks\.1\.", r"blocks\.2\.", r"blocks\.3\.", r"blocks\.4\."), ""),
            (r"blocks\.5\.proj\.(weight|bias)", r"head.\1"),
        ),
        options=lambda arrays: dict(WINDOW),
    ),
    Layout(
        "pytorchvideo_pooled",
        ("c2d_*_8x8", "i3d_r*_8x8"),
        "blocks.0.conv.weight",
        by_rules(
            *_rules(r"blocks\.0\.", (r"blocks\.1\.", r"blocks\.3\.", r"blocks\.4\.", r"blocks\.5\."), ""),
            (r"blocks\.6\.proj\.(weight|bias)", r"head.\1"),
        ),
        options=lambda arrays: dict(WINDOW),
    ),
    Layout(
        "pytorchvideo_slowfast",
        ("slowfast_*",),
        "blocks.0.multipathway_blocks.0.conv.weight",
        by_rules(
            *_pathway(0, "slow."),
            *_pathway(1, "fast."),
            *_lateral(),
            (r"blocks\.6\.proj\.(weight|bias)", r"head.\1"),
        ),
        options=_slowfast,
    ),
)
