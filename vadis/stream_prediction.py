"""Several models on one video, each on its own stream: frames, flow, sound; and what they say together.

The video is decoded once and cut into windows of time that all streams share. Each model takes of a window
what it takes (frames at its rate, flow estimated on the way, a picture of the sound), and the streams'
softmax scores are averaged, with weights if wanted. Each stream's own answer stands beside what all say.

    models = {"rgb": "rgb.safetensors", "flow": "flow.safetensors"}
    StreamPredictor(models, reading=Reading(flow="dis")).predict("clip.mp4").streams["flow"].labels

Source: Simonyan and Zisserman (arXiv:1406.2199), section 5, who average softmax scores; TSN
(arXiv:1608.00859) weighs flow by 1.5.

Legend: K classes, B batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vadis.answers import Answers
from vadis.data.flow_estimates import WindowFlow
from vadis.data.reading import PLAIN, Reading
from vadis.engines import Engine
from vadis.fusion import weigh
from vadis.models import VideoModel
from vadis.prediction import DEFAULT_MODEL, Predictor, Progress
from vadis.records import Limits, Prediction, VideoError
from vadis.video.decode import Stream
from vadis.windows import (
    DEFAULT_THRESHOLD,
    SEGMENTED_SECONDS,
    Cut,
    Protocol,
    cut_windows,
    make_protocol,
    softmax,
)

DEFAULT_STREAMS = {"rgb": DEFAULT_MODEL, "flow": "i3d_inception_flow.k400_imagenet"}
"""The published models that a stream's name alone stands for."""


def parse_streams(text: str) -> dict[str, str]:
    """Models by the names of their streams, of "rgb=MODEL,flow=MODEL"; or "rgb,flow", the published ones.

    Raises ValueError for a name that comes twice, or has no model.
    """
    found: dict[str, str] = {}
    for word in text.split(","):
        name, _, model = (part.strip() for part in word.partition("="))
        if not name or name in found:
            raise ValueError(f"--streams takes NAME=MODEL,NAME=MODEL of different names, not {text!r}")
        if not model and name not in DEFAULT_STREAMS:
            known = ", ".join(DEFAULT_STREAMS)
            raise ValueError(
                f"no model is published for the stream {name!r} ({known} have one): {name}=MODEL"
            )
        found[name] = model or DEFAULT_STREAMS[name]
    return found


class StreamPredictor(Predictor):
    """Models of several streams that answer together; see `Predictor`, whose methods it has.

    models: by the name of the stream, each as `Predictor` takes it; all of the same classes. weights: of the
    streams in that order (factors, of which only the ratios count); None: all the same. reading.missing:
    "zero" leaves a stream out of a video that does not have it (no sound, one frame), and the record says so
    (`streams[name].error`); otherwise that video fails.
    """

    def __init__(
        self,
        models: Mapping[str, str | os.PathLike[str] | VideoModel],
        *,
        weights: Sequence[float] | None = None,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        reading: Reading = PLAIN,
    ) -> None:
        if not models:
            raise ValueError("name at least one stream")
        shares = (1.0,) * len(models) if weights is None else tuple(float(each) for each in weights)
        if len(shares) != len(models):
            raise ValueError(f"{len(shares)} weights for {len(models)} streams ({', '.join(models)})")
        if min(shares) < 0 or not 0 < sum(shares) < np.inf:
            raise ValueError(f"weights are numbers from 0 on, not all of them 0, got {shares}")
        self.weights = dict(zip(models, shares, strict=True))
        made: dict[str, Predictor] = {}
        for name, model in models.items():
            made[name] = Predictor(
                model, engine=engine, device=device, precision=precision, threads=threads, reading=reading
            )
        self.streams = made
        self.lead = next(iter(made.values()))
        first = next(iter(made))
        self._order = {name: _order_of(each, self.lead, name, first) for name, each in made.items()}
        self.spec = self.lead.spec
        self.name = "+".join(each.name for each in made.values())
        self.weights_sha256 = None
        self.network = self.lead.network
        self.temperature, self.threshold = 1.0, DEFAULT_THRESHOLD
        self.reading = reading
        self._engine: Engine | None = None
        self._batch_size = 1
        self._plain = False

    @property
    def engine(self) -> Engine:
        """The engine of the first stream."""
        return self.lead.engine

    def prepare(self, protocol: Protocol) -> Engine:
        """Load the engines of all streams; returns the first one's."""
        for each in self.streams.values():
            self._engine = each.prepare(make_protocol(each.spec))
        return self.engine

    def make_protocol(
        self,
        protocol: str = "windows",
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
    ) -> Protocol:
        """Windows that all streams share: of the longest clip of frames or flow in a row among them.

        Frames are taken at the highest rate that a stream asks for. Raises ValueError as `Predictor`'s.
        """
        if protocol != "windows":
            raise ValueError("streams share windows: leave out --protocol")
        rules = {name: each.make_protocol() for name, each in self.streams.items()}
        rates = [part.fps for each in self.streams.values() for part in _parts(each) if part.sound is None]
        fps = max((rate for rate in rates if rate is not None), default=None)
        if window_seconds is None:
            in_a_row = [
                rule.window / (rule.fps or 25.0)
                for name, rule in rules.items()
                if all(part.sampling == "clip" and part.sound is None for part in _parts(self.streams[name]))
            ]
            window_seconds = max(in_a_row, default=SEGMENTED_SECONDS)
        ahead = max(rule.ahead for rule in rules.values())
        size = max(rule.size for rule in rules.values())
        base = replace(next(iter(rules.values())), name="streams", fps=fps, size=size, crop=size, ahead=ahead)
        sees = "; ".join(f"{name}: {each.spec.describe()}" for name, each in self.streams.items())
        window = max(1, round(window_seconds * (fps or 25.0)))
        stride = window if stride_seconds is None else max(1, round(stride_seconds * (fps or 25.0)))
        return replace(
            base, window=window, stride=stride, frame_stride=1, loop=False, min_frames=1, sees=sees
        )

    def _check_trust(self, untrusted: bool) -> None:
        for each in self.streams.values():
            each._check_trust(untrusted)

    def _failure(self, video: str, protocol: Protocol, error: VideoError) -> Prediction:
        return replace(super()._failure(video, protocol, error), protocol=self._describe(protocol))

    def _describe(self, protocol: Protocol) -> str:
        shares = ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())
        return f"{protocol.describe()} of each stream; their mean, weighted {shares}"

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
        limit = self.threshold if threshold is None else threshold
        flow = None
        if self.reading.flow is not None and protocol.ahead:
            flow = WindowFlow(self.reading.flow, self.lead.flow_device)
        answers = {
            name: Answers(each.name, each.weights_sha256, self.class_names, protocol, top_k, limit)
            for name, each in self.streams.items()
        }
        fused = Answers(self.name, None, self.class_names, protocol, top_k, limit)
        left_out: dict[str, VideoError] = {}
        rate = protocol.fps or stream.info.frame_rate or 25.0
        for cut in cut_windows(stream, protocol):
            for name in [name for name in answers if name not in left_out]:
                try:
                    logits_K = self._score(name, cut, video, rate, flow, limits or Limits())
                except VideoError as error:
                    if self.reading.missing == "error" or error.kind != "not_found":
                        raise
                    left_out[name] = error
                else:
                    answers[name].add(cut, logits_K, stream)
            present = [name for name in answers if name not in left_out]
            if not any(self.weights[name] for name in present):
                raise next(iter(left_out.values()))
            fused.add(cut, self._fuse({name: answers[name].last() for name in present}), stream)
            if progress is not None:
                progress(fused.windows[-1].end_seconds, stream.info.duration_seconds)
        if not fused.windows:
            raise VideoError("empty", video, "not one frame could be decoded")
        present = [name for name in answers if name not in left_out]
        whole_K = self._fuse({name: answers[name].mean() for name in present})
        own: dict[str, Prediction] = {}
        for name, each in self.streams.items():
            if name in left_out:
                own[name] = each._failure(video, protocol, left_out[name])
            else:
                own[name] = answers[name].finish(video, stream)
        together = fused.finish(video, stream, whole_K)
        return replace(together, protocol=self._describe(protocol), streams=own)

    def _score(
        self, name: str, cut: Cut, video: str, rate: float, flow: WindowFlow | None, limits: Limits
    ) -> np.ndarray:
        """logits_K of one stream, in the order of the first one's classes."""
        logits_K: np.ndarray = self.streams[name].score_window(cut, video, rate, flow, limits)[0]
        return logits_K[self._order[name]]

    def _fuse(self, logits: Mapping[str, np.ndarray]) -> np.ndarray:
        """logits_K whose softmax is the weighted mean of the streams' (logits_K each)."""
        scores_SNK = np.stack([softmax(logits_K)[None] for logits_K in logits.values()])
        mean_NK = weigh(scores_SNK, [self.weights[name] for name in logits])
        return np.log(np.maximum(mean_NK[0], np.finfo(np.float64).tiny))


def _parts(predictor: Predictor) -> list[Any]:
    return list(predictor.spec.parts.values()) or [predictor.spec]


def _order_of(predictor: Predictor, lead: Predictor, name: str, first: str) -> np.ndarray:
    """Where each class of the first stream lies in another's. Raises ValueError for other classes."""
    ours, theirs = lead.class_names, predictor.class_names
    if sorted(ours) != sorted(theirs):
        odd = sorted(set(ours) ^ set(theirs))[:3]
        raise ValueError(
            f"streams answer for the same classes; {first} has {len(ours)}, {name} {len(theirs)}, and only "
            f"one of them knows {', '.join(odd)}: train them on the same data"
        )
    place = {class_name: label for label, class_name in enumerate(theirs)}
    return np.array([place[class_name] for class_name in ours])
