"""BN-Inception: the authors' output, its table, its pools, and stopping at a named layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vadis.models.bninception import LAYERS, TINY_BLOCKS, Block, BnInception, Inception
from vadis.models.layouts.bninception import trunk_keys

GOLDEN = Path(__file__).parent / "golden" / "parity"


def tiny_trunk(**options: Any) -> BnInception:
    torch.manual_seed(0)
    return BnInception(blocks=TINY_BLOCKS, width_divisor=16, **options).eval()


def test_the_authors_output() -> None:
    """tsn_bninception: the trunk, the mean over 7 x 7, a classifier of 1000 classes."""
    document = json.loads((GOLDEN / "tsn_bninception.json").read_text())
    theirs = {
        key: torch.from_numpy(array)
        for key, array in all_by_the_rule(document["state"], document["weight_scale"]).items()
        if not key.endswith("num_batches_tracked")
    }
    keys = trunk_keys()
    assert set(theirs) - set(keys) == {"fc.weight", "fc.bias"}
    trunk = BnInception().eval()
    fits = trunk.load_state_dict({keys[key]: theirs[key] for key in theirs if key in keys}, strict=False)
    assert fits.unexpected_keys == []
    assert all(key.endswith("num_batches_tracked") for key in fits.missing_keys)
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        found = trunk.endpoints(torch.from_numpy(noise), ("inception4d", "inception5b"))
        logits = F.linear(found["inception5b"].mean((2, 3)), theirs["fc.weight"], theirs["fc.bias"])
        three = trunk.get_submodule("inception4e.three")
        middle = three.bn(three.conv(trunk.get_submodule("inception4e.three_reduce")(found["inception4d"])))
    wanted = np.array(document["output"])
    assert np.abs(logits.flatten().numpy() - wanted).max() < 1e-4 * wanted.std()
    wanted = np.array(document["features"]["mean_over_space_time"])
    assert np.abs(middle.mean((2, 3)).flatten().numpy() - wanted).max() < 1e-4 * wanted.std()
    parameters = sum(parameter.numel() for parameter in trunk.parameters())
    assert parameters + theirs["fc.weight"].numel() + theirs["fc.bias"].numel() == document["params"]


def test_the_published_table() -> None:
    table = {
        "conv1": (64, 112),
        "pool1": (64, 56),
        "conv2": (192, 56),
        "pool2": (192, 28),
        "inception3a": (256, 28),
        "inception3b": (320, 28),
        "inception3c.double1": (96, 28),
        "inception3c": (576, 14),
        "inception4a": (576, 14),
        "inception4b": (576, 14),
        "inception4c": (608, 14),
        "inception4d": (608, 14),
        "inception4e": (1056, 7),
        "inception5a": (1024, 7),
        "inception5b": (1024, 7),
    }
    with torch.device("meta"):
        found = BnInception().endpoints(torch.empty(2, 3, 224, 224), table)
    assert {name: (x.shape[1], x.shape[2]) for name, x in found.items()} == table
    assert all(x.shape[0] == 2 and x.shape[2] == x.shape[3] for x in found.values())


def test_cost_of_a_frame() -> None:
    """10.37 M parameters with 101 classes, 2.03 G multiply-adds."""
    with torch.device("meta"):
        trunk, frame = BnInception().eval(), torch.empty(1, 3, 224, 224)
        with FlopCounterMode(display=False) as counter:
            trunk.forward_features(frame)
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(2.03, rel=0.01)
    parameters = sum(parameter.numel() for parameter in trunk.parameters())
    assert parameters + 1025 * 101 == pytest.approx(10.37e6, rel=0.001)


def test_average_pools_count_the_padding() -> None:
    row = LAYERS["inception3a"]
    assert isinstance(row, Block)
    pooled = Inception(4, row)._pooled(torch.ones(1, 4, 3, 3))
    wanted = torch.tensor([[4, 6, 4], [6, 9, 6], [4, 6, 4]]) / 9
    assert torch.allclose(pooled[0, 0], wanted)


def test_pools_that_halve_are_the_published_ones_on_even_sizes() -> None:
    row = LAYERS["inception3c"]
    assert isinstance(row, Block)
    block = Inception(4, row)
    for height, width in ((28, 28), (14, 2), (4, 10)):
        x = torch.randn(1, 4, height, width)
        assert torch.equal(block._pooled(x), F.max_pool2d(x, 3, 2, ceil_mode=True))


def test_the_branches_agree_on_every_size() -> None:
    row = LAYERS["inception3c"]
    assert isinstance(row, Block)
    with torch.device("meta"):
        block = Inception(4, row)
        for height in range(1, 9):
            x = block(torch.empty(1, 4, height, 9 - height))
            assert x.shape == (1, 160 + 96 + 4, -(-height // 2), -(-(9 - height) // 2))


def test_it_stops_at_a_named_layer() -> None:
    whole = tiny_trunk()
    frames = torch.randn(2, 3, 40, 50)
    with torch.no_grad():
        found = whole.endpoints(frames, whole.endpoint_names)
        for last in whole.endpoint_names:
            part = tiny_trunk(last=last)
            part.load_state_dict(
                {key: value for key, value in whole.state_dict().items() if key in part.state_dict()}
            )
            x = part.forward_features(frames)
            assert torch.equal(x, found[last])
            assert torch.equal(x, whole.forward_features(frames, last))
            assert part.num_features == x.shape[1]


def test_nothing_beyond_the_layer_is_built_or_computed() -> None:
    part = tiny_trunk(last="inception3c.double1")
    assert {key.split(".")[1] for key in part.state_dict() if key.startswith("inception3c")} == {
        "double_reduce",
        "double1",
    }
    assert part.endpoint_names[-1] == "inception3c.double1"
    whole = tiny_trunk()
    for name in ("inception3c.double2", "inception4e", "inception5b"):
        whole.set_submodule(name, torch.nn.Linear(1, 1))  # would not take a map
    assert whole.forward_features(torch.randn(1, 3, 32, 32), "inception3c.double1").shape == (1, 6, 4, 4)


def test_frames_are_seen_one_by_one() -> None:
    trunk, frames = tiny_trunk(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together = trunk.forward_features(frames)
        assert torch.allclose(trunk.forward_features(frames[1:2]), together[1:2], atol=1e-6)


def test_stacks_of_flow_and_the_smallest_frames() -> None:
    trunk = tiny_trunk(in_channels=10)
    assert trunk.forward_features(torch.randn(1, 10, 7, 7)).shape == (1, trunk.num_features, 1, 1)
    with pytest.raises(ValueError, match=r"takes at least 7 x 7 pixels, got 6 x 9"):
        trunk.forward_features(torch.randn(1, 10, 6, 9))
    with pytest.raises(ValueError, match=r"takes frames of \(batch, 10, height, width\), got \(1, 3, 7, 7\)"):
        trunk.forward_features(torch.randn(1, 3, 7, 7))


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="no layer 'inception6a' to end with; it has conv1, pool1"):
        BnInception(last="inception6a", width_divisor=16)
    with pytest.raises(ValueError, match=r"no layer 'conv1\.double1'"):
        BnInception(last="conv1.double1", width_divisor=16)
    with pytest.raises(ValueError, match="no layer inception3b; it has"):
        tiny_trunk().forward_features(torch.randn(1, 3, 32, 32), "inception3b")
