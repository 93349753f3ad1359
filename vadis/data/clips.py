"""From an example to the pixels of its clips: which frames a rule takes, and those frames decoded.

A rule of `vadis.video.sample` says which frames; the frames of one example are fetched in one pass, from
the file, from a tar file that holds it, or from the cache of resized frames. Nothing is replaced: what
cannot be read raises a VideoError, and a frame that the decoder marked as damaged is counted. A network that
takes flow gets the flow pictures of the example instead, by the same rules.

Legend: N clips, T frames, H W pixels, C channels, L flow fields stacked as channels.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vadis.data.flow_pictures import FlowPictures
from vadis.data.frame_cache import FrameCache, frame_key
from vadis.records import Example, Limits, VideoError
from vadis.specs import ClipSpec
from vadis.video import sample
from vadis.video.decode import Video
from vadis.video.images import DEFAULT_RATE
from vadis.video.sample import Indices, OutOfRange

CLOCK_SLACK = 1e-6  # seconds by which a time in an annotation may miss the frame that it means
MAX_CACHED_BYTES = 2**29  # of pixels of one example: a longer one is decoded clip by clip, not cached


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

OWN_RATE = frozenset({"slowfast"})  # counts in frames of the file and brings `spec.fps` in by itself


def interval_frames(example: Example, times_T: NDArray[np.float64], name: str) -> tuple[int, int]:
    """First frame of an example's interval and the one after its last, as indices into times_T.

    times_T: when each frame is shown, in seconds. The first is the frame that a player shows at the start.
    Raises VideoError("empty") where the interval lies outside the video.
    """
    first, stop = 0, len(times_T)
    if example.start_seconds is not None:
        if example.start_seconds > times_T[-1] + _frame_length(times_T):
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


def _frame_length(times_T: NDArray[np.float64]) -> float:
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
    length = _frame_length(times_T)
    fps = 1 / length
    if spec.fps is None or rule.name in OWN_RATE:
        return first + RULES[rule.name](stop - first, spec, rule, fps, rng)
    begin = float(times_T[first]) if example.start_seconds is None else max(example.start_seconds, 0.0)
    end = float(times_T[stop - 1]) + length
    if example.end_seconds is not None:
        end = min(end, example.end_seconds)
    num_ticks = max(1, int(np.ceil((end - begin) * spec.fps - CLOCK_SLACK)))
    ticks = begin + np.arange(num_ticks) / spec.fps
    shown = np.clip(np.searchsorted(times_T, ticks + CLOCK_SLACK, "right") - 1, first, stop - 1)
    return shown[RULES[rule.name](num_ticks, spec, rule, spec.fps, rng)].astype(np.int64)


@dataclass(frozen=True)
class Clips:
    """The decoded clips of one example.

    clips: uint8 RGB, or flow as pictures hold it, (T, H, W, C) each. indices_NT: the frames they show.
    num_damaged: frames that the decoder marked as damaged. short: the file ends before its declared end.
    times_T: when each frame of the whole video is shown, in seconds.
    """

    clips: tuple[NDArray[np.uint8], ...]
    indices_NT: Indices
    num_damaged: int = 0
    short: bool = False
    times_T: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def seconds_N2(self) -> NDArray[np.float64]:  # noqa: N802 - the shape suffix
        """seconds_N2: when each clip's first frame begins to be shown, and when its last one ends."""
        times_NT = self.times_T[self.indices_NT]
        return np.stack([times_NT.min(1), times_NT.max(1) + _frame_length(self.times_T)], axis=1)


def read_clips(
    example: Example,
    root: str | Path,
    spec: ClipSpec,
    rule: ClipRule,
    *,
    rng: np.random.Generator | None = None,
    short_side: int | None = None,
    cache: FrameCache | None = None,
    limits: Limits = Limits(),  # noqa: B008
    threads: int | None = 1,
) -> Clips:
    """Decode the clips that a rule takes from an example, and only these (with a cache: all of it, once).

    short_side: pixels to which frames are scaled; None keeps their size. threads: of the decoder.
    Raises VideoError where the file cannot be read or holds nothing in the example's interval. Flow is read
    from the example's flow pictures, never from the cache.
    """
    check_modality(spec)
    if spec.modality == "flow":
        return _read_flow(example, Path(root), spec, rule, rng, short_side, limits, threads)
    source, name = find_source(Path(root), example.video)
    if cache is not None:
        return _read_cached(example, source, name, spec, rule, rng, cache, limits, threads)
    with Video(source, short_side=short_side, limits=limits, threads=threads) as video:
        times_T = _times(video, example, source)
        indices_NT = choose_frames(example, times_T, spec, rule, rng, name)
        parts = video.clips([clip.tolist() for clip in indices_NT])
        return Clips(
            tuple(part.frames_THWC for part in parts),
            indices_NT,
            len({int(i) for part in parts for i in part.indices_T[part.corrupt_T]}),
            parts[0].report.short,
            times_T,
        )


def check_modality(spec: ClipSpec) -> None:
    """Raise ValueError unless clips can be loaded for a network: RGB, or flow (u and v in turn)."""
    if spec.parts or spec.modality not in ("rgb", "flow"):
        raise ValueError(
            f'clips are loaded as "rgb" or as "flow", one at a time; the network takes {spec.modality!r}'
        )
    if spec.modality == "flow" and spec.channels % 2:
        raise ValueError(f"flow has u and v in turn, so an even number of channels, not {spec.channels}")


def _read_flow(
    example: Example,
    root: Path,
    spec: ClipSpec,
    rule: ClipRule,
    rng: np.random.Generator | None,
    short_side: int | None,
    limits: Limits,
    threads: int | None,
) -> Clips:
    """Clips of flow fields: T times `spec.channels` / 2 successive ones, the last again past the end."""
    pictures = FlowPictures(example, root, limits)
    times_T = _flow_times(example, root, len(pictures), spec.fps is not None, limits, threads)
    indices_NT = choose_frames(example, times_T, spec, rule, rng, pictures.name)
    stack_L = np.arange(spec.channels // 2)
    fields_NTL = np.minimum(indices_NT[..., None] + stack_L, len(pictures) - 1)
    read = [pictures.read(fields_TL, short_side) for fields_TL in fields_NTL]
    damaged = set().union(*(fields for _, fields in read))
    return Clips(tuple(pixels for pixels, _ in read), indices_NT, len(damaged), False, times_T)


def _flow_times(
    example: Example, root: Path, count: int, by_time: bool, limits: Limits, threads: int | None
) -> NDArray[np.float64]:
    """times_T of flow fields: when the frame is shown that each leads from.

    The video's own times, or those of the rate at which frames were extracted. Where the video is not there
    (only its flow was kept) and nothing is asked by time, 25 a second.
    """
    if example.fps is not None:
        return np.arange(count) / example.fps
    source, name = find_source(root, example.video)
    timed = by_time or example.start_seconds is not None or example.end_seconds is not None
    if isinstance(source, Path) and not source.exists() and not timed:
        return np.arange(count) / float(DEFAULT_RATE)
    with Video(source, limits=limits, threads=threads) as video:
        times_T = video.frame_times()
    if len(times_T) < count:
        message = f"{count} flow pictures, but the video has {len(times_T)} frames"
        raise VideoError("corrupt", name, message, "compute the flow of this video anew")
    return times_T[:count]


def _times(video: Video, example: Example, source: Path | bytes) -> NDArray[np.float64]:
    """times_T in seconds; a folder of frames has the rate at which it was extracted, where that is known."""
    if example.fps is not None and isinstance(source, Path) and source.is_dir():
        return np.arange(len(video)) / example.fps
    return video.frame_times()


def _read_cached(
    example: Example,
    source: Path | bytes,
    name: str,
    spec: ClipSpec,
    rule: ClipRule,
    rng: np.random.Generator | None,
    cache: FrameCache,
    limits: Limits,
    threads: int | None,
) -> Clips:
    span = f"{example.start_seconds}:{example.end_seconds}:{example.fps}"
    key = frame_key(source, name, f"{span}:{cache.short_side}:{cache.quality}")
    entry = cache.get(key)
    if entry is None:
        with Video(source, short_side=cache.short_side, limits=limits, threads=threads) as video:
            times_T = _times(video, example, source)
            first, stop = interval_frames(example, times_T, name)
            info = video.info
            scale = cache.short_side / max(1, min(info.width, info.height))
            num_bytes = (stop - first) * info.width * info.height * scale**2 * 3
            if num_bytes > min(MAX_CACHED_BYTES, cache.max_bytes):
                indices_NT = choose_frames(example, times_T, spec, rule, rng, name)
                parts = video.clips([clip.tolist() for clip in indices_NT])
                return Clips(
                    tuple(cache.coded(part.frames_THWC) for part in parts),
                    indices_NT,
                    len({int(i) for part in parts for i in part.indices_T[part.corrupt_T]}),
                    parts[0].report.short,
                    times_T,
                )
            frames = video.clips([range(first, stop)])[0]
        damaged = frames.indices_T[frames.corrupt_T]
        entry = cache.put(key, frames.frames_THWC, times_T, first, damaged.tolist(), frames.report.short)
    with entry:
        indices_NT = choose_frames(example, entry.times_T, spec, rule, rng, name)
        clips = tuple(entry.frames(clip - entry.first) for clip in indices_NT)
        num_damaged = len(set(indices_NT.reshape(-1).tolist()) & set(entry.damaged))
        return Clips(clips, indices_NT, num_damaged, entry.short, entry.times_T)


# Files, and files inside tar files ---------------------------------------------------------------------


def find_source(root: Path, video: str) -> tuple[Path | bytes, str]:
    """What to open for an example's `video`, and the name to speak of it by.

    `FOLDER/000001.tar/KEY.mp4` is the member KEY.mp4 of a tar file (`vadis data shard`), as bytes; anything
    else is a path. Raises VideoError("not_found") for a member that the tar file does not have.
    """
    path = root / video
    if ".tar/" not in video:
        return path, str(path)
    head, _, member = video.partition(".tar/")
    archive = root / (head + ".tar")
    if not archive.is_file():
        return path, str(path)
    stat = archive.stat()
    place = tar_members(str(archive), stat.st_size, stat.st_mtime_ns).get(member)
    if place is None:
        raise VideoError("not_found", str(path), f"{archive.name} has no member {member}")
    with archive.open("rb") as file:
        file.seek(place[0])
        return file.read(place[1]), str(path)


@lru_cache(maxsize=4096)
def tar_members(archive: str, size: int, mtime_ns: int) -> dict[str, tuple[int, int]]:
    """Where each regular file of a tar file lies: name to offset and size in bytes.

    size and mtime_ns are those of the file, so that one that was written anew is read anew.
    Raises VideoError("corrupt") where it is not a whole tar file.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            return {item.name: (item.offset_data, item.size) for item in tar if item.isfile()}
    except (tarfile.TarError, OSError) as error:
        raise VideoError("corrupt", archive, f"the tar file cannot be read: {error}") from error
