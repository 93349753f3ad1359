"""A skeleton and motions made up by the tests, in the formats of the real files; no network needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vadis.data import mocap
from vadis.data.scene.skeleton import Skeleton

_BONES = {
    "root": ("base", (0, 0, 0)),
    "chest": ("root", (0, 0.9, 0)),
    "neck": ("chest", (0, 0.9, 0)),
}
for _side, _z in (("right", 1), ("left", -1)):
    _BONES |= {
        f"{_side}_hip": ("root", (0, 0, 0.34 * _z)),
        f"{_side}_knee": (f"{_side}_hip", (0, -1.6, 0)),
        f"{_side}_ankle": (f"{_side}_knee", (0, -1.6, 0)),
        f"{_side}_shoulder": ("chest", (-0.1, 1.0, 0.72 * _z)),
        f"{_side}_elbow": (f"{_side}_shoulder", (0, -1.1, 0)),
        f"{_side}_wrist": (f"{_side}_elbow", (0, -1.0, 0)),
    }

URDF = "<robot>" + "".join(
    f'<link name="{name}"/><joint name="{name}"><parent link="{parent}"/><child link="{name}"/>'
    f'<origin xyz="{x} {y} {z}"/></joint>'
    for name, (parent, (x, y, z)) in _BONES.items()
)
URDF += '<link name="base"/></robot>\r\n\0'


def made_skeleton() -> Skeleton:
    """A person of about 1.6 m."""
    return Skeleton.from_urdf(URDF, scale=0.25)


def turn(axis: tuple[float, float, float], degrees: float) -> list[float]:
    """A quaternion wxyz."""
    half = np.radians(degrees) / 2
    return [float(np.cos(half)), *(float(np.sin(half) * value) for value in axis)]


def made_frame(
    root: tuple[float, float, float] = (0.0, 0.88, 0.0),
    *,
    heading: float = 0.0,
    swing: float = 0.0,
    duration: float = 0.1,
) -> list[float]:
    """One frame: turned about Y by `heading` degrees, the arms and legs swung by `swing` degrees."""
    forward, back = turn((0, 0, 1), swing), turn((0, 0, 1), -swing)
    rest = [1.0, 0.0, 0.0, 0.0]
    limb = np.radians(abs(swing))
    right = [*forward, -limb, *rest, *back, limb]
    left = [*back, -limb, *rest, *forward, limb]
    return [duration, *root, *turn((0, 1, 0), heading), *turn((1, 0, 0), swing / 3), *rest, *right, *left]


def made_content(
    frame: Callable[[float], list[float]] | None = None, *, num_frames: int = 11, loop: str = "wrap"
) -> dict[str, object]:
    """The JSON of a motion: frame(k / (num_frames - 1)) for each k; by default a walk of 1 s and 1 m that
    turns by 20 degrees and ends nearly in the pose in which it began."""

    def walk(share: float) -> list[float]:
        return made_frame(
            (share, 0.88 + 0.01 * share, 0.1 * share**2),
            heading=20 * share,
            swing=30 * np.sin(2 * np.pi * share) + 4 * share,
        )

    make = walk if frame is None else frame
    return {"Loop": loop, "Frames": [make(k / (num_frames - 1)) for k in range(num_frames)]}


def made_motion(
    frame: Callable[[float], list[float]] | None = None, *, num_frames: int = 11, loop: str = "wrap"
) -> mocap.Motion:
    """`made_content` as a Motion called "made"."""
    return mocap.parse_motion(made_content(frame, num_frames=num_frames, loop=loop), name="made")
