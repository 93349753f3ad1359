"""What a run writes down as it goes: every step, every validation, TensorBoard, curves, and who it is.

    OUT/recipe.json    the resolved recipe, versions, commit, fingerprint of the data, the command
    OUT/steps.csv      a line a step: loss, rate, norm of the gradient, clips, seconds
    OUT/metrics.csv    a line an interval between validations: means of its steps, and the measures
    OUT/scores.json    the last validation in full: per class, per group of classes
    OUT/curves.png     loss, rate and measures over epochs
    OUT/tensorboard/   the same for `tensorboard --logdir OUT`

A run that goes on cuts off what was written after its checkpoint, so the files are those of a run that was
never stopped (but for seconds).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vadis.config import Recipe, list_fields, recipe_from_dict
from vadis.records import VadisError
from vadis.training.checkpoints import to_json, write_whole
from vadis.training.stops import TrainingError

STEP_COLUMNS = ("step", "epoch", "lr", "loss", "gradient_norm", "clips", "seconds", "waiting")
"""Of steps.csv: epoch as a fraction, seconds of the whole step and of waiting for clips."""

DRAWING_SECONDS = 30.0
"""Curves are drawn at the end, and in between no more often than this."""

MAY_CHANGE = (
    "name",
    "title",
    "source.",
    "data.workers",
    "run.device",
    "run.threads",
    "run.checkpoint_minutes",
    "run.checkpoint_steps",
)
"""Beginnings of the fields that may differ when a run goes on: they do not change the mathematics."""


def describe_run(
    recipe: Recipe, data: Sequence[Mapping[str, Any]], class_names: Sequence[str], num_processes: int
) -> dict[str, Any]:
    """What recipe.json says: the resolved recipe and all that one needs to know to do it again."""
    return {
        "recipe": recipe.to_dict(),
        "data": [dict(each) for each in data],
        "class_names": list(class_names),
        "versions": {
            "vadis": version("vadis"),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "commit": _commit(),
        "processes": num_processes,
        "command": list(sys.argv),
    }


def check_same_run(saved: Mapping[str, Any], ours: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with another recipe or other data: ValueError names what differs."""
    was = list_fields(recipe_from_dict(saved["recipe"]))
    now = list_fields(recipe_from_dict(ours["recipe"]))
    changed = [
        f"{name} was {was[name]!r} and is {now[name]!r}"
        for name in was
        if was[name] != now[name] and not name.startswith(MAY_CHANGE)
    ]
    for before, after in zip(saved["data"], ours["data"], strict=False):
        changed += [
            f"the {key} of {before['name']} differs" for key in ("fingerprint",) if before[key] != after[key]
        ]
    if len(saved["data"]) != len(ours["data"]):
        changed.append(f"there were {len(saved['data'])} sets of examples and are {len(ours['data'])}")
    if changed:
        raise ValueError(
            f"{out} holds another run, which cannot go on so: {'; '.join(changed)}. Take another --out, or "
            "leave the recipe as it was"
        )


def read_run(out: Path) -> dict[str, Any] | None:
    """What recipe.json of a folder says; None where there is no run. Raises ValueError where it is broken."""
    path = out / "recipe.json"
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        recipe_from_dict(document["recipe"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what a run writes: {error}") from error
    return document


class Journal:
    """The files of a run. step: how many steps are done; what was written of later ones is cut off.

    history: the rows of metrics.csv so far, in order. Only the main process has a journal that writes.
    """

    def __init__(self, out: Path, history: list[dict[str, Any]], step: int = 0, writes: bool = True) -> None:
        self.out = out
        self.history = history
        self.writes = writes
        self._board: Any = None
        self._drawn_at = time.monotonic()
        if not writes:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise VadisError("training needs tensorboard: pip install 'vadis[train]'") from error
        rows = [row for row in _read_rows(out / "steps.csv") if int(row["step"]) <= step]
        write_whole(out / "steps.csv", _to_csv(rows, STEP_COLUMNS))
        self._steps = (out / "steps.csv").open("a", encoding="utf-8", newline="", buffering=1)
        self._write_metrics()
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)

    def note_step(self, row: Mapping[str, Any]) -> None:
        """One line of steps.csv. Raises TrainingError where the disk is full."""
        if not self.writes:
            return
        try:
            csv.DictWriter(self._steps, STEP_COLUMNS, lineterminator="\n").writerow(row)
            for key in ("loss", "lr", "gradient_norm"):
                if row[key] is not None:
                    self._board.add_scalar(f"train/{key}", row[key], row["step"])
        except OSError as error:
            raise TrainingError(
                f"{self.out / 'steps.csv'} cannot be written: {error.strerror or error}. Make room and go on "
                "with --resume"
            ) from error

    def note_interval(self, row: dict[str, Any], scores: Mapping[str, Any] | None) -> None:
        """One line of metrics.csv, and the validation behind it in full where there was one."""
        self.history.append(row)
        if not self.writes:
            return
        self._write_metrics()
        if scores is not None:
            write_whole(self.out / "scores.json", to_json(scores))
        for key, value in row.items():
            if key not in ("step", "epoch") and value is not None:
                self._board.add_scalar(key.replace("_", "/", 1), value, row["step"])
        self._board.flush()
        if time.monotonic() - self._drawn_at > DRAWING_SECONDS:
            self._draw()

    def close(self) -> None:
        """Draw the curves and close the files."""
        if self.writes:
            self._steps.close()
            self._board.close()
            self._draw()

    def abandon(self) -> None:
        """Close the files after an error, which is not to be hidden by another one from here."""
        with contextlib.suppress(OSError, VadisError):
            self.close()

    def _draw(self) -> None:
        draw_curves(self.history, self.out / "curves.png")
        self._drawn_at = time.monotonic()

    def _write_metrics(self) -> None:
        columns = list(dict.fromkeys(key for row in self.history for key in row))
        write_whole(self.out / "metrics.csv", _to_csv(self.history, columns or ["step", "epoch"]))


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, learning rate and measures over epochs as a PNG. Raises VadisError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise VadisError("curves need matplotlib: pip install 'vadis[train]'") from error
    names = list(dict.fromkeys(key for row in history for key in row))
    panels = [
        ("loss", [name for name in names if name.endswith("loss")]),
        ("measures", [name for name in names if name.startswith("val_") and not name.endswith("loss")]),
        ("learning rate", ["lr"]),
    ]
    shown = [(title, keys) for title, keys in panels if any(key in names for key in keys)]
    width = 4.8 * max(1, len(shown))
    figure = Figure(figsize=(width, 3.6))
    figure.subplots_adjust(left=0.5 / width, right=1 - 0.1 / width, bottom=0.14, top=0.9)
    canvas = FigureCanvasAgg(figure)
    for number, (title, keys) in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), number)
        for key in keys:
            points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=key) if points else None
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        if len(keys) > 1 and axes.lines:
            axes.legend(fontsize="small")
    part = path.with_name(path.name + ".part")
    try:
        canvas.print_png(str(part))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written: {error.strerror or error}. Make room and go on with --resume"
        ) from error


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The whole lines of a CSV; a process that was killed may have left half of the last one."""
    if not path.is_file():
        return []
    text = path.read_text("utf-8")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [row for row in rows if (row.get("step") or "").isdigit() and None not in row.values()]


def _to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _commit() -> str | None:
    """The git commit that vadis runs from, with "+" where files are changed; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        words = ["git", "-C", str(folder)]
        head = subprocess.run([*words, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        if head.returncode != 0:
            return None
        command = [*words, "status", "--porcelain", "--untracked-files=no", "--", str(folder.parent)]
        changed = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def seconds_left(done: int, total: int, seconds: float) -> float:
    """Seconds that the rest of a run takes at the pace so far; infinite before anything is done."""
    return math.inf if done == 0 else seconds / done * (total - done)
