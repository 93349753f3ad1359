"""Runs of the training loop on small made videos: what comes out, and how it ends when something is wrong."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from made_clips import CLASSES, made_dataset, tiny_recipe, write_bar
from safetensors.torch import load_file
from torch import Tensor

import vadis
from vadis.config import Augment, LossConfig, Recipe, override
from vadis.engines import has_fast_bf16
from vadis.models import create_model
from vadis.records import DataError, Dataset, Example, Span
from vadis.training import Moment, TrainingError, TrainingResult, train
from vadis.training.checkpoints import Checkpoints
from vadis.training.run import TrainJob, align_classes, run_train


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made_dataset(tmp_path_factory.mktemp("bars"), 8)


@pytest.fixture(scope="module")
def other_bars(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made_dataset(tmp_path_factory.mktemp("other"), 4, "val", 100)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in table(out / "steps.csv")]


@pytest.mark.slow
def test_a_run_learns_and_leaves_all_that_one_needs(tmp_path: Path) -> None:
    train_set, validation = made_dataset(tmp_path / "a", 16), made_dataset(tmp_path / "b", 8, "val", 100)
    validation = replace(validation, class_groups={"all": (0, 1)})
    recipe = tiny_recipe(
        data={
            "num_frames": 6,
            "frame_stride": 1,
            "batch_size": 8,
            "augment": Augment(crop="centre", flip=0.0),
        },
        optim={"name": "adamw", "lr": 5e-3, "length": 24, "ema": 0.5},
        run={"validate_every": 6.0},
    )
    moments: list[Moment] = []
    result = train(train_set, recipe, tmp_path / "run", validation=validation, on_step=moments.append)
    assert result.metrics["val_top1"] == 1.0, "a bar that falls and one that rises can be told apart"
    assert losses(tmp_path / "run")[-1] < 0.3
    assert result.steps == 48 == len([moment for moment in moments if moment.phase == "training"])
    assert moments[-1].seconds_left == 0.0
    assert [row["step"] for row in result.history] == [12, 24, 36, 48]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    wanted = "recipe.json steps.csv metrics.csv scores.json curves.png tensorboard checkpoints"
    assert names >= {*wanted.split(), "best.safetensors", "last.safetensors"}
    assert any((tmp_path / "run" / "tensorboard").glob("events*"))
    assert (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    metrics = table(tmp_path / "run" / "metrics.csv")
    assert [float(row["val_top1"]) for row in metrics] == [row["val_top1"] for row in result.history]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["bars"]
    assert {row["class_name"] for row in scores["per_class"]} == set(CLASSES)
    assert scores["groups"]["all"]["top1"] == scores["top1"]
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert about["class_names"] == list(CLASSES)
    assert {each["role"]: each["examples"] for each in about["data"]} == {"train": 16, "validation": 8}
    assert all(len(each["fingerprint"]) == 64 for each in about["data"])
    assert about["versions"]["torch"] == torch.__version__
    assert about["commit"] is None or len(about["commit"].rstrip("+")) == 40

    # what `vadis predict` takes: class names, spec, weights
    prediction = vadis.predict(tmp_path / "b" / "val_101.mp4", model=str(result.best))
    assert prediction.labels[0].class_name == "up"
    assert "6 frames" in prediction.protocol


def test_the_best_is_kept_and_the_last(bars: Dataset, other_bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(optim={"length": 4, "lr": 0.5}, run={"metric": "mean_class"})
    result = train(bars, recipe, tmp_path, validation=other_bars)
    values = [row["val_mean_class"] for row in result.history]
    assert result.metrics == result.history[values.index(max(values))], "the first of equals"
    best, last = load_file(result.best), load_file(result.last)
    assert result.metrics is not result.history[-1]
    assert any(not torch.equal(best[key], last[key]) for key in best)
    without = train(bars, tiny_recipe(), tmp_path / "without")
    assert load_file(without.best).keys() == load_file(without.last).keys()
    assert all(torch.equal(load_file(without.best)[k], v) for k, v in load_file(without.last).items())
    assert without.metrics == without.history[-1]


def test_the_same_seed_gives_the_same_weights_whatever_happens_between(bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(model={"name": "mfnet3d", "options": {"dropout": 0.5}})
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = train(bars, recipe, tmp_path / "one")
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers are left alone"
    two = train(bars, recipe, tmp_path / "two", validation=bars, on_step=lambda moment: torch.rand(3))
    first, second = load_file(one.last), load_file(two.last)
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = load_file(train(bars, override(recipe, ["run.seed=1"]), tmp_path / "other").last)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_parts_give_the_losses_of_the_whole(bars: Dataset, tmp_path: Path) -> None:
    """Without batch statistics, and also where a step's parts are of unequal size at the end of an epoch."""
    recipe = tiny_recipe(
        model={"frozen_batch_norm": "all"},
        data={"batch_size": 6},
        optim={"weight_decay": 0.1, "clip_norm": 0.5},
    )
    whole = train(bars, recipe, tmp_path / "whole")
    parts = train(bars, override(recipe, ["run.part_size=2"]), tmp_path / "parts")
    assert [row["clips"] for row in table(tmp_path / "parts" / "steps.csv")] == ["6", "2", "6", "2"]
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    first, second = load_file(whole.last), load_file(parts.last)
    assert all(torch.allclose(first[key], second[key], atol=1e-5) for key in first)


def test_a_step_is_what_pytorch_says(bars: Dataset, tmp_path: Path) -> None:
    """One step with clipping, decay and rates of its own, against the same by hand."""
    recipe = tiny_recipe(
        data={"batch_size": 8, "augment": Augment(crop="centre", flip=0.0), "rule": "uniform"},
        optim={"length": 1.0, "unit": "steps", "schedule": "constant", "clip_norm": 0.1, "lr": 0.1},
        model={"frozen_batch_norm": "all"},
    )
    recipe = override(recipe, ["optim.lr_scale.head=10", "optim.weight_decay=0.01", "optim.no_decay=bias"])
    from vadis.data.clip_rules import ClipRule
    from vadis.data.loader import ClipDataset, ClipLoader
    from vadis.training.start import build_network

    model = build_network(recipe, CLASSES)
    loader = ClipLoader(ClipDataset(bars, model.spec, rule=ClipRule("uniform"), training=False), 8, workers=0)
    (batch,) = loader
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    loss = torch.nn.functional.cross_entropy(model(batch.clip_BCTHW()), batch.labels)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    expected = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        decay = 0.0 if name.endswith("bias") else 0.01
        rate = 1.0 if name.startswith("head") else 0.1
        expected[name] = (parameter - rate * (parameter.grad + decay * parameter)).detach()
    result = train(bars, recipe, tmp_path)
    (row,) = table(tmp_path / "steps.csv")
    assert float(row["loss"]) == pytest.approx(float(loss), abs=1e-5)
    assert float(row["gradient_norm"]) == pytest.approx(float(norm), rel=1e-4)
    found = load_file(result.last)
    assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in expected.items())


NEEDS_BF16 = pytest.mark.skipif(not has_fast_bf16(), reason="this processor has no bf16")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["run.precision=bf16"], marks=NEEDS_BF16),
        ["run.precision=fp16", "optim.clip_norm=1"],
        ["data.augment.mixup=0.5", "data.augment.cutmix=1", "loss.label_smoothing=0.1"],
        ["loss.class_weights=balanced", "data.balance=1", "data.repeats=2"],
        ["optim.schedule=plateau", "optim.patience=0", "model.freeze=stage2"],
        ["loss.kind=multi_label"],
        ["data.rule=segments", "optim.name=adam", "optim.warmup=1", "data.cache_gb=0.01"],
    ],
    ids=" ".join,
)
def test_what_a_recipe_can_ask_for(
    settings: list[str], bars: Dataset, other_bars: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))
    result = train(bars, override(tiny_recipe(), settings), tmp_path / "run", validation=other_bars)
    assert all(loss > 0 for loss in losses(tmp_path / "run"))
    assert ("val_mean_ap" if "loss.kind=multi_label" in settings else "val_top1") in result.metrics
    if "optim.patience=0" in settings:
        start = create_model("r3d_18", num_classes=2, tiny=True).state_dict()
        assert start.keys() == load_file(result.last).keys()


def test_emulated_bf16_is_refused(bars: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadis.training.session.has_fast_bf16", lambda: False)
    recipe = override(tiny_recipe(), ["run.precision=bf16", "run.device=cpu"])
    with pytest.raises(ValueError, match=r"no bf16 arithmetic.*take float32"):
        train(bars, recipe, tmp_path / "run")


def test_a_gradient_that_fp16_cannot_hold_is_passed_over(bars: Dataset, tmp_path: Path) -> None:
    """The scaler halves its scale and leaves the weights alone, until the gradient fits."""
    recipe = override(tiny_recipe(), ["run.precision=fp16", "optim.schedule=constant"])
    model = create_model("r3d_18", num_classes=2, tiny=True)
    model.spec = replace(model.spec, num_frames=4, size=36, crop=32)
    factors = iter([float("inf"), float("inf"), 1.0, 1.0])
    model.head.weight.register_hook(lambda gradient: gradient * next(factors))
    weights = [model.head.weight.detach().clone()]
    train(bars, recipe, tmp_path, model=model, on_step=lambda _: weights.append(model.head.weight.clone()))
    assert [torch.equal(*pair) for pair in pairwise(weights)] == [True, True, False, False]
    norms = [float(row["gradient_norm"]) for row in table(tmp_path / "steps.csv")]
    assert [math.isfinite(norm) for norm in norms] == [False, False, True, True]
    state = Checkpoints(tmp_path / "checkpoints").latest()
    assert state is not None
    assert state["scaler"]["scale"] == 65536 / 4


def test_frozen_layers_do_not_move(bars: Dataset, tmp_path: Path) -> None:
    recipe = override(tiny_recipe(), ["model.freeze=backbone", "optim.weight_decay=0.1"])
    from vadis.training.start import build_network

    before = build_network(recipe, CLASSES).state_dict()
    after = load_file(train(bars, recipe, tmp_path).last)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"head.weight", "head.bias"}


def test_a_network_of_ones_own_is_trained_in_place(bars: Dataset, tmp_path: Path) -> None:
    model = create_model("r3d_18", num_classes=5, tiny=True)
    model.spec = replace(model.spec, num_frames=4, size=36, crop=32)
    result = train(bars, tiny_recipe(), tmp_path, model=model)
    assert model.class_names == CLASSES
    assert torch.equal(model.head.weight, load_file(result.last)["head.weight"])


# Frames ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frames_are_learnt_from_spans(tmp_path: Path) -> None:
    """Two videos whose halves are of different classes: a network that answers over time tells them apart."""
    from vadis.video.write import VideoWriter

    colours = ((200, 40, 40), (40, 40, 200))
    examples = []
    for number, first in enumerate((0, 1)):
        with VideoWriter(tmp_path / f"{number}.mp4", 25) as writer:
            for index in range(32):
                shown = colours[first if index < 16 else 1 - first]
                writer.write(torch.tensor(shown, dtype=torch.uint8).expand(48, 48, 3).numpy())
        spans = (
            Span(0.0, 15.5 / 25, first, CLASSES[first]),
            Span(15.6 / 25, 32 / 25, 1 - first, CLASSES[1 - first]),
        )
        examples.append(Example(f"{number}.mp4", str(number), (0, 1), spans=spans))
    dataset = Dataset("halves", str(tmp_path), "train", CLASSES, tuple(examples), multi_label=True)
    recipe = tiny_recipe(
        data={"num_frames": 32, "frame_stride": 1, "fps": 25.0, "batch_size": 2},
        model={"name": "i3d_inception", "dropout": 0.0, "frozen_batch_norm": "all"},
        optim={"name": "adam", "lr": 0.003, "length": 40},
        run={"validate_every": 0.0},
    )
    recipe = replace(
        recipe,
        loss=LossConfig(kind="dense", frame_weight=0.9),
        data=replace(recipe.data, augment=Augment(crop="centre", flip=0.5)),
    )
    result = train(dataset, recipe, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert found[-1] < 0.5 * found[0]
    model = create_model("i3d_inception", result.last).eval()
    from vadis.video.transform import prepare_clip

    for example in examples:
        frames = vadis.decode(tmp_path / example.video).frames_THWC
        clip = prepare_clip(torch.from_numpy(frames).permute(0, 3, 1, 2), model.spec)[None]
        with torch.no_grad():
            logits_TK: Tensor = model.forward_dense(clip)[0]
        order = [example.spans[0].label, example.spans[1].label]
        assert [int(logits_TK[0].argmax()), int(logits_TK[-1].argmax())] == order
    with pytest.raises(ValueError, match="forward_dense"):
        train(dataset, override(recipe, ["model.name=r3d_18", "model.dropout=none"]), tmp_path / "no")


# Several datasets -----------------------------------------------------------------------------------------


def test_a_head_for_each_dataset(bars: Dataset, other_bars: Dataset, tmp_path: Path) -> None:
    three = ("down", "up", "still")
    second = replace(other_bars, name="more", class_names=three)
    recipe = override(tiny_recipe(), ["model.heads=each", "data.augment.mixup=0.2"])
    result = train([bars, second], recipe, tmp_path, validation=[bars, second])
    assert set(result.networks["best"]) == {"bars", "more"}
    trunks = []
    for name, class_names in (("bars", CLASSES), ("more", three)):
        model = create_model("r3d_18", result.networks["best"][name])
        assert result.networks["best"][name].name == f"best.{name}.safetensors"
        assert model.class_names == class_names
        assert model.num_classes == len(class_names)
        trunks.append(model.state_dict()["conv1.weight"])
    assert torch.equal(*trunks)
    row = result.history[-1]
    assert row["val_mean"] == pytest.approx((row["val_top1.bars"] + row["val_top1.more"]) / 2)


def test_a_union_of_datasets(bars: Dataset, other_bars: Dataset, tmp_path: Path) -> None:
    second = replace(other_bars, name="more", class_names=("up", "still"))
    result = train([bars, second], tiny_recipe(), tmp_path, validation=[bars, None])
    assert create_model("r3d_18", result.best).class_names == ("down", "up", "still")
    assert "val_top1" in result.metrics


# How a run ends -------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_not_written_over(bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    train(bars, recipe, tmp_path)
    kept = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"already holds a run.*--resume"):
        train(bars, recipe, tmp_path)
    for setting in ("optim.lr=0.01", "data.augment.flip=0", "model.options.dropout=0.1"):
        with pytest.raises(
            ValueError, match=rf"{setting.partition('=')[0].rpartition('.')[0]}.* was .* and is"
        ):
            train(bars, override(recipe, [setting]), tmp_path, resume=True)
    with pytest.raises(ValueError, match="fingerprint of bars differs"):
        train(replace(bars, examples=bars.examples[1:]), recipe, tmp_path, resume=True)
    assert (tmp_path / "last.safetensors").read_bytes() == kept
    allowed = override(recipe, ["run.checkpoint_steps=3", "run.threads=none", "data.workers=1"])
    assert train(bars, allowed, tmp_path, resume=True).steps == 4


def test_stopped_and_gone_on(bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(optim={"length": 3, "ema": 0.9, "schedule": "plateau", "patience": 0, "lr": 1e-3})
    whole = train(bars, recipe, tmp_path / "whole", validation=bars)
    steps = 0
    out = tmp_path / "stopped"

    def count(moment: Moment) -> None:
        nonlocal steps
        steps = moment.done if moment.phase == "training" else steps

    for stop_at in (1, 2, 4):  # 2 and 4 are the ends of epochs: the validation there is made after going on
        with pytest.raises(KeyboardInterrupt):
            train(
                bars,
                recipe,
                out,
                validation=bars,
                resume=True,
                on_step=count,
                asked_to_stop=lambda at=stop_at: steps >= at,  # type: ignore[misc]
            )
        assert Checkpoints(out / "checkpoints").steps()[-1] == stop_at
    result = train(bars, recipe, out, validation=bars, resume=True)
    first, second = load_file(whole.last), load_file(result.last)
    assert all(torch.equal(first[key], second[key]) for key in first)
    for name in ("steps.csv", "metrics.csv"):
        clocks = ("seconds", "waiting")
        rows = [
            [{k: row[k] for k in row if k not in clocks} for row in table(o / name)]
            for o in (out, tmp_path / "whole")
        ]
        assert rows[0] == rows[1]
    assert len(Checkpoints(out / "checkpoints").steps()) == 2, "the last two are kept"
    assert float(table(out / "steps.csv")[-1]["lr"]) == pytest.approx(1e-4), (
        "nothing got better, the rate fell"
    )


def test_ctrl_c_waits_for_the_step(bars: Dataset, tmp_path: Path) -> None:
    """A real signal, in the middle of a forward pass: the step is done, then a checkpoint is written."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    model = create_model("r3d_18", num_classes=2, tiny=True)
    model.spec = replace(model.spec, num_frames=4, size=36, crop=32)
    model.head.register_forward_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(bars, tiny_recipe(), tmp_path, model=model)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1]
    assert len(losses(tmp_path)) == 1


def test_a_loss_that_is_no_number_stops_the_run(bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(run={"checkpoint_steps": 1})
    model = create_model("r3d_18", num_classes=2, tiny=True)
    model.spec = replace(model.spec, num_frames=4, size=36, crop=32)
    passes = 0

    def spoil(module: Any, inputs: Any, logits_BK: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        return logits_BK * float("nan") if passes == 3 else logits_BK

    handle = model.register_forward_hook(spoil)
    with pytest.raises(
        TrainingError, match=r"loss is nan in step 3 \(epoch 1\.00\).*examples train-"
    ) as caught:
        train(bars, recipe, tmp_path, model=model)
    named = set(str(caught.value).partition("examples ")[2].partition(".")[0].split(", "))
    assert len(named) == 4
    assert named <= {example.id for example in bars.examples}
    state = Checkpoints(tmp_path / "checkpoints").latest()
    assert state is not None
    assert state["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())
    handle.remove()
    again = create_model("r3d_18", num_classes=2, tiny=True)
    again.spec = model.spec
    assert train(bars, recipe, tmp_path, model=again, resume=True).steps == 4


def test_a_gradient_that_is_no_number_stops_it_too(bars: Dataset, tmp_path: Path) -> None:
    model = create_model("r3d_18", num_classes=2, tiny=True)
    model.spec = replace(model.spec, num_frames=4, size=36, crop=32)
    model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="norm of the gradient is"):
        train(bars, tiny_recipe(), tmp_path, model=model)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_vanished_file_is_skipped_and_named(bars: Dataset, tmp_path: Path) -> None:
    gone = Example("gone.mp4", "train-gone", (0,))
    dataset = replace(bars, examples=(*bars.examples[:5], gone))
    result = train(dataset, tiny_recipe(data={"batch_size": 2}), tmp_path, validation=dataset)
    rows = table(tmp_path / "steps.csv")
    assert sorted(int(row["clips"]) for row in rows) == [1, 1, 2, 2, 2, 2]
    (line,) = result.skipped
    assert line.startswith("2 x train-gone: ")
    assert "gone.mp4" in line


def test_when_all_files_have_vanished_the_run_waits_for_them(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path / "videos", 6)
    recipe = tiny_recipe(data={"batch_size": 2}, optim={"length": 4})
    whole = train(dataset, recipe, tmp_path / "whole")

    def take_away(moment: Moment) -> None:
        if moment.done == 4:
            (tmp_path / "videos").rename(tmp_path / "away")

    out = tmp_path / "run"
    with pytest.raises(DataError, match=r"could be read.*Are the videos still at .*videos"):
        train(dataset, recipe, out, on_step=take_away)
    assert Checkpoints(out / "checkpoints").steps() == [4]
    (tmp_path / "away").rename(tmp_path / "videos")
    result = train(dataset, recipe, out, resume=True)
    assert result.skipped == ()
    first, second = load_file(whole.last), load_file(result.last)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(bars: Dataset, tmp_path: Path) -> None:
    """The system's own limit on a file's size stands for the disk: the checkpoint does not fit any more."""
    import resource

    recipe = tiny_recipe(run={"checkpoint_steps": 1}, optim={"length": 2})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(moment: Moment) -> None:
        if moment.done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))

    try:
        with pytest.raises(TrainingError, match=r"cannot be written: .*step 2 is kept.*--resume"):
            train(bars, recipe, tmp_path, on_step=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1, 2]
    assert not list((tmp_path / "checkpoints").glob("*.part"))
    assert train(bars, recipe, tmp_path, resume=True).steps == 4


def test_a_disk_that_is_full_while_a_best_network_is_written(
    bars: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vadis.training.session.save_model", full)
    with pytest.raises(TrainingError, match=r"best\.safetensors cannot be written.*No space left"):
        train(bars, tiny_recipe(), tmp_path, validation=bars)


def test_a_broken_checkpoint_gives_way_to_the_one_before(bars: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(run={"checkpoint_steps": 1})
    train(bars, recipe, tmp_path / "whole")
    out = tmp_path / "run"
    train(bars, recipe, out)
    newest = out / "checkpoints" / "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    (out / "checkpoints" / "step-00000009.part").write_bytes(b"half")
    (out / "last.safetensors").unlink()
    result = train(bars, recipe, out, resume=True)
    first, second = load_file(tmp_path / "whole" / "last.safetensors"), load_file(result.last)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not list((out / "checkpoints").glob("*.part"))
    assert [row["step"] for row in table(out / "steps.csv")] == ["1", "2", "3", "4"], (
        "later lines are cut off"
    )
    for path in (out / "checkpoints").glob("*.pt"):
        path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no checkpoint can be read"):
        train(bars, recipe, out, resume=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["run.device=tpu"], "one of auto, cpu"),
        (["data.batch_size=0"], "not a multiple"),
        (["run.metric=topp1"], "no measure 'topp1'; there are"),
        (["run.protocol=1y1"], "no protocol is called"),
        (["optim.lr_scale.haed=3"], "begins with 'haed'"),
    ],
)
def test_what_cannot_be_is_said(settings: list[str], said: str, bars: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        train(bars, override(tiny_recipe(), settings), tmp_path, validation=bars)


def test_in_another_thread(bars: Dataset, tmp_path: Path) -> None:
    """Signals belong to the main thread; a run elsewhere does without."""
    results: list[TrainingResult] = []
    thread = threading.Thread(target=lambda: results.append(train(bars, tiny_recipe(), tmp_path)))
    thread.start()
    thread.join()
    assert results[0].steps == 4


# The verb -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders of bars, and the place to be in."""
    for number in range(8):
        path = tmp_path / "clips" / CLASSES[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bar(path, number % 2, number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = (
    "model.tiny=true",
    "data.num_frames=4",
    "data.size=36",
    "data.crop=32",
    "data.batch_size=4",
    "data.workers=0",
    "optim.length=1",
    "run.threads=1",
)


def test_the_verb(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = TrainJob(
        data=(Path("clips"),), model="r3d_18", settings=SMALL, hold_out=0.5, device="cpu", as_json=True
    )
    assert run_train(job) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["out"] == "runs/train/default-for-r3d_18-1"
    assert document["steps"] == 1
    assert 0.0 <= document["metrics"]["val_top1"] <= 1.0
    assert Path(document["best"]["clips"]).is_file()
    assert "held out" in said.err
    assert "from random weights" in said.err
    (folder / "clips" / "up" / "broken.mp4").write_bytes(b"no video")
    assert run_train(replace(job, as_json=False, hold_out=0.0)) == 1, "a clip could not be read"
    said = capsys.readouterr()
    assert "broken.mp4" in said.err
    assert "runs/train/default-for-r3d_18-2" in said.out


def test_the_verb_goes_on_with_the_recipe_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = TrainJob(data=(Path("clips"),), model="r3d_18", settings=SMALL, out=Path("run"))
    stopped = replace(job, asked_to_stop=lambda: True)
    assert run_train(stopped) == 130
    assert "--out run --resume goes on" in capsys.readouterr().err
    assert run_train(TrainJob(data=(Path("clips"),), out=Path("run"), resume=True)) == 0
    assert (folder / "run" / "best.safetensors").is_file()
    with pytest.raises(ValueError, match="--resume needs --out"):
        run_train(replace(job, out=None, resume=True))


def test_a_plan_says_what_it_takes_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(folder.rglob("*"))
    job = TrainJob(data=(Path("clips"),), model="r3d_18", settings=SMALL, hold_out=0.5, plan=True)
    assert run_train(job) == 0
    said = capsys.readouterr().out
    assert "model.tiny = True" in said
    assert "1 steps (1 an epoch), 4 clips" in said
    assert "to compute a step" in said
    assert run_train(replace(job, as_json=True)) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["step_seconds"] > 0
    assert plan["clip_seconds"] > 0
    assert plan["seconds"] > plan["step_seconds"]
    assert plan["learning"] == plan["parameters"]
    assert set(folder.rglob("*")) == before


def test_smoke(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(folder.rglob("*"))
    job = TrainJob(data=(Path("clips"),), recipe="new_classes_top", smoke=True, as_json=True)
    assert run_train(job) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"] == 2
    assert [row["step"] for row in document["history"]] == [1, 2]
    assert set(folder.rglob("*")) == before


def test_validation_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("up", "left"):
        (folder / "val" / name).mkdir(parents=True)
        write_bar(folder / "val" / name / "9.mp4", 1, 9)
        write_bar(folder / "val" / name / "8.mp4", 1, 8)
    job = TrainJob(
        data=(Path("clips"),), validation=(Path("val"),), model="r3d_18", settings=SMALL, as_json=True
    )
    with pytest.raises(DataError, match="has not: left"):
        run_train(job)
    (folder / "val" / "left").rename(folder / "val" / "down")
    assert run_train(job) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["clips"] == 8, "all of DATA is trained on"
    with pytest.raises(ValueError, match="as many --val"):
        run_train(replace(job, data=(Path("clips"), Path("clips"))))
    one = Dataset("v", ".", "val", ("up",), (Example("a", "a", (0,)),))
    assert align_classes(one, replace(one, class_names=CLASSES)).examples[0].labels == (1,)


def test_init_and_recipe_from_the_command_line(folder: Path) -> None:
    from vadis.training.run import choose_recipe

    def chosen(**fields: Any) -> Recipe:
        return choose_recipe(TrainJob(data=(), **fields), 100)

    assert chosen().model.name == "i3d_inception"
    assert chosen().model.init == "k400"
    assert chosen(model="r3d_18").model.init is None
    assert chosen(model="slowfast_r50_8x8.k400").model.init == "k400"
    assert chosen(model="slowfast_r50_8x8.k400", init="none").model.init is None
    assert chosen(model="r3d_18", init="imagenet").model.init == "imagenet"
    assert chosen(recipe="new_classes_head", init="none").model.init is None
    assert chosen(recipe="new_classes_head", settings=("optim.lr=0.5",), device="cpu").optim.lr == 0.5
    with pytest.raises(ValueError, match="names a network already"):
        run_train(TrainJob(data=(Path("clips"),), recipe="new_classes_head", model="r3d_18"))
