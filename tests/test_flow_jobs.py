"""`vadis flow` as a user meets it: where flow goes, what fails, killed and resumed, what it will cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.data.flow_stores import MANIFEST, read_store
from vadis.data.made import write_clip, write_frames
from vadis.data.scan import open_dataset
from vadis.flow_jobs import FlowJob, read_options, run_flow
from vadis.specs import ClipSpec
from vadis.video.flow_files import NOTE, open_flow

pytest.importorskip("cv2", reason="flow needs pip install 'vadis[flow]'")
SPEC = ClipSpec("flow", 4, 1, None, 48, 32, (0.0, 0.0), (1.0, 1.0), (-1.0, 1.0))


def job(*sources: Path, **options: object) -> FlowJob:
    """By the fastest method, here, at the videos' own size."""
    given = {"method": "dis", "workers": 1, "short_side": None, "quiet": True, **options}
    return FlowJob(tuple(map(str, sources)), **given)  # type: ignore[arg-type]


def made_classes(root: Path, num_frames: int = 6) -> Path:
    for label, name in enumerate(("left", "right")):
        for number in range(2):
            write_clip(root / name / f"{number}.mp4", label, number, num_frames=num_frames)
    return root


def test_a_dataset_finds_its_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made_classes(tmp_path / "data")
    write_clip(root / "left" / "one.mp4", 0, num_frames=1)
    assert run_flow(job(root)) == 0
    assert "data/flow: 5 videos, 20 fields" in capsys.readouterr().out
    dataset = open_dataset(root)
    assert [example.flow[0] for example in dataset.examples] == [
        f"flow/{example.id}/{NOTE}" for example in dataset.examples
    ]
    example = next(example for example in dataset.examples if example.id == "left/0")
    assert read_clips(example, root, SPEC, ClipRule("uniform")).clips[0].shape == (4, 48, 64, 2)
    rows = read_store(root / "flow").rows
    assert rows["left/one.mp4"]["fields"] == 0  # whole, not failed
    with pytest.raises(ValueError, match="holds the flow of 5 videos: --resume goes on"):
        run_flow(job(root))
    before = {path: path.stat().st_mtime_ns for path in root.rglob(NOTE)}
    assert run_flow(job(root, resume=True)) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob(NOTE)} == before
    with pytest.raises(ValueError, match=r"made otherwise \(bound 20.0, not 10.0\): ask for the same"):
        run_flow(job(root, resume=True, bound=10.0))


def test_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tmp_path / "clips"
    write_clip(clips / "a.mp4", 0, num_frames=4)
    write_clip(clips / "b.avi", 0, num_frames=4)
    write_frames(clips / "c", "img_%05d.jpg", 0, num_frames=4)
    with pytest.raises(ValueError, match="name the folder to write to: --out DIR"):
        run_flow(job(clips / "a.mp4"))
    assert run_flow(job(clips / "a.mp4", clips / "b.avi", out=tmp_path / "two", layout="png16")) == 0
    assert len(read_store(tmp_path / "two").rows) == 2
    assert run_flow(job(clips)) == 0
    assert sorted(read_store(clips / "flow").rows) == ["a.mp4", "b.avi", "c"]
    assert len(open_flow(clips / "flow" / "c")) == 3
    capsys.readouterr()
    assert run_flow(job(clips, out=tmp_path / "away", as_json=True)) == 0
    said = json.loads(capsys.readouterr().out)
    assert (len(said["done"]), said["failed"]) == (3, [])
    for out in (clips, tmp_path):
        with pytest.raises(ValueError, match="a folder of its own"):
            run_flow(job(clips, out=out))


def test_what_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the others are done; tried again when resumed."""
    root = made_classes(tmp_path)
    whole = (root / "left" / "0.mp4").read_bytes()
    (root / "left" / "0.mp4").write_bytes(b"nothing of a video")
    assert run_flow(job(root)) == 1
    said = capsys.readouterr()
    assert "3 videos" in said.out
    assert "1 of 4 videos could not be read" in said.err
    assert "left/0.mp4" in said.err
    assert "[not_video]" in said.err
    (root / "left" / "0.mp4").write_bytes(whole)
    assert run_flow(job(root, resume=True)) == 0
    assert read_store(root / "flow").rows["left/0.mp4"]["fields"] == 5


def test_stopped_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made_classes(tmp_path)
    asked = iter([False] * 3)
    assert run_flow(job(root, asked_to_stop=lambda: next(asked, True))) == 130
    assert "--resume goes on" in capsys.readouterr().err
    whole = len(list((root / "flow").rglob(NOTE)))
    assert whole < 4
    assert sorted(path.name for path in (root / "flow").iterdir() if path.name.startswith(".")) == []
    assert run_flow(job(root, resume=True)) == 0
    assert len(list((root / "flow").rglob(NOTE))) == 4


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
def test_killed_and_resumed(tmp_path: Path) -> None:
    """kill -9 in the middle: whole videos only, no process stays behind, and going on redoes nothing."""
    root = tmp_path / "data"
    for number in range(24):
        write_clip(root / f"{number}.mp4", number, num_frames=20)
    words = [sys.executable, "-m", "vadis", "flow", str(root), "--method", "dis", "--workers", "2"]
    words += ["--short-side", "64", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = root / "flow" / MANIFEST
    end = time.monotonic() + 400
    while not manifest.exists() or len(manifest.read_text().splitlines()) < 4:
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    while any(alive(int(pid)) for pid in children):
        assert time.monotonic() < end, "a worker outlives its parent"
        time.sleep(0.05)
    notes = sorted((root / "flow").rglob(NOTE))
    assert 3 <= len(notes) < 24
    for note in notes:
        if ".part" not in note.parts:
            with open_flow(note.parent) as stored:
                assert len(stored.read()) == 19
    before = {note: note.stat().st_mtime_ns for note in notes if ".part" not in str(note)}
    again = job(root, short_side=64, resume=True)
    assert run_flow(again) == 0
    assert {note: note.stat().st_mtime_ns for note in before} == before
    assert len(read_store(root / "flow").rows) == 24
    assert sorted(path.name for path in (root / "flow").iterdir()) == sorted(
        [*(str(number) for number in range(24)), MANIFEST]
    )


def test_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made_classes(tmp_path, 30)
    assert run_flow(job(root, estimate=True)) == 0
    said = capsys.readouterr().out
    for words in (
        "4 videos, about 120 frames, most 64x48",
        "1.25 days, printed as 1.5",
        "disk, png16",
        "50 days",
    ):
        assert words in said
    assert not (root / "flow").exists()
    assert run_flow(job(root, estimate=True, as_json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["fields"], list(found["bytes"])) == (116, ["jpeg", "png16", "npz", "video"])
    assert run_flow(job(root, quiet=False)) == 0
    line = " ".join(capsys.readouterr().err.split())
    assert "4 videos, about 116 fields: about" in line


def test_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.mp4", 0, num_frames=5)
    picture = tmp_path / "p.png"
    assert run_flow(job(tmp_path / "a.mp4", method="dis, farneback", picture=picture)) == 0
    assert capsys.readouterr().out.strip() == str(picture)
    assert picture.exists()
    with pytest.raises(ValueError, match="go without --out"):
        run_flow(job(tmp_path / "a.mp4", picture=picture, out=tmp_path / "x"))


def test_wrong_usage(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0, num_frames=3)
    out = tmp_path / "out"
    for options, message in (
        ({"method": "sift"}, "'sift' is no method of optical flow"),
        ({"method": "dis,farneback"}, "one method is stored at a time"),
        ({"options": ("preset",)}, "--set takes NAME=VALUE"),
        ({"options": ("speed=9",)}, "dis has the options"),
        ({"rounding": "nearest"}, "no rounding called"),
        ({"bound": -1.0}, "bound must be a positive"),
    ):
        with pytest.raises(ValueError, match=message):
            run_flow(job(tmp_path / "a.mp4", out=out, **options))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no videos found"):
        run_flow(job(tmp_path / "empty"))
    assert read_options(["a=1", "b=0.5", "c=fast", "d=True"]) == {"a": 1, "b": 0.5, "c": "fast", "d": True}
