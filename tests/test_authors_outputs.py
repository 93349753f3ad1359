"""Our networks give what the authors' own code gives, from the same weights, through the importer.

The files are in `tests/golden/parity`; their README says how they were made. A network joins by one line.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule

from vadis.models import create_model, weights

GOLDEN = Path(__file__).parent / "golden" / "parity"
LIMIT = 1e-4
"""Of the standard deviation of the output: ten times what float32 rounding costs these networks."""


class Case(NamedTuple):
    """One file: our network's name; the layout that has to be recognised; the limit; how the input lies."""

    file: str
    model: str
    layout: str
    limit: float = LIMIT
    frames_first: bool = False


CASES: tuple[Case, ...] = (
    Case("s3d_kylemin", "s3d", "kylemin"),
    Case("s3dg_howto100m", "s3dg", "howto100m"),
    Case("s3dg_classes400_plain_stem", "s3dg", "howto100m"),
    Case("mfnet_3d", "mfnet3d", "mfnet"),
    Case("p3d_199", "p3d_199", "qijiezhao"),
    Case("qiu_p3d_resnet50", "p3d_r50", "optimization_planning_p3d"),
    Case("qiu_lgd_p3d_resnet50", "lgd_p3d_r50", "optimization_planning_lgd"),
    Case("timesformer_divided_space_time", "timesformer_divided", "timesformer"),
    Case("timesformer_space_only", "timesformer_space", "timesformer"),
    Case("eco_lite_16", "eco_lite", "eco_pytorch", frames_first=True),
    Case("vmz_r2plus1d_34", "r2plus1d_34", "vmz"),
    Case("hara_resnet18", "resnet3d_18", "3d_resnets"),
    Case("hara_resnext101_2018", "resnext3d_101", "3d_resnets"),
    Case("sf_c2d_8x8_r50", "c2d_r50_8x8", "pyslowfast_resnet"),
    Case("sf_c2d_nln_8x8_r50", "c2d_r50_8x8_nl5", "pyslowfast_resnet", limit=3e-4),
    Case("sf_i3d_8x8_r50", "i3d_r50_8x8", "pyslowfast_resnet"),
    Case("sf_slow_8x8_r50", "slow_r50_8x8", "pyslowfast_resnet"),
    Case("sf_slowfast_4x16_r50", "slowfast_r50_4x16", "pyslowfast_slowfast"),
    Case("sf_slowfast_nln_4x16_r50", "slowfast_r50_4x16_nl5", "pyslowfast_slowfast"),
    Case("sf_slowfast_nln_8x8_r50", "slowfast_r50_8x8_nl5", "pyslowfast_slowfast"),
)


def read(case: Case) -> dict[str, Any]:
    """The authors' names, shapes and output."""
    return json.loads((GOLDEN / f"{case.file}.json").read_text())


def made_clip(document: dict[str, Any], frames_first: bool) -> torch.Tensor:
    """The input as we take it: clip_BCTHW (theirs may be frames_NCHW of one clip)."""
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    clip = torch.from_numpy(noise)
    return clip.transpose(0, 1)[None].contiguous() if frames_first else clip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_the_same_output(case: Case, tmp_path: Path) -> None:
    document = read(case)
    state = all_by_the_rule(document["state"], document["weight_scale"])
    checkpoint, file = tmp_path / "theirs.pt", tmp_path / "ours.safetensors"
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, checkpoint)
    weights.import_checkpoint(checkpoint, case.model, out=file)
    metadata = weights.load(file).metadata
    assert metadata["layout"] == case.layout
    model = create_model(case.model, weights=file).eval()
    left_out = sum(math.prod(shape) for key, shape in document["state"] if key in metadata["left_out"])
    assert sum(parameter.numel() for parameter in model.parameters()) == document["params"] - left_out
    with torch.inference_mode():
        found = model(made_clip(document, case.frames_first)).flatten().numpy()
    wanted = np.array(document["output"])
    difference = float(abs(found - wanted).max() / wanted.std())
    print(f"{case.file}: differs by {difference:.1e} of the output's standard deviation")
    assert difference < case.limit


def test_every_file_is_compared() -> None:
    """A file that no line of any test names would prove nothing."""
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    unused = [
        path.stem for path in GOLDEN.glob("*.json") if not any(f'"{path.stem}' in text for text in texts)
    ]
    assert unused == []
