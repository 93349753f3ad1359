"""Clips per second from a folder of 10-second videos: our loader against the common ways, in one run.

Run: python benchmarks/loading.py [--videos 24] [--epochs 2] [--json]
340x256 pixels, 30 frames a second, H.264 with x264's defaults (a keyframe every 250 frames at most); a clip
is 32 frames of stride 2 from a random place, a random crop of 224 pixels, batches of 8 from 2 workers. All
ways run in PyTorch's DataLoader with the same clips and the same crops and hand over uint8; frames other
than ours are marked in the result. The ways take turns, epoch by epoch, so that a busy machine is as busy for
each; the first epoch of each warms up and is not counted. Each decoder has one thread, as there is a worker
for each core (decord starts more of its own). Beside it stands the processor's time for a clip of a batch in
one process, which other programs disturb less. torchcodec and decord take part where they are installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from vadis.data import loader as ours
from vadis.data.augment import RandomCrop
from vadis.data.clip_rules import ClipRule
from vadis.records import Dataset as Listed
from vadis.records import Example
from vadis.specs import ClipSpec

WIDTH, HEIGHT, RATE, NUM_FRAMES = 340, 256, 30, 300
T, STRIDE, CROP, BATCH, WORKERS = 32, 2, 224, 8, 2
MAX_MEAN_DIFFERENCE = 3.0  # grey levels between decoders' colours; a wrong frame differs by 20 and more
FOLDER = Path(tempfile.gettempdir()) / "vadis_loading_benchmark"


def draw(number: int, ground_HWC: np.ndarray) -> np.ndarray:
    """A textured picture that drifts: each frame differs from the next."""
    return np.ascontiguousarray(np.roll(ground_HWC, (number, number * 2), (0, 1)))


def make(path: Path, seed: int) -> None:
    """Encode one video with x264's own defaults."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (HEIGHT // 8, -(-WIDTH // 8), 3), dtype=np.uint8)
    ground = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:, :WIDTH]
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(NUM_FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(draw(number, ground), format="rgb24")))
        output.mux(stream.encode(None))
    part.replace(path)


def with_opencv(path: Path, indices: list[int]) -> np.ndarray:
    """OpenCV: go to the first frame, read on, keep every second one."""
    import cv2

    cv2.setNumThreads(0)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_POS_FRAMES, indices[0])
    wanted, frames = set(indices), []
    for index in range(indices[0], indices[-1] + 1):
        capture.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def with_pyav(path: Path, indices: list[int]) -> np.ndarray:
    """PyAV: decode all of the video, keep the clip's frames."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = list(container.decode(video=0))
        return np.stack([frames[index].to_ndarray(format="rgb24") for index in indices])


def with_torchcodec(path: Path, indices: list[int]) -> np.ndarray:
    """torchcodec: exact seeking, all frames in one call."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
    return np.asarray(decoder.get_frames_at(indices).data)


def with_decord(path: Path, indices: list[int]) -> np.ndarray:
    """decord: get_batch."""
    import decord

    return np.asarray(decord.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy())


class Common(Dataset[torch.Tensor]):
    """The clips of one epoch as our loader draws them, read in another way, cropped where ours are."""

    def __init__(self, clips: ours.ClipDataset, read: Callable[[Path, list[int]], np.ndarray]) -> None:
        self.clips, self.read, self.epoch = clips, read, 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> torch.Tensor:
        rng, generator = ours.generators(self.clips.seed, ours.Draw(self.epoch, index))
        start = int(rng.integers(0, NUM_FRAMES - (T - 1) * STRIDE))
        example = self.clips.dataset.examples[index]
        indices = list(range(start, start + T * STRIDE, STRIDE))
        frames = torch.from_numpy(self.read(Path(self.clips.dataset.root) / example.video, indices))
        return RandomCrop(CROP)(frames.permute(0, 3, 1, 2), (), generator)[0].contiguous()


def our_epochs(clips: ours.ClipDataset, epochs: int) -> Iterator[Iterator[torch.Tensor]]:
    """Our loader, epoch by epoch."""
    batches = ours.ClipLoader(clips, BATCH, workers=WORKERS)
    for _ in range(epochs):
        yield (batch.pixels_VTCHW for batch in batches)


def common_epochs(data: Common, epochs: int) -> Iterator[Iterator[torch.Tensor]]:
    """Another way in PyTorch's loader, epoch by epoch."""
    batches = DataLoader(data, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    for _ in range(epochs):
        yield iter(batches)


def measure(ways: dict[str, Iterator[Iterator[torch.Tensor]]]) -> dict[str, float]:
    """Clips per second of each way, epochs in turn, without the first of each."""
    clips: dict[str, int] = dict.fromkeys(ways, 0)
    seconds = dict.fromkeys(ways, 0.0)
    for number in itertools.count():
        for name, epochs in ways.items():
            start = time.perf_counter()
            epoch = next(epochs, None)
            if epoch is None:
                return {name: clips[name] / seconds[name] for name in ways}
            count = sum(len(batch) for batch in epoch)
            if number:
                clips[name] += count
                seconds[name] += time.perf_counter() - start
    raise AssertionError


Way = tuple[Callable[[int], Any], Callable[[list[Any]], object]]
"""How a way makes the clip of an index, and a batch of several."""


def processor_times(ways: dict[str, Way], count: int, rounds: int = 4) -> dict[str, float]:
    """Milliseconds of the processor, all threads, that a clip of a batch takes in this process.

    The same clips in each round, ways in turn; the least of all rounds, which others disturbed least.
    """
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, (one, collate) in ways.items():
            start = time.process_time()
            for first in range(0, count, BATCH):
                collate([one(index % count) for index in range(first, first + BATCH)])
            clips = -(-count // BATCH) * BATCH
            best[name] = min(best[name], (time.process_time() - start) / clips * 1000)
    return best


def difference(clips: ours.ClipDataset, data: Common) -> float:
    """The largest mean difference of a frame between another way and ours, in grey levels."""
    worst = 0.0
    for index in range(min(4, len(clips))):
        mine = clips[ours.Draw(0, index)]
        if isinstance(mine, ours.FailedExample):
            raise RuntimeError(mine.failure.message)
        apart = (mine.pixels_VTCHW[0].float() - data[index].float()).abs().mean((1, 2, 3))
        worst = max(worst, float(apart.max()))
    return worst


WAYS: dict[str, Callable[[Path, list[int]], np.ndarray]] = {
    "OpenCV, seek and read": with_opencv,
    "PyAV, whole video": with_pyav,
    "torchcodec": with_torchcodec,
    "decord": with_decord,
}


def main() -> None:
    """Make the videos, check and time every way, print clips per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=2, help="that count, after one that warms up")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    names = [f"{number:04d}.mp4" for number in range(args.videos)]
    for number, name in enumerate(names):
        if not (FOLDER / name).exists():
            make(FOLDER / name, number)
    listed = Listed("benchmark", str(FOLDER), "train", ("x",), tuple(Example(n, n, (0,)) for n in names))
    spec = ClipSpec(num_frames=T, frame_stride=STRIDE, size=HEIGHT, crop=CROP)
    clips = ours.ClipDataset(listed, spec, rule=ClipRule("random"), steps=(RandomCrop(CROP),))
    torch.set_num_threads(1)
    ways = {"vadis": our_epochs(clips, args.epochs + 1)}
    one_by_one: dict[str, Way] = {
        "vadis": (lambda index: clips[ours.Draw(1, index)], ours.Collate(spec, None))
    }
    skipped, wrong = {}, {}
    for name, read in WAYS.items():
        data = Common(clips, read)
        try:
            apart = difference(clips, data)
        except (ImportError, OSError, RuntimeError) as error:
            skipped[name] = str(error).splitlines()[0]
            continue
        if apart > MAX_MEAN_DIFFERENCE:
            wrong[name] = round(apart, 1)
        data.epoch = 1
        one_by_one[name] = (data.__getitem__, default_collate)
        ways[name] = common_epochs(data, args.epochs + 1)
    processor = processor_times(one_by_one, min(16, len(clips)))
    results = measure(ways)
    if args.json:
        found = {"clips_per_second": results, "processor_ms_per_clip": processor}
        print(json.dumps({**found, "skipped": skipped, "wrong_frames": wrong}, indent=2))
        return
    for name, speed in results.items():
        note = f"  WRONG FRAMES ({wrong[name]} grey levels)" if name in wrong else ""
        shares = f"vadis is {results['vadis'] / speed:5.2f} x, {processor[name] / processor['vadis']:5.2f} x"
        print(f"{name:24s} {speed:7.2f} clips/s  {processor[name]:6.1f} ms of the processor   {shares}{note}")
    for name, why in skipped.items():
        print(f"{name:24s} not run: {why}")


if __name__ == "__main__":
    main()
