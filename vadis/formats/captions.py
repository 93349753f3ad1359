"""The spans of a prediction as captions (WebVTT), for every player and every `<track>` on a web page."""

from __future__ import annotations

from vadis.formats.table import spell_out
from vadis.records import Prediction


def to_vtt(prediction: Prediction) -> str:
    """The spans of a prediction as WebVTT captions: `class name 0.87` while the span lasts.

    Where there are no spans one caption says so, with the best guess; a video that failed has a note and
    no caption. Names are escaped, so nothing in them ends a cue or is taken for markup.
    """
    about = [f"video: {prediction.video}", f"model: {prediction.model}", f"protocol: {prediction.protocol}"]
    if prediction.error is not None:
        about.append(f"error: {prediction.error.kind}: {prediction.error.message}")
    blocks = ["WEBVTT", "NOTE\n" + "\n".join(_escape_vtt(line) for line in about)]
    cues = [(span.start_seconds, span.end_seconds, span.class_name, span.score) for span in prediction.spans]
    ends = [window.end_seconds for window in prediction.windows]
    end = prediction.duration_seconds or max(ends, default=0.0)
    if not cues and prediction.labels and end > 0:
        best = prediction.labels[0]
        cues = [(0.0, end, f"none of the known actions; best guess: {best.class_name}", best.score)]
    for start, stop, name, score in cues:
        stop = max(stop, start + 0.001)  # a cue must last
        text = _escape_vtt(name) + ("" if score is None else f" {score:.2f}")
        blocks.append(f"{vtt_time(start)} --> {vtt_time(stop)}\n{text}")
    return "\n\n".join(blocks) + "\n"


def vtt_time(seconds: float) -> str:
    """Seconds as `hh:mm:ss.mmm`; hours take as many digits as they need."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _escape_vtt(text: str) -> str:
    text = spell_out(" ".join(text.split())) or "(no name)"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
