"""How two maps become one: each method by hand, filters that start as the sum, products of channels."""

from __future__ import annotations

import math

import pytest
import torch
from built import noise
from torch import nn

from vadis.models.join import Join, check_places, gaussian_window, outer_product


def test_sum_max_and_concat() -> None:
    x, y = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=2)
    assert torch.equal(Join("sum", 3)(x, y), x + y)
    assert torch.equal(Join("max", 3)(x, y), torch.where(x > y, x, y))
    joined = Join("concat", 3)(x, y)
    assert torch.equal(joined[:, :3], x)
    assert torch.equal(joined[:, 3:], y)
    assert not list(Join("concat", 3).parameters())


def test_filters_start_as_the_sum() -> None:
    """What ReLU gave is not negative, so the ReLU after the filters lets the sum through."""
    x, y = noise(2, 6, 4, 5).relu(), noise(2, 6, 4, 5, seed=2).relu()
    with torch.no_grad():
        assert torch.allclose(Join("conv", 6)(x, y), Join("sum", 6)(x, y), atol=1e-6)
        weighed = Join("conv", 6, start=(0.25, 0.75))(x, y)
        assert torch.allclose(weighed, 0.25 * x + 0.75 * y, atol=1e-6)
    assert sum(parameter.numel() for parameter in Join("conv", 512).parameters()) == 2 * 512 * 512 + 512


def test_filters_along_time_start_as_a_blurred_sum() -> None:
    join = Join("conv", 4, 3, (0.25, 0.75))
    assert isinstance(join.conv, nn.Conv3d)
    x, y = noise(1, 4, 5, 6, 7).relu(), noise(1, 4, 5, 6, 7, seed=2).relu()
    with torch.no_grad():
        found = join(x, y)
        assert found.shape == x.shape
        place = torch.zeros(1, 4, 5, 6, 7)
        place[0, 2, 2, 3, 3] = 1.0
        spread = join(place, torch.zeros_like(place))
    assert not spread[:, [0, 1, 3]].any(), "each channel goes to its own"
    assert spread.sum().item() == pytest.approx(0.25)
    assert (spread[0, 2, 2, 3, 3] / spread[0, 2, 1, 2, 2]).item() == pytest.approx(math.exp(1.5), rel=1e-5)
    at_rest = torch.ones(1, 4, 5, 6, 7)
    with torch.no_grad():
        inside = join(at_rest, 2 * at_rest)[:, :, 1:-1, 1:-1, 1:-1]
    assert torch.allclose(inside, torch.full_like(inside, 0.25 + 1.5))


def test_the_final_filter_has_14_16_million_numbers() -> None:
    with torch.device("meta"):
        join = Join("conv", 512, 3)
    assert sum(parameter.numel() for parameter in join.parameters()) == 14_156_288


def test_the_window_adds_up_to_one() -> None:
    assert gaussian_window(1, 2).flatten().tolist() == [1.0]
    window = gaussian_window(3, 3)
    assert window.shape == (3, 3, 3)
    assert window.sum().item() == pytest.approx(1.0)
    assert torch.allclose(window, window.permute(2, 0, 1))


def test_products_of_channels_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [0.0, 1.0]]).view(1, 2, 1, 1, 2)
    y = torch.tensor([[3.0, -1.0], [1.0, 0.0]]).view(1, 2, 1, 1, 2)
    # sums over the two places: x0 y0 = 3 - 2, x0 y1 = 1, x1 y0 = -1, x1 y1 = 0
    found = outer_product(x, y)
    assert torch.allclose(found, torch.tensor([[1.0, 1.0, -1.0, 0.0]]) / math.sqrt(3.0), atol=1e-5)


def test_products_do_not_know_places() -> None:
    x, y = noise(2, 3, 2, 4, 5), noise(2, 3, 2, 4, 5, seed=2)
    moved = outer_product(x.flip(3), y.flip(3))
    assert torch.allclose(moved, outer_product(x, y), atol=1e-6)
    assert not torch.allclose(outer_product(x.flip(3), y), outer_product(x, y), atol=1e-2)
    assert torch.allclose(outer_product(x, y).norm(dim=1), torch.ones(2))


def test_products_of_nothing_have_a_gradient() -> None:
    x = torch.zeros(1, 3, 1, 2, 2, requires_grad=True)
    outer_product(x, torch.ones(1, 3, 1, 2, 2)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_where_towers_may_be_joined() -> None:
    layers = ("conv1", "conv2", "fc6", "fc7", "fc8")
    assert check_places(layers, "relu1,relu2,fc8", "sum") == ("conv1", "conv2", "fc8")
    assert check_places(layers, ("relu2", "fc6"), "conv", along_time=True) == ("conv2", "fc6")
    for at, method, along_time, said in (
        ("relu3", "sum", False, "at must name some of relu1, relu2, fc6, fc7, fc8 in this order, got relu3"),
        ("relu2,relu1", "sum", False, "in this order, got relu2, relu1"),
        ((), "sum", False, "got nothing"),
        ("relu1,relu2", "bilinear", False, "bilinear fusion joins after one convolution"),
        ("relu1", "conv", True, "after relu2, got method='conv' and at=relu1"),
        ("relu2", "max", True, "got method='max'"),
    ):
        with pytest.raises(ValueError, match=said):
            check_places(layers, at, method, along_time)
