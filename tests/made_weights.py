"""Weights that anybody can make again from their names and shapes; the rule of tests/golden/parity."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np


def by_the_rule(key: str, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """One array: batch norm and biases keep to small ranges, kernels follow He's rule times `scale`."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        values = generator.uniform(0.5, 1.5, shape)
    elif len(shape) <= 1:
        values = 0.1 * generator.standard_normal(shape)
    elif "embed" in key or "token" in key:
        values = 0.02 * generator.standard_normal(shape) * scale
    else:
        values = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])) * scale
    return np.asarray(values, np.float32)


def all_by_the_rule(state: Iterable[tuple[str, Sequence[int]]], scale: float = 1.0) -> dict[str, np.ndarray]:
    """A whole checkpoint from its list of names and shapes."""
    return {key: by_the_rule(key, shape, scale) for key, shape in state}
