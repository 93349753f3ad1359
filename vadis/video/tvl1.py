"""TV-L1 optical flow of our own: what explains the change of brightness and varies least over the picture.

The energy is that of Zach, Pock and Bischof (DAGM 2007): lambda |I1(x + u) - I0(x)|, made smooth near zero by
theta, plus the total variation of u. A pyramid brings large motions within reach; at each of its levels the
second picture is warped by the flow so far and the difference linearised, several times.

The parameters `opencv` and `paper` run their scheme: dual steps of length tau until the flow rests (Sanchez
et al., IPOL 2013; OpenCV's median of 5 x 5). Ours, the default, differs in five ways, measured in
benchmarks/flow.py: primal-dual steps with extrapolation (Chambolle and Pock, 2011), few of them, more at
coarse levels; pyramid levels of half the size, as many as fit; pictures slightly blurred; the difference
divided by the gradient's length (Zimmer et al., IJCV 2011), so that faint textures count; and a total
variation that is quadratic where it is small (Huber's). On a CPU the steps go through the picture in strips
that stay in the cache: with whole pictures each operation costs four times as much.

Legend: T frames, N pairs, H W pixels, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # Rec. 601, as OpenCV
STRIP_PIXELS = 11_000  # a strip's sixteen planes fit a cache of 1 MB
BATCH_PIXELS = 2**23  # pairs at once on a GPU: 8 million pixels, about 1 GB
SMALLEST = 16  # pixels of the short side of the coarsest level
_FLAT = 1e-6  # squared gradient (grey levels per pixel) below which there is nothing to follow
_STEP = 1 / math.sqrt(8)  # both steps of the primal-dual method: their product times 8 is 1


@dataclass(frozen=True)
class Parameters:
    """What the estimate depends on; lengths in pixels, brightness in grey levels of 0 to 255.

    lambda_: weight of the data. theta: how far the flow may be from the data's own. scale_step: ratio of the
    sizes of two levels. scales: levels at most, None: until the short side is below 16 pixels. warps: at each
    level. iterations: dual steps after each warp, times `growth` for each coarser level. median: side of the
    median filter, 0 for none. blur: standard deviation. contrast: gradient length above which the difference
    is divided by it, None: never; gain: the weight of the difference where there is no gradient. huber:
    gradient of the flow, in pixels per pixel, below which smoothness is quadratic. tau: length of the dual
    step of Zach's scheme, None takes ours. epsilon: root mean square change in pixels at which that rests.
    outer_iterations: of Zach's scheme, each begins with the median filter.
    """

    lambda_: float = 0.15
    theta: float = 0.3
    scale_step: float = 0.5
    scales: int | None = None
    warps: int = 5
    iterations: int = 10
    growth: float = 1.5
    median: int = 3
    blur: float = 0.7
    contrast: float | None = 4.0
    gain: float = 3.5
    huber: float = 0.02
    tau: float | None = None
    epsilon: float = 0.0
    outer_iterations: int = 1

    def __post_init__(self) -> None:
        if not 0.1 <= self.scale_step <= 0.95:
            raise ValueError(f"scale_step of tvl1 lies between 0.1 and 0.95, got {self.scale_step}")
        if self.median not in (0, 1, 3, 5):
            raise ValueError(f"median of tvl1 is 0, 3 or 5 pixels, got {self.median}")
        counts = (
            self.warps,
            self.iterations,
            self.outer_iterations,
            1 if self.scales is None else self.scales,
        )
        if min(counts) < 1:
            raise ValueError("scales, warps, iterations and outer_iterations of tvl1 are at least 1")
        if min(self.lambda_, self.theta) <= 0 or (self.tau is not None and self.tau <= 0):
            raise ValueError("lambda_, theta and tau of tvl1 are above 0")


_ZACH = Parameters(blur=0.0, contrast=None, huber=0.0, growth=1.0, tau=0.25, epsilon=0.01)

PARAMETERS: dict[str, Parameters] = {
    "fast": Parameters(),
    "opencv": replace(_ZACH, scale_step=0.8, scales=5, iterations=30, outer_iterations=10, median=5),
    "paper": replace(_ZACH, scale_step=0.5, iterations=300, median=0),
}
"""Parameters by name: ours, OpenCV's DualTVL1 (spec: its defaults), the program of Sanchez et al. (IPOL)."""


def choose_parameters(parameters: str = "fast", **changes: Any) -> Parameters:
    """A set of `PARAMETERS` by name, with some of them changed. Raises ValueError for a name that is none."""
    if parameters not in PARAMETERS:
        raise ValueError(f"parameters of tvl1 are {', '.join(PARAMETERS)}, not {parameters!r}")
    known = [field.name for field in fields(Parameters)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(f"tvl1 has the options parameters, {', '.join(known)}, not {', '.join(unknown)}")
    return replace(PARAMETERS[parameters], **changes)


def choose_device(device: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


class TvL1:
    """TV-L1 with its parameters, on a device: fields_NHW2 of frames_THWC (uint8 RGB) and starts_N.

    batch_size: pairs at once, None: one on a CPU (its cache decides), as many as fit on a GPU. A pair's flow
    does not depend on what is estimated with it.
    """

    def __init__(self, parameters: Parameters, device: torch.device, batch_size: int | None = None) -> None:
        self.parameters = parameters
        self.device = device
        self.batch_size = batch_size

    def __call__(self, frames_THWC: NDArray[np.uint8], starts_N: NDArray[np.int64]) -> NDArray[np.float32]:
        height, width = frames_THWC.shape[1:3]
        fields_NHW2 = np.empty((len(starts_N), height, width, 2), np.float32)
        size = self.batch_size or (
            1 if self.device.type == "cpu" else max(1, BATCH_PIXELS // (height * width))
        )
        if self.parameters.epsilon > 0:
            size = 1  # each pair rests at a time of its own
        for first in range(0, len(starts_N), size):
            lot = starts_N[first : first + size]
            before_N1HW, after_N1HW = self._grey(frames_THWC[lot]), self._grey(frames_THWC[lot + 1])
            flow_N2HW = estimate_pairs(before_N1HW, after_N1HW, self.parameters)
            fields_NHW2[first : first + size] = flow_N2HW.permute(0, 2, 3, 1).cpu().numpy()
        return fields_NHW2

    def _grey(self, frames_NHWC: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).to(self.device).float()
        return (pixels @ pixels.new_tensor(GREY))[:, None]


@torch.inference_mode()
def estimate_pairs(before_N1HW: Tensor, after_N1HW: Tensor, parameters: Parameters) -> Tensor:
    """flow_N2HW in pixels, from grey pictures (float32, levels of 0 to 255) to those after them."""
    height, width = before_N1HW.shape[2:]
    both = torch.cat([before_N1HW, after_N1HW], 1)
    sizes = _pyramid_sizes(height, width, parameters)
    flow = both.new_zeros(len(both), 2, *sizes[-1])
    dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
    for number in range(len(sizes) - 1, -1, -1):
        size = sizes[number]
        if flow.shape[2:] != size:
            ratio = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]]).view(1, 2, 1, 1)
            flow = F.interpolate(flow, size, mode="bilinear", align_corners=False) * ratio
            if parameters.tau is None:  # what holds the flow together at one level does at the next, nearly
                dual_x = F.interpolate(dual_x, size, mode="bilinear", align_corners=False)
                dual_y = F.interpolate(dual_y, size, mode="bilinear", align_corners=False)
            else:
                dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
        pictures = (
            both if size == (height, width) else F.interpolate(both, size, mode="bilinear", antialias=True)
        )
        pictures = _blur(pictures, parameters.blur)
        level = _Level(
            flow, dual_x, dual_y, parameters, int(parameters.iterations * parameters.growth**number)
        )
        for _ in range(parameters.warps):
            level.linearise(pictures[:, :1], pictures[:, 1:])
            level.solve()
        flow, dual_x, dual_y = level.flow, level.dual_x, level.dual_y
    return flow


class _Level:
    """One level of the pyramid: the flow, its dual variables, and room for what the steps need."""

    def __init__(
        self, flow: Tensor, dual_x: Tensor, dual_y: Tensor, parameters: Parameters, steps: int
    ) -> None:
        self.parameters, self.steps = parameters, steps
        self.flow, self.dual_x, self.dual_y = (part.contiguous() for part in (flow, dual_x, dual_y))
        self.dual_x[..., -1:] = 0  # no gradient leads out of the picture
        self.dual_y[..., -1:, :] = 0
        self.moved, self.ahead, self.slope, self.unit = (torch.empty_like(self.flow) for _ in range(4))
        self.spare, self.spare_y = torch.empty_like(self.flow), torch.empty_like(self.flow)
        self.rest, self.residual = torch.empty_like(flow[:, :1]), torch.empty_like(flow[:, :1])
        height, width = flow.shape[2:]
        self.columns = torch.arange(width, device=flow.device, dtype=torch.float32).view(1, 1, width)
        self.rows = torch.arange(height, device=flow.device, dtype=torch.float32).view(1, height, 1)
        rows = height if flow.device.type != "cpu" else max(4, STRIP_PIXELS // width)
        edges = [*range(0, height, rows), height]
        self.strips = [_Strip(self, *span, height) for span in pairwise(edges)]

    def linearise(self, before: Tensor, after: Tensor) -> None:
        """Warp the second picture by the flow; its difference from the first as a line in the flow."""
        height, width = self.flow.shape[2:]
        x, y = self.columns + self.flow[:, 0], self.rows + self.flow[:, 1]
        places = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], 3)
        warped = F.grid_sample(after, places, mode="bilinear", padding_mode="border", align_corners=True)
        inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]
        slope = _gradient(warped) * inside
        rest = (warped - before) * inside - (slope * self.flow).sum(1, keepdim=True)
        squared = (slope * slope).sum(1, keepdim=True)
        if self.parameters.contrast is not None:
            contrast = self.parameters.contrast
            weight = self.parameters.gain * contrast * (squared + contrast**2).rsqrt_()
            slope, rest, squared = slope * weight, rest * weight, squared * weight * weight
        inverse = torch.where(squared > _FLAT, 1 / squared, 0.0)
        torch.mul(slope, inverse, out=self.unit)
        torch.mul(rest, inverse, out=self.rest)
        shrink = 1.0 if self.parameters.tau is not None else _STEP / (_STEP + self.parameters.theta)
        torch.mul(slope, shrink, out=self.slope)

    def solve(self) -> None:
        """Steps towards the least energy of the linearised problem, and the median filter."""
        if self.parameters.tau is not None:
            self._solve_by_zach(self.parameters.tau)
            return
        self.ahead.copy_(self.flow)
        for _ in range(self.steps):
            for strip in self.strips:
                strip.step_flow()
                strip.step_dual()
        self._filter()

    def _solve_by_zach(self, tau: float) -> None:
        chosen = self.parameters
        enough = chosen.epsilon**2 * self.flow[0, 0].numel()
        for _ in range(chosen.outer_iterations):
            self._filter()
            for _ in range(self.steps):
                change = sum(strip.step_flow_by_zach() for strip in self.strips)
                for strip in self.strips:
                    strip.step_dual_by_zach(tau / chosen.theta)
                if chosen.epsilon > 0 and float(change) < enough:
                    return

    def _filter(self) -> None:
        if self.parameters.median > 1:
            self.flow.copy_(median_filter(self.flow, self.parameters.median))


class _Strip:
    """Some rows of a level. Its views are made once: making one costs more than adding two of them.

    The dual variables of a strip are one row behind its flow: they need the flow of the row below.
    """

    def __init__(self, level: _Level, first: int, stop: int, height: int) -> None:
        chosen = level.parameters
        reach = chosen.theta if chosen.tau is not None else _STEP + chosen.theta
        self.bound, self.theta = chosen.lambda_ * reach, chosen.theta
        self.radius = 1 + _STEP * chosen.huber
        rows = slice(first, stop)
        self.flow, self.moved, self.ahead = (
            part[:, :, rows] for part in (level.flow, level.moved, level.ahead)
        )
        self.slope, self.rest, self.residual = (
            part[:, :, rows] for part in (level.slope, level.rest, level.residual)
        )
        self.unit_x, self.unit_y = level.unit[:, :1, rows], level.unit[:, 1:, rows]
        self.moved_x, self.moved_y = self.moved[:, :1], self.moved[:, 1:]
        self.flow_x, self.flow_y = self.flow[:, :1], self.flow[:, 1:]
        self.dual_x, self.dual_y = level.dual_x[:, :, rows], level.dual_y[:, :, rows]
        self.right, self.from_left = self.moved[..., 1:], self.dual_x[..., :-1]
        top = max(first, 1)
        self.below, self.from_above = level.moved[:, :, top:stop], level.dual_y[:, :, top - 1 : stop - 1]
        behind = slice(max(0, first - 1), height if stop == height else stop - 1)
        source = level.flow if chosen.tau is not None else level.ahead
        self.old_x, self.old_y = level.dual_x[:, :, behind], level.dual_y[:, :, behind]
        self.norm, self.steep_y = level.spare[:, :, behind], level.spare_y[:, :, behind]
        self.inner_x, self.x_right, self.x_here = (
            self.old_x[..., :-1],
            source[:, :, behind, 1:],
            source[:, :, behind, :-1],
        )
        inner = slice(behind.start, min(behind.stop, height - 1))
        self.inner_y, self.y_here = level.dual_y[:, :, inner], source[:, :, inner]
        self.y_below = source[:, :, inner.start + 1 : inner.stop + 1]
        self.steep_x = level.moved[:, :, behind]  # free by then
        self.rise_x, self.rise_y = self.steep_x[..., :-1], level.spare_y[:, :, inner]

    def _add_divergence(self, step: float) -> None:
        """moved += step * divergence of the dual variables."""
        self.moved.add_(self.dual_x, alpha=step)
        self.right.sub_(self.from_left, alpha=step)
        self.moved.add_(self.dual_y, alpha=step)
        self.below.sub_(self.from_above, alpha=step)

    def step_flow(self) -> None:
        """Down the gradient of the variation, then to the data; and ahead by as much again."""
        torch.add(self.flow, self.dual_x, alpha=_STEP, out=self.moved)
        self.right.sub_(self.from_left, alpha=_STEP)
        self.moved.add_(self.dual_y, alpha=_STEP)
        self.below.sub_(self.from_above, alpha=_STEP)
        torch.addcmul(self.rest, self.unit_x, self.moved_x, out=self.residual)
        self.residual.addcmul_(self.unit_y, self.moved_y).clamp_(-self.bound, self.bound)
        self.moved.addcmul_(self.slope, self.residual, value=-1)
        torch.lerp(self.flow, self.moved, 2.0, out=self.ahead)
        self.flow.copy_(self.moved)

    def step_dual(self) -> None:
        """Up the gradient of the flow ahead, then back to vectors not longer than one."""
        self.inner_x.add_(self.x_right, alpha=_STEP).sub_(self.x_here, alpha=_STEP)
        self.inner_y.add_(self.y_below, alpha=_STEP).sub_(self.y_here, alpha=_STEP)
        torch.mul(self.old_x, self.old_x, out=self.norm)
        self.norm.addcmul_(self.old_y, self.old_y).sqrt_().clamp_(min=self.radius)
        self.old_x.div_(self.norm)
        self.old_y.div_(self.norm)

    def step_flow_by_zach(self) -> Tensor:
        """Thresholding, then the dual's divergence; returns the squared change, a scalar."""
        torch.addcmul(self.rest, self.unit_x, self.flow_x, out=self.residual)
        self.residual.addcmul_(self.unit_y, self.flow_y).clamp_(-self.bound, self.bound)
        torch.addcmul(self.flow, self.slope, self.residual, value=-1, out=self.moved)
        self._add_divergence(self.theta)
        torch.sub(self.moved, self.flow, out=self.ahead)
        self.flow.copy_(self.moved)
        return self.ahead.square_().sum()

    def step_dual_by_zach(self, step: float) -> None:
        """The semi-implicit step: (p + step * gradient) / (1 + step * |gradient|)."""
        self.steep_x[..., -1:] = 0
        self.steep_y.zero_()
        torch.sub(self.x_right, self.x_here, out=self.rise_x)
        torch.sub(self.y_below, self.y_here, out=self.rise_y)
        torch.mul(self.steep_x, self.steep_x, out=self.norm)
        self.norm.addcmul_(self.steep_y, self.steep_y).sqrt_().mul_(step).add_(1)
        self.old_x.add_(self.steep_x, alpha=step).div_(self.norm)
        self.old_y.add_(self.steep_y, alpha=step).div_(self.norm)


def median_filter(planes_NCHW: Tensor, side: int) -> Tensor:
    """The median of side x side pixels (3 or 5) about each, the edge continued; of the same shape."""
    around, (height, width) = side // 2, planes_NCHW.shape[2:]
    padded = F.pad(planes_NCHW, (around, around, around, around), mode="replicate")
    if side != 3:
        shifted = [padded[..., y : y + height, x : x + width] for y in range(side) for x in range(side)]
        return torch.stack(shifted).median(0).values
    low, middle, high = _sort3(*(padded[..., y : y + height, :] for y in range(3)))  # columns, sorted
    low, middle, high = ([part[..., x : x + width] for x in range(3)] for part in (low, middle, high))  # type: ignore[assignment]
    lowest = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    highest = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    return _median3(lowest, _median3(*middle), highest)


def _sort3(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = torch.minimum(a, b), torch.maximum(a, b)
    b, c = torch.minimum(b, c), torch.maximum(b, c)
    return torch.minimum(a, b), torch.maximum(a, b), c


def _median3(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def _gradient(picture_N1HW: Tensor) -> Tensor:
    """Central differences, (N, 2, H, W); half of them at the edges."""
    p = F.pad(picture_N1HW, (1, 1, 1, 1), mode="replicate")
    across, down = p[..., 1:-1, 2:] - p[..., 1:-1, :-2], p[..., 2:, 1:-1] - p[..., :-2, 1:-1]
    return torch.cat([across, down], 1).mul_(0.5)


def _blur(pictures: Tensor, deviation: float) -> Tensor:
    if deviation <= 0:
        return pictures
    radius = math.ceil(2.5 * deviation)
    places = torch.arange(-radius, radius + 1, device=pictures.device, dtype=torch.float32)
    weights = torch.exp(-(places**2) / (2 * deviation**2))
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    flat = pictures.flatten(0, 1)[:, None]
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), weights)
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), weights.transpose(2, 3))
    return flat.view_as(pictures)


def _pyramid_sizes(height: int, width: int, parameters: Parameters) -> list[tuple[int, int]]:
    """(height, width) of the levels, the finest first."""
    sizes = [(height, width)]
    while parameters.scales is None or len(sizes) < parameters.scales:
        ratio = parameters.scale_step ** len(sizes)
        size = round(height * ratio), round(width * ratio)
        if min(size) < SMALLEST:
            break
        sizes.append(size)
    return sizes
