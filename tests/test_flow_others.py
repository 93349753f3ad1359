"""Flow of other toolkits: what is recognised, what its numbers mean, and when the caller has to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vadis.records import VideoError
from vadis.video.flow_files import open_flow
from vadis.video.flow_layouts import encode_flo, encode_kitti_png


def write_grey(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (12, 10), level).save(path)


@pytest.mark.parametrize(
    ("u_name", "v_name", "opened"),
    [
        ("flow_x_%05d.jpg", "flow_y_%05d.jpg", "."),
        ("x_%05d.png", "y_%05d.png", "."),
        ("u/frame%06d.jpg", "v/frame%06d.jpg", "."),
        ("flow_x/%d.png", "flow_y/%d.png", "."),
        ("ABCDE/ABCDE-%06dx.jpg", "ABCDE/ABCDE-%06dy.jpg", "ABCDE"),
    ],
)
def test_grey_pairs(u_name: str, v_name: str, opened: str, tmp_path: Path) -> None:
    """Eleven fields, so that 10 comes after 9: u is 0, 0.16, 0.31 ... pixels, v is 20."""
    for number in range(1, 12):
        write_grey(tmp_path / (u_name % number), 127 + number)
        write_grey(tmp_path / (v_name % number), 255)
        write_grey(tmp_path / opened / f"img_{number:05d}.jpg", 3)  # the frames, beside
    with open_flow(tmp_path / opened) as stored:
        assert (len(stored), stored.bound, stored.size, stored.times_T) == (11, 20.0, None, None)
        fields = stored.read().fields_THW2
    assert fields[:, 5, 5, 0].tolist() == pytest.approx([40 / 255 * (n + 0.5) for n in range(11)], abs=0.16)
    assert np.abs(fields[..., 1] - 20).max() < 1e-5
    with open_flow(tmp_path / opened, bound=15.0, rule="mediapipe") as stored:
        assert stored.read([0]).fields_THW2[0, 5, 5].tolist() == pytest.approx([30 / 255, 15.0], abs=0.12)


def test_brox_is_said_by_its_folder_or_the_caller(tmp_path: Path) -> None:
    folder = tmp_path / "FlowBrox04" / "jump" / "a"
    folder.mkdir(parents=True)
    Image.new("RGB", (12, 10), (128 + 16, 128 - 40, 200)).save(folder / "00001.png")
    with open_flow(folder) as stored:
        assert (stored.bound, stored.rule) == (8.0, "brox")
        assert stored.read().fields_THW2[0, 4, 4].tolist() == [1.0, -2.5]
    plain = tmp_path / "film"
    folder.rename(plain)
    with pytest.raises(ValueError, match="nothing says what flow lies here; name it: layout=denseflow"):
        open_flow(plain)
    assert open_flow(plain, "brox").read().fields_THW2[0, 4, 4].tolist() == [1.0, -2.5]


def test_kitti_and_flo(tmp_path: Path) -> None:
    field = np.random.default_rng(0).normal(0, 30, (10, 12, 2)).astype(np.float32)
    known = np.ones((10, 12), bool)
    known[3] = False
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "000000_10.png").write_bytes(encode_kitti_png(field, known))
    for place in (tmp_path / "k", tmp_path / "k" / "000000_10.png"):
        flow = open_flow(place).read()
        assert np.abs(flow.fields_THW2[0] - field)[known].max() <= 1 / 128 + 1e-6
        assert flow.known_THW is not None
        assert np.array_equal(flow.known_THW[0], known)
    (tmp_path / "f").mkdir()
    for number in (1, 2, 10):
        (tmp_path / "f" / f"frame_{number}.flo").write_bytes(encode_flo(field * number))
    assert np.array_equal(
        open_flow(tmp_path / "f").read().fields_THW2[:, 0, 0, 0], field[0, 0, 0] * np.float32([1, 2, 10])
    )
    strange = field.copy()
    strange[0, 0] = 1e10
    (tmp_path / "f" / "frame_1.flo").write_bytes(encode_flo(strange))
    assert open_flow(tmp_path / "f" / "frame_1.flo").read().fields_THW2[0, 0, 0].tolist() == [0, 0]
    (tmp_path / "f" / "frame_2.flo").write_bytes(encode_flo(field)[:-1])
    with pytest.raises(VideoError, match=r"frame_2\.flo cannot be read"):
        open_flow(tmp_path / "f").read()


def test_arrays(tmp_path: Path) -> None:
    field_THW2 = np.random.default_rng(0).uniform(-1, 1, (3, 10, 12, 2)).astype(np.float32)
    np.save(tmp_path / "i3d.npy", field_THW2[None])
    stored = open_flow(tmp_path / "i3d.npy")
    assert stored.layout == "i3d"
    assert np.array_equal(stored.read().fields_THW2, field_THW2 * 20)
    np.save(tmp_path / "four.npy", field_THW2)  # as pixels, unless the caller knows better
    assert np.array_equal(open_flow(tmp_path / "four.npy").read([1]).fields_THW2, field_THW2[1:2])
    assert np.array_equal(open_flow(tmp_path / "four.npy", "i3d").read([1]).fields_THW2, field_THW2[1:2] * 20)
    raft = field_THW2.transpose(0, 3, 1, 2) * 30
    np.save(tmp_path / "a_raft.npy", raft)
    assert np.array_equal(open_flow(tmp_path / "a_raft.npy").read().fields_THW2, field_THW2 * 30)
    np.savez(tmp_path / "a.npz", raft=raft, fps=np.array(25.0))
    assert np.array_equal(open_flow(tmp_path / "a.npz").read().fields_THW2, field_THW2 * 30)


def test_arrays_that_are_no_flow(tmp_path: Path) -> None:
    for array in (
        np.zeros((3, 2, 10, 2), np.float32),
        np.zeros((3, 10, 12, 3), np.float32),
        np.zeros((3, 10, 12, 2), np.uint8),
        np.zeros((2, 3, 10, 12, 2), np.float32),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(VideoError, match=r"flow is \(T, 2, H, W\) or \(T, H, W, 2\) of floats"):
            open_flow(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(VideoError, match="is no array that can be read"):
        open_flow(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(VideoError, match="one array must be called flow"):
        open_flow(tmp_path / "a.npz")


def test_pairs_that_do_not_match(tmp_path: Path) -> None:
    write_grey(tmp_path / "flow_x_1.jpg", 1)
    write_grey(tmp_path / "flow_x_2.jpg", 1)
    write_grey(tmp_path / "flow_y_1.jpg", 1)
    with pytest.raises(VideoError, match="2 flow pictures of x, but 1 of y"):
        open_flow(tmp_path)
    with pytest.raises(VideoError, match=r"holds no \.flo files"):
        open_flow(tmp_path, "flo")
    with pytest.raises(VideoError, match="holds no folders u and v"):
        open_flow(tmp_path, "uv")
