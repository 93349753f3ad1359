"""Networks for sound as they were trained: mmaction2's ResNet-18 on Kinetics-400, from random weights.

The idea is from Xiao et al., Audiovisual SlowFast Networks for Video Recognition (arXiv:2001.08740); the
numbers are those of open-mmlab/mmaction2, tsn_r18_64x1x1_100e_kinetics400_audio_feature.py.
"""

from __future__ import annotations

from vadis.config import Augment, DataConfig, ModelConfig, OptimConfig, Recipe, Source


def mmaction2() -> Recipe:
    """100 epochs on eight GPUs with 320 pictures each; half a period of a cosine from a rate of 0.1."""
    return Recipe(
        name="sound_resnet18_k400",
        title="ResNet-18 on pictures of sound, as mmaction2 trained it",
        data=DataConfig(batch_size=2560, augment=Augment(crop="centre", flip=0.0)),
        model=ModelConfig(name="sound_resnet18", dropout=0.5),
        optim=OptimConfig(lr=0.1, weight_decay=1e-4, length=100, schedule="cosine", clip_norm=40.0),
        source=Source(
            "mmaction2, after Audiovisual SlowFast (arXiv:2001.08740)",
            "tsn_r18_64x1x1_100e_kinetics400_audio_feature.py",
            "Kinetics-400",
            "19.7 % top-1, 35.75 % top-5, 1x1, Kinetics-400 val",
            "Their pictures are cut, at the time of 64 frames, from one of the whole sound, of one loudness; "
            "ours are made of two seconds each, and those are brought to one loudness.",
        ),
    )
