"""The published tables: complete, as the lectures print them, consistent where arithmetic binds; the verb."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

import pytest
from rich.console import Console
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data import DATASETS
from vadis.metrics.classification import average_of_top1_and_top5
from vadis.models import MODELS
from vadis.models.catalogue import results_of
from vadis.tables import (
    FACT_METRICS,
    MODELS_TO_COME,
    SIZE_METRICS,
    Cell,
    UnknownTableError,
    list_lectures,
    list_tables,
    read_table,
)
from vadis.tables.grid import print_table, show_value
from vadis.transfer.report import relative_change

CELLS = [cell for table in list_tables() for cell in table.cells]
COUNTS = {
    "quo_vadis_1": 31, "quo_vadis_2": 31, "quo_vadis_2_v1": 33, "quo_vadis_3": 23, "quo_vadis_4": 54,
    "quo_vadis_5": 30, "quo_vadis_4_v1": 30, "quo_vadis_3_v1": 40, "nonlocal_2a": 10, "nonlocal_2b": 10,
    "nonlocal_2c": 16, "nonlocal_2d": 16, "nonlocal_2e": 16, "nonlocal_2f": 12, "nonlocal_2g": 12,
    "nonlocal_3": 23, "nonlocal_4": 9, "nonlocal_5": 36, "nonlocal_6": 9, "deepvideo_1": 25, "deepvideo_3": 6,
    "two_stream_4": 15, "two_stream_2": 4, "snippets_5": 11, "snippets_7": 10, "tsn_comparison": 26,
    "conv_fusion_spatial": 21, "conv_fusion_where": 18, "conv_fusion_temporal": 6, "flow_cost": 10,
    "c3d_2": 15,
    "c3d_ucf101": 3, "r2plus1d_kinetics": 60, "slowfast_kinetics": 63, "timesformer_attention": 15,
    "timesformer_cost": 28, "lgd_kinetics700": 40, "charades_challenge_recognition": 3,
    "charades_challenge_localisation": 3, "ava_baselines": 4, "ava_challenge_2018": 14, "ava_statistics": 9,
    "ava_transitions": 8, "ava_cooccurrence": 8, "kinetics_growth": 30, "dataset_facts": 13,
}  # fmt: skip


def value(table: str, row: str, column: str) -> float:
    return read_table(table).cell(row, column).value


def test_every_table_has_all_its_cells() -> None:
    assert dict(Counter(cell.table for cell in CELLS)) == COUNTS
    assert [table.table for table in list_tables()] == list(COUNTS)


def test_no_cell_comes_twice() -> None:
    places = Counter((cell.table, cell.row, cell.column) for cell in CELLS)
    assert [place for place, count in places.items() if count > 1] == []


@pytest.mark.parametrize(
    ("table", "row", "column", "printed"),
    [
        ("quo_vadis_1", "3D-ConvNet", "testing footprint", 9.6),
        ("quo_vadis_2", "Two-Stream I3D", "Kinetics RGB+flow", 74.2),
        ("quo_vadis_2_v1", "3D-Fused", "miniKinetics flow", 61.0),
        ("quo_vadis_3", "Two-Stream I3D", "from scratch RGB top-1", 68.4),
        ("quo_vadis_3", "Two-Stream I3D", "from ImageNet flow top-5", 84.9),
        ("quo_vadis_4", "ConvNet+LSTM", "HMDB-51 Fixed, without ImageNet", 47.1),
        ("quo_vadis_4", "Two-Stream I3D", "HMDB-51 Full-FT, without ImageNet", 81.3),
        ("quo_vadis_5", "Two-Stream I3D, Kinetics pre-training", "HMDB-51", 80.9),
        ("quo_vadis_4_v1", "Two-Stream I3D, Kinetics pre-training", "UCF-101", 97.9),
        ("quo_vadis_4_v1", "Flow-I3D, miniKinetics pre-training", "HMDB-51", 72.4),
        ("quo_vadis_3_v1", "Two-Stream", "HMDB-51 change", -13.7),
        ("nonlocal_2b", "res5", "top-5", 90.1),
        ("nonlocal_2g", "R101 NL I3D", "top-1", 77.7),
        ("nonlocal_3", "3-stream LSTM", "top-5 val", 93.2),
        ("nonlocal_4", "NL I3D, ResNet-101", "trainval, then test", 39.5),
        ("nonlocal_5", "X152 +1 NL", "AP75 mask", 42.8),
        ("nonlocal_6", "NL, +4 in head, +1 in backbone", "AP", 66.5),
        ("deepvideo_1", "Average of single, early, late, slow", "video hit@1", 63.9),
        ("deepvideo_3", "Fine-tune top 3 layers", "accuracy", 65.4),
        ("two_stream_4", "Temporal stream ConvNet", "UCF-101", 83.7),
        ("snippets_7", "Single frame CNN, optical flow", "accuracy", 73.9),
        ("two_stream_2", "Multi-task with UCF-101", "accuracy", 55.4),
        ("snippets_5", "LSTM, image and flow (30 frames)", "video hit@5", 90.5),
        ("tsn_comparison", "TSN (3 modalities)", "HMDB-51", 69.4),
        ("conv_fusion_spatial", "Sum at softmax", "accuracy", 85.94),
        ("conv_fusion_where", "ReLU5 + FC8", "parameters", 181.68),
        ("conv_fusion_temporal", "3D conv, 3D pooling", "HMDB-51", 58.63),
        ("c3d_2", "C3D from I380K (1 net)", "video hit@5", 85.2),
        ("r2plus1d_kinetics", "R(2+1)D", "video@1, 16 frames", 68.0),
        ("r2plus1d_kinetics", "rMC5", "clip@1, 8 frames", 49.4),
        ("slowfast_kinetics", "SlowFast 16x8, R101+NL", "GFLOPs", 234),
        ("slowfast_kinetics", "ARTNet", "views", 250),
        ("timesformer_attention", "Axial", "Something-Something v2", 56.2),
        ("timesformer_cost", "SlowFast R50, 6336 hours", "accuracy", 76.4),
        ("lgd_kinetics700", "Ensemble+", "top-1", 77.1),
        ("lgd_kinetics700", "Audio: Xception, TCP", "top-5", 36.9),
        ("charades_challenge_localisation", "TeamKinetics", "mAP", 0.2072),
        ("ava_challenge_2018", "14. Little Wheel Co.", "mAP", 0.66),
        ("ava_transitions", "Fall down -> Lie/Sleep", "NPMI", 0.46),
        ("kinetics_growth", "ActivityNet-200", "videos", 19994),
    ],
)
def test_values_are_those_of_the_lectures(table: str, row: str, column: str, printed: float) -> None:
    assert value(table, row, column) == printed


def test_every_cell_is_well_formed() -> None:
    known_models = set(MODELS) | MODELS_TO_COME
    lectures = {lecture.lecture for lecture in list_lectures()}
    accuracy = {cell.metric for cell in CELLS if cell.is_accuracy}
    assert accuracy.isdisjoint(SIZE_METRICS | FACT_METRICS)
    for table in list_tables():
        assert table.lectures
        assert set(table.lectures) <= lectures
        assert table.kind in ("accuracy", "transfer", "size", "fact")
        assert table.protocol
    for cell in CELLS:
        assert set(cell.models) <= known_models, cell
        assert not cell.dataset or cell.dataset in DATASETS, cell
        assert cell.mode in ("", "original", "fixed", "full", "top1", "top3", "svm"), cell
        assert cell.mode == "" or cell.split in ("split1", "mean3"), cell
        assert cell.right is None or cell.misprint, cell
        assert cell.metric, cell
        if cell.unit == "%" and cell.metric != "relative_error_change":
            assert 0 < cell.value < 100, cell
    assert not MODELS_TO_COME & set(MODELS), "these have come: take them off the list"


def test_networks_to_come_are_named_somewhere() -> None:
    assert {model for cell in CELLS for model in cell.models} >= MODELS_TO_COME


# what arithmetic binds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["ConvNet+LSTM", "3D-ConvNet", "Two-Stream", "3D-Fused", "Two-Stream I3D"])
@pytest.mark.parametrize("dataset", ["UCF-101", "HMDB-51"])
def test_changes_in_misclassification(row: str, dataset: str) -> None:
    """The ten cells of version 1's table 3: from Original to the better of Fixed and Full-FT."""
    original, fixed, full, change = (
        value("quo_vadis_3_v1", row, f"{dataset} {name}")
        for name in ("Original", "Fixed", "Full-FT", "change")
    )
    assert relative_change(original, fixed, full) == pytest.approx(change, abs=0.25)


@pytest.mark.parametrize("row", ["I3D", "Two-Stream I3D"])
def test_averages_of_top1_and_top5(row: str) -> None:
    top1, top5 = value("nonlocal_3", row, "top-1 test"), value("nonlocal_3", row, "top-5 test")
    assert average_of_top1_and_top5(top1, top5) == pytest.approx(
        value("nonlocal_3", row, "avg test"), abs=0.051
    )


def test_the_two_versions_share_what_they_share() -> None:
    """UCF-101 and HMDB-51 alone are the same trainings in both; what comes after (mini)Kinetics is not."""
    old, new = read_table("quo_vadis_2_v1"), read_table("quo_vadis_2")
    for cell in new.cells:
        if not cell.column.startswith("Kinetics"):
            assert old.cell(cell.row, cell.column).value == cell.value
    assert value("quo_vadis_5", "Two-Stream I3D, ImageNet+Kinetics pre-training", "UCF-101") == 98.0


def test_tables_that_quote_each_other_agree() -> None:
    for row in ("ConvNet+LSTM", "3D-Fused"):  # table 4's first column is table 2's
        best = {"ConvNet+LSTM": "RGB", "3D-Fused": "RGB+flow"}[row]
        for dataset in ("UCF-101", "HMDB-51"):
            first = value("quo_vadis_4", row, f"{dataset} Original, with ImageNet")
            assert first == value("quo_vadis_2", row, f"{dataset} {best}")
    for cell in read_table("quo_vadis_2").cells:  # table 3's right half is table 2's Kinetics
        if cell.column.startswith("Kinetics") and cell.row != "3D-ConvNet":
            modality = cell.column.removeprefix("Kinetics ")
            assert value("quo_vadis_3", cell.row, f"from ImageNet {modality} top-1") == cell.value
    for depth in ("R50", "R101"):
        assert value("nonlocal_2c", f"{depth} 5 blocks", "top-1") == value(
            "nonlocal_2d", f"{depth} spacetime", "top-1"
        )
    assert value("nonlocal_2e", "I3D 3x1x1", "top-1") == value("nonlocal_2f", "R101 I3D", "top-1")
    assert value("slowfast_kinetics", "Nonlocal R101", "top-1") == value(
        "nonlocal_2g", "R101 NL I3D", "top-1"
    )
    assert value("snippets_5", "Slow fusion (15 frames)", "video hit@1") == value(
        "deepvideo_1", "Slow fusion", "video hit@1"
    )
    assert value("charades_challenge_recognition", "TeamKinetics", "mAP") * 100 == pytest.approx(
        value("nonlocal_4", "I3D", "trainval, then test"), abs=0.05
    )


def test_costs_of_tests_add_up() -> None:
    slowfast = value("slowfast_kinetics", "SlowFast 8x8, R50", "GFLOPs") * 30 / 1000
    assert slowfast == pytest.approx(
        value("timesformer_cost", "SlowFast R50, 3840 hours", "inference"), abs=0.005
    )
    for name in ("UCF-101", "Kinetics-400"):
        cells = {cell.column: cell for cell in read_table("flow_cost").cells if cell.row == name}
        frames = cells["videos"].value * cells["seconds a video"].value * cells["frames a second"].value
        days = cells["days"].value if cells["days"].right is None else cells["days"].right
        assert frames * cells["seconds a frame"].value / 86400 == pytest.approx(days)
    assert value("ava_statistics", "classes", "count") == 14 + 17 + 49


def test_the_model_files_quote_the_same_numbers() -> None:
    """`vadis.models` records published results too: where table and file speak of one thing, they agree."""
    for model, dataset, wanted in (
        ("i3d_inception", "Kinetics-400 test", {71.1, 68.4}),
        ("timesformer_divided", "Kinetics-400 val", {78.0, 75.8}),
        ("slowfast_r50_8x8", "Kinetics-400 val", {77.0}),
        ("r2plus1d_18", "Kinetics-400 val", {68.0}),
    ):
        said = {result.top1 for result in results_of(model) if result.dataset == dataset}
        assert wanted <= said
        assert (
            wanted & {cell.value for cell in CELLS if cell.model == model and cell.metric == "top1"} == wanted
        )


# the known misprints -------------------------------------------------------------------------------------


def marked(table: str, row: str, column: str) -> Cell:
    cell = read_table(table).cell(row, column)
    assert cell.misprint
    return cell


def test_the_known_misprints_are_marked() -> None:
    assert marked("dataset_facts", "Sports-1M, lecture 003", "classes").right == 487
    assert value("dataset_facts", "Sports-1M, lecture 001", "classes") == 487
    assert marked("flow_cost", "UCF-101", "days").right == 1.25
    assert "58" in marked("quo_vadis_1", "ConvNet+LSTM", "training footprint").misprint
    assert value("quo_vadis_1", "ConvNet+LSTM", "training footprint") == 5
    assert "9.68" in marked("quo_vadis_1", "3D-ConvNet", "testing footprint").misprint
    assert "28" in marked("quo_vadis_1", "3D-Fused", "training footprint").misprint
    assert "51.6" in marked("quo_vadis_3_v1", "3D-ConvNet", "UCF-101 Original").misprint
    assert all("Sports-1M test set" in cell.misprint for cell in read_table("deepvideo_3").cells)
    assert "at least 400" in marked("kinetics_growth", "Kinetics-400", "clips a class").misprint
    assert "1000 images" in marked("dataset_facts", "ImageNet", "images or videos").misprint
    both = [
        value("two_stream_4", "Temporal stream ConvNet", "UCF-101"),
        value("snippets_7", "Single frame CNN, optical flow", "accuracy"),
    ]
    assert both == [83.7, 73.9]
    for table, row, column in (
        ("two_stream_4", "Temporal stream ConvNet", "UCF-101"),
        ("snippets_7", "Single frame CNN, optical flow", "accuracy"),
    ):
        assert "both are right" in read_table(table).cell(row, column).note


# the verb ------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    ran = CliRunner().invoke(app, ["tables", *words])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_list_on_the_command_line() -> None:
    text = run()
    assert all(f"{name} " in text for name in COUNTS)
    assert "909 cells" in text
    listed = json.loads(run("--json"))
    assert {row["table"]: row["num_cells"] for row in listed} == COUNTS
    rows = list(csv.DictReader(io.StringIO(run("--csv"))))
    assert len(rows) == sum(COUNTS.values())
    assert all(row["paper"] and row["lectures"] and row["protocol"] for row in rows)


def test_one_table_on_the_command_line() -> None:
    text = run("flow_cost")
    assert "1.5*" in text
    assert "(right: 1.25)" in text
    found = json.loads(run("quo_vadis_4", "--json"))
    assert len(found["cells"]) == 54
    assert found["cells"][0]["value"] == 81.0
    assert len(list(csv.DictReader(io.StringIO(run("quo_vadis_4", "--csv"))))) == 54
    lines = [line for line in run("nonlocal_2a", "--markdown").splitlines() if line.startswith("|")]
    assert lines[2] == "| C2D baseline | 71.8 | 89.7 |"
    assert len({line.count("|") for line in lines}) == 1


def test_a_wrong_name_names_the_nearest() -> None:
    with pytest.raises(UnknownTableError, match="'quo_vadis_4'"):
        read_table("quovadis4")
    ran = CliRunner().invoke(app, ["tables", "quovadis4"])
    assert ran.exit_code == 2
    assert "did you mean 'quo_vadis_4'" in ran.stderr
    assert CliRunner().invoke(app, ["tables", "--json", "--csv"]).exit_code == 2
    with pytest.raises(ValueError, match="rows: ConvNet"):
        read_table("quo_vadis_4").cell("I3D", "UCF-101")


@pytest.mark.parametrize("table", list_tables(), ids=lambda table: table.table)
def test_every_table_fits_a_terminal(table: object) -> None:
    console = Console(width=80, file=io.StringIO(), markup=False, highlight=False)
    print_table(table, console)  # type: ignore[arg-type]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    for cell in table.cells:  # type: ignore[attr-defined]
        assert show_value(cell.value, cell.unit, cell.metric) in text


def test_numbers_are_shown_as_printed() -> None:
    assert show_value(81.0, "%") == "81.0"
    assert show_value(85.94, "%") == "85.94"
    assert show_value(1580000, "labels") == "1,580,000"
    assert show_value(2017, "year", "year") == "2017"
    assert show_value(0.3441, "fraction") == "0.3441"
    assert show_value(0.64, "s") == "0.64"
