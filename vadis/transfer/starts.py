"""What a run starts from: published weights, a file of one's own, or a bare network; and what it is called.

Files of one's own are mostly called best.safetensors, so a name needs more of the path than its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vadis.models import create_model, weights


@dataclass(frozen=True)
class Start:
    """What a run starts from: a network of `MODELS`, and weights (a tag or a file; None: none yet)."""

    network: str
    weights: str | None = None

    @property
    def name(self) -> str:
        """The name that `create_model` understands, or that of the file's network."""
        return f"{self.network}.{self.weights}" if self.weights and not self.is_file else self.network

    @property
    def is_file(self) -> bool:
        """Whether the weights are a file."""
        return self.weights is not None and self.weights.endswith(".safetensors")

    @property
    def card_name(self) -> str:
        """What the card of an evaluation calls it: the network, and the weights' name after a dot."""
        return f"{self.network}.{Path(self.weights).stem}" if self.weights and self.is_file else self.name


def parse_start(text: str) -> Start:
    """A start from "i3d_inception.k400", "r3d_18" (no weights), or a .safetensors file. ValueError."""
    if text.endswith(".safetensors"):
        if not Path(text).is_file():
            raise ValueError(f"{text}: no such file; give a file, or a name (`vadis weights list`)")
        return Start(str(weights.load(text).metadata["model"]), text)
    network, _, tag = text.partition(".")
    return Start(network, tag or None)


def check_weights(mode: str, start: Start) -> None:
    """Raise ValueError for a start without weights in a mode that transfers them."""
    if start.weights is None:
        raise ValueError(
            f"{start.network} has no weights to transfer in mode {mode!r}: name some ({start.network}.k400), "
            "a file, or --pretrain"
        )


def file_word(start: str) -> str:
    """A start as part of a file's name, another one for each.

    Networks of one's own are all called best.safetensors, each in its folder, so the folder and a hash of the
    path belong to it.
    """
    if not start.endswith(".safetensors"):
        return start
    path = Path(start)
    code = hashlib.sha256(start.encode()).hexdigest()[:6]
    return "-".join(word for word in (path.parent.name, path.stem, code) if word)


def tell_apart(models: Sequence[str]) -> list[tuple[str, str]]:
    """Different models, each with a label of its own: as much of the paths of files as that takes."""
    longest = max(len(Path(part).parts) for model in models for part in model.split("+"))
    for depth in range(1, longest + 1):
        labels = ["+".join(_tail(part, depth) for part in model.split("+")) for model in models]
        if len(set(labels)) == len(labels):
            return list(zip(models, labels, strict=True))
    return [(model, model) for model in models]


def _tail(start: str, depth: int) -> str:
    is_file = start.endswith(".safetensors")
    return "/".join(Path(start).with_suffix("").parts[-depth:]) if is_file else start


def plain_label(model: str) -> tuple[str, str]:
    """The networks of a model (a start, or several joined by "+") without their streams, and the streams."""
    starts = [parse_start(part) for part in model.split("+")]
    streams = [create_model(start.network, tiny=True).spec.modality for start in starts]
    networks = dict.fromkeys(start.network.removesuffix("_flow") for start in starts)
    return "+".join(networks), "+".join(dict.fromkeys(streams))
