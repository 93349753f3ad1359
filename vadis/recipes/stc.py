"""STC networks on Kinetics-400.

Diba et al., Spatio-Temporal Channel Correlation Networks for Action Classification (arXiv:1806.07754).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Recipe
from vadis.recipes import resnet3d

EXPECTED = {
    "stc_resnet3d_101": "64.1 % top-1, 85.2 % top-5, Kinetics-400 val",
    "stc_resnext3d_101": "68.7 % top-1, 88.5 % top-5, Kinetics-400 val",
}


def kinetics(model: str, num_frames: int) -> Recipe:
    """Clips of 16 or 32 frames, trained as the networks without the blocks are."""
    base = resnet3d.kinetics("resnext3d_101")
    return replace(
        base,
        name=f"{model}_k400",
        title="STC blocks, from random weights",
        data=replace(base.data, num_frames=num_frames),
        model=replace(base.model, name=model, options={"pixels": "2018"}),
        source=replace(
            base.source,
            paper="STC (arXiv:1806.07754)",
            place="",
            expected=EXPECTED[model],
            differs="We had no copy of the paper to check against: schedule, batch and crops are those of "
            "the 3D ResNets that the blocks are put into. The paper's start from a 2D network by "
            "matching pairs is not here.",
        ),
    )
