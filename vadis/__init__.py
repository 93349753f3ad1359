"""vadis: video in, actions out.

The public names are imported when they are first used: `import vadis` loads neither torch nor FFmpeg.
None of them equals the name of a module of this package, which would shadow it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vadis.models import create_model, list_models
    from vadis.prediction import load, predict
    from vadis.records import Limits, Prediction, Span, VideoError
    from vadis.specs import ClipSpec
    from vadis.video.decode import decode, stream_frames
    from vadis.video.probe import probe

__version__ = "0.1.0"

__all__ = [
    "ClipSpec",
    "Limits",
    "Prediction",
    "Span",
    "VideoError",
    "__version__",
    "create_model",
    "decode",
    "list_models",
    "load",
    "predict",
    "probe",
    "stream_frames",
]

HOMES = {
    "ClipSpec": "vadis.specs",
    "Limits": "vadis.records",
    "Prediction": "vadis.records",
    "Span": "vadis.records",
    "VideoError": "vadis.records",
    "create_model": "vadis.models",
    "decode": "vadis.video.decode",
    "list_models": "vadis.models",
    "load": "vadis.prediction",
    "predict": "vadis.prediction",
    "probe": "vadis.video.probe",
    "stream_frames": "vadis.video.decode",
}
"""The module that each public name lives in."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use, and keep it."""
    if name not in HOMES:
        raise AttributeError(f"module 'vadis' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
