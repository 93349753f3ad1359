"""Training and validation parts: official pairs, counterparts without labels, parts held out by source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vadis.data import DATASETS, read_dataset
from vadis.data.listing import write_list
from vadis.data.made import write_text
from vadis.data.parts import list_split_pairs, open_parts, open_validation
from vadis.records import DataError, Dataset, Example

FOLDS = (("train1", "test1"), ("train2", "test2"), ("train3", "test3"))


def write_empty(root: Path, *videos: str) -> None:
    """Files with the names of videos: nothing here opens them."""
    for video in videos:
        (root / video).parent.mkdir(parents=True, exist_ok=True)
        (root / video).touch()


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "benchmark"])
def test_three_official_splits(name: str, tmp_path: Path) -> None:
    DATASETS[name].write_tiny(tmp_path)
    assert list_split_pairs(tmp_path) == FOLDS
    for split in ("train2", "2"):
        parts = open_parts(tmp_path, split=split)
        assert parts.validation is not None
        assert (parts.train.split, parts.validation.split) == ("train2", "test2")
        assert parts.train == read_dataset(name, tmp_path, "train2")
    first = open_parts(tmp_path)
    assert first.validation is not None
    assert first.validation.examples == read_dataset(name, tmp_path, "test1").examples
    assert "validated on test" in first.note


@pytest.mark.parametrize(
    ("name", "pair"),
    [("kinetics400", ("train", "val")), ("charades", ("train", "test")), ("folders", ("train", "val"))],
)
def test_the_counterpart_of_train(name: str, pair: tuple[str, str], tmp_path: Path) -> None:
    DATASETS[name].write_tiny(tmp_path)
    assert list_split_pairs(tmp_path) == (pair,)
    parts = open_parts(tmp_path)
    assert parts.validation is not None
    assert (parts.train.split, parts.validation.split) == pair


def test_a_test_split_without_labels_is_no_counterpart(tmp_path: Path) -> None:
    """Kinetics' crawler lists the test part without labels."""
    DATASETS["kinetics400"].write_tiny(tmp_path)
    next(tmp_path.rglob("kinetics-400_val.csv")).unlink()
    assert not any(example.labels for example in read_dataset("kinetics400", tmp_path, "test").examples)
    assert list_split_pairs(tmp_path) == ()
    parts = open_parts(tmp_path, validation=0.5)
    assert parts.validation is not None
    assert parts.validation.split == "validation"
    assert "held out by source (seed 0)" in parts.note
    assert open_parts(tmp_path, validation=0).validation is None


def test_what_to_validate_on_may_be_a_dataset_of_its_own(tmp_path: Path) -> None:
    for name in ("ucf101", "kinetics400", "lists"):
        DATASETS[name].write_tiny(tmp_path / name)
    assert open_validation(tmp_path / "ucf101").split == "test1"
    assert open_validation(tmp_path / "ucf101", "train2").split == "test2"
    assert open_validation(tmp_path / "kinetics400", "train2").split == "val"
    assert open_validation(tmp_path / "lists" / "val.csv").split == "val"
    next((tmp_path / "kinetics400").rglob("kinetics-400_val.csv")).unlink()
    with pytest.raises(ValueError, match="none with labels to judge by"):
        open_validation(tmp_path / "kinetics400")


def test_images_are_for_detectors(tmp_path: Path) -> None:
    DATASETS["coco"].write_tiny(tmp_path)
    with pytest.raises(DataError, match="coco holds single images, not videos"):
        open_parts(tmp_path)


def test_class_folders_are_split_by_seed(tmp_path: Path) -> None:
    write_empty(tmp_path, *(f"{name}/{i}.mp4" for name in ("run", "walk") for i in range(10)))
    assert list_split_pairs(tmp_path) == ()
    parts, again, other = (open_parts(tmp_path, seed=seed) for seed in (0, 0, 1))
    assert parts.validation is not None
    assert len(parts.validation.examples) == 4
    assert len(parts.train.examples) == 16
    assert parts == again
    assert parts != other
    assert "4 of 20 examples" in parts.note
    assert "no sources are known" in parts.note
    ids = {example.id for part in (parts.train, parts.validation) for example in part.examples}
    assert len(ids) == 20


def test_sources_stay_together(tmp_path: Path) -> None:
    rows = [f"{name}/{i}.mp4,{name},{name}{i // 4}" for name in ("run", "walk") for i in range(20)]
    write_text(tmp_path / "list.csv", "video,label,group", *rows)
    parts = open_parts(tmp_path / "list.csv")
    assert parts.validation is not None
    groups = [{example.group for example in part.examples} for part in (parts.train, parts.validation)]
    assert not groups[0] & groups[1]
    assert "no sources are known" not in parts.note
    write_text(tmp_path / "list.csv", "video,label,group", *(f"{i}.mp4,{i % 2},one" for i in range(6)))
    parts = open_parts(tmp_path)
    assert parts.validation is None
    assert "one source" in parts.note


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    examples = tuple(Example(f"{i}.mp4", str(i), (i % 2,)) for i in range(8))
    one = Dataset("d", str(tmp_path), "a", ("run", "walk"), examples)
    write_list(tmp_path / "a.jsonl", one)
    write_list(tmp_path / "b.jsonl", replace(one, split="b"))
    with pytest.raises(ValueError, match="the splits a, b; name the one"):
        open_parts(tmp_path)
    assert "held out" in open_parts(tmp_path, split="b").note
    with pytest.raises(ValueError, match="not 'train'"):
        open_parts(tmp_path, split="train")
    with pytest.raises(ValueError, match="share"):
        open_parts(tmp_path, split="a", validation=1.0)
    write_list(tmp_path / "a.jsonl", replace(one, split="train"))
    write_list(tmp_path / "b.jsonl", replace(one, split="val", class_names=("walk", "run")))
    with pytest.raises(DataError, match="different classes"):
        open_parts(tmp_path)
    hidden = tuple(replace(example, labels=()) for example in examples)
    write_list(tmp_path / "a.jsonl", replace(one, split="train", examples=hidden))
    with pytest.raises(DataError, match="nothing to learn"):
        open_parts(tmp_path)
