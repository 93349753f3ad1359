"""The published tables of five lectures on video understanding, as data: one row a cell.

    table = read_table("quo_vadis_4")
    table.cell("Two-Stream I3D", "UCF-101 Full-FT, with ImageNet").value      # 98.0

`published.csv` holds the cells, `tables.csv` what is said of a whole table (paper, lectures, protocol),
`lectures.csv` which lecture is which. All are facts copied from the lectures, in an arrangement of our own;
none is a number of ours. What the lectures print wrong, or two of them print differently, is marked:
`misprint` says what, and `right` is the number that should stand there, where it is known.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vadis.records import VadisError

FOLDER = Path(__file__).parent

MODELS_TO_COME: frozenset[str] = frozenset(
    (
        "action_transformer",
        "better_baseline_ava",
        "faster_rcnn_r101_ava",
        "feature_histograms",
        "i3d_faster_rcnn_ava",
        "idt_fv",
        "keypoint_rcnn_r101",
        "keypoint_rcnn_r101_nl4",
        "keypoint_rcnn_r101_nl5",
        "mask_rcnn_r101",
        "mask_rcnn_r101_nl1",
        "mask_rcnn_r50",
        "mask_rcnn_r50_nl1",
        "mask_rcnn_x152",
        "mask_rcnn_x152_nl1",
    )
)
"""Names of networks that the tables speak of and `vadis.models.MODELS` does not hold (yet)."""

SIZE_METRICS = frozenset(
    ("parameters", "parameters_ratio", "gmac", "gmac_ratio", "tmac", "layers", "views", "frames", "seconds")
)
"""Metrics that say how large or long something is, not how good."""

FACT_METRICS = frozenset(("count", "year", "fps", "days", "videos", "seconds_per_frame", "gpu_hours", "npmi"))
"""Metrics that are facts about a dataset or a laboratory: nothing here measures them."""


@dataclass(frozen=True)
class Cell:
    """One number of a published table.

    value: as printed. right: what should stand there, where that is known to differ; `misprint` says why, or
    what else contradicts it. unit: "%", "M", "x" ... metric: "top1", "top5", "clip_top1", "mean_ap" ...
    dataset, split: names of `vadis.data.DATASETS`; "mean3" is the mean over three splits. model: ours,
    several joined by "+"; options: where it is not the default build. pretraining: "none" from scratch,
    empty unknown. mode: of a transfer ("original", "fixed", "full", "top1", "top3", "svm"); empty where the
    dataset is what the network was trained on. views: the protocol's name for `vadis evaluate`, empty where
    not known.
    """

    table: str
    row: str
    column: str
    value: float
    right: float | None
    unit: str
    metric: str
    dataset: str
    split: str
    model: str
    options: str
    modality: str
    pretraining: str
    mode: str
    views: str
    note: str
    misprint: str

    @property
    def models(self) -> tuple[str, ...]:
        """The networks that reach the number together."""
        return tuple(self.model.split("+")) if self.model else ()

    @property
    def is_accuracy(self) -> bool:
        """True where the number says how good a network is, so that it can be measured."""
        return self.metric not in SIZE_METRICS | FACT_METRICS


@dataclass(frozen=True)
class Lecture:
    """One of the five lectures: its number, its title, who spoke."""

    lecture: str
    title: str
    speakers: str


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper or of slides, with its cells row by row.

    kind: "accuracy" (trained and tested on one dataset), "transfer", "size" or "fact". number: the table's
    number in the paper, empty where the lectures do not print it. lectures: of `LECTURES`.
    """

    table: str
    title: str
    paper: str
    arxiv: str
    number: str
    lectures: tuple[str, ...]
    kind: str
    protocol: str
    note: str
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in the printed order."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in an order that every row keeps to (rows leave cells out, no two swap
        them)."""
        by_row: dict[str, list[str]] = {}
        for cell in self.cells:
            by_row.setdefault(cell.row, []).append(cell.column)
        order: list[str] = []
        for names in sorted(by_row.values(), key=len, reverse=True):
            place = 0
            for name in names:
                if name not in order:
                    order.insert(place, name)
                place = order.index(name) + 1
        return order

    @property
    def misprints(self) -> list[Cell]:
        """The cells that are marked."""
        return [cell for cell in self.cells if cell.misprint]

    def find(self, row: str, column: str) -> Cell | None:
        """The cell of a row and a column; None where the table is empty there."""
        return next((cell for cell in self.cells if (cell.row, cell.column) == (row, column)), None)

    def cell(self, row: str, column: str) -> Cell:
        """The same, or ValueError that names what there is."""
        found = self.find(row, column)
        if found is None:
            raise ValueError(
                f"{self.table} has nothing in row {row!r}, column {column!r}; rows: {', '.join(self.rows)}; "
                f"columns: {', '.join(self.columns)}"
            )
        return found


class UnknownTableError(VadisError, ValueError):
    """No table has this name; the message says which is the nearest."""


@cache
def _tables() -> dict[str, PublishedTable]:
    cells: dict[str, list[Cell]] = {}
    for row in _read("published.csv"):
        values: dict[str, Any] = {**row, "value": float(row["value"])}
        values["right"] = float(row["right"]) if row["right"] else None
        cells.setdefault(row["table"], []).append(Cell(**values))
    tables = {}
    for row in _read("tables.csv"):
        values = {**row, "lectures": tuple(row["lectures"].split()), "cells": tuple(cells[row["table"]])}
        tables[row["table"]] = PublishedTable(**values)
    return tables


def _read(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def list_tables() -> list[PublishedTable]:
    """All tables, in the order of `tables.csv`: by paper."""
    return list(_tables().values())


def list_lectures() -> list[Lecture]:
    """The five lectures, by number."""
    return [Lecture(**row) for row in _read("lectures.csv")]


def read_table(name: str) -> PublishedTable:
    """One table by its name; UnknownTableError (a ValueError) names the nearest."""
    found = _tables().get(name)
    if found is None:
        near = difflib.get_close_matches(name, _tables(), n=1, cutoff=0.0)[0]
        raise UnknownTableError(
            f"no published table is called {name!r}; did you mean {near!r}? (`vadis tables` lists them)"
        )
    return found
