"""What each number that a network computes depends on: its reach, followed operation by operation.

The network runs once on shapes alone (the meta device); beside each tensor goes, for each of its elements,
the first and the last frame (or row of pixels) that it depends on. A convolution or pooling takes the widest
of its window, an addition of branches the wider, a product of attention everything that either side saw, and
what only moves numbers about moves these along. `vadis.explain.receptive` makes fields of layers of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vadis.records import VadisError

NOTHING = -math.inf


class CannotFollowError(VadisError):
    """The network does something of which it is not known what its result depends on."""


@dataclass(frozen=True)
class Extent:
    """How far one position sees along one axis.

    size: in frames or pixels; None: everything, however long the clip is. step: frames or pixels from one
    position to the next, None where that is not one number. cut: the clip that was measured ended before
    the field did (the network takes no longer one), so `size` is only what was seen.
    """

    size: int | None
    step: float | None
    cut: bool = False
    share: float | None = None

    def __str__(self) -> str:
        if self.share is not None:
            return f"{self.share:.0%}"
        return "all" if self.size is None else f"{'>= ' if self.cut else ''}{self.size}"


@dataclass(frozen=True)
class Step:
    """One operation: the module that it ran in, its name, and what its result sees."""

    module: str
    operation: str
    extent: Extent


@dataclass(frozen=True)
class Run:
    """What happened to a clip that is `length` frames or pixels long, and which modules were run."""

    length: int
    steps: list[Step]
    entered: frozenset[str]


Reach = tuple[Tensor, Tensor]
"""Of each element: minus the first position that it depends on, and the last; both grow by maxima."""

MOVING = frozenset(
    [
        "view",
        "_unsafe_view",
        "reshape",
        "permute",
        "transpose",
        "t",
        "expand",
        "unsqueeze",
        "squeeze",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "chunk",
        "unbind",
        "cat",
        "stack",
        "index_select",
        "index",
        "narrow",
        "unfold",
        "repeat",
        "flip",
        "roll",
        "constant_pad_nd",
        "diagonal",
        "movedim",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "pixel_shuffle",
        "alias",
        "detach",
        "as_strided",
        "gather",
    ]
)
ALIKE = frozenset(
    [
        "clone",
        "_to_copy",
        "native_batch_norm",
        "_native_batch_norm_legit_no_training",
        "contiguous",
        "relu",
        "gelu",
        "silu",
        "hardtanh",
        "sigmoid",
        "tanh",
        "dropout",
        "native_dropout",
        "copy",
        "masked_fill",
        "where",
        "lift_fresh",
    ]
)
FRESH = frozenset(
    ["zeros_like", "empty_like", "ones_like", "full_like", "new_zeros", "new_empty", "new_full", "new_ones"]
)
REDUCING = frozenset(
    [
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "var",
        "var_mean",
        "std",
        "norm",
        "linalg_vector_norm",
        "logsumexp",
        "prod",
    ]
)
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}


def _slim(reach: Tensor, keep: int = 0) -> Tensor:
    """Axes along which all is alike, narrowed to one: most channels see the same. The last `keep` stay."""
    for axis in range(reach.ndim - keep):
        if reach.stride(axis) == 0 and reach.shape[axis] > 1:
            reach = reach.narrow(axis, 0, 1)
    return reach


def _wider(reaches: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """What several tensors that are combined element by element see together."""
    slim = [_slim(reach) for reach in reaches]
    out = slim[0]
    for other in slim[1:]:
        out = torch.maximum(out, other)
    return out.expand(shape)


def _window(reach: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
    """The widest of each window of the last axes."""
    axes = len(kernel)
    slim = _slim(reach, keep=axes)
    pads = [(side, side) for side in padding]
    if not ceil:  # pooling's own padding may be half a window at most
        flat = [side for pair in reversed(pads) for side in pair]
        slim, padding = F.pad(slim, flat, value=NOTHING), (0,) * axes
    pool: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
    leading = slim.shape[:-axes]
    out = pool(
        slim.reshape(-1, 1, *slim.shape[-axes:]),
        tuple(kernel),
        tuple(stride) or tuple(kernel),
        tuple(padding),
        tuple(dilation),
        ceil_mode=ceil,
    )
    return out.reshape(*leading, *out.shape[-axes:])


def _spread(value: Any, axes: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * axes if len(values) == 1 else values


class Follower(TorchDispatchMode):
    """Carries along, with every tensor that depends on the clip, what each element depends on."""

    def __init__(self, model: nn.Module, shape_BCTHW: Sequence[int], axis: int, through_means: bool) -> None:
        super().__init__()
        self.through_means = through_means
        self.length = shape_BCTHW[axis]
        self.clip = torch.empty(tuple(shape_BCTHW), device="meta")
        positions = torch.arange(self.length, dtype=torch.float32)
        positions = positions.view([-1 if place == axis else 1 for place in range(5)])
        self.alive: list[Any] = [self.clip]  # an id stays taken as long as its tensor lives
        self.reaches: dict[int, Reach] = {
            id(self.clip): (-positions.expand(self.clip.shape), positions.expand(self.clip.shape))
        }
        self.values: dict[int, Tensor] = {}  # of tensors that the clip has no part in: indices, say
        self.inside: list[str] = [""]
        self.steps: list[Step] = []
        self.last: tuple[str, list[str], Reach] | None = None
        self.entered: set[str] = set()
        for name, module in model.named_modules():  # the copy is ours: hooks on it bother nobody
            module.register_forward_pre_hook(lambda *_, name=name: self._enter(name))
            module.register_forward_hook(lambda *_: self._leave())

    def _enter(self, name: str) -> None:
        self.entered.add(name)
        self.inside.append(name)

    def _leave(self) -> None:
        self.inside.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if not any(id(leaf) in self.reaches for leaf in tree_leaves((args, kwargs))):
            self._remember(func, args, kwargs, result)
            return result
        in_place = name.endswith("_") and isinstance(result, Tensor) and result is args[0]
        found = [self._rule(func, name.rstrip("_"), args, kwargs, result, side) for side in (0, 1)]
        for minus, plus, tensor in zip(
            *(tree_leaves(side) for side in found), _tensors(result), strict=False
        ):
            reach = (minus, plus)
            if in_place and id(tensor) in self.reaches:
                reach = self._overwrite(self.reaches[id(tensor)], reach)
            self.alive.append(tensor)
            self.reaches[id(tensor)] = reach
        self._write_down(name, result)
        return result

    def _overwrite(self, old: Reach, new: Reach) -> Reach:
        """What is changed in place changes for those who share it, too."""
        if any(0 in side.stride() and side.numel() > 1 for side in old):
            return new
        for before, after in zip(old, new, strict=True):
            before.copy_(after)
        return old

    def _remember(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """Work out for real what does not depend on the clip and is made on the way: positions, masks."""
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not isinstance(result, Tensor) or result.numel() > 1_000_000:
            return
        if any(leaf.is_meta and id(leaf) not in self.values for leaf in leaves):
            return
        real = tree_map(lambda x: self.values.get(id(x), x) if isinstance(x, Tensor) else x, (args, kwargs))
        if "device" in func._schema.__str__():
            real[1]["device"] = torch.device("cpu")
        self.alive.append(result)
        self.values[id(result)] = func(*real[0], **real[1])

    def _write_down(self, operation: str, result: Any) -> None:
        """Group operations by the module that they run in; measure what the last of a group sees."""
        tensors = [tensor for tensor in _tensors(result) if id(tensor) in self.reaches]
        if not tensors:
            return
        module, reach = self.inside[-1], self.reaches[id(tensors[0])]
        if not module and operation in MOVING:  # between layers, numbers only change places
            return
        if self.last is not None and self.last[0] == module and module:
            self.last = (module, [*self.last[1], operation], reach)
            return
        self.finish()
        self.last = (module, [operation], reach)

    def finish(self) -> None:
        """Measure the group of operations that has just ended."""
        if self.last is not None:
            module, operations, reach = self.last
            self.steps.append(Step(module, operations[-1], _extent(reach, self.length)))
            self.last = None

    def _rule(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, side: int
    ) -> Any:
        """What the result of one operation sees (one side of it), in the result's own structure."""

        def reach_of(value: Any) -> Tensor | None:
            found = self.reaches.get(id(value)) if isinstance(value, Tensor) else None
            return None if found is None else found[side]

        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            reach = reach_of(value)
            if reach is not None:
                return reach
            if id(value) in self.values and not value.is_floating_point():
                return self.values[id(value)]
            return torch.tensor(NOTHING).expand(value.shape)

        first = reach_of(args[0]) if args else None
        if name in ("view", "_unsafe_view") and first is not None:
            return first.reshape(result.shape)
        if name in MOVING:
            if name == "constant_pad_nd":
                args, kwargs = (args[0], args[1], NOTHING), {}
            return func(*tree_map(moved, args), **tree_map(moved, kwargs))
        if name in FRESH:
            return torch.full(result.shape, NOTHING)
        if name == "convolution" and first is not None:
            return self._convolution(first, args, result)
        if "pool" in name and first is not None:
            return self._pool(name, first, args, kwargs, result, self.through_means)
        if name in REDUCING and first is not None:
            dims = args[1] if len(args) > 1 else kwargs.get("dim")
            keepdim = bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))
            axes = tuple(range(first.ndim)) if dims in (None, []) else tuple(_spread(dims, 1))
            reduced = _slim(first).amax(axes, keepdim)
            if not self.through_means and name == "mean":
                reduced = torch.full_like(reduced, NOTHING)
            return [reduced.expand(tensor.shape) for tensor in _tensors(result)]
        if name in ("_softmax", "_safe_softmax", "_log_softmax", "cumsum") and first is not None:
            return _slim(first).amax(args[1], True).expand(result.shape)
        if name == "native_layer_norm" and first is not None:
            axes = tuple(range(-len(args[1]), 0))
            reduced = _slim(first).amax(axes, True)
            return [reduced.expand(tensor.shape) for tensor in _tensors(result)]
        if name in PRODUCTS:
            return self._product(args[PRODUCTS[name] :], args[: PRODUCTS[name]], result, reach_of)
        if name.startswith("_scaled_dot_product"):
            seen = [
                _slim(reach).amax((-1,) if place == 0 else (-2, -1), True)
                for place, reach in enumerate(map(reach_of, args[:3]))
                if reach is not None
            ]
            return [_wider(seen, _tensors(result)[0].shape)]
        if name == "copy":
            reach = reach_of(args[1])
            return torch.full(result.shape, NOTHING) if reach is None else reach.expand(result.shape)
        if name in ALIKE or torch.Tag.pointwise in func.tags:
            leaves = [leaf for leaf in tree_leaves((args, kwargs)) if reach_of(leaf) is not None]
            shape = _tensors(result)[0].shape
            if torch.broadcast_shapes(shape, *(leaf.shape for leaf in leaves)) == shape:
                return [_wider([moved(leaf) for leaf in leaves], shape)]
        raise CannotFollowError(f"it is not known what the result of {func} depends on")

    @staticmethod
    def _convolution(first: Tensor, args: tuple[Any, ...], result: Tensor) -> Tensor:
        weight, stride, padding, dilation, transposed, groups = (
            args[1],
            args[3],
            args[4],
            args[5],
            args[6],
            args[8],
        )
        axes = weight.ndim - 2
        if transposed:
            raise CannotFollowError("transposed convolutions are not followed")
        slim = _slim(first, keep=axes)
        if slim.shape[1] > 1:
            slim = slim.unflatten(1, (groups, -1)).amax(2)  # a group sees what its channels see
        out = _window(
            slim,
            weight.shape[2:],
            _spread(stride, axes),
            _spread(padding, axes),
            _spread(dilation, axes),
            False,
        )
        if out.shape[1] > 1:
            out = out.repeat_interleave(result.shape[1] // groups, dim=1)
        return out.expand(result.shape)

    @staticmethod
    def _pool(
        name: str,
        first: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        through_means: bool,
    ) -> list[Tensor]:
        shape = _tensors(result)[0].shape
        axes = int(name[name.index("pool") + 4])
        if "adaptive" in name:
            if not through_means:
                return [torch.full((), NOTHING).expand(shape)]
            sizes = _spread(args[1], axes)
            pool: Any = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[axes]
            slim = _slim(first, keep=axes)
            out = pool(slim.reshape(-1, 1, *slim.shape[-axes:]), sizes)
            return [out.reshape(*slim.shape[:-axes], *out.shape[-axes:]).expand(shape)]
        given = [*args[1:], *[None] * 6]
        kernel = _spread(given[0], axes)
        stride = _spread(given[1] or kwargs.get("stride") or kernel, axes)
        padding = _spread(given[2] or 0, axes)
        is_max = name.startswith("max")
        dilation = _spread((given[3] if is_max else 1) or 1, axes)
        ceil = bool(given[4] if is_max else given[3])
        return [_window(first, kernel, stride, padding, dilation, ceil).expand(shape)]

    @staticmethod
    def _product(
        pair: Sequence[Any], added: Sequence[Any], result: Tensor, reach_of: Callable[[Any], Tensor | None]
    ) -> Tensor:
        """Rows times columns: an element sees what its row and its column saw."""
        seen = [
            _slim(reach).amax(axis, True)
            for axis, reach in zip((-1, -2), map(reach_of, pair[:2]), strict=True)
            if reach is not None
        ]
        seen += [reach for reach in map(reach_of, added) if reach is not None]
        return _wider(seen, result.shape)


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _extent(reach: Reach, length: int) -> Extent:
    """The widest field of a tensor, and the step from one position to the next."""
    minus, plus = (_slim(side).flatten() for side in _together(reach))
    seeing = plus > NOTHING
    first, last = -minus[seeing], plus[seeing]
    if not len(first):
        return Extent(0, None)
    sizes = last - first + 1
    alike = bool((first == first[0]).all() and (last == last[0]).all())
    if alike and float(sizes[0]) > length / 2:  # strides may leave out the last few positions
        return Extent(None, None)
    widest = sizes == sizes.max()
    inside = (first > 0) & (last < length - 1)
    centres = ((first + last) / 2)[inside & widest].unique()
    step = None if len(centres) < 2 else float(centres.diff().min())
    return Extent(int(sizes.max()), step, cut=not bool((widest & inside).any()))


def _together(reach: Reach) -> Reach:
    """Both sides slimmed to one shape."""
    minus, plus = map(_slim, reach)
    shape = torch.broadcast_shapes(minus.shape, plus.shape)
    return minus.expand(shape).contiguous(), plus.expand(shape).contiguous()
