"""Tracks on disk and in pictures: an npz of plain arrays with provenance, and lines over the frames.

Legend: N tracks, L steps of a track, T frames, H W pixels.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.records import DataError, Limits
from vadis.video.flow import opencv
from vadis.video.stream import stream_frames
from vadis.video.tracks import TrackOptions, Trajectories
from vadis.video.write import VideoWriter, part_file, write_png

FORMAT = 1
FRESH, OLD, HEAD = (90, 255, 90), (0, 110, 0), (255, 60, 60)


def save_tracks(
    path: str | Path,
    tracks: Trajectories,
    options: TrackOptions,
    provenance: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> Path:
    """Write tracks as npz: `points`, `frames`, `seconds`, `scales`, each descriptor, `provenance`.

    half: descriptors as float16, whose error (1 in 2000) no mixture notices. The file appears whole or not
    at all.
    """
    target = Path(path)
    said = {
        **(provenance or {}),
        "format": FORMAT,
        "options": asdict(options),
        "size": list(tracks.size),
        "num_found": tracks.num_found,
        "num_frames": tracks.num_frames,
        "notes": list(tracks.notes),
        "cost": dict(tracks.cost),
    }
    kind = np.float16 if half else np.float32
    arrays: dict[str, NDArray[Any]] = {
        "points": tracks.points_NL2,
        "frames": tracks.frames_N,
        "seconds": tracks.seconds_N2,
        "scales": tracks.scales_N,
        **{name: values.astype(kind) for name, values in tracks.descriptors.items()},
        "provenance": np.array(json.dumps(said, sort_keys=True)),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with part_file(target) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return target


def load_tracks(path: str | Path) -> tuple[Trajectories, dict[str, Any]]:
    """Read what `save_tracks` wrote, and its provenance. Raises DataError for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        said = json.loads(str(arrays.pop("provenance")))
        own = [arrays.pop(name) for name in ("points", "frames", "seconds", "scales")]
        if said.get("format") != FORMAT:
            raise ValueError(f"another version than {FORMAT}; find the tracks again")
        tracks = Trajectories(
            own[0],
            own[1],
            own[2],
            own[3],
            {name: values.astype(np.float32) for name, values in arrays.items()},
            (said["size"][0], said["size"][1]),
            said["num_found"],
            said["num_frames"],
            tuple(said["notes"]),
            said["cost"],
        )
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no file of tracks ({error})") from error
    return tracks, said


def draw_tracks(
    frame_HWC: NDArray[np.uint8], tracks: Trajectories, index: int, *, zoom: int = 1
) -> NDArray[np.uint8]:
    """A frame with the tracks that are under way in it: green lines of where they came from, red points.

    index: of the frame in its video. zoom: how many times larger, so that lines are finer than pixels.
    """
    cv2 = opencv()
    height, width = frame_HWC.shape[:2]
    size = (width * zoom, height * zoom)
    picture: NDArray[np.uint8] = cv2.resize(
        np.ascontiguousarray(frame_HWC), size, interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    )
    ratio_2 = np.array([width / tracks.size[1], height / tracks.size[0]]) * zoom
    length = tracks.points_NL2.shape[1] - 1
    steps_N = index - tracks.frames_N
    for row in np.flatnonzero((steps_N >= 1) & (steps_N <= length)):
        line = np.rint(tracks.points_NL2[row, : steps_N[row] + 1] * ratio_2).astype(np.int32)
        for place in range(len(line) - 1):
            share = (place + 1) / length
            colour = [round(old + share * (new - old)) for old, new in zip(OLD, FRESH, strict=True)]
            cv2.line(picture, line[place].tolist(), line[place + 1].tolist(), colour, 1, cv2.LINE_AA)
        cv2.circle(picture, line[-1].tolist(), 1, HEAD, -1, cv2.LINE_AA)
    return picture


def busiest_frame(tracks: Trajectories) -> int:
    """The index of the frame in which most tracks end; 0 without tracks."""
    if not len(tracks):
        return 0
    ends = np.bincount(tracks.frames_N + tracks.points_NL2.shape[1] - 1)
    return int(ends.argmax())


def draw_video(
    source: str | Path,
    tracks: Trajectories,
    *,
    picture: Path | None = None,
    video: Path | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    """Write the busiest frame with its tracks as a PNG file, and a video of all frames with theirs.

    Raises VideoError where the source cannot be read.
    """
    wanted = busiest_frame(tracks)
    short_side = min(tracks.size)
    zoom = max(1, round(480 / max(short_side, 1)))
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(stream_frames(source, short_side=short_side, limits=limits))
        rate = stream.info.frame_rate or 25.0
        writer = None if video is None else stack.enter_context(VideoWriter(video, rate))
        for chunk in stream:
            for frame_HWC, number in zip(chunk.frames_THWC, chunk.indices_T, strict=True):
                index = int(number)
                if picture is not None and index == wanted:
                    write_png(picture, draw_tracks(frame_HWC, tracks, index, zoom=zoom))
                if writer is not None:
                    writer.write(draw_tracks(frame_HWC, tracks, index, zoom=zoom))
