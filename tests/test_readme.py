"""The documents are run: links lead somewhere, commands parse, snippets work on a real video."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import skip_or_fail
from typer.testing import CliRunner

from vadis.cli import app
from vadis.downloads import DownloadError
from vadis.video.write import VideoWriter

ROOT = Path(__file__).parents[1]
PAGES = {
    page.name: page.read_text()
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
}


def fences(page: str, language: str) -> list[str]:
    """The code blocks of a page that are marked with a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.M | re.S)


def shell_lines(page: str) -> list[list[str]]:
    """The `vadis` commands of a page's code blocks, split into words."""
    lines = "\n".join(fences(page, "(?:bash)?")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vadis ")]


SNIPPETS = [
    (page, index)
    for page in PAGES
    for index, code in enumerate(fences(page, "python"))
    if re.search(r"^(import|from) vadis", code, re.M)
]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    folder = ROOT if name in ("README.md", "CONTRIBUTING.md") else ROOT / "docs"
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", PAGES[name]) if "://" not in link]
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make (\w+)", PAGES[name], re.M)) <= targets


@pytest.mark.parametrize(
    ("page", "words"), [(page, words) for page in PAGES for words in shell_lines(page)], ids=str
)
def test_commands_parse(page: str, words: list[str]) -> None:
    command = typer.main.get_command(app)
    context = command.make_context("vadis", list(words))
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, list(words))
        context = command.make_context(name, list(words), parent=context)
    assert not context.args  # an unknown option or a missing argument has raised before


def test_the_tree_is_the_tree() -> None:
    tree = re.search(r"## The tree\n\n```\nvadis/\n(.*?)^tests/", PAGES["README.md"], re.M | re.S)
    assert tree is not None
    listed = re.findall(r"^  (\S+?)/? ", tree[1], re.M)
    here = {path.name for path in (ROOT / "vadis").glob("*.py") if not path.name.startswith("__")}
    here |= {path.parent.name for path in (ROOT / "vadis").glob("*/__init__.py")}
    assert sorted(listed) == sorted(here)


def test_the_training_lines_are_those_of_the_example() -> None:
    example = {line.strip() for line in (ROOT / "examples" / "finetune.py").read_text().splitlines()}
    (block,) = [code for code in fences("README.md", "python") if "import vadis" not in code]
    assert len(block.splitlines()) == 5
    assert [line for line in block.splitlines() if line.strip() not in example] == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the README has in mind: a.mp4, and another video below videos/."""
    rng = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "videos/b.mp4"):
        with VideoWriter(tmp_path / name, 25) as writer:
            for index in range(30):
                frame_HWC = rng.integers(100, 140, (120, 160, 3), dtype=np.uint8)
                frame_HWC[:, 4 * index : 4 * index + 20] = (40, 200, 240)
                writer.write(frame_HWC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHOWN = frozenset("prediction frames clip features_ND dense table outcome protocol result picture_SM".split())  # noqa: SIM905
"""Names of which each snippet leaves one: that it ran to its end."""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(("page", "index"), SNIPPETS)
def test_snippets_run(page: str, index: int, folder: Path, i3d_weights: Path) -> None:
    (folder / "snippet.py").write_text(fences(page, "python")[index])
    try:
        names = runpy.run_path("snippet.py")
    except DownloadError as error:
        skip_or_fail(str(error))
    assert SHOWN & set(names)


def test_the_snippet_of_modalities_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [code for code in fences("data.md", "python") if "make_inputs" in code]
    exec(compile(code, "data.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all(line.endswith("torch.Size([1, 5])") for line in said)


@pytest.mark.slow
@pytest.mark.network
def test_predict_commands_run(folder: Path, i3d_weights: Path) -> None:
    commands = [
        words for words in shell_lines("README.md") if words[0] == "predict" and "--model" not in words
    ]
    assert len(commands) == 6
    for words in commands:
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, (words, ran.output)
    made = {path.name for path in folder.iterdir()}
    assert made >= {"a.json", "a_labels.mp4", "a.png", "all.jsonl", "spans", "a.csv"}
