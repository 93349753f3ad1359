"""Videos and pictures written: exact in time, readable by OpenCV, whole or not there."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numbered import draw_number, read_numbers, write_numbered

from vadis.records import Span, VideoError
from vadis.video.decode import Video, decode
from vadis.video.write import VideoWriter, cut_video, span_filename, write_png


def write_clicks(path: Path, clicks: list[float], num_seconds: float = 4.0, rate: int = 25) -> Path:
    """A video whose frame n shows n, with PCM sound that is silent but for 1 ms clicks at given seconds."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.max_b_frames = 2
        sound = output.add_stream("pcm_s16le", rate=48_000, layout="mono")
        samples = np.zeros((1, round(num_seconds * 48_000)), np.int16)
        for click in clicks:
            samples[0, round(click * 48_000) : round(click * 48_000) + 48] = 25_000
        for number in range(round(num_seconds * rate)):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            output.mux(stream.encode(frame))
            step = 48_000 // rate
            part = np.ascontiguousarray(samples[:, number * step : (number + 1) * step])
            heard = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 48_000, number * step, Fraction(1, 48_000)
            output.mux(sound.encode(heard))
        output.mux(stream.encode(None))
        output.mux(sound.encode(None))
    return path


def hear(path: Path) -> tuple[np.ndarray, int]:
    """The first channel of a file's sound from time 0 on (float64), and its rate in Hz; by PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        parts = {}
        for frame in container.decode(stream):
            values = frame.to_ndarray().astype(np.float64)
            parts[round(frame.time * stream.rate)] = values[0] / (32768 if frame.format.name == "s16" else 1)
        heard = np.zeros(max(at + len(part) for at, part in parts.items()))
        for at, part in parts.items():
            heard[max(0, at) : at + len(part)] = part[max(0, -at) :]
        return heard, stream.rate


def test_constant_rate_is_exact_and_opencv_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, Fraction(30000, 1001)) as writer:
        for number in range(50):
            writer.write(draw_number(number))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 50
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30000 / 1001, abs=1e-6)
    frames = []
    while True:
        good, frame_BGR = capture.read()
        if not good:
            break
        frames.append(frame_BGR[..., ::-1])
    assert read_numbers(frames) == list(range(50))
    with Video(path) as video:
        np.testing.assert_allclose(video.frame_times(), np.arange(50) * 1001 / 30000, atol=1e-9)
        assert video.info.duration_seconds == pytest.approx(50 * 1001 / 30000, abs=1e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_variable_rate_keeps_every_time(tmp_path: Path, ending: str) -> None:
    times = [0.0, 0.0333, 0.1, 0.5, 0.512, 2.0, 2.0417, 3.3]
    path = tmp_path / f"vfr{ending}"
    with VideoWriter(path, 25) as writer:
        for number, seconds in enumerate(times):
            writer.write(draw_number(number), seconds, 0.7)
    with Video(path) as video:
        tolerance = 0.0006 if ending == ".mkv" else 1e-5  # Matroska counts milliseconds
        np.testing.assert_allclose(video.frame_times(), times, atol=tolerance)
        assert video.info.duration_seconds == pytest.approx(4.0, abs=0.002)
    assert read_numbers(decode(path).frames_THWC) == list(range(len(times)))


def test_colours_survive_and_odd_sizes_grow_by_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "colour.mp4"
    frame_HWC = np.full((65, 97, 3), (200, 60, 30), np.uint8)
    with VideoWriter(path, 10, crf=10) as writer:
        for _ in range(3):
            writer.write(frame_HWC)
    good, frame_BGR = cv2.VideoCapture(str(path)).read()
    assert good
    assert frame_BGR.shape == (66, 98, 3)
    ours_HWC = decode(path).frames_THWC[0]
    assert ours_HWC.shape == (66, 98, 3)
    assert np.abs(ours_HWC.astype(int) - (200, 60, 30)).max() <= 4  # the matrix is named and obeyed
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace, context.color_range) == ("yuv420p", 1, 1)


def test_index_comes_first(tmp_path: Path) -> None:
    path = write_some(tmp_path / "fast.mp4")
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def write_some(path: Path, num_frames: int = 5) -> Path:
    with VideoWriter(path, 25) as writer:
        for number in range(num_frames):
            writer.write(draw_number(number))
    return path


@pytest.mark.parametrize(
    "name",
    ["-x.mp4", "concat:a.mp4", "a b\nc.mp4", "größe 走.mp4", "subfile,,start,0,end,9,,:x.mp4", "%03d.mp4"],
)
def test_a_name_is_just_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(name, 25) as writer:
        writer.write(draw_number(7))
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert read_numbers(decode(tmp_path / name).frames_THWC) == [7]


def test_nothing_is_left_after_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    new, old = tmp_path / "new.mp4", write_some(tmp_path / "old.mp4")
    before = old.read_bytes()
    for path in (new, old):
        with pytest.raises(ZeroDivisionError), VideoWriter(path, 25) as writer:  # noqa: PT012
            for number in range(60):  # more than the encoder holds back
                writer.write(draw_number(number))
            assert path.with_name(path.name + ".part").exists()
            raise ZeroDivisionError
    assert [item.name for item in tmp_path.iterdir()] == ["old.mp4"]
    assert old.read_bytes() == before


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends with one of \.mp4"):
        VideoWriter(tmp_path / "a.txt", 25)
    with pytest.raises(ValueError, match="positive"):
        VideoWriter(tmp_path / "a.mp4", 0)
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(draw_number(0), 1.0)
        with pytest.raises(ValueError, match="must increase"):
            writer.write(draw_number(1), 1.0)
        with pytest.raises(ValueError, match="pixels, the file"):
            writer.write(draw_number(1, (64, 64)))
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ValueError, match="uint8 RGB"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(np.zeros((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_png_is_read_back_by_opencv(tmp_path: Path) -> None:
    picture_HWC = np.random.default_rng(0).integers(0, 256, (31, 47, 3), np.uint8)
    path = write_png(tmp_path / "deep" / "a.png", picture_HWC)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture_HWC)


def test_cut_takes_exactly_the_frames_on_screen(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 100, gop=24)  # 25 fps, B-frames
    path = cut_video(source, 1.01, 2.0, tmp_path / "cut.mp4")
    frames = decode(path)
    assert read_numbers(frames.frames_THWC) == list(
        range(25, 50)
    )  # 25 is on screen at 1.01, 50 starts at 2.0
    assert frames.times_T[0] == 0
    np.testing.assert_allclose(frames.times_T[1:], np.arange(26, 50) / 25 - 1.01, atol=1e-4)
    with Video(path) as video:
        assert video.info.duration_seconds == pytest.approx(0.99, abs=1e-3)


def test_cut_of_a_variable_rate(tmp_path: Path) -> None:
    stamps = [0, 90, 100, 700, 1500, 1510, 3000, 3040]
    source = write_numbered(
        tmp_path / "v.mkv", len(stamps), stamps=stamps, time_base=Fraction(1, 1000), b_frames=0
    )
    frames = decode(cut_video(source, 0.5, 3.0, tmp_path / "cut.mp4"))
    assert read_numbers(frames.frames_THWC) == [2, 3, 4, 5]
    np.testing.assert_allclose(frames.times_T, [0, 0.2, 1.0, 1.01], atol=1e-4)


def test_cut_ends_with_the_video(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 50)
    path = cut_video(source, 1.6, 99.0, tmp_path / "cut.mp4")
    assert read_numbers(decode(path).frames_THWC) == list(range(40, 50))
    with Video(path) as video:
        assert video.info.duration_seconds == pytest.approx(0.4, abs=2e-3)


def test_cut_keeps_sound_beside_the_picture(tmp_path: Path) -> None:
    source = write_clicks(tmp_path / "a.mkv", [0.4, 1.5, 2.25, 3.7])
    path = cut_video(source, 1.0, 3.0, tmp_path / "cut.mp4")
    heard, rate = hear(path)
    assert len(heard) / rate == pytest.approx(2.0, abs=0.03)
    loud = np.flatnonzero(np.abs(heard) > 0.25) / rate
    groups = [group.mean() for group in np.split(loud, np.flatnonzero(np.diff(loud) > 0.1) + 1)]
    assert groups == pytest.approx([0.5, 1.25], abs=0.003)
    assert read_numbers(decode(path).frames_THWC) == list(range(25, 75))


def test_cut_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 10)
    for start, end in ((1.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (5.0, 6.0)):
        with pytest.raises(ValueError):
            cut_video(source, start, end, tmp_path / "cut.mp4")
    with pytest.raises(ValueError, match="source of the cut"):
        cut_video(source, 0, 1, source)
    with pytest.raises(VideoError) as caught:
        cut_video(tmp_path / "gone.mp4", 0, 1, tmp_path / "cut.mp4")
    assert caught.value.kind == "not_found"
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("video", "class_name", "expected"),
    [
        ("a/walk.mp4", "walking the dog", "walk_0.00-2.56_walking_the_dog.mp4"),
        ("-rf.mp4", "throwing (ball/frisbee)", "rf_0.00-2.56_throwing_ball_frisbee.mp4"),
        (".hidden", "../../x", "hidden_0.00-2.56_x.mp4"),
        ("a b\n'c\".avi", "Übung 走", "a_b_c_0.00-2.56_übung_走.mp4"),
        ("???", "***", "video_0.00-2.56_label_7.mp4"),
    ],
)
def test_names_of_spans_are_safe(video: str, class_name: str, expected: str) -> None:
    assert span_filename(video, Span(0.0, 2.56, 7, class_name)) == expected


def test_long_names_of_spans_fit() -> None:
    name = span_filename("ü" * 300 + ".mp4", Span(0, 1, 1, "走" * 300))
    assert 100 < len(name.encode()) <= 200
    assert name.endswith(".mp4")
