"""Class activation over time: which parts of a clip, and which moments, speak for a class.

The score of a class comes from the network's last map. How much each position of that map adds to it is
its features times the gradient of the score with respect to them. Where a linear head sits on the mean of
the map, that is the class activation map (Zhou et al., arXiv:1512.04150), and all positions together give
the logit without its bias. For other heads it is the first-order answer (HiResCAM, Draelos and Carin,
arXiv:2011.08891). Grad-CAM (Selvaraju et al., arXiv:1610.02391) averages the gradient over positions
first; for linear heads on a mean that is the same.

A network need not be prepared for this. The map is found among all tensors of one forward pass: it is the
one that equals what `forward_features` gives. Where the score does not depend on that map (a transformer
reads its class token only), the last map of the same size that it does depend on is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vadis.explain.clip import Clip
from vadis.explain.sheet import (
    MARGIN,
    draw_heading,
    draw_play_head,
    heading_height,
    lay_heat,
    note_height,
    stretch_over_time,
)
from vadis.models.contract import VideoModel
from vadis.models.slowfast import SlowFast
from vadis.records import VadisError
from vadis.video.canvas import GREY, INK, PALETTE, PAPER, RULE, Canvas, clock, figure, mix

CLOSE = 1e-5  # relative: two passes may differ in the last digits


class NoMapError(VadisError):
    """The network's score could not be traced back to a map of positions."""


@dataclass(frozen=True)
class Activation:
    """What speaks for a class, position by position of the network's last map.

    label, class_name, score: the class, and its softmax over all classes, 0 to 1. logit: before softmax.
    map_THW: what each position adds to the logit; negative speaks against. source: "features", or "tokens"
    where the last map on the way to the score was looked for.
    """

    label: int
    class_name: str
    score: float
    logit: float
    map_THW: npt.NDArray[np.float64]
    source: str

    @property
    def curve_T(self) -> npt.NDArray[np.float64]:  # noqa: N802 - the shape suffix
        """What each moment adds to the logit: the sum of the map over space, curve_T."""
        return self.map_THW.sum(axis=(1, 2))


class _Watch(TorchFunctionMode):
    """Keeps the tensors of a forward pass that may be the maps that are looked for; changes nothing."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.maps = maps
        self.grid_HWD = (*maps[0].shape[3:], maps[0].shape[1])
        self.found: dict[int, Tensor] = {}
        self.tokens: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad:
            for number, wanted in enumerate(self.maps):
                if number not in self.found and result.shape == wanted.shape:
                    close = CLOSE * float(wanted.abs().max())
                    if float((result.detach() - wanted).abs().max()) <= close:
                        self.found[number] = result
            is_grid = result.ndim >= 4 and result.shape[-3:] == self.grid_HWD
            if is_grid and result.numel() == self.maps[0].numel():
                self.tokens.append(result)
        return result


def class_activation(model: VideoModel, clip_CTHW: Tensor, label: int | None = None) -> Activation:
    """Which positions of a clip speak for a class, and how much.

    clip_CTHW: float, normalised by `model.spec`. label: None is the class with the highest score. Raises
    ValueError for a label that is not there, NoMapError where the score does not come from a map.
    """
    device = next(model.parameters()).device
    clip_BCTHW = clip_CTHW[None].to(device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            maps = _last_maps(model, clip_BCTHW)
        with torch.enable_grad(), _Watch(maps) as watch:
            logits_K = model(clip_BCTHW.clone().requires_grad_())[0]
    finally:
        model.train(was_training)
    if label is None:
        label = int(logits_K.argmax())
    if not 0 <= label < len(logits_K):
        raise ValueError(f"there is no class {label} among {len(logits_K)}")
    map_THW, source = _trace(logits_K[label], watch)
    names = model.class_names
    return Activation(
        label=label,
        class_name=names[label] if names else f"class {label}",
        score=float(logits_K.detach().softmax(0)[label]),
        logit=float(logits_K[label].detach()),
        map_THW=map_THW.double().cpu().numpy(),
        source=source,
    )


def _last_maps(model: VideoModel, clip_BCTHW: Tensor) -> tuple[Tensor, ...]:
    """What `forward_features` gives; of two pathways, whose maps it brings to one time first, both."""
    if isinstance(model, SlowFast):
        return model.pathway_features(clip_BCTHW)
    return (model.forward_features(clip_BCTHW),)


def _trace(logit: Tensor, watch: _Watch) -> tuple[Tensor, str]:
    """Features times gradient, summed over features, of the last maps that the logit depends on."""
    maps, tokens = list(watch.found.values()), watch.tokens
    gradients = torch.autograd.grad(logit, [*maps, *tokens], allow_unused=True) if maps or tokens else ()
    parts = [
        (tensor.detach() * gradient)[0].sum(0)
        for tensor, gradient in zip(maps, gradients[: len(maps)], strict=True)
        if gradient is not None and bool(gradient.any())
    ]
    if parts:
        return _add_up(parts), "features"
    _, depth, frames, high, wide = watch.maps[0].shape
    for tensor, gradient in zip(reversed(tokens), reversed(gradients[len(maps) :]), strict=True):
        if gradient is not None and bool(gradient.any()):
            added = tensor.detach() * gradient
            return added.reshape(frames, high, wide, depth).sum(3), "tokens"
    raise NoMapError("the score of this network does not come from a map of positions that could be found")


def _add_up(parts: Sequence[Tensor]) -> Tensor:
    """Maps of several pathways in the time of the finest; a coarse moment is shared out among its frames."""
    frames = max(len(part) for part in parts)
    total = torch.zeros_like(max(parts, key=len))
    for part in parts:
        place = torch.arange(frames, device=part.device) * len(part) // frames
        share = 1 / torch.bincount(place, minlength=len(part))
        total += (part * share[:, None, None])[place]
    return total


def find_class(model: VideoModel, text: str) -> int:
    """The label of a class that is given by its name (in any case) or its number; ValueError names others."""
    import difflib

    names = [name.casefold() for name in model.class_names or ()]
    if text.casefold() in names:
        return names.index(text.casefold())
    if text.isdigit() and int(text) < model.num_classes:
        return int(text)
    close = difflib.get_close_matches(text.casefold(), names, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    if not names:
        hint = f": this network's classes have no names; give a number below {model.num_classes}"
    raise ValueError(f"there is no class {text!r}{hint}")


# --- pictures ------------------------------------------------------------------------------------------


def heat_over_time(activation: Activation, size_THW: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """What speaks for the class, as shares (T, H, W) of the strongest, at the size of the frames."""
    heat = stretch_over_time(activation.map_THW, size_THW).clip(min=0)
    return heat / max(float(heat.max()), 1e-30)


def draw_activation(
    activation: Activation, clip: Clip, model_name: str, *, num_shown: int = 6, width: int = 1200
) -> npt.NDArray[np.uint8]:
    """A strip of frames under their heat, and below it the curve over time: (H, W, 3) uint8."""
    frames_THWC = clip.frames_THWC
    count, high, wide = frames_THWC.shape[:3]
    heat_THW = heat_over_time(activation, (count, high, wide))
    shown = np.unique(np.linspace(0, count - 1, min(num_shown, count) * 2 + 1).round().astype(int)[1::2])
    subtitle, note = _words(activation, model_name)
    top = heading_height(width, subtitle)
    cell = (width - 2 * MARGIN + 8) / len(shown)
    tall = (cell - 8) * high / wide
    chart = 190
    canvas = Canvas(width, round(top + 2 * tall + 8 + 30 + chart) + 40 + note_height(width, note))
    draw_heading(canvas, f"What speaks for {activation.class_name}", subtitle, note)
    for place, index in enumerate(shown):
        left = MARGIN + place * cell
        canvas.picture(left, top, cell - 8, tall, frames_THWC[index])
        canvas.picture(left, top + tall + 6, cell - 8, tall, lay_heat(frames_THWC[index], heat_THW[index]))
        canvas.text(left, top + 2 * tall + 12, clock(clip.times_T[index], 2), 14, GREY)
    curve = (MARGIN, top + 2 * tall + 52, width - MARGIN, top + 2 * tall + 52 + chart - 30)
    _draw_curve(canvas, activation, clip, curve, shown)
    return canvas.pixels()


def play_activation(
    activation: Activation, clip: Clip, model_name: str, *, side: int = 420
) -> Iterator[npt.NDArray[np.uint8]]:
    """Frame and heat side by side, the curve with a moving head below: pictures (H, W, 3) for a video."""
    frames_THWC = clip.frames_THWC
    count, high, wide = frames_THWC.shape[:3]
    heat_THW = heat_over_time(activation, (count, high, wide))
    width = 2 * side + 8 + 2 * MARGIN
    subtitle, _ = _words(activation, model_name)
    top = heading_height(width, subtitle)
    tall = side * high / wide
    for index, frame_HWC in enumerate(frames_THWC):
        canvas = Canvas(width, round(top + tall + 210) // 2 * 2)
        draw_heading(canvas, f"What speaks for {activation.class_name}", subtitle)
        canvas.picture(MARGIN, top, side, tall, frame_HWC)
        canvas.picture(MARGIN + side + 8, top, side, tall, lay_heat(frame_HWC, heat_THW[index]))
        curve = (MARGIN, top + tall + 34, width - MARGIN, top + tall + 170)
        _draw_curve(canvas, activation, clip, curve, [index])
        yield canvas.pixels()


def _words(activation: Activation, model_name: str) -> tuple[str, str]:
    frames, high, wide = activation.map_THW.shape
    subtitle = (
        f"{model_name}: score {figure(activation.score)} (softmax), logit {activation.logit:.1f}, from a map "
        f"of {frames} x {high} x {wide} positions."
    )
    note = (
        "Brighter is more; the white line is at half of the strongest position. The curve is what each "
        "moment of the map adds to the logit (features times gradient): below zero it speaks against it."
    )
    return subtitle, note


def _draw_curve(
    canvas: Canvas,
    activation: Activation,
    clip: Clip,
    place: tuple[float, float, float, float],
    marked: Any,
) -> None:
    """What each moment adds, as steps as wide as the map's positions; the marked frames as play heads."""
    left, top, right, bottom = place
    curve = activation.curve_T
    low, high = min(0.0, float(curve.min())), max(0.0, float(curve.max()))
    high = high if high > low else low + 1.0
    left += 54

    def rise(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    for value in {low, 0.0, high}:
        canvas.line(
            [(left, rise(value)), (right, rise(value))], mix(RULE, GREY, 0.35) if value == 0 else RULE
        )
        if value == 0 or abs(value) > 0.15 * (high - low):  # numbers must not touch
            canvas.text(left - 8, rise(value), f"{value:+.2f}" if value else "0", 12, GREY, anchor="rm")
    step = (right - left) / len(curve)
    points = []
    for number, value in enumerate(curve):
        x = left + number * step
        colour = PALETTE[0] if value >= 0 else PALETTE[1]
        canvas.box(
            x, min(rise(value), rise(0)), x + step, max(rise(value), rise(0)), mix(colour, PAPER, 0.72)
        )
        points += [(x, rise(value)), (x + step, rise(value))]
    canvas.line(points, INK, 2)
    count = len(clip.times_T)
    for index in marked:
        draw_play_head(canvas, left + (index + 0.5) / count * (right - left), top - 4, bottom)
    for share in (0.0, 0.5, 1.0):
        at = min(count - 1, round(share * (count - 1)))
        x = left + (at + 0.5) / count * (right - left)
        canvas.text(x, bottom + 6, clock(clip.times_T[at], 2), 13, GREY, anchor="ma")
