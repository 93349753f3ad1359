"""`vadis predict --dense`: the work behind it, in the same formats as `vadis predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from vadis.evaluation.dense import check_dense, score_densely, to_prediction
from vadis.fetching import fetch_if_missing
from vadis.formats import PredictionWriter, format_for, use_utf8
from vadis.formats.table import spell_out
from vadis.models import MODELS, VideoModel, create_model
from vadis.models.weights import load
from vadis.records import Failure, Limits, Prediction, VideoError
from vadis.video.find import find_videos
from vadis.windows import read_calibration


@dataclass(frozen=True)
class DenseJob:
    """One call; times in seconds. several: classes are scored each on its own, not against each other.

    threshold: the score that a span must reach; None: the model's, as it was calibrated.
    """

    sources: tuple[str, ...]
    model: str
    several: bool = True
    top_k: int = 5
    threshold: float | None = None
    window_seconds: float = 1.0
    out: str | None = None
    format: str | None = None
    device: str = "auto"
    precision: str = "float32"
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def run_dense(job: DenseJob) -> int:
    """Exit code 0: all done; 1: some videos could not be read (they are listed). ValueError: wrong usage."""
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    videos = list(find_videos(job.sources, sys.stdin if "-" in job.sources else ()))
    if not videos:
        raise ValueError(f"no videos found in {', '.join(job.sources)}")
    if job.out is not None and Path(job.out).resolve() in {Path(video).resolve() for video in videos}:
        raise ValueError(f"{job.out} is one of the videos to read; name another file to write")
    model = load_dense(job.model, quiet=job.quiet)
    temperature, threshold = read_calibration(model.calibration, job.model)
    threshold = threshold if job.threshold is None else job.threshold
    chosen = job.format or (format_for(job.out) if job.out else "table" if sys.stdout.isatty() else "jsonl")
    if job.out is None and chosen != "table":
        use_utf8(sys.stdout)
    failed = []
    with PredictionWriter(job.out or sys.stdout, chosen, append=False, many=len(videos) > 1) as writer:
        for video in videos:
            prediction = _predict(job, model, video, temperature, threshold)
            writer.write(prediction)
            if prediction.error is not None:
                failed.append(f"{video}: {prediction.error.message}")
    for line in failed:
        console.print(spell_out(line), style="red", markup=False, soft_wrap=True)
    return 1 if failed else 0


def _predict(
    job: DenseJob, model: VideoModel, video: str, temperature: float, threshold: float
) -> Prediction:
    def look(done: float, total: float) -> None:
        if job.asked_to_stop():
            raise KeyboardInterrupt

    try:
        dense = score_densely(
            model,
            video,
            multi_label=job.several,
            temperature=temperature,
            device=job.device,
            precision=job.precision,
            limits=job.limits,
            progress=look,
        )
    except VideoError as error:
        name = model.name or type(model).__name__
        failure = Failure(error.kind, f"{error.message}; {error.hint}")
        return Prediction(video, name, model.weights_sha256, "dense", error=failure)
    return to_prediction(
        dense, video, model, top_k=job.top_k, window_seconds=job.window_seconds, high=threshold
    )


def load_dense(name: str, quiet: bool = False) -> VideoModel:
    """A network with weights that answers over time: a published name, or a .safetensors file.

    Raises ValueError for a network without weights, or with one answer a clip.
    """
    if name in MODELS:
        raise ValueError(
            f"{name!r} names a network without weights; name weights too, or a .safetensors file"
        )
    if Path(name).is_file():
        model = create_model(str(load(name).metadata["model"]), weights=name)
    else:
        fetch_if_missing(name, quiet=quiet)
        model = create_model(name)
    check_dense(model)
    return model.eval()
