"""What a network costs: parameters and multiply-adds, counted without computing anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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


def measure_cost(model: nn.Module, shape_CTHW: Sequence[int] | Mapping[str, Sequence[int]]) -> Cost:
    """Count parameters, and 10^9 multiply-adds for one clip of `shape_CTHW`, or of a shape by modality.

    The shapes of a network's own clips are `model.spec.shapes`. A copy of the model runs on the meta
    device: shapes only, no memory, no arithmetic. Errors are the model's own (a clip that is too small).
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    shapes = shape_CTHW if isinstance(shape_CTHW, Mapping) else {"": shape_CTHW}
    clips = {name: torch.empty((1, *shape), device="meta") for name, shape in shapes.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(clips.get("", clips))
    return Cost(count_parameters(model), counter.get_total_flops() / 2 / 1e9)
