"""Stored flow beside a dataset: found without being told, whatever the dataset is; never taken for videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vadis.data import DATASETS, read_dataset
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.data.files import walk_videos
from vadis.data.flow_making import plan_tasks
from vadis.data.flow_stores import MANIFEST, attach_flow, find_store, read_store
from vadis.data.made import write_clip, write_frames
from vadis.data.scan import find_splits, open_dataset
from vadis.records import DataError, Dataset, Example, VideoError
from vadis.specs import ClipSpec
from vadis.video.find import find_videos
from vadis.video.flow_fields import Flow
from vadis.video.flow_files import NOTE, FlowWriter

HEAD = {"vadis_flow": 1, "settings": {"method": "dis"}, "versions": {}}
SPEC = ClipSpec("flow", 4, 1, None, 48, 32, (0.0, 0.0), (1.0, 1.0), (-1.0, 1.0))


def fill_store(root: Path, dataset: Dataset, layout: str = "jpeg", **options: object) -> Path:
    """Flow of each video: u is 3 pixels a frame, v is -1.5; 24 fields of 64 x 48 pixels."""
    store = root / "flow"
    rows = [HEAD]
    fields = np.tile(np.float32([3.0, -1.5]), (24, 48, 64, 1))
    videos = list(dict.fromkeys(example.video for example in dataset.examples))
    for task in plan_tasks(str(root), videos):
        with FlowWriter(store / task.folder, layout, **options) as writer:  # type: ignore[arg-type]
            writer.write(Flow(fields, (48, 64)), np.arange(24) / 25)
        rows.append({"video": task.video, "folder": task.folder})
    (store / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return store


@pytest.mark.parametrize(
    "name", [name for name in DATASETS if name not in ("coco", "benchmark", "vadis_list")]
)
def test_every_dataset_finds_it(name: str, tmp_path: Path) -> None:
    """The same examples as before, each with its flow; frames and pictures of flow are no videos."""
    DATASETS[name].write_tiny(tmp_path)
    split = find_splits(tmp_path, name)[0]
    before = read_dataset(name, tmp_path, split)
    if not before.examples:
        pytest.skip("the tiny copy has no example of its first split")
    bare = replace(before, examples=tuple(replace(example, flow=()) for example in before.examples))
    fill_store(Path(before.root), bare, "video" if name == "folders" else "jpeg")
    after = read_dataset(name, tmp_path, split)
    assert [replace(example, flow=()) for example in after.examples] == list(bare.examples)
    for old, new in zip(before.examples, after.examples, strict=True):
        assert new.flow == old.flow if old.flow else (Path(after.root) / new.flow[0]).is_file()
        assert len(new.flow) in (1, 2)


@pytest.mark.parametrize("layout", ["jpeg", "png16", "npz", "video"])
def test_clips_come_from_it(layout: str, tmp_path: Path) -> None:
    """The same pixels from each layout; and where frames are scaled, the values follow."""
    for label, name in enumerate(("left", "right")):
        write_clip(tmp_path / name / "a.mp4", label)
    dataset = open_dataset(tmp_path)
    fill_store(tmp_path, dataset, layout)
    example = open_dataset(tmp_path).examples[0]
    assert example.flow == (f"flow/left/a/{NOTE}",)
    whole = read_clips(example, tmp_path, SPEC, ClipRule("uniform"))
    assert whole.clips[0].dtype == np.uint8
    assert whole.clips[0][2, 20, 20].tolist() == [147, 118]  # round(255 (3 + 20) / 40), (20 - 1.5)
    assert whole.times_T[1] == pytest.approx(0.04)
    half = read_clips(example, tmp_path, SPEC, ClipRule("uniform"), short_side=24)
    assert half.clips[0].shape == (4, 24, 32, 2)
    assert np.abs(half.clips[0][2, 10, 10].astype(int) - [137, 123]).max() <= 1  # 1.5 and -0.75 pixels


def test_another_bound_gives_the_same_pixels(tmp_path: Path) -> None:
    for label, name in enumerate(("left", "right")):
        write_clip(tmp_path / name / "a.mp4", label)
    fill_store(tmp_path, open_dataset(tmp_path), "video", bound=5.0, rule="mediapipe")
    example = open_dataset(tmp_path).examples[0]
    pixels = read_clips(example, tmp_path, SPEC, ClipRule("uniform")).clips[0]
    assert pixels[0, 0, 0].tolist() == [147, 118]


def test_what_the_dataset_brings_comes_first(tmp_path: Path) -> None:
    one, two = Example("a.mp4", "a", flow=("own/x*.jpg", "own/y*.jpg")), Example("b.mp4", "b")
    dataset = Dataset("d", str(tmp_path), "train", ("c",), (one, two))
    assert attach_flow(dataset) is dataset
    fill_store(tmp_path, dataset)
    found = attach_flow(dataset)
    assert [example.flow for example in found.examples] == [one.flow, (f"flow/b/{NOTE}",)]
    assert found.notes == ()
    more = replace(dataset, examples=(one, two, Example("c.mp4", "c")))
    (note,) = attach_flow(more).notes
    assert (note.count, note.first) == (1, "c.mp4")
    assert "has no flow in flow" in note.text


def test_one_frame_has_no_flow(tmp_path: Path) -> None:
    dataset = Dataset("d", str(tmp_path), "train", ("c",), (Example("a.mp4", "a"),))
    with FlowWriter(tmp_path / "flow" / "a"):
        pass
    (tmp_path / "flow" / MANIFEST).write_text(f'{json.dumps(HEAD)}\n{{"video": "a.mp4", "folder": "a"}}\n')
    example = attach_flow(dataset).examples[0]
    with pytest.raises(VideoError, match="one frame alone has no optical flow") as caught:
        read_clips(example, tmp_path, SPEC, ClipRule("uniform"))
    assert caught.value.kind == "not_found"


def test_a_store_is_no_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0)
    write_frames(tmp_path / "b", "img_%05d.jpg", 0)
    dataset = Dataset("d", str(tmp_path), "train", ("c",), (Example("a.mp4", "a"), Example("b", "b")))
    before = list(walk_videos(tmp_path)), list(find_videos([str(tmp_path)]))
    fill_store(tmp_path, dataset, "video")
    assert (list(walk_videos(tmp_path)), list(find_videos([str(tmp_path)]))) == before
    assert len(before[0]) == len(before[1]) == 2


def test_which_store(tmp_path: Path) -> None:
    assert find_store(tmp_path) is None
    assert find_store(tmp_path / "none") is None
    for name in ("other", "raft_flow", "dis_flow", "flow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text(json.dumps(HEAD))
    assert find_store(tmp_path) == tmp_path / "flow"
    (tmp_path / "flow" / MANIFEST).unlink()
    assert find_store(tmp_path) == tmp_path / "dis_flow"


def test_manifests(tmp_path: Path) -> None:
    """A line that was broken off is not there; of two of one video the later is valid."""
    rows = [HEAD, {"video": "a", "failed": "x"}, {"video": "b", "folder": "b"}, {"video": "a", "folder": "a"}]
    file = tmp_path / MANIFEST
    file.write_text("\n".join(map(json.dumps, rows)) + '\n{"video": "c", "fol')
    store = read_store(tmp_path)
    assert store.settings == {"method": "dis"}
    assert {name: row.get("folder") for name, row in store.rows.items()} == {"a": "a", "b": "b"}
    for text in ("", "{}", "[1]", '{"vadis_flow": 2, "settings": {}}', "nothing"):
        file.write_text(text)
        with pytest.raises(DataError, match="is no manifest of `vadis flow`"):
            read_store(tmp_path)
