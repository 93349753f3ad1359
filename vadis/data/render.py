"""Motion capture as video: a person of rounded cones on a lit ground, filmed, with everything known about it.

`render_clip("cartwheel", seed=3)` gives pixels and, exactly, what a detector or a flow network would have to
estimate: the person's box, Johansson's point lights, depth, body parts, optical flow with its occlusions,
and which motion when. One seed is one scene: camera, light, build, clothes, ground and backdrop.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.data import mocap
from vadis.data.scene.camera import Camera, View
from vadis.data.scene.figure import Body, Figure
from vadis.data.scene.flow import BACKDROP, Surface, find_flow, find_surface, in_camera
from vadis.data.scene.lights import draw_lights, find_lights
from vadis.data.scene.rays import Solved, normals, trace
from vadis.data.scene.scenery import (
    BACKDROPS,
    GROUNDS,
    Colour,
    Light,
    Painted,
    Surroundings,
    paint_background,
    shadow_on_points,
)
from vadis.data.scene.skeleton import MATERIALS, Shape, Skeleton
from vadis.records import Span
from vadis.video.write import VideoWriter

Array = npt.NDArray[np.float64]
_CHUNK_PIXELS = 2**18


@dataclass(frozen=True)
class Scene:
    """Everything about a clip but the motion; `speed` 2 shows the motion twice as fast."""

    camera: Camera = Camera()
    body: Body = Body()
    light: Light = Light()
    surroundings: Surroundings = Surroundings()
    speed: float = 1.0


@dataclass(frozen=True)
class RenderedClip:
    """A clip and the truth about it. T frames at times_T seconds, M = 13 lights (skeleton.MARKERS).

    frames_THWC: uint8 RGB. boxes_T4: xyxy in [0, 1], the smallest that holds every pixel of the person
    (zeros where none is in the picture). points_TM2: lights in [0, 1] of width and height (outside where
    they leave the picture), visible_TM: not hidden. spans: which motion when.
    On request, else None: lights_THWC, the point-light film; flow_THW2 (T - 1 fields, pixels per frame, u
    right, v down, from frame t to t + 1) and flow_seen_THW (False: leaves the picture or is hidden);
    depth_THW in metres (inf: backdrop) and parts_THW (index of the body part, 254 ground, 255 backdrop),
    both at pixel centres.
    """

    frames_THWC: npt.NDArray[np.uint8]
    times_T: Array
    fps: float
    scene: Scene
    spans: tuple[Span, ...]
    boxes_T4: npt.NDArray[np.float32]
    points_TM2: npt.NDArray[np.float32]
    visible_TM: npt.NDArray[np.bool_]
    lights_THWC: npt.NDArray[np.uint8] | None = None
    flow_THW2: npt.NDArray[np.float32] | None = None
    flow_seen_THW: npt.NDArray[np.bool_] | None = None
    depth_THW: npt.NDArray[np.float32] | None = None
    parts_THW: npt.NDArray[np.uint8] | None = None


def render_clip(
    motions: str | mocap.Motion | Sequence[tuple[str | mocap.Motion, float]] | mocap.Track,
    *,
    seconds: float | None = None,
    fps: float = 25.0,
    size: tuple[int, int] = (340, 256),
    seed: int = 0,
    scene: Scene | None = None,
    samples: int = 2,
    flow: bool = False,
    depth: bool = False,
    lights: bool = False,
    skeleton: Skeleton | None = None,
) -> RenderedClip:
    """Film one motion (for `seconds`; None: once), several in a row [(name, seconds), ...], or a Track.

    size: (width, height) in pixels. scene: None takes `random_scene(seed)`. samples: each pixel of the
    person is the mean of samples x samples rays. flow, depth, lights: also compute those. The same
    arguments give the same bytes on one machine. A Track brings its own times: `seconds`, `fps` and the
    scene's speed do not apply to it. Raises ValueError for sizes or times that make no clip, DownloadError
    where the motions have to be fetched and cannot be.
    """
    if min(size) < 8 or samples < 1:
        raise ValueError(f"a clip needs at least 8 x 8 pixels and one sample each, got {size} and {samples}")
    scene = random_scene(seed) if scene is None else scene
    track = _track(motions, seconds, fps, scene.speed)
    skeleton = mocap.load_skeleton() if skeleton is None else skeleton
    poses = track.poses
    figure = Figure.place(
        scene.body, skeleton, poses.root_T3, poses.rotations_TJ4, joints=mocap.JOINTS, fps=track.fps
    )
    view = scene.camera.film(track.times_T, figure.positions_TJ3[:, 0], size)
    painted = Painted.of(scene.surroundings, scene.light)
    step = max(1, _CHUNK_PIXELS // (size[0] * size[1] * samples))
    pictures, boxes = [], []
    for first in range(0, len(figure), step):
        part = slice(first, first + step)
        some = View(view.eye_T3[part], view.axes_T33[part], view.focal, size)
        frames, box = _shoot(figure[part], some, painted, scene, samples)
        pictures.append(frames)
        boxes.append(box)
    points, visible = find_lights(figure, view)
    extra: dict[str, npt.NDArray[np.generic]] = {}
    if lights:
        extra["lights_THWC"] = draw_lights(points, visible, size)
    if flow or depth:
        surface = find_surface(figure, view)
        extra |= _truth(figure, view, surface, flow=flow, depth=depth)
    return RenderedClip(
        frames_THWC=torch.cat(pictures).numpy(),
        times_T=track.times_T,
        fps=track.fps or fps,
        scene=scene,
        spans=track.spans,
        boxes_T4=np.concatenate(boxes),
        points_TM2=(points / np.array(size)).astype(np.float32),
        visible_TM=visible,
        **extra,  # type: ignore[arg-type]
    )


def _track(
    motions: str | mocap.Motion | Sequence[tuple[str | mocap.Motion, float]] | mocap.Track,
    seconds: float | None,
    fps: float,
    speed: float,
) -> mocap.Track:
    """The poses that `render_clip` was asked for."""
    if isinstance(motions, mocap.Track):
        return motions
    if isinstance(motions, str | mocap.Motion):
        motion = mocap.load_motion(motions) if isinstance(motions, str) else motions
        return mocap.sequence([(motion, seconds or motion.seconds / speed)], fps=fps, speed=speed)
    if seconds is not None:
        raise ValueError("several motions bring their own seconds; leave `seconds` out")
    return mocap.sequence(motions, fps=fps, speed=speed)


def _truth(
    figure: Figure, view: View, surface: Surface, *, flow: bool, depth: bool
) -> dict[str, npt.NDArray[np.generic]]:
    """The fields of RenderedClip that are computed at pixel centres."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    if flow:
        flow_THW2, seen_THW = find_flow(figure, view, surface)
        found |= {"flow_THW2": flow_THW2.numpy(), "flow_seen_THW": seen_THW.numpy()}
    if depth:
        found |= {"depth_THW": surface.depth_THW.float().numpy(), "parts_THW": surface.part_THW.numpy()}
    return found


def _shoot(
    figure: Figure, view: View, painted: Painted, scene: Scene, samples: int
) -> tuple[Tensor, npt.NDArray[np.float32]]:
    """Pixels (T,H,W,3 uint8) and boxes_T4 of some frames."""
    width, height = view.size
    casters = figure.casters()
    picture = paint_background(view, painted, scene.surroundings, scene.light, casters)
    if len(picture) < len(figure):
        picture = picture.expand(len(figure), -1, -1, -1)
    picture = picture.reshape(-1, 3)
    cones = in_camera(figure.cones(), view)
    depth, owner = trace(cones, view.focal, view.size, samples=samples)
    hits = (owner.flatten() != BACKDROP).nonzero()[:, 0]
    times = hits // (height * width * samples**2)
    rest = hits % (height * width * samples**2)
    row, column = rest // (width * samples), rest % (width * samples)
    rays = torch.from_numpy(view.rays(samples)).float().view(-1, 3)
    points = rays[rest] * depth.flatten()[hits, None]
    axes = torch.from_numpy(view.axes_T33).float()
    world = torch.einsum("nj,njk->nk", points, axes[times]) + torch.from_numpy(view.eye_T3).float()[times]
    above = world[:, 1] > -1e-4  # the ground hides what has sunk into it
    if not bool(above.all()):
        hits, times, row, column, points, world = (x[above] for x in (hits, times, row, column, points, world))
    pixel = (times * height + row // samples) * width + column // samples
    parts = owner.flatten()[hits].long()
    facing, along = normals(points, times, parts, Solved.of(cones))
    outward = torch.einsum("nj,njk->nk", facing, axes[times])
    colours = _shade(world, outward, along, times, parts, figure, scene)
    share = 1 / samples**2
    cover = torch.zeros(len(picture)).index_add_(0, pixel, torch.full((len(pixel),), share))
    light = torch.zeros(len(picture), 3).index_add_(0, pixel, colours * share)
    touched = (cover > 0).nonzero()[:, 0]
    picture[touched] = picture[touched] * (1 - cover[touched, None]) + light[touched]
    frames = (picture.clamp_(0, 1).sqrt_() * 255 + 0.5).to(torch.uint8).view(-1, height, width, 3)
    return frames, _boxes(cover.view(-1, height, width) > 0)


def _shade(
    world_N3: Tensor, normal_N3: Tensor, along_N: Tensor, times_N: Tensor, parts_N: Tensor, figure: Figure, scene: Scene
) -> Tensor:
    """Linear RGB of surface points: Lambert's law for the sun, a sky above and the ground's glow below."""
    body, light = scene.body, scene.light
    materials = torch.from_numpy(figure.flesh.materials_P)[parts_N]
    colour = torch.from_numpy(body.palette()).float()[materials]
    if body.stripes > 0:
        offset = torch.from_numpy(figure.flesh.start_P3[:, 1]).float()[parts_N]
        band = ((along_N + offset) / body.stripes) % 1 < 0.5
        striped = band & (materials == MATERIALS.index("shirt"))
        colour[striped] = torch.tensor(body.stripe).float() ** 2
    toward = torch.from_numpy(light.direction()).float()
    sun = (normal_N3 @ toward).clamp(min=0)
    lit = (sun > 0).nonzero()[:, 0]
    sun[lit] *= 1 - shadow_on_points(world_N3[lit], times_N[lit], figure.casters(), light)
    sky = torch.from_numpy(light.sky()).float()
    ground = torch.tensor(scene.surroundings.light_colour).float() ** 2
    glow = ground * (sky + 0.6 * torch.from_numpy(light.sun() * light.direction()[1]).float())
    up = normal_N3[:, 1:2] * 0.5 + 0.5
    near_ground = (0.55 + world_N3[:, 1:2] / 0.5).clamp(max=1.0)
    ambient = torch.lerp(glow * 0.6 * near_ground, sky * near_ground, up)
    return colour * (ambient + sun[:, None] * torch.from_numpy(light.sun()).float())


def _boxes(cover_THW: Tensor) -> npt.NDArray[np.float32]:
    """The smallest box round the covered pixels of each frame, xyxy in [0, 1]; zeros where there are none."""
    boxes = np.zeros((len(cover_THW), 4), dtype=np.float32)
    height, width = cover_THW.shape[1:]
    rows, columns = cover_THW.any(dim=2).numpy(), cover_THW.any(dim=1).numpy()
    for t in np.flatnonzero(rows.any(axis=1)):
        y, x = np.flatnonzero(rows[t]), np.flatnonzero(columns[t])
        boxes[t] = (x[0] / width, y[0] / height, (x[-1] + 1) / width, (y[-1] + 1) / height)
    return boxes


def random_scene(seed: int) -> Scene:
    """A scene drawn with this seed: each part of it by a stream of its own (see the functions below)."""
    speed = float(np.random.default_rng([seed, 15]).uniform(0.8, 1.25))
    return Scene(random_camera(seed), random_body(seed), random_light(seed), random_surroundings(seed), speed)


def random_camera(seed: int) -> Camera:
    """A camera from any side, near to far, still, panning with the person, circling or held by hand."""
    random = np.random.default_rng([seed, 11])
    view = random.uniform(30, 50)
    fill = random.uniform(0.45, 0.8)  # the share of the picture that a standing person fills
    distance = 1.7 / fill / (2 * math.tan(math.radians(view) / 2))
    return Camera(
        azimuth=float(random.uniform(0, 360)),
        elevation=float(random.uniform(-4, 28)),
        distance=float(distance),
        height=float(random.uniform(0.7, 0.95)),
        field_of_view=float(view),
        orbit=float(random.choice([0.0, 0.0, 1.0]) * random.uniform(-14, 14)),
        dolly=float(random.choice([0.0, 1.0]) * random.uniform(-0.15, 0.15)),
        shake=float(random.choice([0.0, 1.0]) * random.uniform(0.1, 0.7)),
        follow=float(random.choice([0.85, 1.0])),
        follow_seconds=float(random.uniform(0.6, 1.6)),
        seed=seed,
    )


def random_light(seed: int) -> Light:
    """A sun from any side, 25 to 75 degrees high, and a sky."""
    random = np.random.default_rng([seed, 12])
    return Light(
        azimuth=float(random.uniform(0, 360)),
        elevation=float(random.uniform(25, 75)),
        strength=float(random.uniform(0.6, 1.15)),
        ambient=float(random.uniform(0.3, 0.55)),
        warmth=float(random.uniform(-0.6, 1.0)),
        softness=float(random.uniform(0.01, 0.08)),
    )


def random_body(seed: int) -> Body:
    """A person of any build, skin and clothes."""
    random = np.random.default_rng([seed, 13])
    light_skin, dark_skin = np.array([0.95, 0.79, 0.69]), np.array([0.36, 0.23, 0.16])
    hairs = [(0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.50, 0.34, 0.18), (0.80, 0.66, 0.40), (0.62, 0.62, 0.62)]
    build = {name: float(random.normal(1, 0.06)) for name in ("legs", "arms", "torso", "shoulders", "hips", "head")}
    build = {name: min(max(value, 0.85), 1.15) for name, value in build.items()}
    shape = Shape(
        **build, height=float(random.uniform(0.88, 1.12)), thickness=float(random.uniform(0.82, 1.3))
    )
    skin = light_skin + random.uniform(0, 1) * (dark_skin - light_skin)
    return Body(
        shape=shape,
        skin=_colour(skin),
        hair=hairs[random.integers(len(hairs))],
        shirt=_colour(_hue(random, 0.25, 0.95)),
        trousers=_colour(_hue(random, 0.1, 0.6)),
        shoes=_colour(_hue(random, 0.1, 0.95)),
        long_sleeves=bool(random.random() < 0.4),
        shorts=bool(random.random() < 0.3),
        stripes=float(random.choice([0.0, 0.0, 1.0]) * random.uniform(0.06, 0.16)),
        stripe=_colour(_hue(random, 0.3, 1.0)),
    )


def random_surroundings(seed: int) -> Surroundings:
    """Ground and backdrop of any kind."""
    random = np.random.default_rng([seed, 14])
    ground = str(random.choice(GROUNDS))
    if ground == "grass":
        dark, light = np.array([0.20, 0.34, 0.14]), np.array([0.42, 0.56, 0.26])
    elif ground == "planks":
        dark, light = np.array([0.36, 0.24, 0.15]), np.array([0.74, 0.56, 0.38])
    else:
        light = random.uniform(0.45, 0.75) + random.uniform(-0.06, 0.06, 3)
        dark = light * random.uniform(0.55, 0.85)
    return Surroundings(
        ground=ground,
        backdrop=str(random.choice(BACKDROPS)),
        light_colour=_colour(light),
        dark_colour=_colour(dark),
        period=float(random.uniform(3, 5)),
        haze=float(random.uniform(15, 50)),
        seed=seed,
    )


def _hue(random: np.random.Generator, low: float, high: float) -> Array:
    """A colour of any hue, more or less grey, between dark and light."""
    colour = random.uniform(0, 1, 3)
    colour = (colour - colour.min()) / max(np.ptp(colour), 1e-6)
    value, grey = random.uniform(low, high), random.uniform(0, 0.7)
    return np.asarray(value * (grey + (1 - grey) * colour))


def _colour(values_3: Array) -> Colour:
    """Three numbers as a colour within [0, 1]."""
    red, green, blue = (float(value) for value in np.clip(values_3, 0, 1))
    return (red, green, blue)


def write_clip(clip: RenderedClip, path: str | os.PathLike[str]) -> Path:
    """Write the clip's frames as a video file (H.264 mp4). Raises what `VideoWriter` raises."""
    with VideoWriter(path, clip.fps) as writer:
        for frame_HWC in clip.frames_THWC:
            writer.write(frame_HWC)
    return Path(path)


DEMO_MOTIONS: tuple[tuple[str, float], ...] = (
    ("getup_faceup", 1.9),
    ("walk", 1.4),
    ("run", 0.9),
    ("cartwheel", 2.5),
    ("spinkick", 1.3),
    ("dance_b", 2.0),
)
"""About ten seconds of motions that follow from one another."""


def demo_clip(path: str | os.PathLike[str], seed: int = 0) -> RenderedClip:
    """Render ten seconds of several motions in a row before a moving camera (340 x 256, 25 fps), write
    them to `path` as a video, and return the clip with its truth."""
    camera = Camera(
        azimuth=50 + 10 * (seed % 7),
        elevation=9,
        distance=4.3,
        height=0.82,
        field_of_view=34,
        orbit=7.0,
        shake=0.15,
        follow_seconds=1.2,
        seed=seed,
    )
    scene = replace(random_scene(seed), camera=camera, speed=1.0) if seed else Scene(camera=camera)
    clip = render_clip(list(DEMO_MOTIONS), scene=scene, seed=seed)
    write_clip(clip, path)
    return clip
