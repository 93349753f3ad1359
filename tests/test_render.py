"""The renderer against brute force: rays, projection, flow, boxes, lights, and the same bytes per seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import skip_or_fail
from made_motion import made_frame, made_motion, made_skeleton

from vadis.data import mocap
from vadis.data.render import DEMO_MOTIONS, RenderedClip, demo_clip, render_clip, write_clip
from vadis.data.scene.camera import Camera, View
from vadis.data.scene.figure import Body, Figure
from vadis.data.scene.flow import BACKDROP, GROUND, find_flow, find_surface, in_camera
from vadis.data.scene.lights import draw_lights
from vadis.data.scene.rays import Cones, Solved, normals, screen_boxes, seen_from_eye, trace
from vadis.data.scene.scenery import (
    BACKDROPS,
    GROUNDS,
    Light,
    Surroundings,
    disc_hull_distance,
    ground_texture,
    light_plane,
    shadow_on_points,
)
from vadis.data.scene.skeleton import MARKERS, Shape
from vadis.data.scene.variety import Scene, random_scene
from vadis.downloads import DownloadError

STILL = Camera(azimuth=40, elevation=10, distance=3.5, follow=0.0)


def distance_to_cone(points_N3: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float) -> np.ndarray:
    """Signed distance to the hull of two spheres: to the nearest of all spheres between them, by search."""
    low, high = np.zeros(len(points_N3)), np.ones(len(points_N3))

    def to_sphere(share: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points_N3 - a - share[:, None] * (b - a), axis=1) - ra - share * (rb - ra)

    for _ in range(45):  # the distance is convex along the axis
        third = (high - low) / 3
        left = to_sphere(low + third) < to_sphere(high - third)
        low, high = np.where(left, low, low + third), np.where(left, high - third, high)
    return np.asarray(to_sphere((low + high) / 2))


def some_cones(seed: int, count: int = 6) -> Cones:
    """Rounded cones, capsules and a sphere in front of the eye, at one time."""
    random = np.random.default_rng(seed)
    start = random.uniform([-1, -1, 2], [1, 1, 5], (1, count, 3))
    way = random.normal(size=(1, count, 3))
    end = start + way / np.linalg.norm(way, axis=-1, keepdims=True) * random.uniform(0.3, 1.2, (1, count, 1))
    radii = random.uniform(0.05, 0.3, (count, 2))
    radii[0, 1] = radii[0, 0]
    end[0, 1] = start[0, 1]
    radii[1, 1] = radii[1, 0]
    radii[2] = (0.3, 0.05)
    end[0, 2] = start[0, 2] * 1.15  # seen along its axis, the large end first
    radii[3] = (0.05, 0.3)
    end[0, 3] = start[0, 3] * 1.15  # the small end first
    return Cones(start, end, radii)


@pytest.mark.parametrize("seed", range(4))
def test_rays_meet_cones_where_marching_finds_them(seed: int) -> None:
    cones = some_cones(seed)
    size, focal = (40, 32), 33.0
    depth, owner = trace(cones, focal, size, dtype=torch.float64)
    rays = View(np.zeros((1, 3)), np.eye(3)[None], focal, size).rays().reshape(-1, 3)
    length = np.linalg.norm(rays, axis=1)
    marched = np.zeros(len(rays))  # sphere tracing: no step is longer than the distance to all surfaces
    going = np.arange(len(rays))
    for _ in range(150):
        points = rays[going] * marched[going, None]
        nearest = np.min(
            [
                distance_to_cone(points, cones.start_TP3[0, k], cones.end_TP3[0, k], *cones.radii_P2[k])
                for k in range(len(cones.radii_P2))
            ],
            axis=0,
        )
        marched[going] += nearest / length[going]
        going = going[(nearest > 1e-9) & (marched[going] < 10)]
    hit = marched < 10
    found = depth.numpy().reshape(-1)
    assert 0.05 < hit.mean() < 0.95
    rim = np.isfinite(found) != hit
    assert rim.mean() < 0.01  # only rays that graze a surface may be judged differently
    both = np.isfinite(found) & hit
    assert np.median(np.abs(found - marched)[both]) < 1e-5
    off = distance_to_surface(rays[both] * found[both, None], cones, owner.numpy().reshape(-1)[both])
    assert np.abs(off).max() < 1e-5  # each answer lies on the surface of the part it names
    assert (found[both] < marched[both] + 2e-3).all()  # and nothing lies before it


def distance_to_surface(points_N3: np.ndarray, cones: Cones, parts_N: np.ndarray) -> np.ndarray:
    """Signed distance of each point to the part it is said to lie on."""
    out = np.zeros(len(points_N3))
    for k in np.unique(parts_N):
        chosen = parts_N == k
        part = (cones.start_TP3[0, k], cones.end_TP3[0, k], *cones.radii_P2[k])
        out[chosen] = distance_to_cone(points_N3[chosen], *part)
    return out


def test_normals_are_the_gradient_of_the_distance() -> None:
    cones = some_cones(1)
    depth, owner = trace(cones, 40.0, (48, 40), dtype=torch.float64)
    view = View(np.zeros((1, 3)), np.eye(3)[None], 40.0, (48, 40))
    hits = np.flatnonzero(owner.numpy().reshape(-1) != BACKDROP)
    points = view.rays().reshape(-1, 3)[hits] * depth.numpy().reshape(-1)[hits, None]
    parts = owner.numpy().reshape(-1)[hits]
    zeros = torch.zeros(len(hits), dtype=torch.long)
    solved = Solved.of(cones, torch.float64)
    normal, _ = normals(torch.from_numpy(points), zeros, torch.from_numpy(parts).long(), solved)
    further = distance_to_surface(points + 0.05 * normal.numpy(), cones, parts)
    np.testing.assert_allclose(further, 0.05, atol=1e-5)


def test_screen_boxes_hold_every_hit_and_are_tight() -> None:
    for seed in range(6):
        whole = some_cones(seed)
        for k in range(len(whole.radii_P2)):
            cones = Cones(
                whole.start_TP3[:, k : k + 1], whole.end_TP3[:, k : k + 1], whole.radii_P2[k : k + 1]
            )
            x0, y0, x1, y1 = screen_boxes(cones, 60.0, (96, 96), margin=0)[0, 0]
            wide = Cones(
                *(np.repeat(v, 2, axis=1) for v in (cones.start_TP3, cones.end_TP3)),
                np.vstack([cones.radii_P2] * 2),
            )
            seen = trace(wide, 60.0, (96, 96), dtype=torch.float64)[1][0].numpy() != BACKDROP
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            if len(rows) == 0:
                continue
            assert x0 <= columns[0] <= x0 + 1
            assert columns[-1] + 1 <= x1 <= columns[-1] + 2
            assert y0 <= rows[0] <= y0 + 1
            assert rows[-1] + 1 <= y1 <= rows[-1] + 2


def test_a_part_round_or_behind_the_eye() -> None:
    behind = Cones(np.array([[[0, 0, -3.0]]]), np.array([[[0, 1, -3.0]]]), np.array([[0.2, 0.2]]))
    depth, _ = trace(behind, 20.0, (16, 16))
    assert torch.isinf(depth).all()
    beside = Cones(np.array([[[0.5, 0, -2.0]]]), np.array([[[0.5, 0, 3.0]]]), np.array([[0.2, 0.2]]))
    depth, _ = trace(beside, 20.0, (16, 16))
    assert 0.1 < torch.isfinite(depth).float().mean() < 0.9


def test_projection_and_rays_are_inverse() -> None:
    times = np.linspace(0, 2, 5)
    camera = Camera(azimuth=70, elevation=20, orbit=30, pan=9, shake=2, dolly=0.3)
    view = camera.film(times, np.zeros((5, 3)), (64, 48))
    np.testing.assert_allclose(
        view.axes_T33 @ view.axes_T33.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12
    )
    assert np.linalg.det(view.axes_T33) == pytest.approx(np.ones(5))
    rays = view.rays()
    world = view.eye_T3[:, None] + 3.0 * np.einsum("ni,tij->tnj", rays.reshape(-1, 3), view.axes_T33)
    pixels = view.project(view.to_camera(world)).reshape(5, 48, 64, 2)
    np.testing.assert_allclose(pixels[:, 10, 20], np.tile([20.5, 10.5], (5, 1)), atol=1e-9)


def test_the_camera_looks_at_the_person_the_right_way_up() -> None:
    view = Camera(azimuth=0, elevation=10, follow=1.0).film(np.array([0.0]), np.zeros((1, 3)), (64, 48))
    middle, head, right_hand = view.project(
        view.to_camera(np.array([[[0, 0.85, 0], [0, 1.6, 0], [0, 0.85, 0.5]]]))
    )[0]
    np.testing.assert_allclose(middle, [32, 24], atol=1e-9)
    assert head[1] < 20  # up is up
    assert right_hand[0] < 30  # from the front, the right hand is on the left of the picture


def test_the_camera_follows_without_lagging() -> None:
    times = np.arange(40) / 20
    person = np.stack([3 * times, np.full(40, 0.9), -times], axis=1)
    view = Camera(follow=1.0).film(times, person, (64, 48))
    offset = view.eye_T3 - person
    np.testing.assert_allclose(offset, np.tile(offset[:1], (40, 1)), atol=1e-9)


def filmed(
    motion: mocap.Motion,
    camera: Camera,
    *,
    size: tuple[int, int] = (72, 64),
    num_frames: int = 6,
    fps: float = 25,
) -> tuple[Figure, View]:
    """The made person in a motion before a camera."""
    track = mocap.sequence([(motion, num_frames / fps)], fps=fps)
    figure = Figure.place(
        Body(), made_skeleton(), track.poses.root_T3, track.poses.rotations_TJ4, joints=mocap.JOINTS, fps=fps
    )
    return figure, camera.film(track.times_T, figure.positions_TJ3[:, 0], size)


def test_nothing_moves_nothing_flows() -> None:
    figure, view = filmed(made_motion(lambda share: made_frame(swing=20)), STILL)
    flow, seen = find_flow(figure, view, find_surface(figure, view))
    assert flow.abs().max() < 1e-5
    assert seen.all()


def test_a_panning_camera_gives_the_homography_of_its_turn() -> None:
    figure, view = filmed(made_motion(lambda share: made_frame()), replace(STILL, pan=40.0, shake=1.0))
    surface = find_surface(figure, view)
    flow, seen = find_flow(figure, view, surface)
    size, focal = np.array(view.size), view.focal
    inner = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
    height, width = flow.shape[1:3]
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows, np.ones_like(columns)], axis=-1)
    for t in range(len(flow)):
        turn = inner @ view.axes_T33[t + 1] @ view.axes_T33[t].T @ np.linalg.inv(inner)
        moved = pixels @ turn.T
        expected = moved[..., :2] / moved[..., 2:] - pixels[..., :2]
        np.testing.assert_allclose(flow[t].numpy(), expected, atol=2e-4)  # depth plays no part
        there = pixels[..., :2] + expected
        inside = ((there > 0) & (there < size)).all(axis=-1)
        assert (seen[t].numpy() == inside).mean() > 0.999
    assert np.abs(flow.numpy()).max() > 1


def test_a_body_that_only_shifts_flows_by_its_shift() -> None:
    step = np.array([0.03, 0.0, -0.05])
    motion = made_motion(
        lambda share: made_frame((3 * share * 0.3, 0.88, -3 * share * 0.5), swing=25, duration=0.12)
    )
    figure, view = filmed(motion, STILL, fps=25.0)
    surface = find_surface(figure, view)
    flow, _ = find_flow(figure, view, surface)
    shift = figure.positions_TJ3[1, 0] - figure.positions_TJ3[0, 0]
    np.testing.assert_allclose(shift, step, atol=1e-9)
    body = (surface.part_THW[0] < GROUND).numpy()
    assert body.mean() > 0.03
    rays = view.rays()[body]
    points = rays * surface.depth_THW[0].numpy()[body][:, None] @ view.axes_T33[0] + view.eye_T3[0]
    expected = (
        view.project(view.to_camera((points + shift)[None]))[0]
        - view.project(view.to_camera(points[None]))[0]
    )
    np.testing.assert_allclose(flow[0].numpy()[body], expected, atol=1e-4)
    assert np.abs(flow[0].numpy()[~body]).max() < 1e-9


def test_flow_lands_on_the_same_point_of_the_same_part() -> None:
    """In a moving scene: where a point is seen at t + 1, the surface there has the depth the point has."""
    motion = made_motion(
        lambda share: made_frame((share, 0.9, 0), heading=90 * share, swing=60 * np.sin(6 * share))
    )
    figure, view = filmed(motion, Camera(distance=2.2, orbit=60, shake=1, elevation=15), size=(96, 96))
    surface = find_surface(figure, view)
    flow, seen = find_flow(figure, view, surface)
    checked = 0
    for t in range(len(flow)):
        rows, columns = np.nonzero(((surface.part_THW[t] < GROUND) & seen[t]).numpy())
        there = np.stack([columns, rows], axis=1) + 0.5 + flow[t].numpy()[rows, columns]
        cones = in_camera(
            figure[slice(t + 1, t + 2)].cones(),
            View(view.eye_T3[t + 1 : t + 2], view.axes_T33[t + 1 : t + 2], view.focal, view.size),
        )
        # the exact ray through the place where the point lands must enter its own part just there
        ray = np.concatenate(
            [(there - np.array(view.size) / 2) / view.focal, np.ones((len(there), 1))], axis=1
        )
        part = surface.part_THW[t].numpy()[rows, columns]
        depth = np.array([march(ray[i], cones) for i in range(0, len(ray), 17)])
        point = ray[::17] * depth[:, None]
        off = distance_to_surface(point, cones, part[::17])
        assert np.quantile(np.abs(off), 0.98) < 2e-3
        checked += len(depth)
    assert checked > 100
    hidden = ~seen.numpy() & (surface.part_THW[:-1] < GROUND).numpy()
    assert 0.005 < hidden.sum() / (surface.part_THW[:-1] < GROUND).sum() < 0.5


def march(ray_3: np.ndarray, cones: Cones) -> float:
    """Depth at which a ray meets the first cone, by sphere tracing."""
    depth, length = 0.0, float(np.linalg.norm(ray_3))
    for _ in range(80):
        point = (ray_3 * depth)[None]
        starts, ends = cones.start_TP3[0], cones.end_TP3[0]
        shares = np.linspace(0, 1, 65)[:, None, None]
        centres = starts + shares * (ends - starts)
        radii = cones.radii_P2[:, 0] + shares[..., 0] * (cones.radii_P2[:, 1] - cones.radii_P2[:, 0])
        depth += float((np.linalg.norm(point - centres, axis=-1) - radii).min()) / length
    return depth


def test_a_hand_before_the_chest_hides_it() -> None:
    near = Cones(np.array([[[0, 0, 2.0]]]), np.array([[[0, 0.1, 2.0]]]), np.array([[0.1, 0.1]]))
    points = torch.tensor([[0, 0, 3.0], [1, 0, 3.0], [0, 0, 1.5], [0, 0, 1.9]], dtype=torch.float64)
    visible = seen_from_eye(points, torch.zeros(4, dtype=torch.long), near)
    assert visible.tolist() == [False, True, True, True]


def made_clip(seed: int = 5, **options: object) -> RenderedClip:
    """A short clip of the made person."""
    motion = made_motion()
    arguments: dict[str, object] = {
        "seconds": 0.32,
        "size": (96, 80),
        "seed": seed,
        "skeleton": made_skeleton(),
    }
    return render_clip(motion, **(arguments | options))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bytes() -> None:
    a, b = made_clip(flow=True), made_clip(flow=True)
    np.testing.assert_array_equal(a.frames_THWC, b.frames_THWC)
    np.testing.assert_array_equal(a.flow_THW2, b.flow_THW2)
    assert a.scene == b.scene == random_scene(5)
    other = made_clip(seed=6)
    assert (other.frames_THWC != a.frames_THWC).mean() > 0.5
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    single = made_clip()
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(single.frames_THWC, a.frames_THWC)  # whatever the number of cores


def test_a_clip_is_whole() -> None:
    clip = made_clip(flow=True, depth=True, lights=True)
    assert clip.frames_THWC.shape == (8, 80, 96, 3)
    assert clip.frames_THWC.dtype == np.uint8
    assert clip.fps == pytest.approx(25)
    assert [span.class_name for span in clip.spans] == ["made"]
    assert clip.flow_THW2 is not None
    assert clip.flow_THW2.shape == (7, 80, 96, 2)
    assert clip.lights_THWC is not None
    assert clip.lights_THWC.shape == clip.frames_THWC.shape
    assert clip.frames_THWC.std() > 10
    assert clip.points_TM2.shape == (8, 13, 2)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_the_box_holds_the_person_and_no_more(seed: int) -> None:
    clip = made_clip(seed=seed, depth=True, seconds=0.6)
    assert clip.parts_THW is not None
    for t, parts in enumerate(clip.parts_THW):
        rows, columns = np.nonzero(parts < GROUND)
        x0, y0, x1, y1 = np.round(clip.boxes_T4[t] * np.array([96, 80, 96, 80]), 3)
        assert x0 <= columns.min() <= x0 + 1
        assert columns.max() + 1 <= x1 <= columns.max() + 2
        assert y0 <= rows.min() <= y0 + 1
        assert rows.max() + 1 <= y1 <= rows.max() + 2
    away = made_clip(scene=replace(random_scene(seed), camera=Camera(pan=4000.0, follow=1.0)), seconds=0.12)
    assert (away.boxes_T4[1:] == 0).any(axis=1).any()


def test_pixels_change_only_where_the_person_and_the_shadow_are() -> None:
    scene = Scene(camera=STILL)
    clip = made_clip(scene=scene, depth=True, seconds=0.4)
    assert clip.parts_THW is not None
    changed = (clip.frames_THWC[0] != clip.frames_THWC[-1]).any(axis=-1)
    assert 0.005 < changed.mean() < 0.5
    sky = (clip.parts_THW == BACKDROP).all(axis=0)
    box = clip.boxes_T4[[0, -1]]
    top = int(box[:, 1].min() * 80)
    assert sky.any()
    assert not changed[:top].any()


def test_lights_lie_on_the_body() -> None:
    for seed in range(6):
        clip = made_clip(seed=seed, depth=True, size=(160, 128))
        assert clip.parts_THW is not None
        times, lights = np.nonzero(clip.visible_TM)
        pixels = (clip.points_TM2[times, lights] * np.array([160, 128])).astype(int)
        assert len(times) > 40
        on_body = clip.parts_THW[times, np.minimum(pixels[:, 1], 127), np.minimum(pixels[:, 0], 159)] < GROUND
        assert on_body.mean() > 0.99


def test_a_far_limb_is_hidden_by_the_trunk_and_near_ones_show() -> None:
    motion = made_motion(lambda share: made_frame())
    clip = render_clip(
        motion,
        seconds=0.08,
        size=(160, 160),
        skeleton=made_skeleton(),
        scene=Scene(camera=Camera(azimuth=90, elevation=0)),
    )
    names = list(MARKERS)
    visible = dict(zip(names, clip.visible_TM[0], strict=True))
    assert all(visible[name] for name in names if name.startswith("right"))
    assert visible["head"]
    assert not any(visible[name] for name in names if name.startswith("left"))


def test_lights_are_discs_on_black() -> None:
    points = np.array([[[20.0, 12.0], [5.0, 5.0], [0.0, 0.0]]])
    frames = draw_lights(points, np.array([[True, False, True]]), (40, 30), radius=3.0)
    assert frames.shape == (1, 30, 40, 3)
    assert frames[0, 12, 20].tolist() == [255, 255, 255]
    assert frames[0, 5, 5].tolist() == [0, 0, 0]
    assert frames[0, 0, 0].min() == 255
    area = frames[0, :, 8:, 0].sum() / 255
    assert area == pytest.approx(np.pi * 9, rel=0.03)


def test_disc_hulls_agree_with_brute_force() -> None:
    random = np.random.default_rng(2)
    start, end = torch.from_numpy(random.uniform(-1, 1, (2, 1, 5, 2)))
    radii = torch.from_numpy(random.uniform(0.05, 0.4, (5, 2)))
    end[0, 4] = start[0, 4]  # one disc within the other
    grid = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    found = disc_hull_distance(grid[None, None, :], grid[None, :, None], start, end, radii)[0].numpy()
    x, y = np.meshgrid(grid.numpy(), grid.numpy())
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    expected = np.min(
        [
            distance_to_cone(points, np.append(start[0, k], 0), np.append(end[0, k], 0), *radii[k].tolist())
            for k in range(5)
        ],
        axis=0,
    ).reshape(31, 31)
    outside = expected > 0
    np.testing.assert_allclose(found[outside], expected[outside], atol=2e-4)
    assert (found[~outside] <= 1e-6).all()


def test_shadows_fall_away_from_the_sun() -> None:
    light = Light(azimuth=0, elevation=45)  # from +X: the shadow of a ball at height 1 lies at x = -1
    ball = Cones(np.array([[[0, 1.0, 0]]]), np.array([[[0, 1.0, 0]]]), np.array([[0.1, 0.1]]))
    points = torch.tensor([[-1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 2.0, 0], [-0.5, 0.5, 0.0]])
    shade = shadow_on_points(points, torch.zeros(5, dtype=torch.long), ball, light)
    assert shade.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    u, v = light_plane(light)
    assert abs(u @ v) + abs(u @ light.direction()) + abs(v @ light.direction()) < 1e-12
    dark = made_clip(
        scene=Scene(camera=STILL, light=Light(azimuth=120, elevation=40, ambient=0.2)), depth=True
    )
    assert dark.parts_THW is not None
    ground = dark.frames_THWC[0][dark.parts_THW[0] == GROUND].astype(float).mean(axis=1)
    assert (ground < 0.6 * np.median(ground)).mean() > 0.01


@pytest.mark.parametrize("kind", GROUNDS)
def test_ground_textures_repeat_without_a_seam(kind: str) -> None:
    texture = ground_texture(Surroundings(ground=kind, seed=3)).numpy()
    assert texture.min() >= 0
    assert texture.max() <= 1
    assert texture[0].std() > 0.005
    np.testing.assert_allclose(texture[0, :, 0], texture[0, :, -2], atol=1e-6)
    np.testing.assert_allclose(texture[0, 0], texture[0, -2], atol=1e-6)
    spreads = texture[:, 1:-1, 1:-1].std(axis=(1, 2))
    assert (np.diff(spreads) < 1e-6).all()  # each level is blurred more
    means = texture[:, 1:-1, 1:-1].mean(axis=(1, 2))
    assert np.ptp(means) < 0.02


def test_every_ground_and_backdrop_renders() -> None:
    means = set()
    for ground, backdrop in zip(GROUNDS, (*BACKDROPS, *BACKDROPS[:2]), strict=True):
        surroundings = Surroundings(ground=ground, backdrop=backdrop)
        clip = made_clip(scene=Scene(surroundings=surroundings), seconds=0.04)
        assert 40 < clip.frames_THWC.mean() < 230
        means.add(clip.frames_THWC.mean())
    assert len(means) == len(GROUNDS)
    with pytest.raises(ValueError, match="lava"):
        Surroundings(ground="lava")


def test_supersampling_smooths_the_outline() -> None:
    scene = Scene(camera=STILL)
    fine = made_clip(scene=scene, samples=6, seconds=0.04).frames_THWC.astype(float)
    errors = [
        np.abs(made_clip(scene=scene, samples=n, seconds=0.04).frames_THWC - fine).mean() for n in (1, 2, 3)
    ]
    assert errors[0] > 1.5 * errors[1] > errors[2]


def test_a_black_body_hides_what_is_behind_it() -> None:
    black = (0.0, 0.0, 0.0)
    body = Body(skin=black, hair=black, shirt=black, trousers=black, shoes=black)
    clip = made_clip(scene=Scene(camera=STILL, body=body), depth=True, seconds=0.04)
    assert clip.parts_THW is not None
    inside = np.lib.stride_tricks.sliding_window_view(clip.parts_THW[0] < GROUND, (3, 3)).all(axis=(2, 3))
    pixels = clip.frames_THWC[0, 1:-1, 1:-1][inside]
    assert len(pixels) > 50
    assert np.median(pixels) == 0


def test_the_build_changes_the_body() -> None:
    camera = Camera(azimuth=0, elevation=0, follow=0.0)
    tall, small = (
        made_clip(scene=Scene(camera=camera, body=Body(shape=Shape(height=h))), seconds=0.04).boxes_T4[0]
        for h in (1.1, 0.9)
    )
    assert (tall[3] - tall[1]) / (small[3] - small[1]) == pytest.approx(11 / 9, rel=0.06)
    assert tall[3] == pytest.approx(small[3], abs=0.03)  # both stand on the ground


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="8 x 8"):
        made_clip(size=(4, 80))
    with pytest.raises(ValueError, match="positive seconds"):
        made_clip(seconds=0.0)
    with pytest.raises(ValueError, match="own seconds"):
        render_clip([(made_motion(), 1.0)], seconds=2.0, skeleton=made_skeleton())
    with pytest.raises(ValueError, match="field of view"):
        Camera(field_of_view=0)


def test_a_clip_is_written_as_video(tmp_path: Path) -> None:
    import av

    path = write_clip(made_clip(), tmp_path / "made.mp4")
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 8


@pytest.mark.network
@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    try:
        mocap.fetch()
    except DownloadError as error:
        skip_or_fail(str(error))
    clip = demo_clip(tmp_path / "demo.mp4")
    assert len(clip.frames_THWC) == 250
    assert [span.class_name for span in clip.spans] == [name for name, _ in DEMO_MOTIONS]
    assert (clip.boxes_T4[:, 0] > 0).all()
    assert (clip.boxes_T4[:, 2:] <= 1).all()
    assert (clip.boxes_T4[:, 3] - clip.boxes_T4[:, 1] > 0.2).all()
    assert (tmp_path / "demo.mp4").stat().st_size > 50_000
