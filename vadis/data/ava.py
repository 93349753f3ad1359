"""AVA v2.1 and v2.2: who does what in the middle frame of every second, in 15 minutes of 430 films.

Gu et al. 2018 (arXiv:1705.08421). One row for a box and an action, no header; boxes in [0, 1], from the upper
left corner:

    ava_train_v2.2.csv                        AbCdEfGhIjK,0902,0.077,0.151,0.283,0.811,80,1
                                              AbCdEfGhIjK,0902,0.077,0.151,0.283,0.811,12,1
    ava_train_excluded_timestamps_v2.2.csv    AbCdEfGhIjK,0903
    ava_action_list_v2.2.pbtxt                label { name: "stand" label_id: 12 label_type: PERSON_MOVEMENT }
    ava_action_list_v2.2_for_activitynet_2019.pbtxt    item { name: "stand" id: 12 } ..., the 60 evaluated
    ava_test_v2.2.txt, ava_included_timestamps_v2.2.txt    videos and seconds of the hidden test set

An example is a key frame with its boxes; a box has one pose and up to six other labels. A row of two columns
is a key frame without a box. Traps: classes count from 1, here the label is id - 1; only 60 of 80 classes are
evaluated (the group "evaluated"); excluded seconds are used neither for training nor evaluation (left out and
counted); labels of v2.1 and v2.2 differ, never mix them. Seconds run from 902 to 1798 in the film. Films are
often cut to the quarter of an hour (`ffmpeg -ss 900 -t 901`), into `videos_15min/`, and frames are taken from
that cut at 30 a second: there second 902 is at 2 s. This is told by the folder's name, or by `first_second`.

Videos: `videos/<id>.mkv`, `.mp4`, `.webm` (whole films), `videos_15min/<id>.*`, `frames/<id>/<id>_000001.jpg`
(PySlowFast), `rawframes/<id>/img_00001.jpg` (MMAction2).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vadis.data.files import Media, find_annotation, is_folder_name, need_annotation
from vadis.data.made import FPS, HEIGHT, WIDTH, draw_clip, seed_of, write_clip, write_text
from vadis.data.rows import Notes, Where, read_lines, read_rows, read_text, to_float, to_int
from vadis.records import Box, Dataset, Example

SPLITS = ("train", "val", "test")
NUM_CLASSES = 80
CUT_SECOND = 900.0  # of the film, where the common cut begins
CUT_RATE = 30.0  # in Hz, of the frames taken from it
CUT_FOLDERS = re.compile(r"15min|cut|clips|frames", re.I)

KeyFrame = tuple[str, float]
Boxes = dict[KeyFrame, dict[tuple[str, ...], tuple[Box, list[int]]]]
"""For each key frame, by the words that tell one box from another: the box, and its labels so far."""


def read_action_list(path: Path) -> dict[int, str]:
    """Class names by id, from either form of the list (`item`/`id`, `label`/`label_id`)."""
    names: dict[int, str] = {}
    name = None
    text = read_text(path)
    for match in re.finditer(r'\b(name|id|label_id)\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)', text):
        where = Where(path, text.count("\n", 0, match.start()) + 1)
        if match[1] == "name":
            name = match[2].strip('"')
        elif name is None:
            raise where.error(f"{match[0]!r} has no name before it")
        else:
            number = int(match[2])
            if not 1 <= number <= NUM_CLASSES or number in names:
                raise where.error(f"AVA's ids are 1..{NUM_CLASSES}, each once, not {number}")
            names[number], name = name, None
    if not names:
        raise Where(path, 1).error("is no list of actions")
    return names


def read_keyframes(path: Path) -> Iterator[tuple[Where, KeyFrame, list[str]]]:
    """The rows of a CSV: place, (video, second), the fields after those."""
    for where, row in read_rows(path):
        if len(row) not in (2, 7, 8):
            raise where.error(
                f"{len(row)} columns; AVA has 8 (7 without a person, 2 for a frame without a box)"
            )
        yield where, (row[0], to_float(row[1], where, "the timestamp")), row[2:]


def name_of(keyframe: KeyFrame) -> str:
    """A key frame as the files write it: `AbCdEfGhIjK,0902`."""
    video, second = keyframe
    return f"{video},{int(second):04d}" if second == int(second) else f"{video},{second}"


def make_box(where: Where, fields: list[str]) -> Box:
    """A box without its labels yet, kept as it is written."""
    x1, y1, x2, y2 = (to_float(field, where, "a side of the box") for field in fields[:4])
    person = to_int(fields[5], where, "the person") if len(fields) > 5 else None
    return Box(x1, y1, x2, y2, (), person)


def read_boxes(path: Path, notes: Notes) -> Boxes:
    """The boxes of a CSV by key frame, in the order of the file."""
    boxes: Boxes = {}
    for where, keyframe, fields in read_keyframes(path):
        people = boxes.setdefault(keyframe, {})
        if not fields:
            continue
        label = to_int(fields[4], where, "the action") - 1
        if not 0 <= label < NUM_CLASSES:
            raise where.error(f"AVA's actions are 1..{NUM_CLASSES}, not {label + 1}")
        key = (*fields[:4], *fields[5:])
        if key not in people:
            box = make_box(where, fields)
            people[key] = (box, [])
            if box.x1 >= box.x2 or box.y1 >= box.y2:
                notes.add("a box is empty: kept as it is", where)
        labels = people[key][1]
        if label in labels:
            notes.add("a box has an action twice: taken once", where)
        else:
            labels.append(label)
    return boxes


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    version: str = "2.2",
    videos: str | os.PathLike[str] | None = None,
    first_second: float | None = None,
) -> Dataset:
    """Read a split ("train", "val"; "test" has no labels). version: "2.1" or "2.2".

    first_second: the second of the film at which the video files begin, 0 or 900; by default told by the
    folder's name. `keyframe_seconds` are on the file's own clock. Raises DataError.
    """
    root, notes = Path(root), Notes()
    folders = (f"ava_v{version}", "ava", "person_box")
    class_names, evaluated = read_classes(root, version, folders, notes)
    excluded = read_excluded(root, split, version, folders)
    if split == "test":
        included = need_annotation(root, [f"ava_included_timestamps_v{version}.txt"], folders)
        seconds = [to_float(text, where, "the timestamp") for where, text in read_lines(included)]
        listed = read_lines(need_annotation(root, [f"ava_test_v{version}.txt"], folders))
        boxes: Boxes = {(vid, second): {} for _, vid in listed for second in seconds}
    else:
        boxes = read_boxes(need_annotation(root, [f"ava_{split}_v{version}.csv"], folders), notes)
    media = Media(videos or root)
    examples = []
    for keyframe, people in boxes.items():
        if keyframe in excluded:
            notes.add("a key frame is in the list of excluded timestamps: left out", name_of(keyframe))
            continue
        vid, second = keyframe
        video = media.find(vid, f"videos_15min/{vid}.mp4")
        is_frames = is_folder_name(video)
        offset = first_second
        if offset is None:
            is_cut = is_frames or any(CUT_FOLDERS.search(part) for part in video.split("/")[:-1])
            offset = CUT_SECOND if is_cut else 0.0
        mine = tuple(replace(box, labels=tuple(labels)) for box, labels in people.values())
        every = sorted({label for box in mine for label in box.labels})
        examples.append(
            Example(
                video,
                name_of(keyframe),
                tuple(every),
                group=vid,
                keyframe_seconds=second - offset,
                boxes=mine,
                fps=CUT_RATE if is_frames else None,
            )
        )
    groups = {"pose": range(14), "object": range(14, 63), "person": range(63, 80), "evaluated": evaluated}
    return Dataset(
        f"ava_{version}",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        multi_label=True,
        class_groups={name: tuple(labels) for name, labels in groups.items() if labels},
        notes=notes.all() + media.notes.all(),
    )


def read_classes(
    root: Path, version: str, folders: tuple[str, ...], notes: Notes
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The 80 names, and the labels that are evaluated (none where the list of 60 is not there)."""
    year = {"2.1": "2018", "2.2": "2019"}[version]
    every = find_annotation(root, [f"ava_action_list_v{version}.pbtxt"], folders)
    some = find_annotation(root, [f"ava_action_list_v{version}_for_activitynet_{year}.pbtxt"], folders)
    path = every or some
    if path is None:
        need_annotation(root, [f"ava_action_list_v{version}.pbtxt"], folders)
    names = read_action_list(path) if path else {}
    if len(names) < NUM_CLASSES:
        notes.add(
            "a class has no name in the list of actions: called by its id", path, NUM_CLASSES - len(names)
        )
    class_names = tuple(names.get(number, f"action {number}") for number in range(1, NUM_CLASSES + 1))
    evaluated = tuple(sorted(number - 1 for number in read_action_list(some))) if some else ()
    return class_names, evaluated


def read_excluded(root: Path, split: str, version: str, folders: tuple[str, ...]) -> set[KeyFrame]:
    """The key frames that are not used; none where the list is not there."""
    path = find_annotation(root, [f"ava_{split}_excluded_timestamps_v{version}.csv"], folders)
    return {keyframe for _, keyframe, _ in read_keyframes(path)} if path else set()


def recognise(root: Path, version: str) -> str:
    """What speaks for this version under a root; "" where nothing does."""
    names = (f"ava_train_v{version}.csv", f"ava_val_v{version}.csv", f"ava_test_v{version}.txt")
    found = [name for name in names if find_annotation(root, [name], (f"ava_v{version}", "ava"))]
    return " and ".join(found)


def write_tiny(root: Path, version: str = "2.2") -> None:
    """Write a tiny AVA: cuts of five seconds that begin at second 900, boxes on the moving shape."""
    names = {
        1: "bend/bow (at the waist)",
        12: "stand",
        79: "talk to (e.g., self, a person, a group)",
        80: "watch (a person)",
    }
    kinds = {1: "PERSON_MOVEMENT", 12: "PERSON_MOVEMENT", 79: "PERSON_INTERACTION", 80: "PERSON_INTERACTION"}
    lines = []
    for number, name in names.items():
        lines += [
            "label {",
            f'  name: "{name}"',
            f"  label_id: {number}",
            f"  label_type: {kinds[number]}",
            "}",
        ]
    write_text(root / f"ava_action_list_v{version}.pbtxt", *lines)
    items = [
        line
        for number in (12, 79, 80)
        for line in ("item {", f'  name: "{names[number]}"', f"  id: {number}", "}")
    ]
    year = {"2.1": "2018", "2.2": "2019"}[version]
    write_text(root / f"ava_action_list_v{version}_for_activitynet_{year}.pbtxt", *items)
    for split, num_videos in (("train", 4), ("val", 2)):
        rows = []
        for number in range(num_videos):
            vid, label = f"{split:_<6}{number}-Abc", number % 2
            write_clip(
                root / "videos_15min" / f"{vid}.mp4", label, seed_of(split, number), num_frames=5 * FPS
            )
            box_T4 = draw_clip(label, seed_of(split, number), 5 * FPS).box_T4 / [WIDTH, HEIGHT, WIDTH, HEIGHT]
            for second in (902, 903):
                box = ",".join(f"{side:.3f}" for side in box_T4[(second - 900) * FPS])
                rows += [
                    f"{vid},{second:04d},{box},{action},1" for action in ((12, 79), (12, 80), (1,))[label]
                ]
        write_text(root / f"ava_{split}_v{version}.csv", *rows)
        write_text(root / f"ava_{split}_excluded_timestamps_v{version}.csv", f"{split:_<6}0-Abc,0903")
    write_clip(root / "videos_15min" / "test__0-Abc.mp4", 1, seed_of("test", 0), num_frames=5 * FPS)
    write_text(root / f"ava_test_v{version}.txt", "test__0-Abc")
    write_text(root / f"ava_included_timestamps_v{version}.txt", "0902", "0903")
