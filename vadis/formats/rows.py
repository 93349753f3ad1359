"""Predictions as rows: a CSV in long form that spreadsheets, pandas and databases read as it is."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vadis.records import LabelScore, Prediction

CSV_COLUMNS = (
    "video",
    "kind",
    "start_seconds",
    "end_seconds",
    "label",
    "class_name",
    "score",
    "error",
)
"""The columns of the CSV; `kind` is `span`, `window`, `video` (labels of the whole) or `error`."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def csv_rows(prediction: Prediction) -> list[tuple[Any, ...]]:
    """The rows of one prediction, in the order of CSV_COLUMNS: spans, windows, then the whole video.

    The labels of the whole come last: their number equals that of a window, so rows that were lost
    when the program was killed can be noticed.
    """
    video = escape_formula(prediction.video)
    if prediction.error is not None:
        text = f"{prediction.error.kind}: {prediction.error.message}"
        return [(video, "error", "", "", "", "", "", escape_formula(text))]

    def rows(kind: str, start: float | None, end: float | None, labels: Iterable[LabelScore]) -> None:
        for item in labels:
            numbers = (_number(start, 6), _number(end, 6), item.label)
            found.append((video, kind, *numbers, escape_formula(item.class_name), _number(item.score), ""))

    found: list[tuple[Any, ...]] = []
    for span in prediction.spans:
        score = math.nan if span.score is None else span.score
        item = LabelScore(span.label, span.class_name, score)
        rows("span", span.start_seconds, span.end_seconds, [item])
    for window in prediction.windows:
        rows("window", window.start_seconds, window.end_seconds, window.labels)
    start = prediction.windows[0].start_seconds if prediction.windows else 0.0
    rows("video", min(start, 0.0), prediction.duration_seconds, prediction.labels)
    return found


def _number(value: float | None, digits: int | None = None) -> float | str:
    if value is None or not math.isfinite(value):
        return ""
    return float(value) if digits is None else round(float(value), digits)


def escape_formula(text: str) -> str:
    """Put a quote before text that a spreadsheet would run as a formula (it starts with = + - @ ...)."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`."""
    return text.removeprefix("'")


def split_rows(path: Path) -> Iterator[tuple[str | None, bytes, bool]]:
    """(video, its rows as bytes, are they a whole result?) for each video in a file, one at a time.

    The heading comes first, without a name. A kill leaves the last video torn, and where that was within
    its name, it looks like two.
    Raises ValueError for a file with other columns.
    """
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 1))
        ended = raw.read() == b"\n"
    group: list[list[str]] = []
    # a letter may be torn, too: its bytes pass, and go with the rest of the last video
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for number, row in enumerate(csv.reader(file)):
            if number == 0:
                if tuple(row) != CSV_COLUMNS and (
                    ended or not ",".join(CSV_COLUMNS).startswith(",".join(row))
                ):
                    raise ValueError(
                        f"{path}: its columns are not those of vadis; name another file to write"
                    )
                if tuple(row) == CSV_COLUMNS:
                    yield None, rows_to_bytes([CSV_COLUMNS]), True
            elif group and group[0][0] == row[0]:
                group.append(row)
            else:
                if group:
                    yield unescape_formula(group[0][0]), rows_to_bytes(group), _is_whole(group)
                group = [row]
    if group:
        yield unescape_formula(group[0][0]), rows_to_bytes(group), ended and _is_whole(group)


def _is_whole(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a result has all rows: as many labels of the whole (they come last) as its last window."""
    if any(len(row) != len(CSV_COLUMNS) for row in rows):
        return False
    num_video = sum(row[1] == "video" for row in rows)
    windows = [tuple(row[2:4]) for row in rows if row[1] == "window"]
    return num_video > 0 and (not windows or num_video == windows.count(windows[-1]))


def rows_to_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as UTF-8 CSV; what no UTF-8 can hold (a strange file name) becomes an escape."""
    block = io.StringIO()
    csv.writer(block).writerows(rows)
    return block.getvalue().encode("utf-8", "backslashreplace")
