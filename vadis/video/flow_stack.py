"""How motion is laid into the channels of a network's input: one field after another, along paths, both ways.

A stack of L fields shows a motion of L frames. Laid one after another, the channels of a pixel say what moves
past that place; along trajectories they say how what was there first goes on; from a frame forwards and
backwards they put that frame in the middle. Less its mean vector, a field says less of the camera. And
without any flow, differences of successive frames show at least what changes.

Source: Simonyan and Zisserman, "Two-Stream Convolutional Networks" (arXiv:1406.2199), sections 3.1 and 3.2;
differences: Wang et al., "Temporal Segment Networks" (arXiv:1608.00859), section 3.2. Where the paper is
silent: between pixels fields are interpolated bilinearly, and beyond the border its nearest pixel counts;
trajectories follow the whole flow, the mean is taken off what they meet.

Legend: L fields of a stack, T positions, H W pixels, C channels (u and v in turn), 2 u (right) and v (down).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vadis.specs import ClipSpec
from vadis.video.flow_levels import dequantise, quantise

Field = NDArray[np.float32]


def stack_fields(fields_LHW2: Field) -> Field:
    """stack_HWC of fields one after another: u and v of the first, of the second, and so on (C = 2 L)."""
    count, height, width, _ = fields_LHW2.shape
    return np.ascontiguousarray(fields_LHW2.transpose(1, 2, 0, 3)).reshape(height, width, 2 * count)


def follow_trajectories(fields_LHW2: Field, values_LHW2: Field | None = None) -> Field:
    """The fields as a point meets them that moves with them; of each pixel of the first field.

    values_LHW2: what is read at the places that the point comes to, if not the fields themselves. Returns
    met_LHW2, to be stacked: field k at p_k, where p_1 is the pixel and p_k = p_{k-1} + field_{k-1}(p_{k-1}).
    """
    values_LHW2 = fields_LHW2 if values_LHW2 is None else values_LHW2
    _, height, width, _ = fields_LHW2.shape
    rows, columns = np.mgrid[0:height, 0:width]
    points_HW2 = np.stack([columns, rows], -1).astype(np.float64)
    met = np.empty_like(values_LHW2)
    for step, (field_HW2, value_HW2) in enumerate(zip(fields_LHW2, values_LHW2, strict=True)):
        met[step] = _sample(value_HW2, points_HW2)
        points_HW2 = points_HW2 + _sample(field_HW2, points_HW2)
    return met


def subtract_mean(fields_LHW2: Field) -> Field:
    """Each field less its own mean vector: of a camera that pans, what moves against it is left."""
    return fields_LHW2 - fields_LHW2.mean((-3, -2), keepdims=True)


def frame_differences(frames_THWC: NDArray[np.generic]) -> NDArray[np.float32]:
    """Each next frame less the one before it, one fewer than there are frames; float32, -255 to 255."""
    frames = frames_THWC.astype(np.float32)
    return frames[1:] - frames[:-1]


def arrange(fields_LHW2: Field, spec: ClipSpec, backward_LHW2: Field | None = None) -> Field:
    """stack_HWC of the L fields of one position, as `spec.stacking` and `spec.subtract_mean` say.

    fields_LHW2: flow from each of L successive frames to the next, pixels a frame. backward_LHW2: of the same
    pairs, from the later frame to the earlier; for "bidirectional" alone, which takes the first half of them,
    from the frame in the middle back, after the second half of the forward ones.
    """
    values = subtract_mean(fields_LHW2) if spec.subtract_mean else fields_LHW2
    if spec.stacking == "trajectory":
        values = follow_trajectories(fields_LHW2, values)
    elif spec.stacking == "bidirectional":
        if backward_LHW2 is None:
            raise ValueError("a bidirectional stack needs backward flow, too")
        half = len(values) // 2
        back = subtract_mean(backward_LHW2) if spec.subtract_mean else backward_LHW2
        values = np.concatenate([values[half:], back[:half][::-1]])
    return stack_fields(values)


def arrange_pixels(
    stack_HWC: NDArray[np.uint8], spec: ClipSpec, backward_HWC: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """`arrange` of a stack_HWC as pictures hold it (uint8, u and v in turn), as such pixels again."""
    backward = None if backward_HWC is None else _unstack(backward_HWC)
    return quantise(arrange(_unstack(stack_HWC), spec, backward))


def _unstack(stack_HWC: NDArray[np.uint8]) -> Field:
    height, width, channels = stack_HWC.shape
    return dequantise(stack_HWC.reshape(height, width, channels // 2, 2).transpose(2, 0, 1, 3))


def _sample(field_HW2: Field, points_HW2: NDArray[np.float64]) -> Field:
    """A field at places (x, y) between its pixels, bilinear; the border's value beyond it."""
    height, width = field_HW2.shape[:2]
    x = np.clip(points_HW2[..., 0], 0, width - 1)
    y = np.clip(points_HW2[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = field_HW2[top, left] * (1 - across) + field_HW2[top, right] * across
    lower = field_HW2[bottom, left] * (1 - across) + field_HW2[bottom, right] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)
