"""AlexNet's convolutions: as a trunk, and the normalisation among channels that belongs to them."""

from __future__ import annotations

import pytest
import torch

from vadis.models.alexnet import AlexNetTrunk, Convolutions
from vadis.models.layers import LocalResponseNorm
from vadis.models.trunks import make_trunk


def test_220_pixels_become_6() -> None:
    with torch.device("meta"):
        trunk = make_trunk("alexnet")
        assert trunk(torch.empty(2, 3, 220, 220)).shape == (2, 256, 6, 6)
        assert isinstance(trunk, AlexNetTrunk)
        assert trunk(torch.empty(2, 3, trunk.min_pixels, trunk.min_pixels)).shape == (2, 256, 1, 1)
        with pytest.raises(RuntimeError):
            trunk(torch.empty(2, 3, trunk.min_pixels - 1, trunk.min_pixels))
    assert trunk.state_dict()[trunk.first].shape[1] == 3


@pytest.mark.parametrize("size", [(10, 170, 170), (11, 89, 64), (23, 41, 50)])
def test_positions_are_counted_as_they_come_out(size: tuple[int, int, int]) -> None:
    for last_pool in (True, False):
        with torch.device("meta"):
            layers = Convolutions(3, 1, ((4, 2), (2, 2), (2, 2)), last_pool=last_pool)
            found = layers(torch.empty(1, 3, *size))
        assert tuple(found.shape[2:]) == layers.positions(size)


def test_normalised_as_torch_does() -> None:
    x = 50 * torch.randn(2, 7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for beta in (0.5, 0.75):
        wanted = torch.nn.LocalResponseNorm(5, 1e-4, beta, 2.0)(x)
        assert torch.allclose(LocalResponseNorm(5, 1e-4, beta, 2.0)(x), wanted)
    assert LocalResponseNorm()(x.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(4)
