"""A whole scene, and scenes drawn at random: each part by a seeded stream of its own, so that what one part
draws never changes another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vadis.data.scene.camera import Camera
from vadis.data.scene.figure import Body
from vadis.data.scene.scenery import BACKDROPS, GROUNDS, Colour, Light, Surroundings
from vadis.data.scene.skeleton import Shape

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Everything about a clip but the motion; `speed` 2 shows the motion twice as fast."""

    camera: Camera = field(default_factory=Camera)
    body: Body = field(default_factory=Body)
    light: Light = field(default_factory=Light)
    surroundings: Surroundings = field(default_factory=Surroundings)
    speed: float = 1.0


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
    hairs = [
        (0.10, 0.08, 0.07),
        (0.25, 0.16, 0.10),
        (0.50, 0.34, 0.18),
        (0.80, 0.66, 0.40),
        (0.62, 0.62, 0.62),
    ]
    build = {
        name: float(random.normal(1, 0.06)) for name in ("legs", "arms", "torso", "shoulders", "hips", "head")
    }
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
