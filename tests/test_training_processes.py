"""Several processes train as one: the same losses, and nobody waits for ever for one without clips."""

from __future__ import annotations

import copy
import csv
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
import torch
from made_clips import CLASSES, made_dataset, tiny_recipe, write_bar
from quick_processes import quick_context
from safetensors.torch import load_file
from torch import nn

from vadis.config import Augment, override
from vadis.records import Dataset, Example
from vadis.training import train
from vadis.training.start import build_network


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made_dataset(tmp_path_factory.mktemp("bars"), 8)


@pytest.fixture(scope="module")
def quick() -> BaseContext:
    """A context of processes that start at once."""
    return quick_context()


def one_of(rank: int, count: int, port: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """What torchrun starts: one process of several, which finds the others by its environment."""
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {key: str(value) for key, value in where.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    result = train(*arguments, **options)
    if rank == 0:
        (result.last.parent / "skipped.json").write_text(json.dumps(result.skipped))
    torch.distributed.destroy_process_group()


def together(quick: BaseContext, count: int, *arguments: Any, **options: Any) -> None:
    """`train` in several processes at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        quick.Process(target=one_of, args=(rank, count, port, arguments, options))  # type: ignore[attr-defined]
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


def rows(out: Path, name: str = "steps.csv") -> list[dict[str, float]]:
    text = (out / name).read_text().splitlines()
    clocks = ("seconds", "waiting")
    return [{k: float(v or 0) for k, v in row.items() if k not in clocks} for row in csv.DictReader(text)]


def assert_alike(one: Path, other: Path) -> None:
    for name in ("steps.csv", "metrics.csv"):
        assert len(rows(one, name)) == len(rows(other, name)) > 0
        for first, second in zip(rows(one, name), rows(other, name), strict=True):
            assert first == pytest.approx(second, abs=1e-5, rel=1e-4)
            assert first.get("loss", 0) == pytest.approx(second.get("loss", 0), abs=1e-5)
    first, second = load_file(one / "last.safetensors"), load_file(other / "last.safetensors")
    assert all(torch.allclose(first[key], second[key], atol=1e-5) for key in first)


RECIPE = replace(
    tiny_recipe(
        model={"name": "timesformer_divided", "drop_path": 0.0},
        data={"batch_size": 4, "augment": Augment(crop="resized", flip=0.5)},
        optim={"lr": 0.05, "weight_decay": 0.1, "clip_norm": 1.0, "length": 2, "ema": 0.8},
    )
)
"""A network without batch statistics, with nothing left out by chance."""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(bars: Dataset, tmp_path: Path, quick: BaseContext) -> None:
    """The last step of each epoch has 3 clips for 2 processes; validation has 7 examples."""
    data, held_out = replace(bars, examples=bars.examples[:7]), replace(bars, examples=bars.examples[1:])
    train(data, RECIPE, tmp_path / "one", validation=held_out)
    often = override(RECIPE, ["run.checkpoint_steps=3"])
    together(quick, 2, data, often, tmp_path / "two", validation=held_out)
    assert [row["clips"] for row in rows(tmp_path / "two")] == [4, 3, 4, 3]
    assert_alike(tmp_path / "one", tmp_path / "two")
    parts = override(RECIPE, ["run.part_size=1"])
    together(quick, 2, data, parts, tmp_path / "parts", validation=held_out)
    assert_alike(tmp_path / "one", tmp_path / "parts")
    # and a run of two goes on alone, to the same losses
    (tmp_path / "two" / "checkpoints" / "step-00000004.pt").unlink()
    train(data, RECIPE, tmp_path / "two", validation=held_out, resume=True)
    assert_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_process_without_clips_steps_all_the_same(
    bars: Dataset, tmp_path: Path, quick: BaseContext
) -> None:
    """Two clips a step, one of them broken: its process has nothing to pass backward.

    A parameter that nobody uses has no gradient in either, and is not moved by decay.
    """
    broken = (Example("gone.mp4", "gone", (0,)), *bars.examples[:4])
    data = replace(bars, examples=broken)
    recipe = override(RECIPE, ["data.batch_size=2", "model.freeze=blocks.0."])
    model = build_network(recipe, CLASSES)
    model.unused = nn.Parameter(torch.ones(3))
    train(data, recipe, tmp_path / "one", model=copy.deepcopy(model))
    together(quick, 2, data, recipe, tmp_path / "two", model=model)
    assert load_file(tmp_path / "two" / "last.safetensors")["unused"].tolist() == [1.0, 1.0, 1.0]
    counts = [row["clips"] for row in rows(tmp_path / "two")]
    assert sorted(counts) in ([0, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2], [0, 0, 2, 2, 2, 2])
    assert_alike(tmp_path / "one", tmp_path / "two")
    (line,) = json.loads((tmp_path / "two" / "skipped.json").read_text())
    assert line.startswith("2 x gone: ")


@pytest.mark.slow
def test_batch_norm_of_two_processes_is_one(bars: Dataset, tmp_path: Path, quick: BaseContext) -> None:
    """Each normalises its own clips; what is kept is the mean, and a run that goes on does not differ."""
    recipe = tiny_recipe(run={"checkpoint_steps": 1})
    together(quick, 2, bars, recipe, tmp_path)
    whole = load_file(tmp_path / "last.safetensors")
    (tmp_path / "checkpoints" / "step-00000004.pt").unlink()
    (tmp_path / "last.safetensors").unlink()
    together(quick, 2, bars, recipe, tmp_path, resume=True)
    again = load_file(tmp_path / "last.safetensors")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.slow
def test_the_verb_under_torchrun(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "clips" / CLASSES[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bar(path, number % 2, number)
    settings = "model.tiny=true data.num_frames=4 data.size=36 data.crop=32 data.batch_size=4 data.workers=0"
    words = [word for setting in settings.split() for word in ("--set", setting)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "vadis", "train", "clips", "--model", "r3d_18", "--device", "cpu", "--json", *words]
    command += ["--set", "optim.length=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)  # one process speaks
    assert document["out"] == "runs/train/default-for-r3d_18-1"
    assert "2 processes" in ran.stderr
    about = json.loads((tmp_path / document["out"] / "recipe.json").read_text())
    assert about["processes"] == 2


def test_a_batch_that_cannot_be_shared(bars: Dataset) -> None:
    from vadis.training.feeding import make_loader

    class Three:
        rank, count, device = 0, 3, torch.device("cpu")

    spec = replace(tiny_spec(), num_frames=4)
    with pytest.raises(ValueError, match="not a multiple of the 3 processes"):
        make_loader(bars, spec, RECIPE.data, RECIPE.run, Three())  # type: ignore[arg-type]


def tiny_spec() -> Any:
    from vadis.specs import ClipSpec

    return ClipSpec(size=36, crop=32)
