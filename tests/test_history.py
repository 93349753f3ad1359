"""The page of the ladder says what the data say: its tables, its pictures, the numbers in its words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from vadis.tables import list_tables
from vadis.tables.grid import show_value

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def history() -> ModuleType:
    spec = importlib.util.spec_from_file_location("history", DOCS / "history.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marks(history: ModuleType, *kinds: str) -> list[str]:
    return [name for _, kind, name, _, _ in history.MARKED.findall(history.read_page()) if kind in kinds]


def test_tables_are_the_data(history: ModuleType) -> None:
    page = history.read_page()
    assert history.fill(page, ("table", "folded")) == page, "run python docs/history.py"


def test_every_table_stands_once(history: ModuleType) -> None:
    assert sorted(marks(history, "table", "folded")) == sorted(table.table for table in list_tables())


def test_marks_are_closed(history: ModuleType) -> None:
    page = history.read_page()
    assert len(re.findall(r"<!-- (?:picture|table|folded) ", page)) == page.count("<!-- end -->")


@pytest.mark.slow
def test_pictures_are_of_these_networks(history: ModuleType) -> None:
    page = history.read_page()
    assert history.fill(page, ("picture",)) == page, "run python docs/history.py"
    for name in marks(history, "picture"):
        said = history.sizes_in_words(name)
        with Image.open(history.PICTURES / f"{name}.png") as picture:
            assert picture.info["Description"] == said, "run python docs/history.py"


def test_pictures_are_small_and_all_used(history: ModuleType) -> None:
    files = {path.stem: path for path in history.PICTURES.glob("*.png")}
    assert sorted(files) == sorted(marks(history, "picture"))
    for name, path in files.items():
        assert path.stat().st_size < 60_000, name
        with Image.open(path) as picture:
            assert 700 <= picture.width <= 1250, name


def test_a_picture_is_drawn(history: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PICTURES", tmp_path)
    with Image.open(history.draw("r3d_18")) as picture:
        assert picture.info["Description"].startswith("r3d_18, channels by layer: clip 3 of 16x112x112")
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_numbers_in_the_words_are_printed_ones(history: ModuleType) -> None:
    words = history.MARKED.sub("", history.read_page())
    printed = {
        show_value(cell.value, cell.unit, cell.metric) for table in list_tables() for cell in table.cells
    }
    assert set(re.findall(r"\d+\.\d+", words)) <= printed
