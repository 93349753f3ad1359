"""Unit quaternions (w, x, y, z) as numpy arrays of float64: product, rotation matrix, interpolation.

q and -q are the same rotation; every function here takes either and goes the shorter way round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

IDENTITY: Array = np.array([1.0, 0.0, 0.0, 0.0])


def normalise(quaternions_N4: Array) -> Array:
    """Scale to unit length over the last axis of 4. Raises ValueError where one has no direction."""
    length = np.linalg.norm(quaternions_N4, axis=-1, keepdims=True)
    if not np.all(np.isfinite(length)) or np.any(length < 1e-6):
        raise ValueError("a rotation is not a quaternion: its length is zero or not finite")
    return quaternions_N4 / length


def align(quaternions_N4: Array, to_N4: Array) -> Array:
    """The same rotations with the signs nearest to `to_N4`; last axis of 4, broadcast."""
    dot = np.sum(quaternions_N4 * to_N4, axis=-1, keepdims=True)
    return np.where(dot < 0, -1.0, 1.0) * quaternions_N4


def make_continuous(quaternions_TJ4: Array) -> Array:
    """Flip signs along the first axis so that neighbours lie in the same half of the sphere."""
    dot = np.sum(quaternions_TJ4[1:] * quaternions_TJ4[:-1], axis=-1)
    signs = np.cumprod(np.where(dot < 0, -1.0, 1.0), axis=0)
    out = quaternions_TJ4.copy()
    out[1:] *= signs[..., None]
    return out


def multiply(a_N4: Array, b_N4: Array) -> Array:
    """The product a b: first rotate by b, then by a. Broadcasts over all axes but the last."""
    aw, ax, ay, az = np.moveaxis(a_N4, -1, 0)
    bw, bx, by, bz = np.moveaxis(b_N4, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def invert(quaternions_N4: Array) -> Array:
    """The inverse rotations."""
    return quaternions_N4 * np.array([1.0, -1.0, -1.0, -1.0])


def about_axis(axis_3: Array, angles_N: npt.ArrayLike) -> Array:
    """Rotations by angles (radians) about a unit axis; shape of the angles plus 4."""
    half = np.asarray(angles_N, dtype=np.float64)[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * axis_3], axis=-1)


def to_matrix(quaternions_N4: Array) -> Array:
    """Rotation matrices (..., 3, 3) that take column vectors."""
    w, x, y, z = np.moveaxis(quaternions_N4, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotate(quaternions_N4: Array, vectors_N3: Array) -> Array:
    """Rotate vectors; broadcasts over all axes but the last."""
    return np.einsum("...ij,...j->...i", to_matrix(quaternions_N4), vectors_N3)


def slerp(a_N4: Array, b_N4: Array, fraction_N: npt.ArrayLike) -> Array:
    """Spherical interpolation, constant angular speed on the shorter arc (Shoemake 1985).

    fraction_N: 0 gives a, 1 gives b; it has the shape of a and b without their last axis.
    """
    b_N4 = align(b_N4, a_N4)
    fraction = np.asarray(fraction_N, dtype=np.float64)[..., None]
    cosine = np.clip(np.sum(a_N4 * b_N4, axis=-1, keepdims=True), -1.0, 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    near = sine < 1e-6  # the straight line is as good there, and does not divide by zero
    safe = np.where(near, 1.0, sine)
    weight_a = np.where(near, 1 - fraction, np.sin((1 - fraction) * angle) / safe)
    weight_b = np.where(near, fraction, np.sin(fraction * angle) / safe)
    return normalise(weight_a * a_N4 + weight_b * b_N4)


def heading(quaternions_N4: Array) -> Array:
    """The turn about the Y axis (radians, in (-pi, pi]) of each rotation: its twist part."""
    twist = 2 * np.arctan2(quaternions_N4[..., 2], quaternions_N4[..., 0])
    return np.pi - np.mod(np.pi - twist, 2 * np.pi)


def angle_between(a_N4: Array, b_N4: Array) -> Array:
    """The angle (radians, 0 to pi) between rotations."""
    difference = multiply(invert(a_N4), b_N4)
    vector = np.linalg.norm(difference[..., 1:], axis=-1)
    return 2 * np.arctan2(vector, np.abs(difference[..., 0]))
