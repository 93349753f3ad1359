"""Decoded frames as they leave the decoder: pixels, times, indices, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vadis.records import DecodeReport

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Frames:
    """Frames of one video, one entry for each frame that was asked for.

    frames_THWC: uint8 RGB, as shown (rotated, resized where that was asked for).
    times_T: float64, each frame's own presentation time in seconds on the player's clock.
    indices_T: int64, index of the source frame in presentation order.
    corrupt_T: bool, True where the decoder marked the frame as damaged or had to give its predecessor.
    report: what decoding promised and gave.
    """

    frames_THWC: NDArray[np.uint8]
    times_T: NDArray[np.float64]
    indices_T: NDArray[np.int64]
    corrupt_T: NDArray[np.bool_]
    report: DecodeReport

    def __post_init__(self) -> None:
        if self.frames_THWC.ndim != 4 or self.frames_THWC.shape[-1] != 3:
            raise ValueError(f"frames_THWC must be (T, H, W, 3), got {self.frames_THWC.shape}")
        count = len(self.frames_THWC)
        for name in ("times_T", "indices_T", "corrupt_T"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} must be ({count},), got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.frames_THWC)

    def __repr__(self) -> str:
        count, height, width = self.frames_THWC.shape[:3]
        span = f", {self.times_T[0]:.3f}..{self.times_T[-1]:.3f} s" if count else ""
        return f"Frames({count} of {width}x{height}{span}, {self.report})"

    @property
    def frames_TCHW(self) -> torch.Tensor:  # noqa: N802 - the shape suffix
        """The frames as a uint8 torch tensor of shape (T, 3, H, W); a view, nothing is copied."""
        import torch  # not at the top: a process that only decodes should start without torch

        return torch.from_numpy(self.frames_THWC).permute(0, 3, 1, 2)
