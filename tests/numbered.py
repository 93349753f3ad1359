"""Test videos whose frame n shows the number n: as digits for people, as big blocks for the tests.

The blocks survive lossy coding, scaling and 4:2:0 colour, so a test can ask of any decoded frame which
one it is. Also small patchers for what cannot be muxed: rotation and edit lists in mp4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from priority import kept_priority

NUM_BITS = 16
COLUMNS = 8
SIZE = (96, 64)


def draw_number(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A picture (H, W, 3) that shows `number`: digits in the top half, 2 x 8 blocks of bits below.

    The top corners are white (left) and black (right), so that a turned or mirrored picture is not
    readable by accident; the ground behind the digits moves with the number and is coloured.
    """
    width, height = size
    image = Image.new("RGB", size, (40, 60, 90))
    draw = ImageDraw.Draw(image)
    block = width / COLUMNS
    shift = number * 3 % width
    draw.ellipse([shift - 8, 4, shift + 8, height // 2 - 6], fill=(200, 120, 40))
    draw.text((block * 2, height // 8), str(number), fill=(255, 255, 0))
    draw.rectangle([0, 0, block - 1, height // 2 - 1], fill=(255, 255, 255))
    draw.rectangle([width - block, 0, width, height // 2 - 1], fill=(0, 0, 0))
    for bit in range(NUM_BITS):
        row, column = divmod(bit, COLUMNS)
        left, top = column * block, height / 2 + row * height / 4
        shade = 255 if number >> bit & 1 else 0
        draw.rectangle([left, top, left + block, top + height / 4], fill=(shade,) * 3)
    return np.asarray(image)


def read_number(frame_HWC: NDArray[np.uint8]) -> int | None:
    """The number that a decoded frame of any size shows, None where a block is neither black nor white."""
    height, width = frame_HWC.shape[:2]
    luma_HW = frame_HWC.astype(np.float64).mean(-1)
    half_h, half_w = max(1, height // 16), max(1, width // COLUMNS // 5)

    def shade(row_centre: float, column_centre: float) -> int | None:
        y, x = round(row_centre * height), round(column_centre * width)
        patch = luma_HW[max(0, y - half_h) : y + half_h, max(0, x - half_w) : x + half_w]
        value = patch.mean()
        return 1 if value > 160 else 0 if value < 95 else None

    if shade(0.25, 0.5 / COLUMNS) != 1 or shade(0.25, 1 - 0.5 / COLUMNS) != 0:
        return None
    number = 0
    for bit in range(NUM_BITS):
        row, column = divmod(bit, COLUMNS)
        value = shade(0.5 + (row + 0.5) / 4, (column + 0.5) / COLUMNS)
        if value is None:
            return None
        number |= value << bit
    return number


def read_numbers(frames_THWC: Iterable[NDArray[np.uint8]]) -> list[int | None]:
    """`read_number` of each frame."""
    return [read_number(frame_HWC) for frame_HWC in frames_THWC]


def write_numbered(
    path: Path | str,
    num_frames: int = 60,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 25,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    gop: int = 12,
    b_frames: int = 2,
    container: dict[str, Any] | None = None,
    audio: bool = False,
    first: int = 0,
) -> Path:
    """Write a video whose frame n shows `first` + n, and return its path.

    stamps: PTS of the frames in units of `time_base` (default 1 / rate), for variable rates; codec,
    pix_fmt, options, gop, b_frames go to the encoder, `container` to `av.open`; `audio` adds a tone.
    """
    base = 1 / Fraction(rate) if time_base is None else time_base
    with kept_priority(), av.open(str(path), "w", **(container or {})) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = base
        context.thread_count = 1
        if codec not in ("gif", "ffv1", "mjpeg", "qtrle", "png", "prores_ks", "apng", "rawvideo"):
            context.gop_size = gop
            if codec.startswith(("libx26", "mpeg")):
                context.max_b_frames = b_frames
        sound = output.add_stream("aac", rate=48000) if audio else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw_number(first + number, size), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = base
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
        if sound is not None:
            _write_tone(output, sound, float(num_frames / rate))
    return Path(path)


def _write_tone(output: Any, stream: Any, seconds: float) -> None:
    samples = np.sin(np.arange(int(48000 * seconds)) * (2 * np.pi * 440 / 48000)).astype(np.float32)
    for start in range(0, len(samples) - 1023, 1024):
        block = np.stack([samples[start : start + 1024]] * 2)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for packet in stream.encode(frame):
            output.mux(packet)
    for packet in stream.encode(None):
        output.mux(packet)


MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""a, b, c, d of the display matrix for a clockwise turn in degrees (ISO/IEC 14496-12, sec. 6.2.2)."""


def patch_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix (a, b, c, d) into the first track header of an mp4/mov file."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd")
    start = place + 4 + (52 if data[place + 4] else 40)
    a, b, c, d = (value * 65536 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def patch_edit(path: Path, *, skip_ticks: int, cut_milliseconds: int) -> None:
    """Make the (single) edit of an mp4 file begin `skip_ticks` of the media later and last shorter.

    skip_ticks: in units of the media's time scale; cut_milliseconds: in the movie's (FFmpeg's: 1/1000 s).
    """
    data = bytearray(path.read_bytes())
    place = data.index(b"elst")
    if data[place + 4] != 0 or struct.unpack(">I", data[place + 8 : place + 12])[0] != 1:
        raise ValueError("the file has no single edit of version 0")
    duration, media_time = struct.unpack(">Ii", data[place + 12 : place + 20])
    data[place + 12 : place + 20] = struct.pack(">Ii", duration - cut_milliseconds, media_time + skip_ticks)
    path.write_bytes(bytes(data))


def patch_sync_samples(path: Path, moves: dict[int, int]) -> None:
    """Change entries of an mp4's list of keyframes (stss): samples (from 1) that get another number."""
    data = bytearray(path.read_bytes())
    place = data.index(b"stss") + 8
    count = struct.unpack(">I", data[place : place + 4])[0]
    for entry in range(place + 4, place + 4 + 4 * count, 4):
        sample = struct.unpack(">I", data[entry : entry + 4])[0]
        data[entry : entry + 4] = struct.pack(">I", moves.get(sample, sample))
    path.write_bytes(bytes(data))


NOT_CODED = b"\x00\x00\x01\xb6\x50\x00\x5f\xff"
"""An MPEG-4 picture of a few bytes that says "as before" (what encoders write to keep count)."""


def write_packed(path: Path, num_frames: int = 41, packed_from: int = 0) -> Path:
    """An AVI with packed B-frames, as DivX wrote them: each B-picture rides in the packet of the P before it.

    num_frames: odd, since the order is I, then pairs of B and P; packed_from: pairs before that one (from 0)
    have packets of their own.
    """
    plain = path.with_suffix(".plain.avi")
    write_numbered(
        plain, num_frames, codec="mpeg4", b_frames=1, gop=1000, options={"sc_threshold": "1000000000"}
    )
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        packets = [bytes(packet) for packet in source.demux(stream) if packet.size]
        copy = target.add_stream_from_template(stream)
        mark = b"\x00\x00\x01\xb2DivX503b1393p"
        units = [mark + packets[0]]
        for pair, (forward, between) in enumerate(zip(packets[1::2], packets[2::2], strict=True)):
            units += [forward, between] if pair < packed_from else [forward + between, NOT_CODED]
        for number, unit in enumerate(units):
            packet = av.Packet(unit)
            packet.stream, packet.time_base = copy, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration = 1
            packet.is_keyframe = number == 0
            target.mux(packet)
    plain.unlink()
    return path


def repeat_packets(source_path: Path, path: Path, times: int) -> Path:
    """Copy a video of keyframes only `times` over into `path`, one after the other, without encoding."""
    with av.open(str(source_path)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        units = [bytes(packet) for packet in source.demux(stream) if packet.size]
        copy = target.add_stream_from_template(stream)
        for number in range(len(units) * times):
            packet = av.Packet(units[number % len(units)])
            packet.stream, packet.time_base = copy, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            target.mux(packet)
    return path
