"""S3D and its relatives: where they see time, what their public forms do, and torchvision's numbers."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.cost import count_parameters, measure_cost
from vadis.models.i3d import SameMaxPool3d, i3d_inception
from vadis.models.layouts import LAYOUTS, to_ours
from vadis.models.layouts.howto100m import STEM, unpack
from vadis.models.s3d import (
    FORMS,
    TEMPORAL,
    BehindMaxPool3d,
    Gate,
    PackedConv3d,
    S3d,
    SeparateUnit,
    SurroundingMaxPool3d,
    i2d_inception,
    i3d_bottom_heavy,
    i3d_top_heavy,
    s3d,
    s3d_fast,
    s3dg,
)


def looks_along_time(model: S3d) -> list[str]:
    """The numbered layers that have a kernel in time."""
    reach: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d):
            layer = name.partition(".")[0]
            reach[layer] = max(reach.get(layer, 1), module.kernel_size[0])
    return [layer for layer, frames in reach.items() if frames > 1]


def shake(model: nn.Module) -> None:
    """Running statistics unlike the initial ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)


# --- which layers look along time ---------------------------------------------------------------------


def test_the_eleven_layers_of_the_paper() -> None:
    names = "conv1a conv2c mixed3b mixed3c mixed4b mixed4c mixed4d mixed4e mixed4f mixed5b mixed5c"
    assert " ".join(TEMPORAL) == names


def test_top_and_bottom_heavy_share_the_layers_among_them() -> None:
    with torch.device("meta"):
        for num_3d in (1, 4):
            top = looks_along_time(i3d_top_heavy(num_3d=num_3d))
            bottom = looks_along_time(i3d_bottom_heavy(num_3d=11 - num_3d))
            fast = looks_along_time(s3d_fast(num_3d=num_3d))
            assert len(top) == num_3d
            assert tuple(bottom + top) == TEMPORAL
            assert fast == top
        assert looks_along_time(i2d_inception()) == looks_along_time(s3d_fast(num_3d=0)) == []
        assert looks_along_time(s3d_fast()) == ["mixed5b", "mixed5c"]
        assert looks_along_time(i3d_top_heavy())[0] == "mixed4b"
        assert looks_along_time(i3d_bottom_heavy())[-1] == "mixed3c"
        assert tuple(looks_along_time(s3d())) == TEMPORAL


@pytest.mark.parametrize("make", [i3d_top_heavy, i3d_bottom_heavy, s3d_fast])
@pytest.mark.parametrize("num_3d", [-1, 12])
def test_more_layers_than_there_are(make: type[S3d], num_3d: int) -> None:
    with pytest.raises(ValueError, match=f"num_3d must be from 0 to 11 .* got {num_3d}"):
        make(num_3d=num_3d)


def test_all_eleven_are_i3d() -> None:
    """The same weights give the same numbers: keys, padding, epsilon and head are I3D's."""
    torch.manual_seed(0)
    theirs = i3d_inception(num_classes=5).eval()
    shake(theirs)
    clip = torch.randn(1, 3, 9, 33, 47)
    with torch.no_grad():
        wanted = theirs(clip)
        for make in (i3d_top_heavy, i3d_bottom_heavy):
            ours = make(num_classes=5, num_3d=11).eval()
            ours.load_state_dict(theirs.state_dict(), strict=True)
            assert torch.allclose(ours(clip), wanted, rtol=1e-5, atol=1e-5)


def test_an_image_network_sees_one_frame_below_the_first_pool_in_time() -> None:
    """NaN in one frame reaches one position of mixed3c in I2D, more where layers look along time."""

    def spread(model: S3d) -> list[int]:
        x = torch.zeros(1, 3, 16, 32, 32)
        x[:, :, 8] = torch.nan
        with torch.no_grad():
            for name in model.trunk[: model.trunk.index("mixed3b")]:
                x = model.get_submodule(name)(x)
        return x.isnan().any(dim=4).any(dim=3).any(dim=1)[0].nonzero().flatten().tolist()

    assert spread(i2d_inception(tiny=True).eval()) == [4]
    assert spread(s3d_fast(tiny=True).eval()) == [4]
    assert spread(s3d(tiny=True).eval()) == [2, 3, 4, 5, 6]
    assert spread(s3d(tiny=True, form="tf_slim", stem_frames=3).eval()) == [2, 3, 4, 5]  # padded behind


# --- what separating and gating start as ---------------------------------------------------------------


def test_time_starts_as_a_copy_in_the_form_of_the_paper() -> None:
    """A fresh S3D whose first layer is 2D is the I2D of its spatial kernels, as TF-slim makes it."""
    torch.manual_seed(0)
    separate = s3d(num_classes=5, tiny=True, form="tf_slim", stem_frames=1).eval()
    flat = i2d_inception(num_classes=5, tiny=True).eval()
    state = separate.state_dict()
    kept = {key.replace(".spatial.", "."): value for key, value in state.items() if ".temporal." not in key}
    flat.load_state_dict(kept, strict=True)
    clip = torch.randn(1, 3, 16, 48, 48)
    with torch.no_grad():
        assert torch.allclose(separate(clip), flat(clip), atol=1e-6)
        for module in separate.modules():
            if isinstance(module, SeparateUnit):
                module.temporal.conv.weight.normal_()
        assert not torch.allclose(separate(clip), flat(clip), atol=1e-2)


def test_a_temporal_convolution_has_a_bias_or_a_norm() -> None:
    with torch.device("meta"):
        slim, torchvision = s3d(form="tf_slim"), s3d()
    assert {"conv2c.temporal.conv.bias", "conv2c.spatial.bn.weight"} <= slim.state_dict().keys()
    assert "conv2c.temporal.bn.weight" not in slim.state_dict()
    assert "conv2c.temporal.bn.weight" in torchvision.state_dict()
    assert "conv2c.temporal.conv.bias" not in torchvision.state_dict()


def test_a_gate_by_hand() -> None:
    gate = Gate(2, bias=True)
    gate.linear.weight.data = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    gate.linear.bias.data = torch.tensor([0.0, 1.0])
    x = torch.tensor([[0.0, 2.0], [1.0, 2.0]]).reshape(1, 2, 2, 1, 1)  # means 1 and 1.5
    wanted = x * torch.sigmoid(torch.tensor([1.0, -2.0])).reshape(1, 2, 1, 1, 1)
    assert torch.allclose(gate(x), wanted)


def test_open_gates_leave_s3d() -> None:
    torch.manual_seed(0)
    plain = s3d(num_classes=5, tiny=True, form="howto100m").eval()
    shake(plain)
    gated = s3dg(num_classes=5, tiny=True, form="howto100m").eval()
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert len(missing) == 2 * (1 + 4 * 3)  # weight and bias after conv2c and each branch of three blocks
    clip = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        for module in gated.modules():
            if isinstance(module, Gate):
                module.linear.weight.zero_()
                module.linear.bias.fill_(30.0)
        assert torch.allclose(gated(clip), plain(clip), atol=1e-5)
        gated.get_submodule("conv2c_gate").linear.bias.zero_()
        assert not torch.allclose(gated(clip), plain(clip), atol=1e-3)


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "positions"), [(5, 1), (16, 1), (24, 2), (64, 7), (128, 15)])
def test_positions_in_time(frames: int, positions: int) -> None:
    with torch.device("meta"):
        dense = s3d(tiny=True).eval().forward_dense(torch.empty(1, 3, frames, 32, 32))
        assert dense.shape == (1, positions, 400)


def test_shapes_of_the_table() -> None:
    table = {
        "conv1a": (64, 32, 112),
        "pool2a": (64, 32, 56),
        "conv2c": (192, 32, 56),
        "pool3a": (192, 32, 28),
        "mixed3c": (480, 32, 28),
        "pool4a": (480, 16, 14),
        "mixed4f": (832, 16, 14),
        "pool5a": (832, 8, 7),
        "mixed5c": (1024, 8, 7),
    }
    for form in FORMS:
        with torch.device("meta"):
            model, x = s3dg(form=form), torch.empty(1, 3, 64, 224, 224)
            for name in model.trunk:
                x = model.get_submodule(name)(x)
                if name in table:
                    channels, frames, side = table[name]
                    assert x.shape == (1, channels, frames, side, side), (form, name)


@pytest.mark.parametrize("form", FORMS)
def test_the_least_that_each_form_takes(form: str) -> None:
    model = s3d(tiny=True, form=form).eval()
    frames, pixels = FORMS[form].min_frames, FORMS[form].min_pixels
    with torch.no_grad():
        assert model(torch.rand(1, 3, frames, pixels, pixels)).isfinite().all()
    if frames > 1:
        with pytest.raises(ValueError, match=f"takes at least {frames} frames, got {frames - 1}"):
            model(torch.rand(1, 3, frames - 1, pixels, pixels))
        with pytest.raises(ValueError, match=f"takes at least {pixels} x {pixels} pixels"):
            model(torch.rand(1, 3, frames, pixels, pixels - 1))


def test_what_the_mean_at_the_top_covers() -> None:
    """7 x 7 at a time (the middle counts more), the whole plane, or the whole clip."""
    torch.manual_seed(0)
    feature = torch.randn(1, 128, 3, 9, 8)
    pairs = (feature[:, :, :-1] + feature[:, :, 1:]) / 2
    for form, wanted in (
        ("torchvision", F.avg_pool2d(pairs.flatten(1, 2), 7, 1).unflatten(1, (128, 2)).mean((3, 4))),
        ("kylemin", pairs.mean((3, 4))),
        ("howto100m", feature.mean((3, 4))),
    ):
        model = s3d(num_classes=5, tiny=True, form=form).eval()
        model.forward_features = lambda clip: feature  # type: ignore[method-assign]
        with torch.no_grad():
            dense = model.forward_dense(feature)
            logits = F.linear(wanted.transpose(1, 2), model.head.weight.flatten(1), model.head.bias)
        assert torch.allclose(dense, logits, atol=1e-5), form


# --- the pieces of HowTo100M's form --------------------------------------------------------------------


def packed(x: Tensor) -> Tensor:
    """2x2x2 pixels -> channels, as the published code orders them: dt, dh, dw, then colour."""
    parts = [x[:, :, t::2, h::2, w::2] for t, h, w in itertools.product((0, 1), repeat=3)]
    return torch.cat(parts, dim=1)


def test_packing_pixels_is_a_larger_convolution() -> None:
    torch.manual_seed(0)
    weight, clip = torch.randn(5, 24, 2, 4, 4), torch.randn(2, 3, 8, 12, 20)
    wanted = F.conv3d(packed(clip), weight, padding=(1, 2, 2))[:, :, 1:, 1:, 1:]
    conv = PackedConv3d(3, 5)
    conv.weight.data = torch.from_numpy(unpack({STEM: weight.numpy()})[STEM])
    assert conv.weight.shape == (5, 3, 4, 8, 8)
    assert torch.allclose(conv(clip), wanted, atol=1e-4)


def test_unpacking_leaves_other_stems_alone() -> None:
    plain = {STEM: torch.zeros(64, 3, 3, 7, 7).numpy()}
    assert unpack(plain) is plain
    assert unpack({}) == {}


@pytest.mark.parametrize(
    ("kernel", "stride"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))]
)
def test_padding_behind_is_what_the_published_code_does(
    kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    pool, same = BehindMaxPool3d(kernel, stride), SameMaxPool3d(kernel, stride)
    behind = [max(k - s, 0) for k, s in zip(kernel, stride, strict=True)]
    for size in itertools.product(range(1, 7), range(1, 7), (4, 5)):
        x = torch.rand(1, 2, *size)
        filled = F.pad(x, (0, behind[2], 0, behind[1], 0, behind[0]))
        assert torch.equal(pool(x), F.max_pool3d(filled, kernel, stride, ceil_mode=True)), size
        if all(length % 2 == 0 for length in size):
            assert torch.equal(pool(x), same(x)), "SAME, where sizes are even"


def test_the_pool_of_a_mixed_block_is_the_plain_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 4, 7, 5).relu().requires_grad_()  # many equal values: zeros
    found, wanted = SurroundingMaxPool3d()(x), F.max_pool3d(x, 3, 1, 1)
    assert torch.equal(found, wanted)
    weight = torch.randn_like(wanted)
    gradients = [torch.autograd.grad(y, x, weight)[0] for y in (found, wanted)]
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


# --- options, counts and checkpoints ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "params", "gmac"),
    [
        (s3d, {"form": "kylemin"}, 8320048, 71.916),
        (s3d, {"form": "tf_slim"}, 8344432, 79.289),
        (s3d, {"form": "tf_slim", "stem_frames": 3}, 8306800, 64.184),
        (s3dg, {}, 8320048 + 1219328, 71.918),
        (s3dg, {"form": "howto100m"}, 9556000, 72.586),
        (s3dg, {"form": "howto100m_plain_stem"}, 9535072, 64.185),
        (i3d_top_heavy, {"num_3d": 11}, 12697264, 111.153),
        (i2d_inception, {}, 6009904, 36.891),
    ],
)
def test_counts(make: type[S3d], options: dict[str, object], params: int, gmac: float) -> None:
    with torch.device("meta"):
        cost = measure_cost(make(**options), (3, 64, 224, 224))
    assert cost.num_parameters == params
    assert cost.gmac == pytest.approx(gmac, rel=1e-4)


def test_gating_is_a_square_for_each_gated_width() -> None:
    """1.22 M: 192 squared after conv2c, and each branch's width squared in nine blocks."""
    with torch.device("meta"):
        gates = [module for module in s3dg().modules() if isinstance(module, Gate)]
    widths = [gate.linear.in_features for gate in gates]
    assert len(widths) == 1 + 9 * 4
    assert sum(width**2 for width in widths) == sum(count_parameters(gate) for gate in gates) == 1219328


def test_what_goes_in() -> None:
    with torch.device("meta"):
        specs = {form: s3d(tiny=True, form=form).spec for form in FORMS}
    found = {form: (spec.num_frames, spec.fps, spec.value_range) for form, spec in specs.items()}
    assert found == {
        "torchvision": (128, 15.0, (0.0, 1.0)),
        "kylemin": (64, 25.0, (-1.0, 1.0)),
        "tf_slim": (64, 25.0, (-1.0, 1.0)),
        "howto100m": (32, 10.0, (0.0, 1.0)),
        "howto100m_plain_stem": (32, 10.0, (0.0, 1.0)),
    }
    assert specs["torchvision"].mean == (0.43216, 0.394666, 0.37645)
    assert specs["howto100m"].mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "slim"}, "no form 'slim' of S3D; known are torchvision, kylemin, tf_slim"),
        ({"stem_frames": 4}, "stem_frames must be 1, 3, 5 or 7"),
        ({"form": "howto100m", "stem_frames": 3}, "not of the form howto100m"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        s3d(tiny=True, **options)


def test_epsilons() -> None:
    for form, wanted in (("torchvision", 1e-3), ("tf_slim", 1e-3), ("howto100m", 1e-5)):
        with torch.device("meta"):
            model = s3d(tiny=True, form=form)
        assert {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm3d)} == {wanted}


# --- the same as torchvision's --------------------------------------------------------------------------


def twins(num_classes: int) -> tuple[nn.Module, S3d]:
    """torchvision's network and ours with its weights, through the importer's renaming."""
    video = pytest.importorskip("torchvision.models.video")
    torch.manual_seed(0)
    theirs = video.s3d(num_classes=num_classes, dropout=0.0)
    shake(theirs)
    ours = s3d(num_classes=num_classes, dropout=0.0)
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
    found = to_ours(arrays, "s3d", LAYOUTS, lambda count, options: shapes)
    assert (found.layout, found.options, found.num_classes) == (
        "torchvision_s3d",
        {"form": "torchvision"},
        num_classes,
    )
    missing, unexpected = ours.load_state_dict(
        {key: torch.from_numpy(array.copy()) for key, array in found.arrays.items()}, strict=False
    )
    assert unexpected == []
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return theirs, ours


@pytest.mark.slow
def test_torchvision_gives_the_same() -> None:
    theirs, ours = twins(11)
    for size in ((16, 224, 224), (25, 240, 256)):  # the latter: odd, and more than one position at the top
        clip = torch.randn(1, 3, *size)
        with torch.inference_mode():
            wanted, found = theirs.eval()(clip), ours.eval()(clip)
        difference = float((found - wanted).abs().max() / wanted.std())
        print(f"{size}: differs by {difference:.1e} of the output's standard deviation")
        assert difference < 1e-4


@pytest.mark.slow
def test_torchvision_learns_the_same() -> None:
    """A step of SGD from the same weights on the same clips leads to the same loss.

    In double precision, and one: batch norm over two clips makes the training of this network chaotic, so
    that a rounding grows some fifty times a step.
    """
    theirs, ours = (model.double() for model in twins(4))
    clips = torch.randn(2, 3, 13, 209, 209, dtype=torch.float64)  # the least that torchvision's head takes
    labels = torch.tensor([1, 3])
    losses: list[list[float]] = []
    for model in (theirs, ours):
        optimiser = torch.optim.SGD(model.train().parameters(), lr=1e-3, momentum=0.9)
        losses.append([])
        for last in (False, True):
            loss = F.cross_entropy(model(clips), labels)
            losses[-1].append(loss.item())
            if not last:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    differences = [abs(found - wanted) for wanted, found in zip(*losses, strict=True)]
    print(f"{losses[0][0]:.4f} to {losses[0][-1]:.4f}; differ by {max(differences):.1e} at most")
    assert abs(losses[0][-1] - losses[0][0]) > 1e-4, "nothing was learnt"
    assert max(differences) < 1e-6
