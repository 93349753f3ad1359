"""Two files of streams into one: the answers stay those of the streams, and what does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from made_weights import by_the_rule
from torch import nn
from typer.testing import CliRunner

from vadis.cli import app
from vadis.models import VideoModel, create_model
from vadis.models.joining import join_streams
from vadis.models.layouts.i3d import I3D
from vadis.models.weights import WeightsError, import_checkpoint, load, save_model


def stream(name: str, folder: Path, num_classes: int = 5, **facts: Any) -> tuple[VideoModel, Path]:
    """A tiny network with weights of its own, and its file."""
    torch.manual_seed(len(name))
    model = create_model(name, num_classes=num_classes, tiny=True).eval()
    for key, value in facts.items():
        setattr(model, key, value)
    return model, save_model(model, folder / f"{name}.safetensors")


def test_two_i3d_become_one(tmp_path: Path) -> None:
    rgb, rgb_file = stream("i3d_inception", tmp_path, class_names=tuple("abcde"))
    flow, flow_file = stream("i3d_inception_flow", tmp_path)
    file = join_streams("two_stream_i3d", {"rgb": rgb_file, "flow": flow_file}, tmp_path / "both.safetensors")
    both = create_model("two_stream_i3d", weights=file).eval()
    assert both.class_names == tuple("abcde")
    assert both.spec.parts == {"rgb": rgb.spec, "flow": flow.spec}
    clips = {"rgb": torch.rand(1, 3, 17, 48, 48), "flow": torch.rand(1, 2, 17, 48, 48)}
    with torch.no_grad():
        assert torch.equal(both(clips), rgb(clips["rgb"]) + flow(clips["flow"]))


def test_what_does_not_fit(tmp_path: Path) -> None:
    _, rgb = stream("i3d_inception", tmp_path)
    _, flow = stream("i3d_inception_flow", tmp_path, num_classes=4)
    out = tmp_path / "both.safetensors"
    with pytest.raises(WeightsError, match="same classes; rgb has 5, flow has 4"):
        join_streams("two_stream_i3d", {"rgb": rgb, "flow": flow}, out)
    with pytest.raises(WeightsError, match="two_stream_i3d takes rgb, flow; got rgb"):
        join_streams("two_stream_i3d", {"rgb": rgb}, out)
    with pytest.raises(WeightsError, match=r"1 keys are of another shape \(flow.conv1a.conv.weight"):
        join_streams("two_stream_i3d", {"rgb": rgb, "flow": rgb}, out)
    with pytest.raises(WeightsError, match=r"\d+ keys are missing \(rgb.trunk.*unknown"):
        join_streams("two_stream_inception", {"rgb": rgb, "flow": rgb}, out)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["hassony2", "tensorflow"])
def test_the_public_files_of_both_streams(layout: str, tmp_path: Path) -> None:
    """hassony2's model_rgb.pth and model_flow.pth; kinetics-i3d's two scopes, RGB and Flow."""
    spelled = next(each for each in I3D if each.name == layout)
    files = {}
    for part, name in (("rgb", "i3d_inception"), ("flow", "i3d_inception_flow")):
        with torch.device("meta"):
            shapes = {key: tuple(value.shape) for key, value in create_model(name).state_dict().items()}
        state = {}
        for theirs in known_keys(spelled.rename, shapes):
            ours = spelled.rename(theirs)
            assert ours is not None
            array = by_the_rule(f"{part}.{ours}", shapes[ours])
            if layout == "tensorflow" and array.ndim == 5:
                array = array.transpose(2, 3, 4, 1, 0)
            scopes = {"rgb": "RGB/inception_i3d/", "flow": "Flow/inception_i3d/"}
            scope = scopes[part] if layout == "tensorflow" else ""
            state[f"{scope}{theirs}"] = torch.from_numpy(array.copy())
        source = tmp_path / f"model_{part}.safetensors"
        safetensors.torch.save_file(state, source)
        files[part] = import_checkpoint(source, name, out=tmp_path / f"{part}.safetensors")
    assert json.dumps(load(files["flow"]).metadata["num_classes"]) == "400"
    both = create_model(
        "two_stream_i3d", weights=join_streams("two_stream_i3d", files, tmp_path / "both.safetensors")
    )
    for part in ("rgb", "flow"):
        conv = both.get_submodule(f"{part}.mixed4d.branch1.conv")
        assert isinstance(conv, nn.Conv3d)
        wanted = by_the_rule(f"{part}.mixed4d.branch1.conv.weight", conv.weight.shape)
        assert torch.equal(conv.weight, torch.from_numpy(wanted))


def known_keys(rename: Any, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The keys of a layout whose parameters our network has (the table that the layout is made of)."""
    return [theirs for theirs, ours in rename.__self__.items() if ours in shapes]


def test_on_the_command_line(tmp_path: Path) -> None:
    _, rgb = stream("i3d_inception", tmp_path)
    _, flow = stream("i3d_inception_flow", tmp_path)
    out = tmp_path / "both.safetensors"
    words = ["weights", "join", f"rgb={rgb}", f"flow={flow}", "--model", "two_stream_i3d", "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    assert create_model("two_stream_i3d", weights=out).num_classes == 5
    for wrong, code, message in (
        (words[2:3] * 2, 2, "twice"),
        (["rgb"], 2, "no MODALITY=FILE"),
        (words[2:3], 1, "takes rgb, flow"),
    ):
        refused = CliRunner().invoke(app, [*words[:2], *wrong, *words[4:]])
        assert refused.exit_code == code
        assert message in " ".join(refused.output.split())
