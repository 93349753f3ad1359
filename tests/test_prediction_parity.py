"""The whole path, file to logits, against independent ones; and proof that mistakes would be caught.

`tests/golden/clips` holds the logits of the published weights on the first 64 frames of four real
clips, made by an independent path (PyAV frames, Pillow, JAX). Where those clips are not at hand, a made
clip goes through a second path written here: full-size frames, Pillow's resize, the plain network.
The measure is the relative L2 difference of the logits after their means are taken off.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vadis.prediction import Predictor
from vadis.video.write import VideoWriter

GOLDEN = Path(__file__).parent / "golden" / "clips"
LIMIT = 0.03
CLIPS = {
    "arm_wrestling.mp4": "arm wrestling",
    "walking_the_dog.mp4": "walking the dog",
    "juggling_soccer_ball.avi": "juggling soccer ball",
    "cartwheel.avi": "cartwheeling",
}
Array = np.ndarray


def relative_difference(ours_K: Array, theirs_K: Array) -> float:
    ours_K, theirs_K = ours_K - ours_K.mean(), theirs_K - theirs_K.mean()
    return float(np.linalg.norm(ours_K - theirs_K) / np.linalg.norm(theirs_K))


@functools.lru_cache(maxsize=1)
def i3d() -> Predictor:
    return Predictor("i3d_inception.k400")


def first_window(path: Path) -> Array:
    """log(score) of each class in the first window of a prediction, which is the logit but for a constant."""
    prediction = i3d().predict(path, top_k=400)
    logs_K = np.zeros(400)
    assert len(prediction.windows[0].labels) == 400
    for label in prediction.windows[0].labels:
        logs_K[label.label] = np.log(label.score)
    return logs_K


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_give_the_independent_logits(name: str, clips: Path, i3d_weights: Path) -> None:
    ours_K = first_window(clips / name)
    theirs_K = np.load(GOLDEN / f"{Path(name).stem}.npy").reshape(-1)
    assert relative_difference(ours_K, theirs_K) < LIMIT
    assert i3d().class_names[int(ours_K.argmax())] == CLIPS[name]


# The second path: nothing of vadis.video, nothing of the engines.


def read_frames(path: Path) -> tuple[Array, Array]:
    """All frames at full size, and the time of each in seconds since the first."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        frames, times = [], []
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.pts * stream.time_base))
        times_N = np.array(times) - times[0]
        if (np.diff(times_N) <= 0).any():  # packed B-frames
            times_N = np.arange(len(frames)) / float(stream.average_rate)
    return np.stack(frames), times_N


def take(frames_NHWC: Array, times_N: Array, rate: float = 25.0, stride: int = 1, late: int = 0) -> Array:
    """64 frames: the one shown at k * stride / rate, `late` frames too late."""
    wanted = np.arange(64) * stride / rate
    indices = np.searchsorted(times_N, wanted + 1e-9, side="right") - 1
    return frames_NHWC[(indices + late).clip(0, len(frames_NHWC) - 1)]


def to_clip(frames_THWC: Array, corner: bool = False) -> Array:
    """Short side 256 by Pillow, 224 from the centre (or the corner), [-1, 1]: clip_CTHW."""
    height, width = frames_THWC.shape[1:3]
    scale = 256 / min(height, width)
    size = (round(width * scale), round(height * scale))
    left, top = (0, 0) if corner else ((size[0] - 224) // 2, (size[1] - 224) // 2)
    box = (left, top, left + 224, top + 224)
    small = [
        np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BILINEAR).crop(box)) for f in frames_THWC
    ]
    return np.stack(small).transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1


def logits(clip_CTHW: Array) -> Array:
    with torch.inference_mode():
        return i3d().network(torch.from_numpy(np.ascontiguousarray(clip_CTHW))[None])[0].numpy()


Mistake = Callable[[Array, Array], Array]
MISTAKES: dict[str, Mistake] = {
    "BGR": lambda frames, times: to_clip(take(frames, times))[::-1],
    "range 0 to 1": lambda frames, times: (to_clip(take(frames, times)) + 1) / 2,
    "native frame rate": lambda frames, times: to_clip(frames[:64]),
    "one frame late": lambda frames, times: to_clip(take(frames, times, late=1)),
    "reversed": lambda frames, times: to_clip(take(frames, times))[:, ::-1],
    "stride 2": lambda frames, times: to_clip(take(frames, times, stride=2)),
    "corner crop": lambda frames, times: to_clip(take(frames, times), corner=True),
    "one frame repeated": lambda frames, times: to_clip(np.repeat(frames[:1], 64, axis=0)),
}


@pytest.fixture(scope="module")
def made_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds at 30 fps and 360 x 270: coloured discs that fall, bounce and cross a textured ground."""
    path = tmp_path_factory.mktemp("made") / "discs.mp4"
    rng = np.random.default_rng(1)
    ground = np.asarray(
        Image.fromarray(rng.integers(40, 216, (27, 36, 3), np.uint8)).resize(
            (360, 270), Image.Resampling.BICUBIC
        )
    )
    rows, columns = np.mgrid[0:270, 0:360]
    with VideoWriter(path, 30) as writer:
        for n in range(150):
            frame_HWC = ground.copy()
            for k, colour in enumerate(((220, 60, 30), (30, 80, 220), (240, 230, 60))):
                across = (40 + 110 * k + (3 + 2 * k) * n) % 400 - 20
                up = abs(np.sin(n / (9 + 3 * k) + k)) * 170
                disc = (rows - (230 - up)) ** 2 + (columns - across) ** 2 < (18 + 6 * k) ** 2
                frame_HWC[disc] = colour
            writer.write(frame_HWC)
    return path


@pytest.fixture(params=["made", "real"])
def any_clip(request: pytest.FixtureRequest, made_clip: Path) -> Path:
    if request.param == "made":
        return made_clip
    return Path(request.getfixturevalue("clips")) / "walking_the_dog.mp4"


@pytest.mark.network
@pytest.mark.slow
def test_each_mistake_would_be_caught(any_clip: Path, made_clip: Path, i3d_weights: Path) -> None:
    if any_clip == made_clip and os.environ.get("VADIS_CLIPS"):
        pytest.skip("the real clip costs each mistake as much, and is at hand")
    frames_NHWC, times_N = read_frames(any_clip)
    ours_K = first_window(any_clip)
    right = relative_difference(ours_K, logits(to_clip(take(frames_NHWC, times_N))))
    assert right < LIMIT
    costs = {
        name: relative_difference(ours_K, logits(make(frames_NHWC, times_N)))
        for name, make in MISTAKES.items()
    }
    missed = {name: cost for name, cost in costs.items() if cost < 2 * LIMIT}
    assert not missed, f"mistakes within twice the limit of {LIMIT}: {missed}; the right way gave {right:.4f}"
