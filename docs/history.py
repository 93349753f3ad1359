"""Make what docs/history.md does not say in its own words: the pictures and the published tables.

    python docs/history.py

draws images/history/*.png and fills the page between its marks: `<!-- picture NAME -->`,
`<!-- table NAME -->` and `<!-- folded NAME -->`, each up to `<!-- end -->`. A test compares the page with
what this gives.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin

from vadis.explain import draw_layers, layer_sizes
from vadis.models import create_model
from vadis.tables import PublishedTable, read_table
from vadis.tables.grid import to_markdown

PAGE = Path(__file__).with_name("history.md")
PICTURES = Path(__file__).with_name("images") / "history"
MARKED = re.compile(r"(<!-- (picture|table|folded) (\S+) -->\n)(.*?)(<!-- end -->)", re.S)
COLOURS = 48
WIDE = 10
"""So many columns are too wide for a page."""


def read_page() -> str:
    """The page as it stands."""
    return PAGE.read_text(encoding="utf-8")


def fill(page: str, kinds: tuple[str, ...] = ("picture", "table", "folded")) -> str:
    """The page with what lies between its marks made anew, of these kinds."""

    def one(found: re.Match[str]) -> str:
        start, kind, name, _, end = found.groups()
        if kind not in kinds:
            return found[0]
        return (
            f"{start}{picture_line(name) if kind == 'picture' else table_text(name, kind == 'folded')}{end}"
        )

    return MARKED.sub(one, page)


def table_text(name: str, folded: bool) -> str:
    """A published table under its title; `folded` shows the title only until it is clicked."""
    table = _turned(read_table(name))
    heading, rest = to_markdown(table).split("\n", 1)
    title = heading.removeprefix(f"### {name}: ")
    if folded:
        return f"<details><summary>{title} (<code>{name}</code>)</summary>\n{rest}\n</details>\n"
    return f"**{title}** (`{name}`)\n{rest}"


def _turned(table: PublishedTable) -> PublishedTable:
    """The table with rows for columns, where it would be too wide for a page."""
    if len(table.columns) < WIDE:
        return table
    order = [cell for name in table.columns for cell in table.cells if cell.column == name]
    return replace(table, cells=tuple(replace(cell, row=cell.column, column=cell.row) for cell in order))


def picture_line(name: str) -> str:
    """The picture of a network, and its sizes in words for those who do not see it."""
    return f"![{sizes_in_words(name)}](images/history/{name}.png)\n"


def sizes_in_words(name: str) -> str:
    """Channels of frames x height x width by layer, row by row."""
    with torch.device("meta"):
        blocks = layer_sizes(create_model(name))
    rows: dict[int, list[str]] = {}
    for block in blocks:
        rows.setdefault(block.row, []).append(str(block))
    return f"{name}, channels by layer: {'; '.join(', '.join(row) for row in rows.values())}"


def draw(name: str) -> Path:
    """Draw a network; the file carries its sizes in words, too."""
    with torch.device("meta"):
        model = create_model(name)
    picture = Image.fromarray(draw_layers(layer_sizes(model), model, note=""))
    said = PngImagePlugin.PngInfo()
    said.add_text("Description", sizes_in_words(name))
    path = PICTURES / f"{name}.png"
    few = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, format="PNG", optimize=True, pnginfo=said)
    return path


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    text = read_page()
    names = [name for _, kind, name, _, _ in MARKED.findall(text) if kind == "picture"]
    for network in names:
        sys.stderr.write(f"{draw(network)}\n")
    PAGE.write_text(fill(text), encoding="utf-8")
