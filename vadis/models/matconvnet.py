"""MatConvNet's files: the parameters of its networks, which MATLAB wrote, as arrays by name.

MatConvNet keeps a network in one of two ways, and MATLAB saves both as plain structures (.mat):

    SimpleNN   `layers`, a cell of structures with `type`, `name`, and `weights` {filters, biases} (before its
               beta 17 the fields `filters` and `biases`); `meta.normalization` or `normalization`
    DagNN      `params`, structures with `name` and `value`; `meta.normalization`; mostly inside `net`

Here both come as DagNN names them: the filters of layer "conv1" are "conv1f", its biases "conv1b", and a
layer without a name is "layer38", by its place. Filters H x W x I x O come as O x I x H x W (those of three
dimensions, H x W x T x I x O, as O x I x T x H x W); `average_image` is what is subtracted from the pixels (0
to 255), one number for each channel, where the file says it.

Files are read by `vadis.models.mat_file`. Those of MATLAB 7.3 are another format (HDF5).

Sources: the public code of MatConvNet (vl_simplenn_tidy, DagNN.fromSimpleNN, DagNN.saveobj).

Shapes: O output and I input channels, T H W kernel extent, N layers or parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vadis.models.mat_file import MatError, read_mat

__all__ = ["MAGIC", "MAGIC_HDF5", "MatError", "read_matconvnet"]

MAGIC, MAGIC_HDF5 = b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"
VARIABLES = ("net", "layers", "params", "meta", "normalization")
MAX_PARAMETERS = 10_000


def read_matconvnet(path: Path) -> dict[str, np.ndarray]:
    """The parameters of a MatConvNet network, and "average_image" (one number a channel) where it is there.

    Returns arrays by MatConvNet's names; see the module for their axes. Raises MatError for a file that is no
    such network.
    """
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head == MAGIC_HDF5:
        raise MatError(
            "it is of MATLAB 7.3 (HDF5), which is not read; in MATLAB: net = load(FILE); "
            "save(NEW, '-struct', 'net', '-v7')"
        )
    holder = read_mat(path, VARIABLES)
    network: Any = holder
    if "net" in holder:
        network = _one(holder["net"])
        if network is None:
            raise MatError(
                "its `net` is an object of MATLAB, not a structure; in MATLAB: net = net.saveobj(); "
                "save(NEW, '-struct', 'net', '-v7')"
            )
    arrays = _arrays(_parameters(network))
    average = _average(network)
    if average is not None:
        arrays["average_image"] = average
    return arrays


def _arrays(parameters: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, value in parameters:
        if name in arrays:
            raise MatError(f"{name} is there twice")
        if len(arrays) >= MAX_PARAMETERS:
            raise MatError(f"it has more than {MAX_PARAMETERS} parameters")
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise MatError(f"{name} holds no floating point numbers")
        arrays[name] = np.array(_outputs_first(value), dtype=np.float32, order="C")
    if not arrays:
        raise MatError("it holds no layer with parameters")
    return arrays


def _outputs_first(value: np.ndarray) -> np.ndarray:
    """MATLAB's axes H W (T) I O in our order; biases, which are rows or columns, as they are but flat."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 5:
        return value.transpose(4, 3, 2, 0, 1)
    return value.reshape(-1) if 1 in value.shape else value


def _parameters(network: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of each parameter, by DagNN's rule of names."""
    params, layers = _field(network, "params"), _field(network, "layers")
    if params is not None and params.dtype.names and {"name", "value"} <= set(params.dtype.names):
        for each in params.reshape(-1):
            value = each["value"]
            if isinstance(value, np.ndarray) and value.size:
                yield _text(each["name"]), value
        return
    if layers is None or layers.dtype != object:
        raise MatError("it holds neither the `layers` nor the `params` of a MatConvNet network")
    for number, cell in enumerate(layers.reshape(-1), start=1):
        layer = _one(cell)
        if layer is None:
            raise MatError(f"layer {number} is no structure")
        name = _field(layer, "name")
        word = (_text(name) if name is not None and name.size else "") or f"layer{number}"
        weights = _field(layer, "weights")
        if weights is not None and weights.dtype == object:
            values = list(weights.reshape(-1))
        else:
            values = [_field(layer, "filters"), _field(layer, "biases")]
        for leaf, value in zip("fb", values, strict=False):
            if isinstance(value, np.ndarray) and value.size:
                yield f"{word}{leaf}", value


def _average(network: Any) -> np.ndarray | None:
    """What is subtracted from each channel: the mean of the image that MatConvNet subtracts."""
    meta = _field(network, "meta")
    inside = None if meta is None else _one(meta)
    normalization = _field(network, "normalization") if inside is None else _field(inside, "normalization")
    settings = None if normalization is None else _one(normalization)
    image = None if settings is None else _field(settings, "averageImage")
    if image is None or not image.size or image.dtype.kind not in "fu":
        return None
    if image.ndim == 3:
        image = image.mean(axis=(0, 1))
    return np.asarray(image, dtype=np.float32).reshape(-1)


def _field(holder: Any, name: str) -> np.ndarray | None:
    """A field of a structure, or of the file itself; None where there is none."""
    known = holder.keys() if isinstance(holder, dict) else (holder.dtype.names or ())
    value = holder[name] if name in known else None
    return value if isinstance(value, np.ndarray) else None


def _one(value: Any) -> np.void | None:
    """The structure in an array of one; None where it is something else."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.names is None:
        return None
    record = value.reshape(-1)[0]
    return record if isinstance(record, np.void) else None


def _text(value: Any) -> str:
    """The word in an array of characters."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size != 1:
        raise MatError("a parameter has no name")
    return str(value.reshape(-1)[0])
