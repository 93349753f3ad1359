"""A network handed to OpenVINO: converted once, kept in its own exchange format, compiled for this processor.

Shapes: B batch, C channels, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vadis.parity import Run

log = logging.getLogger(__name__)


def build_openvino(
    model: nn.Module, shape_BCTHW: Sequence[int], precision: str, threads: int | None, file: Path | None
) -> Run:
    """Compile for OpenVINO's CPU plugin, from `file` (its own exchange format) where that exists.

    Converting takes seconds, reading does not: so what was converted is kept.
    """
    openvino = import_openvino()
    core = openvino.Core()
    if file is not None and file.exists() and file.with_suffix(".bin").exists():
        network = core.read_model(file)
    else:
        network = convert_openvino(model, shape_BCTHW)
        if file is not None:
            _keep_openvino(network, file)
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    with _signal_stack_kept():
        request = core.compile_model(network, "CPU", settings).create_infer_request()
    busy = threading.Lock()  # a request holds the buffers of one run

    def run(clip_BCTHW: Tensor) -> Tensor:
        clip_BTHWC = clip_BCTHW.permute(0, 2, 3, 4, 1).contiguous()
        with busy:
            request.infer([clip_BTHWC.numpy()], share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return run


class _SignalStack(ctypes.Structure):
    """stack_t of Linux: where the handlers of a thread's signals run."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Put this thread's alternate stack for signals back as it was.

    OpenVINO's CPU plugin sets one of its own and frees it with the network, putting back what it found; but
    it puts it back for the thread that frees, and where that is another one, this thread is left with a stack
    that no longer exists. Python's handlers run there, so the next Ctrl-C, or the end of a child process,
    would end us with SIGSEGV.
    """
    if sys.platform != "linux":
        yield
        return
    library, before = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)


def import_openvino() -> Any:
    """The module `openvino`, without its telemetry.

    Importing and converting would report to a web address, from children forked out of our process
    (which can hang in a process with threads). vadis tells nobody anything: with the package
    `openvino_telemetry` out of reach, OpenVINO uses the silent stub that it brings for that case.
    """
    missing = object()
    before = sys.modules.get("openvino_telemetry", missing)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules["openvino_telemetry"]
        if before is not missing:
            sys.modules["openvino_telemetry"] = cast(Any, before)


def convert_openvino(model: nn.Module, shape_BCTHW: Sequence[int]) -> Any:
    """OpenVINO's own network (in memory, not compiled), which takes clips as a decoder gives them: NDHWC.

    shape_BCTHW: the clips it is converted for.
    """
    openvino = import_openvino()
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(model, (torch.zeros(tuple(shape_BCTHW)),), strict=False)
    finally:
        for module in training:
            module.training = True
    prepared = openvino.preprocess.PrePostProcessor(openvino.convert_model(program))
    prepared.input().tensor().set_layout(openvino.Layout("NDHWC"))
    prepared.input().model().set_layout(openvino.Layout("NCDHW"))
    return prepared.build()


def _keep_openvino(network: Any, file: Path) -> None:
    """Write the converted network next to the other caches; a full disk is no reason to fail."""
    temporary = file.with_name(f"{file.stem}.{os.getpid()}.xml")
    try:
        import_openvino().save_model(network, temporary, compress_to_fp16=False)
        temporary.with_suffix(".bin").replace(file.with_suffix(".bin"))
        temporary.replace(file)
    except (OSError, RuntimeError) as error:
        log.warning("OpenVINO's network is not kept for the next start: %s", error)
