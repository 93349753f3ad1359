"""Frames to a model's input: resizing, crops, flips and normalisation on tensors.

Every function takes all frames of a clip at once and does the same to each of them. Frames are
`frames_TCHW`: uint8 in 0..255 (RGB), or float32 flow in pixels with u and v interleaved along C; dtype
and layout stay as they are until `normalise` or `prepare_clip`, which give float32. A random transform
takes a `torch.Generator` and nothing else random, so that one seed gives one result.

Legend: T frames, C channels, H W pixels. Boxes of crops are (left, top) offsets and sizes in pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vadis.specs import ClipSpec

Offsets = list[tuple[int, int]]
FLOW = frozenset({"flow", "warped_flow"})
"""Modalities whose channels are u and v in turn."""


def _check_frames(frames_TCHW: Tensor) -> tuple[int, int]:
    if frames_TCHW.ndim != 4:
        raise ValueError(f"frames must be (T, C, H, W), got shape {tuple(frames_TCHW.shape)}")
    return frames_TCHW.shape[-2], frames_TCHW.shape[-1]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


# Sizes -------------------------------------------------------------------------------------------------


def short_side_size(height: int, width: int, size: int, longest: int | None = None) -> tuple[int, int]:
    """(height, width) after the short side is made `size` pixels, the other side rounded to nearest.

    With `longest` the long side is not to exceed that many pixels; the short side is then below `size`
    (detectors: 600 and 1024).
    """
    if min(height, width, size) < 1:
        raise ValueError(f"height ({height}), width ({width}) and size ({size}) must be at least 1 pixel")
    short, long = min(height, width), max(height, width)
    new_short, new_long = size, max(1, math.floor(long * size / short + 0.5))
    if longest is not None and new_long > longest:
        if longest < 1:
            raise ValueError(f"longest ({longest}) must be at least 1 pixel")
        new_short, new_long = max(1, math.floor(short * longest / long + 0.5)), longest
    return (new_short, new_long) if height <= width else (new_long, new_short)


def resize(frames_TCHW: Tensor, height: int, width: int) -> Tensor:
    """Resize to height x width pixels, bilinear with antialiasing; the same tensor if nothing changes."""
    if _check_frames(frames_TCHW) == (height, width):
        return frames_TCHW
    return F.resize(frames_TCHW, [height, width], interpolation=InterpolationMode.BILINEAR, antialias=True)


def resize_short_side(frames_TCHW: Tensor, size: int, longest: int | None = None) -> Tensor:
    """Resize so that the short side has `size` pixels and the long side at most `longest`."""
    return resize(frames_TCHW, *short_side_size(*_check_frames(frames_TCHW), size, longest))


def random_short_side(
    frames_TCHW: Tensor, smallest: int, largest: int, *, generator: torch.Generator, inverse: bool = False
) -> Tensor:
    """Scale jitter: the short side drawn from [smallest, largest] pixels (VGG; SlowFast: 256 to 320).

    With `inverse` the reciprocal of the size is what is uniform (SlowFast's option).
    """
    size = draw_short_side(smallest, largest, generator=generator, inverse=inverse)
    return resize_short_side(frames_TCHW, size)


def draw_short_side(smallest: int, largest: int, *, generator: torch.Generator, inverse: bool = False) -> int:
    """The short side in pixels that `random_short_side` takes."""
    if not 1 <= smallest <= largest:
        raise ValueError(f"need 1 <= smallest <= largest, got {smallest} and {largest}")
    if inverse:
        return round(1.0 / _uniform(1.0 / largest, 1.0 / smallest, generator))
    return round(_uniform(smallest, largest, generator))


def cap_aspect(frames_TCHW: Tensor, ratio: float = 1.6) -> Tensor:
    """Cut the long side, about its middle, to at most `ratio` times the short one (non-local, testing)."""
    if ratio < 1:
        raise ValueError(f"ratio ({ratio}) must be at least 1")
    height, width = _check_frames(frames_TCHW)
    longest = int(min(height, width) * ratio)
    new_height, new_width = min(height, longest), min(width, longest)
    return crop(frames_TCHW, (width - new_width) // 2, (height - new_height) // 2, new_height, new_width)


# Crops -------------------------------------------------------------------------------------------------


class Rectangle(NamedTuple):
    """A part of a picture, in pixels: what `crop` takes."""

    left: int
    top: int
    height: int
    width: int


def crop(frames_TCHW: Tensor, left: int, top: int, height: int, width: int | None = None) -> Tensor:
    """The rectangle of height x width pixels (a square without `width`) at (left, top); a view."""
    width = height if width is None else width
    full_height, full_width = _check_frames(frames_TCHW)
    inside = 0 <= left <= full_width - width and 0 <= top <= full_height - height
    if not inside or min(height, width) < 1:
        raise ValueError(
            f"a crop of {width}x{height} at ({left}, {top}) does not fit in {full_width}x{full_height} pixels"
        )
    return frames_TCHW[..., top : top + height, left : left + width]


def _room(height: int, width: int, size: int) -> tuple[int, int]:
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size ({size}) must be between 1 and the short side ({min(height, width)})")
    return height - size, width - size


def centre_offset(height: int, width: int, size: int) -> tuple[int, int]:
    """(left, top) of the central square; a half pixel goes to the left and upwards.

    So do NumPy's `//` and mmaction2; torchvision's CenterCrop rounds to even, which differs for 16:9 at a
    short side of 256 (455 - 224 = 231): one pixel, 3 % to 8 % in the logits of I3D.
    """
    down, across = _room(height, width, size)
    return across // 2, down // 2


def three_crop_offsets(
    height: int, width: int, size: int, rule: Literal["slowfast", "mmaction2", "nonlocal"] = "slowfast"
) -> Offsets:
    """Three squares along the longer side, as (left, top), in the order in which each project takes them.

    "slowfast": 0, ceil(room / 2), room. "nonlocal": 0, room // 2, 2 (room // 2), which may miss the last
    column. "mmaction2": the same places in the order left, right, middle.
    """
    down, across = _room(height, width, size)
    room = max(down, across)
    half = room // 2
    places = {
        "slowfast": [0, math.ceil(room / 2), room],
        "mmaction2": [0, 2 * half, half],
        "nonlocal": [0, half, 2 * half],
    }
    if rule not in places:
        raise ValueError(f"rule ({rule!r}) must be one of {sorted(places)}")
    other = math.ceil(min(down, across) / 2) if rule == "slowfast" else min(down, across) // 2
    return [(other, place) if height > width else (place, other) for place in places[rule]]


def corner_offsets(height: int, width: int, crop_height: int, crop_width: int) -> Offsets:
    """TSN's 13 fixed places as (left, top): 4 corners and centre first, then 4 edges and 4 quarters.

    Places are multiples of a quarter of the room, rounded down (arXiv:1507.02159, sec. 3), so the right
    and lower corners may miss up to 3 pixels.
    """
    if not (1 <= crop_height <= height and 1 <= crop_width <= width):
        raise ValueError(f"a crop of {crop_width}x{crop_height} does not fit in {width}x{height} pixels")
    x, y = (width - crop_width) // 4, (height - crop_height) // 4
    quarters = [
        (0, 0), (4, 0), (0, 4), (4, 4), (2, 2),
        (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3),
    ]  # fmt: skip
    return [(across * x, down * y) for across, down in quarters]


def ten_crop_offsets(height: int, width: int, size: int) -> Offsets:
    """The five squares of the ten-crop test, as (left, top): 4 corners and centre; each is also flipped."""
    _room(height, width, size)
    return corner_offsets(height, width, size, size)[:5]


def centre_crop(frames_TCHW: Tensor, size: int) -> Tensor:
    """The central square of `size` pixels; a view."""
    return crop(frames_TCHW, *centre_offset(*_check_frames(frames_TCHW), size), size)


def three_crop(
    frames_TCHW: Tensor, size: int, rule: Literal["slowfast", "mmaction2", "nonlocal"] = "slowfast"
) -> list[Tensor]:
    """Three squares along the longer side (`three_crop_offsets`); views."""
    offsets = three_crop_offsets(*_check_frames(frames_TCHW), size, rule)
    return [crop(frames_TCHW, left, top, size) for left, top in offsets]


def ten_crop(frames_TCHW: Tensor, size: int, modality: str = "rgb") -> list[Tensor]:
    """4 corners and the centre, each followed by its mirror image (two-stream and TSN testing)."""
    views = []
    for left, top in ten_crop_offsets(*_check_frames(frames_TCHW), size):
        view = crop(frames_TCHW, left, top, size)
        views += [view, flip_horizontally(view, modality)]
    return views


def random_crop(frames_TCHW: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
    """A square of `size` pixels, all places being equally likely; a view."""
    return crop(frames_TCHW, *draw_crop(*_check_frames(frames_TCHW), size, generator=generator))


def draw_crop(height: int, width: int, size: int, *, generator: torch.Generator) -> Rectangle:
    """Where `random_crop` cuts a picture of height x width pixels."""
    down, across = _room(height, width, size)
    top = _integer(down + 1, generator)
    return Rectangle(_integer(across + 1, generator), top, size, size)


def multi_scale_crop(
    frames_TCHW: Tensor,
    size: int,
    *,
    generator: torch.Generator,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    max_distort: int = 1,
    more_places: bool = True,
) -> Tensor:
    """TSN's corner crop with scale jitter, resized to size x size pixels (arXiv:1608.00859, sec. 3.2).

    Height and width are each one of `scales` times the short side, at most `max_distort` steps apart in
    that list; a side within 2 pixels of `size` becomes `size`. The place is one of 13 fixed ones, or one
    of 5 (corners, centre) without `more_places`.
    """
    place = draw_multi_scale_crop(
        *_check_frames(frames_TCHW),
        size,
        generator=generator,
        scales=scales,
        max_distort=max_distort,
        more_places=more_places,
    )
    return resize(crop(frames_TCHW, *place), size, size)


def draw_multi_scale_crop(
    height: int,
    width: int,
    size: int,
    *,
    generator: torch.Generator,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    max_distort: int = 1,
    more_places: bool = True,
) -> Rectangle:
    """Where `multi_scale_crop` cuts a picture of height x width pixels, before it resizes."""
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise ValueError(f"scales ({list(scales)}) must be in (0, 1]")
    short = min(height, width)
    sides = [max(1, int(short * scale)) for scale in scales]
    sides = [size if abs(side - size) < 3 and size <= short else side for side in sides]
    steps = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in steps for j in steps if abs(i - j) <= max_distort]
    crop_height, crop_width = pairs[_integer(len(pairs), generator)]
    places = corner_offsets(height, width, crop_height, crop_width)[: 13 if more_places else 5]
    left, top = places[_integer(len(places), generator)]
    return Rectangle(left, top, crop_height, crop_width)


def random_resized_crop(
    frames_TCHW: Tensor,
    size: int,
    *,
    generator: torch.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Inception's crop: a random share of the area at a random width / height, resized to a square.

    The aspect is drawn log-uniformly; after ten crops that do not fit, the largest central one within
    `aspect` is taken.
    """
    place = draw_resized_crop(*_check_frames(frames_TCHW), generator=generator, area=area, aspect=aspect)
    return resize(crop(frames_TCHW, *place), size, size)


def draw_resized_crop(
    height: int,
    width: int,
    *,
    generator: torch.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Rectangle:
    """Where `random_resized_crop` cuts a picture of height x width pixels, before it resizes."""
    if not (0 < area[0] <= area[1] <= 1 and 0 < aspect[0] <= aspect[1]):
        raise ValueError(f"need 0 < low <= high, and an area of at most 1: got area {area}, aspect {aspect}")
    for _ in range(10):
        target = height * width * _uniform(*area, generator)
        ratio = math.exp(_uniform(math.log(aspect[0]), math.log(aspect[1]), generator))
        new_width, new_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < new_width <= width and 0 < new_height <= height:
            top = _integer(height - new_height + 1, generator)
            left = _integer(width - new_width + 1, generator)
            break
    else:
        ratio = min(max(width / height, aspect[0]), aspect[1])
        new_width = min(width, max(1, round(height * ratio)))
        new_height = min(height, max(1, round(width / ratio)))
        left, top = (width - new_width) // 2, (height - new_height) // 2
    return Rectangle(left, top, new_height, new_width)


# Flips -------------------------------------------------------------------------------------------------


def flip_horizontally(frames_TCHW: Tensor, modality: str = "rgb") -> Tensor:
    """Mirror left and right. In flow the horizontal component u (even channels) changes its sign.

    modality: as `ClipSpec` has it. Sound has no left and right: its pictures come back as they are.

    Flow quantised to uint8 becomes 255 - u as everywhere in the field, which moves its zero from 128 to
    127; flip float flow where that matters.
    """
    _check_frames(frames_TCHW)
    if modality == "audio":
        return frames_TCHW
    flipped = frames_TCHW.flip(-1)
    if modality in ("rgb", "rgb_diff"):
        return flipped
    if modality not in FLOW:
        raise ValueError(f"modality ({modality!r}) must be rgb, rgb_diff, flow, warped_flow or audio")
    if flipped.shape[1] % 2:
        raise ValueError(
            f"flow has u and v interleaved, so an even number of channels, not {flipped.shape[1]}"
        )
    horizontal = flipped[:, 0::2]
    flipped[:, 0::2] = -horizontal if flipped.is_floating_point() else 255 - horizontal
    return flipped


def mirror_labels(class_names: Sequence[str]) -> tuple[int | None, ...]:
    """For each label, the label of the mirrored clip: names with "left" and "right" exchanged.

    A name without these words maps to itself; one whose counterpart is not a class maps to None, and
    such a clip must not be flipped (Something-Something: "pushing something from left to right").
    """
    sides = {"left": "right", "right": "left"}

    def mirrored(name: str) -> str:
        # letters only around it: class names join words by spaces, underscores or hyphens
        return re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda found: sides[found[0]], name.lower())

    labels = {name.lower(): label for label, name in enumerate(class_names)}
    return tuple(labels.get(mirrored(name)) for name in class_names)


def random_flip(
    frames_TCHW: Tensor,
    label: int | None = None,
    *,
    generator: torch.Generator,
    probability: float = 0.5,
    modality: str = "rgb",
    mirror: Sequence[int | None] | None = None,
) -> tuple[Tensor, int | None]:
    """Mirror the clip with the given probability: (frames_TCHW, label).

    `mirror` (from `mirror_labels`) gives the label of the mirrored clip; where it says None the clip
    stays as it is. Without `mirror` the label stays.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability ({probability}) must be in [0, 1]")
    flips = float(torch.rand((), generator=generator, dtype=torch.float64)) < probability
    target = label if mirror is None or label is None else mirror[label]
    if not flips or (label is not None and target is None):
        return frames_TCHW, label
    return flip_horizontally(frames_TCHW, modality), target


# To a model's input ------------------------------------------------------------------------------------


def normalise(frames_TCHW: Tensor, spec: ClipSpec) -> Tensor:
    """float32 frames_TCHW: 0..255 mapped linearly onto `spec.value_range`, then (x - mean) / std.

    frames_TCHW: `spec.reach` frames or flow fields stacked as channels at each position; the channels come
    back in `spec.channel_order`. Of frames for "rgb_diff" the differences come back, each the next frame less
    the one before it, one fewer than there were frames. Pictures of sound are not pixels: only mean and std
    count.
    """
    _check_frames(frames_TCHW)
    device, reach = frames_TCHW.device, spec.reach
    wanted = len(spec.mean) * reach
    if frames_TCHW.shape[1] != wanted:
        raise ValueError(f"frames have {frames_TCHW.shape[1]} channels, the model takes {wanted}")
    low, high = (0.0, 255.0) if spec.modality == "audio" else spec.value_range
    # one multiply and one add; the constants in double precision
    std = torch.tensor(spec.std, dtype=torch.float64)
    scale = ((high - low) / 255.0 / std).repeat(reach)
    shift = ((low - torch.tensor(spec.mean, dtype=torch.float64)) / std).repeat(reach)
    if spec.channel_order == "bgr":
        frames_TCHW = frames_TCHW.unflatten(1, (reach, 3)).flip(2).flatten(1, 2)
    frames = frames_TCHW.to(torch.float32, copy=True)
    frames.mul_(scale.float().to(device)[:, None, None])
    frames.add_(shift.float().to(device)[:, None, None])
    if spec.modality == "rgb_diff":
        return frames[:, len(spec.mean) :] - frames[:, : -len(spec.mean)]
    return frames


def prepare_clip(frames_TCHW: Tensor, spec: ClipSpec) -> Tensor:
    """What a model takes for one clip: clip_CTHW, float32, contiguous.

    frames_TCHW: uint8 (or float in 0..255). The short side is resized to `spec.size` unless it has that
    size, the central square of `spec.crop` pixels cut, and the values normalised. T is not changed.
    """
    height, width = _check_frames(frames_TCHW)
    if min(height, width) != spec.size:
        frames_TCHW = resize_short_side(frames_TCHW, spec.size)
    frames_TCHW = centre_crop(frames_TCHW, spec.crop)
    # uint8 is a quarter of the bytes: reorder before converting
    clip_CTHW = frames_TCHW.transpose(0, 1).contiguous()
    return normalise(clip_CTHW.transpose(0, 1), spec).transpose(0, 1).contiguous()
