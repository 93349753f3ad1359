"""3D ResNets and ResNeXt-101 on Kinetics-400 from random weights, and fine-tuning of the upper layers.

Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet? (arXiv:1711.09577),
section 3.2, and the authors' repository (kenshohara/3D-ResNets-PyTorch).
"""

from __future__ import annotations

from dataclasses import replace

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

PAPER = "3D ResNets (arXiv:1711.09577)"
K400 = "Kinetics-400"
SCALES = tuple(2 ** (-step / 4) for step in range(5))
"""The five scales of the crop: 1, 2 ** -1/4, 2 ** -1/2, 2 ** -3/4, 1/2."""

EXPECTED = {
    "resnet3d_18": "54.2 % top-1",
    "resnet3d_34": "60.1 % top-1",
    "resnet3d_50": "61.3 % top-1",
    "resnet3d_101": "62.8 % top-1",
    "resnet3d_152": "63.0 % top-1",
    "resnet3d_200": "63.1 % top-1",
    "resnext3d_101": "65.1 % top-1, 85.7 % top-5",
}


def kinetics(model: str) -> Recipe:
    """Batches of 256 clips of 16 frames, the rate divided by ten where validation stops improving."""
    options = {"pixels": "2018"}
    if model in ("resnet3d_18", "resnet3d_34"):
        options["shortcut"] = "A"
    return Recipe(
        name=f"{model}_k400",
        title="Sixteen frames from random weights",
        data=DataConfig(
            num_frames=16,
            crop=112,
            batch_size=256,
            augment=Augment(crop="multi_scale", short_side=(240, 240), scales=SCALES),
        ),
        model=ModelConfig(name=model, options=options),
        optim=OptimConfig(lr=0.1, weight_decay=1e-3, length=200, schedule="plateau", gamma=0.1, patience=10),
        source=Source(
            PAPER,
            "section 3.2",
            K400,
            f"{EXPECTED[model]}, {K400} val" if model in EXPECTED else "",
            "The plateau is of the validation's top-1, not of its loss. Patience and the bound of 200 "
            "epochs are the defaults of the authors' code. Crops are TSN's, from more places than theirs "
            "(four corners and the centre) and with one step between the scales of width and height.",
        ),
    )


def kinetics_long() -> Recipe:
    """ResNeXt-101 on clips of 64 frames, which the best fine-tuned networks start from."""
    base = kinetics("resnext3d_101")
    return replace(
        base,
        name="resnext3d_101_64f_k400",
        title="64 frames from random weights",
        data=replace(base.data, num_frames=64),
        source=replace(base.source, place="section 4.4", expected=""),
    )


def fine_tuning(dataset: str, expected: str) -> Recipe:
    """The last stage and the classifier of the 64-frame ResNeXt-101 on UCF-101 or HMDB-51."""
    base = kinetics_long()
    return replace(
        base,
        name=f"resnext3d_101_64f_{dataset.lower().replace('-', '')}",
        title="Last stage and classifier, from Kinetics-400",
        model=replace(base.model, init="resnext3d_101_64f_k400.safetensors", learn=("stages.3",)),
        optim=replace(base.optim, lr=0.001, weight_decay=1e-5),
        source=Source(
            PAPER,
            "section 3.2, table 5",
            dataset,
            f"{expected} % top-1, {dataset}, mean of three splits",
            base.source.differs,
        ),
    )
