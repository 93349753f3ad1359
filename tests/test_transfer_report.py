"""The tables of a study: means, deviations, intervals, the change as the I3D paper prints it, pictures."""

from pathlib import Path
from typing import Any

import pytest

from vadis.transfer.report import (
    draw_curves,
    find_change,
    make_sheet,
    relative_change,
    summarise,
    to_csv,
    to_html,
    to_markdown,
    write_report,
)

PRINTED = [
    # architecture, (original, fixed, full, printed change) on UCF-101 and on HMDB-51
    ("LSTM", (81.0, 81.6, 82.1, -6.0), (36.0, 46.6, 46.4, -16.7)),
    ("3D-ConvNet", (49.2, 76.0, 79.9, -60.5), (24.3, 47.5, 49.4, -33.1)),
    ("Two-Stream", (91.2, 90.3, 91.5, -3.4), (58.3, 64.0, 58.7, -13.7)),
    ("3D-Fused", (89.3, 88.5, 90.1, -7.5), (56.8, 59.0, 61.4, -10.6)),
    ("Two-Stream I3D", (93.4, 95.7, 96.5, -47.0), (66.4, 74.3, 75.9, -28.3)),
]
"""Quo Vadis (first version), the table on transfer from miniKinetics: its column of changes, ten cells."""


@pytest.mark.parametrize(
    ("original", "fixed", "full", "printed"), [cell for row in PRINTED for cell in row[1:]]
)
def test_the_change_is_the_one_that_is_printed(
    original: float, fixed: float, full: float, printed: float
) -> None:
    assert relative_change(original, fixed, full) == pytest.approx(printed, abs=0.25)


def test_the_ends_of_the_change() -> None:
    assert relative_change(100, 100) == 0
    assert relative_change(100, 99) == float("inf")
    assert relative_change(50, 100) == -100


def row(mode: str, top1: float, **run: Any) -> dict[str, Any]:
    """A line of runs.jsonl."""
    given = {"model": "net.k400", "mode": mode, "split": 1, "examples": "all", "seed": 0}
    return {
        "run": {**given, "pretrain": "", "control": "", **run},
        "architecture": run.pop("architecture", "net"),
        "stream": run.pop("stream", "rgb"),
        "metrics": {"top1": top1, "mean_ap": None},
        "num_test": 200,
    }


def test_means_over_splits_and_seeds() -> None:
    rows = [row("full", 0.8, split=1, seed=seed) for seed in (0, 1)]
    rows += [row("full", 0.9, split=2), row("full", 0.94, split=2, seed=1)]
    (cell,) = summarise(rows).values()
    assert cell.mean == pytest.approx(86.0)
    assert cell.deviation == pytest.approx(7.118, abs=1e-3)  # of 80, 80, 90, 94
    assert (cell.splits, cell.seeds, cell.num_test) == (2, 2, 400)
    assert cell.interval == pytest.approx((82.26, 89.05), abs=0.02)  # 344 of 400
    assert str(cell) == "86.0 ± 7.1"
    (lone,) = summarise(rows[:1]).values()
    assert (lone.deviation, str(lone)) == (None, "80.0")
    assert summarise(rows, "mean_ap") == {}


def paper() -> list[dict[str, Any]]:
    """Two architectures of the paper, in two streams, as rows."""
    found = []
    for name, ucf, _ in PRINTED[:2]:
        for mode, value in zip(("imagenet", "fixed", "full"), ucf, strict=False):
            item = row(mode, value / 100)
            item["architecture"] = name
            found.append(item)
            both = row(mode, value / 100 + 0.01)
            both["architecture"], both["stream"] = name, "rgb+flow"
            found.append(both)
    return found


def test_the_table_has_the_shape_of_the_papers() -> None:
    cells = summarise(paper())
    sheet = make_sheet(cells)
    assert sheet.headings == (
        "network",
        "examples a class",
        "imagenet RGB",
        "imagenet RGB + Flow",
        "fixed RGB",
        "fixed RGB + Flow",
        "full RGB",
        "full RGB + Flow",
        "change RGB",
        "change RGB + Flow",
    )
    assert sheet.rows[1][:3] == ("3D-ConvNet", "all", "49.2")
    assert sheet.rows[1][-2] == "-60.4 %"
    assert find_change(cells, "LSTM", "rgb", "all") == pytest.approx(-5.79, abs=0.01)
    assert find_change(cells, "LSTM", "flow", "all") is None
    text = to_markdown(sheet)
    assert text.splitlines()[1].count("---") == len(sheet.headings)
    assert len(to_csv(cells).splitlines()) == len(cells) + 1


def test_sources_and_controls_are_rows() -> None:
    rows = [row("original", 0.5), row("full", 0.6, pretrain="10%"), row("full", 0.75, pretrain="100%")]
    rows.append(row("full", 0.1, pretrain="100%", control="labels"))
    sheet = make_sheet(summarise(rows))
    assert sheet.headings == (
        "network", "examples a class", "pre-trained on", "control", "original", "full", "change",
    )  # fmt: skip
    assert sheet.rows[0] == ("net", "all", "", "", "50.0", "", "")
    assert sheet.rows[2] == ("net", "all", "100%", "", "", "75.0", "-50.0 %")
    assert sheet.rows[3] == ("net", "all", "100%", "labels", "", "10.0", "")


def test_curves_and_the_page(tmp_path: Path) -> None:
    rows = [row(mode, 0.1 * n, examples=str(n)) for mode in ("fixed", "full") for n in (1, 2, 5)]
    cells = summarise(rows)
    sizes = {"1": 1.0, "2": 2.0, "5": 5.0}
    png = draw_curves(cells, sizes, "examples")
    assert png is not None
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert draw_curves(cells, {"1": 1.0}, "examples") is None
    assert draw_curves(cells, {}, "pretrain") is None
    files = write_report(
        tmp_path,
        "A <study>",
        rows,
        metric="top1",
        example_sizes=sizes,
        source_sizes={},
        notes=["split 1 & 2"],
    )
    assert [file.name for file in files] == ["table.md", "table.csv", "report.html", "examples.png"]
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;study&gt;" in page
    assert "split 1 &amp; 2" in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page  # nothing is loaded from elsewhere
    assert "<img" not in to_html("none", make_sheet(cells), [], [])
