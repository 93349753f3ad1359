"""The work behind `vadis recipes`: list the recipes, show one, and make the page docs/recipes.md."""

from __future__ import annotations

import fnmatch
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.config import OptimConfig, Recipe, list_fields
from vadis.formats.table import spell_out
from vadis.inspection import print_json
from vadis.recipes import RECIPES, WITHOUT, make_recipe

PAGE = """# Recipes

This page is made by `vadis recipes list --markdown > docs/recipes.md`; a test compares the two. There are
{count} recipes: how each network was trained by those who published it, and small ones for a laptop.

```bash
vadis recipes list 'slowfast*'
vadis recipes show slowfast_r50_8x8_k400
```

`vadis train DATA --recipe NAME` follows one, and `--set optim.lr=0.05` changes any field for one run.

- A recipe is a function in `vadis/recipes/` that returns a `vadis.config.Recipe`: data, network, loss,
  optimiser, run. `vadis recipes show NAME` prints every field, where the numbers come from, what the paper
  reports, and what we do otherwise.
- **Expected** is what was published, with the views (clips x crops) of its test. None of these numbers is
  ours: we have not trained on these datasets.
- **Start** is what the network begins with: nothing (random), `imagenet` (an image network's weights,
  inflated), published weights by their tag, or the network that another recipe leaves. In the last case
  train that first, and give its file: `--init FILE`.
- A batch counts clips over all processes; a rate "per 64" grows with the batch. Where a paper does not print
  a value, `differs` says what we take; where we could not read a paper, it says that.
- With a network's name and no recipe, `vadis.recipes.default_recipe` chooses: a short fine-tuning where
  weights are given, a short training from random weights where not.
"""


def run_recipes_list(pattern: str, as_json: bool) -> int:
    """`vadis recipes list`; ValueError where no name matches."""
    recipes = [make_recipe(name) for name in sorted(fnmatch.filter(RECIPES, pattern))]
    if not recipes:
        raise ValueError(f"no recipe's name matches {pattern!r}; see `vadis recipes list`")
    if as_json:
        print_json([_summary(recipe) for recipe in recipes])
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("start", overflow="fold")
    table.add_column("expected")
    for recipe in recipes:
        expected = recipe.source.expected or recipe.source.dataset or recipe.title
        table.add_row(recipe.name, recipe.model.init or "random", expected)
    _console().print(table)
    return 0


def run_recipes_show(name: str, as_json: bool) -> int:
    """`vadis recipes show`; ValueError with the nearest name where there is none."""
    recipe = make_recipe(name)
    if as_json:
        print_json({**recipe.to_dict(), "commands": commands(recipe)})
        return 0
    console = _console()
    console.print(Text(f"{recipe.name}: {spell_out(recipe.title)}", style="bold"))
    source = Table(show_header=False, box=None, pad_edge=False)
    source.add_column(style="dim", no_wrap=True)
    source.add_column()
    for field in ("paper", "place", "dataset", "expected", "differs"):
        if getattr(recipe.source, field):
            source.add_row(field, spell_out(getattr(recipe.source, field)))
    console.print(source)
    console.print()
    usual = list_fields(Recipe())
    fields = Table(show_header=False, box=None, pad_edge=False)
    fields.add_column(no_wrap=True)
    fields.add_column(overflow="fold")
    for path, value in list_fields(recipe).items():
        if path.partition(".")[0] in ("data", "model", "loss", "optim", "run"):
            style = "dim" if value == usual[path] else ""
            fields.add_row(Text(path, style=style), Text(spell_value(value), style=style))
    console.print(fields)
    console.print()
    for line in commands(recipe):
        console.print(Text(line))
    return 0


def run_recipes_markdown() -> int:
    """`vadis recipes list --markdown`: the page docs/recipes.md."""
    from vadis.formats import use_utf8

    use_utf8(sys.stdout)
    sys.stdout.write(markdown())
    return 0


def markdown() -> str:
    """The page docs/recipes.md: a table for each source of recipes, and the networks without one."""
    groups: dict[str, list[Recipe]] = {}
    for name in RECIPES:
        recipe = make_recipe(name)
        groups.setdefault(recipe.source.paper or "For a laptop", []).append(recipe)
    parts = [PAGE.format(count=len(RECIPES))]
    for title, recipes in groups.items():
        rows = [
            "| recipe | start | clip | batch | schedule | expected |",
            "|---|---|---|---:|---|---|",
        ]
        for recipe in recipes:
            cells = (
                f"`{recipe.name}`",
                f"`{recipe.model.init}`" if recipe.model.init else "random",
                describe_clip(recipe),
                str(recipe.data.batch_size),
                describe_optim(recipe.optim),
                recipe.source.expected,
            )
            rows.append("| " + " | ".join(cells) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    reasons = "\n".join(
        f"- {', '.join(f'`{word}`' for word in names.split())}: {why}." for names, why in WITHOUT.items()
    )
    parts.append(f"## Networks without a recipe\n\n{reasons}\n")
    return "\n".join(parts)


def commands(recipe: Recipe) -> list[str]:
    """What to type to follow a recipe: first what its start needs, then the training itself."""
    start = recipe.model.init or ""
    earlier = start.removesuffix(".safetensors")
    line = f"vadis train DATA --recipe {recipe.name}"
    if start.endswith(".safetensors") and earlier in RECIPES:
        return [f"vadis train DATA --recipe {earlier}", f"{line} --init FILE"]
    return [line]


def describe_clip(recipe: Recipe) -> str:
    """Frames and pixels of a clip in a few words; what the recipe leaves to the network is not named."""
    data, words = recipe.data, []
    if data.num_frames is not None:
        stride = f" of stride {data.frame_stride}" if (data.frame_stride or 1) > 1 else ""
        words.append(f"{data.num_frames} frames{stride}")
    if data.fps is not None:
        words.append(f"{data.fps:g} Hz")
    if data.crop is not None:
        words.append(f"{data.crop} pixels")
    return ", ".join(words) or "the network's"


def describe_optim(optim: OptimConfig) -> str:
    """Optimiser, rate, length and schedule in a few words."""
    rate = f"{optim.lr:g}" + (f" per {optim.lr_for_batch}" if optim.lr_for_batch else "")
    words = [f"{optim.name.replace('adamw', 'AdamW').replace('sgd', 'SGD')} {rate}"]
    words.append(
        f"{optim.length:,g} {optim.unit}" if optim.length < 1e5 else f"{optim.length:,.0f} {optim.unit}"
    )
    if optim.schedule == "step":
        places = [f"{place:,.0f}" for place in optim.milestones]
        if len(places) > 4:
            places = [*places[:2], "...", places[-1]]
        words.append(f"x {optim.gamma:g} at {', '.join(places)}")
    else:
        words.append(optim.schedule)
    if optim.warmup:
        words.append(f"warm-up {optim.warmup:g}")
    return "; ".join(words)


def spell_value(value: Any) -> str:
    """A field's value as `--set` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key}={spell_value(item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return ",".join(spell_value(item) for item in value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _summary(recipe: Recipe) -> dict[str, Any]:
    model, source = recipe.model, recipe.source
    return {
        "name": recipe.name,
        "title": recipe.title,
        "model": model.name,
        "tiny": model.tiny,
        "init": model.init,
        "dataset": source.dataset,
        "paper": source.paper,
        "expected": source.expected,
    }


def _console() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())
