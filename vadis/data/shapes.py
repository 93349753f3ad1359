"""`shapes`: 25 classes of moving shapes that ask what a network sees: one frame, motion, the order of time.

Some classes are told by one frame (which shape), some by no single frame (how it moves), some come in pairs
that are the same films played forwards and backwards, and some ask whether the object or the camera moved.
Everything is drawn by arithmetic from (seed, fold, class, index): no files, no download.

| group | classes | told apart by |
|---|---|---|
| appearance | disc square triangle star cross ring | any frame: the outline; the motion is a slow sway |
| motion | left right up down, clockwise anticlockwise, grow shrink, swing_slow swing_fast | no single frame |
| reversed | approach recede, gather scatter, fill drain | a frame tells the pair; within it, only the order |
| camera | camera_pans camera_follows camera_passes | no single frame: object against background |

Why no single frame tells a motion or camera class: the picture is a torus (what leaves on one side comes in
on the other), and place, angle and the logarithm of the size start anywhere in a whole period. A shift along
a period keeps the uniform distribution, so each frame of each of these 13 classes has the same
distribution. That growth starts again from the smallest size, with a jump, is the price.

Suffixes: T frames, H W pixels, N points, 2 xy. Lengths are shares of the picture's side, y is down, angles
turn clockwise as seen; time is the share of the clip that has passed, t / T.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vadis.data.shape_sounds import plan_sound

Array = npt.NDArray[np.float64]

APPEARANCE = ("disc", "square", "triangle", "star", "cross", "ring")
MOTION = (
    *("left", "right", "up", "down"),
    *("clockwise", "anticlockwise", "grow", "shrink", "swing_slow", "swing_fast"),
)
REVERSED_PAIRS = (("approach", "recede"), ("gather", "scatter"), ("fill", "drain"))
CAMERA = ("camera_pans", "camera_follows", "camera_passes")

CLASS_NAMES = (*APPEARANCE, *MOTION, *(name for pair in REVERSED_PAIRS for name in pair), *CAMERA)
"""In the order of their labels."""

CLASS_GROUPS = {
    "appearance": tuple(range(0, 6)),
    "motion": tuple(range(6, 16)),
    "reversed": tuple(range(16, 22)),
    "camera": tuple(range(22, 25)),
}
"""The labels of each group."""

SIZE, NUM_FRAMES, FPS = 64, 16, 25.0
"""The defaults: side in pixels, frames of a clip, frames per second of a written clip."""

_BACKWARDS = {second: first for first, second in REVERSED_PAIRS}
_SMALLEST, _LARGEST = 0.11, 0.25  # radius of the object
_WAVES = 7  # the finest ripples of the background, in periods per side
_TABLE = 1024  # angles in the table of an outline


def plan_clip(
    class_name: str, fold: int, index: int, seed: int = 0, *, sound: bool = False
) -> dict[str, Any]:
    """What one clip shows, as numbers that JSON can hold; `draw_clip` draws it.

    The second of a reversed pair has the plan of the first with `"backwards": true`. sound: with what it
    sounds like, as `"sound"` (`vadis.data.shape_sounds`); what it shows stays as it is. Raises ValueError for
    a class that is not listed.
    """
    if class_name not in CLASS_NAMES:
        raise ValueError(f"no class of shapes is called {class_name!r}; there are {', '.join(CLASS_NAMES)}")
    if sound:
        heard = plan_sound(class_name, CLASS_NAMES.index(class_name), fold, index, seed)
        return plan_clip(class_name, fold, index, seed) | {"sound": heard}
    forwards = _BACKWARDS.get(class_name, class_name)
    random = np.random.default_rng([seed, fold, CLASS_NAMES.index(forwards), index])
    plan = {
        "kind": forwards,
        "backwards": class_name in _BACKWARDS,
        "background_seed": int(random.integers(2**32)),
        "background": [_colour(random, 0.02, 0.15), _colour(random, 0.3, 0.5)],
        "colours": [_colour(random, 0.75, 1.0), _colour(random, 0.55, 1.0)],
        "negative": bool(random.random() < 0.5),
    }
    if forwards in APPEARANCE:
        return plan | _object(random, angle=random.uniform(-0.06, 0.06)) | _sway(random)
    if forwards in MOTION or forwards in CAMERA:
        blob = {"blob": random.uniform(-1, 1, (3, 2)).round(4).tolist()}
        return plan | blob | _object(random, angle=random.uniform(0, 1)) | _move(forwards, random)
    return plan | _pair(forwards, random)


def draw_clip(plan: dict[str, Any], size: int = SIZE, num_frames: int = NUM_FRAMES) -> npt.NDArray[np.uint8]:
    """The clip of a plan: frames_THWC, `num_frames` RGB pictures of `size` x `size` pixels.

    A backwards plan gives exactly the frames of its forward twin in reversed order. Raises ValueError for
    clips too small to show anything.
    """
    if size < 32 or num_frames < 4:
        raise ValueError(
            f"a clip of shapes needs at least 32 pixels and 4 frames, got {size} and {num_frames}"
        )
    time_T = np.arange(num_frames) / num_frames
    kind = plan["kind"]
    camera_2 = np.array(plan.get("camera", (0.0, 0.0)))
    picture = _background(plan, time_T[:, None] * camera_2, size)
    if kind in ("approach", "gather", "fill"):
        first, second = {"approach": _rings, "gather": _dots, "fill": _glass}[kind](plan, time_T, size)
    else:
        first, second = _thing(plan, time_T, size)
    for cover_THW, colour in ((first, plan["colours"][0]), (second, plan["colours"][1])):
        picture += cover_THW[..., None] * (np.array(colour) - picture)
    if plan["negative"]:
        picture = 1 - picture
    frames = np.rint(picture * 255).astype(np.uint8)
    return np.ascontiguousarray(frames[::-1]) if plan["backwards"] else frames


def _colour(random: np.random.Generator, low: float, high: float) -> list[float]:
    """A colour of any hue whose strongest part is between low and high."""
    part = random.uniform(0.25, 1, 3)
    return [round(float(value), 4) for value in part / part.max() * random.uniform(low, high)]


def _object(random: np.random.Generator, angle: float) -> dict[str, Any]:
    """Where an object starts: anywhere on the torus, of any size; `angle` in turns."""
    return {
        "place": random.uniform(0, 1, 2).tolist(),
        "angle": float(angle),
        "scale": float(random.uniform(0, 1)),  # 0 the smallest, 1 the largest, logarithmic
    }


def _sway(random: np.random.Generator) -> dict[str, Any]:
    """The slow, small motion of the appearance classes."""
    direction, amount = random.uniform(0, 2 * np.pi), random.uniform(0.04, 0.12)
    return {
        "swing": [amount * math.cos(direction), amount * math.sin(direction)],
        "cycles": float(random.uniform(0.3, 0.8)),
        "phase": float(random.uniform(0, 1)),
    }


def _move(kind: str, random: np.random.Generator) -> dict[str, Any]:
    """How a motion or camera class moves: velocity, turns, growth and swings per clip."""
    direction, way = random.uniform(0, 2 * np.pi), random.uniform(0.45, 0.9)
    heading = np.array([math.cos(direction), math.sin(direction)])
    if kind in ("left", "right", "up", "down"):
        step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[kind]
        return {"velocity": [way * step[0], way * step[1]]}
    if kind in ("clockwise", "anticlockwise"):
        return {"turns": float(way if kind == "clockwise" else -way)}
    if kind in ("grow", "shrink"):
        return {"growth": float(way if kind == "grow" else -way)}
    if kind in ("swing_slow", "swing_fast"):
        cycles = random.uniform(1.0, 1.3) if kind == "swing_slow" else random.uniform(3.0, 3.9)
        swing = heading * random.uniform(0.1, 0.2)
        return {"swing": swing.tolist(), "cycles": float(cycles), "phase": float(random.uniform(0, 1))}
    drift = (heading * way).tolist()
    velocity = {"camera_pans": 1.0, "camera_follows": 0.0, "camera_passes": -1.0}[kind]
    return {"camera": drift, "velocity": (heading * way * velocity).tolist()}


def _pair(kind: str, random: np.random.Generator) -> dict[str, Any]:
    """The forward member of a reversed pair. Both ends are random, so that neither is known by its value."""
    middle = random.uniform(0.42, 0.58, 2).tolist()
    if kind == "approach":
        distances = [float(random.uniform(2.4, 4.2)), float(random.uniform(0.9, 1.3))]
        aside = random.uniform(-0.1, 0.1, 2).tolist()
        return {"middle": middle, "distances": distances, "aside": aside}
    if kind == "gather":
        angle, reach = random.uniform(0, 2 * np.pi, 20), np.sqrt(random.uniform(0.15, 1, 20))
        dots = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        spread = [float(random.uniform(0.3, 0.4)), float(random.uniform(0.05, 0.12))]
        return {"middle": middle, "dots": dots.round(4).tolist(), "spread": spread}
    box = [float(random.uniform(0.16, 0.3)), float(random.uniform(0.25, 0.36))]
    levels = [float(random.uniform(0.03, 0.2)), float(random.uniform(0.8, 0.97))]
    return {"middle": middle, "box": box, "levels": levels}


def _background(plan: dict[str, Any], shift_T2: Array, size: int) -> Array:
    """A smooth pattern between two colours, moved along the torus by shift_T2: (T,H,W,3) in [0, 1].

    A sum of waves of whole periods per side: a shift turns their phases, exactly and for any fraction.
    """
    random = np.random.default_rng(plan["background_seed"])
    down, across = np.mgrid[-_WAVES : _WAVES + 1, 0 : _WAVES + 1]
    strength = 1 / (1 + np.hypot(down, across)) * (np.hypot(down, across) <= _WAVES)
    waves = strength * np.exp(2j * np.pi * random.uniform(0, 1, strength.shape))
    waves /= math.sqrt(float((np.abs(waves) ** 2).sum()))
    still = not shift_T2.any()
    shifts = shift_T2[:1] if still else shift_T2
    turn = np.exp(-2j * np.pi * (across * shifts[:, :1, None] + down * shifts[:, 1:, None]))
    spectrum = np.zeros((len(shifts), size, size // 2 + 1), dtype=np.complex128)
    spectrum[:, np.arange(-_WAVES, _WAVES + 1), : _WAVES + 1] = waves * turn
    pattern = np.fft.irfft2(spectrum, s=(size, size)) * size**2
    share = np.clip(0.5 + 0.35 * pattern, 0, 1)[..., None]
    dark, light = (np.array(colour) for colour in plan["background"])
    picture = dark + share * (light - dark)
    return np.repeat(picture, len(shift_T2), axis=0) if still else picture


def _grid(size: int) -> tuple[Array, Array]:
    """The pixels' centres: x_HW and y_HW in [0, 1]."""
    centres = (np.arange(size) + 0.5) / size
    across, down = np.meshgrid(centres, centres)
    return across, down


def _thing(plan: dict[str, Any], time_T: Array, size: int) -> tuple[Array, Array]:
    """Cover of the object and of the patch on it (T,H,W in [0, 1]), on the torus."""
    place_T2 = np.array(plan["place"]) + time_T[:, None] * np.array(plan.get("velocity", (0.0, 0.0)))
    if "swing" in plan:
        swing_T = np.sin(2 * np.pi * (plan["cycles"] * time_T + plan["phase"]))
        place_T2 = place_T2 + swing_T[:, None] * np.array(plan["swing"])
    turn_T = 2 * np.pi * (plan["angle"] + plan.get("turns", 0.0) * time_T)
    scale_T = (plan["scale"] + plan.get("growth", 0.0) * time_T) % 1
    radius_T = _SMALLEST * (_LARGEST / _SMALLEST) ** scale_T
    across, down = _grid(size)
    x = (across - place_T2[:, 0, None, None] + 0.5) % 1 - 0.5
    y = (down - place_T2[:, 1, None, None] + 0.5) % 1 - 0.5
    away = np.hypot(x, y) / radius_T[:, None, None]  # in radii
    angle = (np.arctan2(y, x) - turn_T[:, None, None]) % (2 * np.pi)
    edge = _outline(plan)[(angle * (_TABLE / (2 * np.pi))).astype(np.intp) % _TABLE]
    pixels = radius_T[:, None, None] * size
    cover = np.clip((edge - away) * pixels + 0.5, 0, 1)
    if plan["kind"] == "ring":
        cover *= np.clip((away - 0.55) * pixels + 0.5, 0, 1)
    if "blob" not in plan:
        return cover, np.zeros_like(cover)
    # a patch to one side shows how the blob is turned
    patch = np.hypot(away * np.cos(angle) - 0.4, away * np.sin(angle) - 0.1)
    return cover, cover * np.clip((0.32 - patch) * pixels + 0.5, 0, 1)


def _outline(plan: dict[str, Any]) -> Array:
    """How far the edge is from the middle at each of _TABLE angles, in radii; all shapes have one area."""
    angle = 2 * np.pi * (np.arange(_TABLE) + 0.5) / _TABLE
    if "blob" in plan:
        waves = [a * np.cos(k * angle) + b * np.sin(k * angle) for k, (a, b) in enumerate(plan["blob"], 2)]
        edge = 1 + 0.12 * np.sum(waves, axis=0)
    elif plan["kind"] in ("disc", "ring"):
        edge = np.ones(_TABLE)
    else:
        edge = _polygon(_CORNERS[plan["kind"]], angle)
    return np.asarray(edge / math.sqrt(float((edge**2).mean())))


def _polygon(corners_N2: Array, angle_N: Array) -> Array:
    """Where rays from the middle at these angles meet the sides of a polygon that surrounds it."""
    starts, ends = corners_N2, np.roll(corners_N2, -1, axis=0)
    ray = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)[:, None]
    side = ends - starts
    slope = ray[..., 0] * side[:, 1] - ray[..., 1] * side[:, 0]
    slope = np.where(np.abs(slope) < 1e-12, 1e-12, slope)
    far = (starts[:, 0] * side[:, 1] - starts[:, 1] * side[:, 0]) / slope
    along = (starts[:, 0] * ray[..., 1] - starts[:, 1] * ray[..., 0]) / slope
    meets = (far > 0) & (along >= -1e-9) & (along <= 1 + 1e-9)
    return np.asarray(np.where(meets, far, np.inf).min(axis=1))


def _regular(num_corners: int, radii: tuple[float, ...]) -> Array:
    """Corners at equal angles, the first one on top, at these radii in turn."""
    angle = 2 * np.pi * np.arange(num_corners) / num_corners - np.pi / 2
    radius = np.resize(np.array(radii), num_corners)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_CORNERS = {
    "square": np.array([[1.0, 1.0], [-1, 1], [-1, -1], [1, -1]]),
    "triangle": _regular(3, (1.0,)),
    "star": _regular(10, (1.0, 0.42)),
    "cross": np.array(
        [
            *((3.0, 1.0), (1.0, 1.0), (1.0, 3.0), (-1.0, 3.0), (-1.0, 1.0), (-3.0, 1.0)),
            *((-3.0, -1.0), (-1.0, -1.0), (-1.0, -3.0), (1.0, -3.0), (1.0, -1.0), (3.0, -1.0)),
        ]
    ),
}


def _rings(plan: dict[str, Any], time_T: Array, size: int) -> tuple[Array, Array]:
    """A target that comes nearer at even speed: its size goes with one over its distance."""
    distance = _between(plan["distances"], time_T)
    across, down = _grid(size)
    x = across - (plan["middle"][0] + plan["aside"][0] / distance)
    y = down - (plan["middle"][1] + plan["aside"][1] / distance)
    radius = 0.34 / distance
    inward = (radius - np.hypot(x, y)) * size + 0.5
    middle = (0.62 * radius - np.hypot(x, y)) * size + 0.5
    core = (0.28 * radius - np.hypot(x, y)) * size + 0.5
    return np.clip(inward, 0, 1), np.clip(middle, 0, 1) - np.clip(core, 0, 1)


def _dots(plan: dict[str, Any], time_T: Array, size: int) -> tuple[Array, Array]:
    """Dots that run together; some of the first colour, some of the second."""
    spread = _between(plan["spread"], time_T)
    across, down = _grid(size)
    covers = [np.zeros((len(time_T), size, size)), np.zeros((len(time_T), size, size))]
    for number, (x, y) in enumerate(plan["dots"]):
        away = np.hypot(across - plan["middle"][0] - x * spread, down - plan["middle"][1] - y * spread)
        cover = np.clip((0.026 - away) * size + 0.5, 0, 1)
        np.maximum(covers[number % 2], cover, out=covers[number % 2])
    return covers[0], covers[1]


def _glass(plan: dict[str, Any], time_T: Array, size: int) -> tuple[Array, Array]:
    """The frame of a glass, and what is in it up to a level."""
    level = _between(plan["levels"], time_T)
    across, down = _grid(size)
    x, y = across - plan["middle"][0], down - plan["middle"][1]
    half_width, half_height = plan["box"]
    inside = np.minimum(half_width - np.abs(x), half_height - np.abs(y))
    wall = np.clip(inside * size + 0.5, 0, 1) - np.clip((inside - 0.03) * size + 0.5, 0, 1)
    depth = y - (half_height - 2 * half_height * level)  # below the surface
    filled = np.clip(depth * size + 0.5, 0, 1) * np.clip((inside - 0.03) * size + 0.5, 0, 1)
    return np.broadcast_to(wall, filled.shape), filled


def _between(ends: list[float], time_T: Array) -> Array:
    """From the first number to the second at even speed, as (T, 1, 1)."""
    return np.asarray((ends[0] + (ends[1] - ends[0]) * time_T)[:, None, None])
