"""VGG-M and VGG-16: their tables, counts, torchvision's VGG-16, and what is slid over larger maps."""

from __future__ import annotations

import pytest
import torch
import torchvision
from built import noise
from made_weights import all_by_the_rule
from torch import nn
from torch.nn import functional as F

from vadis.models.trunks import make_trunk
from vadis.models.vgg import HIDDEN, LRN_ALPHA, TABLES, VGG_M, Conv, Vgg, score, slide


def tiny(kind: str, **options: object) -> Vgg:
    torch.manual_seed(0)
    return Vgg(kind, tiny=True, **{"until": "fc7", **options}).eval()  # type: ignore[arg-type]


# --- the table ------------------------------------------------------------------------------------

SIDES = {
    "vgg_m": {"conv1": 109, "pool1": 54, "conv2": 26, "pool2": 13, "conv5": 13, "pool5": 6},
    "vgg16": {"conv1_2": 224, "pool1": 112, "pool2": 56, "pool3": 28, "pool4": 14, "conv5_3": 14, "pool5": 7},
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_table(kind: str) -> None:
    with torch.device("meta"):
        network = Vgg(kind, until="fc7")
        frames = torch.empty(1, 3, 224, 224)
    for name, side in SIDES[kind].items():
        assert network.run(frames, until=name).shape[2:] == (side, side), name
    for name, row in TABLES[kind].items():
        if isinstance(row, Conv):
            assert network.run(frames, until=name).shape[1] == row.channels
    assert network(frames).shape == (1, 512, *[13 if kind == "vgg_m" else 14] * 2)
    assert network.hidden(network(frames)).shape == (1, HIDDEN[kind][1], 1, 1)


@pytest.mark.parametrize(
    ("kind", "channels", "count"),
    [("vgg_m", 3, 90_420_864), ("vgg_m", 20, 90_500_832), ("vgg16", 3, 134_260_544)],
)
def test_counts(kind: str, channels: int, count: int) -> None:
    """By hand, without classifier; VGG-16 with its 1000 classes has 138,357,544."""
    with torch.device("meta"):
        network = Vgg(kind, channels, until="fc7")
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert kind == "vgg_m" or count + 4096 * 1000 + 1000 == 138_357_544


def test_normalisation_is_that_of_matconvnet() -> None:
    """Its [5 2 1e-4 0.75]: (2 + 1e-4 times the sum of the squares of five channels) to the power 0.75."""
    x = 100.0 * noise(1, 8, 2, 2)
    squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
    sums = sum(squares[:, shift : shift + 8] for shift in range(5))
    found = make_trunk("vgg_m").get_submodule("norm1")(x)
    assert torch.allclose(found, x / (2 + 1e-4 * sums) ** 0.75, rtol=1e-5)
    assert pytest.approx(5 * 1e-4) == LRN_ALPHA


# --- torchvision ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_vgg16_is_torchvisions() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().eval()
        ours = Vgg("vgg16", until="fc7").eval()
    shapes = [(key, tuple(value.shape)) for key, value in theirs.state_dict().items()]
    state = {key: torch.from_numpy(array) for key, array in all_by_the_rule(shapes).items()}
    theirs.load_state_dict(state, assign=True)
    spelled = {key: ours.image_key(key) for key in ours.state_dict()}
    assert set(spelled.values()) | {"classifier.6.weight", "classifier.6.bias"} == set(state)
    ours.load_state_dict({key: state[str(name)] for key, name in spelled.items()}, assign=True)
    head = theirs.classifier[6]
    with torch.inference_mode():
        frames = noise(1, 3, 224, 224)
        wanted = theirs(frames)
        found = score(head, ours.hidden(ours(frames)))
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TABLES)
def test_hidden_layers_are_slid_over_larger_maps(kind: str) -> None:
    network, head = tiny(kind), nn.Linear(32, 5)
    side = network.min_pixels
    with torch.no_grad():
        assert network.hidden(network(noise(1, 3, side, side))).shape[2:] == (1, 1)
        feature = noise(1, network.map_features, 9, 9).relu()
        hidden = network.hidden(feature)
        assert hidden.shape[2] > 1
        logits = slide(head, hidden)
        assert torch.allclose(score(head, hidden), logits.mean((2, 3)), atol=1e-6)
        at_a_place = F.linear(hidden[:, :, 1, 2], head.weight, head.bias)
        assert torch.allclose(logits[:, :, 1, 2], at_a_place, atol=1e-6)


def test_sliding_a_window_is_the_layer_at_each_place() -> None:
    linear, x = nn.Linear(2 * 3 * 3, 4), noise(2, 2, 5, 4)
    found = slide(linear, x, 3)
    assert found.shape == (2, 4, 3, 2)
    assert torch.allclose(found[:, :, 2, 1], linear(x[:, :, 2:5, 1:4].flatten(1)), atol=1e-6)


@pytest.mark.parametrize("kind", TABLES)
def test_the_least_pixels_are_the_least(kind: str) -> None:
    for until in ("", "fc7"):
        network = tiny(kind, until=until)
        side = network.min_pixels
        last = "fc7" if until else network.last
        network.run(noise(1, 3, side, side), until=last)
        if until:
            with pytest.raises(RuntimeError):
                network.run(noise(1, 3, side - 1, side - 1), until=last)
    with pytest.raises(ValueError, match=f"takes at least {tiny(kind, until='').min_pixels} pixels, got 3"):
        Vgg(kind, pixels=3)


def test_parts_of_it() -> None:
    network = tiny("vgg_m", until="conv3", without=("norm2",))
    assert list(network.layers) == ["conv1", "norm1", "pool1", "conv2", "pool2", "conv3"]
    assert (network.last, network.num_features) == ("conv3", VGG_M["conv3"].channels // 16)  # type: ignore[union-attr]
    assert not hasattr(network, "fc6")
    doubled = tiny("vgg_m", doubled=("conv3", "fc6"))
    assert doubled.get_submodule("conv3").in_channels == 2 * tiny("vgg_m").get_submodule("conv3").in_channels
    assert doubled.get_submodule("fc6").in_features == 2 * tiny("vgg_m").get_submodule("fc6").in_features


def test_run_in_pieces_is_run_at_once() -> None:
    network, frames = tiny("vgg_m"), noise(2, 3, 48, 48)
    with torch.no_grad():
        whole = network.run(frames, until="fc7")
        piece = network.run(network.run(frames, until="pool2"), after="pool2", until="fc6")
        assert torch.equal(network.run(piece, after="fc6", until="fc7"), whole)
        assert torch.equal(network.run(whole, after="fc7", until="fc7"), whole)
