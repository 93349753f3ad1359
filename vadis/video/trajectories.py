"""Improved dense trajectories: points that are followed through a video, and what they pass through.

Points are set on a grid at up to eight sizes of the picture wherever there is something to hold on to, and
each is carried on by the flow, filtered by a median, for 15 frames; in its place new ones are set. Tracks
that stand still, jump, or only go along with the camera are dropped; the others are described by their shape
and by HOG, HOF and MBH along the way (`vadis.video.descriptors`): 426 numbers.

    tracks = find_trajectories("kick.mp4")
    tracks.points_NL2, tracks.descriptors["mbhx"], tracks.seconds_N2

Source: Wang, Klaser, Schmid & Liu, IJCV 2013; Wang & Schmid, ICCV 2013; where the papers are silent, their
program. Where we differ: flow is estimated once at full size and scaled to the other sizes (theirs comes from
the steps of one pyramid); flow without the camera is the same flow with its end points moved back
(`camera="remove"`), unless `camera="again"` asks for a second estimate on the unwarped frame, as theirs is;
SIFT in place of SURF. A video of fewer than 16 frames has no track of 15 steps: `length` makes them shorter.

Legend: N tracks, L steps of a track (L + 1 points), T frames, H W pixels, D numbers of a descriptor; 2 is x
(right), y (down) in pixels of the full-size picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.records import Limits
from vadis.video.camera_motion import match_successive, remove_camera, unwarp_frame
from vadis.video.descriptors import (
    HISTOGRAMS,
    PATCH,
    TIME_CELLS,
    describe_points,
    histograms_of,
)
from vadis.video.flow import opencv
from vadis.video.source import VideoPath
from vadis.video.stream import stream_frames
from vadis.video.tracks import (
    LEAST_OWN_STEP,
    SCALE_STEP,
    TrackOptions,
    Trajectories,
    describe_shape,
    empty_tracks,
    explain_none,
    join_tracks,
    moves_well,
    sample_points,
    thin_tracks,
)

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

MEDIAN = 5
"""Side in pixels of the median filter over the flow that carries points."""
DEFAULTS = TrackOptions()
STAGES = ("flow", "camera", "tracking", "descriptors")
CHUNK = 16


def find_trajectories(
    path: VideoPath,
    options: TrackOptions = DEFAULTS,
    *,
    short_side: int | None = None,
    boxes: Sequence[ArrayLike] = (),
    max_tracks: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
    device: str = "auto",
) -> Trajectories:
    """All tracks of a video. boxes: for each frame its people (N, 4), xyxy in [0, 1], or nothing at all.

    short_side: pixels to which frames are scaled. max_tracks: a random part is kept of more (the same part
    each time), so that memory is bounded for a video of any length. Raises VideoError.
    """
    with stream_frames(path, short_side=short_side, chunk=CHUNK, limits=limits) as stream:
        frames = ((chunk.frames_THWC, chunk.times_T) for chunk in stream)
        return collect(stream_trajectories(frames, options, boxes=boxes, device=device), options, max_tracks)


def collect(
    parts: Iterable[Trajectories],
    options: TrackOptions = DEFAULTS,
    max_tracks: int | None = None,
) -> Trajectories:
    """One of many parts; of more than `max_tracks` a random part, chosen with a seed of its own."""
    rng = np.random.default_rng(0)
    kept: list[Trajectories] = []
    keys: list[NDArray[np.float64]] = []
    last: Trajectories | None = None
    for part in parts:
        last = part
        kept.append(part)
        keys.append(rng.random(len(part)))
        if max_tracks is not None and sum(map(len, kept)) > 2 * max_tracks:
            kept, keys = thin_tracks(kept, keys, max_tracks)
    if last is None:
        return join_tracks([empty_tracks(options, (0, 0))])
    if max_tracks is not None and sum(map(len, kept)) > max_tracks:
        kept, keys = thin_tracks(kept, keys, max_tracks)
    whole = join_tracks(kept)
    notes = last.notes
    if last.num_found == 0:
        notes = (*notes, explain_none(last.num_frames, options))
    return Trajectories(
        whole.points_NL2,
        whole.frames_N,
        whole.seconds_N2,
        whole.scales_N,
        whole.descriptors,
        last.size,
        last.num_found,
        last.num_frames,
        notes,
        last.cost,
    )


def stream_trajectories(
    frames: Iterable[tuple[Picture, NDArray[np.float64]]],
    options: TrackOptions = DEFAULTS,
    *,
    boxes: Sequence[ArrayLike] = (),
    device: str = "auto",
) -> Iterator[Trajectories]:
    """The tracks of frames of any number, those that end in each chunk together; memory is that of a chunk.

    frames: chunks of frames_THWC (uint8 RGB) and their times_T in seconds. boxes: as in `find_trajectories`.
    `num_found`, `num_frames`, `notes` and `cost` of each part are those of all so far.
    """
    tracker = Tracker(options, boxes=boxes, device=device)
    for frames_THWC, times_T in frames:
        yield tracker.follow(frames_THWC, times_T)


class Tracker:
    """Follows points through successive chunks of a video; see `stream_trajectories`."""

    def __init__(
        self,
        options: TrackOptions = DEFAULTS,
        *,
        boxes: Sequence[ArrayLike] = (),
        device: str = "auto",
    ) -> None:
        self.options = options
        self.boxes = boxes
        self.cost = dict.fromkeys(STAGES, 0.0)
        self.num_found = 0
        self.num_frames = 0
        self._estimator = options.estimator(device)
        self._last: tuple[Picture, float] | None = None
        self._scales: list[_Scale] = []
        self._size = (0, 0)
        self._without_camera = 0
        self._times: list[float] = []  # of the last L + 1 frames

    def follow(self, frames_THWC: Picture, times_T: NDArray[np.float64]) -> Trajectories:
        """The tracks that end within these frames. Raises ValueError for pictures below 32 pixels."""
        if self._last is not None:
            frames_THWC = np.concatenate([self._last[0][None], frames_THWC])
            times_T = np.concatenate([[self._last[1]], times_T])
        elif len(frames_THWC):
            self._begin(frames_THWC[0], float(times_T[0]))
        ended: list[_Ended] = []
        if len(frames_THWC) > 1:
            fields_THW2, own_THW2 = self._estimate(frames_THWC)
            for index, (field_HW2, own_HW2) in enumerate(zip(fields_THW2, own_THW2, strict=True)):
                self._times = [*self._times[-self.options.length :], float(times_T[index + 1])]
                ended += self._step(frames_THWC[index + 1], field_HW2, own_HW2)
        if len(frames_THWC):
            self._last = frames_THWC[-1].copy(), float(times_T[-1])
        return self._gather(ended)

    def _begin(self, frame_HWC: Picture, first_seconds: float) -> None:
        height, width = self._size = frame_HWC.shape[:2]
        if min(height, width) < PATCH:
            raise ValueError(
                f"descriptors look at {PATCH} x {PATCH} pixels, a picture has {width} x {height}: enlarge it"
            )
        grey_HW = _grey(frame_HWC)
        for number in range(self.options.num_scales):
            factor = SCALE_STEP**number
            sides = round(height * factor), round(width * factor)
            if number and min(height, width) * factor < PATCH:
                break
            self._scales.append(_Scale(number, sides, self.options))
        for scale, scaled_HW in zip(self._scales, self._pyramid(grey_HW), strict=True):
            scale.start(scaled_HW)
        self.num_frames = 1
        self._times = [first_seconds]

    def _pyramid(self, grey_HW: Picture) -> Iterator[Picture]:
        cv2 = opencv()
        for scale in self._scales:
            height, width = scale.sides
            if grey_HW.shape != (height, width):
                grey_HW = cv2.resize(grey_HW, (width, height), interpolation=cv2.INTER_LINEAR)
            yield grey_HW

    def _estimate(self, frames_THWC: Picture) -> tuple[Floats, Floats]:
        """Flow between the frames, and flow without the camera."""
        begun = time.process_time()
        fields_THW2 = self._estimator(frames_THWC).fields_THW2
        begun = self._spend("flow", begun)
        if self.options.camera == "keep":
            return fields_THW2, fields_THW2
        boxes = self._boxes_of(len(frames_THWC))
        matches = match_successive(frames_THWC, fields_THW2, boxes, features=self.options.features)
        found = list(matches)
        self._without_camera += sum(bool(match.reason) for match in found)
        homographies_T33 = np.stack([match.homography_33 for match in found])
        if self.options.camera == "remove":
            own_THW2 = remove_camera(fields_THW2, homographies_T33)
            self._spend("camera", begun)
            return fields_THW2, own_THW2
        unwarped = [
            unwarp_frame(frame, each) for frame, each in zip(frames_THWC[1:], homographies_T33, strict=True)
        ]
        begun = self._spend("camera", begun)
        pairs = [np.stack(pair) for pair in zip(frames_THWC[:-1], unwarped, strict=True)]
        own_THW2 = np.concatenate([self._estimator(pair).fields_THW2 for pair in pairs])
        self._spend("flow", begun)
        return fields_THW2, own_THW2

    def _boxes_of(self, count: int) -> Sequence[ArrayLike]:
        """Boxes of the last frame before this chunk and of its own; a frame without an entry has none."""
        if not len(self.boxes):
            return ()
        first = self.num_frames - 1
        return [self.boxes[i] if i < len(self.boxes) else () for i in range(first, first + count)]

    def _step(self, frame_HWC: Picture, field_HW2: Floats, own_HW2: Floats) -> list[_Ended]:
        """From one frame to the next."""
        begun = time.process_time()
        pyramid = list(self._pyramid(_grey(frame_HWC)))
        begun = self._spend("tracking", begun)
        ended = []
        for scale, grey_HW in zip(self._scales, pyramid, strict=True):
            scaled_HW2 = _resize_field(field_HW2, scale.sides)
            scaled_own_HW2 = scaled_HW2 if own_HW2 is field_HW2 else _resize_field(own_HW2, scale.sides)
            begun = self._spend("tracking", begun)
            scale.describe(scaled_own_HW2)
            begun = self._spend("descriptors", begun)
            tracks = scale.advance(grey_HW, scaled_HW2, scaled_own_HW2, self.num_frames)
            if tracks is not None:
                tracks.seconds_2 = (self._times[0], self._times[-1])
                ended.append(tracks)
            begun = self._spend("tracking", begun)
        self.num_frames += 1
        return ended

    def _spend(self, stage: str, begun: float) -> float:
        now = time.process_time()
        self.cost[stage] += now - begun
        return now

    def _gather(self, ended: list[_Ended]) -> Trajectories:
        self.num_found += sum(len(tracks.points_NL2) for tracks in ended)
        notes: tuple[str, ...] = ()
        if self._without_camera:
            pairs = f"{self._without_camera} of {self.num_frames - 1} pairs of frames"
            notes = (f"no camera motion was found between {pairs}: too few points agree",)
        empty = empty_tracks(self.options, self._size)
        return Trajectories(
            np.concatenate([empty.points_NL2, *(each.points_NL2 for each in ended)]),
            np.concatenate(
                [empty.frames_N, *(np.full(len(each.points_NL2), each.first_frame) for each in ended)]
            ),
            np.concatenate(
                [empty.seconds_N2, *(np.tile(each.seconds_2, (len(each.points_NL2), 1)) for each in ended)]
            ),
            np.concatenate([empty.scales_N, *(np.full(len(each.points_NL2), each.scale) for each in ended)]),
            {
                kind: np.concatenate([none, *(each.descriptors[kind] for each in ended)])
                for kind, none in empty.descriptors.items()
            },
            self._size,
            self.num_found,
            self.num_frames,
            notes,
            dict(self.cost),
        )


@dataclass
class _Ended:
    """Tracks of one scale that end in one frame."""

    points_NL2: Floats
    descriptors: dict[str, Floats]
    first_frame: int
    scale: int
    seconds_2: tuple[float, float] = (0.0, 0.0)


class _Scale:
    """The tracks under way at one size of the picture, in its own pixels."""

    def __init__(self, number: int, sides: tuple[int, int], options: TrackOptions) -> None:
        self.number = number
        self.sides = sides
        self.options = options
        self.grey_HW: Picture = np.zeros(sides, np.uint8)
        length = options.length
        self.points_NL2: Floats = np.zeros((0, length + 1, 2), np.float32)
        self.own_NL2: Floats = np.zeros((0, length, 2), np.float32)
        self.steps_N: NDArray[np.int64] = np.zeros(0, np.int64)
        self.sums: dict[str, Floats] = {
            kind: np.zeros((0, TIME_CELLS, 4 * bins), np.float32) for kind, bins in HISTOGRAMS.items()
        }
        # how many of a track's steps each cell of time holds: they are dealt out as evenly as may be
        self.cell_of_step = np.arange(length) * TIME_CELLS // length
        self.steps_of_cell = np.bincount(self.cell_of_step, minlength=TIME_CELLS)

    def start(self, grey_HW: Picture) -> None:
        """The first frame: points on the whole grid."""
        self.grey_HW = grey_HW
        self._sample()

    def describe(self, own_HW2: Floats) -> None:
        """Add what is about the points now to their descriptors."""
        if not len(self.points_NL2):
            return
        rows_N = np.arange(len(self.steps_N))
        here_N2 = self.points_NL2[rows_N, self.steps_N]
        cell_N = self.cell_of_step[self.steps_N]
        for kind, values_ND in describe_points(histograms_of(self.grey_HW, own_HW2), here_N2).items():
            self.sums[kind][rows_N, cell_N] += values_ND  # each row once

    def advance(
        self, grey_HW: Picture, field_HW2: Floats, own_HW2: Floats, frame_index: int
    ) -> _Ended | None:
        """Carry the points on to the next frame (whose index this is); returns the tracks that end there."""
        height, width = self.sides
        rows_N = np.arange(len(self.steps_N))
        here_N2 = self.points_NL2[rows_N, self.steps_N]
        place_N2 = np.clip(np.rint(here_N2).astype(np.int64), 0, [width - 1, height - 1])
        there_N2 = here_N2 + _filtered(field_HW2)[place_N2[:, 1], place_N2[:, 0]]
        self.own_NL2[rows_N, self.steps_N] = own_HW2[place_N2[:, 1], place_N2[:, 0]]
        self.points_NL2[rows_N, np.minimum(self.steps_N + 1, self.options.length)] = there_N2
        self.steps_N += 1
        inside_N = ((there_N2 > 0) & (there_N2 < [width, height])).all(1)
        done_N = inside_N & (self.steps_N == self.options.length)
        ended = self._end(done_N, frame_index) if done_N.any() else None
        self._keep(inside_N & ~done_N)
        self.grey_HW = grey_HW
        self._sample()
        return ended

    def _end(self, done_N: NDArray[np.bool_], frame_index: int) -> _Ended | None:
        factor = np.float32(SCALE_STEP**-self.number)
        points_NL2: Floats = self.points_NL2[done_N] * factor
        own_NL2: Floats = self.own_NL2[done_N] * factor
        good_N = moves_well(points_NL2, self.options.least_motion)
        if self.options.camera != "keep":
            least_step = self.options.least_motion * LEAST_OWN_STEP
            good_N &= np.hypot(own_NL2[..., 0], own_NL2[..., 1]).max(1) > least_step
        if not good_N.any():
            return None
        descriptors = {"trajectory": describe_shape(own_NL2[good_N])}
        for kind, sums in self.sums.items():
            whole = sums[done_N][good_N]
            whole /= self.steps_of_cell[:, None]
            descriptors[kind] = whole.reshape(len(whole), -1)
        first = frame_index - self.options.length
        return _Ended(points_NL2[good_N], descriptors, first, self.number)

    def _keep(self, which_N: NDArray[np.bool_]) -> None:
        self.points_NL2, self.own_NL2 = self.points_NL2[which_N], self.own_NL2[which_N]
        self.steps_N = self.steps_N[which_N]
        self.sums = {kind: sums[which_N] for kind, sums in self.sums.items()}

    def _sample(self) -> None:
        """Set new points where the grid is free and the picture has corners."""
        here_N2 = self.points_NL2[np.arange(len(self.steps_N)), self.steps_N]
        new_N2 = sample_points(self.grey_HW, here_N2, self.options.grid)
        count, length = len(new_N2), self.options.length
        points = np.zeros((count, length + 1, 2), np.float32)
        points[:, 0] = new_N2
        self.points_NL2 = np.concatenate([self.points_NL2, points])
        self.own_NL2 = np.concatenate([self.own_NL2, np.zeros((count, length, 2), np.float32)])
        self.steps_N = np.concatenate([self.steps_N, np.zeros(count, np.int64)])
        self.sums = {
            kind: np.concatenate([sums, np.zeros((count, *sums.shape[1:]), np.float32)])
            for kind, sums in self.sums.items()
        }


def _grey(frame_HWC: Picture) -> Picture:
    cv2 = opencv()
    grey_HW: Picture = cv2.cvtColor(np.ascontiguousarray(frame_HWC), cv2.COLOR_RGB2GRAY)
    return grey_HW


def _resize_field(field_HW2: Floats, sides: tuple[int, int]) -> Floats:
    """Flow at another size, its values scaled with it."""
    height, width = field_HW2.shape[:2]
    if (height, width) == sides:
        return field_HW2
    cv2 = opencv()
    resized: Floats = cv2.resize(field_HW2, sides[::-1], interpolation=cv2.INTER_AREA)
    return resized * np.array([sides[1] / width, sides[0] / height], np.float32)


def _filtered(field_HW2: Floats) -> Floats:
    cv2 = opencv()
    parts = [cv2.medianBlur(np.ascontiguousarray(field_HW2[..., axis]), MEDIAN) for axis in (0, 1)]
    return np.stack(parts, -1)
