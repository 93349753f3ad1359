"""Which frames the clips of an example show: rules by name, over the interval that the example is.

A rule of `vadis.video.sample` says which frames; a spec whose positions lie in segments spreads them over the
interval instead. Where the spec has a rate, the rule counts in ticks of that rate.

Legend: N clips, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadis.records import Example, VideoError
from vadis.specs import ClipSpec
from vadis.video import sample
from vadis.video.sample import Indices, OutOfRange

CLOCK_SLACK = 1e-6  # seconds by which a time in an annotation may miss the frame that it means


@dataclass(frozen=True)
class ClipRule:
    """How clips are taken from a video: the name of a rule in `RULES` and the number of clips.

    `out_of_range` says what a clip longer than its video shows: "loop", "clamp" or "error". `at_most` is the
    number of frames that "whole" takes of a longer video (its first ones).
    """

    name: str = "random"
    num_clips: int = 1
    out_of_range: OutOfRange = "loop"
    at_most: int | None = None

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(f"no rule {self.name!r} for clips; there are {', '.join(RULES)}")
        if self.num_clips < 1:
            raise ValueError(f"num_clips ({self.num_clips}) must be at least 1")


Rng = np.random.Generator | None


def _random(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    if rng is None:
        raise ValueError('the rule "random" needs random numbers; in evaluation take "uniform"')
    return sample.random_clips(
        total, rule.num_clips, spec.num_frames, spec.frame_stride, rng=rng, out_of_range=rule.out_of_range
    )


def _uniform(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    return sample.uniform_clips(total, rule.num_clips, spec.num_frames, spec.frame_stride, rule.out_of_range)


def _segments(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    if rng is None:
        return sample.tsn_test_segments(total, spec.num_frames)[None].repeat(rule.num_clips, 0)
    clips = [sample.tsn_train_segments(total, spec.num_frames, rng=rng) for _ in range(rule.num_clips)]
    return np.stack(clips)


def _slowfast(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    return sample.slowfast_clips(
        total,
        rule.num_clips,
        spec.num_frames,
        spec.frame_stride,
        fps=fps,
        target_fps=fps if spec.fps is None else spec.fps,
        rng=rng,
    )


def _nonlocal(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    return sample.nonlocal_clips(total, rule.num_clips, spec.num_frames, spec.frame_stride)


def _ssv2(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    clips = [sample.slowfast_ssv2_clip(total, spec.num_frames, rng) for _ in range(rule.num_clips)]
    return np.stack(clips)


def _whole(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    least = spec.num_frames if rule.at_most is None else min(spec.num_frames, rule.at_most)
    return sample.whole_video(total, rule.at_most, at_least=least)[None]


def _tsn(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    span = sample.clip_span(spec.num_frames, spec.frame_stride)
    starts_N = sample.tsn_test_segments(total, rule.num_clips, span)
    return sample.clips_from_starts(starts_N, total, spec.num_frames, spec.frame_stride, rule.out_of_range)


def _slowfast_charades(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    return sample.slowfast_charades_clips(total, rule.num_clips, spec.num_frames, spec.frame_stride)


def _moments(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    centres_N = np.arange(rule.num_clips, dtype=np.int64) * total // rule.num_clips
    before = sample.clip_span(spec.num_frames, spec.frame_stride) // 2
    return sample.clips_from_starts(centres_N - before, total, spec.num_frames, spec.frame_stride, "clamp")


def _parts_of_video(total: int, spec: ClipSpec, rule: ClipRule, fps: float, rng: Rng) -> Indices:
    """T equal parts and a position in each: at random, or clip k of N at the k-th of N even places."""
    count = spec.num_frames
    if rng is not None:
        drawn = [sample.tsn_train_segments(total, count, spec.reach, rng=rng) for _ in range(rule.num_clips)]
        return np.stack(drawn)
    return sample.tsn_test_segments(total, count * rule.num_clips, spec.reach).reshape(count, -1).T.copy()


RULES: dict[str, Callable[[int, ClipSpec, ClipRule, float, Rng], Indices]] = {
    "random": _random,
    "uniform": _uniform,
    "segments": _segments,
    "slowfast": _slowfast,
    "nonlocal": _nonlocal,
    "ssv2": _ssv2,
    "whole": _whole,
    "tsn": _tsn,
    "slowfast_charades": _slowfast_charades,
    "moments": _moments,
}
"""Rules for clips by name. "random" at every start, "segments" (TSN), "slowfast" and "ssv2" at random places
in training and at fixed ones in evaluation, the others at fixed ones always. "whole" is one clip of all
frames, so batches of it hold one video. "segments" spreads the frames of a clip over the video; "tsn" are
clips of neighbouring frames, one in the middle of each of `num_clips` parts; "moments" are clips about the
times k / num_clips of the video, its ends repeated (Charades' 25 moments)."""

NOT_IN_SEGMENTS = frozenset({"whole", "moments"})  # all frames, and moments, are not spread over the video
OWN_RATE = frozenset({"slowfast"})  # counts in frames of the file and brings `spec.fps` in by itself


def interval_frames(example: Example, times_T: NDArray[np.float64], name: str) -> tuple[int, int]:
    """First frame of an example's interval and the one after its last, as indices into times_T.

    times_T: when each frame is shown, in seconds. The first is the frame that a player shows at the start.
    Raises VideoError("empty") where the interval lies outside the video.
    """
    first, stop = 0, len(times_T)
    if example.start_seconds is not None:
        if example.start_seconds > times_T[-1] + frame_length(times_T):
            raise VideoError(
                "empty",
                name,
                f"the clip begins at {example.start_seconds:g} s, the last frame is at {times_T[-1]:.3f} s",
                "the annotation does not fit the file; compare their durations",
            )
        first = max(0, int(np.searchsorted(times_T, example.start_seconds + CLOCK_SLACK, "right")) - 1)
    if example.end_seconds is not None:
        stop = int(np.searchsorted(times_T, example.end_seconds - CLOCK_SLACK, "left"))
        if stop <= first and example.end_seconds <= times_T[0]:
            raise VideoError(
                "empty",
                name,
                f"the clip ends at {example.end_seconds:g} s, before the first frame",
                "the annotation does not fit the file",
            )
    return first, max(stop, first + 1)


def frame_length(times_T: NDArray[np.float64]) -> float:
    """How long a frame is shown, in seconds: the median; 0.04 of a single one."""
    return float(np.median(np.diff(times_T))) if len(times_T) > 1 else 0.04


def choose_frames(
    example: Example,
    times_T: NDArray[np.float64],
    spec: ClipSpec,
    rule: ClipRule,
    rng: np.random.Generator | None,
    name: str = "",
) -> Indices:
    """The frames of an example's clips: indices_NT into the whole video.

    times_T: when each frame of the video is shown, in seconds. Where `spec.fps` is set, frames are taken at
    that rate first (the one shown at each tick) and the rule counts in ticks.
    """
    first, stop = interval_frames(example, times_T, name)
    length = frame_length(times_T)
    fps = 1 / length
    in_segments = spec.sampling == "segments" and rule.name not in NOT_IN_SEGMENTS
    choose = _parts_of_video if in_segments else RULES[rule.name]
    if spec.fps is None or (rule.name in OWN_RATE and not in_segments):
        return first + choose(stop - first, spec, rule, fps, rng)
    begin = float(times_T[first]) if example.start_seconds is None else max(example.start_seconds, 0.0)
    end = float(times_T[stop - 1]) + length
    if example.end_seconds is not None:
        end = min(end, example.end_seconds)
    num_ticks = max(1, int(np.ceil((end - begin) * spec.fps - CLOCK_SLACK)))
    ticks = begin + np.arange(num_ticks) / spec.fps
    shown = np.clip(np.searchsorted(times_T, ticks + CLOCK_SLACK, "right") - 1, first, stop - 1)
    return shown[choose(num_ticks, spec, rule, spec.fps, rng)].astype(np.int64)
