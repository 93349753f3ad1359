"""The work behind `vadis train`: which data, which recipe, which folder; what is said; the exit code."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from vadis.config import Recipe, list_fields, override, recipe_from_dict
from vadis.data.parts import open_parts, open_validation
from vadis.data.union import join_union, read_same
from vadis.fetching import fetch_if_missing
from vadis.formats import use_utf8
from vadis.formats.table import spell_out
from vadis.prediction import DEFAULT_MODEL
from vadis.progress import open_bars
from vadis.recipes import default_recipe, make_recipe
from vadis.records import DataError, Dataset
from vadis.training.journal import read_run
from vadis.training.loop import Moment, TrainingResult, train
from vadis.training.plan import Plan, make_plan
from vadis.training.processes import Processes, own_surroundings
from vadis.training.session import Session, make_task
from vadis.training.smoke import smoke_dataset, smoke_recipe
from vadis.training.start import IMAGENET

SOUND_MODEL = "sound_resnet18"
"""What `--modality audio` trains where no network is named."""
DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class TrainJob:
    """What was asked for: see `vadis train --help`. hold_out: a share from 0 to below 1."""

    data: tuple[Path, ...]
    recipe: str | None = None
    model: str | None = None
    init: str | None = None
    modality: str | None = None
    flow: str | None = None
    settings: tuple[str, ...] = ()
    name: str | None = None
    split: str | None = None
    validation: tuple[Path, ...] = ()
    hold_out: float = 0.2
    same: Path | None = None
    out: Path | None = None
    resume: bool = False
    smoke: bool = False
    plan: bool = False
    device: str | None = None
    as_json: bool = False
    quiet: bool = False
    asked_to_stop: Callable[[], bool] = lambda: False


def run_train(job: TrainJob) -> int:
    """Train, with words on standard error and the result on standard output.

    Returns 0; 1 where clips could not be read (they are named); 130 after Ctrl-C, with a checkpoint written.
    Raises ValueError for wrong usage, VadisError where the run cannot go on.
    """
    if job.recipe is not None and job.model is not None:
        raise ValueError(
            "--recipe names a network already; choose another with --set model.name=..., or leave one out"
        )
    if job.resume and job.out is None:
        raise ValueError("--resume needs --out: the folder of the run that is to go on")
    train_sets, validations, notes = _open_data(job)
    recipe = choose_recipe(job, sum(len(dataset.examples) for dataset in train_sets))
    if job.smoke:
        recipe = smoke_recipe(recipe)
        train_sets = [smoke_dataset(dataset) for dataset in train_sets]
        validations = [each and smoke_dataset(each) for each in validations]
    processes = Processes(recipe.run.device)
    talks = processes.is_main and not job.quiet
    console = Console(stderr=True, quiet=not talks, highlight=False)
    for note in notes:
        _say(console, note)
    fetch_if_missing(f"{recipe.model.name}.{recipe.model.init}", quiet=not talks)
    if job.plan:
        return _show_plan(job, train_sets, validations, recipe, processes)
    with _folder(job, recipe, processes) as out:
        _say(console, _first_line(recipe, train_sets, out, processes))
        try:
            with _watch(console) as show:
                result = train(
                    train_sets,
                    recipe,
                    out,
                    validation=validations,
                    resume=job.resume,
                    on_step=show if talks else None,
                    asked_to_stop=job.asked_to_stop,
                )
        except KeyboardInterrupt:
            _say(
                console,
                f"stopped; a checkpoint is in {out}: the same command with --out {out} --resume goes on",
            )
            return INTERRUPTED
        if processes.is_main:
            _report(job, result, out, console)
        return SOME_FAILED if result.skipped else DONE


def choose_recipe(job: TrainJob, num_examples: int) -> Recipe:
    """The recipe that is named, that of the run that goes on, or the default for the network; with --set."""
    saved = read_run(job.out) if job.resume and job.out is not None else None
    if job.recipe is not None:
        recipe = make_recipe(job.recipe)
    elif saved is not None and job.model is None and job.init is None:
        recipe = recipe_from_dict(saved["recipe"])
    else:
        model = job.model or (SOUND_MODEL if job.modality == "audio" else DEFAULT_MODEL)
        init = None if job.init in (None, "none") else job.init
        if job.init is not None:
            model = model.partition(".")[0]
        recipe = default_recipe(model, num_examples, init)
    if job.init is not None:
        init = None if job.init == "none" else job.init
        recipe = replace(recipe, model=replace(recipe.model, init=init))
    if job.modality is not None:
        recipe = replace(recipe, model=replace(recipe.model, modality=job.modality))
    if job.flow is not None:
        recipe = replace(recipe, data=replace(recipe.data, flow=job.flow))
    recipe = override(recipe, job.settings)
    return recipe if job.device is None else override(recipe, [f"run.device={job.device}"])


def _open_data(job: TrainJob) -> tuple[list[Dataset], list[Dataset | None], list[str]]:
    """The training and validation part of each DATA, and what is to be said of them."""
    if job.validation and len(job.validation) != len(job.data):
        raise ValueError(f"{len(job.data)} DATA need as many --val, not {len(job.validation)}")
    train_sets: list[Dataset] = []
    validations: list[Dataset | None] = []
    notes: list[str] = []
    for number, path in enumerate(job.data):
        if job.validation:
            other = open_validation(job.validation[number], job.split)
            parts = open_parts(path, job.name, job.split, validation=0)
            train_sets.append(parts.train)
            validations.append(align_classes(other, parts.train))
            place = f"{job.validation[number]} ({other.split})"
            notes.append(f"{path}: trained on {parts.train.split}, validated on {place}")
        else:
            parts = open_parts(path, job.name, job.split, validation=job.hold_out)
            train_sets.append(parts.train)
            validations.append(parts.validation)
            notes.append(f"{path}: {parts.note}")
    if job.same is not None:
        if len(train_sets) < 2:
            raise ValueError("--same says which classes of several DATA are one: name more than one DATA")
        same = read_same(job.same)
        others = [
            other or replace(each, examples=()) for each, other in zip(train_sets, validations, strict=True)
        ]
        held_out = join_union(others, same).dataset if any(validations) else None
        return [join_union(train_sets, same).dataset], [held_out], notes
    return train_sets, validations, notes


def align_classes(dataset: Dataset, like: Dataset) -> Dataset:
    """The dataset with the labels of another, by the names of the classes; it may lack some of them.

    Raises DataError for a class that the other does not have.
    """
    if dataset.class_names == like.class_names:
        return dataset
    place = {name: label for label, name in enumerate(like.class_names)}
    unknown = [name for name in dataset.class_names if name not in place]
    if unknown:
        raise DataError(
            f"{dataset.root}: the part to validate on has classes that {like.root} has not: "
            + ", ".join(unknown[:5])
        )
    new = [place[name] for name in dataset.class_names]
    examples = tuple(
        replace(
            example,
            labels=tuple(new[label] for label in example.labels),
            absent=tuple(new[label] for label in example.absent),
            spans=tuple(replace(span, label=new[span.label]) for span in example.spans),
        )
        for example in dataset.examples
    )
    return replace(dataset, class_names=like.class_names, class_groups=like.class_groups, examples=examples)


@contextmanager
def _folder(job: TrainJob, recipe: Recipe, processes: Processes) -> Iterator[Path]:
    """The folder of the run: --out, one that passes for --smoke, or the next of runs/train."""
    if job.out is not None:
        yield job.out
    elif job.smoke:
        with tempfile.TemporaryDirectory(prefix="vadis-smoke-") as folder:
            yield Path(processes.gather(folder)[0])
    else:
        yield Path(processes.gather(str(_next_folder(Path("runs/train"), recipe.name)))[0])


def _next_folder(parent: Path, name: str) -> Path:
    word = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run"
    number = 1
    while (parent / f"{word}-{number}").exists():
        number += 1
    return parent / f"{word}-{number}"


def _first_line(recipe: Recipe, train_sets: Sequence[Dataset], out: Path, processes: Processes) -> str:
    init = recipe.model.init or recipe.model.name.partition(".")[2] or None
    start = "random weights" if init is None else "ImageNet" if init == IMAGENET else init
    many = f", {processes.count} processes" if processes.count > 1 else ""
    examples = sum(len(dataset.examples) for dataset in train_sets)
    return (
        f"{recipe.name}: {recipe.model.name} from {start} on {examples} examples, "
        f"{recipe.optim.length:g} {recipe.optim.unit} of {recipe.data.batch_size} clips a step; "
        f"{processes.device} in {recipe.run.precision}{many}; to {out}"
    )


@contextmanager
def _watch(console: Console) -> Iterator[Callable[[Moment], None]]:
    """A bar of the steps, with loss and pace, and below it one of the validation that runs or ran last."""
    with open_bars(console) as bars:
        steps, validation = bars.add("training"), bars.add("validation")

        def show(moment: Moment) -> None:
            if moment.phase == "validation":
                validation.update(moment.done, moment.total)
                return
            said = f"epoch {moment.epoch:.2f}, loss {moment.loss:.4f}, {moment.clips_per_second:.1f} clips/s"
            steps.update(moment.done, moment.total, remark=said)
            if validation.begun:
                validation.restart("validation")

        yield show


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _report(job: TrainJob, result: TrainingResult, out: Path, console: Console) -> None:
    """The measures of the best weights and where everything is; on standard error what could not be read."""
    if job.as_json:
        _print_json(
            {
                "out": str(out),
                "best": {name: str(path) for name, path in result.networks["best"].items()},
                "last": {name: str(path) for name, path in result.networks["last"].items()},
                "steps": result.steps,
                "metrics": result.metrics,
                "history": result.history,
                "skipped": list(result.skipped),
            }
        )
    else:
        lines = [
            f"{key:<16} {value:.4f}"
            for key, value in result.metrics.items()
            if isinstance(value, float) and key.startswith(("val_", "train_"))
        ]
        lines.append(f"{'best at step':<16} {result.metrics.get('step', result.steps)} of {result.steps}")
        if not job.smoke:
            lines += [f"{'wrote':<16} {path}" for path in result.networks["best"].values()]
        sys.stdout.write("\n".join(lines) + "\n")
    if result.skipped:
        _say(console, f"{len(result.skipped)} examples could not be read:")
        for line in result.skipped:
            _say(console, f"  {line}")


def _show_plan(
    job: TrainJob,
    train_sets: Sequence[Dataset],
    validations: Sequence[Dataset | None],
    recipe: Recipe,
    processes: Processes,
) -> int:
    with own_surroundings(processes.device, recipe.run.threads):
        task = make_task(train_sets, validations, recipe)
        plan = make_plan(Session(task, recipe, Path("-"), processes))
    if not processes.is_main:
        return DONE
    if job.as_json:
        _print_json(plan.to_dict())
    else:
        sys.stdout.write("\n".join(describe_plan(plan)) + "\n")
    return DONE


def describe_plan(plan: Plan) -> list[str]:
    """The plan in lines: what differs from the defaults of a recipe, the data, the time."""
    usual = list_fields(Recipe())
    lines = [f"{name} = {value}" for name, value in list_fields(plan.recipe).items() if value != usual[name]]
    for each in plan.data:
        lines.append(
            f"{each['role']}: {each['examples']} examples of {each['classes']} classes in {each['root']}"
        )
    lines.append(f"{plan.learning:,} of {plan.parameters:,} parameters learn")
    lines.append(f"{plan.steps:,} steps ({plan.steps_per_epoch:,} an epoch), {plan.clips:,} clips")
    lines.append(
        f"measured on {plan.device}: {plan.step_seconds:.2f} s to compute a step, {plan.clip_seconds:.3f} s "
        f"to load a clip, {plan.forward_seconds:.3f} s to score a view"
    )
    lines.append(f"about {_clock(plan.seconds)} in all, validations included")
    return lines


def _print_json(document: object) -> None:
    use_utf8(sys.stdout)
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _say(console: Console, text: str) -> None:
    console.print(spell_out(text), markup=False, soft_wrap=True, style="dim")
