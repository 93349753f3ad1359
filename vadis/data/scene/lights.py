"""Point lights after Johansson (1973): thirteen lights on the joints of a person in the dark."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from vadis.data.scene.camera import View
from vadis.data.scene.figure import Figure
from vadis.data.scene.flow import in_camera
from vadis.data.scene.rays import NEAR, seen_from_eye

Array = npt.NDArray[np.float64]


def find_lights(figure: Figure, view: View) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Where each light is: points_TM2 in pixels (x right, y down), and visible_TM.

    A light sits in its joint and shines through the flesh round it, and no further: it is visible where it
    lands in the picture and no part of the body stands between it and the eye by more than 1.3 times the
    thickness there. A light behind the camera is at (-1, -1).
    """
    places, flesh = figure.markers()
    camera = view.to_camera(places)
    count, num_lights = camera.shape[:2]
    depth = camera[..., 2:]
    ahead = depth[..., 0] > NEAR
    points = np.where(ahead[..., None], view.project(np.where(ahead[..., None], camera, 1.0)), -1.0)
    distance = np.linalg.norm(camera, axis=-1, keepdims=True)
    front = camera * (1 - 1.3 * flesh[:, None] / np.maximum(distance, 1e-9))
    cones = in_camera(figure.cones(), view)
    times = torch.arange(count).repeat_interleave(num_lights)
    free = seen_from_eye(torch.from_numpy(front.reshape(-1, 3)), times, cones)
    inside = (points >= 0).all(axis=-1) & (points <= np.array(view.size)).all(axis=-1)
    return points, ahead & inside & free.numpy().reshape(count, num_lights)


def draw_lights(
    points_TM2: Array, visible_TM: npt.NDArray[np.bool_], size: tuple[int, int], radius: float | None = None
) -> npt.NDArray[np.uint8]:
    """White discs with soft edges on black, frames_THWC; radius in pixels (None: height / 90)."""
    width, height = size
    radius = max(1.2, height / 90) if radius is None else radius
    frames = np.zeros((len(points_TM2), height, width), dtype=np.float64)
    reach = int(np.ceil(radius + 1))
    for t, m in np.argwhere(visible_TM):
        x, y = points_TM2[t, m]
        left, top = max(0, int(x) - reach), max(0, int(y) - reach)
        patch = frames[t, top : int(y) + reach + 1, left : int(x) + reach + 1]
        rows, columns = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]]
        distance = np.hypot(columns + left + 0.5 - x, rows + top + 0.5 - y)
        np.maximum(patch, np.clip(radius + 0.5 - distance, 0, 1), out=patch)
    grey = np.rint(frames * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)
