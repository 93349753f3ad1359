"""TimeSformer: an image transformer that also looks along time, without any convolution.

Each frame is cut into patches of 16 x 16 pixels; each patch becomes a token, a row of 768 numbers, and a
token of its own, the class token, gathers the answer. In every block a token asks others for what they
know (attention), and then thinks alone (a small perceptron). All patches of all frames asking all others
is dear, so the paper compares five ways to choose whom to ask; the best asks along time first, at its
own place, and then within its own frame.

Paper: Bertasius, Wang and Torresani, "Is Space-Time Attention All You Need for Video Understanding?"
(ICML 2021, arXiv:2102.05095), table 1, figures 2 and 3. For 8 frames of 224 x 224 pixels (14 x 14 patches):

    scheme             ours          steps of a block (whom a patch asks)           parameters   K400  SSv2
    space (S)          space         its frame                                      85.9 M       76.9  36.6
    joint (ST)         joint         all patches of all frames                      85.9 M       77.4  58.5
    divided (T+S)      divided       its place in all frames; its frame             121.4 M      78.0  59.5
    sparse local,      local_global  its quarter of all frames (8 x 7 x 7);         121.4 M      75.9  56.3
      global (L+G)                     every second patch in t, h and w (4 x 7 x 7)
    axial (T+W+H)      axial         its place in all frames; its row; its column   156.8 M      73.5  56.2

    patch embedding   16x16, stride 16, 768; plus position and time embeddings     8 x 14 x 14 + class token
    12 blocks         layer norm, attention (12 heads of 64) for each step;        the same
                      layer norm, 768 -> 3072 -> 768 with GELU
    head              layer norm, the class token, linear                          classes

Each line of `STEPS` is one row of that table; `RULES` says along each axis who is seen. The last step of a
block is the image transformer's own attention, the steps before it are added to that: each has its own
layer norm, query, key, value and output weights and one more linear layer, `fc`, that starts at zero. So
an untrained divided network is the image transformer on each frame, which is how it should start.

Where we differ, and why:
- The paper describes the head as a perceptron with one hidden layer; the authors' code and published
  weights have one linear layer, and so have we. With their 174 classes of Something-Something V2 it gives
  the paper's 121.4 M; the 400 of Kinetics make it 121.6 M.
- The class token. The paper's formulas let every patch ask it in each step. In the authors' code the added
  steps leave it out; in the last step each group of patches (a frame) has a copy of it, and the copies'
  answers are averaged. So have we, for local + global and axial attention as well, for which there is no
  public code: their last step's groups are the 8 sub-lattices and the columns. The parameter counts of
  table 1 fit this reading (an added step has 2.954 M per block), and no other of the obvious ones.
- Local attention. "The neighboring F x H/2 x W/2 patches" may be a window around each patch or one of four
  fixed quarters. The authors say that they rearranged the tokens (issue 4 of their repository), which only
  the quarters allow: so these are the default, and `local="centred"` is the other reading, a window around
  the patch that stops at the border (slower: it masks full attention). The published numbers belong to the
  authors' code, so to the quarters.
- Sizes that two does not divide run as masked full attention, with the same meaning.
- Embeddings of another size are resized as images are (bicubic in space, linear in time). The authors take
  the nearest, on loading even along the flattened rows of patches, which shears the picture:
  `resize="authors"` does that. The published numbers at 224 and 448 pixels come from networks trained in
  that size after being loaded in that way; at their own size both are the same.
- Something-Something V2 models of the authors were trained on BGR frames, drawn uniformly from the whole
  video, without mirroring: set `spec.channel_order="bgr"` for their weights.

Shapes: B batch, C channels, T frames, H W pixels (or patches), S tokens with the class token first,
G groups of L tokens, N heads, D features, K classes.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import Paper, PrintedSize, Result, VideoModel
from vadis.models.layers import DropPath, check_clip, fresh_classifier, make_spec
from vadis.models.space_time_attention import (
    NORM_EPSILON,
    AddedAttention,
    Attention,
    Grid,
    Local,
    OwnAttention,
    Scheme,
    check_index,
    grid_of,
    patch_labels,
    step_mask,
    steps_of,
)

Resize = Literal["bicubic2d", "authors"]

PATCH = 16
INIT_STD = 0.02

CLASSES_OF_SSV2 = "Printed for the 174 classes of Something-Something V2, counted for 400: else the same."

PAPERS = (
    Paper(
        title="Is Space-Time Attention All You Need for Video Understanding?",
        authors="Bertasius, Wang and Torresani",
        venue="ICML 2021",
        arxiv="2102.05095",
        idea=(
            "A video is a set of patches that ask each other for what they know; no convolution is needed. "
            "Letting each patch ask along time first, and then within its frame, is cheaper than asking all "
            "at once and more accurate, so clips may be long."
        ),
        results=(
            Result("timesformer_space", "Kinetics-400 val", 76.9, None, "1x3", "ImageNet-21K"),
            Result("timesformer_joint", "Kinetics-400 val", 77.4, None, "1x3", "ImageNet-21K"),
            Result("timesformer_divided", "Kinetics-400 val", 78.0, 93.7, "1x3", "ImageNet-21K"),
            Result("timesformer_local_global", "Kinetics-400 val", 75.9, None, "1x3", "ImageNet-21K"),
            Result("timesformer_axial", "Kinetics-400 val", 73.5, None, "1x3", "ImageNet-21K"),
            Result("timesformer_hr", "Kinetics-400 val", 79.7, 94.4, "1x3", "ImageNet-21K"),
            Result("timesformer_l", "Kinetics-400 val", 80.7, 94.7, "1x3", "ImageNet-21K"),
            Result("timesformer_divided", "Kinetics-400 val", 75.8, None, "1x3", "ImageNet-1K"),
            Result("timesformer_divided", "Kinetics-400 val", 77.9, 93.2, "1x3", "authors' repository"),
            Result("timesformer_hr", "Kinetics-400 val", 79.6, 94.0, "1x3", "authors' repository"),
            Result("timesformer_l", "Kinetics-400 val", 80.6, 94.7, "1x3", "authors' repository"),
            Result("timesformer_divided", "Kinetics-600 val", 79.1, None, "1x3", "ImageNet-21K"),
            Result("timesformer_hr", "Kinetics-600 val", 81.8, None, "1x3", "ImageNet-21K"),
            Result("timesformer_l", "Kinetics-600 val", 82.2, None, "1x3", "ImageNet-21K"),
            Result("timesformer_space", "Something-Something V2 val", 36.6, None, "1x3", "ImageNet-21K"),
            Result("timesformer_joint", "Something-Something V2 val", 58.5, None, "1x3", "ImageNet-21K"),
            Result("timesformer_divided", "Something-Something V2 val", 59.5, None, "1x3", "ImageNet-21K"),
            Result(
                "timesformer_local_global", "Something-Something V2 val", 56.3, None, "1x3", "ImageNet-21K"
            ),
            Result("timesformer_axial", "Something-Something V2 val", 56.2, None, "1x3", "ImageNet-21K"),
            Result("timesformer_hr", "Something-Something V2 val", 62.2, None, "1x3", "ImageNet-21K"),
            Result("timesformer_l", "Something-Something V2 val", 62.4, None, "1x3", "ImageNet-21K"),
        ),
        sizes=(
            PrintedSize("timesformer_space timesformer_joint", "85.9 M", "86.11 M", CLASSES_OF_SSV2),
            PrintedSize(
                "timesformer_divided timesformer_local_global", "121.4 M", "121.6 M", CLASSES_OF_SSV2
            ),
            PrintedSize("timesformer_axial", "156.8 M", "157.0 M", CLASSES_OF_SSV2),
        ),
    ),
)


# --- the network ----------------------------------------------------------------------------------


class Perceptron(nn.Module):
    """Layer norm, four times the width, GELU (the exact one), and back: each token for itself."""

    def __init__(self, features: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features, eps=NORM_EPSILON)
        self.fc1 = nn.Linear(features, 4 * features)
        self.fc2 = nn.Linear(4 * features, features)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """x_BSD: tokens. Returns x_BSD, what is to be added to them."""
        return self.drop_path(self.fc2(F.gelu(self.fc1(self.norm(x_BSD)))))


class Block(nn.Module):
    """The added steps, the image transformer's own attention, the perceptron; each is added to its input."""

    def __init__(self, steps: tuple[str, ...], features: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.added = nn.ModuleDict(
            {
                step.partition("_")[0]: AddedAttention(step, features, num_heads, drop_path)
                for step in steps[:-1]
            }
        )
        self.attention = OwnAttention(steps[-1], features, num_heads, drop_path)
        self.mlp = Perceptron(features, drop_path)

    def forward(self, cls_B1D: Tensor, patches_BTHWD: Tensor) -> tuple[Tensor, Tensor]:
        """cls_B1D: the class token; patches_BTHWD: the patches of a clip. Returns cls_B1D, patches_BTHWD."""
        cls, patches = cls_B1D, patches_BTHWD
        for step in self.added.values():
            patches = patches + step(patches)
        cls_more, more = self.attention(cls, patches)
        x = torch.cat((cls + cls_more, (patches + more).flatten(1, 3)), dim=1)
        x = x + self.mlp(x)
        cls, rest = x.split((1, x.shape[1] - 1), dim=1)  # two slices would cost more in backward
        return cls, rest.unflatten(1, patches.shape[1:4])


class TimeSformer(VideoModel):
    """An image transformer with one of five schemes of attention over space and time.

    scheme: a line of `STEPS`. num_frames, frame_stride (frames) and crop (pixels): the clips it is made for;
    others are taken too, with resized embeddings. features, depth, num_heads: the image transformer's.
    dropout: the probability of a feature to be left out before the head while training; drop_path: that of a
    branch of the last block, growing linearly from 0 in the first. resize: how embeddings are brought to
    another size; local: whom local attention sees (both: see the module).
    """

    input_weights = ("patch_embed.weight",)

    def __init__(
        self,
        scheme: Scheme,
        num_classes: int = 400,
        *,
        in_channels: int = 3,
        num_frames: int = 8,
        frame_stride: int = 32,
        crop: int = 224,
        features: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        resize: Resize = "bicubic2d",
        local: Local = "windows",
    ) -> None:
        super().__init__()
        if crop < PATCH:
            raise ValueError(f"crop must be at least one patch ({PATCH} pixels), got {crop}")
        if resize not in ("bicubic2d", "authors"):
            raise ValueError(f'resize must be "bicubic2d" or "authors", got {resize!r}')
        steps = steps_of(scheme, local)
        self.scheme = scheme
        self.resize = resize
        self.spec = make_spec(
            in_channels,
            num_frames,
            frame_stride,
            fps=30.0,
            size=crop,
            crop=crop,
            mean=(0.45,) * 3,
            std=(0.225,) * 3,
        )
        self.num_classes = num_classes
        self.patch_embed = nn.Conv2d(in_channels, features, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, features))
        self.position_embed = nn.Parameter(torch.zeros(1, 1 + (crop // PATCH) ** 2, features))
        self.time_embed = None
        if scheme != "space":
            self.time_embed = nn.Parameter(torch.zeros(1, num_frames, features))
        self.blocks = nn.ModuleList(
            Block(steps, features, num_heads, drop_path * index / max(depth - 1, 1)) for index in range(depth)
        )
        self.norm = nn.LayerNorm(features, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)
        self._initialise()
        self.reset_head(num_classes)

    def _initialise(self) -> None:
        """As the authors: truncated normal weights, no biases, and zero where time comes in."""
        nn.init.trunc_normal_(self.class_token, std=INIT_STD)
        nn.init.trunc_normal_(self.position_embed, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, AddedAttention):
                nn.init.zeros_(module.fc.weight)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Score a batch of clips by what the class token has gathered.

        clip_BCTHW: float, normalised by `self.spec`; any number of frames of at least 16 x 16 pixels, of
        which whole patches are used. Returns logits_BK. Paper: sec. 3.
        """
        cls, _ = self._run(*self._embed(clip_BCTHW))
        if self.scheme == "space":  # one class token a frame: the average goes into the norm
            cls = cls.unflatten(0, (clip_BCTHW.shape[0], -1)).mean(1)
        return self.head(self.dropout(self.norm(cls[:, 0])))

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The patches after the last block and the norm; the class token, which is scored, is not in it.

        clip_BCTHW: as for `forward`. Returns feature_BDTHW: D = 768, T frames, H W = pixels / 16.
        """
        _, patches = self._run(*self._embed(clip_BCTHW))
        batch, frames = clip_BCTHW.shape[0], clip_BCTHW.shape[2]
        return self.norm(patches).reshape(batch, frames, *patches.shape[2:]).permute(0, 4, 1, 2, 3)

    def reset_head(self, num_classes: int) -> None:
        """Put an untrained classifier of `num_classes` (K) on top, on the device of the old one."""
        self.head = fresh_classifier(self.head, num_classes, std=INIT_STD)
        self.num_classes = num_classes
        self.class_names = None

    def attention_maps(
        self, clip_BCTHW: Tensor, query_index: Grid | None = None, block: int = -1
    ) -> dict[str, Tensor]:
        """How much one token takes from each patch, in each step of one block: what attention looks at.

        clip_BCTHW: as for `forward`. query_index: (frame, row, column) of the patch that asks; None is the
        class token, which asks in the last step only: the average of its copies, one in each group. block:
        its number; negative ones count from the end. Returns weights_BNTHW by the step's name: N heads, T H W
        patches. They are zero where `attention_pattern` is false; what misses to 1 goes to the class token.
        Raises ValueError for a position outside and for a block that is not there.
        """
        cls, patches = self._embed(clip_BCTHW)
        frames, grid = clip_BCTHW.shape[2], grid_of(patches)
        check_index(query_index or (0, 0, 0), (frames, *grid[1:]))
        if not -len(self.blocks) <= block < len(self.blocks):
            raise ValueError(f"there is no block {block} among {len(self.blocks)}")
        chosen: Any = self.blocks[block]
        cls, patches = self._run(cls, patches, block % len(self.blocks))
        found: dict[str, Tensor] = {}
        position = query_index if query_index is None or self.scheme != "space" else (0, *query_index[1:])
        for name, step in chosen.added.items():
            if position is not None:
                found[name] = _weights(step, cls, patches, position)
            patches = patches + step(patches)
        found[chosen.attention.step] = _weights(chosen.attention, cls, patches, position)
        if self.scheme == "space":  # frames lie in the batch: put them in a row, and let one frame ask
            own = found["space"].unflatten(0, (-1, frames)).squeeze(3).transpose(1, 2)
            asking = torch.full((frames,), 1 / frames, device=own.device)
            if query_index is not None:
                asking = (torch.arange(frames, device=own.device) == query_index[0]).to(own.dtype)
            found["space"] = own * asking[:, None, None]
        return found

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resize the embeddings of weights that were trained on clips of another size; the rest stays.

        state: a state_dict of this network at any `num_frames` and `crop`. Returns it for this network.
        """
        adapted = dict(state)
        position, time = (
            value if value is not None and value.ndim == 3 else None
            for value in (state.get("position_embed"), state.get("time_embed"))
        )
        count = self.position_embed.shape[1] - 1
        if position is not None and position.shape[1] - 1 not in (0, count):
            side, trained = math.isqrt(count), math.isqrt(position.shape[1] - 1)
            if self.resize == "authors":
                row = F.interpolate(position[:, 1:].mT, size=count, mode="nearest").mT
                adapted["position_embed"] = torch.cat((position[:, :1], row), dim=1)
            elif trained**2 == position.shape[1] - 1:
                adapted["position_embed"] = resize_positions(position, side, side, "bicubic")
        if time is not None and self.time_embed is not None and time.shape[1] != self.time_embed.shape[1]:
            adapted["time_embed"] = resize_times(time, self.time_embed.shape[1], self._time_mode)
        return adapted

    @property
    def _time_mode(self) -> str:
        return "nearest" if self.resize == "authors" else "linear"

    def _embed(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to tokens: cls_B1D and patches_BTHWD; for "space" with the frames in the batch and T = 1."""
        check_clip(self, clip_BCTHW, min_pixels=PATCH)
        batch, _, frames = clip_BCTHW.shape[:3]
        map_BDHW = self.patch_embed(clip_BCTHW.transpose(1, 2).flatten(0, 1))
        rows, columns = map_BDHW.shape[2:]
        position_1SD: Tensor = self.position_embed
        if (rows, columns) != (math.isqrt(position_1SD.shape[1] - 1),) * 2:
            mode = "nearest" if self.resize == "authors" else "bicubic"
            position_1SD = resize_positions(position_1SD, rows, columns, mode)
        cls = self.class_token + position_1SD[:, :1]
        offset_1THWD = position_1SD[:, 1:].unflatten(1, (1, rows, columns))
        if self.time_embed is None:
            batch, frames = batch * frames, 1
        else:
            time_1TD: Tensor = self.time_embed
            if frames != time_1TD.shape[1]:
                time_1TD = resize_times(time_1TD, frames, self._time_mode)
            offset_1THWD = offset_1THWD + time_1TD[:, :, None, None]
        patches = map_BDHW.unflatten(0, (batch, frames)).permute(0, 1, 3, 4, 2).contiguous()
        return cls.expand(batch, -1, -1), patches + offset_1THWD

    def _run(self, cls_B1D: Tensor, patches_BTHWD: Tensor, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """The first `depth` blocks, or all."""
        for block in self.blocks[:depth]:
            cls_B1D, patches_BTHWD = block(cls_B1D, patches_BTHWD)
        return cls_B1D, patches_BTHWD


def _weights(step: Attention, cls_B1D: Tensor, patches_BTHWD: Tensor, query_index: Grid | None) -> Tensor:
    """weights_BNTHW of one token in one step; None is the class token, on average over its copies."""
    grid, device = grid_of(patches_BTHWD), patches_BTHWD.device
    if query_index is None:
        labels = patch_labels(step.step, grid, device).flatten()
        mask_GS = torch.arange(int(labels.max()) + 1, device=device)[:, None] == labels
        query = 0
    else:
        mask_GS = step_mask(step.step, grid, device)[query_index].flatten()[None]
        query = 1 + (query_index[0] * grid[1] + query_index[1]) * grid[2] + query_index[2]
    sees_class_token = isinstance(step, OwnAttention)
    mask_GS = F.pad(mask_GS, (1, 0), value=sees_class_token)
    weights_BNGS = step.weights(torch.cat((cls_B1D, patches_BTHWD.flatten(1, 3)), dim=1), query, mask_GS)
    return weights_BNGS.mean(2)[:, :, 1:].unflatten(2, grid)


def resize_positions(position_BSD: Tensor, rows: int, columns: int, mode: str) -> Tensor:
    """Position embeddings for `rows` x `columns` patches, from those of a square; the class token's stays.

    position_BSD: the class token's, then those of the patches row by row; B = 1. mode: "bicubic" or
    "nearest". Returns position_BSD with S = 1 + rows x columns.
    """
    side = math.isqrt(position_BSD.shape[1] - 1)
    square_BDHW = position_BSD[:, 1:].mT.unflatten(2, (side, side)).float()
    resized = F.interpolate(square_BDHW, size=(rows, columns), mode=mode)
    return torch.cat((position_BSD[:, :1], resized.flatten(2).mT.to(position_BSD.dtype)), dim=1)


def resize_times(time_BTD: Tensor, num_frames: int, mode: str) -> Tensor:
    """Time embeddings for `num_frames` (T) frames; mode: "linear" or "nearest". Returns time_BTD."""
    return F.interpolate(time_BTD.mT.float(), size=num_frames, mode=mode).mT.to(time_BTD.dtype)


# --- by name --------------------------------------------------------------------------------------

TINY: dict[str, Any] = {"features": 32, "depth": 2, "num_heads": 2}


def _make(scheme: Scheme, num_classes: int, in_channels: int, tiny: bool, **options: Any) -> TimeSformer:
    """One way for all names; `tiny` is narrow and shallow, and made for the same clips."""
    return TimeSformer(scheme, num_classes, in_channels=in_channels, **options, **(TINY if tiny else {}))


def timesformer_space(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 8,
    frame_stride: int = 32,
    crop: int = 224,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """Space attention (S): each frame is an image; the class tokens are averaged.

    86.1 M parameters, 140.5 G multiply-adds for a clip of 3 x 8 x 224 x 224; blind to the order of frames.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("space", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_joint(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 8,
    frame_stride: int = 32,
    crop: int = 224,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """Joint space-time attention (ST): all patches of all frames ask each other.

    86.1 M parameters, 179.6 G multiply-adds for a clip of 3 x 8 x 224 x 224.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("joint", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_divided(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 8,
    frame_stride: int = 32,
    crop: int = 224,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """Divided space-time attention (T+S): along time, then within the frame. The paper's TimeSformer.

    121.6 M parameters, 195.8 G multiply-adds for a clip of 3 x 8 x 224 x 224.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("divided", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_local_global(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 8,
    frame_stride: int = 32,
    crop: int = 224,
    resize: Resize = "bicubic2d",
    local: Local = "windows",
) -> TimeSformer:
    """Sparse local + global attention (L+G): a quarter of all frames, then every second patch.

    121.6 M parameters (121.4 M with 174 classes). `local` is "windows" (fixed quarters) or "centred"
    (a window around each patch), see the module.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize, "local": local}
    return _make("local_global", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_axial(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 8,
    frame_stride: int = 32,
    crop: int = 224,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """Axial attention (T+W+H): along time, then along the row, then along the column.

    157.0 M parameters (156.8 M with 174 classes).
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("axial", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_hr(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 16,
    frame_stride: int = 16,
    crop: int = 448,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """TimeSformer-HR: divided attention over 16 frames of 448 x 448 pixels.

    122.0 M parameters, 1702.7 G multiply-adds for a clip of 3 x 16 x 448 x 448.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("divided", num_classes, in_channels, tiny, **clip, **rest)


def timesformer_l(
    num_classes: int = 400,
    in_channels: int = 3,
    tiny: bool = False,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    num_frames: int = 96,
    frame_stride: int = 4,
    crop: int = 224,
    resize: Resize = "bicubic2d",
) -> TimeSformer:
    """TimeSformer-L: divided attention over 96 frames, every fourth.

    121.6 M parameters, 2379.9 G multiply-adds for a clip of 3 x 96 x 224 x 224.
    Options: see `TimeSformer`; dropout and drop_path are probabilities, crop is in pixels.
    """
    clip = {"num_frames": num_frames, "frame_stride": frame_stride, "crop": crop}
    rest = {"dropout": dropout, "drop_path": drop_path, "resize": resize}
    return _make("divided", num_classes, in_channels, tiny, **clip, **rest)
