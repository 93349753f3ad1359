"""Segments, stacks, differences, sound, and several of them: what networks of any modality get."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import read_number, write_numbered
from PIL import Image
from torch import Tensor

from vadis.data.augment import ColourJitter, Flip, RandomCrop
from vadis.data.batches import Batch, FailedExample
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips, read_parts
from vadis.data.loader import ClipDataset, ClipLoader
from vadis.data.reading import Reading
from vadis.records import Dataset, Example
from vadis.specs import ClipSpec, SoundSpec, adjust, at_test, join_specs, spec_from_dict
from vadis.video.decode import Video
from vadis.video.sample import tsn_test_segments
from vadis.video.streams import make_inputs, picture_sounds

RGB = ClipSpec("rgb", 3, size=48, crop=32)
FLOW = ClipSpec(
    "flow", 3, size=48, crop=32, mean=(0.0, 0.0), std=(1.0, 1.0), value_range=(-1.0, 1.0), stack=2
)
SOUND = ClipSpec("audio", 3, mean=(0.0,), std=(1.0,), sound=SoundSpec(num_steps=20, num_mels=16))
FRAMES = 30
ZERO = Reading(missing="zero")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 frames whose red is x, whose green counts the frames; flow that repeats the red in u.

    Beside it a film of 60 frames with a tone of 440 Hz, and one without sound.
    """
    folder = tmp_path_factory.mktemp("streams")
    (folder / "a").mkdir()
    x_HW = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    for number in range(FRAMES):
        frame_HWC = np.zeros((48, 64, 3), np.uint8)
        frame_HWC[..., 0], frame_HWC[..., 1] = x_HW, 8 * number
        Image.fromarray(frame_HWC).save(folder / "a" / f"img_{number:05d}.png")
        if number < FRAMES - 1:
            Image.fromarray(x_HW).save(folder / "a" / f"flow_x_{number:05d}.png")
            Image.new("L", (64, 48), 8 * number).save(folder / "a" / f"flow_y_{number:05d}.png")
    write_numbered(folder / "tone.mp4", 60, audio=True)
    write_numbered(folder / "mute.mp4", 60)
    return folder


FOLDER = Example("a", "a", (1,), fps=25.0, flow=("a/flow_x_*.png", "a/flow_y_*.png"))
TONE, MUTE = Example("tone.mp4", "tone", (0,)), Example("mute.mp4", "mute", (0,))


def one_batch(root: Path, spec: ClipSpec, *examples: Example, **options: object) -> Batch:
    dataset = Dataset("d", str(root), "test", ("to the left", "to the right"), examples)
    options = {"rule": ClipRule("uniform"), "training": False, **options}
    clips = ClipDataset(dataset, spec, **options)  # type: ignore[arg-type]
    (batch,) = ClipLoader(clips, len(examples), workers=0)
    return batch


# --- where the positions lie --------------------------------------------------------------------------


def test_segments_at_test_are_tsns(root: Path) -> None:
    spec = replace(RGB, sampling="segments")
    clips = read_clips(FOLDER, root, spec, ClipRule("uniform"))
    assert clips.indices_NT.tolist() == [tsn_test_segments(FRAMES, 3).tolist()] == [[5, 15, 25]]
    several = read_clips(FOLDER, root, spec, ClipRule("uniform", 2)).indices_NT
    assert several.T.ravel().tolist() == tsn_test_segments(FRAMES, 6).tolist(), (
        "two clips look twice as often"
    )


def test_segments_in_training_are_one_of_each_part(root: Path) -> None:
    spec = replace(RGB, sampling="segments")
    drawn = read_clips(FOLDER, root, spec, ClipRule("random", 50), rng=np.random.default_rng(0)).indices_NT
    assert (drawn // 10 == [0, 1, 2]).all()
    assert all(len(set(column)) > 5 for column in drawn.T.tolist())


def test_a_stack_does_not_reach_past_the_end(root: Path) -> None:
    spec = replace(FLOW, sampling="segments", num_frames=1, stack=10)
    drawn = read_clips(FOLDER, root, spec, ClipRule("random", 50), rng=np.random.default_rng(0))
    assert drawn.indices_NT.max() == 19, "29 fields: the last stack of ten begins at 19"
    assert drawn.clips[0].shape == (1, 48, 64, 20)


def test_another_length_at_test() -> None:
    spec = join_specs({"rgb": replace(RGB, test_frames=25), "flow": replace(FLOW, test_frames=25)})
    found = at_test(spec)
    assert {part.num_frames for part in found.parts.values()} == {found.num_frames} == {25}
    assert spec.num_frames == 3


# --- what lies in the channels ------------------------------------------------------------------------


def test_a_stack_of_frames_and_its_differences(root: Path) -> None:
    stacked = one_batch(root, replace(RGB, stack=2, num_frames=2), FOLDER).clip_BCTHW()
    assert isinstance(stacked, Tensor)
    assert stacked.shape == (1, 6, 2, 32, 32)
    green = stacked[0, :, :, 0, 0] * 255
    assert green[[1, 4]].round().tolist() == [[112, 120], [120, 128]], "frames 14 and 15, then 15 and 16"
    spec = replace(RGB, modality="rgb_diff", num_frames=2, stack=3, value_range=(0.0, 255.0))
    differences = one_batch(root, spec, FOLDER).clip_BCTHW()
    assert isinstance(differences, Tensor)
    assert differences.shape == (1, 9, 2, 32, 32)
    assert differences[:, 0::3].abs().max() == 0, "red stands still"
    assert differences[:, 1::3].unique().tolist() == [8.0], "green grows by 8 a frame"


def test_differences_of_a_batch_of_channels_in_another_order(root: Path) -> None:
    spec = replace(RGB, num_frames=1, stack=2, channel_order="bgr")
    clip = one_batch(root, spec, FOLDER).clip_BCTHW()
    assert isinstance(clip, Tensor)
    assert (clip[0, [1, 4], 0, 0, 0] * 255).round().tolist() == [112, 120]
    assert clip[0, [2, 5], 0, 0, 1].unique().numel() == 1, "red comes last in both"
    assert clip[0, [0, 3]].abs().max() == 0


# --- several at once ----------------------------------------------------------------------------------

BOTH = join_specs({"rgb": RGB, "flow": FLOW})


def test_parts_show_the_same_moments(root: Path) -> None:
    clips = read_parts(FOLDER, root, BOTH, ClipRule("uniform", 2))
    assert clips["rgb"].indices_NT.tolist() == [[0, 1, 2], [27, 28, 29]]
    assert clips["flow"].indices_NT.tolist() == [[0, 1, 2], [27, 28, 28]], "there is no 30th field"
    assert clips["flow"].clips[1].shape == (3, 48, 64, 4)
    shorter = join_specs({"rgb": replace(RGB, num_frames=9), "flow": replace(FLOW, num_frames=1)})
    clips = read_parts(FOLDER, root, shorter, ClipRule("uniform"))
    assert clips["rgb"].indices_NT.tolist() == [list(range(10, 19))]
    assert clips["flow"].indices_NT.tolist() == [[14]], "in the middle"


def test_parts_are_cut_and_mirrored_alike(root: Path) -> None:
    """Red is x and so is u, so after any crop they agree; where it was mirrored, u is 255 less that."""
    steps = (RandomCrop(32), Flip(0.5, (1, 0)))
    named = {
        "rgb": (*steps, ColourJitter(0, 0, 0, 0)),
        "flow": (steps[0], replace(steps[1], modality="flow")),
    }
    mirrored = 0
    for seed in range(12):
        batch = one_batch(root, BOTH, FOLDER, training=True, steps=named, seed=seed, rule=ClipRule("random"))
        assert isinstance(batch.pixels_VTCHW, dict)
        red, u = batch.pixels_VTCHW["rgb"][0, :, 0], batch.pixels_VTCHW["flow"][0, :, 0]
        flipped = batch.labels.tolist() == [0]
        assert torch.equal(u, 255 - red if flipped else red)
        mirrored += flipped
    assert 0 < mirrored < 12


def test_a_batch_of_parts(root: Path) -> None:
    batch = one_batch(root, BOTH, FOLDER, FOLDER, rule=ClipRule("uniform", 2), crops="three")
    clips = batch.clip_BCTHW()
    assert isinstance(clips, dict)
    assert {name: tuple(clip.shape) for name, clip in clips.items()} == {
        "rgb": (12, 3, 3, 32, 32),
        "flow": (12, 4, 3, 32, 32),
    }
    parts = [part.clip_BCTHW() for part in batch.split(5)]
    assert [len(part["flow"]) for part in parts] == [5, 5, 2]  # type: ignore[index]
    assert torch.equal(torch.cat([part["rgb"] for part in parts]), clips["rgb"])  # type: ignore[index]


def test_what_is_missing_fails_or_is_zero(root: Path) -> None:
    without = replace(FOLDER, flow=())
    batch = one_batch(root, BOTH, FOLDER, without)
    assert batch.num_valid == 1
    assert [type(item) for item in batch.failed] == [FailedExample]
    assert "there are no flow pictures" in batch.failed[0].failure.message
    batch = one_batch(root, BOTH, FOLDER, without, reading=ZERO, rule=ClipRule("uniform", 2))
    clips = batch.clip_BCTHW()
    assert isinstance(clips, dict)
    assert batch.num_valid == 2
    assert clips["flow"][:2].abs().max() > 0
    assert clips["flow"][2:].abs().max() == 0
    assert torch.equal(clips["rgb"][2:], clips["rgb"][:2])
    (part,) = batch.split(99)
    assert part.absent["flow"].tolist() == [False, False, True, True]


# --- sound --------------------------------------------------------------------------------------------


def test_sound_lies_about_each_frame(root: Path) -> None:
    batch = one_batch(root, replace(SOUND, sampling="segments"), TONE)
    clip = batch.clip_BCTHW()
    assert isinstance(clip, Tensor)
    assert clip.shape == (1, 1, 3, 20, 16)
    loudest = clip[0, 0].argmax(-1)
    assert loudest.unique().numel() == 1, "one tone, one band"
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 18)
    centres = 700 * np.expm1(edges[1:-1] / 1127)
    assert int(loudest[0, 0]) == int(np.abs(centres - 440).argmin())


def test_sound_and_frames_together(root: Path) -> None:
    spec = join_specs({"rgb": RGB, "audio": SOUND})
    batch = one_batch(root, spec, TONE, MUTE)
    assert [item.id for item in batch.failed] == ["mute"]
    assert "no sound" in batch.failed[0].failure.message
    batch = one_batch(root, spec, TONE, MUTE, reading=ZERO, crops="ten")
    clips = batch.clip_BCTHW()
    assert isinstance(clips, dict)
    assert clips["audio"].shape == (20, 1, 3, 20, 16)
    assert clips["audio"][10:].abs().max() == 0
    assert torch.equal(clips["audio"][0], clips["audio"][9]), "sound has no corners"


def test_silence_before_and_after() -> None:
    wave_S = np.sin(np.arange(16_000) * 2 * np.pi * 1000 / 16_000).astype(np.float32)
    sound = SoundSpec(num_steps=40)
    first, middle, late = picture_sounds(wave_S, np.array([0.0, 0.5, 3.0]), sound)
    assert first.shape == (40, 64)
    assert np.allclose(late, np.log(0.01), atol=1e-6), "nothing is heard there"
    assert first[:10].max() < first[30:].max() - 3, "half of it lies before the beginning"
    assert np.allclose(middle[5], middle[30], atol=1e-4)


# --- of arrays ----------------------------------------------------------------------------------------


def arrays_of(root: Path) -> dict[str, np.ndarray]:
    frames_THWC = np.stack([np.asarray(Image.open(root / "a" / f"img_{n:05d}.png")) for n in range(FRAMES)])
    grey = [
        [np.asarray(Image.open(root / "a" / f"flow_{axis}_{n:05d}.png"), np.float32) for axis in "xy"]
        for n in range(FRAMES - 1)
    ]
    flow_THW2 = np.stack([np.stack(pair, 2) for pair in grey]) / 127.5 * 20 - 20
    return {"rgb": frames_THWC, "flow": flow_THW2}


@pytest.mark.parametrize("sampling", ["clip", "segments"])
def test_arrays_become_what_the_loader_gives(root: Path, sampling: str) -> None:
    spec = join_specs({"rgb": replace(RGB, sampling=sampling), "flow": replace(FLOW, sampling=sampling)})
    wanted = one_batch(root, spec, FOLDER).clip_BCTHW()
    found = make_inputs(spec, arrays_of(root))
    assert isinstance(wanted, dict)
    assert isinstance(found, dict)
    assert torch.equal(found["rgb"], wanted["rgb"])
    assert torch.allclose(found["flow"], wanted["flow"], atol=1e-5)
    alone = make_inputs(spec.parts["flow"], {"flow": arrays_of(root)["flow"]})
    assert isinstance(alone, Tensor)
    assert alone.shape == (1, 4, 3, 32, 32)


@pytest.mark.parametrize("fps", [None, 25.0, 5.0, 10.0, 50.0])
@pytest.mark.parametrize("sampling", ["clip", "segments"])
def test_arrays_at_a_rate_of_the_networks_own(root: Path, sampling: str, fps: float | None) -> None:
    """A network that takes five frames a second gets every fifth of these, as from the loader."""
    spec = replace(RGB, sampling=sampling, fps=fps, num_frames=4)
    wanted = one_batch(root, spec, FOLDER).clip_BCTHW()
    found = make_inputs(spec, arrays_of(root), fps=25.0)
    assert isinstance(found, Tensor)
    assert isinstance(wanted, Tensor)
    assert torch.equal(found, wanted)
    if sampling == "clip" and fps is not None:
        steps = (found[0, 1, :, 0, 0].diff() * 255 / 8).round().tolist()
        assert steps == pytest.approx([25 / fps] * 3, abs=0.5)


def test_arrays_of_parts_at_two_rates(root: Path) -> None:
    both = join_specs({"rgb": replace(RGB, num_frames=2, fps=5.0), "flow": replace(FLOW, fps=12.5)})
    wanted, found = one_batch(root, both, FOLDER).clip_BCTHW(), make_inputs(both, arrays_of(root))
    assert isinstance(wanted, dict)
    assert isinstance(found, dict)
    assert torch.equal(found["rgb"], wanted["rgb"])
    assert torch.allclose(found["flow"], wanted["flow"], atol=1e-5)


def test_arrays_of_frames_and_sound(root: Path) -> None:
    with Video(root / "tone.mp4") as video:
        frames_THWC = video.clips([range(60)])[0].frames_THWC
    wave_S = np.sin(np.arange(38_400) * 2 * np.pi * 440 / 16_000).astype(np.float32)
    spec = join_specs({"rgb": replace(RGB, size=48, crop=48), "audio": SOUND})
    found = make_inputs(spec, {"rgb": frames_THWC, "audio": wave_S})
    assert isinstance(found, dict)
    assert found["audio"].shape == (1, 1, 3, 20, 16)
    assert read_number(frames_THWC[28]) == 28
    loader = one_batch(root, spec, TONE).clip_BCTHW()
    assert isinstance(loader, dict)
    assert torch.allclose(found["audio"], loader["audio"], atol=0.15), "AAC, 48 kHz, two channels"


def test_arrays_that_are_lacking(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = {"rgb": arrays_of(root)["rgb"]}
    with pytest.raises(ValueError, match='takes flow as well, got rgb; missing="zero"'):
        make_inputs(BOTH, frames)
    with caplog.at_level(logging.WARNING, logger="vadis"):
        found = make_inputs(BOTH, frames, missing="zero")
    assert isinstance(found, dict)
    assert found["flow"].shape == (1, 4, 3, 32, 32)
    assert found["flow"].abs().max() == 0
    assert "there is no flow" in caplog.text
    with pytest.raises(ValueError, match=r"takes rgb, flow as well, got nothing$"):
        make_inputs(BOTH, {}, missing="zero")
    with pytest.raises(ValueError, match=r"flow is \(T, H, W, 2\)"):
        make_inputs(FLOW, {"flow": np.zeros((9, 48, 64, 3), np.float32)})


# --- specs --------------------------------------------------------------------------------------------


def test_specs_through_json() -> None:
    import dataclasses
    import json

    spec = join_specs({"rgb": RGB, "flow": FLOW, "audio": SOUND})
    assert spec.modality == "rgb+flow+audio"
    assert spec.shapes == {"rgb": (3, 3, 32, 32), "flow": (4, 3, 32, 32), "audio": (1, 3, 20, 16)}
    assert spec_from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


def test_a_spec_is_adjusted_in_all_parts() -> None:
    spec = adjust(join_specs({"rgb": RGB, "flow": FLOW, "audio": SOUND}), num_frames=6, size=64, crop=64)
    assert {name: part.num_frames for name, part in spec.parts.items()} == {"rgb": 6, "flow": 6, "audio": 3}
    assert (spec.crop, spec.parts["flow"].crop) == (64, 64)
    assert adjust(replace(RGB, test_frames=9), num_frames=6).test_frames is None, "a recipe's 6 are meant"
    assert adjust(replace(RGB, test_frames=9), size=64).test_frames == 9
    segments = replace(RGB, test_frames=25, sampling="segments")
    assert adjust(segments, num_frames=6).test_frames == 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stack": 0}, "at least 1"),
        ({"sampling": "dense"}, "sampling must be"),
        ({"modality": "audio"}, "says its `sound`"),
        ({"sound": SoundSpec()}, "says its `sound`"),
        ({"parts": {"flow": FLOW}}, "do not make the modality"),
    ],
)
def test_a_spec_that_contradicts_itself(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RGB, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one modality"):
        join_specs({})
