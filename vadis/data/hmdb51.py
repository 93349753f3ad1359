"""HMDB-51: 6,766 clips from films and the web, 51 classes, three splits of 70 + 30 clips a class.

Kuehne et al. 2011 (ICCV). `testTrainMulti_7030_splits/` has a file for each class and split:

    brush_hair_test_split1.txt   April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
                                 Other_clip_brush_hair_h_cm_np1_le_goo_1.avi 2

Code 1 trains, 2 tests, 0 is unused in this split (counted). Traps: lines end with a space; names hold spaces,
`!`, `#`, `;`, `[` and `(`; classes hold `_`; no file numbers the classes, the label is the place of the name
in sorted order. The end of a name tells the visible body part (h u l f), camera motion (nm cm), number of
people (np1 ...), viewpoint (fr ba le ri), quality (goo med bad) and a number; before it is the source.
Results are the mean of the three accuracies.

Videos: `hmdb51_org/<class>/<name>.avi` (the archive holds one archive for each class), or frames as UCF-101.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from vadis.data.files import AbsentError, Media, find_annotations
from vadis.data.made import write_clip, write_text
from vadis.data.rows import Notes, Where, read_lines
from vadis.records import DataError, Dataset, Example

SPLITS = ("train1", "test1", "train2", "test2", "train3", "test3")
FOLDERS = ("testTrainMulti_7030_splits", "test_train_splits", "test_train_splits/testTrainMulti_7030_splits")
CODES = {"0": "", "1": "train", "2": "test"}
NUM_CLASSES = 51
TAGS = re.compile(r"_[hulf]_(nm|cm)_np\d+_(fr|ba|le|ri)_(goo|med|bad)_\d+$")

GROUPS = {
    "general facial actions": "smile laugh chew talk",
    "facial actions with object manipulation": "smoke eat drink",
    "general body movements": """cartwheel clap climb climb_stairs dive fall_floor flic_flac handstand jump
        pullup pushup run sit situp somersault stand turn walk wave""",
    "body movements with object interaction": """brush_hair catch draw_sword dribble golf hit kick_ball pick
        pour push ride_bike ride_horse shoot_ball shoot_bow shoot_gun swing_baseball sword_exercise throw""",
    "body movements for human interaction": "fencing hug kick kiss punch shake_hands sword",
}
"""The authors' five types."""


def read_codes(path: Path, class_name: str) -> list[tuple[str, str, Where]]:
    """The lines of a split file: name of the video without its ending, code, place."""
    rows = []
    for where, line in read_lines(path):
        name, _, code = line.rpartition(" ")
        if code not in CODES or not name.strip():
            raise where.error(f"expected '<video>.avi <0, 1 or 2>', found {line!r}")
        rows.append((name.strip().removesuffix(".avi"), code, where))
    if not rows:
        raise DataError(f"{path}: lists no video of {class_name!r}")
    return rows


def split_files(root: Path, fold: str) -> dict[str, Path]:
    """The files of one of the three splits by class, in sorted order."""
    ending = f"_test_split{fold}.txt"
    paths = {path.name.removesuffix(ending): path for path in find_annotations(root, f"*{ending}", FOLDERS)}
    return dict(sorted(paths.items()))


def source_of(name: str, class_name: str) -> str:
    """What a clip was cut from: its name without tags and class."""
    return TAGS.sub("", name).removesuffix(class_name).rstrip("_") or name


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train1" to "test3". Raises DataError."""
    root, notes = Path(root), Notes()
    if split not in SPLITS:
        raise ValueError(f"HMDB-51 has the splits {', '.join(SPLITS)}, not {split!r}")
    paths = split_files(root, split[-1])
    if not paths:
        raise AbsentError(f"{root}: there is no <class>_test_split{split[-1]}.txt (nor in {FOLDERS[0]}/)")
    class_names = tuple(paths)
    if len(class_names) != NUM_CLASSES:
        notes.add(
            f"{len(class_names)} classes have lists, not {NUM_CLASSES}: labels are places among those", root
        )
    media = Media(videos or root, class_names)
    examples = []
    for label, (class_name, path) in enumerate(paths.items()):
        for name, code, where in read_codes(path, class_name):
            if code == "0":
                notes.add("a clip has the code 0, unused in this split: left out", where)
            if CODES[code] != split[:-1]:
                continue
            video = media.find(name, f"hmdb51_org/{class_name}/{name}.avi", class_name)
            group = f"{class_name}/{source_of(name, class_name)}"
            examples.append(Example(video, name, (label,), group=group, flow=media.flow(video)))
    groups = {
        group: tuple(label for label, name in enumerate(class_names) if name in names.split())
        for group, names in GROUPS.items()
    }
    return Dataset(
        "hmdb51",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        class_groups={group: labels for group, labels in groups.items() if labels},
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for HMDB-51 under a root; "" where nothing does (J-HMDB has such lists, too)."""
    from vadis.data.jhmdb import recognise as recognise_jhmdb

    paths = split_files(root, "1")
    return f"{len(paths)} files <class>_test_split1.txt" if paths and not recognise_jhmdb(root) else ""


def write_tiny(root: Path) -> None:
    """Write a tiny HMDB-51: three classes of four clips, one of each unused; names with all that is odd."""
    names = ("brush_hair", "ride_bike", "wave")
    sources = ("April_09", "Wie man #1!!", "A_[film]_(2008);", "knots!")
    for label, class_name in enumerate(names):
        clips = [f"{source}_{class_name}_u_nm_np1_fr_goo_{i}" for i, source in enumerate(sources)]
        for i, clip in enumerate(clips):
            write_clip(root / "hmdb51_org" / class_name / f"{clip}.avi", label, i)
        for fold in (1, 2, 3):
            codes = {fold - 1: 2, fold % 3: 1, (fold + 1) % 3: 1, 3: 0}
            lines = [f"{clip}.avi {codes[i]} " for i, clip in enumerate(clips)]
            write_text(root / FOLDERS[0] / f"{class_name}_test_split{fold}.txt", *lines)
