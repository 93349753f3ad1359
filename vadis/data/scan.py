"""What is this folder? Which dataset, in which layout, with which splits, classes, files; and what is odd.

Each entry of `DATASETS` is asked what speaks for it. Exactly one official dataset: that is the reading. None:
class folders or lists of one's own. More than one of either kind, or an official dataset with a list of one's
own beside it: `AmbiguousError`, which names the readings and how to choose. Class folders beside official
lists are that dataset's videos.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadis.data import DATASETS, folders, lists, read_dataset
from vadis.data.files import AbsentError, missing_files, walk_videos
from vadis.records import DataError, Dataset, Note

OWN = ("folders", "lists", "multi_lists")
"""The entries for data of one's own: asked only where no official dataset is recognised."""

_TOOLKIT_LIST = re.compile(r"(train|val|test)\.(csv|txt)|.*_(videos|rawframes|frames)\.txt")


class AmbiguousError(ValueError):
    """A folder can be read in several ways; `readings` maps each name to what speaks for it."""

    def __init__(self, root: Path, readings: dict[str, str]) -> None:
        self.readings = readings
        lines = [f"  --as {name:<16} {DATASETS[name].title}: {why}" for name, why in readings.items()]
        super().__init__("\n".join([f"{root} can be read in {len(readings)} ways; choose one:", *lines]))


@dataclass(frozen=True)
class SplitReport:
    """What one split holds. `missing` are the videos that are listed but not there."""

    split: str
    num_examples: int
    num_videos: int
    clips_per_class: tuple[int, int]
    num_spans: int
    num_boxes: int
    num_hidden: int
    missing: tuple[str, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Report:
    """What a folder is: its dataset, what speaks for that, its splits; `absent` are those without lists."""

    name: str
    title: str
    root: str
    why: str
    class_names: tuple[str, ...]
    class_groups: dict[str, int]
    multi_label: bool
    splits: tuple[SplitReport, ...]
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: everything but the names of missing files beyond the first ten of a split."""
        return {
            "name": self.name,
            "title": self.title,
            "root": self.root,
            "why": self.why,
            "num_classes": len(self.class_names),
            "class_names": list(self.class_names),
            "class_groups": self.class_groups,
            "multi_label": self.multi_label,
            "splits": [
                {
                    "split": split.split,
                    "examples": split.num_examples,
                    "videos": split.num_videos,
                    "clips_per_class": list(split.clips_per_class),
                    "spans": split.num_spans,
                    "boxes": split.num_boxes,
                    "hidden": split.num_hidden,
                    "missing": len(split.missing),
                    "missing_first": list(split.missing[:10]),
                    "notes": [{"text": n.text, "count": n.count, "first": n.first} for n in split.notes],
                }
                for split in self.splits
            ],
            "absent_splits": list(self.absent),
        }


def recognise(root: Path) -> dict[str, str]:
    """The readings that are possible, by name, with what speaks for each; several are ambiguous.

    ValueError where data of one's own contradict each other.
    """
    official = {
        name: why for name, known in DATASETS.items() if name not in OWN and (why := known.recognise(root))
    }
    if not official:
        return _recognise_own(root)
    own = [path.name for path in root.glob("*") if _is_own_list(path)] if root.is_dir() else []
    if own and "vadis_list" not in official and "benchmark" not in official:
        return {**official, "lists": ", ".join(sorted(own))}
    if "benchmark" in official:
        return {"benchmark": official["benchmark"]}  # its lists are of the same clips
    return official


def _recognise_own(root: Path) -> dict[str, str]:
    """The readings of data of one's own. A list says what videos in train/ and test/ are, so that folders
    that would be unclear without it are no matter."""
    listed = {name: why for name in OWN[1:] if (why := DATASETS[name].recognise(root))}
    try:
        found = {"folders": why} if (why := folders.recognise(root)) else {}
    except ValueError:
        if not listed:
            raise
        found = {}
    return {**found, **listed}


def _is_own_list(path: Path) -> bool:
    """Whether a file is certainly a list of one's own, and not one of a dataset's official files."""
    if path.suffix not in lists.SUFFIXES or not path.is_file():
        return False
    return bool(lists.find_header(path)) or (bool(_TOOLKIT_LIST.fullmatch(path.name)) and lists.is_list(path))


def find_reading(root: Path, name: str | None = None) -> tuple[str, str]:
    """The name of the dataset that a folder or a list is, and what speaks for it.

    name: the reading that the user chose. Raises AmbiguousError, DataError where nothing is recognised.
    """
    if not root.exists():
        raise DataError(f"{root}: there is no such file or folder")
    if name is not None:
        if name not in DATASETS:
            raise ValueError(f"there is no dataset {name!r}; --as takes {', '.join(DATASETS)}")
        return name, DATASETS[name].recognise(root) or "chosen with --as"
    readings = recognise(root)
    if len(readings) > 1:
        raise AmbiguousError(root, readings)
    if not readings:
        raise DataError(f"{root}: {_describe(root)}; see docs/datasets.md for the layouts that are known")
    return next(iter(readings.items()))


def _describe(root: Path) -> str:
    """What lies there, where no layout is recognised."""
    if root.is_file():
        return "is no list of videos (a table with the columns video and label, or plain)"
    depths = Counter(path.count("/") for path, _ in walk_videos(root))
    if not depths:
        return "holds no videos, and no lists that are known"
    levels = ", ".join(f"{count:,} at depth {depth}" for depth, count in sorted(depths.items()))
    return f"holds videos ({levels}), but neither class folders nor lists that are known"


def find_splits(root: Path, name: str) -> tuple[str, ...]:
    """The splits of a dataset, official ones whether or not their lists are there. DataError for none."""
    splits = DATASETS[name].splits_of(root)
    if not splits:
        raise DataError(f"{root}: holds nothing of {DATASETS[name].title} ({name})")
    return splits


def open_dataset(
    root: str | Path, name: str | None = None, split: str | None = None, **options: Any
) -> Dataset:
    """Read one split of whatever a folder or a list is. split: may be left out where there is only one.

    Raises as `find_reading` and `vadis.data.read_dataset` do.
    """
    root = Path(root)
    name, _ = find_reading(root, name)
    if split is None:
        splits = find_splits(root, name)
        if len(splits) != 1:
            raise ValueError(
                f"{root} is {name}, which has the splits {', '.join(splits)}; name one (--split)"
            )
        split = splits[0]
    return read_dataset(name, root, split, **options)


def open_splits(
    root: str | Path, name: str | None = None, split: str | None = None, **options: Any
) -> tuple[Dataset, ...]:
    """Like `open_dataset`, but every split that is there where none is named."""
    if split is not None:
        return (open_dataset(root, name, split, **options),)
    root = Path(root)
    name, _ = find_reading(root, name)
    found: list[Dataset] = []
    first_error: AbsentError | None = None
    for each in find_splits(root, name):
        try:
            found.append(read_dataset(name, root, each, **options))
        except AbsentError as error:
            first_error = first_error or error
    if not found:
        raise first_error or DataError(f"{root}: has no split")
    return tuple(found)


def scan(root: str | Path, name: str | None = None, videos: str | Path | None = None) -> Report:
    """Read every split that is there and say what was found.

    name: how to read it (`--as`). videos: the folder of the videos where they lie elsewhere. Raises
    AmbiguousError, ValueError, DataError.
    """
    root = Path(root)
    name, why = find_reading(root, name)
    datasets = open_splits(root, name, videos=videos)
    dataset, there = datasets[-1], {each.split for each in datasets}
    return Report(
        name,
        DATASETS[name].title,
        dataset.root,
        why,
        dataset.class_names,
        {group: len(labels) for group, labels in dataset.class_groups.items()},
        dataset.multi_label,
        tuple(_report(each) for each in datasets),
        tuple(each for each in find_splits(root, name) if each not in there),
    )


def _report(dataset: Dataset) -> SplitReport:
    counts = Counter(label for example in dataset.examples for label in example.labels)
    per_class = [counts[label] for label in range(dataset.num_classes)]
    return SplitReport(
        dataset.split,
        len(dataset.examples),
        len({example.video for example in dataset.examples}),
        (min(per_class, default=0), max(per_class, default=0)),
        sum(len(example.spans) for example in dataset.examples),
        sum(len(example.boxes) for example in dataset.examples),
        sum(not example.labels and not example.absent for example in dataset.examples),
        tuple(missing_files(dataset)),
        dataset.notes,
    )
