"""`vadis train`, `transfer`, `ladder`, `recipes`: networks that learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import (
    DATA_HELP,
    AsOption,
    ClassesOption,
    Device,
    FlowOption,
    JsonOption,
    Precision,
    QuietOption,
    SplitOption,
)
from vadis.cli.running import asked_to_stop, finish

recipes_app = typer.Typer(help="How networks are trained: list the recipes, show one.", no_args_is_help=True)


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
    classes: ClassesOption = "",
    pretrain_classes: Annotated[
        str,
        typer.Option(metavar="A,B*", help="The same for SOURCE: ten classes to learn, five to transfer to."),
    ] = "",
    controls: Annotated[
        str, typer.Option(help="Also with: frozen, shuffled (frames), random (weights), labels (shuffled).")
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study.")] = Path("runs/transfer"),
    protocol: Annotated[str, typer.Option(help="How the test part is looked at (see `evaluate`).")] = "1x1",
    flow: FlowOption = None,
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
            classes=classes,
            pretrain_classes=pretrain_classes,
            controls=controls,
            out=out,
            name=name,
            keep=keep,
            protocol=protocol,
            flow=flow,
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
        job = TransferJob(study, plan, quiet, as_json, asked_to_stop)
        return run_transfer(job)

    finish(work)


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
        finish(run_recipes_markdown)
    finish(run_recipes_list, pattern, as_json)


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name: see `vadis recipes list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show a recipe: where it comes from, every field that `--set` changes, and what to type."""
    from vadis.cookbook import run_recipes_show

    finish(run_recipes_show, name, as_json)


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
    finish(run, benchmark, out, networks, seeds, workers, budget)


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
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="rgb|flow|rgb_diff|audio",
            help="What the network is to take instead, where it can; --init may be of another modality.",
        ),
    ] = None,
    flow: FlowOption = None,
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
        modality=modality,
        flow=flow,
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
        asked_to_stop=asked_to_stop,
    )
    finish(run_train, job)
