"""`vadis data`: read, check, split and make datasets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import (
    DATA_HELP,
    AsOption,
    ClassesOption,
    DataArgument,
    JsonOption,
    QuietOption,
    SplitOption,
)
from vadis.cli.running import asked_to_stop, finish

data_app = typer.Typer(help="Datasets: read, check, split and make them.", no_args_is_help=True)


class BenchmarkName(StrEnum):
    """Benchmarks that are drawn here."""

    shapes = "shapes"
    mocap15 = "mocap15"


@data_app.command("make")
def data_make(
    benchmark: Annotated[
        BenchmarkName,
        typer.Argument(
            metavar="shapes|mocap15",
            help="shapes: 25 classes of moving shapes. mocap15: 15 human motions, rendered.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or one to complete.")],
    split: Annotated[int, typer.Option(min=1, max=3, help="Which split its folders train, test show.")] = 1,
    clips_per_class: Annotated[
        int | None, typer.Option(min=3, help="In all, a third is tested on (default: 60; mocap15: 24).")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="Pixels of a side (default: 64; mocap15: 128).")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=4, help="Frames of a clip (default: 16; mocap15: 32).")
    ] = None,
    point_lights: Annotated[
        bool, typer.Option("--point-lights", help="mocap15: thirteen lights on black, only motion is left.")
    ] = False,
    sound: Annotated[
        bool, typer.Option("--sound", help="shapes: a sound track, whose pitch tells a third of the classes.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other clips; 0 is official.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw (default: one a core).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make a benchmark as a folder of videos, without a download of any. Stopped, it goes on where it was."""
    from vadis.data.benchmark import run_make

    options = {
        "split": split,
        "clips_per_class": clips_per_class,
        "size": size,
        "num_frames": frames,
        "point_lights": point_lights,
        "seed": seed,
        "sound": sound,
    }
    finish(run_make, benchmark.value, out, workers, quiet, options)


ManifestOption = Annotated[
    Path | None, typer.Option(help="From `vadis data check`: what the videos show, and how long they are.")
]


@data_app.command("scan")
def data_scan(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder, or a list of videos.")],
    name: AsOption = None,
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos, where they lie elsewhere.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What a folder is: which dataset, splits, classes, what is missing, what is odd (docs/datasets.md).

    Exit code 1 where listed videos are missing, 2 where the folder can be read in two ways.
    """
    from vadis.inventory import run_scan

    finish(run_scan, path, name, videos, as_json)


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of videos, or a list.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest (.jsonl).")] = Path("manifest.jsonl"),
    workers: Annotated[int, typer.Option(min=1, help="Videos decoded at the same time.")] = 2,
    name: AsOption = None,
    split: SplitOption = None,
    quiet: QuietOption = False,
) -> None:
    """Decode every video to its end: ok, short, corrupt, duplicate or unreadable.

    Of a folder every video below it is decoded; of a list, or with --as or --split, those it names.
    Ctrl-C at any time: the same command goes on. Exit code 1 where some are not whole.
    """
    from vadis.upkeep import run_check

    finish(run_check, path, out, workers, quiet, asked_to_stop, name, split)


@data_app.command("split")
def data_split(
    path: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for one list per part.")] = Path("splits"),
    parts: Annotated[str, typer.Option(metavar="NAME=SHARE,...")] = "train=0.8,test=0.2",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    manifest: ManifestOption = None,
    suffix: Annotated[str, typer.Option("--format", help="jsonl or csv")] = "jsonl",
    name: AsOption = None,
    split: SplitOption = None,
) -> None:
    """Split by source, classes in proportion; with --manifest look-alikes stay together, too."""
    from vadis.upkeep import run_split

    finish(run_split, path, out, parts, seed, manifest, suffix, name, split)


@data_app.command("leaks")
def data_leaks(
    first: Annotated[Path, typer.Argument(metavar="A", help=DATA_HELP)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Such as the test part.")],
    manifest: Annotated[
        list[Path] | None, typer.Option(help="From `vadis data check`; twice where A and B have their own.")
    ] = None,
    min_share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the shorter video's pictures that is alike.")
    ] = 0.5,
    names: Annotated[
        list[str] | None, typer.Option("--as", metavar="NAME", help="How to read them; twice for A and B.")
    ] = None,
    splits: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Which split; twice for A and B.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What two datasets share: ids, groups, files, pictures. Exit code 1 where there is something."""
    from vadis.upkeep import run_leaks

    finish(run_leaks, first, second, manifest or [], min_share, as_json, names or [], splits or [])


@data_app.command("stats")
def data_stats(
    path: DataArgument,
    manifest: ManifestOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A picture (.png).")] = None,
    name: AsOption = None,
    split: SplitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clips per class, the long tail, durations, sizes."""
    from vadis.upkeep import run_stats

    finish(run_stats, path, manifest, out, as_json, name, split)


@data_app.command("convert")
def data_convert(
    path: DataArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="FILE.jsonl, .csv, .txt, or a folder.")],
    name: AsOption = None,
    split: SplitOption = None,
    classes: ClassesOption = "",
) -> None:
    """Write a dataset as a list, as the common toolkits' `video label`, or as class folders."""
    from vadis.upkeep import run_convert

    finish(run_convert, path, out, name, split, classes)


@data_app.command("shard")
def data_shard(
    path: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tar files.")] = Path("shards"),
    max_bytes: Annotated[int, typer.Option(min=1, help="Size of one tar file.")] = 2**30,
    seed: Annotated[int, typer.Option(min=0, help="Draws the order of the videos.")] = 0,
    name: AsOption = None,
    split: SplitOption = None,
    quiet: QuietOption = False,
) -> None:
    """Pack the videos into tar files (WebDataset's naming) with a list that the loader reads."""
    from vadis.upkeep import run_shard

    finish(run_shard, path, out, max_bytes, seed, quiet, name, split)
