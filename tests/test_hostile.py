"""Playlists, bombs, special files and odd names: a typed error or an honest report, and no request."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import damage
import hostile_files
import numpy as np
import pytest

from vadis.records import STRANGER_LIMITS, Limits, VideoError
from vadis.video.decode import decode, stream_frames
from vadis.video.probe import probe
from vadis.video.sandbox import stream_frames_in_child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes fifos and device links")

PERMISSIVE = {"protocol_whitelist": "file,http,tcp,crypto,data", "allowed_extensions": "ALL", "safe": "0"}
PERMISSIVE |= {"extension_picky": "0"}
NOT_VIDEOS = ("not_video", "corrupt")
EXPECTED: dict[str, tuple[str, ...]] = {
    # what each file may give; all others: "refused" (they name other media, or are no regular files)
    "quicktime.mov": NOT_VIDEOS,
    "shortcut.url": NOT_VIDEOS,
    "vector.svg": NOT_VIDEOS,
    "external reference.mov": ("corrupt", "empty", "refused"),
    "reference movie.mov": ("corrupt", "no_video_stream"),
    "centuries.mp4": ("too_large",),
    "two gigahertz.mp4": ("report: 36/36 ok",),
    "half a billion samples.mp4": ("too_large",),
    "promised table.mp4": ("corrupt",),
    "boxes in boxes.mp4": ("corrupt",),
    "large jpeg.avi": ("corrupt",),  # its header says 128x96, the pictures lie
    "large png.mov": ("too_large", "corrupt"),
    "large.h264": ("too_large",),
    "large.gif": ("too_large",),
    "forty thousand pictures.gif": ("timeout", "report: 40000/40000 ok"),
    "a million empty packets.avi": ("empty", "corrupt", "too_large", "timeout"),
    "a million tiny packets.avi": ("timeout", "too_large", "corrupt"),
    "null packets.ts": NOT_VIDEOS,
    "tags in tags.mkv": NOT_VIDEOS,
    "claims an exabyte.mkv": NOT_VIDEOS,
    **dict.fromkeys(hostile_files.oddities(), NOT_VIDEOS),
    "loop.mp4": ("not_found",),
    "dangling.mp4": ("not_found",),
    "folder.mp4": ("empty", "not_video"),
    "images of devices": ("corrupt", "empty", "refused"),
    "secret.mp4": ("not_found",) if os.geteuid() else ("report: 36/36 ok",),
    "name too long": ("not_found",),
}


class Listener(http.server.ThreadingHTTPServer):
    """A web server on the loopback interface that writes down every request."""

    def __init__(self) -> None:
        hits: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hits.append(self.path)
                self.send_error(404)

            def log_message(self, *arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.hits = hits
        self.port = self.server_address[1]


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> dict[str, Path]:
    return hostile_files.write_hostile(tmp_path_factory.mktemp("hostile"), listener.port)


def legal(name: str) -> tuple[str, ...]:
    return EXPECTED.get(name, ("refused",))


@pytest.mark.slow
def test_every_file_in_one_process(tmp_path: Path, listener: Listener) -> None:
    """All files, streamed and accessed at random, in one process with bounded time and memory."""
    before = len(listener.hits)
    program = Path(hostile_files.__file__)
    command = [sys.executable, str(program), str(tmp_path), str(listener.port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    opened = [row["opening"] for row in rows if "opening" in row]
    done = {row["name"]: row for row in rows if "name" in row}
    assert result.returncode == 0, f"ended at {opened[-1:]}: {result.stderr[-2000:]}"
    assert set(opened) == set(done)
    assert len(done) > 60
    wrong = {name: row["stream"] for name, row in done.items() if row["stream"] not in legal(name)}
    assert wrong == {}
    refused = {name for name in done if legal(name) == ("refused",)}
    assert {done[name]["access"] for name in refused} == {"refused"}
    slow = {name: row["seconds"] for name, row in done.items() if max(row["seconds"]) > 10}
    assert slow == {}
    assert max(row["peak_mib"] for row in done.values()) < 700
    assert len(listener.hits) == before


def test_packets_that_no_decoder_takes_come_to_an_end_without_limits(hostile: dict[str, Path]) -> None:
    free = Limits(None, None, None, None, None)
    with pytest.raises(VideoError, match="20000 packets in a row") as caught:
        list(stream_frames(hostile["a million tiny packets.avi"], limits=free))
    assert caught.value.kind == "corrupt"


IN_CHILD = ["hls http.mp4", "concat absolute.mp4", "external reference.mov", "large.h264", "large.gif"]
IN_CHILD += ["promised table.mp4", "a million tiny packets.avi", "fifo.mp4", "device.mp4", "loop.mp4"]
IN_CHILD += ["images of devices", "empty.mp4", "two gigahertz.mp4", "/dev/zero", "name too long"]


@pytest.mark.parametrize("name", IN_CHILD)
def test_in_a_child_process(hostile: dict[str, Path], listener: Listener, name: str) -> None:
    before = len(listener.hits)
    limits = replace(STRANGER_LIMITS, wall_seconds=1.0)
    assert hostile_files.outcome_of(hostile[name], stream_frames_in_child, limits) in legal(name)
    assert len(listener.hits) == before


def test_the_listener_would_have_seen_it(hostile: dict[str, Path], listener: Listener) -> None:
    """Positive control: FFmpeg without our limits does ask for what the playlists name."""
    keyed = hostile["hls key.mp4"].with_name("keyed.m3u8")  # FFmpeg itself wants the right extension
    keyed.write_bytes(hostile["hls key.mp4"].read_bytes())
    asked = [(hostile["hls http.m3u8"], "/segment.ts"), (keyed, "/key")]
    for playlist, path in [*asked, (hostile["concat http.mp4"], "/a.mp4")]:
        before = len(listener.hits)
        try:
            with av.open(str(playlist), options=PERMISSIVE) as container:
                next(container.decode(video=0), None)
        except (av.FFmpegError, OSError, IndexError):
            pass
        assert path in listener.hits[before:], playlist.name
    with pytest.raises((av.FFmpegError, OSError)):
        av.open(f"http://127.0.0.1:{listener.port}/direct.mp4")
    assert "/direct.mp4" in listener.hits


def test_the_scripts_would_have_read_the_other_file(hostile: dict[str, Path]) -> None:
    """Positive control: the local playlists and the external reference work in a permissive FFmpeg."""
    permissive: list[tuple[str, dict[str, str]]] = [
        ("hls relative.m3u8", PERMISSIVE),
        ("concat relative.mp4", {}),
        ("exactly 37 bytes.mp4", {}),
        ("external reference.mov", {"enable_drefs": "1", "use_absolute_path": "1"}),
    ]
    for name, options in permissive:
        with av.open(str(hostile[name]), options=options) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert picture.mean() > 60, name  # the texture of the other file; the reference's own is black
    assert hostile["exactly 37 bytes.mp4"].stat().st_size == 37


def test_the_bombs_would_have_gone_off(hostile: dict[str, Path]) -> None:
    """Positive control: 42 bytes of GIF take a gigabyte of memory where the size is not limited."""
    program = (
        "import av, sys\nsys.path.insert(0, sys.argv[2])\nfrom hostile_files import peak_mib\n"
        "before = peak_mib()\nwith av.open(sys.argv[1]) as container:\n"
        "    next(container.decode(video=0))\n"
        "print(peak_mib() - before)\n"
    )
    command = [sys.executable, "-c", program, str(hostile["large.gif"]), str(Path(__file__).parent)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(result.stdout) > 700
    assert hostile["large.gif"].stat().st_size < 100


NAMES = [
    "with spaces.mp4",
    "new\nline.mp4",
    "-i.mp4",
    "--untrusted",
    "жест 体操 é.mp4",
    "concat:a.ts|b.ts",
    "subfile,,start,0,end,0,,:x",
    "http:",
    "%03d.mp4",
    "*.mp4",
    "file:x",
    "pipe:0",
    "data:video",
    "crypto+file",
    "a'b\"c$(x)`y`.mp4",
    "tail\\",
    "~",
    "$HOME",
    "con.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_just_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A video under an odd name opens, by path and as a bare relative name; absent, it is not found."""
    monkeypatch.chdir(tmp_path)
    for absent in (name, tmp_path / name):
        with pytest.raises(VideoError) as caught:
            probe(absent)
        assert caught.value.kind == "not_found"
    frames = damage.pictures(3)
    damage.write_video(tmp_path / "real.mp4", "mpeg4", "yuv420p", {}, frames)
    (tmp_path / "real.mp4").rename(tmp_path / name)
    for path in (name, tmp_path / name):
        assert len(decode(path)) == 3
        assert probe(path).frames_declared == 3


def test_prefixes_and_addresses_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile_files.write_victims(tmp_path)
    (tmp_path / "001.ts").write_bytes((tmp_path / "real.ts").read_bytes())
    before = len(listener.hits)
    for name in (
        f"http://127.0.0.1:{listener.port}/a.mp4",
        f"https://127.0.0.1:{listener.port}/a.mp4",
        f"tcp://127.0.0.1:{listener.port}",
        "concat:real.ts|real.ts",
        f"concat:{tmp_path}/real.ts",
        "subfile,,start,0,end,99999,,:real.ts",
        "file:real.ts",
        "async:real.ts",
        "cache:real.ts",
        "%03d.ts",
        "*.ts",
        "pipe:0",
        "/dev/fd/0",
        "lavfi:testsrc",
        "real.ts\0.mp4",
    ):
        with pytest.raises(VideoError) as caught:
            list(stream_frames(name))
        assert caught.value.kind in ("not_found", "refused"), name
    assert len(listener.hits) == before


def test_the_wrong_extension_is_no_excuse(tmp_path: Path) -> None:
    """A true video under a playlist's name is read, since its content decides."""
    hostile_files.write_victims(tmp_path)
    for name in ("real.m3u8", "real.sdp", "real.txt", "real"):
        (tmp_path / name).write_bytes((tmp_path / "real.mp4").read_bytes())
        assert len(decode(tmp_path / name)) == damage.NUM_FRAMES


def test_scripts_in_memory_and_pipes_are_refused(tmp_path: Path, listener: Listener) -> None:
    before = len(listener.hits)
    for name, text in hostile_files.playlists(tmp_path, listener.port).items():
        with pytest.raises(VideoError) as caught:
            list(stream_frames(text.encode()))
        assert caught.value.kind in legal(name)
        ours, theirs = os.pipe()
        os.write(theirs, text.encode())
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe, pytest.raises(VideoError) as caught:
            list(stream_frames(pipe))
        assert caught.value.kind in legal(name)
    assert len(listener.hits) == before


def test_external_reference_shows_nothing_of_the_other_file(hostile: dict[str, Path]) -> None:
    try:
        frames = decode(hostile["external reference.mov"]).frames_THWC
    except VideoError:
        return
    assert float(np.mean(frames)) < 30  # its own pictures are black


def test_limits_bite(tmp_path: Path) -> None:
    hostile_files.write_victims(tmp_path)
    stream = tmp_path / "real.ts"  # declares neither frames nor, truly, a duration
    for path, limits, word in (
        (stream, Limits(max_bytes=1000), "max_bytes"),
        (stream, Limits(max_frames=35), "max_frames"),
        (stream, Limits(max_seconds=1.0), "max_seconds"),
        (tmp_path / "real.mp4", Limits(max_pixels=128 * 96 - 1), "max_pixels"),
    ):
        with pytest.raises(VideoError) as caught:
            list(stream_frames(path, limits=limits))
        assert caught.value.kind == "too_large"
        assert word in caught.value.message
    with pytest.raises(VideoError) as caught:
        list(stream_frames(stream, limits=Limits(wall_seconds=0.0)))
    assert caught.value.kind == "timeout"
    exact = Limits(max_frames=36, max_pixels=128 * 96, max_seconds=1.5)
    assert sum(len(chunk) for chunk in stream_frames(stream, limits=exact)) == 36
