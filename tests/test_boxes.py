"""Boxes go where their pixels go: a box is drawn, the picture changed, and the box found again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vadis.data.augment import (
    NUM_CROPS,
    CentreCrop,
    ColourJitter,
    Crops,
    Flip,
    Grey,
    MultiScaleCrop,
    RandomCrop,
    ResizedCrop,
    ShortSide,
    Step,
    cut_boxes,
    cut_views,
    take_steps,
)
from vadis.video import transform
from vadis.video.boxes import crop_boxes, flip_boxes, limit_boxes

HEIGHT, WIDTH = 40, 60
BOX_4 = (15 / WIDTH, 12 / HEIGHT, 33 / WIDTH, 30 / HEIGHT)


def draw(box_4: tuple[float, ...] = BOX_4, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A black picture, frames_TCHW, with a white box."""
    frames_TCHW = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    left, top, right, bottom = (
        round(side * full) for side, full in zip(box_4, (width, height) * 2, strict=True)
    )
    frames_TCHW[..., top:bottom, left:right] = 255
    return frames_TCHW


def find(frames_TCHW: Tensor) -> Tensor:
    """The box of what is white, boxes_N4."""
    white_HW = frames_TCHW[0, 0].float() > 127
    down, across = white_HW.any(1).nonzero()[:, 0], white_HW.any(0).nonzero()[:, 0]
    height, width = white_HW.shape
    edges = (across[0] / width, down[0] / height, (across[-1] + 1) / width, (down[-1] + 1) / height)
    return torch.tensor([edges], dtype=torch.float64)


def boxes(box_4: tuple[float, ...] = BOX_4) -> Tensor:
    return torch.tensor([box_4], dtype=torch.float64)


def test_what_is_drawn_is_found() -> None:
    assert torch.allclose(find(draw()), boxes())


@pytest.mark.parametrize(
    ("left", "top", "height", "width"), [(0, 0, 40, 60), (10, 8, 30, 28), (15, 12, 18, 18)]
)
def test_a_crop_takes_boxes_along(left: int, top: int, height: int, width: int) -> None:
    cut = transform.crop(draw(), left, top, height, width)
    moved = crop_boxes(boxes(), left, top, height, width, full_height=HEIGHT, full_width=WIDTH)
    assert torch.allclose(find(cut), moved)


def test_a_crop_is_square_where_no_width_is_given() -> None:
    moved = crop_boxes(boxes(), 10, 8, 32, full_height=HEIGHT, full_width=WIDTH)
    assert torch.allclose(find(transform.crop(draw(), 10, 8, 32)), moved)


def test_the_mirror_takes_boxes_along() -> None:
    assert torch.allclose(find(transform.flip_horizontally(draw())), flip_boxes(boxes()))
    assert torch.equal(flip_boxes(flip_boxes(boxes())), boxes())


@pytest.mark.parametrize("size", [20, 80, 131])
def test_resizing_leaves_boxes_as_they_are(size: int) -> None:
    resized = transform.resize_short_side(draw(), size)
    pixel = 1 / min(resized.shape[-2:])
    assert (find(resized) - boxes()).abs().max() <= pixel


def test_resized_cut_and_mirrored() -> None:
    frames = transform.resize_short_side(draw(), 80)  # 80 x 120
    cut = transform.flip_horizontally(transform.crop(frames, 20, 10, 56))
    moved = flip_boxes(crop_boxes(boxes(), 20, 10, 56, full_height=80, full_width=120))
    assert (find(cut) - moved).abs().max() <= 1 / 56


@pytest.mark.parametrize("crops", sorted(NUM_CROPS))
@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40)])
def test_each_view_has_its_boxes(crops: Crops, height: int, width: int) -> None:
    box_4 = (24 / width, 22 / height, 30 / width, 29 / height)
    frames = draw(box_4, height, width)
    views = cut_views(frames, 32, crops)
    moved = cut_boxes(boxes(box_4), height, width, 32, crops)
    assert len(moved) == len(views) == NUM_CROPS[crops]
    seen = 0
    for view, moved_N4 in zip(views, moved, strict=True):
        limited_N4, share_N = limit_boxes(moved_N4)
        if share_N[0] == 0:
            assert not view.any()
            continue
        assert torch.allclose(find(view), limited_N4)
        seen += 1
    assert seen >= 1


def test_the_views_of_no_such_crops_have_no_boxes() -> None:
    with pytest.raises(ValueError, match="three_nonlocal"):
        cut_boxes(boxes(), HEIGHT, WIDTH, 32, "five")  # type: ignore[arg-type]


def test_what_is_left_of_a_box() -> None:
    given = torch.tensor([[-0.5, 0.0, 0.5, 1.0], [0.2, 0.2, 0.4, 0.4], [1.5, 0, 2, 1], [0.5, 0.5, 0.5, 0.9]])
    limited_N4, share_N = limit_boxes(given)
    assert torch.allclose(share_N, torch.tensor([0.5, 1.0, 0.0, 0.0]))
    assert torch.equal(limited_N4[0], torch.tensor([0.0, 0.0, 0.5, 1.0]))
    assert torch.equal(limited_N4[1], given[1])


def test_no_boxes_are_no_trouble() -> None:
    none = torch.zeros(0, 4)
    assert crop_boxes(none, 1, 2, 3, full_height=9, full_width=9).shape == (0, 4)
    assert flip_boxes(none).shape == (0, 4)
    assert limit_boxes(none)[1].shape == (0,)


@pytest.mark.parametrize("wrong", [torch.zeros(4), torch.zeros(2, 5), torch.zeros(2, 4, dtype=torch.int64)])
def test_what_is_no_box_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="boxes are floats of shape"):
        flip_boxes(wrong)


def test_pictures_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        crop_boxes(boxes(), 0, 0, 0, full_height=9, full_width=9)


STEPS: dict[str, tuple[Step, ...]] = {
    "jitter, crop, mirror": (ShortSide(40, 50), RandomCrop(36), Flip()),
    "TSN": (ShortSide(40, 40), MultiScaleCrop(32), Flip()),
    "Inception": (ResizedCrop(32, area=(0.3, 1.0)), Flip(), ColourJitter(0.2, 0.2), Grey()),
    "no chance": (ShortSide(44, 44), CentreCrop(40)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_box_stays_on_its_object_in_training(name: str) -> None:
    places = set()
    for seed in range(25):
        generator = torch.Generator().manual_seed(seed)
        frames, labels, moved = take_steps(STEPS[name], draw(), (0,), generator, boxes())
        assert moved is not None
        limited, share = limit_boxes(moved)
        if float(share) > 0.05:
            pixel = 1.01 / frames.shape[-1]  # an edge that resizing has blurred
            assert torch.allclose(find(frames), limited, atol=pixel, rtol=0), seed
        alone = take_steps(STEPS[name], draw(), (0,), generator.manual_seed(seed))
        assert torch.equal(alone[0], frames)  # boxes draw nothing
        assert (alone[1:], labels) == (((0,), None), (0,))
        places.add(tuple(moved[0].tolist()))
    assert len(places) > 5 or name == "no chance"


def test_a_step_that_hides_where_boxes_go_is_refused() -> None:
    def halve(
        frames_TCHW: Tensor, labels: tuple[int, ...], generator: torch.Generator
    ) -> tuple[Tensor, tuple[int, ...]]:
        return frames_TCHW[..., ::2, ::2], labels

    generator = torch.Generator()
    assert take_steps((halve,), draw(), (), generator)[0].shape[-1] == WIDTH // 2
    with pytest.raises(ValueError, match="Placing"):
        take_steps((halve,), draw(), (), generator, boxes())
