"""Controls: the same experiment with one thing taken away, so that a table shows what its numbers come from.

    frozen            one frame, the middle one, in place of all: no motion is left
    shuffled          the frames of each clip in an order of its own: motion without its direction
    random            the network's weights drawn anew: its structure without its training
    labels            the training labels dealt out anew: must give chance, or something leaks

Legend: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from vadis.models import VideoModel, create_model
from vadis.records import Dataset

CONTROLS = ("", "frozen", "shuffled", "random", "labels")


def freeze_frame(clip_BCTHW: Tensor) -> Tensor:
    """The middle frame in place of all of them; same shape as clip_BCTHW."""
    middle = clip_BCTHW.shape[2] // 2
    return clip_BCTHW[:, :, middle : middle + 1].expand_as(clip_BCTHW).contiguous()


def shuffle_frames(clip_BCTHW: Tensor) -> Tensor:
    """The frames of each clip in another order, which follows from its pixels; same shape as clip_BCTHW.

    Each clip has an order of its own: one order for all could be learnt.
    """
    clips = []
    for clip_CTHW in clip_BCTHW:
        seed = zlib.crc32(clip_CTHW.detach().float().cpu().contiguous().numpy().tobytes())
        generator = torch.Generator().manual_seed(seed)
        order_T = torch.randperm(clip_CTHW.shape[1], generator=generator)
        clips.append(clip_CTHW[:, order_T.to(clip_CTHW.device)])
    return torch.stack(clips)


SEES: dict[str, Callable[[Tensor], Tensor]] = {"frozen": freeze_frame, "shuffled": shuffle_frames}
"""The controls that change what the network sees, while it learns and while it is tested."""


def randomise(model: VideoModel, seed: int = 0) -> VideoModel:
    """A network of the same structure and for the same clips, with fresh weights drawn by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = create_model(
            model.name.partition(".")[0], num_classes=model.num_classes, **dict(model.options)
        )
    fresh.spec = model.spec
    fresh.class_names = model.class_names
    for module in fresh.modules():
        if isinstance(module, nn.Dropout):
            module.p = next((old.p for old in model.modules() if isinstance(old, nn.Dropout)), module.p)
    return fresh.eval()


def shuffle_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same examples with the labels of others: each label as often as before."""
    rng = np.random.default_rng([seed, 0x1ABE1])
    order = rng.permutation(len(dataset.examples)).tolist()
    examples = tuple(
        replace(example, labels=dataset.examples[other].labels, spans=(), boxes=())
        for example, other in zip(dataset.examples, order, strict=True)
    )
    return replace(dataset, examples=examples)
