"""Our networks give what the installed peers give, from the same random weights.

Marked `peers`: runs where transformers, pytorchvideo ... are installed (the extra `peers`), else is skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vadis.models import create_model, weights
from vadis.models.layouts import LAYOUTS
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
@pytest.mark.parametrize("scheme", KINDS)
def test_timesformer(scheme: str, tmp_path: Path) -> None:
    """The published size, through the importer."""
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
