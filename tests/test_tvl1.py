"""Our TV-L1 beside OpenCV's: end-point error on motion that is known, and the parts it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vadis.data import render
from vadis.data.known_motion import MOTIONS, end_point_error, known_motion
from vadis.video import tvl1
from vadis.video.flow import estimate_flow

BOUNDS = {  # pixels of end-point error of ours at most, and by how much it may exceed OpenCV's
    "translation": (0.06, 0.0),
    "rotation": (0.12, 0.01),
    "zoom": (0.12, 0.0),
    "occlusion": (0.15, 0.03),
    "large": (0.1, 0.0),
    "large_part": (0.4, 0.0),
}


@pytest.mark.parametrize("motion", MOTIONS)
def test_no_worse_than_opencv(motion: str) -> None:
    size = (192, 144) if motion == "large" else (144, 108)  # at least four levels for 15 pixels
    made = known_motion(motion, frames=2, size=size)
    errors, fields = {}, {}
    for method in ("tvl1", "tvl1_opencv"):
        options = {"outer_iterations": 1} if (method, motion) == ("tvl1_opencv", "large") else {}  # else 10 s
        fields[method] = estimate_flow(made.frames_THWC, method, device="cpu", **options).fields_THW2
        errors[method] = end_point_error(fields[method], made.flow_THW2, made.flow_seen_THW)
    apart = end_point_error(fields["tvl1"], fields["tvl1_opencv"], made.flow_seen_THW)
    print(f"{motion}: {errors['tvl1']:.3f}, OpenCV {errors['tvl1_opencv']:.3f}, apart {apart:.3f} pixels")
    largest, excess = BOUNDS[motion]
    assert errors["tvl1"] < largest
    assert errors["tvl1"] <= errors["tvl1_opencv"] + excess
    assert apart <= errors["tvl1"] + errors["tvl1_opencv"]


def test_no_worse_than_opencv_on_people() -> None:
    clip = render.render_clip("cartwheel", seconds=0.12, size=(192, 144), seed=3, flow=True)
    assert clip.flow_THW2 is not None
    errors = [
        end_point_error(
            estimate_flow(clip.frames_THWC[:2], method, device="cpu").fields_THW2,
            clip.flow_THW2[:1],
            None if clip.flow_seen_THW is None else clip.flow_seen_THW[:1],
        )
        for method in ("tvl1", "tvl1_opencv")
    ]
    print("cartwheel: {:.3f}, OpenCV {:.3f} pixels".format(*errors))
    assert errors[0] <= errors[1]
    assert errors[0] < 0.5


@pytest.mark.parametrize("parameters", ["opencv", "paper"])
def test_the_scheme_of_the_paper(parameters: str) -> None:
    made = known_motion("translation", frames=3, size=(96, 80))
    flow = estimate_flow(made.frames_THWC, "tvl1", device="cpu", parameters=parameters, iterations=30)
    assert end_point_error(flow.fields_THW2, made.flow_THW2, made.flow_seen_THW) < 0.06
    alone = estimate_flow(
        made.frames_THWC[1:], "tvl1", device="cpu", parameters=parameters, iterations=30, batch_size=2
    )
    assert np.array_equal(flow.fields_THW2[1:], alone.fields_THW2)  # it rests at a time of its own


@pytest.mark.parametrize("parameters", ["fast", "opencv"])
def test_strips_change_nothing(parameters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of strips depend on each other in both directions: an order of steps that is wrong shows here."""
    frames = known_motion("zoom", frames=2, size=(80, 64)).frames_THWC
    options = {"parameters": parameters, "iterations": 4, "epsilon": 0.0, "outer_iterations": 1, "scales": 2}
    monkeypatch.setattr(tvl1, "STRIP_PIXELS", 10**9)
    whole = estimate_flow(frames, "tvl1", device="cpu", **options).fields_THW2
    for pixels in (1, 700):
        monkeypatch.setattr(tvl1, "STRIP_PIXELS", pixels)
        strips = estimate_flow(frames, "tvl1", device="cpu", **options).fields_THW2
        assert np.abs(strips - whole).max() < 1e-4


def test_the_steps_lower_the_energy() -> None:
    """The energy of the linearised problem falls to the value that many more steps reach."""
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(1, 1, 24, 32, generator=generator) * 60
    after = torch.roll(before, 1, 3)
    chosen = tvl1.choose_parameters(median=0, contrast=None, huber=0.0, blur=0.0)

    def energy(flow: torch.Tensor, level: tvl1._Level) -> float:
        squared = 1 / level.unit.square().sum(1, keepdim=True)  # unit = slope / |slope|^2
        rho = (level.rest + (level.unit * flow).sum(1, keepdim=True)) * squared
        limit = chosen.lambda_ * chosen.theta * squared
        data = torch.where(
            rho.abs() < limit,
            rho.square() / (2 * chosen.theta * squared),
            chosen.lambda_ * (rho.abs() - limit / 2),
        )
        across, down = torch.zeros_like(flow), torch.zeros_like(flow)
        across[..., :-1] = flow.diff(dim=3)
        down[..., :-1, :] = flow.diff(dim=2)
        return float(data.sum() + torch.hypot(across, down).sum())

    found = []
    for steps in (1, 10, 100, 1000, 4000):
        zeros = torch.zeros(1, 2, 24, 32)
        level = tvl1._Level(zeros.clone(), zeros.clone(), zeros.clone(), chosen, steps)
        level.linearise(before, after)
        level.solve()
        found.append(energy(level.flow, level))
    assert found[0] > found[1] > found[2]
    assert abs(found[3] - found[4]) < 1e-3 * found[4]
    assert found[2] < 1.05 * found[4]
    zach = tvl1.choose_parameters("paper", outer_iterations=1, epsilon=0.0)
    level = tvl1._Level(zeros.clone(), zeros.clone(), zeros.clone(), zach, 4000)
    level.linearise(before, after)
    level.solve()
    assert energy(level.flow, level) == pytest.approx(found[4], rel=0.01)  # both schemes, one problem


@pytest.mark.parametrize("side", [3, 5])
def test_median_filter(side: int) -> None:
    planes = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    found = tvl1.median_filter(planes, side)
    around = side // 2
    padded = np.pad(planes.numpy(), ((0, 0), (0, 0), (around, around), (around, around)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))
    assert np.array_equal(found.numpy(), np.median(windows, (4, 5)))


def test_parameters() -> None:
    opencv = tvl1.PARAMETERS["opencv"]
    assert (opencv.tau, opencv.lambda_, opencv.theta, opencv.epsilon) == (0.25, 0.15, 0.3, 0.01)
    assert (opencv.scales, opencv.warps, opencv.iterations, opencv.outer_iterations) == (5, 5, 30, 10)
    assert (opencv.scale_step, opencv.median) == (0.8, 5)
    assert tvl1.choose_parameters("opencv", warps=2).warps == 2
    for options, words in (
        ({"parameters": "mine"}, "fast, opencv, paper"),
        ({"gamma": 1.0}, "not gamma"),
        ({"median": 4}, "0, 3 or 5"),
        ({"warps": 0}, "at least 1"),
        ({"lambda_": 0.0}, "above 0"),
        ({"scale_step": 1.0}, "between"),
    ):
        with pytest.raises(ValueError, match=words):
            tvl1.choose_parameters(**options)  # type: ignore[arg-type]
