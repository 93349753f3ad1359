"""Features of any layer of any network: for the clips of a dataset, or window by window through a video.

    features = extract_features(model, dataset, layer="pool", protocol="1x1")
    features.features_NVD                      # N videos, V views of each, D numbers

    features_ND, seconds_N2 = extract_windows(model, "film.mp4", stride_seconds=1.0)

A dataset's views are CLIPSxCROPS: so many clips spread evenly over each example (one lies in the middle),
each cut at one place (centre), three or ten. With a cache folder nothing is computed twice, and a stopped run
goes on where it was. The network runs as `vadis.extractor` says.

Legend: N examples or windows, V views, D features (a map has D, T, H, W), B batch, C channels, T frames,
H W pixels.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.data.augment import Crops, cut_views
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import find_source, read_clips
from vadis.data.flow_estimates import WindowFlow
from vadis.data.flow_pictures import find_flow_files
from vadis.data.reading import PLAIN, Reading
from vadis.extractor import Extractor, Sees
from vadis.feature_store import FeatureCache, FeatureSet, feature_key
from vadis.models import MODELS, VideoModel, create_model, weights
from vadis.records import Dataset, Example, Failure, VideoError
from vadis.specs import ClipSpec, adjust
from vadis.video.decode import prefetch, stream_frames
from vadis.video.streams import leader, make_inputs
from vadis.video.transform import FLOW, resize_short_side
from vadis.windows import Cut, cut_windows, is_plain, make_protocol, window_of

log = logging.getLogger(__name__)

CROPS: dict[int, Crops] = {1: "centre", 3: "three", 10: "ten"}


@dataclass(frozen=True)
class Views:
    """Which views of an example are taken: clips by a rule, and which crops of each."""

    rule: ClipRule = ClipRule("uniform")  # noqa: RUF009 - frozen
    crops: Crops = "centre"

    def __str__(self) -> str:
        most = self.rule.at_most or ""
        return f"{self.rule.num_clips} {self.rule.name} {self.crops} {self.rule.out_of_range} {most}".strip()


def parse_views(text: str) -> Views:
    """Views from "CLIPSxCROPS" ("1x1", "10x3"), clips spread evenly. Raises ValueError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if match is None or int(match[1]) < 1 or int(match[2]) not in CROPS:
        raise ValueError(f"views are CLIPSxCROPS, such as 1x1 or 10x3, with 1, 3 or 10 crops; not {text!r}")
    return Views(ClipRule("uniform", int(match[1])), CROPS[int(match[2])])


def open_model(
    name: str | os.PathLike[str],
    *,
    num_frames: int | None = None,
    frame_stride: int | None = None,
    fps: float | None = None,
    size: int | None = None,
    crop: int | None = None,
    untrained: bool = False,
) -> VideoModel:
    """A network with weights (a published name, or a .safetensors file), for clips of another shape if asked.

    num_frames, frame_stride: frames. fps: Hz. size, crop: pixels (one of them alone sets both; the published
    networks take a crop of 224 from 256). untrained: a bare name is a network with random weights, drawn
    from PyTorch's global state; otherwise ValueError.
    """
    text = os.fspath(name)
    if size is not None and crop is None:
        crop = size
    size = crop if size is None else size
    given: dict[str, Any] = {"num_frames": num_frames, "frame_stride": frame_stride, "fps": fps}
    given = {key: value for key, value in (given | {"size": size, "crop": crop}).items() if value is not None}
    source: str | None = None
    if Path(text).is_file():
        source, text = text, str(weights.load(text).metadata["model"])
    elif text.endswith(".safetensors"):
        raise ValueError(f"{text}: no such file; give a .safetensors file or a name (`vadis weights list`)")
    elif text in MODELS and not untrained:
        raise ValueError(
            f"{text!r} names a network without weights; name weights too (such as {text}.k400, see "
            "`vadis weights list`) or give a file"
        )
    maker = MODELS.get(text.partition(".")[0])
    known = {} if maker is None else inspect.signature(maker).parameters
    options: dict[str, Any] = {
        key: given[key] for key in ("num_frames", "crop") if key in given and key in known
    }
    model = create_model(text, weights=source, **options).eval()
    model.spec = adjust(model.spec, **given)
    return model


@dataclass(frozen=True)
class _Read:
    """One example, ready to be computed (pixels) or already known (features)."""

    key: str | None
    seconds_V2: npt.NDArray[np.float64]
    pixels_VTCHW: Tensor | None = None
    features_VD: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


def extract_features(
    model: VideoModel,
    dataset: Dataset,
    *,
    layer: str = "pool",
    protocol: str | Views = "1x1",
    cache_folder: str | os.PathLike[str] | None = None,
    spec: ClipSpec | None = None,
    device: str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    workers: int = 2,
    threads: int | None = None,
    sees: Sees | None = None,
    reading: Reading = PLAIN,
    progress: Callable[[int, int], object] | None = None,
    extractor: Extractor | None = None,
) -> FeatureSet:
    """The features of every example of a dataset, in its order.

    layer: see `vadis.feature_layers`. protocol: "CLIPSxCROPS" or `Views`. cache_folder: None computes all.
    spec: clips of another shape than the network's own. workers: videos read ahead. sees, device,
    precision, threads, batch_size: as `Extractor`, or one that is already made. progress: gets (done, total).
    What cannot be read has NaN features and is among `failures`. Features by a `sees` of the caller's own are
    not cached. Raises ValueError for a layer or a protocol that there is not.
    """
    views = parse_views(protocol) if isinstance(protocol, str) else protocol
    if extractor is None:
        extractor = Extractor(
            model,
            layer,
            spec=spec,
            device=device,
            precision=precision,
            threads=threads,
            sees=sees,
            batch_size=batch_size,
        )
    settings = extractor.settings(str(views))
    cache = None if cache_folder is None or settings is None else FeatureCache(Path(cache_folder))
    found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]] | None] = []
    failures: dict[int, Failure] = {}

    def read(example: Example) -> _Read:
        return _read(example, dataset.root, extractor.spec, views, cache, settings or "", reading)

    for index, future in enumerate(_ahead(read, dataset.examples, workers)):
        try:
            item = future.result()
        except VideoError as error:
            failures[index] = Failure(error.kind, str(error))
            found.append(None)
        else:
            features_VD = item.features_VD
            if item.pixels_VTCHW is not None:
                features_VD = extractor(item.pixels_VTCHW)
                if cache is not None and item.key is not None:
                    cache.put(item.key, features_VD, item.seconds_V2)
            found.append((features_VD, item.seconds_V2))
        if progress is not None:
            progress(index + 1, len(dataset.examples))
    features, seconds = _stack(found)
    return FeatureSet(
        features,
        seconds,
        tuple(example.labels for example in dataset.examples),
        tuple(example.id for example in dataset.examples),
        tuple(example.video for example in dataset.examples),
        dataset.class_names,
        {
            **extractor.provenance(str(views)),
            "dataset": dataset.name,
            "split": dataset.split,
            "multi_label": dataset.multi_label,
        },
        failures,
    )


def _read(
    example: Example,
    root: str,
    spec: ClipSpec,
    views: Views,
    cache: FeatureCache | None,
    settings: str,
    reading: Reading,
) -> _Read:
    """Look an example up in the cache, or decode its views."""
    key = None
    if cache is not None:
        try:
            source, way = _source_of(example, Path(root), spec, reading)
            key = feature_key(source, example, settings + way)
            known = cache.get(key)
        except OSError:
            known = None  # opening the file will say what is wrong
        if known is not None:
            return _Read(key, known[1], features_VD=known[0])
    side = None if spec.sound else spec.size
    clips = read_clips(example, root, spec, views.rule, short_side=side, reading=reading)
    if clips.num_damaged or clips.short:
        log.warning("%s: %d damaged frames%s", example.id, clips.num_damaged, ", ends early" * clips.short)
    cut = []
    for frames_THWC in clips.clips:
        frames_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)
        if side is not None:
            frames_TCHW = resize_short_side(frames_TCHW, side)
        cut += cut_views(frames_TCHW, spec.crop, views.crops, spec.modality)
    seconds_V2 = clips.seconds_N2.repeat(len(cut) // len(clips.clips), axis=0)
    return _Read(key, seconds_V2, pixels_VTCHW=torch.stack(cut))


def _source_of(
    example: Example, root: Path, spec: ClipSpec, reading: Reading
) -> tuple[Path | bytes | list[Path], str]:
    """What an example's pixels come from, and in which way: flow has files of its own, or is estimated."""
    if spec.modality not in FLOW:
        return find_source(root, example.video)[0], ""
    files = [path for pattern in example.flow for path in find_flow_files(root, pattern)]
    if files and spec.stacking != "bidirectional":
        return files, ""
    return find_source(root, example.video)[0], f" flow by {reading.flow}"


def _ahead(
    work: Callable[[Example], _Read], examples: tuple[Example, ...], workers: int
) -> Iterator[Future[_Read]]:
    """The results of `work` in order, the next few being made in threads (decoding lets others run)."""
    pool, waiting = ThreadPoolExecutor(max(1, workers)), list[Future[_Read]]()
    try:
        for example in examples:
            waiting.append(pool.submit(work, example))
            if len(waiting) > 2 * max(1, workers):
                yield waiting.pop(0)
        while waiting:
            yield waiting.pop(0)
    finally:
        pool.shutdown(cancel_futures=True)


def _stack(
    found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]] | None],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """features_NVD and seconds_NV2; NaN where there is nothing."""
    shape = next((item[0].shape for item in found if item is not None), (1, 0))
    features = np.full((len(found), *shape), np.nan, np.float32)
    seconds = np.full((len(found), shape[0], 2), np.nan)
    for row, item in enumerate(found):
        if item is not None:
            if item[0].shape != shape:
                raise ValueError(
                    f"features of different shapes, {item[0].shape} and {shape}, are no array; "
                    "average them, or extract each video to a file of its own"
                )
            features[row], seconds[row] = item
    return features, seconds


def extract_windows(
    model: VideoModel,
    video: str | os.PathLike[str],
    *,
    layer: str = "pool",
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    spec: ClipSpec | None = None,
    device: str = "auto",
    precision: str = "float32",
    reading: Reading = PLAIN,
    progress: Callable[[float, float | None], object] | None = None,
    extractor: Extractor | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Features along a video: features_ND and seconds_N2 of N windows, the last ending with the video.

    window_seconds: default the network's clip (64 frames at 25 Hz for I3D). stride_seconds: default one
    window after another. A video shorter than a window repeats. Memory does not grow with the video. Flow is
    estimated on the way, by the method that `reading` names. progress: gets (seconds done, seconds in all or
    None). Other arguments: `extract_features`. Raises VideoError.
    """
    if extractor is None:
        extractor = Extractor(model, layer, spec=spec, device=device, precision=precision)
    ours = extractor.spec
    if not is_plain(ours) and not (ours.modality in FLOW and reading.flow):
        method = " (or flow, by --flow METHOD)" if ours.modality in FLOW else ""
        raise ValueError(
            f"features along a video are of networks that take RGB frames in a row{method}; this one takes "
            f"{ours.describe()}: extract them clip by clip, without windows"
        )
    rule = make_protocol(
        extractor.spec, "windows", window_seconds, stride_seconds, extractor.model.min_frames
    )
    features, seconds = [], []
    flow = WindowFlow(reading.flow, extractor.device) if reading.flow and not is_plain(ours) else None
    with prefetch(stream_frames(video, fps=rule.fps, short_side=rule.size, limits=reading.limits)) as stream:
        shown = rule.fps or stream.info.frame_rate or 25.0
        for cuts in _in_batches(cut_windows(stream, rule), 1 if flow else extractor.batch_size):
            if flow is not None:
                fields = flow.of(cuts[0].frames_THWC, cuts[0].first, ours, os.fspath(video))
                features.append(extractor.run(leader(make_inputs(ours, {ours.modality: fields}, fps=shown))))
            else:
                pixels = np.stack([cut.frames_THWC for cut in cuts])
                features.append(extractor(torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)))
            for cut in cuts:
                window = window_of(cut, (), rule, stream.start_seconds or 0.0, stream.info.frame_rate)
                seconds.append((window.start_seconds, window.end_seconds))
            if progress is not None:
                progress(seconds[-1][1], stream.info.duration_seconds)
        if not features:
            raise VideoError("empty", os.fspath(video), "not one frame could be decoded")
        end = (stream.start_seconds or 0.0) + (stream.duration_seconds or 0.0)
        report = stream.report
    if not report.ok:
        log.warning("%s: damaged or ends early (%s)", os.fspath(video), ", ".join(report.notes) or "short")
    seconds_N2 = np.array(seconds)
    seconds_N2[:, 1] = np.maximum(seconds_N2[:, 0], np.minimum(seconds_N2[:, 1], end))
    return np.concatenate(features), seconds_N2


def _in_batches(cuts: Iterator[Cut], size: int) -> Iterator[list[Cut]]:
    batch: list[Cut] = []
    for cut in cuts:
        batch.append(cut)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
