"""`shapes`: what one frame tells and what not, exact reversal, the motion that each class names."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from vadis.data import shapes
from vadis.data.shapes import APPEARANCE, CAMERA, CLASS_GROUPS, CLASS_NAMES, MOTION, REVERSED_PAIRS


def clip(class_name: str, index: int = 0, seed: int = 0, size: int = 64, num_frames: int = 16) -> np.ndarray:
    """One clip (T,H,W,3)."""
    return shapes.draw_clip(shapes.plan_clip(class_name, 1, index, seed), size, num_frames)


def test_the_groups_hold_each_class_once() -> None:
    labels = [label for group in CLASS_GROUPS.values() for label in group]
    assert labels == list(range(len(CLASS_NAMES))) == list(range(25))
    named = {group: tuple(CLASS_NAMES[label] for label in labels) for group, labels in CLASS_GROUPS.items()}
    assert named["appearance"] == APPEARANCE
    assert named["motion"] == MOTION
    assert named["reversed"] == tuple(name for pair in REVERSED_PAIRS for name in pair)
    assert named["camera"] == CAMERA


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_a_clip_follows_from_its_numbers(class_name: str) -> None:
    frames = clip(class_name)
    assert frames.shape == (16, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert (frames == clip(class_name)).all()
    assert not (frames == clip(class_name, index=1)).all()
    assert not (frames == clip(class_name, seed=1)).all()
    assert (frames[0] != frames[-1]).any()  # something moves
    assert frames.std(axis=(1, 2)).mean() > 5  # and something is there
    assert clip(class_name, size=32, num_frames=4).shape == (4, 32, 32, 3)


@pytest.mark.parametrize("pair", REVERSED_PAIRS, ids="-".join)
def test_the_second_of_a_pair_is_the_first_played_backwards(pair: tuple[str, str]) -> None:
    for index in range(3):
        first, second = clip(pair[0], index), clip(pair[1], index)
        assert (first[::-1] == second).all()
        assert (first != second).any()


def place_of(plan: dict[str, object], size: int = 64) -> np.ndarray:
    """Where the object is in each frame, xy as angles on the torus (T, 2), measured on its cover."""
    cover, _ = shapes._thing(plan, np.arange(16) / 16, size)
    wave = np.exp(2j * np.pi * (np.arange(size) + 0.5) / size)
    across = (cover.sum(axis=1) * wave).sum(axis=1)
    down = (cover.sum(axis=2) * wave).sum(axis=1)
    return np.stack([np.angle(across), np.angle(down)], axis=1) / (2 * np.pi)


def drift_of(plan: dict[str, object], size: int = 64) -> np.ndarray:
    """By how much the background moves in one frame, xy in shares of the side: the phase of its waves."""
    shift = np.arange(2)[:, None] / 16 * np.array(plan.get("camera", (0.0, 0.0)))
    pictures = shapes._background(plan, shift, size).sum(axis=-1)
    turned = np.fft.fft2(pictures[0]) * np.conj(np.fft.fft2(pictures[1]))
    return np.array([np.angle(turned[0, 1]), np.angle(turned[1, 0])]) / (2 * np.pi)


def steps_of(places_T2: np.ndarray) -> np.ndarray:
    """From frame to frame on the torus (T - 1, 2)."""
    return (np.diff(places_T2, axis=0) + 0.5) % 1 - 0.5


@pytest.mark.parametrize("index", range(3))
def test_each_motion_class_moves_as_it_says(index: int) -> None:
    plans = {name: shapes.plan_clip(name, 2, index) for name in MOTION}
    for name, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        steps = steps_of(place_of(plans[name]))
        assert (sign * steps[:, axis] > 0.01).all(), name
        assert np.abs(steps[:, 1 - axis]).max() < 0.005, name
    for name, sign in (("grow", 1), ("shrink", -1)):
        cover, _ = shapes._thing(plans[name], np.arange(16) / 16, 64)
        changes = np.sign(np.diff(cover.sum(axis=(1, 2)))) * sign
        assert (changes > 0).sum() >= 14, name  # but for one jump
    for name, low, high in (("swing_slow", 1.0, 1.3), ("swing_fast", 3.0, 3.9)):
        assert low <= plans[name]["cycles"] <= high
        path = steps_of(place_of(plans[name])) @ (
            np.array(plans[name]["swing"]) / np.linalg.norm(plans[name]["swing"])
        )
        turns = (np.diff(np.sign(path)) != 0).sum()
        assert (turns <= 3) == (name == "swing_slow"), name
    for name, sign in (("clockwise", 1), ("anticlockwise", -1)):
        # y is down, so an angle that grows turns clockwise as seen: follow the patch round the middle
        cover, patch = shapes._thing({**plans[name], "place": (0.5, 0.5)}, np.arange(16) / 16, 64)
        y, x = np.mgrid[0:64, 0:64] + 0.5 - 32
        angle = np.angle((patch * (x + 1j * y)).sum(axis=(1, 2)))
        assert (sign * ((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi) > 0.05).all(), name


@pytest.mark.parametrize("index", range(3))
def test_camera_classes_differ_by_object_against_background(index: int) -> None:
    for name, ratio in (("camera_pans", 1.0), ("camera_follows", 0.0), ("camera_passes", -1.0)):
        plan = shapes.plan_clip(name, 1, index)
        drift, steps = drift_of(plan), steps_of(place_of(plan)).mean(axis=0)
        assert np.linalg.norm(drift) > 0.02
        assert np.allclose(steps, ratio * drift, atol=0.004), name
    still = shapes.plan_clip("left", 1, index)
    assert np.allclose(drift_of(still), 0, atol=1e-9)


def test_shapes_have_one_area_and_their_own_outline() -> None:
    outlines = {
        name: shapes._outline({"kind": name}) for name in ("disc", "square", "triangle", "star", "cross")
    }
    for edge in outlines.values():
        assert (edge**2).mean() == pytest.approx(1)
        assert np.isfinite(edge).all()
    assert outlines["square"].max() / outlines["square"].min() == pytest.approx(2**0.5, abs=0.01)
    assert outlines["triangle"].max() / outlines["triangle"].min() == pytest.approx(2, abs=0.02)


@functools.cache
def short_clips(name: str, fold: int, num: int) -> np.ndarray:
    """`num` clips of a class, of four frames of 32 pixels (N,T,H,W,3)."""
    return np.stack([shapes.draw_clip(shapes.plan_clip(name, fold, i), 32, 4) for i in range(num)])


def one_frames(
    names: tuple[str, ...], fold: int, num: int, frame: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """One frame of each of `num` clips a class (N,H,W,3), and labels (N,); None: any frame, each in turn."""
    frames = np.arange(num) % 4 if frame is None else np.full(num, frame)
    pictures = [short_clips(name, fold, num)[np.arange(num), frames] for name in names]
    return np.concatenate(pictures), np.repeat(np.arange(len(names)), num)


def describe(pictures_NHWC: np.ndarray) -> np.ndarray:
    """Pixels, and what random filters find anywhere in the picture (N, D): for a linear classifier."""
    grey = torch.from_numpy(pictures_NHWC).float().mean(dim=-1)[:, None] / 255
    grey = (grey - grey.mean(dim=(2, 3), keepdim=True)) / grey.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    found = [torch.nn.functional.avg_pool2d(grey, 4).flatten(1)]
    random = torch.Generator().manual_seed(0)
    for side in (3, 7):
        filters = torch.randn(32, 1, side, side, generator=random)
        filters = filters - filters.mean(dim=(2, 3), keepdim=True)
        answers = torch.nn.functional.conv2d(grey, filters / filters.norm(dim=(2, 3), keepdim=True))
        found += [
            answers.abs().mean(dim=(2, 3)),
            answers.relu().amax(dim=(2, 3)),
            answers.square().mean((2, 3)),
        ]
    return torch.cat(found, dim=1).double().numpy()


def accuracy(names: tuple[str, ...], num: int, frame: int | None = None) -> float:
    """Of a ridge classifier on single frames, trained on fold 1 and tested on fold 2."""
    train, labels = one_frames(names, 1, num, frame)
    test, truth = one_frames(names, 2, num, frame)
    x, y = describe(train), describe(test)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, y = (x - mean) / spread, (y - mean) / spread
    target = np.eye(len(names))[labels] - 1 / len(names)
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ target)
    return float(((y @ weights).argmax(axis=1) == truth).mean())


def chance_within(names: tuple[str, ...], num: int) -> tuple[float, float]:
    """Chance, and four standard deviations of the accuracy of a guess."""
    chance = 1 / len(names)
    return chance, 4 * (chance * (1 - chance) / (num * len(names))) ** 0.5


@pytest.mark.slow
def test_one_frame_tells_appearance_and_no_motion() -> None:
    assert accuracy(APPEARANCE, 100) > 0.5
    names = MOTION + CAMERA
    for frame in (None, 0, 3):  # any frame, the first, the last: none has a distribution of its own
        chance, slack = chance_within(names, 60)
        assert abs(accuracy(names, 60, frame) - chance) < slack, frame


def test_one_frame_tells_the_pair_but_not_its_direction() -> None:
    forwards = tuple(pair[0] for pair in REVERSED_PAIRS)
    assert accuracy(forwards, 40) > 0.9
    for pair in REVERSED_PAIRS:
        chance, slack = chance_within(pair, 80)
        assert accuracy(pair, 80) - chance < slack, pair


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="hexagon"):
        shapes.plan_clip("hexagon", 1, 0)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        clip("disc", size=16)
    with pytest.raises(ValueError, match="4 frames"):
        clip("disc", num_frames=2)
