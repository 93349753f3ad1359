"""Columns of numbers out of CSV, by blocks of lines: fast where the lines are plain, careful where not.

Plain is a block without quotes, whose lines all have the same number of commas and whose numbers are digits
with at most a sign and a point. Its bytes are then cut and summed up with NumPy, far faster than by
`csv` and `float`, with the same numbers to the last bit: the digits and the power of ten are exact in
float64 as long as they are few, and IEEE division rounds correctly. All else goes through `csv` and `float`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vadis.metrics.classification import Floats, Ints
from vadis.scoring.files import ScoreFileError, open_text, to_number

BYTES_AT_ONCE = 1 << 20  # the arrays of a block stay in the processor's cache
MAX_DIGITS = 16  # and the number that they make is under 2**53
MAX_KEY_BYTES = 64
Part = TypeVar("Part")


class Columns(Protocol):
    """Some lines of a table, all with the same number of columns."""

    width: int

    def keys(self, number_of: Callable[[tuple[str, str]], int]) -> Ints:
        """What `number_of` makes of the first two columns of each line. Returns (N,)."""
        ...

    def floats(self, column: int) -> Floats:
        """A column of finite numbers (N,); ValueError otherwise."""
        ...

    def ints(self, column: int) -> Ints:
        """A column of whole numbers (N,); ValueError otherwise."""
        ...


class NotPlainError(Exception):
    """A block of lines wants the careful way."""


class PlainColumns:
    """A block of plain lines, as bytes."""

    def __init__(self, block: bytes) -> None:
        self._bytes = block if block.endswith(b"\n") else block + b"\n"
        padding = b"\n" * MAX_KEY_BYTES  # so that a look past the last cell stays inside
        self._codes = np.frombuffer(self._bytes + padding, np.uint8)
        line_end = np.flatnonzero(self._codes[: len(self._bytes)] == ord("\n"))
        comma = np.flatnonzero(self._codes == ord(","))
        self.width = len(comma) // len(line_end) + 1
        line_start = np.concatenate([[0], line_end[:-1] + 1])
        if (
            len(comma) != len(line_end) * (self.width - 1)
            or b'"' in block
            or b"\r" in block
            or self.width < 2
        ):
            raise NotPlainError
        commas = list(comma.reshape(len(line_end), self.width - 1).T)
        if (commas[0] < line_start).any() or (commas[-1] > line_end).any():
            raise NotPlainError
        self._start = [line_start, *(comma + 1 for comma in commas)]  # of the cells of each column
        self._end = [*commas, line_end]

    def _steps(self, start_N: Ints, end_N: Ints, most: int) -> Iterator[NDArray[np.uint8]]:
        """The first bytes of all cells, the second ones, and so on; 0 past the end of a cell."""
        length = end_N - start_N
        shortest, longest = int(length.min()), int(length.max())
        if longest > most:
            raise NotPlainError
        for step in range(longest):
            codes = self._codes[start_N + step]
            yield codes if step < shortest else np.where(step < length, codes, 0).astype(np.uint8)

    def keys(self, number_of: Callable[[tuple[str, str]], int]) -> Ints:
        """The number of the first two columns; asked only where they differ from the line before."""
        start, end = self._start[0], self._end[1]
        is_new = np.zeros(len(start), bool)
        is_new[0] = True
        for codes in self._steps(start, end, MAX_KEY_BYTES):
            is_new[1:] |= codes[1:] != codes[:-1]
        numbers = []
        try:
            for i in np.flatnonzero(is_new).tolist():
                first, second = self._bytes[start[i] : end[i]].decode().split(",")
                numbers.append(number_of((first, second)))
        except ValueError:
            raise NotPlainError from None  # the careful way finds the line
        return np.array(numbers, np.int64)[np.cumsum(is_new) - 1]

    def _decimals(self, column: int, most_points: int = 1) -> tuple[Ints, Ints]:
        """Each number as digits and as how many of them stand behind the point."""
        start, end = self._start[column], self._end[column]
        is_negative = self._codes[start] == ord("-")
        start = start + is_negative
        value, places = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
        digits, points = np.zeros(len(start), np.uint8), np.zeros(len(start), np.uint8)
        for codes in self._steps(start, end, MAX_DIGITS):
            digit = codes - np.uint8(ord("0"))  # what is no digit wraps round to 10 or more
            is_digit = digit < 10
            value = np.where(is_digit, value * 10 + digit, value)
            places += is_digit & (points > 0)
            digits += is_digit
            points += codes == ord(".")
        if (digits + points != end - start).any() or (points > most_points).any() or (digits == 0).any():
            raise NotPlainError
        if value.max(initial=0) >= 2**53:
            raise NotPlainError
        return np.where(is_negative, -value, value), places

    def floats(self, column: int) -> Floats:
        """The numbers of a column (N,)."""
        value, places = self._decimals(column)
        return np.asarray(value / np.power(10.0, np.arange(MAX_DIGITS + 1))[places])

    def ints(self, column: int) -> Ints:
        """The whole numbers of a column (N,)."""
        value, _ = self._decimals(column, most_points=0)
        return value


class TextColumns:
    """Lines as Python's `csv` reads them."""

    def __init__(self, rows: list[list[str]]) -> None:
        self._columns = [list(column) for column in zip(*rows, strict=True)]
        self.width = len(self._columns)

    def keys(self, number_of: Callable[[tuple[str, str]], int]) -> Ints:
        """The number of the first two columns of each line (N,)."""
        if self.width < 2:
            raise ValueError("a row has at least 2 columns, not 1")
        return np.array([number_of(key) for key in zip(*self._columns[:2], strict=True)], np.int64)

    def floats(self, column: int) -> Floats:
        """The numbers of a column (N,)."""
        return np.array([to_number(text) for text in self._columns[column]], np.float64)

    def ints(self, column: int) -> Ints:
        """The whole numbers of a column (N,)."""
        return np.array([int(text) for text in self._columns[column]], np.int64)


def read_blocks(path: Path, parse: Callable[[Columns], Part]) -> list[Part]:
    """What `parse` makes of each block of lines of a CSV file without a header. Empty lines are passed over.

    A ValueError of `parse` is traced: ScoreFileError names the line.
    """
    parts: list[Part] = []
    try:
        with path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":  # a byte-order mark
                file.seek(0)
            while block := file.read(BYTES_AT_ONCE) + file.readline():
                block = block.replace(b"\r\n", b"\n")
                try:
                    parts.append(parse(PlainColumns(block)))
                except NotPlainError:
                    parts += [parse(TextColumns(rows)) for rows in _read_rows(block.decode())]
    except (ValueError, csv.Error):
        _trace(path, parse)
        raise
    return parts


def _read_rows(text: str) -> Iterator[list[list[str]]]:
    """Runs of rows of the same number of columns."""
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    for _, run in groupby(rows, key=len):
        yield list(run)


def _trace(path: Path, parse: Callable[[Columns], Any]) -> None:
    """Read again row by row, and raise ScoreFileError at the first that is wrong."""
    with open_text(path) as file:
        lines = csv.reader(file)
        try:
            for row in lines:
                if row:
                    parse(TextColumns([row]))
        except (ValueError, csv.Error) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise ScoreFileError(path, lines.line_num, str(error)) from None
