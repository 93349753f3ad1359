"""The docstring rules of the house, kept by a machine, because review tires.

1. Every public module, class, function, method and property of vadis has a docstring.
2. Where a parameter or the result is a tensor or an array, its shape is there: in the parameter's name
   (`clip_BCTHW`), or in words of the docstring (a name with a shape suffix, "(K, 4)", "scalar" ...). One
   array in whose name says its axes, one array out, and no word on it: the axes are the same.
3. Where a parameter is a float, its unit is there: in its name (`start_seconds`, `fps`) or in words.
4. Each `forward*` of a network names its shapes: each tensor that goes in by a suffix, what comes out by
   "Returns ... logits_BK".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vadis

ROOT = Path(vadis.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

KEYED = re.compile(r"(dict|Mapping)\[str, [\w.]+\]")  # of any shapes: a state_dict
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike)\b")
SUFFIX = re.compile(r"[a-z0-9]_[A-Z][A-Z0-9]*$")
SHAPE = re.compile(
    r"\b[a-z]\w*_[A-Z][A-Z0-9]*\b"  # logits_BK
    r"|\([A-Z0-9](, ?[^(),]+)*,?\)"  # (K, 4)
    r"|\b[A-Z](,[A-Z])+\b|\b\d+ ?x ?\w|\bH ?x ?W|\bshapes?\b|\bscalars?\b|\baxes\b|\baxis\b"
    r"|\bevery tensor\b|\bstate_dict\b"
)
UNIT = re.compile(
    r"second|\bfps\b|\bHz\b|\brates?\b|\bpixel|\bdegree|\bradian|\bmet(er|re)s?\b|\bbytes?\b|\bMB\b|\bGB\b"
    r"|\bframes?\b|\bratio|\bshare\b|\bfraction|\bprobabilit|\bscores?\b|\bsoftmax\b|\btimes\b|\bfactor"
    r"|\bpercent|%|\[ ?-?\d[\d.]*, ?-?\d[\d.]* ?[\])]|\bdB\b|\blogits?\b|\bthreshold",
    re.I,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_public(name: str) -> bool:
    """Whether a name is part of the interface; special methods explain themselves."""
    return not name.startswith("_")


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """The functions, methods and properties that another may call, with their qualified names."""
    for node in tree.body:
        if isinstance(node, Function) and is_public(node.name):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            for item in node.body:
                if isinstance(item, Function) and is_public(item.name):
                    yield f"{node.name}.{item.name}", item


def parameters(function: Function) -> list[tuple[str, str]]:
    """Name and annotation of each parameter but self and cls."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [
        (argument.arg, ast.unparse(argument.annotation) if argument.annotation else "")
        for argument in every
        if argument.arg not in ("self", "cls")
    ]


def is_overload(function: Function) -> bool:
    """Whether a definition only states types, or sets a property whose getter is documented."""
    return any(re.search(r"\boverload$|\.setter$", ast.unparse(item)) for item in function.decorator_list)


def faults(source: str, in_models: bool) -> list[str]:
    """What the rules forbid in one file."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) or not tree.body else ["the module has no docstring"]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and is_public(node.name) and not ast.get_docstring(node):
            found.append(f"{node.lineno}: class {node.name} has no docstring")
    for name, function in public_functions(tree):
        where, words = f"{function.lineno}: {name}", ast.get_docstring(function) or ""
        if is_overload(function):
            continue
        if not words:
            found.append(f"{where} has no docstring")
            continue
        given = parameters(function)
        arrays = [arg for arg, kind in given if ARRAY.search(KEYED.sub("", kind))]
        result = KEYED.sub("", ast.unparse(function.returns)) if function.returns else ""
        named = all(SUFFIX.search(arg) for arg in arrays)
        alike = named and len(arrays) == 1 and len(ARRAY.findall(result)) == 1
        if not SHAPE.search(words) and not alike and (not named or ARRAY.search(result)):
            found.append(f"{where} takes or gives arrays of unstated shape")
        for arg, kind in given:
            if (
                re.search(r"\bfloat\b", kind)
                and not UNIT.search(arg.replace("_", " "))
                and not UNIT.search(words)
            ):
                found.append(f"{where}: {arg} is a float of unstated unit")
        if in_models and function.name.startswith("forward"):
            found += [
                f"{where}: {arg} says no shape"
                for arg, kind in given
                if ARRAY.search(kind) and not SUFFIX.search(arg)
            ]
            if not re.search(r"Returns[^.]*?\b[a-z]\w*_[A-Z][A-Z0-9]*\b", words, re.S):
                found.append(f"{where} does not say what shape it returns")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings(path: Path) -> None:
    assert faults(path.read_text("utf-8"), path.parent.name == "models") == []


def test_every_network_has_a_forward_under_the_rule() -> None:
    names = [
        name
        for path in (ROOT / "models").glob("*.py")
        for name, _ in public_functions(ast.parse(path.read_text("utf-8")))
    ]
    assert "InceptionI3d.forward" in names
    assert "InceptionI3d.forward_features" in names


GOOD = '''
"""A module."""

class Network:
    """A network."""

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score clips. Returns logits_BK."""

def crop(frames_TCHW: Tensor) -> Tensor:
    """Crop."""

def cut(start_seconds: float, boxes: np.ndarray, limit: float) -> None:
    """Cut. boxes: (N, 4). limit: pixels."""

def _inner(x, y: float):
    pass
'''


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('"""A module."""\n', "", "the module has no docstring"),
        ('"""A network."""', "pass", "class Network has no docstring"),
        ('"""Score clips. Returns logits_BK."""', "pass", "Network.forward has no docstring"),
        ("Returns logits_BK", "Returns logits", "does not say what shape it returns"),
        ("clip_BCTHW: Tensor", "clip: Tensor", "clip says no shape"),
        ("boxes: (N, 4). ", "", "arrays of unstated shape"),
        ("frames_TCHW: Tensor", "frames: Tensor", "crop takes or gives arrays of unstated shape"),
        ("crop(frames_TCHW: Tensor)", "crop(frames_TCHW: Tensor, mask_HW: Tensor)", "crop takes or gives"),
        (" limit: pixels.", "", "limit is a float of unstated unit"),
    ],
)
def test_the_rules_catch(before: str, after: str, wanted: str) -> None:
    assert faults(GOOD, in_models=True) == []
    assert GOOD.count(before) == 1
    broken = faults(GOOD.replace(before, after), in_models=True)
    assert any(wanted in fault for fault in broken), broken
