"""Downloads: every way in which a server, a network, a disk or a process can fail, against a local server."""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vadis import downloads
from vadis.downloads import DownloadError, check_hash, download, lock

CONTENT = np.random.default_rng(7).integers(0, 256, 1_000_003, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT with the manners named in the path; remembers each request's Range and method."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        path, body, etag = self.path, CONTENT, '"one"'
        if "missing" in path:
            self.send_error(404)
            return
        if "busy" in path and len(self.server.ranges) < 2:
            self.send_error(503)
            return
        if "redirect" in path:
            self.send_response(302)
            self.send_header("Location", path.partition("redirect=")[2])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if "wrong" in path:
            body = CONTENT[:-1] + b"?"
        if "changed" in path and len(self.server.ranges) == 1:
            body, etag = CONTENT[::-1], '"before"'
        start = 0
        fresh = self.headers.get("If-Range") in (None, etag)
        if asked and "norange" not in path and fresh:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        size = 10**15 if "endless" in path else len(body) - start
        if "undeclared" in path:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(size))
        self.send_header("ETag", etag)
        self.end_headers()
        piece = body[start:]
        if "drop" in path and len(self.server.ranges) == 1:
            self.wfile.write(piece[:400_000])
            self.close_connection = True
            return
        if "stall" in path:
            self.wfile.write(piece[:400_000])
            self.wfile.flush()
            time.sleep(5)
            return
        if "trickle" in path:
            for index in range(200):
                self.wfile.write(piece[index : index + 1])
                self.wfile.flush()
                time.sleep(0.05)
            return
        if "slow" in path:
            for index in range(0, len(piece), 20_000):
                self.wfile.write(piece[index : index + 20_000])
                self.wfile.flush()
                time.sleep(0.02)
            return
        self.wfile.write(piece)
        if "undeclared" in path:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_arrives_whole_and_reports_progress(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    target = tmp_path / "deep" / "file.bin"
    given = download(f"{server.url}/plain", target, sha256=SHA256, progress=lambda *step: steps.append(step))
    assert given == target
    assert target.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert leftovers(target.parent) == {"file.bin"}


def test_what_is_there_and_right_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert server.ranges == []
    target.write_bytes(b"something else")
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_length_that_is_not_declared_is_fine(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    download(f"{server.url}/undeclared", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_dropped_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    download(f"{server.url}/drop", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-"]


@pytest.mark.parametrize("manner", ["drop-norange", "drop-changed"])
def test_a_server_that_cannot_resume_starts_over(server: Server, tmp_path: Path, manner: str) -> None:
    target = tmp_path / "file.bin"
    download(f"{server.url}/{manner}", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-"]


def test_a_part_of_an_earlier_process_is_continued(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.with_name("file.bin.part").write_bytes(CONTENT[:123_456])
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=123456-"]


def test_a_part_that_is_already_whole_is_taken(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.with_name("file.bin.part").write_bytes(CONTENT)
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("part", [b"x" * 1000, CONTENT + b"more"])
def test_a_part_that_is_broken_is_thrown_away(server: Server, tmp_path: Path, part: bytes) -> None:
    target = tmp_path / "file.bin"
    target.with_name("file.bin.part").write_bytes(part)
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_wrong_file_is_removed_and_both_hashes_are_named(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    got = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()
    with pytest.raises(DownloadError) as caught:
        download(f"{server.url}/wrong", target, sha256=SHA256)
    assert SHA256 in str(caught.value)
    assert got in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_git_blob_hashes_are_git_s(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    assert downloads.git_blob_sha1_of(source) == hashlib.sha1(b"blob 1000003\0" + CONTENT).hexdigest()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert downloads.git_blob_sha1_of(empty) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # as git prints it
    blob = downloads.git_blob_sha1_of(source)
    download(f"{server.url}/plain", tmp_path / "file.bin", git_blob_sha1=blob)
    with pytest.raises(DownloadError, match=f"expected git blob sha1 {'0' * 40}, got {blob}"):
        download(f"{server.url}/plain", tmp_path / "other.bin", git_blob_sha1="0" * 40)


def test_nothing_is_fetched_without_a_hash(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pinned hash"):
        download(f"{server.url}/plain", tmp_path / "file.bin")
    with pytest.raises(ValueError, match="no hash"):
        check_hash(tmp_path / "file.bin")
    assert server.ranges == []


# --- files whose publisher states a part of their hash, or none


def record(target: Path) -> str:
    return target.with_name(target.name + ".sha256").read_text("utf-8")


def test_the_beginning_of_a_hash_is_checked_and_the_rest_recorded(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "net-12345678.pth"
    with pytest.raises(DownloadError, match="sha256 that begins with 12345678, got " + SHA256):
        download(f"{server.url}/plain", target, sha256_prefix="12345678")
    assert leftovers(tmp_path) == set()
    assert download(f"{server.url}/plain", target, sha256_prefix=SHA256[:8]) == target
    assert record(target) == f"{SHA256}  {target.name}\n"
    count = len(server.ranges)
    assert download(f"{server.url}/plain", target, sha256_prefix=SHA256[:8]) == target
    assert len(server.ranges) == count
    target.with_name(target.name + ".sha256").unlink()  # what is there still begins as it should
    download(f"{server.url}/plain", target, sha256_prefix=SHA256[:8])
    assert len(server.ranges) == count
    assert record(target).startswith(SHA256)


def test_a_hash_that_nobody_states_is_recorded_and_compared_ever_after(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "file.bin"
    download(f"{server.url}/plain", target, trust_first=True)
    assert target.read_bytes() == CONTENT
    assert record(target) == f"{SHA256}  file.bin\n"
    download(f"{server.url}/plain", target, trust_first=True)
    assert len(server.ranges) == 1
    target.write_bytes(b"damaged on this disk")
    download(f"{server.url}/plain", target, trust_first=True)
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 2
    target.unlink()
    with pytest.raises(DownloadError) as caught:
        download(f"{server.url}/wrong", target, trust_first=True)
    assert "is not the file that came first" in str(caught.value)
    assert SHA256 in str(caught.value)
    assert str(tmp_path / "file.bin.sha256") in str(caught.value)
    assert leftovers(tmp_path) == {"file.bin.sha256"}  # the record outlives what was refused
    download(f"{server.url}/plain", target, trust_first=True)
    target.unlink()
    target.with_name("file.bin.sha256").unlink()  # what the error advises to accept the new file
    download(f"{server.url}/wrong", target, trust_first=True)
    assert record(target).startswith(hashlib.sha256(CONTENT[:-1] + b"?").hexdigest())


def test_what_lies_there_without_a_record_is_not_believed(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"from who knows where")
    download(f"{server.url}/plain", target, trust_first=True)
    assert target.read_bytes() == CONTENT
    target.with_name("file.bin.sha256").write_text("not a hash", "utf-8")
    download(f"{server.url}/plain", target, trust_first=True)
    assert record(target).startswith(SHA256)


def test_an_unpinned_part_is_continued_only_where_its_version_is_known(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "file.bin"
    target.with_name("file.bin.part").write_bytes(b"x" * 1000)  # of some file, nobody knows of which
    download(f"{server.url}/plain", target, trust_first=True)
    assert (target.read_bytes(), server.ranges) == (CONTENT, [None])
    other = tmp_path / "other.bin"
    other.with_name("other.bin.part").write_bytes(CONTENT[:123_456])
    other.with_name("other.bin.part.etag").write_text('"one"', "utf-8")
    download(f"{server.url}/plain", other, trust_first=True)
    assert (other.read_bytes(), server.ranges[1:]) == (CONTENT, ["bytes=123456-"])
    third = tmp_path / "third.bin"
    third.with_name("third.bin.part").write_bytes(CONTENT[::-1][:123_456])
    third.with_name("third.bin.part.etag").write_text('"before"', "utf-8")  # the server has another by now
    download(f"{server.url}/plain", third, trust_first=True)
    assert third.read_bytes() == CONTENT


@pytest.mark.parametrize("manner", ["stall", "trickle"])
def test_a_stall_ends(server: Server, tmp_path: Path, manner: str) -> None:
    began = time.monotonic()
    with pytest.raises(DownloadError, match="could not be fetched"):
        download(f"{server.url}/{manner}", tmp_path / "f", sha256=SHA256, stall_seconds=0.4, attempts=2)
    assert time.monotonic() - began < 4
    assert leftovers(tmp_path) == {"f.part", "f.part.etag"}  # kept for the next try


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, tmp_path: Path) -> None:
    download(f"{server.url}/busy", tmp_path / "file.bin", sha256=SHA256)
    assert len(server.ranges) == 2
    with pytest.raises(DownloadError, match="404"):
        download(f"{server.url}/missing", tmp_path / "other.bin", sha256=SHA256)
    assert len(server.ranges) == 3


def test_no_other_scheme_is_opened(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for address in (
        secret.as_uri(),
        "ftp://127.0.0.1/x",
        str(secret),
        f"{server.url}/redirect={secret.as_uri()}",
    ):
        with pytest.raises(DownloadError):
            download(address, tmp_path / "file.bin", sha256=SHA256, attempts=1)
    assert not (tmp_path / "file.bin").exists()
    download(f"{server.url}/redirect=/plain", tmp_path / "file.bin", sha256=SHA256)  # the positive control
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_too_large_a_file_is_refused_before_its_first_byte(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than the limit"):
        download(f"{server.url}/plain", tmp_path / "file.bin", sha256=SHA256, max_bytes=1000)
    with pytest.raises(DownloadError, match="free"):
        download(f"{server.url}/endless", tmp_path / "file.bin", sha256=SHA256, max_bytes=10**16)
    with pytest.raises(DownloadError, match="sends more than"):
        download(f"{server.url}/undeclared", tmp_path / "file.bin", sha256=SHA256, max_bytes=1000)


def test_a_full_disk_says_so(server: Server, tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the write fails part of the way through."""
    code = f"""
        import resource, signal
        from pathlib import Path
        from vadis.downloads import download, DownloadError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            download("{server.url}/plain", Path({str(tmp_path / "file.bin")!r}), sha256={SHA256!r})
        except DownloadError as error:
            print(error)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    ).stdout
    assert "file.bin cannot be written" in said
    assert "VADIS_CACHE" in said
    download(f"{server.url}/plain", tmp_path / "file.bin", sha256=SHA256)  # with room again it goes on
    assert server.ranges[-1] == "bytes=500000-"


def test_the_cache_is_where_it_is_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "here"))
    assert downloads.cache_folder() == tmp_path / "here"
    assert list((tmp_path / "here").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match=r"cannot be written .* set VADIS_CACHE"):
        downloads.cache_folder()
    monkeypatch.delenv("VADIS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert downloads.cache_folder() == tmp_path / "xdg" / "vadis"


def test_a_lock_is_held_against_another_process_and_freed_by_its_death(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pathlib import Path
        from vadis.downloads import lock
        with lock(Path({str(tmp_path / "thing")!r})):
            print("held", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(DownloadError, match="another process"), lock(tmp_path / "thing", timeout_seconds=0.2):
        pass
    holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    holder.wait()
    holder.stdout.close()
    with lock(tmp_path / "thing", timeout_seconds=5):
        pass


def start_download(url: str, target: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from vadis.downloads import download; "
        "download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    return subprocess.Popen([sys.executable, "-c", code, url, str(target), SHA256])


def test_two_processes_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    both = [start_download(f"{server.url}/slow", target) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    part = target.with_name("file.bin.part")
    victim = start_download(f"{server.url}/slow", target)
    while victim.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not target.exists()
    kept = part.stat().st_size
    download(f"{server.url}/plain", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_says_so(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match="cannot be written"):
        download(f"{server.url}/plain", tmp_path / "deeper" / "file.bin", sha256=SHA256)
    tmp_path.chmod(0o700)
