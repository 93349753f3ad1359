"""The scores of a dataset on disk: what one network says of each video, in a file that any NumPy reads.

A row is a video with its name, the mean of its views' logits, the protocol's scores in [0, 1], its labels;
the class names stand beside them, and JSON says where all of it comes from. Whoever fuses streams needs
nothing else, neither networks nor videos. No pickle is in the file, and it appears whole or not at all.

| array | shape | what it is |
|---|---|---|
| `names` | (N,) | the id of each video, once each: files are aligned by it |
| `logits_NK` | (N, K) | mean logits over the views; NaN where a video could not be scored |
| `scores_NK` | (N, K) | what the protocol made of the views, in [0, 1]: what a card's numbers are of |
| `labels` | (N,) or (N, K) | the class, -1 where hidden; or 0 and 1, where several labels are allowed |
| `class_names` | (K,) | in the order of the columns |
| `videos`, `groups` | (N,) | the file of each, and its source: what must not be learnt from and judged |
| `moments_NTK` | (N, T, K) | scores of each moment, of dense protocols only |
| `provenance` | () | JSON: `format`, `kind`, `split`, `dataset`, `protocol`, `model`, hashes, versions |

`kind` says what the logits are: "logits" as the network gave them, "probabilities" where only scores were
known (their logarithms stand in), "margins" of a support vector machine.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.metrics.classification import softmax
from vadis.records import DataError
from vadis.video.write import part_file

Floats = NDArray[np.float64]
FORMAT = 2
"""Version of the files; 1 was what `vadis evaluate` wrote before it kept logits."""

KINDS = ("logits", "probabilities", "margins")
_TINY = 1e-12  # below every probability that matters: its logarithm stands for that of 0


@dataclass(frozen=True)
class ScoreFile:
    """The scores of one stream, a row a video; see the module for the arrays.

    labels: class indices of each video, none where they are hidden. provenance: whatever else a file says
    of itself, as plain values.
    """

    names: tuple[str, ...]
    logits_NK: Floats
    scores_NK: Floats
    labels: tuple[tuple[int, ...], ...]
    class_names: tuple[str, ...]
    multi_label: bool = False
    split: str = ""
    dataset: str = ""
    protocol: str = ""
    model: str = ""
    kind: str = "logits"
    videos: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    moments_NTK: Floats | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.names), len(self.class_names))
        if self.logits_NK.shape != shape or self.scores_NK.shape != shape or len(self.labels) != shape[0]:
            raise ValueError(
                f"{shape[0]} videos of {shape[1]} classes need as many scores and labels, not "
                f"{self.scores_NK.shape}, {self.logits_NK.shape} and {len(self.labels)}"
            )
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"{twice!r} comes twice: a video has one row of scores")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        for number, labels in enumerate(self.labels):
            if any(not 0 <= label < shape[1] for label in labels):
                raise ValueError(f"{self.names[number]}: labels lie in 0..{shape[1] - 1}, got {labels}")
            if len(labels) > 1 and not self.multi_label:
                raise ValueError(f"{self.names[number]} has {len(labels)} labels: say multi_label")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def scored_N(self) -> NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Whether each video could be scored: shape (N,)."""
        return np.asarray(np.isfinite(self.scores_NK).all(axis=1))

    @property
    def target_NK(self) -> NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Which classes each video has: shape (N, K), a row without any where they are hidden."""
        target_NK = np.zeros(self.scores_NK.shape, bool)
        for row, labels in enumerate(self.labels):
            target_NK[row, list(labels)] = True
        return target_NK


def make_scores(
    names: Sequence[str],
    class_names: Sequence[str],
    labels: Sequence[Sequence[int]],
    *,
    logits_NK: ArrayLike | None = None,
    scores_NK: ArrayLike | None = None,
    multi_label: bool = False,
    **others: Any,
) -> ScoreFile:
    """A `ScoreFile` from logits_NK or scores_NK or both; what is missing follows from the other.

    Scores of logits are their softmax, or sigmoid where several labels are allowed; logits of scores are
    logarithms (log odds). others: fields of `ScoreFile`. Raises ValueError where shapes do not fit, or
    neither is given.
    """
    if logits_NK is None and scores_NK is None:
        raise ValueError("a file of scores needs logits or scores")
    if logits_NK is None:
        share_NK = np.clip(np.asarray(scores_NK, np.float64), _TINY, 1 - _TINY)
        logits_NK = np.log(share_NK) - (np.log1p(-share_NK) if multi_label else 0.0)
        others.setdefault("kind", "probabilities")
    logits = np.asarray(logits_NK, np.float64)
    if scores_NK is None:
        scores_NK = to_scores(logits, multi_label)
    return ScoreFile(
        tuple(str(name) for name in names),
        logits,
        np.asarray(scores_NK, np.float64),
        tuple(tuple(int(label) for label in each) for each in labels),
        tuple(str(name) for name in class_names),
        multi_label,
        **others,
    )


def to_scores(logits_NK: Floats, multi_label: bool) -> Floats:
    """Softmax of each row, or sigmoid where several labels are allowed; NaN stays NaN. Returns scores_NK."""
    if not multi_label:
        return softmax(logits_NK)
    powers_NK = np.exp(-np.abs(logits_NK))
    return np.asarray(np.where(logits_NK >= 0, 1.0, powers_NK) / (1.0 + powers_NK))


def write_scores(path: str | os.PathLike[str], scores: ScoreFile) -> Path:
    """Write a file of scores (.npz, no pickle); returns its path."""
    target = Path(path)
    if scores.multi_label:
        labels = scores.target_NK.astype(np.int8)
    else:
        labels = np.array([each[0] if each else -1 for each in scores.labels], np.int64)
    provenance = {
        **scores.provenance,
        "format": FORMAT,
        "kind": scores.kind,
        "split": scores.split,
        "dataset": scores.dataset,
        "protocol": scores.protocol,
        "model": scores.model,
        "multi_label": scores.multi_label,
    }
    arrays: dict[str, NDArray[Any]] = {
        "names": _words(scores.names),
        "logits_NK": scores.logits_NK,
        "scores_NK": scores.scores_NK,
        "labels": labels,
        "class_names": _words(scores.class_names),
        "provenance": np.array(json.dumps(provenance, sort_keys=True, ensure_ascii=True)),
    }
    for name, words in (("videos", scores.videos), ("groups", scores.groups)):
        if words:
            arrays[name] = _words(words)
    if scores.moments_NTK is not None:
        arrays["moments_NTK"] = scores.moments_NTK
    with part_file(target) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return target


def read_scores(path: str | os.PathLike[str]) -> ScoreFile:
    """Read what `write_scores` wrote, or what `vadis evaluate` wrote before.

    A file of before has no logits (the logarithms of its scores stand in) and says neither split nor
    protocol. Raises DataError for anything else.
    """
    source = Path(path)
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError):
        raise DataError(
            f"{source}: not a file of scores (.npz without pickles, from `vadis evaluate --save-scores`)"
        ) from None
    try:
        return _read_first(arrays) if "label_N" in arrays else _read(arrays)
    except KeyError as error:
        what = "a file of features: fuse those with --by tcp" if "features" in arrays else "no file of scores"
        raise DataError(
            f"{source}: this is {what}; there is no {error} in it (`vadis evaluate --save-scores` writes one)"
        ) from None
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{source}: {error}") from None


def _read(arrays: Mapping[str, NDArray[Any]]) -> ScoreFile:
    names, provenance = arrays["names"].tolist(), json.loads(str(arrays["provenance"]))
    if provenance.pop("format", None) != FORMAT:
        raise ValueError(f"scores of another version than {FORMAT}; evaluate again with --save-scores")
    multi_label = bool(provenance.pop("multi_label"))
    own = {name: str(provenance.pop(name)) for name in ("kind", "split", "dataset", "protocol", "model")}
    rows = arrays["labels"]
    if rows.ndim != (2 if multi_label else 1):
        raise ValueError(f"labels of shape {rows.shape} are not those of {len(names)} videos")
    moments = arrays.get("moments_NTK")
    return make_scores(
        names,
        arrays["class_names"].tolist(),
        [np.flatnonzero(row).tolist() for row in rows] if multi_label else _lone(rows),
        logits_NK=arrays["logits_NK"],
        scores_NK=arrays["scores_NK"],
        multi_label=multi_label,
        videos=tuple(arrays["videos"].tolist()) if "videos" in arrays else (),
        groups=tuple(arrays["groups"].tolist()) if "groups" in arrays else (),
        moments_NTK=None if moments is None else moments.astype(np.float64),
        provenance=provenance,
        **own,
    )


def _read_first(arrays: Mapping[str, NDArray[Any]]) -> ScoreFile:
    """Format 1: scores_NK, label_N or target_NK, ids, class_names."""
    multi_label = "target_NK" in arrays
    targets = arrays["target_NK"] if multi_label else arrays["label_N"]
    return make_scores(
        arrays["ids"].tolist(),
        arrays["class_names"].tolist(),
        [np.flatnonzero(row).tolist() for row in targets] if multi_label else _lone(targets),
        scores_NK=arrays["scores_NK"],
        multi_label=multi_label,
        moments_NTK=arrays.get("moments_NTK"),
    )


def _lone(label_N: NDArray[Any]) -> list[list[int]]:
    return [[int(label)] if label >= 0 else [] for label in label_N]


def _words(words: Sequence[str]) -> NDArray[np.str_]:
    """As text that a file can hold, whatever bytes a file's name was made of."""
    return np.array([word.encode("utf-8", "backslashreplace").decode() for word in words], np.str_)
