"""A training step of ours against the same network of pytorchvideo in a plain loop; the wait for data.

    python benchmarks/training.py [--only PATTERN] [--rounds 5] [--batch 2] [--device cuda] [--precision bf16]

Steps are taken in turns in one run: one of `vadis.training.train` (all of it but the wait for clips, which a
worker decodes: pixels to floats, forward, loss, backward, norm of the gradient, optimiser), then one of the
loop that anyone writes, on a batch of the same shape (pixels to floats, forward, loss, backward, optimiser).
Both with SGD, momentum and weight decay. A ratio above 1 means that ours is faster. On a CPU the processor's
time of a step stands beside it, which other programs disturb less, and the ratio is of that. pytorchvideo:
`pip install -e '.[peers]'`. The videos are those of benchmarks/loading.py (10 s, 340x256, H.264).

Then, with --wait (on a GPU always), training alone, with workers: the share of time that it waits for clips,
without the first steps, in which the workers start.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from loading import FOLDER, make
from models import from_pytorchvideo, pathways
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.models import create_model
from vadis.records import Dataset, Example
from vadis.training import Moment, train

LR, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4
STARTING_STEPS = 3  # of the measured wait: the workers are not yet at work
MEAN, STD = 0.45, 0.225


class Pair(NamedTuple):
    """A network of ours, its name in pytorchvideo's zoo, the frames of a clip, and how theirs takes it."""

    ours: str
    theirs: str
    num_frames: int
    feed: Callable[[Tensor], Any]


PAIRS = (
    Pair("c2d_r50_8x8", "c2d_r50", 8, lambda clip: clip),
    Pair("i3d_r50_8x8", "i3d_r50", 8, lambda clip: clip),
    Pair("slow_r50_8x8", "slow_r50", 8, lambda clip: clip),
    Pair("slowfast_r50_8x8", "slowfast_r50", 32, pathways(4)),
)


class PlainLoop:
    """The loop that anyone writes, a step at a time."""

    def __init__(self, pair: Pair, options: argparse.Namespace) -> None:
        self.feed, self.device, self.precision = pair.feed, options.device, options.precision
        self.network = from_pytorchvideo(pair.theirs).to(self.device).train()
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), LR, MOMENTUM, weight_decay=DECAY, nesterov=True
        )
        shape = (options.batch, 3, pair.num_frames, options.crop, options.crop)
        self.pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        self.labels = torch.arange(options.batch) % 2

    def step(self) -> None:
        """One step; the loss is fetched, as for a line of progress."""
        clip = (self.pixels.to(self.device).float() / 255 - MEAN) / STD
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(self.feed(clip))
            loss = F.cross_entropy(logits.float(), self.labels.to(self.device))
        loss.backward()
        self.optimiser.step()
        loss.item()


def synchronise(device: str) -> None:
    """Wait for a GPU to finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def list_videos(count: int) -> Dataset:
    """So many made videos, of two classes in turn; those that stand are kept."""
    FOLDER.mkdir(exist_ok=True)
    names = [f"{number:04d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        if not (FOLDER / name).exists():
            make(FOLDER / name, number)
    examples = tuple(Example(name, name, (number % 2,)) for number, name in enumerate(names))
    return Dataset("made", str(FOLDER), "train", ("even", "odd"), examples)


def plan(pair: Pair, num_steps: int, workers: int, num_videos: int, options: argparse.Namespace) -> Recipe:
    """A run of so many steps, all in one epoch, which looks at nothing but the clock."""
    return Recipe(
        name="benchmark",
        data=DataConfig(
            num_frames=pair.num_frames,
            size=256,
            crop=options.crop,
            batch_size=options.batch,
            repeats=-(-num_steps * options.batch // num_videos),
            workers=workers,
            augment=Augment(short_side=(256, 320)),
        ),
        model=ModelConfig(name=pair.ours),
        optim=OptimConfig(
            lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY, unit="steps", length=num_steps
        ),
        run=RunConfig(device=options.device, precision=options.precision, validate_every=0),
    )


def run(
    recipe: Recipe, videos: Dataset, on_step: Callable[[Moment], object] | None
) -> list[dict[str, float]]:
    """Train, and return what steps.csv says of each step."""
    with tempfile.TemporaryDirectory() as folder:
        train(videos, recipe, Path(folder) / "run", on_step=on_step)
        with (Path(folder) / "run" / "steps.csv").open(newline="") as file:
            return [{key: float(row[key]) for key in ("seconds", "waiting")} for row in csv.DictReader(file)]


class Times(NamedTuple):
    """Seconds of a step on the clock, and of the processor (all threads of this process)."""

    clock: float
    processor: float


def compare(pair: Pair, videos: Dataset, options: argparse.Namespace) -> tuple[Times, Times]:
    """The smallest times of a step of ours and of theirs, in turns; the first of each warms up."""
    rival = PlainLoop(pair, options)
    ours: list[Times] = []
    theirs: list[Times] = []
    began = time.process_time()

    def take_turn(moment: Moment) -> None:
        nonlocal began
        if moment.phase != "training":
            return
        start = time.perf_counter()
        synchronise(options.device)  # what the optimiser still does is ours
        middle, processor = time.perf_counter(), time.process_time()
        ours.append(Times(middle - start, processor - began))
        rival.step()
        synchronise(options.device)
        theirs.append(Times(time.perf_counter() - middle, time.process_time() - processor))
        began = time.process_time()

    rows = run(plan(pair, options.rounds + 1, 1, len(videos.examples), options), videos, take_turn)
    clocks = [row["seconds"] - row["waiting"] + rest.clock for row, rest in zip(rows, ours, strict=True)]
    mine = Times(min(clocks[1:]), min(each.processor for each in ours[1:]))
    return mine, Times(min(each.clock for each in theirs[1:]), min(each.processor for each in theirs[1:]))


def share_of_waiting(pair: Pair, videos: Dataset, options: argparse.Namespace) -> tuple[float, float]:
    """The share of its time that training waits for clips, and clips per second."""
    num_steps = options.steps + STARTING_STEPS
    recipe = plan(pair, num_steps, options.workers, len(videos.examples), options)
    rows = run(recipe, videos, None)[STARTING_STEPS:]
    seconds = sum(row["seconds"] for row in rows)
    return sum(row["waiting"] for row in rows) / seconds, len(rows) * options.batch / seconds


def count_parameters(network: nn.Module) -> int:
    """How many numbers learn."""
    return sum(parameter.numel() for parameter in network.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every pair, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="shell pattern of our names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2, help="clips of a step")
    parser.add_argument("--crop", type=int, default=224, help="pixels; pytorchvideo's heads want 224 or more")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--wait", action="store_true", help="the share of time spent waiting, too")
    parser.add_argument("--steps", type=int, default=40, help="of the wait")
    parser.add_argument("--workers", type=int, default=2, help="of the wait")
    options = parser.parse_args(arguments)
    videos = list_videos(options.videos)
    pairs = [pair for pair in PAIRS if fnmatch.fnmatch(pair.ours, options.only)]
    threads = f"{torch.get_num_threads()} threads"
    print(f"{options.device}, {options.precision}, torch {torch.__version__}, {threads}")
    print(f"a step of {options.batch} clips of {options.crop} pixels, smallest of {options.rounds}")
    print(f"{'':43}{'on the clock, s':>19}{'processor, s':>19}")
    print(f"{'ours':20}{'pytorchvideo':16}{'frames':>7}" + f"{'ours':>9}{'theirs':>10}" * 2 + f"{'ratio':>7}")
    ratios = []
    for pair in pairs:
        if count_parameters(create_model(pair.ours)) != count_parameters(from_pytorchvideo(pair.theirs)):
            raise RuntimeError(f"{pair.ours} and {pair.theirs} are not the same network")
        ours, theirs = compare(pair, videos, options)
        which = 0 if options.device == "cuda" else 1
        ratios.append(theirs[which] / ours[which])
        times = "".join(f"{mine:9.3f}{other:10.3f}" for mine, other in zip(ours, theirs, strict=True))
        print(f"{pair.ours:20}{pair.theirs:16}{pair.num_frames:7}{times}{ratios[-1]:7.2f}", flush=True)
    if ratios:
        print(f"smallest ratio {min(ratios):.2f}, geometric mean {statistics.geometric_mean(ratios):.2f}")
    if options.wait or options.device == "cuda":
        print(
            f"{'network':20}{'clips/s':>9}{'waiting':>9}   {options.workers} workers, {options.steps} steps"
        )
        for pair in pairs:
            share, speed = share_of_waiting(pair, videos, options)
            print(f"{pair.ours:20}{speed:9.2f}{share:9.1%}", flush=True)


if __name__ == "__main__":
    main()
