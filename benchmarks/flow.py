"""Optical flow, method beside method: end-point error on motion that is known, and seconds per pair.

    python benchmarks/flow.py                       # made sequences and rendered people, one thread each
    python benchmarks/flow.py --clips FOLDER        # real clips as well: how far from OpenCV's TV-L1
    python benchmarks/flow.py --seed 100 --pairs 3  # others than the parameters were chosen on
    python benchmarks/flow.py --crf 28              # the frames as H.264 gives them back
    python benchmarks/flow.py --device cuda         # ours on a GPU, all pairs of a sequence at once

Errors are means in pixels over the pixels that can be followed. Times are processor time of one thread per
pair (on a GPU: wall time), and ratios to OpenCV's default TV-L1 in the same run: how many times as fast.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch

from vadis.data.known_motion import MOTIONS, end_point_error, known_motion
from vadis.data.render import render_clip
from vadis.video.decode import decode
from vadis.video.flow import Estimator, opencv

PEOPLE = (("cartwheel", 3), ("run", 1), ("dance_b", 2), ("spinkick", 5))
WAYS = {
    "tvl1_opencv": ("tvl1_opencv", {}),
    "tvl1": ("tvl1", {}),
    "tvl1 opencv": ("tvl1", {"parameters": "opencv"}),
    "dis": ("dis", {}),
    "dis medium": ("dis", {"preset": "medium"}),
    "farneback": ("farneback", {}),
}


def sequences(pairs: int, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames, true flow and what can be followed, by name."""
    found = {}
    for motion in MOTIONS:
        made = known_motion(motion, frames=pairs + 1, seed=seed)
        found[motion] = (made.frames_THWC, made.flow_THW2, made.flow_seen_THW)
    for motion, scene in PEOPLE:
        clip = render_clip(motion, seconds=0.6, seed=scene + seed, flow=True)
        middle = slice(len(clip.frames_THWC) // 2, len(clip.frames_THWC) // 2 + pairs)
        frames = clip.frames_THWC[middle.start : middle.stop + 1]
        found[motion] = (frames, clip.flow_THW2[middle], clip.flow_seen_THW[middle])
    return found


def compressed(frames_THWC: np.ndarray, crf: int) -> np.ndarray:
    """The frames after H.264 at a constant rate factor: what estimators get from real files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequence.mp4"
        height, width = frames_THWC.shape[1:3]
        with av.open(str(path), "w") as container:
            options = {"crf": str(crf), "preset": "medium"}
            stream = container.add_stream("libx264", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame_HWC in frames_THWC:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, "rgb24")))
            container.mux(stream.encode(None))
        return decode(path, indices=range(len(frames_THWC))).frames_THWC


def timed(estimator: Estimator, frames: np.ndarray, device: str) -> tuple[np.ndarray, float]:
    """Fields and seconds per pair."""
    if device != "cpu":
        estimator(frames)
        torch.cuda.synchronize()
        start = time.perf_counter()
        fields = estimator(frames).fields_THW2
        return fields, (time.perf_counter() - start) / len(fields)
    start = time.process_time()
    fields = estimator(frames).fields_THW2
    return fields, (time.process_time() - start) / len(fields)


def table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| method | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of real clips")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of each sequence")
    parser.add_argument("--seed", type=int, default=0, help="of pictures, motions and scenes")
    parser.add_argument("--crf", type=int, help="compress the sequences by H.264 at this rate factor first")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", default=",".join(WAYS), help="which, in the table's words")
    parser.add_argument("--real-only", action="store_true", help="leave the sequences out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    opencv().setNumThreads(1)
    chosen = [name for name in WAYS if name in arguments.methods.split(",")]
    estimators = {name: Estimator(WAYS[name][0], device=arguments.device, **WAYS[name][1]) for name in chosen}
    if not arguments.real_only:
        made = sequences(arguments.pairs, arguments.seed)
        if arguments.crf is not None:
            made = {name: (compressed(clip[0], arguments.crf), *clip[1:]) for name, clip in made.items()}
        errors: dict[str, list[str]] = {name: [] for name in chosen}
        apart: dict[str, list[str]] = {name: [] for name in chosen}
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for frames, truth, seen in made.values():
            reference = None
            for name, estimator in estimators.items():
                device = arguments.device if name.startswith(("tvl1 ", "raft")) or name == "tvl1" else "cpu"
                fields, spent = timed(estimator, frames, device)
                errors[name].append(f"{end_point_error(fields, truth, seen):.3f}")
                seconds[name].append(spent)
                reference = fields if reference is None else reference
                apart[name].append(f"{end_point_error(fields, reference, seen):.3f}")
        table("End-point error in pixels", list(made), errors)
        table(f"Distance from {chosen[0]} in pixels", list(made), {n: apart[n] for n in chosen[1:]})
        base = seconds[chosen[0]]
        rows = {}
        for name in chosen:
            ratios = [of / own for of, own in zip(base, seconds[name], strict=True)]
            rows[name] = [f"{np.median(seconds[name]):.3f}", f"{np.median(ratios):.1f}", f"{min(ratios):.1f}"]
        table("Speed", ["seconds per pair (median)", "times as fast (median)", "at least"], rows)
    if arguments.clips:
        rows = {name: [] for name in chosen}
        files = sorted(path for path in arguments.clips.iterdir() if path.suffix in (".mp4", ".avi", ".webm"))
        for path in files:
            frames = decode(path, indices=range(20, 21 + arguments.pairs), short_side=256).frames_THWC
            reference, base_seconds = None, 0.0
            for name, estimator in estimators.items():
                device = arguments.device if name.startswith("tvl1") and name != "tvl1_opencv" else "cpu"
                fields, spent = timed(estimator, frames, device)
                if reference is None:
                    reference, base_seconds = fields, spent
                away = end_point_error(fields, reference)
                length = float(np.hypot(*np.moveaxis(fields, 3, 0)).mean())
                rows[name].append(f"{away:.2f} of {length:.2f}, {base_seconds / spent:.1f} times")
        columns = [path.name for path in files]
        table(f"Real clips: pixels from {chosen[0]} of mean length, times as fast", columns, rows)


if __name__ == "__main__":
    main()
