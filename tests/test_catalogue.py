"""The catalogue: its facts are those of the networks, and its page is the one that is kept in docs."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vadis import inspection
from vadis import models as models_package
from vadis.models import MODELS, catalogue, create_model
from vadis.models.contract import Paper, PrintedSize, Result
from vadis.models.cost import measure_cost
from vadis.specs import adjust

MODELS_FILE = str(models_package.__file__)
DOCS = Path(__file__).parent.parent / "docs"
SIZES = [
    size
    for file in catalogue.groups(MODELS).values()
    for paper in catalogue.papers_of(file[0])
    for size in paper.sizes
]
AGAIN = "run `python -m vadis.models.catalogue`, then `vadis models --markdown > docs/models.md`"


def test_the_facts_are_of_every_network() -> None:
    facts = catalogue.read_facts()
    assert list(facts) == list(MODELS), AGAIN
    for name, row in facts.items():
        assert row.file == f"{catalogue.file_of(name)}.py", AGAIN
        assert row.weights == tuple(each.name for each in catalogue.weights_of(name)), AGAIN
        assert row.paper in {"", *(catalogue.cite(each, brief=True) for each in catalogue.papers_of(name))}, (
            AGAIN
        )


@pytest.mark.slow
@pytest.mark.parametrize("file", catalogue.groups(MODELS))
def test_the_facts_are_what_the_networks_are(file: str) -> None:
    known = catalogue.read_facts()
    for name in catalogue.groups(MODELS)[file]:
        assert known[name] == catalogue.measure_facts(name), AGAIN


def test_the_page_is_the_one_in_docs() -> None:
    assert (DOCS / "models.md").read_text("utf-8") == catalogue.markdown(), AGAIN


def test_the_page_names_every_network_file_paper_and_result() -> None:
    page = catalogue.markdown()
    for name in MODELS:
        assert f"\n| `{name}` |" in page
        assert f"../vadis/models/{catalogue.file_of(name)}.py" in page
        for paper in catalogue.papers_of(name):
            assert paper.title in page
            assert paper.idea in page
            assert f"https://arxiv.org/abs/{paper.arxiv}" in page or not paper.arxiv
        for row in catalogue.weights_of(name):
            assert f"`{row.name}`" in page
    assert "None is ours" in page
    for line in page.splitlines():
        if line.startswith("| `i3d_inception` | rgb"):
            assert "rgb, 64 frames, 224 x 224 | 12.70 M | 111.2 G |" in line
            assert line.endswith("| 71.1 / 89.3 (Kinetics-400 test; from ImageNet) |")
            break
    else:
        pytest.fail("no line of I3D")


def test_a_size_printed_elsewhere_stands_beside_ours_with_the_reason() -> None:
    page = catalogue.markdown()
    for size in SIZES:
        assert f"| {size.printed} | {size.ours}{catalogue.counted_for(size)} | {size.why} |" in page
        assert set(size.model.split()) <= set(MODELS)
    line = next(line for line in page.splitlines() if line.startswith("| `s3dg` | 11.56 M"))
    assert "| 9.54 M, 71.92 G (64 frames) |" in line
    assert "ECO_En" in next(line for line in page.splitlines() if line.startswith("| `eco_lite` | rgb"))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.model)
def test_our_size_is_what_is_counted(size: PrintedSize) -> None:
    options: dict[str, Any] = {} if size.num_classes is None else {"num_classes": size.num_classes}
    for name in size.model.split():
        if size.num_frames is not None and name == "r2d_18":  # its first kernel is as long as the clip
            options["num_frames"] = size.num_frames
        with torch.device("meta"):
            model = create_model(name, **options)
        given = {"num_frames": size.num_frames, "size": size.pixels, "crop": size.pixels}
        spec = adjust(model.spec, **{key: value for key, value in given.items() if value is not None})
        cost = measure_cost(model, spec.shapes)
        counted = {"M": cost.num_parameters / 1e6, "G": cost.gmac}
        for part in size.ours.split(", "):
            number, unit = part.split()
            assert float(number) == pytest.approx(counted[unit], rel=2e-3)


def test_links_of_the_page_lead_somewhere() -> None:
    for name in MODELS:
        assert (DOCS / f"../vadis/models/{catalogue.file_of(name)}.py").is_file()


def test_views_stand_beside_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Paper(
        "A title",
        "A, B and C",
        "CVPR 2000",
        "",
        "An idea.",
        (
            Result("i3d_inception", "Kinetics-400 val", 70.0, None, "10x3", "with | in it"),
            Result("i3d_inception i3d_inception_flow", "UCF-101", None, None, "", "no number"),
        ),
    )
    monkeypatch.setattr(catalogue, "papers_of", lambda name: (paper,))
    page = catalogue.markdown()
    assert "| 111.2 G x 30 |" in page
    assert "| `i3d_inception` | Kinetics-400 val | 70.0 | 10x3 | with \\| in it |" in page
    assert "| `i3d_inception`, `i3d_inception_flow` | UCF-101 |  |  | no number |" in page


@pytest.mark.parametrize(
    ("views", "count"), [("10x3", 30), ("1", 1), ("1x3", 3), ("", None), ("whole video", None)]
)
def test_views_are_counted(views: str, count: int | None) -> None:
    assert catalogue.num_views(Result("x", "y", 1.0, views=views)) == count


@pytest.mark.parametrize(
    ("top1", "top5", "printed"),
    [(88.0, None, "88.0"), (71.46, 89.7, "71.46 / 89.7"), (None, None, ""), (None, 90.0, "90.0")],
)
def test_numbers_are_printed_as_published(top1: float | None, top5: float | None, printed: str) -> None:
    assert catalogue.score(Result("x", "y", top1, top5)) == printed


def test_a_paper_is_cited_in_one_line() -> None:
    paper = Paper("Title", "Ann A, Ben B, Cyd C and Dan D", "CVPR 2000", "", "")
    assert catalogue.cite(paper) == "Title (Ann A, Ben B, Cyd C and Dan D, CVPR 2000)"
    assert catalogue.cite(paper, brief=True) == "Title (Ann A et al., CVPR 2000)"
    two = dataclasses.replace(paper, authors="A, B and C")
    assert catalogue.cite(two, brief=True) == "Title (A, B and C, CVPR 2000)"


def test_options_are_those_of_the_function() -> None:
    options = {option.name: option for option in catalogue.options_of("i3d_inception")}
    assert "num_classes" not in options
    assert "tiny" not in options
    assert (options["in_channels"].default, options["in_channels"].type) == ("3", "int")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("two_stream_temporal_vggm", {"stack": "10", "dropout": "0.5", "without": "('norm2',)"}),
        ("fused_vgg16", {"at": "('relu5_3', 'fc8')", "pooling": "'3d'", "start": "(0.25, 0.75)"}),
        ("fused_vggm_relu5_max", {"at": "('relu5',)", "method": "'max'"}),
        ("snippets_lstm", {"trunk": "'inception'", "dropout": "0.5", "combine": "'weighted'"}),
    ],
)
def test_options_that_are_passed_on_to_a_class(name: str, expected: dict[str, str]) -> None:
    options = [option.name for option in catalogue.options_of(name)]
    assert len(options) == len(set(options))
    found = {option.name: option.default for option in catalogue.options_of(name)}
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", MODELS)
def test_every_option_that_is_shown_is_taken(name: str) -> None:
    for option in catalogue.options_of(name):
        assert option.default != "<class 'inspect._empty'>"
        if option.default:
            with torch.device("meta"):
                create_model(name, tiny=True, **{option.name: ast.literal_eval(option.default)})


def test_a_list_names_every_network_and_waits_for_nothing() -> None:
    """Building all of them takes a minute, and importing PyTorch some seconds: a list may do neither."""
    script = (
        "import sys\nfrom vadis.inspection import run_models_list\n"
        "assert run_models_list('*', as_json=False) == 0\n"
        "assert 'torch' not in sys.modules, 'PyTorch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + AGAIN
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        name for names in catalogue.groups(MODELS).values() for name in names
    ]
    assert max(map(len, lines)) < 180
    assert "i3d.py  Quo Vadis, Action Recognition?" in lines[0]
    first = " ".join(lines[1].split())
    assert first == "i3d_inception 12.7 M 111.2 G rgb, 64 frames, 224 x 224; 5 files of weights"


def test_a_network_that_was_just_added_is_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspection, "_names_in_source", lambda path: {"something_new"})
    asked = {"i3d_inception": catalogue.read_facts()["i3d_inception"]}
    monkeypatch.setattr(catalogue, "list_facts", lambda: list(asked.values()))
    assert inspection.run_models_list("*", as_json=True) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["i3d_inception"]


def test_names_are_read_from_the_source() -> None:
    assert inspection._names_in_source(Path(MODELS_FILE)) == set(MODELS)


def test_a_network_that_the_file_lacks_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = catalogue.read_facts()
    monkeypatch.setattr(catalogue, "FACTS_FILE", tmp_path / "facts.csv")
    catalogue.write_facts([known["i3d_inception"]])
    assert catalogue.read_facts() == {"i3d_inception": known["i3d_inception"]}
    assert catalogue.list_facts(["i3d_inception", "i3d_inception_flow"]) == [
        known["i3d_inception"],
        known["i3d_inception_flow"],
    ]


def test_one_network_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert inspection.run_models_show("i3d_inception", as_json=False) == 0
    shown = capsys.readouterr().out
    model = create_model("i3d_inception", tiny=True)
    assert model.spec.num_frames  # the network itself is there
    for part in (
        "Quo Vadis, Action Recognition?",
        "arXiv:1705.07750",
        "Give an image network",
        "in_channels: int = 3",
        "parameters: 12,697,264",
        "copied from the paper",
        "Kinetics-400 test: 71.1 / 89.3",
        "i3d_inception.k400: Kinetics-400 from scratch",
        "pinned by hash",
    ):
        assert part in shown
