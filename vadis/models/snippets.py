"""Beyond short snippets: minutes of video, a frame a second, through one image network.

Run an image network on many frames and ask how they should meet. Pooling forgets their order and takes the
strongest answer of any frame to each question; where it is done (before, between or after the fully
connected layers) is what five networks here differ in. The sixth reads the frames in order with a recurrent
network, and is told to be the surer, the more it has seen. Pooling the convolutions' maps and the LSTM come
out equal, and both better than any network of ten frames.

Paper: Ng et al., "Beyond Short Snippets: Deep Networks for Video Classification" (CVPR 2015,
arXiv:1503.08909), sections 3.1 and 3.2, figures 2 to 4. C is the trunk's last map of each of T frames, fc6
and fc7 the fully connected layers, windows are 10 frames at stride 5:

    ours                       between the maps and the classifier                               in order?
    snippets_conv_pooling      C, max over time, fc6, fc7                                        no
    snippets_late_pooling      C, fc6, fc7, max over time                                        no
    snippets_slow_pooling      C, max over each window, fc6, max over windows, fc7               windows only
    snippets_local_pooling     C, max over each window, fc6, fc7, windows side by side           windows
    snippets_time_conv         C, 256 kernels of 3 x 3 x 10 frames at stride 5, max, fc6, fc7    in a kernel
    snippets_lstm              C, fc6, fc7, five layers of 512 LSTM cells, classifier each step  yes

The trunk is GoogLeNet (`trunk="inception"`, which starts from ImageNet) or an AlexNet ("alexnet", in which
the paper compares the poolings); any other of `vadis.models.trunks.TRUNKS` will do. Of the trunks only
AlexNet has an fc6 and fc7, of 4096; in the others fc6 is the mean over space and fc7 nothing, as their image
networks have it. A network of several frames grows from one of fewer: the weights fit whatever T is, but for
local pooling, whose classifier sees all windows side by side.

The LSTM answers at each step (`forward_steps`). Its answers become one by `combine`: "last", "max", "sum" or
"weighted" by how late they come, the paper's choice (`vadis.models.recurrent`).

Where we differ, and why:
- The LSTM is PyTorch's, which has no peepholes (the paper's cells seem to have them).
- What is combined is logits, not probabilities, so that a network with several labels a clip works too.
- Flow is u and v in [-1, 1] at 20 pixels (the paper: 40), in two channels without an empty third: the first
  layer's filters are averaged for it.
- Dropout (0.5), padding of the time-domain convolution in space (1, its ReLU is ours) and how new layers
  start are not printed.
- Only whole windows count: of 120 frames there are 23.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space), D features,
K classes, N frames or windows of all clips.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.alexnet import AlexNetTrunk
from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import by_frame, check_clip, fresh_classifier, make_spec
from vadis.models.recurrent import Combine, StepByStep, check_combine
from vadis.models.trunks import make_trunk

WINDOW, STRIDE = 10, 5
"""Frames of a window, and from one window to the next."""

CROP, RGB_FPS, FLOW_FPS = 220, 1.0, 15.0
FC = 4096
KERNELS = 256
CELLS, LAYERS = 512, 5
TINY_CROP, TINY_FRAMES, TINY_WIDTH, TINY_LAYERS = 64, 15, 32, 2

PAPERS = (
    Paper(
        "Beyond Short Snippets: Deep Networks for Video Classification",
        "Ng et al.",
        "CVPR 2015",
        "1503.08909",
        "Run an image network on up to two minutes, a frame a second, and let the frames meet by pooling or "
        "in a recurrent network of five layers. Taking the strongest response of any frame to each feature "
        "of the last convolution does as well as reading the frames in order.",
        (
            Result(
                "snippets_conv_pooling",
                "Sports-1M test",
                72.4,
                90.8,
                note="with one on flow; 120 frames, clips 70.8",
            ),
            Result("snippets_lstm", "Sports-1M test", 73.1, 90.5, note="with one on flow; 30 frames"),
            Result("snippets_conv_pooling", "UCF-101", 88.2, note="with one on flow; 120 frames"),
            Result("snippets_conv_pooling", "UCF-101", 87.6, note="with one on flow; 30 frames"),
            Result("snippets_conv_pooling", "UCF-101", 73.3, note="single frame"),
            Result("snippets_lstm", "UCF-101", 88.6, note="with one on flow; 30 frames"),
            *(
                Result(
                    f"snippets_{name}",
                    "Sports-1M test",
                    top1,
                    top5,
                    note="AlexNet, 120 frames; from notes, not read in the paper itself",
                )
                for name, top1, top5 in (
                    ("conv_pooling", 71.1, 89.3),
                    ("late_pooling", 67.5, 87.2),
                    ("slow_pooling", 69.7, 88.4),
                    ("local_pooling", 70.4, 88.9),
                    ("time_conv", 67.2, 87.2),
                )
            ),
        ),
    ),
)


class ConvPooling(VideoModel):
    """Maps of all frames, their maximum over time, then the layers of the image network.

    The other networks of the paper are this one with frames meeting elsewhere: `_describe` gives what the
    classifier sees.
    """

    usual_frames = 120
    shortest = 1
    more_options: frozenset[str] = frozenset()

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        tiny: bool = False,
        trunk: str = "inception",
        num_frames: int | None = None,
        crop: int | None = None,
        dropout: float = 0.5,
        **rest: Any,
    ) -> None:
        super().__init__()
        unknown = set(rest) - self.more_options
        if unknown:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}")
        if min(each for each in (num_frames, crop, rest.get("num_layers"), 1) if each is not None) < 1:
            raise ValueError(
                f"num_frames, crop and num_layers are at least 1, got {num_frames}, {crop} and "
                f"{rest.get('num_layers')}"
            )
        crop = crop or (TINY_CROP if tiny else CROP)
        self.trunk = make_trunk(trunk, in_channels, tiny)
        self.input_weights = (f"trunk.{self.trunk.first}",)
        self.spec = make_spec(
            in_channels,
            num_frames or (TINY_FRAMES if tiny else self.usual_frames),
            fps=RGB_FPS if in_channels == 3 else FLOW_FPS,
            size=crop * 256 // CROP,
            crop=crop,
            **self.trunk.pixels,
        )
        self.min_frames = self.shortest
        self._check_frames(self.spec.num_frames)
        self.dropout = nn.Dropout(dropout)
        self.fc6: nn.Linear | None = None
        self.fc7: nn.Linear | None = None
        channels = self.num_features = self._widen(self.trunk.num_features, tiny)
        self.side = 0  # of the map that fc6 is tied to; 0 where there is none
        if isinstance(self.trunk, AlexNetTrunk):
            self.side = self.trunk.layers.positions((1, crop, crop))[1]
            if self.side < 1:
                raise ValueError(
                    f"of {crop} x {crop} pixels nothing is left after the convolutions: take more"
                )
            hidden = TINY_WIDTH if tiny else FC
            self.fc6 = _linear(channels * self.side**2, hidden)
            self.fc7 = _linear(hidden, hidden)
            channels = hidden
        self.head = nn.Linear(self._gather(channels, tiny, **rest), num_classes)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`. Returns logits_BK. Paper: sections 3.1 and 3.2.
        """
        return self._score(self._describe(self.forward_features(clip_BCTHW)))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The trunk's map of each frame.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW, T as it came.
        """
        check_clip(self, clip_BCTHW, min_pixels=self.trunk.min_pixels)
        self._check_frames(clip_BCTHW.shape[2])
        feature_BDTHW = by_frame(self.trunk, clip_BCTHW)
        if self.side and feature_BDTHW.shape[3:] != (self.side, self.side):
            raise ValueError(
                f"fc6 of this network is tied to {self.side} x {self.side} positions, so it takes frames of "
                f"{self.spec.crop} x {self.spec.crop} pixels or little else, got {clip_BCTHW.shape[3]} x "
                f"{clip_BCTHW.shape[4]}: resize, or build it with another crop"
            )
        return feature_BDTHW

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes, std=self.head.in_features**-0.5)
        self.num_classes = num_classes
        self.class_names = None

    def _describe(self, feature_BDTHW: Tensor) -> Tensor:
        """What the classifier sees of the frames' maps: feature_BD."""
        return self._second(self._first(feature_BDTHW.amax(dim=2)))

    def _widen(self, channels: int, tiny: bool) -> int:
        """Channels of the map that fc6 sees."""
        return channels

    def _gather(self, channels: int, tiny: bool) -> int:
        """Numbers that the classifier sees, where a frame or window has `channels` after fc7."""
        return channels

    def _check_frames(self, frames: int) -> None:
        """Refuse clips that are too short, with a ValueError."""
        if frames < self.min_frames:
            raise ValueError(
                f"{type(self).__name__} takes at least {self.min_frames} frames, got {frames}: repeat frames"
            )

    def _first(self, map_NDHW: Tensor) -> Tensor:
        """fc6, or the mean over space: feature_ND."""
        if self.fc6 is None:
            return map_NDHW.mean(dim=(2, 3))
        return self.dropout(F.relu(self.fc6(map_NDHW.flatten(1))))

    def _second(self, feature_ND: Tensor) -> Tensor:
        """fc7 where there is one: feature_ND."""
        return feature_ND if self.fc7 is None else self.dropout(F.relu(self.fc7(feature_ND)))

    def _score(self, feature_BD: Tensor) -> Tensor:
        """The classifier; where no fc7 has dropout, it stands before this."""
        return self.head(feature_BD if self.fc7 is not None else self.dropout(feature_BD))

    def _each(self, feature_BDTHW: Tensor) -> Tensor:
        """The maps of all positions in time as one batch: map_NDHW."""
        return feature_BDTHW.transpose(1, 2).flatten(0, 1)


class LatePooling(ConvPooling):
    """The layers of the image network on every frame, then the maximum over time."""

    def _describe(self, feature_BDTHW: Tensor) -> Tensor:
        feature_ND = self._second(self._first(self._each(feature_BDTHW)))
        return feature_ND.unflatten(0, (feature_BDTHW.shape[0], -1)).amax(dim=1)


class SlowPooling(ConvPooling):
    """The maximum over each window before fc6, and over all windows after it."""

    shortest = WINDOW

    def _describe(self, feature_BDTHW: Tensor) -> Tensor:
        window_ND = self._first(self._each(pool_windows(feature_BDTHW)))
        return self._second(window_ND.unflatten(0, (feature_BDTHW.shape[0], -1)).amax(dim=1))


class LocalPooling(ConvPooling):
    """The maximum over each window only; the classifier sees all windows side by side, in order."""

    shortest = WINDOW

    def _describe(self, feature_BDTHW: Tensor) -> Tensor:
        window_ND = self._second(self._first(self._each(pool_windows(feature_BDTHW))))
        return window_ND.unflatten(0, (feature_BDTHW.shape[0], -1)).flatten(1)

    def _gather(self, channels: int, tiny: bool) -> int:
        windows = count_windows(self.spec.num_frames)
        self.min_frames = (windows - 1) * STRIDE + WINDOW
        return channels * windows

    def _check_frames(self, frames: int) -> None:
        super()._check_frames(frames)
        windows = count_windows(self.spec.num_frames)
        if count_windows(frames) != windows:
            raise ValueError(
                f"the classifier of LocalPooling takes {windows} windows, of clips of {self.min_frames} to "
                f"{self.min_frames + STRIDE - 1} frames, got {frames} frames: build it with num_frames"
            )


class TimeConvolution(ConvPooling):
    """A convolution over windows of frames, then convolutional pooling."""

    shortest = WINDOW

    def _widen(self, channels: int, tiny: bool) -> int:
        kernels = TINY_WIDTH if tiny else KERNELS
        self.conv = nn.Conv3d(channels, kernels, (WINDOW, 3, 3), (STRIDE, 1, 1), (0, 1, 1))
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.get_parameter("bias"))
        return kernels

    def _describe(self, feature_BDTHW: Tensor) -> Tensor:
        return super()._describe(F.relu(self.conv(feature_BDTHW)))


class Lstm(StepByStep, ConvPooling):
    """The layers of the image network on every frame, then recurrent layers and a classifier at each step."""

    usual_frames = 30
    more_options = frozenset({"num_layers", "combine"})

    def _read(self, clip_BCTHW: Tensor) -> Tensor:
        """What the classifier sees at each step: state_BTD."""
        feature_BDTHW = self.forward_features(clip_BCTHW)
        feature_ND = self._second(self._first(self._each(feature_BDTHW)))
        state_BTD, _ = self.lstm(feature_ND.unflatten(0, (feature_BDTHW.shape[0], -1)))
        return state_BTD if self.fc7 is not None else self.dropout(state_BTD)

    def _gather(
        self, channels: int, tiny: bool, *, num_layers: int | None = None, combine: Combine = "weighted"
    ) -> int:
        self.combine = check_combine(combine)
        self.head_last = combine != "max"
        cells = TINY_WIDTH if tiny else CELLS
        layers = num_layers or (TINY_LAYERS if tiny else LAYERS)
        self.lstm = nn.LSTM(channels, cells, layers, batch_first=True)
        return cells


def pool_windows(feature_BDTHW: Tensor) -> Tensor:
    """The maximum over windows of 10 frames at stride 5. Returns feature_BDTHW, a T for each window."""
    return F.max_pool3d(feature_BDTHW, (WINDOW, 1, 1), (STRIDE, 1, 1))


def count_windows(frames: int) -> int:
    """Whole windows in a clip of so many frames."""
    return (frames - WINDOW) // STRIDE + 1


def _linear(inside: int, outside: int) -> nn.Linear:
    """A fully connected layer that starts by He's rule."""
    layer = nn.Linear(inside, outside)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def snippets_conv_pooling(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    **options: Any,
) -> ConvPooling:
    """Maximum over the maps of all frames, the best of the poolings: 6.0 M parameters, 166 G for 120 frames.

    `tiny` makes every layer narrow, for tests. `in_channels=2` makes it take flow, 15 fields a second.
    num_frames: of a clip (120), a frame a second. crop: pixels (220). Where the sizes of layers depend on
    these (local pooling, the fc6 of AlexNet), no other clips go in. options: `trunk`, a name of `TRUNKS`
    ("inception", "alexnet", "resnet50" ...), and `dropout`, the probability of a feature to be left out while
    training (0.5).
    """
    return ConvPooling(
        num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options
    )


def snippets_late_pooling(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    **options: Any,
) -> LatePooling:
    """Maximum over what all frames' last features say. Options as of `snippets_conv_pooling`."""
    return LatePooling(
        num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options
    )


def snippets_slow_pooling(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    **options: Any,
) -> SlowPooling:
    """Maximum over windows of 10 frames, then over all. Options as of `snippets_conv_pooling`."""
    return SlowPooling(
        num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options
    )


def snippets_local_pooling(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    **options: Any,
) -> LocalPooling:
    """Maximum over windows of 10 frames, side by side. Options as of `snippets_conv_pooling`."""
    return LocalPooling(
        num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options
    )


def snippets_time_conv(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    **options: Any,
) -> TimeConvolution:
    """A convolution over 10 frames, then pooling. Options as of `snippets_conv_pooling`."""
    return TimeConvolution(
        num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options
    )


def snippets_lstm(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    num_layers: int | None = None,
    combine: Combine = "weighted",
    **options: Any,
) -> Lstm:
    """Five layers of 512 LSTM cells over the frames (30 of them).

    num_layers: of cells. combine: "last", "max", "sum" or "weighted", how the steps' answers become one. The
    other options are those of `snippets_conv_pooling`.
    """
    options |= {"num_layers": num_layers, "combine": combine}
    return Lstm(num_classes, in_channels=in_channels, tiny=tiny, num_frames=num_frames, crop=crop, **options)
