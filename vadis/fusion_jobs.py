"""The work behind `vadis fuse`: files of scores or of features in, one answer and a table out.

The table has a row for each stream, a row for each combination that was asked for, and the fusion itself;
what it gains over the best single stream is given with the interval of a bootstrap in pairs. The best single
stream is chosen by the very videos that are judged, which flatters it and not the fusion.

Legend: N videos, K classes.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vadis.alignment import Of, Streams, align, check_leak
from vadis.clip_pooling import (
    ClipFeatures,
    Training,
    align_features,
    fit_pooling,
    load_pooling,
    save_pooling,
)
from vadis.evaluation.measures import NOT_SCORED, wilson_interval
from vadis.feature_store import load_features
from vadis.formats import use_utf8
from vadis.formats.table import spell_out
from vadis.fusion import (
    LEARNT,
    Fuser,
    file_fused,
    learn,
    learn_in_folds,
    load_fuser,
    make_average,
    save_fuser,
)
from vadis.metrics.classification import any_hit_at_k, is_hit, mean_average_precision
from vadis.metrics.resampling import Gain, gain_of_hits, gain_of_map, interval_of
from vadis.progress import open_bar
from vadis.score_files import ScoreFile, read_scores, write_scores
from vadis.video.write import part_file

METHODS = ("average", "weighted", "svm", "search", "tcp")
WIDTH = 160  # letters of a line where the output is no terminal
FEWEST_SOURCES = 20  # below that, drawing whole sources says nothing; videos are drawn one by one
MOST_STREAMS = 8  # of which all combinations are tried


@dataclass(frozen=True)
class FuseJob:
    """What was asked for: see `vadis fuse --help`. weights are factors."""

    files: tuple[Path, ...]
    by: str = "average"
    weights: tuple[float, ...] | None = None
    of: Of = "scores"
    fit: tuple[Path, ...] = ()
    folds: int | None = None
    use: Path | None = None
    save: Path | None = None
    names: tuple[str, ...] = ()
    combinations: bool = False
    allow_missing: bool = False
    out: Path | None = None
    card: Path | None = None
    training: Training = field(default_factory=Training)
    seed: int = 0
    as_json: bool = False
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class FusionRow:
    """One line of the table: streams, how they were put together, and the measures (shares in [0, 1]).

    top1 and top5 of one label, mean_ap and any_top1 of several; gain is over the best single stream.
    """

    streams: tuple[str, ...]
    by: str
    measures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    gain: Gain | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Result:
    rows: list[FusionRow]
    fused: ScoreFile
    warnings: list[str] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)


def run_fuse(job: FuseJob) -> int:
    """Fuse, print the table, write; returns 1 where videos were missing. Raises ValueError."""
    _check_job(job)
    use_utf8(sys.stdout)
    pooled = job.by == "tcp" or (job.use is not None and job.use.suffix == ".safetensors")
    result = _fuse_features(job) if pooled else _fuse_scores(job)
    if job.out is not None:
        write_scores(job.out, result.fused)
    document = _document(job, result)
    if job.card is not None:
        with part_file(job.card) as part:
            part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if job.as_json:
        print(json.dumps(document, ensure_ascii=True, allow_nan=False))
    else:
        _print(result)
    for warning in result.warnings:
        print(f"warning: {spell_out(warning)}", file=sys.stderr)
    for path in (job.out, job.card, job.save):
        if path is not None and not job.quiet:
            print(f"wrote {path}", file=sys.stderr)
    return 1 if any(result.said["missing"].values()) or result.said["not_scored"] else 0


def _check_job(job: FuseJob) -> None:
    learns = job.by in (*LEARNT, "tcp")
    if job.by not in METHODS:
        raise ValueError(f"--by is one of {', '.join(METHODS)}, not {job.by!r}")
    if job.names and len(job.names) != len(job.files):
        raise ValueError(f"--names has {len(job.names)} names for {len(job.files)} files")
    if job.use is not None:
        if job.fit or job.folds or job.weights:
            raise ValueError("--use applies a fusion as it is: leave out --fit, --folds and --weights")
        return
    if (job.by == "weighted") != (job.weights is not None):
        raise ValueError("--weights 1,1.5 goes with --by weighted, a number for each file")
    if learns and not job.fit and not job.folds:
        raise ValueError(
            f"--by {job.by} learns: name files of a held-out part, --fit A_val.npz,B_val.npz, in the order "
            "of the streams; it never learns from what it is judged on"
        )
    if job.fit and not learns:
        raise ValueError(f"--by {job.by} learns nothing: leave out --fit")
    if job.folds and (job.fit or job.by not in LEARNT):
        raise ValueError("--folds N is cross-validation for --by search and svm, instead of --fit")
    if job.fit and len(job.fit) != len(job.files):
        raise ValueError(f"--fit names {len(job.fit)} files, but there are {len(job.files)} streams")
    if job.folds and job.save is not None:
        raise ValueError("--folds learns a fusion for each fold: there is no one to --save")


def name_streams(files: Sequence[Path], said: Sequence[str], models: Sequence[str]) -> tuple[str, ...]:
    """What streams are called: as asked for, else by their modality or model where that tells them apart.

    said: modality of each file, "" where it does not say. Files of one name are told apart by their folders.
    """
    for names in (said, models, [path.stem for path in files], [path.parent.name for path in files]):
        if all(names) and len(set(names)) == len(files):
            return tuple(names)
    return tuple(f"stream {number}" for number in range(1, len(files) + 1))


# --- scores ------------------------------------------------------------------------------------------------


def _fuse_scores(job: FuseJob) -> _Result:
    files = [read_scores(path) for path in job.files]
    if len(files) < 2:
        raise ValueError("fusion takes the scores of two streams or more")
    said = [str(file.provenance.get("modality", "")) for file in files]
    names = job.names or name_streams(job.files, said, [file.model for file in files])
    streams = align(files, names, allow_missing=job.allow_missing)
    warnings, fit = [], None
    if job.fit:
        fit = align([read_scores(path) for path in job.fit], names, allow_missing=job.allow_missing)
        warnings += [text for text in [check_leak(fit, streams)] if text]
    judge = _Judge(streams, job.seed)
    rows = [
        judge.row((name,), "alone", make_average(streams.only([place])).fuse(streams.only([place])))
        for place, name in enumerate(names)
    ]
    judge.take_best(rows)
    if job.use is not None:
        fuser = load_fuser(job.use)
        _check_use(fuser.fit_names, streams)
        fused, how, details = fuser.fuse(streams), fuser.describe(), dict(fuser.details)
    else:
        fused, how, details, made = _put_together(job, streams, fit)
        fuser = made if made is not None else make_average(streams)
    if job.combinations and job.use is None:
        for places in _combinations(len(names)):
            some = streams.only(places)
            part = replace(job, weights=job.weights and tuple(job.weights[place] for place in places))
            other = _put_together(part, some, None if fit is None else fit.only(places))
            rows.append(judge.row(some.streams, other[1], other[0], other[2]))
    rows.append(judge.row(names, how, fused, details))
    if job.save is not None:
        save_fuser(job.save, fuser)
    missing = dict(zip(names, streams.num_filled, strict=True))
    counts = {"missing": missing, "not_scored": int((~fused.scored_N).sum())}
    return _Result(rows, fused, warnings, {**counts, **judge.said})


def _put_together(
    job: FuseJob, streams: Streams, fit: Streams | None
) -> tuple[ScoreFile, str, dict[str, Any], Fuser | None]:
    """The fused scores of these streams by the asked method; how, details, and the fusion (none of folds)."""
    if job.folds:
        values_NK = learn_in_folds(job.by, streams, job.of, job.folds)
        how = f"{job.by}, {job.folds}-fold cross-validation within {streams.split or 'the files'}"
        fused = file_fused(streams, values_NK, job.by, job.of, how, {"split": "", "videos": 0})
        return fused, how, {}, None
    if fit is not None:
        fuser = learn(job.by, fit, job.of)
    else:
        fuser = make_average(streams, job.weights, job.of)
    return fuser.fuse(streams), fuser.describe(), dict(fuser.details), fuser


def _combinations(num: int) -> Iterator[tuple[int, ...]]:
    """All choices of two streams and more, but not all of them."""
    if num > MOST_STREAMS:
        raise ValueError(f"--combinations is for up to {MOST_STREAMS} streams, not {num}")
    for size in range(2, num):
        yield from itertools.combinations(range(num), size)


def _check_use(fit_names: Sequence[str], streams: Streams) -> None:
    shared = set(fit_names) & set(streams.names)
    if shared:
        raise ValueError(
            f"{len(shared):,} of the {len(streams):,} videos are among those that it was learnt from "
            f"(such as {min(shared)}): that would flatter it"
        )


# --- features ----------------------------------------------------------------------------------------------


def _fuse_features(job: FuseJob) -> _Result:
    sets = [load_features(path) for path in job.files]
    said = [str((each.provenance.get("spec") or {}).get("modality", "")) for each in sets]
    models = [str(each.provenance.get("model", "")) for each in sets]
    names = job.names or name_streams(job.files, said, models)
    judged = align_features(sets, names)
    names = judged.rows.streams
    judge = _Judge(judged.rows, job.seed)
    if job.use is not None:
        pooling = load_pooling(job.use)
        _check_use(pooling.fit_names, judged.rows)
        fused = pooling.score(judged)
        rows = [judge.row(names, pooling.kind, fused, pooling.details)]
        return _Result(rows, fused, [], {**_no_missing(names, fused), **judge.said})
    fit = align_features([load_features(path) for path in job.fit], names)
    warnings = [text for text in [check_leak(fit.rows, judged.rows)] if text]
    rows, fused = _pool_all(job, fit, judged, judge)
    return _Result(rows, fused, warnings, {**_no_missing(names, fused), **judge.said})


def _no_missing(names: Sequence[str], fused: ScoreFile) -> dict[str, Any]:
    return {"missing": dict.fromkeys(names, 0), "not_scored": int((~fused.scored_N).sum())}


def _pool_all(
    job: FuseJob, fit: ClipFeatures, judged: ClipFeatures, judge: _Judge
) -> tuple[list[FusionRow], ScoreFile]:
    """Averages and TCP of each stream, of streams as they are added, and an ensemble."""
    names = judged.rows.streams
    sets: list[tuple[str, ...]] = [(name,) for name in names]
    if job.combinations:
        sets += [tuple(names[place] for place in places) for places in _combinations(len(names))]
    else:
        sets += [names[:count] for count in range(2, len(names))]
    sets += [names] if len(names) > 1 else []
    plan = [(chosen, kind) for chosen in sets for kind in ("average", "tcp")]
    scores: dict[tuple[tuple[str, ...], str], ScoreFile] = {}
    details: dict[tuple[tuple[str, ...], str], dict[str, Any]] = {}
    with open_bar(Console(stderr=True, quiet=job.quiet), "trained") as bar:
        for number, (chosen, kind) in enumerate(plan):
            if job.asked_to_stop():
                raise KeyboardInterrupt
            bar.update(number, len(plan), remark=f"{'+'.join(chosen)} {kind}")
            pooling = fit_pooling("tcp" if kind == "tcp" else "average", fit.only(chosen), job.training)
            scores[chosen, kind] = pooling.score(judged.only(chosen))
            details[chosen, kind] = pooling.details
            if job.save is not None and (chosen, kind) == (names, "tcp"):
                save_pooling(job.save, pooling)
    singles = [judge.row(*key, scores[key], details[key]) for key in plan if len(key[0]) == 1]
    judge.take_best(singles)
    rows = singles + [judge.row(*key, scores[key], details[key]) for key in plan if len(key[0]) > 1]
    fused = scores[names, "tcp"]
    if len(names) > 1:
        members = [scores[chosen, "tcp"] for chosen in sets if len(chosen) == 1 or chosen == names]
        together = align(members, [f"member {number}" for number in range(len(members))])
        rows.append(judge.row(names, "ensemble of tcp", make_average(together).fuse(together)))
    return rows, fused


# --- the table ---------------------------------------------------------------------------------------------


class _Judge:
    """Measures scores of the same videos, and what they gain over the best single stream."""

    def __init__(self, rows: Streams, seed: int) -> None:
        self.known_N = np.array([bool(labels) for labels in rows.labels], bool)
        self.multi_label, self.seed = rows.multi_label, seed
        self.target_NK = rows.target_NK[self.known_N]
        self.label_N = self.target_NK.argmax(axis=1)
        groups = [group for group, known in zip(rows.groups, self.known_N, strict=True) if known]
        self.groups = groups if len(set(groups)) >= FEWEST_SOURCES and all(groups) else []
        self.best: tuple[str, np.ndarray] | None = None
        self.said: dict[str, Any] = {"videos": int(self.known_N.sum()), "split": rows.split}
        self._kept: dict[tuple[tuple[str, ...], str], np.ndarray] = {}

    def row(
        self, streams: tuple[str, ...], by: str, scores: ScoreFile, details: dict[str, Any] | None = None
    ) -> FusionRow:
        """The measures of one file of scores."""
        values_NK = scores.scores_NK[self.known_N]
        self._kept[streams, by] = values_NK
        num = len(values_NK)
        measures: dict[str, float] = {}
        intervals: dict[str, tuple[float, float]] = {}
        gain = None
        if num and self.multi_label:
            values_NK = np.where(np.isfinite(values_NK), values_NK, NOT_SCORED)
            measures["mean_ap"] = mean_average_precision(values_NK, self.target_NK)
            measures["any_top1"] = any_hit_at_k(values_NK, self.target_NK)
            intervals["mean_ap"] = interval_of(
                lambda rows: mean_average_precision(values_NK[rows], self.target_NK[rows]),
                num,
                self.groups,
                seed=self.seed,
            )
            if self.best is not None and len(streams) > 1:
                other_NK = np.where(np.isfinite(self.best[1]), self.best[1], NOT_SCORED)
                gain = gain_of_map(values_NK, other_NK, self.target_NK, self.groups, seed=self.seed)
        elif num:
            hit_N = is_hit(values_NK, self.label_N)
            for k in (1, 5)[: 1 + (values_NK.shape[1] > 5)]:
                hits = is_hit(values_NK, self.label_N, k)
                measures[f"top{k}"] = float(hits.mean())
                intervals[f"top{k}"] = wilson_interval(float(hits.sum()), num) or (0.0, 1.0)
            if self.best is not None and len(streams) > 1:
                best_N = is_hit(self.best[1], self.label_N)
                gain = gain_of_hits(hit_N, best_N, self.groups, seed=self.seed)
        return FusionRow(streams, by, measures, intervals, gain, details or {})

    def take_best(self, rows: Sequence[FusionRow]) -> None:
        """Compare what follows with the best of these rows."""
        if not self.known_N.any():
            return
        best = max(rows, key=lambda row: next(iter(row.measures.values())))
        self.best = ("+".join(best.streams), self._kept[best.streams, best.by])
        self.said["best_single"] = f"{self.best[0]} ({best.by})"


def _document(job: FuseJob, result: _Result) -> dict[str, Any]:
    """The table as plain values, and what it was made of."""
    rows = [asdict(row) | {"sure": row.gain is not None and row.gain.is_sure} for row in result.rows]
    files = {name: [str(path) for path in getattr(job, name)] for name in ("files", "fit")}
    return {"by": job.by, **files, **result.said, "rows": rows, "warnings": result.warnings}


def _print(result: _Result) -> None:
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    first = result.rows[0].measures
    table = Table(box=None, pad_edge=False)
    for heading in ("streams", "by"):
        table.add_column(heading, overflow="fold")
    titles = {"top1": "top-1, %", "top5": "top-5, %", "mean_ap": "mAP, %", "any_top1": "top-1, any label, %"}
    for name in first:
        table.add_column(titles[name], justify="right")
        if name in ("top1", "mean_ap"):
            table.add_column("95 %", justify="right")
    table.add_column("gain over the best single, points", justify="right")
    for row in result.rows:
        cells = ["+".join(row.streams), row.by]
        for name in first:
            cells.append(f"{100 * row.measures[name]:.2f}")
            if name in ("top1", "mean_ap"):
                low, high = row.intervals[name]
                cells.append(f"{100 * low:.1f} to {100 * high:.1f}")
        cells.append(show_gain(row.gain))
        table.add_row(*(spell_out(cell) for cell in cells))
    console.print(table)
    said = result.said
    words = [f"{said['videos']:,} videos with labels of the split {said['split'] or '(not said)'}"]
    words += [f"{name} lacks {count:,}" for name, count in said["missing"].items() if count]
    if said["not_scored"]:
        words.append(f"{said['not_scored']:,} could not be scored and count as wrong")
    if "best_single" in said:
        words.append(f"best single: {said['best_single']}")
    console.print(spell_out("; ".join(words)))


def show_gain(gain: Gain | None) -> str:
    """ "+2.1 (0.4 to 3.9)" in points; a star where the whole interval lies above zero."""
    if gain is None or not math.isfinite(gain.value):
        return ""
    star = " *" if gain.is_sure else ""
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}){star}"
