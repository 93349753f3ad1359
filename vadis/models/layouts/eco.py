"""How the authors' PyTorch code spells ECO (`vadis.models.eco`): mzolfaghari/ECO-pytorch.

Their network is flat and named after Caffe's layers (`eco_pytorch`); what their training saves has it as
`base_model` of a wrapper with a classifier of its own, `new_fc` (`eco_tsn`), mostly under `module.`.
"""

from __future__ import annotations

from vadis.models.layouts.bninception import NORM_LEAVES, trunk_keys
from vadis.models.layouts.rules import Layout, by_table

MODELS = ("eco_*",)
CONVOLUTIONS = {
    "res3a_2": "conv3a",
    "res3b_1": "stage3.0.conv1",
    "res3b_2": "stage3.0.conv2",
    "res4a_1": "stage4.0.conv1",
    "res4a_2": "stage4.0.conv2",
    "res4a_down": "stage4.0.down",
    "res4b_1": "stage4.1.conv1",
    "res4b_2": "stage4.1.conv2",
    "res5a_1": "stage5.0.conv1",
    "res5a_2": "stage5.0.conv2",
    "res5a_down": "stage5.0.down",
    "res5b_1": "stage5.1.conv1",
    "res5b_2": "stage5.1.conv2",
}
NORMS = {  # theirs is named after the sum that it follows, ours belongs to the block that it opens
    "res3a_bn": "stage3.0.bn1",
    "res3b_1_bn": "stage3.0.bn2",
    "res3b_bn": "stage4.0.bn1",
    "res4a_1_bn": "stage4.0.bn2",
    "res4a_bn": "stage4.1.bn1",
    "res4b_1_bn": "stage4.1.bn2",
    "res4b_bn": "stage5.0.bn1",
    "res5a_1_bn": "stage5.0.bn2",
    "res5a_bn": "stage5.1.bn1",
    "res5b_1_bn": "stage5.1.bn2",
    "res5b_bn": "bn",
}


def _keys(prefix: str, classifier: str) -> dict[str, str]:
    keys = trunk_keys("frames.", prefix)
    for theirs, ours in CONVOLUTIONS.items():
        keys |= {f"{prefix}{theirs}.{leaf}": f"{ours}.{leaf}" for leaf in ("weight", "bias")}
    for theirs, ours in NORMS.items():
        keys |= {f"{prefix}{theirs}.{leaf}": f"{ours}.{leaf}" for leaf in NORM_LEAVES}
    return keys | {f"{classifier}.{leaf}": f"head.{leaf}" for leaf in ("weight", "bias")}


ECO = (
    Layout("eco_pytorch", MODELS, "conv1_7x7_s2.weight", by_table(_keys("", "fc_final"))),
    Layout("eco_tsn", MODELS, "base_model.conv1_7x7_s2.weight", by_table(_keys("base_model.", "new_fc"))),
)
