"""Some classes of a dataset: labels follow their classes, and nothing of the others is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from vadis.data.class_choice import choose_classes, parse_classes
from vadis.data.made import write_text
from vadis.records import Box, DataError, Dataset, Example, Span

CLASSES = ("crawl", "dance_a", "dance_b", "walk")
GROUPS = {"dance": (1, 2), "gait": (0, 3), "low": (0,)}
SOME = Dataset(
    "motions",
    "/data",
    "train",
    CLASSES,
    (*(Example(f"{label}.mp4", str(label), (label,)) for label in (3, 1, 0, 2)), Example("x.mp4", "x")),
    class_groups=GROUPS,
)


def test_labels_follow_their_classes() -> None:
    chosen = choose_classes(SOME, ("walk", "dance_*"))
    assert chosen.class_names == ("dance_a", "dance_b", "walk")
    assert [(example.video, example.labels) for example in chosen.examples] == [
        ("3.mp4", (2,)),
        ("1.mp4", (0,)),
        ("2.mp4", (1,)),
    ]
    assert chosen.class_groups == {"dance": (0, 1), "gait": (2,)}
    assert chosen.name == "motions (3 of 4 classes)"
    assert choose_classes(SOME, ()) is SOME


def test_other_labels_of_an_example_go() -> None:
    example = Example(
        "c.mp4",
        "c",
        (0, 1, 3),
        spans=(Span(0, 1, 0, "crawl"), Span(1, 2, 3, "walk")),
        boxes=(Box(0, 0, 1, 1, (0,)), Box(0, 0, 0.5, 1, (3, 1))),
        absent=(2, 3),
    )
    dataset = Dataset("many", "/data", "train", CLASSES, (example,), multi_label=True)
    (found,) = choose_classes(dataset, ("dance_a", "walk")).examples
    assert found.labels == (0, 1)
    assert [(span.label, span.class_name) for span in found.spans] == [(1, "walk")]
    assert [box.labels for box in found.boxes] == [(1, 0)]
    assert found.absent == (1,)


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(ValueError, match="no class 'dance_c'; did you mean 'dance_"):
        choose_classes(SOME, ("dance_c",))
    with pytest.raises(ValueError, match=r"no class 'x\*'; there are crawl, dance_a"):
        choose_classes(SOME, ("walk", "x*"))
    empty = Dataset("none", "/data", "test", CLASSES, SOME.examples[:1])
    with pytest.raises(DataError, match="test holds no example of crawl"):
        choose_classes(empty, ("crawl",))


def test_a_class_with_the_signs_of_a_pattern_is_itself() -> None:
    dataset = Dataset("odd", "/data", "all", ("a*", "ab"), (Example("1.mp4", "1", (0,)),))
    assert choose_classes(dataset, ("a*",)).class_names == ("a*",)


def test_words_from_the_command_line(tmp_path: Path) -> None:
    assert parse_classes("walk, dance_*,walk,") == ("walk", "dance_*")
    write_text(tmp_path / "some.txt", "picking up, then down", "", "walk")
    assert parse_classes(str(tmp_path / "some.txt")) == ("picking up, then down", "walk")
    assert parse_classes("") == ()
    with pytest.raises(DataError, match=r"absent\.txt"):
        parse_classes(str(tmp_path / "absent.txt"))
