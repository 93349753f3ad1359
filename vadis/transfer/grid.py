"""What a study runs: networks, modes, splits, numbers of examples, seeds in every combination, each once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vadis.transfer.controls import CONTROLS
from vadis.transfer.modes import LINEAR_MODES, check_mode
from vadis.transfer.starts import file_word
from vadis.transfer.subsets import ALL, check_amount

NOT_TRANSFERRED = ("original", "imagenet")


@dataclass(frozen=True)
class Run:
    """One number of a study. model: a start ("i3d_inception.k400"), or several joined by "+": their sum.

    examples: a class ("5", "all"). pretrain: share of the source that the start was pre-trained on, "" for
    none. control: of `vadis.transfer.controls`.
    """

    model: str
    mode: str
    split: int = 1
    examples: str = ALL
    seed: int = 0
    pretrain: str = ""
    control: str = ""

    @property
    def name(self) -> str:
        """A name for files, another one for each run."""
        model = "+".join(map(file_word, self.model.split("+")))
        parts = [model, self.mode, f"split{self.split}", f"x{self.examples}", f"seed{self.seed}"]
        parts += [f"pre{self.pretrain}"] if self.pretrain else []
        parts += [self.control] if self.control else []
        return re.sub(r"[^\w.+-]", "_", "_".join(parts).replace("%", "pc"))


@dataclass(frozen=True)
class Grid:
    """What is to be run: every combination, each once. The fields are those of `Run`, several of each."""

    models: tuple[str, ...] = ("i3d_inception.k400",)
    modes: tuple[str, ...] = ("fixed", "svm")
    splits: tuple[int, ...] = (1,)
    examples: tuple[str, ...] = (ALL,)
    seeds: int = 1
    pretrain: tuple[str, ...] = ()
    controls: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        for mode in self.modes:
            check_mode(mode)
        for amount in (*self.examples, *self.pretrain):
            check_amount(amount)
        for control in self.controls:
            if control not in CONTROLS:
                raise ValueError(f"there is no control {control!r}; there are {', '.join(CONTROLS[1:])}")
        if not self.models or not self.modes or not self.splits or self.seeds < 1:
            raise ValueError("a study needs a network, a mode, a split and a seed at least")


def make_plan(grid: Grid) -> list[Run]:
    """The runs of a grid in order: the parts of a sum before it; runs that would be the same only once.

    A linear layer on all examples is the same for every seed (but where the seed draws the pre-training, the
    labels or the weights); training from scratch knows nothing of a source.
    """
    parts = [part for model in grid.models for part in model.split("+")]
    models = dict.fromkeys([*parts, *(model for model in grid.models if "+" in model)])
    plan: dict[Run, None] = {}
    for control in grid.controls:
        for model in models:
            for mode in grid.modes:
                shares = ("",) if mode in NOT_TRANSFERRED or not grid.pretrain else grid.pretrain
                for pretrain in shares:
                    for split in grid.splits:
                        for examples in grid.examples:
                            for seed in range(grid.seeds):
                                drawn = (
                                    pretrain or control in ("labels", "random") or mode not in LINEAR_MODES
                                )
                                same = seed and examples in (ALL, "100%") and not drawn
                                if not same:
                                    plan[Run(model, mode, split, examples, seed, pretrain, control)] = None
    return list(plan)
