"""Fetch published weights in view of the user: what, under which licence, how far it is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from vadis.models.weights import WEIGHTS, find_weights, is_pulled, pull
from vadis.progress import open_bar


def pull_in_view(name: str, *, force: bool = False, quiet: bool = False) -> Path:
    """`pull` with its licence and a progress bar on standard error; returns the converted file."""
    entry = find_weights(name)
    console = Console(stderr=True, highlight=False, quiet=quiet)
    restriction = f" ({entry.restriction})" if entry.restriction else ""
    console.print(
        f"{name}: {entry.trained_on}; licence: {entry.licence}{restriction}; from {entry.source}; "
        f"{entry.check}",
        markup=False,
        soft_wrap=True,
    )
    with open_bar(console, name, in_bytes=True) as bar:
        return pull(name, force=force, progress=bar.update)


def fetch_if_missing(model: str, *, quiet: bool = False) -> None:
    """Pull the weights that a model's name asks for, in view, unless they are there (or it is a file)."""
    if model in WEIGHTS and not is_pulled(model):
        pull_in_view(model, quiet=quiet)
