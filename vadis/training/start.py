"""The network that a run starts from: options, spec, weights, a head for the classes at hand."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, get_args, get_origin, get_type_hints

import torch
from torch import nn

from vadis.config import DataConfig, ModelConfig, Recipe
from vadis.data.clips import check_modality
from vadis.models import MODELS, VideoModel, create_model
from vadis.specs import ClipSpec, adjust
from vadis.video.transform import FLOW

log = logging.getLogger(__name__)

IMAGENET = "imagenet"
MODALITIES = ("rgb", "flow", "warped_flow", "rgb_diff", "audio")
"""What `--modality` may be."""


def build_network(recipe: Recipe, class_names: tuple[str, ...]) -> VideoModel:
    """The network of a recipe, with a head for the classes; on the CPU, its random parts by `run.seed`.

    Its spec is what training and prediction feed it: the network's (or its weights') own, with what
    `recipe.data` sets. Where the weights were trained on these very class names their head stays. Raises
    ValueError for names, options or weights that do not fit, DownloadError where weights cannot be fetched.
    """
    config = recipe.model
    if not config.name:
        raise ValueError("the recipe names no network: set model.name")
    name, _, tag = config.name.partition(".")
    init = config.init if config.init is not None else tag or None
    options = network_options(replace(config, name=name), recipe.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.run.seed)
        if init is None or init == IMAGENET:
            model = create_model(name, num_classes=len(class_names), tiny=config.tiny, **options)
            if init == IMAGENET:
                _start_from_images(model)
        else:
            weights = Path(init) if _is_file(init) else init
            # without num_classes, so that a head for other classes of the same number does not stay
            model = create_model(name, weights, tiny=config.tiny, **options)
            if model.class_names != class_names:
                model.reset_head(len(class_names))
    model.class_names = class_names
    model.name = name  # it is no longer the published network
    model.weights_sha256 = None
    model.spec = run_spec(model, recipe.data)
    model.spec = as_modality(model, config.modality)
    _set_drop(model, config)
    return model


def fit_head(model: VideoModel, class_names: tuple[str, ...]) -> None:
    """A fresh head for these classes on a network that was given, unless it was built for them."""
    is_built = model.class_names is None and model.num_classes == len(class_names)
    if not is_built and model.class_names != class_names:
        model.reset_head(len(class_names))
    model.class_names = class_names


def network_options(config: ModelConfig, data: DataConfig) -> dict[str, Any]:
    """What goes to the network's function: `model.options`, dropout, and the clip's size where it wants it.

    Raises ValueError for an option that the network does not have, with the nearest.
    """
    maker = MODELS.get(config.name)
    if maker is None:
        near = difflib.get_close_matches(config.name, MODELS, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no model is called {config.name!r}{hint}")
    signature = inspect.signature(maker).parameters
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.values())
    options = dict(config.options)
    for key, value in modality_options(config, maker).items():
        options.setdefault(key, value)
    for key in options:
        if key not in signature and not takes_any:
            known = [item for item in signature if item not in ("num_classes", "tiny")]
            near = difflib.get_close_matches(key, known, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{config.name} has no option {key!r}; {hint}")
    for key in ("dropout", "drop_path"):
        value = getattr(config, key)
        if value is not None and key in signature:
            options.setdefault(key, value)
    for key, value in (
        ("num_frames", data.num_frames),
        ("num_segments", data.num_frames),
        ("crop", data.crop),
        ("frame_stride", data.frame_stride),
    ):
        if value is not None and key in signature:  # networks whose weights depend on the clip's size
            options.setdefault(key, value)
    return options


def modality_options(config: ModelConfig, maker: Callable[..., Any]) -> dict[str, Any]:
    """The options of a network's function that make it take `model.modality`, where it has such options.

    Raises ValueError for a modality that there is not.
    """
    kind = config.modality
    if kind is None:
        return {}
    if kind not in MODALITIES:
        raise ValueError(f"model.modality is one of {', '.join(MODALITIES)}, not {kind!r}")
    known = set(inspect.signature(maker).parameters)
    for hint in get_type_hints(maker).values():  # **options: Unpack[Options]
        for typed in get_args(hint) if get_origin(hint) is Unpack else ():
            known |= set(typed.__annotations__)
    options: dict[str, Any] = {"in_channels": 2 if kind in FLOW else 3, "modality": kind}
    return {key: value for key, value in options.items() if key in known and kind != "audio"}


def as_modality(model: VideoModel, kind: str | None) -> ClipSpec:
    """The network's spec as one of `kind`; differences of frames go into any network of frames.

    Raises ValueError where the network takes something else, with what can be done.
    """
    spec = model.spec
    if kind is None or kind == spec.modality:
        return spec
    if {kind, spec.modality} in ({"rgb", "rgb_diff"}, set(FLOW)):
        return replace(spec, modality=kind)
    if kind == "audio":
        hint = "the networks for sound are " + ", ".join(name for name in MODELS if name.startswith("sound_"))
    elif spec.parts:
        hint = "it takes these together; train its streams one by one instead"
    else:
        hint = "its layers are made for that; take a network with the option in_channels (`vadis models`)"
    raise ValueError(f"{model.name} takes {spec.modality}, not {kind}: {hint}")


def run_spec(model: VideoModel, data: DataConfig) -> ClipSpec:
    """The network's spec with what the recipe's data part sets, in frames and pixels.

    Where only the crop or only the size is set, the other follows where it must.
    """
    spec = model.spec
    check_modality(spec)
    size, crop = data.size or spec.size, data.crop or spec.crop
    if data.size is None and crop > size:
        size = crop
    if data.crop is None and crop > size:
        crop = size
    frames = data.num_frames or spec.num_frames
    if frames < model.min_frames:
        raise ValueError(
            f"{model.name} takes at least {model.min_frames} frames, data.num_frames is {frames}"
        )
    return adjust(
        spec,
        num_frames=frames,
        frame_stride=data.frame_stride or spec.frame_stride,
        fps=spec.fps if data.fps is None else data.fps,
        size=size,
        crop=crop,
    )


def _start_from_images(model: VideoModel) -> None:
    from vadis.models.inflate import image_name, inflate, load_image_weights

    report = inflate(model, load_image_weights(image_name(model)))
    log.info("%s starts from %s: %s", model.name, image_name(model), report.summary())


def _is_file(init: str) -> bool:
    return init.endswith(".safetensors") or Path(init).is_file()


def _set_drop(model: VideoModel, config: ModelConfig) -> None:
    """Set dropout where the network's function does not take it, and say so where there is nothing to set."""
    if config.dropout is not None and model.options.get("dropout") != config.dropout:
        layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
        for layer in layers:
            layer.p = config.dropout
        if not layers and config.dropout:
            raise ValueError(
                f"{model.name} has no dropout to set to {config.dropout}: leave out model.dropout"
            )
    if config.drop_path and "drop_path" not in model.options:
        raise ValueError(f"{model.name} has no drop_path: leave out model.drop_path")
