"""A trained network -> the same function with less work, for one input shape.

A network as it is written for training does much that predicting does not need: batch norm is a second
pass over each feature map although it could be part of the convolution before it; so are ReLU and the
padding; 3D max pooling looks at 27 values where 6 comparisons do. `fold` runs the network once on shapes
alone (no pixel is computed), writes down each operation, rewrites the list by the rules below, and
returns a module that runs what is left. It works on operations, not on our classes, so every network of
`vadis.models` profits; whatever it does not know it leaves as it is.

    batch norm after a convolution      becomes part of its weights and bias (in float64)
    padding with zeros before one       becomes its own padding, as far as both sides are equal
    ReLU after a convolution            done by the convolution on its way out (CPU, oneDNN)
    max pooling                         one axis after the other, channels last
    memory                              channels last; weights reordered once for the processor

What is folded is not trained: constants are copies.
"""

from __future__ import annotations

import copy
import math
import operator
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Feature maps of 100 MB come fresh from the system each time, and a quarter of an I3D's seconds went into
# receiving them in pages of 4 KB. This lets PyTorch ask for pages of 2 MB (Linux; others ignore it). PyTorch
# reads it at its first large tensor, so a network made before this module is imported runs without.

aten = torch.ops.aten

NORMS = (aten.native_batch_norm.default,)
CONVOLUTION = aten.convolution.default
MAX_POOL = aten.max_pool3d_with_indices.default
PAD = aten.constant_pad_nd.default
POOL_DEFAULTS: list[Any] = [None, None, [], [0, 0, 0], [1, 1, 1], False]


class CannotFoldError(Exception):
    """The network does something that cannot be written down as a list of operations."""


# --- writing down -----------------------------------------------------------------------------------------


def _mean_shape(x: Tensor, dims: Sequence[int], keepdim: bool = False, **_: Any) -> Tensor:
    return aten.amax.default(x, dims, keepdim)


def _cat_shape(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape)


def _broadcast_shape(x: Tensor, y: Any, **_: Any) -> Tensor:
    other = y.shape if isinstance(y, Tensor) else ()
    return x.new_empty(torch.broadcast_shapes(x.shape, other))


def _split_shape(x: Tensor, size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces that may be changed in place, as an LSTM does with its gates: each is a tensor of its own."""
    return tuple(torch.empty_like(piece) for piece in x.split(size, dim))


def _norm_shape(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


SHAPE_RULES: dict[Any, Callable[..., Any]] = {
    aten.mean.dim: _mean_shape,
    aten.cat.default: _cat_shape,
    aten.unsafe_split.Tensor: _split_shape,
    aten.native_batch_norm.default: _norm_shape,
    aten.add.Tensor: _broadcast_shape,
    aten.sub.Tensor: _broadcast_shape,
    aten.mul.Tensor: _broadcast_shape,
    aten.div.Tensor: _broadcast_shape,
}
"""Shapes of what PyTorch's own shape functions answer only after importing its compiler (1 to 2 s)."""


LAYOUT_FREE = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}
"""What must not depend on the layout in memory, because we change it to channels last."""


class Recorder(TorchDispatchMode):
    """Writes each operation on tensors into an fx graph while a network runs on shapes alone."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.graph = fx.Graph()
        self.nodes: dict[int, fx.Node] = {}
        self.alive: list[Tensor] = []  # an id stays taken as long as its tensor lives
        self.sharers: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would import its compiler (1 to 2 s) to keep it away from this mode: spare that."""
        return False

    def name(self, tensor: Tensor, node: fx.Node) -> None:
        """Remember that `node` computes `tensor` (of any shape; it lives on the meta device)."""
        if id(tensor) not in self.nodes:
            self.alive.append(tensor)
            storage = tensor.untyped_storage()._cdata
            self.sharers[storage] = self.sharers.get(storage, 0) + 1
        self.nodes[id(tensor)] = node
        node.meta["shape"] = tuple(tensor.shape)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute the shape of what `func` gives and add it to the graph."""
        kwargs = kwargs or {}
        result = SHAPE_RULES.get(func, func)(*args, **kwargs)
        written = func
        if func._schema.is_mutable and func is not aten.native_batch_norm.default:
            written = self._functional(func, args, result)

        def node_of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return self.device if isinstance(value, torch.device) else value
            if id(value) not in self.nodes:
                raise CannotFoldError(f"{func} takes a tensor that is neither input, parameter nor buffer")
            return self.nodes[id(value)]

        written = LAYOUT_FREE.get(written, written)
        taken = fx.node.map_aggregate((args, kwargs), node_of)
        node = self.graph.call_function(written, *cast(tuple[Any, Any], taken))
        if isinstance(result, Tensor):
            self.name(result, node)
        elif isinstance(result, (tuple, list)):
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    self.name(item, self.graph.call_function(operator.getitem, (node, index)))
        else:
            raise CannotFoldError(f"{func} gives {type(result).__name__}, not a tensor")
        return result

    def _functional(self, func: Any, args: tuple[Any, ...], result: Any) -> Any:
        """The operation that gives what the in-place `func` (`relu_`) leaves in its first argument."""
        name = func._schema.name.removeprefix("aten::")
        packet = getattr(aten, name.removesuffix("_"), None)
        overload = getattr(packet, func._overloadname, None)
        target = args[0]
        if not name.endswith("_") or overload is None or result is not target:
            raise CannotFoldError(f"{func} changes a tensor in place")
        if self.sharers.get(target.untyped_storage()._cdata, 0) > 1:
            raise CannotFoldError(f"{func} changes a tensor that others share")
        return overload


def record(
    model: nn.Module, shape_BCTHW: Sequence[int], device: str = "cpu"
) -> tuple[fx.Graph, dict[str, Tensor]]:
    """Write down what `model` does with a clip of this shape, in inference mode.

    Returns the graph (one placeholder, one output) and the parameters and buffers that it names.
    Raises CannotFoldError where the path depends on values, or tensors are changed in hidden ways.
    """
    constants = {
        name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    recorder = Recorder(device)
    state = {}
    names: dict[str, Tensor] = {}
    clip = torch.empty(tuple(shape_BCTHW), device="meta")
    recorder.name(clip, recorder.graph.placeholder("clip_BCTHW"))
    for number, (name, tensor) in enumerate(constants.items()):
        key = f"constant{number}"
        names[key] = tensor
        state[name] = torch.empty_like(tensor, device="meta")
        recorder.name(state[name], recorder.graph.create_node("get_attr", key))
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), recorder:
            result = torch.func.functional_call(model, state, (clip,))
    except CannotFoldError:
        raise
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise CannotFoldError(f"the network cannot be run on shapes alone: {error}") from error
    finally:
        for module in training:
            module.training = True
    if not isinstance(result, Tensor) or id(result) not in recorder.nodes:
        raise CannotFoldError("the network gives something else than one tensor")
    recorder.graph.output(recorder.nodes[id(result)])
    recorder.graph.eliminate_dead_code()
    return recorder.graph, names


# --- rewriting --------------------------------------------------------------------------------------------


def _constant(node: Any, constants: dict[str, Tensor]) -> Tensor | None:
    return constants[str(node.target)] if isinstance(node, fx.Node) and node.op == "get_attr" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _set_constant(graph: fx.Graph, before: fx.Node, constants: dict[str, Tensor], value: Tensor) -> fx.Node:
    name = f"constant{len(constants)}"
    constants[name] = value
    with graph.inserting_before(before):
        return graph.create_node("get_attr", name)


def fold_batch_norms(graph: fx.Graph, constants: dict[str, Tensor]) -> int:
    """Make each batch norm that follows a convolution part of its weight and bias. Returns how many.

    y = gamma (Wx + b - mean) / sqrt(variance + epsilon) + beta is again a convolution; the new weights
    are computed in float64 and rounded once.
    """
    count = 0
    for node in list(graph.nodes):
        if node.target not in NORMS or not isinstance(node.args[0], fx.Node):
            continue
        conv = node.args[0]
        if conv.target is not CONVOLUTION or len(conv.users) > 1 or conv.args[6]:
            continue
        weight = _constant(conv.args[1], constants)
        gamma, beta, mean, variance = (_constant(argument, constants) for argument in node.args[1:5])
        if weight is None or mean is None or variance is None or (conv.args[2] is not None):
            bias = _constant(conv.args[2], constants)
            if weight is None or mean is None or variance is None or bias is None:
                continue
        else:
            bias = torch.zeros_like(mean)
        if any(user.target is not operator.getitem or user.args[1] != 0 for user in node.users):
            continue
        scale = (variance.double() + float(cast(float, node.args[7]))).rsqrt()
        if gamma is not None:
            scale = scale * gamma.double()
        offset = (bias.double() - mean.double()) * scale
        if beta is not None:
            offset = offset + beta.double()
        new_weight = weight * scale.to(weight.dtype).view(-1, *[1] * (weight.ndim - 1))
        arguments = list(conv.args)
        arguments[1] = _set_constant(graph, conv, constants, new_weight)
        arguments[2] = _set_constant(graph, conv, constants, offset.to(weight.dtype))
        conv.args = tuple(arguments)
        for user in list(node.users):
            user.replace_all_uses_with(conv)
            graph.erase_node(user)
        graph.erase_node(node)
        count += 1
    return count


def fold_padding(graph: fx.Graph) -> int:
    """Let convolutions pad by themselves what a padding step before them adds equally on both sides.

    What one side has more stays a padding step. Returns how many steps went away altogether.
    """
    count = 0
    for node in list(graph.nodes):
        conv = _only_user(node)
        if node.target is not PAD or conv is None or conv.target is not CONVOLUTION or conv.args[6]:
            continue
        source, pads, value = (*node.args, 0)[:3]
        axes = len(cast(list[int], conv.args[3]))
        if value != 0 or len(pads) > 2 * axes or min(pads) < 0:
            continue
        pads = [*pads, *[0] * (2 * axes - len(pads))]
        both = [min(pads[2 * axis : 2 * axis + 2]) for axis in range(axes)]
        arguments: list[Any] = list(conv.args)
        arguments[4] = [old + new for old, new in zip(arguments[4], both[::-1], strict=True)]
        conv.args = tuple(arguments)
        rest = [side - both[index // 2] for index, side in enumerate(pads)]
        if any(rest):
            node.args = (source, rest)
            shape = list(source.meta["shape"])
            for index, side in enumerate(rest):
                shape[-1 - index // 2] += side
            node.meta["shape"] = tuple(shape)
            continue
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        count += 1
    return count


def replace_max_pools(graph: fx.Graph) -> int:
    """Put `max_pool3d` of this file in the place of PyTorch's. Returns how many."""
    count = 0
    for node in list(graph.nodes):
        if node.target is not MAX_POOL or any(user.args[1] != 0 for user in node.users):
            continue
        given = list(node.args)
        x, kernel, stride, padding, dilation, ceil_mode = [*given, *POOL_DEFAULTS[len(given) :]]
        if any(step != 1 for step in dilation):
            continue
        with graph.inserting_before(node):
            pool = graph.call_function(
                max_pool3d, (x, list(kernel), list(stride or kernel), list(padding), bool(ceil_mode))
            )
        for user in list(node.users):
            pool.meta.update(user.meta)
            user.replace_all_uses_with(pool)
            graph.erase_node(user)
        graph.erase_node(node)
        count += 1
    return count


def use_onednn(graph: fx.Graph, constants: dict[str, Tensor], dtype: torch.dtype) -> int:
    """Let oneDNN run each 3D convolution, with its weights in the order it likes and ReLU on the way out.

    Only on a CPU. Returns how many.
    """
    count = 0
    for node in list(graph.nodes):
        if node.target is not CONVOLUTION or node.args[6] or len(node.args[3]) != 3:
            continue
        x, weight_node, bias, stride, padding, dilation, _, _, groups = node.args
        weight = _constant(weight_node, constants)
        if weight is None or (bias is not None and _constant(bias, constants) is None):
            continue
        user = _only_user(node)
        relu = user is not None and user.target is aten.relu.default
        reorder: Any = torch._C._nn.mkldnn_reorder_conv3d_weight
        packed = reorder(
            weight.to(dtype).to_mkldnn(), padding, stride, dilation, groups, list(x.meta["shape"])
        )
        new_weight = _set_constant(graph, node, constants, packed)
        with graph.inserting_before(node):
            fused = graph.call_function(
                torch.ops.mkldnn._convolution_pointwise.default,
                (x, new_weight, bias, padding, stride, dilation, groups, "relu" if relu else "none", [], ""),
            )
        fused.meta.update(node.meta)
        last = user if relu and user is not None else node
        last.replace_all_uses_with(fused)
        if last is not node:
            graph.erase_node(last)
        graph.erase_node(node)
        count += 1
    return count


# --- running ----------------------------------------------------------------------------------------------


def max_pool3d(
    x_BCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool
) -> Tensor:
    """Max pooling, one axis after the other: the maximum over a box is the maximum of maxima over lines.

    Each axis is a maximum over shifted slices (what lies outside never wins), so 3x3x3 takes 6
    comparisons a position instead of 27, each over long runs of memory. x_BCTHW: any layout; meant for
    channels last. Returns x_BCTHW, equal to `torch.nn.functional.max_pool3d`.
    """
    for axis in range(3):
        x_BCTHW = _max_along(x_BCTHW, axis + 2, kernel[axis], stride[axis], padding[axis], ceil_mode)
    return x_BCTHW


def _max_along(x: Tensor, axis: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> Tensor:
    if kernel == 1 and stride == 1:
        return x
    size = x.shape[axis]
    span = size + 2 * padding - kernel
    num_out = (math.ceil(span / stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (num_out - 1) * stride >= size + padding:
        num_out -= 1  # PyTorch's rule: no window starts in the padding behind
    slices = []  # per tap: first and last output that it reaches, and what it brings
    for tap in range(kernel):
        shift = tap - padding
        first = max(0, -(shift // stride) if shift < 0 else 0)
        last = min(num_out - 1, (size - 1 - shift) // stride)
        if last >= first:
            part = x.narrow(axis, first * stride + shift, (last - first) * stride + 1)
            if stride > 1:
                part = part[(slice(None),) * axis + (slice(None, None, stride),)]
            slices.append((first, last, part))
    slices.sort(key=lambda item: item[0] - item[1])  # the one that reaches most outputs first
    first, last, whole = slices[0]
    if (first, last) != (0, num_out - 1):  # no tap reaches every output: leave the axis to PyTorch
        line = [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
        for values, value in zip(line, (kernel, stride, padding), strict=True):
            values[axis - 2] = value
        return functional.max_pool3d(x, line[0], line[1], line[2], ceil_mode=ceil_mode)
    out: Tensor | None = None
    for first, last, part in slices[1:]:
        if out is None and last - first == num_out - 1:
            out = torch.maximum(whole, part)
            continue
        if out is None:
            out = whole.clone()
        reached = out.narrow(axis, first, last - first + 1)
        torch.maximum(reached, part, out=reached)
    return whole if out is None else out


def fold(
    model: nn.Module,
    shape_BCTHW: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> nn.Module:
    """Make the faster equivalent of `model` for clips of one shape.

    Returns a module on `device`: clip_BCTHW of that shape, `dtype`, channels last -> logits_BK in `dtype`.
    Raises CannotFoldError where the network cannot be written down; use `copy_network` then.
    """
    graph, constants = record(model, shape_BCTHW, device)
    fold_batch_norms(graph, constants)
    fold_padding(graph)
    if device == "cpu":
        replace_max_pools(graph)
        if has_onednn():
            use_onednn(graph, constants, dtype)
    graph.eliminate_dead_code()
    root = nn.Module()
    for node in graph.nodes:
        if node.op == "get_attr":
            tensor = constants[node.target]
            if not tensor.is_mkldnn:
                tensor = tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            setattr(root, node.target, tensor)
    return fx.GraphModule(root, graph).eval()


def has_onednn() -> bool:
    """True where PyTorch was built with oneDNN and the two functions of it that we call."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch._C._nn, "mkldnn_reorder_conv3d_weight")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def copy_network(model: nn.Module, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> nn.Module:
    """A copy of a network as it is, ready to predict with clips of `dtype` on `device`."""
    return copy.deepcopy(model).to(device, dtype).eval().requires_grad_(False)
