"""Transfer: last layers, controls, subsets, the modes end to end, and what a study keeps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data.benchmark import make, read
from vadis.data.made import write_frames
from vadis.evaluation.views import score_dataset
from vadis.feature_layers import list_stages, top_layers
from vadis.features import open_model
from vadis.models import create_model
from vadis.models.weights import save_model
from vadis.records import DataError, Dataset
from vadis.tables.results import find_results
from vadis.transfer import modes
from vadis.transfer.controls import freeze_frame, randomise, shuffle_frames, shuffle_labels
from vadis.transfer.grid import Grid, Run, make_plan
from vadis.transfer.modes import Setup, make_recipe_for, make_trunk, run_linear
from vadis.transfer.report import make_sheet, summarise
from vadis.transfer.run import TransferJob, run_transfer
from vadis.transfer.starts import Start, file_word, parse_start, tell_apart
from vadis.transfer.study import Study
from vadis.transfer.subsets import check_amount, largest, take_examples

RUNNER = CliRunner()
SHORT = ("optim.length=1", "optim.warmup=0", "data.workers=0")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shapes` at 32 pixels, 6 frames, 3 clips a class."""
    folder = tmp_path_factory.mktemp("target") / "shapes"
    make("shapes", folder, clips_per_class=3, size=32, num_frames=6, workers=1)
    return folder


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny R3D for clips of 4 frames of 32 pixels, with class names of its own."""
    torch.manual_seed(0)
    model = create_model("r3d_18", tiny=True, num_classes=3)
    model.class_names = ("a", "b", "c")
    model.spec = replace(model.spec, num_frames=4, frame_stride=1, fps=25.0, size=32, crop=32)
    return save_model(model, tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def few(dataset: Dataset, labels: int = 4) -> Dataset:
    """The examples of the first classes."""
    kept = tuple(example for example in dataset.examples if example.labels[0] < labels)
    return replace(dataset, examples=kept)


# Controls, subsets, grids ------------------------------------------------------------------------------


def test_controls_take_away_what_they_say() -> None:
    clip_BCTHW = torch.rand(2, 3, 8, 4, 4)
    still = freeze_frame(clip_BCTHW)
    assert torch.equal(still[:, :, 0], clip_BCTHW[:, :, 4])
    assert torch.equal(still[:, :, 7], still[:, :, 0])
    mixed = shuffle_frames(clip_BCTHW)
    assert torch.equal(mixed, shuffle_frames(clip_BCTHW))
    assert not torch.equal(mixed, clip_BCTHW)

    def order(index: int) -> list[int]:
        return [
            next(t for t in range(8) if torch.equal(mixed[index, :, s], clip_BCTHW[index, :, t]))
            for s in range(8)
        ]

    assert sorted(order(0)) == list(range(8))
    assert order(0) != order(1)
    model = create_model("r3d_18", tiny=True, num_classes=3)
    one, two, other = randomise(model, 1), randomise(model, 1), randomise(model, 2)
    assert torch.equal(one.head.weight, two.head.weight)  # type: ignore[union-attr, arg-type]
    assert not torch.equal(one.conv1.weight, other.conv1.weight)  # type: ignore[union-attr, arg-type]
    assert one.spec == model.spec


def test_shuffled_labels_are_as_frequent_as_before(target: Path) -> None:
    dataset = read(target, "train")
    shuffled = shuffle_labels(dataset, 3)
    before = [example.labels for example in dataset.examples]
    after = [example.labels for example in shuffled.examples]
    assert sorted(before) == sorted(after)
    assert before != after
    assert [example.video for example in shuffled.examples] == [example.video for example in dataset.examples]


def test_subsets_are_nested_and_of_each_class(target: Path) -> None:
    dataset = read(target, "train")
    one, two = take_examples(dataset, "1", 5), take_examples(dataset, "2", 5)
    assert [sum(e.labels == (label,) for e in one.examples) for label in range(25)] == [1] * 25
    assert set(one.examples) < set(two.examples) == set(dataset.examples)
    assert take_examples(dataset, "1", 6).examples != one.examples
    assert take_examples(dataset, "50%", 5).examples == one.examples
    assert take_examples(dataset, "all") is dataset
    several = replace(dataset, multi_label=True)
    assert len(take_examples(several, "1").examples) == 25
    for wrong in ("0", "many", "120%", "1.5", "-1"):
        with pytest.raises(ValueError, match="amount"):
            check_amount(wrong)
    assert (largest(("1", "all", "5")), largest(("1", "10", "5")), largest(("10%", "25%"))) == (
        "all",
        "10",
        "25%",
    )


def test_a_grid_runs_nothing_twice() -> None:
    grid = Grid(models=("a+b",), modes=("fixed", "full"), splits=(1, 2), examples=("1", "all"), seeds=2)
    plan = make_plan(grid)
    assert len(plan) == len(set(plan)) == 3 * 2 * (2 + 1 + 2 + 2)
    assert [run.model for run in plan].index("a+b") > [run.model for run in plan].index("b")
    assert not any(run.seed and run.mode == "fixed" and run.examples == "all" for run in plan)
    shares = make_plan(Grid(models=("a",), modes=("original", "full"), pretrain=("10%", "100%")))
    assert [(run.mode, run.pretrain) for run in shares] == [
        ("original", ""),
        ("full", "10%"),
        ("full", "100%"),
    ]
    for wrong in ({"modes": ("best",)}, {"controls": ("noise",)}, {"examples": ("x",)}, {"seeds": 0}):
        with pytest.raises(ValueError, match=r"mode|control|amount|seed"):
            Grid(**wrong)  # type: ignore[arg-type]
    assert Run("i3d.k400", "full", 2, "25%").name == "i3d.k400_full_split2_x25pc_seed0"


# Modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_the_network_that_comes_out_gives_the_scores_of_the_layer(
    target: Path, weights_file: Path, tmp_path: Path, kind: str
) -> None:
    train_set, test_set = few(read(target, "train")), few(read(target, "test"))
    model = make_trunk(Start("r3d_18", str(weights_file)), train_set.class_names, Setup())
    setup = Setup(protocol="2x1", cache_folder=str(tmp_path / "cache"))
    outcome = run_linear(model, train_set, test_set, setup, kind=kind)
    file = modes.save_outcome(outcome, tmp_path / "out" / "x.safetensors")
    opened = open_model(file)
    assert opened.class_names == train_set.class_names
    scored = score_dataset(opened, test_set, "2x1", workers=0)
    np.testing.assert_allclose(scored.scores_NK, outcome.scored.scores_NK, atol=2e-3)
    assert (scored.hits_N == outcome.scored.hits_N).all()
    assert scored.first_hit_N.tolist() == outcome.scored.first_hit_N.tolist()


def test_what_cannot_be_read_is_told_and_counts_as_wrong(
    target: Path, weights_file: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(target, root)
    train_set, test_set = few(read(root, "train")), few(read(root, "test"))
    (root / train_set.examples[0].video).write_bytes(b"broken")
    (root / test_set.examples[0].video).write_bytes(b"broken")
    model = make_trunk(Start("r3d_18", str(weights_file)), train_set.class_names, Setup())
    outcome = run_linear(model, train_set, test_set)
    assert outcome.details["unread"] == [train_set.examples[0].id]
    assert [item.id for item in outcome.scored.failures] == [test_set.examples[0].id]
    assert np.isnan(outcome.scored.scores_NK[0]).all()
    for example in train_set.examples:
        (root / example.video).write_bytes(b"broken")
    with pytest.raises(DataError, match="no example"):
        run_linear(model, train_set, test_set)


def test_a_temperature_lies_in_the_head(target: Path, weights_file: Path) -> None:
    train_set, test_set = read(target, "train"), few(read(target, "test"))
    start = Start("r3d_18", str(weights_file))
    groups = tuple(replace(example, group="") for example in train_set.examples)
    train_set = replace(train_set, examples=groups)
    outcome = run_linear(
        make_trunk(start, train_set.class_names, Setup()), train_set, test_set, Setup(calibration=0.3)
    )
    found = outcome.details["calibration"]
    assert found["temperature"] > 0
    assert found["num"] >= 10
    scored = score_dataset(outcome.model, test_set, "1x1", workers=0)
    np.testing.assert_allclose(scored.scores_NK, outcome.scored.scores_NK, atol=2e-3)


def test_recipes_of_the_modes(weights_file: Path) -> None:
    setup = Setup(num_frames=8, size=32, crop=32, tiny=True, settings=("optim.lr=0.5",))
    start = parse_start(str(weights_file))
    assert start.network == "r3d_18"
    full = make_recipe_for("full", start, 100, setup, 3)
    assert (full.model.init, full.model.tiny, full.run.seed, full.optim.lr) == (
        str(weights_file),
        False,
        3,
        0.5,
    )
    assert (full.data.num_frames, full.data.crop, full.model.learn) == (8, 32, ())
    original = make_recipe_for("original", start, 100, setup, 0)
    assert (original.model.init, original.model.tiny) == (None, True)
    assert make_recipe_for("imagenet", start, 100, setup, 0).model.init == "imagenet"
    assert make_recipe_for("top1", start, 100, setup, 0).model.freeze == ("backbone",)
    assert make_recipe_for("top3", start, 100, setup, 0).model.learn == ("stage4.", "stage5.")
    with pytest.raises(ValueError, match="no weights to transfer"):
        make_recipe_for("full", parse_start("r3d_18"), 100, setup, 0)
    with pytest.raises(ValueError, match="no such file"):
        parse_start("nothing.safetensors")


def test_top_layers_are_those_of_the_papers() -> None:
    c3d = create_model("c3d", tiny=True)
    assert top_layers(c3d, 3) == ("fc6.", "fc7.")  # DeepVideo's "top 3 layers"
    assert top_layers(c3d, 1) == ()
    assert list_stages(create_model("i3d_inception", tiny=True))[-2:] == ("mixed5b", "mixed5c")
    assert top_layers(create_model("timesformer_divided", tiny=True), 2) == ("blocks.1.", "norm.")
    with pytest.raises(ValueError, match="at least"):
        top_layers(c3d, 0)


# Studies -----------------------------------------------------------------------------------------------


def run_cli(*words: str | Path) -> tuple[int, str]:
    """Exit code and output of `vadis transfer`."""
    result = RUNNER.invoke(app, ["transfer", *map(str, words)])
    return result.exit_code, result.stdout


@pytest.mark.slow
def test_every_mode_from_the_command_line(
    target: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "study"
    words = [target, "--init", weights_file, "--out", out, "--tiny", "--workers", "0", "--quiet"]
    words += [word for setting in SHORT for word in ("--set", setting)]
    words += [
        "--frames",
        "4",
        "--size",
        "32",
        "--modes",
        "original,fixed,full,top3,svm",
        "--examples",
        "1,all",
    ]
    code, text = run_cli(*words, "--plan", "--json")
    assert code == 0
    assert len(json.loads(text)["todo"]) == 10
    assert json.loads(text)["seconds"] > 0
    assert not (out / "runs.jsonl").exists()
    code, text = run_cli(*words)
    assert code == 0, text
    assert "change" in text
    rows = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert {row["run"]["mode"] for row in rows} == {"original", "fixed", "full", "top3", "svm"}
    assert {path.name for path in out.iterdir()} >= {"table.md", "table.csv", "report.html", "examples.png"}
    files = sorted(path.name for path in (out / "models").glob("*.safetensors"))
    assert len(files) == 5
    for file in files:
        assert open_model(out / "models" / file).class_names == read(target, "train").class_names
    before = (out / "runs.jsonl").read_bytes()
    (out / "runs.jsonl").write_bytes(before[:-40])  # as a kill leaves it
    code, text = run_cli(*words, "--json")
    assert code == 0
    assert len(json.loads(text)["rows"]) == 10
    code, _ = run_cli(*words, "--protocol", "2x1")
    assert code == 2  # another study


@pytest.mark.slow
def test_pretraining_first_and_sums_and_controls(target: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make("shapes", source, clips_per_class=3, size=32, num_frames=6, workers=1, seed=7)
    setup = Setup(tiny=True, num_frames=4, frame_stride=1, size=32, crop=32, workers=0, settings=SHORT)
    grid = Grid(models=("r3d_18+r2d_18",), modes=("fixed",), pretrain=("50%", "100%"))
    study = Study(target, grid, tmp_path / "out", setup, source=source)
    rows = study.run()
    assert [(row["run"]["model"], row["run"]["pretrain"]) for row in rows] == [
        (model, share) for model in ("r3d_18", "r2d_18", "r3d_18+r2d_18") for share in ("50%", "100%")
    ]
    parts = []
    for row in rows[::2]:
        with np.load(tmp_path / "out" / row["scores_file"]) as file:
            parts.append(np.log(file["scores"].astype(np.float64)))
    both = np.exp(parts[0] + parts[1])
    np.testing.assert_allclose(parts[2], np.log(both / both.sum(1, keepdims=True)), atol=1e-4)
    assert rows[-1]["architecture"] == "r3d_18+r2d_18"
    with pytest.raises(DataError, match="in the test part"):
        Study(target, replace(grid, splits=(2,)), tmp_path / "leak", setup, source=target).run()
    apart = Study(
        target,
        Grid(models=("r3d_18",), modes=("fixed",), pretrain=("100%",)),
        tmp_path / "apart",
        setup,
        source=target,
        classes=("s*",),
        source_classes=("left", "right"),
    )
    (row,) = apart.run()
    assert row["num_test"] == 6
    assert apart.split(1).test.name == "shapes (6 of 25 classes)"
    assert len(apart.source_set.class_names) == 2
    frozen = Grid(models=("r3d_18",), modes=("original", "fixed"), controls=("random", "frozen", "labels"))
    with pytest.raises(ValueError, match="noise"):
        Study(target, frozen, tmp_path / "none", setup).run()
    drawn = Grid(models=("r3d_18",), modes=("fixed",), controls=("random",))
    (row,) = Study(target, drawn, tmp_path / "drawn", setup).run()
    assert row["num_test"] == 25


def test_a_study_that_is_stopped_goes_on(target: Path, weights_file: Path, tmp_path: Path) -> None:
    grid = Grid(models=(str(weights_file),), examples=("1", "all"))
    setup = Setup(cache_folder=str(tmp_path / "cache"))
    study = Study(target, grid, tmp_path / "out", setup)
    begun: list[Run] = []
    with pytest.raises(KeyboardInterrupt):
        study.run(on_run=lambda done, total, run: begun.append(run), asked_to_stop=lambda: len(begun) > 2)
    assert len(study.rows()) == 2
    again: list[int] = []
    rows = Study(target, grid, tmp_path / "out", setup).run(progress=lambda at, total: again.append(at))
    assert [Run(**row["run"]) for row in rows] == make_plan(grid)
    assert len(again) == 125  # two runs, of 25 + 25 and 50 + 25 videos
    assert json.loads((tmp_path / "out" / "study.json").read_text())["dataset"] == "shapes"
    assert {result.dataset for result in find_results(tmp_path / "out")} == {"shapes"}
    job = TransferJob(study, quiet=True, asked_to_stop=lambda: True)
    assert run_transfer(job) == 0  # nothing is left to do
    shutil.rmtree(tmp_path / "out")
    assert run_transfer(job) == 130


def test_networks_of_one_name_in_several_folders_stay_apart(target: Path, tmp_path: Path) -> None:
    """What `vadis train` leaves is always called best.safetensors."""
    files = []
    for seed, folder in enumerate(("a", "b")):
        torch.manual_seed(seed)
        model = create_model("r3d_18", tiny=True, num_classes=3)
        model.class_names = ("a", "b", "c")
        model.spec = replace(model.spec, num_frames=4, frame_stride=1, fps=25.0, size=32, crop=32)
        (tmp_path / folder).mkdir()
        files.append(str(save_model(model, tmp_path / folder / "best.safetensors")))
    out, setup = tmp_path / "out", Setup(workers=0)
    grid = Grid(models=(*files, "+".join(files)), modes=("fixed",))
    rows = Study(target, grid, out, setup).run()
    assert [row["architecture"] for row in rows] == ["a/best", "b/best", "a/best+b/best"]
    assert [row["models"] for row in rows[1:]] == [["r3d_18.best"], ["r3d_18.best"] * 2]
    assert len({row["scores_file"] for row in rows}) == 3
    assert len(list((out / "models").glob("*.safetensors"))) == 2
    parts = []
    for row in rows:
        with np.load(out / row["scores_file"]) as file:
            parts.append(np.log(file["scores"].astype(np.float64)))
    assert not np.allclose(parts[0], parts[1])
    both = np.exp(parts[0] + parts[1])
    np.testing.assert_allclose(np.exp(parts[2]), both / both.sum(1, keepdims=True), atol=1e-4)
    assert len(make_sheet(summarise(rows)).rows) == 3
    assert {result.models for result in find_results(out)} == {("r3d_18.best",), ("r3d_18.best",) * 2}
    shutil.copy(files[1], files[0])  # as if it were trained once more
    with pytest.raises(ValueError, match=r"a/best.safetensors held other weights"):
        Study(target, grid, out, setup).run()


def test_names_of_starts() -> None:
    assert file_word("i3d_inception.k400") == "i3d_inception.k400"
    words = [file_word(name) for name in ("x/a/best.safetensors", "y/a/best.safetensors", "best.safetensors")]
    assert len(set(words)) == 3
    assert all(word.startswith(("a-best-", "best-")) for word in words)
    labels = tell_apart(("x/a/best.safetensors", "y/a/best.safetensors", "x/a/last.safetensors", "r3d_18"))
    assert [label for _, label in labels] == ["x/a/best", "y/a/best", "x/a/last", "r3d_18"]
    assert tell_apart(["a/b.safetensors", "c.safetensors"])[0][1] == "b"


def test_what_has_no_weights_is_refused_before_anything_is_run(target: Path, tmp_path: Path) -> None:
    for mode, word in (("fixed", "noise"), ("full", "no weights to transfer")):
        study = Study(target, Grid(models=("r3d_18",), modes=("original", mode)), tmp_path / "out", Setup())
        with pytest.raises(ValueError, match=word):
            study.run()
        assert not (tmp_path / "out").exists()
        assert run_cli(target, "--init", "r3d_18", "--modes", f"original,{mode}", "--plan", "--tiny")[0] == 2


def test_a_study_says_what_does_not_fit(target: Path, tmp_path: Path) -> None:
    assert run_cli(target, "--modes", "best", "--out", tmp_path)[0] == 2
    assert run_cli(target, "--splits", "one", "--out", tmp_path)[0] == 2
    assert (
        run_cli(target, "--splits", "4", "--init", "r3d_18", "--modes", "original", "--out", tmp_path)[0] == 1
    )
    assert run_cli(target, "--controls", "noise", "--out", tmp_path)[0] == 2
    with pytest.raises(ValueError, match="keep"):
        Study(target, Grid(), tmp_path, keep="some")
    with pytest.raises(ValueError, match="--pretrain"):
        Study(target, Grid(pretrain=("10%",)), tmp_path)
    with pytest.raises(ValueError, match="--pretrain"):
        Study(target, Grid(), tmp_path, source_classes=("walk",))
    code, _ = run_cli(target, "--classes", "walk", "--init", "r3d_18", "--out", tmp_path)
    assert code == 2


@pytest.mark.slow
def test_rgb_and_flow_side_by_side_and_their_sum(tmp_path: Path) -> None:
    """Folders of frames with flow beside them, as in the paper; only flow tells the classes apart."""
    root = tmp_path / "data"
    for part, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("left", "right")):
            for number in range(count):
                folder = root / part / name / f"{part}{number}"
                write_frames(folder, "img_%05d.jpg", number, num_frames=11)  # the same for both classes
                for index in range(1, 11):
                    value = 90 + 10 * number if label else 140 + 10 * number
                    Image.new("L", (64, 48), value).save(folder / f"flow_x_{index:05d}.png")
                    Image.new("L", (64, 48), 128).save(folder / f"flow_y_{index:05d}.png")
    setup = Setup(tiny=True, num_frames=9, size=32, crop=32, workers=0, settings=SHORT)
    models = ("i3d_inception", "i3d_inception_flow", "i3d_inception+i3d_inception_flow")
    with pytest.raises(ValueError, match="noise"):
        Study(root, Grid(models=models, modes=("fixed",)), tmp_path / "none", setup).run()
    grid = Grid(models=models, modes=("original",))
    study = Study(root, grid, tmp_path / "out", setup)
    rows = study.run()
    assert [(row["architecture"], row["stream"]) for row in rows] == [
        ("i3d_inception", "rgb"),
        ("i3d_inception", "flow"),
        ("i3d_inception", "rgb+flow"),
    ]
    sheet = make_sheet(summarise(rows))
    assert sheet.headings[2:] == ("original RGB", "original Flow", "original RGB + Flow")
    assert len(sheet.rows) == 1
    flow = make_trunk(Start("i3d_inception_flow"), ("left", "right"), setup)
    split = study.split(1)
    cached = replace(setup, cache_folder=str(tmp_path / "cache"))
    outcome = run_linear(flow, split.train, split.test, cached)  # random weights are enough here
    assert outcome.metrics["top1"] == 1.0
    again = run_linear(flow, split.train, split.test, cached)
    np.testing.assert_array_equal(again.scored.scores_NK, outcome.scored.scores_NK)
