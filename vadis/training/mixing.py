"""Two clips in one: mixup blends them, cutmix puts a box of one into the other; labels are mixed alike.

mixup: lambda x clip + (1 - lambda) x another clip of the batch (Zhang et al., arXiv:1710.09412). cutmix: a
box of (1 - lambda) of the area, at the same place in all frames, comes from the other clip (Yun et al.,
arXiv:1905.04899). lambda is drawn once a step from Beta(alpha, alpha), the same in all parts and processes of
the step; who meets whom differs. A batch of one clip has nobody to meet and stays as it is.

Legend: B batch, C channels, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vadis.config import Augment
from vadis.video.streams import Tensors, each, leader

MIXING_STREAM = 0x313A  # keeps these random numbers apart from those of the clips and of their order


def mix(
    clips: Tensors, targets: tuple[Tensor, ...], augment: Augment, seed: int, step: int, part: int = 0
) -> tuple[Tensors, tuple[Tensor, ...]]:
    """The clips of a part of a step, mixed as `augment.mixup` and `augment.cutmix` say, and their targets.

    clips: clip_BCTHW, float, normalised, or one by name for each modality, all mixed alike. targets: each
    of shape (B, ...), float. part: number of this part among all of the step, over all processes. What is
    drawn depends on (seed, step, part) only.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(augment, kind) > 0]
    count = len(leader(clips))
    if not kinds or count < 2:
        return clips, targets
    shared = np.random.default_rng([MIXING_STREAM, seed, step])
    kind = kinds[int(shared.integers(len(kinds)))]
    alpha = getattr(augment, kind)
    share = float(shared.beta(alpha, alpha))
    centre_y, centre_x = shared.random(2)
    other_B = _partners(count, np.random.default_rng([MIXING_STREAM, seed, step, part]))

    def box(clip_BCTHW: Tensor) -> tuple[int, int, int, int]:
        height, width = clip_BCTHW.shape[-2:]
        return *_extent(height, share, centre_y), *_extent(width, share, centre_x)

    def blend(clip_BCTHW: Tensor) -> Tensor:
        return clip_BCTHW * share + clip_BCTHW[other_B] * (1 - share)

    def patch(clip_BCTHW: Tensor) -> Tensor:
        top, bottom, left, right = box(clip_BCTHW)
        mixed = clip_BCTHW.clone()
        mixed[..., top:bottom, left:right] = clip_BCTHW[other_B][..., top:bottom, left:right]
        return mixed

    mixed = each(blend if kind == "mixup" else patch, clips)
    if kind == "cutmix":
        top, bottom, left, right = box(leader(clips))
        height, width = leader(clips).shape[-2:]
        share = 1 - (bottom - top) * (right - left) / (height * width)  # what the border left of the box
    return mixed, tuple(target * share + target[other_B] * (1 - share) for target in targets)


def _partners(num_clips: int, rng: np.random.Generator) -> list[int]:
    """For each clip another one: a random circle through all, so that nobody meets itself."""
    circle = rng.permutation(num_clips).tolist()
    partner = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [partner[index] for index in range(num_clips)]


def _extent(length: int, share: float, centre: float) -> tuple[int, int]:
    """Begin and end in pixels of the box along one axis, cut off at the border; centre in [0, 1]."""
    half = length * (1 - share) ** 0.5 / 2
    middle = centre * length
    return max(0, round(middle - half)), min(length, round(middle + half))
