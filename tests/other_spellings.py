"""Keys of PySlowFast's networks in the spellings of Caffe2 and mmaction2, by how those are built.

Written from their code, apart from `vadis.models.layouts`, which goes the other way. PySlowFast's own keys
and shapes are in `golden/parity`. Run as a program it writes `golden/layouts/*.json`, the lists that
`test_resnet_layouts.py` reads; those of pytorchvideo are taken from the installed library.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"
LAST_BLOCK = {"2": 2, "3": 3, "4": 5}
"""Number of the last block of ResNet-50's stages, after which a lateral connection is called in Caffe2."""

CAFFE2 = {
    "weight": "w",
    "bias": "b",
    "bn.weight": "s",
    "bn.bias": "b",
    "bn.running_mean": "rm",
    "bn.running_var": "riv",
}

State = list[tuple[str, list[int]]]


def parameters(file: str) -> State:
    """Keys and shapes of a network of PySlowFast, without batch norm's step counters."""
    document = json.loads((GOLDEN / "parity" / f"{file}.json").read_text())
    return [(key, shape) for key, shape in document["state"] if not key.endswith("num_batches_tracked")]


def as_caffe2(key: str) -> str:
    """ "s4.pathway1_res2.branch2.a_bn.weight" is "t_res4_2_branch2a_bn_s"."""
    start, leaf = key.rsplit(".", 1)
    is_norm = re.search(r"bn$", start) is not None
    leaf = CAFFE2[f"bn.{leaf}" if is_norm else leaf]
    fast = "t_" if "pathway1" in start else ""
    if start == "head.projection":
        return f"pred_{leaf}"
    if start.endswith("_stem.conv"):
        return f"{fast}conv1_{leaf}"
    if start.endswith("_stem.bn"):
        return f"{fast}res_conv1_bn_{leaf}"
    lateral = re.fullmatch(r"s(\d)_fuse\.(conv_f2s|bn)", start)
    if lateral:
        stage = lateral[1]
        before = "pool1" if stage == "1" else f"res{stage}_{LAST_BLOCK[stage]}_branch2c_bn"
        return f"t_{before}_subsample_{'bn_' if is_norm else ''}{leaf}"
    look = re.fullmatch(r"s(\d)\.pathway0_nonlocal(\d+)\.(?:conv_)?(\w+)", start)
    if look:
        return f"nonlocal_conv{look[1]}_{look[2]}_{look[3]}_{leaf}"
    block = re.fullmatch(r"s(\d)\.pathway\d_res(\d+)\.branch(1|2)\.?([abc])?(?:_bn)?", start)
    assert block, key
    name = f"{fast}res{block[1]}_{block[2]}_branch{block[3]}{block[4] or ''}"
    return f"{name}_{'bn_' if is_norm else ''}{leaf}"


def as_mmaction2(key: str, two_pathways: bool) -> str | None:
    """ "s4.pathway1_res2.branch2.a_bn.weight" is "backbone.fast_path.layer3.2.conv1.bn.weight".

    None for what mmaction2 lacks: lateral norms, and the bias before a non-local block's norm.
    """
    start, leaf = key.rsplit(".", 1)
    part = "bn" if start.endswith("bn") else "conv"
    path = ("backbone.fast_path." if "pathway1" in start else "backbone.slow_path.") if two_pathways else ""
    path = path or "backbone."
    if start == "head.projection":
        return f"cls_head.fc_cls.{leaf}"
    if "_stem." in start:
        return f"{path}conv1.{part}.{leaf}"
    lateral = re.fullmatch(r"s(\d)_fuse\.(conv_f2s|bn)", start)
    if lateral:
        after = "conv1" if lateral[1] == "1" else f"layer{int(lateral[1]) - 1}"
        return f"{path}{after}_lateral.conv.{leaf}" if part == "conv" else None
    look = re.fullmatch(r"s(\d)\.pathway0_nonlocal(\d+)\.(?:conv_)?(\w+)", start)
    if look:
        module = {"g": "g.0", "phi": "phi.0", "theta": "theta"}.get(look[3], "conv_out")
        if module == "conv_out" and part == "conv" and leaf == "bias":
            return None
        return f"{path}layer{int(look[1]) - 1}.{look[2]}.non_local_block.{module}.{part}.{leaf}"
    block = re.fullmatch(r"s(\d)\.pathway\d_res(\d+)\.branch(1|2)\.?([abc])?(?:_bn)?", start)
    assert block, key
    module = f"conv{'abc'.index(block[4]) + 1}" if block[4] else "downsample"
    return f"{path}layer{int(block[1]) - 1}.{block[2]}.{module}.{part}.{leaf}"


# --- writing the lists ----------------------------------------------------------------------------


def write(name: str, source: str, constructor: str, state: Any) -> None:
    """One list, as compact JSON."""
    document = {"source": source, "constructor": constructor, "state": state}
    path = GOLDEN / "layouts" / f"{name}.json"
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n")


def main() -> None:
    """Write all lists; needs pytorchvideo."""
    from pytorchvideo.models import hub

    nonlocal_repo = "facebookresearch/video-nonlocal-net, names by lib/models/*.py"
    for name, source, file in (
        ("pyslowfast_caffe2_slowfast_8x8_r50", "PySlowFast zoo, names by c2_model_loading.py", SLOWFAST),
        ("pyslowfast_caffe2_slowfast_nln_8x8_r50", "PySlowFast zoo, names by c2_model_loading.py", NONLOCAL),
        ("video_nonlocal_net_i3d_32x2", nonlocal_repo, "sf_i3d_8x8_r50"),
        ("video_nonlocal_net_c2d_nl_32x2", nonlocal_repo, "sf_c2d_nln_8x8_r50"),
    ):
        write(name, source, file, [(as_caffe2(key), shape) for key, shape in parameters(file)])
    source = "open-mmlab/mmaction2, names by resnet3d.py, resnet3d_slowfast.py and mmcv's non_local.py"
    for name, file in (
        ("mmaction2_slowfast_8x8_r50", SLOWFAST),
        ("mmaction2_slowonly_8x8_r50", "sf_slow_8x8_r50"),
        ("mmaction2_i3d_r50", "sf_i3d_8x8_r50"),
        ("mmaction2_i3d_nl_r50", "sf_i3d_8x8_r50"),
    ):
        state = parameters(file)
        if "_nl_" in name:
            state += [each for each in parameters("sf_c2d_nln_8x8_r50") if "nonlocal" in each[0]]
        spelled = [(as_mmaction2(key, "slowfast" in name), shape) for key, shape in state]
        write(name, source, file, [each for each in spelled if each[0] is not None])
    for name in ("c2d_r50", "i3d_r50", "slow_r50", "slowfast_r50", "slowfast_16x8_r101_50_50"):
        theirs = getattr(hub, name)().state_dict()
        shapes = [
            (key, list(value.shape))
            for key, value in theirs.items()
            if not key.endswith("num_batches_tracked")
        ]
        write(f"pytorchvideo_{name}", "pytorchvideo 0.1.5", f"pytorchvideo.models.hub.{name}()", shapes)


SLOWFAST, NONLOCAL = "sf_slowfast_8x8_r50_fullconv256", "sf_slowfast_nln_8x8_r50"

if __name__ == "__main__":
    main()
