"""Fetch published files into a cache: resumable, verified by hash, safe between processes.

Nothing unverified stays: a file whose hash differs from the pinned one, or where the publisher pins none
from the one that was recorded when it first came, is removed and the error says what was expected and
what came. A download that was interrupted, even by `kill -9`, leaves a `.part` file that the next call
continues. Files inside packages come by `vadis.packages`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import filelock
import platformdirs

from vadis.records import VadisError

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in total or None where the server does not say)."""

CHUNK_BYTES, MAX_BYTES = 2**18, 2**32
FREE_BYTES = 2**20  # a broken connection that brought so much does not count as a failed try


class DownloadError(VadisError):
    """A file could not be fetched or kept; the message names it and says what to do."""


def cache_folder() -> Path:
    """Return the folder where vadis keeps what it fetched, made if it is missing.

    It is `$VADIS_CACHE` where that is set, else the platform's own cache folder for `vadis`.
    Raises DownloadError where the folder cannot be made or written.
    """
    chosen = os.environ.get("VADIS_CACHE")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("vadis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DownloadError(
            f"the cache folder {folder} cannot be written ({error.strerror or error}); "
            "set VADIS_CACHE to a folder that can"
        ) from error
    return folder


@contextlib.contextmanager
def lock(path: Path, *, timeout_seconds: float = 3600.0) -> Iterator[None]:
    """Hold `path` against every other process and thread; the lock file is `<path>.lock` beside it.

    The operating system frees the lock when its holder dies, however it dies.
    Raises DownloadError when another process holds it for longer than `timeout_seconds`.
    """
    lock_path = path.with_name(path.name + ".lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(lock_path, timeout=timeout_seconds):
            yield
    except filelock.Timeout as error:
        raise DownloadError(
            f"another process has been holding {lock_path} for {timeout_seconds:g} s; "
            "wait for it, or end it if it hangs"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_sha1_of(path: Path) -> str:
    """Return git's name of a file's content, hexadecimal: SHA-1 of `blob <size>\\0` and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def check_hash(
    path: Path,
    *,
    sha256: str | None = None,
    git_blob_sha1: str | None = None,
    sha256_prefix: str | None = None,
) -> str | None:
    """Compare a file with each hash that is given (at least one; `sha256_prefix` is how a hash begins).

    Returns None where all agree, else a sentence with the expected hash and the one found.
    """
    if sha256 is None and git_blob_sha1 is None and sha256_prefix is None:
        raise ValueError(f"no hash was given to check {path.name} with")
    for kind, expected, measure in (
        ("sha256", sha256, sha256_of),
        ("git blob sha1", git_blob_sha1, git_blob_sha1_of),
    ):
        if expected is not None and (found := measure(path)) != expected:
            return f"expected {kind} {expected}, got {found}"
    if sha256_prefix is not None and not (found := sha256_of(path)).startswith(sha256_prefix):
        return f"expected a sha256 that begins with {sha256_prefix}, got {found}"
    return None


def record_of(path: Path) -> Path:
    """Where the SHA-256 of a file is recorded whose publisher states none: `<path>.sha256`."""
    return path.with_name(path.name + ".sha256")


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 that was recorded when `path` first came; None where there is no record."""
    try:
        found = re.match(r"[0-9a-f]{64}\b", record_of(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found[0] if found else None


def record_sha256(path: Path, sha256: str) -> None:
    """Record the SHA-256 of a file, so that whatever comes in its place later is compared with it."""
    record = record_of(path)
    fresh = record.with_name(record.name + ".part")
    fresh.write_text(f"{sha256}  {path.name}\n", "utf-8")
    fresh.replace(record)


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    git_blob_sha1: str | None = None,
    sha256_prefix: str | None = None,
    trust_first: bool = False,
    progress: Progress | None = None,
    stall_seconds: float = 30.0,
    attempts: int = 5,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Fetch an http(s) address into `target`, verified by at least one hash; returns `target`.

    A `target` that is there and right is kept as it is. Otherwise bytes go to `<target>.part`, which a
    later call continues (Range with If-Range), and the finished file is renamed into place at once. A
    connection that drops, or brings under 1 KiB in `stall_seconds`, is taken up again; `attempts` in a row
    that bring next to nothing end it.
    Where the publisher states only how the SHA-256 begins (`sha256_prefix`), or nothing (`trust_first`
    allows that), the whole SHA-256 is recorded in `<target>.sha256` when the file first comes, and every
    later call compares with the record.
    Raises DownloadError (naming the address and what to do) and ValueError for a call without a hash.
    """
    pinned = sha256 is not None or git_blob_sha1 is not None
    if not (pinned or sha256_prefix or trust_first):
        raise ValueError(f"{url} has no pinned hash; nothing is fetched without one")
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not an http or https address")
    part = target.with_name(target.name + ".part")
    with clear_disk_errors(target), lock(target):
        recorded = None if pinned else recorded_sha256(target)

        def fault(file: Path) -> str | None:
            """What is wrong with a file that came; a first one of which nothing is known is right."""
            hashes = {"sha256": sha256 or recorded, "git_blob_sha1": git_blob_sha1}
            if not any(hashes.values()) and sha256_prefix is None:
                return None
            return check_hash(file, **hashes, sha256_prefix=sha256_prefix)

        if target.exists():
            if (pinned or recorded or sha256_prefix) and fault(target) is None:
                if not pinned and recorded is None:
                    record_sha256(target, sha256_of(target))
                return target
            target.unlink()
        if not (pinned or recorded) and not part.with_name(part.name + ".etag").exists():
            _forget(part)  # nothing would tell if its two halves were of two files
        resumed = part.exists() and part.stat().st_size > 0
        _fetch(url, part, progress, stall_seconds, attempts, max_bytes)
        wrong = fault(part)
        if wrong and resumed:  # the earlier part may be what was broken: once more from the beginning
            _forget(part)
            _fetch(url, part, progress, stall_seconds, attempts, max_bytes)
            wrong = fault(part)
        if wrong:
            size = part.stat().st_size
            _forget(part)
            if recorded is not None:
                raise DownloadError(
                    f"{url} is not the file that came first: {wrong} ({size} bytes); it was removed. Its "
                    "publisher or somebody on the way has changed it; where you know that the new file is "
                    f"right, remove {record_of(target)} and pull again"
                )
            raise DownloadError(
                f"{url} is not the file that was pinned: {wrong} ({size} bytes); it was removed. "
                "Try again; if it repeats, a proxy or the server changes the file"
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if not pinned and recorded is None:
            record_sha256(target, sha256_of(part))
        part.replace(target)
        _forget(part)
    return target


class _StallError(Exception):
    """The connection is open but brings (almost) nothing."""


def _fetch(
    url: str, part: Path, progress: Progress | None, stall_seconds: float, attempts: int, max_bytes: int
) -> None:
    """Complete `part`, taking the connection up again where it breaks; tries that add bytes are free."""
    problem, failures, most = "", 0, 0
    while failures < attempts:
        if problem:
            time.sleep(min(0.25 * 2**failures, 8.0))
        try:
            if _continue(url, part, progress, stall_seconds, max_bytes):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            problem = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", "") or error) or type(error).__name__
        except _StallError:
            problem = f"less than 1 KiB came in {stall_seconds:g} s"
        size = part.stat().st_size if part.exists() else 0
        failures = 0 if size >= most + FREE_BYTES else failures + 1
        most = max(most, size)
    kept = part.stat().st_size if part.exists() else 0
    again = f"; {kept} bytes are kept and the next try goes on from there" if kept else ""
    raise DownloadError(f"{url} could not be fetched: {problem}{again}. Check the network or proxy")


def _continue(url: str, part: Path, progress: Progress | None, stall_seconds: float, max_bytes: int) -> bool:
    """Ask once for what `part` lacks and append it; True where the file is then complete."""
    validator_path = part.with_name(part.name + ".etag")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "vadis", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener has no other scheme
    if have:
        request.add_header("Range", f"bytes={have}-")
        validator = validator_path.read_text("utf-8").strip() if validator_path.exists() else ""
        if validator:
            request.add_header("If-Range", validator)
    try:
        response = _opener().open(request, timeout=stall_seconds)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what we have: complete, or not the same file
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return True
            _forget(part)
            return False
        raise
    with response:
        declared = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        if response.status == 206 and (declared is None or int(declared[1]) != have):
            _forget(part)
            return False
        if response.status == 206 and declared is not None:
            total: int | None = int(declared[2])
        else:
            have = 0
            total = int(length) if length.isdecimal() else None
        _check_room(url, part, have, total, max_bytes)
        validator = response.headers.get("ETag") or ""
        if validator and not validator.startswith("W/"):
            validator_path.write_text(validator, "utf-8")
        else:
            validator_path.unlink(missing_ok=True)
        with part.open("ab" if have else "wb") as file:
            have = _copy(response, file, have, total, progress, stall_seconds, max_bytes)
    if total is not None and have > total:
        _forget(part)
        return False
    return total is None or have == total


def _copy(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    done: int,
    total: int | None,
    progress: Progress | None,
    stall_seconds: float,
    max_bytes: int,
) -> int:
    """Append the answer's body to `file`; returns how many bytes the file then has."""
    mark_time, mark_bytes = time.monotonic(), done
    while block := response.read1(CHUNK_BYTES):
        file.write(block)
        done += len(block)
        if done > max_bytes:
            raise DownloadError(f"the server sends more than {max_bytes} bytes; given up")
        if progress:
            progress(done, total)
        now = time.monotonic()
        if now - mark_time > stall_seconds:
            if done - mark_bytes < 1024:
                raise _StallError
            mark_time, mark_bytes = now, done
    return done


def _check_room(url: str, part: Path, have: int, total: int | None, max_bytes: int) -> None:
    """Refuse before the first byte what is too large for us or for the disk."""
    if total is None:
        return
    if total > max_bytes:
        raise DownloadError(f"{url} announces {total} bytes, more than the limit of {max_bytes}")
    free = shutil.disk_usage(part.parent).free
    if total - have > free:
        raise DownloadError(
            f"{url} needs {total - have} bytes but {part.parent} has {free} free; "
            "make room or set VADIS_CACHE to another disk"
        )


def _opener() -> urllib.request.OpenerDirector:
    """An opener that speaks http and https only (no file:, ftp: or data:, also not by redirect)."""
    parts = urllib.request
    opener = parts.OpenerDirector()
    for handler in (parts.ProxyHandler, parts.HTTPHandler, parts.HTTPSHandler, parts.HTTPRedirectHandler):
        opener.add_handler(handler())
    for answer in (parts.HTTPDefaultErrorHandler, parts.HTTPErrorProcessor, parts.UnknownHandler):
        opener.add_handler(answer())
    return opener


def _forget(part: Path) -> None:
    """Remove a partial file and what is remembered of it."""
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


@contextlib.contextmanager
def clear_disk_errors(target: Path) -> Iterator[None]:
    """Turn a disk that is full or not writable into a DownloadError that says so."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the disk is full; make room"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = "the folder cannot be written"
        else:
            what = error.strerror or str(error)
        raise DownloadError(
            f"{target} cannot be written: {what}, or set VADIS_CACHE to another folder"
        ) from error
