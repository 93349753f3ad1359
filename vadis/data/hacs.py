"""HACS: 1.5 million two-second clips, said to show a class or not (Clips), and full intervals (Segments).

Zhao et al. 2019 (arXiv:1712.09374). The 200 classes are ActivityNet's. `HACS_v1.1.1/HACS_clips_v1.1.1.csv`:

    classname,youtube_id,subset,start,end,label
    Archery,AbCdEfGhIjK,training,15.5,17.5,1
    Archery,zz_9-QwErTy,training,77.5,79.5,-1

Label 1 shows the class, -1 does not: a denied clip tells no class, so it is left out (and counted) unless
`denied=True`; then it is an example without a label whose class is in `absent`. The videos are whole, times
are seconds in them. The subset `testing` may lack labels.

`HACS_segments_v1.1.1.json` has ActivityNet's form; its durations are strings.

Videos: `<Class_with_underscores>/v_<id>.mp4`, as the authors' script writes them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from vadis.data.activitynet import SPLITS, SUBSETS, read_segments
from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, read_table, to_float, to_label
from vadis.records import Dataset, Example

FOLDERS = ("HACS_v1.1", "HACS_v1.1.1", "HACS-dataset/HACS_v1.1.1")
CLIPS, SEGMENTS = ("HACS_clips_v*.csv",), ("HACS_segments_v*.json",)
COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")
NUM_CLASSES = 200


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    part: str = "clips",
    denied: bool = False,
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split of HACS. part: "clips" or "segments"; denied: keep clips that do not show their class.

    Raises DataError.
    """
    if part == "clips":
        return read_clips(Path(root), split, denied, Path(videos or root))
    path = need_annotation(Path(root), SEGMENTS, FOLDERS)
    media_root = Path(videos or root)
    return read_segments(
        path, split, "hacs_segments", media_root, num_classes=NUM_CLASSES, class_folders=True
    )


def read_clips(root: Path, split: str, denied: bool, media_root: Path) -> Dataset:
    """A split of HACS Clips; see `read`."""
    notes = Notes()
    rows = list(read_table(need_annotation(root, CLIPS, FOLDERS), COLUMNS))
    class_names = tuple(sorted({row["classname"] for _, row in rows if row["classname"]}))
    if len(class_names) != NUM_CLASSES:
        notes.add(
            f"the file names {len(class_names)} classes, not {NUM_CLASSES}: labels are places among those"
        )
    label_of = {name: label for label, name in enumerate(class_names)}
    media = Media(media_root, class_names)
    examples = []
    for where, row in rows:
        if row["subset"] not in SUBSETS.values():
            raise where.error(f"the subset {row['subset']!r} is none of {', '.join(SUBSETS.values())}")
        if row["subset"] != SUBSETS[split]:
            continue
        if row["label"] not in ("1", "-1", ""):
            raise where.error(f"the label is 1 or -1, not {row['label']!r}")
        if row["label"] == "-1" and not denied:
            notes.add("a clip does not show its class: left out", where)
            continue
        start, end = to_float(row["start"], where, "start"), to_float(row["end"], where, "end")
        if end <= start:
            raise where.error(f"the clip ends ({end}) before it begins ({start})")
        name, youtube_id = row["classname"], row["youtube_id"]
        labels = (to_label(name, label_of, where),) if name and row["label"] else ()
        expected = f"{name.replace(' ', '_')}/v_{youtube_id}.mp4"
        is_denied = row["label"] == "-1"
        examples.append(
            Example(
                media.find(f"v_{youtube_id}", "", name) or media.find(youtube_id, expected, name),
                f"{youtube_id}_{row['start']}_{row['end']}",
                () if is_denied else labels,
                start,
                end,
                youtube_id,
                absent=labels if is_denied else (),
            )
        )
    return Dataset(
        "hacs_clips",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path, part: str) -> str:
    """What speaks for the clips or the segments under a root; "" where nothing does."""
    path = find_annotation(root, {"clips": CLIPS, "segments": SEGMENTS}[part], FOLDERS)
    return path.name if path else ""


def write_tiny(root: Path, part: str = "clips") -> None:
    """Write tiny HACS Clips (with denied clips) or Segments (with durations as strings): two classes."""
    names = ("Archery", "Applying sunscreen")
    lines, database = [",".join(COLUMNS)], {}
    for split in SPLITS:
        for number in range(4 if split == "train" else 2):
            label, vid = number % 2, f"{split:_<6}{number}-Abc"
            name, subset = names[label], SUBSETS[split]
            write_clip(
                root / name.replace(" ", "_") / f"v_{vid}.mp4", label, seed_of(split, number), num_frames=60
            )
            lines.append(f"{name},{vid},{subset},0.0,2.0,1")
            lines.append(f"{name},{vid},{subset},0.4,2.4,-1")
            database[vid] = {
                "annotations": [{"label": name, "segment": [0.1, 1.9]}] if split != "test" else [],
                "subset": subset,
                "duration": "2.4",
                "url": f"https://www.youtube.com/watch?v={vid}",
            }
    folder = root / "HACS_v1.1.1"
    if part == "clips":
        write_text(folder / "HACS_clips_v1.1.1.csv", *lines)
    else:
        write_text(folder / "HACS_segments_v1.1.1.json", json.dumps({"database": database}))
