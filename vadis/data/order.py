"""In which order a training epoch draws its examples: shuffled, balanced by class, repeated.

The order of an epoch is a pure function of (seed, epoch), so a place in it is one number, and every
process knows what the others draw. Nothing is padded: no example is drawn twice to fill a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ORDER_STREAM = 0x0D3A  # keeps these random numbers apart from those of the clips


@dataclass(frozen=True, slots=True)
class Draw:
    """One clip to be made: which example in which epoch, and how often it was drawn in it before.

    The three numbers and the seed determine every random choice about the clip.
    """

    epoch: int
    index: int
    repeat: int = 0


@dataclass(frozen=True)
class Order:
    """How an epoch draws. `balance` 0: every example once; 1: every class equally often; between: softened.

    A class of n examples is drawn in proportion to n ** (1 - balance), by whole numbers fixed beforehand, its
    examples in turn; balance is an exponent, a share from 0 to 1. `num_draws` is the number of examples an
    epoch draws (None: as many as there are). `repeats` takes each of them that many times in a row,
    augmented anew.
    """

    shuffle: bool = True
    balance: float = 0.0
    repeats: int = 1
    num_draws: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance ({self.balance}) must be in [0, 1]")
        if self.repeats < 1 or (self.num_draws is not None and self.num_draws < 1):
            raise ValueError(f"repeats ({self.repeats}) and num_draws ({self.num_draws}) must be at least 1")
        if not self.shuffle and self.balance > 0:
            raise ValueError("balanced sampling draws at random; it cannot keep the order of the files")

    def length(self, num_examples: int) -> int:
        """How many clips an epoch has."""
        if num_examples == 0:
            return 0
        return (num_examples if self.num_draws is None else self.num_draws) * self.repeats

    def draws(self, labels: Sequence[tuple[int, ...]], seed: int, epoch: int) -> list[Draw]:
        """The clips of an epoch in order; `labels` are those of each example."""
        if not labels:
            return []
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([ORDER_STREAM, seed, epoch])))
        num_draws = len(labels) if self.num_draws is None else self.num_draws
        if self.balance > 0:
            chosen = self._balanced(labels, num_draws, rng)
        else:
            chosen = _in_turn(np.arange(len(labels)), num_draws, rng if self.shuffle else None)
        seen: dict[int, int] = {}
        drawn: list[Draw] = []
        for index in chosen.tolist():
            for _ in range(self.repeats):
                drawn.append(Draw(epoch, index, seen.get(index, 0)))
                seen[index] = seen.get(index, 0) + 1
        return drawn

    def _balanced(
        self, labels: Sequence[tuple[int, ...]], num_draws: int, rng: np.random.Generator
    ) -> np.ndarray:
        members: dict[int, list[int]] = {}
        frequency: dict[int, int] = {}
        for each in labels:
            for label in each:
                frequency[label] = frequency.get(label, 0) + 1
        for index, each in enumerate(labels):
            # an example of several classes counts for its rarest one, which needs it most
            rarest = min(each, key=lambda label: (frequency[label], label), default=-1)
            members.setdefault(rarest, []).append(index)
        classes = sorted(members)
        weights = np.array([len(members[label]) ** (1 - self.balance) for label in classes], np.float64)
        exact = num_draws * weights / weights.sum()
        quota = np.floor(exact).astype(np.int64)
        order = np.lexsort((rng.permutation(len(classes)), -np.round(exact - quota, 9)))
        quota[order[: num_draws - int(quota.sum())]] += 1  # largest remainders; ties at random
        parts = [
            _in_turn(np.array(members[label]), count, rng)
            for label, count in zip(classes, quota.tolist(), strict=True)
        ]
        return rng.permutation(np.concatenate(parts))


def _in_turn(indices: np.ndarray, count: int, rng: np.random.Generator | None) -> np.ndarray:
    """`count` of the indices, each as often as any other (but one), in rounds of random order."""
    rounds = [
        indices if rng is None else rng.permutation(indices) for _ in range(-(-count // max(1, len(indices))))
    ]
    return np.concatenate(rounds)[:count] if rounds else indices[:0]


def share_of(draws: Sequence[Draw], batch: int, batch_size: int, rank: int, world_size: int) -> list[Draw]:
    """What one of `world_size` processes takes of global batch number `batch`; may be nothing at the end.

    A global batch has batch_size * world_size clips; processes take consecutive parts of it, as even
    as can be, so one process with the same global batch sees the same clips.
    """
    whole = batch_size * world_size
    part = draws[batch * whole : (batch + 1) * whole]
    begin, end = len(part) * rank // world_size, len(part) * (rank + 1) // world_size
    return list(part[begin:end])
