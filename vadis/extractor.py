"""A network that gives the features of one of its layers: cut off there, folded, checked, and known by name.

The network runs only as far as the layer, with batch norm folded away (`vadis.folding`). Once, on the first
clip, its features are compared with those of the plain network; where they differ, the plain one runs. What
numbers depend on is kept as plain values, for files and for the keys of the cache.

Legend: V views, B batch, D features (a map has D, T, H, W), T frames, C channels, H W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis import folding, parity
from vadis.engines import PRECISIONS, Engine, choose_device, has_fast_bf16
from vadis.feature_layers import SPECIAL, FeatureNetwork, hash_trunk
from vadis.models import VideoModel
from vadis.specs import ClipSpec, at_test
from vadis.video.transform import normalise

log = logging.getLogger(__name__)

TOLERANCE = {"float32": 1e-3, "bf16": 0.1}
"""Largest difference of the folded network's features from the plain one's, relative to the largest."""
Sees = Callable[[Tensor], Tensor]


class Extractor:
    """A network ready to give the features of one layer. `layer`: see `vadis.feature_layers`.

    spec: what is cut from a video (default: the network's own). device: "auto", "cpu", "cuda", "mps".
    precision: "float32" or "bf16". threads: of PyTorch on a CPU (None: its own). sees: changes the clips
    before the network does anything with them (for controls: one frame repeated, order lost). Raises
    ValueError for a layer that there is not.
    """

    def __init__(
        self,
        model: VideoModel,
        layer: str = "pool",
        *,
        spec: ClipSpec | None = None,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        sees: Sees | None = None,
        batch_size: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.device = choose_device(device)
        if precision == "bf16" and self.device == "cpu" and not has_fast_bf16():
            log.warning("this processor only emulates bf16, which is slower than float32: float32 is used")
            precision = "float32"
        self.model = model.eval()
        self.spec = at_test(model.spec) if spec is None else spec
        if self.spec.parts:
            streams = ", ".join(self.spec.parts)
            raise ValueError(
                f"{model.name or 'the network'} takes several tensors ({streams}); features are of one: take "
                "the networks of its streams one by one"
            )
        self.layer = layer
        self.precision = precision
        self.sees = sees
        self.batch_size = batch_size or (1 if self.device == "cpu" else 8)
        self.network = FeatureNetwork(model, layer).eval()
        self.fingerprint = hash_trunk(model) if layer in SPECIAL else parity.fingerprint(model)
        self._engine = Engine(
            "torch",
            self.network,
            device=self.device,
            precision=precision,
            threads=threads,
            fingerprint=f"{self.fingerprint} {layer}",
        )
        self._plain: torch.nn.Module | None = None
        self._is_checked = False

    def __call__(self, pixels_VTCHW: Tensor) -> npt.NDArray[np.float32]:
        """features_VD (a map: (V, D, T, H, W)) of views, uint8 RGB, already cut: pixels_VTCHW."""
        num_views, num_frames = pixels_VTCHW.shape[:2]
        clips = normalise(pixels_VTCHW.flatten(0, 1), self.spec)
        return self.run(clips.unflatten(0, (num_views, num_frames)).transpose(1, 2).contiguous())

    def run(self, clip_BCTHW: Tensor) -> npt.NDArray[np.float32]:
        """features_BD (or maps) of clips that are normalised already: clip_BCTHW, float32."""
        num_views = len(clip_BCTHW)
        if self.sees is not None:
            clip_BCTHW = self.sees(clip_BCTHW)
        parts = []
        for begin in range(0, num_views, self.batch_size):
            part = clip_BCTHW[begin : begin + self.batch_size]
            missing = self.batch_size - len(part)
            if missing and num_views > self.batch_size:  # each other size of a batch would be prepared anew
                part = torch.cat([part, part[:1].expand(missing, *part.shape[1:])])
            parts.append(self._run(part)[: self.batch_size - missing])
        return torch.cat(parts).numpy()

    def _run(self, clip_BCTHW: Tensor) -> Tensor:
        if self._plain is not None:
            with torch.inference_mode():
                dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
                plain: Tensor = self._plain(clip_BCTHW.to(self.device, dtype))
                return plain.float().cpu()
        features_BD = self._engine(clip_BCTHW)
        if not self._is_checked:
            self._is_checked = True
            features_BD = self._check(clip_BCTHW, features_BD)
        return features_BD

    def _check(self, clip_BCTHW: Tensor, features_BD: Tensor) -> Tensor:
        """Compare with the plain network once; what differs is not used. Returns features_BD to keep."""
        if self.device == "cpu":
            plain = parity.run_plain(self.network, clip_BCTHW[:1])
        else:
            copied = folding.copy_network(self.network, device=self.device)
            plain = parity.run_plain(copied, clip_BCTHW[:1].to(self.device)).cpu()
        scale = max(float(plain.abs().max()), 1e-6)
        difference = float((features_BD[:1] - plain).abs().max()) / scale
        if difference <= TOLERANCE[self.precision]:
            return features_BD
        log.warning(
            "the folded network gives other features (by %.2g of the largest): the plain one runs",
            difference,
        )
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._plain = folding.copy_network(self.network, dtype=dtype, device=self.device)
        return self._run(clip_BCTHW)

    def provenance(self, protocol: str) -> dict[str, Any]:
        """What the features are of, as plain values that go into a file."""
        return {
            "model": self.model.name or type(self.model).__name__,
            "weights_sha256": self.model.weights_sha256,
            "fingerprint": self.fingerprint,
            "layer": self.layer,
            "protocol": protocol,
            "spec": asdict(self.spec),
            "precision": self.precision,
            "sees": None if self.sees is None else _name_of(self.sees) or "a function of the caller's",
            "vadis": version("vadis"),
        }

    def settings(self, protocol: str) -> str | None:
        """All that numbers depend on but the video, for the cache's keys; None where that cannot be told."""
        if self.sees is not None and _name_of(self.sees) is None:
            return None
        facts = self.provenance(protocol)
        for passing in ("model", "weights_sha256", "vadis"):
            del facts[passing]
        return repr(sorted(facts.items()))


def _name_of(sees: Sees) -> str | None:
    """The name of one of our own plain functions; None for others, which may change what they do."""
    module, name = getattr(sees, "__module__", ""), getattr(sees, "__qualname__", "<>")
    return f"{module}.{name}" if module.startswith("vadis.") and "<" not in name else None
