"""Who asks whom: the paper's figure 3 in words of its own, and attention in groups is masked attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vadis.models.space_time_attention import (
    RULES,
    STEPS,
    AddedAttention,
    Grid,
    OwnAttention,
    attention_pattern,
    divides_evenly,
    merge_groups,
    patch_labels,
    split_groups,
)

SCHEMES = tuple(STEPS)
Patch = tuple[int, int, int]


def half(position: int, size: int) -> int:
    return 0 if position < size - size // 2 else 1


SEES: dict[str, Callable[[Patch, Patch, Grid], bool]] = {
    "space": lambda a, b, grid: a[0] == b[0],
    "space_time": lambda a, b, grid: True,
    "time": lambda a, b, grid: a[1:] == b[1:],
    "width": lambda a, b, grid: a[:2] == b[:2],
    "height": lambda a, b, grid: a[0] == b[0] and a[2] == b[2],
    "local": lambda a, b, grid: all(half(a[k], grid[k]) == half(b[k], grid[k]) for k in (1, 2)),
    "global": lambda a, b, grid: all((a[k] - b[k]) % 2 == 0 for k in (0, 1, 2)),
}
"""The paper's figure 3 in words of its own: whether patch a asks patch b. Centred windows: see below."""


def patches_of(grid: Grid) -> list[Patch]:
    return [(t, h, w) for t in range(grid[0]) for h in range(grid[1]) for w in range(grid[2])]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("scheme", "counts"),
    [
        ("space", {"space": 196}),
        ("joint", {"space_time": 1568}),
        ("divided", {"time": 8, "space": 196}),
        ("local_global", {"local": 8 * 7 * 7, "global": 4 * 7 * 7}),
        ("axial", {"time": 8, "width": 14, "height": 14}),
    ],
)
def test_how_many_patches_one_patch_sees(scheme: str, counts: dict[str, int]) -> None:
    pattern = attention_pattern(scheme, (3, 5, 9), (8, 14, 14))  # type: ignore[arg-type]
    assert {step: int(mask.sum()) for step, mask in pattern.items()} == counts
    assert list(pattern) == list(counts), "in the order in which they run"
    assert all(
        mask.shape == (8, 14, 14) and mask.dtype == torch.bool and mask[3, 5, 9] for mask in pattern.values()
    )


@pytest.mark.parametrize("grid", [(2, 4, 4), (3, 4, 5), (1, 1, 3)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_which_patches_one_patch_sees(scheme: str, grid: Grid) -> None:
    for query in patches_of(grid):
        for step, mask in attention_pattern(scheme, query, grid).items():  # type: ignore[arg-type]
            seen = [patch for patch in patches_of(grid) if mask[patch]]
            assert seen == [patch for patch in patches_of(grid) if SEES[step](query, patch, grid)]


def test_local_attention_around_the_patch() -> None:
    rows = [
        attention_pattern("local_global", (0, row, 3), (2, 7, 6), local="centred")["local_centred"]
        for row in range(7)
    ]
    for mask in rows:
        assert int(mask.sum()) == 2 * 4 * 3, "always T x H/2 x W/2, at the border as well"
        assert mask[1, :, 3].equal(mask[0, :, 3])
    assert [mask[0, :, 3].nonzero().flatten().tolist() for mask in rows[:4]] == [
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [1, 2, 3, 4],
    ]
    assert rows[6][0, :, 3].nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert rows[3][0, 3].nonzero().flatten().tolist() == [2, 3, 4]


@pytest.mark.parametrize("step", [step for step in RULES if step != "local_centred"])
@pytest.mark.parametrize("grid", [(4, 6, 2), (2, 2, 2), (8, 1, 6)])
def test_groups_hold_those_who_ask_each_other(step: str, grid: Grid) -> None:
    if not divides_evenly(step, grid):
        pytest.skip("runs as masked attention")
    labels = patch_labels(step, grid)
    groups = split_groups(labels[None, ..., None], step)
    assert groups.squeeze().flatten().sort().values.equal(labels.flatten().sort().values)
    assert (groups[0, :, :, 0] == torch.arange(groups.shape[1])[:, None]).all(), "one label a group, in order"
    patches = noise(2, *grid, 3)
    assert merge_groups(split_groups(patches, step), step, grid).equal(patches)


def masked_attention(step: AddedAttention | OwnAttention, tokens_SD: Tensor, visible_SS: Tensor) -> Tensor:
    """Full attention of one sequence in plain arithmetic, with a mask."""
    x = F.layer_norm(tokens_SD, tokens_SD.shape[1:], step.norm.weight, step.norm.bias, 1e-6)
    features, found = tokens_SD.shape[1], []
    width = features // step.num_heads
    projected = x @ step.qkv.weight.T + step.qkv.bias
    for head in range(step.num_heads):
        queries, keys, values = (
            projected[:, part * features + head * width : part * features + (head + 1) * width]
            for part in range(3)
        )
        scores = queries @ keys.T / math.sqrt(width)
        found.append(scores.masked_fill(~visible_SS, -torch.inf).softmax(1) @ values)
    return torch.cat(found, 1) @ step.proj.weight.T + step.proj.bias


def mask_of(step: str, grid: Grid) -> Tensor:
    places = patches_of(grid)
    return torch.tensor([[SEES[step](a, b, grid) for b in places] for a in places])


@pytest.mark.parametrize("grid", [(4, 4, 6), (3, 4, 5), (1, 5, 2), (2, 1, 1)])
@pytest.mark.parametrize("name", ["time", "width", "local"])
def test_added_attention_is_masked_full_attention(name: str, grid: Grid) -> None:
    torch.manual_seed(0)
    step, patches = AddedAttention(name, 24, 3, 0.0), noise(2, *grid, 24)
    found = step(patches)
    for clip, answer in zip(patches, found, strict=True):
        wanted = step.fc(masked_attention(step, clip.flatten(0, 2), mask_of(name, grid)))
        assert torch.allclose(answer.flatten(0, 2), wanted, atol=1e-5)


@pytest.mark.parametrize("grid", [(4, 4, 6), (3, 4, 5), (1, 5, 2), (2, 1, 1)])
@pytest.mark.parametrize("name", ["space", "space_time", "height", "global"])
def test_own_attention_is_masked_full_attention(name: str, grid: Grid) -> None:
    """Each group has a copy of the class token, which sees it and is seen by it; copies are averaged."""
    torch.manual_seed(0)
    step, cls, patches = OwnAttention(name, 24, 3, 0.0), noise(2, 1, 24), noise(2, *grid, 24)
    cls_more, more = step(cls, patches)
    among = mask_of(name, grid)
    groups = list(dict.fromkeys(tuple(row.tolist()) for row in among))
    copies = torch.tensor(groups)
    visible = torch.cat(
        (torch.cat((torch.eye(len(groups), dtype=torch.bool), copies), 1), torch.cat((copies.T, among), 1))
    )
    for index in range(2):
        tokens = torch.cat((cls[index].expand(len(groups), -1), patches[index].flatten(0, 2)))
        wanted = masked_attention(step, tokens, visible)
        assert torch.allclose(more[index].flatten(0, 2), wanted[len(groups) :], atol=1e-5)
        assert torch.allclose(cls_more[index, 0], wanted[: len(groups)].mean(0), atol=1e-5)


def test_attention_in_centred_windows_is_masked_full_attention() -> None:
    step, patches = AddedAttention("local_centred", 24, 3, 0.0), noise(1, 2, 4, 4, 24)
    pattern = torch.stack(
        [
            attention_pattern("local_global", patch, (2, 4, 4), local="centred")["local_centred"].flatten()
            for patch in patches_of((2, 4, 4))
        ]
    )
    wanted = step.fc(masked_attention(step, patches[0].flatten(0, 2), pattern))
    assert torch.allclose(step(patches)[0].flatten(0, 2), wanted, atol=1e-5)
