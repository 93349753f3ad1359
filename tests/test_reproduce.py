"""`vadis reproduce`: results are found and matched, what is missing is named, commands are real ones."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vadis.cli import app
from vadis.models import MODELS
from vadis.models.catalogue import read_facts
from vadis.models.published import WEIGHTS
from vadis.tables import Cell, list_tables, read_table
from vadis.tables.needs import (
    BACKWARD,
    SIZES,
    Needs,
    find_needs,
    find_recipe,
    find_weights,
    list_timed,
    merge_commands,
    num_training_clips,
    time_clip,
)
from vadis.tables.reproduce import count, reproduce, show_hours
from vadis.tables.results import OurResult, find_results, match, share_of

HERE = Path("data")
I3D = read_table("quo_vadis_3").cell("Two-Stream I3D", "from scratch RGB top-1")
SLOWFAST = read_table("slowfast_kinetics").cell("SlowFast 8x8, R50", "top-1")
COMMAND: Any = typer.main.get_command(app)
CELLS = [cell for table in list_tables() for cell in table.cells]


def card(**changes: Any) -> dict[str, Any]:
    """What of a card matters here."""
    return {
        "schema_version": 1,
        "model": "i3d_inception.k400",
        "dataset": "kinetics400",
        "split": "test",
        "protocol": {"name": "whole", "num_views": 1},
        "metrics": {"top1": 0.675, "top5": 0.875, "clip_top1": 0.6},
        **changes,
    }


def result(cell: Cell, **changes: Any) -> OurResult:
    found = OurResult(cell.models, cell.dataset, cell.split, "", cell.views, {"top1": 0.5}, "card.json")
    return replace(found, **changes)


# results ------------------------------------------------------------------------------------------------


def test_cards_and_runs_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "card.json").write_text(json.dumps(card()))
    means = card(split="test1,test2", splits=[card(split="test1"), card(split="test2")])
    (tmp_path / "b.json").write_text(json.dumps(means))
    run = {"model": "i3d_inception.k400", "mode": "fixed", "split": 2, "examples": "all", "seed": 1}
    run |= {"pretrain": "", "control": ""}
    rows = [
        {"run": run, "metrics": {"top1": 0.9}},
        {"run": {**run, "examples": "5"}, "metrics": {"top1": 0.4}},
        {"run": {**run, "control": "random"}, "metrics": {"top1": 0.1}},
        {"run": {**run, "pretrain": "10%"}, "metrics": {"top1": 0.1}},
    ]
    lines = [*map(json.dumps, rows), "not json", "[1, 2]", json.dumps({"mode": "fixed"}), '{"torn": ']
    (tmp_path / "ucf101").mkdir()
    (tmp_path / "ucf101" / "runs.jsonl").write_text("\n".join(lines))
    (tmp_path / "ucf101" / "study.json").write_text(json.dumps({"setup": {"protocol": "whole"}}))
    (tmp_path / "package.json").write_text('{"name": "else"}')
    (tmp_path / "broken.json").write_text("{")
    found = find_results(tmp_path)
    assert [(each.split, each.mode, each.examples) for each in found] == [
        ("test", "", None),
        ("test1,test2", "", None),
        ("test1", "", None),
        ("test2", "", None),
        ("2", "fixed", None),
        ("2", "fixed", 5),
    ]
    assert (found[4].dataset, found[4].protocol, found[4].seed) == ("ucf101", "whole", 1)
    assert found[0].source.endswith("card.json")
    with pytest.raises(ValueError, match="no such folder"):
        find_results(tmp_path / "none")


def test_a_card_meets_its_cell() -> None:
    ours = match(I3D, [result(I3D, models=("i3d_inception.k400",), metrics={"top1": 0.675})])
    assert ours is not None
    assert ours.value == pytest.approx(67.5)
    assert ours.remark == ""
    for changes in (
        {"models": ("r3d_18.k400",)},
        {"models": ("i3d_inception.k400", "i3d_inception_flow.k400_imagenet")},
        {"dataset": "kinetics600"},
        {"split": "val"},
        {"mode": "fixed"},
        {"metrics": {"top5": 0.9}},
        {"examples": 5},
    ):
        assert match(I3D, [result(I3D, **changes)]) is None, changes


def test_what_differs_is_said_and_comes_last() -> None:
    other = result(I3D, models=("i3d_inception.k400_imagenet",), metrics={"top1": 0.7})
    ours = match(I3D, [other])
    assert ours is not None
    assert "ImageNet, then Kinetics-400, published with none" in ours.remark
    views = result(I3D, models=("i3d_inception.k400",), protocol="1x1", metrics={"top1": 0.6})
    found = match(I3D, [other, views])
    assert found is not None
    assert found.remark == "protocol 1x1, published with whole"
    same = result(I3D, models=("i3d_inception.k400",), metrics={"top1": 0.675})
    found = match(I3D, [other, views, same])
    assert found is not None
    assert (found.value, found.remark) == (pytest.approx(67.5), "")


def test_transfers_average_over_seeds_and_splits() -> None:
    fixed = read_table("quo_vadis_4").cell("3D-ConvNet", "UCF-101 Fixed, without ImageNet")
    runs = [
        result(fixed, mode="fixed", split="test1", seed=seed, metrics={"top1": 0.7 + seed / 100})
        for seed in (0, 1)
    ]
    ours = match(fixed, [*runs, result(fixed, mode="full", split="test1", metrics={"top1": 0.9})])
    assert ours is not None
    assert ours.value == pytest.approx(70.5)
    mean = read_table("quo_vadis_5").cell("RGB-I3D, Kinetics pre-training", "HMDB-51")
    three = [result(mean, mode="full", split=f"test{n}", metrics={"top1": n / 10}) for n in (1, 2, 3)]
    assert match(mean, three[:2]) is None  # a split lacks
    ours = match(mean, three)
    assert ours is not None
    assert ours.value == pytest.approx(20.0)
    original = read_table("quo_vadis_4").cell("Two-Stream I3D", "UCF-101 Original, with ImageNet")
    assert match(original, [result(original, mode="original", split="test1")]) is None
    assert match(original, [result(original, mode="imagenet", split="test1")]) is not None


def test_metrics_have_their_names() -> None:
    average = read_table("nonlocal_3").cell("I3D", "avg test")
    assert share_of(average, {"average": 0.8}) == 0.8
    charades = read_table("nonlocal_4").cell("I3D", "train, then val")
    assert share_of(charades, {"mean_ap": 0.1, "charades": {"mean_ap": 0.3}}) == 0.3
    moments = read_table("charades_challenge_localisation").cell("TeamKinetics", "mAP")
    assert share_of(moments, {"moments": {"mean_ap": 0.2}}) == 0.2
    assert share_of(moments, {"moments": None}) is None
    ours = match(moments, [result(moments, metrics={"moments": {"mean_ap": 0.2}}, split="challenge")])
    assert ours is not None
    assert ours.value == pytest.approx(0.2)  # a fraction, as the table has it


# needs --------------------------------------------------------------------------------------------------


def test_weights_fit_the_start() -> None:
    assert find_weights("i3d_inception", "kinetics400", "none")[0].name == "i3d_inception.k400"
    assert find_weights("i3d_inception", "kinetics400", "ImageNet")[0].name == "i3d_inception.k400_imagenet"
    assert find_weights("i3d_inception", "charades", "")[0].name == "i3d_inception.charades"
    assert (
        find_weights("timesformer_divided", "something_v2", "ImageNet-21K")[0].name
        == "timesformer_divided.ssv2"
    )
    assert find_weights("c3d", "sports1m", "none") == []


def test_what_a_test_takes() -> None:
    facts = read_facts()
    needs = find_needs(SLOWFAST, HERE)
    assert needs.weights == ("slowfast_r50_8x8.k400",)
    assert needs.num_clips == {"slowfast_r50_8x8": SIZES["kinetics400", "val"] * 30}
    assert needs.hours({"slowfast_r50_8x8": 2.0}) == pytest.approx(19_906 * 30 * 2 / 3600)
    assert needs.hours({}) is None
    (line,) = [line for line in needs.commands if line.startswith("vadis evaluate")]
    assert "--model slowfast_r50_8x8.k400 --split val --protocol 10x3" in line
    assert any("Kinetics-400, 19,906 videos" in text for text in needs.missing)
    whole = find_needs(I3D, HERE).num_clips["i3d_inception"]
    assert whole == pytest.approx(38_685 * 250 / facts["i3d_inception"].num_frames)


def test_what_a_training_takes() -> None:
    cell = read_table("r2plus1d_kinetics").cell("R2D", "video@1, 16 frames")
    needs = find_needs(cell, HERE)
    assert any("nobody publishes r2d_18 trained on kinetics400" in text for text in needs.missing)
    recipe = find_recipe("r2d_18", "kinetics400", "none")
    assert recipe is not None
    trained = num_training_clips(recipe, SIZES["kinetics400", "train"])
    assert trained > 1e6
    assert needs.num_clips["r2d_18"] == pytest.approx(BACKWARD * trained + 19_906 * 10)
    assert needs.commands[0].startswith("vadis train data/kinetics400 --recipe r2d_18_k400")
    few = find_needs(read_table("r2plus1d_kinetics").cell("R2D", "video@1, 8 frames"), HERE)
    assert "--set data.num_frames=8" in few.commands[0]
    assert find_recipe("s3d", "kinetics400", "none") is not None
    assert find_recipe("c3d", "coco", "none") is None


def test_what_is_said_of_the_others(tmp_path: Path) -> None:
    by_hand = find_needs(read_table("quo_vadis_5").cell("IDT", "UCF-101"), HERE)
    assert any("idt_fv is not part of vadis" in text for text in by_hand.missing)
    fused = find_needs(read_table("quo_vadis_2").cell("3D-Fused", "UCF-101 flow"), HERE)
    assert any(text.startswith("input: flow") for text in fused.missing)
    assert fused.commands == (), "our network takes both"
    unknown = find_needs(read_table("tsn_comparison").cell("MPR", "HMDB-51"), HERE)
    assert unknown == Needs(missing=("the lectures say too little of the method to build it",))
    change = find_needs(read_table("quo_vadis_3_v1").cell("Two-Stream", "UCF-101 change"), HERE)
    assert "follows" in change.missing[0]
    assert find_needs(read_table("ava_statistics").cell("boxes", "count"), HERE) == Needs()
    hidden = find_needs(read_table("nonlocal_4").cell("I3D", "trainval, then test"), HERE)
    assert any("hidden" in text for text in hidden.missing)
    (tmp_path / "kinetics400").mkdir()
    assert not any(text.startswith("data:") for text in find_needs(SLOWFAST, tmp_path).missing)


def test_flow_is_asked_for_where_a_network_takes_it() -> None:
    table = read_table("quo_vadis_3")
    flow = find_needs(table.cell("Two-Stream I3D", "from ImageNet flow top-1"), HERE)
    assert any(text.startswith("input: flow; flow from `vadis flow`") for text in flow.missing)
    readers = [line for line in flow.commands if line.startswith(("vadis train", "vadis evaluate"))]
    assert readers
    assert all(line.endswith(" --flow tvl1") for line in readers)
    both = find_needs(table.cell("Two-Stream I3D", "from ImageNet RGB+flow top-1"), HERE)
    assert both.commands[-1].startswith("vadis fuse results/quo_vadis_3/")
    scored = [line for line in both.commands if "--save-scores" in line]
    assert [line.endswith("--flow tvl1") for line in scored] == [False, True]
    cell = read_table("quo_vadis_4").cell("Two-Stream I3D", "UCF-101 Original, without ImageNet")
    (line,) = find_needs(cell, HERE).commands
    assert "--models i3d_inception+i3d_inception_flow --modes original --splits 1" in line
    assert line.endswith(" --out results/quo_vadis_4/ucf101 --flow tvl1")


def test_transfers_are_merged() -> None:
    table = read_table("quo_vadis_3_v1")
    fixed = table.cell("3D-ConvNet", "UCF-101 Fixed")
    assert any(
        "nobody publishes c3d_bn trained on minikinetics80k" in text
        for text in find_needs(fixed, HERE).missing
    )
    cells = [
        read_table("quo_vadis_5").cell("RGB-I3D, Kinetics pre-training", name)
        for name in ("UCF-101", "HMDB-51")
    ]
    lines = merge_commands(line for cell in cells for line in find_needs(cell, HERE).commands)
    studies = [line for line in lines if line.startswith("vadis transfer")]
    assert len(studies) == 2
    assert all("--init i3d_inception.k400 --modes full --splits 1,2,3" in line for line in studies)
    assert merge_commands(["a --modes x --b", "c", "a --modes y --b", "c", "a --modes x --b"]) == [
        "a --modes x,y --b",
        "c",
    ]


def parse(words: list[str]) -> None:
    """Parse a command as the command line does; SystemExit or click's errors where it does not know it."""
    command: Any = COMMAND
    context = command.make_context("vadis", list(words))
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, list(words))
        context = command.make_context(name, list(words), parent=context)
    assert not context.args


def test_every_command_of_every_cell_parses() -> None:
    lines = {line for cell in CELLS for line in find_needs(cell, HERE).commands}
    assert len(lines) > 100
    for line in lines:
        parse(shlex.split(line)[1:])


def test_networks_and_weights_of_all_needs_are_real() -> None:
    for cell in CELLS:
        needs = find_needs(cell, HERE)
        assert set(needs.num_clips) <= set(MODELS)
        assert all(value > 0 for value in needs.num_clips.values())
        for name in needs.weights:
            assert name in WEIGHTS or name in MODELS or name.startswith("runs/"), name
        if cell.is_accuracy and not cell.models:
            assert needs.missing


def test_a_clip_is_timed() -> None:
    assert 0 < time_clip("r3d_18", tiny=True) < 60
    needs = [find_needs(cell, HERE) for cell in read_table("nonlocal_2f").cells]
    assert list_timed(needs) == list(
        dict.fromkeys(
            read_table("nonlocal_2f").cell(row, "top-1").model for row in read_table("nonlocal_2f").rows
        )
    )


# the whole ------------------------------------------------------------------------------------------------


def test_sizes_are_counted_without_data() -> None:
    cell = read_table("slowfast_kinetics").cell("SlowFast 8x8, R50", "GFLOPs")
    ours = count(cell)
    assert ours is not None
    assert ours.value == pytest.approx(cell.value, abs=0.1)
    both = count(read_table("quo_vadis_1").cell("Two-Stream I3D", "parameters"))
    assert both is not None
    assert both.value == pytest.approx(25, abs=0.5)
    assert count(SLOWFAST) is None
    pair = count(read_table("conv_fusion_spatial").cell("Sum at softmax", "parameters"))
    assert pair is not None
    assert pair.value == pytest.approx(181.42, rel=0.01), "the paper's has 101 classes, ours 400"
    assert pair.remark == "400 classes"


def test_reports_of_a_table() -> None:
    table = read_table("quo_vadis_3")
    found = [result(I3D, models=("i3d_inception.k400",), metrics={"top1": 0.675, "top5": 0.87})]
    reports = {(r.cell.row, r.cell.column): r for r in reproduce(table, found, HERE, {"i3d_inception": 1.0})}
    assert len(reports) == len(table.cells)
    mine = reports["Two-Stream I3D", "from scratch RGB top-1"]
    assert mine.difference == pytest.approx(-0.9)
    assert mine.hours == pytest.approx(38_685 * 250 / 64 / 3600)
    assert reports["Two-Stream I3D", "from ImageNet flow top-1"].ours is None
    misprint = read_table("quo_vadis_5").cell("Deep Networks, Sports-1M pre-training", "UCF-101")
    (report,) = reproduce(
        replace(table, cells=(misprint,)), [result(misprint, split="1,2,3", metrics={"top1": 0.65})]
    )
    assert report.difference == pytest.approx(65.0 - 65.4)


@pytest.mark.parametrize("table", list_tables(), ids=lambda table: table.table)
def test_every_table_on_the_command_line(table: Any, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["reproduce", table.table, "--data", str(tmp_path), "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert len(found["cells"]) == len(table.cells)


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadis.tables.reproduce.time_clip", lambda name: 0.5)
    (tmp_path / "card.json").write_text(json.dumps(card()))
    words = ["reproduce", "quo_vadis_3", "--results", str(tmp_path), "--measure"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert "67.50" in ran.stdout
    assert "-0.90" in ran.stdout
    assert "vadis train data/kinetics400 --recipe lstm_inception_k400" in ran.stdout
    assert "vadis train data/kinetics400 --recipe c3d_bn_k400" in ran.stdout
    assert "c3d_bn: 0.5 s a clip here" in ran.stderr
    assert "days" in ran.stdout
    plain = CliRunner().invoke(app, words[:-1])
    assert "run with --measure" in plain.stdout
    assert "hours here" not in plain.stdout
    assert CliRunner().invoke(app, ["reproduce", "quovadis3"]).exit_code == 2
    assert (
        CliRunner().invoke(app, ["reproduce", "quo_vadis_3", "--results", str(tmp_path / "no")]).exit_code
        == 2
    )


def test_hours_are_shown_in_their_size() -> None:
    assert [show_hours(3600 * value) for value in (0.25, 3.04, 47.0, 480.0)] == [
        "15 min",
        "3.0 h",
        "47.0 h",
        "20 days",
    ]
