"""The person in a scene: build, clothes, and where each part of the body is in every frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vadis.data.scene.rays import Cones
from vadis.data.scene.scenery import Colour
from vadis.data.scene.skeleton import MATERIALS, Flesh, Shape, Skeleton, attach, lift_above_ground

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A person's build and clothes; colours are RGB in [0, 1] as shown on a display.

    stripes: period in metres of stripes on the shirt (0: none), of the colour `stripe`.
    """

    shape: Shape = field(default_factory=Shape)
    skin: Colour = (0.87, 0.67, 0.54)
    hair: Colour = (0.23, 0.15, 0.10)
    shirt: Colour = (0.80, 0.20, 0.18)
    trousers: Colour = (0.20, 0.27, 0.45)
    shoes: Colour = (0.92, 0.92, 0.90)
    long_sleeves: bool = False
    shorts: bool = False
    stripes: float = 0.0
    stripe: Colour = (0.95, 0.95, 0.95)

    def palette(self) -> Array:
        """Linear RGB by material index (M,3), in the order of MATERIALS."""
        named = {**vars(self), "dark": (0.08, 0.07, 0.07)}
        return np.array([named[material] for material in MATERIALS]) ** 2


@dataclass(frozen=True)
class Figure:
    """A person at T times: bones in the world (positions in metres, rotations wxyz) and flesh on them."""

    body: Body
    skeleton: Skeleton
    flesh: Flesh
    positions_TJ3: Array
    rotations_TJ4: Array

    @classmethod
    def place(
        cls,
        body: Body,
        skeleton: Skeleton,
        root_T3: Array,
        rotations_TJ4: Array,
        *,
        joints: tuple[str, ...],
        fps: float,
    ) -> Figure:
        """Put a person of this build through poses; lengths of the way go with the length of the legs.

        The person is raised where it would sink into the ground. Shapes as in `Skeleton.place`.
        """
        shaped = skeleton.shaped(body.shape)
        stride = shaped.leg_length() / skeleton.leg_length()
        positions, rotations = shaped.place(root_T3 * stride, rotations_TJ4, joints)
        flesh = shaped.flesh(body.shape, long_sleeves=body.long_sleeves, shorts=body.shorts)
        figure = cls(body, shaped, flesh, positions, rotations)
        lift = lift_above_ground(figure.cones().lowest(), fps)
        return replace(figure, positions_TJ3=positions + lift[:, None, None] * np.array([0.0, 1.0, 0.0]))

    def __len__(self) -> int:
        return len(self.positions_TJ3)

    def __getitem__(self, times: slice) -> Figure:
        return replace(self, positions_TJ3=self.positions_TJ3[times], rotations_TJ4=self.rotations_TJ4[times])

    def cones(self) -> Cones:
        """The body's parts in the world."""
        return Cones(*attach(self.flesh, self.positions_TJ3, self.rotations_TJ4), self.flesh.radii_P2)

    def casters(self) -> Cones:
        """The parts that are large enough to cast a shadow worth computing."""
        cones = self.cones()
        large = self.flesh.radii_P2.max(axis=1) > 0.02
        return Cones(cones.start_TP3[:, large], cones.end_TP3[:, large], cones.radii_P2[large])

    def markers(self) -> tuple[Array, Array]:
        """Johansson's 13 lights: places_TM3 in the world, and the flesh_M round each, in metres."""
        return self.skeleton.markers(self.positions_TJ3, self.rotations_TJ4, self.body.shape)
