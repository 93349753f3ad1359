"""J-HMDB: 928 short clips of HMDB-51 (15 to 40 frames), 21 classes, a person's outline in every frame.

Jhuang et al. 2013 (ICCV). Officially

    splits/brush_hair_test_split1.txt     <name>.avi 1       (1 trains, 2 tests; three splits)
    puppet_mask/<class>/<name>/puppet_mask.mat     part_mask, uint8 (240, 320, frames)
    joint_positions/<class>/<name>/joint_positions.mat     pos_img, 15 joints
    Rename_Images/<class>/<name>/00001.png         the frames

and boxes are the tight boxes around the masks. The ACT family passes on `JHMDB-GT.pkl` (`vadis.data.tubes`)
with `Frames/<class>/<name>/00001.png` and flow in `FlowBrox04/`; it is preferred, as it needs no SciPy.
Traps: names hold `!` and brackets; a few masks have fewer frames than the clip (the rest has no box, noted).
One person acts, so a clip has one tube. Results are the mean of three splits. Pictures are 320 x 240, 30 a
second.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from vadis.data import tubes
from vadis.data.files import AbsentError, Media, find_annotation, find_annotations, is_folder_name
from vadis.data.made import HEIGHT, WIDTH, draw_clip, write_frames, write_text
from vadis.data.rows import Notes, read_lines
from vadis.data.tubes import Annotated, Cache, Tube
from vadis.records import DataError, Dataset, Example

SPLITS = ("train1", "test1", "train2", "test2", "train3", "test3")
FOLDERS = ("JHMDB", "sub_splits", "JHMDB_splits", "listfiles/JHMDB_splits")
CACHE = "JHMDB-GT.pkl"
MASKS = "puppet_mask"
NUM_CLASSES = 21
FRAME_RATE = 30.0  # in Hz


def read_masks(path: Path) -> Annotated:
    """The tight boxes around the masks of a clip, as one tube of label 0; frames without a mask have none."""
    mask_HWT = tubes.read_matlab(path).get("part_mask")
    if not isinstance(mask_HWT, np.ndarray) or mask_HWT.ndim != 3:
        raise DataError(f"{path}: has no part_mask of shape (H, W, T)")
    frames, boxes = [], []
    for frame in range(mask_HWT.shape[2]):
        y_N, x_N = np.nonzero(mask_HWT[..., frame])
        if len(x_N):
            frames.append(frame)
            boxes.append([x_N.min(), y_N.min(), x_N.max(), y_N.max()])
    box_N4 = np.array(boxes, np.float64).reshape(-1, 4)
    return Annotated((Tube(0, np.array(frames, np.int64), box_N4),), mask_HWT.shape[2], *mask_HWT.shape[:2])


def read_official(root: Path, fold: str, notes: Notes) -> Cache:
    """Tubes from the masks, for the clips of one split (index 0 of the parts)."""
    ending = f"_test_split{fold}.txt"
    paths = {path.name.removesuffix(ending): path for path in find_annotations(root, f"*{ending}", FOLDERS)}
    if not paths:
        raise AbsentError(f"{root}: there is neither {CACHE} nor <class>{ending}")
    videos: dict[str, Annotated] = {}
    parts: dict[str, list[list[str]]] = {"train": [[]], "test": [[]]}
    for label, class_name in enumerate(sorted(paths)):
        for where, line in read_lines(paths[class_name]):
            match = re.fullmatch(r"(.+?)(?:\.avi)?\s+([012])", line)
            if match is None:
                raise where.error(f"expected '<video>.avi <1 or 2>', found {line!r}")
            if match[2] == "0":
                notes.add("a clip has the code 0, unused in this split: left out", where)
                continue
            name = f"{class_name}/{match[1]}"
            parts["train" if match[2] == "1" else "test"][0].append(name)
            masks = root / MASKS / name / f"{MASKS}.mat"
            if not masks.is_file():
                notes.add("a clip has no puppet_mask.mat: kept, without boxes", where)
                videos[name] = Annotated(
                    (Tube(label, np.empty(0, np.int64), np.empty((0, 4))),), None, 240, 320
                )
                continue
            found = read_masks(masks)
            videos[name] = found._replace(tubes=tuple(tube._replace(label=label) for tube in found.tubes))
    return Cache(tuple(sorted(paths)), videos, parts)


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train1" to "test3". Boxes carry the index of their frame. Raises DataError."""
    root, notes = Path(root), Notes()
    if split not in SPLITS:
        raise ValueError(f"J-HMDB has the splits {', '.join(SPLITS)}, not {split!r}")
    path, number = find_annotation(root, [CACHE], FOLDERS), int(split[-1]) - 1
    cache = tubes.read_cache(path) if path else read_official(root, split[-1], notes)
    lists = cache.parts[split[:-1]]
    if path and number >= len(lists):
        raise AbsentError(f"{path}: holds {len(lists)} splits, not {split!r}")
    if len(cache.class_names) != NUM_CLASSES:
        notes.add(f"{len(cache.class_names)} classes have clips, not {NUM_CLASSES}", root)
    media = Media(videos or root, cache.class_names)
    examples = []
    for name in lists[number if path else 0]:
        if name not in cache.videos:
            notes.add("a listed clip has no annotation: left out", name)
            continue
        annotated = cache.videos[name]
        class_name, _, stem = name.rpartition("/")
        video = media.find(stem, f"{'Frames' if path else 'Rename_Images'}/{name}", class_name)
        is_frames = is_folder_name(video)
        boxes = tubes.make_boxes(name, annotated, notes)
        if annotated.num_frames and len({box.frame for box in boxes}) < annotated.num_frames:
            notes.add("some frames of a clip have no box", name)
        examples.append(
            Example(
                video,
                name,
                tubes.labels_of(annotated),
                group=re.sub(r"_\d+$", "", name),
                boxes=boxes,
                num_frames=annotated.num_frames,
                fps=FRAME_RATE if is_frames else None,
                flow=media.flow(video),
            )
        )
    return Dataset(
        "jhmdb",
        str(media.root),
        split,
        cache.class_names,
        tuple(examples),
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for J-HMDB under a root; "" where nothing does."""
    if find_annotation(root, [CACHE], FOLDERS):
        return CACHE
    lists = find_annotations(root, "*_test_split1.txt", FOLDERS)
    return (
        f"{len(lists)} files <class>_test_split1.txt and {MASKS}/"
        if lists and (root / MASKS).is_dir()
        else ""
    )


def write_tiny(root: Path) -> None:
    """Write a tiny J-HMDB in the ACT family's layout: frames, and the cache with three splits."""
    import pickle

    class_names = ("brush_hair", "wave")
    videos, parts = {}, {"train": [[], [], []], "test": [[], [], []]}  # type: ignore[var-annotated]
    for label, class_name in enumerate(class_names):
        for source in range(3):
            name = f"{class_name}/Wie_man!!_[{source}]_{class_name}_u_nm_np1_fr_med_{source}"
            write_frames(root / "Frames" / name, "%05d.png", label, source)
            box_T4 = draw_clip(label, source, 16).box_T4
            videos[name] = Annotated((Tube(label, np.arange(16), box_T4),), 16, HEIGHT, WIDTH)
            for fold in range(3):
                parts["test" if fold == source else "train"][fold].append(name)
    (root / CACHE).write_bytes(pickle.dumps(tubes.to_cache(class_names, videos, parts), protocol=2))
    write_text(root / "README.txt", "A made copy of J-HMDB's layout.")
