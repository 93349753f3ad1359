"""A still and a film of flow: of the right moment, at the right times, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vadis.data.made import write_clip
from vadis.records import VideoError
from vadis.video.decode import Video
from vadis.video.flow_film import draw_film, draw_moment
from vadis.video.write import VideoWriter

pytest.importorskip("cv2", reason="flow needs pip install 'vadis[flow]'")


def write_moving(path: Path, num_frames: int = 12) -> Path:
    """A textured picture that stands still for six frames, then goes right by 4 pixels a frame."""
    rng = np.random.default_rng(0)
    ground = np.repeat(np.repeat(rng.integers(40, 220, (16, 60, 3), dtype=np.uint8), 4, 0), 4, 1)
    with VideoWriter(path, 10, crf=8) as writer:
        for number in range(num_frames):
            left = 120 - 4 * max(0, number - 5)
            writer.write(ground[:, left : left + 96])
    return path


def test_a_still_of_a_moment(tmp_path: Path) -> None:
    """Before the motion the tile is white, in it red; both methods beside one another."""
    video = write_moving(tmp_path / "a.mp4")
    tiles = {}
    for name, seconds in (("still", 0.25), ("moving", 0.8)):
        target = draw_moment(
            video, tmp_path / f"{name}.png", ["dis", "farneback"], time_seconds=seconds, largest=4.0
        )
        with Image.open(target) as image:
            pixels = np.asarray(image).astype(int)
        tiles[name] = [pixels[100:200, left + 150 : left + 310].mean((0, 1)) for left in (484, 952)]
    for still, moving in zip(tiles["still"], tiles["moving"], strict=True):
        assert still.min() > 225
        assert moving[0] > 180
        assert moving[1:].max() < 90


def test_a_film(tmp_path: Path) -> None:
    """A picture for each pair, at the frame's own time; the white of rest turns into the red of motion."""
    shown = []
    film = draw_film(
        write_moving(tmp_path / "a.mp4"),
        tmp_path / "f.mp4",
        ["dis"],
        progress=lambda done, total: shown.append((done, total)),
    )
    assert shown == [(number, 11) for number in range(1, 12)]
    with Video(film) as opened:
        assert opened.frame_times() == pytest.approx(np.arange(11) / 10, abs=1e-3)
        frames = opened.frames_by_index([1, 9]).frames_THWC.astype(int)
    rest, motion = (frame[100:200, 634:794].mean((0, 1)) for frame in frames)
    assert rest.min() > 220
    assert motion[0] > 190
    assert motion[1:].max() < 110


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4", 0, num_frames=1)
    with pytest.raises(VideoError, match="one frame alone has no optical flow"):
        draw_moment(tmp_path / "one.mp4", tmp_path / "a.png", ["dis"])
    with pytest.raises(VideoError, match="one frame alone has no optical flow"):
        draw_film(tmp_path / "one.mp4", tmp_path / "f.mp4", ["dis"])
    with pytest.raises(ValueError, match="is the video itself"):
        draw_film(tmp_path / "one.mp4", tmp_path / "one.mp4", ["dis"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4"]
