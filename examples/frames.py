"""Frames of a video at given times, exactly those that a player shows, saved as PNG.

python examples/frames.py a.mp4 0 1.5 2.25
"""

import sys
from pathlib import Path

from PIL import Image

import vadis


def main(video: str, *seconds: str, folder: str = ".") -> None:
    """Save the frames shown at some times, in seconds, into `folder`."""
    info = vadis.probe(video)
    print(f"{video}: {info.codec} in {info.container}, {info.width}x{info.height}, {info.duration_seconds} s")
    frames = vadis.decode(video, seconds=[float(second) for second in seconds])
    for second, frame_HWC, time, index in zip(
        seconds, frames.frames_THWC, frames.times_T, frames.indices_T, strict=True
    ):
        target = Path(folder) / f"{Path(video).stem}_{second}.png"
        Image.fromarray(frame_HWC).save(target)
        print(f"{target}: frame {index}, shown from {time:.3f} s on")
    if not frames.report.ok:
        print(f"the file is damaged: {frames.report}")


if __name__ == "__main__":
    main(*sys.argv[1:])
