"""Answers of a network that reads frames in order: one at each step, and how they become one.

A recurrent network can be asked after every frame, and is the surer the more it has seen. At the end all its
answers count, or the last one only. Ng et al. (arXiv:1503.08909, section 3.2) try four ways, which differ by
less than 1 %:

    combine      the answer of a clip
    "last"       that of the last step
    "max"        for each class, the largest of any step
    "sum"        their sum, divided by T, which changes no best class
    "weighted"   their sum with gains that grow from 0 at the first step to 1 at the last, divided by the
                 gains' sum: the paper's choice. In training the same gains weigh the losses of the steps
                 (`loss.steps="rising"`, `vadis.training.losses`).

All but "max" are means, so it is all one whether the classifier comes before or after them. `score_steps`
takes the mean first: one classification a clip, and what the classifier sees describes the whole clip.

Shapes: B batch, T steps, D features, K classes.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vadis.models.contract import VideoModel

Combine = Literal["last", "max", "sum", "weighted"]


def check_combine(combine: Combine) -> Combine:
    """The way to combine steps as it is given; a ValueError where there is no such way."""
    if combine not in get_args(Combine):
        raise ValueError(f"combine must be one of {', '.join(get_args(Combine))}, got {combine!r}")
    return combine


def step_gains(logits_BTK: Tensor) -> Tensor:
    """A gain for each step, from 0 at the first to 1 at the last: gain_T. A single step has 1."""
    steps = logits_BTK.shape[1]
    if steps == 1:
        return logits_BTK.new_ones(1)
    return torch.linspace(0, 1, steps, dtype=logits_BTK.dtype, device=logits_BTK.device)


def combine_steps(logits_BTK: Tensor, combine: Combine) -> Tensor:
    """The answers of all steps (or, but for "max", what they are made of) as one: logits_BK."""
    if combine == "last":
        return logits_BTK[:, -1]
    if combine == "max":
        return logits_BTK.amax(dim=1)
    if combine == "sum":
        return logits_BTK.mean(dim=1)
    gain_T = step_gains(logits_BTK)
    return (logits_BTK * (gain_T / gain_T.sum())[:, None]).sum(dim=1)


def score_steps(head: nn.Linear, state_BTD: Tensor, combine: Combine) -> Tensor:
    """One answer from what a recurrent network holds at each step: logits_BK."""
    if combine == "max":
        return combine_steps(head(state_BTD), combine)
    return head(combine_steps(state_BTD, combine))


class StepByStep(VideoModel):
    """A network that reads frames in order and can answer after each of them.

    What derives from it has `_read`, which gives state_BTD for a clip, a `head`, and a way to `combine`.
    """

    head: nn.Linear
    combine: Combine

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips: the answers of all steps as one, by `combine`.

        clip_BCTHW: float, normalised by `self.spec`; any number of frames. Returns logits_BK.
        """
        return score_steps(self.head, self._read(clip_BCTHW), self.combine)

    def forward_steps(self, clip_BCTHW: Tensor) -> Tensor:
        """Score the clip anew at every frame: each answer knows all frames so far.

        clip_BCTHW: as for `forward`. Returns logits_BTK.
        """
        return self.head(self._read(clip_BCTHW))

    def combine_steps(self, logits_BTK: Tensor) -> Tensor:
        """One answer of all steps' answers, by `self.combine`: logits_BK."""
        return combine_steps(logits_BTK, self.combine)

    def _read(self, clip_BCTHW: Tensor) -> Tensor:
        """What the classifier sees at each step: state_BTD."""
        raise NotImplementedError
