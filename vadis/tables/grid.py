"""A published table as a grid of rows and columns: on a terminal, as Markdown, as CSV, as JSON; and the
list."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.tables import Cell, PublishedTable, list_lectures

MARK = "*"  # stands behind what is misprinted
MIN_WIDTH = 100


def show_value(value: float, unit: str, metric: str = "") -> str:
    """A number as it is printed: percent with one digit or more, counts with commas, years without."""
    if metric == "year":
        return f"{value:.0f}"
    if unit == "%":
        return f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"
    if unit == "fraction":
        return f"{value:.4f}"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def show_cell(cell: Cell | None) -> str:
    """The number, with a mark where it is misprinted; empty where the table is."""
    if cell is None:
        return ""
    return show_value(cell.value, cell.unit, cell.metric) + (MARK if cell.misprint else "")


def describe_source(table: PublishedTable) -> str:
    """Paper, number of the table in it, arXiv number, and the lectures that show it."""
    number = f", table {table.number}" if table.number else ""
    arxiv = f", arXiv:{table.arxiv}" if table.arxiv else ""
    lectures = f"lecture{'s' if len(table.lectures) > 1 else ''} {', '.join(table.lectures)}"
    return f"{table.paper}{arxiv}{number}; {lectures}"


def list_remarks(table: PublishedTable) -> list[str]:
    """What is misprinted, then notes: of the table, and of single cells (the same ones together)."""
    remarks = []
    for said, places in _together(table, "misprint").items():
        right = {cell.right for cell in places if cell.right is not None}
        unit, metric = places[0].unit, places[0].metric
        mended = f" (right: {show_value(right.pop(), unit, metric)})" if len(right) == 1 else ""
        remarks.append(f"{MARK} {_places(places)}: {said}{mended}")
    if table.note:
        remarks.append(f"note: {table.note}")
    return remarks


def list_cell_notes(table: PublishedTable) -> list[str]:
    """What the table's data say of single cells, rows or columns beside the number."""
    return [f"{_places(places)}: {said}" for said, places in _together(table, "note").items()]


def _together(table: PublishedTable, key: str) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in table.cells:
        if said := getattr(cell, key):
            found.setdefault(said, []).append(cell)
    return found


def _places(cells: list[Cell]) -> str:
    """Rows and columns in few words: a whole row or column by its name alone."""
    rows, columns = (list(dict.fromkeys(getattr(cell, key) for cell in cells)) for key in ("row", "column"))
    if len(rows) == 1:
        return rows[0] if len(columns) > 1 else f"{rows[0]}, {columns[0]}"
    return ", ".join(rows) if len(columns) > 1 or len(rows) <= 3 else columns[0]


def print_table(table: PublishedTable, console: Console) -> None:
    """One table with its source, protocol and misprints."""
    console.print(Text(f"{table.table}: {table.title}", style="bold"))
    console.print(Text(describe_source(table), style="dim"))
    console.print(Text(f"protocol: {table.protocol}", style="dim"))
    for columns in _blocks(table, console.width):
        grid = Table(pad_edge=False)
        grid.add_column("", overflow="fold", width=_row_width(table))
        for name in columns:
            grid.add_column(Text(_with_unit(table, name)), justify="right", width=_column_width(table, name))
        for row in table.rows:
            cells = [table.find(row, column) for column in columns]
            shown = [Text(show_cell(cell), "yellow" if cell and cell.misprint else "") for cell in cells]
            grid.add_row(Text(row), *shown)
        console.print(grid)
    for remark in list_remarks(table):
        console.print(Text(remark, style="yellow" if remark.startswith(MARK) else "dim"))
    for remark in list_cell_notes(table):
        console.print(Text(remark, style="dim"))


def _row_width(table: PublishedTable) -> int:
    return min(28, max(map(len, table.rows)))


def _column_width(table: PublishedTable, name: str) -> int:
    """Room for the longest number, and for the longest word above it."""
    numbers = max(len(show_cell(cell)) for cell in table.cells if cell.column == name)
    return max(numbers, max(map(len, _with_unit(table, name).split())))


def _blocks(table: PublishedTable, width: int) -> list[list[str]]:
    """The columns in as many grids, one below the other, as a terminal of `width` characters needs."""
    blocks: list[list[str]] = [[]]
    used = _row_width(table) + 4
    for name in table.columns:
        needed = _column_width(table, name) + 3
        if blocks[-1] and used + needed > width:
            blocks.append([])
            used = _row_width(table) + 4
        blocks[-1].append(name)
        used += needed
    return blocks


def _with_unit(table: PublishedTable, column: str) -> str:
    """A column's name, with the unit where it is one for all its cells and not percent."""
    units = {cell.unit for cell in table.cells if cell.column == column}
    unit = units.pop() if len(units) == 1 else ""
    return column if unit in ("", "%") or unit in column else f"{column} ({unit})"


def make_console(file: Any) -> Console:
    """A console that leaves wide tables whole in a pipe, where no one can scroll a terminal's width."""
    terminal = file.isatty() if hasattr(file, "isatty") else False
    return Console(
        file=file, highlight=False, markup=False, emoji=False, width=None if terminal else 2 * MIN_WIDTH
    )


def to_markdown(table: PublishedTable) -> str:
    """The same as Markdown."""
    columns = table.columns
    lines = [
        f"### {table.table}: {table.title}",
        "",
        f"{describe_source(table)}. Protocol: {table.protocol}.",
        "",
        f"| | {' | '.join(_escape(_with_unit(table, name)) for name in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for row in table.rows:
        cells = (show_cell(table.find(row, column)).replace(MARK, "\\*") for column in columns)
        lines.append(f"| {_escape(row)} | {' | '.join(cells)} |")
    if remarks := list_remarks(table):
        lines += ["", *(f"- {_escape(remark).replace(MARK, chr(92) + MARK, 1)}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def to_dict(table: PublishedTable, with_cells: bool = True) -> dict[str, Any]:
    """The JSON form; without the cells it says how many there are and how many are marked."""
    head = {
        field.name: getattr(table, field.name) for field in fields(PublishedTable) if field.name != "cells"
    }
    if with_cells:
        return {**head, "cells": [asdict(cell) for cell in table.cells]}
    return {**head, "num_cells": len(table.cells), "num_misprints": len(table.misprints)}


def to_csv(tables: list[PublishedTable]) -> str:
    """One row a cell, with the table's paper, lectures and protocol in each."""
    shared = ("paper", "arxiv", "number", "lectures", "protocol")
    names = [field.name for field in fields(Cell)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *shared])
    for table in tables:
        head = [
            " ".join(value) if isinstance(value := getattr(table, key), tuple) else value for key in shared
        ]
        for cell in table.cells:
            row = asdict(cell)
            writer.writerow([*("" if row[name] is None else row[name] for name in names), *head])
    return text.getvalue()


def print_list(tables: list[PublishedTable], console: Console) -> None:
    """All tables by name, with what they are about, and the lectures they come from."""
    wide = max(len(table.table) for table in tables)
    for table in tables:
        marked = len(table.misprints)
        line = Text(f"{table.table:{wide}}  {len(table.cells):3} cells  ")
        line.append(table.title)
        line.append(f"  [{', '.join(table.lectures)}]", "dim")
        if marked:
            line.append(f"  {marked} marked", "yellow")
        console.print(line, soft_wrap=True)
    console.print(Text(f"{sum(len(table.cells) for table in tables)} cells. The lectures:", "dim"))
    for lecture in list_lectures():
        console.print(
            Text(f"  {lecture.lecture}  {lecture.title} ({lecture.speakers})", "dim"), soft_wrap=True
        )
    console.print(
        Text("`vadis tables TABLE` shows one, `vadis reproduce TABLE` what it takes to measure it.", "dim")
    )
