"""A video file in, its actions over time out: the one inference path of vadis.

The command line, the server, annotation hints and the tests all come through here: frames are taken
by time, cut into windows, scored by an engine, averaged as logits, and told as a `Prediction`.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vadis.answers import Answers
from vadis.data.flow_estimates import WindowFlow
from vadis.data.reading import PLAIN, Reading
from vadis.engines import Engine, create_engine
from vadis.models import MODELS, VideoModel, create_model, weights
from vadis.records import STRANGER_LIMITS, Failure, Limits, Prediction, VideoError
from vadis.specs import ClipSpec, at_test
from vadis.video.audio import read_mono
from vadis.video.decode import Stream, prefetch, stream_frames
from vadis.video.sandbox import stream_frames_in_child
from vadis.video.streams import make_inputs
from vadis.video.transform import FLOW
from vadis.video.write import cut_video, span_filename
from vadis.windows import (
    Cut,
    Protocol,
    cut_windows,
    is_plain,
    make_protocol,
    read_calibration,
    takes_flow,
)

log = logging.getLogger(__name__)

DEFAULT_MODEL = "i3d_inception.k400"
Progress = Callable[[float, float | None], None]


class Predictor:
    """A loaded model that turns videos into actions; keep one for many videos.

    model: a published name such as "i3d_inception.k400", a file written by `vadis weights import` or
    by training, or a module of ours. Names without weights are refused: their answers would be noise.
    engine, device, precision: see `vadis.engines.create_engine`. batch_size: windows scored at once. reading:
    by which method flow is estimated, and whether zeros stand for what a video does not have.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | VideoModel = DEFAULT_MODEL,
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "float32",
        batch_size: int | None = None,
        threads: int | None = None,
        reading: Reading = PLAIN,
    ) -> None:
        self.network = _load_network(model)
        self.spec: ClipSpec = self.network.spec
        self.name = self.network.name or type(self.network).__name__
        self.weights_sha256 = self.network.weights_sha256
        calibration = read_calibration(self.network.calibration, self.name)
        self.temperature, self.threshold = calibration
        self._options: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "precision": precision,
            "threads": threads,
        }
        self._engine: Engine | None = None
        self._batch_size = batch_size
        self.reading = reading
        self._plain = is_plain(self.spec)

    @property
    def engine(self) -> Engine:
        """The engine that runs the model; made at first use, because it depends on the clip's shape."""
        if self._engine is None:
            self._engine = self.prepare(make_protocol(self.spec))
        return self._engine

    def prepare(self, protocol: Protocol) -> Engine:
        """Load the engine for the clips of a protocol (conversion, compilation, parity check)."""
        shape: tuple[int, ...] = (1, *at_test(self.spec).shape)
        if self._plain:
            length = math.ceil(protocol.window / protocol.frame_stride)
            shape = (self._batch_size or 1, self.spec.channels, length, protocol.crop, protocol.crop)
        self._engine = create_engine(self.network, shape_BCTHW=shape, **self._options)
        return self._engine

    @property
    def batch_size(self) -> int:
        """Windows scored at once: as asked for, else 1 on a CPU (more does not help there), 8 elsewhere."""
        return self._batch_size or (1 if self.engine.device == "cpu" else 8)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The K class names in label order; numbered where the weights name none."""
        numbered = tuple(f"class {label}" for label in range(self.network.num_classes))
        return self.network.class_names or numbered

    def make_protocol(
        self,
        protocol: str = "windows",
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
    ) -> Protocol:
        """`make_protocol` with this model's spec and shortest clip; windows in seconds.

        Raises ValueError for a model that takes what no video file holds, unless zeros may go in.
        """
        lacking = _not_in_videos(self.spec, self.reading)
        if lacking and (self.reading.missing == "error" or len(lacking) == len(self.spec.parts or "1")):
            names = " and ".join(lacking)
            hint = ', or put zeros there by missing="zero"' if len(lacking) < len(self.spec.parts) else ""
            flow = ""
            if takes_flow(self.spec):
                flow = "estimate flow on the way (--flow METHOD), "
            raise ValueError(
                f"{self.name} takes {names}, which is not in a video file: {flow}give the arrays yourself "
                f"(vadis.video.streams.make_inputs), evaluate a dataset that has it{hint}"
            )
        return make_protocol(self.spec, protocol, window_seconds, stride_seconds, self.network.min_frames)

    def score(self, frames_BTHWC: np.ndarray) -> np.ndarray:
        """logits_BK (float32) of uint8 RGB frames_BTHWC, already resized and cropped.

        Divided by the temperature that `vadis evaluate --calibrate --store` put into the model file, if any.
        """
        return self._calibrated(self.engine.run_frames(torch.from_numpy(frames_BTHWC), self.spec))

    def _calibrated(self, logits_BK: Tensor) -> np.ndarray:
        logits = logits_BK.numpy()
        return logits if self.temperature == 1 else logits / np.float32(self.temperature)

    def score_window(
        self,
        cut: Cut,
        video: str,
        rate: float,
        flow: WindowFlow | None = None,
        limits: Limits = Limits(),  # noqa: B008
    ) -> np.ndarray:
        """logits_BK (B = 1) of one window of a video, whatever the model takes of it.

        cut: with whole frames. rate: of them, in Hz. flow: of this video's windows, where they share some.
        Raises VideoError("not_found") where the video lacks something.
        """
        inside = cut.last - cut.first + 1  # a frame beyond the window's end is there for flow alone
        arrays: dict[str, np.ndarray] = {"rgb": cut.frames_THWC[:inside]}
        if self.reading.flow is not None:
            flow = flow or WindowFlow(self.reading.flow, self.flow_device)
            for part in self.spec.parts.values() or (self.spec,):
                if part.modality in FLOW and part.modality not in arrays:
                    lacks = len(cut.frames_THWC) < 2
                    if lacks and self.reading.missing == "zero" and self.spec.parts:
                        continue  # zeros go in
                    arrays[part.modality] = flow.of(cut.frames_THWC, cut.first, part, video)
        sound = next((part.sound for part in self.spec.parts.values() or (self.spec,) if part.sound), None)
        margin = 0.0
        if sound is not None:
            margin = sound.num_samples / sound.sample_rate  # what pictures at the window's ends reach into
            seconds = cut.last_seconds - cut.first_seconds + 1 / rate + 2 * margin
            num_samples = max(1, round(seconds * sound.sample_rate))
            start = cut.first_seconds - margin
            wave_S = read_mono(video, start, num_samples, sound.sample_rate, limits=limits)
            if wave_S is not None:
                arrays["audio"] = wave_S
            elif self.reading.missing == "error" or not self.spec.parts:
                raise VideoError("not_found", video, "this video has no sound", "give one with a sound track")
        inputs = make_inputs(self.spec, arrays, fps=rate, missing=self.reading.missing, sound_margin=margin)
        return self._calibrated(self.engine(inputs))

    @property
    def flow_device(self) -> str:
        """Where flow is estimated on the way: where the model runs."""
        return self.engine.device if self.reading.device == "cpu" else self.reading.device

    def __call__(self, video: str | os.PathLike[str], **options: Any) -> Prediction:
        """The same as `predict`."""
        return self.predict(video, **options)

    def predict(
        self,
        video: str | os.PathLike[str],
        *,
        top_k: int = 5,
        threshold: float | None = None,
        protocol: str = "windows",
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        limits: Limits | None = None,
        untrusted: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """The actions of one video. Raises VideoError where it cannot be read.

        top_k: labels kept per window and for the whole. threshold: a window's best score (0 to 1)
        from which on it belongs to a span (None: the model's own where it is calibrated, else 0.3).
        window_seconds, stride_seconds: by default the model's own
        clip length, one after another. untrusted: decode in a child process under tight limits.
        progress: called with (seconds done, seconds in all or None).
        """
        rule = self.make_protocol(protocol, window_seconds, stride_seconds)
        _check_top_k(top_k)
        self._check_trust(untrusted)
        stream = self._open(video, rule, limits, untrusted)
        with stream:
            return self._predict_stream(stream, os.fspath(video), rule, top_k, threshold, progress, limits)

    def predict_many(
        self,
        videos: Iterable[str | os.PathLike[str]],
        *,
        top_k: int = 5,
        threshold: float | None = None,
        protocol: str = "windows",
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        limits: Limits | None = None,
        untrusted: bool = False,
        workers: int = 2,
        progress: Callable[[str, float, float | None], None] | None = None,
    ) -> Iterator[Prediction]:
        """The actions of many videos, in order; `workers` of them are being decoded at any time.

        A video that cannot be read gives a Prediction whose `error` says why; the others go on.
        progress: called with (video, seconds done, seconds in all or None). Other arguments: `predict`.
        """
        rule = self.make_protocol(protocol, window_seconds, stride_seconds)
        _check_top_k(top_k)
        self._check_trust(untrusted)
        waiting: deque[tuple[str, Stream | VideoError]] = deque()
        names = (os.fspath(video) for video in videos)
        try:
            while True:
                while len(waiting) < max(1, workers) and (name := next(names, None)) is not None:
                    waiting.append((name, self._try_open(name, rule, limits, untrusted)))
                if not waiting:
                    return
                name, stream = waiting[0]
                report = None if progress is None else functools.partial(progress, name)
                try:
                    if isinstance(stream, VideoError):
                        raise stream
                    with stream:
                        result = self._predict_stream(stream, name, rule, top_k, threshold, report, limits)
                except VideoError as error:
                    result = self._failure(name, rule, error)
                waiting.popleft()
                yield result
        finally:
            for _, stream in waiting:
                if not isinstance(stream, VideoError):
                    stream.close()

    def _check_trust(self, untrusted: bool) -> None:
        if untrusted and any(part.sound for part in self.spec.parts.values() or (self.spec,)):
            raise ValueError("sound is decoded in this process, so not of untrusted videos")

    def _failure(self, video: str, protocol: Protocol, error: VideoError) -> Prediction:
        failure = Failure(error.kind, f"{error.message}; {error.hint}")
        return Prediction(video, self.name, self.weights_sha256, protocol.describe(), error=failure)

    def _try_open(
        self, video: str, protocol: Protocol, limits: Limits | None, untrusted: bool
    ) -> Stream | VideoError:
        try:
            return self._open(video, protocol, limits, untrusted)
        except VideoError as error:
            return error

    def _open(
        self, video: str | os.PathLike[str], protocol: Protocol, limits: Limits | None, untrusted: bool
    ) -> Stream:
        if limits is None:
            limits = STRANGER_LIMITS if untrusted else Limits()
        opener = stream_frames_in_child if untrusted else stream_frames
        return prefetch(opener(video, fps=protocol.fps, short_side=protocol.size, limits=limits))

    def _predict_stream(
        self,
        stream: Stream,
        video: str,
        protocol: Protocol,
        top_k: int,
        threshold: float | None,
        progress: Progress | None,
        limits: Limits | None,
    ) -> Prediction:
        if self._engine is None:
            self.prepare(protocol)
        answers = Answers(
            self.name,
            self.weights_sha256,
            self.class_names,
            protocol,
            top_k,
            self.threshold if threshold is None else threshold,
        )
        flow = None
        if self.reading.flow is not None and takes_flow(self.spec):
            flow = WindowFlow(self.reading.flow, self.flow_device)
        for cuts in _in_batches(cut_windows(stream, protocol), self.batch_size if self._plain else 1):
            if self._plain:
                logits_BK = self.score(np.stack([cut.frames_THWC for cut in cuts]))
            else:
                shown = protocol.fps or stream.info.frame_rate or 25.0
                logits_BK = self.score_window(cuts[0], video, shown, flow, limits or Limits())
            for cut, logits_K in zip(cuts, logits_BK, strict=True):
                answers.add(cut, logits_K, stream)
            if progress is not None:
                progress(answers.windows[-1].end_seconds, stream.info.duration_seconds)
        return answers.finish(video, stream)


def _not_in_videos(spec: ClipSpec, reading: Reading) -> list[str]:
    """The modalities of a spec that no video file holds, and that are not made of it on the way."""
    held = {"rgb", "rgb_diff", "audio"} | (FLOW if reading.flow else set())
    return [part.modality for part in spec.parts.values() or (spec,) if part.modality not in held]


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


def _in_batches(cuts: Iterator[Cut], size: int) -> Iterator[list[Cut]]:
    batch: list[Cut] = []
    for cut in cuts:
        if batch and (len(batch) == size or cut.frames_THWC.shape != batch[0].frames_THWC.shape):
            yield batch
            batch = []
        batch.append(cut)
    if batch:
        yield batch


def _load_network(model: str | os.PathLike[str] | VideoModel) -> VideoModel:
    if isinstance(model, VideoModel):
        return model.eval()
    name = os.fspath(model)
    if os.path.isfile(name):  # noqa: PTH113 - a name that is a file is that file
        trained_as = weights.load(name).metadata["model"]
        return create_model(str(trained_as), weights=name).eval()
    if name.endswith(".safetensors") or os.path.basename(name) != name:  # noqa: PTH119 - no path to open
        raise ValueError(f"{name}: no such file; give a .safetensors file or a name (`vadis weights list`)")
    if name in MODELS:
        raise ValueError(
            f"{name!r} names a network without weights, so its answers would be noise; "
            f"name weights too (such as {name}.k400, see `vadis weights list`) or give a file"
        )
    return create_model(name).eval()


@functools.lru_cache(maxsize=2)
def load(
    model: str = DEFAULT_MODEL,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    threads: int | None = None,
    flow: str | None = None,
) -> Predictor:
    """Load a model once and keep it warm for many files (the last two stay loaded). See `Predictor`.

    flow: the method by which flow is estimated for a model that takes it (`vadis.video.flow.METHODS`).
    """
    return Predictor(
        model,
        engine=engine,
        device=device,
        precision=precision,
        batch_size=batch_size,
        threads=threads,
        reading=Reading(flow=flow),
    )


def predict(
    video: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str = DEFAULT_MODEL,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    flow: str | None = None,
    **options: Any,
) -> Prediction | list[Prediction]:
    """The actions of a video (raises VideoError) or of a list of them (errors are in the records).

    options: those of `Predictor.predict` or, for a list, `Predictor.predict_many` (top_k, threshold,
    window_seconds, ...). flow: as `load`. The model stays loaded between calls.
    """
    predictor = load(model, engine=engine, device=device, precision=precision, flow=flow)
    if isinstance(video, str | os.PathLike):
        return predictor.predict(video, **options)
    return list(predictor.predict_many(video, **options))


def cut_spans(prediction: Prediction, folder: str | os.PathLike[str]) -> list[Path]:
    """Write each span of a prediction as a clip of its own (H.264 mp4, sound kept); return the files.

    Files are named after video, times in seconds and class. Raises VideoError as decoding does.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for span in prediction.spans:
        path = target / span_filename(prediction.video, span)
        cut_video(prediction.video, span.start_seconds, span.end_seconds, path)
        files.append(path)
    return files
