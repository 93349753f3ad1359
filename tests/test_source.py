"""Opening: names are only names, nothing but the file is opened, each failure has its kind."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import draw_number, read_number, read_numbers, write_numbered
from PIL import Image

import vadis.video.source as source_module
from vadis.records import Limits, VideoError
from vadis.video.decode import Video, decode
from vadis.video.images import natural_key
from vadis.video.sniff import classify_failure, is_cut_off
from vadis.video.source import Budget, Source


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("source") / "plain.mp4", 12)


NAMES = [
    "a b.mp4",
    "new\nline.mp4",
    "-x.mp4",
    "åø 日本.mp4",
    "concat:plain.mp4",
    "concat:a|b",
    "subfile,,start,0,end,100,,:plain.mp4",
    "file:plain.mp4",
    "http:x.mp4",
    "frame%03d.mp4",
    "[a]*?.mp4",
    "pipe:0",
    "data:text",
    "no extension",
    "a.m3u8",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(
    name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError) as caught:
        decode(name)
    assert caught.value.kind == "not_found", "no such file, whatever the name looks like"
    shutil.copy(plain, tmp_path / name)
    assert len(decode(name)) == 12
    assert len(decode(Path(name))) == 12
    assert decode(name).report.video == name


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nplain.mp4\n#EXT-X-ENDLIST\n",
    "hls with a mark": "\ufeff#EXTM3U\nplain.mp4\n",
    "concat": "ffconcat version 1.0\nfile plain.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1/x"/></entry></asx>',
    "reference": "[Reference]\nRef1=http://127.0.0.1/x\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.m3u8", "x.txt"])
def test_playlists_are_refused_under_any_name(kind: str, name: str, plain: Path, tmp_path: Path) -> None:
    shutil.copy(plain, tmp_path / "plain.mp4")
    script = tmp_path / name
    script.write_text(PLAYLISTS[kind])
    for what in (script, script.read_bytes(), io.BytesIO(script.read_bytes())):
        with pytest.raises(VideoError) as caught:
            decode(what)
        assert caught.value.kind == "refused"


def test_the_whitelist_alone_would_refuse_playlists(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our own look at the first bytes, FFmpeg's whitelist still keeps scripts out."""
    shutil.copy(plain, tmp_path / "plain.mp4")
    script = tmp_path / "x.mp4"
    script.write_text(PLAYLISTS["concat"])
    with av.open(str(script)) as container:
        assert len(list(container.decode(video=0))) == 12, "the control: FFmpeg by itself opens it"
    monkeypatch.setattr(source_module, "names_other_files", lambda head: False)
    with pytest.raises(VideoError):
        decode(script)


def kind_of(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        decode(path)
    assert path.name in str(caught.value)
    assert caught.value.hint
    return caught.value.kind


def test_kinds_of_failure(plain: Path, tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(draw_number(3)).save(picture, "jpeg")
    path = tmp_path / "x.mp4"
    assert kind_of(b"just a text\n" * 50, path) == "not_video"
    assert kind_of(b"", path) == "not_video"
    assert kind_of(picture.getvalue(), path) == "not_video"
    assert kind_of(np.random.default_rng(0).bytes(50_000), path) == "not_video"
    assert kind_of(plain.read_bytes()[:2000], path) == "corrupt"
    assert kind_of(b"ID3\x04" + bytes(3000), path) == "no_video_stream"
    assert classify_failure(b"RIFF\0\0\0\0WAVE")[0] == "no_video_stream"
    for missing in (tmp_path / "none.mp4", path / "below.mp4", "a\0b", "x" * 5000):
        with pytest.raises(VideoError) as caught:
            decode(missing)
        assert caught.value.kind == "not_found"


def test_special_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    for path in (tmp_path / "fifo.mp4", "/dev/zero"):
        with pytest.raises(VideoError) as caught:
            decode(path)
        assert caught.value.kind == "refused"
    with pytest.raises(VideoError) as caught:
        decode(tmp_path)
    assert caught.value.kind == "empty"


def test_sound_and_cover_pictures_are_no_video(tmp_path: Path) -> None:
    sound = tmp_path / "sound.m4a"
    cover = tmp_path / "cover.m4a"
    for path in (sound, cover):
        with av.open(str(path), "w", format="mp4") as output:
            audio = output.add_stream("aac", rate=48000)
            picture = output.add_stream("mjpeg", rate=1) if path == cover else None
            if picture is not None:
                picture.width, picture.height, picture.pix_fmt = 96, 64, "yuvj420p"
                picture.disposition = av.stream.Disposition.attached_pic
            for start in range(0, 10240, 1024):
                sound_frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound_frame.sample_rate, sound_frame.pts = 48000, start
                output.mux(audio.encode(sound_frame))
            output.mux(audio.encode(None))
            if picture is not None:
                frame = av.VideoFrame.from_ndarray(draw_number(5)).reformat(format="yuvj420p")
                output.mux(picture.encode(frame))
                output.mux(picture.encode(None))
    for path in (sound, cover):
        with pytest.raises(VideoError) as caught:
            decode(path)
        assert caught.value.kind == "no_video_stream"


def test_cover_picture_before_the_video_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as output:
        picture = output.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        output.mux(picture.encode(av.VideoFrame.from_ndarray(draw_number(999)).reformat(format="yuvj420p")))
        output.mux(picture.encode(None))
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(draw_number(number)).reformat(format="yuv420p")
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    assert read_numbers(decode(path).frames_THWC) == list(range(8))


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_bytes=1000), "max_bytes"),
        (Limits(max_seconds=0.2), "max_seconds"),
        (Limits(max_frames=5), "max_frames"),
        (Limits(max_pixels=96 * 64 - 1), "max_pixels"),
    ],
)
def test_limits_in_the_header(limits: Limits, named: str, plain: Path) -> None:
    for what in (plain, plain.read_bytes()):
        with pytest.raises(VideoError, match=named) as caught:
            decode(what, limits=limits)
        assert caught.value.kind == "too_large"
    nothing = Limits(None, None, None, None, None)
    assert len(decode(plain, limits=nothing)) == 12


def test_the_decoder_itself_holds_to_max_pixels(plain: Path) -> None:
    """Pixels are limited where the header lies, too: the option must reach the codec, not the container."""
    source = Source(plain, Limits(max_pixels=10_000_000))
    try:
        assert int(source.stream.codec_context.options["max_pixels"]) >= 10_000_000
    finally:
        source.close()
    with av.open(str(plain)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": "100"}
        stream.codec_context.thread_count = 1
        with pytest.raises(av.FFmpegError):
            list(container.decode(stream))


def test_bytes_and_file_objects(plain: Path) -> None:
    data = plain.read_bytes()
    assert read_numbers(decode(data, indices=[7, 2]).frames_THWC) == [7, 2]
    with plain.open("rb") as file:
        assert read_numbers(decode(file, indices=[7, 2]).frames_THWC) == [7, 2]
        with Video(file) as video:
            assert read_number(video.frames_by_time([0.2]).frames_THWC[0]) == 5
        assert not file.closed, "a file that was given stays open"


def test_cut_off_by_the_boxes(plain: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi", "a.webm"):
        codec = {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}} if name == "a.webm" else {}
        data = write_numbered(tmp_path / name, 12, **codec).read_bytes()  # type: ignore[arg-type]
        for size, expected in ((len(data), False), (len(data) - 3, True), (len(data) // 2, True)):
            part = data[:size]
            assert is_cut_off(io.BytesIO(part), part[:4096], size) == expected, (name, size)


def test_budget_runs_only_inside() -> None:
    budget = Budget("x", 0.05)
    time.sleep(0.1)
    budget.check()
    with budget:
        time.sleep(0.1)
        with pytest.raises(VideoError) as caught:
            budget.check()
    assert caught.value.kind == "timeout"


def test_natural_order() -> None:
    names = ["b1", "a10", "a9", "a1", "10", "9", "a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "a1", "a9", "a10", "b1"]
