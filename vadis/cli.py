"""The command line: one verb is one thin function, which imports its work inside.

So `vadis --help` answers at once: nothing here imports PyTorch, FFmpeg or numpy until a verb needs it.
Exit codes: 0 all done, 1 some inputs failed (they are listed), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import io
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="vadis",
    help="Video in, actions out: what happens in a video, and when.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(help="Published weights: list, pull, import, verify.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
data_app = typer.Typer(help="Datasets: read, check, split and make them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
recipes_app = typer.Typer(help="How networks are trained: list the recipes, show one.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")
score_app = typer.Typer(
    help="The official figures of the field's datasets, from files.", no_args_is_help=True
)
app.add_typer(score_app, name="score")


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class EngineName(StrEnum):
    """What runs a model."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"


class Precision(StrEnum):
    """Arithmetic of a model."""

    float32 = "float32"
    bf16 = "bf16"


class MissingName(StrEnum):
    """What becomes of a video without a modality that the model takes."""

    error = "error"
    zero = "zero"


MissingOption = Annotated[
    MissingName,
    typer.Option(help="A video without sound or flow that the model takes: it fails, or zeros go in."),
]


class ProtocolName(StrEnum):
    """How a video becomes the clips that are scored."""

    windows = "windows"
    paper = "paper"


class DenseKind(StrEnum):
    """Whether classes exclude each other."""

    several = "several"
    one = "one"


class AvaRuleName(StrEnum):
    """Whose rule scores AVA."""

    official = "official"
    slowfast = "slowfast"
    mmaction2 = "mmaction2"


class TubeRuleName(StrEnum):
    """Whose rule scores tubes."""

    act = "act"
    ucf24 = "ucf24"


class ActivityNetTask(StrEnum):
    """Tasks of the ActivityNet challenge."""

    detection = "detection"
    classification = "classification"
    proposals = "proposals"


class CharadesTask(StrEnum):
    """Tasks of Charades."""

    classify = "classify"
    localize = "localize"


class BenchmarkName(StrEnum):
    """Benchmarks that are drawn here."""

    shapes = "shapes"
    mocap15 = "mocap15"


class CombineName(StrEnum):
    """How the views of a video become one answer."""

    softmax = "softmax"
    logits = "logits"
    max = "max"
    sigmoid = "sigmoid"


class TrainedPrecision(StrEnum):
    """Arithmetic of a network as it was written."""

    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    vtt = "vtt"


class Picture(StrEnum):
    """Pictures from inside a network."""

    filters = "filters"
    nonlocal_ = "nonlocal"
    attention = "attention"
    activation = "activation"
    receptive_field = "receptive-field"
    layers = "layers"
    nlmeans = "nlmeans"


MODEL_HELP = "Published weights (`vadis weights list`) or a .safetensors file of your own."
ModelOption = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
LIMITS_PANEL = "Limits per video (0 switches one off)"
LIVE_PANEL = "Live"


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"vadis {version('vadis')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Video in, actions out: what happens in a video, and when."""


@app.command()
def predict(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SRC...", help="Files, folders, patterns; `-` reads a list from stdin."),
    ] = None,
    model: ModelOption = "i3d_inception.k400",
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
            limits=limits,
        )
        _exit(run_live, live)
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
            asked_to_stop=lambda: _Interrupt.came,
        )
        _exit(run_dense, dense_job)
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
        missing=missing.value,
        quiet=quiet,
        asked_to_stop=lambda: _Interrupt.came,
    )
    _exit(run_predict, job)


@app.command()
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
    layers: Annotated[bool, typer.Option("--list-layers", help="Only list the model's layers.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Features of any layer of any network, as .npz files with times and provenance.

    A dataset (a list, or a folder in a known layout) gives one file per split, other SRC one per video.
    The same command goes on where it was stopped. Exit code 1 where some videos cannot be read.
    """
    from vadis.feature_jobs import ExtractJob, run_extract, run_list_layers

    if layers:
        _exit(run_list_layers, model, as_json)
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
        quiet=quiet,
        as_json=as_json,
        asked_to_stop=lambda: _Interrupt.came,
    )
    _exit(run_extract, job)


@app.command()
def transfer(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP)],
    init: Annotated[
        str, typer.Option(help="What to transfer: published weights, a .safetensors file, or a bare network.")
    ] = "i3d_inception.k400",
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,A+B", help="Several instead; A+B is the sum of their logits (RGB and flow)."
        ),
    ] = None,
    modes: Annotated[
        str,
        typer.Option(help="original, imagenet, fixed, svm, full, top1, top3 ... (docs/transfer.md)."),
    ] = "fixed,svm",
    splits: Annotated[str, typer.Option(metavar="1,2,3", help="Official splits; else parts held out.")] = "1",
    examples: Annotated[
        str, typer.Option(metavar="1,5,all", help="Training examples of each class, or 25% of them.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How often what is random is repeated.")] = 1,
    pretrain: Annotated[
        Path | None, typer.Option(metavar="SOURCE", help="Pre-train on this dataset first.")
    ] = None,
    pretrain_examples: Annotated[
        str, typer.Option(metavar="10%,100%", help="Parts of SOURCE, a network for each.")
    ] = "100%",
    controls: Annotated[
        str, typer.Option(help="Also with: frozen, shuffled (frames), random (weights), labels (shuffled).")
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study.")] = Path("runs/transfer"),
    protocol: Annotated[str, typer.Option(help="How the test part is looked at (see `evaluate`).")] = "1x1",
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip, instead of its own.")] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Pixels of the short side and of the crop, instead of its own.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="The small form of networks without weights.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipes: optim.length=5."),
    ] = None,
    calibrate: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the training part held out for a temperature.")
    ] = 0.0,
    keep: Annotated[
        str, typer.Option(metavar="main|all|none", help="Which networks are kept as files.")
    ] = "main",
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be run and how long it takes; run nothing.")
    ] = False,
    name: AsOption = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    precision: Annotated[
        Precision, typer.Option(help="`bf16` is faster where the processor has it, and a little less exact.")
    ] = Precision.float32,
    workers: Annotated[int, typer.Option(min=0, help="Videos read ahead.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """What does pre-training bring? The same data learnt in several ways, as a table and curves.

    Says first what it will run and how many seconds that takes. Stopped, the same command goes on where it
    was. Exit code 1 where videos could not be read.
    """
    from vadis.transfer.run import TransferJob, make_study, run_transfer

    def work() -> int:
        study = make_study(
            data,
            models or init,
            modes=modes,
            splits=splits,
            examples=examples,
            seeds=seeds,
            pretrain=pretrain,
            pretrain_examples=pretrain_examples,
            controls=controls,
            out=out,
            name=name,
            keep=keep,
            protocol=protocol,
            num_frames=frames,
            size=size,
            crop=size,
            tiny=tiny,
            settings=tuple(settings or ()),
            calibration=calibrate,
            device=device.value,
            precision=precision.value,
            workers=workers,
            threads=threads,
        )
        job = TransferJob(study, plan, quiet, as_json, lambda: _Interrupt.came)
        return run_transfer(job)

    _exit(work)


@app.command()
def probe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Video files, folders, patterns.")],
    as_json: JsonOption = False,
    count: Annotated[bool, typer.Option("--count", help="Count the frames by reading every packet.")] = False,
) -> None:
    """What a video file is: size, rate, codec, frames, sound; nothing is decoded."""
    from vadis.inspection import run_probe

    _exit(run_probe, files, as_json, count)


@app.command()
def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATTERN | show NAME]", help="A pattern such as '*i3d*', or `show NAME`."),
    ] = None,
    as_json: JsonOption = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All of them as the page docs/models.md.")
    ] = False,
) -> None:
    """List the networks by paper, or show one: idea, input, size, options, published results, weights."""
    from vadis.inspection import run_models_list, run_models_markdown, run_models_show

    words = words or []
    if markdown:
        if words or as_json:
            raise typer.BadParameter("--markdown stands alone")
        _exit(run_models_markdown)
    if words[:1] == ["show"]:
        if len(words) != 2:
            raise typer.BadParameter("`vadis models show` takes one NAME")
        _exit(run_models_show, words[1], as_json)
    if len(words) > 1:
        raise typer.BadParameter("one PATTERN (quote it: '*i3d*'), or `show NAME`")
    _exit(run_models_list, words[0] if words else "*", as_json)


@app.command()
def explain(
    what: Annotated[
        Picture,
        typer.Argument(
            metavar="WHAT",
            help="filters: the first layer over time. nonlocal: where a position looks. attention: whom a "
            "TimeSformer's patch asks. activation: what speaks for a class, where and when. receptive-field: "
            "how far each layer sees. layers: frames, pixels, channels by layer. nlmeans: non-local means, "
            "and its network form.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A network, or with weights: i3d_inception.k400; or a file."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="A .safetensors file for --model.")] = None,
    video: Annotated[str | None, typer.Option(help="The clip to look at.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="FILE.png or FILE.mp4 (default: WHAT.png).")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="activation: a class by name or number (default: the best).")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="T,Y,X",
            help="nonlocal, attention, nlmeans: who asks: frame of the clip, and pixels from the upper left "
            "of the square that is cut (default: the strongest, or the middle).",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Which block or layer (default: the paper's; a wrong name lists what there is)."),
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=1, help="receptive-field, layers: how deep modules are opened up.")
    ] = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="receptive-field: leave out gates and other means over everything."),
    ] = False,
    start_seconds: Annotated[
        float | None,
        typer.Option("--start", min=0, help="Seconds at which the clip starts (default: in the middle)."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of the clip (default: as many as the network's own).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pictures from inside a network: what it looks for, where it looks, what it goes by."""
    from vadis.explain.run import ExplainJob, parse_query, run_explain

    def work() -> int:
        job = ExplainJob(
            what=what.value,
            model=model,
            weights=weights,
            video=video,
            out=out,
            class_name=class_name,
            query=parse_query(query),
            layer=layer,
            level=level,
            local=local,
            start_seconds=start_seconds,
            num_frames=frames,
            as_json=as_json,
        )
        return run_explain(job)

    _exit(work)


@app.command()
def tables(
    table: Annotated[str | None, typer.Argument(help="Such as quo_vadis_4 (default: the list).")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row a cell, with source and protocol.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """The published tables of five lectures as data: source, protocol, and what is misprinted."""
    from vadis.tables.run import run_tables

    if as_json + as_csv + markdown > 1:
        raise typer.BadParameter("one of --json, --csv and --markdown")
    _exit(run_tables, table, "json" if as_json else "csv" if as_csv else "markdown" if markdown else "table")


@app.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="A published table (`vadis tables` lists them).")],
    results: Annotated[
        Path | None, typer.Option(help="Folder with cards of `vadis evaluate` and runs of `vadis transfer`.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder with a folder for each dataset.")] = Path("data"),
    measure: Annotated[
        bool, typer.Option("--measure", help="Time each network on one clip, and say how long it all takes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """A published table beside what you measured, and what is missing: weights, data, hours, commands."""
    from vadis.tables.reproduce import run_reproduce

    _exit(run_reproduce, table, results, data, measure, as_json, lambda: _Interrupt.came)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, devices, decoders, cache, weights, disk; what is wrong, and how to mend it."""
    from vadis.doctor import run_doctor

    _exit(run_doctor, as_json)


@app.command()
def demo(
    video: Annotated[str | None, typer.Argument(help="Your clip; without it a figure is rendered.")] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the results.")] = "demo",
) -> None:
    """Prove the published weights, then show on one clip what vadis does."""
    from vadis.demo import run_demo

    _exit(run_demo, video, Path(out))


@weights_app.command("list")
def weights_list(
    pattern: Annotated[str, typer.Argument(help="A pattern such as '*k400*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """Published checkpoints: model, training data, claimed number, licence, whether cached."""
    from vadis.inspection import run_weights_list

    _exit(run_weights_list, pattern, as_json)


@weights_app.command("pull")
def weights_pull(
    name: Annotated[str, typer.Argument(help="Such as i3d_inception.k400.")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again although it is cached.")] = False,
) -> None:
    """Fetch published weights, verify their hash, convert them; prints the file."""
    from vadis.inspection import run_weights_pull

    _exit(run_weights_pull, name, force)


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="A checkpoint in any of the public layouts.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The network it is for (`vadis models`).")],
    layout: Annotated[str, typer.Option(help="`auto` recognises it by keys and shapes.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The .safetensors file to write.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name, MODEL.SOMETHING (default: after the file).")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Label set that names its classes, such as kinetics400.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="What its keys cannot tell, such as pixels=2018 (repeatable)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a checkpoint of your own or of another toolkit; prints the file that was written.

    What was recognised goes to standard error: layout, classes, options implied, keys left out.
    """
    from vadis.inspection import run_weights_import

    _exit(run_weights_import, file, model, layout, out, name, classes, option or [], as_json)


@weights_app.command("inflate")
def weights_inflate(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="torchvision's network (resnet50, resnet50.IMAGENET1K_V2) or a file."
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="The network to start (`vadis models`).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    rule: Annotated[
        str, typer.Option(help="`repeat` kernels over time and divide, or put them on the `centre` frame.")
    ] = "repeat",
    num_classes: Annotated[
        int | None, typer.Option(help="Classes of the new network (default: the image network's).")
    ] = None,
    in_channels: Annotated[int, typer.Option(help="3 for RGB, 2 for optical flow.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Start a video network from an image network's weights; prints the file that was written.

    It is a start for training: on a video that stands still it answers as the image network does.
    What became of each key goes to standard error.
    """
    from vadis.inspection import run_weights_inflate

    _exit(run_weights_inflate, image, model, out, rule, num_classes, in_channels, as_json)


@weights_app.command("verify")
def weights_verify(
    name: Annotated[str | None, typer.Argument(help="(default: all that are cached)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check cached weights against their recorded hashes."""
    from vadis.inspection import run_weights_verify

    _exit(run_weights_verify, name, as_json)


SubsetOption = Annotated[str, typer.Option(help="The part of the ground truth that counts.")]


@recipes_app.command("list")
def recipes_list(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Such as 'slowfast*' (quoted).")] = "*",
    as_json: JsonOption = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All of them as the page docs/recipes.md.")
    ] = False,
) -> None:
    """List the recipes: what each starts from, and the number that was published for it."""
    from vadis.cookbook import run_recipes_list, run_recipes_markdown

    if markdown:
        if pattern != "*" or as_json:
            raise typer.BadParameter("--markdown stands alone")
        _exit(run_recipes_markdown)
    _exit(run_recipes_list, pattern, as_json)


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name: see `vadis recipes list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show a recipe: where it comes from, every field that `--set` changes, and what to type."""
    from vadis.cookbook import run_recipes_show

    _exit(run_recipes_show, name, as_json)


@score_app.command("ava")
def score_ava(
    truth: Annotated[Path, typer.Argument(metavar="GT.csv", help="Such as ava_val_v2.2.csv.")],
    detections: Annotated[Path, typer.Argument(metavar="DET.csv", help="video,time,x1,y1,x2,y2,class,score")],
    labels: Annotated[Path, typer.Option(help="The evaluated classes (.pbtxt).")],
    excluded: Annotated[Path | None, typer.Option(help="Timestamps that take no part (.csv).")] = None,
    rule: Annotated[AvaRuleName, typer.Option(help="Whose script.")] = AvaRuleName.official,
) -> None:
    """AVA: frame mAP at IoU 0.5, per class and per group of classes."""
    from vadis.scoring import run_score
    from vadis.scoring.ava import score_ava as score

    _exit(run_score, score, truth, detections, labels, excluded, rule.value)


@score_app.command("activitynet")
def score_activitynet(
    truth: Annotated[Path, typer.Argument(metavar="GT.json", help="Such as activity_net.v1-3.min.json.")],
    predictions: Annotated[Path, typer.Argument(metavar="PRED.json", help="The challenge's submission.")],
    task: Annotated[ActivityNetTask, typer.Option(help="Which figure.")] = ActivityNetTask.detection,
    subset: SubsetOption = "validation",
    max_proposals: Annotated[float, typer.Option(min=0.01, help="Proposals a video, on average.")] = 100,
) -> None:
    """ActivityNet: average mAP of detections; mAP and hit@k of videos; AR-AN of proposals.

    --max-proposals is the factor of the fraction of the proposals that is taken.
    """
    from vadis.scoring import run_score
    from vadis.scoring.activitynet import score_activitynet as score

    _exit(run_score, score, truth, predictions, task.value, subset, max_proposals)


@score_app.command("charades")
def score_charades(
    truth: Annotated[Path, typer.Argument(metavar="GT.csv", help="Such as Charades_v1_test.csv.")],
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.txt", help="id [moment] and 157 scores")],
    task: Annotated[CharadesTask, typer.Option(help="Whole videos, or 25 moments of each.")],
) -> None:
    """Charades: mAP, and AP weighted by the classes' size (`weighted`)."""
    from vadis.scoring import run_score
    from vadis.scoring.charades import score_charades as score

    _exit(run_score, score, truth, submission, task.value)


@score_app.command("tubes")
def score_tubes(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="Ground truth and detections.")],
    rule: Annotated[TubeRuleName, typer.Option(help="Whose script.")],
    tubes: Annotated[bool, typer.Option(help="Print the linked tubes, too (rule act).")] = True,
) -> None:
    """J-HMDB and UCF101-24: video mAP at each overlap; by the rule `act` also frame mAP and linked tubes."""
    from vadis.scoring import run_score
    from vadis.scoring.tubes import score_tubes as score

    _exit(run_score, score, file, rule.value, tubes)


@score_app.command("kinetics")
def score_kinetics(
    truth: Annotated[Path, typer.Argument(metavar="GT.json", help="The challenge's ground truth.")],
    predictions: Annotated[Path, typer.Argument(metavar="PRED.json", help="The challenge's submission.")],
    subset: SubsetOption = "validation",
) -> None:
    """The Kinetics challenge: top-1 and top-5 error, and their average."""
    from vadis.scoring import run_score
    from vadis.scoring.activitynet import score_kinetics as score

    _exit(run_score, score, truth, predictions, subset)


@score_app.command("submission")
def score_submission(
    scores: Annotated[Path, typer.Argument(metavar="SCORES.npz", help="From `vadis evaluate --scores`.")],
    kind: Annotated[
        str,
        typer.Option(
            help="kinetics, activitynet_classification, charades_classify, charades_localize (of --protocol "
            "dense), moments, something_v1 or something_v2."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file for the challenge.")],
) -> None:
    """Write a challenge's submission file from the scores of an evaluation; no digit is rounded."""
    from vadis.scoring.submissions import run_submission

    _exit(run_submission, scores, kind, out)


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
    }
    _exit(run_make, benchmark.value, out, workers, quiet, options)


DATA_HELP = "A dataset in its official layout, class folders, a list, or shards (docs/datasets.md)."
DataArgument = Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP)]
ManifestOption = Annotated[
    Path | None, typer.Option(help="From `vadis data check`: what the videos show, and how long they are.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="How to read it, where two ways are possible.")
]
SplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which split, where there are several.")
]


@app.command()
def evaluate(
    data: DataArgument,
    model: Annotated[
        list[str],
        typer.Option(
            "--model", "-m", help=f"{MODEL_HELP} Once, once for each split, or with {{split}} in the name."
        ),
    ],
    name: AsOption = None,
    split: SplitOption = None,
    splits: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="Several splits, and their plain mean.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="1x1, 10x1, 20x1, 1x3, 10x3, 10x3-nonlocal, 10x3-charades, 25x1, 25x10, 20x4, whole, dense, "
            "or CLIPSxCROPS with 1, 3, 4 or 10 crops (docs/evaluation.md)."
        ),
    ] = "10x3",
    combine: Annotated[
        CombineName | None,
        typer.Option(help="What is averaged over views, or the best taken (default: the protocol's own)."),
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="The data may lack classes that the network knows.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The card (.json). Stopped, the same command goes on.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The card as a page (.html).")] = None,
    scores: Annotated[Path | None, typer.Option(help="The scores of every example (.npz).")] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Choose a temperature, and from which score on to answer."),
    ] = False,
    store: Annotated[
        bool,
        typer.Option(
            "--store", help="Write what --calibrate chose into the model file, for `vadis predict`."
        ),
    ] = False,
    max_error: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of wrong answers that --calibrate allows.")
    ] = 0.1,
    temperature: Annotated[
        str | None, typer.Option(help="Judge a temperature: a number, or a card made with --calibrate.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    precision: Annotated[
        TrainedPrecision, typer.Option(help="float32, or autocast to bf16 or fp16.")
    ] = TrainedPrecision.float32,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Views scored at once (default: by their size).")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode.")] = 2,
    missing: MissingOption = MissingName.error,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a dataset by a named protocol: accuracy with intervals, what was missing, what it cost.

    Examples that cannot be read count as wrong and are named; then the exit code is 1.
    """
    from vadis.evaluation.run import EvaluateJob, run_evaluate

    job = EvaluateJob(
        data=data,
        models=tuple(model),
        name=name,
        split=split,
        splits=splits,
        protocol=protocol,
        combine=None if combine is None else combine.value,
        subset=subset,
        out=out,
        html=html,
        scores=scores,
        calibrate=calibrate,
        store=store,
        max_error=max_error,
        temperature=temperature,
        device=device.value,
        precision=precision.value,
        batch_size=batch_size,
        workers=workers,
        missing=missing.value,
        as_json=as_json,
        quiet=quiet,
        asked_to_stop=lambda: _Interrupt.came,
    )
    _exit(run_evaluate, job)


@app.command()
def ladder(
    benchmark: Annotated[str, typer.Argument(metavar="shapes", help="The clips to climb on.")] = "shapes",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for clips, runs, table, picture.")] = Path(
        "ladder"
    ),
    networks: Annotated[str | None, typer.Option(help="Some of them: fr2d_18,r3d_18 (default: all).")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network, with seeds 0, 1 ...")] = 1,
    clips_per_class: Annotated[
        int, typer.Option(min=3, help="Two thirds to train on, the rest to test.")
    ] = 300,
    size: Annotated[int, typer.Option(min=32, help="Side of the clips in pixels.")] = 48,
    frames: Annotated[int, typer.Option(min=4, help="Frames of a clip.")] = 16,
    epochs: Annotated[float, typer.Option(min=0.1, help="How often each clip is seen.")] = 4.0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode.")] = 1,
) -> None:
    """Train and test the small form of every network with one budget: who sees motion, who sees its order?

    All see each clip as many times (--epochs), with the same optimiser. Stopped, it goes on where it was.
    """
    from vadis.ladder import Budget, run

    budget = Budget(clips_per_class, size, frames, epochs)
    _exit(run, benchmark, out, networks, seeds, workers, budget)


@app.command()
def compare(
    cards: Annotated[
        list[Path], typer.Argument(metavar="CARD...", help="Cards of `vadis evaluate` (.json).")
    ],
    measure: Annotated[
        str | None, typer.Option(help="top1, top5, mean_class, mean_ap ... (default: top1, or mean_ap).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Accuracy against cost (.png, .svg, .pdf).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The table as a page (.html).")] = None,
    csv: Annotated[Path | None, typer.Option(help="The table (.csv).")] = None,
) -> None:
    """Cards side by side: accuracy, protocol, cost, what is missing; warns where numbers do not compare."""
    from vadis.evaluation.comparison import run_compare

    _exit(run_compare, cards, measure, out, html, csv)


@app.command()
def train(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help=DATA_HELP)],
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="How to train (`vadis recipes list`).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A network (`vadis models`), trained by a small default recipe."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="What it starts from: k400 or other weights, imagenet, none, a .safetensors file."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe: optim.lr=0.05."),
    ] = None,
    name: AsOption = None,
    split: SplitOption = None,
    validation: Annotated[
        list[Path] | None, typer.Option("--val", help="Validate on this; one for each DATA.")
    ] = None,
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share to validate on, where DATA has no part for that.")
    ] = 0.2,
    same: Annotated[
        Path | None, typer.Option(help="Several DATA: which classes are one (.csv: dataset,class,means).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run (default: runs/train/NAME-N).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps and validations of the tiny network: does all fit?")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what will be done and how long it takes; train nothing.")
    ] = False,
    device: Annotated[Device | None, typer.Option(help="Where to compute (default: the recipe's).")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train or fine-tune a network; leaves best.safetensors, which `vadis predict --model` takes.

    Where the data have no validation part of their own, a share is held out. Stopped at any moment, the same
    command with --out and --resume goes on to the same weights. Clips that cannot be read are skipped and
    named; then the exit code is 1.
    """
    from vadis.training.run import TrainJob, run_train

    job = TrainJob(
        data=tuple(data),
        recipe=recipe,
        model=model,
        init=init,
        settings=tuple(settings or ()),
        name=name,
        split=split,
        validation=tuple(validation or ()),
        hold_out=hold_out,
        same=same,
        out=out,
        resume=resume,
        smoke=smoke,
        plan=plan,
        device=None if device is None else device.value,
        as_json=as_json,
        quiet=quiet,
        asked_to_stop=lambda: _Interrupt.came,
    )
    _exit(run_train, job)


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

    _exit(run_scan, path, name, videos, as_json)


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

    _exit(run_check, path, out, workers, quiet, lambda: _Interrupt.came, name, split)


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

    _exit(run_split, path, out, parts, seed, manifest, suffix, name, split)


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

    _exit(run_leaks, first, second, manifest or [], min_share, as_json, names or [], splits or [])


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

    _exit(run_stats, path, manifest, out, as_json, name, split)


@data_app.command("convert")
def data_convert(
    path: DataArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="FILE.jsonl, .csv, .txt, or a folder.")],
    name: AsOption = None,
    split: SplitOption = None,
) -> None:
    """Write a dataset as a list, as the common toolkits' `video label`, or as class folders."""
    from vadis.upkeep import run_convert

    _exit(run_convert, path, out, name, split)


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

    _exit(run_shard, path, out, max_bytes, seed, quiet, name, split)


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


def _exit(work: Any, *arguments: Any) -> None:
    """Run a verb's work and end with its exit code; expected errors are one clear line on stderr."""
    import logging

    from vadis.records import VadisError

    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is spelled out
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work(*arguments)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # the reader of our output went away (`vadis ... | head`): not an error, but stop quietly
        sys.stderr.close()
        raise typer.Exit(0) from None
    except ValueError as error:
        _show(error)
        raise typer.Exit(2) from None
    except (OSError, RuntimeError, VadisError) as error:
        _show(error)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def _show(error: Exception) -> None:
    """One clear line, or several, on standard error; no file's name in it moves the cursor."""
    from vadis.formats.table import spell_out

    text = "\n".join(spell_out(line) for line in str(error).split("\n"))
    typer.echo(f"error: {text}", err=True)


class _Interrupt:
    """Remembers Ctrl-C. Imports of other packages may swallow the exception, but not the wish to stop."""

    came = False

    @classmethod
    def handle(cls, number: int, frame: object) -> None:
        cls.came = True
        raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `vadis` command and of `python -m vadis`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is to be ignored
        signal.signal(signal.SIGINT, _Interrupt.handle)
    try:
        app()
    except Exception:
        if not _Interrupt.came:
            raise
        typer.echo("stopped", err=True)  # an import that was broken off fails in odd ways
        sys.exit(130)


if __name__ == "__main__":
    main()
