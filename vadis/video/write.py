"""Pictures out: H.264 video files, single PNGs, and exact cuts of a video.

A file appears under its name only when it is whole: everything is written to `NAME.part` beside it and
renamed at the end; after an error nothing is left. Videos are H.264, 4:2:0, BT.709, with the index in
front (`faststart`), so that every browser and player starts them at once.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.container
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from vadis.records import Limits, Span, VideoInfo
from vadis.video.audio import HeldSound, Sound, open_sound
from vadis.video.decode import Video

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The endings of files that `VideoWriter` writes, and FFmpeg's name of their container."""

CUT_BYTES = 2**28  # of frames decoded at a time by `cut_video`: bounds its memory
CLOCK_SLACK = 1e-6  # seconds by which two readings of one timestamp may differ
BT709 = 1  # the value of BT.709 in H.273, for matrix, primaries and transfer alike
MAX_NAME_BYTES = 200  # of the 255 that file systems allow; leaves room for `.part` and a folder's quirks


@contextmanager
def part_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name `PATH.part` to write to; rename it to `path` at the end, delete it after an error.

    Missing folders are made. An existing file at `path` is replaced in one step, or kept after an error.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder; give the name of a file")
    part = target.with_name(target.name + ".part")
    try:
        yield part
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_png(path: str | os.PathLike[str], picture_HWC: np.ndarray) -> Path:
    """Write one picture (H, W, 3 uint8 RGB) as a PNG file, whatever the ending; returns its path."""
    check_picture(picture_HWC)
    with part_file(path) as part:
        Image.fromarray(picture_HWC).save(part, format="PNG", compress_level=6)
    return Path(path)


def check_picture(picture_HWC: np.ndarray) -> None:
    """Raise ValueError unless the array is (H, W, 3) uint8 with at least one pixel."""
    if picture_HWC.dtype != np.uint8 or picture_HWC.ndim != 3 or picture_HWC.shape[2] != 3:
        raise ValueError(
            f"a picture is (H, W, 3) uint8 RGB, got {tuple(picture_HWC.shape)} {picture_HWC.dtype}"
        )
    if picture_HWC.size == 0:
        raise ValueError(f"a picture has at least one pixel, got {tuple(picture_HWC.shape)}")


def pad_even(frame_HWC: np.ndarray) -> np.ndarray:
    """Repeat the last row and column where H or W is odd: 4:2:0 stores colour for 2x2 pixels."""
    height, width = frame_HWC.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(frame_HWC)
    return np.pad(frame_HWC, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class VideoWriter:
    """Write RGB frames, and the sound of another file, as an H.264 video; a context manager.

    `fps` is the frame rate in Hz of frames that are written without a time (and, with times, only a
    hint for the encoder's rate control). The size is that of the first frame, or `size` = (width,
    height) in pixels; an odd width or height grows by one pixel, a copy of the last column or row.
    `sample_aspect` is the width of one pixel over its height. `crf` is x264's quality (18 fine, 28
    coarse). `intra` codes each frame for itself with one quantiser (`crf`), so that what a frame looks like
    does not depend on its place in the file; such files are larger. `sound` is from
    `vadis.video.audio.open_sound`, or samples at hand as a `HeldSound`: it starts with the first frame,
    ends with the last one, and is interleaved as the frames come, so memory stays bounded.

    The file appears when the block ends without an error. Raises ValueError for an unknown ending, for
    frames of another size, and for times that do not increase.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float | Fraction,
        *,
        size: tuple[int, int] | None = None,
        crf: int = 20,
        preset: str = "veryfast",
        sample_aspect: float | None = None,
        sound: Sound | HeldSound | None = None,
        intra: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CONTAINERS:
            raise ValueError(f"{self.path}: the name of a video ends with one of {', '.join(CONTAINERS)}")
        self.fps = Fraction(fps).limit_denominator(1001)
        if self.fps <= 0:
            raise ValueError(f"fps must be a positive number of frames per second, got {fps}")
        self._format = CONTAINERS[self.path.suffix.lower()]
        self.size = size
        self.num_frames = 0
        self.sample_aspect = sample_aspect
        self.sound = sound
        self._options = {"crf": str(crf), "preset": preset}
        if intra:
            self._options = {"qp": str(crf), "g": "1", "preset": preset}
        # Ticks in which frame n at n / fps is exact, and any other time is within 1/180000 s.
        self._rate = self.fps.numerator * -(-90_000 // self.fps.numerator)
        self._last_pts = -1
        self._end_seconds = 0.0
        self._first_pts = 0
        self._first_dts = 0
        self._held: av.Packet | None = None
        self._durations: dict[int, int] = {}  # of the frames inside the encoder, ticks by PTS

    def __enter__(self) -> VideoWriter:
        self._part_context = part_file(self.path)
        self._part = self._part_context.__enter__()
        self._container: av.container.OutputContainer | None = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._container is not None:
                self._container.close()
        except BaseException as failure:
            if self._container is not None:
                self._container.close()
            self._part_context.__exit__(type(failure), failure, failure.__traceback__)
            raise
        finally:
            if self.sound is not None:
                self.sound.close()
        self._part_context.__exit__(kind, error, trace)

    def write(
        self,
        frame_HWC: np.ndarray,
        time_seconds: float | None = None,
        duration_seconds: float | None = None,
    ) -> None:
        """Add one frame (H, W, 3 uint8 RGB), shown from `time_seconds` (None: right after the last one).

        Times count from the file's start and must increase. `duration_seconds` says how long the last
        frame stays (default: 1 / fps); for the others the next frame's time decides.
        """
        check_picture(frame_HWC)
        if self._container is None:
            self._open(frame_HWC)
        height, width = frame_HWC.shape[:2]
        if self.size != (width, height):
            raise ValueError(
                f"{self.path}: frame {self.num_frames} is {width, height} pixels, the file {self.size}"
            )
        if time_seconds is None:
            pts = round(self._end_seconds * self._rate) if self.num_frames else 0
        else:
            pts = round(time_seconds * self._rate)
        if pts <= self._last_pts:
            raise ValueError(
                f"{self.path}: times must increase; frame {self.num_frames} is at {pts / self._rate:.6f} s, "
                f"the one before at {self._last_pts / self._rate:.6f} s"
            )
        ticks = round((1 / self.fps if duration_seconds is None else duration_seconds) * self._rate)
        frame = av.VideoFrame.from_ndarray(pad_even(frame_HWC), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base, frame.duration = pts, Fraction(1, self._rate), max(ticks, 1)
        self._mux_sound(pts / self._rate)
        if self.num_frames == 0:
            self._first_pts = pts
        self._durations[pts] = frame.duration
        self._mux_pictures(frame)
        self._last_pts = pts
        self._end_seconds = (pts + max(ticks, 1)) / self._rate
        self.num_frames += 1

    def _open(self, frame_HWC: np.ndarray) -> None:
        if self.size is None:
            self.size = (frame_HWC.shape[1], frame_HWC.shape[0])
        width, height = self.size
        # "file:" and an absolute path: a name such as "concat:a.mp4" or "-x.mp4" is just a name.
        self._container = av.open(
            f"file:{self._part.absolute()}",
            "w",
            format=self._format,
            options={} if self._format == "matroska" else {"movflags": "+faststart"},
        )
        self._stream = self._container.add_stream("libx264", rate=self.fps, options=self._options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, self._rate)
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        if self.sample_aspect and abs(self.sample_aspect - 1) > 1e-6:
            context.sample_aspect_ratio = Fraction(self.sample_aspect).limit_denominator(1000)
        self._sound_samples = 0
        if self.sound is not None:
            self._sound_stream = self._container.add_stream("aac", rate=self.sound.sample_rate)
            self._sound_stream.codec_context.layout = self.sound.layout
            self._sound_stream.codec_context.bit_rate = 64_000 * self.sound.channels

    def _mux_pictures(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame (None: the rest), all but the last packet go to the file.

        The encoder drops durations. MP4 sums them in decoding order, so it is the last packet there that
        makes the file as long as its frames are shown.
        """
        for packet in self._stream.encode(frame):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                raise RuntimeError(f"{self.path}: the encoder gave a packet without a time")
            tick = packet.time_base * self._rate
            packet.duration = round(self._durations.pop(round(packet.pts * tick), 1) / tick)
            if self._held is None:
                self._first_dts = packet.dts
            else:
                self._mux([self._held])
            self._held = packet
        if frame is None and self._held is not None:
            tick = (self._held.time_base or Fraction(1, self._rate)) * self._rate
            if self._format != "matroska":
                shown = round((self._end_seconds * self._rate - self._first_pts) / tick)
                self._held.duration = max(1, shown - (self._held.dts or 0) + self._first_dts)
            self._mux([self._held])

    def _mux(self, packets: list[av.Packet]) -> None:
        if packets and self._container is not None:
            self._container.mux(packets)

    def _mux_sound(self, until_seconds: float) -> None:
        """Encode the sound up to a time; no further, so that both streams lie side by side in the file."""
        if self.sound is None:
            return
        wanted = round(until_seconds * self.sound.sample_rate) - self._sound_samples
        if wanted <= 0:
            return
        samples_CN = self.sound.read(wanted)
        if samples_CN.shape[1] == 0:
            return
        frame = av.AudioFrame.from_ndarray(samples_CN, format="fltp", layout=self.sound.layout)
        frame.sample_rate = self.sound.sample_rate
        frame.pts, frame.time_base = self._sound_samples, Fraction(1, self.sound.sample_rate)
        self._sound_samples += samples_CN.shape[1]
        self._mux(self._sound_stream.encode(frame))

    def _finish(self) -> None:
        if self._container is None:
            raise ValueError(f"{self.path}: no frame was written")
        self._mux_sound(self._end_seconds)
        self._mux_pictures(None)
        if self.sound is not None:
            self._mux(self._sound_stream.encode(None))
        self._container.close()


def cut_video(
    source: str | os.PathLike[str],
    start_seconds: float,
    end_seconds: float,
    target: str | os.PathLike[str],
    *,
    crf: int = 18,
    limits: Limits = Limits(),  # noqa: B008
) -> Path:
    """Write what a player shows of `source` between two times in seconds, sound included; returns target.

    Exact by timestamp: the first frame is the one on screen at `start_seconds`, shown from time 0; every
    later frame keeps its own time and the last one its rest up to `end_seconds`. The pictures are encoded
    anew (a cut without that could start at keyframes only), the sound as AAC. Frames come upright and
    keep their sample aspect. Raises VideoError as decoding does, ValueError for an empty interval or one
    behind the video's end.
    """
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(
            f"a cut starts at 0 or later and before its end, got {start_seconds} to {end_seconds} s"
        )
    if Path(target).absolute() == Path(source).absolute():
        raise ValueError(f"{target} is the source of the cut; name another file")
    with Video(source, limits=limits) as video:
        times_N = video.frame_times()
        end_seconds = min(end_seconds, video_end(video.info, times_N))
        first = max(0, int(np.searchsorted(times_N, start_seconds + CLOCK_SLACK, side="right")) - 1)
        stop = int(np.searchsorted(times_N, end_seconds - CLOCK_SLACK, side="left"))
        if start_seconds >= end_seconds:
            raise ValueError(f"{os.fspath(source)} ends before {start_seconds} s")
        sound = open_sound(source, start_seconds, end_seconds, limits=limits)
        rate = video.info.frame_rate or 25.0
        aspect = video.info.sample_aspect
        with VideoWriter(target, rate, crf=crf, sample_aspect=aspect, sound=sound) as writer:
            chunk = max(8, min(512, CUT_BYTES // (3 * video.info.width * video.info.height)))
            for index in range(first, stop, chunk):
                indices = list(range(index, min(index + chunk, stop)))
                frames = video.frames_by_index(indices)
                for number, frame_HWC in zip(indices, frames.frames_THWC, strict=True):
                    shown = max(0.0, float(times_N[number]) - start_seconds)
                    until = float(times_N[number + 1]) if number + 1 < stop else end_seconds
                    writer.write(frame_HWC, shown, until - start_seconds - shown)
    return Path(target)


def video_end(info: VideoInfo, times_N: np.ndarray) -> float:
    """When the last frame leaves the screen, in seconds: one frame after it came, or as the file declares."""
    last = float(times_N[-1]) + (1 / info.frame_rate if info.frame_rate else 0.04)
    return max(last, info.duration_seconds or 0.0)


def span_filename(video: str | os.PathLike[str], span: Span, suffix: str = ".mp4") -> str:
    """The name of the file that holds one span of a video: `<stem>_<start>-<end>_<class name>.mp4`.

    Times are seconds with two decimals. Letters and digits of any script stay, everything else becomes
    `_`; the name never starts with a dot or a dash and is at most 200 bytes long.
    """
    stem = slugify(Path(video).stem, MAX_NAME_BYTES // 2, keep="-._") or "video"
    times = f"_{span.start_seconds:.2f}-{span.end_seconds:.2f}_"
    room = MAX_NAME_BYTES - len((stem + times + suffix).encode())
    return stem + times + (slugify(span.class_name.lower(), room) or f"label_{span.label}") + suffix


def slugify(text: str, max_bytes: int, keep: str = "") -> str:
    """A piece of a file name: letters, digits and `keep`, runs of all else one `_`; UTF-8 fits max_bytes."""
    text = unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode()
    kept = "".join(letter if letter.isalnum() or letter in keep else "_" for letter in text)
    kept = re.sub("_+", "_", kept).strip("_").lstrip("-.")
    return kept.encode()[:max_bytes].decode("utf-8", "ignore").rstrip("_.-")
