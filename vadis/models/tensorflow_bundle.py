"""Read a TensorFlow checkpoint (a "tensor bundle") without TensorFlow, trusting none of its bytes.

A bundle is `<prefix>.index`, a sorted string table in LevelDB's format whose values are small protocol
buffers, and `<prefix>.data-00000-of-00001` with the tensors' bytes one after another. Every block and
every tensor carries a CRC-32C, and all are checked; offsets, counts and sizes are checked before use.
Plain number tensors in little-endian order are read, anything else is an error.

Sources: tensorflow/core/protobuf/tensor_bundle.proto; LevelDB's doc/table_format.md; RFC 3720 (CRC-32C);
Google's format_description.txt of Snappy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MAX_INDEX_BYTES = 64 * 2**20
MAX_ENTRIES = 100_000
MAX_KEY_BYTES = 4096
MAX_AXES = 8
FOOTER_BYTES = 48
TABLE_MAGIC = 0xDB4775248B80FB57
TRAILER_BYTES = 5  # compression byte and masked CRC-32C after each block
SHARD = re.compile(r"(?s)(.+)\.data-\d{5}-of-\d{5}")
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # types.proto: FLOAT, DOUBLE, INT32, INT64, HALF


class BundleError(Exception):
    """The bundle is broken or not of the kind that is read; the message names the file and why."""


@dataclass
class Entry:
    """What the index says of one tensor: numpy type, shape, and where its bytes lie."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    partitioned: bool = field(default=False)


def bundle_prefix(path: Path) -> Path | None:
    """Return the prefix of the bundle that `path` belongs to, None where it is no bundle's file.

    `path` is the index, a data file, or the prefix itself where an index lies beside it.
    """
    if path.name.endswith(".index") and len(path.name) > len(".index"):
        return path.with_name(path.name.removesuffix(".index"))
    shard = SHARD.fullmatch(path.name)
    if shard is not None:
        return path.with_name(shard[1])
    if not path.is_file() and index_file(path).is_file():
        return path
    return None


def index_file(prefix: Path) -> Path:
    """Return where the index of a bundle lies."""
    return prefix.with_name(prefix.name + ".index")


def data_file(prefix: Path, shard: int = 0, num_shards: int = 1) -> Path:
    """Return where one data file of a bundle lies."""
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}")


def read_bundle(prefix: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a bundle: name -> array (a copy), every checksum compared.

    Raises BundleError for a file that is missing, cut short, damaged, or holds anything but plain numbers.
    """
    index = index_file(prefix)
    if not index.is_file():
        raise BundleError(f"{index} is missing; a TensorFlow checkpoint needs it beside its data file")
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise BundleError(f"{index} has {index.stat().st_size} bytes, more than an index needs")
    try:
        num_shards, entries = _read_index(index.read_bytes())
    except BundleError as error:
        raise BundleError(f"{index}: {error}") from error
    files = [data_file(prefix, shard, num_shards) for shard in range(num_shards)]
    for file in files:
        if not file.is_file():
            raise BundleError(f"{file} is missing; the index needs it")
    if sum(entry.size for entry in entries.values()) > sum(file.stat().st_size for file in files):
        raise BundleError(
            f"{index}: its tensors are larger than the data files together; one may be cut short"
        )
    contents = [
        np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8) for file in files
    ]
    return {name: _read_tensor(name, entry, contents, files) for name, entry in entries.items()}


def crc32c(data: np.ndarray | bytes) -> int:
    """Return the CRC-32C (Castagnoli) of bytes, quickly enough for a checkpoint, in numpy alone.

    The bytes are cut into lanes whose checksums advance together; a checksum is linear over GF(2), so the
    lanes are joined two by two by the matrix that appends the right one's length in zeros.
    """
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    lanes = 1 << max(0, min(14, (len(array) // 64).bit_length()))
    length = -(-len(array) // lanes)
    padded = np.zeros(lanes * length, np.uint8)  # zeros in front leave a checksum that starts at 0 as it is
    padded[lanes * length - len(array) :] = array
    crc = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, length).T):
        crc = CRC_TABLE[(crc ^ column) & 0xFF] ^ (crc >> 8)
    shift = _zeros_operator(length)
    while len(crc) > 1:
        crc = _apply(shift, crc[0::2]) ^ crc[1::2]
        shift = _apply(shift, shift)
    start = _apply(_zeros_operator(len(array)), np.array([0xFFFFFFFF], np.uint32))
    return int(start[0] ^ crc[0] ^ 0xFFFFFFFF)


def masked_crc32c(data: np.ndarray | bytes) -> int:
    """Return a CRC-32C (a scalar) as LevelDB and TensorFlow store it: rotated and offset."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> np.ndarray:
    """The effect of one byte on a CRC-32C, for each of its 256 values."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


CRC_TABLE = _crc_table()


def _apply(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A 32 x 32 matrix over GF(2), one uint32 per column, times each of `values` (uint32)."""
    result = np.zeros_like(values)
    for bit in range(32):
        result ^= np.where((values >> np.uint32(bit)) & 1, matrix[bit], np.uint32(0))
    return result


def _zeros_operator(count: int) -> np.ndarray:
    """The matrix that advances a checksum over `count` zero bytes."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)  # identity
    power = CRC_TABLE[result & 0xFF] ^ (result >> 8)  # one zero byte
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _read_index(content: bytes) -> tuple[int, dict[str, Entry]]:
    """Parse the table: the number of data files, and the tensors by name."""
    if len(content) < FOOTER_BYTES or int.from_bytes(content[-8:], "little") != TABLE_MAGIC:
        raise BundleError("it does not end as an index does; it is cut short or no index")
    footer = content[-FOOTER_BYTES:-8]
    offset, size, at = _handle(footer, 0)
    if any(_block_entries(_block(content, offset, size))):
        raise BundleError("it has a filter or statistics, which bundles do not")
    offset, size, _ = _handle(footer, at)
    num_shards = 0
    entries: dict[str, Entry] = {}
    last_key: bytes | None = None
    for _, handle in _block_entries(_block(content, offset, size)):
        block_offset, block_size, _ = _handle(handle, 0)
        for key, value in _block_entries(_block(content, block_offset, block_size)):
            if last_key is not None and key <= last_key:
                raise BundleError("its keys are not in order")
            if last_key is None:
                if key != b"":
                    raise BundleError("it does not begin with a bundle's header")
                num_shards = _header(value)
            else:
                entries[_text(key)] = _entry(value)
            last_key = key
            if len(entries) > MAX_ENTRIES:
                raise BundleError(f"it lists more than {MAX_ENTRIES} tensors")
    if last_key is None:
        raise BundleError("it is empty")
    return num_shards, entries


def _block(content: bytes, offset: int, size: int) -> bytes:
    """One block of the table, its checksum compared, decompressed where it is compressed."""
    if offset + size + TRAILER_BYTES > len(content) - FOOTER_BYTES:
        raise BundleError("a block lies outside of the file")
    body = content[offset : offset + size + 1]
    stored = int.from_bytes(content[offset + size + 1 : offset + size + TRAILER_BYTES], "little")
    if masked_crc32c(body) != stored:
        raise BundleError("a block's checksum is wrong; the file is damaged")
    if body[-1] == 0:
        return body[:-1]
    if body[-1] == 1:
        return _decompress_snappy(body[:-1])
    raise BundleError(f"a block is compressed in an unknown way ({body[-1]})")


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block; each key repeats a part of the one before."""
    if len(block) < 4:
        raise BundleError("a block is too short")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise BundleError("a block's restart points do not fit into it")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        value_size, at = _varint(block, at)
        if shared > len(key) or shared + fresh > MAX_KEY_BYTES or at + fresh + value_size > end:
            raise BundleError("an entry lies outside of its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + value_size]
        at += fresh + value_size


def _decompress_snappy(data: bytes) -> bytes:
    """Decompress one raw Snappy block of at most MAX_INDEX_BYTES."""
    size, at = _varint(data, 0)
    if size > MAX_INDEX_BYTES:
        raise BundleError("a compressed block is too large")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:  # literal bytes
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[at : at + extra], "little")
                at += extra
            length += 1
            if at + length > len(data):
                raise BundleError("a compressed block is cut short")
            out += data[at : at + length]
            at += length
        else:  # a copy of what came before
            width = (0, 1, 2, 4)[tag & 3]
            length = (tag >> 2 & 7) + 4 if width == 1 else (tag >> 2) + 1
            back = int.from_bytes(data[at : at + width], "little") | ((tag >> 5) << 8 if width == 1 else 0)
            at += width
            if not 0 < back <= len(out):
                raise BundleError("a compressed block refers to bytes before its beginning")
            start = len(out) - back
            piece = bytes(out[start : start + length])
            out += (piece * (length // len(piece) + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise BundleError("a compressed block has another size than it says")
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number of at most 64 bits at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BundleError("a number is cut short")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            if value >= 2**64:
                break
            return value, at
    raise BundleError("a number is too long")


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """A block handle: offset and size in bytes, and where it ends."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _message(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer message: number and value (int, or bytes)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        else:
            width, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, 0), at)
            if kind not in (1, 2, 5) or at + width > len(data):
                raise BundleError("a message in it is broken")
            piece = data[at : at + width]
            value = piece if kind == 2 else int.from_bytes(piece, "little")
            at += width
        yield tag >> 3, value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes) or value >= 2**63:
        raise BundleError("a message in it has a field of the wrong type")
    return value


def _submessage(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise BundleError("a message in it has a field of the wrong type")
    return value


def _text(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError("a tensor's name is not text") from error


def _header(value: bytes) -> int:
    """BundleHeaderProto: the number of data files."""
    num_shards = 0
    for number, content in _message(value):
        if number == 1:
            num_shards = _number(content)
        elif number == 2 and _number(content) != 0:
            raise BundleError("it was written on a big-endian machine, which is not read")
    if not 1 <= num_shards <= 64:
        raise BundleError(f"it speaks of {num_shards} data files")
    return num_shards


def _entry(value: bytes) -> Entry:
    """BundleEntryProto: type, shape, place and checksum of a tensor."""
    entry = Entry()
    for number, content in _message(value):
        if number == 1:
            entry.dtype = DTYPES.get(_number(content), f"number {_number(content)} of types.proto")
        elif number == 2:
            sizes = []
            for part, dim in _message(_submessage(content)):
                if part == 2:
                    sizes.append(
                        sum(_number(size) for which, size in _message(_submessage(dim)) if which == 1)
                    )
            if len(sizes) > MAX_AXES:
                raise BundleError(f"a tensor has {len(sizes)} axes")
            entry.shape = tuple(sizes)
        elif number == 3:
            entry.shard = _number(content)
        elif number == 4:
            entry.offset = _number(content)
        elif number == 5:
            entry.size = _number(content)
        elif number == 6:
            entry.crc = _number(content)
        elif number == 7:
            entry.partitioned = True
    return entry


def _read_tensor(name: str, entry: Entry, contents: list[np.ndarray], files: list[Path]) -> np.ndarray:
    """One tensor's bytes, checked and copied."""
    if entry.partitioned:
        raise BundleError(f"{name} is stored in slices, which are not read")
    if entry.dtype not in DTYPES.values():
        raise BundleError(f"{name} has type {entry.dtype or 'unknown'}; only plain numbers are read")
    dtype = np.dtype(entry.dtype)
    count = 1
    for size in entry.shape:
        count *= size
    if count * dtype.itemsize != entry.size:
        raise BundleError(f"{name} has shape {entry.shape} but {entry.size} bytes")
    if entry.shard >= len(contents) or entry.offset + entry.size > len(contents[entry.shard]):
        raise BundleError(f"{name} lies outside of {files[min(entry.shard, len(files) - 1)]}")
    raw = np.array(contents[entry.shard][entry.offset : entry.offset + entry.size])
    if masked_crc32c(raw) != entry.crc:
        raise BundleError(f"{name}: the checksum is wrong; {files[entry.shard]} is damaged or another's")
    return raw.view(dtype).reshape(entry.shape)
