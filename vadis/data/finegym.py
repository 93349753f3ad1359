"""FineGym: elements of gymnastics, named as the judges name them; Gym99 and Gym288 are sets of classes.

Shao et al. 2020 (arXiv:2004.06704). Whole competitions on YouTube hold events, events hold elements:

    gym99_train_element_v1.1.txt, gym99_val_element.txt    AbCdEfGhIjK_E_002184_002237_A_0004_0007 24
    gym99_categories.txt     Clabel:  5; set:  1; Glabel:  24; (VT) round-off, flic-flac on, ...
    set_categories.txt       set: 1; vault
    finegym_annotation_info_v1.1.json    {"AbCdEfGhIjK": {"E_002184_002237": {"event": 2, "timestamps":
        [[2184.1, 2237.9]], "segments": {"A_0004_0007": {"stages": 1, "timestamps": [[4.2, 7.1]]}}}}}

Traps: the times of an element count from the start of its event; an element may have several stages (from the
first start to the last end); `segments` may be null; there are two versions of the training lists. Without
the JSON, the whole seconds in the id are taken (noted). The label is `Clabel`, from 0. Two classes may have
one name in two sets; then the set's name is added. Sets are the class groups. Report top-1 and the mean of
the classes' accuracies.

Videos: `videos/<YouTube id>.mp4` (whole), `events/<id>_E_..._....mp4`, `subactions/<whole id>.mp4` (cut by
MMAction2's scripts); the shortest that is there is taken, and times are on its clock.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from vadis.data.files import Media, find_annotation, find_annotations, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, Where, read_json, read_lines, to_float, to_int
from vadis.records import DataError, Dataset, Example

SPLITS = ("train", "val")
FOLDERS = ("resources/dataset", "gym", "finegym")
ID = re.compile(r"(.+)_(E_(\d+)_(\d+))_(A_(\d+)_(\d+))")
CATEGORY = re.compile(r"Clabel:\s*(\d+);\s*set:\s*(\d+);\s*Glabel:\s*(\d+);\s*(.+)")


def read_categories(path: Path, sets: dict[int, str]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """Class names in order, and the classes of each set."""
    rows: list[tuple[str, str]] = []
    for where, line in read_lines(path):
        match = CATEGORY.fullmatch(line)
        if match is None or int(match[1]) != len(rows):
            raise where.error(
                f"expected 'Clabel: {len(rows)}; set: ...; Glabel: ...; <name>', found {line!r}"
            )
        rows.append((match[4].strip(), sets.get(int(match[2]), f"set {match[2]}")))
    counts = Counter(name for name, _ in rows)
    names = tuple(f"{name} [{group}]" if counts[name] > 1 else name for name, group in rows)
    groups: dict[str, list[int]] = {}
    for label, (_, group) in enumerate(rows):
        groups.setdefault(group, []).append(label)
    return names, {group: tuple(labels) for group, labels in groups.items()}


def element_times(
    annotations: dict[str, Any], match: re.Match[str]
) -> tuple[float, float, float, float] | None:
    """Start and end of the event in the video, of the element in the event, in seconds; None if not known."""
    where = match[0]
    try:
        event = annotations[match[1]][match[2]]
        stages = event["segments"][match[5]]["timestamps"]
        times = (*event["timestamps"][0], stages[0][0], stages[-1][1])
    except (KeyError, TypeError, IndexError):
        return None
    start, end, first, last = (to_float(time, where, "a timestamp") for time in times)
    return start, end, first, last


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    classes: int = 99,
    version: str = "1.1",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split, "train" or "val". classes: 99 or 288; version: "1.0" or "1.1", of the training list and
    the JSON. Raises DataError."""
    root, notes = Path(root), Notes()
    set_path = find_annotation(root, ["set_categories.txt"], FOLDERS)
    sets = {}
    for where, line in read_lines(set_path) if set_path else ():
        number, _, name = line.removeprefix("set:").partition(";")
        sets[to_int(number, where, "the set")] = name.strip()
    class_names, groups = read_categories(
        need_annotation(root, [f"gym{classes}_categories.txt"], FOLDERS), sets
    )
    name = (
        f"gym{classes}_train_element_v{version}.txt" if split == "train" else f"gym{classes}_val_element.txt"
    )
    json_path = find_annotation(root, [f"finegym_annotation_info_v{version}.json"], FOLDERS)
    annotations = read_json(json_path) if json_path else {}
    if not isinstance(annotations, dict):
        raise DataError(f"{json_path}: expected videos by their ids")
    media = Media(videos or root)
    examples = []
    for where, line in read_lines(need_annotation(root, [name], FOLDERS)):
        element, _, label_text = line.rpartition(" ")
        match = ID.fullmatch(element.strip())
        label = to_int(label_text, where, "the label")
        if match is None or not 0 <= label < len(class_names):
            raise where.error(f"expected '<id>_E_..._A_... <0..{len(class_names) - 1}>', found {line!r}")
        examples.append(_make_example(where, match, label, annotations, media, notes))
    return Dataset(
        f"finegym{classes}",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        class_groups=groups,
        notes=notes.all() + media.notes.all(),
    )


def _make_example(
    where: Where, match: re.Match[str], label: int, annotations: dict[str, Any], media: Media, notes: Notes
) -> Example:
    times = element_times(annotations, match)
    if times is None:
        notes.add("an element has no times in the JSON: the whole seconds of its id are taken", where)
        times = (float(match[3]), float(match[4]), float(match[6]), float(match[7]))
    event_start, _, first, last = times
    if last <= first:
        notes.add("an element ends before it begins: its end is taken a second after its start", where)
        last = first + 1
    vid, event = match[1], f"{match[1]}_{match[2]}"
    if video := media.find(match[0], ""):
        return Example(video, match[0], (label,), group=vid, flow=media.flow(video))
    if video := media.find(event, ""):
        return Example(video, match[0], (label,), first, last, vid)
    video = media.find(vid, f"videos/{vid}.mp4")
    return Example(video, match[0], (label,), event_start + first, event_start + last, vid)


def recognise(root: Path, classes: int) -> str:
    """What speaks for this set of classes under a root; "" where nothing does."""
    path = find_annotation(root, [f"gym{classes}_categories.txt"], FOLDERS)
    lists = [f"gym{classes}_val_element.txt", f"gym{classes}_train_element_v*.txt"]
    found = any(find_lists(root, name) for name in lists)
    return path.name if path and found else ""


def find_lists(root: Path, pattern: str) -> list[Path]:
    """The element lists of a name or a pattern; there may be several versions of one."""
    return find_annotations(root, pattern, FOLDERS)


def write_tiny(root: Path, classes: int = 99) -> None:
    """Write a tiny FineGym: three classes, two of them with one name; a video with one element for each."""
    categories = [
        "Clabel:   0; set:  1; Glabel:   1; (VT) round-off, flic-flac on, stretched salto backward off",
        "Clabel:   1; set: 33; Glabel: 290; (BB) salto backward tucked",
        "Clabel:   2; set: 35; Glabel: 359; (BB) salto backward tucked",
    ]
    write_text(root / f"gym{classes}_categories.txt", *categories)
    write_text(
        root / "set_categories.txt", "set: 1; vault", "set: 33; BB_flight_salto", "set: 35; BB_dismounts"
    )
    annotations: dict[str, Any] = {}
    for split in SPLITS:
        lines = []
        for label in range(3):
            vid = f"{split:_<5}_E_{label}-Ab"[:11]
            event, element = "E_000001_000004", "A_0000_0002"
            write_clip(root / "videos" / f"{vid}.mp4", label, seed_of(split, label), num_frames=100)
            stages = [[0.2, 0.9], [1.1, 1.8]]
            segments = {element: {"stages": 2, "timestamps": stages}} if label else None
            annotations[vid] = {event: {"event": 1, "timestamps": [[1.0, 3.8]], "segments": segments}}
            lines.append(f"{vid}_{event}_{element} {label}")
        suffix = "_v1.1" if split == "train" else ""
        write_text(root / f"gym{classes}_{split}_element{suffix}.txt", *lines)
    write_text(root / "finegym_annotation_info_v1.1.json", json.dumps(annotations))
