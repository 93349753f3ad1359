"""Killed at any moment and gone on: the same weights to the bit; and the stops that lose nothing."""

from __future__ import annotations

import csv
import multiprocessing
import random
import time
from dataclasses import replace
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
from made_clips import made_dataset, tiny_recipe
from quick_processes import quick_context
from safetensors.torch import load_file

from vadis.config import Augment, Recipe
from vadis.records import Dataset
from vadis.training import train
from vadis.training.checkpoints import Checkpoints


def chancy_recipe() -> Recipe:
    """Everything that has chance in it: workers, augmentation, dropout, mixing, a running mean, a plateau."""
    recipe = tiny_recipe(
        model={"name": "mfnet3d", "options": {"dropout": 0.3}},
        optim={"length": 3, "name": "adamw", "lr": 2e-3, "ema": 0.9, "schedule": "plateau", "patience": 0},
        run={"checkpoint_steps": 1},
    )
    augment = Augment(crop="resized", flip=0.5, colour=(0.2, 0.2, 0.2, 0.1), grey=0.2, mixup=0.4, cutmix=1.0)
    return replace(recipe, data=replace(recipe.data, workers=2, batch_size=3, augment=augment))


def one_run(clips: Path, out: Path, resume: bool = False) -> None:
    """The run that the tests kill: 8 clips, 3 a step, 3 epochs, validated after each."""
    multiprocessing.set_start_method("fork", force=True)  # workers that need no imports either
    validation = opened(clips, "val", 4, 100)
    train(opened(clips, "train", 8, 0), chancy_recipe(), out, validation=validation, resume=resume)


def opened(root: Path, split: str, num_examples: int, first: int) -> Dataset:
    """`made_dataset` of videos that are already written."""
    from vadis.records import Example

    numbers = range(first, first + num_examples)
    examples = tuple(Example(f"{split}_{n}.mp4", f"{split}-{n}", (n % 2,)) for n in numbers)
    return Dataset("bars", str(root), split, ("down", "up"), examples)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    made_dataset(root, 8)
    made_dataset(root, 4, "val", 100)
    return root


@pytest.fixture(scope="module")
def quick() -> BaseContext:
    """A context of processes that start at once."""
    return quick_context()


def weights(path: Path) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in load_file(path).items()}


def lines(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV without what a clock says."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return [{key: row[key] for key in row if key not in ("seconds", "waiting")} for row in rows]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_killed_at_five_moments_it_ends_with_the_same_weights(
    clips: Path, tmp_path: Path, quick: BaseContext
) -> None:
    whole = tmp_path / "whole"
    one_run(clips, whole)
    out, journal = tmp_path / "killed", tmp_path / "killed" / "steps.csv"
    steps_done = []
    rng = random.Random()  # other moments in every run of this test
    for _ in range(5):
        process = quick.Process(target=one_run, args=(clips, out, True))
        process.start()
        kept = max(Checkpoints(out / "checkpoints").steps(), default=0)
        while process.is_alive() and (not journal.exists() or len(lines(journal)) <= kept):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.4))  # in a step, in a checkpoint, in a validation
        process.kill()
        process.join()
        steps_done.append(max(Checkpoints(out / "checkpoints").steps(), default=0))
    process = quick.Process(target=one_run, args=(clips, out, True))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert steps_done == sorted(steps_done)
    assert steps_done[-1] > 0
    for name in ("last.safetensors", "best.safetensors"):
        assert weights(out / name) == weights(whole / name), f"{name} differs; killed after {steps_done}"
    for name in ("steps.csv", "metrics.csv"):
        assert lines(out / name) == lines(whole / name)
