"""The learning rate as a function of the place in a run; pure, but for the memory that "plateau" needs.

    lr(t) = warm-up to f(warmup) for t < warmup, then f(t)

    schedule      f(t), with the whole length L
    constant      lr
    step          lr x gamma ^ (milestones that lie at or before t)
    cosine        final_lr + (lr - final_lr) x (1 + cos(pi t / L)) / 2
    linear        lr + (final_lr - lr) x t / L
    polynomial    final_lr + (lr - final_lr) x (1 - t / L) ^ power
    plateau       lr x gamma ^ (how often validation stood still)

t counts epochs or steps, as `OptimConfig.unit` says, and in between: step s of an epoch of n is at s / n. The
half period of cosine and the warm-up that ends where the curve then is are SlowFast's (arXiv:1812.03982,
sec. 4.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vadis.config import OptimConfig


@dataclass(frozen=True)
class Clock:
    """From steps to the unit of a schedule. steps_per_epoch: of the optimiser, at least 1."""

    optim: OptimConfig
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """How many steps the whole run has; a started epoch or step counts whole."""
        whole = self.optim.length * (self.steps_per_epoch if self.optim.unit == "epochs" else 1)
        return math.ceil(whole - 1e-9)

    def place(self, step: int) -> float:
        """Where a step begins, in the schedule's unit (epochs or steps, as a fraction)."""
        return step / self.steps_per_epoch if self.optim.unit == "epochs" else float(step)

    def epoch(self, step: int) -> float:
        """Where a step begins, in epochs (a fraction)."""
        return step / self.steps_per_epoch


def check_optim(optim: OptimConfig) -> None:
    """Refuse lengths and factors that make no schedule, with a ValueError that names the field."""
    if optim.length <= 0:
        raise ValueError(f"optim.length ({optim.length}) must be above 0")
    if not 0 <= optim.warmup <= optim.length:
        raise ValueError(f"optim.warmup ({optim.warmup}) must be from 0 to optim.length ({optim.length})")
    if list(optim.milestones) != sorted(optim.milestones):
        raise ValueError(f"optim.milestones ({optim.milestones}) must rise")
    if optim.schedule == "step" and not optim.milestones:
        raise ValueError('optim.schedule "step" needs optim.milestones')
    if not 0 <= optim.ema < 1:
        raise ValueError(f"optim.ema ({optim.ema}) must be from 0 to below 1")
    if optim.clip_norm is not None and optim.clip_norm <= 0:
        raise ValueError(f"optim.clip_norm ({optim.clip_norm}) must be above 0, or none")


def peak_rate(optim: OptimConfig, batch_size: int) -> float:
    """The peak learning rate for so many clips a step: in proportion to `lr_for_batch` where that is set."""
    return optim.lr if optim.lr_for_batch is None else optim.lr * batch_size / optim.lr_for_batch


def rate_at(optim: OptimConfig, place: float, batch_size: int, num_drops: int = 0) -> float:
    """The learning rate at a place of the schedule, in its unit (a fraction of epochs, or steps).

    Rates all scale with the batch where `lr_for_batch` is set. num_drops: of `Plateau`.
    """
    scale = peak_rate(optim, batch_size) / optim.lr if optim.lr else 1.0
    if place < optim.warmup:
        reached = _after_warmup(optim, optim.warmup, num_drops)
        return scale * (optim.warmup_lr + (reached - optim.warmup_lr) * place / optim.warmup)
    return scale * _after_warmup(optim, place, num_drops)


def _after_warmup(optim: OptimConfig, place: float, num_drops: int) -> float:
    share = min(place / optim.length, 1.0)
    lr, last = optim.lr, optim.final_lr
    if optim.schedule == "constant":
        return lr
    if optim.schedule == "step":
        # a milestone counts from the step that begins there; division may leave that a hair before it
        return lr * optim.gamma ** sum(place >= milestone - 1e-9 for milestone in optim.milestones)
    if optim.schedule == "cosine":
        return last + (lr - last) * (1 + math.cos(math.pi * share)) / 2
    if optim.schedule == "linear":
        return lr + (last - lr) * share
    if optim.schedule == "polynomial":
        return last + (lr - last) * (1 - share) ** optim.power
    return lr * optim.gamma**num_drops


@dataclass
class Plateau:
    """Counts validations that brought nothing better, and how often the rate was dropped for it.

    patience: validations without a better one after which the rate drops. best: the best value so far
    (higher is better), in whatever unit the metric has.
    """

    patience: int
    best: float = -math.inf
    waited: int = 0
    num_drops: int = 0

    def note(self, value: float) -> bool:
        """Take in a validation's value (in the metric's own unit, a score); True where the rate drops."""
        if value > self.best:
            self.best, self.waited = value, 0
            return False
        self.waited += 1
        if self.waited <= self.patience:
            return False
        self.waited, self.num_drops = 0, self.num_drops + 1
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return {"best": self.best, "waited": self.waited, "num_drops": self.num_drops}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
        self.num_drops = int(state["num_drops"])
