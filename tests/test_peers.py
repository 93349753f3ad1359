"""Our networks give what the installed peers give, from the same random weights.

Marked `peers`: runs where transformers, pytorchvideo ... are installed (the extra `peers`), else is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models import create_model, weights
from vadis.models.inflated_resnet import BLOCKS, InflatedResNet, Plan, Pool, kinetics_spec
from vadis.models.layouts import LAYOUTS
from vadis.models.nonlocal_block import NonLocal
from vadis.models.nonlocal_net import time_kernels
from vadis.models.slowfast import SlowFast, fast_kernels, slow_kernels
from vadis.models.timesformer import TimeSformer

pytestmark = pytest.mark.peers


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


# --- transformers ---------------------------------------------------------------------------------

KINDS = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}


def their_timesformer(scheme: str, **config: int) -> nn.Module:
    """transformers' TimeSformer with random weights; nothing in it is zero."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = transformers.TimesformerConfig(attention_type=KINDS[scheme], **config)
    model = transformers.TimesformerForVideoClassification(sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def as_they_answer(scheme: str, ours: nn.Module, clip_BCTHW: Tensor) -> Tensor:
    """Theirs gives logits of each frame where attention stays in the frame, and never averages them."""
    if scheme == "space":
        clip_BCTHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)[:, :, None]
    return ours(clip_BCTHW)


@pytest.mark.parametrize("scheme", KINDS)
def test_timesformer_small(scheme: str) -> None:
    sizes = {"image_size": 64, "num_frames": 3, "hidden_size": 48, "intermediate_size": 192, "num_labels": 7}
    theirs = their_timesformer(scheme, **sizes, num_hidden_layers=3, num_attention_heads=3)
    ours = TimeSformer(
        scheme,  # type: ignore[arg-type]
        7,
        num_frames=3,
        crop=64,
        features=48,
        depth=3,
        num_heads=3,
    ).eval()
    rename = LAYOUTS["transformers_timesformer"].rename
    ours.load_state_dict({rename(key): value for key, value in theirs.state_dict().items()}, strict=True)
    clip = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        wanted, found = theirs(clip.transpose(1, 2)).logits, as_they_answer(scheme, ours, clip)
    assert relative(found, wanted) < 1e-4


@pytest.mark.slow
def test_timesformer(tmp_path: Path) -> None:
    """The published size, through the importer; the other schemes at a small one above."""
    scheme = "divided"
    theirs = their_timesformer(scheme, num_labels=11)
    checkpoint, file = tmp_path / "pytorch_model.bin", tmp_path / "ours.safetensors"
    torch.save(theirs.state_dict(), checkpoint)
    weights.import_checkpoint(checkpoint, f"timesformer_{scheme}", out=file)
    assert weights.load(file).metadata["layout"] == "transformers_timesformer"
    ours = create_model(f"timesformer_{scheme}", weights=file).eval()
    clip = torch.randn(1, 3, 8, 224, 224)
    with torch.inference_mode():
        wanted, found = theirs(clip.transpose(1, 2)).logits, as_they_answer(scheme, ours, clip)
    print(f"timesformer_{scheme}: differs by {relative(found, wanted):.1e}")
    assert relative(found, wanted) < 1e-4


# --- pytorchvideo ---------------------------------------------------------------------------------

PYTORCHVIDEO = {
    "c2d_r50_8x8": "c2d_r50",
    "i3d_r50_8x8": "i3d_r50",
    "slow_r50_8x8": "slow_r50",
    "slowfast_r50_8x8": "slowfast_r50",
    "slowfast_r101_8x8_all": "slowfast_r101",
}
SIDE, WIDTH = 64, 16


def unsettled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep a signal's size, and batch norms unlike the initial ones: nothing is zero."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
    return model


def their_pathways(clip_BCTHW: Tensor, alpha: int) -> list[Tensor]:
    """PackPathway of pytorchvideo's documentation."""
    frames = clip_BCTHW.shape[2]
    index = torch.linspace(0, frames - 1, frames // alpha).long()
    return [clip_BCTHW.index_select(2, index), clip_BCTHW]


@pytest.mark.slow
@pytest.mark.parametrize("name", PYTORCHVIDEO)
def test_pytorchvideo(name: str, tmp_path: Path) -> None:
    """The published sizes, through the importer; at 256 pixels its head averages four windows.

    224 pixels of the smaller networks only: the larger take a minute and hold no other code.
    """
    hub = pytest.importorskip("pytorchvideo.models.hub")
    theirs = unsettled(getattr(hub, PYTORCHVIDEO[name])()).eval()
    checkpoint, file = tmp_path / "theirs.pyth", tmp_path / "ours.safetensors"
    torch.save({"model_state": theirs.state_dict()}, checkpoint)
    weights.import_checkpoint(checkpoint, name, out=file)
    assert weights.load(file).metadata["layout"].startswith("pytorchvideo_")
    ours: Any = create_model(name, weights=file).eval()
    for pixels in (256,) if "r101" in name else (224, 256):
        clip = torch.randn(1, 3, ours.spec.num_frames, pixels, pixels)
        with torch.inference_mode():
            wanted = theirs(their_pathways(clip, ours.alpha) if "slowfast" in name else clip.clone())
            found = ours(clip)
        print(f"{name} at {pixels}: differs by {relative(found, wanted):.1e}")
        assert relative(found, wanted) < 1e-4


def narrow_pair(family: str, fresh: bool = False) -> tuple[nn.Module, nn.Module]:
    """pytorchvideo's network of 50 layers, narrow, for clips of 64 pixels, and ours with its weights.

    fresh: as training starts in the papers, residual branches at zero.
    """
    models = pytest.importorskip("pytorchvideo.models")
    common: dict[str, Any] = {"model_depth": 50, "model_num_class": 7, "dropout_rate": 0.0}
    spec = kinetics_spec(3, 8, 8, SIDE)
    if family == "slowfast":
        theirs = models.slowfast.create_slowfast(
            **common, stem_dim_outs=(WIDTH, WIDTH // 8), head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2))
        )
        ours: nn.Module = SlowFast(
            Plan(slow_kernels(BLOCKS[50]), width=WIDTH),
            Plan(fast_kernels(BLOCKS[50]), stem_time=5, width=WIDTH // 8),
            spec,
            7,
            alpha=4,
            lateral_kernel=7,
            dropout=0.0,
        )
    else:
        kernels = time_kernels(family, BLOCKS[50]) if family != "slow" else slow_kernels(BLOCKS[50])
        theirs = models.resnet.create_resnet(
            **common,
            stem_dim_out=WIDTH,
            stem_conv_kernel_size=(5 if family == "i3d" else 1, 7, 7),
            stage1_pool=None if family == "slow" else nn.MaxPool3d,
            stage_conv_a_kernel_size=[[(time, 1, 1) for time in stage] for stage in kernels],
            head_pool_kernel_size=(8 if family == "slow" else 4, 2, 2),
        )
        pool2 = None if family == "slow" else Pool((2, 1, 1), (2, 1, 1))
        plan = Plan(kernels, stem_time=5 if family == "i3d" else 1, pool2=pool2, width=WIDTH)
        ours = InflatedResNet(plan, spec, 7, dropout=0.0)
    names = {"slow": "pytorchvideo_slow", "slowfast": "pytorchvideo_slowfast"}
    rename = LAYOUTS[names.get(family, "pytorchvideo_pooled")].rename
    counters = {key: value for key, value in ours.state_dict().items() if key.endswith("tracked")}
    torch.manual_seed(1)
    if fresh:
        for key, parameter in theirs.named_parameters():
            if key.endswith("norm_c.weight"):
                nn.init.zeros_(parameter)
    else:
        unsettled(theirs)
    given = {rename(key): value.clone() for key, value in theirs.state_dict().items() if "tracked" not in key}
    ours.load_state_dict(given | counters)
    return theirs, ours


@pytest.mark.parametrize("family", ["c2d", "i3d", "slow", "slowfast"])
def test_pytorchvideo_small(family: str) -> None:
    theirs, ours = narrow_pair(family)
    clip = torch.randn(2, 3, 8, SIDE, SIDE)
    for model in (theirs, ours):
        model.eval()
    with torch.no_grad():
        wanted = theirs(their_pathways(clip, 4) if family == "slowfast" else clip.clone())
        assert relative(ours(clip), wanted) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["c2d", "i3d", "slow", "slowfast"])
def test_it_learns_as_pytorchvideo_does(family: str) -> None:
    """Twenty steps of SGD from the same weights on the same clips: the same losses."""
    torch.manual_seed(0)
    theirs, ours = narrow_pair(family, fresh=True)
    clips, labels = torch.randn(4, 3, 8, SIDE, SIDE), torch.arange(4)
    losses: list[list[float]] = []
    for model in (theirs, ours):
        model.train()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.003, momentum=0.9)
        losses.append([])
        for _ in range(20):
            packed = their_pathways(clips, 4) if family == "slowfast" and model is theirs else clips.clone()
            loss = F.cross_entropy(model(packed), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    differences = [abs(one - other) for one, other in zip(*losses, strict=True)]
    print(f"{family}: {losses[0][0]:.3f} to {losses[0][-1]:.4f}, differs by {max(differences):.1e}")
    assert losses[0][-1] < 0.5 * losses[0][0]
    assert max(differences) < 1e-4


@pytest.mark.parametrize("kind", ["dot_product", "softmax"])
@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2), (1, 1, 1)])
def test_pytorchvideo_non_local(kind: str, pool: tuple[int, int, int]) -> None:
    layers = pytest.importorskip("pytorchvideo.layers.nonlocal_net")
    theirs = unsettled(layers.create_nonlocal(dim_in=16, dim_inner=8, pool_size=pool, instantiation=kind))
    pairwise: Any = "dot_product" if kind == "dot_product" else "embedded_gaussian"
    ours = NonLocal(16, pairwise=pairwise, pool=pool)
    names = {"conv_theta": "theta", "conv_phi": "phi", "conv_g": "g", "conv_out": "out", "norm": "bn"}
    ours.load_state_dict(
        {
            f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value
            for key, value in theirs.state_dict().items()
        }
    )
    # double precision: a softmax over large products turns the order of additions into 1e-5 in single
    theirs.double()
    ours.double()
    x = torch.randn(2, 16, 4, 12, 12, dtype=torch.float64)
    for mode in (True, False):
        theirs.train(mode)
        ours.train(mode)
        with torch.no_grad():
            assert relative(ours(x), theirs(x)) < 1e-12
