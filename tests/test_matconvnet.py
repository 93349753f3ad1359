"""MatConvNet's files: both ways to keep a network, its streams and their fusion, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import by_the_rule
from torch import Tensor
from torch.nn import functional as F

from vadis.models import create_model
from vadis.models.contract import make_clip
from vadis.models.conversion import CheckpointError, expected_shapes, read_checkpoint
from vadis.models.inflate import inflate, load_image_weights
from vadis.models.layouts import LAYOUTS, Imported, LayoutError, to_ours
from vadis.models.layouts.matconvnet import IMAGE_LEVELS
from vadis.models.matconvnet import MatError, read_matconvnet
from vadis.models.vgg import VGG_16, VGG_M, Conv, layer_table

scipy_io = pytest.importorskip("scipy.io", reason="MATLAB files are read by scipy")

LAYERS = {"vggm": VGG_M, "vgg16": VGG_16}
CLASSES = 5
IMAGE = np.broadcast_to(np.array(IMAGE_LEVELS, np.float32), (8, 8, 3))


def theirs(kind: str, channels: int = 3, suffix: str = "", last: str = "fc8") -> dict[str, np.ndarray]:
    """Parameters of the tiny form as MatConvNet keeps them: H W I O, fully connected layers too."""
    table = layer_table({"vggm": "vgg_m", "vgg16": "vgg16"}[kind], tiny=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, row in table.items():
        if isinstance(row, Conv):
            shapes[name] = (row.kernel, row.kernel, channels, row.channels // 16)
            channels = row.channels // 16
    shapes |= {"fc6": (1, 1, channels, 64), "fc7": (1, 1, 64, 32), last: (1, 1, 32, CLASSES)}
    found = {}
    for name, shape in shapes.items():
        found[f"{name}f{suffix}"] = by_the_rule(name + suffix, shape).astype(np.float32)
        found[f"{name}b{suffix}"] = by_the_rule(f"{name}b{suffix}", (1, shape[-1])).astype(np.float32)
    return found


def structure(**fields: Any) -> dict[str, Any]:
    return fields


def cells(values: list[Any]) -> np.ndarray:
    row = np.empty((1, len(values)), dtype=object)
    for index, value in enumerate(values):
        row[0, index] = value
    return row


def write_simplenn(
    path: Path,
    parameters: dict[str, np.ndarray],
    *,
    old: bool = False,
    nameless: str = "",
    image: Any = IMAGE,
) -> Path:
    """As the public ImageNet files are; `old` is the spelling before beta 17."""
    layers: list[Any] = []
    for name in [key[:-1] for key in parameters if key.endswith("f")]:
        weights = [parameters[f"{name}f"], parameters[f"{name}b"]]
        layer = structure(type="conv", stride=np.array([[1.0, 1.0]]), pad=np.zeros((1, 4)))
        layer |= {} if name == nameless else {"name": name}
        layer |= {"filters": weights[0], "biases": weights[1]} if old else {"weights": cells(weights)}
        layers += [layer, structure(type="relu", name=f"relu_{name}")]
    layers.append(structure(type="softmax", name="prob"))
    about = structure(imageSize=np.array([[224.0, 224.0, 3.0]]), averageImage=image)
    content: dict[str, Any] = {"layers": cells(layers), "classes": structure(name=cells(["a", "b"]))}
    content |= {"normalization": about} if old else {"meta": structure(normalization=about)}
    scipy_io.savemat(path, content)
    return path


def write_dagnn(
    path: Path, parameters: dict[str, np.ndarray], *, wrapped: bool = True, image: Any = None
) -> Path:
    """As `net.saveobj()` is saved: structures of names and values, inside `net` or not."""
    params = np.empty(
        (1, len(parameters)), dtype=[("name", object), ("value", object), ("learningRate", object)]
    )
    for index, (name, value) in enumerate(parameters.items()):
        params[0, index] = (name, value, np.ones((1, 1)))
    network: dict[str, Any] = {
        "params": params,
        "layers": cells([structure(name="conv1", type="dagnn.Conv")]),
    }
    if image is not None:
        network["meta"] = structure(normalization=structure(averageImage=image))
    scipy_io.savemat(path, {"net": network, "stats": np.zeros((1, 3))} if wrapped else network)
    return path


def imported(path: Path, model: str, layout: str = "auto") -> Imported:
    def shapes(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        return expected_shapes(model, num_classes, {**options, "tiny": True})

    return to_ours(read_checkpoint(path).arrays, model, LAYOUTS, shapes, layout)


def loaded(found: Imported, model: str) -> Any:
    network = create_model(model, num_classes=found.num_classes, tiny=True, **found.options).eval()
    network.load_state_dict({key: torch.from_numpy(array) for key, array in found.arrays.items()})
    return network


def run_vgg_m(parameters: dict[str, np.ndarray], pixels: Tensor, norms: tuple[str, ...]) -> Tensor:
    """What MatConvNet computes from `pixels`, in its own numbers, written down again."""

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight = torch.from_numpy(parameters[f"{name}f"]).permute(3, 2, 0, 1)
        return F.conv2d(x, weight, torch.from_numpy(parameters[f"{name}b"]).reshape(-1), stride, padding)

    def norm(x: Tensor, name: str) -> Tensor:
        if name not in norms:
            return x
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
        sums = torch.stack([squares[:, shift : shift + x.shape[1]] for shift in range(5)]).sum(0)
        return x / (2 + 1e-4 * sums) ** 0.75

    x = F.max_pool2d(norm(conv(pixels, "conv1", 2).relu(), "norm1"), 3, 2, ceil_mode=True)
    x = F.max_pool2d(norm(conv(x, "conv2", 2, 1).relu(), "norm2"), 3, 2, ceil_mode=True)
    for name in ("conv3", "conv4", "conv5"):
        x = conv(x, name, 1, 1).relu()
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = conv(conv(x, "fc6").relu(), "fc7").relu()
    return conv(x, "fc8").flatten(1)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_both_ways_to_keep_a_network_are_read_alike(kind: str, tmp_path: Path) -> None:
    parameters = theirs(kind)
    wanted = {key: value.reshape(-1) if key[-1] == "b" else value for key, value in parameters.items()}
    files = [
        write_simplenn(tmp_path / "new.mat", parameters),
        write_simplenn(tmp_path / "old.mat", parameters, old=True),
        write_dagnn(tmp_path / "dag.mat", parameters, image=IMAGE),
        write_dagnn(tmp_path / "bare.mat", parameters, wrapped=False, image=IMAGE),
    ]
    for path in files:
        found = read_matconvnet(path)
        assert found.pop("average_image").tolist() == pytest.approx(list(IMAGE_LEVELS))
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            expected = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            assert np.array_equal(found[key], expected), key


def test_a_layer_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    parameters = theirs("vggm")
    found = read_matconvnet(write_simplenn(tmp_path / "tuned.mat", parameters, nameless="fc8"))
    assert {"layer15f", "layer15b"} <= set(found)
    assert "fc8f" not in found
    assert imported(tmp_path / "tuned.mat", "two_stream_spatial_vggm").num_classes == CLASSES


def test_filters_of_three_dimensions(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)).astype(np.float32)  # H W T I O
    found = read_matconvnet(write_dagnn(tmp_path / "a.mat", {"conv3Df": kernel}))["conv3Df"]
    assert found.shape == (6, 5, 4, 3, 2)
    assert found[5, 4, 3, 2, 1] == kernel[2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"x": np.zeros((2, 2))}, "neither the `layers` nor the `params`"),
        ({"layers": np.zeros((2, 2))}, "neither the `layers` nor the `params`"),
        ({"layers": cells([1.0, "a"])}, "layer 1 is no structure"),
        ({"layers": cells([structure(type="relu", name="a")])}, "no layer with parameters"),
        ({"net": np.zeros((2, 2))}, "is an object of MATLAB"),
        (
            {"layers": cells([structure(name="a", weights=cells(["text", 1.0]))])},
            "af holds no floating point",
        ),
        (
            {"layers": cells([structure(name="a", filters=np.ones((1, 1)), biases=1.0)] * 2)},
            "af is there twice",
        ),
    ],
)
def test_what_is_no_network_is_refused(content: dict[str, Any], said: str, tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(MatError, match=said):
        read_matconvnet(tmp_path / "x.mat")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = write_simplenn(tmp_path / "whole.mat", theirs("vggm")).read_bytes()
    rng = np.random.default_rng(0)
    for case in range(150):
        broken = bytearray(whole[: int(rng.integers(20, len(whole)))] if case % 2 else whole)
        for place in rng.integers(128, max(129, min(len(broken), 4000)), 6):
            broken[min(int(place), len(broken) - 1)] = int(rng.integers(256))
        path = tmp_path / "broken.mat"
        path.write_bytes(broken)
        try:
            read_matconvnet(path)
        except MatError:
            pass
    (tmp_path / "73.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform" + bytes(100))
    with pytest.raises(MatError, match="-v7"):
        read_checkpoint(tmp_path / "73.mat")
    (tmp_path / "no.mat").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"MatConvNet's \.mat"):
        read_checkpoint(tmp_path / "no.mat")


# --- the streams ----------------------------------------------------------------------------------


def test_the_spatial_network_gives_the_same(tmp_path: Path) -> None:
    parameters = theirs("vggm")
    parameters["conv1f"] = parameters["conv1f"] / 60  # pixels are 0 to 255
    found = imported(write_simplenn(tmp_path / "a.mat", parameters), "two_stream_spatial_vggm")
    assert (found.layout, found.options, found.num_classes) == ("matconvnet_vggm", {}, CLASSES)
    network = loaded(found, "two_stream_spatial_vggm")
    pixels = 255 * torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    spec = network.spec
    ours = (pixels / 255 - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    with torch.no_grad():
        wanted = run_vgg_m(parameters, pixels - torch.tensor(IMAGE_LEVELS).view(3, 1, 1), ("norm1", "norm2"))
        assert relative(network(ours.unsqueeze(2)), wanted) < 1e-4


@pytest.mark.parametrize("image", [np.full((1, 1, 20), 128, np.float32), np.zeros((0, 0), np.float32)])
def test_the_temporal_network_gives_the_same(image: np.ndarray, tmp_path: Path) -> None:
    """Flow is 0 to 255 less 128 there (an empty average image means the same), -1 to 1 here."""
    parameters = theirs("vggm", 20)
    parameters["conv1f"] = parameters["conv1f"] / 60
    found = imported(write_simplenn(tmp_path / "a.mat", parameters, image=image), "two_stream_temporal_vggm")
    network = loaded(found, "two_stream_temporal_vggm")
    flow = 2 * torch.rand(2, 20, 48, 48, generator=torch.Generator().manual_seed(1)) - 1
    with torch.no_grad():
        wanted = run_vgg_m(parameters, (flow + 1) / 2 * 255 - 128, ("norm1",))
        assert relative(network(flow.unsqueeze(2)), wanted) < 1e-4


def test_another_number_of_flow_fields_is_an_option(tmp_path: Path) -> None:
    found = imported(write_simplenn(tmp_path / "a.mat", theirs("vgg16", 10)), "two_stream_temporal_vgg16")
    assert (found.layout, found.options) == ("matconvnet_vgg16", {"stack": 5})
    with pytest.raises(LayoutError, match=r"trunk.conv1_1.weight has shape \(4, 10, 3, 3\)"):
        imported(tmp_path / "a.mat", "two_stream_spatial_vgg16")


# --- fusion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "filters"),
    [
        ("fused_vgg16", "vgg16", ("conv3D", (3, 3, 3, 64, 32))),
        ("fused_vgg16_3d_pool", "vgg16", ("conv_fusion_1", (1, 1, 64, 32))),
        ("fused_vgg16_2d", "vgg16", ("conv_fusion_1", (1, 1, 64, 32))),
        ("fused_vggm_relu5_fc8_conv", "vggm", ("conv_fusion_1", (1, 1, 64, 32))),
    ],
)
def test_fused_networks(model: str, kind: str, filters: tuple[str, tuple[int, ...]], tmp_path: Path) -> None:
    name, shape = filters
    spatial = theirs(kind, 3, "_spatial", last="prediction")
    temporal = theirs(kind, 20, "_temporal", last="layer38")
    joining = {f"{name}f": by_the_rule(name, shape), f"{name}b": by_the_rule(f"{name}b", (1, 32))}
    levels = np.concatenate([np.full(20, 128.0), np.array(IMAGE_LEVELS)]).astype(np.float32).reshape(1, 1, 23)
    path = write_dagnn(tmp_path / "fused.mat", {**spatial, **temporal, **joining}, image=levels)
    found = imported(path, model)
    assert found.num_classes == CLASSES
    network = loaded(found, model)
    place = next(iter(network.joins))
    wanted = joining[f"{name}f"]
    wanted = wanted.transpose(4, 3, 2, 0, 1) if wanted.ndim == 5 else wanted.transpose(3, 2, 0, 1)
    assert np.array_equal(found.arrays[f"joins.{place}.conv.weight"], wanted.astype(np.float32))
    # each tower is what its own file would give
    for part, parameters, suffix in (("rgb", spatial, "_spatial"), ("flow", temporal, "_temporal")):
        alone = {key.removesuffix(suffix): value for key, value in parameters.items()}
        stream = f"two_stream_{suffix.removeprefix('_')}_{kind}"
        image = IMAGE if part == "rgb" else np.full((1, 1, 20), 128, np.float32)
        single = imported(write_dagnn(tmp_path / f"{part}.mat", alone, image=image), stream)
        for key, array in single.arrays.items():
            assert np.allclose(found.arrays[f"{part}.{key}"], array, atol=1e-4), key
    clips = make_clip(network.spec, 1, fill=torch.rand)
    assert network(clips).shape == (1, CLASSES)


def test_a_fused_network_without_its_filters_names_them(tmp_path: Path) -> None:
    parameters = {**theirs("vgg16", 3, "_spatial"), **theirs("vgg16", 20, "_temporal")}
    path = write_dagnn(tmp_path / "fused.mat", parameters)
    with pytest.raises(LayoutError, match=r"2 keys are missing: joins.conv5_3.conv.bias"):
        imported(path, "fused_vgg16")


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_images_into_both_streams(kind: str, tmp_path: Path) -> None:
    """As `vadis weights inflate imagenet-vgg-m-2048.mat --model two_stream_vggm` does."""
    path = write_simplenn(tmp_path / "imagenet.mat", theirs(kind))
    state = load_image_weights(path)
    spatial = loaded(imported(path, f"two_stream_spatial_{kind}"), f"two_stream_spatial_{kind}")
    pair = create_model(f"two_stream_{kind}", num_classes=CLASSES, tiny=True)
    report = inflate(pair, state)
    assert report.left == ()
    assert report.unused == ()
    first = pair.get_submodule("rgb.trunk")
    for key, value in spatial.trunk.state_dict().items():
        assert torch.equal(first.state_dict()[key], value), key
    name = f"flow.trunk.{spatial.trunk.first}"
    mean = spatial.state_dict()[spatial.input_weights[0]].mean(1, keepdim=True)
    assert report.resized == (name,)
    assert torch.allclose(pair.state_dict()[name], mean.expand(-1, 20, -1, -1))
