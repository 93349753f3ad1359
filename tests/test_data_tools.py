"""Lists, splits, leaks, statistics and shards of datasets."""

import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import read_numbers, write_numbered

from vadis.data.checking import Checked, check_videos
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.data.leaks import find_leaks
from vadis.data.listing import read_list, what_is_lost, write_class_folders, write_list
from vadis.data.loader import ClipDataset, ClipLoader
from vadis.data.order import Order
from vadis.data.scan import open_dataset
from vadis.data.shards import write_shards
from vadis.data.splitting import find_groups, split_dataset
from vadis.data.statistics import describe_dataset, draw_statistics
from vadis.records import Box, DataError, Dataset, Example, Span
from vadis.specs import ClipSpec

SPEC = ClipSpec(num_frames=4, size=64, crop=48)


def make(counts: dict[str, int], clips_per_group: int = 4) -> Dataset:
    """A dataset that is only names: counts of groups by class."""
    examples = [
        Example(f"{name}/g{group}_{clip}.mp4", f"{name}_g{group}_{clip}", (label,), group=f"{name}_g{group}")
        for label, (name, num_groups) in enumerate(counts.items())
        for group in range(num_groups)
        for clip in range(clips_per_group)
    ]
    return Dataset("made", "/data", "all", tuple(counts), tuple(examples))


# Splits --------------------------------------------------------------------------------------------------


def test_a_split_keeps_sources_together_and_classes_in_proportion() -> None:
    dataset = make({"run": 25, "walk": 25, "rare": 5})
    parts = split_dataset(dataset, {"train": 0.8, "test": 0.2}, seed=1)
    groups = [{example.group for example in part.examples} for part in parts.values()]
    assert not groups[0] & groups[1]
    counts = [Counter(example.labels[0] for example in part.examples) for part in parts.values()]
    assert counts[0] == {0: 80, 1: 80, 2: 16}
    assert counts[1] == {0: 20, 1: 20, 2: 4}
    assert [part.split for part in parts.values()] == ["train", "test"]
    again = split_dataset(dataset, {"train": 0.8, "test": 0.2}, seed=1)
    assert again == parts
    assert split_dataset(dataset, {"train": 0.8, "test": 0.2}, seed=2) != parts


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=2, max_size=30),
    seed=st.integers(0, 9),
)
def test_no_split_loses_an_example_or_cuts_a_group(groups: list[tuple[int, int]], seed: int) -> None:
    examples = tuple(
        Example(f"{number}_{clip}", f"{number}_{clip}", (label,), group=str(number))
        for number, (label, size) in enumerate(groups)
        for clip in range(size)
    )
    dataset = Dataset("made", "/", "all", tuple("abcd"), examples)
    parts = split_dataset(dataset, {"train": 3, "val": 1, "test": 1}, seed=seed)
    seen = [example for part in parts.values() for example in part.examples]
    assert sorted(example.id for example in seen) == sorted(example.id for example in examples)
    where: dict[str, set[str]] = {}
    for name, part in parts.items():
        for example in part.examples:
            where.setdefault(example.group, set()).add(name)
    assert all(len(names) == 1 for names in where.values())


def test_clips_of_one_video_are_one_source() -> None:
    examples = [
        Example("v.mp4", "a", start_seconds=0, end_seconds=1),
        Example("v.mp4", "b", start_seconds=5, end_seconds=6, group="g"),
        Example("w.mp4", "c", group="g"),
        Example("x.mp4", "d"),
        Example("y.mp4", "e"),
    ]
    assert find_groups(examples) == [[0, 1, 2], [3], [4]]
    assert find_groups(examples, [("d", "y.mp4")]) == [[0, 1, 2], [3, 4]]


def test_a_class_of_one_source_is_named() -> None:
    parts = split_dataset(make({"run": 10, "once": 1}), {"train": 0.8, "test": 0.2})
    assert ["once" in str(note) for part in parts.values() for note in part.notes] == [True]
    with pytest.raises(ValueError, match="two or more"):
        split_dataset(make({"a": 2}), {"train": 1.0})


# Leaks ---------------------------------------------------------------------------------------------------


def test_leaks_by_name_and_by_content(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 300), ("copy", 0), ("c", 600)):
        write_numbered(tmp_path / f"{name}.mp4", 30, first=first)
    rows = check_videos(tmp_path, ["a.mp4", "b.mp4", "copy.mp4", "c.mp4"], tmp_path / "m.jsonl")
    train = Dataset("t", "/", "train", ("x",), (Example("a.mp4", "1", group="g"), Example("b.mp4", "2")))
    test = Dataset("t", "/", "test", ("x",), (Example("copy.mp4", "2"), Example("c.mp4", "3", group="g")))
    leaks = find_leaks(train, test, rows, rows)
    assert (leaks.ids, leaks.groups, leaks.contents) == (("2",), ("g",), (("a.mp4", "copy.mp4"),))
    assert leaks.num_compared == (2, 2)
    assert not leaks.none
    apart = replace(test, examples=(Example("d.mp4", "9"),))
    assert find_leaks(train, apart).none


def test_leaks_of_like_pictures() -> None:
    def row(video: str, *hashes: int) -> Checked:
        codes = tuple(bytes([value] * 32).hex() for value in hashes)
        return Checked(video, "ok", 1, 1, content=video, hashes=codes)

    train = Dataset("t", "/", "train", ("x",), (Example("long", "1"), Example("other", "2")))
    test = Dataset("t", "/", "test", ("x",), (Example("cut", "3"), Example("new", "4")))
    rows = [row("long", 0x0F, 0x33, 0x55, 0xC3), row("other", 0x00), row("cut", 0x33, 0x55), row("new", 0xF0)]
    leaks = find_leaks(train, test, rows, rows)
    assert [(item.first, item.second, item.share) for item in leaks.alike] == [("long", "cut", 1.0)]


# Lists ---------------------------------------------------------------------------------------------------

RICH = Example(
    'a b/ünï,"x".mp4',
    "one",
    (0, 1),
    0.1,
    7.3,
    "g",
    (Span(0.5, 1.25, 1, "walk"),),
    3.0,
    (Box(0.1, 0.2, 0.3, 0.4, (1,), 7, 2, False, ((0.5, 0.5, 2),), ((0.0, 0.1, 0.2, 0.3),), (1, 2)),),
    (1,),
    9.5,
    230,
    24.0,
    ("x_*.jpg", "y_*.jpg"),
)


def test_a_list_holds_everything(tmp_path: Path) -> None:
    dataset = Dataset(
        "d", str(tmp_path), "val", ("run", "walk"), (RICH, Example("b.mp4", "two")), True, {"all": (0, 1)}
    )
    assert read_list(write_list(tmp_path / "list.jsonl", dataset)) == dataset
    below = read_list(write_list(tmp_path / "deep" / "list.jsonl", dataset))
    assert (Path(below.root) / below.examples[1].video).resolve() == tmp_path / "b.mp4"


def test_paths_of_a_list_follow_it(tmp_path: Path) -> None:
    """Flow pictures too; a whole path stays as it is."""
    examples = (Example("a", "a", (0,), flow=("flow/a/x*", "flow/a/y*")), Example("/far/b.mp4", "b", (0,)))
    dataset = Dataset("d", str(tmp_path), "val", ("run",), examples)
    below = read_list(write_list(tmp_path / "deep" / "list.jsonl", dataset))
    assert below.examples[0].flow == ("../flow/a/x*", "../flow/a/y*")
    assert [example.video for example in below.examples] == ["../a", "/far/b.mp4"]


def test_csv_lists(tmp_path: Path) -> None:
    examples = (
        Example("a, b.mp4", "1", (1,), 0.1, 1 / 3, "g"),
        Example("b.mp4", "2", (0,)),
        Example("c.mp4", "3"),
        Example("frames/d", "4", (3,), num_frames=250, fps=12.5, flow=("f/d/x*", "f/d/y*")),
        Example("b.mp4", "5", (0,), duration_seconds=2.5),
    )
    names = ("run", 'say "hi"', "no clip", "a; b|c", "7")
    dataset = Dataset("train", str(tmp_path), "train1", names, examples, class_groups={"x, y": (0, 3)})
    again = open_dataset(write_list(tmp_path / "train.csv", dataset))
    assert again.split == "train"  # what the file is called goes first
    write_list(tmp_path / "list.csv", dataset)
    again = open_dataset(tmp_path / "list.csv")
    assert replace(again, name="train", notes=()) == dataset
    assert what_is_lost(dataset, ".csv") == ""
    with pytest.raises(ValueError, match="several labels"):
        write_list(tmp_path / "x.csv", replace(dataset, examples=(RICH,), multi_label=True))
    for wrong, message in (
        (Example("a.mp4", "1", (0,), keyframe_seconds=1.0), "key frame"),
        (Example("a.mp4 ", "1", (0,)), "cannot hold 'a.mp4 '"),
        (Example("a\udcff.mp4", "1", (0,)), "a .jsonl list can"),
        (Example("a", "1", (0,), flow=("x;y",)), "`;` in the name"),
    ):
        with pytest.raises(ValueError, match=message):
            write_list(tmp_path / "x.csv", replace(dataset, examples=(wrong,)))
    with pytest.raises(ValueError, match="is there twice"):
        write_list(tmp_path / "x.csv", replace(dataset, examples=examples[:1] * 2))
    with pytest.raises(ValueError, match="other classes are listed there"):
        write_list(tmp_path / "x.csv", replace(dataset, class_names=names[::-1]))
    with pytest.raises(ValueError, match="other groups of classes"):
        write_list(tmp_path / "x.csv", replace(dataset, class_groups={"x": (0,)}))
    assert not (tmp_path / "x.csv").exists()
    (tmp_path / "list.csv").write_text((tmp_path / "list.csv").read_text() + "1,2\n")
    with pytest.raises(DataError, match=r"list\.csv:7: 2 fields"):
        open_dataset(tmp_path / "list.csv")


def test_class_names_that_look_numbered(tmp_path: Path) -> None:
    names = ("0 zero", "1 one")
    dataset = Dataset("d", str(tmp_path), "all", names, (Example("a.mp4", "a", (1,)),))
    assert open_dataset(write_list(tmp_path / "list.csv", dataset)).class_names == names
    with pytest.raises(ValueError, match="cannot be a line"):
        write_list(tmp_path / "b" / "list.csv", replace(dataset, class_names=("a\nb", "c")))


def test_lists_of_the_toolkits(tmp_path: Path) -> None:
    dataset = make({"run": 1, "rest": 0, "walk": 1}, clips_per_group=1)
    frames = (Example("top", "t", (2,), num_frames=30), Example("deep/er", "d", (0,)))
    dataset = replace(dataset, root=str(tmp_path), examples=(*dataset.examples, *frames))
    path = write_list(tmp_path / "train.txt", dataset)
    assert path.read_text() == "run/g0_0.mp4 0\nwalk/g0_0.mp4 2\n./top 30 2\ndeep/er 0\n"
    assert what_is_lost(dataset, ".txt") == "ids"
    again = open_dataset(path)
    assert again.class_names == ("run", "rest", "walk")
    assert [(item.video, item.labels, item.num_frames) for item in again.examples] == [
        (item.video, item.labels, item.num_frames) for item in dataset.examples
    ]
    for wrong, message in (("a b.mp4", "spaces"), ("a,1", "means another"), ('"a".mp4', "means another")):
        with pytest.raises(ValueError, match=message):
            write_list(tmp_path / "x.txt", replace(dataset, examples=(Example(wrong, "x", (0,)),)))


@pytest.mark.parametrize("line", ["", "[]", '{"format": "other"}'])
def test_what_is_no_list_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"x\.jsonl:1"):
        read_list(tmp_path / "x.jsonl")


def test_laid_out_as_class_folders(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text(name)
    examples = (Example("a.mp4", "1", (1,)), Example("b.mp4", "2", (0,)))
    dataset = Dataset("d", str(tmp_path), "train", ("run", "walk"), examples)
    dataset = replace(dataset, class_names=("walk", "run", "rest"), class_groups={"feet": (0, 1)})
    again = open_dataset(write_class_folders(dataset, tmp_path / "out"))
    assert (again.class_names, again.class_groups) == (dataset.class_names, dataset.class_groups)
    assert [(item.video, item.labels) for item in again.examples] == [
        ("run/a.mp4", (1,)),
        ("walk/b.mp4", (0,)),
    ]
    dataset = replace(dataset, class_names=("run", "walk"), class_groups={})
    write_class_folders(dataset, tmp_path / "two")
    assert (tmp_path / "two/walk/a.mp4").read_text() == "a.mp4"
    for wrong, message in (
        (replace(dataset, class_names=("run", "../x")), "name of a folder"),
        (replace(dataset, examples=(Example("a.mp4", "1", (0,), 0.0, 1.0),)), "whole videos"),
        (replace(dataset, class_names=("train", "test")), "taken for splits"),
        (replace(dataset, multi_label=True), "one label"),
        (dataset, "already"),
    ):
        with pytest.raises(ValueError, match=message):
            write_class_folders(wrong, tmp_path / "two")
    with pytest.raises(ValueError, match="other classes"):
        write_class_folders(replace(dataset, class_names=("jump", "rest")), tmp_path / "out")


def test_shards_are_laid_out_as_class_folders(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text(name)
    examples = (Example("a.mp4", "1", (1,)), Example("b.mp4", "2", (0,)))
    dataset = Dataset("d", str(tmp_path), "train", ("run", "walk"), examples)
    shards = read_list(write_shards(dataset, tmp_path / "shards", seed=None))
    write_class_folders(shards, tmp_path / "out")
    assert (tmp_path / "out/walk/00000000.mp4").read_text() == "a.mp4"


# Shards --------------------------------------------------------------------------------------------------


def test_shards_read_back_as_the_files(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    for number in range(4):
        write_numbered(root / f"v.{number}.mp4", 20, first=100 * number)
    examples = [Example(f"v.{number}.mp4", str(number), (number % 2,), group="g") for number in range(4)]
    examples.append(Example("v.1.mp4", "part", (0,), 0.4, 0.8))
    dataset = Dataset("d", str(root), "train", ("run", "walk"), tuple(examples))
    size = (root / "v.0.mp4").stat().st_size
    listed = read_list(write_shards(dataset, tmp_path / "shards", max_bytes=int(size * 2.5)))
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "000000.tar",
        "000001.tar",
        "list.jsonl",
    ]
    assert [(item.id, item.labels, item.start_seconds, item.group) for item in listed.examples] == [
        (item.id, item.labels, item.start_seconds, item.group) for item in examples
    ]
    for example, packed in zip(examples, listed.examples, strict=True):
        one, other = (
            read_clips(item, place.root, SPEC, ClipRule("uniform"))
            for item, place in ((example, dataset), (packed, listed))
        )
        assert (one.clips[0] == other.clips[0]).all()
    first = read_clips(listed.examples[4], listed.root, SPEC, ClipRule("whole"))
    assert read_numbers(first.clips[0]) == list(range(110, 120))
    (batch,) = ClipLoader(ClipDataset(listed, SPEC), 5, order=Order(shuffle=False), workers=1)
    assert batch.num_valid == 5
    rows = check_videos(Path(listed.root), [item.video for item in listed.examples], tmp_path / "m.jsonl")
    assert [row.status for row in rows] == ["ok"] * 4
    with tarfile.open(tmp_path / "shards/000000.tar") as tar:
        names = tar.getnames()
        assert names == ["00000000.mp4", "00000000.json", "00000001.mp4", "00000001.json"]
        member = tar.extractfile("00000000.json")
        assert member is not None
        assert json.load(member)["source"].startswith("v.")
    again = tmp_path / "again"
    write_shards(dataset, again, max_bytes=int(size * 2.5))
    for name in ("000000.tar", "000001.tar", "list.jsonl"):
        assert (again / name).read_bytes() == (tmp_path / "shards" / name).read_bytes()


def test_a_missing_video_stops_the_sharding(tmp_path: Path) -> None:
    dataset = Dataset("d", str(tmp_path), "train", ("x",), (Example("absent.mp4", "1", (0,)),))
    with pytest.raises(DataError, match=r"absent\.mp4"):
        write_shards(dataset, tmp_path / "shards")
    assert not (tmp_path / "shards" / "list.jsonl").exists()


# Statistics ----------------------------------------------------------------------------------------------


def test_statistics() -> None:
    dataset = make({"run": 10, "walk": 3, "rest": 0, "rare": 1})
    rows = [
        Checked(example.video, "ok", 100, 1, frames=50, duration_seconds=2.0, fps=25.0, width=320, height=240)
        for example in dataset.examples
    ]
    rows[0] = replace(rows[0], status="short", width=640, height=480, duration_seconds=1.0)
    numbers = describe_dataset(dataset, [*rows, Checked("elsewhere.mp4", "corrupt", 1, 1)])
    assert numbers["clips_per_class"] == {"run": 40, "walk": 12, "rest": 0, "rare": 4}
    assert (numbers["num_groups"], numbers["empty_classes"]) == (14, ["rest"])
    assert numbers["classes_that_hold_half"] == 1
    assert numbers["hours"] == pytest.approx((55 * 2 + 1) / 3600)
    assert numbers["files"]["status"] == {"ok": 55, "short": 1}
    assert numbers["files"]["sizes"] == {"320x240": 55, "640x480": 1}
    assert numbers["duration_seconds"]["0.5"] == 2.0
    json.dumps(numbers)
    part = replace(dataset.examples[0], start_seconds=1.0, end_seconds=1.5)
    assert describe_dataset(replace(dataset, examples=(part,)), rows)["durations"] == [0.5]


@pytest.mark.parametrize("num_classes", [2, 400])
def test_the_picture_of_statistics(num_classes: int) -> None:
    dataset = make({f"class {number}": 1 + number % 7 for number in range(num_classes)}, 1)
    bare = draw_statistics(describe_dataset(dataset))
    rows = [
        Checked(example.video, "ok", 1, 1, duration_seconds=1.0 + at % 9, width=320 + at % 11, height=240)
        for at, example in enumerate(dataset.examples)
    ]
    full = draw_statistics(describe_dataset(dataset, rows))
    assert bare.shape == full.shape == (900, 1200, 3)
    assert (bare[540:840] != full[540:840]).mean() > 0.05
    empty = draw_statistics(describe_dataset(replace(dataset, examples=())))
    assert empty.shape == full.shape
