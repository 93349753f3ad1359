"""Recipes as values: overriding by type, the nearest name, JSON there and back."""

import json
from dataclasses import replace

import pytest

from vadis.config import ModelConfig, Recipe, list_fields, override, recipe_from_dict


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("optim.lr=0.05", "optim.lr", 0.05),
        ("optim.lr=1", "optim.lr", 1.0),
        ("optim.milestones=3,7.5", "optim.milestones", (3.0, 7.5)),
        ("optim.milestones=[3, 7]", "optim.milestones", (3.0, 7.0)),
        ("optim.milestones=3", "optim.milestones", None),
        ("data.augment.short_side=128,160", "data.augment.short_side", (128, 160)),
        ("data.augment.short_side=none", "data.augment.short_side", None),
        ("optim.nesterov=true", "optim.nesterov", True),
        ("model.init=none", "model.init", None),
        ("model.init=k400", "model.init", "k400"),
        ("model.frozen_batch_norm=none", "model.frozen_batch_norm", "none"),
        ("model.name=3", "model.name", "3"),
        ("model.freeze=stem,res2", "model.freeze", ("stem", "res2")),
        ("data.batch_size=64", "data.batch_size", 64),
        ("optim.clip_norm=40", "optim.clip_norm", 40.0),
        ("run.precision=bf16", "run.precision", "bf16"),
        ("optim.lr_scale.head.weight=10", "optim.lr_scale", {"head.weight": 10.0}),
        ("model.options.pool=[1,2,2]", "model.options", {"pool": [1, 2, 2]}),
    ],
)
def test_a_setting_is_read_by_its_fields_type(setting: str, field: str, value: object) -> None:
    if value is None and "=none" not in setting:
        with pytest.raises(ValueError, match="a list of numbers"):
            override(Recipe(), [setting])
        return
    found = list_fields(override(Recipe(), [setting]))[field]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optim.lr", "FIELD=VALUE"),
        ("optim.learning_rate=1", r"no field 'optim\.learning_rate'"),
        ("lr=1", r"did you mean 'optim\.lr'"),
        ("optim.lrr=1", r"did you mean 'optim\.lr'"),
        ("optim.lr=fast", r"optim\.lr takes a number, not 'fast'"),
        ("optim.lr=true", r"optim\.lr takes a number"),
        ("data.batch_size=1.5", "a whole number"),
        ("run.precision=int8", "one of float32, bf16, fp16"),
        ("optim=1", "fields of its own"),
        ("optim.lr_scale=1", "takes entries"),
        ("optim.lr.x=1", "no field"),
        ("data.augment.short_side=1,2,3", "2 values"),
    ],
)
def test_a_wrong_setting_says_what_is_right(setting: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        override(Recipe(), [setting])


def test_a_recipe_is_the_same_after_json() -> None:
    settings = ["optim.lr_scale.head=10", "optim.milestones=1,2", "data.augment.short_side=128,160"]
    recipe = override(replace(Recipe(), model=ModelConfig("c3d", options={"depth": 18})), settings)
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    with pytest.raises(ValueError, match=r"no field 'optim\.speed'"):
        recipe_from_dict({"optim": {"speed": 1}})
    with pytest.raises(ValueError, match=r"optim\.lr takes a number"):
        recipe_from_dict({"optim": {"lr": "0.1"}})


def test_every_field_can_be_set_to_what_it_is() -> None:
    for field, value in list_fields(Recipe()).items():
        if not isinstance(value, dict):
            assert override(Recipe(), [f"{field}={json.dumps(value)}"]) == Recipe(), field
