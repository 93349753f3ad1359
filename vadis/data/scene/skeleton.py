"""Bones and flesh: joint positions from joint rotations, and the rounded cones that make a body of them.

The bones (names, parents, offsets) come from a robot description (URDF); the flesh is ours: a person of
38 rounded cones (the hull of two spheres), each fixed to one bone, so that every point of the surface
moves rigidly with its bone and its motion is known exactly.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vadis.data.scene import quaternions

Array = npt.NDArray[np.float64]

MATERIALS = ("skin", "hair", "shirt", "trousers", "shoes", "dark")
"""What body parts are made of; the index is the material of a part."""


@dataclass(frozen=True)
class Shape:
    """The build of a body, as factors of the default one (all 1): sizes of bones and of flesh.

    `height` scales everything; `legs`, `arms`, `torso` lengthen bones; `thickness` is the girth of limbs
    and trunk, `head` the size of the head, `shoulders` and `hips` their width.
    """

    height: float = 1.0
    legs: float = 1.0
    arms: float = 1.0
    torso: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    thickness: float = 1.0
    head: float = 1.0

    def __post_init__(self) -> None:
        if not all(0.25 <= value <= 4.0 for value in vars(self).values()):
            raise ValueError(f"each factor of a body's shape must lie in 0.25 to 4, got {self}")


@dataclass(frozen=True)
class Part:
    """A rounded cone fixed to a bone: spheres at `start` and `end` (metres, in the bone's frame).

    Where `child` is named, `along` (two fractions of the way to that joint) is added to start and end.
    """

    bone: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii: tuple[float, float]
    material: str
    child: str | None = None
    along: tuple[float, float] = (0.0, 0.0)
    girth: str = "thickness"


def _limbs(side: str, z: float) -> list[Part]:
    """Arm and leg of one side; z is +1 on the right, -1 on the left (the inside of a limb is at -z)."""
    hip, knee, ankle = f"{side}_hip", f"{side}_knee", f"{side}_ankle"
    shoulder, elbow, wrist = f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"
    none = (0.0, 0.0, 0.0)
    return [
        Part(hip, (0, 0.01, -0.008 * z), none, (0.088, 0.066), "trousers", knee, (0.0, 0.55)),
        Part(hip, none, none, (0.066, 0.054), "trousers", knee, (0.55, 1.0)),
        Part(knee, none, (-0.014, 0, 0), (0.053, 0.057), "shin", ankle, (0.0, 0.32)),
        Part(knee, (-0.014, 0, 0), none, (0.057, 0.036), "shin", ankle, (0.32, 0.97)),
        Part(ankle, (-0.028, -0.012, 0), (0.055, -0.02, 0.004 * z), (0.038, 0.032), "shoes"),
        Part(ankle, (0.04, -0.02, -0.008 * z), (0.135, -0.03, 0.004 * z), (0.032, 0.024), "shoes"),
        Part(ankle, (0.04, -0.024, 0.016 * z), (0.11, -0.031, 0.02 * z), (0.028, 0.022), "shoes"),
        Part(shoulder, (0, -0.008, -0.006 * z), none, (0.053, 0.049), "shirt", elbow, (0.0, 0.5)),
        Part(shoulder, none, none, (0.047, 0.04), "sleeve", elbow, (0.45, 1.0)),
        Part(elbow, none, none, (0.041, 0.028), "sleeve", wrist, (0.0, 0.95)),
        Part(wrist, (0, 0.005, 0), (0.006, -0.055, 0), (0.027, 0.034), "skin"),
        Part(wrist, (0.006, -0.055, 0), (0.02, -0.115, 0), (0.034, 0.02), "skin"),
    ]


_EYES = [
    Part("neck", (0.089, 0.176, z), (0.09, 0.176, z), (0.013, 0.012), "dark", girth="head")
    for z in (-0.034, 0.034)
]
_TRUNK = [
    part
    for z in (-1.0, 1.0)
    for part in (
        Part(
            "root",
            (0, 0.075, 0.048 * z),
            (0.004, 0.01, 0.05 * z),
            (0.1, 0.096),
            "shirt",
            "chest",
            (0.0, 0.85),
        ),
        Part("chest", (0.004, -0.03, 0.05 * z), (0.004, 0.12, 0.068 * z), (0.096, 0.096), "shirt"),
        Part("chest", (-0.012, 0.195, 0.03 * z), (-0.02, 0.212, 0.155 * z), (0.076, 0.05), "shirt"),
    )
]

PARTS: tuple[Part, ...] = (
    Part("root", (0, 0.02, -0.064), (0, 0.02, 0.064), (0.1, 0.1), "trousers"),
    *_TRUNK,
    Part("chest", (0.004, -0.03, 0), (0.006, 0.13, 0), (0.099, 0.097), "shirt"),
    Part("chest", (-0.012, 0.2, 0), (0.0, 0.09, 0), (0.06, 0.05), "skin", "neck", (0.0, 1.0)),
    Part("neck", (0.03, 0.105, 0), (0.006, 0.185, 0), (0.063, 0.094), "skin", girth="head"),
    Part("neck", (-0.014, 0.202, 0), (-0.036, 0.135, 0), (0.1, 0.073), "hair", girth="head"),
    Part("neck", (0.09, 0.155, 0), (0.099, 0.135, 0), (0.01, 0.016), "skin", girth="head"),
    *_EYES,
    *_limbs("right", 1.0),
    *_limbs("left", -1.0),
)
"""The default body; `shin` and `sleeve` become skin or cloth with the outfit."""

MARKERS: dict[str, tuple[str, float]] = {
    "head": ("neck", 0.1),
    **{
        f"{side}_{joint}": (f"{side}_{joint}", radius)
        for side in ("right", "left")
        for joint, radius in (
            ("shoulder", 0.056),
            ("elbow", 0.044),
            ("wrist", 0.034),
            ("hip", 0.09),
            ("knee", 0.056),
            ("ankle", 0.042),
        )
    },
}
"""Johansson's 13 lights: the joint each sits on (the head's above the neck) and the flesh there (metres)."""

_HEAD_CENTRE: Array = np.array([0.0, 0.17, 0.0])


@dataclass(frozen=True)
class Flesh:
    """A body's P rounded cones: bone index, the two sphere centres in its frame, radii, material index."""

    bones_P: npt.NDArray[np.intp]
    start_P3: Array
    end_P3: Array
    radii_P2: Array
    materials_P: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Skeleton:
    """J bones: names, parents (-1: none; a parent comes before its children), offsets from the parent."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_J3: Array

    @classmethod
    def from_urdf(cls, text: str, *, scale: float = 1.0) -> Skeleton:
        """Read the links and joints of a robot description; offsets are multiplied by `scale` (metres).

        A massless first link above `root` is left out. Raises ValueError where the text is not such a
        description, is no tree, or lacks the bones that the body's flesh hangs on.
        """
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("a robot description with a DOCTYPE or entities is not read")
        try:
            robot = ElementTree.fromstring(text.rstrip(" \r\n\t\0"))  # noqa: S314 - entities are refused above
        except ElementTree.ParseError as error:
            raise ValueError(f"not a robot description (URDF): {error}") from error
        links: dict[str, tuple[str, Array]] = {}
        for joint in robot.iter("joint"):
            parent, child, origin = joint.find("parent"), joint.find("child"), joint.find("origin")
            if parent is None or child is None:
                raise ValueError("a joint of the robot description has no parent or no child")
            xyz = "0 0 0" if origin is None else origin.get("xyz", "0 0 0")
            offset = np.array([float(value) for value in xyz.split()])
            if offset.shape != (3,) or not np.isfinite(offset).all():
                raise ValueError(f"a joint of the robot description has the origin {xyz!r}")
            links[child.get("link", "")] = (parent.get("link", ""), offset * scale)
        names, pending = ["root"], dict(links)
        pending.pop("root", None)
        parents, offsets = [-1], [np.zeros(3)]
        while pending:
            ready = [name for name, (parent, _) in pending.items() if parent in names]
            if not ready:
                raise ValueError(f"the links {', '.join(sorted(pending))} do not hang on `root`")
            for name in ready:
                parent_name, offset = pending.pop(name)
                parents.append(names.index(parent_name))
                offsets.append(offset)
                names.append(name)
        needed = {part.bone for part in PARTS} | {part.child for part in PARTS if part.child}
        missing = sorted(needed - set(names))
        if missing:
            raise ValueError(f"the skeleton lacks {', '.join(missing)}")
        return cls(tuple(names), tuple(parents), np.array(offsets))

    def shaped(self, shape: Shape) -> Skeleton:
        """The skeleton with bones of another build."""
        offsets = self.offsets_J3 * shape.height
        for i, name in enumerate(self.names):
            limb = name.split("_")[-1]
            if limb in ("knee", "ankle"):
                offsets[i] *= shape.legs
            elif limb in ("elbow", "wrist"):
                offsets[i] *= shape.arms
            elif limb == "hip":
                offsets[i] *= shape.hips
            elif limb == "shoulder":
                offsets[i] *= np.array([1.0, shape.torso, shape.shoulders])
            else:
                offsets[i] *= shape.torso
        return Skeleton(self.names, self.parents, offsets)

    def leg_length(self) -> float:
        """From the hip to the ankle along the bones, in metres."""
        return float(
            sum(
                np.linalg.norm(self.offsets_J3[self.names.index(f"right_{name}")])
                for name in ("knee", "ankle")
            )
        )

    def place(self, root_T3: Array, rotations_TJ4: Array, joints: tuple[str, ...]) -> tuple[Array, Array]:
        """Forward kinematics: positions_TJ3 (metres) and rotations_TJ4 in the world of every bone.

        rotations_TJ4 are relative to the parent, in the order of `joints`; bones not named do not turn.
        """
        count, num_bones = len(root_T3), len(self.names)
        positions, rotations = np.empty((count, num_bones, 3)), np.empty((count, num_bones, 4))
        for i, (name, parent) in enumerate(zip(self.names, self.parents, strict=True)):
            own = rotations_TJ4[:, joints.index(name)] if name in joints else quaternions.IDENTITY
            if parent < 0:
                positions[:, i], rotations[:, i] = root_T3, own
            else:
                above = rotations[:, parent]
                positions[:, i] = positions[:, parent] + quaternions.rotate(above, self.offsets_J3[i])
                rotations[:, i] = quaternions.multiply(above, own)
        return positions, rotations

    def flesh(self, shape: Shape, *, long_sleeves: bool = False, shorts: bool = False) -> Flesh:
        """The rounded cones of a body of this (shaped) skeleton, in the frames of its bones."""
        wear = {"sleeve": "shirt" if long_sleeves else "skin", "shin": "skin" if shorts else "trousers"}
        starts, ends, radii, bones, materials = [], [], [], [], []
        for part in PARTS:
            bone, size = self.names.index(part.bone), shape.height
            girth = shape.head if part.girth == "head" else shape.thickness
            widths = np.array([1.0, 1.0, 1.0])
            if part.bone in ("root", "chest"):
                widths = np.array([1.0, shape.torso, shape.shoulders if part.bone == "chest" else shape.hips])
            elif part.girth == "head":
                widths = np.full(3, shape.head)
            child = np.zeros(3) if part.child is None else self.offsets_J3[self.names.index(part.child)]
            start = np.array(part.start) * size * widths + part.along[0] * child
            end = np.array(part.end) * size * widths + part.along[1] * child
            a, b = (radius * girth * size for radius in part.radii)
            if abs(a - b) >= np.linalg.norm(end - start):  # one sphere would swallow the other
                a = b = max(a, b)
            starts.append(start)
            ends.append(end)
            radii.append((a, b))
            bones.append(bone)
            materials.append(MATERIALS.index(wear.get(part.material, part.material)))
        return Flesh(np.array(bones), np.array(starts), np.array(ends), np.array(radii), np.array(materials))

    def markers(self, positions_TJ3: Array, rotations_TJ4: Array, shape: Shape) -> tuple[Array, Array]:
        """Johansson's lights: their places_TM3 in the world and the flesh_M round each, in metres."""
        places, depths = [], []
        for name, (joint, radius) in MARKERS.items():
            bone = self.names.index(joint)
            place = positions_TJ3[:, bone]
            girth = shape.thickness
            if name == "head":
                girth = shape.head
                lift = _HEAD_CENTRE * shape.height * shape.head
                place = place + quaternions.rotate(rotations_TJ4[:, bone], lift)
            places.append(place)
            depths.append(radius * girth * shape.height)
        return np.stack(places, axis=1), np.array(depths)


def attach(flesh: Flesh, positions_TJ3: Array, rotations_TJ4: Array) -> tuple[Array, Array]:
    """The sphere centres of every part in the world: start_TP3 and end_TP3 (metres)."""
    place, turn = positions_TJ3[:, flesh.bones_P], rotations_TJ4[:, flesh.bones_P]
    return place + quaternions.rotate(turn, flesh.start_P3), place + quaternions.rotate(turn, flesh.end_P3)


def lift_above_ground(low_T: Array, fps: float, smooth_seconds: float = 0.2) -> Array:
    """How far to raise a body at each time so that its lowest point (low_T, metres) is not below 0.

    The lift is a running maximum of what is needed, then averaged, both over `smooth_seconds`: it never
    falls short and has no jerks.
    """
    need = np.maximum(-low_T, 0.0)
    reach = math.ceil(smooth_seconds * fps) if fps > 0 else 0
    if reach == 0:
        return need
    padded = np.pad(need, 2 * reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.asarray(
        np.lib.stride_tricks.sliding_window_view(windows.max(axis=1), 2 * reach + 1).mean(axis=1)
    )
