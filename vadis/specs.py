"""What a network's input is, said so fully that a video can be turned into it: frames, flow, sound.

Frozen dataclasses that check themselves; sizes are pixels, times seconds, rates Hz.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class SoundSpec:
    """How a picture of sound is made: the log of the power in mel bands, a row a step in time.

    `sample_rate`, `low` and `high` (the ends of the mel bands) are in Hz, `window_seconds` and `hop_seconds`
    in seconds; `fft_size` is in samples (None: the next power of two from the window on). The picture is
    `num_steps` rows (time) by `num_mels` columns. Magnitudes are raised to `power`, summed in bands, `offset`
    is added so that silence has a logarithm; `log` is the natural one, or "db" (10 log10).
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

    def __post_init__(self) -> None:
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

    @property
    def seconds(self) -> float:
        """How much sound one picture shows."""
        return self.num_steps * self.hop_seconds


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
        if self.parts and self.modality != "+".join(self.parts):
            raise ValueError(f"parts {', '.join(self.parts)} do not make the modality {self.modality!r}")

    @property
    def channels(self) -> int:
        """Number of channels of the tensor: of one frame, times `stack`."""
        return len(self.mean) * self.stack

    @property
    def height(self) -> int:
        """Rows of the tensor: pixels, or the steps in time of a picture of sound."""
        return self.crop if self.sound is None else self.sound.num_steps

    @property
    def width(self) -> int:
        """Columns of the tensor: pixels, or the mel bands of a picture of sound."""
        return self.crop if self.sound is None else self.sound.num_mels

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


def spec_from_dict(values: Mapping[str, Any]) -> ClipSpec:
    """The spec that `dataclasses.asdict` took apart, also after a way through JSON."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    fields["parts"] = {name: spec_from_dict(part) for name, part in (values.get("parts") or {}).items()}
    sound = values.get("sound")
    fields["sound"] = SoundSpec(**sound) if sound else None
    return ClipSpec(**fields)
