"""Several cards side by side: a table, and accuracy against cost; what does not compare is said aloud.

Two numbers compare where list, protocol and classes are the same and nothing is missing. Where they are not,
the table says what differs: a point more on half of the files is no point more.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vadis.evaluation.cards import read_card
from vadis.evaluation.charts import escape, interval_text, percent
from vadis.evaluation.measures import TITLES
from vadis.formats.table import spell_out
from vadis.records import EvaluationCard, VadisError
from vadis.video.write import part_file

COLUMNS = (
    "card", "model", "dataset", "split", "protocol", "measure", "value", "low", "high", "top5", "mean_class",
    "num_views", "gmac_per_video", "num_parameters", "seconds", "peak_memory", "num_expected", "num_missing",
    "num_unreadable", "list_sha256", "weights_sha256",
)  # fmt: skip
"""Of the CSV; shares in [0, 1], seconds, bytes, multiply-adds in 10^9."""


WIDTH = 200  # letters of a line where the output is no terminal


@dataclass(frozen=True)
class Row:
    """One card of a comparison: its file's name, the measure that is compared, its interval if it has one."""

    name: str
    card: EvaluationCard
    measure: str
    value: float
    interval: tuple[float, float] | None

    @property
    def gmac(self) -> float:
        """10^9 multiply-adds for one video: a view's times the views."""
        return self.card.gmac * self.card.num_views


def make_rows(cards: Sequence[tuple[str, EvaluationCard]], measure: str | None = None) -> list[Row]:
    """Cards as rows. measure: a key of `TITLES`; None is top-1, or mAP where examples have several labels.

    Raises ValueError for a card that does not have the measure.
    """
    rows = []
    for name, card in cards:
        chosen = measure or ("mean_ap" if card.multi_label else "top1")
        value = card.metrics.get(chosen)
        if chosen not in TITLES or not isinstance(value, int | float):
            has = ", ".join(key for key in TITLES if isinstance(card.metrics.get(key), int | float))
            raise ValueError(f"{name}: the card has no {chosen}; it has {has or 'no measure'}")
        interval = card.metrics.get("intervals", {}).get(chosen)
        rows.append(
            Row(
                name,
                card,
                chosen,
                float(value),
                (float(interval[0]), float(interval[1])) if interval else None,
            )
        )
    return rows


def find_differences(rows: Sequence[Row]) -> list[str]:
    """Why the numbers of these rows are not the same kind of number; empty where they are."""
    said = []
    questions: list[tuple[str, Callable[[Row], Any], str]] = [
        ("measures", lambda row: row.measure, ""),
        (
            "lists of files",
            lambda row: row.card.list_sha256,
            "the examples or their classes are not the same",
        ),
        ("classes", lambda row: row.card.class_names, ""),
        ("protocols", lambda row: row.card.protocol_text, "the views decide accuracy and cost alike"),
    ]
    for what, ask, why in questions:
        groups: dict[Any, list[str]] = {}
        for row in rows:
            groups.setdefault(ask(row), []).append(row.name)
        if len(groups) > 1:
            parts = " | ".join(", ".join(names) for names in groups.values())
            said.append(f"different {what}: {parts}" + (f" ({why})" if why else ""))
    for row in rows:
        lost = row.card.num_missing + row.card.num_unreadable
        if lost:
            share = lost / max(1, row.card.num_expected)
            said.append(
                f"{row.name}: {lost:,} of {row.card.num_expected:,} examples ({share:.1%}) count as wrong"
            )
    return said


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV with the columns of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        card = row.card
        low, high = row.interval or ("", "")
        others = [card.metrics.get(name) for name in ("top5", "mean_class")]
        what = (row.name, card.model, card.dataset, card.split, card.protocol.get("name"), row.measure)
        numbers = (row.value, low, high, *("" if value is None else value for value in others))
        cost = (card.num_views, row.gmac, card.num_parameters, card.seconds, card.peak_memory)
        files = (card.num_expected, card.num_missing, card.num_unreadable)
        writer.writerow((*what, *numbers, *cost, *files, card.list_sha256, card.weights_sha256))
    return text.getvalue()


def draw_comparison(rows: Sequence[Row], path: str | Path) -> Path:
    """Accuracy against multiply-adds a video (a logarithm), points with their intervals and names.

    path: .png, .svg or .pdf. Raises VadisError where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise VadisError("pictures of comparisons need matplotlib: pip install 'vadis[train]'") from error
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, row in enumerate(sorted(rows, key=lambda row: (row.gmac, row.value))):
        low, high = row.interval or (row.value, row.value)
        axes.errorbar(
            row.gmac,
            100 * row.value,
            yerr=[[100 * (row.value - low)], [100 * (high - row.value)]],
            fmt="o",
            capsize=3,
            color=f"C{number % 10}",
        )
        axes.annotate(
            _plain(_label(row, rows)),
            (row.gmac, 100 * row.value),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=9,
        )
    if all(row.gmac > 0 for row in rows):
        axes.set_xscale("log")
        if max(row.gmac for row in rows) / min(row.gmac for row in rows) < 10:
            middle = math.sqrt(max(row.gmac for row in rows) * min(row.gmac for row in rows))
            axes.set_xlim(middle / 4, middle * 4)
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("multiply-adds of one video, 10⁹ (all views)")
    titles = dict.fromkeys(TITLES[row.measure] for row in rows)
    axes.set_ylabel(f"{' / '.join(titles)}, %")
    where = dict.fromkeys(f"{row.card.dataset} {row.card.split}".strip() for row in rows)
    axes.set_title(_plain(", ".join(where)), fontsize=10)
    axes.grid(alpha=0.3)
    kind = Path(path).suffix.lstrip(".").lower() or "png"
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"{path}: pictures are written as .png, .svg or .pdf")
    with part_file(path) as part:
        figure.savefig(part, format=kind)
    return Path(path)


def _label(row: Row, rows: Sequence[Row]) -> str:
    """The network's name; with the protocol, or the card's name, where that does not tell points apart."""
    names = [(other.card.model, other.card.protocol.get("name")) for other in rows]
    if [model for model, _ in names].count(row.card.model) == 1:
        return row.card.model
    mine = (row.card.model, row.card.protocol.get("name"))
    return f"{mine[0]} {mine[1]}" if names.count(mine) == 1 else row.name


def _plain(text: str) -> str:
    """A text without matplotlib's mark-up of formulas, and without control characters."""
    return spell_out(text).replace("$", r"\$")


def render_comparison(rows: Sequence[Row]) -> str:
    """The comparison as one HTML page without scripts: the table, the differences, a bar for each card."""
    head = ("card", "model", "data", "protocol", "value", "95 %", "multiply-adds", "parameters", "missing")
    body = []
    for row in rows:
        card = row.card
        lost = card.num_missing + card.num_unreadable
        cells = [
            escape(row.name),
            escape(card.model),
            escape(f"{card.dataset} {card.split}".strip()),
            f'<span title="{escape(card.protocol_text)}">{escape(card.protocol.get("name"))}</span>',
            f'<div class="track"><b style="width:{100 * row.value:.2f}%"></b></div>'
            f"{percent(row.value)} {escape(TITLES[row.measure])}",
            interval_text(row.interval),
            f"{card.gmac:,.2f} G x {card.num_views} = {row.gmac:,.1f} G",
            f"{card.num_parameters / 1e6:,.2f} M",
            f"{lost:,} of {card.num_expected:,}",
        ]
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    warnings = "".join(f'<p class="warn">{escape(line)}</p>' for line in find_differences(rows))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\"><title>Comparison</title><style>"
        ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:90rem}"
        "table{border-collapse:collapse}td,th{text-align:left;padding:.35rem .8rem;vertical-align:top;"
        "border-bottom:1px solid #8886}.track{width:9rem;height:.7rem;background:#8883}"
        ".track b{display:block;height:100%;background:#4a7fc8}.warn{color:#d65c28}</style></head><body>"
        f"<h1>Comparison</h1>{warnings}<table><thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}"
        f"</tr></thead><tbody>{''.join(body)}</tbody></table></body></html>\n"
    )


def run_compare(
    paths: Sequence[Path], measure: str | None, out: Path | None, html: Path | None, table: Path | None
) -> int:
    """Print the table of some cards, draw and write; returns 0. Raises VadisError for what is no card."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    rows = make_rows([(name, read_card(path)) for name, path in zip(names, paths, strict=True)], measure)
    _print_rows(rows)
    if out is not None:
        draw_comparison(rows, out)
    for path, text in ((html, render_comparison), (table, to_csv)):
        if path is not None:
            with part_file(path) as part:
                part.write_text(text(rows), "utf-8", "backslashreplace")
    return 0


def _print_rows(rows: Sequence[Row]) -> None:
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    shown = Table(box=None, pad_edge=False)
    for heading in ("card", "model", "data", "protocol"):
        shown.add_column(heading, overflow="fold")
    for heading in ("value, %", "95 %", "G a video", "M param.", "missing"):
        shown.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: -row.value):
        card = row.card
        lost = card.num_missing + card.num_unreadable
        shown.add_row(
            spell_out(row.name),
            spell_out(card.model),
            spell_out(f"{card.dataset} {card.split}".strip()),
            spell_out(f"{card.protocol.get('name')} {card.protocol.get('combine')}"),
            f"{TITLES[row.measure]} {100 * row.value:.2f}",
            interval_text(row.interval),
            f"{row.gmac:,.1f}",
            f"{card.num_parameters / 1e6:,.2f}",
            f"{lost:,} of {card.num_expected:,}",
        )
    console.print(shown)
    for line in find_differences(rows):
        print(f"warning: {spell_out(line)}", file=sys.stderr)
