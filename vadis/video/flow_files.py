"""Flow on disk: four layouts that are written, and whatever the field's other tools have written, read.

    with FlowWriter("flow/a", "png16", method="dis") as writer:      # flow/a appears when all is written
        for flow, times_T in flow_pieces("a.mp4", "dis"):
            writer.write(flow, times_T)
    with open_flow("flow/a") as stored:                              # or others' files: see `OTHERS`
        flow = stored.read(range(8))                                 # float32 pixels a frame

What is written is a folder for each video, with a `flow.json` beside the fields that says all that reading
has to know: bound, rounding, size, method, times. So nothing is guessed where we wrote; what others wrote is
told by its names and shapes (`vadis.video.flow_others`). A folder is there when it is whole, never before.

Source: the conventions are those of the toolkits named in `vadis.video.flow_levels` and `flow_layouts`.

Legend: T fields, H W pixels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vadis.records import Limits, VideoError
from vadis.specs import FLOW_BOUND
from vadis.video.flow_fields import Flow
from vadis.video.flow_layouts import (
    PIECE,
    Fields,
    GreyVideo,
    KittiPngs,
    NpzPieces,
    Pictures,
    StoredFlow,
    encode_kitti_png,
)
from vadis.video.flow_levels import RULES, dequantise, quantise
from vadis.video.flow_others import OTHERS, list_files, open_others

__all__ = [
    "LAYOUTS",
    "OTHERS",
    "RULES",
    "FlowWriter",
    "StoredFlow",
    "dequantise",
    "open_flow",
    "quantise",
]

NOTE = "flow.json"
"""The file that says what lies beside it."""

VERSION = 1
MAX_NOTE_BYTES = 2**28
OUR_SUFFIXES = (".json", ".jpg", ".png", ".npz", ".mkv")

LAYOUTS: dict[str, str] = {
    "jpeg": "flow_x_00001.jpg, flow_y_00001.jpg: 8 bits at a bound, as denseflow and TSN have them",
    "png16": "flow_00001.png: 16 bits, 1/64 pixel, with a plane of what is known, as KITTI has it",
    "npz": "flow.npz: float16 or float32 arrays of 16 fields each",
    "video": "flow.mkv: 8 bits at a bound, lossless (FFV1, grey, u above v)",
}
"""The layouts that are written, and what each is."""

# Writing -----------------------------------------------------------------------------------------------


class FlowWriter:
    """Writes the flow of one video, piece by piece; a context manager. The folder appears when all is there.

    Until then all lies in `part`, beside the folder unless given (on one disk with it); after an error
    nothing is left. bound (pixels a frame) and rule: of the 8-bit layouts; faster motion is clipped. quality:
    of jpeg. dtype: of npz, "float16" or "float32". fps: of the frames in Hz, for players of the lossless
    video. facts: more that is to stand in `flow.json`. Raises ValueError for what is no layout or rule,
    FileExistsError.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        layout: str = "jpeg",
        *,
        bound: float = FLOW_BOUND,
        rule: str = "denseflow",
        quality: int = 95,
        dtype: str = "float16",
        method: str = "",
        fps: float | None = None,
        part: str | os.PathLike[str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"flow is stored as {', '.join(LAYOUTS)}, not as {layout!r}")
        if dtype not in ("float16", "float32"):
            raise ValueError(f"npz holds float16 or float32, not {dtype!r}")
        if not 1 <= quality <= 100:
            raise ValueError(f"the quality of jpeg is 1 to 100, got {quality}")
        quantise(0.0, bound, rule)  # raises ValueError
        self.folder = Path(folder)
        self.layout, self.bound, self.rule, self.quality, self.dtype = layout, bound, rule, quality, dtype
        self.method = method
        self.facts = dict(facts or {})
        self.num_fields = 0
        self.num_bytes = 0
        self.size: tuple[int, int] | None = None
        self._fps = fps if fps is not None and 1 <= fps <= 240 else 25.0  # others are lost in milliseconds
        self._times: list[float] = []
        self._part = self.folder.with_name(f"{self.folder.name}.part") if part is None else Path(part)
        self._npz: zipfile.ZipFile | None = None
        self._waiting: list[NDArray[np.float32]] = []
        self._container: av.container.OutputContainer | None = None

    def __enter__(self) -> FlowWriter:
        if self.folder.exists():
            raise FileExistsError(f"{self.folder} is there already")
        if self._part.exists():
            shutil.rmtree(self._part)
        self._part.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close(whole=kind is None)
            if kind is None:
                self.num_bytes = sum(file.stat().st_size for file in self._part.iterdir())
                (self._part / NOTE).write_text(json.dumps(self.note()) + "\n", "utf-8")
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self._part.rename(self.folder)
        finally:
            if self._part.exists():
                shutil.rmtree(self._part, ignore_errors=True)

    def write(self, flow: Flow, times_T: NDArray[np.float64] | None = None) -> None:
        """Add fields, and the times (seconds) at which the frames are shown that they lead from.

        Blocks of motion vectors become a vector per pixel. Raises ValueError for fields of another size.
        """
        flow = flow.dense()
        if self.size not in (None, flow.size):
            raise ValueError(f"{self.folder}: flow of {flow.size} pixels after flow of {self.size}")
        self.size = flow.size
        for place, field_HW2 in enumerate(flow.fields_THW2):
            known_HW = None if flow.known_THW is None else flow.known_THW[place]
            getattr(self, f"_write_{self.layout}")(field_HW2, known_HW)
            self.num_fields += 1
        if times_T is not None:
            self._times += times_T.tolist()

    def note(self) -> dict[str, Any]:
        """What `flow.json` says."""
        times = [round(time, 6) for time in self._times[: self.num_fields]]
        found: dict[str, Any] = {
            "vadis_flow": VERSION,
            "layout": self.layout,
            "fields": self.num_fields,
            "size": self.size,
            "method": self.method,
            "bytes": self.num_bytes,
        }
        if self.layout in ("jpeg", "video"):
            found |= {"bound": self.bound, "rounding": self.rule}
        if self.layout == "jpeg":
            found["quality"] = self.quality
        if self.layout == "npz":
            found["dtype"] = self.dtype
        if len(times) == self.num_fields and times:
            fps = _rate_of(np.array(times))
            found |= {"times": times} if fps is None else {"fps": fps, "start_seconds": times[0]}
        return {**found, **self.facts}

    def _write_jpeg(self, field_HW2: NDArray[np.float32], known_HW: NDArray[np.bool_] | None) -> None:
        levels_HW2 = quantise(field_HW2, self.bound, self.rule)
        for axis, letter in enumerate("xy"):
            file = self._part / f"flow_{letter}_{self.num_fields + 1:05d}.jpg"
            plane_HW = np.ascontiguousarray(levels_HW2[..., axis])
            Image.fromarray(plane_HW).save(file, format="JPEG", quality=self.quality)

    def _write_png16(self, field_HW2: NDArray[np.float32], known_HW: NDArray[np.bool_] | None) -> None:
        data = encode_kitti_png(field_HW2, known_HW)
        (self._part / f"flow_{self.num_fields + 1:05d}.png").write_bytes(data)

    def _write_npz(self, field_HW2: NDArray[np.float32], known_HW: NDArray[np.bool_] | None) -> None:
        if self._npz is None:
            self._npz = zipfile.ZipFile(self._part / "flow.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._waiting.append(np.clip(field_HW2, -65504, 65504).astype(self.dtype))
        if len(self._waiting) == PIECE:
            self._pack(self.num_fields + 1)

    def _pack(self, stop: int) -> None:
        if self._npz is not None and self._waiting:
            data = io.BytesIO()
            np.save(data, np.stack(self._waiting), allow_pickle=False)
            self._npz.writestr(f"fields_{stop - len(self._waiting):06d}.npy", data.getbuffer())
            self._waiting = []

    def _write_video(self, field_HW2: NDArray[np.float32], known_HW: NDArray[np.bool_] | None) -> None:
        levels_HW2 = quantise(field_HW2, self.bound, self.rule)
        planes_HW = np.concatenate([levels_HW2[..., 0], levels_HW2[..., 1]])
        if self._container is None:
            path = f"file:{(self._part / 'flow.mkv').absolute()}"
            self._container = av.open(path, "w", format="matroska")
            rate = Fraction(self._fps).limit_denominator(1001)
            options = {"level": "3", "g": "1", "coder": "1", "slices": "4", "slicecrc": "1"}
            self._stream = self._container.add_stream("ffv1", rate=rate, options=options)
            self._stream.width, self._stream.height = planes_HW.shape[1], planes_HW.shape[0]
            self._stream.pix_fmt = "gray"
            self._tick = 1 / rate
        frame = av.VideoFrame.from_ndarray(planes_HW, format="gray")
        frame.pts, frame.time_base = self.num_fields, self._tick
        self._container.mux(self._stream.encode(frame))

    def _close(self, whole: bool) -> None:
        if self._npz is not None:
            if whole:
                self._pack(self.num_fields)
            self._npz.close()
        if self._container is not None:
            if whole:
                self._container.mux(self._stream.encode(None))
            self._container.close()


def _rate_of(times_T: NDArray[np.float64]) -> float | None:
    """The constant rate of some times in Hz, None where there is none."""
    if len(times_T) < 2:
        return None
    fps = (len(times_T) - 1) / (times_T[-1] - times_T[0]) if times_T[-1] > times_T[0] else 0.0
    even = fps > 0 and np.abs(times_T[0] + np.arange(len(times_T)) / fps - times_T).max() < 1e-4
    return round(float(fps), 6) if even else None


# Reading -----------------------------------------------------------------------------------------------


def open_flow(
    path: str | os.PathLike[str],
    layout: str = "auto",
    *,
    bound: float | None = None,
    rule: str | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> StoredFlow:
    """Open the flow of one video: a folder or a file, ours or another toolkit's.

    layout: one of `OTHERS` where what lies there can mean several things; ours says itself what it is. bound
    (pixels a frame) and rule: what the levels of others' pictures mean, where it is not their toolkit's usual
    one. Raises VideoError: not_found, corrupt, too_large; ValueError where a choice is the caller's.
    """
    place = Path(path)
    if layout not in ("auto", *OTHERS):
        raise ValueError(f"there is no layout {layout!r}; there are auto, {', '.join(OTHERS)}")
    if not place.exists():
        raise VideoError("not_found", str(place), "there is no such file or folder")
    folder = place if place.is_dir() else place.parent
    if layout == "auto" and (folder / NOTE).is_file() and (place.is_dir() or place.suffix in OUR_SUFFIXES):
        return _open_ours(folder, limits)
    return open_others(place, layout, bound, rule, limits)


OUR_SUFFIXES = (".json", ".jpg", ".png", ".npz", ".mkv")


def read_note(folder: Path) -> dict[str, Any]:
    """What a `flow.json` says. Raises VideoError("corrupt") for one that is not ours or not whole."""
    file = folder / NOTE
    try:
        if file.stat().st_size > MAX_NOTE_BYTES:
            raise ValueError("it is too large")
        note = json.loads(file.read_text("utf-8"))
        if note["vadis_flow"] > VERSION:
            raise ValueError(f"it is of version {note['vadis_flow']}, this vadis knows {VERSION}")
        if note["layout"] not in LAYOUTS or note["fields"] < 0:
            raise ValueError("its layout is not known")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VideoError("corrupt", str(file), f"does not say what lies there: {error}") from None
    found: dict[str, Any] = note
    return found


def _open_ours(folder: Path, limits: Limits) -> StoredFlow:
    note = read_note(folder)
    count = int(note["fields"])
    fields: Fields
    if note["layout"] == "jpeg":
        u_files, v_files = (list_files(folder, rf"flow_{letter}_\d+\.jpg") for letter in "xy")
        fields = Pictures(u_files, v_files, limits)
        count = count if len(u_files) == len(v_files) else -1
    elif note["layout"] == "png16" or count == 0:
        fields = KittiPngs(list_files(folder, r"flow_\d+\.png"), limits)
    elif note["layout"] == "npz":
        fields = NpzPieces(folder / "flow.npz", count)
    else:
        fields = GreyVideo(folder / "flow.mkv", limits)
    if len(fields) != count:
        fields.close()
        said = f"{NOTE} speaks of {note['fields']} fields, {len(fields)} are there"
        raise VideoError("corrupt", str(folder), said, "compute the flow of this video anew")
    times_T = None
    if "times" in note:
        times_T = np.asarray(note["times"], np.float64)
    elif "fps" in note:
        times_T = note["start_seconds"] + np.arange(count) / note["fps"]
    size = None if note["size"] is None else (int(note["size"][0]), int(note["size"][1]))
    bound, rule = note.get("bound", FLOW_BOUND), note.get("rounding", "denseflow")
    return StoredFlow(str(folder), fields, bound, rule, size, times_T, note.get("method", ""))
