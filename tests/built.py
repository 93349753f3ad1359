"""Networks and clips as tests of models want them: without memory, small, by a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vadis.models import create_model


def on_meta(name: str, **options: Any) -> Any:
    """A network of full size that takes no memory: shapes only."""
    with torch.device("meta"):
        return create_model(name, **options).eval()


def tiny(name: str, **options: Any) -> Any:
    """The small form with 5 classes, always the same weights."""
    torch.manual_seed(0)
    return create_model(name, num_classes=5, tiny=True, **options).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Normally distributed numbers, the same for a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_r3d() -> Any:
    """A tiny R3D for clips of 4 frames of 32 pixels, 25 a second."""
    model = tiny("r3d_18")
    model.spec = replace(model.spec, num_frames=4, frame_stride=1, fps=25.0, size=32, crop=32)
    return model
