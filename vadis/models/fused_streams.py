"""Convolutional fusion: two streams that meet inside the network, place by place, not in their scores.

Averaged scores cannot say that the motion is where the hand is. Joined at the last convolution instead, what
each channel of one stream sees at a place is put beside what the other sees there, and a filter learns which
belong together; with maps of several moments, the filter and the pooling after it look along time as well.
That costs half the parameters of two whole networks and is no worse; kept beside a whole temporal network, it
is better.

Paper: Feichtenhofer, Pinz and Zisserman, "Convolutional Two-Stream Network Fusion for Video Action
Recognition" (CVPR 2016, arXiv:1604.06573). x and y are the maps of the spatial and the temporal tower, D
channels each; in tables 1 and 2 the towers are VGG-M-2048, classes 101, numbers UCF-101 split 1:

    fusion (`method`), ReLU5      joined map                        %       printed   counted as there
    sum                           x + y                             85.20   97.31 M   97.32 M
    max                           max(x, y)                         82.70   97.31 M   97.32 M
    concatenation                 [x, y]: fc6 sees 2 D channels     83.53   172.81 M  172.81 M
    bilinear                      sum over places of x outer y      85.05   6.61 M    13.22 M
    convolution                   relu(1x1 filters of [x, y])       85.96   97.58 M   97.84 M
    (scores, `two_stream_vggm`)   average of both softmaxes         85.94   181.42 M  181.42 M

    convolution after (`at`)      one tower goes on after the last  %       printed   counted as there
    relu2                                                           82.25   91.90 M   91.55 M
    relu3                                                           83.43   93.08 M   93.12 M
    relu4                                                           82.55   95.48 M   95.48 M
    relu5                                                           85.96   97.57 M   97.84 M
    relu5, fc8                    both go on, scores averaged       86.04   181.68 M  181.94 M
    relu3, relu5, fc6             both go on to fc6                 81.55   190.06 M  207.43 M

"Counted as there" gives conv1 of both towers 20 channels (the spatial one's is 3 here: 0.08 M less), without
which the printed 181.42 and 172.81 do not come out. A 1x1 convolution of 1024 channels to 512 has 0.52 M
weights; what the table adds for it at ReLU5 is that of 512 to 512 (0.26 M), at ReLU4 that of 1024 to 512, at
ReLU2 and ReLU3 something between (0.48 M): no single reading gives all rows. Of the bilinear network it
counts the convolutions of one tower.

Table 3, VGG-16 towers, the temporal one kept (relu5_3, fc8), T = 5 moments:

    convolution   pooling     UCF-101 split 1   HMDB-51 split 1   ours
    2D            2D          89.35             56.93             fused_vgg16_2d
    2D            3D          89.64             57.58             fused_vgg16_3d_pool
    3D            3D          90.40             58.63             fused_vgg16 (92.5, 65.4 over three splits)

The 3D convolution is 3x3x3 of 1024 channels to 512 (14.16 M), the 3D pooling 2x2 in space and all of T; both
towers have one, and a classifier, and a loss; at test their fc8 outputs are averaged.

Where we differ, and why:
- Convolutions start as the sum, [I, I]; the authors' code starts them at [I / 4, 3 I / 4], in 3D spread by a
  Gaussian of deviation 1: `start=(0.25, 0.75)`, the default of `fused_vgg16`. After ReLU the sum is
  not negative, so the ReLU behind the filter changes nothing at first.
- Concatenation is plain, [x, y], as in the code; the paper's formula interleaves channels, which is the same
  network with its inputs numbered otherwise.
- Bilinear features go through signed square roots and are divided by their length, then to a linear
  classifier, where the paper has an SVM.
- With 2D pooling the T positions are scored one by one and the logits averaged. The paper draws the stride of
  the T moments anew (5 to 15 in the code); ours has `frame_stride` = 10, for `data.frame_stride` to change.

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.join import Join, Method, check_places, outer_product
from vadis.models.layers import check_clip, check_parts, fresh_classifier, make_spec
from vadis.models.two_stream import STACK, TEST_FRAMES
from vadis.models.vgg import PIXELS, TABLES, TINY_PIXELS, Conv, Vgg, layer_table, score
from vadis.specs import join_specs

Length = Literal["2d", "3d"]
Size2 = tuple[int, int]

NUM_MOMENTS, MOMENT_STRIDE = 5, 10
"""T of the final network, and the frames between them: the middle of the 5 to 15 that the code draws from."""

START = (0.25, 0.75)

AS_THERE = "the paper counts 20 channels at conv1 of both towers, 0.08 M more than ours"
NARROW = "; and a joining filter of 512 channels to 512 (0.26 M): it sees 1024"
UNKNOWN = "; and for the joining filter 0.48 M, which no reading of it gives; ours has"


def _one_split(dataset: str, **accuracies: float) -> tuple[Result, ...]:
    """A column of a table: networks by name, percent."""
    return tuple(Result(model, f"{dataset} split 1", percent) for model, percent in accuracies.items())


def _size(model: str, printed: str, ours: str, why: str = "") -> PrintedSize:
    return PrintedSize(model, printed, ours, AS_THERE + why, num_classes=101)


PAPERS = (
    Paper(
        "Convolutional Two-Stream Network Fusion for Video Action Recognition",
        "Feichtenhofer, Pinz and Zisserman",
        "CVPR 2016",
        "1604.06573",
        "Join the streams inside the network, at the last convolution, so that a filter can say which motion "
        "belongs to what is seen at the same place; of several moments, it sees and pools all at once.",
        (
            *_one_split(
                "UCF-101",
                fused_vggm_relu5_sum=85.20,
                fused_vggm_relu5_max=82.70,
                fused_vggm_relu5_concat=83.53,
                fused_vggm_relu5_bilinear=85.05,
                fused_vggm_relu5_conv=85.96,
                fused_vggm_relu2_conv=82.25,
                fused_vggm_relu3_conv=83.43,
                fused_vggm_relu4_conv=82.55,
                fused_vggm_relu5_fc8_conv=86.04,
                fused_vggm_relu3_relu5_fc6_conv=81.55,
                fused_vgg16_2d=89.35,
                fused_vgg16_3d_pool=89.64,
                fused_vgg16=90.40,
            ),
            *_one_split("HMDB-51", fused_vgg16_2d=56.93, fused_vgg16_3d_pool=57.58, fused_vgg16=58.63),
            Result("fused_vgg16", "UCF-101", 92.5),
            Result("fused_vgg16", "HMDB-51", 65.4),
            Result("fused_vgg16", "UCF-101", 93.5, note="and iDT"),
            Result("fused_vgg16", "HMDB-51", 69.2, note="and iDT"),
        ),
        (
            _size("fused_vggm_relu5_sum fused_vggm_relu5_max", "97.31 M", "97.24 M"),
            _size("fused_vggm_relu5_concat", "172.81 M", "172.73 M"),
            _size(
                "fused_vggm_relu5_bilinear",
                "6.61 M",
                "39.61 M",
                "; but the convolutions of one tower only, and no classifier (an SVM there), of ours 26.5 M",
            ),
            _size("fused_vggm_relu5_conv", "97.58 M", "97.76 M", NARROW),
            _size("fused_vggm_relu2_conv", "91.90 M", "91.47 M", f"{UNKNOWN} 0.13 M"),
            _size("fused_vggm_relu3_conv", "93.08 M", "93.04 M", f"{UNKNOWN} 0.52 M"),
            _size("fused_vggm_relu4_conv", "95.48 M", "95.40 M"),
            _size("fused_vggm_relu5_fc8_conv", "181.68 M", "181.86 M", NARROW),
            _size(
                "fused_vggm_relu3_relu5_fc6_conv",
                "190.06 M",
                "207.35 M",
                "; and a joining filter at FC6, it seems, of 4096 channels to 4096: it sees 8192",
            ),
        ),
    ),
)


class Tower(nn.Module):
    """An image network and, where it goes on to the end, its classifier."""

    head: nn.Linear

    def __init__(self, trunk: Vgg) -> None:
        super().__init__()
        self.trunk = trunk


class FusedStreams(VideoModel):
    """Two VGG towers that are joined after some of their layers."""

    def __init__(
        self,
        trunk: str,
        num_classes: int = 400,
        *,
        at: str | tuple[str, ...],
        method: Method = "conv",
        convolution: Length = "2d",
        pooling: Length = "2d",
        start: tuple[float, float] = (1.0, 1.0),
        tiny: bool = False,
        stack: int = STACK,
        num_frames: int = 1,
        frame_stride: int = 1,
        crop: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        """trunk: "vgg_m" or "vgg16". at: the layers after which the towers are joined, in order.

        These are "relu1" ... (of VGG-16 "relu5_3" ...), "fc6", "fc7", "fc8"; "relu5,fc8" names two. With
        "fc8" both towers go on to the end and their scores are averaged, otherwise the temporal one ends
        where it is joined last. convolution, pooling: "3d" for those behind the last convolution that look
        along time. start: how much of either tower a convolution passes on at first. stack: flow fields of
        a position. num_frames: T, with `frame_stride` frames between; a single one is drawn from segments.
        crop: pixels of a side. dropout: probability of a hidden feature to be left out. Raises ValueError
        for what cannot be joined.
        """
        super().__init__()
        if trunk not in TABLES:
            raise ValueError(f"towers are {' or '.join(TABLES)}, got {trunk!r}")
        layers = [name for name, row in layer_table(trunk, tiny).items() if isinstance(row, Conv)]
        layers += ["fc6", "fc7", "fc8"]
        places = check_places(layers, at, method, convolution == "3d")
        if not {convolution, pooling} <= {"2d", "3d"}:
            raise ValueError(f"convolution and pooling are 2d or 3d, got {convolution!r} and {pooling!r}")
        self.method, self.pooling = method, pooling
        self.both = "fc8" in places
        self.places = tuple(place for place in places if place != "fc8")
        if crop is None:
            crop = TINY_PIXELS[trunk] if tiny else PIXELS
        bilinear, concat = method == "bilinear", method == "concat"
        seeing_both = tuple(layers[layers.index(place) + 1] for place in self.places) if concat else ()
        until = self.places[-1] if self.places else "fc7"
        build: dict[str, Any] = {"tiny": tiny, "pixels": crop, "dropout": dropout}
        rgb = Vgg(trunk, 3, until=until if bilinear else "fc7", doubled=seeing_both, **build)
        without = ("norm2",) if trunk == "vgg_m" else ()
        flow = Vgg(trunk, 2 * stack, until="fc7" if self.both else until, without=without, **build)
        self.rgb, self.flow = Tower(rgb), Tower(flow)
        self.joins = nn.ModuleDict()
        for place in self.places:
            kernel = 3 if convolution == "3d" and place == rgb.last else 1
            width = rgb.get_submodule(place).get_parameter("weight").shape[0]
            self.joins[place] = Join(method, width, kernel, start)
        time: dict[str, Any] = {"sampling": "segments", "test_frames": TEST_FRAMES}
        if num_frames > 1:
            time = {"frame_stride": frame_stride}
        specs = {
            part: make_spec(
                channels, num_frames, size=crop * 256 // 224, crop=crop, stack=stack, **time, **rgb.pixels
            )
            for part, channels in (("rgb", 3), ("flow", 2))
        }
        self.spec = join_specs(specs)
        self.input_weights = (f"rgb.trunk.{rgb.first}", f"flow.trunk.{flow.first}")
        seen = rgb.num_features * (2 if "fc8" in seeing_both else 1)
        if self.both:
            self.heads = ("rgb.head", "flow.head")
            self.rgb.head = nn.Linear(seen, num_classes)
            self.flow.head = nn.Linear(flow.num_features, num_classes)
        else:
            self.head = nn.Linear(rgb.map_features**2 if bilinear else seen, num_classes)
        self.reset_head(num_classes)

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score a batch of clips of both modalities: joined on the way and, with two classifiers, at the end.

        clips_BCTHW: {"rgb": tensor_BCTHW, "flow": tensor_BCTHW} as `self.spec` says, of the same T, H and W.
        Returns logits_BK. Paper: sections 3.1 to 3.4.
        """
        return self.join_scores(self.forward_heads(clips_BCTHW))

    def forward_heads(self, clips_BCTHW: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each classifier says, each with a loss of its own in training.

        clips_BCTHW: as for `forward`. Returns a logits_BK for "rgb", into which the towers are joined, and
        one for "flow" where that tower goes on by itself.
        """
        rgb, flow = self.rgb.trunk, self.flow.trunk
        x, y, after, size = self._maps(clips_BCTHW)
        if self.method == "bilinear":
            return {"rgb": self.head(outer_product(_unfold(x, size), _unfold(y, size)))}
        x = self._over_time(x, size)
        later = [place for place in self.places if place in ("fc6", "fc7")]
        if later or self.both:
            y = self._over_time(flow.run(y, after=after, until=flow.last), size)
        after = rgb.last
        for place in later:
            x, y = rgb.run(x, after=after, until=place), flow.run(y, after=after, until=place)
            x, after = self.joins[place](x, y), place
        x = rgb.run(x, after=after, until="fc7")
        if not self.both:
            return {"rgb": self._score(self.head, x, size)}
        y = flow.run(y, after=after, until="fc7")
        return {"rgb": self._score(self.rgb.head, x, size), "flow": self._score(self.flow.head, y, size)}

    def join_scores(self, logits: Mapping[str, Tensor]) -> Tensor:
        """From what `forward_heads` gives to the logits_BK of `forward`: their mean."""
        return torch.stack(list(logits.values())).mean(0)

    def forward_features(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The last map, in which the towers are joined; where both go on, one for each modality.

        clips_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512; twice that where the towers are joined
        after it, both side by side; of bilinear fusion all products, in one place.
        """
        x, y, after, size = self._maps(clips_BCTHW)
        x_BDTHW = _unfold(x, size)
        if self.method == "bilinear":
            return outer_product(x_BDTHW, _unfold(y, size))[:, :, None, None, None]
        if after and not self.both:
            return x_BDTHW
        y_BDTHW = _unfold(self.flow.trunk.run(y, after=after, until=self.flow.trunk.last), size)
        return {"rgb": x_BDTHW, "flow": y_BDTHW} if self.both else torch.cat([x_BDTHW, y_BDTHW], dim=1)

    def reset_head(self, num_classes: int) -> None:
        """Put untrained classifiers of `num_classes` (K) on top, on the device of the old ones."""
        if self.both:
            self.rgb.head = fresh_classifier(self.rgb.head, num_classes)
            self.flow.head = fresh_classifier(self.flow.head, num_classes)
        else:
            self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let a plain tower's layers see both towers, where they do here: what is new counts for nothing."""
        own, adapted = self.state_dict(), dict(state)
        for key, value in state.items():
            if key in own and value.ndim > 1 and 2 * value.shape[1] == own[key].shape[1]:
                adapted[key] = torch.cat([value, torch.zeros_like(value)], dim=1)
        return adapted

    def _maps(self, clips_BCTHW: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, str, Size2]:
        """The spatial tower's last map, joined; the temporal tower's where it was joined; the name of that.

        Frames are folded into the batch; the last of the four is (clips, frames).
        """
        check_parts(self, clips_BCTHW)
        for part, clip_BCTHW in clips_BCTHW.items():
            check_clip(self, clip_BCTHW, part=part, min_pixels=self.rgb.trunk.min_pixels)
        shapes = {part: tuple(clip_BCTHW.shape[2:]) for part, clip_BCTHW in clips_BCTHW.items()}
        if shapes["rgb"] != shapes["flow"]:
            raise ValueError(
                f"FusedStreams joins its modalities place by place, so both must have the same frames, "
                f"height and width, got {shapes}: cut them alike"
            )
        rgb, flow = self.rgb.trunk, self.flow.trunk
        x, y = (clips_BCTHW[part].transpose(1, 2).flatten(0, 1) for part in ("rgb", "flow"))
        size, after = (clips_BCTHW["rgb"].shape[0], clips_BCTHW["rgb"].shape[2]), ""
        for place in self.places:
            if place not in rgb.layers:
                break
            x, y = rgb.run(x, after=after, until=place), flow.run(y, after=after, until=place)
            after = place
            join = self.joins[place]
            if self.method == "bilinear":
                return x, y, after, size
            if isinstance(join.conv, nn.Conv3d):
                x = join(_unfold(x, size), _unfold(y, size)).transpose(1, 2).flatten(0, 1)
            else:
                x = join(x, y)
        return rgb.run(x, after=after, until=rgb.last), y, after, size

    def _over_time(self, x_BDHW: Tensor, size: Size2) -> Tensor:
        """The part of 3D pooling that is along time; pool5, which is next, does the rest of it."""
        return x_BDHW if self.pooling == "2d" else _unfold(x_BDHW, size).amax(2)

    def _score(self, head: nn.Linear, hidden_BDHW: Tensor, size: Size2) -> Tensor:
        """Classify hidden features of clips, or of their frames and then on average. Returns logits_BK."""
        logits_BK = score(head, hidden_BDHW)
        return logits_BK if self.pooling == "3d" else logits_BK.unflatten(0, size).mean(1)


def _unfold(x_BDHW: Tensor, size: Size2) -> Tensor:
    """Frames that are folded into the batch as clips: x_BDTHW."""
    return x_BDHW.unflatten(0, size).transpose(1, 2)


# Tables 1 and 2: two towers of VGG-M ---------------------------------------------------------------------


def fused_vggm_relu5_sum(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """Towers of VGG-M added after their last convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu5",), "method": "sum", **options})


def fused_vggm_relu5_max(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The larger of both towers' channels after their last convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu5",), "method": "max", **options})


def fused_vggm_relu5_concat(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """Both towers' channels side by side, all seen by the spatial tower's fc6."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu5",), "method": "concat", **options})


def fused_vggm_relu5_bilinear(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """All products of both towers' channels, summed over places; no hidden layers."""
    return FusedStreams(
        "vgg_m", num_classes, tiny=tiny, **{"at": ("relu5",), "method": "bilinear", **options}
    )


def fused_vggm_relu5_conv(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """Towers of VGG-M joined by 1x1 filters after their last convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu5",), **options})


def fused_vggm_relu2_conv(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The same after the second convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu2",), **options})


def fused_vggm_relu3_conv(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The same after the third convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu3",), **options})


def fused_vggm_relu4_conv(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The same after the fourth convolution."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu4",), **options})


def fused_vggm_relu5_fc8_conv(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """Joined after the last convolution, and the scores of both averaged."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu5", "fc8"), **options})


def fused_vggm_relu3_relu5_fc6_conv(
    num_classes: int = 400, tiny: bool = False, **options: Any
) -> FusedStreams:
    """Joined at three layers; the worst of the table, and the largest."""
    return FusedStreams("vgg_m", num_classes, tiny=tiny, **{"at": ("relu3", "relu5", "fc6"), **options})


# Table 3 and the final network: two towers of VGG-16 over time -------------------------------------------


def fused_vgg16(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The paper's final network: 3D convolution and 3D pooling over 5 moments, the temporal tower kept.

    283.5 M parameters with 101 classes. options: those of `FusedStreams`.
    """
    return _over_moments(num_classes, tiny, "3d", "3d", options)


def fused_vgg16_3d_pool(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The same with filters that see one moment, and the pooling all of them. Options of `FusedStreams`."""
    return _over_moments(num_classes, tiny, "2d", "3d", options)


def fused_vgg16_2d(num_classes: int = 400, tiny: bool = False, **options: Any) -> FusedStreams:
    """The same with every moment scored by itself, and the scores averaged. Options of `FusedStreams`."""
    return _over_moments(num_classes, tiny, "2d", "2d", options)


def _over_moments(
    num_classes: int, tiny: bool, convolution: Length, pooling: Length, options: Mapping[str, Any]
) -> FusedStreams:
    built: dict[str, Any] = {
        "at": ("relu5_3", "fc8"),
        "convolution": convolution,
        "pooling": pooling,
        "start": START,
        "num_frames": NUM_MOMENTS,
        "frame_stride": MOMENT_STRIDE,
        **options,
    }
    return FusedStreams("vgg16", num_classes, tiny=tiny, **built)
