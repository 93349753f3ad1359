"""The command line: one verb is one thin function, which imports its work inside.

So `vadis --help` answers at once: nothing here imports PyTorch, FFmpeg or numpy until a verb needs it.
Exit codes: 0 all done, 1 some inputs failed (they are listed), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from vadis.cli import (
    datasets,
    figures,
    flow,
    fusion,
    machine,
    networks,
    sound,
    training,
    trajectories,
    videos,
)
from vadis.cli.running import asked_to_stop, remember_interrupt

app = typer.Typer(
    name="vadis",
    help="Video in, actions out: what happens in a video, and when.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
GROUPS = {
    "weights": networks.weights_app,
    "data": datasets.data_app,
    "recipes": training.recipes_app,
    "score": figures.score_app,
}
VERBS = (
    videos.predict,
    videos.extract,
    training.transfer,
    videos.probe,
    sound.audio,
    flow.flow,
    networks.models,
    networks.explain,
    figures.tables,
    figures.reproduce,
    machine.doctor,
    machine.demo,
    figures.evaluate,
    training.ladder,
    figures.compare,
    fusion.fuse,
    training.train,
    trajectories.trajectories,
)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)
for _verb in VERBS:
    app.command()(_verb)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"vadis {version('vadis')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Video in, actions out: what happens in a video, and when."""


def main() -> None:
    """Entry point of the `vadis` command and of `python -m vadis`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is to be ignored
        signal.signal(signal.SIGINT, remember_interrupt)
    try:
        app()
    except Exception:
        if not asked_to_stop():
            raise
        typer.echo("stopped", err=True)  # an import that was broken off fails in odd ways
        sys.exit(130)


if __name__ == "__main__":
    main()
