"""`vadis data`: each verb end to end, from a folder of videos."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numbered import write_numbered
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data import DATASETS
from vadis.data.checking import read_manifest
from vadis.data.listing import read_list
from vadis.data.scan import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five short videos each."""
    root = tmp_path_factory.mktemp("data")
    for label, name in enumerate(("run", "walk")):
        (root / name).mkdir()
        for number in range(5):
            write_numbered(root / name / f"{name}{number}.mp4", 12, first=1000 * label + 50 * number)
    return root


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and what was said."""
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    return result.exit_code, result.output


def test_from_a_folder_to_a_split_without_leaks(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    code, said = run("check", folder, "--out", manifest)
    assert (code, said) == (0, f"10 ok -> {manifest}\n")
    code, said = run("split", folder, "--out", tmp_path / "s", "--parts", "train=0.6,test=0.4")
    assert code == 0
    assert "train.jsonl: 6 examples" in said
    assert "no groups are known" in said
    train, test = (read_list(tmp_path / "s" / f"{name}.jsonl") for name in ("train", "test"))
    assert sorted(example.labels for example in test.examples) == [(0,), (0,), (1,), (1,)]
    assert all((Path(train.root) / example.video).is_file() for example in train.examples)
    code, said = run("leaks", tmp_path / "s/train.jsonl", tmp_path / "s/test.jsonl")
    assert code == 0
    assert "0 ids in both" in said
    code, said = run("leaks", tmp_path / "s/train.jsonl", folder, "--json")
    assert code == 1
    assert len(json.loads(said)["ids"]) == 6


def test_a_manifest_of_a_list_finds_copies(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    copy = tmp_path / "one/copy.mp4"
    copy.write_bytes((folder / "run/run0.mp4").read_bytes())
    (tmp_path / "list.csv").write_text(
        "id,video,label,start_seconds,end_seconds,group\nx,one/copy.mp4,run,,,\n", "utf-8"
    )
    assert run("check", tmp_path / "list.csv", "--out", tmp_path / "a.jsonl")[0] == 0
    assert run("check", folder, "--out", tmp_path / "b.jsonl")[0] == 0
    manifests = ["--manifest", tmp_path / "a.jsonl", "--manifest", tmp_path / "b.jsonl"]
    code, said = run("leaks", tmp_path / "list.csv", folder, *manifests)
    assert code == 1
    assert "one/copy.mp4 = run/run0.mp4" in said
    assert "pictures compared: 1 with 10 videos" in said


def test_copies_stay_on_one_side(folder: Path, tmp_path: Path) -> None:
    for name in ("run", "walk"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(4):
            data = (folder / name / f"{name}{number // 2}.mp4").read_bytes()
            (tmp_path / "d" / name / f"{number}.mp4").write_bytes(data)
    assert run("check", tmp_path / "d", "--out", tmp_path / "m.jsonl", "--quiet")[0] == 0
    code, _ = run(
        "split", tmp_path / "d", "--out", tmp_path, "--manifest", tmp_path / "m.jsonl",
        "--parts", "a=1,b=1", "--format", "csv",
    )  # fmt: skip
    assert code == 0
    sides = [
        {Path(example.video).stem for example in open_dataset(tmp_path / f"{name}.csv").examples}
        for name in "ab"
    ]
    assert len(sides[0]) > 0
    assert len(sides[1]) > 0
    where = {
        example.video: name for name in "ab" for example in open_dataset(tmp_path / f"{name}.csv").examples
    }
    for kind in ("run", "walk"):
        assert where[f"d/{kind}/0.mp4"] == where[f"d/{kind}/1.mp4"]
        assert where[f"d/{kind}/2.mp4"] == where[f"d/{kind}/3.mp4"]


def test_what_is_not_whole_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes((folder / "run/run0.mp4").read_bytes())
    (tmp_path / "bad.mp4").write_text("nothing " * 50)
    code, said = run("check", tmp_path, "--out", tmp_path / "m.jsonl")
    assert code == 1
    assert "1 ok, 1 unreadable" in said
    assert "1 of 2 are not whole:" in said
    assert "bad.mp4" in said


def test_statistics(folder: Path, tmp_path: Path) -> None:
    assert run("check", folder, "--out", tmp_path / "m.jsonl")[0] == 0
    code, said = run("stats", folder, "--manifest", tmp_path / "m.jsonl", "--out", tmp_path / "s.png")
    assert code == 0
    assert "10 examples, 10 videos, 10 groups, 2 classes" in said
    assert "clips per class: 5 to 5, median 5" in said
    assert "seconds: 0.48 to 0.48" in said
    assert "sizes: 96x64 10" in said
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    code, said = run("stats", folder, "--json")
    assert json.loads(said)["clips_per_class"] == {"run": 5, "walk": 5}


def test_converted_and_packed(folder: Path, tmp_path: Path) -> None:
    assert run("convert", folder, tmp_path / "list.txt")[0] == 0
    assert len((tmp_path / "list.txt").read_text().splitlines()) == 10
    assert run("convert", folder, tmp_path / "list.jsonl")[0] == 0
    assert run("convert", tmp_path / "list.jsonl", tmp_path / "again")[0] == 0
    assert (tmp_path / "again/walk/walk3.mp4").read_bytes() == (folder / "walk/walk3.mp4").read_bytes()
    assert run("convert", folder, tmp_path / "walks.jsonl", "--classes", "w*")[0] == 0
    assert open_dataset(tmp_path / "walks.jsonl").class_names == ("walk",)
    assert run("convert", folder, tmp_path / "none.jsonl", "--classes", "swim")[0] == 2
    code, said = run("shard", tmp_path / "list.jsonl", "--out", tmp_path / "shards")
    assert (code, said) == (0, f"{tmp_path / 'shards/list.jsonl'}\n")
    assert run("check", tmp_path / "shards", "--out", tmp_path / "m.jsonl") == (
        0,
        f"10 ok -> {tmp_path / 'm.jsonl'}\n",
    )


def test_a_dataset_in_its_official_layout(tmp_path: Path) -> None:
    """Every tool takes it, one split at a time; the types of its classes go with it everywhere."""
    root = tmp_path / "ucf"
    DATASETS["ucf101"].write_tiny(root)
    train = open_dataset(root, split="train2")
    assert train.class_groups
    code, said = run("stats", root)
    assert (code, "train1, test1, train2, test2, train3, test3; name one (--split)" in said) == (2, True)
    code, said = run("stats", root, "--split", "train2", "--json")
    assert json.loads(said)["num_examples"] == 9
    code, said = run("leaks", root, root, "--split", "train1", "--split", "test1")
    assert code == 0
    code, said = run("leaks", root, root, "--split", "train1", "--split", "test2", "--as", "ucf101", "--json")
    assert (code, len(json.loads(said)["ids"])) == (1, 3)
    code, said = run("check", root, "--split", "test1", "--out", tmp_path / "m.jsonl")
    assert (code, said) == (0, f"3 ok -> {tmp_path / 'm.jsonl'}\n")
    assert run("split", root, "--split", "train2", "--out", tmp_path / "s", "--parts", "a=1,b=1")[0] == 0
    assert run("shard", root, "--split", "train2", "--out", tmp_path / "shards")[0] == 0
    assert run("convert", root, tmp_path / "list.csv", "--split", "train2")[0] == 0
    code, said = run("convert", root, tmp_path / "folders", "--split", "train2")
    assert (code, "folders does not hold ids; a .jsonl" in said) == (0, True)
    for path in ("s/a.jsonl", "s/b.jsonl", "shards", "shards/list.jsonl", "list.csv", "folders"):
        again = open_dataset(tmp_path / path)
        assert again.class_names == train.class_names, path
        assert again.class_groups == train.class_groups, path
    code, said = run("split", tmp_path / "list.csv", "--out", tmp_path / "t", "--parts", "a=1,b=1")
    assert (code, "no groups are known" in said) == (0, True)  # a tiny group has one clip


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["split", "FOLDER", "--parts", "train"], 2, "NAME=SHARE"),
        (["split", "FOLDER", "--parts", "../x=1,b=1"], 2, "NAME=SHARE"),
        (["stats", "FOLDER/run"], 1, "holds videos (5 at depth 0), but neither class folders"),
        (["stats", "FOLDER/absent"], 1, "no such file or folder"),
        (["stats", "FOLDER", "--as", "lists"], 1, "holds nothing of lists of your own"),
        (["stats", "FOLDER", "--as", "kinetics"], 2, "there is no dataset 'kinetics'"),
        (["stats", "FOLDER", "--split", "train"], 2, "has the splits all, not 'train'"),
        (["leaks", "FOLDER", "FOLDER", "--split", "1", "--split", "2", "--split", "3"], 2, "is given once"),
        (["check", "FOLDER/absent"], 1, "no such file or folder"),
        (["convert", "FOLDER", "x.xyz"], 2, ".jsonl, .csv, .txt"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, arguments: list[str], code: int, message: str) -> None:
    arguments = [argument.replace("FOLDER", str(folder)) for argument in arguments]
    got, said = run(*arguments)
    assert got == code
    assert message in said


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of another process")
def test_stopped_by_ctrl_c_and_resumed(tmp_path: Path) -> None:
    video = write_numbered(tmp_path / "00.mp4", 200, size=(320, 240))
    for number in range(1, 20):
        (tmp_path / f"{number:02d}.mp4").write_bytes(video.read_bytes())
    manifest = tmp_path / "m.jsonl"
    command = [sys.executable, "-m", "vadis", "data", "check", str(tmp_path), "-o", str(manifest)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if manifest.exists() and manifest.read_text().count("\n") >= 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    done = read_manifest(manifest)
    assert 2 <= len(done) < 20
    assert subprocess.run(command, check=False).returncode == 0
    assert [row.status for row in read_manifest(manifest)] == ["ok"] + ["duplicate"] * 19
