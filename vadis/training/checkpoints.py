"""The whole state of a run on disk, so that it can be killed at any moment: written beside, synced, renamed.

OUT/checkpoints/step-00001200.pt holds tensors and plain values only, and is read as such (`weights_only`). A
file that appears is whole. The last two stay: should the newest be unreadable, the one before it serves.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from vadis.training.stops import TrainingError

log = logging.getLogger(__name__)

KEPT = 2
_NAME = re.compile(r"step-(\d{8,})\.pt")


class Checkpoints:
    """The checkpoints of a run. folder: is made where it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps after which a checkpoint was written, in order."""
        if not self.folder.is_dir():
            return []
        found = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in found if match)

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write a state, drop all but the last two. Raises TrainingError where the disk does not take it."""
        path = self._path(step)
        part = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(self.folder)
        except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError where the disk is full
            part.unlink(missing_ok=True)
            kept = self.steps()
            said = f"that of step {kept[-1]} is kept" if kept else "there is none yet"
            raise TrainingError(
                f"{path} cannot be written: {_reason(error)}; {said}. Make room and go on with --resume"
            ) from error
        for old in self.steps()[:-KEPT]:
            self._path(old).unlink(missing_ok=True)
        return path

    def latest(self) -> dict[str, Any] | None:
        """The newest state that can be read, its tensors on the CPU; None where there is none.

        Raises TrainingError where there are files, but none can be read.
        """
        for part in self.folder.glob("*.part") if self.folder.is_dir() else ():
            part.unlink(missing_ok=True)  # a process that was killed left it
        steps = self.steps()
        for step in reversed(steps):
            path = self._path(step)
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
                log.warning("%s cannot be read (%s)", path, _reason(error))
                continue
            return state
        if steps:
            raise TrainingError(f"{self.folder}: no checkpoint can be read; start anew in another folder")
        return None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all. Raises TrainingError, as `save` does."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written: {_reason(error)}. Make room and go on with --resume"
        ) from error


def to_json(document: object) -> str:
    """JSON for people: letters as they are, unless a file's name holds bytes that are none."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(document, indent=1)
    return text + "\n"


def _reason(error: Exception) -> str:
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
