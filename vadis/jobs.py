"""The work behind `vadis predict`: many videos, one after another, safely stopped and resumed.

Everything that the verb promises beyond `Predictor.predict_many` is here: where the output goes, what
is skipped on `--resume`, progress, pictures and clips beside it, warnings, and the exit code.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vadis.data.reading import PLAIN, Reading
from vadis.fetching import fetch_if_missing
from vadis.formats import RESUMABLE, PredictionWriter, format_for, read_finished, use_utf8
from vadis.formats.table import spell_out
from vadis.prediction import DEFAULT_MODEL, Predictor, cut_spans
from vadis.progress import open_bars
from vadis.records import STRANGER_LIMITS, Limits, Prediction, VideoError
from vadis.stream_prediction import StreamPredictor, parse_streams
from vadis.video.draw import draw_overlay, draw_timeline
from vadis.video.find import find_videos, new_stem

if TYPE_CHECKING:
    from vadis.engines import Engine

log = logging.getLogger(__name__)

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """The user asked for something that cannot be; the command line exits with 2."""


@dataclass(frozen=True)
class PredictJob:
    """One call of `vadis predict`; the fields are its options (times in seconds, sizes in pixels).

    streams: "NAME=MODEL,..." instead of `model`, fused by `weights` ("1,1.5").
    asked_to_stop: whether Ctrl-C came, asked again and again, since the exception may have been swallowed.
    """

    sources: tuple[str, ...]
    model: str = DEFAULT_MODEL
    top_k: int = 5
    threshold: float | None = None
    protocol: str = "windows"
    window_seconds: float | None = None
    stride_seconds: float | None = None
    out: str | None = None
    format: str | None = None
    overlay: str | None = None
    timeline: str | None = None
    cut: str | None = None
    resume: bool = False
    strict: bool = False
    untrusted: bool = False
    limits: Limits | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    workers: int = 2
    threads: int | None = None
    reading: Reading = PLAIN
    streams: str | None = None
    weights: str | None = None
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


@dataclass
class _Tally:
    num_done: int = 0
    failed: list[str] = field(default_factory=list)


def run_predict(job: PredictJob) -> int:
    """Do the job; returns the exit code: 0 all done, 1 some failed (listed on stderr), 130 interrupted.

    Raises UsageError (exit code 2) for options that contradict each other or name nothing.
    """
    console = Console(stderr=True, quiet=job.quiet, highlight=False)
    videos = _find(job)
    _check_targets(job, videos)
    output_format = _choose_format(job)
    many = len(videos) > 1
    finished = read_finished(job.out) if job.resume and job.out else set()
    todo = [video for video in videos if video not in finished]
    if finished:
        console.print(f"resuming: {len(videos) - len(todo)} of {len(videos)} videos are done")
    if not todo:
        return DONE
    predictor = _load(job)
    rule = predictor.make_protocol(job.protocol, job.window_seconds, job.stride_seconds)
    engine = predictor.prepare(rule)
    console.print(_first_line(predictor, engine, rule.describe()), style="dim", soft_wrap=True)
    beside = _Beside(job, predictor, videos)
    tally = _Tally()
    if job.out is None and output_format != "table":
        use_utf8(sys.stdout)
    try:
        with ExitStack() as stack:
            target = job.out if job.out is not None else sys.stdout
            writer = stack.enter_context(
                PredictionWriter(target, output_format, append=job.resume, many=many)
            )
            try:
                for prediction in _predict(job, predictor, todo, console):
                    writer.write(prediction)
                    _tell(prediction, job, console, tally, beside)
            except KeyboardInterrupt:
                _say_how_to_resume(job, console, tally.num_done, len(todo))
                return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(
            f"{job.out or 'standard output'} cannot be written: {error.strerror or error}; "
            f"{tally.num_done} of {len(todo)} videos were done by then"
        ) from error
    return _summarise(job, console, tally, len(todo))


def _choose_format(job: PredictJob) -> str:
    if job.cut is not None and job.untrusted:
        raise UsageError("--cut decodes in this process, which --untrusted rules out; leave out one of them")
    chosen = job.format or ("table" if sys.stdout.isatty() else "jsonl")
    if job.format is None and job.out is not None:
        chosen = format_for(job.out)
    if job.resume and (job.out is None or chosen not in RESUMABLE):
        raise UsageError(
            "--resume needs --out FILE.jsonl, .json or .csv: that is where it finds what is done"
        )
    return chosen


def _find(job: PredictJob) -> list[str]:
    videos = list(find_videos(job.sources, sys.stdin if "-" in job.sources else ()))
    if not videos:
        raise UsageError(f"no videos found in {', '.join(job.sources)}")
    return videos


def _check_targets(job: PredictJob, videos: list[str]) -> None:
    """Refuse to write over a source before any work is done."""
    sources = {Path(video).resolve() for video in videos}
    for target in (job.out, job.overlay, job.timeline):
        if target is not None and Path(target).resolve() in sources:
            raise UsageError(f"{target} is one of the videos to read; name another file to write")
    if job.out is not None:
        Path(job.out).parent.mkdir(parents=True, exist_ok=True)


def _load(job: PredictJob) -> Predictor:
    if job.streams is not None:
        return _load_streams(job, job.streams)
    fetch_if_missing(job.model, quiet=job.quiet)
    return Predictor(
        job.model,
        engine=job.engine,
        device=job.device,
        precision=job.precision,
        batch_size=job.batch_size,
        threads=job.threads,
        reading=job.reading,
    )


def _load_streams(job: PredictJob, text: str) -> StreamPredictor:
    models = parse_streams(text)
    for model in models.values():
        fetch_if_missing(model, quiet=job.quiet)
    weights = None
    if job.weights is not None:
        try:
            weights = [float(word) for word in job.weights.split(",")]
        except ValueError:
            raise UsageError(f"--weights takes numbers such as 1,1.5, not {job.weights!r}") from None
    return StreamPredictor(
        models,
        weights=weights,
        engine=job.engine,
        device=job.device,
        precision=job.precision,
        threads=job.threads,
        reading=job.reading,
    )


def _first_line(predictor: Predictor, engine: Engine, protocol: str) -> str:
    parity = "" if engine.parity is None else f", parity {engine.parity:.1e}"
    return f"{predictor.name} on {engine.device} by {engine.name} ({engine.precision}{parity}); {protocol}"


def _predict(
    job: PredictJob, predictor: Predictor, videos: list[str], console: Console
) -> Iterator[Prediction]:
    with open_bars(console) as bars:
        files = bars.add("videos", len(videos))

        def show(video: str, done: float, total: float | None) -> None:
            if job.asked_to_stop():
                raise KeyboardInterrupt
            share = f" of {total:.0f} s" if total else ""
            files.say(f"{spell_out(Path(video).name)[-40:]}: {done:.0f} s{share}")

        results = predictor.predict_many(
            videos,
            top_k=job.top_k,
            threshold=job.threshold,
            protocol=job.protocol,
            window_seconds=job.window_seconds,
            stride_seconds=job.stride_seconds,
            limits=job.limits,
            untrusted=job.untrusted,
            workers=job.workers,
            progress=show,
        )
        for prediction in results:
            with bars.hidden():  # the caller may print a table, and both may be on the same terminal
                yield prediction
            files.advance()


class _Beside:
    """What is written beside the records: a picture, an overlay, clips; each video under its own name."""

    def __init__(self, job: PredictJob, predictor: Predictor, videos: list[str]) -> None:
        self._job = job
        self._num_classes = len(predictor.class_names)
        self._threshold = predictor.threshold if job.threshold is None else job.threshold
        self._many = len(videos) > 1
        taken: set[str] = set()
        self._stems = {video: new_stem(video, taken) for video in videos}

    def write(self, prediction: Prediction) -> list[Path]:
        """Write what the job asks for; the clips that were cut. Raises VideoError and OSError."""
        job = self._job
        limits = job.limits or (STRANGER_LIMITS if job.untrusted else Limits())
        if job.timeline is not None:
            draw_timeline(
                prediction,
                self._path(job.timeline, prediction.video, ".png"),
                threshold=self._threshold,
                num_classes=self._num_classes,
                thumbnails=not job.untrusted,  # they would be decoded in this process
                limits=limits,
            )
        if job.overlay is not None:
            path = self._path(job.overlay, prediction.video, ".mp4")
            draw_overlay(prediction.video, prediction, path, limits=limits, untrusted=job.untrusted)
        if job.cut is None:
            return []
        folder = Path(job.cut)
        return cut_spans(prediction, folder / self._stems[prediction.video] if self._many else folder)

    def _path(self, target: str, video: str, suffix: str) -> Path:
        """One video: the file named; several (or a name without that suffix): one file each in a folder."""
        path = Path(target)
        if self._many or path.suffix.lower() != suffix:
            path.mkdir(parents=True, exist_ok=True)
            return path / (self._stems[video] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _tell(prediction: Prediction, job: PredictJob, console: Console, tally: _Tally, beside: _Beside) -> None:
    """Warn of what is wrong with a video, write what goes beside its record, count what failed."""
    name = prediction.video
    tally.num_done += 1
    if prediction.error is not None:
        tally.failed.append(f"{name}: {prediction.error.message} [{prediction.error.kind}]")
        return
    problems = _problems(prediction)
    if problems:
        _say(console, f"warning: {name}: {problems}", "yellow")
        if job.strict:
            tally.failed.append(f"{name}: {problems} [corrupt]")
    try:
        for path in beside.write(prediction):
            _say(console, f"wrote {path}", "dim")
    except VideoError as error:
        tally.failed.append(str(error))
    except OSError as error:
        tally.failed.append(f"{name}: pictures or clips could not be written: {error}")


def _say(console: Console, text: str, style: str = "") -> None:
    """One line for people; no file's name moves the cursor or breaks the line."""
    console.print(spell_out(text), style=style, markup=False, soft_wrap=True)


def _problems(prediction: Prediction) -> str:
    report = prediction.report
    problems = [
        f"the stream {name} is left out: {each.error.message}"
        for name, each in prediction.streams.items()
        if each.error is not None
    ]
    if report is not None and report.short:
        problems.append(f"ends early: {report.frames_decoded} of {report.frames_expected} frames")
    if report is not None and report.frames_corrupt:
        problems.append(f"{report.frames_corrupt} damaged frames")
    return "; ".join(problems)


def _say_how_to_resume(job: PredictJob, console: Console, num_done: int, num_todo: int) -> None:
    advice = (
        "run the same command with --resume to go on"
        if job.out is not None
        else "with --out FILE.jsonl the next run could go on from here (--resume)"
    )
    _say(console, f"stopped after {num_done} of {num_todo} videos, which are kept; {advice}")


def _summarise(job: PredictJob, console: Console, tally: _Tally, num_todo: int) -> int:
    if job.out is not None:
        _say(console, f"wrote {job.out}", "dim")
    if not tally.failed:
        return DONE
    error_console = Console(stderr=True, highlight=False)
    error_console.print(f"{len(tally.failed)} of {num_todo} failed:", style="red")
    for line in tally.failed:
        _say(error_console, f"  {line}")
    return SOME_FAILED
