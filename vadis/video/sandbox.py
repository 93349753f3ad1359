"""Decoding files of strangers in a process of its own that can be killed.

The child (`vadis.video.child`) starts without torch, gives up the rights that decoding does not need
(`vadis.video.confine`: memory, network, programs, other files), and sends frames through a pipe whose
small buffer keeps it from running ahead. It dies with `close()`, with its parent, and when the time limit
is spent; a crash of a decoder is a `VideoError` here. What the child says is checked field by field and
never unpickled (`vadis.video.wire`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import IO, Any

import numpy as np

from vadis.records import STRANGER_LIMITS, DecodeReport, Limits, VideoError, VideoInfo
from vadis.video import wire
from vadis.video.clock import exact_rate
from vadis.video.frames import Frames

MEMORY_BYTES = 4 * 2**30
"""Address space of the child by default: frames of 4096x2304 pixels in chunks of 16 fit well."""

START_SECONDS = 30.0
"""How long the child may take to start (0.2 s on an idle machine)."""

GRACE_SECONDS = 0.5
"""How long beyond the limit the child may take to stop by itself and say so before it is killed."""

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vadis.video.child import main; main()"
_KEPT_VARIABLES = (
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "PATH",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
)


def _start(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """The child, waiting for its request. It inherits no other descriptor and no secret variables."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # one thread of numpy is plenty here, and each reserves address space
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    paths = json.dumps([os.path.abspath(path) for path in sys.path])  # noqa: PTH100 - "" is the folder we are in
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        bufsize=0,
        close_fds=True,
        start_new_session=True,  # Ctrl-C is for the parent, which then closes the child
    )


def _widen(descriptor: int) -> None:
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 2**20)  # Linux: fewer turns between the processes


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child, whatever it is doing, and leave no zombie."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


class Child:
    """A decoding process with one request: `receive` gives its checked messages, `close` ends it."""

    def __init__(
        self,
        task: str,
        path: str | os.PathLike[str],
        options: Mapping[str, Any],
        limits: Limits,
        memory: int | None,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"a child process needs a path, not {type(path).__name__}")
        self.video = os.fsdecode(path)
        self._limits = limits
        self._memory = memory
        self._spent = 0.0
        self._late = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = _start(self._errors)
        self._finalizer = weakref.finalize(self, _end, self._process)
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        self._voice = self._process.stdout.fileno()
        _widen(self._voice)
        wall = limits.wall_seconds
        request = {
            "task": task,
            "path": os.path.abspath(self.video),  # noqa: PTH100 - not resolved: links keep their names
            "options": dict(options),
            "limits": asdict(limits),
            "memory_bytes": memory,
            "cpu_seconds": None if wall is None else wall * (os.cpu_count() or 1) + START_SECONDS,
        }
        try:
            self._ask(request)
            ready = self.receive("ready")
        except BaseException:
            self.close()
            raise
        self.walls = tuple(wire.clean(wall) for wall in ready.objects("walls") if isinstance(wall, str))
        self._spent = 0.0  # the limit is for the video, not for the start of the process

    def _ask(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        try:
            self._process.stdin.write(wire.pack(request))
        except OSError:
            raise self._death() from None

    def read_into(self, buffer: memoryview, deadline_seconds: float | None) -> None:
        """Fill `buffer` from the child; VideoError where it dies or takes too long."""
        timer = None
        if deadline_seconds is not None:
            timer = threading.Timer(max(0.0, deadline_seconds - self._spent), self._expire)
            timer.daemon = True
            timer.start()
        since = time.monotonic()
        try:
            while buffer:
                count = (
                    os.readv(self._voice, [buffer]) if hasattr(os, "readv") else self._read_windows(buffer)
                )
                if count == 0:
                    raise self._death()
                buffer = buffer[count:]
        except OSError:
            raise self._death() from None
        finally:
            self._spent += time.monotonic() - since
            if timer is not None:
                timer.cancel()

    def _read_windows(self, buffer: memoryview) -> int:
        data = os.read(self._voice, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _expire(self) -> None:
        self._late = True
        self._process.kill()

    @property
    def deadline(self) -> float | None:
        """Seconds of waiting after which the child is killed, None where there is no limit."""
        return None if self._limits.wall_seconds is None else self._limits.wall_seconds + GRACE_SECONDS

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes from the child."""
        data = bytearray(size)
        self.read_into(memoryview(data), self.deadline)
        return bytes(data)

    def receive(self, *kinds: str) -> wire.Fields:
        """The next message, which must be one of `kinds`; an error that the child reports is raised."""
        header = bytearray(wire.HEADER.size)
        self.read_into(memoryview(header), START_SECONDS if "ready" in kinds else self.deadline)
        try:
            fields = wire.Fields(wire.unpack_body(self.read(wire.unpack_header(bytes(header)))))
            kind = fields.text("type")
            if kind == "error":
                raise wire.error_from(fields, self.video)
            if kind not in kinds:
                raise wire.WireError(f"{kind[:80]!r} where {kinds} was due")
        except wire.WireError as error:
            raise self.distrust(error) from error
        fields.kind = kind
        return fields

    def distrust(self, error: wire.WireError) -> VideoError:
        """End a child that does not keep to the protocol, and say so."""
        self.close()
        return VideoError("corrupt", self.video, f"the decoding process went out of control: {error}")

    def _death(self) -> VideoError:
        """Why the child is gone, from its exit status and its last words."""
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:  # it has only closed its pipe
            self._process.kill()
            code = self._process.wait()
        words = self._last_words()
        self.close()
        if self._late:
            limit = self._limits.wall_seconds
            return VideoError(
                "timeout", self.video, f"the decoding process was killed after {limit:g} seconds"
            )
        if code < 0:
            return self._death_by_signal(-code)
        if "MemoryError" in words or "Cannot allocate memory" in words or "std::bad_alloc" in words:
            return self._out_of_memory()
        return VideoError("corrupt", self.video, f"the decoding process failed (status {code}): {words}")

    def _death_by_signal(self, number: int) -> VideoError:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if name == "SIGXCPU":
            return VideoError("timeout", self.video, "the decoding process used up its processor time")
        if (
            name == "SIGKILL"
        ):  # not by us: the system does so when memory runs out, or at the hard limit of time
            return VideoError(
                "too_large",
                self.video,
                "the decoding process was killed by the system, probably for its memory",
            )
        return VideoError("corrupt", self.video, f"the decoding process crashed ({name}) on this file")

    def _out_of_memory(self) -> VideoError:
        limit = f"the limit (memory_bytes) is {self._memory}"
        return VideoError("too_large", self.video, f"decoding needs too much memory, {limit}")

    def _last_words(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            lines = self._errors.read(2**16).decode("utf-8", "replace").strip().splitlines()
            return wire.clean(lines[-1]) if lines else "no message"
        return "no message"

    def close(self) -> None:
        """Kill the child if it still runs. Safe to call twice."""
        self._finalizer()
        self._errors.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid


class ChildStream:
    """Frames of a video decoded in a child process: the same protocol as `FrameStream`.

    Iterates over `Frames` chunks; a context manager; `info`, `report` (partial until the end),
    `start_seconds` and `duration_seconds` in seconds. `walls` names what confines the child.
    """

    def __init__(self, child: Child, chunk: int, limits: Limits, fps: Fraction | None) -> None:
        self._child = child
        self._num_frames = 0
        self._most_frames: float | None = limits.max_frames
        if fps is not None:  # a grid repeats frames; the last one may last long beyond the limit
            self._most_frames = None if limits.max_seconds is None else (2 * limits.max_seconds + 60) * fps
        self._chunk = chunk
        self._limits = limits
        self._ended = False
        try:
            fields = child.receive("info")
            self._info = self._checked(lambda: wire.info_from(fields.object("info"), child.video))
        except BaseException:
            child.close()
            raise
        self._report = DecodeReport(child.video, self._info.frames_declared or 0, 0)
        self._start_seconds: float | None = None
        self._duration_seconds: float | None = None

    def _checked(self, take: Any) -> Any:
        try:
            return take()
        except wire.WireError as error:
            raise self._child.distrust(error) from error

    def __iter__(self) -> ChildStream:
        return self

    def __next__(self) -> Frames:
        if self._ended:
            raise StopIteration
        try:
            fields = self._child.receive("frames", "end")
            frames: Frames | None = self._checked(lambda: self._take(fields))
        except BaseException:
            self.close()
            raise
        if frames is None:
            self.close()
            raise StopIteration
        return frames

    def _take(self, fields: wire.Fields) -> Frames | None:
        self._report = wire.report_from(fields.object("report"), self._child.video)
        self._start_seconds = fields.number("start_seconds", optional=True)
        if fields.kind == "end":
            self._duration_seconds = fields.number("duration_seconds", optional=True)
            return None
        shape = fields.objects("shape", 3)
        if len(shape) != 3 or not all(type(side) is int and 0 < side <= 2**16 for side in shape):
            raise wire.WireError("frames of an impossible shape")
        count, height, width = shape
        self._num_frames += count
        if self._most_frames is not None and self._num_frames > self._most_frames:
            raise wire.WireError("more frames than the limits allow")
        most = self._limits.max_pixels
        # a short side that is asked for can enlarge a small video: allow for its square too
        if count > self._chunk or (most is not None and height * width > max(most, 2**24)):
            raise wire.WireError(f"{count} frames of {width}x{height} pixels")
        times_T = np.frombuffer(self._child.read(8 * count), dtype="<f8").astype(np.float64)
        indices_T = np.frombuffer(self._child.read(8 * count), dtype="<i8").astype(np.int64)
        corrupt_T = np.frombuffer(self._child.read(count), dtype=np.uint8) != 0
        if not np.isfinite(times_T).all() or (indices_T < 0).any():
            raise wire.WireError("times or indices that cannot be")
        frames_THWC = np.empty((count, height, width, 3), dtype=np.uint8)
        self._child.read_into(frames_THWC.data.cast("B"), self._child.deadline)
        return Frames(frames_THWC, times_T, indices_T, corrupt_T, self._report)

    def __enter__(self) -> ChildStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child; further frames are not given."""
        self._ended = True
        self._child.close()

    @property
    def info(self) -> VideoInfo:
        """What the container says."""
        return self._info

    @property
    def report(self) -> DecodeReport:
        """What was decoded so far, final at the end."""
        return self._report

    @property
    def start_seconds(self) -> float | None:
        """The first frame's time in seconds, None before it."""
        return self._start_seconds

    @property
    def duration_seconds(self) -> float | None:
        """From the first frame's time to the last frame's end, in seconds; None before the end."""
        return self._duration_seconds

    @property
    def walls(self) -> tuple[str, ...]:
        """What confines the child: of "memory", "cpu", "no_core", "files", "system_calls"."""
        return self._child.walls

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid


def stream_frames_in_child(
    path: str | os.PathLike[str],
    *,
    fps: float | Fraction | None = None,
    short_side: int | None = None,
    chunk: int = 16,
    limits: Limits = STRANGER_LIMITS,
    threads: int | None = None,
    memory_bytes: int | None = MEMORY_BYTES,
) -> ChildStream:
    """`stream_frames` in a child process: for files of strangers.

    Same arguments as `stream_frames`, and `memory_bytes`, the child's address space (Linux). The child is
    killed when the parent has waited `limits.wall_seconds` for it. Raises ValueError for arguments that make
    no sense, VideoError as decoding does, and
    of kind corrupt where the child crashes, timeout where it is killed on time, too_large where its memory
    does not suffice.
    """
    if chunk < 1:
        raise ValueError(f"chunk ({chunk}) must be at least 1")
    if short_side is not None and short_side < 1:
        raise ValueError(f"short_side must be at least 1 pixel or None, got {short_side}")
    rate = None if fps is None else exact_rate(fps)
    # crosses as two integers, so that the grid of times stays exact
    options = {
        "fps": rate and rate.as_integer_ratio(),
        "short_side": short_side,
        "chunk": chunk,
        "threads": threads,
    }
    return ChildStream(Child("stream", path, options, limits, memory_bytes), chunk, limits, rate)


def probe_in_child(
    path: str | os.PathLike[str],
    *,
    count_frames: bool = False,
    limits: Limits = STRANGER_LIMITS,
    memory_bytes: int | None = MEMORY_BYTES,
) -> VideoInfo:
    """`probe` in a child process; the errors of `stream_frames_in_child`."""
    child = Child("probe", path, {"count_frames": count_frames}, limits, memory_bytes)
    try:
        fields = child.receive("info")
        return wire.info_from(fields.object("info"), child.video)
    except wire.WireError as error:
        raise child.distrust(error) from error
    finally:
        child.close()
