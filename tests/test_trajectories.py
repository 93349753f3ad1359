"""Tracks of made films: where they are, where they are not, what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vadis.video.descriptors import descriptor_sizes
from vadis.video.tracks import TrackOptions, Trajectories, moves_well, sample_points
from vadis.video.trajectories import collect, find_trajectories, stream_trajectories
from vadis.video.write import VideoWriter

SIDE, FRAMES = 96, 18
TIMES = np.cumsum(np.r_[0.5, np.where(np.arange(FRAMES - 1) % 3, 0.04, 0.1)])  # an uneven clock


def texture(seed: int, size: int) -> NDArray[np.uint8]:
    """A picture full of corners."""
    import cv2

    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 1, (n, n)), (size, size), interpolation=cv2.INTER_CUBIC)
        for n in (size // 12, size // 5, size // 2)
    ]
    grey = sum(layers)
    return np.repeat(np.uint8(255 * (grey - grey.min()) / (grey.max() - grey.min()))[..., None], 3, 2)


def film(
    thing: float = 0.0, camera: float = 0.0, zoom: float = 1.0, frames: int = FRAMES
) -> NDArray[np.uint8]:
    """A wall, and before it a square of 40 pixels that goes right by `thing` pixels a frame (0: no square).

    The camera lets all go right by `camera` pixels, and grow by `zoom`, each frame.
    """
    import cv2

    wall, square = texture(0, 300), texture(1, 40)
    pictures = []
    for index in range(frames):
        scene = wall.copy()
        left = round(100 + thing * index)
        scene[130:170, left : left + 40] = square if thing else scene[130:170, left : left + 40]
        growth = zoom**index
        matrix = np.array([[growth, 0, 48 - 150 * growth + camera * index], [0, growth, 48 - 150 * growth]])
        pictures.append(cv2.warpAffine(scene, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA))
    return np.stack(pictures)


def follow(frames: NDArray[np.uint8], chunk: int = 50, boxes: object = (), **options: object) -> Trajectories:
    """All tracks of frames that are given in chunks."""
    times = TIMES[: len(frames)]
    parts = [(frames[i : i + chunk], times[i : i + chunk]) for i in range(0, len(frames), chunk)]
    chosen = TrackOptions(**options)  # type: ignore[arg-type]
    return collect(stream_trajectories(parts, chosen, boxes=boxes), chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def moving() -> Trajectories:
    """A square that goes 2.5 pixels to the right each frame before a still wall."""
    return follow(film(thing=2.5))


def within(found: Trajectories) -> NDArray[np.bool_]:
    """Which tracks begin well within the square, where the flow knows nothing of the wall."""
    left = -2 + 2.5 * found.frames_N
    x, y = found.points_NL2[:, 0, 0] - left, found.points_NL2[:, 0, 1] - 28
    return np.asarray((x > 8) & (x < 32) & (y > 8) & (y < 32))


def test_tracks_follow_what_moves(moving: Trajectories) -> None:
    assert len(moving) > 100
    assert moving.num_found == len(moving)
    assert moving.size == (SIDE, SIDE)
    assert moving.num_frames == FRAMES
    assert set(moving.scales_N.tolist()) >= {0, 1}
    way = (moving.points_NL2[:, -1] - moving.points_NL2[:, 0])[within(moving)]
    assert len(way) > 30
    assert np.median(way[:, 0]) == pytest.approx(15 * 2.5, abs=0.6)
    assert np.abs(way[:, 1]).max() < 1
    first = moving.points_NL2[moving.scales_N == 0][:, 0]
    near = (np.abs(first[:, 1] - 48) < 20 + 12) & (first[:, 0] < 12.5 + 40 + 37.5)
    assert near.mean() > 0.97  # flow is smooth, and carries what is next to the square along


def test_what_tracks_say(moving: Trajectories) -> None:
    sizes = {kind: values.shape[1] for kind, values in moving.descriptors.items()}
    assert sizes == descriptor_sizes(15)
    assert all(values.dtype == np.float32 for values in moving.descriptors.values())
    shape = moving.descriptors["trajectory"].reshape(-1, 15, 2)
    assert np.allclose(shape[within(moving)].mean((0, 1)), [1 / 15, 0], atol=0.002)
    assert np.allclose(np.hypot(shape[..., 0], shape[..., 1]).sum(1), 1, atol=1e-4)
    hof = moving.descriptors["hof"].reshape(-1, 12, 9)
    assert (hof.mean(0)[:, :8].argmax(1) == 0).all()  # to the right, in each cell


def test_times_are_those_of_the_frames(moving: Trajectories) -> None:
    assert set(moving.frames_N.tolist()) <= set(range(FRAMES - 15))
    assert np.allclose(moving.seconds_N2[:, 0], TIMES[moving.frames_N])
    assert np.allclose(moving.seconds_N2[:, 1], TIMES[moving.frames_N + 15])


@pytest.mark.parametrize("way", ["remove", "again"])
def test_a_camera_leaves_no_trajectory(way: str) -> None:
    frames = film(camera=1.5, zoom=1.01)
    assert len(follow(frames, camera="keep")) > 200
    assert len(follow(frames, camera=way)) == 0


def test_what_moves_before_a_moving_camera() -> None:
    """The square stands in the picture, the wall goes by: still it is the square that has tracks."""
    found = follow(film(thing=2.5, camera=-2.0), least_motion=0.1)
    x, y = found.points_NL2[:, 0, 0] + 2 - 0.5 * found.frames_N, found.points_NL2[:, 0, 1] - 28
    core = (x > 8) & (x < 32) & (y > 8) & (y < 32)
    assert core.sum() > 20
    hof = found.descriptors["hof"][core].reshape(-1, 12, 9).mean(0)
    assert (hof.argmax(1) == 0).all()  # its own motion is to the right
    way = found.points_NL2[core, -1, 0] - found.points_NL2[core, 0, 0]
    assert np.median(way) == pytest.approx(15 * 0.5, abs=0.6)  # in the picture it hardly moves


def test_people_are_masked() -> None:
    """A person fills most of the picture: only the box tells the person from the wall."""
    frames = np.stack([texture(0, 120)[:SIDE, :SIDE].copy() for _ in range(17)])
    person = texture(3, 120)
    for index, frame in enumerate(frames):
        frame[:, 26:] = person[:SIDE, 45 - 2 * index : 45 - 2 * index + 70] if index < 22 else 0
    boxes = [[[26 / SIDE, 0, 1, 1]]] * len(frames)
    masked = follow(frames, chunk=6, boxes=boxes)
    assert len(masked) > 20
    assert (masked.points_NL2[:, 0, 0] > 18).mean() > 0.95
    misled = follow(frames)
    assert (misled.points_NL2[:, 0, 0] > 32).mean() < 0.3


def test_pieces_give_the_same_tracks(moving: Trajectories) -> None:
    pieces = follow(film(thing=2.5), chunk=3)
    assert np.array_equal(pieces.points_NL2, moving.points_NL2)
    assert np.array_equal(pieces.frames_N, moving.frames_N)
    assert np.array_equal(pieces.seconds_N2, moving.seconds_N2)
    for kind, values in moving.descriptors.items():
        assert np.array_equal(pieces.descriptors[kind], values), kind


def test_a_short_clip_says_so_and_a_shorter_track_fits() -> None:
    frames = film(thing=2.5, frames=9)
    none = follow(frames)
    assert len(none) == 0
    assert none.notes == (
        "9 frames, but a track of 15 steps needs 16: a shorter length finds some (at least 3)",
    )
    some = follow(frames, length=7)
    assert len(some) > 50
    assert some.descriptors["trajectory"].shape[1] == 14
    assert some.descriptors["hof"].shape[1] == 108
    squares = (some.descriptors["hof"][within(some)].reshape(-1, 12, 9) ** 2).sum((1, 2))
    assert np.allclose(squares, 3, atol=0.15)  # each cell of time has its mean, whatever its number of steps


def test_a_still_film_has_none() -> None:
    frames = np.repeat(texture(0, SIDE)[None], 17, 0)
    assert follow(frames).notes[-1] == "no track: nothing moves, or only the camera does"
    assert len(follow(np.full((17, 64, 64, 3), 128, np.uint8))) == 0


def test_a_part_of_many(moving: Trajectories) -> None:
    parts = [moving.taken(np.arange(len(moving))[i::4]) for i in range(4)]
    limited = collect(parts, max_tracks=60)
    assert len(limited) == 60
    assert limited.num_found == len(moving)
    assert np.array_equal(collect(parts, max_tracks=60).points_NL2, limited.points_NL2)
    assert len(collect(parts, max_tracks=10**6)) == len(moving)
    assert len(np.unique(limited.points_NL2.reshape(60, -1), axis=0)) == 60


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "square.mp4"
    with VideoWriter(path, 25.0, crf=8) as writer:
        for frame in film(thing=2.5):
            writer.write(frame)
    found = find_trajectories(path)
    assert len(found) > 100
    assert np.allclose(found.seconds_N2[:, 0], found.frames_N / 25)
    assert np.allclose(found.seconds_N2[:, 1] - found.seconds_N2[:, 0], 15 / 25)
    assert set(found.cost) == {"flow", "camera", "tracking", "descriptors"}
    assert len(find_trajectories(path, max_tracks=20)) == 20
    small = find_trajectories(path, TrackOptions(num_scales=1), short_side=64)
    assert small.size == (64, 64)
    assert set(small.scales_N.tolist()) == {0}


def test_which_tracks_count() -> None:
    line = np.arange(16.0)[:, None] * [1, 0]
    still = line * 0.2
    jump = np.where(np.arange(16)[:, None] < 8, 0.0, 30.0) * [1, 0]
    stray = line * 14
    shake = np.stack([4.0 * (np.arange(16) % 2), np.zeros(16)], 1)
    tracks = np.stack([line, still, jump, stray, shake]).astype(np.float32)
    assert moves_well(tracks).tolist() == [True, False, False, False, True]
    assert moves_well(tracks, 0.5).tolist() == [True, True, False, False, True]


def test_points_lie_where_there_are_corners_and_no_point() -> None:
    grey = np.full((60, 62), 100, np.uint8)
    grey[20:40, 20:40] = texture(0, 20)[..., 0]
    points = sample_points(grey, np.zeros((0, 2), np.float32))
    assert len(points) >= 9
    assert ((points > 15) & (points < 45)).all()
    assert (points % 5 == 2).all()
    taken = points[:3] + np.float32([1.9, -1.9])
    assert {tuple(p) for p in sample_points(grey, taken)} == {tuple(p) for p in points[3:]}
    assert len(sample_points(np.full((60, 62), 100, np.uint8), points)) == 0


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="3 steps or more"):
        TrackOptions(length=2)
    with pytest.raises(ValueError, match="remove, again or keep"):
        TrackOptions(camera="off")
    with pytest.raises(ValueError, match="least_motion"):
        TrackOptions(least_motion=-1)
    with pytest.raises(ValueError, match="no method"):
        follow(film(), flow="optical")
    with pytest.raises(ValueError, match="32 x 32 pixels"):
        follow(np.zeros((3, 20, 90, 3), np.uint8))
