"""Places: what is cut from frames and what becomes of boxes are one thing."""

import pytest
import torch

from vadis.video.places import Place
from vadis.video.transform import Rectangle, crop, flip_horizontally, resize

FRAMES = torch.randint(0, 256, (2, 3, 20, 30), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
BOXES = torch.tensor([[0.2, 0.1, 0.6, 0.5]], dtype=torch.float64)


def test_all_of_it_is_what_was_there() -> None:
    place = Place(20, 30)
    assert place.cut(FRAMES) is FRAMES
    assert place.move(BOXES) is BOXES


def test_cut_then_resized_then_mirrored() -> None:
    place = Place(20, 30, Rectangle(3, 2, 10, 15), (8, 8), mirrored=True)
    expected = flip_horizontally(resize(crop(FRAMES, 3, 2, 10, 15), 8, 8))
    assert torch.equal(place.cut(FRAMES), expected)
    # x: 0.2 * 30 = 6 px, less 3, of 15: 0.2; 0.6 * 30 = 18 px: 1.0; mirrored. y: (2 - 2) / 10, (10 - 2) / 10
    assert torch.allclose(place.move(BOXES), torch.tensor([[0.0, 0.0, 0.8, 0.8]], dtype=torch.float64))


def test_flow_changes_its_sign() -> None:
    flow = torch.ones(1, 2, 4, 4)
    assert Place(4, 4, mirrored=True).cut(flow, "flow")[0, :, 0, 0].tolist() == [-1.0, 1.0]


def test_a_part_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Place(20, 30, Rectangle(25, 0, 10, 10)).cut(FRAMES)
