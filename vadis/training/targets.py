"""From labels to what a loss takes: targets of each clip, and of each frame where there are spans.

Legend: B clips, K classes, T frames, N spans.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vadis.records import Span


def clip_targets(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """target_BK (float32, 1 at each label) and known_B (bool: false where the label is hidden).

    labels: of a `Batch`, labels_B (int64, -1 where hidden) or labels_BK (0 and 1). A clip of a multi-label
    dataset that has none of the classes is known to have none.
    """
    if labels.ndim == 2:
        return labels.float(), torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    known_B = labels >= 0
    target_BK = torch.zeros(len(labels), num_classes, device=labels.device)
    rows = known_B.nonzero()[:, 0]
    target_BK[rows, labels[rows]] = 1.0
    return target_BK, known_B


def frame_targets(spans: Sequence[Span], times_T: Tensor, num_classes: int) -> Tensor:
    """target_TK (float32): 1 where a frame lies in a span of a class, both ends included.

    times_T: when each frame is shown, in seconds on the clock of the spans.
    """
    target_TK = torch.zeros(len(times_T), num_classes)
    for span in spans:
        inside_T = (times_T >= span.start_seconds) & (times_T <= span.end_seconds)
        target_TK[inside_T, span.label] = 1.0
    return target_TK


def class_balance(labels: Sequence[tuple[int, ...]], num_classes: int) -> Tensor:
    """weight_K: the inverse of each class's count, scaled so that an example weighs 1 on average.

    labels: those of each example. A class without examples weighs 0; it never occurs.
    """
    flat = torch.tensor([label for each in labels for label in each], dtype=torch.int64)
    count_K = torch.bincount(flat, minlength=num_classes).float()
    present_K = count_K > 0
    weight_K = torch.where(present_K, 1.0 / count_K.clamp(min=1.0), torch.zeros_like(count_K))
    return weight_K * len(flat) / max(1, int(present_K.sum()))
