"""Small videos in many containers, and seeded ways to damage their bytes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from priority import kept_priority

NUM_FRAMES, HEIGHT, WIDTH, FPS = 36, 96, 128, 25

RECIPES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    # name: (file, codec, pixel format, options); x264 and x265 use B-frames and three groups of pictures
    "mp4_h264": ("a.mp4", "libx264", "yuv420p", {"g": "12", "bf": "2", "crf": "23", "preset": "veryfast"}),
    "mkv_h264": ("a.mkv", "libx264", "yuv420p", {"g": "12", "bf": "2", "crf": "23", "preset": "veryfast"}),
    "ts_h264": ("a.ts", "libx264", "yuv420p", {"g": "12", "bf": "2", "crf": "23", "preset": "veryfast"}),
    "mp4_hevc": (
        "h.mp4",
        "libx265",
        "yuv420p",
        {"preset": "ultrafast", "x265-params": "keyint=12:bframes=2:log-level=none"},
    ),
    "webm_vp9": (
        "a.webm",
        "libvpx-vp9",
        "yuv420p",
        {"g": "12", "deadline": "realtime", "cpu-used": "8", "b": "400k"},
    ),
    "mp4_av1": ("v.mp4", "libsvtav1", "yuv420p", {"g": "12", "preset": "12", "crf": "35"}),
    "avi_mpeg4": ("a.avi", "mpeg4", "yuv420p", {"g": "12", "b": "400k"}),
    "mov_mpeg4": ("a.mov", "mpeg4", "yuv420p", {"g": "12", "bf": "2", "b": "400k"}),
    "ts_mpeg2": ("m.ts", "mpeg2video", "yuv420p", {"g": "12", "bf": "2", "b": "800k"}),
    "avi_mjpeg": ("j.avi", "mjpeg", "yuvj420p", {"qscale": "5"}),
    "mkv_ffv1": ("f.mkv", "ffv1", "yuv420p", {"level": "3", "slicecrc": "1"}),
    "gif": ("a.gif", "gif", "rgb8", {}),
}


def pictures(num_frames: int = NUM_FRAMES, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Frames with texture that moves, no two alike: frames_THWC."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    texture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for index in range(num_frames):
        down, across = index % 24, (2 * index) % 56
        frames[index] = texture[down : down + height, across : across + width]
        left = (5 * index) % (width - 24)
        frames[index, 20:44, left : left + 24] = (255, 255 - 6 * (index % 40), 6 * (index % 40))
    return frames


def write_video(
    path: Path, codec: str, pixel_format: str, options: dict[str, str], frames: NDArray[np.uint8]
) -> None:
    """Encode frames_THWC at 25 frames per second with a single thread, so that the bytes repeat."""
    with kept_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixel_format
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, FPS)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_all(folder: Path) -> dict[str, Path]:
    """Every recipe's video in `folder`: name -> path."""
    av.logging.set_level(None)
    frames, written = pictures(), {}
    for name, (file, codec, pixel_format, options) in RECIPES.items():
        written[name] = folder / file
        write_video(written[name], codec, pixel_format, options, frames)
    return written


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off the end."""
    return data[: int(rng.integers(1, len(data)))]


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip 1 to 8 bits anywhere."""
    damaged = bytearray(data)
    for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def zero_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a run of 16 to 512 bytes with zeros, as a lost disk block does."""
    start, length = int(rng.integers(0, len(data))), int(rng.integers(16, 513))
    damaged = bytearray(data)
    damaged[start : start + length] = bytes(len(damaged[start : start + length]))
    return bytes(damaged)


def swap_header(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Put the first 32 to 512 bytes of another video in place of its own."""
    length = int(rng.integers(32, 513))
    return other[:length] + data[length:]


MUTATIONS: dict[str, Callable[..., bytes]] = {
    "truncate": truncate,
    "flip_bits": flip_bits,
    "zero_bytes": zero_bytes,
    "swap_header": swap_header,
}


def mutate(kind: str, data: bytes, seed: int, other: bytes) -> bytes:
    """Damage `data` by one of MUTATIONS; the seed decides where. `other` lends its header to swap_header."""
    rng = np.random.default_rng(seed)
    if kind == "swap_header":
        return swap_header(data, rng, other)
    return MUTATIONS[kind](data, rng)
