"""A dataset in a few large tar files: what network disks and object stores read fast.

The naming is WebDataset's: members of one video share a key and follow each other, `KEY.mp4` (the video as
it is, whatever its ending) and `KEY.json` (its examples). The tar files are plain and the same for the same
input, byte by byte. `list.jsonl` beside them lists every example, its video as `000000.tar/KEY.mp4`, which
the loader reads by seeking, so that any order of epochs and any place to go on from stay possible.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from vadis.data.clips import find_source
from vadis.data.listing import write_list
from vadis.records import DataError, Dataset, Example
from vadis.video.write import part_file

LIST_NAME = "list.jsonl"


def write_shards(
    dataset: Dataset,
    folder: Path,
    *,
    max_bytes: int = 2**30,
    seed: int | None = 0,
    on_done: Callable[[str], None] = lambda video: None,
) -> Path:
    """Pack a dataset's videos into tar files of about `max_bytes` bytes; returns the list beside them.

    Videos come in an order drawn by the seed (None: as listed), so that one shard holds many classes. The
    list is written last: without it the shards are not whole. Raises DataError for a folder of frames, or a
    missing video.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes ({max_bytes}) must be positive")
    by_video: dict[str, list[int]] = {}
    for index, example in enumerate(dataset.examples):
        by_video.setdefault(example.video, []).append(index)
    videos = list(by_video)
    if seed is not None:
        videos = [videos[at] for at in np.random.Generator(np.random.PCG64(seed)).permutation(len(videos))]
    sizes = {video: _size(dataset, video) for video in videos}
    shards: list[list[str]] = [[]]
    filled = 0
    for video in videos:
        if shards[-1] and filled + sizes[video] > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(video)
        filled += sizes[video]
    packed: list[Example | None] = [None] * len(dataset.examples)
    number = 0
    for shard, members in enumerate(shards):
        name = f"{shard:06d}.tar"
        with part_file(folder / name) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            for video in members:
                key = f"{number:08d}"
                number += 1
                source, _ = find_source(Path(dataset.root), video)
                data = source if isinstance(source, bytes) else source.read_bytes()
                ending = Path(video).suffix.lower() or ".mp4"
                examples = [dataset.examples[index] for index in by_video[video]]
                _add(tar, key + ending, data)
                _add(tar, f"{key}.json", _description(dataset, video, examples))
                for index in by_video[video]:
                    packed[index] = replace(dataset.examples[index], video=f"{name}/{key}{ending}", flow=())
                on_done(video)
    kept = tuple(example for example in packed if example is not None)
    return write_list(folder / LIST_NAME, replace(dataset, root=str(folder), examples=kept))


def _size(dataset: Dataset, video: str) -> int:
    source, name = find_source(Path(dataset.root), video)
    if isinstance(source, bytes):
        return len(source)
    if source.is_dir():
        raise DataError(f"{name}: a folder of frames does not go into a shard; make it a video first")
    try:
        return source.stat().st_size
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error


def _description(dataset: Dataset, video: str, examples: list[Example]) -> bytes:
    names = sorted({dataset.class_names[label] for example in examples for label in example.labels})
    rows = [
        {key: value for key, value in asdict(example).items() if value not in (None, (), "")}
        for example in examples
    ]
    row: dict[str, object] = {"source": video, "class_names": names, "examples": rows}
    if len(examples) == 1 and len(examples[0].labels) == 1:
        row["label"], row["class_name"] = examples[0].labels[0], names[0]
    return json.dumps(row, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time 0, no owner: the same input gives the same file
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
