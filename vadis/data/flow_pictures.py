"""Optical flow that lies on disk as pictures: which files they are, and their pixels as u and v.

The convention of the field's tools (denseflow, TSN): one grey picture for the horizontal and one for the
vertical component of the motion from a frame to the next; -20 to 20 pixels a frame become 0 to 255, and what
is faster is clipped. Where one picture holds both, u is its first channel and v its second. So a network's
input, flow / 20, is grey / 127.5 - 1: a picture's values are mapped as any other pixel's are.

Legend: T fields, H W pixels, L fields stacked as channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vadis.records import Example, Limits, VideoError
from vadis.video.images import FORMATS, SUFFIXES, natural_key
from vadis.video.scale import scaled_size

HINT = (
    "put flow pictures beside the frames (flow_x_00001.jpg, flow_y_00001.jpg), or below a folder called "
    "flow, one folder for each video (see docs/data.md)"
)


class FlowPictures:
    """The flow fields of an example, in order; field i leads from frame i to frame i + 1.

    Raises VideoError: not_found where the example has no flow pictures, corrupt where x has more than y.
    """

    def __init__(self, example: Example, root: Path, limits: Limits = Limits()) -> None:  # noqa: B008
        self.name = str(root / example.video)
        self._limits = limits
        if not example.flow:
            raise VideoError("not_found", self.name, "there are no flow pictures of this video", HINT)
        self.files = [find_pictures(root, pattern) for pattern in example.flow[:2]]
        counts = [len(files) for files in self.files]
        if min(counts) == 0:
            pattern = example.flow[counts.index(0)]
            raise VideoError("not_found", self.name, f"no flow picture is called {pattern}", HINT)
        if len(set(counts)) > 1:
            raise VideoError("corrupt", self.name, f"{counts[0]} flow pictures of x, but {counts[1]} of y")

    def __len__(self) -> int:
        return len(self.files[0])

    def read(
        self, fields_TL: NDArray[np.int64], short_side: int | None = None
    ) -> tuple[NDArray[np.uint8], set[int]]:
        """Pixels of stacked fields: uint8 (T, H, W, 2L), u and v in turn; and which fields are damaged.

        short_side: pixels to which they are scaled; the values stay. A picture that cannot be read is
        replaced by the readable one before it. Raises VideoError: corrupt without one, or where sizes differ.
        """
        damaged: set[int] = set()
        wanted = sorted(set(fields_TL.ravel().tolist()))
        pixels = {field: self._read_field(field, short_side, damaged) for field in wanted}
        shapes = {field_HW2.shape for field_HW2 in pixels.values()}
        if len(shapes) > 1:
            raise VideoError("corrupt", self.name, f"flow pictures of several sizes: {sorted(shapes)}")
        stacks = [np.concatenate([pixels[field] for field in fields.tolist()], 2) for fields in fields_TL]
        return np.stack(stacks), damaged

    def _read_field(self, field: int, short_side: int | None, damaged: set[int]) -> NDArray[np.uint8]:
        for back in range(field, -1, -1):
            planes = [plane for files in self.files for plane in self._planes(files[back], short_side)]
            if len(planes) == 2 and planes[0].shape == planes[1].shape:
                if back != field:
                    damaged.add(field)
                return np.stack(planes, 2)
        raise VideoError("corrupt", self.name, f"the flow picture {self.files[0][field].name} cannot be read")

    def _planes(self, file: Path, short_side: int | None) -> list[NDArray[np.uint8]]:
        """The grey picture, or the first two channels of one that holds both; nothing where it is damaged."""
        try:
            with Image.open(file, formats=FORMATS) as image:
                limit = self._limits.max_pixels
                if limit is not None and image.width * image.height > limit:
                    size = f"{file.name} has {image.width}x{image.height} pixels"
                    raise VideoError("too_large", self.name, f"{size}, the limit (max_pixels) is {limit}")
                parts = image.convert("RGB").split()[:2] if len(self.files) == 1 else (image.convert("L"),)
                width, height = scaled_size(image.width, image.height, short_side)
                return [np.asarray(part.resize((width, height), Image.Resampling.BILINEAR)) for part in parts]
        except VideoError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError):
            return []


def find_pictures(root: Path, pattern: str) -> list[Path]:
    """The pictures of a pattern such as `folder/flow_x_*.jpg`, in natural order; none without the folder.

    Only `*` in the file's own name means anything: folders may hold brackets.
    """
    folder = root / pattern.rpartition("/")[0]
    first, star, last = pattern.rpartition("/")[2].partition("*")
    try:
        names = [
            path.name
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
    except OSError:
        return []
    length = len(first) + len(last)
    fitting = [
        name
        for name in names
        if (name.startswith(first) and name.endswith(last) and len(name) >= length if star else name == first)
    ]
    return [folder / name for name in sorted(fitting, key=natural_key)]
