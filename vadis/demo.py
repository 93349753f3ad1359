"""`make demo`: prove the published weights, teach them fifteen motions, show what they know of a new film.

Without a clip of the user's the whole story is told: motions are rendered (`vadis/data/mocap15.py`), the I3D
that learnt from Kinetics keeps its weights and gets a new last layer, controls take one thing away each and
say what the table means, and a film in which several motions follow one another is predicted and drawn
against the truth. With a clip, that is predicted, with the published classes.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vadis.engines import has_fast_bf16
from vadis.fetching import fetch_if_missing
from vadis.formats import PredictionWriter
from vadis.prediction import DEFAULT_MODEL, Predictor
from vadis.progress import open_bar
from vadis.records import Dataset, Prediction, Span
from vadis.video.draw import draw_overlay, draw_timeline
from vadis.video.truth import draw_truth, share_right

GOLDEN = "i3d_inception.k400.logits_16.npy"
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Size:
    """How much the demo does: clips of each class (two thirds to learn from), frames and pixels of a view.

    drawn: side in pixels of the clips as they are rendered. small: pixels of a view of the small networks.
    epochs: of the small networks. 160 pixels instead of 128 bring I3D two or three points and take half as
    long again.
    """

    clips_per_class: int = 12
    drawn: int = 128
    num_frames: int = 32
    pixels: int = 128
    small: int = 48
    epochs: float = 12.0


@dataclass(frozen=True)
class Experiment:
    """One row of the table: what is done, what it asks, and with which network and control."""

    title: str
    asks: str
    network: str = ""
    control: str = ""
    num_frames: int = 0


EXPERIMENTS = (
    Experiment("I3D as Kinetics taught it, new last layer", "does what it learnt from films carry over?"),
    Experiment("- one frame, repeated", "how much of that is the pose alone?", control="frozen"),
    Experiment("- weights drawn at random", "how much is the structure of the network?", control="random"),
    Experiment("- labels dealt out anew", "does anything leak? must be chance", control="labels"),
    Experiment("small 2D network, one frame, from scratch", "what do so few clips teach?", "fr2d_18", "", 1),
    Experiment("small 3D network, 16 frames, from scratch", "and with motion?", "resnet3d_18", "", 16),
)


def prove_weights(predictor: Predictor) -> float:
    """The largest difference between this machine's logits and an independent implementation's.

    Input: uniform noise in [-1, 1] from numpy's default_rng(0), 16 frames of 224 x 224. The golden
    logits_K were computed in JAX with the same published weights. Uses the plain model in float32.
    """
    golden = importlib.resources.files("vadis.models") / "golden" / GOLDEN
    with importlib.resources.as_file(golden) as path:
        golden_K = np.load(path, allow_pickle=False).reshape(-1)
    clip_BTHWC = np.random.default_rng(0).uniform(-1, 1, (1, 16, 224, 224, 3)).astype("float32")
    clip_BCTHW = torch.from_numpy(clip_BTHWC).permute(0, 4, 1, 2, 3).contiguous()
    with torch.inference_mode():
        logits_K = predictor.network(clip_BCTHW)[0].numpy()
    return float(np.abs(logits_K - golden_K).max())


def render_film(path: Path) -> tuple[Span, ...]:
    """Ten seconds of motions that follow one another, seen from where no clip to learn from was seen.

    Its camera stays in the sectors of the test clips; the body, the clothes and the place are its own.
    Returns which motion is shown when.
    """
    from vadis.data.render import DEMO_MOTIONS, random_scene, render_clip, write_clip

    scene = random_scene(2026)
    camera = replace(scene.camera, azimuth=12.0, orbit=3.0)  # the test clips of split 1: 0 to 60 degrees
    scene = replace(scene, camera=camera, light=replace(scene.light, azimuth=200.0), speed=1.0)
    clip = render_clip(list(DEMO_MOTIONS), size=(340, 256), scene=scene)
    write_clip(clip, path)
    return tuple(clip.spans)


def processor_seconds() -> float:
    """What this process and those that it has started and ended have computed, in seconds of one core."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run_demo(video: str | None, out: Path) -> int:
    """Do all of it and leave tables, pictures, videos and the new model in `out`; returns the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    console.rule("the published weights")
    fetch_if_missing(DEFAULT_MODEL)
    predictor = Predictor(DEFAULT_MODEL)
    difference = prove_weights(predictor)
    console.print(
        f"{DEFAULT_MODEL}: I3D, RGB, Kinetics-400 from scratch; claimed 68.4/88.0 (test)\n"
        f"largest difference to the logits of an independent implementation: {difference:.1e} "
        f"(logits range over tens; the limit is {TOLERANCE:g})"
    )
    if difference > TOLERANCE:
        console.print("the weights do not give the answers they should: stopping here", style="red")
        return 1
    if video is not None:
        console.rule("its actions")
        prediction = predictor.predict(video, stride_seconds=1.28)
        files = write_results(prediction, out, predictor.threshold, predictor.network.num_classes)
    else:
        files = tell_story(out, console, Size())
    console.rule("where it is")
    for what, path in files.items():
        console.print(f"  {what:<9} {path}", markup=False, soft_wrap=True)
    return 0


def tell_story(out: Path, console: Console, size: Size, start: str = DEFAULT_MODEL) -> dict[str, Path]:
    """Render, learn, compare, predict a film, draw; returns the files by what they are.

    start: of the first experiments, as `vadis transfer --init` takes it.
    """
    from vadis.data.benchmark import make, read

    began, worked = time.monotonic(), processor_seconds()
    console.rule("fifteen motions, rendered")
    clips = out / "mocap15"
    with open_bar(Console(stderr=True), "clips") as bar:
        make(
            "mocap15",
            clips,
            clips_per_class=size.clips_per_class,
            size=size.drawn,
            num_frames=size.num_frames,
            progress=bar.update,
        )
    train_set, test_set = read(clips, "train"), read(clips, "test")
    console.print(
        f"{len(train_set.examples)} clips to learn from, {len(test_set.examples)} to test on, seen from "
        "other sides.\nEach motion is one recorded take of one performer: the score says how well views,\n"
        "light, bodies and speed are generalised over, not performers. The figure is drawn; Kinetics was\n"
        "films of people."
    )
    console.rule("what pre-training brings, and what the table means")
    rows, model = run_experiments(train_set, test_set, out, console, size, start)
    console.print(_table(rows))
    (out / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (out / "table.md").write_text(to_markdown(rows), encoding="utf-8")
    console.rule("a film that nobody showed it")
    film = out / "film.mp4"
    truth = render_film(film)
    predictor = Predictor(model, engine="torch")
    prediction = predictor.predict(str(film), stride_seconds=0.16)
    share = share_right(prediction, truth)
    console.print(f"{share:.0%} of its time is told rightly (chance: {1 / test_set.num_classes:.0%})")
    files = write_results(prediction, out, predictor.threshold, test_set.num_classes)
    heading = f"Truth against prediction: {share:.0%} of the time right"
    files["truth"] = draw_truth(prediction, truth, out / "truth.png", heading=heading)
    console.print(
        f"all of it took {(time.monotonic() - began) / 60:.1f} minutes, "
        f"{(processor_seconds() - worked) / 60:.1f} of one processor core"
    )
    return {"film": film, "model": model, "numbers": out / "table.json", **files}


def run_experiments(
    train_set: Dataset, test_set: Dataset, out: Path, console: Console, size: Size, start: str
) -> tuple[list[dict[str, Any]], Path]:
    """All rows of the table, and the file of the first one's network."""
    from vadis.transfer.modes import Setup, make_trunk, run_linear, run_trained, save_outcome
    from vadis.transfer.starts import parse_start

    views = Setup(
        num_frames=size.num_frames,
        size=size.pixels,
        crop=size.pixels,
        precision="bf16" if has_fast_bf16() else "float32",
        cache_folder=str(out / "features"),
    )
    rows, model = [], out / "motions.safetensors"
    for number, item in enumerate(EXPERIMENTS):
        began, worked = time.monotonic(), processor_seconds()
        with open_bar(Console(stderr=True), item.title) as bar:
            if item.network:
                small = Setup(
                    num_frames=item.num_frames,
                    frame_stride=max(1, size.num_frames // max(2, item.num_frames)),
                    size=round(size.small * 1.125),
                    crop=size.small,
                    tiny=True,
                    settings=(f"optim.length={size.epochs}", f"optim.warmup={0.1 * size.epochs}"),
                )
                folder = out / "runs" / item.network
                outcome = run_trained(
                    "original",
                    parse_start(item.network),
                    train_set,
                    test_set,
                    folder,
                    small,
                    progress=bar.update,
                )
            else:
                trunk = make_trunk(parse_start(start), train_set.class_names, views)
                outcome = run_linear(
                    trunk, train_set, test_set, views, control=item.control, progress=bar.update
                )
        low, high = outcome.metrics["intervals"]["top1"]
        row = {
            "experiment": item.title,
            "asks": item.asks,
            "top1": float(outcome.metrics["top1"]),
            "interval": [float(low), float(high)],
            "num_test": len(test_set.examples),
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(processor_seconds() - worked, 1),
        }
        rows.append(row)
        if number == 0:
            save_outcome(outcome, model)
    rows.append({"experiment": "chance", "asks": "", "top1": 1 / test_set.num_classes, "interval": None})
    return rows, model


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("right", "right"), ("95 %", "right"), ("it asks", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(row["experiment"], f"{row['top1']:.0%}", _interval(row), row["asks"])
    return table


def _interval(row: dict[str, Any]) -> str:
    return "" if row["interval"] is None else f"{row['interval'][0]:.0%} to {row['interval'][1]:.0%}"


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The table as Markdown."""
    lines = ["| | right | 95 % interval | it asks |", "|---|---:|---|---|"]
    for row in rows:
        lines.append(f"| {row['experiment']} | {row['top1']:.0%} | {_interval(row)} | {row['asks']} |")
    return "\n".join(lines) + "\n"


def write_results(prediction: Prediction, out: Path, threshold: float, num_classes: int) -> dict[str, Path]:
    """Table, JSON, timeline and overlay of a prediction; returns the files by what they are."""
    files = {
        "table": out / "table.txt",
        "json": out / "prediction.json",
        "timeline": out / "timeline.png",
        "overlay": out / "overlay.mp4",
    }
    with PredictionWriter(sys.stdout, "table") as screen:
        screen.write(prediction)
    for kind in ("table", "json"):
        with PredictionWriter(str(files[kind]), kind) as writer:
            writer.write(prediction)
    draw_timeline(prediction, files["timeline"], threshold=threshold, num_classes=num_classes)
    draw_overlay(prediction.video, prediction, files["overlay"])
    return files
