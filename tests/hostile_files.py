"""Files that want to read other files, reach the network, or eat memory and time; each made from scratch.

As a program, `python hostile_files.py FOLDER PORT`, it opens each of them in this process and prints one
JSON line before and one after each, so that a hang shows which file it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import damage

from vadis.records import STRANGER_LIMITS, VideoError
from vadis.video.decode import Video, stream_frames
from vadis.video.probe import probe

WALL_SECONDS = 2.0
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT2S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9"><BaseURL>{}</BaseURL>'
    '<SegmentList duration="2"><SegmentURL media="{}"/></SegmentList>'
    "</Representation></AdaptationSet></Period></MPD>"
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
SIDE = 16000  # FFmpeg itself refuses from about 16250 squared


def write_victims(folder: Path) -> None:
    """Two ordinary videos that the hostile files refer to: real.ts and real.mp4."""
    frames = damage.pictures()
    damage.write_video(folder / "real.ts", "mpeg2video", "yuv420p", {"g": "12"}, frames)
    damage.write_video(folder / "real.mp4", "mpeg4", "yuv420p", {"g": "12"}, frames)


def playlists(folder: Path, port: int) -> dict[str, str]:
    """Scripts that name other media: file name -> content."""
    url, absolute = f"http://127.0.0.1:{port}", str(folder / "real.ts")
    return {
        "hls relative.m3u8": HLS.format("real.ts"),
        "hls relative.mp4": HLS.format("real.ts"),
        "hls absolute.mp4": HLS.format(absolute),
        "hls file url.mp4": HLS.format("file:" + absolute),
        "hls http.mp4": HLS.format(url + "/segment.ts"),
        "hls http.m3u8": HLS.format(url + "/segment.ts"),
        "hls concat.avi": HLS.format(f"concat:{absolute}|{url}/x.ts"),
        "hls key.mp4": HLS.format("real.ts").replace(
            "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"\n#EXTINF'
        ),
        "hls map.mp4": HLS.format("real.ts").replace("#EXTINF", f'#EXT-X-MAP:URI="{url}/init.mp4"\n#EXTINF'),
        "hls indented.mp4": "\n  \n" + HLS.format("real.ts"),
        "hls marked.mp4": "\ufeff" + HLS.format("real.ts"),
        "hls.gif": HLS.format("real.ts"),
        "concat relative.mp4": CONCAT.format("real.mp4"),
        "concat absolute.mp4": CONCAT.format(folder / "real.mp4"),
        "concat http.mp4": CONCAT.format(url + "/a.mp4"),
        "concat.ffconcat": CONCAT.format("real.mp4"),
        "concat bare.mp4": "file real.mp4\n",
        "exactly 37 bytes.mp4": CONCAT.format("real.mp4").ljust(37, "#")[:37],
        "session.sdp": SDP,
        "session.mp4": SDP,
        "dash.mpd": DASH.format(url + "/", "a.mp4"),
        "dash.mp4": DASH.format(url + "/", "a.mp4"),
        "dash relative.mp4": DASH.format("real.mp4", "real.mp4"),
        "smooth.mp4": f'<?xml version="1.0"?><SmoothStreamingMedia><c n="{url}"/></SmoothStreamingMedia>',
        "winamp.pls": f"[playlist]\nFile1={url}/a.mp4\nNumberOfEntries=1\n",
        "media player.asx": f'<asx version="3.0"><entry><ref href="{url}/a.mp4"/></entry></asx>',
        "smil.mp4": f'<smil><body><video src="{url}/a.mp4"/></body></smil>',
        "quicktime.mov": f'<?quicktime type="application/x-quicktime-media-link"?><embed src="{url}"/>',
        "url.mp4": f"{url}/a.mp4\n",
        "shortcut.url": f"[InternetShortcut]\nURL={url}/a.mp4\n",
        "vector.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}/a.png"/></svg>',
    }


def box(kind: bytes, payload: bytes) -> bytes:
    """An ISO box."""
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def change_box(data: bytes, path: list[bytes], change: Callable[[bytes], bytes]) -> bytes:
    """Change the payload of the first box at `path`, and the sizes of those around it."""
    at, result = 0, b""
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        payload = data[at + 8 : at + size]
        if kind == path[0]:
            payload = change(payload) if len(path) == 1 else change_box(payload, path[1:], change)
            return result + box(kind, payload) + data[at + size :]
        result += data[at : at + size]
        at += size
    raise ValueError(f"no box {path[0]!r}")


TRACK = [b"moov", b"trak", b"mdia", b"minf"]


def external_reference(folder: Path) -> bytes:
    """A mov whose data reference is an alias to real.mp4 (its own picture data are black)."""
    own = folder / "own.mov"
    damage.write_video(own, "mpeg4", "yuv420p", {"g": "12"}, damage.pictures() // 255)
    alias = (
        bytes(10)
        + bytes([4])
        + b"disk".ljust(27, b"\0")
        + bytes(12)
        + bytes([8])
        + b"real.mp4".ljust(63, b"\0")
    )
    alias += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    name = str(folder / "real.mp4").encode()
    alias += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = bytes(4) + struct.pack(">I", 1) + box(b"alis", bytes(4) + alias)
    return change_box(own.read_bytes(), [*TRACK, b"dinf", b"dref"], lambda _: entry)


def reference_movie(port: int) -> bytes:
    """A QuickTime reference movie: no media of its own, the address of another one."""
    url = f"http://127.0.0.1:{port}/movie.mov\0".encode()
    reference = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(url)) + url)
    return box(b"ftyp", b"qt  \0\0\2\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", reference)))


def bombs(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Small files that declare more than anybody can hold."""
    mp4 = (folder / "real.mp4").read_bytes()

    def duration(payload: bytes) -> bytes:  # version 0: timescale at 12, duration at 16
        return payload[:12] + struct.pack(">II", 1, 2**32 - 2) + payload[20:]

    def rate(payload: bytes) -> bytes:
        return payload[:12] + struct.pack(">I", 2**31 - 1) + payload[16:]

    samples = [*TRACK, b"stbl"]
    slow = change_box(change_box(mp4, [b"moov", b"mvhd"], duration), [*TRACK[:3], b"mdhd"], duration)
    slow = change_box(slow, [b"moov", b"trak", b"edts"], lambda _: b"")
    yield (
        "centuries.mp4",
        change_box(slow, [*samples, b"stts"], lambda _: struct.pack(">IIII", 0, 1, 36, 2**28)),
    )
    yield "two gigahertz.mp4", change_box(mp4, [*TRACK[:3], b"mdhd"], rate)
    counted = change_box(mp4, [*samples, b"stsz"], lambda _: struct.pack(">III", 0, 1, 2**29))
    counted = change_box(counted, [*samples, b"stsc"], lambda _: struct.pack(">IIIII", 0, 1, 1, 2**29, 1))
    yield (
        "half a billion samples.mp4",
        change_box(counted, [*samples, b"stts"], lambda _: struct.pack(">IIII", 0, 1, 2**29, 1)),
    )
    yield (
        "promised table.mp4",
        change_box(mp4, [*samples, b"stsz"], lambda _: struct.pack(">III", 0, 0, 2**32 - 1)),
    )
    nested = b""
    for _ in range(20_000):
        nested = struct.pack(">I4s", len(nested) + 8, b"moov") + nested
    yield "boxes in boxes.mp4", box(b"ftyp", b"isom\0\0\2\0isom") + nested

    damage.write_video(folder / "j.avi", "mjpeg", "yuvj420p", {}, damage.pictures(3))
    jpeg = bytearray((folder / "j.avi").read_bytes())
    at = -1
    while (at := jpeg.find(b"\xff\xc0", at + 1)) >= 0:
        struct.pack_into(">HH", jpeg, at + 5, SIDE, SIDE)
    yield "large jpeg.avi", bytes(jpeg)

    damage.write_video(folder / "p.mov", "png", "rgb24", {}, damage.pictures(3))
    png = bytearray((folder / "p.mov").read_bytes())
    at = -1
    while (at := png.find(b"IHDR", at + 1)) >= 0:
        struct.pack_into(">II", png, at + 4, SIDE, SIDE)
        struct.pack_into(">I", png, at + 17, zlib.crc32(png[at : at + 17]))
    yield "large png.mov", bytes(png)

    yield "large.h264", large_h264()
    yield (
        "large.gif",
        b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0xF0, 0, 0) + bytes(6) + gif_picture(),
    )
    header = b"GIF89a" + struct.pack("<HHBBB", 2048, 2048, 0xF0, 0, 0) + bytes(3) + b"\xff" * 3
    yield "forty thousand pictures.gif", header + gif_picture() * 40_000 + b";"

    avi = bytearray((folder / "j.avi").read_bytes())
    start = avi.index(b"movi") + 4
    yield "a million empty packets.avi", bytes(avi[:start]) + b"00dc\0\0\0\0" * 1_000_000
    yield "a million tiny packets.avi", bytes(avi[:start]) + b"00dc\2\0\0\0\xff\xd8" * 1_000_000
    packet = b"\x47\x1f\xff\x10" + bytes(184)
    yield "null packets.ts", packet * 40_000

    ebml = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    deep = b""
    for _ in range(3_000):  # SimpleTag in SimpleTag
        deep = b"\x67\xc8" + struct.pack(">I", 0x10000000 | len(deep)) + deep
    yield (
        "tags in tags.mkv",
        ebml + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x12\x54\xc3\x67\x01" + b"\xff" * 7 + deep,
    )
    yield "claims an exabyte.mkv", ebml + b"\x18\x53\x80\x67\x01\x0f\xff\xff\xff\xff\xff\xff" + bytes(4096)


def gif_picture() -> bytes:
    """One picture of a single pixel: extension, descriptor, data."""
    control = b"\x21\xf9\x04\x04\x01\x00\x00\x00"
    return control + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"


def large_h264() -> bytes:
    """An H.264 stream whose parameter set declares 16000x16000 pixels, with one picture of nothing."""
    bits = ""

    def code(value: int) -> str:  # Exp-Golomb
        binary = bin(value + 1)[2:]
        return "0" * (len(binary) - 1) + binary

    # baseline, level 6.2; id, frame_num, poc type 2, 1 reference, no gaps, 1000 x 1000 macroblocks, frames
    bits += (
        code(0)
        + code(0)
        + code(2)
        + code(1)
        + "0"
        + code(SIDE // 16 - 1)
        + code(SIDE // 16 - 1)
        + "1"
        + "0"
        + "0"
        + "0"
        + "1"
    )
    parameters = bytes([66, 0, 62]) + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(
        -(-len(bits) // 8), "big"
    )
    pictures = "1" + "1" + "0" + "0" + "1" + "1" + "1" + "0" + "00" + "1" + "1" + "1" + "0" + "0" + "0" + "1"
    picture_set = int(pictures.ljust(24, "0"), 2).to_bytes(3, "big")
    parameters = parameters.replace(b"\0\0\0", b"\0\0\3\0").replace(
        b"\0\0\1", b"\0\0\3\1"
    )  # no start codes within
    mark = b"\0\0\0\1"
    slice_data = b"\x65\x88\x84" + b"\x55" * 200
    return (mark + b"\x67" + parameters + mark + b"\x68" + picture_set + mark + slice_data) * 20


def oddities() -> dict[str, bytes]:
    """Files that are no videos at all."""
    return {
        "empty.mp4": b"",
        "one byte.mp4": b"x",
        "text of 37 bytes.mp4": b"Dear diary, this is no video. Goodbye",
        "noise.mp4": bytes(damage.np.random.default_rng(1).integers(0, 256, 300_000, dtype=damage.np.uint8)),
        "zeros.mkv": bytes(300_000),
        "only ftyp.mp4": box(b"ftyp", b"isom\0\0\2\0isom"),
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "archive.mp4": b"PK\3\4" + bytes(200),
        "program.mp4": b"\x7fELF" + bytes(200),
        "page.mp4": b"<!DOCTYPE html><video src='real.mp4'>",
    }


def write_hostile(folder: Path, port: int) -> dict[str, Path]:
    """All hostile files in `folder`, special ones of the system included: name -> path."""
    write_victims(folder)
    found = {}
    contents: dict[str, bytes] = {name: text.encode() for name, text in playlists(folder, port).items()}
    contents |= {"external reference.mov": external_reference(folder), **dict(bombs(folder)), **oddities()}
    contents["reference movie.mov"] = reference_movie(port)
    for name, content in contents.items():
        found[name] = folder / name
        found[name].write_bytes(content)
    os.mkfifo(folder / "fifo.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    images = folder / "images of devices"
    images.mkdir()
    (images / "0001.png").symlink_to("/dev/zero")
    (images / "0002.jpg").write_text(HLS.format("../real.ts"))
    os.mkfifo(images / "0003.png")
    (folder / "secret.mp4").write_bytes((folder / "real.mp4").read_bytes())
    (folder / "secret.mp4").chmod(0)
    for name in (
        "fifo.mp4",
        "loop.mp4",
        "dangling.mp4",
        "device.mp4",
        "folder.mp4",
        "images of devices",
        "secret.mp4",
    ):
        found[name] = folder / name
    found["/dev/zero"] = Path("/dev/zero")
    found["name too long"] = folder / ("x" * 5000 + ".mp4")
    return found


def peak_mib() -> int:
    """Most memory that this program has held, in MiB.

    Not ru_maxrss on Linux: that begins with what the parent held when it started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 1024)


def outcome_of(path: Path, open_stream: Callable[..., Any], limits: Any) -> str:
    """How reading a whole file ends: the kind of its VideoError, or a summary of its report."""
    try:
        with open_stream(path, limits=limits, short_side=64) as stream:
            for _ in stream:
                pass
            report = stream.report
    except VideoError as error:
        return error.kind
    word = "ok" if report.ok else "short" if report.short else "corrupt frames"
    return f"report: {report.frames_decoded}/{report.frames_expected} {word}"


def access_outcome(path: Path, limits: Any) -> str:
    """How probing, then random access ends."""
    try:
        probe(path, count_frames=True, limits=limits)
        with Video(path, limits=limits, short_side=64) as video:
            return f"report: {len(video.frames_by_index([0]))}"
    except VideoError as error:
        return error.kind


def main() -> None:
    """Open every file in this process, with the limits for strangers and little time."""
    av.logging.set_level(None)
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    limits = replace(STRANGER_LIMITS, wall_seconds=WALL_SECONDS)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    found = write_hostile(folder, port)
    for name, path in found.items():
        print(json.dumps({"opening": name}), flush=True)
        since = time.monotonic()
        streamed = outcome_of(path, stream_frames, limits)
        between = time.monotonic()
        accessed = access_outcome(path, limits)
        seconds = round(between - since, 3), round(time.monotonic() - between, 3)
        line = {
            "name": name,
            "stream": streamed,
            "access": accessed,
            "seconds": seconds,
            "peak_mib": peak_mib(),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
