"""Layouts by themselves: what is damaged is None, order and repetition are the caller's, numbers exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vadis.records import Limits, VideoError
from vadis.video.flow_fields import Flow
from vadis.video.flow_files import FlowWriter
from vadis.video.flow_layouts import (
    Array,
    FloFiles,
    GreyVideo,
    KittiPngs,
    Pictures,
    encode_flo,
    encode_kitti_png,
)


def test_pictures(tmp_path: Path) -> None:
    files = {letter: [tmp_path / f"{letter}{number}.png" for number in range(3)] for letter in "uv"}
    for level, (u, v) in enumerate(zip(files["u"], files["v"], strict=True)):
        Image.new("L", (6, 4), 10 + level).save(u)
        Image.new("RGB", (6, 4), (20 + level,) * 3).save(v)  # some tools write grey as colour
    fields = Pictures(files["u"], files["v"])
    found = fields.read([2, 0, 2])
    assert [None if field is None else field[0, 0].tolist() for field in found] == [
        [12, 22],
        [10, 20],
        [12, 22],
    ]
    assert (len(fields), fields.name(1)) == (3, "u1.png")
    Image.new("L", (5, 4)).save(files["v"][0])
    files["v"][1].write_bytes(b"nothing")
    assert [field is None for field in fields.read([0, 1, 2])] == [True, True, False]
    with pytest.raises(VideoError, match="limit"):
        Pictures(files["u"], files["v"], Limits(max_pixels=20)).read([2])


def test_sixteen_bits_clip_and_round(tmp_path: Path) -> None:
    field = np.float32([[[0.0078, -0.0079], [600, -600]]])
    (tmp_path / "a.png").write_bytes(encode_kitti_png(field))
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")  # 8 bits: not this layout
    (tmp_path / "c.png").write_bytes(encode_kitti_png(field)[:-30])
    first, second, third, fourth = KittiPngs(
        [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")], Limits()
    ).read(range(4))
    assert first is not None
    assert first.tolist() == [[[0.0, -1 / 64], [511.984375, -512.0]]]
    assert (second, fourth) == (None, None)
    assert third is None or third.shape == first.shape


def test_flo(tmp_path: Path) -> None:
    field = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    data = encode_flo(field)
    assert data[:4] == b"PIEH"  # the magic number, read as letters
    assert np.frombuffer(data, "<i4", 2, 4).tolist() == [5, 3]
    for name, content in (
        ("a", data),
        ("b", b"PIEH"),
        ("c", b"XXXX" + data[4:]),
        ("d", data[:4] + b"\xff" * 60),
    ):
        (tmp_path / name).write_bytes(content)
    first, *others = FloFiles([tmp_path / name for name in "abcd"], Limits()).read(range(4))
    assert first is not None
    assert np.array_equal(first, field)
    assert others == [None, None, None]


def test_arrays_have_a_scale() -> None:
    fields = Array(np.full((2, 3, 4, 2), 0.5, np.float16), "i3d", 20.0)
    (field,) = fields.read([1])
    assert field is not None
    assert (field.dtype, field[0, 0].tolist(), len(fields)) == (np.float32, [10, 10], 2)


def test_a_video_is_read_in_any_order(tmp_path: Path) -> None:
    values = np.linspace(-19, 19, 40, dtype=np.float32)
    fields = np.zeros((40, 9, 7, 2), np.float32)
    fields[..., 0] = values[:, None, None]
    with FlowWriter(tmp_path / "a", "video", fps=29.97) as writer:
        writer.write(Flow(fields, (9, 7)))
    video = GreyVideo(tmp_path / "a" / "flow.mkv")
    assert len(video) == 40
    levels = np.rint(255 * (values.astype(float) + 20) / 40)
    found = video.read([39, 0, 17, 17, 99])
    assert [None if field is None else field[8, 6].tolist() for field in found] == [
        [levels[39], 128],
        [levels[0], 128],
        [levels[17], 128],
        [levels[17], 128],
        None,
    ]
    video.close()
