"""Flow that other toolkits have written: told by its names and shapes, with their bound and rounding.

There is no common form: grey pictures of x and y beside one another or in folders of their own, one colour
picture for both, 16-bit PNG, .flo, arrays of many shapes. Where names and shapes leave no choice they
are taken at their word; where several things are possible, the caller says which.

Sources: denseflow and TSN (names, bound 20); Charades' and Pi3D's `NAME-000001x.jpg`; Gkioxari and Malik's
action tubes (FlowBrox04: 16 v + 128 in RGB); DeepMind's I3D (.npy in [-1, 1]); video_features (.npy).

Legend: T fields, H W pixels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.records import Limits, VideoError
from vadis.specs import FLOW_BOUND
from vadis.video.flow_layouts import Array, Fields, FloFiles, KittiPngs, Pictures, StoredFlow
from vadis.video.flow_levels import dequantise
from vadis.video.images import SUFFIXES, natural_key

OTHERS: dict[str, str] = {
    "denseflow": "flow_x_00001.jpg and flow_y_00001.jpg (TSN, mmaction2), or x_00001.jpg and y_00001.jpg",
    "uv": "folders u and v (or x and y, flow_x and flow_y) of pictures",
    "charades": "NAME-000001x.jpg and NAME-000001y.jpg",
    "brox": "one RGB picture a field: 16 u + 128, 16 v + 128, magnitude (FlowBrox04, brox-images)",
    "kitti": "16-bit PNG files",
    "flo": ".flo files (Middlebury, Sintel)",
    "i3d": ".npy of shape (1, T, H, W, 2) with values in [-1, 1]",
    "video_features": ".npy or .npz of shape (T, 2, H, W), or (T, H, W, 2), in pixels",
}
"""What is read besides, by the name that `open_flow` takes."""


def open_others(
    place: Path, layout: str, bound: float | None, rule: str | None, limits: Limits
) -> StoredFlow:
    """Open what another toolkit wrote; see `vadis.video.flow_files.open_flow`. bound: in pixels a frame."""
    name = _recognise(place) if layout == "auto" else layout
    return replace(_OPENERS[name](place, limits), **_given(name, bound, rule))


def _given(layout: str, bound: float | None, rule: str | None) -> dict[str, Any]:
    usual_rule = {"brox": "brox", "charades": "charades"}.get(layout, "denseflow")
    usual_bound = 8.0 if layout == "brox" else FLOW_BOUND
    if rule is not None or bound is not None:
        dequantise(0, usual_bound if bound is None else bound, usual_rule if rule is None else rule)  # checks
    return {
        "bound": usual_bound if bound is None else bound,
        "rule": usual_rule if rule is None else rule,
    }


def list_files(folder: Path, pattern: str = "", suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files of a folder whose names a pattern describes, in natural order."""
    names = [
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(suffixes) and not entry.name.startswith(".")
    ]
    chosen = [name for name in names if not pattern or re.fullmatch(pattern, name)]
    return [folder / name for name in sorted(chosen, key=natural_key)]


_PAIRS = (
    ("denseflow", r"flow_x_?\d+\.\w+", r"flow_y_?\d+\.\w+"),
    ("denseflow", r"x_?\d+\.\w+", r"y_?\d+\.\w+"),
    ("charades", r".*\dx\.\w+", r".*\dy\.\w+"),
)
_BROX = re.compile(r"(.*[_-])?(flow)?brox\d*([_-](images|frames|flow))?", re.I)
_FOLDERS = (("u", "v"), ("x", "y"), ("flow_x", "flow_y"))


def _recognise(place: Path) -> str:
    """Which of `OTHERS` a file or a folder is. ValueError where nothing says so."""
    known = f"name it: layout={', '.join(OTHERS)}"
    if place.is_file():
        kinds = {".flo": "flo", ".png": "kitti", ".npz": "video_features"}
        if place.suffix == ".npy":
            return "i3d" if len(_load_array(place).shape) == 5 else "video_features"
        if place.suffix in kinds:
            return kinds[place.suffix]
        raise ValueError(f"{place}: is no file of flow that is known; {known}")
    for layout, u_pattern, v_pattern in _PAIRS:
        if list_files(place, u_pattern) and list_files(place, v_pattern):
            return layout
    if any((place / u).is_dir() and (place / v).is_dir() for u, v in _FOLDERS):
        return "uv"
    if list_files(place, suffixes=(".flo",)):
        return "flo"
    if (files := list_files(place, suffixes=(".png",))) and _bit_depth(files[0]) == 16:
        return "kitti"
    if list_files(place) and any(_BROX.fullmatch(part) for part in place.absolute().parts):
        return "brox"
    raise ValueError(f"{place}: nothing says what flow lies here; {known}")


def _bit_depth(png: Path) -> int:
    with png.open("rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 else 0


def _open_pairs(place: Path, limits: Limits) -> StoredFlow:
    for _, u_pattern, v_pattern in _PAIRS:
        u_files, v_files = list_files(place, u_pattern), list_files(place, v_pattern)
        if u_files or v_files:
            return _paired(place, u_files, v_files, limits)
    raise VideoError("not_found", str(place), "holds no pictures of x and y")


def _open_uv(place: Path, limits: Limits) -> StoredFlow:
    for u, v in _FOLDERS:
        if (place / u).is_dir() and (place / v).is_dir():
            return _paired(place, list_files(place / u), list_files(place / v), limits)
    raise VideoError("not_found", str(place), "holds no folders u and v (x and y, flow_x and flow_y)")


def _paired(place: Path, u_files: list[Path], v_files: list[Path], limits: Limits) -> StoredFlow:
    if len(u_files) != len(v_files):
        message = f"{len(u_files)} flow pictures of x, but {len(v_files)} of y"
        raise VideoError("corrupt", str(place), message)
    return StoredFlow(str(place), Pictures(u_files, v_files, limits))


def _open_files(
    kind: Callable[[Sequence[Path], Limits], Fields], suffixes: tuple[str, ...]
) -> Callable[[Path, Limits], StoredFlow]:
    def opened(place: Path, limits: Limits) -> StoredFlow:
        files = list_files(place, suffixes=suffixes) if place.is_dir() else [place]
        if not files:
            raise VideoError("not_found", str(place), f"holds no {' or '.join(suffixes)} files")
        return StoredFlow(str(place), kind(files, limits))

    return opened


def _open_array(
    place: Path, limits: Limits, scale: float = 1.0, layout: str = "video_features"
) -> StoredFlow:
    array = _load_array(place)
    if array.ndim == 5 and array.shape[0] == 1:
        array = array[0]
    channels = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] == 2]
    if len(channels) != 1 or array.dtype.kind != "f":
        message = f"is {array.dtype} of shape {array.shape}; flow is (T, 2, H, W) or (T, H, W, 2) of floats"
        raise VideoError("corrupt", str(place), message, "store it in one of these shapes")
    fields_THW2 = array.transpose(0, 2, 3, 1) if channels == [1] else array
    if limits.max_pixels is not None and fields_THW2.shape[1] * fields_THW2.shape[2] > limits.max_pixels:
        raise VideoError("too_large", str(place), f"the limit (max_pixels) is {limits.max_pixels}")
    return StoredFlow(str(place), Array(fields_THW2, layout, scale))


def _load_array(place: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped, or the one of an .npz that can be flow."""
    try:
        if place.suffix != ".npz":
            mapped: NDArray[Any] = np.load(place, mmap_mode="r", allow_pickle=False)
            return mapped
        with np.load(place, allow_pickle=False) as file:
            names = [name for name in ("flow", "raft", "pwc") if name in file.files] or file.files
            if len(names) != 1:
                raise ValueError(f"holds {', '.join(file.files) or 'nothing'}; one array must be called flow")
            array: NDArray[Any] = file[names[0]]
            return array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VideoError("corrupt", str(place), f"is no array that can be read: {error}") from None


_OPENERS: dict[str, Callable[[Path, Limits], StoredFlow]] = {
    "denseflow": _open_pairs,
    "uv": _open_uv,
    "charades": _open_pairs,
    "brox": _open_files(lambda files, limits: Pictures(files, (), limits), SUFFIXES),
    "kitti": _open_files(KittiPngs, (".png",)),
    "flo": _open_files(FloFiles, (".flo",)),
    "i3d": lambda place, limits: _open_array(place, limits, FLOW_BOUND, "i3d"),
    "video_features": _open_array,
}
