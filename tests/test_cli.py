"""The command line as a user meets it: help at once, exit codes, output where it belongs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vadis.cli import app
from vadis.models import create_model
from vadis.models.weights import save_model
from vadis.video.write import VideoWriter

VADIS = [sys.executable, "-m", "vadis"]
SLOW_IMPORTS = ("torch", "torchvision", "av", "numpy", "openvino", "PIL", "safetensors", "rich.progress")


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    command = [*VADIS, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["weights", "--help"], ["--version"]]
)
def test_help_imports_nothing_slow(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom vadis.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {SLOW_IMPORTS!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout
    assert result.stderr.strip() == "[]"


def test_every_verb_and_option_has_a_help_text() -> None:
    import typer.main

    from vadis.cli import app

    def walk(command: object, path: str) -> None:
        subcommands = getattr(command, "commands", {})
        assert getattr(command, "help", None), f"{path} has no help"
        for name, inner in subcommands.items():
            walk(inner, f"{path} {name}")

    walk(typer.main.get_command(app), "vadis")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random weights and three class names, as training would leave it."""
    torch.manual_seed(0)
    network = create_model("i3d_inception", tiny=True, num_classes=3)
    network.class_names = ("left", "right, or so", "=up")
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(network, path)
    return path


def make_video(path: Path, seconds: float = 3.0) -> Path:
    rows, columns = np.mgrid[0:48, 0:64]
    with VideoWriter(path, 25) as writer:
        for n in range(round(seconds * 25)):
            writer.write(
                np.stack([rows * 4, columns * 3, (rows + columns + 3 * n) % 255], -1).astype(np.uint8)
            )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good videos, one text file that claims to be a video, and a file that is none."""
    videos = tmp_path / "videos"
    videos.mkdir()
    make_video(videos / "a.mp4")
    make_video(videos / "b clip.mp4")
    (videos / "c.mp4").write_text("#EXTM3U\nsecret.ts\n")
    (videos / "notes.txt").write_text("no video")
    return videos


FAST = ("--engine", "torch", "--threads", "1", "--window", "0.4", "--stride", "0.8")


def test_a_folder_gives_one_json_line_a_video_and_exit_code_1(folder: Path, model: Path) -> None:
    result = run("predict", folder, "--model", model, "--format", "jsonl", *FAST)
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["video"]).name for line in lines] == ["a.mp4", "b clip.mp4", "c.mp4"]
    assert [line["error"] and line["error"]["kind"] for line in lines] == [None, None, "refused"]
    first = lines[0]
    assert list(first)[:8] == [
        "schema_version",
        "video",
        "model",
        "weights_sha256",
        "protocol",
        "duration_seconds",
        "frames_expected",
        "frames_decoded",
    ]
    assert (first["frames_expected"], first["frames_decoded"]) == (75, 75)
    assert {label["class_name"] for label in first["labels"]} == {"left", "right, or so", "=up"}
    assert "1 of 3 failed" in result.stderr
    assert "c.mp4" in result.stderr
    assert "tiny" in result.stderr or "i3d_inception" in result.stderr  # the first line says what runs


def test_all_good_is_exit_code_0_and_the_extension_names_the_format(folder: Path, model: Path) -> None:
    out = folder.parent / "out.csv"
    result = run("predict", folder / "a.mp4", folder / "b*.mp4", "-m", model, "--out", out, *FAST, "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["video"]).name for row in rows} == {"a.mp4", "b clip.mp4"}


def test_pictures_and_clips_are_written_beside(folder: Path, model: Path, tmp_path: Path) -> None:
    overlay, timeline, cut = tmp_path / "o.mp4", tmp_path / "t.png", tmp_path / "cut"
    result = run(
        "predict", folder / "a.mp4", "-m", model, "--overlay", overlay, "--timeline", timeline,
        "--cut", cut, "--threshold", "0", *FAST, "--format", "table",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert overlay.read_bytes()[4:8] == b"ftyp"
    assert timeline.read_bytes()[:4] == b"\x89PNG"
    assert len(list(cut.glob("*.mp4"))) >= 1
    assert "a.mp4" in result.stdout


def test_nothing_above_the_threshold_is_said(folder: Path, model: Path) -> None:
    result = run("predict", folder / "a.mp4", "-m", model, "--threshold", "1", "--format", "table", *FAST)
    assert result.returncode == 0
    assert "none of the known actions" in result.stdout


def test_a_list_on_standard_input(folder: Path, model: Path) -> None:
    names = f"{folder / 'a.mp4'}\n{folder / 'gone.mp4'}\n"
    result = run("predict", "-", "-m", model, *FAST, input=names)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["error"] and line["error"]["kind"] for line in lines] == [None, "not_found"]
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict"], "at least one video"),
        (["predict", "{empty}"], "no videos found"),
        (["predict", "a.mp4", "--model", "i3d_inception"], "i3d_inception.k400"),
        (["predict", "a.mp4", "--model", "i3d_inceptoin.k400"], "did you mean"),
        (["predict", "a.mp4", "--resume"], "--resume needs --out"),
        (["predict", "a.mp4", "--out", "x.docx"], ".docx"),
        (["predict", "a.mp4", "-i", "-"], "live input"),
        (["predict", "{video}", "--out", "{video}"], "is one of the videos"),
        (["predict", "{video}", "--window", "0.01"], "too short"),
        (["predict", "{video}", "--untrusted", "--cut", "x"], "--cut decodes in this process"),
        (["models", "nothing*"], "no model matches"),
        (["models", "show", "i3d_inceptio"], "did you mean"),
        (["weights", "pull", "i3d_inception.k40"], "did you mean"),
        (["predict", "a.mp4", "--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_clear_line(
    arguments: list[str], expected: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    video = make_video(tmp_path / "v.mp4", 0.5) if "{video}" in arguments else tmp_path / "v.mp4"
    filled = [word.format(empty=tmp_path / "empty", video=video) for word in arguments]
    if filled[0] == "predict" and "--model" not in filled:
        filled += ["--model", str(model)]
    result = CliRunner().invoke(app, filled)  # in this process: each start would take seconds
    assert result.exit_code == 2, result.output
    assert expected in " ".join(result.stderr.replace("\u2502", " ").split())
    assert "Traceback" not in result.output


def test_wrong_usage_ends_a_process_with_2(tmp_path: Path) -> None:
    result = run("predict", "a.mp4", "--out", "x.docx", cwd=tmp_path)
    assert result.returncode == 2
    assert ".docx" in result.stderr
    assert "Traceback" not in result.stderr


def test_probe_as_table_and_as_json(folder: Path) -> None:
    table = run("probe", folder / "a.mp4")
    assert table.returncode == 0
    for part in ("h264", "64 x 48", "25", "75 declared"):
        assert part in table.stdout
    result = run("probe", folder, "--json", "--count")
    assert result.returncode == 1  # one of the files is a playlist
    found = json.loads(result.stdout)
    assert [item.get("frames_counted") for item in found] == [75, 75, None]
    assert found[2]["error"]["kind"] == "refused"


def test_models_and_weights_are_listed(tmp_path: Path) -> None:
    models = json.loads(run("models", "*i3d*", "--json").stdout)
    assert {item["name"]: item["parameters"] for item in models}["i3d_inception"] == 12_697_264
    shown = json.loads(run("models", "show", "i3d_inception.k400", "--json").stdout)
    assert shown["gmac"] == pytest.approx(111.153, rel=1e-3)
    assert "68.4" in json.dumps(shown["weights"])
    weights = json.loads(run("weights", "list", "--json").stdout)
    assert "i3d_inception.k400" in {item["name"] for item in weights}


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = subprocess.run(
        [*VADIS, "doctor", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "VADIS_CACHE": str(blocked / "inside")},
        check=False,
    )
    findings = json.loads(result.stdout)
    assert result.returncode == 1
    assert any("VADIS_CACHE" in problem["mend"] for problem in findings["problems"])
    assert findings["ffmpeg"][0]["of"].startswith("av")
    assert findings["codecs"]["decoders"]["h264"]
    good = run("doctor")
    assert "Versions" in good.stdout
    assert ("Nothing is wrong" in good.stdout) == (good.returncode == 0)


def start_slow_job(folder: Path, model: Path, out: Path, num_videos: int) -> subprocess.Popen[str]:
    for n in range(num_videos):
        make_video(folder / f"{n:02}.mp4", 4.0)
    command = [*VADIS, "predict", str(folder), "-m", str(model), "--out", str(out), *FAST, "--stride", "0.08"]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for_lines(out: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if out.exists() and out.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"not {count} results in time (exit code {process.poll()})")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_batch_is_resumed(how: signal.Signals, model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out.jsonl"
    folder.mkdir()
    process = start_slow_job(folder, model, out, 6)
    wait_for_lines(out, process, 2)
    process.send_signal(how)
    _, messages = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in messages
    kept = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    assert 2 <= len(kept) < 6
    with out.open("ab") as file:
        file.write(b'{"schema_version": 1, "video": "torn')  # what a kill in the middle of a write leaves
    again = run("predict", folder, "-m", model, "--out", out, "--resume", *FAST, "--stride", "0.08")
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} of 6 videos are done" in again.stderr
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert sorted(Path(line["video"]).name for line in lines) == [f"{n:02}.mp4" for n in range(6)]
    assert lines[: len(kept)] == kept
    nothing = run("predict", folder, "-m", model, "--out", out, "--resume", *FAST)
    assert nothing.returncode == 0


def test_a_stream_on_standard_input_is_answered_live(model: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 2.0)
    with video.open("rb") as stream:
        result = subprocess.run(
            [*VADIS, "predict", "-i", "-", "-m", str(model), "--window", "0.8", "--stride", "0.4",
             "--format", "jsonl", *FAST[:4]],
            stdin=stream, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert answers
    assert answers[-1]["end_seconds"] == pytest.approx(2.0, abs=0.05)
    assert all(answer["latency_seconds"] >= 0 for answer in answers)
    assert "50 frames came" in result.stderr
