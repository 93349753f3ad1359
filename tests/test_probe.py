"""What `probe` says of files whose properties are known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from numbered import MATRICES, draw_number, patch_matrix, write_numbered
from PIL import Image

from vadis.records import AudioStream, VideoError
from vadis.video.probe import probe, uneven


def test_everything_about_one_file(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 50, audio=True)
    info = probe(path)
    assert info.video == str(path)
    assert "mp4" in info.container
    assert (info.codec, info.pixel_format, info.bit_depth) == ("h264", "yuv420p", 8)
    assert (info.width, info.height, info.rotation, info.sample_aspect) == (96, 64, 0, 1.0)
    assert info.duration_seconds == pytest.approx(2.0, abs=0.03)
    assert info.frame_rate == info.real_frame_rate == 25.0
    assert info.variable_frame_rate is False
    assert (info.frames_declared, info.frames_counted) == (50, None)
    assert info.start_seconds == 0.0
    assert info.interlaced is False
    assert info.audio == (AudioStream("aac", 48000, 2),)
    assert info.size_bytes == path.stat().st_size
    assert probe(path, count_frames=True).frames_counted == 50
    assert probe(path.read_bytes()).width == 96


@pytest.mark.parametrize(
    ("name", "options", "codec", "depth"),
    [
        ("a.mkv", {"pix_fmt": "yuv420p10le"}, "h264", 10),
        ("a.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}, "vp9", 8),
        ("a.avi", {"codec": "mpeg4", "b_frames": 0}, "mpeg4", 8),
        ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, "prores", 10),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}, "gif", 8),
        ("a.ts", {}, "h264", 8),
    ],
)
def test_containers(name: str, options: dict[str, object], codec: str, depth: int, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / name, 30, **options)  # type: ignore[arg-type]
    info = probe(path, count_frames=True)
    assert (info.codec, info.bit_depth, info.frames_counted) == (codec, depth, 30)
    assert info.duration_seconds == pytest.approx(1.2, abs=0.01)
    assert info.variable_frame_rate is False


def test_variable_rate_is_noticed(tmp_path: Path) -> None:
    stamps = [k * 40 + (25 if k % 5 == 3 else 0) for k in range(30)]
    for name in ("a.mp4", "a.mkv", "a.ts"):
        path = write_numbered(tmp_path / name, 30, stamps=stamps, time_base=Fraction(1, 1000))
        assert probe(path).variable_frame_rate is True
        assert probe(path, count_frames=True).variable_frame_rate is True
    assert (
        probe(write_numbered(tmp_path / "ntsc.mkv", 30, rate=Fraction(30000, 1001))).variable_frame_rate
        is False
    )
    assert uneven([0, 33, 67, 100]) is False, "rounding to milliseconds is no variable rate"
    assert uneven([0, 33, 100]) is True
    assert uneven([0, 1]) is None


@pytest.mark.parametrize("degrees", MATRICES)
def test_size_after_rotation(degrees: int, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 3)
    patch_matrix(path, MATRICES[degrees])
    info = probe(path)
    assert info.rotation == degrees
    assert (info.width, info.height) == ((96, 64) if degrees in (0, 180) else (64, 96))


def test_clock_of_late_files(tmp_path: Path) -> None:
    for name in ("late.mkv", "late.mp4", "late.ts"):
        info = probe(write_numbered(tmp_path / name, 25, stamps=range(50, 75)))
        assert info.start_seconds == pytest.approx(2.0, abs=0.001), "as the file states it"
        assert info.duration_seconds == pytest.approx(1.0, abs=0.001), "on the player's clock"


def test_interlaced_and_sample_aspect(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "top": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(draw_number(number)).reformat(format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    info = probe(path)
    assert info.interlaced is True
    assert info.sample_aspect == pytest.approx(16 / 11, rel=0.02)


def test_folder_of_images(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(draw_number(number, (120, 80))).save(tmp_path / f"{number}.png")
    info = probe(tmp_path)
    assert (info.container, info.codec, info.width, info.height) == ("images", "png", 120, 80)
    assert (info.frames_declared, info.duration_seconds, info.frame_rate) == (10, 0.4, 25.0)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as caught:
        probe(tmp_path / "none.mp4")
    assert caught.value.kind == "not_found"
