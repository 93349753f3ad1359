"""What a network's input is, said so fully that a video can be turned into it: frames, flow, sound.

Frozen dataclasses that check themselves; sizes are pixels, times seconds, rates Hz.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

FLOW_BOUND = 20.0
"""Flow is clipped to this many pixels a frame and divided by it, so that it goes in as values in [-1, 1]."""

SOUND_WORDS = {
    "log": ("log", "db"),
    "window": ("hann", "sine"),
    "padding": ("none", "centre", "overlap"),
    "mel": ("htk", "slaney"),
    "triangles": ("mel", "hertz"),
}
"""The words that the fields of a `SoundSpec` take."""


@dataclass(frozen=True)
class SoundSpec:
    """How a picture of sound is made: the log of the power in mel bands, a row a step in time.

    `sample_rate`, `low` and `high` (the ends of the mel bands) are in Hz, `window_seconds` and `hop_seconds`
    in seconds; `fft_size` is in samples (None: the next power of two from the window on). The picture is
    `num_steps` rows (time) by `num_mels` columns. Magnitudes are raised to `power` and summed in bands; then
    `offset` is added and what is below `floor` raised to it, so that silence has a logarithm. `log` is the
    natural one, or "db": 20 log10 of magnitudes, 10 log10 of powers; `decibels` are the two that become 0
    and 1 (what lies beyond is clipped), None leaves them as they are.

    Conventions differ in the rest, too; the defaults are VGGish's. `window`: "hann" (periodic) or "sine",
    its square root. `padding`: "none" takes whole windows of the sound only, "centre" (librosa) half a window
    of silence at both ends, "overlap" (lws) as much as every sample needs to be in all its windows. `mel`:
    the scale, "htk" or "slaney"; `triangles`: bands rise and fall linearly in "mel" or in "hertz";
    `equal_area`: each is divided by half its width in Hz. `loudness`: the root mean square that the sound is
    brought to first, in shares of full scale; None leaves it.
    """

    sample_rate: int = 16_000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_size: int | None = None
    num_mels: int = 64
    low: float = 125.0
    high: float = 7_500.0
    num_steps: int = 96
    log: Literal["log", "db"] = "log"
    power: float = 1.0
    offset: float = 0.01
    floor: float = 0.0
    decibels: tuple[float, float] | None = None
    window: Literal["hann", "sine"] = "hann"
    padding: Literal["none", "centre", "overlap"] = "none"
    mel: Literal["htk", "slaney"] = "htk"
    triangles: Literal["mel", "hertz"] = "mel"
    equal_area: bool = False
    loudness: float | None = None

    def __post_init__(self) -> None:
        for name in ("log", "window", "padding", "mel", "triangles"):
            legal = SOUND_WORDS[name]
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} must be {' or '.join(legal)}, got {getattr(self, name)!r}")
        counts = (self.sample_rate, self.num_mels, self.num_steps)
        if min(counts) < 1 or min(self.window_seconds, self.hop_seconds) <= 0:
            raise ValueError(
                f"sample_rate, num_mels, num_steps, window and hop must be above zero, got {self}"
            )
        if not 0 <= self.low < self.high <= self.sample_rate / 2:
            raise ValueError(
                f"mel bands must lie in 0 <= low < high <= {self.sample_rate / 2:g} Hz (half the sample "
                f"rate), got {self.low:g} to {self.high:g}"
            )
        if min(self.window_samples, self.hop_samples) < 1 or self.fft_samples < self.window_samples:
            raise ValueError(
                f"a window of {self.window_samples} samples every {self.hop_samples} does not fit a "
                f"transform of {self.fft_samples}: give at least one sample of each, and fft_size from the "
                "window on"
            )
        if min(self.offset, self.floor) < 0 or self.offset + self.floor <= 0:
            raise ValueError(
                f"offset or floor must be above zero, so that silence has a logarithm, got {self.offset:g} "
                f"and {self.floor:g}"
            )
        if self.decibels is not None and (self.log != "db" or self.decibels[0] >= self.decibels[1]):
            raise ValueError(f'decibels are two that rise, of log="db", got {self.decibels} of {self.log!r}')

    @property
    def seconds(self) -> float:
        """How much sound one picture shows."""
        return self.num_steps * self.hop_seconds

    @property
    def window_samples(self) -> int:
        """Length of a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """From one window to the next."""
        return round(self.hop_seconds * self.sample_rate)

    @property
    def fft_samples(self) -> int:
        """Length of the transform; a shorter window is filled up with zeros."""
        return self.fft_size or 1 << (self.window_samples - 1).bit_length()

    @property
    def samples_before(self) -> int:
        """Silence in front of the first sample, where `padding` is "overlap": whole hops."""
        return (self.window_samples - 1) // self.hop_samples * self.hop_samples

    @property
    def num_samples(self) -> int:
        """How long a sound makes a whole picture: whole windows, or one hop a step where they are padded."""
        if self.padding == "none":
            return self.window_samples + (self.num_steps - 1) * self.hop_samples
        return self.num_steps * self.hop_samples


VGGISH_SOUND = SoundSpec()
"""Of AudioSet's VGGish (research/audioset in tensorflow/models): 96 x 64, magnitudes, HTK's scale."""

MMACTION2_SOUND = SoundSpec(
    window_seconds=0.032,
    hop_seconds=0.016,
    num_mels=80,
    high=7_600.0,
    num_steps=128,
    log="db",
    offset=0.0,
    floor=1e-5,
    decibels=(-80.0, 20.0),
    window="sine",
    padding="overlap",
    mel="slaney",
    triangles="hertz",
    equal_area=True,
    loudness=0.1,
)
"""Of mmaction2's `build_audio_features.py`: lws' windows, librosa's bands, -80 to 20 dB onto 0 to 1."""


STACKINGS = ("optical", "trajectory", "bidirectional")
"""How flow fields may lie in a stack."""


@dataclass(frozen=True)
class ClipSpec:
    """What a model's input tensor is: everything needed to make it from a video.

    `num_frames` and `frame_stride` describe the tensor that goes in (T and tau of "T x tau"),
    `fps` is the rate in Hz that frames are taken at before the stride (None: the video's own),
    `size` the short side in pixels after resizing, `crop` the side of the square that is cut.
    Pixels 0..255 are mapped linearly onto `value_range`, then `(x - mean) / std` per channel.
    `channel_order` is "bgr" for networks that were trained on OpenCV's order (Caffe and its heirs); mean
    and std are in that order then.

    `stack` is how many successive frames, flow fields (u and v in turn) or differences lie in the channels of
    each of the T positions; `mean` and `std` are of one of them. `sampling` says where the positions lie:
    "clip" takes T of them `frame_stride` apart; "segments" cuts the video into T equal parts and takes one
    from each. `test_frames` is T at test where that is another (None: the same). `modality` is "rgb", "flow"
    (pixels / 20, in [-1, 1]), "warped_flow" (camera motion removed), "rgb_diff" (differences of successive
    frames), "audio" (pictures of `sound`: height is time, width the mel bands, T the number of pictures,
    `size` and `crop` do not matter), or "features" (T vectors of `stack` numbers; `size` and `crop` are 1).

    `stacking` says how flow fields lie in a stack: "optical" one after another, "trajectory" as a point that
    moves along meets them, "bidirectional" the second half forwards, then from the middle frame back through
    the first half; `subtract_mean` takes its mean vector off each field first (`vadis.video.flow_stack`).

    A model of several modalities has one spec for each in `parts`, by the name of its tensor; its own
    modality is those names joined by "+", its other fields those of the first part, which sets the windows.
    """

    modality: str = "rgb"
    num_frames: int = 16
    frame_stride: int = 1
    fps: float | None = None
    size: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    value_range: tuple[float, float] = (0.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    parts: Mapping[str, ClipSpec] = field(default_factory=dict)
    stack: int = 1
    sampling: Literal["clip", "segments"] = "clip"
    test_frames: int | None = None
    sound: SoundSpec | None = None
    stacking: Literal["optical", "trajectory", "bidirectional"] = "optical"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        if min(self.num_frames, self.frame_stride, self.stack, self.test_frames or 1) < 1:
            raise ValueError(
                "num_frames, frame_stride, stack and test_frames must be at least 1, got "
                f"{self.num_frames}, {self.frame_stride}, {self.stack}, {self.test_frames}"
            )
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be a positive number of frames per second or None, got {self.fps}")
        if self.crop > self.size:
            raise ValueError(f"crop ({self.crop} pixels) must not exceed the short side ({self.size} pixels)")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std {len(self.std)}")
        if self.channel_order not in ("rgb", "bgr"):
            raise ValueError(f'channel_order must be "rgb" or "bgr", got {self.channel_order!r}')
        if self.channel_order == "bgr" and len(self.mean) != 3:
            raise ValueError(f"only three channels can be in the order bgr, not {len(self.mean)}")
        if self.sampling not in ("clip", "segments"):
            raise ValueError(f'sampling must be "clip" or "segments", got {self.sampling!r}')
        if (self.modality == "audio") != (self.sound is not None):
            raise ValueError(f'"audio", and nothing else, says its `sound`; {self.modality!r} does not fit')
        if self.stacking not in STACKINGS:
            raise ValueError(f"stacking must be one of {', '.join(STACKINGS)}, got {self.stacking!r}")
        flow = self.parts or self.modality in ("flow", "warped_flow")
        if not flow and (self.stacking != "optical" or self.subtract_mean):
            raise ValueError(f"stacking and subtract_mean are of flow, not of {self.modality}")
        if self.stacking == "bidirectional" and self.stack % 2:
            raise ValueError(f"a bidirectional stack has two halves; {self.stack} fields cannot be halved")
        if self.parts and self.modality != "+".join(self.parts):
            raise ValueError(f"parts {', '.join(self.parts)} do not make the modality {self.modality!r}")

    @property
    def channels(self) -> int:
        """Number of channels of the tensor: of one frame, times `stack`."""
        return len(self.mean) * self.stack

    @property
    def reach(self) -> int:
        """How many successive frames (fields, for flow) a position is made of; differences need one more."""
        return self.stack + 1 if self.modality == "rgb_diff" else self.stack

    @property
    def height(self) -> int:
        """Rows of the tensor: pixels, or the steps in time of a picture of sound."""
        return self.crop if self.sound is None else self.sound.num_steps

    @property
    def width(self) -> int:
        """Columns of the tensor: pixels, or the mel bands of a picture of sound."""
        return self.crop if self.sound is None else self.sound.num_mels

    def describe(self) -> str:
        """What goes in, in words and numbers: modality, positions, stack, pixels; part by part."""
        if self.parts:
            words: dict[str, list[str]] = {}
            for name, part in self.parts.items():
                words.setdefault(part._positions(), []).append(name)
            return "; ".join(f"{', '.join(names)}: {text}" for text, names in words.items())
        return f"{self.modality}, {self._positions()}"

    def _positions(self) -> str:
        """What one tensor holds: how many of what, and of what size."""
        if self.sound is not None:
            size = f"{self.sound.num_steps} steps x {self.sound.num_mels} mel bands"
            return f"{'1 picture' if self.num_frames == 1 else f'{self.num_frames} pictures'} of {size}"
        if self.modality == "features":
            return f"{self.num_frames} clips of {self.stack} numbers"
        one = {"flow": "field", "warped_flow": "field", "rgb_diff": "difference"}.get(self.modality, "frame")
        several = f"{one}s"
        if self.stack > 1:
            one, several = f"stack of {self.stack} {one}s", f"stacks of {self.stack} {one}s"
        count = f"1 {one}" if self.num_frames == 1 else f"{self.num_frames} {several}"
        where = " in segments" if self.sampling == "segments" and self.num_frames > 1 else ""
        stride = f" of stride {self.frame_stride}" if self.frame_stride > 1 else ""
        test = f" ({self.test_frames} at test)" if self.test_frames not in (None, self.num_frames) else ""
        return f"{count}{where}{stride}{test}, {self.crop} x {self.crop}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The tensor of one clip. Of a model of several modalities: that of its first part."""
        return self.channels, self.num_frames, self.height, self.width

    @property
    def shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """The tensor of one clip for each part, by name; one entry, "", where there is one tensor."""
        return {name: part.shape for name, part in (self.parts or {"": self}).items()}


def join_specs(parts: Mapping[str, ClipSpec]) -> ClipSpec:
    """The spec of a model that takes several tensors; the first part sets the windows of time."""
    if not parts:
        raise ValueError("a model takes at least one modality")
    first = next(iter(parts.values()))
    return replace(first, modality="+".join(parts), parts=dict(parts), sound=None)


def adjust(spec: ClipSpec, **given: Any) -> ClipSpec:
    """The spec with other frames (num_frames, frame_stride, fps in Hz) or pixels (size, crop), in each part.

    What is given holds for the first part and for those that agree with it; a part of another number of
    frames keeps its proportion to the first. Sound and features stay as they are. Clips of another number of
    frames in a row have that number at test, too; segments keep theirs, as they are spread over any video.
    """
    parts = {}
    for name, part in spec.parts.items():
        asked = dict(given)
        for key in ("frame_stride", "fps", "size", "crop"):
            if getattr(part, key) != getattr(spec, key):
                asked.pop(key, None)
        if "num_frames" in asked:
            asked["num_frames"] = max(1, round(part.num_frames * asked["num_frames"] / spec.num_frames))
        fixed = part.modality in ("audio", "features")
        parts[name] = part if fixed else _replace(part, asked)
    if not spec.parts and spec.modality in ("audio", "features"):
        given = {key: value for key, value in given.items() if key not in ("size", "crop")}
    return _replace(spec, {**given, "parts": parts})


def _replace(spec: ClipSpec, given: dict[str, Any]) -> ClipSpec:
    if given.get("num_frames", spec.num_frames) != spec.num_frames and spec.sampling == "clip":
        given = {"test_frames": None, **given}
    return replace(spec, **given)


def at_test(spec: ClipSpec) -> ClipSpec:
    """The spec of clips at test: T is `test_frames` where that is another, in each part."""
    return replace(
        spec,
        num_frames=spec.test_frames or spec.num_frames,
        test_frames=None,
        parts={name: at_test(part) for name, part in spec.parts.items()},
    )


def spec_from_dict(values: Mapping[str, Any]) -> ClipSpec:
    """The spec that `dataclasses.asdict` took apart, also after a way through JSON."""
    fields = _tuples(values)
    fields["parts"] = {name: spec_from_dict(part) for name, part in (values.get("parts") or {}).items()}
    sound = values.get("sound")
    fields["sound"] = SoundSpec(**_tuples(sound)) if sound else None
    return ClipSpec(**fields)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
