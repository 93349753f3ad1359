"""The benchmarks as arrays and as folders: splits, resuming, what is refused, what the videos keep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vadis.data import shapes
from vadis.data.benchmark import MANIFEST, Made, list_clips, make, read, run_make, settings_of
from vadis.records import DataError
from vadis.video.decode import Video

SMALL = {"clips_per_class": 3, "size": 32, "num_frames": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shapes`, small, with the folders of split 2."""
    path = tmp_path_factory.mktemp("made") / "shapes"
    assert make("shapes", path, split=2, workers=1, **SMALL) == (75, 0)
    return path


def frames_of(path: Path, count: int = 4) -> np.ndarray:
    """The first frames of a file (T,H,W,3)."""
    with Video(path) as video:
        return np.asarray(video.frames_by_index(list(range(count))).frames_THWC)


def test_each_clip_is_tested_once_in_the_three_splits() -> None:
    tested = [clip.plan for k in (1, 2, 3) for clip in Made("shapes", k, "test", clips_per_class=7).clips]
    every = [clip.plan for clip in list_clips(settings_of("shapes", clips_per_class=7))]
    assert len(tested) == len(every) == 7 * 25
    assert sorted(map(json.dumps, tested)) == sorted(map(json.dumps, every))
    for k in (1, 2, 3):
        parts = [Made("shapes", k, part, clips_per_class=7) for part in ("train", "test")]
        assert sum(map(len, parts)) == 7 * 25
        assert not {clip.group for clip in parts[0].clips} & {clip.group for clip in parts[1].clips}


def test_arrays_on_the_way() -> None:
    made = Made("shapes", 1, "test", seed=5, **SMALL)
    frames, label = made[3]
    assert frames.shape == (4, 32, 32, 3)
    assert made.class_names[label] == made.clips[3].class_name
    assert (frames == Made("shapes", 1, "test", seed=5, **SMALL)[3][0]).all()
    assert not (frames == Made("shapes", 1, "test", seed=6, **SMALL)[3][0]).all()
    assert made.class_groups == shapes.CLASS_GROUPS
    longer = Made("shapes", 1, "test", seed=5, clips_per_class=6, size=32, num_frames=4)
    assert longer.clips[0] == made.clips[0]


def test_the_folder_is_one_of_classes(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "test", "train"]
    for part, count in (("train", 2), ("test", 1)):
        classes = sorted((folder / part).iterdir())
        assert [path.name for path in classes] == sorted(shapes.CLASS_NAMES)
        assert all(len(list(path.glob("*.mp4"))) == count for path in classes)
    drawn = Made("shapes", 2, "test", **SMALL)
    for index in (0, 20):
        seen = frames_of(folder / drawn.clips[index].video)
        assert np.abs(seen.astype(float) - drawn[index][0]).mean() < 6  # 4:2:0 and the quantiser


def test_files_of_reversed_pairs_decode_to_exactly_reversed_frames(folder: Path) -> None:
    for first, second in shapes.REVERSED_PAIRS:
        forwards = frames_of(folder / f"test/{first}/2_0000.mp4")
        backwards = frames_of(folder / f"test/{second}/2_0000.mp4")
        assert (forwards[::-1] == backwards).all()
        assert (forwards != backwards).any()


def test_reading_any_split(folder: Path) -> None:
    dataset = read(folder, "test")
    assert dataset.name == "shapes"
    assert dataset.class_names == shapes.CLASS_NAMES
    assert dataset.class_groups == shapes.CLASS_GROUPS
    assert len(dataset.examples) == 25
    assert dataset.examples == read(folder, "test2").examples
    assert {example.group for example in read(folder, "test3").examples} == {"fold3"}
    assert {example.group for example in read(folder, "train3").examples} == {"fold1", "fold2"}
    for example in read(folder, "train1").examples:
        assert (folder / example.video).is_file()
        assert Path(example.video).parent.name == dataset.class_names[example.labels[0]]
    with pytest.raises(ValueError, match="train1"):
        read(folder, "val")
    with pytest.raises(DataError, match="vadis data make"):
        read(folder / "train")


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise StopError

    with pytest.raises(StopError):
        make("shapes", tmp_path, workers=1, progress=stop, **SMALL)
    assert len(list(tmp_path.rglob("*.mp4"))) == 10
    first = next(tmp_path.rglob("*.mp4"))
    written = first.stat().st_mtime_ns
    assert make("shapes", tmp_path, workers=1, **SMALL) == (65, 10)
    assert first.stat().st_mtime_ns == written
    assert make("shapes", tmp_path, workers=1, **SMALL) == (0, 75)
    assert make("shapes", tmp_path, workers=1, **{**SMALL, "clips_per_class": 4}) == (25, 75)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_several_processes_write_the_same(folder: Path, tmp_path: Path) -> None:
    make("shapes", tmp_path / "two", split=2, workers=2, **SMALL)
    for path in folder.rglob("*.mp4"):
        assert (tmp_path / "two" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_another_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"other settings \(seed 0, not 1\)"):
        make("shapes", folder, split=2, seed=1, **SMALL)
    with pytest.raises(ValueError, match="split 2, not 1"):
        make("shapes", folder, **SMALL)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        make("shapes", tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"settings":{},"clips":[],"version":1}', '{"settings":1,"clips":[]}']
)
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(DataError, match=MANIFEST):
        read(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"benchmark": "kinetics"}, "shapes, mocap15"),
        ({"split": 4}, "1, 2 and 3"),
        ({"clips_per_class": 2}, "three folds"),
        ({"size": 33}, "even size"),
        ({"num_frames": 2}, "4 frames"),
        ({"seed": -1}, "seed"),
        ({"point_lights": True}, "only mocap15"),
    ],
)
def test_settings_that_make_no_clips(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings_of(**{"benchmark": "shapes", **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="train and test"):
        Made("shapes", 1, "val")


def test_the_verb_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_make("shapes", tmp_path, 1, True, {**SMALL, "split": 3}) == 0
    said = capsys.readouterr().out
    assert "25 classes, split 3: 50 clips to train on, 25 to test on (75 drawn, 0 were there)" in said
