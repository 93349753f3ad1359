"""UCF-101: 13,320 short clips, 101 classes, 25 groups of one source each, three splits.

Soomro, Zamir and Shah 2012 (arXiv:1212.0402). The lists are in `ucfTrainTestlist/`:

    classInd.txt      1 ApplyEyeMakeup
    trainlist01.txt   ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    testlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi

Traps: classes count from 1; test lists have no label, the folder says it; lines may end with CRLF. The class
is `HandstandPushups`, its files are called `v_HandStandPushups_...`. Clips of one group (`g08`) of a class
come from one video, so they never lie on both sides. Splits are called train1, test1 ... test3; results
are the mean of the three accuracies.

Videos: `UCF-101/<Class>/<name>.avi`; frames `rawframes/<Class>/<name>/{img,flow_x,flow_y}_00001.jpg`, or
`jpegs_256/<name>/` with `tvl1_flow/{u,v}/<name>/`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from vadis.data.files import Media, find_annotation, need_annotation
from vadis.data.made import write_clip, write_text
from vadis.data.rows import Notes, read_lines, to_int, to_label
from vadis.records import Dataset, Example

SPLITS = ("train1", "test1", "train2", "test2", "train3", "test3")
FOLDERS = ("ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")

GROUPS = {
    "human-object interaction": """ApplyEyeMakeup ApplyLipstick BlowDryHair BrushingTeeth CuttingInKitchen
        Hammering HulaHoop JugglingBalls JumpRope Knitting Mixing MoppingFloor Nunchucks PizzaTossing
        ShavingBeard SkateBoarding SoccerJuggling Typing WritingOnBoard YoYo""",
    "body-motion only": """BabyCrawling BlowingCandles BodyWeightSquats HandstandPushups HandstandWalking
        JumpingJack Lunges PullUps PushUps RockClimbingIndoor RopeClimbing Swing TaiChi TrampolineJumping
        WalkingWithDog WallPushups""",
    "human-human interaction": "BandMarching Haircut HeadMassage MilitaryParade SalsaSpin",
    "playing musical instruments": """Drumming PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar
        PlayingPiano PlayingSitar PlayingTabla PlayingViolin""",
}
"""The paper's five types; what is in none of these four is "sports"."""


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names of a `classInd.txt`, checked to count 1, 2, 3 ..."""
    names: list[str] = []
    for where, line in read_lines(path):
        number, _, name = line.partition(" ")
        if to_int(number, where, "the class number") != len(names) + 1 or not name.strip():
            raise where.error(f"expected '{len(names) + 1} ClassName', found {line!r}")
        names.append(name.strip())
    return tuple(names)


def class_groups(class_names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The five types, as far as these classes are UCF-101's."""
    type_of = {name.lower(): group for group, names in GROUPS.items() for name in names.split()}
    groups: dict[str, list[int]] = {}
    for label, name in enumerate(class_names):
        groups.setdefault(type_of.get(name.lower(), "sports"), []).append(label)
    return {group: tuple(labels) for group, labels in groups.items()}


def group_of(name: str, folder: str) -> str:
    """The source of a clip: its class and group, `Archery/g08` for v_Archery_g08_c01."""
    match = re.search(r"_(g\d+)_c\d+$", name)
    return f"{folder}/{match[1] if match else name}"


def read(
    root: str | os.PathLike[str], split: str, *, videos: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a split, "train1" to "test3". Raises DataError."""
    root, notes = Path(root), Notes()
    if split not in SPLITS:
        raise ValueError(f"UCF-101 has the splits {', '.join(SPLITS)}, not {split!r}")
    class_names = read_classes(need_annotation(root, ["classInd.txt"], FOLDERS))
    label_of = {name: label for label, name in enumerate(class_names)}
    media = Media(videos or root, class_names)
    examples = []
    for where, line in read_lines(need_annotation(root, [f"{split[:-1]}list0{split[-1]}.txt"], FOLDERS)):
        match = re.match(r"(.+?)(?:\s+(\d+))?$", line)
        path = PurePosixPath(match[1] if match else line)
        label = to_label(path.parent.name, label_of, where)
        number = match[2] if match else None
        if number is not None and int(number) != label + 1:
            raise where.error(f"class {number} is {path.parent.name!r} in classInd.txt as {label + 1}")
        if number is None and split.startswith("train"):
            notes.add("a line of a training list has no label: the folder's name is taken", where)
        video = media.find(path.stem, f"UCF-101/{path}", path.parent.name, any_case=True)
        group = group_of(path.stem, path.parent.name)
        examples.append(Example(video, path.stem, (label,), group=group, flow=media.flow(video)))
    return Dataset(
        "ucf101",
        str(media.root),
        split,
        class_names,
        tuple(examples),
        class_groups=class_groups(class_names),
        notes=notes.all() + media.notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for UCF-101 under a root; "" where nothing does."""
    lists = [name for i in "123" if find_annotation(root, [name := f"trainlist0{i}.txt"], FOLDERS)]
    return (
        f"classInd.txt and {lists[0]}" if lists and find_annotation(root, ["classInd.txt"], FOLDERS) else ""
    )


def write_tiny(root: Path) -> None:
    """Write a tiny UCF-101: three classes of four groups, one is the class whose files differ in case."""
    names = ("Archery", "HandstandPushups", "YoYo")
    lists = root / "ucfTrainTestlist"
    write_text(lists / "classInd.txt", *(f"{number} {name}\r" for number, name in enumerate(names, 1)))
    for fold in (1, 2, 3):
        for is_test in (False, True):
            lines = []
            for number, name in enumerate(names, 1):
                stem = name.replace("Handstand", "HandStand")
                for group in range(1, 5):
                    if (group == fold) == is_test:
                        clip = f"{name}/v_{stem}_g{group:02d}_c01.avi"
                        lines.append(clip if is_test else f"{clip} {number}")
            write_text(lists / f"{'test' if is_test else 'train'}list0{fold}.txt", *lines)
    for label, name in enumerate(names):
        for group in range(1, 5):
            stem = name.replace("Handstand", "HandStand")
            write_clip(root / "UCF-101" / name / f"v_{stem}_g{group:02d}_c01.avi", label, group)
