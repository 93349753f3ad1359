"""Datasets as lists or as class folders: what `split`, `convert` and `shard` write is read back the same.

`.jsonl`: one example a line with all its fields; the first line holds what belongs to all (name, split,
class names in the order of their labels, groups of classes). It is read here. The others are layouts of one's
own: `vadis.data.lists` and `vadis.data.folders` read them.

`.csv`: `id,video,label,start_seconds,end_seconds,group,split` and what else the examples have, the label by
name, for one label an example. `.txt`: "video label" of the common toolkits, for whole videos. Class folders:
`FOLDER/CLASS/VIDEO`. Beside these three lies `classes.txt` for the order of labels, and `class_groups.csv`
where there are groups. Paths are relative to the list's folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vadis.data.clips import find_source
from vadis.data.files import find_class_names, is_folder_name, write_class_names
from vadis.data.folders import split_of
from vadis.data.lists import parse_plain
from vadis.data.rows import Where
from vadis.data.splitting import shares_sources
from vadis.records import Box, DataError, Dataset, Example, Span
from vadis.video.find import VIDEO_SUFFIXES
from vadis.video.write import part_file

CSV_COLUMNS = ("id", "video", "label", "start_seconds", "end_seconds", "group", "split")
MORE_COLUMNS = ("duration_seconds", "num_frames", "fps", "flow")
"""Columns of a `.csv` list that are there where an example has them."""

FORMAT = "vadis list"
CLASSES, GROUPS = "classes.txt", "class_groups.csv"


def write_list(path: Path, dataset: Dataset) -> Path:
    """Write a dataset's examples as .jsonl, .csv or .txt, in one step. Paths become relative to the file.

    Raises ValueError where the format cannot hold them (of a .txt list: video and label; `what_is_lost` says
    the rest), or where a `classes.txt` or `class_groups.csv` of another dataset lies there.
    """
    writers = {".jsonl": _to_jsonl, ".csv": _to_csv, ".txt": _to_txt}
    if path.suffix not in writers:
        raise ValueError(f"{path}: a list ends with one of {', '.join(writers)}")
    root = Path(dataset.root).absolute()
    folder = path.absolute().parent
    base = Path(os.path.relpath(root, folder)).as_posix()

    def place(name: str) -> str:
        return name if base == "." or name.startswith("/") else f"{base}/{name}"

    text = writers[path.suffix](dataset, place)
    if path.suffix != ".jsonl":
        _write_classes(folder, dataset)
    with part_file(path) as part:
        part.write_text(text, "utf-8", newline="")
    return path


Place = Callable[[str], str]


def _to_jsonl(dataset: Dataset, place: Place) -> str:
    head = {
        "format": FORMAT,
        "name": dataset.name,
        "split": dataset.split,
        "class_names": dataset.class_names,
        "multi_label": dataset.multi_label,
        "class_groups": dict(dataset.class_groups),
    }
    empty = {field.name: field.default for field in fields(Example)}
    lines = [json.dumps(head)]
    for example in dataset.examples:
        row = {key: value for key, value in asdict(example).items() if value != empty[key]}
        row["video"] = place(example.video)
        if example.flow:
            row["flow"] = [place(pattern) for pattern in example.flow]
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"


def _to_csv(dataset: Dataset, place: Place) -> str:
    if dataset.multi_label:
        raise ValueError(f"{dataset.name} has several labels an example; a .csv list has one, a .jsonl any")
    more = [name for name in MORE_COLUMNS if any(getattr(example, name) for example in dataset.examples)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((*CSV_COLUMNS, *more))
    seen = set()
    for example in dataset.examples:
        if example.spans or example.boxes or example.absent or example.keyframe_seconds is not None:
            raise ValueError(f"{example.id} has spans, boxes or a key frame; a .csv list has one label")
        label = dataset.class_names[example.labels[0]] if example.labels else ""
        row = [example.id, place(example.video), label, example.start_seconds, example.end_seconds]
        row += [example.group, dataset.split]
        row += [getattr(example, name) for name in more if name != "flow"]
        if "flow" in more:
            if any(";" in pattern for pattern in example.flow):
                raise ValueError(f"{example.id}: a .csv list cannot hold `;` in the name of flow pictures")
            row.append(";".join(map(place, example.flow)))
        cells = ["" if cell is None else repr(cell) if isinstance(cell, float) else str(cell) for cell in row]
        for cell in cells:
            if cell != cell.strip() or len(cell.splitlines()) > 1 or not _is_text(cell):
                raise ValueError(f"{example.id}: a .csv list cannot hold {cell!r}, a .jsonl list can")
        if (key := tuple(cells[:5])) in seen:
            raise ValueError(f"{example.id}: is there twice; a .csv list holds it once, a .jsonl list twice")
        seen.add(key)
        writer.writerow(cells)
    return buffer.getvalue()


def _to_txt(dataset: Dataset, place: Place) -> str:
    lines = []
    for example in dataset.examples:
        if dataset.multi_label or not _is_whole(example):
            raise ValueError(f"{example.id}: a .txt list has whole videos with one label each")
        video = place(example.video)
        if any(letter.isspace() for letter in video) or not _is_text(video):
            raise ValueError(f"{video!r}: a .txt list cannot hold a name with spaces")
        if is_folder_name(video) and "/" not in video:
            video = f"./{video}"  # else nothing tells that it is a path
        count = f" {example.num_frames}" if is_folder_name(video) and example.num_frames is not None else ""
        line = f"{video}{count} {example.labels[0]}"
        entry = parse_plain(line, Where(Path("list"), 1))
        if (entry.video, entry.labels) != (video, (str(example.labels[0]),)):
            raise ValueError(f"{video}: a .txt list cannot hold this name, since {line!r} means another")
        lines.append(f"{line}\n")
    return "".join(lines)


def _is_whole(example: Example) -> bool:
    """Whether an example is a whole video with one label."""
    return len(example.labels) == 1 and example.start_seconds is None and example.end_seconds is None


def _is_text(name: str) -> bool:
    """Whether a name is Unicode (names on disk may be any bytes)."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def what_is_lost(dataset: Dataset, suffix: str) -> str:
    """What a list of an ending, or class folders (""), do not hold of a dataset, in words; "" for nothing."""
    if suffix in (".jsonl", ".csv"):
        return ""
    lost = {
        "ids": any(example.id != os.path.splitext(example.video)[0] for example in dataset.examples),  # noqa: PTH122
        "sources (groups)": shares_sources(dataset),
        "rates": any(example.fps for example in dataset.examples),
        "flow pictures": any(example.flow for example in dataset.examples),
    }
    return ", ".join(name for name, there in lost.items() if there)


def _write_classes(folder: Path, dataset: Dataset) -> None:
    """The order of labels and the groups of classes, beside a list or class folders that do not hold them.

    ValueError where other ones lie there: they would change what this dataset means, or this one theirs.
    """
    listed = find_class_names(folder)
    if listed is not None and listed != dataset.class_names:
        raise ValueError(f"{folder}: other classes are listed there; write into another folder")
    buffer = io.StringIO()
    rows = [("class_name", "group")]
    rows += [(dataset.class_names[i], name) for name, group in dataset.class_groups.items() for i in group]
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    path, text = folder / GROUPS, buffer.getvalue() if len(rows) > 1 else ""
    if path.is_file() and path.read_text("utf-8") != text:
        raise ValueError(f"{path}: says other groups of classes; write into another folder")
    if listed is None and dataset.class_names:
        with part_file(folder / CLASSES) as part:
            write_class_names(part, dataset.class_names)
    if text:
        with part_file(path) as part:
            part.write_text(text, "utf-8", newline="")


def read_list(path: Path) -> Dataset:
    """Read a .jsonl list of ours. Raises DataError, naming the line, where it is malformed."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    number = 1
    try:
        head = json.loads(lines[0])
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}")
        examples = []
        for number, line in enumerate(lines[1:], 2):  # noqa: B007 - named in the error
            if line.strip():
                examples.append(example_of(json.loads(line)))
        return Dataset(
            head["name"],
            str(path.parent),
            head["split"],
            tuple(head["class_names"]),
            tuple(examples),
            head["multi_label"],
            {name: tuple(labels) for name, labels in head["class_groups"].items()},
        )
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{path}:{number}: not a line of our lists ({error})") from error


def example_of(row: dict[str, Any]) -> Example:
    """An example from its fields as JSON gives them. Raises TypeError or KeyError for others."""
    row = dict(row)
    row["spans"] = tuple(Span(**span) for span in row.get("spans", ()))
    boxes = []
    for box in row.get("boxes", ()):
        box = dict(box)
        for key in ("labels", "runs"):
            box[key] = tuple(box.get(key, ()))
        box["keypoints"] = tuple((x, y, seen) for x, y, seen in box.get("keypoints", ()))
        box["outline"] = tuple(tuple(polygon) for polygon in box.get("outline", ()))
        boxes.append(Box(**box))
    row["boxes"] = tuple(boxes)
    for key in ("labels", "absent", "flow"):
        row[key] = tuple(row.get(key, ()))
    return Example(**row)


def write_class_folders(dataset: Dataset, folder: Path) -> Path:
    """Lay a dataset out as `FOLDER/CLASS/VIDEO`: hard links, or copies on another disk.

    Raises ValueError, before anything is written, where a folder cannot say it: parts of videos, other than
    one label, names that collide or are no names of files. DataError for a video that is not there.
    """
    names = dataset.class_names
    if all(split_of(name) for name in names):
        raise ValueError(f"folders called {', '.join(names[:3])} would be taken for splits, not for classes")
    targets: dict[Path, Path | bytes] = {}
    for example in dataset.examples:
        if dataset.multi_label or not _is_whole(example):
            raise ValueError(f"{example.id}: class folders hold whole videos with one label each")
        class_name = names[example.labels[0]]
        if class_name in ("", ".", "..") or "/" in class_name or "\\" in class_name or class_name[0] == ".":
            raise ValueError(f"the class {class_name!r} cannot be the name of a folder")
        source, place = find_source(Path(dataset.root), example.video)
        if isinstance(source, Path) and not source.is_file():
            raise DataError(f"{place}: not a file, so it cannot be laid out")
        target = folder / class_name / Path(example.video).name
        if target.suffix.lower() not in VIDEO_SUFFIXES or target.name.startswith("."):
            raise ValueError(f"{place}: its name is not one of a video, so it would not be found again")
        if target in targets or target.exists():
            raise ValueError(f"{target} would be written twice, or is there already")
        targets[target] = source
    folder.mkdir(parents=True, exist_ok=True)
    _write_classes(folder, dataset)
    for target, source in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            with part_file(target) as part:
                part.write_bytes(source)
            continue
        try:
            os.link(source, target)
        except OSError:
            with part_file(target) as part:
                shutil.copyfile(source, part)
    return folder
