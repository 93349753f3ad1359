"""Sound on the clock of the frames: cuts, gaps, late starts, damage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import draw_number, write_numbered

from vadis.records import VideoError
from vadis.video.audio import open_sound


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
