"""One tensor, or one for each modality: how what a network takes is held, and made of arrays.

    make_inputs(spec, {"rgb": frames_THWC, "flow": flow_THW2, "audio": wave_S}, fps=25)

Frames, flow fields and sound of a whole video become the tensors of one clip as the spec of any network says:
in segments or in a row, stacked, as differences, cut and normalised. Who has the arrays need not know which
network they are for.

Legend: T frames or positions, L frames or fields stacked as channels, C channels, H W pixels, S samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vadis.specs import FLOW_BOUND, ClipSpec, SoundSpec, at_test
from vadis.video import sample
from vadis.video.flow_stack import arrange
from vadis.video.spectrogram import log_mel
from vadis.video.transform import FLOW, prepare_clip

log = logging.getLogger(__name__)

CLOCK_SLACK = 1e-6  # frames or ticks by which a quotient may miss the one that it means

Tensors = Tensor | dict[str, Tensor]
"""What goes into a network: one tensor, or one for each part of its spec, by name."""


def each(function: Callable[[Tensor], Tensor], tensors: Tensors) -> Tensors:
    """`function` of the tensor (of any shape), or of each of them by name."""
    if isinstance(tensors, Tensor):
        return function(tensors)
    return {name: function(tensor) for name, tensor in tensors.items()}


def leader(tensors: Tensors) -> Tensor:
    """The tensor, or the first of them (any shape): what all have in common can be read off it."""
    return tensors if isinstance(tensors, Tensor) else next(iter(tensors.values()))


def make_inputs(
    spec: ClipSpec,
    arrays: Mapping[str, NDArray[np.generic]],
    *,
    fps: float = 25.0,
    missing: Literal["error", "zero"] = "error",
    sound_margin: float = 0.0,
) -> Tensors:
    """What a network takes, of the arrays of a whole video: one clip_BCTHW with B = 1, or one by name.

    arrays: "rgb", uint8 frames_THWC; "flow" or "warped_flow", float flow_THW2 in pixels a frame, field i from
    frame i to frame i + 1 (for a stack of both ways the flow back from i + 1 to i as two more channels);
    "audio", a mono wave_S at the spec's sample rate that begins with the first frame. fps: of the frames, in
    Hz; a spec with a rate of its own gets those that are shown at its ticks. Positions are those of tests:
    the middle of the video, or of each segment; the other parts follow the first.
    missing: "zero" puts zeros where a modality is lacking, and warns. sound_margin: seconds of the sound that
    lie before the first frame, and as many after the last (a picture of sound reaches beyond its moment).
    Raises ValueError for what is lacking or has another shape.
    """
    spec = at_test(spec)
    parts = spec.parts or {"": spec}
    sources = {name: _source_of(part) for name, part in parts.items()}
    lacking = [name for name, source in sources.items() if source not in arrays]
    lead = next((name for name in parts if name not in lacking and parts[name].sound is None), None)
    words = ", ".join(sources[name] for name in lacking)
    if lacking and (missing == "error" or lead is None):
        hint = '; missing="zero" puts zeros there' if lead is not None else ""
        raise ValueError(f"the network takes {words} as well, got {', '.join(arrays) or 'nothing'}{hint}")
    if lacking:
        log.warning("there is no %s: zeros go in, and the scores are worth less", words)
    if lead is None:  # sound alone
        lead = next(iter(parts))
        heard = len(arrays["audio"]) / _sound_of(parts[lead]).sample_rate - 2 * sound_margin
        total = max(1, int(heard * fps + CLOCK_SLACK))
    else:
        total = len(arrays[sources[lead]])
    chosen_T = _positions(total, parts[lead], fps)
    found = {}
    for name, part in parts.items():
        if name in lacking:
            found[name] = torch.zeros(1, *part.shape)
            continue
        places_T = chosen_T if name == lead else _follow(chosen_T, parts[lead], part, fps)
        found[name] = _make_one(part, arrays[sources[name]], places_T, fps, sound_margin)[None]
    return found if spec.parts else found[""]


def picture_sounds(
    wave_S: NDArray[np.generic], seconds_T: NDArray[np.float64], sound: SoundSpec
) -> NDArray[np.float32]:
    """pictures_THW: log-mel pictures about some times (seconds of the waveform), H steps by W bands.

    wave_S: mono, at the sample rate of `sound`; silence lies before and after it.
    """
    length, starts_T = sound.num_samples, []
    for seconds in seconds_T:
        starts_T.append(round(float(seconds) * sound.sample_rate) - length // 2)
    before = max(0, -min(starts_T))
    after = max(0, max(starts_T) + length - len(wave_S))
    padded_S = np.pad(np.asarray(wave_S, np.float32), (before, after))
    cut = [padded_S[before + start : before + start + length] for start in starts_T]
    return np.stack([log_mel(piece_S, sound)[: sound.num_steps] for piece_S in cut])


def _source_of(spec: ClipSpec) -> str:
    if spec.modality == "features":
        raise ValueError("the network takes features, not frames: stack them as (B, D, T, 1, 1) yourself")
    return "rgb" if spec.modality == "rgb_diff" else spec.modality


def _sound_of(spec: ClipSpec) -> SoundSpec:
    if spec.sound is None:
        raise ValueError(f"{spec.modality} is not sound")
    return spec.sound


def _positions(total: int, spec: ClipSpec, fps: float) -> sample.Indices:
    """The frames of the one clip of a test, counted in ticks where the spec has a rate."""
    rate = fps if spec.fps is None else spec.fps
    ticks = max(1, math.ceil(total / fps * rate - CLOCK_SLACK))
    if spec.sampling == "segments":
        chosen_T = sample.tsn_test_segments(ticks, spec.num_frames, spec.reach)
    else:
        chosen_T = sample.uniform_clips(ticks, 1, spec.num_frames, spec.frame_stride)[0]
    shown_T = np.floor(chosen_T / rate * fps + CLOCK_SLACK).astype(np.int64)
    return np.clip(shown_T, 0, total - 1)


def _follow(places_T: sample.Indices, lead: ClipSpec, spec: ClipSpec, fps: float) -> sample.Indices:
    """The same places where the paces agree; else as many as the spec has, about their middle."""
    pace = ("num_frames", "frame_stride", "fps", "sampling")
    if all(getattr(spec, name) == getattr(lead, name) for name in pace):
        return places_T
    middle = (places_T[0] + places_T[-1]) / 2
    stride = spec.frame_stride * (fps / spec.fps if spec.fps else 1.0)
    offsets_T = (np.arange(spec.num_frames) - (spec.num_frames - 1) / 2) * stride
    return np.floor(middle + offsets_T + 0.5).astype(np.int64)


def _make_one(
    spec: ClipSpec, array: NDArray[np.generic], places_T: sample.Indices, fps: float, sound_margin: float
) -> Tensor:
    """clip_CTHW of one part."""
    if spec.sound is not None:
        if array.ndim != 1:
            raise ValueError(f"sound is a mono waveform of one axis, got shape {array.shape}")
        pictures_THW = torch.from_numpy(picture_sounds(array, sound_margin + places_T / fps, spec.sound))
        mean, std = spec.mean[0], spec.std[0]
        pictures_THW = (pictures_THW - mean) / std
        return pictures_THW[None].repeat(len(spec.mean), 1, 1, 1)
    both_ways = spec.stacking == "bidirectional"
    channels = len(spec.mean) * (2 if both_ways else 1)
    if array.ndim != 4 or array.shape[3] != channels:
        raise ValueError(f"{spec.modality} is (T, H, W, {channels}), got shape {array.shape}")
    places_TL = np.clip(places_T[:, None] + np.arange(spec.reach), 0, len(array) - 1)
    if spec.modality in FLOW:
        stacks = [
            arrange(fields[..., :2], spec, fields[..., 2:] if both_ways else None)
            for fields in (array[places_L].astype(np.float32) for places_L in places_TL)
        ]
        stacks_TCHW = torch.from_numpy(np.stack(stacks)).permute(0, 3, 1, 2)
        pixels_TCHW = ((stacks_TCHW / FLOW_BOUND).clamp(-1, 1) + 1) * 127.5  # as pictures hold it
        return prepare_clip(pixels_TCHW, spec)
    frames_TLHWC = torch.from_numpy(np.ascontiguousarray(array[places_TL]))
    return prepare_clip(frames_TLHWC.permute(0, 1, 4, 2, 3).flatten(1, 2), spec)
