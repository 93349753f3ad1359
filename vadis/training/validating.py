"""Validation while training: the protocol of `vadis.evaluation` on the validation part, by all processes.

Each process scores its share of the examples, so that none waits idle for another; the rows are put together
in the order of the dataset, so one process and several give the same measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vadis.config import RunConfig
from vadis.data.reading import PLAIN, Reading
from vadis.evaluation.measures import measure
from vadis.evaluation.protocols import make_protocol
from vadis.evaluation.views import ScoredDataset, score_dataset
from vadis.models import VideoModel
from vadis.records import Dataset
from vadis.training.processes import Processes

MEASURES = ("top1", "top5", "mean_class", "mean_ap")
"""The measures that go into metrics.csv, where the dataset has them."""


def validate(
    model: VideoModel,
    dataset: Dataset,
    run: RunConfig,
    processes: Processes,
    *,
    workers: int,
    reading: Reading = PLAIN,
    progress: Callable[[int, int], object] | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Score a dataset by `run.protocol`; all that `measure` gives, with `loss` where clips have one label.

    The same in every process. Raises KeyboardInterrupt when asked to stop.
    """
    protocol = make_protocol(run.protocol, model, multi_label=dataset.multi_label, reading=reading)
    mine = dataset.examples[processes.rank :: processes.count]
    scored = score_dataset(
        model,
        replace(dataset, examples=mine),
        protocol,
        device=processes.device,
        precision=run.precision,
        workers=workers,
        progress=progress,
        asked_to_stop=asked_to_stop if processes.count == 1 else None,  # one may not leave the others alone
    )
    whole = _put_together(processes.gather(scored), dataset)
    return {**measure(whole, dataset), "loss": mean_loss(whole)}


def chosen_measure(run: RunConfig, dataset: Dataset) -> str:
    """The name of the measure that decides what is best (higher is better)."""
    return run.metric or ("mean_ap" if dataset.multi_label else "top1")


def mean_loss(scored: ScoredDataset) -> float | None:
    """Mean of -log(score of the label), over the examples that have one label and could be scored."""
    rows = [
        float(scores_K[label[0]])
        for scores_K, label in zip(scored.scores_NK, scored.labels, strict=True)
        if len(label) == 1 and np.isfinite(scores_K).all()
    ]
    if scored.multi_label or not rows:
        return None
    return float(-np.log(np.maximum(rows, np.finfo(np.float32).tiny)).mean())


def _put_together(shares: list[ScoredDataset], dataset: Dataset) -> ScoredDataset:
    """What each process scored (every nth example), in the order of the dataset."""
    count = len(shares)
    if count == 1:
        return shares[0]

    def merged(name: str) -> Any:
        first = getattr(shares[0], name)
        if first is None:
            return None
        whole = np.empty((len(dataset.examples), *first.shape[1:]), first.dtype)
        for rank, share in enumerate(shares):
            whole[rank::count] = getattr(share, name)
        return whole

    failures = [
        replace(item, draw=replace(item.draw, index=item.draw.index * count + rank))
        for rank, share in enumerate(shares)
        for item in share.failures
    ]
    damaged = [index * count + rank for rank, share in enumerate(shares) for index in share.damaged]
    return replace(
        shares[0],
        scores_NK=merged("scores_NK"),
        num_views_N=merged("num_views_N"),
        hits_N=merged("hits_N"),
        first_hit_N=merged("first_hit_N"),
        moments_NTK=merged("moments_NTK"),
        labels=tuple(example.labels for example in dataset.examples),
        failures=tuple(sorted(failures, key=lambda item: item.draw.index)),
        damaged=tuple(sorted(damaged)),
        seconds=max(share.seconds for share in shares),
        peak_memory=max(share.peak_memory for share in shares),
    )


def better(value: float | None, best: float | None) -> bool:
    """Whether a measure (a score, higher is better) beats the best so far; the first of equals stays."""
    return value is not None and math.isfinite(value) and (best is None or value > best)
