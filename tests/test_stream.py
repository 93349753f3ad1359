"""Streams: the grid of times, chunks, threads, pipes, limits, memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbered import draw_number, read_numbers, repeat_packets, write_numbered
from PIL import Image

import vadis.video.stream as stream_module
from vadis.records import Limits, VideoError
from vadis.video.clock import Clock, exact_rate
from vadis.video.reader import Shot
from vadis.video.stream import FrameStream, prefetch, stream_frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("stream") / "ntsc.mkv", 75, rate=Fraction(30000, 1001))


def numbers_of(stream: Any) -> list[int | None]:
    return [number for chunk in stream for number in read_numbers(chunk.frames_THWC)]


@pytest.mark.parametrize("fps", [25, 30, 29.97002997002997, 10, 60, 7.3, Fraction(24000, 1001), 1])
def test_grid_is_exact(video: Path, fps: float | Fraction) -> None:
    with stream_frames(video) as stream:
        every = list(stream)
    stamps = [
        round(value * 1000) for chunk in every for value in chunk.times_T
    ]  # Matroska counts milliseconds
    start, end = stamps[0], stamps[0] + round((stream.duration_seconds or 0) * 1000)
    rate = exact_rate(fps)
    grid, step = [], 0
    while Fraction(step) / rate < Fraction(end - start, 1000):
        moment = start + Fraction(step) / rate * 1000
        grid.append(max(index for index, stamp in enumerate(stamps) if stamp <= moment))
        step += 1
    with stream_frames(video, fps=fps, chunk=7) as stream:
        chunks = list(stream)
    assert [index for chunk in chunks for index in chunk.indices_T.tolist()] == grid
    assert [n for chunk in chunks for n in read_numbers(chunk.frames_THWC)] == grid
    assert all(len(chunk) == 7 for chunk in chunks[:-1])
    assert 1 <= len(chunks[-1]) <= 7


@given(st.data())
def test_grid_of_any_times(data: st.DataObject) -> None:
    """The arithmetic of FrameStream against the definition, on made-up timestamps."""
    gaps = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=30))
    fps = data.draw(st.fractions(Fraction(1, 2), 120, max_denominator=1001))
    stamps = [sum(gaps[:k]) for k in range(len(gaps))]
    end = sum(gaps)
    shots = [Shot(None, stamp, gap, False) for stamp, gap in zip(stamps, gaps, strict=True)]  # type: ignore[arg-type]
    stream = FrameStream.__new__(FrameStream)
    stream.__dict__.update(_clock=Clock(Fraction(1, 100), Fraction(25), Fraction(0)), _fps=fps, _start=None)
    stream.__dict__.update(_reader=_FakeReader(shots), _num_corrupt=0, _end=None)
    got = [shown.index for shown, repeats in stream._ask() for _ in range(repeats)]
    expected, step = [], 0
    while Fraction(step) / fps < Fraction(end, 100):
        expected.append(
            max(k for k in range(len(stamps)) if Fraction(stamps[k], 100) <= Fraction(step) / fps)
        )
        step += 1
    assert got == expected


class _FakeReader:
    limits = Limits()
    name = "made up"

    def __init__(self, shots: list[Shot]) -> None:
        self._shots = shots

    def shots(self) -> Iterator[Shot]:
        yield from self._shots


def clocked(stamps: list[int | None]) -> tuple[list[float], Clock]:
    clock = Clock(Fraction(1, 100), Fraction(25), Fraction(0))
    shots = [Shot(None, stamp, 4, False) for stamp in stamps]  # type: ignore[arg-type]
    return [float(shown.time) for shown in clock.present(shots)], clock


def test_clock_repairs_from_the_first_picture_on() -> None:
    times, clock = clocked([4, 16, 12, 24, 20, 32, 28, 40, 36, 48])
    assert times == pytest.approx([k / 25 for k in range(10)])
    assert clock.repaired
    assert "index / rate" in clock.notes[0]
    times, clock = clocked([None] * 5)
    assert times == pytest.approx([k / 25 for k in range(5)])
    assert clock.repaired


def test_clock_goes_on_where_stamps_fail_late() -> None:
    stamps: list[int | None] = [4 * k for k in range(20)]
    stamps[12] = stamps[11]
    times, clock = clocked(stamps)
    assert times == pytest.approx([k / 25 for k in range(20)])
    assert clock.repaired
    assert "frame 12" in clock.notes[0]
    times, clock = clocked([4 * k for k in range(20)])
    assert not clock.repaired


def test_rates() -> None:
    assert exact_rate(29.97002997002997) == Fraction(30000, 1001)
    assert exact_rate(25.0) == 25
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps"):
            exact_rate(wrong)
    with pytest.raises(ValueError, match="chunk"):
        stream_frames("x.mp4", chunk=0)


def test_stream_reports(video: Path) -> None:
    with stream_frames(video, short_side=32) as stream:
        assert stream.info.width == 96
        assert stream.duration_seconds is None
        next(stream)
        assert stream.start_seconds == 0.0
        list(stream)
        assert stream.report.frames_expected == stream.report.frames_decoded == 75
        assert stream.duration_seconds == pytest.approx(75 * 1001 / 30000, abs=0.002)
    with pytest.raises(StopIteration):
        next(stream)


def test_prefetch_gives_the_same(video: Path) -> None:
    with prefetch(stream_frames(video, fps=10), depth=2) as ahead:
        assert numbers_of(ahead) == numbers_of(stream_frames(video, fps=10))
        assert ahead.report.ok
        assert ahead.info.width == 96


def test_prefetch_runs_ahead_but_not_without_bound(video: Path) -> None:
    ahead = prefetch(stream_frames(video, chunk=5), depth=2)
    deadline = time.monotonic() + 10
    while ahead.report.frames_decoded < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 15 <= ahead.report.frames_decoded < 60, "three chunks and what the decoder holds back"
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "vadis-prefetch"]


def test_prefetch_hands_errors_on(video: Path) -> None:
    with prefetch(stream_frames(video, limits=Limits(max_frames=40), chunk=8)) as ahead:
        with pytest.raises(VideoError, match="max_frames") as caught:
            list(ahead)
        assert caught.value.kind == "too_large"
        with pytest.raises(StopIteration):
            next(ahead)


def through_pipe(path: Path, check: Callable[[Any], None]) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            try:
                file.write(path.read_bytes())
            except BrokenPipeError:
                return

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as file:
        check(file)
    thread.join()


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_pipes(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / name, 40, container={"options": {"movflags": "faststart"}})

    def check(file: Any) -> None:
        with stream_frames(file, fps=25) as stream:
            assert numbers_of(stream) == list(range(40))
            assert stream.report.ok

    through_pipe(path, check)


def test_closing_does_not_wait_for_a_silent_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_PATIENCE_SECONDS", 0.2)
    data = write_numbered(tmp_path / "a.ts", 40).read_bytes() * 4
    enough = threading.Event()

    class Silent:
        """Gives the data, then nothing until the test is over."""

        def __init__(self) -> None:
            self.place = 0

        def read(self, size: int) -> bytes:
            part = data[self.place : self.place + size]
            self.place += len(part)
            if not part:
                enough.wait(30)
            return part

    stream = stream_frames(Silent(), threads=1)  # type: ignore[arg-type]
    ahead = prefetch(stream, depth=100)
    next(ahead)
    time.sleep(0.3)
    start = time.monotonic()
    ahead.close()
    assert time.monotonic() - start < 3
    enough.set()


def test_pipe_needs_the_index_first(tmp_path: Path) -> None:
    large = {"size": (640, 360), "codec": "prores_ks", "pix_fmt": "yuv422p10le"}
    path = write_numbered(tmp_path / "late_index.mov", 60, **large)
    assert path.stat().st_size > 2**18, "more than fits into a buffer"

    def check(file: Any) -> None:
        with pytest.raises(VideoError, match="faststart"):
            list(stream_frames(file))

    through_pipe(path, check)


def test_limits_on_the_way(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mkv", 30)
    kinds = {
        "timeout": Limits(wall_seconds=0.0),
        "too_large": Limits(max_frames=20),
    }
    for kind, limits in kinds.items():
        with pytest.raises(VideoError) as caught:
            list(stream_frames(path, limits=limits))
        assert caught.value.kind == kind
        assert "a.mkv" in str(caught.value)
    jump = write_numbered(tmp_path / "jump.ts", 20, stamps=[k + (9000 if k > 15 else 0) for k in range(20)])
    with pytest.raises(VideoError, match="max_seconds"):
        list(stream_frames(jump, fps=25, limits=Limits(max_seconds=100)))


def test_wall_clock_does_not_run_while_the_consumer_thinks(video: Path) -> None:
    with stream_frames(video, chunk=10, limits=Limits(wall_seconds=1.5)) as stream:
        for _ in stream:
            time.sleep(0.3)
    assert stream.report.frames_decoded == 75


def test_images_stream(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(draw_number(number)).save(tmp_path / f"{number:03d}.png")
    with stream_frames(tmp_path, fps=5) as stream:
        assert numbers_of(stream) == [0, 5]
        assert stream.info.container == "images"
        assert stream.duration_seconds == pytest.approx(0.4)


MEASURE = """
import resource, sys
from vadis.video.stream import prefetch, stream_frames
with prefetch(stream_frames(sys.argv[1], fps=25, short_side=32)) as stream:
    frames = sum(len(chunk) for chunk in stream)
assert "torch" not in sys.modules, "decoding alone should not load torch"
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Peak memory of a process that streams 2 minutes and one that streams 20 of them."""
    short = write_numbered(tmp_path / "short.mkv", 100, codec="mjpeg", pix_fmt="yuvj420p", size=(64, 64))
    peaks = {}
    for minutes in (2, 20):
        path = repeat_packets(short, tmp_path / f"{minutes}.mkv", minutes * 15)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        frames, peak = map(int, done.stdout.split())
        assert frames == minutes * 1500
        peaks[minutes] = peak / 1024
    assert peaks[20] < peaks[2] + 16, f"peak memory in MiB by minutes: {peaks}"


def test_chunks_are_the_consumers_to_keep(video: Path) -> None:
    with stream_frames(video, chunk=8) as stream:
        kept = list(stream)
    order = list(range(len(kept)))
    random.Random(0).shuffle(order)
    for place in order:
        assert read_numbers(kept[place].frames_THWC) == kept[place].indices_T.tolist()
    assert np.concatenate([chunk.indices_T for chunk in kept]).tolist() == list(range(75))
