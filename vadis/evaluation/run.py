"""The work behind `vadis evaluate`: open, score, say, write; returns an exit code."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.data.loader import fingerprint
from vadis.data.parts import list_split_pairs
from vadis.data.reading import PLAIN, Reading
from vadis.data.scan import open_dataset
from vadis.downloads import sha256_of
from vadis.evaluation.calibration import calibrate, judge_calibration
from vadis.evaluation.cards import (
    average_cards,
    list_measures,
    make_card,
    match_classes,
    read_card,
    write_card,
)
from vadis.evaluation.charts import interval_text, percent
from vadis.evaluation.page import write_page
from vadis.evaluation.protocols import Combine, make_protocol
from vadis.evaluation.views import ScoredDataset, hash_weights, score_dataset
from vadis.formats import use_utf8
from vadis.formats.table import spell_out
from vadis.models import MODELS, create_model, weights
from vadis.models.contract import VideoModel
from vadis.progress import open_bar
from vadis.records import Dataset, EvaluationCard, VadisError
from vadis.score_files import make_scores, write_scores

NAMED = 20  # failures that are said before "and N more"


@dataclass(frozen=True)
class EvaluateJob:
    """What was asked for: see `vadis evaluate --help`."""

    data: Path
    models: tuple[str, ...]
    name: str | None = None
    split: str | None = None
    splits: str | None = None
    protocol: str = "10x3"
    combine: Combine | None = None
    subset: bool = False
    out: Path | None = None
    html: Path | None = None
    scores: Path | None = None
    calibrate: bool = False
    store: bool = False
    max_error: float = 0.1
    temperature: str | None = None
    device: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    workers: int = 2
    reading: Reading = PLAIN
    as_json: bool = False
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def run_evaluate(job: EvaluateJob) -> int:
    """Evaluate, print, write; 1 where examples could not be scored. Raises ValueError for wrong usage."""
    if job.calibrate and job.temperature is not None:
        raise ValueError("--calibrate chooses a temperature and --temperature applies one: give one of them")
    if job.temperature is not None:
        read_temperature(job.temperature)  # before the work, not after it
    if job.store:
        _check_store(job)
    splits = _list_splits(job)
    models = _list_models(job, splits)
    if job.scores is not None and len(splits) > 1:
        raise ValueError("--save-scores writes one split; evaluate the splits one by one")
    _check_out(job.out)
    use_utf8(sys.stdout)
    cards: list[EvaluationCard] = []
    dataset: Dataset | None = None
    model: VideoModel | None = None
    loaded = ""
    for split, name in zip(splits, models, strict=True):
        dataset = open_dataset(job.data, job.name, split)
        if model is None or name != loaded:
            model, source_sha256 = load_model(name)
            loaded = name
        journal = None if job.out is None else _journal(job.out, split if len(splits) > 1 else None)
        try:
            cards.append(_evaluate_split(job, model, source_sha256, dataset, journal))
        except KeyboardInterrupt:
            if journal is not None and journal.exists():
                print(f"what is scored is in {journal}; the same command goes on", file=sys.stderr)
            raise
    card = cards[0] if len(cards) == 1 else average_cards(cards)
    if job.out is not None:
        write_card(card, job.out)
        for split in splits:
            _journal(job.out, split if len(splits) > 1 else None).unlink(missing_ok=True)
    if job.store and card.calibration is not None:
        store_calibration(Path(job.models[0]), card.calibration)
    if job.html is not None:
        write_page(card, job.html, dataset if len(cards) == 1 else None)
    if job.as_json:
        print(json.dumps(card.to_dict(), indent=2, ensure_ascii=True, allow_nan=False))
    else:
        print_card(card)
    _name_failures(card)
    for path in (job.out, job.html, job.scores):
        if path is not None and not job.quiet:
            print(f"wrote {path}", file=sys.stderr)
    return 1 if card.failures else 0


def _check_out(out: Path | None) -> None:
    """A card replaces a card, nothing else: the .json beside a model file says where its weights are from."""
    if out is None or not out.exists():
        return
    try:
        read_card(out)
    except VadisError as error:
        raise ValueError(f"{out} holds something else than a card; name another file for --out") from error


def _list_splits(job: EvaluateJob) -> list[str | None]:
    """The names of the splits that were asked for; numbers mean the official pairs' test parts."""
    if job.splits is None:
        return [job.split]
    if job.split is not None:
        raise ValueError("give --split NAME or --splits 1,2,3, not both")
    words = [word.strip() for word in job.splits.split(",") if word.strip()]
    if len(words) < 2 or len(set(words)) < len(words):
        raise ValueError(f"--splits takes several different splits, such as 1,2,3, not {job.splits!r}")
    tested = {train.removeprefix("train"): test for train, test in list_split_pairs(job.data, job.name)}
    unknown = [word for word in words if word.isdecimal() and word not in tested]
    if unknown:
        known = ", ".join(sorted(tested)) or "none"
        raise ValueError(f"{job.data} has no split {unknown[0]} (numbered splits: {known})")
    return [tested[word] if word.isdecimal() else word for word in words]


def _list_models(job: EvaluateJob, splits: Sequence[str | None]) -> list[str]:
    """One model for each split: the same for all, one each, or by `{split}` in the name."""
    if len(job.models) == len(splits):
        return list(job.models)
    if len(job.models) != 1:
        raise ValueError(f"{len(job.models)} models for {len(splits)} splits: give one, or one each")
    numbers = [(split or "").removeprefix("test") or (split or "") for split in splits]
    return [job.models[0].replace("{split}", number) for number in numbers]


def load_model(text: str) -> tuple[VideoModel, str | None]:
    """A network with weights, by name or from a .safetensors file, and the sha256 of that file.

    Raises ValueError for a name without weights and for a file that is not there.
    """
    if Path(text).is_file():
        trained_as = weights.load(text).metadata["model"]
        return create_model(str(trained_as), weights=text).eval(), sha256_of(Path(text))
    if text.endswith(".safetensors") or Path(text).name != text:
        raise ValueError(f"{text}: no such file; give a .safetensors file or a name (`vadis weights list`)")
    if text in MODELS:
        raise ValueError(
            f"{text!r} names a network without weights; name weights too (such as {text}.k400, see `vadis "
            "weights list`) or give a file"
        )
    return create_model(text).eval(), None


def _check_store(job: EvaluateJob) -> None:
    if not job.calibrate or job.splits is not None or not Path(job.models[0]).is_file():
        raise ValueError(
            "--store writes what --calibrate chose on one split into the file that --model names"
        )


def store_calibration(path: Path, found: Mapping[str, Any]) -> Path:
    """Write a temperature and a threshold into a model file, whose tensors stay as they are.

    `vadis predict` divides its logits by the temperature then. It averages logits over windows, so a
    temperature of averaged probabilities would be another one: evaluate with one view or averaged logits.
    """
    loaded = weights.load(path)
    kept = {name: found[name] for name in ("temperature", "threshold", "num", "ece_before", "ece")}
    return weights.save(loaded.state, path, {**loaded.metadata, "calibration": kept})


def _journal(out: Path, split: str | None) -> Path:
    """Where scores are kept while an evaluation runs: beside the card, gone when the card is written."""
    return out.with_name(f"{out.stem}.{split + '.' if split else ''}scores.jsonl")


def _evaluate_split(
    job: EvaluateJob, model: VideoModel, source_sha256: str | None, dataset: Dataset, journal: Path | None
) -> EvaluationCard:
    protocol = make_protocol(
        job.protocol, model, combine=job.combine, multi_label=dataset.multi_label, reading=job.reading
    )
    match = match_classes(model, dataset, subset=job.subset)
    if job.store and protocol.num_views > 1 and protocol.combine != "logits":
        raise ValueError(
            f"--store is for one view or averaged logits, as `vadis predict` has them, not for "
            f"{protocol.name}: add --protocol 1x1, or --combine logits"
        )
    if dataset.multi_label and (job.calibrate or job.temperature is not None):
        raise ValueError(f"temperatures are for one label an example; {dataset.name} has several")
    if not job.quiet:
        said = f"{model.name} on {dataset.name} {dataset.split}: {len(dataset.examples):,} examples"
        print(spell_out(f"{said}; {protocol.describe()}"), file=sys.stderr)
    with open_bar(Console(stderr=True, quiet=job.quiet), "scored") as bar, _quiet_loader():
        scored = score_dataset(
            model,
            dataset,
            protocol,
            device=job.device,
            precision=job.precision,
            batch_size=job.batch_size,
            workers=job.workers,
            progress=bar.update,
            columns=match.columns,
            journal=journal,
            asked_to_stop=job.asked_to_stop,
        )
    if job.scores is not None:
        save_scores(scored, dataset, job.scores, model, source_sha256)
    notes = tuple(note for note in (match.note, *(str(note) for note in dataset.notes)) if note)
    found = None
    if job.calibrate:
        found = calibrate(scored.scores_NK, scored.labels, max_error=job.max_error)
    elif job.temperature is not None:
        found = judge_calibration(scored.scores_NK, scored.labels, *read_temperature(job.temperature))
    return make_card(
        model,
        dataset,
        scored,
        notes=notes,
        source_sha256=source_sha256,
        calibration=None if found is None else found.to_dict(),
    )


def read_temperature(text: str) -> tuple[float, float | None]:
    """A temperature and, from a card made with --calibrate, its threshold. Raises ValueError, VadisError."""
    try:
        temperature, threshold = float(text), None
    except ValueError:
        found = read_card(text).calibration
        if not found:
            raise ValueError(f"{text}: this card has no calibration; make it with --calibrate") from None
        temperature, threshold = float(found["temperature"]), (found.get("threshold") or {}).get("score")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature is a positive number, not {text}")
    return temperature, threshold


def save_scores(
    scored: ScoredDataset, dataset: Dataset, path: Path, model: VideoModel, source_sha256: str | None = None
) -> Path:
    """Write the scores of every example, and where they are from: see `vadis.score_files`."""
    names = [example.id for example in dataset.examples]
    if len(set(names)) < len(names):  # several intervals of one video may go by one name
        names = [f"{example.id}@{example.start_seconds}" for example in dataset.examples]
    sums = {"weights_sha256": hash_weights(model), "source_sha256": source_sha256}
    made = make_scores(
        names,
        dataset.class_names,
        [labels if scored.multi_label or len(labels) == 1 else () for labels in scored.labels],
        logits_NK=scored.logits_NK,
        scores_NK=scored.scores_NK,
        multi_label=scored.multi_label,
        split=dataset.split,
        dataset=dataset.name,
        protocol=scored.protocol.name,
        model=model.name,
        videos=tuple(example.video for example in dataset.examples),
        groups=tuple(example.group for example in dataset.examples),
        moments_NTK=scored.moments_NTK,
        provenance={
            **sums,
            "modality": model.spec.modality,
            "list_sha256": fingerprint(dataset),
            "combine": scored.protocol.combine,
            "protocol_text": scored.protocol.describe(),
            "precision": scored.precision,
            "device": scored.device,
        },
    )
    return write_scores(path, made)


@contextmanager
def _quiet_loader() -> Iterator[None]:
    """The loader names each file that it cannot read as it goes; here they are listed at the end."""
    log = logging.getLogger("vadis.data.loader")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def print_card(card: EvaluationCard) -> None:
    """The card on standard output, in a few lines."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

    def say(text: str, style: str = "") -> None:
        console.print(Text(spell_out(text), style=style))

    say(f"{card.model} on {card.dataset} {card.split}", "bold")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    deviations = card.metrics.get("deviations", {})
    for name, title, value in list_measures(card):
        interval = interval_text(card.metrics.get("intervals", {}).get(name))
        extra = f"95 %: {interval}" if interval else ""
        if name in deviations:
            extra = f"± {100 * deviations[name]:.1f} over {len(card.splits)} splits"
        table.add_row(f"  {title}", percent(value, 2), extra)
    for key, title in (("moments", "mAP of 25 moments"), ("charades", "mAP, Charades' rule")):
        mean_ap = (card.metrics.get(key) or {}).get("mean_ap")
        if mean_ap is not None:
            table.add_row(f"  {title}", percent(mean_ap, 2), "")
    for group, row in (card.metrics.get("groups") or {}).items():
        share = row.get("top1", row.get("mean_ap"))
        table.add_row(f"  {spell_out(group)}", percent(share, 2), interval_text(row.get("interval")))
    console.print(table)
    say(f"  {card.protocol_text}")
    say(
        f"  {card.num_expected:,} examples expected, {card.num_evaluated:,} evaluated, "
        f"{card.num_missing:,} missing, {card.num_unreadable:,} unreadable, {len(card.damaged):,} damaged; "
        f"list {card.list_sha256[:12]}, weights {card.weights_sha256[:12]}"
    )
    say(
        f"  {card.num_parameters / 1e6:.2f} M parameters, {card.gmac:.2f} G multiply-adds x {card.num_views} "
        f"views; {card.seconds:.1f} s, {card.peak_memory / 2**20:.0f} MiB on {card.device}, {card.precision}"
    )
    if card.calibration:
        found = card.calibration
        say(
            f"  temperature {found['temperature']:.3f}: calibration error {found['ece_before']:.3f} without, "
            f"{found['ece']:.3f} with it"
        )
        threshold = found.get("threshold")
        if threshold:
            say(
                f"  from a score of {threshold['score']:.3f} on, {percent(threshold['accepted'])} are "
                f"answered and {percent(threshold['error'])} of those are wrong"
            )
        else:
            say("  no threshold keeps errors as rare as asked for")
    for note in card.notes:
        say(f"  note: {note}", "yellow")


def _name_failures(card: EvaluationCard) -> None:
    if not card.failures:
        return
    print(
        f"{len(card.failures)} of {card.num_expected} could not be scored and count as wrong:",
        file=sys.stderr,
    )
    for item in card.failures[:NAMED]:
        print(f"  {spell_out(item.id)}: {spell_out(item.message)}", file=sys.stderr)
    if len(card.failures) > NAMED:
        print(f"  and {len(card.failures) - NAMED:,} more", file=sys.stderr)
