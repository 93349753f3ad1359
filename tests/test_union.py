"""Several datasets as one: labels follow their classes, and nothing is guessed about what means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from vadis.data.clip_rules import ClipRule
from vadis.data.loader import ClipDataset, ClipLoader
from vadis.data.made import write_clip, write_text
from vadis.data.union import join_union, name_apart, read_same
from vadis.records import Box, DataError, Dataset, Example, Span
from vadis.specs import ClipSpec


def dataset(name: str, classes: tuple[str, ...], *examples: Example, multi_label: bool = False) -> Dataset:
    groups = {"all": tuple(range(len(classes))), name: (0,)}
    return Dataset(name, f"/data/{name}", "train", classes, examples, multi_label, groups)


ONE = dataset(
    "one", ("ride", "wave"), Example("a.mp4", "a", (1,), flow=("f/a/*",)), Example("b.mp4", "b", (0,))
)
TWO = dataset(
    "two", ("Wave", "HorseRiding", "wave"), Example("c.mp4", "c", (1,)), Example("d.mp4", "d", (2,))
)


def test_classes_of_one_name_are_one() -> None:
    joint = join_union([ONE, TWO])
    assert joint.dataset.class_names == ("ride", "wave", "Wave", "HorseRiding")
    assert joint.labels == ((0, 1), (2, 3, 1))
    assert [example.labels for example in joint.dataset.examples] == [(1,), (0,), (3,), (1,)]
    assert [example.video for example in joint.dataset.examples][2:] == ["/data/two/c.mp4", "/data/two/d.mp4"]
    assert joint.dataset.examples[0].flow == ("/data/one/f/a/*",)
    assert joint.dataset.class_groups == {"all": (0, 1, 2, 3), "one": (0,), "two": (2,)}
    assert [str(note) for note in joint.dataset.notes] == [
        "two classes differ only in spelling: kept apart ('wave' and 'Wave')"
    ]


def test_a_table_says_what_means_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "same.csv", "dataset,class,means", "two,HorseRiding,ride", ",Wave,wave")
    same = read_same(tmp_path / "same.csv")
    assert same == {"two: HorseRiding": "ride", "Wave": "wave"}
    joint = join_union([ONE, TWO], same)
    assert joint.dataset.class_names == ("ride", "wave")
    assert joint.labels == ((0, 1), (1, 0, 1))
    assert not joint.dataset.notes
    renamed = join_union([ONE, TWO], {"ride": "on a horse", "HorseRiding": "on a horse"})
    assert renamed.dataset.class_names == ("on a horse", "wave", "Wave")


def test_every_label_is_exchanged() -> None:
    example = Example(
        "c.mp4",
        "a",
        (0, 1, 2),
        spans=(Span(0, 1, 1, "HorseRiding"),),
        boxes=(Box(0, 0, 1, 1, (2, 0)),),
        absent=(1,),
    )
    joint = join_union([ONE, dataset("two", TWO.class_names, example, multi_label=True)], {"Wave": "wave"})
    moved = joint.dataset.examples[-1]
    assert moved.labels == (1, 2)
    assert (moved.spans[0].label, moved.spans[0].class_name) == (2, "HorseRiding")
    assert (moved.boxes[0].labels, moved.absent) == ((1,), (2,))
    assert joint.dataset.multi_label
    assert [item.id for item in joint.dataset.examples] == ["one: a", "one: b", "two: a"], (
        "ids were there twice"
    )


@pytest.mark.parametrize(
    ("same", "message"),
    [
        ({"two: HorseRidin": "ride"}, "did you mean 'two: HorseRiding'"),
        ({"zzz": "ride"}, "the datasets are one, two"),
        ({"Wave": "wave", "wave": "ride"}, "name the last one only"),
    ],
)
def test_tables_that_do_not_fit(same: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        join_union([ONE, TWO], same)


def test_tables_malformed(tmp_path: Path) -> None:
    write_text(tmp_path / "same.csv", "dataset,class,means", "two,HorseRiding,")
    with pytest.raises(DataError, match=r"same\.csv:2: a row needs"):
        read_same(tmp_path / "same.csv")
    write_text(tmp_path / "same.csv", "dataset,class,means", ",a,b", ",a,c")
    with pytest.raises(DataError, match=r"same\.csv:3: 'a' meant 'b' before"):
        read_same(tmp_path / "same.csv")
    with pytest.raises(ValueError, match="at least one"):
        join_union([])
    assert name_apart([ONE, TWO, ONE, ONE]) == ("one", "two", "one-2", "one-3")


def test_it_loads(tmp_path: Path) -> None:
    """Clips of two folders come in one batch."""
    parts = []
    for name in ("one", "two"):
        write_clip(tmp_path / name / "x.mp4", 0, num_frames=6)
        parts.append(
            Dataset(name, str(tmp_path / name), "train", ("a", name), (Example("x.mp4", "x", (1,)),))
        )
    joint = join_union(parts)
    spec = ClipSpec(num_frames=4, size=40, crop=32)
    clips = ClipDataset(joint.dataset, spec, rule=ClipRule("uniform"), training=False)
    (batch,) = ClipLoader(clips, 2, workers=0)
    assert (batch.num_valid, batch.labels.tolist()) == (2, [1, 2])
