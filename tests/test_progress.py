"""Bars on a terminal, and only there; what stood before does not count as pace."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import vadis
from vadis.progress import open_bar, open_bars


class Clock:
    """A clock in seconds that goes only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def terminal(**options: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=120, color_system=None, **options), written


def last_lines(written: io.StringIO) -> list[str]:
    """What the terminal shows at last, without the codes that move the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\x00", written.getvalue())
    return [line.strip() for line in re.split(r"[\x00\r\n]+", plain) if line.strip()]


def test_a_bar_says_what_how_much_and_how_long() -> None:
    console, written = terminal()
    clock = Clock()
    with open_bars(console, clock=clock) as bars:
        bar = bars.add("clips")
        for done in range(4):
            bar.update(done, 10, remark=f"clip {done}")
            clock.seconds += 2
        clock.seconds -= 2
    line = last_lines(written)[-1]
    assert re.match(r"clips .* 3/10 +clip 3 +0:00:14$", line), line  # 7 are left, 2 seconds each


def test_what_stood_before_is_no_pace() -> None:
    console, written = terminal()
    clock = Clock()
    with open_bars(console, clock=clock) as bars:
        bar = bars.add("clips", 1000)
        clock.seconds = 0.5
        bar.update(900)
        for _ in range(2):
            clock.seconds += 1
            bar.advance()
    assert last_lines(written)[-1].endswith("902/1000  0:01:38")


def test_slow_work_has_a_pace_too() -> None:
    console, written = terminal()
    clock = Clock()
    with open_bars(console, clock=clock) as bars:
        bar = bars.add("videos", 5)
        for _ in range(3):
            clock.seconds += 600  # seconds a video
            bar.advance()
    assert last_lines(written)[-1].endswith("3/5  0:20:00")


def test_a_bar_begins_again() -> None:
    console, written = terminal()
    with open_bars(console) as bars:
        first, second = bars.add("runs", 2), bars.add("")
        assert not second.begun
        second.update(7, 9)
        assert second.begun
        first.advance()
        second.restart("the next run")
        assert not second.begun
    runs, inner = last_lines(written)[-2:]
    assert "1/2" in runs
    assert "the next run" in inner
    assert "0/?" in inner


def test_words_are_shown_to_the_letter() -> None:
    console, written = terminal()
    with open_bar(console, "[/red] of [bold]") as bar:
        bar.say("[/b].mp4")
    assert "[/red] of [bold]" in last_lines(written)[-1]
    assert "[/b].mp4" in last_lines(written)[-1]


def test_bytes_are_counted_in_units() -> None:
    console, written = terminal()
    with open_bar(console, "weights", in_bytes=True) as bar:
        bar.update(1_500_000, 3_000_000)
    assert "1.5/3.0 MB" in last_lines(written)[-1]


def test_other_words_come_between() -> None:
    console, written = terminal()
    with open_bars(console) as bars:
        bar = bars.add("videos", 2)
        with bars.hidden():
            before = written.getvalue()
            bar.advance()
            print("a table", file=written)
            assert written.getvalue() == before + "a table\n"
    assert "1/2" in last_lines(written)[-1]


def test_nothing_stays(capsys: pytest.CaptureFixture[str]) -> None:
    console, written = terminal()
    with open_bar(console, "clips", 1) as bar:
        bar.advance()
        print("data")
    assert written.getvalue().endswith("\x1b[1A\x1b[2K")  # up one line, and that line away
    assert capsys.readouterr().out == "data\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_nothing_on_a_pipe_or_when_quiet(quiet: bool) -> None:
    written = io.StringIO()
    console = terminal(quiet=True)[0] if quiet else Console(file=written)
    with open_bars(console) as bars:
        bar = bars.add("clips", 2)
        bar.advance()
        bar.update(2, 2, remark="words")
        with bars.hidden():
            print("data", file=written)
        bar.restart("again")
    assert written.getvalue() == "data\n"


def test_all_bars_are_these() -> None:
    root = Path(vadis.__file__).parent
    others = [path.name for path in root.rglob("*.py") if "rich.progress" in path.read_text()]
    assert others == ["progress.py"]
