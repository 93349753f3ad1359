"""Sound on the clock of the frames: cuts, gaps, late starts, damage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numbered import draw_number, write_numbered

from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.records import Example, Limits, VideoError
from vadis.specs import ClipSpec, SoundSpec
from vadis.video.audio import HeldSound, list_tracks, open_sound, read_mono
from vadis.video.decode import Video


def write_ramp(
    path: Path,
    *,
    rate: int = 48_000,
    layout: str = "mono",
    missing: range = range(0),
    first: int = 0,
    codec: str = "pcm_s16le",
) -> Path:
    """100 frames at 25 fps, and sound whose value tells its 10 ms block (50 * k), without those `missing`.

    The sound begins with block `first`.
    """
    block = rate // 100
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout)
        channels = sound.codec_context.layout.nb_channels
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
            for k in range(number * 4, number * 4 + 4):
                if k in missing or k < first:
                    continue
                values = np.full((1, block * channels), 50 * k, np.int16)
                heard = av.AudioFrame.from_ndarray(values, format="s16", layout=layout)
                heard.sample_rate, heard.pts, heard.time_base = rate, k * block, Fraction(1, rate)
                output.mux(sound.encode(heard))
        output.mux(stream.encode(None))
        output.mux(sound.encode(None))
    return path


def read_blocks(path: Path, start: float = 0.0, end: float | None = None, step: int = 777) -> list[int]:
    """The block numbers that are heard, in the middle of every 10 ms; read `step` samples at a time."""
    sound = open_sound(path, start, end)
    assert sound is not None
    parts = []
    while (part_CN := sound.read(step)).shape[1]:
        parts.append(part_CN)
    sound.close()
    samples_CN = np.concatenate(parts, axis=1)
    middle = sound.sample_rate // 200
    return np.rint(samples_CN[0, middle :: sound.sample_rate // 100] * 32768 / 50).astype(int).tolist()


@pytest.mark.parametrize("step", [1, 480, 50_000])
def test_whole_sound(tmp_path: Path, step: int) -> None:
    path = write_ramp(tmp_path / "a.mkv")
    assert read_blocks(path, end=0.5 if step == 1 else None, step=step) == list(
        range(50 if step == 1 else 400)
    )


@pytest.mark.parametrize("start", [0.1, 1.0, 3.5])
def test_a_part_is_cut_to_the_sample(tmp_path: Path, start: float) -> None:
    path = write_ramp(tmp_path / "a.mkv")
    first = round(start * 100)
    assert read_blocks(path, start, start + 0.25) == list(range(first, first + 25))
    sound = open_sound(path, start, start + 0.25)
    assert sound is not None
    assert sound.read(10**6).shape == (1, 12_000)
    assert sound.read(10).shape == (1, 0)


def test_a_gap_is_silence(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "a.mkv", missing=range(100, 250))
    expected = [0 if 100 <= k < 250 else k for k in range(400)]
    assert read_blocks(path) == expected
    assert read_blocks(path, 2.0, 3.0) == expected[200:300]


def test_a_late_start_is_silence(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "a.mkv", first=120)
    assert read_blocks(path) == [0] * 120 + list(range(120, 400))


def test_channels_and_rates_become_what_aac_holds(tmp_path: Path) -> None:
    sound = open_sound(write_ramp(tmp_path / "six.mkv", layout="5.1"))
    assert sound is not None
    assert (sound.channels, sound.layout, sound.sample_rate) == (2, "stereo", 48_000)
    assert sound.read(100).shape == (2, 100)
    sound = open_sound(write_ramp(tmp_path / "odd.mkv", rate=37_800))
    assert sound is not None
    assert sound.sample_rate == 48_000
    assert sound.read(10**6).shape[1] == pytest.approx(4 * 48_000, abs=200)


def test_no_sound_is_none(tmp_path: Path) -> None:
    assert open_sound(write_numbered(tmp_path / "a.mp4", 5)) is None
    assert open_sound(tmp_path) is None
    with pytest.raises(VideoError):
        open_sound(tmp_path / "gone.mp4")


def test_damaged_packets_become_silence(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "a.mkv", codec="flac")
    sound = open_sound(path)
    assert sound is not None
    whole_CN = sound.read(10**7)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    for place in rng.integers(len(data) // 4, len(data) - 2000, 12):
        data[place] ^= 0xFF
    (tmp_path / "bad.mkv").write_bytes(data)
    sound = open_sound(tmp_path / "bad.mkv")
    assert sound is not None
    damaged_CN = sound.read(10**7)
    assert sound.num_damaged > 0
    length = min(whole_CN.shape[1], damaged_CN.shape[1])
    same = np.abs(whole_CN[0, :length] - damaged_CN[0, :length]) < 1e-3
    assert same[: length // 5].all()
    assert same.mean() > 0.6  # what is intact is still in its place


# --- any track, mono, at any rate, on the clock of the frames ---------------------------------------


def write_film(
    path: Path, frame_seconds: list[float], *tracks: dict[str, Any], codec: str = "pcm_s16le"
) -> Path:
    """A video with frames at these times and sound tracks.

    Of each: `wave` (C, S) or (S,) in [-1, 1], `rate` in Hz, and where wanted `layout`, `start` in seconds,
    `name` (its language) and `default` (whether it is marked).
    """
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        sounds = []
        for track in tracks:
            sound = output.add_stream(codec, rate=track["rate"], layout=track.get("layout", "mono"))
            if "name" in track:
                sound.metadata["language"] = track["name"]
            sound.disposition = av.stream.Disposition.default if track.get("default") else 0
            sounds.append(sound)
        for number, seconds in enumerate(frame_seconds):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for sound, track in zip(sounds, tracks, strict=True):
            wave_CN = np.atleast_2d(track["wave"])
            values = np.rint(wave_CN * 32767).astype(np.int16).T.reshape(1, -1)
            heard = av.AudioFrame.from_ndarray(values, format="s16", layout=track.get("layout", "mono"))
            heard.sample_rate, heard.time_base = track["rate"], Fraction(1, track["rate"])
            heard.pts = round(track.get("start", 0) * track["rate"])
            output.mux(sound.encode(heard))
            output.mux(sound.encode(None))
    return path


def clicks(seconds: list[float], rate: int, length: float = 2.0) -> np.ndarray:
    """A wave_S that is silent but for 5 ms of noise at these times."""
    wave = np.zeros(round(length * rate))
    for second in seconds:
        start = round(second * rate)
        noise = np.random.default_rng(5).uniform(-0.8, 0.8, rate // 200)
        wave[start : start + len(noise)] = noise[: len(wave) - start]
    return wave


def onsets(wave: np.ndarray, rate: int) -> list[float]:
    """When it becomes loud after 20 ms of silence, in seconds."""
    loud = np.flatnonzero(np.abs(wave) > 0.2)
    first = loud[np.diff(loud, prepend=-rate) > rate // 50]
    return (first / rate).tolist()


EVEN = [number / 25 for number in range(50)]


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("wanted", [16_000, 22_050])
def test_any_rate_becomes_any_other_in_its_place(tmp_path: Path, rate: int, wanted: int) -> None:
    times = [0.1, 0.73, 1.5]
    path = write_film(tmp_path / "a.mkv", EVEN, {"wave": clicks(times, rate), "rate": rate})
    for start in (0.0, 0.6):
        wave = read_mono(path, start, 2 * wanted, wanted)
        assert wave is not None
        assert wave.shape == (2 * wanted,)
        assert onsets(wave, wanted) == pytest.approx(
            [t - start for t in times if t > start], abs=1.5 / min(rate, wanted) + 1e-3
        )


def test_a_late_start_and_silence_before_and_behind(tmp_path: Path) -> None:
    late = {"wave": clicks([0.2], 44_100, 0.5), "rate": 44_100, "start": 0.48}
    path = write_film(tmp_path / "a.mkv", EVEN, late)
    wave = read_mono(path, -0.5, 40_000, 16_000)
    assert wave is not None
    assert onsets(wave, 16_000) == pytest.approx([0.5 + 0.48 + 0.2], abs=2e-3)
    assert not wave[: round(0.95 * 16_000)].any()
    assert not wave[round(1.5 * 16_000) :].any()
    (track,) = list_tracks(path)
    assert track.start_seconds == pytest.approx(0.48, abs=1e-3)
    assert track.offset_seconds == pytest.approx(0.48, abs=1e-3)
    behind = read_mono(path, 5.0, 100, 16_000)
    assert behind is not None
    assert not behind.any()


def test_time_zero_is_the_earliest_stream(tmp_path: Path) -> None:
    """The frames come later than the sound: both are told on the clock that begins with the sound."""
    path = write_film(
        tmp_path / "a.mkv", [t + 0.4 for t in EVEN], {"wave": clicks([0.9], 16_000), "rate": 16_000}
    )
    with Video(path) as video:
        assert video.frame_times()[0] == pytest.approx(0.4, abs=1e-3)
    wave = read_mono(path, 0.0, 32_000, 16_000)
    assert wave is not None
    assert onsets(wave, 16_000) == pytest.approx([0.9], abs=1e-3)
    assert list_tracks(path)[0].offset_seconds == pytest.approx(-0.4, abs=1e-3)


def test_a_gap_stays_a_gap_at_another_rate(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "a.mkv", missing=range(100, 250))
    wave = read_mono(path, 0.0, 64_000, 16_000)
    assert wave is not None
    blocks = np.rint(wave[80::160] * 32768 / 50)
    assert not blocks[103:248].any()
    assert np.abs(blocks[5:95] - np.arange(5, 95)).max() <= 1
    assert np.abs(blocks[255:395] - np.arange(255, 395)).max() <= 1


def test_the_track_that_is_asked_for(tmp_path: Path) -> None:
    tracks = [
        {"wave": np.full(16_000, 0.1), "rate": 16_000, "name": "eng"},
        {"wave": np.full(48_000, 0.2), "rate": 48_000, "name": "deu", "default": True},
        {"wave": np.full((2, 16_000), 0.3), "rate": 16_000, "layout": "stereo"},
    ]
    path = write_film(tmp_path / "a.mkv", EVEN, *tracks)
    found = list_tracks(path)
    assert [(track.number, track.sample_rate, track.channels) for track in found] == [
        (0, 16_000, 1),
        (1, 48_000, 1),
        (2, 16_000, 2),
    ]
    assert [track.language for track in found] == ["eng", "deu", None]
    assert [track.default for track in found] == [False, True, False]
    assert all(track.usable and track.codec == "pcm_s16le" for track in found)
    for number, level in ((0, 0.1), (1, 0.2), (2, 0.3), (None, 0.2)):
        wave = read_mono(path, 0.2, 8_000, 16_000, track=number)
        assert wave is not None
        assert np.allclose(wave, level, atol=1e-3), "the default track where none is asked for"
    with pytest.raises(ValueError, match="sound tracks 0 to 2; there is no track 3"):
        read_mono(path, 0.0, 100, 16_000, track=3)
    with pytest.raises(ValueError, match="no track -1"):
        open_sound(path, track=-1)


def test_mono_is_the_mean_of_all_channels(tmp_path: Path) -> None:
    levels = np.array([0.6, 0.0, 0.3, 0.12, -0.06, 0.24])
    wave_CN = np.repeat(levels[:, None], 16_000, axis=1)
    six = {"wave": wave_CN, "rate": 48_000, "layout": "5.1"}
    path = write_film(tmp_path / "six.mkv", EVEN, six)
    wave = read_mono(path, 0.05, 2_000, 16_000)
    assert wave is not None
    assert np.allclose(wave[200:], levels.mean(), atol=1e-3)
    assert list_tracks(path)[0].channels == 6
    two = {"wave": wave_CN[:2], "rate": 48_000, "layout": "stereo"}
    wave = read_mono(write_film(tmp_path / "two.mkv", EVEN, two), 0.05, 2_000, 16_000)
    assert wave is not None
    assert np.allclose(wave[200:], 0.3, atol=1e-3)


def test_sound_lies_on_the_frames_of_an_uneven_video(tmp_path: Path) -> None:
    """A click when a frame comes: the middle step of that frame's picture is the loudest."""
    times = np.cumsum([0, *([0.02, 0.11, 0.05, 0.2] * 8)]).round(3)
    clicked = [3, 9, 17, 24]
    track = {"wave": clicks(times[clicked].tolist(), 48_000, 4.0), "rate": 48_000}
    path = write_film(tmp_path / "a.mkv", times.tolist(), track)
    spec = ClipSpec("audio", 1, mean=(0.0,), std=(1.0,), sound=SoundSpec(num_steps=17, num_mels=16))
    every = ClipRule("moments", num_clips=len(times))
    clips = read_clips(Example(path.name, "a", (0,)), tmp_path, spec, every)
    assert clips.indices_NT[:, 0].tolist() == list(range(len(times)))
    assert clips.seconds_N2[:, 0] == pytest.approx(times, abs=1e-3)
    for number in clicked:
        picture_THWC = clips.clips[number]
        assert picture_THWC.shape == (1, 17, 16, 1)
        loudness = picture_THWC[0, :, :, 0].sum(axis=1)
        assert abs(int(loudness.argmax()) - 8) <= 1
        assert loudness.max() > loudness[[0, -1]].max() + 10


def test_one_frame_and_two_seconds_of_sound(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", [0.0], {"wave": clicks([1.2], 16_000), "rate": 16_000})
    wave = read_mono(path, 0.0, 32_000, 16_000)
    assert wave is not None
    assert onsets(wave, 16_000) == pytest.approx([1.2], abs=1e-3)


def test_no_sound_whatever_is_asked(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 5)
    assert list_tracks(path) == ()
    assert read_mono(path, 0.0, 10, 16_000) is None
    assert read_mono(path, 0.0, 10, 16_000, track=2) is None
    assert list_tracks(tmp_path) == ()


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "a.mkv")
    with pytest.raises(ValueError, match="at least 1 sample a second"):
        read_mono(path, 0.0, 10, 0)
    with pytest.raises(VideoError, match="longer than 1e-09 seconds"):
        read_mono(path, 0.0, 10**6, 16_000, limits=Limits(wall_seconds=1e-9))


def test_samples_at_hand_read_like_a_file() -> None:
    sound = HeldSound(np.arange(10, dtype=np.float64)[None] / 10, 16_000)
    assert (sound.channels, sound.layout, sound.sample_rate) == (1, "mono", 16_000)
    assert sound.read(4)[0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert sound.read(100).shape == (1, 6)
    assert sound.read(1).shape == (1, 0)
    sound.close()
    with pytest.raises(ValueError, match="1 or 2 channels"):
        HeldSound(np.zeros(10), 16_000)
    with pytest.raises(ValueError, match="not 12345"):
        HeldSound(np.zeros((1, 10)), 12_345)
