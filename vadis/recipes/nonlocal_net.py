"""C2D, inflated 3D and non-local ResNets on Kinetics-400, from ImageNet weights.

Wang et al., Non-local Neural Networks (arXiv:1711.07971), section 4, and the configurations of the authors'
repository (video-nonlocal-net). Short clips (32x2, 8x8) are trained first; long ones (128x1, 32x4) go on
from them with batch norm frozen.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "Non-local networks (arXiv:1711.07971)"
K400 = "Kinetics-400"

EXPECTED = {
    "c2d_r50_32x2": "71.8 % top-1, 89.7 % top-5",
    "c2d_r50_32x2_nl1": "72.7 % top-1, 90.5 % top-5",
    "c2d_r50_32x2_nl5": "73.8 % top-1, 91.0 % top-5",
    "c2d_r50_32x2_nl10": "74.3 % top-1, 91.2 % top-5",
    "c2d_r101_32x2": "73.1 % top-1, 91.0 % top-5",
    "c2d_r101_32x2_nl1": "74.3 % top-1, 91.3 % top-5",
    "c2d_r101_32x2_nl5": "75.1 % top-1, 91.7 % top-5",
    "i3d_r101_32x2_3x3x3": "74.1 % top-1, 91.2 % top-5",
    "i3d_r50_32x2": "73.3 % top-1, 90.7 % top-5",
    "i3d_r101_32x2": "74.4 % top-1, 91.1 % top-5",
    "i3d_r50_32x2_nl5": "74.9 % top-1, 91.6 % top-5",
    "i3d_r101_32x2_nl5": "76.0 % top-1, 92.1 % top-5",
    "c2d_r50_128x1": "73.8 % top-1, 91.2 % top-5",
    "c2d_r101_128x1": "75.3 % top-1, 91.8 % top-5",
    "i3d_r50_128x1": "74.9 % top-1, 91.7 % top-5",
    "i3d_r101_128x1": "76.4 % top-1, 92.7 % top-5",
    "i3d_r50_128x1_nl5": "76.5 % top-1, 92.6 % top-5",
    "i3d_r101_128x1_nl5": "77.7 % top-1, 93.3 % top-5",
    "c2d_r50_8x8": "71.9 % top-1, 90.0 % top-5",
    "c2d_r50_8x8_nl5": "74.4 % top-1, 91.4 % top-5",
    "i3d_r50_8x8": "73.4 % top-1, 90.9 % top-5",
    "i3d_r50_8x8_nl5": "74.7 % top-1, 91.6 % top-5",
    "i3d_r50_32x4": "75.5 % top-1, 92.0 % top-5",
    "i3d_r50_32x4_nl5": "76.5 % top-1, 92.6 % top-5",
}
"""On 10 clips x 3 crops of Kinetics-400's validation set; 8x8 and 32x4 by the authors' repository."""

DIFFERS = (
    "After training the authors measure batch norm's statistics anew on many clips; ours are the running "
    "ones. Their tests are at 256 pixels, the training's validations at 224."
)


def short_clips(model: str) -> Recipe:
    """400,000 steps of 64 clips, the rate divided by ten at 150,000 and 300,000."""
    paper_form = "_32x2" in model
    return Recipe(
        name=f"{model}_k400",
        title="Short clips from inflated ImageNet weights",
        data=DataConfig(
            num_frames=32 if paper_form else 8,
            frame_stride=2 if paper_form else 8,
            size=256,
            crop=224,
            batch_size=64,
            augment=Augment(short_side=(256, 320)),
        ),
        model=ModelConfig(name=model, init="imagenet", dropout=0.5),
        optim=OptimConfig(
            lr=0.01,
            nesterov=True,
            weight_decay=1e-4,
            no_decay=("norm",),
            unit="steps",
            length=400_000,
            schedule="step",
            milestones=(150_000.0, 300_000.0),
        ),
        source=Source(
            PAPER,
            "section 4.1" if paper_form else "README of video-nonlocal-net",
            K400,
            f"{EXPECTED[model]}, 10x3, {K400} val" if model in EXPECTED else "",
            DIFFERS,
        ),
    )


def long_clips(model: str, start: str) -> Recipe:
    """400,000 more steps of 16 clips, a quarter of the rate, frozen batch norm; start: the short network."""
    base = short_clips(start)
    paper_form = "_128x1" in model
    return replace(
        base,
        name=f"{model}_k400",
        title="Long clips from the network of short ones",
        data=replace(
            base.data,
            num_frames=128 if paper_form else 32,
            frame_stride=1 if paper_form else 4,
            batch_size=16,
        ),
        model=replace(base.model, init=f"{start}_k400.safetensors", frozen_batch_norm="all"),
        optim=replace(base.optim, lr=0.0025),
        source=replace(
            base.source,
            place="section 5.1, table 2g" if paper_form else "README of video-nonlocal-net",
            expected=f"{EXPECTED[model]}, 10x3, {K400} val",
            differs="The run goes under the short network's name, whose weights these are: the long one "
            "is the same network on more frames. The authors' repository starts networks with "
            "non-local blocks from those without; here each starts from its own short form. Tests "
            "are at 256 pixels, the training's validations at 224.",
        ),
    )
