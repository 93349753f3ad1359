"""A folder of stored flow: which videos it holds, how they were made, and where a dataset finds it.

`vadis flow DATA` writes the flow of all videos of a dataset into one folder, DATA/flow: a folder for each
video and a manifest, `flow.jsonl`, of all that was done and of all that failed. Who reads the dataset later
finds its flow there without being told, whatever the dataset's own layout is; flow that the dataset
brings itself comes first.

The manifest's first line says how; each other line is one video. Lines are added as videos are done: a line
that was broken off by a crash counts as not there, and of several lines of one video the last is valid.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vadis.records import DataError, Dataset, Note
from vadis.video.find import FLOW_MANIFEST as MANIFEST
from vadis.video.flow_files import NOTE

VERSION = 1
FOLDER = "flow"
"""Where `vadis flow DATA` writes, below DATA."""

_NAME = re.compile(r"(.*[_-])?flow([_-].*)?", re.I)
"""What a folder of a dataset may be called to be looked into."""


@dataclass(frozen=True)
class FlowStore:
    """What a manifest says: how flow was made (`settings`), and a row for each video, by its name.

    A row holds `folder` (relative to the store) and what is known of the video, or `failed`: why not.
    """

    root: Path
    settings: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_store(root: Path) -> FlowStore:
    """Read a manifest. Raises DataError where it is not one, or of a version that is not known."""
    file = root / MANIFEST
    rows: dict[str, Mapping[str, Any]] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            head = json.loads(next(lines, "{}"))
            for line in lines:
                try:
                    row = json.loads(line)
                    rows[row["video"]] = row
                except (ValueError, KeyError, TypeError):
                    continue  # broken off when the process was killed
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is no manifest of `vadis flow`: {error}") from None
    if not isinstance(head, dict) or head.get("vadis_flow") != VERSION:
        raise DataError(f"{file}: is no manifest of `vadis flow` that this version knows")
    return FlowStore(root, head["settings"], rows)


def find_store(root: Path) -> Path | None:
    """The folder of stored flow in a dataset's root: the one called flow, else the first by name."""
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    except OSError:
        return None
    found = [name for name in names if (root / name / MANIFEST).is_file()]
    return root / min(found, key=lambda name: (name != FOLDER, name)) if found else None


def attach_flow(dataset: Dataset) -> Dataset:
    """The dataset, with the stored flow of those examples that have none of their own."""
    if all(example.flow for example in dataset.examples):
        return dataset
    place = find_store(Path(dataset.root))
    if place is None:
        return dataset
    store = read_store(place)
    examples, lacking, first = [], 0, ""
    for example in dataset.examples:
        row = store.rows.get(example.video, {})
        if not example.flow and "folder" in row:
            example = replace(example, flow=(f"{place.name}/{row['folder']}/{NOTE}",))
        elif not example.flow:
            lacking, first = lacking + 1, first or example.video
        examples.append(example)
    notes = dataset.notes
    if lacking:
        notes = (*notes, Note(f"has no flow in {place.name} (vadis flow --resume goes on)", lacking, first))
    return replace(dataset, examples=tuple(examples), notes=notes)
