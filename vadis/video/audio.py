"""The sound of a video, as samples on the same clock as its frames.

Sound is decoded as it is asked for, so a file of any length needs little memory. Gaps in the timestamps
(a stream that starts late, packets that are lost or damaged) become silence, so that what is heard
stays beside what is seen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np

from vadis.records import Limits
from vadis.video.source import Source, VideoPath

log = logging.getLogger(__name__)

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Sample rates in Hz that AAC can hold; sound of another rate is resampled to 48000."""

PREROLL_SECONDS = 0.25  # a lapped codec needs the block before the first one that is wanted
JITTER_SECONDS = 0.03  # a smaller jump in the timestamps is rounding (Matroska: 1 ms), not a gap


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
    ) -> None:
        self.sample_rate = sample_rate or (stream.rate if stream.rate in AAC_RATES else 48_000)
        self.channels = min(stream.channels, 2)
        self.layout = "mono" if self.channels == 1 else "stereo"
        self.num_damaged = 0
        self._source = source
        self._stream = stream
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
            piece_CN = next(self._pieces, None)
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
        """Every frame as planar float32 at our rate and layout, damaged packets left out."""
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
                    resampler = av.AudioResampler("fltp", self.layout, self.sample_rate)
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
        self._left_CN = samples_CN.astype(np.float32)

    def read(self, num_samples: int) -> np.ndarray:
        """The next samples_CN; fewer than `num_samples` only at the end."""
        now_CN, self._left_CN = self._left_CN[:, :num_samples], self._left_CN[:, num_samples:]
        return np.ascontiguousarray(now_CN)

    def close(self) -> None:
        """Nothing is open; here so that it can be used as a `Sound`."""


def open_sound(
    path: VideoPath,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    *,
    sample_rate: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Sound | None:
    """The sound between two times in seconds (None: to the end), or None where there is none to be had.

    sample_rate: in Hz, that it is resampled to (None: its own, or one that AAC can hold). None is given
    where the file has no audio stream, and where none of it can be decoded: a picture without sound is
    worth more than an error. Raises VideoError where the file itself cannot be opened.
    """
    if isinstance(path, str | os.PathLike) and Path(path).is_dir():
        return None  # numbered images
    source = Source(path, limits)
    stream = next((stream for stream in source.container.streams.audio if _is_usable(stream)), None)
    if stream is None or not source.seekable:
        source.close()
        return None
    source.stream.discard = av.stream.Discard.all
    stream.discard = av.stream.Discard.default
    try:
        if start_seconds > PREROLL_SECONDS:
            target = float(source.origin) + start_seconds - PREROLL_SECONDS
            source.container.seek(round(target / (stream.time_base or 1)), stream=stream)
        sound = Sound(source, stream, start_seconds, end_seconds, sample_rate)
        sound.peek()
    except (av.FFmpegError, ValueError, OSError) as error:
        log.warning("%s: its sound cannot be decoded (%s); the pictures go without", source.name, error)
        source.close()
        return None
    return sound


def read_mono(
    path: VideoPath,
    start_seconds: float,
    num_samples: int,
    sample_rate: int,
    *,
    limits: Limits = Limits(),  # noqa: B008
) -> np.ndarray | None:
    """A waveform of just so many samples from a time in seconds on: wave_S, float32 in [-1, 1], mono.

    Two channels are averaged. sample_rate: in Hz. Silence stands before the beginning (the time may be
    negative), in gaps and after the end. None where the file has no sound that can be decoded. Raises
    VideoError where it cannot be opened.
    """
    before = min(num_samples, max(0, round(-start_seconds * sample_rate)))
    sound = open_sound(path, max(0.0, start_seconds), sample_rate=sample_rate, limits=limits)
    if sound is None:
        return None
    try:
        # FFmpeg's own way from two channels to one adds 3 dB; the field's mean is wanted
        heard_S = sound.read(num_samples - before).mean(axis=0)
    finally:
        sound.close()
    return np.pad(heard_S, (before, num_samples - before - len(heard_S)))


def _is_usable(stream: av.audio.stream.AudioStream) -> bool:
    context = stream.codec_context
    return bool(context is not None and context.sample_rate and context.channels and stream.time_base)
