"""The estimate: its arithmetic, what it measures, and the lecture's numbers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from vadis import flow_cost
from vadis.data.flow_making import FlowSettings, plan_tasks
from vadis.data.made import write_clip
from vadis.flow_cost import (
    LECTURE_SETS,
    FlowCost,
    describe_line,
    describe_table,
    measure_cost,
    say_bytes,
    say_time,
)
from vadis.records import VideoError
from vadis.video.flow_fields import Flow

COST = FlowCost(
    videos=100,
    frames=3100,
    field_pixels=3000 * 256 * 340,
    probed=100,
    unreadable=0,
    size=(256, 340),
    start_seconds=4.0,
    open_seconds=0.01,
    decode_seconds=0.002,
    flow_seconds=0.05 / (256 * 340),
    write_seconds={"jpeg": 0.003 / (256 * 340), "npz": 0.008 / (256 * 340)},
    bytes={"jpeg": 10_000 / (256 * 340), "npz": 200_000 / (256 * 340)},
    pairs=10,
)


def test_arithmetic() -> None:
    assert COST.fields == 3000
    assert COST.field_seconds("jpeg") == pytest.approx(0.055)
    whole = 100 * 0.01 + 3100 * 0.002 + 3000 * 0.053
    assert COST.seconds("jpeg") == pytest.approx(whole)
    assert COST.seconds("jpeg", 4) == pytest.approx(whole / 4 + 4.0)
    assert COST.seconds("npz") - COST.seconds("jpeg") == pytest.approx(3000 * 0.005)
    assert COST.num_bytes("jpeg") == pytest.approx(30e6)


def test_the_lectures_table() -> None:
    """0.06 s a frame: 30 hours are 1.25 days, printed as 1.5; and 50 days."""
    days = {name: frames * flow_cost.LECTURE_SECONDS / 86_400 for name, frames in LECTURE_SETS.items()}
    assert days == {"UCF-101": 1.25, "Kinetics-400": 50.0}
    table = describe_table(COST, FlowSettings(), 2)
    assert "1.25 days, printed as 1.5" in table
    assert "50 days" in table
    found = COST.to_dict("jpeg", 2)
    assert found["lecture"]["this_set_seconds"] == pytest.approx(186)
    assert found["seconds"]["npz"] == COST.seconds("npz", 2)
    assert "3,000 fields: about 87 s and 30 MB" in describe_line(COST, FlowSettings(), 2)


def test_words() -> None:
    said = [say_time(seconds) for seconds in (0.4, 40, 720, 11_520, 108_000, 4_320_000)]
    assert said == ["0.4 s", "40 s", "12 min", "3.2 h", "30 h", "50 days"]
    said = [say_bytes(count) for count in (17, 9_800, 12e6, 27e9, 1.5e12, 50e12)]
    assert said == ["17 B", "9.8 kB", "12 MB", "27 GB", "1.5 TB", "50 TB"]


class Counting:
    """An estimator that takes 20 ms a pair, and says how often it was asked for how many."""

    def __init__(self) -> None:
        self.pairs: list[int] = []

    def __call__(self, frames_THWC: np.ndarray) -> Flow:
        count, height, width, _ = frames_THWC.shape
        self.pairs.append(count - 1)
        time.sleep(0.02 * (count - 1))
        return Flow(np.zeros((count - 1, height, width, 2), np.float32), (height, width))


def test_ten_pairs_after_one_to_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five videos of two sizes; time and disk go with the pixels, damaged files are counted."""
    estimator = Counting()
    monkeypatch.setattr(flow_cost, "ready_estimator", lambda *arguments: estimator)
    for number in range(9):
        write_clip(tmp_path / f"{number}.mp4", 0, num_frames=40, width=64 if number < 6 else 128)
    (tmp_path / "9.mp4").write_bytes(b"nothing")
    tasks = plan_tasks(str(tmp_path), [f"{number}.mp4" for number in range(10)])
    settings = FlowSettings("dis", short_side=None)
    cost = measure_cost(tasks, settings, layouts=("video", "npz"))
    assert estimator.pairs == [1, 2, 2, 2, 2, 2]
    assert (cost.videos, cost.frames, cost.fields, cost.unreadable) == (9, 360, 351, 1)
    assert cost.size == (48, 64)
    assert cost.field_pixels == 39 * 48 * (6 * 64 + 3 * 128)
    assert list(cost.bytes) == ["jpeg", "video", "npz"]
    assert cost.flow_seconds * cost.field_pixels >= 0.018 * 10 / (10 * 48 * 128) * cost.field_pixels
    assert cost.num_bytes("jpeg") > cost.fields * 2 * 300  # two pictures, whose headers alone are that long
    with pytest.raises(VideoError, match="none of 1 videos can be read"):
        measure_cost(tasks[9:], settings)


def test_small_sets_are_not_measured_at_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = Counting()
    monkeypatch.setattr(flow_cost, "ready_estimator", lambda *arguments: estimator)
    write_clip(tmp_path / "a.mp4", 0, num_frames=25)
    write_clip(tmp_path / "b.mp4", 0, num_frames=1)
    cost = measure_cost(plan_tasks(str(tmp_path), ["a.mp4", "b.mp4"]), FlowSettings("dis", short_side=None))
    assert estimator.pairs in ([1, 1], [])
    assert (cost.videos, cost.frames) == (2, 26)
    one = measure_cost(plan_tasks(str(tmp_path), ["b.mp4"]), FlowSettings("dis", short_side=None))
    assert (one.fields, one.seconds("jpeg") < 60, one.num_bytes("jpeg")) == (0, True, 0)
