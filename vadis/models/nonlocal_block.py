"""The non-local block: each position takes the mean of all others, weighted by how related they are.

The block by itself, as it can be put between any two layers that keep a map of time and space; the networks
that hold it, with the paper's equations and forms, are in `vadis.models.nonlocal_net`.

Paper: Wang, Girshick, Gupta and He, "Non-local Neural Networks" (CVPR 2018, arXiv:1711.07971), section 3.

Shapes: B batch, C channels, T H W positions in time and space, Q positions that ask, K that answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.max_pool import max_pool3d

Size3 = tuple[int, int, int]
Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
Extent = Literal["spacetime", "space", "time"]


class AttentionMap(NamedTuple):
    """Whom each position looks at, for pictures: the figure of the paper.

    weights_BQK: of each of the Q = T x H x W positions (`query_grid`, row by row) for each of the K
    (`key_grid`: fewer where a maximum was taken over neighbours). Softmax forms sum to 1 over K; the
    others may be of any sign. Positions that a block cannot see (another frame, another group) have 0.
    """

    weights_BQK: Tensor
    query_grid: Size3
    key_grid: Size3


class NonLocal(nn.Module):
    """A non-local block: z = x + BN(W_z y), equations 1 to 6 of the paper.

    extent: look at all of spacetime, within a frame ("space"), or along time at one place ("time").
    pool: a maximum over so many positions before phi and g (or after them, `pool_first=False`).
    scaled: divide by the root of the inner width before the softmax. group_frames: look within groups of
    so many frames only. Raises ValueError for a combination that has no meaning.
    """

    def __init__(
        self,
        channels: int,
        inner: int | None = None,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        extent: Extent = "spacetime",
        pool: Sequence[int] = (1, 2, 2),
        pool_first: bool = True,
        scaled: bool = True,
        group_frames: int | None = None,
    ) -> None:
        super().__init__()
        if pairwise not in get_args(Pairwise):
            raise ValueError(f"pairwise must be one of {', '.join(get_args(Pairwise))}, got {pairwise!r}")
        if extent not in get_args(Extent):
            raise ValueError(f"extent must be one of {', '.join(get_args(Extent))}, got {extent!r}")
        if len(pool) != 3 or min(pool) < 1:
            raise ValueError(f"pool takes three sizes (time, height, width) from 1 on, got {tuple(pool)}")
        if group_frames is not None and (extent != "spacetime" or pool[0] != 1 or group_frames < 1):
            raise ValueError("group_frames takes extent='spacetime' and a pool that leaves time alone")
        inner = inner or max(channels // 2, 1)
        self.pairwise = pairwise
        self.extent = extent
        self.pool = (1, 1, 1) if extent == "time" else (pool[0], pool[1], pool[2])
        self.pool_first = pool_first
        self.scale = inner**-0.5 if scaled and pairwise == "embedded_gaussian" else 1.0
        self.group_frames = group_frames
        self.g = nn.Conv3d(channels, inner, 1)
        if pairwise != "gaussian":
            self.theta = nn.Conv3d(channels, inner, 1)
            self.phi = nn.Conv3d(channels, inner, 1)
        if pairwise == "concatenation":
            self.pair = nn.Linear(2 * inner, 1, bias=False)
        self.out = nn.Conv3d(inner, channels, 1)
        self.bn = nn.BatchNorm3d(channels)
        for module in self.children():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.get_parameter("bias"))
        nn.init.zeros_(self.bn.weight)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns z_BCTHW of the same size."""
        if self.extent == "spacetime":
            return self._look(x_BCTHW)
        batch, _, frames, height, width = x_BCTHW.shape
        if self.extent == "space":  # each frame is a clip of its own
            z = self._look(x_BCTHW.transpose(1, 2).flatten(0, 1).unsqueeze(2))
            return z.squeeze(2).unflatten(0, (batch, frames)).transpose(1, 2)
        z = self._look(x_BCTHW.permute(0, 3, 4, 1, 2).flatten(0, 2)[..., None, None])  # each place is one
        return z[..., 0, 0].unflatten(0, (batch, height, width)).permute(0, 3, 4, 1, 2)

    def attention(self, x_BCTHW: Tensor) -> AttentionMap:
        """Whom each position of x_BCTHW (what goes into the block) looks at; weights are (B, Q, K)."""
        batch, _, frames, height, width = x_BCTHW.shape
        size = (frames, height, width)
        window = self._window(size)
        grid = (frames // window[0], height // window[1], width // window[2])
        if self.extent == "spacetime":
            query, key, _ = self._embed(x_BCTHW)
            if self.group_frames is None:
                return AttentionMap(self._weights(query, key), size, grid)
            full = query.new_zeros(batch, *size, *grid)
            for first in range(0, frames, self.group_frames):
                part = slice(first, first + self.group_frames)
                q = query.unflatten(1, size)[:, part].flatten(1, 3)
                k = key.unflatten(1, grid)[:, part].flatten(1, 3)
                full[:, part, :, :, part] = self._weights(q, k).reshape(full[:, part, :, :, part].shape)
        elif self.extent == "space":
            grid = (frames, grid[1], grid[2])
            full = x_BCTHW.new_zeros(batch, *size, *grid)
            for frame in range(frames):
                query, key, _ = self._embed(x_BCTHW[:, :, frame : frame + 1])
                full[:, frame, :, :, frame] = self._weights(query, key).reshape(
                    batch, height, width, *grid[1:]
                )
        else:
            grid = size
            full = x_BCTHW.new_zeros(batch, *size, *size)
            for row, column in itertools.product(range(height), range(width)):
                query, key, _ = self._embed(x_BCTHW[:, :, :, row : row + 1, column : column + 1])
                full[:, :, row, column, :, row, column] = self._weights(query, key)
        return AttentionMap(full.flatten(4, 6).flatten(1, 3), size, grid)

    def extra_repr(self) -> str:
        """What the parameters do not tell, for `print(model)`."""
        return (
            f"{self.pairwise}, {self.extent}, pool={self.pool}, pool_first={self.pool_first}, "
            f"scale={self.scale:.4g}, group_frames={self.group_frames}"
        )

    def _look(self, x: Tensor) -> Tensor:
        """The block on clips whose positions all see each other (but for groups of frames)."""
        query, key, value = self._embed(x)
        frames, height, width = x.shape[2:]
        if self.group_frames is None or self.group_frames >= frames:
            return self._project(x, self._gather(query, key, value))
        _, high, wide = self._window((frames, height, width))
        asking = self.group_frames * height * width
        answering = self.group_frames * (height // high) * (width // wide)
        groups = zip(query.split(asking, 1), key.split(answering, 1), value.split(answering, 1), strict=True)
        return self._project(x, torch.cat([self._gather(*group) for group in groups], dim=1))

    def _window(self, size: Size3) -> Size3:
        """The positions that a maximum is taken over; never more than there are."""
        return tuple(min(pair) for pair in zip(self.pool, size, strict=True))  # type: ignore[return-value]

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What asks (theta), what answers (phi) and what is taken (g): BQD, BKD, BKD.

        The 1x1x1 convolutions are written as linear maps of rows of positions, which a CPU does up to
        three times faster and which is the order that attention wants.
        """
        window = self._window((x.shape[2], x.shape[3], x.shape[4]))
        rows = _rows(x)
        if not self.pool_first:
            value = _rows(max_pool3d(self.g(x), window, window))
            if self.pairwise == "gaussian":
                return rows, _rows(max_pool3d(x, window, window)), value
            return _linear(self.theta, rows), _rows(max_pool3d(self.phi(x), window, window)), value
        seen = _rows(max_pool3d(x, window, window))
        value = _linear(self.g, seen)
        if self.pairwise == "gaussian":
            return rows, seen, value
        return _linear(self.theta, rows), _linear(self.phi, seen), value

    def _gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The weighted average of `value` for each query: BQD."""
        if self.pairwise in ("gaussian", "embedded_gaussian"):
            one_head = F.scaled_dot_product_attention(
                query[:, None], key[:, None], value[:, None], scale=self.scale
            )
            return one_head[:, 0]
        asking, answering, width = query.shape[1], key.shape[1], query.shape[2]
        if self.pairwise == "dot_product" and width * (asking + answering) < asking * answering:
            # No softmax stands between the two products, so (theta phi') g = theta (phi' g), and the map
            # of all pairs need not exist. Taken where it saves half, so that counts of multiply-adds stay
            # those of the literature where little is to be gained (the maps of res4).
            return query @ (key.transpose(1, 2) @ value / answering)
        return self._weights(query, key) @ value

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        """f(x_i, x_j) / C(x): BQK."""
        if self.pairwise == "concatenation":
            half = query.shape[2]
            ask, answer = self.pair.weight[0, :half], self.pair.weight[0, half:]
            return F.relu((query @ ask)[:, :, None] + (key @ answer)[:, None]) / key.shape[1]
        if self.pairwise == "dot_product":
            return (query / key.shape[1]) @ key.transpose(1, 2)
        return torch.softmax(self.scale * query @ key.transpose(1, 2), dim=2)

    def _project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + BN(W_z y), for rows of positions y."""
        norm: Any = self.bn
        layer: Any = self.out
        weight, bias, columns = layer.weight.flatten(1), layer.bias, y.transpose(1, 2)
        if self.training:
            z = torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), columns)
            return x + norm(z.unflatten(2, x.shape[2:]))
        # Batch norm with fixed statistics is a scale and a shift: within W_z they cost nothing.
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = (bias - norm.running_mean) * scale + norm.bias
        weight = (weight * scale[:, None]).expand(len(x), -1, -1)
        z = torch.baddbmm(x.flatten(2), weight, columns) + shift[:, None]
        return z.unflatten(2, x.shape[2:])


def _rows(x: Tensor) -> Tensor:
    """Positions as rows: BCTHW to B, T x H x W, C."""
    return x.flatten(2).transpose(1, 2)


def _linear(layer: nn.Conv3d, rows: Tensor) -> Tensor:
    """A 1x1x1 convolution of rows of positions."""
    return F.linear(rows, layer.weight.flatten(1), layer.bias)
