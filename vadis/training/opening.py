"""The beginning of a run: its folder is claimed and described, or read and gone on from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vadis.records import Dataset
from vadis.training.checkpoints import Checkpoints, to_json, write_whole
from vadis.training.journal import check_same_run, describe_run, read_run
from vadis.training.processes import Processes
from vadis.training.session import Session, describe_data


@contextmanager
def claimed(out: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs out of a folder while this lasts. Raises ValueError where one is at work in it.

    The lock belongs to this process and ends with it, however it ends. On POSIX it is a record lock, which
    forked workers do not hold: those of a process that was killed live on for some seconds.
    """
    if not processes.is_main:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    taken = f"another process is training in {out}; take another --out"
    if os.name != "posix":
        lock = FileLock(out / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ValueError(taken) from error
        try:
            yield
        finally:
            lock.release()
        return
    import fcntl

    with (out / ".lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(taken) from error
        yield


def open_run(
    session: Session,
    train_sets: Sequence[Dataset],
    validations: Sequence[Dataset | None],
    checkpoints: Checkpoints,
    resume: bool,
) -> None:
    """Write recipe.json for a new run, or bring the session to where its last checkpoint was.

    Raises ValueError where the folder holds a run and `resume` is false, or another run.
    """
    out, processes = session.out, session.processes
    data = [describe_data(dataset, "train") for dataset in train_sets]
    data += [describe_data(dataset, "validation") for dataset in validations if dataset is not None]
    ours = describe_run(session.recipe, data, session.task.dataset.class_names, processes.count)
    saved = read_run(out)
    processes.wait()  # until everybody has looked, before the first one writes
    if saved is None:
        if processes.is_main:
            write_whole(out / "recipe.json", to_json(ours))
        processes.wait()
        return
    if not resume:
        raise ValueError(
            f"{out} already holds a run ({saved['recipe']['name']}); go on with --resume, or take another "
            "--out"
        )
    check_same_run(saved, ours, out)
    if processes.is_main:
        for stale in out.glob(".*.safetensors-*"):
            shutil.rmtree(stale, ignore_errors=True)  # a process that was killed left it
    state = checkpoints.latest()
    processes.wait()
    if state is not None:
        session.load_state_dict(state)
