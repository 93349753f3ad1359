"""`vadis trajectories`: improved dense trajectories of videos, and Fisher vectors of a dataset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import AsOption, Device, JsonOption, QuietOption
from vadis.cli.running import asked_to_stop, finish


class CameraName(StrEnum):
    """What becomes of the camera's motion."""

    remove = "remove"
    again = "again"
    keep = "keep"


class MatchName(StrEnum):
    """What frames are matched by."""

    sift = "sift"
    orb = "orb"


TRACKS_PANEL = "Tracks"
DATASET_PANEL = "A dataset (--encode)"


def trajectories(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SRC...", help="Videos, folders, patterns; with --encode one dataset."),
    ],
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="DIR", help="Folder of the files that are written.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="What --encode made (model.safetensors): labels of each video."),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Labels of a video, with --model.")] = 5,
    picture: Annotated[
        Path | None, typer.Option(help="Write the frame with the most tracks, and these (.png).")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Write the video with its tracks (.mp4).")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="People, who are no camera: lines frame,x1,y1,x2,y2, sides in [0, 1]."),
    ] = None,
    length: Annotated[int, typer.Option(min=3, help="Steps of a track.", rich_help_panel=TRACKS_PANEL)] = 15,
    grid: Annotated[
        int, typer.Option(min=1, help="Pixels from a point to the next.", rich_help_panel=TRACKS_PANEL)
    ] = 5,
    scales: Annotated[
        int, typer.Option(min=1, help="Sizes of the picture at most.", rich_help_panel=TRACKS_PANEL)
    ] = 8,
    size: Annotated[
        int | None,
        typer.Option(min=32, help="Pixels of the frames' short side.", rich_help_panel=TRACKS_PANEL),
    ] = None,
    flow: Annotated[
        str, typer.Option(metavar="METHOD", help="A method of `vadis flow`.", rich_help_panel=TRACKS_PANEL)
    ] = "farneback",
    camera: Annotated[
        CameraName,
        typer.Option(
            help="Its motion: remove it from the flow, estimate the flow again without it, or keep it.",
            rich_help_panel=TRACKS_PANEL,
        ),
    ] = CameraName.remove,
    match: Annotated[
        MatchName, typer.Option(help="Frames are matched by these points.", rich_help_panel=TRACKS_PANEL)
    ] = MatchName.sift,
    least_motion: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Factor on what counts as standing still; less than 1 for small pictures.",
            rich_help_panel=TRACKS_PANEL,
        ),
    ] = 1.0,
    max_tracks: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Keep a random part of more in a video (default: all; of a dataset 5000, 0 for all).",
            rich_help_panel=TRACKS_PANEL,
        ),
    ] = None,
    encode: Annotated[
        bool,
        typer.Option(
            "--encode",
            help="SRC is a dataset: codebooks, Fisher vectors, a support vector machine, its figures.",
            rich_help_panel=DATASET_PANEL,
        ),
    ] = False,
    train: Annotated[
        str, typer.Option(metavar="SPLIT", help="What is learnt from.", rich_help_panel=DATASET_PANEL)
    ] = "train",
    test: Annotated[
        str, typer.Option(metavar="SPLIT", help="What is tested on.", rich_help_panel=DATASET_PANEL)
    ] = "test",
    name: AsOption = None,
    gaussians: Annotated[
        int, typer.Option(min=1, help="Gaussians of a codebook.", rich_help_panel=DATASET_PANEL)
    ] = 256,
    samples: Annotated[
        int,
        typer.Option(min=1, help="Tracks that codebooks are learnt from.", rich_help_panel=DATASET_PANEL),
    ] = 256_000,
    strength: Annotated[
        float,
        typer.Option(help="C of the support vector machine, a factor.", rich_help_panel=DATASET_PANEL),
    ] = 100.0,
    intra: Annotated[
        bool,
        typer.Option(
            "--intra", help="Bring each Gaussian's part to length 1 first.", rich_help_panel=DATASET_PANEL
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Videos at the same time.", rich_help_panel=DATASET_PANEL)
    ] = 2,
    device: Annotated[Device, typer.Option(help="Where flow is estimated.")] = Device.auto,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Improved dense trajectories: what moves by itself, tracked, described; Fisher vectors of a dataset.

    FILE --out DIR writes tracks and descriptors, --picture and --video draw them. DATA --encode --out DIR
    makes a model, Fisher vectors and scores; the same command goes on where it was stopped.
    """
    from vadis.trajectory_jobs import TrajectoryJob, run_trajectories
    from vadis.video.tracks import TrackOptions

    def work() -> int:
        options = TrackOptions(
            length=length,
            grid=grid,
            num_scales=scales,
            flow=flow,
            camera=camera.value,
            features=match.value,
            least_motion=least_motion,
        )
        job = TrajectoryJob(
            sources=tuple(sources),
            out=out,
            options=options,
            short_side=size,
            max_tracks=max_tracks,
            boxes=None if boxes is None else str(boxes),
            picture=None if picture is None else str(picture),
            video=None if video is None else str(video),
            model=None if model is None else str(model),
            top_k=top_k,
            encode=encode,
            train=train,
            test=test,
            name=name,
            num_gaussians=gaussians,
            num_samples=samples,
            strength=strength,
            intra=intra,
            workers=workers,
            device=device.value,
            quiet=quiet,
            as_json=as_json,
            asked_to_stop=asked_to_stop,
        )
        return run_trajectories(job)

    finish(work)
