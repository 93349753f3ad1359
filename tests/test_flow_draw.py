"""Pictures of flow: the field's colours, arrows that point where things go, a scale that says how far."""

from __future__ import annotations

import numpy as np
import pytest
from torchvision.utils import flow_to_image

from vadis.video.flow_draw import colour_flow, colour_wheel, draw_arrows, draw_flow, draw_wheel, usual_scale


def field_of(u: float, v: float, height: int = 30, width: int = 40) -> np.ndarray:
    return np.tile(np.float32([u, v]), (height, width, 1))


def test_directions_have_their_colours() -> None:
    """Right is red, down yellow, left blue-green, up violet, still white; half as far is half as strong."""
    colours = {
        name: colour_flow(field_of(u, v), 10.0)[0, 0].tolist()
        for name, (u, v) in {
            "right": (10, 0),
            "down": (0, 10),
            "left": (-10, 0),
            "up": (0, -10),
            "still": (0, 0),
            "half right": (5, 0),
        }.items()
    }
    assert colours["right"] == [255, 0, 0]
    assert colours["still"] == [255, 255, 255]
    assert colours["half right"] == [255, 127, 127]
    red, green, blue = colours["down"]
    assert (red, blue) == (255, 0)
    assert green > 200
    red, green, blue = colours["left"]
    assert (red, blue) == (0, 255)
    assert 180 < green < 255
    red, green, blue = colours["up"]
    assert (green, blue) == (0, 255)
    assert 60 < red < 180


def test_as_torchvision_colours_it() -> None:
    """An independent program of the same paper, on all directions and lengths up to the largest."""
    import torch

    rng = np.random.default_rng(0)
    field = rng.normal(0, 4, (64, 80, 2)).astype(np.float32)
    theirs = flow_to_image(torch.from_numpy(field.transpose(2, 0, 1))).permute(1, 2, 0).numpy()
    assert np.abs(colour_flow(field).astype(int) - theirs).max() <= 2
    assert colour_wheel().shape == (55, 3)


def test_beyond_the_scale_is_darker() -> None:
    assert colour_flow(field_of(30, 0), 10.0)[0, 0].tolist() == [191, 0, 0]
    wheel = draw_wheel(64)
    assert wheel[0, 0].tolist() == [255, 255, 255]
    assert wheel[32, 62, 0] > 240
    assert wheel[32, 62, 1] < 40


def test_scales() -> None:
    assert usual_scale([field_of(0.1, 0)]) == 1.0
    assert usual_scale([field_of(3.1, 0)]) == 3.5
    assert usual_scale([field_of(0, 11)]) == 15.0
    assert usual_scale([field_of(4, 0)]) == 4.0
    outlier = field_of(2, 0)
    outlier[0, 0] = 90
    assert usual_scale([outlier]) == 2.0
    assert usual_scale([]) == 1.0


@pytest.mark.parametrize(("u", "v"), [(8, 0), (-8, 0), (0, 8), (0, -8)])
def test_arrows_point_where_things_go(u: float, v: float) -> None:
    """Heads are wider than tails: the yellow of an arrow lies further that way than its start."""
    frame = np.zeros((60, 60, 3), np.uint8)
    field = np.zeros((60, 60, 2), np.float32)
    field[28:33, 28:33] = (u, v)
    drawn = draw_arrows(frame, field, 2.0, 600).astype(int)
    yellow = (drawn[..., 0] > 150) & (drawn[..., 2] < 140)
    y, x = np.nonzero(yellow[200:400, 200:400])
    assert len(x) > 30
    middle = np.array([x.mean() - 110, y.mean() - 110])
    assert middle @ np.array([u, v]) > 20


def test_tiles_side_by_side() -> None:
    frame = np.full((30, 40, 3), 90, np.uint8)
    fields = {"dis": field_of(5, 0), "tvl1": field_of(-5, 0), "raft": field_of(0, 5)}
    one = draw_flow(frame, {"dis": fields["dis"]}, largest=5.0, time_seconds=1.0, title="a.mp4")
    four = draw_flow(frame, fields, largest=5.0)
    assert one.shape[0] < four.shape[0]
    assert one.shape[1] < four.shape[1]
    assert all(side % 2 == 0 for side in (*one.shape[:2], *four.shape[:2]))
    assert one[100, 100].tolist() == [90, 90, 90]
    assert one[100, 16 + 460 + 8 + 100].tolist() == [255, 0, 0]
    arrows = draw_flow(frame, {"dis": fields["dis"]}, style="arrows")
    assert arrows.shape == one.shape
    with pytest.raises(ValueError, match="wheel or arrows, not 'rainbow'"):
        draw_flow(frame, fields, style="rainbow")  # type: ignore[arg-type]
