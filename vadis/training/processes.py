"""One process or several (torchrun, `accelerate launch`): who am I, and what have the others.

Gradients are added up here, after the backward pass, in flat buckets. A wrapper that does it during the pass
would need every process to make one; but a process whose clips could not be read has nothing to pass
backward, and must step all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vadis.records import VadisError

BUCKET_BYTES = 64 * 2**20
"""Gradients are copied into buckets of about this size: large enough for the wire, small beside a network."""


class Processes:
    """This process among all that train one network; on its own it is 0 of 1.

    device: "auto", "cpu", "cuda" or "mps"; with several processes each takes the GPU of its local rank.
    Raises VadisError where accelerate is not installed, ValueError for a device that is not there.
    """

    def __init__(self, device: str = "auto") -> None:
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise VadisError("training needs accelerate: pip install 'vadis[train]'") from error
        state = PartialState(cpu=device == "cpu")
        self.rank = int(state.process_index)
        self.count = int(state.num_processes)
        chosen = torch.device(state.device)
        if self.count == 1:  # accelerate remembers the device of an earlier run in this process
            chosen = _single_device(device)
        elif device not in ("auto", chosen.type):
            raise ValueError(f"the processes were started on {chosen.type}, run.device is {device}")
        self.device = chosen

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and talks."""
        return self.rank == 0

    def add(self, value: Tensor) -> Tensor:
        """The sum of a tensor of any shape over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def table(self, numbers: Sequence[int]) -> list[list[int]]:
        """A row of whole numbers of each process, in every process; all rows are equally long."""
        if self.count == 1:
            return [list(numbers)]
        row = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        rows = [torch.empty_like(row) for _ in range(self.count)]
        torch.distributed.all_gather(rows, row)
        return [each.tolist() for each in rows]

    def any_of(self, *wishes: bool) -> list[bool]:
        """For each wish, whether any process has it."""
        return [any(column) for column in zip(*self.table([int(wish) for wish in wishes]), strict=True)]

    def gather(self, thing: Any) -> list[Any]:
        """A thing of each process, in every process: plain values that pickle, from processes of our own."""
        if self.count == 1:
            return [thing]
        things: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(things, thing)
        return things

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum every gradient over the processes; those without one count as zero.

        A parameter that has no gradient in any process keeps none, so that it is not moved by decay.
        """
        if self.count == 1:
            return
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        has = torch.tensor([parameter.grad is not None for parameter in learning], device=self.device).int()
        used = [p for p, count in zip(learning, self.add(has).tolist(), strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets(used):
            gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
            flat = self.add(torch.cat([gradient.reshape(-1) for gradient in gradients]))
            for gradient, part in zip(
                gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
            ):
                gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Running statistics of batch norm become the mean over processes, each of which saw its own clips.

        After every step, so that it does not matter when a checkpoint is written.
        """
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.count == 1 or not buffers:
            return
        flat = self.add(torch.cat([buffer.reshape(-1) for buffer in buffers])).div_(self.count)
        parts = flat.split([buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


def _single_device(device: str) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if device not in there:
        raise ValueError(f"run.device is one of auto, {', '.join(there)}, not {device!r}")
    if not there[device]:
        raise ValueError(f"there is no {device} here; leave out run.device, or take cpu")
    return torch.device(device)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters in turn, in lists of one type and about `BUCKET_BYTES`."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size >= BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if bucket:
        yield bucket


def seed_step(seed: int, step: int, rank: int) -> None:
    """Start torch's random numbers (dropout, stochastic depth) anew for a step: they depend on nothing else.

    So whatever draws between two steps changes nothing, and a run that goes on needs only the step's number.
    """
    import numpy as np

    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))


@contextlib.contextmanager
def own_surroundings(device: torch.device, threads: int | None) -> Iterator[None]:
    """While this lasts, the process is set up for training; then it is as it was.

    Kept for the caller: the random states of torch, the number of its threads, and cuDNN's search for the
    fastest convolution, which pays where every step has the same shapes.
    """
    devices = [device] if device.type == "cuda" else []
    benchmark, num_threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    kind: Literal["cuda"] = "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.backends.cudnn.benchmark = device.type == "cuda"
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(num_threads)
