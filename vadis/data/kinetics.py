"""Kinetics-400, 600, 700 and 700-2020: ten-second clips of YouTube videos, one action each.

Kay et al. 2017 (arXiv:1705.06950), Carreira et al. 2018 (1808.01340), 2019 (1907.06987), Smaira et al. 2020
(2010.10864). The lists come as CSV, by DeepMind `kinetics600/{train,validate,test}.csv`, by the ActivityNet
crawler `kinetics-600_{train,val,test}.csv`, by MMAction2 `kinetics_{train,val,test}.csv`:

    label,youtube_id,time_start,time_end,split,is_cc
    abseiling,AbCdEfGhIjK,17,27,train,0
    "playing harp",zz_9-QwErTy,102,112,val,1

Beside them may lie JSON of the same content, which is read where there is no CSV:

    {"AbCdEfGhIjK": {"annotations": {"label": "abseiling", "segment": [17.0, 27.0]}, "subset": "train", ...}}

Traps: Kinetics-400 quotes names of several words; only Kinetics-400 has `is_cc`; the crawler's test list has
no labels; times are whole seconds, by some written `17.0`. The files are cut already, so the times say where
in the YouTube video they were, and `id` holds them. The label is the place in the sorted list of names (byte
order, order without case and order with `_` are the same for all three lists). Names keep their spelling
(`dying hair`, `passing American football (not in game)`).

Videos: `<label>/<id>_000017_000027.mp4` (crawler), `<label with _>/...` (MMAction2), `<label>/<id>.mp4`
(non-local networks), by CVDF all in one folder a split. YouTube loses videos: count what is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vadis.data.files import AbsentError, Media, find_annotation, plain
from vadis.data.made import seed_of, write_clip, write_text
from vadis.data.rows import Notes, Where, read_json, read_lines, read_table, to_int, to_label
from vadis.records import DataError, Dataset, Example

SPLITS = ("train", "val", "test")
NUM_CLASSES = {"400": 400, "600": 600, "700": 700, "700_2020": 700}
SPLIT_WORDS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""How the column `split` and the names of files call the three splits."""

CLASS_FILES = ("classes.txt", "label_map.txt", "label_map_k*.txt", "kinetics_*labels.txt")
"""A list of the classes, one a line in the official order; without one, the names found are sorted."""


class Clip(NamedTuple):
    """A row of a list: where it stands, label ("" where it is hidden), YouTube's id, seconds there, split."""

    where: Where
    label: str
    youtube_id: str
    start_seconds: int
    end_seconds: int
    split: str

    @property
    def id(self) -> str:
        """The name that the crawler gives to the file of the clip."""
        return f"{self.youtube_id}_{self.start_seconds:06d}_{self.end_seconds:06d}"


def list_files(root: Path, version: str, split: str) -> list[str]:
    """The names that the list of a split may have; CSV first."""
    words = [word for word, meant in SPLIT_WORDS.items() if meant == split]
    crawler = version.replace("_", "-")
    stems = [f"kinetics-{crawler}_{word}" for word in words]
    stems += [f"kinetics{version}_{word}" for word in words] + [f"kinetics_{word}" for word in words] + words
    return [stem + suffix for suffix in (".csv", ".json") for stem in stems]


def find_list(root: Path, version: str, split: str) -> Path | None:
    """The list of a split, None where there is none. A `train.csv` without YouTube ids is another tool's."""
    folders = (f"kinetics{version}", f"kinetics-{version.replace('_', '-')}", f"k{version}", "kinetics")
    for name in list_files(root, version, split):
        path = find_annotation(root, [name], folders)
        if path is not None and is_list(path):
            return path
    return None


def is_list(path: Path) -> bool:
    """Whether a file begins as a list of Kinetics does; only its first bytes are read."""
    with path.open("rb") as file:
        head = file.read(4096)
    if path.suffix == ".json":
        return head.lstrip().startswith(b"{") and b'"segment"' in head and b'"database"' not in head
    return b"youtube_id" in head.split(b"\n", 1)[0] and b"time_start" in head.split(b"\n", 1)[0]


def read_clips(path: Path) -> Iterator[Clip]:
    """The rows of one list, CSV or JSON."""
    if path.suffix == ".json":
        for number, (youtube_id, entry) in enumerate(read_json(path).items(), 1):
            where = Where(path, number)
            try:
                label, (start, end) = entry["annotations"].get("label", ""), entry["annotations"]["segment"]
                split = entry["subset"]
            except (TypeError, KeyError, AttributeError, ValueError) as error:
                raise DataError(f"{path}: the entry {youtube_id!r} is not of Kinetics' form") from error
            start, end = to_int(start, where, "the start"), to_int(end, where, "the end")
            yield Clip(where, label, youtube_id, start, end, SPLIT_WORDS.get(split, split))
        return
    for where, row in read_table(path, ("youtube_id", "time_start", "time_end", "split")):
        yield Clip(
            where,
            row.get("label", "").strip('"'),
            row["youtube_id"],
            to_int(row["time_start"], where, "time_start"),
            to_int(row["time_end"], where, "time_end"),
            SPLIT_WORDS.get(row["split"], row["split"]),
        )


def read_labels(path: Path) -> set[str]:
    """The class names of one list; in CSV without a look at the other columns."""
    if path.suffix == ".json":
        return {clip.label for clip in read_clips(path) if clip.label}
    return {row.get("label", "").strip('"') for _, row in read_table(path, ())} - {""}


def read_class_names(root: Path, version: str, notes: Notes) -> tuple[str, ...]:
    """The classes in official order: a list beside the data, Kinetics-400's own, or those found, sorted."""
    if path := find_annotation(root, CLASS_FILES):
        return tuple(name.strip('"') for _, name in read_lines(path))
    lists = [found for split in ("train", "val") if (found := find_list(root, version, split))]
    found_names = {label for path in lists for label in read_labels(path)}
    if version == "400":
        from vadis.models.weights import class_names

        official = class_names("kinetics400")
        if found_names <= set(official):
            return official
    if len(found_names) != NUM_CLASSES[version]:
        notes.add(
            f"the lists name {len(found_names)} classes, not {NUM_CLASSES[version]}: labels are places among "
            "those (a classes.txt beside the lists gives the official order)",
            lists[0] if lists else root,
        )
    return tuple(sorted(found_names))


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    version: str = "400",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split ("train", "val", "test"). version: "400", "600", "700" or "700_2020".

    videos: the folder of the videos where they do not lie under the root. Raises DataError.
    """
    root, notes = Path(root), Notes()
    path = find_list(root, version, split)
    if path is None:
        names = ", ".join(list_files(root, version, split)[:3])
        raise AbsentError(f"{root}: there is no list of the split {split!r} of Kinetics ({names} ...)")
    class_names = read_class_names(root, version, notes)
    media = Media(videos or root, class_names)
    clips = []
    for clip in read_clips(path):
        if clip.split == split:
            clips.append(clip)
        else:
            notes.add(f"a row of this list belongs to the split {clip.split!r}: left out", clip.where)
    examples = make_examples(clips, class_names, media, notes)
    return Dataset(
        f"kinetics{version}",
        str(media.root),
        split,
        class_names,
        examples,
        notes=notes.all() + media.notes.all(),
    )


def make_examples(
    clips: list[Clip], class_names: tuple[str, ...], media: Media, notes: Notes
) -> tuple[Example, ...]:
    """The examples of rows: labels by name, files by the names that the common layouts give them."""
    label_of = {name: label for label, name in enumerate(class_names)}
    by_plain_name = {plain(name): label for label, name in enumerate(class_names)}
    examples, seen = [], set()
    for clip in clips:
        if clip.end_seconds <= clip.start_seconds:
            notes.add("a clip ends before it begins: kept, the file counts", clip.where)
        name = clip.id
        if name in seen:
            notes.add("a clip is listed twice: the second is left out", clip.where)
            continue
        seen.add(name)
        labels: tuple[int, ...] = ()
        if clip.label:
            if clip.label not in label_of and plain(clip.label) in by_plain_name:
                label_of[clip.label] = by_plain_name[plain(clip.label)]  # with `_` for spaces
            labels = (to_label(clip.label, label_of, clip.where),)
        expected = f"{clip.label or clip.split}/{name}.mp4"
        video = media.find(name, "", clip.label) or media.find(clip.youtube_id, expected, clip.label)
        examples.append(Example(video, name, labels, group=clip.youtube_id, flow=media.flow(video)))
    return tuple(examples)


def recognise(root: Path, version: str) -> str:
    """What speaks for this version of Kinetics under a root; "" where nothing does."""
    lists = [path for split in SPLITS if (path := find_list(root, version, split))]
    if not lists:
        return ""
    crawler = version.replace("_", "-")
    own = [
        path for path in lists if f"kinetics-{crawler}_" in path.name or f"kinetics{version}_" in path.name
    ]
    parts = [part.lower().replace("-", "_") for part in (root.name, lists[0].parent.name)]
    if not own and not any(
        part in (f"kinetics{version}", f"kinetics_{version}", f"k{version}") for part in parts
    ):
        named = {f"{stem}{other}" for other in NUM_CLASSES for stem in ("kinetics", "kinetics_", "k")}
        if named & set(parts):  # the folder is called after another version
            return ""
        labels = {label for path in lists for label in read_labels(path)}
        if labels and len(labels) != NUM_CLASSES[version]:
            if version != "400" or len(labels) > 400:
                return ""
            from vadis.models.weights import class_names

            if not labels <= set(class_names("kinetics400")):
                return ""
    return f"{', '.join(path.name for path in own or lists)} with youtube_id, time_start, time_end"


def write_tiny(root: Path, version: str = "400") -> None:
    """Write a tiny Kinetics in the crawler's layout: 3 classes, two clips each to train, one to validate."""
    names = ("abseiling", "playing harp", "massaging person's head")
    is_first = version == "400"
    header = "label,youtube_id,time_start,time_end,split" + (",is_cc" if is_first else "")
    for split, num_clips in (("train", 2), ("val", 1), ("test", 1)):
        lines = []
        for label, name in enumerate(names):
            for number in range(num_clips):
                youtube_id = f"{split.title():_<5}{label}{number}-Abc"
                start = 10 * number + 17
                quoted = f'"{name}"' if is_first and " " in name else name
                row = f"{youtube_id},{start},{start + 10},{split}"
                lines.append(row if split == "test" else f"{quoted},{row}" + (",0" if is_first else ""))
                folder = "test" if split == "test" else name
                file = root / folder / f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4"
                write_clip(file, label, seed_of(split, number))
        columns = "youtube_id,time_start,time_end,split" if split == "test" else header
        write_text(root / f"kinetics-{version.replace('_', '-')}_{split}.csv", columns, *lines)
