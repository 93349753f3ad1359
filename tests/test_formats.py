"""Each format read back by somebody else's reader; names that bite; kills and resumption."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webvtt

from vadis.formats import (
    FORMATS,
    PredictionWriter,
    format_for,
    read_finished,
    to_json,
    write_predictions,
)
from vadis.formats.captions import vtt_time
from vadis.formats.rows import CSV_COLUMNS, escape_formula, unescape_formula
from vadis.records import DecodeReport, Failure, LabelScore, Prediction, Span, Window

NASTY = 'a,"b"\n--> <i>x</i> & =1+1 走 \x1b[31m'


def make_prediction(video: str = "a.mp4", name: str = "walking the dog") -> Prediction:
    """Two windows of three labels, one span, a tenth of a second that binary cannot hold."""

    def labels(*scores: float) -> tuple[LabelScore, ...]:
        return tuple(LabelScore(5 + n, name if n == 0 else f"other {n}", s) for n, s in enumerate(scores))

    first = Window(0.0, 2.56, labels(float(np.float32(0.9)), 0.05, float(np.float32(1e-9))))
    second = Window(2.56, 5.1, labels(0.4, 0.3, 0.2))
    return Prediction(
        video=video,
        model="i3d_inception.k400",
        weights_sha256="ab" * 32,
        protocol="windows: 25 fps",
        duration_seconds=0.1 + 5.0,
        frames_expected=128,
        frames_decoded=128,
        labels=labels(0.7, 0.2, 0.1),
        windows=(first, second),
        spans=(Span(0.0, 2.56, 5, name, 0.9),),
        report=DecodeReport(video, 128, 128),
    )


def make_failure(video: str = "broken.mp4") -> Prediction:
    return Prediction(video, "m", None, "p", error=Failure("corrupt", 'cut off, "badly"\n=SUM(A1)'))


# JSON


def strict(text: str) -> object:
    """Parse JSON and refuse NaN and the like, as jq and browsers do."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_lines_hold_everything(tmp_path: Path) -> None:
    known = [make_prediction(), make_failure(), make_prediction("走/ü.mp4", NASTY)]
    path = tmp_path / "out.jsonl"
    write_predictions(known, path)
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 3
    records = [strict(line.decode()) for line in lines]
    assert [record["video"] for record in records] == ["a.mp4", "broken.mp4", "走/ü.mp4"]
    first = records[0]
    assert first == strict(json.dumps({**known[0].to_dict(), "duration_seconds": 5.1}))
    assert first["schema_version"] == 1
    assert first["error"] is None
    assert records[1]["error"] == {"kind": "corrupt", "message": 'cut off, "badly"\n=SUM(A1)'}
    assert records[2]["spans"][0]["class_name"] == NASTY
    assert first["duration_seconds"] == 5.1
    assert np.float32(first["windows"][0]["labels"][2]["score"]) == np.float32(1e-9)
    assert first["windows"][0]["labels"][0]["score"] == float(np.float32(0.9))  # not rounded


def test_json_is_strict_and_knows_numpy() -> None:
    labels = (LabelScore(np.int64(3), "x", np.float32(0.1)), LabelScore(4, "y", math.nan))
    record = strict(to_json(replace(make_prediction(), labels=labels, duration_seconds=math.inf)))
    assert record["labels"][0] == {"label": 3, "class_name": "x", "score": float(np.float32(0.1))}
    assert record["labels"][1]["score"] is None
    assert record["duration_seconds"] is None
    assert isinstance(
        strict(to_json(replace(make_prediction(), duration_seconds=3)))["duration_seconds"], float
    )


def test_json_line_is_one_line_for_every_reader() -> None:
    text = to_json(make_prediction("a\u2028b\u2029c\x85d\r\ne.mp4"))
    assert len(text.splitlines()) == 1
    assert strict(text)["video"] == "a\u2028b\u2029c\x85d\r\ne.mp4"


def test_json_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_predictions([make_prediction(name)], tmp_path / "a.jsonl")
    assert read_finished(tmp_path / "a.jsonl") == {name}


@pytest.mark.parametrize("num_videos", [0, 1, 2, 5])
def test_json_is_one_object_per_video_and_line(tmp_path: Path, num_videos: int) -> None:
    path = tmp_path / "out.json"
    write_predictions([make_prediction(f"{n}.mp4") for n in range(num_videos)], path)
    lines = path.read_text().splitlines()
    assert [strict(line)["video"] for line in lines] == [f"{n}.mp4" for n in range(num_videos)]


def test_json_is_whole_after_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with pytest.raises(KeyboardInterrupt), PredictionWriter(path, "json", many=True) as writer:  # noqa: PT012
        writer.write(make_prediction("1.mp4"))
        writer.write(make_prediction("2.mp4"))
        raise KeyboardInterrupt
    assert [strict(line)["video"] for line in path.read_text().splitlines()] == ["1.mp4", "2.mp4"]
    assert read_finished(path) == {"1.mp4", "2.mp4"}
    assert [item.name for item in tmp_path.iterdir()] == ["out.json"]


# CSV


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_predictions([make_prediction(), make_failure()], path)
    rows = read_csv(path)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["kind"] for row in rows] == ["span", *["window"] * 6, *["video"] * 3, "error"]
    assert rows[0] == {
        "video": "a.mp4",
        "kind": "span",
        "start_seconds": "0.0",
        "end_seconds": "2.56",
        "label": "5",
        "class_name": "walking the dog",
        "score": "0.9",
        "error": "",
    }
    assert float(rows[1]["score"]) == float(np.float32(0.9))
    assert rows[-1]["error"].startswith("corrupt: cut off")
    assert rows[-1]["score"] == ""


def test_csv_names_do_not_bite(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    names = ["=cmd|' /C calc'!A0.mp4", "@x", "-1.mp4", "+2.mp4", "\t=3", "'q.mp4", 'a,"b"\nc.mp4', "走.mp4"]
    write_predictions([make_prediction(name, NASTY) for name in names], path)
    rows = read_csv(path)
    assert not [row["video"] for row in rows if row["video"].startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {unescape_formula(row["video"]) for row in rows} == set(names)
    assert {row["class_name"] for row in rows if row["kind"] == "span"} == {NASTY}
    assert read_finished(path) == set(names)
    assert escape_formula("=1") == "'=1"


# WebVTT


def test_captions_are_read_by_webvtt(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    spans = (Span(0, 2.56, 5, "walking the dog", 0.876), Span(3600 + 62.0014, 3700.5, 6, "b", None))
    write_predictions([replace(make_prediction(), spans=spans)], path)
    cues = list(webvtt.read(str(path)))
    assert [(cue.start, cue.end, cue.text) for cue in cues] == [
        ("00:00:00.000", "00:00:02.560", "walking the dog 0.88"),
        ("01:01:02.001", "01:01:40.500", "b"),
    ]


def test_captions_cannot_be_broken_by_names(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    write_predictions([make_prediction(f"x\n\n00:00.000 --> 00:09.000\n{NASTY}", NASTY)], path)
    cues = list(webvtt.read(str(path)))
    assert len(cues) == 1
    assert (cues[0].start, cues[0].end) == ("00:00:00.000", "00:00:02.560")
    text = path.read_text()
    assert text.count("-->") == 1
    assert "<" not in text
    assert "\x1b" not in text
    assert "--&gt; &lt;i&gt;x&lt;/i&gt; &amp; =1+1" in cues[0].raw_text


def test_captions_are_not_silent(tmp_path: Path) -> None:
    write_predictions([replace(make_prediction(), spans=())], tmp_path / "none.vtt")
    (cue,) = webvtt.read(str(tmp_path / "none.vtt"))
    assert cue.text == "none of the known actions; best guess: walking the dog 0.70"
    assert cue.end == "00:00:05.100"
    write_predictions([make_failure()], tmp_path / "error.vtt")
    assert list(webvtt.read(str(tmp_path / "error.vtt"))) == []
    assert "corrupt: cut off" in (tmp_path / "error.vtt").read_text()


def test_captions_of_an_empty_span_last(tmp_path: Path) -> None:
    write_predictions([replace(make_prediction(), spans=(Span(1, 1, 5, "x", 0.5),))], tmp_path / "a.vtt")
    (cue,) = webvtt.read(str(tmp_path / "a.vtt"))
    assert (cue.start, cue.end) == ("00:00:01.000", "00:00:01.001")
    assert vtt_time(359999.9996) == "100:00:00.000"


def test_captions_of_many_videos(tmp_path: Path) -> None:
    known = [make_prediction(name) for name in ("x/a.mp4", "y/a.mp4", "b.avi")]
    write_predictions(known, tmp_path / "folder", "vtt")
    assert sorted(item.name for item in (tmp_path / "folder").iterdir()) == ["a.vtt", "a_2.vtt", "b.vtt"]
    write_predictions(known, tmp_path / "{stem}.en.vtt")
    assert (tmp_path / "b.en.vtt").exists()
    with pytest.raises(ValueError, match="one file for each video"):
        write_predictions(known, tmp_path / "one.vtt")
    with pytest.raises(ValueError, match="standard output"):
        PredictionWriter(io.StringIO(), "vtt", many=True)


# the table


def show(*known: Prediction, **options: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=options.get("encoding", "utf-8"), newline="")
    write_predictions(known, stream, "table")
    return stream.buffer.getvalue().decode(options.get("encoding", "utf-8"))


def test_table_is_plain_text_off_a_terminal() -> None:
    text = show(make_prediction("[bold]a.mp4", "[red]dance[/red]"))
    assert "\x1b" not in text
    assert "[bold]a.mp4" in text  # names are no markup
    assert "[red]dance[/red]" in text
    assert "0.700" in text
    assert "0:00.0 to 0:02.6" in text
    assert max(map(len, text.splitlines())) <= 100


def test_table_bars_and_lanes_have_the_right_length() -> None:
    lines = show(make_prediction()).splitlines()
    bars = [line.count("█") for line in lines if " 0.7" in line or " 0.2" in line or " 0.1" in line]
    assert bars == [42, 12, 6]  # of 60 for a score of 1
    lane = next(line for line in lines if "─" in line).strip()
    assert lane.count("█") / len(lane) == pytest.approx(2.56 / 5.1, abs=0.02)
    assert lane.startswith("█")


def test_table_says_what_is_wrong() -> None:
    damaged = replace(make_prediction(), report=DecodeReport("a.mp4", 128, 100, 3, short=True, repaired=True))
    text = show(damaged, make_failure(), replace(make_prediction(), spans=()))
    assert "ends early: 100 of 128 frames" in text
    assert "3 frames are damaged" in text
    assert "timestamps are broken" in text
    assert "[corrupt]" in text
    assert "none of the known actions; best guess: walking the dog (0.70)" in text


def test_table_does_not_obey_names() -> None:
    text = show(make_prediction("evil\x1b]0;title\x07\r\n\u202e.mp4", "\x1b[2J"))
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    assert "evil\\x1b]0;title\\x07\\r\\n\\u202e.mp4" in text


def test_table_never_claims_certainty() -> None:
    sure = (LabelScore(1, "a", 0.99991), LabelScore(2, "b", 0.00009), LabelScore(3, "c", 0.0))
    text = show(replace(make_prediction(), labels=sure))
    assert "a  >.999" in text
    assert "b  <.001" in text
    assert "c  0.000" in text


def test_table_in_ascii() -> None:
    text = show(make_prediction(), encoding="ascii")
    assert "#" * 40 in text


# streams, endings


def test_endings() -> None:
    assert {format_for(f"x/a.b{ending}") for ending in (".json", ".JSONL", ".csv", ".vtt", ".txt")} == set(
        FORMATS
    )
    with pytest.raises(ValueError, match=r"a\.xyz"):
        format_for("a.xyz")
    with pytest.raises(ValueError, match="unknown format"):
        PredictionWriter(io.StringIO(), "yaml")
    with pytest.raises(ValueError, match="cannot be resumed"):
        PredictionWriter(io.StringIO(), "table", append=True)
    with pytest.raises(ValueError, match="name the format"):
        write_predictions([], io.StringIO())


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_streams_stay_open(name: str) -> None:
    stream = io.StringIO()
    write_predictions([make_prediction()], stream, name)
    assert not stream.closed
    assert "walking the dog" in stream.getvalue()


# resumption


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_every_tear_is_mended(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [make_prediction(f"{n}.mp4", NASTY) for n in range(2)]
    whole = tmp_path / f"whole{ending}"
    write_predictions(known, whole)
    data = whole.read_bytes()
    path = tmp_path / f"torn{ending}"
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the slow part
    for length in range(0, len(data) + 1, 1 if ending == ".csv" else 11):
        path.write_bytes(data[:length])
        finished = read_finished(path)
        with PredictionWriter(path, format_for(path), append=True) as writer:
            for item in known:
                if item.video not in finished:
                    writer.write(item)
        assert path.read_bytes() == data, f"torn after {length} bytes"


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_failures_are_tried_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_predictions([make_prediction("1.mp4"), make_failure("2.mp4"), make_prediction("3.mp4")], path)
    assert read_finished(path) == {"1.mp4", "3.mp4"}
    with PredictionWriter(path, format_for(path), append=True) as writer:
        writer.write(make_prediction("2.mp4"))
    assert read_finished(path) == {"1.mp4", "2.mp4", "3.mp4"}
    assert "cut off" not in path.read_text()


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine{ending}"
    path.write_text("dear diary\nsecond line\n")
    with pytest.raises(ValueError, match="mine"):
        read_finished(path)
    with pytest.raises(ValueError, match="mine"):
        PredictionWriter(path, format_for(path), append=True)
    assert path.read_text() == "dear diary\nsecond line\n"
    assert read_finished(tmp_path / f"none{ending}") == set()


def _write_for_ever(path: str, format_name: str) -> None:
    with PredictionWriter(path, format_name) as writer:
        number = 0
        while True:
            writer.write(make_prediction(f"{number}.mp4", NASTY))
            number += 1


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_killed_while_writing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    process = multiprocessing.get_context("spawn").Process(
        target=_write_for_ever, args=(str(path), ending[1:]), daemon=True
    )
    process.start()
    deadline = time.monotonic() + 60
    while (not path.exists() or path.stat().st_size < 20_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    finished = read_finished(path)
    assert len(finished) >= 10
    assert finished == {f"{n}.mp4" for n in range(len(finished))}  # nothing before the last one is lost
    with PredictionWriter(path, ending[1:], append=True) as writer:
        writer.write(make_prediction("last.mp4"))
    assert read_finished(path) == finished | {"last.mp4"}
