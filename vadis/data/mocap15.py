"""`mocap15`: fifteen real human motions, rendered from every side: a benchmark without a download of videos.

Each class is ONE recorded take of one performer (`vadis.data.mocap`). So a score says how well a network
generalises over view, light, body, clothes, surroundings, speed and phase, and nothing about other
performers or other ways of doing the same thing. With point lights on black (after Johansson 1973) nothing
but the motion of thirteen joints is left.

Three folds, a third of all clips each: the camera's and the sun's azimuths of a fold lie in two opposite
sectors of 60 degrees that the other folds never use, and each clip has a body, clothes and surroundings of
its own. Split k tests on fold k and trains on the other two.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vadis.data import mocap
from vadis.data.render import render_clip
from vadis.data.scene.figure import Figure
from vadis.data.scene.lights import draw_lights, find_lights
from vadis.data.scene.variety import Scene, random_scene

CLASS_NAMES = mocap.list_motions()
"""In the order of their labels."""

CLASS_GROUPS = {
    "in_place": tuple(CLASS_NAMES.index(name) for name in ("jump", "kick", "punch", "spin", "spinkick")),
    "locomotion": tuple(CLASS_NAMES.index(name) for name in ("crawl", "run", "walk")),
    "acrobatics": tuple(CLASS_NAMES.index(name) for name in ("backflip", "cartwheel", "roll")),
    "getting_up": tuple(CLASS_NAMES.index(name) for name in ("getup_facedown", "getup_faceup")),
    "dance": tuple(CLASS_NAMES.index(name) for name in ("dance_a", "dance_b")),
}
"""The labels of each group."""

SIZE, NUM_FRAMES, FPS = 128, 32, 25.0
"""The defaults: side in pixels, frames of a clip, frames per second."""

SECTOR_DEGREES = 60.0
"""How wide a sector of azimuths is; fold f has the sectors f - 1 and f + 2."""


def plan_clip(class_name: str, fold: int, index: int, seed: int = 0) -> dict[str, Any]:
    """What one clip shows, as numbers that JSON can hold; `draw_clip` renders it.

    `start` is where in the take the clip begins, as a share of what can begin there; `scene` says
    everything about camera, light, body and surroundings (`vadis.data.scene.variety.Scene`). Raises
    ValueError for a class or a fold that there is not.
    """
    if class_name not in CLASS_NAMES or fold not in (1, 2, 3):
        raise ValueError(f"no clip of mocap15 is of the class {class_name!r} and the fold {fold}")
    sequence = np.random.SeedSequence([seed, fold, CLASS_NAMES.index(class_name), index])
    scene_seed = int(sequence.generate_state(1)[0])
    random = np.random.default_rng(sequence)
    start = float(random.uniform(0, 1))
    views, suns = (_azimuth(random, fold) for _ in range(2))
    return {
        "kind": class_name,
        "scene_seed": scene_seed,
        "view_azimuth": views,
        "sun_azimuth": suns,
        "start": start,
        "scene": asdict(_scene(scene_seed, views, suns)),
    }


def draw_clip(
    plan: dict[str, Any], size: int = SIZE, num_frames: int = NUM_FRAMES, point_lights: bool = False
) -> npt.NDArray[np.uint8]:
    """The clip of a plan: frames_THWC, `num_frames` RGB pictures of `size` x `size` pixels.

    point_lights: thirteen white lights on black instead of the person. Fetches the motions on first use
    (103 MB). Raises ValueError for clips too small, DownloadError where the motions cannot be fetched.
    """
    if size < 32 or num_frames < 4:
        raise ValueError(
            f"a clip of mocap15 needs at least 32 pixels and 4 frames, got {size} and {num_frames}"
        )
    scene = _scene(plan["scene_seed"], plan["view_azimuth"], plan["sun_azimuth"])
    motion, seconds = mocap.load_motion(plan["kind"]), num_frames / FPS
    # a take that does not loop holds its last pose: start early enough to see it move
    length = motion.seconds - (0.0 if motion.loop != "none" else 0.8 * seconds * scene.speed)
    start_seconds = plan["start"] * max(0.0, length)
    track = mocap.sequence([(motion, seconds)], fps=FPS, speed=scene.speed, start_seconds=start_seconds)
    if not point_lights:
        return render_clip(track, size=(size, size), scene=scene, skeleton=mocap.load_skeleton()).frames_THWC
    figure = Figure.place(
        scene.body,
        mocap.load_skeleton(),
        track.poses.root_T3,
        track.poses.rotations_TJ4,
        joints=mocap.JOINTS,
        fps=FPS,
    )
    view = scene.camera.film(track.times_T, figure.positions_TJ3[:, 0], (size, size))
    points_TM2, visible_TM = find_lights(figure, view)
    return draw_lights(points_TM2, visible_TM, (size, size))


def _azimuth(random: np.random.Generator, fold: int) -> float:
    """An angle in degrees within the two sectors of a fold."""
    sector = fold - 1 + 3 * int(random.integers(2))
    return float((sector + random.uniform(0, 1)) * SECTOR_DEGREES)


def _scene(scene_seed: int, view_azimuth: float, sun_azimuth: float) -> Scene:
    """A random scene seen and lit from these sides; a camera that circles goes no further than its sector."""
    scene = random_scene(scene_seed)
    camera = replace(scene.camera, azimuth=view_azimuth)
    inside = view_azimuth % SECTOR_DEGREES
    room = SECTOR_DEGREES - inside if camera.orbit > 0 else inside
    orbit = math.copysign(min(abs(camera.orbit), room / 2), camera.orbit)  # clips last less than 2 seconds
    return replace(
        scene, camera=replace(camera, orbit=orbit), light=replace(scene.light, azimuth=sun_azimuth)
    )
