"""What vadis writes itself: the folders of `vadis data make`, the lists of `split`, `convert` and `shard`.

A benchmark's folder holds `benchmark.json` (`vadis.data.benchmark`), a list is one `.jsonl` whose first line
has `"format": "vadis list"` (`vadis.data.listing`); a folder of shards holds one as `list.jsonl`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from vadis.data.rows import read_json, read_lines
from vadis.records import DataError, Dataset

MANIFEST, LIST = "benchmark.json", "list.jsonl"


def list_head(path: Path) -> dict[str, object]:
    """The first line of one of our lists, empty for any other file."""
    if path.suffix != ".jsonl" or not path.is_file():
        return {}
    try:
        head = json.loads(next(iter(read_lines(path)))[1])
    except (DataError, ValueError, StopIteration):
        return {}
    return head if isinstance(head, dict) and head.get("format") == "vadis list" else {}


def lists_of(root: Path) -> dict[str, Path]:
    """Our lists at or in a root, by their split."""
    paths = [root] if root.is_file() else sorted(root.glob("*.jsonl")) if root.is_dir() else []
    found: dict[str, Path] = {}
    for path in paths:
        if head := list_head(path):
            split = str(head.get("split") or "all")
            if split in found:
                raise ValueError(f"{found[split]} and {path} are both lists of {split!r}; name one of them")
            found[split] = path
    return found


def find_splits(root: Path, form: str = "list") -> tuple[str, ...]:
    """The splits that there are."""
    if (root / MANIFEST).is_file():
        return ("train", "test", *(f"{part}{fold}" for fold in (1, 2, 3) for part in ("train", "test")))
    return tuple(lists_of(root))


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    form: str = "list",
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split. form: "benchmark" or "list"; videos: ignored, both know where theirs lie. DataError."""
    root = Path(root)
    if form == "benchmark":
        from vadis.data.benchmark import read as read_benchmark

        return read_benchmark(root, split)
    from vadis.data.listing import read_list

    return read_list(lists_of(root)[split])


def recognise(root: Path, form: str) -> str:
    """What speaks for one of the two under a root; "" where nothing does."""
    if form == "list":
        return ", ".join(path.name for path in lists_of(root).values())
    if not (root / MANIFEST).is_file():
        return ""
    document = read_json(root / MANIFEST)
    settings = document.get("settings") if isinstance(document, dict) else None
    return (
        f"{MANIFEST} of {settings['benchmark']}"
        if isinstance(settings, dict) and "benchmark" in settings
        else ""
    )


def write_tiny(root: Path, form: str) -> None:
    """Write a tiny copy: class folders with a list beside them, or a benchmark of three clips a class."""
    if form == "benchmark":
        from vadis.data.benchmark import make

        make("shapes", root, clips_per_class=3, size=32, num_frames=4, workers=1)
        return
    from vadis.data import folders
    from vadis.data.listing import write_list

    folders.write_tiny(root)
    for split in folders.find_splits(root):
        write_list(root / f"{split}.jsonl", folders.read(root, split))
