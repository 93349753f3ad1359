"""The output of any layer of any network, by its name, without computing what lies beyond it.

    pool            the mean over time and space of `forward_features`: one vector of D numbers
    map             `forward_features` as it is: (D, T, H, W)
    head_input      what the last layer sees, averaged: `logits = head_input @ W + b` holds exactly; networks
                    that choose among the scores of several positions (`head_last` is False) have none
    NAME            the output of a module ("mixed4f", "blocks.3.norm1"), averaged over positions
    NAME:map        the same, not averaged

Legend: B batch, C channels, T frames, H W pixels, D features, P positions.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vadis.models import VideoModel
from vadis.models.contract import make_clip

SPECIAL = ("pool", "map", "head_input")
WHOLE = ":map"


class _ReachedError(Exception):
    """Carries a layer's output out of a network that need not go on."""

    def __init__(self, value: Any) -> None:
        self.value = value


class FeatureNetwork(nn.Module):
    """A network cut off after one layer: clip_BCTHW -> features_BD, or (B, ...) where it is not averaged.

    A module that runs several times in a pass is heard the first time. Raises ValueError for a layer that
    the network does not have, or that no clip passes through.
    """

    def __init__(self, model: VideoModel, layer: str = "pool") -> None:
        super().__init__()
        self.model = model
        self.layer = layer
        self.spec = model.spec
        self._whole = layer == "map" or layer.endswith(WHOLE)
        self._name = layer.removesuffix(WHOLE)
        if self._name not in SPECIAL:
            check_layer(model, self._name)
        if self._name == "head_input" and not model.head_last:
            raise ValueError(
                f"{model.name or 'this network'} with {dict(model.options)} makes its answer of the scores "
                "of several positions in a way that no single vector of features gives, so it has no "
                "head_input; take another layer, such as pool"
            )

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Compute the layer. clip_BCTHW: float, normalised by `spec`. Returns features_BD (see the class)."""
        batch = len(clip_BCTHW)
        if self._name == "head_input":
            return self._listen_to_heads(clip_BCTHW)
        if self._name in ("pool", "map"):
            value: Any = self.model.forward_features(clip_BCTHW)
        else:
            value = self._listen(clip_BCTHW)
        if not isinstance(value, Tensor):
            raise ValueError(f"{self.layer} gives {type(value).__name__}, not a tensor; name a layer in it")
        if self._whole:
            return value if len(value) == batch else value.unflatten(0, (batch, -1))
        return average_positions(value, batch)

    def _listen(self, clip_BCTHW: Tensor) -> Any:
        def stop(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            raise _ReachedError(output)

        handle = self.model.get_submodule(self._name).register_forward_hook(stop)
        try:
            self.model(clip_BCTHW)
        except _ReachedError as reached:
            return reached.value
        finally:
            handle.remove()
        raise ValueError(f"no clip passes through {self._name!r} of {self.model.name or 'this network'}")

    def _listen_to_heads(self, clip_BCTHW: Tensor) -> Tensor:
        batch = len(clip_BCTHW)
        heard: dict[str, Tensor] = {}
        handles = []
        for name in head_names(self.model):

            def note(module: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                value_BD = inputs[0]
                if isinstance(module, nn.Linear) and value_BD.ndim > 2:
                    value_BD = value_BD.reshape(batch, -1, value_BD.shape[-1]).mean(1)
                heard[name] = average_positions(value_BD, batch)

            handles.append(self.model.get_submodule(name).register_forward_pre_hook(note))
        try:
            self.model(clip_BCTHW)
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat(list(heard.values()), dim=1) if len(heard) > 1 else next(iter(heard.values()))


def head_names(model: VideoModel) -> tuple[str, ...]:
    """The modules that turn features into logits, which are added: one, or two where LGD sums two paths."""
    if getattr(model, "head_global", None) is None:
        return ("head",)
    return {"sum": ("head", "head_global"), "global": ("head_global",)}.get(
        str(getattr(model, "head_mode", "")), ("head",)
    )


def scale_heads(model: VideoModel, factor: float) -> None:
    """Multiply the logits by a factor (1 / temperature) in the weights of the heads."""
    with torch.no_grad():
        for name in head_names(model):
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(factor)


def hash_trunk(model: VideoModel) -> str:
    """sha256 of the structure and the weights of a network without its heads, which its features do not need.

    So the features of one trunk are the same for whatever classes it is taught.
    """
    heads = head_names(model)
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        if name not in heads:
            digest.update(f"{name} {type(module).__name__} {module.extra_repr()}\n".encode())
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in heads:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def list_stages(model: VideoModel) -> tuple[str, ...]:
    """The layers of a network from the pixels up, without its heads: its named parts, as they run.

    A list of blocks counts as its blocks, a network or a pathway with stages inside as these. What has no
    weights of two or more axes (a norm) belongs to the layer before it and is not named.
    """
    stages = [name for name, is_layer in _parts(model) if is_layer]
    return tuple(stages)


def top_layers(model: VideoModel, num_layers: int) -> tuple[str, ...]:
    """Beginnings of the names of the parameters that learn where the last `num_layers` layers do.

    The heads are the last layer; they are not named, so one layer names nothing. Raises ValueError for a
    number below 1.
    """
    if num_layers < 1:
        raise ValueError(f"at least the last layer learns; got {num_layers}")
    parts = _parts(model)
    places = [place for place, (_, is_layer) in enumerate(parts) if is_layer]
    if num_layers == 1:
        return ()
    first = places[max(0, len(places) - (num_layers - 1))]
    return tuple(f"{name}." for name, _ in parts[first:])


def _parts(model: VideoModel) -> list[tuple[str, bool]]:
    """Each part of a network in the order in which it first runs, and whether it counts as a layer."""
    found: list[tuple[str, bool]] = []

    def visit(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            parameters = list(child.parameters())
            if prefix + name in head_names(model) or not parameters:
                continue
            inner = [key for key, part in child.named_children() if next(part.parameters(), None) is not None]
            is_pathway = "stem" in inner or "stages" in inner
            if isinstance(child, nn.ModuleList | nn.ModuleDict | VideoModel) or is_pathway:
                visit(child, f"{prefix}{name}.")
            else:
                found.append((prefix + name, any(parameter.ndim > 1 for parameter in parameters)))

    visit(model, "")
    heard = list(list_layers(model))

    def place(part: tuple[str, bool]) -> int:
        name = part[0]
        inside = (i for i, layer in enumerate(heard) if layer == name or layer.startswith(f"{name}."))
        return next(inside, -1)

    return sorted(found, key=place)


def write_head(model: VideoModel, weight_KD: Tensor, bias_K: Tensor, class_names: Sequence[str]) -> None:
    """Let the network answer `head_input @ weight_KD.T + bias_K`, for these classes.

    D is what the layer "head_input" gives. Raises ValueError where it does not fit.
    """
    model.reset_head(len(class_names))
    begin = 0
    heads: list[Any] = [model.get_submodule(name) for name in head_names(model)]
    sizes = [head.weight.shape[1] for head in heads]
    if sum(sizes) != weight_KD.shape[1]:
        raise ValueError(f"the head takes {sum(sizes)} features, the weights are for {weight_KD.shape[1]}")
    with torch.no_grad():
        for place, (head, size) in enumerate(zip(heads, sizes, strict=True)):
            head.weight.copy_(weight_KD[:, begin : begin + size].reshape(head.weight.shape))
            head.bias.copy_(bias_K if place == 0 else torch.zeros_like(bias_K))
            begin += size
    model.class_names = tuple(class_names)


def average_positions(value: Tensor, batch: int) -> Tensor:
    """features_BD: the mean over all positions of a layer's output, for `batch` clips.

    value: (B, D, ...) with positions after D; (B, P, D), tokens; (B, D); where frames are part of the first
    axis, they are positions too.
    """
    if value.shape[0] % batch:
        raise ValueError(f"a layer's output of shape {tuple(value.shape)} does not belong to {batch} clips")
    if value.ndim == 3:
        value = value.mean(1)
    elif value.ndim > 3:
        value = value.flatten(2).mean(2)
    elif value.ndim < 2:
        raise ValueError(f"a layer's output of shape {tuple(value.shape)} has no features")
    return value if len(value) == batch else value.unflatten(0, (batch, -1)).mean(1)


def check_layer(model: nn.Module, layer: str) -> None:
    """Raise ValueError, with the nearest names, unless the network has the layer."""
    names = [name for name, _ in model.named_modules() if name]
    name = layer.removesuffix(WHOLE)
    if name not in (*names, *SPECIAL):
        near = difflib.get_close_matches(name, [*SPECIAL, *names], 3, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"the network has no layer {layer!r}{hint} (--list-layers shows all)")


def list_layers(model: VideoModel) -> dict[str, tuple[int, ...] | None]:
    """Every layer that a clip passes through, in order, with the shape of its output for one clip.

    "pool", "map" and "head_input" come first. The shapes are computed without numbers, on a clip by the
    network's spec; None where the network cannot be run so, and then all its modules are listed.
    """
    clip = make_clip(model.spec, fill=torch.empty, device="meta")
    found: dict[str, tuple[int, ...] | None] = {}
    handles = []
    for name, module in model.named_modules():
        if not name:
            continue

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor):
                found.setdefault(name, tuple(output.shape[1:]))

        handles.append(module.register_forward_hook(note))
    training = model.training
    model.eval()
    try:
        state = {key: torch.empty_like(value, device="meta") for key, value in model.state_dict().items()}
        with torch.no_grad():
            functional_call(model, state, (clip,))
            special = {
                name: tuple(functional_call(FeatureNetwork(model, name), _inside(state), (clip,)).shape[1:])
                for name in SPECIAL
                if name != "head_input" or model.head_last
            }
    except (RuntimeError, NotImplementedError, TypeError):
        names = [*SPECIAL, *(name for name, _ in model.named_modules() if name)]
        return dict.fromkeys(names)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return {**special, **found}


def _inside(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{key}": value for key, value in state.items()}
