"""Cards side by side: the table, the warnings, the picture."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_evaluation_page import HOSTILE, make_card_of, read_page
from typer.testing import CliRunner

from vadis.cli import app
from vadis.evaluation import write_card
from vadis.evaluation.comparison import (
    draw_comparison,
    find_differences,
    make_rows,
    render_comparison,
    to_csv,
)
from vadis.records import EvaluationCard


@pytest.fixture(scope="module")
def cards() -> list[tuple[str, EvaluationCard]]:
    """Two that compare but for what one lacks, and one of another list."""
    one, _ = make_card_of(tuple("abcdefg"))
    other, _ = make_card_of(tuple("abcdefgh"))
    whole = replace(one, num_unreadable=0, failures=(), model="first", notes=())
    return [("one", whole), ("two", one), ("three", other)]


def test_differences_are_said(cards: list[tuple[str, EvaluationCard]]) -> None:
    assert find_differences(make_rows(cards[:1])) == []
    assert find_differences(make_rows([cards[0], ("again", cards[0][1])])) == []
    (lost,) = find_differences(make_rows(cards[:2]))
    assert "two: 1 of 140 examples" in lost
    said = find_differences(make_rows(cards))
    assert any("different lists of files: one, two | three" in line for line in said)
    protocol = replace(cards[0][1], protocol_text="another")
    assert any(
        "different protocols" in line for line in find_differences(make_rows([cards[0], ("p", protocol)]))
    )


def test_rows_and_csv(cards: list[tuple[str, EvaluationCard]]) -> None:
    rows = make_rows(cards)
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    card = cards[1][1]
    assert float(table[1]["value"]) == card.metrics["top1"]
    assert float(table[1]["gmac_per_video"]) == 30 * card.gmac
    assert table[1]["num_unreadable"] == "1"
    assert table[1]["list_sha256"] == card.list_sha256
    low, high = card.metrics["intervals"]["top1"]
    assert (float(table[1]["low"]), float(table[1]["high"])) == (low, high)
    assert make_rows(cards, "mean_class")[0].value == cards[0][1].metrics["mean_class"]
    with pytest.raises(ValueError, match="has no mean_ap; it has top1"):
        make_rows(cards, "mean_ap")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_picture(cards: list[tuple[str, EvaluationCard]], tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = draw_comparison(make_rows(cards), tmp_path / f"c.{suffix}")
    head = path.read_bytes()[:8]
    if suffix == "png":
        assert Image.open(path).size == (960, 600)
    else:
        assert head.startswith(b"%PDF" if suffix == "pdf" else b"<?xml")


def test_another_kind_of_picture_is_refused(cards: list[tuple[str, EvaluationCard]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
        draw_comparison(make_rows(cards), tmp_path / "c.gif")


def test_the_page_is_safe(cards: list[tuple[str, EvaluationCard]]) -> None:
    page = read_page(render_comparison(make_rows([(HOSTILE, cards[1][1]), cards[2]])))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "different lists" in page.text


def test_compare_from_the_command_line(cards: list[tuple[str, EvaluationCard]], tmp_path: Path) -> None:
    paths = [str(write_card(card, tmp_path / f"{name}.json")) for name, card in cards]
    ran = CliRunner().invoke(
        app, ["compare", *paths, "--html", str(tmp_path / "c.html"), "--csv", str(tmp_path / "c.csv")]
    )
    assert ran.exit_code == 0, ran.output
    assert "three" in ran.stdout
    assert "warning: two: 1 of 140" in ran.stderr
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 4
    (tmp_path / "x.json").write_text(json.dumps({"model": "x"}))
    ran = CliRunner().invoke(app, ["compare", str(tmp_path / "x.json")])
    assert ran.exit_code == 1
    assert "x.json: is no card" in ran.stderr
