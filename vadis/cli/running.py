"""How a verb runs and ends: exit codes, errors as one clear line, Ctrl-C."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import NoReturn

import typer


def finish(work: Callable[..., int], *arguments: object) -> NoReturn:
    """Run a verb's work and end with its exit code; expected errors are one clear line on stderr."""
    import logging

    from vadis.records import VadisError

    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is spelled out
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work(*arguments)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # the reader of our output went away (`vadis ... | head`): not an error, but stop quietly
        sys.stderr.close()
        raise typer.Exit(0) from None
    except ValueError as error:
        _show(error)
        raise typer.Exit(2) from None
    except (OSError, RuntimeError, VadisError) as error:
        _show(error)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def _show(error: Exception) -> None:
    """One clear line, or several, on standard error; no file's name in it moves the cursor."""
    from vadis.formats.table import spell_out

    said = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.filename2 is None:
        said = f"{error.filename}: {error.strerror}"  # without the number that Python puts in front
    text = "\n".join(spell_out(line) for line in said.split("\n"))
    typer.echo(f"error: {text}", err=True)


class _Interrupt:
    """Remembers Ctrl-C. Imports of other packages may swallow the exception, but not the wish to stop."""

    came = False


def asked_to_stop() -> bool:
    """Whether Ctrl-C came."""
    return _Interrupt.came


def remember_interrupt(number: int, frame: object) -> None:
    """The handler of Ctrl-C."""
    _Interrupt.came = True
    raise KeyboardInterrupt
