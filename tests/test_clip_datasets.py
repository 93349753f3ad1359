"""Datasets of labelled clips: the specification's examples to the letter, each trap, each malformed line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vadis.data import finegym, hacs, hmdb51, kinetics, minikinetics, moments, something, sports1m, ucf101
from vadis.data.made import write_flow, write_frames, write_text
from vadis.data.scan import scan
from vadis.records import DataError, Dataset, Example

GOLDEN = Path(__file__).parent / "golden" / "datasets"


def notes_of(dataset: Dataset) -> dict[str, int]:
    """The notes by their sentence."""
    return {note.text: note.count for note in dataset.notes}


def count_of(dataset: Dataset, part: str) -> int:
    """How often the note was made whose sentence holds `part`."""
    return sum(note.count for note in dataset.notes if part in note.text)


# Kinetics


def test_kinetics_example() -> None:
    dataset = kinetics.read(GOLDEN / "kinetics400", "train")
    assert dataset.num_classes == 400
    assert dataset.class_names[0] == "abseiling"
    [example] = dataset.examples  # the other row says "val": it is left out and counted
    assert example == Example(
        "abseiling/AbCdEfGhIjK_000017_000027.mp4", "AbCdEfGhIjK_000017_000027", (0,), group="AbCdEfGhIjK"
    )
    assert count_of(dataset, "belongs to the split 'val': left out") == 1
    rows = list(kinetics.read_clips(GOLDEN / "kinetics400" / "kinetics-400_train.csv"))
    assert rows[1].label == "playing harp"  # quoted in the file
    assert (rows[1].start_seconds, rows[1].end_seconds, rows[1].split) == (102, 112, "val")
    assert str(rows[1].where).endswith("kinetics-400_train.csv:3")


@pytest.mark.parametrize("version", ["600", "700", "700_2020"])
def test_kinetics_without_quotes_and_with_points(tmp_path: Path, version: str) -> None:
    names = ["massaging person's head", "hurling (sport)", "dying hair"]
    rows = [f"{name},AbCdEfGhI{k}_,17.0,27.0,train" for k, name in enumerate(names)]
    write_text(
        tmp_path / f"kinetics{version}" / "train.csv", "label,youtube_id,time_start,time_end,split", *rows
    )
    dataset = kinetics.read(tmp_path, "train", version=version)
    assert dataset.class_names == tuple(sorted(names))
    assert [dataset.class_names[example.labels[0]] for example in dataset.examples] == names
    assert dataset.examples[0].id == "AbCdEfGhI0__000017_000027"
    assert count_of(dataset, f"3 classes, not {version[:3]}") == 1
    write_text(tmp_path / "classes.txt", "x", *names)  # the user gives the official order
    assert kinetics.read(tmp_path, "train", version=version).examples[0].labels == (1,)


def test_kinetics_labels_come_from_all_lists(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split"
    write_text(
        tmp_path / "kinetics-600_train.csv", header, "b,AAAAAAAAAAA,0,10,train", "a,BBBBBBBBBBB,0,10,train"
    )
    write_text(tmp_path / "kinetics-600_val.csv", header, "b,CCCCCCCCCCC,0,10,val")
    assert kinetics.read(tmp_path, "val", version="600").examples[0].labels == (1,)


def test_kinetics_json_is_read_where_there_is_no_csv(tmp_path: Path) -> None:
    entry = {
        "annotations": {"label": "abseiling", "segment": [17.0, 27.0]},
        "duration": 10.0,
        "subset": "validate",
    }
    (tmp_path / "validate.json").write_text(json.dumps({"AbCdEfGhIjK": entry}))
    [example] = kinetics.read(tmp_path, "val").examples
    assert example.id == "AbCdEfGhIjK_000017_000027"
    (tmp_path / "validate.json").write_text(
        json.dumps({"AbCdEfGhIjK": {**entry, "annotations": {}}, "k": entry})
    )
    with pytest.raises(DataError, match="the entry 'AbCdEfGhIjK' is not of Kinetics' form"):
        kinetics.read(tmp_path, "val")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abseiling,AbCdEfGhIjK,17,27,train", r"\.csv:2: 5 fields, the header has 6"),
        ("abseiling,AbCdEfGhIjK,x,27,train,0", r"\.csv:2: time_start is not a number: 'x'"),
        ("abseiling,AbCdEfGhIjK,1.5,27,train,0", r"\.csv:2: time_start is not a whole number"),
        ('"abseiling,AbCdEfGhIjK,17,27,train,0', r"\.csv:2: is not CSV"),
    ],
)
def test_kinetics_malformed(tmp_path: Path, row: str, message: str) -> None:
    write_text(tmp_path / "kinetics-400_train.csv", "label,youtube_id,time_start,time_end,split,is_cc", row)
    with pytest.raises(DataError, match=message):
        kinetics.read(tmp_path, "train")


def test_kinetics_versions_are_told_apart(tmp_path: Path) -> None:
    rows = [f"class {k:03d},AAAAAAAA{k:03d},0,10,train" for k in range(700)]
    for folder in ("unnamed", "kinetics700_2020"):
        write_text(tmp_path / folder / "train.csv", "label,youtube_id,time_start,time_end,split", *rows)
    with pytest.raises(ValueError, match=r"2 ways(?s:.*)--as kinetics700 (?s:.*)--as kinetics700_2020"):
        scan(tmp_path / "unnamed")
    assert scan(tmp_path / "kinetics700_2020").name == "kinetics700_2020"
    assert scan(tmp_path / "unnamed", "kinetics700").splits[0].num_examples == 700


def test_non_local_files_have_no_times(tmp_path: Path) -> None:
    kinetics.write_tiny(tmp_path)
    for path in list(tmp_path.rglob("*.mp4")):
        target = tmp_path / "train_256" / path.parent.name.replace(" ", "_") / f"{path.stem[:11]}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    dataset = kinetics.read(tmp_path, "train")
    assert {example.video.split("/")[0] for example in dataset.examples} == {"train_256"}


# Mini-Kinetics


def test_minikinetics_example(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "minikinetics", tmp_path / "mini")
    dataset = minikinetics.read(root, "train")
    assert dataset.class_names == ("abseiling", "playing harp")
    assert [(example.group, example.labels) for example in dataset.examples] == [
        ("AbCdEfGhIjK", (0,)),
        ("zz_9-QwErTy", (1,)),
    ]
    assert count_of(dataset, "2 classes, not 200") == 1
    with (root / "train_ytid_list.txt").open("a") as file:
        file.write("unknown-id_\n")
    dataset = minikinetics.read(root, "train")
    assert len(dataset.examples) == 2
    [note] = [note for note in dataset.notes if "left out" in note.text]
    assert note.first.endswith("train_ytid_list.txt:3")
    (root / "kinetics-400_train.csv").unlink()
    with pytest.raises(DataError, match="the lists of Kinetics-400 must lie here"):
        minikinetics.read(root, "train")


# UCF-101


def test_ucf101_example() -> None:
    train, test = (ucf101.read(GOLDEN / "ucf101", split) for split in ("train1", "test1"))
    assert train.class_names == ("ApplyEyeMakeup", "ApplyLipstick", "Archery")
    assert train.examples[0].labels == (2,), "1-based in the file"
    assert test.examples[0].labels == (2,), "no label in the file, the folder says it"
    assert train.examples[0].group == "Archery/g08"
    assert train.examples[0].video == "UCF-101/Archery/v_Archery_g08_c01.avi"
    assert train.class_groups == {"human-object interaction": (0, 1), "sports": (2,)}


def test_ucf101_groups_are_all_101() -> None:
    named = [name for names in ucf101.GROUPS.values() for name in names.split()]
    assert len(named) == len(set(named)) == 101 - 50  # the paper has 50 classes of sports


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "1 A\n3 B\n", r"classInd\.txt:2: expected '2 ClassName', found '3 B'"),
        ("trainlist01.txt", "Archery/v_Archery_g08_c01.avi 2\n", r"trainlist01\.txt:1: class 2 is 'Archery'"),
        (
            "trainlist01.txt",
            "Archerry/v_Archery_g08_c01.avi 3\n",
            r":1: 'Archerry' is none of .* mean 'Archery'",
        ),
    ],
)
def test_ucf101_malformed(tmp_path: Path, file: str, text: str, message: str) -> None:
    root = shutil.copytree(GOLDEN / "ucf101", tmp_path / "ucf")
    (root / "ucfTrainTestlist" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        ucf101.read(root, "train1")


def test_ucf101_files_differ_in_case_from_lists(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path)
    lists = tmp_path / "ucfTrainTestlist"
    text = (lists / "trainlist01.txt").read_text().replace("v_HandStandPushups", "v_HandstandPushups")
    (lists / "trainlist01.txt").write_text(text)
    dataset = ucf101.read(tmp_path, "train1")
    found = [example for example in dataset.examples if "v_HandStandPushups" in example.video]
    assert len(found) == 3
    assert count_of(dataset, "differs in upper and lower case") == 3


def test_ucf101_frames_with_flow(tmp_path: Path) -> None:
    """MMAction2's frames with flow beside them, and the two folders of two-stream networks."""
    root = shutil.copytree(GOLDEN / "ucf101", tmp_path / "ucf")
    clip = write_frames(root / "rawframes/Archery/v_Archery_g08_c01", "img_%05d.jpg", 2)
    write_flow(root / "rawframes/Archery/v_Archery_g08_c01", ("flow_x_%05d.jpg", "flow_y_%05d.jpg"), clip)
    [example] = ucf101.read(root, "train1").examples
    folder = "rawframes/Archery/v_Archery_g08_c01"
    assert (example.video, example.flow) == (folder, (f"{folder}/flow_x_*.jpg", f"{folder}/flow_y_*.jpg"))
    clip = write_frames(root / "jpegs_256/v_Archery_g01_c01", "frame%06d.jpg", 2)
    names = [f"{axis}/v_Archery_g01_c01/frame%06d.jpg" for axis in "uv"]
    write_flow(root / "tvl1_flow", (names[0], names[1]), clip)
    [example] = ucf101.read(root, "test1").examples
    assert example.video == "jpegs_256/v_Archery_g01_c01"
    assert example.flow == ("tvl1_flow/u/v_Archery_g01_c01/*", "tvl1_flow/v/v_Archery_g01_c01/*")
    assert len(list(root.glob(example.flow[0]))) == 15


# HMDB-51


def test_hmdb51_example() -> None:
    train, test = (hmdb51.read(GOLDEN / "hmdb51", split) for split in ("train1", "test1"))
    assert [example.id for example in train.examples] == ["Some_clip_brush_hair_u_nm_np1_ba_goo_0"]
    assert [example.id for example in test.examples] == ["Other_clip_brush_hair_h_cm_np1_le_goo_1"]
    assert train.examples[0].group == "brush_hair/Some_clip"
    assert train.class_groups == {"body movements with object interaction": (0,)}


def test_hmdb51_odd_names_and_codes(tmp_path: Path) -> None:
    write_text(tmp_path / "ride_bike_test_split2.txt", "a b.avi 2 ", "#;[(!)].avi 1", "unused.avi 0 ")
    dataset = hmdb51.read(tmp_path, "test2")
    assert [example.id for example in dataset.examples] == ["a b"]
    assert [example.id for example in hmdb51.read(tmp_path, "train2").examples] == ["#;[(!)]"]
    assert count_of(dataset, "code 0, unused in this split: left out") == 1
    assert sum(len(names.split()) for names in hmdb51.GROUPS.values()) == 51
    write_text(tmp_path / "ride_bike_test_split2.txt", "a b.avi 3")
    with pytest.raises(DataError, match=r"ride_bike_test_split2\.txt:1: expected '<video>\.avi"):
        hmdb51.read(tmp_path, "test2")


# Sports-1M


def test_sports1m_example(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "sports1m", tmp_path / "sports")
    write_text(root / "labels.txt", *(f"yağlı güreş {k}" for k in range(487)))
    dataset = sports1m.read(root, "train")
    assert dataset.multi_label
    assert [(example.id, example.labels) for example in dataset.examples] == [
        ("AbCdEfGhIjK", (163,)),
        ("zz_9-QwErTy", (12, 348)),
    ]
    assert dataset.notes == ()
    (root / "original" / "train_partition.txt").unlink()
    entries = [{"id": "AbCdEfGhIjK", "duration": 12, "title": "t", "label487": [163], "source487": "train"}]
    (root / "original" / "sports1m_train.json").write_text(json.dumps(entries))
    [example] = sports1m.read(root, "train").examples
    assert (example.labels, example.duration_seconds) == ((163,), 12.0)


@pytest.mark.parametrize(
    "line", ["https://www.youtube.com/watch?v=AbCdEfGhIjK", "AbCdEfGhIjK 163", "https://y.com/watch?v=A 1,x"]
)
def test_sports1m_malformed(tmp_path: Path, line: str) -> None:
    write_text(tmp_path / "labels.txt", "a", "b")
    write_text(tmp_path / "train_partition.txt", "https://www.youtube.com/watch?v=AbCdEfGhIjK 1", line)
    with pytest.raises(DataError, match=r"train_partition\.txt:2: expected"):
        sports1m.read(tmp_path, "train")
    write_text(tmp_path / "train_partition.txt", "https://www.youtube.com/watch?v=AbCdEfGhIjK 2")
    with pytest.raises(DataError, match=r"train_partition\.txt:1: label 2, but labels\.txt has 2 names"):
        sports1m.read(tmp_path, "train")


# Something-Something


def test_something_example() -> None:
    train, test = (something.read(GOLDEN / "something_v2", split) for split in ("train", "test"))
    assert [(example.id, example.labels) for example in train.examples] == [("78687", (3,)), ("42326", (2,))]
    assert train.examples[0].video == "20bn-something-something-v2/78687.webm"
    assert [example.labels for example in test.examples] == [()]


def test_something_newer_release(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for old, new in (("train", "train"), ("labels", "labels"), ("test", "test")):
        shutil.copy(GOLDEN / f"something_v2/something-something-v2-{old}.json", labels / f"{new}.json")
    write_text(labels / "test-answers.csv", "1420;Stacking number of something")
    [example] = something.read(tmp_path, "test").examples
    assert example.labels == (2,)
    assert scan(tmp_path).name == "something_v2"


def test_something_malformed(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "something_v2", tmp_path / "s")
    path = root / "something-something-v2-train.json"
    path.write_text('[{"id": "1", "template": "Stacking [things]"}]')
    with pytest.raises(DataError, match="entry 1: 'Stacking things' is none of the 4 classes; did it mean"):
        something.read(root, "train")
    path.write_text('[{"id": "1"}]')
    with pytest.raises(DataError, match="entry 1 has no template"):
        something.read(root, "train")
    path.write_text('[{"id": "1",\n "template" }]')
    with pytest.raises(DataError, match=r"train\.json:2: is not JSON"):
        something.read(root, "train")
    (root / "something-something-v2-labels.json").write_text('{"a": "0", "b": "2"}')
    with pytest.raises(DataError, match=r"the labels are not 0\.\.1"):
        something.read(root, "train")


def test_something_v1_is_frames_at_twelve_a_second(tmp_path: Path) -> None:
    something.write_tiny(tmp_path, "1")
    dataset = something.read(tmp_path, "train", version="1")
    assert {example.fps for example in dataset.examples} == {12.0}
    assert dataset.class_names[2] == "Stacking number of something"
    write_text(tmp_path / "something-something-v1-train.csv", "12 Pushing something from left to right")
    with pytest.raises(DataError, match=r"v1-train\.csv:1: expected '<id>;<name>'"):
        something.read(tmp_path, "train", version="1")


# Moments in Time


def test_moments_example() -> None:
    dataset = moments.read(GOLDEN / "moments", "train")
    assert dataset.class_names == ("clapping", "adult+female+singing")
    assert [(example.id, example.labels, example.group) for example in dataset.examples] == [
        ("clapping/someid_12", (0,), "someid"),
        ("adult+female+singing/other_35", (1,), "other"),
    ]
    assert dataset.examples[1].video == "training/adult+female+singing/other_35.mp4"


def test_moments_one_name_in_two_classes(tmp_path: Path) -> None:
    moments.write_tiny(tmp_path)
    dataset = moments.read(tmp_path, "train")
    twins = [example.video for example in dataset.examples if example.video.endswith("yt-train0_12.mp4")]
    assert sorted(twins) == [
        "training/adult+female+singing/yt-train0_12.mp4",
        "training/clapping/yt-train0_12.mp4",
    ]
    (tmp_path / twins[0]).unlink()
    dataset = moments.read(tmp_path, "train")
    assert twins[0] in [example.video for example in dataset.examples], (
        "another class's file is not taken for it"
    )


def test_multi_moments(tmp_path: Path) -> None:
    write_text(tmp_path / "moments_categories.txt", "clapping,1", "singing,0", "jumping,2")
    write_text(tmp_path / "trainingSet.csv", "0-3-6_5.mp4,2,0", "b_7.mp4,1")
    assert scan(tmp_path).name == "multi_moments"
    dataset = moments.read(tmp_path, "train", multi=True)
    assert [example.labels for example in dataset.examples] == [(2, 0), (1,)]
    write_text(tmp_path / "trainingSet.csv", "b_7.mp4,3")
    with pytest.raises(DataError, match=r"trainingSet\.csv:1: label 3, but there are 3 classes"):
        moments.read(tmp_path, "train", multi=True)
    write_text(tmp_path / "moments_categories.txt", "clapping,1", "singing,1")
    with pytest.raises(DataError, match=r"moments_categories\.txt:2: expected"):
        moments.read(tmp_path, "train", multi=True)


# HACS


def test_hacs_example() -> None:
    dataset = hacs.read(GOLDEN / "hacs", "train")
    [example] = dataset.examples
    assert (example.id, example.labels) == ("AbCdEfGhIjK_15.5_17.5", (0,))
    assert (example.start_seconds, example.end_seconds) == (15.5, 17.5)
    assert example.video == "Archery/v_AbCdEfGhIjK.mp4"
    assert count_of(dataset, "does not show its class: left out") == 1
    both = hacs.read(GOLDEN / "hacs", "train", denied=True)
    assert [(example.labels, example.absent) for example in both.examples] == [((0,), ()), ((), (0,))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Archery,AbCdEfGhIjK,training,17.5,15.5,1", "ends .15.5. before it begins"),
        ("Archery,AbCdEfGhIjK,training,15.5,17.5,0", "the label is 1 or -1, not '0'"),
        ("Archery,AbCdEfGhIjK,train,15.5,17.5,1", "the subset 'train' is none of"),
    ],
)
def test_hacs_malformed(tmp_path: Path, row: str, message: str) -> None:
    write_text(tmp_path / "HACS_clips_v1.1.1.csv", ",".join(hacs.COLUMNS), row)
    with pytest.raises(DataError, match=r"HACS_clips_v1\.1\.1\.csv:2: .*" + message):
        hacs.read(tmp_path, "train")


def test_hacs_segments_have_durations_as_strings(tmp_path: Path) -> None:
    hacs.write_tiny(tmp_path, "segments")
    example = hacs.read(tmp_path, "train", part="segments").examples[0]
    assert example.duration_seconds == 2.4
    assert example.video == "Archery/v_train_0-Abc.mp4"
    with pytest.raises(DataError, match="no HACS_clips"):
        hacs.read(tmp_path, "train", part="clips")


# FineGym


def write_categories(root: Path, count: int = 30) -> None:
    """Categories of Gym99 in the official form."""
    lines = [f"Clabel: {k:3d}; set: {1 + k // 10:2d}; Glabel: {k:3d}; (VT) element {k}" for k in range(count)]
    write_text(root / "gym99_categories.txt", *lines)
    write_text(root / "set_categories.txt", "set: 1; vault", "set: 2; FX_turns")


def test_finegym_example(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "finegym", tmp_path / "gym")
    write_categories(root)
    dataset = finegym.read(root, "val")
    first, second = dataset.examples
    assert (first.id, first.labels, first.group) == (
        "AbCdEfGhIjK_E_002184_002237_A_0004_0007",
        (24,),
        "AbCdEfGhIjK",
    )
    assert first.start_seconds == pytest.approx(2184.1 + 4.2), "the element's time counts from its event"
    assert first.end_seconds == pytest.approx(2184.1 + 7.1)
    assert first.video == "videos/AbCdEfGhIjK.mp4"
    assert (second.start_seconds, second.end_seconds, second.labels) == (10.0, 13.0, (6,))
    assert count_of(dataset, "the whole seconds of its id are taken") == 1, "its segments are null"
    assert dataset.class_groups["FX_turns"] == tuple(range(10, 20))
    assert dataset.class_groups["set 3"] == tuple(range(20, 30))


def test_finegym_the_shortest_file_is_taken(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "finegym", tmp_path / "gym")
    write_categories(root)
    event, element = "AbCdEfGhIjK_E_002184_002237", "AbCdEfGhIjK_E_002184_002237_A_0004_0007"
    (root / "events").mkdir()
    (root / "events" / f"{event}.mp4").touch()
    example = finegym.read(root, "val").examples[0]
    assert (example.video, example.start_seconds, example.end_seconds) == (f"events/{event}.mp4", 4.2, 7.1)
    (root / "subactions").mkdir()
    (root / "subactions" / f"{element}.mp4").touch()
    example = finegym.read(root, "val").examples[0]
    assert (example.video, example.start_seconds) == (f"subactions/{element}.mp4", None)


def test_finegym_stages_and_names(tmp_path: Path) -> None:
    finegym.write_tiny(tmp_path)
    dataset = finegym.read(tmp_path, "train")
    assert dataset.class_names[1:] == (
        "(BB) salto backward tucked [BB_flight_salto]",
        "(BB) salto backward tucked [BB_dismounts]",
    )
    assert dataset.examples[1].start_seconds == pytest.approx(1.2)
    assert dataset.examples[1].end_seconds == pytest.approx(2.8), "the end of the last stage"
    assert dataset.examples[1].group == "train_E_1-A"[:11], "an id may hold _E_ itself"
    write_text(tmp_path / "gym99_val_element.txt", "AbCdEfGhIjK_E_002184_002237_A_0004_0007 3")
    with pytest.raises(DataError, match=r"gym99_val_element\.txt:1: expected .*<0\.\.2>"):
        finegym.read(tmp_path, "val")
    write_text(tmp_path / "gym99_categories.txt", "Clabel: 1; set: 1; Glabel: 1; x")
    with pytest.raises(DataError, match=r"gym99_categories\.txt:1: expected 'Clabel: 0"):
        finegym.read(tmp_path, "val")
