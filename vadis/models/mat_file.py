"""MATLAB's files (.mat, level 5): their variables as arrays, whatever a damaged or hostile file claims.

scipy reads these files too, but in compiled code that trusts what stands in them: a file with some bytes
changed can end the process. Here each size is compared with what is there before it is used.

After a head of 128 bytes come elements: a type and a size, of 4 bytes each (or of 2 each, where the data fit
into 4 bytes), then the data, padded to 8 bytes. One type is an array, itself a row of elements (flags with
its class, its axes, its name, its data), another such an element compressed by zlib. A cell's data are
arrays, a structure's the names of its fields and then an array for each.

    class        here
    numbers      an array of them, axes as in MATLAB; a sparse or complex one is refused
    char         an array of texts, its last axis (the letters) taken off
    cell         an array of objects: what is in it
    struct       an array of records, each field an object
    any other    an empty array of objects: functions and objects of classes mean nothing here

Source: "MAT-File Format" (MathWorks), version 5. The conventions are those of `scipy.io.loadmat`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

HEAD = 128
MAX_BYTES = 2**32
"""Of a variable after decompression: more is refused."""
MAX_DEPTH, MAX_AXES = 32, 16

NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""Types of elements that hold numbers."""
TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
ARRAY, COMPRESSED = 14, 15
CELL, STRUCT, CHAR, SPARSE = 1, 2, 4, 5
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of arrays that hold numbers; what is stored may be of a narrower type."""
COMPLEX = 0x0800


class MatError(Exception):
    """A MATLAB file is damaged, or holds what is not understood; the message says why."""


def read_mat(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The variables of a file, or those that have one of the names, arrays of any shapes.

    Raises MatError, and OSError as `open` does.
    """
    data = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEAD])
    if order is None:
        raise MatError("it has no head of a MATLAB file of level 5")
    found: dict[str, np.ndarray] = {}
    elements = _Elements(memoryview(data)[HEAD:], order)
    while elements.left:
        kind, content = elements.take()
        if kind == COMPRESSED:
            kind, content = _Elements(_decompress(content), order).take()
        if kind == ARRAY:
            name, value = _read_array(_Elements(content, order), names)
            if names is None or name in names:
                found[name] = value
    return found


def _decompress(content: memoryview) -> memoryview:
    machine = zlib.decompressobj()
    try:
        whole = machine.decompress(content, MAX_BYTES)
    except zlib.error as error:
        raise MatError(f"a compressed variable is damaged ({error})") from error
    if machine.unconsumed_tail or not machine.eof:
        raise MatError("a compressed variable is cut off, or larger than 4 GiB")
    return memoryview(whole)


class _Elements:
    """The elements in some bytes, one after the other; a MatError for a size that the bytes do not have."""

    def __init__(self, data: memoryview, order: str) -> None:
        self.data, self.order, self.place = data, order, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def take(self) -> tuple[int, memoryview]:
        """The type and the data of the next element."""
        if self.left < 8:
            raise MatError("it is cut off")
        first, second = np.frombuffer(self.data, self.order + "u4", 2, self.place).tolist()
        if first >> 16:
            kind, size, begin, end = first & 0xFFFF, first >> 16, self.place + 4, self.place + 8
            if size > 4:
                raise MatError("an element is damaged")
        else:
            kind, size, begin = first, second, self.place + 8
            end = begin + size + (0 if kind == COMPRESSED else -size % 8)
        if begin + size > len(self.data):
            raise MatError("it is cut off, or the size of an element is wrong")
        self.place = min(end, len(self.data))
        return kind, self.data[begin : begin + size]

    def integers(self) -> list[int]:
        """The next element, which holds whole numbers."""
        values = self.numbers()
        if values.dtype.kind not in "iu":
            raise MatError("a size is no whole number")
        return [int(value) for value in values]

    def numbers(self) -> np.ndarray:
        """The next element, which holds numbers (or text by its codes), as one axis of them."""
        kind, content = self.take()
        if kind in TEXTS:
            return np.frombuffer(_decode(content, TEXTS[kind], self.order).encode("utf-32-le"), "<u4")
        if kind not in NUMBERS:
            raise MatError(f"numbers are of an unknown type ({kind})")
        dtype = np.dtype(self.order + NUMBERS[kind])
        if len(content) % dtype.itemsize:
            raise MatError("numbers are cut off")
        return np.frombuffer(content, dtype)


def _decode(content: memoryview, encoding: str, order: str) -> str:
    ending = "" if encoding == "utf-8" else ("-le" if order == "<" else "-be")
    return bytes(content).decode(encoding + ending, errors="replace")


def _read_array(
    elements: _Elements, names: Collection[str] | None = None, depth: int = 0
) -> tuple[str, np.ndarray]:
    """The name and the value of an array; where `names` are given, no other array is read."""
    if depth > MAX_DEPTH:
        raise MatError(f"arrays lie more than {MAX_DEPTH} deep in each other")
    if not elements.left:  # an element of no bytes
        return "", np.zeros((0, 0))
    flags = elements.integers()
    if not flags:
        raise MatError("an array has no class")
    kind = flags[0] & 0xFF
    if kind in (16, 17):  # functions, and objects of newer classes, have another order
        return "", np.empty(0, object)
    axes = tuple(elements.integers())
    name = bytes(elements.take()[1]).decode("latin1")
    if names is not None and name not in names:
        return name, np.empty(0)
    if not 2 <= len(axes) <= MAX_AXES or min(axes) < 0:
        raise MatError(f"an array has the axes {axes[:MAX_AXES]}")
    if kind in CLASSES:
        if flags[0] & COMPLEX:
            raise MatError("an array holds complex numbers")
        with np.errstate(invalid="ignore"):
            return name, _shape(elements.numbers(), axes).astype(CLASSES[kind], copy=False)
    if kind == CHAR:
        return name, _texts(_shape(elements.numbers(), axes))
    if kind == CELL:
        return name, _cells(elements, axes, depth)
    if kind == STRUCT:
        return name, _records(elements, axes, depth)
    if kind == SPARSE:
        raise MatError("an array is sparse")
    return name, np.empty(0, object)


def _shape(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    if len(values) != math.prod(axes):
        raise MatError(f"an array of the axes {axes} has {len(values)} values")
    return values.reshape(axes, order="F")


def _texts(codes: np.ndarray) -> np.ndarray:
    """Texts of the codes of their letters, which lie along the last axis."""
    if not codes.size:
        return np.empty(0, "U1")
    rows = codes.reshape(-1, codes.shape[-1]).tolist()
    try:
        texts = ["".join(map(chr, row)) for row in rows]
    except (ValueError, TypeError, OverflowError) as error:
        raise MatError("a text holds no letters") from error
    return np.array(texts).reshape(codes.shape[:-1])


def _count(elements: _Elements, axes: tuple[int, ...]) -> int:
    """How many arrays follow, each of which takes 8 bytes or more."""
    count = math.prod(axes)
    if count * 8 > elements.left:
        raise MatError(f"a cell or structure of the axes {axes} is cut off")
    return count


def _inner(elements: _Elements, depth: int) -> np.ndarray:
    kind, content = elements.take()
    if kind != ARRAY:
        raise MatError(f"a cell or field holds no array but an element of type {kind}")
    return _read_array(_Elements(content, elements.order), depth=depth + 1)[1]


def _cells(elements: _Elements, axes: tuple[int, ...], depth: int) -> np.ndarray:
    cells = np.empty(_count(elements, axes), object)
    for index in range(len(cells)):
        cells[index] = _inner(elements, depth)
    return cells.reshape(axes, order="F")


def _records(elements: _Elements, axes: tuple[int, ...], depth: int) -> np.ndarray:
    length = next(iter(elements.integers()), 0)
    text = bytes(elements.take()[1]).decode("latin1")
    if length < 1 or len(text) % length:
        raise MatError("a structure has no names of fields")
    fields = [text[at : at + length].partition("\0")[0] for at in range(0, len(text), length)]
    if not all(fields) or len(set(fields)) < len(fields):
        raise MatError("two fields of a structure have one name, or none")
    if not fields:
        return np.empty(0, object)
    records: Any = np.empty(_count(elements, axes), [(field, object) for field in fields])
    for index in range(len(records)):
        for field in fields:
            records[field][index] = _inner(elements, depth)
    return np.asarray(records.reshape(axes, order="F"))
