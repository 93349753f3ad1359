"""Tracks as values: how they are found, what they are, which are kept.

Points are set where the picture has corners (Shi and Tomasi's measure) and no other point is near; a track
that stands still, strays or jumps is none. The numbers are those of the authors' program of improved dense
trajectories; see `vadis.video.trajectories`.

Legend: N tracks, L steps of a track (L + 1 points), H W pixels, R C rows and columns of a grid, D numbers of
a descriptor; 2 is x (right), y (down) in pixels of the full-size picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.video.camera_motion import Features
from vadis.video.descriptors import TIME_CELLS, descriptor_sizes
from vadis.video.flow import Estimator, opencv

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

SCALE_STEP = 2**-0.5
QUALITY = 0.001
"""Share of the best corner's smaller eigenvalue that a point needs."""
LEAST_DEVIATION, MOST_DEVIATION = 3**0.5, 50.0
"""Standard deviation of a track's x and y in pixels: below the first in both it stands, above the second in
either it is random."""
LONGEST_STEP, LARGEST_SHARE = 20.0, 0.7
"""A step of more pixels than that which is also that share of the whole way is a jump."""
LEAST_OWN_STEP = 1.0
"""Without the camera, a track's longest step has more pixels than this."""
FARNEBACK = {
    "levels": 8,
    "pyramid_scale": SCALE_STEP,
    "window": 10,
    "iterations": 2,
    "poly_n": 7,
    "poly_sigma": 1.5,
}
"""The options of the authors' own Farneback flow."""


@dataclass(frozen=True)
class TrackOptions:
    """How tracks are found.

    length: steps of a track. grid: pixels from a point to the next. num_scales: sizes of the picture at most,
    each 1/sqrt 2 of the one before; the smallest has 32 pixels or more. flow: a method of `vadis.video.flow`,
    with flow_options (None: for farneback the authors'). camera: "remove" its motion, estimate flow "again"
    on the unwarped frame, or "keep" it. features: what frames are matched by. least_motion: a factor on what
    counts as standing still (1 is the authors', for pictures of some 240 pixels; small pictures want less).
    """

    length: int = 15
    grid: int = 5
    num_scales: int = 8
    flow: str = "farneback"
    flow_options: Mapping[str, Any] | None = None
    camera: str = "remove"
    features: Features = "sift"
    least_motion: float = 1.0

    def __post_init__(self) -> None:
        if self.length < TIME_CELLS or self.grid < 1 or self.num_scales < 1:
            raise ValueError(
                f"a track has {TIME_CELLS} steps or more, a grid 1 pixel, and there is 1 scale at least; "
                f"got length {self.length}, grid {self.grid}, num_scales {self.num_scales}"
            )
        if not self.least_motion >= 0:
            raise ValueError(f"least_motion is a factor of at least 0, got {self.least_motion}")
        if self.camera not in ("remove", "again", "keep"):
            raise ValueError(f"camera must be remove, again or keep, not {self.camera!r}")

    def estimator(self, device: str = "auto") -> Estimator:
        """The method of flow, ready."""
        options = self.flow_options
        if options is None:
            options = FARNEBACK if self.flow == "farneback" else {}
        return Estimator(self.flow, device=device, **options)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for provenance."""
        return asdict(self)


@dataclass(frozen=True)
class Trajectories:
    """Tracks of one video, in the order in which they end.

    points_NL2: L + 1 points each, float32 pixels of the picture of `size` (height, width). frames_N: the
    index of each track's first frame. seconds_N2: when its first and its last frame are shown. scales_N: 0
    for the full size, 1 for 1/sqrt 2 of it ... descriptors: float32 (N, D) of `trajectory`, `hog`, `hof`,
    `mbhx`, `mbhy`. num_found: tracks that there were; more than N where a limit kept a random part.
    num_frames: how many were read. notes: what was odd. cost: processor seconds of flow, camera, tracking
    and descriptors.
    """

    points_NL2: Floats
    frames_N: NDArray[np.int64]
    seconds_N2: NDArray[np.float64]
    scales_N: NDArray[np.int64]
    descriptors: Mapping[str, Floats]
    size: tuple[int, int]
    num_found: int
    num_frames: int = 0
    notes: tuple[str, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points_NL2)

    def taken(self, rows: NDArray[Any]) -> Trajectories:
        """The tracks of these rows (indices or a mask) of shape (N,)."""
        return Trajectories(
            self.points_NL2[rows],
            self.frames_N[rows],
            self.seconds_N2[rows],
            self.scales_N[rows],
            {kind: values[rows] for kind, values in self.descriptors.items()},
            self.size,
            self.num_found,
            self.num_frames,
            self.notes,
            self.cost,
        )


def sample_points(grey_HW: Picture, taken_N2: Floats, grid: int = 5) -> Floats:
    """Middles of the cells of a grid where the picture has a corner and no point is: shape (N, 2).

    A corner: the smaller eigenvalue of the gradients' covariance is above 0.001 of the picture's largest.
    taken_N2: the points that are there. grid: pixels.
    """
    rows, columns = grey_HW.shape[0] // grid, grey_HW.shape[1] // grid
    eigenvalues_HW = opencv().cornerMinEigenVal(grey_HW, 3, ksize=3)
    free_RC = np.ones((rows, columns), np.bool_)
    cell_N2 = np.floor(taken_N2).astype(np.int64) // grid
    cell_N2 = cell_N2[((cell_N2 >= 0) & (cell_N2 < [columns, rows])).all(1)]
    free_RC[cell_N2[:, 1], cell_N2[:, 0]] = False
    y_R, x_C = np.arange(rows) * grid + grid // 2, np.arange(columns) * grid + grid // 2
    free_RC &= eigenvalues_HW[np.ix_(y_R, x_C)] > QUALITY * eigenvalues_HW.max()
    row_N, column_N = np.nonzero(free_RC)
    return np.stack([x_C[column_N], y_R[row_N]], 1).astype(np.float32)


def moves_well(points_NL2: Floats, least_motion: float = 1.0) -> NDArray[np.bool_]:
    """Which tracks neither stand still nor jump about, of shape (N,); points in full-size pixels.

    least_motion: a factor on the deviation below which a track stands still.
    """
    deviation_N2 = points_NL2.std(1)
    steps_NL = np.linalg.norm(np.diff(points_NL2, axis=1), axis=2)
    longest_N = steps_NL.max(1)
    stands_N = (deviation_N2 < least_motion * LEAST_DEVIATION).all(1)
    strays_N = (deviation_N2 > MOST_DEVIATION).any(1)
    jumps_N = (longest_N > LONGEST_STEP) & (longest_N > LARGEST_SHARE * steps_NL.sum(1))
    return np.asarray(~(stands_N | strays_N | jumps_N))


def describe_shape(steps_NL2: Floats) -> Floats:
    """A track's shape, (N, 2 x L): its steps, without the camera, in shares of the whole way."""
    way_N = np.linalg.norm(steps_NL2, axis=2).sum(1)
    shares = steps_NL2 / np.maximum(way_N, 1e-6)[:, None, None]
    return shares.reshape(len(steps_NL2), -1).astype(np.float32)


def empty_tracks(options: TrackOptions, size: tuple[int, int]) -> Trajectories:
    """No track at all, with arrays of the right shapes. size: (height, width)."""
    return Trajectories(
        np.zeros((0, options.length + 1, 2), np.float32),
        np.zeros(0, np.int64),
        np.zeros((0, 2)),
        np.zeros(0, np.int64),
        {kind: np.zeros((0, count), np.float32) for kind, count in descriptor_sizes(options.length).items()},
        size,
        0,
    )


def join_tracks(parts: Sequence[Trajectories]) -> Trajectories:
    """Tracks of successive parts of a video as one."""
    last = parts[-1]
    return Trajectories(
        np.concatenate([part.points_NL2 for part in parts]),
        np.concatenate([part.frames_N for part in parts]),
        np.concatenate([part.seconds_N2 for part in parts]),
        np.concatenate([part.scales_N for part in parts]),
        {kind: np.concatenate([part.descriptors[kind] for part in parts]) for kind in last.descriptors},
        last.size,
        last.num_found,
        last.num_frames,
        last.notes,
        last.cost,
    )


def thin_tracks(
    parts: list[Trajectories], keys: list[NDArray[np.float64]], count: int
) -> tuple[list[Trajectories], list[NDArray[np.float64]]]:
    """Those with the `count` smallest random keys, in their order. keys: of shape (N,) for each part."""
    whole, key_N = join_tracks(parts), np.concatenate(keys)
    rows = np.sort(np.argpartition(key_N, count)[:count])
    return [whole.taken(rows)], [key_N[rows]]


def explain_none(num_frames: int, options: TrackOptions) -> str:
    """Why a video of so many frames has no track."""
    if num_frames <= options.length:
        return (
            f"{num_frames} frames, but a track of {options.length} steps needs {options.length + 1}: "
            f"a shorter length finds some (at least {TIME_CELLS})"
        )
    return "no track: nothing moves, or only the camera does"
