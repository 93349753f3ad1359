"""Decodes damaged videos, each in a child forked from this one process, and prints one JSON line a case.

Run as a program: `python mutation_server.py FOLDER NUM_CASES [THREADS]`. Everything is loaded before the
first fork, so that a case costs milliseconds; this process itself decodes only undamaged videos.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import av
import damage
import numpy as np
from numpy.typing import NDArray

from vadis.records import Limits, VideoError
from vadis.video.decode import stream_frames

LIMITS = Limits(max_bytes=2**24, max_seconds=600.0, max_frames=5000, max_pixels=2**22, wall_seconds=8.0)
HARD_SECONDS = 12.0
MEMORY_BYTES = 2**31
VISIBLE = 4.0  # mean absolute difference in grey levels: plain to see in a picture of this texture

Pristine = dict[str, tuple[NDArray[np.float64], NDArray[np.uint8]]]


def read_whole(path: Path, threads: int | None) -> tuple[Any, list[Any]]:
    """(report, chunks) of a video decoded as the library does it."""
    with stream_frames(path, limits=LIMITS, threads=threads) as stream:
        chunks = list(stream)
        return stream.report, chunks


def compare(
    chunks: list[Any], times_T: NDArray[np.float64], frames_THWC: NDArray[np.uint8]
) -> dict[str, int]:
    """Count frames given as good and as damaged, and how many of each differ from the pristine ones."""
    count: Counter[str] = Counter()
    for chunk in chunks:
        for frame, time_seconds, corrupt in zip(
            chunk.frames_THWC, chunk.times_T, chunk.corrupt_T, strict=True
        ):
            name = "flagged" if corrupt else "good"
            count[name] += 1
            nearest = int(np.abs(times_T - time_seconds).argmin())
            if (
                abs(times_T[nearest] - time_seconds) > 0.5 / damage.FPS
                or frame.shape != frames_THWC[nearest].shape
            ):
                count[f"{name}_misplaced"] += 1
                continue
            difference = np.abs(frame.astype(np.int16) - frames_THWC[nearest]).mean()
            count[f"{name}_differs"] += bool(difference > 0)
            count[f"{name}_visible"] += bool(difference > VISIBLE)
    return dict(count)


def judge(
    path: Path, pristine: tuple[NDArray[np.float64], NDArray[np.uint8]], threads: int | None
) -> dict[str, Any]:
    """What one damaged file gave: a report or a typed error."""
    try:
        report, chunks = read_whole(path, threads)
    except VideoError as error:
        return {"outcome": "error", "error": error.kind}
    found = compare(chunks, *pristine)
    return {"outcome": "report", "ok": report.ok, "short": report.short, "notes": list(report.notes), **found}


def in_fork(
    path: Path, pristine: tuple[NDArray[np.float64], NDArray[np.uint8]], threads: int | None
) -> dict[str, Any]:
    """Run `judge` in a fork with bounded time and memory; a crash or a hang is an outcome of its own."""
    ours, theirs = os.pipe()
    since = time.monotonic()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found: dict[str, Any] = {"outcome": "untyped"}
        try:
            found = judge(path, pristine, threads)
        except BaseException as error:  # noqa: BLE001 - this is what the test looks for
            found["error"] = repr(error)
        finally:
            os.write(theirs, json.dumps(found).encode())
            os._exit(0)
    os.close(theirs)
    data, ended = b"", False
    while not ended and time.monotonic() - since < HARD_SECONDS:
        if select.select([ours], [], [], 0.5)[0]:
            part = os.read(ours, 65536)
            data, ended = data + part, not part
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.close(ours)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - since
    if not ended:
        result: dict[str, Any] = {"outcome": "hang"}
    elif os.WIFSIGNALED(status) or not data:
        result = {"outcome": "crash", "error": signal.Signals(os.WTERMSIG(status)).name}
    else:
        result = json.loads(data)
    return {**result, "seconds": round(seconds, 3), "peak_mib": usage.ru_maxrss // 1024}


def main() -> None:
    """Make the videos, decode them undamaged, then judge the damaged ones."""
    folder, num_cases = Path(sys.argv[1]), int(sys.argv[2])
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else None
    av.logging.set_level(None)
    paths = damage.write_all(folder)
    pristine: Pristine = {}
    for name, path in paths.items():
        report, chunks = read_whole(path, 1)
        pristine[name] = (
            np.concatenate([chunk.times_T for chunk in chunks]),
            np.concatenate([chunk.frames_THWC for chunk in chunks]),
        )
        flagged = sum(int(chunk.corrupt_T.sum()) for chunk in chunks)
        print(
            json.dumps(
                {"pristine": name, "ok": report.ok, "frames": len(pristine[name][0]), "flagged": flagged}
            )
        )
    names, kinds = list(paths), list(damage.MUTATIONS)
    for case in range(num_cases):
        name = names[case % len(names)]
        kind = kinds[case // len(names) % len(kinds)]
        other = paths[names[(case + 1 + case // len(names)) % len(names)]].read_bytes()
        damaged = folder / f"case{paths[name].suffix}"
        damaged.write_bytes(damage.mutate(kind, paths[name].read_bytes(), case, other))
        result = in_fork(damaged, pristine[name], threads)
        print(json.dumps({"case": case, "video": name, "mutation": kind, **result}), flush=True)


if __name__ == "__main__":
    main()
