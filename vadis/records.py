"""The records that flow through everything: what a clip is, what a video is, what was found.

Frozen dataclasses without behaviour beyond checking themselves. Times are seconds on the player's
clock (0 is where a player's seek bar begins), boxes are xyxy in [0, 1], sizes are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ErrorKind = Literal[
    "not_found",
    "not_video",
    "no_video_stream",
    "refused",
    "too_large",
    "corrupt",
    "empty",
    "timeout",
]

HINTS: dict[ErrorKind, str] = {
    "not_found": "check the path; names are taken literally, no URL or pattern is opened",
    "not_video": "the file is not in a video container that vadis reads (see `vadis doctor`)",
    "no_video_stream": "the file holds sound or subtitles only",
    "refused": "the file asks for other files or protocols, which vadis never opens",
    "too_large": "raise the limit that is named if you trust the file (see `vadis predict --help`)",
    "corrupt": "copy or download the file again; `ffmpeg -i IN -c copy OUT.mkv` sometimes mends the index",
    "empty": "the file has a video stream but not one frame could be decoded",
    "timeout": "raise --timeout if the file is merely long",
}


class VadisError(Exception):
    """What vadis raises on purpose: the message names the file and says what to do."""


class VideoError(VadisError):
    """A video cannot be read. `kind` says why, `video` names it, `hint` says what to do."""

    def __init__(self, kind: ErrorKind, video: str, message: str, hint: str | None = None) -> None:
        self.kind: ErrorKind = kind
        self.video = video
        self.message = message
        self.hint = HINTS[kind] if hint is None else hint
        super().__init__(kind, video, message, self.hint)  # the arguments, so that it pickles

    def __str__(self) -> str:
        return f"{self.video}: {self.message} [{self.kind}]; {self.hint}"


@dataclass(frozen=True)
class Limits:
    """What one video may cost before it is refused with `too_large` or `timeout`.

    `max_pixels` is checked against the size the stream declares and enforced by the decoder itself;
    `max_frames` counts source frames decoded; `wall_seconds` counts only time spent reading and
    decoding, not the time that a slow consumer takes. None switches a limit off.
    """

    max_bytes: int | None = 64 * 2**30
    max_seconds: float | None = 24 * 3600.0
    max_frames: int | None = 10_000_000
    max_pixels: int | None = 8192 * 4320
    wall_seconds: float | None = 6 * 3600.0


STRANGER_LIMITS = Limits(
    max_bytes=2 * 2**30,
    max_seconds=3600.0,
    max_frames=500_000,
    max_pixels=4096 * 2304,
    wall_seconds=600.0,
)
"""The limits for files of strangers (`--untrusted`, and behind a server)."""


@dataclass(frozen=True)
class AudioStream:
    """One audio stream of a file: codec name, sample rate in Hz, number of channels."""

    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its (first) video stream; see `vadis.video.probe`.

    `width` and `height` are pixels after rotation (what a player shows, before sample aspect);
    `rotation` is in degrees clockwise; `start_seconds` is the first frame's PTS in seconds as the file
    states it; `frames_declared` is None where the container does not say, `frames_counted` is None
    unless packets were counted; `frame_rate` is the average, `real_frame_rate` the lowest rate at
    which every timestamp can be stated exactly (FFmpeg's r_frame_rate).
    """

    video: str
    container: str
    codec: str
    pixel_format: str
    bit_depth: int
    width: int
    height: int
    rotation: int
    sample_aspect: float
    duration_seconds: float | None
    frame_rate: float | None
    real_frame_rate: float | None
    variable_frame_rate: bool | None
    frames_declared: int | None
    frames_counted: int | None
    start_seconds: float | None
    interlaced: bool
    audio: tuple[AudioStream, ...]
    size_bytes: int | None


@dataclass(frozen=True)
class DecodeReport:
    """What decoding promised and what it gave, in source frames.

    `frames_expected` is what the container promises for the part that was asked for,
    `frames_decoded` what came out, `frames_corrupt` how many of those the decoder marked as damaged.
    `short` means the file ended (or broke) before its declared end; `repaired` means that the
    timestamps did not increase in output order, so times are index / rate.
    """

    video: str
    frames_expected: int
    frames_decoded: int
    frames_corrupt: int = 0
    short: bool = False
    repaired: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where every promised frame came out undamaged."""
        return not self.short and self.frames_corrupt == 0


@dataclass(frozen=True)
class LabelScore:
    """A label (class index), its class name, and its score (softmax, in [0, 1])."""

    label: int
    class_name: str
    score: float


@dataclass(frozen=True)
class Window:
    """The labels of one window of a video, best first, between two times in seconds."""

    start_seconds: float
    end_seconds: float
    labels: tuple[LabelScore, ...]


@dataclass(frozen=True)
class Span:
    """A labelled interval of a video, in seconds; `score` in [0, 1] where it was predicted."""

    start_seconds: float
    end_seconds: float
    label: int
    class_name: str
    score: float | None = None

    def __post_init__(self) -> None:
        if self.end_seconds < self.start_seconds:
            raise ValueError(f"a span ends ({self.end_seconds} s) before it starts ({self.start_seconds} s)")


class DataError(VadisError):
    """A dataset's files are not understood; the message begins with the file, and its line if it has one."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of one picture: left, top, right, bottom in [0, 1] of the picture's width and height.

    Annotations are kept as they are: a box may stand out of the picture or be empty. `labels` may be several
    (AVA). `person` is the same number in every picture of a video that shows the same person (or tube).
    `frame` is the index of the picture in its video, from 0; None where the example has a key frame or is an
    image. `keypoints` are (x, y, visibility 0, 1 or 2); `outline` are polygons, x and y in turn, all in
    [0, 1]; `runs` is a mask instead, as COCO writes crowds: lengths of 0s and 1s in turn, column by column.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    labels: tuple[int, ...] = ()
    person: int | None = None
    frame: int | None = None
    crowd: bool = False
    keypoints: tuple[tuple[float, float, int], ...] = ()
    outline: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled thing of a dataset: a clip, a key frame with its boxes, a video with spans, an image.

    `video` is relative to the dataset's root: a file, a folder of frames, an image. `id` is what the dataset
    itself calls it. `labels` are class indices: one, several where the dataset is multi-label, none where
    they are hidden; `absent` are classes that annotators denied. The interval is None for the whole video,
    and otherwise in seconds on the clock of the file. `group` names the source: examples of one group must
    never lie on both sides of a split. `spans` are the labelled intervals inside the video. `fps` is the rate
    in Hz at which a folder of frames was extracted, where the dataset says so; `flow` are the patterns of
    its flow pictures, relative to the root: x and y, or one where a picture holds both.
    """

    video: str
    id: str
    labels: tuple[int, ...] = ()
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str = ""
    spans: tuple[Span, ...] = ()
    keyframe_seconds: float | None = None
    boxes: tuple[Box, ...] = ()
    absent: tuple[int, ...] = ()
    duration_seconds: float | None = None
    num_frames: int | None = None
    fps: float | None = None
    flow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """Something odd in a dataset's files: what it is and what was done, how often, and where first."""

    text: str
    count: int
    first: str = ""

    def __str__(self) -> str:
        times = f"{self.count:,} x " if self.count > 1 else ""
        return times + self.text + (f" ({'first: ' if times else ''}{self.first})" if self.first else "")


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset, as its files say. Class names keep their spelling; their order is the label.

    `root` is what the paths of the videos are relative to. `class_groups` maps a group's name to its labels
    (scores are given per group, too). `notes` count what was odd: nothing is left out without one.
    """

    name: str
    root: str
    split: str
    class_names: tuple[str, ...]
    examples: tuple[Example, ...]
    multi_label: bool = False
    class_groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.class_names)) != len(self.class_names):
            twice = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
            raise ValueError(f"{self.name}: two classes have the same name: {', '.join(twice[:3])}")
        num_classes = len(self.class_names)
        for example in self.examples:
            for label in (*example.labels, *example.absent):
                if not 0 <= label < num_classes:
                    raise ValueError(
                        f"{self.name}: {example.id} has the label {label}, there are {num_classes} classes"
                    )
            if len(example.labels) > 1 and not self.multi_label:
                raise ValueError(f"{self.name}: {example.id} has {len(example.labels)} labels, not one")
        for group, labels in self.class_groups.items():
            if any(not 0 <= label < num_classes for label in labels):
                raise ValueError(f"{self.name}: the group {group} has a label outside 0..{num_classes - 1}")

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not this split has examples of each."""
        return len(self.class_names)


@dataclass(frozen=True)
class Failure:
    """Why a video gave no prediction: the `kind` of its VideoError and a sentence."""

    kind: str
    message: str


SCHEMA_VERSION = 1
"""Version of the JSON that `Prediction.to_dict` gives; raised when a field changes its meaning."""


@dataclass(frozen=True)
class Prediction:
    """What one video shows: labels of the whole, of each window, and spans over time.

    `labels` are best first. `frames_expected` and `frames_decoded` count source frames.
    `spans` are maximal runs of windows with the same best label at or above the threshold; where
    there are none, the answer is "none of the known actions" and `labels` holds the best guess. `streams`
    are the answers of single streams, by name, where several were fused into this one; one that was left out
    has an `error` that says why.
    """

    video: str
    model: str
    weights_sha256: str | None
    protocol: str
    duration_seconds: float | None = None
    frames_expected: int | None = None
    frames_decoded: int | None = None
    labels: tuple[LabelScore, ...] = ()
    windows: tuple[Window, ...] = ()
    spans: tuple[Span, ...] = ()
    error: Failure | None = None
    report: DecodeReport | None = None
    streams: Mapping[str, Prediction] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The stable JSON form: seconds as floats, labels as ids and names; `streams` where there are any."""
        plain = self._to_dict()
        if self.streams:
            kept = ("model", "weights_sha256", "labels", "windows", "spans", "error")
            streams = {name: each._to_dict() for name, each in self.streams.items()}
            plain["streams"] = {name: {key: each[key] for key in kept} for name, each in streams.items()}
        return plain

    def _to_dict(self) -> dict[str, Any]:

        def label(item: LabelScore) -> dict[str, Any]:
            return {"label": item.label, "class_name": item.class_name, "score": item.score}

        report = self.report
        return {
            "schema_version": SCHEMA_VERSION,
            "video": self.video,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "protocol": self.protocol,
            "duration_seconds": self.duration_seconds,
            "frames_expected": self.frames_expected,
            "frames_decoded": self.frames_decoded,
            "frames_corrupt": report.frames_corrupt if report else None,
            "short": report.short if report else None,
            "repaired": report.repaired if report else None,
            "labels": [label(item) for item in self.labels],
            "windows": [
                {
                    "start_seconds": window.start_seconds,
                    "end_seconds": window.end_seconds,
                    "labels": [label(item) for item in window.labels],
                }
                for window in self.windows
            ],
            "spans": [
                {
                    "start_seconds": span.start_seconds,
                    "end_seconds": span.end_seconds,
                    "label": span.label,
                    "class_name": span.class_name,
                    "score": span.score,
                }
                for span in self.spans
            ],
            "error": None if self.error is None else {"kind": self.error.kind, "message": self.error.message},
        }


CARD_VERSION = 1
"""Version of the JSON that `EvaluationCard.to_dict` gives; raised when a field changes its meaning."""


@dataclass(frozen=True)
class Missed:
    """An example that an evaluation could not score: its id, its video, why (`Failure.kind`, sentence)."""

    id: str
    video: str
    kind: str
    message: str


@dataclass(frozen=True)
class EvaluationCard:
    """A number and all that it depends on: which network, which files, which protocol, what was missing.

    `num_expected` examples are listed, of `num_files` files; `num_evaluated` were scored, `num_missing` files
    are not there, `num_unreadable` could not be read (all of `failures`, and all of them count as wrong);
    `damaged` names those that were scored although damaged. `list_sha256` is of the list that was evaluated,
    `weights_sha256` of the network's tensors, `source_sha256` of the file that they came from. `gmac` is
    10^9 multiply-adds of one view. `metrics` is what `vadis.evaluation.measure` gives, shares in [0, 1].
    `seconds` are of reading and scoring, `peak_memory` is in bytes: the GPU's, else the process's own.
    A mean over splits has their cards in `splits`.
    """

    model: str
    dataset: str
    split: str
    protocol: Mapping[str, Any]
    protocol_text: str
    num_expected: int
    num_files: int
    num_evaluated: int
    num_missing: int
    num_unreadable: int
    list_sha256: str
    weights_sha256: str
    source_sha256: str | None
    class_names: tuple[str, ...]
    num_parameters: int
    gmac: float
    seconds: float
    peak_memory: int
    device: str
    precision: str
    metrics: Mapping[str, Any]
    multi_label: bool = False
    failures: tuple[Missed, ...] = ()
    damaged: tuple[str, ...] = ()
    calibration: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    splits: tuple[EvaluationCard, ...] = ()

    @property
    def num_views(self) -> int:
        """Clips x crops of one video."""
        return int(self.protocol["num_views"])

    def to_dict(self) -> dict[str, Any]:
        """The stable JSON form; `vadis.evaluation.cards.card_from_dict` reads it back."""
        plain = asdict(self)
        plain["splits"] = [card.to_dict() for card in self.splits]
        return {"schema_version": CARD_VERSION, **plain}
