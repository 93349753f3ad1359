"""Pictures in motion whose optical flow is known exactly: what a method of flow is measured against.

A texture is a function of the plane, not a picture: it is evaluated where each frame's camera looks, so no
frame is an interpolation of another, and where a point goes is plain geometry. Each pixel is the mean of
2 x 2 samples, as a camera's is. `known_motion("zoom")` gives frames, the true field from each to the next and
which pixels can be followed at all. For motion as people move, with shadows and limbs before a ground, render
motion capture: vadis/data/render.py has its exact flow as well.

Legend: T frames or fields, H W pixels, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOTIONS: dict[str, str] = {
    "translation": "all moves 2.3 pixels to the right and 1.4 up a frame",
    "rotation": "all turns by 2.5 degrees a frame about a point near the middle",
    "zoom": "all grows by 4 % a frame about a point near the middle",
    "occlusion": "a disc moves 4 pixels to the left before a ground that moves 2 to the right",
    "large": "all moves 14 pixels to the right and 6 down a frame",
    "large_part": "a disc of a third of the height moves 12 pixels a frame before a ground that nearly rests",
}
"""The made sequences, and what moves in each."""


@dataclass(frozen=True)
class KnownMotion:
    """frames_THWC (uint8 RGB), the true flow_THW2 (T - 1 fields, pixels per frame) and flow_seen_THW.

    flow_seen_THW: False where the point behind a pixel leaves the picture or is hidden in the next frame.
    """

    frames_THWC: NDArray[np.uint8]
    flow_THW2: NDArray[np.float32]
    flow_seen_THW: NDArray[np.bool_]


@dataclass(frozen=True)
class _Texture:
    """Grey values of the plane: waves of many lengths and directions, the long ones stronger, and edges."""

    waves_W2: Array
    phases_W: Array
    strengths_W: Array
    colour_3: Array

    @classmethod
    def draw(cls, generator: np.random.Generator, waves: int = 48) -> _Texture:
        lengths_W = np.exp(generator.uniform(np.log(6.0), np.log(90.0), waves))
        angles_W = generator.uniform(0, 2 * np.pi, waves)
        waves_W2 = (2 * np.pi / lengths_W)[:, None] * np.stack([np.cos(angles_W), np.sin(angles_W)], 1)
        strengths_W = lengths_W**0.7
        strengths_W /= np.sqrt((strengths_W**2).sum() / 2)
        colour_3 = generator.uniform(0.75, 1.0, 3)
        return cls(waves_W2, generator.uniform(0, 2 * np.pi, waves), strengths_W, colour_3)

    def at(self, points_HW2: Array) -> Array:
        """grey_HW in [0, 1] at points of the plane, in pixels."""
        sum_HW = np.zeros(points_HW2.shape[:2])
        for wave_2, phase, strength in zip(self.waves_W2, self.phases_W, self.strengths_W, strict=True):
            sum_HW += strength * np.sin(points_HW2 @ wave_2 + phase)
        edges_HW = np.tanh(3 * np.sin(sum_HW * 1.3))
        return np.asarray(0.5 + 0.14 * sum_HW.clip(-2, 2) + 0.2 * edges_HW)


@dataclass(frozen=True)
class _Layer:
    """A textured plane that moves: what is at x is at turn_22 (x - centre_2) + centre_2 + step_2 a frame
    later; radius in pixels of the disc it is about `middle_2`, None: all of the plane."""

    texture: _Texture
    turn_22: Array
    centre_2: Array
    step_2: Array
    middle_2: Array
    radius: float | None = None

    def pose(self, frame: int) -> tuple[Array, Array]:
        """matrix_22 and offset_2 (pixels) that lead from the plane at frame 0 to where it is in a frame."""
        matrix_22, offset_2 = np.eye(2), np.zeros(2)
        for _ in range(frame):
            matrix_22 = self.turn_22 @ matrix_22
            offset_2 = self.turn_22 @ (offset_2 - self.centre_2) + self.centre_2 + self.step_2
        return matrix_22, offset_2

    def back(self, points_HW2: Array, frame: int) -> Array:
        """plane_HW2: the points of the plane that a frame shows at some of its points."""
        matrix_22, offset_2 = self.pose(frame)
        return np.asarray((points_HW2 - offset_2) @ np.linalg.inv(matrix_22).T)

    def covers(self, points_HW2: Array, frame: int) -> NDArray[np.bool_]:
        """covered_HW: where a frame shows this layer, by its points in pixels."""
        if self.radius is None:
            return np.ones(points_HW2.shape[:2], np.bool_)
        away_HW2 = self.back(points_HW2, frame) - self.middle_2
        return np.asarray((away_HW2**2).sum(2) < self.radius**2)


def known_motion(
    motion: str, *, frames: int = 4, size: tuple[int, int] = (340, 256), seed: int = 0
) -> KnownMotion:
    """A made sequence of some frames: one of `MOTIONS`; size is (width, height) in pixels.

    The same arguments give the same bytes on one machine. Raises ValueError for what is none of them.
    """
    if motion not in MOTIONS:
        raise ValueError(f"{motion!r} is no made motion; there are {', '.join(MOTIONS)}")
    if frames < 1 or min(size) < 1:
        raise ValueError(f"a sequence has at least one frame of 1 x 1 pixels, got {frames} of {size}")
    width, height = size
    layers = _layers(motion, width, height, np.random.default_rng(seed))
    centres_HW2 = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float64)
    flow = np.zeros((frames - 1, height, width, 2), np.float32)
    seen = np.zeros((frames - 1, height, width), np.bool_)
    for frame in range(frames - 1):
        top_HW = _top(layers, centres_HW2, frame)
        target_HW2 = np.zeros_like(centres_HW2)
        for number, layer in enumerate(layers):
            matrix_22, offset_2 = layer.pose(frame + 1)
            moved_HW2 = layer.back(centres_HW2, frame) @ matrix_22.T + offset_2
            target_HW2 = np.where((top_HW == number)[..., None], moved_HW2, target_HW2)
        flow[frame] = target_HW2 - centres_HW2
        inside_HW = ((target_HW2 >= 0) & (target_HW2 <= (width - 1, height - 1))).all(2)
        seen[frame] = inside_HW & (_top(layers, target_HW2, frame + 1) == top_HW)
    pictures = [_paint(layers, centres_HW2, frame) for frame in range(frames)]
    return KnownMotion(np.stack(pictures), flow, seen)


def end_point_error(
    flow_THW2: NDArray[np.float32], truth_THW2: NDArray[np.float32], seen_THW: NDArray[np.bool_] | None = None
) -> float:
    """Mean distance in pixels between estimated and true vectors (a scalar), where they can be followed."""
    away_THW = np.sqrt(((flow_THW2.astype(np.float64) - truth_THW2) ** 2).sum(3))
    return float(away_THW.mean() if seen_THW is None else away_THW[seen_THW].mean())


def _layers(motion: str, width: int, height: int, generator: np.random.Generator) -> list[_Layer]:
    """The layers of a sequence, the hindmost first."""
    middle_2 = np.array([width * 0.47, height * 0.54])
    still, ground, disc = np.eye(2), _Texture.draw(generator), _Texture.draw(generator)

    def plane(step: tuple[float, float], turn_22: Array = still) -> _Layer:
        return _Layer(ground, turn_22, middle_2, np.array(step), middle_2)

    def before(step: tuple[float, float], radius: float) -> _Layer:
        return _Layer(disc, still, middle_2, np.array(step), middle_2, radius)

    if motion == "translation":
        return [plane((2.3, -1.4))]
    if motion == "rotation":
        angle = np.radians(2.5)
        turn_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return [plane((0, 0), turn_22)]
    if motion == "zoom":
        return [plane((0, 0), np.eye(2) * 1.04)]
    if motion == "occlusion":
        return [plane((2, 0.5)), before((-4, 1), height / 4)]
    if motion == "large":
        return [plane((14, 6))]
    return [plane((0.5, 0)), before((-11, 5), height / 6)]


def _top(layers: list[_Layer], points_HW2: Array, frame: int) -> NDArray[np.int64]:
    """numbers_HW of the layers that a frame shows at points in pixels."""
    top_HW = np.zeros(points_HW2.shape[:2], np.int64)
    for number, layer in enumerate(layers):
        top_HW[layer.covers(points_HW2, frame)] = number
    return top_HW


def _paint(layers: list[_Layer], centres_HW2: Array, frame: int) -> NDArray[np.uint8]:
    """One frame, picture_HWC: the mean of 2 x 2 samples a pixel."""
    sum_HW3 = np.zeros((*centres_HW2.shape[:2], 3))
    for shift in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
        points_HW2 = centres_HW2 + shift
        top_HW = _top(layers, points_HW2, frame)
        for number, layer in enumerate(layers):
            grey_HW = layer.texture.at(layer.back(points_HW2, frame))
            sum_HW3 += ((top_HW == number) * grey_HW)[..., None] * layer.texture.colour_3
    return (sum_HW3 / 4 * 255 + 0.5).clip(0, 255).astype(np.uint8)
