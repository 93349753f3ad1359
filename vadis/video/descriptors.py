"""What a small piece of video looks like and how it moves, as histograms of directions: HOG, HOF, MBH.

Each pixel votes for the direction of its vector with the vector's length: the gradient of grey for HOG
(appearance), flow for HOF (motion, with a bin of its own for standing still), the gradients of flow's two
components for MBHx and MBHy (where motion changes; a motion that all pixels share gives none). Votes are
counted in 2 x 2 cells of a square of 32 pixels about a point, through integral histograms, so that a point
costs the same wherever it is; three such counts over time make a descriptor.

Source: Wang, Klaser, Schmid & Liu, IJCV 2013, section 3.3; Wang & Schmid, ICCV 2013 for the normalisation
(divide by the sum, take the square root), which as in their program is done for each frame, then averaged
over the frames of a cell. Their program adds 0.05 to each bin before that, so that nothing at all becomes a
flat histogram; here it is added to the sum only, so that nothing stays 0 and little stays little.

Legend: N points, H W pixels, B bins, D numbers of a descriptor; 2 of a vector is x (right), y (down).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vadis.video.flow import opencv

Floats = NDArray[np.float32]
Integral = NDArray[np.float64]

PATCH = 32
CELLS = 2
TIME_CELLS = 3
BINS = 8
STILL = 0.4
"""Flow of fewer pixels than this a frame is standing still."""
EPSILON = 0.05

HISTOGRAMS = {"hog": BINS, "hof": BINS + 1, "mbhx": BINS, "mbhy": BINS}
"""Bins of a cell of each kind; the last of `hof` counts what stands still."""


def descriptor_sizes(length: int = 15) -> dict[str, int]:
    """Numbers of each descriptor of a track of so many steps: 30, 96, 108, 96 and 96 of 15."""
    cells = CELLS * CELLS * TIME_CELLS
    return {"trajectory": 2 * length} | {kind: cells * bins for kind, bins in HISTOGRAMS.items()}


def integrate_directions(vectors_HW2: NDArray[np.floating], *, still: float | None = None) -> Integral:
    """Integral histograms of directions, of shape (B, H + 1, W + 1): the votes above and left of each pixel.

    Bin b is the direction of b eighths of a turn from right to down; a vector votes with its length, shared
    by the two bins next to it. still: vectors up to that many pixels vote with 1 for a bin of their own.
    """
    cv2 = opencv()
    x_HW, y_HW = vectors_HW2[..., 0].astype(np.float32), vectors_HW2[..., 1].astype(np.float32)
    length_HW = np.hypot(x_HW, y_HW)
    place_HW = np.arctan2(y_HW, x_HW) * np.float32(BINS / (2 * np.pi))
    place_HW[place_HW < 0] += BINS
    planes = []
    stands_HW = None if still is None else length_HW <= still
    if stands_HW is not None:
        length_HW[stands_HW] = 0
    for b in range(BINS):
        away_HW = np.abs(place_HW - b)
        away_HW = np.minimum(away_HW, BINS - away_HW)  # bins lie on a circle
        planes.append(np.maximum(1 - away_HW, 0) * length_HW)
    if stands_HW is not None:
        planes.append(stands_HW.astype(np.float32))
    return np.stack([cv2.integral(plane_HW, sdepth=cv2.CV_64F) for plane_HW in planes])


def count_cells(integral: Integral, points_N2: Floats) -> Floats:
    """Votes in the four cells about each point: (N, 2, 2, B), rows, columns, bins.

    integral: of shape (B, H + 1, W + 1), at least 32 pixels each way. The square is moved into the picture
    where it would stand out of it.
    """
    height, width = integral.shape[1] - 1, integral.shape[2] - 1
    if min(height, width) < PATCH:
        raise ValueError(f"pictures need {PATCH} x {PATCH} pixels at least, got {height} x {width}")
    corner_N2 = np.rint(points_N2).astype(np.int64) - PATCH // 2
    corner_N2 = np.clip(corner_N2, 0, [width - PATCH, height - PATCH])
    edges_3 = np.arange(CELLS + 1) * (PATCH // CELLS)
    columns_N3, rows_N3 = corner_N2[:, :1] + edges_3, corner_N2[:, 1:] + edges_3
    at = integral[:, rows_N3[:, :, None], columns_N3[:, None, :]]
    cells = at[..., 1:, 1:] - at[..., 1:, :-1] - at[..., :-1, 1:] + at[..., :-1, :-1]
    return np.ascontiguousarray(np.moveaxis(np.maximum(cells, 0), 0, -1), np.float32)


def normalise_cells(cells: Floats) -> Floats:
    """(N, 2, 2, B) to (N, 4 x B): divided by their sum, then the square root (RootSIFT)."""
    flat_ND = cells.reshape(len(cells), -1)
    total_N1 = flat_ND.sum(1, keepdims=True) + EPSILON * flat_ND.shape[1]
    return np.sqrt(flat_ND / total_N1)


def grey_gradient(grey_HW: NDArray[np.uint8]) -> Floats:
    """The gradient of a picture, (H, W, 2): differences of both neighbours, 0 across the edge."""
    return _gradient(grey_HW.astype(np.float32))


def histograms_of(grey_HW: NDArray[np.uint8], field_HW2: Floats) -> dict[str, Integral]:
    """The integral histograms of a frame and its flow: `hog`, `hof`, `mbhx`, `mbhy`, (B, H + 1, W + 1) each.

    field_HW2: pixels per frame, with the camera's motion already removed where that is wanted.
    """
    return {
        "hog": integrate_directions(grey_gradient(grey_HW)),
        "hof": integrate_directions(field_HW2, still=STILL),
        "mbhx": integrate_directions(_gradient(field_HW2[..., 0])),
        "mbhy": integrate_directions(_gradient(field_HW2[..., 1])),
    }


def describe_points(histograms: dict[str, Integral], points_N2: Floats) -> dict[str, Floats]:
    """What `histograms_of` a frame are about its points: normalised cells of each kind, (N, 4 x B)."""
    return {kind: normalise_cells(count_cells(integral, points_N2)) for kind, integral in histograms.items()}


def _gradient(values_HW: Floats) -> Floats:
    gradient_HW2 = np.zeros((*values_HW.shape, 2), np.float32)
    gradient_HW2[:, 1:-1, 0] = values_HW[:, 2:] - values_HW[:, :-2]
    gradient_HW2[1:-1, :, 1] = values_HW[2:] - values_HW[:-2]
    return gradient_HW2
