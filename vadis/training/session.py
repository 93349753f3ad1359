"""All that a run consists of, made from its recipe, and its whole state as one value that a file can hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vadis.config import Recipe
from vadis.data.loader import fingerprint
from vadis.data.union import join_union
from vadis.engines import has_fast_bf16
from vadis.evaluation.views import PRECISIONS
from vadis.models import VideoModel
from vadis.models.weights import save_model
from vadis.records import DataError, Dataset
from vadis.training.averaging import WeightAverage
from vadis.training.feeding import Feed, make_loader, reading_of
from vadis.training.heads import Head, cut_head, join_datasets, single_head
from vadis.training.optimisers import freeze_parameters, make_optimiser, set_training
from vadis.training.processes import Processes
from vadis.training.schedules import Clock, Plateau, check_optim
from vadis.training.start import build_network, fit_head
from vadis.training.stops import TrainingError
from vadis.training.targets import class_balance
from vadis.training.validating import chosen_measure, validate

log = logging.getLogger(__name__)

STATE_VERSION = 1


@dataclass
class Sums:
    """What an interval between validations adds up: losses and hits over clips, seconds of steps."""

    loss: float = 0.0
    clips: int = 0
    hits: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """What is to be learnt: one list of examples, the heads that score it, and what validates each head.

    owner_N: the head of each example (int64, as many as there are examples). kind of a dense run: "dense".
    """

    dataset: Dataset
    heads: tuple[Head, ...]
    owner_N: Tensor
    validations: tuple[Dataset | None, ...]
    is_dense: bool = False


def make_task(train_sets: Sequence[Dataset], validations: Sequence[Dataset | None], recipe: Recipe) -> Task:
    """The datasets as one list of examples, by `loss.kind` and `model.heads`.

    Several datasets become one by the union of their classes (`vadis.data.union`), or get a head each.
    Raises DataError where there is nothing to learn from, ValueError where loss and data do not go together.
    """
    for dataset in train_sets:
        if not dataset.examples:
            raise DataError(f"{dataset.name} ({dataset.root}): the training part has no examples")
    for dataset, other in zip(train_sets, validations, strict=True):
        if other is not None and other.class_names != dataset.class_names:
            raise DataError(f"{dataset.name}: the validation part has other classes than the training part")
    if len(train_sets) > 1 and recipe.model.heads == "union":
        # what is not validated takes part without examples, so that the classes are the same
        others = [
            other or replace(each, examples=()) for each, other in zip(train_sets, validations, strict=True)
        ]
        held_out = join_union(others).dataset if any(validations) else None
        train_sets, validations = [join_union(train_sets).dataset], [held_out]
    if len(train_sets) > 1:
        if recipe.loss.kind != "auto":
            raise ValueError(f'several datasets go with loss.kind "auto", not {recipe.loss.kind!r}')
        joint, heads, owner_N = join_datasets(train_sets)
        return Task(joint, heads, owner_N, tuple(validations))
    (dataset,) = train_sets
    kind = recipe.loss.kind
    if kind == "class" and dataset.multi_label:
        raise ValueError(f"{dataset.name} has several labels a clip: loss.kind is multi_label or dense there")
    if kind == "dense" and not any(example.spans for example in dataset.examples):
        raise DataError(f"{dataset.name}: loss.kind is dense, but no example has spans")
    many = dataset.multi_label or kind in ("multi_label", "dense")
    if many and not dataset.multi_label:  # batches then have a column for each class
        dataset = replace(dataset, multi_label=True)
    head = single_head(dataset, "multi_label" if many else "class")
    owner_N = torch.zeros(len(dataset.examples), dtype=torch.int64)
    return Task(dataset, (head,), owner_N, tuple(validations), kind == "dense")


def check_recipe(recipe: Recipe, task: Task) -> None:
    """Refuse what does not go together, with a ValueError that names the fields."""
    check_optim(recipe.optim)
    mixes = recipe.data.augment.mixup > 0 or recipe.data.augment.cutmix > 0
    if mixes and task.is_dense:
        raise ValueError(
            "mixup and cutmix mix clips, not labels of frames: leave them out with loss.kind dense"
        )
    if recipe.loss.steps != "none" and task.is_dense:
        raise ValueError("loss.kind dense has a loss per frame already: leave out loss.steps")
    if recipe.loss.label_smoothing and any(head.kind != "class" for head in task.heads):
        raise ValueError(
            "loss.label_smoothing spreads belief over exclusive classes: not with several labels"
        )
    if recipe.optim.schedule == "plateau" and not any(task.validations):
        raise ValueError('optim.schedule "plateau" follows the validation, and there is none')
    if recipe.run.precision not in PRECISIONS:
        raise ValueError(f"run.precision is one of {', '.join(PRECISIONS)}, not {recipe.run.precision!r}")


class Session:
    """A run in the making: network, clips, optimiser, running mean, counters. Not to be changed from outside.

    model: a network of one's own instead of the recipe's; it is trained in place. Raises ValueError and
    DataError where recipe, data and network do not go together.
    """

    def __init__(
        self, task: Task, recipe: Recipe, out: Path, processes: Processes, model: VideoModel | None = None
    ) -> None:
        check_recipe(recipe, task)
        self.task, self.recipe, self.out, self.processes = task, recipe, out, processes
        device = processes.device
        if recipe.run.precision == "bf16" and device.type == "cpu" and not has_fast_bf16():
            # PyTorch 2.15 emulates it, slower than float32, and one weight gradient of a convolution then
            # holds memory that was never set (seen with MALLOC_PERTURB_)
            raise ValueError(
                "run.precision bf16: this processor has no bf16 arithmetic, and emulated it trains wrongly; "
                "take float32"
            )
        class_names = task.dataset.class_names
        if model is None:
            model = build_network(recipe, class_names)
        else:
            fit_head(model, class_names)
        if task.is_dense and not hasattr(model, "forward_dense"):
            raise ValueError(
                f"{model.name} has no answer over time (forward_dense), which loss.kind dense needs"
            )
        if recipe.loss.steps != "none" and not hasattr(model, "forward_steps"):
            raise ValueError(
                f"{model.name} does not answer at each step (forward_steps), which loss.steps "
                f"{recipe.loss.steps} needs"
            )
        self.learns: Callable[[str], bool] = freeze_parameters(model, recipe.model)
        self.syncs = recipe.model.sync_batch_norm and processes.count > 1 and device.type == "cuda"
        if self.syncs:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        elif recipe.model.sync_batch_norm and processes.count > 1:
            log.warning(
                "batch norm is synchronised on GPUs only; here each process normalises by its own clips"
            )
        self.channels_last = device.type == "cuda" and recipe.run.precision != "float32"
        self.model: VideoModel = model.to(device)
        if self.channels_last:
            lay_out_for_tensor_cores(self.model)
        loader, parts = make_loader(
            task.dataset, model.spec, recipe.data, recipe.run, processes, spans_count=task.is_dense
        )
        self.feed = Feed(loader, parts)
        self.clock = Clock(recipe.optim, self.feed.steps_per_epoch)
        self.optimiser = make_optimiser(self.model, recipe.optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.run.precision == "fp16")
        self.average = WeightAverage(self.model, recipe.optim.ema) if recipe.optim.ema else None
        self.plateau = Plateau(recipe.optim.patience)
        self.weight_K = None
        if recipe.loss.class_weights == "balanced":
            labels = [example.labels for example in task.dataset.examples]
            self.weight_K = class_balance(labels, task.dataset.num_classes).to(device)
        self.step = 0
        self.sums = Sums()
        self.best_value: float | None = None
        self.best_row: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.set_training()

    def set_training(self) -> None:
        """Training mode, but for the batch norms that keep their statistics."""
        set_training(self.model, self.recipe.model.frozen_batch_norm, self.learns)

    def autocast(self) -> Any:
        """The arithmetic of the forward pass."""
        dtype = PRECISIONS[self.recipe.run.precision]
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.processes.device.type, dtype)

    # Validation -------------------------------------------------------------------------------------------

    @property
    def interval_steps(self) -> int:
        """Steps between validations (or, without them, between lines of metrics.csv)."""
        epochs = self.recipe.run.validate_every or 1.0
        return max(1, round(epochs * self.feed.steps_per_epoch))

    @property
    def is_interval_over(self) -> bool:
        """Whether a line of metrics.csv, and a validation where there is one, is due now."""
        noted = self.history[-1]["step"] if self.history else 0
        ends = self.step % self.interval_steps == 0 or self.step >= self.clock.total_steps
        return self.step > noted and ends

    def validate(
        self, progress: Callable[[int, int], object] | None, asked_to_stop: Callable[[], bool]
    ) -> dict[str, dict[str, Any]]:
        """The measures of each head that has a validation part, by its name; with the averaged weights."""
        found: dict[str, dict[str, Any]] = {}
        if not self.recipe.run.validate_every:
            return found
        with self.average.used_in(self.model) if self.average else nullcontext():
            for head, dataset in zip(self.task.heads, self.task.validations, strict=True):
                if dataset is not None:
                    many = head.kind == "multi_label"
                    found[head.name] = validate(
                        self._network_of(head),
                        replace(dataset, multi_label=many) if many else dataset,
                        self.recipe.run,
                        self.processes,
                        workers=self.recipe.data.workers,
                        reading=reading_of(self.recipe.data),
                        progress=progress,
                        asked_to_stop=asked_to_stop,
                    )
        return found

    def value_of(self, measures: dict[str, dict[str, Any]]) -> float | None:
        """What decides which weights are best: the chosen measure, meaned over heads; None without one."""
        values = []
        for head, dataset in zip(self.task.heads, self.task.validations, strict=True):
            if dataset is None or head.name not in measures:
                continue
            name = self.recipe.run.metric
            if name is None:
                name = "mean_ap" if head.kind == "multi_label" else chosen_measure(self.recipe.run, dataset)
            if name not in measures[head.name]:
                numbers = [key for key, each in measures[head.name].items() if isinstance(each, float)]
                raise ValueError(f"run.metric: there is no measure {name!r}; there are {', '.join(numbers)}")
            values.append(measures[head.name][name])
        return sum(values) / len(values) if values and None not in values else None

    def _network_of(self, head: Head) -> VideoModel:
        """The network of one head: this one itself where there is only one."""
        return self.model if len(self.task.heads) == 1 else cut_head(self.model, head)

    # Files ------------------------------------------------------------------------------------------------

    def network_paths(self, word: str) -> dict[str, Path]:
        """Where each head's network goes: OUT/best.safetensors, or OUT/best.NAME.safetensors for several."""
        if len(self.task.heads) == 1:
            return {self.task.heads[0].name: self.out / f"{word}.safetensors"}
        return {
            head.name: self.out / f"{word}.{_file_word(head.name)}.safetensors" for head in self.task.heads
        }

    def save_networks(self, word: str) -> dict[str, Path]:
        """Write "best" or "last" as files that `vadis predict` takes; only the main process does.

        Raises TrainingError where the disk does not take them.
        """
        paths = self.network_paths(word)
        if not self.processes.is_main:
            return paths
        with self.average.used_in(self.model) if self.average else nullcontext():
            for head in self.task.heads:
                try:
                    save_model(self._network_of(head), paths[head.name])
                except (OSError, RuntimeError) as error:
                    raise TrainingError(
                        f"{paths[head.name]} cannot be written: {error}. Make room and go on with --resume"
                    ) from error
        return paths

    def state_dict(self) -> dict[str, Any]:
        """The whole state: tensors and plain values. Every process must ask at once."""
        return {
            "version": STATE_VERSION,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "plateau": self.plateau.state_dict(),
            "loader": self.feed.state_dict(self.processes),
            "sums": dict(vars(self.sums)),
            "best_value": self.best_value,
            "best_row": self.best_row,
            "history": self.history,
            # dropout starts anew from these in every step; see `seed_step`
            "random": {"seed": self.recipe.run.seed, "step": self.step},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`. Raises TrainingError for a state of another version of vadis."""
        if state.get("version") != STATE_VERSION:
            raise TrainingError(f"the checkpoint has version {state.get('version')}, not {STATE_VERSION}")
        self.feed.load_state_dict(state["loader"], self.processes)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.plateau.load_state_dict(state["plateau"])
        self.sums = Sums(**state["sums"])
        self.step = state["step"]
        self.best_value, self.best_row = state["best_value"], state["best_row"]
        self.history[:] = state["history"]


def lay_out_for_tensor_cores(model: nn.Module) -> None:
    """Kernels of 3D convolutions with channels last, which half precision on a GPU is fast with."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def describe_data(dataset: Dataset, role: str) -> dict[str, Any]:
    """What recipe.json says of a dataset: name, split, root, counts, fingerprint."""
    return {
        "role": role,
        "name": dataset.name,
        "split": dataset.split,
        "root": str(Path(dataset.root).resolve()),
        "examples": len(dataset.examples),
        "classes": dataset.num_classes,
        "fingerprint": fingerprint(dataset),
    }


def _file_word(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_" else "-" for each in name)
