"""ActivityNet-200 (v1.3) and -100 (v1.2): untrimmed videos with labelled intervals.

Caba Heilbron et al. 2015 (CVPR). `activity_net.v1-3.min.json`:

    {"database": {"AbCdEfGhIjK": {"duration": 82.73, "subset": "validation", "resolution": "320x240",
       "url": "..", "annotations": [{"segment": [6.2, 77.8], "label": "Skiing"}]}, ...},
     "taxonomy": [{"parentName": "..", "nodeName": "Skiing", "nodeId": 270, "parentId": 269}, ...],
     "version": "VERSION 1.3"}

The subset `testing` has no annotations. The label is the place in the sorted list of names (the official
evaluation numbers classes by first appearance, which changes no score). A video's labels are those of its
intervals; a few have two. Traps: an interval may pass the video's end (kept and counted) or end before it
begins (left out and counted). The upper levels of the taxonomy are class groups.

Videos: `v_<id>.mp4` or `<id>.mp4`, in any folder. HACS Segments has the same form (`vadis.data.hacs`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, read_json, to_float, to_label
from vadis.records import DataError, Dataset, Example, Span

SPLITS = ("train", "val", "test")
SUBSETS = {"train": "training", "val": "validation", "test": "testing"}
FILES = {"1.3": ("activity_net.v1-3*.json",), "1.2": ("activity_net.v1-2*.json",)}


def read_database(path: Path) -> dict[str, Any]:
    """The whole document, checked to have a database of videos."""
    document = read_json(path)
    database = document.get("database") if isinstance(document, dict) else None
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise DataError(f"{path}: has no 'database' of videos")
    for name, entry in database.items():
        if entry.get("subset") not in SUBSETS.values() or not isinstance(entry.get("annotations", []), list):
            raise DataError(f"{path}: the video {name!r} has no known subset, or no list of annotations")
    return document


def annotations_of(path: Path, name: str, entry: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """The intervals of one video: class name, start and end in seconds."""
    where = f"{path}: {name}"
    for annotation in entry.get("annotations", []):
        try:
            label, (start, end) = annotation["label"], annotation["segment"]
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{where}: an annotation has no label and segment: {annotation!r}") from error
        yield label, to_float(start, where, "a segment's start"), to_float(end, where, "a segment's end")


def read_segments(
    path: Path, split: str, name: str, media_root: Path, *, num_classes: int, class_folders: bool = False
) -> Dataset:
    """Read a file of ActivityNet's form as a dataset of this name; see `read`."""
    document, notes = read_database(path), Notes()
    database = document["database"]
    names = {label for vid, entry in database.items() for label, _, _ in annotations_of(path, vid, entry)}
    class_names = tuple(sorted(names))
    if len(class_names) != num_classes:
        notes.add(
            f"the file names {len(class_names)} classes, not {num_classes}: labels are places among those"
        )
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    media = Media(media_root, class_names if class_folders else ())
    examples = []
    for vid, entry in database.items():
        if entry["subset"] != SUBSETS[split]:
            continue
        duration = None
        if "duration" in entry:
            duration = to_float(entry["duration"], f"{path}: {vid}", "duration")
        spans, labels = [], []
        for class_name, start, end in annotations_of(path, vid, entry):
            labels.append(to_label(class_name, label_of, path))
            if end < start:
                notes.add("an interval ends before it begins: left out, its label stays", vid)
                continue
            if duration is not None and end > duration:
                notes.add("an interval passes the end of its video: kept as it is", vid)
            spans.append(Span(start, end, labels[-1], class_name))
        folder = class_names[labels[0]] if labels and class_folders else ""
        expected = f"{folder.replace(' ', '_')}/v_{vid}.mp4" if folder else f"videos/v_{vid}.mp4"
        video = media.find(f"v_{vid}", "", folder) or media.find(vid, expected, folder)
        examples.append(
            Example(
                video,
                vid,
                tuple(dict.fromkeys(labels)),
                group=vid,
                spans=tuple(spans),
                duration_seconds=duration,
                flow=media.flow(video),
            )
        )
    return Dataset(
        name,
        str(media.root),
        split,
        class_names,
        tuple(examples),
        multi_label=True,
        class_groups=taxonomy_groups(document.get("taxonomy", []), label_of),
        notes=notes.all() + media.notes.all(),
    )


def taxonomy_groups(taxonomy: list[dict[str, Any]], label_of: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """The classes below each node of the taxonomy's first level under its root."""
    parent_of = {node.get("nodeName"): node.get("parentName") for node in taxonomy if isinstance(node, dict)}
    groups: dict[str, list[int]] = {}
    for name, label in label_of.items():
        line = [name]
        while (parent := parent_of.get(line[-1])) and parent not in line:
            line.append(parent)
        if len(line) > 2:  # class ... first level, root
            groups.setdefault(line[-2], []).append(label)
    return {group: tuple(labels) for group, labels in sorted(groups.items())}


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    version: str = "1.3",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split ("train", "val", "test"). version: "1.3" (200 classes), "1.2" (100). Raises DataError."""
    root = Path(root)
    path = need_annotation(root, FILES[version])
    return read_segments(
        path, split, "activitynet", Path(videos or root), num_classes={"1.3": 200, "1.2": 100}[version]
    )


def recognise(root: Path, version: str) -> str:
    """What speaks for this version under a root; "" where nothing does."""
    path = find_annotation(root, FILES[version])
    return path.name if path else ""


def write_tiny(root: Path, version: str = "1.3") -> None:
    """Write a tiny ActivityNet: three classes of two groups, an interval past the end, a hidden test set."""
    names = ("Skiing", "Playing harmonica", "Hopscotch")
    database: dict[str, Any] = {}
    for split, num_videos in (("train", 6), ("val", 3), ("test", 1)):
        for number in range(num_videos):
            label, vid = number % 3, f"{split:_<6}{number}-Abc"
            write_clip(root / "videos" / f"v_{vid}.mp4", label, seed_of(split, number), num_frames=50)
            annotations = [{"segment": [0.2, 1.1], "label": names[label]}]
            if number == 1:
                annotations.append({"segment": [1.2, 2.4], "label": names[0]})
            database[vid] = {
                "duration": 2.0,
                "subset": SUBSETS[split],
                "resolution": "64x48",
                "url": f"https://www.youtube.com/watch?v={vid}",
                "annotations": [] if split == "test" else annotations,
            }
    parents = {"Skiing": "Sports", "Playing harmonica": "Music", "Hopscotch": "Sports", "Sports": "Root"}
    taxonomy = [
        {"parentName": parent, "nodeName": node, "nodeId": number, "parentId": None}
        for number, (node, parent) in enumerate({**parents, "Music": "Root", "Root": None}.items())
    ]
    document = {"database": database, "taxonomy": taxonomy, "version": f"VERSION {version}"}
    write_text(root / f"activity_net.v{version.replace('.', '-')}.min.json", json.dumps(document))
