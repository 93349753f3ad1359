"""Tubes of UCF101-24 and J-HMDB as boxes of examples, and the pickles and MATLAB files that hold them.

Both sets are passed on as pickles of plain dicts and arrays. They are read without running them (an unpickler
that admits arrays and nothing else). MATLAB files need SciPy, which comes with the `train` extra.

The cache of the ACT family (`UCF101v2-GT.pkl`, `JHMDB-GT.pkl`) is a dict:

    labels           class names
    gttubes          {video: {label: [array (n, 5): frame from 1, x1, y1, x2, y2 in pixels from 0]}}
    nframes          {video: number of frames}
    resolution       {video: (height, width)}
    train_videos, test_videos    a list of videos for each split
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vadis.data.rows import Notes
from vadis.records import Box, DataError

Floats = NDArray[np.float64]


class Tube(NamedTuple):
    """One person's boxes: label, frames from 0 (N,), boxes x1, y1, x2, y2 in pixels (N, 4)."""

    label: int
    frame_N: NDArray[np.int64]
    box_N4: Floats


class Annotated(NamedTuple):
    """The tubes of one video; its size in pixels is (height, width)."""

    tubes: tuple[Tube, ...]
    num_frames: int | None
    height: int
    width: int


def read_plain_pickle(path: Path) -> Any:
    """What a pickle of plain data and arrays holds. DataError for whatever else."""
    from vadis.models.conversion import CheckpointError, read_plain_pickle

    try:
        return read_plain_pickle(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CheckpointError as error:
        raise DataError(f"{path}: {error}") from error


def read_matlab(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file, arrays of any shapes. DataError if it is damaged."""
    from vadis.models.mat_file import MatError, read_mat

    try:
        return dict(read_mat(path))
    except (OSError, MatError) as error:
        raise DataError(f"{path}: is not a MATLAB file of version 5 ({error})") from error


class Cache(NamedTuple):
    """A cache of the ACT family: class names, tubes by video, the videos of each split by part."""

    class_names: tuple[str, ...]
    videos: dict[str, Annotated]
    parts: dict[str, list[list[str]]]


def read_cache(path: Path) -> Cache:
    """Read `UCF101v2-GT.pkl` or `JHMDB-GT.pkl`. Raises DataError."""
    document = read_plain_pickle(path)
    keys = ("labels", "gttubes", "nframes", "resolution", "train_videos", "test_videos")
    if not isinstance(document, dict) or not all(key in document for key in keys):
        raise DataError(f"{path}: expected a dict of {', '.join(keys)}")
    videos = {}
    for name, tubes in document["gttubes"].items():
        try:
            height, width = document["resolution"][name]
            found = []
            for label, arrays in tubes.items():
                for array_N5 in arrays:
                    array_N5 = np.asarray(array_N5, np.float64).reshape(-1, 5)
                    found.append(Tube(int(label), array_N5[:, 0].astype(np.int64) - 1, array_N5[:, 1:]))
            videos[name] = Annotated(tuple(found), int(document["nframes"][name]), int(height), int(width))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: the video {name!r} is not of the known form ({error})") from error
    parts = {part: [list(names) for names in document[f"{part}_videos"]] for part in ("train", "test")}
    return Cache(tuple(document["labels"]), videos, parts)


def make_boxes(video: str, annotated: Annotated, notes: Notes) -> tuple[Box, ...]:
    """The boxes of a video's tubes, tube by tube; `person` is the tube's number."""
    size_4 = np.array([annotated.width, annotated.height] * 2, np.float64)
    boxes = []
    for person, tube in enumerate(annotated.tubes):
        if annotated.num_frames is not None and tube.frame_N.max(initial=0) >= annotated.num_frames:
            notes.add("a tube passes the last frame of its video: kept as it is", video)
        box_N4 = tube.box_N4 / size_4
        if (box_N4 < 0).any() or (box_N4 > 1).any():
            notes.add("a tube stands out of the picture: kept as it is", video)
        boxes += [
            Box(x1, y1, x2, y2, (tube.label,), person, frame)
            for frame, (x1, y1, x2, y2) in zip(tube.frame_N.tolist(), box_N4.tolist(), strict=True)
        ]
    return tuple(boxes)


def labels_of(annotated: Annotated) -> tuple[int, ...]:
    """The labels of a video: those of its tubes."""
    return tuple(sorted({tube.label for tube in annotated.tubes}))


def to_cache(
    class_names: Iterable[str], videos: Mapping[str, Annotated], parts: Mapping[str, list[list[str]]]
) -> dict[str, Any]:
    """The dict of a cache, ready to be pickled; the inverse of `read_cache`."""
    tubes: dict[str, dict[int, list[NDArray[np.float32]]]] = {}
    for name, annotated in videos.items():
        tubes[name] = {}
        for tube in annotated.tubes:
            array_N5 = np.concatenate([tube.frame_N[:, None] + 1, tube.box_N4], axis=1).astype(np.float32)
            tubes[name].setdefault(tube.label, []).append(array_N5)
    return {
        "labels": list(class_names),
        "gttubes": tubes,
        "nframes": {name: annotated.num_frames for name, annotated in videos.items()},
        "resolution": {name: (annotated.height, annotated.width) for name, annotated in videos.items()},
        **{f"{part}_videos": names for part, names in parts.items()},
    }
