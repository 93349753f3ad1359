"""Our own lists of examples, written by `split`, `convert` and `shard`, and read back without loss.

`.jsonl`: one example a line with all its fields; the first line holds what belongs to all (name, split,
class names in the order of their labels). `.csv`: `id,video,label,start_seconds,end_seconds,group`, the
label by name, for one label an example. `.txt`: "video label" of the common toolkits, for whole videos.
Paths are relative to the list's folder, or to `root` where it is given.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vadis.records import Box, DataError, Dataset, Example, Span
from vadis.video.find import VIDEO_SUFFIXES, is_image_folder
from vadis.video.write import part_file

CSV_COLUMNS = ("id", "video", "label", "start_seconds", "end_seconds", "group")
FORMAT = "vadis list"


def write_list(path: Path, dataset: Dataset) -> Path:
    """Write a dataset's examples as .jsonl, .csv or .txt, in one step. Paths become relative to the file.

    Raises ValueError where the format cannot hold them: nothing is left out in silence.
    """
    writers = {".jsonl": _to_jsonl, ".csv": _to_csv, ".txt": _to_txt}
    if path.suffix not in writers:
        raise ValueError(f"{path}: a list ends with one of {', '.join(writers)}")
    root = Path(dataset.root).absolute()
    folder = path.absolute().parent
    base = Path(os.path.relpath(root, folder)).as_posix()

    def place(name: str) -> str:
        return name if base == "." else f"{base}/{name}"

    text = writers[path.suffix](dataset, [place(example.video) for example in dataset.examples])
    with part_file(path) as part:
        part.write_text(text, "utf-8", errors="surrogateescape", newline="")
    return path


def _to_jsonl(dataset: Dataset, videos: list[str]) -> str:
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
    for example, video in zip(dataset.examples, videos, strict=True):
        row = {key: value for key, value in asdict(example).items() if value != empty[key]}
        lines.append(json.dumps({**row, "video": video}))
    return "\n".join(lines) + "\n"


def _to_csv(dataset: Dataset, videos: list[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for example, video in zip(dataset.examples, videos, strict=True):
        if len(example.labels) > 1 or example.spans or example.boxes:
            raise ValueError(f"{example.id} has several labels, spans or boxes; a .csv list has one label")
        label = dataset.class_names[example.labels[0]] if example.labels else ""
        times = ["" if time is None else repr(time) for time in (example.start_seconds, example.end_seconds)]
        writer.writerow([example.id, video, label, *times, example.group])
    return buffer.getvalue()


def _to_txt(dataset: Dataset, videos: list[str]) -> str:
    lines = []
    for example, video in zip(dataset.examples, videos, strict=True):
        if len(example.labels) != 1 or example.start_seconds is not None or example.end_seconds is not None:
            raise ValueError(f"{example.id}: a .txt list has whole videos with one label each")
        if any(letter.isspace() for letter in video):
            raise ValueError(f"{video}: a .txt list cannot hold a name with spaces")
        lines.append(f"{video} {example.labels[0]}\n")
    return "".join(lines)


def read_list(path: Path) -> Dataset:
    """Read a .jsonl or .csv list. The classes of a .csv are its labels, sorted.

    Raises DataError, naming the line, where it is malformed.
    """
    try:
        text = path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix == ".jsonl":
        return _from_jsonl(path, text)
    if path.suffix == ".csv":
        return _from_csv(path, text)
    raise DataError(f"{path}: a list that is read ends with .jsonl or .csv")


def _from_jsonl(path: Path, text: str) -> Dataset:
    lines = text.splitlines()
    number = 1
    try:
        head = json.loads(lines[0])
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}")
        examples = []
        for number, line in enumerate(lines[1:], 2):  # noqa: B007 - named in the error
            examples.append(example_of(json.loads(line)))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{path}:{number}: not a line of our lists ({error})") from error
    return Dataset(
        head["name"],
        str(path.parent),
        head["split"],
        tuple(head["class_names"]),
        tuple(examples),
        head["multi_label"],
        {name: tuple(labels) for name, labels in head["class_groups"].items()},
    )


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


def _from_csv(path: Path, text: str) -> Dataset:
    reader = csv.reader(io.StringIO(text))
    rows = []
    for line, row in enumerate(reader, 1):
        if line == 1:
            if tuple(row) != CSV_COLUMNS:
                raise DataError(f"{path}:1: the header must be {','.join(CSV_COLUMNS)}")
            continue
        if len(row) != len(CSV_COLUMNS):
            raise DataError(f"{path}:{reader.line_num}: {len(row)} fields, not {len(CSV_COLUMNS)}")
        try:
            times = [float(time) if time else None for time in row[3:5]]
        except ValueError as error:
            raise DataError(f"{path}:{reader.line_num}: {error}") from error
        rows.append((row[0], row[1], row[2], times[0], times[1], row[5]))
    names = tuple(sorted({row[2] for row in rows if row[2]}))
    label = {name: number for number, name in enumerate(names)}
    examples = tuple(
        Example(video, id_, (label[name],) if name else (), start, end, group)
        for id_, video, name, start, end, group in rows
    )
    return Dataset(path.stem, str(path.parent), path.stem, names, examples)


def read_class_folders(root: Path) -> Dataset:
    """A folder of class folders: each video (or folder of frames) below one has its name as label.

    Raises DataError where there are fewer than two classes or videos outside of them.
    """
    examples = []
    try:
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror or error})") from error
    loose = [path.name for path in entries if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    if loose:
        raise DataError(f"{root}: {len(loose)} videos lie outside of class folders, such as {loose[0]}")
    folders = [path for path in entries if path.is_dir() and not is_image_folder(path)]
    names: list[str] = []
    for folder in folders:
        videos = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in VIDEO_SUFFIXES or (path.is_dir() and is_image_folder(path))
        ]
        if not videos:
            continue
        for path in videos:
            video = path.relative_to(root).as_posix()
            examples.append(Example(video, os.path.splitext(video)[0], (len(names),)))  # noqa: PTH122
        names.append(folder.name)
    if len(names) < 2:
        raise DataError(f"{root}: no two folders hold videos, so there are no classes to tell apart")
    return Dataset(root.name, str(root), "all", tuple(names), tuple(examples))


def write_class_folders(dataset: Dataset, folder: Path) -> Path:
    """Lay a dataset out as `FOLDER/CLASS/VIDEO`: hard links, or copies on another disk.

    Raises ValueError, before anything is written, where a folder cannot say it: parts of videos, other than
    one label, names that collide or are no names of files. DataError for a video that is not there.
    """
    targets: dict[Path, Path] = {}
    for example in dataset.examples:
        if len(example.labels) != 1 or example.start_seconds is not None or example.end_seconds is not None:
            raise ValueError(f"{example.id}: class folders hold whole videos with one label each")
        class_name = dataset.class_names[example.labels[0]]
        if class_name in ("", ".", "..") or "/" in class_name or "\\" in class_name or class_name[0] == ".":
            raise ValueError(f"the class {class_name!r} cannot be the name of a folder")
        source = Path(dataset.root) / example.video
        if not source.is_file():
            raise DataError(f"{source}: not a file, so it cannot be laid out")
        target = folder / class_name / source.name
        if target in targets or target.exists():
            raise ValueError(f"{target} would be written twice, or is there already")
        targets[target] = source
    for target, source in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            with part_file(target) as part:
                shutil.copyfile(source, part)
    return folder
