"""Timelines and contact sheets: what is drawn stands where the numbers say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numbered import read_numbers, write_numbered

from vadis.records import DecodeReport, Failure, LabelScore, Prediction, Span, Window
from vadis.video import draw
from vadis.video.canvas import PALETTE, Canvas
from vadis.video.decode import decode
from vadis.video.draw import contact_sheet, draw_timeline, make_lanes, render_timeline


def labels(*scores: float) -> tuple[LabelScore, ...]:
    return tuple(LabelScore(n, f"class {n}", score) for n, score in enumerate(scores))


PREDICTION = Prediction(
    video="some/where/a.mp4",
    model="i3d_inception.k400",
    weights_sha256=None,
    protocol="windows: 25 fps",
    duration_seconds=10.0,
    frames_expected=250,
    frames_decoded=250,
    labels=labels(0.6, 0.3, 0.05, 0.01, 0.001),
    windows=(Window(0, 5, labels(0.9, 0.05)), Window(5, 10, labels(0.2, 0.75))),
    spans=(Span(0, 5, 0, "class 0", 0.9), Span(6, 10, 1, "class 1", 0.75)),
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is set on a canvas."""
    texts: list[str] = []
    original = Canvas.text

    def remember(self: Canvas, left: float, top: float, text: str, *rest: object, **options: object) -> float:
        texts.append(text)
        assert left <= self.width
        assert top <= self.height
        return original(self, left, top, text, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Canvas, "text", remember)
    return texts


def columns_of(picture_HWC: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """The columns of the plot where at least 8 pixels have a colour."""
    near = np.abs(picture_HWC.astype(int) - colour).max(axis=-1) < 12
    return (
        np.flatnonzero(near[:, draw.MARGIN + draw.NAMES - 4 :].sum(axis=0) >= 8)
        + draw.MARGIN
        + draw.NAMES
        - 4
    )


def test_spans_stand_at_their_times() -> None:
    picture_HWC = render_timeline(PREDICTION, width=1200)
    left, right = draw.MARGIN + draw.NAMES, 1200 - draw.MARGIN
    for number, (start, end) in enumerate(((0, 5), (6, 10))):
        columns = columns_of(picture_HWC, PALETTE[number])
        assert columns.min() == pytest.approx(left + (right - left) * start / 10, abs=4)
        assert columns.max() == pytest.approx(left + (right - left) * end / 10, abs=4)


def test_the_curve_is_as_high_as_the_score() -> None:
    def height(score: float) -> int:
        windows = (Window(0, 10, labels(score)),)
        alone = replace(
            PREDICTION, windows=windows, spans=(Span(0, 0.1, 0, "class 0", score),), labels=labels(score)
        )
        picture_HWC = render_timeline(alone, width=1200).astype(int)
        line = np.abs(picture_HWC - PALETTE[0]).max(axis=-1) < 40
        return int(np.flatnonzero(line[:, 1100]).mean())

    full, half, low = height(1.0), height(0.5), height(0.1)
    assert low - full == pytest.approx(0.9 * (draw.CURVE - 6), abs=1)
    assert half - full == pytest.approx(0.5 * (draw.CURVE - 6), abs=1)


def test_every_fact_is_written(written: list[str]) -> None:
    render_timeline(PREDICTION, threshold=0.5, num_classes=400)
    text = "\n".join(written)
    for fact in (
        "a.mp4",
        "0:10.0, 250 frames",
        "class 0  0.90",
        "class 1  0.75",
        "highest 0.90",
        "threshold 0.50",
    ):
        assert fact in text
    assert "i3d_inception.k400" in text
    assert "windows: 25 fps" in text
    assert "softmax over 400 classes" in text
    assert {"0:00", "0:05", "0:10"} <= set(written)


def test_nothing_known_is_said(written: list[str]) -> None:
    render_timeline(replace(PREDICTION, spans=()), threshold=0.5)
    assert "None of the known actions above 0.50" in written
    assert "best guess: class 0 (0.60)" in written
    render_timeline(replace(PREDICTION, spans=()))
    assert "None of the known actions" in written


def test_damage_is_said(written: list[str]) -> None:
    report = DecodeReport("a.mp4", 300, 250, 7, short=True, repaired=True)
    render_timeline(replace(PREDICTION, report=report))
    text = "\n".join(written)
    assert "ends early (250 of 300 frames)" in text
    assert "7 frames are damaged" in text
    assert "timestamps are broken" in text


def test_lanes() -> None:
    lanes = make_lanes(PREDICTION)
    assert [lane.class_name for lane in lanes] == ["class 0", "class 1", "class 2", "class 3"]
    assert [len(lane.spans) for lane in lanes] == [1, 1, 0, 0]
    assert len({lane.colour for lane in lanes[:2]}) == 2
    many = tuple(Span(k, k + 1, k, f"n{k}", 0.5) for k in range(30))
    assert len(make_lanes(replace(PREDICTION, spans=many))) == draw.MAX_LANES


def test_a_file_for_opencv_with_frames_of_the_video(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 100, size=(160, 120))
    prediction = replace(PREDICTION, video=str(source), duration_seconds=4.0, windows=(), spans=())
    path = draw_timeline(prediction, tmp_path / "out.png", width=1000)
    picture_HWC = cv2.imread(str(path))[..., ::-1]
    assert picture_HWC.shape[1] == 1000
    plain = render_timeline(prediction, width=1000)
    strip = picture_HWC.shape[0] - plain.shape[0] - 14
    width = 1000 - 2 * draw.MARGIN - draw.NAMES
    num_frames = round(width / 92 / (4 / 3))
    step = width / num_frames
    top = 134  # no spans: below the best guess
    thumbs = []
    for number in range(num_frames):
        left = draw.MARGIN + draw.NAMES + number * step
        thumbs.append(picture_HWC[top : top + strip, round(left) : round(left + step - 2)])
    times = (np.arange(num_frames) + 0.5) / num_frames * 4.0
    assert read_numbers(thumbs) == [int(seconds * 25) for seconds in times]


def test_a_missing_video_gives_a_picture_without_frames(tmp_path: Path) -> None:
    path = draw_timeline(PREDICTION, tmp_path / "out.png")
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], render_timeline(PREDICTION))


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction("x", "m", None, "p"),
        Prediction("", "", None, "", error=Failure("corrupt", "走" * 500)),
        replace(PREDICTION, video="走/\x1b[31m" + "ü" * 400, protocol="p " * 900, model="m" * 300),
        replace(PREDICTION, duration_seconds=0.0, windows=(), spans=(Span(0, 0, 0, "", None),)),
        replace(PREDICTION, duration_seconds=100_000.0),
        replace(
            PREDICTION, spans=tuple(Span(k / 10, k / 10 + 0.05, k % 40, "走" * 99, 0.5) for k in range(100))
        ),
        replace(PREDICTION, windows=(Window(0, 5, labels(float("nan"), 7.0, -3.0)),)),
    ],
    ids=["empty", "failed", "long", "instant", "day", "many", "scores"],
)
def test_any_prediction_can_be_drawn(prediction: Prediction) -> None:
    for width in (1, 640, 1600):
        picture_HWC = render_timeline(prediction, width=width, threshold=0.5)
        assert picture_HWC.shape[1] == max(640, width)
        assert picture_HWC.dtype == np.uint8
        assert picture_HWC.std() > 1


def test_contact_sheet(tmp_path: Path, written: list[str]) -> None:
    source = write_numbered(tmp_path / "a.mp4", 14, size=(160, 120))
    frames = decode(source)
    sheet_HWC = contact_sheet(list(frames.frames_THWC), frames.times_T.tolist(), num_columns=5, width=1000)
    assert sheet_HWC.shape[1] == 1000
    cell = (1000 - 12) / 5
    tall = (cell - 12) * 120 / 160
    cells = []
    for number in range(14):
        left, top = 12 + number % 5 * cell, 12 + number // 5 * (tall + 36)
        cells.append(sheet_HWC[round(top) : round(top + tall), round(left) : round(left + cell - 12)])
    assert read_numbers(cells) == list(range(14))
    assert written[:2] == ["0:00.0", "0:00.0"]  # 0 and 0.04 s
    assert written[-1] == "0:00.5"
    with pytest.raises(ValueError, match="as many"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="as many"):
        contact_sheet(list(frames.frames_THWC), [0.0])
