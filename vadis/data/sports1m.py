"""Sports-1M: 1,133,158 YouTube videos, 487 sports, labelled by a machine; about one in twenty has several.

Karpathy et al. 2014 (CVPR). `original/train_partition.txt` and `test_partition.txt`, labels from 0:

    https://www.youtube.com/watch?v=AbCdEfGhIjK 163
    https://www.youtube.com/watch?v=zz_9-QwErTy 12,348

and `labels.txt`, one name a line in UTF-8 (`yağlı güreş`), the line is the label. Later came
`sports1m_train.json` and `sports1m_test.json`, lists of {"id", "duration", "label487": [...]}, which are read
where there is no partition. Hit@k counts a video as right if any of its labels is among the k best.

Videos: no official layout, they are found by YouTube's id (`<id>.mp4` in any folder).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, Where, read_json, read_lines, to_float, to_int
from vadis.records import DataError, Dataset, Example

SPLITS = ("train", "test")
FOLDERS = ("original", "sports-1m-dataset", "sports-1m-dataset/original")
NUM_CLASSES = 487

Row = tuple[Where, str, list[int], float | None]


def read_partition(path: Path) -> Iterator[Row]:
    """The lines of a partition: place, YouTube id, labels, no duration."""
    for where, line in read_lines(path):
        match = re.fullmatch(r"\S*?(?:[?&]v=|youtu\.be/)([\w-]+)\S*\s+(\d+(?:\s*,\s*\d+)*)", line)
        if match is None:
            raise where.error(f"expected '<YouTube address> <label>[,<label>]', found {line!r}")
        yield where, match[1], [int(label) for label in match[2].split(",")], None


def read_partition_json(path: Path) -> Iterator[Row]:
    """The entries of the later JSON form; the place is the entry's number."""
    for number, entry in enumerate(read_json(path), 1):
        where = Where(path, number)
        try:
            labels = [to_int(label, where, "a label") for label in entry["label487"]]
            duration = entry.get("duration")
            yield (
                where,
                entry["id"],
                labels,
                None if duration is None else to_float(duration, where, "duration"),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}: entry {number} has no id and label487") from error


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train" or "test". Raises DataError."""
    root, notes = Path(root), Notes()
    class_names = tuple(name for _, name in read_lines(need_annotation(root, ["labels.txt"], FOLDERS)))
    if len(class_names) != NUM_CLASSES:
        notes.add(f"labels.txt has {len(class_names)} names, not {NUM_CLASSES}", root)
    path = find_annotation(root, [f"{split}_partition.txt"], FOLDERS)
    rows = read_partition(path) if path else None
    if rows is None:
        names = [f"{split}_partition.txt", f"sports1m_{split}.json"]
        rows = read_partition_json(need_annotation(root, names, FOLDERS))
    media = Media(videos or root, class_names)
    examples = []
    for where, youtube_id, labels, duration in rows:
        if max(labels, default=0) >= len(class_names):
            raise where.error(f"label {max(labels)}, but labels.txt has {len(class_names)} names")
        if len(set(labels)) != len(labels):
            notes.add("a video has a label twice: taken once", where)
        video = media.find(youtube_id, f"videos/{youtube_id}.mp4")
        unique = tuple(dict.fromkeys(labels))
        examples.append(Example(video, youtube_id, unique, group=youtube_id, duration_seconds=duration))
    return Dataset(
        "sports1m",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        multi_label=True,
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for Sports-1M under a root; "" where nothing does."""
    names = [name for split in SPLITS for name in (f"{split}_partition.txt", f"sports1m_{split}.json")]
    found = [name for name in names if find_annotation(root, [name], FOLDERS)]
    return f"{found[0]} and labels.txt" if found and find_annotation(root, ["labels.txt"], FOLDERS) else ""


def write_tiny(root: Path) -> None:
    """Write a tiny Sports-1M: three sports, some videos of two."""
    write_text(root / "labels.txt", "boomerang", "skittles (sport)", "yağlı güreş")
    for split, num_videos in (("train", 6), ("test", 3)):
        lines = []
        for number in range(num_videos):
            label = number % 3
            youtube_id = f"{split:_<6}{number}-Abc"
            labels = f"{label},{(label + 1) % 3}" if number == 5 else f"{label}"
            lines.append(f"https://www.youtube.com/watch?v={youtube_id} {labels}")
            write_clip(root / "videos" / f"{youtube_id}.mp4", label, seed_of(split, number))
        write_text(root / "original" / f"{split}_partition.txt", *lines)
