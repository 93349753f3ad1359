"""The tables and curves of a study: means over splits and seeds, and what pre-training brought.

A cell is the mean over the runs that differ only in split and seed, with their standard deviation. Its 95 %
interval is Wilson's, of the mean accuracy over the test clips of the splits (seeds test the same clips again,
so they do not count twice). "Change" is the relative change in misclassification in percent from Original to
the better of Fixed and Full-FT, as in the table of the I3D paper's transfer results: -47 means that of 100
errors 53 are left.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadis.evaluation.measures import wilson_interval
from vadis.records import VadisError
from vadis.video.write import part_file

ORIGINAL = ("original", "imagenet")
TRANSFERRED = ("fixed", "full")
STREAMS = {"rgb": "RGB", "flow": "Flow", "rgb+flow": "RGB + Flow"}


@dataclass(frozen=True)
class Cell:
    """A number of the table. mean, deviation: in percent; deviation is None of one run. interval: (low,
    high) in percent. splits, seeds: how many went into it; num_test: test clips, over the splits."""

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None
    splits: int
    seeds: int
    num_test: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


Key = tuple[str, str, str, str, str, str]
"""Architecture, stream, mode, number of examples, share of the pre-training source, control."""


def relative_change(original: float, *transferred: float) -> float:
    """Percent by which misclassification changes from `original` to the best of `transferred`.

    All are accuracies in percent. Negative is fewer errors; infinite where original has none: 93.4 to 96.5 is
    -47.0, of 6.6 wrong in a hundred 3.5 are left. Source: Quo Vadis, version 1, table 3.
    """
    before, after = 100 - original, 100 - max(transferred)
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return (after - before) / before * 100


def summarise(rows: Iterable[Mapping[str, Any]], metric: str = "top1") -> dict[Key, Cell]:
    """Cells from the rows of runs.jsonl, in the order in which they first come.

    metric: "top1", "mean_class" or "mean_ap", shares in [0, 1]. A run whose metric is None is left out.
    """
    groups: dict[Key, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["metrics"].get(metric) is None:
            continue
        run = row["run"]
        key = (
            row["architecture"],
            row["stream"],
            run["mode"],
            run["examples"],
            run["pretrain"],
            run["control"],
        )
        groups.setdefault(key, []).append(row)
    return {key: _cell(group, metric) for key, group in groups.items()}


def _cell(rows: Sequence[Mapping[str, Any]], metric: str) -> Cell:
    values = [100 * float(row["metrics"][metric]) for row in rows]
    tested = {row["run"]["split"]: int(row["num_test"]) for row in rows}
    by_split = {
        split: [value for row, value in zip(rows, values, strict=True) if row["run"]["split"] == split]
        for split in tested
    }
    mean = sum(sum(part) / len(part) for part in by_split.values()) / len(by_split)
    spread = sum((value - sum(values) / len(values)) ** 2 for value in values)
    deviation = math.sqrt(spread / (len(values) - 1)) if len(values) > 1 else None
    total = sum(tested.values())
    interval = wilson_interval(mean / 100 * total, total) if metric == "top1" else None
    return Cell(
        mean,
        deviation,
        None if interval is None else (100 * interval[0], 100 * interval[1]),
        len(by_split),
        max(len(part) for part in by_split.values()),
        total,
    )


@dataclass(frozen=True)
class Sheet:
    """A table as words: a heading for each column, rows of as many cells."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_sheet(cells: Mapping[Key, Cell]) -> Sheet:
    """The table: a row for each network, number of examples, share of the source and control.

    Columns are modes (and, where there are several, streams within each mode), and the change. That is the
    shape of the I3D paper's tables 2 to 5: 2 is the mode `original` or `imagenet` of several architectures, 3
    sets these two side by side, 4 sets original, fixed and full side by side, 5 has one architecture a row
    over three splits. Columns that are the same in every row are left out.
    """
    modes = list(dict.fromkeys(key[2] for key in cells))
    streams = list(dict.fromkeys(key[1] for key in cells))
    columns = [
        (mode, stream)
        for mode in modes
        for stream in streams
        if any((key[2], key[1]) == (mode, stream) for key in cells)
    ]
    has_change = any(mode in ORIGINAL for mode in modes) and any(mode in TRANSFERRED for mode in modes)
    lead = {"network": 0, "examples a class": 3, "pre-trained on": 4, "control": 5}
    lead = {
        word: place
        for word, place in lead.items()
        if place in (0, 3) or len({key[place] for key in cells}) > 1 or any(key[place] for key in cells)
    }

    def heading(word: str, stream: str) -> str:
        return f"{word} {STREAMS.get(stream, stream)}" if len(streams) > 1 else word

    headings = [*lead, *(heading(mode, stream) for mode, stream in columns)]
    headings += [heading("change", stream) for stream in streams] if has_change else []
    rows = []
    for network, examples, pretrain, control in dict.fromkeys((key[0], *key[3:]) for key in cells):
        rest = (examples, pretrain, control)
        found = [cells.get((network, stream, mode, *rest)) for mode, stream in columns]
        whole = (network, "", "", *rest)
        words = [
            *(whole[place] for place in lead.values()),
            *("" if cell is None else str(cell) for cell in found),
        ]
        for stream in streams if has_change else ():
            change = find_change(cells, network, stream, *rest)
            words.append("" if change is None else f"{change:+.1f} %")
        rows.append(tuple(words))
    return Sheet("Accuracy in percent", tuple(headings), tuple(rows))


def find_change(
    cells: Mapping[Key, Cell], network: str, stream: str, examples: str, pretrain: str = "", control: str = ""
) -> float | None:
    """The relative change in misclassification of one network, in percent; None where a mode is missing.

    From `imagenet` where that was run (as the paper's Original), else from `original`; these two know of no
    source.
    """

    def mean(mode: str, pretrain: str) -> float | None:
        cell = cells.get((network, stream, mode, examples, pretrain, control))
        return None if cell is None else cell.mean

    starts = [value for mode in ("imagenet", "original") if (value := mean(mode, "")) is not None]
    original = starts[0] if starts else None
    transferred = [value for mode in TRANSFERRED if (value := mean(mode, pretrain)) is not None]
    return None if original is None or not transferred else relative_change(original, *transferred)


def to_markdown(sheet: Sheet) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(sheet.headings) + " |", "|" + "---|" * len(sheet.headings)]
    lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
    return "\n".join(lines) + "\n"


def to_csv(cells: Mapping[Key, Cell]) -> str:
    """One line for each cell: what was run, and the numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    words = "network,stream,mode,examples,pretrain,control,mean,deviation,low,high,splits,seeds,num_test"
    writer.writerow(words.split(","))
    for key, cell in cells.items():
        low, high = cell.interval or ("", "")
        deviation = "" if cell.deviation is None else cell.deviation
        writer.writerow([*key, cell.mean, deviation, low, high, cell.splits, cell.seeds, cell.num_test])
    return text.getvalue()


# --- pictures ---------------------------------------------------------------------------------------------


def draw_curves(
    cells: Mapping[Key, Cell], sizes: Mapping[str, float], along: str, metric: str = "top1"
) -> bytes | None:
    """A picture (png) of accuracy against the number of target or of pre-training examples.

    along: "examples" or "pretrain". sizes: the number that each word ("5", "all", "25%") stands for. None
    where there are fewer than two. Bars are 95 % intervals. Raises VadisError where matplotlib is missing.
    """
    place = {"examples": 3, "pretrain": 4}[along]
    lines: dict[tuple[str, ...], list[tuple[float, Cell]]] = {}
    for key, cell in cells.items():
        if key[place] in sizes:
            rest = (*key[:place], *key[place + 1 :])
            lines.setdefault(rest, []).append((sizes[key[place]], cell))
    lines = {rest: sorted(points, key=lambda point: point[0]) for rest, points in lines.items()}
    if max((len(points) for points in lines.values()), default=0) < 2:
        return None
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise VadisError("the curves need matplotlib: pip install 'vadis[train]'") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for rest, points in lines.items():
        if len(points) < 2:
            continue
        x, y = [point[0] for point in points], [point[1].mean for point in points]
        bars = [point[1].interval or (point[1].mean, point[1].mean) for point in points]
        errors = [
            [max(0.0, mean - low) for mean, (low, _) in zip(y, bars, strict=True)],
            [max(0.0, high - mean) for mean, (_, high) in zip(y, bars, strict=True)],
        ]
        label = " ".join(word for word in rest if word and word not in ("rgb", "all"))
        axes.errorbar(x, y, yerr=errors, marker="o", capsize=3, label=label)
    if min(sizes.values(), default=0) > 0 and along == "examples":
        axes.set_xscale("log")
    ticks = sorted(set(sizes.values()))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("target examples a class" if along == "examples" else "pre-training examples")
    axes.set_ylabel(f"{metric} in percent")
    axes.grid(alpha=0.3)
    axes.legend()
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120, metadata={"Software": None})
    return target.getvalue()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem }}
th, td {{ border-bottom: 1px solid #ccc; padding: .25rem .75rem; text-align: right }}
th:first-child, td:first-child {{ text-align: left }}
img {{ max-width: 100% }} pre {{ background: #f4f4f4; padding: .75rem; overflow-x: auto }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


def to_html(title: str, sheet: Sheet, pictures: Sequence[tuple[str, bytes]], notes: Sequence[str]) -> str:
    """A page on its own: the table, pictures (caption, png), and lines of notes."""
    head = "".join(f"<th>{html.escape(word)}</th>" for word in sheet.headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(word)}</td>" for word in row) + "</tr>" for row in sheet.rows
    )
    parts = [f"<h2>{html.escape(sheet.title)}</h2><table><tr>{head}</tr>{body}</table>"]
    for caption, png in pictures:
        code = base64.b64encode(png).decode()
        parts.append(
            f"<h2>{html.escape(caption)}</h2>"
            f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{code}">'
        )
    if notes:
        parts.append("<h2>How</h2><pre>" + html.escape("\n".join(notes)) + "</pre>")
    return _PAGE.format(title=html.escape(title), body="".join(parts))


def write_report(
    folder: Path,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    metric: str,
    example_sizes: Mapping[str, float],
    source_sizes: Mapping[str, float],
    notes: Sequence[str],
) -> list[Path]:
    """Write table.md, table.csv, report.html and the curves that there are; returns the files.

    example_sizes, source_sizes: how many examples each word of the grid ("5", "25%") stands for.
    """
    cells = summarise(rows, metric)
    sheet = make_sheet(cells)
    pictures = []
    for along, sizes, name, caption in (
        ("examples", example_sizes, "examples.png", "Accuracy against the number of target examples"),
        ("pretrain", source_sizes, "pretraining.png", "Accuracy against the number of pre-training examples"),
    ):
        png = draw_curves(cells, sizes, along, metric)
        if png is not None:
            pictures.append((name, caption, png))
    written: list[tuple[str, bytes]] = [
        ("table.md", to_markdown(sheet).encode()),
        ("table.csv", to_csv(cells).encode()),
        ("report.html", to_html(title, sheet, [item[1:] for item in pictures], notes).encode()),
        *((name, png) for name, _, png in pictures),
    ]
    paths = []
    for name, data in written:
        with part_file(folder / name) as part:
            part.write_bytes(data)
        paths.append(folder / name)
    return paths
