"""`vadis reproduce TABLE`: published, ours where it was measured, and what is missing to measure the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.formats import use_utf8
from vadis.inspection import print_json
from vadis.models import MODELS
from vadis.models.catalogue import list_facts
from vadis.tables import Cell, PublishedTable, read_table
from vadis.tables.grid import MARK, describe_source, list_remarks, make_console, show_value
from vadis.tables.needs import Needs, find_needs, list_timed, merge_commands, time_clip
from vadis.tables.results import OurResult, Ours, find_results, match


@dataclass(frozen=True)
class CellReport:
    """One cell: the published number, ours or None, what it needs, and hours here or None."""

    cell: Cell
    ours: Ours | None
    needs: Needs
    hours: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the published number (the right one, where that is misprinted), in the cell's unit."""
        if self.ours is None:
            return None
        return self.ours.value - (self.cell.value if self.cell.right is None else self.cell.right)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        cell, ours = self.cell, self.ours
        return {
            "row": cell.row,
            "column": cell.column,
            "published": cell.value,
            "right": cell.right,
            "misprint": cell.misprint or None,
            "unit": cell.unit,
            "metric": cell.metric,
            "models": list(cell.models),
            "dataset": cell.dataset or None,
            "split": cell.split or None,
            "mode": cell.mode or None,
            "protocol": cell.views or None,
            "ours": None if ours is None else ours.value,
            "ours_source": None if ours is None else ours.source,
            "ours_remark": None if ours is None else ours.remark or None,
            "difference": self.difference,
            "missing": list(self.needs.missing),
            "weights": list(self.needs.weights),
            "clips": dict(self.needs.num_clips),
            "hours": self.hours,
            "commands": list(self.needs.commands),
        }


def reproduce(
    table: PublishedTable,
    results: list[OurResult] | None = None,
    data_folder: Path = Path("data"),
    seconds_per_clip: Mapping[str, float] | None = None,
) -> list[CellReport]:
    """Every cell of a table with what we measured and what is missing, in the table's order.

    results: of `vadis.tables.results.find_results`. seconds_per_clip: of `vadis.tables.needs.time_clip`.
    """
    reports = []
    for cell in table.cells:
        needs = find_needs(cell, data_folder)
        ours = match(cell, results or []) or count(cell)
        reports.append(CellReport(cell, ours, needs, needs.hours(seconds_per_clip or {})))
    return reports


def count(cell: Cell) -> Ours | None:
    """Sizes need no data: parameters and multiply-adds of our default build; None for anything else."""
    if cell.metric not in ("parameters", "gmac") or cell.options or not cell.models:
        return None
    if any(name not in MODELS for name in cell.models):
        return None
    facts = list_facts(cell.models)
    clip = " and ".join(dict.fromkeys(row.input for row in facts))
    if cell.metric == "parameters":
        return Ours(sum(row.parameters for row in facts) / 1e6, "vadis/models/facts.csv", "400 classes")
    return Ours(sum(row.gmac for row in facts), "vadis/models/facts.csv", f"one clip: {clip}")


def run_reproduce(
    name: str,
    results: Path | None,
    data_folder: Path,
    measure: bool,
    as_json: bool,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> int:
    """The verb's work; returns the exit code. Raises ValueError for an unknown table or folder."""
    table = read_table(name)
    found = find_results(results) if results is not None else []
    needs = [find_needs(cell, data_folder) for cell in table.cells]
    seconds: dict[str, float] = {}
    if measure:
        for network in list_timed(needs):
            if asked_to_stop():
                raise KeyboardInterrupt
            seconds[network] = time_clip(network)
            sys.stderr.write(f"{network}: {seconds[network]:.3g} s a clip here\n")
    reports = reproduce(table, found, data_folder, seconds)
    use_utf8(sys.stdout)
    if as_json:
        print_json(
            {
                "table": table.table,
                "source": describe_source(table),
                "protocol": table.protocol,
                "seconds_per_clip": seconds or None,
                "cells": [report.to_dict() for report in reports],
            }
        )
        return 0
    print_reports(table, reports, make_console(sys.stdout), measured=measure)
    return 0


def print_reports(
    table: PublishedTable, reports: list[CellReport], console: Console, measured: bool = False
) -> None:
    """A row a cell, then what is missing for which cells, then the commands."""
    console.print(Text(f"{table.table}: {table.title}", style="bold"))
    console.print(Text(describe_source(table), style="dim"))
    console.print(Text(f"protocol: {table.protocol}", style="dim"))
    grid = Table(pad_edge=False)
    for title in ("", "", "published", "ours", "difference", *(["hours here"] if measured else [])):
        grid.add_column(title, justify="left" if title == "" else "right", overflow="fold")
    before = ""
    for report in reports:
        cell = report.cell
        row, before = ("" if cell.row == before else cell.row), cell.row
        ours = "" if report.ours is None else f"{report.ours.value:.2f}"
        difference = "" if report.difference is None else f"{report.difference:+.2f}"
        hours = [] if not measured else ["" if report.hours is None else show_hours(3600 * report.hours)]
        grid.add_row(Text(row), Text(cell.column), _published(cell), ours, difference, *hours)
    console.print(grid)
    for remark in list_remarks(table):
        console.print(Text(remark, style="yellow" if remark.startswith(MARK) else "dim"))
    for said, group in _together((r.ours.remark, r) for r in reports if r.ours and r.ours.remark):
        console.print(Text(f"ours [{_places(group, reports)}]: {said}", style="dim"))
    wanting = [report for report in reports if report.ours is None]
    for said, group in _together((text, r) for r in wanting for text in r.needs.missing):
        console.print(Text(f"missing {said} [{_places(group, reports)}]"))
    if any(report.needs.num_clips for report in wanting) and not measured:
        console.print(Text("hours: run with --measure, which times each network on one clip here", "dim"))
    for line in merge_commands(line for report in wanting for line in report.needs.commands):
        console.print(Text(f"  {line}"), soft_wrap=True)


def _published(cell: Cell) -> Text:
    text = show_value(cell.value, cell.unit, cell.metric)
    if cell.right is not None:
        text += f" ({show_value(cell.right, cell.unit, cell.metric)})"
    return Text(text + (MARK if cell.misprint else ""), "yellow" if cell.misprint else "")


def _together(pairs: Any) -> list[tuple[str, list[CellReport]]]:
    found: dict[str, list[CellReport]] = {}
    for said, report in pairs:
        found.setdefault(said, []).append(report)
    return list(found.items())


def _places(group: list[CellReport], reports: list[CellReport]) -> str:
    """Which cells: all, whole rows, or single ones, in few words."""
    if len(group) == len(reports):
        return "all cells"
    rows = list(dict.fromkeys(report.cell.row for report in group))
    if len(rows) > 1:
        return ", ".join(rows[:5]) + (f" and {len(rows) - 5} more rows" if len(rows) > 5 else "")
    columns = [report.cell.column for report in group]
    if len(columns) == sum(report.cell.row == rows[0] for report in reports):
        return rows[0]
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f"{rows[0]}: {', '.join(columns[:3])}{more}"


def show_hours(seconds: float) -> str:
    """A duration in a few characters: minutes below an hour, days above two."""
    hours = seconds / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"
