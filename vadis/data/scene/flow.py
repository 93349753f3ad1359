"""Exact optical flow: where the surface point behind each pixel is one frame later, and whether it shows.

A point of the body moves rigidly with its bone, the ground stays, the backdrop is infinitely far. All of
it is computed in float64 from the poses, nothing is estimated from pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.data.scene import quaternions
from vadis.data.scene.camera import View
from vadis.data.scene.figure import Figure
from vadis.data.scene.rays import NEAR, Cones, seen_from_eye, trace

Array = npt.NDArray[np.float64]

GROUND = 254
"""The part index of the ground."""
BACKDROP = 255
"""The part index of what is infinitely far."""
_FAR = 1e7


@dataclass(frozen=True)
class Surface:
    """What is behind each pixel's centre: depth_THW (metres along the view; inf for the backdrop) and
    part_THW (uint8: index of the body part, GROUND or BACKDROP)."""

    depth_THW: Tensor
    part_THW: Tensor


def in_camera(cones: Cones, view: View) -> Cones:
    """Cones of the world in camera coordinates."""
    return Cones(view.to_camera(cones.start_TP3), view.to_camera(cones.end_TP3), cones.radii_P2)


def find_surface(figure: Figure, view: View) -> Surface:
    """The surface behind each pixel's centre, in float64."""
    depth, part = trace(in_camera(figure.cones(), view), view.focal, view.size, dtype=torch.float64)
    rise = torch.from_numpy(np.einsum("hwi,ti->thw", view.rays(), view.axes_T33[:, :, 1]))
    eye = torch.from_numpy(view.eye_T3[:, 1])[:, None, None]
    ground = torch.where(rise < -1e-6, -eye / rise.clamp(max=-1e-6), torch.inf)
    nearer = ground < depth
    part = part.masked_fill(nearer, GROUND)
    return Surface(torch.where(nearer, ground, depth), part)


def find_flow(figure: Figure, view: View, surface: Surface) -> tuple[Tensor, Tensor]:
    """Optical flow between neighbouring frames: flow_THW2 (pixels, u right, v down, float32) and seen_THW
    (bool: the point lands in the picture and nothing hides it there); T is one less than the frames.

    A point that lands behind the camera has flow 0 and is not seen.
    """
    count = len(figure) - 1
    flow = torch.zeros(count, *surface.depth_THW.shape[1:], 2)
    seen = torch.zeros(surface.depth_THW.shape, dtype=torch.bool)[:count]
    rays = torch.from_numpy(view.rays())
    width, height = view.size
    middle = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    here = middle + view.focal * rays[..., :2]
    later_cones = in_camera(figure.cones(), view)
    turns = quaternions.to_matrix(figure.rotations_TJ4)
    for t in range(count):
        part = surface.part_THW[t].flatten().long()
        depth = surface.depth_THW[t].flatten().clamp(max=_FAR)
        points = _later(rays.view(-1, 3), depth, part, figure, turns, view, t)
        z = points[:, 2:]
        ahead = z[:, 0] > NEAR
        there = middle + view.focal * points[:, :2] / torch.where(ahead[:, None], z, 1.0)
        moved = torch.where(ahead[:, None], there - here.view(-1, 2), 0.0)
        inside = (there >= 0).all(dim=1) & (there[:, 0] <= width) & (there[:, 1] <= height)
        next_cones = Cones(
            later_cones.start_TP3[t + 1 : t + 2], later_cones.end_TP3[t + 1 : t + 2], later_cones.radii_P2
        )
        free = seen_from_eye(points, torch.zeros(len(points), dtype=torch.long), next_cones)
        heights = points @ torch.from_numpy(view.axes_T33[t + 1])[:, 1] + view.eye_T3[t + 1, 1]
        sunk = (part < GROUND) & (heights < -1e-6)
        flow[t] = moved.view(height, width, 2).float()
        seen[t] = (ahead & inside & free & ~sunk).view(height, width)
    return flow, seen


def _later(
    rays_N3: Tensor, depth_N: Tensor, part_N: Tensor, figure: Figure, turns_TJ33: Array, view: View, t: int
) -> Tensor:
    """Surface points of frame t in the camera coordinates of frame t + 1 (N,3)."""
    axes = torch.from_numpy(view.axes_T33[t : t + 2])
    eyes = torch.from_numpy(view.eye_T3[t : t + 2])
    way = (rays_N3 * depth_N[:, None]) @ axes[0]
    world = way + eyes[0]
    body = (part_N < GROUND).nonzero()[:, 0]
    bones = torch.from_numpy(figure.flesh.bones_P)[part_N[body]]
    place = torch.from_numpy(figure.positions_TJ3[t : t + 2])
    turn = torch.from_numpy(np.ascontiguousarray(turns_TJ33[t : t + 2]))
    step = turn[1] @ turn[0].transpose(1, 2)
    world[body] = (step[bones] @ (world[body] - place[0][bones])[:, :, None])[:, :, 0] + place[1][bones]
    later = (world - eyes[1]) @ axes[1].T
    far = (part_N == BACKDROP).nonzero()[:, 0]
    later[far] = way[far] @ axes[1].T  # infinitely far: only the turn of the camera counts
    return later
