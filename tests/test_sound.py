"""Networks that listen: sizes and counts, other people's checkpoints and code, resizing, learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from built import noise, on_meta, tiny
from made_weights import all_by_the_rule
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import average_channels, create_model
from vadis.models.contract import make_clip
from vadis.models.conversion import expected_shapes
from vadis.models.cost import count_parameters, measure_cost
from vadis.models.inflate import inflate
from vadis.models.layouts import LAYOUTS, Imported, LayoutError, to_ours
from vadis.models.sound import Resize, SoundNet, Vggish
from vadis.specs import MMACTION2_SOUND, VGGISH_SOUND
from vadis.video.spectrogram import cut_pictures, log_mel

NAMES = ("sound_xception", "sound_resnet18", "sound_vggish")


def imported(name: str, arrays: dict[str, np.ndarray], layout: str = "auto") -> Imported:
    """A checkpoint in our keys, without a file between."""

    def shapes(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        return expected_shapes(name, num_classes, options)

    return to_ours(arrays, name, LAYOUTS, shapes, layout)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "picture", "parameters", "gmac"),
    [
        ("sound_xception", (1000, 128), 22_855_952 - 600 * 2049 - 2 * 32 * 9, 8.34),
        ("sound_resnet18", (128, 80), 11_689_512 - 600 * 513 - 2 * 64 * 49, 0.37),
        ("sound_vggish", (96, 64), 72_141_184 + 400 * 129, 0.86),
    ],
)
def test_counts(name: str, picture: tuple[int, int], parameters: int, gmac: float) -> None:
    """Those of the image networks with 1,000 classes and 3 channels, less 600 classes and 2 channels.

    VGGish's is published without a classifier. mmaction2 prints 11.4 M and 0.37 G of its own.
    """
    model = on_meta(name)
    assert model.spec.shape[2:] == picture
    cost = measure_cost(model, (1, 1, *picture))
    assert cost.num_parameters == count_parameters(model) == parameters
    assert cost.gmac == pytest.approx(gmac, abs=0.005)


def test_what_goes_in() -> None:
    assert on_meta("sound_vggish").spec.sound == VGGISH_SOUND
    assert on_meta("sound_resnet18").spec.sound == MMACTION2_SOUND
    for name in NAMES:
        spec = on_meta(name, num_pictures=3).spec
        assert (spec.modality, spec.channels, spec.num_frames, spec.sampling) == ("audio", 1, 3, "segments")
        assert isinstance(make_clip(spec), Tensor)
    assert on_meta("sound_xception").spec.sound.seconds == pytest.approx(10)


def test_from_a_waveform_to_scores() -> None:
    """Ten seconds of sound: ten pictures of VGGish, one of Xception."""
    waveform = 0.1 * noise(160_000).numpy()
    for name in ("sound_vggish", "sound_xception"):
        model = tiny(name)
        sound = model.spec.sound
        pictures = cut_pictures(log_mel(waveform, sound), sound.num_steps)
        clip = torch.from_numpy(pictures)[None, None]
        with torch.no_grad():
            assert model(clip).shape == (1, 5)
            assert model.forward_dense(clip).shape == (1, len(pictures), 5)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_averaged(name: str) -> None:
    model = tiny(name)
    height, width = model.spec.shape[2:]
    clip = noise(2, 1, 3, height, width)
    with torch.no_grad():
        alone = torch.stack([model(clip[:, :, [index]]) for index in range(3)], dim=1)
        assert torch.allclose(model(clip), alone.mean(1), atol=1e-5)
        assert torch.allclose(model.forward_dense(clip), alone, atol=1e-5)
        assert model.forward_features(clip).shape[2] == 3


def test_resizing_passes_over_nothing() -> None:
    """Along a side that is too long the mean of all, along one that is too short a straight line between."""
    steps = torch.arange(12.0).reshape(1, 1, 12, 1).expand(1, 1, 12, 2)
    assert Resize(4)(steps)[0, 0, :, 0].tolist() == [1, 4, 7, 10]
    bands = torch.tensor([0.0, 1.0]).expand(1, 1, 4, 2)
    assert Resize(4)(bands)[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    same = noise(1, 1, 4, 4)
    assert torch.equal(Resize(4)(same), same)


def test_xception_is_made_for_its_size() -> None:
    model = on_meta("sound_xception")
    for height, width in ((1000, 128), (60, 400)):
        feature = model.forward_features(torch.empty(1, 1, 1, height, width, device="meta"))
        assert feature.shape == (1, 2048, 1, 10, 10)
    assert on_meta("sound_xception", pixels=128).forward_features(
        torch.empty(1, 1, 1, 1000, 128, device="meta")
    ).shape == (1, 2048, 1, 4, 4)


def test_vggish_takes_its_pictures_only() -> None:
    model = tiny("sound_vggish")
    assert model.positions == (3, 2)
    with pytest.raises(ValueError, match=r"takes pictures of 48 steps x 32 bands, got 64 x 32: cut"):
        model(noise(1, 1, 1, 64, 32))


# --- ImageNet -------------------------------------------------------------------------------------


def test_filters_for_one_channel_are_the_mean_over_colours() -> None:
    """Three equal colours give three times the response: batch norm's business."""
    image = create_model("two_stream_spatial_resnet50", tiny=True, num_classes=5)
    weight = image.get_parameter("trunk.stem.conv.weight")
    picture = noise(1, 1, 9, 9)
    one = F.conv2d(picture, average_channels(weight, 1))
    assert torch.allclose(3 * one, F.conv2d(picture.expand(1, 3, 9, 9), weight), atol=1e-5)


def test_resnet_starts_from_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    model = create_model("sound_resnet18", num_classes=1000).eval()
    fates = inflate(model, theirs.state_dict())
    assert fates.resized == ("trunk.stem.conv.weight",)
    assert fates.left == fates.unused == ()
    picture = noise(1, 1, 1, 128, 80)
    with torch.no_grad():
        theirs.conv1.weight.copy_(theirs.conv1.weight.mean(1, keepdim=True).expand(-1, 3, -1, -1) / 3)
        wanted = theirs(picture[:, 0].expand(1, 3, 128, 80))
        assert torch.allclose(model(picture), wanted, atol=1e-4)


@pytest.mark.peers
def test_xception_starts_from_timms() -> None:
    timm: Any = pytest.importorskip("timm")
    theirs = timm.create_model("legacy_xception", num_classes=7, in_chans=3).eval()
    model = create_model("sound_xception", num_classes=7).eval()
    fates = inflate(model, theirs.state_dict())
    assert fates.resized == ("trunk.stem.conv1.weight",)
    assert fates.left == fates.unused == ()
    picture = noise(1, 1, 1, 299, 299)
    with torch.no_grad():
        theirs.conv1.weight.copy_(theirs.conv1.weight.mean(1, keepdim=True).expand(-1, 3, -1, -1) / 3)
        wanted = theirs(picture[:, 0].expand(1, 3, 299, 299))
        assert float((model(picture) - wanted).abs().max() / wanted.abs().max()) < 1e-4


# --- VGGish's checkpoints -------------------------------------------------------------------------

WIDTHS = ((1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512))
MATRICES = ((12_288, 4096), (4096, 4096), (4096, 128))


def port_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of harritaylor/torchvggish."""
    shapes: dict[str, tuple[int, ...]] = {}
    for place, (inside, outside) in zip((0, 3, 6, 8, 11, 13), WIDTHS, strict=True):
        shapes |= {f"features.{place}.weight": (outside, inside, 3, 3), f"features.{place}.bias": (outside,)}
    for place, (inside, outside) in zip((0, 2, 4), MATRICES, strict=True):
        shapes |= {f"embeddings.{place}.weight": (outside, inside), f"embeddings.{place}.bias": (outside,)}
    return shapes


def port(state: dict[str, Tensor], picture_B1HW: Tensor) -> Tensor:
    """What the port reckons before its PCA: rows, columns, channels into the first matrix; ReLU at last."""
    x = picture_B1HW
    for place, pooled in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        x = F.relu(F.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1))
        x = F.max_pool2d(x, 2) if pooled else x
    x = x.permute(0, 2, 3, 1).flatten(1)
    for place in (0, 2, 4):
        x = F.relu(F.linear(x, state[f"embeddings.{place}.weight"], state[f"embeddings.{place}.bias"]))
    return x


@pytest.mark.slow
def test_the_port_of_vggish_gives_the_same() -> None:
    shapes = port_shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 72_141_184
    arrays = all_by_the_rule(shapes.items())
    beside = {"pproc.pca_matrix": np.zeros((128, 128), np.float32)}
    found = imported("sound_vggish", arrays | beside)
    assert (found.layout, found.num_classes, found.left_out) == ("torchvggish", 128, ("pproc.pca_matrix",))
    model = create_model("sound_vggish", num_classes=128).eval()
    assert isinstance(model, Vggish)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in found.arrays.items()})
    clip = noise(2, 1, 1, 96, 64)
    with torch.inference_mode():
        wanted = port({key: torch.from_numpy(array) for key, array in arrays.items()}, clip[:, :, 0])
        assert float((model(clip) - wanted).abs().max() / wanted.max()) < 1e-5
        assert float((model.forward_embedding(clip)[:, 0].relu() - wanted).abs().max() / wanted.max()) < 1e-5


def test_tensorflows_vggish_is_the_same_numbers_in_another_order() -> None:
    names = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")
    pairs = dict(zip((f"features.{place}" for place in (0, 3, 6, 8, 11, 13)), names, strict=True))
    pairs |= {"embeddings.0": "fc1/fc1_1", "embeddings.2": "fc1/fc1_2", "embeddings.4": "fc2"}
    ones = {key: np.zeros(shape, np.float32) for key, shape in port_shapes().items()}
    for number, array in enumerate(ones.values()):
        array.flat[: min(array.size, 3)] = number + 1
    theirs = {}
    for key, array in ones.items():
        place, leaf = key.rsplit(".", 1)
        order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
        theirs[f"vggish/{pairs[place]}/{leaf.replace('bias', 'biase')}s"] = array.transpose(order)
    found = imported("sound_vggish", theirs)
    wanted = imported("sound_vggish", ones)
    assert (found.layout, found.num_classes) == ("tensorflow_vggish", 128)
    assert found.arrays.keys() == wanted.arrays.keys()
    assert all(np.array_equal(found.arrays[key], wanted.arrays[key]) for key in wanted.arrays)


# --- mmaction2's checkpoint -----------------------------------------------------------------------


def mmaction2_shapes(num_classes: int = 400) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of mmaction2's ResNet-18 for sound, as its ConvModules nest."""
    shapes: dict[str, tuple[int, ...]] = {}

    def unit(name: str, outside: int, inside: int, kernel: int) -> None:
        shapes[f"backbone.{name}.conv.weight"] = (outside, inside, kernel, kernel)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"backbone.{name}.bn.{leaf}"] = (outside,)

    unit("conv1", 64, 1, 7)
    inside = 64
    for stage, outside in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            unit(f"layer{stage}.{block}.conv1", outside, inside, 3)
            unit(f"layer{stage}.{block}.conv2", outside, outside, 3)
            if outside != inside:
                unit(f"layer{stage}.{block}.downsample", outside, inside, 1)
            inside = outside
    return shapes | {"cls_head.fc_cls.weight": (num_classes, 512), "cls_head.fc_cls.bias": (num_classes,)}


def mmaction2_network(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Their network written out."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = state[f"backbone.{name}.conv.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        norm = [
            state[f"backbone.{name}.bn.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.batch_norm(x, *norm)

    x = F.max_pool2d(F.relu(unit("conv1", x, 2)), 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = unit(f"{name}.conv2", F.relu(unit(f"{name}.conv1", x, stride)))
            shortcut = unit(f"{name}.downsample", x, stride) if stride > 1 else x
            x = F.relu(inner + shortcut)
    return F.linear(x.mean((2, 3)), state["cls_head.fc_cls.weight"], state["cls_head.fc_cls.bias"])


def test_mmaction2s_network_for_sound() -> None:
    arrays = all_by_the_rule(mmaction2_shapes().items())
    found = imported("sound_resnet18", arrays)
    assert (found.layout, found.num_classes, found.options) == ("mmaction2_audio", 400, {})
    model = create_model("sound_resnet18").eval()
    assert isinstance(model, SoundNet)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in found.arrays.items()}, strict=False)
    clip = noise(2, 1, 1, 128, 80)
    with torch.inference_mode():
        wanted = mmaction2_network(
            {key: torch.from_numpy(array) for key, array in arrays.items()}, clip[:, :, 0]
        )
        assert float((model(clip) - wanted).abs().max() / wanted.abs().max()) < 1e-5
    del arrays["backbone.layer3.0.downsample.conv.weight"]
    with pytest.raises(LayoutError, match=r"1 keys are missing: trunk.stages.2.0.shortcut.conv.weight"):
        imported("sound_resnet18", arrays)


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str) -> None:
    """Sixteen sounds of four pitches, their pictures made by our own filters."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=4, tiny=True, dropout=0.0, num_pictures=1).train()
    sound = model.spec.sound
    assert sound is not None
    times, labels = np.arange(sound.num_samples) / sound.sample_rate, torch.arange(16) % 4
    random = np.random.default_rng(0)
    pictures = [
        log_mel(
            np.sin(2 * np.pi * 300 * 2**label * times + index) + 0.1 * random.standard_normal(len(times)),
            sound,
        )
        for index, label in enumerate(labels.tolist())
    ]
    clips = torch.from_numpy(np.stack(pictures))[:, None, None]
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = F.cross_entropy(model(clips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.1
    assert [
        key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()
    ] == []


def test_a_head_on_the_numbers() -> None:
    model = tiny("sound_vggish")
    model.reset_head(3)
    assert isinstance(model.head, nn.Linear)
    assert model.head.weight.shape == (3, 128)
    assert model.num_classes == 3
