"""The work behind `vadis audio`: what tracks a video has, how they sound, pictures and files of them.

Legend: S steps in time, M mel bands, N samples.
"""

from __future__ import annotations

import json
import sys
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.formats.table import spell_out
from vadis.inspection import print_json
from vadis.records import VideoError
from vadis.sounds import Convention, find_convention
from vadis.video.audio import Sound, Track, list_tracks, open_sound
from vadis.video.find import find_videos
from vadis.video.loudness import measure_loudness
from vadis.video.sound_picture import draw_spectrogram
from vadis.video.spectrogram import band_hertz, log_mel, step_seconds
from vadis.video.write import part_file, write_png

SHOWN_SILENCES = 5
PLACE = "{}"  # in the name of what is written: stands for the video's name


@dataclass(frozen=True)
class Asked:
    """What `vadis audio` is to do with each file; times in seconds, `rate` in Hz (None: the convention's)."""

    picture: str | None = None
    out: str | None = None
    convention: str = "vggish"
    track: int | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    rate: int | None = None
    wave: bool = False


def run_audio(files: list[str], asked: Asked, as_json: bool) -> int:
    """`vadis audio`: exit code 1 where a file has no sound or could not be read (each is said on stderr).

    Raises ValueError for wrong usage.
    """
    convention = find_convention(asked.convention)
    names = list(find_videos(files, sys.stdin if "-" in files else ()))
    if not names:
        raise ValueError(f"no videos found in {', '.join(files)}")
    _check(asked, names)
    found = []
    for name in names:
        try:
            report = describe_sound(name, asked)
            if report["error"] is None:
                _write(name, asked, convention, report)
        except (VideoError, ValueError) as error:
            kind, message = getattr(error, "kind", "no_sound"), str(error)
            report = {"video": name, "tracks": [], "error": {"kind": kind, "message": message}}
        found.append(report)
        if report["error"] is not None:
            sys.stderr.write(f"error: {spell_out(report['error']['message'])}\n")
        if not as_json and report["tracks"]:
            _print(report)
    if as_json:
        print_json(found)
    return 1 if any(report["error"] is not None for report in found) else 0


def _check(asked: Asked, names: list[str]) -> None:
    """Raise ValueError for options that do not go together."""
    if asked.end_seconds is not None and asked.end_seconds <= asked.start_seconds:
        raise ValueError(
            f"--end ({asked.end_seconds:g} s) must lie after --start ({asked.start_seconds:g} s)"
        )
    ending = Path(asked.out or "a.npz").suffix.lower()
    if ending not in (".npz", ".wav"):
        raise ValueError(
            f"--out ends with .npz (log-mel picture) or .wav (the sound, mono), not {asked.out!r}"
        )
    if asked.rate is not None and ending != ".wav":
        raise ValueError("--rate is for --out FILE.wav; a picture has the rate of its --convention")
    if asked.rate is not None and not 1_000 <= asked.rate <= 384_000:
        raise ValueError(f"--rate is in Hz, 1000 to 384000, got {asked.rate}")
    if asked.wave and asked.picture is None:
        raise ValueError("--wave is for --picture")
    if asked.picture is not None and Path(asked.picture).suffix.lower() != ".png":
        raise ValueError(f"--picture ends with .png, got {asked.picture!r}")
    for option, target in (("--out", asked.out), ("--picture", asked.picture)):
        if target is None or len(names) == 1:
            continue
        if PLACE not in target:
            raise ValueError(
                f"{option} of several videos needs {PLACE} for their names, as in sounds/{PLACE}.npz"
            )
        stems = [Path(name).stem for name in names]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice is not None:
            raise ValueError(f"two videos are called {twice}: {option} would write one over the other")


def describe_sound(video: str, asked: Asked = Asked()) -> dict[str, Any]:
    """What sound a video has, ready for JSON: its tracks, and how loud and where silent each of them is.

    Where it has none, or none that can be decoded, "error" says so. Raises VideoError where the file cannot
    be opened, ValueError for a track that is not there.
    """
    tracks = list_tracks(video)
    if asked.track is not None and tracks and not 0 <= asked.track < len(tracks):
        raise ValueError(f"{video} has {len(tracks)} sound tracks, counted from 0; there is no {asked.track}")
    report: dict[str, Any] = {"video": video, "tracks": [], "error": None}
    for track in tracks:
        if asked.track is None or track.number == asked.track:
            report["tracks"].append({**asdict(track), **_measure(video, track, asked)})
    heard = [entry for entry in report["tracks"] if entry["loudness"] is not None]
    if not heard:
        message = (
            f"{video}: its sound cannot be decoded" if tracks else f"{video}: this video has no sound track"
        )
        report["error"] = {"kind": "no_sound", "message": message}
    return report


def _measure(video: str, track: Track, asked: Asked) -> dict[str, Any]:
    sound = _open(video, asked, track=track.number) if track.usable else None
    if sound is None:
        return {"loudness": None}
    try:
        loudness = asdict(measure_loudness(sound))
    finally:
        sound.close()
    begin = asked.start_seconds
    loudness["silent"] = [[round(begin + a, 3), round(begin + b, 3)] for a, b in loudness["silent"]]
    return {"loudness": loudness}


def _open(video: str, asked: Asked, rate: int | None = None, track: int | None = None) -> Sound | None:
    number = asked.track if track is None else track
    return open_sound(
        video, asked.start_seconds, asked.end_seconds, sample_rate=rate, track=number, mono=True
    )


def _write(video: str, asked: Asked, convention: Convention, report: dict[str, Any]) -> None:
    """What was asked for beside the report: a picture, a log-mel file, a wave file."""
    stem = Path(video).stem
    if asked.out is not None and asked.out.lower().endswith(".wav"):
        _write_wave(video, asked, Path(asked.out.replace(PLACE, stem)), convention.spec.sample_rate)
    wants_mel = asked.out is not None and asked.out.lower().endswith(".npz")
    if asked.picture is None and not wants_mel:
        return
    spec = convention.spec
    sound = _open(video, asked, spec.sample_rate)
    if sound is None:
        raise ValueError(f"{video}: its sound cannot be decoded")
    parts = []
    try:
        while (samples_CN := sound.read(spec.sample_rate)).shape[1]:
            parts.append(samples_CN[0])
    finally:
        sound.close()
    wave_N = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    try:
        picture_SM = log_mel(wave_N, spec)
    except ValueError as error:
        raise ValueError(f"{video}: {error}") from error
    if asked.picture is not None:
        pixels = draw_spectrogram(
            picture_SM,
            spec,
            title=f"{Path(video).name}: {asked.convention}",
            start_seconds=asked.start_seconds,
            wave_N=wave_N if asked.wave else None,
        )
        write_png(asked.picture.replace(PLACE, stem), pixels)
    if wants_mel and asked.out is not None:
        provenance = {
            "video": Path(video).name,
            "track": _chosen(report) if asked.track is None else asked.track,
            "start_seconds": asked.start_seconds,
            "end_seconds": asked.start_seconds + len(wave_N) / spec.sample_rate,
            "convention": asked.convention,
            "known": convention.known,
            "unsure": convention.unsure,
            "sound": asdict(spec),
        }
        with part_file(asked.out.replace(PLACE, stem)) as part, part.open("wb") as file:
            np.savez_compressed(
                file,
                log_mel_SM=picture_SM,
                seconds_S=asked.start_seconds + step_seconds(len(picture_SM), spec),
                hertz_M=band_hertz(spec),
                provenance=np.array(json.dumps(provenance)),
            )


def _chosen(report: dict[str, Any]) -> int:
    """The number of the track that is read where none is asked for: the marked one, else the first."""
    usable = [track for track in report["tracks"] if track["codec"] != "unknown"]
    return int(next(iter([track for track in usable if track["default"]] + usable))["number"])


def _write_wave(video: str, asked: Asked, path: Path, default_rate: int) -> None:
    """Mono, 16 bits, a second in memory at a time."""
    sound = _open(video, asked, asked.rate or default_rate)
    if sound is None:
        raise ValueError(f"{video}: its sound cannot be decoded")
    try:
        with part_file(path) as part, wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sound.sample_rate)
            while (samples_CN := sound.read(sound.sample_rate)).shape[1]:
                scaled_N = np.rint(np.clip(samples_CN[0], -1, 1) * 32767).astype("<i2")
                file.writeframes(scaled_N.tobytes())
    finally:
        sound.close()


def _print(report: dict[str, Any]) -> None:
    """One table a track."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for track in report["tracks"]:
        marks = [word for word in (track["language"], track["title"]) if word]
        if track["default"]:
            marks.append("default")
        title = f"{report['video']}, track {track['number']}" + (f" ({', '.join(marks)})" if marks else "")
        table = Table(
            title=Text(spell_out(title)), title_justify="left", show_header=False, box=None, pad_edge=False
        )
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, text in _rows(track):
            table.add_row(name, Text(text))
        console.print(table)


def _rows(track: dict[str, Any]) -> list[tuple[str, str]]:
    offset, start, loudness = track["offset_seconds"], track["start_seconds"], track["loudness"]
    rows = [
        ("codec", f"{track['codec']}, {track['sample_rate']} Hz, {_channels_words(track)}"),
        ("start", "unknown" if start is None else f"{start:.3f} s"),
        ("against video", "unknown" if offset is None else f"{_offset_words(offset)}"),
        (
            "declared",
            "unknown" if track["duration_seconds"] is None else f"{track['duration_seconds']:.3f} s",
        ),
    ]
    if loudness is None:
        return [*rows, ("decoded", "nothing: this track cannot be decoded here")]
    damaged = f", {loudness['num_damaged']} damaged packets" if loudness["num_damaged"] else ""
    rows.append(("decoded", f"{loudness['seconds']:.3f} s{damaged}"))
    rms, peak = loudness["rms_decibels"], loudness["peak_decibels"]
    rows.append(("level", "silent" if rms is None else f"{rms:.1f} dBFS, peak {peak:.1f} dBFS"))
    silent = loudness["silent"]
    words = ", ".join(f"{a:.2f} to {b:.2f} s" for a, b in silent[:SHOWN_SILENCES])
    more = f" and {len(silent) - SHOWN_SILENCES} more" if len(silent) > SHOWN_SILENCES else ""
    return [*rows, ("silent", (words + more) or "nowhere")]


def _channels_words(track: dict[str, Any]) -> str:
    count, layout = track["channels"], track["layout"]
    known = "" if layout.endswith("channels") else f" ({layout})"  # raw PCM does not say how they lie
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels{known}")


def _offset_words(offset: float) -> str:
    if abs(offset) < 0.0005:
        return "with the first frame"
    return f"{abs(offset):.3f} s {'after' if offset > 0 else 'before'} the first frame"
