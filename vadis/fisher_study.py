"""Fisher vectors of a dataset: its videos' tracks, their vectors, a machine that tells the classes apart.

    tracked = track_dataset(train_set, Path("tracks"), TrackOptions())
    samples = sample_rows((load_tracks(each.path)[0].descriptors for each in tracked), 256_000, len(tracked))
    encoder = fit_encoder(samples)
    features = encode_dataset(train_set, tracked, encoder)
    model = teach(train_set, features, encoder)

Tracks are kept in files under the content of their video and the options, so that a stopped run goes on where
it was, and another number of Gaussians costs no new tracks.

Legend: N videos, D numbers of a Fisher vector, K classes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.data.clip_rules import ClipRule, interval_frames
from vadis.data.clips import find_source
from vadis.evaluation.protocols import EvaluationProtocol
from vadis.evaluation.views import ScoredDataset
from vadis.feature_store import FeatureSet, feature_key
from vadis.fisher import STRENGTH, FisherEncoder, FisherModel, fit_classes
from vadis.formats.table import spell_out
from vadis.records import Dataset, Example, Failure, VideoError
from vadis.score_files import to_scores
from vadis.video.decode import Video
from vadis.video.track_files import load_tracks, save_tracks
from vadis.video.tracks import TrackOptions, Trajectories
from vadis.video.trajectories import CHUNK, collect, stream_trajectories

MAX_TRACKS = 5000
"""Tracks of a video that a dataset's files keep: a random part of more."""


@dataclass(frozen=True)
class Tracked:
    """What became of one example: the file of its tracks, or why there is none; processor seconds."""

    path: Path | None
    failure: Failure | None = None
    cost: dict[str, float] = field(default_factory=dict)


def track_example(
    example: Example,
    root: str | Path,
    out: Path,
    options: TrackOptions,
    short_side: int | None = None,
    max_tracks: int | None = MAX_TRACKS,
    device: str = "cpu",
) -> Tracked:
    """Find the tracks of one example, within its interval and with its boxes, and keep them in a file.

    short_side: pixels. What stands already, of the same content and options, is taken.
    """
    people = [[box.frame, box.x1, box.y1, box.x2, box.y2] for box in example.boxes if box.frame is not None]
    settings = json.dumps([options.to_dict(), short_side, max_tracks, people], sort_keys=True)
    try:
        source, name = find_source(Path(root), example.video)
        target = out / f"{feature_key(source, example, settings)[:32]}.npz"
        if target.exists():
            return Tracked(target)
        begun = time.process_time()
        parts = _read_parts(example, source, name, options, short_side, device)
        found = collect(parts, options, max_tracks)
        cost = {**found.cost, "all": time.process_time() - begun}
        save_tracks(target, found, options, {"id": example.id, "video": spell_out(example.video)}, half=True)
        return Tracked(target, None, cost)
    except VideoError as error:
        return Tracked(None, Failure(error.kind, error.message))
    except ValueError as error:  # a picture below 32 pixels
        return Tracked(None, Failure("refused", str(error)))
    except OSError as error:
        return Tracked(None, Failure("not_found", str(error)))


def _read_parts(
    example: Example, source: Any, name: str, options: TrackOptions, short_side: int | None, device: str
) -> Iterator[Trajectories]:
    with Video(source, short_side=short_side, threads=1) as video:
        times_T = video.frame_times()
        first, stop = interval_frames(example, times_T, name)
        boxes: list[list[list[float]]] = []
        if any(box.frame is not None for box in example.boxes):
            boxes = [[] for _ in range(first, stop)]
            for box in example.boxes:
                if box.frame is not None and first <= box.frame < stop:
                    boxes[box.frame - first].append([box.x1, box.y1, box.x2, box.y2])
        ranges = (range(start, min(stop, start + CHUNK)) for start in range(first, stop, CHUNK))
        frames = (
            (video.frames_by_index(each).frames_THWC, times_T[each.start : each.stop]) for each in ranges
        )
        yield from stream_trajectories(frames, options, boxes=boxes, device=device)


def track_dataset(
    dataset: Dataset,
    out: Path,
    options: TrackOptions,
    *,
    short_side: int | None = None,
    max_tracks: int | None = MAX_TRACKS,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> list[Tracked]:
    """The tracks of every example, in its order; short_side in pixels. Workers are processes."""
    total = len(dataset.examples)
    found: list[Tracked | None] = [None] * total
    arguments = (dataset.root, out, options, short_side, max_tracks)
    if workers <= 1:
        for index, example in enumerate(dataset.examples):
            found[index] = track_example(example, *arguments)
            if progress is not None:
                progress(index + 1, total)
        return [each for each in found if each is not None]
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        jobs = {pool.submit(track_example, each, *arguments): i for i, each in enumerate(dataset.examples)}
        for done, job in enumerate(as_completed(jobs), 1):
            found[jobs[job]] = job.result()
            if progress is not None:
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)
    return [each for each in found if each is not None]


def encode_dataset(dataset: Dataset, tracked: list[Tracked], encoder: FisherEncoder) -> FeatureSet:
    """The Fisher vector of each example as features of one view; NaN where a video could not be read."""
    vectors_ND = np.full((len(tracked), encoder.size), np.nan, np.float32)
    seconds_N2 = np.full((len(tracked), 2), np.nan)
    failures: dict[int, Failure] = {}
    for row, each in enumerate(tracked):
        if each.path is None:
            failures[row] = each.failure or Failure("corrupt", "unknown")
            continue
        tracks, _ = load_tracks(each.path)
        vectors_ND[row] = encoder.encode(tracks.descriptors)
        seconds_N2[row] = (
            (tracks.seconds_N2[:, 0].min(), tracks.seconds_N2[:, 1].max()) if len(tracks) else (0.0, 0.0)
        )
    return FeatureSet(
        vectors_ND[:, None],
        seconds_N2[:, None],
        tuple(example.labels for example in dataset.examples),
        tuple(example.id for example in dataset.examples),
        tuple(example.video for example in dataset.examples),
        dataset.class_names,
        {"layer": "fisher", "model": "improved dense trajectories", "split": dataset.split},
        failures,
    )


def targets_of(dataset: Dataset) -> NDArray[np.float64]:
    """Labels of the examples as 0 and 1: target_NK."""
    target_NK = np.zeros((len(dataset.examples), dataset.num_classes))
    for row, example in enumerate(dataset.examples):
        target_NK[row, list(example.labels)] = 1
    return target_NK


def teach(
    train_set: Dataset,
    features: FeatureSet,
    encoder: FisherEncoder,
    strength: float = STRENGTH,
    settings: Mapping[str, Any] | None = None,
) -> FisherModel:
    """A model of the training part's Fisher vectors. strength: C, a factor."""
    readable_N = features.readable_N
    examples = [example for example, good in zip(train_set.examples, readable_N, strict=True) if good]
    weight_KD, bias_K = fit_classes(
        features.features_NVD[readable_N, 0], targets_of(train_set)[readable_N], examples, strength
    )
    return FisherModel(encoder, weight_KD, bias_K, train_set.class_names, settings or {})


def score_part(model: FisherModel, dataset: Dataset, features: FeatureSet) -> ScoredDataset:
    """Scores of a part in [0, 1] (softmax or sigmoid of the margins), as the project's figures take them."""
    margins_NK = np.full((len(features), dataset.num_classes), np.nan)
    readable_N = features.readable_N
    margins_NK[readable_N] = model.margins(features.features_NVD[readable_N, 0])
    label_N = [labels[0] if len(labels) == 1 else -1 for labels in features.labels]
    hit_N = readable_N & (np.nan_to_num(margins_NK, nan=-np.inf).argmax(1) == label_N)
    return ScoredDataset(
        to_scores(margins_NK, dataset.multi_label),
        EvaluationProtocol("trajectories", ClipRule("uniform"), source="Wang & Schmid, ICCV 2013"),
        readable_N.astype(np.int64),
        hit_N.astype(np.int64),
        hit_N,
        features.labels,
        dataset.multi_label,
        logits_NK=margins_NK,
    )
