"""Fields of optical flow as a value: what the numbers count, on which grid, how they follow a picture's size.

Legend: T fields, H W pixels or blocks, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Flow:
    """Optical flow of successive frames.

    fields_THW2: float32, pixels per frame from frame i to frame i + 1; u to the right, v down.
    size: (height, width) of the picture whose pixels the values count.
    grid: pixels from a vector to the next; 1 but for motion vectors, whose H and W are ceil(size / grid).
    method: which of `METHODS` it is from. known_THW: False where a block carries no vector, None: all known.
    """

    fields_THW2: NDArray[np.float32]
    size: tuple[int, int]
    grid: int = 1
    method: str = ""
    known_THW: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = self.fields_THW2.shape
        if len(shape) != 4 or shape[3] != 2:
            raise ValueError(f"flow fields are (T, H, W, 2), got {shape}")
        if self.grid < 1:
            raise ValueError(f"a grid is at least 1 pixel wide, got {self.grid}")
        blocks = tuple(-(-side // self.grid) for side in self.size)
        if shape[1:3] != blocks:
            raise ValueError(
                f"flow of {self.size} pixels at grid {self.grid} has {blocks} vectors, got {shape}"
            )
        if self.known_THW is not None and self.known_THW.shape != shape[:3]:
            raise ValueError(f"known_THW must be {shape[:3]}, got {self.known_THW.shape}")

    def __len__(self) -> int:
        return len(self.fields_THW2)

    def __getitem__(self, part: slice) -> Flow:
        known = None if self.known_THW is None else self.known_THW[part]
        return replace(self, fields_THW2=self.fields_THW2[part], known_THW=known)

    def __repr__(self) -> str:
        height, width = self.size
        grid = f", a vector per {self.grid}x{self.grid} pixels" if self.grid > 1 else ""
        return f"Flow({len(self)} fields of {width}x{height} by {self.method or 'unknown'}{grid})"

    def dense(self) -> Flow:
        """The same with a vector for each pixel: that of its block."""
        if self.grid == 1:
            return self
        height, width = self.size
        rows, columns = np.arange(height) // self.grid, np.arange(width) // self.grid
        known = None if self.known_THW is None else self.known_THW[:, rows][:, :, columns]
        return Flow(self.fields_THW2[:, rows][:, :, columns], self.size, 1, self.method, known)

    def resized(self, height: int, width: int) -> Flow:
        """The flow of the picture brought to height x width pixels: u and v grow with the width and height.

        Antialiased bilinear interpolation, as pictures are resized; blocks become a vector per pixel.
        """
        if min(height, width) < 1:
            raise ValueError(f"a picture has at least 1 x 1 pixels, got {height} x {width}")
        if self.size == (height, width):
            return self.dense()
        import torch  # not at the top: OpenCV's methods do without

        dense = self.dense()
        known = dense.known_THW
        if known is not None:
            rows = np.minimum((np.arange(height) + 0.5) * self.size[0] / height, self.size[0] - 1).astype(int)
            columns = np.minimum((np.arange(width) + 0.5) * self.size[1] / width, self.size[1] - 1).astype(
                int
            )
            known = known[:, rows][:, :, columns]
        fields_TCHW = torch.from_numpy(np.ascontiguousarray(dense.fields_THW2.transpose(0, 3, 1, 2)))
        if len(fields_TCHW):
            fields_TCHW = torch.nn.functional.interpolate(
                fields_TCHW, (height, width), mode="bilinear", antialias=True, align_corners=False
            )
        else:
            fields_TCHW = fields_TCHW.new_zeros(0, 2, height, width)
        ratios = np.array([width / self.size[1], height / self.size[0]], np.float32)
        fields_THW2 = np.ascontiguousarray(fields_TCHW.permute(0, 2, 3, 1).numpy()) * ratios
        return Flow(fields_THW2, (height, width), 1, self.method, known)
