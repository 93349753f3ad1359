"""Names are taken literally, folders are walked in order, nothing named is dropped."""

from pathlib import Path

import pytest

from vadis.video.find import find_videos, is_image_folder, new_stem


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        "b.mp4",
        "a.MKV",
        "notes.txt",
        "deep/er/c.webm",
        "frames/0001.jpg",
        "frames/0002.jpg",
        "one/7.png",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_folder_gives_sorted_videos_and_image_folders(tree: Path) -> None:
    found = [str(Path(name).relative_to(tree)) for name in find_videos([str(tree)])]
    assert found == ["frames", "a.MKV", "b.mp4", str(Path("deep/er/c.webm"))]


def test_image_folder_needs_numbers_and_no_video(tree: Path) -> None:
    assert is_image_folder(tree / "frames")
    assert not is_image_folder(tree / "one")
    (tree / "frames" / "clip.mp4").touch()
    assert not is_image_folder(tree / "frames")


@pytest.mark.parametrize(
    "name", ["[1].mp4", "a*b.mp4", "-x.mp4", "new\nline.mp4", "concat:a|b", "http:", "ü %03d.mp4"]
)
def test_existing_names_are_literal(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    (tmp_path / "1.mp4").touch()
    (tmp_path / "aXb.mp4").touch()
    assert list(find_videos([str(path)])) == [str(path)]


def test_patterns_lists_duplicates_and_missing_names(tree: Path) -> None:
    pattern = str(tree / "*.[mM]*")
    assert [Path(name).name for name in find_videos([pattern])] == ["a.MKV", "b.mp4"]
    missing = str(tree / "none*.mp4")
    assert list(find_videos([missing, "http://host/x.mp4"])) == [missing, "http://host/x.mp4"]
    lines = [f"{tree}/b.mp4\n", "\n", f"{tree}/gone.mp4\r\n", f"{tree}/b.mp4"]
    assert list(find_videos(["-"], lines)) == [f"{tree}/b.mp4", f"{tree}/gone.mp4"]


def test_files_of_videos_of_one_name_are_numbered() -> None:
    taken: set[str] = set()
    found = [new_stem(video, taken) for video in ("a.mp4", "b/a.avi", "b/c.avi", "d/a.mkv")]
    assert found == ["a", "a_2", "c", "a_3"]
