"""Features on disk: one file for a video or for a dataset, and a cache that never computes any twice.

A file is an npz of plain arrays (`features`, `seconds`, `labels`, `ids`, `videos`, `class_names`) with its
provenance as JSON, so that any NumPy reads it. The cache has an entry for each video, under a key of
everything that its numbers depend on: the content of the file, the interval, the network's weights and
structure, the layer, which views, the arithmetic. Files appear whole or not at all.

Legend: N videos, V views (clips x crops) of a video, D features; a map has further axes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from vadis import downloads
from vadis.records import DataError, Example, Failure
from vadis.video.write import part_file

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the files and of the cache: raised when the same key would mean other numbers."""


@dataclass(frozen=True)
class FeatureSet:
    """The features of a dataset, in the order of its examples.

    features_NVD: float32; NaN where a video could not be read (`failures` says why, by index). seconds_NV2:
    start and end of each view on the clock of its file. labels: class indices of each example. provenance:
    model, weights, layer, protocol and versions, as plain values.
    """

    features_NVD: npt.NDArray[np.float32]
    seconds_NV2: npt.NDArray[np.float64]
    labels: tuple[tuple[int, ...], ...]
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    class_names: tuple[str, ...]
    provenance: Mapping[str, Any]
    failures: Mapping[int, Failure] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __post_init__(self) -> None:
        sizes = {len(self.features_NVD), len(self.seconds_NV2), len(self.labels), len(self.videos)}
        if sizes != {len(self.ids)}:
            raise ValueError(f"features, times, labels, videos and ids differ in number: {sorted(sizes)}")

    @property
    def readable_N(self) -> npt.NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Whether each video could be read: shape (N,)."""
        return np.array([index not in self.failures for index in range(len(self))], np.bool_)


def save_features(path: Path, features: FeatureSet) -> None:
    """Write a dataset's features; the ending is .npz. A lone label a video is `labels` of shape (N,), -1
    where it is hidden; several are `labels` of shape (N, K), 0 and 1."""
    single = all(len(labels) <= 1 for labels in features.labels)
    if single:
        labels = np.array([each[0] if each else -1 for each in features.labels], np.int64)
    else:
        labels = np.zeros((len(features), len(features.class_names)), np.int64)
        for row, each in enumerate(features.labels):
            labels[row, list(each)] = 1
    failures = {str(index): [item.kind, item.message] for index, item in features.failures.items()}
    _write(
        path,
        {"kind": "dataset", "failures": failures, **features.provenance},
        features=features.features_NVD,
        seconds=features.seconds_NV2,
        labels=labels,
        ids=_words(features.ids),
        videos=_words(features.videos),
        class_names=_words(features.class_names),
    )


def load_features(path: str | Path) -> FeatureSet:
    """Read what `save_features` wrote. Raises DataError for another file."""
    arrays, provenance = _read(Path(path))
    if provenance.pop("kind", None) != "dataset":
        raise DataError(f"{path}: holds no features of a dataset")
    failures = provenance.pop("failures")
    rows = arrays["labels"]
    labels = (
        [(int(label),) if label >= 0 else () for label in rows]
        if rows.ndim == 1
        else [tuple(int(label) for label in np.flatnonzero(row)) for row in rows]
    )
    return FeatureSet(
        arrays["features"],
        arrays["seconds"],
        tuple(labels),
        tuple(arrays["ids"].tolist()),
        tuple(arrays["videos"].tolist()),
        tuple(arrays["class_names"].tolist()),
        provenance,
        {int(index): Failure(*item) for index, item in failures.items()},
    )


def save_windows(
    path: Path,
    features_ND: npt.NDArray[np.float32],
    seconds_N2: npt.NDArray[np.float64],
    provenance: Mapping[str, Any],
) -> None:
    """Write the features of one video: `features` of N windows, `seconds` (start, end), `provenance`."""
    _write(path, {"kind": "video", **provenance}, features=features_ND, seconds=seconds_N2)


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What a file of features says of itself; None where there is no such file, or it is not one."""
    try:
        return _read(path)[1]
    except DataError:
        return None


def _words(words: Sequence[str]) -> npt.NDArray[np.str_]:
    return np.array([word.encode("utf-8", "backslashreplace").decode() for word in words], np.str_)


def _write(path: Path, provenance: Mapping[str, Any], **arrays: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **provenance}, sort_keys=True)
    with part_file(path) as part, part.open("wb") as file:
        np.savez(file, provenance=np.array(text), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        provenance = json.loads(str(arrays.pop("provenance")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a file of features ({error})") from error
    if not isinstance(provenance, dict) or provenance.pop("format", None) != FORMAT:
        raise DataError(f"{path}: features of another version; extract them again")
    return arrays, provenance


# --- the cache --------------------------------------------------------------------------------------------


class FeatureCache:
    """A folder of the features of single examples; see the module. Safe to share between processes.

    Entries are safetensors: several threads read them, and NumPy's own files are not safe for that in Python
    3.11 (their headers go through `ast`, which then may fail with a SystemError).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, key: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]] | None:
        """features_VD (more axes for a map) and seconds_V2 of a key; None where there are none."""
        try:
            arrays = safetensors.numpy.load(self._path(key).read_bytes())
            return arrays["features"], arrays["seconds"]
        except (OSError, KeyError, safetensors.SafetensorError):
            return None

    def put(
        self, key: str, features_VD: npt.NDArray[np.float32], seconds_V2: npt.NDArray[np.float64]
    ) -> None:
        """Keep features_VD and seconds_V2; a full disk keeps nothing and is no error."""
        path = self._path(key)
        mine = path.with_name(f"{key}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")  # others may write it, too
        arrays: dict[str, npt.NDArray[Any]] = {
            "features": np.ascontiguousarray(features_VD),
            "seconds": np.ascontiguousarray(seconds_V2),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            mine.write_bytes(safetensors.numpy.save(arrays))
            mine.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                mine.unlink()
            log.warning("features are not kept: %s", error)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def default_cache_folder() -> Path:
    """Where the command line keeps features: `features` in the cache folder (`VADIS_CACHE`)."""
    return downloads.cache_folder() / "features"


def feature_key(source: Path | bytes | Sequence[Path], example: Example, settings: str) -> str:
    """The cache's name for the features of one example.

    source: its file, folder of frames, the bytes inside a tar file, or the pictures of its flow; it counts by
    its content, so a copy or a renamed file is the same. settings: all else that the numbers depend on.
    Raises OSError.
    """
    span = f"{example.start_seconds}:{example.end_seconds}:{example.fps}"
    return hashlib.sha256(f"{FORMAT}\n{content_hash(source)}\n{span}\n{settings}".encode()).hexdigest()


def content_hash(source: Path | bytes | Sequence[Path]) -> str:
    """sha256 of a file's bytes; of pictures, or a folder of them: names, sizes and times of change.

    Raises OSError.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not isinstance(source, Path) or source.is_dir():
        pictures = source.iterdir() if isinstance(source, Path) else source
        rows = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in pictures]
        return hashlib.sha256(repr(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()
    stat = source.stat()
    return _file_hash(str(source), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65536)
def _file_hash(path: str, size: int, mtime_ns: int) -> str:
    """The two numbers say whether the file is still the one that was read (clips may share a long video)."""
    return downloads.sha256_of(Path(path))
