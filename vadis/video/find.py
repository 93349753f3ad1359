"""Which videos does the user mean: files, folders, patterns, a list on standard input.

A name that exists is that file, whatever characters are in it; only a name that does not exist and
holds `*`, `?` or `[` is taken as a pattern. Nothing is opened here.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m1v", ".m2ts", ".m2v", ".m4v",
    ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt",
    ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# fmt: on
FLOW_MANIFEST = "flow.jsonl"
"""A folder with this file holds stored flow (`vadis flow`), and no videos."""


def is_image_folder(folder: str | os.PathLike[str]) -> bool:
    """True where a folder holds numbered images (two or more) and no video: it is one video itself."""
    num_numbered = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - entry.name is no path to open
            if suffix in VIDEO_SUFFIXES and entry.is_file():
                return False
            if suffix in IMAGE_SUFFIXES and re.search(r"\d", entry.name):
                num_numbered += 1
    return num_numbered >= 2


def find_videos(arguments: Iterable[str], list_lines: Iterable[str] = ()) -> Iterator[str]:
    """Yield the videos that command-line arguments name, in order, each once.

    arguments: files (as they are, whatever they are called), folders (all videos below them, sorted;
    a folder of numbered images counts as one video), patterns (where no such file exists), or `-`:
    `list_lines`, one name a line, is read then. A name that matches nothing is yielded too, so that
    the reader reports it as `not_found` instead of it being dropped silently.
    """
    seen: set[str] = set()
    for argument in arguments:
        for name in _expand(argument, list_lines):
            if name not in seen:
                seen.add(name)
                yield name


def _expand(argument: str, list_lines: Iterable[str]) -> Iterator[str]:
    if argument == "-":
        for line in list_lines:
            name = line.rstrip("\r\n")
            if name:
                yield from _expand_path(name)
        return
    yield from _expand_path(argument)


def _expand_path(argument: str) -> Iterator[str]:
    path = Path(argument)
    if path.is_dir():
        yield from _walk(argument)
    elif os.path.lexists(argument) or not glob.has_magic(argument):
        yield argument
    else:
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - keeps the user's own spelling
        if not matches:
            yield argument
        for match in matches:
            if Path(match).is_dir():
                yield from _walk(match)
            else:
                yield match


def _walk(folder: str) -> Iterator[str]:
    if is_image_folder(folder):
        yield folder
        return
    for parent, folders, files in os.walk(folder):
        if FLOW_MANIFEST in files:
            folders.clear()
            continue
        folders.sort()
        for name in list(folders):
            inner = os.path.join(parent, name)  # noqa: PTH118 - keeps the user's own spelling of the folder
            if is_image_folder(inner):
                folders.remove(name)
                yield inner
        for name in sorted(files):
            if Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield os.path.join(parent, name)  # noqa: PTH118


def new_stem(video: str, taken: set[str]) -> str:
    """What files of a video are called: its stem, numbered where it is taken (a.mp4, b/a.avi); now taken."""
    stem, number = Path(video).stem, 1
    name = stem
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name
