"""The work behind `vadis flow`: what flow will cost, flow of many videos to disk, pictures of it.

A dataset is whatever `vadis.data.scan` reads; then the flow goes to DATA/flow, where the dataset's examples
find it. Anything else is files and folders of clips, and the folder to write to is to be named.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from rich.console import Console

from vadis.data.flow_making import (
    FlowSettings,
    FlowTask,
    Row,
    add_row,
    begin_store,
    make_all,
    plan_tasks,
    ready_estimator,
    sort_tasks,
)
from vadis.data.flow_stores import FOLDER, MANIFEST
from vadis.data.scan import open_splits, recognise
from vadis.flow_cost import ALL_LAYOUTS, FlowCost, describe_line, describe_table, measure_cost
from vadis.formats.table import spell_out
from vadis.progress import open_bar
from vadis.records import VideoError
from vadis.video.find import find_videos
from vadis.video.flow import METHODS
from vadis.video.flow_files import LAYOUTS
from vadis.video.flow_film import draw_film, draw_moment

ON_CPU = ("dis", "farneback", "tvl1_opencv", "mv")
NAMED = 20  # lines of a kind that are said before "and N more"


@dataclass(frozen=True)
class FlowJob:
    """One call of `vadis flow`; the fields are its options (seconds, pixels, pixels a frame)."""

    sources: tuple[str, ...]
    method: str = "tvl1"
    options: tuple[str, ...] = ()
    layout: str = "jpeg"
    out: Path | None = None
    short_side: int | None = 256
    bound: float = 20.0
    rounding: str = "denseflow"
    quality: int = 95
    dtype: str = "float16"
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    estimate: bool = False
    name: str | None = None
    split: str | None = None
    picture: Path | None = None
    time_seconds: float = 0.0
    video: Path | None = None
    style: str = "wheel"
    scale: float | None = None
    as_json: bool = False
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def run_flow(job: FlowJob) -> int:
    """Do the job; returns the exit code: 0 all done, 1 some could not be read (listed), 130 stopped.

    Raises ValueError (exit code 2) for options that contradict each other or name nothing.
    """
    methods = [name.strip() for name in job.method.split(",") if name.strip()]
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"{method!r} is no method of optical flow; there are {', '.join(METHODS)}")
    if job.picture is not None or job.video is not None:
        return _draw(job, methods)
    if len(methods) != 1:
        raise ValueError("one method is stored at a time; several are for --picture and --video")
    if job.layout not in LAYOUTS:
        raise ValueError(f"flow is stored as {', '.join(LAYOUTS)}, not as {job.layout!r}")
    settings = FlowSettings(
        methods[0],
        read_options(job.options),
        job.layout,
        job.short_side,
        job.bound,
        job.rounding,
        job.quality,
        job.dtype,
    )
    root, tasks, own = _find_tasks(job)
    out = _choose_out(job, root)
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    if job.estimate:
        return _estimate(job, settings, tasks)
    settings.check()
    estimator = ready_estimator(
        settings, job.device, 1
    )  # what is wrong with it is said before a store is made
    store = begin_store(out, settings, _versions(), job.resume)
    kept, found, todo = sort_tasks(store, tasks)
    with (store.root / MANIFEST).open("a", encoding="utf-8") as manifest:
        for row in found:
            add_row(manifest, row)
    if kept or found:
        console.print(f"{len(kept) + len(found)} of {len(tasks)} videos are done; going on with the rest")
    rows: list[Row] = []
    if todo:
        workers, threads = _share(job, settings, todo)
        try:
            cost = measure_cost(todo, settings, device=job.device, threads=threads, estimator=estimator)
            console.print(describe_line(cost, settings, workers), style="dim", soft_wrap=True)
        except VideoError as error:  # none can be read: each is named in the end
            console.print(spell_out(f"no estimate: {error.message}"), markup=False, soft_wrap=True)
        code = _make(job, console, store, settings, todo, workers, threads, rows)
        if code:
            return code
    return _summarise(job, console, out, root, kept + found, rows, own)


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Options of a method, NAME=VALUE each; a value is a number, a truth value, None or a word."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--set takes NAME=VALUE, got {word!r}")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


# What is to be done ------------------------------------------------------------------------------------


def _find_tasks(job: FlowJob) -> tuple[Path | None, list[FlowTask], int]:
    """The root of a dataset or of one folder (None: single files), the videos, how many have flow already."""
    if len(job.sources) == 1 and job.sources[0] != "-":
        place = Path(job.sources[0])
        wants = job.name is not None or job.split is not None
        if wants or (place.is_file() and not _is_video(place)) or (place.is_dir() and recognise(place)):
            return _of_dataset(job, place)
        if place.is_dir():
            videos = [os.path.relpath(video, place) for video in find_videos((str(place),))]
            if videos == ["."]:  # a folder of frames is one video
                return None, plan_tasks(str(place.parent), [place.name]), 0
            _need(videos, job)
            return place, plan_tasks(str(place), [PurePosixPath(Path(v)).as_posix() for v in videos]), 0
    if job.name is not None or job.split is not None:
        raise ValueError("--as and --split are for one dataset; name one folder or list")
    videos = list(find_videos(job.sources, sys.stdin if "-" in job.sources else ()))
    _need(videos, job)
    return None, plan_tasks("", videos), 0


def _need(videos: Sequence[str], job: FlowJob) -> None:
    if not videos:
        raise ValueError(f"no videos found in {', '.join(job.sources)}")


def _is_video(path: Path) -> bool:
    from vadis.video.find import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES


def _of_dataset(job: FlowJob, place: Path) -> tuple[Path, list[FlowTask], int]:
    datasets = open_splits(place, job.name, job.split)
    fps: dict[str, float | None] = {}
    own = set()
    for dataset in datasets:
        for example in dataset.examples:
            fps.setdefault(example.video, example.fps)
            if example.flow and not example.flow[0].endswith("/flow.json"):
                own.add(example.video)
    _need(list(fps), job)
    root = Path(datasets[0].root)
    return root, plan_tasks(str(root), list(fps), list(fps.values())), len(own)


def _choose_out(job: FlowJob, root: Path | None) -> Path:
    """Where flow goes. Raises ValueError where nobody can know, or where it would bury the videos."""
    if job.out is None:
        if root is not None:
            return root / FOLDER
        if job.estimate:
            return Path(FOLDER)
        raise ValueError("name the folder to write to: --out DIR")
    if root is not None:
        out, home = job.out.resolve(), root.resolve()
        if out == home or out in home.parents:
            raise ValueError(
                f"{job.out} holds the videos; flow takes a folder of its own, such as {root / FOLDER}"
            )
    return job.out


def _share(job: FlowJob, settings: FlowSettings, tasks: Sequence[FlowTask]) -> tuple[int, int]:
    """How many processes, and on how many threads each: no more processes than videos."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    on_gpu = settings.method not in ON_CPU and (
        job.device in ("cuda", "mps") or (job.device == "auto" and torch.cuda.is_available())
    )
    wanted = job.workers or (1 if on_gpu else cores)
    workers = min(wanted, len(tasks))
    threads = max(1, (cores if on_gpu else wanted) // workers)
    return workers, threads


def _versions() -> dict[str, str]:
    found = {}
    for name in ("vadis", "numpy", "torch", "torchvision", "av", "opencv-contrib-python-headless"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# Doing it ----------------------------------------------------------------------------------------------


def _estimate(job: FlowJob, settings: FlowSettings, tasks: list[FlowTask]) -> int:
    workers, threads = _share(job, settings, tasks)
    cost: FlowCost = measure_cost(tasks, settings, device=job.device, threads=threads, layouts=ALL_LAYOUTS)
    if job.as_json:
        print(json.dumps(cost.to_dict(settings.layout, workers)))
    else:
        print(describe_table(cost, settings, workers))
    return 0


def _make(
    job: FlowJob,
    console: Console,
    store: Any,
    settings: FlowSettings,
    todo: list[FlowTask],
    workers: int,
    threads: int,
    rows: list[Row],
) -> int:
    """Do all that is to be done, into `rows`; 130 where it was stopped."""
    try:
        with open_bar(console, "flow", len(todo)) as bar:
            fields = 0
            for row in make_all(
                todo,
                store,
                settings,
                device=job.device,
                workers=workers,
                threads=threads,
                asked_to_stop=job.asked_to_stop,
            ):
                rows.append(row)
                fields += row.get("fields", 0)
                bar.say(f"{fields:,} fields; {spell_out(Path(row['video']).name)[-40:]}")
                bar.advance()
    except KeyboardInterrupt:
        kept = f"{sum('folder' in row for row in rows)} of {len(todo)} videos are whole and kept"
        said = f"stopped: {kept}; the same command with --resume goes on"
        Console(stderr=True, highlight=False).print(said, soft_wrap=True)
        return 130
    return 0


def _summarise(
    job: FlowJob, console: Console, out: Path, root: Path | None, kept: list[Row], rows: list[Row], own: int
) -> int:
    done = [row for row in (*kept, *rows) if "folder" in row]
    failed = [row for row in rows if "failed" in row]
    num_bytes = sum(row.get("bytes", 0) for row in done)
    if job.as_json:
        print(json.dumps({"out": str(out), "done": done, "failed": failed}))
    else:
        fields = sum(row["fields"] for row in done)
        print(f"{out}: {len(done):,} videos, {fields:,} fields, {num_bytes / 1e6:,.1f} MB")
    for row in rows:
        damage = f"{row['damaged']} damaged frames" if "damaged" in row else ""
        if trouble := "; ".join(word for word in (row.get("short", ""), damage) if word):
            console.print(
                spell_out(f"warning: {row['video']}: {trouble}"), style="yellow", markup=False, soft_wrap=True
            )
    if own:
        said = f"{own} videos have flow in the dataset's own files, which is read before this"
        console.print(f"note: {said}", markup=False, soft_wrap=True)
    if root is not None and out.resolve().parent != root.resolve():
        said = f"datasets look for flow in {root / FOLDER}; this lies elsewhere (open_flow reads it)"
        console.print(f"note: {spell_out(said)}", markup=False, soft_wrap=True)
    if not failed:
        return 0
    errors = Console(stderr=True, highlight=False)
    errors.print(f"{len(failed)} of {len(done) + len(failed)} videos could not be read:", style="red")
    for row in failed[:NAMED]:
        line = f"  {row['video']}: {row['failed']} [{row['kind']}]"
        errors.print(spell_out(line), markup=False, soft_wrap=True)
    if len(failed) > NAMED:
        errors.print(f"  and {len(failed) - NAMED} more ({out / MANIFEST})", markup=False)
    return 1


def _draw(job: FlowJob, methods: list[str]) -> int:
    if len(job.sources) != 1:
        raise ValueError("pictures are of one video; name one file")
    if job.estimate or job.resume or job.out is not None:
        raise ValueError("--picture and --video go without --out, --resume and --estimate")
    options = read_options(job.options) if len(methods) == 1 else {}
    if job.options and not options:
        raise ValueError("--set is for one method")
    style = cast("Literal['wheel', 'arrows']", job.style)
    common: dict[str, Any] = {"short_side": job.short_side, "style": style, "largest": job.scale}
    common |= {"device": job.device, "options": options}
    if job.picture is not None:
        print(draw_moment(job.sources[0], job.picture, methods, time_seconds=job.time_seconds, **common))
    if job.video is not None:
        console = Console(stderr=True, quiet=job.quiet, highlight=False)
        with open_bar(console, "frames") as bar:

            def show(done: int, total: int) -> None:
                if job.asked_to_stop():
                    raise KeyboardInterrupt
                bar.update(done, total)

            print(draw_film(job.sources[0], job.video, methods, progress=show, **common))
    return 0
