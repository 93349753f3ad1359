"""What training makes small: each loss is a SUM over the clips of a part, in float32.

The loop divides by the number of valid clips of the whole step, over all parts and processes: so it does not
matter how a step is cut up, and a clip that could not be read leaves no trace.

    class         -sum_k w_k t_k log softmax(z)_k            softmax cross entropy; t may be mixed or smoothed
    multi_label   sum_k BCE(z_k, t_k) / K                     a sigmoid for each class
    dense         f x mean over frames of multi_label(z_t, t_t)  +  (1 - f) x multi_label(mean z, any t_t)
    steps         sum_t g_t loss(z_t) / sum_t g_t            for networks that answer at each step
    streams       sum_s loss(z_s)                            for streams that meet only in their scores

Dense networks answer at fewer positions than there are frames; their logits are drawn out to the frames
linearly. A class is true of a clip where it is true of any of its frames (Charades: arXiv:1604.01753; loss
per frame and per clip as in Piergiovanni and Ryoo, arXiv:1803.06316, whose clip is scored by the maximum over
time where ours takes the mean, which is what `forward` gives).

Legend: B clips, K classes, T frames or positions in time, N heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vadis.config import LossConfig
from vadis.models import VideoModel
from vadis.training.heads import Head
from vadis.video.streams import Tensors


def class_loss(
    logits_BK: Tensor, target_BK: Tensor, weight_K: Tensor | None = None, smoothing_share: float = 0.0
) -> Tensor:
    """Softmax cross entropy, summed over clips (a scalar).

    target_BK: how much of the clip is of each class; rows that sum to 0 count for nothing. weight_K: of each
    class. smoothing_share: of belief that is spread evenly over the classes, a fraction.
    """
    if smoothing_share:
        rows_B1 = target_BK.sum(1, keepdim=True)
        target_BK = target_BK * (1 - smoothing_share) + rows_B1 * smoothing_share / target_BK.shape[1]
    if weight_K is not None:
        target_BK = target_BK * weight_K
    return -(target_BK * F.log_softmax(logits_BK.float(), dim=1)).sum()


def multi_label_loss(
    logits_BK: Tensor, target_BK: Tensor, weight_K: Tensor | None = None, clip_weight_B: Tensor | None = None
) -> Tensor:
    """Binary cross entropy of each class, meaned over classes and summed over clips (a scalar).

    target_BK: in [0, 1]. weight_K: of each class. clip_weight_B: how much each clip counts.
    """
    loss_BK = F.binary_cross_entropy_with_logits(logits_BK.float(), target_BK, reduction="none")
    if weight_K is not None:
        loss_BK = loss_BK * weight_K
    loss_B = loss_BK.mean(1)
    return (loss_B if clip_weight_B is None else loss_B * clip_weight_B).sum()


def dense_loss(
    logits_BTK: Tensor, frame_BTK: Tensor, frame_share: float, weight_K: Tensor | None = None
) -> Tensor:
    """The loss of every frame and of the clip, summed over clips (a scalar).

    logits_BTK: at any number of positions in time. frame_BTK: 0 or 1 for each frame. frame_share: weight of
    the frames' part, the rest is the clip's (a fraction).
    """
    frames = frame_BTK.shape[1]
    drawn_BTK = F.interpolate(
        logits_BTK.float().transpose(1, 2), size=frames, mode="linear", align_corners=False
    ).transpose(1, 2)
    per_frame = multi_label_loss(drawn_BTK.flatten(0, 1), frame_BTK.flatten(0, 1), weight_K) / frames
    per_clip = multi_label_loss(logits_BTK.float().mean(1), frame_BTK.amax(1), weight_K)
    return frame_share * per_frame + (1 - frame_share) * per_clip


def score_clips(
    model: VideoModel, clips: Tensors, steps: Literal["none", "alike", "rising"] = "none"
) -> tuple[Tensor, list[tuple[float, Tensor]]]:
    """What a network says of clips, and which of its answers have a loss.

    clips: as `model` takes them. steps: as in `LossConfig`; the gain of a step is that of Ng et al.
    (arXiv:1503.08909, section 3.2), divided by the sum of all. Returns the logits_BK of the clips, and for
    each answer that has a loss its weight and its logits_BK: one for each step; or for each stream, where
    the model has streams that meet only in their scores (`forward_heads`), as if it were trained alone; or
    that of the clips.
    """
    if steps != "none":
        logits_BTK = model.forward_steps(clips)  # type: ignore[operator]
        count = logits_BTK.shape[1]
        rising = steps == "rising" and count > 1
        gains = [step / (count - 1) if rising else 1.0 for step in range(count)]
        answers = [(gain / sum(gains), logits_BTK[:, step]) for step, gain in enumerate(gains) if gain]
        return model.combine_steps(logits_BTK), answers  # type: ignore[operator]
    if hasattr(model, "forward_heads"):
        logits = model.forward_heads(clips)  # type: ignore[operator]
        joint_BK = model.join_scores(logits)  # type: ignore[operator]
        return joint_BK, [(1.0, logits_BK) for logits_BK in logits.values()]
    logits_BK = model(clips)
    return logits_BK, [(1.0, logits_BK)]


def heads_loss(
    logits_BK: Tensor,
    target_BK: Tensor,
    owner_BN: Tensor,
    heads: Sequence[Head],
    config: LossConfig,
    weight_K: Tensor | None = None,
) -> Tensor:
    """The loss of each head on its own clips, summed over clips and heads (a scalar).

    owner_BN: how much of each clip belongs to each head: one 1 in a row, or shares where clips are mixed.
    """
    total = logits_BK.new_zeros((), dtype=torch.float32)
    for number, head in enumerate(heads):
        rows = slice(head.start, head.stop)
        weights = None if weight_K is None else weight_K[rows]
        logits, target, owner_B = logits_BK[:, rows], target_BK[:, rows], owner_BN[:, number]
        if head.kind == "class":
            total = total + class_loss(
                logits, target * (owner_B > 0)[:, None], weights, config.label_smoothing
            )
        else:
            # of a mixed clip only a share is this head's: the part that is not says nothing of its classes
            inner = target / owner_B.clamp(min=1e-6)[:, None]
            total = total + multi_label_loss(logits, inner.clamp(max=1.0), weights, owner_B)
    return total
