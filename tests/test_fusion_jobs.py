"""`vadis fuse` end to end: tables, files, what is learnt and applied again, and all that it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_scores import make_stream
from test_clip_pooling import ordered
from typer.testing import CliRunner

from vadis.cli import app
from vadis.feature_store import save_features
from vadis.fusion_jobs import name_streams, show_gain
from vadis.metrics.resampling import Gain
from vadis.score_files import make_scores, read_scores, write_scores


def invoke(*words: object) -> tuple[int, str, str]:
    ran = CliRunner().invoke(app, ["fuse", *map(str, words)])
    assert ran.exit_code in (0, 1, 2), ran.output
    return ran.exit_code, ran.stdout, ran.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of three streams for a val and a test split: rgb_val.npz, rgb_test.npz ..."""
    folder = tmp_path_factory.mktemp("scores")
    for split, first in (("val", 1000), ("test", 0)):
        for name, sees in (("rgb", (0, 1, 2, 3)), ("flow", (2, 3, 4)), ("audio", (5,))):
            made = make_stream(
                sees, first=first, split=split, noise=1.1, model=f"net_{name}", provenance={"modality": name}
            )
            write_scores(folder / f"{name}_{split}.npz", made)
    return folder


def of(folder: Path, split: str, names: str = "rgb flow audio") -> list[Path]:
    return [folder / f"{name}_{split}.npz" for name in names.split()]


def joined(paths: list[Path]) -> str:
    return ",".join(map(str, paths))


def test_an_average_with_every_combination(files: Path, tmp_path: Path) -> None:
    code, said, _ = invoke(
        *of(files, "test"), "--combinations", "--out", tmp_path / "f.npz", "--card", tmp_path / "c.json"
    )
    assert code == 0
    card = json.loads((tmp_path / "c.json").read_text())
    names = ["+".join(row["streams"]) for row in card["rows"]]
    assert names == ["rgb", "flow", "audio", "rgb+flow", "rgb+audio", "flow+audio", "rgb+flow+audio"]
    last = card["rows"][-1]
    assert card["best_single"] == "rgb (alone)"
    fused = read_scores(tmp_path / "f.npz")
    labels = np.array([each[0] for each in fused.labels])
    top1 = float((fused.scores_NK.argmax(axis=1) == labels).mean())
    assert last["measures"]["top1"] == pytest.approx(top1)
    assert last["gain"]["value"] == pytest.approx(top1 - card["rows"][0]["measures"]["top1"])
    assert last["gain"]["low"] < last["gain"]["value"] < last["gain"]["high"]
    assert last["sure"]
    assert last["intervals"]["top1"][0] < top1 < last["intervals"]["top1"][1]
    assert f"{100 * top1:.2f}" in said
    assert "120 videos with labels of the split test" in said


@pytest.mark.parametrize("by", ["search", "svm"])
def test_what_is_learnt_is_kept_and_applied_again(by: str, files: Path, tmp_path: Path) -> None:
    words = ["--by", by, "--fit", joined(of(files, "val")), "--out", tmp_path / "a.npz"]
    code, said, complained = invoke(*of(files, "test"), *words, "--save", tmp_path / "fuser.npz")
    assert code == 0, complained
    assert by in said.lower()
    assert invoke(*of(files, "test"), "--use", tmp_path / "fuser.npz", "--out", tmp_path / "b.npz")[0] == 0
    one, two = read_scores(tmp_path / "a.npz"), read_scores(tmp_path / "b.npz")
    np.testing.assert_array_equal(one.scores_NK, two.scores_NK)
    assert one.provenance["learnt_from"] == {"split": "val", "videos": 120}
    code, _, complained = invoke(*of(files, "val"), "--use", tmp_path / "fuser.npz")
    assert code == 2
    assert "120 of the 120 videos are among those that it was learnt from" in complained
    code, _, complained = invoke(*of(files, "test"), "--use", files / "rgb_val.npz")
    assert code == 1
    assert "not a fusion" in complained


def test_leaks_and_wrong_usage_are_refused(files: Path) -> None:
    test, val = of(files, "test"), of(files, "val")
    for words, code, text in (
        ([*test, "--by", "search", "--fit", joined(test)], 2, "nothing is learnt from the split 'test'"),
        ([*val, "--by", "search", "--fit", joined(val)], 2, "120 of the 120 videos"),
        ([*test, "--by", "svm", "--folds", "3"], 2, "nothing is learnt from the split 'test'"),
        ([*test, "--by", "svm"], 2, "--fit A_val.npz,B_val.npz"),
        ([*test, "--by", "search", "--fit", joined(val[:2])], 2, "2 files, but there are 3"),
        ([*test, "--by", "average", "--fit", joined(val)], 2, "learns nothing"),
        ([*test, "--by", "weighted"], 2, "--weights 1,1.5"),
        ([*test, "--by", "weighted", "--weights", "1,x,2"], 2, "numbers with commas"),
        ([*test, "--by", "weighted", "--weights", "1,2"], 2, "2 weights for 3"),
        ([*test, "--names", "a,b"], 2, "2 names for 3"),
        ([test[0]], 2, "two streams or more"),
        ([test[0], test[1].with_name("gone.npz")], 1, "no such file"),
        ([test[0], val[1]], 1, "not of the same videos"),
    ):
        got, _, complained = invoke(*words)
        assert (got, text in complained) == (code, True), (words, complained)


def test_missing_videos_are_named_or_counted(files: Path, tmp_path: Path) -> None:
    whole = read_scores(files / "audio_test.npz")
    some = make_scores(
        whole.names[5:], whole.class_names, whole.labels[5:], logits_NK=whole.logits_NK[5:], model="few"
    )
    write_scores(tmp_path / "audio.npz", some)
    code, _, complained = invoke(files / "rgb_test.npz", tmp_path / "audio.npz")
    assert code == 1
    assert "few lacks 5 of 120 videos: v0000, v0001, v0002, v0003, v0004" in complained
    code, said, _ = invoke(files / "rgb_test.npz", tmp_path / "audio.npz", "--allow-missing", "--json")
    assert code == 1  # counted, and said
    assert json.loads(said)["missing"] == {"net_rgb": 0, "few": 5}


def test_folds_of_a_training_split(tmp_path: Path) -> None:
    for name, sees in (("rgb", (0, 1, 2, 3)), ("audio", (4, 5))):
        write_scores(tmp_path / f"{name}.npz", make_stream(sees, split="train", model=name))
    paths = [tmp_path / "rgb.npz", tmp_path / "audio.npz"]
    code, said, _ = invoke(*paths, "--by", "search", "--folds", "4", "-o", tmp_path / "f.npz")
    assert code == 0
    assert "4-fold cross-validation within train" in said
    assert read_scores(tmp_path / "f.npz").scored_N.all()
    assert invoke(*paths, "--by", "search", "--folds", "4", "--save", tmp_path / "x.npz")[0] == 2


def test_several_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target_NK = rng.random((60, 3)) < 0.4
    for name, sees in (("rgb", [0, 1]), ("audio", [2])):
        logits_NK = rng.normal(size=(60, 3))
        logits_NK[:, sees] += 2.5 * target_NK[:, sees]
        labels = [np.flatnonzero(row).tolist() for row in target_NK]
        made = make_scores(
            [str(n) for n in range(60)], "abc", labels, logits_NK=logits_NK, multi_label=True, model=name
        )
        write_scores(tmp_path / f"{name}.npz", made)
    code, said, _ = invoke(tmp_path / "rgb.npz", tmp_path / "audio.npz", "--json")
    assert code == 0
    last = json.loads(said)["rows"][-1]
    assert set(last["measures"]) == {"mean_ap", "any_top1"}
    assert last["intervals"]["mean_ap"][0] < last["measures"]["mean_ap"]
    assert last["gain"]["high"] > last["gain"]["low"]


def test_tcp_on_feature_files(tmp_path: Path) -> None:
    paths: dict[str, list[Any]] = {"train": [], "test": []}
    for seed, split in enumerate(paths):
        for name, knows in (("rgb", 2), ("audio", 1)):
            save_features(tmp_path / f"{name}_{split}.npz", ordered(seed, split=split, knows=knows))
            paths[split].append(tmp_path / f"{name}_{split}.npz")
    words = ["--by", "tcp", "--names", "rgb,audio", "--epochs", "8", "--width", "16", "--quiet"]
    save = tmp_path / "tcp.safetensors"
    code, said, complained = invoke(
        *paths["test"],
        *words,
        "--fit",
        joined(paths["train"]),
        "-o",
        tmp_path / "a.npz",
        "--save",
        save,
        "--json",
    )
    assert code == 0, complained
    found = [("+".join(row["streams"]), row["by"]) for row in json.loads(said)["rows"]]
    assert found == [
        ("rgb", "average"), ("rgb", "tcp"), ("audio", "average"), ("audio", "tcp"),
        ("rgb+audio", "average"), ("rgb+audio", "tcp"), ("rgb+audio", "ensemble of tcp"),
    ]  # fmt: skip
    code, _, complained = invoke(
        *paths["test"], "--use", save, "--names", "rgb,audio", "-o", tmp_path / "b.npz"
    )
    assert code == 0, complained
    one, two = read_scores(tmp_path / "a.npz"), read_scores(tmp_path / "b.npz")
    np.testing.assert_array_equal(one.logits_NK, two.logits_NK)
    code, _, complained = invoke(*paths["test"], *words, "--fit", joined(paths["test"]))
    assert code == 2
    assert "nothing is learnt from the split 'test'" in complained
    code, _, complained = invoke(*paths["train"], "--use", save, "--names", "rgb,audio")
    assert code == 2
    assert "learnt from" in complained
    code, _, complained = invoke(*paths["test"])  # features, but averaged as scores
    assert code == 1
    assert "--by tcp" in complained


def test_names_and_gains_in_words() -> None:
    paths = [Path("a/test.npz"), Path("b/test.npz")]
    assert name_streams(paths, ["rgb", "flow"], ["m", "m"]) == ("rgb", "flow")
    assert name_streams(paths, ["rgb", "rgb"], ["m8", "m32"]) == ("m8", "m32")
    assert name_streams(paths, ["", ""], ["m", "m"]) == ("a", "b")
    assert name_streams([paths[0], paths[0]], ["", ""], ["m", "m"]) == ("stream 1", "stream 2")
    assert show_gain(Gain(0.021, 0.004, 0.039)) == "+2.1 (+0.4 to +3.9) *"
    assert show_gain(Gain(-0.01, -0.03, 0.01)) == "-1.0 (-3.0 to +1.0)"
    assert show_gain(None) == ""
