"""How MatConvNet's files spell the streams and their fusion (`vadis.models.two_stream`, `fused_streams`).

The ImageNet networks (imagenet-vgg-m-2048.mat, imagenet-vgg-verydeep-16.mat) name their layers as ours are;
a network fine-tuned by the fusion authors' code has another last layer, which has no name there and so is
called by its place ("layer38"), or "prediction". Their fused networks have every name twice, with "_spatial"
and "_temporal", and the joining filters "conv3Df" (3D) or "conv_fusion_1f".

`vadis.models.matconvnet` has put axes in our order. What remains: fc6 is a convolution there, and pixels go
in as 0 to 255 less a mean, flow as 0 to 255 less 128. Ours are scaled otherwise, so the first filters are,
and the first biases take up the difference of the means: the same answer, but at the border of VGG-16's
padded first layer, where the means differ by less than one level of grey.

Source: feichtenhofer/twostreamfusion (cnn_ucf101_fusion.m, network_surgery/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vadis.models.layers import IMAGENET_MEAN, IMAGENET_STD
from vadis.models.layouts.rules import Arrays, Layout, by_rules
from vadis.models.vgg import TORCHVISION_CLASSIFIER, TORCHVISION_FEATURES

LEAVES = {"f": "weight", "b": "bias"}
AVERAGE = "average_image"
LAST = r"(?:fc8|prediction|layer\d+)"
IMAGE_LEVELS = (123.68, 116.779, 103.939)
"""The mean pixel of ImageNet (R, G, B), for files that say none."""
FLOW_LEVEL = 128.0


def _rules(tower: str, suffix: str, head: str) -> list[tuple[str, str]]:
    """Of one tower: `tower` is what stands before our keys, `suffix` what stands behind theirs."""
    rules = []
    for letter, leaf in LEAVES.items():
        rules += [
            (rf"((?:conv\d(?:_\d)?|fc[67])){letter}{suffix}", rf"{tower}trunk.\1.{leaf}"),
            (rf"{LAST}{letter}{suffix}", f"{head}.{leaf}"),
        ]
    return rules


def _fused_rules(last: str) -> list[tuple[str, str]]:
    """Of two towers that are joined after `last` and both go on."""
    rules = _rules("rgb.", "_spatial", "rgb.head") + _rules("flow.", "_temporal", "flow.head")
    for letter, leaf in LEAVES.items():
        rules.append((rf"(?:conv3D|conv_fusion_1){letter}", f"joins.{last}.conv.{leaf}"))
    return [*rules, (AVERAGE, AVERAGE)]


def _flatten(arrays: Arrays) -> Arrays:
    """fc6, which is a convolution there, as the linear layer that it is here."""
    return {
        key: array.reshape(array.shape[0], -1) if key.endswith("fc6.weight") else array
        for key, array in arrays.items()
    }


def _rescale(weight: np.ndarray, bias: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A first layer for pixels as ours are; `levels` is what theirs had subtracted, of each channel."""
    if weight.shape[1] == 3:
        scale, centre = 255.0 * np.array(IMAGENET_STD), 255.0 * np.array(IMAGENET_MEAN)
    else:
        scale = centre = np.full(weight.shape[1], 127.5)
    if levels.shape != centre.shape:
        levels = np.array(IMAGE_LEVELS) if weight.shape[1] == 3 else np.full(weight.shape[1], FLOW_LEVEL)
    shifted = bias + np.einsum("oihw,i->o", weight.astype(np.float64), centre - levels)
    scaled = weight * scale[None, :, None, None]
    return scaled.astype(np.float32), shifted.astype(np.float32)


def _adapt(arrays: Arrays) -> Arrays:
    """Flatten fc6, bring the first layers to our pixels, and drop the average image."""
    arrays = _flatten(arrays)
    levels = arrays.pop(AVERAGE, np.zeros(0))
    for key in [key for key in arrays if re.fullmatch(r"(\w+\.)?trunk\.conv1(_1)?\.weight", key)]:
        bias = key.removesuffix("weight") + "bias"
        if bias in arrays and arrays[key].ndim == 4:
            # of a fused network the levels of flow come first, then those of the three colours
            channels = arrays[key].shape[1]
            own = levels[-3:] if channels == 3 else levels[:channels]
            arrays[key], arrays[bias] = _rescale(arrays[key], arrays[bias], own)
    return arrays


def _options(first: str) -> Any:
    """The number of flow fields, which the first layer tells; `first` is its key there."""

    def find(theirs: Arrays) -> dict[str, Any]:
        channels = theirs[first].shape[1] if first in theirs and theirs[first].ndim == 4 else 3
        return {} if channels in (3, 20) else {"stack": channels // 2}

    return find


def _tower(name: str, anchor: str, first: str, trunk: str) -> Layout:
    models = (f"two_stream_spatial_{trunk}", f"two_stream_temporal_{trunk}")
    rules = by_rules(*_rules("", "", "head"), (AVERAGE, AVERAGE))
    return Layout(name, models, anchor, rules, options=_options(first), adapt=_adapt)


def _fused(name: str, last: str, first: str, models: tuple[str, ...]) -> Layout:
    rules = by_rules(*_fused_rules(last))
    return Layout(
        name, models, f"{last}f_spatial", rules, options=_options(f"{first}f_temporal"), adapt=_adapt
    )


MATCONVNET = (
    _tower("matconvnet_vggm", "conv5f", "conv1f", "vggm"),
    _tower("matconvnet_vgg16", "conv5_3f", "conv1_1f", "vgg16"),
    _fused("matconvnet_fused_vggm", "conv5", "conv1", ("fused_vggm_relu5_fc8_conv",)),
    _fused("matconvnet_fused_vgg16", "conv5_3", "conv1_1", ("fused_vgg16", "fused_vgg16_*")),
)


def image_state(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """An ImageNet network of MatConvNet's as `vadis.models.inflate` wants it: in our pixels, fc6 flat.

    arrays: of `vadis.models.matconvnet.read_matconvnet`, any shapes. Returns VGG-M by our own keys
    ("conv1.weight", "fc8.bias"), VGG-16 by torchvision's.
    """
    layout = MATCONVNET[1] if MATCONVNET[1].anchor in arrays else MATCONVNET[0]
    renamed = {str(layout.rename(key)): array for key, array in arrays.items() if layout.rename(key)}
    ours = {key.removeprefix("trunk."): array for key, array in _adapt(renamed).items()}
    deep = layout is MATCONVNET[1]
    spelled: Arrays = {}
    for key, array in ours.items():
        name, _, leaf = key.rpartition(".")
        if name == "head":
            name = "classifier.6" if deep else "fc8"
        elif deep and name in TORCHVISION_FEATURES:
            name = f"features.{TORCHVISION_FEATURES[name]}"
        elif deep and name in TORCHVISION_CLASSIFIER:
            name = f"classifier.{TORCHVISION_CLASSIFIER[name]}"
        flat = leaf == "weight" and name in ("fc7", "fc8", "classifier.3", "classifier.6")
        spelled[f"{name}.{leaf}"] = array.reshape(array.shape[:2]) if flat else array
    return spelled
