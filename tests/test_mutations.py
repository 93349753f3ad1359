"""Damaged videos of many containers: a report or a typed error, in bounded time and memory, few lies.

240 seeded mutations run in forks of one process (mutation_server.py). Each frame that is given as good is
compared with the pristine one shown at that time. What no decoder can notice, a bit flipped inside
entropy-coded data without checksums, stays silently wrong; docs/decisions.md has the shares measured.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import damage
import mutation_server
import numpy as np
import pytest

from vadis.video.decode import Video, stream_frames
from vadis.video.suspicion import Suspicion, ffv1_slices_intact

NUM_CASES = 240

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    if not hasattr(os, "fork"):
        pytest.skip("the cases run in forks")
    program, folder = Path(mutation_server.__file__), tmp_path_factory.mktemp("mutations")
    command = [sys.executable, str(program), str(folder), str(NUM_CASES)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def cases(rows: list[Row]) -> list[Row]:
    return [row for row in rows if "case" in row]


def total(cases: list[Row], *names: str) -> int:
    return sum(row.get(name, 0) for row in cases for name in names)


@pytest.mark.slow
def test_undamaged_videos_raise_no_alarm(rows: list[Row]) -> None:
    pristine = [row for row in rows if "pristine" in row]
    assert {row["pristine"] for row in pristine} == set(damage.RECIPES)
    for row in pristine:
        assert (row["ok"], row["frames"], row["flagged"]) == (True, damage.NUM_FRAMES, 0), row


@pytest.mark.slow
def test_report_or_typed_error(cases: list[Row]) -> None:
    assert len(cases) == NUM_CASES
    assert {(row["video"], row["mutation"]) for row in cases} == {
        (video, mutation) for video in damage.RECIPES for mutation in damage.MUTATIONS
    }
    bad = [row for row in cases if row["outcome"] not in ("report", "error")]
    assert bad == []
    errors = {row["error"] for row in cases if row["outcome"] == "error"}
    assert errors <= {"corrupt", "not_video", "no_video_stream", "empty", "too_large"}
    assert total(cases, "good") > 3000  # the comparison below is not an empty one


@pytest.mark.slow
def test_bounded_time_and_memory(cases: list[Row]) -> None:
    assert max(row["seconds"] for row in cases) < 10
    assert max(row["peak_mib"] for row in cases) < 400


@pytest.mark.slow
def test_few_frames_are_silently_wrong(cases: list[Row]) -> None:
    """Of the frames given as good: how many differ at all, visibly, or stand at the wrong time."""
    good = total(cases, "good")
    wrong = total(cases, "good_differs", "good_misplaced") / good
    visible = total(cases, "good_visible", "good_misplaced") / good
    print(f"\nof {good} frames given as good {wrong:.1%} differ, {visible:.1%} visibly")
    assert wrong < 0.18
    assert visible < 0.13
    assert total(cases, "good_misplaced") / good < 0.005


@pytest.mark.slow
def test_checksums_and_cut_files_tell_nearly_all(cases: list[Row]) -> None:
    """Where the data can tell, they must: FFV1 has checksums, and a cut loses its end, not its truth."""
    checked = [row for row in cases if row["video"] == "mkv_ffv1"]
    assert total(checked, "good") > 300
    assert total(checked, "good_differs", "good_misplaced") == 0
    cut = [row for row in cases if row["mutation"] == "truncate"]
    assert total(cut, "good_differs", "good_misplaced") <= 0.03 * total(cut, "good")
    # a cut may fall behind the last picture, in the index; else the report says that the file is short
    assert sum(row.get("ok", False) for row in cut) <= 0.15 * len(cut)


@pytest.mark.slow
def test_alarms_are_mostly_true(cases: list[Row]) -> None:
    flagged = total(cases, "flagged")
    assert flagged > 300
    assert total(cases, "flagged_differs", "flagged_misplaced") / flagged > 0.6


def packet(pts: int | None, corrupt: bool = False) -> Any:
    return SimpleNamespace(pts=pts, is_corrupt=corrupt)


def frame(pts: int | None, key: bool = False, corrupt: bool = False) -> Any:
    return SimpleNamespace(pts=pts, key_frame=key, is_corrupt=corrupt)


def test_suspicion_lasts_until_the_next_keyframe() -> None:
    suspicion = Suspicion()
    assert not suspicion.is_corrupt(frame(0, key=True))
    suspicion.packet_refused(packet(3))
    found = [suspicion.is_corrupt(frame(pts, key=pts in (2, 6))) for pts in range(1, 9)]
    assert found == [True, True, True, True, True, False, False, False]  # the keyframe at 2 was before
    assert suspicion.is_corrupt(frame(9, corrupt=True))
    assert suspicion.is_corrupt(frame(10))
    assert suspicion.is_corrupt(frame(11, key=True, corrupt=True))
    assert suspicion.is_corrupt(frame(12))
    assert not suspicion.is_corrupt(frame(13, key=True))


def test_suspicion_of_a_damaged_keyframe() -> None:
    suspicion = Suspicion()
    suspicion.look_at(packet(5, corrupt=True), "h264")
    assert suspicion.is_corrupt(frame(5, key=True))  # the picture of that packet itself
    assert suspicion.is_corrupt(frame(6))
    assert not suspicion.is_corrupt(frame(7, key=True))
    suspicion.packet_refused(None)
    assert suspicion.is_corrupt(frame(8))
    suspicion.forget()
    assert not suspicion.is_corrupt(frame(9))


def test_ffv1_checksums(tmp_path: Path) -> None:
    pictures = damage.pictures(3)
    for name, options, verdict in (
        ("with.mkv", {"slicecrc": "1"}, True),
        ("without.mkv", {"slicecrc": "0"}, None),
    ):
        damage.write_video(tmp_path / name, "ffv1", "yuv420p", {"level": "3", **options}, pictures)
        with av.open(str(tmp_path / name)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert [ffv1_slices_intact(data) for data in packets] == [verdict] * 3
        rng = np.random.default_rng(0)
        for place in rng.integers(0, len(packets[0]), 50):
            broken = bytearray(packets[0])
            broken[place] ^= 1 << int(rng.integers(8))
            assert ffv1_slices_intact(bytes(broken)) is not True


@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("file", ["open.mov", "open.ts", "refresh.mp4", "open.mkv"])
def test_healthy_references_across_groups_raise_no_alarm(
    tmp_path: Path, file: str, threads: int | None
) -> None:
    """Open groups and intra refresh: pictures that need what lies before a keyframe, streamed and fetched."""
    codec, key = ("libx265", "x265-params") if file.endswith("mkv") else ("libx264", "x264-params")
    options = {"open.mkv": "open-gop=1:keyint=9:log-level=none", "refresh.mp4": "intra-refresh=1:keyint=9"}
    chosen = {key: options.get(file, "open-gop=1:keyint=9:bframes=3")}
    damage.write_video(tmp_path / file, codec, "yuv420p", chosen, damage.pictures())
    with stream_frames(tmp_path / file, threads=threads) as stream:
        assert not any(chunk.corrupt_T.any() for chunk in stream)
    assert stream.report.ok
    with Video(tmp_path / file, threads=threads) as video:
        for index in (35, 10, 17, 3, 28, 20):
            assert not video.frames_by_index([index]).corrupt_T.any()


def test_mutations_repeat_and_change_something() -> None:
    data, other = bytes(range(256)) * 40, b"other" * 400
    for kind in damage.MUTATIONS:
        results = [damage.mutate(kind, data, seed, other) for seed in range(20)]
        assert results == [damage.mutate(kind, data, seed, other) for seed in range(20)]
        assert sum(result != data for result in results) >= 19
        assert len(set(results)) > 10
