"""Charades: 9,848 videos of people acting scripts at home, 157 classes, about 6.8 intervals a video.

Sigurdsson et al. 2016 (arXiv:1604.01753). `Charades_v1_train.csv`, `Charades_v1_test.csv` (the "val" of all
papers), 11 columns:

    id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length
    AB12C,S07,Kitchen,6,7,Yes,"A person walks in, sits.",chair;book,A man sits.;Reading.,c092 11.90 21.20;
    c147 0.00 12.60,24.83                                                      (one line in the file)
    ZZ9QW,S01,Bedroom,5,7,No,"Someone sleeps.",bed,Sleeping.,,31.00

and `Charades_v1_classes.txt`: "c008 Opening a door"; `c008` is label 8. Traps: fields hold commas, quotes and
semicolons; `actions` may be empty (no label, the video stays); ends may pass `length` (kept and counted, as
the official scripts do). `length` came in 2017; without it there is no duration. The group is the actor
(`subject`), who is never on both sides.

Videos: `Charades_v1/<id>.mp4` or `Charades_v1_480/<id>.mp4`; frames at 24 a second in
`Charades_v1_rgb/<id>/<id>-000001.jpg`, flow in `Charades_v1_flow/<id>/<id>-000001x.jpg` and `...y.jpg`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from vadis.data.files import Media, find_annotation, is_folder_name, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, Where, read_lines, read_table, to_float
from vadis.records import Dataset, Example, Span

SPLITS = ("train", "test")
FOLDERS = ("Charades",)
FRAME_RATE = 24.0  # in Hz, of the published frames
NUM_CLASSES = 157


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names of `Charades_v1_classes.txt`, checked to count c000, c001 ..."""
    names: list[str] = []
    for where, line in read_lines(path):
        match = re.fullmatch(r"c(\d{3})\s+(.+)", line)
        if match is None or int(match[1]) != len(names):
            raise where.error(f"expected 'c{len(names):03d} <name>', found {line!r}")
        names.append(match[2])
    return tuple(names)


def parse_actions(text: str, where: Where, num_classes: int = NUM_CLASSES) -> list[tuple[int, float, float]]:
    """Label, start and end in seconds of each action of a field, `c092 11.90 21.20;c147 0.00 12.60`."""
    actions = []
    for part in filter(None, map(str.strip, text.split(";"))):
        match = re.fullmatch(r"c(\d{3})\s+(\S+)\s+(\S+)", part)
        if match is None or int(match[1]) >= num_classes:
            raise where.error(f"expected actions such as 'c092 11.90 21.20', found {part!r}")
        start, end = (to_float(match[number], where, "an action's time") for number in (2, 3))
        actions.append((int(match[1]), start, end))
    return actions


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train" or "test". Raises DataError."""
    root, notes = Path(root), Notes()
    path = need_annotation(root, [f"Charades_v1_{split}.csv"], FOLDERS)
    class_names = read_classes(need_annotation(root, ["Charades_v1_classes.txt"], FOLDERS))
    if len(class_names) != NUM_CLASSES:
        notes.add(f"Charades_v1_classes.txt has {len(class_names)} classes, not {NUM_CLASSES}", path)
    media = Media(videos or root)
    examples = []
    for where, row in read_table(path, ("id", "subject", "actions")):
        length = to_float(row["length"], where, "length") if row.get("length") else None
        actions = parse_actions(row["actions"], where, len(class_names))
        if not actions:
            notes.add("a video has no action: kept, without a label", where)
        spans = []
        for label, start, end in actions:
            if end < start:
                notes.add("an action ends before it begins: left out, its label stays", where)
                continue
            if length is not None and end > length:
                notes.add("an action passes the end of its video: kept as it is", where)
            spans.append(Span(start, end, label, class_names[label]))
        video = media.find(row["id"], f"Charades_v1/{row['id']}.mp4")
        is_frames = is_folder_name(video)
        examples.append(
            Example(
                video,
                row["id"],
                tuple(sorted({label for label, _, _ in actions})),
                group=row["subject"],
                spans=tuple(spans),
                duration_seconds=length,
                fps=FRAME_RATE if is_frames else None,
                flow=media.flow(video),
            )
        )
    return Dataset(
        "charades",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        multi_label=True,
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for Charades under a root; "" where nothing does."""
    names = [f"Charades_v1_{split}.csv" for split in SPLITS]
    found = [name for name in names if find_annotation(root, [name], FOLDERS)]
    return " and ".join(found)


def write_tiny(root: Path) -> None:
    """Write a tiny Charades: three classes, overlapping actions, a video without any, quotes and commas."""
    names = ("Holding some clothes", "Putting clothes somewhere", "Taking some clothes from somewhere")
    write_text(
        root / "Charades_v1_classes.txt", *(f"c{number:03d} {name}" for number, name in enumerate(names))
    )
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    for split, num_videos in (("train", 6), ("test", 4)):
        lines = [header]
        for number in range(num_videos):
            label, video = number % 3, f"{split[:2].upper()}{number}XY"
            write_clip(root / "Charades_v1" / f"{video}.mp4", label, seed_of(split, number), num_frames=75)
            actions = f"c{label:03d} 0.20 1.40;c{(label + 1) % 3:03d} 1.00 3.20" if number != 3 else ""
            story = '"A person walks in, says ""hm"" and sits."'
            lines.append(
                f"{video},S{split[:2]}{number},Kitchen,6,7,Yes,{story},chair;book,Sits.;Reads.,{actions},3.00"
            )
        write_text(root / f"Charades_v1_{split}.csv", *lines)
