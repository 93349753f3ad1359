"""What training makes small: each loss is a SUM over the clips of a part, in float32.

The loop divides by the number of valid clips of the whole step, over all parts and processes: so it does not
matter how a step is cut up, and a clip that could not be read leaves no trace.

    class         -sum_k w_k t_k log softmax(z)_k            softmax cross entropy; t may be mixed or smoothed
    multi_label   sum_k BCE(z_k, t_k) / K                     a sigmoid for each class
    dense         f x mean over frames of multi_label(z_t, t_t)  +  (1 - f) x multi_label(mean z, any t_t)

Dense networks answer at fewer positions than there are frames; their logits are drawn out to the frames
linearly. A class is true of a clip where it is true of any of its frames (Charades: arXiv:1604.01753; loss
per frame and per clip as in Piergiovanni and Ryoo, arXiv:1803.06316, whose clip is scored by the maximum over
time where ours takes the mean, which is what `forward` gives).

Legend: B clips, K classes, T frames or positions in time, N heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vadis.config import LossConfig
from vadis.training.heads import Head


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
