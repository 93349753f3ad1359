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
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from vadis.data.augment import Crops, Step, cut_boxes, cut_views, take_steps
from vadis.data.batches import Batch, Collate, FailedExample, LoadedExample, ViewBoxes
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import Clips, check_modality, read_clips, read_parts
from vadis.data.order import Draw, Order, share_of
from vadis.data.reading import PLAIN, Reading
from vadis.records import Dataset, Example, Failure, VideoError
from vadis.specs import ClipSpec
from vadis.video.boxes import limit_boxes
from vadis.video.streams import leader
from vadis.video.transform import resize_short_side

log = logging.getLogger(__name__)

STATE_VERSION = 1

BOX_SHARE = 0.1
"""A box goes from a view in which less than this share of its area is left: that sliver shows no action."""


class ClipDataset(TorchDataset[LoadedExample | FailedExample]):
    """The clips of a dataset: `clips[Draw(epoch, index)]` is always the same clip.

    steps are those of training (`vadis.data.augment`), by name for a spec of several modalities, which are
    all cut and mirrored alike; without steps, frames are scaled to `spec.size` pixels and cut by `crops`.
    `training` draws clips and steps at
    random; without it a rule takes its fixed places. In training a clip with a damaged frame counts as
    failed unless `keep_damaged`; evaluation keeps it, and says so. boxes: also say where the boxes of an
    example are in each view: they move with the pixels, are cut at the edges, and go where less than
    `BOX_SHARE` of one is left. Steps of your own must be `Placing` then.
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
        keep_damaged: bool | None = None,
        reading: Reading = PLAIN,
        boxes: bool = False,
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
        self.training = training
        self.seed = seed
        self.keep_damaged = not training if keep_damaged is None else keep_damaged
        self.reading = reading
        self.boxes = boxes

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
        boxes = None
        for name, part in (spec.parts or {"": spec}).items():
            views[name], labels, found = self._cut(loaded[name], part, name, example, generator, start)
            boxes = boxes or found  # all parts are cut alike
        first = next(iter(loaded.values()))
        times_NT = torch.from_numpy(first.times_T[first.indices_NT])
        times_VT = times_NT.repeat_interleave(len(leader(views)) // len(times_NT), 0)
        absent = frozenset(name for name, clips in loaded.items() if clips.absent)
        pixels = views if spec.parts else views[""]
        return LoadedExample(draw, labels, pixels, num_damaged, first.short, absent, times_VT, boxes)

    def _read(self, example: Example, rng: np.random.Generator | None) -> dict[str, Clips]:
        """The clips of each part; of a spec without parts, of "" alone."""
        root, spec, steps = self.dataset.root, self.spec, any(self.steps.values())
        if spec.parts:
            return read_parts(example, root, spec, self.rule, rng=rng, resize=not steps, reading=self.reading)
        side = None if steps else spec.size
        clips = read_clips(example, root, spec, self.rule, rng=rng, short_side=side, reading=self.reading)
        return {"": clips}

    def _cut(
        self,
        clips: Clips,
        spec: ClipSpec,
        name: str,
        example: Example,
        generator: torch.Generator,
        start: Tensor,
    ) -> tuple[Tensor, tuple[int, ...], ViewBoxes | None]:
        """The views of a part; the labels, mirrored where the clips were; where boxes are in each view."""
        steps, views, boxes = self.steps[name], [], []
        moves = self.boxes and spec.sound is None
        # a label of a box has a say in whether a clip is mirrored, too
        labels = example.labels + (sum((box.labels for box in example.boxes), ()) if moves else ())
        corners = [(box.x1, box.y1, box.x2, box.y2) for box in example.boxes]
        boxes_N4 = torch.tensor(corners, dtype=torch.float64).reshape(-1, 4) if moves else None
        found = labels
        for frames_THWC in clips.clips:
            generator.set_state(start)  # all clips of an example, in all parts, are cut and mirrored alike
            frames_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)
            frames_TCHW, found, moved_N4 = take_steps(steps, frames_TCHW, labels, generator, boxes_N4)
            if not steps and spec.sound is None:  # changes nothing but frames from a cache of another size
                frames_TCHW = resize_short_side(frames_TCHW, spec.size)
            if moved_N4 is not None:
                height, width = frames_TCHW.shape[-2:]
                boxes += cut_boxes(moved_N4, height, width, spec.crop, self.crops)
            views += cut_views(frames_TCHW, spec.crop, self.crops, spec.modality)
        pixels_VTCHW = views[0][None] if len(views) == 1 else torch.stack(views)  # a batch copies once more
        own = len(example.labels)
        return pixels_VTCHW, found[:own], _seen(example, boxes, found[own:]) if moves else None


def _seen(example: Example, boxes: list[Tensor], labels: tuple[int, ...]) -> ViewBoxes:
    """The boxes of an example that are seen in each of its views. labels: of all boxes, in turn."""
    ends = list(itertools.accumulate((len(box.labels) for box in example.boxes), initial=0))
    own = [labels[first:last] for first, last in itertools.pairwise(ends)]
    items = []
    for moved_N4 in boxes:
        limited_N4, share_N = limit_boxes(moved_N4)
        number_M = (share_N >= BOX_SHARE).nonzero()[:, 0]
        items.append(
            ViewBoxes(
                limited_N4[number_M].float(),
                torch.zeros_like(number_M),
                number_M,
                share_N[number_M].float(),
                tuple(own[number] for number in number_M.tolist()),
            )
        )
    return ViewBoxes.join(items, 1)


def generators(seed: int, draw: Draw) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one clip: for the choice of frames, and for the steps."""
    words = np.random.SeedSequence([seed, draw.epoch, draw.index, draw.repeat]).generate_state(2, np.uint64)
    generator = torch.Generator()
    generator.manual_seed(int(words[1] >> np.uint64(1)))
    return np.random.Generator(np.random.PCG64(int(words[0]))), generator


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
            collate_fn=Collate(clips.spec, num_classes, clips.boxes),
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
