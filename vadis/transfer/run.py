"""The work behind `vadis transfer`: plan and time first, then runs with progress, then tables and curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vadis.data.class_choice import parse_classes
from vadis.feature_store import default_cache_folder
from vadis.fetching import fetch_if_missing
from vadis.progress import open_bars
from vadis.transfer.estimate import Estimate, estimate
from vadis.transfer.grid import Grid, Run, make_plan
from vadis.transfer.modes import Setup
from vadis.transfer.report import Sheet, make_sheet, summarise, write_report
from vadis.transfer.study import Study
from vadis.transfer.subsets import ALL, take_examples

LONG_SECONDS = 3600.0


@dataclass(frozen=True)
class TransferJob:
    """One call of `vadis transfer`. plan: only say what would be run. resume is always on."""

    study: Study
    plan: bool = False
    quiet: bool = False
    as_json: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def make_study(
    data: str | Path,
    models: str,
    *,
    out: str | Path,
    modes: str = "fixed,svm",
    splits: str = "1",
    examples: str = ALL,
    seeds: int = 1,
    pretrain: str | Path | None = None,
    pretrain_examples: str = "100%",
    controls: str = "",
    name: str | None = None,
    keep: str = "main",
    classes: str = "",
    pretrain_classes: str = "",
    cache_folder: str | Path | None = None,
    **setup: Any,
) -> Study:
    """A study from words as the command line takes them, lists separated by commas.

    controls are run beside the study itself. classes, pretrain_classes: names and patterns, of the target and
    of the source of pre-training (`vadis.data.class_choice`); empty for all. cache_folder: of features (None:
    the user's own). setup: fields of `Setup`. Raises ValueError for what there is not.
    """
    if not all(split.strip().isdecimal() and int(split) > 0 for split in splits.split(",")):
        raise ValueError(f"splits are numbers from 1, such as 1,2,3, not {splits!r}")
    grid = Grid(
        models=_words(models),
        modes=_words(modes),
        splits=tuple(dict.fromkeys(int(split) for split in splits.split(","))),
        examples=_words(examples),
        seeds=seeds,
        pretrain=_words(pretrain_examples) if pretrain is not None else (),
        controls=("", *_words(controls)),
    )
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    return Study(
        data,
        grid,
        Path(out),
        Setup(**setup, cache_folder=str(folder)),
        name=name,
        source=pretrain,
        keep=keep,
        classes=parse_classes(classes),
        source_classes=parse_classes(pretrain_classes),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def run_transfer(job: TransferJob) -> int:
    """Do the job; returns the exit code: 0 done, 1 where files could not be read (listed), 130 stopped.

    Raises ValueError for a grid that cannot be, or a folder that holds another study.
    """
    study = job.study
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    plan = make_plan(study.grid)
    study.check_starts()
    for model in study.grid.models:
        for part in model.split("+"):
            fetch_if_missing(part, quiet=job.quiet)
    for number in study.grid.splits:
        console.print(study.split(number).note, style="dim", markup=False, soft_wrap=True)
    done = {Run(**row["run"]) for row in study.finished()}
    todo = [run for run in plan if run not in done]
    estimates = estimate(study, todo) if todo else []
    _say_plan(console, estimates, len(plan), len(todo))
    if job.plan:
        if job.as_json:
            print(json.dumps(_plan_json(plan, todo, estimates)))
        return 0
    try:
        with open_bars(console) as bars:
            runs, inner = bars.add("runs", len(plan)), bars.add("")

            def show(number: int, total: int, run: Run) -> None:
                runs.update(number, total)
                inner.restart(run.name[-60:])

            rows = study.run(on_run=show, progress=inner.update, asked_to_stop=job.asked_to_stop)
    except KeyboardInterrupt:
        console.print(f"stopped; {len(study.rows())} of {len(plan)} runs are kept; the same command goes on")
        return 130
    files = report_study(study, rows)
    sheet = make_sheet(summarise(rows, study.metric))
    if job.as_json:
        print(json.dumps({"rows": rows, "files": [str(file) for file in files]}))
    else:
        print_sheet(sheet, study.metric)
    for file in files:
        console.print(f"wrote {file}", style="dim", markup=False, soft_wrap=True)
    return _say_unread(rows)


def report_study(study: Study, rows: list[dict[str, Any]]) -> list[Path]:
    """Write the tables and curves of a study's rows into its folder; returns the files."""
    first = study.split(study.grid.splits[0])
    return write_report(
        study.out,
        f"Transfer to {first.train.name}",
        rows,
        metric=study.metric,
        example_sizes=example_sizes(study),
        source_sizes=source_sizes(study),
        notes=[study.split(number).note for number in study.grid.splits]
        + [f"protocol {study.setup.protocol}; {len(rows)} runs; accuracy is {study.metric}"],
    )


def example_sizes(study: Study) -> dict[str, float]:
    """How many examples a class each amount of the grid is, on average."""
    train = study.split(study.grid.splits[0]).train
    return {
        amount: len(take_examples(train, amount).examples) / train.num_classes
        for amount in study.grid.examples
    }


def source_sizes(study: Study) -> dict[str, float]:
    """How many examples of the source each share is."""
    return {
        share: float(len(take_examples(study.source_set, share).examples)) for share in study.grid.pretrain
    }


def print_sheet(sheet: Sheet, metric: str) -> None:
    """The table on standard output."""
    table = Table(title=f"{sheet.title} ({metric})", title_justify="left")
    for number, heading in enumerate(sheet.headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for row in sheet.rows:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False, markup=False).print(table)


def spell_seconds(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h": a time in seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say_plan(console: Console, estimates: list[Estimate], num_runs: int, num_todo: int) -> None:
    if num_todo < num_runs:
        console.print(f"{num_runs - num_todo} of {num_runs} runs are done")
    if not estimates:
        return
    table = Table(title="to be run, on this machine", title_justify="left")
    for heading in ("what", "runs", "about", "measured on one batch"):
        table.add_column(heading, justify="right" if heading in ("runs", "about") else "left")
    for item in estimates:
        table.add_row(item.what, str(item.num_runs), spell_seconds(item.seconds), item.note)
    total = sum(item.seconds for item in estimates)
    table.add_row("all of it", str(num_todo), spell_seconds(total), "")
    console.print(table)
    if total > LONG_SECONDS:
        console.print(
            "more than an hour: it can be stopped at any time (Ctrl-C) and goes on where it was; "
            "fewer modes, seeds or splits, --size, or --set optim.length=... make it shorter",
            style="yellow",
            soft_wrap=True,
        )


def _plan_json(plan: list[Run], todo: list[Run], estimates: list[Estimate]) -> Mapping[str, Any]:
    return {
        "runs": [run.name for run in plan],
        "todo": [run.name for run in todo],
        "estimates": [vars(item) for item in estimates],
        "seconds": sum(item.seconds for item in estimates),
    }


def _say_unread(rows: list[dict[str, Any]]) -> int:
    """List what could not be read, once each; exit code 1 where there is something."""
    test = sorted({name for row in rows for name in row["unread_test"]})
    learnt = sorted({str(name) for row in rows for name in row.get("details", {}).get("unread", [])})
    errors = Console(stderr=True, highlight=False)
    for names, what in ((test, "could not be read and count as wrong"), (learnt, "could not be learnt from")):
        if names:
            errors.print(f"{len(names)} {what}:", style="red")
            for name in names:
                errors.print(f"  {name}", markup=False, soft_wrap=True)
    return 1 if test or learnt else 0
