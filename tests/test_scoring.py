"""`vadis score`: every case of the official scripts, the readers' strictness, and the command line."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import vadis.scoring.columns as columns
from vadis.cli import app
from vadis.metrics.ava import RULES
from vadis.scoring import to_json
from vadis.scoring.activitynet import score_activitynet, score_kinetics
from vadis.scoring.ava import SOURCES, read_labels, score_ava
from vadis.scoring.charades import read_submission, score_charades
from vadis.scoring.columns import NotPlainError, PlainColumns, TextColumns
from vadis.scoring.files import ScoreFileError, find_line, read_json
from vadis.scoring.tubes import score_tubes

CASES = Path(__file__).parent / "golden" / "scores"
AVA, ANET, CHARADES, TUBES = (CASES / name for name in ("ava", "activitynet", "charades", "tubes"))
LABELS = AVA / "ava_action_list_60.pbtxt"


def expected(folder: Path) -> Any:
    return json.loads((folder / "expected.json").read_text())


def run(*words: str | Path) -> Any:
    """What the command prints, parsed; it must end well and print one object."""
    ran = CliRunner().invoke(app, ["score", *map(str, words)])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def complaint(*words: str | Path) -> tuple[int, str]:
    """Exit code and message of a command that fails, without anything on standard output."""
    ran = CliRunner().invoke(app, ["score", *map(str, words)])
    assert ran.stdout == ""
    return ran.exit_code, ran.stderr


# the cases ---------------------------------------------------------------------------------------

AVA_CASES = [
    (rule, case)
    for rule, script in (
        ("official", "official_activitynet"),
        ("slowfast", "slowfast"),
        ("mmaction2", "mmaction2"),
    )
    for case in expected(AVA)[script]
]


@pytest.mark.parametrize(("rule", "case"), AVA_CASES)
def test_ava(rule: str, case: str) -> None:
    script = {"official": "official_activitynet"}.get(rule, rule)
    wanted = expected(AVA)[script][case]
    name = case.removesuffix("_no_empty")
    truth = AVA / case.replace(name, f"{name}_gt")
    found = run("ava", f"{truth}.csv", AVA / f"{name}_det.csv", "--labels", LABELS, "--rule", rule)
    assert found["metric"] == "frame mAP at IoU 0.5"
    assert found["rule"] == rule
    if rule == "mmaction2":
        groups = found["per_group"]
        figures = {
            "overall": found["value"],
            "person_movement": groups["pose"],
            "object_manipulation": groups["object"],
            "person_interaction": groups["person"],
        }
    else:
        figures = {
            f"PascalBoxes_PerformanceByCategory/AP@0.5IOU/{k}": v for k, v in found["per_class"].items()
        }
        figures["PascalBoxes_Precision/mAP@0.5IOU"] = found["value"]
    assert figures.keys() == wanted.keys()
    for key, figure in figures.items():
        assert (figure is None) == (wanted[key] is None), key
        assert figure is None or figure == pytest.approx(wanted[key], abs=1e-9), key


def test_activitynet_detection() -> None:
    found, wanted = run("activitynet", ANET / "tiny_gt.json", ANET / "tiny_det.json"), expected(ANET)["tiny"]
    assert found["value"] == pytest.approx(wanted["average_mAP"], abs=1e-9)
    assert found["mAP"] == pytest.approx(wanted["mAP"], abs=1e-9)
    assert found["tiou"] == pytest.approx(wanted["tiou"], abs=1e-9)
    for label, curve in wanted["ap"].items():
        assert found["ap"][label] == pytest.approx(curve, abs=1e-9)
        assert found["per_class"][label] == pytest.approx(np.mean(curve), abs=1e-9)
    assert found["counts"]["videos_outside_subset"] == 1


def test_activitynet_classification() -> None:
    found = run("activitynet", ANET / "cls_gt.json", ANET / "cls_pred.json", "--task", "classification")
    wanted = expected(ANET)["cls"]
    assert found["value"] == pytest.approx(wanted["mAP"], abs=1e-9)
    assert found["per_class"] == pytest.approx(wanted["ap"], abs=1e-9)
    for name in ("top1", "top3", "top5"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-9)
    assert found["counts"]["videos_missing"] == 1


def test_kinetics() -> None:
    found, wanted = run("kinetics", ANET / "cls_gt.json", ANET / "cls_pred.json"), expected(ANET)["cls"]
    assert found["value"] == pytest.approx(wanted["challenge_avg_error"], abs=1e-9)
    for name in ("top1", "top5"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-9)
    assert found["ap"] == pytest.approx(wanted["ap"], abs=1e-9)
    assert all(0 <= error <= 1 for error in found["per_class"].values())


def test_proposals(tmp_path: Path) -> None:
    case = json.loads((CASES / "kinetics" / "topk_input.json").read_text())
    wanted = json.loads((CASES / "kinetics" / "topk_outputs.json").read_text())["proposals"]
    truth, found = tmp_path / "truth.json", tmp_path / "found.json"
    database = {
        video: {"subset": "validation", "annotations": [{"label": "any", "segment": span} for span in spans]}
        for video, spans in case["proposals_gt"].items()
    }
    results = {
        video: [{"segment": [start, end], "score": score} for start, end, score in rows]
        for video, rows in case["proposals"].items()
    }
    truth.write_text(json.dumps({"database": database, "taxonomy": [], "version": "1.3"}))
    found.write_text(json.dumps({"results": results, "version": "1.3", "external_data": {}}))
    printed = run(
        "activitynet", truth, found, "--task", "proposals", "--max-proposals", case["max_avg_proposals"]
    )
    assert printed["value"] == pytest.approx(wanted["auc"], abs=1e-9)
    assert printed["avg_recall"] == pytest.approx(wanted["avg_recall"], abs=1e-9)
    assert printed["proposals_per_video"] == pytest.approx(wanted["proposals_per_video"], abs=1e-9)
    assert np.shape(printed["recall"]) == tuple(wanted["recall_shape"])


def test_charades_classify() -> None:
    truth, submission = CHARADES / "gt_test.csv", CHARADES / "submission_classify.txt"
    found, wanted = run("charades", truth, submission, "--task", "classify"), expected(CHARADES)["classify"]
    assert found["value"] == pytest.approx(wanted["mAP"], abs=1e-9)
    assert found["weighted"] == pytest.approx(wanted["wAP"], abs=1e-9)
    assert list(found["per_class"]) == [f"c{label:03d}" for label in range(157)]
    assert list(found["per_class"].values()) == pytest.approx(wanted["ap"], abs=1e-9)
    counts = found["counts"]
    assert (counts["videos"], counts["videos_without_action"], counts["videos_unknown"]) == (40, 2, 1)
    assert counts["rows_missing"] == 3


def test_tubes_act() -> None:
    found = run("tubes", TUBES / "act_input.json", "--rule", "act")
    wanted = json.loads((TUBES / "act_official_outputs.json").read_text())
    assert found["value"] == pytest.approx(wanted["video_mAP"]["0.50"], abs=1e-6)
    assert found["per_class"] == pytest.approx(wanted["videoAP"]["0.50"], abs=1e-6)
    for name in ("frame_mAP@0.5", "video_mAP_0.5:0.95", "video_mAP", "frameAP@0.5"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-6), name
    for threshold, per_class in wanted["videoAP"].items():
        assert found["videoAP"][threshold] == pytest.approx(per_class, abs=1e-6)
    assert found["tubes"].keys() == wanted["tubes"].keys()
    for video, by_class in wanted["tubes"].items():
        for label, tubes in by_class.items():
            mine = found["tubes"][video][label]
            assert [tube["score"] for tube in mine] == pytest.approx(
                [tube["score"] for tube in tubes], abs=1e-6
            )
            for one, other in zip(mine, tubes, strict=True):
                assert np.array(one["tube"]) == pytest.approx(np.array(other["tube"]), abs=1e-4)
    assert "tubes" not in run("tubes", TUBES / "act_input.json", "--rule", "act", "--no-tubes")


def test_hand_values_of_the_tubes() -> None:
    from vadis.metrics.tubes import trapezoid_average_precision

    wanted = json.loads((TUBES / "act_official_outputs.json").read_text())["hand_pr_to_ap"]
    assert trapezoid_average_precision([True, False, True], 2) == pytest.approx(wanted["ap"], abs=1e-6)


# Charades, localisation: a made case with figures by hand ------------------------------------------


def write_charades(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    path = folder / "gt.csv"
    lines = ["id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"]
    lines += [
        f'{name},S1,Kitchen,6,7,Yes,"Walks in, sits.",a;b,"One; two.",{acts},{size}'
        for name, acts, size in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_moments(folder: Path, scores: dict[tuple[str, int], float], first: int = 1) -> Path:
    """Class 0 gets the score, the others 0."""
    path = folder / "localize.txt"
    lines = [
        f"{video} {moment - 1 + first} {score} {'0 ' * 156}" for (video, moment), score in scores.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_charades_localize(tmp_path: Path) -> None:
    truth = write_charades(tmp_path, [("AAAAA", "c000 0.00 1.00", "25.00"), ("BBBBB", "", "25.00")])
    scores = {("AAAAA", 1): 0.9, ("BBBBB", 1): 0.8, ("AAAAA", 2): 0.7, ("CCCCC", 1): 1.0, ("AAAAA", 26): 1.0}
    found = score_charades(truth, write_moments(tmp_path, scores), "localize")
    assert found["per_class"]["c000"] == pytest.approx((1 + 2 / 3) / 2)  # BBBBB's moment is a negative
    assert (
        found["value"] != found["value"]
    )  # the other classes have no positive: the official mean is undefined
    assert to_json(found)["value"] is None
    assert found["counts"]["rows"] == 50
    assert found["counts"]["rows_missing"] == 47
    assert found["counts"]["rows_ignored"] == 2
    from_zero = score_charades(truth, write_moments(tmp_path, scores, first=0), "localize")
    assert from_zero["per_class"]["c000"] == found["per_class"]["c000"]


def test_a_missing_moment_keeps_its_place(tmp_path: Path) -> None:
    truth = write_charades(tmp_path, [("AAAAA", "c000 0.00 0.00", "25.00")])
    found = score_charades(truth, write_moments(tmp_path, {("AAAAA", 5): 0.5}), "localize")
    assert found["per_class"]["c000"] == 0.5  # the positive is the first of the 24 that are missing


def test_charades_submission_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    numbers = [str(n) for n in range(158)]
    path.write_text("\t".join(["AAAAA", *numbers[:157]]) + "\n\nBBBBB  " + " ".join(numbers) + " \r\n")
    scores = read_submission(path, with_moments=False)
    assert [len(row) for row in scores.values()] == [157, 157]
    path.write_text(" ".join(["AAAAA", *numbers[:157]]) + "\n" + " ".join(["AAAAA", *["7"] * 157]))
    assert read_submission(path, with_moments=False)["AAAAA", 0].tolist() == [7] * 157  # the last counts
    path.write_text("AAAAA " + "-inf " * 157)
    assert math.isinf(read_submission(path, with_moments=False)["AAAAA", 0][0])


# what is malformed -----------------------------------------------------------------------------------


def spoil(path: Path, folder: Path, line: int, text: str) -> Path:
    """A copy of a file with another text on one line (from 1)."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    copy = folder / path.name
    copy.write_text("\n".join(lines) + "\n")
    return copy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vidA0000001,0902,0.1,0.1,0.5,12,0.9", "'0.9'|not 12|literal"),
        ("vidA0000001,0902,0.1", "2, 7 or 8 columns, not 3"),
        ("vidA0000001", "2, 7 or 8 columns, not 1"),
        ("vidA0000001,0902,0.1,0.1,0.5,0.5,12,0.9,1", "2, 7 or 8 columns, not 9"),
        ("vidA0000001,0902,0.1,0.1,0.5,x,12,0.9", "'x'"),
        ("vidA0000001,0902,0.1,0.1,0.5,,12,0.9", "''"),
        ("vidA0000001,0902,0.1,0.1,0.5,0.5,12.0,0.9", "12.0"),
        ("vidA0000001,0902,0.1,0.1,0.5,0.5,12,nan", "'nan' is not a finite number"),
        ("vidA0000001,0902,inf,0.1,0.5,0.5,12,0.5", "'inf' is not a finite number"),
        ("vidA0000001,noon,0.1,0.1,0.5,0.5,12,0.9", "timestamp 'noon'"),
    ],
)
def test_a_wrong_line_of_detections(tmp_path: Path, text: str, message: str) -> None:
    found = spoil(AVA / "tiny_det.csv", tmp_path, 3, text)
    with pytest.raises(ScoreFileError, match=message) as error:
        score_ava(AVA / "tiny_gt.csv", found, LABELS)
    assert error.value.line == 3
    code, said = complaint("ava", AVA / "tiny_gt.csv", found, "--labels", LABELS)
    assert code == 1
    assert f"{found}:3: " in said.replace("\n", "")


def test_a_wrong_line_far_down_a_long_file(tmp_path: Path) -> None:
    found = tmp_path / "long.csv"
    line = "vidA0000001,0902,0.1,0.1,0.5,0.5,12,0.9\n"
    found.write_text(line * 60_000 + "vidA0000001,0902,0.1,0.1,0.5,0.5,12,high\n" + line * 10)
    with pytest.raises(ScoreFileError, match="high") as error:
        score_ava(AVA / "tiny_gt.csv", found, LABELS)
    assert error.value.line == 60_001


def test_a_turned_box_of_the_ground_truth(tmp_path: Path) -> None:
    truth = spoil(AVA / "tiny_gt.csv", tmp_path, 2, "vidA0000001,0902,0.5,0.1,0.1,0.5,12,0")
    with pytest.raises(ScoreFileError, match=r"gt\.csv:2: .*ends before it begins"):
        score_ava(truth, AVA / "tiny_det.csv", LABELS)
    truth = spoil(AVA / "tiny_gt.csv", tmp_path, 2, "vidA0000001,0902,0.5,0.1,0.1,0.5,2,0")
    score_ava(truth, AVA / "tiny_det.csv", LABELS)  # of a class that is not evaluated: the script skips it


def test_toolkits_take_whole_seconds_only(tmp_path: Path) -> None:
    found = spoil(AVA / "tiny_det.csv", tmp_path, 2, "vidA0000001,902.5,0.1,0.1,0.5,0.5,12,0.9")
    score_ava(AVA / "tiny_gt.csv", found, LABELS)
    for rule in ("slowfast", "mmaction2"):
        with pytest.raises(ScoreFileError, match=r"det\.csv:2: .*whole seconds"):
            score_ava(AVA / "tiny_gt.csv", found, LABELS, rule=rule)


def test_timestamps_with_and_without_zeros_are_one_frame(tmp_path: Path) -> None:
    found = tmp_path / "det.csv"
    found.write_text((AVA / "tiny_det.csv").read_text().replace(",09", ",9"))
    for rule in RULES:
        one, other = (
            score_ava(AVA / "tiny_gt.csv", path, LABELS, rule=rule) for path in (AVA / "tiny_det.csv", found)
        )
        assert one["value"] == other["value"]


def test_excluded_timestamps(tmp_path: Path) -> None:
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("vidA0000001,0902\n")
    found = run("ava", AVA / "tiny_gt.csv", AVA / "tiny_det.csv", "--labels", LABELS, "--excluded", excluded)
    assert found["per_class"]["stand"] == 1  # 903's box comes before the wrong one in 904
    assert found["counts"]["frames_excluded"] == 1
    excluded.write_text("vidA0000001,0902\nvidA0000001,0903,1\n")
    with pytest.raises(ScoreFileError, match=r"excluded\.csv:2: .*2 columns"):
        score_ava(AVA / "tiny_gt.csv", AVA / "tiny_det.csv", LABELS, excluded)


def test_label_lists(tmp_path: Path) -> None:
    path = tmp_path / "labels.pbtxt"
    path.write_text(
        'label {\n  name: "bend/bow (at the waist)"\n  label_id: 1\n  label_type: PERSON_MOVEMENT\n}\n'
    )
    assert read_labels(path) == {1: "bend/bow (at the waist)"}
    path.write_text('item {\n  name: "stand"\n  id: twelve\n}\n')
    with pytest.raises(ScoreFileError, match=r":3: 'twelve'"):
        read_labels(path)
    path.write_text("stand\n")
    with pytest.raises(ScoreFileError, match="no class in this list"):
        read_labels(path)
    path.write_text('item {\n  name: "fly"\n  id: 90\n}\n')
    with pytest.raises(ScoreFileError, match="no row has a class"):
        score_ava(AVA / "tiny_gt.csv", AVA / "tiny_det.csv", path)


def test_every_rule_names_its_script() -> None:
    assert SOURCES.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("results", "v1", 1, "label"), "C", r"results\.v1\[1\]\.label: 'C' is not a class"),
        (
            ("results", "v1", 1, "score"),
            "high",
            r"results\.v1\[1\]\.score: should be a whole number or a number",
        ),
        (("results", "v1", 1, "score"), float("nan"), r"results\.v1\[1\]\.score: nan is not a finite number"),
        (("results", "v1", 1, "segment"), [1, 2, 3], r"results\.v1\[1\]\.segment: .*not 3 numbers"),
        (("results", "v1", 1, "segment"), [1, None], r"results\.v1\[1\]\.segment\[1\]: should be"),
        (("results", "v1", 1), 7, r"results\.v1\[1\]: 'label' is missing"),
        (("results", "v1"), {}, r"results\.v1: should be a list"),
        (("results",), [], r"results: should be an object"),
    ],
)
def test_a_wrong_prediction(tmp_path: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    content = json.loads((ANET / "tiny_det.json").read_text())
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    found = tmp_path / "found.json"
    found.write_text(json.dumps(content, indent=1))
    with pytest.raises(ScoreFileError, match=message) as error:
        score_activitynet(ANET / "tiny_gt.json", found)
    line = found.read_text().splitlines()[error.value.line - 1]
    wanted = {"label": '"label": "C"', "score": '"score":', "segment": '"segment"', "v1": '"v1"'}
    assert wanted.get(place[-1], "") in line or place[-1] == "segment"


def test_a_prediction_without_a_part(tmp_path: Path) -> None:
    content = json.loads((ANET / "tiny_det.json").read_text())
    del content["results"]["v2"][0]["score"]
    found = tmp_path / "found.json"
    found.write_text(json.dumps(content, indent=1))
    with pytest.raises(ScoreFileError, match=r"results\.v2\[0\]: 'score' is missing"):
        score_activitynet(ANET / "tiny_gt.json", found)
    found.write_text("{}")
    with pytest.raises(ScoreFileError, match=r"found\.json:1: the document: 'results' is missing"):
        score_activitynet(ANET / "tiny_gt.json", found)


def test_what_is_not_json_is_named_by_line(tmp_path: Path) -> None:
    found = spoil(ANET / "tiny_det.json", tmp_path, 4, '"used": no,')
    code, said = complaint("activitynet", ANET / "tiny_gt.json", found)
    assert code == 1
    assert f"{found}:4: this is not JSON" in said.replace("\n", "")


def test_subsets() -> None:
    code, said = complaint(
        "activitynet", ANET / "tiny_gt.json", ANET / "tiny_det.json", "--subset", "testing"
    )
    assert code == 2
    assert "'training', 'validation'" in said.replace("\n", " ")
    code, said = complaint(
        "activitynet", ANET / "tiny_gt.json", ANET / "tiny_det.json", "--subset", "training"
    )
    assert code == 1  # "B" is not annotated there
    assert "'B' is not a class of the subset 'training'" in said.replace("\n", " ")
    with pytest.raises(ValueError, match="nothing is annotated"):
        score_kinetics(ANET / "cls_gt.json", ANET / "cls_pred.json", "test")


def test_kinetics_per_class_errors_by_hand(tmp_path: Path) -> None:
    truth, found = tmp_path / "t.json", tmp_path / "p.json"
    labels = {"a": "run", "b": "run", "c": "sit"}
    annotated = {v: {"subset": "validation", "annotations": [{"label": c}]} for v, c in labels.items()}
    truth.write_text(json.dumps({"database": annotated}))
    answers = {"a": [("run", 0.9), ("sit", 0.1)], "b": [("sit", 0.9), ("run", 0.1)]}
    results = {v: [{"label": c, "score": s} for c, s in pairs] for v, pairs in answers.items()}
    found.write_text(json.dumps({"results": results}))
    scored = score_kinetics(truth, found)
    assert scored["per_class"] == {"run": 0.25, "sit": 1.0}
    assert scored["value"] == pytest.approx((2 / 3 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("A", "c000 1.0 2.0", "9"), ("B", "c157 1.0 2.0", "9")], r":3: the classes are c000 to c156"),
        ([("A", "c000 1.0", "9")], r":2: an action is such as"),
        ([("A", "000 1.0 2.0", "9")], r":2: an action is such as"),
        ([("A", "c000 1.0 x", "9")], r":2: could not convert"),
        ([("A", "c000 1.0 2.0", "long")], r":2: could not convert"),
        ([("A", "c000 1.0 2.0", "9,1")], r":2: the row and the header differ"),
    ],
)
def test_wrong_annotations_of_charades(
    tmp_path: Path, rows: list[tuple[str, str, str]], message: str
) -> None:
    submission = write_moments(tmp_path, {("A", 1): 0.5})
    with pytest.raises(ScoreFileError, match=message):
        score_charades(write_charades(tmp_path, rows), submission, "localize")


def test_wrong_submissions_of_charades(tmp_path: Path) -> None:
    truth, good = CHARADES / "gt_test.csv", CHARADES / "submission_classify.txt"
    for text, message in (
        ("AAAAA 1 2 3", "an id and 157 scores, not 3"),
        ("AAAAA " + "x " * 157, "'x'"),
        ("AAAAA " + "nan " * 157, "not a number"),
    ):
        with pytest.raises(ScoreFileError, match=rf"classify\.txt:5: .*{message}"):
            score_charades(truth, spoil(good, tmp_path, 5, text))
    with pytest.raises(ScoreFileError, match="an id, a moment and 157 scores, not 156"):
        score_charades(truth, good, "localize")
    path = tmp_path / "moments.txt"
    path.write_text("AAAAA first " + "1 " * 157)
    with pytest.raises(ScoreFileError, match=r"moments\.txt:1: invalid literal"):
        score_charades(truth, path, "localize")


def test_charades_needs_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "gt.csv"
    path.write_text("id,subject\nA,S1\n")
    with pytest.raises(ScoreFileError, match=r":1: the header has no column 'actions'"):
        score_charades(path, CHARADES / "submission_classify.txt")
    path.write_text("id,actions\nA,c000 1.0 2.0\n")
    with pytest.raises(ScoreFileError, match=r":2: the video has no length"):
        score_charades(path, write_moments(tmp_path, {("A", 1): 1.0}), "localize")
    assert score_charades(path, write_moments(tmp_path, {}), "classify")["counts"]["rows_missing"] == 1


def act_file(folder: Path, **changes: Any) -> Path:
    box = [[frame, 10, 10, 50, 50] for frame in range(1, 21)]
    tubelets = {str(first): [[10, 10, 50, 50] * 6 + [0.1, 0.9]] for first in range(1, 16)}
    video = {"nframes": 20, "resolution": [240, 320], "gttubes": {"0": [box]}, "tubelets": tubelets}
    content = {"K": 6, "labels": ["run"], "videos": {"v": video | changes}}
    path = folder / "act.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def test_a_made_act_file(tmp_path: Path) -> None:
    found = score_tubes(act_file(tmp_path))
    assert found["value"] == found["frame_mAP@0.5"] == 1
    assert found["counts"] == {"videos": 1, "tubes": 1, "tubelets": 15, "linked_tubes": 1}
    nothing = score_tubes(act_file(tmp_path, gttubes={}))
    assert nothing["value"] is None
    assert to_json(nothing)["per_class"] == {"run": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tubelets": {"1": [[1, 2, 3]]}}, r"tubelets\.1\[0\]: a row has 26 numbers, not 3"),
        ({"tubelets": {"0": []}}, r"tubelets\.0: frames count from 1"),
        ({"tubelets": {"1": [[1] * 25 + ["x"]]}}, r"tubelets\.1\[0\]\[25\]: should be"),
        ({"gttubes": {"1": []}}, r"gttubes\.1: labels are 0 to 0"),
        ({"gttubes": {"0": [[[1, 0, 0, 9, 9], [3, 0, 0, 9, 9]]]}}, "one box for each frame"),
        ({"gttubes": {"0": [[]]}}, "one box for each frame"),
        ({"nframes": "20"}, r"nframes: should be a whole number"),
    ],
)
def test_wrong_act_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreFileError, match=rf"act\.json:\d+: .*{message}"):
        score_tubes(act_file(tmp_path, **changes))


def ucf_file(folder: Path, **changes: Any) -> Path:
    truth = {"class": 1, "sf": 3, "ef": 12, "boxes_xywh": [[10, 10, 20, 20]] * 10}
    found = {"class": 1, "sf": 3, "ef": 12, "boxes_xywh": [[9, 9, 19, 19]] * 10, "score": 0.9} | changes
    content = {"labels": ["run", "sit"], "videos": {"v": {"gt": [truth], "det": [found]}}}
    path = folder / "ucf24.json"
    path.write_text(json.dumps(content))
    return path


def test_a_made_ucf24_file(tmp_path: Path) -> None:
    found = run("tubes", ucf_file(tmp_path), "--rule", "ucf24")
    assert found["value"] == 0.5  # the class without ground truth counts as 0
    assert found["per_class"] == {"run": 1, "sit": 0}
    assert found["video_mAP"].keys() == {
        "0.20",
        "0.50",
        "0.55",
        "0.60",
        "0.65",
        "0.70",
        "0.75",
        "0.80",
        "0.85",
        "0.90",
        "0.95",
    }
    later = run("tubes", ucf_file(tmp_path, sf=5, ef=14), "--rule", "ucf24")
    assert later["video_mAP"]["0.65"] == 0.5  # 8 of 12 frames
    assert later["video_mAP"]["0.70"] == 0


def test_the_case_of_the_other_rule_as_ucf24(tmp_path: Path) -> None:
    """The tubes of the `act` case, boxes written as that dataset has them: what its script gave for them."""
    case = json.loads((TUBES / "act_input.json").read_text())
    linked = json.loads((TUBES / "act_official_outputs.json").read_text())["tubes"]

    def convert(label: str, rows: list[list[float]], one: int, **more: float) -> dict[str, Any]:
        # true boxes count pixels from 1 and sides in whole pixels; the script adds 1 to the detections'
        boxes = [[x + one, y + one, x2 - x + one, y2 - y + one] for _, x, y, x2, y2, *_ in rows]
        first, last = int(rows[0][0]), int(rows[-1][0])
        return {"class": int(label) + 1, "sf": first, "ef": last, "boxes_xywh": boxes, **more}

    videos = {
        name: {
            "gt": [convert(label, rows, 1) for label, tubes in video["gttubes"].items() for rows in tubes],
            "det": [
                convert(label, found["tube"], 0, score=found["score"])
                for label, tubes in linked[name].items()
                for found in tubes
            ],
        }
        for name, video in case["videos"].items()
    }
    path = tmp_path / "same.json"
    path.write_text(json.dumps({"labels": case["labels"], "videos": videos}))
    found = run("tubes", path, "--rule", "ucf24")
    wanted = {"0.20": 1.0, "0.50": 0.9166667, "0.75": 0.3148148}
    assert {t: found["video_mAP"][t] for t in wanted} == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ef": 11}, "frames 3 to 11 need 9 boxes, not 10"),
        ({"class": 3}, r"det\[0\]\.class: classes are 1 to 2, not 3"),
        ({"class": 0}, "classes are 1 to 2, not 0"),
        ({"score": None}, r"det\[0\]\.score: should be"),
        ({"boxes_xywh": [[1, 2, 3]] * 10}, "a row has 4 numbers, not 3"),
    ],
)
def test_wrong_ucf24_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreFileError, match=message):
        score_tubes(ucf_file(tmp_path, **changes), "ucf24")


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    code, said = complaint("tubes", tmp_path / "none.json", "--rule", "act")
    assert code == 1
    assert "none.json: No such file or directory" in said.replace("\n", "")
    assert "Errno" not in said
    noise = tmp_path / "noise.csv"
    noise.write_bytes(b"\xff\xfe\x00\x01" * 50)
    for words in (
        ["ava", AVA / "tiny_gt.csv", noise, "--labels", LABELS],
        ["ava", AVA / "tiny_gt.csv", AVA / "tiny_det.csv", "--labels", noise],
        ["charades", noise, CHARADES / "submission_classify.txt", "--task", "classify"],
        ["charades", CHARADES / "gt_test.csv", noise, "--task", "classify"],
        ["kinetics", noise, ANET / "cls_pred.json"],
    ):
        code, said = complaint(*words)
        assert (code, "noise.csv" in said.replace("\n", "")) == (1, True), words
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert complaint("ava", empty, AVA / "tiny_det.csv", "--labels", LABELS)[0] == 1
    assert complaint("charades", empty, CHARADES / "submission_classify.txt", "--task", "classify")[0] == 1


def test_wrong_usage() -> None:
    for words in (
        ["ava", AVA / "tiny_gt.csv", AVA / "tiny_det.csv"],  # without the list of classes
        ["ava", AVA / "tiny_gt.csv", AVA / "tiny_det.csv", "--labels", LABELS, "--rule", "mine"],
        ["charades", CHARADES / "gt_test.csv", CHARADES / "submission_classify.txt"],
        ["tubes", TUBES / "act_input.json"],
        ["activitynet", ANET / "tiny_gt.json", ANET / "tiny_det.json", "--task", "guess"],
    ):
        assert complaint(*words)[0] == 2, words


def test_an_error_survives_pickling() -> None:
    error = ScoreFileError(Path("a.csv"), 3, "no")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a.csv:3: no"


# columns of numbers --------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.decimals(-1000, 1000, places=4).map(str),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(
        [
            "0",
            "-0",
            "0.",
            ".5",
            "-.25",
            "00012.500",
            "9007199254740991",
            "0.00000000000001",
            "123456.7890123",
        ]
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.booleans())
def test_plain_numbers_are_what_float_makes_of_them(pairs: list[tuple[str, str]], ends: bool) -> None:
    text = "\n".join(f"v,1,{a},{b}" for a, b in pairs) + "\n" * ends
    plain = PlainColumns(text.encode())
    for column in (2, 3):
        exact = [float(pair[column - 2]) for pair in pairs]
        assert plain.floats(column).tolist() == exact


@pytest.mark.parametrize(
    "cell",
    [
        "1e-3",
        "+1",
        " 1",
        "1 ",
        "",
        ".",
        "-",
        "--1",
        "1.2.3",
        "nan",
        "0x1",
        "1_0",
        "12345678901234567",
        "9007199254740993",
    ],
)
def test_odd_numbers_take_the_careful_way(cell: str) -> None:
    with pytest.raises(NotPlainError):
        PlainColumns(f"v,1,{cell}\n".encode()).floats(2)


def test_whole_numbers_have_no_point() -> None:
    assert PlainColumns(b"v,1,-12\nv,1,7\n").ints(2).tolist() == [-12, 7]
    with pytest.raises(NotPlainError):
        PlainColumns(b"v,1,12\nv,1,7.0\n").ints(2)
    with pytest.raises(ValueError, match="invalid literal"):
        TextColumns([["v", "1", "7.0"]]).ints(2)


@pytest.mark.parametrize(
    "text", ['v,1,"2"\n', "v,1\nv,1,2\n", "v,1\n\nv,2\n", "v\n", "\n", "v,1,2\rv,1,3\n", ",,,\na\n"]
)
def test_odd_lines_take_the_careful_way(text: str) -> None:
    with pytest.raises(NotPlainError):
        PlainColumns(text.encode())


def test_keys_are_asked_once_for_a_run_of_lines() -> None:
    asked = []

    def number_of(key: tuple[str, str]) -> int:
        asked.append(key)
        return len(set(asked)) - 1 if asked.count(key) == 1 else sorted(set(asked)).index(key)

    plain = PlainColumns("ä,1,0\nä,1,0\nä,12,0\na,1,0\nab,1,0\n".encode())
    assert plain.keys(number_of).tolist() == [0, 0, 1, 2, 3]
    assert asked == [("ä", "1"), ("ä", "12"), ("a", "1"), ("ab", "1")]
    with pytest.raises(NotPlainError):
        PlainColumns(("v" * 80 + ",1,0\n").encode()).keys(number_of)


def test_both_ways_and_any_block_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = score_ava(AVA / "tiny_gt.csv", AVA / "tiny_det.csv", LABELS)
    quoted, windows, marked = (tmp_path / name for name in ("quoted.csv", "windows.csv", "marked.csv"))
    text = (AVA / "tiny_det.csv").read_text()
    quoted.write_text(text.replace("vidA0000001", '"vidA0000001"').replace(",0.9\n", ", 9e-1\n"))
    windows.write_bytes(text.replace("\n", "\r\n").encode())
    marked.write_bytes(b"\xef\xbb\xbf" + text.rstrip("\n").encode() + b"\n\n")
    for path in (quoted, windows, marked):
        assert to_json(score_ava(AVA / "tiny_gt.csv", path, LABELS)) == to_json(wanted), path.name
    for num_bytes in (1, 50, 100):
        monkeypatch.setattr(columns, "BYTES_AT_ONCE", num_bytes)
        found = score_ava(AVA / "cap50_gt.csv", AVA / "cap50_det.csv", LABELS)
        assert found["value"] == 0.5


# lines of JSON ---------------------------------------------------------------------------------------


def test_lines_of_json() -> None:
    text = '{"a": 1,\n "b": [10,\n  {"c": "x, ]}",\n   "d": []},\n  30\n ],\n "b2": null\n}'
    places = {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 2,
        ("b", 1): 3,
        ("b", 1, "c"): 3,
        ("b", 1, "d"): 4,
        ("b", 2): 5,
    }
    for place, line in {**places, ("b2",): 7, ("b", 9): 2, ("a", "z"): 1, ("z",): 1}.items():
        assert find_line(text, place) == line, place
    assert find_line('{"a": 1,\n"a": 2}', ["a"]) == 2  # the last of equal keys is the one that counts
    assert find_line("[]", [0]) == 1


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=12,
    ),
    st.data(),
)
def test_every_place_is_found(value: Any, data: st.DataObject) -> None:
    marked, place = {"here": "MARK"}, []
    for _ in range(data.draw(st.integers(0, 3))):
        if data.draw(st.booleans()):
            marked, place = [value, marked, value], [1, *place]
        else:
            marked, place = {"p": value, "q": marked, "r": value}, ["q", *place]
    text = json.dumps(marked, indent=2)
    wanted = next(n for n, line in enumerate(text.splitlines(), 1) if '"here": "MARK"' in line)
    assert find_line(text, [*place, "here"]) == wanted


def test_deep_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ScoreFileError, match="nested too deeply"):
        read_json(path)


def test_the_object_is_strict_json(tmp_path: Path) -> None:
    shutil.copy(AVA / "tiny_gt.csv", tmp_path)
    ran = CliRunner().invoke(
        app,
        ["score", "ava", str(tmp_path / "tiny_gt.csv"), str(AVA / "tiny_det.csv"), "--labels", str(LABELS)],
    )
    assert ran.stdout.count("\n") == 1
    assert "NaN" not in ran.stdout
    assert to_json({1: float("inf"), "a": (np.float64("nan"), np.arange(2))}) == {
        "1": None,
        "a": [None, [0, 1]],
    }
