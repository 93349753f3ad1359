"""Predictions out: a table for people; JSON, CSV and WebVTT for programs, readable by any tool.

| format | one video | several | can be resumed |
|---|---|---|---|
| `table` | bars, timeline and spans as text; colour on a terminal only | one after another | no |
| `json`, `jsonl` | one object on one line | one line each | yes |
| `csv` | long form: a row for each span, window label and video label | all in one file | yes |
| `vtt` | captions of the spans | a folder, or a name with `{stem}` in it | no |

JSON and CSV are on the disk, video by video, before the next one starts: a kill costs at most the
video at work, and what it left half written is recognised and removed when the work is resumed.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeGuard

from vadis.formats.captions import to_vtt
from vadis.formats.rows import CSV_COLUMNS, csv_rows, rows_to_bytes, split_rows
from vadis.formats.table import Table
from vadis.records import Prediction
from vadis.video.write import part_file

ENDINGS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".vtt": "vtt",
    ".txt": "table",
}
"""The format for each ending of a file's name."""

Target = str | os.PathLike[str] | TextIO


def _is_path(target: Target) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(target, str | os.PathLike)


def _is_stream(target: Target) -> TypeGuard[TextIO]:
    return not isinstance(target, str | os.PathLike)


def use_utf8(stream: TextIO) -> None:
    """Let a stream such as sys.stdout carry data: UTF-8 and its own line ends, whatever the locale says."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")


def format_for(path: str | os.PathLike[str]) -> str:
    """The format that the ending of a file's name stands for; ValueError with the legal set."""
    suffix = Path(path).suffix.lower()
    if suffix not in ENDINGS:
        raise ValueError(f"{os.fspath(path)}: the ending is none of {', '.join(ENDINGS)}; or name the format")
    return ENDINGS[suffix]


def to_json(prediction: Prediction) -> str:
    """One line of strict JSON (no NaN: null instead); scores keep every digit, times are microseconds."""
    plain = _make_plain(prediction.to_dict())
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8 holds lone surrogates
        text = json.dumps(plain, allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def _make_plain(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _make_plain(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral) and not key.endswith("_seconds"):
        return int(value)
    number = float(value)  # also numpy's float32, whose value float64 holds exactly
    if not math.isfinite(number):
        return None
    return round(number, 6) if key.endswith("_seconds") else number


class _JsonLines:
    """One object per line, on the disk before `write` returns."""

    def __init__(self, target: Target, append: bool, many: bool) -> None:
        if append and _is_path(target):
            _keep_finished(Path(target), _split_json_lines)
        self._file, self._own = _open_text(target, append)

    def write(self, prediction: Prediction) -> None:
        self._file.write(to_json(prediction) + "\n")
        _sync(self._file, self._own)

    def close(self) -> None:
        if self._own:
            self._file.close()


class _Csv:
    """Long form; names that a spreadsheet would take for a formula get a quote in front."""

    def __init__(self, target: Target, append: bool, many: bool) -> None:
        if append and _is_path(target):
            _keep_finished(Path(target), split_rows)
        self._file, self._own = _open_text(target, append)
        if not (self._own and self._file.tell() > 0):
            self._put([CSV_COLUMNS])

    def write(self, prediction: Prediction) -> None:
        self._put(csv_rows(prediction))

    def _put(self, rows: Iterable[Sequence[Any]]) -> None:
        self._file.write(rows_to_bytes(rows).decode())
        _sync(self._file, self._own)

    def close(self) -> None:
        if self._own:
            self._file.close()


class _Vtt:
    """One WebVTT file for each video."""

    def __init__(self, target: Target, append: bool, many: bool) -> None:
        self._stream = target if _is_stream(target) else None
        self._path = Path(target) if _is_path(target) else Path("standard output.vtt")
        self._taken: set[str] = set()
        self._single = self._path.suffix.lower() == ".vtt" and "{stem}" not in self._path.name
        if many and self._single:
            name = self._path if self._stream is None else self._path.stem
            raise ValueError(
                f"WebVTT is one file for each video, and {name} is one for all: "
                "name a folder (--format vtt --out captions) or a pattern (--out '{stem}.vtt')"
            )

    def write(self, prediction: Prediction) -> None:
        text = to_vtt(prediction)
        if self._single and self._taken:
            raise ValueError("WebVTT is one file for each video; name a folder or a pattern with {stem}")
        if self._stream is not None:
            self._taken.add("")
            self._stream.write(text)
            self._stream.flush()
            return
        path = self._path_for(prediction.video)
        with part_file(path) as part:
            part.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    def _path_for(self, video: str) -> Path:
        if self._single:
            self._taken.add(self._path.name)
            return self._path
        pattern = self._path if self._path.suffix.lower() == ".vtt" else self._path / "{stem}.vtt"
        stem, number = Path(video).stem, 1
        name = pattern.name.replace("{stem}", stem)
        while name in self._taken:  # two folders may each have an a.mp4
            number += 1
            name = pattern.name.replace("{stem}", f"{stem}_{number}")
        self._taken.add(name)
        return pattern.with_name(name)

    def close(self) -> None:
        pass


class _Text:
    """The table for people; see `vadis.formats.table`."""

    def __init__(self, target: Target, append: bool, many: bool) -> None:
        self._file, self._own = _open_text(target, append)
        self._table = Table(self._file)

    def write(self, prediction: Prediction) -> None:
        self._table.show(prediction)
        self._file.flush()

    def close(self) -> None:
        if self._own:
            self._file.close()


FORMATS: dict[str, Callable[[Target, bool, bool], Any]] = {
    "table": _Text,
    "json": _JsonLines,
    "jsonl": _JsonLines,
    "csv": _Csv,
    "vtt": _Vtt,
}
"""The formats by name."""

RESUMABLE = ("json", "jsonl", "csv")
"""The formats that `--resume` can go on with."""


class PredictionWriter:
    """Write predictions one by one, as they come; a context manager.

    target: a path, or a text stream such as sys.stdout. `append` goes on with a file that an
    interrupted run left: half a record at its end and records of failures (they are tried again) are
    removed first. `many` says that several videos will come: `vtt` then wants a folder. What was written
    stays when the block ends with an error.
    """

    def __init__(
        self,
        target: Target,
        format: str = "jsonl",  # noqa: A002 - the word that the command line uses
        *,
        append: bool = False,
        many: bool = False,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
        if append and format not in RESUMABLE:
            raise ValueError(f"{format} cannot be resumed; only {', '.join(RESUMABLE)} can")
        if isinstance(target, str | os.PathLike) and format != "vtt":
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        self._writer = FORMATS[format](target, append, many)

    def write(self, prediction: Prediction) -> None:
        """Add one prediction; JSON and CSV have it on the disk when this returns."""
        self._writer.write(prediction)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def write_predictions(
    predictions: Iterable[Prediction],
    target: Target,
    format: str | None = None,  # noqa: A002
) -> None:
    """Write predictions to a path or text stream; the format follows from the path's ending if not given."""
    known = list(predictions)
    if format is None and not _is_path(target):
        raise ValueError(f"name the format of a stream; there are {', '.join(FORMATS)}")
    chosen = format_for(target) if format is None and _is_path(target) else str(format)
    with PredictionWriter(target, chosen, many=len(known) != 1) as writer:
        for prediction in known:
            writer.write(prediction)


def read_finished(path: str | os.PathLike[str]) -> set[str]:
    """The videos whose results a JSON or CSV file holds whole; the empty set where there is no file.

    Records of failures do not count (they are tried again), nor does half a record at the end, which a
    kill left. Raises ValueError for a file that vadis did not write, naming the line.
    """
    file = Path(path)
    if not file.exists():
        return set()
    split = split_rows if format_for(file) == "csv" else _split_json_lines
    return {name for name, _, good in split(file) if good and name is not None}


def _split_json_lines(path: Path) -> Iterator[tuple[str | None, bytes, bool]]:
    """(video, the line's bytes, is it a whole result?) for each line."""
    with path.open("rb") as file:
        size, end = path.stat().st_size, 0
        for number, line in enumerate(file, 1):
            end += len(line)
            try:
                record = json.loads(line)
                yield record["video"], line.rstrip(b"\r\n") + b"\n", record["error"] is None
            except (ValueError, KeyError, TypeError) as error:
                if end < size or line.endswith(b"\n"):
                    raise ValueError(
                        f"{path}: line {number} is not a result of vadis; name another file to write"
                    ) from error
                yield None, line, False  # the last line, torn by a kill


def _keep_finished(path: Path, split: Callable[[Path], Iterable[tuple[str | None, bytes, bool]]]) -> None:
    """Leave only whole results in a file that an interrupted run wrote; nothing where there is none."""
    if not path.exists():
        return
    with part_file(path) as part, part.open("wb") as kept:
        for _, block, good in split(path):
            if good:
                kept.write(block)
        kept.flush()
        os.fsync(kept.fileno())


def _open_text(target: Target, append: bool) -> tuple[TextIO, bool]:
    """A text stream to write to, and whether it is ours to close."""
    if isinstance(target, str | os.PathLike):
        return Path(target).open("a" if append else "w", encoding="utf-8", newline=""), True
    return target, False


def _sync(file: TextIO, own: bool) -> None:
    file.flush()
    if own:
        os.fsync(file.fileno())
