"""Opening a video safely: literal names, ordinary containers only, no other file, no network.

A text file of 37 bytes called `holiday.mp4` can make FFmpeg read somebody else's file or call a server:
playlists and concat scripts are recognised by content, not by name. So only ordinary containers are
admitted (`format_whitelist`), only the file itself is opened (`protocol_whitelist` and the `file:`
prefix, after which a name has no further meaning), and the decoder gets a limit on pixels before its
first frame. Whatever FFmpeg or PyAV raises leaves this package as a `VideoError` that names the file.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vadis.records import Limits, VideoError
from vadis.video.sniff import HEAD_BYTES, classify_failure, is_cut_off, names_other_files

VideoPath: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""What can be opened: a path (taken literally), the bytes of a file, or a readable binary file object."""

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,av1,obu,ivf,"
    "asf,flv,ogg,gif,apng,nut,dv,mxf,mjpeg,yuv4mpegpipe"
)
"""FFmpeg's names of the containers that are opened. None of them fetches another file by itself."""

PROTOCOLS = "file"


def video_name(path: VideoPath) -> str:
    """The name by which errors and reports speak of a video: its path, or `<stream>` for file objects."""
    if isinstance(path, bytes):
        return f"<{len(path)} bytes>"
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    name = getattr(path, "name", None)
    return name if isinstance(name, str) else "<stream>"


@contextmanager
def ffmpeg_errors(name: str, doing: str) -> Iterator[None]:
    """Turn whatever PyAV raises inside the block into a VideoError of kind `corrupt` that names `name`."""
    try:
        yield
    except VideoError:
        raise
    except MemoryError as error:
        raise VideoError("too_large", name, f"not enough memory while {doing}: {error}") from error
    except PermissionError as error:
        raise VideoError("not_found", name, "permission denied", "make the file readable") from error
    except (
        av.FFmpegError,
        ValueError,
        OSError,
        RuntimeError,
        OverflowError,
        LookupError,
        ArithmeticError,
    ) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError("corrupt", name, f"{doing} failed: {reason}") from error


class Budget:
    """A stopwatch that runs only while we read or decode, and raises `timeout` when the limit is spent."""

    def __init__(self, name: str, seconds: float | None) -> None:
        self._name = name
        self._limit = seconds
        self._spent = 0.0
        self._since: float | None = None

    def __enter__(self) -> Budget:
        if self._since is None:
            self._since = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        if self._since is not None:
            self._spent += time.monotonic() - self._since
            self._since = None

    @property
    def seconds(self) -> float:
        """Seconds spent so far."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + running

    def check(self) -> None:
        """Raise VideoError("timeout") where the limit is spent."""
        if self._limit is not None and self.seconds > self._limit:
            raise VideoError("timeout", self._name, f"decoding took longer than {self._limit:g} seconds")


class _Pipe:
    """A file object for FFmpeg over one that may not seek: peeks at the head, never closes, counts bytes."""

    def __init__(self, file: BinaryIO, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        read1 = getattr(file, "read1", None)  # returns what is there, so that a live pipe does not stall
        self._read = read1 if read1 is not None else file.read
        head = b""
        while len(head) < HEAD_BYTES:
            part = self._read(HEAD_BYTES - len(head))
            if not part:
                break
            head += part
        self.head = head
        self._pending = head

    def read(self, size: int) -> bytes:
        if self._pending:
            part, self._pending = self._pending[:size], self._pending[size:]
        else:
            part = self._read(size) or b""
        self._count += len(part)
        if self._max_bytes is not None and self._count > self._max_bytes:
            raise OSError(f"more than {self._max_bytes} bytes")
        return part

    @property
    def too_large(self) -> bool:
        return self._max_bytes is not None and self._count > self._max_bytes


class Source:
    """One opened video: container, its video stream, name and size; `close()` when done."""

    def __init__(self, path: VideoPath, limits: Limits = Limits(), *, threads: int | None = None) -> None:  # noqa: B008
        """Open `path` and choose its video stream; nothing is decoded yet.

        Raises VideoError of kinds not_found, refused, not_video, no_video_stream, too_large, corrupt.
        """
        self.name = video_name(path)
        self.limits = limits
        self.size_bytes: int | None = None
        self.cut_off = False
        self._pipe: _Pipe | None = None
        self._threads = threads
        target, head = self._target(path)
        if names_other_files(head):
            raise VideoError("refused", self.name, "the file is a playlist or script that names other files")
        self._place = target
        self.container = self._open(target, head)
        try:
            self.stream: VideoStream = self._choose_stream()
            self.codec = self.stream.codec_context.name
            self.is_avi = "avi" in self.formats
            self._check_header()
            self._configure()
        except VideoError:
            self.container.close()
            raise

    def _target(self, path: VideoPath) -> tuple[Any, bytes]:
        """What to hand to FFmpeg, and the first bytes. Paths become `file:` + absolute path."""
        if isinstance(path, str | os.PathLike):
            return self._target_of_path(os.fspath(path))
        file: BinaryIO = io.BytesIO(path) if isinstance(path, bytes) else path
        with ffmpeg_errors(self.name, "reading"):
            if not getattr(file, "seekable", lambda: False)():
                self._pipe = _Pipe(file, self.limits.max_bytes)
                return self._pipe, self._pipe.head
            self.size_bytes = file.seek(0, os.SEEK_END)
            self._check_size(self.size_bytes)
            file.seek(0)
            head = file.read(HEAD_BYTES)
            self.cut_off = is_cut_off(file, head, self.size_bytes)
            file.seek(0)
        return file, head

    def _target_of_path(self, text: str) -> tuple[str, bytes]:
        if "\0" in text:
            raise VideoError("not_found", repr(text), "a file name cannot hold a NUL byte")
        # Path.absolute, not resolve: a link is opened by the name that the user gave
        absolute = os.path.abspath(text)  # noqa: PTH100 - also folds "a/../b", as the shell would
        try:
            status = os.stat(absolute)  # noqa: PTH116
            if not stat.S_ISREG(status.st_mode):
                what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file (a device or pipe)"
                raise VideoError("refused", self.name, f"{what}, not a video file", "give a file")
            with Path(absolute).open("rb") as file:
                head = file.read(HEAD_BYTES)
                self.cut_off = is_cut_off(file, head, status.st_size)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise VideoError("not_found", self.name, "no such file") from error
        except PermissionError as error:
            raise VideoError("not_found", self.name, "permission denied", "make the file readable") from error
        except (OSError, ValueError) as error:
            raise VideoError("not_found", self.name, f"cannot be opened: {error}") from error
        self.size_bytes = status.st_size
        self._check_size(status.st_size)
        return "file:" + absolute, head

    def _check_size(self, size: int) -> None:
        limit = self.limits.max_bytes
        if limit is not None and size > limit:
            raise VideoError("too_large", self.name, f"{size} bytes, the limit (max_bytes) is {limit}")

    def _open(self, target: Any, head: bytes) -> InputContainer:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
        if self.limits.max_pixels is not None:
            # for the decoders that FFmpeg opens while it looks for stream parameters
            options["max_pixels"] = decoder_pixels(self.limits.max_pixels)
        try:
            return av.open(target, mode="r", options=options, metadata_errors="ignore")
        except MemoryError as error:
            raise VideoError("too_large", self.name, "not enough memory to open the file") from error
        except (av.FFmpegError, ValueError, OSError, RuntimeError, OverflowError, LookupError) as error:
            if self._pipe is not None and self._pipe.too_large:
                limit = self.limits.max_bytes
                raise VideoError("too_large", self.name, f"more than {limit} bytes (max_bytes)") from error
            kind, message = classify_failure(head)
            hint = "an mp4 that comes through a pipe needs its index first (`-movflags faststart`)"
            from_pipe = kind == "corrupt" and self._pipe is not None and head[4:8] == b"ftyp"
            raise VideoError(kind, self.name, message, hint if from_pipe else None) from error

    def _choose_stream(self) -> VideoStream:
        """The first video stream that is no cover picture; one marked as default goes first."""
        pictures = 0
        unknown: str | None = None
        chosen: VideoStream | None = None
        for stream in self.container.streams.video:
            disposition = int(stream.disposition)
            if disposition & (
                int(av.stream.Disposition.attached_pic) | int(av.stream.Disposition.timed_thumbnails)
            ):
                pictures += 1
                continue
            if not has_decoder(stream):
                unknown = "a codec for which there is no decoder"
                continue
            if chosen is None or (
                disposition & int(av.stream.Disposition.default)
                and not int(chosen.disposition) & int(av.stream.Disposition.default)
            ):
                chosen = stream
        if chosen is not None:
            return chosen
        if unknown is not None:
            raise VideoError("not_video", self.name, f"the video stream has {unknown}")
        detail = "a cover picture, but no video stream" if pictures else "no video stream"
        raise VideoError("no_video_stream", self.name, f"the file has {detail}")

    def _check_header(self) -> None:
        limits = self.limits
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if limits.max_pixels is not None and not width * height:
            width, height = self._size_without_decoder()
        if limits.max_pixels is not None and width * height > limits.max_pixels:
            size = f"{width}x{height} pixels"
            raise VideoError("too_large", self.name, f"{size}, the limit (max_pixels) is {limits.max_pixels}")
        seconds = self.duration
        if limits.max_seconds is not None and seconds is not None and seconds > limits.max_seconds:
            limit = f"the limit (max_seconds) is {limits.max_seconds:g}"
            raise VideoError("too_large", self.name, f"{float(seconds):.1f} seconds, {limit}")
        if limits.max_frames is not None and self.stream.frames > limits.max_frames:
            limit = f"the limit (max_frames) is {limits.max_frames}"
            raise VideoError("too_large", self.name, f"{self.stream.frames} frames, {limit}")

    def _size_without_decoder(self) -> tuple[int, int]:
        """Width and height that the file states where its decoder would not start; 0, 0 if unknown.

        A decoder that is held to `max_pixels` gives no size for a larger picture. Without any decoder the
        container and FFmpeg's parsers still name it, at no cost in memory.
        """
        if not isinstance(self._place, str):
            return 0, 0
        options = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS, "codec_whitelist": "none"}
        with ffmpeg_errors(self.name, "opening"):
            with av.open(self._place, mode="r", options=options, metadata_errors="ignore") as container:
                stream = container.streams[self.stream.index]
                return (stream.width, stream.height) if isinstance(stream, VideoStream) else (0, 0)

    def _configure(self) -> None:
        context = self.stream.codec_context
        if self.limits.max_pixels is not None:
            context.options = {**context.options, "max_pixels": decoder_pixels(self.limits.max_pixels)}
        context.thread_type = "AUTO"
        context.thread_count = decoder_threads() if self._threads is None else self._threads
        for other in self.container.streams:
            if other.index != self.stream.index:
                other.discard = av.stream.Discard.all

    @property
    def formats(self) -> set[str]:
        """FFmpeg's names of the container."""
        return set(self.container.format.name.split(","))

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return self.stream.time_base or Fraction(1, 1_000_000)

    @property
    def rate(self) -> Fraction:
        """Frames per second to assume where timestamps are of no use; 25 where nothing is said."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate is not None and 0 < rate <= 1000:
                return Fraction(rate)
        return Fraction(25)

    @property
    def duration(self) -> Fraction | None:
        """Seconds on the player's clock that the container declares (its longest stream), or None.

        Matroska and FLV declare the last moment on the file's own clock, others the length.
        """
        if self.container.duration is not None and self.container.duration > 0:
            seconds = Fraction(self.container.duration, 1_000_000)
            if self.formats & {"matroska", "flv"} and 0 < self.origin < seconds:
                seconds -= self.origin
            return seconds
        if self.stream.duration is not None and self.stream.duration > 0:
            return self.stream.duration * self.time_base
        return None

    @property
    def origin(self) -> Fraction:
        """Time 0 of the player's clock on the file's own clock: the start of the earliest stream."""
        starts = [
            stream.start_time * stream.time_base
            for stream in (*self.container.streams.video, *self.container.streams.audio)
            if stream.start_time is not None
            and stream.time_base
            and not int(stream.disposition) & int(av.stream.Disposition.attached_pic)
        ]
        stated = cast("int | None", self.container.start_time)  # not None by its stub, but it is
        exact = min(starts, default=None)
        if stated is None:
            return exact if exact is not None else Fraction(0)
        rounded = Fraction(stated, 1_000_000)
        # the container's start is rounded to microseconds; the stream's own is exact
        if exact is not None and abs(exact - rounded) <= Fraction(1, 1_000_000):
            return exact
        return rounded

    @property
    def seekable(self) -> bool:
        """False for pipes."""
        return self._pipe is None

    def too_large_pipe(self) -> bool:
        """True where a pipe has given more bytes than `max_bytes`."""
        return self._pipe is not None and self._pipe.too_large

    def close(self) -> None:
        """Close the container; a file object that was given stays open."""
        self.container.close()


def is_folder(path: VideoPath) -> bool:
    """True for the path of a folder; False for whatever else, also for names that cannot exist."""
    try:
        return isinstance(path, str | os.PathLike) and Path(path).is_dir()
    except (OSError, ValueError):
        return False


def has_decoder(stream: object) -> bool:
    """True where this build of FFmpeg has a decoder for the stream."""
    return getattr(stream, "codec_context", None) is not None


def decoder_pixels(limit: int) -> str:
    """The limit that decoders get: a quarter more than `limit`, since they pad pictures to whole blocks.

    The size that a file states is held to the limit itself.
    """
    return str(min(limit + limit // 4 + 2**16, 2**31 - 1))


def decoder_threads() -> int:
    """Decoder threads by default: the usable cores, at most 4 (each holds a frame more in memory)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    return max(1, min(4, cores))
