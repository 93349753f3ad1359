"""`vadis flow`: optical flow to disk, what it will cost, and pictures of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import AsOption, Device, JsonOption, QuietOption, SplitOption
from vadis.cli.running import asked_to_stop, finish


class LayoutName(StrEnum):
    """How flow is stored."""

    jpeg = "jpeg"
    png16 = "png16"
    npz = "npz"
    video = "video"


class RoundingName(StrEnum):
    """Whose rounding 8-bit levels have."""

    denseflow = "denseflow"
    charades = "charades"
    mediapipe = "mediapipe"
    video_features = "video_features"
    brox = "brox"


class StyleName(StrEnum):
    """How flow is drawn."""

    wheel = "wheel"
    arrows = "arrows"


class DtypeName(StrEnum):
    """Numbers of npz."""

    float16 = "float16"
    float32 = "float32"


PICTURES = "Pictures"


def flow(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|SRC...", help="A dataset (docs/datasets.md), or files, folders and patterns."
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            help="tvl1, tvl1_opencv, dis, farneback, raft, mv; several with commas for pictures.",
        ),
    ] = "tvl1",
    layout: Annotated[LayoutName, typer.Option(help="How it is stored (docs/flow.md).")] = LayoutName.jpeg,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write to (default: DATA/flow).")
    ] = None,
    short_side: Annotated[
        int, typer.Option(min=0, help="Pixels to which the short side is scaled before; 0: the video's own.")
    ] = 256,
    bound: Annotated[float, typer.Option(help="Pixels a frame that become 0 and 255; faster is cut.")] = 20.0,
    rounding: Annotated[
        RoundingName, typer.Option(help="Whose rounding to 8 bits.")
    ] = RoundingName.denseflow,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of jpeg.")] = 95,
    dtype: Annotated[DtypeName, typer.Option(help="Numbers of npz.")] = DtypeName.float16,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the method; may be given again."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to estimate.")] = Device.auto,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, a video each (default: one a core; one on a GPU)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; keep what is whole.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only measure ten pairs, and say what all will cost.")
    ] = False,
    name: AsOption = None,
    split: SplitOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the flow of one moment instead (.png).", rich_help_panel=PICTURES),
    ] = None,
    time: Annotated[
        float, typer.Option(min=0, help="The moment of --picture, in seconds.", rich_help_panel=PICTURES)
    ] = 0.0,
    video: Annotated[
        Path | None,
        typer.Option(
            help="Draw frames and flow side by side instead (.mp4, .mkv).", rich_help_panel=PICTURES
        ),
    ] = None,
    style: Annotated[
        StyleName, typer.Option(rich_help_panel=PICTURES, help="How to draw.")
    ] = StyleName.wheel,
    scale: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Pixels a frame of full colour (default: fits).", rich_help_panel=PICTURES
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute optical flow and store it, where datasets find it; say beforehand how long that takes.

    Each video is written whole or not at all; after Ctrl-C or a crash the same command with --resume goes on.
    --bound and --scale are pixels a frame, --time is in seconds.
    """
    from vadis.flow_jobs import FlowJob, run_flow

    job = FlowJob(
        sources=tuple(sources),
        method=method,
        options=tuple(options or ()),
        layout=layout.value,
        out=out,
        short_side=short_side or None,
        bound=bound,
        rounding=rounding.value,
        quality=quality,
        dtype=dtype.value,
        device=device.value,
        workers=workers,
        resume=resume,
        estimate=estimate,
        name=name,
        split=split,
        picture=picture,
        time_seconds=time,
        video=video,
        style=style.value,
        scale=scale,
        as_json=as_json,
        quiet=quiet,
        asked_to_stop=asked_to_stop,
    )
    finish(run_flow, job)
