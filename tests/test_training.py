"""The parts of training, each by itself: schedules, groups, losses, mixing, running mean, heads, start."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vadis.config import Augment, DataConfig, LossConfig, ModelConfig, OptimConfig, Recipe, RunConfig
from vadis.models import create_model
from vadis.models.weights import save_model
from vadis.records import DataError, Dataset, Example, Span
from vadis.specs import ClipSpec
from vadis.training.averaging import WeightAverage
from vadis.training.feeding import make_steps, part_size
from vadis.training.heads import Head, cut_head, join_datasets
from vadis.training.journal import draw_curves
from vadis.training.losses import class_loss, dense_loss, heads_loss, multi_label_loss, score_clips
from vadis.training.mixing import mix
from vadis.training.optimisers import freeze_parameters, make_groups, make_optimiser, set_rate, set_training
from vadis.training.processes import seed_step
from vadis.training.schedules import Clock, Plateau, check_optim, peak_rate, rate_at
from vadis.training.session import check_recipe, make_task
from vadis.training.smoke import smoke_dataset, smoke_recipe
from vadis.training.start import build_network
from vadis.training.targets import class_balance, clip_targets, frame_targets

# Schedules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "fields", "expected"),
    [
        ("constant", {}, [1.0, 1.0, 1.0, 1.0]),
        ("step", {"milestones": (2.6, 5.0)}, [1.0, 1.0, 0.01, 0.01]),
        ("cosine", {}, [1.0, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.0]),
        ("cosine", {"final_lr": 0.2}, [1.0, 0.2 + 0.4 * (1 + math.cos(math.pi / 4)), 0.6, 0.2]),
        ("linear", {"final_lr": 0.5}, [1.0, 0.875, 0.75, 0.5]),
        ("polynomial", {"power": 2.0}, [1.0, 0.5625, 0.25, 0.0]),
    ],
)
def test_schedules(schedule: str, fields: dict[str, Any], expected: list[float]) -> None:
    optim = OptimConfig(lr=1.0, length=10.0, schedule=schedule, **fields)  # type: ignore[arg-type]
    assert [rate_at(optim, place, 8) for place in (0.0, 2.5, 5.0, 10.0)] == pytest.approx(expected)


def test_warm_up_ends_where_the_curve_then_is() -> None:
    optim = OptimConfig(lr=1.0, length=10.0, schedule="cosine", warmup=2.0, warmup_lr=0.1)
    reached = 0.5 * (1 + math.cos(math.pi * 0.2))
    found = [rate_at(optim, place, 8) for place in (0.0, 1.0, 2.0 - 1e-9, 2.0)]
    assert found == pytest.approx([0.1, (0.1 + reached) / 2, reached, reached])


def test_the_rate_grows_with_the_batch() -> None:
    optim = OptimConfig(lr=0.1, lr_for_batch=64, warmup=1.0, warmup_lr=0.01, schedule="constant")
    assert peak_rate(optim, 256) == pytest.approx(0.4)
    assert rate_at(optim, 0.0, 256) == pytest.approx(0.04)
    assert rate_at(optim, 5.0, 16) == pytest.approx(0.025)
    assert rate_at(replace(optim, lr_for_batch=None), 5.0, 16) == 0.1


def test_steps_and_epochs() -> None:
    epochs = Clock(OptimConfig(length=2.5), 10)
    assert (epochs.total_steps, epochs.place(5), epochs.epoch(5)) == (25, 0.5, 0.5)
    assert Clock(OptimConfig(length=0.01), 10).total_steps == 1
    steps = Clock(OptimConfig(length=30, unit="steps"), 10)
    assert (steps.total_steps, steps.place(5), steps.epoch(5)) == (30, 5.0, 0.5)
    # a milestone at epoch 3 counts from the first step of that epoch, whatever division leaves
    optim = OptimConfig(lr=1.0, schedule="step", milestones=(3.0,), length=6.0)
    rates = [rate_at(optim, Clock(optim, 7).place(step), 8) for step in (20, 21)]
    assert rates == [1.0, 0.1]


def test_a_plateau_waits_and_drops() -> None:
    plateau = Plateau(patience=1)
    assert [plateau.note(value) for value in (0.5, 0.4, 0.5, 0.6, 0.6, 0.6)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    other = Plateau(patience=1)
    other.load_state_dict(plateau.state_dict())
    assert other == plateau
    optim = OptimConfig(lr=1.0, gamma=0.1, schedule="plateau")
    assert rate_at(optim, 3.0, 8, plateau.num_drops) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"length": 0.0}, r"optim\.length"),
        ({"warmup": 10.5}, r"optim\.warmup"),
        ({"schedule": "step"}, "needs optim.milestones"),
        ({"milestones": (3.0, 2.0)}, "must rise"),
        ({"ema": 1.0}, r"optim\.ema"),
        ({"clip_norm": 0.0}, r"optim\.clip_norm"),
    ],
)
def test_what_makes_no_schedule_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_optim(OptimConfig(**fields))


# Groups and frozen layers ---------------------------------------------------------------------------------


class Small(nn.Module):
    """Two layers with batch norms, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
        self.top = nn.Sequential(nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4), nn.LayerNorm(4))
        self.head = nn.Linear(4, 2)


def test_groups_by_the_longest_beginning_and_without_decay() -> None:
    optim = OptimConfig(
        weight_decay=0.1, lr_scale={"top": 2.0, "top.1": 3.0, "head": 10.0}, no_decay=("norm",)
    )
    found = {
        name: (group["lr_scale"], group["weight_decay"])
        for group in make_groups(Small(), optim)
        for name in group["names"]
    }
    assert found == {
        "stem.0.weight": (1.0, 0.1),
        "stem.0.bias": (1.0, 0.1),
        "stem.1.weight": (1.0, 0.0),
        "stem.1.bias": (1.0, 0.0),
        "top.0.weight": (2.0, 0.1),
        "top.0.bias": (2.0, 0.1),
        "top.1.weight": (3.0, 0.0),
        "top.1.bias": (3.0, 0.0),
        "top.2.weight": (2.0, 0.0),
        "top.2.bias": (2.0, 0.0),
        "head.weight": (10.0, 0.1),
        "head.bias": (10.0, 0.1),
    }
    biases = replace(optim, no_decay=("bias", "top.0"))
    undecayed = {n for g in make_groups(Small(), biases) if not g["weight_decay"] for n in g["names"]}
    assert undecayed == {n for n, _ in Small().named_parameters() if n.endswith("bias")} | {"top.0.weight"}
    optimiser = make_optimiser(Small(), replace(optim, name="adamw"))
    set_rate(optimiser, 0.5)
    assert sorted({group["lr"] for group in optimiser.param_groups}) == [0.5, 1.0, 1.5, 5.0]


@pytest.mark.parametrize(
    ("config", "learning"),
    [
        (ModelConfig(), {"stem", "top", "head"}),
        (ModelConfig(freeze=("stem",)), {"top", "head"}),
        (ModelConfig(freeze=("backbone",)), {"head"}),
        (ModelConfig(learn=("top",)), {"top", "head"}),
        (ModelConfig(learn=("top",), freeze=("head",)), {"top"}),
    ],
)
def test_frozen_layers(config: ModelConfig, learning: set[str]) -> None:
    model = Small()
    learns = freeze_parameters(model, config)
    assert {n.partition(".")[0] for n, p in model.named_parameters() if p.requires_grad} == learning
    set_training(model, "none", learns)
    for name in ("stem", "top"):  # a batch norm in a frozen layer keeps its statistics
        assert model.get_submodule(f"{name}.1").training == (name in learning)
        assert model.get_submodule(f"{name}.0").training


def test_partial_batch_norm() -> None:
    model = Small()
    set_training(model, "first_learns")
    assert [model.stem[1].training, model.top[1].training] == [True, False]
    set_training(model, "first_learns", freeze_parameters(model, ModelConfig(freeze=("stem",))))
    assert [model.stem[1].training, model.top[1].training] == [False, True]
    set_training(model, "all")
    assert [model.stem[1].training, model.top[1].training] == [False, False]
    assert model.head.training
    assert all(parameter.requires_grad for parameter in model.top.parameters())


@pytest.mark.parametrize(
    "config", [ModelConfig(freeze=("steem",)), ModelConfig(learn=("mixed9",)), ModelConfig(freeze=("",))]
)
def test_a_beginning_that_fits_nothing_is_refused(config: ModelConfig) -> None:
    with pytest.raises(ValueError, match=r"no parameter's name begins|nothing is left to learn"):
        freeze_parameters(Small(), config)
    with pytest.raises(ValueError, match=r"optim\.lr_scale: no parameter's name begins with 'haed'"):
        make_groups(Small(), OptimConfig(lr_scale={"haed": 10.0}))


# Losses ---------------------------------------------------------------------------------------------------


def heads_of(*widths: tuple[int, str]) -> tuple[Head, ...]:
    heads, start = [], 0
    for number, (width, kind) in enumerate(widths):
        names = tuple(f"{number}{each}" for each in range(width))
        heads.append(Head(f"d{number}", start, start + width, kind, names))  # type: ignore[arg-type]
        start += width
    return tuple(heads)


def test_class_loss_is_pytorchs_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BK = torch.randn(5, 4, generator=generator)
    labels_B = torch.tensor([0, 3, 1, 1, 2])
    target_BK, known_B = clip_targets(labels_B, 4)
    assert known_B.all()
    expected = F.cross_entropy(logits_BK, labels_B, reduction="sum", label_smoothing=0.1)
    assert torch.allclose(class_loss(logits_BK, target_BK, smoothing_share=0.1), expected)
    weight_K = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = F.cross_entropy(logits_BK, labels_B, weight=weight_K, reduction="sum")
    assert torch.allclose(class_loss(logits_BK, target_BK, weight_K), expected)


def test_hidden_labels_and_several_labels() -> None:
    target_BK, known_B = clip_targets(torch.tensor([1, -1]), 3)
    assert target_BK.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert known_B.tolist() == [True, False]
    target_BK, known_B = clip_targets(torch.tensor([[1, 0, 1], [0, 0, 0]]), 3)
    assert target_BK.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert known_B.all()  # none of the classes is an answer, too


def test_multi_label_loss_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BK, target_BK = torch.randn(3, 4, generator=generator), torch.eye(4)[:3]
    expected = F.binary_cross_entropy_with_logits(logits_BK, target_BK) * 3
    assert torch.allclose(multi_label_loss(logits_BK, target_BK), expected)


def test_dense_loss_weighs_frames_and_clip() -> None:
    frame_BTK = torch.zeros(1, 4, 2)
    frame_BTK[0, :2, 0] = 1.0
    logits_BTK = torch.tensor([[[3.0, -3.0], [-3.0, -3.0]]])  # two positions for four frames
    drawn = F.interpolate(logits_BTK.transpose(1, 2), size=4, mode="linear").transpose(1, 2)
    assert drawn[0, :, 0].tolist() == [3.0, 1.5, -1.5, -3.0]
    frames = F.binary_cross_entropy_with_logits(drawn, frame_BTK)
    clip = F.binary_cross_entropy_with_logits(logits_BTK.mean(1), torch.tensor([[1.0, 0.0]]))
    assert torch.allclose(dense_loss(logits_BTK, frame_BTK, 0.7), 0.7 * frames + 0.3 * clip)


def test_frames_in_spans() -> None:
    spans = (Span(0.5, 1.0, 1, "run"), Span(0.9, 2.0, 0, "jump"))
    target_TK = frame_targets(spans, torch.tensor([0.4, 0.5, 0.95, 1.0, 1.5, 2.1], dtype=torch.float64), 3)
    assert target_TK.tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_balanced_classes_weigh_one_on_average() -> None:
    labels = [(0,), (0,), (0,), (1,)]
    weight_K = class_balance(labels, 3)
    assert weight_K.tolist() == pytest.approx([4 / 6, 2.0, 0.0])
    assert np.mean([float(weight_K[label]) for (label,) in labels]) == pytest.approx(1.0)


def test_each_head_sees_its_own_clips_only() -> None:
    heads = heads_of((2, "class"), (3, "class"), (2, "multi_label"))
    generator = torch.Generator().manual_seed(0)
    logits_BK = torch.randn(3, 7, generator=generator, requires_grad=True)
    target_BK = torch.zeros(3, 7)
    target_BK[0, 1] = target_BK[1, 4] = target_BK[2, 5] = 1.0
    owner_BN = torch.eye(3)
    loss = heads_loss(logits_BK, target_BK, owner_BN, heads, LossConfig())
    expected = (
        F.cross_entropy(logits_BK[:1, :2], torch.tensor([1]))
        + F.cross_entropy(logits_BK[1:2, 2:5], torch.tensor([2]))
        + F.binary_cross_entropy_with_logits(logits_BK[2:, 5:], torch.tensor([[1.0, 0.0]]))
    )
    assert torch.allclose(loss, expected)
    loss.backward()
    assert logits_BK.grad is not None
    touched = logits_BK.grad != 0
    own = [slice(0, 2), slice(2, 5), slice(5, 7)]
    assert all(touched[row, rows].all() for row, rows in enumerate(own))
    assert int(touched.sum()) == 7


def test_each_step_has_a_loss_that_weighs_more_and_more() -> None:
    torch.manual_seed(0)
    model = create_model("snippets_lstm", num_classes=3, tiny=True).eval()
    clips, labels_B = torch.rand(2, 3, 5, 64, 64), torch.tensor([0, 2])
    with torch.no_grad():
        logits_BTK = model.forward_steps(clips)  # type: ignore[operator]
        for steps, gains in (("alike", [1, 1, 1, 1, 1]), ("rising", [0, 0.25, 0.5, 0.75, 1])):
            logits_BK, answers = score_clips(model, clips, steps)  # type: ignore[arg-type]
            assert torch.allclose(logits_BK, model(clips), atol=1e-6)
            found = sum(weight * F.cross_entropy(answer, labels_B) for weight, answer in answers)
            losses = [F.cross_entropy(logits_BTK[:, step], labels_B) for step in range(5)]
            expected = sum(gain * loss for gain, loss in zip(gains, losses, strict=True)) / sum(gains)
            assert torch.allclose(torch.as_tensor(found), torch.as_tensor(expected))
        _, answers = score_clips(model, clips[:, :, :1], "rising")
        assert [weight for weight, _ in answers] == [1.0]
        ((weight, answer_BK),) = score_clips(model, clips)[1]
        assert weight == 1.0
        assert torch.equal(answer_BK, model(clips))


def test_each_stream_has_a_loss_as_if_alone() -> None:
    torch.manual_seed(0)
    model = create_model("two_stream_inception", num_classes=3, tiny=True).eval()
    clips = {"rgb": torch.rand(2, 3, 1, 48, 48), "flow": torch.rand(2, 20, 1, 48, 48)}
    with torch.no_grad():
        logits_BK, answers = score_clips(model, clips)
        assert torch.allclose(logits_BK, model(clips), atol=1e-6)
        alone = [model.get_submodule(name)(clips[name]) for name in ("rgb", "flow")]
    assert [weight for weight, _ in answers] == [1.0, 1.0]
    for (_, found_BK), wanted_BK in zip(answers, alone, strict=True):
        assert torch.allclose(found_BK, wanted_BK, atol=1e-6)


# Mixing ---------------------------------------------------------------------------------------------------


def test_mixup_blends_clips_and_labels_alike() -> None:
    clip_BCTHW = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 8, 8).contiguous()
    target_BK = torch.eye(4)
    mixed, (target,) = mix(clip_BCTHW, (target_BK,), Augment(mixup=1.0), seed=0, step=5)
    expected = (target * torch.arange(4.0)).sum(1)
    assert torch.allclose(mixed[:, 0, 0, 0, 0], expected)
    assert (target.gt(0).sum(1) == 2).all(), "everybody meets another"
    assert torch.allclose(target.sum(1), torch.ones(4))
    shares = target.diagonal()
    assert torch.allclose(shares, shares[:1].expand(4)), "one lambda a step"


def test_cutmix_moves_a_box_and_counts_its_pixels() -> None:
    clip_BCTHW = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 16, 16).contiguous()
    for step in range(6):
        mixed, (target,) = mix(clip_BCTHW, (torch.eye(4),), Augment(cutmix=1.0), seed=1, step=step)
        for row in range(4):
            own = (mixed[row, 0, 0] == row).float().mean()
            assert own == pytest.approx(float(target[row, row]), abs=1e-6)
        assert (mixed == mixed[:, :1, :1]).all(), "the same box in every frame and channel"


def test_mixing_depends_on_seed_step_and_part_only() -> None:
    clip_BCTHW, augment = torch.rand(6, 3, 2, 8, 8), Augment(mixup=0.4, cutmix=1.0)
    one = mix(clip_BCTHW, (torch.eye(6),), augment, 3, 7, 1)
    torch.rand(5), np.random.rand(5)
    two = mix(clip_BCTHW, (torch.eye(6),), augment, 3, 7, 1)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1][0], two[1][0])
    for other in ((4, 7, 1), (3, 8, 1), (3, 7, 2)):
        assert not torch.equal(one[0], mix(clip_BCTHW, (torch.eye(6),), augment, *other)[0])
    share = one[1][0].diagonal()[0]
    assert mix(clip_BCTHW, (torch.eye(6),), augment, 3, 7, 2)[1][0].diagonal()[0] == share
    shares = [float(mix(clip_BCTHW, (torch.eye(6),), augment, 3, step)[1][0][0, 0]) for step in range(5)]
    assert len(set(shares)) == 5, "another lambda in each step"
    alone = mix(clip_BCTHW[:1], (torch.eye(6)[:1],), augment, 3, 7)
    assert torch.equal(alone[0], clip_BCTHW[:1])


# Running mean ---------------------------------------------------------------------------------------------


def test_the_running_mean_follows_and_changes_places() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[0].weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    for value in (1.0, 2.0):
        with torch.no_grad():
            model[0].weight.fill_(value)
            model[1].running_mean.fill_(value)
        average.update(model)
    # d is min(0.5, 1 / 10), then min(0.5, 2 / 11)
    expected = 2 / 11 * (0.9 * 1.0) + 9 / 11 * 2.0
    assert float(average.state["0.weight"][0, 0]) == pytest.approx(expected)
    with average.used_in(model):
        assert float(model[0].weight.detach()[0, 0]) == pytest.approx(expected)
        assert float(model[1].running_mean) == pytest.approx(expected)
    assert float(model[0].weight.detach()[0, 0]) == 2.0
    other = WeightAverage(model, 0.5)
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.state["0.weight"], average.state["0.weight"])
    assert other.num_updates == 2


def test_a_steps_random_numbers_depend_on_nothing_else() -> None:
    drawn = []
    for _ in range(2):
        torch.rand(7)
        seed_step(1, 2, 0)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        seed_step(*other)
        assert not torch.equal(drawn[0], torch.rand(3))


# The network at its start ---------------------------------------------------------------------------------


def start_recipe(name: str = "r3d_18", **fields: Any) -> Recipe:
    data = {
        key: fields.pop(key) for key in ("num_frames", "frame_stride", "fps", "size", "crop") if key in fields
    }
    return Recipe(data=DataConfig(**data), model=ModelConfig(name=name, tiny=True, **fields))


def test_a_network_has_the_spec_of_the_run() -> None:
    model = build_network(start_recipe(num_frames=12, frame_stride=3, fps=10.0, crop=48), ("a", "b"))
    assert (model.spec.num_frames, model.spec.frame_stride, model.spec.fps) == (12, 3, 10.0)
    assert model.spec.crop == 48
    assert model.class_names == ("a", "b")
    assert model.num_classes == 2
    larger = build_network(start_recipe(crop=300), ("a", "b")).spec
    assert (larger.size, larger.crop) == (300, 300)
    smaller = build_network(start_recipe(size=40), ("a", "b")).spec
    assert (smaller.size, smaller.crop) == (40, 40)


def test_networks_whose_weights_depend_on_the_clip_are_built_for_it(tmp_path: Path) -> None:
    recipe = start_recipe("timesformer_divided", num_frames=4, crop=32, dropout=0.3, drop_path=0.2)
    model = build_network(recipe, ("a", "b", "c"))
    assert model.time_embed.shape[1] == 4
    assert model.options == {"tiny": True, "num_frames": 4, "crop": 32, "dropout": 0.3, "drop_path": 0.2}
    assert model(torch.zeros(1, 3, 4, 32, 32)).shape == (1, 3)
    again = create_model("timesformer_divided", save_model(model, tmp_path / "x.safetensors"))
    assert again.spec == model.spec


def test_the_random_start_is_the_seeds() -> None:
    torch.manual_seed(5)
    one = build_network(start_recipe(), ("a", "b"))
    before = torch.get_rng_state()
    two = build_network(start_recipe(), ("a", "b"))
    assert torch.equal(before, torch.get_rng_state())
    other = build_network(replace(start_recipe(), run=RunConfig(seed=1)), ("a", "b"))
    key = "stage2.0.conv1.weight"
    assert torch.equal(one.state_dict()[key], two.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_starting_from_a_file_keeps_the_head_of_the_same_classes_only(tmp_path: Path) -> None:
    model = create_model("r3d_18", num_classes=2, tiny=True)
    model.class_names = ("a", "b")
    model.spec = replace(model.spec, num_frames=9)
    path = save_model(model, tmp_path / "start.safetensors")
    same = build_network(start_recipe(init=str(path)), ("a", "b"))
    assert torch.equal(same.head.weight, model.head.weight)
    assert same.spec.num_frames == 9
    for names in (("a", "c"), ("a", "b", "c")):
        other = build_network(start_recipe(init=str(path)), names)
        assert other.head.weight.shape[0] == len(names)
        assert not torch.equal(other.head.weight[:1], model.head.weight[:1])
        assert torch.equal(other.state_dict()["conv1.weight"], model.state_dict()["conv1.weight"])
        assert other.class_names == names


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (start_recipe("r3d_8"), "did you mean 'r3d_"),
        (start_recipe(options={"droput": 0.1}), "did you mean 'dropout'"),
        (start_recipe(drop_path=0.1), "has no drop_path"),
        (start_recipe("i3d_inception", num_frames=4), "at least 9 frames"),
        (Recipe(), "set model.name"),
    ],
)
def test_a_start_that_cannot_be(recipe: Recipe, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_network(recipe, ("a", "b"))


# Several datasets -----------------------------------------------------------------------------------------


def labelled(name: str, root: str, classes: tuple[str, ...], many: bool = False) -> Dataset:
    examples = tuple(Example(f"{k}.mp4", f"{name}{k}", (k,)) for k in range(len(classes)))
    return Dataset(name, root, "train", classes, examples, many, {"all": tuple(range(len(classes)))})


def test_datasets_side_by_side() -> None:
    joint, heads, owner_N = join_datasets(
        [labelled("x", "/a", ("run", "jump")), labelled("x", "/b", ("run", "sit", "lie"))]
    )
    assert joint.class_names == ("x: run", "x: jump", "x-2: run", "x-2: sit", "x-2: lie")
    assert [(head.name, head.start, head.stop) for head in heads] == [("x", 0, 2), ("x-2", 2, 5)]
    assert owner_N.tolist() == [0, 0, 1, 1, 1]
    assert [example.labels for example in joint.examples] == [(0,), (1,), (2,), (3,), (4,)]
    assert joint.examples[2].video == str(Path("/b/0.mp4").resolve())
    assert joint.class_groups["x-2: all"] == (2, 3, 4)


@pytest.mark.parametrize("name", ["r3d_18", "i3d_inception", "lgd_p3d_r50"])
def test_cutting_a_head_out(name: str) -> None:
    heads = heads_of((2, "class"), (3, "class"))
    model = create_model(name, num_classes=5, tiny=True).eval()
    clip_BCTHW = torch.rand(1, 3, 16, 64, 64)
    with torch.no_grad():
        whole = model(clip_BCTHW)
        for head in heads:
            cut = cut_head(model, head).eval()
            assert cut.class_names == head.class_names
            assert torch.allclose(cut(clip_BCTHW), whole[:, head.start : head.stop], atol=1e-6)
    assert model.num_classes == 5


def test_a_union_is_one_head() -> None:
    sets = [labelled("x", "/a", ("run", "jump")), labelled("y", "/b", ("sit", "run"))]
    task = make_task(sets, [None, replace(sets[1], split="val")], Recipe())
    assert task.heads[0].class_names == ("run", "jump", "sit")
    assert [example.labels for example in task.dataset.examples] == [(0,), (1,), (2,), (0,)]
    (held_out,) = task.validations
    assert held_out is not None
    assert held_out.class_names == task.dataset.class_names
    assert [example.labels for example in held_out.examples] == [(2,), (0,)]


@pytest.mark.parametrize(
    ("datasets", "recipe", "error", "said"),
    [
        ([replace(labelled("x", "/", ("a", "b")), examples=())], Recipe(), DataError, "no examples"),
        (
            [labelled("x", "/", ("a", "b"), True)],
            Recipe(loss=LossConfig(kind="class")),
            ValueError,
            "several labels",
        ),
        (
            [labelled("x", "/", ("a", "b"))],
            Recipe(loss=LossConfig(kind="dense")),
            DataError,
            "no example has spans",
        ),
        (
            [labelled("x", "/", ("a", "b"), True)],
            Recipe(loss=LossConfig(label_smoothing=0.1)),
            ValueError,
            "label_smoothing",
        ),
        (
            [labelled("x", "/", ("a", "b"))],
            Recipe(optim=OptimConfig(schedule="plateau")),
            ValueError,
            "follows the validation",
        ),
    ],
)
def test_what_does_not_go_together(
    datasets: list[Dataset], recipe: Recipe, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        check_recipe(recipe, make_task(datasets, [None] * len(datasets), recipe))


# Clips ----------------------------------------------------------------------------------------------------


def test_steps_of_a_recipe() -> None:
    spec = ClipSpec(size=40, crop=32)
    frames_TCHW = torch.randint(0, 255, (4, 3, 50, 60), dtype=torch.uint8)
    for augment in (
        Augment(),
        Augment(crop="resized", colour=(0.1, 0.1, 0.1, 0.1), grey=0.5),
        Augment(crop="multi_scale"),
        Augment(crop="centre", flip=0.0),
    ):
        out, labels = frames_TCHW, (0,)
        for step in make_steps(augment, spec, ("to the left", "to the right")):
            out, labels = step(out, labels, torch.Generator().manual_seed(0))
        assert out.shape == (4, 3, 32, 32)
    sided = make_steps(Augment(), spec, ("to the left", "to the right"), spans_count=True)
    assert len(sided) == 2, "spans cannot change sides, so such clips are not mirrored"
    assert len(make_steps(Augment(), spec, ("run", "sit"), spans_count=True)) == 3


def test_parts_divide_a_share() -> None:
    assert [part_size(8, wanted) for wanted in (None, 8, 9, 5, 3, 1)] == [8, 8, 8, 4, 2, 1]
    with pytest.raises(ValueError, match=r"run\.part_size"):
        part_size(8, 0)


def test_smoke_keeps_what_may_not_fit() -> None:
    recipe = Recipe(
        model=ModelConfig(name="slowfast_r50_8x8", init="k400", freeze=("slow",)),
        optim=OptimConfig(
            milestones=(10.0, 20.0), schedule="step", warmup=5.0, length=30.0, lr_scale={"head": 2.0}
        ),
        run=RunConfig(precision="fp16", part_size=3, protocol="10x3"),
    )
    small = smoke_recipe(recipe)
    assert small.model == replace(recipe.model, tiny=True, init=None)
    assert (small.optim.unit, small.optim.length, small.optim.milestones) == ("steps", 2.0, (1.0,))
    assert small.optim.lr_scale == recipe.optim.lr_scale
    dataset = labelled("x", "/", ("a", "b", "c"))
    many = replace(dataset, examples=dataset.examples[:1] * 5 + dataset.examples)
    assert {example.labels for example in smoke_dataset(many).examples} == {(0,), (1,), (2,)}
    assert len(smoke_dataset(many).examples) == 4


@pytest.mark.filterwarnings("error")
def test_curves_of_a_run_that_has_no_loss_yet(tmp_path: Path) -> None:
    row = {"step": 1, "epoch": 1.0, "lr": 0.1, "train_loss": None, "val_loss": None, "val_top1": 0.5}
    draw_curves([row], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
