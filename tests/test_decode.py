"""Frames by identity: each codec and container, any order, against linear decoding."""

from __future__ import annotations

import os
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numbered import (
    MATRICES,
    SIZE,
    draw_number,
    patch_edit,
    patch_matrix,
    patch_sync_samples,
    read_number,
    read_numbers,
    write_numbered,
    write_packed,
)
from PIL import Image

from vadis.records import Limits, VideoError
from vadis.video.decode import Video, decode, stream_frames
from vadis.video.reader import FileReader

X265 = {"x265-params": "log-level=none"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}
FAST_VP9 = {"cpu-used": "8", "deadline": "realtime"}
ALT_REF = {"cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}
FULL_RANGE = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.mov": {},
    "h264.ts": {},
    "h264.avi": {},
    "h264.flv": {},
    "plain.avi": {"b_frames": 0},
    "raw.264": {"container": {"format": "h264"}},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.mkv": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "fragments.mp4": {"container": {"options": {"movflags": "frag_keyframe+empty_moov"}}},
    "hevc.mp4": {"codec": "libx265", "options": X265},
    "hevc.mkv": {"codec": "libx265", "options": X265},
    "hevc.ts": {"codec": "libx265", "options": X265},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "ten_bit_hevc.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": X265},
    "vp9.webm": {"codec": "libvpx-vp9", "options": FAST_VP9},
    "alt_ref.mkv": {"codec": "libvpx-vp9", "options": ALT_REF},
    "vp8.webm": {"codec": "libvpx", "options": FAST_VP9},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "av1.webm": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4.mkv": {"codec": "mpeg4"},
    "mpeg2.ts": {"codec": "mpeg2video"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "mjpeg.avi": FULL_RANGE,
    "mjpeg.mov": FULL_RANGE,
    "ffv1.mkv": {"codec": "ffv1"},
    "ffv1.avi": {"codec": "ffv1"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "alpha.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
    "alpha_png.mov": {"codec": "png", "pix_fmt": "rgba"},
    "alpha_qtrle.mov": {"codec": "qtrle", "pix_fmt": "argb"},
    "palette.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "odd.mkv": {"pix_fmt": "yuv444p", "size": (97, 65)},
    "sound.mp4": {"audio": True},
    "sound.mkv": {"audio": True},
    "sound.ts": {"audio": True},
    "late.mp4": {"stamps": range(50, 98)},
    "late.mkv": {"stamps": range(50, 98)},
    "negative.mkv": {"stamps": range(-10, 38)},
}
NUM_FRAMES = 48

FROM_THE_START = {"h264.avi", "raw.264", "refresh.mp4", "alpha_qtrle.mov"}
"""Kinds where no seek can be trusted: no timestamps, or no keyframes that the decoder confirms."""

UNEVEN = [sum((20, 40, 100, 33)[k * 7 % 4] for k in range(n)) for n in range(NUM_FRAMES)]
"""PTS in milliseconds of a video whose frames last 20 to 100 ms."""


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_by_identity(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / name, NUM_FRAMES, **KINDS[name])
    whole = decode(path)
    assert read_numbers(whole.frames_THWC) == list(range(NUM_FRAMES))
    assert whole.indices_T.tolist() == list(range(NUM_FRAMES))
    assert np.allclose(whole.times_T - whole.times_T[0], np.arange(NUM_FRAMES) / 25, atol=0.0006)
    assert whole.report.frames_expected == whole.report.frames_decoded == NUM_FRAMES
    assert whole.report.ok
    assert not whole.corrupt_T.any()

    order = [random.Random(name).randrange(NUM_FRAMES) for _ in range(24)]
    with Video(path) as video:
        assert len(video) == NUM_FRAMES
        assert np.array_equal(video.frame_times(), whole.times_T)
        many = video.frames_by_index(order)
        assert np.array_equal(many.frames_THWC, whole.frames_THWC[order]), (
            "random access is not linear decoding"
        )
        assert np.array_equal(many.times_T, whole.times_T[order])
        for index in order[:6]:
            alone = video.frames_by_index([index])
            assert np.array_equal(alone.frames_THWC[0], whole.frames_THWC[index])
        by_time = video.frames_by_time([whole.times_T[0] + k / 25 + 0.03 for k in (30, 2, 11)])
        assert read_numbers(by_time.frames_THWC) == [30, 2, 11]
    if name not in FROM_THE_START:
        assert many.report.notes == (), "seeking should have been enough"
    if name.startswith(("h264.avi", "raw")):
        assert whole.report.repaired
    else:
        assert not whole.report.repaired


@pytest.mark.parametrize("extension", ["mp4", "mkv", "mov", "ts"])
def test_variable_rate_shows_what_a_player_shows(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"vfr.{extension}"
    write_numbered(path, NUM_FRAMES, stamps=UNEVEN, time_base=Fraction(1, 1000))
    moments = [0, 19, 20, 59, 60, 61, 1000, 1500, UNEVEN[-1] - 1, UNEVEN[-1], UNEVEN[-1] + 5000]
    expected = [max(k for k in range(NUM_FRAMES) if UNEVEN[k] <= moment) for moment in moments]
    with Video(path) as video:
        frames = video.frames_by_time([Fraction(moment, 1000) for moment in moments])
        assert read_numbers(frames.frames_THWC) == expected
        assert frames.indices_T.tolist() == expected
    with stream_frames(path, fps=50) as stream:
        shown = [number for chunk in stream for number in read_numbers(chunk.frames_THWC)]
    grid = [max(k for k in range(NUM_FRAMES) if UNEVEN[k] <= step * 20) for step in range(len(shown))]
    assert shown == grid
    assert len(shown) >= UNEVEN[-1] // 20


def test_floats_that_name_a_frame_mean_that_frame(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "thirds.mp4", 40, rate=30)
    with Video(path) as video:
        times = video.frame_times()
        assert video.frames_by_time(times).indices_T.tolist() == list(range(40))
        assert video.frames_by_time(k / 30 for k in range(40)).indices_T.tolist() == list(range(40))
        assert video.frames_by_time([-3.0, 1e9]).indices_T.tolist() == [0, 39]
        just_before = Fraction(7, 30) - Fraction(1, 10**12)
        assert video.frames_by_time([just_before]).indices_T.tolist() == [6], "fractions are exact"
        with pytest.raises(ValueError, match="nan"):
            video.frames_by_time([float("nan")])
        with pytest.raises(IndexError, match="frames 0 to 39, not 40"):
            video.frames_by_index([40])
        with pytest.raises(IndexError):
            video.frames_by_index([-1])


@pytest.mark.parametrize("first", [10, 17])
def test_edit_list_hides_its_preroll(first: int, tmp_path: Path) -> None:
    options = {"options": {"video_track_timescale": "1000"}}
    path = write_numbered(tmp_path / "edit.mp4", NUM_FRAMES, container=options)
    patch_edit(path, skip_ticks=first * 40, cut_milliseconds=first * 40)
    whole = decode(path)
    assert read_numbers(whole.frames_THWC) == list(range(first, NUM_FRAMES))
    assert whole.times_T[:2].tolist() == [0.0, 0.04]
    assert whole.report.frames_expected == whole.report.frames_decoded == NUM_FRAMES - first
    with Video(path) as video:
        picked = video.frames_by_time([0.0, 0.5, 0.04])
    assert read_numbers(picked.frames_THWC) == [first, first + 12, first + 1]


def test_edit_list_hides_what_comes_after(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "edit.mp4", NUM_FRAMES)
    patch_edit(path, skip_ticks=0, cut_milliseconds=800)
    whole = decode(path)
    assert read_numbers(whole.frames_THWC) == list(range(NUM_FRAMES - 20))
    assert whole.report.ok


@pytest.mark.parametrize("degrees", MATRICES)
def test_rotation(degrees: int, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "turned.mp4", 6)
    patch_matrix(path, MATRICES[degrees])
    whole = decode(path)
    width, height = SIZE if degrees in (0, 180) else SIZE[::-1]
    assert whole.frames_THWC.shape[1:3] == (height, width)
    turned_back = [np.rot90(frame, degrees // 90) for frame in whole.frames_THWC]
    assert read_numbers(turned_back) == list(range(6))
    if degrees:
        assert read_number(whole.frames_THWC[1]) is None
    small = decode(path, indices=[4], short_side=32)
    assert min(small.frames_THWC.shape[1:3]) == 32
    assert small.frames_THWC.shape[1] / small.frames_THWC.shape[2] == height / width
    assert read_number(np.rot90(small.frames_THWC[0], degrees // 90)) == 4


def test_mirrored(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "mirror.mp4", 4)
    patch_matrix(path, (-1, 0, 0, 1))
    assert read_numbers(frame[:, ::-1] for frame in decode(path).frames_THWC) == [0, 1, 2, 3]


def test_packed_b_frames_are_timed_by_index(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "packed.avi", 41)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "the fixture should garble the timestamps"
    whole = decode(path)
    assert read_numbers(whole.frames_THWC) == list(range(41))
    assert np.allclose(whole.times_T, np.arange(41) / 25, atol=1e-12)
    assert whole.report.repaired
    with Video(path) as video:
        picked = video.frames_by_time([1.0, 0.1])
    assert read_numbers(picked.frames_THWC) == [25, 2]
    assert picked.report.repaired


def test_packed_b_frames_that_come_late(tmp_path: Path) -> None:
    """Times are index / rate from the first picture on, even where the garbled ones lie far behind."""
    path = write_packed(tmp_path / "late.avi", 61, packed_from=20)
    whole = decode(path)
    assert read_numbers(whole.frames_THWC) == list(range(61))
    assert np.allclose(whole.times_T, np.arange(61) / 25, atol=1e-12)
    assert whole.report.repaired
    assert not any("stop increasing" in note for note in whole.report.notes)
    with Video(path) as video:
        assert read_numbers(video.frames_by_time([0.4, 2.0]).frames_THWC) == [10, 50]


def test_the_first_frame_of_a_late_video_is_at_zero(tmp_path: Path) -> None:
    """The container rounds its start to microseconds; the clock does not."""
    path = write_numbered(tmp_path / "late.ts", 20, rate=Fraction(24000, 1001), stamps=range(7, 27))
    exact = write_numbered(tmp_path / "late.mp4", 20, rate=Fraction(30000, 1001), stamps=range(50, 70))
    for each in (path, exact):
        with Video(each) as video:
            assert video.frame_times()[0] == 0.0
            assert video.frames_by_time([Fraction(0)]).indices_T.tolist() == [0]
            assert video.frames_by_time([Fraction(-1, 10**9)]).indices_T.tolist() == [0]
    with Video(exact) as video:
        assert video.frames_by_time([Fraction(3 * 1001, 30000)]).indices_T.tolist() == [3]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_wrong_keyframe_marks_cost_time_but_not_truth(codec: str, tmp_path: Path) -> None:
    path = write_numbered(
        tmp_path / "marks.mp4", NUM_FRAMES, codec=codec, b_frames=0, options={"sc_threshold": "0"}
    )
    whole = decode(path)
    patch_sync_samples(path, {13: 16, 25: 27})
    with Video(path) as video:
        picked = video.frames_by_index([30, 17, 40])
    assert np.array_equal(picked.frames_THWC, whole.frames_THWC[[30, 17, 40]])
    if codec == "mpeg4":  # in H.264 FFmpeg's parser knows better than the list
        assert any("from the start" in note for note in picked.report.notes)


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(tmp_path / "long.mp4", 120, gop=12, b_frames=0, options={"sc_threshold": "0"})
    decoded = 0
    plain = FileReader.decode

    def counting(self: FileReader, packet: Any) -> Any:
        nonlocal decoded
        frames = plain(self, packet)
        decoded += len(frames)
        return frames

    with Video(path, threads=1) as video:
        assert len(video) == 120
        monkeypatch.setattr(FileReader, "decode", counting)
        video.frames_by_index([100, 14])
        assert decoded <= 2 * 6, f"{decoded} frames decoded for two near keyframes"
        decoded = 0
        clips = video.clips([[20, 30], [25, 20], [110]])
        assert [read_numbers(clip.frames_THWC) for clip in clips] == [[20, 30], [25, 20], [110]]
        assert decoded <= 24, "each source frame at most once"


def test_one_frame(tmp_path: Path) -> None:
    for name, options in {"one.mp4": {}, "one.gif": KINDS["palette.gif"]}.items():
        path = write_numbered(tmp_path / name, 1, first=77, **options)
        assert read_numbers(decode(path).frames_THWC) == [77]
        assert read_numbers(decode(path, seconds=[0.0, 5.0]).frames_THWC) == [77, 77]


def test_gif_delays(tmp_path: Path) -> None:
    images = [Image.fromarray(draw_number(number)) for number in range(4)]
    images[0].save(
        tmp_path / "slow.gif", save_all=True, append_images=images[1:], duration=[100, 300, 50, 200]
    )
    whole = decode(tmp_path / "slow.gif")
    assert read_numbers(whole.frames_THWC) == [0, 1, 2, 3]
    assert np.allclose(whole.times_T, [0.0, 0.1, 0.4, 0.45])
    with stream_frames(tmp_path / "slow.gif", fps=10) as stream:
        assert [number for chunk in stream for number in read_numbers(chunk.frames_THWC)] == [
            0,
            1,
            1,
            1,
            2,
            3,
            3,
        ]
        assert stream.duration_seconds == pytest.approx(0.65)


def test_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        suffix = "png" if number % 2 else "bmp"
        Image.fromarray(draw_number(number)).save(tmp_path / f"frame{number}.{suffix}")
    (tmp_path / "notes.txt").write_text("not an image")
    whole = decode(tmp_path)
    assert read_numbers(whole.frames_THWC) == list(range(12))
    assert whole.times_T[1] == pytest.approx(1 / 25)
    assert read_numbers(decode(tmp_path, seconds=[0.1, 0.41]).frames_THWC) == [2, 10]
    (tmp_path / "frame5.png").write_bytes(b"broken")
    damaged = decode(tmp_path)
    assert damaged.report.frames_decoded == 11
    assert not damaged.report.ok
    picked = decode(tmp_path, indices=[5, 6])
    assert read_numbers(picked.frames_THWC) == [4, 6]
    assert picked.corrupt_T.tolist() == [True, False]


def test_resizing_is_antialiased_bilinear_of_the_rgb_frame(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "big.mp4", 3, size=(320, 200))
    full = decode(path)
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.array_equal(full.frames_THWC, np.stack(plain)), "colours are those of PyAV"
    for short, size in ((96, (154, 96)), (200, (320, 200)), (250, (400, 250))):
        small = decode(path, short_side=short)
        assert small.frames_THWC.shape[1:3] == size[::-1]
        pillow = [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in plain
        ]
        difference = np.abs(small.frames_THWC.astype(int) - np.stack(pillow))
        assert difference.max() <= 1
    assert full.frames_TCHW.shape == (3, 3, 200, 320)
    assert full.frames_TCHW.data_ptr() == full.frames_THWC.ctypes.data, "a view, not a copy"


def test_cut_off_files_say_so(tmp_path: Path) -> None:
    fast = {"container": {"options": {"movflags": "faststart"}}}
    kinds = {
        "a.mp4": fast,
        "a.mkv": {},
        "a.avi": {"codec": "mpeg4", "b_frames": 0},
        "a.gif": KINDS["palette.gif"],
    }
    for name, options in kinds.items():
        path = write_numbered(tmp_path / name, NUM_FRAMES, **options)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        whole = decode(path)
        assert whole.report.short, name
        assert not whole.report.ok
        assert 0 < whole.report.frames_decoded < NUM_FRAMES
        clean = ~whole.corrupt_T
        numbers = np.asarray([-1 if n is None else n for n in read_numbers(whole.frames_THWC)])
        assert np.array_equal(numbers[clean], whole.indices_T[clean]), name
        if name != "a.gif":
            assert whole.report.frames_expected == NUM_FRAMES, name
        with Video(path) as video:
            assert video.frames_by_time([0.2]).report.short


def test_recording_that_begins_between_keyframes(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "whole.ts", NUM_FRAMES, b_frames=0, options={"sc_threshold": "0"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        position = [packet.pos for packet in container.demux(stream) if packet.size][5]
    cut = tmp_path / "cut.ts"
    cut.write_bytes(path.read_bytes()[position // 188 * 188 :])
    whole = decode(cut)
    numbers = read_numbers(whole.frames_THWC)
    assert numbers == list(range(12, NUM_FRAMES)), "what cannot be decoded is not shown"
    with Video(cut) as video:
        assert len(video) == len(numbers)
        assert read_numbers(video.frames_by_index([0, 20]).frames_THWC) == [12, 32]


def test_seconds_or_indices(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 5)
    with pytest.raises(ValueError, match="not both"):
        decode(path, seconds=[0], indices=[0])
    with pytest.raises(VideoError, match=r"max_frames") as caught:
        decode(path, limits=Limits(max_frames=4))
    assert caught.value.kind == "too_large"
    assert len(decode(path, indices=[])) == 0


# frame indices of k / 25 s, k = 0..63, by an independent path (PyAV's frames and their PTS)
EVERY_FIFTH_LEFT_OUT = [k * 6 // 5 for k in range(64)]
CLIPS = {
    "walking_the_dog.mp4": EVERY_FIFTH_LEFT_OUT,
    "cartwheel.avi": EVERY_FIFTH_LEFT_OUT,
    "arm_wrestling.mp4": [k * 28 // 25 for k in range(64)],
    "juggling_soccer_ball.avi": [k * 1200 // 1001 for k in range(64)],
}


def test_a_clip_opens_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening costs as much as decoding ten pictures, and reading all packets as much again."""
    path = write_numbered(tmp_path / "a.mp4", NUM_FRAMES)
    opened: list[object] = []
    real = av.open

    def count(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(av, "open", count)
    with Video(path) as video:
        times = video.frame_times()
        assert read_numbers(video.frames_by_index([30, 7]).frames_THWC) == [30, 7]
        assert len(opened) == 1
        info = video.info  # asked for only now, it is what it would have been at first
        assert read_numbers(video.frames_by_index([3]).frames_THWC) == [3]
        assert np.array_equal(video.frame_times(), times)
    with Video(path) as video:
        assert video.info == info
        assert np.array_equal(video.frame_times(), times)


@pytest.mark.skipif("VADIS_CLIPS" not in os.environ, reason="VADIS_CLIPS names no folder of clips")
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_on_the_grid_of_25_fps(name: str) -> None:
    path = Path(os.environ["VADIS_CLIPS"]) / name
    with stream_frames(path, fps=25, short_side=64) as stream:
        streamed = [index for chunk in stream for index in chunk.indices_T.tolist()]
    assert streamed[:64] == CLIPS[name]
    assert stream.report.repaired == (name == "cartwheel.avi")
    with Video(path, short_side=64) as video:
        assert video.frames_by_time(Fraction(k, 25) for k in range(64)).indices_T.tolist() == CLIPS[name]
