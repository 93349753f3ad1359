"""Scores of several streams brought into one order by the names of their videos; else they are refused.

Streams are scored in runs of their own, perhaps on other machines, in another order, with some files missing.
Here they become one array, and these are refused: other videos, other classes, other labels,
another split. `check_leak` refuses to judge a fusion on videos that it was learnt from.

Legend: S streams, N videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vadis.records import DataError, Example
from vadis.score_files import Floats, ScoreFile

Of = Literal["scores", "logits"]
"""What is averaged: scores in [0, 1], or logits."""

NAMED = 5  # videos that a message names


@dataclass(frozen=True)
class Streams:
    """The scores of several streams for the same videos, in one order.

    logits_SNK, scores_SNK: NaN where a stream did not score a video. num_filled: how many videos of each
    stream are missing and were allowed for.
    """

    streams: tuple[str, ...]
    files: tuple[ScoreFile, ...]
    names: tuple[str, ...]
    logits_SNK: Floats
    scores_SNK: Floats
    labels: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]
    videos: tuple[str, ...]
    num_filled: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first file; the others' columns are in its order."""
        return self.files[0].class_names

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.files[0].multi_label

    @property
    def split(self) -> str:
        """The split that the files say they are of; "" where none says."""
        return next((file.split for file in self.files if file.split), "")

    @property
    def target_NK(self) -> NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Which classes each video has: shape (N, K)."""
        target_NK = np.zeros(self.scores_SNK.shape[1:], bool)
        for row, labels in enumerate(self.labels):
            target_NK[row, list(labels)] = True
        return target_NK

    @property
    def usable_N(self) -> NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Videos with known labels that all streams have scored: shape (N,)."""
        known_N = np.array([bool(labels) for labels in self.labels], bool)
        return np.asarray(known_N & np.isfinite(self.scores_SNK).all(axis=(0, 2)))

    def filled(self, of: Of) -> Floats:
        """scores_SNK (or logits) where the mean of the others stands for what was allowed to be missing."""
        values_SNK = self.scores_SNK if of == "scores" else self.logits_SNK
        if not any(self.num_filled):
            return values_SNK
        lacking_SN = np.asarray(~np.isfinite(values_SNK).all(axis=2))
        there_SNK = np.where(lacking_SN[..., None], 0.0, values_SNK)
        count_N1 = (~lacking_SN).sum(axis=0)[:, None]
        mean_NK = np.divide(
            there_SNK.sum(axis=0), count_N1, out=np.full(values_SNK.shape[1:], np.nan), where=count_N1 > 0
        )
        return np.asarray(np.where(lacking_SN[..., None], mean_NK, values_SNK))

    def select(self, keep: Sequence[int] | NDArray[np.bool_]) -> Streams:
        """The videos with these indices, or where the mask (N,) is true."""
        rows = np.arange(len(self))[np.asarray(keep)]

        def pick(words: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(words[row] for row in rows)

        return replace(
            self,
            names=pick(self.names),
            logits_SNK=self.logits_SNK[:, rows],
            scores_SNK=self.scores_SNK[:, rows],
            labels=pick(self.labels),
            groups=pick(self.groups),
            videos=pick(self.videos),
        )

    def only(self, streams: Sequence[int]) -> Streams:
        """Some of the streams, by number."""
        numbers = list(streams)
        return replace(
            self,
            streams=tuple(self.streams[number] for number in numbers),
            files=tuple(self.files[number] for number in numbers),
            logits_SNK=self.logits_SNK[numbers],
            scores_SNK=self.scores_SNK[numbers],
            num_filled=tuple(self.num_filled[number] for number in numbers),
        )

    def examples(self) -> list[Example]:
        """The videos as examples, for folds that keep sources together."""
        return [
            Example(video or name, name, labels, group=group)
            for name, video, labels, group in zip(
                self.names, self.videos, self.labels, self.groups, strict=True
            )
        ]


def align(
    files: Sequence[ScoreFile], streams: Sequence[str] | None = None, *, allow_missing: bool = False
) -> Streams:
    """Bring the files of several streams into one order, that of the first, by the videos' names.

    streams: what to call each (default: its model). allow_missing: keep videos that some streams lack, and
    count them. Raises DataError where videos are missing and names them, and where classes, labels or splits
    differ.
    """
    if not files:
        raise ValueError("there are no scores to be fused")
    names = tuple(streams or (file.model or f"stream {place}" for place, file in enumerate(files, 1)))
    if len(names) != len(files) or len(set(names)) < len(names):
        raise ValueError(f"{len(files)} streams need as many names, each once, not {', '.join(names)}")
    first = files[0]
    order: dict[str, int] = {}
    for file in files:
        for name in file.names:
            order.setdefault(name, len(order))
    said = []
    for stream, file in zip(names, files, strict=True):
        have = set(file.names)
        if lacking := [name for name in order if name not in have]:
            said.append(f"{stream} lacks {len(lacking):,} of {len(order):,} videos: {_some(lacking)}")
    if said and not allow_missing:
        raise DataError(
            "the files are not of the same videos: " + "; ".join(said) + "; score the same split with each "
            "stream, or allow for missing ones (--allow-missing)"
        )
    splits = dict.fromkeys(file.split for file in files if file.split)
    if len(splits) > 1:
        each = ", ".join(f"{name}: {file.split}" for name, file in zip(names, files, strict=True))
        raise DataError(f"the files are of different splits ({each}); fuse scores of one split")
    logits_SNK = np.full((len(files), len(order), len(first.class_names)), np.nan)
    scores_SNK = logits_SNK.copy()
    known: dict[str, tuple[str, tuple[int, ...]]] = {}
    for place, (stream, file) in enumerate(zip(names, files, strict=True)):
        column_K = _columns(first, file, names[0], stream)
        rows = [order[name] for name in file.names]
        logits_SNK[place, rows] = file.logits_NK[:, column_K]
        scores_SNK[place, rows] = file.scores_NK[:, column_K]
        back = {column: label for label, column in enumerate(column_K)}
        for name, labels in zip(file.names, file.labels, strict=True):
            ours = tuple(sorted(back[label] for label in labels))
            who, before = known.setdefault(name, (stream, ours))
            if ours and before and ours != before:
                words = [", ".join(first.class_names[label] for label in each) for each in (before, ours)]
                raise DataError(
                    f"{name}: {who} has the label {words[0]}, {stream} has {words[1]}; the files are not of "
                    "the same annotations"
                )
            if ours and not before:
                known[name] = (stream, ours)
    side: dict[str, tuple[str, str]] = {}
    for file in files:
        rows_of = zip(
            file.names, file.videos or [""] * len(file), file.groups or [""] * len(file), strict=True
        )
        for name, video, group in rows_of:
            side.setdefault(name, (video, group))
    lost_SN = ~np.isfinite(scores_SNK).all(axis=2)
    return Streams(
        names,
        tuple(files),
        tuple(order),
        logits_SNK,
        scores_SNK,
        tuple(known[name][1] for name in order),
        tuple(side[name][1] for name in order),
        tuple(side[name][0] for name in order),
        tuple(lost_SN.sum(axis=1).tolist()) if allow_missing else (0,) * len(files),
    )


def check_leak(fit: Streams, judged: Streams) -> str:
    """Raise ValueError where a fusion that is learnt on `fit` would be judged on what it has seen.

    That is where they share a video, or a file's split; and nothing is ever learnt from a split called test.
    Returns a warning where videos of one source lie on both sides, else "".
    """
    check_is_no_test(fit.split)
    shared = sorted(set(fit.names) & set(judged.names))
    if not shared and fit.files[0].dataset == judged.files[0].dataset:
        shared = sorted(({*fit.videos} & {*judged.videos}) - {""})
    if shared:
        raise ValueError(
            f"{len(shared):,} of the {len(judged):,} videos that are judged are among those that the fusion "
            f"is learnt from ({_some(shared)}): that would flatter it; learn from a held-out part"
        )
    if fit.split and fit.split == judged.split:
        raise ValueError(
            f"both parts are of the split {fit.split!r}: learn the fusion from a held-out part, judge it on "
            "another"
        )
    sources = ({*fit.groups} & {*judged.groups}) - {""}
    if sources:
        return f"{len(sources):,} sources lie on both sides ({_some(sorted(sources))}): that may flatter"
    return ""


def check_is_no_test(split: str) -> None:
    """Raise ValueError for a split whose name begins with test."""
    if split.lower().startswith("test"):
        raise ValueError(f"nothing is learnt from the split {split!r}: it is there to judge by")


def _columns(first: ScoreFile, file: ScoreFile, stream: str, other: str) -> list[int]:
    """Where each class of the first file is in another."""
    if file.multi_label != first.multi_label:
        raise DataError(f"of {stream} and {other}, only one allows several labels a video")
    place = {name: label for label, name in enumerate(file.class_names)}
    if set(place) != set(first.class_names):
        ours = [name for name in first.class_names if name not in place]
        theirs = [name for name in file.class_names if name not in set(first.class_names)]
        raise DataError(
            f"{stream} and {other} have different classes; only {stream} has {_some(ours) or 'none'}, only "
            f"{other} {_some(theirs) or 'none'}"
        )
    return [place[name] for name in first.class_names]


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:NAMED]) + (" ..." if len(words) > NAMED else "")
