"""A study: a grid of networks, modes, splits, numbers of examples and seeds, run one by one, and resumed.

Each finished run is one line of `runs.jsonl`; what stands there is not run again. A run that was stopped in
the middle of training goes on from its checkpoint. `study.json` says what all lines have in common: the
dataset by name and by its hash, and the setup, so that a folder never holds numbers that cannot be compared.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vadis.data.class_choice import choose_classes
from vadis.data.clip_rules import ClipRule
from vadis.data.loader import fingerprint
from vadis.data.parts import check_videos, list_split_pairs, open_parts
from vadis.data.scan import open_dataset
from vadis.evaluation.calibration import to_logits
from vadis.evaluation.measures import measure
from vadis.evaluation.protocols import PROTOCOLS, EvaluationProtocol
from vadis.evaluation.views import ScoredDataset
from vadis.metrics.classification import softmax
from vadis.models.weights import save_model
from vadis.records import DataError, Dataset
from vadis.transfer.grid import NOT_TRANSFERRED, Grid, Run, make_plan
from vadis.transfer.modes import (
    LINEAR_MODES,
    Outcome,
    Setup,
    make_trunk,
    run_linear,
    run_trained,
    save_outcome,
    train_network,
)
from vadis.transfer.starts import Start, check_weights, parse_start, plain_label, tell_apart
from vadis.transfer.subsets import ALL, largest, take_examples
from vadis.video.write import part_file

log = logging.getLogger(__name__)

PRETRAINING = "pretraining"


@dataclass(frozen=True)
class Split:
    """One split of the target: what is learnt from, what is tested on, and how they came about."""

    train: Dataset
    test: Dataset
    note: str


def open_split(path: str | Path, name: str | None, number: int, classes: Sequence[str] = ()) -> Split:
    """An official split by its number (1, 2, 3); of data without splits, a part held out by that seed.

    classes: as `choose_classes` takes them. Raises DataError where there is no such split, or its test part
    has no labels.
    """
    split = _open_whole(path, name, number)
    train, test = choose_classes(split.train, classes), choose_classes(split.test, classes)
    note = f"{split.note}; {', '.join(train.class_names)} only" if classes else split.note
    return Split(train, test, note)


def _open_whole(path: str | Path, name: str | None, number: int) -> Split:
    pairs = list_split_pairs(path, name)
    if not pairs:
        parts = open_parts(path, name, validation=0.3, seed=number)
        if parts.validation is None:
            raise DataError(f"{path}: {parts.note}")
        return Split(parts.train, parts.validation, parts.note)
    if not 1 <= number <= len(pairs):
        raise DataError(f"{path} has {len(pairs)} split(s), there is no split {number}")
    train_name, test_name = pairs[number - 1]
    train, test = open_dataset(path, name, train_name), open_dataset(path, name, test_name)
    check_videos(train)
    return Split(train, test, f"{train.name}: learnt from {train_name}, tested on {test_name}")


@dataclass
class Study:
    """A grid on a target, in a folder. `run` gives the rows of all runs that are finished.

    data, name: as `vadis.data.scan.open_dataset` takes them. source: the dataset of pre-training. classes,
    source_classes: some of their classes, as `choose_classes` takes them; empty for all. keep: "main" writes
    the networks of runs on the most examples, of the first seed and without control; "all" of all; "none" of
    none.
    """

    data: str | Path
    grid: Grid
    out: Path
    setup: Setup = field(default_factory=Setup)
    name: str | None = None
    source: str | Path | None = None
    source_name: str | None = None
    keep: str = "main"
    classes: tuple[str, ...] = ()
    source_classes: tuple[str, ...] = ()
    _splits: dict[int, Split] = field(default_factory=dict)
    _source: Dataset | None = None

    def __post_init__(self) -> None:
        if self.grid.pretrain and self.source is None:
            raise ValueError("--pretrain-examples says how much of a source: name it with --pretrain")
        if self.source_classes and self.source is None:
            raise ValueError("--pretrain-classes are those of a source: name it with --pretrain")
        if self.keep not in ("main", "all", "none"):
            raise ValueError(f'keep must be "main", "all" or "none", not {self.keep!r}')

    def split(self, number: int) -> Split:
        """A split of the target, opened once."""
        if number not in self._splits:
            self._splits[number] = open_split(self.data, self.name, number, self.classes)
        return self._splits[number]

    @property
    def source_set(self) -> Dataset:
        """The training part of the source of pre-training."""
        if self._source is None:
            if self.source is None:
                raise ValueError("this study has no source")
            train = open_parts(self.source, self.source_name, validation=0).train
            self._source = choose_classes(train, self.source_classes)
            source_files = _files(self._source)
            for number in self.grid.splits:
                shared = source_files & _files(self.split(number).test)
                if shared:
                    raise DataError(
                        f"{self.source}: {len(shared)} of its training videos are in the test part of split "
                        f"{number} (first: {min(shared)}); take another source, or leave them out"
                    )
        return self._source

    @property
    def metric(self) -> str:
        """What the tables show."""
        return "mean_ap" if self.split(self.grid.splits[0]).train.multi_label else "top1"

    def check_starts(self) -> None:
        """Raise ValueError for a run of the plan that has no weights to transfer, before any is run."""
        for run in make_plan(self.grid):
            for start in map(parse_start, run.model.split("+")):
                if run.mode in NOT_TRANSFERRED or run.pretrain or start.weights is not None:
                    continue
                if run.mode not in LINEAR_MODES:
                    check_weights(run.mode, start)
                elif run.control != "random":
                    raise ValueError(
                        f"{start.network} has no weights, so its features would be noise: name some "
                        f"({start.network}.k400), a file, --pretrain, or --controls random"
                    )

    def finished(self) -> list[dict[str, Any]]:
        """The rows that are written, in order; a line that a kill cut short is not one."""
        rows = []
        try:
            lines = (self.out / "runs.jsonl").read_text("utf-8").split("\n")
        except FileNotFoundError:
            return []
        for line in lines[:-1]:  # what does not end with a line end is not whole
            try:
                rows.append(json.loads(line))
            except ValueError:
                log.warning("%s: a line is not JSON; its run is made again", self.out / "runs.jsonl")
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """The finished rows that belong to the grid, in the order of the plan.

        Networks that the table would call the same are told apart in `architecture`.
        """
        found = {Run(**row["run"]): row for row in self.finished()}
        rows = [found[run] for run in make_plan(self.grid) if run in found]
        alike: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            models = alike.setdefault((row["architecture"], row["stream"]), [])
            if row["run"]["model"] not in models:
                models.append(row["run"]["model"])
        labels = {
            model: label
            for models in alike.values()
            if len(models) > 1
            for model, label in tell_apart(models)
        }
        return [{**row, "architecture": labels.get(row["run"]["model"], row["architecture"])} for row in rows]

    def run(
        self,
        *,
        on_run: Callable[[int, int, Run], object] | None = None,
        progress: Callable[[int, int], object] | None = None,
        asked_to_stop: Callable[[], bool] | None = None,
    ) -> list[dict[str, Any]]:
        """Run what is not finished; returns the rows of the grid.

        on_run: gets (runs done, in all, the next one). progress: gets (steps or videos done, in all) inside
        of a run. Raises ValueError where the folder holds another study, KeyboardInterrupt where it is
        stopped.
        """
        self.check_starts()
        self._claim()
        plan = make_plan(self.grid)
        done = {Run(**row["run"]) for row in self.finished()}

        def show(at: int, total: int) -> None:
            if asked_to_stop is not None and asked_to_stop():
                raise KeyboardInterrupt
            if progress is not None:
                progress(at, total)

        for number, run in enumerate(plan):
            if on_run is not None:
                on_run(number, len(plan), run)
            if run in done:
                continue
            began = time.perf_counter()
            row = self._sum(run) if "+" in run.model else self._run(run, show, asked_to_stop)
            row["seconds"] = round(time.perf_counter() - began, 2)
            self._append(row)
        return self.rows()

    # --- one run ---

    def _run(
        self, run: Run, progress: Callable[[int, int], object], asked_to_stop: Callable[[], bool] | None
    ) -> dict[str, Any]:
        split = self.split(run.split)
        train_set = take_examples(split.train, run.examples, run.seed)
        start = self._start(run, progress, asked_to_stop)
        scratch = self.out / "training" / run.name
        if run.mode in LINEAR_MODES:
            model = make_trunk(start, train_set.class_names, self.setup, run.seed)
            outcome = run_linear(
                model,
                train_set,
                split.test,
                self.setup,
                kind=LINEAR_MODES[run.mode],
                control=run.control,
                seed=run.seed,
                progress=progress,
            )
        else:
            outcome = run_trained(
                run.mode,
                start,
                train_set,
                split.test,
                scratch,
                self.setup,
                control=run.control,
                seed=run.seed,
                progress=progress,
                asked_to_stop=asked_to_stop,
            )
        row = self._row(run, outcome.scored, outcome.metrics, len(train_set.examples))
        row["details"] = outcome.details
        row["stream"] = outcome.model.spec.modality
        self._keep(run, outcome, row)
        shutil.rmtree(scratch / "checkpoints", ignore_errors=True)
        return row

    def _row(
        self, run: Run, scored: ScoredDataset, metrics: dict[str, Any], num_train: int
    ) -> dict[str, Any]:
        architecture, stream = plain_label(run.model)
        np_file = self.out / "scores" / f"{run.name}.npz"
        np_file.parent.mkdir(parents=True, exist_ok=True)
        with part_file(np_file) as part, part.open("wb") as file:
            np.savez_compressed(file, scores=scored.scores_NK.astype(np.float32))
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float | None)}
        return {
            "run": asdict(run),
            "architecture": architecture,
            "models": [parse_start(part).card_name for part in run.model.split("+")],
            "stream": stream,
            "metrics": numbers,
            "num_train": num_train,
            "num_test": len(scored.labels),
            "unread_test": [item.id for item in scored.failures],
            "scores_file": str(np_file.relative_to(self.out)),
        }

    def _sum(self, run: Run) -> dict[str, Any]:
        """The sum of the logits of several networks, from the scores that their runs left."""
        split = self.split(run.split)
        logits_NK = np.zeros((len(split.test.examples), split.test.num_classes))
        for model in run.model.split("+"):
            part = replace(run, model=model)
            with np.load(self.out / "scores" / f"{part.name}.npz", allow_pickle=False) as file:
                scores_NK = file["scores"].astype(np.float64)
            if split.test.multi_label:
                logits_NK -= to_logits(1 - scores_NK)
            logits_NK += to_logits(scores_NK)
        scores_NK = 1 / (1 + np.exp(-logits_NK)) if split.test.multi_label else softmax(logits_NK)
        scored = _as_scored(scores_NK, split.test, self.setup.protocol)
        metrics = measure(scored, split.test)
        num_train = len(take_examples(split.train, run.examples, run.seed).examples)
        return self._row(run, scored, metrics, num_train)

    def _start(
        self, run: Run, progress: Callable[[int, int], object], asked_to_stop: Callable[[], bool] | None
    ) -> Start:
        """What the run starts from; a network that has to be pre-trained first is."""
        start = parse_start(run.model)
        if not run.pretrain:
            return start
        name = replace(run, mode=PRETRAINING, split=0, examples=ALL, control="").name
        target = self.out / "pretrained" / f"{name}.safetensors"
        if not target.is_file():
            source = take_examples(self.source_set, run.pretrain, run.seed)
            model, _ = train_network(
                "full" if start.weights else "original",
                start,
                source,
                self.out / "training" / name,
                self.setup,
                seed=run.seed,
                progress=progress,
                asked_to_stop=asked_to_stop,
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            save_model(model, target)
            shutil.rmtree(self.out / "training" / name / "checkpoints", ignore_errors=True)
        return parse_start(str(target))

    def _keep(self, run: Run, outcome: Outcome, row: dict[str, Any]) -> None:
        is_main = run.examples == largest(self.grid.examples) and run.seed == 0 and not run.control
        if self.keep == "all" or (self.keep == "main" and is_main):
            path = save_outcome(outcome, self.out / "models" / f"{run.name}.safetensors")
            row["model_file"] = str(path.relative_to(self.out))

    # --- the folder ---

    def _files_of_starts(self) -> list[str]:
        """The starts that are files, each once."""
        parts = (part for model in self.grid.models for part in model.split("+"))
        return list(dict.fromkeys(part for part in parts if parse_start(part).is_file))

    def _claim(self) -> None:
        """Write what the study is, or see that the folder holds the same."""
        self.out.mkdir(parents=True, exist_ok=True)
        splits = {number: self.split(number) for number in self.grid.splits}
        setup = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self.setup).items()
            if key not in ("workers", "threads", "cache_folder", "device")
        }
        name = splits[self.grid.splits[0]].train.name
        said: dict[str, Any] = {"dataset": name, "setup": setup, "data": {}, "source": None}
        said["weights"] = {part: _hash_file(part) for part in self._files_of_starts()}
        for number, split in splits.items():
            said["data"][str(number)] = [fingerprint(split.train), fingerprint(split.test)]
        if self.grid.pretrain:
            said["source"] = fingerprint(self.source_set)
        path = self.out / "study.json"
        if path.is_file():
            known = json.loads(path.read_text("utf-8"))
            before, data = known["setup"], known["data"]
            faults = [f"{key} was {before.get(key)!r}" for key in setup if before.get(key) != setup[key]]
            faults += [
                f"split {number} was of other examples"
                for number, hashes in said["data"].items()
                if data.get(number, hashes) != hashes
            ]
            if said["source"] and known["source"] not in (None, said["source"]):
                faults.append("the source was another")
            weights = known.get("weights", {})
            faults += [
                f"{file} held other weights"
                for file, code in said["weights"].items()
                if weights.get(file, code) != code
            ]
            if faults:
                raise ValueError(f"{self.out} holds another study ({'; '.join(faults)}); name a new folder")
            said["data"] = {**known["data"], **said["data"]}
            said["weights"] = {**weights, **said["weights"]}
            said["source"] = said["source"] or known["source"]
        with part_file(path) as part:
            part.write_text(json.dumps(said, indent=1) + "\n", "utf-8")

    def _append(self, row: dict[str, Any]) -> None:
        path = self.out / "runs.jsonl"
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _hash_file(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(dataset: Dataset) -> set[Path]:
    root = Path(dataset.root).resolve()
    return {root / example.video for example in dataset.examples}


def _as_scored(scores_NK: np.ndarray, dataset: Dataset, protocol: str) -> ScoredDataset:
    """Scores that were put together afterwards, as a record to measure; views are not known any more."""
    readable_N = np.isfinite(scores_NK).all(axis=1)
    label_N = np.array(
        [example.labels[0] if len(example.labels) == 1 else -1 for example in dataset.examples]
    )
    hit_N = (np.nan_to_num(scores_NK, nan=-1.0).argmax(axis=1) == label_N) & readable_N
    return ScoredDataset(
        scores_NK,
        PROTOCOLS.get(protocol, EvaluationProtocol(protocol, ClipRule("uniform"))),
        readable_N.astype(np.int64),
        hit_N.astype(np.int64),
        hit_N,
        tuple(example.labels for example in dataset.examples),
        dataset.multi_label,
    )
