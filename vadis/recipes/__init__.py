"""Training runs by name: the table, and how to get one.

    recipe = make_recipe("slowfast_r50_8x8_k400")          # a paper's
    recipe = default_recipe("i3d_inception.k400", 200)      # what to try first with any network

A recipe joins by a function that returns a `vadis.config.Recipe` and one line in `RECIPES`. One file holds
one paper's; `small` holds what a laptop finishes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from vadis.config import Recipe
from vadis.recipes import small
from vadis.recipes.small import default_recipe

__all__ = ["RECIPES", "default_recipe", "make_recipe"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    "new_classes_head": small.new_classes_head,
    "new_classes_top": small.new_classes_top,
    "shapes_small": small.shapes_small,
    "mocap_small": small.mocap_small,
}
"""Name -> function that returns the recipe."""


def make_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError with the nearest name where there is none."""
    maker = RECIPES.get(name)
    if maker is None:
        close = difflib.get_close_matches(name, RECIPES, 1, 0.4)
        hint = f"; did you mean {close[0]!r}?" if close else "; see `vadis recipes list`"
        raise ValueError(f"no recipe is called {name!r}{hint}")
    return maker()
