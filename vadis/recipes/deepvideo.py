"""DeepVideo as its paper trained it: on Sports-1M from random weights, the slow one on UCF-101 from there.

Karpathy et al., Large-scale Video Classification with Convolutional Neural Networks (CVPR 2014), sections
3.3, 4.1 and 4.2.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "DeepVideo (CVPR 2014)"
NUMBERS = {
    "deepvideo_single": "59.3 % top-1, 77.7 % top-5",
    "deepvideo_early": "57.7 % top-1, 76.8 % top-5",
    "deepvideo_late": "59.3 % top-1, 78.7 % top-5",
    "deepvideo_slow": "60.9 % top-1, 80.2 % top-5",
    "deepvideo_multires": "60.0 % top-1, 78.5 % top-5",
    "deepvideo_fovea": "49.9 % top-1, 72.8 % top-5",
    "deepvideo_context": "56.0 % top-1, 77.2 % top-5",
}
HOW_LONG = (
    "The paper divides the rate where validation stops to improve and prints neither how often nor how long: "
    "the ten epochs, the tenth and the patience are ours. "
)
MODES = {
    "scratch": ("from random weights", "41.3"),
    "top": ("only the classifier learns", "64.1"),
    "top3": ("the last three layers learn", "65.4"),
    "all": ("all layers learn", "62.2"),
}


def sports1m(network: str) -> Recipe:
    """Batches of 32 at a rate of 0.001, frames of 200 pixels, crops of 170, mirrored."""
    return Recipe(
        name=f"{network}_sports1m",
        title="DeepVideo from random weights",
        data=DataConfig(batch_size=32, augment=Augment(short_side=(200, 200))),
        model=ModelConfig(name=network, dropout=0.5),
        optim=OptimConfig(lr=1e-3, weight_decay=5e-4, length=10, schedule="plateau"),
        source=Source(
            PAPER,
            "section 3.3, table 1",
            "Sports-1M",
            f"{NUMBERS[network]}, 20x4, Sports-1M test",
            HOW_LONG + "Dropout is not printed; one half. The paper cuts the middle of the frame first.",
        ),
    )


def ucf101(mode: str) -> Recipe:
    """Slow fusion on UCF-101, from the network that `deepvideo_slow_sports1m` leaves; four ways to do it."""
    base = sports1m("deepvideo_slow")
    title, expected = MODES[mode]
    few = mode in ("top", "top3")
    return replace(
        base,
        name=f"deepvideo_slow_ucf101_{mode}",
        title=f"DeepVideo, slow fusion, on UCF-101: {title}",
        model=replace(
            base.model,
            init=None if mode == "scratch" else "deepvideo_slow_sports1m.safetensors",
            learn={"top": ("head",), "top3": ("fc6", "fc7", "head")}.get(mode, ()),
            dropout=0.9 if few else 0.5,
        ),
        source=Source(
            PAPER,
            "section 4.2, table 3",
            "UCF-101",
            f"{expected} % top-1, 20x4, UCF-101, mean of three splits",
            HOW_LONG + "Rate and batch are those of Sports-1M.",
        ),
    )
