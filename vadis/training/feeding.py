"""From a recipe's data part to the clips of each step: augmentation, order, and where in the data we are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from vadis.config import Augment, DataConfig, RunConfig
from vadis.data.augment import (
    CentreCrop,
    ColourJitter,
    Flip,
    Grey,
    MultiScaleCrop,
    RandomCrop,
    ResizedCrop,
    ShortSide,
    Step,
)
from vadis.data.batches import Batch
from vadis.data.clip_rules import ClipRule
from vadis.data.frame_cache import FrameCache
from vadis.data.loader import ClipDataset, ClipLoader, Skipped
from vadis.data.order import Order
from vadis.data.reading import Reading
from vadis.downloads import cache_folder
from vadis.records import Dataset
from vadis.specs import ClipSpec
from vadis.training.processes import Processes
from vadis.video import transform

CACHE_QUALITY = 95
"""JPEG quality of cached frames (of 100)."""


def make_steps(
    augment: Augment, spec: ClipSpec, class_names: tuple[str, ...], spans_count: bool = False
) -> tuple[Step, ...]:
    """What happens to a clip's frames, in order, as a recipe's `data.augment` says.

    spans_count: labels of frames come from spans, which cannot change sides; where a class speaks of left
    or right, clips are not mirrored then. Colours are of RGB alone and come last, so that all modalities of a
    clip draw the same crop and mirror. Pictures of sound stay as they are.
    """
    if spec.modality == "audio":
        return ()
    steps: list[Step] = []
    jitter = round(spec.size * 1.25) if augment.crop == "short_side" else spec.size
    smallest, largest = augment.short_side or (spec.size, jitter)
    if augment.crop == "short_side":
        steps += [ShortSide(smallest, largest, augment.inverse), RandomCrop(spec.crop)]
    elif augment.crop == "resized":
        steps.append(ResizedCrop(spec.crop, augment.area, augment.aspect))
    elif augment.crop == "multi_scale":
        steps += [ShortSide(smallest, largest, augment.inverse), MultiScaleCrop(spec.crop, augment.scales)]
    else:
        steps += [ShortSide(spec.size, spec.size), CentreCrop(spec.crop)]
    if augment.flip:
        mirror = transform.mirror_labels(class_names) if augment.flip_labels else None
        sided = mirror is not None and mirror != tuple(range(len(class_names)))
        if not (sided and spans_count):
            steps.append(Flip(augment.flip, mirror, spec.modality))
    if spec.modality == "rgb" and any(augment.colour):
        steps.append(ColourJitter(*augment.colour))
    if spec.modality == "rgb" and augment.grey:
        steps.append(Grey(augment.grey))
    return tuple(steps)


def part_size(share: int, wanted: int | None) -> int:
    """Clips of a part: the largest divisor of a process's share of a step that is not above `wanted`."""
    if wanted is None or wanted >= share:
        return share
    if wanted < 1:
        raise ValueError(f"run.part_size ({wanted}) must be at least 1")
    return next(size for size in range(wanted, 0, -1) if share % size == 0)


def make_loader(
    dataset: Dataset,
    spec: ClipSpec,
    data: DataConfig,
    run: RunConfig,
    processes: Processes,
    spans_count: bool = False,
) -> tuple[ClipLoader, int]:
    """The loader of a process, whose batches are the parts of steps, and how many parts a step has.

    Raises ValueError where `data.batch_size` cannot be shared evenly among the processes.
    """
    share, rest = divmod(data.batch_size, processes.count)
    if rest or share < 1:
        raise ValueError(
            f"data.batch_size ({data.batch_size}) is not a multiple of the {processes.count} processes"
        )
    size = part_size(share, run.part_size)
    steps = {
        name: make_steps(data.augment, part, dataset.class_names, spans_count)
        for name, part in (spec.parts or {"": spec}).items()
    }
    clips = ClipDataset(
        dataset,
        spec,
        rule=ClipRule(data.rule),
        steps=steps,
        seed=run.seed,
        reading=replace(reading_of(data), cache=_cache(data, spec)),
    )
    loader = ClipLoader(
        clips,
        size,
        order=Order(balance=data.balance, repeats=data.repeats),
        workers=data.workers,
        rank=processes.rank,
        world_size=processes.count,
        pin_memory=processes.device.type == "cuda",
    )
    return loader, share // size


def reading_of(data: DataConfig) -> Reading:
    """How a recipe has examples read, in training and in validation."""
    return Reading(flow=data.flow, missing=data.missing)


def _cache(data: DataConfig, spec: ClipSpec) -> FrameCache | None:
    if data.cache_gb <= 0:
        return None
    side = max(spec.size, *(data.augment.short_side or (round(spec.size * 1.25),)))
    return FrameCache(cache_folder() / "frames", side, int(data.cache_gb * 2**30), CACHE_QUALITY)


@dataclass(frozen=True)
class Place:
    """A place in the data: the next batch of an epoch, and what had been skipped by then."""

    epoch: int
    batch: int
    skipped: dict[int, Skipped]


class Feed:
    """The parts of each step, over all epochs; the last step of an epoch has what is left.

    A step that was fetched but not taken (the run stopped) is fetched again after `go_back`.
    """

    def __init__(self, loader: ClipLoader, parts_per_step: int) -> None:
        self.loader = loader
        self.parts_per_step = parts_per_step
        self._steps = self._all_steps()

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimiser in an epoch; the last may be smaller."""
        return -(-len(self.loader) // self.parts_per_step)

    def fetch(self) -> list[Batch]:
        """The parts of the next step. Every process gets the same number of them, some perhaps empty."""
        return next(self._steps)

    def place(self) -> Place:
        """Where the next step begins."""
        skipped = {index: replace(item) for index, item in self.loader.skipped.items()}
        return Place(self.loader.epoch, self.loader.batch, skipped)

    def state_dict(self, processes: Processes) -> dict[str, Any]:
        """The loader's place, with what was skipped by all processes. Every process must ask at once."""
        state = self.loader.state_dict()
        state["skipped"] = {
            str(index): asdict(item) for index, item in self.skipped_by_all(processes).items()
        }
        state["damaged"] = sorted({index for each in processes.gather(self.loader.damaged) for index in each})
        return state

    def load_state_dict(self, state: dict[str, Any], processes: Processes) -> None:
        """Go on where `state_dict` was taken. The main process keeps the books of what was skipped.

        Raises ValueError where data, order, seed or batch are others.
        """
        self.loader.load_state_dict(state)
        if not processes.is_main:
            self.loader.skipped, self.loader.damaged = {}, set()

    def skipped_by_all(self, processes: Processes) -> dict[int, Skipped]:
        """What could not be read so far, by index of the example. Every process must ask at once."""
        whole: dict[int, Skipped] = {}
        for each in processes.gather(self.loader.skipped):
            for index, item in each.items():
                known = whole.get(index)
                whole[index] = replace(item, count=item.count + (known.count if known else 0))
        return dict(sorted(whole.items()))

    def go_back(self, place: Place) -> None:
        """Make `place` the loader's place, so that its `state_dict` is that of then. Fetch no more then."""
        self.loader.epoch, self.loader.batch = place.epoch, place.batch
        self.loader.skipped = place.skipped

    def _all_steps(self) -> Iterator[list[Batch]]:
        while True:
            batches = iter(self.loader)
            while parts := list(itertools.islice(batches, self.parts_per_step)):
                yield parts
