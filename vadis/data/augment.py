"""Steps from a decoded clip to a training view: each a small value that says what it does, and does it.

A recipe lists them in order (`usual_steps`: scale jitter, random crop, flip). Every step takes
all frames of a clip and the labels and draws from the generator that it is given, so that a clip is the same
whichever process makes it. Steps that move things first `draw` a place, which is then cut from the clip, and
boxes move the same way (`take_steps`). The pixel work is in `vadis.video.transform` and `vadis.video.colour`.

Legend: T frames, C channels, H W pixels; frames are uint8. N boxes, xyxy in [0, 1] of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from vadis.specs import ClipSpec
from vadis.video import transform
from vadis.video.boxes import crop_boxes, flip_boxes
from vadis.video.colour import colour_jitter, greyscale
from vadis.video.places import Place

Labels: TypeAlias = tuple[int, ...]
Step: TypeAlias = Callable[[Tensor, Labels, torch.Generator], tuple[Tensor, Labels]]
"""(frames_TCHW, labels, generator) to (frames_TCHW, labels), each label at its old place among them.

A step that moves things in the picture is a `Placing`."""


class Placing:
    """A step that moves things in the picture: what `draw` gives is cut from the clip and moves the boxes."""

    modality: str = "rgb"

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """Where it looks in frames of height x width pixels, and the labels, changed if the clip is."""
        raise NotImplementedError

    def __call__(
        self, frames_TCHW: Tensor, labels: Labels, generator: torch.Generator
    ) -> tuple[Tensor, Labels]:
        """frames_TCHW and labels, changed."""
        height, width = frames_TCHW.shape[-2:]
        place, labels = self.draw(height, width, labels, generator)
        return place.cut(frames_TCHW, self.modality), labels


def take_steps(
    steps: Sequence[Step],
    frames_TCHW: Tensor,
    labels: Labels,
    generator: torch.Generator,
    boxes_N4: Tensor | None = None,
) -> tuple[Tensor, Labels, Tensor | None]:
    """The steps one after the other: frames_TCHW, labels, and boxes_N4 where they are in the new frames.

    Boxes may come to stand out of the picture (`vadis.video.boxes.limit_boxes`). A step that is no `Placing`
    must leave everything in its place. Raises ValueError where there are boxes and it changes the size.
    """
    for step in steps:
        height, width = frames_TCHW.shape[-2:]
        if boxes_N4 is not None and isinstance(step, Placing):
            place, labels = step.draw(height, width, labels, generator)
            frames_TCHW, boxes_N4 = place.cut(frames_TCHW, step.modality), place.move(boxes_N4)
            continue
        frames_TCHW, labels = step(frames_TCHW, labels, generator)
        if boxes_N4 is not None and frames_TCHW.shape[-2:] != (height, width):
            raise ValueError(
                f"the step {step!r} changes the size of frames, and does not say where boxes go: make it a "
                "vadis.data.augment.Placing"
            )
    return frames_TCHW, labels, boxes_N4


@dataclass(frozen=True)
class ShortSide(Placing):
    """Resize so that the short side is drawn from [smallest, largest] pixels; equal bounds: fixed."""

    smallest: int
    largest: int
    inverse: bool = False

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """All of it, in another size."""
        size = self.smallest
        if self.smallest != self.largest:
            size = transform.draw_short_side(
                self.smallest, self.largest, generator=generator, inverse=self.inverse
            )
        return Place(height, width, size=transform.short_side_size(height, width, size)), labels


@dataclass(frozen=True)
class RandomCrop(Placing):
    """A square of `size` pixels anywhere."""

    size: int

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """The square."""
        return Place(
            height, width, transform.draw_crop(height, width, self.size, generator=generator)
        ), labels


@dataclass(frozen=True)
class CentreCrop(Placing):
    """The square of `size` pixels in the middle: no chance in it."""

    size: int

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """The square."""
        left, top = transform.centre_offset(height, width, self.size)
        return Place(height, width, transform.Rectangle(left, top, self.size, self.size)), labels


@dataclass(frozen=True)
class MultiScaleCrop(Placing):
    """TSN's corner crop with scale jitter, resized to `size` pixels."""

    size: int
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    max_distort: int = 1
    more_places: bool = True

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """The rectangle at a corner, an edge or in the middle, made square."""
        part = transform.draw_multi_scale_crop(
            height,
            width,
            self.size,
            generator=generator,
            scales=self.scales,
            max_distort=self.max_distort,
            more_places=self.more_places,
        )
        return Place(height, width, part, (self.size, self.size)), labels


@dataclass(frozen=True)
class ResizedCrop(Placing):
    """Inception's crop: a random share of the area at a random aspect, resized to `size` pixels."""

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """The rectangle, made square."""
        part = transform.draw_resized_crop(
            height, width, generator=generator, area=self.area, aspect=self.aspect
        )
        return Place(height, width, part, (self.size, self.size)), labels


@dataclass(frozen=True)
class Flip(Placing):
    """Mirror left and right with a probability.

    `mirror` (`transform.mirror_labels(class_names)`) gives each label's label in the mirror: "to the
    left" becomes "to the right". A clip with a label that has no counterpart stays as it is. Without `mirror`
    labels stay. `modality` is that of the frames: in flow, u changes its sign.
    """

    probability: float = 0.5
    mirror: tuple[int | None, ...] | None = None
    modality: str = "rgb"

    def draw(
        self, height: int, width: int, labels: Labels, generator: torch.Generator
    ) -> tuple[Place, Labels]:
        """All of it, and labels, both mirrored or neither; each label keeps its place among them."""
        flips = float(torch.rand((), generator=generator, dtype=torch.float64)) < self.probability
        mirrored = labels if self.mirror is None else [self.mirror[label] for label in labels]
        known = tuple(label for label in mirrored if label is not None)
        if not flips or len(known) < len(labels):
            return Place(height, width), labels
        return Place(height, width, mirrored=True), known


@dataclass(frozen=True)
class ColourJitter:
    """Change brightness, contrast, saturation (factors from [1 - x, 1 + x]) and hue ([-x, x] turns)."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(
        self, frames_TCHW: Tensor, labels: Labels, generator: torch.Generator
    ) -> tuple[Tensor, Labels]:
        """frames_TCHW in other colours."""
        return colour_jitter(
            frames_TCHW,
            generator=generator,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
        ), labels


@dataclass(frozen=True)
class Grey:
    """Take the colours out with a probability."""

    probability: float = 0.2

    def __call__(
        self, frames_TCHW: Tensor, labels: Labels, generator: torch.Generator
    ) -> tuple[Tensor, Labels]:
        """frames_TCHW, grey or as they are."""
        if float(torch.rand((), generator=generator, dtype=torch.float64)) < self.probability:
            return greyscale(frames_TCHW), labels
        return frames_TCHW, labels


def usual_steps(spec: ClipSpec, class_names: Sequence[str] | None = None) -> tuple[Step, ...]:
    """Scale jitter from size to 1.25 x size pixels (256 to 320), a random crop, a flip in half of the cases.

    With class_names, classes that speak of left and right change places when the clip is mirrored.
    """
    mirror = None if class_names is None else transform.mirror_labels(class_names)
    jitter = ShortSide(spec.size, round(spec.size * 1.25))
    return jitter, RandomCrop(spec.crop), Flip(mirror=mirror, modality=spec.modality)


Crops = Literal["none", "centre", "three", "three_nonlocal", "four", "ten"]
NUM_CROPS: dict[Crops, int] = {
    "none": 1,
    "centre": 1,
    "three": 3,
    "three_nonlocal": 3,
    "four": 4,
    "ten": 10,
}
"""Views that each kind of crop cuts from a clip."""


def cut_views(frames_TCHW: Tensor, size: int, crops: Crops, modality: str = "rgb") -> list[Tensor]:
    """The views of one clip at test, each of shape (T, C, size, size) pixels; "none": the clip as it is.

    Pictures of sound are not cut: each view has them whole.

    "three" are SlowFast's squares along the longer side, "three_nonlocal" those of the non-local networks,
    which differ by a pixel where the room is odd. "four" are the squares at both ends, each also mirrored.
    """
    if modality == "audio":
        return [frames_TCHW] * NUM_CROPS[crops]
    if crops == "none":
        return [frames_TCHW]
    views = []
    height, width = frames_TCHW.shape[-2:]
    for left, top, mirrored in _view_places(height, width, size, crops):
        view = transform.crop(frames_TCHW, left, top, size)
        views.append(transform.flip_horizontally(view, modality) if mirrored else view)
    return views


def cut_boxes(boxes_N4: Tensor, height: int, width: int, size: int, crops: Crops) -> list[Tensor]:
    """Where boxes of the clip lie in each of the views that `cut_views` cuts from it, in the same order.

    height, width: of the clip before it is cut, in pixels. Boxes may come to stand out of a view: see
    `vadis.video.boxes.limit_boxes`.
    """
    if crops == "none":
        return [boxes_N4]
    views = []
    for left, top, mirrored in _view_places(height, width, size, crops):
        moved_N4 = crop_boxes(boxes_N4, left, top, size, full_height=height, full_width=width)
        views.append(flip_boxes(moved_N4) if mirrored else moved_N4)
    return views


def _view_places(height: int, width: int, size: int, crops: Crops) -> list[tuple[int, int, bool]]:
    """Left, top and whether it is mirrored, for each view."""
    if crops == "centre":
        return [(*transform.centre_offset(height, width, size), False)]
    if crops == "three":
        return [(*place, False) for place in transform.three_crop_offsets(height, width, size)]
    if crops == "three_nonlocal":
        return [(*place, False) for place in transform.three_crop_offsets(height, width, size, "nonlocal")]
    if crops in ("four", "ten"):
        if crops == "four":
            squares = transform.three_crop_offsets(height, width, size)[::2]
        else:
            squares = transform.ten_crop_offsets(height, width, size)
        return [(*place, mirrored) for place in squares for mirrored in (False, True)]
    raise ValueError(f"crops ({crops!r}) must be one of {', '.join(map(repr, get_args(Crops)))}")
