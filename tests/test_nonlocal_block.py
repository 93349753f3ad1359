"""The non-local block by the equations of the paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vadis.models.cost import count_parameters
from vadis.models.nonlocal_block import NonLocal

GOLDEN = Path(__file__).parent / "golden" / "parity"
PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def random_block(channels: int = 6, seed: int = 0, **options: Any) -> NonLocal:
    """A block for testing in which nothing is zero, weights of the size of one."""
    torch.manual_seed(seed)
    block = NonLocal(channels, **options).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
        block.bn.running_mean.normal_()  # type: ignore[union-attr]
        block.bn.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return block


def random_map(*shape: int) -> Tensor:
    """A feature map with values of the size of one."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "file",
    [
        "nonlocal_gaussian",
        "nonlocal_gaussian_subsample",
        "nonlocal_embedded_gaussian",
        "nonlocal_embedded_gaussian_subsample",
        "nonlocal_dot_product",
        "nonlocal_concatenation",
        "nonlocal_concatenation_subsample",
    ],
)
def test_the_same_block_as_alexhex7(file: str) -> None:
    """A widely used port: no scale before the softmax, and pooling after the convolutions."""
    document = json.loads((GOLDEN / f"{file}.json").read_text())
    pairwise: Any = file.removeprefix("nonlocal_").removesuffix("_subsample")
    block = NonLocal(
        16,
        pairwise=pairwise,
        scaled=False,
        pool_first=False,
        pool=(1, 2, 2) if file.endswith("subsample") else (1, 1, 1),
    ).eval()
    state = {}
    for key, array in all_by_the_rule(document["state"], document["weight_scale"]).items():
        name = key.replace("W.0.", "out.").replace("W.1.", "bn.").replace("concat_project.0.", "pair.")
        name = name.replace("g.0.", "g.").replace("phi.0.", "phi.")
        state[name] = torch.from_numpy(array).reshape(block.state_dict()[name].shape)
    block.load_state_dict(state)
    assert count_parameters(block) == document["params"]
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.no_grad():
        found = block(torch.from_numpy(noise)).flatten().numpy()
    wanted = np.array(document["output"])
    assert abs(found - wanted).max() < 1e-5 * wanted.std()


def by_the_equations(block: NonLocal, x_CTHW: Tensor) -> Tensor:
    """Equations 1 to 6, one position after the other, in float64. x_CTHW: one map without pooling."""
    x = x_CTHW.flatten(1).double()
    maps = {
        name: getattr(block, name).weight.flatten(1).double() @ x
        + getattr(block, name).bias.double()[:, None]
        for name in ("g", "theta", "phi")
        if hasattr(block, name)
    }
    outputs = []
    for i in range(x.shape[1]):
        if block.pairwise == "gaussian":
            f = torch.exp(x[:, i] @ x)
        elif block.pairwise == "embedded_gaussian":
            f = torch.exp(maps["theta"][:, i] @ maps["phi"])
        elif block.pairwise == "dot_product":
            f = maps["theta"][:, i] @ maps["phi"]
        else:
            pairs = torch.cat([maps["theta"][:, i : i + 1].expand_as(maps["phi"]), maps["phi"]])
            f = F.relu(block.pair.weight[0].double() @ pairs)
        total = f.sum() if "gaussian" in block.pairwise else x.shape[1]
        outputs.append((f * maps["g"]).sum(1) / total)
    y = torch.stack(outputs, 1)
    wy = block.out.weight.flatten(1).double() @ y + block.out.bias.double()[:, None]  # type: ignore[union-attr]
    norm: Any = block.bn
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    normed = (wy - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]
    return (x + normed).reshape(x_CTHW.shape)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_the_equations_of_the_paper(pairwise: Any) -> None:
    block = random_block(pairwise=pairwise, pool=(1, 1, 1), scaled=False)
    x = random_map(2, 6, 2, 3, 2)
    with torch.no_grad():
        found = block(x)
        for index in range(2):
            wanted = by_the_equations(block, x[index])
            assert torch.allclose(found[index].double(), wanted, atol=2e-5 * float(wanted.abs().max()))


def test_two_positions_by_hand() -> None:
    block = NonLocal(1, 1, pairwise="dot_product", pool=(1, 1, 1)).eval()
    with torch.no_grad():
        for name, weight in (("theta", 1.0), ("phi", 2.0), ("g", 3.0), ("out", 1.0)):
            layer = getattr(block, name)
            layer.weight.fill_(weight)
            layer.bias.zero_()
        block.bn.weight.fill_(1.0)
        block.bn.eps = 0.0
        x = torch.tensor([1.0, 10.0]).reshape(1, 1, 2, 1, 1)
        # y_1 = (1*2*1 * 3*1 + 1*2*10 * 3*10) / 2 = 303, y_2 = (10*2*1 * 3 + 10*2*10 * 30) / 2 = 3030
        assert block(x).flatten().tolist() == pytest.approx([304.0, 3040.0])
        block.pairwise = "embedded_gaussian"
        block.scale = 0.1
        weight = np.exp([0.2, 2.0]) / np.exp([0.2, 2.0]).sum()
        assert block(x)[0, 0, 0].item() == pytest.approx(1 + float(weight @ [3.0, 30.0]))


def test_the_order_of_products_does_not_matter() -> None:
    """(theta phi') g = theta (phi' g): fewer multiply-adds where positions are many, the same numbers."""
    block = random_block(channels=8, pairwise="dot_product")
    x = random_map(1, 8, 4, 12, 12)
    with torch.no_grad():
        query, key, value = block._embed(x)
        map_first = block._weights(query, key) @ value
        assert query.shape[1] * key.shape[1] > query.shape[2] * (query.shape[1] + key.shape[1])
        assert torch.allclose(block._gather(query, key, value), map_first, rtol=1e-4, atol=1e-5)
        with FlopCounterMode(display=False) as counter:
            block._gather(query, key, value)
    direct = 2 * query.shape[1] * key.shape[1] * query.shape[2]
    assert counter.get_total_flops() / 2 == 4 * 4 * (576 + 144) < direct / 2


KINDS: list[dict[str, Any]] = [
    *({"pairwise": pairwise} for pairwise in PAIRWISE),
    {"pairwise": "embedded_gaussian", "scaled": False, "pool_first": False},
    {"pairwise": "gaussian", "pool_first": False},
    {"pool": (2, 2, 2)},
    {"pool": (2, 2, 2), "pairwise": "dot_product"},
    {"extent": "space"},
    {"extent": "space", "pairwise": "concatenation"},
    {"extent": "time"},
    {"extent": "time", "pairwise": "dot_product"},
    {"group_frames": 2},
    {"group_frames": 3, "pairwise": "dot_product"},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_attention_is_what_the_block_does(kind: dict[str, Any]) -> None:
    """z = x + BN(W_z (weights g)), with the weights that `attention` gives."""
    block = random_block(**kind)
    x = random_map(2, 6, 5, 4, 6)
    with torch.no_grad():
        weights, query_grid, key_grid = block.attention(x)
        window: Any = block._window((5, 4, 6)) if block.extent != "space" else (1, 2, 2)
        pooled = (
            F.max_pool3d(block.g(x), window) if not block.pool_first else block.g(F.max_pool3d(x, window))
        )
        y = weights @ pooled.flatten(2).transpose(1, 2)
        wanted = x + block.bn(block.out(y.transpose(1, 2).unflatten(2, (5, 4, 6))))
        assert torch.allclose(block(x), wanted, atol=1e-4)
        assert block.train()(x).shape == x.shape
    assert query_grid == (5, 4, 6)
    assert key_grid == tuple(pooled.shape[2:])
    assert weights.shape == (2, 5 * 4 * 6, pooled[0, 0].numel())
    if "gaussian" in block.pairwise:
        assert torch.allclose(weights.sum(2), torch.ones(2, 120), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_training_and_testing_are_one_function(kind: dict[str, Any]) -> None:
    """With statistics that do not move, the form for training gives what the folded one gives."""
    block = random_block(**kind)
    x = random_map(1, 6, 5, 4, 6)
    with torch.no_grad():
        folded = block(x)
        block.training = True  # the norm itself stays in eval
        assert torch.allclose(block(x), folded, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "touched"),
    [
        ({"extent": "spacetime", "pool": (1, 1, 1)}, lambda moved: moved.all()),
        ({"extent": "space"}, lambda moved: moved[1].all() and not moved[[0, 2, 3]].any()),
        ({"extent": "time"}, lambda moved: moved[:, 0, 0].all() and moved.sum() == 4),
        ({"group_frames": 2}, lambda moved: moved[:2].all() and not moved[2:].any()),
    ],
)
def test_who_sees_whom(kind: dict[str, Any], touched: Any) -> None:
    """One position (frame 1, corner) is changed: these answers change."""
    block = random_block(**kind)
    x = random_map(1, 6, 4, 4, 4)
    changed = x.clone()
    changed[:, :, 1, 0, 0] += 3.0
    with torch.no_grad():
        moved = (block(changed) - block(x))[0].abs().amax(0) > 1e-6
    assert touched(moved)


def test_frames_in_another_order_give_the_same_in_another_order() -> None:
    block = random_block()
    x = random_map(1, 6, 4, 4, 4)
    with torch.no_grad():
        assert torch.allclose(block(x.flip(2)), block(x).flip(2), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairwise": "softmax"}, "pairwise must be one of gaussian"),
        ({"extent": "depth"}, "extent must be one of spacetime"),
        ({"pool": (2, 2)}, "pool takes three sizes"),
        ({"pool": (2, 2, 2), "group_frames": 4}, "leaves time alone"),
        ({"extent": "space", "group_frames": 4}, "group_frames takes"),
    ],
)
def test_a_block_that_has_no_meaning_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NonLocal(8, **wrong)
