"""Is every video of a folder whole? Decode each one to its end, and write down what came out.

The manifest is a JSON Lines file, one video a line: whether it is ok, short, corrupt, a duplicate by
content or unreadable; its frames, its duration, hashes of its content. Lines are appended as videos are
done, so a run that was stopped goes on where it was, and a video that has not changed since is not decoded
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from vadis.data.clips import find_source
from vadis.data.likeness import hash_picture
from vadis.records import DataError, Limits, VideoError
from vadis.video.decode import stream_frames
from vadis.video.write import part_file

Status = Literal["ok", "short", "corrupt", "duplicate", "unreadable"]
STATUSES: tuple[Status, ...] = get_args(Status)


class StoppedError(Exception):
    """Checking was asked to stop; the manifest holds what was done."""


@dataclass(frozen=True)
class Checked:
    """One line of a manifest.

    `video` is its path below the root. ok: every frame came out undamaged; short: the file ends before its
    declared end; corrupt: frames are damaged; duplicate: the same pictures at the same times as
    `duplicate_of`, which is listed before it; unreadable: nothing came out, `message` says
    why. `content` is a hash of all pictures, `hashes` tell a picture of each second (hexadecimal, see
    `likeness`). `num_bytes` and `changed` (nanoseconds) are the file's, by which a later run knows it.
    """

    video: str
    status: Status
    num_bytes: int
    changed: int
    frames: int = 0
    frames_expected: int = 0
    frames_corrupt: int = 0
    duration_seconds: float | None = None
    fps: float | None = None
    width: int = 0
    height: int = 0
    codec: str = ""
    content: str = ""
    hashes: tuple[str, ...] = ()
    duplicate_of: str | None = None
    message: str = ""
    repaired: bool = False


def check_video(
    root: Path,
    video: str,
    *,
    limits: Limits = Limits(),  # noqa: B008
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Checked:
    """Decode one video to its end. Raises StoppedError between chunks where that is asked for."""
    num_bytes, changed = file_state(root / video)
    digest = hashlib.blake2b(digest_size=16)
    hashes: list[str] = []
    frames = 0
    next_second = 0.0
    try:
        source, _ = find_source(root, video)
        with stream_frames(source, chunk=16, limits=limits, threads=1) as stream:
            for chunk in stream:
                if asked_to_stop():
                    raise StoppedError
                digest.update(chunk.frames_THWC.data)
                for frame_HWC, time in zip(chunk.frames_THWC, chunk.times_T.tolist(), strict=True):
                    if time >= next_second:
                        picture = hash_picture(frame_HWC)
                        if picture is not None:
                            hashes.append(picture.hex())
                        next_second = float(int(time) + 1)
                digest.update((chunk.times_T * 1000).round().astype("<i8").tobytes())
                frames += len(chunk)
            info, report, duration = stream.info, stream.report, stream.duration_seconds
    except VideoError as error:
        return Checked(video, "unreadable", num_bytes, changed, frames=frames, message=str(error))
    status: Status = "corrupt" if report.frames_corrupt else "short" if report.short else "ok"
    return Checked(
        video,
        status,
        num_bytes,
        changed,
        frames=frames,
        frames_expected=report.frames_expected,
        frames_corrupt=report.frames_corrupt,
        duration_seconds=duration,
        fps=info.frame_rate,
        width=info.width,
        height=info.height,
        codec=info.codec,
        content=digest.hexdigest(),
        hashes=tuple(hashes),
        message="; ".join(report.notes),
        repaired=report.repaired,
    )


def file_state(path: Path) -> tuple[int, int]:
    """Bytes, and time of the last change in nanoseconds, of a file or a folder's images; 0, 0 if absent.

    For a video inside a tar file these are the tar file's.
    """
    head, inside, _ = str(path).partition(".tar/")
    path = Path(head + ".tar") if inside and not path.exists() else path
    try:
        if path.is_dir():
            states = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
            return sum(state.st_size for state in states), max((s.st_mtime_ns for s in states), default=0)
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def check_videos(
    root: Path,
    videos: Sequence[str],
    manifest: Path,
    *,
    workers: int = 2,
    limits: Limits = Limits(),  # noqa: B008
    on_done: Callable[[Checked], None] = lambda row: None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> list[Checked]:
    """Check videos below `root`, several at a time, and write the manifest; returns its lines in order.

    What an existing manifest says of an unchanged file is kept. `on_done` is called for each video, from this
    thread. After Ctrl-C (KeyboardInterrupt) or StoppedError the manifest holds what was done by then.
    """
    known = {row.video: row for row in read_manifest(manifest)} if manifest.exists() else {}
    rows: dict[str, Checked] = {}
    todo = []
    for video in dict.fromkeys(videos):
        old = known.get(video)
        if old is not None and (old.num_bytes, old.changed) == file_state(root / video):
            rows[video] = old if old.status != "duplicate" else replace(old, status="ok", duplicate_of=None)
            on_done(rows[video])
        else:
            todo.append(video)
    stop = threading.Event()

    def work(video: str) -> Checked:
        return check_video(root, video, limits=limits, asked_to_stop=lambda: stop.is_set() or asked_to_stop())

    manifest.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(manifest)
    with manifest.open("a", encoding="utf-8") as file, ThreadPoolExecutor(workers) as pool:
        try:
            for row in _as_done(pool, work, todo, 2 * workers):
                file.write(_line(row))
                file.flush()
                rows[row.video] = row
                on_done(row)
        except BaseException:
            stop.set()  # those at work end at their next chunk, and leave no line
            raise
    final = mark_duplicates(rows[video] for video in dict.fromkeys(videos))
    write_manifest(manifest, final)
    return final


def _as_done(
    pool: ThreadPoolExecutor, work: Callable[[str], Checked], todo: Iterable[str], ahead: int
) -> Iterator[Checked]:
    """Results as they come, never more than `ahead` videos handed out, so that stopping is quick."""
    waiting: set[Future[Checked]] = set()
    rest = iter(todo)
    try:
        while True:
            for video in rest:
                waiting.add(pool.submit(work, video))
                if len(waiting) >= ahead:
                    break
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()


def mark_duplicates(rows: Iterable[Checked]) -> list[Checked]:
    """The lines, those with the pictures and times of an earlier one marked; damaged ones stay so."""
    first: dict[str, str] = {}
    marked = []
    for row in rows:
        if row.status == "ok":
            original = first.setdefault(row.content, row.video)
            if original != row.video:
                row = replace(row, status="duplicate", duplicate_of=original)
        marked.append(row)
    return marked


def read_manifest(path: Path) -> list[Checked]:
    """The lines of a manifest; of several about one video the last, and none that was cut off at the end.

    Raises DataError, naming the line, where it is not a manifest.
    """
    rows: dict[str, Checked] = {}
    text = path.read_text("utf-8")
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break  # the run was stopped while it wrote this
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            row = Checked(**{**fields, "hashes": tuple(fields["hashes"])})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}:{number}: not a line of a manifest ({error})") from error
        if row.status not in STATUSES:
            raise DataError(f"{path}:{number}: the status {row.status!r} is none of {', '.join(STATUSES)}")
        rows[row.video] = row
    return list(rows.values())


def write_manifest(path: Path, rows: Iterable[Checked]) -> None:
    """Write a manifest in one step."""
    with part_file(path) as part:
        part.write_text("".join(_line(row) for row in rows), "utf-8", newline="\n")


def _line(row: Checked) -> str:
    return json.dumps(asdict(row)) + "\n"  # ASCII, so that any file name survives, undecodable ones too


def _end_last_line(path: Path) -> None:
    """Take away a line that was cut off, so that the next one begins at its own start."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
