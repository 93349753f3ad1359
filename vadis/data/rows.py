"""Annotation files read strictly: what is malformed is named by file and line, what is odd is counted.

Every reader of `vadis.data` takes its lines, tables and JSON from here. A malformed line is a DataError that
begins with `file:line:`. Something odd that a dataset is known for (an interval past the end, a video listed
twice) goes into `Notes`: what was done about it, how often, and where first.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vadis.records import DataError, Note

csv.field_size_limit(16 * 2**20)  # Charades writes whole stories into one field; the default is 128 kB


class Where(NamedTuple):
    """A line of a file, counted from 1; `str` gives `file:line`."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    def error(self, message: str) -> DataError:
        """The error that this line is malformed."""
        return DataError(f"{self}: {message}")


class Notes:
    """Counts what is odd in a dataset's files, by sentence."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, text: str, where: object = "", count: int = 1) -> None:
        """Count something; the first place is kept."""
        before, first = self._found.get(text, (0, str(where)))
        self._found[text] = (before + count, first)

    def all(self) -> tuple[Note, ...]:
        """What was counted, in the order of appearance."""
        return tuple(Note(text, count, first) for text, (count, first) in self._found.items())


def read_text(path: Path) -> str:
    """A whole text file: UTF-8, with or without a byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Where(path, line).error("is not UTF-8 text") from error


def read_lines(path: Path) -> Iterator[tuple[Where, str]]:
    """The lines that are not blank, without white space around them (so CRLF does not matter)."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if text := line.strip():
            yield Where(path, number), text


def read_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[Where, list[str]]]:
    """The rows of a CSV file: quotes are understood, blank lines skipped, fields stripped."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    last = 0
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield Where(path, last + 1), [field.strip() for field in row]
            last = reader.line_num
    except csv.Error as error:
        raise Where(path, last + 1).error(f"is not CSV ({error})") from error


def read_table(
    path: Path, required: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[Where, dict[str, str]]]:
    """The rows of a CSV file with a header, as dicts. Each row has as many fields as the header."""
    rows = read_rows(path, delimiter)
    where, header = next(rows, (Where(path, 1), []))
    absent = [name for name in required if name not in header]
    if absent:
        raise where.error(f"the header lacks {', '.join(absent)}; it is {delimiter.join(header) or 'empty'}")
    if len(set(header)) != len(header):
        raise where.error("the header names a column twice")
    for where, row in rows:
        if len(row) != len(header):
            raise where.error(f"{len(row)} fields, the header has {len(header)}")
        yield where, dict(zip(header, row, strict=True))


def read_json(path: Path) -> Any:
    """A JSON document."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise Where(path, error.lineno).error(f"is not JSON ({error.msg})") from error
    except RecursionError as error:
        raise DataError(f"{path}: is nested too deeply") from error


def to_float(text: object, where: object, what: str) -> float:
    """A finite number, from text or from JSON; `what` names it in the error."""
    value = math.nan
    if isinstance(text, str) or (isinstance(text, int | float) and not isinstance(text, bool)):
        try:
            value = float(text)
        except (ValueError, OverflowError):
            pass
    if not math.isfinite(value):
        raise DataError(f"{where}: {what} is not a number: {text!r}")
    return value


def to_int(text: object, where: object, what: str) -> int:
    """A whole number, also where it is written as `17.0` or, in JSON, as a string."""
    value = to_float(text, where, what)
    if value != int(value):
        raise DataError(f"{where}: {what} is not a whole number: {text!r}")
    return int(value)


def to_label(name: str, label_of: dict[str, int], where: object) -> int:
    """The label of a class name, or an error that names the nearest."""
    if name in label_of:
        return label_of[name]
    import difflib

    near = difflib.get_close_matches(name, label_of, 1)
    hint = f"; did it mean {near[0]!r}?" if near else ""
    raise DataError(f"{where}: {name!r} is none of the {len(label_of)} classes{hint}")
