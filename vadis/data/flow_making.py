"""The flow of many videos into one store: each whole or not at all, several at a time, stopped at any moment.

A video's flow is written below `.part` in the store and renamed when it is whole; then the manifest gets its
line. So a run that is killed leaves whole videos, and scraps below `.part` that the next run sweeps away. A
process takes a video at a time and works on one thread: videos are many, and no two of them wait for another.

Legend: T frames or fields, H W pixels, C channels.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vadis.data.checking import StoppedError, file_state
from vadis.data.clips import find_source
from vadis.data.flow_stores import FOLDER, MANIFEST, VERSION, FlowStore, read_store
from vadis.records import DataError, DecodeReport, VideoError
from vadis.specs import FLOW_BOUND
from vadis.video.find import VIDEO_SUFFIXES
from vadis.video.flow import Estimator, opencv
from vadis.video.flow_fields import Flow
from vadis.video.flow_files import FlowWriter, read_note
from vadis.video.motion_vectors import motion_vector_pieces
from vadis.video.scale import scaled_size
from vadis.video.stream import Stream, stream_frames

PARTS = ".part"
PAIRS_AT_ONCE = 16

Row = dict[str, Any]
Stop = Callable[[], bool]
Pieces = Iterator[tuple[Flow, NDArray[np.float64]]]


@dataclass(frozen=True)
class FlowSettings:
    """What decides how stored flow comes out; equal settings give equal files.

    options: of the method. short_side: pixels to which frames are scaled before (None: their own size). bound
    (pixels a frame), rounding: of 8-bit layouts. quality: of jpeg. dtype: of npz.
    """

    method: str = "tvl1"
    options: dict[str, Any] = field(default_factory=dict)
    layout: str = "jpeg"
    short_side: int | None = 256
    bound: float = FLOW_BOUND
    rounding: str = "denseflow"
    quality: int = 95
    dtype: str = "float16"

    def check(self) -> None:
        """Raise ValueError for a layout, bound or rounding that there is not."""
        FlowWriter(
            FOLDER, self.layout, bound=self.bound, rule=self.rounding, quality=self.quality, dtype=self.dtype
        )

    def to_dict(self) -> dict[str, Any]:
        """What of it decides: no quality where there is no jpeg, and so on."""
        found = asdict(self)
        for name, layouts in (
            ("bound", ("jpeg", "video")),
            ("rounding", ("jpeg", "video")),
            ("quality", ("jpeg",)),
            ("dtype", ("npz",)),
        ):
            if self.layout not in layouts:
                del found[name]
        return found


@dataclass(frozen=True)
class FlowTask:
    """One video: its name, relative to `root`, and the folder of its flow, relative to the store.

    fps: the rate in Hz of a folder of frames, where it is known.
    """

    root: str
    video: str
    folder: str
    fps: float | None = None


def plan_tasks(root: str, videos: Sequence[str], fps: Sequence[float | None] = ()) -> list[FlowTask]:
    """A task for each video, in order: its folder is called as it is, without the ending.

    fps: rates in Hz of folders of frames, one for each video, or none. Where two videos would share a folder,
    or one would lie in the other's, both keep their endings.
    """
    names = [_clean(_without_ending(video)) for video in videos]
    above = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    times = Counter(names)
    rates = list(fps) or [None] * len(videos)
    found = []
    for video, name, rate in zip(videos, names, rates, strict=True):
        shared = name in above or times[name] > 1
        found.append(FlowTask(root, video, _clean(video) if shared else name, rate))
    return found


def _without_ending(video: str) -> str:
    path = PurePosixPath(video)
    return str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else str(path)


def _clean(name: str) -> str:
    """A path below the store, whatever the video's own is: nothing leads out of it, nothing is hidden."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    return "/".join("_" + part[1:] if part.startswith(".") else part for part in parts) or "video"


# Stores ------------------------------------------------------------------------------------------------


def begin_store(root: Path, settings: FlowSettings, versions: dict[str, str], resume: bool) -> FlowStore:
    """The store to write to: made, or opened again; what an earlier run left half done is swept away.

    Raises ValueError where the folder holds something else, or flow that was made otherwise, or where it
    holds flow and `resume` is not asked for.
    """
    wanted = json.loads(json.dumps(settings.to_dict()))
    if (root / MANIFEST).is_file():
        store = read_store(root)
        if not resume:
            done = sum("folder" in row for row in store.rows.values())
            raise ValueError(f"{root} holds the flow of {done} videos: --resume goes on, --out names another")
        names = sorted({*wanted, *store.settings})
        other = [
            f"{name} {store.settings.get(name)!r}, not {wanted.get(name)!r}"
            for name in names
            if store.settings.get(name) != wanted.get(name)
        ]
        if other:
            raise ValueError(
                f"{root} holds flow that was made otherwise ({'; '.join(other)}): ask for the same, or name "
                "another folder with --out"
            )
        _end_last_line(root / MANIFEST)
    else:
        if root.exists() and any(root.iterdir()):
            raise ValueError(f"{root} holds other things and no {MANIFEST}; name a folder of its own (--out)")
        root.mkdir(parents=True, exist_ok=True)
        head = {"vadis_flow": VERSION, "settings": wanted, "versions": versions}
        part = root / f"{MANIFEST}.part"
        part.write_text(json.dumps(head) + "\n", "utf-8")
        part.replace(root / MANIFEST)
        store = FlowStore(root, wanted)
    shutil.rmtree(root / PARTS, ignore_errors=True)
    return store


def _end_last_line(file: Path) -> None:
    """End a line that a crash broke off, so that the next one is not lost with it."""
    with file.open("rb+") as opened:
        opened.seek(0, os.SEEK_END)
        if opened.tell():
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                opened.write(b"\n")


def sort_tasks(store: FlowStore, tasks: Sequence[FlowTask]) -> tuple[list[Row], list[Row], list[FlowTask]]:
    """What is whole and as it is to be: (rows of the manifest, rows that it lacks); and what is to be done.

    A video that has changed since is done again. Raises ValueError for flow that was made otherwise.
    """
    kept: list[Row] = []
    found: list[Row] = []
    todo: list[FlowTask] = []
    for task in tasks:
        place = store.root / task.folder
        row = dict(store.rows.get(task.video, {}))
        if not (place / "flow.json").is_file():
            todo.append(task)
            continue
        known = row.get("folder") == task.folder
        if not known:  # killed after the folder had its name, before the manifest had its line
            try:
                note = read_note(place)
            except VideoError as error:
                raise DataError(f"{place}: {error.message}; remove it") from None
            row = {**note.get("row", {}), "bytes": note.get("bytes", 0)}
            if note.get("settings") != store.settings or row.get("video") != task.video:
                raise ValueError(f"{place} holds flow that this run would not make; remove it")
        if tuple(row.get("source", ())) != file_state(Path(task.root) / task.video):
            todo.append(task)
        else:
            (kept if known else found).append(row)
    return kept, found, todo


# One video ---------------------------------------------------------------------------------------------


def make_flow(
    task: FlowTask,
    store: Path,
    settings: FlowSettings,
    estimator: Estimator | None,
    *,
    threads: int = 1,
    asked_to_stop: Stop = lambda: False,
) -> Row:
    """Estimate and write the flow of one video; returns its line of the manifest, or why there is none.

    estimator: None for motion vectors. Memory does not grow with the video's length. Raises StoppedError
    between pieces where that is asked for; then nothing is left of the video.
    """
    begin = time.monotonic()
    row: Row = {"video": task.video, "folder": task.folder, "frames": 0, "fields": 0, "size": None}
    part = store / PARTS / f"{os.getpid()}-{threading.get_ident()}"
    target = store / task.folder
    try:
        source, _ = find_source(Path(task.root), task.video)
        row["source"] = file_state(Path(task.root) / task.video)
        if target.exists():
            shutil.rmtree(target)  # of a video that has changed since
        with ExitStack() as stack:
            stream, side = None, settings.short_side
            if estimator is not None:
                stream = stack.enter_context(
                    stream_frames(source, short_side=side, chunk=PAIRS_AT_ONCE, threads=threads)
                )
            writer = stack.enter_context(
                FlowWriter(
                    target,
                    settings.layout,
                    bound=settings.bound,
                    rule=settings.rounding,
                    quality=settings.quality,
                    dtype=settings.dtype,
                    method=settings.method,
                    fps=task.fps or (None if stream is None else stream.info.frame_rate),
                    part=part,
                )
            )
            pieces = (
                _carried(source, settings, row)
                if stream is None or estimator is None
                else _estimated(stream, estimator, row)
            )
            for flow, times_T in pieces:
                if asked_to_stop():
                    raise StoppedError
                writer.size = flow.size
                if task.fps is not None:
                    times_T = (writer.num_fields + np.arange(len(times_T))) / task.fps
                writer.write(flow, times_T)
            row |= {"fields": writer.num_fields, "size": writer.size}
            if stream is not None:
                row |= _damage(stream.report)
            row["seconds"] = round(time.monotonic() - begin, 3)
            writer.facts = {"settings": settings.to_dict(), "row": row}
    except VideoError as error:
        return {"video": task.video, "failed": error.message, "kind": error.kind}
    except FileNotFoundError:
        return {"video": task.video, "failed": "there is no such file", "kind": "not_found"}
    return cast("Row", json.loads(json.dumps({**row, "bytes": writer.num_bytes})))


def _damage(report: DecodeReport) -> Row:
    found: Row = {}
    if report.short:
        found["short"] = f"ends early: {report.frames_decoded} of {report.frames_expected} frames"
    if report.frames_corrupt:
        found["damaged"] = report.frames_corrupt
    return found


def _estimated(stream: Stream, estimator: Estimator, row: Row) -> Pieces:
    """Flow and times_T, piece by piece; the last frame of a piece is the first of the next. Counts frames."""
    left: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = None
    for frames in stream:
        frames_THWC, times_T = frames.frames_THWC, frames.times_T
        row["frames"] += len(frames_THWC)
        if left is not None:
            frames_THWC = np.concatenate([left[0], frames_THWC])
            times_T = np.concatenate([left[1], times_T])
        left = frames_THWC[-1:].copy(), times_T[-1:]
        yield estimator(frames_THWC), times_T[:-1]


def _carried(source: Path | bytes, settings: FlowSettings, row: Row) -> Pieces:
    """Motion vectors of a file and times_T, piece by piece, as pixels of the scaled picture."""
    row["frames"] = 1
    for flow, times_T in motion_vector_pieces(source, pairs_at_once=PAIRS_AT_ONCE):
        row["frames"] += len(flow)
        width, height = scaled_size(flow.size[1], flow.size[0], settings.short_side)
        yield flow.resized(height, width), times_T


# Many videos -------------------------------------------------------------------------------------------


def make_all(
    tasks: Sequence[FlowTask],
    store: FlowStore,
    settings: FlowSettings,
    *,
    device: str = "auto",
    workers: int = 1,
    threads: int = 1,
    asked_to_stop: Stop = lambda: False,
) -> Iterator[Row]:
    """Do all tasks and write the manifest's lines; yields them as videos are done.

    workers: processes, of `threads` each; one works in this process. After Ctrl-C (KeyboardInterrupt), and
    wherever the caller stops, whole videos are kept and nothing else is left. Raises RuntimeError where a
    process dies.
    """
    rows = (
        _make_here(tasks, store, settings, device, threads, asked_to_stop)
        if workers <= 1
        else _make_there(tasks, store, settings, device, workers, threads, asked_to_stop)
    )
    try:
        with (store.root / MANIFEST).open("a", encoding="utf-8") as manifest:
            for row in rows:
                add_row(manifest, row)
                yield row
    finally:
        rows.close()
        shutil.rmtree(store.root / PARTS, ignore_errors=True)


def add_row(manifest: Any, row: Row) -> None:
    """Write one line of a manifest that is open to be added to."""
    manifest.write(json.dumps(row) + "\n")
    manifest.flush()


def ready_estimator(settings: FlowSettings, device: str, threads: int) -> Estimator | None:
    """The method, ready, on so many threads; None for motion vectors. Raises ValueError, ImportError."""
    import torch

    torch.set_num_threads(threads)
    if settings.method == "mv":
        if settings.options:
            raise ValueError("motion vectors have no options")
        return None
    estimator = Estimator(settings.method, device=device, **settings.options)
    with contextlib.suppress(ImportError):  # methods that are not OpenCV's do without
        opencv().setNumThreads(threads)
    return estimator


def _make_here(
    tasks: Sequence[FlowTask],
    store: FlowStore,
    settings: FlowSettings,
    device: str,
    threads: int,
    asked_to_stop: Stop,
) -> Generator[Row]:
    estimator = ready_estimator(settings, device, threads)
    for task in tasks:
        if asked_to_stop():
            raise KeyboardInterrupt
        try:
            yield make_flow(
                task, store.root, settings, estimator, threads=threads, asked_to_stop=asked_to_stop
            )
        except StoppedError:
            raise KeyboardInterrupt from None


def _make_there(
    tasks: Sequence[FlowTask],
    store: FlowStore,
    settings: FlowSettings,
    device: str,
    workers: int,
    threads: int,
    asked_to_stop: Stop,
) -> Generator[Row]:
    context = get_context("spawn")  # a fork would take the threads of PyTorch and FFmpeg along, half alive
    stop = context.Event()
    begin = (settings, str(store.root), device, threads, stop)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=begin)
    futures: list[Future[Row]] = []
    try:
        futures = [pool.submit(_work, task) for task in tasks]
        for future in as_completed(futures):
            if asked_to_stop():
                raise KeyboardInterrupt
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"{store.root}: a process that estimated flow died, as one does for want of memory; whole videos "
            "are kept: the same command with --resume and fewer --workers goes on"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a process needs for one video after another."""

    settings: FlowSettings
    store: Path
    threads: int
    stop: Any
    estimator: Estimator | None


def _begin_worker(settings: FlowSettings, store: str, device: str, threads: int, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who says so by `stop`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Worker.settings, _Worker.store = settings, Path(store)
    _Worker.threads, _Worker.stop = threads, stop
    _Worker.estimator = ready_estimator(settings, device, threads)


def _end_with_parent() -> None:
    """A parent that was killed says nothing; without it nobody would ever end this process."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _work(task: FlowTask) -> Row:
    return make_flow(
        task,
        _Worker.store,
        _Worker.settings,
        _Worker.estimator,
        threads=_Worker.threads,
        asked_to_stop=_Worker.stop.is_set,
    )
