"""Motion vectors that a file already carries, as optical flow: what its encoder found, no pixel is looked at.

A P or B block of H.264, MPEG-4 or MPEG-2 says where in another frame it was copied from. FFmpeg hands these
vectors on (its flag export_mvs); divided by the distance of the frames and turned round where they point into
the past, they mean what flow means: pixels from frame i to frame i + 1. They serve compression, not motion: a
flat block points anywhere, an intra block nowhere (known_THW is False there). Used for action recognition by
Zhang et al. (CVPR 2016) and CoViAR (Wu et al., CVPR 2018).

For each block of field i, the first that there is of: the vector of frame i + 1 to frame i, of frame i to
frame i + 1, of these two to frames farther away, of a later frame that skips over both (B-frames may leave
no others). A block is where it lies in the frame that carries it. In MPEG-1, 2 and 4 the reference is
the next I or P frame. H.264 may choose from up to sixteen frames, and FFmpeg does not tell which: the nearest
that had been decoded and is kept is assumed; what points farther comes out too long. Vectors of B-frames in
MPEG-4 are left out: FFmpeg gives zero for most (direct mode).

Legend: T fields, H W blocks of GRID x GRID pixels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vadis.records import Limits, VideoError
from vadis.video.clock import Clock
from vadis.video.flow_fields import Flow
from vadis.video.reader import FileReader, Shot
from vadis.video.scale import orientation_of
from vadis.video.source import VideoPath, is_folder

GRID = 8  # pixels: the smallest block that FFmpeg reports
CODECS = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
_LOOK_AHEAD = 17  # frames that a later frame's vectors may skip over: H.264 keeps sixteen
_HINT = "use a method that looks at pixels, such as dis, or convert the video to H.264"

Array = NDArray[np.float32]


@dataclass
class _Carried:
    """What one frame carries: vectors in pixels to a frame before (past) and after it, NaN where none is."""

    time: float
    past_HW2: Array
    future_HW2: Array
    is_reference: bool
    order: int
    size: tuple[int, int]


def read_motion_vectors(
    path: VideoPath,
    *,
    first: int = 0,
    stop: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> tuple[Flow, NDArray[np.float64]]:
    """The motion vectors of a file as flow, and times_T: seconds at which each field's first frame is shown.

    first, stop: frames; a field fewer comes out. Raises VideoError: refused for other codecs, and as
    decoding does.
    """
    pieces = list(motion_vector_pieces(path, first=first, stop=stop, limits=limits))
    flows, times = [piece[0] for piece in pieces], [piece[1] for piece in pieces]
    known = np.concatenate([cast("Any", flow.known_THW) for flow in flows])
    fields_THW2 = np.concatenate([flow.fields_THW2 for flow in flows])
    return Flow(fields_THW2, flows[0].size, GRID, "mv", known), np.concatenate(times)


def motion_vector_pieces(
    path: VideoPath,
    *,
    pairs_at_once: int = 16,
    first: int = 0,
    stop: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Iterator[tuple[Flow, NDArray[np.float64]]]:
    """The same in pieces of at most `pairs_at_once` fields, in bounded memory; at least one, maybe of none.

    Yields a Flow and times_T in seconds. Raises as `read_motion_vectors`.
    """
    if pairs_at_once < 1:
        raise ValueError(f"pairs_at_once must be at least 1, got {pairs_at_once}")
    ready: list[tuple[Array, NDArray[np.bool_], float]] = []
    size, given = (0, 0), False
    for number, (found, size) in enumerate(_fields(path, limits)):
        if stop is not None and number >= stop - 1:
            break
        if found is not None and number >= first:
            ready.append(found)
        if len(ready) == pairs_at_once:
            given = True
            yield _as_flow(ready, size)
            ready = []
    if ready or not given:
        yield _as_flow(ready, size)


def _as_flow(
    ready: list[tuple[Array, NDArray[np.bool_], float]], size: tuple[int, int]
) -> tuple[Flow, NDArray[np.float64]]:
    blocks = [-(-side // GRID) for side in size]
    fields_THW2 = np.stack([item[0] for item in ready]) if ready else np.zeros((0, *blocks, 2), np.float32)
    known_THW = np.stack([item[1] for item in ready]) if ready else np.zeros((0, *blocks), np.bool_)
    return Flow(fields_THW2, size, GRID, "mv", known_THW), np.array([item[2] for item in ready], np.float64)


def _fields(
    path: VideoPath, limits: Limits
) -> Iterator[tuple[tuple[Array, NDArray[np.bool_], float] | None, tuple[int, int]]]:
    """Field after field with the size of the picture; None after the last, so that there is always a size."""
    window: list[
        _Carried
    ] = []  # behind: what may reach on over the field; ahead: what may reach back over it
    here = 0
    size = (0, 0)
    for carried in _read(path, limits):
        size = carried.size
        window.append(carried)
        if len(window) - here > _LOOK_AHEAD:
            yield _compose(window, here), size
            here += 1
            if here > _LOOK_AHEAD:
                del window[0]
                here -= 1
    while here < len(window) - 1:
        yield _compose(window, here), size
        here += 1
    yield None, size


def _read(path: VideoPath, limits: Limits) -> Iterator[_Carried]:
    if is_folder(path):
        raise VideoError("refused", str(path), "a folder of pictures carries no motion vectors", _HINT)
    reader = FileReader(path, limits, threads=1)  # with more, FFmpeg 8 gives vectors of frames half decoded
    try:
        codec = reader.source.codec
        if codec not in CODECS:
            message = f"its codec {codec} gives no motion vectors; {', '.join(CODECS)} do"
            raise VideoError("refused", reader.name, message, _HINT)
        packed = reader.packed
        context = reader.source.stream.codec_context
        context.options = {**context.options, "flags2": "+export_mvs"}
        kept: dict[int, tuple[int, bool]] = {}
        clock = Clock(reader.time_base, reader.rate, reader.origin, packed=packed)
        empty = True
        for shown in clock.present(_shots(reader, kept)):
            empty = False
            yield _carried(shown.shot.frame, float(shown.time), codec, kept)
        if empty:
            raise VideoError("corrupt", reader.name, "not one frame could be decoded")
    finally:
        reader.close()


def _shots(reader: FileReader, kept: dict[int, tuple[int, bool]]) -> Iterator[Shot]:
    """The decoded pictures; kept: by PTS, the place in coding order, and whether others may refer to it."""
    is_h264 = reader.source.codec == "h264"
    extradata = bytes(reader.source.stream.codec_context.extradata or b"")
    for number, packet in enumerate(reader.packets()):
        if is_h264 and packet.size and packet.pts is not None:
            kept[packet.pts] = number, _is_kept(bytes(packet), extradata)
            if len(kept) > 256:
                del kept[next(iter(kept))]
        for frame in reader.decode(packet):
            yield Shot(frame, frame.pts, frame.duration or 0, False)


def _is_kept(data: bytes, extradata: bytes) -> bool:
    """Whether later frames of H.264 may refer to a picture: the two bits nal_ref_idc of its first slice.

    (ISO/IEC 14496-10, 7.3.1.) Units follow a length, as in mp4 (ISO/IEC 14496-15), or a start code.
    """
    place, width = 0, (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
    while place >= 0 and place + max(width, 3) < len(data):
        if width:
            length = int.from_bytes(data[place : place + width])
            place += width
        else:
            place = data.find(b"\0\0\1", place) + 3
            length = 0
            if place < 3 or place >= len(data):
                break
        if 1 <= data[place] & 31 <= 5:
            return data[place] & 96 != 0
        place += length
    return True


def _carried(frame: Any, time: float, codec: str, kept: dict[int, tuple[int, bool]]) -> _Carried:
    is_b = int(frame.pict_type) == 3  # AV_PICTURE_TYPE_B
    order, is_reference = kept.get(frame.pts, (-1, True)) if codec == "h264" else (-1, not is_b)
    size = frame.height, frame.width
    data = frame.side_data.get("MOTION_VECTORS")
    vectors = None if data is None or (codec == "mpeg4" and is_b) else data.to_ndarray()
    orientation = orientation_of(frame)
    grids: list[Any] = []
    for is_past in (True, False):
        grid_HW2 = _spread(vectors, size, is_past)
        if orientation.transpose:
            grid_HW2 = grid_HW2[..., ::-1]
        signs = [-1 if orientation.mirror_columns else 1, -1 if orientation.mirror_rows else 1]
        grids.append(orientation.apply(cast("Any", grid_HW2)) * np.array(signs, np.float32))
    shown = size[::-1] if orientation.transpose else size
    return _Carried(time, grids[0], grids[1], is_reference, order, shown)


def _spread(vectors: Any, size: tuple[int, int], is_past: bool) -> Array:
    """grid_HW2 of the vectors to one side, as motion of what is seen over the whole distance; else NaN."""
    rows, columns = -(-size[0] // GRID), -(-size[1] // GRID)
    grid_HW2 = np.full((rows + 2, columns + 2, 2), np.nan, np.float32)  # blocks may stick out
    if vectors is None or not len(vectors):
        return grid_HW2[:rows, :columns]
    side = vectors[(vectors["source"] < 0) == is_past]
    sign = -1 if is_past else 1
    scale = np.maximum(side["motion_scale"], 1).astype(np.float32)
    moved_N2 = sign * np.stack([side["motion_x"] / scale, side["motion_y"] / scale], 1).astype(np.float32)
    left = (side["dst_x"].astype(np.int64) - side["w"] // 2) // GRID
    top = (side["dst_y"].astype(np.int64) - side["h"] // 2) // GRID
    for down in range(2):
        for across in range(2):
            fits = (side["h"] > GRID * down) & (side["w"] > GRID * across)
            row, column = top[fits] + down, left[fits] + across
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            grid_HW2[row[inside], column[inside]] = moved_N2[fits][inside]
    return grid_HW2[:rows, :columns]


def _compose(window: list[_Carried], here: int) -> tuple[Array, NDArray[np.bool_], float]:
    """Field and known blocks from frame `here` of the window to the next, and its time in seconds."""
    after, now = window[here + 1], window[here]
    found: list[tuple[int, Array]] = []
    back, on = _steps(window, here + 1, -1), _steps(window, here, 1)
    if back:
        found.append((back, after.past_HW2))
    if on:
        found.append((on, now.future_HW2))
    found.sort(key=lambda item: item[0] > 1)  # stable: the frame after goes before this one
    for index in range(here + 2, min(len(window), here + _LOOK_AHEAD)):
        steps = _steps(window, index, -1)
        if steps and index - steps <= here:
            found.append((steps, window[index].past_HW2))
    field_HW2 = np.full_like(now.past_HW2, np.nan)
    for steps, vectors_HW2 in found:
        if vectors_HW2.shape == field_HW2.shape:
            missing = np.isnan(field_HW2)
            field_HW2[missing] = vectors_HW2[missing] / steps
    known_HW = ~np.isnan(field_HW2[..., 0])
    return np.nan_to_num(field_HW2, nan=0.0), known_HW, now.time


def _steps(window: list[_Carried], index: int, way: int) -> int:
    """How many frames away a frame's reference lies, before (-1) or after (1) it; 0: not in the window."""
    frame = window[index]
    place = index + way
    while 0 <= place < len(window):
        other = window[place]
        decoded_before = other.order < frame.order or min(other.order, frame.order) < 0
        if other.is_reference and decoded_before:
            return abs(place - index)
        place += way
    return 0
