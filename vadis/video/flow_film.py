"""A still and a film of the flow in a video, by one method or several side by side.

The film shows each frame beside the motion from it to the next. Its scale is one for the whole, chosen on a
few moments spread over the video; of the last frame no motion is known, so it is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.records import VideoError
from vadis.video.decode import Video
from vadis.video.flow import Estimator
from vadis.video.flow_draw import Style, draw_flow, usual_scale
from vadis.video.stream import stream_frames
from vadis.video.write import VideoWriter, write_png

SCALE_MOMENTS = 6
PAIRS_AT_ONCE = 8
_NO_FLOW = "one frame alone has no optical flow"


def draw_moment(
    video: str | os.PathLike[str],
    target: str | os.PathLike[str],
    methods: Sequence[str],
    *,
    time_seconds: float = 0.0,
    short_side: int | None = 256,
    style: Style = "wheel",
    largest: float | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Draw the frame at a time and the motion from it to the next, a tile for each method; returns target.

    short_side: pixels to which frames are scaled before. largest: pixels a frame at the end of the scale.
    Raises VideoError, ValueError.
    """
    estimators = _ready(methods, device, options)
    with Video(video, short_side=short_side) as opened:
        times_T = opened.frame_times()
        if len(times_T) < 2:
            raise VideoError("empty", os.fspath(video), _NO_FLOW, "name a longer video")
        place = int(np.searchsorted(times_T, time_seconds + 1e-6, "right")) - 1
        place = min(max(place, 0), len(times_T) - 2)
        frames_THWC = opened.frames_by_index([place, place + 1]).frames_THWC
    fields = {name: estimator(frames_THWC).fields_THW2[0] for name, estimator in estimators.items()}
    picture_HWC = draw_flow(
        frames_THWC[0],
        fields,
        largest=largest,
        style=style,
        title=Path(video).name,
        time_seconds=float(times_T[place]),
    )
    return write_png(target, picture_HWC)


def draw_film(
    video: str | os.PathLike[str],
    target: str | os.PathLike[str],
    methods: Sequence[str],
    *,
    short_side: int | None = 256,
    style: Style = "wheel",
    largest: float | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Draw all frames beside their motion, as a video of the same times; returns target.

    short_side, largest: as for `draw_moment`, in pixels. Memory does not grow with the video's length. Raises
    VideoError, ValueError.
    """
    if Path(target).resolve() == Path(video).resolve():
        raise ValueError(f"{os.fspath(target)} is the video itself; name another file to write")
    estimators = _ready(methods, device, options)
    with Video(video, short_side=short_side) as opened:
        total = len(opened) - 1
        if total < 1:
            raise VideoError("empty", os.fspath(video), _NO_FLOW, "name a longer video")
        if largest is None:
            largest = _choose_scale(opened, next(iter(estimators.values())))
        rate = opened.info.frame_rate or 25.0
    done, first = 0, None
    left: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = None
    with (
        stream_frames(video, short_side=short_side, chunk=PAIRS_AT_ONCE) as stream,
        VideoWriter(target, rate) as writer,
    ):
        for frames in stream:
            frames_THWC, times_T = frames.frames_THWC, frames.times_T
            if left is not None:
                frames_THWC = np.concatenate([left[0], frames_THWC])
                times_T = np.concatenate([left[1], times_T])
            left = frames_THWC[-1:].copy(), times_T[-1:]
            flows = {name: estimator(frames_THWC).fields_THW2 for name, estimator in estimators.items()}
            for place in range(len(frames_THWC) - 1):
                time, until = float(times_T[place]), float(times_T[place + 1])
                picture_HWC = draw_flow(
                    frames_THWC[place],
                    {name: fields_THW2[place] for name, fields_THW2 in flows.items()},
                    largest=largest,
                    style=style,
                    title=Path(video).name,
                    time_seconds=time,
                )
                first = time if first is None else first
                writer.write(picture_HWC, time - first, until - time)
                done += 1
                progress(done, total)
    return Path(target)


def _ready(methods: Sequence[str], device: str, options: Mapping[str, Any] | None) -> dict[str, Estimator]:
    return {name: Estimator(name, device=device, **(options or {})) for name in dict.fromkeys(methods)}


def _choose_scale(opened: Video, estimator: Estimator) -> float:
    """Pixels a frame that suit some moments of a video, evenly apart."""
    count = len(opened) - 1
    places = np.unique(np.linspace(0, count - 1, min(SCALE_MOMENTS, count)).round().astype(int))
    indices = [index for place in places.tolist() for index in (place, place + 1)]
    frames_THWC = opened.frames_by_index(indices).frames_THWC
    flow = estimator(frames_THWC, range(0, len(indices), 2))
    return usual_scale(list(flow.fields_THW2))
