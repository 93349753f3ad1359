"""The work behind `vadis extract`: features of videos, folders or a dataset, safely stopped and resumed.

A dataset gives one file for each split, anything else one for each video. What is already there, made in the
same way from the same content, is not made again; the examples of a dataset come from the cache of features.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from vadis.data import lists
from vadis.data.reading import PLAIN, Reading
from vadis.data.scan import open_dataset, recognise
from vadis.extractor import Extractor
from vadis.feature_layers import list_layers
from vadis.feature_store import (
    content_hash,
    default_cache_folder,
    read_provenance,
    save_features,
    save_windows,
)
from vadis.features import extract_features, extract_windows, open_model
from vadis.fetching import fetch_if_missing
from vadis.formats.table import spell_out
from vadis.models import create_model
from vadis.progress import Bar, Bars, open_bars
from vadis.records import Dataset, VideoError
from vadis.video.find import find_videos, new_stem
from vadis.windows import make_protocol

log = logging.getLogger(__name__)

WINDOWS = "windows"


@dataclass(frozen=True)
class ExtractJob:
    """One call of `vadis extract`; the fields are its options (seconds, frames, pixels)."""

    sources: tuple[str, ...]
    out: str
    model: str = "i3d_inception.k400"
    layer: str = "pool"
    protocol: str | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    split: str | None = None
    name: str | None = None
    each: bool = False
    num_frames: int | None = None
    size: int | None = None
    device: str = "auto"
    precision: str = "float32"
    workers: int = 2
    threads: int | None = None
    cache: bool = True
    reading: Reading = PLAIN
    quiet: bool = False
    as_json: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


@dataclass
class _Tally:
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def run_list_layers(model: str, as_json: bool) -> int:
    """`vadis extract --list-layers`: the layers of a network and the shapes of their outputs."""
    network = open_model(model) if Path(model).is_file() else create_model(model.partition(".")[0])
    found = list_layers(network)
    if as_json:
        print(json.dumps({"model": model, "layers": found}))
        return 0
    width = max(len(name) for name in found)
    for name, shape in found.items():
        print(f"{name:<{width}}  {'x'.join(map(str, shape)) if shape else '?'}")
    return 0


def run_extract(job: ExtractJob) -> int:
    """Do the job; returns the exit code: 0 all done, 1 some could not be read (listed), 130 stopped.

    Raises ValueError (exit code 2) for options that contradict each other or name nothing.
    """
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    datasets = list(_find_datasets(job))
    videos = [] if datasets else list(find_videos(job.sources, sys.stdin if "-" in job.sources else ()))
    if not datasets and not videos:
        raise ValueError(f"no videos found in {', '.join(job.sources)}")
    protocol = job.protocol or ("1x1" if datasets else WINDOWS)
    if datasets and (job.window_seconds or job.stride_seconds or protocol == WINDOWS):
        raise ValueError(
            "windows are for videos one by one: add --each, or take --protocol CLIPSxCROPS for a dataset"
        )
    if not datasets and protocol != WINDOWS:
        raise ValueError("videos one by one are cut into windows: leave out --protocol, or name a dataset")
    fetch_if_missing(job.model, quiet=job.quiet)
    extractor = Extractor(
        open_model(job.model, num_frames=job.num_frames, size=job.size),
        job.layer,
        device=job.device,
        precision=job.precision,
        threads=job.threads,
    )
    tally = _Tally()
    try:
        with open_bars(console) as bars:
            for dataset in datasets:
                _extract_dataset(job, extractor, dataset, protocol, bars, tally)
            if videos:
                _extract_videos(job, extractor, videos, bars, tally)
    except KeyboardInterrupt:
        console.print(f"stopped; {_count(tally)} are kept; the same command goes on")
        return 130
    return _summarise(job, console, tally)


def _find_datasets(job: ExtractJob) -> Iterator[Dataset]:
    """The splits that the user means, or nothing where SRC are videos."""
    wants = job.split is not None or job.name is not None
    if job.each or (len(job.sources) != 1 and not wants):
        return
    if len(job.sources) != 1:
        raise ValueError("--split and --as are for one dataset; name one folder or list")
    root = Path(job.sources[0])
    is_list = root.is_file() and root.suffix in lists.SUFFIXES
    if wants or is_list or (root.is_dir() and recognise(root)):
        for split in (job.split or "").split(","):
            yield open_dataset(root, job.name, split.strip() or None)


def _extract_dataset(
    job: ExtractJob, extractor: Extractor, dataset: Dataset, protocol: str, bars: Bars, tally: _Tally
) -> None:
    bar = bars.add(dataset.split, len(dataset.examples))

    def show(done: int, total: int) -> None:
        if job.asked_to_stop():
            raise KeyboardInterrupt
        bar.update(done, total)

    features = extract_features(
        extractor.model,
        dataset,
        protocol=protocol,
        cache_folder=default_cache_folder() if job.cache else None,
        workers=job.workers,
        reading=job.reading,
        progress=show,
        extractor=extractor,
    )
    target = Path(job.out) / f"{dataset.split}.npz"
    save_features(target, features)
    tally.written.append(str(target))
    tally.failed += [f"{features.ids[index]}: {item.message}" for index, item in features.failures.items()]
    tally.rows.append(
        {
            "file": str(target),
            "shape": list(features.features_NVD.shape),
            "failed": {features.ids[index]: item.message for index, item in features.failures.items()},
        }
    )


def _extract_videos(
    job: ExtractJob, extractor: Extractor, videos: list[str], bars: Bars, tally: _Tally
) -> None:
    rule = make_protocol(
        extractor.spec, WINDOWS, job.window_seconds, job.stride_seconds, extractor.model.min_frames
    )
    bar = bars.add("videos", len(videos))
    names: set[str] = set()
    for video in videos:
        target = Path(job.out) / f"{new_stem(video, names)}.npz"
        _show_video(job, bar, video, 0.0)
        try:
            provenance = {
                **extractor.provenance(rule.describe()),
                "video": spell_out(video),
                "content": content_hash(Path(video)),
            }
            if read_provenance(target) == json.loads(json.dumps({"kind": "video", **provenance})):
                tally.kept.append(str(target))
                continue

            def show(seconds: float, total: float | None, video: str = video) -> None:
                _show_video(job, bar, video, seconds)

            features_ND, seconds_N2 = extract_windows(
                extractor.model,
                video,
                window_seconds=job.window_seconds,
                stride_seconds=job.stride_seconds,
                reading=job.reading,
                progress=show,
                extractor=extractor,
            )
        except VideoError as error:
            tally.failed.append(str(error))
            tally.rows.append({"video": video, "failed": str(error)})
        except FileNotFoundError:
            tally.failed.append(f"{video}: there is no such file")
            tally.rows.append({"video": video, "failed": "there is no such file"})
        else:
            save_windows(target, features_ND, seconds_N2, provenance)
            tally.written.append(str(target))
            tally.rows.append({"video": video, "file": str(target), "shape": list(features_ND.shape)})
        finally:
            bar.advance()


def _show_video(job: ExtractJob, bar: Bar, video: str, seconds: float) -> None:
    if job.asked_to_stop():
        raise KeyboardInterrupt
    bar.say(f"{spell_out(Path(video).name)[-40:]}: {seconds:.0f} s")


def _count(tally: _Tally) -> str:
    return f"{len(tally.written) + len(tally.kept)} files"


def _summarise(job: ExtractJob, console: Console, tally: _Tally) -> int:
    if job.as_json:
        print(json.dumps({"files": tally.rows, "kept": tally.kept, "failed": tally.failed}))
    else:
        for row in tally.rows:
            if "file" in row:
                print(f"{spell_out(row['file'])}: {' x '.join(map(str, row['shape']))}")
    if tally.kept:
        console.print(f"{len(tally.kept)} files were there already, made in the same way", style="dim")
    if not tally.failed:
        return 0
    errors = Console(stderr=True, highlight=False)
    errors.print(f"{len(tally.failed)} could not be read:", style="red")
    for line in tally.failed:
        errors.print(f"  {spell_out(line)}", markup=False, soft_wrap=True)
    return 1
