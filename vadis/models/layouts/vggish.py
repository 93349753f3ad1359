"""How VGGish is spelled: its PyTorch port (harritaylor/torchvggish) and TensorFlow's checkpoint.

The port numbers its layers as they stand in a list; what reduces the 128 numbers to AudioSet's (`pproc`) is
no part of ours. TensorFlow's kernels are (height, width, in, out), its matrices (in, out), under the scope
`vggish/`. The published vggish_model.ckpt is one file of TensorFlow's first format, which is not read here;
the port's file holds the same numbers.

Neither has a classifier. The answer then is the 128 numbers, after ReLU: the classifier is the identity.
"""

from __future__ import annotations

import numpy as np

from vadis.models.layouts.rules import Arrays, Layout, by_table

PORT = {0: 0, 3: 1, 6: 2, 8: 3, 11: 4, 13: 5}
"""The places of convolutions in the port's list, ReLU and pools between them."""

TENSORFLOW = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")

LEAVES = ("weight", "bias")


def without_classifier(arrays: Arrays) -> Arrays:
    """The identity as the classifier, where there is none."""
    embedding = arrays.get("embedding.weight")
    if embedding is None or "head.weight" in arrays:
        return arrays
    size = len(embedding)
    return {**arrays, "head.weight": np.eye(size, dtype=np.float32), "head.bias": np.zeros(size, np.float32)}


def from_tensorflow(arrays: Arrays) -> Arrays:
    """Kernels and matrices in PyTorch's order: (out, in, height, width) and (out, in)."""
    orders = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    turned = {key: np.ascontiguousarray(array.transpose(orders[array.ndim])) for key, array in arrays.items()}
    return without_classifier(turned)


VGGISH = (
    Layout(
        "torchvggish",
        ("sound_vggish",),
        "features.13.weight",
        by_table(
            {
                f"{theirs}.{leaf}": f"{ours}.{leaf}"
                for theirs, ours in (
                    *((f"features.{place}", f"trunk.convs.{index}") for place, index in PORT.items()),
                    ("embeddings.0", "fc1"),
                    ("embeddings.2", "fc2"),
                    ("embeddings.4", "embedding"),
                )
                for leaf in LEAVES
            }
        ),
        left_out=r"pproc\..*",
        adapt=without_classifier,
    ),
    Layout(
        "tensorflow_vggish",
        ("sound_vggish",),
        "conv4/conv4_2/weights",
        by_table(
            {
                f"{theirs}/{word}": f"{ours}.{leaf}"
                for theirs, ours in (
                    *((name, f"trunk.convs.{index}") for index, name in enumerate(TENSORFLOW)),
                    ("fc1/fc1_1", "fc1"),
                    ("fc1/fc1_2", "fc2"),
                    ("fc2", "embedding"),
                )
                for word, leaf in (("weights", "weight"), ("biases", "bias"))
            }
        ),
        adapt=from_tensorflow,
    ),
)
