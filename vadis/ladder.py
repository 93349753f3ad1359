"""`vadis ladder`: every network of the ladder in its small form, one budget, one protocol, one picture.

    run_ladder("shapes", Path("ladder"), networks=("fr2d_18", "r3d_18"))

A network joins by one line in `LADDER`. All of them see the same clips equally often, at the same size, with
the same optimiser; only the network differs. What comes out is not how good a network is (the small forms are
for tests, and each would want a rate of its own): it is what a network can see at all. The test of that is
`order`: of two classes that are the same films played forwards and backwards, which one is it? Half is
chance, and a network whose answer does not depend on the order of frames cannot do better.

Each run is a folder, OUT/runs/NETWORK.SEED, with a `result.json` once it is done; so a stopped ladder goes
on, and two commands with other `--networks` may fill one folder together.
"""

from __future__ import annotations

import csv
import inspect
import io
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.data.benchmark import make, read
from vadis.data.shapes import CLASS_GROUPS, CLASS_NAMES, FPS, REVERSED_PAIRS
from vadis.evaluation import measure, score_dataset
from vadis.evaluation.measures import wilson_interval
from vadis.models import MODELS
from vadis.models.cost import measure_cost
from vadis.prediction import Predictor
from vadis.records import DataError, Dataset
from vadis.training import train
from vadis.video.write import part_file


@dataclass(frozen=True)
class Rung:
    """A network of the ladder: its idea in a few words, and whether it ignores the order of frames."""

    idea: str
    blind: bool = False


LADDER: dict[str, Rung] = {
    "deepvideo_single": Rung("AlexNet on each frame, scores averaged", blind=True),
    "deepvideo_context": Rung("AlexNet on smaller frames", blind=True),
    "deepvideo_fovea": Rung("AlexNet on the middle of frames", blind=True),
    "deepvideo_multires": Rung("whole frame and its middle, two streams", blind=True),
    "deepvideo_early": Rung("frames meet in the first layer"),
    "deepvideo_late": Rung("first and last frame meet in fc6"),
    "deepvideo_slow": Rung("frames meet in three steps"),
    "two_stream_spatial_vgg16": Rung("VGG-16 on each frame, scores averaged", blind=True),
    "snippets_conv_pooling": Rung("maximum over frames of a map", blind=True),
    "snippets_late_pooling": Rung("maximum over frames of features", blind=True),
    "snippets_slow_pooling": Rung("maximum over windows, then over all"),
    "snippets_local_pooling": Rung("windows side by side"),
    "snippets_time_conv": Rung("a convolution over ten frames, then pooled"),
    "snippets_lstm": Rung("five layers of LSTM read the frames"),
    "lstm_inception": Rung("Inception and one LSTM"),
    "tsn_bninception": Rung("a frame of each segment, scores averaged", blind=True),
    "fr2d_18": Rung("2D convolutions on each frame, averaged", blind=True),
    "c2d_r50_8x8": Rung("2D ResNet, frames pooled", blind=True),
    "timesformer_space": Rung("attention within each frame", blind=True),
    "r2d_18": Rung("2D convolutions, frames as channels"),
    "i2d_inception": Rung("2D Inception, pooled over time"),
    "c3d_bn": Rung("3D convolutions, plain"),
    "i3d_inception": Rung("Inception inflated"),
    "i3d_top_heavy": Rung("3D above, 2D below"),
    "i3d_bottom_heavy": Rung("3D below, 2D above"),
    "s3d": Rung("separable Inception"),
    "s3dg": Rung("separable, with gating"),
    "r3d_18": Rung("3D ResNet"),
    "mc3_18": Rung("3D below, 2D above"),
    "rmc3_18": Rung("2D below, 3D above"),
    "r2plus1d_18": Rung("(2+1)D ResNet"),
    "resnet3d_18": Rung("3D ResNet, time strided at once"),
    "resnext3d_101": Rung("3D ResNeXt"),
    "stc_resnet3d_101": Rung("temporal and spatial channel gates"),
    "p3d_63": Rung("pseudo-3D blocks A, B, C"),
    "lgd_p3d_r50": Rung("local and global diffusion"),
    "mfnet3d": Rung("multi-fibre"),
    "artnet_r18": Rung("appearance and relation"),
    "eco_lite": Rung("2D per frame, then 3D"),
    "eco_full": Rung("2D per frame, then 3D beside 2D"),
    "ir_csn_152": Rung("channel-separated"),
    "i3d_r50_8x8": Rung("inflated ResNet"),
    "c2d_r50_8x8_nl5": Rung("2D ResNet with non-local blocks", blind=True),
    "i3d_r50_8x8_nl5": Rung("inflated ResNet with non-local blocks"),
    "slow_r50_8x8": Rung("slow pathway alone"),
    "slowfast_r50_4x16": Rung("slow and fast pathways"),
    "timesformer_joint": Rung("attention over space and time"),
    "timesformer_divided": Rung("attention in time, then in space"),
    "timesformer_local_global": Rung("local, then strided attention"),
    "timesformer_axial": Rung("attention along each axis"),
}
"""The networks, from those that see frames to those that see time; the order is that of the table."""


@dataclass(frozen=True)
class Budget:
    """What every network gets: clips of each class (two thirds to train on), pixels, frames, epochs, rate."""

    clips_per_class: int = 300
    size: int = 48
    num_frames: int = 16
    epochs: float = 4.0
    lr: float = 2e-3
    batch_size: int = 16


def build_options(network: str, budget: Budget) -> dict[str, Any]:
    """What a network is built with to take the budget's clips: some are tied to a number of frames."""
    sizes = {"num_frames": budget.num_frames, "crop": budget.size}
    known = inspect.signature(MODELS[network]).parameters
    return {"tiny": True, **{key: value for key, value in sizes.items() if key in known}}


def ladder_recipe(network: str, budget: Budget, seed: int) -> Recipe:
    """The one recipe of all: AdamW, half a cosine, no dropout, no mirror (it would exchange classes)."""
    options = {key: value for key, value in build_options(network, budget).items() if key != "tiny"}
    frames = DataConfig(
        num_frames=budget.num_frames,
        frame_stride=1,
        fps=FPS,  # every frame of the made clips, also for networks that look at one in a second
        size=budget.size,
        crop=budget.size,
        batch_size=budget.batch_size,
        augment=Augment(crop="centre", flip=0.0),
    )
    return Recipe(
        name=f"ladder_{network}",
        title="One budget for the small form of every network",
        data=frames,
        model=ModelConfig(name=network, tiny=True, dropout=0.0, options=options),
        optim=OptimConfig(
            name="adamw",
            lr=budget.lr,
            weight_decay=0.02,
            no_decay=("norm", "bias"),
            length=budget.epochs,
            warmup=0.1 * budget.epochs,
            clip_norm=1.0,
        ),
        run=RunConfig(seed=seed, validate_every=0, checkpoint_minutes=1.0),
    )


def run_network(
    network: str, budget: Budget, seed: int, train_set: Dataset, test_set: Dataset, folder: Path, workers: int
) -> dict[str, Any]:
    """Train and test one network, or read what an earlier run found; the numbers as JSON holds them."""
    file = folder / "result.json"
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known["budget"] != asdict(budget):
            raise DataError(f"{file}: was made with another budget ({known['budget']}); name a new folder")
        return known
    recipe = ladder_recipe(network, budget, seed)
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    trained = train(train_set, recipe, folder, resume=(folder / "recipe.json").exists())
    model = Predictor(trained.last).network
    scored = score_dataset(model, test_set, "1x1", workers=workers)
    numbers = measure(scored, test_set)
    cost = measure_cost(model, model.spec.shapes)
    result = {
        "network": network,
        "seed": seed,
        "budget": asdict(budget),
        "top1": numbers["top1"],
        "groups": {name: group["top1"] for name, group in numbers["groups"].items()},
        "order": order_accuracy(scored.scores_NK, test_set),
        "num_test": len(test_set.examples),
        "num_parameters": cost.num_parameters,
        "gmac": cost.gmac,
    }
    with part_file(file) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def order_accuracy(scores_NK: np.ndarray, dataset: Dataset) -> float:
    """Given that a clip is of a pair of reversed classes, which of the two? Share that is right.

    Only the two scores of the pair are compared; equal ones count one half. Chance is one half.
    """
    hits = []
    for pair in REVERSED_PAIRS:
        first, second = (dataset.class_names.index(name) for name in pair)
        for scores_K, example in zip(scores_NK, dataset.examples, strict=True):
            if example.labels[0] in (first, second):
                other = second if example.labels[0] == first else first
                margin = scores_K[example.labels[0]] - scores_K[other]
                hits.append(0.5 if margin == 0 else float(margin > 0))
    return sum(hits) / len(hits)


@dataclass(frozen=True)
class Row:
    """One network over all its seeds: means of shares in [0, 1], and the spread of `order` over seeds."""

    network: str
    idea: str
    blind: bool
    num_seeds: int
    num_parameters: int
    gmac: float
    appearance: float
    motion: float
    camera: float
    order: float
    order_low: float
    order_high: float
    top1: float


COLUMNS = ("appearance", "motion", "camera", "order", "top1")


def summarise(results: Sequence[dict[str, Any]]) -> list[Row]:
    """Results of runs to one row a network, in the order of `LADDER`; intervals of `order` are Wilson's."""
    rows = []
    for network, rung in LADDER.items():
        runs = [result for result in results if result["network"] == network]
        if not runs:
            continue

        def mean(key: str, runs: list[dict[str, Any]] = runs) -> float:
            return statistics.fmean(run["groups"][key] for run in runs)

        order = statistics.fmean(run["order"] for run in runs)
        num_pairs = round(
            len(CLASS_GROUPS["reversed"]) / len(CLASS_NAMES) * sum(run["num_test"] for run in runs)
        )
        low, high = wilson_interval(order * num_pairs, num_pairs) or (0.0, 1.0)
        rows.append(
            Row(
                network,
                rung.idea,
                rung.blind,
                len(runs),
                runs[0]["num_parameters"],
                runs[0]["gmac"],
                mean("appearance"),
                mean("motion"),
                mean("camera"),
                order,
                low,
                high,
                statistics.fmean(run["top1"] for run in runs),
            )
        )
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """The table of docs/ladder.md; shares in percent."""
    lines = [
        "| network, small | idea | parameters | multiply-adds | appearance | motion | camera | order |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        blind = " (blind to order)" if row.blind else ""
        lines.append(
            f"| {row.network} | {row.idea}{blind} "
            f"| {row.num_parameters / 1e3:.0f} k | {row.gmac * 1e3:.1f} M "
            f"| {row.appearance:.0%} | {row.motion:.0%} | {row.camera:.0%} "
            f"| {row.order:.0%} ({row.order_low:.0%} to {row.order_high:.0%}) |"
        )
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """All fields of all rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__annotations__))
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def draw_ladder(rows: Sequence[Row], file: Path) -> None:
    """Accuracy against cost, a panel each for appearance, motion and order; blind networks are hollow."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(15, 5.2), sharex=True, layout="constrained")
    chances = {"appearance": 1 / 25, "motion": 1 / 25, "order": 1 / 2}
    titles = {
        "appearance": "appearance: one frame is enough",
        "motion": "motion: no single frame is",
        "order": "forwards or backwards?",
    }
    for panel, (key, chance) in zip(panels, chances.items(), strict=True):
        for number, row in enumerate(rows, 1):
            value = 100 * float(getattr(row, key))
            face = "white" if row.blind else "tab:blue"
            panel.scatter(row.gmac * 1e3, value, s=42, color=face, edgecolors="tab:blue", zorder=3)
            panel.annotate(
                str(number), (row.gmac * 1e3, value), (4, 4), textcoords="offset points", fontsize=8
            )
        panel.axhline(100 * chance, color="grey", linestyle=":", label="chance")
        panel.set_title(titles[key])
        panel.set_xscale("log")
        panel.set_xlabel("multiply-adds of a clip (millions)")
        panel.set_ylim(0, 102)
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("clips right (%)")
    names = "   ".join(f"{number} {row.network}" for number, row in enumerate(rows, 1))
    figure.supxlabel(names, fontsize=8, wrap=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def run_ladder(
    benchmark: str,
    out: Path,
    *,
    networks: Sequence[str] = tuple(LADDER),
    seeds: int = 1,
    budget: Budget = Budget(),
    workers: int = 1,
    on_result: Callable[[dict[str, Any], int, int], object] | None = None,
) -> list[Row]:
    """Make the clips, train and test each network with each seed, write table and picture into `out`.

    on_result: gets each result, its number and how many there are. Raises ValueError for names that are not
    on the ladder, or another benchmark than "shapes".
    """
    if benchmark != "shapes":
        raise ValueError(f"the ladder is climbed on shapes, not on {benchmark!r}")
    unknown = [network for network in networks if network not in LADDER]
    if unknown:
        raise ValueError(f"not on the ladder: {', '.join(unknown)}; there are {', '.join(LADDER)}")
    clips = out / "clips"
    make(
        "shapes",
        clips,
        clips_per_class=budget.clips_per_class,
        size=budget.size,
        num_frames=budget.num_frames,
    )
    train_set, test_set = read(clips, "train"), read(clips, "test")
    work = [(seed, network) for seed in range(seeds) for network in networks]
    for number, (seed, network) in enumerate(work, 1):
        folder = out / "runs" / f"{network}.{seed}"
        result = run_network(network, budget, seed, train_set, test_set, folder, workers)
        if on_result is not None:
            on_result(result, number, len(work))
    return write_ladder(out)


def write_ladder(out: Path) -> list[Row]:
    """Table (Markdown, CSV) and picture of all results that lie under a folder."""
    files = sorted((out / "runs").glob("*/result.json"))
    rows = summarise([json.loads(file.read_text(encoding="utf-8")) for file in files])
    (out / "ladder.md").write_text(to_markdown(rows), encoding="utf-8")
    (out / "ladder.csv").write_text(to_csv(rows), encoding="utf-8")
    draw_ladder(rows, out / "ladder.png")
    return rows


def run(benchmark: str, out: Path, networks: str | None, seeds: int, workers: int, budget: Budget) -> int:
    """`vadis ladder`: a line a network as it is done, the table at the end; returns the exit code."""

    def say(result: dict[str, Any], number: int, total: int) -> None:
        shares = ", ".join(f"{key} {value:.0%}" for key, value in result["groups"].items())
        name = f"{number}/{total} {result['network']} (seed {result['seed']})"
        sys.stderr.write(f"{name}: {shares}, order {result['order']:.0%}\n")

    names = tuple(LADDER) if networks is None else tuple(name.strip() for name in networks.split(","))
    rows = run_ladder(
        benchmark, out, networks=names, seeds=seeds, budget=budget, workers=workers, on_result=say
    )
    sys.stdout.write(to_markdown(rows))
    sys.stderr.write(f"table and picture: {out / 'ladder.md'}, {out / 'ladder.csv'}, {out / 'ladder.png'}\n")
    return 0
