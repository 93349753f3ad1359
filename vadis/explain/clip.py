"""A network and a clip for it, as the pictures need them: what goes in, and what a person sees of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.fetching import fetch_if_missing
from vadis.models import create_model
from vadis.models.contract import VideoModel
from vadis.models.weights import load
from vadis.specs import ClipSpec
from vadis.video.decode import Video
from vadis.video.transform import centre_crop, prepare_clip


@dataclass(frozen=True)
class Clip:
    """One clip of a video, twice: for the network and for the eye.

    clip_CTHW: float32, normalised, what the network takes. frames_THWC: uint8 RGB, the same crop.
    times_T: seconds on the player's clock. fps: frames a second.
    """

    clip_CTHW: Tensor
    frames_THWC: npt.NDArray[np.uint8]
    times_T: npt.NDArray[np.float64]
    fps: float


def load_network(name: str, weights: str | None = None) -> VideoModel:
    """A network in eval mode: a name, with published weights after a dot or a file of them, or a file alone.

    Fetches published weights that are not there yet, in view. Raises what `create_model` raises.
    """
    if weights is None and os.path.isfile(name):  # noqa: PTH113 - a name that is a file is that file
        weights, name = name, str(load(name).metadata["model"])
    if weights is None:
        fetch_if_missing(name)
    return create_model(name, weights=weights).eval()


def is_trained(model: VideoModel) -> bool:
    """Whether weights were loaded; `create_model` names a network with none after the table's name."""
    return bool(model.class_names or model.weights_sha256 or "." in model.name)


def read_clip(
    video: str | os.PathLike[str],
    spec: ClipSpec,
    *,
    start_seconds: float | None = None,
    num_frames: int | None = None,
) -> Clip:
    """A clip as `spec` wants it: `num_frames` (its own number, if None) from `start_seconds` on.

    Without a start the clip lies in the middle of the video; past the end the last frame is repeated.
    Raises VideoError; ValueError for networks that take no RGB and times outside of the video.
    """
    if spec.modality != "rgb":
        raise ValueError(f"this network takes {spec.modality}; pictures of clips need one that takes rgb")
    count = num_frames or spec.num_frames
    with Video(video, short_side=spec.size) as source:
        times_N = source.frame_times()
        end = float(times_N[-1])
        rate = spec.fps or (float((len(times_N) - 1) / (end - times_N[0])) if len(times_N) > 1 else 25.0)
        extent = (count - 1) * spec.frame_stride / rate
        start = max(0.0, (end - extent) / 2) if start_seconds is None else start_seconds
        if not 0 <= start <= end:
            raise ValueError(f"the clip starts at {start:g} s, but the last frame is shown at {end:.2f} s")
        wanted = start + np.arange(count) * spec.frame_stride / rate
        frames = source.frames_by_time(wanted.clip(max=end).tolist())
    cut_TCHW = centre_crop(frames.frames_TCHW, spec.crop)
    clip_CTHW = prepare_clip(frames.frames_TCHW, spec)
    shown = np.ascontiguousarray(cut_TCHW.permute(0, 2, 3, 1).numpy())
    return Clip(clip_CTHW, shown, wanted, rate / spec.frame_stride)


def blank_clip(spec: ClipSpec, grey: int = 214) -> Clip:
    """A clip of nothing, for pictures of what does not depend on pixels."""
    frames_THWC = np.full((spec.num_frames, spec.crop, spec.crop, 3), grey, dtype=np.uint8)
    fps = (spec.fps or 25.0) / spec.frame_stride
    clip_CTHW = torch.zeros(spec.shape)
    return Clip(clip_CTHW, frames_THWC, np.arange(spec.num_frames) / fps, fps)
