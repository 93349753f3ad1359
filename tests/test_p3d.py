"""P3D: the three forms by hand, the variants, the pooling, the image network inside, the layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import create_model
from vadis.models.cost import count_parameters
from vadis.models.layouts.optimization_planning import OPTIMIZATION_PLANNING
from vadis.models.layouts.qijiezhao import QIJIEZHAO
from vadis.models.p3d import Bottleneck, FirstBottleneck, P3dResNet, PairPool, p3d_63, p3d_199, p3d_r50

GOLDEN = Path(__file__).parent / "golden" / "parity"


def randomise(model: nn.Module) -> nn.Module:
    """Running statistics and scales unlike the initial ones, for testing."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm3d, nn.BatchNorm2d)):
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
    return model.eval()


def by_hand(block: Bottleneck) -> list[float]:
    """The middle of a block of one channel on the frames 1, 2, 3: S doubles, T takes before minus after."""
    with torch.no_grad():
        block.conv2.weight.zero_()[0, 0, 0, 1, 1] = 2.0
        block.conv2_time.weight.copy_(torch.tensor([1.0, 0.0, -1.0]).reshape(1, 1, 3, 1, 1))
        out = block.eval().middle(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1, 1))
    return [round(value, 3) for value in out.flatten().tolist()]


@pytest.mark.parametrize(
    ("form", "variant", "wanted"),
    [  # S x = 2, 4, 6; T S x = -4, -4, 4; T x = -2, -2, 2
        ("A", "caffe", [0, 0, 4]),
        ("A", "paper", [0, 0, 4]),
        ("A", "qijiezhao", [0, 0, 4]),
        ("B", "caffe", [0, 2, 8]),
        ("B", "paper", [0, 2, 8]),
        ("B", "qijiezhao", [2, 4, 8]),
        ("C", "caffe", [0, 0, 5]),
        ("C", "paper", [0, 0, 10]),
        ("C", "qijiezhao", [2, 4, 10]),
    ],
)
def test_the_forms_of_the_paper(form: str, variant: str, wanted: Sequence[float]) -> None:
    block = FirstBottleneck(4, 1, 1, form, variant)  # type: ignore[arg-type]
    assert by_hand(block) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [  # batch norm halves: A and B what comes out, C its S (so S x = 1, 2, 3 and T S x = -2, -2, 2)
        ("A", [0, 0, 2]),
        ("B", [0, 1, 4]),
        ("C", [0, 0, 5]),
    ],
)
def test_the_later_forms(form: str, wanted: Sequence[float]) -> None:
    block = Bottleneck(4, 1, 1, form)
    nn.init.constant_(block.bn2.weight, 0.5)
    assert by_hand(block) == pytest.approx(wanted, abs=1e-3)


def forms(model: P3dResNet) -> list[str]:
    return ["".join(block.form for block in stage) for stage in model.stages]


def test_the_forms_take_turns_through_the_whole_network() -> None:
    with torch.device("meta"):
        assert forms(p3d_199())[:2] == ["ABC", "ABCABCAB"]
        assert forms(p3d_199())[2] == "CAB" * 12
        assert forms(p3d_199())[3] == "2D" * 3
        assert forms(p3d_63(blocks="B")) == ["BBB", "BBBB", "BBBBBB", "2D2D2D"]
        assert forms(p3d_r50()) == ["ABC", "ABCA", "BCABCA", "BCA"]
        assert forms(p3d_r50(blocks="C")) == ["CCC", "CCCC", "CCCCCC", "CCC"]


def test_one_form_alone_costs_the_same_in_parameters() -> None:
    with torch.device("meta"):
        assert {count_parameters(p3d_63(blocks=blocks)) for blocks in ("ABC", "A", "B", "C")} == {25_745_232}
        assert count_parameters(p3d_r50(early_stride=1)) == 28_128_272 - 3 * 64 * 3 * 49


def test_sizes_of_the_published_table() -> None:
    with torch.device("meta"):
        model = p3d_199()
        x = model.stem(torch.empty(1, 3, 16, 160, 160))
        found = [tuple(x.shape[1:])]
        for number, stage in enumerate(model.stages):
            x = stage(model.between(x) if number else x)
            found.append(tuple(x.shape[1:]))
        assert model.forward_features(torch.empty(1, 3, 32, 160, 160)).shape == (1, 2048, 2, 5, 5)
    assert found == [
        (64, 8, 40, 40),
        (256, 8, 40, 40),
        (512, 4, 20, 20),
        (1024, 2, 10, 10),
        (2048, 1, 5, 5),
    ]


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_pairs_are_pooled_as_by_a_pooling_layer(frames: int) -> None:
    x = torch.randn(2, 3, frames, 4, 5)
    wanted = F.max_pool3d(x, (2, 1, 1), (2, 1, 1), ceil_mode=True)
    assert torch.equal(PairPool(ceil=True)(x), wanted)
    if frames > 1:
        assert torch.equal(PairPool(ceil=False)(x), F.max_pool3d(x, (2, 1, 1), (2, 1, 1)))


def test_the_ports_pooling_has_the_same_size_and_other_values() -> None:
    torch.manual_seed(0)
    authors, port = p3d_63(tiny=True).stem, p3d_63(tiny=True, variant="qijiezhao").stem
    port.load_state_dict(authors.state_dict())
    clip = torch.randn(1, 3, 16, 64, 64)
    with torch.no_grad():
        ours, theirs, rows = authors(clip), port(clip), authors.relu(authors.bn(authors.conv(clip)))
    wanted = F.max_pool3d(rows, (2, 3, 3), 2, ceil_mode=True)
    assert torch.equal(ours, wanted), "the pooling in two steps is the one of the table"
    assert torch.equal(theirs, F.max_pool3d(rows, (2, 3, 3), 2, (0, 1, 1)))
    assert ours.shape == theirs.shape
    assert not torch.allclose(ours, theirs)


@pytest.mark.parametrize(("frames", "positions"), [(1, 1), (9, 1), (16, 1), (17, 2), (40, 3)])
def test_any_number_of_frames(frames: int, positions: int) -> None:
    model = p3d_63(5, tiny=True).eval()
    with torch.no_grad():
        feature = model.forward_features(torch.randn(1, 3, frames, 35, 50))
        assert feature.shape == (1, 256, positions, 2, 2)
        assert model(torch.randn(1, 3, frames, 3, 3)).isfinite().all()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"blocks must be one of ABC, A, B, C, got 'AB'"):
        p3d_63(tiny=True, blocks="AB")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"variant must be one of caffe, paper, qijiezhao"):
        p3d_63(tiny=True, variant="torch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"early_stride must be in \[1, 16\] frames, got 17"):
        p3d_r50(tiny=True, early_stride=17)
    with pytest.raises(ValueError, match=r"takes at least 4 frames, got 3"):
        p3d_r50(tiny=True)(torch.zeros(1, 3, 3, 32, 32))
    with pytest.raises(ValueError, match=r"takes at least 16 frames, got 15"):
        p3d_63(tiny=True, variant="qijiezhao")(torch.zeros(1, 3, 15, 32, 32))
    with pytest.raises(ValueError, match=r"takes at least 3 x 3 pixels, got 2 x 9"):
        p3d_63(tiny=True)(torch.zeros(1, 3, 16, 2, 9))


def test_what_goes_in() -> None:
    spec = p3d_199(tiny=True).spec
    assert (spec.channel_order, spec.mean, spec.value_range) == ("bgr", (104.0, 117.0, 123.0), (0.0, 255.0))
    assert (spec.num_frames, spec.size, spec.crop) == (16, 182, 160)
    assert p3d_199(tiny=True, variant="qijiezhao").spec.channel_order == "rgb"
    assert p3d_199(tiny=True, in_channels=2).spec.modality == "flow"


def as_images(video: nn.Module, image: nn.Module, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
    """What the video network gives, and the mean of what the image network gives for each frame."""
    with torch.no_grad():
        frames = torch.stack([image(frame) for frame in clip_BCTHW.unbind(2)], dim=1)
        return video(clip_BCTHW), frames.mean(dim=1)


@pytest.mark.parametrize("blocks", ["ABC", "A", "B", "C"])
def test_the_later_network_starts_as_the_image_network(blocks: str) -> None:
    torch.manual_seed(0)
    image = randomise(torchvision.models.resnet50(weights=None))
    video = p3d_r50(1000, early_stride=1, blocks=blocks).eval()  # type: ignore[arg-type]
    state, theirs = video.state_dict(), image.state_dict()
    for key, value in state.items():
        if "conv2_time" in key:
            continue
        name = key.replace("stem.conv", "conv1").replace("stem.bn", "bn1").replace("head", "fc")
        name = name.replace("shortcut.conv", "downsample.0").replace("shortcut.bn", "downsample.1")
        if name.startswith("stages."):
            name = f"layer{int(name[7]) + 1}{name[8:]}"
        state[key] = theirs[name].reshape(value.shape)
    video.load_state_dict(state)
    ours, frames = as_images(video, image, torch.randn(1, 3, 2, 64, 64))
    assert (ours - frames).abs().max() < 1e-5 * frames.std()


def test_time_is_seen_once_its_convolutions_are_trained() -> None:
    torch.manual_seed(0)
    model = randomise(p3d_r50(5, tiny=True, early_stride=1))
    clip = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(clip.flip(2)), model(clip), atol=1e-5), "at first a bag of frames"
        for stage in model.stages:
            for block in stage:
                block.conv2_time.weight.normal_(std=0.1)
        assert not torch.allclose(model(clip.flip(2)), model(clip), atol=1e-3)


def test_the_first_kernel_takes_as_many_frames_as_it_steps() -> None:
    model = randomise(p3d_r50(5, tiny=True)).requires_grad_(False)
    clip = torch.randn(1, 3, 8, 32, 32, requires_grad=True)
    model.stem(clip)[:, :, 0].sum().backward()
    assert clip.grad is not None
    assert clip.grad.abs().amax(dim=(0, 1, 3, 4)).gt(0).tolist() == [True] * 4 + [False] * 4


# --- layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "layout", "model"),
    [("p3d_199", QIJIEZHAO[0], "p3d_199"), ("qiu_p3d_resnet50", OPTIMIZATION_PLANNING[0], "p3d_r50")],
)
def test_every_key_of_theirs_is_one_of_ours(file: str, layout: object, model: str) -> None:
    state = json.loads((GOLDEN / f"{file}.json").read_text())["state"]
    theirs = [key for key, _ in state if not key.endswith("num_batches_tracked")]
    with torch.device("meta"):
        ours = {key for key in create_model(model).state_dict() if not key.endswith("num_batches_tracked")}
    assert sorted(layout.rename(key) for key in theirs) == sorted(ours)  # type: ignore[attr-defined]
    assert layout.rename("layer5.0.conv1.weight") is None  # type: ignore[attr-defined]


def test_options_that_shapes_imply() -> None:
    rgb, flow = np.zeros((64, 3, 1, 7, 7)), np.zeros((64, 2, 1, 7, 7))
    assert QIJIEZHAO[0].options({"conv1_custom.weight": rgb}) == {"variant": "qijiezhao"}
    assert QIJIEZHAO[0].options({"conv1_custom.weight": flow})["in_channels"] == 2
    assert OPTIMIZATION_PLANNING[0].options({"conv1.weight": rgb}) == {"early_stride": 1}
    assert OPTIMIZATION_PLANNING[0].options({"conv1.weight": flow}) == {"early_stride": 1, "in_channels": 2}
    lgd = OPTIMIZATION_PLANNING[1].options({"conv1.weight": np.zeros((64, 3, 4, 7, 7))})
    assert lgd == {"early_stride": 4, "order": "code", "head_mode": "local"}
