"""Parts of a dataset for training and testing: no source on both sides, every class in proportion.

Clips cut from one recording look alike, so a network that saw one of them in training knows the others;
UCF-101 puts them into groups, and only whole groups go to a side. Groups are dealt out from the largest to
the smallest, each to the part whose classes it brings closest to their share; ties fall by the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from vadis.records import Dataset, Example, Note


def find_groups(examples: Iterable[Example], together: Iterable[tuple[str, str]] = ()) -> list[list[int]]:
    """Indices of examples that must stay together: of one `group`, of one video, or in a pair of `together`.

    together: pairs of ids or of videos, such as `find_alike` gives.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(one: tuple[str, str], other: tuple[str, str]) -> None:
        parent[root(one)] = root(other)

    examples = list(examples)
    for example in examples:
        join(("id", example.id), ("video", example.video))
        if example.group:
            join(("id", example.id), ("group", example.group))
    for one, other in together:
        kinds = [("id", name) if ("id", name) in parent else ("video", name) for name in (one, other)]
        join(kinds[0], kinds[1])
    members: dict[tuple[str, str], list[int]] = {}
    for index, example in enumerate(examples):
        members.setdefault(root(("id", example.id)), []).append(index)
    return list(members.values())


def shares_sources(dataset: Dataset) -> bool:
    """Whether videos are known to be of one source: else every video counts as a source of its own."""
    videos: dict[str, str] = {}
    return any(
        videos.setdefault(example.group, example.video) != example.video
        for example in dataset.examples
        if example.group
    )


def split_dataset(
    dataset: Dataset,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    together: Iterable[tuple[str, str]] = (),
) -> dict[str, Dataset]:
    """Split a dataset: for each name of `shares` (fractions of 1, or weights) a dataset in the old order.

    together: pairs of ids or videos that must not be separated. The notes of a part name the classes that
    it has no example of although there are some. ValueError for shares that are not positive.
    """
    if len(shares) < 2 or min(shares.values()) <= 0:
        raise ValueError(f"a split needs two or more parts of positive size, got {dict(shares)}")
    names = list(shares)
    share_P = np.array([shares[name] for name in names], np.float64)
    share_P /= share_P.sum()
    groups = find_groups(dataset.examples, together)
    counts = [Counter(label for i in group for label in dataset.examples[i].labels) for group in groups]
    total = Counter(label for example in dataset.examples for label in example.labels)
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.lexsort((rng.permutation(len(groups)), -np.array([len(group) for group in groups])))
    have = [Counter[int]() for _ in names]
    sizes_P = np.zeros(len(names))
    parts: list[list[int]] = [[] for _ in names]
    for at in order.tolist():
        group, count = groups[at], counts[at]
        cost_P = _cost(sizes_P, len(group), share_P * len(dataset.examples), len(dataset.examples))
        for label, number in count.items():
            have_P = np.array([each[label] for each in have], np.float64)
            cost_P += _cost(have_P, number, share_P * total[label], total[label])
        best = int(np.argmin(np.round(cost_P, 12)))
        parts[best] += group
        have[best].update(count)
        sizes_P[best] += len(group)
    result = {}
    for name, part, each in zip(names, parts, have, strict=True):
        missing = sorted(label for label in total if not each[label])
        notes: tuple[Note, ...] = ()
        if missing:
            first = dataset.class_names[missing[0]]
            notes = (Note(f"classes of which {name} has no example: too few sources", len(missing), first),)
        examples = tuple(dataset.examples[index] for index in sorted(part))
        result[name] = replace(dataset, split=name, examples=examples, notes=(*dataset.notes, *notes))
    return result


def _cost(have_P: np.ndarray, number: int, wanted_P: np.ndarray, total: int) -> np.ndarray:
    """How much worse each part's squared distance from what it should have becomes with `number` more."""
    after_P, before_P = have_P + number - wanted_P, have_P - wanted_P
    return np.asarray((after_P**2 - before_P**2) / max(1, total))
