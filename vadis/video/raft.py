"""RAFT (Teed and Deng, ECCV 2020; arXiv:2003.12039) by torchvision's network: flow by a trained network.

It compares each point of the first picture with all of the second and corrects the flow again and again. The
network and its weights (trained on made scenes, then on real ones) are torchvision's; the weights come from
the address in torchvision's own table at first use, or from a file of the same keys. There is no estimate
without trained weights.

Legend: N pairs, H W pixels, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import optical_flow

SIZES = ("small", "large")
SMALLEST = 128  # pixels: its coarsest comparison is a sixty-fourth of the picture and needs 2 x 2
MULTIPLE = 8  # pixels that one of its features stands for
BATCH_PIXELS = 2**20  # at once on a GPU: comparing all with all takes much room


class Raft:
    """RAFT on a device: fields_NHW2 of frames_THWC (uint8 RGB) and starts_N.

    size: "large" (5.3 million numbers) or "small" (1 million). weights: a file of torchvision's keys (.pth or
    .safetensors), None: torchvision's own, fetched once. iterations: corrections of the flow. Raises
    ValueError for what is none of these, FileNotFoundError and ConnectionError where there are no weights.
    """

    def __init__(
        self,
        device: torch.device,
        batch_size: int | None = None,
        *,
        size: str = "large",
        weights: str | Path | None = None,
        iterations: int = 12,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size of raft is {' or '.join(SIZES)}, not {size!r}")
        if iterations < 1:
            raise ValueError(f"raft takes at least one iteration, got {iterations}")
        self.device, self.batch_size, self.iterations = device, batch_size, iterations
        state = _fetch(size) if weights is None else _read(Path(weights))
        make = optical_flow.raft_large if size == "large" else optical_flow.raft_small
        network: nn.Module = make(weights=None)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            place = "torchvision's weights" if weights is None else str(weights)
            raise ValueError(f"{place} are not those of raft_{size}: {str(error)[:300]}") from error
        self.network = network.to(device).eval()

    def __call__(self, frames_THWC: NDArray[np.uint8], starts_N: NDArray[np.int64]) -> NDArray[np.float32]:
        height, width = frames_THWC.shape[1:3]
        fields_NHW2 = np.empty((len(starts_N), height, width, 2), np.float32)
        size = self.batch_size or (
            1 if self.device.type == "cpu" else max(1, BATCH_PIXELS // (height * width))
        )
        for first in range(0, len(starts_N), size):
            lot = starts_N[first : first + size]
            flow_N2HW = self._estimate(self._prepare(frames_THWC[lot]), self._prepare(frames_THWC[lot + 1]))
            fields_NHW2[first : first + size] = (
                flow_N2HW[:, :, :height, :width].permute(0, 2, 3, 1).cpu().numpy()
            )
        return fields_NHW2

    @torch.inference_mode()
    def _estimate(self, before_NCHW: Tensor, after_NCHW: Tensor) -> Tensor:
        flow_N2HW: Tensor = self.network(before_NCHW, after_NCHW, num_flow_updates=self.iterations)[-1]
        return flow_N2HW

    def _prepare(self, frames_NHWC: NDArray[np.uint8]) -> Tensor:
        """Values from -1 to 1, the edge continued to a size that the network takes."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).to(self.device)
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        below, right = (max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in pixels.shape[2:])
        return F.pad(pixels, (0, right, 0, below), mode="replicate")


def _fetch(size: str) -> dict[str, Tensor]:
    table = optical_flow.Raft_Large_Weights if size == "large" else optical_flow.Raft_Small_Weights
    entry = table.DEFAULT
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        hint = "fetch them elsewhere and name the file (option weights), or take tvl1 or dis"
        message = f"the weights of raft_{size} cannot be fetched from {entry.url}: {error}; {hint}"
        raise ConnectionError(message) from error
    return state


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights of raft here")
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds {type(state).__name__}, not a table of weights")
    return state
