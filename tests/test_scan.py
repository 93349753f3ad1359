"""`vadis data scan`: what it says, in words and as JSON, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data import charades, kinetics, minikinetics, ucf101
from vadis.data.made import write_text
from vadis.data.scan import AmbiguousError, recognise, scan

RUNNER = CliRunner()


def test_it_says_what_it_understood(tmp_path: Path) -> None:
    charades.write_tiny(tmp_path)
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for words in (
        "Charades (charades)",
        "told by Charades_v1_train.csv and Charades_v1_test.csv",
        "3 classes, several labels an example: Holding some clothes",
        "train: a video has no action: kept, without a label",
    ):
        assert words in result.output
    line = next(line for line in result.output.splitlines() if line.startswith("train ")).split()
    assert line == ["train", "6", "6", "3", "to", "4", "10", "1"]


def test_json_holds_the_same(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path)
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["name"] == "ucf101"
    assert document["num_classes"] == 3
    assert [split["split"] for split in document["splits"]][:2] == ["train1", "test1"]
    assert document["splits"][0] == {
        "split": "train1",
        "examples": 9,
        "videos": 9,
        "clips_per_class": [3, 3],
        "spans": 0,
        "boxes": 0,
        "hidden": 0,
        "missing": 0,
        "missing_first": [],
        "notes": [],
    }


def test_missing_files_are_named_and_counted(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path)
    (tmp_path / "UCF-101/Archery/v_Archery_g02_c01.avi").unlink()
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert result.exit_code == 1
    assert "train1: missing UCF-101/Archery/v_Archery_g02_c01.avi" in result.output
    assert [len(split.missing) for split in scan(tmp_path).splits] == [1, 0, 0, 1, 1, 0]


def test_two_readings_are_refused(tmp_path: Path) -> None:
    minikinetics.write_tiny(tmp_path)
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert result.exit_code == 2
    assert "--as kinetics400" in result.output
    assert "--as minikinetics200" in result.output
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path), "--as", "minikinetics200"])
    assert result.exit_code == 0
    assert "Mini-Kinetics-200" in result.output
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path), "--as", "minikinetics"])
    assert result.exit_code == 2
    assert "there is no dataset 'minikinetics'" in result.output


def test_two_datasets_in_one_folder_are_refused(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path)
    charades.write_tiny(tmp_path)
    with pytest.raises(AmbiguousError) as caught:
        scan(tmp_path)
    assert set(caught.value.readings) == {"ucf101", "charades"}


def test_own_lists_beside_official_ones_are_refused(tmp_path: Path) -> None:
    """PySlowFast's train.csv in the folder of UCF-101 could be another split of it."""
    ucf101.write_tiny(tmp_path)
    assert set(recognise(tmp_path)) == {"ucf101"}
    write_text(tmp_path / "train.csv", "UCF-101/Archery/v_Archery_g02_c01.avi 0")
    assert set(recognise(tmp_path)) == {"ucf101", "lists"}


def test_official_lists_are_not_taken_for_own_ones(tmp_path: Path) -> None:
    """UCF-101's lists in the root itself look like plain lists."""
    ucf101.write_tiny(tmp_path)
    for path in (tmp_path / "ucfTrainTestlist").iterdir():
        path.rename(tmp_path / path.name)
    assert set(recognise(tmp_path)) == {"ucf101"}


def test_pyslowfasts_lists_are_not_kinetics(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "a/x.mp4 0", "b/y.mp4 1")
    assert set(recognise(tmp_path)) == {"lists"}


def test_splits_without_lists_are_said(tmp_path: Path) -> None:
    kinetics.write_tiny(tmp_path)
    (tmp_path / "kinetics-400_test.csv").unlink()
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert "no lists for test" in result.output
    assert scan(tmp_path).absent == ("test",)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path)
    path = tmp_path / "ucfTrainTestlist" / "testlist02.txt"
    path.write_text(path.read_text() + "nonsense\n")
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert result.exit_code == 1
    assert "testlist02.txt:4: " in result.output


def test_nothing_there(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds no videos, and no lists that are known" in result.output
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path / "x")])
    assert result.exit_code == 1
    assert "there is no such file or folder" in result.output


def test_videos_elsewhere(tmp_path: Path) -> None:
    ucf101.write_tiny(tmp_path / "a")
    (tmp_path / "a" / "UCF-101").rename(tmp_path / "clips")
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path / "a")])
    assert result.exit_code == 1
    result = RUNNER.invoke(app, ["data", "scan", str(tmp_path / "a"), "--videos", str(tmp_path / "clips")])
    assert result.exit_code == 0, result.output
