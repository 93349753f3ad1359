"""The work behind `vadis explain`: read, compute, draw, write; each returns an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vadis.explain import activation as activations
from vadis.explain import arrows as nonlocals
from vadis.explain import filters as first_layer
from vadis.explain import layers as sizes
from vadis.explain import means, patterns, receptive
from vadis.explain.clip import Clip, blank_clip, is_trained, load_network, read_clip
from vadis.explain.cuboids import draw_layers
from vadis.explain.sheet import save
from vadis.formats import use_utf8
from vadis.models import create_model
from vadis.models.contract import VideoModel
from vadis.models.space_time_attention import STEPS
from vadis.models.timesformer import TimeSformer
from vadis.video.decode import Video
from vadis.video.write import CONTAINERS

DEFAULT_MODELS = {
    "filters": "i3d_inception.k400",
    "activation": "i3d_inception.k400",
    "layers": "i3d_inception",
    "receptive-field": "i3d_inception",
}
WITHOUT_WEIGHTS = ("layers", "receptive-field")
"""Pictures that are the same whatever the weights."""

TIMESFORMER_SIZE = (8, 224, 224)  # of the clip whose patterns are drawn where no network is named
IMAGE_SIDE = 72  # pixels of the short side: each pixel is compared with each
SLOWEST = 4.0  # frames a second at least, so that a clip of eight frames does not fly by


@dataclass(frozen=True)
class ExplainJob:
    """What was asked for: see `vadis explain --help`. query: numbers; start: seconds."""

    what: str
    model: str | None = None
    weights: str | None = None
    video: str | None = None
    out: str | None = None
    class_name: str | None = None
    query: tuple[int, ...] | None = None
    layer: str | None = None
    level: int | None = None
    local: bool = False
    start_seconds: float | None = None
    num_frames: int | None = None
    as_json: bool = False


def run_explain(job: ExplainJob) -> int:
    """Do what was asked for. Raises ValueError for wrong usage, VideoError and others where work fails."""
    work = {
        "filters": _filters,
        "nonlocal": _nonlocal,
        "attention": _attention,
        "activation": _activation,
        "layers": _layers,
        "receptive-field": _receptive_field,
        "nlmeans": _nlmeans,
    }
    if job.out is not None and Path(job.out).suffix.lower() not in (".png", *CONTAINERS):
        raise ValueError(f"{job.out}: the name of a picture ends in .png, that of a video in .mp4")
    return work[job.what](job)


def parse_query(text: str | None) -> tuple[int, ...] | None:
    """ "3,40,60" as numbers; ValueError where they are none."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--query takes whole numbers with commas between (t,y,x), got {text!r}") from None


def _network(job: ExplainJob) -> VideoModel:
    name = job.model or DEFAULT_MODELS.get(job.what)
    if name is None:
        raise ValueError(f"`vadis explain {job.what}` needs --model NAME (see `vadis models`)")
    if job.what in WITHOUT_WEIGHTS and job.weights is None and not Path(name).is_file():
        name = name.partition(".")[0]
        if job.what == "layers":  # shapes alone, so no memory either
            with torch.device("meta"):
                return create_model(name).eval()
    model = load_network(name, job.weights)
    if job.what not in WITHOUT_WEIGHTS and not is_trained(model):
        sys.stderr.write(f"note: {model.name} has no trained weights, so this shows a random start\n")
    return model


def _clip(job: ExplainJob, model: VideoModel) -> Clip:
    if job.video is None:
        raise ValueError(f"`vadis explain {job.what}` needs --video FILE")
    return read_clip(job.video, model.spec, start_seconds=job.start_seconds, num_frames=job.num_frames)


def _finish(
    job: ExplainJob, picture: Any, moving: Iterable[Any] | None, fps: float | None, numbers: dict[str, Any]
) -> int:
    """Write picture or video, say where; with --json the numbers on standard output."""
    out = job.out or f"{job.what}.png"
    is_video = Path(out).suffix.lower() in CONTAINERS
    if is_video:
        path = save(out, moving if moving is not None else [picture()], fps if moving is not None else None)
    else:
        path = save(out, [picture()])
    if job.as_json:
        _print_json({"what": job.what, **numbers, "picture": str(path)})
    else:
        Console(highlight=False, soft_wrap=True).print(str(path), markup=False)
    return 0


def _print_json(document: dict[str, Any]) -> None:
    use_utf8(sys.stdout)
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _filters(job: ExplainJob) -> int:
    model = _network(job)
    found = first_layer.first_filters(model)
    chosen = found[0]
    if job.layer is not None:
        named = {filters.name: filters for filters in found}
        if job.layer not in named:
            raise ValueError(f"no layer {job.layer!r} sees pixels; those that do: {', '.join(named)}")
        chosen = named[job.layer]
    numbers = {
        "model": model.name,
        "layer": chosen.name,
        "layers": [filters.name for filters in found],
        "shape": list(chosen.weight_DCTHW.shape),
        "motion": [round(float(value), 4) for value in chosen.motion_D],
    }
    title = f"What the first layer of {model.name} looks for"
    return _finish(
        job,
        lambda: first_layer.draw_filters(chosen, title),
        first_layer.play_filters(chosen),
        first_layer.FRAMES_A_SECOND,
        numbers,
    )


def _nonlocal(job: ExplainJob) -> int:
    model = _network(job)
    clip = _clip(job, model)
    share = nonlocals.query_shares(job.query, clip.frames_THWC.shape[:3])
    note = ""
    if nonlocals.has_blocks(model):
        found = nonlocals.nonlocal_arrows(model, clip.clip_CTHW, share, block=job.layer)
    else:
        found = nonlocals.similarity_arrows(model, clip.clip_CTHW, share, layer=job.layer)
        note = (
            "This network has no non-local block: the weights are a softmax of the cosines of its features "
            "(the gaussian form), which nobody trained."
        )
        sys.stderr.write(f"note: {note}\n")
    numbers = {
        "model": model.name,
        **asdict(found),
        "arrows": [arrow._asdict() for arrow in found.arrows],
        "times": [round(float(time), 4) for time in clip.times_T],
    }
    return _finish(
        job,
        lambda: nonlocals.draw_arrows(found, clip, model.name, note),
        nonlocals.play_arrows(found, clip, model.name),
        max(clip.fps, SLOWEST),
        numbers,
    )


def _attention(job: ExplainJob) -> int:
    if job.model is None and job.weights is None:
        spec = load_network("timesformer_divided").spec if job.video else None
        model, schemes = None, tuple(STEPS)
    else:
        loaded = _pattern_network(job)
        model, schemes, spec = loaded, (loaded.scheme,), loaded.spec
    if job.video is not None and spec is not None:
        clip = read_clip(job.video, spec, start_seconds=job.start_seconds, num_frames=job.num_frames)
    elif spec is not None:
        clip = blank_clip(spec)
    else:
        frames_THWC = np.full((*TIMESFORMER_SIZE, 3), 214, dtype=np.uint8)
        clip = Clip(torch.zeros(0), frames_THWC, np.arange(TIMESFORMER_SIZE[0]) * 32 / 30, 30 / 32)
    frames, high, wide = clip.frames_THWC.shape[:3]
    query = patterns.patch_at(job.query, (frames, high, wide))
    found = patterns.attention_patterns(
        query, (frames, high // patterns.PATCH, wide // patterns.PATCH), schemes
    )
    numbers: dict[str, Any] = {
        "model": None if model is None else model.name,
        "query": list(query),
        "grid": list(found[0].grid),
        "patterns": {
            pattern.scheme: {step: int(seen.sum()) for step, seen in pattern.steps.items()}
            for pattern in found
        },
    }
    if model is not None and job.video is not None and is_trained(model):
        block = _block_number(job.layer)
        learned = patterns.learned_pattern(model, clip.clip_CTHW, query, block)
        numbers["learned"] = {step: np.asarray(w).round(6).tolist() for step, w in learned.steps.items()}
        found = [*found, learned]
    return _finish(
        job,
        lambda: patterns.draw_patterns(found, clip),
        patterns.play_patterns(found, clip),
        max(clip.fps, 2.0),
        numbers,
    )


def _pattern_network(job: ExplainJob) -> TimeSformer:
    model = load_network(job.model or "timesformer_divided", job.weights)
    if not isinstance(model, TimeSformer):
        raise ValueError(
            f"{model.name} has no scheme of attention; take a timesformer_... (or leave --model out)"
        )
    return model


def _block_number(text: str | None) -> int:
    if text is None:
        return -1
    if not text.lstrip("-").isdigit():
        raise ValueError(f"--layer of a TimeSformer is the number of a block, got {text!r}")
    return int(text)


def _activation(job: ExplainJob) -> int:
    model = _network(job)
    label = None if job.class_name is None else activations.find_class(model, job.class_name)
    clip = _clip(job, model)
    found = activations.class_activation(model, clip.clip_CTHW, label)
    numbers = {
        "model": model.name,
        "label": found.label,
        "class_name": found.class_name,
        "score": found.score,
        "logit": found.logit,
        "map_size": list(found.map_THW.shape),
        "curve": [round(float(value), 6) for value in found.curve_T],
        "times": [round(float(time), 4) for time in clip.times_T],
    }
    return _finish(
        job,
        lambda: activations.draw_activation(found, clip, model.name),
        activations.play_activation(found, clip, model.name),
        max(clip.fps, SLOWEST),
        numbers,
    )


def _receptive_field(job: ExplainJob) -> int:
    model = _network(job)
    fields = receptive.receptive_field(model, job.level, through_means=not job.local)
    if job.out is not None:
        save(job.out, [receptive.draw_receptive_field(fields, model)])
    if job.as_json:
        rows = [
            {"layer": field.layer, "frames": asdict(field.frames), "pixels": asdict(field.pixels)}
            for field in fields
        ]
        _print_json({"what": job.what, "model": model.name, "layers": rows, "picture": job.out})
        return 0
    table = Table(title=f"receptive field of {model.name}", title_justify="left", box=None)
    table.add_column("layer")
    for heading in ("frames", "step", "pixels", "step"):
        table.add_column(heading, justify="right")
    for field in fields:
        table.add_row(
            field.layer,
            str(field.frames),
            _step(field.frames.step),
            str(field.pixels),
            _step(field.pixels.step),
        )
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(table)
    if job.out is not None:
        console.print(job.out, markup=False)
    return 0


def _layers(job: ExplainJob) -> int:
    model = _network(job)
    blocks = sizes.layer_sizes(model, job.level)
    if job.out is not None:
        save(job.out, [draw_layers(blocks, model)])
    if job.as_json:
        rows = [
            {
                "layers": list(block.layers),
                "channels": block.channels,
                "frames": block.frames,
                "height": block.height,
                "width": block.width,
                "row": block.row,
                "sources": list(block.sources),
            }
            for block in blocks
        ]
        _print_json({"what": job.what, "model": model.name, "blocks": rows, "picture": job.out})
        return 0
    table = Table(title=f"tensor sizes of {model.name}", title_justify="left", box=None)
    table.add_column("")
    for heading in ("layers", "channels", "frames", "height", "width"):
        table.add_column(heading, justify="left" if heading == "layers" else "right")
    table.add_column("made from")
    for number, block in enumerate(blocks):
        made_from = ", ".join(str(source) for source in block.sources)
        table.add_row(str(number), block.label, *map(str, block.size), made_from)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(table, markup=False)
    if job.out is not None:
        console.print(job.out, markup=False)
    return 0


def _step(step: float | None) -> str:
    return "" if step is None else f"{step:g}"


def _nlmeans(job: ExplainJob) -> int:
    if job.video is None:
        image_CHW, query = means.drawn_picture(), (19, 48)
    else:
        with Video(job.video, short_side=IMAGE_SIDE) as source:
            frame = source.frames_by_time([job.start_seconds or 0.0]).frames_TCHW
        image_CHW = frame[0].float() / 255
        query = (image_CHW.shape[1] // 2, image_CHW.shape[2] // 2)
    if job.query is not None:
        if len(job.query) not in (2, 3):
            raise ValueError("the query of an image is y,x in pixels of the picture that is shown")
        query = (job.query[-2], job.query[-1])
    found = means.denoise(image_CHW, query=query)
    numbers = {"query": list(query), "psnr": found.psnr, "difference": found.difference}
    return _finish(job, lambda: means.draw_denoised(found), None, None, numbers)
