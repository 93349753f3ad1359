"""Fewer examples of a dataset, nested: whoever has five of a class has the one and the two, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vadis.records import Dataset

ALL = "all"
_STREAM = 0x5B5E7  # keeps these random numbers apart from others of the same seed


def check_amount(text: str) -> str:
    """ "5" (examples a class), "25%" (of each class) or "all", as it is written everywhere; ValueError."""
    text = text.strip()
    if text in (ALL, "100%"):
        return ALL if text == ALL else text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    if (
        match is None
        or not 0 < float(match[1]) <= (100 if match[2] else np.inf)
        or (not match[2] and "." in text)
    ):
        raise ValueError(
            f'an amount is examples a class such as "5", a share such as "25%", or "all"; not {text!r}'
        )
    return text


def take_examples(dataset: Dataset, amount: str, seed: int = 0) -> Dataset:
    """So many examples of each class, drawn by the seed, in the old order.

    amount: as `check_amount` takes it; a share is rounded to whole examples, at least one of each class.
    Where examples have several labels, the numbers are times the number of classes, over all of them.
    """
    amount = check_amount(amount)
    if amount in (ALL, "100%"):
        return dataset
    number, share = (None, float(amount[:-1]) / 100) if amount.endswith("%") else (int(amount), None)
    pools: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(dataset.examples):
        if example.labels or dataset.multi_label:
            pools.setdefault(() if dataset.multi_label else example.labels, []).append(index)
    kept = []
    for labels, pool in sorted(pools.items()):
        rng = np.random.default_rng([_STREAM, seed, *labels])
        order = rng.permutation(len(pool)).tolist()
        if number is not None:
            count = number * (dataset.num_classes if dataset.multi_label else 1)
        else:
            count = max(1, round(float(share or 0) * len(pool)))
        kept += [pool[place] for place in order[:count]]
    return replace(dataset, examples=tuple(dataset.examples[index] for index in sorted(kept)))


def largest(amounts: Sequence[str]) -> str:
    """The amount of the most examples; "all" before any number, the last of those that cannot be compared."""
    if ALL in amounts:
        return ALL
    return max(reversed(amounts), key=lambda amount: float(amount.rstrip("%")))
