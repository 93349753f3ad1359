"""Decoding in a child process: the same frames, typed errors, and nothing that outlives its use."""

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import damage
import hostile_files
import numpy as np
import pytest
from PIL import Image

from vadis.records import STRANGER_LIMITS, DecodeReport, Limits, VideoError, VideoInfo
from vadis.video import confine, sandbox, wire
from vadis.video.decode import prefetch, stream_frames
from vadis.video.probe import probe
from vadis.video.sandbox import probe_in_child, stream_frames_in_child

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's walls are Linux's")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals as on Linux and macOS")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 frames of H.264 with B-frames in mp4."""
    path = tmp_path_factory.mktemp("sandbox") / "a clip.mp4"
    _, codec, pixel_format, options = damage.RECIPES["mp4_h264"]
    damage.write_video(path, codec, pixel_format, options, damage.pictures())
    return path


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def dies_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    "options", [{}, {"fps": 10, "short_side": 48, "chunk": 7}, {"fps": Fraction(30000, 1001)}]
)
def test_same_frames_as_in_this_process(video: Path, options: dict) -> None:
    with stream_frames(video, limits=STRANGER_LIMITS, **options) as ours:
        expected = list(ours)
    with stream_frames_in_child(video, **options) as child:
        assert child.info == ours.info
        found = list(child)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("frames_THWC", "times_T", "indices_T", "corrupt_T"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
        assert one.report == other.report
    assert child.report == ours.report
    assert child.start_seconds == ours.start_seconds
    assert child.duration_seconds == ours.duration_seconds
    assert dies_within(child.pid, 5)


def test_a_thread_may_read_ahead(video: Path) -> None:
    with prefetch(stream_frames_in_child(video, chunk=4)) as ahead:
        assert sum(len(chunk) for chunk in ahead) == damage.NUM_FRAMES
        assert ahead.report.frames_decoded == damage.NUM_FRAMES
    child = stream_frames_in_child(video, chunk=1)
    with prefetch(child, depth=2) as ahead:
        next(ahead)
    assert dies_within(child.pid, 5)


def test_folder_of_images(tmp_path: Path) -> None:
    for index, picture in enumerate(damage.pictures(3)):
        Image.fromarray(picture).save(tmp_path / f"{index:03d}.png")
    (tmp_path / "003.png").symlink_to(tmp_path.parent / "elsewhere.png")
    Image.fromarray(damage.pictures(1)[0]).save(tmp_path.parent / "elsewhere.png")
    with stream_frames_in_child(tmp_path) as stream:
        walls = stream.walls
        found = list(stream)
    assert np.array_equal(np.concatenate([chunk.frames_THWC for chunk in found])[:3], damage.pictures(3))
    if "files" in walls:  # a link that leads out of the folder does not show the other file
        assert stream.report.frames_decoded == 3


def test_probe_is_the_same(video: Path) -> None:
    assert probe_in_child(video) == probe(video)
    assert probe_in_child(str(video), count_frames=True).frames_counted == damage.NUM_FRAMES


def test_typed_errors_cross_the_pipe(tmp_path: Path, video: Path) -> None:
    script = tmp_path / "script.mp4"
    script.write_text("ffconcat version 1.0\nfile other.mp4\n")
    text = tmp_path / "text.mp4"
    text.write_text("this is no video at all, 37 bytes of it")
    cases = [(tmp_path / "none.mp4", Limits()), (script, Limits()), (text, Limits())]
    cases += [(video, Limits(max_bytes=100)), (video, Limits(max_pixels=1000))]
    for path, limits in cases:
        with pytest.raises(VideoError) as ours:
            list(stream_frames(path, limits=limits))
        with pytest.raises(VideoError) as theirs, stream_frames_in_child(path, limits=limits) as stream:
            list(stream)
        assert theirs.value.args == ours.value.args
        with pytest.raises(VideoError) as probed:
            probe_in_child(path, limits=limits)
        assert probed.value.kind == ours.value.kind


def test_error_in_the_middle(tmp_path: Path) -> None:
    video = tmp_path / "a.ts"  # declares no number of frames
    damage.write_video(video, "mpeg2video", "yuv420p", {"g": "12"}, damage.pictures())
    with stream_frames_in_child(video, limits=Limits(max_frames=20), chunk=4) as stream:
        with pytest.raises(VideoError) as caught:
            list(stream)
        assert caught.value.kind == "too_large"
        assert list(stream) == []
    assert dies_within(stream.pid, 5)


def test_close_kills(video: Path) -> None:
    stream = stream_frames_in_child(video, chunk=1)
    next(stream)
    assert is_alive(stream.pid)
    stream.close()
    assert not is_alive(stream.pid)
    stream.close()
    assert list(stream) == []


def test_forgotten_stream_is_killed(video: Path) -> None:
    pid = stream_frames_in_child(video, chunk=1).pid
    assert dies_within(pid, 5)


@POSIX
def test_child_dies_with_its_parent(video: Path) -> None:
    program = (
        "import sys, time\nfrom vadis.video.sandbox import stream_frames_in_child\n"
        "stream = stream_frames_in_child(sys.argv[1], chunk=1)\nnext(stream)\n"
        "print(stream.pid, flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(video)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        assert dies_within(pid, 5)


@POSIX
def test_a_busy_child_dies_with_its_parent_too(tmp_path: Path) -> None:
    """One that has nothing to write for seconds, so that no broken pipe tells it."""
    path = tmp_path / "long.gif"
    header = b"GIF89a" + (2048).to_bytes(2, "little") * 2 + b"\xf0\0\0" + bytes(3) + b"\xff" * 3
    path.write_bytes(header + hostile_files.gif_picture() * 40_000 + b";")
    program = (
        "import sys\nfrom vadis.video.sandbox import stream_frames_in_child\n"
        "stream = stream_frames_in_child(sys.argv[1], chunk=40000, short_side=8)\n"
        "print(stream.pid, flush=True)\nnext(stream)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        assert is_alive(pid)
        parent.kill()
        assert dies_within(pid, 1.0)


@POSIX
def test_hanging_child_is_killed_on_time(video: Path) -> None:
    limits = Limits(wall_seconds=0.5)
    with stream_frames_in_child(video, limits=limits, chunk=1) as stream:
        os.kill(stream.pid, signal.SIGSTOP)
        since = time.monotonic()
        with pytest.raises(VideoError) as caught:
            list(stream)
        assert caught.value.kind == "timeout"
        assert "0.5 seconds" in caught.value.message
        assert 0.4 < time.monotonic() - since < 5
        assert not is_alive(stream.pid)


@POSIX
@pytest.mark.parametrize(
    ("number", "kind", "word"),
    [
        (signal.SIGSEGV, "corrupt", "SIGSEGV"),
        (signal.SIGABRT, "corrupt", "SIGABRT"),
        (signal.SIGKILL, "too_large", "memory"),
        (getattr(signal, "SIGXCPU", signal.SIGABRT), "timeout", "processor time"),
    ],
)
def test_crash_is_a_typed_error(video: Path, number: signal.Signals, kind: str, word: str) -> None:
    with stream_frames_in_child(video, chunk=1) as stream:
        next(stream)
        os.kill(stream.pid, number)
        with pytest.raises(VideoError) as caught:
            for _ in stream:
                pass
    assert caught.value.kind == kind
    assert word in caught.value.message
    assert caught.value.video == str(video)


def test_a_slow_consumer_costs_the_child_nothing(video: Path) -> None:
    with stream_frames_in_child(video, limits=Limits(wall_seconds=1.0), chunk=12) as stream:
        for _ in stream:
            time.sleep(0.6)
    assert stream.report.frames_decoded == damage.NUM_FRAMES


@LINUX
def test_memory_is_capped(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    frames = np.zeros((2, 2160, 3840, 3), np.uint8)
    damage.write_video(path, "mpeg4", "yuv420p", {}, frames)
    limits = Limits(max_pixels=3840 * 2160)
    with stream_frames_in_child(path, limits=limits, memory_bytes=2**31) as stream:
        assert "memory" in stream.walls
        assert sum(len(chunk) for chunk in stream) == 2
    with (
        pytest.raises(VideoError) as caught,
        stream_frames_in_child(path, limits=limits, memory_bytes=500 * 2**20) as stream,
    ):
        list(stream)
    assert caught.value.kind == "too_large"
    assert "memory" in caught.value.message


@LINUX
def test_walls_stand(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.write_text("video")
    secret.write_text("key")
    program = f"""
import ctypes, json, os, signal, socket, subprocess, sys, threading
from vadis.video.confine import confine
walls = confine([{str(allowed)!r}], memory_bytes=2**32, cpu_seconds=30)
found = {{"walls": walls}}
def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = "refused"
def fork():
    if os.fork() == 0:
        os._exit(0)
attempt("read", lambda: open({str(allowed)!r}).close())
attempt("thread", lambda: threading.Thread(target=int).start())
attempt("abort", lambda: os.kill(os.getpid(), 0))
attempt("secret", lambda: open({str(secret)!r}).close())
attempt("write", lambda: open({str(allowed)!r}, "w").close())
attempt("create", lambda: open({str(tmp_path / "new")!r}, "x").close())
attempt("unlink", lambda: os.unlink({str(allowed)!r}))
attempt("list", lambda: os.listdir({str(tmp_path)!r}))
attempt("socket", lambda: socket.socket())
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("pair", lambda: socket.socketpair())
attempt("fork", fork)
attempt("program", lambda: subprocess.run(["true"]))
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("pidfd", lambda: os.pidfd_open(os.getppid()))
print(json.dumps(found))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(result.stdout)
    walls = found.pop("walls")
    assert {"memory", "cpu", "no_core"} <= set(walls)
    if not {"files", "system_calls"} <= set(walls):
        pytest.skip(f"this kernel offers only {walls}")
    done = {name for name, answer in found.items() if answer == "done"}
    assert done == {"read", "thread"}
    assert allowed.read_text() == "video"
    assert not (tmp_path / "new").exists()


def test_filter_programs_are_well_formed() -> None:
    for machine in ("x86_64", "aarch64"):
        program = confine.filter_program(machine, 4321)
        count = len(program) // 8
        assert len(program) % 8 == 0
        assert 50 < count < 4096
        instructions = np.frombuffer(program, dtype=[("code", "<u2"), ("t", "u1"), ("f", "u1"), ("k", "<u4")])
        places = np.arange(count) + 1
        assert (places + np.maximum(instructions["t"], instructions["f"]) <= count).all()
        assert instructions["code"][-1] == 0x06
        assert instructions["k"][-1] == 0x7FFF0000


def test_child_needs_no_torch_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, vadis.video.child; print(sorted({'torch', 'torchvision'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(sandbox, "_BOOT", "import os; os.write(1, repr(sorted(os.environ)).encode())")
    with Path(os.devnull).open("wb") as sink:
        process = sandbox._start(sink)
        output, _ = process.communicate(timeout=30)
    assert b"HF_TOKEN" not in output
    assert b"OMP_NUM_THREADS" in output


EVIL = """
import os, struct, sys, time
sys.stdin.buffer.raw.read(8)
def say(text):
    os.write(1, struct.pack("<4sI", b"vad1", len(text)) + text)
say(b'{{"type": "ready", "walls": []}}')
{rest}
time.sleep(60)
"""
INFO = json.dumps(
    {
        "type": "info",
        "info": wire.record_to(
            VideoInfo(
                "x",
                "mp4",
                "h264",
                "yuv420p",
                8,
                8,
                8,
                0,
                1.0,
                1.0,
                25.0,
                25.0,
                False,
                1,
                None,
                0.0,
                False,
                (),
                1,
            )
        ),
    }
)
REPORT = json.dumps(wire.record_to(DecodeReport("x", 1, 1)))


@pytest.mark.parametrize(
    "words",
    [
        "os.write(1, b'MZ' * 100)",
        "os.write(1, struct.pack('<4sI', b'vad1', 2**31))",
        "say(b'[1]')",
        "say(b'[' * 200000)",
        'say(b\'{"type": "frames"}\')',
        'say(b\'{"type": "error", "kind": "evil", "message": "", "hint": ""}\')',
        f"say({INFO.replace('25.0', '1e999').encode()!r})",
        f"say({INFO.replace('true', '1').replace('false', '1').encode()!r})",
        *(
            f"say({INFO.encode()!r}); "
            f'say(b\'{{"type": "frames", "start_seconds": 0.0, "shape": {shape}, "report": {REPORT}}}\')'
            for shape in (
                "[65536, 65536, 65536]",
                "[1, 65536, 65536]",
                "[-1, 8, 8]",
                "[true, 8, 8]",
                "[1, 8]",
            )
        ),
    ],
)
def test_a_lying_child_is_caught(monkeypatch: pytest.MonkeyPatch, video: Path, words: str) -> None:
    monkeypatch.setattr(sandbox, "_BOOT", EVIL.format(rest=words))
    since = time.monotonic()
    with pytest.raises(VideoError) as caught, stream_frames_in_child(video) as stream:
        list(stream)
    assert caught.value.kind == "corrupt"
    assert "out of control" in caught.value.message
    assert time.monotonic() - since < 20


def test_times_that_cannot_be(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    frames = f'{{"type": "frames", "start_seconds": 0.0, "shape": [1, 2, 2], "report": {REPORT}}}'
    words = f"say({INFO.encode()!r}); say({frames.encode()!r}); "
    values = "os.write(1, struct.pack('<dqB', TIME, INDEX, 0) + bytes(12))"

    def boot(time_seconds: str, index: int) -> str:
        return EVIL.format(rest=words + values.replace("TIME", time_seconds).replace("INDEX", str(index)))

    for time_seconds, index in (("float('nan')", 0), ("0.0", -5)):
        monkeypatch.setattr(sandbox, "_BOOT", boot(time_seconds, index))
        with pytest.raises(VideoError, match="times or indices"), stream_frames_in_child(video) as stream:
            next(stream)
    monkeypatch.setattr(sandbox, "_BOOT", boot("0.0", 0))
    with stream_frames_in_child(video) as stream:
        assert next(stream).frames_THWC.shape == (1, 2, 2, 3)  # and a truthful one is believed


def test_a_child_that_never_ends_is_caught(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    frames = f'{{"type": "frames", "start_seconds": 0.0, "shape": [1, 2, 2], "report": {REPORT}}}'
    words = f"say({INFO.encode()!r})\nwhile True:\n    say({frames.encode()!r}); os.write(1, bytes(17 + 12))"
    monkeypatch.setattr(sandbox, "_BOOT", EVIL.format(rest=words))
    for limits, fps, most in ((Limits(max_frames=50), None, 50), (Limits(max_seconds=3.0), 10, 660)):
        stream = stream_frames_in_child(video, limits=limits, fps=fps)
        assert sum(len(next(stream)) for _ in range(most)) == most
        with pytest.raises(VideoError, match="more frames than the limits allow"):
            next(stream)
        assert not is_alive(stream.pid)


def test_child_that_does_not_start(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    monkeypatch.setattr(sandbox, "_BOOT", "raise SystemExit('no such module')")
    with pytest.raises(VideoError, match="failed \\(status 1\\): no such module"):
        stream_frames_in_child(video)


def test_text_from_the_child_is_cleaned() -> None:
    error = VideoError("corrupt", "x", "\x1b[2J\x1b]0;owned\x07 evil\nline" + "a" * 9000)
    fields = wire.Fields(wire.unpack_body(wire.pack(wire.error_to(error))[8:]))
    message = wire.error_from(fields, "mine.mp4").message
    assert message.startswith("?[2J?]0;owned? evil?line")
    assert len(message) <= wire.MAX_TEXT
    assert wire.error_from(fields, "mine.mp4").video == "mine.mp4"


def test_names_with_anything_in_them_cross(tmp_path: Path, video: Path) -> None:
    names = ["-i x.mp4", "new\nline.mp4", "жест 体操.mp4", "%03d.mp4"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"not utf8 \xff.mp4"))
    for name in names:
        path = tmp_path / name
        path.write_bytes(video.read_bytes())
        assert replace(probe_in_child(path), video="") == replace(probe(video), video="")


def test_no_pickle_in_sight() -> None:
    for module in ("sandbox", "child", "wire", "confine"):
        tree = ast.parse((Path(sandbox.__file__).parent / f"{module}.py").read_text())
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & {"pickle", "multiprocessing", "marshal", "shelve"}


def test_descriptors_do_not_leak(video: Path) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no list of descriptors on this system")
    probe_in_child(video)
    before = len(list(folder.iterdir()))
    for _ in range(3):
        probe_in_child(video)
        with contextlib.suppress(VideoError):
            probe_in_child(video.with_name("none.mp4"))
    assert len(list(folder.iterdir())) == before


def test_wrong_arguments(video: Path) -> None:
    with pytest.raises(ValueError, match=r"chunk \(0\)"):
        stream_frames_in_child(video, chunk=0)
    with pytest.raises(ValueError, match="fps must be a positive"):
        stream_frames_in_child(video, fps=-1.0)
    with pytest.raises(ValueError, match="short_side must be at least 1"):
        stream_frames_in_child(video, short_side=0)
    with pytest.raises(TypeError, match="needs a path, not bytes"):
        stream_frames_in_child(b"data")  # type: ignore[arg-type]
