"""The I3D paper's ConvNet+LSTM, Two-Stream, 3D-Fused and Two-Stream I3D on Kinetics-400.

Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv:1705.07750), section 2.5 and tables 1 and 2. The
paper has one description of training for all its networks; the steps are those of I3D. What takes flow
reads it beside the videos.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import LossConfig, Recipe
from vadis.recipes import i3d

TOP1 = {"lstm_inception": "63.3", "two_stream_inception": "65.6", "fused3d_inception": "67.2"}
FRAMES = {"lstm_inception": 50, "two_stream_inception": 25, "fused3d_inception": 25}
TITLES = {
    "lstm_inception": "The I3D paper's ConvNet+LSTM",
    "two_stream_inception": "The I3D paper's two streams on Inception-v1",
    "fused3d_inception": "The I3D paper's 3D-Fused",
}
ONE_TEXT = (
    "The paper gives one description of training for all its networks: batch and steps are those of I3D. "
    "ImageNet weights are torchvision's GoogLeNet."
)


def kinetics(network: str) -> Recipe:
    """115,000 steps from ImageNet; the LSTM learns from its answer at every step."""
    base = i3d.kinetics()
    return replace(
        base,
        name=f"{network}_k400",
        title=TITLES[network],
        data=replace(base.data, num_frames=None, fps=None, size=None, crop=None),
        model=replace(base.model, name=network, init="imagenet", dropout=None),
        loss=LossConfig(steps="alike" if network == "lstm_inception" else "none"),
        source=replace(
            base.source,
            place="section 2.5, tables 1 and 2",
            expected=f"{TOP1[network]} % top-1, {FRAMES[network]} frames, Kinetics-400 test",
            differs=ONE_TEXT,
        ),
    )


def two_stream_i3d() -> Recipe:
    """Both streams of I3D at once, each with a loss of its own; the authors train one after the other."""
    base = i3d.kinetics_imagenet()
    return replace(
        base,
        name="two_stream_i3d_k400",
        title="Two streams of I3D from inflated ImageNet weights",
        model=replace(base.model, name="two_stream_i3d"),
        source=replace(
            base.source,
            expected="74.2 % top-1, 91.3 % top-5, whole video, Kinetics-400 test",
            differs="The authors train the streams one by one, flow for 155,000 steps; here both see the "
            "same clips for 115,000. " + base.source.differs,
        ),
    )
