"""What there is to choose from: every network with its size, paper and weights, as records and as a page.

`docs/models.md` is made here, of `MODELS`, of each file's `PAPERS` and of the table of weights
(`vadis models --markdown`). Sizes come from `facts.csv` beside this file, because building a hundred
networks takes far longer than reading a list may; `python -m vadis.models.catalogue` measures them anew,
and a test compares. A network that the file lacks is measured on the spot. The plain list (`vadis models`)
reads that file alone, so that it need not wait for PyTorch.
"""

from __future__ import annotations

import csv
import dataclasses
import inspect
import math
import re
import sys
import types
import unittest.mock
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vadis.models import MODELS
from vadis.models.contract import Paper, PrintedSize, Result
from vadis.models.cost import measure_cost
from vadis.models.published import WEIGHTS, PublishedWeights

FACTS_FILE = Path(__file__).with_name("facts.csv")


@dataclass(frozen=True)
class Facts:
    """What a network takes and costs: its default build, for one clip; and where it comes from, in short.

    `input` says in words what goes in; `crop` is in pixels, `gmac` in 10^9 multiply-adds. `paper` is the
    first that its `file` names; `weights` are names of published ones.
    """

    name: str
    file: str
    paper: str
    input: str
    modality: str
    num_frames: int
    crop: int
    parameters: int
    gmac: float
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """An argument of a network's function: its name, its type and its default as written in Python.

    The default is empty where only the network's own file tells it.
    """

    name: str
    type: str
    default: str


def measure_facts(name: str) -> Facts:
    """Build a network on the meta device and count it."""
    with torch.device("meta"):
        model = MODELS[name]()
    spec = model.spec
    cost = measure_cost(model, spec.shapes)
    papers = papers_of(name)
    return Facts(
        name=name,
        file=f"{file_of(name)}.py",
        paper=cite(papers[0], brief=True) if papers else "",
        input=spec.describe(),
        modality=spec.modality,
        num_frames=spec.num_frames,
        crop=spec.crop,
        parameters=cost.num_parameters,
        gmac=round(cost.gmac, 3),
        weights=tuple(row.name for row in weights_of(name)),
    )


def read_facts() -> dict[str, Facts]:
    """The facts of `facts.csv`, by name."""
    with FACTS_FILE.open(encoding="utf-8", newline="") as file:
        rows = [_parse(row) for row in csv.DictReader(file)]
    return {row.name: row for row in rows}


def _parse(row: dict[str, str]) -> Facts:
    values: dict[str, Any] = {**row, "gmac": float(row["gmac"]), "weights": tuple(row["weights"].split())}
    return Facts(**{**values, **{key: int(row[key]) for key in ("num_frames", "crop", "parameters")}})


def write_facts(facts: Iterable[Facts]) -> None:
    """Write `facts.csv`."""
    with FACTS_FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Facts))
        for row in facts:
            writer.writerow({**dataclasses.asdict(row), "weights": " ".join(row.weights)}.values())


def list_facts(names: Iterable[str] | None = None) -> list[Facts]:
    """The facts of all networks, or of those named; what the file lacks is measured."""
    known = read_facts()
    return [known.get(name) or measure_facts(name) for name in (MODELS if names is None else names)]


def file_of(name: str) -> str:
    """The file that a network is in, without its ending ("slowfast")."""
    return MODELS[name].__module__.rpartition(".")[2]


def papers_of(name: str) -> tuple[Paper, ...]:
    """The papers that a network's file names."""
    return tuple(getattr(sys.modules[MODELS[name].__module__], "PAPERS", ()))


def results_of(name: str) -> list[Result]:
    """What publications say that a network reaches, in the order of its file; none of it is ours."""
    return [result for paper in papers_of(name) for result in paper.results if name in result.model.split()]


def sizes_of(name: str) -> list[PrintedSize]:
    """Sizes that publications print of a network, where our count is another."""
    return [size for paper in papers_of(name) for size in paper.sizes if name in size.model.split()]


def weights_of(name: str) -> list[PublishedWeights]:
    """The published weights of a network."""
    return [row for row in WEIGHTS.values() if row.model == name]


def options_of(name: str) -> list[Option]:
    """The options that a network's function takes, beside the number of classes.

    A function may take `**options` and pass them on: then they are those of the function or of the class that
    it calls, with the defaults that this network has, or the keys of their TypedDict.
    """
    maker = MODELS[name]
    found: list[Option] = []
    for each in inspect.signature(maker).parameters.values():
        if each.kind is each.VAR_KEYWORD:
            passed = _options_by_type(maker, str(each.annotation)) or _options_passed_on(maker)
            passed = passed or _options_of_class(name)
            shown = {option.name for option in found}
            found += [option for option in passed if option.name not in shown]
        elif each.name not in ("num_classes", "tiny"):
            found.append(Option(each.name, str(each.annotation), repr(each.default)))
    return found


def _options_by_type(maker: Callable[..., Any], annotation: str) -> list[Option]:
    """The keys of `**options: Unpack[SomeTypedDict]`; defaults are those of the class that is returned."""
    named = re.fullmatch(r"Unpack\[(\w+)\]", annotation)
    if named is None:
        return []
    keys = maker.__globals__[named[1]].__annotations__
    made = maker.__globals__[str(inspect.signature(maker).return_annotation)]
    defaults = inspect.signature(made).parameters
    return [
        Option(key, _type_name(kind), repr(defaults[key].default) if _has_default(defaults, key) else "")
        for key, kind in keys.items()
    ]


def _options_passed_on(maker: Callable[..., Any]) -> list[Option]:
    """What a function with `**options` passes on to its file's `_build...`; a recorder stands in for that."""
    inner = next((key for key in maker.__code__.co_names if key.startswith("_build")), None)
    if inner is None:
        return []
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def run(**options: Any) -> None:
        twin = types.FunctionType(
            maker.__code__,
            {**maker.__globals__, inner: lambda *given, **named: calls.append((given, named))},
            argdefs=maker.__defaults__,
        )
        twin.__kwdefaults__ = maker.__kwdefaults__
        twin(**options)

    run()
    signature = inspect.signature(maker.__globals__[inner])
    bound = signature.bind(*calls[0][0], **calls[0][1])
    bound.apply_defaults()
    found = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY:
            try:
                run(**{each.name: None})
            except TypeError:  # this network sets it itself
                continue
            found.append(Option(each.name, str(each.annotation), repr(bound.arguments[each.name])))
    return found


def _options_of_class(name: str) -> list[Option]:
    """What a function with `**options` passes on to the class of its network, by what the class is given."""
    maker = MODELS[name]
    made = maker.__globals__[str(inspect.signature(maker).return_annotation)]
    original = made.__init__
    signature = inspect.signature(original)
    calls: list[dict[str, Any]] = []

    def listen(self: Any, *given: Any, **named: Any) -> None:
        bound = signature.bind(self, *given, **named)
        bound.apply_defaults()
        calls.append(bound.arguments)
        original(self, *given, **named)

    def takes(option: str, value: Any) -> bool:
        try:
            with torch.device("meta"):
                maker(tiny=True, **{option: value})
        except TypeError:  # this network sets it itself
            return False
        return True

    with unittest.mock.patch.object(made, "__init__", listen), torch.device("meta"):
        maker(tiny=True)
    return [
        Option(each.name, str(each.annotation), repr(calls[0][each.name]))
        for each in signature.parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.name not in ("num_classes", "tiny")
        if takes(each.name, calls[0][each.name])
    ]


def _has_default(parameters: Mapping[str, inspect.Parameter], key: str) -> bool:
    return key in parameters and parameters[key].default is not inspect.Parameter.empty


def _type_name(kind: Any) -> str:
    """An annotation as it is written, also where Python has made an object of it."""
    return str(getattr(kind, "__forward_arg__", kind))


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the file they are in; files and names in the order of `MODELS`."""
    wanted = set(names)
    found: dict[str, list[str]] = {}
    for name in MODELS:
        if name in wanted:
            found.setdefault(file_of(name), []).append(name)
    return found


def cite(paper: Paper, brief: bool = False) -> str:
    """A paper in one line: title, authors (`brief`: three at most), venue."""
    authors = re.split(r",? and |, ", paper.authors)
    named = f"{authors[0]} et al." if brief and len(authors) > 3 else paper.authors
    return f"{paper.title} ({', '.join(part for part in (named, paper.venue) if part)})"


def score(result: Result) -> str:
    """A published number as "75.6 / 92.1", or what there is of it."""
    return " / ".join(_percent(value) for value in (result.top1, result.top5) if value is not None)


def _percent(value: float) -> str:
    """As it was printed: one digit after the point, two where there are two."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def num_views(result: Result) -> int | None:
    """Clips times crops at test ("10x3" is 30); None where the source does not say."""
    if not re.fullmatch(r"\d+(x\d+)*", result.views):
        return None
    return math.prod(int(part) for part in result.views.split("x"))


def markdown() -> str:
    """The page `docs/models.md`."""
    facts = {row.name: row for row in list_facts()}
    lines = [*INTRODUCTION.format(count=len(facts), files=len(groups(facts))).splitlines()]
    for names in groups(facts).values():
        lines += ["", *_section([facts[name] for name in names])]
    return "\n".join(lines) + "\n"


INTRODUCTION = """# Models

This page is made by `vadis models --markdown > docs/models.md`; a test compares the two. There are {count}
networks in {files} files. `vadis models show NAME` tells more of one: its options, its file's own words, its
weights.

- Parameters and multiply-adds are counted by us, on the default build with its default number of classes:
  trained values, and 10^9 multiply-adds (what papers call FLOPs) of convolutions, linear layers and attention
  for one clip of the input named. `x 30` is the number of views (clips times crops) of a published test.
  Where a paper prints another size, a table below names both, and the reason.
- Every published number is copied from the paper, or from the code or zoo that its note names. None is ours:
  we have not trained or tested on Kinetics. Networks that share a row share a number, or reach it together.
- Weights are names for `vadis.create_model` and `vadis predict --model`; `vadis weights list` has their
  licences. Files of your own come in by `vadis weights import` ([weights.md](weights.md)).
- Each of our files begins with the paper's table, and says where it differs and why."""


def _section(facts: list[Facts]) -> Iterator[str]:
    """One file's part of the page."""
    file = file_of(facts[0].name)
    papers = papers_of(facts[0].name)
    yield f"## {papers[0].title if papers else file}"
    for paper in papers:
        arxiv = f", [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else ""
        title = f"{paper.title.rstrip('.')}: " if len(papers) > 1 else ""
        yield from ("", f"*{title}{paper.authors}, {paper.venue}{arxiv}.* {paper.idea}")
    yield from (
        "",
        f"Our file, and where it differs: [vadis/models/{file}.py](../vadis/models/{file}.py)",
        "",
    )
    yield "| network | input | parameters | multiply-adds | weights | published: top-1 / top-5, percent |"
    yield "|---|---|---:|---:|---|---|"
    for row in facts:
        weights = "<br>".join(f"`{each.name}`" for each in weights_of(row.name))
        results = [each for each in results_of(row.name) if score(each)]
        best = f"{score(results[0])} ({_with_note(results[0])})" if results else ""
        views = next((count for each in results if (count := num_views(each))), None)
        cost = f"{_short(row.gmac)} G{f' x {views}' if views else ''}"
        parameters = f"{_short(row.parameters / 1e6)} M"
        yield f"| `{row.name}` | {row.input} | {parameters} | {cost} | {weights} | {_cell(best)} |"
    sizes = [size for paper in papers for size in paper.sizes]
    if sizes:
        yield from ("", "Sizes that are printed elsewhere, and ours:", "")
        yield "| network | printed | ours | why |"
        yield "|---|---:|---:|---|"
        for size in sizes:
            names = ", ".join(f"`{name}`" for name in size.model.split())
            yield f"| {names} | {size.printed} | {size.ours}{counted_for(size)} | {_cell(size.why)} |"
    listed = [result for paper in papers for result in paper.results]
    if not listed:
        return
    yield from ("", "All published results that the file records:", "")
    yield "| network | data | top-1 / top-5 | views | note |"
    yield "|---|---|---|---|---|"
    for result in listed:
        cells = (result.dataset, score(result), result.views, result.note)
        names = ", ".join(f"`{name}`" for name in result.model.split())
        yield f"| {names} | {' | '.join(map(_cell, cells))} |"


def _with_note(result: Result) -> str:
    """The dataset, and what else belongs to a number that stands alone: another form, an ensemble."""
    return f"{result.dataset}; {result.note}" if result.note else result.dataset


def counted_for(size: PrintedSize) -> str:
    """The clip and classes of our count, where they are not the default's."""
    kinds = (("frames", size.num_frames), ("pixels", size.pixels), ("classes", size.num_classes))
    parts = [f"{number} {kind}" for kind, number in kinds if number is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _short(value: float) -> str:
    """A number with about four digits: 12.70, 111.2, 2380."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def describe(name: str) -> dict[str, Any]:
    """All of the above of one network, for programs (`vadis models show NAME --json`)."""
    return {
        "papers": [
            {
                key: value
                for key, value in dataclasses.asdict(paper).items()
                if key not in ("results", "sizes")
            }
            for paper in papers_of(name)
        ],
        "published_results": [dataclasses.asdict(result) for result in results_of(name)],
        "published_sizes": [dataclasses.asdict(size) for size in sizes_of(name)],
        "options": [dataclasses.asdict(option) for option in options_of(name)],
    }


if __name__ == "__main__":
    write_facts(map(measure_facts, MODELS))
    sys.stderr.write(f"{FACTS_FILE} is written; now `vadis models --markdown > docs/models.md`\n")
