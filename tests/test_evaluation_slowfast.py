"""Our 10x3 views against PySlowFast's rules, written out here from its own files, to the scores.

Its files: slowfast/datasets/decoder.py (`get_start_end_idx`, `temporal_sampling`), transform.py
(`uniform_crop`), kinetics.py (view k is clip k // 3, crop k % 3), utils/meters.py (sums of softmax). Videos
have the short side of the test already, so that no resampling comes between.
"""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numbered import draw_number
from PIL import Image

from vadis.data.clip_rules import ClipRule, choose_frames
from vadis.evaluation import make_protocol, measure, score_dataset
from vadis.models import create_model
from vadis.records import Dataset, Example
from vadis.specs import ClipSpec

SIDE = 48
NUM_CLASSES = 6


def their_indices(video_size: int, fps: float, clip: int, num_frames: int, rate: int) -> torch.Tensor:
    """`get_start_end_idx` and `temporal_sampling` for one of 10 test clips, target rate 30."""
    clip_size = rate * num_frames / 30 * fps
    delta = max(video_size - clip_size, 0)
    start = delta * clip / 10
    end = start + clip_size - 1
    index = torch.linspace(start, end, num_frames)
    return torch.clamp(index, 0, video_size - 1).long()


def their_crop(frames_TCHW: torch.Tensor, size: int, place: int) -> torch.Tensor:
    """`uniform_crop`."""
    height, width = frames_TCHW.shape[2:]
    y = math.ceil((height - size) / 2)
    x = math.ceil((width - size) / 2)
    if height > width:
        y = {0: 0, 1: y, 2: height - size}[place]
    else:
        x = {0: 0, 1: x, 2: width - size}[place]
    return frames_TCHW[:, :, y : y + size, x : x + size]


def write_frames(folder: Path, num_frames: int, size: tuple[int, int], first: int) -> None:
    folder.mkdir()
    for number in range(num_frames):
        Image.fromarray(draw_number(first + number, size)).save(folder / f"img_{number + 1:05d}.png")


def write_lossless(path: Path, num_frames: int, size: tuple[int, int], fps: Fraction, first: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw_number(first + number, size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Landscape, portrait, odd rooms, longer and shorter than a clip, three rates; each frame is another."""
    root = tmp_path_factory.mktemp("views")
    write_frames(root / "wide", 101, (73, SIDE), 0)
    write_frames(root / "tall", 83, (SIDE, 81), 200)
    write_frames(root / "short", 20, (60, SIDE), 400)
    write_lossless(root / "film.mkv", 121, (86, SIDE), Fraction(25), 600)
    examples = (
        Example("wide", "wide", (0,), fps=30.0),
        Example("tall", "tall", (1,), fps=24.0),
        Example("short", "short", (2,), fps=30.0),
        Example("film.mkv", "film", (3,)),
    )
    return Dataset("made", str(root), "val", tuple("abcdef"), examples)


def read_video(root: Path, name: str) -> tuple[torch.Tensor, float]:
    """All frames_TCHW and the rate, by other means than ours."""
    rates = {"wide": 30.0, "tall": 24.0, "short": 30.0}
    if name in rates:
        pictures = [np.asarray(Image.open(path)) for path in sorted((root / name).iterdir())]
        fps = rates[name]
    else:
        with av.open(str(root / name)) as container:
            fps = float(container.streams.video[0].average_rate or 0)
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), fps


@pytest.mark.slow
def test_ten_by_three_is_theirs_to_the_scores(dataset: Dataset) -> None:
    torch.manual_seed(5)
    model = create_model("slowfast_r50_4x16", tiny=True, num_classes=NUM_CLASSES).eval()
    with torch.no_grad():
        model.head.weight.mul_(300)  # so that views disagree
    spec = model.spec
    assert (spec.num_frames, spec.frame_stride, spec.fps) == (32, 2, 30.0)
    model.spec = ClipSpec(
        num_frames=32, frame_stride=2, fps=30.0, size=SIDE, crop=40, mean=spec.mean, std=spec.std
    )
    protocol = make_protocol("10x3", model)
    assert protocol.spec is not None
    assert protocol.spec.crop == SIDE
    seen: list[torch.Tensor] = []

    def note(clip_BCTHW: torch.Tensor) -> torch.Tensor:
        seen.append(clip_BCTHW)
        return clip_BCTHW

    scored = score_dataset(model, dataset, protocol, device="cpu", workers=0, batch_size=10, sees=note)
    ours_BCTHW = torch.cat(seen)
    assert not scored.failures
    assert len(ours_BCTHW) == 30 * len(dataset.examples)
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (spec.mean, spec.std))
    sums = torch.zeros(len(dataset.examples), NUM_CLASSES, dtype=torch.float64)
    hits = np.zeros(len(dataset.examples), int)
    for row, example in enumerate(dataset.examples):
        frames_TCHW, fps = read_video(Path(dataset.root), example.video)
        views = []
        for view in range(30):
            index = their_indices(len(frames_TCHW), fps, view // 3, 32, 2)
            clip = (frames_TCHW[index].float() / 255 - mean) / std
            views.append(their_crop(clip, SIDE, view % 3).transpose(0, 1))
        theirs_BCTHW = torch.stack(views)
        assert torch.allclose(ours_BCTHW[30 * row : 30 * row + 30], theirs_BCTHW, atol=1e-5)
        with torch.no_grad():
            scores = torch.cat([model(part) for part in theirs_BCTHW.split(10)]).softmax(1)
        sums[row] = scores.double().sum(0)
        hits[row] = int((scores.argmax(1) == example.labels[0]).sum())
    assert np.allclose(30 * scored.scores_NK, sums.numpy(), atol=3e-4)
    assert scored.hits_N.tolist() == hits.tolist()
    assert sums.std(dim=1).min() > 0.5  # the views do say something
    top1 = float((sums.argmax(1) == torch.arange(4)).double().mean())
    assert measure(scored, dataset)["top1"] == top1


@pytest.mark.parametrize("fps", [15.0, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94])
def test_indices_are_theirs_for_any_length(fps: float) -> None:
    spec = ClipSpec(num_frames=32, frame_stride=2, fps=30.0)
    rule = ClipRule("slowfast", 10)
    for total in (1, 5, 31, 63, 64, 65, 100, 250, 299, 300, 301, 517):
        times_T = np.arange(total) / fps
        ours_NT = choose_frames(Example("v", "v"), times_T, spec, rule, None)
        if total == 1:
            continue  # a picture has no rate
        theirs = torch.stack([their_indices(total, fps, clip, 32, 2) for clip in range(10)])
        assert (ours_NT == theirs.numpy()).all(), (fps, total)
