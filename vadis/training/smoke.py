"""A run cut down to seconds: does everything fit together? Two steps and two validations, all of it tiny."""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Recipe
from vadis.models import create_model
from vadis.records import Dataset

STEPS = 2
CLIPS = 2
PIXELS = 64
FRAMES = 16


def smoke_recipe(recipe: Recipe) -> Recipe:
    """The same recipe with the tiny form of its network, from random weights, on small clips, for two steps.

    Augmentation, schedule, groups and losses stay what they are, so that what does not fit is found.
    """
    name = recipe.model.name.partition(".")[0]
    spec = create_model(name, num_classes=2, tiny=True).spec
    crop = min(recipe.data.crop or spec.crop, spec.crop, PIXELS)
    frames = min(recipe.data.num_frames or spec.num_frames, FRAMES)
    augment = recipe.data.augment
    if augment.short_side is not None:
        augment = replace(augment, short_side=(crop, round(crop * 1.25)))
    optim = recipe.optim
    return replace(
        recipe,
        data=replace(
            recipe.data,
            num_frames=frames,
            size=crop,
            crop=crop,
            batch_size=CLIPS,
            repeats=1,
            workers=0,
            cache_gb=0.0,
            augment=augment,
        ),
        model=replace(recipe.model, name=name, tiny=True, init=None),
        optim=replace(
            optim,
            lr_for_batch=None,
            unit="steps",
            length=float(STEPS),
            warmup=1.0 if optim.warmup else 0.0,
            milestones=(1.0,) if optim.milestones else (),
        ),
        run=replace(
            recipe.run,
            part_size=None,
            precision="float32",
            protocol="1x1",
            validate_every=1 / STEPS,
            threads=1,
        ),
    )


def smoke_dataset(dataset: Dataset, num_examples: int = STEPS * CLIPS) -> Dataset:
    """A few examples, of as many classes as can be."""
    first: dict[tuple[int, ...], int] = {}
    for index, example in enumerate(dataset.examples):
        first.setdefault(example.labels, index)
    chosen = list(first.values())[:num_examples]
    rest = [index for index in range(len(dataset.examples)) if index not in chosen]
    places = (chosen + rest)[:num_examples]
    return replace(dataset, examples=tuple(dataset.examples[index] for index in places))
