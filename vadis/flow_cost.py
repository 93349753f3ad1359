"""How long flow takes and how much disk it needs, measured on ten pairs before it is begun.

The reason to give up on two-stream networks was never their code: flow of a dataset takes days, and nobody
knows how many before it is done. So a few pairs of the very videos are estimated, encoded and weighed on this
machine; time goes with the number of pixels, and the whole is printed beside the lecture's two datasets.

Source of the comparison: lecture 001's table, 0.06 s a frame on a GPU: UCF-101 (10,000 videos of 6 s at
30 Hz) is 1.25 days (printed as 1.5), Kinetics-400 (240,000 of 10 s) 50 days.

Legend: T frames or fields, H W pixels, C channels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.data.clips import find_source
from vadis.data.flow_making import FlowSettings, FlowTask, ready_estimator
from vadis.records import VideoError
from vadis.video.flow import Estimator
from vadis.video.flow_fields import Flow
from vadis.video.flow_files import LAYOUTS, NOTE, FlowWriter
from vadis.video.motion_vectors import read_motion_vectors
from vadis.video.probe import probe
from vadis.video.scale import scaled_size
from vadis.video.stream import stream_frames

LECTURE_SECONDS = 0.06
"""Seconds a frame in the lecture's table."""

LECTURE_SETS = {"UCF-101": 10_000 * 6 * 30, "Kinetics-400": 240_000 * 10 * 30}
"""Frames of the lecture's datasets, by its own round numbers."""

LECTURE_PRINTED = {"UCF-101": "1.25 days, printed as 1.5", "Kinetics-400": "50 days"}

NUM_PAIRS = 10
NUM_MEASURED = 5  # videos that the pairs come from
NUM_PROBED = 200  # videos whose length and size are asked for
NUM_VECTORS = 40  # frames whose motion vectors are read
NUM_DECODED = 12  # frames of a measured video by which decoding is timed


@dataclass(frozen=True)
class FlowCost:
    """What flow of a set of videos costs here.

    videos; frames and field_pixels of all of them (pixels of all fields together), from `probed` of them;
    unreadable: those of the probed that cannot be opened. size: (height, width) in pixels of most fields.
    start_seconds until a process is ready, open_seconds a video, decode_seconds a frame; flow_seconds and, by
    layout, write_seconds and bytes: of one pixel of a field. pairs: how many were measured.
    """

    videos: int
    frames: int
    field_pixels: float
    probed: int
    unreadable: int
    size: tuple[int, int]
    start_seconds: float
    open_seconds: float
    decode_seconds: float
    flow_seconds: float
    write_seconds: dict[str, float]
    bytes: dict[str, float]
    pairs: int

    @property
    def fields(self) -> int:
        """How many fields there are: one fewer than frames in each video."""
        return max(0, self.frames - self.videos)

    def field_seconds(self, layout: str) -> float:
        """Seconds a field of usual size, on one thread: decoded, estimated, written."""
        pixels = self.size[0] * self.size[1]
        return self.decode_seconds + pixels * (self.flow_seconds + self.write_seconds[layout])

    def seconds(self, layout: str, workers: int = 1) -> float:
        """Seconds for all videos in so many processes."""
        work = self.videos * self.open_seconds + self.frames * self.decode_seconds
        work += self.field_pixels * (self.flow_seconds + self.write_seconds[layout])
        return work / workers + (self.start_seconds if workers > 1 else 0.0)

    def num_bytes(self, layout: str) -> float:
        """Bytes on disk for all videos."""
        return self.field_pixels * self.bytes[layout]

    def to_dict(self, layout: str, workers: int) -> dict[str, Any]:
        """The JSON form."""
        return {
            "videos": self.videos,
            "unreadable": round(self.unreadable * self.videos / max(1, self.probed)),
            "frames": self.frames,
            "fields": self.fields,
            "size": list(self.size),
            "pairs_measured": self.pairs,
            "seconds_a_field": self.field_seconds(layout),
            "workers": workers,
            "seconds": {name: self.seconds(name, workers) for name in self.bytes},
            "bytes": {name: self.num_bytes(name) for name in self.bytes},
            "lecture": {
                "seconds_a_frame": LECTURE_SECONDS,
                "this_set_seconds": self.frames * LECTURE_SECONDS,
                **{name: count * LECTURE_SECONDS for name, count in LECTURE_SETS.items()},
            },
        }


@dataclass
class _Measured:
    """Sums over the measured videos: seconds, and of how many pixels, frames, videos."""

    open_seconds: list[float] = field(default_factory=list)
    decode_seconds: list[float] = field(default_factory=list)
    flow_seconds: float = 0.0
    pixels: float = 0.0
    write_seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    pairs: int = 0


def measure_cost(
    tasks: Sequence[FlowTask],
    settings: FlowSettings,
    *,
    device: str = "auto",
    threads: int = 1,
    layouts: Sequence[str] = (),
    estimator: Estimator | None = None,
) -> FlowCost:
    """Measure ten pairs of a set of videos, after one to warm up. layouts: to weigh besides the settings'.
    estimator: of the settings, where it is ready.

    Fewer pairs of a set so small that ten would be a good part of it. Raises VideoError where none of the
    videos can be read, ValueError, ImportError as the method does.
    """
    begun = time.process_time()  # what this process took to get here, another one takes, too
    facts = [_look(task, settings.short_side) for task in _spread(tasks, NUM_PROBED)]
    good = [fact for fact in facts if fact is not None]
    if not good:
        task = tasks[0]
        raise VideoError("corrupt", task.video, f"none of {len(facts)} videos can be read", "see above")
    share = len(tasks) / len(facts)
    frames = round(sum(count for count, _, _ in good) * share)
    field_pixels = sum(max(0, count - 1) * height * width for count, height, width in good) * share
    sizes = [(height, width) for _, height, width in good]
    size = max(set(sizes), key=sizes.count)
    before = time.process_time()
    if estimator is None:
        estimator = ready_estimator(settings, device, threads)
    found, warm = _Measured(), False
    num_fields = max(1, round(frames - len(good) * share))
    wanted = min(NUM_PAIRS, max(1, num_fields // 20))
    readable = [task for task, fact in zip(_spread(tasks, NUM_PROBED), facts, strict=True) if fact]
    samples = _spread(readable, min(NUM_MEASURED, wanted))
    for number, task in enumerate(samples):
        pairs = wanted // len(samples) + (number < wanted % len(samples))
        clip = _decode(task, settings.short_side, threads, pairs, found)
        if clip is None or len(clip) < 2:
            continue
        if not warm:
            _estimate(estimator, clip[:2], task, settings)
            start_seconds, warm = begun + time.process_time() - before, True
        flow, seconds = _estimate(estimator, clip, task, settings)
        found.flow_seconds += seconds
        found.pixels += len(flow) * flow.size[0] * flow.size[1]
        found.pairs += len(flow)
        for layout in dict.fromkeys((settings.layout, *layouts)):
            _weigh(flow, layout, settings, found)
    pixels = max(found.pixels, 1.0)
    chosen = dict.fromkeys((settings.layout, *layouts))
    return FlowCost(
        videos=round(len(good) * share),
        frames=frames,
        field_pixels=field_pixels,
        probed=len(facts),
        unreadable=len(facts) - len(good),
        size=size,
        start_seconds=start_seconds if warm else begun,
        open_seconds=_mean(found.open_seconds),
        decode_seconds=0.0 if settings.method == "mv" else _mean(found.decode_seconds),
        flow_seconds=found.flow_seconds / pixels,
        write_seconds={layout: found.write_seconds.get(layout, 0.0) / pixels for layout in chosen},
        bytes={layout: found.bytes.get(layout, 0.0) / pixels for layout in chosen},
        pairs=found.pairs,
    )


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most so many items, evenly apart."""
    if len(items) <= count:
        return list(items)
    return [items[int((place + 0.5) * len(items) / count)] for place in range(count)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _look(task: FlowTask, short_side: int | None) -> tuple[int, int, int] | None:
    """Frames, height and width of a video's flow, as the file declares; None where it cannot be read."""
    try:
        info = probe(find_source(Path(task.root), task.video)[0])
    except (VideoError, OSError):
        return None
    frames = info.frames_counted or info.frames_declared
    if not frames:
        frames = round((info.duration_seconds or 0.0) * (info.frame_rate or 25.0))
    width, height = scaled_size(info.width, info.height, short_side)
    return max(1, frames), height, width


def _decode(
    task: FlowTask, short_side: int | None, threads: int, pairs: int, found: _Measured
) -> NDArray[np.uint8] | None:
    """The last of the first dozen frames, timed: opening, and what each frame but the first takes."""
    begin = time.perf_counter()
    pieces: list[NDArray[np.uint8]] = []
    moments = []
    try:
        source, _ = find_source(Path(task.root), task.video)
        with stream_frames(source, short_side=short_side, chunk=1, threads=threads) as stream:
            for frames in stream:
                pieces.append(frames.frames_THWC)
                moments.append(time.perf_counter())
                if len(pieces) > max(NUM_DECODED, pairs):
                    break
    except (VideoError, OSError):
        return None
    each = (moments[-1] - moments[0]) / max(1, len(moments) - 1)
    found.decode_seconds += [each] * (len(moments) > 1)
    found.open_seconds.append(max(0.0, moments[0] - begin - each))
    return np.concatenate(pieces[-(pairs + 1) :])


def _estimate(
    estimator: Estimator | None, clip_THWC: NDArray[np.uint8], task: FlowTask, settings: FlowSettings
) -> tuple[Flow, float]:
    """Flow of some frames, and the seconds that it took; of motion vectors, their share of a reading."""
    begin = time.perf_counter()
    if estimator is not None:
        flow = estimator(clip_THWC)
        return flow, time.perf_counter() - begin
    vectors, _ = read_motion_vectors(find_source(Path(task.root), task.video)[0], stop=NUM_VECTORS)
    flow = vectors[: len(clip_THWC) - 1].resized(*clip_THWC.shape[1:3])
    return flow, (time.perf_counter() - begin) * len(flow) / max(1, len(vectors))


def _weigh(flow: Flow, layout: str, settings: FlowSettings, found: _Measured) -> None:
    """Write fields as a layout has them, and add up seconds and bytes."""
    with tempfile.TemporaryDirectory(prefix="vadis-flow-") as folder:
        target = Path(folder) / "flow"
        begin = time.perf_counter()
        with FlowWriter(
            target,
            layout,
            bound=settings.bound,
            rule=settings.rounding,
            quality=settings.quality,
            dtype=settings.dtype,
        ) as writer:
            writer.write(flow)
        spent = time.perf_counter() - begin
        weight = sum(file.stat().st_size for file in target.iterdir() if file.name != NOTE)
    found.write_seconds[layout] = found.write_seconds.get(layout, 0.0) + spent
    found.bytes[layout] = found.bytes.get(layout, 0.0) + weight


# Words -------------------------------------------------------------------------------------------------


def say_time(seconds: float) -> str:
    """Seconds in words that fit: 40 s, 12 min, 3.2 h, 1.25 days."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (1.5 * 86_400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{0 if seconds / unit >= 10 else 1}f} {name}"
    days = seconds / 86_400
    return f"{days:,.{0 if days >= 10 else 1}f} days"


def say_bytes(count: float) -> str:
    """Bytes in words that fit: 9.8 kB, 12 MB, 1.5 TB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.{0 if count >= 10 or unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:,.{0 if count >= 10 else 1}f} TB"


def describe_line(cost: FlowCost, settings: FlowSettings, workers: int) -> str:
    """One line, for before a run."""
    time_said = say_time(cost.seconds(settings.layout, workers))
    height, width = cost.size
    processes = f"{workers} processes" if workers > 1 else "one process"
    return (
        f"{cost.videos:,} videos, about {cost.fields:,} fields: about {time_said} and "
        f"{say_bytes(cost.num_bytes(settings.layout))} ({settings.method}, {settings.layout}, {processes}; "
        f"{cost.field_seconds(settings.layout):.3f} s a field of {width}x{height}, measured on {cost.pairs})"
    )


def describe_table(cost: FlowCost, settings: FlowSettings, workers: int) -> str:
    """The whole estimate, for `--estimate`: parts of the time, this set, the lecture's sets, all layouts."""
    height, width = cost.size
    pixels = height * width
    parts = {
        "decoding": cost.decode_seconds,
        f"estimating by {settings.method}": pixels * cost.flow_seconds,
        f"writing {settings.layout}": pixels * cost.write_seconds[settings.layout],
    }
    each = cost.field_seconds(settings.layout)
    lines = [
        f"{cost.videos:,} videos, about {cost.frames:,} frames, most {width}x{height}"
        + (f"; {cost.unreadable} of {cost.probed} looked at cannot be read" if cost.unreadable else ""),
        f"{each:.4f} s a field ({', '.join(f'{name} {value:.4f}' for name, value in parts.items())}), "
        f"measured on {cost.pairs} pairs; {workers} process{'es' if workers > 1 else ''}",
        "",
    ]
    names = ("this set", *LECTURE_SETS)
    frames = (cost.frames, *LECTURE_SETS.values())
    here = (
        say_time(cost.seconds(settings.layout, workers)),
        *(say_time(count * each / workers) for count in LECTURE_SETS.values()),
    )
    lecture = (say_time(cost.frames * LECTURE_SECONDS), *LECTURE_PRINTED.values())
    rows = [
        ("", *names),
        ("frames", *(f"{count:,}" for count in frames)),
        (f"time, {settings.method} here", *here),
        ("time, 0.06 s a frame (lecture)", *lecture),
    ]
    for layout in cost.bytes:
        field_bytes = pixels * cost.bytes[layout]
        sets = (
            say_bytes(cost.num_bytes(layout)),
            *(say_bytes(count * field_bytes) for count in LECTURE_SETS.values()),
        )
        rows.append((f"disk, {layout} ({say_bytes(field_bytes)} a field)", *sets))
    raw = (say_bytes(cost.field_pixels * 8), *(say_bytes(c * pixels * 8) for c in LECTURE_SETS.values()))
    rows.append((f"raw float32 ({say_bytes(pixels * 8)} a field)", *raw))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in (1, 2, 3))]
        lines.append("  ".join(cells).rstrip())
    lines += ["", f"UCF-101 and Kinetics-400 as the lecture counts them, as if they were {width}x{height}."]
    return "\n".join(lines)


ALL_LAYOUTS = tuple(LAYOUTS)
"""What `--estimate` weighs."""
