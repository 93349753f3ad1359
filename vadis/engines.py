"""A loaded model -> something that runs it fast, and is checked to give the same answers.

An engine takes normalised clips and gives logits. `torch` folds the network into fewer, larger steps
(`vadis.folding`) and needs nothing but PyTorch; `openvino` hands it to OpenVINO where that is installed.
No compiler is needed on the user's machine. Before an engine is used it scores one seeded random clip and
is compared with the network as it was written: an engine whose logits differ by more than TOLERANCE is
refused. What the check found, and how fast the engine was, is remembered per machine, weights, shape,
precision and versions in the cache folder, so that the next start is quick.

Precision: "float32" is float32 everywhere (TF32 is switched off on CUDA for the time of a call). "bf16"
keeps weights and activations in bfloat16 with sums in float32; a processor that only emulates it gets
float32 instead, which is faster there, and a warning.

Shapes: B batch, C channels, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vadis import downloads, folding
from vadis.records import ClipSpec, VadisError

log = logging.getLogger(__name__)

ENGINES = ("torch", "openvino")
DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("float32", "bf16")
TOLERANCE = {"float32": 1e-3, "bf16": 0.05}
"""float32: largest absolute difference of a logit. bf16: the same, relative to the largest |logit| (at
least 1) of the plain network."""
MAX_SHAPES = 4
TRIAL_AFTER_SECONDS = 60.0
SWITCH_GAIN = 0.95

Run = Callable[[Tensor], Tensor]
"""clip_BCTHW float32 on the CPU -> logits_BK float32 on the CPU, for one shape."""


class EngineError(VadisError):
    """An engine cannot be had or gives other answers than the network; the message says what to do."""


# --- what there is ----------------------------------------------------------------------------------------


def list_engines() -> dict[str, str | None]:
    """Return each engine's name with None where it can be used, else the reason why not."""
    reasons: dict[str, str | None] = dict.fromkeys(ENGINES)
    if importlib.util.find_spec("openvino") is None:
        reasons["openvino"] = "openvino is not installed (pip install 'vadis[export]')"
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
    return any(_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def _capabilities() -> dict[str, Any]:
    """What PyTorch knows of the processor; younger than our oldest PyTorch, so asked for with care."""
    found: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return dict(found) or {"avx512_bf16": torch.cpu._is_avx512_bf16_supported()}


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})")


# --- building a runner for one shape ----------------------------------------------------------------------


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


def _build_openvino(
    model: nn.Module, shape_BCTHW: Sequence[int], precision: str, threads: int | None, file: Path | None
) -> Run:
    """Compile for OpenVINO's CPU plugin, from `file` (its own exchange format) where that exists.

    Converting takes seconds, reading does not: so what was converted is kept.
    """
    import openvino

    core = openvino.Core()
    if file is not None and file.exists() and file.with_suffix(".bin").exists():
        network = core.read_model(file)
    else:
        network = _convert_openvino(model, shape_BCTHW)
        if file is not None:
            _keep_openvino(network, file)
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    busy = threading.Lock()  # a request holds the buffers of one run

    def run(clip_BCTHW: Tensor) -> Tensor:
        clip_BTHWC = clip_BCTHW.permute(0, 2, 3, 4, 1).contiguous()
        with busy:
            request.infer([clip_BTHWC.numpy()], share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return run


def _convert_openvino(model: nn.Module, shape_BCTHW: Sequence[int]) -> Any:
    import openvino
    from openvino.preprocess import PrePostProcessor

    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(model, (torch.zeros(tuple(shape_BCTHW)),), strict=False)
    finally:
        for module in training:
            module.training = True
    prepared = PrePostProcessor(openvino.convert_model(program))
    prepared.input().tensor().set_layout(openvino.Layout("NDHWC"))
    prepared.input().model().set_layout(openvino.Layout("NCDHW"))
    return prepared.build()


def _keep_openvino(network: Any, file: Path) -> None:
    """Write the converted network next to the other caches; a full disk is no reason to fail."""
    import openvino

    temporary = file.with_name(f"{file.stem}.{os.getpid()}.xml")
    try:
        openvino.save_model(network, temporary, compress_to_fp16=False)
        temporary.with_suffix(".bin").replace(file.with_suffix(".bin"))
        temporary.replace(file)
    except (OSError, RuntimeError) as error:
        log.warning("OpenVINO's network is not kept for the next start: %s", error)


# --- the engine -------------------------------------------------------------------------------------------


class Engine:
    """A network ready to run: clips in, logits out. Made by `create_engine`.

    name: "torch" or "openvino"; device: "cpu", "cuda" or "mps"; precision: what really runs.
    parity: largest |difference| of a logit from the plain network on the clip of the check (None before).
    seconds: what one clip of the load's shape took in the check.
    """

    def __init__(
        self, name: str, model: nn.Module, *, device: str, precision: str, threads: int | None
    ) -> None:
        self.name = name
        self.device = device
        self.precision = precision
        self.threads = threads
        self.parity: float | None = None
        self.seconds: float | None = None
        self.model = model
        self._runs: OrderedDict[tuple[int, ...], Run] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, clip_BCTHW: Tensor) -> Tensor:
        """Score clips: float32, normalised by the model's spec, on the CPU -> logits_BK float32 there.

        Any shape that the network takes; one not seen before costs its preparation (the last
        MAX_SHAPES are kept). On a CPU the clips of a batch run one after the other: it is not slower,
        and needs the memory and the preparation of one.
        """
        if clip_BCTHW.ndim != 5:
            raise ValueError(f"an engine takes clips_BCTHW, got a tensor of shape {tuple(clip_BCTHW.shape)}")
        if self.device == "cpu" and len(clip_BCTHW) > 1:
            return torch.cat([self(clip_BCTHW[index : index + 1]) for index in range(len(clip_BCTHW))])
        with _num_threads(self.threads):
            return self._run_for(clip_BCTHW.shape)(clip_BCTHW)

    def run_frames(self, frames_BTHWC: Tensor, spec: ClipSpec | None = None) -> Tensor:
        """Score uint8 frames that are already resized and cropped: logits_BK float32.

        frames_BTHWC: uint8 RGB as a decoder gives them. spec: how to normalise (default: the model's).
        The values go to float32 in the layout that the engine wants, in one pass.
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
        clips_BTHWC = frames_BTHWC.to(torch.float32).mul_(scale).add_(offset)
        return self(clips_BTHWC.permute(0, 4, 1, 2, 3))

    def __repr__(self) -> str:
        parity = "unchecked" if self.parity is None else f"parity {self.parity:.1e}"
        return f"Engine({self.name}, {self.device}, {self.precision}, {parity})"

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
        file = _cache_file("openvino", self.model, shape, ".xml")
        return _build_openvino(self.model, shape, self.precision, self.threads, file)


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


# --- the check --------------------------------------------------------------------------------------------


def _seeded_clip(model: nn.Module, shape: Sequence[int]) -> Tensor:
    spec: Any = getattr(model, "spec", None) or ClipSpec()
    low, high = spec.value_range
    generator = torch.Generator().manual_seed(0)
    clip_BTHWC = torch.rand((shape[0], *shape[2:], shape[1]), generator=generator) * (high - low) + low
    return clip_BTHWC.permute(0, 4, 1, 2, 3)


def check_parity(engine: Engine, shape_BCTHW: Sequence[int]) -> None:
    """Compare an engine with the plain network on one seeded random clip; set its parity and seconds.

    Raises EngineError where the logits differ by more than TOLERANCE, or are not finite.
    What an earlier process on this machine found for the same weights, shape, precision and versions
    is taken from the cache folder.
    """
    shape = (1, *shape_BCTHW[1:])
    file = _cache_file("parity", engine.model, shape, ".json", engine)
    verdict = _read_verdict(file)
    if verdict is None:
        verdict = _measure(engine, shape)
        _write_verdict(file, verdict)
    engine.parity, engine.seconds = verdict["parity"], verdict["seconds"]
    if not verdict["parity"] <= verdict["tolerance"]:
        raise EngineError(
            f"engine {engine.name!r} ({engine.precision} on {engine.device}) gives other logits than the "
            f"network: they differ by {verdict['parity']:.2g}, more than {verdict['tolerance']:.2g}; "
            "use another engine, and tell us (`vadis doctor` prints the versions)"
        )


def _measure(engine: Engine, shape: Sequence[int]) -> dict[str, float]:
    clip_BCTHW = _seeded_clip(engine.model, shape)
    with torch.inference_mode(), _num_threads(engine.threads):
        training = [module for module in engine.model.modules() if module.training]
        engine.model.eval()
        try:
            plain_BK = engine.model(clip_BCTHW)
        finally:
            for module in training:
                module.training = True
    logits_BK = engine(clip_BCTHW)
    start = time.perf_counter()
    engine(clip_BCTHW)
    seconds = time.perf_counter() - start
    difference = float((logits_BK - plain_BK).abs().max())
    tolerance = TOLERANCE[engine.precision]
    if engine.precision == "bf16":
        tolerance *= max(1.0, float(plain_BK.abs().max()))
    # a NaN compares false with everything, so it never passes
    return {"parity": difference, "tolerance": tolerance, "seconds": seconds}


def _cache_file(
    kind: str, model: nn.Module, shape: Sequence[int], suffix: str, engine: Engine | None = None
) -> Path | None:
    """The file for what was found for this model, shape, machine and versions; None without a cache."""
    packages = [f"{name} {_version(name)}" for name in ("torch", "openvino", "vadis")]
    parts = [*packages, platform.machine(), json.dumps(_capabilities(), sort_keys=True)]
    parts += [str(tuple(shape)), _fingerprint(model)]
    if engine is not None:
        parts += [engine.name, engine.device, engine.precision, str(engine.threads), str(os.cpu_count())]
        parts += [str(Path(source).stat().st_mtime_ns) for source in (__file__, folding.__file__)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    try:
        folder = downloads.cache_folder() / "engines"
        folder.mkdir(exist_ok=True)
    except (downloads.DownloadError, OSError) as error:
        log.warning("nothing is remembered for the next start: %s", error)
        return None
    return folder / f"{kind}-{key}{suffix}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _fingerprint(model: nn.Module) -> str:
    """A hash of the structure, weights and statistics of a network."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_verdict(file: Path | None) -> dict[str, float] | None:
    if file is None:
        return None
    try:
        verdict = json.loads(file.read_text())
        return {name: float(verdict[name]) for name in ("parity", "tolerance", "seconds")}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never written, or torn: measure again


def _write_verdict(file: Path | None, verdict: dict[str, float]) -> None:
    if file is None:
        return
    try:
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(verdict))
        temporary.replace(file)
    except OSError as error:
        log.warning("the parity check is not remembered for the next start: %s", error)


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
    "cuda", "mps" or "auto". precision: "float32" or "bf16". shape_BCTHW: the clips to prepare for
    (default: one clip by `model.spec`); others work too. threads: on the CPU (default: PyTorch's).
    The model is kept and must not be changed while the engine is used.
    Raises ValueError for an unknown name, EngineError where the engine is missing or fails its check.
    """
    _check_name("engine", engine, ("auto", *ENGINES))
    _check_name("precision", precision, PRECISIONS)
    place = choose_device("cpu" if engine == "openvino" and device == "auto" else device)
    if precision == "bf16" and place == "cpu" and not has_fast_bf16():
        log.warning("this processor only emulates bf16, which is slower than float32: float32 is used")
        precision = "float32"
    if shape_BCTHW is None:
        spec: Any = model.spec
        shape_BCTHW = (1, spec.channels, spec.num_frames, spec.crop, spec.crop)
    if engine == "openvino" and place != "cpu":
        raise EngineError(f"engine 'openvino' runs on the cpu, not on {place!r}; use engine 'torch'")

    def make(name: str) -> Engine:
        reason = list_engines()[name]
        if reason is not None:
            raise EngineError(f"engine {name!r} cannot be used: {reason}")
        made = Engine(name, model, device=place, precision=precision, threads=threads)
        check_parity(made, shape_BCTHW)
        return made

    return make(engine) if engine != "auto" else _choose(make)


def _choose(make: Callable[[str], Engine]) -> Engine:
    """The first engine in the known order that passes; a log line says why one did not."""
    for name in ENGINES:
        try:
            return make(name)
        except (EngineError, RuntimeError) as error:
            log.warning("engine %r is passed over: %s", name, error)
    raise EngineError("no engine passes its check on this machine; `vadis doctor` prints the versions")
