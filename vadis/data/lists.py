"""Lists of videos of one's own: tables with a header, and the plain lists of the common toolkits.

A table is CSV, TSV or JSONL (also `metadata.csv`, as Hugging Face reads folders: in the root, or in each of
train/ and test/). These columns are understood, by any of these names:

    video            video, file_name, filename, path, file, video_path, clip
    label            label, class, class_name, action, category: a name, or a number; several with `;` or `|`
                     (in JSONL a list), then the dataset is multi-label
    start_seconds    start_seconds, start, time_start       end_seconds    end_seconds, end, time_end
    group            group, source, subject                 id             id, clip_id
    split            split, subset: then one table holds all splits
    duration_seconds, num_frames, fps (of a folder of frames), flow (patterns of its pictures, with `;`)

A plain list has no header; fields are separated by a space, tab or comma, labels count from 0:

    some/clip.mp4 3                       PySlowFast, MMAction2's videos
    some/frames 250 3                     MMAction2's frames, TSN, VideoMAE: folder, number of frames, label
    some/clip.mp4 250 3                   VideoMAE's videos: the same, where each line has two numbers
    some/clip.mp4 3 17                    several labels: `multi_lists` (`multi_label=True`)

After a folder of frames the first number is always theirs. After a video two numbers can be either, so that a
list with two of them on every line has to be named (`--as`). Paths are relative to the list's folder (or
`videos`), or whole. Class names come from `classes.txt` or `label_map.txt` beside the list, else numbers are
their names. `NAME_train.csv` and `NAME_val.csv` are the splits of one dataset; a list that names no split is
"all". A label that is the name of a class in `classes.txt` is that class, whatever letters it has.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vadis.data.files import CLASS_FILES, Media, find_class_names, is_folder_name
from vadis.data.folders import WHOLE, split_of
from vadis.data.made import seed_of, write_clip, write_frames, write_text
from vadis.data.rows import Notes, Where, read_lines, read_table, read_text, to_float, to_int, to_label
from vadis.records import DataError, Dataset, Example
from vadis.video.find import VIDEO_SUFFIXES

COLUMNS = {
    "video": ("video", "file_name", "filename", "path", "file", "video_path", "clip"),
    "label": ("label", "class", "class_name", "action", "category", "labels"),
    "start": ("start_seconds", "start", "time_start"),
    "end": ("end_seconds", "end", "time_end"),
    "group": ("group", "source", "subject"),
    "id": ("id", "clip_id"),
    "split": ("split", "subset"),
    "duration": ("duration_seconds",),
    "frames": ("num_frames", "total_frames"),
    "fps": ("fps",),
    "flow": ("flow",),
}
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")
METADATA = ("metadata.csv", "metadata.jsonl")
"""What Hugging Face calls the table in a folder of videos."""


class Entry(NamedTuple):
    """A line of a list: labels are names or numbers, as written; None is what the list does not tell."""

    where: Where
    video: str
    labels: tuple[str, ...]
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    id: str = ""
    split: str = ""
    num_frames: int | None = None
    duration_seconds: float | None = None
    fps: float | None = None
    flow: tuple[str, ...] | None = None


def find_header(path: Path) -> dict[str, str]:
    """The columns that a table's header names, by their meaning; empty where the file has no header."""
    if path.suffix == ".jsonl":
        try:
            first = json.loads(next(iter(read_lines(path)))[1])
        except (StopIteration, ValueError):
            return {}
        names = list(first) if isinstance(first, dict) else []
    else:
        line = read_text(path).split("\n", 1)[0].strip("\r")
        names = next(csv.reader([line], delimiter=DELIMITERS.get(path.suffix, ",")), [])
    found: dict[str, str] = {}
    for meaning, spellings in COLUMNS.items():
        for name in names:
            if name.strip().lower() in spellings:
                found.setdefault(meaning, name.strip())
    return found if "video" in found and "label" in found else {}


def read_entries(path: Path, class_names: Collection[str] = ()) -> Iterator[Entry]:
    """The lines of a table with a header. class_names: names that are one label, also with `;` or `|`."""
    columns = find_header(path)
    rows: Iterator[tuple[Where, dict[str, Any]]]
    if path.suffix == ".jsonl":
        rows = _read_jsonl(path)
    else:
        rows = read_table(path, list(columns.values()), DELIMITERS.get(path.suffix, ","))
    for where, row in rows:
        field = {meaning: row.get(name) for meaning, name in columns.items()}
        if not field["video"]:
            raise where.error("the row names no video")
        label = field["label"]
        if not isinstance(label, list):
            whole = "" if label is None else str(label).strip()
            label = [whole] if whole in class_names else re.split(r"[;|]", whole)
        frames = field.get("frames")
        yield Entry(
            where,
            str(field["video"]),
            tuple(text for name in label if (text := str(name).strip())),
            _seconds(field.get("start"), where, "the start"),
            _seconds(field.get("end"), where, "the end"),
            str(field["group"] or "") if "group" in columns else None,
            str(field.get("id") or ""),
            str(field.get("split") or ""),
            None if frames in (None, "") else to_int(frames, where, "the number of frames"),
            _seconds(field.get("duration"), where, "the duration"),
            _seconds(field.get("fps"), where, "the rate"),
            tuple(str(field["flow"] or "").split(";")) if field.get("flow") else None,
        )


def _read_jsonl(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    for where, line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise where.error(f"is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise where.error("is not a JSON object")
        yield where, row


def _seconds(value: object, where: Where, what: str) -> float | None:
    return None if value in (None, "") else to_float(value, where, what)


def read_plain(path: Path, multi_label: bool) -> Iterator[Entry]:
    """The lines of a plain list. See the module for which numbers are labels. Raises DataError."""
    has_counts = not multi_label and _numbers_after_videos(path) == {2}
    for where, line in read_lines(path):
        entry = parse_plain(line, where)
        if has_counts and entry.num_frames is None:
            entry = entry._replace(labels=entry.labels[1:])
        if len(entry.labels) > 1 and not multi_label:
            raise where.error(f"{len(entry.labels)} labels; if that is meant, read the list as `multi_lists`")
        yield entry


def _numbers_after_videos(path: Path) -> set[int]:
    """How many numbers the lines of a plain list have after a video (not a folder of frames).

    Nothing where a line is malformed: reading the list says so.
    """
    try:
        entries = [parse_plain(line, where) for where, line in read_lines(path)]
    except DataError:
        return set()
    return {len(entry.labels) for entry in entries if entry.num_frames is None}


def parse_plain(line: str, where: Where) -> Entry:
    """One line of a plain list. Raises DataError."""
    match = re.fullmatch(r"(.+?)((?:[\s,]+-?\d+)+)", line)
    if match is None:
        raise where.error(f"expected '<video> <label>', found {line!r}")
    video, numbers = match[1].strip('"'), re.findall(r"-?\d+", match[2])
    if any(number.startswith("-") for number in numbers):
        raise where.error(f"labels count from 0, found {line!r}")
    num_frames = None
    if len(numbers) > 1 and is_folder_name(video):
        num_frames, numbers = int(numbers[0]), numbers[1:]
    return Entry(where, video, tuple(numbers), num_frames=num_frames)


def lists_of(root: Path) -> dict[str, Path]:
    """The lists of a folder by split, or one list by the split that its name tells ("all" for none)."""
    if root.is_file():
        return {_split_in(root.stem): root}
    found: dict[str, Path] = {}
    inside = sorted(root.iterdir()) if root.is_dir() else []
    for folder in inside:
        for path in map(folder.joinpath, METADATA) if split_of(folder.name) else ():
            if path.is_file() and find_header(path):
                found[split_of(folder.name)] = path
    for path in inside:
        if path.suffix not in SUFFIXES or not path.is_file() or path.name in CLASS_FILES:
            continue
        if not is_list(path):
            continue
        split = _split_in(path.stem)
        if split in found:
            raise ValueError(
                f"{found[split]} and {path} are both lists of {split!r}; name the one that is meant"
            )
        found[split] = path
    if WHOLE in found and len(found) > 1:
        others = ", ".join(path.name for split, path in found.items() if split != WHOLE)
        raise ValueError(f"{found[WHOLE]} lies beside {others}; name the list that is meant")
    return found


def is_list(path: Path) -> bool:
    """Whether a file is a table with a header, or its first line is one of a plain list."""
    try:
        if find_header(path):
            return True
        first = next(iter(read_lines(path)), None)
    except DataError:
        return False
    if first is None or path.suffix == ".jsonl":
        return False
    match = re.fullmatch(r"(.+?)((?:[\s,]+\d+)+)", first[1])
    if match is None:
        return False
    name = PurePosixPath(match[1].strip('"'))
    return name.suffix.lower() in VIDEO_SUFFIXES or "/" in match[1]


def _split_in(stem: str) -> str:
    words = [split_of(word) for word in re.split(r"[_.\-]", stem)]
    return next((word for word in words if word), WHOLE)


def find_splits(root: Path, multi_label: bool = False) -> tuple[str, ...]:
    """The splits that lists or their column `split` name; ("all",) where none does."""
    lists = lists_of(root)
    if set(lists) == {WHOLE} and "split" in find_header(lists[WHOLE]):
        names = dict.fromkeys(split_of(entry.split) or entry.split for entry in read_entries(lists[WHOLE]))
        return tuple(name for name in names if name) or (WHOLE,)
    return tuple(split for split in ("train", "val", "test", WHOLE) if split in lists)


def read(
    root: str | os.PathLike[str],
    split: str = WHOLE,
    *,
    multi_label: bool = False,
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split of a list (a file), or of the lists in a folder. Raises DataError, ValueError."""
    root, notes = Path(root), Notes()
    folder = root if root.is_dir() else root.parent
    media_root = Path(videos or folder)
    lists, splits = lists_of(root), find_splits(root)
    if not lists:
        raise DataError(
            f"{root}: there is no list of videos (a table with columns video and label, or plain)"
        )
    if split not in splits:
        raise ValueError(f"{root} has the splits {', '.join(splits)}, not {split!r}")
    listed = find_class_names(folder)
    by_split = {
        part: [
            entry if path.parent == folder else entry._replace(video=f"{path.parent.name}/{entry.video}")
            for entry in (
                read_entries(path, set(listed or ())) if find_header(path) else read_plain(path, multi_label)
            )
        ]
        for part, path in lists.items()
    }
    everything = [entry for entries in by_split.values() for entry in entries]
    class_names = _name_classes(folder, everything, notes) if listed is None else listed
    media = Media(media_root)
    mine = by_split.get(split)
    if mine is None:  # one table with a column `split`
        mine = [entry for entry in everything if (split_of(entry.split) or entry.split) == split]
        if nameless := sum(not entry.split for entry in everything):
            notes.add("a row has no split: left out of every split", lists[WHOLE], nameless)
    label_of = {name: label for label, name in enumerate(class_names)}
    examples, seen = [], set()
    for entry in mine:
        labels = tuple(_label(text, label_of, entry.where) for text in entry.labels)
        if not labels:
            notes.add("a row has no label: kept as hidden", entry.where)
        start, end = entry.start_seconds, entry.end_seconds
        if start is not None and end is not None and end <= start:
            raise entry.where.error(f"ends ({end} s) before it begins ({start} s)")
        key = (entry.video, start, end, labels, entry.id)
        if key in seen:
            notes.add("a row is there twice: the second is left out", entry.where)
            continue
        seen.add(key)
        path = PurePosixPath(os.path.normpath(entry.video))
        is_folder = is_folder_name(entry.video)
        name = str(path) if is_folder else str(path.with_suffix(""))
        flow = entry.flow if entry.flow is not None or not is_folder else media.flow(str(path))
        examples.append(
            Example(
                str(path),
                entry.id or name,
                labels,
                start,
                end,
                name if entry.group is None else entry.group,
                duration_seconds=entry.duration_seconds,
                num_frames=entry.num_frames,
                fps=entry.fps,
                flow=flow or (),
            )
        )
    return Dataset(
        folder.resolve().name if root.is_dir() else root.stem,
        str(media_root),
        split,
        class_names,
        tuple(examples),
        multi_label=multi_label or any(len(entry.labels) > 1 for entry in everything),
        notes=notes.all(),
    )


def _name_classes(folder: Path, entries: Sequence[Entry], notes: Notes) -> tuple[str, ...]:
    """The names that there are, sorted; numbers stand for themselves."""
    texts = {text for entry in entries for text in entry.labels}
    if texts and all(text.isdecimal() for text in texts):
        count = max(int(text) for text in texts) + 1
        if count > len(texts):
            notes.add("a label below the largest has no video", folder, count - len(texts))
        return tuple(str(number) for number in range(count))
    return tuple(sorted(texts))


def _label(text: str, label_of: dict[str, int], where: Where) -> int:
    if text not in label_of and text.isdecimal():
        label = to_int(text, where, "the label")
        if label >= len(label_of):
            raise where.error(f"label {label}, but there are {len(label_of)} classes")
        return label
    return to_label(text, label_of, where)


def recognise(root: Path, multi_label: bool = False) -> str:
    """What speaks for a list at or under a root; "" where nothing does. ValueError as `lists_of`.

    multi_label: whether for plain lists with several labels a video. Two numbers on every line speak for
    both readings: labels, or a number of frames and a label.
    """
    if root.is_file() and not (root.suffix in SUFFIXES and is_list(root)):
        return ""
    found, counts = [], set()
    for path in lists_of(root).values():
        columns = find_header(path)
        numbers = set() if columns else _numbers_after_videos(path)
        counts |= numbers
        words = f"columns {', '.join(columns.values())}" if columns else "a plain list, no header"
        if numbers == {2}:
            words += "; two labels a video" if multi_label else "; a number of frames, then a label"
        found.append(f"{path.relative_to(root) if path != root else path.name} ({words})")
    fits = bool(counts - {1}) if multi_label else counts <= {1} or counts == {2}
    return "; ".join(found) if fits else ""


def write_tiny(root: Path, form: str = "csv", multi_label: bool = False) -> None:
    """Write tiny lists. form: "csv", "tsv", "jsonl", "metadata", "videos" or "frames" (plain lists).

    multi_label: plain lists in which every other video has both labels.
    """
    form = "videos" if multi_label else form
    names = ("pour water", "stir")
    for split, num_clips in (("train", 3), ("val", 1)):
        rows = []
        for label, name in enumerate(names):
            for number in range(num_clips):
                stem = f"{split}_{label}{number}"
                video = f"clips/{stem}" if form == "frames" else f"clips/{stem}.mp4"
                if form == "frames":
                    write_frames(root / video, "img_%05d.jpg", label, seed_of(split, number))
                else:
                    write_clip(root / video, label, seed_of(split, number))
                rows.append((video, name, label))
        if form in ("csv", "metadata", "tsv"):
            mark = "\t" if form == "tsv" else ","
            header = mark.join(("file_name" if form == "metadata" else "video", "label"))
            name = f"metadata_{split}.csv" if form == "metadata" else f"{split}.{form}"
            write_text(root / name, header, *(mark.join(row[:2]) for row in rows))
        elif form == "jsonl":
            write_text(root / f"{split}.jsonl", *(json.dumps({"video": v, "label": n}) for v, n, _ in rows))
        else:
            middle = " 16" if form == "frames" else ""
            other = [" 1" if multi_label and not label else "" for _, _, label in rows]
            lines = [
                f"{video}{middle} {label}{more}" for (video, _, label), more in zip(rows, other, strict=True)
            ]
            write_text(root / f"{split}.csv", *lines)
