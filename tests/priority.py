"""The priority of the process, which an encoder of the tests would change for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_priority() -> Iterator[None]:
    """Leave the block with the scheduling policy that it was entered with.

    SVT-AV1, where it runs as root, gives real-time priority to the thread that opens it. All later threads
    and child processes inherit it, and two of them that wait busily stop the whole machine.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
