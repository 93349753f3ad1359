"""From a dataset's videos to classes, and the command that does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from vadis.cli import app
from vadis.data.scan import open_dataset
from vadis.feature_store import load_features
from vadis.fisher import fit_encoder, load_model, sample_rows
from vadis.fisher_study import encode_dataset, score_part, teach, track_dataset, track_example
from vadis.records import Box, DataError, Example
from vadis.score_files import read_scores
from vadis.trajectory_jobs import TrajectoryJob, read_boxes, run_trajectories
from vadis.video.track_files import load_tracks
from vadis.video.tracks import TrackOptions
from vadis.video.write import VideoWriter

OPTIONS = TrackOptions(length=4, num_scales=1, camera="keep", least_motion=0.3)
MOVES = {"left": (-3, 0), "down": (0, 3)}


def film(move: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Eight pictures of 48 pixels in which all moves by some pixels a frame."""
    import cv2

    grain = np.random.default_rng(seed).uniform(0, 255, (24, 24, 3))
    picture = cv2.resize(grain, (96, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    rolled = [np.roll(picture, (move[1] * i, move[0] * i), (0, 1))[24:72, 24:72] for i in range(8)]
    return np.stack(rolled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of each of two classes to learn from, two to test on, one of which is broken."""
    root = tmp_path_factory.mktemp("moves")
    for number, (name, move) in enumerate(MOVES.items()):
        for part, count in (("train", 4), ("test", 2)):
            for index in range(count):
                path = root / part / name / f"{index}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                with VideoWriter(path, 25.0, crf=8) as writer:
                    for frame in film(move, 100 * number + 10 * index + count):
                        writer.write(frame)
    (root / "test" / "down" / "broken.mp4").write_bytes(b"no video")
    return root


def job(folder: Path, out: Path, **others: object) -> TrajectoryJob:
    """The whole way with small sizes."""
    values = {"options": OPTIONS, "encode": True, "num_gaussians": 3, "num_samples": 300, "workers": 1}
    return TrajectoryJob((str(folder),), str(out), quiet=True, **{**values, **others})  # type: ignore[arg-type]


def test_a_dataset_from_videos_to_figures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_trajectories(job(folder, tmp_path / "out")) == 1  # one is broken
    said = capsys.readouterr()
    assert "top-1" in said.out
    assert "1 could not be read" in said.err
    assert "broken" in said.err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["metrics"]["top1"] == pytest.approx(4 / 5)  # the broken one counts as wrong
    features = load_features(tmp_path / "out" / "train.npz")
    assert features.features_NVD.shape == (8, 1, 2 * 3 * (4 + 48 + 54 + 48 + 48))
    scores = read_scores(tmp_path / "out" / "scores.npz")
    assert scores.kind == "margins"
    assert np.isnan(scores.logits_NK).any(1).sum() == 1
    files = sorted((tmp_path / "out" / "tracks").iterdir())
    assert len(files) == 12
    before = [path.stat().st_mtime_ns for path in files]
    assert run_trajectories(job(folder, tmp_path / "out", num_gaussians=2, as_json=True)) == 1
    assert [path.stat().st_mtime_ns for path in files] == before  # no track is found anew
    assert json.loads(capsys.readouterr().out)["metrics"]["num"] == 5


def test_a_model_names_what_a_video_shows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_trajectories(job(folder, tmp_path / "out"))
    capsys.readouterr()
    model = tmp_path / "out" / "model.safetensors"
    videos = [str(folder / "test" / name / "0.mp4") for name in MOVES]
    predict = TrajectoryJob(
        tuple(videos), str(tmp_path / "files"), model=str(model), as_json=True, quiet=True
    )
    assert run_trajectories(predict) == 0
    rows = json.loads(capsys.readouterr().out)["videos"]
    assert [row["labels"][0]["class_name"] for row in rows] == list(MOVES)
    scores = read_scores(tmp_path / "out" / "scores.npz")
    place = next(name for name in scores.names if "left" in name)
    margin = {label["class_name"]: label["margin"] for label in rows[0]["labels"]}
    wanted = scores.logits_NK[scores.names.index(place)]
    assert [margin[name] for name in scores.class_names] == pytest.approx(
        wanted, abs=0.02
    )  # half precision there
    assert load_model(model).settings["options"]["length"] == 4


def test_parts_from_python(folder: Path, tmp_path: Path) -> None:
    train_set, test_set = (open_dataset(folder, None, part) for part in ("train", "test"))
    tracked = track_dataset(train_set, tmp_path, OPTIONS)
    assert all(each.path is not None for each in tracked)
    assert set(tracked[0].cost) == {"flow", "camera", "tracking", "descriptors", "all"}
    paths = [each.path for each in tracked if each.path is not None]
    samples = sample_rows((load_tracks(path)[0].descriptors for path in paths), 200, len(paths))
    encoder = fit_encoder(samples, 2)
    model = teach(train_set, encode_dataset(train_set, tracked, encoder), encoder)
    found = track_dataset(test_set, tmp_path, OPTIONS)
    failures = [each.failure for each in found if each.failure is not None]
    assert [failure.kind for failure in failures] == ["not_video"]
    scored = score_part(model, test_set, encode_dataset(test_set, found, encoder))
    assert np.isfinite(scored.scores_NK).all(1).sum() == 4
    assert np.allclose(np.nansum(scored.scores_NK, 1)[np.isfinite(scored.scores_NK).all(1)], 1)


def test_an_interval_and_boxes_of_an_example(folder: Path, tmp_path: Path) -> None:
    whole = Example("train/left/0.mp4", "whole", (0,))
    part = Example("train/left/0.mp4", "part", (0,), start_seconds=0.08, end_seconds=0.28)
    first = load_tracks(track_example(whole, folder, tmp_path, OPTIONS).path or "")[0]
    second = load_tracks(track_example(part, folder, tmp_path, OPTIONS).path or "")[0]
    assert (first.num_frames, second.num_frames) == (8, 5)
    assert second.seconds_N2[:, 0].min() == pytest.approx(0.08)
    boxed = Example("train/left/0.mp4", "boxed", (0,), boxes=(Box(0, 0, 1, 1, frame=0),), fps=25.0)
    camera = TrackOptions(length=4, num_scales=1, least_motion=0.3)
    all_masked = load_tracks(track_example(boxed, folder, tmp_path, camera).path or "")[0]
    assert "no camera motion was found between 1 of 7" in all_masked.notes[0]
    missing = track_example(Example("no.mp4", "no"), folder, tmp_path, OPTIONS)
    assert missing.path is None
    assert missing.failure is not None


def test_boxes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("frame,x1,y1,x2,y2\n0,0.1,0.2,0.3,0.4\n\n2,0,0,1,1\n2,0.5,0.5,1,1\n")
    assert read_boxes(path) == [[[0.1, 0.2, 0.3, 0.4]], [], [[0, 0, 1, 1], [0.5, 0.5, 1, 1]]]
    path.write_text("0,0.1,0.2,0.3,40\n")
    with pytest.raises(DataError, match=r"people\.csv:1: not frame"):
        read_boxes(path)


def test_videos_one_by_one(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "in" / "0.mp4"
    small.parent.mkdir()
    with VideoWriter(small, 25.0) as writer:
        for _ in range(6):
            writer.write(np.full((24, 40, 3), 90, np.uint8))
    sources = (str(folder / "test" / "left" / "0.mp4"), str(folder / "test" / "down" / "0.mp4"), str(small))
    files = TrajectoryJob(sources, str(tmp_path / "out"), options=OPTIONS, quiet=True, as_json=True)
    assert run_trajectories(files) == 1
    first = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.npz", "0_2.npz"]
    assert len(first["videos"]) == 2
    assert "32 x 32 pixels" in first["failed"][0]
    assert str(small) in first["failed"][0]
    assert run_trajectories(files) == 1
    again = json.loads(capsys.readouterr().out)
    assert again["kept"] == 2
    longer = TrajectoryJob(sources[:2], str(tmp_path / "out"), options=TrackOptions(length=5), quiet=True)
    assert run_trajectories(longer) == 0
    assert "tracks in 8 frames of 48x48" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no method of optical flow"):
        run_trajectories(TrajectoryJob(sources, options=TrackOptions(flow="optical")))


def test_contradictions(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--out names the folder"):
        run_trajectories(TrajectoryJob((str(folder),), None, encode=True))
    with pytest.raises(ValueError, match="leave out --encode"):
        run_trajectories(job(folder, tmp_path, picture="a.png"))
    with pytest.raises(ValueError, match="for one video"):
        run_trajectories(TrajectoryJob((str(folder),), None, picture="a.png"))
    with pytest.raises(ValueError, match="no videos found"):
        run_trajectories(TrajectoryJob((str(tmp_path),), None))


def test_the_command(folder: Path, tmp_path: Path) -> None:
    video = folder / "test" / "left" / "0.mp4"
    people = tmp_path / "people.csv"
    people.write_text("0,0,0,0.1,0.1\n")
    tracks = ["--length", "4", "--scales", "1", "--camera", "keep", "--least-motion", "0.3", "--quiet"]
    drawn = ["--picture", str(tmp_path / "t.png"), "--boxes", str(people), "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, ["trajectories", str(video), *drawn, *tracks])
    assert ran.exit_code == 0, ran.output
    assert "tracks in 8 frames of 48x48" in ran.output
    assert (tmp_path / "t.png").stat().st_size > 1000
    found, said = load_tracks(tmp_path / "0.npz")
    assert len(found) > 10
    assert said["options"]["length"] == 4
    assert CliRunner().invoke(app, ["trajectories", str(tmp_path / "no.mp4"), *tracks]).exit_code == 1
    assert CliRunner().invoke(app, ["trajectories", str(video), "--flow", "optical"]).exit_code == 2
    assert CliRunner().invoke(app, ["trajectories", str(video), "--encode"]).exit_code == 2
