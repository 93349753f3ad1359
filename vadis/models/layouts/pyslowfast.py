"""How PySlowFast spells C2D, I3D, Slow and SlowFast: PyTorch files (.pyth) and the Caffe2 of its zoo (.pkl).

What shapes and names tell becomes options: where non-local blocks stand, the length of SlowFast's lateral
kernels, how many blocks of res4 look along time. Whether non-local blocks take a softmax or the dot product
they do not tell; each of our names has what PySlowFast's configuration of that network has.

The Caffe2 files have the keys of `vadis.models.layouts.video_nonlocal_net`, but come from networks with
padded pooling. Where both could be meant (I3D 8x8) these are taken; name the other layout for the other
files. The zoo's one C2D is without pool2 (`pyslowfast_caffe2_c2d`, to be named).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules

RESNETS = ("c2d_*_8x8*", "i3d_r*_8x8*", "i3d_r*_32x4*", "slow_*")
SLOWFAST = ("slowfast_*",)
LEAF = r"(weight|bias|running_mean|running_var)"
CAFFE2_LEAVES = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
CAFFE2_TRAINING = r"(.*_momentum|lr|model_iter)"
"""What Caffe2's solver leaves in the same dict: no part of the network."""

Rules = list[tuple[str, str]]


def places(names: Iterable[str], pattern: str) -> dict[str, Any]:
    """The option `nonlocal_after` where keys tell that there are non-local blocks.

    pattern: a regular expression whose groups are the number of a stage (2 to 5) and of a block.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        match = re.match(pattern, name)
        if match:
            found.setdefault(f"res{match[1]}", set()).add(int(match[2]))
    return {"nonlocal_after": {stage: sorted(found[stage]) for stage in sorted(found)}} if found else {}


def slowfast_options(arrays: Arrays, lateral: str, first_conv: str) -> dict[str, Any]:
    """The options of SlowFast that shapes tell.

    lateral: key of the first lateral convolution. first_conv: key of the first convolution of a block of
    res4, with {pathway} and {block} in it.
    """
    options: dict[str, Any] = {"slow_index": "linspace"}
    if lateral in arrays and arrays[lateral].ndim == 5:
        options["lateral_kernel"] = int(arrays[lateral].shape[2])
    options["temporal_blocks"] = [0, 0]
    for pathway in (0, 1):
        block = 0
        while (key := first_conv.format(pathway=pathway, block=block)) in arrays:
            shape = arrays[key].shape
            options["temporal_blocks"][pathway] += len(shape) == 5 and shape[2] > 1
            block += 1
    return options


# --- PyTorch --------------------------------------------------------------------------------------


def _pytorch_rules(pathway: int, ours: str) -> Rules:
    rules = [(rf"s1\.pathway{pathway}_stem\.conv\.weight", ours + "stem.conv.weight")]
    rules += [(rf"s1\.pathway{pathway}_stem\.bn\." + LEAF, ours + r"stem.bn.\1")]
    for stage in (2, 3, 4, 5):
        block = rf"s{stage}\.pathway{pathway}_res(\d+)\."
        mine = rf"{ours}stages.{stage - 2}.\1."
        rules += [
            (block + r"branch1\.weight", mine + "shortcut.conv.weight"),
            (block + r"branch1_bn\." + LEAF, mine + r"shortcut.bn.\2"),
        ]
        for number, letter in enumerate("abc", 1):
            rules += [
                (block + rf"branch2\.{letter}\.weight", mine + f"conv{number}.weight"),
                (block + rf"branch2\.{letter}_bn\." + LEAF, mine + rf"bn{number}.\2"),
            ]
        look, mine = rf"s{stage}\.pathway{pathway}_nonlocal(\d+)\.", rf"{ours}nonlocals.res{stage}_\1."
        rules += [
            (look + r"conv_(theta|phi|g|out)\.(weight|bias)", mine + r"\2.\3"),
            (look + r"(?:bn|norm)\." + LEAF, mine + r"bn.\2"),
        ]
    return rules


def _lateral_rules() -> Rules:
    rules = []
    for stage in range(4):
        rules += [
            (rf"s{stage + 1}_fuse\.conv_f2s\.weight", f"lateral.{stage}.conv.weight"),
            (rf"s{stage + 1}_fuse\.bn\." + LEAF, rf"lateral.{stage}.bn.\1"),
        ]
    return rules


HEAD = (r"head\.projection\.(weight|bias)", r"head.\1")
NONLOCAL = r"s(\d)\.pathway0_nonlocal(\d+)\."


def _slowfast(arrays: Arrays) -> dict[str, Any]:
    first_conv = "s4.pathway{pathway}_res{block}.branch2.a.weight"
    return slowfast_options(arrays, "s1_fuse.conv_f2s.weight", first_conv) | places(arrays, NONLOCAL)


# --- Caffe2 ---------------------------------------------------------------------------------------


def caffe2_rules(theirs: str, ours: str) -> Rules:
    """The keys of one pathway; `theirs` stands before the Fast pathway's ("t_")."""

    def norm(name: str, mine: str) -> Rules:
        return [(f"{name}_bn_{leaf}", f"{mine}.{meaning}") for leaf, meaning in CAFFE2_LEAVES.items()]

    rules = [(theirs + "conv1_w", ours + "stem.conv.weight"), *norm(theirs + "res_conv1", ours + "stem.bn")]
    for stage in (2, 3, 4, 5):
        block, mine = rf"{theirs}res{stage}_(\d+)_branch", rf"{ours}stages.{stage - 2}.\1."
        rules += [(block + "1_w", mine + "shortcut.conv.weight"), *norm(block + "1", mine + "shortcut.bn")]
        for number, letter in enumerate("abc", 1):
            rules += [(block + f"2{letter}_w", mine + f"conv{number}.weight")]
            rules += norm(block + f"2{letter}", mine + f"bn{number}")
        look, mine = rf"{theirs}nonlocal_conv{stage}_(\d+)", rf"{ours}nonlocals.res{stage}_\1."
        rules += [
            (look + "_(theta|phi|g|out)_w", mine + r"\2.weight"),
            (look + "_(theta|phi|g|out)_b", mine + r"\2.bias"),
            *norm(look, mine + "bn"),
        ]
    return rules


def _caffe2_lateral_rules() -> Rules:
    rules = []
    for stage, name in enumerate(("pool1", *(rf"res{stage}_\d+_branch2c_bn" for stage in (2, 3, 4)))):
        rules += [(f"t_{name}_subsample_w", f"lateral.{stage}.conv.weight")]
        rules += [
            (f"t_{name}_subsample_bn_{leaf}", f"lateral.{stage}.bn.{meaning}")
            for leaf, meaning in CAFFE2_LEAVES.items()
        ]
    return rules


CAFFE2_HEAD: Rules = [("pred_w", "head.weight"), ("pred_b", "head.bias")]
CAFFE2_NONLOCAL = r"nonlocal_conv(\d)_(\d+)_"


def _caffe2_slowfast(arrays: Arrays) -> dict[str, Any]:
    renamed = {key.removeprefix("t_"): value for key, value in arrays.items() if key.startswith("t_")}
    both = {f"0_{key}": value for key, value in arrays.items()}
    both |= {f"1_{key}": value for key, value in renamed.items()}
    both["lateral"] = arrays.get("t_pool1_subsample_w", next(iter(arrays.values())))
    options = slowfast_options(both, "lateral", "{pathway}_res4_{block}_branch2a_w")
    return options | places(arrays, CAFFE2_NONLOCAL)


PYSLOWFAST = (
    Layout(
        "pyslowfast_resnet",
        RESNETS,
        "s1.pathway0_stem.conv.weight",
        by_rules(*_pytorch_rules(0, ""), HEAD),
        options=lambda arrays: places(arrays, NONLOCAL),
    ),
    Layout(
        "pyslowfast_slowfast",
        SLOWFAST,
        "s1.pathway1_stem.conv.weight",
        by_rules(*_pytorch_rules(0, "slow."), *_pytorch_rules(1, "fast."), *_lateral_rules(), HEAD),
        options=_slowfast,
    ),
    Layout(
        "pyslowfast_caffe2_resnet",
        tuple(pattern for pattern in RESNETS if not pattern.startswith("c2d")),
        "conv1_w",
        by_rules(*caffe2_rules("", ""), *CAFFE2_HEAD),
        options=lambda arrays: places(arrays, CAFFE2_NONLOCAL),
        left_out=CAFFE2_TRAINING,
    ),
    Layout(
        "pyslowfast_caffe2_slowfast",
        SLOWFAST,
        "t_conv1_w",
        by_rules(
            *caffe2_rules("", "slow."), *caffe2_rules("t_", "fast."), *_caffe2_lateral_rules(), *CAFFE2_HEAD
        ),
        options=_caffe2_slowfast,
        left_out=CAFFE2_TRAINING,
    ),
)

PYSLOWFAST_C2D = Layout(
    "pyslowfast_caffe2_c2d",
    ("c2d_*_8x8*",),
    "conv1_w",
    by_rules(*caffe2_rules("", ""), *CAFFE2_HEAD),
    options=lambda arrays: {"halve_time": False} | places(arrays, CAFFE2_NONLOCAL),
    left_out=CAFFE2_TRAINING,
)
