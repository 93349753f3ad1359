"""One classifier for several datasets: a head each is a slice of its rows; one dataset has all of them.

Training on several datasets with `heads="each"` joins their examples into one list and puts their classes
side by side. The classifier scores all of them; the loss of a clip looks only at the slice of the dataset
that the clip is from. So any network serves, whatever its head is made of, and `cut_head` gives the network
of one dataset: the same trunk, and the rows of its slice.

Legend: B clips, K classes (of all datasets), N datasets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vadis.data.union import name_apart
from vadis.models import VideoModel
from vadis.records import Dataset, Example

HeadKind = Literal["class", "multi_label"]


@dataclass(frozen=True)
class Head:
    """The classes of one dataset among the classifier's rows: start to stop, without the last.

    name: of the dataset, unlike that of any other head.
    """

    name: str
    start: int
    stop: int
    kind: HeadKind
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of rows."""
        return self.stop - self.start


def single_head(dataset: Dataset, kind: HeadKind) -> Head:
    """The head of a run with one dataset: all rows."""
    return Head(dataset.name, 0, dataset.num_classes, kind, dataset.class_names)


def join_datasets(datasets: Sequence[Dataset]) -> tuple[Dataset, tuple[Head, ...], Tensor]:
    """Several datasets as one list of examples with their classes side by side.

    Returns the joint dataset (paths are absolute; class names are "dataset: class"), its heads, and
    owner_N: for each example the number of its head (int64, as many as there are examples).
    """
    heads: list[Head] = []
    examples: list[Example] = []
    class_names: list[str] = []
    owners: list[int] = []
    groups: dict[str, tuple[int, ...]] = {}
    multi_label = any(dataset.multi_label for dataset in datasets)
    for number, (name, dataset) in enumerate(zip(name_apart(datasets), datasets, strict=True)):
        start = len(class_names)
        kind: HeadKind = "multi_label" if dataset.multi_label else "class"
        heads.append(Head(name, start, start + dataset.num_classes, kind, dataset.class_names))
        class_names += [f"{name}: {each}" for each in dataset.class_names]
        for group, labels in dataset.class_groups.items():
            groups[f"{name}: {group}"] = tuple(start + label for label in labels)
        root = Path(dataset.root).resolve()
        for example in dataset.examples:
            shifted = tuple(start + label for label in example.labels)
            absent = tuple(start + label for label in example.absent)
            examples.append(
                replace(example, video=str(root / example.video), labels=shifted, absent=absent, spans=())
            )
        owners += [number] * len(dataset.examples)
    joint = Dataset(
        " + ".join(head.name for head in heads),
        ".",
        datasets[0].split,
        tuple(class_names),
        tuple(examples),
        multi_label,
        groups,
        tuple(note for dataset in datasets for note in dataset.notes),
    )
    return joint, tuple(heads), torch.tensor(owners, dtype=torch.int64)


def cut_head(model: VideoModel, head: Head) -> VideoModel:
    """A copy of a network with the rows of one head for its classifier, and that dataset's class names."""
    whole = model.state_dict()
    cut = copy.deepcopy(model)
    options, name = cut.options, cut.name
    if (head.start, head.stop) != (0, model.num_classes):
        cut.reset_head(head.num_classes)
        state = {
            key: value
            if value.shape == whole[key].shape
            else whole[key][head.start : head.stop].reshape(value.shape)
            for key, value in cut.state_dict().items()
        }
        cut.load_state_dict(state)
    cut.class_names, cut.options, cut.name = head.class_names, options, name
    return cut
