"""Receptive field against depth: how much of the clip one position of each layer can depend on.

Nothing is looked up in a table of layers: the network runs once, and beside each number goes what it depends
on (`vadis.explain.reach`). So strides, dilations, branches, pathways and groups need no rules of their own.

Source of the idea: the gradient of an output with respect to the input is zero outside the field; this is
that set's first and last element, for weights of which none is zero. Masks inside attention are not
looked at: whoever is masked counts as seen.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vadis.explain.reach import CannotFollowError, Extent, Follower, Run
from vadis.explain.sheet import MARGIN, draw_heading, heading_height, note_height
from vadis.models.contract import VideoModel
from vadis.video.canvas import GREY, INK, PALETTE, PAPER, Canvas, fit_text, mix, text_width

FIRST_TRY = {"frames": 128, "pixels": 512}
LAST_TRY = {"frames": 1024, "pixels": 4096}
"""How long a clip is made, so that a field does not touch its ends; doubled until it does not."""

FEWEST_ROWS, MOST_ROWS = 8, 60


@dataclass(frozen=True)
class LayerField:
    """The receptive field after one layer: `frames` in time, `pixels` along the height of the picture."""

    layer: str
    frames: Extent
    pixels: Extent


def receptive_field(
    model: VideoModel, level: int | None = None, *, through_means: bool = True
) -> list[LayerField]:
    """The receptive field after each layer of `model`, in the order in which they run.

    level: how deep modules are opened up: 1 for the parts of the network, 2 for their parts, and so on
    (lists of modules do not count); None opens until there are eight rows. through_means: False leaves out
    what arrives by way of a mean over the whole clip (gates, squeeze and excitation, global paths), which
    else makes everything see everything. Weights do not matter. Raises CannotFollowError for an operation
    that is not known.
    """
    if level is not None and level < 1:
        raise ValueError(f"level is 1 (the parts of the network) or more, got {level}")
    measured = {axis: _measure(model, axis, through_means) for axis in ("frames", "pixels")}
    found: list[LayerField] = []
    for depth in range(1, 5) if level is None else (level,):
        rows = {axis: _rows(model, run, depth) for axis, run in measured.items()}
        deeper = [
            LayerField(name, in_time.extent, in_space.extent)
            for name, in_space in rows["pixels"].items()
            if (in_time := rows["frames"].get(name))
            and (in_time.is_layer or in_time.changed or in_space.changed)
        ]
        if found and len(deeper) > MOST_ROWS:
            break
        found = deeper
        if len(found) >= FEWEST_ROWS:
            break
    return found


def _unit_path(model: nn.Module, name: str, entered: frozenset[str]) -> list[str]:
    """A module's name cut into the steps that count.

    A list of modules belongs to what it holds, and so does a module that is never run as one (a pathway
    whose stages others call).
    """
    path, held = [], ""
    lists = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
    parts = name.split(".") if name else []
    for number, part in enumerate(parts):
        held = f"{held}.{part}" if held else part
        whole = ".".join(parts[: number + 1])
        if whole in entered and not isinstance(model.get_submodule(whole), lists):
            path.append(held)
            held = ""
    return path + ([held] if held else [])


# --- measuring -----------------------------------------------------------------------------------------


def _measure(model: VideoModel, axis: str, through_means: bool) -> Run:
    """Run a clip that is long along one axis and small along the others; longer, while fields are cut."""
    length = FIRST_TRY[axis]
    found: Run | None = None
    while length <= LAST_TRY[axis]:
        longer = _follow(model, axis, length, through_means)
        if longer is None:  # the network is tied to a size
            break
        found = longer if found is None else _compare(found, longer)
        if not any(step.extent.cut for step in found.steps):
            return found
        length *= 2
    if found is None:
        length = model.spec.num_frames if axis == "frames" else model.spec.crop
        found = _follow(model, axis, length, through_means)
    if found is None:
        raise CannotFollowError(f"{type(model).__name__} takes no clip that could be followed")
    return found


def _compare(shorter: Run, longer: Run) -> Run:
    """Mark what grows with the clip: attention within a half of it, say."""
    if len(shorter.steps) != len(longer.steps):  # a network that goes through frames one by one
        return longer
    steps = []
    for before, after in zip(shorter.steps, longer.steps, strict=True):
        small, large = before.extent.size, after.extent.size
        if after.extent.cut and small and large and large == 2 * small and large < longer.length:
            share = Extent(large, None, share=large / longer.length)
            after = dataclasses.replace(after, extent=share)
        steps.append(after)
    return dataclasses.replace(longer, steps=steps)


def _follow(model: VideoModel, axis: str, length: int, through_means: bool) -> Run | None:
    """What happens to one clip; None where the network takes none of this length."""
    spec = model.spec
    sides = sorted({32, 64, 112, spec.crop})
    if axis == "frames":
        shapes = [(length, side, side) for side in sides]
    else:
        frames = sorted({max(model.min_frames, 2), spec.num_frames})
        shapes = [(count, length, side) for count in frames for side in (*sides, length)]
    for entry in ("forward", "forward_features"):
        for shape in shapes:
            shadow = copy.deepcopy(model).to("meta").eval()
            follower = Follower(
                shadow, (1, spec.channels, *shape), 2 if axis == "frames" else 3, through_means
            )
            own = dict(shadow.named_buffers())
            for name, buffer in model.named_buffers():
                follower.values[id(own[name])] = buffer.detach().cpu()
            try:
                with torch.no_grad(), follower:
                    getattr(shadow, entry)(follower.clip)
            except (ValueError, RuntimeError):
                continue
            follower.finish()
            return Run(length, follower.steps, frozenset(follower.entered))
    return None


@dataclass(frozen=True)
class _Row:
    """What one layer sees along one axis; whether that is news; whether the layer is worth a row if not."""

    extent: Extent
    changed: bool
    is_layer: bool


def _is_layer(model: nn.Module, unit: str, others: Iterable[str]) -> bool:
    """Not so: a norm, an activation, dropout; what runs outside of modules; what has rows within."""
    if not unit or any(other.startswith(unit + ".") for other in others):
        return False
    module = model.get_submodule(unit)
    return any(True for _ in module.children()) or getattr(module, "weight", torch.empty(0)).ndim > 1


def _rows(model: nn.Module, run: Run, level: int) -> dict[str, _Row]:
    """The steps as rows: a module down to `level` when it is last left; what runs outside by its name."""
    before = Extent(1, 1.0)
    rows: dict[str, _Row] = {}
    units = [".".join(_unit_path(model, step.module, run.entered)[:level]) for step in run.steps]
    for unit, following, step in zip(units, [*units[1:], ""], run.steps, strict=True):
        if unit and unit == following:
            continue
        changed, before = step.extent != before, step.extent
        if step.extent.size == 0:  # only of a mean that is left out
            continue
        name = unit or step.operation.replace("_with_indices", "")
        was_changed = name in rows and rows.pop(name).changed
        rows[name] = _Row(step.extent, changed or was_changed, _is_layer(model, unit, units))
    return rows


# --- the picture ---------------------------------------------------------------------------------------


def draw_receptive_field(
    fields: Sequence[LayerField], model: VideoModel, *, width: int = 1100
) -> npt.NDArray[np.uint8]:
    """The layers from top to bottom, a bar for the frames and one for the pixels: (H, W, 3) uint8."""
    spec = model.spec
    subtitle = (
        f"How far one position of each layer sees, in frames (left) and pixels (right). Dashed: the clip, "
        f"{spec.num_frames} frames of {spec.crop} x {spec.crop} pixels."
    )
    note = (
        "Computed from the operations of the network, whatever its weights; borders are left out of account."
    )
    top = heading_height(width, subtitle) + 28
    row = 24
    names = 250
    canvas = Canvas(width, top + len(fields) * row + 12 + note_height(width, note))
    draw_heading(canvas, f"Receptive field of {model.name or type(model).__name__}", subtitle, note)
    column = (width - 2 * MARGIN - names) / 2
    bottom = top + len(fields) * row
    for place, (axis, clip, colour) in enumerate(
        (("frames", spec.num_frames, PALETTE[0]), ("pixels", spec.crop, PALETTE[1]))
    ):
        left, room = MARGIN + names + place * column, column - 84
        extents: list[Extent] = [getattr(field, axis) for field in fields]
        sizes = [extent.size for extent in extents if extent.size is not None and extent.share is None]
        largest = max([*sizes, clip]) * 1.12
        canvas.text(left, top - 8, axis, 14, GREY, anchor="ld")
        x = left + clip / largest * room
        for y0 in range(top - 6, bottom, 9):  # under the bars and numbers
            canvas.line([(x, y0), (x, min(y0 + 4, bottom))], INK, 1.5)
        for number, extent in enumerate(extents):
            y = top + number * row
            share = 1.0 if extent.size is None else extent.share or min(1.0, extent.size / largest)
            pale = extent.size is None or extent.share is not None
            bar = mix(colour, PAPER, 0.78) if pale else colour
            end = left + max(2.0, share * room)
            canvas.box(left, y + 3, end, y + row - 4, bar, 2)
            canvas.box(end + 4, y + 3, end + 12 + text_width(str(extent), 14), y + row - 4, PAPER)
            canvas.text(end + 8, y + row / 2, str(extent), 14, INK, anchor="lm")
    for number, field in enumerate(fields):
        text = fit_text(field.layer, 14, names - 16)
        canvas.text(MARGIN, top + number * row + row / 2, text, 14, INK, anchor="lm")
    return canvas.pixels()
