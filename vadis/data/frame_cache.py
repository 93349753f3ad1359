"""A folder of decoded, resized frames with a limit in bytes, shared by any number of processes.

Training reads the same videos in every epoch, and decoding a long keyframe distance costs more than
reading small pictures. An entry holds all frames of one example, scaled, each at a known place in the
file, so that a clip reads only its own frames. Entries appear whole (written beside, then renamed); where
the folder is over its limit, those that were not used for longest go, under a lock. An entry that another
process has just removed is simply decoded again.

Frames are kept as they are, or as JPEG of a chosen quality, which is some 20 times smaller and changes
pixels a little; then every frame passes through JPEG, kept or not, so that results do not depend on what
the cache happens to hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

MAGIC = b"vadisfr1"
KEEP_SHARE = 0.9  # of the limit that is left after a clearing, so that it is not due again at once


class CacheEntry:
    """An open entry: `frames(places)` reads pictures; a context manager that closes the file.

    times_T: when each frame of the whole video is shown, in seconds. first: index of the entry's first
    frame in it. damaged: indices of damaged frames. short: the video ends before its declared end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("not an entry")
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        self._shape: tuple[int, int, int] = tuple(header["shape"])
        self._jpeg: bool = header["jpeg"]
        self._start = len(MAGIC) + 8 + length
        self._offsets: list[int] = header["offsets"]
        self.times_T: NDArray[np.float64] = np.asarray(header["times"], np.float64)
        self.first: int = header["first"]
        self.damaged: list[int] = header["damaged"]
        self.short: bool = header["short"]

    def frames(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """frames_THWC (uint8) at some places of the entry, counted from 0, in the order asked for."""
        frames_THWC = np.empty((len(places), *self._shape), np.uint8)
        for number, place in enumerate(places):
            begin, end = self._offsets[place], self._offsets[place + 1]
            self._file.seek(self._start + begin)
            data = self._file.read(end - begin)
            frames_THWC[number] = _from_jpeg(data) if self._jpeg else _from_bytes(data, self._shape)
        return frames_THWC

    def __enter__(self) -> CacheEntry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class FrameCache:
    """A folder of resized frames; see the module. Pickles, so every worker of a loader can have it.

    short_side: of the frames, in pixels. max_bytes: what the folder may hold. quality: None keeps frames as
    they are, 1 to 100 as JPEG without chroma subsampling.
    """

    def __init__(
        self, folder: str | os.PathLike[str], short_side: int, max_bytes: int, quality: int | None = None
    ) -> None:
        if short_side < 1 or max_bytes < 1:
            raise ValueError(f"short_side ({short_side} pixels) and max_bytes ({max_bytes}) must be positive")
        if quality is not None and not 1 <= quality <= 100:
            raise ValueError(f"quality ({quality}) must be between 1 and 100, or None")
        self.folder = Path(folder)
        self.short_side = short_side
        self.max_bytes = max_bytes
        self.quality = quality

    def get(self, key: str) -> CacheEntry | None:
        """The entry of a key, marked as just used; None where there is none. Close it after use."""
        path = self._path(key)
        try:
            file = path.open("rb")
        except OSError:
            return None
        try:
            entry = CacheEntry(file)
        except (ValueError, KeyError, struct.error):  # half an entry, after the machine went down
            file.close()
            path.unlink(missing_ok=True)
            return None
        try:
            os.utime(path)
        except OSError:
            pass  # removed meanwhile by another process; the open file stays readable
        return entry

    def put(
        self,
        key: str,
        frames_THWC: NDArray[np.uint8],
        times_T: NDArray[np.float64],
        first: int,
        damaged: Sequence[int],
        short: bool,
    ) -> CacheEntry:
        """Keep the frames of an example (shape T, H, W, C) and give its entry, as `get` would.

        times_T: when each frame of the whole video is shown, in seconds. A disk that is full keeps nothing;
        the entry works all the same.
        """
        blobs = [self._code(frame) for frame in frames_THWC]
        offsets = np.concatenate([[0], np.cumsum([len(blob) for blob in blobs])])
        header = json.dumps(
            {
                "shape": frames_THWC.shape[1:],
                "jpeg": self.quality is not None,
                "offsets": offsets.tolist(),
                "times": times_T.tolist(),
                "first": first,
                "damaged": list(damaged),
                "short": short,
            },
            separators=(",", ":"),
        ).encode()
        data = b"".join([MAGIC, struct.pack("<Q", len(header)), header, *blobs])
        path = self._path(key)
        if len(data) <= self.max_bytes:
            part = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
                part.replace(path)
                self._account(len(data))
            except OSError:
                part.unlink(missing_ok=True)
        return CacheEntry(io.BytesIO(data))

    def coded(self, frames_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frames as they would come back from the cache."""
        if self.quality is None:
            return frames_THWC
        return np.stack([_from_jpeg(self._code(frame)) for frame in frames_THWC])

    def num_bytes(self) -> int:
        """What the entries take on disk, in bytes."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> None:
        """Remove every entry."""
        with self._lock():
            self._shrink(0)

    def _code(self, frame_HWC: NDArray[np.uint8]) -> bytes:
        if self.quality is None:
            return frame_HWC.tobytes()
        buffer = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(frame_HWC))
        image.save(buffer, "JPEG", quality=self.quality, subsampling=0)
        return buffer.getvalue()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.frames"

    def _lock(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(str(self.folder / "lock"))

    def _account(self, added: int) -> None:
        """Add to the running sum of bytes; where it is over the limit, look and remove the oldest.

        The sum may be too high (an entry written twice), never too low for long: each look mends it.
        """
        sum_file = self.folder / "bytes"
        with self._lock():
            try:
                total = int(sum_file.read_text("ascii"))
            except (OSError, ValueError):
                total = self.num_bytes() - added
            total += added
            if total > self.max_bytes:
                total = self._shrink(int(self.max_bytes * KEEP_SHARE))
            sum_file.write_text(str(total), "ascii")

    def _shrink(self, target: int) -> int:
        """Remove what was not used for longest until at most `target` bytes are left; returns what is left.

        Nothing goes while all of it fits the limit (the running sum was too high then).
        """
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if target and total <= self.max_bytes:
            return total
        for _, size, path in entries:
            if total <= target:
                break
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # open in another process, where the system forbids to remove such a file
            total -= size
        return total

    def _entries(self) -> list[tuple[int, int, Path]]:
        found = []
        for path in self.folder.glob("*/*.frames"):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((stat.st_mtime_ns, stat.st_size, path))
        return found


def frame_key(source: Path | bytes, name: str, settings: str) -> str:
    """The name of an entry: of the file (path, size, time of change; or content) and what was done to it."""
    if isinstance(source, bytes):
        identity = hashlib.sha256(source).hexdigest()
    else:
        try:
            stat = source.stat()
        except OSError:
            identity = name  # opening it will say what is wrong
        else:
            identity = f"{source.absolute()}:{stat.st_size}:{stat.st_mtime_ns}"
    return hashlib.sha256(f"{identity}\n{settings}".encode("utf-8", "surrogateescape")).hexdigest()


def _from_jpeg(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB"))


def _from_bytes(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(shape)
