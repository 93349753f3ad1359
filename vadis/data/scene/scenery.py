"""What stands around the person: ground, far backdrop and light, painted for every pixel of every frame.

The ground is the plane y = 0 with a periodic seeded texture, kept free of moire by a stack of blurred
copies; the backdrop is a panorama at infinity; the light is a sun (parallel, with a soft edge) and a sky.
Colours are linear RGB inside, written to 8 bits with a square root (close to a display's own curve).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vadis.data.scene.camera import View
from vadis.data.scene.rays import Cones

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

GROUNDS = ("checker", "tiles", "planks", "grass", "concrete", "plain")
BACKDROPS = ("studio", "hills", "city", "hall")
_TEXELS = 256
_LEVELS = 7
_SHADOW_TEXELS = 80


@dataclass(frozen=True)
class Light:
    """A sun and a sky. Angles in degrees; azimuth as the camera's (0: from +X), strengths about 1.

    softness: half the width of the shadow's edge in metres. warmth: -1 blue to 1 orange.
    """

    azimuth: float = 75.0
    elevation: float = 52.0
    strength: float = 1.0
    ambient: float = 0.45
    warmth: float = 0.25
    softness: float = 0.025

    def direction(self) -> Array:
        """Unit vector towards the sun."""
        up, around = math.radians(self.elevation), math.radians(self.azimuth)
        return np.array([math.cos(up) * math.cos(around), math.sin(up), math.cos(up) * math.sin(around)])

    def sun(self) -> Array:
        """The sun's linear RGB."""
        return self.strength * np.array([1 + 0.12 * self.warmth, 1.0, 1 - 0.2 * self.warmth])

    def sky(self) -> Array:
        """The sky's linear RGB."""
        return self.ambient * np.array([1 - 0.12 * self.warmth, 1.0, 1 + 0.16 * self.warmth])


@dataclass(frozen=True)
class Surroundings:
    """Ground and backdrop: kinds (GROUNDS, BACKDROPS), two colours of the ground (RGB in [0, 1] as shown
    on a display), length of the texture's period and of the haze in metres, seed of the patterns."""

    ground: str = "tiles"
    backdrop: str = "hills"
    light_colour: Colour = (0.62, 0.60, 0.56)
    dark_colour: Colour = (0.47, 0.46, 0.44)
    period: float = 4.0
    haze: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ground not in GROUNDS or self.backdrop not in BACKDROPS:
            raise ValueError(
                f"ground {self.ground!r} must be in {GROUNDS}, backdrop {self.backdrop!r} in {BACKDROPS}"
            )


def noise(random: np.random.Generator, height: int, width: int, cells: int) -> Array:
    """Smooth noise in [0, 1], periodic in both axes, of about `cells` waves across the height."""
    total, weight = np.zeros((height, width)), 0.0
    strength = 1.0
    while cells <= height:
        across = max(1, round(cells * width / height))
        grid = torch.from_numpy(random.random((cells, across)))[None, None]
        grid = F.pad(grid, (1, 1, 1, 1), mode="circular")
        large = F.interpolate(
            grid,
            size=(height + 2 * height // cells, width + 2 * width // across),
            mode="bilinear",
            align_corners=False,
        )
        top, left = height // cells, width // across
        total += strength * large[0, 0, top : top + height, left : left + width].numpy()
        weight += strength
        cells, strength = cells * 2, strength * 0.55
    return total / weight


def ground_texture(surroundings: Surroundings) -> Tensor:
    """The ground's pattern as values from dark (0) to light (1): levels x texels x texels, each level
    twice as blurred, with one texel of the next period on each side."""
    random = np.random.default_rng([surroundings.seed, 1])
    y, x = np.mgrid[0:_TEXELS, 0:_TEXELS] / _TEXELS
    grain = noise(random, _TEXELS, _TEXELS, 8)
    if surroundings.ground == "checker":
        pattern = (np.floor(x * 8) + np.floor(y * 8)) % 2 * 0.8 + 0.2 * grain
    elif surroundings.ground == "tiles":
        joint = np.minimum(x * 8 % 1, y * 8 % 1) < 0.06
        tone = random.random((8, 8))[(y * 8).astype(int), (x * 8).astype(int)]
        pattern = np.where(joint, 0.0, 0.55 + 0.25 * tone + 0.2 * grain)
    elif surroundings.ground == "planks":
        row = (y * 16).astype(int)
        shift = random.random(16)[row]
        along = (x * 2 + shift) % 1
        joint = (y * 16 % 1 < 0.08) | (along < 0.012)
        tone = random.random((16, 3))[row, ((x * 2 + shift) % 2).astype(int)]
        pattern = np.where(joint, 0.0, 0.35 + 0.4 * tone + 0.25 * grain)
    elif surroundings.ground == "grass":
        pattern = 0.5 * grain + 0.5 * noise(random, _TEXELS, _TEXELS, 64)
        pattern = np.clip((pattern - 0.5) * 2.2 + 0.5, 0, 1)
    elif surroundings.ground == "concrete":
        joint = np.minimum(x * 2 % 1, y * 2 % 1) < 0.012
        pattern = np.where(joint, 0.0, np.clip((grain - 0.5) * 1.6 + 0.6, 0, 1))
    else:
        pattern = 0.75 + 0.25 * grain
    level = torch.from_numpy(pattern).float()[None, None]
    levels = []
    for k in range(_LEVELS):
        small = F.avg_pool2d(level, 2**k)
        wrapped = F.pad(small, (1, 1, 1, 1), mode="circular")
        large = F.interpolate(wrapped, scale_factor=2**k, mode="bilinear", align_corners=False)
        edge = 2**k - 1
        levels.append(large[0, 0, edge : large.shape[2] - edge, edge : large.shape[3] - edge])
    return torch.stack(levels)


def panorama(surroundings: Surroundings, light: Light) -> Tensor:
    """The backdrop as linear RGB, 3 x elevations (0 to 60 degrees, upwards) x azimuths (360 degrees)."""
    random = np.random.default_rng([surroundings.seed, 2])
    high, around = 128, 1024
    up = np.linspace(0, 60, high)[:, None] * np.ones((1, around))
    haze = np.array([0.80, 0.84, 0.88])
    if surroundings.backdrop in ("studio", "hall"):
        base = np.array(surroundings.light_colour) * 0.5 + 0.3
        picture = base * (1.0 - 0.25 * up[..., None] / 60)
        if surroundings.backdrop == "hall":
            panel = np.mgrid[0:high, 0:around][1] // 32
            tone = random.random(around // 32)[panel % (around // 32)]
            seam = (np.mgrid[0:high, 0:around][1] % 32 < 2) | (np.abs(up - 14) < 0.5)
            picture = picture * (0.85 + 0.2 * tone - 0.3 * seam)[..., None]
            picture[up < 2.5] *= 0.55
    else:
        blue = np.array([0.42, 0.60, 0.86])
        share = np.clip(up / 45, 0, 1)[..., None] ** 0.7
        cloud = np.clip((noise(random, high, around, 4) - 0.52) * 4, 0, 0.8)[..., None]
        picture = (haze * (1 - share) + blue * share) * (1 - cloud) + 0.95 * cloud
        for layer, tone in enumerate((0.75, 0.5)):
            if surroundings.backdrop == "hills":
                tall = 1 + 9 * (1 - 0.5 * layer) * noise(random, 16, around, 4 * (layer + 1))[0]
                hue = np.array([0.36, 0.47, 0.40])
                wood = 0.8 + 0.4 * noise(random, high, around, 32)[..., None]
            else:
                tall = np.repeat(2 + (18 - 9 * layer) * random.random(around // 16) ** 2, 16)
                hue = 0.55 * np.repeat(random.uniform(0.8, 1.2, (around // 16, 3)), 16, axis=0)
                rows, columns = np.mgrid[0:high, 0:around]
                wood = np.where((rows % 4 < 2) & (columns % 4 < 2), 0.7, 1.0)[..., None]
            mass = (1 - tone) * hue * wood + tone * haze * 0.75
            picture = np.where((up < tall)[..., None], mass, picture)
    glow = light.sky() / max(light.ambient, 1e-6) * (0.6 + 0.4 * light.strength)
    return torch.from_numpy(np.clip(picture * glow, 0, 1) ** 2).float().permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Painted:
    """Surroundings made ready: texture, panorama, ground colours and the tone of the haze (linear RGB)."""

    texture: Tensor
    panorama: Tensor
    dark: Tensor
    light: Tensor
    horizon: Tensor

    @classmethod
    def of(cls, surroundings: Surroundings, light: Light) -> Painted:
        """Make the patterns of these surroundings under this light."""
        far = panorama(surroundings, light)
        dark, bright = (
            torch.tensor(colour).float() ** 2
            for colour in (surroundings.dark_colour, surroundings.light_colour)
        )
        return cls(ground_texture(surroundings), far, dark, bright, far[:, :3].mean(dim=(1, 2)))


def world_rays(view: View) -> Tensor:
    """Directions (T,H,W,3) in the world through pixel centres, not normalised (depth is their multiple)."""
    rays = torch.from_numpy(view.rays()).float()
    return torch.einsum("hwi,tij->thwj", rays, torch.from_numpy(view.axes_T33).float())


def paint_background(
    view: View, painted: Painted, surroundings: Surroundings, light: Light, casters: Cones | None
) -> Tensor:
    """Linear RGB (T,H,W,3) of ground and backdrop, with the shadow of `casters` (cones in the world)."""
    still = (
        len(view.eye_T3) > 1
        and np.ptp(view.eye_T3, axis=0).max() == 0
        and np.ptp(view.axes_T33, axis=0).max() == 0
    )
    once = View(view.eye_T3[:1], view.axes_T33[:1], view.focal, view.size) if still else view
    rays = world_rays(once)
    eye = torch.from_numpy(once.eye_T3).float()
    x, y, z = rays.unbind(-1)
    length = rays.square().sum(-1).sqrt()
    down = (-y).clamp(min=1e-6)
    depth = eye[:, 1, None, None] / down
    ground_x = eye[:, 0, None, None] + depth * x
    ground_z = eye[:, 2, None, None] + depth * z
    # the pixel's footprint on the ground: `depth / focal` across, longer by length / down along the view
    texel = surroundings.period / _TEXELS
    level = torch.log2((depth / (view.focal * texel) * (length / down).sqrt()).clamp(min=1.0))
    value = _look_up(painted.texture, ground_x / surroundings.period, ground_z / surroundings.period, level)
    colour = painted.dark + value[..., None] * (painted.light - painted.dark)
    sun = torch.from_numpy(light.sun() * light.direction()[1]).float()
    sky = torch.from_numpy(light.sky()).float()
    lit: Tensor | float = 1.0
    if casters is not None:
        lit = 1 - ground_shadow(casters, light, ground_x, ground_z)[..., None]
    shaded = colour * (sky + sun * lit)
    far = ((depth * length) / surroundings.haze).square()[..., None]
    shaded = torch.lerp(shaded, painted.horizon.expand_as(shaded), far / (1 + far))
    return torch.where((y < -1e-6)[..., None], shaded, _backdrop(painted.panorama, x, y / length, z))


def _look_up(texture: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    """Values of a stack of periodic textures at u, v (periods) and a level, linear in all three."""
    levels, texels = texture.shape[0], texture.shape[1] - 2
    grid = torch.stack(
        [
            ((u - u.floor()) * texels + 1) * (2 / (texels + 2)) - 1,
            ((v - v.floor()) * texels + 1) * (2 / (texels + 2)) - 1,
            (level.clamp(max=levels - 1) + 0.5) * (2 / levels) - 1,
        ],
        dim=-1,
    )
    found = F.grid_sample(
        texture[None, None], grid.flatten(0, -2)[None, None, None], padding_mode="border", align_corners=False
    )
    return found.view(u.shape)


def _backdrop(panorama: Tensor, x: Tensor, rise: Tensor, z: Tensor) -> Tensor:
    """Colours of the panorama in directions of azimuth (x, z) and sine of elevation `rise`."""
    turn = torch.atan2(z, x) / math.pi
    up = torch.rad2deg(torch.asin(rise.clamp(-1, 1))) / 30 - 1
    grid = torch.stack([turn, up], dim=-1)
    shape = grid.shape[:-1]
    wide = torch.cat([panorama[:, :, -1:], panorama, panorama[:, :, :1]], dim=2)
    grid[..., 0] *= panorama.shape[2] / wide.shape[2]
    colours = F.grid_sample(
        wide[None], grid.flatten(0, -2)[None, None], padding_mode="border", align_corners=False
    )
    return colours[0, :, 0].T.reshape(*shape, 3)


def light_plane(light: Light) -> tuple[Array, Array]:
    """Two unit vectors that span the plane across the sun's rays."""
    toward = light.direction()
    u = np.cross(toward, np.array([0.0, 1.0, 0.0]))
    if np.linalg.norm(u) < 1e-6:
        u = np.array([1.0, 0.0, 0.0])
    u /= np.linalg.norm(u)
    return u, np.cross(toward, u)


def ground_shadow(casters: Cones, light: Light, ground_x: Tensor, ground_z: Tensor) -> Tensor:
    """The share of the sun (T,H,W) that the casters take from ground points at (ground_x, ground_z).

    Seen along the sun's rays a cone is the hull of two discs. The distance to the nearest one is computed
    on a grid round the person and read between grid points: at most a few millimetres off.
    """
    u, v = light_plane(light)
    centre = (casters.start_TP3.mean(axis=1) + casters.end_TP3.mean(axis=1)) / 2
    axes = np.stack([u, v])
    start = (casters.start_TP3 - centre[:, None]) @ axes.T
    end = (casters.end_TP3 - centre[:, None]) @ axes.T
    reach = float(max(np.abs(start).max(), np.abs(end).max()) + casters.radii_P2.max() + 0.1)
    steps = (torch.arange(_SHADOW_TEXELS) + 0.5) / _SHADOW_TEXELS * (2 * reach) - reach
    nearest = disc_hull_distance(
        steps[None, None, :],
        steps[None, :, None],
        torch.from_numpy(start).float(),
        torch.from_numpy(end).float(),
        torch.from_numpy(casters.radii_P2).float(),
    )
    middle = torch.from_numpy(centre @ axes.T).float()
    across = ground_x * float(u[0]) + ground_z * float(u[2]) - middle[:, 0, None, None]
    along = ground_x * float(v[0]) + ground_z * float(v[2]) - middle[:, 1, None, None]
    grid = torch.stack([across, along], dim=-1) / reach
    distance = F.grid_sample(nearest[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return _edge(-distance / light.softness)


def disc_hull_distance(x: Tensor, y: Tensor, start_TP2: Tensor, end_TP2: Tensor, radii_P2: Tensor) -> Tensor:
    """Signed distance (negative inside) from points (broadcast to T,H,W) to the nearest hull of two discs."""
    distances = (
        _one_hull(
            x - start_TP2[:, k, 0, None, None],
            y - start_TP2[:, k, 1, None, None],
            (end_TP2 - start_TP2)[:, k, :, None, None],
            radii_P2[k, 0],
            radii_P2[k, 1],
        )[0]
        for k in range(start_TP2.shape[1])
    )
    return functools.reduce(torch.minimum, distances)


def _one_hull(x: Tensor, y: Tensor, way: Tensor, ra: Tensor, rb: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance from points (relative to the first disc) to the hull of two discs `way` (T,2,1,1)
    apart, and the share of the way at which each point's foot lies."""
    length = way.square().sum(1).sqrt()
    difference = ra - rb
    apart = length > difference.abs() * 1.0001 + 1e-6  # else one disc lies within the other
    safe = torch.where(apart, length, 1.0)
    s = torch.where(apart, difference / safe, 0.0)
    c = (1 - s * s).sqrt()
    n = way / safe[:, None]
    along = x * n[:, 0] + y * n[:, 1]
    aside = (x * n[:, 1] - y * n[:, 0]).abs()
    share = ((along - aside * (s / c)) / safe).clamp(0, 1)
    share = torch.where(apart, share, (difference < 0).to(x.dtype))
    centre_x, centre_y = x - share * way[:, 0], y - share * way[:, 1]
    radius = ra - share * difference
    return (centre_x.square() + centre_y.square()).sqrt() - radius, share


def _edge(x: Tensor) -> Tensor:
    """A smooth step from 0 at -1 to 1 at 1."""
    x = (x * 0.5 + 0.5).clamp(0, 1)
    return x * x * (3 - 2 * x)


def shadow_on_points(points_N3: Tensor, times_N: Tensor, casters: Cones, light: Light) -> Tensor:
    """The share of the sun that the casters take from points of the body, N: from 0 to 1.

    points_N3 in the world (metres), in the order of their time index times_N.

    A part casts on a point if its axis lies nearer to the sun than the point: so no part shades the lit
    side of itself.
    """
    u, v = light_plane(light)
    basis = torch.from_numpy(np.stack([u, v, light.direction()])).float()
    start = torch.from_numpy(casters.start_TP3).float() @ basis.T
    way = torch.from_numpy(casters.end_TP3).float() @ basis.T - start
    local = points_N3 @ basis.T
    radii = torch.from_numpy(casters.radii_P2).float()
    shades = []
    counts = torch.bincount(times_N, minlength=len(start)).tolist()
    for t, points in enumerate(local.split(counts)):
        relative = points.T[:, None, :] - start[t].T[:, :, None]
        distance, share = _one_hull(
            relative[0], relative[1], way[t, :, :2, None], radii[:, 0, None], radii[:, 1, None]
        )
        ahead = share * way[t, :, 2, None] - relative[2]
        shades.append((_edge(distance * (-1 / 0.02)) * (ahead * 20).clamp(0, 1)).amax(dim=0))
    return torch.cat(shades)
