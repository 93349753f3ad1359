"""Looking inside: the pictures of the lectures, from any loaded network.

Each file is one picture and keeps two things apart: functions that give numbers (arrays, dataclasses), and
functions that draw them. `run.py` is the work behind `vadis explain`.

    filters.py      what the first layer looks for, over time
    receptive.py    how much of the clip each layer can see
    layers.py       what goes through: frames, pixels and channels by layer (cuboids.py draws it)
    activation.py   what speaks for a class: where, and when
    arrows.py       where one position looks, through a non-local block
    patterns.py     whom a patch asks, in each scheme of TimeSformer
    means.py        non-local means on an image, and the same computation as a network
"""

from vadis.explain.activation import Activation, class_activation, draw_activation, play_activation
from vadis.explain.arrows import Arrows, draw_arrows, nonlocal_arrows, play_arrows, similarity_arrows
from vadis.explain.clip import Clip, read_clip
from vadis.explain.cuboids import draw_layers
from vadis.explain.filters import Filters, draw_filters, first_filters, play_filters
from vadis.explain.layers import Block, layer_sizes
from vadis.explain.means import draw_denoised, network_form, non_local_means
from vadis.explain.patterns import (
    Pattern,
    attention_patterns,
    draw_patterns,
    learned_pattern,
    play_patterns,
)
from vadis.explain.receptive import LayerField, draw_receptive_field, receptive_field
from vadis.explain.sheet import save

__all__ = [
    "Activation",
    "Arrows",
    "Block",
    "Clip",
    "Filters",
    "LayerField",
    "Pattern",
    "attention_patterns",
    "class_activation",
    "draw_activation",
    "draw_arrows",
    "draw_denoised",
    "draw_filters",
    "draw_layers",
    "draw_patterns",
    "draw_receptive_field",
    "first_filters",
    "layer_sizes",
    "learned_pattern",
    "network_form",
    "non_local_means",
    "nonlocal_arrows",
    "play_activation",
    "play_arrows",
    "play_filters",
    "play_patterns",
    "read_clip",
    "receptive_field",
    "save",
    "similarity_arrows",
]
