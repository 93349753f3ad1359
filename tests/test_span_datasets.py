"""Datasets of spans, boxes and tubes: the specification's examples to the letter, traps, malformed lines."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vadis.data import activitynet, ava, charades, coco, jhmdb, tubes, ucf101_24
from vadis.data.made import write_flow, write_frames, write_text
from vadis.data.scan import scan
from vadis.models.weights import class_names
from vadis.records import Box, DataError, Dataset, Span

GOLDEN = Path(__file__).parent / "golden" / "datasets"


def count_of(dataset: Dataset, part: str) -> int:
    """How often the note was made whose sentence holds `part`."""
    return sum(note.count for note in dataset.notes if part in note.text)


# ActivityNet


def test_activitynet_example() -> None:
    dataset = activitynet.read(GOLDEN / "activitynet", "val")
    [example] = dataset.examples
    assert (example.id, example.labels, example.duration_seconds) == ("AbCdEfGhIjK", (0,), 82.73)
    assert example.spans == (Span(6.2, 77.8, 0, "Skiing"),)
    assert example.video == "videos/v_AbCdEfGhIjK.mp4"
    [hidden] = activitynet.read(GOLDEN / "activitynet", "test").examples
    assert (hidden.id, hidden.labels, hidden.spans) == ("zz_9-QwErTy", (), ())


def test_activitynet_odd_intervals(tmp_path: Path) -> None:
    annotations = [
        {"segment": [1.0, 99.0], "label": "B"},
        {"segment": [5.0, 4.0], "label": "A"},
        {"segment": [2.0, 2.0], "label": "B"},
    ]
    entry = {"duration": 10.0, "subset": "training", "annotations": annotations}
    path = tmp_path / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"database": {"x": entry}}))
    dataset = activitynet.read(tmp_path, "train")
    assert dataset.class_names == ("A", "B")
    assert dataset.examples[0].labels == (1, 0)
    assert [span.end_seconds for span in dataset.examples[0].spans] == [99.0, 2.0]
    assert count_of(dataset, "ends before it begins: left out") == 1
    assert count_of(dataset, "passes the end of its video: kept") == 1
    for broken, message in (
        ({"database": {"x": {**entry, "subset": "train"}}}, "'x' has no known subset"),
        (
            {"database": {"x": {**entry, "annotations": [{"label": "A"}]}}},
            "x: an annotation has no label and segment",
        ),
        ({"database": {"x": {**entry, "duration": "long"}}}, "x: duration is not a number: 'long'"),
        ({"results": {}}, "has no 'database'"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=message):
            activitynet.read(tmp_path, "train")


def test_activitynet_taxonomy_gives_groups(tmp_path: Path) -> None:
    activitynet.write_tiny(tmp_path)
    dataset = activitynet.read(tmp_path, "train")
    assert dataset.class_groups == {"Music": (1,), "Sports": (0, 2)}
    assert dataset.class_names == ("Hopscotch", "Playing harmonica", "Skiing")
    assert dataset.multi_label


# Charades


@pytest.fixture
def charades_root(tmp_path: Path) -> Path:
    root = shutil.copytree(GOLDEN / "charades", tmp_path / "charades")
    write_text(
        root / "Charades_v1_classes.txt", *(f"c{k:03d} {n}" for k, n in enumerate(class_names("charades157")))
    )
    return root


def test_charades_example(charades_root: Path) -> None:
    dataset = charades.read(charades_root, "train")
    first, second = dataset.examples
    assert (first.id, first.group, first.labels, first.duration_seconds) == ("AB12C", "S07", (92, 147), 24.83)
    assert [(span.start_seconds, span.end_seconds, span.label) for span in first.spans] == [
        (11.9, 21.2, 92),
        (0.0, 12.6, 147),
    ]
    assert first.spans[0].class_name == dataset.class_names[92]
    assert (second.id, second.labels, second.spans, second.duration_seconds) == ("ZZ9QW", (), (), 31.0)
    assert [note.text for note in dataset.notes] == ["a video has no action: kept, without a label"]
    assert dataset.notes[0].first.endswith("Charades_v1_train.csv:3")


def test_charades_odd_and_malformed(charades_root: Path) -> None:
    path = charades_root / "Charades_v1_train.csv"
    text = path.read_text()
    path.write_text(text.replace("11.90 21.20", "11.90 30.00").replace("0.00 12.60", "9.00 8.00"))
    dataset = charades.read(charades_root, "train")
    assert dataset.examples[0].labels == (92, 147)
    assert len(dataset.examples[0].spans) == 1
    assert count_of(dataset, "passes the end of its video: kept") == 1
    assert count_of(dataset, "ends before it begins: left out") == 1
    for part in ("c157 11.90 21.20", "92 11.90 21.20", "c092 11.90"):
        path.write_text(text.replace("c092 11.90 21.20", part))
        with pytest.raises(DataError, match=rf"train\.csv:2: expected actions .* found '{part}'"):
            charades.read(charades_root, "train")
    path.write_text("\n".join(line.rpartition(",")[0] for line in text.splitlines()))
    assert charades.read(charades_root, "train").examples[0].duration_seconds is None  # before 2017
    (charades_root / "Charades_v1_classes.txt").write_text("c001 Opening a door\n")
    with pytest.raises(DataError, match=r"classes\.txt:1: expected 'c000 <name>'"):
        charades.read(charades_root, "train")


def test_charades_frames_and_flow(charades_root: Path) -> None:
    clip = write_frames(charades_root / "Charades_v1_rgb/AB12C", "AB12C-%06d.jpg", 0)
    write_flow(charades_root / "Charades_v1_flow/AB12C", ("AB12C-%06dx.jpg", "AB12C-%06dy.jpg"), clip)
    example = charades.read(charades_root, "train").examples[0]
    assert (example.video, example.fps) == ("Charades_v1_rgb/AB12C", 24.0)
    assert example.flow == ("Charades_v1_flow/AB12C/*x.jpg", "Charades_v1_flow/AB12C/*y.jpg")


# AVA


def test_ava_example() -> None:
    dataset = ava.read(GOLDEN / "ava", "train")
    [example] = dataset.examples
    assert (example.id, example.group, example.labels) == ("AbCdEfGhIjK,0902", "AbCdEfGhIjK", (11, 79))
    assert example.boxes == (Box(0.077, 0.151, 0.283, 0.811, (79, 11), 1),), (
        "one person, two actions, ids from 1"
    )
    assert dataset.class_names[11] == "stand"
    assert dataset.num_classes == 80
    assert dataset.class_groups["evaluated"] == (11, 79)
    assert {group: len(labels) for group, labels in dataset.class_groups.items()} == {
        "pose": 14,
        "object": 49,
        "person": 17,
        "evaluated": 2,
    }
    assert example.keyframe_seconds == 2.0, "in the usual cut, which begins at 900 s"
    assert ava.read(GOLDEN / "ava", "train", first_second=0).examples[0].keyframe_seconds == 902.0


def test_ava_whole_films_and_frames(tmp_path: Path) -> None:
    for place, seconds in (("videos", 902.0), ("videos_15min", 2.0), ("trainval", 902.0)):
        root = shutil.copytree(GOLDEN / "ava", tmp_path / place)
        (root / place).mkdir()
        (root / place / "AbCdEfGhIjK.mkv").touch()
        [example] = ava.read(root, "train").examples
        assert (example.video, example.keyframe_seconds, example.fps) == (
            f"{place}/AbCdEfGhIjK.mkv",
            seconds,
            None,
        )
    root = shutil.copytree(GOLDEN / "ava", tmp_path / "f")
    write_frames(root / "frames/AbCdEfGhIjK", "AbCdEfGhIjK_%06d.jpg", 0)
    [example] = ava.read(root, "train").examples
    assert (example.video, example.keyframe_seconds, example.fps) == ("frames/AbCdEfGhIjK", 2.0, 30.0)


def test_ava_rows(tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "ava", tmp_path / "ava")
    rows = [
        "v,0902,0.1,0.1,0.5,0.5,12,0",
        "v,902,0.1,0.1,0.5,0.5,12,0",  # the same second, the same action
        "v,0902,0.1,0.1,0.5,0.5,80,1",  # another person in the same place
        "v,0903,0.5,0.1,0.1,0.5,1",  # seven columns, a box without area
        "v,0904",  # a key frame without a box
        "AbCdEfGhIjK,0903,0.1,0.1,0.5,0.5,12,0",  # excluded
    ]
    write_text(root / "ava_train_v2.2.csv", *rows)
    dataset = ava.read(root, "train")
    assert [(example.id, len(example.boxes)) for example in dataset.examples] == [
        ("v,0902", 2),
        ("v,0903", 1),
        ("v,0904", 0),
    ]
    assert dataset.examples[1].boxes[0].person is None
    for part in ("an action twice", "a box is empty: kept", "list of excluded timestamps: left out"):
        assert count_of(dataset, part) == 1
    for row, message in (
        ("v,0902,0.1,0.1,0.5", "5 columns; AVA has 8"),
        ("v,0902,0.1,0.1,0.5,0.5,81,0", r"AVA's actions are 1\.\.80, not 81"),
        ("v,0902,0.1,0.1,0.5,x,12,0", "a side of the box is not a number: 'x'"),
    ):
        write_text(root / "ava_train_v2.2.csv", rows[0], row)
        with pytest.raises(DataError, match=rf"ava_train_v2\.2\.csv:2: {message}"):
            ava.read(root, "train")


def test_ava_lists_of_actions(tmp_path: Path) -> None:
    path = tmp_path / "a.pbtxt"
    labels = 'label {\n  name: "say \\"hi\\" {x}"\n  label_id: 3\n}'
    path.write_text('label { name: "stand"  label_id: 12  label_type: PERSON_MOVEMENT }\n' + labels)
    assert ava.read_action_list(path) == {12: "stand", 3: 'say \\"hi\\" {x}'}
    path.write_text("item {\n  id: 3\n}")
    with pytest.raises(DataError, match=r"a\.pbtxt:2: 'id: 3' has no name before it"):
        ava.read_action_list(path)
    path.write_text('item {\n  name: "x"\n  id: 81\n}')
    with pytest.raises(DataError, match=r"a\.pbtxt:3: AVA's ids are"):
        ava.read_action_list(path)


def test_ava_versions_are_never_mixed(tmp_path: Path) -> None:
    ava.write_tiny(tmp_path, "2.1")
    ava.write_tiny(tmp_path, "2.2")
    with pytest.raises(ValueError, match=r"2 ways(?s:.*)--as ava_2.1(?s:.*)--as ava_2.2"):
        scan(tmp_path)


# UCF101-24


def example_24(boxes: np.ndarray) -> dict[str, Any]:
    """The specification's example of `pyannot`, with these boxes (N, 4)."""
    annotation = {"label": 0, "sf": 8, "ef": 52, "boxes": boxes}
    return {"Basketball/v_Basketball_g01_c01": {"label": 0, "numf": 141, "annotations": [annotation]}}


def write_24(root: Path, database: dict[str, Any]) -> None:
    (root / "pyannot.pkl").write_bytes(pickle.dumps(database, protocol=2))
    write_text(root / "testlist01.txt", "Basketball/v_Basketball_g01_c01")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ucf101_24_example(tmp_path: Path, dtype: type) -> None:
    boxes = np.tile(np.array([200, 100, 100, 140], dtype), (44, 1))  # x + width is 300: it overflows in uint8
    write_24(tmp_path, example_24(boxes))
    [example] = ucf101_24.read(tmp_path, "test1").examples
    assert (example.num_frames, example.labels, example.group) == (141, (0,), "Basketball/v_Basketball_g01")
    assert [box.frame for box in example.boxes] == list(range(8, 52)), (
        "from 0, ef is the frame after the last"
    )
    assert example.boxes[0] == Box(200 / 320, 100 / 240, 300 / 320, 240 / 240, (0,), 0, 8)
    assert ucf101_24.read(tmp_path, "train1").examples == ()


def test_ucf101_24_lists_with_endings_and_all_classes(tmp_path: Path) -> None:
    write_24(tmp_path, example_24(np.ones((44, 4), np.uint8)))
    write_text(
        tmp_path / "testlist01.txt", "Archery/v_Archery_g01_c01.avi", "Basketball/v_Basketball_g01_c01.avi"
    )
    assert len(ucf101_24.read(tmp_path, "test1").examples) == 1


def test_ucf101_24_all_forms_agree(tmp_path: Path) -> None:
    """The pickles, the ACT family's cache and the MATLAB file of the same tubes give the same boxes."""
    scipy_io = pytest.importorskip("scipy.io")
    ucf101_24.write_tiny(tmp_path / "plain")
    database = tubes.read_plain_pickle(tmp_path / "plain" / "pyannot.pkl")
    videos = ucf101_24.read_database(tmp_path, database)
    test = (tmp_path / "plain" / "testlist01.txt").read_text().split()
    train = [name for name in videos if name not in test]
    names = ["Basketball", "CliffDiving", "WalkingWithDog"]
    roots = {form: tmp_path / form for form in ("cache", "named", "mat")}
    for root in roots.values():
        root.mkdir()
    cache = tubes.to_cache(names, videos, {"train": [train], "test": [test]})
    (roots["cache"] / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(cache, protocol=0))
    named = {"db": database, "trainvideos": train, "classes": names}
    (roots["named"] / "pyannot_with_class_names.pkl").write_bytes(pickle.dumps(named))
    rows = np.empty((1, len(database)), [("num_imgs", object), ("name", object), ("tubes", object)])
    for number, (name, entry) in enumerate(database.items()):
        inner = np.empty((1, 1), [("ef", object), ("sf", object), ("class", object), ("boxes", object)])
        [tube] = entry["annotations"]
        inner[0, 0] = (tube["ef"], tube["sf"] + 1, tube["label"] + 1, tube["boxes"])
        rows[0, number] = (entry["numf"], name, inner)
    scipy_io.savemat(roots["mat"] / "finalAnnots.mat", {"annot": rows})
    shutil.copy(tmp_path / "plain" / "testlist01.txt", roots["mat"])
    for split in ("train1", "test1"):
        wanted = ucf101_24.read(tmp_path / "plain", split)
        assert wanted.num_classes == 3
        for root in roots.values():
            found = ucf101_24.read(root, split)
            assert found.class_names == wanted.class_names
            by_id = {example.id: example for example in found.examples}
            for example in wanted.examples:
                assert by_id[example.id].boxes == example.boxes
                assert by_id[example.id].num_frames == 16


def test_ucf101_24_malformed(tmp_path: Path) -> None:
    write_24(tmp_path, example_24(np.ones((43, 4), np.uint8)))
    with pytest.raises(
        DataError, match=r"'Basketball/v_Basketball_g01_c01' .*\(frames 8 to 52, but 43 boxes"
    ):
        ucf101_24.read(tmp_path, "test1")
    (tmp_path / "pyannot.pkl").write_bytes(pickle.dumps({"a": Path("x")}))
    with pytest.raises(DataError, match="asks for pathlib"):
        ucf101_24.read(tmp_path, "test1")
    (tmp_path / "pyannot.pkl").write_bytes(b"\x80\x02")
    with pytest.raises(DataError, match=r"pyannot\.pkl: its pickle is broken"):
        ucf101_24.read(tmp_path, "test1")


# J-HMDB


def test_jhmdb_masks_and_cache_agree(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    names = {"Wie_man!!_[0]_wave_u_nm_np1_fr_med_0": 1, "B_wave_u_nm_np1_fr_med_1": 2}
    annotated = {}
    for number, name in enumerate(names):
        mask_HWT = np.zeros((240, 320, 4), np.uint8)
        for frame in range(3):  # the last frame has no mask
            mask_HWT[10 + frame : 100, 20 : 90 + number, frame] = 1
        folder = tmp_path / "official/puppet_mask/wave" / name
        folder.mkdir(parents=True)
        scipy_io.savemat(folder / "puppet_mask.mat", {"part_mask": mask_HWT})
        box_N4 = np.array([[20, 10 + frame, 89 + number, 99] for frame in range(3)], float)
        annotated[f"wave/{name}"] = tubes.Annotated((tubes.Tube(0, np.arange(3), box_N4),), 4, 240, 320)
    lines = [f"{name}.avi {code} " for name, code in names.items()]
    write_text(tmp_path / "official/splits/wave_test_split1.txt", *lines)
    videos = list(annotated)
    cache = tubes.to_cache(["wave"], annotated, {"train": [videos[:1]], "test": [videos[1:]]})
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/JHMDB-GT.pkl").write_bytes(pickle.dumps(cache))
    for split in ("train1", "test1"):
        [official], [cached] = (jhmdb.read(tmp_path / root, split).examples for root in ("official", "cache"))
        assert official.boxes == cached.boxes
        assert len(official.boxes) == 3
        assert (official.id, official.num_frames, official.fps) == (cached.id, 4, 30.0)
        assert official.video == f"Rename_Images/{official.id}"
    dataset = jhmdb.read(tmp_path / "official", "test1")
    assert count_of(dataset, "some frames of a clip have no box") == 1
    assert scan(tmp_path / "official").name == "jhmdb"
    with pytest.raises(DataError, match="holds 1 splits, not 'train2'"):
        jhmdb.read(tmp_path / "cache", "train2")
    assert scan(tmp_path / "cache").absent == ("train2", "test2", "train3", "test3")
    (folder / "puppet_mask.mat").unlink()
    dataset = jhmdb.read(tmp_path / "official", "test1")
    assert count_of(dataset, "no puppet_mask.mat: kept, without boxes") == 1
    write_text(tmp_path / "official/splits/wave_test_split1.txt", "a.avi")
    with pytest.raises(DataError, match=r"wave_test_split1\.txt:1: expected"):
        jhmdb.read(tmp_path / "official", "test1")


def test_jhmdb_flow_and_names(tmp_path: Path) -> None:
    jhmdb.write_tiny(tmp_path)
    name = "brush_hair/Wie_man!!_[0]_brush_hair_u_nm_np1_fr_med_0"
    write_frames(tmp_path / "FlowBrox04" / name, "%05d.jpg", 0)
    by_id = {example.id: example for example in jhmdb.read(tmp_path, "test1").examples}
    assert by_id[name].video == f"Frames/{name}", "not the flow, which has the same name"
    assert by_id[name].flow == (f"FlowBrox04/{name}/*",)


def test_a_cache_that_is_not_one(tmp_path: Path) -> None:
    path = tmp_path / "JHMDB-GT.pkl"
    path.write_bytes(pickle.dumps({"labels": []}))
    with pytest.raises(DataError, match="expected a dict of labels, gttubes"):
        tubes.read_cache(path)
    cache = tubes.to_cache(["a"], {}, {"train": [], "test": []})
    path.write_bytes(pickle.dumps({**cache, "gttubes": {"a/b": {0: [np.ones((2, 5))]}}}))
    with pytest.raises(DataError, match="the video 'a/b' is not of the known form"):
        tubes.read_cache(path)


# COCO


def test_coco_boxes_masks_and_keypoints(tmp_path: Path) -> None:
    coco.write_tiny(tmp_path)
    dataset = coco.read(tmp_path, "train", masks=True)
    assert dataset.class_names == ("person", "bottle")
    assert dataset.class_groups == {"person": (0,), "kitchen": (1,)}
    person, bottle, crowd, empty = dataset.examples[:4]
    assert [example.labels for example in (person, bottle, crowd, empty)] == [(0,), (1,), (0,), ()]
    [box] = person.boxes
    assert 0 < box.x1 < box.x2 < 1
    assert box.keypoints[0] == pytest.approx(((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2, 2))
    assert len(box.keypoints) == 17
    assert box.outline[0][:4] == pytest.approx((box.x1, box.y1, box.x2, box.y1))
    assert crowd.boxes[0].crowd
    assert crowd.boxes[0].runs == (10, 5, 48 * 64 - 15)
    assert crowd.boxes[0].keypoints == (), "a crowd has none"
    assert coco.read(tmp_path, "train").examples[0].boxes[0].outline == ()


def test_coco_ids_have_gaps(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 100, "width": 200}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 44, "bbox": [20, 10, 100, 50], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [20, 10, 0, 50], "iscrowd": 0},
        ],
        "categories": [{"id": 44, "name": "bottle"}, {"id": 1, "name": "person"}],
    }
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps(document))
    dataset = coco.read(tmp_path, "val")
    assert dataset.class_names == ("person", "bottle")
    assert dataset.examples[0].boxes[0] == Box(0.1, 0.1, 0.6, 0.6, (1,))
    assert dataset.examples[0].video == "val2017/a.jpg"
    assert count_of(dataset, "a box is empty: kept") == 1
    for change, message in (
        ({"category_id": 2}, "annotation 1 is of an unknown image or category"),
        ({"bbox": [1, 2, 3]}, "annotation 1 is not of COCO's form"),
        ({"bbox": [1, 2, 3, "x"]}, "annotation 1: a side of the box is not a number"),
    ):
        broken = {**document, "annotations": [{**document["annotations"][0], **change}]}
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=message):
            coco.read(tmp_path, "val")


def encode_runs(runs: tuple[int, ...]) -> str:
    """COCO's text form of run lengths, written from its description, to test the decoder."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = not ((value == -1 and bits & 16) or (value == 0 and not bits & 16))
            text += chr(bits + (32 if more else 0) + 48)
    return text


def test_coco_text_runs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        runs = tuple(int(run) for run in rng.integers(0, 5000, rng.integers(1, 40)))
        assert coco.decode_runs(encode_runs(runs)) == runs
    with pytest.raises(ValueError, match="break off"):
        coco.decode_runs("P")
