"""Datasets: one file for what each one's files say, and the table of all that are read.

    dataset = read_dataset("ucf101", "ucf", "train1")    # Dataset: class_names, examples, notes

A dataset joins by one file with `read`, `recognise` and `write_tiny`, and by one line in `DATASETS`.
`vadis.data.scan` finds out which of them a folder is.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from vadis.data import (
    activitynet,
    ava,
    charades,
    coco,
    finegym,
    folders,
    hacs,
    hmdb51,
    jhmdb,
    kinetics,
    lists,
    minikinetics,
    moments,
    ours,
    something,
    sports1m,
    ucf101,
    ucf101_24,
)
from vadis.data.files import find_annotation
from vadis.data.flow_stores import attach_flow
from vadis.data.rows import read_table, to_label
from vadis.records import Dataset

__all__ = ["DATASETS", "DatasetFormat", "list_datasets", "read_dataset"]


@dataclass(frozen=True)
class DatasetFormat:
    """How a dataset is read: by `read`, `recognise` and `write_tiny` of a module, all three with `options`.

    `splits` are the official ones; where the data themselves say, the module has `find_splits(root)`.
    """

    title: str
    module: ModuleType
    splits: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def splits_of(self, root: Path) -> tuple[str, ...]:
        """The splits of a copy of the dataset, whether or not the files of each are there."""
        return self.splits or tuple(self.module.find_splits(root, **self.options))

    def recognise(self, root: Path) -> str:
        """What speaks for this dataset under a root, in words; "" where nothing does."""
        return str(self.module.recognise(root, **self.options))

    def write_tiny(self, root: Path) -> None:
        """Write a tiny made copy in the official layout, of moving shapes."""
        self.module.write_tiny(root, **self.options)


DATASETS: dict[str, DatasetFormat] = {
    "kinetics400": DatasetFormat("Kinetics-400", kinetics, kinetics.SPLITS, {"version": "400"}),
    "kinetics600": DatasetFormat("Kinetics-600", kinetics, kinetics.SPLITS, {"version": "600"}),
    "kinetics700": DatasetFormat("Kinetics-700", kinetics, kinetics.SPLITS, {"version": "700"}),
    "kinetics700_2020": DatasetFormat(
        "Kinetics-700-2020", kinetics, kinetics.SPLITS, {"version": "700_2020"}
    ),
    "minikinetics200": DatasetFormat(
        "Mini-Kinetics-200 (Xie)", minikinetics, ("train", "val"), {"version": "200"}
    ),
    "minikinetics80k": DatasetFormat(
        "miniKinetics of the first I3D", minikinetics, ("train", "val", "test"), {"version": "80k"}
    ),
    "ucf101": DatasetFormat("UCF-101", ucf101, ucf101.SPLITS),
    "hmdb51": DatasetFormat("HMDB-51", hmdb51, hmdb51.SPLITS),
    "sports1m": DatasetFormat("Sports-1M", sports1m, sports1m.SPLITS),
    "activitynet": DatasetFormat("ActivityNet v1.3", activitynet, activitynet.SPLITS, {"version": "1.3"}),
    "activitynet_1.2": DatasetFormat("ActivityNet v1.2", activitynet, activitynet.SPLITS, {"version": "1.2"}),
    "charades": DatasetFormat("Charades", charades, charades.SPLITS),
    "ava_2.1": DatasetFormat("AVA v2.1", ava, ava.SPLITS, {"version": "2.1"}),
    "ava_2.2": DatasetFormat("AVA v2.2", ava, ava.SPLITS, {"version": "2.2"}),
    "something_v1": DatasetFormat("Something-Something v1", something, something.SPLITS, {"version": "1"}),
    "something_v2": DatasetFormat("Something-Something v2", something, something.SPLITS, {"version": "2"}),
    "moments": DatasetFormat("Moments in Time", moments, moments.SPLITS, {"multi": False}),
    "multi_moments": DatasetFormat("Multi-Moments in Time", moments, moments.SPLITS, {"multi": True}),
    "hacs_clips": DatasetFormat("HACS Clips", hacs, hacs.SPLITS, {"part": "clips"}),
    "hacs_segments": DatasetFormat("HACS Segments", hacs, hacs.SPLITS, {"part": "segments"}),
    "finegym99": DatasetFormat("FineGym, Gym99", finegym, finegym.SPLITS, {"classes": 99}),
    "finegym288": DatasetFormat("FineGym, Gym288", finegym, finegym.SPLITS, {"classes": 288}),
    "ucf101_24": DatasetFormat("UCF101-24", ucf101_24, ucf101_24.SPLITS),
    "jhmdb": DatasetFormat("J-HMDB", jhmdb, jhmdb.SPLITS),
    "coco": DatasetFormat("COCO 2017", coco, coco.SPLITS),
    "benchmark": DatasetFormat("a folder of `vadis data make`", ours, options={"form": "benchmark"}),
    "vadis_list": DatasetFormat("a list of `vadis data split` or `convert`", ours, options={"form": "list"}),
    "folders": DatasetFormat("class folders of your own", folders),
    "lists": DatasetFormat("lists of your own (CSV, TSV, JSONL, plain)", lists),
    "multi_lists": DatasetFormat(
        "plain lists with several labels a video", lists, options={"multi_label": True}
    ),
}
"""Every dataset that is read, by the name that commands take."""

SPLIT_SPELLINGS = {"training": "train", "validation": "val", "validate": "val", "testing": "test"}


def list_datasets() -> tuple[str, ...]:
    """The names of the datasets that are read."""
    return tuple(DATASETS)


def read_dataset(
    name: str,
    root: str | os.PathLike[str],
    split: str,
    *,
    videos: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Dataset:
    """Read one split of a dataset by its name (`list_datasets`).

    videos: the folder of the videos where they do not lie under the root. options: of the dataset's own
    reader, such as `denied=True` for HACS Clips. A file `class_groups.csv` (columns `class_name`, `group`)
    under the root adds groups of classes. Raises DataError for malformed or missing annotations, ValueError
    for an unknown name or split.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DATASETS)}"
        raise ValueError(f"there is no dataset {name!r}; {hint}")
    known, root = DATASETS[name], Path(root)
    split = split if split in (splits := known.splits_of(root)) else SPLIT_SPELLINGS.get(split, split)
    if split not in splits:
        raise ValueError(f"{name} has the splits {', '.join(splits)}, not {split!r}")
    dataset: Dataset = known.module.read(root, split, videos=videos, **{**known.options, **options})
    dataset = attach_flow(dataset)
    groups = read_class_groups(root if root.is_dir() else root.parent, dataset)
    return replace(dataset, class_groups={**dataset.class_groups, **groups}) if groups else dataset


def read_class_groups(root: Path, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The groups of `class_groups.csv` under a root; none where there is no such file. Raises DataError."""
    path = find_annotation(root, ["class_groups.csv"])
    groups: dict[str, list[int]] = {}
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    for where, row in read_table(path, ("class_name", "group")) if path else ():
        groups.setdefault(row["group"], []).append(to_label(row["class_name"], label_of, where))
    return {group: tuple(labels) for group, labels in groups.items()}
