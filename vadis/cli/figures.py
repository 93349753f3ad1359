"""`vadis evaluate`, `compare`, `score`, `tables`, `reproduce`: how good a network is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vadis.cli.options import (
    MODEL_HELP,
    AsOption,
    DataArgument,
    Device,
    FlowOption,
    JsonOption,
    MissingName,
    MissingOption,
    QuietOption,
    SplitOption,
)
from vadis.cli.running import asked_to_stop, finish

score_app = typer.Typer(
    help="The official figures of the field's datasets, from files.", no_args_is_help=True
)


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
    finish(run_tables, table, "json" if as_json else "csv" if as_csv else "markdown" if markdown else "table")


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

    finish(run_reproduce, table, results, data, measure, as_json, asked_to_stop)


SubsetOption = Annotated[str, typer.Option(help="The part of the ground truth that counts.")]


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

    finish(run_score, score, truth, detections, labels, excluded, rule.value)


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

    finish(run_score, score, truth, predictions, task.value, subset, max_proposals)


@score_app.command("charades")
def score_charades(
    truth: Annotated[Path, typer.Argument(metavar="GT.csv", help="Such as Charades_v1_test.csv.")],
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.txt", help="id [moment] and 157 scores")],
    task: Annotated[CharadesTask, typer.Option(help="Whole videos, or 25 moments of each.")],
) -> None:
    """Charades: mAP, and AP weighted by the classes' size (`weighted`)."""
    from vadis.scoring import run_score
    from vadis.scoring.charades import score_charades as score

    finish(run_score, score, truth, submission, task.value)


@score_app.command("tubes")
def score_tubes(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="Ground truth and detections.")],
    rule: Annotated[TubeRuleName, typer.Option(help="Whose script.")],
    tubes: Annotated[bool, typer.Option(help="Print the linked tubes, too (rule act).")] = True,
) -> None:
    """J-HMDB and UCF101-24: video mAP at each overlap; by the rule `act` also frame mAP and linked tubes."""
    from vadis.scoring import run_score
    from vadis.scoring.tubes import score_tubes as score

    finish(run_score, score, file, rule.value, tubes)


@score_app.command("kinetics")
def score_kinetics(
    truth: Annotated[Path, typer.Argument(metavar="GT.json", help="The challenge's ground truth.")],
    predictions: Annotated[Path, typer.Argument(metavar="PRED.json", help="The challenge's submission.")],
    subset: SubsetOption = "validation",
) -> None:
    """The Kinetics challenge: top-1 and top-5 error, and their average."""
    from vadis.scoring import run_score
    from vadis.scoring.activitynet import score_kinetics as score

    finish(run_score, score, truth, predictions, subset)


@score_app.command("submission")
def score_submission(
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES.npz", help="From `vadis evaluate --save-scores`.")
    ],
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

    finish(run_submission, scores, kind, out)


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
    scores: Annotated[
        Path | None,
        typer.Option("--save-scores", "--scores", help="The scores of every example (.npz)."),
    ] = None,
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
    flow: FlowOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a dataset by a named protocol: accuracy with intervals, what was missing, what it cost.

    Examples that cannot be read count as wrong and are named; then the exit code is 1.
    """
    from vadis.data.reading import Reading
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
        reading=Reading(flow=flow, missing=missing.value),
        as_json=as_json,
        quiet=quiet,
        asked_to_stop=asked_to_stop,
    )
    finish(run_evaluate, job)


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

    finish(run_compare, cards, measure, out, html, csv)
