"""The verbs that only look: probe a video, list and show models and weights.

Each `run_...` prints to standard output (tables, or one JSON document) and returns the exit code.
"""

from __future__ import annotations

import ast
import csv
import fnmatch
import itertools
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vadis.formats import use_utf8
from vadis.formats.table import spell_out
from vadis.records import VideoError, VideoInfo
from vadis.specs import ClipSpec


def print_json(document: Any) -> None:
    """One JSON document on standard output: strict (no NaN), UTF-8, indented for people."""
    use_utf8(sys.stdout)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8 holds lone surrogates
        text = json.dumps(document, indent=2, allow_nan=False)
    sys.stdout.write(text + "\n")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def run_probe(files: list[str], as_json: bool, count: bool) -> int:
    """`vadis probe`: exit code 1 where some files could not be read (they are listed on stderr)."""
    from vadis.video.find import find_videos
    from vadis.video.probe import probe

    names = list(find_videos(files, sys.stdin if "-" in files else ()))
    if not names:
        raise ValueError(f"no videos found in {', '.join(files)}")
    found: list[dict[str, Any]] = []
    num_failed = 0
    for name in names:
        try:
            info = probe(name, count_frames=count)
        except VideoError as error:
            num_failed += 1
            sys.stderr.write(f"error: {spell_out(str(error))}\n")
            found.append({"video": name, "error": {"kind": error.kind, "message": error.message}})
            continue
        if as_json:
            found.append({**asdict(info), "error": None})
        else:
            _print_info(info)
    if as_json:
        print_json(found)
    return 1 if num_failed else 0


def _print_info(info: VideoInfo) -> None:
    table = Table(
        title=Text(spell_out(info.video)), title_justify="left", show_header=False, box=None, pad_edge=False
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()

    def row(name: str, value: object) -> None:
        table.add_row(name, "unknown" if value is None else str(value))

    def rate(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.6g}"

    row("container", info.container)
    row("codec", f"{info.codec}, {info.pixel_format}, {info.bit_depth} bit")
    turned = f" (rotated by {info.rotation} degrees)" if info.rotation else ""
    aspect = "" if info.sample_aspect == 1 else f", sample aspect {info.sample_aspect:.4g}"
    row("size", f"{info.width} x {info.height}{turned}{aspect}{', interlaced' if info.interlaced else ''}")
    row("duration", None if info.duration_seconds is None else f"{info.duration_seconds:.3f} s")
    kind = {True: "variable", False: "constant", None: "unknown whether constant"}[info.variable_frame_rate]
    row("frame rate", f"{rate(info.frame_rate)} average, {rate(info.real_frame_rate)} real, {kind}")
    counted = "" if info.frames_counted is None else f", {info.frames_counted} counted"
    declared = "not declared" if info.frames_declared is None else f"{info.frames_declared} declared"
    row("frames", declared + counted)
    row("first frame", None if info.start_seconds is None else f"{info.start_seconds:.6f} s")
    sounds = [f"{sound.codec}, {sound.sample_rate} Hz, {sound.channels} channels" for sound in info.audio]
    row("sound", "; ".join(sounds) or "none")
    _console().print(table, markup=False)


def run_models_list(pattern: str, as_json: bool) -> int:
    """`vadis models [PATTERN]`: networks by paper, and how many published weights each has."""
    rows = _list_models()
    found = [row for row in rows if fnmatch.fnmatchcase(row["name"], pattern)]
    if not found:
        names = ", ".join(sorted(row["name"] for row in rows))
        raise ValueError(f"no model matches {pattern!r}; there are: {names}")
    if as_json:
        print_json(found)
        return 0
    console = _console()
    wide = max(len(row["name"]) for row in found)
    for (file, paper), members in itertools.groupby(found, lambda row: (row["file"], row["paper"])):
        console.print(Text.assemble((file, "bold"), "  ", textwrap.shorten(paper, 120, placeholder=" ...")))
        for row in members:
            size, cost, count = (
                f"{row['parameters'] / 1e6:.1f} M",
                f"{row['gmac']:.1f} G",
                len(row["weights"]),
            )
            weights = "" if not count else "1 file of weights" if count == 1 else f"{count} files of weights"
            line = f"  {row['name']:{wide}}  {size:>8}  {cost:>9}  {row['input']}"
            console.print(Text(f"{line}; {weights}" if weights else line))
    note = "M: million parameters; G: billion multiply-adds a clip. `vadis models show NAME` tells more."
    console.print(Text(note, "dim"))
    return 0


def _list_models() -> list[dict[str, Any]]:
    """The facts of every network in the order of `MODELS`, of one file together.

    They are read from the file that is kept of them, which takes no PyTorch and so no waiting; where the
    names in it are not those in `MODELS` (a network has just been added) the networks themselves are asked.
    """
    folder = Path(__file__).parent / "models"
    with (folder / "facts.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    if {row["name"] for row in rows} != _names_in_source(folder / "__init__.py"):
        from vadis.models.catalogue import list_facts

        rows = [asdict(facts) for facts in list_facts()]
    else:
        for row in rows:
            row |= {key: int(row[key]) for key in ("num_frames", "crop", "parameters")}
            row |= {"gmac": float(row["gmac"]), "weights": row["weights"].split()}
    files = list(dict.fromkeys(row["file"] for row in rows))
    return sorted(rows, key=lambda row: files.index(row["file"]))


def _names_in_source(path: Path) -> set[str]:
    """The keys of the literal `MODELS` in a Python file, read without running it."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "MODELS":
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            return {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return set()


def run_models_markdown() -> int:
    """`vadis models --markdown`: the page docs/models.md."""
    from vadis.models.catalogue import markdown

    use_utf8(sys.stdout)
    sys.stdout.write(markdown())
    return 0


def _build_on_meta(create_model: Any, name: str) -> Any:
    import torch

    with torch.device("meta"):
        return create_model(name)


def _say_input(spec: ClipSpec) -> str:
    """What one tensor is made of, in words and numbers."""
    words = spec.describe()
    if spec.modality == "features":
        return words
    values = f"mean {spec.mean}, std {spec.std}"
    if spec.sound is not None:
        sound = spec.sound
        return (
            f"{words}, every {1000 * sound.hop_seconds:g} ms of sound at {sound.sample_rate} Hz, "
            f"{sound.low:g} to {sound.high:g} Hz, {values}"
        )
    low, high = spec.value_range
    rate = f"{spec.fps or 'native'} fps"
    return f"{words}, at {rate}, short side {spec.size}, values {low:g} to {high:g}, {values}"


def run_models_show(name: str, as_json: bool) -> int:
    """`vadis models show NAME`: idea, paper, input, size, options, published results, weights."""
    from vadis.models import MODELS, create_model
    from vadis.models import catalogue as listed
    from vadis.models.cost import measure_cost

    network = name.split(".")[0]
    model = _build_on_meta(create_model, network)
    spec = model.spec
    shapes = {name: (1, *shape) for name, shape in spec.shapes.items()}
    cost = measure_cost(model, spec.shapes)
    published = listed.weights_of(network)
    if "." in name:
        published = [entry for entry in published if entry.name == name]
        if not published:
            raise ValueError(f"no published weights {name!r}; see `vadis weights list`")
    module = sys.modules[MODELS[network].__module__]
    summary = (module.__doc__ or "").strip()
    document = {
        "name": network,
        "spec": asdict(spec),
        "input_BCTHW": shapes.get("", shapes),
        "parameters": cost.num_parameters,
        "gmac": cost.gmac,
        "about": summary,
        "file": str(Path(module.__file__ or "").name),
        **listed.describe(network),
        "weights": [asdict(entry) for entry in published],
    }
    if as_json:
        print_json(document)
        return 0
    console = _console()

    def say(text: str = "", style: str = "") -> None:
        console.print(Text(text, style))

    say(f"{network}  ({document['file']})", "bold")
    about = " ".join((MODELS[network].__doc__ or "").split())
    if about:
        say(about)
    for paper in listed.papers_of(network):
        say()
        say(f"{listed.cite(paper)}{f', arXiv:{paper.arxiv}' if paper.arxiv else ''}", "italic")
        say(paper.idea)
    say()
    for part_name, part in (spec.parts or {"": spec}).items():
        called = f" {part_name!r}" if part_name else ""
        say(f"input{called} (B, C, T, H, W): {shapes[part_name]}; {_say_input(part)}")
    say(f"parameters: {cost.num_parameters:,}; multiply-adds: {cost.gmac:.2f} G for one clip")
    for size in listed.sizes_of(network):
        say(f"elsewhere printed: {size.printed}; ours: {size.ours}{listed.counted_for(size)}. {size.why}")
    say("\noptions of create_model, with their defaults:")
    for option in listed.options_of(network):
        default = f" = {option.default}" if option.default else ""
        say(f"  {option.name}: {option.type}{default}")
    results = listed.results_of(network)
    if results:
        say(
            "\npublished results, copied from the paper or from what the note names (top-1 / top-5, percent):"
        )
    for result in results:
        alone = "" if result.model == network else f" (with {result.model})"
        views = f", {result.views} views" if result.views else ""
        note = f"; {result.note}" if result.note else ""
        say(f"  {result.dataset}: {listed.score(result) or 'no accuracy'}{views}{note}{alone}")
    if published:
        say("\npublished weights:")
    for entry in published:
        claimed = entry.claimed or "no claim"
        restriction = f" ({entry.restriction})" if entry.restriction else ""
        say(f"  {entry.name}: {entry.trained_on}; {claimed}; {entry.licence}{restriction}; {entry.check}")
    say(f"\n{document['file']} says:\n", "bold")
    say(summary)
    return 0


def run_weights_list(pattern: str, as_json: bool) -> int:
    """`vadis weights list`: the table of published checkpoints."""
    from vadis.models.weights import is_pulled, list_weights

    rows = list_weights(pattern)
    if not rows:
        raise ValueError(f"no published weights match {pattern!r}; see `vadis weights list`")
    if as_json:
        print_json([{**asdict(row), "cached": is_pulled(row.name)} for row in rows])
        return 0
    console = _console()
    for row in rows:
        cached = "   (cached)" if is_pulled(row.name) else ""
        console.print(f"{row.name}{cached}", style="bold", markup=False, soft_wrap=True)
        claim = f"claimed: {row.claimed}" if row.claimed else "no claim"
        console.print(f"    trained on {row.trained_on}; {claim}", markup=False, soft_wrap=True)
        console.print(f"    {row.licence}", markup=False, soft_wrap=True, style="dim")
    return 0


def run_weights_pull(name: str, force: bool) -> int:
    """`vadis weights pull NAME`: prints the converted file on stdout, the rest on stderr."""
    from vadis.fetching import pull_in_view

    sys.stdout.write(f"{pull_in_view(name, force=force)}\n")
    return 0


def run_weights_import(
    file: Path,
    model: str,
    layout: str,
    out: Path | None,
    name: str | None,
    classes: str | None,
    options: list[str],
    as_json: bool = False,
) -> int:
    """`vadis weights import FILE --model NAME`: prints the file written; what was found goes to stderr."""
    from vadis.models.weights import import_checkpoint, read_provenance

    path = import_checkpoint(
        file, model, layout=layout, out=out, name=name, classes=classes, options=_read_options(options)
    )
    found = read_provenance(path) or {}
    if as_json:
        print_json({"file": str(path), **found})
        return 0
    sys.stderr.write(f"{spell_out(_tell_import(file.name, found))}\n")
    sys.stdout.write(f"{path}\n")
    return 0


def _read_options(words: list[str]) -> dict[str, Any]:
    """`pixels=2018`, `pool=[1,2,2]`: JSON where it is JSON, except that words for names stay words."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"--option takes KEY=VALUE, got {word!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def _tell_import(file: str, found: dict[str, Any]) -> str:
    """What a converted checkpoint turned out to be, in a few sentences."""
    names = found.get("class_names")
    classes = f"{found.get('num_classes')} classes"
    if names:
        classes += f" ({names[0]}, {names[1]} ...)" if len(names) > 1 else f" ({names[0]})"
    else:
        classes += " without names (--classes SET gives them)"
    told = [f"{file}: layout {found.get('layout')}, {classes}; it is {found.get('name')} now"]
    if found.get("options"):
        told.append("it implies " + ", ".join(f"{key}={value!r}" for key, value in found["options"].items()))
    for key, what in (
        ("left_out", "keys left out as no part of the network"),
        ("beside", "passed over beside the parameters"),
    ):
        items = found.get(key) or []
        if items:
            more = f" and {len(items) - 8} more" if len(items) > 8 else ""
            told.append(f"{what} ({len(items)}): {', '.join(items[:8])}{more}")
    return "; ".join(told)


def run_weights_inflate(
    image: str, model: str, out: Path, rule: str, num_classes: int | None, in_channels: int, as_json: bool
) -> int:
    """`vadis weights inflate IMAGE --model NAME --out FILE`: prints the file; the report goes to stderr."""
    from vadis.models.inflate import inflate_file

    report = inflate_file(image, model, out, rule, num_classes=num_classes, in_channels=in_channels)
    if as_json:
        print_json({"file": str(out), **asdict(report)})
        return 0
    told = [f"{model} from {image}: {report.summary()}"]
    for name in ("resized", "left", "unused"):
        keys = getattr(report, name)
        if keys:
            more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
            told.append(f"  {name}: {', '.join(keys[:8])}{more}")
    sys.stderr.write("\n".join(spell_out(line) for line in told) + "\n")
    sys.stdout.write(f"{out}\n")
    return 0


def run_weights_join(parts: list[str], model: str, out: Path, name: str | None) -> int:
    """`vadis weights join rgb=FILE flow=FILE --model NAME --out FILE`: prints the file."""
    from vadis.models.joining import join_streams

    named = {}
    for part in parts:
        modality, equals, source = part.partition("=")
        if not (modality and equals and source) or modality in named:
            raise ValueError(
                f"{part!r} is no MODALITY=FILE, or names a modality twice (such as rgb=rgb.safetensors)"
            )
        named[modality] = source
    sys.stdout.write(f"{join_streams(model, named, out, name=name)}\n")
    return 0


def run_weights_verify(name: str | None, as_json: bool) -> int:
    """`vadis weights verify [NAME]`: exit code 1 where a cached file is not what it was."""
    from vadis.models.weights import verify

    rows = verify(name)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        table = Table(Column("weights", no_wrap=True), "status", "detail")
        for row in rows:
            table.add_row(row.name, row.status, row.detail)
        _console().print(table)
    return 1 if any(row.status == "broken" for row in rows) else 0
