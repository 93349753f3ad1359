"""The work behind `vadis trajectories`: tracks of videos or of a dataset, Fisher vectors, classes; resumed.

A dataset is worked through in four steps, each of which finds what stands already: the tracks of each video
(a file under its content and options), the codebooks of a sample of the training part, the Fisher vectors
of both parts (files of features, as `vadis extract` writes them), and the support vector machine with its
figures on the test part.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vadis.data.scan import open_dataset
from vadis.evaluation.measures import TITLES, measure
from vadis.feature_store import FeatureSet, content_hash, save_features
from vadis.fisher import (
    NUM_GAUSSIANS,
    NUM_SAMPLES,
    STRENGTH,
    FisherModel,
    fit_encoder,
    load_model,
    sample_rows,
    save_model,
)
from vadis.fisher_study import (
    MAX_TRACKS,
    Tracked,
    encode_dataset,
    score_part,
    teach,
    track_dataset,
)
from vadis.formats.table import spell_out
from vadis.progress import open_bar
from vadis.records import DataError, Dataset, VideoError
from vadis.score_files import make_scores, write_scores
from vadis.video.find import find_videos, new_stem
from vadis.video.track_files import draw_video, load_tracks, save_tracks
from vadis.video.tracks import TrackOptions, Trajectories
from vadis.video.trajectories import find_trajectories


@dataclass(frozen=True)
class TrajectoryJob:
    """One call of `vadis trajectories`: its options (short_side in pixels, strength a factor)."""

    sources: tuple[str, ...]
    out: str | None = None
    options: TrackOptions = field(default_factory=TrackOptions)
    short_side: int | None = None
    max_tracks: int | None = None
    boxes: str | None = None
    picture: str | None = None
    video: str | None = None
    model: str | None = None
    top_k: int = 5
    encode: bool = False
    train: str = "train"
    test: str = "test"
    name: str | None = None
    num_gaussians: int = NUM_GAUSSIANS
    num_samples: int = NUM_SAMPLES
    strength: float = STRENGTH
    intra: bool = False
    workers: int = 2
    device: str = "auto"
    quiet: bool = False
    as_json: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def run_trajectories(job: TrajectoryJob) -> int:
    """Do the job; returns the exit code: 0 all done, 1 some could not be read (listed), 130 stopped.

    Raises ValueError (exit code 2) for options that contradict each other.
    """
    if job.model is None:
        job.options.estimator(job.device)  # an unknown method is told before anything is read
    try:
        return _run_dataset(job) if job.encode else _run_videos(job)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        return 130


# --- videos one by one --------------------------------------------------------------------------------------


def _run_videos(job: TrajectoryJob) -> int:
    videos = list(find_videos(job.sources, sys.stdin if "-" in job.sources else ()))
    if not videos:
        raise ValueError(f"no videos found in {', '.join(job.sources)}")
    if len(videos) > 1 and (job.picture or job.video or job.boxes):
        raise ValueError("--picture, --video and --boxes are for one video")
    model = None if job.model is None else load_model(job.model)
    options, short_side = job.options, job.short_side
    if model is not None:  # tracks have to be those that it was taught with
        options = TrackOptions(**model.settings["options"])
        short_side = model.settings["short_side"]
    boxes = () if job.boxes is None else read_boxes(Path(job.boxes))
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    kept = 0
    names: set[str] = set()
    with open_bar(console, "videos", len(videos)) as bar:
        for video in videos:
            bar.say(spell_out(Path(video).name)[-40:])
            target = None if job.out is None else Path(job.out) / f"{new_stem(video, names)}.npz"
            try:
                if target is not None and model is None and _stands(job, target, video):
                    kept += 1
                    bar.advance()
                    continue
                found = find_trajectories(
                    video,
                    options,
                    short_side=short_side,
                    boxes=boxes,
                    max_tracks=job.max_tracks,
                    device=job.device,
                )
                rows.append(_finish_video(job, video, target, found, options, model))
            except FileNotFoundError:
                failed.append(f"{video}: there is no such file")
            except (VideoError, ValueError) as error:
                failed.append(str(error) if isinstance(error, VideoError) else f"{video}: {error}")
            if job.asked_to_stop():
                raise KeyboardInterrupt
            bar.advance()
    if job.as_json:
        print(json.dumps({"videos": rows, "kept": kept, "failed": failed}))
    else:
        for row in rows:
            print(_describe_row(row))
    if kept:
        console.print(f"{kept} files were there already, made in the same way", style="dim")
    return _list_failed(failed)


def _how_made(job: TrajectoryJob, video: str) -> dict[str, Any]:
    """What a file of tracks depends on besides its options."""
    return {
        "video": spell_out(video),
        "content": content_hash(Path(video)),
        "short_side": job.short_side,
        "max_tracks": job.max_tracks,
        "boxes": None if job.boxes is None else content_hash(Path(job.boxes)),
    }


def _stands(job: TrajectoryJob, target: Path, video: str) -> bool:
    """Whether the file is there, made in the same way of the same content, and nothing is to be drawn."""
    if job.picture is not None or job.video is not None or not target.exists():
        return False
    try:
        said = load_tracks(target)[1]
    except DataError:
        return False
    wanted = json.loads(json.dumps({**_how_made(job, video), "options": job.options.to_dict()}))
    return all(said.get(name) == value for name, value in wanted.items())


def _finish_video(
    job: TrajectoryJob,
    video: str,
    target: Path | None,
    found: Trajectories,
    options: TrackOptions,
    model: FisherModel | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "video": video,
        "tracks": len(found),
        "found": found.num_found,
        "frames": found.num_frames,
        "size": list(found.size),
        "notes": list(found.notes),
        "cost": {stage: round(seconds, 3) for stage, seconds in found.cost.items()},
    }
    if target is not None:
        row["file"] = str(save_tracks(target, found, options, _how_made(job, video)))
    if job.picture is not None or job.video is not None:
        picture = None if job.picture is None else Path(job.picture)
        draw_video(video, found, picture=picture, video=None if job.video is None else Path(job.video))
    if model is not None:
        margin_K = model.margins(model.encoder.encode(found.descriptors)[None])[0]
        order = np.argsort(-margin_K, kind="stable")[: job.top_k]
        row["labels"] = [
            {"label": int(k), "class_name": model.class_names[k], "margin": float(margin_K[k])} for k in order
        ]
    return row


def _describe_row(row: dict[str, Any]) -> str:
    height, width = row["size"]
    kept = "" if row["tracks"] == row["found"] else f" ({row['tracks']:,} kept)"
    size = f"{row['frames']} frames of {width}x{height}"
    lines = [f"{spell_out(row['video'])}: {row['found']:,} tracks{kept} in {size}"]
    for label in row.get("labels", ()):
        lines.append(f"  {label['margin']:+7.3f}  {spell_out(label['class_name'])}")
    lines += [f"  {spell_out(note)}" for note in row["notes"]]
    if "file" in row:
        lines.append(f"  {spell_out(row['file'])}")
    return "\n".join(lines)


def read_boxes(path: Path) -> list[list[list[float]]]:
    """People of each frame from lines `frame,x1,y1,x2,y2` (frames from 0, sides in [0, 1]).

    Raises DataError that names the line.
    """
    found: dict[int, list[list[float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        words = line.split(",")
        if not line.strip() or (number == 1 and not words[0].strip().isdigit()):
            continue  # an empty line, a heading
        try:
            frame, sides = int(words[0]), [float(word) for word in words[1:5]]
            if frame < 0 or len(sides) < 4 or not all(0 <= side <= 1 for side in sides):
                raise ValueError
        except ValueError:
            raise DataError(
                f"{path}:{number}: not frame,x1,y1,x2,y2 with sides in [0, 1]: {line!r}"
            ) from None
        found.setdefault(frame, []).append(sides)
    return [found.get(frame, []) for frame in range(max(found, default=-1) + 1)]


# --- a dataset ----------------------------------------------------------------------------------------------


def _run_dataset(job: TrajectoryJob) -> int:
    if len(job.sources) != 1 or job.out is None:
        raise ValueError("--encode takes one dataset, and --out names the folder of its files")
    if job.picture or job.video or job.model or job.boxes:
        raise ValueError("--picture, --video, --boxes and --model are for videos; leave out --encode")
    root, out = Path(job.sources[0]), Path(job.out)
    parts = {part: open_dataset(root, job.name, part) for part in (job.train, job.test)}
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    max_tracks = MAX_TRACKS if job.max_tracks is None else job.max_tracks or None
    tracked: dict[str, list[Tracked]] = {}
    for part, dataset in parts.items():
        with open_bar(console, f"tracks, {part}", len(dataset.examples)) as bar:

            def show(done: int, total: int, bar: Any = bar) -> None:
                if job.asked_to_stop():
                    raise KeyboardInterrupt
                bar.update(done, total)

            tracked[part] = track_dataset(
                dataset,
                out / "tracks",
                job.options,
                short_side=job.short_side,
                max_tracks=max_tracks,
                workers=job.workers,
                progress=show,
            )
    paths = [each.path for each in tracked[job.train] if each.path is not None]
    settings = {
        "options": job.options.to_dict(),
        "short_side": job.short_side,
        "max_tracks": max_tracks,
        "num_gaussians": job.num_gaussians,
        "num_samples": job.num_samples,
        "intra": job.intra,
        "strength": job.strength,
        "dataset": parts[job.train].name,
        "train": job.train,
        "num_train": len(paths),
    }
    console.print(f"codebooks of {job.num_gaussians} Gaussians", style="dim")
    samples = sample_rows((load_tracks(path)[0].descriptors for path in paths), job.num_samples, len(paths))
    encoder = fit_encoder(samples, job.num_gaussians, intra=job.intra)
    del samples
    features = {part: encode_dataset(dataset, tracked[part], encoder) for part, dataset in parts.items()}
    for part, each in features.items():
        save_features(out / f"{part}.npz", each)
    console.print("support vector machine", style="dim")
    model = teach(parts[job.train], features[job.train], encoder, job.strength, settings)
    save_model(out / "model.safetensors", model)
    measures = _write_result(job, out, model, parts[job.test], features[job.test])
    failed = [
        f"{each.ids[row]}: {failure.message}"
        for each in features.values()
        for row, failure in each.failures.items()
    ]
    if job.as_json:
        print(json.dumps({"out": str(out), "metrics": measures, "failed": failed}))
    else:
        _print_measures(measures)
        print(f"{out}/model.safetensors: for `vadis trajectories FILE --model`")
    return _list_failed(failed)


def _write_result(
    job: TrajectoryJob, out: Path, model: FisherModel, test_set: Dataset, features: FeatureSet
) -> dict[str, Any]:
    scored = score_part(model, test_set, features)
    measures = measure(scored, test_set)
    scores = make_scores(
        features.ids,
        test_set.class_names,
        features.labels,
        logits_NK=scored.logits_NK,
        multi_label=test_set.multi_label,
        kind="margins",
        split=job.test,
        dataset=test_set.name,
        protocol="trajectories",
        model="improved dense trajectories, Fisher vectors, SVM",
        videos=features.videos,
        groups=tuple(example.group for example in test_set.examples),
        provenance={"settings": dict(model.settings)},
    )
    write_scores(out / "scores.npz", scores)
    (out / "result.json").write_text(
        json.dumps({"settings": dict(model.settings), "metrics": measures}, indent=1), encoding="utf-8"
    )
    return measures


def _print_measures(measures: dict[str, Any]) -> None:
    for name, title in TITLES.items():
        if isinstance(measures.get(name), float) and not name.startswith(("clip_", "first_")):
            print(f"{title:<28} {100 * measures[name]:6.2f} %")
    for group, values in measures["groups"].items():
        share = values.get("top1", values.get("mean_ap"))
        if share is not None:
            print(f"  {group:<26} {100 * share:6.2f} %  ({values['num']} videos)")


def _list_failed(failed: list[str]) -> int:
    if not failed:
        return 0
    errors = Console(stderr=True, highlight=False)
    errors.print(f"{len(failed)} could not be read:", style="red")
    for line in failed:
        errors.print(f"  {spell_out(line)}", markup=False, soft_wrap=True)
    return 1
