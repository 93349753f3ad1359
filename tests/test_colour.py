"""Colours: off changes nothing, on changes as much as it says, grey is grey; seeds are test_transform's."""

import math

import pytest
import torch

from vadis.video.colour import colour_jitter, greyscale


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_colour_jitter_off_changes_nothing() -> None:
    frames = torch.randint(0, 256, (3, 3, 48, 64), generator=seeded(9), dtype=torch.uint8)
    assert torch.equal(colour_jitter(frames, generator=seeded()), frames)
    brighter = colour_jitter(frames, generator=seeded(1), brightness=0.5)
    ratio = float(brighter.float().mean() / frames.float().mean())
    assert 0.5 <= ratio <= 1.5
    assert not math.isclose(ratio, 1.0, abs_tol=1e-3)
    with pytest.raises(ValueError, match=r"hue \(0.7\)"):
        colour_jitter(frames, generator=seeded(), hue=0.7)


def test_greyscale() -> None:
    frames = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert greyscale(frames).flatten().tolist() == [76, 76, 76]
