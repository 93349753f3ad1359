"""UCF101-24: who does what, where and when in 3,194 videos of 24 classes of UCF-101; split 1 only.

The annotations of THUMOS, corrected by Singh et al. 2017 (arXiv:1611.08563): 4,458 tubes. Any of

    UCF101v2-GT.pkl               the cache of the ACT family (`vadis.data.tubes`), with the split
    pyannot_with_class_names.pkl  {"db": {...}, "trainvideos": [...], "classes": [...]}
    pyannot.pkl                   {"Basketball/v_Basketball_g01_c01": {"label": 0, "numf": 141, "annotations":
                                   [{"label": 0, "sf": 8, "ef": 52, "boxes": uint8 (44, 4)}]}}
    finalAnnots.mat               the same, from 1 and with both ends, class from 1
    testlist01.txt                Basketball/v_Basketball_g01_c01, the test videos for the last two

Traps: boxes are x, y, width, height as uint8 or uint16, so x + width overflows unless cast first (a third of
all tubes); `sf` counts from 0 and `ef` is the frame after the last; names may appear in the list of all 101
classes, with `.avi`. Pictures are 320 x 240. Numbers published before 2017 used the older annotations.

Videos: `rgb-images/<Class>/<name>/00001.jpg` with flow in `brox-images/`, or UCF-101's own files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vadis.data import tubes
from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import WIDTH, draw_clip, write_frames, write_text
from vadis.data.rows import Notes, read_lines
from vadis.data.tubes import Annotated, Cache, Tube
from vadis.records import DataError, Dataset, Example

SPLITS = ("train1", "test1")
FOLDERS = ("ucf24", "UCF101_v2", "splitfiles", "ucf101_24")
CACHE, NAMED, PLAIN, MATLAB = (
    "UCF101v2-GT.pkl",
    "pyannot_with_class_names.pkl",
    "pyannot.pkl",
    "finalAnnots.mat",
)
NUM_CLASSES = 24
PICTURE = (240, 320)  # height and width of every video of UCF-101


def read_database(path: Path, database: Any) -> dict[str, Annotated]:
    """The videos of either `pyannot` pickle."""
    videos = {}
    if not isinstance(database, dict):
        raise DataError(f"{path}: expected a dict of videos")
    for name, entry in database.items():
        try:
            found = []
            for annotation in entry["annotations"]:
                box_N4 = (
                    np.asarray(annotation["boxes"]).astype(np.float64).reshape(-1, 4)
                )  # out of uint8 first
                box_N4[:, 2:] += box_N4[:, :2]
                first, stop = int(annotation["sf"]), int(annotation["ef"])
                if stop - first != len(box_N4):
                    raise ValueError(f"frames {first} to {stop}, but {len(box_N4)} boxes")
                found.append(Tube(int(annotation["label"]), np.arange(first, stop), box_N4))
            videos[name] = Annotated(tuple(found), int(entry["numf"]), *PICTURE)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: the video {name!r} is not of the known form ({error})") from error
    return videos


def read_matlab(path: Path) -> dict[str, Annotated]:
    """The videos of `finalAnnots.mat`: structures of frames, name and tubes of (ef, sf, class, boxes)."""
    annot = tubes.read_matlab(path).get("annot", ())
    videos = {}
    try:
        for entry in np.ravel(annot):
            num_frames, name, rows = entry[0], str(np.ravel(entry[1])[0]), entry[2]
            found = []
            for row in np.ravel(rows):
                last, first, label = (int(np.ravel(row[number])[0]) for number in range(3))
                box_N4 = np.asarray(row[3]).astype(np.float64).reshape(-1, 4)
                box_N4[:, 2:] += box_N4[:, :2]
                if last - first + 1 != len(box_N4):
                    raise ValueError(f"frames {first} to {last}, but {len(box_N4)} boxes")
                found.append(Tube(label - 1, np.arange(first - 1, last), box_N4))
            videos[name] = Annotated(tuple(found), int(np.ravel(num_frames)[0]), *PICTURE)
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: is not of the known form ({error})") from error
    return videos


def read_annotations(root: Path, notes: Notes) -> Cache:
    """Class names, tubes and the split, from whichever file there is."""
    if path := find_annotation(root, [CACHE], FOLDERS):
        return tubes.read_cache(path)
    if path := find_annotation(root, [NAMED], FOLDERS):
        document = tubes.read_plain_pickle(path)
        if not isinstance(document, dict) or not all(
            key in document for key in ("db", "trainvideos", "classes")
        ):
            raise DataError(f"{path}: expected a dict of db, trainvideos, classes")
        videos = read_database(path, document["db"])
        train = [str(name) for name in document["trainvideos"]]
        test = [name for name in videos if name not in set(train)]
        return Cache(tuple(document["classes"]), videos, {"train": [train], "test": [test]})
    path = need_annotation(root, [PLAIN, MATLAB, CACHE, NAMED], FOLDERS)
    videos = (
        read_matlab(path) if path.suffix == ".mat" else read_database(path, tubes.read_plain_pickle(path))
    )
    listed = {
        line.split()[0].removesuffix(".avi")
        for _, line in read_lines(need_annotation(root, ["testlist01.txt"], (*FOLDERS, "ucfTrainTestlist")))
    }
    test = [name for name in videos if name in listed]
    train = [name for name in videos if name not in listed]
    name_of: dict[int, str] = {}
    for name, annotated in videos.items():
        for tube in annotated.tubes:
            if name_of.setdefault(tube.label, name.split("/")[0]) != name.split("/")[0]:
                raise DataError(f"{path}: class {tube.label} is both {name_of[tube.label]} and {name}")
    if sorted(name_of) != list(range(len(name_of))):
        raise DataError(f"{path}: the labels are not 0..{len(name_of) - 1}")
    names = tuple(name_of[label] for label in range(len(name_of)))
    return Cache(names, videos, {"train": [train], "test": [test]})


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train1" or "test1". Boxes carry the index of their frame. Raises DataError."""
    root, notes = Path(root), Notes()
    if split not in SPLITS:
        raise ValueError(f"UCF101-24 has the splits {', '.join(SPLITS)}, not {split!r}")
    cache = read_annotations(root, notes)
    if len(cache.class_names) != NUM_CLASSES:
        notes.add(f"{len(cache.class_names)} classes have tubes, not {NUM_CLASSES}", root)
    media = Media(videos or root, cache.class_names)
    examples = []
    for name in cache.parts[split[:-1]][0]:
        if name not in cache.videos:
            notes.add("a listed video has no annotation: left out", name)
            continue
        annotated = cache.videos[name]
        folder, _, stem = name.rpartition("/")
        video = media.find(stem, f"rgb-images/{name}", folder)
        examples.append(
            Example(
                video,
                name,
                tubes.labels_of(annotated),
                group=name.rpartition("_c")[0],
                boxes=tubes.make_boxes(name, annotated, notes),
                num_frames=annotated.num_frames,
                flow=media.flow(video),
            )
        )
    return Dataset(
        "ucf101_24",
        str(media.root),
        split,
        cache.class_names,
        tuple(examples),
        multi_label=True,
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for UCF101-24 under a root; "" where nothing does."""
    found = [name for name in (CACHE, NAMED, PLAIN, MATLAB) if find_annotation(root, [name], FOLDERS)]
    return found[0] if found else ""


def write_tiny(root: Path) -> None:
    """Write a tiny UCF101-24 as frames, with `pyannot.pkl`: boxes of uint8 that overflow unless cast."""
    import pickle

    database: dict[str, Any] = {}
    test = []
    for label, class_name in enumerate(("Basketball", "CliffDiving", "WalkingWithDog")):
        for group in range(1, 4):
            name = f"{class_name}/v_{class_name}_g{group:02d}_c01"
            write_frames(root / "rgb-images" / name, "%05d.jpg", label, group)
            corner_T4 = draw_clip(label, group, 16).box_T4 * (PICTURE[1] / WIDTH)  # as if at 320 x 240
            box_T4 = np.concatenate([corner_T4[:, :2], corner_T4[:, 2:] - corner_T4[:, :2]], axis=1)
            boxes = box_T4[2:14].round().clip(0, 255).astype(np.uint8)
            tube = {"label": label, "sf": 2, "ef": 14, "boxes": boxes}
            database[name] = {"label": label, "numf": 16, "annotations": [tube]}
            test += [name] if group == 1 else []
    (root / PLAIN).write_bytes(pickle.dumps(database, protocol=2))
    write_text(root / "testlist01.txt", *test)
