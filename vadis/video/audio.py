"""The sound of a video, as samples on the same clock as its frames.

    wave_S = read_mono("film.mp4", 2.0, 16_000, 16_000)    # the second from 2.0 s on, mono, at 16 kHz
    for track in list_tracks("film.mkv"): print(track)     # two languages, say: track=1 takes the second

Sound is decoded as it is asked for, so a file of any length needs little memory. Time 0 is that of the
frames: the start of the earliest stream, as players count. Gaps in the timestamps (a stream that starts late,
packets that are lost or damaged) become silence, so that what is heard stays beside what is seen.

Mono is the mean of all channels, as VGGish and librosa take it. FFmpeg's own way down weighs the middle and
the rear ones, leaves out the bass and adds up to 3 dB; it is used only for copies that people listen to.

Legend: S samples, C channels, N samples of a piece.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import cast

import av
import numpy as np

from vadis.records import Limits
from vadis.video.source import Budget, Source, VideoPath, has_decoder, is_folder

log = logging.getLogger(__name__)

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Sample rates in Hz that AAC can hold; sound of another rate is resampled to 48000."""

PREROLL_SECONDS = 0.25  # a lapped codec needs the block before the first one that is wanted
JITTER_SECONDS = 0.03  # a smaller jump in the timestamps is rounding (Matroska: 1 ms), not a gap


@dataclass(frozen=True)
class Track:
    """One sound track, as its container describes it; `number` counts the tracks of the file from 0.

    `codec` is "unknown" where this FFmpeg cannot decode it. `sample_rate` is in Hz. `start_seconds` and
    `duration_seconds` are on the clock of the frames (0: the earliest stream of the file), None where the
    container does not say; `offset_seconds` is how much later than the first frame it begins.
    """

    number: int
    codec: str
    sample_rate: int
    channels: int
    layout: str
    start_seconds: float | None
    duration_seconds: float | None
    offset_seconds: float | None
    language: str | None
    title: str | None
    default: bool

    @property
    def usable(self) -> bool:
        """Whether it can be decoded here."""
        return self.codec != "unknown" and min(self.sample_rate, self.channels) > 0


class Sound:
    """A reader of samples, from one time of a video to another; made by `open_sound`.

    `sample_rate` is in Hz, `channels` 1 or 2 (more are mixed down), `layout` FFmpeg's word for that;
    `num_damaged` counts packets that could not be decoded and became silence.
    """

    def __init__(
        self,
        source: Source,
        stream: av.audio.stream.AudioStream,
        start_seconds: float,
        end_seconds: float | None,
        sample_rate: int | None = None,
        mono: bool = False,
    ) -> None:
        self.sample_rate = sample_rate or (stream.rate if stream.rate in AAC_RATES else 48_000)
        self.channels = 1 if mono else min(stream.channels, 2)
        self.layout = "mono" if self.channels == 1 else "stereo"
        self.num_damaged = 0
        self._source = source
        self._stream = stream
        self._mono = mono
        self._budget = Budget(source.name, source.limits.wall_seconds)
        self._start_seconds = start_seconds
        self._origin_seconds = float(source.origin)
        self._samples_left = (
            None if end_seconds is None else max(0, round((end_seconds - start_seconds) * self.sample_rate))
        )
        self._pieces: Generator[np.ndarray, None, None] = self._cut_pieces()
        self._kept_CN = np.zeros((self.channels, 0), np.float32)

    def read(self, num_samples: int) -> np.ndarray:
        """The next samples_CN (float32 in [-1, 1]); fewer than `num_samples` only at the end."""
        if self._samples_left is not None:
            num_samples = min(num_samples, self._samples_left)
        pieces, have = [self._kept_CN], self._kept_CN.shape[1]
        while have < num_samples:
            with self._budget:
                piece_CN = next(self._pieces, None)
            self._budget.check()
            if piece_CN is None:
                break
            pieces.append(piece_CN)
            have += piece_CN.shape[1]
        joined_CN = np.concatenate(pieces, axis=1)
        self._kept_CN = joined_CN[:, num_samples:]
        if self._samples_left is not None:
            self._samples_left -= min(num_samples, joined_CN.shape[1])
        return np.ascontiguousarray(joined_CN[:, :num_samples])

    def peek(self) -> None:
        """Decode the first piece, so that a sound that cannot be decoded is known before it is used.

        Raises ValueError where every packet is damaged.
        """
        piece_CN = next(self._pieces, None)
        if piece_CN is not None:
            self._kept_CN = np.concatenate([self._kept_CN, piece_CN], axis=1)
        elif self.num_damaged:
            raise ValueError(f"none of its {self.num_damaged} packets is intact")

    def close(self) -> None:
        """Close the file; may be called again."""
        self._pieces.close()
        self._source.close()

    def _decode(self) -> Iterator[av.AudioFrame]:
        """Every frame as planar float32 at our rate and layout, damaged packets left out.

        Where the mean of the channels is wanted, they stay apart here.
        """
        resampler, shape = None, None
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.num_damaged += 1
                continue
            for frame in cast("list[av.AudioFrame]", frames):
                now = (frame.format.name, frame.layout.name, frame.sample_rate)
                if resampler is None or now != shape:
                    if resampler is not None:
                        yield from resampler.resample(None)
                    layout = frame.layout if self._mono else self.layout
                    resampler = av.AudioResampler("fltp", layout, self.sample_rate)
                    shape = now
                yield from resampler.resample(frame)
        if resampler is not None:
            yield from resampler.resample(None)

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._source.container.demux(self._stream)
        except av.error.FFmpegError:
            self.num_damaged += 1  # the file breaks off here: the rest is silence

    def _cut_pieces(self) -> Generator[np.ndarray, None, None]:
        """The samples from the start on, without holes: pieces_CN of at most a second of silence each."""
        position, jitter = 0, round(JITTER_SECONDS * self.sample_rate)
        for frame in self._decode():
            samples_CN = frame.to_ndarray()
            if self._mono:
                samples_CN = samples_CN.mean(axis=0, keepdims=True)
            if frame.pts is not None and frame.time_base is not None:
                seconds = float(frame.pts * frame.time_base) - self._origin_seconds - self._start_seconds
                at = round(seconds * self.sample_rate)
                if position == 0 or abs(at - position) > jitter:
                    for silence in range(position, at, self.sample_rate):
                        length = min(self.sample_rate, at - silence)
                        yield np.zeros((self.channels, length), np.float32)
                    samples_CN = samples_CN[:, max(0, position - at) :]
                    position = max(position, at)
            position += samples_CN.shape[1]
            if samples_CN.shape[1]:
                yield samples_CN


class HeldSound:
    """Samples at hand, read as a `Sound` is: for `VideoWriter`, which takes either.

    samples_CN: float32 in [-1, 1], one or two channels; sample_rate: in Hz. Raises ValueError for others.
    """

    def __init__(self, samples_CN: np.ndarray, sample_rate: int) -> None:
        if samples_CN.ndim != 2 or samples_CN.shape[0] not in (1, 2) or samples_CN.dtype.kind != "f":
            raise ValueError(
                f"sound to be written is (1 or 2 channels, samples) of floats, got {samples_CN.dtype} of "
                f"shape {samples_CN.shape}"
            )
        if sample_rate not in AAC_RATES:
            raise ValueError(
                f"AAC holds {', '.join(map(str, AAC_RATES))} samples a second, not {sample_rate}"
            )
        self.sample_rate = sample_rate
        self.channels = samples_CN.shape[0]
        self.layout = "mono" if self.channels == 1 else "stereo"
        self.num_damaged = 0
        self._left_CN = samples_CN.astype(np.float32)

    def read(self, num_samples: int) -> np.ndarray:
        """The next samples_CN; fewer than `num_samples` only at the end."""
        now_CN, self._left_CN = self._left_CN[:, :num_samples], self._left_CN[:, num_samples:]
        return np.ascontiguousarray(now_CN)

    def close(self) -> None:
        """Nothing is open; here so that it can be used as a `Sound`."""


def list_tracks(path: VideoPath, *, limits: Limits = Limits()) -> tuple[Track, ...]:  # noqa: B008
    """The sound tracks of a file, also those that cannot be decoded; none of a folder of images.

    Raises VideoError where the file cannot be opened.
    """
    if is_folder(path):
        return ()
    source = Source(path, limits)
    try:
        first = source.stream.start_time
        first_seconds = None if first is None else float(first * source.time_base)
        return tuple(
            _describe(stream, number, float(source.origin), first_seconds)
            for number, stream in enumerate(source.container.streams.audio)
        )
    finally:
        source.close()


def _describe(
    stream: av.audio.stream.AudioStream, number: int, origin_seconds: float, first_seconds: float | None
) -> Track:
    """What the container says of one track. first_seconds: the first frame's, on the file's own clock."""
    known = has_decoder(stream)
    start = duration = offset = None
    if stream.start_time is not None and stream.time_base:
        start = float(stream.start_time * stream.time_base)
        offset = None if first_seconds is None else start - first_seconds
        start -= origin_seconds
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    return Track(
        number,
        stream.codec_context.name if known else "unknown",
        (stream.codec_context.sample_rate or 0) if known else 0,
        (stream.codec_context.channels or 0) if known else 0,
        stream.codec_context.layout.name if known else "unknown",
        start,
        duration,
        offset,
        None if stream.metadata.get("language") == "und" else stream.metadata.get("language"),
        stream.metadata.get("title"),
        bool(int(stream.disposition) & int(av.stream.Disposition.default)),
    )


def open_sound(
    path: VideoPath,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    *,
    sample_rate: int | None = None,
    track: int | None = None,
    mono: bool = False,
    limits: Limits = Limits(),  # noqa: B008
) -> Sound | None:
    """The sound between two times in seconds (None: to the end), or None where there is none to be had.

    sample_rate: in Hz, that it is resampled to (None: its own, or one that AAC can hold). track: its number
    (`list_tracks`); None takes the one that the file marks as its default, else the first that can be
    decoded. mono: one channel, the mean of all. None is given where the file has no sound track, and where
    none of it can be decoded: a picture without sound is worth more than an error. Raises VideoError where
    the file itself cannot be opened, ValueError for a track that a file with sound does not have.
    """
    if is_folder(path):
        return None  # numbered images
    source = Source(path, limits)
    try:
        stream = _choose_track(source, track)
    except ValueError:
        source.close()
        raise
    if stream is None or not source.seekable:
        source.close()
        return None
    source.stream.discard = av.stream.Discard.all
    stream.discard = av.stream.Discard.default
    try:
        if start_seconds > PREROLL_SECONDS:
            target = float(source.origin) + start_seconds - PREROLL_SECONDS
            source.container.seek(round(target / (stream.time_base or 1)), stream=stream)
        sound = Sound(source, stream, start_seconds, end_seconds, sample_rate, mono)
        sound.peek()
    except (av.FFmpegError, ValueError, OSError) as error:
        log.warning("%s: its sound cannot be decoded (%s); the pictures go without", source.name, error)
        source.close()
        return None
    return sound


def _choose_track(source: Source, number: int | None) -> av.audio.stream.AudioStream | None:
    """The track of a number, or the default one; None where there is none, or none that can be decoded."""
    streams = source.container.streams.audio
    if number is not None:
        if streams and not 0 <= number < len(streams):
            have = "one sound track, 0" if len(streams) == 1 else f"sound tracks 0 to {len(streams) - 1}"
            raise ValueError(f"{source.name} has {have}; there is no track {number}")
        return streams[number] if streams and _is_usable(streams[number]) else None
    usable = [stream for stream in streams if _is_usable(stream)]
    marked = [stream for stream in usable if int(stream.disposition) & int(av.stream.Disposition.default)]
    return next(iter([*marked, *usable]), None)


def read_mono(
    path: VideoPath,
    start_seconds: float,
    num_samples: int,
    sample_rate: int,
    *,
    track: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> np.ndarray | None:
    """A waveform of just so many samples from a time in seconds on: wave_S, float32 in [-1, 1], mono.

    All channels are averaged. sample_rate: in Hz. track: as for `open_sound`. Silence stands before the
    beginning (the time may be negative), in gaps and after the end. None where the file has no sound that
    can be decoded. Raises VideoError where it cannot be opened, ValueError for a track that is not there.
    """
    if sample_rate < 1 or num_samples < 0:
        raise ValueError(
            f"sound has at least 1 sample a second and no fewer than 0 samples, got {sample_rate} and "
            f"{num_samples}"
        )
    before = min(num_samples, max(0, round(-start_seconds * sample_rate)))
    sound = open_sound(
        path, max(0.0, start_seconds), sample_rate=sample_rate, track=track, mono=True, limits=limits
    )
    if sound is None:
        return None
    try:
        heard_S = sound.read(num_samples - before)[0]
    finally:
        sound.close()
    return np.pad(heard_S, (before, num_samples - before - len(heard_S)))


def _is_usable(stream: av.audio.stream.AudioStream) -> bool:
    context = stream.codec_context
    return bool(context is not None and context.sample_rate and context.channels and stream.time_base)
