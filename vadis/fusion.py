"""Scores of several streams -> one: average, weights, weights that are searched, a linear SVM.

Networks that look at different things (frames, flow, sound; short clips and long ones) err on different
videos, so what they say together is better than what the best of them says alone. `vadis.alignment` brings
them into one order. Weights and machines are learnt from scores of a held-out part, never from what is
judged: weights that were chosen on the test flatter themselves.

| `by` | what it does | source |
|---|---|---|
| `average` | mean of the streams' softmax scores | Simonyan and Zisserman (arXiv:1406.2199), sec. 5 |
| `weighted` | the same with weights of yours | TSN (arXiv:1608.00859), sec. 4.2: 1 to 1.5 for RGB and flow |
| `search` | weights that are best on the held-out part | Qiu et al. (arXiv:1906.07016): ensemble weights |
| `svm` | linear SVM on stacked softmax scores, each of length 1 | arXiv:1406.2199, sec. 5 |

Where we differ, and why: the papers fit weights and machines on training scores or do not say on what; ours
want scores of videos that the networks did not learn from. A video that a stream could not score is not
scored by the fusion either, unless missing ones are allowed for: then the mean of the others stands in.

Legend: S streams, N videos, K classes, W weights that are tried, D numbers that a machine takes.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadis.alignment import Of, Streams, check_is_no_test
from vadis.linear import fit_layer, make_folds
from vadis.metrics.classification import average_precisions, is_hit
from vadis.records import DataError
from vadis.score_files import Floats, ScoreFile, make_scores
from vadis.video.write import part_file

By = Literal["average", "weighted", "search", "svm"]

LEARNT = ("search", "svm")
"""What learns from a held-out part."""

FORMAT = 1
STEPS = 20  # of the grid of weights, for up to three streams
FACTORS = (0.0, 0.25, 0.5, 0.8, 0.9, 1.1, 1.25, 2.0, 4.0)  # what a weight is multiplied by, for more


@dataclass(frozen=True)
class Fuser:
    """How streams become one: weights_S or a linear machine, for the streams and classes that it knows.

    of: what is averaged, "scores" in [0, 1] or "logits". weight_KD, bias_K: of the machine. fit_names: the
    videos that it was learnt from. details: how it was chosen, as plain values.
    """

    by: By
    streams: tuple[str, ...]
    class_names: tuple[str, ...]
    multi_label: bool = False
    of: Of = "scores"
    weights_S: tuple[float, ...] = ()
    weight_KD: Floats | None = None
    bias_K: Floats | None = None
    fit_names: tuple[str, ...] = ()
    fit_split: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """In a few words: the method and its weights."""
        if self.by == "svm":
            return f"linear SVM, C {self.details['strength']:g}"
        of = "" if self.of == "scores" else " of logits"
        if self.by == "average":
            return f"average{of}"
        return f"{self.by}{of}: " + ", ".join(
            f"{name} {weight:.3g}" for name, weight in zip(self.streams, self.weights_S, strict=True)
        )

    def combine(self, streams: Streams) -> Floats:
        """One row a video: mean scores or logits, or margins of the machine. Returns values_NK, NaN unscored.

        Raises ValueError for other classes or another number of streams than it was made for.
        """
        if streams.class_names != self.class_names or streams.multi_label != self.multi_label:
            raise ValueError("the fusion was made for other classes than the scores have")
        if len(streams.streams) != len(self.streams):
            raise ValueError(
                f"the fusion is of {len(self.streams)} streams ({', '.join(self.streams)}), not of "
                f"{len(streams.streams)}"
            )
        if self.weight_KD is not None and self.bias_K is not None:
            stacked_ND = stack_scores(streams.filled("scores"), self.multi_label)
            return np.asarray(stacked_ND @ self.weight_KD.T + self.bias_K)
        return weigh(streams.filled(self.of), self.weights_S)

    def fuse(self, streams: Streams) -> ScoreFile:
        """The fused scores as a file of scores, with all that it is made of."""
        learnt_from = {"split": self.fit_split, "videos": len(self.fit_names)}
        return file_fused(streams, self.combine(streams), self.by, self.of, self.describe(), learnt_from)


def file_fused(
    streams: Streams,
    values_NK: Floats,
    by: str,
    of: Of,
    how: str,
    learnt_from: Mapping[str, Any],
) -> ScoreFile:
    """Fused values_NK of these streams as a file of scores, with all that it is made of.

    by, of: the method, and what it puts together. how: the same in words. learnt_from: split and videos.
    """
    averaged = by != "svm" and of == "scores"
    files = streams.files
    made = [
        {"stream": stream, "model": file.model, "protocol": file.protocol, **file.provenance}
        for stream, file in zip(streams.streams, files, strict=True)
    ]
    shared = {name: {getattr(file, name) for file in files} for name in ("dataset", "protocol")}
    return make_scores(
        streams.names,
        streams.class_names,
        streams.labels,
        logits_NK=None if averaged else values_NK,
        scores_NK=values_NK if averaged else None,
        multi_label=streams.multi_label,
        kind="probabilities" if averaged else "margins" if by == "svm" else "logits",
        split=streams.split,
        dataset=shared["dataset"].pop() if len(shared["dataset"]) == 1 else "",
        protocol=shared["protocol"].pop() if len(shared["protocol"]) == 1 else "",
        model=" + ".join(file.model or stream for stream, file in zip(streams.streams, files, strict=True)),
        videos=streams.videos if any(streams.videos) else (),
        groups=streams.groups if any(streams.groups) else (),
        provenance={
            "fused": made,
            "by": how,
            "learnt_from": dict(learnt_from),
            "missing": dict(zip(streams.streams, streams.num_filled, strict=True)),
        },
    )


def make_average(streams: Streams, weights: Sequence[float] | None = None, of: Of = "scores") -> Fuser:
    """A plain mean, or one with weights (factors, of which only the ratios count). Raises ValueError."""
    given = (1.0,) * len(streams.streams) if weights is None else tuple(float(each) for each in weights)
    if len(given) != len(streams.streams):
        raise ValueError(f"{len(given)} weights for {len(streams.streams)} streams")
    if min(given) < 0 or not 0 < sum(given) < np.inf:
        raise ValueError(f"weights are numbers from 0 on, not all of them 0, got {given}")
    by: By = "average" if weights is None else "weighted"
    total = sum(given)
    return Fuser(
        by,
        streams.streams,
        streams.class_names,
        streams.multi_label,
        of,
        tuple(each / total for each in given),
    )


def learn(by: str, fit: Streams, of: Of = "scores") -> Fuser:
    """A fusion learnt from a held-out part: "search" for weights, or an "svm". See `check_leak`.

    Raises ValueError for another method, a split called test, or a part without a usable video.
    """
    if by not in LEARNT:
        raise ValueError(f"{by!r} learns nothing; {' and '.join(LEARNT)} do")
    check_is_no_test(fit.split)
    used = fit.select(fit.usable_N)
    if not len(used):
        raise ValueError("not one video of the part to learn from has a label and scores of all streams")
    details: dict[str, Any] = {"videos": len(used), "left_out": len(fit) - len(used)}
    common: dict[str, Any] = {
        "streams": fit.streams,
        "class_names": fit.class_names,
        "multi_label": fit.multi_label,
        "fit_names": fit.names,
        "fit_split": fit.split,
    }
    if by == "search":
        weights_S, found = search_weights(
            used.scores_SNK if of == "scores" else used.logits_SNK, used.target_NK, used.multi_label, of
        )
        return Fuser("search", **common, of=of, weights_S=weights_S, details={**details, **found})
    layer = fit_layer(
        stack_scores(used.scores_SNK, used.multi_label)[:, None].astype(np.float32),
        used.target_NK.astype(np.float64),
        used.examples(),
        kind="svm",
        multi_label=used.multi_label,
        standardise=False,
    )
    details |= {
        "strength": layer.strength,
        "cross_validation": {f"{c:g}": v for c, v in layer.chosen.items()},
    }
    return Fuser("svm", **common, weight_KD=layer.weight_KD, bias_K=layer.bias_K, details=details)


def learn_in_folds(by: str, streams: Streams, of: Of = "scores", folds: int = 5) -> Floats:
    """values_NK: each video fused by what the other folds teach (cross-validation); sources stay together.

    For a part without a held-out one, such as a training split of which the scores are out of fold. Raises
    ValueError for a split called test, and where a class has videos of one source only.
    """
    check_is_no_test(streams.split)
    fold_N = make_folds(streams.examples(), streams.target_NK.astype(np.float64), folds)
    if fold_N is None:
        raise ValueError("cross-validation needs videos of two sources or more in each class")
    values_NK = np.full(streams.scores_SNK.shape[1:], np.nan)
    for fold in np.unique(fold_N):
        fuser = learn(by, streams.select(fold_N != fold), of)
        values_NK[fold_N == fold] = fuser.combine(streams.select(fold_N == fold))
    return values_NK


def weigh(values_SNK: Floats, weights_S: Sequence[float]) -> Floats:
    """The mean over streams by their weights (factors); one of weight 0 has no part. Returns values_NK."""
    total_NK = np.zeros(values_SNK.shape[1:])
    for values_NK, weight in zip(values_SNK, weights_S, strict=True):
        if weight:
            total_NK = total_NK + weight * values_NK
    return total_NK / sum(weights_S)


def stack_scores(scores_SNK: Floats, multi_label: bool = False) -> Floats:
    """What the machine takes: each stream's scores brought to length 1, side by side. Returns stacked_ND.

    Where several labels are allowed they stay as they are: a length would hide how many there are.
    """
    if multi_label:
        return np.concatenate(list(scores_SNK), axis=1)
    length_SN1 = np.linalg.norm(scores_SNK, axis=2, keepdims=True)
    return np.concatenate(list(scores_SNK / np.maximum(length_SN1, 1e-12)), axis=1)


def search_weights(
    values_SNK: Floats, target_NK: ArrayLike, multi_label: bool = False, of: Of = "scores"
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The weights (S,), of sum 1, whose mean is right most often; by mAP where several labels are allowed.

    Up to three streams: every point of a grid of twentieths, and equal weights. More: from equal weights and
    from each stream alone, one weight at a time is changed while that helps. Among equally good weights the
    surest are taken (the least mean loss, or the most equal weights for several labels), so that a small
    part does not throw dice. Returns them and the values of the best, of equal weights, of each stream.
    """
    targets_NK, num = np.asarray(target_NK) > 0, len(values_SNK)
    tried: dict[tuple[float, ...], tuple[float, float]] = {}

    def value(weights: tuple[float, ...]) -> tuple[float, float]:
        key = tuple(round(each / sum(weights), 6) for each in weights)
        if key not in tried:
            tried[key] = _judge(weigh(values_SNK, key), targets_NK, key, multi_label, of)
        return tried[key]

    equal = (1 / num,) * num
    value(equal)
    alone = [tuple(float(place == other) for other in range(num)) for place in range(num)]
    for weights in alone:
        value(weights)
    if num <= 3:
        for steps in itertools.product(range(STEPS + 1), repeat=num - 1):
            if sum(steps) <= STEPS:
                value(tuple(step / STEPS for step in (*steps, STEPS - sum(steps))))
    else:
        for start in (equal, max(alone, key=value)):
            _climb(start, value)
    best = max(tried, key=lambda weights: tried[weights])
    measure = "mean_ap" if multi_label else "top1"
    return best, {
        "measure": measure,
        "best": tried[best][0],
        "equal": value(equal)[0],
        "alone": [value(weights)[0] for weights in alone],
        "num_tried": len(tried),
    }


def _climb(weights: tuple[float, ...], value: Any) -> None:
    """Change one weight at a time while that helps."""
    floor, improved = 0.05 / len(weights), True
    while improved:
        improved = False
        for place in range(len(weights)):
            changed = [
                tuple(max(w, floor) * factor if other == place else w for other, w in enumerate(weights))
                for factor in FACTORS
            ]
            best = max((each for each in changed if sum(each) > 0), key=value)
            if value(best) > value(weights):
                weights, improved = tuple(each / sum(best) for each in best), True


def _judge(
    values_NK: Floats, target_NK: NDArray[np.bool_], weights: Sequence[float], multi_label: bool, of: Of
) -> tuple[float, float]:
    """The measure, and what decides between equals."""
    if multi_label:
        return float(np.nanmean(average_precisions(values_NK, target_NK))), -float(np.var(weights))
    label_N = target_NK.argmax(axis=1)
    top1 = float(is_hit(values_NK, label_N).mean())
    shifted_NK = values_NK - values_NK.max(axis=1, keepdims=True)
    if of == "scores":
        shifted_NK = np.log(np.maximum(values_NK, 1e-12))
    loss_N = np.log(np.exp(shifted_NK).sum(axis=1)) - shifted_NK[np.arange(len(label_N)), label_N]
    return round(top1, 12), -float(loss_N.mean())


def save_fuser(path: str | os.PathLike[str], fuser: Fuser) -> Path:
    """Write a fusion (.npz, no pickle), so that it can be applied to other files; returns its path."""
    target = Path(path)
    said = {
        "format": FORMAT,
        "kind": "fusion",
        "by": fuser.by,
        "of": fuser.of,
        "multi_label": fuser.multi_label,
        "fit_split": fuser.fit_split,
        "details": dict(fuser.details),
    }
    arrays: dict[str, NDArray[Any]] = {
        "said": np.array(json.dumps(said)),
        "streams": np.array(fuser.streams, np.str_),
        "class_names": np.array(fuser.class_names, np.str_),
        "weights_S": np.array(fuser.weights_S, np.float64),
        "fit_names": np.array(fuser.fit_names, np.str_),
    }
    if fuser.weight_KD is not None and fuser.bias_K is not None:
        arrays |= {"weight_KD": fuser.weight_KD, "bias_K": fuser.bias_K}
    with part_file(target) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return target


def load_fuser(path: str | os.PathLike[str]) -> Fuser:
    """Read what `save_fuser` wrote. Raises DataError for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        said = json.loads(str(arrays["said"]))
        if said["kind"] != "fusion" or said["format"] != FORMAT:
            raise ValueError
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        raise DataError(f"{os.fspath(path)}: not a fusion that `vadis fuse --save` wrote") from None
    return Fuser(
        said["by"],
        tuple(arrays["streams"].tolist()),
        tuple(arrays["class_names"].tolist()),
        said["multi_label"],
        said["of"],
        tuple(arrays["weights_S"].tolist()),
        arrays.get("weight_KD"),
        arrays.get("bias_K"),
        tuple(arrays["fit_names"].tolist()),
        said["fit_split"],
        said["details"],
    )
