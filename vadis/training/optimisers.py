"""Which weights learn, how fast, and with how much decay: the groups of an optimiser, and frozen layers.

Layers are named by the beginnings of their parameters' names, as `print(model)` shows them: "head",
"mixed5", "blocks.0.". A beginning that fits no parameter is refused: it would be a wish that is not granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import nn

from vadis.config import ModelConfig, OptimConfig

NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
HEAD = "head"
"""What the classifier's parameters begin with, in every network."""


def freeze_parameters(model: nn.Module, config: ModelConfig) -> Callable[[str], bool]:
    """Switch the gradient off where the recipe says so; returns whether a name's layer learns.

    freeze: beginnings of names, "backbone" is all but the head. learn: only these, and the head. Raises
    ValueError for a beginning that fits nothing, and where nothing is left to learn.
    """
    names = [name for name, _ in model.named_parameters()]
    _check_prefixes("model.freeze", [prefix for prefix in config.freeze if prefix != "backbone"], names)
    _check_prefixes("model.learn", config.learn, names)

    def learns(name: str) -> bool:
        if config.learn and not name.startswith((HEAD, *config.learn)):
            return False
        if "backbone" in config.freeze and not name.startswith(HEAD):
            return False
        return not any(name.startswith(prefix) for prefix in config.freeze if prefix != "backbone")

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns(name))
    if not any(learns(name) for name in names):
        raise ValueError(
            f"nothing is left to learn: model.freeze is {config.freeze}, model.learn {config.learn}"
        )
    return learns


def set_training(
    model: nn.Module,
    frozen: Literal["none", "all", "first_learns"] = "none",
    learns: Callable[[str], bool] = lambda name: True,
) -> None:
    """Put a network into training, but for the batch norms that keep their statistics.

    frozen: "all" of them, or all but the first that learns ("first_learns": TSN's partial batch norm,
    arXiv:1608.00859, sec. 3.2). A batch norm in a frozen layer keeps its statistics in any case. Scale and
    shift of a batch norm learn like any other weights.
    """
    model.train()
    first = True
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        keeps = not learns(f"{name}.weight") or frozen == "all" or (frozen == "first_learns" and not first)
        first = first and not learns(f"{name}.weight")
        if keeps:
            module.eval()


def make_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """The parameters that learn, in groups of one rate and one decay, in the network's order.

    Each group has `lr_scale` (a factor of the rate, by the longest beginning that fits), `weight_decay` (0
    for what `no_decay` names) and `names`. Raises ValueError for a beginning that fits nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    _check_prefixes("optim.lr_scale", optim.lr_scale, names)
    _check_prefixes(
        "optim.no_decay", [item for item in optim.no_decay if item not in ("norm", "bias")], names
    )
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = _longest(optim.lr_scale, name)
        decay = 0.0 if _is_undecayed(name, optim.no_decay, norms) else optim.weight_decay
        group = groups.setdefault(
            (scale, decay), {"params": [], "names": [], "lr_scale": scale, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def make_optimiser(model: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over the groups of `make_groups`; `set_rate` gives them their rates."""
    groups = make_groups(model, optim)
    if optim.name == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)
    kind = torch.optim.Adam if optim.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=optim.lr, betas=optim.betas)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its rate: `rate` times its `lr_scale`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_scale"]


def _longest(scales: Any, name: str) -> float:
    fitting = [prefix for prefix in scales if name.startswith(prefix)]
    return float(scales[max(fitting, key=len)]) if fitting else 1.0


def _is_undecayed(name: str, no_decay: Iterable[str], norms: set[str]) -> bool:
    return any(
        name in norms
        if item == "norm"
        else name.rpartition(".")[2] == "bias"
        if item == "bias"
        else name.startswith(item)
        for item in no_decay
    )


def _check_prefixes(field: str, prefixes: Iterable[str], names: list[str]) -> None:
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            tops = sorted({name.partition(".")[0] for name in names})
            raise ValueError(
                f"{field}: no parameter's name begins with {prefix!r}; there are {', '.join(tops)}"
            )
