"""A folder of numbered images is a video too: read in natural order at a constant rate."""

from __future__ import annotations

import re
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from vadis.records import Limits, VideoError, VideoInfo
from vadis.video.reader import Shot
from vadis.video.source import Budget

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
"""Pillow's names of the image formats that are read; none runs another program."""

FLOW = re.compile(r"flow_[xy]_\d+\.")
DEFAULT_RATE = Fraction(25)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `frame2.jpg` comes before `frame10.jpg`."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder in natural order of their names; hidden files are left out.

    Where optical flow lies beside the pictures (`flow_x_00001.jpg` beside `img_00001.jpg`, as the common
    tools write it), the flow is left out: it is not what the video shows.
    Raises VideoError("not_found") where the folder cannot be read, ("empty") where it has no image.
    """
    try:
        files = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise VideoError("not_found", str(folder), f"the folder cannot be read: {error}") from error
    if not files:
        raise VideoError(
            "empty",
            str(folder),
            "the folder holds no images",
            f"put numbered {', '.join(SUFFIXES)} files there",
        )
    pictures = [file for file in files if not FLOW.match(file.name)]
    return sorted(pictures or files, key=lambda file: natural_key(file.name))


class ImageReader:
    """Reads a folder of images with the same methods as `FileReader`; PTS are indices."""

    def __init__(self, folder: Path, limits: Limits = Limits(), *, rate: Fraction = DEFAULT_RATE) -> None:  # noqa: B008
        self.name = str(folder)
        self.limits = limits
        self.budget = Budget(self.name, limits.wall_seconds)
        self.files = list_images(folder)
        self.rate = rate
        self.time_base = 1 / rate
        self.origin = Fraction(0)
        self.num_decoded = 0
        self.num_refused = 0
        count = len(self.files)
        if limits.max_frames is not None and count > limits.max_frames:
            raise VideoError(
                "too_large", self.name, f"{count} images, the limit (max_frames) is {limits.max_frames}"
            )
        if limits.max_seconds is not None and count / rate > limits.max_seconds:
            limit = f"the limit (max_seconds) is {limits.max_seconds:g}"
            raise VideoError("too_large", self.name, f"{float(count / rate):.1f} seconds, {limit}")

    def read(self, index: int) -> Shot | None:
        """Image `index` as a shot, None where the file is damaged (which is counted)."""
        file = self.files[index]
        try:
            with Image.open(file, formats=FORMATS) as image:
                limit = self.limits.max_pixels
                if limit is not None and image.width * image.height > limit:
                    size = f"{file.name} has {image.width}x{image.height} pixels"
                    raise VideoError("too_large", self.name, f"{size}, the limit (max_pixels) is {limit}")
                pixels_HWC = np.asarray(image.convert("RGB"))
        except VideoError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError):
            self.num_refused += 1
            return None
        self.num_decoded += 1
        return Shot(
            VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24"), index, 1, False
        )

    def shots(self) -> Generator[Shot]:
        """All images, in order."""
        for index in range(len(self.files)):
            self.budget.check()
            shot = self.read(index)
            if shot is not None:
                yield shot

    def rewind(self) -> None:
        """Start anew at the first image."""
        self.num_decoded = self.num_refused = 0

    def outcome(self) -> tuple[int, bool, list[str]]:
        """Frames expected, ends early (never), remarks."""
        notes = [f"{self.num_refused} images could not be read"] if self.num_refused else []
        return len(self.files), False, notes

    def describe(self) -> VideoInfo:
        """What `probe` says of the folder; the size is that of the first readable image."""
        width = height = 0
        kind = "?"
        for file in self.files:
            try:
                with Image.open(file, formats=FORMATS) as image:
                    width, height, kind = image.width, image.height, (image.format or "?").lower()
                    break
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
        count = len(self.files)
        return VideoInfo(
            video=self.name,
            container="images",
            codec=kind,
            pixel_format="rgb24",
            bit_depth=8,
            width=width,
            height=height,
            rotation=0,
            sample_aspect=1.0,
            duration_seconds=float(count / self.rate),
            frame_rate=float(self.rate),
            real_frame_rate=float(self.rate),
            variable_frame_rate=False,
            frames_declared=count,
            frames_counted=count,
            start_seconds=0.0,
            interlaced=False,
            audio=(),
            size_bytes=sum(file.stat().st_size for file in self.files),
        )

    @property
    def packed(self) -> bool:
        """Never: images have no timestamps to go wrong."""
        return False

    def close(self) -> None:
        """Nothing stays open between images."""
