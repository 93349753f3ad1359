"""Flow written and read back: each layout keeps what it promises, whole or not at all, without guessing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vadis.records import Limits, VideoError
from vadis.video.flow_fields import Flow
from vadis.video.flow_files import LAYOUTS, NOTE, FlowWriter, dequantise, open_flow, quantise

HEIGHT, WIDTH, COUNT = 37, 52, 21  # more fields than one piece; odd sizes


def made_flow(count: int = COUNT, seed: int = 0) -> Flow:
    """Smooth fields of up to 25 pixels a frame: beyond the usual bound."""
    y_HW, x_HW = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    rng = np.random.default_rng(seed)
    phase_T2 = rng.uniform(0, 6, (count, 2)).astype(np.float32)
    u_THW = 25 * np.sin(x_HW / 19 + phase_T2[:, :1, None])
    v_THW = 6 * np.cos(y_HW / 13 + phase_T2[:, 1:, None])
    return Flow(np.stack([u_THW, v_THW], 3).astype(np.float32), (HEIGHT, WIDTH), 1, "made")


def write(folder: Path, layout: str, flow: Flow, **options: object) -> Path:
    """In pieces of 5, at 12.5 Hz from 0.4 s on."""
    times_T = 0.4 + np.arange(len(flow)) / 12.5
    with FlowWriter(folder, layout, method=flow.method, **options) as writer:  # type: ignore[arg-type]
        for start in range(0, len(flow), 5):
            writer.write(flow[start : start + 5], times_T[start : start + 5])
    return folder


ERRORS = {"jpeg": 1.5, "png16": 1 / 127, "npz": 0.02, "video": 20 / 255}
"""Pixels by which a field may come back changed, inside the bound; half a float16's step, of 16 and more."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip(layout: str, tmp_path: Path) -> None:
    flow = made_flow()
    write(tmp_path / "a", layout, flow)
    with open_flow(tmp_path / "a") as stored:
        assert (len(stored), stored.layout, stored.method) == (COUNT, layout, "made")
        assert stored.size == (HEIGHT, WIDTH)
        assert stored.times_T is not None
        assert stored.times_T == pytest.approx(0.4 + np.arange(COUNT) / 12.5)
        whole = stored.read()
        assert (whole.fields_THW2.dtype, whole.size, whole.grid) == (np.float32, (HEIGHT, WIDTH), 1)
        limit = 20 if layout in ("jpeg", "video") else 100
        truth = np.clip(flow.fields_THW2, -limit, limit)
        assert np.abs(whole.fields_THW2 - truth).max() <= ERRORS[layout] + 1e-5
        assert np.abs(whole.fields_THW2 - truth).mean() <= ERRORS[layout] / 2
        some = stored.read([20, 3, 3])
        assert np.array_equal(some.fields_THW2, whole.fields_THW2[[20, 3, 3]])
        pieces = list(stored.pieces(8))
        assert [len(piece) for piece in pieces] == [8, 8, 5]
        with pytest.raises(IndexError, match="fields 0 to 20, not 21"):
            stored.read([21])


def test_lossless_layouts_are_lossless(tmp_path: Path) -> None:
    """The video holds the very levels; float32 the very numbers; png16 every 1/64."""
    flow = made_flow()
    for rule in ("denseflow", "mediapipe"):
        with open_flow(write(tmp_path / rule, "video", flow, rule=rule, bound=12.0)) as stored:
            levels = np.stack(stored.fields.read(range(COUNT)))
            assert np.array_equal(levels, quantise(flow.fields_THW2, 12.0, rule))
            assert np.array_equal(stored.read().fields_THW2, dequantise(levels, 12.0, rule))
    with open_flow(write(tmp_path / "n", "npz", flow, dtype="float32")) as stored:
        assert np.array_equal(stored.read().fields_THW2, flow.fields_THW2)
    coarse = Flow(np.round(flow.fields_THW2 * 64) / 64, flow.size)
    with open_flow(write(tmp_path / "p", "png16", coarse)) as stored:
        assert np.array_equal(stored.read().fields_THW2, coarse.fields_THW2)


def test_jpeg_is_what_denseflow_writes(tmp_path: Path) -> None:
    """Names from 1, grey, the level of what is still, and a loss of a level or two."""
    still = Flow(np.zeros((2, 16, 16, 2), np.float32), (16, 16))
    folder = write(tmp_path / "a", "jpeg", still)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [NOTE, *(f"flow_{letter}_0000{n}.jpg" for letter in "xy" for n in (1, 2))]
    with Image.open(folder / "flow_x_00001.jpg") as image:
        assert (image.mode, image.getextrema()) == ("L", (128, 128))
    with open_flow(write(tmp_path / "b", "jpeg", made_flow(4))) as stored:
        levels = np.stack(stored.fields.read(range(4))).astype(int)
        lost = np.abs(levels - quantise(made_flow(4).fields_THW2))
        assert lost.mean() < 1
        assert lost.max() <= 8


def test_png16_is_kitti_s(tmp_path: Path) -> None:
    """OpenCV reads the numbers of KITTI's kit: 64 v + 2^15 in red and green, 1 in blue where known."""
    cv2 = pytest.importorskip("cv2")
    field = np.zeros((1, 8, 8, 2), np.float32)
    field[0, 2, 3] = (1.5, -300.25)
    known = np.ones((1, 8, 8), bool)
    known[0, 5:] = False
    write(tmp_path / "a", "png16", Flow(field, (8, 8), 1, "mv", known))
    pixels = cv2.imread(str(tmp_path / "a" / "flow_00001.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert pixels.dtype == np.uint16
    assert pixels[2, 3].tolist() == [32768 + 96, 32768 - 19216, 1]
    assert pixels[0, 0].tolist() == [32768, 32768, 1]
    assert pixels[6, 0].tolist() == [0, 0, 0]
    with open_flow(tmp_path / "a") as stored:
        back = stored.read()
    assert back.known_THW is not None
    assert np.array_equal(back.known_THW, known)
    assert np.array_equal(back.fields_THW2, field)


def test_blocks_become_pixels(tmp_path: Path) -> None:
    blocks = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    flow = Flow(blocks, (20, 40), 16, "mv")
    with open_flow(write(tmp_path / "a", "npz", flow)) as stored:
        field = stored.read().fields_THW2[0]
    assert field.shape == (20, 40, 2)
    assert field[15, 15].tolist() == [0, 1]
    assert field[16, 39].tolist() == [10, 11]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_field_at_all(layout: str, tmp_path: Path) -> None:
    """A video of one frame: whole, with nothing in it."""
    with FlowWriter(tmp_path / "a", layout):
        pass
    with open_flow(tmp_path / "a") as stored:
        assert len(stored) == 0
        assert len(stored.read()) == 0


def test_times_that_are_not_even(tmp_path: Path) -> None:
    times_T = np.array([0.0, 0.04, 0.13, 0.2])
    with FlowWriter(tmp_path / "a", "jpeg") as writer:
        writer.write(made_flow(4), times_T)
    assert "fps" not in json.loads((tmp_path / "a" / NOTE).read_text())
    stored = open_flow(tmp_path / "a")
    assert stored.times_T is not None
    assert stored.times_T.tolist() == times_T.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_or_not_at_all(layout: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FlowWriter(tmp_path / "a", layout) as writer:  # noqa: PT012
        writer.write(made_flow(18))
        assert (tmp_path / "a.part").exists()
        assert not (tmp_path / "a").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a", layout, made_flow(2))
    with pytest.raises(FileExistsError), FlowWriter(tmp_path / "a", layout):
        pass
    assert len(open_flow(tmp_path / "a")) == 2


def test_what_the_note_says_is_checked(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "jpeg", made_flow(3))
    note = json.loads((folder / NOTE).read_text())
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != NOTE)
    assert note | {"start_seconds": 0, "fps": 0} == {
        "bytes": size,
        "vadis_flow": 1,
        "layout": "jpeg",
        "fields": 3,
        "size": [HEIGHT, WIDTH],
        "method": "made",
        "bound": 20.0,
        "rounding": "denseflow",
        "quality": 95,
        "start_seconds": 0,
        "fps": 0,
    }
    (folder / "flow_y_00002.jpg").write_bytes(b"broken")
    with open_flow(folder) as stored, pytest.raises(VideoError, match=r"flow_x_00002\.jpg cannot be read"):
        stored.read()
    (folder / "flow_y_00003.jpg").unlink()
    with pytest.raises(VideoError, match="speaks of 3 fields"):
        open_flow(folder)
    (folder / NOTE).write_text('{"vadis_flow": 2, "layout": "jpeg", "fields": 3}')
    with pytest.raises(VideoError, match="version 2, this vadis knows 1"):
        open_flow(folder)
    (folder / NOTE).write_text('{"vadis_flow": 1')
    with pytest.raises(VideoError, match="does not say what lies there"):
        open_flow(folder)


@pytest.mark.parametrize(("layout", "name"), [("npz", "flow.npz"), ("video", "flow.mkv")])
def test_damaged_files_are_said(layout: str, name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a", layout, made_flow()) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 3 : len(data) // 2] = b"\0" * (len(data) // 2 - len(data) // 3)
    file.write_bytes(bytes(data))
    with pytest.raises(VideoError) as caught:
        open_flow(tmp_path / "a").read()
    assert caught.value.kind == "corrupt"
    file.write_bytes(b"nothing")
    with pytest.raises(VideoError):
        open_flow(tmp_path / "a")


def test_limits_hold(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        if layout != "npz":  # whose arrays are those of our own file
            folder = write(tmp_path / layout, layout, made_flow(2))
            with pytest.raises(VideoError, match="too_large"):
                open_flow(folder, limits=Limits(max_pixels=1000)).read()


def test_what_is_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"layout": "flv"}, "flow is stored as jpeg, png16, npz, video, not as 'flv'"),
        ({"rule": "round"}, "no rounding called 'round'"),
        ({"bound": 0.0}, "bound must be a positive"),
        ({"dtype": "float64"}, "float16 or float32"),
        ({"quality": 0}, "1 to 100"),
    ):
        with pytest.raises(ValueError, match=message):
            FlowWriter(tmp_path / "a", **options)  # type: ignore[arg-type]
    other = Flow(np.zeros((1, 8, 8, 2), np.float32), (8, 8))
    with FlowWriter(tmp_path / "a") as writer:
        writer.write(made_flow(1))
        with pytest.raises(ValueError, match=r"flow of \(8, 8\) pixels after flow of \(37, 52\)"):
            writer.write(other)
    assert len(open_flow(tmp_path / "a")) == 1
    shutil.rmtree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match="no such file"):
        open_flow(tmp_path / "a")
    with pytest.raises(ValueError, match="there is no layout 'jpg'"):
        open_flow(tmp_path, "jpg")
