"""The pictures of a card's page as HTML and SVG, without a script: confusions, bars, reliability.

Every text that comes from a dataset goes through `escape`: class names and file names are strangers'.
Colours are the page's variables, so the pictures follow its light or dark theme.

Legend: K classes.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vadis.formats.table import shorten, spell_out

MOST_NAMED = 32  # classes whose names fit beside a confusion matrix
_CELL, _LETTER = 18, 6.6  # pixels: of a cell's side, and of a letter's width
_NAME = 26  # letters of a class name beside the matrix
_OVERVIEW = 800  # pixels of the picture of all classes, about
_ACCENT = (214, 92, 40)
NOT_SCORED = "not scored"

Confusion = Sequence[Sequence[int | None]]
"""Rows of true class, predicted class (None: not scored), count, as cards have them."""


def escape(text: object) -> str:
    """A text as HTML shows it: no mark-up, no control characters, no change of writing direction."""
    return html.escape(spell_out(str(text)), quote=True)


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def interval_text(interval: Sequence[float] | None) -> str:
    """An interval of shares as percentages."""
    return "" if not interval else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _cells(confusion: Confusion) -> tuple[list[tuple[int, int | None, int]], Counter[int]]:
    """The rows as numbers, and how many examples each true class has."""
    cells = [(int(row[0] or 0), row[1], int(row[2] or 0)) for row in confusion]
    totals: Counter[int] = Counter()
    for true, _, count in cells:
        totals[true] += count
    return cells, totals


def most_confused(confusion: Confusion, num: int = 20) -> list[tuple[int, int, int, float]]:
    """The most frequent confusions: true class, the one it was taken for, count, share of the true class."""
    cells, totals = _cells(confusion)
    pairs = [
        (true, seen, count, count / totals[true])
        for true, seen, count in cells
        if seen is not None and seen != true
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))[:num]


def classes_to_show(confusion: Confusion, num_classes: int, most: int = MOST_NAMED) -> list[int]:
    """All classes where they fit, else those of the most frequent confusions, in the order of labels."""
    if num_classes <= most:
        return list(range(num_classes))
    chosen: dict[int, None] = {}
    for true, predicted, _, _ in most_confused(confusion, num_classes):
        if len({*chosen, true, predicted}) > most:
            break
        chosen[true] = chosen[predicted] = None
    return sorted(chosen)


def draw_confusion(confusion: Confusion, class_names: Sequence[str]) -> str:
    """The confusion matrix: rows are true classes, columns predicted ones, colour is the share of the row.

    Where names do not fit for all classes, one picture of all of them, and the most confused ones at large.
    """
    shown = classes_to_show(confusion, len(class_names))
    parts = []
    if len(shown) < len(class_names):
        parts.append(
            '<figure><img class="overview" alt="confusion matrix of all classes" '
            f'src="{_overview(confusion, len(class_names))}"><figcaption>All {len(class_names)} classes in '
            "the order of their labels; true ones downwards, predicted ones to the right.</figcaption>"
            "</figure>"
        )
        if shown:
            parts.append(f"<p>The {len(shown)} classes that are confused most often:</p>")
    if shown:
        parts.append(_matrix(confusion, class_names, shown))
    return "\n".join(parts)


def _overview(confusion: Confusion, num_classes: int) -> str:
    share_KK = np.zeros((num_classes, num_classes))
    cells, totals = _cells(confusion)
    for true, seen, count in cells:
        if seen is not None:
            share_KK[true, seen] = count / totals[true]
    picture_HWC = np.zeros((num_classes, num_classes, 4), np.uint8)
    picture_HWC[..., :3] = _ACCENT
    picture_HWC[..., 3] = np.rint(255 * share_KK**0.4)  # a power: rare confusions are to be seen
    scale = max(1, _OVERVIEW // num_classes)
    return picture_uri(picture_HWC.repeat(scale, 0).repeat(scale, 1), "PNG")


def picture_uri(picture_HWC: np.ndarray, kind: str) -> str:
    """A picture (uint8) as a data URI: "PNG" or "JPEG"."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"optimize": True} if kind == "PNG" else {"quality": 80}
    Image.fromarray(picture_HWC).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _matrix(confusion: Confusion, class_names: Sequence[str], shown: Sequence[int]) -> str:
    place = {label: row for row, label in enumerate(shown)}
    cells, totals = _cells(confusion)
    lost = any(seen is None and true in place for true, seen, _ in cells)
    names = [shorten(spell_out(class_names[label]), _NAME) for label in shown]
    left = 12 + max(len(name) for name in names) * _LETTER
    columns = len(shown) + (1 if lost else 0)
    heads = [*names, NOT_SCORED] if lost else names
    top = 12 + max(len(name) for name in heads) * _LETTER
    width, height = left + columns * _CELL + 2, top + len(shown) * _CELL + 2
    lines = [
        f'<div class="wide"><svg class="matrix" role="img" aria-label="confusion matrix" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f'<rect class="ground" x="{left:.0f}" y="{top:.0f}" width="{columns * _CELL}" '
        f'height="{len(shown) * _CELL}"/>',
    ]
    for number, name in enumerate(names):
        y = top + number * _CELL + _CELL * 0.72
        lines.append(f'<text x="{left - 6:.0f}" y="{y:.0f}" text-anchor="end">{html.escape(name)}</text>')
    for number, name in enumerate(heads):
        x = left + number * _CELL + _CELL * 0.68
        turn = f"rotate(-90 {x:.0f} {top - 6:.0f})"
        lines.append(f'<text x="{x:.0f}" y="{top - 6:.0f}" transform="{turn}">{html.escape(name)}</text>')
    for true, seen, count in cells:
        row, column = place.get(true), columns - 1 if seen is None else place.get(seen)
        if row is None or column is None:
            continue  # of classes that are not shown
        kind = "right" if seen == true else "wrong"
        taken = NOT_SCORED if seen is None else f"seen as {class_names[seen]}"
        said = f"{class_names[true]}: {count} of {totals[true]} {taken}"
        lines.append(
            f'<rect class="{kind}" x="{left + column * _CELL:.0f}" y="{top + row * _CELL:.0f}" '
            f'width="{_CELL - 1}" height="{_CELL - 1}" fill-opacity="{max(0.08, count / totals[true]):.2f}">'
            f"<title>{escape(said)}</title></rect>"
        )
    return "\n".join([*lines, "</svg></div>"])


def draw_bars(per_class: Sequence[Mapping[str, Any]], unit: str) -> str:
    """A bar for each class from the worst to the best, its interval as a line; many classes are folded."""
    rows = sorted(
        (row for row in per_class if row["value"] is not None), key=lambda row: (row["value"], row["label"])
    )
    lines = [_bar(row) for row in rows]
    if len(lines) <= 2 * MOST_NAMED:
        body = f'<div class="bars">{"".join(lines)}</div>'
    else:
        body = (
            f'<div class="bars">{"".join(lines[:MOST_NAMED])}</div>'
            f"<details><summary>the other {len(lines) - MOST_NAMED} classes</summary>"
            f'<div class="bars">{"".join(lines[MOST_NAMED:])}</div></details>'
        )
    without = len(per_class) - len(rows)
    return f"<p>{escape(unit)}, from the worst class to the best.</p>{body}" + (
        f"<p>{without} classes have no example here.</p>" if without else ""
    )


def _bar(row: Mapping[str, Any]) -> str:
    value = float(row["value"])
    whisker = ""
    if row.get("interval"):
        low, high = row["interval"]
        whisker = f'<i class="whisker" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
    return (
        f'<div class="name"><bdi>{escape(row["class_name"])}</bdi></div>'
        f'<div class="track"><b style="width:{100 * value:.2f}%"></b>{whisker}</div>'
        f'<div class="number">{percent(value)} <small>of {int(row["num"])}</small></div>'
    )


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Score against accuracy by bins: on the diagonal, a score means what it says; width is the share."""
    side, margin = 240, 34
    most = max((item["num"] for item in bins), default=0) or 1
    lines = [
        f'<svg class="reliability" role="img" aria-label="reliability" width="{side + 2 * margin}" '
        f'height="{side + 2 * margin}">',
        f'<rect class="ground" x="{margin}" y="{margin}" width="{side}" height="{side}"/>',
        f'<line class="rule" x1="{margin}" y1="{margin + side}" x2="{margin + side}" y2="{margin}"/>',
    ]
    for item in bins:
        if not item["num"]:
            continue
        x, y = margin + item["score"] * side, margin + (1 - item["accuracy"]) * side
        radius = 2.5 + 7 * (item["num"] / most) ** 0.5
        lines.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{int(item['num'])} examples: score {item['score']:.2f}, "
            f"right {item['accuracy']:.2f}</title></circle>"
        )
    for value in (0, 0.5, 1):
        x, y = margin + value * side, margin + (1 - value) * side
        lines.append(f'<text x="{x:.0f}" y="{margin + side + 16}" text-anchor="middle">{value:g}</text>')
        lines.append(f'<text x="{margin - 6}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
    lines.append(
        f'<text x="{margin + side / 2:.0f}" y="{margin + side + 31}" text-anchor="middle">score</text>'
        f'<text x="{margin}" y="{margin - 10}">share that is right</text></svg>'
    )
    return "\n".join(lines)
