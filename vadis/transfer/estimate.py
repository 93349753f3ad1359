"""How long a study takes on this machine: a clip read, one scored, a batch learnt from; the rest is counted.

Reading and computing overlap, so the slower of the two counts. What the cache of features already holds is
not known here: a study that was begun takes less.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from vadis.config import Recipe
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.engines import choose_device
from vadis.evaluation.protocols import make_protocol
from vadis.extractor import Extractor
from vadis.feature_layers import hash_trunk
from vadis.models import VideoModel
from vadis.models.contract import make_clip
from vadis.records import Dataset, VideoError
from vadis.training.optimisers import freeze_parameters
from vadis.training.start import build_network
from vadis.transfer.controls import SEES
from vadis.transfer.grid import Run
from vadis.transfer.modes import LINEAR_MODES, Setup, make_recipe_for, make_trunk
from vadis.transfer.starts import Start, parse_start
from vadis.transfer.study import Study
from vadis.transfer.subsets import take_examples

FIT_SECONDS = 3e-10
"""Of one multiply-add in the fit of a last layer: times examples, features, classes, passes."""
PRE = "pre-training"
PASSES = 1500  # through the data: strengths x folds x steps of L-BFGS


@dataclass(frozen=True)
class Estimate:
    """What some runs cost: how many there are, and seconds of all of them. note: what was measured."""

    what: str
    num_runs: int
    seconds: float
    note: str


class _Clock:
    """Seconds of one clip by network, each measured once."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.known: dict[Any, float] = {}

    def ask(self, key: Any, measure: Callable[[], float]) -> float:
        if key not in self.known:
            self.known[key] = measure()
        return self.known[key]

    def reading(self, dataset: Dataset, model: VideoModel) -> float:
        """Seconds to read one clip, with as many threads as the study has."""
        setup = self.study.setup
        return self.ask(
            ("read", dataset.name),
            lambda: _read_one(dataset, model, setup) / max(1, setup.workers),
        )

    def scoring(self, start: Start, model: VideoModel) -> float:
        """Seconds to score one view."""
        return self.ask(("score", start), lambda: _score_one(model, self.study.setup))

    def learning(self, start: Start, mode: str, recipe: Recipe, num_classes: int) -> float:
        """Seconds to learn from one clip."""
        return self.ask(("learn", start, mode), lambda: _learn_one(recipe, num_classes))


def estimate(study: Study, plan: list[Run]) -> list[Estimate]:
    """What the plan costs, network by network and mode by mode, in seconds on this machine.

    Networks are built and one batch goes through each, so this takes some seconds itself.
    """
    clock = _Clock(study)
    found: dict[str, Estimate] = {}
    extracted: dict[Any, set[Any]] = {}

    def add(what: str, seconds: float, note: str) -> None:
        old = found.get(what, Estimate(what, 0, 0.0, note))
        found[what] = replace(old, num_runs=old.num_runs + 1, seconds=old.seconds + seconds)

    pretrained: set[Any] = set()
    opening: dict[Start, float] = {}
    models: dict[Start, VideoModel] = {}
    for run in plan:
        what = f"{run.model} {run.mode}"
        if "+" in run.model:
            add(what, 0.1, "sums of scores that are there")
            continue
        start, split = parse_start(run.model), study.split(run.split)
        if start not in models:
            began = time.perf_counter()
            models[start] = make_trunk(start, split.train.class_names, study.setup)
            hash_trunk(models[start])
            opening[start] = 2 * (time.perf_counter() - began)  # and writing, scoring, looking features up
        model = models[start]
        protocol = make_protocol(study.setup.protocol, model, multi_label=split.train.multi_label)
        train_set = take_examples(split.train, run.examples, run.seed)
        read, score = clock.reading(split.train, model), clock.scoring(start, model)
        if run.pretrain and (key := (run.model, run.pretrain, run.seed)) not in pretrained:
            pretrained.add(key)
            source = take_examples(study.source_set, run.pretrain, run.seed)
            recipe = make_recipe_for(
                "full" if start.weights else "original", start, len(source.examples), study.setup, 0
            )
            learn = clock.learning(start, PRE, recipe, source.num_classes)
            seconds = _clips_of(recipe, len(source.examples)) * max(learn, clock.reading(source, model))
            add(f"{run.model} pre-training", seconds, f"{learn:.3f} s a clip learnt from")
        if run.mode in LINEAR_MODES:
            control = run.control if run.control in SEES or run.control == "random" else ""
            seed = run.seed if run.pretrain or control == "random" else 0
            known = extracted.setdefault((run.model, run.pretrain, seed, control), set())
            clips = {
                (example.video, example.start_seconds, example.end_seconds)
                for example in (*train_set.examples, *split.test.examples)
            }
            seconds = len(clips - known) * protocol.num_views * max(score, read)
            known |= clips
            size = len(train_set.examples) * _num_features(model) * train_set.num_classes
            seconds += size * PASSES * FIT_SECONDS + opening[start]
            add(what, seconds, f"{max(score, read):.3f} s a clip for features")
            continue
        recipe = make_recipe_for(
            run.mode, _as_pretrained(start, run), len(train_set.examples), study.setup, 0, model
        )
        learn = clock.learning(start, run.mode, _without_weights(recipe), train_set.num_classes)
        seconds = _clips_of(recipe, len(train_set.examples)) * max(learn, read)
        seconds += len(split.test.examples) * protocol.num_views * max(score, read)
        add(what, seconds, f"{learn:.3f} s a clip learnt from, {score:.3f} s scored")
    return list(found.values())


def _as_pretrained(start: Start, run: Run) -> Start:
    """The start of a run that is pre-trained first: there is no file yet, only its recipe is wanted."""
    return Start(start.network, start.weights or "pretrained") if run.pretrain else start


def _without_weights(recipe: Recipe) -> Recipe:
    return replace(recipe, model=replace(recipe.model, init=None))


def _clips_of(recipe: Recipe, num_examples: int) -> float:
    """Clips that a recipe sees in all."""
    if recipe.optim.unit == "steps":
        return recipe.optim.length * recipe.data.batch_size
    return recipe.optim.length * num_examples * recipe.data.repeats


def _num_features(model: VideoModel) -> int:
    weight: Any = model.get_submodule("head").weight
    return int(weight.shape[1])


def _read_one(dataset: Dataset, model: VideoModel, setup: Setup) -> float:
    """Seconds of reading one clip of the first example that can be read."""
    for example in dataset.examples[:20]:
        began = time.perf_counter()
        try:
            read_clips(
                example,
                dataset.root,
                model.spec,
                ClipRule("uniform"),
                short_side=model.spec.size,
                reading=setup.reading,
            )
        except VideoError:
            continue
        return time.perf_counter() - began
    return 0.0


def _score_one(model: VideoModel, setup: Setup) -> float:
    """Seconds of one view, once the network is warm."""
    extractor = Extractor(
        model, "head_input", device=setup.device, precision=setup.precision, threads=setup.threads
    )
    spec = model.spec
    pixels = torch.zeros(extractor.batch_size, spec.num_frames, spec.channels, spec.height, spec.width)
    extractor(pixels)
    extractor(pixels)
    began = time.perf_counter()
    extractor(pixels)
    return (time.perf_counter() - began) / extractor.batch_size


def _learn_one(recipe: Recipe, num_classes: int) -> float:
    """Seconds of one clip, forward and backward, once the network is warm."""
    place = choose_device(recipe.run.device)
    model = build_network(recipe, tuple(f"class {label}" for label in range(num_classes))).to(place).train()
    freeze_parameters(model, recipe.model)
    size = min(recipe.run.part_size or recipe.data.batch_size, recipe.data.batch_size)
    size = max(1, size if place != "cpu" else min(size, 4))
    clip_BCTHW = make_clip(model.spec, size, device=place)
    if recipe.model.frozen_batch_norm == "all" or size == 1:
        model.eval()
    target_B = torch.zeros(size, dtype=torch.int64, device=place)
    seconds = math.inf
    for _ in range(2):
        began = time.perf_counter()
        loss = functional.cross_entropy(model(clip_BCTHW), target_B)
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for a GPU
        seconds = time.perf_counter() - began
        model.zero_grad()
    return seconds / size
