"""What was scored so far, on disk: lines of JSON, one a batch, so that a stopped evaluation goes on.

The first line says what is evaluated; a journal of another evaluation is refused. A last line that was torn
is cut off and scored again. Arrays are base64 of their bytes: not a digit is lost.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadis.records import VadisError

JOURNAL_VERSION = 1


def pack(values: NDArray[Any]) -> str:
    """The bytes of an array of any shape as text; shape and type are the reader's affair."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def unpack(text: str, kind: type[np.generic]) -> NDArray[Any]:
    """What `pack` wrote, as a flat array of shape (N,); kind: its type."""
    return np.frombuffer(base64.b64decode(text), kind)


class Journal:
    """The file of one evaluation: `read` what stands, then `write` each batch inside a `with`.

    settings: all that the scores depend on, as JSON takes it.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self._size = 0

    def read(self) -> list[dict[str, Any]]:
        """The batches that stand. Raises VadisError where the file is of another evaluation."""
        header = {"version": JOURNAL_VERSION, "settings": self.settings}
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content.split(b"\n")[:-1]
        if not lines:
            if content:
                raise VadisError(f"{self.path}: is no journal of an evaluation; name another file")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            first = json.dumps(header).encode() + b"\n"
            self.path.write_bytes(first)
            self._size = len(first)
            return []
        try:
            known = json.loads(lines[0])
            theirs = known["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise VadisError(f"{self.path}: is no journal of an evaluation; name another file") from error
        if known != header:
            changed = [key for key in self.settings if theirs.get(key) != self.settings[key]]
            raise VadisError(
                f"{self.path}: holds the scores of another evaluation ({', '.join(changed) or 'version'} "
                "differ); name another file, or remove this one"
            )
        rows = []
        self._size = len(lines[0]) + 1
        for line in lines[1:]:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
            self._size += len(line) + 1
        return rows

    def __enter__(self) -> Journal:
        self._file = self.path.open("r+b")
        self._file.truncate(self._size)
        self._file.seek(self._size)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, line: dict[str, Any]) -> None:
        """Add a batch; it is in the file when this returns."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
