"""ARTNet and C3D-ResNet-18 on Kinetics-400, from random weights.

Wang et al., Appearance-and-Relation Networks for Video Classification (arXiv:1711.09125), and the solver
files of the authors' repository (wanglimin/ARTNet).
"""

from __future__ import annotations

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source

EXPECTED = {
    "c3d_r18": "65.6 % top-1, 85.7 % top-5",
    "artnet_s_r18": "67.7 % top-1, 87.1 % top-5",
    "artnet_r18": "69.2 % top-1, 88.3 % top-5",
}


def kinetics(model: str, clips_per_gpu: int) -> Recipe:
    """250,000 steps on eight GPUs, the rate divided by ten at 70,000, 140,000, 180,000 and 220,000."""
    return Recipe(
        name=f"{model}_k400",
        title="Sixteen frames from random weights",
        data=DataConfig(
            num_frames=16,
            crop=112,
            batch_size=8 * clips_per_gpu,
            augment=Augment(short_side=(128, 128)),
        ),
        model=ModelConfig(name=model, dropout=0.2),
        optim=OptimConfig(
            lr=0.1,
            weight_decay=5e-4,
            unit="steps",
            length=250_000,
            schedule="step",
            milestones=(70_000.0, 140_000.0, 180_000.0, 220_000.0),
        ),
        source=Source(
            "ARTNet (arXiv:1711.09125)",
            "112_artnet_resnet_18_train_solver.prototxt"
            if model.startswith("artnet")
            else "112_c3d_resnet_18_solver.prototxt",
            "Kinetics-400",
            f"{EXPECTED[model]}, 25x10, Kinetics-400 val",
            "Weights start from He's normal rule instead of Caffe's \"xavier\". ARTNet(s) has no solver "
            "file; it is trained like ARTNet(d)."
            if model == "artnet_s_r18"
            else "Weights start from He's normal rule instead of Caffe's \"xavier\".",
        ),
    )
