"""C3D: its table, its last pooling in Caffe's way and in the ports', its checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from built import noise
from made_weights import all_by_the_rule
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import create_model
from vadis.models.c3d import LAYERS, C3d
from vadis.models.conversion import expected_shapes
from vadis.models.cost import count_parameters
from vadis.models.layouts import LAYOUTS, Imported, LayoutError, to_ours


def on_meta(name: str, **options: Any) -> C3d:
    """A network of full size that takes no memory."""
    with torch.device("meta"):
        model = create_model(name, **options).eval()
    assert isinstance(model, C3d)
    return model


def tiny(name: str = "c3d", **options: Any) -> C3d:
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, tiny=True, **options).eval()
    assert isinstance(model, C3d)
    return model


def imported(arrays: dict[str, np.ndarray], layout: str = "auto") -> Imported:
    """A checkpoint in our keys, without a file between."""

    def shapes(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        return expected_shapes("c3d", num_classes, options)

    return to_ours(arrays, "c3d", LAYOUTS, shapes, layout)


# --- the table ------------------------------------------------------------------------------------

TABLE = {  # figure 3, and what the text of the repository adds: channels, T, H
    "conv1a": (64, 16, 112),
    "pool1": (64, 16, 56),
    "conv2a": (128, 16, 56),
    "pool2": (128, 8, 28),
    "conv3a": (256, 8, 28),
    "conv3b": (256, 8, 28),
    "pool3": (256, 4, 14),
    "conv4a": (512, 4, 14),
    "conv4b": (512, 4, 14),
    "pool4": (512, 2, 7),
    "conv5a": (512, 2, 7),
    "conv5b": (512, 2, 7),
    "pool5": (512, 1, 4),
}


@pytest.mark.parametrize("pool5", ["ceil", "padded"])
def test_the_table(pool5: str) -> None:
    model = on_meta("c3d", pool5=pool5)
    x = torch.empty(1, 3, 16, 112, 112, device="meta")
    for name, (channels, frames, side) in TABLE.items():
        x = model._pool(name, x) if LAYERS[name] is None else model.get_submodule(name)(x)
        assert x.shape == (1, channels, frames, side, side), name
    assert model.fc6.weight.shape == (4096, 512 * 4 * 4)
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    assert model.forward_features(clip).shape == (1, 512, 2, 7, 7)
    assert model.forward_fc6(clip).shape == (1, 4096)


def test_batch_norm_halves_time_at_once() -> None:
    model = on_meta("c3d_bn")
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    assert model.forward_features(clip).shape == (1, 512, 1, 7, 7)
    assert model.positions == (1, 4, 4)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm3d)]
    assert len(norms) == 10, "eight convolutions, two hidden layers"
    assert {norm.eps for norm in norms} == {1e-3}


@pytest.mark.parametrize(("num_classes", "millions"), [(101, 78.41), (400, 79.63), (487, 79.99)])
def test_published_counts(num_classes: int, millions: float) -> None:
    """mmaction2's 78,409,573 with 101 classes; the I3D paper's 79 M; the authors' 487 of Sports-1M."""
    found = count_parameters(on_meta("c3d", num_classes=num_classes))
    assert found / 1e6 == pytest.approx(millions, abs=0.005)
    assert num_classes != 101 or found == 78_409_573
    with_norm = count_parameters(on_meta("c3d_bn", num_classes=num_classes))
    biases, scales_and_shifts = 2752, 2 * (2752 + 2 * 4096)  # of 2752 channels in eight convolutions
    assert with_norm - found == scales_and_shifts - biases


def test_it_starts_as_the_authors_say() -> None:
    torch.manual_seed(0)
    model = create_model("c3d")
    assert isinstance(model, C3d)
    assert not model.get_parameter("conv1a.conv.bias").any()
    assert bool((model.get_parameter("conv4b.conv.bias") == 1).all() and (model.fc7.bias == 1).all())
    assert not model.head.bias.any()
    assert model.get_parameter("conv4b.conv.weight").std().item() == pytest.approx(0.01, rel=0.01)
    assert model.fc6.weight.std().item() == pytest.approx(0.005, rel=0.01)
    assert model.head.weight.std().item() == pytest.approx(0.01, rel=0.01)


def test_what_goes_in() -> None:
    spec = on_meta("c3d").spec
    assert (spec.size, spec.crop, spec.channel_order) == (128, 112, "bgr")
    assert (spec.mean, spec.value_range) == ((104.0, 117.0, 128.0), (0.0, 255.0))
    spec = on_meta("c3d_bn").spec
    assert (spec.channel_order, spec.value_range, spec.fps) == ("rgb", (-1.0, 1.0), 25.0)


# --- the last pooling -----------------------------------------------------------------------------


def test_pool5_by_hand() -> None:
    """Seven positions: 0..6. Caffe takes (0,1) (2,3) (4,5) (6); the ports (0) (1,2) (3,4) (5,6)."""
    row = torch.tensor([3.0, 1.0, 2.0, 7.0, 4.0, 5.0, 6.0])
    x = row.expand(1, 1, 2, 7, 7)
    for pool5, wanted in (("ceil", [3.0, 7.0, 5.0, 6.0]), ("padded", [3.0, 2.0, 7.0, 6.0])):
        found = on_meta("c3d", pool5=pool5)._pool("pool5", x)
        assert found.shape == (1, 1, 1, 4, 4)
        assert found[0, 0, 0, 0].tolist() == wanted


def test_nothing_outside_wins() -> None:
    x = -torch.ones(1, 1, 2, 7, 7)
    for pool5 in ("ceil", "padded"):
        assert bool((on_meta("c3d", pool5=pool5)._pool("pool5", x) == -1).all())


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((16, 112, 112), True),
        ((16, 97, 128), True),  # ceil(n / 32) is 4
        ((9, 112, 112), True),  # and ceil(n / 16) is 1
        ((1, 112, 112), True),
        ((17, 112, 112), False),
        ((16, 112, 129), False),
        ((16, 96, 112), False),
    ],
)
def test_sizes_that_leave_as_many_positions(size: tuple[int, int, int], fits: bool) -> None:
    model = on_meta("c3d")
    clip = torch.empty(1, 3, *size, device="meta")
    if fits:
        assert model(clip).shape == (1, 400)
    else:
        with pytest.raises(ValueError, match=r"takes clips of 16 frames of 112 x 112 pixels.*got"):
            model(clip)


def test_positions_are_those_of_the_real_poolings() -> None:
    for options in ({"pool5": "ceil"}, {"pool5": "padded"}):
        model = on_meta("c3d", **options)
        for size in ((16, 112, 112), (33, 64, 91), (47, 127, 130), (16, 32, 33)):
            x = torch.empty(1, 1, *size, device="meta")
            for name in ("pool1", "pool2", "pool3", "pool4", "pool5"):
                x = model._pool(name, x)
            assert tuple(x.shape[2:]) == model._positions(size), (options, size)


def test_other_clips_by_option() -> None:
    model = tiny(num_frames=32, crop=100)
    assert model.positions == (2, 4, 4)
    assert model.min_frames == 17
    with torch.no_grad():
        assert model(noise(1, 3, 32, 100, 100)).shape == (1, 5)
    padded = tiny(pool5="padded")
    assert padded.min_frames == 16
    with pytest.raises(ValueError, match="takes"):
        padded(noise(1, 3, 15, 64, 64))
    with pytest.raises(ValueError, match="must be"):
        tiny(pool5="floor")


# --- checkpoints ----------------------------------------------------------------------------------

CONVS = [name for name, channels in LAYERS.items() if channels is not None]


def mmaction2_shapes(num_classes: int = 101) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of mmaction2's C3D, as its ConvModules nest."""
    shapes: dict[str, tuple[int, ...]] = {}
    inside = 3
    for name, outside in zip(CONVS, (64, 128, 256, 256, 512, 512, 512, 512), strict=True):
        shapes[f"backbone.{name}.conv.weight"] = (outside, inside, 3, 3, 3)
        shapes[f"backbone.{name}.conv.bias"] = (outside,)
        inside = outside
    for name, size in (("backbone.fc6", 8192), ("backbone.fc7", 4096)):
        shapes |= {f"{name}.weight": (4096, size), f"{name}.bias": (4096,)}
    return shapes | {"cls_head.fc_cls.weight": (num_classes, 4096), "cls_head.fc_cls.bias": (num_classes,)}


def davidea_shapes() -> dict[str, tuple[int, ...]]:
    """The same in the plain port: conv1, conv2, conv3a ..., fc8."""
    names = {
        key: key.replace("backbone.", "").replace(".conv.", ".").replace("cls_head.fc_cls", "fc8")
        for key in mmaction2_shapes()
    }
    shapes = {names[key]: shape for key, shape in mmaction2_shapes(487).items()}
    return {key.replace("conv1a", "conv1").replace("conv2a", "conv2"): shape for key, shape in shapes.items()}


def port(state: dict[str, Tensor], clip: Tensor) -> Tensor:
    """What the plain port computes, before its softmax."""
    x = clip
    for name, pools in (
        ("conv1", (1, 2, 2)),
        ("conv2", (2, 2, 2)),
        ("conv3a", None),
        ("conv3b", (2, 2, 2)),
        ("conv4a", None),
        ("conv4b", (2, 2, 2)),
        ("conv5a", None),
        ("conv5b", None),
    ):
        x = F.relu(F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        if pools is not None:
            x = F.max_pool3d(x, pools, pools)
    x = F.max_pool3d(x, 2, 2, padding=(0, 1, 1)).reshape(-1, 8192)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]))
    return F.linear(x, state["fc8.weight"], state["fc8.bias"])


def test_mmaction2_keys() -> None:
    shapes = mmaction2_shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 78_409_573
    found = imported({key: np.zeros(shape, np.float32) for key, shape in shapes.items()})
    assert (found.layout, found.options, found.num_classes) == ("mmaction2_c3d", {"pool5": "padded"}, 101)
    del shapes["backbone.conv5a.conv.bias"]
    with pytest.raises(LayoutError, match=r"1 keys are missing: conv5a.conv.bias"):
        imported({key: np.zeros(shape, np.float32) for key, shape in shapes.items()})


@pytest.mark.slow
def test_the_port_gives_the_same() -> None:
    arrays = all_by_the_rule(davidea_shapes().items())
    found = imported(arrays)
    assert (found.layout, found.options, found.num_classes) == ("davidea", {"pool5": "padded"}, 487)
    model = create_model("c3d", num_classes=487, **found.options).eval()
    model.load_state_dict({key: torch.from_numpy(array) for key, array in found.arrays.items()})
    clip = noise(1, 3, 16, 112, 112)
    with torch.inference_mode():
        wanted = port({key: torch.from_numpy(array) for key, array in arrays.items()}, clip)
        assert float((model(clip) - wanted).abs().max() / wanted.std()) < 1e-5
        caffe = create_model("c3d", num_classes=487).eval()
        caffe.load_state_dict(model.state_dict())
        assert float((caffe(clip) - wanted).abs().max() / wanted.std()) > 1e-2, "the last pooling matters"
