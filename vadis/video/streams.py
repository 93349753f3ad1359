"""One tensor, or one for each modality: how what a network takes is held, and made of arrays.

    make_inputs(spec, {"rgb": frames_THWC, "flow": flow_THW2, "audio": wave_S})

Frames, flow fields and sound of a whole video become the tensors of one clip as the spec of any network says:
in segments or in a row, stacked, as differences, cut and normalised. Who reads videos need not know which
network runs.

Legend: B batch, V views, T frames, C channels, H W pixels, S samples.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Tensors = Tensor | dict[str, Tensor]
"""What goes into a network: one tensor, or one for each part of its spec, by name."""


def each(function: Callable[[Tensor], Tensor], tensors: Tensors) -> Tensors:
    """`function` of the tensor, or of each of them."""
    if isinstance(tensors, Tensor):
        return function(tensors)
    return {name: function(tensor) for name, tensor in tensors.items()}


def leader(tensors: Tensors) -> Tensor:
    """The tensor, or the first of them: what all of them have in common can be read off it."""
    return tensors if isinstance(tensors, Tensor) else next(iter(tensors.values()))
