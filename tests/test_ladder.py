"""The ladder: what is counted, what is drawn, and that a stopped climb goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vadis import ladder
from vadis.data.benchmark import make, read
from vadis.data.shapes import REVERSED_PAIRS
from vadis.ladder import (
    LADDER,
    Budget,
    build_options,
    order_accuracy,
    run_ladder,
    summarise,
    to_markdown,
)
from vadis.models import MODELS, create_model
from vadis.records import DataError, Dataset

SMALL = Budget(clips_per_class=3, size=32, num_frames=8, epochs=1.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("shapes")
    make("shapes", folder, clips_per_class=3, size=32, num_frames=8, workers=1)
    return read(folder, "test")


def test_every_rung_is_a_network_that_says_truly_whether_it_is_blind() -> None:
    import torch

    assert set(LADDER) <= set(MODELS)
    torch.manual_seed(0)
    clip = torch.rand(2, 3, 16, 32, 32, dtype=torch.float64)  # so that what is not zero is not rounding
    for network, rung in LADDER.items():
        model = (
            create_model(network, num_classes=5, **build_options(network, Budget(size=32))).double().eval()
        )
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train()  # untrained, its running means would let one branch drown another
        for parameter in model.parameters():
            if not parameter.any():  # branches and embeddings that start at 0 say nothing yet
                torch.nn.init.normal_(parameter, std=0.3)
        with torch.no_grad():
            answers = [model(each) for each in (clip, clip.flip(2))]
        change = float((answers[1] - answers[0]).abs().max() / answers[0].std())
        assert (change < 1e-10) == rung.blind, (network, change)


def test_order_is_asked_within_a_pair(dataset: Dataset) -> None:
    labels = np.array([example.labels[0] for example in dataset.examples])
    scores = np.zeros((len(labels), dataset.num_classes))
    assert order_accuracy(scores, dataset) == 0.5
    scores[np.arange(len(labels)), labels] = 0.1
    scores[:, 0] = 1.0  # the best class is another one, which does not matter here
    assert order_accuracy(scores, dataset) == 1.0
    first, second = (dataset.class_names.index(name) for name in REVERSED_PAIRS[0])
    scores[labels == first, second] = 0.2
    assert order_accuracy(scores, dataset) == pytest.approx(5 / 6)


def result(network: str, seed: int, order: float) -> dict[str, Any]:
    groups = {"appearance": 0.9, "motion": 0.5, "reversed": 0.4, "camera": 0.3}
    sizes = {"num_test": 2500, "num_parameters": 1000, "gmac": 0.01}
    return {"network": network, "seed": seed, "groups": groups, "order": order, "top1": 0.6, **sizes}


def test_the_table_has_means_over_seeds_in_the_order_of_the_ladder() -> None:
    rows = summarise([result("r3d_18", 0, 0.8), result("fr2d_18", 0, 0.5), result("r3d_18", 1, 0.9)])
    assert [(row.network, row.num_seeds, row.blind) for row in rows] == [
        ("fr2d_18", 1, True),
        ("r3d_18", 2, False),
    ]
    assert rows[1].order == pytest.approx(0.85)
    assert rows[0].order_low < 0.5 < rows[0].order_high
    assert "| r3d_18 | 3D ResNet | 1 k | 10.0 M | 90% | 50% | 30% | 85% (83% to 87%) |" in to_markdown(rows)


@pytest.mark.slow
def test_a_ladder_is_climbed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = ("fr2d_18", "timesformer_space")
    rows = run_ladder("shapes", tmp_path, networks=networks, budget=SMALL, workers=0)
    assert [row.network for row in rows] == ["fr2d_18", "timesformer_space"]
    assert all(row.order == 0.5 for row in rows), "a network that is blind to order knows nothing of it"
    for name in ("ladder.md", "ladder.csv", "ladder.png"):
        assert (tmp_path / name).stat().st_size > 200
    kept = json.loads((tmp_path / "runs" / "fr2d_18.0" / "result.json").read_text())
    assert kept["num_test"] == 25
    monkeypatch.setattr(ladder, "train", lambda *_, **__: pytest.fail("trained again"))
    assert run_ladder("shapes", tmp_path, networks=networks, budget=SMALL, workers=0) == rows
    with pytest.raises(DataError, match="another budget"):
        run_ladder("shapes", tmp_path, networks=networks, budget=Budget(3, 32, 8, epochs=2), workers=0)


def test_wrong_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not on the ladder: r3d_19"):
        run_ladder("shapes", tmp_path, networks=("r3d_19",))
    with pytest.raises(ValueError, match="climbed on shapes"):
        run_ladder("mocap15", tmp_path)
