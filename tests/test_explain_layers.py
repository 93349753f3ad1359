"""Tensor sizes by layer: right where hooks say so, one row a stream, boxes as large as the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_explain import Hand
from torch import Tensor, nn
from typer.testing import CliRunner

from vadis.cli import app
from vadis.explain import cuboids
from vadis.explain.layers import Block, layer_sizes
from vadis.models import MODELS, create_model


def sizes(name: str, tiny: bool = False, **options: Any) -> list[Block]:
    with torch.device("meta"):
        return layer_sizes(create_model(name, tiny=tiny), **options)


def words(blocks: list[Block], row: int) -> list[str]:
    return [str(block) for block in blocks if block.row == row]


def test_c3d_is_the_papers_figure() -> None:
    assert words(sizes("c3d"), 0) == [
        "clip 3 of 16x112x112",
        "conv1a 64 of 16x112x112",
        "conv2a 128 of 16x56x56",
        "conv3a-3b 256 of 8x28x28",
        "conv4a-4b 512 of 4x14x14",
        "conv5a-5b 512 of 2x7x7",
        "fc6-7 4096",
        "head 400",
    ]


def test_pathways_have_rows_and_meet_after_each_stage() -> None:
    """SlowFast's table 1: frames of Slow and Fast, channels, and Fast in what Slow's next stage sees."""
    blocks = sizes("slowfast_r50_8x8")
    slow = [block for block in blocks if block.row == 0 and block.label.startswith("stages")]
    fast = [block for block in blocks if block.row == 1 and block.label.startswith("stages")]
    assert [block.size for block in slow] == [
        (256, 8, 64, 64),
        (512, 8, 32, 32),
        (1024, 8, 16, 16),
        (2048, 8, 8, 8),
    ]
    assert [block.size for block in fast] == [
        (32, 32, 64, 64),
        (64, 32, 32, 32),
        (128, 32, 16, 16),
        (256, 32, 8, 8),
    ]
    for stage in (1, 2, 3):
        assert set(slow[stage].sources) == {blocks.index(slow[stage - 1]), blocks.index(fast[stage - 1])}
        assert fast[stage].sources == (blocks.index(fast[stage - 1]),)


def test_streams_have_rows_and_meet_in_scores_or_inside() -> None:
    pair = sizes("two_stream_vggm")
    assert words(pair, 1) == [
        "flow 20 of 1x224x224",
        "conv1 96 of 1x109x109",
        "conv2 256 of 1x26x26",
        "conv3-5 512 of 1x13x13",
        "fc6 4096",
        "fc7 2048",
        "head 400",
    ]
    assert pair[-1].label == "scores"
    assert [pair[source].label for source in pair[-1].sources] == ["head", "head"]
    fused = sizes("fused_vgg16")
    (join,) = [block for block in fused if block.layers == ("joins.conv5_3",)]
    assert [fused[source].row for source in join.sources] == [0, 1]
    assert join.size == (512, 5, 14, 14)
    three = sizes("aggregate_tcp_streams")
    assert [block.size for block in three if block.is_input] == [(2048, 20, 1, 1)] * 3
    assert [block.frames for block in three if block.row == 2] == [20, 20, 10]


def test_frames_tokens_steps_and_joined_branches_are_seen() -> None:
    """Frames in the batch, an LSTM's steps, a transformer's tokens, branches that others join."""
    lstm = sizes("lstm_inception")
    assert [block.size for block in lstm if block.label == "lstm"] == [(512, 25, 1, 1)]
    patches, blocks = [block for block in sizes("timesformer_divided") if block.size == (768, 8, 14, 14)]
    assert patches.label == "patch_embed"
    assert len(blocks.layers) >= 11
    assert "inception3a-3b 320 of 3x28x28" in words(sizes("tsn_bninception"), 0)
    assert len({block.row for block in sizes("eco_full")}) == 2


def test_paths_that_tell_each_other_at_every_layer_stand_together() -> None:
    blocks = sizes("lgd_p3d_r50")
    places = cuboids._columns(blocks)
    told = [number for number, block in enumerate(blocks) if block.size == (1024, 1, 1, 1)]
    maps = [number for number, block in enumerate(blocks) if block.size == (1024, 4, 14, 14)]
    assert places[told[0]] == places[maps[0]]
    for number, block in enumerate(blocks):
        assert all(places[source] <= places[number] for source in block.sources)


class Branches(nn.Module):
    """Two branches that are added, one of them with a layer of its own in between."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv3d(3, 4, 1, (2, 1, 1))
        self.long = nn.Conv3d(3, 4, 3, (2, 1, 1), padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.long(x)


def test_levels_open_modules() -> None:
    trunk = nn.Sequential(Branches(), nn.ReLU(), nn.Conv3d(4, 5, 1), nn.MaxPool3d(2))
    model = Hand(trunk, 5)
    whole = [block.layers for block in layer_sizes(model, level=1)]
    assert whole == [("clip",), ("trunk.0",), ("trunk.2",), ("head",)]
    opened = layer_sizes(model, level=2)
    assert {name for block in opened for name in block.layers} >= {"trunk.0.short", "trunk.0.long"}
    join = next(block for block in opened if block.layers == ("trunk.2",))
    assert len(join.sources) == 2
    assert [block.size for block in opened if block.layers == ("trunk.0.long",)] == [(4, 4, 32, 32)]
    with pytest.raises(ValueError, match="level is 1"):
        layer_sizes(model, level=0)
    assert next(model.parameters()).device.type == "cpu"  # a copy was looked at


@pytest.mark.parametrize("name", ["i3d_inception", "deepvideo_late", "snippets_time_conv", "s3dg"])
def test_sizes_are_those_that_layers_give(name: str) -> None:
    """Each block's size is that of the last of its layers when the small network really runs."""
    model = create_model(name, tiny=True).eval()
    given: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda _m, _x, result, path=path: given.update({path: result}))  # type: ignore[misc]
    with torch.no_grad():
        model(torch.zeros(1, *model.spec.shape))
    for block in layer_sizes(model):
        if block.layers[-1] in given:
            assert given[block.layers[-1]].numel() == np.prod(block.size), block


def test_pictures_show_the_numbers() -> None:
    model = create_model("two_stream_vggm", tiny=True)
    picture = cuboids.draw_layers(layer_sizes(model), model)
    assert picture.shape[1] >= 760
    assert (picture[0, 0] == 255).all()  # light ground
    few, many = (Block(("x",), 8, frames, 16, 16, 0, (0,)) for frames in (4, 16))
    assert cuboids._box_size(many)[0] == pytest.approx(2 * cuboids._box_size(few)[0])
    assert cuboids._box_size(many)[1:] == cuboids._box_size(few)[1:]
    wide = cuboids.draw_layers(layer_sizes(model), model, width=1400, note="")
    assert wide.shape[1] == 1400
    assert wide.shape[0] < picture.shape[0]


@pytest.mark.slow
def test_every_file_of_networks_has_a_picture() -> None:
    """The first and the last network of each: all of them take minutes, and differ in widths."""
    files: dict[str, list[str]] = {}
    for name, maker in MODELS.items():
        files.setdefault(maker.__module__, []).append(name)
    for name in sorted({name for names in files.values() for name in (names[0], names[-1])}):
        blocks = sizes(name)
        assert blocks[-1].size == (blocks[-1].channels, 1, 1, 1), name
        assert all(source < len(blocks) for block in blocks for source in block.sources), name
        assert len({block.row for block in blocks}) <= 4, name
        assert len(blocks) <= 30, name


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["explain", "layers", "-m", "r3d_18", "--json", "--out", "sizes.png"])
    assert ran.exit_code == 0, ran.output
    blocks = json.loads(ran.stdout)["blocks"]
    assert blocks[0] == {
        "layers": ["clip"],
        "channels": 3,
        "frames": 16,
        "height": 112,
        "width": 112,
        "row": 0,
        "sources": [],
    }
    assert (tmp_path / "sizes.png").stat().st_size > 1000
    ran = CliRunner().invoke(app, ["explain", "layers"])
    assert ran.exit_code == 0, ran.output
    assert "mixed4b" in ran.stdout
    ran = CliRunner().invoke(app, ["explain", "layers", "-m", "r3d_81"])
    assert ran.exit_code == 2
    assert "did you mean" in ran.stderr
    ran = CliRunner().invoke(app, ["explain", "layers", "-m", "r3d_18", "--out", "sizes.mp4"])
    assert ran.exit_code == 2
    assert "nothing that moves" in ran.stderr
