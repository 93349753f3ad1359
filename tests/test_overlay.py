"""Overlays: every source frame at its own time, labels legible on any ground, sound kept."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numbered import read_numbers, write_numbered
from test_canvas import contrast
from test_write import hear, write_clicks

from vadis.records import Failure, LabelScore, Prediction, Span, VideoError, Window
from vadis.video.decode import Video, decode
from vadis.video.overlay import (
    draw_frame_overlay,
    draw_overlay,
    label_panel,
    overlay_size,
    span_at,
    window_at,
)
from vadis.video.probe import probe

LABELS = (LabelScore(3, "walking the dog", 0.9), LabelScore(4, "jogging", 0.05))


def make_prediction(video: str, duration: float = 4.0, spans: tuple[Span, ...] | None = None) -> Prediction:
    windows = (Window(0, duration / 2, LABELS), Window(duration / 2, duration, LABELS[::-1]))
    known = (Span(0, duration / 2, 3, "walking the dog", 0.9),) if spans is None else spans
    return Prediction(video, "m", None, "p", duration, labels=LABELS, windows=windows, spans=known)


def test_every_frame_at_its_own_time(tmp_path: Path) -> None:
    stamps = [0, 40, 50, 400, 410, 1000, 1500, 2900, 3000]
    source = write_numbered(
        tmp_path / "v.mkv",
        len(stamps),
        size=(320, 240),
        stamps=stamps,
        time_base=Fraction(1, 1000),
        b_frames=0,
    )
    path = draw_overlay(source, make_prediction(str(source), 3.04), tmp_path / "out.mp4")
    frames = decode(path)
    assert frames.frames_THWC.shape[1:] == (480, 640, 3)
    # the middle of the picture is free of labels: the bits are below it, so look at the rows between
    np.testing.assert_allclose(frames.times_T, np.array(stamps) / 1000, atol=1e-4)
    expected = decode(source).frames_THWC
    for ours_HWC, theirs_HWC in zip(frames.frames_THWC, expected, strict=True):
        big_HWC = cv2.resize(theirs_HWC, (640, 480), interpolation=cv2.INTER_CUBIC)
        region = (slice(240, 430), slice(300, 640))
        assert np.abs(ours_HWC[region].astype(int) - big_HWC[region]).mean() < 8
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(stamps)


def test_sound_is_kept(tmp_path: Path) -> None:
    source = write_clicks(tmp_path / "a.mkv", [1.0, 2.5])
    path = draw_overlay(source, make_prediction(str(source)), tmp_path / "out.mp4")
    heard, rate = hear(path)
    loud = np.flatnonzero(np.abs(heard) > 0.25) / rate
    groups = [group.mean() for group in np.split(loud, np.flatnonzero(np.diff(loud) > 0.1) + 1)]
    assert groups == pytest.approx([1.0, 2.5], abs=0.003)
    assert len(probe(draw_overlay(source, make_prediction("a"), tmp_path / "b.mp4", sound=False)).audio) == 0


@pytest.mark.slow
def test_strangers_are_decoded_in_a_child(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 12, audio=True)
    path = draw_overlay(source, make_prediction(str(source), 0.48), tmp_path / "out.mp4", untrusted=True)
    info = probe(path, count_frames=True)
    assert (info.frames_counted, info.audio) == (12, ())


@pytest.mark.slow
def test_labels_change_with_the_windows(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 100, size=(320, 240))
    path = draw_overlay(source, make_prediction(str(source)), tmp_path / "out.mp4")
    frames_THWC = decode(path).frames_THWC.astype(int)
    corner = (slice(10, 100), slice(10, 200))
    same = np.abs(frames_THWC[10][corner] - frames_THWC[40][corner]).mean()
    other = np.abs(frames_THWC[10][corner] - frames_THWC[60][corner]).mean()
    assert other > 5 * same
    # the playhead is white and wanders from left to right over the strip
    strips_TW = frames_THWC[:, -4:].mean(axis=(1, 3))
    places = strips_TW.argmax(axis=1)
    assert (np.diff(places[::5]) > 0).all()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 3)
    failed = Prediction(str(source), "m", None, "p", error=Failure("corrupt", "cut off"))
    with pytest.raises(ValueError, match="cut off"):
        draw_overlay(source, failed, tmp_path / "out.mp4")
    with pytest.raises(ValueError, match="to read"):
        draw_overlay(source, make_prediction("a"), source)
    with pytest.raises(VideoError):
        draw_overlay(tmp_path / "gone.mp4", make_prediction("a"), tmp_path / "out.mp4")
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((320, 240), (640, 480)),
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (720, 1280)),
        ((1001, 563), (1000, 564)),
    ],
)
def test_sizes(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    source = write_numbered(tmp_path / "a.mkv", 1, size=size, codec="ffv1", pix_fmt="bgr0")
    assert overlay_size(probe(source)) == expected


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_text_is_legible_on_any_ground(ground: int) -> None:
    panel_HW4 = label_panel((("walking", 0.9, (0, 114, 178)), ("jogging", 0.1, None)), 640, 480)
    shade = panel_HW4[panel_HW4.shape[0] - 4, panel_HW4.shape[1] // 2]
    alpha = shade[3] / 255
    behind = tuple(int(value) for value in shade[:3] * alpha + ground * (1 - alpha))
    assert contrast((214, 218, 223), behind) >= 4.5


@pytest.mark.parametrize("size", [(2, 2), (16, 300), (300, 16), (160, 120), (3840, 2160)])
def test_any_frame_can_be_labelled(size: tuple[int, int]) -> None:
    frame_HWC = np.full((size[1], size[0], 3), 90, np.uint8)
    names = (LabelScore(1, "走 <b>&\n" * 20, 2.0), LabelScore(2, "", -1.0), LabelScore(3, "x", float("nan")))
    drawn_HWC = draw_frame_overlay(
        frame_HWC, names, title="t" * 300, status="latency 0.2 s", colours={2: (1, 2, 3)}
    )
    assert drawn_HWC.shape == frame_HWC.shape
    assert (frame_HWC == 90).all()  # a copy is drawn on
    assert draw_frame_overlay(frame_HWC, ()).shape == frame_HWC.shape


def test_which_span_and_window() -> None:
    spans = (Span(0, 1, 1, "a"), Span(1, 2, 2, "b"), Span(3, 4, 3, "c"))
    found = [span_at(spans, seconds) for seconds in (0, 0.99, 1, 2.5, 3, 4.0, 4.2)]
    assert [span.class_name if span else None for span in found] == ["a", "a", "b", None, "c", "c", None]
    overlapping = (Span(0, 3, 1, "a"), Span(2, 4, 2, "b"))
    chosen = [span_at(overlapping, 2.5, label) for label in (1, 2, 7, None)]
    assert [span.class_name if span else None for span in chosen] == ["a", "b", "b", "b"]
    windows = (Window(0, 2, ()), Window(2, 4, ()), Window(3, 5, ()))
    assert [windows.index(window_at(windows, s) or windows[0]) for s in (0, 2.1, 3.4, 3.6, 9)] == [
        0,
        1,
        1,
        2,
        2,
    ]
    assert window_at((), 1.0) is None


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    peaks = []
    for num_frames in (40, 200):
        source = write_numbered(tmp_path / f"{num_frames}.mp4", num_frames)
        tracemalloc.start()  # counts numpy's arrays
        draw_overlay(source, make_prediction(str(source), num_frames / 25), tmp_path / f"o{num_frames}.mp4")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8e6  # 160 frames more are 131 MB
    with Video(tmp_path / "o200.mp4") as video:
        assert len(video) == 200


def test_the_numbers_stay_readable(tmp_path: Path) -> None:
    """With no labels and no spans only the strip hides something: bits 0 to 7 are above it."""
    source = write_numbered(tmp_path / "a.mp4", 30, size=(640, 480))
    prediction = Prediction(str(source), "m", None, "p", 1.2)
    frames_THWC = decode(draw_overlay(source, prediction, tmp_path / "out.mp4")).frames_THWC
    upper_THWC = frames_THWC.copy()
    upper_THWC[:, 360:] = 0  # bits 8 to 15
    upper_THWC[:, :120, :80] = 255  # the panel covers the white corner
    assert read_numbers(upper_THWC) == list(range(30))
