"""Lists and folders of one's own: every form, what is refused, and nothing dropped without a word."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from vadis.data import folders, lists, read_dataset
from vadis.data.files import missing_files
from vadis.data.made import write_clip, write_flow, write_frames, write_text
from vadis.data.scan import AmbiguousError, scan
from vadis.records import DataError, Dataset
from vadis.video.decode import Video
from vadis.video.images import list_images

FORMS = ("csv", "tsv", "jsonl", "metadata", "videos", "frames")


def notes_of(dataset: Dataset) -> list[str]:
    return [note.text for note in dataset.notes]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_alike(tmp_path: Path, form: str) -> None:
    lists.write_tiny(tmp_path, form)
    report = scan(tmp_path)
    assert report.name == "lists"
    train, val = (lists.read(tmp_path, split) for split in ("train", "val"))
    assert [example.labels for example in train.examples] == [(0,)] * 3 + [(1,)] * 3
    assert [example.labels for example in val.examples] == [(0,), (1,)]
    assert train.class_names == (("0", "1") if form in ("videos", "frames") else ("pour water", "stir"))
    assert missing_files(train) == []
    assert {example.num_frames for example in train.examples} == ({16} if form == "frames" else {None})


def test_one_file_is_one_list(tmp_path: Path) -> None:
    lists.write_tiny(tmp_path, "csv")
    assert scan(tmp_path / "val.csv").splits[0].num_examples == 2
    dataset = lists.read(tmp_path / "val.csv", "val", videos=tmp_path)
    assert dataset.name == "val"
    with pytest.raises(ValueError, match="has the splits val, not 'train'"):
        lists.read(tmp_path / "val.csv", "train")


def test_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    write_text(
        path,
        "\ufeffpath,class,time_start,time_end,source,id,split",
        '"a, b.mp4",stir,0.5,2,film 1,c1,training',
        "c.mp4,pour|stir,,,film 2,,val",
        "c.mp4,,,,film 2,,val",
        "d.mp4,pour,,,,,",
    )
    train, val = (lists.read(path, split) for split in ("train", "val"))
    [example] = train.examples
    assert (example.video, example.id, example.labels, example.group) == ("a, b.mp4", "c1", (1,), "film 1")
    assert (example.start_seconds, example.end_seconds) == (0.5, 2.0)
    assert [example.labels for example in val.examples] == [(0, 1), ()]
    assert train.multi_label
    assert "a row has no label: kept as hidden" in notes_of(val)
    assert "a row has no split: left out of every split" in notes_of(train)


def test_jsonl_may_hold_lists_of_labels(tmp_path: Path) -> None:
    rows = [{"video": "a.mp4", "label": ["stir", "pour"]}, {"video": "b.mp4", "label": "stir"}]
    write_text(tmp_path / "x.jsonl", *(json.dumps(row) for row in rows))
    dataset = lists.read(tmp_path, "all")
    assert [example.labels for example in dataset.examples] == [(1, 0), (1,)]
    write_text(tmp_path / "x.jsonl", json.dumps(rows[0]), "{")
    with pytest.raises(DataError, match=r"x\.jsonl:2: is not JSON"):
        lists.read(tmp_path, "all")


def test_plain_lists(tmp_path: Path) -> None:
    """Spaces in names, tabs and commas, whole paths, class names from a file."""
    write_text(tmp_path / "train.csv", "my clips/a b.mp4 1", f"{tmp_path}/c.mp4\t0", "d.mp4,1")
    write_text(tmp_path / "classes.txt", "pour", "stir")
    dataset = lists.read(tmp_path, "train")
    assert [example.video for example in dataset.examples] == [
        "my clips/a b.mp4",
        f"{tmp_path}/c.mp4",
        "d.mp4",
    ]
    assert [example.labels for example in dataset.examples] == [(1,), (0,), (1,)]
    assert dataset.class_names == ("pour", "stir")
    assert os.path.join(dataset.root, dataset.examples[1].video) == f"{tmp_path}/c.mp4"  # noqa: PTH118
    write_text(tmp_path / "train.csv", "a.mp4 2")
    with pytest.raises(DataError, match=r"train\.csv:1: label 2, but there are 2 classes"):
        lists.read(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.mp4", "expected '<video> <label>', found 'b.mp4'"),
        ("b.mp4 -1", "labels count from 0"),
        ("b.mp4 3 17", "2 labels; if that is meant, read the list as `multi_lists`"),
    ],
)
def test_plain_lists_malformed(tmp_path: Path, line: str, message: str) -> None:
    write_text(tmp_path / "train.csv", "a.mp4 1", line)
    with pytest.raises(DataError, match=rf"train\.csv:2: {message}"):
        lists.read(tmp_path, "train")


def test_several_labels_or_a_number_of_frames(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "a.mp4 3 17", "frames/b 250 3", "frames/b 250 3 5")
    dataset = lists.read(tmp_path, "train", multi_label=True)
    assert [(example.num_frames, example.labels) for example in dataset.examples] == [
        (None, (3, 17)),
        (250, (3,)),
        (250, (3, 5)),
    ]
    assert dataset.num_classes == 18
    assert dataset.notes[0].count == 15, "labels below 18 that no video has"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.mp4", "1 fields, the header has 4"),
        (",stir,,", "the row names no video"),
        ("b.mp4,stir,2,1", r"ends \(1.0 s\) before it begins \(2.0 s\)"),
        ("b.mp4,stir,x,1", "the start is not a number: 'x'"),
    ],
)
def test_tables_malformed(tmp_path: Path, row: str, message: str) -> None:
    write_text(tmp_path / "t.csv", "video,label,start,end", "a.mp4,pour,0,1", row)
    with pytest.raises(DataError, match=rf"t\.csv:3: {message}"):
        lists.read(tmp_path, "all")


def test_twice_the_same_row(tmp_path: Path) -> None:
    write_text(tmp_path / "t.csv", "video,label", "a.mp4,pour", "b.mp4,stir", "./a.mp4,pour", "a.mp4,pour")
    dataset = lists.read(tmp_path, "all")
    assert "a row is there twice: the second is left out" in notes_of(dataset)
    assert dataset.notes[0].first.endswith("t.csv:5")


def test_two_lists_of_one_split_are_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "my_train.csv", "video,label", "a.mp4,pour")
    write_text(tmp_path / "train.csv", "a.mp4 1")
    with pytest.raises(ValueError, match=r"my_train\.csv and .*train\.csv are both lists of 'train'"):
        scan(tmp_path)
    (tmp_path / "train.csv").rename(tmp_path / "clips.csv")
    with pytest.raises(ValueError, match=r"clips\.csv lies beside my_train\.csv; name the list"):
        scan(tmp_path)


# Folders


def test_class_folders(tmp_path: Path) -> None:
    write_clip(tmp_path / "stir" / "a.mp4", 0, num_frames=4)
    write_frames(tmp_path / "pour water" / "b", "img_%05d.jpg", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "loose.mp4").touch()
    dataset = folders.read(tmp_path)
    assert dataset.class_names == ("pour water", "stir")
    assert [(example.video, example.labels) for example in dataset.examples] == [
        ("pour water/b", (0,)),
        ("stir/a.mp4", (1,)),
    ]
    assert notes_of(dataset) == [
        "a video lies outside of the class folders: left out",
        "a class folder holds no video: left out",
    ]
    write_text(tmp_path / "classes.txt", "stir", "fry", "pour water")
    assert folders.read(tmp_path).class_names == ("stir", "fry", "pour water")
    write_text(tmp_path / "classes.txt", "stir", "fry")
    with pytest.raises(DataError, match=r"classes\.txt: does not name pour water"):
        folders.read(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("videos_train", "videos_val", "test_256"),
    ],
)
def test_split_folders(tmp_path: Path, names: tuple[str, str, str]) -> None:
    folders.write_tiny(tmp_path)
    for name, wanted in zip(("train", "val", "test"), names, strict=True):
        (tmp_path / name).rename(tmp_path / wanted)
    report = scan(tmp_path)
    assert [(split.split, split.num_examples) for split in report.splits] == [
        ("train", 9),
        ("val", 3),
        ("test", 3),
    ]
    assert report.class_names == ("Rührei wenden", "pour water", "stir")


def test_labels_mean_the_same_in_each_split(tmp_path: Path) -> None:
    folders.write_tiny(tmp_path)
    shutil.rmtree(tmp_path / "val" / "pour water")
    assert [example.labels for example in folders.read(tmp_path, "val").examples] == [(0,), (2,)]


def test_frames_with_flow_are_one_video(tmp_path: Path) -> None:
    for name in ("pour", "stir"):
        clip = write_frames(tmp_path / name / "a", "img_%05d.jpg", 0, num_frames=6)
        write_flow(tmp_path / name / "a", ("flow_x_%05d.jpg", "flow_y_%05d.jpg"), clip)
    dataset = folders.read(tmp_path)
    assert dataset.examples[0].flow == ("pour/a/flow_x_*.jpg", "pour/a/flow_y_*.jpg")
    assert [path.name for path in list_images(tmp_path / "pour" / "a")] == [
        f"img_{k:05d}.jpg" for k in range(1, 7)
    ]
    with Video(tmp_path / "pour" / "a") as video:
        assert len(video.frame_times()) == 6, "flow is not part of what the video shows"
    shutil.rmtree(tmp_path / "pour")
    (tmp_path / "only").mkdir()
    for path in sorted((tmp_path / "stir" / "a").glob("flow_x_*")):
        path.rename(tmp_path / "only" / path.name)
    assert len(list_images(tmp_path / "only")) == 5, "where there is nothing else, it is the video"


def test_two_numbers_after_a_video_have_to_be_named(tmp_path: Path) -> None:
    """VideoMAE writes the number of frames there, others a second label."""
    write_text(tmp_path / "train.csv", "a.mp4 250 0", "b.mp4 300 1")
    with pytest.raises(AmbiguousError, match=r"--as lists (?s:.*)number of frames(?s:.*)--as multi_lists "):
        scan(tmp_path)
    assert [e.labels for e in read_dataset("lists", tmp_path, "train").examples] == [(0,), (1,)]
    both = read_dataset("multi_lists", tmp_path, "train")
    assert both.multi_label
    assert [e.labels for e in both.examples] == [(250, 0), (300, 1)]
    write_text(tmp_path / "train.csv", "a.mp4 2 0", "b.mp4 1")  # no number of frames is left out
    assert scan(tmp_path).name == "multi_lists"
    write_text(tmp_path / "train.csv", "a.mp4 1", "b.mp4 x")
    with pytest.raises(DataError, match=r"train\.csv:2: expected '<video> <label>'"):
        scan(tmp_path)


@pytest.mark.parametrize("form", ["beside", "inside"])
def test_a_list_says_what_videos_in_folders_of_splits_are(tmp_path: Path, form: str) -> None:
    """train/a.mp4 with train.csv beside the folders, or with train/metadata.csv as Hugging Face has it."""
    for split in ("train", "test"):
        for label, name in enumerate(("fry", "stir")):
            write_clip(tmp_path / split / f"{name}.mp4", label, num_frames=4)
        if form == "beside":
            rows = (f"{split}/fry.mp4,fry", f"{split}/stir.mp4,stir")
            write_text(tmp_path / f"{split}.csv", "video,label", *rows)
        else:
            write_text(tmp_path / split / "metadata.csv", "file_name,label", "fry.mp4,fry", "stir.mp4,stir")
    report = scan(tmp_path)
    assert report.name == "lists"
    assert [(split.split, split.num_examples, split.missing) for split in report.splits] == [
        ("train", 2, ()),
        ("test", 2, ()),
    ]
    test = read_dataset("lists", tmp_path, "test")
    assert [(e.video, e.labels) for e in test.examples] == [("test/fry.mp4", (0,)), ("test/stir.mp4", (1,))]


def test_folders_that_are_not_clear(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "train" / "x.mp4", 0, num_frames=4)
    write_clip(tmp_path / "a" / "test" / "x.mp4", 0, num_frames=4)
    with pytest.raises(ValueError, match="may be splits without classes or classes of these names"):
        scan(tmp_path / "a")
    write_clip(tmp_path / "b" / "anna" / "stir" / "x.mp4", 0, num_frames=4)
    write_clip(tmp_path / "b" / "otto" / "stir" / "x.mp4", 0, num_frames=4)
    with pytest.raises(DataError, match=r"2 at depth 2.*neither class folders nor lists"):
        scan(tmp_path / "b")
    write_clip(tmp_path / "c" / "stir" / "x.mp4", 0, num_frames=4)
    with pytest.raises(DataError, match="neither class folders nor lists"):
        scan(tmp_path / "c")
    with pytest.raises(DataError, match="there is only the class stir"):
        folders.read(tmp_path / "c")


def test_class_folders_beside_a_list_are_refused(tmp_path: Path) -> None:
    folders.write_tiny(tmp_path)
    write_text(tmp_path / "labels.csv", "video,label", "train/stir/train 0.mp4,fry")
    with pytest.raises(AmbiguousError, match=r"--as folders (?s:.*)--as lists"):
        scan(tmp_path)
    assert scan(tmp_path, "folders").class_names == ("Rührei wenden", "pour water", "stir")
    assert scan(tmp_path, "lists").class_names == ("fry",)
    assert read_dataset("lists", tmp_path, "all").examples[0].labels == (0,)
