"""The TensorFlow bundle reader against an independent writer, and against broken and hostile files."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vadis.models.tensorflow_bundle import (
    BundleError,
    bundle_prefix,
    crc32c,
    masked_crc32c,
    read_bundle,
)

MAGIC = 0xDB4775248B80FB57
CODES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
RNG = np.random.default_rng(3)
TENSORS = {
    "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w": RNG.normal(size=(3, 3, 3, 2, 5)).astype("float32"),
    "RGB/inception_i3d/Conv3d_1a_7x7/batch_norm/beta": RNG.normal(size=(1, 1, 1, 1, 5)).astype("float32"),
    "RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b": RNG.normal(size=7).astype("float64"),
    "empty": np.zeros((0, 4), "float32"),
    "global_step": np.array(115_000, "int64"),
    "half": RNG.normal(size=(3,)).astype("float16"),
}


def slow_crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def shape_message(shape: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in shape)


def block(items: list[tuple[bytes, bytes]], interval: int = 3) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for index, (key, value) in enumerate(items):
        shared = 0
        if index % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def snappy(data: bytes) -> bytes:
    """Compress with all kinds of tags: literals short and long, copies of each width, overlapping ones."""
    out, at = bytearray(varint(len(data))), 0
    while at < len(data):
        best = (0, 0)
        for back in range(1, min(at, 3000) + 1):
            length = 0
            while length < 60 and at + length < len(data) and data[at + length] == data[at + length - back]:
                length += 1
            best = max(best, (length, back))
        length, back = best
        if 4 <= length <= 11 and back < 2048:
            out += bytes([1 | length - 4 << 2 | back >> 8 << 5, back & 255])
        elif length >= 4:
            out += bytes([2 | length - 1 << 2]) + struct.pack("<H", back)
        else:
            length = min(70, len(data) - at)
            head = bytes([length - 1 << 2]) if length <= 60 else bytes([60 << 2, length - 1])
            out += head + data[at : at + length]
        at += length
    return bytes(out)


def write_bundle(
    prefix: Path,
    tensors: dict[str, np.ndarray],
    *,
    compress: bool = False,
    blocks: int = 2,
    header: bytes | None = None,
    entry: Callable[[str, dict[int, int | bytes]], None] = lambda name, fields: None,
    order: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]] = sorted,
) -> Path:
    """Write a bundle the way the format is described; `entry` may spoil an entry's fields, by number."""
    data, items = bytearray(), []
    for name, array in sorted(tensors.items()):
        raw = np.asarray(array, array.dtype.newbyteorder("<")).tobytes()
        fields: dict[int, int | bytes] = {
            1: CODES[array.dtype.name],
            2: shape_message(array.shape),
            4: len(data),
            5: len(raw),
            6: mask(slow_crc32c(raw)),
        }
        entry(name, fields)
        value = b"".join(
            varint(number << 3 | 5) + struct.pack("<I", content) if number == 6 else field(number, content)
            for number, content in fields.items()
        )
        items.append((name.encode(), value))
        data += raw
    items.append((b"", field(1, 1) + field(3, field(1, 1)) if header is None else header))
    items = order(items)
    table = bytearray()

    def append(content: bytes) -> bytes:
        handle = varint(len(table))
        body = snappy(content) + b"\1" if compress else content + b"\0"
        table.extend(body + struct.pack("<I", mask(slow_crc32c(body))))
        return handle + varint(len(body) - 1)

    per_block = -(-len(items) // blocks)
    index = []
    for start in range(0, len(items), per_block):
        part = items[start : start + per_block]
        index.append((part[-1][0] + b"~", append(block(part))))
    meta = append(block([]))
    footer = meta + append(block(index, interval=1))
    prefix.with_name(prefix.name + ".index").write_bytes(
        bytes(table) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    )
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(bytes(data))
    return prefix


def test_crc32c_is_the_one_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the usual check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0
    data = RNG.integers(0, 256, 20_011, dtype=np.uint8).tobytes()
    for size in (1, 2, 3, 63, 64, 65, 127, 128, 129, 4095, 20_011):
        assert crc32c(data[:size]) == slow_crc32c(data[:size]), size
    assert masked_crc32c(data) == mask(slow_crc32c(data))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("blocks", [1, 3])
def test_what_was_written_is_read(tmp_path: Path, compress: bool, blocks: int) -> None:
    prefix = write_bundle(tmp_path / "model.ckpt", TENSORS, compress=compress, blocks=blocks)
    read = read_bundle(prefix)
    assert read.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


def test_any_of_its_files_names_a_bundle(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "model.ckpt", TENSORS)
    for name in ("model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert bundle_prefix(tmp_path / name) == prefix
    (tmp_path / "weights.pt").write_bytes(b"")
    for name in ("weights.pt", "nothing", ".index"):
        assert bundle_prefix(tmp_path / name) is None


def test_every_byte_of_a_bundle_is_covered(tmp_path: Path) -> None:
    """No single damaged byte goes unnoticed, except in the footer's unused padding."""
    small = {"a/w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.arange(3, dtype="int64")}
    prefix = write_bundle(tmp_path / "m", small)
    for suffix in (".index", ".data-00000-of-00001"):
        file = prefix.with_name("m" + suffix)
        good = file.read_bytes()
        for at in range(len(good)):
            file.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
            try:
                read = read_bundle(prefix)
            except BundleError:
                continue
            assert suffix == ".index"
            assert len(good) - 48 <= at < len(good) - 8, f"byte {at} of {suffix} went unnoticed"
            assert all(np.array_equal(read[name], small[name]) for name in small)
        file.write_bytes(good)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_truncated_bundle_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    prefix = write_bundle(tmp_path / "m", TENSORS)
    file = prefix.with_name("m" + suffix)
    good = file.read_bytes()
    for size in [*range(0, len(good), 37), len(good) - 1]:
        file.write_bytes(good[:size])
        with pytest.raises(BundleError, match=r"m\.(index|data)"):
            read_bundle(prefix)
    file.unlink()
    with pytest.raises(BundleError, match="missing"):
        read_bundle(prefix)


def spoil(number: int, value: int | bytes) -> Callable[[str, dict[int, int | bytes]], None]:
    def change(name: str, fields: dict[int, int | bytes]) -> None:
        if name == "half":
            fields[number] = value

    return change


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        (1, 7, "only plain numbers"),  # strings
        (1, 14, "only plain numbers"),  # bfloat16
        (1, b"xx", "wrong type"),
        (2, shape_message((4,)), "has shape"),
        (2, shape_message((2**31, 2**31)), "has shape"),
        (2, shape_message((2**63 - 1,) * 8), "has shape"),
        (2, shape_message((1,) * 9), "9 axes"),
        (2, 5, "wrong type"),
        (3, 1, "outside"),
        (4, 2**62, "outside"),
        (4, 2**64 - 1, "wrong type"),  # a negative offset
        (5, 2**62, "larger than the data"),
        (6, 12345, "checksum"),
        (7, b"", "slices"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, number: int, value: int | bytes, words: str) -> None:
    prefix = write_bundle(tmp_path / "m", TENSORS, entry=spoil(number, value))
    with pytest.raises(BundleError, match=words):
        read_bundle(prefix)


def test_a_table_that_is_out_of_order_or_headless_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="header"):
        read_bundle(write_bundle(tmp_path / "a", TENSORS, order=lambda items: sorted(items)[1:]))
    shuffled = write_bundle(tmp_path / "b", TENSORS, order=lambda items: [min(items), *sorted(items)[:0:-1]])
    with pytest.raises(BundleError, match="not in order"):
        read_bundle(shuffled)
    for number, header in enumerate((b"", field(1, 0), field(1, 2**31), field(1, 65), b"\xff" * 4)):
        with pytest.raises(BundleError):
            read_bundle(write_bundle(tmp_path / f"c{number}", TENSORS, header=header))
    with pytest.raises(BundleError, match="big-endian"):
        read_bundle(write_bundle(tmp_path / "d", TENSORS, header=field(1, 1) + field(2, 1)))
    with pytest.raises(BundleError, match="00000-of-00002 is missing"):
        read_bundle(write_bundle(tmp_path / "e", TENSORS, header=field(1, 2)))


def test_random_garbage_with_sound_checksums_never_escapes(tmp_path: Path) -> None:
    """Mutations under recomputed checksums: a BundleError or an answer, never another error."""
    source = random.Random(5)
    prefix = write_bundle(tmp_path / "m", {"a": np.arange(6, dtype="float32")}, blocks=1)
    file = prefix.with_name("m.index")
    good = file.read_bytes()
    first_handle = good[-48:]
    size_of_first = len(good) - 48
    outcomes = {"refused": 0, "read": 0}
    lengths = block_lengths(good)
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(source.randint(1, 4)):
            bad[source.randrange(size_of_first)] = source.randrange(256)
        # mend the checksum of every block that the footer and index still find where they were
        at = 0
        for length in lengths:
            bad[at + length + 1 : at + length + 5] = struct.pack(
                "<I", mask(slow_crc32c(bytes(bad[at : at + length + 1])))
            )
            at += length + 5
        assert bytes(bad[-48:]) == first_handle
        file.write_bytes(bytes(bad))
        try:
            read_bundle(prefix)
            outcomes["read"] += 1
        except BundleError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 200


def block_lengths(table: bytes) -> list[int]:
    """Lengths of the data, meta index and index blocks of a one-block table, from its own structure."""
    lengths, at = [], 0
    while at < len(table) - 48:
        for end in range(at + 1, len(table) - 48 - 3):
            body = table[at:end]
            if table[end : end + 4] == struct.pack("<I", mask(slow_crc32c(body))):
                lengths.append(len(body) - 1)
                at = end + 4
                break
        else:
            raise AssertionError("no block found")
    return lengths


@pytest.mark.parametrize(
    ("compressed", "words"),
    [
        (varint(2**40) + b"\0A" + b"\xfe\x01\x00" * 1000, "too large"),  # says 1 TiB, copies itself
        (varint(100) + b"\0A" + b"\xfe\x01\x00" * 1000, "another size"),
        (varint(64) + b"\xfe\x01\x00", "before its beginning"),
        (varint(65) + b"\0A" + b"\xfe\x02\x00", "before its beginning"),
        (varint(65) + b"\0A" + b"\xfe\x00\x00", "before its beginning"),
        (varint(5) + b"\x10AB", "cut short"),
        (varint(5) + b"\xfc\xff\xff\xff\xffAB", "cut short"),
        (b"\xff" * 11, "too long"),
    ],
)
def test_a_compressed_block_that_lies_is_refused(tmp_path: Path, compressed: bytes, words: str) -> None:
    prefix = write_bundle(tmp_path / "m", TENSORS)
    body = compressed + b"\1"
    handle = varint(0) + varint(len(body) - 1)
    prefix.with_name("m.index").write_bytes(
        body
        + struct.pack("<I", mask(slow_crc32c(body)))
        + (handle + handle).ljust(40, b"\0")
        + struct.pack("<Q", MAGIC)
    )
    with pytest.raises(BundleError, match=words):
        read_bundle(prefix)
