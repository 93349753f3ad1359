"""C3D as its paper trained it: on Sports-1M from random weights, and on UCF-101 from there.

Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks (arXiv:1412.0767), section 3.3,
and the solver files of the authors' repository (facebook/C3D).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "C3D (arXiv:1412.0767)"


def sports1m() -> Recipe:
    """1.9 million steps of 30 clips, the rate halved every 150,000 steps."""
    return Recipe(
        name="c3d_sports1m",
        title="C3D from random weights",
        data=DataConfig(num_frames=16, batch_size=30, repeats=5, augment=Augment(short_side=(128, 128))),
        model=ModelConfig(name="c3d", dropout=0.5),
        optim=OptimConfig(
            lr=0.003,
            weight_decay=5e-4,
            unit="steps",
            length=1_900_000,
            schedule="step",
            milestones=tuple(float(step) for step in range(150_000, 1_900_000, 150_000)),
            gamma=0.5,
        ),
        source=Source(
            PAPER,
            "section 3.3",
            "Sports-1M",
            "60.0 % top-1, 84.4 % top-5, 10x1, Sports-1M test",
            "The weight decay is not printed; we take that of the authors' fine-tuning. They scale frames "
            "to 171 x 128 whatever their shape and subtract a mean clip, we keep the shape and subtract a "
            "colour.",
        ),
    )


def ucf101() -> Recipe:
    """20,000 steps at a rate of 1e-4, from the network that `c3d_sports1m` leaves."""
    base = sports1m()
    return replace(
        base,
        name="c3d_ucf101",
        title="C3D fine-tuned from Sports-1M",
        data=replace(base.data, repeats=1),
        model=replace(base.model, init="c3d_sports1m.safetensors"),
        optim=replace(
            base.optim,
            lr=1e-4,
            length=20_000,
            milestones=(5_000.0, 10_000.0, 15_000.0),
            gamma=0.1,
        ),
        source=Source(
            PAPER,
            "c3d_ucf101_finetuning_solver.prototxt",
            "UCF-101",
            "",
            "The published 82.3 % is a linear SVM on fc6, not this network's own answer, for which no "
            "number is printed. The batch is that of the training on Sports-1M.",
        ),
    )
