"""What we measured: cards of `vadis evaluate` and runs of `vadis transfer`, matched with published cells.

A card is a JSON file; runs are lines of JSON, one a run. Whatever else lies in the folder is passed over.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadis.models.published import WEIGHTS
from vadis.tables import Cell

SPLIT_NUMBERS = ("1", "2", "3")


@dataclass(frozen=True)
class OurResult:
    """One evaluation of ours: shares in [0, 1] by the names of `vadis.evaluation.measure`.

    models: as the card names them, with their weights after a dot. mode: of a transfer, else empty. split:
    as the dataset calls it ("test1", "val"). examples: for each class, of a transfer; None for all of them.
    """

    models: tuple[str, ...]
    dataset: str
    split: str
    mode: str
    protocol: str
    metrics: Mapping[str, Any]
    source: str
    seed: int = 0
    examples: int | None = None


@dataclass(frozen=True)
class Ours:
    """A number of ours beside a published one, in the published unit; `remark` says how the two differ."""

    value: float
    source: str
    remark: str = ""


def find_results(folder: Path) -> list[OurResult]:
    """All cards and runs below a folder, in the order of their paths.

    Raises ValueError where there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the one with the cards of `vadis evaluate --out`")
    found: list[OurResult] = []
    for path in sorted(folder.rglob("*.json")):
        document = _load(path.read_text("utf-8", "surrogateescape"))
        if document is not None:
            found += _read_card(document, str(path))
    for path in sorted(folder.rglob("runs.jsonl")):
        study = _read_study(path.parent)
        for line in path.read_text("utf-8", "surrogateescape").splitlines():
            document = _load(line)
            if document is not None:
                found += _read_run(document, study, str(path))
    return found


def _load(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _read_card(document: dict[str, Any], source: str) -> list[OurResult]:
    """A card, and the cards of its splits where it is a mean."""
    try:
        result = OurResult(
            models=tuple(str(document["model"]).split("+")),
            dataset=str(document["dataset"]),
            split=str(document["split"]),
            mode="",
            protocol=str(document["protocol"]["name"]),
            metrics=dict(document["metrics"]),
            source=source,
        )
    except (KeyError, TypeError, ValueError):
        return []
    splits = document.get("splits") or []
    return [result, *(each for card in splits for each in _read_card(card, source))]


def _read_study(folder: Path) -> tuple[str, str]:
    """Dataset and protocol of a study's folder: as its study.json says, else the dataset that it is named
    after."""
    path = folder / "study.json"
    said = (_load(path.read_text("utf-8", "surrogateescape")) if path.is_file() else None) or {}
    setup = said.get("setup")
    protocol = setup.get("protocol", "") if isinstance(setup, dict) else ""
    return str(said.get("dataset") or folder.name), str(protocol)


def _read_run(document: dict[str, Any], study: tuple[str, str], source: str) -> list[OurResult]:
    """One line of a study's runs; controls, and starts that the study pre-trained itself, stand for no
    cell."""
    try:
        run = document["run"]
        if run["control"] or run["pretrain"]:
            return []
        return [
            OurResult(
                models=tuple(map(str, document.get("models") or str(run["model"]).split("+"))),
                dataset=study[0],
                split=str(run["split"]),
                mode=str(run["mode"]),
                protocol=study[1],
                metrics=dict(document["metrics"]),
                source=source,
                seed=int(run["seed"]),
                examples=None if run["examples"] == "all" else int(run["examples"]),
            )
        ]
    except (KeyError, TypeError, ValueError):
        return []


def match(cell: Cell, results: Iterable[OurResult]) -> Ours | None:
    """The result of ours that stands for a cell; of several the one with the same protocol and start.

    Networks, dataset, split and mode must be the same. Seeds are averaged; "mean3" is the mean over the three
    splits. None where nothing was measured.
    """
    fitting = [result for result in results if _fits(cell, result)]
    by_remark: dict[str, list[OurResult]] = {}
    for result in fitting:
        by_remark.setdefault(_remark(cell, result), []).append(result)
    for remark in sorted(by_remark, key=len):  # the fewest differences first
        ours = _average(cell, by_remark[remark])
        if ours is not None:
            return Ours(ours[0], ours[1], remark)
    return None


def _fits(cell: Cell, result: OurResult) -> bool:
    networks = tuple(name.partition(".")[0] for name in result.models)
    wanted = transfer_mode(cell)
    return (
        cell.is_accuracy
        and not cell.options
        and networks == cell.models
        and result.dataset == cell.dataset
        and _number_of(result.split) in _splits_of(cell)
        and (result.mode == wanted or (not result.mode and not wanted))
        and result.examples is None
        and share_of(cell, result.metrics) is not None
    )


def transfer_mode(cell: Cell) -> str:
    """The mode of `vadis transfer` that a cell was made in: an ImageNet start has a mode of its own there."""
    return "imagenet" if cell.mode == "original" and "ImageNet" in cell.pretraining else cell.mode


def _splits_of(cell: Cell) -> Sequence[str]:
    if cell.split == "mean3":
        return (*SPLIT_NUMBERS, ",".join(SPLIT_NUMBERS))
    return (cell.split.removeprefix("split"),)


def _number_of(split: str) -> str:
    """ "test2" is 2; "test1,test2,test3", the mean of a card, is "1,2,3"; "val" stays."""
    parts = [part.removeprefix("test").removeprefix("split") or part for part in split.split(",")]
    return ",".join(parts)


def share_of(cell: Cell, metrics: Mapping[str, Any]) -> float | None:
    """A cell's metric among measures, as a share in [0, 1]; None where it is not there."""
    names = {
        "average_top1_top5": "average",
        "localization_map": ("moments", "mean_ap"),
        "mean_ap": ("charades", "mean_ap") if cell.dataset == "charades" else "mean_ap",
    }
    name = names.get(cell.metric, cell.metric)
    value: Any = metrics
    for key in (name,) if isinstance(name, str) else name:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _remark(cell: Cell, result: OurResult) -> str:
    """How the conditions differ, in words; empty where they are those of the paper as far as is known."""
    parts = []
    if cell.views and result.protocol and result.protocol != cell.views:
        parts.append(f"protocol {result.protocol}, published with {cell.views}")
    starts = [WEIGHTS[name].trained_on for name in result.models if name in WEIGHTS]
    if starts and cell.pretraining and cell.mode not in ("original",):
        ours, theirs = "ImageNet" in starts[0], "ImageNet" in cell.pretraining
        if ours != theirs:
            parts.append(f"weights from {starts[0]}, published with {cell.pretraining}")
    return "; ".join(parts)


def _average(cell: Cell, results: Sequence[OurResult]) -> tuple[float, str] | None:
    """Mean over seeds, then splits, in the cell's unit, and where it stands; None where a split lacks."""
    shares: dict[str, list[float]] = {}
    for result in results:
        shares.setdefault(_number_of(result.split), []).append(share_of(cell, result.metrics) or 0.0)
    if cell.split == "mean3":
        whole = ",".join(SPLIT_NUMBERS)
        if whole in shares:
            shares = {whole: shares[whole]}
        elif set(shares) != set(SPLIT_NUMBERS):
            return None
    mean = statistics.fmean(statistics.fmean(values) for values in shares.values())
    sources = sorted({result.source for result in results if _number_of(result.split) in shares})
    return mean * (100 if cell.unit == "%" else 1), ", ".join(sources)
