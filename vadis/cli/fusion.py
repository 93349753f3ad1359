"""`vadis fuse`: what several streams say, as one answer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import JsonOption, QuietOption
from vadis.cli.running import asked_to_stop, finish


class ByName(StrEnum):
    """How streams are put together."""

    average = "average"
    weighted = "weighted"
    svm = "svm"
    search = "search"
    tcp = "tcp"


class OfName(StrEnum):
    """What is averaged."""

    scores = "scores"
    logits = "logits"


LEARN_PANEL = "Learning (search, svm, tcp)"


def fuse(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="One file of each stream: scores (`vadis evaluate --save-scores`), or features for tcp.",
        ),
    ],
    by: Annotated[ByName, typer.Option(help="How they are put together.")] = ByName.average,
    weights: Annotated[
        str | None, typer.Option(metavar="1,1.5", help="Of --by weighted, a number for each file.")
    ] = None,
    of: Annotated[OfName, typer.Option(help="What is averaged: scores after softmax, or logits.")] = (
        OfName.scores
    ),
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="FILE,...",
            help="What it learns from: the same streams of a held-out split, in the same order.",
            rich_help_panel=LEARN_PANEL,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Instead: cross-validation within FILE, no test split.", rich_help_panel=LEARN_PANEL
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Keep what was learnt (.npz; .safetensors for tcp) for --use.", rich_help_panel=LEARN_PANEL
        ),
    ] = None,
    use: Annotated[
        Path | None, typer.Option(help="Apply a fusion that was kept.", rich_help_panel=LEARN_PANEL)
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of tcp, at most.", rich_help_panel=LEARN_PANEL)] = 60,
    width: Annotated[
        int, typer.Option(min=1, help="Channels of tcp's convolutions.", rich_help_panel=LEARN_PANEL)
    ] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of tcp, and of the bootstrap.")] = 0,
    names: Annotated[str | None, typer.Option(metavar="rgb,flow", help="What to call the streams.")] = None,
    combinations: Annotated[
        bool, typer.Option("--combinations", help="Also every pair, every three ... of the streams.")
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Keep videos that a stream lacks: the others answer; counted, and exit code 1.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The fused scores (.npz), a file of scores again.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="The table with all that it is made of (.json).")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Streams together: averaged, weighted, by a support vector machine, or by convolutions along clips.

    Videos are matched by name. What is learnt is learnt from --fit, never from the files that are judged: a
    part that shares a video with them, or a split called test, is refused.
    """
    from vadis.clip_pooling import Training
    from vadis.fusion_jobs import FuseJob, run_fuse

    def work() -> int:
        job = FuseJob(
            files=tuple(files),
            by=by.value,
            weights=None if weights is None else _read_weights(weights),
            of=of.value,
            fit=tuple(Path(word) for word in _split(fit)),
            folds=folds,
            use=use,
            save=save,
            names=tuple(_split(names)),
            combinations=combinations,
            allow_missing=allow_missing,
            out=out,
            card=card,
            training=Training(epochs=epochs, width=width, seed=seed),
            seed=seed,
            as_json=as_json,
            quiet=quiet,
            asked_to_stop=asked_to_stop,
        )
        return run_fuse(job)

    finish(work)


def _split(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _read_weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _split(text))
    except ValueError:
        raise ValueError(
            f"--weights are numbers with commas between them, such as 1,1.5, not {text!r}"
        ) from None
