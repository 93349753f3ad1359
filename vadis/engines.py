"""A loaded model -> something that runs it fast, and is checked to give the same answers.

An engine takes normalised clips and gives logits. `torch` folds the network into fewer, larger steps
(`vadis.folding`) and needs nothing but PyTorch; `openvino` hands it to OpenVINO where that is installed.
No compiler is needed on the user's machine. Before an engine is used it scores one seeded random clip and
is compared with the network as it was written (`vadis.parity`): an engine whose logits differ by more
than the tolerance is refused. Verdict and speed are remembered on this machine, so the next start is quick.

`auto` means speed without a long start. PyTorch is ready in a fraction of a second; OpenVINO is a little
faster on some processors but takes several seconds to convert a network for the first time. So `auto`
begins with PyTorch, gives OpenVINO a trial once a process has worked for TRIAL_AFTER_SECONDS (a user with
one short clip never waits for it), and from the next start on takes whichever was faster here. A process
never changes its engine midway: the same video gives the same digits from its first window to its last.

Precision: "float32" is float32 everywhere (TF32 is switched off on CUDA for the time of a call). "bf16"
keeps weights and activations in bfloat16 with sums in float32; a processor that only emulates it gets
float32 instead, which is faster there, and a warning.

Shapes: B batch, C channels, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vadis import folding, openvino_engine, parity
from vadis.parity import Run
from vadis.records import VadisError
from vadis.specs import ClipSpec
from vadis.video.streams import Tensors

log = logging.getLogger(__name__)

ENGINES = ("torch", "openvino")
DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("float32", "bf16")
MAX_SHAPES = 4
TRIAL_AFTER_SECONDS = 60.0


class EngineError(VadisError):
    """An engine cannot be had or gives other answers than the network; the message says what to do."""


# --- what there is ----------------------------------------------------------------------------------------


def list_engines() -> dict[str, str | None]:
    """Return each engine's name with None where it can be used, else the reason why not."""
    reasons: dict[str, str | None] = dict.fromkeys(ENGINES)
    if importlib.util.find_spec("openvino") is None:
        reasons["openvino"] = "openvino is not installed (pip install openvino)"
    return reasons


def choose_device(device: str = "auto") -> str:
    """Return "cuda", "mps" or "cpu": the one asked for, or the best that is there for "auto".

    Raises EngineError for one that this machine or this build of PyTorch does not have.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    _check_name("device", device, DEVICES)
    if not present[device]:
        raise EngineError(f"device {device!r} is not available here; `vadis doctor` lists what is")
    return device


def has_fast_bf16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or ARM's BF16)."""
    return any(parity.capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})")


# --- building a runner for one shape ----------------------------------------------------------------------


def _build_parts(model: nn.Module, device: str, precision: str) -> Callable[[dict[str, Tensor]], Tensor]:
    """The network as it is written, for clips of several modalities."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = folding.copy_network(model, dtype=dtype, device=device)

    def run(clips: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode(), _exact_float32(device):
            logits_BK: Tensor = network({name: clip.to(device, dtype) for name, clip in clips.items()})
            return logits_BK.float().cpu()

    return run


def _build_torch(model: nn.Module, shape_BCTHW: Sequence[int], device: str, precision: str) -> Run:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        network = folding.fold(model, shape_BCTHW, dtype=dtype, device=device)
    except folding.CannotFoldError as error:
        log.warning("%s runs as it is written, unfolded: %s", type(model).__name__, error)
        network = folding.copy_network(model, dtype=dtype, device=device)

    def run(clip_BCTHW: Tensor) -> Tensor:
        with torch.inference_mode(), _exact_float32(device):
            clip = clip_BCTHW.to(device, dtype, memory_format=torch.channels_last_3d)
            logits_BK: Tensor = network(clip)
            return logits_BK.float().cpu()

    return run


@contextlib.contextmanager
def _exact_float32(device: str) -> Iterator[None]:
    """Keep CUDA from rounding float32 to TF32 in convolutions, which is PyTorch's default there."""
    if device != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


# --- the engine -------------------------------------------------------------------------------------------


class Engine:
    """A network ready to run: clips in, logits out. Made by `create_engine`.

    name: "torch" or "openvino"; device: "cpu", "cuda" or "mps"; precision: what really runs.
    parity: largest |difference| of a logit from the plain network on the clip of the check, or None.
    seconds: what one clip of the load's shape took in the check, or None.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.device = device
        self.precision = precision
        self.threads = threads
        self.parity: float | None = None
        self.seconds: float | None = None
        self.after_work: Callable[[], None] | None = None
        self._fingerprint = fingerprint or parity.fingerprint(model)
        self._busy_seconds = 0.0
        self._runs: OrderedDict[tuple[int, ...], Run] = OrderedDict()
        self._run_parts: Callable[[dict[str, Tensor]], Tensor] | None = None
        self._lock = threading.Lock()

    def __call__(self, clip_BCTHW: Tensors) -> Tensor:
        """Score clips: float32, normalised by the model's spec, on the CPU -> logits_BK float32 there.

        Clips of several modalities come by name. Any shape that the network takes; one not seen before
        costs its preparation (the last MAX_SHAPES are kept). On a CPU the clips of a batch run one after
        the other: it is not slower, and needs the memory and the preparation of one.
        """
        if isinstance(clip_BCTHW, dict):
            if self._run_parts is None:
                self._run_parts = _build_parts(self.model, self.device, self.precision)
            with _num_threads(self.threads):
                return self._run_parts(clip_BCTHW)
        if clip_BCTHW.ndim != 5:
            raise ValueError(f"an engine takes clips_BCTHW, got a tensor of shape {tuple(clip_BCTHW.shape)}")
        if self.device == "cpu" and len(clip_BCTHW) > 1:
            return torch.cat([self(clip_BCTHW[index : index + 1]) for index in range(len(clip_BCTHW))])
        with _num_threads(self.threads):
            run = self._run_for(clip_BCTHW.shape)
            start = time.perf_counter()
            logits_BK = run(clip_BCTHW)
        self._busy_seconds += time.perf_counter() - start
        if self.after_work is not None and self._busy_seconds > TRIAL_AFTER_SECONDS:
            work, self.after_work = self.after_work, None
            work()
        return logits_BK

    def run_frames(self, frames_BTHWC: Tensor, spec: ClipSpec | None = None) -> Tensor:
        """Score uint8 frames that are already resized and cropped: logits_BK float32.

        frames_BTHWC: uint8 RGB as a decoder gives them. spec: how to normalise (default: the model's).
        The values become float32 in the layout that the engine wants, in place.
        """
        if spec is None:
            found: Any = self.model.spec
            spec = found
        low, high = spec.value_range
        std = torch.tensor(spec.std)
        scale = (high - low) / 255.0 / std
        offset = (low - torch.tensor(spec.mean)) / std
        if bool((scale == scale[0]).all() and (offset == offset[0]).all()):
            scale, offset = scale[0], offset[0]
        if spec.channel_order == "bgr":
            frames_BTHWC = frames_BTHWC.flip(-1)
        clips_BTHWC = frames_BTHWC.to(torch.float32).mul_(scale).add_(offset)
        return self(clips_BTHWC.permute(0, 4, 1, 2, 3))

    def __repr__(self) -> str:
        checked = "unchecked" if self.parity is None else f"parity {self.parity:.1e}"
        return f"Engine({self.name}, {self.device}, {self.precision}, {checked})"

    def verdict_file(self, shape_BCTHW: Sequence[int]) -> Path | None:
        """Where the verdict on this engine for clips of a shape is kept (None: no cache folder)."""
        return parity.cache_file("verdict", ".json", (self.name, *self._facts(shape_BCTHW)))

    def choice_file(self, shape_BCTHW: Sequence[int]) -> Path | None:
        """Where the name of the engine that was fastest for such clips is kept (None: no cache folder)."""
        return parity.cache_file("choice", ".txt", self._facts(shape_BCTHW))

    def _facts(self, shape: Sequence[int]) -> tuple[object, ...]:
        threads = (self.threads, torch.get_num_threads())
        return (self.device, self.precision, *threads, tuple(shape), self._fingerprint)

    def _run_for(self, shape: Sequence[int]) -> Run:
        key = tuple(shape)
        with self._lock:
            if key not in self._runs:
                self._runs[key] = self._build(key)
                if len(self._runs) > MAX_SHAPES:
                    self._runs.popitem(last=False)
            self._runs.move_to_end(key)
            return self._runs[key]

    def _build(self, shape: tuple[int, ...]) -> Run:
        if self.name == "torch":
            return _build_torch(self.model, shape, self.device, self.precision)
        file = parity.cache_file("openvino", ".xml", (shape, self._fingerprint))
        return openvino_engine.build_openvino(self.model, shape, self.precision, self.threads, file)


@contextlib.contextmanager
def _num_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- choosing ---------------------------------------------------------------------------------------------


def create_engine(
    model: nn.Module,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    shape_BCTHW: Sequence[int] | None = None,
    threads: int | None = None,
) -> Engine:
    """Make a model fast: build an engine for clips of a shape, check it against the model, return it.

    engine: "torch", "openvino" (CPU only) or "auto", the fastest that passes the check. device: "cpu",
    "cuda", "mps" or "auto". precision: "float32" or "bf16". shape_BCTHW: the clips to prepare for (default:
    one clip by `model.spec`); others work too. threads: on the CPU (default: PyTorch's). A network of
    several modalities runs as it is written, by PyTorch. The model is kept and must not be changed while
    the engine is used.
    Raises ValueError for an unknown name, EngineError where the engine is missing or fails its check.
    """
    _check_name("engine", engine, ("auto", *ENGINES))
    _check_name("precision", precision, PRECISIONS)
    place = choose_device("cpu" if engine == "openvino" and device == "auto" else device)
    if engine == "openvino" and place != "cpu":
        raise EngineError(f"engine 'openvino' runs on the cpu, not on {place!r}; use engine 'torch'")
    if precision == "bf16" and place == "cpu" and not has_fast_bf16():
        log.warning("this processor only emulates bf16, which is slower than float32: float32 is used")
        precision = "float32"
    spec: Any = getattr(model, "spec", None)
    if spec is not None and spec.parts:
        if engine == "openvino":
            raise EngineError(f"engine 'openvino' takes one tensor, not {spec.modality}; use engine 'torch'")
        return Engine("torch", model, device=place, precision=precision, threads=threads)
    if shape_BCTHW is None:
        shape_BCTHW = (1, *spec.shape)
    shape = (1, *shape_BCTHW[1:])
    fingerprint = parity.fingerprint(model)

    def make(name: str) -> Engine:
        return Engine(
            name, model, device=place, precision=precision, threads=threads, fingerprint=fingerprint
        )

    if engine != "auto":
        return check_engine(make(engine), shape)
    return _choose([make(name) for name in (ENGINES if place == "cpu" else ("torch",))], shape)


def check_engine(engine: Engine, shape_BCTHW: Sequence[int]) -> Engine:
    """Compare an engine with the plain network on one seeded clip; set its parity and seconds; return it.

    The verdict of an earlier process on this machine counts. Raises EngineError where the engine is not
    installed, or its logits are not finite or differ by more than `vadis.parity.TOLERANCE`.
    """
    reason = list_engines().get(engine.name)
    if reason is not None:
        raise EngineError(f"engine {engine.name!r} cannot be used: {reason}")
    file = engine.verdict_file(shape_BCTHW)
    verdict = parity.recall(file)
    if verdict is None:
        verdict = parity.measure(engine.model, engine, shape_BCTHW, engine.precision)
        parity.remember(file, verdict)
    engine.parity, engine.seconds = verdict.parity, verdict.seconds
    if not verdict.passes:
        raise EngineError(
            f"engine {engine.name!r} ({engine.precision} on {engine.device}) gives other logits than the "
            f"network: they differ by {verdict.parity:.2g}, more than {verdict.tolerance:.2g}; "
            "use another engine, and tell us (`vadis doctor` prints the versions)"
        )
    return engine


def _choose(engines: Sequence[Engine], shape: Sequence[int]) -> Engine:
    """The one that won its trial on this machine, else the first in the known order that passes.

    A log line says why another was passed over.
    """
    file = engines[0].choice_file(shape)
    winner = parity.recall_text(file)
    for engine in sorted(engines, key=lambda engine: engine.name != winner):  # stable
        try:
            chosen = check_engine(engine, shape)
        except (EngineError, RuntimeError, ImportError) as error:
            log.warning("engine %r is passed over: %s", engine.name, error)
            continue
        rivals = [rival for rival in engines if rival is not chosen and list_engines()[rival.name] is None]
        if winner is None and rivals:
            chosen.after_work = functools.partial(_try_rival, chosen, rivals[0], shape)
        return chosen
    raise EngineError("no engine passes its check on this machine; `vadis doctor` prints the versions")


def _try_rival(chosen: Engine, rival: Engine, shape: Sequence[int]) -> None:
    """Build, check and time an engine in turns with the one at work, for the benefit of the next start."""
    log.info("trying engine %r, for the next start", rival.name)
    winner = chosen
    try:
        check_engine(rival, shape)
        times = parity.time_paired([chosen, rival], parity.seeded_clip(chosen.model, shape))
        log.info("seconds a clip: %s %.3f, %s %.3f", chosen.name, times[0], rival.name, times[1])
        winner = rival if times[1] < times[0] else chosen
    except (EngineError, RuntimeError, ImportError) as error:
        log.warning("engine %r will not be used: %s", rival.name, error)
    parity.remember_text(chosen.choice_file(shape), winner.name)
