"""Recipes: the numbers of the papers, names that exist, networks that build, and the lists of them."""

import csv
import fnmatch
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_clips import NUM_FRAMES, SIDE, made_dataset
from numbered import write_numbered
from PIL import Image
from typer.testing import CliRunner

from vadis import cookbook
from vadis.cli import app
from vadis.config import Recipe, list_fields, override, recipe_from_dict
from vadis.data.augment import MultiScaleCrop, ShortSide
from vadis.data.clip_rules import RULES
from vadis.models import MODELS, create_model, list_models
from vadis.models.catalogue import results_of
from vadis.models.inflate import image_name
from vadis.recipes import RECIPES, WITHOUT, default_recipe, make_recipe
from vadis.records import Dataset, Span
from vadis.training import journal, train
from vadis.training.feeding import make_steps
from vadis.training.smoke import smoke_recipe

ROOT = Path(__file__).parents[1]
GOLDEN = list(csv.DictReader((ROOT / "tests" / "golden" / "recipes.csv").read_text("utf-8").splitlines()))
"""What the papers and their authors' code say, written by hand: recipe (a pattern), field, value, where."""

SMALL = [name for name in RECIPES if not make_recipe(name).source.paper]
PUBLISHED = [name for name in RECIPES if name not in SMALL]
DATASETS = ("k400", "k600", "sports1m", "ucf101", "hmdb51", "charades", "ssv1", "ssv2")


@pytest.mark.parametrize("row", GOLDEN, ids=[f"{row['recipe']} {row['field']}" for row in GOLDEN])
def test_a_recipe_says_what_the_paper_says(row: dict[str, str]) -> None:
    names = fnmatch.filter(RECIPES, row["recipe"])
    assert names, "no recipe fits the pattern"
    assert row["where"]
    found = {name: cookbook.spell_value(list_fields(make_recipe(name))[row["field"]]) for name in names}
    assert found == dict.fromkeys(names, row["value"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_that_matter_are_all_checked(name: str) -> None:
    checked = {row["field"] for row in GOLDEN if fnmatch.fnmatchcase(name, row["recipe"])}
    assert {"data.batch_size", "model.init", "optim.lr", "optim.length"} <= checked


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_expected_number_is_one_that_was_published(name: str) -> None:
    recipe = make_recipe(name)
    source = recipe.source
    assert source.place or "no copy" in source.differs
    assert source.dataset
    found: list[tuple[str, str]] = re.findall(r"([\d.]+) % (top-1|top-5|mean AP)", source.expected)
    numbers = {metric: float(value) for value, metric in found}
    assert bool(numbers) == bool(source.expected)
    if re.fullmatch("i3d_inception(_flow)?_(charades|ucf101|hmdb51)", name):
        return  # published, but the model file, which has the table of results, leaves them out
    for result in results_of(network_of(name)):
        ours = (numbers.get("top-1", numbers.get("mean AP", 0.0)), numbers.get("top-5", 0.0))
        if plain(result.dataset).startswith(plain(source.dataset)) and ours == (
            result.top1,
            result.top5 or 0,
        ):
            return
    assert not numbers


def network_of(recipe: str) -> str:
    """The network that a recipe is named after."""
    return max((model for model in MODELS if recipe.startswith(f"{model}_")), key=len)


def plain(dataset: str) -> str:
    """A dataset's name without the hyphens that some spell."""
    return dataset.replace("-", "").lower()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_whole(name: str) -> None:
    recipe = make_recipe(name)
    assert recipe.name == name
    assert recipe.title
    assert recipe.model.name in MODELS
    assert recipe.data.rule in RULES
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert override(recipe, ["optim.lr=0.5"]).optim.lr == 0.5
    optim = recipe.optim
    assert 0 <= optim.warmup < optim.length
    assert all(0 < place < optim.length for place in optim.milestones)
    assert bool(optim.milestones) == (optim.schedule == "step")
    assert list(optim.milestones) == sorted(optim.milestones)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_starts_from_something_that_there_is(name: str) -> None:
    model = make_recipe(name).model
    if model.init is None:
        return
    if model.init == "imagenet":
        assert image_name(model.name)
    elif model.init.endswith(".safetensors"):
        earlier = model.init.removesuffix(".safetensors")
        assert make_recipe(earlier).model.name == model.name  # weights go by the network's name
        assert cookbook.commands(make_recipe(name))[0].endswith(earlier)
    else:
        assert f"{model.name}.{model.init}" in list_models(weights=True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_network_has_what_the_recipe_names(name: str) -> None:
    recipe = make_recipe(name)
    model = create_model(recipe.model.name, tiny=True, **recipe.model.options)
    parameters = [key for key, _ in model.named_parameters()]
    named = [*recipe.model.learn, *recipe.optim.lr_scale]
    named += [part for part in recipe.model.freeze if part != "backbone"]
    named += [part for part in recipe.optim.no_decay if part not in ("norm", "bias")]
    assert [part for part in named if not any(key.startswith(part) for key in parameters)] == []
    if recipe.loss.kind == "dense":
        assert hasattr(model, "forward_dense")
    crop, size = recipe.data.crop, recipe.data.size
    assert (crop or 0) <= (size or math.inf)


def test_a_crop_of_many_scales_is_cut_from_large_frames() -> None:
    recipe = make_recipe("resnet3d_18_k400")
    spec = create_model("resnet3d_18", tiny=True, **recipe.model.options).spec
    scale, crop, _ = make_steps(recipe.data.augment, spec, ("walk", "run"))
    assert scale == ShortSide(240, 240)
    assert crop == MultiScaleCrop(112, recipe.data.augment.scales)
    eco = make_recipe("eco_lite_k400")
    assert make_steps(eco.data.augment, create_model("eco_lite", tiny=True).spec, ("walk", "run"))[0] == (
        ShortSide(256, 256)
    )


def test_every_network_has_a_recipe_or_a_reason() -> None:
    with_recipe = {make_recipe(name).model.name for name in RECIPES}
    with_recipe |= {name.removesuffix(f"_{data}") for name in RECIPES for data in DATASETS}
    without = {
        name
        for patterns in WITHOUT
        for pattern in patterns.split()
        for name in fnmatch.filter(MODELS, pattern)
    }
    assert sorted(set(MODELS) - with_recipe - without) == []
    assert sorted(without & with_recipe) == []
    assert all(fnmatch.filter(MODELS, pattern) for patterns in WITHOUT for pattern in patterns.split())


def test_a_wrong_name_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'slowfast_r50_8x8_k400'"):
        make_recipe("slowfast_r50_8x8_k40")
    with pytest.raises(ValueError, match="vadis recipes list"):
        make_recipe("qqqq")


@pytest.mark.parametrize("num_examples", [1, 100, 10_000, 1_000_000])
def test_the_default_sees_some_thousand_clips(num_examples: int) -> None:
    tuned = default_recipe("i3d_inception.k400", num_examples)
    assert (tuned.model.name, tuned.model.init) == ("i3d_inception", "k400")
    assert tuned.model.frozen_batch_norm == "all"
    assert tuned.optim.lr_scale == {"head": 10}
    assert 3 <= tuned.optim.length <= 30
    scratch = default_recipe("r3d_18", num_examples)
    assert scratch.model.init is None
    assert scratch.model.frozen_batch_norm == "none"
    assert 10 <= scratch.optim.length <= 100
    assert tuned.optim.warmup < tuned.optim.length
    if num_examples == 10_000:
        assert (tuned.optim.length, scratch.optim.length) == (3, 10)
    if num_examples == 100:
        assert (tuned.optim.length, scratch.optim.length) == (30, 100)


def test_the_default_takes_its_start_where_it_is_said() -> None:
    assert default_recipe("s3d", 10, init="best.safetensors").model.init == "best.safetensors"
    assert default_recipe("s3d", 10, init="imagenet").model.frozen_batch_norm == "all"
    with pytest.raises(ValueError, match="num_examples"):
        default_recipe("s3d", 0)


def test_the_page_is_fresh() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    assert page == cookbook.markdown(), "run `vadis recipes list --markdown > docs/recipes.md`"
    assert all(f"`{name}`" in page for name in RECIPES)


def test_the_list_and_one_of_it() -> None:
    run = CliRunner().invoke
    listed = run(app, ["recipes", "list", "timesformer*", "--json"])
    assert [item["name"] for item in json.loads(listed.stdout)] == fnmatch.filter(
        sorted(RECIPES), "timesformer*"
    )
    table = run(app, ["recipes", "list"])
    assert all(name in table.stdout for name in RECIPES)
    shown = json.loads(run(app, ["recipes", "show", "c2d_r50_128x1_k400", "--json"]).stdout)
    assert shown.pop("commands") == [
        "vadis train DATA --recipe c2d_r50_32x2_k400",
        "vadis train DATA --recipe c2d_r50_128x1_k400 --init FILE",
    ]
    assert recipe_from_dict(shown) == make_recipe("c2d_r50_128x1_k400")
    page = run(app, ["recipes", "list", "--markdown"])
    assert page.stdout == cookbook.markdown()


def test_what_is_shown_can_be_set() -> None:
    recipe = make_recipe("mfnet3d_ucf101")
    shown = CliRunner().invoke(app, ["recipes", "show", "mfnet3d_ucf101"]).stdout
    for path, value in list_fields(recipe).items():
        if path.partition(".")[0] not in ("data", "model", "loss", "optim", "run"):
            continue
        assert re.search(rf"^{re.escape(path)}\s+{re.escape(cookbook.spell_value(value))}\s*$", shown, re.M)
        if isinstance(value, int | float | str | None) and value != "":
            assert list_fields(override(Recipe(), [f"{path}={cookbook.spell_value(value)}"]))[path] == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipes", "show", "slowfast"], "did you mean"),
        (["recipes", "list", "nothing*"], "no recipe's name matches"),
        (["recipes", "list", "--markdown", "--json"], "stands alone"),
    ],
)
def test_a_wrong_wish_is_told(words: list[str], said: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert said in result.output


# Training, for two steps -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """A training and a validation part of small videos, which have spans and pictures of flow, too."""
    root = tmp_path_factory.mktemp("bars")
    parts = (made_dataset(root, 4), made_dataset(root, 2, "val", 100))
    return with_flow(with_spans(parts[0])), with_flow(with_spans(parts[1]))


def with_flow(dataset: Dataset) -> Dataset:
    """What bars that fall or rise by three pixels a frame look like in flow."""
    examples = []
    for example in dataset.examples:
        folder = Path(dataset.root) / "flow" / example.id
        folder.mkdir(parents=True)
        fall = 3 if example.labels[0] == 0 else -3
        for number in range(1, NUM_FRAMES):
            for axis, pixels in (("x", 0), ("y", fall)):
                grey = round(255 * (pixels + 20) / 40)
                Image.new("L", (SIDE, SIDE), grey).save(folder / f"{axis}_{number:03}.png")
        patterns = tuple(f"flow/{example.id}/{axis}_*.png" for axis in "xy")
        examples.append(replace(example, flow=patterns))
    return replace(dataset, examples=tuple(examples))


def with_sound(dataset: Dataset, folder: Path) -> Dataset:
    """Other films, each with a tone, in the places of these."""
    for example in dataset.examples:
        write_numbered(folder / example.video, 20, audio=True)
    return replace(dataset, root=str(folder))


def with_spans(dataset: Dataset) -> Dataset:
    """Each label for 0.2 seconds in the middle of its video, for losses that ask frame by frame."""
    examples = tuple(
        replace(example, spans=(Span(0.1, 0.3, example.labels[0], dataset.class_names[example.labels[0]]),))
        for example in dataset.examples
    )
    return replace(dataset, examples=examples)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(
    name: str, bars: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "draw_curves", lambda *arguments: None)  # most of a short run's time
    recipe = make_recipe(name)
    train_set, validation = bars
    if create_model(recipe.model.name, tiny=True, **recipe.model.options).spec.modality == "audio":
        train_set, validation = (with_sound(part, tmp_path) for part in bars)
    result = train(train_set, smoke_recipe(recipe), tmp_path / "run", validation=validation)
    assert result.steps == 2
    assert math.isfinite(result.history[-1]["train_loss"])
    model = create_model(recipe.model.name, result.best)
    assert model.class_names == train_set.class_names
