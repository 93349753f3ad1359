"""ECO: look at few frames one by one, then at all of them together.

Neighbouring frames show nearly the same, so N frames spread over the whole video say as much as hundreds,
and each needs only an image network. What happens between distant frames is learned by a small 3D network
on the stacked maps of the image network. As the part that sees single frames need not know the others, it
also runs on a live stream: keep the maps of N frames in memory, replace half of them as new ones come.

Paper: Zolfaghari, Singh and Brox, "ECO: Efficient Convolutional Network for Online Video Understanding"
(ECCV 2018, arXiv:1804.09066), figures 1-2, table 1, algorithm 1. For N frames of 224 x 224:

    part             ours      layers                                             channels   T x H x W
    2D, each frame   frames    BN-Inception to `inception3c.double1`              96         N x 28 x 28
    3D               conv3a    3x3x3                                              128        N x 28 x 28
                     stage3    (3x3x3, 3x3x3) x 1                                 128        N x 28 x 28
                     stage4    (3x3x3, 3x3x3) x 2, stride 2                       256        N/2 x 14 x 14
                     stage5    (3x3x3, 3x3x3) x 2, stride 2                       512        N/4 x 7 x 7
                     bn        batch norm, ReLU, mean                             512
    2D tail (Full)   frames    the rest of BN-Inception, mean over space and T    1024
    head                       dropout, linear: 512 (Lite), 1024 + 512 (Full)

The 3D part is the upper half of C3D-ResNet18 (`vadis.models.artnet`): pre-activated blocks, raw sums from
block to block. ECO-Lite is 2D + 3D; ECO-Full keeps the 2D tail beside the 3D part. The paper's ECO_En is the
average of four networks, for 16, 20, 24 and 32 frames.

Online (algorithm 1, `OnlineEco`): N incoming frames are queued. The first N fill the working memory; from
then on, each time that the queue is full, the memory becomes one half of itself and one half of the queue,
each taken at even distances, so that old segments fade: of a segment N, N/2, N/4 ... 1 frames are left.
The network scores the memory, and the running prediction becomes the mean of itself and the new one.

Where we differ, and why:
- Any number of frames goes, and any size from 7 pixels on: the head takes the mean of what is there (the
  authors' covers N/4 x 7 x 7). `num_segments` therefore changes nothing but `spec`.
- `spec` says ten seconds at 25 frames per second, the length of a Kinetics clip, in N equal steps (16 frames
  with a stride of 15). The paper takes one frame from each of N equal parts of a whole video, however long.
- The online memory holds maps instead of frames: the same numbers, but each frame passes through the 2D part
  at most once, and those of the queue that are not taken never.
- The authors' online script adds up scores before the softmax and forgets after five segments; ours follows
  the algorithm (mean of probabilities), where a frame is gone after log2(N) + 1 segments: five for N = 16.
- Weights start from He's normal rule (see `vadis.models.bninception`); the authors start from networks
  trained on Kinetics. Their PyTorch code uses the mean 104/117/128, kept here, their Caffe files 104/117/123.

Shapes: B batch, C channels, N frames, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.artnet import stage, start_convolutions
from vadis.models.bninception import CAFFE_MEAN, LAST, MIN_PIXELS, TINY_BLOCKS, TINY_DIVISOR, BnInception
from vadis.models.contract import Paper, Result, VideoModel
from vadis.models.layers import check_clip, fresh_classifier, make_spec

NUM_SEGMENTS = 16
CLIP_FRAMES, CLIP_FPS = 250, 25.0
"""What N frames are spread over: ten seconds."""
SHARED, SHARED_WIDTH = "inception3c.double1", 96
"""Where the 3D part leaves the image network, and how many channels there are."""
WIDTHS, TINY_WIDTHS = (128, 256, 512), (12, 24, 48)
DEPTHS, TINY_DEPTHS = (1, 2, 2), (1, 1, 1)

_ENSEMBLE = "ECO_En: scores of four networks (N = 16, 20, 24, 32) averaged"
PAPERS = (
    Paper(
        title="ECO: Efficient Convolutional Network for Online Video Understanding",
        authors="Zolfaghari, Singh and Brox",
        venue="ECCV 2018",
        arxiv="1804.09066",
        idea="A few frames spread over the whole video go through an image network one by one, and a small "
        "3D network finds what happens between them. Long videos are so understood at once instead of in "
        "windows, and a stream by replacing half of the frames in memory as new ones come.",
        results=(
            Result("eco_lite eco_full", "Kinetics-400 val", 70.0, 89.4, "", _ENSEMBLE),
            Result("eco_lite eco_full", "UCF101", 94.8, note=_ENSEMBLE),
            Result("eco_lite eco_full", "HMDB51", 72.4, note=_ENSEMBLE),
        ),
    ),
)


class SeenFrames(NamedTuple):
    """What the 2D part makes of frames, one by one: all that the rest of the network needs of them.

    `maps_NDHW` go to the 3D part; `tail_ND` are the means of the 2D tail (None in ECO-Lite).
    """

    maps_NDHW: Tensor
    tail_ND: Tensor | None


class Eco(VideoModel):
    """ECO-Lite, or with `full` ECO-Full: the 2D tail beside the 3D part."""

    input_weights = ("frames.conv1.conv.weight",)

    def __init__(
        self,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        full: bool = False,
        num_segments: int = NUM_SEGMENTS,
        dropout: float = 0.3,
        tail_dropout: float = 0.5,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        if num_segments < 1:
            raise ValueError(f"num_segments must be at least 1, got {num_segments}")
        self.spec = make_spec(
            in_channels,
            num_segments,
            frame_stride=max(1, CLIP_FRAMES // num_segments),
            fps=CLIP_FPS,
            mean=CAFFE_MEAN,
            value_range=(0.0, 255.0),
            channel_order="bgr",
        )
        self.num_classes = num_classes
        self.full = full
        divisor = TINY_DIVISOR if tiny else 1
        self.frames = BnInception(
            in_channels,
            last=LAST if full else SHARED,
            blocks=TINY_BLOCKS if tiny else None,
            width_divisor=divisor,
        )
        widths, depths = (TINY_WIDTHS, TINY_DEPTHS) if tiny else (WIDTHS, DEPTHS)
        self.conv3a = nn.Conv3d(SHARED_WIDTH // divisor, widths[0], 3, padding=1)
        self.stage3 = stage(widths[0], widths[0], depths[0])
        self.stage4 = stage(widths[0], widths[1], depths[1])
        self.stage5 = stage(widths[1], widths[2], depths[2])
        self.bn = nn.BatchNorm3d(widths[2])
        self.tail_dropout = nn.Dropout(tail_dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[2] + (self.frames.num_features if full else 0), num_classes)
        start_convolutions(self)
        self.reset_head(num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips.

        clip_BCTHW: float, normalised by `self.spec`; T is the number of segments, one frame of each.
        Returns logits_BK. Paper: sec. 3.1-3.2.
        """
        check_clip(self, clip_BCTHW, min_pixels=MIN_PIXELS)
        batch = clip_BCTHW.shape[0]
        return self.score(self.see(clip_BCTHW.transpose(1, 2).flatten(0, 1)), batch)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The map before the mean: of the 3D part, in ECO-Full after that of the 2D tail.

        The tail's maps are averaged over the frames that one position of the 3D part stands for, so that the
        mean of all positions is what the head scores (exactly where T divides by 4).
        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 512 (Lite) or 1024 + 512 (Full),
        T = frames / 4, H W = pixels / 32, rounded up.
        """
        check_clip(self, clip_BCTHW, min_pixels=MIN_PIXELS)
        batch = clip_BCTHW.shape[0]
        found = self.frames.endpoints(
            clip_BCTHW.transpose(1, 2).flatten(0, 1), (SHARED, LAST) if self.full else (SHARED,)
        )
        together_BDTHW = self._relate(found[SHARED], batch)
        if not self.full:
            return together_BDTHW
        tail_BDTHW = found[LAST].unflatten(0, (batch, -1)).transpose(1, 2)
        # Time only: one column of all positions per channel, since a CPU has no 3D average in bfloat16.
        columns_BDTX = F.adaptive_avg_pool2d(
            tail_BDTHW.flatten(3), (together_BDTHW.shape[2], tail_BDTHW.shape[3] * tail_BDTHW.shape[4])
        )
        return torch.cat([columns_BDTX.unflatten(3, tail_BDTHW.shape[3:]), together_BDTHW], dim=1)

    def see(self, frames_NCHW: Tensor) -> SeenFrames:
        """The 2D part: what is to be known of each frame by itself.

        frames_NCHW: float, normalised by `self.spec`, of any number of clips. Returns maps_NDHW, tail_ND.
        """
        if not self.full:
            return SeenFrames(self.frames.forward_features(frames_NCHW), None)
        found = self.frames.endpoints(frames_NCHW, (SHARED, LAST))
        return SeenFrames(found[SHARED], found[LAST].mean(dim=(2, 3)))

    def score(self, seen: SeenFrames, batch: int = 1) -> Tensor:
        """The 3D part and the head. seen: frames of `batch` clips, clip by clip. Returns logits_BK."""
        feature_BD = self._relate(seen.maps_NDHW, batch).mean(dim=(2, 3, 4))
        feature_BD = self.dropout(feature_BD)
        if seen.tail_ND is not None:
            tail_BD = self.tail_dropout(seen.tail_ND).unflatten(0, (batch, -1)).mean(dim=1)
            feature_BD = torch.cat([tail_BD, feature_BD], dim=1)
        return self.head(feature_BD)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes)
        self.num_classes = num_classes
        self.class_names = None

    def _relate(self, maps_NDHW: Tensor, batch: int) -> Tensor:
        """The 3D part: frames of `batch` clips to their map feature_BDTHW."""
        raw = self.conv3a(maps_NDHW.unflatten(0, (batch, -1)).transpose(1, 2))
        for blocks in (self.stage3, self.stage4, self.stage5):
            raw = blocks(raw)
        return F.relu(self.bn(raw), inplace=True)


class OnlineEco:
    """A running prediction for a stream of frames: the paper's algorithm 1.

        online = OnlineEco(model.eval())
        for frame_CHW in stream:
            scores_K = online.push(frame_CHW)
            if scores_K is not None:  # a segment of N frames is complete
                show(scores_K)

    `scores_K` is the running prediction (None until N frames have come), `num_updates` the number of
    segments in it. keep: the share of the old prediction in the new one, in [0, 1): the paper's mean of the
    two is 0.5. N is `model.spec.num_frames`. Raises ValueError for a network in training mode, whose batch
    norm would mix the frames, and for a share out of range.
    """

    def __init__(self, model: Eco, keep: float = 0.5) -> None:
        if model.training:
            raise ValueError("the network is in training mode: call model.eval() before it runs on a stream")
        if not 0.0 <= keep < 1.0:
            raise ValueError(f"keep is a share in [0, 1), got {keep}")
        self.model = model
        self.keep = keep
        self.reset()

    def reset(self) -> None:
        """Forget everything: another stream begins."""
        self.scores_K: Tensor | None = None
        self.num_updates = 0
        self._queue: list[Tensor] = []
        self._memory: SeenFrames | None = None

    def push(self, frame_CHW: Tensor) -> Tensor | None:
        """Take the next frame; where it completes a segment of N, the renewed scores_K, otherwise None.

        frame_CHW: float, normalised by `model.spec`, always of one size. scores_K are probabilities.
        """
        self._queue.append(frame_CHW)
        num_frames = self.model.spec.num_frames
        if len(self._queue) < num_frames:
            return None
        queue, self._queue = self._queue, []
        with torch.inference_mode():
            if self._memory is None:
                self._memory = self.model.see(torch.stack(queue))
            else:
                old, new = num_frames // 2, num_frames - num_frames // 2
                seen = self.model.see(torch.stack([queue[index] for index in spread(num_frames, new)]))
                self._memory = _joined(self._memory, spread(num_frames, old), seen)
            latest_K = self.model.score(self._memory)[0].softmax(dim=0)
            if self.scores_K is None:
                self.scores_K = latest_K
            else:
                self.scores_K = self.keep * self.scores_K + (1.0 - self.keep) * latest_K
        self.num_updates += 1
        return self.scores_K

    def watch(self, frames: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Push frames (each frame_CHW) one by one; with each renewal, how many were pushed and scores_K."""
        for count, frame_CHW in enumerate(frames, start=1):
            scores_K = self.push(frame_CHW)
            if scores_K is not None:
                yield count, scores_K


def spread(length: int, count: int) -> list[int]:
    """`count` of the positions 0 ... length - 1 at even distances: the middle of each of `count` parts."""
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def _joined(memory: SeenFrames, kept: list[int], seen: SeenFrames) -> SeenFrames:
    """What is kept of the memory, then what was newly seen: in the order of time."""
    maps_NDHW = torch.cat([memory.maps_NDHW[kept], seen.maps_NDHW])
    if memory.tail_ND is None or seen.tail_ND is None:
        return SeenFrames(maps_NDHW, None)
    return SeenFrames(maps_NDHW, torch.cat([memory.tail_ND[kept], seen.tail_ND]))


def eco_lite(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float = 0.3,
) -> Eco:
    """ECO-Lite: 37.5 M parameters, 46.5 G multiply-adds for 16 frames of 224 x 224.

    num_segments: how many frames `spec` asks for (the paper: 4 to 32). `dropout` is the probability of a
    feature to be left out while training (0.3 in the authors' PyTorch code, 0.5 in their Caffe files).
    """
    return Eco(num_classes, in_channels=in_channels, num_segments=num_segments, dropout=dropout, tiny=tiny)


def eco_full(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    num_segments: int = NUM_SEGMENTS,
    dropout: float = 0.3,
    tail_dropout: float = 0.5,
) -> Eco:
    """ECO-Full: 47.5 M parameters, 64.4 G multiply-adds for 16 frames of 224 x 224.

    num_segments: how many frames `spec` asks for (the paper: 4 to 32). `dropout` and `tail_dropout` are the
    probabilities of a feature of the 3D part and of the 2D tail to be left out while training.
    """
    return Eco(
        num_classes,
        in_channels=in_channels,
        full=True,
        num_segments=num_segments,
        dropout=dropout,
        tail_dropout=tail_dropout,
        tiny=tiny,
    )
