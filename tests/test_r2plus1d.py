"""R(2+1)D and its relatives: the paper's tables, what is 2D in what is 3D, torchvision's and VMZ's own."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from built import noise
from made_weights import all_by_the_rule, by_the_rule
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import video as torchvision_video
from vmz_networks import BLOBS, NAMES, build, caffe2_blobs

from vadis.models import create_model, weights
from vadis.models.conversion import expected_shapes
from vadis.models.cost import count_parameters, measure_cost
from vadis.models.layouts import LAYOUTS, Imported, LayoutError, to_ours
from vadis.models.r2plus1d import VideoResNet, conv_2plus1d, conv_3d, middle_planes

TORCHVISION = {"r3d_18": "r3d_18", "mc3_18": "mc3_18", "r2plus1d_18_per_block": "r2plus1d_18"}


def on_meta(name: str, **options: Any) -> VideoResNet:
    """A network of full size that takes no memory."""
    with torch.device("meta"):
        model = create_model(name, **options).eval()
    assert isinstance(model, VideoResNet)
    return model


def unsettle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Running statistics and affine parameters unlike the initial ones, for testing."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def tiny(name: str, **options: Any) -> VideoResNet:
    """A small network with statistics of its own."""
    torch.manual_seed(0)
    model = unsettle(create_model(name, num_classes=5, tiny=True, **options))
    assert isinstance(model, VideoResNet)
    return model


def imported(arrays: dict[str, np.ndarray], name: str, layout: str = "auto") -> Imported:
    """A checkpoint in our keys, without a file between."""

    def shapes(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        return expected_shapes(name, num_classes, options)

    return to_ours(arrays, name, LAYOUTS, shapes, layout)


def as_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {key: value.detach().numpy() for key, value in state.items()}


def from_checkpoint(state: dict[str, Tensor], name: str, layout: str = "auto") -> VideoResNet:
    """Our network with the weights of a checkpoint, built as the checkpoint implies."""
    found = imported(as_arrays(state), name, layout)
    model = create_model(name, num_classes=found.num_classes, **found.options).eval()
    assert isinstance(model, VideoResNet)
    own = model.state_dict()
    loaded = {key: torch.from_numpy(array) for key, array in found.arrays.items()}
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    model.load_state_dict(counters | loaded)
    return model


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the spread of the values."""
    return float((found - wanted).abs().max() / wanted.std())


# --- middle planes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "planes"),
    [
        ((64, 64), 144),
        ((64, 128), 230),
        ((128, 128), 288),
        ((128, 256), 460),
        ((256, 256), 576),
        ((256, 512), 921),
        ((512, 512), 1152),
    ],
)
def test_middle_planes_of_the_paper(channels: tuple[int, int], planes: int) -> None:
    assert middle_planes(*channels) == planes


@pytest.mark.parametrize("channels", [(3, 64), (64, 128), (512, 512), (5, 7)])
@pytest.mark.parametrize("size", [3, 7])
def test_a_factored_convolution_is_as_large_as_the_whole(channels: tuple[int, int], size: int) -> None:
    middle = middle_planes(*channels, size)
    whole = count_parameters(conv_3d(*channels, size, (1, 1, 1), middle, nn.BatchNorm3d))
    parts = [
        count_parameters(conv_2plus1d(*channels, size, (1, 1, 1), planes, nn.BatchNorm3d)) - 2 * planes
        for planes in (middle, middle + 1)  # batch norm's scale and shift left out
    ]
    assert parts[0] <= whole < parts[1]


def test_middle_planes_by_option() -> None:
    def planes(midplanes: str, name: str = "r2plus1d_18") -> list[int]:
        state = on_meta(name, midplanes=midplanes).state_dict()
        return [state[key].shape[0] for key in state if key.endswith("spatial.weight")]

    assert planes("per_conv")[:7] == [45, 144, 144, 144, 144, 230, 288]
    assert planes("per_block")[:7] == [45, 144, 144, 144, 144, 230, 230]
    assert planes("everywhere")[:8] == [83, 144, 144, 144, 144, 230, 288, 54]  # the last is a shortcut
    flow = on_meta("r2plus1d_34", midplanes="everywhere", in_channels=2).state_dict()["conv1.spatial.weight"]
    assert flow.shape == (83, 2, 1, 7, 7), "so that weights for RGB can be averaged for flow"
    assert planes("per_conv", "r2plus1d_50")[:4] == [45, 144, 144, 144]
    assert planes("per_block", "r2plus1d_50")[:4] == [45, 144, 177, 177]  # 64 and 256 channels come in


def test_options_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match=r"r3d has no \(2\+1\)D convolutions"):
        create_model("r3d_18", tiny=True, midplanes="per_block")
    with pytest.raises(ValueError, match="must be"):
        create_model("r2plus1d_18", tiny=True, midplanes="per_stage")


# --- the tables of the paper ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lengths", "frames"),
    [  # the kernels' length in time, and the frames that are left of 16, group by group
        ("r2d", (16, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
        ("fr2d", (1, 1, 1, 1, 1), (16, 16, 16, 16, 16)),
        ("r3d", (3, 3, 3, 3, 3), (16, 16, 8, 4, 2)),
        ("mc2", (3, 1, 1, 1, 1), (16, 16, 16, 16, 16)),
        ("mc3", (3, 3, 1, 1, 1), (16, 16, 16, 16, 16)),
        ("mc4", (3, 3, 3, 1, 1), (16, 16, 8, 8, 8)),
        ("mc5", (3, 3, 3, 3, 1), (16, 16, 8, 4, 4)),
        ("rmc2", (1, 3, 3, 3, 3), (16, 16, 8, 4, 2)),
        ("rmc3", (1, 1, 3, 3, 3), (16, 16, 8, 4, 2)),
        ("rmc4", (1, 1, 1, 3, 3), (16, 16, 16, 8, 4)),
        ("rmc5", (1, 1, 1, 1, 3), (16, 16, 16, 16, 8)),
        ("r2plus1d", (3, 3, 3, 3, 3), (16, 16, 8, 4, 2)),
    ],
)
@pytest.mark.parametrize("depth", [18, 34])
def test_the_groups(kind: str, lengths: tuple[int, ...], frames: tuple[int, ...], depth: int) -> None:
    model = on_meta(f"{kind}_{depth}", num_frames=16)
    groups = ("conv1", "stage2", "stage3", "stage4", "stage5")
    found = []
    for group in groups:
        module = model.get_submodule(group)
        kernels = {m.kernel_size for m in module.modules() if isinstance(m, nn.Conv3d)}
        found.append(max(kernel[0] for kernel in kernels))
        if kind == "r2plus1d":
            assert not any(kernel[0] > 1 and kernel[1] > 1 for kernel in kernels)
    assert tuple(found) == lengths
    x = torch.empty(1, 3, 16, 112, 112, device="meta")
    sizes = []
    for group in groups:
        x = model.get_submodule(group)(x)
        sizes.append((x.shape[1], x.shape[2], x.shape[3]))
    assert sizes == list(zip((64, 64, 128, 256, 512), frames, (56, 56, 28, 14, 7), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "num_parameters", "shape_CTHW", "gmac"),
    [  # paper and VMZ's zoo: 8 frames; torchvision's builds; mmaction2's metafile; the zoo's deep ones
        ("r2d_18", {"num_frames": 8}, 11.45e6, (3, 8, 112, 112), 1.93),
        ("r2plus1d_18", {}, 33.37e6, (3, 8, 112, 112), 20.75),
        ("r3d_18", {}, 33.37e6, (3, 8, 112, 112), 20.35),
        ("mc3_18", {}, 11.70e6, (3, 8, 112, 112), 21.67),
        ("r2plus1d_18", {"midplanes": "per_block"}, 31_505_325, (3, 16, 112, 112), 40.519),
        ("r2plus1d_34", {}, 63_697_175, (3, 32, 128, 128), 199.0),
        ("r2plus1d_34", {"midplanes": "everywhere", "use_pool1": True}, 63_759_281, (3, 8, 256, 256), 53.0),
        ("r2plus1d_152", {}, 118.0e6, (3, 32, 128, 128), 329.1),
        ("ir_csn_152", {}, 29_703_568, (3, 32, 256, 256), 96.7),
        ("ip_csn_152", {}, 33_016_592, (3, 32, 256, 256), 108.8),
    ],
)
def test_published_counts(
    name: str, options: dict[str, Any], num_parameters: float, shape_CTHW: tuple[int, ...], gmac: float
) -> None:
    cost = measure_cost(on_meta(name, **options), shape_CTHW)
    exact = float(num_parameters).is_integer() and num_parameters % 1e4 != 0
    assert cost.num_parameters == pytest.approx(num_parameters, rel=0 if exact else 3e-3)
    assert cost.gmac == pytest.approx(gmac, rel=3e-3)


def test_epsilon_and_rate_belong_to_the_source() -> None:
    for name, epsilon, fps in (
        ("r3d_18", 1e-5, 15.0),
        ("mc3_18", 1e-5, 15.0),
        ("r2plus1d_18_per_block", 1e-5, 15.0),
        ("r2plus1d_18", 1e-3, None),
        ("mc4_18", 1e-3, None),
    ):
        model = on_meta(name)
        found = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm3d)}
        assert (found, model.spec.fps) == ({epsilon}, fps)
    theirs = on_meta("r2plus1d_34", midplanes="everywhere")
    assert theirs.bn1.eps == theirs.get_submodule("stage3.0.shortcut.bn").eps == 1e-3
    inner = {m.eps for key, m in theirs.named_modules() if key.endswith(("conv1.bn", "conv2.bn", "conv.bn"))}
    assert inner == {1e-5}


def test_a_pooling_after_conv1() -> None:
    clip = torch.empty(1, 3, 8, 224, 224, device="meta")
    assert on_meta("r2plus1d_50").forward_features(clip).shape == (1, 2048, 1, 14, 14)
    assert on_meta("r2plus1d_50", use_pool1=True).forward_features(clip).shape == (1, 2048, 1, 7, 7)
    assert on_meta("ir_csn_152").forward_features(clip).shape == (1, 2048, 1, 7, 7)


# --- what one network is inside another -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reach"),
    [  # frames that one position depends on: (kernel - 1) x strides before, two blocks in stage2, else one
        ("fr2d_18", 1),
        ("mc2_18", 3),
        ("mc3_18", 3 + 4 * 2),
        ("mc4_18", 3 + 4 * 2 + 2 + 4),
        ("rmc5_18", 1 + 2 + 4),
        ("rmc4_18", 1 + 2 + 4 + 4 + 8),
        ("r3d_18", 3 + 4 * 2 + 2 + 4 + 4 + 8 + 8 + 16),
        ("r2plus1d_18", 3 + 4 * 2 + 2 + 4 + 4 + 8 + 8 + 16),
    ],
)
def test_receptive_field_in_time(name: str, reach: int) -> None:
    model = tiny(name)
    clip = noise(1, 3, 97, 16, 16).requires_grad_()
    feature = model.forward_features(clip)
    middle = feature.shape[2] // 2
    feature[:, :, middle].square().sum().backward()
    assert clip.grad is not None
    frames = clip.grad.abs().amax(dim=(0, 1, 3, 4)).nonzero().flatten()
    assert int(frames[-1] - frames[0]) + 1 == len(frames) == reach


def test_frame_by_frame_is_the_mean_over_frames() -> None:
    model = tiny("fr2d_18")
    clip = noise(2, 3, 6, 40, 48)
    with torch.no_grad():
        single = torch.stack([model(clip[:, :, t : t + 1]) for t in range(6)]).mean(0)
        assert relative(model(clip), single) < 1e-5
        assert relative(model(clip[:, :, [3, 0, 5, 1, 4, 2]]), single) < 1e-5, "whatever their order"


def test_3d_with_its_centre_taps_only_sees_every_eighth_frame() -> None:
    """Three strides of 2 with kernels of 3 and a border of 1: position t lies on frame 8 t."""
    plane, volume = tiny("fr2d_18", bn_epsilon=1e-5), tiny("r3d_18")
    state = plane.state_dict()
    for key, value in volume.state_dict().items():
        if value.ndim == 5 and value.shape[2] == 3:
            kernel = torch.zeros_like(value)
            kernel[:, :, 1:2] = state[key]
            state[key] = kernel
    volume.load_state_dict(state)
    clip = noise(1, 3, 16, 32, 32)
    with torch.no_grad():
        assert relative(volume(clip), plane(clip[:, :, [0, 8]])) < 1e-5
        assert relative(volume(clip), plane(clip[:, :, [1, 9]])) > 1e-2


def test_r2d_takes_its_clip_for_an_image_of_many_channels() -> None:
    model = tiny("r2d_18", num_frames=8)
    clip = noise(2, 3, 8, 32, 40)
    weight = model.get_parameter("conv1.weight")
    assert weight.shape == (8, 3, 8, 7, 7)
    with torch.no_grad():
        flat = F.conv2d(clip.flatten(1, 2), weight.flatten(1, 2), stride=2, padding=3)
        assert torch.allclose(model.conv1(clip)[:, :, 0], flat, atol=1e-4)
        assert model.forward_features(clip).shape == (2, 64, 1, 2, 3)
    assert (model.spec.num_frames, model.min_frames) == (8, 8)
    for frames in (7, 9):
        with pytest.raises(
            ValueError, match=rf"takes 8 frames, got {frames}: build it with num_frames={frames}"
        ):
            model(noise(1, 3, frames, 32, 32))


def test_a_block_without_its_branch_is_its_shortcut() -> None:
    model = tiny("r2plus1d_18")
    for stage in range(2, 6):
        for block in model.get_submodule(f"stage{stage}"):
            nn.init.zeros_(block.bn2.weight)
            nn.init.zeros_(block.bn2.bias)
    clip = noise(1, 3, 8, 32, 32)
    with torch.no_grad():
        x = F.relu(model.bn1(model.conv1(clip)))
        for stage in (3, 4, 5):
            x = F.relu(model.get_submodule(f"stage{stage}.0.shortcut")(x))
        assert torch.allclose(model.forward_features(clip), x, atol=1e-5)


# --- the same as torchvision ------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_gives_the_same(name: str) -> None:
    theirs = unsettle(getattr(torchvision_video, TORCHVISION[name])(num_classes=11))
    ours = from_checkpoint(theirs.state_dict(), name)
    clip = noise(2, 3, 9, 58, 47)
    with torch.no_grad():
        wanted = theirs(clip)
        assert relative(ours(clip), wanted) < 1e-5
        other = create_model(name, num_classes=11, bn_epsilon=1e-3).eval()
        other.load_state_dict(ours.state_dict())
        assert relative(other(clip), wanted) > 1e-4, "epsilon matters"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18_per_block"])
def test_it_learns_the_same_as_torchvision(name: str) -> None:
    """Eight steps of SGD from the same weights on the same clips: the same losses."""
    torch.manual_seed(0)
    theirs = getattr(torchvision_video, TORCHVISION[name])(num_classes=4)
    ours = from_checkpoint(theirs.state_dict(), name)
    clips, labels = noise(4, 3, 8, 32, 32), torch.arange(4)
    losses: list[list[float]] = []
    for model in (theirs.train(), ours.train()):
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        losses.append([])
        for _ in range(8):
            loss = F.cross_entropy(model(clips), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    print(name, losses)
    assert losses[0][-1] < 0.95 * losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-4)


# --- checkpoints: torchvision or VMZ ----------------------------------------------------------------


def vmz_state(name: str) -> dict[str, np.ndarray]:
    """Made weights by the keys of VMZ's PyTorch port."""
    with torch.device("meta"):
        state = build(name).state_dict()
    return all_by_the_rule([(key, tuple(value.shape)) for key, value in state.items()])


def test_what_shapes_cannot_tell_the_layout_does() -> None:
    state = vmz_state("r3d_18")
    found = imported(state, "r3d_18")
    assert (found.layout, found.options) == ("torchvision", {"bn_epsilon": 1e-5})
    found = imported(state, "r3d_18", "vmz")
    assert (found.layout, found.options) == ("vmz", {"bn_epsilon": 1e-3})


def test_what_shapes_can_tell() -> None:
    with torch.device("meta"):
        theirs = torchvision_video.r2plus1d_18().state_dict()
    per_block = all_by_the_rule([(key, tuple(value.shape)) for key, value in theirs.items()])
    found = imported(per_block, "r2plus1d_18")
    assert (found.layout, found.options) == ("torchvision", {"bn_epsilon": 1e-5, "midplanes": "per_block"})
    per_conv = vmz_state("r2plus1d_18")
    found = imported(per_conv, "r2plus1d_18")
    assert (found.layout, found.options) == ("vmz", {"bn_epsilon": 1e-3})
    with pytest.raises(LayoutError, match=r"stage3.0.conv2.spatial.weight has shape \(288, 128, 1, 3, 3\)"):
        imported(per_conv, "r2plus1d_18_per_block")
    with pytest.raises(LayoutError, match="not the keys of r2plus1d_18_per_block"):
        imported(per_conv, "r2plus1d_18_per_block", "vmz")


@pytest.mark.parametrize("name", ["mc4_18", "rmc4_18", "r2plus1d_50", "ir_csn_152", "ip_csn_152"])
def test_vmz_keys_of_every_kind(name: str) -> None:
    with torch.device("meta"):
        state = build(name, 7).state_dict()
    shapes = {key: np.empty(value.shape, np.float32) for key, value in state.items()}
    shapes = {key: np.zeros_like(value) for key, value in shapes.items()}
    found = imported(shapes, name)
    assert (found.layout, found.options, found.num_classes) == ("vmz", {"bn_epsilon": 1e-3}, 7)


def by_blobs(name: str) -> dict[str, np.ndarray]:
    """Made weights by the blob names and shapes that are kept as a file."""
    shapes = json.loads(BLOBS.read_text())[name]
    return {f"blobs/{blob}": np.zeros(shape, np.float32) for blob, shape in shapes.items()}


@pytest.mark.parametrize("name", NAMES)
def test_caffe2_blobs_are_all_ours(name: str) -> None:
    found = imported(by_blobs(name), name)
    frames = {"num_frames": 8} if name == "r2d_18" else {}
    assert (found.layout, found.options) == ("vmz_caffe2", {"bn_epsilon": 1e-3} | frames)
    with torch.device("meta"):
        assert {blob: list(value.shape) for blob, value in caffe2_blobs(build(name)).items()} == json.loads(
            BLOBS.read_text()
        )[name], "the file and tests/vmz_networks.py differ: write it again"


@pytest.mark.parametrize(
    "name",
    [
        *("r2d_18", "fr2d_18", "mc4_18", "rmc4_18", "r2plus1d_18"),
        pytest.param("r2plus1d_34", marks=pytest.mark.slow),
        pytest.param("r2plus1d_50", marks=pytest.mark.slow),
        pytest.param("ir_csn_152", marks=pytest.mark.slow),
        pytest.param("ip_csn_152", marks=pytest.mark.slow),
    ],
)
def test_vmz_gives_the_same_by_both_spellings(name: str) -> None:
    """Its network, from torchvision's classes, against ours with its weights as .pth and as Caffe2 blobs."""
    torch.manual_seed(0)
    theirs = unsettle(build(name, 11))
    clip = noise(1, 3, 8, 32, 48)
    blobs = {f"blobs/{blob}": value for blob, value in caffe2_blobs(theirs).items()}
    assert sum(value.numel() for value in blobs.values()) == sum(
        value.numel() for value in theirs.state_dict().values() if value.ndim > 0
    )
    with torch.no_grad():
        wanted = theirs(clip)
        spellings = [from_checkpoint(blobs, name)]
        if name != "r2d_18":  # the port has none, and its keys do not say how long the clips are
            spellings.append(from_checkpoint(theirs.state_dict(), name, "vmz"))
        for ours in spellings:
            assert relative(ours(clip), wanted) < 1e-4


@pytest.mark.slow
def test_a_pickle_of_blobs_to_a_network(tmp_path: Path) -> None:
    """The whole way, as a user goes it: .pkl of flow weights -> import -> create_model."""
    shapes = json.loads(BLOBS.read_text())["r2d_18"]
    shapes["conv1_w"] = [64, 2, 8, 7, 7]
    blobs = {blob: by_the_rule(f"{blob}.weight", shape) for blob, shape in shapes.items()}
    checkpoint, file = tmp_path / "r2d_d18_l8_flow.pkl", tmp_path / "flow.safetensors"
    checkpoint.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    weights.import_checkpoint(checkpoint, "r2d_18", out=file)
    model = create_model("r2d_18", weights=file).eval()
    assert model.options["num_frames"] == model.spec.num_frames == 8
    assert (model.spec.modality, model.spec.fps) == ("flow", None)
    found = model.get_parameter("stage4.1.conv2.weight").detach().numpy()
    assert np.array_equal(found, blobs["comp_5_conv_2_w"])
    with torch.no_grad():
        assert model(noise(1, 2, 8, 32, 32)).shape == (1, 400)


def test_what_is_missing_or_unknown_is_named() -> None:
    blobs = by_blobs("r2plus1d_34")
    del blobs["blobs/comp_9_spatbn_2_middle_riv"]
    with pytest.raises(LayoutError, match=r"1 keys are missing: stage4.2.conv2.bn.running_var"):
        imported(blobs, "r2plus1d_34")
    blobs = by_blobs("rmc4_18") | {"blobs/comp_0_conv_7_w": np.zeros(3, np.float32)}
    with pytest.raises(LayoutError, match=r"unknown: stage2.0.conv3.weight"):
        imported(blobs, "rmc4_18")
    with pytest.raises(LayoutError, match="another shape"):
        imported(by_blobs("rmc4_18"), "rmc5_18")
    state = {key: np.zeros(value.shape, np.float32) for key, value in vmz_state("r3d_18").items()}
    state["layer2.0.conv1.0.2.weight"] = np.zeros(3, np.float32)
    with pytest.raises(LayoutError, match=r"unknown: stage3.0.conv1.depthwise.weight"):
        imported(state, "r3d_18")


@pytest.mark.parametrize("names", [("conv1_w",), ("conv1_w", "last_out_L4_w"), ("conv1_w", "comp_0_conv_w")])
def test_nonsense_is_refused_in_words(names: tuple[str, ...]) -> None:
    with pytest.raises(LayoutError, match="vmz_caffe2"):
        imported({f"blobs/{name}": np.zeros((), np.float32).reshape(1) for name in names}, "r3d_18")


def mmaction2_state() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of mmaction2's R(2+1)D-34, as its ResNet3d, ConvModule and Conv2plus1d nest."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (channels,)

    def module(name: str, inside: int, outside: int, size: int, length: int) -> None:
        middle = int(3 * inside * outside * size**2 / (inside * size**2 + 3 * outside))
        shapes[f"{name}.conv.conv_s.weight"] = (middle, inside, 1, size, size)
        norm(f"{name}.conv.bn_s", middle)
        shapes[f"{name}.conv.conv_t.weight"] = (outside, middle, length, 1, 1)
        norm(f"{name}.bn", outside)

    module("backbone.conv1", 3, 64, 7, 3)
    inside = 64
    for layer, (repeats, outside) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
        for place in range(repeats):
            block = f"backbone.layer{layer}.{place}"
            if inside != outside:
                module(f"{block}.downsample", inside, outside, 1, 1)
            module(f"{block}.conv1", inside, outside, 3, 3)
            module(f"{block}.conv2", outside, outside, 3, 3)
            inside = outside
    return shapes | {"cls_head.fc_cls.weight": (400, 512), "cls_head.fc_cls.bias": (400,)}


def test_mmaction2_keys() -> None:
    shapes = mmaction2_state()
    running = sum(int(np.prod(shape)) for key, shape in shapes.items() if "running" in key)
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    assert total - running == 63_759_281, "what mmaction2's metafile states"
    found = imported({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, "r2plus1d_34")
    assert found.layout == "mmaction2_r2plus1d"
    assert found.options == {"midplanes": "everywhere", "use_pool1": True}


def test_no_two_of_our_keys_come_from_one_of_theirs() -> None:
    names = itertools.chain(json.loads(BLOBS.read_text())["ip_csn_152"], mmaction2_state())
    layouts = (LAYOUTS["vmz_caffe2"], LAYOUTS["mmaction2_r2plus1d"])
    for name in names:
        assert sum(layout.rename(name) is not None for layout in layouts) == 1, name
