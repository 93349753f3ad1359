"""`vadis audio`: what is said of tracks, levels and silence; pictures and files; what is refused."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from numbered import write_numbered
from PIL import Image
from test_audio import EVEN, write_film
from typer.testing import CliRunner

from vadis.cli import app
from vadis.sound_jobs import Asked, describe_sound
from vadis.sounds import SOUNDS
from vadis.video.audio import read_mono
from vadis.video.spectrogram import band_hertz, log_mel


def sine(hertz: float, seconds: float, rate: int, share: float = 0.5) -> np.ndarray:
    return share * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: track 0 begins at 0.4 s and falls silent from 1.0 to 1.6; track 1 is quiet, and marked."""
    loud = sine(1_000, 1.6, 16_000)
    loud[round(0.6 * 16_000) : round(1.2 * 16_000)] = 0
    quiet = np.stack([sine(500, 2.0, 48_000, 0.05)] * 2)
    tracks = [
        {"wave": loud, "rate": 16_000, "start": 0.4, "name": "eng"},
        {"wave": quiet, "rate": 48_000, "layout": "stereo", "default": True},
    ]
    return write_film(tmp_path_factory.mktemp("film") / "a.mkv", EVEN, *tracks)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["audio", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_what_is_said_of_each_track(film: Path) -> None:
    report = describe_sound(str(film))
    first, second = report["tracks"]
    assert report["error"] is None
    assert (first["sample_rate"], first["channels"], first["language"]) == (16_000, 1, "eng")
    assert first["start_seconds"] == first["offset_seconds"] == pytest.approx(0.4, abs=1e-3)
    assert first["loudness"]["peak_decibels"] == pytest.approx(-6.0, abs=0.1)
    assert first["loudness"]["silent"] == [pytest.approx([1.0, 1.6], abs=0.051)]
    assert first["loudness"]["seconds"] == pytest.approx(2.0, abs=0.01)
    assert second["default"]
    assert second["loudness"]["rms_decibels"] == pytest.approx(-26 - 3, abs=0.1)
    assert second["loudness"]["silent"] == []
    part = describe_sound(str(film), Asked(track=0, start_seconds=1.1, end_seconds=1.9))
    assert len(part["tracks"]) == 1
    assert part["tracks"][0]["loudness"]["silent"] == [pytest.approx([1.1, 1.6], abs=0.051)]


def test_the_table_and_the_json(film: Path) -> None:
    code, out, _ = run(film)
    assert code == 0
    assert "0.400 s after the first frame" in out
    assert "16000 Hz, mono" in out
    assert "with the first frame" in out
    assert "-6.0 dBFS" in out
    code, out, _ = run(film, "--json")
    assert code == 0
    assert json.loads(out) == [json.loads(json.dumps(describe_sound(str(film))))]


def test_a_video_without_sound_is_said_and_the_others_go_on(film: Path, tmp_path: Path) -> None:
    mute = write_numbered(tmp_path / "mute.mp4", 5)
    code, out, err = run(mute)
    assert (code, out) == (1, "")
    assert "mute.mp4: this video has no sound track" in err
    code, out, err = run(mute, film, tmp_path / "gone.mp4", "--json")
    assert code == 1
    kinds = [entry["error"] and entry["error"]["kind"] for entry in json.loads(out)]
    assert kinds == ["no_sound", None, "not_found"]
    assert len(err.splitlines()) == 2
    code, _, err = run(film, "--track", "2")
    assert code == 1
    assert "2 sound tracks, counted from 0; there is no 2" in err


def test_a_log_mel_file(film: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.npz"
    code, _, err = run(film, "--out", target, "--track", "0", "--start", "0.5", "--convention", "avslowfast")
    assert (code, err) == (0, "")
    spec = SOUNDS["avslowfast"].spec
    with np.load(target, allow_pickle=False) as file:
        picture, seconds, hertz = file["log_mel_SM"], file["seconds_S"], file["hertz_M"]
        provenance = json.loads(str(file["provenance"]))
    heard = read_mono(film, 0.5, round(1.5 * 16_000), 16_000, track=0)
    assert heard is not None
    wanted = log_mel(heard, spec)
    assert abs(len(picture) - len(wanted)) <= 1
    assert np.allclose(picture[:80], wanted[:80], atol=1e-3)
    assert seconds[0] == pytest.approx(0.5 + 0.016)
    assert np.diff(seconds) == pytest.approx(0.016)
    loudest = hertz[picture[5].argmax()]
    assert abs(loudest - 1_000) < 60
    assert hertz == pytest.approx(band_hertz(spec))
    assert provenance["track"] == 0
    assert provenance["convention"] == "avslowfast"
    assert "(?)" in provenance["unsure"]
    assert provenance["sound"]["num_mels"] == 80
    assert run(film, "--out", target)[0] == 0
    with np.load(target) as file:
        assert json.loads(str(file["provenance"]))["track"] == 1, "the marked one"


def test_a_wave_file(film: Path, tmp_path: Path) -> None:
    assert run(film, "-o", tmp_path / "a.wav", "--rate", "8000", "--track", "0", "--end", "1.0")[0] == 0
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 8_000, 8_000)
        heard = np.frombuffer(file.readframes(8_000), "<i2") / 32767
    assert not heard[:3_100].any()
    assert np.abs(heard[4_000:7_000]).max() == pytest.approx(0.5, abs=0.01)


def test_pictures_of_several(film: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.mkv"
    other.write_bytes(film.read_bytes())
    target = tmp_path / "{}.png"
    assert run(film, other, "--picture", target, "--wave", "--track", "0")[0] == 0
    sizes = [Image.open(tmp_path / f"{stem}.png").size for stem in "ab"]
    assert sizes[0] == sizes[1]
    assert run(film, "--picture", tmp_path / "c.png", "--track", "0")[0] == 0
    pixels = np.asarray(Image.open(tmp_path / "c.png")).astype(int)
    assert sizes[0][1] > pixels.shape[0], "no waveform beneath"
    row = pixels[64:444, 84 + 300].sum(axis=1)  # in the first tone: brightest at 1,000 Hz
    hertz = band_hertz(SOUNDS["vggish"].spec)[round((1 - row.argmax() / 380) * 64 - 0.5)]
    assert abs(hertz - 1_000) < 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--convention", "mel"], "vggish, mmaction2"),
        (["--out", "a.mp3"], ".npz"),
        (["--out", "a.npz", "--rate", "8000"], "--rate is for"),
        (["--out", "a.wav", "--rate", "5"], "1000 to 384000"),
        (["--wave"], "--wave is for --picture"),
        (["--picture", "a.jpg"], ".png"),
        (["--start", "2", "--end", "1"], "--end (1 s) must lie after"),
        (["--picture", "a.png", "two.mkv"], "needs {}"),
    ],
)
def test_wrong_usage(film: Path, options: list[str], words: str) -> None:
    code, out, err = run(film, *options)
    assert (code, out) == (2, "")
    assert words in err.replace("\n", " ")


def test_a_sound_that_is_too_short_for_a_step(film: Path, tmp_path: Path) -> None:
    code, _, err = run(film, "--out", tmp_path / "a.npz", "--start", "0.5", "--end", "0.51")
    assert code == 1
    assert "a.mkv: a sound of 160 samples makes no step of 400" in err
    assert not list(tmp_path.iterdir())
