"""`vadis audio`: what sound a video has."""

from __future__ import annotations

from typing import Annotated

import typer

from vadis.cli.options import JsonOption
from vadis.cli.running import finish


def audio(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Videos, folders, patterns; `-` reads a list from stdin."),
    ],
    picture: Annotated[
        str | None,
        typer.Option(help="Write a spectrogram (.png); `{}` stands for the video's name, for several."),
    ] = None,
    wave: Annotated[bool, typer.Option("--wave", help="With --picture: the waveform beneath it.")] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Write the log-mel picture (.npz) or the sound, mono (.wav); `{}`."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(help="Samples a second of a .wav (default: the convention's).")
    ] = None,
    convention: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whose pictures: vggish, mmaction2, avslowfast, pytorchvideo, vmz, challenge, librosa.",
        ),
    ] = "vggish",
    track: Annotated[
        int | None, typer.Option(min=0, help="Which sound track, from 0 (default: all; the marked one).")
    ] = None,
    start: Annotated[float, typer.Option(min=0, help="From this second on.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="Up to this second.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What sound tracks a video has, how loud and where silent; pictures and files of them (docs/sound.md).

    --start and --end are seconds of the video. Exit code 1 where a video has no sound or cannot be read.
    """
    from vadis.sound_jobs import Asked, run_audio

    asked = Asked(picture, out, convention, track, start, end, rate, wave)
    finish(run_audio, files, asked, as_json)
