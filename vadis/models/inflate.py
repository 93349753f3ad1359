"""Image networks into video networks: 2D weights given a third dimension, by the papers' rules.

A k x k filter becomes t x k x k. Repeated t times and divided by t, it answers to a clip of one repeated
frame as it did to the picture (I3D, section 2.2); put on the middle of t frames, the others zero, it does
so at the borders of a clip too, and looks at one frame at first. Layers that only look along time, which
no image network has, start as the identity, or at zero where they stand beside a way that passes by. So
the video network begins where the image network ended: the boring-video property, which
`boring_video_difference` measures.

    rule          what becomes of a filter W of k x k            exact on a boring video
    "repeat"      W / t at each of t frames                      in the interior of the clip
    "centre"      W at the middle frame, zero at the others      everywhere

Zero padding in time breaks the first at the ends of a clip: there the filter sees frames of zeros. With
the first and last frame repeated instead (`repeated_ends`) it holds everywhere.

`vadis.models.image_keys` says for each family how our keys are spelled in the image network: ResNets,
GoogLeNet and ViT-B/16 in torchvision's spelling (timm's is the same for ResNets, and is understood for ViT);
networks that look at single frames hold a `Trunk` that says it itself. For the widths of ResNeXt3D there is
timm's resnext101_32x4d only, and for 200 layers its resnet200: give their files. The R3D family has no first
pooling, so its answer to a boring video is that of a ResNet without one. ECO's image part starts so, from
BN-Inception. What no image network of these has the filters of is not started: C3D, R(2+1)D and CSN (other
widths), ARTNet, MFNet and the pseudo-3D Xceptions.

Sources: Carreira and Zisserman (arXiv:1705.07750) sec. 2.2; Wang et al., Non-local Neural Networks
(arXiv:1711.07971) sec. 4.1; Qiu et al., P3D (arXiv:1711.10305); Bertasius et al., TimeSformer
(arXiv:2102.05095).
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadis.models.contract import VideoModel
from vadis.models.image_keys import CORRESPONDENCES, Correspondence, Fate, of_parts

Rule = Literal["repeat", "centre"]
State = Mapping[str, Tensor]


class InflationError(ValueError):
    """Image weights do not fit a network; the message says which keys, or which would fit."""


@dataclass(frozen=True)
class Inflation:
    """What became of each key.

    mapped: our keys that took the image network's values as they are; inflated: those that gained a
    length in time; resized: those brought to another number of channels or positions; identity, zero:
    those that start so by rule; left: ours that keep their random start; unused: the image network's
    keys that went nowhere.
    """

    mapped: tuple[str, ...]
    inflated: tuple[str, ...]
    resized: tuple[str, ...]
    identity: tuple[str, ...]
    zero: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line of counts for people."""
        parts = [f"{len(getattr(self, name))} {name}" for name in self.__dataclass_fields__]
        return ", ".join(parts)


TORCHVISION_VIT = (
    ("encoder.layers.encoder_layer_", "blocks."),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj.", "attn.proj."),
    ("encoder.pos_embedding", "pos_embed"),
    ("class_token", "cls_token"),
    ("conv_proj.", "patch_embed.proj."),
    ("encoder.ln.", "norm."),
    ("heads.head.", "head."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    ("mlp.linear_1.", "mlp.fc1."),
    ("mlp.linear_2.", "mlp.fc2."),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.3.", "mlp.fc2."),
)


def one_spelling(image_state: State) -> dict[str, Tensor]:
    """A state_dict without wrappers and step counters; torchvision's ViT in timm's spelling."""
    state = {key.removeprefix("module."): value for key, value in image_state.items()}
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if "encoder.pos_embedding" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        for theirs, ours in TORCHVISION_VIT:
            key = key.replace(theirs, ours)
        renamed[key] = value
    return renamed


def correspondence(model: str | VideoModel) -> Correspondence:
    """How a network (or the default build of its name) corresponds to an image network.

    Raises InflationError, which lists those that do, where it does not.
    """
    name = _kind(model)
    for each in CORRESPONDENCES:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in each.models):
            return each
    try:
        network = _on_meta(name) if isinstance(model, str) else model
        found = None if network is None else of_parts(network)
    except ValueError as error:
        raise InflationError(str(error)) from error
    if found is not None:
        return found
    known = ", ".join(pattern for each in CORRESPONDENCES for pattern in each.models)
    raise InflationError(
        f"{name} is not made from an image network; these are: {known}, and those that look at single frames"
    )


def _kind(model: str | VideoModel) -> str:
    return (model if isinstance(model, str) else model.name).partition(".")[0]


def _on_meta(name: str) -> VideoModel | None:
    """The default build of a name, without memory; None where there is no such network."""
    from vadis.models import MODELS, create_model

    with torch.device("meta"):
        return create_model(name, tiny=True) if name in MODELS else None


def image_name(model: str | VideoModel) -> str:
    """The image network that a network of ours (or the default build of its name) is made from ("resnet50").

    torchvision's name of it; another one, where torchvision has none, needs a file.
    """
    depth = re.search(r"_r?(18|34|50|63|101|131|152|199|200)\b", _kind(model).replace("_", " _"))
    depths = {"63": "50", "131": "101", "199": "152"}
    found = depth[1] if depth else ""
    return correspondence(model).images.format(depths.get(found, found))


def inflate(model: VideoModel, image_state: State, rule: str = "repeat") -> Inflation:
    """Start a network of ours from an image network's weights; changes `model` in place.

    model: made by `create_model`, whose name says how it corresponds. image_state: a state_dict in
    torchvision's (or timm's) spelling. The classifier is taken over where it has as many classes. Returns
    what became of each key. Raises InflationError where the network has no counterpart, the rule is
    unknown, or a key or shape does not fit; `model` is unchanged then. rule: "repeat" or "centre".
    """
    if rule not in get_args(Rule):
        raise InflationError(f"no rule is called {rule!r}; there are {', '.join(get_args(Rule))}")
    kind = _kind(model)
    ours = correspondence(model)
    theirs = one_spelling(image_state)
    fates: dict[str, list[str]] = {name: [] for name in Inflation.__dataclass_fields__}
    new: dict[str, Tensor] = {}
    used: set[str] = set()
    faults: list[str] = []
    fate: str
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        start = ours.along_time(model, key)
        if start is not None:
            new[key], fate = _start(model, key, value, start), start
        else:
            source = ours.find(key)
            is_head = key.rpartition(".")[0] in model.heads
            if source is None or (is_head and _other_classes(value, theirs.get(source))):
                fates["left"].append(key)
                continue
            if source not in theirs:
                faults.append(f"{source} (for {key}) is missing")
                continue
            used.add(source)
            try:
                new[key], fate = _fit(model, key, theirs[source].float(), value, rule)
            except InflationError as error:
                faults.append(f"{source} (for {key}) {error}")
                continue
        fates[fate].append(key)
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InflationError(
            f"these are not the weights of {image_name(model)}, from which {kind} is made: "
            + "; ".join(faults[:5])
            + more
        )
    fates["unused"] = sorted(set(theirs) - used)
    model.load_state_dict({**model.state_dict(), **new})
    return Inflation(**{name: tuple(keys) for name, keys in fates.items()})


def inflate_kernel(weight_DCHW: Tensor, num_frames: int, rule: str = "repeat") -> Tensor:
    """One filter of an image network given a length in time.

    weight_DCHW: D filters. Returns weight_DCTHW with T = num_frames.
    """
    weight_DCTHW = weight_DCHW.unsqueeze(2)
    if rule == "repeat":
        return weight_DCTHW.repeat(1, 1, num_frames, 1, 1) / num_frames
    before = num_frames // 2
    return F.pad(weight_DCTHW, (0, 0, 0, 0, before, num_frames - 1 - before))


def identity_along_time(weight_DCTHW: Tensor) -> Tensor:
    """A kernel of t x 1 x 1 that passes on each channel as it is; shape as given, D = C."""
    new = torch.zeros_like(weight_DCTHW)
    channels = torch.arange(min(weight_DCTHW.shape[:2]))
    new[channels, channels, weight_DCTHW.shape[2] // 2] = 1.0
    return new


def _start(model: VideoModel, key: str, value: Tensor, start: Fate) -> Tensor:
    """A layer along time at its start: a kernel, or the batch norm behind it, which is to change nothing."""
    if value.ndim == 5 and start == "identity":
        return identity_along_time(value)
    layer, _, leaf = key.rpartition(".")
    owner = model.get_submodule(layer) if layer else model
    if not isinstance(owner, nn.BatchNorm3d):
        return torch.zeros_like(value)
    undone = (1.0 + owner.eps) ** 0.5  # of the epsilon under the root
    return torch.full_like(value, {"weight": undone, "running_var": 1.0}.get(leaf, 0.0))


def _other_classes(value: Tensor, image: Tensor | None) -> bool:
    return image is None or value.shape[0] != image.shape[0]


def _fit(model: VideoModel, key: str, image: Tensor, ours: Tensor, rule: str) -> tuple[Tensor, str]:
    """An image network's array in the shape of ours, and what became of it."""
    from vadis.models import average_channels

    fate = "mapped"
    if image.ndim == 4 and ours.ndim == 5:
        if image.shape[0] != ours.shape[0] or image.shape[2:] != ours.shape[3:]:
            raise InflationError(f"is {tuple(image.shape)}, which does not inflate to {tuple(ours.shape)}")
        fate = "inflated" if ours.shape[2] > 1 else "mapped"
        image = inflate_kernel(image, ours.shape[2], rule)
    if image.ndim == 2 and ours.ndim == 5 and image.shape == ours.shape[:2]:
        image = image.reshape(ours.shape)
    if image.shape == (1, *ours.shape):  # batch norm in files of the first PyTorch
        image = image[0]
    if image.ndim == ours.ndim and image.ndim > 1 and image.shape[1] != ours.shape[1]:
        if key in model.input_weights:
            image, fate = average_channels(image, ours.shape[1]), "resized"
        elif (
            image.ndim > 3 and image.shape[1] < ours.shape[1]
        ):  # what another pathway adds counts for nothing
            padding = (0, 0) * (image.ndim - 2) + (0, ours.shape[1] - image.shape[1])
            image, fate = F.pad(image, padding), "resized"
        elif model.adapt_state is not None:
            image, fate = model.adapt_state({key: image})[key], "resized"
    if image.shape != ours.shape:
        raise InflationError(f"is {tuple(image.shape)}, which does not fit {tuple(ours.shape)}")
    return image.to(ours.dtype), fate


def load_image_weights(source: str | Path) -> dict[str, Tensor]:
    """The state_dict of an image network: torchvision's ("resnet50", "resnet50.IMAGENET1K_V2") or a file's.

    A name is fetched by torchvision's own table and kept in torch's cache; a file is .pth, .pt (tensors
    only, no code is run), .safetensors, or MatConvNet's .mat. Raises InflationError that says what to do.
    """
    text = str(source)
    if Path(text).suffix in (".pth", ".pt", ".bin", ".safetensors"):
        return _read(Path(text))
    if Path(text).suffix == ".mat":
        return _read_mat(Path(text))
    import torchvision.models

    name, _, tag = text.partition(".")
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise InflationError(
            f"{text} is neither a file (.pth, .pt, .safetensors, .mat) nor a network of torchvision; for "
            "others `vadis weights inflate FILE --model NAME` makes a start from its file"
        )
    choices = torchvision.models.get_model_weights(name)
    if tag and tag not in choices.__members__:
        raise InflationError(f"{name} has no weights {tag}; torchvision has {', '.join(choices.__members__)}")
    chosen = choices[tag] if tag else choices["IMAGENET1K_V1"]
    try:
        return dict(chosen.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise InflationError(
            f"{chosen.url} cannot be fetched ({error}); fetch it on another machine and give the file"
        ) from error


def _read_mat(path: Path) -> dict[str, Tensor]:
    from vadis.models.layouts.matconvnet import image_state
    from vadis.models.matconvnet import MatError, read_matconvnet

    try:
        arrays = image_state(read_matconvnet(path))
    except (MatError, OSError) as error:
        raise InflationError(f"{path} cannot be read: {error}") from error
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def _read(path: Path) -> dict[str, Tensor]:
    import pickle

    from safetensors.torch import load_file

    if not path.is_file():
        raise InflationError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        raise InflationError(f"{path} cannot be read safely ({str(error).splitlines()[0][:200]})") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InflationError(f"{path} holds no state_dict of tensors")
    return state


def inflate_file(
    image: str,
    model: str,
    out: str | Path,
    rule: str = "repeat",
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
) -> Inflation:
    """Make a network of ours from an image network's weights and write it as a .safetensors file.

    image: as `load_image_weights` takes it. num_classes: of the new network (default: as many as the image
    network has, so that its classifier is taken over). Returns what became of each key. The file says that
    it was never trained on video. Raises InflationError, and ValueError for an unknown network.
    """
    from vadis.models import create_model
    from vadis.models.weights import save_model

    correspondence(model)  # an unknown network is refused before anything is fetched
    state = one_spelling(load_image_weights(image))
    found = next((state[key] for key in ("fc.weight", "head.weight") if key in state), None)
    classes = num_classes or (None if found is None else int(found.shape[0]))
    options: dict[str, Any] = {} if in_channels == 3 else {"in_channels": in_channels}
    network = create_model(model, num_classes=classes, **options)
    report = inflate(network, state, rule)
    save_model(network, out, name=f"{model}.{Path(out).stem}")
    return report


@contextlib.contextmanager
def repeated_ends(model: nn.Module) -> Iterator[None]:
    """While this lasts, convolutions of `model` see the first and last frame repeated beyond the ends.

    That is what a longer clip of the same picture would show them, where zeros would be black frames.
    """
    handles = []
    for module in model.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            # A longer clip and a shorter answer, both in whole strides: whatever way the layer itself pads,
            # the zeros that it adds are then seen only by what is cut off.
            steps = -(-module.kernel_size[0] // module.stride[0])
            handles.append(module.register_forward_pre_hook(_lengthen(steps * module.stride[0])))
            handles.append(module.register_forward_hook(_shorten(steps)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _lengthen(frames: int) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    return lambda module, inputs: F.pad(inputs[0], (0, 0, 0, 0, frames, frames), mode="replicate")


def _shorten(positions: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    return lambda module, inputs, output: output[:, :, positions:-positions]


def boring_video_difference(
    model: VideoModel, image_network: nn.Module, image_BCHW: Tensor, num_frames: int | None = None
) -> float:
    """How far a video network is from its image network on a clip of one repeated frame.

    image_BCHW: float, as both networks take it. num_frames: of the clip (default: the model's own). Both
    run in eval mode, the video network with `repeated_ends`. Returns the largest difference of the logits
    as a fraction of the largest logit of the image network.
    """
    frames = model.spec.num_frames if num_frames is None else num_frames
    clip_BCTHW = image_BCHW.unsqueeze(2).expand(-1, -1, frames, -1, -1).contiguous()
    training = model.training, image_network.training
    try:
        model.eval()
        image_network.eval()
        with torch.no_grad(), repeated_ends(model):
            found_BK, wanted_BK = model(clip_BCTHW), image_network(image_BCHW)
    finally:
        model.train(training[0])
        image_network.train(training[1])
    return float((found_BK - wanted_BK).abs().max() / wanted_BK.abs().max())
