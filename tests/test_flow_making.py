"""Flow of one video and of many into a store: names, settings, what is whole, what is done again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vadis.data.checking import StoppedError
from vadis.data.flow_making import (
    PAIRS_AT_ONCE,
    PARTS,
    FlowSettings,
    FlowTask,
    begin_store,
    make_all,
    make_flow,
    plan_tasks,
    ready_estimator,
    sort_tasks,
)
from vadis.data.flow_stores import MANIFEST, read_store
from vadis.data.made import write_clip, write_frames
from vadis.video.decode import decode
from vadis.video.flow import estimate_flow
from vadis.video.flow_files import NOTE, open_flow

pytest.importorskip("cv2", reason="flow needs pip install 'vadis[flow]'")
DIS = FlowSettings("dis", layout="npz", short_side=None, dtype="float32")


def test_folders_of_videos() -> None:
    """As the videos are called; nothing leads out of the store, and none lies in another's folder."""
    names = ["a/b.mp4", "c.avi", "c.mp4", "d.mp4", "d/e.mp4", "f", "../g.mp4", "/h/i.mkv", "x/.j.mp4", "k.v1"]
    found = [task.folder for task in plan_tasks("root", names)]
    assert found == ["a/b", "c.avi", "c.mp4", "d.mp4", "d/e", "f", "g", "h/i", "x/_j", "k.v1"]
    assert len(set(found)) == len(found)
    assert plan_tasks("root", ["f"], [12.0]) == [FlowTask("root", "f", "f", 12.0)]


def test_settings_say_what_matters() -> None:
    assert FlowSettings().to_dict() == {
        "method": "tvl1",
        "options": {},
        "layout": "jpeg",
        "short_side": 256,
        "bound": 20.0,
        "rounding": "denseflow",
        "quality": 95,
    }
    assert set(FlowSettings(layout="png16").to_dict()) == {"method", "options", "layout", "short_side"}
    assert FlowSettings(layout="npz", bound=3.0).to_dict() == FlowSettings(layout="npz").to_dict()


def test_pieces_give_what_the_whole_gives(tmp_path: Path) -> None:
    """A video of three pieces: field by field what all frames at once give, with their times."""
    write_clip(tmp_path / "a.mp4", 0, num_frames=2 * PAIRS_AT_ONCE + 6)
    estimator = ready_estimator(DIS, "cpu", 1)
    (tmp_path / "s").mkdir()
    row = make_flow(plan_tasks(str(tmp_path), ["a.mp4"])[0], tmp_path / "s", DIS, estimator)
    frames = decode(tmp_path / "a.mp4")
    whole = estimate_flow(frames.frames_THWC, "dis")
    with open_flow(tmp_path / "s" / "a") as stored:
        assert np.array_equal(stored.read().fields_THW2, whole.fields_THW2)
        assert stored.times_T is not None
        assert stored.times_T == pytest.approx(frames.times_T[:-1], abs=1e-4)
        assert stored.method == "dis"
    assert {name: row[name] for name in ("video", "folder", "frames", "fields", "size")} == {
        "video": "a.mp4",
        "folder": "a",
        "frames": 38,
        "fields": 37,
        "size": [48, 64],
    }
    assert row["bytes"] == (tmp_path / "s" / "a" / "flow.npz").stat().st_size
    assert not (tmp_path / "s" / PARTS).exists() or not any((tmp_path / "s" / PARTS).iterdir())


def test_frames_are_scaled_before(tmp_path: Path) -> None:
    """A folder of frames at its own rate; values count pixels of the scaled picture."""
    write_frames(tmp_path / "a", "img_%05d.png", 0, num_frames=5)
    settings = replace(DIS, short_side=24)
    task = FlowTask(str(tmp_path), "a", "a", 10.0)
    make_flow(task, tmp_path / "s", settings, ready_estimator(settings, "cpu", 1))
    stored = open_flow(tmp_path / "s" / "a")
    assert (len(stored), stored.size) == (4, (24, 32))
    assert stored.times_T == pytest.approx([0, 0.1, 0.2, 0.3])


def test_one_frame_is_whole(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0, num_frames=1)
    row = make_flow(
        FlowTask(str(tmp_path), "a.mp4", "a"), tmp_path / "s", DIS, ready_estimator(DIS, "cpu", 1)
    )
    assert (row["frames"], row["fields"], row["size"], "failed" in row) == (1, 0, [48, 64], False)
    assert len(open_flow(tmp_path / "s" / "a")) == 0


def test_what_fails_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing of a video")
    estimator = ready_estimator(DIS, "cpu", 1)
    for video, kind in (("a.mp4", "not_video"), ("b.mp4", "not_found")):
        row = make_flow(FlowTask(str(tmp_path), video, "x"), tmp_path / "s", DIS, estimator)
        assert (row["video"], row["kind"]) == (video, kind)
        assert row["failed"]
    write_clip(tmp_path / "c.mp4", 0)
    whole = (tmp_path / "c.mp4").read_bytes()
    (tmp_path / "c.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    row = make_flow(FlowTask(str(tmp_path), "c.mp4", "c"), tmp_path / "s", DIS, estimator)
    assert "failed" in row or "short" in row or "damaged" in row
    write_clip(tmp_path / "d.mp4", 0)
    task = FlowTask(str(tmp_path), "d.mp4", "d")
    with pytest.raises(StoppedError):
        make_flow(task, tmp_path / "s", DIS, estimator, asked_to_stop=lambda: True)
    assert not (tmp_path / "s" / "d").exists()
    assert not (tmp_path / "s" / "x").exists()


def made(root: Path, count: int = 3) -> list[FlowTask]:
    for number in range(count):
        write_clip(root / f"{number}.mp4", number, num_frames=4)
    return plan_tasks(str(root), [f"{number}.mp4" for number in range(count)])


def test_stopped_and_resumed(tmp_path: Path) -> None:
    """What is whole stays as it is; what has changed, failed or lost its line is put right."""
    tasks = made(tmp_path)
    place = tmp_path / "flow"
    store = begin_store(place, DIS, {"vadis": "0"}, resume=False)
    rows = make_all(tasks, store, DIS)
    next(rows)
    rows.close()  # as Ctrl-C does
    assert sorted(path.name for path in place.iterdir()) == ["0", MANIFEST]
    (place / PARTS / "rubbish").mkdir(parents=True)
    with (place / MANIFEST).open("a") as manifest:
        manifest.write('{"video": "1.mp4", "fol')  # killed while writing
    store = begin_store(place, DIS, {}, resume=True)
    assert not (place / PARTS).exists()
    kept, found, todo = sort_tasks(store, tasks)
    assert ([row["video"] for row in kept], found, [task.video for task in todo]) == (
        ["0.mp4"],
        [],
        ["1.mp4", "2.mp4"],
    )
    assert len(list(make_all(todo, store, DIS))) == 2
    lines = (place / MANIFEST).read_text().splitlines()
    (place / MANIFEST).write_text("\n".join(lines[:-1]) + "\n")  # killed between the folder and its line
    os.utime(tmp_path / "0.mp4", (1, 1))  # another file by now
    store = begin_store(place, DIS, {}, resume=True)
    kept, found, todo = sort_tasks(store, tasks)
    assert ([row["video"] for row in kept], [row["video"] for row in found]) == (["1.mp4"], ["2.mp4"])
    assert [task.video for task in todo] == ["0.mp4"]
    assert found[0]["fields"] == 3
    assert found[0]["bytes"] == (place / "2" / "flow.npz").stat().st_size
    list(make_all(todo, store, DIS))
    assert read_store(place).rows["0.mp4"]["source"][1] == 10**9


def test_other_settings_are_refused(tmp_path: Path) -> None:
    tasks = made(tmp_path, 1)
    place = tmp_path / "flow"
    list(make_all(tasks, begin_store(place, DIS, {}, resume=False), DIS))
    with pytest.raises(ValueError, match="holds the flow of 1 videos: --resume goes on"):
        begin_store(place, DIS, {}, resume=False)
    with pytest.raises(
        ValueError, match=r"made otherwise \(method 'dis', not 'farneback'; short_side None, not 99"
    ):
        begin_store(place, replace(DIS, method="farneback", short_side=99), {}, resume=True)
    with pytest.raises(ValueError, match=r"options \{\}, not \{'preset': 'fast'\}"):
        begin_store(place, replace(DIS, options={"preset": "fast"}), {}, resume=True)
    with pytest.raises(ValueError, match="layout 'npz', not 'jpeg'"):
        begin_store(place, replace(DIS, layout="jpeg"), {}, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    with pytest.raises(ValueError, match="holds other things and no"):
        begin_store(tmp_path / "other", DIS, {}, resume=True)


def test_a_folder_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    """The manifest is gone, the folders are there: what they say is believed, not that they exist."""
    tasks = made(tmp_path, 1)
    place = tmp_path / "flow"
    fast = replace(DIS, options={"preset": "fast"})
    list(make_all(tasks, begin_store(place, fast, {}, resume=False), fast))
    kept = place / "0"
    shutil.move(kept, tmp_path / "aside")
    shutil.rmtree(place)
    store = begin_store(place, DIS, {}, resume=False)
    shutil.move(tmp_path / "aside", kept)
    with pytest.raises(ValueError, match="holds flow that this run would not make"):
        sort_tasks(store, tasks)
    assert json.loads((kept / NOTE).read_text())["settings"]["options"] == {"preset": "fast"}
