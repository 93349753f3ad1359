"""I3D: its padding, its table, its endpoints, and the same numbers as two independent implementations."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torch import Tensor
from torch.nn import functional as F

from vadis.models import create_model
from vadis.models.i3d import (
    ENDPOINTS,
    PUBLISHED_NAMES,
    InceptionI3d,
    SameConv3d,
    SameMaxPool3d,
    endpoint_name,
    i3d_inception,
    i3d_inception_flow,
    receptive_field,
    same_padding,
)
from vadis.models.layouts import LAYOUTS, to_ours

GOLDEN = Path(__file__).parent / "golden" / "i3d"
POOLS = [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))]


# --- padding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "wanted"),
    [
        (224, 7, 2, (2, 3)),
        (225, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (111, 3, 2, (1, 1)),
        (14, 2, 2, (0, 0)),
        (15, 2, 2, (0, 1)),
        (1, 7, 2, (3, 3)),
        (28, 3, 1, (1, 1)),
        (28, 1, 1, (0, 0)),
    ],
)
def test_same_padding_by_hand(size: int, kernel: int, stride: int, wanted: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == wanted


def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], value: float) -> Tensor:
    """The rule spelled out as a copy: out = ceil(in / stride) positions, the odd one after."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((int(np.ceil(size / s)) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


@pytest.mark.parametrize(("kernel", "stride"), POOLS)
def test_max_pool_is_exact_for_any_size(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
    pool = SameMaxPool3d(kernel, stride)
    for size in itertools.product(range(1, 8), range(1, 8), (4, 5)):
        x = torch.randn(1, 2, *size) - 3  # mostly negative: padding with zeros would win
        wanted = F.max_pool3d(padded(x, kernel, stride, -torch.inf), kernel, stride)
        assert torch.equal(pool(x), wanted), size


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 1), (1, 1), (3, 2)])
def test_convolution_is_exact_for_any_size(kernel: int, stride: int) -> None:
    conv = SameConv3d(2, 3, kernel, stride, bias=False)
    for size in itertools.product((1, 4, 9), (6, 7), (8, 11)):
        x = torch.randn(1, 2, *size)
        wanted = F.conv3d(padded(x, (kernel,) * 3, (stride,) * 3, 0.0), conv.weight, stride=stride)
        found = conv(x)
        assert found.shape == wanted.shape, size
        assert torch.allclose(found, wanted, atol=1e-5), size


def test_only_the_first_layer_copies_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    original = F.pad
    monkeypatch.setattr(F, "pad", lambda x, pads: copied.append(tuple(x.shape)) or original(x, pads))
    i3d_inception(tiny=True).eval()(torch.zeros(1, 3, 32, 64, 64))
    assert copied == [(1, 3, 32, 64, 64)]


# --- shapes and endpoints ---------------------------------------------------------------------------

TABLE = {  # the published table for 64 x 224 x 224: channels, T, H
    "Conv3d_1a_7x7": (64, 32, 112),
    "MaxPool3d_2a_3x3": (64, 32, 56),
    "Conv3d_2b_1x1": (64, 32, 56),
    "Conv3d_2c_3x3": (192, 32, 56),
    "MaxPool3d_3a_3x3": (192, 32, 28),
    "Mixed_3b": (256, 32, 28),
    "Mixed_3c": (480, 32, 28),
    "MaxPool3d_4a_3x3": (480, 16, 14),
    "Mixed_4b": (512, 16, 14),
    "Mixed_4c": (512, 16, 14),
    "Mixed_4d": (512, 16, 14),
    "Mixed_4e": (528, 16, 14),
    "Mixed_4f": (832, 16, 14),
    "MaxPool3d_5a_2x2": (832, 8, 7),
    "Mixed_5b": (832, 8, 7),
    "Mixed_5c": (1024, 8, 7),
}


def test_endpoints_have_the_shapes_of_the_published_table() -> None:
    with torch.device("meta"):
        model = i3d_inception()
        found = model.endpoints(torch.empty(1, 3, 64, 224, 224), [*TABLE, "avgpool", "Logits"])
    for name, (channels, frames, side) in TABLE.items():
        assert found[name].shape == (1, channels, frames, side, side), name
    assert found["avgpool"].shape == (1, 1024, 7, 1, 1)
    assert found["Logits"].shape == (1, 7, 400)


@pytest.mark.parametrize(("frames", "positions"), [(9, 1), (16, 1), (17, 2), (64, 7), (79, 9), (250, 31)])
def test_positions_in_time(frames: int, positions: int) -> None:
    with torch.device("meta"):
        dense = i3d_inception(tiny=True).forward_dense(torch.empty(1, 3, frames, 224, 224))
    assert dense.shape == (1, positions, 400)


def test_endpoints_agree_with_forward() -> None:
    model = i3d_inception(tiny=True).eval()
    clip = torch.rand(2, 3, 24, 64, 64)
    with torch.no_grad():
        found = model.endpoints(clip, ("logits", "Mixed_5c", "mixed5c", "conv1a"))
        assert list(found) == ["logits", "Mixed_5c", "mixed5c", "conv1a"]
        assert torch.equal(found["logits"], model.forward_dense(clip))
        assert torch.equal(found["Mixed_5c"], model.forward_features(clip))
        assert torch.equal(found["Mixed_5c"], found["mixed5c"])
        assert (found["conv1a"] >= 0).all(), "endpoints come after the ReLU"
        assert model.endpoints(clip, ()) == {}


def test_endpoints_stop_at_the_last_one_asked_for() -> None:
    model = i3d_inception(tiny=True).eval()
    model.get_submodule("mixed3b").register_forward_hook(lambda *_: pytest.fail("computed in vain"))
    assert model.endpoints(torch.rand(1, 3, 9, 32, 32), ("pool3a",))["pool3a"].shape[2] == 5


def test_endpoint_names() -> None:
    assert {endpoint_name(published) for published in PUBLISHED_NAMES} == set(ENDPOINTS)
    with pytest.raises(KeyError, match="no endpoint 'Mixed_6a'"):
        endpoint_name("Mixed_6a")


def test_a_small_picture_is_averaged_over_what_is_there() -> None:
    model = i3d_inception(tiny=True, num_classes=5).eval()
    with torch.no_grad():
        found = model.endpoints(torch.rand(1, 3, 16, 96, 160), ("mixed5c", "avgpool"))
    assert found["mixed5c"].shape[2:] == (2, 3, 5)
    assert torch.allclose(found["avgpool"].flatten(), found["mixed5c"].mean((2, 3, 4)).flatten(), atol=1e-5)


def test_a_large_picture_is_averaged_position_by_position() -> None:
    model = i3d_inception(tiny=True, num_classes=5).eval()
    with torch.no_grad():
        found = model.endpoints(torch.rand(1, 3, 24, 256, 320), ("mixed5c", "avgpool", "logits"))
        wanted = F.avg_pool3d(found["mixed5c"], (2, 7, 7), stride=1)
        assert wanted.shape == (1, 128, 2, 2, 4)
        assert torch.allclose(found["avgpool"], wanted, atol=1e-5)
        head = model.head.weight.flatten(1)
        logits = torch.einsum("bdthw,kd->btkhw", wanted, head).mean((3, 4))
    assert torch.allclose(found["logits"], logits, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8, 32, 32), "at least 9 frames"),
        ((1, 3, 16, 31, 64), "at least 32 x 32 pixels, got 31 x 64"),
        ((1, 2, 16, 64, 64), r"\(batch, 3, frames, height, width\), got \(1, 2, 16, 64, 64\)"),
        ((3, 16, 64, 64), r"got \(3, 16, 64, 64\)"),
    ],
)
def test_clips_that_cannot_be_scored(shape: tuple[int, ...], message: str) -> None:
    model = i3d_inception(tiny=True)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_features_of_few_frames(frames: int) -> None:
    model = i3d_inception(tiny=True).eval()
    with torch.no_grad():
        assert model.forward_features(torch.rand(1, 3, frames, 32, 32)).shape == (1, 128, 1, 1, 1)


def test_spec_and_options() -> None:
    rgb, flow = i3d_inception(tiny=True).spec, i3d_inception_flow(tiny=True).spec
    assert (rgb.modality, rgb.num_frames, rgb.frame_stride, rgb.fps) == ("rgb", 64, 1, 25.0)
    assert (rgb.size, rgb.crop, rgb.value_range, rgb.channels) == (256, 224, (-1.0, 1.0), 3)
    assert (flow.modality, flow.channels, flow.num_frames) == ("flow", 2, 64)
    assert i3d_inception(tiny=True, in_channels=2).spec == flow
    assert i3d_inception(tiny=True, dropout=0.8).dropout.p == 0.8
    with pytest.raises(ValueError, match="in_channels must be 3"):
        i3d_inception(in_channels=4)


def test_dropout_only_while_training() -> None:
    model = i3d_inception(tiny=True)
    clip = torch.rand(1, 3, 16, 32, 32)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    with torch.no_grad():
        assert not torch.equal(model(clip), model(clip))
        assert torch.equal(model.eval()(clip), model(clip))


def test_export_for_any_number_of_eight_frames() -> None:
    """One program for videos of every length, as long as the length is a multiple of 8."""
    model = i3d_inception(tiny=True).eval()
    eighths = torch.export.Dim("eighths", min=3, max=64)
    program = torch.export.export(model, (torch.rand(1, 3, 32, 32, 32),), dynamic_shapes=({2: 8 * eighths},))
    with torch.no_grad():
        for frames in (24, 72):
            clip = torch.rand(1, 3, frames, 32, 32)
            assert torch.allclose(program.module()(clip), model(clip), atol=1e-5)


# --- receptive fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [
        ("conv1a", (7, 7)),
        ("pool2a", (7, 11)),
        ("pool3a", (11, 27)),
        ("pool4a", (23, 75)),
        ("pool5a", (67, 251)),
        ("MaxPool3d_5a_2x2", (67, 251)),
        ("Logits", (107, 571)),
    ],
)
def test_receptive_field(endpoint: str, wanted: tuple[int, int]) -> None:
    assert receptive_field(endpoint) == wanted


def reached(model: InceptionI3d, endpoint: str, axis: int, length: int) -> int:
    """How many input positions along an axis change one central output position, found by NaN.

    NaN goes through convolutions, ReLU and max pooling. Bisect for the first and the last position.
    """
    shape = [1, 3, 16 if axis == 4 else length, 32, length if axis == 4 else 32]

    def poisoned(start: int, end: int) -> bool:
        clip = torch.zeros(shape)
        clip.narrow(axis, start, end - start).fill_(torch.nan)
        with torch.no_grad():
            out = model.endpoints(clip, (endpoint,))[endpoint]
        return bool(out.select(axis, out.shape[axis] // 2).isnan().any())

    low, high = 0, length  # the first position p such that a poisoned 0..p reaches the output
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if poisoned(0, middle + 1) else (middle + 1, high)
    first, low, high = low, 0, length - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if poisoned(middle, length) else (low, middle - 1)
    return low - first + 1


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["pool4a", "pool5a", "avgpool"])
def test_receptive_field_is_what_the_network_does(endpoint: str) -> None:
    model = i3d_inception(tiny=True).eval()
    frames, pixels = receptive_field(endpoint)
    assert reached(model, endpoint, 2, 256) == frames
    assert reached(model, endpoint, 4, 1024) == pixels


# --- the same numbers as others ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_weights() -> dict[str, Any]:
    """What another implementation gives for weights made by a rule."""
    return json.loads((GOLDEN / "random_weights_t16.json").read_text())


@pytest.fixture(scope="module")
def ruled_model(random_weights: dict[str, Any]) -> InceptionI3d:
    """Our network with those weights, through the key map of the importer."""
    theirs = all_by_the_rule(random_weights["state"], random_weights["weight_scale"])
    with torch.device("meta"):
        model = i3d_inception()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = to_ours(theirs, "i3d_inception", LAYOUTS, lambda num_classes, options: shapes)
    assert found.layout == "piergiaj"
    state = {key: torch.from_numpy(value) for key, value in found.arrays.items()}
    counters = {key: torch.tensor(0) for key in model.state_dict() if key.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters, assign=True)
    return model.eval()


def test_parity_with_random_weights(random_weights: dict[str, Any], ruled_model: InceptionI3d) -> None:
    clip = torch.from_numpy(
        np.random.default_rng(0).standard_normal(random_weights["input_shape"]).astype(np.float32)
    )
    feature = random_weights["features"]
    with torch.inference_mode():
        found = ruled_model.endpoints(clip, ("logits", feature["name"]))
    wanted = np.array(random_weights["output"])
    limit = 1e-4 * wanted.std()
    assert abs(found["logits"].flatten().numpy() - wanted).max() < limit
    means = found[feature["name"]].mean((2, 3, 4)).flatten().numpy()
    assert abs(means - np.array(feature["mean_over_space_time"])).max() < 1e-4 * means.std()
    for module in ruled_model.modules():  # a wrong detail is seen: the epsilon of batch norm
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eps = 1e-5
    with torch.inference_mode():
        wrong = ruled_model.forward_dense(clip).flatten().numpy()
    assert abs(wrong - wanted).max() > 100 * limit


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("frames", [16, 79])
def test_parity_with_published_weights(i3d_weights: Path, frames: int) -> None:
    model = create_model("i3d_inception", weights=i3d_weights).eval()
    noise_BTHWC = np.random.default_rng(0).uniform(-1, 1, (1, frames, 224, 224, 3)).astype(np.float32)
    clip = torch.from_numpy(noise_BTHWC).permute(0, 4, 1, 2, 3).contiguous()
    with torch.inference_mode():
        found = model.endpoints(clip, ("Mixed_5c", "logits"))
    logits = found["logits"].mean(1).flatten().numpy()
    features = found["Mixed_5c"].mean((2, 3, 4)).flatten().numpy()
    worst_logit = abs(logits - np.load(GOLDEN / f"logits_{frames}.npy").flatten()).max()
    worst_feature = abs(features - np.load(GOLDEN / f"feat_mixed5c_mean_{frames}.npy").flatten()).max()
    print(f"T={frames}: logits differ by {worst_logit:.2g} at most, features by {worst_feature:.2g}")
    assert worst_logit < 1e-3
    assert worst_feature < 1e-3
