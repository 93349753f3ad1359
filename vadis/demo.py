"""`make demo`: prove the published weights, then show on one clip what vadis does.

Without a clip of the user's it renders ten seconds of real human motion (`vadis/data/render.py`). The
figure is drawn, and Kinetics was made of films of people: what the model says of it is shown as it is.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from vadis.fetching import fetch_if_missing
from vadis.formats import PredictionWriter
from vadis.prediction import DEFAULT_MODEL, DEFAULT_THRESHOLD, Predictor
from vadis.records import Prediction, Span
from vadis.video.draw import draw_overlay, draw_timeline

GOLDEN = "i3d_inception.k400.logits_16.npy"
TOLERANCE = 1e-3


def prove_weights(predictor: Predictor) -> float:
    """The largest difference between this machine's logits and an independent implementation's.

    Input: uniform noise in [-1, 1] from numpy's default_rng(0), 16 frames of 224 x 224. The golden
    logits_K were computed in JAX with the same published weights. Uses the plain model in float32.
    """
    golden = importlib.resources.files("vadis.models") / "golden" / GOLDEN
    with importlib.resources.as_file(golden) as path:
        golden_K = np.load(path, allow_pickle=False).reshape(-1)
    clip_BTHWC = np.random.default_rng(0).uniform(-1, 1, (1, 16, 224, 224, 3)).astype("float32")
    clip_BCTHW = torch.from_numpy(clip_BTHWC).permute(0, 4, 1, 2, 3).contiguous()
    with torch.inference_mode():
        logits_K = predictor.network(clip_BCTHW)[0].numpy()
    return float(np.abs(logits_K - golden_K).max())


def render_video(folder: Path) -> tuple[str, tuple[Span, ...]]:
    """Render the demo's clip into `folder`; returns the file and which motion is shown when (seconds)."""
    from vadis.data.render import demo_clip

    path = folder / "rendered.mp4"
    clip = demo_clip(path)
    return str(path), tuple(clip.spans)


def run_demo(video: str | None, out: Path) -> int:
    """Do all of it and leave table, JSON, timeline and overlay in `out`; returns the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    console.rule("1. the published weights")
    fetch_if_missing(DEFAULT_MODEL)
    predictor = Predictor(DEFAULT_MODEL)
    difference = prove_weights(predictor)
    console.print(
        f"{DEFAULT_MODEL}: I3D, RGB, Kinetics-400 from scratch; claimed 68.4/88.0 (test)\n"
        f"largest difference to the logits of an independent implementation: {difference:.1e} "
        f"(logits range over tens; the limit is {TOLERANCE:g})"
    )
    if difference > TOLERANCE:
        console.print("the weights do not give the answers they should: stopping here", style="red")
        return 1
    console.rule("2. the video")
    truth: tuple[Span, ...] = ()
    if video is None:
        console.print(
            "rendering about ten seconds of motion capture (make demo VIDEO=path takes your own clip)"
        )
        video, truth = render_video(out)
        console.print(
            "Note: this figure is RENDERED. Kinetics-400 is made of films of real people, so this model has "
            "never seen such pictures; its answers below are shown as they are."
        )
        for span in truth:
            console.print(f"  {span.start_seconds:5.1f} to {span.end_seconds:4.1f} s: {span.class_name}")
    console.rule("3. its actions")
    prediction = predictor.predict(video, stride_seconds=1.28)
    files = _write_results(prediction, video, out)
    console.rule("4. where it is")
    for what, path in files.items():
        console.print(f"  {what:<9} {path}", markup=False, soft_wrap=True)
    return 0


def _write_results(prediction: Prediction, video: str, out: Path) -> dict[str, Path]:
    files = {
        "table": out / "table.txt",
        "json": out / "prediction.json",
        "timeline": out / "timeline.png",
        "overlay": out / "overlay.mp4",
    }
    with PredictionWriter(sys.stdout, "table") as screen:
        screen.write(prediction)
    for kind in ("table", "json"):
        with PredictionWriter(str(files[kind]), kind) as writer:
            writer.write(prediction)
    draw_timeline(prediction, files["timeline"], threshold=DEFAULT_THRESHOLD, num_classes=400)
    draw_overlay(video, prediction, files["overlay"])
    if (out / "rendered.mp4").exists() and video == str(out / "rendered.mp4"):
        files["video"] = out / "rendered.mp4"
    return files
