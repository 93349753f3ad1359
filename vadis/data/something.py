"""Something-Something v1 and v2: what hands do with things, 174 templates; the thing does not matter.

Goyal et al. 2017 (arXiv:1706.04261). v2: 220,847 videos `20bn-something-something-v2/<id>.webm`, JSON lists:

    something-something-v2-train.json    [{"id": "78687", "label": "holding potato next to jar",
        "template": "Holding [something] next to [something]", "placeholders": ["potato", "jar"]}, ...]
    something-something-v2-labels.json   {"Holding something next to something": "48", ...}
    something-something-v2-test.json     [{"id": "1420"}, ...]        (labels are hidden)

Traps: ids and labels are strings; the label's name is the template without its brackets, not the field
`label`. The newer release has the same lists as `labels/{train,validation,test,labels}.json`, and
`labels/test-answers.csv` with `id;name`, which gives the test set its labels. v1: 108,499 videos as folders
of frames `20bn-something-something-v1/<id>/00001.jpg` at 12 a second, lists with semicolons, no quotes:

    something-something-v1-train.csv     100218;Something falling like a feather or paper
    something-something-v1-labels.csv    one name a line; the line is the label
    something-something-v1-test.csv      ids only

Training never flips the pictures from left to right: "from left to right" is part of some names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from vadis.data.files import Media, find_annotation, is_folder_name, need_annotation
from vadis.data.made import seed_of, write_clip, write_frames, write_text
from vadis.data.rows import Notes, Where, read_json, read_lines, to_int, to_label
from vadis.records import DataError, Dataset, Example

SPLITS = ("train", "val", "test")
WORDS = {"train": "train", "val": "validation", "test": "test"}
NUM_CLASSES = 174
FRAME_RATE_1 = 12.0  # in Hz, of the frames of v1


def read_labels_2(path: Path) -> dict[str, int]:
    """The labels of v2 by name, checked to be 0 .. n - 1."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected names and numbers")
    label_of = {name: to_int(text, path, f"the label of {name!r}") for name, text in document.items()}
    if sorted(label_of.values()) != list(range(len(label_of))):
        raise DataError(f"{path}: the labels are not 0..{len(label_of) - 1}, each once")
    return label_of


def read_entries_2(root: Path, split: str, folders: tuple[str, ...]) -> Iterator[tuple[object, str, str]]:
    """The videos of a split of v2: place, id, name of the class ("" where it is hidden)."""
    word = WORDS[split]
    path = need_annotation(root, [f"something-something-v2-{word}.json", f"{word}.json"], folders)
    entries = read_json(path)
    answers: dict[str, str] = {}
    if split == "test" and (answered := find_annotation(root, ["test-answers.csv"], folders)):
        for where, line in read_lines(answered):
            video, separator, name = line.partition(";")
            if not separator:
                raise where.error(f"expected '<id>;<name>', found {line!r}")
            answers[video] = name.strip()
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of videos")
    for number, entry in enumerate(entries, 1):
        place = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
            raise DataError(f"{place} has no id")
        if split != "test" and not isinstance(entry.get("template"), str):
            raise DataError(f"{place} has no template")
        video = str(entry["id"])
        yield (
            place,
            video,
            (entry.get("template") or answers.get(video, "")).replace("[", "").replace("]", ""),
        )


def read_entries_1(root: Path, split: str, folders: tuple[str, ...]) -> Iterator[tuple[Where, str, str]]:
    """The videos of a split of v1: place, id, name of the class ("" where it is hidden)."""
    for where, line in read_lines(
        need_annotation(root, [f"something-something-v1-{WORDS[split]}.csv"], folders)
    ):
        video, separator, name = line.partition(";")
        if not video.isdecimal() or (split != "test" and not separator):
            raise where.error(f"expected '<id>;<name>', found {line!r}")
        yield where, video, name.strip()


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    version: str = "2",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split ("train", "val", "test"). version: "1" or "2". Raises DataError."""
    root, notes = Path(root), Notes()
    folders = (f"something-something-v{version}", f"something-something-v{version}/labels")
    if version == "2":
        label_of = read_labels_2(
            need_annotation(root, ["something-something-v2-labels.json", "labels.json"], folders)
        )
        entries: Iterator[tuple[object, str, str]] = read_entries_2(root, split, folders)
    else:
        path = need_annotation(root, ["something-something-v1-labels.csv"], folders)
        label_of = {name: label for label, (_, name) in enumerate(read_lines(path))}
        entries = read_entries_1(root, split, folders)
    class_names = tuple(sorted(label_of, key=lambda name: label_of[name]))
    if len(class_names) != NUM_CLASSES:
        notes.add(f"the list of labels has {len(class_names)} names, not {NUM_CLASSES}", root)
    media = Media(videos or root)
    examples = []
    suffix = ".webm" if version == "2" else ""
    for where, video, name in entries:
        labels = (to_label(name, label_of, where),) if name else ()
        path_in_root = media.find(video, f"20bn-something-something-v{version}/{video}{suffix}")
        is_frames = is_folder_name(path_in_root)
        examples.append(
            Example(
                path_in_root,
                video,
                labels,
                group=video,
                fps=FRAME_RATE_1 if version == "1" and is_frames else None,
                flow=media.flow(path_in_root),
            )
        )
    return Dataset(
        f"something_v{version}",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path, version: str) -> str:
    """What speaks for this version under a root; "" where nothing does."""
    folders = (f"something-something-v{version}", f"something-something-v{version}/labels")
    suffix = {"1": "csv", "2": "json"}[version]
    path = find_annotation(root, [f"something-something-v{version}-labels.{suffix}"], folders)
    if path is None and version == "2" and find_annotation(root, ["train.json"], folders):
        path = find_annotation(root, ["labels.json"], folders)
    return path.name if path else ""


def write_tiny(root: Path, version: str = "2") -> None:
    """Write a tiny Something-Something: three templates; v2 as .webm with JSON, v1 as frames with CSV."""
    templates = (
        "Holding [something] next to [something]",
        "Pushing [something] from left to right",
        "Stacking [number of] [something]",
    )
    names = [template.replace("[", "").replace("]", "") for template in templates]
    stem = f"something-something-v{version}"
    for start, (split, num_videos) in enumerate((("train", 6), ("val", 3), ("test", 2))):
        entries, lines = [], []
        for number in range(num_videos):
            label, video = number % 3, f"{1000 * (start + 1) + number}"
            entry = {"id": video}
            if split != "test":
                entry |= {"label": "holding potato", "template": templates[label]}
            entries.append({**entry, **({} if split == "test" else {"placeholders": ["potato"]})})
            lines.append(video if split == "test" else f"{video};{names[label]}")
            if version == "2":
                write_clip(root / f"20bn-{stem}" / f"{video}.webm", label, seed_of(split, number), fps=12)
            else:
                write_frames(root / f"20bn-{stem}" / video, "%05d.jpg", label, seed_of(split, number))
        if version == "2":
            write_text(root / f"{stem}-{WORDS[split]}.json", json.dumps(entries))
        else:
            write_text(root / f"{stem}-{WORDS[split]}.csv", *lines)
    if version == "2":
        numbered = {name: str(label) for label, name in enumerate(names)}
        write_text(root / f"{stem}-labels.json", json.dumps(numbered))
    else:
        write_text(root / f"{stem}-labels.csv", *names)
