"""The import rule: a module imports only from a lower level, and nothing at all costs a slow import."""

import ast
import graphlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vadis

ROOT = Path(vadis.__file__).parent
LEVELS = [
    "records",
    "specs",
    "downloads progress sounds",
    "packages",
    "config video metrics models",
    "data recipes folding parity score_files",
    "openvino_engine linear alignment",
    "windows fetching engines fusion fisher formats feature_layers feature_store",
    "answers extractor",
    "prediction flow_cost features evaluation explain exporting scoring clip_pooling",
    "stream_prediction fisher_study",
    "training jobs flow_jobs trajectory_jobs inspection upkeep feature_jobs fusion_jobs",
    "transfer collect serve scale live doctor inventory cookbook tables ladder sound_jobs",
    "demo",
    "cli",
    "__main__",
]
LEVEL = {unit: height for height, units in enumerate(LEVELS) for unit in units.split()}
MODULES = {
    ".".join(["vadis", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def imported_modules(source: str) -> Iterator[str]:
    """Full names of what a file imports from vadis, at the top or inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "vadis")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            assert node.names[0].name != "*", f"line {node.lineno}: a star import"
            if (node.module or "").split(".")[0] == "vadis":
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield full if full in MODULES else str(node.module)


def broken_rules(name: str, imported: list[str]) -> list[str]:
    """What the rule forbids among the imports of one module."""
    unit = name.split(".")[1]
    if unit not in LEVEL:
        return [f"{name}: add {unit!r} to LEVELS"]
    others = [other.split(".")[1] if "." in other else "vadis itself" for other in imported]
    return [
        f"{name} imports {other}, which is not on a lower level"
        for other in others
        if other != unit and LEVEL.get(other, len(LEVELS)) >= LEVEL[unit]
    ]


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"vadis"}))
def test_imports_come_from_lower_levels(name: str) -> None:
    assert broken_rules(name, list(imported_modules(MODULES[name].read_text()))) == []


def test_no_cycles() -> None:
    graph = {
        name: set(imported_modules(path.read_text())) - {name}
        for name, path in MODULES.items()
        if name != "vadis"
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names the modules


def test_the_rule_catches() -> None:
    assert broken_rules("vadis.models.i3d", ["vadis.video.decode"]) != []
    assert broken_rules("vadis.video.draw", ["vadis.prediction"]) != []
    assert broken_rules("vadis.records", ["vadis"]) != []
    assert broken_rules("vadis.helpers", []) != []
    assert broken_rules("vadis.prediction", ["vadis.models.i3d", "vadis.video", "vadis.records"]) == []
    assert list(imported_modules("def f():\n    from vadis.models import i3d, MODELS")) != []
    with pytest.raises(AssertionError, match="relative"):
        list(imported_modules("from . import records"))


def test_importing_vadis_is_instant() -> None:
    heavy = {"torch", "torchvision", "numpy", "av", "openvino", "huggingface_hub", "typer"}
    code = "import sys, vadis; dir(vadis); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "vadis" in loaded
    assert heavy.isdisjoint(loaded)


def test_public_names() -> None:
    assert len(vadis.__all__) <= 20
    assert sorted(vadis.HOMES) == sorted(set(vadis.__all__) - {"__version__"})
    assert not set(vadis.__all__) & {module.name for module in pkgutil.iter_modules(vadis.__path__)}
    assert set(vadis.__all__) <= set(dir(vadis))
    with pytest.raises(AttributeError, match="pradict"):
        _ = vadis.pradict


@pytest.mark.parametrize("name", vadis.__all__)
def test_each_public_name_arrives(name: str) -> None:
    assert getattr(vadis, name) is not None
