"""Small training runs: what a laptop finishes, for any network, for new classes and for the two benchmarks.

None of these is a paper's. They are what we would try first.
"""

from __future__ import annotations

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, RunConfig

FINE_TUNING_CLIPS = 4800
"""How many clips a fine-tuning run by `default_recipe` sees, within its bounds on epochs."""

SCRATCH_CLIPS = 24000
"""The same for a run that starts from random weights, which knows nothing yet."""


def default_recipe(model_name: str, num_examples: int, init: str | None = None) -> Recipe:
    """What to try first with any network: a short fine-tuning, or a short training where nothing is given.

    model_name: of `MODELS`, with weights after a dot where they are to start it ("i3d_inception.k400").
    num_examples: of the training set. init: as in `ModelConfig`, where the name has no weights. Raises
    ValueError for a training set without examples.

    With weights: AdamW, because one small rate (1e-4) suits networks whose gradients differ in size; ten
    times that for the head, which alone starts anew; batch norm keeps its statistics, because eight clips
    are too few to measure them (so a batch may be cut into parts, here of two clips, and nothing changes but
    the memory it takes); a few thousand clips in all, in 3 to 30 epochs, with half a cosine down to zero.
    From random weights: ten times the rate everywhere, batch norm that learns, whole batches of sixteen
    clips, five times the clips, in 10 to 100 epochs.
    """
    if num_examples < 1:
        raise ValueError(f"num_examples ({num_examples}) must be at least 1")
    name, _, tag = model_name.partition(".")
    start = init if init is not None else tag or None
    optim = OptimConfig(
        name="adamw",
        lr=1e-3,
        weight_decay=0.05,
        no_decay=("norm", "bias"),
        length=_epochs(SCRATCH_CLIPS, num_examples, 10, 100),
        schedule="cosine",
        warmup=1,
        clip_norm=1.0,
    )
    if start is None:
        return Recipe(
            name=f"default for {name}",
            title="A short training from random weights",
            data=DataConfig(batch_size=16),
            model=ModelConfig(name=name),
            optim=optim,
        )
    return Recipe(
        name=f"default for {name}",
        title=f"A short fine-tuning from {start}",
        data=DataConfig(batch_size=8),
        model=ModelConfig(name=name, init=start, frozen_batch_norm="all"),
        optim=OptimConfig(
            name="adamw",
            lr=1e-4,
            weight_decay=0.01,
            no_decay=("norm", "bias"),
            lr_scale={"head": 10},
            length=_epochs(FINE_TUNING_CLIPS, num_examples, 3, 30),
            schedule="cosine",
            warmup=0.5,
            clip_norm=1.0,
        ),
        run=RunConfig(part_size=2),
    )


def _epochs(num_clips: int, num_examples: int, fewest: int, most: int) -> float:
    """Whole epochs that see about so many clips, within bounds."""
    return float(min(most, max(fewest, round(num_clips / num_examples))))


def new_classes_head() -> Recipe:
    """New classes for the published I3D within minutes: a new last layer, all below it as it was trained.

    Clips of 32 frames at 160 pixels cost a seventh of the paper's, which is what makes it minutes.
    """
    return Recipe(
        name="new_classes_head",
        title="Published I3D, new last layer only",
        data=DataConfig(num_frames=32, size=182, crop=160, batch_size=8),
        model=ModelConfig(
            name="i3d_inception", init="k400", dropout=0.2, freeze=("backbone",), frozen_batch_norm="all"
        ),
        optim=OptimConfig(name="adamw", lr=1e-3, weight_decay=0.01, length=10, schedule="cosine"),
        run=RunConfig(part_size=4),
    )


def new_classes_top() -> Recipe:
    """New classes for the published I3D with its two last blocks (Mixed 5b and 5c) learning too.

    For when some hundred clips are at hand and the head alone is not enough; the blocks below keep what
    Kinetics taught them, and no gradient is computed for them.
    """
    return Recipe(
        name="new_classes_top",
        title="Published I3D, last two blocks and a new last layer",
        data=DataConfig(num_frames=32, size=182, crop=160, batch_size=8),
        model=ModelConfig(
            name="i3d_inception",
            init="k400",
            learn=("mixed5b", "mixed5c"),
            frozen_batch_norm="all",
        ),
        optim=OptimConfig(
            name="adamw",
            lr=1e-4,
            weight_decay=0.01,
            lr_scale={"head": 10},
            length=15,
            schedule="cosine",
            warmup=0.5,
            clip_norm=1.0,
        ),
        run=RunConfig(part_size=4),
    )


def shapes_small() -> Recipe:
    """A small R3D from random weights on `shapes` as it is made: 16 frames at 64 pixels.

    No mirror: it would turn left into right and clockwise round. No jitter of scale either, which is what
    growing looks like; a crop of a few pixels is all that changes.
    """
    return Recipe(
        name="shapes_small",
        title="Small R3D from random weights on the benchmark shapes",
        data=DataConfig(
            num_frames=16,
            frame_stride=1,
            size=64,
            crop=56,
            batch_size=32,
            augment=Augment(short_side=(64, 64), flip=0.0),
        ),
        model=ModelConfig(name="r3d_18", tiny=True),
        optim=OptimConfig(
            name="adamw",
            lr=2e-3,
            weight_decay=0.05,
            no_decay=("norm", "bias"),
            length=30,
            schedule="cosine",
            warmup=1,
            clip_norm=1.0,
        ),
        run=RunConfig(validate_every=5),
    )


def mocap_small() -> Recipe:
    """The same on `mocap15`: 32 frames at 128 pixels, every second one taken at 64 pixels, mirrored or not.

    It learns the views it saw. Transfer from Kinetics (`new_classes_head`) is what it is to be compared with.
    """
    return Recipe(
        name="mocap_small",
        title="Small R3D from random weights on the benchmark mocap15",
        data=DataConfig(num_frames=16, frame_stride=2, size=72, crop=64, batch_size=16),
        model=ModelConfig(name="r3d_18", tiny=True),
        optim=OptimConfig(
            name="adamw",
            lr=2e-3,
            weight_decay=0.05,
            no_decay=("norm", "bias"),
            length=40,
            schedule="cosine",
            warmup=2,
            clip_norm=1.0,
        ),
        run=RunConfig(validate_every=5),
    )
