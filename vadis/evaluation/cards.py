"""From a network and a dataset to an `EvaluationCard`, and cards as files.

card = evaluate(model, dataset, "10x3", device="cuda")
write_card(card, "card.json")
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import math
import platform
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vadis.data.loader import fingerprint
from vadis.data.reading import PLAIN, Reading
from vadis.evaluation.measures import TITLES, measure
from vadis.evaluation.protocols import EvaluationProtocol, make_protocol
from vadis.evaluation.views import ScoredDataset, Sees, hash_weights, score_dataset
from vadis.metrics.classification import mean_over_splits
from vadis.models.contract import VideoModel
from vadis.models.cost import measure_cost
from vadis.records import CARD_VERSION, Dataset, EvaluationCard, Missed, VadisError
from vadis.video.write import part_file

PACKAGES = ("vadis", "torch", "torchvision", "numpy", "av")


@dataclass(frozen=True)
class ClassMatch:
    """Which of a network's classes each class of a dataset is (None: the same in the same order); a note."""

    columns: tuple[int, ...] | None = None
    note: str = ""


def match_classes(model: VideoModel, dataset: Dataset, *, subset: bool = False) -> ClassMatch:
    """Match a network's classes with a dataset's by their names, letter by letter.

    A network without names is taken by number, where it has as many. subset: the dataset may lack classes
    that the network knows; scores are then over the dataset's classes only. Raises ValueError that names the
    differences.
    """
    ours, theirs = dataset.class_names, model.class_names
    if theirs is None:
        if model.num_classes != len(ours):
            raise ValueError(
                f"{model.name or 'the network'} has {model.num_classes} classes without names, "
                f"{dataset.name} has {len(ours)}; it is not a network for this dataset"
            )
        return ClassMatch(None, "the network names no classes: they are taken in the dataset's order")
    if theirs == ours:
        return ClassMatch()
    place = {name: label for label, name in enumerate(theirs)}
    unknown = [name for name in ours if name not in place]
    if unknown:
        missing = [name for name in theirs if name not in set(ours)]
        raise ValueError(
            f"{model.name or 'the network'} and {dataset.name} have different classes: of the dataset's "
            f"{len(ours)}, {len(unknown)} are unknown to the network ({_some(unknown)}); of the network's "
            f"{len(theirs)}, {len(missing)} are not in the dataset ({_some(missing)}). Names are compared "
            "letter by letter"
        )
    columns = tuple(place[name] for name in ours)
    if len(ours) == len(theirs):
        return ClassMatch(columns, "classes are matched by name: the network has them in another order")
    if not subset:
        extra = [name for name in theirs if name not in set(ours)]
        raise ValueError(
            f"{model.name or 'the network'} knows {len(extra)} classes that {dataset.name} lacks "
            f"({_some(extra)}); with --subset only the dataset's classes can win"
        )
    return ClassMatch(
        columns,
        f"only the dataset's {len(ours)} of the network's {len(theirs)} classes could win, which is easier",
    )


def _some(names: Sequence[str]) -> str:
    return (
        ", ".join(repr(name) for name in names[:5]) + (" ..." if len(names) > 5 else "") if names else "none"
    )


def evaluate(
    model: VideoModel,
    dataset: Dataset,
    protocol: EvaluationProtocol | str = "10x3",
    *,
    device: torch.device | str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    workers: int = 2,
    reading: Reading | None = None,
    progress: Callable[[int, int], object] | None = None,
    sees: Sees | None = None,
    subset: bool = False,
    journal: Path | None = None,
    source_sha256: str | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> EvaluationCard:
    """Evaluate a network on a dataset by a protocol. The options are those of `score_dataset`.

    subset: as for `match_classes`. source_sha256: of the file that the weights came from, for the card.
    Raises as `match_classes`, `make_protocol` and `score_dataset` do.
    """
    if isinstance(protocol, str):
        protocol = make_protocol(protocol, model, multi_label=dataset.multi_label, reading=reading or PLAIN)
    match = match_classes(model, dataset, subset=subset)
    scored = score_dataset(
        model,
        dataset,
        protocol,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        reading=reading,
        progress=progress,
        sees=sees,
        columns=match.columns,
        journal=journal,
        asked_to_stop=asked_to_stop,
    )
    notes = tuple(note for note in (match.note, *(str(note) for note in dataset.notes)) if note)
    return make_card(model, dataset, scored, notes=notes, source_sha256=source_sha256)


def make_card(
    model: VideoModel,
    dataset: Dataset,
    scored: ScoredDataset,
    *,
    notes: Sequence[str] = (),
    source_sha256: str | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> EvaluationCard:
    """The card of scores that are there already."""
    spec = scored.protocol.spec
    if spec is None:
        raise ValueError(f"the protocol {scored.protocol.name} was not made for a network")
    num_frames = scored.protocol.rule.at_most or spec.num_frames
    cost = measure_cost(model, dataclasses.replace(spec, num_frames=num_frames).shapes)
    kinds = [item.failure.kind for item in scored.failures]
    num_missing = kinds.count("not_found")
    if scored.absent:
        notes = (*notes, f"{len(scored.absent)} examples lack a modality: zeros went in for it")
    if num_lost := kinds.count("not_finite"):
        notes = (*notes, f"{num_lost} examples got scores that are not numbers: the network is broken")
    return EvaluationCard(
        model=model.name or type(model).__name__,
        dataset=dataset.name,
        split=dataset.split,
        protocol=scored.protocol.to_dict(),
        protocol_text=scored.protocol.describe(),
        num_expected=len(scored),
        num_files=len({example.video for example in dataset.examples}),
        num_evaluated=len(scored) - len(kinds),
        num_missing=num_missing,
        num_unreadable=len(kinds) - num_missing,
        list_sha256=fingerprint(dataset),
        weights_sha256=hash_weights(model),
        source_sha256=source_sha256 or model.weights_sha256,
        class_names=dataset.class_names,
        num_parameters=cost.num_parameters,
        gmac=cost.gmac,
        seconds=scored.seconds,
        peak_memory=scored.peak_memory,
        device=scored.device,
        precision=scored.precision,
        metrics=measure(scored, dataset),
        multi_label=dataset.multi_label,
        failures=tuple(
            Missed(item.id, item.video, item.failure.kind, _without_root(item.failure.message, dataset))
            for item in scored.failures
        ),
        damaged=tuple(dataset.examples[index].id for index in scored.damaged),
        calibration=calibration,
        notes=tuple(notes),
        versions=list_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _without_root(message: str, dataset: Dataset) -> str:
    """A message with paths as the list has them: where a folder lies is nobody else's affair."""
    return message.replace(str(Path(dataset.root)).rstrip("/") + "/", "")


def list_measures(card: EvaluationCard) -> list[tuple[str, str, float]]:
    """What a card shows: name, title and share of each measure; of single views only where there are many."""
    single = () if card.num_views > 1 else ("clip_top1", "first_clip_top1")
    return [
        (name, title, float(value))
        for name, title in TITLES.items()
        if (value := card.metrics.get(name)) is not None and name not in single
    ]


def list_versions() -> dict[str, str]:
    """Python and the packages that a number may depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {**versions, "torch": str(torch.__version__)}  # with the build's tag


def average_cards(cards: Sequence[EvaluationCard]) -> EvaluationCard:
    """The mean over splits (UCF-101, HMDB-51): the plain mean of each measure, `deviations` beside it.

    Deviations are of the sample (n - 1). Counts add up. Raises ValueError where the cards are not of one
    dataset and one protocol.
    """
    first = cards[0]
    for card in cards[1:]:
        if (card.dataset, card.protocol, card.class_names) != (
            first.dataset,
            first.protocol,
            first.class_names,
        ):
            raise ValueError(
                f"{card.dataset} {card.split} ({card.protocol_text}) cannot be averaged with {first.dataset} "
                f"{first.split} ({first.protocol_text})"
            )
    metrics: dict[str, Any] = {"num": sum(card.metrics["num"] for card in cards), "intervals": {}}
    deviations: dict[str, float] = {}
    for name in TITLES:
        values = [card.metrics.get(name) for card in cards]
        numbers = [float(value) for value in values if value is not None]
        if len(numbers) == len(cards):
            metrics[name] = mean_over_splits(numbers)
            deviations[name] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    metrics["deviations"] = deviations
    return dataclasses.replace(
        first,
        split=",".join(card.split for card in cards),
        num_expected=sum(card.num_expected for card in cards),
        num_files=sum(card.num_files for card in cards),
        num_evaluated=sum(card.num_evaluated for card in cards),
        num_missing=sum(card.num_missing for card in cards),
        num_unreadable=sum(card.num_unreadable for card in cards),
        list_sha256=_joined(card.list_sha256 for card in cards),
        weights_sha256=_joined(dict.fromkeys(card.weights_sha256 for card in cards)),
        source_sha256=None if len({card.source_sha256 for card in cards}) > 1 else first.source_sha256,
        seconds=sum(card.seconds for card in cards),
        peak_memory=max(card.peak_memory for card in cards),
        metrics=metrics,
        failures=tuple(missed for card in cards for missed in card.failures),
        damaged=tuple(name for card in cards for name in card.damaged),
        calibration=None,
        notes=tuple(dict.fromkeys(note for card in cards for note in card.notes)),
        splits=tuple(cards),
    )


def _joined(hashes: typing.Iterable[str]) -> str:
    """One hash of several; a single one stays what it is."""
    hashes = list(hashes)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


# Cards as files ----------------------------------------------------------------------------------------


def write_card(card: EvaluationCard, path: str | Path) -> Path:
    """Write a card as JSON; the file appears whole."""
    text = json.dumps(card.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    with part_file(path) as part:
        part.write_text(text + "\n", "utf-8", "surrogateescape")
    return Path(path)


def read_card(path: str | Path) -> EvaluationCard:
    """Read a card from JSON. Raises VadisError that names the file where it is none."""
    try:
        document = json.loads(Path(path).read_text("utf-8", "surrogateescape"))
        return card_from_dict(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise VadisError(f"{path}: is no card of `vadis evaluate`: {error}") from error


def card_from_dict(document: Mapping[str, Any]) -> EvaluationCard:
    """A card from its JSON form. Raises ValueError for another version, missing or unknown fields."""
    if document.get("schema_version") != CARD_VERSION:
        raise ValueError(f"its schema_version is {document.get('schema_version')!r}, not {CARD_VERSION}")
    values = {key: value for key, value in document.items() if key != "schema_version"}
    hints = typing.get_type_hints(EvaluationCard)
    if unknown := sorted(values.keys() - hints.keys()):
        raise ValueError(f"unknown fields: {', '.join(unknown)}")
    values["failures"] = tuple(Missed(**item) for item in values.get("failures", ()))
    values["splits"] = tuple(card_from_dict(item) for item in values.get("splits", ()))
    for name in ("class_names", "damaged", "notes"):
        values[name] = tuple(str(item) for item in values.get(name, ()))
    for name, kind in hints.items():
        if kind in (int, float) and name in values:
            number = values[name]
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"{name} is {number!r}, not a number")
        elif kind is str and not isinstance(values.get(name, ""), str):
            raise ValueError(f"{name} is {values[name]!r}, not text")
    if not isinstance(values["protocol"], dict) or not isinstance(values["metrics"], dict):
        raise ValueError("protocol and metrics must be objects")
    if not isinstance(values["protocol"].get("num_views"), int):
        raise ValueError("the protocol does not say how many views it has")
    return EvaluationCard(**values)
