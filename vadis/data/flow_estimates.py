"""Optical flow of a video made on the way into a network, where none lies on disk.

Only the frames that a clip needs are decoded, scaled, and compared with the next one; what stacks share is
made once. The result is what `vadis flow` would have stored of frames of that size: 8-bit pixels by
denseflow's rounding (-20 to 20 pixels a frame become 0 to 255). Bytes rather than floats: so stored and
estimated flow are one thing to all that follows (crops, flips, batches of both), in a quarter of the memory.

Successive frames are the video's own; where a network has a rate of its own, those shown at its ticks, as its
authors took frames at that rate before they computed flow.

Legend: T clock ticks or positions, L fields stacked as channels, F fields, H W pixels.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from vadis.data.clip_rules import CLOCK_SLACK, frame_length
from vadis.records import Example, VideoError
from vadis.specs import ClipSpec
from vadis.video.decode import Video
from vadis.video.flow_levels import dequantise, quantise
from vadis.video.sample import Indices
from vadis.video.scale import resize_picture, scaled_size

if TYPE_CHECKING:
    from vadis.video.flow import Estimator

FIELDS_AT_ONCE = 32
ONE_FRAME = "leave it out, or --missing zero where the network takes more than flow"
_THREAD = threading.local()


class EstimatedFlow:
    """The flow fields of a video, by a method of `vadis.video.flow`; field i leads from tick i to tick i + 1.

    video: open, with frames of the size that flow is to be of. shown_T: the frame that each tick shows.
    warped: the camera's motion is taken out of each field. Raises VideoError("not_found") for a single frame,
    in which nothing moves.
    """

    def __init__(
        self,
        video: Video,
        shown_T: Indices,
        method: str,
        *,
        name: str = "",
        warped: bool = False,
        device: str = "cpu",
    ) -> None:
        if len(shown_T) < 2:
            raise VideoError("not_found", name, "one frame alone has no optical flow", ONE_FRAME)
        self.video, self.shown_T, self.warped = video, shown_T, warped
        self.estimator = get_estimator(method, device)

    def __len__(self) -> int:
        return len(self.shown_T) - 1

    def read(
        self, fields_TL: Indices, short_side: int | None = None, backward: bool = False
    ) -> tuple[NDArray[np.uint8], set[int]]:
        """Pixels of stacked fields: uint8 (T, H, W, 2L), u and v in turn; and which fields are damaged.

        backward: from the later frame of each pair to the earlier. short_side: the video has it.
        """
        fields_F = np.unique(fields_TL)
        ticks = np.union1d(fields_F, fields_F + 1)
        decoded = self.video.clips([self.shown_T[ticks].tolist()])[0]
        frames_THWC = decoded.frames_THWC
        starts_F = np.searchsorted(ticks, fields_F)
        pixels_FHW2 = estimate_pixels(frames_THWC, starts_F, self.estimator, self.warped, backward)
        corrupt_F = decoded.corrupt_T[starts_F] | decoded.corrupt_T[starts_F + 1]
        stacked_TLHW2 = pixels_FHW2[np.searchsorted(fields_F, fields_TL)]
        count, depth, height, width, _ = stacked_TLHW2.shape
        pixels_THWC = stacked_TLHW2.transpose(0, 2, 3, 1, 4).reshape(count, height, width, 2 * depth)
        return np.ascontiguousarray(pixels_THWC), set(fields_F[corrupt_F].tolist())


def tick(
    times_T: NDArray[np.float64], example: Example, spec: ClipSpec
) -> tuple[NDArray[np.float64], Indices]:
    """The clock that flow on the way goes by, in seconds, and the frame that each of its ticks shows.

    The video's own frames, or ticks of the spec's rate, of which one lies at the example's start.
    """
    if spec.fps is None:
        return times_T, np.arange(len(times_T))
    begin = float(times_T[0]) if example.start_seconds is None else max(example.start_seconds, 0.0)
    before = int(max(0.0, begin - times_T[0]) * spec.fps + CLOCK_SLACK)
    after = int((times_T[-1] + frame_length(times_T) - begin) * spec.fps - CLOCK_SLACK)
    clock_T = begin + np.arange(-before, max(after, 0) + 1) / spec.fps
    shown_T = np.searchsorted(times_T, clock_T + CLOCK_SLACK, "right") - 1
    return clock_T, np.clip(shown_T, 0, len(times_T) - 1).astype(np.int64)


class WindowFlow:
    """Flow of the windows of one video, each field made once although windows overlap.

    method: of `vadis.video.flow`. device: where, for methods that can choose.
    """

    def __init__(self, method: str, device: str = "cpu") -> None:
        self.method, self.device = method, device
        self._known: dict[tuple[str, int, bool], dict[int, NDArray[np.uint8]]] = {}

    def of(
        self, frames_THWC: NDArray[np.uint8], first: int, spec: ClipSpec, name: str
    ) -> NDArray[np.float32]:
        """flow_THW2 of a window's frames, in pixels a frame of pictures whose short side is `spec.size`.

        first: the number of the window's first frame in the video; numbers do not decrease from window to
        window. Quantised as stored flow is, so that both give the same answers. Where `spec.stacking` goes
        both ways, the channels are u and v of each field and of its way back. Raises VideoError("not_found")
        for a single frame. name: of the video.
        """
        if len(frames_THWC) < 2:
            raise VideoError("not_found", name, "one frame alone has no optical flow", ONE_FRAME)
        directions = (False, True) if spec.stacking == "bidirectional" else (False,)
        estimator, warped = get_estimator(self.method, self.device), spec.modality == "warped_flow"
        found = []
        small: NDArray[np.uint8] | None = None
        for backward in directions:
            known = self._known.setdefault((spec.modality, spec.size, backward), {})
            for number in [number for number in known if number < first]:
                del known[number]
            wanted = np.array([i for i in range(len(frames_THWC) - 1) if first + i not in known], np.int64)
            if len(wanted):
                small = _scaled(frames_THWC, spec.size) if small is None else small
                pixels_FHW2 = estimate_pixels(small, wanted, estimator, warped, backward)
                known.update(zip((first + wanted).tolist(), pixels_FHW2, strict=True))
            found.append(np.stack([known[first + i] for i in range(len(frames_THWC) - 1)]))
        return dequantise(np.concatenate(found, axis=-1))


def _scaled(frames_THWC: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    width, height = scaled_size(frames_THWC.shape[2], frames_THWC.shape[1], short_side)
    if (height, width) == frames_THWC.shape[1:3]:
        return frames_THWC
    return np.stack([resize_picture(frame_HWC, height, width) for frame_HWC in frames_THWC])


def estimate_pixels(
    frames_THWC: NDArray[np.uint8],
    starts_F: Indices,
    estimator: Estimator,
    warped: bool = False,
    backward: bool = False,
) -> NDArray[np.uint8]:
    """pixels_FHW2 (uint8) of the flow from each of the frames `starts_F` to the next, or back from the next.

    frames_THWC: uint8 RGB. warped: less the camera's motion, which is fitted to key points and that flow.
    """
    height, width = frames_THWC.shape[1:3]
    pixels_FHW2 = np.empty((len(starts_F), height, width, 2), np.uint8)
    if backward:
        frames_THWC = frames_THWC[::-1]
        starts_F = len(frames_THWC) - 2 - starts_F
    for begin in range(0, len(starts_F), FIELDS_AT_ONCE):
        part = starts_F[begin : begin + FIELDS_AT_ONCE]
        fields = estimator(frames_THWC, part.tolist()).dense().fields_THW2
        if warped:
            fields = _without_camera(frames_THWC, part, fields)
        pixels_FHW2[begin : begin + len(part)] = quantise(fields)
    return pixels_FHW2


def _without_camera(
    frames_THWC: NDArray[np.uint8], starts_F: Indices, fields_FHW2: NDArray[np.float32]
) -> NDArray[np.float32]:
    from vadis.video.camera_motion import find_homography, remove_camera

    pairs = zip(starts_F.tolist(), fields_FHW2, strict=True)
    found = [
        find_homography(frames_THWC[start], frames_THWC[start + 1], field_HW2) for start, field_HW2 in pairs
    ]
    return remove_camera(fields_FHW2, np.stack(found))


def get_estimator(method: str, device: str) -> Estimator:
    """The estimator of a method, made once in a thread: it may hold a network, and OpenCV's hold a state."""
    from vadis.video.flow import Estimator

    made: dict[tuple[str, str], Estimator] = _THREAD.__dict__.setdefault("estimators", {})
    if (method, device) not in made:
        made[method, device] = Estimator(method, device=device)
        if "cv2" in sys.modules and get_worker_info() is not None:
            sys.modules["cv2"].setNumThreads(1)  # a loader's workers are its threads
    return made[method, device]
