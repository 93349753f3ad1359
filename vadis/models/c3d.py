"""C3D: the VGG of video, small 3x3x3 kernels all the way.

Stack many small convolutions, as VGG does with images, but let each look at three frames as well: of all
kernel lengths the paper tries, three everywhere is best. Trained on a million sports videos, the network
is a fixed feature: run it over 16 frames, take the first fully connected layer (fc6), and a linear
classifier on the average over a video beats what was designed by hand.

Paper: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks" (ICCV 2015,
arXiv:1412.0767), figure 3. 16 frames of 112 x 112 pixels; each convolution is 3x3x3, stride 1, padding 1,
with a bias and ReLU:

    ours      kernel, stride          channels    T x H x W
    conv1a    3x3x3                   64          16 x 112 x 112
    pool1     1x2x2 (time is kept)                16 x 56 x 56
    conv2a    3x3x3                   128
    pool2     2x2x2                               8 x 28 x 28
    conv3a,b  3x3x3                   256, 256
    pool3     2x2x2                               4 x 14 x 14
    conv4a,b  3x3x3                   512, 512
    pool4     2x2x2                               2 x 7 x 7
    conv5a,b  3x3x3                   512, 512
    pool5     2x2x2                               1 x 4 x 4
    fc6, fc7  linear, ReLU, dropout   4096, 4096
    head      linear                  classes (487 Sports-1M, 101 UCF-101, 400 Kinetics)

`c3d_bn` is the "3D-ConvNet" that the I3D paper compares with (Carreira and Zisserman, CVPR 2017, section
2.2): batch norm after every convolution and fully connected layer, and a pool1 that halves time too.

Where we differ, and why; what number belongs to what:
- pool5 halves 7 to 4 as Caffe does: a last window reaches over the edge (`pool5="ceil"`). PyTorch ports
  (mmaction2's, and the `pool5="padded"` here) put a border before the first row instead, so that every
  window lies one pixel off. The published Sports-1M weights (61.1 % of videos) were trained with the
  first, mmaction2's UCF-101 fine-tuning (82.9 %) with the second.
- The authors subtract a mean clip of 16 x 128 x 171 pixels; here its stand-in is one value for each
  channel, mmaction2's. The order of channels is BGR, of pixels 0 to 255.
- Frames were squeezed to 128 x 171 whatever their shape; here the short side becomes 128.
- The I3D paper says of its pool1 only that the stride in time is 2; the kernel is taken to be 2x2x2 then,
  so that no frame is thrown away. Epsilon and momentum of batch norm are those of our I3D.
- fc6 sees 1 x 4 x 4 positions, so clips of any size that leaves so many go in: up to 16 frames (32 for
  `c3d_bn`) of 97 to 128 pixels. For others give `num_frames` and `crop`.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import Size3, check_clip, fresh_classifier, make_spec

LAYERS: dict[str, int | None] = {
    "conv1a": 64,
    "pool1": None,
    "conv2a": 128,
    "pool2": None,
    "conv3a": 256,
    "conv3b": 256,
    "pool3": None,
    "conv4a": 512,
    "conv4b": 512,
    "pool4": None,
    "conv5a": 512,
    "conv5b": 512,
    "pool5": None,
}
"""The trunk in order: the channels of a convolution, None for a pooling."""

HIDDEN = 4096
TINY_DIVISOR = 16
TINY_HIDDEN = 64
BN_EPSILON, BN_MOMENTUM = 1e-3, 0.01
MEAN_BGR = (104.0, 117.0, 128.0)

Pool5 = Literal["ceil", "padded"]

PAPERS = (
    Paper(
        "Learning Spatiotemporal Features with 3D Convolutional Networks",
        "Tran et al.",
        "ICCV 2015",
        "1412.0767",
        "Stack many small 3 x 3 x 3 convolutions, as VGG does with images. Trained on a million sports "
        "videos, the first fully connected layer is a general feature of 16 frames: with a linear "
        "classifier it beats what was designed by hand.",
        (
            Result("c3d", "Sports-1M test", 60.0, 84.4, "10x1", "from scratch; clips 44.9"),
            Result("c3d", "Sports-1M test", 61.1, 85.2, "10x1", "from I380K; clips 46.1"),
            Result("c3d", "UCF-101", 82.3, note="linear SVM on fc6, one network"),
            Result("c3d", "UCF-101", 85.2, note="linear SVM on fc6, three networks"),
            Result("c3d", "UCF-101", 90.4, note="linear SVM on fc6, three networks and iDT"),
            Result(
                "c3d",
                "UCF-101 split 1",
                82.92,
                96.11,
                "10x1",
                'mmaction2 zoo, from Sports-1M, pool5="padded"',
            ),
        ),
    ),
    Paper(
        "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
        "Carreira and Zisserman",
        "CVPR 2017",
        "1705.07750",
        "Its 3D-ConvNet, the yardstick that I3D beats, is C3D with batch norm after every layer and half "
        "the frames from the first pooling on.",
        (
            Result("c3d_bn", "Kinetics-400 test", 56.1, note="the paper's 3D-ConvNet, 240 frames"),
            Result("c3d_bn", "miniKinetics test", 60.0, note="the paper's 3D-ConvNet, 240 frames"),
        ),
    ),
)


class ConvUnit(nn.Module):
    """A 3x3x3 convolution, batch norm if wanted (the bias is its then), ReLU."""

    def __init__(self, in_channels: int, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, channels, 3, padding=1, bias=not batch_norm)
        self.bn = nn.BatchNorm3d(channels, BN_EPSILON, BN_MOMENTUM) if batch_norm else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """x_BCTHW: any size. Returns x_BDTHW of the same T, H, W, not negative."""
        x = self.conv(x_BCTHW)
        return self.relu(x if self.bn is None else self.bn(x))


class C3d(VideoModel):
    """Eight convolutions, five poolings, two hidden layers; RGB (3 channels, as BGR) or flow (2)."""

    input_weights = ("conv1a.conv.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        num_frames: int = 16,
        crop: int = 112,
        dropout: float = 0.5,
        pool5: Pool5 = "ceil",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if pool5 not in ("ceil", "padded"):
            raise ValueError(f'pool5 must be "ceil" or "padded", got {pool5!r}')
        divisor, hidden = (TINY_DIVISOR, TINY_HIDDEN) if tiny else (1, HIDDEN)
        size = crop * 128 // 112  # what the authors crop 112 from
        if batch_norm:
            self.spec = make_spec(
                in_channels, num_frames, fps=25.0, size=size, crop=crop, value_range=(-1.0, 1.0)
            )
        else:
            self.spec = make_spec(
                in_channels,
                num_frames,
                size=size,
                crop=crop,
                mean=MEAN_BGR,
                value_range=(0.0, 255.0),
                channel_order="bgr",
            )
        self.pool5, self.batch_norm = pool5, batch_norm
        channels = in_channels
        for name, width in LAYERS.items():
            if width is not None:
                self.add_module(name, ConvUnit(channels, width // divisor, batch_norm))
                channels = width // divisor
        self.positions = self._positions((num_frames, crop, crop))
        time, height, width = self.positions
        self.min_frames = next(
            frames for frames in range(1, num_frames + 1) if self._positions((frames, crop, crop))[0] == time
        )
        self.fc6 = nn.Linear(channels * time * height * width, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.bn6 = nn.BatchNorm1d(hidden, BN_EPSILON, BN_MOMENTUM) if batch_norm else None
        self.bn7 = nn.BatchNorm1d(hidden, BN_EPSILON, BN_MOMENTUM) if batch_norm else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self._initialise(as_published=not (batch_norm or tiny))
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`, of a size that leaves as many positions as fc6 takes.
        Returns logits_BK. Paper: section 3.3 and figure 3.
        """
        hidden_BD = self.dropout(self.forward_fc6(clip_BCTHW))
        hidden_BD = self.fc7(hidden_BD)
        hidden_BD = F.relu(hidden_BD if self.bn7 is None else self.bn7(hidden_BD))
        return self.head(self.dropout(hidden_BD))

    def forward_fc6(self, clip_BCTHW: Tensor) -> Tensor:
        """The C3D feature: what fc6 gives, after ReLU.

        clip_BCTHW: as for `forward`. Returns feature_BD, D = 4096. The paper averages it over the clips of a
        video (16 frames, 8 of them shared with the next) and divides it by its L2 norm.
        """
        pooled = self._pool("pool5", self.forward_features(clip_BCTHW))
        hidden_BD = self.fc6(pooled.flatten(1))
        return F.relu(hidden_BD if self.bn6 is None else self.bn6(hidden_BD))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map of conv5b, before pool5.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512, T = frames / 8 (/ 16 for `c3d_bn`), H W
        = pixels / 16, rounded up.
        """
        check_clip(self, clip_BCTHW)
        frames, height, width = clip_BCTHW.shape[2:]
        if self._positions((frames, height, width)) != self.positions:
            spec = self.spec
            raise ValueError(
                f"fc6 of C3D is tied to {' x '.join(map(str, self.positions))} positions, so it takes clips "
                f"of {spec.num_frames} frames of {spec.crop} x {spec.crop} pixels or little else, got "
                f"{frames} frames of {height} x {width}: resize, or build it with num_frames and crop"
            )
        x = clip_BCTHW
        for name, channels in LAYERS.items():
            if name == "pool5":
                break
            x = self._pool(name, x) if channels is None else self.get_submodule(name)(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None

    def _pool(self, name: str, x_BCTHW: Tensor) -> Tensor:
        """One of the five poolings; what is outside the map never wins."""
        time = 1 if name == "pool1" and not self.batch_norm else 2
        padding = (0, 1, 1) if name == "pool5" and self.pool5 == "padded" else (0, 0, 0)
        window = (time, 2, 2)
        return F.max_pool3d(x_BCTHW, window, window, padding, ceil_mode=self.pool5 == "ceil")

    def _positions(self, size: Size3) -> Size3:
        """How many positions `size` (frames, height, width) leaves after pool5."""
        time, height, width = size
        for name in ("pool1", "pool2", "pool3", "pool4", "pool5"):
            border = int(name == "pool5" and self.pool5 == "padded")
            up = int(self.pool5 == "ceil")
            height, width = (height + up) // 2 + border, (width + up) // 2 + border
            if name != "pool1" or self.batch_norm:
                time = (time + up) // 2
        return time, height, width

    def _initialise(self, as_published: bool) -> None:
        """The authors' Gaussians, and ones for all biases but the first convolution's and the head's.

        They are made for pixels of 0 to 255 and thousands of inputs a unit; the others start from He's rule.
        """
        for module in self.modules():
            if not isinstance(module, (nn.Conv3d, nn.Linear)):
                continue
            if as_published:
                nn.init.normal_(module.weight, std=0.01 if isinstance(module, nn.Conv3d) else 0.005)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.constant_(module.bias, float(as_published))
        if as_published:
            nn.init.zeros_(self.get_parameter("conv1a.conv.bias"))


TINY_CROP = 64


def c3d(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int = 16,
    crop: int | None = None,
    dropout: float = 0.5,
    pool5: Pool5 = "ceil",
) -> C3d:
    """C3D: 78.4 M parameters with 101 classes, 38.5 G multiply-adds for 16 frames of 112 x 112.

    `tiny`: a sixteenth of the width, for tests; made for crops of 64 pixels, started from He's rule.
    `num_frames` and `crop` (pixels of a side, 112): the clips that fc6 is made for. `dropout`: probability
    of a hidden feature to be left out while training. `pool5`: "ceil" as Caffe and the authors, "padded" as
    mmaction2.
    """
    return C3d(
        num_classes,
        in_channels=in_channels,
        tiny=tiny,
        num_frames=num_frames,
        crop=crop or (TINY_CROP if tiny else 112),
        dropout=dropout,
        pool5=pool5,
    )


def c3d_bn(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int = 16,
    crop: int | None = None,
    dropout: float = 0.5,
) -> C3d:
    """The 3D-ConvNet of the I3D paper: C3D with batch norm; 79.6 M parameters with 400 classes.

    Options as for `c3d`; `dropout` is a probability.
    """
    return C3d(
        num_classes,
        in_channels=in_channels,
        tiny=tiny,
        num_frames=num_frames,
        crop=crop or (TINY_CROP if tiny else 112),
        dropout=dropout,
        batch_norm=True,
    )
