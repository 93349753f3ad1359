"""Moments in Time: three-second clips, 339 verbs; Multi-Moments in Time: the same kind with several labels.

Monfort et al. 2019 (arXiv:1801.03150), 2021 (1911.00232). No header; file, label, workers for and against:

    trainingSet.csv, validationSet.csv    clapping/someid_12.mp4,clapping,4,0
                                          adult+female+singing/other_35.mp4,adult+female+singing,3,1
    moments_categories.txt                clapping,0

Traps: class folders and names write `+` for spaces; the categories' numbers are the labels, not their lines.
Some clips stand in several classes under the same file name, so the class folder decides which file is meant.
Multi-Moments has the same files; a row is `<file>.mp4` and the numbers of its classes.

Videos: `training/<class>/<file>.mp4`, `validation/<class>/<file>.mp4`; Multi-Moments: `videos/<file>.mp4`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, read_lines, read_rows, to_int, to_label
from vadis.records import DataError, Dataset, Example

SPLITS = ("train", "val")
WORDS = {"train": "training", "val": "validation"}
FOLDERS = ("Moments_in_Time_Raw", "Multi_Moments_in_Time_Raw", "Moments_in_Time_256x256_30fps")


def read_categories(path: Path) -> tuple[str, ...]:
    """The class names by their numbers."""
    name_of: dict[int, str] = {}
    for where, line in read_lines(path):
        name, separator, number = line.rpartition(",")
        label = to_int(number, where, "the class number") if separator else -1
        if not name or label < 0 or label in name_of:
            raise where.error(f"expected '<class>,<number>', each number once, found {line!r}")
        name_of[label] = name
    if sorted(name_of) != list(range(len(name_of))):
        raise DataError(f"{path}: the numbers are not 0..{len(name_of) - 1}")
    return tuple(name_of[label] for label in range(len(name_of)))


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    multi: bool = False,
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split, "train" or "val". multi: Multi-Moments in Time. Raises DataError."""
    root, notes = Path(root), Notes()
    class_names = read_categories(need_annotation(root, ["moments_categories.txt"], FOLDERS))
    label_of = {name: label for label, name in enumerate(class_names)}
    media = Media(videos or root, () if multi else class_names)
    examples = []
    for where, row in read_rows(need_annotation(root, [f"{WORDS[split]}Set.csv"], FOLDERS)):
        path = PurePosixPath(row[0])
        if len(row) < 2:
            raise where.error("expected a file and a label")
        if multi:
            numbers = tuple(to_int(field, where, "a label") for field in row[1:] if field)
            if max(numbers, default=0) >= len(class_names):
                raise where.error(f"label {max(numbers)}, but there are {len(class_names)} classes")
            labels = tuple(dict.fromkeys(numbers))
        else:
            labels = (to_label(row[1], label_of, where),)
            if len(path.parts) > 1 and path.parent.name != row[1]:
                notes.add("a clip's folder is not its label: the label counts", where)
        folder = "" if multi else path.parent.name
        expected = f"videos/{path.name}" if multi else f"{WORDS[split]}/{path}"
        video = media.find(path.stem, expected, folder)
        source = re.sub(r"_\d+$", "", path.stem)
        examples.append(
            Example(video, str(path.with_suffix("")), labels, group=source, flow=media.flow(video))
        )
    return Dataset(
        "multi_moments" if multi else "moments",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        multi_label=multi,
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path, multi: bool) -> str:
    """What speaks for Moments, or for Multi-Moments, under a root; "" where nothing does."""
    path = find_annotation(root, ["trainingSet.csv"], FOLDERS) or find_annotation(
        root, ["validationSet.csv"], FOLDERS
    )
    if path is None or not find_annotation(root, ["moments_categories.txt"], FOLDERS):
        return ""
    first = next(read_rows(path), None)
    is_multi = first is not None and len(first[1]) > 1 and first[1][1].isdecimal()
    return f"{path.name} and moments_categories.txt" if is_multi == multi else ""


def write_tiny(root: Path, multi: bool = False) -> None:
    """Write tiny Moments in Time: three classes; one file name stands in two of them."""
    names = ("clapping", "adult+female+singing", "bowing")
    numbers = (1, 0, 2)
    write_text(root / "moments_categories.txt", *(f"{n},{i}" for n, i in zip(names, numbers, strict=True)))
    for split, num_clips in (("train", 2), ("val", 1)):
        lines = []
        for place, name in enumerate(names):
            for number in range(num_clips):
                stem = f"yt-{split}{number if place < 2 else 9}_{12 + number}"
                if multi:
                    stem += f"{place}"
                    lines.append(f"{stem}.mp4,{numbers[place]},{(numbers[place] + 1) % 3}")
                    write_clip(root / "videos" / f"{stem}.mp4", numbers[place], seed_of(split, number))
                else:
                    lines.append(f"{name}/{stem}.mp4,{name},4,0")
                    write_clip(
                        root / WORDS[split] / name / f"{stem}.mp4", numbers[place], seed_of(split, number)
                    )
        write_text(root / f"{WORDS[split]}Set.csv", *lines)
