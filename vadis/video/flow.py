"""Optical flow: how many pixels each point of the picture moves from a frame to the next.

    flow = estimate_flow(frames_THWC, "dis")    # T frames give T - 1 fields
    u, v = flow.fields_THW2[i, y, x]            # what is at (x, y) in frame i is at (x + u, y + v) in i + 1

Six methods, from a look at what the encoder found anyway (`mv`) to a network (`raft`), give one type of
result. Three are OpenCV's with its parameters (vadis/video/opencv_flow.py), `tvl1` is our own for many pairs
at once (vadis/video/tvl1.py). `Estimator` is a method ready for any frames, `flow_pieces` for long videos.

Legend: T frames or fields, N pairs, H W pixels, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.records import Limits
from vadis.video.decode import Video
from vadis.video.flow_fields import Flow
from vadis.video.opencv_flow import (
    FieldsOf,
    check_options,
    make_dis,
    make_farneback,
    make_tvl1_opencv,
    opencv,
)
from vadis.video.source import VideoPath
from vadis.video.stream import stream_frames

__all__ = ["METHODS", "Estimator", "Flow", "estimate_flow", "flow_pieces", "opencv"]

METHODS: dict[str, str] = {
    "dis": "dense inverse search (OpenCV): the fastest that looks at pixels; preset=ultrafast, fast, medium",
    "farneback": "quadratic patches (OpenCV): an old default, smooth, weak at edges",
    "tvl1_opencv": "TV-L1 (OpenCV): what two-stream networks of the literature were trained with",
    "tvl1": "TV-L1 of our own: many pairs at once, on a CPU or GPU",
    "raft": "RAFT (torchvision's network and weights): the most exact, slow without a GPU",
    "mv": "motion vectors that H.264, MPEG-4 and MPEG-2 files carry: blocks, no estimation, from files only",
}
"""The names of all methods, and what each is."""


class Estimator:
    """A method of flow with its options, ready for any frames: what it needs (a network) is loaded once.

    method: one of `METHODS` but `mv`. device: "auto", "cpu", "cuda" ...; OpenCV's methods work on the CPU.
    batch_size: pairs at once, where a method has a use for it; None chooses by the picture's size.
    options: those of the method (docs/flow.md). Raises ValueError for what is no method or no option of it.
    """

    def __init__(
        self, method: str = "tvl1", *, device: str = "auto", batch_size: int | None = None, **options: Any
    ) -> None:
        if method == "mv":
            raise ValueError(
                "motion vectors are in a file, not in pixels: vadis.video.motion_vectors reads them"
            )
        if method not in _MAKERS:
            raise ValueError(f"{method!r} is no method of optical flow; there are {', '.join(METHODS)}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 pair, got {batch_size}")
        self.method = method
        self.options = options
        self._fields_of = _MAKERS[method](device, batch_size, options)

    def __call__(self, frames_THWC: NDArray[np.uint8], starts: Sequence[int] | None = None) -> Flow:
        """Flow from each frame to the next; or only from the frames `starts`, each to the one after it.

        frames_THWC: uint8 RGB. Field k leads from frame starts[k] to starts[k] + 1: clips of one size can lie
        behind one another in one array. Raises ValueError for other arrays, IndexError for the last frame.
        """
        frames_THWC = np.asarray(frames_THWC)
        if frames_THWC.dtype != np.uint8:
            raise ValueError(f"optical flow is estimated on uint8 RGB frames, got {frames_THWC.dtype}")
        if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or min(frames_THWC.shape[1:3]) < 1:
            raise ValueError(f"optical flow takes RGB frames (T, H, W, 3), got {frames_THWC.shape}")
        count, height, width = frames_THWC.shape[:3]
        chosen = range(max(0, count - 1)) if starts is None else starts
        starts_N = np.asarray(list(chosen), np.int64)
        if len(starts_N) and not (starts_N.min() >= 0 and starts_N.max() < count - 1):
            raise IndexError(f"{count} frames have flow from 0 to {count - 2}, asked for {list(chosen)}")
        if len(starts_N):
            fields_NHW2 = self._fields_of(frames_THWC, starts_N)
        else:
            fields_NHW2 = np.zeros((0, height, width, 2), np.float32)
        return Flow(fields_NHW2, (height, width), 1, self.method)


def estimate_flow(
    frames_THWC: NDArray[np.uint8],
    method: str = "tvl1",
    *,
    device: str = "auto",
    batch_size: int | None = None,
    **options: Any,
) -> Flow:
    """Optical flow of successive frames (uint8 RGB): T - 1 fields; one frame gives none.

    See `Estimator`, which serves many clips. Raises ValueError; ImportError where OpenCV is missing.
    """
    return Estimator(method, device=device, batch_size=batch_size, **options)(frames_THWC)


def flow_pieces(
    video: VideoPath | Video,
    method: str | Estimator = "tvl1",
    *,
    pairs_at_once: int = 16,
    first: int = 0,
    stop: int | None = None,
    short_side: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
    device: str = "auto",
    **options: Any,
) -> Iterator[tuple[Flow, NDArray[np.float64]]]:
    """Flow of a video of any length, at most `pairs_at_once` fields at a time, in bounded memory.

    Yields the fields and times_T, seconds at which the first frame of each is shown; together they are those
    of the frames from index `first` to before `stop` (None: to the end): one field fewer than frames.
    short_side: pixels to which frames are scaled before; values count pixels of the scaled picture. An opened
    `Video` brings its own scale, and is decoded from the keyframe before each piece; a path is decoded once.
    "mv" takes a path and no short_side: the result's `resized` does that. Raises VideoError as decoding does,
    ValueError as `Estimator`.
    """
    if pairs_at_once < 1:
        raise ValueError(f"pairs_at_once must be at least 1, got {pairs_at_once}")
    if first < 0 or (stop is not None and stop < first):
        raise ValueError(f"frames from {first} to before {stop} are no part of a video")
    if isinstance(video, Video) and short_side is not None:
        raise ValueError("an opened Video has its own short_side")
    if method == "mv":
        if isinstance(video, Video) or short_side is not None or options:
            raise ValueError(
                "motion vectors come from a file as it is: give its path; resize the flow afterwards"
            )
        from vadis.video.motion_vectors import motion_vector_pieces

        yield from motion_vector_pieces(
            video, pairs_at_once=pairs_at_once, first=first, stop=stop, limits=limits
        )
        return
    estimator = method if isinstance(method, Estimator) else Estimator(method, device=device, **options)
    for frames_THWC, times_T in _overlapping(video, pairs_at_once, first, stop, short_side, limits):
        yield estimator(frames_THWC), times_T[:-1]


def _overlapping(
    video: VideoPath | Video,
    pairs: int,
    first: int,
    stop: int | None,
    short_side: int | None,
    limits: Limits,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Frames and their times, at most pairs + 1 at a time; the last of a piece is the first of the next."""
    if isinstance(video, Video):
        end = len(video) if stop is None else min(stop, len(video))
        for start in range(first, end - 1, pairs):
            frames = video.frames_by_index(range(start, min(start + pairs + 1, end)))
            yield frames.frames_THWC, frames.times_T
        return
    left: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = None
    with stream_frames(video, short_side=short_side, chunk=pairs, limits=limits) as stream:
        for frames in stream:
            inside = (frames.indices_T >= first) & (frames.indices_T < (np.inf if stop is None else stop))
            if inside.any():
                frames_THWC, times_T = frames.frames_THWC[inside], frames.times_T[inside]
                if left is not None:
                    frames_THWC = np.concatenate([left[0], frames_THWC])
                    times_T = np.concatenate([left[1], times_T])
                left = frames_THWC[-1:].copy(), times_T[-1:]
                if len(frames_THWC) > 1:
                    yield frames_THWC, times_T
            if stop is not None and frames.indices_T[-1] >= stop - 1:
                return


def _make_tvl1(device: str, batch_size: int | None, options: dict[str, Any]) -> FieldsOf:
    from vadis.video import tvl1  # not at the top: OpenCV's methods do without PyTorch

    return tvl1.TvL1(tvl1.choose_parameters(**options), tvl1.choose_device(device), batch_size)


def _make_raft(device: str, batch_size: int | None, options: dict[str, Any]) -> FieldsOf:
    from vadis.video import raft, tvl1

    check_options("raft", options, ("size", "weights", "iterations"))
    return raft.Raft(tvl1.choose_device(device), batch_size, **options)


_MAKERS: dict[str, Callable[[str, int | None, dict[str, Any]], FieldsOf]] = {
    "dis": make_dis,
    "farneback": make_farneback,
    "tvl1_opencv": make_tvl1_opencv,
    "tvl1": _make_tvl1,
    "raft": _make_raft,
}
"""Method: what makes it ready, of the device, the pairs at once, and its options."""
