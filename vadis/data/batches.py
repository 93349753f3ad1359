"""Examples that were read, put together to batches: one tensor, or one for each modality.

Legend: B batch, V views, T frames, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import default_collate

from vadis.data.order import Draw
from vadis.records import Failure
from vadis.specs import ClipSpec
from vadis.video.streams import Tensors, each, leader
from vadis.video.transform import normalise


@dataclass(frozen=True)
class ViewBoxes:
    """M boxes where they lie in the views of an example or of a batch, cut at the views' edges.

    boxes_M4: float32 xyxy in [0, 1] of the view. view_M: int64, which view. number_M: int64, which of the
    example's `boxes` it is. share_M: float32, how much of its area is in the view (0 to 1). labels: of each,
    mirrored where the clip was.
    """

    boxes_M4: Tensor
    view_M: Tensor
    number_M: Tensor
    share_M: Tensor
    labels: tuple[tuple[int, ...], ...]

    def of_views(self, start: int, stop: int) -> ViewBoxes:
        """Those of the views from start to before stop, which count from 0 then."""
        kept_M = (self.view_M >= start) & (self.view_M < stop)
        labels = tuple(own for own, kept in zip(self.labels, kept_M.tolist(), strict=True) if kept)
        return ViewBoxes(
            self.boxes_M4[kept_M],
            self.view_M[kept_M] - start,
            self.number_M[kept_M],
            self.share_M[kept_M],
            labels,
        )

    @classmethod
    def join(cls, items: Sequence[ViewBoxes], num_views: int) -> ViewBoxes:
        """Those of several examples, each of `num_views` views, one after the other."""
        if not items:
            none = torch.empty(0, dtype=torch.int64)
            return cls(torch.empty(0, 4), none, none, torch.empty(0), ())
        return cls(
            torch.cat([item.boxes_M4 for item in items]),
            torch.cat([item.view_M + place * num_views for place, item in enumerate(items)]),
            torch.cat([item.number_M for item in items]),
            torch.cat([item.share_M for item in items]),
            tuple(own for item in items for own in item.labels),
        )


@dataclass(frozen=True)
class LoadedExample:
    """An example as a worker hands it over: pixels_VTCHW uint8, labels (mirrored where the clip was).

    A network of several modalities has pixels_VTCHW for each, by name; `absent` are those that the example
    lacks, whose pixels mean nothing. num_damaged counts frames that the decoder marked as damaged; short:
    the file ends before its end. times_VT: when each frame of each view is shown, in seconds, float64. boxes:
    where the example's boxes are in the views, if they were asked for.
    """

    draw: Draw
    labels: tuple[int, ...]
    pixels_VTCHW: Tensors
    num_damaged: int = 0
    short: bool = False
    absent: frozenset[str] = frozenset()
    times_VT: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.float64))
    boxes: ViewBoxes | None = None


@dataclass(frozen=True)
class FailedExample:
    """An example that could not be read: where it is in the dataset, what it is, and why."""

    draw: Draw
    id: str
    video: str
    labels: tuple[int, ...]
    failure: Failure


@dataclass(frozen=True)
class Batch:
    """Clips that could be read, and the examples that could not.

    pixels_VTCHW: uint8, `views_per_example` views for each of B examples in turn; V is 0 in an empty batch. A
    network of several modalities has them by name; `absent` are the views (V, by name, bool) whose example
    lacks one, which go in as zeros.
    labels_B: int64, -1 where hidden; a multi-label dataset has labels_BK instead, float32 of 0 and 1.
    indices_B: int64, place of each example in the dataset. damaged: examples with damaged frames, or from a
    file that ends early, by index. times_VT: float64, when each frame is shown, in seconds of the file.
    boxes: of all views, if they were asked for.
    """

    pixels_VTCHW: Tensors
    labels: Tensor
    indices_B: Tensor
    spec: ClipSpec
    views_per_example: int = 1
    failed: tuple[FailedExample, ...] = ()
    damaged: tuple[int, ...] = ()
    times_VT: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.float64))
    absent: dict[str, Tensor] = field(default_factory=dict)
    boxes: ViewBoxes | None = None

    @property
    def num_valid(self) -> int:
        """How many examples could be read: what a sum of losses is to be divided by, over all processes."""
        return len(self.indices_B)

    @property
    def num_views(self) -> int:
        """Views of all examples together."""
        return len(leader(self.pixels_VTCHW))

    def clip_BCTHW(self, device: torch.device | str = "cpu") -> Tensors:  # noqa: N802 - the shape suffix
        """What the network takes: clip_BCTHW, float32, normalised on `device`; B here counts views.

        By name for a network of several modalities. An empty batch gives shape (0, C, T, H, W): sizes are
        those of the spec.
        """
        if isinstance(self.pixels_VTCHW, Tensor):
            return _to_clip(self.pixels_VTCHW, self.spec, device)
        clips = {}
        for name, part in self.spec.parts.items():
            clips[name] = _to_clip(self.pixels_VTCHW[name], part, device)
            if name in self.absent:
                clips[name][self.absent[name].to(device)] = 0.0
        return clips

    def split(self, size: int) -> Iterator[Batch]:
        """The views of the batch, `size` at a time; labels and the rest are those of the whole batch."""
        for start in range(0, self.num_views, size):
            stop = start + size
            yield replace(
                self,
                pixels_VTCHW=each(operator.itemgetter(slice(start, stop)), self.pixels_VTCHW),
                absent={name: absent_V[start:stop] for name, absent_V in self.absent.items()},
                boxes=None if self.boxes is None else self.boxes.of_views(start, stop),
            )

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, which a GPU reads without waiting."""
        pixels = each(Tensor.pin_memory, self.pixels_VTCHW)
        return replace(self, pixels_VTCHW=pixels, labels=self.labels.pin_memory())


def _to_clip(pixels_VTCHW: Tensor, spec: ClipSpec, device: torch.device | str) -> Tensor:
    pixels = pixels_VTCHW.to(device, non_blocking=True)
    num_views, num_frames = pixels.shape[:2]
    clips = normalise(pixels.flatten(0, 1), spec)
    return clips.unflatten(0, (num_views, num_frames)).transpose(1, 2).contiguous()


@dataclass(frozen=True)
class Collate:
    """Examples to a `Batch`; picklable, for the workers.

    num_classes: None where examples have one label. boxes: whether examples come with theirs.
    """

    spec: ClipSpec
    num_classes: int | None
    boxes: bool = False

    def __call__(self, items: Sequence[LoadedExample | FailedExample]) -> Batch:
        """The batch of what could be read, with the failures beside it. Raises ValueError for views of
        different sizes: some step must cut them to one."""
        loaded = [item for item in items if isinstance(item, LoadedExample)]
        failed = tuple(item for item in items if isinstance(item, FailedExample))
        spec = self.spec
        pixels: Tensors
        if spec.parts:
            pixels = {
                name: _join([item.pixels_VTCHW[name] for item in loaded], part)  # type: ignore[index, misc]
                for name, part in spec.parts.items()
            }
        else:
            pixels = _join([item.pixels_VTCHW for item in loaded], spec)  # type: ignore[misc]
        views = len(leader(loaded[0].pixels_VTCHW)) if loaded else 1
        lacking = {name for item in loaded for name in item.absent}
        return Batch(
            pixels,
            self._labels([item.labels for item in loaded]),
            torch.tensor([item.draw.index for item in loaded], dtype=torch.int64),
            spec,
            views,
            failed,
            tuple(item.draw.index for item in loaded if item.num_damaged or item.short),
            torch.cat([item.times_VT for item in loaded])
            if loaded
            else torch.empty(0, spec.num_frames, dtype=torch.float64),
            {
                name: torch.tensor([name in item.absent for item in loaded]).repeat_interleave(views)
                for name in sorted(lacking)
            },
            ViewBoxes.join([item.boxes for item in loaded if item.boxes is not None], views)
            if self.boxes
            else None,
        )

    def _labels(self, labels: list[tuple[int, ...]]) -> Tensor:
        if self.num_classes is None:
            return torch.tensor([own[0] if own else -1 for own in labels], dtype=torch.int64)
        target_BK = torch.zeros(len(labels), self.num_classes)
        for row, own in enumerate(labels):
            target_BK[row, list(own)] = 1.0
        return target_BK


def _join(pixels: list[Tensor], spec: ClipSpec) -> Tensor:
    """The views of all examples of a batch, one after the other: pixels_VTCHW."""
    shapes = {tuple(views.shape) for views in pixels}
    if len(shapes) > 1:
        sizes = ", ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(f"clips of different shapes cannot be a batch: {sizes}; end the steps with a crop")
    if not pixels:
        _, frames, height, width = spec.shape
        kind = torch.uint8 if spec.sound is None else torch.float32
        return torch.empty((0, frames, len(spec.mean) * spec.reach, height, width), dtype=kind)
    # in a worker this fills shared memory at once, where torch.cat would be copied there; channels
    # stay last in memory, as decoders give them: rows are copied whole, and the device turns them
    rows = [views.permute(0, 1, 3, 4, 2) for views in pixels]
    joined: Tensor = default_collate(rows)
    return joined.flatten(0, 1).permute(0, 1, 4, 2, 3)
