"""Changes of colour that training makes: the same for all frames of a clip, drawn from one generator.

Legend: frames_TCHW uint8 RGB, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F


def colour_jitter(
    frames_TCHW: Tensor,
    *,
    generator: torch.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Change the colours of a whole clip alike, in random order; uint8 RGB in and out.

    Factors are drawn from [1 - x, 1 + x] (not below 0); `hue` from [-hue, hue] in turns, at most 0.5.
    """
    if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
        raise ValueError(f"strengths must not be negative and hue ({hue}) at most 0.5")
    frames = frames_TCHW
    steps = [
        (F.adjust_brightness, brightness, 1.0),
        (F.adjust_contrast, contrast, 1.0),
        (F.adjust_saturation, saturation, 1.0),
        (F.adjust_hue, hue, 0.0),
    ]
    for place in torch.randperm(len(steps), generator=generator).tolist():
        adjust, strength, neutral = steps[place]
        if strength > 0:
            low = -strength if adjust is F.adjust_hue else max(0.0, neutral - strength)
            frames = adjust(frames, low + (neutral + strength - low) * _share(generator))
    return frames


def greyscale(frames_TCHW: Tensor) -> Tensor:
    """Grey by ITU-R 601 weights, repeated over the 3 channels; same dtype and shape."""
    return F.rgb_to_grayscale(frames_TCHW, num_output_channels=3)


def _share(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))
