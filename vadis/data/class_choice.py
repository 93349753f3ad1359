"""Some classes of a dataset as a dataset of its own: ten motions to learn from, five others to transfer to.

Classes are named, or meant by a shell pattern ("dance_*"). What is left is labelled anew, in the old order;
examples, spans and boxes without a chosen class go, and so do the other labels of those that stay.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vadis.data.rows import read_text
from vadis.records import DataError, Dataset, Example


def parse_classes(text: str) -> tuple[str, ...]:
    """Names and patterns from "walk,dance_*", or from a .txt file with one on each line. Raises DataError.

    Names that hold a comma need the file.
    """
    words = read_text(Path(text)).splitlines() if text.endswith(".txt") else text.split(",")
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


def choose_classes(dataset: Dataset, words: Sequence[str]) -> Dataset:
    """The examples of some classes, labelled from 0 in the dataset's order of them.

    words: names of classes, or shell patterns. No words choose all: the dataset as it is. The name says how
    many were chosen, so that no number on a part is taken for one on the whole. Raises ValueError for a word
    that no class answers to, DataError where no example is left.
    """
    if not words:
        return dataset
    chosen: set[int] = set()
    for word in words:
        named = {label for label, name in enumerate(dataset.class_names) if name == word}
        meant = named or {
            label for label, name in enumerate(dataset.class_names) if fnmatch.fnmatchcase(name, word)
        }
        if not meant:
            near = difflib.get_close_matches(word, dataset.class_names, 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(dataset.class_names[:20])}"
            )
            raise ValueError(f"{dataset.name} has no class {word!r}; {hint}")
        chosen |= meant
    new = {label: place for place, label in enumerate(sorted(chosen))}
    class_names = tuple(dataset.class_names[label] for label in new)
    examples = tuple(
        _relabel(example, new, class_names)
        for example in dataset.examples
        if new.keys() & set(example.labels)
    )
    if not examples:
        raise DataError(f"{dataset.root}: {dataset.split} holds no example of {', '.join(class_names)}")
    groups = {group: _exchange(labels, new) for group, labels in dataset.class_groups.items()}
    return replace(
        dataset,
        name=f"{dataset.name} ({len(new)} of {dataset.num_classes} classes)",
        class_names=class_names,
        examples=examples,
        class_groups={group: labels for group, labels in groups.items() if labels},
    )


def _relabel(example: Example, new: Mapping[int, int], class_names: Sequence[str]) -> Example:
    """An example without the other classes: in its own labels, those of its spans and of its boxes."""
    boxes = (replace(box, labels=_exchange(box.labels, new)) for box in example.boxes)
    return replace(
        example,
        labels=_exchange(example.labels, new),
        absent=_exchange(example.absent, new),
        spans=tuple(
            replace(span, label=new[span.label], class_name=class_names[new[span.label]])
            for span in example.spans
            if span.label in new
        ),
        boxes=tuple(box for box in boxes if box.labels),
    )


def _exchange(labels: Sequence[int], new: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(new[label] for label in labels if label in new)
