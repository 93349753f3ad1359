"""Tensor sizes by layer: how many frames, pixels and channels go through a network, drawn as blocks.

The network runs once on shapes alone (the meta device). Hooks note what each of its parts gives, and beside
every tensor goes the set of parts that it comes from; so streams, pathways and the places where they meet
need no rules of their own, and each gets a row. Parts of which one gives what the next gives as well are one
block. `cuboids.py` draws them.

Shapes: B batch, N positions or tokens, C channels or features, T frames, H W pixels.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vadis.models.contract import VideoModel, make_clip

LARGE = 0.24
"""A part that runs more than this share of a network's layers is opened up."""

MOST_BLOCKS = 10
"""In one row of a picture; in a longer one all blocks of the same frames and pixels are made one."""

PRODUCTS = frozenset(["convolution", "mm", "bmm", "addmm", "baddbmm"])
"""Operations that make a layer of weights."""

Size = tuple[int, int, int, int]
"""Channels, frames, height, width."""

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class Block:
    """What some layers in a row give: a tensor of `channels` x `frames` x `height` x `width` pixels.

    layers: names of the modules that ran, in order; of an input, the name of its tensor. row: the stream or
    pathway, from 0. sources: places in the list of the blocks that it is made from; none of an input, and of
    blocks that tell each other at every layer each is the other's source.
    """

    layers: tuple[str, ...]
    channels: int
    frames: int
    height: int
    width: int
    row: int
    sources: tuple[int, ...] = ()

    @property
    def is_input(self) -> bool:
        """Whether this is what goes into the network."""
        return not self.sources

    @property
    def size(self) -> Size:
        """Channels, frames, height, width."""
        return self.channels, self.frames, self.height, self.width

    @property
    def label(self) -> str:
        """A short name of all: "mixed4b-4f", or "stages.1 + res3_1" where other layers are between."""
        lists: dict[str, list[str]] = {}
        for name in self.layers:
            lists.setdefault(name.rpartition(".")[0], []).append(name)
        named = [_list_name(parent, names) for parent, names in lists.items()]
        return named[0] if len(named) == 1 else f"{named[0]} + {named[-1]}"

    def __str__(self) -> str:
        if self.frames == self.height == self.width == 1:
            return f"{self.label} {self.channels}"
        if self.height == self.width == 1:
            return f"{self.label} {self.channels} of {self.frames}"
        return f"{self.label} {self.channels} of {self.frames}x{self.height}x{self.width}"


def _last_name(path: str) -> str:
    """The end of a module's path that names something: "stages.0" of "slow.stages.0"."""
    found = re.search(r"[^.]*(\.\d+)*$", path)
    return found[0] if found else path


def _list_name(parent: str, names: Sequence[str]) -> str:
    """One name for modules that lie in the same one: "stages.0" for all of it, "mixed4b-4f", "fc6, head"."""
    first, last = _last_name(names[0]), _last_name(names[-1])
    if first == last:
        return first
    if last.rpartition(".")[2].isdigit() and any(letter.isdigit() for letter in parent):
        return _last_name(parent)
    if _stem(first) != _stem(last):
        return f"{first}, {last}"
    common = first[: _alike(first, last)].rstrip("0123456789")
    return f"{first}-{last[len(common) :]}"


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How much of their beginning two sequences share."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _stem(name: str) -> str:
    """A name up to its first digit: "mixed" of "mixed4b"."""
    return re.split(r"\d", name, maxsplit=1)[0]


def layer_sizes(model: VideoModel, level: int | None = None, most: int | None = MOST_BLOCKS) -> list[Block]:
    """The blocks of `model` in the order in which they run, what goes in first.

    level: how deep modules are opened up: 1 for the parts of the network, 2 for their parts, and so on (lists
    do not count); None opens what runs about a quarter of the network's layers. most: blocks in a row; in a
    longer one those of the same frames and pixels are one (None: any number). Weights do not matter. Raises
    what `forward` raises.
    """
    if level is not None and level < 1:
        raise ValueError(f"level is 1 (the parts of the network) or more, got {level}")
    shadow = copy.deepcopy(model).to("meta").eval()
    clip = make_clip(model.spec, device="meta", fill=torch.empty)
    with torch.no_grad():
        units = _choose_units(shadow, clip, level)
        name = "clip" if model.spec.modality == "rgb" else model.spec.modality
        follower = _Follower(shadow, {name: clip} if isinstance(clip, Tensor) else clip, units)
        with follower:
            result = shadow(clip)
    follower.finish(result)
    return _merge(_assign_rows(_clean(follower.nodes)), most)


# --- which modules count -------------------------------------------------------------------------------


def _is_layer(module: nn.Module) -> bool:
    """Whether it has weights of its own that are no mere scales: a convolution, a linear layer, an LSTM."""
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


@dataclass(frozen=True)
class _Units:
    """Which modules count. called: by name, those whose results are shown, with how many layers they run.

    gathered: those whose parts are called, but not they themselves (an Inception module whose branches
    somebody else joins), likewise. unused: layers that are not called; others may use their weights.
    """

    called: dict[str, int]
    gathered: dict[str, int]
    unused: dict[str, nn.Module]

    def holder(self, name: str) -> str:
        """The gathered module that a node belongs to, or ""."""
        return next((each for each in self.gathered if f"{name}.".startswith(f"{each}.")), "")


def _choose_units(model: nn.Module, clip: Any, level: int | None) -> _Units:
    """See `_Units`; `level` as `layer_sizes` takes it."""
    runs: Counter[str] = Counter()
    inside: list[str] = []
    hooks = []

    def enter(name: str, module: nn.Module) -> None:
        inside.append(name)
        runs.update(dict.fromkeys(inside, int(_is_layer(module))))

    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in model.named_modules():
        hooks.append(
            module.register_forward_pre_hook(lambda module, _, name=name: enter(name, module))  # type: ignore[misc]
        )
        hooks.append(module.register_forward_hook(lambda *_: inside.pop() and None))
    model(clip)
    for hook in hooks:
        hook.remove()
    unused = {
        name: module for name, module in model.named_modules() if _is_layer(module) and name not in runs
    }
    units = _Units({}, {}, unused)

    def count(name: str) -> int:
        if name in runs:
            return runs[name] + sum(f"{each}.".startswith(f"{name}.") for each in unused)
        below = sum(count(f"{name}.{key}") for key, _ in modules[name].named_children())
        return below + (name in unused)

    total = runs[""] + len(unused)

    def visit(name: str, depth: int) -> None:
        module, num_layers = modules[name], count(name)
        is_list = type(module) in LISTS
        depth += not is_list
        large = depth < level if level else num_layers > LARGE * total
        opens = not name or (num_layers > 1 and (is_list or large))
        parts = [f"{name}.{key}" if name else key for key, _ in module.named_children()]
        alone = name not in runs and (is_list or num_layers == 1)
        if (opens or alone) and any(count(part) for part in parts):
            for part in parts:
                visit(part, depth)
        elif name in runs:
            units.called.update({name: num_layers} if num_layers else {})
        elif num_layers > 1:
            units.gathered[name] = num_layers
            inner = (each for each in runs if each.startswith(f"{name}."))
            units.called.update({each: count(each) for each in inner if count(each)})

    visit("", -1)
    return units


# --- following -----------------------------------------------------------------------------------------


@dataclass
class _Node:
    """One result of one unit.

    num_layers: how many it ran. holder: the gathered module that it belongs to, if any. place: among the
    unit's results. row is given later.
    """

    name: str
    size: Size
    sources: set[int]
    num_layers: int
    holder: str
    place: int = 0
    row: int = -1


class _Follower(TorchDispatchMode):
    """Carries along, with every tensor that depends on the clip, the nodes that it was made from."""

    def __init__(self, model: nn.Module, clips: Mapping[str, Tensor], units: _Units) -> None:
        super().__init__()
        self.units = units
        self.nodes: list[_Node] = []
        self.alive: list[Any] = []  # an id stays taken as long as its tensor lives
        self.origins: dict[int, frozenset[int]] = {}
        self.depth = 0
        self.layouts: set[int] = set()  # ids of tensors_BCN, that a 1D convolution gave
        self.weights: dict[int, str] = {}  # of layers that are not called: others use their weights
        for name, tensor in clips.items():
            _, channels, frames, height, width = tensor.shape
            self._add(name, (channels, frames, height, width), set(), 0, tensor)
        for name, module in model.named_modules():
            if name in units.unused:
                for parameter in module.parameters(recurse=False):
                    self.weights[id(parameter)] = name
            if name in units.called:
                module.register_forward_pre_hook(lambda *_: setattr(self, "depth", self.depth + 1))
                module.register_forward_hook(
                    lambda _module, _given, result, name=name: self._leave(name, result)  # type: ignore[misc]
                )

    def _add(
        self, name: str, size: Size, sources: set[int], num_layers: int, tensor: Tensor, place: int = 0
    ) -> None:
        self.nodes.append(_Node(name, size, sources, num_layers, self.units.holder(name), place))
        self.alive.append(tensor)
        self.origins[id(tensor)] = frozenset([len(self.nodes) - 1])

    def _leave(self, name: str, result: Any) -> None:
        self.depth -= 1
        if self.depth:  # inside of another unit
            return
        for place, tensor in enumerate(tree_leaves(result)):
            sources = self.origins.get(id(tensor))
            if sources:
                layers = self.units.called[name]
                self._add(name, self._size(tensor, sources), set(sources), layers, tensor, place)

    def _size(self, tensor: Tensor, sources: frozenset[int]) -> Size:
        """Channels, frames, height, width of a result for a batch of one clip."""
        shape = tuple(tensor.shape)
        grids = {self.nodes[source].size[1:] for source in sources}
        if tensor.ndim == 5 and shape[1:4] in grids and shape[2:] not in grids:  # channels last
            return shape[-1], shape[1], shape[2], shape[3]
        if tensor.ndim == 5:
            return shape[1], shape[0] * shape[2], shape[3], shape[4]
        if tensor.ndim == 4:  # frames lie in the batch
            return shape[1], shape[0], shape[2], shape[3]
        if tensor.ndim == 3 and id(tensor) in self.layouts:
            return shape[1], shape[0] * shape[2], 1, 1
        positions = math.prod(shape[:-1])
        for frames, height, width in grids:  # tokens: a map's places, with one more for all or for each frame
            places = frames * height * width
            if height * width > 1 and positions in (places, places + 1, places + frames):
                return shape[-1], frames, height, width
        return shape[-1], positions, 1, 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        origin = frozenset().union(*(self.origins.get(id(leaf), frozenset()) for leaf in given))
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        layer = next((found for leaf in given if (found := self.weights.get(id(leaf)))), "")
        is_1d = name == "convolution" and result.ndim == 3
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor):
                continue
            self.alive.append(tensor)
            if origin:
                self.origins[id(tensor)] = origin
            elif layer:
                self.weights[id(tensor)] = layer
            alike = any(id(leaf) in self.layouts and leaf.shape == tensor.shape for leaf in given)
            if is_1d or (alike and tensor.ndim == 3):
                self.layouts.add(id(tensor))
        if layer and origin and not self.depth and name in PRODUCTS:
            self._add(layer, self._size(result, origin), set(origin), 1, result)
        elif len(origin) > 1 and not self.depth and isinstance(result, Tensor):
            self._gather(result, origin)
        return result

    def _gather(self, tensor: Tensor, origin: frozenset[int]) -> None:
        """Where branches of one module are joined outside of it, the module's result is what comes of it."""
        for holder in {self.nodes[each].holder for each in origin} - {""}:
            within, outside, todo = set[int](), set[int](), list(origin)
            while todo:
                each = todo.pop()
                if self.nodes[each].holder != holder:
                    outside.add(each)
                elif each not in within:
                    within.add(each)
                    todo += self.nodes[each].sources
            entered = set[int]().union(*(self.nodes[each].sources for each in within)) - within
            if outside <= entered:
                layers = self.units.gathered[holder]
                self._add(holder, self._size(tensor, origin), entered, layers, tensor)
                return

    def finish(self, result: Any) -> None:
        """Note what comes out, where that is not simply what the last layer gave."""
        (tensor,) = tree_leaves(result)
        sources = self.origins[id(tensor)]
        size = self._size(tensor, sources)
        if len(sources) > 1 or any(self.nodes[source].size != size for source in sources):
            self._add("scores", size, set(sources), 0, tensor)


# --- from nodes to blocks ------------------------------------------------------------------------------


def _followers(nodes: Sequence[_Node]) -> list[set[int]]:
    """Who is made from each node."""
    return [{place for place, node in enumerate(nodes) if each in node.sources} for each in range(len(nodes))]


def _clean(nodes: list[_Node]) -> list[_Node]:
    """Leave out what leads nowhere, single layers that only join two rows, and ways around a layer."""
    wanted = {len(nodes) - 1}
    for number in reversed(range(len(nodes))):
        wanted |= nodes[number].sources if number in wanted else set()
    after = _followers(nodes)
    for number, node in enumerate(nodes):
        node.sources &= wanted
        if number not in wanted or node.num_layers != 1 or len(node.sources) != 1:
            continue
        (source,), nexts = node.sources, after[number] & wanted
        if nodes[source].sources and len(after[source] & wanted) > 1 and len(nexts) == 1:
            (following,) = nexts
            if len(nodes[following].sources & wanted) > 1:
                wanted.discard(number)
                nodes[following].sources = (nodes[following].sources - {number}) | {source}
                after[source].add(following)
    before: list[set[int]] = []  # of each node, all that it depends on
    for node in nodes:
        before.append(node.sources.union(*(before[source] for source in node.sources)))
    for node in nodes:
        longer = set[int]().union(*(before[source] for source in node.sources))
        node.sources -= longer
    order = sorted(wanted)
    place = {number: index for index, number in enumerate(order)}
    return [replace(nodes[each], sources={place[one] for one in nodes[each].sources}) for each in order]


def _assign_rows(nodes: list[_Node]) -> list[_Node]:
    """Give each node its row: who goes on from a node is the one whose name is most like its own."""

    def likeness(one: int, other: int) -> tuple[bool, bool, int]:
        first, second = nodes[one], nodes[other]
        alike = _alike(first.name.split("."), second.name.split("."))
        return first.size == second.size, first.place == second.place, alike

    after = _followers(nodes)
    heir = [
        max(sorted(nexts), key=lambda n: likeness(n, number), default=-1)
        for number, nexts in enumerate(after)
    ]
    rows = 0
    for number, node in enumerate(nodes):
        parents = [source for source in sorted(node.sources) if heir[source] == number]
        if parents:
            node.row = nodes[max(parents, key=lambda n: likeness(n, number))].row
        else:
            node.row, rows = rows, rows + 1
    return nodes


def _merge(nodes: list[_Node], most: int | None) -> list[Block]:
    """Nodes of one row that give the same size as one block."""

    def group(same: Any) -> list[list[int]]:
        groups: list[list[int]] = []
        last: dict[int, list[int]] = {}
        for number, node in enumerate(nodes):
            mine = last.get(node.row)
            if mine and nodes[mine[-1]].sources and mine[-1] in node.sources and same(mine[-1], number):
                mine.append(number)
            else:
                last[node.row] = [number]
                groups.append(last[node.row])
        return groups

    def alike(one: int, other: int) -> bool:
        return nodes[one].size == nodes[other].size and nodes[other].sources == {one}

    def on_one_grid(one: int, other: int) -> bool:
        first, second = nodes[one], nodes[other]
        parents = [node.name.rpartition(".")[0] for node in (first, second)]
        held = first.holder == second.holder != "" or (
            parents[0] == parents[1] and parents[0].rpartition(".")[2].isdigit()
        )
        if not held and _stem(_last_name(first.name)) != _stem(_last_name(second.name)):
            return False
        return first.size == second.size or first.size[1:] == second.size[1:] != (second.size[1], 1, 1)

    groups = group(alike)
    lengths = Counter(nodes[members[0]].row for members in groups)
    if most is not None and max(lengths.values()) > most:
        groups = group(on_one_grid)
    of = {number: place for place, members in enumerate(groups) for number in members}
    blocks = []
    for place, members in enumerate(groups):
        sources = {of[source] for number in members for source in nodes[number].sources} - {place}
        names = tuple(dict.fromkeys(nodes[number].name for number in members))
        last = nodes[members[-1]]
        blocks.append(Block(names, *last.size, last.row, tuple(sorted(sources))))
    return blocks
