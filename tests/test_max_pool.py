"""Pooling by slices is PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vadis.models.max_pool import max_pool3d


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ((2, 3, 3), (2, 2, 2), (0, 0, 0)),
        ((1, 3, 3), (2, 2, 2), (0, 1, 1)),
        ((2, 1, 1), (2, 1, 1), (0, 0, 0)),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
        ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("size", [(8, 8, 8), (7, 9, 5), (3, 4, 11)])
def test_pooling_is_pytorch_s(kernel: Any, stride: Any, padding: Any, size: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wanted = F.max_pool3d(x, kernel, stride, padding)
    assert torch.equal(max_pool3d(x, kernel, stride, padding), wanted)
    assert torch.equal(max_pool3d(x.requires_grad_(), kernel, stride, padding), wanted)
