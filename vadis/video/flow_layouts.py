"""Fields of flow as they lie on disk, by layout: pictures, 16-bit PNG, .flo, arrays, a lossless video.

Each class knows one layout and nothing else: how many fields there are, and what is stored for some of them,
as 8-bit levels or as numbers. A damaged file gives None for its field, so that the caller decides what is
to be done. `StoredFlow` knows besides what a level means, and gives pixels a frame.

Sources: KITTI's development kit (PNG: 64 v + 2^15, third channel 1 where known); Middlebury's .flo (Baker et
al., IJCV 2011); FFV1 is RFC 9043. Files are opened with the formats named here alone, and no pickle is read.

Legend: T fields, H W pixels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from PIL import Image

from vadis.records import Limits, VideoError
from vadis.specs import FLOW_BOUND
from vadis.video.fetch import fetch_pictures
from vadis.video.flow_fields import Flow
from vadis.video.flow_levels import dequantise
from vadis.video.images import FORMATS
from vadis.video.reader import FileReader
from vadis.video.timeline import read_timeline

Stored = NDArray[np.uint8] | NDArray[np.float32]
"""A field as it is stored, (H, W, 2): uint8 levels, or float32 pixels a frame."""

PIECE = 16  # fields in one array of our .npz: what a reader of a few fields has to unpack
KITTI_STEPS, KITTI_ZERO = 64.0, 32768.0
FLO_MAGIC = np.float32(202021.25)
FLO_UNKNOWN = 1e9  # pixels a frame, from which on a .flo file means "unknown"


class Fields(Protocol):
    """What all layouts have in common."""

    layout: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[Stored | None]:
        """The fields of some indices as they are stored, (H, W, 2) each; None where a file is damaged."""

    def name(self, index: int) -> str:
        """What to call a field in a message."""

    def close(self) -> None:
        """Let go of the files."""


class _Files:
    """One file for each field, or one for each of its components."""

    layout = ""

    def __init__(self, files: Sequence[Path], limits: Limits) -> None:
        self.files = list(files)
        self.limits = limits

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index].name

    def close(self) -> None:
        pass

    def read(self, indices: Sequence[int]) -> list[Stored | None]:
        return [self._read(index) for index in indices]

    def _read(self, index: int) -> Stored | None:
        raise NotImplementedError

    def _check_size(self, file: Path, width: int, height: int) -> None:
        limit = self.limits.max_pixels
        if limit is not None and width * height > limit:
            size = f"{file.name} has {width}x{height} pixels"
            raise VideoError("too_large", str(file.parent), f"{size}, the limit (max_pixels) is {limit}")


class Pictures(_Files):
    """8-bit pictures: grey ones of u and of v, or one that holds both in its first two channels."""

    layout = "jpeg"

    def __init__(
        self,
        u_files: Sequence[Path],
        v_files: Sequence[Path] = (),
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        super().__init__(u_files, limits)
        self.v_files = list(v_files)

    def _read(self, index: int) -> Stored | None:
        both = not self.v_files
        planes = self._planes(self.files[index], 2 if both else 1)
        if not both:
            planes += self._planes(self.v_files[index], 1)
        if len(planes) != 2 or planes[0].shape != planes[1].shape:
            return None
        return np.stack(planes, 2)

    def _planes(self, file: Path, count: int) -> list[NDArray[np.uint8]]:
        try:
            with Image.open(file, formats=FORMATS) as image:
                self._check_size(file, image.width, image.height)
                parts = image.convert("RGB").split()[:2] if count == 2 else (image.convert("L"),)
                return [np.asarray(part) for part in parts]
        except VideoError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError):
            return []


class KittiPngs(_Files):
    """16-bit PNG files with u, v and "known" in red, green and blue."""

    layout = "png16"

    def _read(self, index: int) -> Stored | None:
        read = self._decode(index)
        return None if read is None else read[0]

    def known(self, index: int) -> NDArray[np.bool_] | None:
        """known_HW: where a field is known; None where the file is damaged."""
        read = self._decode(index)
        return None if read is None else read[1]

    def _decode(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        file = self.files[index]
        try:
            data = file.read_bytes()
        except OSError:
            return None
        if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
            return None
        width, height = (int.from_bytes(data[place : place + 4], "big") for place in (16, 20))
        self._check_size(file, width, height)
        context = av.CodecContext.create("png", "r")
        try:
            frames = [*context.decode(av.Packet(data)), *context.decode(None)]  # type: ignore[attr-defined]
            pixels_HWC = frames[0].to_ndarray()
        except (av.FFmpegError, ValueError, IndexError, MemoryError):
            return None
        if pixels_HWC.dtype != np.uint16 or pixels_HWC.ndim != 3 or pixels_HWC.shape[2] < 3:
            return None
        known_HW = pixels_HWC[..., 2] > 0
        field_HW2 = (pixels_HWC[..., :2].astype(np.float32) - np.float32(KITTI_ZERO)) / np.float32(
            KITTI_STEPS
        )
        field_HW2[~known_HW] = 0
        return field_HW2, known_HW


def encode_kitti_png(field_HW2: NDArray[np.float32], known_HW: NDArray[np.bool_] | None = None) -> bytes:
    """A field (pixels a frame) as a 16-bit PNG file; rounded to 1/64 pixel, from -512 to almost 512."""
    height, width = field_HW2.shape[:2]
    levels = np.rint(np.asarray(field_HW2, np.float64) * KITTI_STEPS + KITTI_ZERO)
    pixels_HWC = np.empty((height, width, 3), np.uint16)
    pixels_HWC[..., :2] = np.clip(levels, 0, 65535)
    pixels_HWC[..., 2] = 1 if known_HW is None else known_HW
    if known_HW is not None:
        pixels_HWC[~known_HW] = 0
    context: VideoCodecContext = av.CodecContext.create("png", "w")  # type: ignore[assignment]
    context.width, context.height, context.pix_fmt = width, height, "rgb48be"
    context.time_base = Fraction(1, 25)
    context.options = {"compression_level": "1", "pred": "sub"}  # higher levels: 1/10 smaller, 7 times slower
    frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb48be")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


class FloFiles(_Files):
    """Middlebury's .flo files: a magic number, width, height, then u and v of each pixel as float32."""

    layout = "flo"

    def _read(self, index: int) -> Stored | None:
        file = self.files[index]
        try:
            with file.open("rb") as opened:
                head = opened.read(12)
                if len(head) < 12 or np.frombuffer(head, "<f4", 1)[0] != FLO_MAGIC:
                    return None
                width, height = np.frombuffer(head, "<i4", 2, 4).tolist()
                if min(width, height) < 1:
                    return None
                self._check_size(file, width, height)
                data = opened.read(width * height * 8)
        except OSError:
            return None
        if len(data) < width * height * 8:
            return None
        field_HW2 = np.frombuffer(data, "<f4").reshape(height, width, 2).astype(np.float32)
        unknown_HW = ~(np.abs(field_HW2) < FLO_UNKNOWN).all(2)
        field_HW2[unknown_HW] = 0
        return field_HW2


def encode_flo(field_HW2: NDArray[np.float32]) -> bytes:
    """A field (pixels a frame) as a .flo file."""
    height, width = field_HW2.shape[:2]
    head = FLO_MAGIC.tobytes() + np.array([width, height], "<i4").tobytes()
    return head + np.ascontiguousarray(field_HW2, "<f4").tobytes()


class Array:
    """One array in memory or mapped from a file, whatever the order of its axes."""

    def __init__(self, fields_THW2: NDArray[Any], layout: str, scale: float = 1.0) -> None:
        """scale: pixels a frame that the value 1 means."""
        self.layout = layout
        self._fields_THW2 = fields_THW2
        self._scale = np.float32(scale)

    def __len__(self) -> int:
        return len(self._fields_THW2)

    def name(self, index: int) -> str:
        """What to call a field in a message."""
        return f"field {index}"

    def read(self, indices: Sequence[int]) -> list[Stored | None]:
        """The fields of some indices, (H, W, 2) float32 each."""
        return [np.array(self._fields_THW2[index], np.float32) * self._scale for index in indices]

    def close(self) -> None:
        """Nothing to do: a mapped file goes with its array."""


class NpzPieces:
    """Our .npz: arrays `fields_000000`, `fields_000016` ..., each so many fields from that number on."""

    layout = "npz"

    def __init__(self, file: Path, count: int) -> None:
        self._path = file
        try:
            self._file = np.load(file, allow_pickle=False)
            names = sorted(name for name in self._file.files if name.startswith("fields_"))
            self._starts = np.array([int(name[7:]) for name in names], np.int64)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise VideoError("corrupt", str(file), f"is no .npz file of ours: {error}") from None
        self._names = names
        self._count = count
        self._held: tuple[int, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """What to call a field in a message."""
        return f"{self._path.name}, field {index}"

    def read(self, indices: Sequence[int]) -> list[Stored | None]:
        """The fields of some indices, (H, W, 2) float32 each; None where the file is damaged there."""
        found: list[Stored | None] = []
        for index in indices:
            place = int(np.searchsorted(self._starts, index, "right")) - 1
            if self._held is None or self._held[0] != place:
                try:
                    self._held = place, self._file[self._names[place]]
                except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
                    found.append(None)
                    continue
            offset = index - int(self._starts[place])
            inside = 0 <= offset < len(self._held[1])
            found.append(np.array(self._held[1][offset], np.float32) if inside else None)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class GreyVideo:
    """Our lossless video: FFV1, one grey plane, u above v."""

    layout = "video"

    def __init__(self, file: Path, limits: Limits = Limits()) -> None:  # noqa: B008
        self._reader = FileReader(file, limits, threads=1)
        try:
            with self._reader.budget:
                self._timeline = read_timeline(self._reader)
        except BaseException:
            self._reader.close()
            raise

    def __len__(self) -> int:
        return len(self._timeline)

    def name(self, index: int) -> str:
        """What to call a field in a message."""
        return f"picture {index} of {Path(self._reader.name).name}"

    def read(self, indices: Sequence[int]) -> list[Stored | None]:
        """The fields of some indices, (H, W, 2) uint8 each; None where the file is damaged there."""
        wanted = sorted({index for index in indices if 0 <= index < len(self)})
        found: dict[int, NDArray[np.uint8]] = {}
        with self._reader.budget:
            for picture in fetch_pictures(self._reader, self._timeline, wanted, []):
                if picture.corrupt or picture.replaced or picture.frame.format.name != "gray":
                    continue
                planes_HW = picture.frame.to_ndarray()
                half = planes_HW.shape[0] // 2
                found[picture.index] = np.stack([planes_HW[:half], planes_HW[half:]], 2)
        return [found.get(index) for index in indices]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


@dataclass(frozen=True)
class StoredFlow:
    """Flow on disk, opened; a context manager. Made by `open_flow`.

    bound (pixels a frame) and rule say what 8-bit levels mean. size: (height, width) whose pixels the values
    count, where that is known. times_T: seconds at which the frame is shown that each field leads from, where
    known. method: what estimated it, where known.
    """

    path: str
    fields: Fields
    bound: float = FLOW_BOUND
    rule: str = "denseflow"
    size: tuple[int, int] | None = None
    times_T: NDArray[np.float64] | None = None
    method: str = ""

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def layout(self) -> str:
        """How it is stored."""
        return self.fields.layout

    def read(self, indices: Sequence[int] | None = None) -> Flow:
        """The fields of some indices, or all, in pixels a frame.

        Raises VideoError("corrupt") for a damaged file, IndexError for a field that there is not.
        """
        chosen = range(len(self)) if indices is None else indices
        if outside := [index for index in chosen if not 0 <= index < len(self)]:
            raise IndexError(f"{self.path} has fields 0 to {len(self) - 1}, not {outside[0]}")
        fields = []
        for index, stored in zip(chosen, self.fields.read(chosen), strict=True):
            if stored is None:
                raise VideoError("corrupt", self.path, f"{self.fields.name(index)} cannot be read")
            fields.append(self.in_pixels(stored))
        shapes = {field_HW2.shape for field_HW2 in fields}
        if len(shapes) > 1:
            raise VideoError("corrupt", self.path, f"flow of several sizes: {sorted(shapes)}")
        height, width = self.size or (fields[0].shape[:2] if fields else (1, 1))
        fields_THW2 = np.stack(fields) if fields else np.zeros((0, height, width, 2), np.float32)
        known = None
        if isinstance(self.fields, KittiPngs):
            masks = [self.fields.known(index) for index in chosen]
            stacked = np.stack([mask for mask in masks if mask is not None]) if masks else np.ones(0, bool)
            known = None if stacked.all() else stacked
        return Flow(fields_THW2, fields_THW2.shape[1:3], 1, self.method, known)

    def pieces(self, fields_at_once: int = PIECE) -> Iterator[Flow]:
        """All fields, at most so many at a time."""
        for start in range(0, len(self), fields_at_once):
            yield self.read(range(start, min(start + fields_at_once, len(self))))

    def in_pixels(self, stored_HW2: NDArray[Any]) -> NDArray[np.float32]:
        """A field as `fields.read` gives it, in pixels a frame: (H, W, 2) float32."""
        if stored_HW2.dtype == np.uint8:
            return dequantise(stored_HW2, self.bound, self.rule)
        return np.asarray(stored_HW2, np.float32)

    def close(self) -> None:
        """Let go of the files."""
        self.fields.close()

    def __enter__(self) -> StoredFlow:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
