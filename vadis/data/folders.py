"""A folder of videos of one's own: a folder for each class, with or without folders for the splits.

    cooking/stir/a.mp4                 classes
    cooking/train/stir/a.mp4           splits, classes (also training, videos_train, val_256 ...)
    cooking/train/stir/a/img_00001.jpg, flow_x_00001.jpg ...    a folder of frames is a video, too

The label is the place of the class in the sorted list of names; with splits, the names of all splits count,
so that a label means the same in each. Videos that lie outside of class folders are left out and counted, as
are folders without a video. A `classes.txt` beside the folders, one name a line, gives another order.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from vadis.data.files import Media, find_class_names, is_folder_name, walk_videos
from vadis.data.made import seed_of, write_clip
from vadis.data.rows import Notes
from vadis.records import DataError, Dataset, Example

SPLIT_FOLDER = re.compile(
    r"(?:(?:raw)?(?:videos|frames)_)?(train|training|val|valid|validation|test|testing)(?:_\d+)?"
)
SPLIT_WORDS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
WHOLE = "all"
"""The name of the only split where there are no folders for splits."""


def split_of(folder: str) -> str:
    """The split that a folder's name means: "train", "val", "test", or "" for another name."""
    match = SPLIT_FOLDER.fullmatch(folder.lower())
    return SPLIT_WORDS.get(match[1], match[1]) if match else ""


def find_places(root: Path) -> list[tuple[str, ...]]:
    """The folders that hold videos, as parts relative to the root (an empty tuple for the root itself)."""
    return list(dict.fromkeys(PurePosixPath(path).parent.parts for path, _ in walk_videos(root)))


def describe_layout(root: Path) -> str:
    """ "classes" or "splits and classes", "" where videos do not lie so.

    ValueError where both are possible: folders called train and test that hold videos themselves may be
    classes or splits without classes.
    """
    depths = {len(place) for place in find_places(root)} - {0}
    tops = {place[0] for place in find_places(root) if place}
    split_tops = {top for top in tops if split_of(top)}
    if depths == {1} and tops:
        if tops == split_tops:
            raise ValueError(
                f"{root}: the videos lie in {', '.join(sorted(tops))}, which may be splits without "
                "classes or classes of these names; put class folders into them, or a list beside them"
            )
        return "classes"
    if depths == {2} and tops == split_tops:
        return "splits and classes"
    return ""


def find_splits(root: Path) -> tuple[str, ...]:
    """The splits that there are: ("all",) without folders for them."""
    if describe_layout(root) != "splits and classes":
        return (WHOLE,)
    found = {split_of(place[0]) for place in find_places(root) if place}
    return tuple(sorted(found, key=("train", "val", "test").index))


def read(
    root: str | os.PathLike[str], split: str = WHOLE, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, or "all" where there are none. Raises DataError, ValueError (see `describe_layout`)."""
    root, notes = Path(root), Notes()
    media = Media(videos or root)
    layout = describe_layout(media.root)
    if not layout:
        raise DataError(f"{root}: the videos do not lie in class folders, nor in class folders of splits")
    if split not in (splits := find_splits(media.root)):
        raise ValueError(f"{root} has the splits {', '.join(splits)}, not {split!r}")
    depth = 1 if layout == "classes" else 2
    classes, clips, filled = set(), [], set()
    for path, is_folder in walk_videos(media.root):
        parts = PurePosixPath(path).parent.parts
        if len(parts) != depth:
            notes.add("a video lies outside of the class folders: left out", path)
            continue
        classes.add(parts[-1])
        filled.add("/".join(parts))
        if depth == 1 or split_of(parts[0]) == split:
            clips.append((path, is_folder, parts[-1]))
    for folder in sorted(media.root.iterdir()):
        for inner in [folder] if depth == 1 else sorted(folder.iterdir()) if folder.is_dir() else []:
            name = inner.relative_to(media.root).as_posix()
            if inner.is_dir() and not inner.name.startswith(".") and name not in filled:
                notes.add("a class folder holds no video: left out", name)
    class_names = tuple(sorted(classes))
    if (listed := find_class_names(root)) is not None:
        class_names = listed
        if unknown := classes - set(class_names):
            raise DataError(f"{root / 'classes.txt'}: does not name {', '.join(sorted(unknown)[:3])}")
    if len(class_names) < 2:
        raise DataError(f"{root}: there is only the class {', '.join(class_names)}; at least two are needed")
    label_of = {name: label for label, name in enumerate(class_names)}
    examples = []
    for path, is_folder, name in clips:
        stem = path if is_folder else str(PurePosixPath(path).with_suffix(""))
        flow = media.flow(path) if is_folder_name(path) else ()
        examples.append(Example(path, stem, (label_of[name],), group=stem, flow=flow))
    return Dataset(
        root.resolve().name, str(media.root), split, class_names, tuple(examples), notes=notes.all()
    )


def recognise(root: Path) -> str:
    """What speaks for class folders under a root; "" where nothing does. ValueError as `describe_layout`."""
    layout = describe_layout(root) if root.is_dir() else ""
    num_classes = len({place[-1] for place in find_places(root) if place}) if layout else 0
    return f"folders of {layout}, {num_classes} classes" if num_classes > 1 else ""


def write_tiny(root: Path) -> None:
    """Write tiny class folders in folders for the splits; names with spaces and letters of other scripts."""
    for split, num_clips in (("train", 3), ("val", 1), ("test", 1)):
        for label, name in enumerate(("pour water", "Rührei wenden", "stir")):
            for number in range(num_clips):
                write_clip(root / split / name / f"{split} {number}.mp4", label, seed_of(split, number))
