"""`vadis doctor`, `demo`: what works on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import JsonOption
from vadis.cli.running import finish


def doctor(as_json: JsonOption = False) -> None:
    """Versions, devices, decoders, cache, weights, disk; what is wrong, and how to mend it."""
    from vadis.doctor import run_doctor

    finish(run_doctor, as_json)


def demo(
    video: Annotated[str | None, typer.Argument(help="Your clip; without it a figure is rendered.")] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the results.")] = "demo",
) -> None:
    """Prove the published weights, then show on one clip what vadis does."""
    from vadis.demo import run_demo

    finish(run_demo, video, Path(out))
