"""What a training run is, as values: data, model, loss, optimiser, run. A recipe is one of these.

    recipe = override(recipe, ["optim.lr=0.05", "data.augment.flip=0"])    # what `--set` does

Plain frozen dataclasses: a recipe is a Python function that returns one (`vadis.recipes`), a variant is
`dataclasses.replace`, a saved run is its JSON. None means "as the network or the data say". No network and no
dataset ever sees these: `vadis.training` and `vadis.evaluation` take them apart.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union

Unit = Literal["epochs", "steps"]


@dataclass(frozen=True)
class Augment:
    """What training does to the pixels of a clip, in this order: scale, crop, mirror, colours, mixing.

    crop: "short_side" resizes so that the short side is drawn from `short_side` pixels (None: from the spec's
    size to 1.25 times it; `inverse` draws 1 / side uniformly, as SlowFast does) and cuts a random square;
    "resized" is Inception's crop with `area` and `aspect`; "multi_scale" is TSN's, with `scales`, of frames
    whose short side is drawn from `short_side` (None: the spec's size); "centre" has no chance in it.
    colour: brightness, contrast, saturation, hue as `vadis.data.augment.ColourJitter` takes them. grey, flip:
    probabilities; `flip_labels` exchanges classes that speak of left and right.
    mixup, cutmix: the alpha of the Beta distribution, 0 is off; where both are on, each batch takes one of
    them.
    """

    crop: Literal["short_side", "resized", "multi_scale", "centre"] = "short_side"
    short_side: tuple[int, int] | None = None
    inverse: bool = False
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    colour: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grey: float = 0.0
    flip: float = 0.5
    flip_labels: bool = True
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class DataConfig:
    """Which clips are drawn and how many go into one step.

    rule: of `vadis.data.clips.RULES`. num_frames, frame_stride, fps, size, crop: instead of the network's own
    spec (frames, frames, Hz, pixels, pixels). batch_size: clips a step of the optimiser sees, over all
    processes and accumulated parts together. repeats: clips drawn of each example in a row. balance: 0 as the
    data are, 1 every class equally often. workers: processes that decode, each for one training process.
    cache_gb: room for resized frames on disk, 0 for none. missing: an example that lacks a modality of the
    network (a silent video) fails ("error"), or zeros go in ("zero"). flow: the method by which
    flow is estimated on the way where none is stored (`vadis.video.flow.METHODS`).
    """

    rule: str = "random"
    num_frames: int | None = None
    frame_stride: int | None = None
    fps: float | None = None
    size: int | None = None
    crop: int | None = None
    batch_size: int = 8
    repeats: int = 1
    balance: float = 0.0
    workers: int = 2
    cache_gb: float = 0.0
    missing: Literal["error", "zero"] = "error"
    flow: str | None = None
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True)
class ModelConfig:
    """Which network, what it starts from, and which parts of it learn.

    init: None (random), a tag of published weights ("k400"), "imagenet" (inflated from torchvision's image
    network), or a .safetensors file. options: of the network's function. dropout, drop_path: probabilities,
    where the network has them. modality: what the network is to take instead ("rgb", "flow", "warped_flow",
    "rgb_diff", "audio"), where it can; weights for another one start it (their first filters averaged and
    repeated). freeze: beginnings of parameter names that do not learn; "backbone" is all but
    the head. learn: the opposite (only these and the head learn). frozen_batch_norm: which batch norms keep
    their statistics, "first_learns" is TSN's partial BN. heads, for several datasets: one "each", or one for
    their "union".
    """

    name: str = ""
    init: str | None = None
    tiny: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    dropout: float | None = None
    drop_path: float | None = None
    modality: str | None = None
    freeze: tuple[str, ...] = ()
    learn: tuple[str, ...] = ()
    frozen_batch_norm: Literal["none", "all", "first_learns"] = "none"
    sync_batch_norm: bool = False
    heads: Literal["each", "union"] = "union"


@dataclass(frozen=True)
class LossConfig:
    """What is made small.

    kind: "auto" is "class" (softmax cross entropy) for one label a clip, "multi_label" (sigmoid, binary cross
    entropy summed over classes, mean over clips divided by K) otherwise; "dense" adds the same per frame, for
    networks with `forward_dense` and data with spans, weighted `frame_weight` to 1 - `frame_weight`.
    label_smoothing: share of belief spread evenly over the classes. class_weights: "balanced" weighs each
    class by the inverse of its count. steps: for networks that read frames in order (`forward_steps`), a loss
    on the answer at each step, all of them "alike", or "rising" from a weight of 0 at the first to 1 at the
    last; "none" has one on their joint answer.
    """

    kind: Literal["auto", "class", "multi_label", "dense"] = "auto"
    label_smoothing: float = 0.0
    frame_weight: float = 0.5
    class_weights: Literal["none", "balanced"] = "none"
    steps: Literal["none", "alike", "rising"] = "none"


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move; lengths and places are in `unit`.

    lr: the peak rate; where `lr_for_batch` is set it holds for that many clips a step and grows in
    proportion. schedule: "constant"; "step" multiplies by `gamma` at each of `milestones`; "cosine" is half a
    period of it, from lr to `final_lr` (SlowFast's schedule); "linear"; "polynomial" (1 - t) ** `power`;
    "plateau" multiplies by `gamma` after `patience` validations without a better one. warmup: length of a
    linear rise from `warmup_lr` to lr. lr_scale: beginnings of parameter names to factors of the rate
    ({"head": 10}); the longest that fits counts. no_decay: what weight decay leaves out: "norm", "bias", or
    beginnings of names. clip_norm: largest norm of the gradient. ema: decay per step of a running mean of the
    weights, which is what is validated and kept; 0 is off.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    lr_for_batch: int | None = None
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    no_decay: tuple[str, ...] = ()
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    unit: Unit = "epochs"
    length: float = 10.0
    schedule: Literal["constant", "step", "cosine", "linear", "polynomial", "plateau"] = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    power: float = 1.0
    patience: int = 3
    final_lr: float = 0.0
    warmup: float = 0.0
    warmup_lr: float = 0.0
    clip_norm: float | None = None
    ema: float = 0.0


@dataclass(frozen=True)
class RunConfig:
    """Where and how long: what does not change the mathematics (but for `seed` and `precision`).

    part_size: clips that go through the network at once; the rest of a step's clips follow and gradients add
    up (None: all of a process's share at once). validate_every: epochs between validations, 0 for none.
    protocol: of `vadis.evaluation`, for validation. metric: which number decides what is best (None: "top1",
    or "mean_ap" for several labels). checkpoint_minutes, checkpoint_steps: how often the whole state is
    written, whichever comes first. threads: of PyTorch on a CPU.
    """

    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    part_size: int | None = None
    validate_every: float = 1.0
    protocol: str = "1x1"
    metric: str | None = None
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Source:
    """Where a recipe comes from, and what it should give.

    paper: "SlowFast (arXiv:1812.03982)". place: section, table or file. dataset: what it was trained on.
    expected: the published number with its protocol; "" where none is. differs: what we do otherwise.
    """

    paper: str = ""
    place: str = ""
    dataset: str = ""
    expected: str = ""
    differs: str = ""


@dataclass(frozen=True)
class Recipe:
    """All of a training run but the data itself."""

    name: str = "custom"
    title: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    source: Source = field(default_factory=Source)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `recipe_from_dict` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


Config = TypeVar("Config")


def recipe_from_dict(document: Mapping[str, Any]) -> Recipe:
    """A recipe from its JSON form. Raises ValueError for fields that there are not, or of a wrong type."""
    return _build(Recipe, document, "")


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with fields changed: "optim.lr=0.05", "data.augment.short_side=128,160", "model.init=none".

    A value is read by the type of its field: numbers, words, true/false, lists as JSON or as 1,2,3; "none"
    where a field may be None. An entry of a mapping is named after it ("optim.lr_scale.head=10",
    "model.options.depth=18"). Raises ValueError that names the nearest field.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes FIELD=VALUE, such as optim.lr=0.05, not {setting!r}")
        recipe = _set(recipe, path.strip().split("."), text.strip(), path.strip())
    return recipe


def list_fields(recipe: Recipe) -> dict[str, Any]:
    """Every field by its dotted name, with its value: what `--set` can change."""
    found: dict[str, Any] = {}

    def visit(value: Any, prefix: str) -> None:
        for item in dataclasses.fields(value):
            inner, name = getattr(value, item.name), prefix + item.name
            if dataclasses.is_dataclass(inner):
                visit(inner, name + ".")
            else:
                found[name] = inner

    visit(recipe, "")
    return found


def _set(config: Config, path: list[str], text: str, whole: str) -> Config:
    hints = typing.get_type_hints(type(config))
    name, rest = path[0], path[1:]
    if name not in hints:
        raise ValueError(f"there is no field {whole!r}{_nearest(whole)}")
    value = getattr(config, name)
    if dataclasses.is_dataclass(value):
        if not rest:
            raise ValueError(
                f"{whole} has fields of its own: {', '.join(typing.get_type_hints(type(value)))}"
            )
        return _changed(config, name, _set(value, rest, text, whole))
    if isinstance(value, Mapping):
        if not rest:
            raise ValueError(f"{whole} takes entries: {whole}.KEY=VALUE")
        inner = typing.get_args(hints[name])[1]
        key = ".".join(rest)  # names of parameters have dots in them
        return _changed(config, name, {**value, key: _read(text, inner, whole)})
    if rest:
        raise ValueError(f"there is no field {whole!r}{_nearest(whole)}")
    return _changed(config, name, _read(text, hints[name], whole))


def _changed(config: Config, name: str, value: Any) -> Config:
    changed: Config = dataclasses.replace(config, **{name: value})  # type: ignore[type-var]
    return changed


def _nearest(path: str) -> str:
    known = list(list_fields(Recipe()))
    close = difflib.get_close_matches(path, known, 1, 0.5)
    last = [name for name in known if name.split(".")[-1] == path.split(".")[-1]]
    return f"; did you mean {(last or close)[0]!r}?" if last or close else f"; there are {', '.join(known)}"


def _read(text: str, kind: Any, name: str) -> Any:
    """A word as a value of a type. JSON where it is JSON; a bare list of numbers or words is a list too."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if text.lower() == "none":
        value = None
    elif text.lower() in ("true", "false"):
        value = text.lower() == "true"
    if isinstance(value, str) and _wants_list(kind):
        parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
        value = [_read(part, Any, name) for part in parts]
    return _fit(value, kind, name, text)


def _wants_list(kind: Any) -> bool:
    members = typing.get_args(kind) if _is_union(kind) else (kind,)
    return any(typing.get_origin(member) is tuple for member in members)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (Union, types.UnionType)


def _fit(value: Any, kind: Any, name: str, said: object = None) -> Any:
    """`value` as `kind`, or ValueError; whole numbers are taken where a float is meant, never the reverse."""
    said = value if said is None else said
    if kind is Any:
        return value
    if _is_union(kind):
        members = typing.get_args(kind)
        if value is None and type(None) in members:
            return None
        for member in members:
            if member is not type(None):
                try:
                    return _fit(value, member, name, said)
                except ValueError:
                    continue
        raise ValueError(f"{name} takes {_spell(kind)}, not {said!r}")
    origin = typing.get_origin(kind)
    if origin is Literal:
        if value in typing.get_args(kind):
            return value
        if said in typing.get_args(kind):
            return said  # the word "none", where it is one of the words
    elif origin is tuple:
        members = typing.get_args(kind)
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(members) == 2 and members[1] is Ellipsis:
                return tuple(_fit(item, members[0], name, said) for item in value)
            if len(value) == len(members):
                return tuple(_fit(*pair, name, said) for pair in zip(value, members, strict=True))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            inner = typing.get_args(kind)[1]
            return {str(key): _fit(item, inner, f"{name}.{key}") for key, item in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind in (bool, int) and type(value) is kind:
        return value
    elif kind is str:
        if isinstance(value, str):
            return value
        if isinstance(said, str):
            return said  # a word that happens to be a number
    raise ValueError(f"{name} takes {_spell(kind)}, not {said!r}")


def _spell(kind: Any) -> str:
    """A type in words."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if _is_union(kind):
        return " or ".join("none" if member is type(None) else _spell(member) for member in members)
    if origin is Literal:
        return "one of " + ", ".join(str(member) for member in members)
    if origin is tuple:
        if len(members) == 2 and members[1] is Ellipsis:
            return f"a list of {_spell(members[0])}s".replace("a list of a ", "a list of ")
        return f"{len(members)} values ({', '.join(_spell(member) for member in members)})"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return words.get(kind, "a mapping")


def _build(kind: Any, document: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in hints:
            raise ValueError(f"there is no field {prefix + key!r}{_nearest(prefix + key)}")
        if dataclasses.is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, f"{prefix}{key}.")
        else:
            values[key] = _fit(value, hints[key], prefix + key)
    return kind(**values)
