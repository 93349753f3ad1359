"""How a run ends early: errors that say what to do, and Ctrl-C that waits until the step is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vadis.records import VadisError


class TrainingError(VadisError):
    """A run cannot go on: a full disk, a loss that is no number; it says what is kept and what to do."""


class Stopping:
    """Whether somebody wishes to stop: Ctrl-C came, or `asked` says so."""

    def __init__(self, asked: Callable[[], bool] | None) -> None:
        self._asked = asked
        self.came = False

    @property
    def wished(self) -> bool:
        """True from the first wish on."""
        self.came = self.came or (self._asked is not None and self._asked())
        return self.came


@contextmanager
def listening(asked: Callable[[], bool] | None) -> Iterator[Stopping]:
    """While this lasts, Ctrl-C sets a flag instead of breaking off a half-done step; a second one breaks off.

    So do the signals by which systems end a job (SIGTERM). Only the main thread can listen; elsewhere only
    `asked` counts. Workers that are forked inside inherit the patience.
    """
    stopping = Stopping(asked)
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        if stopping.came:
            raise KeyboardInterrupt
        stopping.came = True

    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, note)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, handler)
