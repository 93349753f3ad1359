"""What to train on and what to choose by: a dataset's training split and its counterpart, or a part held out.

Official splits are taken as they are: train2 with test2, train with val, with test where there is no val or
its labels are hidden. Data without splits (class folders, one list) are split by source with a seed. `note`
says in words which it was: a number on a part that was held out is not one on an official split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vadis.data import read_dataset
from vadis.data.files import AbsentError
from vadis.data.scan import find_reading, find_splits
from vadis.data.splitting import shares_sources, split_dataset
from vadis.records import DataError, Dataset
from vadis.video.find import IMAGE_SUFFIXES

VALIDATION_WORDS = ("val", "validation", "test")
"""What the counterpart of a training split is called, in the order of preference."""

HELD_OUT = "validation"


@dataclass(frozen=True)
class Parts:
    """What a training run learns from, what it is validated on (None: nothing), and how they came about."""

    train: Dataset
    validation: Dataset | None
    note: str


def open_parts(
    path: str | Path,
    name: str | None = None,
    split: str | None = None,
    *,
    validation: float = 0.2,
    seed: int = 0,
    **options: Any,
) -> Parts:
    """The training and the validation part of whatever a folder or a list is (`vadis.data.scan`).

    split: the one to train on, such as "train2" (or only "2"); None is the first training split, else the
    only one there is. validation: share (0 to 1) that is held out where the split has no counterpart with
    labels; 0 holds nothing out. options: of `read_dataset`. Raises as `vadis.data.scan.open_dataset` does.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share from 0 to below 1, not {validation}")
    root = Path(path)
    name, _ = find_reading(root, name)
    splits = find_splits(root, name)
    split = _training_split(root, name, splits, split)
    train = read_dataset(name, root, split, **options)
    check_videos(train)
    if not any(example.labels for example in train.examples):
        raise DataError(
            f"{root}: no example of the split {split!r} has a label, so there is nothing to learn"
        )
    if found := _counterpart(name, root, split, splits, options):
        if found.class_names != train.class_names:
            raise DataError(f"{root}: the splits {split!r} and {found.split!r} have different classes")
        return Parts(train, found, f"{name}: trained on {split}, validated on {found.split}, as they are")
    if not validation:
        return Parts(train, None, f"{name}: trained on all of {split}, nothing is held out")
    shares = {"train": 1 - validation, HELD_OUT: validation}
    parts = split_dataset(train, shares, seed=seed)
    held_out = parts[HELD_OUT]
    if not held_out.examples or not parts["train"].examples:
        said = "nothing can be held out: all examples are of one source"
        return Parts(train, None, f"{name}: trained on all of {split}; {said}")
    counts = f"{len(held_out.examples)} of {len(train.examples)} examples"
    note = f"{name}: {split} has no counterpart with labels, so {counts} are held out by source (seed {seed})"
    if not shares_sources(train):
        note += "; no sources are known, so clips of one source may be on both sides"
    return Parts(replace(parts["train"], notes=train.notes), held_out, note)


def open_validation(path: str | Path, split: str | None = None) -> Dataset:
    """What to validate on, where that is a dataset of its own: its only split, else its val or test part.

    split: the training split of the other dataset, so that "train2" is validated on "test2". Raises
    ValueError where no split is for validation, and as `vadis.data.scan.find_reading` does.
    """
    root = Path(path)
    name, _ = find_reading(root)
    splits = find_splits(root, name)
    if len(splits) == 1:
        return read_dataset(name, root, splits[0])
    number = "".join(filter(str.isdecimal, split or ""))
    for word in VALIDATION_WORDS:
        for other in (f"{word}{number}", word, f"{word}1"):
            if other in splits and _is_there(name, root, other):
                found = read_dataset(name, root, other)
                if any(example.labels for example in found.examples):
                    return found
    raise ValueError(
        f"{root} is {name}, which has the splits {', '.join(splits)}: none with labels to judge by"
    )


def check_videos(dataset: Dataset) -> None:
    """Raise DataError for single images (COCO), which are there for detectors."""
    suffixes = {PurePosixPath(example.video).suffix.lower() for example in dataset.examples}
    if suffixes and suffixes <= IMAGE_SUFFIXES:
        raise DataError(
            f"{dataset.root}: {dataset.name} holds single images, not videos: `vadis.data.read_dataset` "
            "gives their boxes, masks and keypoints for detectors; networks of clips do not learn from them"
        )


def list_split_pairs(path: str | Path, name: str | None = None) -> tuple[tuple[str, str], ...]:
    """The official pairs to train and to test on: (("train1", "test1"), ("train2", "test2"), ...).

    Most datasets have one pair; data without splits have none: then `open_parts` holds a part out, another
    one for each seed. Raises as `vadis.data.scan.find_reading` does.
    """
    root = Path(path)
    name, _ = find_reading(root, name)
    splits = find_splits(root, name)
    numbered = [split for split in splits if re.fullmatch(r"train\d+", split)]
    pairs = []
    for split in numbered or [split for split in splits if split == "train"]:
        if not _is_there(name, root, split):
            continue
        if found := _counterpart(name, root, split, splits, {}):
            pairs.append((split, found.split))
    return tuple(pairs)


def _training_split(root: Path, name: str, splits: tuple[str, ...], split: str | None) -> str:
    """The split that is meant, by its whole name, its number, or as the first for training."""
    if split is not None:
        numbered = f"train{split}"
        return numbered if split.isdecimal() and numbered in splits else split
    for word in ("train", "train1"):
        if word in splits:
            return word
    if len(splits) == 1:
        return splits[0]
    raise ValueError(f"{root} is {name}, which has the splits {', '.join(splits)}; name the one to train on")


def _counterpart(
    name: str, root: Path, split: str, splits: tuple[str, ...], options: dict[str, Any]
) -> Dataset | None:
    """The first split with labels that belongs to a training split; None where there is none."""
    match = re.fullmatch(r"train(?:ing)?(\d*)", split)
    for word in VALIDATION_WORDS if match else ():
        other = f"{word}{match[1] if match else ''}"
        if other not in splits:
            continue
        try:
            found = read_dataset(name, root, other, **options)
        except AbsentError:
            continue  # an official split whose lists are not there
        if any(example.labels for example in found.examples):
            return found
    return None


def _is_there(name: str, root: Path, split: str) -> bool:
    try:
        read_dataset(name, root, split)
    except AbsentError:
        return False
    return True
