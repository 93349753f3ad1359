"""How far a long job is: bars on standard error, gone when it is done; nothing on a pipe or with --quiet.

A bar shows what is being done, how much of it is done, and the time left by the pace so far. What stood
before the job began to be watched, since it goes on where it was stopped, does not count as pace.

    with open_bar(console, "clips") as bar:
        make("shapes", folder, progress=bar.update)  # called with (done, total)

Standard output is left alone, since that is for data. `console` says where to draw, and whether: it is quiet,
or no terminal, or it draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

PACE_SECONDS = 3600.0  # what the pace is of: a video may take minutes, and two are needed to know one


class Bar:
    """One line: a title, a bar, done/total, a remark, the time left. Made by `Bars.add`.

    begun: whether anything was said of how far it is, since it was made or restarted.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self.begun = False

    def update(self, done: int, total: int | None = None, *, remark: str | None = None) -> None:
        """Show that `done` of `total` (None: as before) is done. What the first call says is no pace yet."""
        if not self.begun:
            self.begun = True
            self._progress.reset(self._task, completed=done)
        self._progress.update(self._task, completed=done, total=total)
        if remark is not None:
            self.say(remark)

    def advance(self) -> None:
        """One more is done."""
        self.begun = True
        self._progress.advance(self._task)

    def say(self, remark: str) -> None:
        """Show another remark, to the letter."""
        self._progress.update(self._task, remark=remark)

    def restart(self, title: str) -> None:
        """Begin again from nothing, with another title and an unknown total."""
        self.begun = False
        self._progress.tasks[self._task].total = None  # to rich None means "as it was"; no task is removed
        self._progress.reset(self._task, description=title)


class Bars:
    """Several lines, one below the other. Made by `open_bars`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def add(self, title: str, total: int | None = None) -> Bar:
        """Another line; `total` None: not known yet."""
        return Bar(self._progress, self._progress.add_task(title, total=total, remark=""))

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the lines away while something else is written to the same terminal."""
        if self._progress.disable:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def open_bars(
    console: Console, *, in_bytes: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[Bars]:
    """Lines on a console, gone at the end. in_bytes: the counts are bytes, and shown as kB, MB and so on."""
    counts: ProgressColumn = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        counts,
        TextColumn("{task.fields[remark]}", markup=False),
        TimeRemainingColumn(),
    )
    hides = console.quiet or not console.is_terminal
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=hides,
        get_time=clock,
        speed_estimate_period=PACE_SECONDS,
    ) as progress:
        yield Bars(progress)


@contextmanager
def open_bar(
    console: Console, title: str, total: int | None = None, *, in_bytes: bool = False
) -> Iterator[Bar]:
    """One line on a console; see `open_bars`."""
    with open_bars(console, in_bytes=in_bytes) as bars:
        yield bars.add(title, total)
