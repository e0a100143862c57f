"""A furnished room of about six metres with exact depth: the synthetic world of the oracle.

World axes like a camera's (OpenCV): x right, y down, z forward; metres. The floor lies at y = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAR = 1e6  # metres; "nothing was hit"


@dataclass(frozen=True)
class Room:
    """Walls (seen from inside), solid boxes and solid spheres."""

    walls: Floats  # (2, 3) lower and upper corner
    boxes: Floats  # (B, 2, 3) lower and upper corners
    spheres: Floats  # (S, 4) centre and radius


def furnished_room(seed: int = 0) -> Room:
    """Make a room of 6 x 2.8 x 6 m with furniture that differs by seed."""
    rng = np.random.default_rng([seed, 101])
    walls = np.array([[-3.0, -1.8, -3.0], [3.0, 1.0, 3.0]])
    boxes = [_box_on_floor(rng, distance, height) for distance, height in ((0.9, 0.7), (1.2, 1.0), (1.6, 0.5), (2.2, 1.4))]
    boxes += [_box_on_floor(rng, 2.6, 2.0), _box_on_floor(rng, 0.4, 0.45), _box_on_floor(rng, 2.0, 0.9)]
    shelves = [[[-3.0, -0.9, 0.2], [-2.6, -0.8, 2.2]], [[0.4, -0.6, 2.6], [2.4, -0.5, 3.0]], [[2.7, -1.0, -0.5], [3.0, 0.1, 0.8]]]
    spheres = [_sphere(rng) for _ in range(5)]
    return Room(walls, np.array([*boxes, *shelves]), np.array(spheres))


def cast_rays(
    room: Room,
    origin: Floats,  # (3,)
    directions: Floats,  # (..., 3), any length
) -> Floats:  # (...,) multiples of `directions` at the first hit; FAR where there is none
    """Cast rays from one point."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    hit = _leave_box(room.walls, origin, inverse)
    for box in room.boxes:
        hit = np.minimum(hit, _enter_box(box, origin, inverse))
    for sphere in room.spheres:
        hit = np.minimum(hit, _enter_sphere(sphere, origin, directions))
    return hit


def _box_on_floor(rng: np.random.Generator, distance: float, height: float) -> list[list[float]]:
    angle = rng.uniform(0, 2 * np.pi)
    x, z = distance * np.sin(angle), abs(distance * np.cos(angle)) * 0.9
    half_x, half_z = rng.uniform(0.2, 0.5, 2)
    return [[x - half_x, 1.0 - height, z - half_z], [x + half_x, 1.0, z + half_z]]


def _sphere(rng: np.random.Generator) -> list[float]:
    radius = rng.uniform(0.12, 0.35)
    return [rng.uniform(-1.8, 1.8), rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 2.3), radius]


def _slabs(box: Floats, origin: Floats, inverse: Floats) -> tuple[Floats, Floats]:
    near, far = (box[0] - origin) * inverse, (box[1] - origin) * inverse
    return np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)


def _leave_box(box: Floats, origin: Floats, inverse: Floats) -> Floats:
    leave = _slabs(box, origin, inverse)[1]
    return np.where(leave > 0, leave, FAR)


def _enter_box(box: Floats, origin: Floats, inverse: Floats) -> Floats:
    enter, leave = _slabs(box, origin, inverse)
    return np.where((enter < leave) & (enter > 1e-6), enter, FAR)


def _enter_sphere(sphere: Floats, origin: Floats, directions: Floats) -> Floats:
    offset = origin - sphere[:3]
    a = (directions * directions).sum(-1)
    b = directions @ offset
    discriminant = b * b - a * (offset @ offset - sphere[3] ** 2)
    enter = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (enter > 1e-6), enter, FAR)
