"""Annotation files read strictly (rows), files found by name (files), made videos (made)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vadis.data import made
from vadis.data.files import (
    AbsentError,
    Media,
    find_annotation,
    is_frame_folder,
    missing_files,
    need_annotation,
    plain,
    walk_videos,
)
from vadis.data.rows import (
    Notes,
    Where,
    read_json,
    read_lines,
    read_rows,
    read_table,
    read_text,
    to_float,
    to_int,
    to_label,
)
from vadis.records import DataError, Dataset, Example, Note
from vadis.video.decode import Video

# rows


def test_lines_without_white_space_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone \r\n\r\n  two\r\n".encode())
    assert [(where.line, line) for where, line in read_lines(path)] == [(1, "one"), (3, "two")]
    path.write_bytes(b"one\ntw\xff\n")
    with pytest.raises(DataError, match=r"a\.txt:2: is not UTF-8"):
        read_text(path)
    with pytest.raises(DataError, match=r"b\.txt: cannot be read \(No such file"):
        read_text(tmp_path / "b.txt")


def test_rows_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,"b\nb2",c\n\n"say ""x""",, d \n')
    assert [(where.line, row) for where, row in read_rows(path)] == [
        (1, ["a", "b\nb2", "c"]),
        (4, ['say "x"', "", "d"]),
    ]
    path.write_text('a,b\n1,2\n"3,4\n')
    with pytest.raises(DataError, match=r"a\.csv:3: is not CSV"):
        list(read_rows(path))


def test_tables_check_their_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1;2\n")
    assert [row for _, row in read_table(path, ("b",), ";")] == [{"a": "1", "b": "2"}]
    for text, message in (
        ("a,b\n", "1: the header lacks c"),
        ("", "1: the header lacks c; it is empty"),
        ("c,c\n", "1: the header names a column twice"),
        ("c,b\n1,2,3\n", "2: 3 fields, the header has 2"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"a\.csv:{message}"):
            list(read_table(path, ("c",)))


def test_numbers(tmp_path: Path) -> None:
    where = Where(tmp_path / "a.csv", 7)
    assert to_int("17.0", where, "x") == 17
    assert to_float(" 1e3", where, "x") == 1000.0
    for text in ("", "nan", "inf", "1,5", None, True, [1]):
        with pytest.raises(DataError, match=r"a\.csv:7: x is not a number"):
            to_float(text, where, "x")
    with pytest.raises(DataError, match=r"x is not a whole number: '1\.5'"):
        to_int("1.5", where, "x")
    with pytest.raises(DataError, match=r"'c' is none of the 2 classes$"):
        to_label("c", {"apple": 0, "bow": 1}, where)


def test_json_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n"a": 1,\n}')
    with pytest.raises(DataError, match=r"a\.json:3: is not JSON"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_json(path)


def test_notes_count(tmp_path: Path) -> None:
    notes = Notes()
    notes.add("odd", Where(tmp_path, 3))
    notes.add("odd", Where(tmp_path, 5), 1000)
    notes.add("once")
    assert notes.all() == (Note("odd", 1001, f"{tmp_path}:3"), Note("once", 1))
    assert [str(note) for note in notes.all()] == [f"1,001 x odd (first: {tmp_path}:3)", "once"]


# files


def test_annotations_are_found_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.csv").write_text("x")
    assert find_annotation(tmp_path, ["b.csv", "a.csv"]) == tmp_path / "annotations" / "a.csv"
    assert find_annotation(tmp_path, ["a.*"]) == tmp_path / "annotations" / "a.csv"
    (tmp_path / "a.csv").write_text("x")  # the same content: no matter which
    assert find_annotation(tmp_path, ["a.csv"]) is not None
    (tmp_path / "a.csv").write_text("y")
    with pytest.raises(ValueError, match="differ; keep one of them"):
        find_annotation(tmp_path, ["a.csv"])
    with pytest.raises(
        AbsentError, match=r"there is no b\.csv or c\.csv here \(nor in annotations/.* own/\)"
    ):
        need_annotation(tmp_path, ["b.csv", "c.csv"], ["own"])


def test_class_names_as_folders_spell_them() -> None:
    assert plain("Playing_Harp") == plain("playing harp") == plain("playing+harp")
    assert plain("adult+female+singing") == "adult female singing"


def test_walking(tmp_path: Path) -> None:
    for name in ("b/x.mp4", "a/y.AVI", ".hidden/z.mp4", "a/notes.txt", "top.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    made.write_frames(tmp_path / "frames" / "v", "%05d.jpg", 0, num_frames=2)
    found = dict(walk_videos(tmp_path))
    assert set(found) == {"b/x.mp4", "a/y.AVI", "top.webm", "frames/v"} | (set(found) & {"c/x.mp4"})
    assert [name for name, is_folder in found.items() if is_folder] == ["frames/v"]
    assert is_frame_folder(tmp_path / "frames" / "v")
    assert not is_frame_folder(tmp_path / "a")
    assert not is_frame_folder(tmp_path / "nothing")


def test_a_long_folder_of_frames_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 frames times 240,000 videos: only the first entries of each folder are looked at."""
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:05d}.jpg").touch()
    seen = []
    scandir = os.scandir

    class Counting:
        def __init__(self, path: str) -> None:
            self.inner = scandir(path)
            self.path = path

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> os.DirEntry[str]:
            seen.append(Path(self.path).name)
            return next(self.inner)

    monkeypatch.setattr(os, "scandir", Counting)
    assert dict(walk_videos(tmp_path)) == {"v": True}
    assert seen.count("v") == 2


def test_media_prefer_the_right_class_and_files(tmp_path: Path) -> None:
    for name in ("videos/Pour_Water/x.mp4", "videos/stir/x.mp4", "videos/stir/y.mp4", "misc/z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    made.write_frames(tmp_path / "rawframes" / "stir" / "y", "%05d.jpg", 0, num_frames=2)
    media = Media(tmp_path, ("pour water", "stir"))
    assert media.find("x", "?", "pour water") == "videos/Pour_Water/x.mp4"
    assert media.find("y", "?", "stir") == "videos/stir/y.mp4", "the file before the frames"
    assert media.find("y", "?", "pour water") == "?", "another class's file is not the one"
    assert media.find("z", "?", "stir") == "misc/z.mp4", "outside of all class folders"
    assert media.find("Z", "?") == "?"
    assert media.find("Z", "?", any_case=True) == "misc/z.mp4"
    assert media.find("nothing", "expected/nothing.mp4") == "expected/nothing.mp4"
    assert media.find("x", "?") == "videos/Pour_Water/x.mp4"
    assert [note.text for note in media.notes.all()] == [
        "a video's name differs in upper and lower case from the list: taken",
        "a video lies in several places: the first by name is taken",
    ]


def test_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").touch()
    videos = ("a/x.mp4", "a/y.mp4", "b/z.mp4", "a/y.mp4")
    examples = tuple(Example(video, str(number)) for number, video in enumerate(videos))
    assert missing_files(Dataset("d", str(tmp_path), "all", (), examples)) == ["a/y.mp4", "b/z.mp4"]


# made


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_made_clips_show_their_box(tmp_path: Path, suffix: str) -> None:
    clip = made.write_clip(tmp_path / f"a{suffix}", 1, 7, num_frames=12)
    with Video(tmp_path / f"a{suffix}") as video:
        frames = video.frames_by_index(range(12)).frames_THWC
    assert frames.shape == clip.frames_THWC.shape
    colour = np.array(made.COLOURS[1])
    for frame_HWC, (x1, y1, x2, y2) in zip(frames, clip.box_T4, strict=True):
        y_N, x_N = np.nonzero(abs(frame_HWC.astype(int) - colour).sum(-1) < 120)
        assert [x_N.min(), y_N.min(), x_N.max(), y_N.max()] == pytest.approx([x1, y1, x2, y2], abs=3)


def test_made_clips_differ_by_label_and_seed_and_repeat() -> None:
    clips = [made.draw_clip(label, seed).frames_THWC for label in range(8) for seed in range(3)]
    assert len({clip.tobytes() for clip in clips}) == len(clips)
    assert np.array_equal(made.draw_clip(3, 2).frames_THWC, clips[3 * 3 + 2])
    assert (
        len({made.seed_of(split, number) for split in ("train", "val", "test") for number in range(20)}) == 60
    )


def test_made_flow_is_where_the_shape_goes(tmp_path: Path) -> None:
    from PIL import Image

    clip = made.draw_clip(0, 0, 10)
    made.write_flow(tmp_path, ("flow_x_%05d.png", "flow_y_%05d.png"), clip)
    assert len(list(tmp_path.iterdir())) == 2 * 9
    grey = np.asarray(Image.open(tmp_path / "flow_x_00003.png"))[0, 0]
    assert grey / 255 * 40 - 20 == pytest.approx(clip.flow_T2[2, 0], abs=0.1)
    still = made.MadeClip(clip.frames_THWC, clip.box_T4, clip.flow_T2 * 0)
    made.write_flow(tmp_path / "still", ("x%d.png", "y%d.png"), still)
    assert np.asarray(Image.open(tmp_path / "still" / "x1.png")).max() == 128, "no motion is 128"
