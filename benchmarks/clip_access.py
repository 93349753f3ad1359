"""Ten clips of 32 frames from a five-minute 1080p file: ours, decoding it whole, and OpenCV's seeking.

Run: python benchmarks/clip_access.py [--minutes 5]
The file is made once (H.264 with B-frames, a keyframe every 10 s at most) and kept in the system's
folder for temporary files. Each frame shows its number in blocks, so that frames are checked by identity.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from vadis.video.decode import Video

WIDTH, HEIGHT, RATE = 1920, 1080, 30
NUM_BITS, BLOCK = 16, 60


def draw(number: int, ground_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey 1080p picture: ground that drifts, and the bits of `number` as blocks at the top."""
    picture_HW = np.roll(ground_HW, (number * 2) % WIDTH, axis=1)
    for bit in range(NUM_BITS):
        picture_HW[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    return picture_HW


def read(frame_HWC: NDArray[np.uint8]) -> int:
    """The number that a decoded frame of any size shows."""
    block = BLOCK * frame_HWC.shape[1] / WIDTH
    number = 0
    for bit in range(NUM_BITS):
        left, right = round((bit + 0.3) * block), round((bit + 0.7) * block)
        patch = frame_HWC[round(0.3 * block) : round(0.7 * block), left:right]
        number |= int(patch.mean() > 127) << bit
    return number


def make(path: Path, num_frames: int) -> None:
    """Encode the test video with x264 (veryfast, two B-frames)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ground_HW = (118 + 50 * np.sin(x * 2 * np.pi * 6 / WIDTH) + 40 * np.sin(y / 70)).astype(np.uint8)
    part = path.with_suffix(".part.mp4")
    chroma = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    with av.open(str(part), "w") as output:
        stream = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.max_b_frames = 2
        stream.codec_context.gop_size = 300
        for number in range(num_frames):
            planes = np.concatenate([draw(number, ground_HW), chroma])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    part.replace(path)


Fetch: TypeAlias = Callable[[Path, list[list[int]], int | None], list[list[int]]]


def measure(
    name: str, fetch: Fetch, path: Path, clips: list[list[int]], short_side: int | None, times: int
) -> float:
    """Run `fetch` some times; print the best time and how many frames were the right ones."""
    seconds = []
    right = total = 0
    for _ in range(times):
        start = time.perf_counter()
        numbers = fetch(path, clips, short_side)
        seconds.append(time.perf_counter() - start)
        right = sum(np.equal(got, asked).sum() for got, asked in zip(numbers, clips, strict=True))
        total = sum(map(len, clips))
    print(f"  {name:30} {min(seconds):8.2f} s   {right}/{total} frames right", flush=True)
    return min(seconds)


def by_vadis(path: Path, clips: list[list[int]], short_side: int | None) -> list[list[int]]:
    """All clips in one pass; the frames of all clips are held at once."""
    with Video(path, short_side=short_side) as video:
        return [[read(frame) for frame in clip.frames_THWC] for clip in video.clips(clips)]


def by_decoding_all(path: Path, clips: list[list[int]], short_side: int | None) -> list[list[int]]:
    """PyAV, every frame of the file; only those of the clips are converted to RGB."""
    wanted = {index for clip in clips for index in clip}
    found = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                height = short_side or frame.height
                width = round(frame.width * height / frame.height)
                found[index] = read(frame.to_ndarray(format="rgb24", width=width, height=height))
    return [[found[index] for index in clip] for clip in clips]


def by_opencv(path: Path, clips: list[list[int]], short_side: int | None) -> list[list[int]]:
    """OpenCV: set CAP_PROP_POS_FRAMES to the first frame of each clip and read on; one frame held at once."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    numbers = []
    for clip in clips:
        capture.set(cv2.CAP_PROP_POS_FRAMES, clip[0])
        seen = []
        for _ in clip:
            _, frame_HWC = capture.read()
            if short_side is not None:
                size = (round(WIDTH * short_side / HEIGHT), short_side)
                frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
            seen.append(read(cv2.cvtColor(frame_HWC, cv2.COLOR_BGR2RGB)))
        numbers.append(seen)
    capture.release()
    return numbers


def main() -> None:
    """Make the file where it is missing, run all at short side 256 and at full size, print the ratios."""
    parser = argparse.ArgumentParser(description="Fetch ten clips of 32 frames from a long 1080p file.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--best-of", type=int, default=3)
    arguments = parser.parse_args()
    num_frames = int(arguments.minutes * 60 * RATE)
    path = Path(tempfile.gettempdir()) / f"vadis-clip-access-{num_frames}.mp4"
    if not path.exists():
        print(f"making {path} ...", flush=True)
        make(path, num_frames)
    print(f"{path.stat().st_size / 2**20:.1f} MiB, {num_frames} frames of {WIDTH}x{HEIGHT}")
    starts = np.random.default_rng(0).integers(0, num_frames - 32, 10)
    clips = [list(range(start, start + 32)) for start in starts.tolist()]
    import torch  # noqa: F401 - as in any program that goes on to run a model; resizing uses it then

    for short_side in (256, None):
        print(f"short side {short_side or 'as it is'}:")
        seconds = {
            name: measure(name, fetch, path, clips, short_side, times)
            for name, fetch, times in (
                ("ours, ten clips in one pass", by_vadis, arguments.best_of),
                ("OpenCV, seeking", by_opencv, arguments.best_of),
                ("PyAV, the whole file", by_decoding_all, 1),
            )
        }
        ours, opencv, whole = seconds.values()
        print(f"  OpenCV / ours {opencv / ours:.2f}, whole file / ours {whole / ours:.2f}")


if __name__ == "__main__":
    main()
