"""How kenshohara/3D-ResNets-PyTorch spells 3D-ResNet and 3D-ResNeXt (`vadis.models.resnet3d`).

The code of 2018 (CVPR2018 branch: files with `state_dict`, keys after `module.`) and that of 2020 spell them
alike. What tells the generations apart is the form: a ResNet without projections and a ResNeXt with a stem
of 64 channels are of 2018, and were trained on other pixels. The ResNets of 50 layers and more are the same
in both: pass `pixels="2018"` to `create_model` for a file that you know to be of 2018 (400 classes and named
`resnet-50-kinetics.pth`; those of 2020 have 700 classes and more, and are named `r3d50_K_200ep.pth`).
"""

from __future__ import annotations

from typing import Any

from vadis.models.layouts.rules import Arrays, Layout, by_rules

MODELS = ("resnet3d_*", "resnext3d_*")

RENAME = by_rules(
    (r"(conv|bn)1\.(\w+)", r"stem.\1.\2"),
    *(
        rule
        for stage in range(4)
        for rule in (
            (rf"layer{stage + 1}\.(\d+)\.((?:conv|bn)\d)\.(\w+)", rf"stages.{stage}.\1.\2.\3"),
            (rf"layer{stage + 1}\.(\d+)\.downsample\.0\.(\w+)", rf"stages.{stage}.\1.shortcut.conv.\2"),
            (rf"layer{stage + 1}\.(\d+)\.downsample\.1\.(\w+)", rf"stages.{stage}.\1.shortcut.bn.\2"),
        )
    ),
    (r"fc\.(\w+)", r"head.\1"),
)


def options(arrays: Arrays) -> dict[str, Any]:
    """The form: shortcut, stem, channels that go in, and the pixels of 2018 where that is certain."""
    found: dict[str, Any] = {}
    stem, grouped = arrays.get("conv1.weight"), arrays.get("layer1.0.conv2.weight")
    if stem is None or stem.ndim != 5:
        return found
    if stem.shape[0] != 64:
        found["stem_channels"] = int(stem.shape[0])
    if stem.shape[1] != 3:
        found["in_channels"] = int(stem.shape[1])
    if stem.shape[2] != 7:
        found["stem_kernel_frames"] = int(stem.shape[2])
    if not any(".downsample." in key for key in arrays):
        found["shortcut"] = "A"
    is_resnext = grouped is not None and grouped.shape[0] != grouped.shape[1]
    if "shortcut" in found or (is_resnext and "stem_channels" not in found):
        found["pixels"] = "2018"
    return found


RESNETS3D = (Layout("3d_resnets", MODELS, "layer1.0.conv1.weight", RENAME, options),)
