"""How two maps become one, place by place, and after which layers: the joints of networks whose streams meet.

Two networks that look at the same picture have maps whose places correspond. They can be added, the larger
taken, laid side by side, weighed against each other by learned filters, or multiplied, each channel by each.

    method     joined map                              channels   weights (D channels each)
    sum        x + y                                   D          none
    max        max(x, y)                               D          none
    concat     [x, y]                                  2 D        none, but the next layer sees twice as much
    conv       relu(filters of [x, y])                 D          1x1 (or 3x3x3) x 2 D x D, and D biases
    bilinear   sum over places of x outer y            D x D      none; there are no places any more

Two networks of the same layers can be joined after any of them, or after several in order (`check_places`):
after "fc8" in their scores. Bilinear products end the network, so they stand after one convolution;
filters that look along time stand after the last one, where the maps of all moments are pooled.

Source: Feichtenhofer et al. (arXiv:1604.06573) section 3.1; of the filters' start, the code of its authors
(feichtenhofer/twostreamfusion); of square roots and length, Lin et al., Bilinear CNN Models (ICCV 2015).

Shapes: B batch, T frames (or positions in time), H W positions in space, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Method = Literal["sum", "max", "concat", "conv", "bilinear"]

TINY_PRODUCT = 1e-12
"""Added under square roots, which have no slope at zero."""


class Join(nn.Module):
    """Two maps into one, by one of the methods but "bilinear", which is `outer_product`."""

    conv: nn.Conv2d | nn.Conv3d | None

    def __init__(
        self, method: Method, channels: int, kernel: int = 1, start: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        """channels: D of either map. kernel: of the filters, 1 in space or 3 in space and time.

        start: how much of the first and of the second map the filters pass on at first (1, 1: their sum).
        Those of 3 x 3 x 3 do so spread over their places as a Gaussian.
        """
        super().__init__()
        self.method, self.conv = method, None
        if method == "conv":
            self.conv = make_filters(channels, kernel, start)

    def forward(self, x_BDHW: Tensor, y_BDHW: Tensor) -> Tensor:
        """Join two maps of one shape, of any axes; filters that look along time take x_BDTHW.

        Returns x_BDHW, of twice the D for "concat".
        """
        if self.method == "sum":
            return x_BDHW + y_BDHW
        if self.method == "max":
            return torch.maximum(x_BDHW, y_BDHW)
        both = torch.cat([x_BDHW, y_BDHW], dim=1)
        return both if self.conv is None else F.relu(self.conv(both))

    def extra_repr(self) -> str:
        """The method, for `print(model)`."""
        return self.method


def make_filters(channels: int, kernel: int, start: tuple[float, float]) -> nn.Conv2d | nn.Conv3d:
    """A convolution of two maps of `channels` to one, at first their sum; `start` is the share of each."""
    conv: nn.Conv2d | nn.Conv3d
    if kernel == 1:
        conv = nn.Conv2d(2 * channels, channels, 1)
    else:
        conv = nn.Conv3d(2 * channels, channels, kernel, padding=kernel // 2)
    window = gaussian_window(kernel, conv.weight.ndim - 2)
    identity_DC = torch.cat([share * torch.eye(channels) for share in start], dim=1)
    with torch.no_grad():
        conv.weight.copy_(identity_DC.view(*identity_DC.shape, *[1] * window.ndim) * window)
        nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def gaussian_window(kernel: int, num_axes: int) -> Tensor:
    """Weights over `kernel` places along each axis that add up to one: a Gaussian of deviation one."""
    row = torch.exp(-((torch.arange(kernel) - kernel // 2) ** 2) / 2.0)
    window = torch.ones([1] * num_axes)
    for axis in range(num_axes):
        window = window * (row / row.sum()).view([-1 if each == axis else 1 for each in range(num_axes)])
    return window


def outer_product(x_BDTHW: Tensor, y_BDTHW: Tensor) -> Tensor:
    """The sum over all places of the products of every channel of x with every one of y.

    Returns feature_BD with D squared numbers: their signed square roots, divided by their length.
    """
    product_BD = torch.einsum("bdt,bet->bde", x_BDTHW.flatten(2), y_BDTHW.flatten(2)).flatten(1)
    return F.normalize(product_BD.sign() * (product_BD.abs() + TINY_PRODUCT).sqrt())


def check_places(
    layers: Sequence[str], at: str | Sequence[str], method: str, along_time: bool = False
) -> tuple[str, ...]:
    """The layers after which two towers are joined, by their names in `layers`: "relu5" is after "conv5".

    layers: of a tower in order, convolutions and then "fc6", "fc7", "fc8". at: as wished, of several a
    sequence or "relu3,relu5". along_time: whether the filters after the last convolution are 3 x 3 x 3.
    Raises ValueError for what cannot be joined.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    at = tuple(at.split(",") if isinstance(at, str) else at)
    places = tuple(place.replace("relu", "conv") for place in at)
    legal = [layer.replace("conv", "relu") for layer in layers]
    if not at or not set(at) <= set(legal) or sorted(set(places), key=list(layers).index) != list(places):
        raise ValueError(
            f"at must name some of {', '.join(legal)} in this order, got {', '.join(at) or 'nothing'}"
        )
    if method == "bilinear" and (len(at) > 1 or not at[0].startswith("relu")):
        raise ValueError(f"bilinear fusion joins after one convolution, got {', '.join(at)}")
    if along_time and (method != "conv" or layers[-4] not in places):
        raise ValueError(
            f'a 3D convolution joins with method="conv" after {legal[-4]}, got method={method!r} and '
            f"at={', '.join(at)}"
        )
    return places
