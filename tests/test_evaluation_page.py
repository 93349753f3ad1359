"""The page of a card: all of it inside, nothing of strangers' names obeyed, readable with many classes."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluation import Mean, make_scored

from vadis.evaluation import make_card, make_protocol
from vadis.evaluation.calibration import calibrate
from vadis.evaluation.cards import average_cards
from vadis.evaluation.charts import classes_to_show, draw_confusion, most_confused
from vadis.evaluation.page import make_thumbnails, render_page, write_page
from vadis.records import Dataset, EvaluationCard, Example, Missed

HOSTILE = "<script>alert('x')</script>\" onload=\"y()&\u202e\x1b[2J"


class Reader(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []  # everything that was opened is closed, in order
    return reader


def make_card_of(names: tuple[str, ...], num: int = 20, seed: int = 0) -> tuple[EvaluationCard, Dataset]:
    """A card of drawn scores, some of them wrong."""
    rng = np.random.default_rng(seed)
    label_N = np.repeat(np.arange(len(names)), num)
    logits = rng.normal(size=(len(label_N), len(names)))
    logits[np.arange(len(label_N)), label_N] += 3.0
    logits[label_N == 0, 1] += 4.0
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores[2] = np.nan
    examples = tuple(Example(f"{HOSTILE}/{n}.mp4", f"{n}{HOSTILE}", (int(k),)) for n, k in enumerate(label_N))
    dataset = Dataset("made", "/no/where", HOSTILE, names, examples, class_groups={HOSTILE: (0, 1)})
    model = Mean(len(names))
    scored = make_scored(scores, dataset)
    scored = replace(scored, protocol=make_protocol("10x3", model))
    card = make_card(model, dataset, scored, calibration=calibrate(scores, scored.labels).to_dict())
    missed = (Missed(f"2{HOSTILE}", f"{HOSTILE}.mp4", "corrupt", HOSTILE),)
    return replace(card, failures=missed, num_unreadable=1, notes=(HOSTILE,), model=HOSTILE), dataset


def test_hostile_names_are_shown_and_not_obeyed() -> None:
    card, _ = make_card_of((HOSTILE, "b", "$x_{1}$", "d", "e", "f", "g"))
    text = render_page(card)
    page = read_page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href") is None
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "<script>alert('x')</script>" in page.text  # as text
    assert "url(" not in text.lower()
    assert "default-src 'none'" in text


def test_all_that_the_card_says_is_on_the_page() -> None:
    card, _ = make_card_of(tuple("abcdefg"))
    text = read_page(render_page(card)).text
    for said in (
        card.list_sha256,
        card.weights_sha256,
        card.protocol_text,
        f"{100 * card.metrics['top1']:.1f} %",
        f"{card.gmac:,.2f} G x 30 views",
        "140 examples of 140 files expected",
        "1 of 140 examples could not be scored and count as wrong",
        "Temperature",
    ):
        assert said in text
    true, seen, count, share = most_confused(card.metrics["confusion"])[0]
    assert (true, seen) == (0, 1)
    assert share == count / 20


def test_400_classes_stay_readable() -> None:
    names = tuple(f"class {number}" for number in range(400))
    card, _ = make_card_of(names, num=4)
    text = render_page(card)
    page = read_page(text)
    assert len(text) < 600_000
    shown = classes_to_show(card.metrics["confusion"], 400)
    assert 2 <= len(shown) <= 32
    assert {0, 1} <= set(shown)
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    assert image.shape == (800, 800, 4)
    assert image[0, 2, 3] > image[100:, :50, 3].mean()  # class 0 is taken for class 1
    assert "the other" in page.text


def test_the_matrix_has_a_cell_for_each_confusion() -> None:
    confusion = [[0, 0, 3], [0, 1, 1], [1, 1, 2], [2, None, 2]]
    page = read_page(draw_confusion(confusion, ("a", "b", "c")))
    cells = [attributes for tag, attributes in page.elements if attributes.get("class") in ("right", "wrong")]
    assert [cell["class"] for cell in cells] == ["right", "wrong", "right", "wrong"]
    assert [cell["fill-opacity"] for cell in cells] == ["0.75", "0.25", "1.00", "1.00"]
    assert "a: 1 of 4 seen as b" in page.text
    assert "c: 2 of 2 not scored" in page.text


def test_pictures_of_the_worst_clips(tmp_path: Path) -> None:
    from numbered import write_numbered

    card, dataset = make_card_of(tuple("abcdefg"))
    worst = card.metrics["worst"][0]
    examples = list(dataset.examples)
    write_numbered(tmp_path / "w.mp4", 12)
    examples[worst["index"]] = replace(examples[worst["index"]], video="w.mp4")
    pictures = make_thumbnails(card, replace(dataset, root=str(tmp_path), examples=tuple(examples)))
    assert list(pictures) == [worst["index"]]  # the others are not there, and no picture is made up
    image = Image.open(io.BytesIO(base64.b64decode(pictures[worst["index"]].partition(",")[2])))
    assert image.format == "JPEG"
    assert image.size == (3 * 126, 84)
    path = write_page(card, tmp_path / "card.html")
    assert path.read_text("utf-8") == render_page(card)


def test_the_page_of_a_mean_shows_its_splits() -> None:
    cards = [replace(make_card_of(tuple("abcdefg"), seed=seed)[0], split=f"test{seed}") for seed in (1, 2)]
    page = read_page(render_page(average_cards(cards)))
    assert "test1" in page.text
    assert "over 2 splits" in page.text
    assert [tag for tag, _ in page.elements].count("details") == 2


@pytest.mark.parametrize("metrics", [{"num": 0}, {"num": 0, "per_class": [], "groups": {}, "worst": []}])
def test_a_card_without_labels_has_a_page(metrics: dict[str, object]) -> None:
    card, _ = make_card_of(tuple("abcdefg"))
    page = read_page(render_page(replace(card, metrics=metrics, calibration=None)))
    assert "No example has a label" in page.text
