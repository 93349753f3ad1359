"""Where a transform looks: a part of the picture, the size it gets, mirrored or not.

A place is drawn first and then taken from frames and from boxes alike, so that a box stays on what it was
drawn around. `vadis.video.transform` draws, `vadis.data.augment` puts places one after the other.

Legend: frames_TCHW as in `vadis.video.transform`; boxes_N4 as in `vadis.video.boxes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vadis.video import boxes, transform
from vadis.video.transform import Rectangle


@dataclass(frozen=True)
class Place:
    """What becomes of a picture of full_height x full_width pixels.

    part: the rectangle that is cut from it (None: all of it). size: height and width in pixels that the part
    is resized to (None: as it is). mirrored: left and right change places, last.
    """

    full_height: int
    full_width: int
    part: Rectangle | None = None
    size: tuple[int, int] | None = None
    mirrored: bool = False

    def cut(self, frames_TCHW: Tensor, modality: str = "rgb") -> Tensor:
        """frames_TCHW of the full size, changed. modality: of the frames, as `flip_horizontally` wants it."""
        if self.part is not None:
            frames_TCHW = transform.crop(frames_TCHW, *self.part)
        if self.size is not None:
            frames_TCHW = transform.resize(frames_TCHW, *self.size)
        return transform.flip_horizontally(frames_TCHW, modality) if self.mirrored else frames_TCHW

    def move(self, boxes_N4: Tensor) -> Tensor:
        """Where boxes of the full picture are in the changed one; they may come to stand out of it."""
        if self.part is not None:
            sizes = {"full_height": self.full_height, "full_width": self.full_width}
            boxes_N4 = boxes.crop_boxes(boxes_N4, *self.part, **sizes)
        return boxes.flip_boxes(boxes_N4) if self.mirrored else boxes_N4
