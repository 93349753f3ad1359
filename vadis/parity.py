"""Does a fast version of a network give the network's answers? Measure it once, remember it.

A check runs the network as it was written, which costs what the fast version is there to save. So the
verdict is kept in the cache folder under a key of everything that it depends on: weights, structure,
clip shape, machine, versions, our own source. A verdict that cannot be read or written is measured again.

Shapes: B batch, C channels, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vadis import downloads
from vadis.specs import ClipSpec

log = logging.getLogger(__name__)

TOLERANCE = {"float32": 1e-3, "bf16": 0.1}
"""float32: largest absolute difference of a logit. bf16: the same, relative to the largest |logit| (at
least 1) of the plain network."""

Run = Callable[[Tensor], Tensor]
"""clip_BCTHW float32 on the CPU -> logits_BK float32 on the CPU."""


@dataclass(frozen=True)
class Verdict:
    """What a check found: the largest |difference| of a logit, what was allowed, seconds of one clip."""

    parity: float
    tolerance: float
    seconds: float

    @property
    def passes(self) -> bool:
        """True where the difference is a number within the tolerance (NaN is not)."""
        return self.parity <= self.tolerance


def seeded_clip(model: nn.Module, shape_BCTHW: Sequence[int]) -> Tensor:
    """The clip of the check: clip_BCTHW float32, uniform in the value range of `model.spec`, seed 0."""
    spec: Any = getattr(model, "spec", None) or ClipSpec()
    low, high = spec.value_range
    batch, channels, *size = shape_BCTHW
    generator = torch.Generator().manual_seed(0)
    clip_BTHWC = torch.rand((batch, *size, channels), generator=generator) * (high - low) + low
    return clip_BTHWC.permute(0, 4, 1, 2, 3)


def run_plain(model: nn.Module, clip_BCTHW: Tensor) -> Tensor:
    """logits_BK of the network as it is written, as if in `eval`; its modes are left as they were."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            logits_BK: Tensor = model(clip_BCTHW)
            return logits_BK
    finally:
        for module in training:
            module.training = True


def measure(model: nn.Module, run: Run, shape_BCTHW: Sequence[int], precision: str) -> Verdict:
    """Compare `run` with the plain network on the seeded clip, and time it once it is warm."""
    clip_BCTHW = seeded_clip(model, shape_BCTHW)
    plain_BK = run_plain(model, clip_BCTHW)
    logits_BK = run(clip_BCTHW)
    tolerance = TOLERANCE[precision]
    if precision == "bf16":
        tolerance *= max(1.0, float(plain_BK.abs().max()))
    return Verdict(float((logits_BK - plain_BK).abs().max()), tolerance, time_paired([run], clip_BCTHW, 1)[0])


def time_paired(runs: Sequence[Run], clip_BCTHW: Tensor, rounds: int = 3) -> list[float]:
    """Seconds of the fastest of `rounds` turns of each of `runs`, taken in turns: noise hits all alike."""
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run(clip_BCTHW)
            best[index] = min(best[index], time.perf_counter() - start)
    return best


# --- what a verdict depends on ----------------------------------------------------------------------------


def capabilities() -> dict[str, Any]:
    """What PyTorch knows of the processor; the question is younger than our oldest PyTorch."""
    found: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return dict(found) or {"avx512_bf16": torch.cpu._is_avx512_bf16_supported()}


@functools.cache
def surroundings() -> str:
    """Machine, versions of the packages that compute, and our source, as one line."""
    source = hashlib.sha256()
    for file in ("engines.py", "openvino_engine.py", "folding.py", "parity.py"):
        source.update(Path(__file__).with_name(file).read_bytes())
    versions = []
    for package in ("torch", "openvino", "vadis"):
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            versions.append("none")
    facts = [*versions, platform.machine(), os.cpu_count(), sorted(capabilities().items())]
    return f"{facts} {source.hexdigest()}"


def fingerprint(model: nn.Module) -> str:
    """A hash of the structure, weights and statistics of a network."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def cache_file(kind: str, suffix: str, facts: Iterable[object]) -> Path | None:
    """The file in the cache folder for these facts, on this machine; None (logged) without a cache."""
    key = hashlib.sha256(repr((surroundings(), *facts)).encode()).hexdigest()[:32]
    try:
        folder = downloads.cache_folder() / "engines"
        folder.mkdir(exist_ok=True)
    except (downloads.DownloadError, OSError) as error:
        log.warning("nothing is remembered for the next start: %s", error)
        return None
    return folder / f"{kind}-{key}{suffix}"


def recall(file: Path | None) -> Verdict | None:
    """Read a verdict; None where there is none or the file is torn."""
    try:
        found = json.loads(recall_text(file) or "{}")
        return Verdict(*(float(found[field.name]) for field in dataclasses.fields(Verdict)))
    except (ValueError, KeyError, TypeError):
        return None


def remember(file: Path | None, verdict: Verdict) -> None:
    """Write a verdict; see `remember_text`."""
    remember_text(file, json.dumps(dataclasses.asdict(verdict)))


def recall_text(file: Path | None) -> str | None:
    """Read a small file of the cache; None where there is none."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def remember_text(file: Path | None, text: str) -> None:
    """Write a small file in one step; a folder that cannot be written is logged and no error."""
    if file is None:
        return
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        log.warning("nothing is remembered for the next start: %s", error)
