"""`vadis models`, `weights`, `explain`: which networks there are, their weights, and what is inside."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import JsonOption
from vadis.cli.running import finish

weights_app = typer.Typer(help="Published weights: list, pull, import, verify.", no_args_is_help=True)


class Picture(StrEnum):
    """Pictures from inside a network."""

    filters = "filters"
    nonlocal_ = "nonlocal"
    attention = "attention"
    activation = "activation"
    receptive_field = "receptive-field"
    layers = "layers"
    nlmeans = "nlmeans"


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
        finish(run_models_markdown)
    if words[:1] == ["show"]:
        if len(words) != 2:
            raise typer.BadParameter("`vadis models show` takes one NAME")
        finish(run_models_show, words[1], as_json)
    if len(words) > 1:
        raise typer.BadParameter("one PATTERN (quote it: '*i3d*'), or `show NAME`")
    finish(run_models_list, words[0] if words else "*", as_json)


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

    finish(work)


@weights_app.command("list")
def weights_list(
    pattern: Annotated[str, typer.Argument(help="A pattern such as '*k400*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """Published checkpoints: model, training data, claimed number, licence, whether cached."""
    from vadis.inspection import run_weights_list

    finish(run_weights_list, pattern, as_json)


@weights_app.command("pull")
def weights_pull(
    name: Annotated[str, typer.Argument(help="Such as i3d_inception.k400.")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again although it is cached.")] = False,
) -> None:
    """Fetch published weights, verify their hash, convert them; prints the file."""
    from vadis.inspection import run_weights_pull

    finish(run_weights_pull, name, force)


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

    finish(run_weights_import, file, model, layout, out, name, classes, option or [], as_json)


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

    finish(run_weights_inflate, image, model, out, rule, num_classes, in_channels, as_json)


@weights_app.command("join")
def weights_join(
    parts: Annotated[
        list[str],
        typer.Argument(
            metavar="MODALITY=FILE ...", help="Such as rgb=i3d_inception.k400 flow=flow.safetensors."
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="The network of several modalities.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    name: Annotated[
        str | None, typer.Option(help="Its name, MODEL.SOMETHING (default: after the file).")
    ] = None,
) -> None:
    """Put the files of single streams together to one network of several modalities; prints the file."""
    from vadis.inspection import run_weights_join

    finish(run_weights_join, parts, model, out, name)


@weights_app.command("verify")
def weights_verify(
    name: Annotated[str | None, typer.Argument(help="(default: all that are cached)")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check cached weights against their recorded hashes."""
    from vadis.inspection import run_weights_verify

    finish(run_weights_verify, name, as_json)
