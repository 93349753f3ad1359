"""Attention in space and time: who asks whom, and the steps of a block in which it happens.

A step of a block lets each patch ask a part of the others: its frame, its place in all frames, its row, a
quarter of the picture. `RULES` says it axis by axis; patches that ask each other are brought together into
groups, so that a step is attention within short sequences and no mask is needed.

Paper: Bertasius, Wang and Torresani, "Is Space-Time Attention All You Need for Video Understanding?"
(ICML 2021, arXiv:2102.05095), section 3.2, figures 2 and 3. The network is `vadis.models.timesformer`.

Shapes: B batch, T frames, H W rows and columns of patches, S tokens with the class token first, G groups of L
tokens, N heads, D features.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.layers import DropPath

Scheme = Literal["space", "joint", "divided", "local_global", "axial"]
Local = Literal["windows", "centred"]
Axis = Literal["all", "own", "half", "every_second", "around"]
Grid = tuple[int, int, int]

NORM_EPSILON = 1e-6

STEPS: dict[Scheme, tuple[str, ...]] = {
    "space": ("space",),
    "joint": ("space_time",),
    "divided": ("time", "space"),
    "local_global": ("local", "global"),
    "axial": ("time", "width", "height"),
}
"""The attention steps of a block, in order. The last is the image transformer's own."""

RULES: dict[str, tuple[Axis, Axis, Axis]] = {
    "space": ("own", "all", "all"),
    "space_time": ("all", "all", "all"),
    "time": ("all", "own", "own"),
    "width": ("own", "own", "all"),
    "height": ("own", "all", "own"),
    "local": ("all", "half", "half"),
    "local_centred": ("all", "around", "around"),
    "global": ("every_second", "every_second", "every_second"),
}
"""Whom a patch asks along (time, height, width): a patch is asked if it fits on all three axes."""


def num_groups(axis: Axis, size: int) -> int:
    """Into how many parts a rule divides an axis of `size` patches; a patch asks within its own part."""
    return {"all": 1, "own": size, "half": min(2, size), "every_second": min(2, size)}[axis]


def group_labels(axis: Axis, size: int, device: torch.device | None = None) -> Tensor:
    """The part of each position of an axis, labels_L with L = `size`; not for "around", which has none."""
    positions = torch.arange(size, device=device)
    if axis == "half":
        return positions // math.ceil(size / 2)
    return {"all": positions * 0, "own": positions, "every_second": positions % 2}[axis]


def axis_mask(axis: Axis, size: int, device: torch.device | None = None) -> Tensor:
    """Who sees whom along one axis, mask_LL (bool): row = who asks, L = `size`."""
    if axis == "around":
        length = math.ceil(size / 2)
        positions = torch.arange(size, device=device)
        first = (positions - length // 2).clamp(0, size - length)[:, None]
        return (positions >= first) & (positions < first + length)
    labels = group_labels(axis, size, device)
    return labels[:, None] == labels


def step_mask(step: str, grid: Grid, device: torch.device | None = None) -> Tensor:
    """Who sees whom in one step, mask_THWTHW (bool): the first three axes ask, the last are asked."""
    along_t, along_h, along_w = (
        axis_mask(axis, size, device) for axis, size in zip(RULES[step], grid, strict=True)
    )
    return (
        along_t[:, None, None, :, None, None]
        & along_h[None, :, None, None, :, None]
        & along_w[None, None, :, None, None, :]
    )


def attention_pattern(
    scheme: Scheme, query_index: Grid, grid: Grid, local: Local = "windows"
) -> dict[str, Tensor]:
    """Which patches one patch sees in each step of a block: the pictures of the paper's figure 3.

    query_index: (frame, row, column) of the patch that asks; grid: numbers of frames, rows and columns.
    Returns mask_THW (bool) by the step's name, in order. Raises ValueError for a position outside.
    """
    check_index(query_index, grid)
    return {step: step_mask(step, grid)[query_index] for step in steps_of(scheme, local)}


def steps_of(scheme: Scheme, local: Local = "windows") -> tuple[str, ...]:
    """The steps of a block: names of `RULES`. Raises ValueError for an unknown scheme or local attention."""
    if scheme not in STEPS:
        raise ValueError(f"scheme must be one of {', '.join(STEPS)}, got {scheme!r}")
    if local not in ("windows", "centred"):
        raise ValueError(f'local must be "windows" or "centred", got {local!r}')
    names = {"local": "local_centred"} if local == "centred" else {}
    return tuple(names.get(step, step) for step in STEPS[scheme])


def check_index(query_index: Grid, grid: Grid) -> None:
    """Raise ValueError for a patch outside the grid."""
    if not all(0 <= index < size for index, size in zip(query_index, grid, strict=True)):
        raise ValueError(f"there is no patch {query_index} among {grid[0]} x {grid[1]} x {grid[2]}")


def patch_labels(step: str, grid: Grid, device: torch.device | None = None) -> Tensor:
    """The number of the group that each patch belongs to in one step, labels_THW."""
    labels = torch.zeros((1, 1, 1), dtype=torch.long, device=device)
    for place, (axis, size) in enumerate(zip(RULES[step], grid, strict=True)):
        along = group_labels(axis, size, device).view([-1 if place == each else 1 for each in range(3)])
        labels = labels * num_groups(axis, size) + along
    return labels


def divides_evenly(step: str, grid: Grid) -> bool:
    """Whether all groups of a step are of one size, so that they can stand side by side in a batch."""
    rule = RULES[step]
    return "around" not in rule and not any(
        size % num_groups(axis, size) for axis, size in zip(rule, grid, strict=True)
    )


def split_groups(patches_BTHWD: Tensor, step: str) -> Tensor:
    """Bring the patches that ask each other together. Returns groups_BGLD.

    Each axis is cut in two, one that numbers the groups and one that runs within a group: of "every_second"
    the inner is the group, of the others the outer.
    """
    batch, *grid, features = patches_BTHWD.shape
    groups, members, sizes = _cut(step, (grid[0], grid[1], grid[2]))
    cut = patches_BTHWD.reshape(batch, *sizes, features).permute(0, *groups, *members, 7)
    return cut.flatten(4, 6).flatten(1, 3)


def merge_groups(groups_BGLD: Tensor, step: str, grid: Grid) -> Tensor:
    """Put the patches back to their places: the inverse of `split_groups`. Returns patches_BTHWD."""
    batch, _, _, features = groups_BGLD.shape
    groups, members, sizes = _cut(step, grid)
    order = (*groups, *members)
    cut = groups_BGLD.reshape(batch, *(sizes[axis - 1] for axis in order), features)
    back = [order.index(axis) + 1 for axis in range(1, 7)]
    return cut.permute(0, *back, 7).reshape(batch, *grid, features)


def _cut(step: str, grid: Grid) -> tuple[list[int], list[int], list[int]]:
    """Of (batch, t, t', h, h', w, w', features): the axes of groups, the axes of members, the six sizes."""
    groups, members, sizes = [], [], []
    for place, (axis, size) in enumerate(zip(RULES[step], grid, strict=True)):
        count = num_groups(axis, size)
        inner = axis == "every_second"
        groups.append(1 + 2 * place + inner)
        members.append(2 + 2 * place - inner)
        sizes += [size // count, count] if inner else [count, size // count]
    return groups, members, sizes


# --- the steps ------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Layer norm, attention of several heads within each sequence, projection: what all steps share."""

    def __init__(self, step: str, features: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.step = step
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(features, eps=NORM_EPSILON)
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)
        self.drop_path = DropPath(drop_path)

    def attend(self, x_BGLD: Tensor, mask_LL: Tensor | None = None) -> Tensor:
        """Every token asks those of its own sequence that the mask admits. Returns x_BGLD.

        Where stochastic depth leaves out, it leaves out single sequences, as the authors' code does.
        """
        batch, count, length, features = x_BGLD.shape
        x = x_BGLD.reshape(batch * count, length, features)
        queries, keys, values = self._queries_keys_values(x)
        y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask_LL)
        y = self.drop_path(self.proj(y.transpose(1, 2).flatten(2)))
        return y.view(batch, count, length, features)

    def weights(self, x_BSD: Tensor, query: int, mask_GS: Tensor) -> Tensor:
        """How much token number `query` takes from which, once for each row of the mask: weights_BNGS."""
        queries, keys, _ = self._queries_keys_values(x_BSD)
        scores_BN1S = (queries[:, :, query : query + 1] @ keys.mT) * queries.shape[-1] ** -0.5
        return scores_BN1S.masked_fill(~mask_GS, -math.inf).softmax(-1)

    def _queries_keys_values(self, x_BLD: Tensor) -> tuple[Tensor, ...]:
        """Three of (batch, heads, length, features of a head)."""
        return (
            self.qkv(self.norm(x_BLD)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )


class AddedAttention(Attention):
    """A step that the image transformer does not have: among patches, and nothing until it is trained."""

    def __init__(self, step: str, features: int, num_heads: int, drop_path: float) -> None:
        super().__init__(step, features, num_heads, drop_path)
        self.fc = nn.Linear(features, features)

    def forward(self, patches_BTHWD: Tensor) -> Tensor:
        """patches_BTHWD: the patches of a clip. Returns patches_BTHWD, what is to be added to them."""
        grid = grid_of(patches_BTHWD)
        if divides_evenly(self.step, grid):
            groups = split_groups(patches_BTHWD, self.step)
            return merge_groups(self.fc(self.attend(groups)), self.step, grid)
        mask = step_mask(self.step, grid, patches_BTHWD.device).flatten(3).flatten(0, 2)
        return self.fc(self.attend(patches_BTHWD.flatten(1, 3)[:, None], mask)).view_as(patches_BTHWD)


class OwnAttention(Attention):
    """The image transformer's own attention: each group of patches with its copy of the class token.

    What the copies answer is averaged over the groups.
    """

    def forward(self, cls_B1D: Tensor, patches_BTHWD: Tensor) -> tuple[Tensor, Tensor]:
        """cls_B1D: the class token; patches_BTHWD: the patches of a clip (T, H, W).

        Returns cls_B1D and patches_BTHWD, what is to be added to each.
        """
        grid = grid_of(patches_BTHWD)
        parts = [num_groups(axis, size) for axis, size in zip(RULES[self.step], grid, strict=True)]
        copies = cls_B1D[:, None].expand(-1, math.prod(parts), -1, -1)
        if divides_evenly(self.step, grid):
            y = self.attend(torch.cat((copies, split_groups(patches_BTHWD, self.step)), dim=2))
            cls, patches = y.split((1, y.shape[2] - 1), dim=2)
            return cls.mean(1), merge_groups(patches, self.step, grid)
        # groups of several sizes: one long sequence, in which a copy belongs to the group of its number
        labels = patch_labels(self.step, grid, cls_B1D.device).flatten()
        labels = torch.cat((torch.arange(copies.shape[1], device=labels.device), labels))
        tokens = torch.cat((copies.transpose(1, 2), patches_BTHWD.flatten(1, 3)[:, None]), dim=2)
        y = self.attend(tokens, labels[:, None] == labels)[:, 0]
        cls, patches = y.split((copies.shape[1], y.shape[1] - copies.shape[1]), dim=1)
        return cls.mean(1, keepdim=True), patches.reshape(patches_BTHWD.shape)


def grid_of(patches_BTHWD: Tensor) -> Grid:
    """Numbers of frames, rows and columns of patches_BTHWD."""
    return patches_BTHWD.shape[1], patches_BTHWD.shape[2], patches_BTHWD.shape[3]
