"""`vadis predict`, `extract`, `probe`: what is in a video."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vadis.cli.options import (
    MODEL_HELP,
    Device,
    FlowOption,
    JsonOption,
    MissingName,
    MissingOption,
    Precision,
)
from vadis.cli.running import asked_to_stop, finish


class EngineName(StrEnum):
    """What runs a model."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"


class ProtocolName(StrEnum):
    """How a video becomes the clips that are scored."""

    windows = "windows"
    paper = "paper"


class DenseKind(StrEnum):
    """Whether classes exclude each other."""

    several = "several"
    one = "one"


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    vtt = "vtt"


ModelOption = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
DEFAULT_MODEL = "i3d_inception.k400"
LIMITS_PANEL = "Limits per video (0 switches one off)"
LIVE_PANEL = "Live"


def predict(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SRC...", help="Files, folders, patterns; `-` reads a list from stdin."),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    streams: Annotated[
        str | None,
        typer.Option(
            metavar="rgb=MODEL,flow=MODEL",
            help="A model for each stream instead, whose scores are averaged (`rgb,flow`: published ones).",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="1,1.5", help="How much each of --streams counts.")
    ] = None,
    flow: FlowOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Labels kept per window and per video.")] = 5,
    window: Annotated[
        float | None, typer.Option(help="Seconds per window (default: the model's clip, 2.56 for I3D).")
    ] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds between windows (default: --window).")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Score from which on a window belongs to a span (default: the model's, if calibrated; 0.3).",
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="`paper`: up to 250 frames in one fully convolutional pass.")
    ] = ProtocolName.windows,
    dense: Annotated[
        DenseKind | None,
        typer.Option(
            metavar="several|one",
            help="A score at every frame, from networks that answer over time (I3D, S3D): `several` classes "
            "at once, or `one` at a time. --window says what gets labels of its own (1 s).",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Write here; the extension names the format.")
    ] = None,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", help="(default: by --out; else a table on a terminal, jsonl in a pipe)"),
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(help="Write the video with labels burnt in (.mp4; a folder for several).")
    ] = None,
    timeline: Annotated[
        str | None, typer.Option(help="Write a picture of what happens when (.png; a folder for several).")
    ] = None,
    cut: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write each span as a clip of its own.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip videos that --out already holds.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count a video that ends early or is damaged as failed.")
    ] = False,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    engine: Annotated[
        EngineName, typer.Option(help="`auto`: the fastest that passes its parity check.")
    ] = EngineName.auto,
    precision: Annotated[
        Precision, typer.Option(help="`bf16` is faster where the processor has it, and a little less exact.")
    ] = Precision.float32,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows scored at once (default: 1 on a CPU, else 8).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Videos decoded at the same time.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model.")] = None,
    missing: MissingOption = MissingName.error,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
    untrusted: Annotated[
        bool,
        typer.Option(
            "--untrusted", help="Decode in a child process under tight limits.", rich_help_panel=LIMITS_PANEL
        ),
    ] = False,
    max_bytes: Annotated[int | None, typer.Option(min=0, rich_help_panel=LIMITS_PANEL)] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0, rich_help_panel=LIMITS_PANEL)] = None,
    max_frames: Annotated[int | None, typer.Option(min=0, rich_help_panel=LIMITS_PANEL)] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=0, help="Width times height.", rich_help_panel=LIMITS_PANEL)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of reading and decoding.", rich_help_panel=LIMITS_PANEL),
    ] = None,
    camera: Annotated[
        int | None, typer.Option(help="Camera number, live until Ctrl-C.", rich_help_panel=LIVE_PANEL)
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            "--input", "-i", help="`-`: a video stream on standard input, live.", rich_help_panel=LIVE_PANEL
        ),
    ] = None,
) -> None:
    """What happens in each video, and when.

    A table on a terminal; --out FILE.json|.jsonl|.csv|.vtt for programs. Where nothing passes
    --threshold the answer is "none of the known actions", with the best guess.
    """
    live_input = camera is not None or stream is not None
    if streams is not None and (model != DEFAULT_MODEL or dense is not None or live_input):
        raise typer.BadParameter("goes without --model, --dense and live input", param_hint="--streams")
    if weights is not None and streams is None:
        raise typer.BadParameter("is of --streams", param_hint="--weights")
    limits = _make_limits(untrusted, max_bytes, max_seconds, max_frames, max_pixels, timeout)
    if camera is not None or stream is not None:
        from vadis.live import LiveJob, run_live

        if sources or (camera is not None and stream is not None) or stream not in (None, "-"):
            raise typer.BadParameter("live input is one of --camera N or --input -, without SRC")
        live = LiveJob(
            camera=camera,
            model=model,
            top_k=top_k,
            window_seconds=window,
            stride_seconds=stride,
            threshold=threshold,
            out=out,
            as_json=output_format in (Format.json, Format.jsonl),
            device=device.value,
            engine=engine.value,
            precision=precision.value,
            threads=threads,
            flow=flow,
            limits=limits,
        )
        finish(run_live, live)
    if not sources:
        raise typer.BadParameter(
            "name at least one video, folder or pattern (or --camera N)", param_hint="SRC"
        )
    if dense is not None:
        from vadis.evaluation.dense_run import DenseJob, run_dense

        if resume or overlay or timeline or cut or untrusted or stride is not None:
            raise typer.BadParameter(
                "goes without --resume, --overlay, --timeline, --cut, --untrusted and --stride",
                param_hint="--dense",
            )
        dense_job = DenseJob(
            sources=tuple(sources),
            model=model,
            several=dense is DenseKind.several,
            top_k=top_k,
            threshold=threshold,
            window_seconds=1.0 if window is None else window,
            out=out,
            format=None if output_format is None else output_format.value,
            device=device.value,
            precision=precision.value,
            limits=limits,
            quiet=quiet,
            asked_to_stop=asked_to_stop,
        )
        finish(run_dense, dense_job)
    from vadis.data.reading import Reading
    from vadis.jobs import PredictJob, run_predict

    job = PredictJob(
        sources=tuple(sources),
        model=model,
        top_k=top_k,
        threshold=threshold,
        protocol=protocol.value,
        window_seconds=window,
        stride_seconds=stride,
        out=out,
        format=None if output_format is None else output_format.value,
        overlay=overlay,
        timeline=timeline,
        cut=cut,
        resume=resume,
        strict=strict,
        untrusted=untrusted,
        limits=limits,
        engine=engine.value,
        device=device.value,
        precision=precision.value,
        batch_size=batch_size,
        workers=workers,
        threads=threads,
        reading=Reading(flow=flow, missing=missing.value),
        streams=streams,
        weights=weights,
        quiet=quiet,
        asked_to_stop=asked_to_stop,
    )
    finish(run_predict, job)


def extract(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SRC...", help="Videos, folders, patterns, `-`; or one dataset."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the .npz files.")] = Path("features"),
    model: ModelOption = "i3d_inception.k400",
    layer: Annotated[
        str,
        typer.Option(help="pool, map, head_input, or a module's name, `:map` after it: not averaged."),
    ] = "pool",
    protocol: Annotated[
        str | None,
        typer.Option(help="Of a dataset, CLIPSxCROPS: clips evenly over each example (default: 1x1)."),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Of videos: seconds per window (default: the model's clip).")
    ] = None,
    stride_seconds: Annotated[
        float | None, typer.Option(help="Of videos: seconds between windows (default: --window).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Which splits of a dataset; one file each.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="How to read it, where two ways are possible.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="A file for each video, although SRC is a dataset.")
    ] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip, instead of its own.")] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Pixels of the short side and of the crop, instead of its own.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    precision: Annotated[
        Precision, typer.Option(help="`bf16` is faster where the processor has it, and a little less exact.")
    ] = Precision.float32,
    workers: Annotated[int, typer.Option(min=1, help="Videos read ahead.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model.")] = None,
    cache: Annotated[
        bool, typer.Option(help="Keep a dataset's features by content, and take what is kept.")
    ] = True,
    flow: FlowOption = None,
    layers: Annotated[bool, typer.Option("--list-layers", help="Only list the model's layers.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Features of any layer of any network, as .npz files with times and provenance.

    A dataset (a list, or a folder in a known layout) gives one file per split, other SRC one per video.
    The same command goes on where it was stopped. Exit code 1 where some videos cannot be read.
    """
    from vadis.data.reading import Reading
    from vadis.feature_jobs import ExtractJob, run_extract, run_list_layers

    if layers:
        finish(run_list_layers, model, as_json)
    if not sources:
        raise typer.BadParameter("name videos, folders or a dataset (or --list-layers)", param_hint="SRC")
    job = ExtractJob(
        sources=tuple(sources),
        out=str(out),
        model=model,
        layer=layer,
        protocol=protocol,
        window_seconds=window,
        stride_seconds=stride_seconds,
        split=split,
        name=name,
        each=each,
        num_frames=frames,
        size=size,
        device=device.value,
        precision=precision.value,
        workers=workers,
        threads=threads,
        cache=cache,
        reading=Reading(flow=flow),
        quiet=quiet,
        as_json=as_json,
        asked_to_stop=asked_to_stop,
    )
    finish(run_extract, job)


def probe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Video files, folders, patterns.")],
    as_json: JsonOption = False,
    count: Annotated[bool, typer.Option("--count", help="Count the frames by reading every packet.")] = False,
) -> None:
    """What a video file is: size, rate, codec, frames, sound; nothing is decoded."""
    from vadis.inspection import run_probe

    finish(run_probe, files, as_json, count)


def _make_limits(
    untrusted: bool,
    max_bytes: int | None,
    max_seconds: float | None,
    max_frames: int | None,
    max_pixels: int | None,
    timeout: float | None,
) -> Any:
    """The default limits with what the user named; 0 switches one off."""
    from dataclasses import replace

    from vadis.records import STRANGER_LIMITS, Limits

    named: dict[str, Any] = {
        "max_bytes": max_bytes,
        "max_seconds": max_seconds,
        "max_frames": max_frames,
        "max_pixels": max_pixels,
        "wall_seconds": timeout,
    }
    given = {key: value or None for key, value in named.items() if value is not None}
    return replace(STRANGER_LIMITS if untrusted else Limits(), **given)
