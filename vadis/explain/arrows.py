"""Non-local arrows: where one position of a clip looks, over the frames (Wang et al., figures 1 and 3).

A non-local block (`vadis/models/nonlocal_block.py`) takes for each position a weighted mean over all others.
The arrows go from one position to those with the highest weights. A network without such blocks has no
such weights; of its features the same can be asked in the block's plainest form, the gaussian of vectors
of unit length, which nobody trained: `similarity_arrows`.

Source: arXiv:1711.07971; the paper draws the 20 highest weights of the last block of res3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from vadis.explain.clip import Clip
from vadis.explain.sheet import (
    MARGIN,
    draw_arrow,
    draw_heading,
    draw_ring,
    heading_height,
    note_height,
)
from vadis.models.contract import VideoModel
from vadis.models.nonlocal_block import NonLocal
from vadis.video.canvas import GREY, INK, PALETTE, Canvas, clock

Place = tuple[int, int, int]
SHARPNESS = 20.0
"""Similarity is the cosine times this before the softmax: a fall of 0.05 costs a factor of e."""

QUERY, TARGET = PALETTE[1], (255, 222, 89)


class Arrow(NamedTuple):
    """One arrow: to which (frame, row, column) of the block's map of answers, and its weight."""

    frame: int
    row: int
    column: int
    weight: float


@dataclass(frozen=True)
class Arrows:
    """Where one position looks.

    block: its name. query: (frame, row, column) in a map of `query_grid` positions; the arrows lead to
    positions of `key_grid`, coarser where the block takes maxima first. arrows: the highest weights, highest
    first, among `frames_shown` (of key_grid). share: their part of all the weight, None where weights do not
    sum to 1.
    """

    block: str
    query: Place
    query_grid: Place
    key_grid: Place
    arrows: tuple[Arrow, ...]
    frames_shown: tuple[int, ...]
    share: float | None


def nonlocal_arrows(
    model: VideoModel,
    clip_CTHW: Tensor,
    query_share: tuple[float, float, float] | None = None,
    *,
    block: str | None = None,
    count: int = 20,
    num_shown: int = 5,
) -> Arrows:
    """The `count` highest weights of one position of a non-local block.

    clip_CTHW: float, normalised by `model.spec`. query_share: (time, height, width), each a share of the
    clip in [0, 1); None takes the position that gives most weight to few places in other frames. block: None
    is the last one of res3, the paper's choice, or the last there is. num_shown: how many frames the picture
    has room for; only these are looked at. Raises ValueError for networks and blocks that do not exist.
    """
    if not hasattr(model, "attention_maps") or not has_blocks(model):
        raise ValueError(
            f"{model.name or type(model).__name__} has no non-local blocks (names with _nl have them); "
            "similarity_arrows draws the same for any network's features"
        )
    with torch.no_grad():
        maps: Any = model.attention_maps(clip_CTHW[None])  # type: ignore[operator]
    names = list(maps)
    if block is None:
        block = ([name for name in names if name.startswith("res3")] or names)[-1]
    if block not in maps:
        raise ValueError(f"there is no non-local block {block!r}; there are {', '.join(names)}")
    found = maps[block]
    weights_QK = found.weights_BQK[0].float()
    query_grid, key_grid = tuple(found.query_grid), tuple(found.key_grid)
    if query_share is None:
        number = _strongest(weights_QK, query_grid, key_grid, count)
        query = _unravel(number, query_grid)
    else:
        query = _at(query_share, query_grid)
        number = _ravel(query, query_grid)
    weights_K = weights_QK[number]
    sums_to_one = bool(((weights_QK.sum(1) - 1).abs() < 1e-3).all() and (weights_QK >= 0).all())
    return _pick(block, query, query_grid, key_grid, weights_K, count, num_shown, sums_to_one)


def similarity_arrows(
    model: VideoModel,
    clip_CTHW: Tensor,
    query_share: tuple[float, float, float] | None = None,
    *,
    layer: str | None = None,
    count: int = 20,
    num_shown: int = 5,
) -> Arrows:
    """The same for any network: softmax over positions in other frames of how alike their features are.

    Alike is the cosine between features without their mean over the clip. clip_CTHW, query_share, count,
    num_shown: as for `nonlocal_arrows`; without a query the position that differs most from the mean asks
    (not one near a border, where there is padding). layer: an endpoint of networks that have them (I3D:
    "mixed4f"), None is the last map. Not trained for this: it shows what the features already tell apart.
    """
    with torch.no_grad():
        if layer is None:
            feature_DTHW = model.forward_features(clip_CTHW[None])[0]
        elif hasattr(model, "endpoints"):
            try:
                feature_DTHW = model.endpoints(clip_CTHW[None], (layer,))[layer][0]  # type: ignore[operator]
            except KeyError as error:
                raise ValueError(error.args[0]) from None
        else:
            raise ValueError(f"{type(model).__name__} gives its last map only; leave the layer out")
    grid = (feature_DTHW.shape[1], feature_DTHW.shape[2], feature_DTHW.shape[3])
    rows_QD = feature_DTHW.flatten(1).T
    rows_QD = rows_QD - rows_QD.mean(0)
    if query_share is None:
        length_THW = rows_QD.norm(dim=1).unflatten(0, grid)
        inner = tuple(slice(size // 6, size - size // 6) for size in grid)
        masked_THW = torch.full_like(length_THW, -1.0)
        masked_THW[inner] = length_THW[inner]
        query = _unravel(int(masked_THW.argmax()), grid)
    else:
        query = _at(query_share, grid)
    rows_QD = F.normalize(rows_QD, dim=1)
    scores_THW = (SHARPNESS * rows_QD @ rows_QD[_ravel(query, grid)]).unflatten(0, grid)
    if grid[0] > 1:
        scores_THW[query[0]] = -torch.inf
    weights_K = scores_THW.flatten().softmax(0)
    return _pick(layer or "last map", query, grid, grid, weights_K, count, num_shown, sums_to_one=True)


def has_blocks(model: VideoModel) -> bool:
    """Whether a network has non-local blocks."""
    return any(isinstance(module, NonLocal) for module in model.modules())


def _at(share: tuple[float, float, float], grid: Place) -> Place:
    if not all(0 <= each < 1 for each in share):
        raise ValueError(f"the query lies outside of the clip: {share} of its frames, height and width")
    place = [int(each * size) for each, size in zip(share, grid, strict=True)]
    return place[0], place[1], place[2]


def _unravel(number: int, grid: Place) -> Place:
    frame, rest = divmod(number, grid[1] * grid[2])
    return frame, *divmod(rest, grid[2])


def _ravel(place: Place, grid: Place) -> int:
    return (place[0] * grid[1] + place[1]) * grid[2] + place[2]


def _strongest(weights_QK: Tensor, query_grid: Place, key_grid: Place, count: int) -> int:
    """The query whose highest weights in other frames are highest."""
    weights = weights_QK.unflatten(1, key_grid).unflatten(0, query_grid).clone()
    for frame in range(query_grid[0]):
        weights[frame, :, :, frame * key_grid[0] // query_grid[0]] = 0
    flat = weights.flatten(3).flatten(0, 2)
    return int(flat.topk(min(count, flat.shape[1]), dim=1).values.sum(1).argmax())


def _pick(
    block: str,
    query: Place,
    query_grid: Place,
    key_grid: Place,
    weights_K: Tensor,
    count: int,
    num_shown: int,
    sums_to_one: bool,
) -> Arrows:
    """The highest weights among the frames that are shown, of which the query's is one."""
    own = query[0] * key_grid[0] // query_grid[0]
    shown = _frames_shown(key_grid[0], own, num_shown)
    weights_THW = weights_K.unflatten(0, key_grid)[list(shown)]
    best = weights_THW.flatten().topk(min(count, weights_THW.numel()))
    arrows = []
    for weight, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        place, row, column = _unravel(number, (len(shown), key_grid[1], key_grid[2]))
        arrows.append(Arrow(shown[place], row, column, weight))
    share = float(best.values.sum() / weights_K.sum()) if sums_to_one else None
    return Arrows(block, query, query_grid, key_grid, tuple(arrows), shown, share)


def _frames_shown(total: int, own: int, num_shown: int) -> tuple[int, ...]:
    """`num_shown` frames of `total`, evenly apart, the query's `own` among them."""
    if total <= num_shown:
        return tuple(range(total))
    step = total // num_shown
    first = own % step
    frames = list(range(first, total, step))
    while len(frames) > num_shown:
        frames.remove(frames[0] if own - frames[0] > frames[-1] - own else frames[-1])
    return tuple(frames)


# --- pictures ------------------------------------------------------------------------------------------


def draw_arrows(
    arrows: Arrows, clip: Clip, model_name: str, note: str = "", *, width: int = 1280
) -> npt.NDArray[np.uint8]:
    """The frames side by side, the query as a ring, an arrow to each place: (H, W, 3) uint8."""
    frames_THWC = clip.frames_THWC
    count, high, wide = frames_THWC.shape[:3]
    shown = arrows.frames_shown
    subtitle, words = _words(arrows, model_name)
    note = f"{words} {note}".strip()
    top = heading_height(width, subtitle)
    cell = (width - 2 * MARGIN + 8) / len(shown)
    side, tall = cell - 8, (cell - 8) * high / wide
    canvas = Canvas(width, round(top + tall + 34 + note_height(width, note)))
    draw_heading(canvas, "Where one position looks", subtitle, note)
    for place, frame in enumerate(shown):
        index = min(count - 1, int((frame + 0.5) * count / arrows.key_grid[0]))
        left = MARGIN + place * cell
        canvas.picture(left, top, side, tall, frames_THWC[index])
        own = frame == _own(arrows)
        text = clock(clip.times_T[index], 2) + ("  asks" if own else "")
        canvas.text(left, top + tall + 7, text, 14, INK if own else GREY, bold=own)
    start = (
        MARGIN + shown.index(_own(arrows)) * cell + (arrows.query[2] + 0.5) / arrows.query_grid[2] * side,
        top + (arrows.query[1] + 0.5) / arrows.query_grid[1] * tall,
    )
    strongest = max((abs(arrow.weight) for arrow in arrows.arrows), default=1.0) or 1.0
    for arrow in reversed(arrows.arrows):  # the strongest on top
        end = (
            MARGIN + shown.index(arrow.frame) * cell + (arrow.column + 0.5) / arrows.key_grid[2] * side,
            top + (arrow.row + 0.5) / arrows.key_grid[1] * tall,
        )
        draw_arrow(canvas, start, end, TARGET, 0.8 + 2.2 * abs(arrow.weight) / strongest)
    draw_ring(canvas, start, 9, QUERY, 4)
    return canvas.pixels()


def play_arrows(
    arrows: Arrows, clip: Clip, model_name: str, *, side: int = 420
) -> Iterator[npt.NDArray[np.uint8]]:
    """The frame that asks on the left, the clip running on the right, arrows to the frame at hand.

    Pictures (H, W, 3) for a video.
    """
    frames_THWC = clip.frames_THWC
    count, high, wide = frames_THWC.shape[:3]
    width = 2 * side + 8 + 2 * MARGIN
    subtitle, _ = _words(arrows, model_name)
    top, tall = heading_height(width, subtitle), side * high / wide
    asking = min(count - 1, int((_own(arrows) + 0.5) * count / arrows.key_grid[0]))
    start = (
        MARGIN + (arrows.query[2] + 0.5) / arrows.query_grid[2] * side,
        top + (arrows.query[1] + 0.5) / arrows.query_grid[1] * tall,
    )
    strongest = max((abs(arrow.weight) for arrow in arrows.arrows), default=1.0) or 1.0
    for index in range(count):
        canvas = Canvas(width, round(top + tall + 44) // 2 * 2)
        draw_heading(canvas, "Where one position looks", subtitle)
        canvas.picture(MARGIN, top, side, tall, frames_THWC[asking])
        canvas.picture(MARGIN + side + 8, top, side, tall, frames_THWC[index])
        canvas.text(MARGIN, top + tall + 8, f"{clock(clip.times_T[asking], 2)}  asks", 15, INK, bold=True)
        canvas.text(MARGIN + side + 8, top + tall + 8, clock(clip.times_T[index], 2), 15, GREY)
        nearest = min(
            arrows.frames_shown, key=lambda f: abs((f + 0.5) * count / arrows.key_grid[0] - index - 0.5)
        )
        for arrow in arrows.arrows:
            if arrow.frame == nearest:
                end = (
                    MARGIN + side + 8 + (arrow.column + 0.5) / arrows.key_grid[2] * side,
                    top + (arrow.row + 0.5) / arrows.key_grid[1] * tall,
                )
                draw_arrow(canvas, start, end, TARGET, 0.8 + 2.2 * abs(arrow.weight) / strongest)
        draw_ring(canvas, start, 9, QUERY, 4)
        yield canvas.pixels()


def _own(arrows: Arrows) -> int:
    """The query's frame in the map of answers."""
    return arrows.query[0] * arrows.key_grid[0] // arrows.query_grid[0]


def _words(arrows: Arrows, model_name: str) -> tuple[str, str]:
    frames, rows, columns = arrows.query_grid
    subtitle = (
        f"{model_name}, {arrows.block}: position {arrows.query} of {frames} x {rows} x {columns}; the "
        f"{len(arrows.arrows)} highest weights in the frames shown."
    )
    note = "The ring asks; the thicker an arrow, the higher its weight."
    if arrows.share is not None:
        note += f" Together these have {arrows.share:.1%} of all weight."
    return subtitle, note


def query_shares(query: Sequence[int] | None, size_THW: Sequence[int]) -> tuple[float, float, float] | None:
    """A query (frame, y, x) in frames and pixels of the clip as shares of it; ValueError outside of it."""
    if query is None:
        return None
    if len(query) != 3 or not all(0 <= each < size for each, size in zip(query, size_THW, strict=True)):
        frames, high, wide = size_THW
        raise ValueError(
            f"the query is t,y,x: a frame from 0 to {frames - 1} and pixels from 0 to {high - 1} and "
            f"{wide - 1}, got {','.join(map(str, query))}"
        )
    share = [(each + 0.5) / size for each, size in zip(query, size_THW, strict=True)]
    return share[0], share[1], share[2]
