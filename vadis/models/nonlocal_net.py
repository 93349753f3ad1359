"""Non-local networks: each position looks at all others, however far away in space and time.

A convolution sees its neighbours, so what belongs together across a clip meets only after many layers. A
non-local block lets each position ask every other how related the two are, and takes the average of what
they hold, weighted by the answers; it is added to what was there. Put between the blocks of a ResNet that
reads a clip frame by frame (C2D) or through inflated kernels (I3D), five of them say more than as many
layers of convolutions.

Paper: Wang, Girshick, Gupta and He, "Non-local Neural Networks" (CVPR 2018, arXiv:1711.07971). With x_i a
position, j all positions, and W_z, g, theta, phi linear maps (1x1x1 convolutions with bias, half width):

    z_i = x_i + BN(W_z y_i)                y_i = sum over j of f(x_i, x_j) g(x_j) / C(x)

    `pairwise`           f(x_i, x_j)                       C(x)
    gaussian             exp(x_i . x_j)                    sum over j of f: a softmax
    embedded_gaussian    exp(theta(x_i) . phi(x_j))        sum over j of f: a softmax
    dot_product          theta(x_i) . phi(x_j)             number of positions j
    concatenation        ReLU(w . [theta(x_i), phi(x_j)])  number of positions j

Batch norm's scale starts at zero, so a new block changes nothing and can be put into a trained network.
phi and g look at x after a maximum over 1x2x2 positions, which costs a quarter.

Table 1 of the paper, C2D on ResNet-50 (ResNet-101 has 23 blocks in res4), for a clip of 32 x 224 x 224:

    layer     ours        kernels (C2D)                        T x H x W         I3D instead
    conv1     stem        1x7x7, 64, stride 2,2,2              16 x 112 x 112    5x7x7
    pool1     pool1       max 3x3x3, stride 2,2,2              8 x 56 x 56
    res2      stages.0    [1x1x1, 1x3x3, 1x1x1] 256, x 3       8 x 56 x 56       3x1x1 first in all
    pool2     pool2       max 3x1x1, stride 2,1,1              4 x 56 x 56
    res3      stages.1    the same, 512, x 4                   4 x 28 x 28       3x1x1 in 0, 2
    res4      stages.2    the same, 1024, x 6                  4 x 14 x 14       3x1x1 in 0, 2, 4 ...
    res5      stages.3    the same, 2048, x 3                  4 x 7 x 7         3x1x1 in 1
              head        mean, dropout 0.5, linear            1

I3D gives each second block a length in time: 3x1x1 in place of its first convolution, or ("_3x3x3") 3x3x3
in place of its second. Non-local blocks stand before the last block of res4 ("_nl1"), after every second
block of res3 and res4 ("_nl5"; ResNet-101: res3 1, 3, res4 6, 13, 20), after each of them ("_nl10"), or
wherever `nonlocal_after` says.

Names end in frames x stride. "32x2" and "128x1" are the paper's; 128 frames start from the weights of 32
(`long.load_state_dict(short.state_dict())`: they have the same parameters). "8x8" and "32x4" are the
authors' faster forms: as much time at a quarter of the frames, the stem and pool1 then without stride in
time; PySlowFast and pytorchvideo took over 8x8.

Where code differs from the paper, the paper's form is the default for 32x2 and 128x1, PySlowFast's for 8x8
and 32x4; options give the others:
- `pooling`: "padded" centres windows, as the paper's sizes demand. The released Caffe2 networks (72.0, 73.9,
  73.6, 74.9 for 32x2) have "caffe2": pool1 2x3x3 and pool2 2x1x1 without padding, 55 x 55 positions in
  res2. mmaction2's I3D (73.3) has "mmaction2": pool1 skips each second frame instead of comparing.
- `halve_time=False` leaves pool2 out: PySlowFast's C2D zoo weights (67.2) are of that kind.
- `scaled` divides theta . phi by the root of the inner width before the softmax, which the paper does not
  mention; the authors' code and PySlowFast do it, mmaction2's networks (74.7) and AlexHex7's port do not.
- `pool_first=False` takes the maximum after phi and g instead, as mmaction2 and AlexHex7 do.
- `group_frames=4`: in the authors' 128x1 and 32x4 code, positions of res3, where maps are large, look at
  groups of 4 frames only. The paper does not say so, and its count (282 G multiply-adds for 128x1 at 256 x
  256) is that of looking at all, the default here for 128x1; "32x4" exists in their code only.
- `head_window=7`: pytorchvideo averages windows of 7x7 positions; on maps larger than that (256 pixels)
  it weighs the middle more than a mean over everything does.
- `pixels="imagenet"`: mmaction2's networks take ImageNet's mean and deviation, not 0.45 and 0.225.
- Weights start from He's normal rule (fan out) and residual branches at zero, as in PySlowFast; the paper
  starts from ImageNet (see `vadis.models.inflate`).

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes; in a non-local block Q positions that ask and K positions that answer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.layers import IMAGENET_MEAN, IMAGENET_STD, check_clip, fresh_classifier, make_spec
from vadis.specs import ClipSpec

Size3 = tuple[int, int, int]
Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
Extent = Literal["spacetime", "space", "time"]
Pooling = Literal["padded", "caffe2", "mmaction2"]
Pixels = Literal["authors", "imagenet"]
Places = Mapping[str, Sequence[int]]
"""After which blocks of which stage non-local blocks stand: {"res3": [1, 3]}."""

STAGES = ("res2", "res3", "res4", "res5")
BLOCKS: dict[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
TINY_BLOCKS = (1, 2, 2, 1)
TINY_WIDTH = 8
PIXELS = {
    "authors": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
}
"""Mean and standard deviation of what goes in: the authors', PySlowFast's, pytorchvideo's; mmaction2's."""


K400 = "Kinetics-400 val"
REPOSITORY = "the authors' repository"
PYSLOWFAST = "PySlowFast zoo"
PYTORCHVIDEO = "pytorchvideo zoo"
MMACTION2 = "mmaction2 zoo, its pooling and pixels"

PAPERS: tuple[Paper, ...] = (
    Paper(
        "Non-local Neural Networks",
        "X. Wang, R. Girshick, A. Gupta and K. He",
        "CVPR 2018",
        "1711.07971",
        "Each position of a feature map asks every other, near or far in space and time, how related they "
        "are, and takes the average of what they hold, weighted by the answers. The block starts without "
        "effect, so it can be put into any trained network; five of them in a ResNet that reads frame by "
        "frame do more than inflating its kernels, and both together do most.",
        (
            Result("c2d_r50_32x2", K400, 71.8, 89.7, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl1", K400, 72.7, 90.5, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl5", K400, 73.8, 91.0, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl10", K400, 74.3, 91.2, "10x3", "ImageNet"),
            Result("c2d_r101_32x2", K400, 73.1, 91.0, "10x3", "ImageNet"),
            Result("c2d_r101_32x2_nl1", K400, 74.3, 91.3, "10x3", "ImageNet"),
            Result("c2d_r101_32x2_nl5", K400, 75.1, 91.7, "10x3", "ImageNet"),
            Result("i3d_r101_32x2_3x3x3", K400, 74.1, 91.2, "10x3", "ImageNet"),
            Result("i3d_r50_32x2", K400, 73.3, 90.7, "10x3", "ImageNet"),
            Result("i3d_r101_32x2", K400, 74.4, 91.1, "10x3", "ImageNet"),
            Result("i3d_r50_32x2_nl5", K400, 74.9, 91.6, "10x3", "ImageNet"),
            Result("i3d_r101_32x2_nl5", K400, 76.0, 92.1, "10x3", "ImageNet"),
            Result("c2d_r50_128x1", K400, 73.8, 91.2, "10x3", "ImageNet"),
            Result("c2d_r101_128x1", K400, 75.3, 91.8, "10x3", "ImageNet"),
            Result("i3d_r50_128x1", K400, 74.9, 91.7, "10x3", "ImageNet"),
            Result("i3d_r101_128x1", K400, 76.4, 92.7, "10x3", "ImageNet"),
            Result("i3d_r50_128x1_nl5", K400, 76.5, 92.6, "10x3", "ImageNet"),
            Result("i3d_r101_128x1_nl5", K400, 77.7, 93.3, "10x3", "ImageNet"),
            Result("c2d_r50_32x2", K400, 72.0, 90.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_32x2_nl5", K400, 73.9, 91.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x2", K400, 73.6, 90.8, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x2_nl5", K400, 74.9, 91.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_128x1", K400, 75.2, 92.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_128x1_nl5", K400, 76.5, 92.7, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8", K400, 71.9, 90.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8_nl5", K400, 74.4, 91.4, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_8x8", K400, 73.4, 90.9, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_8x8_nl5", K400, 74.7, 91.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x4", K400, 75.5, 92.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x4_nl5", K400, 76.5, 92.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8", K400, 67.2, 87.8, "10x3", f"halve_time=False; {PYSLOWFAST}"),
            Result("i3d_r50_8x8", K400, 73.5, 90.8, "10x3", PYSLOWFAST),
            Result("i3d_r50_8x8_nl5", K400, 74.0, 91.1, "10x3", PYSLOWFAST),
            Result("c2d_r50_8x8", K400, 71.46, 89.68, "10x3", PYTORCHVIDEO),
            Result("i3d_r50_8x8", K400, 73.27, 90.70, "10x3", PYTORCHVIDEO),
            Result("i3d_r50_32x2", K400, 73.27, 90.92, "10x3", f"ImageNet; {MMACTION2}"),
            Result("i3d_r50_32x2_nl5", K400, 74.71, 91.81, "10x3", f"ImageNet; {MMACTION2}"),
            Result("i3d_r101_128x1_nl5", "Charades val", 37.5, None, "", "mean AP; from Kinetics-400"),
        ),
        (
            PrintedSize(
                "c2d_r101_32x2",
                "43.2 M, 34.2 G",
                "43.32 M, 35.29 G",
                "Printed for ResNets that have the stride in the first 1x1x1 convolution of a stage, which "
                "gives 34.17 G; here, as in PySlowFast, it is in the 3x3 one.",
            ),
            PrintedSize(
                "i3d_r50_128x1_nl5",
                "282 G",
                "281.5 G",
                "Printed in SlowFast's table, at the 256 pixels of the test.",
                pixels=256,
            ),
            PrintedSize(
                "i3d_r101_128x1_nl5",
                "359 G",
                "378.4 G",
                "Printed in SlowFast's table, at 256 pixels. Only 3 kernels along time in res4, instead of "
                "one in every second block (12), would give it.",
                pixels=256,
            ),
        ),
    ),
)


# --- the non-local block --------------------------------------------------------------------------


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


# --- pooling --------------------------------------------------------------------------------------


def max_pool3d(x_BCTHW: Tensor, kernel: Size3, stride: Size3, padding: Size3 = (0, 0, 0)) -> Tensor:
    """`torch.nn.functional.max_pool3d`; on a CPU, without gradients, one axis after the other by slices.

    PyTorch's own goes position by position there: for 1x3x3 it takes as long as three of the stem's
    convolutions, for 2x1x1 seventeen times as long as this. With gradients it is the other way round: it
    remembers where each maximum was, while many comparisons must each be gone back through. x_BCTHW: any
    size that the kernel fits.
    """
    if x_BCTHW.device.type != "cpu" or (torch.is_grad_enabled() and x_BCTHW.requires_grad):
        return F.max_pool3d(x_BCTHW, kernel, stride, padding)
    for axis in range(3):
        x_BCTHW = _max_along(x_BCTHW, axis + 2, kernel[axis], stride[axis], padding[axis])
    return x_BCTHW


def _max_along(x: Tensor, axis: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The maximum of `kernel` slices, each shifted by one position.

    A slice that begins outside begins with the first position instead, which the same window has anyway.
    """
    size = x.shape[axis]
    outputs = positions(size, kernel, stride, padding)
    slices = []
    for tap in range(kernel):
        first = tap - padding
        before = min(max(-(first // stride), 0), outputs)  # outputs whose tap lies before the first position
        within = min(max((size - 1 - first) // stride + 1, before), outputs)
        part = x.narrow(axis, 0, 0)
        if within > before:
            start = first + before * stride
            part = x.narrow(axis, start, (within - before - 1) * stride + 1)
            part = part[(slice(None),) * axis + (slice(None, None, stride),)] if stride > 1 else part
        edges = [x.narrow(axis, 0, 1)] * before + [part] + [x.narrow(axis, size - 1, 1)] * (outputs - within)
        slices.append(part if len(edges) == 1 else torch.cat(edges, dim=axis))
    return functools.reduce(torch.maximum, slices)


def positions(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit along an axis of `size` positions."""
    return (size + 2 * padding - kernel) // stride + 1


class MaxPool3d(nn.MaxPool3d):
    """`torch.nn.MaxPool3d` by `max_pool3d` of this file."""

    kernel_size: Size3
    stride: Size3
    padding: Size3

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size that the kernel fits. Returns x_BCTHW, each size divided by the stride."""
        return max_pool3d(x_BCTHW, self.kernel_size, self.stride, self.padding)


# --- the ResNet over time, which SlowFast shares --------------------------------------------------


class Pool(NamedTuple):
    """Max pooling: kernel, stride and padding in (time, height, width)."""

    kernel: Size3
    stride: Size3
    padding: Size3 = (0, 0, 0)


FRAME_POOL = Pool((1, 3, 3), (1, 2, 2), (0, 1, 1))
"""pool1 where the stem has no stride in time."""


@dataclass(frozen=True)
class Plan:
    """What tells one ResNet over time from another.

    time_kernels: per stage, per block, the length in time (1 or 3) of its first convolution, or, with
    `spread`, of its second. stem_time, stem_stride: length and stride in time of the first layer. width: of
    the first layer. nonlocal_after: places of non-local blocks, whose options are `nonlocal_options`.
    """

    time_kernels: tuple[tuple[int, ...], ...]
    stem_time: int = 1
    stem_stride: int = 1
    pool1: Pool = FRAME_POOL
    pool2: Pool | None = None
    spread: bool = False
    width: int = 64
    nonlocal_after: tuple[tuple[str, tuple[int, ...]], ...] = ()
    nonlocal_options: tuple[tuple[str, Any], ...] = ()
    group_frames: int | None = None

    def fewest(self, axis: int) -> int:
        """The fewest frames (axis 0) or pixels (axis 1) that leave a position for each layer."""
        kernel, stride = ((self.stem_time, self.stem_stride), (7, 2))[axis]
        layers = [(kernel, stride, kernel // 2)]
        layers += [(pool.kernel[axis], pool.stride[axis], pool.padding[axis]) for pool in self._pools()]

        def fits(size: int) -> bool:
            for layer in layers:
                size = positions(size, *layer)
                if size < 1:
                    return False
            return True

        return next(size for size in itertools.count(1) if fits(size))

    def _pools(self) -> list[Pool]:
        return [pool for pool in (self.pool1, self.pool2) if pool is not None]


class ConvBn(nn.Module):
    """Convolution without bias, batch norm; padding keeps what the stride leaves."""

    def __init__(self, in_channels: int, channels: int, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, each size divided by the stride, rounded up."""
        return self.bn(self.conv(x_BCTHW))


class Bottleneck(nn.Module):
    """A residual block: `time`x1x1, 1x3x3 (with the stride in space), 1x1x1 to four times the width.

    With `spread` the length in time is the second convolution's. The shortcut is a 1x1x1 convolution
    where width or size change.
    """

    def __init__(self, in_channels: int, width: int, time: int, stride: int, spread: bool = False) -> None:
        super().__init__()
        channels = 4 * width
        first, second = (1, time) if spread else (time, 1)
        self.conv1 = nn.Conv3d(in_channels, width, (first, 1, 1), 1, (first // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(
            width, width, (second, 3, 3), (1, stride, stride), (second // 2, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels)
        self.shortcut: ConvBn | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = ConvBn(in_channels, channels, (1, 1, 1), (1, stride, stride))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW, H and W divided by the stride, rounded up."""
        y = F.relu(self.bn1(self.conv1(x_BCTHW)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        return F.relu(y, inplace=True)


class Pathway(nn.Module):
    """A ResNet over time up to its last stage: one table of the papers, one `Plan`.

    joined: channels that come from elsewhere and stand behind the pathway's own where each stage begins
    (SlowFast's lateral connections).
    """

    def __init__(self, in_channels: int, plan: Plan, joined: Sequence[int] = (0, 0, 0, 0)) -> None:
        super().__init__()
        width = plan.width
        self.stem = ConvBn(in_channels, width, (plan.stem_time, 7, 7), (plan.stem_stride, 2, 2))
        self.pool1 = MaxPool3d(*plan.pool1)
        self.pool2 = nn.Identity() if plan.pool2 is None else MaxPool3d(*plan.pool2)
        self.stages = nn.ModuleList()
        channels = width
        for stage, times in enumerate(plan.time_kernels):
            blocks = nn.ModuleList()
            for index, time in enumerate(times):
                stride = 2 if stage > 0 and index == 0 else 1
                coming = channels + (joined[stage] if index == 0 else 0)
                blocks.append(Bottleneck(coming, width << stage, time, stride, plan.spread))
                channels = 4 * (width << stage)
            self.stages.append(blocks)
        self.num_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        self.nonlocals = nn.ModuleDict()
        for name, after in plan.nonlocal_after:
            stage = _stage_index(name)
            for index in after:
                if not 0 <= index < len(plan.time_kernels[stage]):
                    blocks_here = len(plan.time_kernels[stage])
                    raise ValueError(f"nonlocal_after: {name} has blocks 0 to {blocks_here - 1}, not {index}")
                options = dict(plan.nonlocal_options)
                if stage == 1:  # groups of frames are for large maps
                    options["group_frames"] = plan.group_frames
                self.nonlocals[f"{name}_{index}"] = NonLocal(4 * (width << stage), **options)

    def enter(self, clip_BCTHW: Tensor) -> Tensor:
        """The first layer and its pooling: clip_BCTHW to x_BDTHW."""
        return self.pool1(F.relu(self.stem(clip_BCTHW), inplace=True))

    def run_stage(self, stage: int, x_BCTHW: Tensor, maps: dict[str, AttentionMap] | None = None) -> Tensor:
        """One stage (0 is res2) with its non-local blocks; pool2 belongs to the end of res2.

        x_BCTHW: what the stage before gave. maps: filled with the attention of each non-local block.
        """
        blocks: Iterable[nn.Module] = self.stages[stage]  # type: ignore[assignment]
        for index, block in enumerate(blocks):
            x_BCTHW = block(x_BCTHW)
            name = f"{STAGES[stage]}_{index}"
            if name in self.nonlocals:
                look: NonLocal = self.nonlocals[name]  # type: ignore[assignment]
                if maps is not None:
                    maps[name] = look.attention(x_BCTHW)
                x_BCTHW = look(x_BCTHW)
        return self.pool2(x_BCTHW) if stage == 0 else x_BCTHW


def _stage_index(name: str) -> int:
    """0 for "res2"."""
    if name not in STAGES:
        raise ValueError(f"nonlocal_after takes the stages {', '.join(STAGES)}, got {name!r}")
    return STAGES.index(name)


class PlaneClassifier(VideoModel):
    """The end that C2D, I3D, Slow and SlowFast share: mean over time, mean over space, dropout, linear.

    A network gives `planes`, its features after the mean over time. `head_window`: None, or the side (in
    positions) of windows that are averaged first, as in pytorchvideo; the mean of their logits is given.
    """

    def add_head(
        self, spec: ClipSpec, num_features: int, num_classes: int, dropout: float, head_window: int | None
    ) -> None:
        """Finish a network. dropout: probability. Raises ValueError for less than one class or position."""
        if head_window is not None and head_window < 1:
            raise ValueError(f"head_window takes a number of positions from 1 on, or None, got {head_window}")
        self.spec = spec
        self.num_features = num_features
        self.num_classes = num_classes
        self.head_window = head_window
        self.dropout = nn.Dropout(dropout)
        self.head = fresh_classifier(nn.Linear(num_features, 1), num_classes)

    def planes(self, clip_BCTHW: Tensor) -> Tensor:
        """Features of clip_BCTHW after the mean over time: feature_BDHW. Each network has its own."""
        raise NotImplementedError

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`. Returns logits_BK.
        """
        planes = self.planes(clip_BCTHW)
        if self.head_window is not None:
            planes = _windows(planes, self.head_window)
        return self.head(self.dropout(planes.mean(dim=(2, 3))))

    def scores_fully_convolutional(self, clip_BCTHW: Tensor, window: int = 7) -> Tensor:
        """The test of the authors' code: a softmax for each window of positions, then their mean.

        clip_BCTHW: as for `forward`, usually 256 x 256 pixels. window: side of a window in positions; the
        training crop of 224 pixels has 7. Returns scores_BK, which sum to 1. (`forward` takes the mean of
        features first and gives logits, which is what training and other tests want.)
        """
        planes_BDHW = _windows(self.planes(clip_BCTHW), window)
        return self.head(planes_BDHW.movedim(1, 3)).softmax(dim=3).mean(dim=(1, 2))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def _windows(planes_BDHW: Tensor, side: int) -> Tensor:
    """Averages of all windows of side x side positions, or of what is there."""
    height, width = planes_BDHW.shape[2:]
    return F.avg_pool2d(planes_BDHW, (min(side, height), min(side, width)), stride=1)


class InflatedResNet(Pathway, PlaneClassifier):
    """C2D, inflated I3D and Slow, with non-local blocks or without: a pathway with a classifier."""

    input_weights = ("stem.conv.weight",)

    def __init__(
        self,
        plan: Plan,
        spec: ClipSpec,
        num_classes: int = 400,
        *,
        dropout: float = 0.5,
        head_window: int | None = None,
    ) -> None:
        super().__init__(spec.channels, plan)
        self.min_frames, self.min_pixels = plan.fewest(0), plan.fewest(1)
        self.add_head(spec, self.num_channels, num_classes, dropout, head_window)

    def planes(self, clip_BCTHW: Tensor) -> Tensor:
        """Features of clip_BCTHW after the mean over time: feature_BDHW."""
        return self.forward_features(clip_BCTHW).mean(dim=2)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of res5.

        clip_BCTHW: float, normalised by `self.spec`; any size that leaves a position.
        Returns feature_BDTHW: D = 2048, H W = pixels / 32, T = frames / 8 (32x2), / 2 (8x8), / 1 (Slow).
        """
        return self._run(clip_BCTHW, None)

    def attention_maps(self, clip_BCTHW: Tensor) -> dict[str, AttentionMap]:
        """Whom each position looks at in each non-local block; "res4_1" is the one after block 1 of res4.

        clip_BCTHW: as for `forward`. Weights are (B, Q, K): for a clip of 32 x 224 x 224 pixels 2.5 million
        for a block of res3.
        """
        maps: dict[str, AttentionMap] = {}
        self._run(clip_BCTHW, maps)
        return maps

    def _run(self, clip: Tensor, maps: dict[str, AttentionMap] | None) -> Tensor:
        check_clip(self, clip, min_pixels=self.min_pixels, min_frames=self.min_frames)
        x = self.enter(clip)
        for stage in range(len(STAGES)):
            x = self.run_stage(stage, x, maps)
        return x


# --- the networks of the paper --------------------------------------------------------------------


def time_kernels(family: str, blocks: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Per stage and block, the length in time of the kernel that is inflated: 1 everywhere for "c2d";
    for "i3d" 3 in all of res2, in blocks 0, 2, 4 ... of res3 and res4, in blocks 1, 3 ... of res5."""
    if family == "c2d":
        return tuple((1,) * count for count in blocks)
    patterns = ((3, 3), (3, 1), (3, 1), (1, 3))
    return tuple(
        tuple(pattern[index % 2] for index in range(count))
        for pattern, count in zip(patterns, blocks, strict=True)
    )


def nonlocal_places(number: int, blocks: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Where the paper puts 0, 1, 5 or 10 non-local blocks in a network of so many residual ones."""
    res3, res4 = blocks[1], blocks[2]
    if number == 0:
        return {}
    if number == 1:  # before the last block of res4
        return {"res4": (res4 - 2,)}
    if number == 10:
        return {"res3": tuple(range(res3)), "res4": tuple(range(res4))}
    every = 7 if res4 > 6 else 2  # three of them in res4, however deep
    return {"res3": tuple(range(1, res3, 2)), "res4": tuple(range(every - 1, res4, every))}


def _pools(pooling: Pooling, halve_time: bool, dense: bool) -> tuple[Pool, Pool | None]:
    """pool1 and pool2; `dense` is the paper's form, whose stem and pool1 have a stride in time."""
    choices = get_args(Pooling) if dense else ("padded", "caffe2")
    if pooling not in choices:
        raise ValueError(f"pooling must be one of {', '.join(choices)} here, got {pooling!r}")
    pairs = Pool((2, 1, 1), (2, 1, 1))
    if pooling == "mmaction2":
        first, second = Pool((1, 3, 3), (2, 2, 2), (0, 1, 1)), pairs
    elif pooling == "caffe2":
        first, second = Pool((2, 3, 3), (2, 2, 2)) if dense else Pool((1, 3, 3), (1, 2, 2)), pairs
    elif dense:
        first, second = Pool((3, 3, 3), (2, 2, 2), (1, 1, 1)), Pool((3, 1, 1), (2, 1, 1), (1, 0, 0))
    else:
        first, second = FRAME_POOL, pairs
    return first, second if halve_time else None


def plan_nonlocals(plan: Plan, places: Places, **options: Any) -> Plan:
    """`plan` with non-local blocks at `places`; options are those of `NonLocal`."""
    after = tuple((stage, tuple(indices)) for stage, indices in places.items())
    return replace(plan, nonlocal_after=after, nonlocal_options=tuple(options.items()))


def kinetics_spec(
    in_channels: int, num_frames: int, frame_stride: int, crop: int, pixels: Pixels = "authors"
) -> ClipSpec:
    """What these networks take: frames at 30 per second, short side 256, (x / 255 - 0.45) / 0.225.

    crop: pixels. pixels: whose mean and standard deviation. Raises ValueError for others.
    """
    if pixels not in PIXELS:
        raise ValueError(f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}")
    mean, std = PIXELS[pixels]
    return make_spec(in_channels, num_frames, frame_stride, fps=30.0, crop=crop, mean=mean, std=std)


def _build(
    family: str,
    depth: int,
    frames: tuple[int, int],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    num_nonlocal: int = 0,
    *,
    dense: bool = True,
    spread: bool = False,
    dropout: float = 0.5,
    pooling: Pooling = "padded",
    halve_time: bool = True,
    head_window: int | None = None,
    nonlocal_after: Places | None = None,
    pairwise: Pairwise = "embedded_gaussian",
    scaled: bool = True,
    extent: Extent = "spacetime",
    nonlocal_pool: Sequence[int] = (1, 2, 2),
    pool_first: bool = True,
    group_frames: int | None = None,
    pixels: Pixels = "authors",
) -> InflatedResNet:
    """One network of the paper: `frames` are number and stride; the options are those of the docstring."""
    blocks = TINY_BLOCKS if tiny else BLOCKS[depth]
    pool1, pool2 = _pools(pooling, halve_time, dense)
    plan = Plan(
        time_kernels(family, blocks),
        stem_time=5 if family == "i3d" else 1,
        stem_stride=2 if dense else 1,
        pool1=pool1,
        pool2=pool2,
        spread=spread,
        width=TINY_WIDTH if tiny else 64,
        group_frames=group_frames,
    )
    places = nonlocal_places(num_nonlocal, blocks) if nonlocal_after is None else nonlocal_after
    plan = plan_nonlocals(
        plan,
        places,
        pairwise=pairwise,
        scaled=scaled,
        extent=extent,
        pool=tuple(nonlocal_pool),
        pool_first=pool_first,
    )
    spec = kinetics_spec(in_channels, *frames, 224 if dense else 256, pixels)
    return InflatedResNet(plan, spec, num_classes, dropout=dropout, head_window=head_window)


def c2d_r50_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50, table 1: 24.3 M parameters, 20.4 G multiply-adds; 71.8 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, **options)


def c2d_r101_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101: 43.3 M parameters, 35.3 G multiply-adds; 73.1 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r50_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-50 inflated to 3x1x1: 28.0 M parameters, 33.1 G multiply-adds; 73.3 in the paper."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r101_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-101 inflated to 3x1x1: 51.8 M parameters, 51.7 G multiply-adds; 74.4 in the paper."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r50_32x2_3x3x3(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-50 inflated to 3x3x3: 33.4 M parameters."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, spread=True, **options)


def i3d_r101_32x2_3x3x3(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-101 inflated to 3x3x3: 63.0 M parameters; 74.1 in the paper (table 2e)."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, spread=True, **options)


def c2d_r50_32x2_nl1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 1 non-local block: 72.7 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 1, **options)


def c2d_r50_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 5 non-local blocks: 73.8 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_32x2_nl10(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 10 non-local blocks: 74.3 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 10, **options)


def c2d_r101_32x2_nl1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 with 1 non-local block: 74.3 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, 1, **options)


def c2d_r101_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 with 5 non-local blocks: 75.1 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, 5, **options)


def i3d_r50_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-50 with 5 non-local blocks, the paper's NL I3D: 74.9."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, 5, **options)


def i3d_r101_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-101 with 5 non-local blocks, the paper's NL I3D: 76.0."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 for clips of 128 frames, trained on from 32x2: 73.8 in the paper."""
    return _build("c2d", 50, (128, 1), num_classes, in_channels, tiny, **options)


def c2d_r101_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 for clips of 128 frames, trained on from 32x2: 75.3 in the paper."""
    return _build("c2d", 101, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r50_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-50 for clips of 128 frames, trained on from 32x2: 74.9 in the paper."""
    return _build("i3d", 50, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r101_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-101 for clips of 128 frames, trained on from 32x2: 76.4 in the paper."""
    return _build("i3d", 101, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r50_128x1_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """NL I3D on ResNet-50 for clips of 128 frames: 76.5 in the paper."""
    return _build("i3d", 50, (128, 1), num_classes, in_channels, tiny, 5, **options)


def i3d_r101_128x1_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """NL I3D on ResNet-101 for clips of 128 frames: 77.7 in the paper."""
    return _build("i3d", 101, (128, 1), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D of PySlowFast and pytorchvideo: 24.3 M parameters, 25.5 G multiply-adds at 256 x 256."""
    return _build("c2d", 50, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D of PySlowFast and pytorchvideo: 28.0 M parameters, 37.1 G multiply-adds at 256 x 256."""
    return _build("i3d", 50, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r101_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same on ResNet-101 (PySlowFast's I3D_8x8_R101)."""
    return _build("i3d", 101, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def c2d_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D with 5 non-local blocks (PySlowFast's C2D_NLN_8x8_R50; 74.4 in the authors' repository)."""
    return _build("c2d", 50, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D with 5 non-local blocks (PySlowFast's I3D_NLN_8x8_R50; 74.7 in the authors' repository)."""
    return _build("i3d", 50, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r101_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same on ResNet-101; PySlowFast's I3D_NLN_8x8_R101 has them after 1, 3, 5 of res4 instead."""
    return _build("i3d", 101, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r50_32x4(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D for long clips at a quarter of the frames, trained on from 8x8: 75.5 in the authors' repository."""
    return _build("i3d", 50, (32, 4), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r50_32x4_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same with 5 non-local blocks, groups of 4 frames in res3: 76.5 in the authors' repository."""
    return _build(
        "i3d", 50, (32, 4), num_classes, in_channels, tiny, 5, dense=False, **{"group_frames": 4, **options}
    )
