"""A running mean of the weights (EMA): less noise than the last step's weights, for one copy of memory.

    mean <- d x mean + (1 - d) x weights,    d = min(decay, (1 + n) / (10 + n)) after n steps

Without that smaller d at the beginning, a short run would average its random start in. Running statistics of
batch norm are averaged likewise, so that they belong to the averaged weights; counters are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The running mean of a network's `state_dict`, float32. decay: the share kept, per step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)

    @contextmanager
    def used_in(self, model: nn.Module) -> Iterator[None]:
        """While this lasts, the network has the averaged weights; then its own again."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    def _exchange(self, model: nn.Module) -> None:
        with torch.no_grad():
            for key, value in model.state_dict().items():
                own = value.clone()
                value.copy_(self.state[key])
                self.state[key].copy_(own)

    def state_dict(self) -> dict[str, Tensor | int]:
        """The averaged state_dict, and how many steps were taken in."""
        return {**self.state, "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from what `state_dict` gave: every tensor of the network by its key."""
        for key, value in self.state.items():
            given = state[key]
            assert isinstance(given, Tensor)  # noqa: S101 - what `state_dict` wrote
            value.copy_(given)
        self.num_updates = int(state["num_updates"])
