"""Where a dataset's files lie: its annotations under a root, its videos wherever people have put them.

Official archives say where the annotations are; the videos end up in many layouts: class folders with spaces
or underscores, a folder for each split, everything in one folder, frames instead of files. So videos are
found by name: one walk over the root remembers every video file and every folder of frames. That costs no
more than a listing: a folder whose first entries are numbered images is a video and is not read further.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from vadis.data.rows import Notes, read_lines
from vadis.records import DataError, Dataset
from vadis.video.find import FLOW_MANIFEST, IMAGE_SUFFIXES, VIDEO_SUFFIXES

ANNOTATION_FOLDERS = ("", "annotations", "annotation", "labels", "lists", "splits")
"""Where annotation files are looked for, beside the folders that a dataset's own archives make."""

_FLOW_FOLDER = re.compile(r"(.*[_-])?flow(brox\d*)?([_-](images|frames))?$|brox-images$", re.I)
CLASS_FILES = ("classes.txt", "label_map.txt", "labels.txt")
"""Where class names may stand beside data of one's own."""

FIRST_FLOWS = ("flow_x_00001.jpg", "flow_x_00000.jpg", "flow_x_00001.png", "flow_x_00000.png")
"""How the first flow picture may be called where it lies beside the frames."""

_AXES = {"u": 0, "x": 0, "flow_x": 0, "v": 1, "y": 1, "flow_y": 1}


class AbsentError(DataError):
    """An annotation file is not there (while a malformed one is a plain DataError)."""


def find_annotations(root: Path, pattern: str, folders: Sequence[str] = ()) -> list[Path]:
    """The files of a name or a pattern in the root and its annotation folders, sorted."""
    found: dict[Path, Path] = {}
    for folder in (*ANNOTATION_FOLDERS, *folders):
        paths = [root / folder / pattern]
        if "*" in pattern:
            try:
                paths = [
                    path for path in (root / folder).iterdir() if fnmatch.fnmatchcase(path.name, pattern)
                ]
            except OSError:
                continue
        for path in paths:
            if path.is_file():
                found.setdefault(path.resolve(), path)
    return sorted(found.values())


def find_annotation(root: Path, patterns: Sequence[str], folders: Sequence[str] = ()) -> Path | None:
    """The one file that has one of several names, None where there is none.

    ValueError where there are two that differ: which one counts is not for us to guess.
    """
    found = [path for pattern in patterns for path in find_annotations(root, pattern, folders)]
    different = [path for path in found[1:] if path.read_bytes() != found[0].read_bytes()]
    if different:
        raise ValueError(f"{found[0]} and {different[0]} differ; keep one of them under {root}")
    return found[0] if found else None


def need_annotation(root: Path, patterns: Sequence[str], folders: Sequence[str] = ()) -> Path:
    """Like `find_annotation`, but a DataError where there is none."""
    path = find_annotation(root, patterns, folders)
    if path is None:
        places = ", ".join(f"{folder}/" for folder in (*ANNOTATION_FOLDERS, *folders) if folder)
        raise AbsentError(f"{root}: there is no {' or '.join(patterns)} here (nor in {places})")
    return path


def find_class_names(root: Path) -> tuple[str, ...] | None:
    """The class names that a file (`CLASS_FILES`) gives, one a line, with or without numbers; else None."""
    path = find_annotation(root, CLASS_FILES)
    if path is None:
        return None
    lines = [line for _, line in read_lines(path)]
    return tuple(_without_numbers(lines) or lines)


def write_class_names(path: Path, class_names: Sequence[str]) -> None:
    """Write class names as `find_class_names` reads them back. ValueError for a name that no line holds."""
    for name in class_names:
        if not name or name != name.strip() or len(name.splitlines()) != 1:
            raise ValueError(f"the class {name!r} cannot be a line of a file")
    numbered = [f"{i} {name}" for i, name in enumerate(class_names)]
    lines = numbered if _without_numbers(class_names) else class_names
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="")


def _without_numbers(lines: Sequence[str]) -> list[str]:
    """The names behind 0, 1, 2 ... where every line has its number; nothing otherwise."""
    numbered = [re.fullmatch(r"(\d+)[\s,:]+(.+)", line) for line in lines]
    names = [match[2] for i, match in enumerate(numbered) if match and int(match[1]) == i]
    return names if len(names) == len(lines) else []


def plain(name: str) -> str:
    """A class name as folders are compared: lower case; spaces, `_`, `+` and `-` are the same."""
    return re.sub(r"[\s_+\-]+", " ", name).strip().lower()


def is_frame_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether the first entries of a folder are numbered images: then it is a video."""
    num_images = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                suffix = PurePosixPath(entry.name).suffix.lower()
                if suffix in VIDEO_SUFFIXES or entry.is_dir():
                    return False
                num_images += suffix in IMAGE_SUFFIXES and bool(re.search(r"\d", entry.name))
                if num_images >= 2:
                    return True
    except OSError:
        return False
    return False


def is_folder_name(video: str) -> bool:
    """Whether a path has no video's ending, so that it means a folder of frames."""
    return "." + video.rpartition(".")[2].lower() not in VIDEO_SUFFIXES


def walk_videos(root: Path) -> Iterator[tuple[str, bool]]:
    """Every video below the root, relative to it with `/`: (file, False) or (folder of frames, True).

    Links are followed, each folder is entered once; hidden entries and stored flow (`vadis flow`) are passed
    over. Sorted within a folder.
    """
    seen: set[str] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        place = root / folder
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == FLOW_MANIFEST for entry in listed):
            continue
        inside = []
        for entry in listed:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if is_frame_folder(entry.path):
                    yield name, True
                else:
                    inside.append(name)
            elif PurePosixPath(entry.name).suffix.lower() in VIDEO_SUFFIXES:
                yield name, False
        waiting.extend(reversed(inside))


class Media:
    """The videos below a root, found by the name that annotations use; read from disk on the first question.

    `class_names` tell class folders from others: a video that lies in the folder of another class is not the
    one that is asked for (some datasets use one file name in several classes).
    """

    def __init__(self, root: str | os.PathLike[str], class_names: Iterable[str] = ()) -> None:
        self.root = Path(root)
        self.class_folders = {plain(name) for name in class_names}
        self.notes = Notes()
        self._videos: dict[str, list[tuple[bool, str]]] | None = None
        self._any_case: dict[str, list[tuple[bool, str]]] | None = None
        self._flows: dict[str, list[str]] = {}

    def find(self, stem: str, expected: str, folder: str = "", *, any_case: bool = False) -> str:
        """The path of a video, relative to the root; `expected`, the official one, where there is none.

        stem: the file's name without its ending. folder: the class folder that it should lie in, in any
        spelling; a video outside all class folders is accepted, one in another's is not. any_case: take
        a name in other upper and lower case, too (never for YouTube's ids, which differ by it).
        """
        found = self._index().get(stem, [])
        if not found and any_case and (found := self._index_of_any_case().get(stem.lower(), [])):
            self.notes.add("a video's name differs in upper and lower case from the list: taken", stem)
        near = [item for item in found if plain(folder) in map(plain, item[1].split("/")[:-1])]
        if folder and not near:
            near = [item for item in found if plain(_parent(item[1])) not in self.class_folders]
        paths = sorted(near if folder else found)  # files before folders of frames
        if not paths or expected in (path for _, path in paths):
            return expected
        if len(paths) > 1 and paths[0][0] == paths[1][0]:
            self.notes.add("a video lies in several places: the first by name is taken", paths[0][1])
        return paths[0][1]

    def flow(self, video: str) -> tuple[str, ...]:
        """Patterns of the flow pictures that belong to a video: (x, y), one that holds both, or none.

        Known: `flow_x_00001.jpg` beside the frames; folders of the same name below a folder called flow
        (`tvl1_flow/u/NAME`, `flow/NAME/NAME-000001x.jpg`, `flow/NAME/flow_x_00001.jpg`,
        `FlowBrox04/CLASS/NAME`). What `vadis flow` wrote is found elsewhere (`vadis.data.flow_stores`).
        """
        self._index()
        is_folder = is_folder_name(video)
        for first in FIRST_FLOWS if is_folder else ():
            if (self.root / video / first).is_file():
                return f"{video}/flow_x_*{first[-4:]}", f"{video}/flow_y_*{first[-4:]}"
        if not self._flows:
            return ()
        folders = self._flows.get(PurePosixPath(video).name if is_folder else PurePosixPath(video).stem, [])
        by_axis = {_AXES[part]: path for path in folders for part in path.split("/") if part in _AXES}
        if len(by_axis) == 2:
            return f"{by_axis[0]}/*", f"{by_axis[1]}/*"
        if not folders:
            return ()
        lowest = min(path.name for path in (self.root / folders[0]).iterdir())
        if match := re.search(r"\dx(\.\w+)$", lowest):
            return f"{folders[0]}/*x{match[1]}", f"{folders[0]}/*y{match[1]}"
        if match := re.fullmatch(r"(flow_)?x_?\d+(\.\w+)", lowest):
            kind = match[1] or ""
            return f"{folders[0]}/{kind}x*{match[2]}", f"{folders[0]}/{kind}y*{match[2]}"
        return (f"{folders[0]}/*",)

    def _index(self) -> dict[str, list[tuple[bool, str]]]:
        if self._videos is None:
            self._videos = {}
            for path, is_folder in walk_videos(self.root):
                name = PurePosixPath(path).name if is_folder else PurePosixPath(path).stem
                if is_folder and any(_FLOW_FOLDER.match(part) for part in path.split("/")[:-1]):
                    self._flows.setdefault(name, []).append(path)
                    continue
                self._videos.setdefault(name, []).append((is_folder, path))
        return self._videos

    def _index_of_any_case(self) -> dict[str, list[tuple[bool, str]]]:
        if self._any_case is None:
            self._any_case = {}
            for name, found in self._index().items():
                self._any_case.setdefault(name.lower(), []).extend(found)
        return self._any_case


def _parent(path: str) -> str:
    return PurePosixPath(path).parent.name


def missing_files(dataset: Dataset) -> list[str]:
    """The videos of a dataset that do not exist under its root, each once, in order."""
    listings: dict[str, set[str]] = {}
    missing: dict[str, None] = {}
    for example in dataset.examples:
        folder, _, name = example.video.rpartition("/")
        if folder not in listings:
            try:
                listings[folder] = {path.name for path in (Path(dataset.root) / folder).iterdir()}
            except OSError:
                listings[folder] = set()
        if name not in listings[folder]:
            missing[example.video] = None
    return list(missing)
