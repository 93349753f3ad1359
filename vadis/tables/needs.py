"""What it takes to measure a published number: networks, weights, data, hours, and the commands.

Hours are multiply-adds in disguise: how often the network runs on a clip, forwards for a test and forwards
and backwards (three times the cost) for training, times the seconds that one clip takes here. Reading and
decoding come on top.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vadis.config import Recipe
from vadis.data import DATASETS
from vadis.models import MODELS, create_model
from vadis.models.catalogue import Facts, list_facts
from vadis.models.contract import make_clip
from vadis.models.published import WEIGHTS, PublishedWeights
from vadis.models.weights import is_pulled
from vadis.recipes import RECIPES, default_recipe
from vadis.tables import Cell
from vadis.tables.results import transfer_mode

SIZES: dict[tuple[str, str], int] = {
    ("kinetics400", "train"): 246_535,
    ("kinetics400", "val"): 19_906,
    ("kinetics400", "test"): 38_685,
    ("kinetics700", "train"): 542_357,
    ("kinetics700", "val"): 34_824,
    ("ucf101", "train1"): 9_537,
    ("ucf101", "test1"): 3_783,
    ("hmdb51", "train1"): 3_570,
    ("hmdb51", "test1"): 1_530,
    ("sports1m", "train"): 793_211,
    ("sports1m", "test"): 200_000,
    ("charades", "train"): 7_985,
    ("charades", "test"): 1_863,
    ("something_v2", "train"): 168_913,
    ("something_v2", "val"): 24_777,
    ("coco", "val"): 5_000,
}
"""Videos (COCO: images) of a split as its lists name them, or as the copies that others publish count."""

TAGS = {
    "kinetics400": "k400",
    "kinetics600": "k600",
    "sports1m": "sports1m",
    "charades": "charades",
    "something_v2": "ssv2",
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
}
"""How names of weights and of recipes call a dataset."""

WHOLE_FRAMES = 250
FLOW = "tvl1"
"""The method that most papers of the lectures took."""
BACKWARD = 3  # forwards and backwards cost about three forwards


@dataclass(frozen=True)
class Needs:
    """What is missing for one cell, in sentences, and how to get the number.

    missing: nothing where all is at hand. weights: names that fit. num_clips: how often each network has to
    run on one clip, by name, training counted three times. commands: in order.
    """

    missing: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    num_clips: Mapping[str, float] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def hours(self, seconds_per_clip: Mapping[str, float]) -> float | None:
        """Hours here; None where a network was not timed, or nothing is to be run."""
        if not self.num_clips or not set(self.num_clips) <= set(seconds_per_clip):
            return None
        return sum(count * seconds_per_clip[name] for name, count in self.num_clips.items()) / 3600


def find_needs(cell: Cell, data_folder: Path) -> Needs:
    """What a cell needs. data_folder: where datasets are looked for, each in a folder of its name."""
    if not cell.is_accuracy:
        names = [name for name in dict.fromkeys(cell.models) if name in MODELS]
        return Needs(commands=tuple(f"vadis models show {name}" for name in names))
    if cell.metric == "relative_error_change":
        return Needs(missing=("it follows from the other cells of its row",))
    if not cell.models:
        return Needs(missing=("the lectures say too little of the method to build it",))
    absent = [name for name in dict.fromkeys(cell.models) if name not in MODELS]
    missing = [f"network: {', '.join(absent)} is not part of vadis (yet)"] if absent else []
    if "flow" in cell.modality:
        kinds = cell.modality.replace("_", " ").replace("+", " and ")
        missing.append(
            f"input: {kinds}; flow from `vadis flow`, or on the way, which is slow (--flow {FLOW})"
        )
    missing += _data(cell, data_folder)
    if cell.options:
        missing.append(f"weights: nobody publishes this form ({cell.options}); train it")
    needs = _transfer(cell, missing, data_folder) if cell.mode else _evaluation(cell, missing, data_folder)
    if cell.modality in ("", "rgb"):
        return needs
    taken = {name: list_facts([name])[0].modality for name in cell.models if name in MODELS}
    if "+".join(taken.values()) != cell.modality:  # the default build takes something else
        return replace(needs, commands=())
    flowing = [name for name, modality in taken.items() if "flow" in modality]
    return replace(needs, commands=tuple(_with_flow(command, flowing) for command in needs.commands))


def _with_flow(command: str, flowing: Iterable[str]) -> str:
    """A command that estimates flow where none is stored, if it reads videos for one of these networks."""
    reads = command.startswith(("vadis train", "vadis evaluate", "vadis transfer"))
    return f"{command} --flow {FLOW}" if reads and any(name in command for name in flowing) else command


def _data(cell: Cell, folder: Path) -> list[str]:
    place = folder / cell.dataset
    split = {"split1": "test1", "mean3": "test1"}.get(cell.split, cell.split)
    count = SIZES.get((cell.dataset, split))
    title = DATASETS[cell.dataset].title if cell.dataset in DATASETS else cell.dataset
    if cell.split == "challenge":
        return [f"data: the labels of {title}'s challenge are hidden; its server is needed"]
    if place.exists():
        return []
    videos = f", {count:,} videos to test on" if count else ""
    return [f"data: {title}{videos}, in its official layout at {place} (docs/datasets.md)"]


def find_weights(model: str, dataset: str, pretraining: str) -> list[PublishedWeights]:
    """Published weights of a network that were trained on a dataset, those with the same start first."""
    tag = TAGS.get(dataset, dataset)
    rows = [
        row
        for row in WEIGHTS.values()
        if row.model == model and row.name.partition(".")[2].split("_")[0] == tag
    ]
    imagenet = "imagenet" in pretraining.lower()
    return sorted(rows, key=lambda row: ("imagenet" in row.trained_on.lower()) != imagenet)


def _evaluation(cell: Cell, missing: list[str], folder: Path) -> Needs:
    """A network that was trained on the dataset that it is tested on."""
    place, commands, names = folder / cell.dataset, [], []
    num_clips: dict[str, float] = {}
    for model in dict.fromkeys(cell.models):
        if model not in MODELS:
            continue
        facts = list_facts([model])[0]
        found = [] if cell.options else find_weights(model, cell.dataset, cell.pretraining)
        recipe = find_recipe(model, cell.dataset, cell.pretraining)
        count = SIZES.get((cell.dataset, cell.split), 0) * _views(cell, facts)
        if found:
            names.append(found[0].name)
            if not is_pulled(found[0].name):
                missing.append(f"weights: {found[0].name} is published, but not fetched")
                commands.append(f"vadis weights pull {found[0].name}")
            missing += [note] if (note := _differs(found[0], cell)) else []
        elif not cell.options:
            missing.append(f"weights: nobody publishes {model} trained on {cell.dataset}")
        if not found and recipe is not None:
            train = f"vadis train {place} --recipe {recipe.name} --out runs/{recipe.name}"
            commands.append(train + "".join(f" --set {setting}" for setting in _settings(cell)))
            names.append(f"runs/{recipe.name}/best.safetensors")
            count += BACKWARD * num_training_clips(recipe, SIZES.get((cell.dataset, "train"), 0))
        elif not found:
            missing.append(f"recipe: none trains {model} on {cell.dataset}")
            continue
        if count:
            num_clips[model] = count
    if names and len(names) == len(cell.models):
        split = "" if cell.split in ("challenge", "") else f" --split {cell.split}"
        views = f" --protocol {cell.views}" if cell.views else ""
        outs = [f"results/{cell.table}/{name.replace('/', '_')}" for name in names]
        for name, out in zip(names, outs, strict=True):
            scores = f" --save-scores {out}.npz" if len(names) > 1 else ""
            commands.append(f"vadis evaluate {place} --model {name}{split}{views} --out {out}.json{scores}")
        if len(names) > 1:
            commands.append("vadis fuse " + " ".join(f"{out}.npz" for out in outs))
    return Needs(tuple(missing), tuple(names), num_clips, tuple(commands))


def _differs(row: PublishedWeights, cell: Cell) -> str:
    """What keeps published weights from being the paper's."""
    ours, theirs = "imagenet" in row.trained_on.lower(), "imagenet" in cell.pretraining.lower()
    if cell.pretraining and ours != theirs and not (row.trained_on == "Kinetics-400" and theirs):
        return f"weights: {row.name} comes from {row.trained_on}, the table's from {cell.pretraining}"
    return ""


def _settings(cell: Cell) -> list[str]:
    """What `--set` takes for a build that is not the default one."""
    found = []
    for option in cell.options.split(","):
        name = option.partition("=")[0]
        found += [f"model.options.{option}"] if name in ("pairwise", "extent") else []
        found += [f"data.{option}"] if name == "num_frames" else []
    return found


def merge_commands(commands: Iterable[str]) -> list[str]:
    """Each command once; studies that differ only in their modes as one."""
    merged: dict[str, list[str]] = {}
    for line in commands:
        found = re.search(r" --modes (\S+)", line)
        modes = merged.setdefault(line.replace(found[0], " --modes {}", 1) if found else line, [])
        if found and found[1] not in modes:
            modes.append(found[1])
    return [line.replace("{}", ",".join(modes), 1) if modes else line for line, modes in merged.items()]


def _transfer(cell: Cell, missing: list[str], folder: Path) -> Needs:
    """A network that goes from one dataset to another, or learns a small one from nothing."""
    names: list[str] = []
    commands: list[str] = []
    num_clips: dict[str, float] = {}
    mode = transfer_mode(cell)
    train, test = (SIZES.get((cell.dataset, f"{part}1"), 0) for part in ("train", "test"))
    splits = 3 if cell.split == "mean3" else 1
    source = next((key for key, title in _SOURCES.items() if title in cell.pretraining), "")
    for model in dict.fromkeys(cell.models):
        if model not in MODELS:
            continue
        facts = list_facts([model])[0]
        start = model
        if mode not in ("original", "imagenet"):
            found = find_weights(model, source, cell.pretraining)
            if not found:
                missing.append(f"weights: nobody publishes {model} trained on {source or cell.pretraining}")
                continue
            start = found[0].name
            missing += [note] if (note := _differs(found[0], cell)) else []
            if not is_pulled(start):
                missing.append(f"weights: {start} is published, but not fetched")
                commands.append(f"vadis weights pull {start}")
        names.append(start)
        views = _views(cell, facts)
        if mode in ("fixed", "svm"):
            count = (train + test) * views
        else:
            recipe = default_recipe(
                model, train, None if mode == "original" else start.partition(".")[2] or None
            )
            count = BACKWARD * num_training_clips(recipe, train) + test * views
        num_clips[model] = splits * count
    if names and len(names) == len(set(cell.models)):
        numbers = "1,2,3" if splits == 3 else "1"
        protocol = f" --protocol {cell.views}" if cell.views else ""
        place = folder / cell.dataset
        what = f"--init {names[0]}" if len(names) == 1 else f"--models {'+'.join(names)}"
        what += f" --modes {mode} --splits {numbers}{protocol}"
        commands.append(f"vadis transfer {place} {what} --out results/{cell.table}/{cell.dataset}")
    return Needs(tuple(missing), tuple(names), num_clips, tuple(commands))


_SOURCES = {"minikinetics80k": "miniKinetics", "kinetics400": "Kinetics-400", "sports1m": "Sports-1M"}


def find_recipe(model: str, dataset: str, pretraining: str) -> Recipe | None:
    """The recipe that trains a network on a dataset, from ImageNet where the table's did; None without."""
    name = f"{model}_{TAGS.get(dataset, dataset)}"
    for candidate in (f"{name}_imagenet" if "ImageNet" in pretraining else f"{name}_scratch", name):
        if candidate in RECIPES:
            return RECIPES[candidate]()
    return None


def num_training_clips(recipe: Recipe, num_examples: int) -> float:
    """How many clips a recipe goes through, for so many examples."""
    if recipe.optim.unit == "steps":
        return recipe.optim.length * recipe.data.batch_size
    return recipe.optim.length * num_examples * recipe.data.repeats


def _views(cell: Cell, facts: Facts) -> float:
    """Clips of a video's test, counted in clips of the network's own size."""
    if cell.views == "whole":
        return WHOLE_FRAMES / facts.num_frames
    clips, _, crops = cell.views.partition("-")[0].partition("x")
    if not crops.isdigit():
        return 25.0 if cell.views == "dense" else 1.0
    larger = (256 / facts.crop) ** 2 if cell.views.startswith("10x3") and facts.crop < 256 else 1.0
    return int(clips) * int(crops) * larger


def time_clip(name: str, tiny: bool = False) -> float:
    """Seconds that one clip of a network's own size takes here, forwards, in float32: the best of two runs.

    The weights are random, which changes nothing. The first run warms up and is not counted.
    """
    model = create_model(name, tiny=tiny).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    clip_BCTHW = make_clip(model.spec, fill=torch.randn, device=device)
    best = math.inf
    with torch.inference_mode():
        for number in range(3):
            before = time.perf_counter()
            model(clip_BCTHW).sum().item()
            if number:
                best = min(best, time.perf_counter() - before)
    return best


def list_timed(needs: Iterable[Needs]) -> list[str]:
    """The networks whose time the hours of some cells depend on, each once."""
    return list(dict.fromkeys(name for each in needs for name in each.num_clips))
