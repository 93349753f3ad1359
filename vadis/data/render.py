"""Motion capture as video: a person of rounded cones on a lit ground, filmed, with everything known about it.

`render_clip("cartwheel", seed=3)` gives pixels and, exactly, what a detector or a flow network would have to
estimate: the person's box, Johansson's point lights, depth, body parts, optical flow with its occlusions,
and which motion when. One seed is one scene: camera, light, build, clothes, ground and backdrop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vadis.data import mocap
from vadis.data.scene.camera import Camera, View
from vadis.data.scene.figure import Figure
from vadis.data.scene.flow import BACKDROP, Surface, find_flow, find_surface, in_camera
from vadis.data.scene.lights import draw_lights, find_lights
from vadis.data.scene.rays import Solved, normals, trace
from vadis.data.scene.scenery import Painted, paint_background, shadow_on_points
from vadis.data.scene.skeleton import MATERIALS, Skeleton
from vadis.data.scene.variety import Scene, random_scene
from vadis.records import Span
from vadis.video.write import VideoWriter

Array = npt.NDArray[np.float64]
_CHUNK_PIXELS = 2**19


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
    extra: dict[str, npt.NDArray[np.generic]] = {}
    with _one_thread():
        frames, boxes = _film(figure, view, painted, scene, samples)
        points, visible = find_lights(figure, view)
        if lights:
            extra["lights_THWC"] = draw_lights(points, visible, size)
        if flow or depth:
            extra |= _truth(figure, view, find_surface(figure, view), flow=flow, depth=depth)
    return RenderedClip(
        frames_THWC=frames,
        times_T=track.times_T,
        fps=track.fps or fps,
        scene=scene,
        spans=track.spans,
        boxes_T4=boxes,
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
        return mocap.sequence(
            [(motion, motion.seconds / speed if seconds is None else seconds)], fps=fps, speed=speed
        )
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


def _film(
    figure: Figure, view: View, painted: Painted, scene: Scene, samples: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Pixels and boxes of all frames, some frames at a time."""
    step = max(1, _CHUNK_PIXELS // (view.size[0] * view.size[1] * samples))
    pictures, boxes = [], []
    for first in range(0, len(figure), step):
        lot = slice(first, first + step)
        some = View(view.eye_T3[lot], view.axes_T33[lot], view.focal, view.size)
        frames, box = _shoot(figure[lot], some, painted, scene, samples)
        pictures.append(frames)
        boxes.append(box)
    return torch.cat(pictures).numpy(), np.concatenate(boxes)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hold PyTorch's threads at one meanwhile.

    A clip is some thousand short operations. Sharing each of them among threads gains little on a quiet
    machine and loses a lot (measured: up to ten times) where other processes want the cores too; many
    clips are best rendered by a process per core.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


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
        hits, times, row, column, points, world = (
            x[above] for x in (hits, times, row, column, points, world)
        )
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
    world_N3: Tensor,
    normal_N3: Tensor,
    along_N: Tensor,
    times_N: Tensor,
    parts_N: Tensor,
    figure: Figure,
    scene: Scene,
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


def write_clip(clip: RenderedClip, path: str | os.PathLike[str]) -> Path:
    """Write the clip's frames as a video file (H.264 mp4). Raises what `VideoWriter` raises."""
    with VideoWriter(path, clip.fps) as writer:
        for frame_HWC in clip.frames_THWC:
            writer.write(frame_HWC)
    return Path(path)


DEMO_MOTIONS: tuple[tuple[str, float], ...] = (
    ("walk", 1.5),
    ("run", 0.9),
    ("cartwheel", 2.6),
    ("backflip", 1.7),
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
        distance=4.1,
        height=0.85,
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
