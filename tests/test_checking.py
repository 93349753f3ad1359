"""Checking a folder: each kind of trouble by its name, stopped and resumed, duplicates and likeness."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import write_numbered
from numpy.typing import NDArray

from vadis.data.checking import Checked, StoppedError, check_video, check_videos, read_manifest
from vadis.data.likeness import NUM_BITS, find_alike, hash_picture
from vadis.records import DataError
from vadis.video.write import VideoWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One video of each kind."""
    root = tmp_path / "videos"
    (root / "a").mkdir(parents=True)
    write_numbered(root / "a/whole.mp4", 30)
    write_numbered(root / "other.mp4", 50, first=300)
    remux(root / "a/whole.mp4", root / "copy.mkv")
    shutil.copy(root / "other.mp4", root / "same.mp4")
    (root / "text.mp4").write_text("no video\n" * 40)
    write_numbered(tmp_path / "long.mkv", 200)
    data = (tmp_path / "long.mkv").read_bytes()
    (root / "short.mkv").write_bytes(data[: len(data) * 2 // 3])
    damaged = write_numbered(root / "damaged.mp4", 48, b_frames=0)
    data = bytearray(damaged.read_bytes())
    first = data.index(b"mdat")
    for place in range((first + len(data)) // 2, (first + len(data)) // 2 + 300, 7):
        data[place] ^= 0x5A
    damaged.write_bytes(data)
    return root


VIDEOS = ["a/whole.mp4", "copy.mkv", "damaged.mp4", "other.mp4", "same.mp4", "short.mkv", "text.mp4"]


def remux(source: Path, target: Path) -> None:
    """The same packets in another container."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = outside.add_stream_from_template(inside.streams.video[0])
        for packet in inside.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                outside.mux(packet)


def test_each_kind_by_its_name(folder: Path, tmp_path: Path) -> None:
    rows = {row.video: row for row in check_videos(folder, VIDEOS, tmp_path / "m.jsonl")}
    assert list(rows) == VIDEOS
    kinds = {video: row.status for video, row in rows.items()}
    assert kinds == {
        "a/whole.mp4": "ok",
        "copy.mkv": "duplicate",
        "damaged.mp4": "corrupt",
        "other.mp4": "ok",
        "same.mp4": "duplicate",
        "short.mkv": "short",
        "text.mp4": "unreadable",
    }
    whole = rows["a/whole.mp4"]
    assert (whole.frames, whole.frames_expected, whole.duration_seconds) == (30, 30, pytest.approx(1.2))
    assert (whole.width, whole.height, whole.fps) == (96, 64, 25)
    assert rows["copy.mkv"].duplicate_of == "a/whole.mp4"
    assert 0 < rows["short.mkv"].frames < 200
    assert rows["damaged.mp4"].frames_corrupt > 0
    assert "not_video" in rows["text.mp4"].message
    assert read_manifest(tmp_path / "m.jsonl") == list(rows.values())


def test_a_second_run_decodes_only_what_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "m.jsonl"
    before = check_videos(folder, VIDEOS, manifest)
    decoded = []

    def spy(root: Path, video: str, **options: object) -> Checked:
        decoded.append(video)
        return check_video(root, video, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("vadis.data.checking.check_video", spy)
    assert check_videos(folder, VIDEOS, manifest) == before
    assert decoded == []
    write_numbered(folder / "text.mp4", 12, first=900)
    after = check_videos(folder, VIDEOS, manifest)
    assert decoded == ["text.mp4"]
    assert after[-1].status == "ok"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, StoppedError])
def test_stopped_and_resumed(folder: Path, tmp_path: Path, stop: type[BaseException]) -> None:
    manifest = tmp_path / "m.jsonl"
    seen: list[Checked] = []

    def interrupt(row: Checked) -> None:
        seen.append(row)
        if len(seen) == 3:
            raise stop

    with pytest.raises(stop):
        check_videos(folder, VIDEOS, manifest, on_done=interrupt)
    assert len(read_manifest(manifest)) == 3
    with manifest.open("a") as file:
        file.write('{"video": "a half li')  # as a killed process leaves it
    assert len(read_manifest(manifest)) == 3
    resumed = check_videos(folder, VIDEOS, manifest)
    assert resumed == check_videos(folder, VIDEOS, tmp_path / "fresh.jsonl")
    assert manifest.read_text() == (tmp_path / "fresh.jsonl").read_text()


def test_a_video_at_work_stops_at_its_next_chunk(folder: Path) -> None:
    with pytest.raises(StoppedError):
        check_video(folder, "other.mp4", asked_to_stop=lambda: True)


@pytest.mark.parametrize("line", ["nonsense", '{"video": "a"}', "[]"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"m\.jsonl:1"):
        read_manifest(path)


def test_any_file_name_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff name\n.mp4")
    write_numbered(tmp_path / "x.mp4", 5)
    (tmp_path / "x.mp4").rename(tmp_path / name)
    manifest = tmp_path / "m.jsonl"
    (row,) = check_videos(tmp_path, [name], manifest)
    assert row.status == "ok"
    assert read_manifest(manifest) == [row]
    assert json.loads(manifest.read_text())["video"] == name


# Likeness ------------------------------------------------------------------------------------------------


def scene(seed: int, time: float = 0.0) -> NDArray[np.uint8]:
    """A soft random picture (120, 160, 3) that drifts with time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :160]
    waves = [
        np.sin(x * a + y * b + c + time)
        for a, b, c in zip(*rng.uniform(-0.15, 0.15, (2, 6)), rng.uniform(0, 7, 6), strict=True)
    ]
    return np.repeat((128 + 20 * np.sum(waves, 0)).clip(0, 255)[..., None], 3, -1).astype(np.uint8)


def distance(one: bytes | None, other: bytes | None) -> int:
    assert one is not None
    assert other is not None
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_pictures_and_their_hashes() -> None:
    pictures = [scene(seed) for seed in range(12)]
    hashes = [hash_picture(picture) for picture in pictures]
    for picture, code in zip(pictures, hashes, strict=True):
        assert code is not None
        assert len(code) * 8 == NUM_BITS
        assert distance(code, hash_picture(picture[::2, ::2])) <= 24  # half the size
        noisy = picture + np.random.default_rng(1).normal(0, 8, picture.shape)
        assert distance(code, hash_picture(noisy.clip(0, 255).astype(np.uint8))) <= 24
    apart = [distance(one, other) for at, one in enumerate(hashes) for other in hashes[:at]]
    assert min(apart) > 50
    assert hash_picture(np.full((120, 160, 3), 90, np.uint8)) is None  # nothing to see


def film(path: Path, seed: int, seconds: int, size: int = 1, crf: int = 20, start: int = 0) -> Path:
    """A video of ten frames a second, a new picture each second."""
    with VideoWriter(path, 10, crf=crf) as writer:
        for number in range(seconds * 10):
            frame = scene(seed * 100 + start + number // 10, (number % 10) / 40)
            writer.write(np.ascontiguousarray(frame[::size, ::size]))
    return path


def test_encodings_and_cuts_are_found(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1, 6)
    film(tmp_path / "smaller.mp4", 1, 6, size=2, crf=30)
    film(tmp_path / "cut.mp4", 1, 3, start=2)
    film(tmp_path / "else.mp4", 2, 6)
    hashes = {
        name: [bytes.fromhex(code) for code in check_video(tmp_path, f"{name}.mp4").hashes]
        for name in ("a", "smaller", "cut", "else")
    }
    assert [len(each) for each in hashes.values()] == [6, 6, 3, 6]
    found = find_alike([("a", hashes["a"])], [(name, hashes[name]) for name in ("smaller", "cut", "else")])
    assert {(item.second, item.share, item.num_alike) for item in found} == {
        ("smaller", 1.0, 6),
        ("cut", 1.0, 3),
    }
    assert find_alike([], [("a", hashes["a"])]) == []
