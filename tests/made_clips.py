"""Small videos that a network can learn from: a bright bar that moves one way or the other, on grey noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.records import Dataset, Example
from vadis.video.write import VideoWriter

CLASSES = ("down", "up")
NUM_FRAMES = 12
SIDE = 40


def write_bar(path: Path, label: int, seed: int) -> None:
    """A horizontal bar that falls (label 0) or rises (1)."""
    rng = np.random.default_rng(seed)
    offset = int(rng.integers(SIDE))
    with VideoWriter(path, 25) as writer:
        for number in range(NUM_FRAMES):
            frame_HWC = rng.integers(90, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            top = (offset + (3 * number if label == 0 else -3 * number)) % SIDE
            frame_HWC[top : top + 6] = (230, 220, 60)
            writer.write(frame_HWC)


def made_dataset(root: Path, num_examples: int = 8, split: str = "train", first: int = 0) -> Dataset:
    """So many videos, labels in turn."""
    root.mkdir(parents=True, exist_ok=True)
    examples = []
    for number in range(first, first + num_examples):
        video = f"{split}_{number}.mp4"
        write_bar(root / video, number % 2, number)
        examples.append(Example(video, f"{split}-{number}", (number % 2,)))
    return Dataset("bars", str(root), split, CLASSES, tuple(examples))


def tiny_recipe(**changes: dict[str, object]) -> Recipe:
    """A tiny R3D on clips of 4 frames of 32 pixels, a few steps; a keyword changes fields of that part."""
    recipe = Recipe(
        name="tiny",
        data=DataConfig(num_frames=4, frame_stride=2, size=36, crop=32, batch_size=4, workers=0),
        model=ModelConfig(name="r3d_18", tiny=True),
        optim=OptimConfig(lr=0.05, length=2, schedule="cosine"),
        run=RunConfig(device="cpu", threads=1),
    )
    recipe = replace(recipe, data=replace(recipe.data, augment=Augment(flip=0.5)))
    for part, fields in changes.items():
        recipe = replace(recipe, **{part: replace(getattr(recipe, part), **fields)})
    return recipe
