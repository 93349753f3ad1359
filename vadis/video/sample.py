"""Which frames: pure index arithmetic for every sampling convention of the field, apart from any I/O.

Each function takes the number of frames of a video (`total_frames`) and returns indices into it, 0-based,
int64: `indices_NT` (N clips of T frames), `indices_T`, or `starts_N`. Nothing here opens a file or draws
from a global random state; a random rule takes a `numpy.random.Generator`. All clips of a video go to
the decoder in one call: `Video(...).clips(list(indices_NT))`.

Legend: N clips (or windows), T frames of a clip. `num_frames` and `frame_stride` are T and tau of
"T x tau". The span of a clip is what it covers: `(num_frames - 1) * frame_stride + 1` frames where only
the frames shown count, `num_frames * frame_stride` in SlowFast's rule.

Indices outside the video, from clips longer than it, are brought back by `fit`: "loop" starts the video
again (I3D, non-local, mmaction2), "clamp" repeats the first or last frame (SlowFast), "error" refuses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Indices: TypeAlias = npt.NDArray[np.int64]
OutOfRange = Literal["loop", "clamp", "error"]


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} ({value!r}) must be an integer")
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} ({value}) must be a positive, finite number")


def clip_span(num_frames: int, frame_stride: int = 1) -> int:
    """Number of source frames from the first to the last frame of a clip, both included."""
    _at_least_one(num_frames=num_frames, frame_stride=frame_stride)
    return (num_frames - 1) * frame_stride + 1


def fit(indices: npt.ArrayLike, total_frames: int, out_of_range: OutOfRange = "loop") -> Indices:
    """Bring indices of any shape into `[0, total_frames)`.

    "loop": modulo the length, as if the video were played again and again; "clamp": the nearest end;
    "error": ValueError that names the first index outside.
    """
    _at_least_one(total_frames=total_frames)
    wanted = np.asarray(indices, dtype=np.int64)
    if out_of_range == "loop":
        return wanted % total_frames
    if out_of_range == "clamp":
        return np.clip(wanted, 0, total_frames - 1)
    if out_of_range == "error":
        outside = wanted[(wanted < 0) | (wanted >= total_frames)]
        if outside.size:
            raise ValueError(f"index {outside.flat[0]} is outside the video: legal are 0..{total_frames - 1}")
        return wanted
    raise ValueError(f"out_of_range ({out_of_range!r}) must be one of 'loop', 'clamp', 'error'")


def clips_from_starts(
    starts: npt.ArrayLike,
    total_frames: int,
    num_frames: int,
    frame_stride: int = 1,
    out_of_range: OutOfRange = "loop",
) -> Indices:
    """Clips of `num_frames` frames every `frame_stride`, one for each start: indices_NT."""
    _at_least_one(num_frames=num_frames, frame_stride=frame_stride)
    starts_N = np.asarray(starts, dtype=np.int64).reshape(-1)
    return fit(starts_N[:, None] + np.arange(num_frames) * frame_stride, total_frames, out_of_range)


# Dense windows, whole videos, and changes of rate ------------------------------------------------------


def window_indices(total_frames: int, window: int, stride: int) -> Indices:
    """Windows of `window` frames, one every `stride`, that together cover the video to its end: indices_NT.

    Windows start at 0, stride, 2 stride ...; where that grid does not reach the last frame, one more
    window is added that ends exactly with the video. A video shorter than a window loops to fill one
    (as in the I3D paper, sec. 2.5). With `stride > window` the frames between windows are skipped.
    """
    _at_least_one(total_frames=total_frames, window=window, stride=stride)
    if total_frames <= window:
        return loop_indices(total_frames, window)[None]
    starts = list(range(0, total_frames - window + 1, stride))
    if starts[-1] + window < total_frames:
        starts.append(total_frames - window)
    return clips_from_starts(starts, total_frames, window, out_of_range="error")


def loop_indices(total_frames: int, num_frames: int, start: int = 0) -> Indices:
    """`num_frames` frames in a row from `start`, the video beginning again where it ends: indices_T."""
    _at_least_one(total_frames=total_frames, num_frames=num_frames)
    return fit(np.arange(num_frames) + start, total_frames, "loop")


def whole_video(total_frames: int, at_most: int | None = None, at_least: int = 1) -> Indices:
    """The whole video as one clip: indices_T. I3D: 10 s at 25 fps, `at_most=250` (arXiv:1705.07750, 2.5).

    A longer video gives its first `at_most` frames; a shorter one loops up to `at_least`.
    """
    _at_least_one(total_frames=total_frames, at_least=at_least)
    length = max(total_frames, at_least)
    if at_most is not None:
        _at_least_one(at_most=at_most)
        if at_most < at_least:
            raise ValueError(f"at_most ({at_most}) must not be below at_least ({at_least})")
        length = min(length, at_most)
    return loop_indices(total_frames, length)


def resample_rate(total_frames: int, fps: float | Fraction, target_fps: float | Fraction) -> Indices:
    """Frames shown at k / target_fps seconds in a video of constant rate `fps`: indices_T.

    Element k is `floor(k * fps / target_fps)`, in exact rational arithmetic, for all k with
    k / target_fps before the end of the video. For real files prefer times (`stream_frames(fps=...)`),
    which hold for a variable rate too.
    """
    _at_least_one(total_frames=total_frames)
    _positive(fps=float(fps), target_fps=float(target_fps))
    ratio = Fraction(fps).limit_denominator(10**6) / Fraction(target_fps).limit_denominator(10**6)
    count = max(1, math.ceil(Fraction(total_frames) / ratio))
    return np.array([k * ratio.numerator // ratio.denominator for k in range(count)], dtype=np.int64)


# N clips of a video ------------------------------------------------------------------------------------


def uniform_clips(
    total_frames: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int = 1,
    out_of_range: OutOfRange = "loop",
) -> Indices:
    """`num_clips` clips spread evenly from the first to the last possible start: indices_NT.

    The first begins with the video, the last ends with it (both where num_clips > 1; a single clip lies in
    the middle). LGD (arXiv:1906.05571): 20 clips of 16 or 128 frames. R(2+1)D: 10 clips. The starts are
    `floor(k * room / (num_clips - 1))` in integers, so no rounding rule matters.
    """
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    room = max(total_frames - clip_span(num_frames, frame_stride), 0)
    if num_clips == 1:
        starts = np.array([room // 2])
    else:
        starts = np.arange(num_clips, dtype=np.int64) * room // (num_clips - 1)
    return clips_from_starts(starts, total_frames, num_frames, frame_stride, out_of_range)


def random_clips(
    total_frames: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int = 1,
    *,
    rng: np.random.Generator,
    out_of_range: OutOfRange = "loop",
) -> Indices:
    """`num_clips` clips at random starts, all that fit being equally likely: indices_NT (training)."""
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    room = max(total_frames - clip_span(num_frames, frame_stride), 0)
    starts = rng.integers(0, room + 1, size=num_clips)
    return clips_from_starts(starts, total_frames, num_frames, frame_stride, out_of_range)


def middle_clip(
    total_frames: int, num_frames: int, frame_stride: int = 1, out_of_range: OutOfRange = "clamp"
) -> Indices:
    """One clip from the middle: indices_1T. TimeSformer's paper (arXiv:2102.05095, sec. 4): 8 x 32 frames.

    Its published code does otherwise: with one clip, SlowFast's rule starts it at frame 0; for that use
    `slowfast_clips(..., num_clips=1)`.
    """
    return uniform_clips(total_frames, 1, num_frames, frame_stride, out_of_range)


# SlowFast ----------------------------------------------------------------------------------------------


def _slowfast_size(num_frames: int, frame_stride: int, fps: float, target_fps: float) -> float:
    _at_least_one(num_frames=num_frames, frame_stride=frame_stride)
    _positive(fps=fps, target_fps=target_fps)
    # the order of operations is theirs: floats do not commute
    return frame_stride * num_frames / target_fps * fps


def slowfast_starts(
    total_frames: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int,
    *,
    fps: float = 30.0,
    target_fps: float = 30.0,
    use_offset: bool = False,
) -> npt.NDArray[np.float64]:
    """SlowFast's starts of test clips, not yet rounded: starts_N, float64.

    The clip's size is `num_frames * frame_stride * fps / target_fps` source frames (fractional) and
    delta what is left; start k is `delta * k / num_clips`, so the last clip never touches the end. With
    `use_offset` it is `k * floor(delta / (num_clips - 1))`, one clip at floor(delta / 2).
    """
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    delta = max(total_frames - _slowfast_size(num_frames, frame_stride, fps, target_fps), 0.0)
    steps = np.arange(num_clips, dtype=np.float64)
    if not use_offset:
        return delta * steps / num_clips
    if num_clips == 1:
        return np.array([math.floor(delta / 2)], dtype=np.float64)
    return steps * math.floor(delta / (num_clips - 1))


def spread_float32(start: float, end: float, num_frames: int) -> npt.NDArray[np.float32]:
    """values_T (T = num_frames, float32) from start to end: what `torch.linspace` gives on a CPU, to the bit.

    Its kernel works from both ends in float32 with a fused multiply-add; a float64 linspace truncates to
    another frame in about 1 of 100 SlowFast clips.
    """
    _at_least_one(num_frames=num_frames)
    first, last = np.float32(start), np.float32(end)
    if num_frames == 1:
        return np.array([first], dtype=np.float32)
    step = np.float64(np.float32((last - first) / np.float32(num_frames - 1)))
    k = np.arange(num_frames)
    up = np.float64(first) + step * k
    down = np.float64(last) - step * (num_frames - 1 - k)
    return np.where(k < num_frames // 2, up, down).astype(np.float32)


def slowfast_clips(
    total_frames: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int,
    *,
    fps: float = 30.0,
    target_fps: float = 30.0,
    use_offset: bool = False,
    rng: np.random.Generator | None = None,
) -> Indices:
    """SlowFast's clips on Kinetics: indices_NT (arXiv:1812.03982; 10 clips at test).

    `trunc(linspace(start, start + size - 1, num_frames))`, clamped to the video. `fps` is that of the
    video, `target_fps` the rate the stride counts in. With `rng` the starts are drawn uniformly from
    [0, delta] (training). `num_frames` is T of the fast pathway (32 for "8x8").
    """
    size = _slowfast_size(num_frames, frame_stride, fps, target_fps)
    starts = slowfast_starts(
        total_frames,
        num_clips,
        num_frames,
        frame_stride,
        fps=fps,
        target_fps=target_fps,
        use_offset=use_offset,
    )
    if rng is not None:
        starts = rng.uniform(0.0, max(total_frames - size, 0.0), size=num_clips)
    spread = np.stack([spread_float32(start, start + size - 1, num_frames) for start in starts])
    return np.clip(spread, 0, total_frames - 1).astype(np.int64)


def slowfast_charades_starts(
    total_frames: int, num_clips: int, num_frames: int, frame_stride: int
) -> Indices:
    """SlowFast's starts on Charades (test): `round(gap * k)`, gap = room / (num_clips - 1): starts_N.

    Rounding is to even. The original divides by zero for one clip; here one clip starts at 0.
    """
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    room = max(total_frames - clip_span(num_frames, frame_stride), 0)
    gap = float(room) / max(num_clips - 1, 1)
    return np.array([round(gap * k) for k in range(num_clips)], dtype=np.int64)


def slowfast_charades_clips(total_frames: int, num_clips: int, num_frames: int, frame_stride: int) -> Indices:
    """SlowFast's clips on Charades (test), clamped to the video: indices_NT."""
    starts = slowfast_charades_starts(total_frames, num_clips, num_frames, frame_stride)
    return clips_from_starts(starts, total_frames, num_frames, frame_stride, "clamp")


def slowfast_ssv2_clip(total_frames: int, num_frames: int, rng: np.random.Generator | None = None) -> Indices:
    """SlowFast's clip on Something-Something v2, spread over the whole video: indices_T.

    Segment k reaches from round(k s) to round((k + 1) s), both included, with s = (total - 1) / T; the
    middle frame of each at test, a random one with `rng`. Short videos repeat frames.
    """
    _at_least_one(total_frames=total_frames, num_frames=num_frames)
    size = float(total_frames - 1) / num_frames
    edges = np.round(size * np.arange(num_frames + 1)).astype(np.int64)
    if rng is None:
        return (edges[:-1] + edges[1:]) // 2
    return rng.integers(edges[:-1], edges[1:] + 1)


# Non-local, mmaction2 ----------------------------------------------------------------------------------


def nonlocal_starts(total_frames: int, num_clips: int = 10) -> Indices:
    """Starts of the non-local networks' test clips: `int(total / num_clips * k) % total`: starts_N."""
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    step = total_frames / num_clips
    return np.array([int(step * k) % total_frames for k in range(num_clips)], dtype=np.int64)


def nonlocal_clips(total_frames: int, num_clips: int, num_frames: int, frame_stride: int) -> Indices:
    """Clips of the non-local networks (arXiv:1711.07971): frames wrap modulo the video: indices_NT."""
    starts = nonlocal_starts(total_frames, num_clips)
    return clips_from_starts(starts, total_frames, num_frames, frame_stride, "loop")


def mmaction2_starts(
    total_frames: int, num_clips: int, num_frames: int, frame_stride: int, *, twice: bool = False
) -> Indices:
    """mmaction2's `SampleFrames` at test (version 1): starts_N.

    `round(k * room / (num_clips - 1))`, to even; one clip lies at room // 2. `twice` doubles the number.
    """
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    room = max(total_frames - clip_span(num_frames, frame_stride), 0)
    count = num_clips * (2 if twice else 1)
    if count == 1:
        return np.array([room // 2], dtype=np.int64)
    return np.round(np.arange(count) * (room / float(count - 1))).astype(np.int64)


def mmaction2_clips(
    total_frames: int,
    num_clips: int,
    num_frames: int,
    frame_stride: int = 1,
    out_of_range: OutOfRange = "loop",
) -> Indices:
    """mmaction2's clips at test; what lies beyond the end wraps: indices_NT."""
    starts = mmaction2_starts(total_frames, num_clips, num_frames, frame_stride)
    return clips_from_starts(starts, total_frames, num_frames, frame_stride, out_of_range)


def mmaction2_centre_frames(total_frames: int, num_clips: int = 25) -> Indices:
    """mmaction2 0.x with `clip_len` 1 (TSN): `int((k + 0.5) * total / num_clips)`: indices_N.

    In later versions a clip of one frame follows `mmaction2_starts` too.
    """
    _at_least_one(total_frames=total_frames, num_clips=num_clips)
    step = total_frames / float(num_clips)
    return (np.arange(num_clips) * step + step / 2.0).astype(np.int64)


# Segments: TSN, two-stream, Charades -------------------------------------------------------------------


def tsn_test_segments(total_frames: int, num_segments: int = 25, stack: int = 1) -> Indices:
    """Two-stream and TSN at test: the middle of each of `num_segments` equal parts: starts_N.

    `int(tick / 2 + tick * k)`, tick = (total - stack + 1) / num_segments; `stack` is 1 for RGB and the
    number of flow fields (5) for flow, whose frame list has `total_frames` pairs. The original numbers its
    frames from 1; these are 0-based. A video shorter than the stack gives zeros.
    """
    _at_least_one(total_frames=total_frames, num_segments=num_segments, stack=stack)
    tick = max(total_frames - stack + 1, 0) / float(num_segments)
    return np.array([int(tick / 2.0 + tick * k) for k in range(num_segments)], dtype=np.int64)


def tsn_train_segments(
    total_frames: int, num_segments: int, stack: int = 1, *, rng: np.random.Generator
) -> Indices:
    """TSN in training: a random place in each of `num_segments` equal parts: starts_N, ascending.

    Parts have `(total - stack + 1) // num_segments` frames (the remainder at the end is never drawn, as in
    the original, arXiv:1608.00859); when they would be empty but the video is long enough, places are drawn
    from all of it; a shorter video gives zeros.
    """
    _at_least_one(total_frames=total_frames, num_segments=num_segments, stack=stack)
    length = (total_frames - stack + 1) // num_segments
    if length > 0:
        offsets = rng.integers(length, size=num_segments)
        return np.arange(num_segments, dtype=np.int64) * length + offsets
    if total_frames > max(num_segments, stack):
        return np.sort(rng.integers(total_frames - stack + 1, size=num_segments))
    return np.zeros(num_segments, dtype=np.int64)


def segment_stacks(starts: Sequence[int] | Indices, total_frames: int, stack: int) -> Indices:
    """The `stack` consecutive frames (or flow fields) from each start, clamped at the end: indices_NT."""
    return clips_from_starts(starts, total_frames, stack, 1, "clamp")


def charades_frames(total_frames: int, num_frames: int = 25) -> Indices:
    """Charades' 25 frames from first to last, `trunc(linspace(0, total - 1, 25))`: indices_T.

    The original numbers them from 1.
    """
    _at_least_one(total_frames=total_frames, num_frames=num_frames)
    return np.linspace(0, total_frames - 1, num_frames).astype(np.int64)


def charades_times(length_seconds: float, num_times: int = 25) -> npt.NDArray[np.float64]:
    """The times at which Charades scores localisation: `j / 25 * length`, j = 0..24: times_T in seconds."""
    _positive(length_seconds=length_seconds)
    _at_least_one(num_times=num_times)
    return np.arange(num_times) / float(num_times) * length_seconds
