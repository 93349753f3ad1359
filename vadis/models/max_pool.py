"""Maximum pooling over time and space, quicker on a CPU than PyTorch's own.

Shapes: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size3 = tuple[int, int, int]


def max_pool3d(x_BCTHW: Tensor, kernel: Size3, stride: Size3, padding: Size3 = (0, 0, 0)) -> Tensor:
    """`torch.nn.functional.max_pool3d`; on a CPU, without gradients, one axis after the other by slices.

    PyTorch's own goes position by position there: for 1x3x3 it takes as long as three of the stem's
    convolutions, for 2x1x1 seventeen times as long as this. With gradients it is the other way round: it
    remembers where each maximum was, while many comparisons must each be gone back through. x_BCTHW: any
    size that the kernel fits.
    """
    if x_BCTHW.device.type != "cpu" or (torch.is_grad_enabled() and x_BCTHW.requires_grad):
        return F.max_pool3d(x_BCTHW, kernel, stride, padding)
    for axis in range(3):
        x_BCTHW = _max_along(x_BCTHW, axis + 2, kernel[axis], stride[axis], padding[axis])
    return x_BCTHW


def _max_along(x: Tensor, axis: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The maximum of `kernel` slices, each shifted by one position.

    A slice that begins outside begins with the first position instead, which the same window has anyway.
    """
    size = x.shape[axis]
    outputs = positions(size, kernel, stride, padding)
    slices = []
    for tap in range(kernel):
        first = tap - padding
        before = min(max(-(first // stride), 0), outputs)  # outputs whose tap lies before the first position
        within = min(max((size - 1 - first) // stride + 1, before), outputs)
        part = x.narrow(axis, 0, 0)
        if within > before:
            start = first + before * stride
            part = x.narrow(axis, start, (within - before - 1) * stride + 1)
            part = part[(slice(None),) * axis + (slice(None, None, stride),)] if stride > 1 else part
        edges = [x.narrow(axis, 0, 1)] * before + [part] + [x.narrow(axis, size - 1, 1)] * (outputs - within)
        slices.append(part if len(edges) == 1 else torch.cat(edges, dim=axis))
    return functools.reduce(torch.maximum, slices)


def positions(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit along an axis of `size` positions."""
    return (size + 2 * padding - kernel) // stride + 1


class MaxPool3d(nn.MaxPool3d):
    """`torch.nn.MaxPool3d` by `max_pool3d` of this file."""

    kernel_size: Size3
    stride: Size3
    padding: Size3

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size that the kernel fits. Returns x_BCTHW, each size divided by the stride."""
        return max_pool3d(x_BCTHW, self.kernel_size, self.stride, self.padding)
