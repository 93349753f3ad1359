"""Checkpoints of C2D, I3D, Slow and SlowFast as others spell them: PySlowFast (PyTorch, Caffe2), the authors
of non-local networks (Caffe2), pytorchvideo, mmaction2.

Names and shapes are in `golden/layouts` (`other_spellings.py` says where they come from). What a spelling
must bring is known from PySlowFast's own, which the authors' outputs prove (`test_authors_outputs.py`).
"""

from __future__ import annotations

import functools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from other_spellings import NONLOCAL, SLOWFAST, as_caffe2, as_mmaction2

from vadis.models import create_model, weights
from vadis.models.conversion import expected_shapes
from vadis.models.layouts import LAYOUTS, Arrays, Imported, LayoutError, to_ours

GOLDEN = Path(__file__).parent / "golden"
FIVE = {"res3": [1, 3], "res4": [1, 3, 5]}


def arrays_of(name: str, prefix: str = "") -> Arrays:
    """Empty arrays of a golden list's names and shapes."""
    document = json.loads((GOLDEN / "layouts" / f"{name}.json").read_text())
    return {prefix + key: np.zeros(shape, np.float32) for key, shape in document["state"]}


@functools.cache
def theirs(file: str) -> Arrays:
    """PySlowFast's keys with weights by the rule."""
    document = json.loads((GOLDEN / "parity" / f"{file}.json").read_text())
    state = all_by_the_rule(document["state"], document["weight_scale"])
    return {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}


def bring(arrays: Arrays, model: str, layout: str = "auto") -> Imported:
    """Through the importer, without a file."""
    return to_ours(arrays, model, LAYOUTS, functools.partial(expected_shapes, model), layout)


SLOWFAST_8X8 = {"slow_index": "linspace", "lateral_kernel": 7, "temporal_blocks": [6, 6]}
MMACTION2_NL = {"nonlocal_after": FIVE, "scaled": False, "pool_first": False}


@pytest.mark.parametrize(
    ("file", "model", "layout", "options"),
    [
        ("pytorchvideo_c2d_r50", "c2d_r50_8x8", "pytorchvideo_pooled", {"head_window": 7}),
        ("pytorchvideo_i3d_r50", "i3d_r50_8x8", "pytorchvideo_pooled", {"head_window": 7}),
        ("pytorchvideo_slow_r50", "slow_r50_8x8", "pytorchvideo_slow", {"head_window": 7}),
        (
            "pytorchvideo_slowfast_r50",
            "slowfast_r50_8x8",
            "pytorchvideo_slowfast",
            {**SLOWFAST_8X8, "head_window": 7},
        ),
        (
            "pytorchvideo_slowfast_16x8_r101_50_50",
            "slowfast_r101_16x8",
            "pytorchvideo_slowfast",
            {**SLOWFAST_8X8, "lateral_kernel": 5, "head_window": 7},
        ),
        (
            "pyslowfast_caffe2_slowfast_8x8_r50",
            "slowfast_r50_8x8",
            "pyslowfast_caffe2_slowfast",
            SLOWFAST_8X8,
        ),
        (
            "pyslowfast_caffe2_slowfast_nln_8x8_r50",
            "slowfast_r50_8x8_nl5",
            "pyslowfast_caffe2_slowfast",
            {**SLOWFAST_8X8, "lateral_kernel": 5, "nonlocal_after": FIVE},
        ),
        ("video_nonlocal_net_i3d_32x2", "i3d_r50_32x2", "video_nonlocal_net", {"pooling": "caffe2"}),
        (
            "video_nonlocal_net_c2d_nl_32x2",
            "c2d_r50_32x2_nl5",
            "video_nonlocal_net",
            {"pooling": "caffe2", "nonlocal_after": FIVE},
        ),
        (
            "mmaction2_slowfast_8x8_r50",
            "slowfast_r50_8x8",
            "mmaction2_slowfast",
            {**SLOWFAST_8X8, "slow_index": "stride", "lateral_norm": False, "pixels": "imagenet"},
        ),
        ("mmaction2_slowonly_8x8_r50", "slow_r50_8x8", "mmaction2_slowonly", {"pixels": "imagenet"}),
        (
            "mmaction2_i3d_r50",
            "i3d_r50_32x2",
            "mmaction2_i3d",
            {"pooling": "mmaction2", "pixels": "imagenet"},
        ),
        (
            "mmaction2_i3d_nl_r50",
            "i3d_r50_32x2_nl5",
            "mmaction2_i3d",
            {"pooling": "mmaction2", "pixels": "imagenet", **MMACTION2_NL},
        ),
    ],
)
def test_names_and_shapes_of_others_are_all_ours(
    file: str, model: str, layout: str, options: dict[str, Any]
) -> None:
    found = bring(arrays_of(file), model)
    assert (found.layout, found.options, found.num_classes) == (layout, options, 400)
    assert found.left_out == ()
    with torch.device("meta"):
        built = create_model(model, **found.options)
    expected = {key: value.shape for key, value in built.state_dict().items() if value.ndim}
    assert {key: value.shape for key, value in found.arrays.items()} == expected


@pytest.mark.parametrize(
    ("file", "model"), [(SLOWFAST, "slowfast_r50_8x8"), (NONLOCAL, "slowfast_r50_8x8_nl5")]
)
def test_caffe2_brings_what_pytorch_brings(file: str, model: str) -> None:
    known = bring(theirs(file), model)
    blobs = {f"blobs/{as_caffe2(key)}": array for key, array in theirs(file).items()}
    blobs["blobs/pred_w"] = blobs["blobs/pred_w"].reshape(400, -1, 1, 1, 1)
    found = bring(blobs, model)
    assert (known.layout, found.layout) == ("pyslowfast_slowfast", "pyslowfast_caffe2_slowfast")
    assert found.options == known.options
    assert found.arrays.keys() == known.arrays.keys()
    assert all(np.array_equal(found.arrays[key], known.arrays[key]) for key in known.arrays)


def test_mmaction2_brings_the_fast_features_first() -> None:
    """Its classifier takes (Fast, Slow), ours (Slow, Fast); its lateral connections have no norm."""
    known = bring(theirs(SLOWFAST), "slowfast_r50_8x8")
    spelled = {as_mmaction2(key, True): array for key, array in theirs(SLOWFAST).items()}
    spelled.pop(None)
    found = bring({str(key): array for key, array in spelled.items()}, "slowfast_r50_8x8")
    missing = known.arrays.keys() - found.arrays.keys()
    assert {key.split(".")[2] for key in missing} == {"bn"}
    assert all(key.startswith("lateral") for key in missing)
    for key, array in found.arrays.items():
        if key != "head.weight":
            assert np.array_equal(array, known.arrays[key]), key
    head = spelled["cls_head.fc_cls.weight"]
    assert np.array_equal(found.arrays["head.weight"], np.concatenate([head[:, 256:], head[:, :256]], 1))


def test_mmaction2_non_local_blocks() -> None:
    arrays = arrays_of("mmaction2_i3d_nl_r50")
    block = "backbone.layer2.1.non_local_block."
    arrays[block + "conv_out.conv.weight"] += 3.0
    arrays[block + "g.0.conv.bias"] += 2.0
    found = bring(arrays, "i3d_r50_32x2_nl5")
    assert found.arrays["nonlocals.res3_1.out.weight"].min() == 3.0
    assert not found.arrays["nonlocals.res3_1.out.bias"].any(), "there is none before batch norm"
    assert found.arrays["nonlocals.res3_1.g.bias"].min() == 2.0
    gaussian = {
        key: value
        for key, value in arrays.items()
        if not any(f".{name}." in key for name in ["theta", "phi"])
    }
    assert bring(gaussian, "i3d_r50_32x2_nl5").options["pairwise"] == "gaussian"
    bare = {key.replace(".g.0.", ".g.").replace(".phi.0.", ".phi."): value for key, value in arrays.items()}
    assert bring(bare, "i3d_r50_32x2_nl5").options["nonlocal_pool"] == [1, 1, 1]


def test_pyslowfast_s_i3d_in_both_spellings() -> None:
    """One pathway, without a prefix; the solver's blobs are left out and told."""
    known = bring(theirs("sf_i3d_8x8_r50"), "i3d_r50_8x8")
    blobs = {f"blobs/{as_caffe2(key)}": array for key, array in theirs("sf_i3d_8x8_r50").items()}
    solver = {
        "blobs/conv1_w_momentum": np.zeros((64, 3, 5, 7, 7), np.float32),
        "blobs/lr": np.array(0.01, np.float32),
        "blobs/model_iter": np.array(400_000),
    }
    found = bring(blobs | solver, "i3d_r50_8x8")
    assert (known.layout, found.layout) == ("pyslowfast_resnet", "pyslowfast_caffe2_resnet")
    assert found.left_out == tuple(sorted(solver))
    assert known.options == found.options == {}
    assert all(np.array_equal(found.arrays[key], known.arrays[key]) for key in known.arrays)


def test_one_spelling_two_networks() -> None:
    """PySlowFast's Caffe2 files and the non-local authors' have the same keys: the name can be given."""
    blobs = arrays_of("video_nonlocal_net_i3d_32x2", "blobs/")
    assert bring(blobs, "i3d_r50_8x8").layout == "pyslowfast_caffe2_resnet"
    by_name = bring(blobs, "i3d_r50_8x8", "video_nonlocal_net")
    assert by_name.options == {"pooling": "caffe2"}
    c2d = {key: value[:, :, :1] if value.ndim == 5 else value for key, value in blobs.items()}
    assert bring(c2d, "c2d_r50_8x8").layout == "video_nonlocal_net"
    assert bring(c2d, "c2d_r50_8x8", "pyslowfast_caffe2_c2d").options == {"halve_time": False}


def test_batch_norm_frozen_into_scale_and_shift() -> None:
    """The authors' networks for long clips: no statistics; here 0 and 1, so that norms only scale."""
    whole = arrays_of("video_nonlocal_net_c2d_nl_32x2", "blobs/")
    arrays = {key: value for key, value in whole.items() if not key.endswith(("_rm", "_riv"))}
    arrays["blobs/res_conv1_bn_s"] += 2.0
    found = bring(arrays, "c2d_r50_128x1", "video_nonlocal_net")
    assert found.options == {"pooling": "caffe2", "nonlocal_after": FIVE, "group_frames": 4}
    norm = torch.nn.BatchNorm3d(64).eval()
    norm.load_state_dict(
        {
            key.removeprefix("stem.bn."): torch.from_numpy(array)
            for key, array in found.arrays.items()
            if "stem.bn" in key
        },
        strict=False,
    )
    x = torch.randn(1, 64, 2, 2, 2)
    assert torch.allclose(norm(x), 2.0 * x)


def test_places_and_lengths_come_from_the_file() -> None:
    """PySlowFast's I3D_NLN_8x8_R101 has them after 1, 3 and 5 of res4; 8x8_R101_50_101 looks along time in
    6 blocks of the Slow pathway and in all of the Fast one."""
    arrays = dict(theirs("sf_i3d_8x8_r50"))
    looks = {key: array for key, array in theirs("sf_c2d_nln_8x8_r50").items() if "nonlocal" in key}
    moved = {
        key.replace("s4.pathway0_nonlocal5", "s4.pathway0_nonlocal0"): array for key, array in looks.items()
    }
    found = bring(arrays | moved, "i3d_r50_8x8_nl5")
    assert found.options == {"nonlocal_after": {"res3": [1, 3], "res4": [0, 1, 3]}}
    assert "nonlocals.res4_0.theta.weight" in found.arrays
    fewer = dict(theirs(SLOWFAST))
    for block in (4, 5):
        key = f"s4.pathway0_res{block}.branch2.a.weight"
        fewer[key] = fewer[key][:, :, :1]
    assert bring(fewer, "slowfast_r50_8x8").options["temporal_blocks"] == [4, 6]


def test_what_does_not_fit_is_told() -> None:
    whole = theirs("sf_i3d_8x8_r50")
    without = {
        key: array for key, array in whole.items() if key != "s4.pathway0_res5.branch2.b_bn.running_var"
    }
    with pytest.raises(LayoutError, match=r"1 keys are missing: stages\.2\.5\.bn2\.running_var"):
        bring(without, "i3d_r50_8x8")
    with pytest.raises(LayoutError, match=r"1 keys are unknown: s6\.extra\.weight"):
        bring(whole | {"s6.extra.weight": np.zeros(3, np.float32)}, "i3d_r50_8x8")
    with pytest.raises(
        LayoutError, match=r"conv1\.weight has shape \(64, 64, 3, 1, 1\), the model needs \(64, 64, 1, 1, 1\)"
    ):
        bring(whole, "c2d_r50_8x8")
    with pytest.raises(LayoutError, match="nonlocals"):
        bring(whole, "i3d_r50_8x8_nl5")
    with pytest.raises(LayoutError, match=r"they look like pyslowfast_resnet"):
        bring(theirs(SLOWFAST), "s3d")


@pytest.mark.slow
def test_a_caffe2_file_becomes_a_network(tmp_path: Path) -> None:
    """The whole way, from a pickle of blobs; it answers as PySlowFast's network with these weights."""
    document = json.loads((GOLDEN / "parity" / "sf_slowfast_4x16_r50.json").read_text())
    state = theirs("sf_slowfast_4x16_r50")
    pkl, file = tmp_path / "SLOWFAST_4x16_R50.pkl", tmp_path / "ours.safetensors"
    pkl.write_bytes(
        pickle.dumps({"blobs": {as_caffe2(key): array for key, array in state.items()}}, protocol=2)
    )
    weights.import_checkpoint(pkl, "slowfast_r50_4x16", out=file)
    model = create_model("slowfast_r50_4x16", weights=file).eval()
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        found = model(torch.from_numpy(noise)).flatten().numpy()
    wanted = np.array(document["output"])
    assert abs(found - wanted).max() < 1e-4 * wanted.std()
