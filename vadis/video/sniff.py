"""What a file is by its first bytes, and whether all of it is there; FFmpeg is not asked."""

from __future__ import annotations

from typing import BinaryIO

from vadis.records import ErrorKind

HEAD_BYTES = 4096
"""How much of a file is looked at before FFmpeg sees it."""

_CONTAINER_MAGIC: tuple[tuple[int, bytes], ...] = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (4, b"free"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"RIFF"),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"GIF8"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3"),  # MPEG-1/2 video
    (0, b"\x00\x00\x00\x01"),  # H.264, HEVC
    (0, b"\x00\x00\x01\x67"),
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"nut/multimedia container\0"),
    (0, b"DKIF"),  # IVF
)
_SOUND_MAGIC: tuple[bytes, ...] = (
    b"ID3",
    b"fLaC",
    b"\xff\xfb",
    b"\xff\xf3",
    b"\xff\xf1",
    b"\xff\xf9",
    b"#!AMR",
)


def names_other_files(head: bytes) -> bool:
    """True where the first bytes are a script that names other media: HLS, concat, SDP, DASH, ASX, ..."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    if text.startswith((b"#extm3u", b"ffconcat", b"v=0", b"[playlist]", b"[reference]", b"rtsptext")):
        return True
    if text.startswith((b"file ", b"file\t", b"http://", b"https://", b"rtsp://", b"concat:", b"subfile,")):
        return True
    markup = (b"<mpd", b"<smoothstreamingmedia", b"<asx", b"<smil", b"<playlist", b"<manifest")
    return text.startswith(b"<") and any(tag in text for tag in markup)


def classify_failure(head: bytes) -> tuple[ErrorKind, str]:
    """Say why a file that FFmpeg would not open cannot be read, from its first bytes.

    head: up to 4096 bytes. Returns the kind of the error and a sentence without the file's name.
    """
    if not head:
        return "not_video", "the file is empty"
    if names_other_files(head):
        return "refused", "the file is a playlist or script that names other files"
    if head.startswith(_SOUND_MAGIC) or (head.startswith(b"RIFF") and head[8:12] == b"WAVE"):
        return "no_video_stream", "the file holds sound only"
    for offset, magic in _CONTAINER_MAGIC:
        if head[offset : offset + len(magic)] == magic and head[8:12] != b"WEBP":
            return "corrupt", "the container is damaged or cut off before its index"
    if head[0] == 0x47 and len(head) > 188 and head[188] == 0x47:
        return "corrupt", "the transport stream holds no readable programme"
    return "not_video", "not a video container that vadis reads"


def is_cut_off(file: BinaryIO, head: bytes, size: int) -> bool:
    """True where the outermost boxes (mp4, Matroska, RIFF) claim more bytes than the file has.

    A GIF ends with a semicolon. file: seekable; head: its first 4096 bytes; size: its length in bytes.
    """
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return length + 8 > size and length < 2**31 - 1  # writers that never came back leave all ones
    if head[:4] == b"GIF8":
        file.seek(max(0, size - 64))
        return not file.read(64).rstrip(b"\0\n").endswith(b";")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska_end(head) > size
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
        return _boxes_end(file, size) > size
    return False


def _matroska_end(head: bytes) -> int:
    """Where the segment ends, in bytes from the start of the file; 0 where its size is left open."""
    start = head.find(b"\x18\x53\x80\x67") + 4
    if start < 4 or start + 8 > len(head) or head[start] == 0:
        return 0
    width = 9 - head[start].bit_length()
    unknown = (1 << (7 * width)) - 1
    value = int.from_bytes(head[start : start + width], "big") & unknown
    return 0 if value == unknown else start + width + value


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last outermost box of an mp4 file ends by its own account, in bytes from the start."""
    position = 0
    for _ in range(100_000):
        if position >= size:
            break
        file.seek(position)
        box = file.read(16)
        length = int.from_bytes(box[:4], "big")
        if length == 1 and len(box) == 16:
            length = int.from_bytes(box[8:16], "big")
        if length < 8:
            break  # 0: up to the end of the file; else no box, but padding after the last one
        position += length
    return position
