"""What a run will do and how long that takes here, measured on a few clips; nothing is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from vadis.config import Recipe
from vadis.data.batches import Collate, LoadedExample
from vadis.data.order import Draw
from vadis.evaluation.protocols import make_protocol
from vadis.training.loop import part_loss
from vadis.training.session import Session, describe_data

TRIED = 4
"""Examples that are loaded for the estimate."""


@dataclass(frozen=True)
class Plan:
    """A run before it starts.

    step_seconds: of computing one step; clip_seconds: of loading one clip in one process; forward_seconds: of
    scoring one view. seconds: of the whole run, in this process, as estimated from these.
    """

    recipe: Recipe
    data: tuple[dict[str, Any], ...]
    steps: int
    steps_per_epoch: int
    clips: int
    parameters: int
    learning: int
    device: str
    step_seconds: float
    clip_seconds: float
    forward_seconds: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "recipe": self.recipe.to_dict(),
            **{key: value for key, value in vars(self).items() if key != "recipe"},
        }


def make_plan(session: Session) -> Plan:
    """Measure one part of a step and a few clips, and reckon the rest; the session is not to be used after.

    Raises DataError or VideoError where the first clips cannot be read.
    """
    task, recipe, feed = session.task, session.recipe, session.feed
    clips = feed.loader.clips
    began, loaded = time.perf_counter(), []
    for index in range(min(TRIED, len(clips))):
        item = clips[Draw(0, index)]
        if isinstance(item, LoadedExample):
            loaded.append(item)
    clip_seconds = (time.perf_counter() - began) / max(1, len(loaded))
    step_seconds = forward_seconds = 0.0
    if loaded:
        size = feed.loader.batch_size
        num_classes = task.dataset.num_classes if task.dataset.multi_label else None
        part = Collate(clips.spec, num_classes)((loaded * size)[:size])
        step_seconds = _time(lambda: _compute(session, part)) * feed.parts_per_step
        forward_seconds = _time(lambda: _forward(session, part)) / size
    steps, batch = session.clock.total_steps, recipe.data.batch_size
    num_clips = steps * batch
    share = batch / session.processes.count * clip_seconds
    # workers decode while the network computes
    workers = recipe.data.workers
    each = max(step_seconds, share / workers) if workers else step_seconds + share
    views = _validated_views(session)
    validations = math.ceil(steps / session.interval_steps) if views else 0
    each_view = max(forward_seconds, clip_seconds / workers) if workers else forward_seconds + clip_seconds
    validations_data = [other for other in task.validations if other is not None]
    parameters = list(session.model.parameters())
    return Plan(
        recipe=recipe,
        data=(
            describe_data(task.dataset, "train"),
            *(describe_data(other, "validation") for other in validations_data),
        ),
        steps=steps,
        steps_per_epoch=feed.steps_per_epoch,
        clips=num_clips,
        parameters=sum(parameter.numel() for parameter in parameters),
        learning=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        device=str(session.processes.device),
        step_seconds=step_seconds,
        clip_seconds=clip_seconds,
        forward_seconds=forward_seconds,
        seconds=steps * each + validations * views * each_view / session.processes.count,
    )


def _validated_views(session: Session) -> int:
    """Views that one validation scores."""
    if not session.recipe.run.validate_every:
        return 0
    return sum(
        len(other.examples)
        * make_protocol(session.recipe.run.protocol, session.model, multi_label=other.multi_label).num_views
        for other in session.task.validations
        if other is not None
    )


def _compute(session: Session, part: Any) -> None:
    session.optimiser.zero_grad(set_to_none=True)
    with session.autocast():
        loss, _ = part_loss(session, part, 0)
    loss.backward()


def _forward(session: Session, part: Any) -> None:
    with torch.inference_mode(), session.autocast():
        session.model(part.clip_BCTHW(session.processes.device))


def _time(work: Any) -> float:
    """Seconds of a piece of work, the second time it is done."""
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
