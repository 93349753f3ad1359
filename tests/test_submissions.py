"""What is written for a challenge is scored as the arrays that it was written from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vadis.cli import app
from vadis.metrics.activitynet import Segments, average_recall, detection_average_precisions
from vadis.metrics.ava import AvaRows, average_precisions
from vadis.metrics.charades import active_moments, classify, localize
from vadis.metrics.classification import hit_at_k
from vadis.metrics.tubes import Tube, ucf24_average_precisions
from vadis.records import Dataset, Example, Span
from vadis.score_files import make_scores, write_scores
from vadis.scoring.activitynet import score_activitynet, score_kinetics
from vadis.scoring.ava import score_ava
from vadis.scoring.charades import read_videos, score_charades
from vadis.scoring.submissions import (
    KINDS,
    KeyframeBoxes,
    kind_for,
    write_act_tubes,
    write_activitynet_classification,
    write_activitynet_detection,
    write_activitynet_proposals,
    write_ava,
    write_charades_classify,
    write_charades_localize,
    write_kinetics,
    write_moments,
    write_something,
    write_submission,
    write_ucf24_tubes,
)
from vadis.scoring.tubes import read_act, read_ucf24, score_tubes

CASES = Path(__file__).parent / "golden" / "scores"
TIGHT = 1e-9


def draw(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).random(shape)


def write_truth(path: Path, annotations: dict[str, list[dict[str, Any]]]) -> Path:
    database = {
        video: {"subset": "validation", "duration": 60.0, "annotations": items}
        for video, items in annotations.items()
    }
    path.write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": [], "database": database}))
    return path


@pytest.mark.parametrize("top_k", [5, None])
def test_kinetics(tmp_path: Path, top_k: int | None) -> None:
    names = [f"class {k}" for k in range(12)]
    scores_NK = draw(0, 40, 12)
    labels = np.random.default_rng(1).permutation(40) % 12  # every class has a video
    ids = [f"video{n:06d}" for n in range(40)]
    truth = write_truth(
        tmp_path / "gt.json",
        {v: [{"label": names[k], "segment": [0, 10]}] for v, k in zip(ids, labels, strict=True)},
    )
    assert write_kinetics(tmp_path / "s.json", ids, scores_NK, names, top_k=top_k) == 40
    found = score_kinetics(truth, tmp_path / "s.json")
    assert found["top1"]["hit"] == pytest.approx(hit_at_k(scores_NK, labels, 1), abs=TIGHT)
    assert found["top5"]["hit"] == pytest.approx(hit_at_k(scores_NK, labels, 5), abs=TIGHT)
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["version"] == "KINETICS VERSION 1.0"
    assert document["external_data"] == {"used": False, "details": ""}
    first = document["results"][ids[0]]
    assert len(first) == (top_k or 12)
    assert first[0] == {"label": names[int(scores_NK[0].argmax())], "score": float(scores_NK[0].max())}


def test_scores_keep_every_digit(tmp_path: Path) -> None:
    """Rounded to four digits these would be ties, and the order chance."""
    scores_NK = 0.5 + draw(0, 1, 6) * 1e-9
    write_kinetics(tmp_path / "s.json", ["a"], scores_NK, list("abcdef"))
    (rows,) = json.loads((tmp_path / "s.json").read_text())["results"].values()
    assert [row["score"] for row in rows] == sorted(scores_NK[0].tolist(), reverse=True)[:5]
    write_charades_classify(tmp_path / "s.txt", ["a"], 0.5 + draw(0, 1, 157) * 1e-9)
    assert len(set((tmp_path / "s.txt").read_text().split())) == 158


def test_a_video_that_could_not_be_read_is_missing(tmp_path: Path) -> None:
    names, ids = list("abcdef"), ["v0", "v1", "v2"]
    scores_NK = draw(0, 3, 6)
    scores_NK[1] = np.nan
    truth = write_truth(tmp_path / "gt.json", {v: [{"label": "a", "segment": [0, 10]}] for v in ids} | {
        f"{name}_": [{"label": name, "segment": [0, 1]}] for name in names
    })  # fmt: skip
    assert write_kinetics(tmp_path / "s.json", ids, scores_NK, names) == 2
    assert score_kinetics(truth, tmp_path / "s.json")["counts"]["videos_missing"] == 1 + len(names)


def test_activitynet_classification(tmp_path: Path) -> None:
    gt = json.loads((CASES / "activitynet" / "cls_gt.json").read_text())["database"]
    names = sorted({item["label"] for video in gt.values() for item in video["annotations"]})
    ids = list(gt)
    scores_NK = draw(3, len(ids), len(names))
    assert write_activitynet_classification(tmp_path / "s.json", ids, scores_NK, names) == len(ids)
    found = score_activitynet(CASES / "activitynet" / "cls_gt.json", tmp_path / "s.json", "classification")
    target_NK = np.array(
        [[name in {item["label"] for item in gt[v]["annotations"]} for name in names] for v in ids]
    )
    hits = [target_NK[n, scores_NK[n].argmax()] for n in range(len(ids))]
    assert found["top1"]["hit"] == pytest.approx(np.mean(hits), abs=TIGHT)


def test_activitynet_detection(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = ["run", "jump", "swim"]
    rows: dict[str, list[tuple[int, float, float, float]]] = {"true": [], "found": []}
    truth: dict[str, list[dict[str, Any]]] = {}
    spans: dict[str, list[Span]] = {}
    for video in range(12):
        truth[f"v{video}"], spans[f"v{video}"] = [], []
        for _ in range(3):
            label, start, length = int(rng.integers(3)), float(rng.uniform(0, 40)), float(rng.uniform(5, 20))
            truth[f"v{video}"].append({"label": names[label], "segment": [start, start + length]})
            rows["true"].append((video, label, start, start + length))
            for _ in range(2):
                first, last = start + float(rng.uniform(-3, 3)), start + length + float(rng.uniform(-3, 3))
                score = float(rng.random())
                spans[f"v{video}"].append(Span(first, last, label, names[label], score))
                rows["found"].append((video, label, first, last, score))  # type: ignore[arg-type]

    def segments(key: str) -> Segments:
        table = np.array(rows[key], np.float64)
        score = table[:, 4] if key == "found" else np.ones(len(table))
        return Segments(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:4], score)

    wanted = detection_average_precisions(segments("true"), segments("found"), 3).mean()
    path = write_truth(tmp_path / "gt.json", truth)
    assert write_activitynet_detection(tmp_path / "s.json", spans) == 72
    found = score_activitynet(path, tmp_path / "s.json")
    assert 0.1 < wanted < 0.9
    assert found["value"] == pytest.approx(wanted, abs=TIGHT)

    proposals = {
        v: [[s.start_seconds, s.end_seconds, s.score or 0.0] for s in each] for v, each in spans.items()
    }
    assert write_activitynet_proposals(tmp_path / "p.json", proposals) == 72
    curve = average_recall(segments("true"), segments("found"), 6)
    found = score_activitynet(path, tmp_path / "p.json", "proposals", max_proposals=6)
    assert found["value"] == pytest.approx(curve.area, abs=TIGHT)
    with pytest.raises(ValueError, match="v0: a prediction needs a finite score"):
        write_activitynet_detection(tmp_path / "x.json", {"v0": [Span(0, 1, 0, "run")]})
    assert not (tmp_path / "x.json").exists()


def test_charades_classify(tmp_path: Path) -> None:
    truth = CASES / "charades" / "gt_test.csv"
    videos = read_videos(truth)
    scores_NK = draw(7, len(videos), 157)
    labels = [{label for label, _, _ in video.actions} for video in videos]
    wanted = classify(labels, scores_NK)
    assert write_charades_classify(tmp_path / "s.txt", [video.id for video in videos], scores_NK) == len(
        videos
    )
    found = score_charades(truth, tmp_path / "s.txt", "classify")
    assert found["weighted"] == pytest.approx(wanted.weighted, abs=TIGHT)
    ap = np.array(list(found["per_class"].values()), np.float64)
    assert np.allclose(ap, wanted.per_class_K, atol=TIGHT, equal_nan=True)
    line = (tmp_path / "s.txt").read_text().splitlines()[0].split()
    assert (len(line), line[0]) == (158, videos[0].id)


def test_charades_localize(tmp_path: Path) -> None:
    truth = CASES / "charades" / "gt_test.csv"
    videos = read_videos(truth)
    scores_NTK = draw(8, len(videos), 25, 157)
    active = np.concatenate([active_moments(video.actions, video.length_seconds) for video in videos])
    wanted = localize(active, scores_NTK.reshape(-1, 157))
    ids = [video.id for video in videos]
    assert write_charades_localize(tmp_path / "s.txt", ids, scores_NTK) == 25 * len(videos)
    found = score_charades(truth, tmp_path / "s.txt", "localize")
    assert found["counts"]["rows_missing"] == 0
    assert found["weighted"] == pytest.approx(wanted.weighted, abs=TIGHT)
    ap = np.array(list(found["per_class"].values()), np.float64)
    assert np.allclose(ap, wanted.per_class_K, atol=TIGHT, equal_nan=True)
    with pytest.raises(ValueError, match=r"25, 157"):
        write_charades_localize(tmp_path / "s.txt", ids, scores_NTK[:, :24])


def test_ava(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    class_ids = [12, 79, 80]
    lines, keyframes, true_rows, found_rows = [], [], [], []
    for number, (video, second) in enumerate([(v, s) for v in ("vidA", "vidB") for s in range(902, 912)]):
        corners = rng.uniform(0, 0.5, (4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, (4, 2))], axis=1)
        scores = rng.random((4, 3))
        for box, score_K in zip(boxes, scores, strict=True):
            label = class_ids[int(rng.integers(3))]
            lines.append(",".join([video, f"{second:04d}", *map(repr, box.tolist()), str(label), "0"]))
            true_rows.append((number, box, label, 0.0))
            found = box + rng.normal(0, 0.03, 4)
            found_rows += [(number, found, c, s) for c, s in zip(class_ids, score_K, strict=True)]
        keyframes.append(KeyframeBoxes(video, second, np.array([r[1] for r in found_rows[-12::3]]), scores))
    (tmp_path / "gt.csv").write_text("\n".join(lines) + "\n")
    assert write_ava(tmp_path / "s.csv", keyframes, class_ids) == len(found_rows)
    (tmp_path / "labels.pbtxt").write_text(
        "".join(f'item {{\n  name: "{c}"\n  id: {c}\n}}\n' for c in class_ids)
    )

    def rows(table: list[tuple[int, Any, int, float]]) -> AvaRows:
        frame = np.array([row[0] for row in table])
        box, label = np.stack([row[1] for row in table]), np.array([row[2] for row in table])
        return AvaRows(frame, box, label, np.array([row[3] for row in table]), np.unique(frame))

    wanted = average_precisions(rows(true_rows), rows(found_rows), class_ids, "official", [])
    found = score_ava(tmp_path / "gt.csv", tmp_path / "s.csv", tmp_path / "labels.pbtxt")
    assert found["value"] == pytest.approx(wanted.mean(), abs=TIGHT)
    assert 0.2 < found["value"] < 0.9
    assert (tmp_path / "s.csv").read_text().startswith("vidA,0902,")
    assert write_ava(tmp_path / "s.csv", keyframes, class_ids, min_score=0.5) < len(found_rows)
    with pytest.raises(ValueError, match="classes 2"):
        write_ava(tmp_path / "s.csv", keyframes, class_ids[:2])


def test_tubes(tmp_path: Path) -> None:
    source = CASES / "tubes" / "act_input.json"
    labels, tubelet_frames, videos = read_act(source)
    assert write_act_tubes(tmp_path / "s.json", labels, tubelet_frames, videos) == 6
    before, after = score_tubes(source, with_tubes=False), score_tubes(tmp_path / "s.json", with_tubes=False)
    assert after["video_mAP"] == before["video_mAP"]
    assert after["frame_mAP@0.5"] == before["frame_mAP@0.5"]

    rng = np.random.default_rng(11)
    made: dict[str, tuple[dict[int, list[Tube]], list[tuple[int, Tube]]]] = {}
    for number in range(5):
        label, start = number % 2, int(rng.integers(1, 10))
        frames = np.arange(start, start + 12.0)
        boxes = np.column_stack([frames, np.tile(rng.uniform(5, 40, 4), (12, 1))])
        moved = np.add(boxes, [0, *rng.uniform(-4, 4, 4)])
        other = Tube(np.add(boxes[3:], [0, 30, 0, 0, 0]), float(rng.random()))
        made[f"v{number}"] = (
            {label: [Tube(boxes)]},
            [(label, Tube(moved, float(rng.random()))), (label, other)],
        )
    assert write_ucf24_tubes(tmp_path / "u.json", ["a", "b"], made) == 5
    wanted = ucf24_average_precisions([(dict(t), list(d)) for t, d in made.values()], 2, 0.5).mean()
    assert score_tubes(tmp_path / "u.json", "ucf24")["value"] == pytest.approx(wanted, abs=TIGHT)
    assert len(read_ucf24(tmp_path / "u.json")[1]) == 5
    gap = Tube(np.array([[1.0, 0, 0, 5, 5], [3.0, 0, 0, 5, 5]]))
    with pytest.raises(ValueError, match="one box for each frame"):
        write_ucf24_tubes(tmp_path / "u.json", ["a"], {"v": ({0: [gap]}, [])})


def test_plain_lists(tmp_path: Path) -> None:
    scores_NK = np.array([[0.1, 0.6, 0.0, 0.2, 0.05, 0.05], [np.nan] * 6, [0, 0, 0, 0, 0, 1.0]])
    write_something(tmp_path / "2.csv", ["7", "8", "9"], scores_NK)
    assert (tmp_path / "2.csv").read_text() == "7;1;3;0;4;5\n9;5;0;1;2;3\n"
    write_something(
        tmp_path / "1.csv", ["7", "8", "9"], scores_NK, [f"Doing [something] {k}" for k in range(6)]
    )
    assert (tmp_path / "1.csv").read_text() == "7;Doing [something] 1\n9;Doing [something] 5\n"
    write_moments(tmp_path / "m.txt", ["a/x.mp4", "b", "c"], scores_NK, list("uvwxyz"))
    assert (tmp_path / "m.txt").read_text() == "a/x.mp4 v x u y z\nc z u v w x\n"
    with pytest.raises(ValueError, match="blank"):
        write_moments(tmp_path / "m.txt", ["a b.mp4", "b", "c"], scores_NK, list("uvwxyz"))


def made_dataset(name: str, num_classes: int) -> Dataset:
    examples = tuple(Example(f"{n}.mp4", f"id{n}", (n % num_classes,), group=f"g{n}") for n in range(4))
    names = tuple(f"c{k}" for k in range(num_classes))
    return Dataset(name, "", "val", names, examples, multi_label=name == "charades")


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        ("kinetics400", "kinetics"),
        ("kinetics700_2020", "kinetics"),
        ("activitynet", "activitynet_classification"),
        ("charades", "charades_classify"),
        ("moments", "moments"),
        ("something_v1", "something_v1"),
        ("something_v2", "something_v2"),
    ],
)
def test_a_dataset_knows_its_kind(tmp_path: Path, dataset: str, kind: str) -> None:
    made = made_dataset(dataset, 157 if dataset == "charades" else 7)
    assert kind_for(made) == kind
    assert write_submission(None, tmp_path / "s", made, draw(0, 4, made.num_classes)) == 4
    text = (tmp_path / "s").read_text()
    assert ("2.mp4" if kind == "moments" else "id2") in text


def test_kinds_by_name(tmp_path: Path) -> None:
    made = made_dataset("charades", 157)
    assert write_submission("charades_localize", tmp_path / "s", made, draw(0, 4, 25, 157)) == 100
    with pytest.raises(ValueError, match="no submission is of the kind 'ava'"):
        write_submission("ava", tmp_path / "s", made, draw(0, 4, 157))
    with pytest.raises(ValueError, match="ucf101 has no challenge"):
        kind_for(made_dataset("ucf101", 3))
    with pytest.raises(ValueError, match="4 examples of 157 classes"):
        write_submission("charades_classify", tmp_path / "s", made, draw(0, 4, 156))
    with pytest.raises(ValueError, match="'a' comes twice"):
        write_kinetics(tmp_path / "s", ["a", "a"], draw(0, 2, 3), ["x", "y", "z"])
    assert set(KINDS) >= {"kinetics", "charades_classify"}


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("before")
    with pytest.raises(ValueError, match="not a finite number"):
        write_kinetics(tmp_path / "s.json", ["a"], [[1.0, np.inf]], ["x", "y"])
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    assert (tmp_path / "s.json").read_text() == "before"


def test_from_the_scores_of_an_evaluation(tmp_path: Path) -> None:
    ids = [f"abcDEF-_{n:03d}_000010_000020" for n in range(4)]
    scores_NK = draw(0, 4, 157)
    scores_NK[2] = np.nan
    moments_NTK = draw(1, 4, 25, 157)
    arrays: dict[str, Any] = {"label_N": np.zeros(4, np.int64)}  # as evaluate wrote them first
    arrays |= {"ids": np.array(ids), "class_names": np.array([f"c{k}" for k in range(157)])}
    np.savez(tmp_path / "s.npz", scores_NK=scores_NK, moments_NTK=moments_NTK, **arrays)
    words = ["score", "submission", str(tmp_path / "s.npz"), "--kind"]
    ran = CliRunner().invoke(app, [*words, "kinetics", "--out", str(tmp_path / "k.json")])
    assert ran.exit_code == 0, ran.output
    assert "3 videos; 1 videos without scores are left out" in ran.stderr
    assert next(iter(json.loads((tmp_path / "k.json").read_text())["results"])) == "abcDEF-_000"
    ran = CliRunner().invoke(app, [*words, "charades_localize", "--out", str(tmp_path / "l.txt")])
    assert ran.exit_code == 0, ran.output
    assert len((tmp_path / "l.txt").read_text().splitlines()) == 100
    np.savez(tmp_path / "s.npz", scores_NK=scores_NK, **arrays)
    ran = CliRunner().invoke(app, [*words, "charades_localize", "--out", str(tmp_path / "l.txt")])
    assert ran.exit_code == 1
    assert "evaluate with --protocol dense" in ran.stderr
    write_scores(tmp_path / "s.npz", make_scores(ids, arrays["class_names"], [[0]] * 4, scores_NK=scores_NK))
    ran = CliRunner().invoke(app, [*words, "kinetics", "--out", str(tmp_path / "new.json")])
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "new.json").read_text() == (tmp_path / "k.json").read_text()
    (tmp_path / "s.npz").write_bytes(b"no archive")
    ran = CliRunner().invoke(app, [*words, "kinetics", "--out", str(tmp_path / "k.json")])
    assert ran.exit_code == 1
    assert "s.npz: not a file of scores" in ran.stderr
    assert CliRunner().invoke(app, [*words, "ava", "--out", "x"]).exit_code == 2
