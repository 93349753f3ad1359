"""What a checkpoint layout is, and the one way from any of them to our keys.

A layout tells how somebody's code spells the parameters of some of our networks. It is data: a renaming
from their key to ours, and what their keys and shapes imply for the options of our network. Everything
else (which layout it is, what prefix a wrapper added, how axes are ordered, what is missing, unknown or
of the wrong shape) is worked out here for all. No key is dropped or left out silently.

Shapes: O output and I input channels, T H W kernel extent; others' kernels are THWIO or OITHW.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Rename = Callable[[str], str | None]
Shapes = Callable[[int, Mapping[str, Any]], Mapping[str, tuple[int, ...]]]

NOT_PARAMETERS = r"(.*/)?global_step|(.*\.)?num_batches_tracked"
"""Keys that carry no parameter of any network; every layout passes them over."""


class LayoutError(Exception):
    """A checkpoint does not fit: the message lists the keys or shapes that differ."""


def no_options(arrays: Arrays) -> dict[str, Any]:
    """For layouts that fit one form of the network only."""
    return {}


@dataclass(frozen=True)
class Layout:
    """One public spelling of the parameters of some of our networks.

    `models`: shell patterns of the names of those networks. `anchor`: one of their keys, without any
    wrapper's prefix, by which the layout is recognised; whatever stands before it is the prefix of all.
    `rename`: their key (without prefix) to ours, None for a key that is unknown. `options`: their arrays
    (by keys without prefix) to the options of our network that they imply. `optional`: regular expression
    of OUR keys that may be absent and are ones then. `left_out`: regular expression of THEIR keys that are
    no part of the network (another network's, an optimiser's); they are reported. `kernels_last` tells
    kernels THWIO (TensorFlow, Flax) from OITHW (PyTorch, Caffe2). `adapt` changes arrays (by our keys) that
    are stored in another form.
    """

    name: str
    models: tuple[str, ...]
    anchor: str
    rename: Rename
    options: Callable[[Arrays], dict[str, Any]] = no_options
    optional: str = ""
    left_out: str = ""
    kernels_last: bool = False
    adapt: Callable[[Arrays], Arrays] | None = None


@dataclass(frozen=True)
class Imported:
    """A checkpoint by our keys (float32), and what it implies.

    `options` are those of the network's function; `left_out` the checkpoint's keys that are no part of it.
    """

    arrays: Arrays
    layout: str
    num_classes: int
    options: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def by_table(keys: Mapping[str, str]) -> Rename:
    """A renaming written as a dict, theirs to ours."""
    return keys.get


def by_rules(*rules: tuple[str, str]) -> Rename:
    """A renaming written as (regular expression, replacement) pairs, tried in order against the whole key.

    The replacement is that of `re.sub` ("\\1" for the first group). Write the tail of a key that stays as
    it is (`weight`, `running_mean`) as a group.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(key: str) -> str | None:
        for pattern, replacement in compiled:
            match = pattern.fullmatch(key)
            if match:
                return match.expand(replacement)
        return None

    return rename


def detect_layouts(
    names: Mapping[str, object], model: str, layouts: Mapping[str, Layout], layout: str = "auto"
) -> list[tuple[Layout, str]]:
    """The layouts of `model` that a checkpoint's keys may be in, each with the prefix of its keys.

    A prefix is a TensorFlow scope (`RGB/inception_i3d/`) or a wrapper's attribute (`module.`).
    `layout` names one to insist on. Raises LayoutError where none (or not that one) is possible.
    """
    if layout != "auto" and layout not in layouts:
        raise LayoutError(f"there is no layout {layout!r}; known are auto, {', '.join(layouts)}")
    found, others = [], []
    for candidate in layouts.values() if layout == "auto" else (layouts[layout],):
        prefix = _prefix(names, candidate.anchor)
        if prefix is None:
            continue
        if any(fnmatch.fnmatchcase(model, pattern) for pattern in candidate.models):
            found.append((candidate, prefix))
        else:
            others.append(f"{candidate.name} (for {', '.join(candidate.models)})")
    if found:
        return found
    fitting = [each.name for each in layouts.values() if _is_for(each, model)]
    wanted = "any known layout" if layout == "auto" else f"the layout {layout}"
    looks = f"they look like {_some(others)}; " if others else ""
    raise LayoutError(
        f"these are not the keys of {model} in {wanted} ({', '.join(fitting)}); {looks}the first are "
        f"{_some(sorted(names))}"
    )


def _is_for(layout: Layout, model: str) -> bool:
    return any(fnmatch.fnmatchcase(model, pattern) for pattern in layout.models)


def _prefix(names: Mapping[str, object], anchor: str) -> str | None:
    """What stands before the anchor in the one key that ends with it; the shortest if there are several."""
    prefixes = [name.removesuffix(anchor) for name in names if name.endswith(anchor)]
    return min((prefix for prefix in prefixes if not prefix or prefix[-1] in "./"), key=len, default=None)


def to_ours(
    arrays: Arrays, model: str, layouts: Mapping[str, Layout], shapes: Shapes, layout: str = "auto"
) -> Imported:
    """Rename and reorder a checkpoint's arrays to the state_dict of our network `model`.

    shapes: (number of classes, options) to the shapes that our network has then. The layout that fits
    without a fault is taken; where none does, LayoutError tells what is missing, unknown or of another
    shape in the one that fits best.
    """
    faults: list[tuple[int, str]] = []
    for candidate, prefix in detect_layouts(arrays, model, layouts, layout):
        try:
            return _convert(arrays, candidate, prefix, shapes)
        except _MisfitError as misfit:
            faults.append((misfit.count, str(misfit)))
    raise LayoutError(min(faults)[1])


class _MisfitError(Exception):
    """One layout does not fit; `count` says by how many keys."""

    def __init__(self, count: int, message: str) -> None:
        self.count = count
        super().__init__(message)


def _convert(arrays: Arrays, layout: Layout, prefix: str, shapes: Shapes) -> Imported:
    theirs, left_out, unknown, ours = {}, [], [], {}
    for name, array in arrays.items():
        bare = name.removeprefix(prefix)
        if re.fullmatch(NOT_PARAMETERS, name):
            continue
        if layout.left_out and re.fullmatch(layout.left_out, bare):
            left_out.append(name)
        elif not name.startswith(prefix):
            unknown.append(name)
        else:
            theirs[bare] = array
    for bare, array in theirs.items():
        key = layout.rename(bare)
        if key is None:
            unknown.append(prefix + bare)
        elif key in ours:
            raise _MisfitError(len(arrays), f"{prefix + bare} and another key both mean {key}")
        else:
            ours[key] = _floats(layout, prefix + bare, array)
    if layout.adapt is not None:
        ours = layout.adapt(ours)
    head = next((key for key in ours if key == "head.weight" or key.endswith(".head.weight")), "head.weight")
    if head not in ours:
        raise _MisfitError(
            len(arrays),
            f"the checkpoint looks like {layout.name} but has no classifier: head.weight is missing; "
            f"the first unknown keys are {_some(unknown)}",
        )
    num_classes = int(ours[head].shape[0])
    options = layout.options(theirs)
    expected = _parameters(shapes(num_classes, options))
    if "in_channels" not in options and _sees_flow(ours, expected):
        options = {**options, "in_channels": 2}
        expected = _parameters(shapes(num_classes, options))
    for key in [key for key in expected if key not in ours]:
        if layout.optional and re.fullmatch(layout.optional, key):
            ours[key] = np.ones(expected[key], np.float32)
    problems = _faults(layout.name, unknown, ours, expected)
    if problems:
        raise _MisfitError(*problems)
    ours = {key: fit_shape(array, expected[key]) for key, array in sorted(ours.items())}
    check_shapes(ours, expected)
    return Imported(ours, layout.name, num_classes, options, tuple(sorted(left_out)))


def _parameters(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in shapes.items() if not re.fullmatch(NOT_PARAMETERS, key)}


def _sees_flow(ours: Arrays, expected: Mapping[str, tuple[int, ...]]) -> bool:
    """True where some filters are for two channels (flow: u and v) and the network's for three (RGB).

    No layer within any of our networks has three channels of input, so it is the first one that differs.
    """
    return any(
        len(shape) >= 4 and shape[1] == 3 and ours[key].shape == (shape[0], 2, *shape[2:])
        for key, shape in expected.items()
        if key in ours
    )


def _faults(
    name: str, unknown: list[str], ours: Arrays, expected: Mapping[str, tuple[int, ...]]
) -> tuple[int, str] | None:
    """How many keys do not fit, and the sentence that lists them; None where all do."""
    missing = sorted(set(expected) - set(ours))
    unknown = [*unknown, *(set(ours) - set(expected))]  # the latter in our spelling: of another form of it
    wrong = [
        f"{key} has shape {ours[key].shape}, the model needs {tuple(expected[key])}"
        for key in sorted(set(ours) & set(expected))
        if fit_shape(ours[key], expected[key]).shape != tuple(expected[key])
    ]
    parts = [
        f"{len(names)} keys are {what}: {_some(sorted(names))}"
        for what, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    if wrong:
        parts.append(f"{len(wrong)} have another shape: {_some(wrong, '; ')}")
    count = len(missing) + len(unknown) + len(wrong)
    return (count, f"the checkpoint looks like {name} but {' and '.join(parts)}") if parts else None


def fit_shape(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Give an array the shape that is wanted where it differs by axes of length one that carry no meaning.

    These are: all axes but the last before a batch norm's channels (1,1,1,1,C); trailing ones (a linear
    classifier and a 1x1x1 convolution); a missing or superfluous axis of time in an image kernel (OIHW and
    OI1HW). Anything else comes back as it is.
    """
    wanted, found = tuple(shape), array.shape
    same = (
        (len(wanted) == 1 and found == (1,) * (len(found) - 1) + wanted)
        or (found[: len(wanted)] == wanted and set(found[len(wanted) :]) == {1})
        or (wanted[: len(found)] == found and set(wanted[len(found) :]) == {1})
        or (len(wanted) == 5 and found == wanted[:2] + wanted[3:] and wanted[2] == 1)
        or (len(wanted) == 4 and found == (*wanted[:2], 1, *wanted[2:]))
    )
    return array.reshape(wanted) if same else array


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


def _floats(layout: Layout, name: str, array: np.ndarray) -> np.ndarray:
    """One array in our order of axes, float32 and contiguous."""
    if array.dtype.kind != "f":
        raise LayoutError(f"{name} holds {array.dtype}, not floating point numbers")
    if layout.kernels_last and array.ndim == 5 and name.endswith(("/w", "/kernel")):
        array = array.transpose(4, 3, 0, 1, 2)
    return np.ascontiguousarray(array, dtype=np.float32)


def _some(items: list[str], separator: str = ", ") -> str:
    """At most eight items in words."""
    more = f"{separator}and {len(items) - 8} more" if len(items) > 8 else ""
    return separator.join(items[:8]) + more
