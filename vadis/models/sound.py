"""Networks that listen: the picture of a sound read by a network for images.

The loudness of each band of pitch over time is a picture (`vadis.video.spectrogram`), a row a step in time,
so that a network for images can read it. What it hears tells some actions apart that look alike (playing the
trumpet, laughing, chopping wood) and says nothing of most others: alone it names one action in five, beside
frames and flow it adds about two points.

    network          picture (steps x mel bands)        read by                    parameters   multiply-adds
    sound_xception   1,000 x 128 (10 s), as 299 x 299   Xception                   21.6 M       8.34 G
    sound_resnet18   128 x 80 (2.05 s)                  ResNet-18                  11.4 M       0.37 G
    sound_vggish     96 x 64 (0.96 s)                   VGG: 6 convolutions, 3     72.2 M       0.86 G
                                                        fully connected; 128 numbers

Each of the T pictures of a clip goes through the same network; their answers are averaged, so that the order
of the pictures counts for nothing (within a picture, time is its height).

Papers: Qiu et al., the ActivityNet challenge of 2019 (arXiv:1906.07016), whose third stream is an Xception
on sound. Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (ICASSP 2017,
arXiv:1609.09430), whose VGG is published as VGGish (research/audioset of tensorflow/models). Xiao et al.,
"Audiovisual SlowFast Networks" (arXiv:2001.08740), whose idea of a residual network on log-mel pictures
mmaction2 trained by itself.

VGGish, for 96 x 64 (3x3 convolutions with padding and bias, ReLU after each, 2x2 pools by the maximum):

    ours                channels      size
    convs.0, pool       64            48 x 32
    convs.1, pool       128           24 x 16
    convs.2-3, pool     256, 256      12 x 8
    convs.4-5, pool     512, 512      6 x 4
    fc1, fc2            4096, 4096
    embedding           128           before ReLU; AudioSet's features
    head                classes

Where we differ, and why:
- The challenge report says "Xception" and nothing of its picture. Ours: the whole clip of 10 s at 16 kHz,
  windows of 25 ms every 10 ms, 128 bands from 125 to 7500 Hz, one channel; averaged along time and enlarged
  along pitch to 299 x 299, for which Xception is made. An image network's first filters become their mean
  over colours, so a start from ImageNet sees the picture as it would three equal colours, at a third of the
  contrast (batch norm takes that up in training).
- `sound_resnet18` is mmaction2's, because its weights and their accuracy are public; the audio pathway of
  Audiovisual SlowFast lives inside that network. Its pictures are `vadis.specs.MMACTION2_SOUND`.
- VGGish ends at its 128 numbers. Here a classifier stands on them, after ReLU; imported weights get the
  identity there, so that the answer is the 128 numbers, rectified as the PyTorch port gives them.
- fc1 of VGGish takes rows, columns, channels in TensorFlow's order, as the published weights have them.

Shapes: B batch, C channels (1), T pictures, H steps in time, W mel bands, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Trunk, by_frame, check_clip, fresh_classifier
from vadis.models.trunks import make_trunk
from vadis.sounds import CHALLENGE_SOUND
from vadis.specs import MMACTION2_SOUND, VGGISH_SOUND, ClipSpec, SoundSpec

CHALLENGE = "Kinetics-700 val (ActivityNet challenge 2019)"

PAPERS = (
    Paper(
        "Trimmed Action Recognition, Dense-Captioning Events in Videos, and Spatio-temporal Action "
        "Localization with Focus on ActivityNet Challenge 2019",
        "Z. Qiu et al.",
        "ActivityNet Challenge 2019",
        "1906.07016",
        "A picture of the sound, loudness by pitch over time, is read by a network for images. It adds what "
        "frames and flow cannot show.",
        (
            Result("sound_xception", CHALLENGE, 21.9, 36.8, note="AP; slides"),
            Result("sound_xception", CHALLENGE, 21.7, 36.9, note="TCP; slides"),
        ),
    ),
    Paper(
        "Audiovisual SlowFast Networks for Video Recognition",
        "Xiao et al.",
        "arXiv 2020",
        "2001.08740",
        "Sound runs beside the pathways of SlowFast as a third, faster one: a residual network on log-mel "
        "pictures. mmaction2 trained such a network by itself.",
        (
            Result(
                "sound_resnet18", "Kinetics-400 val", 19.7, 35.75, "1x1", "mmaction2 zoo, from random weights"
            ),
            Result("sound_resnet18", "Kinetics-400 val", 13.7, 27.3, "1x1", "mmaction2 zoo, later table"),
        ),
    ),
    Paper(
        "CNN Architectures for Large-Scale Audio Classification",
        "Hershey et al.",
        "ICASSP 2017",
        "1609.09430",
        "Networks for images, trained on the sound of 70 million videos, name what is heard. The smallest is "
        "published as VGGish: 128 numbers for each 0.96 seconds.",
    ),
)

XCEPTION_PIXELS = 299
TINY_STEPS, TINY_MELS, TINY_PIXELS = 48, 32, 64


def sound_spec(sound: SoundSpec, num_pictures: int, tiny: bool) -> ClipSpec:
    """What a network takes of a sound: T = `num_pictures` pictures from all over the clip, one channel.

    tiny: pictures of 48 x 32, made so that no band is empty.
    """
    if tiny:
        sound = SoundSpec(num_steps=TINY_STEPS, num_mels=TINY_MELS)
    return ClipSpec(
        modality="audio",
        num_frames=num_pictures,
        mean=(0.0,),
        std=(1.0,),
        sampling="segments",
        sound=sound,
    )


class Resize(nn.Module):
    """To a square: averaged along the axis that is too long, drawn out along the one that is too short.

    Drawing out is bilinear. So no step in time is passed over, as it would be by picking points.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size. Returns x_BCHW of `pixels` x `pixels`."""
        height, width = x_BCHW.shape[-2:]
        x = F.adaptive_avg_pool2d(x_BCHW, (min(height, self.pixels), min(width, self.pixels)))
        if x.shape[-2:] == (self.pixels, self.pixels):
            return x
        return F.interpolate(x, size=(self.pixels, self.pixels), mode="bilinear", align_corners=False)


class SoundNet(VideoModel):
    """A network for images on each picture of a sound, and the mean of its features scored."""

    def __init__(
        self, trunk: Trunk, spec: ClipSpec, num_classes: int, *, dropout: float, pixels: int | None = None
    ) -> None:
        """dropout: probability of a feature to be left out while training. pixels: side to resize to."""
        super().__init__()
        self.trunk, self.spec = trunk, spec
        self.resize = Resize(pixels) if pixels else nn.Identity()
        self.min_pixels = 1 if pixels else trunk.min_pixels
        self.input_weights = (f"trunk.{trunk.first}",)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.num_features, num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of sounds.

        clip_BCTHW: pictures as `self.spec` says, C = 1, of any size from the trunk's `min_pixels` on. Returns
        logits_BK: the mean of those of each picture.
        """
        return self.head(self.dropout(self.forward_features(clip_BCTHW).mean(dim=(2, 3, 4))))

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score each picture by itself. clip_BCTHW: as for `forward`. Returns logits_BTK."""
        feature_BTD = self.forward_features(clip_BCTHW).mean(dim=(3, 4)).transpose(1, 2)
        return self.head(self.dropout(feature_BTD))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map of each picture.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: H W about steps and bands (or `pixels`) / 32.
        """
        check_clip(self, clip_BCTHW, min_pixels=self.min_pixels)
        return by_frame(self.trunk, by_frame(self.resize, clip_BCTHW))

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


class Convolutions(nn.Module):
    """VGGish's six convolutions; `POOLED` are those with a pool behind them."""

    WIDTHS = (64, 128, 256, 256, 512, 512)
    POOLED = (0, 1, 3, 5)

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        channels = 1
        for width in self.WIDTHS:
            self.convs.append(nn.Conv2d(channels, width // divisor, 3, padding=1))
            channels = width // divisor
        self.num_features = channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """x_BCHW: any size from 16 x 16 on. Returns x_BDHW, H W divided by 16, rounded down."""
        x = x_BCHW
        for index, conv in enumerate(self.convs):
            x = conv(x).relu()
            if index in self.POOLED:
                x = F.max_pool2d(x, 2)
        return x


class Vggish(VideoModel):
    """The VGG-like network of AudioSet, its 128 numbers, and a classifier on them."""

    input_weights = ("trunk.convs.0.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        tiny: bool = False,
        num_pictures: int = 10,
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        """embedding: how many numbers describe a picture. dropout: probability of one to be left out."""
        super().__init__()
        if embedding < 1:
            raise ValueError(f"a picture is described by at least one number, got embedding={embedding}")
        self.spec = sound_spec(VGGISH_SOUND, num_pictures, tiny)
        divisor, hidden = (16, 64) if tiny else (1, 4096)
        self.trunk = Convolutions(divisor)
        self.positions = (self.spec.height // 16, self.spec.width // 16)
        self.fc1 = nn.Linear(self.trunk.num_features * self.positions[0] * self.positions[1], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.embedding = nn.Linear(hidden, embedding)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embedding, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of sounds. clip_BCTHW: pictures of `self.spec`, C = 1. Returns logits_BK."""
        return self.forward_dense(clip_BCTHW).mean(dim=1)

    def forward_dense(self, clip_BCTHW: Tensor) -> Tensor:
        """Score each picture by itself. clip_BCTHW: as for `forward`. Returns logits_BTK."""
        return self.head(self.dropout(self.forward_embedding(clip_BCTHW).relu()))

    def forward_embedding(self, clip_BCTHW: Tensor) -> Tensor:
        """AudioSet's feature of each picture, before ReLU. clip_BCTHW: as for `forward`. Returns feature_BTD.

        D = 128. What AudioSet published is this after a PCA, in 256 steps.
        """
        feature_BTHWD = self.forward_features(clip_BCTHW).permute(0, 2, 3, 4, 1)
        hidden_BTD = self.fc1(feature_BTHWD.flatten(2)).relu()
        return self.embedding(self.fc2(hidden_BTD).relu())

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last map of each picture. clip_BCTHW: as for `forward`. Returns feature_BDTHW, H W = 6 x 4."""
        check_clip(self, clip_BCTHW)
        height, width = clip_BCTHW.shape[3:]
        if (height // 16, width // 16) != self.positions:
            raise ValueError(
                f"fc1 of VGGish is tied to {self.positions[0]} x {self.positions[1]} positions, so it takes "
                f"pictures of {self.spec.height} steps x {self.spec.width} bands, got {height} x {width}: "
                "cut the sound into pictures of that size"
            )
        return by_frame(self.trunk, clip_BCTHW)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None


def sound_xception(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    num_pictures: int = 1,
    pixels: int | None = None,
    dropout: float = 0.5,
) -> SoundNet:
    """The challenge's stream of sound: Xception on ten seconds.

    num_pictures: T, of as many parts of the clip. pixels: side that pictures are brought to (299).
    dropout: probability of a feature to be left out while training.
    """
    return SoundNet(
        make_trunk("xception", 1, tiny),
        sound_spec(CHALLENGE_SOUND, num_pictures, tiny),
        num_classes,
        dropout=dropout,
        pixels=pixels or (TINY_PIXELS if tiny else XCEPTION_PIXELS),
    )


def sound_resnet18(
    num_classes: int = 400, tiny: bool = False, *, num_pictures: int = 1, dropout: float = 0.5
) -> SoundNet:
    """mmaction2's network for sound: ResNet-18 on two seconds.

    num_pictures: T, of as many parts of the clip. dropout: probability of a feature to be left out while
    training.
    """
    trunk = make_trunk("resnet18", 1, tiny)
    return SoundNet(trunk, sound_spec(MMACTION2_SOUND, num_pictures, tiny), num_classes, dropout=dropout)


def sound_vggish(
    num_classes: int = 400,
    tiny: bool = False,
    *,
    num_pictures: int = 10,
    embedding: int = 128,
    dropout: float = 0.0,
) -> Vggish:
    """VGGish with a classifier: each 0.96 seconds becomes 128 numbers.

    num_pictures: T, of as many parts of the clip (10 fill ten seconds). embedding: how many numbers describe
    a picture. dropout: probability of one of them to be left out while training.
    """
    return Vggish(num_classes, tiny=tiny, num_pictures=num_pictures, embedding=embedding, dropout=dropout)


def make_sound(name: str, num_classes: int, tiny: bool = False) -> VideoModel:
    """A network of this file by its name, as a stream of a network that takes more. Raises ValueError."""
    made: dict[str, Callable[..., VideoModel]] = {
        "sound_xception": sound_xception,
        "sound_resnet18": sound_resnet18,
        "sound_vggish": sound_vggish,
    }
    if name not in made:
        raise ValueError(f"audio is one of {', '.join(made)}, not {name!r}")
    return made[name](num_classes, tiny)
