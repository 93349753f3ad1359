"""Transforms against hand-computed cases, the crop vectors of the field, and their own seeds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from vadis.specs import ClipSpec
from vadis.video import transform
from vadis.video.colour import colour_jitter

VECTORS = json.loads((Path(__file__).parent / "golden" / "signals.json").read_text())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(height: int, width: int, num_frames: int = 2) -> Tensor:
    """uint8 frames whose channels are x, y and the frame's number: a crop shows where it is."""
    frames = torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)
    frames[:, 0] = torch.arange(width).remainder(256).to(torch.uint8)
    frames[:, 1] = torch.arange(height).remainder(256).to(torch.uint8)[:, None]
    frames[:, 2] = torch.arange(num_frames, dtype=torch.uint8)[:, None, None]
    return frames


def noise(height: int = 48, width: int = 64, num_frames: int = 3) -> Tensor:
    return torch.randint(0, 256, (num_frames, 3, height, width), generator=seeded(9), dtype=torch.uint8)


def test_crop_vectors() -> None:
    for width in (340, 341):
        expected = VECTORS[f"crops_{width}x256_to_256"]
        names = {key.split("_")[0]: value for key, value in expected.items()}
        for rule in ("slowfast", "mmaction2", "nonlocal"):
            offsets = transform.three_crop_offsets(256, width, 256, rule)
            assert [left for left, top in offsets] == names[rule]
            assert {top for left, top in offsets} == {0}
            upright = transform.three_crop_offsets(width, 256, 256, rule)
            assert [top for left, top in upright] == names[rule]
    ten = transform.ten_crop_offsets(256, 340, 224)
    assert [list(offset) for offset in ten] == VECTORS["tencrop_340x256_224_offsets_xy_each_then_flip"]


def test_short_side_sizes() -> None:
    assert transform.short_side_size(240, 320, 256) == (256, 341)
    assert transform.short_side_size(320, 240, 256) == (341, 256)
    assert transform.short_side_size(256, 256, 256) == (256, 256)
    assert transform.short_side_size(1080, 1920, 256) == (256, 455)
    assert transform.short_side_size(1, 1000, 1) == (1, 1000)
    assert transform.short_side_size(480, 1000, 600, longest=1024) == (492, 1024)
    with pytest.raises(ValueError, match=r"size \(0\)"):
        transform.short_side_size(10, 10, 0)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 512))
def test_short_side_properties(height: int, width: int, size: int) -> None:
    new_height, new_width = transform.short_side_size(height, width, size)
    assert min(new_height, new_width) == size
    assert (new_height <= new_width) == (height <= width) or new_height == new_width
    exact = max(height, width) * size / min(height, width)
    assert abs(max(new_height, new_width) - exact) <= 0.5


def test_resize_is_pillow_bilinear() -> None:
    frames = noise(120, 160)
    ours = transform.resize_short_side(frames, 64)
    assert ours.dtype == torch.uint8
    assert ours.shape == (3, 3, 64, 85)
    for index in range(3):
        image = Image.fromarray(frames[index].permute(1, 2, 0).numpy())
        theirs = np.asarray(image.resize((85, 64), Image.Resampling.BILINEAR)).astype(int)
        difference = np.abs(ours[index].permute(1, 2, 0).numpy().astype(int) - theirs)
        assert difference.max() <= 1  # rounding only: antialiased like Pillow
    assert transform.resize_short_side(frames, 120) is frames


def test_crops_show_where_they_are() -> None:
    frames = coordinates(30, 41)
    view = transform.centre_crop(frames, 20)
    assert view.shape == (2, 3, 20, 20)
    assert (view[0, 0, 0, 0], view[0, 1, 0, 0]) == (10, 5)  # of 10.5 and 5
    assert transform.centre_offset(256, 455, 224) == (115, 16)  # of 115.5 and 16: floor, not even
    left, middle, right = transform.three_crop(frames, 30)
    assert [int(crop[0, 0, 0, 0]) for crop in (left, middle, right)] == [0, 6, 11]
    assert int(right[0, 0, 0, -1]) == 40
    with pytest.raises(ValueError, match=r"31x31 at \(0, 0\) does not fit in 41x30"):
        transform.crop(frames, 0, 0, 31)
    with pytest.raises(ValueError, match=r"size \(31\) must be between 1 and the short side \(30\)"):
        transform.centre_crop(frames, 31)


def test_cap_aspect() -> None:
    assert transform.cap_aspect(coordinates(100, 300)).shape[-2:] == (100, 160)
    assert int(transform.cap_aspect(coordinates(10, 30))[0, 0, 0, 0]) == 7
    assert transform.cap_aspect(coordinates(90, 30)).shape[-2:] == (48, 30)
    assert transform.cap_aspect(coordinates(30, 40)).shape[-2:] == (30, 40)


def test_ten_crop_pairs() -> None:
    views = transform.ten_crop(coordinates(32, 40), 24)
    assert len(views) == 10
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        assert torch.equal(view.flip(-1), mirrored)
    places = [(int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])) for view in views[::2]]
    assert places == [(0, 0), (16, 0), (0, 8), (16, 8), (8, 4)]


def test_flip_flow_negates_u_only() -> None:
    flow = torch.arange(2 * 4 * 1 * 3, dtype=torch.float32).reshape(2, 4, 1, 3)
    before = flow.clone()
    flipped = transform.flip_horizontally(flow, "flow")
    assert torch.equal(flipped[:, 0::2], -before[:, 0::2].flip(-1))
    assert torch.equal(flipped[:, 1::2], before[:, 1::2].flip(-1))
    assert torch.equal(flow, before)  # the input is not written to
    stored = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 1, 1, 3).repeat(1, 2, 1, 1)
    assert transform.flip_horizontally(stored, "flow")[0, :, 0].tolist() == [[0, 127, 255], [255, 128, 0]]
    with pytest.raises(ValueError, match="even number of channels, not 3"):
        transform.flip_horizontally(noise(), "flow")


def test_mirror_labels() -> None:
    names = [
        "Pushing something from left to right",
        "Pushing something from right to left",
        "archery",
        "Turning the camera left while filming",
        "leftover cleft",
        "swipe_right",
        "swipe_left",
    ]
    assert transform.mirror_labels(names) == (1, 0, 2, None, 4, 6, 5)


def test_random_flip_takes_the_label_along() -> None:
    frames, mirror = noise(), (1, 0, None)
    always = {"generator": seeded(), "probability": 1.0, "mirror": mirror}
    flipped, label = transform.random_flip(frames, 0, **always)
    assert label == 1
    assert torch.equal(flipped, frames.flip(-1))
    same, label = transform.random_flip(frames, 2, **always)
    assert label == 2
    assert same is frames
    kept, label = transform.random_flip(frames, 0, generator=seeded(), probability=0.0, mirror=mirror)
    assert (kept is frames, label) == (True, 0)
    generator = seeded(3)
    share = sum(transform.random_flip(frames, generator=generator)[0] is not frames for _ in range(400)) / 400
    assert 0.4 < share < 0.6


RANDOM: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop": lambda frames, generator: transform.random_crop(frames, 32, generator=generator),
    "short_side": lambda frames, generator: transform.random_short_side(frames, 32, 64, generator=generator),
    "inverse": lambda frames, generator: transform.random_short_side(
        frames, 32, 64, generator=generator, inverse=True
    ),
    "multi_scale": lambda frames, generator: transform.multi_scale_crop(frames, 32, generator=generator),
    "resized": lambda frames, generator: transform.random_resized_crop(frames, 32, generator=generator),
    "colour": lambda frames, generator: colour_jitter(
        frames, generator=generator, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_repeat_under_a_seed(name: str) -> None:
    frames, apply = noise(), RANDOM[name]
    state = torch.random.get_rng_state()
    first = apply(frames, seeded(5))
    assert torch.equal(first, apply(frames, seeded(5)))
    others = [apply(frames, seeded(seed)) for seed in range(6)]
    assert any(other.shape != first.shape or not torch.equal(other, first) for other in others)
    assert torch.equal(torch.random.get_rng_state(), state)  # no global state
    assert first.dtype == torch.uint8


@pytest.mark.parametrize("name", RANDOM)
def test_all_frames_are_treated_alike(name: str) -> None:
    frames = noise(num_frames=1).repeat(4, 1, 1, 1)
    changed = RANDOM[name](frames, seeded(2))
    assert all(torch.equal(changed[0], frame) for frame in changed)


def test_random_crop_reaches_every_place() -> None:
    frames, generator = coordinates(34, 33), seeded()
    places = set()
    for _ in range(200):
        view = transform.random_crop(frames, 32, generator=generator)
        places.add((int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])))
    assert places == {(x, y) for x in range(2) for y in range(3)}


def test_multi_scale_sides() -> None:
    # 256 short side at 224: sides 256, 224, 192, 168; only neighbours in the list are combined
    frames, generator, seen = coordinates(256, 340, 1), seeded(), set()
    original = transform.resize
    try:
        transform.resize = lambda frames, height, width: seen.add(frames.shape[-2:]) or frames
        for _ in range(200):
            transform.multi_scale_crop(frames, 224, generator=generator)
    finally:
        transform.resize = original
    sides = [256, 224, 192, 168]
    assert seen == {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 80), st.integers(8, 80), st.integers(0, 1000))
def test_random_resized_crop_always_fits(height: int, width: int, seed: int) -> None:
    frames = coordinates(height, width, 1)
    view = transform.random_resized_crop(frames, 8, generator=seeded(seed), area=(0.5, 1.0))
    assert view.shape == (1, 3, 8, 8)


def test_normalise_by_hand() -> None:
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    signed = transform.normalise(frames, ClipSpec(value_range=(-1, 1)))
    assert signed.flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0], abs=1e-6)
    slowfast = ClipSpec(mean=(0.45,) * 3, std=(0.225,) * 3)
    assert transform.normalise(frames, slowfast).flatten().tolist() == pytest.approx(
        [-2.0, (0.2 - 0.45) / 0.225, 0.55 / 0.225], abs=1e-6
    )
    caffe = ClipSpec(value_range=(0, 255), mean=(104.0, 117.0, 123.0))
    assert transform.normalise(frames, caffe).flatten().tolist() == [-104.0, -66.0, 132.0]
    assert frames.flatten().tolist() == [0, 51, 255]
    with pytest.raises(ValueError, match="3 channels, the model takes 1"):
        transform.normalise(frames, ClipSpec(mean=(0.0,), std=(1.0,)))


def test_normalise_leaves_a_float_input_alone() -> None:
    frames = torch.full((1, 3, 2, 2), 127.5)
    assert torch.equal(transform.normalise(frames, ClipSpec(value_range=(-1, 1))), torch.zeros(1, 3, 2, 2))
    assert torch.equal(frames, torch.full((1, 3, 2, 2), 127.5))


@pytest.mark.parametrize(("height", "width"), [(240, 320), (256, 341), (322, 257), (64, 64)])
def test_prepare_clip(height: int, width: int) -> None:
    spec = ClipSpec(num_frames=4, size=256, crop=224, value_range=(-1, 1))
    frames = noise(height, width, 4)
    clip_CTHW = transform.prepare_clip(frames, spec)
    assert clip_CTHW.shape == (3, 4, 224, 224)
    assert clip_CTHW.dtype == torch.float32
    assert clip_CTHW.is_contiguous()
    assert -1.0 <= float(clip_CTHW.min()) < float(clip_CTHW.max()) <= 1.0
    step = transform.centre_crop(transform.resize_short_side(frames, 256), 224)
    expected = step.permute(1, 0, 2, 3).double() / 127.5 - 1
    assert float((clip_CTHW - expected).abs().max()) < 1e-6


def test_prepare_clip_keeps_frames_that_have_the_size() -> None:
    frames = coordinates(256, 300, 3)
    clip_CTHW = transform.prepare_clip(frames, ClipSpec(value_range=(0, 255)))
    assert clip_CTHW[:, :, 0, 0].tolist() == [[38.0] * 3, [16.0] * 3, [0.0, 1.0, 2.0]]
    with pytest.raises(ValueError, match=r"\(T, C, H, W\)"):
        transform.prepare_clip(frames[0], ClipSpec())
