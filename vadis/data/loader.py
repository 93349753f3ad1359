"""Batches of clips for training and evaluation, the same whatever the number of workers.

Each clip is a pure function of (seed, epoch, index of the example, how often it was drawn before): workers
only change who makes it. What cannot be read is neither replaced nor hidden: the batch shrinks, names
what failed, and says how many clips are valid, so that a training loop divides its loss by the valid ones
over all processes, and an evaluation counts the failed ones as wrong. Every process gets the same number
of batches, an empty one where nothing is left for it, so that all of them step together.

Pixels stay uint8 until `Batch.clip_BCTHW`, on the device that trains: a quarter of the bytes between
processes and to the GPU.

Legend: V views (clips x crops of all examples of a batch), B examples, K classes, C channels, T frames,
H W pixels.
"""

from __future__ import annotations

import hashlib
import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from vadis.data.augment import Crops, Step, cut_views
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import Clips, Missing, check_modality, read_clips, read_parts
from vadis.data.frame_cache import FrameCache
from vadis.data.order import Draw, Order, share_of
from vadis.records import Dataset, Example, Failure, Limits, VideoError
from vadis.specs import ClipSpec
from vadis.video.streams import Tensors, each, leader
from vadis.video.transform import normalise, resize_short_side

log = logging.getLogger(__name__)

STATE_VERSION = 1


@dataclass(frozen=True)
class LoadedExample:
    """An example as a worker hands it over: pixels_VTCHW uint8, labels (mirrored where the clip was).

    A network of several modalities has pixels_VTCHW for each, by name; `absent` are those that the example
    lacks, whose pixels mean nothing. num_damaged counts frames that the decoder marked as damaged; short:
    the file ends before its end. times_VT: when each frame of each view is shown, in seconds, float64.
    """

    draw: Draw
    labels: tuple[int, ...]
    pixels_VTCHW: Tensors
    num_damaged: int = 0
    short: bool = False
    absent: frozenset[str] = frozenset()
    times_VT: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.float64))


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


class ClipDataset(TorchDataset[LoadedExample | FailedExample]):
    """The clips of a dataset: `clips[Draw(epoch, index)]` is always the same clip.

    steps are those of training (`vadis.data.augment`), by name for a spec of several modalities, which are
    all cut and mirrored alike; without steps, frames are scaled to `spec.size` pixels and cut by `crops`.
    `missing` says what becomes of an example that lacks a modality. `training` draws clips and steps at
    random; without it a rule takes its fixed places. In training a clip with a damaged frame counts as
    failed unless `keep_damaged`; evaluation keeps it, and says so.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: ClipSpec,
        *,
        rule: ClipRule = ClipRule(),  # noqa: B008
        steps: Sequence[Step] | Mapping[str, Sequence[Step]] = (),
        crops: Crops | None = None,
        training: bool = True,
        seed: int = 0,
        cache: FrameCache | None = None,
        keep_damaged: bool | None = None,
        limits: Limits = Limits(),  # noqa: B008
        missing: Missing = "error",
    ) -> None:
        check_modality(spec)
        if seed < 0:
            raise ValueError(f"seed ({seed}) must not be negative")
        if not training and steps:
            raise ValueError("steps are of training; evaluation scales to spec.size and cuts by `crops`")
        if not training and rule.name == "random":
            raise ValueError('evaluation takes fixed clips: choose a rule such as "uniform"')
        self.dataset = dataset
        self.spec = spec
        self.rule = rule
        named = steps if isinstance(steps, Mapping) else dict.fromkeys(spec.parts or ("",), steps)
        self.steps = {name: tuple(named[name]) for name in spec.parts or ("",)}
        self.crops: Crops = crops if crops is not None else ("none" if steps else "centre")
        self.missing: Missing = missing
        self.training = training
        self.seed = seed
        self.cache = cache
        self.keep_damaged = not training if keep_damaged is None else keep_damaged
        self.limits = limits

    def __len__(self) -> int:
        return len(self.dataset.examples)

    def __getitem__(self, draw: Draw | int) -> LoadedExample | FailedExample:
        draw = draw if isinstance(draw, Draw) else Draw(0, int(draw))
        example = self.dataset.examples[draw.index]
        try:
            return self._load(draw)
        except VideoError as error:
            failure = Failure(error.kind, str(error))
            return FailedExample(draw, example.id, example.video, example.labels, failure)

    def _load(self, draw: Draw) -> LoadedExample:
        example, spec = self.dataset.examples[draw.index], self.spec
        rng, generator = generators(self.seed, draw)
        loaded = self._read(example, rng if self.training else None)
        num_damaged = sum(clips.num_damaged for clips in loaded.values())
        if num_damaged and not self.keep_damaged:
            raise VideoError("corrupt", example.video, f"{num_damaged} frames of the clip are damaged")
        labels, views, start = example.labels, {}, generator.get_state()
        for name, part in (spec.parts or {"": spec}).items():
            views[name], labels = self._cut(loaded[name], part, name, example.labels, generator, start)
        first = next(iter(loaded.values()))
        times_NT = torch.from_numpy(first.times_T[first.indices_NT])
        times_VT = times_NT.repeat_interleave(len(leader(views)) // len(times_NT), 0)
        absent = frozenset(name for name, clips in loaded.items() if clips.absent)
        pixels = views if spec.parts else views[""]
        return LoadedExample(draw, labels, pixels, num_damaged, first.short, absent, times_VT)

    def _read(self, example: Example, rng: np.random.Generator | None) -> dict[str, Clips]:
        """The clips of each part; of a spec without parts, of "" alone."""
        root, spec, steps = self.dataset.root, self.spec, any(self.steps.values())
        if spec.parts:
            return read_parts(
                example,
                root,
                spec,
                self.rule,
                rng=rng,
                resize=not steps,
                missing=self.missing,
                cache=self.cache,
                limits=self.limits,
            )
        side = None if steps else spec.size
        clips = read_clips(
            example, root, spec, self.rule, rng=rng, short_side=side, cache=self.cache, limits=self.limits
        )
        return {"": clips}

    def _cut(
        self,
        clips: Clips,
        spec: ClipSpec,
        name: str,
        labels: tuple[int, ...],
        generator: torch.Generator,
        start: Tensor,
    ) -> tuple[Tensor, tuple[int, ...]]:
        """The views of a part, and the labels, mirrored where the clips were."""
        steps, views, found = self.steps[name], [], labels
        for frames_THWC in clips.clips:
            generator.set_state(start)  # all clips of an example, in all parts, are cut and mirrored alike
            frames_TCHW, found = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2), labels
            for step in steps:
                frames_TCHW, found = step(frames_TCHW, found, generator)
            if not steps and spec.sound is None:  # changes nothing but frames from a cache of another size
                frames_TCHW = resize_short_side(frames_TCHW, spec.size)
            views += cut_views(frames_TCHW, spec.crop, self.crops, spec.modality)
        pixels_VTCHW = views[0][None] if len(views) == 1 else torch.stack(views)  # a batch copies once more
        return pixels_VTCHW, found


def generators(seed: int, draw: Draw) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one clip: for the choice of frames, and for the steps."""
    words = np.random.SeedSequence([seed, draw.epoch, draw.index, draw.repeat]).generate_state(2, np.uint64)
    generator = torch.Generator()
    generator.manual_seed(int(words[1] >> np.uint64(1)))
    return np.random.Generator(np.random.PCG64(int(words[0]))), generator


@dataclass(frozen=True)
class Collate:
    """Examples to a `Batch`; picklable, for the workers. num_classes: None where examples have one label."""

    spec: ClipSpec
    num_classes: int | None

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


@dataclass
class Skipped:
    """A file that could not be read: how many clips were lost by it, and why it failed first."""

    id: str
    video: str
    kind: str
    message: str
    count: int = 0

    def __str__(self) -> str:
        return f"{self.count} x {self.id}: {self.message}"


class _Batches:
    """The batch sampler of one process: lists of draws from a given batch of an epoch on."""

    def __init__(self) -> None:
        self.lists: list[list[Draw]] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.lists)

    def __len__(self) -> int:
        return len(self.lists)


class ClipLoader:
    """Batches of a `ClipDataset`; each iteration is one epoch (or the rest of it, after `load_state_dict`).

    batch_size: examples per process and batch. workers: processes that decode ahead, `prefetch` batches
    each; 0 decodes in this one. order: None is shuffled once through in training, as listed in evaluation.
    rank of world_size processes gets its share of each global batch. pin_memory: for a GPU.

    `skipped` names what failed, by index; `epoch` and `batch` are the place of the next batch.
    """

    def __init__(
        self,
        clips: ClipDataset,
        batch_size: int,
        *,
        order: Order | None = None,
        workers: int = 2,
        prefetch: int = 2,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        if batch_size < 1 or workers < 0 or prefetch < 1:
            raise ValueError(
                f"need batch_size >= 1, workers >= 0, prefetch >= 1; got {batch_size}, {workers}, {prefetch}"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank ({rank}) must be in 0..{world_size - 1}")
        self.clips = clips
        self.batch_size = batch_size
        self.order = Order(shuffle=clips.training) if order is None else order
        self.rank, self.world_size = rank, world_size
        self.epoch = self.batch = 0
        self.skipped: dict[int, Skipped] = {}
        self.damaged: set[int] = set()
        self._labels = [example.labels for example in clips.dataset.examples]
        self._batches = _Batches()
        num_classes = clips.dataset.num_classes if clips.dataset.multi_label else None
        self._loader: DataLoader[Any] = DataLoader(
            clips,
            batch_sampler=self._batches,  # type: ignore[arg-type]
            collate_fn=Collate(clips.spec, num_classes),
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # the loader's own draws leave the global random state alone
        )

    def __len__(self) -> int:
        """Batches of an epoch; the same for every process."""
        return -(-self.order.length(len(self.clips)) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        draws = self.order.draws(self._labels, self.clips.seed, self.epoch)
        self._batches.lists = [
            share_of(draws, number, self.batch_size, self.rank, self.world_size)
            for number in range(self.batch, len(self))
        ]
        for batch in self._loader if self._batches.lists else ():
            self.batch += 1  # before the loop's body, so that a state saved there says that it was done
            self._note(batch)
            yield batch
        self.epoch, self.batch = self.epoch + 1, 0

    def _note(self, batch: Batch) -> None:
        for item in batch.failed:
            known = self.skipped.get(item.draw.index)
            if known is None:
                kind, message = item.failure.kind, item.failure.message
                known = self.skipped[item.draw.index] = Skipped(item.id, item.video, kind, message)
                log.warning("%s cannot be read: %s", item.id, message)
            known.count += 1
        self.damaged.update(batch.damaged)

    def report(self) -> str:
        """What could not be read, or was damaged but used, so far: one line each; empty if all was well."""
        lines = []
        if self.skipped:
            clips_lost = sum(item.count for item in self.skipped.values())
            lines.append(f"{len(self.skipped)} examples could not be read ({clips_lost} clips):")
            lines += [f"  {item}" for _, item in sorted(self.skipped.items())]
        if self.damaged:
            examples = self.clips.dataset.examples
            lines.append(f"{len(self.damaged)} examples are damaged or end early, and were used:")
            lines += [f"  {examples[index].id}" for index in sorted(self.damaged)]
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """The place of the next batch and what was skipped so far: plain numbers and strings (JSON)."""
        return {
            "version": STATE_VERSION,
            "epoch": self.epoch,
            "batch": self.batch,
            "settings": self._settings(),
            "skipped": {str(index): asdict(item) for index, item in self.skipped.items()},
            "damaged": sorted(self.damaged),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the next iteration gives the rest of that epoch.

        The number of processes and of workers may differ, the global batch may not. Raises ValueError where
        data, seed, order or batch are others, since the order of clips would be.
        """
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"the loader's state has version {state.get('version')}, not {STATE_VERSION}")
        ours = self._settings()
        changed = [key for key in ours if state["settings"].get(key) != ours[key]]
        if changed:
            pairs = [f"{key} was {state['settings'].get(key)!r} and is {ours[key]!r}" for key in changed]
            raise ValueError(f"the loader cannot go on in another order: {'; '.join(pairs)}")
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self.skipped = {int(index): Skipped(**item) for index, item in state["skipped"].items()}
        self.damaged = set(state["damaged"])

    def _settings(self) -> dict[str, Any]:
        return {
            "seed": self.clips.seed,
            "order": asdict(self.order),
            "global_batch": self.batch_size * self.world_size,
            "data": fingerprint(self.clips.dataset),
        }


def fingerprint(dataset: Dataset) -> str:
    """sha256 of what a dataset lists: ids, videos, intervals, labels and class names, in order."""
    digest = hashlib.sha256(repr(dataset.class_names).encode("utf-8", "surrogateescape"))
    for example in dataset.examples:
        times = example.start_seconds, example.end_seconds
        row = repr((example.id, example.video, *times, example.labels))
        digest.update(row.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
