"""Optical flow by OpenCV, which comes with the extra `flow`: DIS, Farneback and TV-L1, one pair at a time.

Grey pictures go in (Rec. 601 weights, rounded to 8 bits). Parameters without a word here are OpenCV's own:
Kroeger et al., ECCV 2016 (DIS); Farneback, SCIA 2003; Zach, Pock and Bischof, DAGM 2007, with the median
filter and the iterations of Sanchez et al., IPOL 2013 (TV-L1).

Legend: T frames, N pairs, H W pixels, C channels, 2 u (to the right) and v (down).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FieldsOf = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float32]]
"""Of frames_THWC and starts_N: fields_NHW2, field k from frame starts_N[k] to the one after it."""

_MINDED: list[bool] = []

_DIS_PRESETS = ("ultrafast", "fast", "medium")
_DIS_SMALLEST = 16  # pixels; below 12 OpenCV refuses the picture, so it is continued at its edges


def opencv() -> Any:
    """The module cv2. Raises ImportError that says how to install it."""
    try:
        import cv2
    except ImportError as error:
        hint = 'OpenCV is not installed: pip install "vadis[flow]"'
        raise ImportError(hint) from error
    if not _MINDED:
        _mind_forks(cv2)
    return cv2


def _mind_forks(cv2: Any) -> None:
    """Let OpenCV's threads end before a process forks: a child waits for ever for threads that it has not."""
    _MINDED.append(True)
    count = [cv2.getNumThreads()]

    def end_threads() -> None:
        count[0] = cv2.getNumThreads()
        cv2.setNumThreads(1)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=end_threads, after_in_parent=lambda: cv2.setNumThreads(count[0]))


def grey(frames_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """frames_THW: RGB frames as grey ones, by OpenCV."""
    cv2 = opencv()
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames_THWC])


def _by_opencv(make_engine: Callable[[], Any], smallest: int = 1) -> FieldsOf:
    """Fields by an object of OpenCV that knows one pair of grey pictures at a time.

    Each pair gets a new one: that of DIS keeps something of the pair before (0.006 pixels in OpenCV 5.0).
    """

    def fields_of(frames_THWC: NDArray[np.uint8], starts_N: NDArray[np.int64]) -> NDArray[np.float32]:
        height, width = frames_THWC.shape[1:3]
        below, right = max(0, smallest - height), max(0, smallest - width)
        used = np.unique(np.concatenate([starts_N, starts_N + 1]))
        frames_THW = np.pad(grey(frames_THWC[used]), ((0, 0), (0, below), (0, right)), mode="edge")
        place = {int(frame): index for index, frame in enumerate(used)}
        fields_NHW2 = np.empty((len(starts_N), height, width, 2), np.float32)
        for index, start in enumerate(starts_N.tolist()):
            field_HW2 = make_engine().calc(frames_THW[place[start]], frames_THW[place[start + 1]], None)
            fields_NHW2[index] = field_HW2[:height, :width]
        return fields_NHW2

    return fields_of


def make_dis(device: str, batch_size: int | None, options: dict[str, Any]) -> FieldsOf:
    """Ready to estimate by dense inverse search."""
    check_options("dis", options, ("preset",))
    preset = options.get("preset", "fast")
    if preset not in _DIS_PRESETS:
        raise ValueError(f"preset of dis must be one of {', '.join(_DIS_PRESETS)}, got {preset!r}")
    make = opencv().DISOpticalFlow_create
    return _by_opencv(lambda: make(_DIS_PRESETS.index(preset)), _DIS_SMALLEST)


def make_farneback(device: str, batch_size: int | None, options: dict[str, Any]) -> FieldsOf:
    """Ready to estimate by Farneback's method."""
    defaults = {
        "levels": 5,
        "pyramid_scale": 0.5,
        "window": 13,
        "iterations": 10,
        "poly_n": 5,
        "poly_sigma": 1.1,
    }
    check_options("farneback", options, tuple(defaults))
    chosen = defaults | options
    names = {
        "levels": "numLevels",
        "pyramid_scale": "pyrScale",
        "window": "winSize",
        "iterations": "numIters",
        "poly_n": "polyN",
        "poly_sigma": "polySigma",
    }
    arguments = {names[key]: value for key, value in chosen.items()}
    make = opencv().FarnebackOpticalFlow_create
    return _by_opencv(lambda: make(**arguments))


def make_tvl1_opencv(device: str, batch_size: int | None, options: dict[str, Any]) -> FieldsOf:
    """Ready to estimate by OpenCV's TV-L1."""
    defaults: dict[str, Any] = {  # in the order of its parameters: their names differ between versions
        "tau": 0.25,
        "lambda_": 0.15,
        "theta": 0.3,
        "scales": 5,
        "warps": 5,
        "epsilon": 0.01,
        "inner_iterations": 30,
        "outer_iterations": 10,
        "scale_step": 0.8,
        "gamma": 0.0,
        "median": 5,
    }
    check_options("tvl1_opencv", options, tuple(defaults))
    cv2 = opencv()
    if not hasattr(cv2, "optflow"):
        hint = (
            'this OpenCV has no contributed modules: pip uninstall opencv-python, pip install "vadis[flow]"'
        )
        raise ImportError(hint)
    arguments = (defaults | options).values()
    return _by_opencv(lambda: cv2.optflow.DualTVL1OpticalFlow_create(*arguments))


def check_options(method: str, options: dict[str, Any], legal: tuple[str, ...]) -> None:
    """Raise ValueError for options that a method does not have."""
    unknown = sorted(set(options) - set(legal))
    if unknown:
        raise ValueError(f"{method} has the options {', '.join(legal)}, not {', '.join(unknown)}")
