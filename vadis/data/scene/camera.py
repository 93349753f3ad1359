"""A pinhole camera that looks at a person: where it stands at each time, and what lands on which pixel.

Camera coordinates are x right, y down, z forward; a pixel's centre is at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and how it moves; angles in degrees, lengths in metres, times in seconds.

    azimuth: 0 looks at the person from the front as recorded (from +X), 90 at the right hand side (+Z).
    elevation: of the camera above the point it looks at. height: of that point above the ground.
    field_of_view: the angle across the shorter side of the picture.
    orbit, pan, dolly: degrees, degrees and metres per second (round the person, turning on the spot,
    backwards). shake: of a hand, as degrees of typical turn. follow: 0 looks at one point on the ground
    (the middle of the person's way), 1 keeps with the person, smoothed over `follow_seconds`.
    """

    azimuth: float = 35.0
    elevation: float = 8.0
    distance: float = 4.2
    height: float = 0.85
    field_of_view: float = 38.0
    orbit: float = 0.0
    pan: float = 0.0
    dolly: float = 0.0
    shake: float = 0.0
    follow: float = 1.0
    follow_seconds: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.field_of_view < 150 and self.distance > 0 and -80 <= self.elevation <= 80):
            raise ValueError(
                f"a camera needs a field of view, a distance and an elevation that exist: {self}"
            )

    def film(self, times_T: Array, person_T3: Array, size: tuple[int, int]) -> View:
        """The camera's view at each time. person_T3: where the person is; size: (width, height) in pixels."""
        anchor = _follow(person_T3, times_T, self.follow, self.follow_seconds)
        azimuth = np.radians(self.azimuth + self.orbit * times_T)
        elevation = math.radians(self.elevation)
        away = np.stack(
            [
                math.cos(elevation) * np.cos(azimuth),
                np.full_like(azimuth, math.sin(elevation)),
                math.cos(elevation) * np.sin(azimuth),
            ],
            axis=1,
        )
        distance = np.maximum(self.distance + self.dolly * times_T, 0.5)
        eye = anchor + np.array([0.0, self.height, 0.0]) + distance[:, None] * away
        eye[:, 1] = np.maximum(eye[:, 1], 0.05)  # never under the ground
        shake = self.shake * _hand(times_T, self.seed)
        yaw = azimuth + math.pi + np.radians(self.pan * times_T + shake[:, 0])
        pitch = -elevation + np.radians(shake[:, 1])
        roll = np.radians(0.5 * shake[:, 2])
        focal = 0.5 * min(size) / math.tan(math.radians(self.field_of_view) / 2)
        return View(eye, _axes(yaw, np.broadcast_to(pitch, yaw.shape), roll), focal, size)


@dataclass(frozen=True)
class View:
    """T cameras: eye_T3 in the world, axes_T33 (rows right, down, forward), focal length in pixels, size."""

    eye_T3: Array
    axes_T33: Array
    focal: float
    size: tuple[int, int]

    def to_camera(self, points_TN3: Array) -> Array:
        """World points (T,N,3) in camera coordinates."""
        return np.einsum("tij,tnj->tni", self.axes_T33, points_TN3 - self.eye_T3[:, None])

    def project(self, camera_N3: Array) -> Array:
        """Camera coordinates to pixels (x right, y down); the depth must be positive."""
        middle = np.array(self.size) / 2
        return self.focal * camera_N3[..., :2] / camera_N3[..., 2:] + middle

    def rays(self, samples: int = 1) -> Array:
        """Directions (H*samples, W*samples, 3) with z = 1, through a grid of samples in each pixel."""
        width, height = self.size
        x = ((np.arange(width * samples) + 0.5) / samples - width / 2) / self.focal
        y = ((np.arange(height * samples) + 0.5) / samples - height / 2) / self.focal
        across, down = np.meshgrid(x, y)
        return np.stack([across, down, np.ones_like(across)], axis=-1)


def _axes(yaw_T: Array, pitch_T: Array, roll_T: Array) -> Array:
    """Rows right, down, forward of a camera that looks along yaw (from +X to +Z) and pitch (up)."""
    forward = np.stack(
        [np.cos(pitch_T) * np.cos(yaw_T), np.sin(pitch_T), np.cos(pitch_T) * np.sin(yaw_T)], axis=1
    )
    right = np.stack([-np.sin(yaw_T), np.zeros_like(yaw_T), np.cos(yaw_T)], axis=1)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll_T)[:, None], np.sin(roll_T)[:, None]
    return np.stack([cos * right + sin * down, cos * down - sin * right, forward], axis=1)


def _follow(person_T3: Array, times_T: Array, follow: float, seconds: float) -> Array:
    """The point on the ground that the camera keeps to: the person's way, smoothed and damped.

    Smoothed by a line fitted round each time (weights of a Gaussian): unlike a plain mean it does not lag
    behind at the first and the last frames.
    """
    ground = person_T3 * np.array([1.0, 0.0, 1.0])
    middle = (ground.min(axis=0) + ground.max(axis=0)) / 2
    if len(times_T) > 1 and seconds > 0 and follow != 0:
        gap = times_T[None, :] - times_T[:, None]
        weight = np.exp(-0.5 * (gap / (seconds / 2)) ** 2)
        total, first, second = weight.sum(1), (weight * gap).sum(1), (weight * gap**2).sum(1)
        line = weight * (second[:, None] - first[:, None] * gap)
        ground = line @ ground / np.maximum(total * second - first**2, 1e-12)[:, None]
    return middle + follow * (ground - middle)


def _hand(times_T: Array, seed: int) -> Array:
    """A hand's tremor: yaw, pitch, roll of unit size at each time, a sum of slow and quick swings."""
    random = np.random.default_rng([seed, 77])
    rates = np.array([0.35, 0.8, 1.7, 3.9])
    strength = np.array([1.0, 0.6, 0.3, 0.12])
    phases = random.uniform(0, 2 * np.pi, (3, len(rates)))
    rates = rates * random.uniform(0.8, 1.25, (3, len(rates)))
    waves = np.sin(2 * np.pi * rates * times_T[:, None, None] + phases)
    return np.asarray((waves * strength).sum(axis=2))
