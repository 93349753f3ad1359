"""What a model says of the windows of a video, gathered into the answer for all of it.

Legend: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vadis.records import Prediction, VideoError, Window
from vadis.video.stream import Stream
from vadis.windows import Cut, Protocol, find_spans, rank_labels, window_of


@dataclass
class Answers:
    """What a model says of the windows of one video, on its way to a `Prediction`.

    threshold: the score (0 to 1) from which on a window belongs to a span.
    """

    model: str
    weights_sha256: str | None
    class_names: Sequence[str]
    protocol: Protocol
    top_k: int
    threshold: float
    windows: list[Window] = field(default_factory=list)
    _total_K: np.ndarray | None = None
    _last_K: np.ndarray | None = None

    def add(self, cut: Cut, logits_K: np.ndarray, stream: Stream) -> None:
        """One more window of the stream, with the model's logits_K."""
        self._last_K = logits_K
        self._total_K = logits_K.astype(np.float64) + (0.0 if self._total_K is None else self._total_K)
        labels = rank_labels(logits_K, self.class_names, self.top_k)
        start, rate = stream.start_seconds or 0.0, stream.info.frame_rate
        self.windows.append(window_of(cut, labels, self.protocol, start, rate))

    def last(self) -> np.ndarray:
        """The logits_K of the latest window."""
        if self._last_K is None:
            raise ValueError("there is no window yet")
        return self._last_K

    def mean(self) -> np.ndarray:
        """The mean of the windows' logits_K."""
        if self._total_K is None:
            raise ValueError("there is no window yet")
        return self._total_K / len(self.windows)

    def finish(self, video: str, stream: Stream, logits_K: np.ndarray | None = None) -> Prediction:
        """The answer, once the stream has ended. logits_K: of the whole video, if not the windows' mean.

        Raises VideoError("empty") where there was no window.
        """
        if not self.windows:
            raise VideoError("empty", video, "not one frame could be decoded")
        # windows last until their last frame stops being shown, and none lasts longer than the video
        end = (stream.start_seconds or 0.0) + (stream.duration_seconds or 0.0)
        windows = [
            replace(each, end_seconds=max(each.start_seconds, min(each.end_seconds, end)))
            for each in self.windows
        ]
        report = stream.report
        whole_K = self.mean() if logits_K is None else logits_K
        return Prediction(
            video=video,
            model=self.model,
            weights_sha256=self.weights_sha256,
            protocol=self.protocol.describe(),
            duration_seconds=stream.duration_seconds,
            frames_expected=report.frames_expected,
            frames_decoded=report.frames_decoded,
            labels=rank_labels(whole_K, self.class_names, self.top_k),
            windows=tuple(windows),
            spans=find_spans(windows, self.threshold),
            report=report,
        )
