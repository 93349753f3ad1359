"""Folding: the same answers with fewer operations, and a plain refusal where that cannot be had."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis import folding
from vadis.models import create_model


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give each batch norm statistics and an affine part that change what comes out."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    return model.eval()


def run(model: nn.Module, clip_BCTHW: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(clip_BCTHW.contiguous(memory_format=torch.channels_last_3d))


class Zoo(nn.Module):
    """What later networks do: odd padding, a bias before batch norm, groups, sums, a norm shared by two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 8, (3, 5, 5), (1, 2, 2), bias=True)
        self.bn1 = nn.BatchNorm3d(8, affine=False)
        self.conv2 = nn.Conv3d(8, 8, 3, padding=(1, 0, 1), groups=4, bias=False)
        self.bn2 = nn.BatchNorm3d(8, eps=1e-2)
        self.conv3 = nn.Conv3d(8, 8, 1)
        self.bn3 = nn.BatchNorm3d(8)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(F.pad(clip_BCTHW, (1, 2, 2, 1, 1, 1)))))
        skip = x
        x = F.relu(self.bn2(self.conv2(F.pad(x, (0, 0, 1, 1)))) + skip)
        y = self.conv3(x)  # used twice: must not be folded
        x = F.max_pool3d(self.bn3(y), (2, 3, 3), (1, 2, 2), (1, 1, 1)) + F.avg_pool3d(y, 2, 1).amax()
        return self.head(x.flatten(2).mean(2))


@pytest.mark.parametrize("shape", [(1, 3, 16, 64, 64), (2, 3, 9, 33, 47), (1, 3, 19, 50, 32)])
def test_i3d_folded_equals_the_network(shape: tuple[int, ...]) -> None:
    model = randomise(create_model("i3d_inception", tiny=True, num_classes=7))
    clip_BCTHW = torch.rand(shape) * 2 - 1
    folded = folding.fold(model, shape)
    expected = model(clip_BCTHW)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(run(folded, clip_BCTHW), expected, rtol=0, atol=1e-5)


def test_folded_network_has_no_norm_no_relu_and_one_padding_left() -> None:
    model = create_model("i3d_inception", tiny=True)
    names = [str(node.target) for node in folding.fold(model, (1, 3, 16, 64, 64)).graph.nodes]
    assert not [name for name in names if "batch_norm" in name or "relu" in name or "max_pool3d_with" in name]
    assert sum("pad" in name for name in names) == 1  # the odd row of the first layer


def test_unusual_network_folded_equals_the_network() -> None:
    model = randomise(Zoo())
    clip_BCTHW = torch.rand(2, 3, 7, 20, 23)
    folded = folding.fold(model, clip_BCTHW.shape)
    torch.testing.assert_close(run(folded, clip_BCTHW), model(clip_BCTHW), rtol=1e-5, atol=1e-5)


def test_folding_without_onednn_is_as_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "has_onednn", lambda: False)
    model = randomise(create_model("i3d_inception", tiny=True, num_classes=7))
    clip_BCTHW = torch.rand(1, 3, 16, 48, 48)
    folded = folding.fold(model, clip_BCTHW.shape)
    assert not [node for node in folded.graph.nodes if "mkldnn" in str(node.target)]
    torch.testing.assert_close(run(folded, clip_BCTHW), model(clip_BCTHW), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 2, 2), (3, 1, 2), (1, 1, 1)])
def test_max_pool_equals_pytorch(kernel: tuple[int, int, int], ceil_mode: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 8, 5).contiguous(memory_format=torch.channels_last_3d)
    before = x.clone()
    for stride, pad in itertools.product([(1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 1, 2)], [0, 1]):
        padding = [min(pad, size // 2) for size in kernel]
        expected = F.max_pool3d(x, kernel, stride, padding, ceil_mode=ceil_mode)
        assert torch.equal(folding.max_pool3d(x, kernel, stride, padding, ceil_mode), expected)
    assert torch.equal(x, before)


def test_bf16_stays_near() -> None:
    model = randomise(create_model("i3d_inception", tiny=True, num_classes=7))
    clip_BCTHW = torch.rand(1, 3, 16, 64, 64)
    logits_BK = run(folding.fold(model, clip_BCTHW.shape, dtype=torch.bfloat16), clip_BCTHW.bfloat16())
    assert logits_BK.dtype == torch.bfloat16
    torch.testing.assert_close(logits_BK.float(), model(clip_BCTHW), rtol=0, atol=0.1)


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("i3d_inception", tiny=True, num_classes=7).train()
    model.conv1a.bn.eval()  # as fine-tuning does
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folding.fold(model, (1, 3, 16, 64, 64))
    assert model.training
    assert model.dropout.training
    assert not model.conv1a.bn.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class ByValue(nn.Module):
    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return clip_BCTHW.mean((2, 3, 4)) if clip_BCTHW.sum() > 0 else clip_BCTHW.amax((2, 3, 4))


class InPlaceThroughView(nn.Module):
    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        x = clip_BCTHW * 1
        x[:, 0].zero_()
        return x.mean((2, 3, 4))


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = (torch.ones(3),)  # neither parameter nor buffer

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return clip_BCTHW.mean((2, 3, 4)) * self.hidden[0]


@pytest.mark.parametrize("network", [ByValue, InPlaceThroughView, Hidden])
def test_what_cannot_be_written_down_is_refused(network: type[nn.Module]) -> None:
    with pytest.raises(folding.CannotFoldError):
        folding.fold(network(), (1, 3, 4, 8, 8))


@pytest.mark.slow
def test_folding_does_not_import_the_compiler() -> None:
    script = (
        "import sys\n"
        "from vadis import folding\n"
        "from vadis.models import create_model\n"
        "folding.fold(create_model('i3d_inception', tiny=True), (1, 3, 16, 64, 64))\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
