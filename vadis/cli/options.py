"""Options and arguments that several verbs take, spelled and explained in one way."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(StrEnum):
    """Arithmetic of a model."""

    float32 = "float32"
    bf16 = "bf16"


class MissingName(StrEnum):
    """What becomes of a video without a modality that the model takes."""

    error = "error"
    zero = "zero"


MissingOption = Annotated[
    MissingName,
    typer.Option(help="A video without sound or flow that the model takes: it fails, or zeros go in."),
]


def _known_method(value: str | None) -> str | None:
    """Refuse a word that names no method of flow, as wrong usage."""
    if value is not None:
        from vadis.data.reading import Reading

        try:
            Reading(flow=value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return value


FlowOption = Annotated[
    str | None,
    typer.Option(
        "--flow",
        metavar="METHOD",
        callback=_known_method,
        help="Estimate flow that is not stored, on the way: dis, farneback, tvl1 ... (docs/flow.md).",
    ),
]
MODEL_HELP = "Published weights (`vadis weights list`) or a .safetensors file of your own."
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DATA_HELP = "A dataset in its official layout, class folders, a list, or shards (docs/datasets.md)."
DataArgument = Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP)]
ClassesOption = Annotated[
    str,
    typer.Option(
        "--classes", metavar="A,B*", help="Only these classes: names, patterns, or a .txt file of them."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="How to read it, where two ways are possible.")
]
SplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which split, where there are several.")
]
