"""Boxes that go with the pixels: where a person is after the picture was resized, cropped and mirrored.

Boxes are xyxy in [0, 1] of the picture's width and height, where 0 and 1 are its outer edges. So resizing the
whole picture leaves them as they are, and only crops and flips move them; each function here is the shadow of
the one of the same name in `vadis.video.transform`. A crop may leave a box partly or wholly outside:
`limit_boxes` cuts it at the edges and says how much of it is still seen.

Legend: boxes_N4 float, N boxes, each left, top, right, bottom.
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop_boxes(
    boxes_N4: Tensor,
    left: int,
    top: int,
    height: int,
    width: int | None = None,
    *,
    full_height: int,
    full_width: int,
) -> Tensor:
    """Where boxes of a picture of full_height x full_width pixels lie in the rectangle cut from it.

    left, top, height and width as for `transform.crop`, in pixels; it may be resized afterwards. Boxes may
    come to stand out of [0, 1].
    """
    _check_boxes(boxes_N4)
    width = height if width is None else width
    if min(height, width, full_height, full_width) < 1:
        raise ValueError(
            f"pictures have at least 1 pixel a side, not {width}x{height} of {full_width}x{full_height}"
        )
    size, offset, full = (
        boxes_N4.new_tensor(pair + pair) for pair in ((width, height), (left, top), (full_width, full_height))
    )
    return (boxes_N4 * full - offset) / size


def flip_boxes(boxes_N4: Tensor) -> Tensor:
    """Boxes in the mirrored picture: left and right change places."""
    _check_boxes(boxes_N4)
    left_N, top_N, right_N, bottom_N = boxes_N4.unbind(1)
    return torch.stack([1 - right_N, top_N, 1 - left_N, bottom_N], dim=1)


def limit_boxes(boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes cut at the picture's edges, and share_N, the part of each box's area that is left (0 to 1).

    A box without an area has the share 0.
    """
    _check_boxes(boxes_N4)
    limited_N4 = boxes_N4.clamp(0, 1)
    whole_N = _areas(boxes_N4)
    return limited_N4, torch.where(whole_N > 0, _areas(limited_N4) / whole_N, 0.0)


def _areas(boxes_N4: Tensor) -> Tensor:
    return (boxes_N4[:, 2:] - boxes_N4[:, :2]).clamp_min(0).prod(1)


def _check_boxes(boxes_N4: Tensor) -> None:
    if boxes_N4.ndim != 2 or boxes_N4.shape[1] != 4 or not boxes_N4.is_floating_point():
        raise ValueError(
            f"boxes are floats of shape (N, 4), got {boxes_N4.dtype} of shape {tuple(boxes_N4.shape)}; "
            "no boxes at all are torch.zeros(0, 4)"
        )
