"""Several datasets as one, with the union of their classes.

    joint = join_union([kinetics, ucf], read_same(Path("same.csv")))    # joint.dataset, joint.labels

Classes that are spelled alike are one class. A table says which others mean the same, as a CSV file:

    dataset,class,means
    ucf101,HorseRiding,riding or walking with horse
    ,brush_hair,brushing hair

An empty dataset stands for each of them. Nothing is guessed: names that differ only in case, spaces, `_`, `-`
stay apart, and a note names them. One classifier for all classes suits this; a classifier with a head for
each dataset is `vadis.training.heads`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vadis.data.files import plain
from vadis.data.rows import Notes, read_table
from vadis.records import Box, Dataset, Example, Note


@dataclass(frozen=True)
class Joined:
    """A joint dataset, and what became of the labels: labels[d][k] is class k of dataset d in the union.

    names: of the datasets, each unlike the others. The joint dataset's videos have whole paths.
    """

    dataset: Dataset
    names: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]


def read_same(path: Path) -> dict[str, str]:
    """The table of classes that mean the same, as `join_union` takes it. Raises DataError."""
    same: dict[str, str] = {}
    for where, row in read_table(path, ("dataset", "class", "means")):
        if not row["class"] or not row["means"]:
            raise where.error("a row needs a class and what it means")
        key = f"{row['dataset']}: {row['class']}" if row["dataset"] else row["class"]
        if same.setdefault(key, row["means"]) != row["means"]:
            raise where.error(f"{key!r} meant {same[key]!r} before")
    return same


def join_union(datasets: Sequence[Dataset], same: Mapping[str, str] | None = None) -> Joined:
    """Join datasets; same maps "dataset: class", or "class" of any dataset, to the name that the union uses.

    The classes of the first dataset come first, in their order, then the new ones of the second, and so on.
    Groups of classes of one name are joined, too. Raises ValueError for a row of `same` that fits no class.
    """
    same = dict(same or {})
    if not datasets:
        raise ValueError("a union needs at least one dataset")
    names = name_apart(datasets)
    _check(same, datasets, names)
    label_of: dict[str, int] = {}
    labels = tuple(
        tuple(
            label_of.setdefault(
                same.get(f"{name}: {class_name}", same.get(class_name, class_name)), len(label_of)
            )
            for class_name in dataset.class_names
        )
        for name, dataset in zip(names, datasets, strict=True)
    )
    class_names = tuple(label_of)
    ids = [example.id for dataset in datasets for example in dataset.examples]
    unique = len(set(ids)) == len(ids)
    examples: list[Example] = []
    groups: dict[str, dict[int, None]] = {}
    for name, dataset, new in zip(names, datasets, labels, strict=True):
        root = Path(dataset.root).absolute()
        for example in dataset.examples:
            moved = _relabel(example, new, class_names)
            examples.append(
                replace(
                    moved,
                    id=moved.id if unique else f"{name}: {moved.id}",
                    video=str(root / moved.video),
                    flow=tuple(str(root / pattern) for pattern in moved.flow),
                )
            )
        for group, members in dataset.class_groups.items():
            groups.setdefault(group, {}).update(dict.fromkeys(new[label] for label in members))
    splits = dict.fromkeys(dataset.split for dataset in datasets)
    joint = Dataset(
        " + ".join(names),
        Path(datasets[0].root).absolute().anchor,
        " + ".join(splits),
        class_names,
        tuple(examples),
        any(dataset.multi_label for dataset in datasets),
        {group: tuple(sorted(members)) for group, members in groups.items()},
        (*(note for dataset in datasets for note in dataset.notes), *_nearly_same(class_names)),
    )
    return Joined(joint, names, labels)


def name_apart(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The datasets' names, with a number behind a name that is taken: "clips", "clips-2"."""
    names: list[str] = []
    for dataset in datasets:
        number, name = 1, dataset.name
        while name in names:
            number += 1
            name = f"{dataset.name}-{number}"
        names.append(name)
    return tuple(names)


def _check(same: Mapping[str, str], datasets: Sequence[Dataset], names: Sequence[str]) -> None:
    known = {class_name for dataset in datasets for class_name in dataset.class_names}
    known |= {
        f"{name}: {c}" for name, dataset in zip(names, datasets, strict=True) for c in dataset.class_names
    }
    for key, means in same.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the datasets are {', '.join(names)}"
            raise ValueError(f"{key!r} means {means!r}, but there is no such class{hint}")
        if same.get(means, means) != means:
            raise ValueError(f"{key!r} means {means!r}, which means {same[means]!r}: name the last one only")


def _relabel(example: Example, new: Sequence[int], class_names: Sequence[str]) -> Example:
    """An example with every label exchanged: its own, those of its spans and of its boxes."""

    def exchange(labels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(new[label] for label in labels))

    def move(box: Box) -> Box:
        return replace(box, labels=exchange(box.labels))

    return replace(
        example,
        labels=exchange(example.labels),
        absent=exchange(example.absent),
        spans=tuple(
            replace(span, label=new[span.label], class_name=class_names[new[span.label]])
            for span in example.spans
        ),
        boxes=tuple(map(move, example.boxes)),
    )


def _nearly_same(class_names: Sequence[str]) -> tuple[Note, ...]:
    """A note of names that differ only in how they are written."""
    notes = Notes()
    first: dict[str, str] = {}
    for name in class_names:
        other = first.setdefault(plain(name), name)
        if other != name:
            notes.add("two classes differ only in spelling: kept apart", f"{other!r} and {name!r}")
    return notes.all()
