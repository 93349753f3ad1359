"""Optical flow of an example from disk, as the pixels that a network's input is made of.

The convention of the field's tools (denseflow, TSN): one grey picture for the horizontal and one for the
vertical component of the motion from a frame to the next; -20 to 20 pixels a frame become 0 to 255, and what
is faster is clipped. Where one picture holds both, u is its first channel and v its second. So a network's
input, flow / 20, is grey / 127.5 - 1: a picture's values are mapped as any other pixel's are.

Pictures of others are taken as they are, at whatever size: their networks saw just these values. What `vadis
flow` wrote says what its numbers mean, so every layout, bound and rounding gives the same pixels, and where
frames are scaled the values follow: pixels of the picture that goes on to be cut, as in flow on the way.

Legend: T fields, H W pixels, L fields stacked as channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vadis.records import Example, Limits, VideoError
from vadis.specs import FLOW_BOUND
from vadis.video.flow_files import NOTE, StoredFlow, open_flow
from vadis.video.flow_layouts import Pictures
from vadis.video.flow_levels import quantise
from vadis.video.images import SUFFIXES, natural_key
from vadis.video.scale import scaled_size

HINT = (
    "compute it (`vadis flow`), put flow pictures beside the frames (flow_x_00001.jpg, flow_y_00001.jpg) or "
    "below a folder called flow, one folder for each video, or estimate it on the way (--flow METHOD); see "
    "docs/flow.md"
)
_SAME_LEVELS = ("denseflow", "charades")


class FlowPictures:
    """The flow fields of an example, in order; field i leads from frame i to frame i + 1.

    times_T: seconds at which those frames are shown, where the files say so. Raises VideoError: not_found
    where the example has no flow, or one frame alone, corrupt where x has more pictures than y.
    """

    def __init__(self, example: Example, root: Path, limits: Limits = Limits()) -> None:  # noqa: B008
        self.name = str(root / example.video)
        if not example.flow:
            raise VideoError("not_found", self.name, "there are no flow pictures of this video", HINT)
        if len(example.flow) == 1 and example.flow[0].rpartition("/")[2] == NOTE:
            self.stored = self._open_ours(root, example.flow[0], limits)
        else:
            self.stored = self._open_pictures(root, example.flow[:2], limits)
        self.times_T = self.stored.times_T

    def _open_ours(self, root: Path, note: str, limits: Limits) -> StoredFlow:
        stored = open_flow((root / note).parent, limits=limits)
        if len(stored) == 0:
            raise VideoError("not_found", self.name, "one frame alone has no optical flow", "leave it out")
        return stored

    def _open_pictures(self, root: Path, patterns: tuple[str, ...], limits: Limits) -> StoredFlow:
        files = [find_pictures(root, pattern) for pattern in patterns]
        counts = [len(found) for found in files]
        if min(counts) == 0:
            pattern = patterns[counts.index(0)]
            raise VideoError("not_found", self.name, f"no flow picture is called {pattern}", HINT)
        if len(set(counts)) > 1:
            raise VideoError("corrupt", self.name, f"{counts[0]} flow pictures of x, but {counts[1]} of y")
        return StoredFlow(self.name, Pictures(files[0], files[1] if len(files) > 1 else (), limits))

    def __len__(self) -> int:
        return len(self.stored)

    def read(
        self, fields_TL: NDArray[np.int64], short_side: int | None = None
    ) -> tuple[NDArray[np.uint8], set[int]]:
        """Pixels of stacked fields: uint8 (T, H, W, 2L), u and v in turn; and which fields are damaged.

        short_side: pixels to which they are scaled; the values of pictures of others stay. A field that
        cannot be read is replaced by the readable one before it. Raises VideoError: corrupt without one, or
        where sizes differ.
        """
        damaged: set[int] = set()
        wanted = sorted(set(fields_TL.ravel().tolist()))
        read = dict(zip(wanted, self.stored.fields.read(wanted), strict=True))
        pixels: dict[int, NDArray[np.uint8]] = {}
        for field, found in read.items():
            back = field
            while found is None and back > 0:
                back -= 1
                found = read[back] if back in read else self.stored.fields.read([back])[0]
            if found is None:
                which = self.stored.fields.name(field)
                raise VideoError("corrupt", self.name, f"the flow picture {which} cannot be read")
            if back != field:
                damaged.add(field)
            pixels[field] = self._to_pixels(found, short_side)
        shapes = {field_HW2.shape for field_HW2 in pixels.values()}
        if len(shapes) > 1:
            raise VideoError("corrupt", self.name, f"flow pictures of several sizes: {sorted(shapes)}")
        stacks = [np.concatenate([pixels[field] for field in fields.tolist()], 2) for fields in fields_TL]
        return np.stack(stacks), damaged

    def _to_pixels(self, field_HW2: NDArray[Any], short_side: int | None) -> NDArray[np.uint8]:
        """A field as it is stored, as pixels at a bound of 20, scaled."""
        stored = self.stored
        height, width = field_HW2.shape[:2]
        size = scaled_size(width, height, short_side)
        same = field_HW2.dtype == np.uint8 and stored.bound == FLOW_BOUND and stored.rule in _SAME_LEVELS
        if same and (size == (width, height) or stored.size is None):
            return _scaled(field_HW2, size)
        values_HW2 = _scaled(stored.in_pixels(field_HW2), size)
        ratios = np.array([size[0] / width, size[1] / height], np.float32)
        return quantise(values_HW2 * ratios, FLOW_BOUND)


def _scaled(field_HW2: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """u and v brought to `size` (width, height), antialiased bilinear; their values stay."""
    if size == (field_HW2.shape[1], field_HW2.shape[0]):
        return field_HW2
    planes = [np.ascontiguousarray(field_HW2[..., axis]) for axis in (0, 1)]
    resized = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], 2)


def find_flow_files(root: Path, pattern: str) -> list[Path]:
    """The files that hold the flow of a pattern of an example: pictures, or all that `vadis flow` wrote."""
    if pattern.rpartition("/")[2] != NOTE:
        return find_pictures(root, pattern)
    folder = (root / pattern).parent
    return sorted(path for path in folder.rglob("*") if path.is_file())


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
