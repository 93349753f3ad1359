"""What a decoding process and its parent say to each other: short JSON and raw pixels, never a pickle.

The parent must not trust the child: a file may have taken it over. So a message is a fixed header, a
JSON object of bounded length, and raw bytes whose number the parent works out from integers that it has
checked. Every field is checked for its type and range on arrival; text is cut and stripped of control
characters before anybody prints it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, get_args

from vadis.records import HINTS, AudioStream, DecodeReport, ErrorKind, Limits, VideoError, VideoInfo

HEADER = struct.Struct("<4sI")
MAGIC = b"vad1"
MAX_JSON_BYTES = 2**20
MAX_TEXT = 2000
KINDS: tuple[str, ...] = get_args(ErrorKind)


class WireError(Exception):
    """The other side said something that is not allowed."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes: magic, length, JSON (ASCII; lone surrogates of file names survive)."""
    body = json.dumps(message, allow_nan=False).encode("ascii")
    return HEADER.pack(MAGIC, len(body)) + body


def unpack_header(header: bytes) -> int:
    """Length of the JSON that follows, at most MAX_JSON_BYTES; WireError on anything else."""
    magic, length = HEADER.unpack(header)
    if magic != MAGIC or length > MAX_JSON_BYTES:
        raise WireError("not a message of the decoding process")
    return int(length)


def unpack_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a message; WireError where it is none."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def clean(text: str) -> str:
    """Printable text of at most MAX_TEXT characters: a terminal obeys no escape sequence in it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_TEXT])


class Fields:
    """Takes checked values out of a message; WireError names the field that is wrong."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message
        self.kind = ""

    def _take(self, name: str, legal: Callable[[Any], bool], optional: bool) -> Any:
        value = self._message.get(name)
        if (value is None and optional) or (value is not None and legal(value)):
            return value
        raise WireError(f"the field {name!r} is wrong: {clean(repr(value))[:80]}")

    def integer(self, name: str, low: int = 0, high: int = 2**53, *, optional: bool = False) -> Any:
        """An integer in [low, high]."""
        return self._take(name, lambda value: type(value) is int and low <= value <= high, optional)

    def number(self, name: str, *, optional: bool = False) -> Any:
        """A finite float (or an integer, made one)."""

        def legal(value: Any) -> bool:
            return type(value) in (int, float) and abs(value) < 2**1023 and math.isfinite(value)

        value = self._take(name, legal, optional)
        return None if value is None else float(value)

    def flag(self, name: str, *, optional: bool = False) -> Any:
        """True or False."""
        return self._take(name, lambda value: type(value) is bool, optional)

    def text(self, name: str) -> str:
        """A string, cleaned."""
        return clean(self._take(name, lambda value: type(value) is str, False))

    def objects(self, name: str, most: int = 1000) -> list[Any]:
        """A list of at most `most` entries, not yet checked."""
        found: list[Any] = self._take(name, lambda value: type(value) is list and len(value) <= most, False)
        return found

    def object(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self._take(name, lambda value: type(value) is dict, False))


def info_from(fields: Fields, video: str) -> VideoInfo:
    """VideoInfo out of a message; the name is the one that the parent knows."""
    sound = [Fields(item if isinstance(item, dict) else {}) for item in fields.objects("audio", 256)]
    return VideoInfo(
        video=video,
        container=fields.text("container"),
        codec=fields.text("codec"),
        pixel_format=fields.text("pixel_format"),
        bit_depth=fields.integer("bit_depth", 0, 64),
        width=fields.integer("width", 0, 2**31),
        height=fields.integer("height", 0, 2**31),
        rotation=fields.integer("rotation", -360, 360),
        sample_aspect=fields.number("sample_aspect"),
        duration_seconds=fields.number("duration_seconds", optional=True),
        frame_rate=fields.number("frame_rate", optional=True),
        real_frame_rate=fields.number("real_frame_rate", optional=True),
        variable_frame_rate=fields.flag("variable_frame_rate", optional=True),
        frames_declared=fields.integer("frames_declared", optional=True),
        frames_counted=fields.integer("frames_counted", optional=True),
        start_seconds=fields.number("start_seconds", optional=True),
        interlaced=fields.flag("interlaced"),
        audio=tuple(
            AudioStream(item.text("codec"), item.integer("sample_rate"), item.integer("channels"))
            for item in sound
        ),
        size_bytes=fields.integer("size_bytes", optional=True),
    )


def report_from(fields: Fields, video: str) -> DecodeReport:
    """DecodeReport out of a message; the name is the one that the parent knows."""
    notes = [clean(note) for note in fields.objects("notes") if isinstance(note, str)]
    return DecodeReport(
        video=video,
        frames_expected=fields.integer("frames_expected"),
        frames_decoded=fields.integer("frames_decoded"),
        frames_corrupt=fields.integer("frames_corrupt"),
        short=fields.flag("short"),
        repaired=fields.flag("repaired"),
        notes=tuple(notes),
    )


def error_to(error: VideoError) -> dict[str, Any]:
    """A VideoError as a message."""
    texts = {"message": error.message[:MAX_TEXT], "hint": error.hint[:MAX_TEXT]}
    return {"type": "error", "kind": error.kind, **texts}


def error_from(fields: Fields, video: str) -> VideoError:
    """A VideoError out of a message; unknown kinds are refused, the name is the parent's."""
    kind = fields.text("kind")
    for known in HINTS:
        if known == kind:
            return VideoError(known, video, fields.text("message"), fields.text("hint"))
    raise WireError(f"unknown kind of error: {kind[:80]}")


def limits_from(message: Mapping[str, Any]) -> Limits:
    """Limits out of the request of the parent (who is trusted)."""
    return Limits(**message)


def record_to(record: VideoInfo | DecodeReport | Limits) -> dict[str, Any]:
    """A record as JSON values; numbers that JSON has no word for become null."""
    found = asdict(record)
    for name, value in found.items():
        if isinstance(value, float) and not math.isfinite(value):
            found[name] = None
    return found
