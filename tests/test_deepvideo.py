"""DeepVideo: the sizes of the paper's figures, and how frames meet in each of its networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from built import noise

from vadis.evaluation.protocols import make_protocol
from vadis.models import create_model
from vadis.models.cost import count_parameters
from vadis.models.deepvideo import DeepVideo, SingleFrame, cut_middle, halve


def on_meta(name: str, **options: Any) -> DeepVideo:
    """A network of full size that takes no memory."""
    with torch.device("meta"):
        model = create_model(name, **options).eval()
    assert isinstance(model, DeepVideo)
    return model


def tiny(name: str, **options: Any) -> DeepVideo:
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, tiny=True, **options).eval()
    assert isinstance(model, DeepVideo)
    return model


@pytest.mark.parametrize(
    ("name", "clip", "feature"),
    [
        ("single", (1, 170), (256, 1, 7)),
        ("early", (10, 170), (256, 1, 7)),
        ("late", (2, 170), (256, 2, 7)),
        ("slow", (10, 170), (256, 1, 7)),
        ("multires", (1, 178), (512, 1, 7)),
        ("fovea", (1, 178), (256, 1, 7)),
        ("context", (1, 178), (256, 1, 7)),
    ],
)
def test_the_maps_of_the_paper(name: str, clip: tuple[int, int], feature: tuple[int, int, int]) -> None:
    model = on_meta(f"deepvideo_{name}")
    frames, side = clip
    channels, time, positions = feature
    assert model.spec.shape == (3, frames, side, side)
    found = model.forward_features(torch.empty(2, 3, frames, side, side, device="meta"))
    assert found.shape == (2, channels, time, positions, positions)
    assert (model.spec.size, model.spec.mean, model.spec.value_range) == (200, (117.0,) * 3, (0.0, 255.0))


def test_each_layer_of_the_single_frame() -> None:
    model = on_meta("deepvideo_single")
    layers = model.get_submodule("frames")
    x = torch.empty(1, 3, 1, 170, 170, device="meta")
    sides = []
    for number in range(1, 6):
        x = layers.get_submodule(f"conv{number}")(x)
        sides.append(x.shape[3])
        if number in (1, 2, 5):
            x = torch.nn.functional.max_pool3d(x, (1, 2, 2))
            sides.append(x.shape[3])
    assert sides == [57, 28, 28, 14, 14, 14, 14, 7]


def test_slow_fusion_halves_time_as_printed() -> None:
    layers = on_meta("deepvideo_slow").get_submodule("frames")
    x, times = torch.empty(1, 3, 10, 170, 170, device="meta"), []
    for number in range(1, 6):
        x = layers.get_submodule(f"conv{number}")(x)
        times.append(x.shape[2])
    assert times == [4, 2, 1, 1, 1]


def test_only_the_first_layers_differ() -> None:
    single, early, slow = (
        count_parameters(on_meta(f"deepvideo_{name}")) for name in ("single", "early", "slow")
    )
    first = 96 * 3 * 11 * 11
    assert early - single == 9 * first
    assert slow - single == 3 * first + 256 * 96 * 25 + 384 * 256 * 9


def test_frames_alone_are_averaged() -> None:
    model = tiny("deepvideo_single")
    assert isinstance(model, SingleFrame)
    clip = noise(2, 3, 4, 64, 64)
    with torch.no_grad():
        alone = torch.stack([model(clip[:, :, [frame]]) for frame in range(4)], dim=1)
        assert torch.allclose(model.forward_dense(clip), alone, atol=1e-5)
        assert torch.allclose(model(clip), alone.mean(1), atol=1e-5)


def test_late_fusion_sees_both_ends_and_shares_its_convolutions() -> None:
    model, single = tiny("deepvideo_late"), tiny("deepvideo_single")
    clip = noise(1, 3, 16, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(clip), model(clip[:, :, [0, 15]]))
        other = clip.clone()
        other[:, :, 1:15] += 1
        assert torch.equal(model(clip), model(other))
        other[:, :, 15] += 1
        assert not torch.equal(model(clip), model(other))
        single.load_state_dict(
            {key: value for key, value in model.state_dict().items() if key.startswith("frames.")},
            strict=False,
        )
        maps = single.forward_features(clip[:, :, [0, 15]])
        assert torch.allclose(model.forward_features(clip), maps, atol=1e-5)


def test_the_streams_see_their_part_and_no_more() -> None:
    clip = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    assert halve(clip).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert cut_middle(clip).flatten().tolist() == [5, 6, 9, 10]
    frame = noise(1, 3, 1, 64, 64)
    with torch.no_grad():
        fovea = tiny("deepvideo_fovea")
        border = frame.clone()
        border[..., :16] = 0
        assert torch.equal(fovea(frame), fovea(border))
        both = tiny("deepvideo_multires")
        assert not torch.equal(both(frame), both(border))
        maps = both.forward_features(frame)
        for part, stream in zip(maps.chunk(2, dim=1), ("context", "fovea"), strict=True):
            alone = tiny(f"deepvideo_{stream}")
            state = {key: value for key, value in both.state_dict().items() if key.startswith(stream)}
            alone.load_state_dict(state, strict=False)
            assert torch.equal(alone.forward_features(frame), part)


def test_it_starts_as_alexnet() -> None:
    torch.manual_seed(0)
    model = create_model("deepvideo_single", num_classes=5, crop=64)
    assert model.get_parameter("frames.conv3.weight").std().item() == pytest.approx(0.01, rel=0.01)
    assert bool((model.get_parameter("frames.conv4.bias") == 1).all())
    assert bool((model.get_parameter("fc7.bias") == 1).all())
    assert not model.get_parameter("frames.conv1.bias").any()
    assert not model.get_parameter("head.bias").any()


def test_the_test_of_the_paper() -> None:
    protocol = make_protocol("20x4", on_meta("deepvideo_slow"))
    assert (protocol.num_clips, protocol.num_crops, protocol.num_views) == (20, 4, 80)
    assert "mirrored" in protocol.describe()


def test_other_clips_by_option() -> None:
    assert tiny("deepvideo_slow", num_frames=16).positions == (1, 2, 2)
    assert tiny("deepvideo_early", num_frames=4).get_parameter("frames.conv1.weight").shape[2] == 4
    with pytest.raises(ValueError, match=r"nothing is left.*take more"):
        tiny("deepvideo_slow", num_frames=9)
    with pytest.raises(ValueError, match=r"takes clips of 10 frames.*got 11 frames"):
        tiny("deepvideo_early")(noise(1, 3, 11, 64, 64))
