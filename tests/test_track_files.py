"""Tracks written, read back, and drawn."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vadis.records import DataError
from vadis.video.track_files import busiest_frame, draw_tracks, draw_video, load_tracks, save_tracks
from vadis.video.tracks import TrackOptions, Trajectories, empty_tracks
from vadis.video.write import VideoWriter


def two_tracks() -> Trajectories:
    """Two tracks of three steps to the right, the second a frame later."""
    options = TrackOptions(length=3)
    points = np.zeros((2, 4, 2), np.float32)
    points[:, :, 0] = 10 + 5 * np.arange(4)
    points[:, :, 1] = [[20], [40]]
    rng = np.random.default_rng(0)
    sizes = {kind: values.shape[1] for kind, values in empty_tracks(options, (64, 64)).descriptors.items()}
    return Trajectories(
        points,
        np.array([0, 1]),
        np.array([[0.0, 0.12], [0.04, 0.16]]),
        np.array([0, 1]),
        {kind: rng.random((2, size), np.float32) for kind, size in sizes.items()},
        (64, 64),
        7,
        6,
        ("odd",),
        {"flow": 0.5},
    )


def test_files(tmp_path: Path) -> None:
    tracks = two_tracks()
    options = TrackOptions(length=3, least_motion=0.5)
    loaded, said = load_tracks(save_tracks(tmp_path / "a" / "t.npz", tracks, options, {"video": "x.mp4"}))
    assert np.array_equal(loaded.points_NL2, tracks.points_NL2)
    assert np.array_equal(loaded.seconds_N2, tracks.seconds_N2)
    assert all(
        np.array_equal(loaded.descriptors[kind], tracks.descriptors[kind]) for kind in tracks.descriptors
    )
    assert (loaded.num_found, loaded.num_frames, loaded.notes, loaded.size) == (7, 6, ("odd",), (64, 64))
    assert said["video"] == "x.mp4"
    assert TrackOptions(**said["options"]) == options
    half = load_tracks(save_tracks(tmp_path / "h.npz", tracks, options, half=True))[0]
    assert half.descriptors["hog"].dtype == np.float32
    assert np.abs(half.descriptors["hog"] - tracks.descriptors["hog"]).max() < 6e-4
    assert not list(tmp_path.glob("*.part"))


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no\.npz: no file of tracks"):
        load_tracks(tmp_path / "no.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"other\.npz: no file of tracks"):
        load_tracks(tmp_path / "other.npz")


def test_lines_are_where_tracks_are() -> None:
    frame = np.full((64, 64, 3), 100, np.uint8)
    first = draw_tracks(frame, two_tracks(), 2)
    changed = (first != 100).any(2)
    assert changed[20, 12:19].all()  # two steps of the first
    assert changed[40, 11:14].all()  # one of the second
    assert not changed[20, 26:].any()
    assert not changed[25:36].any()
    assert first[20, 20].argmax() == 0  # the head is red
    assert first[20, 14].argmax() == 1  # the line green
    assert (draw_tracks(frame, two_tracks(), 0) == 100).all()
    assert draw_tracks(frame, two_tracks(), 3, zoom=3).shape == (192, 192, 3)
    assert busiest_frame(two_tracks()) in (3, 4)
    assert busiest_frame(empty_tracks(TrackOptions(), (64, 64))) == 0


def test_a_picture_and_a_video(tmp_path: Path) -> None:
    source = tmp_path / "grey.mp4"
    with VideoWriter(source, 10.0) as writer:
        for _ in range(6):
            writer.write(np.full((64, 64, 3), 100, np.uint8))
    draw_video(source, two_tracks(), picture=tmp_path / "p.png", video=tmp_path / "v.mp4")
    from PIL import Image

    assert Image.open(tmp_path / "p.png").size == (512, 512)  # 64 pixels, 8 times
    with av.open(str(tmp_path / "v.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    assert np.ptp(frames[0]) < 10
    assert np.ptp(frames[3]) > 60
