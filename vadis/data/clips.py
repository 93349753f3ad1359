"""From an example to the pixels of its clips: which frames a rule takes, and those frames decoded.

A rule of `vadis.data.clip_rules` says which frames; the frames of one example are fetched in one pass, from
the file, from a tar file that holds it, or from the cache of resized frames. Nothing is replaced: what
cannot be read raises a VideoError, and a frame that the decoder marked as damaged is counted. A network that
takes flow gets the flow pictures of the example instead, by the same rules, or flow that is estimated on the
way; one that takes sound pictures of the sound about each moment; one that takes several gets all of them, of
the same moments.

Legend: N clips, T frames, H W pixels, C channels, L frames or flow fields stacked as channels.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.data.clip_rules import ClipRule, choose_frames, frame_length, interval_frames
from vadis.data.flow_estimates import EstimatedFlow, tick
from vadis.data.flow_pictures import FlowPictures
from vadis.data.frame_cache import FrameCache, frame_key
from vadis.data.reading import PLAIN, Reading
from vadis.records import Example, VideoError
from vadis.specs import ClipSpec, SoundSpec
from vadis.video.audio import read_mono
from vadis.video.decode import Video
from vadis.video.flow_stack import arrange_pixels
from vadis.video.images import DEFAULT_RATE
from vadis.video.sample import Indices
from vadis.video.streams import picture_sounds

MAX_CACHED_BYTES = 2**29  # of pixels of one example: a longer one is decoded clip by clip, not cached
READ_FROM_VIDEOS = ("rgb", "rgb_diff", "flow", "warped_flow", "audio")


@dataclass(frozen=True)
class Clips:
    """The decoded clips of one example.

    clips: uint8 RGB, or flow as pictures hold it, (T, H, W, C) each, what a position is made of
    (`spec.reach`) stacked in C. indices_NT: the frames they show, the first of each position. num_damaged:
    frames that the decoder marked as damaged. short: the file ends before its declared end. times_T: when
    each frame of the whole video is shown, in seconds. absent: the example lacks this modality, and these
    are zeros.
    """

    clips: tuple[NDArray[Any], ...]
    indices_NT: Indices
    num_damaged: int = 0
    short: bool = False
    times_T: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    absent: bool = False

    @property
    def seconds_N2(self) -> NDArray[np.float64]:  # noqa: N802 - the shape suffix
        """seconds_N2: when each clip's first frame begins to be shown, and when its last one ends."""
        times_NT = self.times_T[self.indices_NT]
        return np.stack([times_NT.min(1), times_NT.max(1) + frame_length(self.times_T)], axis=1)


def read_clips(
    example: Example,
    root: str | Path,
    spec: ClipSpec,
    rule: ClipRule,
    *,
    rng: np.random.Generator | None = None,
    short_side: int | None = None,
    reading: Reading = PLAIN,
) -> Clips:
    """Decode the clips that a rule takes from an example, and only these (with a cache: all of it, once).

    spec: of one modality. short_side: pixels to which frames are scaled; None keeps their size. Raises
    VideoError where the file cannot be read or holds nothing in the example's interval.
    """
    check_modality(spec)
    if spec.parts:
        raise ValueError(f"clips of {spec.modality} are several tensors: read_parts reads them")

    def choose(times_T: NDArray[np.float64], name: str) -> Indices:
        return choose_frames(example, times_T, spec, rule, rng, name)

    return _read(example, spec, _How(Path(root), choose, short_side, reading))


def read_parts(
    example: Example,
    root: str | Path,
    spec: ClipSpec,
    rule: ClipRule,
    *,
    rng: np.random.Generator | None = None,
    resize: bool = True,
    reading: Reading = PLAIN,
) -> dict[str, Clips]:
    """The clips of each part of a spec of several modalities, of the same moments.

    The rule places the clips of the first part. Another part that has as many positions at the same stride
    and rate shows the same times; else its clips lie about the middle of the first part's. resize: to each
    part's `size`. Raises VideoError as `read_clips`, and where a modality is missing that `reading` wants.
    """
    check_modality(spec)
    found: dict[str, Clips] = {}
    leader = next(iter(spec.parts.values()))
    for name, part in spec.parts.items():
        short_side = part.size if resize else None
        if not found:
            first = found[name] = read_clips(
                example, root, part, rule, rng=rng, short_side=short_side, reading=reading
            )
            continue
        choose = _follower(first.times_T[first.indices_NT], leader, part)
        try:
            found[name] = _read(example, part, _How(Path(root), choose, short_side, reading, True))
        except VideoError as error:
            if reading.missing != "zero" or error.kind != "not_found":
                raise
            height, width = (part.height, part.width) if part.sound else first.clips[0].shape[1:3]
            shape = (part.num_frames, height, width, len(part.mean) * part.reach)
            nothing = tuple(np.zeros(shape, np.float32 if part.sound else np.uint8) for _ in first.clips)
            found[name] = Clips(nothing, first.indices_NT, times_T=first.times_T, absent=True)
    return found


def check_modality(spec: ClipSpec) -> None:
    """Raise ValueError unless clips of videos can be made for a network: frames, flow, or several of them."""
    for part in spec.parts.values() or (spec,):
        if part.modality == "features":
            raise ValueError(
                "the network takes features, not videos: `vadis extract` makes them of the network below it"
            )
        if part.modality not in READ_FROM_VIDEOS:
            known = ", ".join(READ_FROM_VIDEOS)
            raise ValueError(f"clips are loaded as {known}; the network takes {part.modality!r}")
        if part.modality in ("flow", "warped_flow") and len(part.mean) != 2:
            raise ValueError(f"flow has u and v in turn, so 2 channels a field, not {len(part.mean)}")


Choose = Callable[[NDArray[np.float64], str], Indices]
"""(times_T of all frames, name of the video) to indices_NT."""


@dataclass(frozen=True)
class _How:
    """Where an example is read from, which frames of it, at what size, and how."""

    root: Path
    choose: Choose
    short_side: int | None
    reading: Reading
    follows: bool = False  # the places of another part, rather than a rule


def _follower(times_NT: NDArray[np.float64], leader: ClipSpec, part: ClipSpec) -> Choose:
    """The frames shown at the times of another part's clips, or about the middles of those clips."""
    pace = ("num_frames", "frame_stride", "fps", "sampling")
    alike = all(getattr(part, name) == getattr(leader, name) for name in pace)

    def choose(times_T: NDArray[np.float64], name: str) -> Indices:
        wanted_NT = times_NT
        if not alike:
            middle_N = (times_NT[:, 0] + times_NT[:, -1]) / 2
            step = part.frame_stride / part.fps if part.fps else part.frame_stride * frame_length(times_T)
            wanted_NT = middle_N[:, None] + (np.arange(part.num_frames) - (part.num_frames - 1) / 2) * step
        half = frame_length(times_T) / 2  # the nearest frame, so that clocks may differ by rounding
        shown = np.searchsorted(times_T, wanted_NT + half, "right") - 1
        return np.clip(shown, 0, len(times_T) - 1).astype(np.int64)

    return choose


def _read(example: Example, spec: ClipSpec, how: _How) -> Clips:
    if spec.modality in ("flow", "warped_flow"):
        return _read_flow(example, spec, how)
    source, name = find_source(how.root, example.video)
    if spec.sound is not None:
        return _read_sound(example, source, name, spec, spec.sound, how)
    reading = how.reading
    if reading.cache is not None:
        return _read_cached(example, source, name, spec, how, reading.cache)
    with Video(source, short_side=how.short_side, limits=reading.limits, threads=reading.threads) as video:
        times_T = _times(video, example, source)
        stop = interval_frames(example, times_T, name)[1]
        return _decode(video, how.choose(times_T, name), times_T, stop, spec)


def _decode(
    video: Video,
    indices_NT: Indices,
    times_T: NDArray[np.float64],
    stop: int,
    spec: ClipSpec,
    cache: FrameCache | None = None,
) -> Clips:
    """The frames of all clips in one pass; where a position takes several, they lie in its channels."""
    frames_NTL = _reached(indices_NT, spec, stop)
    parts = video.clips([clip_TL.ravel().tolist() for clip_TL in frames_NTL])
    frames = [part.frames_THWC if cache is None else cache.coded(part.frames_THWC) for part in parts]
    return Clips(
        tuple(_stack(clip_THWC, spec.reach) for clip_THWC in frames),
        indices_NT,
        len({int(i) for part in parts for i in part.indices_T[part.corrupt_T]}),
        parts[0].report.short,
        times_T,
    )


def _read_sound(
    example: Example, source: Path | bytes, name: str, spec: ClipSpec, sound: SoundSpec, how: _How
) -> Clips:
    """Pictures of sound, float32 (T, steps, bands, C), each about the moment of its frame, C times over."""
    with Video(source, limits=how.reading.limits, threads=how.reading.threads) as video:
        times_T = _times(video, example, source)
    indices_NT = how.choose(times_T, name)
    times_NT = times_T[indices_NT]
    first = float(times_NT.min()) - sound.num_samples / sound.sample_rate / 2
    num_samples = round((times_NT.max() - times_NT.min()) * sound.sample_rate) + sound.num_samples
    wave_S = read_mono(source, first, num_samples, sound.sample_rate, limits=how.reading.limits)
    if wave_S is None:
        raise VideoError("not_found", name, "this video has no sound", "give one with a sound track")
    pictures = [picture_sounds(wave_S, moments_T - first, sound)[..., None] for moments_T in times_NT]
    copies = tuple(np.repeat(picture, len(spec.mean), axis=-1) for picture in pictures)
    return Clips(copies, indices_NT, times_T=times_T)


def _reached(indices_NT: Indices, spec: ClipSpec, stop: int) -> Indices:
    """indices_NTL of all that each position is made of; from `stop` on the one before it again."""
    return np.minimum(indices_NT[..., None] + np.arange(spec.reach), stop - 1)


def _stack(frames_THWC: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """(T x L) frames of C channels to T of L x C."""
    if reach == 1:
        return frames_THWC
    _, height, width, channels = frames_THWC.shape
    apart = frames_THWC.reshape(-1, reach, height, width, channels)
    return np.ascontiguousarray(apart.transpose(0, 2, 3, 1, 4)).reshape(-1, height, width, reach * channels)


def _read_flow(example: Example, spec: ClipSpec, how: _How) -> Clips:
    """Clips of flow fields: T times `spec.stack` successive ones, the last again past the end."""
    method = how.reading.flow
    both_ways = spec.stacking == "bidirectional"  # nobody stores flow back in time
    if both_ways and method is None:
        name, what = (
            str(how.root / example.video),
            "this network takes flow back in time, which is not stored",
        )
        raise VideoError("not_found", name, what, "estimate it on the way: --flow METHOD (docs/flow.md)")
    if not both_ways:
        try:
            return _read_stored(example, spec, how)
        except VideoError as error:
            if method is None or error.kind != "not_found":
                raise
    return _read_estimated(example, spec, how, method or "")


def _read_stored(example: Example, spec: ClipSpec, how: _How) -> Clips:
    pictures = FlowPictures(example, how.root, how.reading.limits)
    times_T = pictures.times_T  # what `vadis flow` wrote says them
    if times_T is None:
        times_T = _flow_times(example, how.root, len(pictures), spec.fps is not None, how.reading)
    return _cut_flow(pictures, how.choose(times_T, pictures.name), times_T, spec, how.short_side)


def _read_estimated(example: Example, spec: ClipSpec, how: _How, method: str) -> Clips:
    source, name = find_source(how.root, example.video)
    side = how.short_side or spec.size  # flow counts the pixels of the picture that goes on to be cut
    with Video(source, short_side=side, limits=how.reading.limits, threads=how.reading.threads) as video:
        clock_T, shown_T = tick(_times(video, example, source), example, spec)
        fields = EstimatedFlow(
            video,
            shown_T,
            method,
            name=name,
            warped=spec.modality == "warped_flow",
            device=how.reading.device,
        )
        times_T = video.frame_times()[shown_T] if how.follows else clock_T
        return _cut_flow(fields, how.choose(times_T[:-1], name), clock_T[:-1], spec, side)


def _cut_flow(
    source: FlowPictures | EstimatedFlow,
    indices_NT: Indices,
    times_T: NDArray[np.float64],
    spec: ClipSpec,
    short_side: int | None,
) -> Clips:
    """All stacks of all clips in one reading, laid out as the spec says."""
    fields_NTL = _reached(indices_NT, spec, len(source))
    fields_PL = fields_NTL.reshape(-1, spec.stack)
    pixels_PHWC, damaged = source.read(fields_PL, short_side)
    if spec.stacking != "optical" or spec.subtract_mean:
        back_PHWC = None
        if isinstance(source, EstimatedFlow) and spec.stacking == "bidirectional":
            back_PHWC, _ = source.read(fields_PL, short_side, backward=True)
        pixels_PHWC = np.stack(
            [
                arrange_pixels(stack_HWC, spec, None if back_PHWC is None else back_PHWC[place])
                for place, stack_HWC in enumerate(pixels_PHWC)
            ]
        )
    clips = tuple(np.split(pixels_PHWC, len(indices_NT)))
    return Clips(clips, indices_NT, len(damaged), False, times_T)


def _flow_times(
    example: Example, root: Path, count: int, by_time: bool, reading: Reading
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
    with Video(source, limits=reading.limits, threads=reading.threads) as video:
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
    example: Example, source: Path | bytes, name: str, spec: ClipSpec, how: _How, cache: FrameCache
) -> Clips:
    span = f"{example.start_seconds}:{example.end_seconds}:{example.fps}"
    reading = how.reading
    key = frame_key(source, name, f"{span}:{cache.short_side}:{cache.quality}")
    entry = cache.get(key)
    if entry is None:
        with Video(
            source, short_side=cache.short_side, limits=reading.limits, threads=reading.threads
        ) as video:
            times_T = _times(video, example, source)
            first, stop = interval_frames(example, times_T, name)
            info = video.info
            scale = cache.short_side / max(1, min(info.width, info.height))
            num_bytes = (stop - first) * info.width * info.height * scale**2 * 3
            if num_bytes > min(MAX_CACHED_BYTES, cache.max_bytes):
                return _decode(video, how.choose(times_T, name), times_T, stop, spec, cache)
            frames = video.clips([range(first, stop)])[0]
        damaged = frames.indices_T[frames.corrupt_T]
        entry = cache.put(key, frames.frames_THWC, times_T, first, damaged.tolist(), frames.report.short)
    with entry:
        indices_NT = how.choose(entry.times_T, name)
        frames_NTL = _reached(indices_NT, spec, interval_frames(example, entry.times_T, name)[1])
        clips_N = tuple(
            _stack(entry.frames(clip_TL.ravel() - entry.first), spec.reach) for clip_TL in frames_NTL
        )
        num_damaged = len(set(frames_NTL.ravel().tolist()) & set(entry.damaged))
        return Clips(clips_N, indices_NT, num_damaged, entry.short, entry.times_T)


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
