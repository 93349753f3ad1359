"""The two subsets of Kinetics-400 called "mini": Xie's 200 classes, and the 80k videos of the first I3D.

Mini-Kinetics-200 (Xie et al. 2018, arXiv:1712.04851): the 200 largest classes, 400 clips each for training
and 25 for validation. Its two lists hold one YouTube id a line; labels and times come from Kinetics-400's
own lists, which must lie beside them:

    train_ytid_list.txt, val_ytid_list.txt:     AbCdEfGhIjK
                                                zz_9-QwErTy

The miniKinetics of the first version of "Quo Vadis" (Carreira and Zisserman 2017, arXiv:1705.07750v1; 80k
videos) is another subset: do not compare numbers. Its lists were never published with the paper, so there is
no official form; lists of ids in the same form are read, under the names `minikinetics_{train,val,test}.txt`.

The label is the place in the sorted list of the names that the ids have (for Mini-Kinetics-200 this order is
the toolkits' custom, no file states it). An id that Kinetics-400's lists do not know has no label: it is left
out and counted. The lists may name a clip that Kinetics-400 has in the other split: the label counts.
"""

from __future__ import annotations

import os
from pathlib import Path

from vadis.data import kinetics
from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import write_text
from vadis.data.rows import Notes, read_lines
from vadis.records import DataError, Dataset

LISTS = {"200": "{split}_ytid_list.txt", "80k": "minikinetics_{split}.txt"}
SPLITS = {"200": ("train", "val"), "80k": ("train", "val", "test")}
NAMES = {"200": "minikinetics200", "80k": "minikinetics80k"}
NUM_CLASSES_200 = 200


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    version: str = "200",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split. version: "200" (Xie) or "80k" (the first version of I3D). Raises DataError."""
    root, notes = Path(root), Notes()
    paths = {
        part: path
        for part in SPLITS[version]
        if (path := find_annotation(root, [LISTS[version].format(split=part)]))
    }
    if split not in paths:
        need_annotation(root, [LISTS[version].format(split=split)])
    clips: dict[str, list[kinetics.Clip]] = {}
    for part in kinetics.SPLITS:
        if path := kinetics.find_list(root, "400", part):
            for clip in kinetics.read_clips(path):
                if clip.label:
                    clips.setdefault(clip.youtube_id, []).append(clip)
    if not clips:
        raise DataError(f"{root}: the lists of Kinetics-400 must lie here, too: they hold labels and times")
    wanted, names = [], set()
    for part, path in paths.items():
        for where, youtube_id in read_lines(path):
            found = clips.get(youtube_id, [])
            names |= {clip.label for clip in found}
            if part != split:
                continue
            if not found:
                notes.add("an id is in none of Kinetics-400's lists: left out", where)
            if len(found) > 1:
                notes.add("an id has several clips in Kinetics-400: all are taken", where)
            wanted += [clip._replace(where=where) for clip in found]
    class_names = tuple(sorted(names))
    if version == "200" and len(class_names) != NUM_CLASSES_200:
        notes.add(f"the ids have {len(class_names)} classes, not 200: labels are places among those", root)
    media = Media(videos or root, kinetics.read_class_names(root, "400", Notes()))
    examples = kinetics.make_examples(wanted, class_names, media, notes)
    return Dataset(
        NAMES[version],
        str(media.root),
        split,
        class_names,
        examples,
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path, version: str) -> str:
    """What speaks for this subset under a root; "" where nothing does."""
    names = [LISTS[version].format(split=split) for split in SPLITS[version]]
    found = [path.name for name in names if (path := find_annotation(root, [name]))]
    return " and ".join(found) if found and kinetics.find_list(root, "400", "train") else ""


def write_tiny(root: Path, version: str = "200") -> None:
    """Write a tiny Kinetics-400 and lists that take two of its three classes."""
    kinetics.write_tiny(root)
    for split in ("train", "val"):
        clips = [
            clip
            for clip in kinetics.read_clips(root / f"kinetics-400_{split}.csv")
            if clip.label != "playing harp"
        ]
        write_text(root / LISTS[version].format(split=split), *(clip.youtube_id for clip in clips))
