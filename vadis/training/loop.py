"""The training loop, top to bottom: fetch, forward, backward, add up, step; validate, keep the best, go on.

    result = train(dataset, make_recipe("shapes_small"), Path("runs/1"), validation=other)

A step looks like this, in every process:

    1  fetch the step's parts (uint8 clips; those that could not be read are missing and named)
    2  count the clips of all parts and processes: what the sum of losses is divided by
    3  for each part: forward, loss / count, backward; a part without clips is passed over
    4  add the gradients of all processes, clip their norm, let the optimiser move the weights
    5  the running mean of the weights follows; once in a while: validate, write a checkpoint

Everything random in a step comes from (seed, step), and every clip from (seed, epoch, index): a run that was
killed goes on from its last checkpoint to the same weights, bit for bit on the same CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vadis.config import Recipe
from vadis.data.batches import Batch
from vadis.models import VideoModel
from vadis.records import DataError, Dataset
from vadis.training.checkpoints import Checkpoints
from vadis.training.journal import Journal, seconds_left
from vadis.training.losses import dense_loss, heads_loss, score_clips
from vadis.training.mixing import mix
from vadis.training.opening import claimed, open_run
from vadis.training.optimisers import set_rate
from vadis.training.processes import Processes, own_surroundings, seed_step
from vadis.training.schedules import rate_at
from vadis.training.session import Session, Sums, make_task
from vadis.training.stops import Stopping, TrainingError, listening
from vadis.training.targets import clip_targets, frame_targets
from vadis.training.validating import MEASURES, better
from vadis.video.streams import each

EMPTY_STEPS = 10
"""So many steps in a row without one readable clip, or a whole epoch of them, end the run."""


@dataclass(frozen=True)
class Moment:
    """Where a run is, for whoever watches: after each step ("training") and each batch of a validation.

    done of total: steps, or examples of the validation. epoch: a fraction. rate: the learning rate.
    clips_per_second and seconds_left are of the run since it began or went on.
    """

    phase: str
    done: int
    total: int
    epoch: float
    loss: float
    rate: float
    clips_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves. best, last: files that `vadis predict --model` takes (of the first head, where there
    are several; `networks` has "best" and "last" of each by name). history: the rows of metrics.csv. metrics:
    the row of the best. skipped: what could not be read, a line each.
    """

    best: Path
    last: Path
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    steps: int
    skipped: tuple[str, ...] = ()
    networks: dict[str, dict[str, Path]] = field(default_factory=dict)


def train(
    train_set: Dataset | Sequence[Dataset],
    recipe: Recipe,
    out: Path,
    *,
    validation: Dataset | Sequence[Dataset | None] | None = None,
    resume: bool = False,
    model: VideoModel | None = None,
    on_step: Callable[[Moment], object] | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train a network by a recipe, in this process or, where torchrun started several, in all of them.

    train_set: one dataset, or several (`recipe.model.heads`), with as many validations. out: the folder of
    the run; see `vadis.training.journal`. resume: go on from the last checkpoint in it, or begin where there
    is none. model: trained in place instead of the recipe's network. on_step: hears of every step.

    Raises ValueError where options contradict each other, or `out` holds another run; DataError where nothing
    can be read; TrainingError where the disk is full or the loss no number; KeyboardInterrupt after Ctrl-C or
    where asked_to_stop says so, with a checkpoint written.
    """
    train_sets = [train_set] if isinstance(train_set, Dataset) else list(train_set)
    validations = (
        [validation] * len(train_sets)
        if validation is None or isinstance(validation, Dataset)
        else list(validation)
    )
    processes = Processes(recipe.run.device)
    with (
        own_surroundings(processes.device, recipe.run.threads),
        claimed(out, processes),
        listening(asked_to_stop) as stopping,
    ):
        task = make_task(train_sets, validations, recipe)
        session = Session(task, recipe, out, processes, model)
        checkpoints = Checkpoints(out / "checkpoints")
        open_run(session, train_sets, validations, checkpoints, resume)
        journal = Journal(out, session.history, session.step, processes.is_main)
        try:
            result = _run(session, checkpoints, journal, stopping, on_step)
        except BaseException:
            journal.abandon()
            raise
        journal.close()
        return result


def _run(
    session: Session,
    checkpoints: Checkpoints,
    journal: Journal,
    stopping: Stopping,
    on_step: Callable[[Moment], object] | None,
) -> TrainingResult:
    """The loop itself."""
    recipe, clock, feed, processes = session.recipe, session.clock, session.feed, session.processes
    watch = _Watch(session, on_step)
    saved_at, saved_step = time.monotonic(), session.step
    empty_from = None

    def save() -> None:
        state = session.state_dict()
        if processes.is_main:
            checkpoints.save(session.step, state)

    while True:
        # Once in a while: measures, the best weights, a line of metrics.csv
        if session.is_interval_over:
            try:
                _end_interval(session, journal, watch, stopping)
            except KeyboardInterrupt:
                save()  # the step is done; the validation is made again
                raise
        if session.step >= clock.total_steps:
            break

        # 1: the clips
        began, place = time.perf_counter(), feed.place()
        try:
            parts = feed.fetch()
        except RuntimeError:
            if not stopping.wished:
                raise
            feed.go_back(place)  # Ctrl-C ended the workers, too
            save()
            raise KeyboardInterrupt from None
        waiting = time.perf_counter() - began

        # 2: how many of them, over all parts and processes
        counts = processes.table([_count_known(part) for part in parts])
        num_clips = sum(map(sum, counts))
        if num_clips == 0:
            empty_from = empty_from or (session.step, place)
            if session.step + 1 - empty_from[0] >= min(EMPTY_STEPS, feed.steps_per_epoch):
                session.step = empty_from[0]
                feed.go_back(empty_from[1])
                save()  # from before the files vanished
                failed = [item for part in parts for item in part.failed]
                raise DataError(_say_nothing_is_left(session, failed[0].failure.message if failed else ""))
        else:
            empty_from = None

        # 3 and 4: the step
        rate = rate_at(
            recipe.optim, clock.place(session.step), recipe.data.batch_size, session.plateau.num_drops
        )
        loss, norm, hits = math.nan, math.nan, 0
        if num_clips:
            loss, hits = _forward_and_backward(session, parts, counts, num_clips)
            norm = _update(session, rate, loss, parts)
            if session.average:  # 5
                session.average.update(session.model)
        session.step += 1

        # What happened
        seconds = time.perf_counter() - began
        sums = session.sums
        if num_clips:
            sums.loss, sums.hits = sums.loss + loss * num_clips, sums.hits + hits
        sums.clips, sums.seconds = sums.clips + num_clips, sums.seconds + seconds
        journal.note_step(
            {
                "step": session.step,
                "epoch": round(clock.epoch(session.step), 6),
                "lr": rate,
                "loss": loss if num_clips else None,
                "gradient_norm": norm if num_clips else None,
                "clips": num_clips,
                "seconds": round(seconds, 4),
                "waiting": round(waiting, 4),
            }
        )
        watch.note_step(loss, rate, num_clips)

        # A checkpoint, where one is due or somebody wishes to stop
        minutes = (time.monotonic() - saved_at) / 60
        every = recipe.run.checkpoint_steps
        is_due = minutes >= recipe.run.checkpoint_minutes or (every and session.step - saved_step >= every)
        is_due, stops = processes.any_of(bool(is_due) and processes.is_main, stopping.wished)
        if is_due or stops:
            save()
            saved_at, saved_step = time.monotonic(), session.step
        if stops:
            raise KeyboardInterrupt

    networks = {"last": session.save_networks("last")}
    if session.best_value is None:  # nothing was validated, so the last is the best that is known
        session.best_row = session.history[-1] if session.history else {}
        session.save_networks("best")
    networks["best"] = session.network_paths("best")
    skipped = [str(item) for item in feed.skipped_by_all(processes).values()]
    save()
    processes.wait()
    return TrainingResult(
        best=next(iter(networks["best"].values())),
        last=next(iter(networks["last"].values())),
        history=session.history,
        metrics=session.best_row,
        steps=session.step,
        skipped=tuple(skipped),
        networks=networks,
    )


def _count_known(part: Batch) -> int:
    """Clips of a part that can be learnt from: read, with a label that is not hidden."""
    return len(part.labels) if part.labels.ndim == 2 else int((part.labels >= 0).sum())


def _forward_and_backward(
    session: Session, parts: Sequence[Batch], counts: list[list[int]], num_clips: int
) -> tuple[float, int]:
    """Gradients of one step in this process; the loss per clip and the hits of all processes."""
    processes, rank = session.processes, session.processes.rank
    seed_step(session.recipe.run.seed, session.step, rank)
    session.optimiser.zero_grad(set_to_none=True)
    found = torch.zeros(2, dtype=torch.float64)  # sum of losses, hits
    for number, part in enumerate(parts):
        if not counts[rank][number]:
            continue
        alone = session.syncs and min(row[number] for row in counts) == 0
        if (
            alone
        ):  # another process has no clip, so batch norm cannot be synchronised: it keeps its statistics
            session.model.eval()
        with session.autocast():
            loss, hits = part_loss(session, part, rank * len(parts) + number)
        session.scaler.scale(loss / num_clips).backward()
        if alone:
            session.set_training()
        found += torch.tensor([loss.item(), hits], dtype=torch.float64)
    found = processes.add(
        found.to(processes.device, torch.float32 if processes.device.type == "mps" else None)
    )
    return float(found[0]) / num_clips, int(found[1])


def part_loss(session: Session, part: Batch, number: int) -> tuple[Tensor, int]:
    """The sum of the losses of a part's clips (a scalar), and how many have their label as the best class.

    number: of the part among all of the step, over all processes.
    """
    task, recipe, device = session.task, session.recipe, session.processes.device
    clips = part.clip_BCTHW(device)
    if session.channels_last:
        clips = each(lambda clip_BCTHW: clip_BCTHW.to(memory_format=torch.channels_last_3d), clips)
    if task.is_dense:
        frame_BTK = torch.stack(
            [
                frame_targets(task.dataset.examples[index].spans, times_T, task.dataset.num_classes)
                for index, times_T in zip(part.indices_B.tolist(), part.times_VT, strict=True)
            ]
        )
        logits_BTK = session.model.forward_dense(clips)  # type: ignore[operator]
        return dense_loss(logits_BTK, frame_BTK.to(device), recipe.loss.frame_weight, session.weight_K), 0
    target_BK, known_B = clip_targets(part.labels.to(device), task.dataset.num_classes)
    owner_B = task.owner_N[part.indices_B].to(device)
    owner_BN = torch.nn.functional.one_hot(owner_B, len(task.heads)).float()
    if not known_B.all():
        clips = each(lambda clip_BCTHW: clip_BCTHW[known_B], clips)
        target_BK, owner_BN = target_BK[known_B], owner_BN[known_B]
    clips, (mixed_BK, mixed_BN) = mix(
        clips, (target_BK, owner_BN), recipe.data.augment, recipe.run.seed, session.step, number
    )
    logits_BK, answers = score_clips(session.model, clips, recipe.loss.steps)
    loss = torch.stack(
        [
            weight * heads_loss(answer_BK, mixed_BK, mixed_BN, task.heads, recipe.loss, session.weight_K)
            for weight, answer_BK in answers
        ]
    ).sum()
    hits = sum(
        _hits(logits_BK[:, head.start : head.stop], target_BK[:, head.start : head.stop])
        for head in task.heads
        if head.kind == "class"
    )
    return loss, hits


def _hits(logits_BK: Tensor, target_BK: Tensor) -> int:
    """Clips whose best class is a label of theirs; clips of other heads have none."""
    best_B1 = logits_BK.detach().argmax(1, keepdim=True)
    return int(target_BK.gather(1, best_B1).sum())


def _update(session: Session, rate: float, loss: float, parts: Sequence[Batch]) -> float:
    """Move the weights by the gradients of all processes; the norm of the gradient before it was clipped.

    Raises TrainingError where loss or gradient are no numbers; the weights are as they were then.
    """
    processes, optimiser, scaler = session.processes, session.optimiser, session.scaler
    parameters = [parameter for parameter in session.model.parameters() if parameter.requires_grad]
    processes.add_gradients(parameters)
    scaler.unscale_(optimiser) if scaler.is_enabled() else None
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    # with fp16, an infinite gradient only says that the scale was too large: the scaler passes the step over
    if not math.isfinite(loss) or not (scaler.is_enabled() or math.isfinite(norm)):
        raise TrainingError(_say_no_number(session, loss, float(norm), parts))
    clip_norm = session.recipe.optim.clip_norm
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    set_rate(optimiser, rate)
    scaler.step(optimiser)
    scaler.update()
    processes.average_buffers(session.model)
    return float(norm)


def _end_interval(session: Session, journal: Journal, watch: _Watch, stopping: Stopping) -> None:
    """Validate, keep the best, write a line of metrics.csv, begin new sums."""
    clock, sums, step = session.clock, session.sums, session.step
    found = session.validate(watch.note_validation, lambda: stopping.wished)
    row: dict[str, Any] = {
        "step": step,
        "epoch": round(clock.epoch(step), 6),
        "lr": rate_at(
            session.recipe.optim,
            clock.place(step - 1),
            session.recipe.data.batch_size,
            session.plateau.num_drops,
        ),
        "train_loss": sums.loss / sums.clips if sums.clips else None,
    }
    if any(head.kind == "class" for head in session.task.heads):
        row["train_top1"] = sums.hits / sums.clips if sums.clips else None
    row |= {"clips": sums.clips, "seconds": round(sums.seconds, 3)}
    for name, measures in found.items():
        mark = f".{name}" if len(session.task.heads) > 1 else ""
        row |= {f"val_{key}{mark}": measures[key] for key in (*MEASURES, "loss") if key in measures}
    value = session.value_of(found)
    if len(found) > 1:
        row["val_mean"] = value
    if value is not None:
        session.plateau.note(value)
    if better(value, session.best_value):
        session.best_value, session.best_row = value, row
        session.save_networks("best")
    journal.note_interval(row, found or None)
    session.sums = Sums()


class _Watch:
    """Tells whoever watches where the run is, and keeps the pace."""

    def __init__(self, session: Session, on_step: Callable[[Moment], object] | None) -> None:
        self._session, self._on_step = session, on_step
        self._began, self._first = time.monotonic(), session.step
        self._clips = 0
        self._loss, self._rate = math.nan, 0.0

    def note_step(self, loss: float, rate: float, num_clips: int) -> None:
        self._loss, self._rate = loss, rate
        self._clips += num_clips
        self._tell("training", self._session.step, self._session.clock.total_steps)

    def note_validation(self, done: int, total: int) -> None:
        self._tell("validation", done, total)

    def _tell(self, phase: str, done: int, total: int) -> None:
        if self._on_step is None:
            return
        session, seconds = self._session, time.monotonic() - self._began
        steps, all_steps = session.step - self._first, session.clock.total_steps - self._first
        self._on_step(
            Moment(
                phase,
                done,
                total,
                session.clock.epoch(session.step),
                self._loss,
                self._rate,
                self._clips / seconds if seconds > 0 else 0.0,
                seconds_left(steps, all_steps, seconds),
            )
        )


def _say_no_number(session: Session, loss: float, norm: float, parts: Sequence[Batch]) -> str:
    examples = session.task.dataset.examples
    mine = [examples[index].id for part in parts for index in part.indices_B.tolist()]
    ids = [name for each in session.processes.gather(mine) for name in each]
    more = f" and {len(ids) - 12} more" if len(ids) > 12 else ""
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
    return (
        f"{what} in step {session.step + 1} (epoch {session.clock.epoch(session.step):.2f}), with the "
        f"examples {', '.join(ids[:12])}{more}. The weights before it, of the last checkpoint in "
        f"{session.out / 'checkpoints'}, are kept. What helps: a smaller optim.lr, optim.clip_norm, "
        "run.precision float32, in a new --out"
    )


def _say_nothing_is_left(session: Session, message: str) -> str:
    return (
        f"{session.task.dataset.name}: no clip of {EMPTY_STEPS} steps in a row, or of an epoch, could be read"
        + (f" ({message})" if message else " (all labels are hidden)")
        + f". Are the videos still at {Path(session.task.dataset.root).resolve()}? The run goes on from step "
        f"{session.step} with --resume"
    )
