"""MATLAB's files: what scipy wrote is read as scipy reads it; what is damaged is an error, never a crash."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vadis.models.mat_file import MAX_DEPTH, MatError, read_mat

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the files")


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def numbers(
    name: bytes, values: list[float], axes: tuple[int, ...], order: str = "<", flags: int = 6
) -> bytes:
    """An array of doubles, as MATLAB writes it."""
    parts = [
        element(6, struct.pack(order + "II", flags, 0), order),
        element(5, struct.pack(f"{order}{len(axes)}i", *axes), order),
        element(1, name, order),
        element(9, struct.pack(f"{order}{len(values)}d", *values), order),
    ]
    return element(14, b"".join(parts), order)


def head(order: str = "<") -> bytes:
    end = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + end


def cells(*inside: Any) -> np.ndarray:
    row = np.empty((1, len(inside)), object)
    row[0, :] = inside
    return row


CONTENT: dict[str, Any] = {
    "numbers": np.arange(24.0).reshape(2, 3, 4),
    "single": np.float32([[1.5, -2.5]]),
    "small": np.arange(3, dtype=np.uint8),
    "whole": np.array([[-1, 2**40]], np.int64),
    "text": "relu5_3",
    "rows": np.array(["ab", "cd"]),
    "empty": np.zeros((0, 0)),
    "nothing": "",
    "cell": cells("word", np.ones((1, 1, 3, 2)), cells(1.0)),
    "record": {"name": "conv1", "weights": cells(np.ones((2, 2)), 1.0), "deep": {"er": {"x": 3}}},
    "records": np.array([("a", 1.0), ("b", 2.0)], [("name", object), ("value", object)]),
}


def same(found: Any, wanted: Any) -> bool:
    if wanted.dtype == object or wanted.dtype.names:
        assert found.shape == wanted.shape
        assert found.dtype.names == wanted.dtype.names
        pairs = zip(found.reshape(-1), wanted.reshape(-1), strict=True)
        if wanted.dtype.names:
            return all(same(a[field], b[field]) for a, b in pairs for field in wanted.dtype.names)
        return all(same(a, b) for a, b in pairs)
    return found.dtype == wanted.dtype and found.shape == wanted.shape and bool((found == wanted).all())


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_wrote_is_read_as_scipy_reads_it(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy_io.savemat(path, CONTENT, do_compression=compressed)
    wanted, found = scipy_io.loadmat(path), read_mat(path, CONTENT)
    assert set(found) == set(CONTENT)
    for name in CONTENT:
        assert same(found[name], wanted[name]), name
    assert set(read_mat(path, ("text", "other"))) == {"text"}
    assert set(read_mat(path)) == set(CONTENT)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_order_of_bytes(order: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(head(order) + numbers(b"x", [1, 2, 3, 4], (2, 2), order))
    assert read_mat(path, ("x",))["x"].tolist() == [[1, 3], [2, 4]], "columns first"
    assert same(read_mat(path, ("x",))["x"].astype("<f8"), scipy_io.loadmat(path)["x"].astype("<f8"))


DEEP = b""
for _ in range(MAX_DEPTH + 2):
    parts = (
        element(6, struct.pack("<II", 1, 0)),
        element(5, struct.pack("<2i", 1, 1)),
        element(1, b"x"),
        DEEP,
    )
    DEEP = element(14, b"".join(parts))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no head"),
        (head() + b"abc", "cut off"),
        (head() + numbers(b"x", [1, 2], (2, 2)), r"axes \(2, 2\) has 2 values"),
        (head() + numbers(b"x", [1], (1, 1), flags=0x0806), "complex"),
        (head() + numbers(b"x", [1], (1, 1), flags=5), "sparse"),
        (head() + numbers(b"x", [1], (2**30, 2**30), flags=1), "is cut off"),
        (head() + numbers(b"x", [1], (-1, 1)), "has the axes"),
        (head() + numbers(b"x", [1], (1, 1))[:-16], "cut off"),
        (head() + element(15, b"no zlib"), "compressed variable is damaged"),
        (head() + element(15, zlib.compress(bytes(100))[:-6]), "compressed variable is"),
        (head() + DEEP, "deep in each other"),
    ],
)
def test_what_is_damaged_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(MatError, match=said):
        read_mat(path, ("x",))


@pytest.mark.parametrize("compressed", [False, True])
def test_no_damage_does_worse_than_an_error(compressed: bool, tmp_path: Path) -> None:
    """scipy's reader ends the process on some of these."""
    path = tmp_path / "x.mat"
    scipy_io.savemat(path, CONTENT, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for case in range(1500):
        broken = bytearray(whole[: int(rng.integers(20, len(whole)))] if case % 3 == 0 else whole)
        for place in rng.integers(100, max(101, len(broken)), 4):
            broken[min(int(place), len(broken) - 1)] = int(rng.integers(256))
        path.write_bytes(broken)
        try:
            read_mat(path, CONTENT)
            read += 1
        except MatError:
            pass
    assert read < 1000, "most damage is noticed"
