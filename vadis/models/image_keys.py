"""How our keys are spelled in the image networks that our video networks are made from.

`CORRESPONDENCES` says it for each family: ResNets, GoogLeNet and ViT-B/16 in torchvision's spelling (timm's
is the same for ResNets). `vadis.models.inflate` gives the weights their length in time. Networks that look at
single frames need no line here: what they have in common with an image network (`ImagePart`: a `Trunk`) says
itself how its keys are spelled there, and `of_parts` asks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from vadis.models.contract import VideoModel
from vadis.models.layers import ImagePart

Fate = Literal["identity", "zero"]


def nothing_along_time(model: VideoModel, key: str) -> Fate | None:
    """For networks whose every kernel has a counterpart in the image network."""
    return None


@dataclass(frozen=True)
class Correspondence:
    """How the keys of some of our networks are spelled in an image network.

    models: shell patterns of our names. images: torchvision's name of the image network (timm's where
    torchvision has none), "{}" standing for the depth in our name. find: our key to theirs, None where it
    has none. along_time: what becomes of a key of ours that looks along time only ("identity", "zero"), None
    for all others.
    """

    models: tuple[str, ...]
    images: str
    find: Callable[[str], str | None]
    along_time: Callable[[VideoModel, str], Fate | None] = nothing_along_time


def resnet_key(key: str) -> str | None:
    """torchvision's ResNet: `stages.0.1.conv2.weight` is `layer1.1.conv2.weight` there."""
    for ours, theirs in (("stem.conv.", "conv1."), ("stem.bn.", "bn1."), ("head.", "fc.")):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    match = re.fullmatch(r"stages\.(\d)\.(\d+)\.(conv\d|bn\d|shortcut\.conv|shortcut\.bn)\.(\w+)", key)
    if match is None:
        return None
    stage, block, layer, leaf = match.groups()
    layer = {"shortcut.conv": "downsample.0", "shortcut.bn": "downsample.1"}.get(layer, layer)
    return f"layer{int(stage) + 1}.{block}.{layer}.{leaf}"


INCEPTION_UNITS = {
    "branch0": "branch1",
    "branch1_reduce": "branch2.0",
    "branch1": "branch2.1",
    "branch2_reduce": "branch3.0",
    "branch2": "branch3.1",
    "branch3": "branch4.1",
}


def googlenet_key(key: str) -> str | None:
    """torchvision's GoogLeNet: `mixed4b.branch1_reduce.conv.weight` is `inception4a.branch2.0.conv.weight`.

    It has 3x3 kernels in the third branch, as I3D's figure has, although the paper printed 5x5. Of S3D's
    pairs of kernels the one in space corresponds.
    """
    key = key.replace(".spatial.", ".")
    for ours, theirs in (
        ("conv1a.", "conv1."),
        ("conv2b.", "conv2."),
        ("conv2c.", "conv3."),
        ("head.", "fc."),
    ):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    match = re.fullmatch(r"mixed(\d)(\w)\.(\w+)\.(.+)", key)
    if match is None or match[3] not in INCEPTION_UNITS:
        return None
    return f"inception{match[1]}{chr(ord(match[2]) - 1)}.{INCEPTION_UNITS[match[3]]}.{match[4]}"


def stream_key(key: str) -> str | None:
    """Two-stream I3D: each stream, `rgb.` and `flow.`, is an I3D."""
    return googlenet_key(key.partition(".")[2])


def separable_along_time(model: VideoModel, key: str) -> Fate | None:
    """S3D: the kernel along time, and its batch norm, pass on what the kernel in space found."""
    return "identity" if ".temporal." in key else None


def p3d_along_time(model: VideoModel, key: str) -> Fate | None:
    """P3D: T passes on what S found (form A), or adds nothing to it (forms B and C).

    The authors' first network halves the sum of form C, so there T is the identity, too.
    """
    block, _, layer = key.rpartition(".")[0].rpartition(".")
    if layer not in ("conv2_time", "bn2_time"):
        return None
    unit = model.get_submodule(block)
    halved = getattr(unit, "variant", "") == "caffe" and getattr(unit, "form", "") == "C"
    return "identity" if halved or getattr(unit, "form", "") == "A" else "zero"


def video_resnet_key(key: str) -> str | None:
    """R3D, MC, f-R2D: `stage2.0.conv1.weight` is `layer1.0.conv1.weight`; there is no first pooling here."""
    for ours, theirs in (("conv1.", "conv1."), ("bn1.", "bn1."), ("head.", "fc.")):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    match = re.fullmatch(r"stage(\d)\.(.+)", key)
    return resnet_key(f"stages.{int(match[1]) - 2}.{match[2]}") if match else None


def slow_pathway_key(key: str) -> str | None:
    """SlowFast: the slow pathway; the fast one, what joins them and the classifier have no counterpart."""
    return resnet_key(key.removeprefix("slow.")) if key.startswith("slow.") else None


def backbone_key(key: str) -> str | None:
    """LGD: the ResNet inside; the paths of global features and their classifier have no counterpart."""
    return resnet_key(key.removeprefix("backbone."))


VIT = {
    "class_token": "cls_token",
    "position_embed": "pos_embed",
    "patch_embed.": "patch_embed.proj.",
    "norm.": "norm.",
    "head.": "head.",
}


def vit_key(key: str) -> str | None:
    """timm's ViT: `blocks.0.attention.qkv.weight` is `blocks.0.attn.qkv.weight`.

    Attention that TimeSformer adds before that of the image network starts as its copy (paper, sec. 3).
    """
    for ours, theirs in VIT.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    match = re.fullmatch(r"(blocks\.\d+)\.(?:attention|added\.\w+)\.(norm|qkv|proj)\.(\w+)", key)
    if match:
        layer = {"norm": "norm1", "qkv": "attn.qkv", "proj": "attn.proj"}[match[2]]
        return f"{match[1]}.{layer}.{match[3]}"
    match = re.fullmatch(r"(blocks\.\d+)\.mlp\.(norm|fc1|fc2)\.(\w+)", key)
    if match:
        layer = "norm2" if match[2] == "norm" else f"mlp.{match[2]}"
        return f"{match[1]}.{layer}.{match[3]}"
    return None


def vit_along_time(model: VideoModel, key: str) -> Fate | None:
    """TimeSformer: what attention over time adds, and the embedding of time, are nothing at first."""
    return "zero" if key == "time_embed" or re.search(r"\.added\.\w+\.fc\.", key) else None


CORRESPONDENCES: tuple[Correspondence, ...] = (
    Correspondence(
        ("resnet3d_*", "se_resnet3d_*", "stc_resnet3d_*", "c2d_r*", "i3d_r*", "slow_r*"),
        "resnet{}",
        resnet_key,
    ),
    Correspondence(("r3d_*", "mc?_*", "rmc?_*", "fr2d_*"), "resnet{}", video_resnet_key),
    Correspondence(("resnext3d_*", "se_resnext3d_*", "stc_resnext3d_*"), "resnext{}_32x4d", resnet_key),
    Correspondence(("p3d_63", "p3d_131", "p3d_199", "p3d_r*"), "resnet{}", resnet_key, p3d_along_time),
    Correspondence(("lgd_p3d_r*",), "resnet{}", backbone_key, p3d_along_time),
    Correspondence(("slowfast_r*",), "resnet{}", slow_pathway_key),
    Correspondence(("lgd_se_resnet3d_*",), "resnet{}", backbone_key),
    Correspondence(("lgd_resnext3d_*", "lgd_se_resnext3d_*"), "resnext{}_32x4d", backbone_key),
    Correspondence(("i3d_inception*", "i2d_inception"), "googlenet", googlenet_key),
    Correspondence(("two_stream_i3d",), "googlenet", stream_key),
    Correspondence(
        ("s3d", "s3dg", "s3d_fast", "i3d_top_heavy", "i3d_bottom_heavy"),
        "googlenet",
        googlenet_key,
        separable_along_time,
    ),
    Correspondence(("timesformer_*",), "vit_b_16", vit_key, vit_along_time),
)


def of_parts(model: VideoModel) -> Correspondence | None:
    """The correspondence of a network with parts that image networks have too; None where it has none.

    All of its parts start from one image network, each stream of its own copy. The classifier takes that
    network's where one stands right on the trunk's features. Raises ValueError for parts of several networks.
    """
    parts = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ImagePart) and module.images
    }
    images = {part.images for part in parts.values()}
    if not parts:
        return None
    if len(images) > 1:
        raise ValueError(
            f"{model.name} has parts of several image networks ({', '.join(sorted(images))}): no one file "
            "starts them all"
        )
    trunk = next(iter(parts.values()))
    classifiers = {name: part for name, part in parts.items() if part.classifier}

    def find(key: str) -> str | None:
        for name in sorted(parts, key=len, reverse=True):
            if key.startswith(f"{name}."):
                return parts[name].image_key(key.removeprefix(f"{name}."))
        head, _, leaf = key.rpartition(".")
        if head not in model.heads:
            return None
        below = [part for part in classifiers.values() if _fits(model.get_submodule(head), part)]
        return f"{below[0].classifier}.{leaf}" if below else None

    return Correspondence((model.name,), trunk.images, find)


def _fits(head: nn.Module, part: ImagePart) -> bool:
    """Whether a classifier stands right on the features of an image network's last part."""
    return isinstance(head, nn.Linear) and head.in_features == part.num_features
