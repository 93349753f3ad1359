"""Cards: what a number depends on is all there, survives a file, and averages as papers average."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import write_numbered
from test_evaluation import NAMES, Mean, make_dataset

from vadis.data.loader import fingerprint
from vadis.evaluation import evaluate, make_protocol, match_classes, read_card, write_card
from vadis.evaluation.cards import average_cards, card_from_dict
from vadis.evaluation.views import hash_weights
from vadis.models.cost import measure_cost
from vadis.records import Dataset, EvaluationCard, VadisError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos of numbered frames, one that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(9):
        write_numbered(root / f"{number}.mp4", 20 + 3 * number, first=50 * number)
    (root / "broken.mp4").write_bytes(b"this is not a video" * 50)
    return root


@pytest.fixture(scope="module")
def card(folder: Path) -> EvaluationCard:
    return evaluate(Mean(), make_dataset(folder), "10x3", device="cpu", workers=0)


def test_a_card_says_all_that_a_number_depends_on(card: EvaluationCard, folder: Path) -> None:
    dataset, model = make_dataset(folder), Mean()
    assert (card.num_expected, card.num_files, card.num_evaluated) == (11, 11, 9)
    assert (card.num_missing, card.num_unreadable) == (1, 1)
    kinds = {item.id: item.kind for item in card.failures}
    assert kinds == {"broken": "not_video", "gone": "not_found"}
    assert str(folder) not in str(card)
    assert card.list_sha256 == fingerprint(dataset)
    assert card.weights_sha256 == hash_weights(model)
    cost = measure_cost(model, (3, 4, 40, 40))
    assert (card.num_parameters, card.gmac) == (cost.num_parameters, cost.gmac)
    assert card.num_views == 30
    assert "30 views" in card.protocol_text
    assert card.protocol["crop"] == 40
    assert card.versions["torch"] == torch.__version__
    assert any("names no classes" in note for note in card.notes)


def test_a_card_survives_a_file(card: EvaluationCard, tmp_path: Path) -> None:
    path = write_card(card, tmp_path / "card.json")
    again = read_card(path)
    assert json.dumps(again.to_dict()) == json.dumps(card.to_dict())
    assert again.failures == card.failures
    assert again.class_names == NAMES


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 99},
        {"seconds": "long"},
        {"num_expected": None},
        {"protocol": {}},
        {"metrics": []},
        {"model": 3},
        {"extra": 1},
        {"failures": [{"id": "x"}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_card_is_refused(card: EvaluationCard, tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**card.to_dict(), **change}))
    with pytest.raises(VadisError, match=r"card\.json: is no card"):
        read_card(path)


def test_mean_over_splits_is_the_plain_mean(card: EvaluationCard) -> None:
    def with_top1(top1: float, num: int, split: str) -> EvaluationCard:
        metrics = {**card.metrics, "top1": top1, "num": num}
        return replace(card, split=split, num_expected=num, metrics=metrics)

    rows = ((0.5, 10, "test1"), (0.8, 90, "test2"), (0.2, 20, "test3"))
    mean = average_cards([with_top1(*row) for row in rows])
    assert mean.metrics["top1"] == pytest.approx(0.5)  # not pooled, which would be 0.675
    assert mean.metrics["deviations"]["top1"] == pytest.approx(np.std([0.5, 0.8, 0.2], ddof=1))
    assert mean.num_expected == 120
    assert mean.split == "test1,test2,test3"
    assert [item.split for item in card_from_dict(json.loads(json.dumps(mean.to_dict()))).splits] == [
        "test1",
        "test2",
        "test3",
    ]
    with pytest.raises(ValueError, match="averaged"):
        average_cards([card, replace(card, dataset="other")])


def renamed(model: Mean, names: tuple[str, ...]) -> Mean:
    model.class_names = names
    return model


def test_classes_are_matched_by_name(folder: Path) -> None:
    dataset = make_dataset(folder)
    assert match_classes(renamed(Mean(), NAMES), dataset).columns is None
    turned = match_classes(renamed(Mean(), NAMES[::-1]), dataset)
    assert turned.columns == (6, 5, 4, 3, 2, 1, 0)
    assert "another order" in turned.note
    with pytest.raises(ValueError, match=r"'Left'.*letter by letter"):
        match_classes(renamed(Mean(), ("Left", *NAMES[1:])), dataset)
    wide = renamed(Mean(9), ("more", *NAMES, "most"))
    with pytest.raises(ValueError, match=r"'more', 'most'.*--subset"):
        match_classes(wide, dataset)
    assert match_classes(wide, dataset, subset=True).columns == (1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(ValueError, match="9 classes without names"):
        match_classes(Mean(9), dataset)


def test_classes_in_another_order_give_the_same_number(folder: Path) -> None:
    model, dataset = renamed(Mean(), NAMES), make_dataset(folder)
    plain = evaluate(model, dataset, "1x1", device="cpu", workers=0)
    order = [3, 1, 6, 0, 2, 5, 4]
    other = Dataset(
        dataset.name,
        dataset.root,
        dataset.split,
        tuple(NAMES[label] for label in order),
        tuple(
            replace(example, labels=tuple(order.index(label) for label in example.labels))
            for example in dataset.examples
        ),
    )
    turned = evaluate(model, other, "1x1", device="cpu", workers=0)
    assert turned.metrics["top1"] == plain.metrics["top1"]
    values = {row["class_name"]: row["value"] for row in plain.metrics["per_class"]}
    assert {row["class_name"]: row["value"] for row in turned.metrics["per_class"]} == values


def test_protocols_can_be_given_ready_made(folder: Path) -> None:
    model, dataset = Mean(), make_dataset(folder)
    protocol = make_protocol("2x1", model, combine="logits")
    card = evaluate(model, dataset, protocol, device="cpu", workers=0)
    assert card.protocol["combine"] == "logits"
