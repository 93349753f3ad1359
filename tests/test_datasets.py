"""Every dataset of the table: its tiny copy is recognised, read, whole, decodable and consistent."""

from __future__ import annotations

import copy
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vadis.config import DataConfig, ModelConfig, OptimConfig, Recipe
from vadis.data import DATASETS, list_datasets, read_dataset
from vadis.data.files import is_folder_name, missing_files
from vadis.data.listing import write_list
from vadis.data.parts import open_parts
from vadis.data.scan import find_reading, open_dataset, recognise, scan
from vadis.models import create_model
from vadis.records import Box, DataError, Dataset, Example
from vadis.specs import adjust
from vadis.training import journal, train
from vadis.video.decode import Video
from vadis.video.find import IMAGE_SUFFIXES

WHERE_TINY_IS_AMBIGUOUS = {"minikinetics200", "minikinetics80k"}  # they lie on top of Kinetics-400's lists
NAMES = list_datasets()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the tiny copies that were asked for so far; each is written once."""
    return {"": tmp_path_factory.mktemp("tiny")}


def tiny_copy(tiny: dict[str, Path], name: str) -> Path:
    """The folder of one dataset's tiny copy; a test that changes it copies it first."""
    if name not in tiny:
        tiny[name] = tiny[""] / name
        tiny[name].mkdir()
        DATASETS[name].write_tiny(tiny[name])
    return tiny[name]


def read_all(root: Path, name: str) -> dict[str, Dataset]:
    """The splits that a tiny copy has lists for."""
    return {split.split: read_dataset(name, root, split.split) for split in scan(root, name).splits}


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_copy_is_recognised(tiny: dict[str, Path], name: str) -> None:
    readings = recognise(tiny_copy(tiny, name))
    assert name in readings
    if name in WHERE_TINY_IS_AMBIGUOUS:
        assert set(readings) == {name, "kinetics400"}
    else:
        assert set(readings) == {name}
    assert all(readings.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_copy_is_whole(tiny: dict[str, Path], name: str) -> None:
    root = tiny_copy(tiny, name)
    splits = read_all(root, name)
    assert len(splits) >= 2
    class_names = {dataset.class_names for dataset in splits.values()}
    assert len(class_names) == 1, "a label must mean the same in every split"
    for dataset in splits.values():
        assert dataset.examples
        assert missing_files(dataset) == []
        assert len({example.id for example in dataset.examples}) == len(dataset.examples)
        assert all(example.group for example in dataset.examples)
        assert all((Path(dataset.root) / example.video).exists() for example in dataset.examples)
        for example in dataset.examples:
            assert set(example.labels) >= {span.label for span in example.spans}
            assert set(example.labels) >= {label for box in example.boxes for label in box.labels}
            for span in example.spans:
                assert span.class_name == dataset.class_names[span.label]
    seen = {label for dataset in splits.values() for e in dataset.examples for label in e.labels}
    assert len(seen) >= 2, "there must be something to learn"


@pytest.mark.parametrize("name", NAMES)
def test_sources_stay_on_one_side(tiny: dict[str, Path], name: str) -> None:
    sides: dict[str, list[set[str]]] = {}
    for split, dataset in read_all(tiny_copy(tiny, name), name).items():
        fold = split[-1] if split[-1].isdecimal() else ""
        sides.setdefault(fold, []).append({example.group for example in dataset.examples})
    for found in sides.values():
        assert sum(map(len, found)) == len(set().union(*found))


@pytest.mark.parametrize("name", NAMES)
def test_videos_decode(tiny: dict[str, Path], name: str) -> None:
    dataset = next(iter(read_all(tiny_copy(tiny, name), name).values()))
    example = dataset.examples[0]
    path = Path(dataset.root) / example.video
    if path.suffix in IMAGE_SUFFIXES:
        assert Image.open(path).size == (64, 48)
        return
    with Video(path) as video:
        num_frames = len(video.frame_times())
        end = video.info.duration_seconds
    assert num_frames == (example.num_frames or num_frames) >= 4
    assert end is not None
    for seconds in (example.start_seconds, example.keyframe_seconds):
        assert seconds is None or 0 <= seconds < end, "times are on the clock of the file"
    assert all((box.frame or 0) < num_frames for box in example.boxes)
    assert is_folder_name(example.video) == path.is_dir()


NOT_LEARNT_FROM = {
    "coco",  # images, for detectors
    *("kinetics600", "kinetics700", "kinetics700_2020", "minikinetics80k"),  # forms that others have, too
    *("activitynet_1.2", "ava_2.1", "finegym288"),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_LEARNT_FROM])
def test_it_is_learnt_from_and_scored(
    tiny: dict[str, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the official layout through training to the measures of its validation part."""
    monkeypatch.setattr(journal, "draw_curves", lambda *arguments: None)  # most of a short run's time
    parts = open_parts(tiny_copy(tiny, name), name)
    assert parts.validation is not None
    few = replace(parts.validation, examples=parts.validation.examples[:4])
    model = create_model("r3d_18", tiny=True, num_classes=2)
    data = DataConfig(num_frames=4, frame_stride=1, size=32, crop=32, batch_size=4, workers=0)
    optim = OptimConfig(unit="steps", length=1)
    recipe = Recipe(data=data, model=ModelConfig("r3d_18", tiny=True), optim=optim)
    model.spec = adjust(model.spec, num_frames=4, frame_stride=1, size=32, crop=32)
    result = train(parts.train, recipe, tmp_path / "run", validation=few, model=model)
    assert result.skipped == ()
    (row,) = result.history
    assert row["clips"] == min(4, len(parts.train.examples))
    assert math.isfinite(row["train_loss"])
    measure = "mean_ap" if parts.train.multi_label else "top1"
    assert 0 <= row[f"val_{measure}"] <= 1
    model = create_model("r3d_18", result.best)
    assert model.class_names == parts.train.class_names
    if (known := [group for group in few.class_groups if few.class_groups[group]]) and name != "jhmdb":
        scores = json.loads((tmp_path / "run" / "scores.json").read_text())
        assert set(known) <= set(find_groups(scores)), "scores are given per group"


def find_groups(scores: dict[str, Any]) -> list[str]:
    """The names of the groups of classes in a run's scores.json."""
    return [name for head in scores.values() for name in head["groups"]]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("benchmark", "vadis_list")])
def test_videos_may_lie_elsewhere_or_be_lost(tiny: dict[str, Path], name: str, tmp_path: Path) -> None:
    root = tiny_copy(tiny, name)
    split = scan(root, name).splits[0].split
    whole = read_dataset(name, root, split)
    elsewhere = read_dataset(name, root, split, videos=shutil.copytree(root, tmp_path / "videos"))
    assert elsewhere.root == str(tmp_path / "videos")
    assert [example.video for example in elsewhere.examples] == [example.video for example in whole.examples]
    lost = tmp_path / "videos" / whole.examples[0].video
    if name != "folders":  # there, what is not in a folder is not in the dataset
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        again = read_dataset(name, root, split, videos=tmp_path / "videos")
        assert len(again.examples) == len(whole.examples), "a lost video stays in the dataset"
        assert len(missing_files(again)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_converted_is_read_back_the_same(tiny: dict[str, Path], name: str, tmp_path: Path) -> None:
    """Every split of every dataset as a list of ours; as .csv where one label an example says it all."""
    for split, dataset in read_all(tiny_copy(tiny, name), name).items():
        again = open_dataset(write_list(tmp_path / split / "list.jsonl", dataset))
        assert again.split == split
        told = asdict(again), asdict(dataset)
        for item, root in zip(told, (tmp_path / split, Path(dataset.root)), strict=True):
            item.pop("notes")
            item.pop("root")
            for example in item["examples"]:
                example["video"] = (root / example["video"]).resolve()
                example["flow"] = [(root / pattern).resolve() for pattern in example["flow"]]
        assert told[0] == told[1]
        try:
            table = open_dataset(write_list(tmp_path / split / "csv" / "list.csv", dataset))
        except ValueError as error:
            assert "a .csv list" in str(error)  # noqa: PT017 - either it is refused, or it is the same
            continue
        assert (table.class_names, table.class_groups) == (dataset.class_names, dict(dataset.class_groups))
        fields = ("id", "labels", "start_seconds", "end_seconds", "group", "duration_seconds", "num_frames")
        assert [[getattr(item, field) for field in fields] for item in table.examples] == [
            [getattr(item, field) for field in fields] for item in dataset.examples
        ]
        assert missing_files(table) == []


@pytest.mark.parametrize("name", ["ucf101", "kinetics400", "charades", "moments"])
def test_other_layouts_of_videos_are_found(tiny: dict[str, Path], name: str, tmp_path: Path) -> None:
    """Class folders with `_` for spaces, in lower case, or everything in one folder."""
    root = tiny_copy(tiny, name)
    split = scan(root, name).splits[0].split
    dataset = read_dataset(name, root, split)
    renamed, flat = tmp_path / "renamed", tmp_path / "flat"
    flat.mkdir()
    for video in {example.video for example in dataset.examples}:
        target = renamed / video.replace(" ", "_").replace("+", "_").lower()
        target = target.with_name(Path(video).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / video, target)
        shutil.copy(root / video, flat)
    found = read_dataset(name, root, split, videos=renamed)
    assert missing_files(found) == []
    assert len({e.video for e in found.examples}) == len({e.video for e in dataset.examples})
    if name != "moments":  # there, one file name stands in several classes
        assert missing_files(read_dataset(name, root, split, videos=flat)) == []


def test_the_table_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'kinetics400'"):
        read_dataset("kinetics40", tmp_path, "train")
    with pytest.raises(ValueError, match="has the splits train1, test1"):
        read_dataset("ucf101", tmp_path, "train")
    with pytest.raises(DataError, match=r"there is no classInd\.txt"):
        read_dataset("ucf101", tmp_path, "train1")
    with pytest.raises(DataError, match="no such file or folder"):
        find_reading(tmp_path / "nothing")
    assert {"kinetics700_2020", "hacs_segments", "jhmdb", "coco"} <= set(NAMES)


def test_the_page_knows_every_dataset() -> None:
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []


def test_splits_may_be_called_as_the_files_call_them(tiny: dict[str, Path]) -> None:
    root = tiny_copy(tiny, "kinetics400")
    assert read_dataset("kinetics400", root, "validation") == read_dataset("kinetics400", root, "val")


def test_groups_of_classes_travel_with_a_dataset(tiny: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(tiny_copy(tiny, "kinetics400"), tmp_path / "k")
    rows = ("abseiling,person", "playing harp,person-object", "massaging person's head,person-person")
    (root / "class_groups.csv").write_text("\n".join(("class_name,group", *rows)))
    dataset = read_dataset("kinetics400", root, "train")
    named = {
        group: [dataset.class_names[k] for k in labels] for group, labels in dataset.class_groups.items()
    }
    assert named == {
        "person": ["abseiling"],
        "person-object": ["playing harp"],
        "person-person": ["massaging person's head"],
    }
    (root / "class_groups.csv").write_text("class_name,group\nabseilling,person\n")
    with pytest.raises(DataError, match=r"class_groups\.csv:2: 'abseilling' .* did it mean 'abseiling'"):
        read_dataset("kinetics400", root, "train")


def test_open_dataset_asks_for_the_split_it_needs(tiny: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="name one"):
        open_dataset(tiny_copy(tiny, "ucf101"))
    assert open_dataset(tiny_copy(tiny, "ucf101"), split="test2").split == "test2"
    with pytest.raises(ValueError, match="in 2 ways"):
        open_dataset(tiny_copy(tiny, "minikinetics200"), split="train")
    assert open_dataset(tiny_copy(tiny, "minikinetics200"), "minikinetics200", "train").num_classes == 2


def test_records_check_themselves() -> None:
    good = Example("a.mp4", "a", (1,))
    with pytest.raises(ValueError, match="a has the label 1, there are 1 classes"):
        Dataset("d", ".", "all", ("x",), (good,))
    with pytest.raises(ValueError, match="the same name: x"):
        Dataset("d", ".", "all", ("x", "x"), ())
    with pytest.raises(ValueError, match="2 labels, not one"):
        Dataset("d", ".", "all", ("x", "y"), (Example("a.mp4", "a", (0, 1)),))
    with pytest.raises(ValueError, match="group"):
        Dataset("d", ".", "all", ("x", "y"), (good,), class_groups={"g": (2,)})
    assert copy.deepcopy(good) == good  # by the same way as a worker process gets it
    assert copy.deepcopy(Box(0, 0, 1, 1, (2,))) == Box(0, 0, 1, 1, (2,))
