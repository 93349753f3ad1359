"""Rays against rounded cones (the hull of two spheres), exact and batched over frames and pixels.

A ray leaves the camera's eye, the origin of camera coordinates, so a direction with z = 1 meets a surface
at a multiple t that is the depth. A rounded cone with centres a, b, radii ra, rb and unit axis n has
s = (ra - rb) / |b - a|: its side touches both spheres, and at height y above a lies at distance
(ra - s y) / sqrt(1 - s^2) from the axis, for s ra <= y <= |b - a| + s rb. Each part is met only by the rays
of its own box on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]

NEAR = 0.01
"""Nothing nearer than this depth (metres) is seen."""


@dataclass(frozen=True)
class Cones:
    """P rounded cones at T times: sphere centres (T,P,3), radii (P,2); metres, float64, any frame."""

    start_TP3: Array
    end_TP3: Array
    radii_P2: Array

    def axis(self) -> tuple[Array, Array]:
        """Unit axes (T,P,3) and lengths (T,P); a part of no length has any axis."""
        difference = self.end_TP3 - self.start_TP3
        length = np.linalg.norm(difference, axis=-1)
        axis = difference / np.maximum(length, 1e-12)[..., None]
        axis[length < 1e-9] = np.array([0.0, 1.0, 0.0])
        return axis, length

    def slope(self) -> Array:
        """s of each part at each time (T,P): 0 for a capsule, and where there is no length."""
        _, length = self.axis()
        difference = self.radii_P2[:, 0] - self.radii_P2[:, 1]
        return np.where(length > np.abs(difference), difference / np.maximum(length, 1e-12), 0.0)

    def lowest(self) -> Array:
        """The lowest y of any part at each time."""
        low = np.minimum(
            self.start_TP3[..., 1] - self.radii_P2[:, 0], self.end_TP3[..., 1] - self.radii_P2[:, 1]
        )
        return np.asarray(low.min(axis=1))


@dataclass(frozen=True)
class Solved:
    """What the equations of a part need, for each time and part, in the renderer's precision."""

    start: Tensor  # T,P,3
    end: Tensor
    axis: Tensor
    length: Tensor  # T,P
    slope: Tensor
    radii: Tensor  # P,2

    @classmethod
    def of(cls, cones: Cones, dtype: torch.dtype = torch.float32) -> Solved:
        """The tensors of cones in camera coordinates."""
        axis, length = cones.axis()
        values = (cones.start_TP3, cones.end_TP3, axis, length, cones.slope(), cones.radii_P2)
        return cls(*(torch.from_numpy(np.ascontiguousarray(value)).to(dtype) for value in values))


def meet(x: Tensor, y: Tensor, part: tuple[Tensor, ...]) -> Tensor:
    """Depth at which rays (x, y, 1) from the origin enter a rounded cone; NaN where they miss it.

    x, y and the tensors of `part` broadcast: start, end, axis (each a tuple x, y, z stacked first),
    length, slope, radius at start and at end.
    """
    a, b, n, length, s, ra, rb = part
    square = x * x + y * y + 1
    to_a = x * a[0] + y * a[1] + a[2]
    to_b = x * b[0] + y * b[1] + b[2]
    along = x * n[0] + y * n[1] + n[2]
    aa, bb, an = (a * a).sum(0), (b * b).sum(0), (a * n).sum(0)
    near_a = (to_a - (to_a * to_a - square * (aa - ra * ra)).sqrt()) / square
    near_b = (to_b - (to_b * to_b - square * (bb - rb * rb)).sqrt()) / square
    cc = 1 - s * s
    lean = an + s * ra
    quad = cc * square - along * along
    half = along * lean - cc * to_a
    rest = cc * aa - an * an - 2 * an * s * ra - ra * ra
    side = (-half - (half * half - quad * rest).sqrt()) / quad
    height = side * along - an
    inside = (height >= s * ra) & (height <= length + s * rb) & (side > 0)
    side = torch.where(inside, side, torch.nan)
    return torch.fmin(torch.fmin(near_a, near_b), side)


def screen_boxes(cones: Cones, focal: float, size: tuple[int, int], margin: int = 1) -> npt.NDArray[np.int64]:
    """For each time and part the pixels that can see it: (T,P,4) as x0, y0, x1, y1 with x1, y1 beyond.

    Cones in camera coordinates, focal length and size (width, height) in pixels. Empty boxes have x0 = x1.
    """
    low, high = [], []
    for centre, radius in ((cones.start_TP3, cones.radii_P2[:, 0]), (cones.end_TP3, cones.radii_P2[:, 1])):
        z = centre[..., 2]
        ahead = np.maximum(z * z - radius * radius, 1e-9)[..., None]
        flat = centre[..., :2]
        reach = np.sqrt(np.maximum(flat**2 + (z * z - radius * radius)[..., None], 0.0))
        low.append((flat * z[..., None] - radius[:, None] * reach) / ahead)
        high.append((flat * z[..., None] + radius[:, None] * reach) / ahead)
    half = np.array(size) / 2
    first = np.floor(np.clip(np.minimum(*low) * focal + half - margin, 0, size)).astype(np.int64)
    last = np.ceil(np.clip(np.maximum(*high) * focal + half + margin, 0, size)).astype(np.int64)
    boxes = np.concatenate([first, last], axis=-1)
    front = np.minimum(
        cones.start_TP3[..., 2] - cones.radii_P2[:, 0], cones.end_TP3[..., 2] - cones.radii_P2[:, 1]
    )
    back = np.maximum(
        cones.start_TP3[..., 2] + cones.radii_P2[:, 0], cones.end_TP3[..., 2] + cones.radii_P2[:, 1]
    )
    boxes[front < NEAR] = (0, 0, *size)  # round the eye: anywhere
    boxes[back < NEAR] = 0  # behind it: nowhere
    boxes[(boxes[..., 2:] <= boxes[..., :2]).any(axis=-1)] = 0
    return boxes


def trace(
    cones: Cones, focal: float, size: tuple[int, int], *, samples: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The nearest part on each ray: depth_THW (inf where none) and part_THW (uint8, 255 where none).

    Cones in camera coordinates; size (width, height) in pixels, each pixel cut into samples x samples,
    so that H and W are those of the samples.
    """
    width, height = size[0] * samples, size[1] * samples
    boxes = screen_boxes(cones, focal * samples, (width, height))
    solved = Solved.of(cones, dtype)
    count, num_parts = cones.start_TP3.shape[:2]
    grid_x = (torch.arange(width, dtype=dtype) + 0.5 - width / 2) / (focal * samples)
    grid_y = (torch.arange(height, dtype=dtype) + 0.5 - height / 2) / (focal * samples)
    depth = torch.full((count, height * width), torch.inf, dtype=dtype)
    owner = torch.full((count, height * width), 255, dtype=torch.uint8)
    for k in range(num_parts):
        seen = np.flatnonzero(boxes[:, k, 2] > boxes[:, k, 0])
        if len(seen) == 0:
            continue
        box = boxes[seen, k]
        w, h = int((box[:, 2] - box[:, 0]).max()), int((box[:, 3] - box[:, 1]).max())
        left = torch.from_numpy(np.minimum(box[:, 0], width - w))[:, None] + torch.arange(w)
        top = torch.from_numpy(np.minimum(box[:, 1], height - h))[:, None] + torch.arange(h)
        rows = torch.from_numpy(seen)
        t = meet(grid_x[left][:, None, :], grid_y[top][:, :, None], _part(solved, rows, k)).flatten(1)
        index = (top[:, :, None] * width + left[:, None, :]).flatten(1)
        whole = len(seen) == count
        behind = (depth if whole else depth[rows]).gather(1, index)
        closer = (t < behind) & (t > NEAR)
        new_depth = torch.where(closer, t, behind)
        new_owner = (owner if whole else owner[rows]).gather(1, index).masked_fill_(closer, k)
        if whole:
            depth.scatter_(1, index, new_depth)
            owner.scatter_(1, index, new_owner)
        else:
            depth[rows] = depth[rows].scatter_(1, index, new_depth)
            owner[rows] = owner[rows].scatter_(1, index, new_owner)
    return depth.view(count, height, width), owner.view(count, height, width)


def _part(solved: Solved, rows: Tensor, k: int) -> tuple[Tensor, ...]:
    """The equations' inputs of part k at some times, shaped to broadcast with (times, h, w)."""

    def shaped(values: Tensor) -> Tensor:
        return values[rows, k].movedim(-1, 0)[..., None, None]

    def single(values: Tensor) -> Tensor:
        return values[rows, k][:, None, None]

    vectors = (shaped(solved.start), shaped(solved.end), shaped(solved.axis))
    radii = solved.radii[k]
    return (*vectors, single(solved.length), single(solved.slope), radii[0], radii[1])


def normals(points_N3: Tensor, times_N: Tensor, parts_N: Tensor, solved: Solved) -> tuple[Tensor, Tensor]:
    """Outward unit normals of surface points, and the height along the part's axis (metres) of each.

    points_N3 in the cones' frame, with the time index and the part index of each.
    """
    index = times_N * solved.length.shape[1] + parts_N
    axis = solved.axis.flatten(0, 1)[index]
    length = solved.length.flatten()[index]
    s = solved.slope.flatten()[index]
    ra = solved.radii[:, 0][parts_N]
    from_start = points_N3 - solved.start.flatten(0, 1)[index]
    height = (from_start * axis).sum(1)
    foot = torch.minimum(((height - s * ra) / (1 - s * s)).clamp_(min=0), length)
    outward = from_start - foot[:, None] * axis
    return outward / outward.norm(dim=1, keepdim=True).clamp_(min=1e-9), height


def seen_from_eye(points_N3: Tensor, times_N: Tensor, cones: Cones, tolerance: float = 1e-4) -> Tensor:
    """visible_N: true for points (camera coordinates, with their time index) that no part hides from the eye.

    A part hides a point if the ray towards it enters the part nearer than the point by more than
    `tolerance`, a share of its depth.
    """
    solved = Solved.of(cones, points_N3.dtype)
    depth = points_N3[:, 2]
    visible = depth > NEAR
    boxes = torch.from_numpy(_slope_boxes(cones)).to(points_N3.dtype)
    whole = torch.cat([boxes[..., :2].amin(dim=1), boxes[..., 2:].amax(dim=1)], dim=1)
    x, y = points_N3[:, 0] / depth, points_N3[:, 1] / depth
    near_body = (_within(x, y, whole[times_N]) & visible).nonzero()[:, 0]
    x, y, depth, times = x[near_body], y[near_body], depth[near_body], times_N[near_body]
    free = torch.ones(len(times), dtype=torch.bool)
    for k in range(cones.start_TP3.shape[1]):
        chosen = _within(x, y, boxes[:, k][times]).nonzero()[:, 0]
        if len(chosen) == 0:
            continue
        rows = times[chosen]
        vectors = tuple(values[rows, k].T for values in (solved.start, solved.end, solved.axis))
        radii = solved.radii[k]
        part = (*vectors, solved.length[rows, k], solved.slope[rows, k], radii[0], radii[1])
        t = meet(x[chosen], y[chosen], part)
        free[chosen] &= ~((t > NEAR) & (t < depth[chosen] * (1 - tolerance)))
    visible[near_body] = free
    return visible


def _within(x: Tensor, y: Tensor, boxes_N4: Tensor) -> Tensor:
    """True where a point lies in its box (x0, y0, x1, y1)."""
    return (x >= boxes_N4[:, 0]) & (x <= boxes_N4[:, 2]) & (y >= boxes_N4[:, 1]) & (y <= boxes_N4[:, 3])


def _slope_boxes(cones: Cones) -> Array:
    """Bounds of x/z and y/z of each part (T,P,4: x0, y0, x1, y1), wide open for a part round the eye."""
    scale = 2**20  # screen boxes are whole pixels; of a large enough screen
    boxes = screen_boxes(cones, float(scale), (64 * scale, 64 * scale), margin=2).astype(np.float64)
    bounds = (boxes - 32 * scale) / scale
    bounds[(boxes == 0).all(axis=-1)] = np.array([1.0, 1.0, -1.0, -1.0])
    return bounds
