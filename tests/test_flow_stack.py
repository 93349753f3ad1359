"""Stacks of flow by hand numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vadis.specs import ClipSpec
from vadis.video.flow_fields import Flow
from vadis.video.flow_levels import quantise
from vadis.video.flow_stack import (
    arrange,
    arrange_pixels,
    follow_trajectories,
    frame_differences,
    stack_fields,
    subtract_mean,
)
from vadis.video.transform import flip_horizontally

FLOW = ClipSpec("flow", 1, size=4, crop=4, mean=(0.0, 0.0), std=(1.0, 1.0), value_range=(-1.0, 1.0))


def spec(**fields: object) -> ClipSpec:
    return ClipSpec(**{**{name: getattr(FLOW, name) for name in FLOW.__dataclass_fields__}, **fields})


def constant(count: int, height: int = 3, width: int = 4) -> np.ndarray:
    """Field k is (k + 1, -(k + 1) / 2) everywhere."""
    vector_L2 = np.stack([np.arange(1, count + 1), -np.arange(1, count + 1) / 2], -1)
    return np.broadcast_to(vector_L2[:, None, None], (count, height, width, 2)).astype(np.float32)


def test_u_and_v_lie_in_turn() -> None:
    stack_HWC = stack_fields(constant(3))
    assert stack_HWC.shape == (3, 4, 6)
    assert stack_HWC[1, 2].tolist() == [1, -0.5, 2, -1, 3, -1.5]


def test_a_trajectory_reads_each_field_where_the_point_has_come_to() -> None:
    columns = np.arange(6, dtype=np.float32)
    first = np.zeros((1, 6, 2), np.float32)
    first[..., 0] = 1.0  # everything moves a pixel to the right
    second = np.zeros((1, 6, 2), np.float32)
    second[..., 0] = columns * 0.5  # half of the column's number
    third = np.zeros((1, 6, 2), np.float32)
    third[..., 1] = columns
    met = follow_trajectories(np.stack([first, second, third]))
    assert met[0, 0, :, 0].tolist() == [1] * 6
    assert met[1, 0, :, 0].tolist() == [0.5, 1, 1.5, 2, 2.5, 2.5]  # at x + 1; the border's beyond it
    # from x = 1: to 2 by the first field, then 1 further, to 3; from x = 2: to 3, then 1.5, to 4.5
    assert met[2, 0, 1, 1] == 3.0
    assert met[2, 0, 2, 1] == 4.5
    assert follow_trajectories(constant(4))[3, 0, 0].tolist() == [
        4,
        -2,
    ]  # where all moves alike, no difference


def test_trajectories_go_down_the_picture_by_v() -> None:
    fields = np.zeros((2, 5, 1, 2), np.float32)
    fields[0, ..., 1] = 2.0
    fields[1, :, 0, 0] = [0, 10, 20, 30, 40]
    assert follow_trajectories(fields)[1, :, 0, 0].tolist() == [20, 30, 40, 40, 40]


def test_the_mean_is_each_fields_own() -> None:
    fields = constant(2)
    fields = fields.copy()
    fields[0, 0, 0] += (12, 24)
    less = subtract_mean(fields)
    assert np.allclose(less.mean((1, 2)), 0, atol=1e-6)
    assert less[0, 0, 0].tolist() == [11, 22]
    assert less[0, 1, 1].tolist() == [-1, -2]
    assert not less[1].any()


def test_trajectories_follow_the_whole_flow_and_read_it_less_its_mean() -> None:
    fields = np.zeros((2, 1, 4, 2), np.float32)
    fields[0, ..., 0] = 1.0
    fields[1, 0, :, 0] = [0, 0, 0, 8]  # mean 2
    stack_HWC = arrange(fields, spec(stack=2, stacking="trajectory", subtract_mean=True))
    assert stack_HWC[0, :, 0].tolist() == [0, 0, 0, 0]
    assert stack_HWC[0, :, 2].tolist() == [-2, -2, 6, 6]


def test_both_ways_from_the_middle() -> None:
    forward, backward = constant(4), -constant(4) * 10
    stack_HWC = arrange(forward, spec(stack=4, stacking="bidirectional"), backward)
    # forwards from the middle frame, then back from it: the pair before it first
    assert stack_HWC[0, 0, ::2].tolist() == [3, 4, -20, -10]
    with pytest.raises(ValueError, match="backward"):
        arrange(forward, spec(stack=4, stacking="bidirectional"))
    with pytest.raises(ValueError, match="halve"):
        spec(stack=5, stacking="bidirectional")
    with pytest.raises(ValueError, match="of flow, not of rgb"):
        ClipSpec("rgb", subtract_mean=True)
    with pytest.raises(ValueError, match="optical, trajectory, bidirectional"):
        spec(stacking="sideways")


def test_pixels_laid_out_anew_are_pixels() -> None:
    pixels_HWC = quantise(stack_fields(constant(2)))
    assert (arrange_pixels(pixels_HWC, spec(stack=2)) == pixels_HWC).all()
    assert (arrange_pixels(pixels_HWC, spec(stack=2, subtract_mean=True)) == 128).all()


def test_differences() -> None:
    frames = np.array([10, 250, 5], np.uint8)[:, None, None, None].repeat(3, 3)
    assert frame_differences(frames)[:, 0, 0, 0].tolist() == [240, -245]


@pytest.mark.parametrize("stacking", ["optical", "trajectory"])
def test_a_mirrored_world_gives_the_mirrored_stack(stacking: str) -> None:
    rng = np.random.default_rng(0)
    fields = rng.uniform(-2, 2, (3, 5, 7, 2)).astype(np.float32)
    mirrored = fields[:, :, ::-1] * np.array([-1, 1], np.float32)
    ours = spec(stack=3, stacking=stacking)
    stack_1CHW = torch.from_numpy(arrange(fields, ours)).permute(2, 0, 1)[None]
    wanted = torch.from_numpy(arrange(mirrored, ours)).permute(2, 0, 1)[None]
    assert torch.allclose(flip_horizontally(stack_1CHW, "flow"), wanted, atol=1e-5)


def test_values_scale_with_the_picture() -> None:
    flow = Flow(constant(1, 4, 8), (4, 8))
    half = flow.resized(2, 4).fields_THW2
    assert np.allclose(half, [0.5, -0.25])
    assert np.allclose(flow.resized(12, 8).fields_THW2, [1, -1.5])
