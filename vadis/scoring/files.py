"""Files of others, read with an eye to what is wrong in them: every complaint names file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json.decoder import JSONDecoder
from pathlib import Path
from typing import Any, NoReturn, TextIO

from vadis.records import VadisError


class ScoreFileError(VadisError):
    """A file to be scored is not what it should be. `line` counts from 1; 0 means the whole file."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        self.path, self.line, self.message = path, line, message
        super().__init__(path, line, message)  # the arguments, so that it pickles

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file as UTF-8, with or without a byte-order mark, line ends untouched."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ScoreFileError(path, 0, f"this is not UTF-8 text ({error.reason})") from None


def to_number(text: str) -> float:
    """A finite number; ValueError otherwise. What unit it has is the caller's affair (seconds, scores)."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


@dataclass(frozen=True)
class JsonFile:
    """A JSON document that knows where its parts are written. A place is the keys that lead to a part."""

    path: Path
    text: str
    content: Any

    def fail(self, place: Sequence[str | int], message: str) -> NoReturn:
        """Raise ScoreFileError with the line of that place."""
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in place]
        where = "".join(steps).lstrip(".") or "the document"
        raise ScoreFileError(self.path, find_line(self.text, place), f"{where}: {message}")

    def get(self, place: Sequence[str | int], kind: type | tuple[type, ...]) -> Any:
        """What is at a place; ScoreFileError if it is not there or not of that kind."""
        value = self.content
        for depth, step in enumerate(place):
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                self.fail(place[:depth], f"{step!r} is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number"}
            wanted = " or ".join(names[each] for each in kinds)
            self.fail(place, f"should be {wanted}, not {json.dumps(value)[:40]}")
        return value

    def number(self, place: Sequence[str | int]) -> float:
        """A finite number, of whatever unit (seconds, scores, pixels), at a place."""
        value = float(self.get(place, (int, float)))
        if not math.isfinite(value):
            self.fail(place, f"{value} is not a finite number")
        return value


def read_json(path: Path) -> JsonFile:
    """Parse a JSON file; ScoreFileError names the line where it stops being JSON."""
    with open_text(path) as file:
        text = file.read()
    try:
        return JsonFile(path, text, json.loads(text))
    except json.JSONDecodeError as error:
        raise ScoreFileError(path, error.lineno, f"this is not JSON: {error.msg}") from None
    except RecursionError:
        raise ScoreFileError(path, 0, "this JSON is nested too deeply") from None


def find_line(text: str, place: Sequence[str | int]) -> int:
    """The line of a JSON text on which the value at a place begins; of the deepest part that is there."""
    decode = JSONDecoder().raw_decode
    at = _skip_space(text, 0)
    for step in place:
        found = None
        index, end = 0, {"{": "}", "[": "]"}.get(text[at])
        if end is None:
            break
        here = _skip_space(text, at + 1)
        while text[here] != end:
            key: str | int = index
            if end == "}":
                key, here = decode(text, here)
                here = _skip_space(text, _skip_space(text, here) + 1)  # past the colon
            if key == step:
                found = here  # the last of equal keys counts, as for json.loads
            here = _skip_space(text, decode(text, here)[1])
            if text[here] == ",":
                here = _skip_space(text, here + 1)
            index += 1
        if found is None:
            break
        at = found
    return text.count("\n", 0, at) + 1


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
