"""Pooling and LSTM over long clips, on Sports-1M: a single frame first, then 30, then 120 seconds.

Ng et al., Beyond Short Snippets (arXiv:1503.08909), sections 3 and 4.1. The paper does not print batches and
lengths in full, so those here are ours; what it is about, how a network grows and what an LSTM's steps are
worth, is as printed.
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, LossConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "Beyond short snippets (arXiv:1503.08909)"
OURS = (
    "Batch, rate, length, weight decay and crops are not printed as far as we know: ours. The published "
    "numbers are of this network and another on flow together."
)


def single_frame() -> Recipe:
    """GoogLeNet on a single frame, from ImageNet: where all that pool begin."""
    return Recipe(
        name="snippets_conv_pooling_sports1m_1f",
        title="GoogLeNet on single frames",
        data=DataConfig(num_frames=1, batch_size=128, augment=Augment(short_side=(256, 256))),
        model=ModelConfig(name="snippets_conv_pooling", init="imagenet"),
        optim=OptimConfig(lr=0.01, weight_decay=1e-4, length=5),
        source=Source(PAPER, "sections 3 and 4.1", "Sports-1M", "", OURS),
    )


def pooling(num_frames: int) -> Recipe:
    """Convolutional pooling over 30 frames from a single one, or over 120 from 30."""
    base = single_frame()
    start = {30: 1, 120: 30}[num_frames]
    return replace(
        base,
        name=f"snippets_conv_pooling_sports1m_{num_frames}f",
        title=f"Convolutional pooling over {num_frames} frames, a frame a second",
        data=replace(base.data, num_frames=num_frames, batch_size=32),
        model=replace(base.model, init=f"snippets_conv_pooling_sports1m_{start}f.safetensors"),
        optim=replace(base.optim, lr=0.001, length=2),
    )


def lstm() -> Recipe:
    """The LSTM over 30 frames; the loss of a step weighs the more, the later it is."""
    base = single_frame()
    return replace(
        base,
        name="snippets_lstm_sports1m",
        title="Five layers of LSTM over 30 frames, a frame a second",
        data=replace(base.data, num_frames=30, batch_size=32),
        model=replace(base.model, name="snippets_lstm"),
        loss=LossConfig(steps="rising"),
        optim=replace(base.optim, clip_norm=1.0),
        source=replace(base.source, place="sections 3.2 and 4.1"),
    )
