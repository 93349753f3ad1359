"""Motion vectors of made files: a picture that moves is told by every codec that carries them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from vadis.data.known_motion import known_motion
from vadis.records import VideoError
from vadis.video.motion_vectors import GRID, motion_vector_pieces, read_motion_vectors
from vadis.video.write import VideoWriter

TRUE = np.array([2.3, -1.4])


@cache
def frames() -> np.ndarray:
    return known_motion("translation", frames=9, size=(176, 144)).frames_THWC


def film(
    codec: str, container: str, options: dict[str, str], pictures: np.ndarray, b_frames: int = 0
) -> bytes:
    if codec not in av.codecs_available:
        pytest.skip(f"no encoder {codec}")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        stream.codec_context.max_b_frames = b_frames
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("mpeg2video", "mpegts", {}),
        ("mpeg4", "mp4", {}),
        ("libx264", "mp4", {"x264-params": "ref=1:b-pyramid=none:scenecut=0"}),
    ],
)
def test_a_translation(codec: str, container: str, options: dict[str, str], b_frames: int) -> None:
    flow, times = read_motion_vectors(film(codec, container, options, frames(), b_frames))
    assert flow.fields_THW2.shape == (8, 18, 22, 2)
    assert (flow.size, flow.grid, flow.method) == ((144, 176), GRID, "mv")
    assert np.allclose(np.diff(times), 0.04, atol=1e-3)
    assert flow.known_THW is not None
    told = 0
    for field, known in zip(flow.fields_THW2[:, 2:-2, 2:-2], flow.known_THW[:, 2:-2, 2:-2], strict=True):
        if known.mean() < 0.5:
            continue
        told += 1
        assert np.abs(np.median(field[known], 0) - TRUE).max() < 0.35
        assert (field[~known] == 0).all()
    assert told >= 6  # the last frame that a decoder is flushed of comes without vectors


def test_intra_frames_tell_nothing() -> None:
    flow, _ = read_motion_vectors(film("mpeg4", "mp4", {"g": "1"}, frames()[:4]))
    assert flow.known_THW is not None
    assert not flow.known_THW.any()
    assert not flow.fields_THW2.any()


def test_a_keyframe_in_the_middle() -> None:
    flow, _ = read_motion_vectors(film("mpeg4", "mp4", {"g": "4"}, frames()))
    assert flow.known_THW is not None
    shares = flow.known_THW.mean((1, 2))
    assert shares[3] == 0  # frame 4 is a keyframe: nothing leads to it
    assert (shares[[0, 1, 2, 4, 5, 6]] > 0.9).all()


def test_what_stands_still() -> None:
    flow, _ = read_motion_vectors(film("libx264", "mp4", {}, np.repeat(frames()[:1], 5, 0)))
    assert np.abs(flow.fields_THW2).max() == 0


def test_pieces_and_parts() -> None:
    data = film("libx264", "mp4", {}, frames(), 2)
    whole, times = read_motion_vectors(data)
    pieces = list(motion_vector_pieces(data, pairs_at_once=3))
    assert [len(flow) for flow, _ in pieces] == [3, 3, 2]
    assert np.array_equal(np.concatenate([flow.fields_THW2 for flow, _ in pieces]), whole.fields_THW2)
    part, seconds = read_motion_vectors(data, first=2, stop=6)
    assert np.array_equal(part.fields_THW2, whole.fields_THW2[2:5])
    assert np.array_equal(seconds, times[2:5])
    one, _ = read_motion_vectors(film("mpeg4", "mp4", {}, frames()[:1]))
    assert one.fields_THW2.shape == (0, 18, 22, 2)


def test_long_films_are_the_same_from_a_window() -> None:
    """More frames than the window holds: what falls out of it is not missed."""
    pictures = known_motion("translation", frames=46, size=(64, 48)).frames_THWC
    flow, times = read_motion_vectors(film("mpeg4", "mp4", {"g": "100"}, pictures))
    assert len(flow) == len(times) == 45
    middle = np.median(flow.fields_THW2[:, 1:-1, 1:-1], (1, 2))
    assert np.abs(np.median(middle, 0) - TRUE).max() < 0.35
    assert flow.known_THW is not None
    assert (flow.known_THW[:40].mean((1, 2)) > 0.5).all()


def test_other_codecs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for picture in frames()[:3]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    with pytest.raises(VideoError, match=r"codec ffv1 .* h264, mpeg4") as caught:
        read_motion_vectors(path)
    assert caught.value.kind == "refused"
    (tmp_path / "frames").mkdir()
    with pytest.raises(VideoError, match="folder"):
        read_motion_vectors(tmp_path / "frames")


def test_our_own_files(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25.0) as writer:
        for picture in frames():
            writer.write(picture)
    flow, _ = read_motion_vectors(tmp_path / "a.mp4")
    assert np.abs(np.median(flow.fields_THW2, (0, 1, 2)) - TRUE).max() < 0.5
