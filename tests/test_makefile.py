"""The Makefile, with an interpreter that only notes what it is asked to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INTERPRETER = """#!/bin/sh
for word; do printf '<%s>' "$word" >> "{log}"; done
echo >> "{log}"
case "$1 $2" in
    "-c "*) [ -e old ] && exec {python} -c "import sys; sys.version_info = (3, 10); $2"; exec {python} "$@";;
    "-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
    "-m pip") [ "$3" = --version ] || [ ! -e offline ];;
esac
"""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


class House:
    """A folder with the Makefile and a noting interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        interpreter = folder / "interpreter"
        interpreter.write_text(INTERPRETER.format(log=self.log, python=sys.executable))
        interpreter.chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run make; the log then holds what the interpreter was asked in this run."""
        self.log.write_text("")
        command = ["make", f"PYTHON={self.folder / 'interpreter'}", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def installed(self) -> bool:
        """Whether the last run called `pip install`, with the constraints."""
        return "<-m><pip><install><--constraint><constraints.txt><--editable>" in self.log.read_text()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIDEO", "PYTHON"):
        monkeypatch.delenv(name, raising=False)  # the tests may themselves run under make
    return House(tmp_path)


def test_setup_is_quick_when_nothing_changed(house: House) -> None:
    assert house.make("setup").returncode == 0
    assert house.installed()
    assert house.make("setup").returncode == 0
    assert house.log.read_text() == ""
    later = (house.folder / ".venv" / "ready").stat().st_mtime + 10
    os.utime(house.folder / "constraints.txt", (later, later))
    assert house.make("setup").returncode == 0
    assert house.installed()


def test_an_interrupted_setup_is_taken_up_again(house: House) -> None:
    (house.folder / "offline").touch()
    assert house.make("test").returncode != 0
    assert not (house.folder / ".venv" / "ready").exists()
    (house.folder / "offline").unlink()
    assert house.make("test").returncode == 0
    assert house.installed()
    assert "<-m><venv>" not in house.log.read_text()  # what was there is used
    assert "<-m><pytest>" in house.log.read_text()


def test_a_broken_environment_is_made_anew(house: House) -> None:
    assert house.make("setup").returncode == 0
    (house.folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (house.folder / ".venv" / "ready").unlink()
    assert house.make("setup").returncode == 0
    assert "<-m><venv><--clear>" in house.log.read_text()
    assert house.installed()


def test_an_old_python_is_named(house: House) -> None:
    (house.folder / "old").touch()
    ran = house.make("demo")
    assert ran.returncode != 0
    assert "needs Python 3.11 or newer" in ran.stderr
    assert "make PYTHON=python3.12 demo" in ran.stderr
    assert not (house.folder / ".venv").exists()


@pytest.mark.parametrize("video", ["a b.mp4", "-n.mp4", "a'; touch evil; '.mp4", "*.mp4"])
def test_the_demo_gets_the_name_as_it_is(house: House, video: str) -> None:
    assert house.make("demo", f"VIDEO={video}").returncode == 0
    assert f"<-m><vadis><demo><--><{video}>" in house.log.read_text()
    assert not (house.folder / "evil").exists()


def test_the_demo_without_a_video(house: House) -> None:
    assert house.make("demo").returncode == 0
    assert house.log.read_text().endswith("<-m><vadis><demo>\n")
