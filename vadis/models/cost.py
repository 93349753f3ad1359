"""What a network costs: parameters and multiply-adds, counted without computing anything."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """`num_parameters` (trained ones: batch norm's running statistics are not), and `gmac` for one input.

    One multiply-add is what the papers call a FLOP. Convolutions, linear layers and attention products
    count, padded taps included; normalisation, activations and pooling do not.
    """

    num_parameters: int
    gmac: float


def count_parameters(model: nn.Module) -> int:
    """Number of trained values of `model`; a parameter used in two places counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_cost(model: nn.Module, shape_CTHW: Sequence[int]) -> Cost:
    """Count parameters, and 10^9 multiply-adds for one clip of `shape_CTHW`.

    A copy of the model runs on the meta device: shapes only, no memory, no arithmetic. Errors are the
    model's own (a clip that is too small).
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty((1, *shape_CTHW), device="meta"))
    return Cost(count_parameters(model), counter.get_total_flops() / 2 / 1e9)
