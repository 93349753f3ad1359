"""The decoding process: reads one request, gives up its rights, decodes, and writes messages.

Runs as a program of its own (`vadis.video.sandbox` starts it) and imports neither torch nor anything that
it does not need. It ends when its work is done, when its parent goes away (its standard input ends), or
when it is killed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from vadis.records import VideoError
from vadis.video import wire
from vadis.video.confine import confine
from vadis.video.decode import FrameStream, stream_frames
from vadis.video.frames import Frames
from vadis.video.probe import probe


class Voice:
    """Writes messages to the parent over a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def say(self, message: Mapping[str, Any]) -> None:
        """Send one message without pixels."""
        self._write(wire.pack(message))

    def show(self, frames: Frames, start_seconds: float | None) -> None:
        """Send a chunk: shape and report as JSON, then times, indices, damage flags and pixels, raw."""
        message = {
            "type": "frames",
            "shape": list(frames.frames_THWC.shape[:3]),
            "report": wire.record_to(frames.report),
            "start_seconds": start_seconds,
        }
        self._write(wire.pack(message))
        self._write(np.ascontiguousarray(frames.times_T, dtype="<f8").tobytes())
        self._write(np.ascontiguousarray(frames.indices_T, dtype="<i8").tobytes())
        self._write(np.ascontiguousarray(frames.corrupt_T, dtype=np.uint8).tobytes())
        self._write(np.ascontiguousarray(frames.frames_THWC).data)


def read_request(descriptor: int) -> dict[str, Any]:
    """The parent's request: one message from standard input."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(descriptor, size - len(data))
            if not part:
                raise wire.WireError("the parent is gone")
            data += part
        return data

    return wire.unpack_body(exactly(wire.unpack_header(exactly(wire.HEADER.size))))


def _end_with_parent(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os._exit(3)


def _stream(voice: Voice, request: Mapping[str, Any]) -> None:
    stream: FrameStream
    rate = request["options"].pop("fps")
    fps = None if rate is None else Fraction(*rate)
    with stream_frames(
        request["path"], fps=fps, limits=wire.limits_from(request["limits"]), **request["options"]
    ) as stream:
        voice.say({"type": "info", "info": wire.record_to(stream.info)})
        for frames in stream:
            voice.show(frames, stream.start_seconds)
        voice.say(
            {
                "type": "end",
                "report": wire.record_to(stream.report),
                "start_seconds": stream.start_seconds,
                "duration_seconds": stream.duration_seconds,
            }
        )


def _probe(voice: Voice, request: Mapping[str, Any]) -> None:
    info = probe(request["path"], limits=wire.limits_from(request["limits"]), **request["options"])
    voice.say({"type": "info", "info": wire.record_to(info)})


def main() -> None:
    """Serve one request from standard input on standard output, then end."""
    voice = Voice(os.dup(1))
    os.dup2(2, 1)  # whatever a library prints must not get between the messages
    request = read_request(0)
    walls = confine(
        [request["path"]], memory_bytes=request["memory_bytes"], cpu_seconds=request["cpu_seconds"]
    )
    threading.Thread(target=_end_with_parent, args=(0,), daemon=True).start()
    voice.say({"type": "ready", "walls": walls})
    work = {"stream": _stream, "probe": _probe}[request["task"]]
    try:
        work(voice, request)
    except VideoError as error:
        voice.say(wire.error_to(error))
    except MemoryError:
        memory = f"{request['memory_bytes']} bytes"
        message = f"decoding needs more memory than the limit (memory_bytes) of {memory}"
        voice.say(wire.error_to(VideoError("too_large", request["path"], message)))
    except BrokenPipeError:  # the parent has closed the stream
        sys.stderr.close()
    os._exit(0)
