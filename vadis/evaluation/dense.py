"""Scores at every moment of an untrimmed video, from networks that answer over time.

    dense = score_densely(model, "kitchen.mp4", multi_label=True)
    dense.at(dense.charades_times())                  # (25, K): what Charades' localisation wants
    find_spans(dense, class_names, high=0.5, low=0.3)  # what happens from when to when

A network with `forward_dense` gives logits at a few positions of a clip. They are drawn out to the clip's
frames linearly, as the training loss does (`vadis.training.losses.dense_loss`), clips overlap, and where they
do, their logits are averaged with weights that fall towards the ends of a clip, where a network sees least.
Memory holds a few clips of pixels and one row of logits a frame, whatever the video's length.

Other networks are scored at 25 moments by `vadis evaluate --protocol dense`: a clip about each.

Shapes: B clips, C channels, T frames (of a clip, or of the whole video at the rate that is scored), H W
pixels, K classes, N examples of a dataset, M moments.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from vadis.data.clip_rules import ClipRule, choose_frames, interval_frames
from vadis.data.clips import find_source
from vadis.engines import choose_device
from vadis.evaluation.views import sigmoid
from vadis.metrics.charades import NUM_MOMENTS
from vadis.metrics.classification import softmax
from vadis.models.contract import VideoModel
from vadis.records import (
    Dataset,
    DecodeReport,
    Example,
    Failure,
    LabelScore,
    Limits,
    Prediction,
    Span,
    VideoError,
    Window,
)
from vadis.specs import ClipSpec
from vadis.video import sample
from vadis.video.decode import Video
from vadis.video.transform import centre_crop, prepare_clip

Floats = NDArray[np.float64]
OVERLAP = 0.5
READ_AHEAD = 128  # frames that are decoded at a time, at least
CLOCK_SLACK = 1e-6  # seconds


@dataclass(frozen=True)
class DenseScores:
    """A video's scores at every frame that was looked at.

    times_T: when each begins to be shown, in seconds on the player's clock. logits_TK: float32, averaged over
    the clips that saw the frame. scores_TK: float64 in [0, 1]. end_seconds: when the last frame ends.
    start_seconds, end_seconds bound what was scored: the whole video, or an example's interval.
    """

    times_T: Floats
    logits_TK: NDArray[np.float32]
    scores_TK: Floats
    start_seconds: float
    end_seconds: float
    multi_label: bool
    report: DecodeReport | None = None

    def __post_init__(self) -> None:
        if self.scores_TK.shape != self.logits_TK.shape or len(self.times_T) != len(self.scores_TK):
            raise ValueError(
                f"times {self.times_T.shape}, logits {self.logits_TK.shape} and scores {self.scores_TK.shape}"
            )

    @property
    def ends_T(self) -> Floats:  # noqa: N802 - the shape suffix
        """When each frame stops being shown, in seconds."""
        return np.append(self.times_T[1:], max(self.end_seconds, float(self.times_T[-1])))

    def at(self, seconds: ArrayLike) -> Floats:
        """scores_MK of the frames shown at some times in seconds; before the first and after the last:
        those."""
        places = np.searchsorted(self.times_T, np.asarray(seconds, np.float64) + CLOCK_SLACK, "right") - 1
        return self.scores_TK[np.clip(places, 0, len(self.times_T) - 1)]

    def charades_times(self, length_seconds: float | None = None) -> Floats:
        """The 25 moments 0, 1/25 ... 24/25 of what was scored, or of a length that the annotations state."""
        length = self.end_seconds - self.start_seconds if length_seconds is None else length_seconds
        return self.start_seconds + sample.charades_times(length, NUM_MOMENTS)

    def whole_K(self) -> Floats:  # noqa: N802 - the shape suffix
        """One score a class for all of it: the mean of the logits over time, then sigmoid or softmax."""
        return _to_scores(self.logits_TK.mean(axis=0, dtype=np.float64)[None], self.multi_label)[0]


def check_dense(model: VideoModel) -> None:
    """Raise ValueError for a network that gives one answer a clip."""
    if not callable(getattr(model, "forward_dense", None)):
        raise ValueError(
            f"{model.name or type(model).__name__} gives one answer a clip, it has no forward_dense; take "
            "I3D or S3D, or `vadis evaluate --protocol dense`, which scores a clip about each of 25 moments"
        )


def score_densely(
    model: VideoModel,
    video: str | os.PathLike[str] | Example,
    *,
    root: str | os.PathLike[str] = "",
    multi_label: bool = True,
    temperature: float = 1.0,
    overlap: float = OVERLAP,
    num_frames: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    batch_size: int = 1,
    limits: Limits = Limits(),  # noqa: B008
    progress: Callable[[float, float], object] | None = None,
) -> DenseScores:
    """Slide a network over a whole video, or over the interval of an example, and join what it says.

    video: a file or a folder of frames, or an example of a dataset below `root`. multi_label: classes are
    scored each on its own (sigmoid), else against each other (softmax). temperature: a number that logits are
    divided by (`vadis.windows.read_calibration`). overlap: the share of a clip that the
    next one sees again, 0 to below 1. num_frames: of a clip (default: the network's own). precision:
    "float32" or "bf16". progress: called with (seconds done, seconds in all). The model stays on the device.

    Raises VideoError where the video cannot be read, ValueError for a network without `forward_dense`.
    """
    check_dense(model)
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is a share from 0 to below 1, got {overlap}")
    if precision not in ("float32", "bf16"):
        raise ValueError(f"precision is float32 or bf16, not {precision!r}")
    spec = model.spec
    length = max(num_frames or spec.num_frames, model.min_frames)
    example = video if isinstance(video, Example) else Example(os.fspath(video), os.fspath(video))
    source, name = find_source(Path(root), example.video)
    place = torch.device(choose_device(device))
    model.to(place).eval()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with Video(source, short_side=spec.size, limits=limits) as opened:
        frame_times = opened.frame_times()
        if example.fps is not None and isinstance(source, Path) and source.is_dir():
            frame_times = np.arange(len(opened)) / example.fps
        ticks = _lay_grid(example, frame_times, spec, name)
        span = sample.clip_span(length, spec.frame_stride)
        stride = max(1, round(span * (1 - overlap)))
        windows = sample.window_indices(len(ticks.frames_T), span, stride)
        joined = _Joined(len(ticks.frames_T), model.num_classes, span)
        reader = _Reader(opened, ticks.frames_T, max(span, READ_AHEAD), spec)
        for first in range(0, len(windows), batch_size):
            part = windows[first : first + batch_size]
            clips = [reader.read(window[:: spec.frame_stride]) for window in part]
            clip_BCTHW = torch.stack([prepare_clip(frames_TCHW, spec) for frames_TCHW in clips])
            logits_BTK = _run(model, clip_BCTHW.to(place), dtype, span)
            for window, logits_TK in zip(part, logits_BTK, strict=True):
                joined.add(window, logits_TK)
            if progress is not None:
                progress(float(ticks.times_T[int(part[-1].max())]), ticks.end_seconds)
    logits_TK = joined.finish() / np.float32(temperature)
    return DenseScores(
        ticks.times_T,
        logits_TK,
        _to_scores(logits_TK.astype(np.float64), multi_label),
        ticks.start_seconds,
        ticks.end_seconds,
        multi_label,
        reader.report(name),
    )


@dataclass(frozen=True)
class _Grid:
    """What is looked at: source frames, the times that they stand for, and the bounds of it all in
    seconds."""

    frames_T: NDArray[np.int64]
    times_T: Floats
    start_seconds: float
    end_seconds: float


def _lay_grid(example: Example, times_T: Floats, spec: ClipSpec, name: str) -> _Grid:
    """Frames at the network's rate, or all of them, over an example's interval."""
    first, stop = interval_frames(example, times_T, name)
    frame = float(np.median(np.diff(times_T))) if len(times_T) > 1 else 1 / (spec.fps or 25.0)
    end = float(times_T[stop - 1]) + frame
    if example.end_seconds is not None:
        end = min(end, example.end_seconds)
    whole = ClipSpec(fps=spec.fps, num_frames=1)
    frames = choose_frames(example, times_T, whole, ClipRule("whole"), None, name)[0]
    if spec.fps is None:
        return _Grid(frames, times_T[frames], float(times_T[first]), end)
    begin = float(times_T[first]) if example.start_seconds is None else max(example.start_seconds, 0.0)
    return _Grid(frames, begin + np.arange(len(frames)) / spec.fps, begin, end)


class _Reader:
    """Frames in rising order, each decoded once: a block ahead is held, cut to the network's square."""

    def __init__(self, video: Video, frames_T: NDArray[np.int64], block: int, spec: ClipSpec) -> None:
        self._video, self._frames_T, self._block, self._spec = video, frames_T, block, spec
        self._first = self._stop = 0
        self._held_TCHW = torch.empty(0)
        self._damaged: set[int] = set()
        self._decoded, self._short, self._repaired = 0, False, False

    def read(self, ticks_T: NDArray[np.int64]) -> Tensor:
        """frames_TCHW (uint8) of some ticks; none of them lies before the least of the call before."""
        while int(ticks_T.max()) >= self._stop:
            self._advance(int(ticks_T.min()))
        return self._held_TCHW[torch.from_numpy(ticks_T - self._first)]

    def _advance(self, keep_from: int) -> None:
        stop = min(self._stop + self._block, len(self._frames_T))
        found = self._video.clips([self._frames_T[self._stop : stop].tolist()])[0]
        fresh_TCHW = centre_crop(torch.from_numpy(found.frames_THWC).permute(0, 3, 1, 2), self._spec.crop)
        kept = self._held_TCHW[keep_from - self._first :] if self._stop else fresh_TCHW[:0]
        self._held_TCHW = torch.cat([kept, fresh_TCHW])
        self._first, self._stop = (keep_from if len(kept) else self._stop), stop
        self._damaged |= set(found.indices_T[found.corrupt_T].tolist())
        self._decoded += found.report.frames_decoded
        self._short |= found.report.short
        self._repaired |= found.report.repaired

    def report(self, name: str) -> DecodeReport:
        """What was promised and what came, over all blocks."""
        expected = len(np.unique(self._frames_T))
        decoded = min(expected, self._decoded)
        return DecodeReport(name, expected, decoded, len(self._damaged), self._short, self._repaired)


def _run(model: Any, clip_BCTHW: Tensor, dtype: torch.dtype, span: int) -> NDArray[np.float32]:
    """logits_BTK of a batch, drawn out to the `span` frames that each clip covers."""
    with (
        torch.inference_mode(),
        torch.autocast(clip_BCTHW.device.type, dtype, enabled=dtype != torch.float32),
    ):
        logits_BTK = model.forward_dense(clip_BCTHW)
    drawn = F.interpolate(logits_BTK.float().transpose(1, 2), size=span, mode="linear", align_corners=False)
    return drawn.transpose(1, 2).cpu().numpy()


class _Joined:
    """The weighted mean of the logits of overlapping clips."""

    def __init__(self, total: int, num_classes: int, span: int) -> None:
        rising = np.minimum(np.arange(1, span + 1), np.arange(span, 0, -1)).astype(np.float64)
        self._weight_T = rising / rising.max()
        self._sum_TK = np.zeros((total, num_classes))
        self._mass_T = np.zeros(total)

    def add(self, window_T: NDArray[np.int64], logits_TK: NDArray[np.float32]) -> None:
        """Take in a clip; a video shorter than one was repeated, and each repetition counts."""
        np.add.at(self._sum_TK, window_T, logits_TK * self._weight_T[:, None])
        np.add.at(self._mass_T, window_T, self._weight_T)

    def finish(self) -> NDArray[np.float32]:
        """logits_TK of the whole."""
        return (self._sum_TK / self._mass_T[:, None]).astype(np.float32)


def _to_scores(logits_TK: Floats, multi_label: bool) -> Floats:
    return sigmoid(logits_TK) if multi_label else softmax(logits_TK)


# From scores over time to spans, and to records ----------------------------------------------------------


def find_spans(
    dense: DenseScores,
    class_names: Sequence[str],
    *,
    high: float = 0.5,
    low: float | None = None,
    min_seconds: float = 0.0,
    max_gap_seconds: float = 0.0,
) -> tuple[Span, ...]:
    """From when to when each class goes on: hysteresis over its score.

    A span begins and ends where the score passes `low` (default: 0.6 x `high`) and reaches `high` somewhere
    in between, so that a score that flickers about one threshold does not fall to pieces. Spans of one class
    with at most `max_gap_seconds` between them are joined, then those shorter than `min_seconds` left out.
    The score of a span is its mean over time. Sorted by start, then label. Raises ValueError for thresholds
    that are not 0 <= low <= high <= 1.
    """
    low = 0.6 * high if low is None else low
    if not 0 <= low <= high <= 1:
        raise ValueError(f"thresholds are 0 <= low <= high <= 1, got low {low:g} and high {high:g}")
    if len(class_names) != dense.scores_TK.shape[1]:
        raise ValueError(f"{len(class_names)} class names for {dense.scores_TK.shape[1]} classes")
    starts, ends = dense.times_T, dense.ends_T
    spans = []
    for label, score_T in enumerate(dense.scores_TK.T):
        runs = [run for run in _runs(score_T >= low) if score_T[slice(*run)].max() >= high]
        for first, stop in _join(runs, starts, ends, max_gap_seconds):
            if ends[stop - 1] - starts[first] >= min_seconds - CLOCK_SLACK:
                score = float(score_T[first:stop].mean())
                name = class_names[label]
                spans.append(Span(float(starts[first]), float(ends[stop - 1]), label, name, score))
    return tuple(sorted(spans, key=lambda span: (span.start_seconds, span.label)))


def _runs(mask_T: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First index and the one after the last of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_T, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def _join(
    runs: Iterable[tuple[int, int]], starts: Floats, ends: Floats, max_gap_seconds: float
) -> Iterator[tuple[int, int]]:
    held: tuple[int, int] | None = None
    for first, stop in runs:
        if held is not None and starts[first] - ends[held[1] - 1] <= max_gap_seconds + CLOCK_SLACK:
            held = (held[0], stop)
            continue
        if held is not None:
            yield held
        held = (first, stop)
    if held is not None:
        yield held


def to_prediction(
    dense: DenseScores,
    video: str,
    model: VideoModel,
    *,
    top_k: int = 5,
    window_seconds: float = 1.0,
    high: float = 0.5,
    low: float | None = None,
) -> Prediction:
    """The record that `vadis predict` writes: labels of the whole, of each second, and spans by hysteresis.

    window_seconds: length of the stretches that get labels of their own, by their best score of each class.
    """
    names = model.class_names or tuple(f"class {label}" for label in range(model.num_classes))
    windows, begin = [], dense.start_seconds
    while begin < dense.end_seconds - CLOCK_SLACK:
        end = min(begin + window_seconds, dense.end_seconds)
        inside = (dense.times_T < end - CLOCK_SLACK) & (dense.ends_T > begin + CLOCK_SLACK)
        best_K = dense.scores_TK[inside].max(axis=0) if inside.any() else dense.at([begin])[0]
        windows.append(Window(begin, end, _best(best_K, names, top_k)))
        begin += window_seconds
    report = dense.report
    kind = "each class on its own (sigmoid)" if dense.multi_label else "classes exclude each other (softmax)"
    return Prediction(
        video=video,
        model=model.name or type(model).__name__,
        weights_sha256=model.weights_sha256,
        protocol=f"dense: a score at every frame, overlapping clips joined; {kind}; the best of each stretch "
        f"of {window_seconds:g} s; spans by hysteresis",
        duration_seconds=dense.end_seconds - dense.start_seconds,
        frames_expected=None if report is None else report.frames_expected,
        frames_decoded=None if report is None else report.frames_decoded,
        labels=_best(dense.whole_K(), names, top_k),
        windows=tuple(windows),
        spans=find_spans(dense, names, high=high, low=low),
        report=report,
    )


def _best(score_K: Floats, names: Sequence[str], top_k: int) -> tuple[LabelScore, ...]:
    order = np.argsort(-score_K, kind="stable")[:top_k]
    return tuple(LabelScore(int(k), names[k], float(score_K[k])) for k in order)


# A whole dataset -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DenseDataset:
    """The scores of a dataset's examples in its order.

    moments_NMK: float64, 25 moments of each; scores_NK: one row for each whole; NaN where an example could
    not be read. failures: index of the example and why.
    """

    moments_NMK: Floats
    scores_NK: Floats
    failures: tuple[tuple[int, Failure], ...] = ()


def score_dataset_densely(
    model: VideoModel,
    dataset: Dataset,
    *,
    progress: Callable[[int, int], object] | None = None,
    each: Callable[[int, DenseScores], object] | None = None,
    **options: Any,
) -> DenseDataset:
    """Score every example of a dataset at every frame; keep 25 moments of each, and the whole.

    The moments are those of the length that the annotations state, where they do (Charades). each: is called
    with (index, scores) of every example, for what wants more, such as spans. options: of `score_densely`.
    Raises ValueError where the numbers of classes differ.
    """
    check_dense(model)
    if model.num_classes != dataset.num_classes:
        raise ValueError(
            f"{model.name or 'the network'} has {model.num_classes} classes, {dataset.name} has "
            f"{dataset.num_classes}"
        )
    num = len(dataset.examples)
    moments_NMK = np.full((num, NUM_MOMENTS, dataset.num_classes), np.nan)
    scores_NK = np.full((num, dataset.num_classes), np.nan)
    failures = []
    options.setdefault("multi_label", dataset.multi_label)
    for index, example in enumerate(dataset.examples):
        try:
            dense = score_densely(model, example, root=dataset.root, **options)
        except VideoError as error:
            failures.append((index, Failure(error.kind, str(error))))
        else:
            length = example.duration_seconds if example.start_seconds is None else None
            moments_NMK[index] = dense.at(dense.charades_times(length))
            scores_NK[index] = dense.whole_K()
            if each is not None:
                each(index, dense)
        if progress is not None:
            progress(index + 1, num)
    return DenseDataset(moments_NMK, scores_NK, tuple(failures))
