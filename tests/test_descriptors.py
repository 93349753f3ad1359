"""Histograms of directions against pictures and fields whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vadis.video.descriptors import (
    count_cells,
    describe_points,
    descriptor_sizes,
    grey_gradient,
    histograms_of,
    integrate_directions,
    normalise_cells,
)

MIDDLE = np.array([[24.0, 24.0]], np.float32)
SIDE = 48


def uniform(x: float, y: float) -> NDArray[np.float32]:
    """A field of one vector."""
    return np.full((SIDE, SIDE, 2), (x, y), np.float32)


def votes(field: NDArray[np.float32], still: float | None = None) -> NDArray[np.float32]:
    """Votes (2, 2, B) of the middle square."""
    return count_cells(integrate_directions(field, still=still), MIDDLE)[0]


def test_the_426_numbers() -> None:
    sizes = descriptor_sizes()
    assert list(sizes.values()) == [30, 96, 108, 96, 96]
    assert list(sizes) == ["trajectory", "hog", "hof", "mbhx", "mbhy"]
    assert sum(sizes.values()) == 426
    parts = describe_points(histograms_of(np.zeros((48, 48), np.uint8), uniform(1, 1)), MIDDLE)
    assert {kind: 3 * values.shape[1] for kind, values in parts.items()} == {
        kind: size for kind, size in sizes.items() if kind != "trajectory"
    }


@pytest.mark.parametrize(
    ("vector", "wanted"),
    [
        ((2, 0), {0: 2}),
        ((2, 2), {1: 8**0.5}),
        ((0, 3), {2: 3}),
        ((-1, 0), {4: 1}),
        ((0, -3), {6: 3}),
        ((1, -1), {7: 2**0.5}),
        ((np.cos(np.pi / 8), np.sin(np.pi / 8)), {0: 0.5, 1: 0.5}),
        ((np.cos(-np.pi / 16), np.sin(-np.pi / 16)), {7: 0.25, 0: 0.75}),
    ],
)
def test_a_direction_votes_for_its_bin(vector: tuple[float, float], wanted: dict[int, float]) -> None:
    cells = votes(uniform(*vector))
    expected = np.zeros(8)
    for place, value in wanted.items():
        expected[place] = 256 * value  # a cell has 16 x 16 pixels
    assert cells.shape == (2, 2, 8)
    assert np.allclose(cells, expected, atol=1e-3)


def test_what_stands_still_has_a_bin_of_its_own() -> None:
    assert votes(uniform(0.2, -0.3), 0.4)[0, 0].tolist() == [0] * 8 + [256]
    assert np.allclose(votes(uniform(0, 0.5), 0.4)[1, 1], [0, 0, 128, 0, 0, 0, 0, 0, 0])


def test_hog_of_tiny_pictures() -> None:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    ramp = grey_gradient((4 * columns).astype(np.uint8))
    assert (ramp[5:-5, 5:-5] == [8, 0]).all()  # the difference of both neighbours
    assert np.allclose(votes(ramp), np.array([1, 0, 0, 0, 0, 0, 0, 0]) * 256 * 8)
    steps = grey_gradient(np.where(rows < 24, 90, 30).astype(np.uint8))  # dark below: the gradient goes up
    upper, lower = votes(steps)[0, 0], votes(steps)[1, 0]
    assert np.allclose(upper, np.array([0, 0, 0, 0, 0, 0, 1, 0]) * 16 * 60)
    assert np.allclose(lower, np.array([0, 0, 0, 0, 0, 0, 1, 0]) * 16 * 60)
    assert not grey_gradient(np.full((40, 40), 7, np.uint8)).any()


def test_hof_peaks_in_the_right_bin() -> None:
    for eighth in range(8):
        angle = eighth * np.pi / 4
        field = uniform(3 * np.cos(angle), 3 * np.sin(angle))
        hof = describe_points(histograms_of(np.zeros((48, 48), np.uint8), field), MIDDLE)["hof"][0]
        assert (hof.reshape(4, 9).argmax(1) == eighth).all()
        assert np.allclose(hof.reshape(4, 9).max(1), 0.5, atol=0.01)  # a quarter of the votes each, the root


def test_mbh_is_silent_under_translation() -> None:
    moves = describe_points(histograms_of(np.zeros((48, 48), np.uint8), uniform(5, -2)), MIDDLE)
    assert not moves["mbhx"].any()
    assert not moves["mbhy"].any()
    assert moves["hof"].any()


def test_mbh_sees_where_motion_changes() -> None:
    field = uniform(0, 0)
    field[:, 24:, 0] = 4  # the right half goes right
    apart = describe_points(histograms_of(np.zeros((48, 48), np.uint8), field), MIDDLE)
    assert (apart["mbhx"].reshape(4, 8).argmax(1) == 0).all()
    assert not apart["mbhy"].any()
    rows = np.mgrid[0:SIDE, 0:SIDE][0]
    field = np.stack([np.zeros((SIDE, SIDE)), -0.5 * rows], -1).astype(np.float32)  # squeezed from below
    squeezed = describe_points(histograms_of(np.zeros((48, 48), np.uint8), field), MIDDLE)
    assert (squeezed["mbhy"].reshape(4, 8).argmax(1) == 6).all()
    assert not squeezed["mbhx"].any()


def test_counts_are_those_of_going_through_each_pixel() -> None:
    rng = np.random.default_rng(0)
    field = rng.normal(0, 2, (40, 52, 2)).astype(np.float32)
    points = np.array([[26.2, 19.7], [3.0, 2.0], [51.0, 39.0]], np.float32)
    corners = [(10, 4), (0, 0), (20, 8)]  # left and top; squares that stand out are moved in
    cells = count_cells(integrate_directions(field, still=0.4), points)
    for (left, top), found in zip(corners, cells, strict=True):
        wanted = np.zeros((2, 2, 9))
        for y in range(32):
            for x in range(32):
                u, v = field[top + y, left + x].astype(float)
                length = np.hypot(u, v)
                place = np.arctan2(v, u) / (np.pi / 4) % 8
                if length <= 0.4:
                    wanted[y // 16, x // 16, 8] += 1
                    continue
                lower = int(place) % 8
                wanted[y // 16, x // 16, lower] += length * (1 - (place - int(place)))
                wanted[y // 16, x // 16, (lower + 1) % 8] += length * (place - int(place))
        assert np.allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_normalisation_is_a_root_of_shares() -> None:
    rng = np.random.default_rng(1)
    cells = rng.uniform(0, 500, (3, 2, 2, 8)).astype(np.float32)
    cells[1] = 0
    normal = normalise_cells(cells)
    assert normal.shape == (3, 32)
    assert np.allclose((normal**2).sum(1), [1, 0, 1], atol=1e-3)
    assert np.allclose(normal[0] ** 2 / normal[0][0] ** 2, cells[0].ravel() / cells[0].ravel()[0], rtol=1e-4)
    faint = normalise_cells(cells * 1e-5)
    assert faint.max() < 0.1  # next to no motion is not blown up to a whole histogram


def test_too_small_a_picture() -> None:
    with pytest.raises(ValueError, match="32 x 32"):
        count_cells(integrate_directions(np.zeros((40, 31, 2), np.float32)), MIDDLE)
