"""Channel-separated networks on Kinetics-400, from random weights.

Tran et al., Video Classification with Channel-Separated Convolutional Networks (arXiv:1904.02811), section
4.1.
"""

from __future__ import annotations

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

EXPECTED = {
    "ir_csn_152": "76.5 % top-1, 92.1 % top-5",
    "ip_csn_152": "77.8 % top-1, 92.8 % top-5",
}


def kinetics(model: str) -> Recipe:
    """45 epochs of 32-frame clips, ten of them a warm-up, half a cosine down to zero."""
    return Recipe(
        name=f"{model}_k400",
        title="Channel-separated network from random weights",
        data=DataConfig(
            num_frames=32,
            frame_stride=2,
            size=256,
            crop=224,
            batch_size=64,
            repeats=4,
            augment=Augment(short_side=(256, 320)),
        ),
        model=ModelConfig(name=model),
        optim=OptimConfig(
            lr=0.01,
            lr_for_batch=32,
            nesterov=True,
            weight_decay=1e-4,
            length=45,
            schedule="cosine",
            warmup=10,
        ),
        source=Source(
            "CSN (arXiv:1904.02811)",
            "section 4.1; VMZ model zoo",
            "Kinetics-400",
            f"{EXPECTED[model]}, Kinetics-400 val",
            "We had no copy of the paper to check the rate, the decay and the stride of two frames "
            "against; rate and decay are those of the authors' script for R(2+1)D. An epoch of a million "
            "clips is four clips of each video here.",
        ),
    )
