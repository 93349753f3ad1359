"""Made videos of moving shapes, from which each dataset module writes a tiny copy of its official layout.

So reading, training and evaluation can be tested on every format without a download. The label shows in what
moves (disc, square, triangle, cross, ring), in its colour and in where it goes; the seed changes the
start, the size and the ground. The shape's box is known in every frame, the flow is its velocity.

Legend: T frames, H W pixels, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vadis.video.write import VideoWriter, part_file

FPS = 25
WIDTH, HEIGHT = 64, 48
NUM_SHAPES = 5
COLOURS = ((230, 60, 50), (60, 200, 80), (70, 110, 240), (240, 210, 60), (220, 90, 220), (90, 220, 220))
CODECS = {".avi": ("mpeg4", "yuv420p"), ".webm": ("libvpx", "yuv420p")}
"""Encoder and pixel format of the containers that `VideoWriter` does not write."""


@dataclass(frozen=True)
class MadeClip:
    """Frames of one moving shape, its box in pixels (x1, y1, x2, y2) and its velocity in pixels a frame."""

    frames_THWC: NDArray[np.uint8]
    box_T4: NDArray[np.float64]
    flow_T2: NDArray[np.float64]


def draw_clip(
    label: int, seed: int = 0, num_frames: int = 25, width: int = WIDTH, height: int = HEIGHT
) -> MadeClip:
    """A shape that shows a label, on a noisy ground; the same arguments give the same pixels.

    Frames are (T, H, W, C) with T = num_frames.
    """
    rng = np.random.default_rng((label, seed))
    radius = 0.16 * min(width, height) * rng.uniform(0.9, 1.2)
    angle = math.tau * label * 0.381966 + rng.uniform(-0.2, 0.2)  # steps of the golden ratio: no two alike
    speed = 0.6 * min(width, height) / max(num_frames, 8)
    ground_HWC = np.clip(rng.normal(90, 12, (height, width, 1)) + rng.uniform(-25, 25, 3), 0, 255)
    times_T = np.arange(num_frames)[:, None]
    centre_2 = np.array([width, height]) / 2 + rng.uniform(-3, 3, 2)
    step_2 = speed * np.array([math.cos(angle), math.sin(angle)])
    centre_T2 = centre_2 + (times_T - num_frames / 2) * step_2
    centre_T2 = np.clip(centre_T2, radius, np.array([width, height]) - 1 - radius)
    y_HW, x_HW = np.mgrid[:height, :width]
    frames_THWC = np.empty((num_frames, height, width, 3), np.uint8)
    colour = COLOURS[label % len(COLOURS)]
    for frame_HWC, (x, y) in zip(frames_THWC, centre_T2, strict=True):
        inside_HW = _is_inside(label % NUM_SHAPES, (x_HW - x) / radius, (y_HW - y) / radius)
        frame_HWC[:] = np.where(inside_HW[..., None], colour, ground_HWC)
    box_T4 = np.concatenate([centre_T2 - radius, centre_T2 + radius], axis=1)
    return MadeClip(frames_THWC, box_T4, np.gradient(centre_T2, axis=0) if num_frames > 1 else 0 * centre_T2)


def _is_inside(shape: int, x_HW: NDArray[np.float64], y_HW: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pixels a shape of half-width 1 covers. Returns (H, W)."""
    far_HW = np.maximum(abs(x_HW), abs(y_HW))
    round_HW = np.hypot(x_HW, y_HW)
    if shape == 0:
        return np.asarray(round_HW <= 1)
    if shape == 1:
        return np.asarray(far_HW <= 0.9)
    if shape == 2:
        return np.asarray((abs(y_HW) <= 1) & (2 * abs(x_HW) <= 1 + y_HW))
    if shape == 3:
        return np.asarray((far_HW <= 1) & (np.minimum(abs(x_HW), abs(y_HW)) <= 0.33))
    return np.asarray((round_HW <= 1) & (round_HW >= 0.55))


def write_clip(
    path: Path, label: int, seed: int = 0, *, num_frames: int = 25, fps: int = FPS, width: int = WIDTH
) -> MadeClip:
    """Write a made clip as a video; the ending names the container (.mp4, .mkv, .avi, .webm). fps: in Hz."""
    clip = draw_clip(label, seed, num_frames, width, HEIGHT)
    if path.suffix not in CODECS:
        with VideoWriter(path, fps) as writer:
            for frame_HWC in clip.frames_THWC:
                writer.write(frame_HWC)
        return clip
    codec, pixel_format = CODECS[path.suffix]
    with part_file(path) as part, av.open(str(part), "w", format=path.suffix[1:]) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=fps))
        stream.width, stream.height, stream.pix_fmt = width, HEIGHT, pixel_format
        stream.bit_rate = 400_000
        for frame_HWC in clip.frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return clip


def write_frames(
    folder: Path, name: str, label: int, seed: int = 0, *, num_frames: int = 16, first: int = 1
) -> MadeClip:
    """Write a made clip as a folder of pictures; `name` is their pattern, such as `img_%05d.jpg`."""
    clip = draw_clip(label, seed, num_frames)
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame_HWC in enumerate(clip.frames_THWC, first):
        Image.fromarray(frame_HWC).save(folder / (name % number))
    return clip


def write_flow(folder: Path, names: tuple[str, str], clip: MadeClip, *, first: int = 1) -> None:
    """Write a clip's flow as grey pictures, x and y: [-20, 20] pixels a frame become 0..255, 0 is 128.

    `names` are their patterns, such as `u/frame%06d.jpg`. One picture fewer than there are frames, as flow
    leads from one to the next.
    """
    for number, flow_2 in enumerate(clip.flow_T2[:-1], first):
        for name, value in zip(names, flow_2, strict=True):
            grey = round(255 * (min(max(value, -20.0), 20.0) + 20) / 40)
            file = folder / (name % number)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (WIDTH, HEIGHT), grey).save(file)


def seed_of(split: str, number: int) -> int:
    """The seed of a split's clip: no two splits show the same pictures."""
    return number + 1000 * ("train", "val", "test").index(split)


def write_text(path: Path, *lines: str) -> None:
    """Write lines as a text file, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
