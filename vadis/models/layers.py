"""What three or more networks share: the check of what goes in, specs, heads, trunks, stochastic depth.

Everything else stands in the file of its paper, so that one file can be read beside one paper.

Shapes: B batch, C channels, T frames, H W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import VideoModel
from vadis.specs import ClipSpec

Size3 = tuple[int, int, int]
Classifier = TypeVar("Classifier", nn.Linear, nn.Conv3d)

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_spec(
    in_channels: int,
    num_frames: int,
    frame_stride: int = 1,
    *,
    fps: float | None = None,
    size: int = 256,
    crop: int = 224,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    value_range: tuple[float, float] = (0.0, 1.0),
    channel_order: Literal["rgb", "bgr"] = "rgb",
    stack: int = 1,
    sampling: Literal["clip", "segments"] = "clip",
    test_frames: int | None = None,
) -> ClipSpec:
    """What a network takes: RGB as given (3 channels), or flow (2: u and v in pixels / 20, in [-1, 1]).

    `stack` flow fields lie in the channels of each position; RGB is not stacked. Raises ValueError for
    another number of channels.
    """
    place: dict[str, Any] = {
        "num_frames": num_frames,
        "frame_stride": frame_stride,
        "fps": fps,
        "size": size,
        "crop": crop,
        "sampling": sampling,
        "test_frames": test_frames,
    }
    if in_channels == 2:
        place |= {"mean": (0.0, 0.0), "std": (1.0, 1.0), "value_range": (-1.0, 1.0), "stack": stack}
        return ClipSpec(modality="flow", **place)
    if in_channels != 3:
        raise ValueError(
            f"in_channels must be 3 (rgb) or 2 (flow: u and v; of a stack, of one field), got {in_channels}"
        )
    return ClipSpec(mean=mean, std=std, value_range=value_range, channel_order=channel_order, **place)


def feature_spec(num_features: int, num_clips: int, test_clips: int | None = None) -> ClipSpec:
    """What a network on features takes: `num_clips` vectors of `num_features`, as clip_BCTHW with H = W = 1.

    num_features: D, numbers of a vector. test_clips: vectors of a video at test, where that is another.
    """
    return ClipSpec(
        modality="features",
        num_frames=num_clips,
        size=1,
        crop=1,
        mean=(0.0,),
        std=(1.0,),
        stack=num_features,
        sampling="segments",
        test_frames=test_clips,
    )


def check_parts(model: VideoModel, clips: Mapping[str, Tensor]) -> None:
    """Refuse, with a ValueError, what lacks a modality of `model` or differs in the number of clips.

    clips: tensor_BCTHW by name. The parts check their own tensors.
    """
    name, wanted = type(model).__name__, ", ".join(model.spec.parts)
    if not isinstance(clips, Mapping):
        raise ValueError(f"{name} takes a dict of tensors ({wanted}), got {type(clips).__name__}")
    if set(clips) != set(model.spec.parts):
        raise ValueError(f"{name} takes the modalities {wanted}, got {', '.join(clips) or 'none'}")
    sizes = {part: len(tensor) for part, tensor in clips.items() if tensor.ndim == 5}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{name} takes as many clips of each modality, got {sizes}")


def check_clip(
    model: VideoModel, clip_BCTHW: Tensor, *, part: str = "", min_pixels: int = 1, min_frames: int = 1
) -> None:
    """Refuse what is no clip for `model`, or too small, with a ValueError that says what to do.

    part: the modality, of a network that takes several and checks them itself.
    """
    spec = model.spec.parts[part] if part else model.spec
    shape, channels = tuple(clip_BCTHW.shape), spec.channels
    name = f"{part} of {type(model).__name__}" if part else type(model).__name__
    if len(shape) != 5 or shape[1] != channels:
        raise ValueError(f"{name} takes clips of (batch, {channels}, frames, height, width), got {shape}")
    if shape[0] == 0:
        raise ValueError(f"{name} takes at least one clip, got an empty batch {shape}")
    if min(shape[3:]) < min_pixels:
        raise ValueError(
            f"{name} takes at least {min_pixels} x {min_pixels} pixels, got {shape[3]} x {shape[4]}: enlarge"
        )
    if shape[2] < min_frames:
        raise ValueError(f"{name} takes at least {min_frames} frames, got {shape[2]}: repeat frames")


def fresh_classifier(old: Classifier, num_classes: int, std: float = 0.01) -> Classifier:
    """An untrained classifier of `num_classes` (K) in place of `old`: same kind, inputs, device and type.

    Its weights are normal with the standard deviation `std` (logits per unit of feature), its biases zero.
    Returns the new layer. Raises ValueError for less than one class.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    kind: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    kind["bias"] = old.bias is not None
    new: Any
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, **kind)
    else:
        new = nn.Conv3d(old.in_channels, num_classes, 1, **kind)
    nn.init.normal_(new.weight, std=std)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    return new


class Pixels(TypedDict, total=False):
    """How the published image weights of a trunk want their pixels; goes into `make_spec` as it is."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: tuple[float, float]
    channel_order: Literal["rgb", "bgr"]


class ImagePart(nn.Module):
    """A part of a video network that an image network has too, so that it can start from image weights.

    `images` is torchvision's name of that network (timm's where torchvision has none; then a file is needed;
    empty where nobody published such weights),
    `classifier` the name of that network's classifier where it stands right on this part's `num_features`
    features (D), empty elsewhere. `vadis.models.inflate` finds all such parts of a network by itself.
    """

    num_features: int
    images: str
    classifier: str = ""

    def image_key(self, key: str) -> str | None:
        """How the image network spells our `key` (of a `state_dict`); here the same. None: it has none."""
        return key


class Trunk(ImagePart):
    """An image network up to its last map: what the video networks that look at single frames stand on.

    `forward(frames_BCHW) -> feature_BDHW` with D = `num_features`. `first` is the `state_dict` key of its
    first convolution's weight, `min_pixels` the least height and width, `pixels` how the published ImageNet
    weights want their input.
    """

    first: str
    min_pixels: int = 1
    pixels: ClassVar[Pixels] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def by_frame(trunk: nn.Module, clip_BCTHW: Tensor) -> Tensor:
    """Run a network for images on each frame of each clip.

    clip_BCTHW: any size that `trunk` takes. Returns feature_BDTHW, or feature_BDT of one without a map.
    """
    frames_BCHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)
    feature_BDHW: Tensor = trunk(frames_BCHW)
    return feature_BDHW.unflatten(0, (clip_BCTHW.shape[0], clip_BCTHW.shape[2])).transpose(1, 2)


class DropPath(nn.Module):
    """Stochastic depth: while training, a sample's residual branch is left out with `probability`.

    What stays is divided by 1 - probability, so that the expectation is the same. Source: Huang et al.,
    Deep Networks with Stochastic Depth (ECCV 2016).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x_B: Tensor) -> Tensor:
        """x_B: any number of axes, samples first. Returns x_B, each sample whole or zero."""
        if not self.training or self.probability == 0.0:
            return x_B
        kept = torch.rand((x_B.shape[0], *([1] * (x_B.ndim - 1))), device=x_B.device) >= self.probability
        return x_B * kept.to(x_B.dtype) / (1.0 - self.probability)

    def extra_repr(self) -> str:
        """The probability, for `print(model)`."""
        return f"probability={self.probability}"


class LocalResponseNorm(nn.Module):
    """AlexNet's normalisation: each value over (k + alpha x the mean square of `size` channels) ** beta.

    As `torch.nn.LocalResponseNorm`, whose kernel a CPU lacks in bfloat16. The mean is that of Caffe and
    cuda-convnet; AlexNet's formula, as printed, has the sum (alpha `size` times as large).
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size must be odd, a channel and as many on either side, got {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x_BC: Tensor) -> Tensor:
        """x_BC: channels second, any axes after them. Returns x_BC, of the same shape."""
        squares = x_BC.square().flatten(2).unsqueeze(1)  # channels as rows of a picture
        mean = F.avg_pool2d(squares, (self.size, 1), stride=1, padding=(self.size // 2, 0))
        scale = (self.k + self.alpha * mean).pow(self.beta)
        return x_BC / scale.squeeze(1).view(x_BC.shape)

    def extra_repr(self) -> str:
        """The four numbers, for `print(model)`."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
