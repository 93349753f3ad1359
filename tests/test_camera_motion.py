"""The camera's motion found in pictures whose camera is known, and taken away again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vadis.video.camera_motion import (
    camera_flow,
    find_camera,
    find_homography,
    match_frames,
    match_successive,
    remove_camera,
    unwarp_frame,
)

HEIGHT, WIDTH = 120, 160


def turn(degrees: float, zoom: float = 1.0, right: float = 0.0, down: float = 0.0) -> NDArray[np.float64]:
    """A camera's homography about the middle of the picture."""
    angle = np.deg2rad(degrees)
    rotation = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = rotation
    matrix[:2, 2] = middle - rotation @ middle + [right, down]
    return matrix


TILT = np.array([[0, 0, 0], [0, 0, 0], [1e-4, -5e-5, 0]])
MOTIONS = {
    "pan": turn(0, right=4.0, down=-2.5),
    "zoom": turn(0, zoom=1.06),
    "roll": turn(3.0),
    "all": turn(-2.0, zoom=0.96, right=-3.0, down=2.0) + TILT,
}


def texture(seed: int, size: int = 260) -> NDArray[np.uint8]:
    """A picture full of corners of several sizes."""
    import cv2

    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 1, (n, n)), (size, size), interpolation=cv2.INTER_CUBIC)
        for n in (10, 30, 65, 130)
    ]
    picture = np.stack([sum(layers), sum(layers[1:]), sum(layers[2:])], -1)
    return np.uint8(255 * (picture - picture.min()) / (picture.max() - picture.min()))


def filmed(homography: NDArray[np.float64], seed: int = 0) -> NDArray[np.uint8]:
    """Two frames of a still wall, between which the camera moves by the homography."""
    import cv2

    shift = np.array([[1.0, 0, -50], [0, 1, -70], [0, 0, 1]])
    wall = texture(seed)
    return np.stack(
        [cv2.warpPerspective(wall, each @ shift, (WIDTH, HEIGHT)) for each in (np.eye(3), homography)]
    )


def with_person(frames: NDArray[np.uint8], right: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A textured person of two thirds of the picture who moves; and the box of the first frame."""
    person = texture(9)[:116, :110]
    frames = frames.copy()
    frames[0, 2:118, 30:140] = person
    frames[1, 2:118, 30 + right : 140 + right] = person
    return frames, np.array([[30 / WIDTH, 2 / HEIGHT, 140 / WIDTH, 118 / HEIGHT]])


def error(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Largest distance, in pixels, between where two homographies take a pixel of the picture."""
    difference = camera_flow(found, HEIGHT, WIDTH) - camera_flow(true, HEIGHT, WIDTH)
    return float(np.abs(difference).max())


@pytest.mark.parametrize("features", ["sift", "orb"])
@pytest.mark.parametrize("name", MOTIONS)
def test_known_cameras(name: str, features: str) -> None:
    frames = filmed(MOTIONS[name])
    match = match_frames(*frames, features=features)  # type: ignore[arg-type]
    assert not match.reason
    assert match.num_inliers >= 50
    assert error(match.homography_33, MOTIONS[name]) < (0.35 if features == "sift" else 1.5)
    assert error(np.eye(3), MOTIONS[name]) > 2


def test_a_person_who_would_mislead_is_masked() -> None:
    frames, box = with_person(filmed(MOTIONS["pan"]), -12)
    fields = camera_flow(MOTIONS["pan"], HEIGHT, WIDTH)
    fields[2:118, 30:140] = [-12, 0]
    assert error(find_homography(*frames, fields, box), MOTIONS["pan"]) < 0.35
    assert error(find_homography(*frames, fields), MOTIONS["pan"]) > 5  # the person fills most of the picture


def test_a_small_person_is_outvoted() -> None:
    frames = filmed(MOTIONS["roll"])
    person = texture(9)[:50, :30]
    frames[0, 40:90, 60:90], frames[1, 40:90, 66:96] = person, person
    assert error(find_homography(*frames), MOTIONS["roll"]) < 0.5


def test_flow_points_alone_carry_a_picture_without_key_points() -> None:
    import cv2

    frames = np.stack([cv2.resize(frame, (64, 48)) for frame in filmed(MOTIONS["all"])])
    smaller = np.diag([0.4, 0.4, 1.0])
    true = smaller @ MOTIONS["all"] @ np.linalg.inv(smaller)
    fields = camera_flow(true, 48, 64)
    match = match_frames(*frames, fields)
    assert match.num_matches > match_frames(*frames).num_matches + 50
    difference = camera_flow(match.homography_33, 48, 64) - fields
    assert np.abs(difference).max() < 0.3


def test_few_matches_are_no_camera_and_say_so() -> None:
    blank = np.full((2, HEIGHT, WIDTH, 3), 90, np.uint8)
    match = match_frames(*blank)
    assert np.array_equal(match.homography_33, np.eye(3))
    assert match.num_matches == 0
    assert "fewer than 50" in match.reason
    unlike = np.stack([texture(1)[:HEIGHT, :WIDTH], texture(2)[:HEIGHT, :WIDTH]])
    noise = np.random.default_rng(0).uniform(-40, 40, (HEIGHT, WIDTH, 2)).astype(np.float32)
    match = match_frames(*unlike, noise)
    assert np.array_equal(match.homography_33, np.eye(3))
    assert "agree, fewer than 25" in match.reason


def test_a_camera_through_several_frames() -> None:
    two = filmed(MOTIONS["pan"])
    frames = np.stack([two[0], two[1], two[1], np.zeros_like(two[0])])
    camera = find_camera(frames)
    assert len(camera) == 3
    assert camera.found_T.tolist() == [True, True, False]
    assert camera.notes == ("frames 2 and 3: 0 matches, fewer than 50: no camera motion is assumed",)
    assert error(camera.homographies_T33[0], MOTIONS["pan"]) < 0.35
    assert error(camera.homographies_T33[1], np.eye(3)) < 0.05
    assert (camera.inliers_T <= camera.matches_T).all()
    assert len(find_camera(frames[:1])) == 0


def test_the_camera_alone_leaves_no_flow() -> None:
    homographies = np.stack(list(MOTIONS.values()))
    fields = np.stack([camera_flow(each, HEIGHT, WIDTH) for each in homographies])
    assert np.abs(fields[0] - [4.0, -2.5]).max() < 1e-5
    assert np.abs(remove_camera(fields, homographies)).max() < 1e-4
    assert np.abs(remove_camera(fields[1], homographies[1])).max() < 1e-4


def test_what_moves_by_itself_is_left() -> None:
    """Something that goes 5 to the right of a still wall, filmed with a zoom: 5 to the right is left."""
    homography = MOTIONS["zoom"]
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    there = np.stack([columns + 5, rows, np.ones_like(rows)], -1) @ homography.T
    fields = there[..., :2] / there[..., 2:] - np.stack([columns, rows], -1)
    left = remove_camera(fields.astype(np.float32), homography)
    assert np.abs(left - [5, 0]).max() < 1e-4
    subtracted = fields - camera_flow(homography, HEIGHT, WIDTH)
    assert np.abs(subtracted - [5, 0]).max() > 0.2  # a plain difference would be in the second frame's pixels


def test_a_frame_as_the_first_camera_saw_it() -> None:
    frames = filmed(MOTIONS["all"])
    unwarped = unwarp_frame(frames[1], MOTIONS["all"])
    inside = np.s_[20:-20, 20:-20]
    assert np.abs(unwarped[inside].astype(int) - frames[0][inside]).mean() < 4
    assert np.abs(frames[1][inside].astype(int) - frames[0][inside]).mean() > 15
    assert unwarped.min() > 0  # no black edge


def test_wrong_input() -> None:
    frames = filmed(np.eye(3))
    with pytest.raises(ValueError, match="differ in size"):
        find_homography(frames[0], frames[1][:50])
    with pytest.raises(ValueError, match="uint8"):
        find_homography(frames[0] / 255, frames[1] / 255)
    with pytest.raises(ValueError, match="boxes must be"):
        find_homography(*frames, None, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="flow must be"):
        find_homography(*frames, np.zeros((4, 4, 2), np.float32))
    with pytest.raises(ValueError, match="boxes are of 1 frames"):
        find_camera(frames, boxes=[[]])
    with pytest.raises(ValueError, match="sift or orb"):
        list(match_successive(frames, features="surf"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"needs \(..., 3, 3\)"):
        remove_camera(np.zeros((2, 5, 5, 2), np.float32), np.eye(3))
